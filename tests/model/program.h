/*
 * program: what a seed has several mounts do: steps, one after the other or some together.
 *
 * Steps name things by path (walked when the step runs), by numbers that an earlier step kept, or
 * by open files in numbered slots of a mount; a step whose path, number or file is not there does
 * nothing. So any part of a program is a program.
 */
#ifndef ORBIT_TESTS_MODEL_PROGRAM_H
#define ORBIT_TESTS_MODEL_PROGRAM_H

#include <stdio.h>

#include "tests/model/model.h"

#define PROGRAM_STEPS 96
#define PROGRAM_NAMES 5
#define PROGRAM_KEPT 3
#define PROGRAM_OF_HANDLE 100 /* kept: the inode that is open there */
#define PROGRAM_HANDLES 2

extern const char *const program_name[PROGRAM_NAMES];

/* Besides the calls. */
enum {
	STEP_KEEP = CALL_KINDS, /* the number of at is kept */
	STEP_SLEEP,
	STEP_CUT,       /* mount and node */
	STEP_CUT_NODES, /* two nodes */
	STEP_BREAK,     /* all links of mount and node, once */
	STEP_LOSE,      /* the next answer of node to mount */
	STEP_CRASH,     /* a node's process; it starts again later */
	STEP_PAUSE_NODE,
	STEP_PAUSE_MOUNT,
	STEP_KILL,  /* the mount dies during the next step of it */
	STEP_MOUNT, /* another one */
	STEP_KINDS
};

struct where {
	uint8_t kept;   /* 1..: a directory kept; 0: from the root */
	uint8_t depth;  /* of dir[] */
	uint8_t dir[2]; /* names of directories */
	uint8_t name;
};

struct step_of {
	uint8_t kind, mount, handle, node, node2;
	bool with_next; /* runs together with the next step */
	bool plus, kill, silent;
	struct where at, to;
	uint8_t kept; /* STEP_KEEP: where; else 1..: the inode itself is that one */
	uint32_t mode, uid, gid, salt, events;
	uint64_t off, off2, len, ms;
	unsigned what;
	int flags;
	int64_t time;
};

struct program {
	uint64_t seed;
	unsigned nodes, replicas, mounts;
	bool power, torn; /* it ends with a loss of power */
	unsigned n;
	struct step_of step[PROGRAM_STEPS];
};

struct program_pin {
	uint64_t seed;
	unsigned words;
};
extern const struct program_pin program_pinned[]; /* up to one of 0 words */

void program_make(struct program *p, uint64_t seed);
void program_print(const struct program *p, FILE *to);
const char *program_kind(unsigned kind);
void program_line(const struct step_of *s, char *line, size_t len);

#endif
