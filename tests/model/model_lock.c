/* What flock and fcntl do: who gets a lock, and who is refused. */
#include <errno.h>
#include <fcntl.h>

#include "tests/model/model_step.h"

static bool lock_empty(const struct model_lock *l)
{
	for (unsigned k = 0; k < LOCK_CELLS; k++)
		if (l->cell[k])
			return false;
	return true;
}

static uint8_t mode_of(int type)
{
	return type == F_WRLCK ? 2 : type == F_RDLCK ? 1 : 0;
}

enum in_way { NOTHING, FADING, LOCKED };

/* Is a lock of another owner in the way? */
static enum in_way in_way(const struct step *x, const struct model_inode *i)
{
	const struct call *c = x->c;
	enum in_way worst = NOTHING;

	for (unsigned m = 0; m < MODEL_MOUNTS; m++) {
		for (unsigned o = 0; o < LOCK_OWNERS; o++) {
			const struct model_lock *l = &i->lock[m][o];

			if (LOCK_IS_FCNTL(o) != LOCK_IS_FCNTL(c->what) ||
				(m == c->mount && o == c->what))
				continue;
			for (uint64_t k = c->off; k <= c->len; k++) {
				if (!l->cell[k] || l->cell[k] + mode_of(c->flags) < 3)
					continue;
				if (!l->fades)
					return LOCKED;
				worst = FADING;
			}
		}
	}
	return worst;
}

/* Somebody got what was in the way: so it is gone. */
static void faded(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;

	for (unsigned m = 0; m < MODEL_MOUNTS; m++) {
		for (unsigned o = 0; o < LOCK_OWNERS; o++) {
			struct model_lock *l = &i->lock[m][o];

			if (LOCK_IS_FCNTL(o) != LOCK_IS_FCNTL(c->what) || !l->fades)
				continue;
			for (uint64_t k = c->off; k <= c->len; k++)
				if (l->cell[k] && l->cell[k] + mode_of(c->flags) >= 3)
					*l = (struct model_lock){.via = 0};
		}
	}
}

static void set(struct step *x, struct model_lock *l, uint8_t mode)
{
	bool changed = false;

	for (uint64_t k = x->c->off; k <= x->c->len; k++) {
		changed |= l->cell[k] != mode;
		l->cell[k] = mode;
	}
	if (changed && mode)
		l->via = (uint8_t)x->c->handle;
	if (lock_empty(l))
		*l = (struct model_lock){.via = 0};
}

static bool has_already(const struct step *x, const struct model_lock *l)
{
	for (uint64_t k = x->c->off; k <= x->c->len; k++)
		if (l->cell[k] != mode_of(x->c->flags))
			return false;
	return true;
}

static bool step_setlk(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;
	struct model_lock *mine = &i->lock[c->mount][c->what];
	enum in_way way = in_way(x, i);
	bool refused;

	if (mine->fades && x->s->known) /* one's own are unlocked in order */
		*mine = (struct model_lock){.via = 0};
	refused = c->flags != F_UNLCK && !has_already(x, mine) &&
		  (way == LOCKED || (way == FADING && x->s->known && x->s->rc == -EAGAIN));
	if (!step_rc(x, refused ? -EAGAIN : 0))
		return false;
	if (refused) {
		if (!LOCK_IS_FCNTL(c->what)) /* it is changed by giving it up first */
			set(x, mine, 0);
		return true;
	}
	if (way == FADING)
		faded(x, i);
	set(x, mine, mode_of(c->flags));
	mine->fades = !x->s->known && !lock_empty(mine);
	return true;
}

static bool step_getlk(struct step *x, struct model_inode *i)
{
	enum in_way way = in_way(x, i);

	if (!step_rc(x, 0))
		return false;
	if (!x->s->known || way == FADING)
		return true;
	if ((x->s->lock != F_UNLCK) != (way == LOCKED))
		return step_no(x, "%s in the way", way ? "sees nothing" : "sees something");
	return true;
}

bool step_lock(struct step *x)
{
	struct model_inode *i = step_inode(x, x->c->ino);

	return x->c->kind == CALL_SETLK ? step_setlk(x, i) : step_getlk(x, i);
}

void step_unlock(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;

	for (unsigned o = 0; o < LOCK_OWNERS; o++) {
		struct model_lock *l = &i->lock[c->mount][o];

		if (LOCK_IS_FCNTL(o) && o - 2 == c->handle)
			*l = (struct model_lock){.via = 0};
		else if (l->via == c->handle && !lock_empty(l))
			l->fades = true;
	}
}
