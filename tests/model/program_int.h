/* program_int: what programs are made of, for program*.c. */
#ifndef ORBIT_TESTS_MODEL_PROGRAM_INT_H
#define ORBIT_TESTS_MODEL_PROGRAM_INT_H

#include "tests/model/program.h"

struct rng {
	uint64_t x;
};

static inline uint64_t rnd(struct rng *r)
{
	uint64_t z = r->x += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline unsigned below(struct rng *r, unsigned n)
{
	return (unsigned)(rnd(r) % n);
}

static inline bool one_of(struct rng *r, unsigned n)
{
	return below(r, n) == 0;
}

/* Makes a program of one of the aims (program_aim.c). */
void program_aim(struct program *p, struct rng *r, unsigned words);

#endif
