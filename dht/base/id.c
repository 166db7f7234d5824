#include "dht/base/id.h"

#include <errno.h>
#include <openssl/sha.h>

#include "dht/base/buf.h"

struct orbit_id orbit_id_make(uint64_t position, const void *name)
{
	struct orbit_id id;

	put_be64(id.b, position);
	memcpy(id.b + 8, name, ORBIT_ID_LEN - 8);
	return id;
}

uint64_t orbit_id_position(const struct orbit_id *id)
{
	return get_be64(id->b);
}

char *orbit_id_hex(const struct orbit_id *id, char out[ORBIT_ID_HEX])
{
	static const char digit[] = "0123456789abcdef";

	for (int i = 0; i < ORBIT_ID_LEN; i++) {
		out[2 * i] = digit[id->b[i] >> 4];
		out[2 * i + 1] = digit[id->b[i] & 15];
	}
	out[2 * ORBIT_ID_LEN] = 0;
	return out;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int orbit_id_parse(const char *text, struct orbit_id *id)
{
	if (strnlen(text, ORBIT_ID_HEX) != 2 * ORBIT_ID_LEN)
		return -EINVAL;
	for (int i = 0; i < ORBIT_ID_LEN; i++) {
		int hi = hex_value(text[2 * i]), lo = hex_value(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		id->b[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

struct orbit_id orbit_id_hash(const void *name, size_t len)
{
	struct orbit_id id;

	SHA256(name, len, id.b);
	return id;
}
