#include "tools/orbitd/join.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tools/common/cluster.h"
#include "tools/common/fsid.h"
#include "tools/common/probe.h"

#define ASK_TIMEOUT (2 * ENV_SEC)
#define AGAIN_AFTER (500 * ENV_MS)
#define SAY_EVERY (10 * ENV_SEC)

static const uint8_t none[16];

static int ask(struct loop *lp, const char *addr, uint64_t timeout, uint8_t fsid[16], char *why,
	size_t why_len)
{
	struct probe *p;
	int rc = probe_open(&p, lp, addr, timeout, why, why_len);

	if (rc)
		return rc;
	memcpy(fsid, probe_hello(p)->fsid, sizeof(none));
	if (probe_hello(p)->role != WIRE_ROLE_NODE || !memcmp(fsid, none, sizeof(none))) {
		snprintf(why, why_len, "%s: not a node", addr);
		rc = -EPROTO;
	}
	probe_close(p);
	return rc;
}

int join_meet(struct loop *lp, const struct config *c, uint8_t fsid[16], char *why, size_t why_len)
{
	uint64_t said = 0;

	for (;;) {
		for (unsigned i = 0; i < c->join.n; i++) {
			int rc = ask(lp, c->join.at[i], ASK_TIMEOUT, fsid, why, why_len);

			if (!rc || rc == -EINVAL)
				return rc;
		}
		if (!said || env_now(loop_env(lp)) - said >= SAY_EVERY) {
			log_warn("mod=orbitd reason=\"%s\" msg=\"nobody to join answers, trying "
				 "on\"",
				why);
			said = env_now(loop_env(lp));
		}
		await_pause(lp, AGAIN_AFTER);
	}
}

int join_check(struct loop *lp, const struct config *c, const uint8_t fsid[16], uint64_t timeout,
	char *why, size_t why_len)
{
	char ours[FSID_HEX], other[FSID_HEX];
	uint8_t theirs[16];

	for (unsigned i = 0; i < c->join.n; i++) {
		if (ask(lp, c->join.at[i], timeout, theirs, why, why_len) ||
			!memcmp(theirs, fsid, sizeof(theirs)))
			continue;
		snprintf(why, why_len, "%s: serves another filesystem (%s) than the store (%s)",
			c->join.at[i], fsid_hex(theirs, other), fsid_hex(fsid, ours));
		return -EMEDIUMTYPE;
	}
	return 0;
}
