/*
 * The ring map as this node has it: taking newer ones, telling others, keeping it on disk.
 *
 * The newest map wins, whoever had it; whoever is connected is told of its epoch (EPOCH) and
 * fetches what is missing. A node that votes has the map in the keeper's files; any other keeps the
 * newest it saw in "keeper-map", to find the others after a restart:
 *
 *   u32 "KMAP", u16 1, u32 number of this node (0: none yet), blob map, u32 CRC32C of all before
 */
#include "dht/node/keep_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/disk.h"
#include "dht/store/work.h"

#define MAP_FILE "keeper-map"
#define MAP_MAGIC 0x50414d4bu
#define MAP_FORMAT 1
#define SAVE_EVERY ENV_SEC

struct save {
	struct work w;
	struct disk *disk;
	struct buf b;
	int rc;
};

/* ---- maps ---- */

void keep_drop_diffs(struct keep *k)
{
	for (unsigned i = 0; i < KEEP_DIFFS; i++) {
		buf_fini(&k->diffs[i].b);
		k->diffs[i].from = 0;
	}
}

static void diff_keep(struct keep *k, const struct ring_map *old, const struct ring_map *m)
{
	struct diff *d = &k->diffs[m->epoch % KEEP_DIFFS];

	if (m->epoch != old->epoch + 1) {
		keep_drop_diffs(k);
		return;
	}
	buf_reset(&d->b);
	ring_diff(old, m, &d->b);
	d->from = d->b.err ? 0 : old->epoch;
}

/* Do the differences reach from @epoch to our map, and what do they weigh? */
static bool diffs_reach(const struct node *n, uint64_t epoch, size_t *len)
{
	const struct keep *k = n->keep;

	*len = 0;
	if (!epoch || n->ring->epoch - epoch > KEEP_DIFFS)
		return false;
	for (; epoch < n->ring->epoch; epoch++) {
		const struct diff *d = &k->diffs[(epoch + 1) % KEEP_DIFFS];

		if (d->from != epoch)
			return false;
		*len += 4 + d->b.len;
	}
	return true;
}

void keep_put_map(const struct node *n, uint64_t epoch, struct buf *b)
{
	struct wire_map m = {.epoch = n->ring ? n->ring->epoch : 0};
	struct buf whole = {0};
	size_t len;

	if (!n->ring || n->ring->epoch <= epoch) {
		wire_put_map(b, &m);
		return;
	}
	/* many of them may weigh more than the map, and more than a frame holds */
	if (diffs_reach(n, epoch, &len) && len <= ring_encoded_len(n->ring)) {
		m.form = WIRE_MAP_DIFFS;
		wire_put_map(b, &m);
		buf_reserve(b, len);
		for (; epoch < n->ring->epoch; epoch++) {
			const struct diff *d = &n->keep->diffs[(epoch + 1) % KEEP_DIFFS];

			buf_blob(b, d->b.data, d->b.len);
		}
		return;
	}
	m.form = WIRE_MAP_WHOLE;
	wire_put_map(b, &m);
	ring_encode(n->ring, &whole);
	buf_bytes(b, whole.data, whole.len);
	if (whole.err)
		b->err = whole.err;
	buf_fini(&whole);
}

static void tell_epoch(struct node *n)
{
	const struct ring_map *m = n->ring;
	struct frame *f = frame_new(WIRE_EPOCH, 0, 8);
	struct conn *c;

	buf_u64(&f->b, m->epoch);
	TAILQ_FOREACH (c, &n->conns, entry) {
		if (c->hello && !c->doomed)
			link_send(c->link, frame_ref(f));
	}
	/* the leader sees to it that all hear of it */
	for (unsigned i = 0; keeper_leads(n->keeper) && i < m->nnodes; i++) {
		if (i != n->self && m->nodes[i].up)
			peer_tell(n, (uint16_t)i, frame_ref(f));
	}
	frame_unref(f);
}

/* A map may call us by another ID than we knew. */
static void renamed(void *arg, int rc)
{
	(void)arg;
	if (rc)
		log_error("mod=node rc=-%s msg=\"cannot store the node's new ID\"", log_errno(rc));
}

static void find_self(struct node *n)
{
	const struct ring_map *m = n->ring;
	char id[ORBIT_ID_HEX];
	uint16_t at = ring_find(m, &n->id);
	struct peer *p;

	if (at == RING_NONE && n->keep->number) {
		at = ring_find_number(m, n->keep->number);
		if (at != RING_NONE) {
			n->id = m->nodes[at].id;
			log_info("mod=node node=%s msg=\"has a new ID\"", orbit_id_hex(&n->id, id));
			store_rename(n->st, &n->id, renamed, NULL);
			/* the others go by what HELLO said */
			TAILQ_FOREACH (p, &n->peers, entry)
				peer_break(p, -ECONNRESET);
		}
	}
	n->self = at;
	n->registered =
		at != RING_NONE && m->nodes[at].up && m->nodes[at].incarnation == n->incarnation;
	if (at != RING_NONE && m->nodes[at].number) {
		n->keep->number = m->nodes[at].number;
		keeper_number(n->keeper, n->keep->number);
	}
}

static void save_soon(struct node *n);

/* Could others not be found by the one who are in the other? */
static bool others_in(const struct ring_map *a, const struct ring_map *b)
{
	if (a->nnodes != b->nnodes)
		return true;
	for (unsigned i = 0; i < a->nnodes; i++) {
		const struct ring_node *x = &a->nodes[i], *y = &b->nodes[i];

		if (x->number != y->number || x->voter != y->voter || x->naddrs != y->naddrs ||
			orbit_id_cmp(&x->id, &y->id) ||
			memcmp(x->addr, y->addr, x->naddrs * sizeof(x->addr[0])))
			return true;
	}
	return false;
}

int keep_adopt(struct node *n, struct ring_map *m)
{
	struct ring_map *old = (struct ring_map *)n->ring;
	struct keep *k = n->keep;
	bool was = n->registered;
	int rc;

	if (n->stopping)
		return -ESHUTDOWN; /* what others led would be taken over */
	if (old && m->epoch <= old->epoch)
		return -EEXIST;
	if (memcmp(m->fsid, n->fsid, sizeof(n->fsid)))
		return -EMEDIUMTYPE;
	if (old && m->shard_bits != old->shard_bits)
		return -EINVAL; /* objects would change their shards */
	n->ring = ring_ref(m);
	if (old)
		diff_keep(k, old, m);
	k->urgent |= !old || others_in(old, m);
	find_self(n);
	log_line(n->registered == was && old ? LOG_LVL_DEBUG : LOG_LVL_INFO,
		"mod=node epoch=%" PRIu64 " nodes=%u registered=%d msg=\"new ring map\"", m->epoch,
		m->nnodes, n->registered);
	rc = node_adopt(n, old);
	ring_unref(old);
	if (rc)
		return rc;
	if (n->registered && !k->levelled) {
		k->levelled = true;
		store_levelled(n->st);
	}
	ahead_mapped(n);
	save_soon(n);
	tell_epoch(n);
	/* registers, or begins to say that it is alive */
	env_timer_set(n->env, &k->timer, env_now(n->env));
	return 0;
}

static int follow(struct node *n, const struct wire_map *w, struct ring_map **out)
{
	struct cur diffs = cur_of(w->map, w->map_len);
	struct ring_map *m = n->ring ? ring_ref((struct ring_map *)n->ring) : NULL, *next;
	int rc = m ? 0 : -EBADMSG;

	while (!rc && diffs.left) {
		size_t len;
		const void *diff = cur_blob(&diffs, FRAME_BODY_MAX, &len);

		rc = diff ? ring_patch(m, diff, len, &next) : -EBADMSG;
		if (rc)
			break;
		ring_unref(m);
		m = next;
	}
	if (rc)
		ring_unref(m);
	else
		*out = m;
	return rc == -ESTALE ? -EEXIST : rc;
}

int keep_take(struct node *n, const struct wire_map *m)
{
	struct ring_map *map;
	int rc;

	if (m->form == WIRE_MAP_NONE)
		return -EEXIST;
	rc = m->form == WIRE_MAP_DIFFS ? follow(n, m, &map) : ring_decode(m->map, m->map_len, &map);
	if (rc)
		return rc;
	rc = keep_adopt(n, map);
	ring_unref(map);
	return rc;
}

void keep_brought(struct node *n, struct frame *f)
{
	struct wire_map m;
	int rc = wire_get_map(frame_cur(f), &m);

	if (!rc && !n->stopping)
		rc = keep_take(n, &m);
	if (rc && rc != -EEXIST)
		log_warn("mod=node rc=-%s msg=\"a node brought a ring map that is of no use here\"",
			log_errno(rc));
}

void keep_epoch(struct node *n, const struct orbit_id *from, struct frame *f)
{
	struct cur c = frame_cur(f);
	uint64_t epoch = cur_u64(&c);

	bool known;

	if (!cur_done(&c) || !n->ring || n->stopping)
		return;
	known = epoch == n->ring->epoch || epoch == n->fetch_epoch;
	route_epoch(n, ring_find(n->ring, from), epoch);
	/* nothing new from the leader: it wants to know whether we live */
	if (known && ring_find(n->ring, from) == n->ring->keeper)
		env_timer_set(n->env, &n->keep->timer, env_now(n->env));
}

/* ---- the map on disk ---- */

static void save_run(struct work *w)
{
	struct save *s = container_of(w, struct save, w);

	s->rc = s->b.err ? s->b.err : s->disk->ops->save(s->disk, MAP_FILE, s->b.data, s->b.len);
}

static void save_done(struct work *w)
{
	struct save *s = container_of(w, struct save, w);
	struct node *n = w->owner;

	if (n) {
		n->keep->saving = false;
		if (s->rc) /* it is a help, not a need */
			log_warn("mod=node rc=-%s msg=\"cannot keep a copy of the ring map\"",
				log_errno(s->rc));
		if (n->stopping)
			node_check_stopped(n);
		else
			save_soon(n);
	}
	buf_fini(&s->b);
	free(s);
}

void keep_map_save(struct env_timer *t)
{
	struct keep *k = container_of(t, struct keep, save_timer);
	struct node *n = k->n;
	struct save *s;
	size_t at;

	if (k->saving || n->stopping)
		return;
	s = mem_zalloc(sizeof(*s));
	s->disk = store_disk(n->st);
	buf_u32(&s->b, MAP_MAGIC);
	buf_u16(&s->b, MAP_FORMAT);
	buf_u32(&s->b, k->number);
	at = s->b.len;
	buf_u32(&s->b, 0);
	ring_encode(n->ring, &s->b);
	if (!s->b.err) {
		buf_set_u32(&s->b, at, (uint32_t)(s->b.len - at - 4));
		buf_u32(&s->b, crc32c(s->b.data, s->b.len));
	}
	k->saving = true;
	k->urgent = false;
	k->saved = n->ring->epoch;
	work_start(&s->w, k->gate, n, k, save_run, save_done);
}

/* Who votes too: what the keeper's files give at a start is the map of the last snapshot, until a
 * leader tells which later entries are committed; and without a newer map the other voters may not
 * be found, so that there never is one. */
static void save_soon(struct node *n)
{
	struct keep *k = n->keep;

	if (k->saving || n->ring->epoch <= k->saved || (k->save_timer.armed && !k->urgent))
		return;
	env_timer_set(n->env, &k->save_timer, env_now(n->env) + (k->urgent ? 0 : SAVE_EVERY));
}

int keep_map_load(struct node *n)
{
	struct disk *d = store_disk(n->st);
	struct keep *k = n->keep;
	struct ring_map *map;
	struct buf b = {0};
	struct cur c;
	const void *at = NULL;
	uint32_t number;
	size_t len;
	int rc;

	rc = d->ops->load(d, MAP_FILE, &b, FRAME_BODY_MAX);
	if (rc) {
		buf_fini(&b);
		return rc == -ENOENT ? 0 : rc;
	}
	c = cur_of(b.data, b.len > 4 ? b.len - 4 : 0);
	if (cur_u32(&c) == MAP_MAGIC && cur_u16(&c) == MAP_FORMAT) {
		struct cur tail = cur_of(b.data + b.len - 4, 4);

		number = cur_u32(&c);
		if (cur_u32(&tail) == crc32c(b.data, b.len - 4))
			at = cur_blob(&c, FRAME_BODY_MAX, &len);
	}
	if (!at || ring_decode(at, len, &map)) {
		log_warn("mod=node msg=\"" MAP_FILE " is damaged: asking for the ring map anew\"");
	} else {
		k->number = number;
		k->saved = map->epoch;
		rc = keep_adopt(n, map);
		ring_unref(map);
	}
	buf_fini(&b);
	return rc == -EEXIST ? 0 : rc;
}
