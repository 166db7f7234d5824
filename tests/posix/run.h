/* run.h: between posix.c and the runner (suite.c). */
#ifndef TESTS_POSIX_RUN_H
#define TESTS_POSIX_RUN_H

/* How one case does; shared by all of its processes. */
struct posix_report {
	const char *file, *name; /* "open.c", "o_excl" */
	int out;                 /* where failures are told */
	int kind;                /* of filesystem: EXT4, FUSE, ... */
	int failures;
	char why[300]; /* that it differs, or "" */
};

extern struct posix_report *posix_report;

#endif
