/*
 * statfs: the sum over all nodes of what their disks have, asked at most once a second.
 *
 * Those who ask while the nodes are being asked wait for that answer. A node that fails to answer
 * counts with what it said last.
 */
#include "fs/ops/statfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "dht/wire/wire.h"
#include "fs/ops/op.h"

#define GOOD_FOR ENV_SEC
#define BLOCK 4096u

struct node_space {
	struct orbit_id node;
	uint64_t used, available;
	bool known;
};

struct statfs_op {
	struct op op;
	struct statvfs *out;
	TAILQ_ENTRY(statfs_op) entry;
};

struct statfs_cache {
	TAILQ_HEAD(, statfs_op) waiting;
	uint64_t since; /* env_now() when the nodes were asked last */
	uint64_t until; /* env_now() until which the sum is good */
	unsigned asked; /* answers awaited */
	int rc;         /* first error of this round, of a node that never answered */
	unsigned n;
	struct node_space *node;
};

struct ask {
	struct fs *fs;
	struct orbit_id node;
};

void statfs_free(struct fs *fs)
{
	if (!fs->statfs)
		return;
	free(fs->statfs->node);
	free(fs->statfs);
	fs->statfs = NULL;
}

static struct node_space *space_of(struct statfs_cache *s, const struct orbit_id *node)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (!orbit_id_cmp(&s->node[i].node, node))
			return &s->node[i];
	}
	return NULL;
}

static void answer(struct statfs_cache *s, struct statfs_op *o)
{
	uint64_t used = 0, available = 0;
	bool any = false;

	for (unsigned i = 0; i < s->n; i++) {
		used += s->node[i].used;
		available += s->node[i].available;
		any |= s->node[i].known;
	}
	if (any) {
		memset(o->out, 0, sizeof(*o->out));
		o->out->f_bsize = o->out->f_frsize = BLOCK;
		/* not all of the nodes' disks: those hold other things too, and a reserve */
		o->out->f_blocks = (used + available) / BLOCK;
		o->out->f_bfree = o->out->f_bavail = available / BLOCK;
		/* the store knows no limit but its bytes */
		o->out->f_files = o->out->f_blocks;
		o->out->f_ffree = o->out->f_favail = available / BLOCK;
		o->out->f_namemax = LAYOUT_NAME_MAX;
	}
	op_end(&o->op, any ? 0 : s->rc ? s->rc : -EIO);
}

static uint64_t number(const char *text, size_t len)
{
	char digits[24] = {0};

	memcpy(digits, text, min_size(len, sizeof(digits) - 1));
	return strtoull(digits, NULL, 10);
}

static void pair(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	struct node_space *ns = arg;

	if (nlen == 9 && !memcmp(name, "store.log", 9)) {
		ns->used = number(text, tlen);
		ns->known = true;
	} else if (nlen == 15 && !memcmp(name, "store.available", 15)) {
		ns->available = number(text, tlen);
	}
}

static void status_done(void *arg, const struct orbit_reply *r)
{
	struct ask *ask = arg;
	struct fs *fs = ask->fs;
	struct statfs_cache *s = fs->statfs;
	struct node_space *ns = space_of(s, &ask->node);
	struct statfs_op *o;
	int rc = r->rc;

	free(ask);
	if (!rc && r->nparts == 1 && ns)
		rc = wire_get_stats(cur_of(r->part[0], r->part_len[0]), pair, ns);
	if (rc && !s->rc)
		s->rc = rc;
	if (--s->asked == 0) {
		s->until = env_now(fs->env) + GOOD_FOR;
		while ((o = TAILQ_FIRST(&s->waiting))) {
			TAILQ_REMOVE(&s->waiting, o, entry);
			answer(s, o);
		}
	}
}

/* Keeps what is known of the nodes that are still in the map. */
static void take_nodes(struct statfs_cache *s, const struct ring_map *map)
{
	struct node_space *node = mem_grow(NULL, map->nnodes, sizeof(*node));
	const struct node_space *old;

	for (unsigned i = 0; i < map->nnodes; i++) {
		old = space_of(s, &map->nodes[i].id);
		node[i] = old ? *old : (struct node_space){.node = map->nodes[i].id};
	}
	free(s->node);
	s->node = node;
	s->n = map->nnodes;
}

static void ask_all(struct fs *fs)
{
	struct statfs_cache *s = fs->statfs;
	unsigned n = s->n;
	struct mount_txn *m;
	struct ask *ask;

	s->rc = 0;
	s->since = env_now(fs->env);
	s->asked = n;
	for (unsigned i = 0; i < n; i++) {
		ask = mem_zalloc(sizeof(*ask));
		ask->fs = fs;
		ask->node = s->node[i].node;
		m = mount_track(fs, NULL, status_done, ask);
		mount_tracked(m, orbit_status(fs->client, i, mount_track_done, m));
	}
}

/* The asking goes on, for whoever comes next. */
static void statfs_interrupt(struct fs *fs, struct fs_call *c, bool fatal)
{
	struct statfs_op *o = c->impl;

	if (!fatal && env_now(fs->env) < fs->statfs->since + fs->cfg.policy.check_timeout)
		return;
	TAILQ_REMOVE(&fs->statfs->waiting, o, entry);
	op_end(&o->op, -EINTR);
}

void fs_statfs(struct fs *fs, struct fs_call *c, struct statvfs *out)
{
	const struct ring_map *map = orbit_ring(fs->client);
	struct statfs_op *o;

	if (!fs->statfs) {
		fs->statfs = mem_zalloc(sizeof(*fs->statfs));
		TAILQ_INIT(&fs->statfs->waiting);
	}
	o = op_new(sizeof(*o), fs, c);
	o->out = out;
	if (!fs->statfs->asked && fs->statfs->until > env_now(fs->env)) {
		answer(fs->statfs, o);
		return;
	}
	if (!map) {
		op_end(&o->op, -EIO);
		return;
	}
	c->impl = o;
	c->interrupt = statfs_interrupt;
	TAILQ_INSERT_TAIL(&fs->statfs->waiting, o, entry);
	if (!fs->statfs->asked) { /* the answer comes later, never from inside */
		take_nodes(fs->statfs, map);
		ask_all(fs);
	}
}
