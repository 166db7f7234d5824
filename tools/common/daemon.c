/*
 * The child's word is one write to a pipe: a NUL byte for "ready", else the line to print. When it
 * ends without a word the pipe closes, and its exit code is all there is.
 */
#include "tools/common/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int wait_for_child(const char *name, int failed, pid_t child, int fd)
{
	char line[600];
	size_t len = 0;
	ssize_t n;
	int status;

	while (len < sizeof(line)) {
		n = read(fd, line + len, sizeof(line) - len);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	if (len && !line[0])
		return 0;
	if (len)
		fprintf(stderr, "%s: %.*s\n", name, (int)len, line);
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	if (!len)
		fprintf(stderr, "%s: ended before it was ready\n", name);
	return failed;
}

int daemon_fork(const char *name, int failed, int *report)
{
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(p[0]);
		close(p[1]);
		return rc;
	}
	if (pid) {
		close(p[1]);
		exit(wait_for_child(name, failed, pid, p[0]));
	}
	close(p[0]);
	setsid();
	*report = p[1];
	return 0;
}

int daemon_ready(int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	if (chdir("/") || write(report, "", 1) != 1) {
		int rc = -errno;

		close(null);
		return rc;
	}
	close(report);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close(null);
	return 0;
}

void daemon_fail(int report, const char *why)
{
	size_t len = strlen(why);

	if (len && write(report, why, len) < 0)
		fprintf(stderr, "%s\n", why); /* whoever waited has gone */
}

int pidfile_write(const char *path, char *why, size_t why_len)
{
	FILE *f;
	bool bad;

	if (!path)
		return 0;
	f = fopen(path, "we");
	bad = !f || fprintf(f, "%d\n", (int)getpid()) < 0;
	if (f && fclose(f))
		bad = true;
	if (!bad)
		return 0;
	snprintf(why, why_len, "%s: %s", path, strerror(errno));
	return -EIO;
}
