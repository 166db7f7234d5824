/*
 * Control of the client within a mount, by extended attributes of its root directory. They are
 * answered here, so that they work when no node does.
 *
 *   system.orbitfs.stalled    transactions that stall, a line of logfmt each
 *   system.orbitfs.counters   of the client, "name=value" lines
 *   system.orbitfs.retry      everything in flight is sent again now
 *   system.orbitfs.cancel.N   the transaction with the handle N is given up with EINTR
 *
 * The last two act when they are read: to set an attribute the kernel takes the directory's lock,
 * and a lookup in it that stalls holds that very lock.
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
#define RETRY "retry"
#define CANCEL "cancel."
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
	put(b,
		"leases=%" PRIu64 "\nleases_granted=%" PRIu64 "\nleases_recalled=%" PRIu64
		"\nleases_returned=%" PRIu64 "\nleases_lost=%" PRIu64 "\n",
		n.leases, n.leases_granted, n.leases_recalled, n.leases_returned, n.leases_lost);
}

static int cancel(struct orbit_client *c, const char *text)
{
	uint64_t handle;
	char *end;

	errno = 0;
	handle = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end)
		return -EINVAL;
	return orbit_cancel(c, handle, false) ? 0 : -ENOENT;
}

static int act(struct orbit_client *c, const char *name, uint32_t uid, struct buf *out)
{
	int rc = 0;

	if (uid != 0 && uid != getuid())
		return -EPERM;
	if (*name == 'c')
		rc = cancel(c, name + strlen(CANCEL));
	else
		orbit_retry_now(c);
	if (!rc)
		put(out, "done\n");
	return rc;
}

int control_get(struct orbit_client *c, const char *name, uint32_t uid, struct buf *out)
{
	int rc = 0;

	name += strlen(PREFIX);
	if (strcmp(name, "stalled") == 0)
		orbit_each(c, true, put_stalled, out);
	else if (strcmp(name, "counters") == 0)
		put_counters(c, out);
	else if (strcmp(name, RETRY) == 0 || strncmp(name, CANCEL, strlen(CANCEL)) == 0)
		rc = act(c, name, uid, out);
	else
		return -ENODATA;
	return rc ? rc : out->err;
}

void control_list(struct buf *out)
{
	static const char names[] = PREFIX "stalled\0" PREFIX "counters";

	buf_bytes(out, names, sizeof(names));
}
