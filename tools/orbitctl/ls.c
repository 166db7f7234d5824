/* ls: all objects, or the map of one. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "tools/orbitctl/ctl.h"

#define BATCH 4096u                /* IDs asked for at once */
#define ENTRIES 512u               /* map entries asked for at once */
#define ENTRIES_BYTES (256u << 10) /* about so many bytes of them */

struct listing {
	struct ctl *k;
	struct await w;
	struct json j;
	uint8_t last[EFFECT_KEY_MAX]; /* the key to go on after */
	size_t last_len;
	bool complete;
	int rc;
	int op;
};

static void keep_last(struct listing *l, const void *key, size_t len)
{
	l->last_len = min_size(len, sizeof(l->last));
	memcpy(l->last, key, l->last_len);
}

/* ---- objects ---- */

static void print_id(struct listing *l, const void *key)
{
	char hex[ORBIT_ID_HEX];
	struct orbit_id id;

	memcpy(id.b, key, ORBIT_ID_LEN);
	orbit_id_hex(&id, hex);
	if (l->k->json)
		json_text(&l->j, NULL, hex);
	else
		puts(hex);
}

/* u8 complete, u32 n, n times blob key, blob value (wire.h, WIRE_LIST) */
static int take_ids(struct listing *l, const void *part, size_t len)
{
	struct cur c = cur_of(part, len);
	uint32_t n;

	l->complete = cur_u8(&c);
	n = cur_u32(&c);
	if (!n && !l->complete)
		return -EPROTO; /* it would never end */
	for (uint32_t i = 0; i < n && cur_ok(&c); i++) {
		size_t klen, vlen;
		const void *key = cur_blob(&c, EFFECT_KEY_MAX, &klen);

		cur_blob(&c, EFFECT_VALUE_MAX, &vlen);
		if (!key || klen != ORBIT_ID_LEN)
			return -EPROTO;
		print_id(l, key);
		keep_last(l, key, klen);
	}
	return cur_ok(&c) ? 0 : -EPROTO;
}

static void on_ids(void *arg, const struct orbit_reply *r)
{
	struct listing *l = arg;

	l->rc = r->rc;
	if (!l->rc)
		l->rc = r->nparts ? take_ids(l, r->part[0], r->part_len[0]) : -EPROTO;
	await_end(&l->w);
}

static int list_objects(struct listing *l, struct cluster *c)
{
	unsigned nshards = ring_nshards(orbit_ring(c->client));

	for (unsigned s = 0; s < nshards; s++) {
		l->last_len = 0;
		do {
			l->w = (struct await){.loop = c->loop};
			orbit_list(c->client, KEY_HEADER, (uint16_t)s, l->last, l->last_len, BATCH,
				false, on_ids, l);
			await(&l->w);
		} while (!l->rc && !l->complete);
		if (l->rc)
			return ctl_fail(l->k, "shard %u: %s", s, ctl_why(l->rc));
	}
	return CTL_OK;
}

/* ---- map entries ---- */

static void put_escaped(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (isgraph(p[i]) && p[i] != '\\')
			putchar(p[i]);
		else
			printf("\\x%02x", p[i]);
	}
}

static void json_hex(struct json *j, const char *key, const uint8_t *p, size_t len)
{
	char *text = mem_zalloc(2 * len + 1);

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	json_text(j, key, text);
	free(text);
}

static void print_entry(
	struct listing *l, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
	if (l->k->json) {
		json_object(&l->j, NULL);
		json_hex(&l->j, "key", key, klen);
		json_hex(&l->j, "value", val, vlen);
		json_close(&l->j);
		return;
	}
	put_escaped(key, klen);
	putchar(' ');
	put_escaped(val, vlen);
	putchar('\n');
}

/* u8 more, u32 n, n times {blob key, blob value, u8 followed} (txn.h, RANGE) */
static int take_entries(struct listing *l, const struct orbit_reply *r)
{
	struct txn_result res;
	struct cur c;
	uint32_t n;

	if (orbit_result(r, l->op, &res))
		return -EPROTO;
	c = cur_of(res.data, res.len);
	l->complete = !cur_u8(&c);
	n = cur_u32(&c);
	if (!n && !l->complete)
		return -EPROTO;
	for (uint32_t i = 0; i < n && cur_ok(&c); i++) {
		size_t klen, vlen;
		const void *key = cur_blob(&c, TXN_KEY_MAX, &klen);
		const void *val = cur_blob(&c, TXN_VALUE_MAX, &vlen);

		if (cur_u8(&c) || !key || !val)
			return -EPROTO;
		print_entry(l, key, klen, val, vlen);
		keep_last(l, key, klen);
	}
	return cur_ok(&c) ? 0 : -EPROTO;
}

static void on_entries(void *arg, const struct orbit_reply *r)
{
	struct listing *l = arg;

	if (!r->rc)
		l->rc = take_entries(l, r);
}

static int list_entries(struct listing *l, struct cluster *c, const char *name)
{
	struct orbit_id id = ctl_id(name);
	bool first = true;
	int rc;

	do {
		struct txn_build t;

		txn_init(&t);
		txn_exists(&t, &id);
		l->op = txn_range(
			&t, &id, l->last, l->last_len, first, ENTRIES, ENTRIES_BYTES, NULL);
		first = false;
		rc = ctl_submit(c, &t, on_entries, l);
	} while (!rc && !l->rc && !l->complete);
	if (rc == -ECANCELED)
		return ctl_fail(l->k, "%s: no such object", name), CTL_NOT_FOUND;
	if (rc || l->rc)
		return ctl_fail(l->k, "%s: %s", name, ctl_why(rc ? rc : l->rc));
	return CTL_OK;
}

int cmd_ls(struct ctl *k)
{
	struct listing l = {.k = k};
	struct cluster c;
	int code = ctl_open(k, &c);

	if (code)
		return code;
	json_begin(&l.j, stdout);
	if (k->json)
		json_array(&l.j, NULL);
	code = k->nargs ? list_entries(&l, &c, k->args[0]) : list_objects(&l, &c);
	if (k->json)
		json_close(&l.j);
	return ctl_close(k, &c, code);
}
