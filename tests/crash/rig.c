/* Sequences on a simulated cluster, and power loss. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "dht/wire/wire_keep.h"
#include "tests/crash/rig.h"

#define SHARD_BITS 6 /* so many that the first tree is spread over the nodes */

void rig_fail(struct rig *r, const char *fmt, ...)
{
	va_list ap;

	if (r->failed)
		return;
	r->failed = true;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
}

/* ---- the world goes on ---- */

bool rig_pump(struct rig *r, const bool *done)
{
	uint64_t until = sim_now(r->c->s) + RIG_LIMIT;

	while (!*done && sim_now(r->c->s) < until && sim_step(r->c->s))
		if (r->out)
			r->dark(r);
	return *done;
}

static void passed(void *arg)
{
	*(bool *)arg = true;
}

void rig_run(struct rig *r, uint64_t ns)
{
	bool done = false;

	sim_after(r->c->s, ns, passed, &done);
	rig_pump(r, &done);
}

static void call_done(struct fs_call *call, int rc)
{
	struct rig_call *w = container_of(call, struct rig_call, call);

	if (w->done)
		rig_fail(w->r, "a call was answered twice");
	w->done = true;
	w->rc = rc;
	w->len = call->len;
	if (rc == 0 && call->data)
		w->data = mem_dup(call->data, call->len);
}

void rig_call(struct rig *r, struct rig_call *w)
{
	memset(w, 0, sizeof(*w));
	w->r = r;
	w->call.done = call_done;
}

int rig_wait(struct rig *r, struct rig_call *w)
{
	if (rig_pump(r, &w->done))
		return w->rc;
	rig_fail(r, "a call never ended");
	return -ETIME;
}

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

static void must(struct rig *r, struct waiting *x, const char *what)
{
	if (!rig_pump(r, &x->done))
		rig_fail(r, "%s never ended", what);
	else if (x->rc)
		rig_fail(r, "%s: %s", what, strerrorname_np(-x->rc));
}

void rig_mount(struct rig *r)
{
	struct fs_config cfg = fs_config_default();
	struct waiting x = {.done = false};

	cfg.policy = orbit_config_default().policy;
	fs_mount(r->client, r->env, &cfg, 60 * ENV_SEC, waiting_mounted, &x);
	must(r, &x, "mount");
	r->fs = x.fs;
}

void rig_unmount(struct rig *r)
{
	struct waiting x = {.done = false};

	fs_unmount(r->fs, 60 * ENV_SEC, waiting_done, &x);
	must(r, &x, "unmount");
	r->fs = NULL;
}

static void client(struct rig *r)
{
	struct orbit_policy policy = orbit_config_default().policy;

	r->client = cluster_client(r->c, &policy);
	r->env = sim_env(r->c->client_host[r->c->nclients - 1]);
}

/* ---- steps ---- */

static bool open_file(struct rig *r, int ino, int flags, struct fs_file **f)
{
	struct rig_call w;

	if (*f)
		return true;
	rig_call(r, &w);
	fs_open(r->fs, &w.call, r->h.real[ino], flags);
	if (rig_wait(r, &w)) {
		rig_fail(r, "open: %s", strerrorname_np(-w.rc));
		return false;
	}
	*f = w.call.file;
	return true;
}

static int write_step(struct rig *r, int n, int ino, uint32_t off, uint32_t len, bool append)
{
	struct fs_file **f = append ? &r->append[ino] : &r->file[ino];
	uint8_t data[SIZE_MAX_FILE];
	struct rig_call w;

	if (!open_file(r, ino, append ? O_WRONLY | O_APPEND : O_RDWR, f))
		return -EIO;
	for (uint32_t k = 0; k < len; k++)
		data[k] = step_byte(n, off + k);
	rig_call(r, &w);
	fs_write(r->fs, &w.call, *f, off, data, len);
	if (!rig_wait(r, &w) && w.len != len)
		rig_fail(r, "%zu of %u bytes were written", w.len, len);
	return w.rc;
}

static int fsync_dir(struct rig *r, uint64_t ino)
{
	struct rig_call w;
	struct fs_dir *d;

	rig_call(r, &w);
	fs_opendir(r->fs, &w.call, ino);
	if (rig_wait(r, &w))
		return w.rc;
	d = w.call.dir;
	rig_call(r, &w);
	fs_fsyncdir(r->fs, &w.call, d);
	rig_wait(r, &w);
	fs_releasedir(r->fs, d);
	return w.rc;
}

static int fsync_step(struct rig *r, int ino)
{
	struct fs_file *f = r->file[ino] ? r->file[ino] : r->append[ino];
	struct rig_call w;

	if (r->h.at.inode[ino].is_dir)
		return fsync_dir(r, r->h.real[ino]);
	if (!f && !open_file(r, ino, O_RDWR, &r->file[ino]))
		return -EIO;
	rig_call(r, &w);
	fs_fsync(r->fs, &w.call, f ? f : r->file[ino], false);
	return rig_wait(r, &w);
}

static int log_of(struct rig *r, const struct orbit_id *id)
{
	const struct ring_map *map = cluster_map(r->c);
	uint16_t shard = ring_shard_of(map, id);

	return r->cfg.replicas > 1 ? shard : map->shards[shard].primary;
}

/* The inode's number was told. */
static void note_real(struct rig *r, int ino, uint64_t real)
{
	const struct orbit_id id = layout_inode_id(real);

	r->h.real[ino] = real;
	if (!r->h.one_log)
		r->h.log[ino] = log_of(r, &id);
}

static int name_step(struct rig *r, const struct step *s)
{
	const struct fs_attr size = {.size = s->len};
	const uint64_t *real = r->h.real;
	const char *name = path_name(s->path), *to = path_name(s->to);
	uint64_t dir = real[s->dir];
	struct fs *fs = r->fs;
	struct rig_call w;

	rig_call(r, &w);
	switch (s->verb) {
	case CREATE:
		fs_create(fs, &w.call, dir, name, 0644, O_RDWR | O_EXCL);
		break;
	case MKDIR:
		fs_mkdir(fs, &w.call, dir, name, 0755);
		break;
	case TRUNCATE:
		fs_setattr(fs, &w.call, real[s->ino], FS_SET_SIZE, &size);
		break;
	case RENAME:
		fs_rename(fs, &w.call, dir, name, real[s->dir2], to, 0);
		break;
	case LINK:
		fs_link(fs, &w.call, real[s->ino], real[s->dir2], to);
		break;
	case UNLINK:
		fs_unlink(fs, &w.call, dir, name);
		break;
	default:
		fs_rmdir(fs, &w.call, dir, name);
	}
	rig_wait(r, &w);
	free(w.data);
	if (w.rc == 0 && (s->verb == CREATE || s->verb == MKDIR)) {
		note_real(r, s->ino, w.call.attr.ino);
		r->file[s->ino] = w.call.file;
	}
	return w.rc;
}

bool rig_step(struct rig *r, const struct step *s)
{
	struct history *h = &r->h;
	int n = h->n, rc;
	char text[80];

	h->step[h->n++] = *s;
	step_apply(s, &h->at);
	r->counting = true;
	if (s->verb == WRITE || s->verb == APPEND)
		rc = write_step(r, n, s->ino, s->off, s->len, s->verb == APPEND);
	else if (s->verb == FSYNC)
		rc = fsync_step(r, s->ino);
	else
		rc = name_step(r, s);
	step_print(s, text, sizeof(text));
	if (r->cfg.verbose)
		printf("%12.6f  %-24s %s, %llu changes so far\n", (double)sim_now(r->c->s) / 1e9,
			text, rc ? strerrorname_np(-rc) : "0", (unsigned long long)r->changes);
	if (rc)
		rig_fail(r, "%s: %s", text, strerrorname_np(-rc));
	h->done = h->n;
	if (s->verb == FSYNC && !rc) {
		h->synced = n;
		h->data_synced[s->ino] = n;
	}
	return !r->failed;
}

static void close_file(struct rig *r, struct fs_file **f)
{
	struct rig_call w;

	if (!*f)
		return;
	rig_call(r, &w);
	fs_flush(r->fs, &w.call, *f);
	if (rig_wait(r, &w))
		rig_fail(r, "close: %s", strerrorname_np(-w.rc));
	fs_release(r->fs, *f);
	*f = NULL;
}

void rig_settle(struct rig *r)
{
	rig_run(r, 6 * ENV_SEC);
	for (int k = 0; k < INODES_MAX; k++) {
		close_file(r, &r->file[k]);
		close_file(r, &r->append[k]);
	}
	rig_run(r, 3 * ENV_SEC);
	if (r->cfg.verbose)
		printf("%12.6f  at rest, %llu changes\n", (double)sim_now(r->c->s) / 1e9,
			(unsigned long long)r->changes);
}

/* ---- the beginning ---- */

static bool change(void *arg)
{
	struct rig *r = arg;

	if (r->out)
		return true;
	if (!r->counting)
		return false;
	r->out = r->ask && r->ask(r);
	if (!r->out)
		r->changes++;
	return r->out;
}

/* The first tree; numbers of inodes are those of tree_base(). */
static void fill(struct rig *r)
{
	struct tree *t = &r->h.at;

	for (int k = 0; k < t->nentries && !r->failed; k++) {
		int ino = t->entry[k].ino;
		struct step s = {.verb = t->inode[ino].is_dir ? MKDIR : CREATE, .ino = ino};

		memcpy(s.path, t->entry[k].name, sizeof(t->entry[k].name));
		if (name_step(r, &s))
			rig_fail(r, "cannot make %s", s.path);
		if (!t->inode[ino].is_dir && write_step(r, -ino, ino, 0, t->inode[ino].base, false))
			rig_fail(r, "cannot fill %s", s.path);
		if (!r->failed && fsync_step(r, ino))
			rig_fail(r, "cannot sync %s", s.path);
		close_file(r, &r->file[ino]);
	}
}

/* What is to be in several logs is, or other numbers of shards are needed. */
static void spread(struct rig *r)
{
	const struct orbit_id block = layout_block_id(r->h.real[1], 0);

	if (r->h.log[3] == r->h.log[0])
		rig_fail(r, "one log has both directories");
	if (log_of(r, &block) == r->h.log[0])
		rig_fail(r, "one log has a file and its block");
}

void rig_new(struct rig *r, const struct rig_config *cfg)
{
	const struct cluster_config ccfg = {
		.seed = cfg->seed,
		.nodes = cfg->nodes,
		.replicas = cfg->nodes > 1 ? cfg->replicas : 0,
		.shard_bits = SHARD_BITS,
		.session_timeout = 4 * ENV_SEC, /* less to wait for */
	};
	struct waiting x = {.done = false};

	memset(r, 0, sizeof(*r));
	r->cfg = *cfg;
	r->c = cluster_new_with(&ccfg);
	/* a disk that takes its time, so that whoever does not wait for it is ahead of it */
	*sim_net(r->c->s) = (struct sim_net){
		.delay_min = 20000, .delay_max = 100000, .job_min = ENV_MS, .job_max = 4 * ENV_MS};
	client(r);
	fs_mkfs(r->client, r->env, 0, 0, waiting_done, &x);
	must(r, &x, "mkfs");
	if (!r->failed)
		rig_mount(r);
	tree_base(&r->h.at, cfg->base);
	r->h.base = cfg->base;
	r->h.one_log = cfg->nodes == 1;
	for (int k = 0; k < INODES_MAX && !r->h.one_log; k++)
		r->h.log[k] = -1 - k; /* not known yet */
	note_real(r, 0, layout_ino_root());
	if (!r->failed)
		fill(r);
	if (cfg->base == BASE_FILLED && cfg->nodes > 1 && !r->failed)
		spread(r);
	if (!r->failed && fsync_dir(r, r->h.real[0]))
		rig_fail(r, "cannot sync the root");
	rig_run(r, 6 * ENV_SEC);
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		disk_mem_faults(r->c->node[i].disk)->dark = change;
		disk_mem_faults(r->c->node[i].disk)->dark_arg = r;
	}
}

/* ---- the end ---- */

int rig_leads(struct rig *r)
{
	const struct ring_map *map = cluster_map(r->c);
	const struct orbit_id root = layout_inode_id(r->h.real[0]);

	return cluster_at(r->c, map->shards[ring_shard_of(map, &root)].primary);
}

void rig_power(struct rig *r, unsigned n)
{
	r->counting = false;
	for (unsigned k = 0; k < n; k++)
		sim_random(r->c->s);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		cluster_crash(r->c, i, n ? DISK_POWER : DISK_LOSE);
	cluster_client_kill(r->c, r->c->nclients - 1, true);
	r->out = false;
	r->fs = NULL;
	r->client = NULL;
}

static void removed(void *arg, uint16_t status)
{
	struct waiting *x = arg;

	x->done = true;
	x->rc = status == WIRE_OK ? 0 : -EAGAIN;
}

/* As nobody knows what a node that is away has, only a person can say that it will not return. */
static void give_up(struct rig *r, unsigned away)
{
	const struct wire_ask_m m = {
		.what = ASK_REMOVE, .flags = ASK_F_FORCE, .node = r->c->node[away].id};
	struct waiting x = {.rc = -EAGAIN};

	for (int tries = 0; x.rc && tries < 20; tries++) {
		sim_run(r->c->s, 2 * ENV_SEC);
		x.done = false;
		cluster_ask(r->c, (away + 1) % r->c->nnodes, &m, removed, &x);
		rig_pump(r, &x.done);
	}
	if (x.rc)
		rig_fail(r, "a node that is gone can't be removed");
	r->c->node[away].removed = true;
}

void rig_back(struct rig *r, int away)
{
	sim_run(r->c->s, ENV_SEC);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if ((int)i != away)
			cluster_start(r->c, i);
	if (away >= 0)
		give_up(r, (unsigned)away);
	client(r);
	rig_mount(r);
}

/* The checker has its say, and what was seen stays so. */
static void check(struct rig *r, const struct seen *s)
{
	bool repaired = false;
	struct seen again;

	rig_unmount(r);
	if (!r->failed)
		look_check(r, &repaired);
	if (!r->failed)
		rig_mount(r);
	if (r->failed)
		return;
	look(r, &again);
	if (!r->failed && !look_same(s, &again))
		rig_fail(r, "not the same tree after the %s", repaired ? "repair" : "check");
	look_free(&again);
}

void rig_judge(struct rig *r, bool grow_first, int *lost)
{
	struct seen s;

	look(r, &s);
	if (!r->failed && !legal(&r->h, &s, lost, r->why, sizeof(r->why)))
		r->failed = true;
	/* the dead session ends, and what it left is taken away by this mount */
	if (!r->failed)
		rig_run(r, 12 * ENV_SEC);
	if (!r->failed && grow_first && r->h.one_log) {
		look_behind(r, &s);
		if (!r->failed) {
			look_free(&s);
			look(r, &s);
		}
	}
	if (!r->failed)
		check(r, &s);
	if (!r->failed && !(grow_first && r->h.one_log))
		look_behind(r, &s);
	look_free(&s);
}
