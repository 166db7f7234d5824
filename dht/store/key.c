#include "dht/store/key.h"

#include <assert.h>
#include <errno.h>

static void add_be32(struct key *k, uint32_t v)
{
	v = htobe32(v);
	memcpy(k->b + k->len, &v, 4);
	k->len += 4;
}

static void add_be64(struct key *k, uint64_t v)
{
	put_be64(k->b + k->len, v);
	k->len += 8;
}

void key_class(struct key *k, enum key_class c, uint16_t shard)
{
	k->b[0] = (uint8_t)c;
	put_be16(k->b + 1, shard);
	k->len = KEY_HEAD;
}

void key_id(struct key *k, enum key_class c, uint16_t shard, const struct orbit_id *id)
{
	key_class(k, c, shard);
	memcpy(k->b + KEY_HEAD, id->b, ORBIT_ID_LEN);
	k->len += ORBIT_ID_LEN;
}

int key_map(struct key *k, uint16_t shard, const struct orbit_id *id, const void *name, size_t len)
{
	if (len > KEY_MAP_MAX)
		return -ENAMETOOLONG;
	key_id(k, KEY_MAP, shard, id);
	if (len)
		memcpy(k->b + k->len, name, len);
	k->len += len;
	return 0;
}

void key_hold(struct key *k, uint16_t shard, const struct orbit_id *id, uint32_t session)
{
	key_id(k, KEY_HOLD, shard, id);
	add_be32(k, session);
}

void key_session(struct key *k, enum key_class c, uint16_t shard, uint32_t session, uint64_t number)
{
	assert(c == KEY_REPLY || c == KEY_PREPARED || c == KEY_OUTCOME);
	key_class(k, c, shard);
	add_be32(k, session);
	add_be64(k, number);
}

void key_floor(struct key *k, uint16_t shard, uint32_t session)
{
	key_class(k, KEY_FLOOR, shard);
	add_be32(k, session);
}

void key_leaser(struct key *k, uint16_t shard, uint32_t session)
{
	key_class(k, KEY_LEASER, shard);
	add_be32(k, session);
}

bool key_after_prefix(struct key *k)
{
	while (k->len && k->b[k->len - 1] == 0xff)
		k->len--;
	if (!k->len)
		return false;
	k->b[k->len - 1]++;
	return true;
}
