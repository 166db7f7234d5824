/* Mounts, and the models that explain them. */
#include "tests/model/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	if (w->verbose)
		printf("     WRONG: %s\n", w->why);
}

/* ---- mounts ---- */

struct waiting {
	bool done;
	int rc;
	struct fs *fs;
};

static void waiting_done(void *arg, int rc)
{
	struct waiting *x = arg;

	x->done = true;
	x->rc = rc;
}

static void waiting_mounted(void *arg, int rc, struct fs *fs)
{
	struct waiting *x = arg;

	x->fs = fs;
	waiting_done(arg, rc);
}

static int wait_for(struct world *w, struct waiting *x)
{
	if (!sim_wait(w->c->s, &x->done, WORLD_LIMIT))
		return -ETIME;
	return x->rc;
}

static int mount_it(struct world *w, struct world_mount *m)
{
	struct fs_config cfg = fs_config_default();
	struct waiting x = {.done = false};
	int rc;

	cfg.policy = orbit_config_default().policy;
	fs_mount(m->client, m->env, &cfg, 60 * ENV_SEC, waiting_mounted, &x);
	rc = wait_for(w, &x);
	m->fs = x.fs;
	if (!rc)
		m->kernel = kernel_new(m->env, m->fs);
	return rc;
}

int world_mount(struct world *w)
{
	struct orbit_policy policy = orbit_config_default().policy;
	struct world_mount *m = &w->m[w->nmounts];
	int rc;

	if (w->nmounts == MODEL_MOUNTS)
		return -1;
	memset(m, 0, sizeof(*m));
	m->client = cluster_client(w->c, &policy);
	m->env = sim_env(w->c->client_host[w->nmounts]);
	w->nmounts++;
	if (w->nmounts == 1) {
		struct waiting x = {.done = false};

		fs_mkfs(m->client, m->env, 0, 0, waiting_done, &x);
		rc = wait_for(w, &x);
		if (rc)
			world_fail(w, "mkfs: %s", strerrorname_np(-rc));
	}
	rc = mount_it(w, m);
	if (rc)
		world_fail(w, "mount: %s", strerrorname_np(-rc));
	return (int)w->nmounts - 1;
}

static void root_done(struct fs_call *call, int rc)
{
	struct flight *f = container_of(call, struct flight, call);

	f->done = true;
	f->s.rc = rc;
}

void world_init(struct world *w, const struct program *p, bool verbose)
{
	const struct cluster_config cfg = {
		.seed = p->seed,
		.nodes = p->nodes,
		.replicas = p->nodes > 1 ? p->replicas : 0,
		.shard_bits = 4,
		.bursts = sim_seed_bursts(p->seed),
	};
	struct flight f = {.call = {.done = root_done}};

	memset(w, 0, sizeof(*w));
	w->verbose = verbose;
	w->c = cluster_new_with(&cfg);
	for (unsigned k = 0; k < p->mounts; k++)
		world_mount(w);
	if (w->failed)
		return;
	fs_getattr(w->m[0].fs, &f.call, layout_ino_root());
	if (!sim_wait(w->c->s, &f.done, WORLD_LIMIT) || f.s.rc)
		world_fail(w, "no root");
	else
		w->model[w->nmodels++] = model_new(layout_ino_root(), &f.call.attr);
}

/* ---- explaining ---- */

#define REACHED 512

struct judging {
	struct world *w;
	struct flight *f;
	unsigned n;
	struct model *found[WORLD_MODELS];
	unsigned pending_of[WORLD_MODELS];
	unsigned nfound;
	bool late;       /* a call of the dead has to happen meanwhile */
	unsigned before; /* that have not happened */
	char why[160], last[160];
	/* States that were reached, by whatever order: what follows from them is the same. */
	struct reached {
		struct model *m;
		unsigned pending, done;
	} reached[REACHED];
	unsigned nreached;
};

/* A model that explains all: kept, unless there is one like it. */
static void keep(struct judging *j, struct model *m, unsigned pending)
{
	if (j->late && pending == j->before) {
		model_free(m);
		return;
	}
	for (unsigned k = 0; k < j->nfound; k++) {
		if (j->pending_of[k] == pending && model_equal(j->found[k], m)) {
			model_free(m);
			return;
		}
	}
	if (j->nfound == WORLD_MODELS) {
		model_free(m); /* more than can be followed; in practice never */
		return;
	}
	j->pending_of[j->nfound] = pending;
	j->found[j->nfound++] = m;
}

static void orders(struct judging *j, struct model *m, unsigned pending, unsigned done);

/* A call of a mount that died earlier may happen just now. */
static void late_ones(struct judging *j, const struct model *m, unsigned pending, unsigned done)
{
	struct world *w = j->w;
	char why[160];

	for (unsigned p = 0; p < w->npending; p++) {
		struct model *next;

		if (!(pending & 1u << p))
			continue;
		next = model_copy(m);
		if (model_step(next, &w->pending[p], &w->pending_seen[p], why, sizeof(why)))
			orders(j, next, pending & ~(1u << p), done);
		else
			model_free(next);
	}
}

static bool reached(struct judging *j, const struct model *m, unsigned pending, unsigned done)
{
	for (unsigned k = 0; k < j->nreached; k++) {
		const struct reached *r = &j->reached[k];

		if (r->pending == pending && r->done == done && model_equal(r->m, m))
			return true;
	}
	if (j->nreached < REACHED)
		j->reached[j->nreached++] = (struct reached){model_copy(m), pending, done};
	return false;
}

static void forget_reached(struct judging *j)
{
	while (j->nreached)
		model_free(j->reached[--j->nreached].m);
}

/* The rest of the calls in all orders, those of the dead also not at all. */
static void orders(struct judging *j, struct model *m, unsigned pending, unsigned done)
{
	char why[160] = "";
	bool last = true;

	if ((pending || j->n > 1) && reached(j, m, pending, done)) {
		model_free(m);
		return;
	}
	late_ones(j, m, pending, done);
	for (unsigned k = 0; k < j->n; k++) {
		struct model *next;

		if (done & 1u << k)
			continue;
		if (j->f[k].s.known)
			last = false;
		next = model_copy(m);
		if (model_step(next, &j->f[k].c, &j->f[k].s, why, sizeof(why))) {
			orders(j, next, pending, done | 1u << k);
		} else {
			model_free(next);
			if (!j->why[0])
				memcpy(j->why, why, sizeof(why));
			memcpy(j->last, why, sizeof(why));
		}
	}
	if (last)
		keep(j, m, pending);
	else
		model_free(m);
}

static void forget_models(struct world *w)
{
	for (unsigned k = 0; k < w->nmodels; k++)
		model_free(w->model[k]);
	w->nmodels = 0;
}

/* Of calls that ran together, attributes may be those of a later moment, and times of another
 * one's.
 */
static void together(struct flight *f, unsigned n)
{
	int64_t begin = f[0].s.begin, end = f[0].s.end;

	for (unsigned k = 1; k < n; k++) {
		begin = f[k].s.begin < begin ? f[k].s.begin : begin;
		end = f[k].s.end > end ? f[k].s.end : end;
	}
	for (unsigned k = 0; k < n; k++) {
		f[k].s.loose = f[k].c.kind != CALL_GETATTR;
		f[k].s.begin = begin;
		f[k].s.end = end;
	}
}

static void explain(struct judging *j)
{
	struct world *w = j->w;

	for (unsigned k = 0; k < w->nmodels; k++) {
		j->before = w->pending_of[k];
		if (!j->late || j->before)
			orders(j, model_copy(w->model[k]), j->before, 0);
		forget_reached(j);
	}
}

/* If a call of the dead happens just meanwhile, attributes may be those of a later moment, too: a
 * name is looked up, what it names is replaced, and then its attributes are read. */
static void explain_late(struct judging *j)
{
	bool loose[WORLD_TOGETHER];

	j->late = true;
	for (unsigned k = 0; k < j->n; k++) {
		loose[k] = j->f[k].s.loose;
		j->f[k].s.loose = j->f[k].c.kind != CALL_GETATTR;
	}
	explain(j);
	for (unsigned k = 0; k < j->n; k++)
		j->f[k].s.loose = loose[k];
}

void world_judge(struct world *w, struct flight *f, unsigned n)
{
	struct judging j = {.w = w, .f = f, .n = n};

	if (w->failed)
		return;
	for (unsigned k = 0; k < n; k++)
		f[k].s.racing = n > 1 || w->npending;
	if (n > 1)
		together(f, n);
	explain(&j);
	if (w->npending && n == 1)
		explain_late(&j);
	forget_models(w);
	memcpy(w->model, j.found, sizeof(j.found));
	memcpy(w->pending_of, j.pending_of, sizeof(j.pending_of));
	w->nmodels = j.nfound;
	if (!w->nmodels)
		world_fail(w, "%s%s%s", j.why, strcmp(j.why, j.last) ? "; or: " : "",
			strcmp(j.why, j.last) ? j.last : "");
	for (unsigned k = 0; k < n; k++) {
		seen_free(&f[k].s);
		free(f[k].out);
		f[k].out = NULL;
	}
}

int world_call(struct world *w, const struct call *c, struct world_handle *h, struct fs_attr *a)
{
	struct flight f;
	int rc;

	if (w->failed || !world_start(w, &f, c, h))
		return 1;
	world_wait(w, &f, 1);
	rc = f.s.rc;
	if (a)
		*a = f.s.attr;
	if (w->verbose)
		printf("     m%u: %s %llx %s -> %s\n", c->mount, program_kind(c->kind),
			(unsigned long long)(c->ino ? c->ino : c->dir), c->name ? c->name : "",
			rc ? strerrorname_np(-rc) : "0");
	world_judge(w, &f, 1);
	return w->failed ? 1 : rc;
}

/* ---- death ---- */

void world_drop(struct world *w, unsigned k)
{
	model_free(w->model[k]);
	w->nmodels--;
	w->model[k] = w->model[w->nmodels];
	w->pending_of[k] = w->pending_of[w->nmodels];
}

/* What the dead mount had dirty is read by another one: each byte has to be old or new. */
static void adopt(struct world *w, unsigned by, uint64_t ino)
{
	struct call c = {.kind = CALL_OPEN, .mount = by, .ino = ino, .flags = O_RDONLY};
	struct world_handle h = {.file = NULL};
	struct flight f;
	struct fs_attr a;
	char why[200] = "";

	if (world_call(w, &c, &h, NULL))
		return; /* nobody can reach it any more */
	c = (struct call){.kind = CALL_GETATTR, .mount = by, .ino = ino};
	world_call(w, &c, NULL, &a);
	c = (struct call){.kind = CALL_READ, .mount = by, .ino = ino, .len = MODEL_SIZE_MAX};
	if (!w->failed && world_start(w, &f, &c, &h)) {
		world_wait(w, &f, 1);
		for (unsigned k = 0; k < w->nmodels; k++) {
			const struct model_inode *i = model_find(w->model[k], ino);

			if (!i->doubt || model_adopt(w->model[k], ino, f.s.data, f.s.len, &a, why,
						 sizeof(why)))
				continue;
			world_drop(w, k--);
		}
		if (!w->nmodels)
			world_fail(w, "after its writer died: %s", why);
		world_judge(w, &f, 1);
	}
	c = (struct call){.kind = CALL_CLOSE, .mount = by, .ino = ino};
	world_call(w, &c, &h, NULL);
}

static void adopt_all(struct world *w)
{
	unsigned by = 0, at = 0;
	int more;

	while (by < w->nmounts && w->m[by].dead)
		by++;
	if (by == w->nmounts) {
		more = world_mount(w);
		if (more < 0)
			return;
		by = (unsigned)more;
	}
	/* numbers of inodes are the same in all models, or not known in any */
	while (!w->failed && (at = model_next(w->model[0], at))) {
		const struct model_inode *i = model_at(w->model[0], at);
		bool doubt = false;

		for (unsigned k = 0; k < w->nmodels && i->ino; k++) {
			const struct model_inode *other = model_find(w->model[k], i->ino);

			doubt |= other && other->doubt;
		}
		if (doubt)
			adopt(w, by, i->ino);
	}
}

static bool happens_late(const struct call *c)
{
	switch (c->kind) {
	case CALL_READ:
	case CALL_WRITE:
	case CALL_FSYNC:
	case CALL_CLOSE:
	case CALL_FALLOCATE:
	case CALL_LSEEK:
	case CALL_COPY:
		return false;
	default:
		return true;
	}
}

/* Calls of others end after its death: they see what it had sent, or all that it had. */
static void dead_first(struct world *w, unsigned mount)
{
	unsigned n = w->nmodels;

	for (unsigned k = 0; k < n && w->nmodels < WORLD_MODELS; k++) {
		struct model *m = model_copy(w->model[k]);

		model_kill(m, mount);
		w->pending_of[w->nmodels] = w->pending_of[k];
		w->model[w->nmodels++] = m;
	}
}

void world_kill(struct world *w, unsigned mount, bool silent, struct flight *f, unsigned n)
{
	struct world_mount *m = &w->m[mount];
	bool others = false;

	cluster_client_kill(w->c, mount, silent);
	m->dead = w->killed = true;
	for (unsigned k = 0; k < n; k++) {
		others |= !f[k].done && f[k].c.mount != mount;
		if (f[k].done || f[k].c.mount != mount)
			continue;
		f[k].done = true;
		f[k].s.known = false;
		f[k].s.rc = -EIO;
		f[k].s.end = (int64_t)env_wall(m->env) + ENV_SEC;
	}
	world_wait(w, f, n);
	if (w->failed)
		return;
	for (unsigned k = 0; k < n; k++) {
		if (f[k].s.known || !happens_late(&f[k].c) || w->npending == WORLD_PENDING)
			continue;
		w->pending[w->npending] = f[k].c;
		w->pending_seen[w->npending] = f[k].s;
		for (unsigned i = 0; i < w->nmodels; i++)
			w->pending_of[i] |= 1u << w->npending;
		w->npending++;
		f[k] = f[--n];
		k--;
	}
	if (others)
		dead_first(w, mount);
	world_judge(w, f, n);
	for (unsigned k = 0; k < w->nmodels; k++)
		model_kill(w->model[k], mount);
	memset(m->handle, 0, sizeof(m->handle));
	if (!w->failed)
		adopt_all(w);
}
