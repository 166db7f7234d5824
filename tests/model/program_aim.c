/*
 * Programs with an aim: situations in which a rule matters and which chance hardly ever makes. Each
 * is a story that is told several times, with what the seed decides about it.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/ops/fs.h"
#include "tests/model/program_int.h"

#define MIB (UINT64_C(1) << 20)

enum { A, B, C };

static struct where at(uint8_t name)
{
	return (struct where){.name = name};
}

static struct where below_one(uint8_t dir, uint8_t name)
{
	return (struct where){.depth = 1, .dir = {dir}, .name = name};
}

static struct where below_two(uint8_t dir, uint8_t dir2, uint8_t name)
{
	return (struct where){.depth = 2, .dir = {dir, dir2}, .name = name};
}

/* One more step, zeroed but for kind and mount. */
static struct step_of *more(struct program *p, unsigned kind, unsigned mount)
{
	struct step_of *s = &p->step[p->n < PROGRAM_STEPS ? p->n++ : PROGRAM_STEPS - 1];

	*s = (struct step_of){.kind = (uint8_t)kind, .mount = (uint8_t)mount};
	return s;
}

static void make_dir(struct program *p, unsigned mount, struct where where)
{
	struct step_of *s = more(p, CALL_MKDIR, mount);

	s->at = where;
	s->mode = 0755;
}

static struct step_of *move(struct program *p, unsigned mount, struct where from, struct where to)
{
	struct step_of *s = more(p, CALL_RENAME, mount);

	s->at = from;
	s->to = to;
	return s;
}

static void pause_some(struct program *p, struct rng *r, unsigned ms)
{
	struct step_of *s = more(p, STEP_PAUSE_NODE, 0);

	s->node = (uint8_t)below(r, p->nodes);
	s->ms = 1 + below(r, ms);
}

/* Two directories are each moved into the other at the same time: one of them has to be told that
 * it can't. */
static void cross(struct program *p, struct rng *r)
{
	p->mounts = 2 + below(r, 3);
	for (unsigned k = 0; k < 5; k++) {
		unsigned m = below(r, p->mounts), deep = below(r, 3);

		for (unsigned d = A; d <= B; d++) {
			make_dir(p, below(r, p->mounts), at((uint8_t)d));
			make_dir(p, below(r, p->mounts), below_one((uint8_t)d, (uint8_t)!d));
		}
		if (one_of(r, 3))
			pause_some(p, r, 3);
		move(p, m, at(A), deep ? below_two(B, A, C) : below_one(B, C))->with_next = true;
		move(p, (m + 1) % p->mounts, at(B),
			deep > 1 ? below_two(A, B, C) : below_one(A, C));
		move(p, m, deep ? below_two(B, A, C) : below_one(B, C), at(A));
		move(p, m, deep > 1 ? below_two(A, B, C) : below_one(A, C), at(B));
	}
}

/* What is written meets a cut of the same file, whose blocks are trimmed before the inode hears of
 * the writing, as a node takes its time. Each time another file, whose blocks lie elsewhere. */
static void cut_under_write(struct program *p, struct rng *r)
{
	struct step_of *s;

	p->nodes = 2 + below(r, 2);
	p->replicas = one_of(r, 4) ? 2 : 1;
	p->mounts = 1 + below(r, 3);
	for (unsigned k = 0; k < 7; k++) {
		uint64_t end = one_of(r, 3) ? 65536 : MIB;
		unsigned m = below(r, p->mounts);

		more(p, CALL_CREATE, m)->flags = O_RDWR;
		s = more(p, CALL_OPEN, m);
		s->flags = O_RDWR | O_SYNC;
		s->handle = 1;
		more(p, STEP_KEEP, m)->kept = 1;
		s = more(p, CALL_WRITE, m);
		s->len = 2 * MIB;
		s->salt = below(r, 1000);
		more(p, CALL_FSYNC, m);
		pause_some(p, r, 200);
		s = more(p, CALL_SETATTR, m);
		s->kept = 1;
		s->what = FS_SET_SIZE;
		s->len = end;
		s->with_next = true;
		s = more(p, CALL_WRITE, m);
		s->handle = 1;
		s->off = end - below(r, 5000);
		s->len = 5000 + below(r, 5000);
		s->salt = below(r, 1000);
		s = more(p, CALL_READ, m);
		s->len = MODEL_SIZE_MAX;
		more(p, CALL_CLOSE, m);
		more(p, CALL_CLOSE, m)->handle = 1;
		more(p, CALL_UNLINK, m);
	}
}

static void read_it(struct program *p, unsigned mount, uint64_t off, uint64_t len)
{
	struct step_of *s = more(p, CALL_READ, mount);

	s->off = off;
	s->len = len;
}

/* What the kernel of one mount remembers of a file is changed by another. */
static void remembered(struct program *p, struct rng *r)
{
	struct step_of *s;

	p->mounts = 2 + below(r, 2);
	more(p, CALL_MKNOD, 0)->mode = S_IFREG | 0644;
	for (unsigned m = 0; m < p->mounts; m++)
		more(p, CALL_OPEN, m)->flags = O_RDWR;
	more(p, CALL_WRITE, 0)->len = 20000;
	for (unsigned k = 0; k < 7; k++) {
		unsigned m = below(r, p->mounts),
			 by = (m + 1 + below(r, p->mounts - 1)) % p->mounts;
		unsigned page = below(r, 3);

		if (one_of(r, 3)) {
			more(p, CALL_CLOSE, m);
			more(p, CALL_OPEN, m)->flags = O_RDWR;
		}
		read_it(p, m, 4096 * page, 8192);
		read_it(p, m, 4096 * page, 4096);
		more(p, CALL_GETATTR, m);
		if (one_of(r, 3))
			more(p, CALL_CLOSE, m);
		s = more(p, one_of(r, 4) ? CALL_SETATTR : CALL_WRITE, by);
		s->what = FS_SET_SIZE;
		s->off = 4096 * page + below(r, 4096);
		s->len = s->kind == CALL_WRITE ? 1 + below(r, 9000) : 20000 - below(r, 9000);
		s->salt = below(r, 1000);
		s->with_next = one_of(r, 2);
		read_it(p, m, 4096 * page, 8192);
		more(p, CALL_OPEN, m)->flags = O_RDWR;
		read_it(p, m, 4096 * page, 8192);
		more(p, CALL_GETATTR, m);
	}
}

/* Ranges of one file are copied to another, and what others then see of both. */
static void copies(struct program *p, struct rng *r)
{
	static const uint64_t edge[] = {0, 4096, 65536, MIB, MIB + 65536};
	struct step_of *s;

	p->mounts = 2;
	for (unsigned m = 0; m < 2; m++) {
		for (unsigned h = 0; h < 2; h++) {
			s = more(p, m ? CALL_OPEN : CALL_CREATE, m);
			s->flags = O_RDWR;
			s->at = at((uint8_t)h);
			s->handle = (uint8_t)h;
			s->mode = 0644;
		}
	}
	for (unsigned k = 0; k < 9; k++) {
		unsigned m = below(r, 2);

		s = more(p, CALL_WRITE, below(r, 2));
		s->handle = (uint8_t)below(r, 2);
		s->off = edge[below(r, 5)] + below(r, 3) * 1000;
		s->len = one_of(r, 3) ? MIB : 1 + below(r, 70000);
		s->salt = below(r, 1000);
		if (one_of(r, 4)) {
			s = more(p, CALL_SETATTR, below(r, 2));
			s->at = at((uint8_t)below(r, 2));
			s->what = FS_SET_SIZE;
			s->len = edge[below(r, 5)] + below(r, 2000);
		}
		if (one_of(r, 4))
			pause_some(p, r, 50);
		s = more(p, CALL_COPY, m);
		s->handle = (uint8_t)below(r, 2);
		s->off = edge[below(r, 5)] + (one_of(r, 2) ? below(r, 3000) : 0);
		s->off2 = edge[below(r, 5)] + (one_of(r, 2) ? below(r, 3000) : 0);
		s->len = one_of(r, 2) ? MIB : 1 + below(r, 200000);
		for (unsigned h = 0; h < 2; h++) {
			s = more(p, CALL_READ, one_of(r, 3) ? m : !m);
			s->handle = (uint8_t)h;
			s->len = MODEL_SIZE_MAX;
		}
	}
}

/* With how many words there are which. */
static const struct {
	void (*make)(struct program *p, struct rng *r);
	unsigned words;
} aims[] = {{cross, 2}, {cut_under_write, 2}, {remembered, 4}, {copies, 5}};

void program_aim(struct program *p, struct rng *r, unsigned words)
{
	unsigned n = 0;

	while (n < sizeof(aims) / sizeof(aims[0]) && aims[n].words <= words)
		n++;
	aims[below(r, n)].make(p, r);
}
