/* Carries out programs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "tests/model/world.h"

static const char *const xattr_name[3] = {"user.x", "user.y", "trusted.z"};

/* ---- where things are ---- */

static int walk(
	struct world *w, const struct step_of *s, uint64_t dir, uint8_t name, struct fs_attr *a)
{
	struct call c = {
		.kind = CALL_LOOKUP, .mount = s->mount, .dir = dir, .name = program_name[name]};

	return world_call(w, &c, NULL, a);
}

/* The directory; 0: there is none. */
static uint64_t find_dir(struct world *w, const struct step_of *s, const struct where *at)
{
	uint64_t dir = layout_ino_root();
	struct fs_attr a;

	if (at->kept) {
		const struct kept *k = &w->kept[at->kept - 1];

		if (!S_ISDIR(k->mode))
			return 0;
		dir = k->ino;
	}
	for (unsigned d = 0; d < at->depth; d++) {
		if (walk(w, s, dir, at->dir[d], &a) || !S_ISDIR(a.mode))
			return 0;
		dir = a.ino;
	}
	return dir;
}

/* The inode itself; false: there is none. */
static bool find_inode(struct world *w, const struct step_of *s, const struct where *at,
	uint64_t *ino, uint32_t *mode)
{
	uint64_t dir;
	struct fs_attr a;

	if (s->kept && s->kind != STEP_KEEP) {
		const struct world_handle *h = &w->m[s->mount].handle[s->handle % PROGRAM_HANDLES];

		if (s->kept == PROGRAM_OF_HANDLE) {
			*ino = h->ino;
			*mode = S_IFREG;
			return h->file != NULL;
		}
		*ino = w->kept[s->kept - 1].ino;
		*mode = w->kept[s->kept - 1].mode;
		return *ino != 0;
	}
	dir = find_dir(w, s, at);
	if (!dir || walk(w, s, dir, at->name, &a))
		return false;
	*ino = a.ino;
	*mode = a.mode;
	return true;
}

/* ---- steps that are calls ---- */

static uint64_t size_of(struct world *w, uint64_t ino)
{
	const struct model_inode *i = model_find(w->model[0], ino);

	return i ? model_size(i) : 0;
}

/* A call on an open file. */
static bool prepare_data(
	struct world *w, const struct step_of *s, struct call *c, struct world_handle *h)
{
	c->ino = h->ino;
	c->off = s->off;
	c->len = s->len;
	c->flags = s->flags;
	if (c->kind == CALL_WRITE) {
		c->flags = h->flags;
		if (h->flags & O_APPEND)
			c->off = 0;
		return (h->flags & O_APPEND ? size_of(w, h->ino) + 2 * (1u << 20) : c->off) +
			       c->len <=
		       MODEL_SIZE_MAX;
	}
	if (c->kind == CALL_COPY) {
		const struct world_handle *from = &w->m[s->mount].handle[!(s->handle % 2)];

		c->ino2 = from->ino;
		c->off2 = s->off2;
		if (!from->file || (from->flags & O_ACCMODE) == O_WRONLY || h->flags & O_APPEND)
			return false;
	}
	if (c->kind == CALL_FALLOCATE || c->kind == CALL_COPY)
		return c->off + c->len <= MODEL_SIZE_MAX;
	return true;
}

/* From a step to a call: false when what it names is not there. */
static bool prepare(
	struct world *w, const struct step_of *s, struct call *c, struct world_handle **h)
{
	struct world_handle *mine = &w->m[s->mount].handle[s->handle % PROGRAM_HANDLES];
	uint32_t mode = 0;

	*h = NULL;
	*c = (struct call){.kind = (enum call_kind)s->kind,
		.mount = s->mount,
		.mode = s->mode,
		.uid = s->uid,
		.gid = s->gid,
		.rdev = 0x123,
		.what = s->what,
		.flags = s->flags,
		.plus = s->plus,
		.kill = s->kill,
		.salt = s->salt,
		.time = s->time,
		.len = s->len,
		.name = program_name[s->at.name],
		.name2 = program_name[s->to.name]};
	if (call_on_file(s->kind)) {
		*h = mine;
		return mine->file && prepare_data(w, s, c, mine);
	}
	if (s->kind == CALL_LINK)
		return find_inode(w, s, &s->to, &c->ino, &mode) &&
		       (c->dir = find_dir(w, s, &s->at));
	if (s->kind <= CALL_RENAME || s->kind == CALL_TMPFILE) {
		if (s->kind == CALL_CREATE || s->kind == CALL_TMPFILE) {
			*h = mine;
			if (mine->file)
				return false;
		}
		c->dir = find_dir(w, s, &s->at);
		if (!c->dir || s->kind != CALL_RENAME)
			return c->dir != 0;
		c->dir2 = find_dir(w, s, &s->to);
		return c->dir2 != 0;
	}
	if (s->kind >= CALL_GETXATTR && s->kind <= CALL_REMOVEXATTR)
		c->name = xattr_name[s->handle % 3];
	if (s->kind == CALL_READDIR && s->at.name == 2 && !s->kept) {
		c->ino = layout_ino_root();
		return true;
	}
	if (s->kind == CALL_OPEN)
		*h = mine;
	return find_inode(w, s, &s->at, &c->ino, &mode);
}

/* ---- faults ---- */

struct later {
	struct world *w;
	unsigned node, node2, mount;
	int kind;
};

static void later(void *arg)
{
	struct later *l = arg;
	struct cluster *c = l->w->c;

	switch (l->kind) {
	case STEP_CRASH:
		cluster_start(c, l->node);
		break;
	case STEP_CUT:
		sim_heal(c->s, c->client_host[l->mount], c->node[l->node].host);
		break;
	case STEP_CUT_NODES:
		sim_heal(c->s, c->node[l->node2].host, c->node[l->node].host);
		break;
	}
	free(l);
}

static void fault_step(struct world *w, const struct step_of *s)
{
	struct cluster *c = w->c;
	struct sim_host *node = c->node[s->node].host, *client = c->client_host[s->mount];
	struct later *l;

	switch (s->kind) {
	case STEP_SLEEP:
		sim_run(c->s, s->ms * ENV_MS);
		return;
	case STEP_CUT:
		sim_cut(c->s, client, node, s->silent);
		break;
	case STEP_CUT_NODES:
		if (s->node == s->node2)
			return;
		sim_cut(c->s, node, c->node[s->node2].host, s->silent);
		break;
	case STEP_BREAK:
		sim_break(c->s, client, node);
		return;
	case STEP_LOSE:
		sim_lose_next(c->s, node, client, WIRE_REPLY);
		return;
	case STEP_CRASH:
		cluster_crash(c, s->node, DISK_PROCESS);
		break;
	case STEP_PAUSE_NODE:
		sim_host_pause(node, s->ms * ENV_MS);
		return;
	case STEP_PAUSE_MOUNT:
		sim_host_pause(client, s->ms * ENV_MS);
		return;
	case STEP_MOUNT:
		world_mount(w);
		return;
	}
	l = mem_zalloc(sizeof(*l));
	*l = (struct later){w, s->node, s->node2, s->mount, s->kind};
	sim_after(c->s, s->ms * ENV_MS, later, l);
}

/* ---- running ---- */

struct runner {
	const struct program *p;
	struct world *w;
	int doomed; /* the mount that dies during its next call; -1: none */
	unsigned events;
	bool silent;
};

static void told(struct world *w, const struct step_of *s, unsigned at, const char *outcome)
{
	char line[512];

	if (!w->verbose)
		return;
	program_line(s, line, sizeof(line));
	printf("%3u %12.6f  %s  %s\n", at, (double)sim_now(w->c->s) / 1e9, line, outcome);
	fflush(stdout);
}

static void told_answers(struct world *w, const struct flight *f, unsigned n)
{
	for (unsigned k = 0; k < n && w->verbose; k++)
		printf("     %16s %s ino=%" PRIx64 " len=%zu after %.3f ms\n", "->",
			!f[k].s.known ? "?"
			: f[k].s.rc   ? strerrorname_np(-f[k].s.rc)
				      : "0",
			f[k].s.attr.ino, f[k].s.len, (double)(f[k].s.end - f[k].s.begin) / 1e6);
}

/* Its time has come, if it is one of those that have calls on their way. */
static bool maybe_kill(struct runner *r, struct flight *f, unsigned n)
{
	struct world *w = r->w;
	bool its = false, all;

	for (unsigned k = 0; k < n; k++)
		its |= (int)f[k].c.mount == r->doomed;
	if (!its)
		return false;
	do {
		all = true;
		for (unsigned k = 0; k < n; k++)
			all &= f[k].done;
	} while (!all && r->events-- > 0 && sim_step(w->c->s));
	if (w->verbose)
		printf("     m%d dies%s\n", r->doomed, all ? " afterwards" : "");
	world_kill(w, (unsigned)r->doomed, r->silent, f, n);
	r->doomed = -1;
	return true;
}

static void run_together(
	struct runner *r, const struct call *c, struct world_handle **h, unsigned n)
{
	struct world *w = r->w;
	struct flight f[WORLD_TOGETHER];
	unsigned started = 0;

	for (unsigned k = 0; k < n; k++)
		started += world_start(w, &f[started], &c[k], h[k]);
	if (r->doomed >= 0 && maybe_kill(r, f, started))
		return;
	world_wait(w, f, started);
	told_answers(w, f, started);
	world_judge(w, f, started);
}

/* A mount that lives, the step's if possible. */
static bool actor(const struct world *w, struct step_of *s)
{
	for (unsigned k = 0; k < w->nmounts; k++) {
		unsigned m = (s->mount + k) % w->nmounts;

		if (w->m[m].dead)
			continue;
		s->mount = (uint8_t)m;
		return true;
	}
	return false;
}

/* Only what is one call of the nodes can be put in order with others. */
static bool may_join(const struct step_of *s)
{
	return s->kind < CALL_KINDS && s->kind != CALL_READDIR && s->kind != CALL_FALLOCATE &&
	       s->kind != CALL_LSEEK && s->kind != CALL_COPY && s->kind != CALL_LISTXATTR;
}

static bool changes_size(const struct call *c)
{
	return (c->kind == CALL_SETATTR && c->what & FS_SET_SIZE) ||
	       (c->kind == CALL_OPEN && c->flags & O_TRUNC);
}

static bool appends(const struct call *c)
{
	return c->kind == CALL_WRITE && c->flags & O_APPEND;
}

/* The kernel of one mount lets only one at a time change the bytes of a file. Here a write meets a
 * cut all the same, as the rules of both have to hold; but where the end is for who appends, only
 * that lock can say. */
static bool excluded(const struct call *c, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (c[k].mount == c[n].mount && c[k].ino == c[n].ino &&
			((appends(&c[k]) && changes_size(&c[n])) ||
				(appends(&c[n]) && changes_size(&c[k]))))
			return true;
	return false;
}

/* The steps from @at on that run together; how many. */
static unsigned run_group(struct runner *r, unsigned at)
{
	struct world *w = r->w;
	struct world_handle *h[WORLD_TOGETHER];
	struct call c[WORLD_TOGETHER];
	unsigned n = 0, ncalls = 0;
	bool more = true;

	while (more && n < WORLD_TOGETHER && at + n < r->p->n && !w->failed) {
		struct step_of s = r->p->step[at + n];
		bool there;

		if (n && !may_join(&s))
			break;
		there = actor(w, &s) && prepare(w, &s, &c[ncalls], &h[ncalls]);
		if (there && excluded(c, ncalls))
			break;
		told(w, &s, at + n, there ? "" : "(nothing)");
		ncalls += there;
		more = s.with_next && may_join(&s);
		n++;
	}
	if (!w->failed && ncalls)
		run_together(r, c, h, ncalls);
	return n ? n : 1;
}

static void keep_step(struct world *w, const struct step_of *s)
{
	struct kept k = {.ino = 0};

	if (find_inode(w, s, &s->at, &k.ino, &k.mode))
		w->kept[s->kept - 1] = k;
}

static unsigned run_step(struct runner *r, unsigned at)
{
	struct step_of s = r->p->step[at];

	if (s.kind < CALL_KINDS)
		return run_group(r, at);
	if (!actor(r->w, &s))
		return 1;
	told(r->w, &s, at, "");
	if (s.kind == STEP_KEEP) {
		keep_step(r->w, &s);
	} else if (s.kind == STEP_KILL) {
		r->doomed = s.mount;
		r->events = s.events;
		r->silent = s.silent;
	} else {
		fault_step(r->w, &s);
	}
	return 1;
}

void program_run(const struct program *p, struct world *w)
{
	struct runner r = {.p = p, .w = w, .doomed = -1};

	for (unsigned at = 0; at < p->n && !w->failed;)
		at += run_step(&r, at);
	if (w->failed)
		return;
	if (p->power)
		world_power(w, p->torn);
	else
		world_finish(w);
}
