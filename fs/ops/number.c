/*
 * Numbers of new inodes.
 *
 * A session counts, and asks nobody. What it may count to lasts for 16 million inodes; before that
 * is spent the next range is taken from the superblock, which counts the ranges.
 */
#include <errno.h>

#include "fs/ops/op.h"

#define COUNTER_MAX 0xffffffu
#define COUNTER_ASK (COUNTER_MAX / 4 * 3)

static void range_got(void *arg, const struct orbit_reply *r)
{
	struct fs *fs = arg;
	struct txn_result res;
	struct txn_object o;
	struct cur c;
	int rc = r->rc;

	fs->numbers.asked = false;
	if (!rc)
		rc = orbit_result(r, 0, &res);
	if (!rc && !res.present)
		rc = -EIO;
	if (!rc) {
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		/* sessions count from the other end */
		if (!cur_ok(&c) || o.slot[SUPER_RANGES] >= LAYOUT_RANGE(orbit_session(fs->client)))
			rc = -ENOSPC;
		else
			fs->numbers.reserve = LAYOUT_RANGE((uint32_t)o.slot[SUPER_RANGES]);
	}
	fs->numbers.rc = rc == -ECANCELED ? -EIO : rc;
}

static void range_ask(struct fs *fs)
{
	struct orbit_id super = layout_super_id();
	struct txn_build t;

	fs->numbers.asked = true;
	fs->numbers.rc = 0;
	txn_init(&t);
	txn_get(&t, &super);
	txn_add(&t, &super, SUPER_RANGES, 1);
	mount_submit(fs, NULL, 0, &t, range_got, fs);
}

int mount_new_ino(struct fs *fs, bool own, uint64_t dir, uint64_t *ino)
{
	uint32_t session = orbit_session(fs->client);
	uint64_t low;
	int rc;

	if (session == 0) /* has the root directory and gives no numbers away */
		return -ENOSPC;
	if (session != fs->numbers.session) {
		fs->numbers.session = fs->numbers.range = session;
		fs->numbers.next = 0;
	}
	if (fs->numbers.next > COUNTER_MAX && fs->numbers.reserve) {
		fs->numbers.range = fs->numbers.reserve;
		fs->numbers.reserve = fs->numbers.next = 0;
	}
	rc = fs->numbers.rc;
	if (fs->numbers.next > COUNTER_ASK && !fs->numbers.reserve && !fs->numbers.asked)
		range_ask(fs);
	if (fs->numbers.next > COUNTER_MAX)
		return rc ? rc : -EAGAIN;
	low = layout_low(fs->numbers.range, fs->numbers.next++);
	*ino = own ? layout_ino_own(low) : layout_ino_beside(low, dir);
	return 0;
}
