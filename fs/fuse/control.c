/*
 * Control of the client within a mount, by extended attributes of its root directory. They are
 * answered here, so that they work when no node does.
 *
 *   system.orbitfs.stalled    transactions that stall, a line of logfmt each
 *   system.orbitfs.counters   of the client, "name=value" lines
 *   system.orbitfs.retry      set to anything: everything in flight is sent again now
 *   system.orbitfs.cancel     set to a handle: that transaction is given up with EINTR
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/fuse/session.h"

#define PREFIX "system.orbitfs."
#define TEXT_MAX (60u << 10) /* the kernel takes no value above 64 KiB */

bool control_is(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

static __attribute__((format(printf, 2, 3))) void put(struct buf *b, const char *fmt, ...)
{
	char line[640];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0)
		buf_bytes(b, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static const char *state_name(enum orbit_state s)
{
	switch (s) {
	case ORBIT_QUEUED:
		return "queued";
	case ORBIT_SENT:
		return "sent";
	case ORBIT_STALLED:
		return "stalled";
	case ORBIT_BACKOFF:
		return "backoff";
	case ORBIT_COMMITTING:
		return "committing";
	}
	return "?";
}

static void put_stalled(void *arg, const struct orbit_stalled *s)
{
	struct buf *b = arg;
	char tries[16] = "inf";

	if (b->len > TEXT_MAX)
		return;
	if (s->tries_left != UINT_MAX)
		snprintf(tries, sizeof(tries), "%u", s->tries_left);
	put(b,
		"handle=%" PRIu64 " state=%s age_ms=%" PRIu64 " silent_ms=%" PRIu64
		" tries_left=%s resends=%u kind=%s peer=%s reason=\"%s\"\n",
		s->handle, state_name(s->state), s->age / ENV_MS, s->silent / ENV_MS, tries,
		s->resends, s->writes ? "write" : "read", s->peer[0] ? s->peer : "none",
		s->reason ? s->reason : "");
}

static void put_counters(struct orbit_client *c, struct buf *b)
{
	struct orbit_counters n;

	orbit_counters(c, &n);
	put(b, "sent=%" PRIu64 "\nresent=%" PRIu64 "\ncompleted=%" PRIu64 "\nfailed=%" PRIu64 "\n",
		n.sent, n.resent, n.completed, n.failed);
	put(b,
		"cancelled=%" PRIu64 "\nstalled=%" PRIu64 "\nin_flight=%" PRIu64
		"\nreconnects=%" PRIu64 "\n",
		n.cancelled, n.stalled, n.in_flight, n.reconnects);
	put(b,
		"map_fetches=%" PRIu64 "\nconflicts=%" PRIu64 "\nbytes_sent=%" PRIu64
		"\nbytes_received=%" PRIu64 "\n",
		n.map_fetches, n.conflicts, n.bytes_sent, n.bytes_received);
}

int control_get(struct orbit_client *c, const char *name, struct buf *out)
{
	name += strlen(PREFIX);
	if (strcmp(name, "stalled") == 0)
		orbit_each(c, true, put_stalled, out);
	else if (strcmp(name, "counters") == 0)
		put_counters(c, out);
	else
		return -ENODATA;
	return out->err;
}

static int cancel(struct orbit_client *c, const void *value, size_t len)
{
	char text[24], *end;
	uint64_t handle;

	if (len == 0 || len >= sizeof(text))
		return -EINVAL;
	memcpy(text, value, len);
	text[len] = '\0';
	errno = 0;
	handle = strtoull(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9' || (*end && strcmp(end, "\n") != 0))
		return -EINVAL;
	return orbit_cancel(c, handle, false) ? 0 : -ENOENT;
}

int control_set(
	struct orbit_client *c, const char *name, const void *value, size_t len, uint32_t uid)
{
	name += strlen(PREFIX);
	if (strcmp(name, "retry") != 0 && strcmp(name, "cancel") != 0)
		return strcmp(name, "stalled") && strcmp(name, "counters") ? -ENODATA : -EPERM;
	if (uid != 0 && uid != getuid())
		return -EPERM;
	if (name[0] == 'c')
		return cancel(c, value, len);
	orbit_retry_now(c);
	return 0;
}

void control_list(struct buf *out)
{
	static const char names[] = PREFIX "stalled\0" PREFIX "counters";

	buf_bytes(out, names, sizeof(names));
}
