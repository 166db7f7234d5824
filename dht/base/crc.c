#include "dht/base/crc.h"

#include <isa-l/crc.h>

/* ISA-L takes an int; pieces stay below that. */
#define PIECE ((size_t)1 << 30)

uint32_t crc32c_more(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	while (len) {
		size_t n = len < PIECE ? len : PIECE;

		crc = crc32_iscsi((unsigned char *)p, (int)n, crc);
		p += n;
		len -= n;
	}
	return ~crc;
}

uint32_t crc32c(const void *data, size_t len)
{
	return crc32c_more(0, data, len);
}
