/*
 * Copies: dirty bytes that the nodes are to fetch from where they lie, instead of from us.
 *
 * A unit's ref says that a range of it is to become what another file has somewhere. It is dirty,
 * sent, written and confirmed like bytes of a writer, and sent again like them where that is
 * needed, as a COPY. Whoever gives refs (fs/ops/copy.c) has all of the source with the nodes, and
 * sees to it that it stays as it is until nothing of them is dirty any more. A reader finds what
 * the nodes have at that moment.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

static void ref_add(struct unit *u, const struct ref *r)
{
	u->refs = mem_grow(u->refs, u->nrefs + 1, sizeof(*u->refs));
	u->refs[u->nrefs++] = *r;
}

void refs_cut(struct unit *u, uint32_t from, uint32_t to)
{
	unsigned n = u->nrefs;

	for (unsigned i = 0; i < n; i++) {
		struct ref *r = &u->refs[i], behind = *r;

		if (r->to <= from || r->from >= to)
			continue;
		behind.from = to;
		behind.off += to - r->from;
		if (r->from < from) {
			r->to = from;
			if (behind.to > to)
				ref_add(u, &behind);
		} else if (behind.to > to) {
			*r = behind;
		} else {
			*r = u->refs[--u->nrefs];
			if (u->nrefs < n)
				n = u->nrefs;
			i--;
		}
	}
}

void refs_take(struct unit *u, uint32_t from, uint32_t to, uint64_t ino, uint64_t off)
{
	uint32_t had = u->dirty.bytes;

	refs_cut(u, from, to);
	ref_add(u, &(struct ref){.from = from, .to = to, .ino = ino, .off = off});
	ranges_add(&u->dirty, from, to);
	u->di->dc->used += u->dirty.bytes - had;
}

uint32_t refs_next(const struct unit *u, uint32_t from, uint32_t to, const struct ref **ref)
{
	*ref = NULL;
	for (unsigned i = 0; i < u->nrefs; i++) {
		const struct ref *r = &u->refs[i];

		if (r->from <= from && from < r->to) {
			*ref = r;
			return r->to < to ? r->to : to;
		}
		if (r->from > from && r->from < to)
			to = r->from;
	}
	return to;
}

static void send_copy(struct txn_build *t, const struct orbit_id *id, const struct ref *r,
	uint32_t from, uint32_t to)
{
	while (from < to) {
		uint64_t off = r->off + (from - r->from), index = unit_of(off);
		struct orbit_id source = unit_id(r->ino, index);
		uint64_t left = unit_end(index) - off;
		uint32_t n = left < to - from ? (uint32_t)left : to - from;

		txn_copy(t, id, from, &source, off - unit_base(index), n);
		from += n;
	}
}

void refs_send(const struct unit *u, struct txn_build *t, uint32_t from, uint32_t to)
{
	struct orbit_id id = unit_id(u->di->ino, u->index);

	while (from < to) {
		const struct ref *r;
		uint32_t end = refs_next(u, from, to, &r);

		if (r)
			send_copy(t, &id, r, from, end);
		else
			txn_write(t, &id, from, u->mem + from, end - from);
		from = end;
	}
}

bool data_can_copy(struct data_inode *di, uint64_t off, uint64_t len, uint64_t source_off)
{
	if (off < LAYOUT_INLINE || source_off < LAYOUT_INLINE || !len)
		return false;
	for (uint64_t i = unit_of(off); i <= unit_of(off + len - 1); i++) {
		const struct unit *u = unit_find(di, i);

		if (u && u->nrefs >= REFS_MAX)
			return false;
	}
	return true;
}
