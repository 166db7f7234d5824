/*
 * The transaction of a round on the inode: {cut and mark as they are known; inline bytes, size,
 * times, bytes gained by blocks, the mark}, and what its answer says.
 */
#include <errno.h>

#include "dht/base/log.h"
#include "fs/cache/data_impl.h"
#include "fs/cache/inode.h"

static const char caps_name[] = "security.capability";

/* The mode after somebody without CAP_FSETID wrote. A file that its group may not execute keeps the
 * set-group bit: there it is a mark for mandatory locks. */
uint32_t data_without_priv(uint32_t mode)
{
	return mode & ~(uint32_t)(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
}

/* What an inode's transaction took with it goes back to what is dirty. */
static void inode_back(struct data_inode *di)
{
	struct unit *u;

	di->wrote |= di->round_wrote;
	RB_FOREACH (u, units, &di->units) {
		u->commit = false;
		if (u->index == 0 && u->sending.n) {
			di->dc->used -= u->dirty.bytes + u->sending.bytes;
			ranges_move(&u->dirty, &u->sending, UINT32_MAX);
			di->dc->used += u->dirty.bytes;
			u->round = ROUND_SEND;
		}
	}
}

void round_tells(struct data_inode *di)
{
	if (!di->dc->cfg.inodes)
		return;
	di->mark = inode_tick(di->dc->cfg.inodes);
	inode_change(di->dc->cfg.inodes, di->mark, di->ino);
}

void round_told(struct data_inode *di, const struct orbit_reply *r, const struct fs_attr *after)
{
	if (di->dc->cfg.inodes)
		inode_changed(di->dc->cfg.inodes, r, di->mark, di->ino,
			r->rc == 0 || r->rc == -ECANCELED, after);
}

/* What the answer says of the inode as it was before, with what we changed. */
static void inode_said(struct data_inode *di, const struct orbit_reply *r)
{
	struct txn_result res;
	struct txn_object o;
	struct fs_attr a;
	struct cur c;
	bool said = false, foreign = true;

	if (orbit_result(r, di->op_get, &res) == 0 && res.present) {
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		if (layout_attr(di->ino, &o, &a) == 0) {
			said = true;
			tail_mask(di, &a);
			foreign = a.mtime != di->a.mtime || a.size != di->a.size ||
				  a.cut != di->a.cut;
			di->a = a;
			di->a_time = env_now(di->dc->env);
		}
	}
	if (foreign) /* somebody else wrote, what was read before may be old */
		chunk_drop_range(di, 0, UINT64_MAX);
	di->a.version++; /* at least */
	if (di->round_size > di->a.size)
		di->a.size = di->round_size;
	if (di->round_times) {
		di->a.mtime = di->round_mtime;
		if (di->a.ctime < di->round_mtime)
			di->a.ctime = di->round_mtime;
	}
	di->a.bytes += (uint64_t)(di->round_gained + data_gained(r, di->op_inline, di->ninline));
	di->a.block_bytes += (uint64_t)di->round_gained;
	if (di->op_mode >= 0)
		di->a.mode = data_without_priv(di->a.mode);
	if (said)
		data_moved(di->dc, &a, &di->a);
	round_told(di, r, said ? &di->a : NULL);
	if (di->dc->cfg.changed)
		di->dc->cfg.changed(di->dc->cfg.ctx, di->ino);
}

static void inode_done(struct data_inode *di, const struct orbit_reply *r)
{
	struct unit *u;

	inode_said(di, r);
	inode_forget_units(di, di->a.size);
	di->gained -= di->round_gained;
	tail_rounded(di);
	if (di->round_times && di->mtime == di->round_mtime)
		di->times = false;
	if (di->op_mode >= 0)
		di->kill_priv = false;
	di->has_caps = di->round_wrote = false;
	if (di->size <= di->a.size)
		di->size = 0;
	di->meta = di->size || di->times || di->gained;
	di->dc->nospace = false;
	u = unit_find(di, 0);
	if (u && u->round == ROUND_SEND && u->dirty.n)
		inode_send(di);
	else
		round_end(di);
}

static void inode_sent(void *arg, const struct orbit_reply *r)
{
	struct data_inode *di = arg;
	struct data_cache *dc = di->dc;

	dc->landing--;
	di->handle = 0;
	if (r->rc)
		round_told(di, r, NULL);
	if (r->rc == 0) {
		inode_done(di, r);
	} else if (dc->cancelling || ++di->retries > RETRIES_MAX) {
		inode_lost_all(di, r->rc);
	} else if (r->rc == -ECANCELED && r->failed >= 0 && r->failed == di->op_caps) {
		di->has_caps = true;
		inode_back(di);
		inode_send(di);
	} else if (r->rc == -ECANCELED) {
		inode_back(di);
		round_look(di);
	} else if (r->rc == -EOVERFLOW && di->round_gained < 0) {
		log_warn("mod=cache ino=%llx gained=%lld msg=\"count of bytes is off\"",
			(unsigned long long)di->ino, (long long)di->round_gained);
		di->gained -= di->round_gained;
		inode_back(di);
		inode_send(di);
	} else {
		inode_lost(di, r->rc);
	}
	writers_pump(dc);
	stop_check(dc);
}

static void add_inline(struct data_inode *di, struct txn_build *t, const struct orbit_id *id)
{
	struct unit *u = unit_find(di, 0);
	uint32_t had;

	if (!u || u->dirty.n == 0)
		return;
	had = u->dirty.bytes + u->sending.bytes;
	di->op_inline = t->nops;
	ranges_move(&u->sending, &u->dirty, UNIT_SENDS);
	di->ninline = u->sending.n;
	di->dc->used -= had - (u->dirty.bytes + u->sending.bytes);
	u->round = u->dirty.n ? u->round : 0;
	buf_reserve(&t->ops, u->sending.bytes + 64 * (size_t)u->sending.n + 512);
	for (unsigned i = 0; i < u->sending.n; i++) {
		const struct range *g = &u->sending.v[i];

		txn_write(t, id, g->from, u->mem + g->from, g->to - g->from);
	}
}

static void add_slots(struct data_inode *di, struct txn_build *t, const struct orbit_id *id,
	const uint8_t *caps, size_t caps_len)
{
	if (di->round_size)
		txn_max(t, id, SLOT_SIZE, di->round_size);
	if (di->round_times) {
		txn_set(t, id, SLOT_MTIME, (uint64_t)di->round_mtime);
		/* a chmod since then was later */
		txn_max(t, id, SLOT_CTIME, (uint64_t)di->round_mtime);
	}
	if (di->round_gained)
		txn_add(t, id, SLOT_BYTES, di->round_gained);
	if (di->op_mode >= 0 && data_without_priv(di->a.mode) != di->a.mode)
		txn_set(t, id, SLOT_MODE, data_without_priv(di->a.mode));
	if (di->has_caps)
		txn_del(t, id, caps, caps_len);
}

void inode_send(struct data_inode *di)
{
	struct orbit_id id = layout_inode_id(di->ino);
	uint8_t caps[1 + LAYOUT_XATTR_NAME_MAX];
	size_t caps_len;
	struct txn_build t;
	struct unit *u;

	if (di->tail_busy) {
		di->state = ROUND_TAIL;
		return;
	}
	if (!di->meta && RB_EMPTY(&di->units) && (!di->tail || di->lost)) {
		di->tail = di->tail_to = 0;
		di->lost = false;
		round_end(di);
		return;
	}
	di->state = ROUND_INODE;
	if (di->dc->cancelling || di->lost) {
		inode_lost_all(di, di->lost ? -EIO : -ETIMEDOUT);
		return;
	}
	di->round_mtime = di->mtime;
	di->round_times = di->times;
	di->op_mode = di->op_caps = -1;
	di->ninline = 0;
	caps_len = layout_xattr_key(caps_name, caps);
	txn_init(&t);
	di->op_cut = txn_slot_eq(&t, &id, SLOT_CUT, di->cut);
	txn_slot_eq(&t, &id, SLOT_TRIM, di->tail);
	if (di->kill_priv)
		di->op_mode = txn_slot_eq(&t, &id, SLOT_MODE, di->a.mode);
	di->round_wrote = di->wrote;
	di->wrote = false;
	if (di->round_wrote && !di->has_caps)
		di->op_caps = txn_map_absent(&t, &id, caps, caps_len);
	di->op_get = txn_get(&t, &id);
	add_inline(di, &t, &id);
	di->round_gained =
		di->gained - (int64_t)tail_round(di, &t,
				     di->round_size > di->a.size ? di->round_size : di->a.size);
	add_slots(di, &t, &id, caps, caps_len);
	RB_FOREACH (u, units, &di->units)
		u->commit = u->written.n > 0;
	round_tells(di);
	di->handle = data_submit(di, &t, inode_sent, di);
	txn_fini(&t);
}
