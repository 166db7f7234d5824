/* What calls on open files do to bytes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/model/model_step.h"

bool step_same(struct step *x, const uint8_t *p, uint64_t len)
{
	const struct seen *s = x->s;

	if (!s->known)
		return true;
	if (s->len != len)
		return step_no(x, "gave %zu bytes, should give %" PRIu64, s->len, len);
	for (size_t k = 0; k < len; k++)
		if (s->data[k] != p[k])
			return step_no(x,
				"byte %zu (of the file: %" PRIu64 ") is %02x, should be %02x", k,
				x->c->off + k, s->data[k], p[k]);
	return true;
}

void step_kill_priv(struct model_inode *i)
{
	if (S_ISDIR(i->mode))
		return;
	i->mode &= ~(uint32_t)S_ISUID;
	if (i->mode & S_IXGRP)
		i->mode &= ~(uint32_t)S_ISGID;
}

/* All that was written is sent. */
static void sent(struct model_inode *i)
{
	if (i->doubt)
		return;
	for (unsigned k = 0; k < i->nwas; k++)
		bytes_unref(i->was[k]);
	i->nwas = 0;
	i->writer = 0;
}

/* fsync(2) and close(2) send what their own mount has written: should another one die, what it had
 * not sent is lost, as with other filesystems that several machines mount. */
void step_clean(struct step *x, struct model_inode *i)
{
	if (i->writer == x->c->mount + 1)
		sent(i);
}

void step_dirty(struct step *x, struct model_inode *i)
{
	if (i->writer != x->c->mount + 1)
		sent(i);
	i->writer = x->c->mount + 1;
	if (i->nwas < MODEL_VERSIONS)
		i->was[i->nwas++] = bytes_ref(i->data);
}

bool step_opened(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;

	if (!step_rc(x, 0))
		return false;
	i->atime = (struct span){INT64_MIN, INT64_MAX};
	if (x->s->known)
		i->opens[c->mount]++;
	if (c->flags & O_TRUNC && i->data->len) {
		bytes_resize(&i->data, 0);
		i->doubt = false;
		step_clean(x, i);
		step_touch(x, i, true);
	}
	return step_seen_attr(x, i);
}

static bool step_open(struct step *x, struct model_inode *i)
{
	if (!S_ISREG(i->mode)) {
		if (step_gone(i) && step_is_gone(x))
			return true;
		return step_rc(x, S_ISDIR(i->mode) ? -EISDIR : -EINVAL);
	}
	/* what has no name any more is open for good only where it is open */
	if (i->nlink == 0 && !i->opens[x->c->mount] && step_is_gone(x))
		return true;
	return step_opened(x, i);
}

static bool step_read(struct step *x, struct model_inode *i)
{
	uint64_t size = i->data->len, off = x->c->off < size ? x->c->off : size;
	uint64_t len = x->c->len < size - off ? x->c->len : size - off;

	i->atime = (struct span){INT64_MIN, INT64_MAX};
	/* others see what was sent */
	if (x->s->known && i->writer != x->c->mount + 1)
		sent(i);
	return step_rc(x, 0) && (i->doubt || step_same(x, i->data->p + off, len));
}

static bool step_write(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;
	uint64_t off = c->flags & O_APPEND ? i->data->len : c->off;

	if (!step_rc(x, 0))
		return false;
	if (x->s->known && x->s->len != c->len)
		return step_no(x, "wrote %zu bytes of %" PRIu64, x->s->len, c->len);
	step_dirty(x, i);
	if (off + c->len > i->data->len)
		bytes_resize(&i->data, off + c->len);
	bytes_own(&i->data);
	model_pattern(i->data->p + off, c->off, c->len, c->salt);
	step_touch(x, i, true);
	i->atime = (struct span){INT64_MIN, INT64_MAX};
	if (c->kill)
		step_kill_priv(i);
	return true;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t len)
{
	return a < b + len && b < a + len;
}

static bool step_copy(struct step *x, struct model_inode *to)
{
	const struct call *c = x->c;
	struct model_inode *from = step_inode(x, c->ino2);
	uint64_t size = from->data->len, n = c->off2 < size ? size - c->off2 : 0;

	n = n < c->len ? n : c->len;
	if (c->len && from == to && overlap(c->off, c->off2, c->len))
		return step_rc(x, -EINVAL);
	if (!step_rc(x, 0))
		return false;
	if (x->s->known && x->s->len != n)
		return step_no(x, "copied %zu bytes, should be %" PRIu64, x->s->len, n);
	from->atime = (struct span){INT64_MIN, INT64_MAX};
	if (n == 0)
		return true;
	step_dirty(x, to);
	if (c->off + n > to->data->len)
		bytes_resize(&to->data, c->off + n);
	bytes_own(&to->data);
	memcpy(to->data->p + c->off, from->data->p + c->off2, n);
	to->doubt |= from->doubt;
	step_touch(x, to, true);
	to->atime = (struct span){INT64_MIN, INT64_MAX};
	if (c->kill)
		step_kill_priv(to);
	if (x->s->known)
		step_clean(x, to);
	return true;
}

static bool step_fallocate(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;
	uint64_t end = c->off + c->len, stop;
	bool zero = c->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);

	if (!step_rc(x, 0))
		return false;
	if (zero) {
		step_dirty(x, i);
		bytes_own(&i->data);
		stop = end < i->data->len ? end : i->data->len;
		if (c->off < stop)
			memset(i->data->p + c->off, 0, stop - c->off);
	}
	if (!(c->flags & FALLOC_FL_KEEP_SIZE) && end > i->data->len) {
		bytes_resize(&i->data, end);
		zero = true;
	}
	if (x->s->known)
		step_clean(x, i);
	if (zero)
		step_touch(x, i, true);
	return true;
}

/* Which holes are kept is nobody's business; but what is skipped as a hole has to be zeros. */
static bool step_lseek(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;
	uint64_t size = i->data->len, to = x->s->offset;

	if (i->doubt)
		return !x->s->known || x->s->rc == -ENXIO || step_rc(x, 0);
	if (c->off >= size)
		return step_rc(x, -ENXIO);
	if (!x->s->known)
		return true;
	if (x->s->rc == -ENXIO && c->flags == SEEK_DATA)
		to = size;
	else if (!step_rc(x, 0))
		return false;
	if (to < c->off || to > size)
		return step_no(x, "seeks to %" PRIu64, to);
	for (uint64_t k = c->off; k < to && c->flags == SEEK_DATA; k++)
		if (i->data->p[k])
			return step_no(x, "byte %" PRIu64 " is skipped as a hole", k);
	return true;
}

/* A sync is of all that was acknowledged to the mount; what it keeps back of other files is not. */
static void synced(struct step *x)
{
	for (unsigned k = 1; k < x->m->n; k++) {
		struct model_inode *i = &x->m->inode[k];

		if (i->writer != x->c->mount + 1 || !i->nwas)
			i->unsynced &= ~(1u << x->c->mount);
	}
}

bool step_data(struct step *x)
{
	struct model_inode *i = step_inode(x, x->c->ino);

	switch (x->c->kind) {
	case CALL_OPEN:
		return step_open(x, i);
	case CALL_READ:
		return step_read(x, i);
	case CALL_WRITE:
		return step_write(x, i);
	case CALL_FSYNC:
		if (x->s->known) {
			step_clean(x, i);
			synced(x);
		}
		return step_rc(x, 0);
	case CALL_CLOSE:
		if (x->s->known) {
			step_clean(x, i);
			step_unlock(x, i);
			i->opens[x->c->mount]--;
		}
		i->atime = (struct span){INT64_MIN, INT64_MAX};
		return step_rc(x, 0);
	case CALL_COPY:
		return step_copy(x, i);
	case CALL_FALLOCATE:
		return step_fallocate(x, i);
	case CALL_LSEEK:
		return step_lseek(x, i);
	default:
		abort();
	}
}
