/*
 * What a shard remembers of a session, so that each transaction takes effect at most once:
 *
 *   KEY_REPLY, session, number   u64 floor of the request, then the reply's body
 *   KEY_FLOOR, session           u8 format, u64 floor, u32 n, n times u64 abandoned number
 *
 * A number is refused when it lies below the floor or was abandoned. The floor that the log knows
 * is the highest in either record. A reply goes, in the next effect that has its shard and session
 * in it, once the floor has passed it and enough of them have come together; KEY_FLOOR is then
 * written along, as the floor that the reply had recorded goes with it.
 *
 * A floor that only reads brought stays in memory. It can be lost by a restart or when another node
 * takes over; what it refused is then refused by nobody, but nothing can arrive late either: what
 * was sent under the map before is refused, and peer.c drops what it had in line for an earlier
 * incarnation. Abandoned numbers are in the log
 * before the request that named them is answered.
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define FLOOR_FORMAT 1
#define REPLIES_BATCH 32 /* that may go before they do */
#define REPLIES_ONCE 256 /* that go in one effect */

/* ---- ascending numbers ---- */

/* Index of the first that is >= @number. */
static size_t numbers_at(const struct numbers *a, uint64_t number)
{
	size_t lo = a->head, hi = a->len;

	/* nearly always the newest */
	if (lo == hi || a->v[hi - 1] < number)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (a->v[mid] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void numbers_add(struct numbers *a, uint64_t number)
{
	size_t at;

	if (a->len == a->cap && a->head > a->cap / 2) {
		memmove(a->v, a->v + a->head, (a->len - a->head) * sizeof(*a->v));
		a->len -= a->head;
		a->head = 0;
	}
	if (a->len == a->cap) {
		a->cap = a->cap ? 2 * a->cap : 8;
		a->v = mem_grow(a->v, a->cap, sizeof(*a->v));
	}
	at = numbers_at(a, number);
	memmove(a->v + at + 1, a->v + at, (a->len - at) * sizeof(*a->v));
	a->v[at] = number;
	a->len++;
}

static bool numbers_has(const struct numbers *a, uint64_t number)
{
	size_t at = numbers_at(a, number);

	return at < a->len && a->v[at] == number;
}

/* ---- the table ---- */

struct sess *sess_find(struct node *n, uint32_t session, uint16_t shard)
{
	const struct sess_key key = {.session = session, .shard = shard};
	struct sess *s;

	HASH_FIND(hh, n->sessions, &key, sizeof(key), s);
	return s;
}

static struct sess *sess_get(struct node *n, uint32_t session, uint16_t shard)
{
	struct sess *s = sess_find(n, session, shard);

	if (!s) {
		s = mem_zalloc(sizeof(*s));
		s->key = (struct sess_key){.session = session, .shard = shard};
		HASH_ADD(hh, n->sessions, key, sizeof(s->key), s);
	}
	return s;
}

static void sess_free(struct sess *s)
{
	free(s->abandoned);
	free(s->declined);
	free(s->stored.v);
	free(s);
}

void sess_drop(struct node *n, struct sess *s)
{
	if (n->sweep_at == s)
		n->sweep_at = s->hh.next;
	HASH_DEL(n->sessions, s);
	s->gone = true;
	if (!s->refs)
		sess_free(s);
}

void sess_unref(struct sess *s)
{
	if (s && --s->refs == 0 && s->gone)
		sess_free(s);
}

void sess_lose(struct node *n)
{
	struct sess *s, *tmp;

	HASH_ITER (hh, n->sessions, s, tmp) {
		if (node_shard(n, s->key.shard)->losing)
			sess_drop(n, s);
	}
}

void sess_free_all(struct node *n)
{
	struct sess *s, *tmp;

	HASH_ITER (hh, n->sessions, s, tmp)
		sess_drop(n, s);
}

/* ---- what requests say ---- */

static void raise_floor(struct sess *s, uint64_t floor)
{
	size_t left = 0;

	if (floor <= s->floor)
		return;
	s->floor = floor;
	for (size_t i = 0; i < s->nabandoned; i++) {
		if (s->abandoned[i] >= floor)
			s->abandoned[left++] = s->abandoned[i];
	}
	s->nabandoned = left;
	left = 0;
	for (size_t i = 0; i < s->ndeclined; i++) {
		if (s->declined[i].number >= floor)
			s->declined[left++] = s->declined[i];
	}
	s->ndeclined = left;
}

/* Index of the first abandoned number that is not below @number. */
static size_t abandoned_at(const struct sess *s, uint64_t number)
{
	size_t lo = 0, hi = s->nabandoned;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->abandoned[mid] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_abandoned(const struct sess *s, uint64_t number)
{
	size_t at = abandoned_at(s, number);

	return at < s->nabandoned && s->abandoned[at] == number;
}

/* There is room for it. */
static void abandon(struct sess *s, uint64_t number)
{
	size_t at = abandoned_at(s, number);

	memmove(s->abandoned + at + 1, s->abandoned + at,
		(s->nabandoned++ - at) * sizeof(*s->abandoned));
	s->abandoned[at] = number;
}

struct sess *sess_learn(struct node *n, uint16_t shard, const struct wire_txn *m)
{
	struct sess *s = sess_get(n, m->session, shard);

	raise_floor(s, m->floor);
	for (unsigned i = 0; i < m->nabandoned; i++) {
		uint64_t number = wire_abandoned(m, i);

		if (number < s->floor || is_abandoned(s, number))
			continue;
		if (s->nabandoned == NODE_ABANDONED_MAX)
			return NULL;
		s->abandoned = mem_grow(s->abandoned, s->nabandoned + 1, sizeof(*s->abandoned));
		abandon(s, number);
		s->dirty = true;
	}
	return s;
}

void sess_floor(struct node *n, uint32_t session, uint16_t shard, uint64_t floor)
{
	if (session && floor)
		raise_floor(sess_get(n, session, shard), floor);
}

bool sess_refuses(const struct sess *s, uint64_t number)
{
	return number < s->floor || is_abandoned(s, number);
}

bool sess_bars(const struct sess *s, uint64_t number)
{
	return number < s->kept || (!s->dirty && is_abandoned(s, number));
}

bool sess_stored(const struct sess *s, uint64_t number)
{
	return numbers_has(&s->stored, number);
}

/* Index of the first that is not below @number. */
static size_t decline_at(const struct sess *s, uint64_t number)
{
	size_t lo = 0, hi = s->ndeclined;

	/* nearly always the newest; and there may be many, while the floor stands still */
	if (!hi || s->declined[hi - 1].number < number)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->declined[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct decline *sess_declined(const struct sess *s, uint64_t number)
{
	size_t at = decline_at(s, number);

	return at < s->ndeclined && s->declined[at].number == number ? &s->declined[at] : NULL;
}

void sess_decline(struct sess *s, uint64_t number, uint16_t status, uint16_t failed)
{
	size_t at;

	if (sess_declined(s, number))
		return;
	if (s->ndeclined == NODE_DECLINED_MAX) { /* the oldest half is long done */
		s->ndeclined /= 2;
		memmove(s->declined, s->declined + NODE_DECLINED_MAX - s->ndeclined,
			s->ndeclined * sizeof(*s->declined));
	}
	if (s->ndeclined == s->declined_cap) {
		s->declined_cap = s->declined_cap ? 2 * s->declined_cap : 8;
		s->declined = mem_grow(s->declined, s->declined_cap, sizeof(*s->declined));
	}
	at = decline_at(s, number);
	memmove(s->declined + at + 1, s->declined + at,
		(s->ndeclined++ - at) * sizeof(*s->declined));
	s->declined[at] = (struct decline){.number = number, .status = status, .failed = failed};
}

/* ---- the records ---- */

static size_t may_go(const struct sess *s)
{
	return min_size(numbers_at(&s->stored, s->floor) - s->stored.head, REPLIES_ONCE);
}

bool sess_wants(const struct sess *s, bool spare)
{
	return s->dirty || may_go(s) >= REPLIES_BATCH || (spare && s->floor > s->kept);
}

void sess_record(const struct sess *s, struct effect *e)
{
	size_t go = may_go(s);
	struct buf b = {0};
	struct key key;

	for (size_t i = 0; i < go; i++) {
		key_session(&key, KEY_REPLY, (uint16_t)s->key.shard, s->key.session,
			s->stored.v[s->stored.head + i]);
		effect_del(e, key.b, key.len);
	}
	buf_u8(&b, FLOOR_FORMAT);
	buf_u64(&b, s->floor);
	buf_u32(&b, (uint32_t)s->nabandoned);
	for (size_t i = 0; i < s->nabandoned; i++)
		buf_u64(&b, s->abandoned[i]);
	key_floor(&key, (uint16_t)s->key.shard, s->key.session);
	effect_put(e, key.b, key.len, b.data, b.len);
	if (b.err)
		e->meta.err = b.err;
	buf_fini(&b);
}

void sess_recorded(struct sess *s)
{
	s->stored.head += may_go(s);
	s->kept = s->floor;
	s->dirty = false;
}

void sess_reply_put(const struct sess *s, struct effect *e, struct buf *tmp, uint64_t number,
	const void *body, size_t len)
{
	struct key key;

	buf_reset(tmp);
	buf_u64(tmp, s->floor);
	buf_bytes(tmp, body, len);
	if (tmp->err) {
		e->meta.err = tmp->err;
		return;
	}
	key_session(&key, KEY_REPLY, (uint16_t)s->key.shard, s->key.session, number);
	effect_put(e, key.b, key.len, tmp->data, tmp->len);
}

void sess_reply_took(struct sess *s, uint64_t number)
{
	numbers_add(&s->stored, number);
	s->kept = s->floor;
}

bool sess_erase(const struct sess *s, struct effect *e)
{
	size_t n = s->stored.len - s->stored.head, go = min_size(n, REPLIES_ONCE);
	struct key key;

	for (size_t i = 0; i < go; i++) {
		key_session(&key, KEY_REPLY, (uint16_t)s->key.shard, s->key.session,
			s->stored.v[s->stored.head + i]);
		effect_del(e, key.b, key.len);
	}
	if (go < n)
		return false;
	key_floor(&key, (uint16_t)s->key.shard, s->key.session);
	effect_del(e, key.b, key.len);
	return true;
}

void sess_erased(struct sess *s)
{
	s->stored.head += min_size(s->stored.len - s->stored.head, REPLIES_ONCE);
}

int sess_reply_get(struct node *n, const struct sess *s, uint64_t number, struct buf *out)
{
	struct wire_reply m;
	struct key key;
	int rc;

	key_session(&key, KEY_REPLY, (uint16_t)s->key.shard, s->key.session, number);
	buf_reset(&n->tmp);
	rc = store_get(n->st, key.b, key.len, &n->tmp);
	if (rc == -EAGAIN)
		return rc;
	if (rc || n->tmp.err || n->tmp.len < 8 ||
		wire_get_reply(cur_of(n->tmp.data + 8, n->tmp.len - 8), &m)) {
		log_error("mod=node shard=%u session=%u number=%llu rc=-%s msg=\"a stored reply "
			  "cannot be read\"",
			s->key.shard, s->key.session, (unsigned long long)number, log_errno(rc));
		return -EIO;
	}
	buf_bytes(out, n->tmp.data + 8, n->tmp.len - 8);
	return 0;
}

/* ---- loading: floors first, as they know which numbers were abandoned ---- */

/* The session and, unless NULL, the number that end a key. */
static int key_parts(
	struct node *n, const uint8_t *key, size_t klen, struct sess **s, uint64_t *number)
{
	const uint8_t *at = key + KEY_HEAD;
	uint32_t session;

	if (klen != KEY_HEAD + 4u + (number ? 8 : 0) || get_be16(key + 1) >= n->nshards)
		return -EUCLEAN;
	session = (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
	*s = sess_get(n, session, get_be16(key + 1));
	if (number)
		*number = get_be64(at + 4);
	return 0;
}

static int load_reply(struct node *n, const uint8_t *key, size_t klen, struct cur val)
{
	uint64_t number, floor = cur_u64(&val);
	struct wire_reply m;
	struct sess *s;

	if (!cur_ok(&val) || key_parts(n, key, klen, &s, &number) || wire_get_reply(val, &m))
		return -EUCLEAN;
	numbers_add(&s->stored, number);
	raise_floor(s, floor);
	s->kept = s->floor;
	return 0;
}

static int load_floor(struct node *n, const uint8_t *key, size_t klen, struct cur val)
{
	uint8_t format = cur_u8(&val);
	uint64_t floor = cur_u64(&val);
	uint32_t count = cur_u32(&val);
	struct sess *s;

	if (format != FLOOR_FORMAT || count > NODE_ABANDONED_MAX || val.left != 8 * (size_t)count ||
		key_parts(n, key, klen, &s, NULL))
		return -EUCLEAN;
	s->abandoned = mem_grow(s->abandoned, count + 1, sizeof(*s->abandoned));
	s->nabandoned = 0;
	for (uint32_t i = 0; i < count; i++)
		abandon(s, cur_u64(&val));
	raise_floor(s, floor);
	s->kept = s->floor;
	return 0;
}

int sess_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen)
{
	if (key[0] == KEY_FLOOR)
		return load_floor(n, key, klen, cur_of(val, vlen));
	return load_reply(n, key, klen, cur_of(val, vlen));
}
