/*
 * Frames out of any bytes: whatever frame_peek() passes must be safe to read and must seal to the
 * same bytes again. The input is tried as it is and with its checksums made right, since else
 * nearly all of it would end at them. `make fuzz` runs it.
 */
#include <stdlib.h>
#include <string.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/net/frame.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void receive(const uint8_t *bytes, size_t size)
{
	size_t len = SIZE_MAX, have;
	struct frame *f, *again;

	if (frame_peek(bytes, &len))
		return;
	CHECK(len <= FRAME_BODY_MAX);
	have = min_size(len, size - FRAME_HEAD);
	f = frame_from_head(bytes, len);
	CHECK(f && frame_body_len(f) == len);
	memcpy(f->b.data + FRAME_HEAD, bytes + FRAME_HEAD, have);
	memset(f->b.data + FRAME_HEAD + have, 0, len - have); /* the rest never came */
	if (!frame_verify(f)) {
		again = frame_new(f->type, f->id, len);
		again->flags = f->flags;
		buf_bytes(&again->b, frame_body(f), len);
		CHECK(frame_seal(again) == 0);
		CHECK(again->b.len == f->b.len && !memcmp(again->b.data, f->b.data, f->b.len));
		frame_unref(again);
	}
	frame_unref(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes;

	if (size < FRAME_HEAD)
		return 0;
	receive(data, size);
	bytes = mem_dup(data, size);
	set32(bytes, FRAME_MAGIC);
	bytes[4] = FRAME_VERSION;
	bytes[5] = 0;
	set32(bytes + 24, crc32c(bytes + FRAME_HEAD, size - FRAME_HEAD));
	set32(bytes + 28, crc32c(bytes, 28));
	receive(bytes, size);
	/* and once with the length that is true */
	bytes[10] = bytes[11] = 0;
	set32(bytes + 12, (uint32_t)(size - FRAME_HEAD));
	set32(bytes + 28, crc32c(bytes, 28));
	receive(bytes, size);
	free(bytes);
	return 0;
}
