/*
 * world: a cluster in the simulator with mounts of one filesystem, and what the models make of it.
 *
 * Several models are kept as long as several orders of calls that ran together explain what was
 * seen; each further answer rules some out. When none is left the filesystem is wrong.
 */
#ifndef ORBIT_TESTS_MODEL_WORLD_H
#define ORBIT_TESTS_MODEL_WORLD_H

#include "fs/ops/fs.h"
#include "tests/model/kernel.h"
#include "tests/model/model.h"
#include "tests/model/program.h"
#include "tests/sim/cluster.h"

#define WORLD_MODELS 256
#define WORLD_TOGETHER 4
#define WORLD_PENDING 8
#define WORLD_LIMIT (300 * ENV_SEC)

struct world_handle {
	struct fs_file *file; /* NULL: not open */
	uint64_t ino;
	int flags;
	bool busy; /* a call is on its way */
};

struct world_mount {
	struct orbit_client *client;
	struct env *env;
	struct fs *fs;
	struct kernel *kernel; /* of its machine */
	bool dead;
	struct world_handle handle[PROGRAM_HANDLES];
};

/* A call on its way. */
struct flight {
	struct fs_call call;
	struct call c;
	struct seen s;
	struct world *w;
	struct world_handle *handle;
	struct fs_dir *dir;
	uint8_t *out; /* bytes of a write */
	unsigned stage, room, bitten;
	uint64_t cookie;
	bool done;
	struct fs_attr set;
};

struct kept {
	uint64_t ino;
	uint32_t mode;
};

struct world {
	struct cluster *c;
	unsigned nmounts;
	struct world_mount m[MODEL_MOUNTS];
	struct model *model[WORLD_MODELS];
	unsigned
		pending_of[WORLD_MODELS]; /* bits: calls of the dead that have not happened there */
	unsigned nmodels;
	struct call pending[WORLD_PENDING]; /* of mounts that died: they may happen at any time */
	struct seen pending_seen[WORLD_PENDING];
	unsigned npending;
	struct kept kept[PROGRAM_KEPT];
	bool verbose;
	bool killed, powerless; /* a mount died; power was lost everywhere */
	bool failed;
	char why[400];
};

/* Ends the process if the cluster can't be made. */
void world_init(struct world *w, const struct program *p, bool verbose);
/* Another client with a mount; its index, or -1 when there are too many. */
int world_mount(struct world *w);

/* Once only: what was wrong. */
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Begins a call; false: it can't be made now. @h: the open file it concerns, or NULL. */
bool world_start(struct world *w, struct flight *f, const struct call *c, struct world_handle *h);
/* Lets the world run until all of them are done. */
void world_wait(struct world *w, struct flight *f, unsigned n);
/* What they answered is explained, or the world has failed. Frees what they carry. */
void world_judge(struct world *w, struct flight *f, unsigned n);
/* All of that for one call; its errno and attributes. 1: it could not be made. */
int world_call(struct world *w, const struct call *c, struct world_handle *h, struct fs_attr *a);

/* The mount's process ends now; those of the calls that are its own are not heard of any more. */
void world_kill(struct world *w, unsigned mount, bool silent, struct flight *f, unsigned n);

/* The whole tree as @mount sees it. */
void world_tree(struct world *w, unsigned mount);
/* The model is no more. */
void world_drop(struct world *w, unsigned k);
/* The checker finds nothing that it should not, and repairs what it finds. */
void world_check(struct world *w, unsigned mount);
/* Power is lost everywhere; then what was synced is there. @torn: some of what was not, too. */
void world_power(struct world *w, bool torn);
/* Everything is in order: trees, the checker, a new mount. */
void world_finish(struct world *w);

void program_run(const struct program *p, struct world *w);

#endif
