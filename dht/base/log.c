#include "dht/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static enum log_level max_level = LOG_LVL_INFO;
static int out_fd = STDERR_FILENO;
static bool to_syslog;
static uint64_t (*clock_fn)(void *);
static void *clock_arg;

static const char *const level_name[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_parse_level(const char *name, enum log_level *level)
{
	for (int i = 0; i < 4; i++) {
		if (!strcmp(name, level_name[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	if (out_fd != STDERR_FILENO)
		close(out_fd);
	out_fd = fd;
	return 0;
}

void log_syslog(const char *ident)
{
	openlog(ident, LOG_PID, LOG_DAEMON);
	to_syslog = true;
}

void log_set_clock(uint64_t (*wall)(void *arg), void *arg)
{
	clock_fn = wall;
	clock_arg = arg;
}

static uint64_t real_wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char line[1024];
	uint64_t now;
	va_list ap;
	int n, m;

	if (level > max_level)
		return;
	now = clock_fn ? clock_fn(clock_arg) : real_wall();
	n = snprintf(line, sizeof(line), "ts=%llu.%06llu lvl=%s ",
		(unsigned long long)(now / 1000000000u),
		(unsigned long long)(now % 1000000000u / 1000), level_name[level]);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	if (to_syslog) {
		syslog(priority[level], "%.*s", n, line);
		return;
	}
	line[n++] = '\n';
	if (write(out_fd, line, (size_t)n) < 0)
		return; /* there is nowhere left to report it */
}

const char *log_errno(int rc)
{
	const char *name = rc ? strerrorname_np(abs(rc)) : "0";

	return name ? name : "E?";
}
