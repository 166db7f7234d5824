/*
 * The power of all nodes and mounts goes at once, at the end of a program: what a mount has synced,
 * and nobody changed since, is there as it was; the rest may be older, but is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "tests/model/world.h"

/* Its answer, which nobody has judged; false: there is none. Free f->s. */
static bool ask(struct world *w, struct flight *f, const struct call *c, struct world_handle *h)
{
	if (w->failed || !world_start(w, f, c, h))
		return false;
	world_wait(w, f, 1);
	if (w->verbose)
		printf("     m%u: %s %llx -> %s\n", c->mount, program_kind(c->kind),
			(unsigned long long)c->ino, f->s.rc ? strerrorname_np(-f->s.rc) : "0");
	return !w->failed;
}

/* Models in which it was synced, and the answer is another one, are no more. */
static void compare(struct world *w, const struct flight *f, const char *what)
{
	char why[160] = "";

	for (unsigned k = 0; k < w->nmodels; k++) {
		const struct model_inode *i = model_find(w->model[k], f->c.ino);
		struct model *m;

		if (!i || !model_durable(i))
			continue;
		m = model_copy(w->model[k]);
		if (!model_step(m, &f->c, &f->s, why, sizeof(why))) {
			model_free(m);
			world_drop(w, k--);
			continue;
		}
		model_free(w->model[k]);
		w->model[k] = m;
	}
	if (!w->nmodels)
		world_fail(w, "synced, and after a power loss its %s: %s (inode %llx)", what, why,
			(unsigned long long)f->c.ino);
}

static void look_at(
	struct world *w, unsigned mount, struct call c, struct world_handle *h, const char *what)
{
	struct flight f;

	c.mount = mount;
	if (!ask(w, &f, &c, h))
		return;
	compare(w, &f, what);
	seen_free(&f.s);
	free(f.out);
}

static void look_at_file(struct world *w, unsigned mount, uint64_t ino)
{
	struct world_handle h = {.file = NULL};

	look_at(w, mount, (struct call){.kind = CALL_OPEN, .ino = ino}, &h, "opening");
	if (!h.file)
		return;
	look_at(w, mount, (struct call){.kind = CALL_READ, .ino = ino, .len = MODEL_SIZE_MAX}, &h,
		"bytes");
	look_at(w, mount, (struct call){.kind = CALL_CLOSE, .ino = ino}, &h, "closing");
}

static void look_at_synced(struct world *w, unsigned mount)
{
	unsigned at = 0;

	while (!w->failed && (at = model_next(w->model[0], at))) {
		struct model_inode i = *model_at(w->model[0], at);
		struct call c = {.ino = i.ino};

		if (!i.ino || !model_durable(&i))
			continue;
		c.kind = CALL_GETATTR;
		look_at(w, mount, c, NULL, "attributes");
		c.kind = CALL_LISTXATTR;
		look_at(w, mount, c, NULL, "extended attributes");
		if (S_ISREG(i.mode))
			look_at_file(w, mount, i.ino);
		c.kind = S_ISDIR(i.mode) ? CALL_READDIR : CALL_READLINK;
		if (S_ISDIR(i.mode) || S_ISLNK(i.mode))
			look_at(w, mount, c, NULL, "names");
	}
}

/* All that can be reached can be read. */
static void walk(struct world *w, unsigned mount, uint64_t dir, unsigned depth)
{
	struct call c = {.kind = CALL_READDIR, .mount = mount, .ino = dir, .plus = true, .salt = 5};
	struct flight f, g;

	if (!ask(w, &f, &c, NULL))
		return;
	if (f.s.rc || depth > 30)
		world_fail(w, "after a power loss a directory can't be read: %s (inode %llx)",
			strerrorname_np(-f.s.rc), (unsigned long long)dir);
	for (unsigned k = 0; k < f.s.nentries && !w->failed; k++) {
		const struct seen_entry *e = &f.s.entry[k];
		struct world_handle h = {.file = NULL};

		if (!e->has_attr)
			continue;
		if (S_ISDIR(e->attr.mode))
			walk(w, mount, e->ino, depth + 1);
		if (!S_ISREG(e->attr.mode))
			continue;
		c = (struct call){.kind = CALL_OPEN, .mount = mount, .ino = e->ino};
		if (!ask(w, &g, &c, &h))
			break;
		if (g.s.rc) {
			world_fail(w, "after a power loss a file can't be opened: %s (inode %llx)",
				strerrorname_np(-g.s.rc), (unsigned long long)e->ino);
			break;
		}
		c.kind = CALL_READ;
		c.len = MODEL_SIZE_MAX;
		if (!ask(w, &g, &c, &h))
			break;
		if (g.s.rc || g.s.len != e->attr.size)
			world_fail(w,
				"after a power loss a file of %llu bytes gives %zu: %s "
				"(inode %llx)",
				(unsigned long long)e->attr.size, g.s.len, strerrorname_np(-g.s.rc),
				(unsigned long long)e->ino);
		seen_free(&g.s);
		c.kind = CALL_CLOSE;
		ask(w, &g, &c, &h);
	}
	seen_free(&f.s);
}

static bool all_up(const struct world *w)
{
	for (unsigned k = 0; k < w->c->nnodes; k++)
		if (!w->c->node[k].up)
			return false;
	return true;
}

void world_power(struct world *w, bool torn)
{
	int fresh;

	while (!all_up(w))
		sim_run(w->c->s, 100 * ENV_MS);
	for (unsigned m = 0; m < w->nmounts; m++) {
		if (!w->m[m].dead)
			cluster_client_kill(w->c, m, true);
		w->m[m].dead = w->killed = true;
	}
	w->powerless = true;
	for (unsigned k = 0; k < w->c->nnodes; k++)
		cluster_crash(w->c, k, torn ? DISK_POWER : DISK_LOSE);
	if (w->verbose)
		printf("     the power is lost\n");
	sim_heal_all(w->c->s);
	sim_run(w->c->s, 100 * ENV_MS);
	for (unsigned k = 0; k < w->c->nnodes; k++)
		cluster_start(w->c, k);
	fresh = world_mount(w);
	if (fresh < 0 || w->failed)
		return;
	sim_run(w->c->s, 60 * ENV_SEC); /* sessions of the dead end */
	look_at_synced(w, (unsigned)fresh);
	world_check(w, (unsigned)fresh);
	look_at_synced(w, (unsigned)fresh);
	if (!w->failed)
		walk(w, (unsigned)fresh, layout_ino_root(), 0);
}
