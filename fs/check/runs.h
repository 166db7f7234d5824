/*
 * runs: an external merge sort of fixed-size records (Knuth, TAOCP 3, 5.4).
 *
 * Records are added in any order; when more than the given memory is held they are sorted and
 * written to an unlinked temporary file as one run. Reading merges all runs.
 */
#ifndef ORBIT_CHECK_RUNS_H
#define ORBIT_CHECK_RUNS_H

#include <stddef.h>

struct runs;

/* @cmp orders records as qsort(3). 0, -ENOMEM. */
int runs_new(struct runs **out, size_t record, size_t memory, const char *tmp,
	int (*cmp)(const void *a, const void *b));
void runs_free(struct runs *r);

/* 0, or -errno when a run can't be written. */
int runs_add(struct runs *r, const void *record);

/* Ends adding and begins (again) to read. 0, -errno. */
int runs_rewind(struct runs *r);

/* 1 and the next record in order, 0 at the end, -errno. */
int runs_next(struct runs *r, void *record);

#endif
