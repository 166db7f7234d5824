/* How much may still be written. The disk is asked on a worker; in between the store counts what it
 * appended itself. */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define ASK_EVERY (200 * ENV_MS)
#define ASK_BYTES (16u << 20) /* appended since it was asked */

int space_ask(struct store *st)
{
	uint64_t total, avail;
	int rc = st->disk->ops->space(st->disk, &total, &avail);

	if (rc)
		return rc;
	st->total = total;
	st->room = avail;
	st->since_room = 0;
	st->room_at = env_now(st->env);
	st->reserve = st->cfg.reserve;
	if (!st->reserve)
		st->reserve = total / 50 < (256u << 20) ? total / 50 : 256u << 20;
	return 0;
}

struct space_work {
	struct work w;
	struct disk *disk;
	uint64_t total, avail, appended;
	bool dropped; /* asked after that */
	int rc;
};

static void space_run(struct work *w)
{
	struct space_work *s = container_of(w, struct space_work, w);

	s->rc = s->disk->ops->space(s->disk, &s->total, &s->avail);
}

/* Room that is reserved for segments counts as taken there, as free here. */
static uint64_t promised(const struct store *st)
{
	uint64_t sum = 0;

	if (st->cur && st->cur->size < st->cur->reserved)
		sum += st->cur->reserved - st->cur->size;
	if (st->spare)
		sum += st->spare->reserved;
	return sum;
}

static void space_done(struct work *w)
{
	struct space_work *s = container_of(w, struct space_work, w);
	struct store *st = w->owner;

	if (st) {
		st->asking_room = false;
		if (s->rc) {
			log_warn(
				"mod=store op=space rc=%s msg=\"cannot tell how full the disk is\"",
				log_errno(s->rc));
		} else {
			bool was = st->short_of_room;

			st->total = s->total;
			st->room = s->avail + promised(st);
			st->since_room -= s->appended;
			st->room_at = env_now(st->env);
			st->short_of_room =
				space_left(st) < 2 * st->reserve + 2 * st->cfg.segment_size;
			if (was)
				wait_wake(st);
			if (st->short_of_room)
				compact_kick(st);
		}
		if (s->dropped)
			st->drop = DROP_IDLE;
		else if (st->drop == DROP_ASK)
			space_refresh(st);
	}
	free(s);
}

void space_refresh(struct store *st)
{
	struct space_work *s;

	if (st->asking_room)
		return;
	s = mem_zalloc(sizeof(*s));
	s->disk = st->disk;
	/* what is queued is not on the disk yet, so it goes on counting */
	s->appended = st->since_room > st->queued ? st->since_room - st->queued : 0;
	s->dropped = st->drop == DROP_ASK;
	st->asking_room = true;
	work_start(&s->w, st->gate, st, NULL, space_run, space_done);
}

void space_dropped(struct store *st)
{
	if (st->drop == DROP_FLUSH)
		st->drop = DROP_ASK;
	space_refresh(st);
}

/* There may be room yet: segments that are kept without need. */
static bool drop_kept(struct store *st)
{
	if (st->drop == DROP_IDLE && st->kept) {
		st->drop = DROP_WANTED;
		flush_want(st);
	}
	return st->drop != DROP_IDLE;
}

uint64_t space_left(const struct store *st)
{
	uint64_t taken = st->since_room + st->mem;

	return st->room > taken ? st->room - taken : 0;
}

int space_check(struct store *st, uint64_t len, enum store_urgency urgency)
{
	uint64_t left = space_left(st);
	uint64_t keep = urgency == STORE_RESERVE ? st->reserve / 8 : st->reserve;

	if (st->since_room >= ASK_BYTES)
		space_refresh(st);
	if (left >= keep && left - keep >= len)
		return 0;
	if (drop_kept(st)) {
		wait_stall(st);
		return -EAGAIN;
	}
	/* the answer may be old, or there may be something to throw away */
	st->short_of_room = true;
	if (env_now(st->env) - st->room_at >= ASK_EVERY ||
		(urgency == STORE_RESERVE && st->since_room > st->queued))
		space_refresh(st); /* what was appended while it was asked counts twice */
	flush_garbage(st);
	compact_kick(st);
	if (urgency != STORE_RESERVE || !st->asking_room)
		return -ENOSPC;
	/* what frees room is not refused because of an old answer: it waits for the new one */
	wait_stall(st);
	return -EAGAIN;
}

void store_usage(struct store *st, struct store_usage *out)
{
	uint64_t left = space_left(st) + st->kept;

	if (env_now(st->env) - st->room_at >= ENV_SEC)
		space_refresh(st);
	*out = (struct store_usage){.total = st->total,
		.available = left > st->reserve ? left - st->reserve : 0,
		.log = st->log_bytes,
		.live = st->live_bytes,
		.damaged = st->damaged};
}
