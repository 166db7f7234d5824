/*
 * verify: are all copies of a shard the same? Each member is asked for all that it has of the
 * shard, in order, and for the bytes of all streams; a digest of that must be the same for all. How
 * a stream is cut into extents may differ from copy to copy and is not part of it.
 *
 * On a cluster in use the copies are not looked at at the same moment: shards that differ, or that
 * changed meanwhile, are looked at again a few times.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/store/key.h"
#include "dht/wire/wire_learn.h"
#include "tools/common/probe.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/gather.h"

#define TRIES 6
#define AGAIN_AFTER (500 * ENV_MS)
#define WALK_BYTES (512u << 10)
#define DIGEST 32

struct verify {
	struct ctl *k;
	struct cluster *c;
	const struct ring_map *map;
	struct probe **probes; /* by node; NULL: not asked yet */
	uint64_t shards, copies, bytes;
	unsigned bad; /* shards of which copies differ, or that could not be read */
	struct json j;
};

/* What one copy has. */
struct digest {
	EVP_MD_CTX *sha;
	uint8_t sum[DIGEST];
	uint64_t term, seq; /* its last effect, when the walk began */
	bool changed;       /* it went on meanwhile */
	/* The run of bytes that is being summed: its object and where it ends; end 0: none. */
	struct orbit_id id;
	uint64_t begin, end;
	char why[512];
};

static void sum(struct digest *d, const void *data, size_t len)
{
	EVP_DigestUpdate(d->sha, data, len);
}

static void sum_u64(struct digest *d, uint64_t v)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> 8 * i);
	sum(d, b, sizeof(b));
}

static void end_run(struct digest *d)
{
	if (!d->end)
		return;
	sum_u64(d, d->begin);
	sum_u64(d, d->end);
	d->end = 0;
}

/* ---- asking ---- */

static struct probe *probe_of(struct verify *v, uint16_t node, char *why, size_t why_len)
{
	const struct ring_node *n = &v->map->nodes[node];

	for (unsigned i = 0; !v->probes[node] && i < n->naddrs; i++) {
		if (probe_open(
			    &v->probes[node], v->c->loop, n->addr[i], v->k->timeout, why, why_len))
			v->probes[node] = NULL;
	}
	return v->probes[node];
}

/* Sends @f, checks the answer's status; its results stay good as long as *answer. */
static int ask(struct verify *v, uint16_t node, struct digest *d, struct frame *f,
	struct frame **answer, struct wire_reply *r)
{
	struct probe *p = probe_of(v, node, d->why, sizeof(d->why));
	int rc;

	if (!p) {
		frame_unref(f);
		return -EHOSTUNREACH;
	}
	rc = probe_ask(p, f, answer);
	if (rc) {
		snprintf(
			d->why, sizeof(d->why), "%s: %s", v->map->nodes[node].addr[0], ctl_why(rc));
		probe_close(p);
		v->probes[node] = NULL;
		return rc;
	}
	rc = (*answer)->type == WIRE_REPLY ? wire_get_reply(frame_cur(*answer), r) : -EPROTO;
	if (!rc)
		rc = wire_errno(r->status);
	if (!rc)
		return 0;
	snprintf(d->why, sizeof(d->why), "%s: %s", v->map->nodes[node].addr[0], strerror(-rc));
	frame_unref(*answer);
	*answer = NULL;
	return rc;
}

/* Sums [off, off+len) of the stream of d->id. */
static int sum_bytes(struct verify *v, uint16_t node, uint16_t shard, struct digest *d,
	uint64_t off, uint64_t len)
{
	while (len) {
		uint32_t part = len < WIRE_BYTES_MAX ? (uint32_t)len : WIRE_BYTES_MAX;
		struct wire_bytes m = {.shard = shard, .term = d->term, .seq = d->seq, .n = 1};
		struct wire_bytes_range range = {.id = d->id, .off = off, .len = part};
		struct frame *f = frame_new(WIRE_BYTES, 0, 128), *answer;
		struct wire_reply r;
		int rc;

		wire_put_bytes_head(&f->b, &m);
		wire_put_bytes_range(&f->b, &range);
		rc = ask(v, node, d, f, &answer, &r);
		if (rc)
			return rc;
		if (r.results_len != part)
			rc = -EPROTO;
		else
			sum(d, r.results, part);
		frame_unref(answer);
		if (rc)
			return rc;
		off += part;
		len -= part;
		v->bytes += part;
	}
	return 0;
}

static int sum_chunks(struct verify *v, uint16_t node, uint16_t shard, struct digest *d,
	const struct wire_walk_entry *e)
{
	struct cur c = cur_of(e->chunks, (size_t)e->n * WIRE_WALK_CHUNK);

	for (uint32_t i = 0; i < e->n; i++) {
		uint64_t off = cur_u64(&c);
		uint32_t len = cur_u32(&c);
		int rc;

		cur_u32(&c); /* what it says of the bytes; we look at them */
		if (off != d->end || !d->end) {
			end_run(d);
			d->begin = off;
		}
		rc = sum_bytes(v, node, shard, d, off, len);
		if (rc)
			return rc;
		d->end = off + len;
	}
	return 0;
}

static int sum_entry(struct verify *v, uint16_t node, uint16_t shard, struct digest *d,
	const struct wire_walk_entry *e)
{
	const uint8_t *key = e->key;

	if (e->item == WIRE_WALK_EXTENTS)
		return sum_chunks(v, node, shard, d, e);
	end_run(d);
	if (e->klen >= KEY_HEAD + ORBIT_ID_LEN && key[0] == KEY_HEADER)
		memcpy(d->id.b, key + KEY_HEAD, ORBIT_ID_LEN);
	sum_u64(d, e->klen);
	sum(d, e->key, e->klen);
	sum_u64(d, e->vlen);
	sum(d, e->val, e->vlen);
	return 0;
}

/* One answer of a walk: *at is moved on. 1: there is more; 0; -errno. */
static int walk_once(struct verify *v, uint16_t node, uint16_t shard, struct digest *d,
	struct buf *at, uint64_t *off)
{
	struct wire_walk m = {.shard = shard,
		.max = WALK_BYTES,
		.off = *off,
		.after = at->data,
		.after_len = at->len};
	struct frame *f = frame_new(WIRE_WALK, 0, 1200), *answer;
	struct wire_walk_reply w;
	struct wire_walk_entry e;
	struct wire_reply r;
	int rc;

	wire_put_walk(&f->b, &m);
	rc = ask(v, node, d, f, &answer, &r);
	if (rc)
		return rc;
	rc = wire_get_walk_reply(cur_of(r.results, r.results_len), &w);
	if (!rc) {
		if (!at->len)
			d->term = w.term, d->seq = w.seq;
		d->changed |= d->term != w.term || d->seq != w.seq;
		while (!rc && (rc = wire_get_walk_entry(&w.items, &e)) == 1)
			rc = sum_entry(v, node, shard, d, &e);
	}
	if (!rc && !w.done) {
		at->len = 0;
		buf_bytes(at, w.after, w.after_len);
		*off = w.off;
		rc = at->err ? at->err : 1;
	}
	frame_unref(answer);
	return rc;
}

static int sum_copy(struct verify *v, uint16_t node, uint16_t shard, struct digest *d)
{
	struct buf at = {0};
	uint64_t off = 0;
	int rc;

	d->changed = false;
	d->end = 0;
	*d->why = 0;
	d->sha = EVP_MD_CTX_new();
	if (!d->sha || !EVP_DigestInit_ex(d->sha, EVP_sha256(), NULL))
		rc = -ENOMEM;
	else
		do
			rc = walk_once(v, node, shard, d, &at, &off);
		while (rc == 1);
	end_run(d);
	if (!rc && !EVP_DigestFinal_ex(d->sha, d->sum, NULL))
		rc = -ENOMEM;
	if (rc && !*d->why)
		snprintf(d->why, sizeof(d->why), "node %u: %s", v->map->nodes[node].number,
			strerror(-rc));
	EVP_MD_CTX_free(d->sha);
	buf_fini(&at);
	return rc;
}

/* ---- comparing ---- */

enum verdict { SAME, DIFFERENT, UNREAD };

static enum verdict compare(struct verify *v, uint16_t shard, char *why, size_t why_len)
{
	const struct ring_shard *s = &v->map->shards[shard];
	enum verdict verdict = SAME;
	struct digest first, d;

	for (unsigned i = 0; i < s->nmembers; i++) {
		struct digest *now = i ? &d : &first;

		if (sum_copy(v, s->member[i], shard, now)) {
			snprintf(why, why_len, "%s", now->why);
			return UNREAD;
		}
		if (now->changed || (i && (d.seq != first.seq || d.term != first.term ||
						  memcmp(d.sum, first.sum, DIGEST)))) {
			snprintf(why, why_len,
				"node %u (last effect %" PRIu64 ".%" PRIu64
				") differs from node %u (%" PRIu64 ".%" PRIu64 ")",
				v->map->nodes[s->member[i]].number, now->term, now->seq,
				v->map->nodes[s->member[0]].number, first.term, first.seq);
			verdict = DIFFERENT;
		}
	}
	return verdict;
}

static void verify_shard(struct verify *v, uint16_t shard)
{
	enum verdict verdict;
	char why[512];

	for (unsigned try = 0; (verdict = compare(v, shard, why, sizeof(why))) != SAME; try++) {
		if (try == TRIES)
			break;
		await_pause(v->c->loop, AGAIN_AFTER);
	}
	v->shards++;
	v->copies += v->map->shards[shard].nmembers;
	if (verdict == SAME)
		return;
	v->bad++;
	if (!v->k->json) {
		printf("shard %u: %s\n", shard, why);
		return;
	}
	json_object(&v->j, NULL);
	json_number(&v->j, "shard", shard);
	json_bool(&v->j, "read", verdict == DIFFERENT);
	json_text(&v->j, "why", why);
	json_close(&v->j);
}

static void verify_all(struct verify *v)
{
	if (v->k->json) {
		json_begin(&v->j, stdout);
		json_object(&v->j, NULL);
		json_array(&v->j, "differ");
	}
	for (unsigned i = 0; i < ring_nshards(v->map); i++)
		verify_shard(v, (uint16_t)i);
	if (v->k->json) {
		json_close(&v->j);
		json_number(&v->j, "shards", v->shards);
		json_number(&v->j, "copies", v->copies);
		json_number(&v->j, "bytes", v->bytes);
		json_number(&v->j, "bad", v->bad);
		json_close(&v->j);
	} else {
		char bytes[TEXT_SIZE_MAX];

		printf("%" PRIu64 " shards, %" PRIu64 " copies, %s: ", v->shards, v->copies,
			text_size(v->bytes, bytes));
		if (v->bad)
			printf("%u shards differ\n", v->bad);
		else
			printf("all copies are equal\n");
	}
}

static int show_verify(struct ctl *k, struct cluster *c)
{
	struct verify v = {.k = k, .c = c};
	struct gather g;
	int code = ctl_gather(k, c, &g);

	if (code)
		return code;
	v.map = g.map;
	v.probes = mem_zalloc(g.map->nnodes * sizeof(struct probe *));
	verify_all(&v);
	for (unsigned i = 0; i < g.map->nnodes; i++)
		probe_close(v.probes[i]);
	free(v.probes);
	gather_fini(&g);
	return v.bad ? CTL_REFUSED : CTL_OK;
}

int cmd_verify(struct ctl *k)
{
	return ctl_repeat(k, show_verify);
}
