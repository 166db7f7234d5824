/* Random programs. */
#include "tests/model/program_int.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/ops/fs.h"

#define WORDS 5
#define X51 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X255 X51 X51 X51 X51 X51

const char *const program_name[PROGRAM_NAMES] = {"a", "b", "c", X255, X255 "y"};
/* How this program differs from others. */
struct taste {
	unsigned names;    /* per mille of steps that concern names */
	unsigned faults;   /* and of those that are faults */
	unsigned together; /* of those that run with the next */
	unsigned dirs;     /* of names that lie below the root */
	bool kills, big;
	bool moves; /* directories from one to the other, together */
	bool locks, power;
	unsigned words;
};

/* What may be there when a step runs, if all goes well: most steps are about that. */
struct thing {
	struct where at;
	char type; /* d, f, l, o */
};

struct guess {
	struct thing thing[24];
	unsigned n;
	bool open[MODEL_MOUNTS][PROGRAM_HANDLES];
};

static uint8_t some_name(struct rng *r)
{
	if (one_of(r, 40))
		return (uint8_t)(3 + below(r, 2));
	return (uint8_t)below(r, 3);
}

static struct where some_where(struct rng *r, const struct taste *t)
{
	struct where w = {.name = some_name(r)};

	if (one_of(r, 15))
		w.kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
	while (w.depth < 2 && below(r, 1000) < t->dirs)
		w.dir[w.depth++] = (uint8_t)below(r, 2);
	return w;
}

static uint64_t some_offset(struct rng *r, const struct taste *t)
{
	static const uint64_t edge[] = {0, 1, 4096, 65535, 65536, 65537, 131072, 1048575, 1048576,
		1048577, 2097151, 2097152};
	uint64_t off = edge[below(r, t->big ? 12 : 7)];

	if (one_of(r, 2))
		return below(r, 200);
	if (one_of(r, 3))
		off += below(r, 5000);
	return off;
}

static uint64_t some_length(struct rng *r, const struct taste *t)
{
	static const uint64_t len[] = {1, 10, 100, 4096, 5000, 65536, 70000, 1048576, 1100000};
	unsigned n = one_of(r, 3) ? (t->big ? 9 : 7) : 5;

	return len[below(r, n)];
}

static int some_flags(struct rng *r)
{
	int f = one_of(r, 4) ? (one_of(r, 2) ? O_RDONLY : O_WRONLY) : O_RDWR;

	if (one_of(r, 5))
		f |= O_APPEND;
	if (one_of(r, 7))
		f |= O_TRUNC;
	if (one_of(r, 12))
		f |= O_SYNC;
	return f;
}

static void name_step(struct rng *r, struct step_of *s)
{
	static const uint8_t kinds[] = {CALL_LOOKUP, CALL_LOOKUP, CALL_CREATE, CALL_CREATE,
		CALL_MKNOD, CALL_MKNOD, CALL_MKDIR, CALL_MKDIR, CALL_MKDIR, CALL_SYMLINK, CALL_LINK,
		CALL_LINK, CALL_UNLINK, CALL_UNLINK, CALL_UNLINK, CALL_RMDIR, CALL_RMDIR,
		CALL_RENAME, CALL_RENAME, CALL_RENAME, CALL_RENAME, CALL_READLINK, CALL_GETATTR,
		CALL_GETATTR, CALL_READDIR, CALL_READDIR, CALL_SETATTR, CALL_SETXATTR,
		CALL_GETXATTR, CALL_LISTXATTR, CALL_REMOVEXATTR, STEP_KEEP};
	static const uint32_t modes[] = {0644, 0755, 04755, 02755, 02644, 0600};
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFIFO, S_IFCHR};

	s->kind = kinds[below(r, sizeof(kinds))];
	s->mode = modes[below(r, 6)];
	switch (s->kind) {
	case CALL_CREATE:
		s->flags = some_flags(r) | (one_of(r, 3) ? O_EXCL : 0);
		break;
	case CALL_MKNOD:
		s->mode |= types[below(r, 4)];
		break;
	case CALL_RENAME:
		s->flags = one_of(r, 4) ? RENAME_NOREPLACE : one_of(r, 4) ? RENAME_EXCHANGE : 0;
		break;
	case CALL_SETXATTR:
		s->flags = one_of(r, 3) ? XATTR_CREATE : one_of(r, 3) ? XATTR_REPLACE : 0;
		s->len = one_of(r, 10) ? 5000 : below(r, 20);
		break;
	case CALL_READDIR:
		s->plus = one_of(r, 2);
		break;
	case STEP_KEEP:
		s->kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
		return;
	}
	if (s->kind >= CALL_GETXATTR && s->kind <= CALL_REMOVEXATTR) {
		s->handle = (uint8_t)below(r, 3); /* which attribute */
		s->uid = 0;
	}
	if (one_of(r, 12) &&
		(s->kind == CALL_LINK || s->kind == CALL_READLINK || s->kind >= CALL_GETATTR))
		s->kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
}

static void setattr_step(struct rng *r, const struct taste *t, struct step_of *s)
{
	static const unsigned what[] = {FS_SET_MODE, FS_SET_UID, FS_SET_GID,
		FS_SET_UID | FS_SET_GID, FS_SET_SIZE, FS_SET_SIZE, FS_SET_SIZE, FS_SET_ATIME,
		FS_SET_MTIME, FS_SET_ATIME | FS_SET_MTIME, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW,
		FS_SET_KILL_SUID, FS_SET_UID | FS_SET_KILL_SUID, FS_SET_SIZE | FS_SET_KILL_SUID};

	s->what = what[below(r, 14)];
	s->len = some_offset(r, t);
	/* in the past, and far in the future */
	s->time = (int64_t)(one_of(r, 2) ? 1000 + below(r, 1000) : 2000000000 + below(r, 1000)) *
			  1000000000 +
		  below(r, 1000000000);
}

static void data_step(struct rng *r, const struct taste *t, struct step_of *s)
{
	static const uint8_t kinds[] = {CALL_OPEN, CALL_OPEN, CALL_OPEN, CALL_CREATE, CALL_READ,
		CALL_READ, CALL_READ, CALL_READ, CALL_WRITE, CALL_WRITE, CALL_WRITE, CALL_WRITE,
		CALL_WRITE, CALL_WRITE, CALL_FSYNC, CALL_CLOSE, CALL_CLOSE, CALL_FALLOCATE,
		CALL_LSEEK, CALL_SETATTR, CALL_SETATTR, CALL_GETATTR, CALL_GETATTR};
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};

	s->kind = kinds[below(r, sizeof(kinds))];
	s->mode = one_of(r, 5) ? 04755 : 0644;
	s->off = some_offset(r, t);
	s->len = some_length(r, t);
	s->kill = one_of(r, 6);
	switch (s->kind) {
	case CALL_OPEN:
	case CALL_CREATE:
		s->flags = some_flags(r);
		break;
	case CALL_FALLOCATE:
		s->flags = modes[below(r, 6)];
		break;
	case CALL_LSEEK:
		s->flags = one_of(r, 2) ? SEEK_DATA : SEEK_HOLE;
		break;
	case CALL_READ:
		if (one_of(r, 3)) { /* all of it */
			s->off = 0;
			s->len = MODEL_SIZE_MAX;
		}
		break;
	}
}

static void fault_step(
	struct rng *r, const struct program *p, const struct taste *t, struct step_of *s)
{
	static const uint8_t kinds[] = {STEP_SLEEP, STEP_SLEEP, STEP_CUT, STEP_CUT_NODES,
		STEP_BREAK, STEP_LOSE, STEP_CRASH, STEP_CRASH, STEP_PAUSE_NODE, STEP_PAUSE_MOUNT};
	static const uint32_t ms[] = {10, 100, 600, 1500};

	s->kind = kinds[below(r, sizeof(kinds))];
	if (t->kills && one_of(r, 3))
		s->kind = one_of(r, 3) ? STEP_MOUNT : STEP_KILL;
	s->node = (uint8_t)below(r, p->nodes);
	s->node2 = (uint8_t)below(r, p->nodes);
	s->ms = 1 + below(r, ms[below(r, 4)]);
	if (s->kind == STEP_SLEEP && one_of(r, 3))
		s->ms *= 8;
	s->silent = one_of(r, 2);
	s->events = below(r, one_of(r, 3) ? 10 : 60);
}

/* Locks by both open files and by two processes. */
static void lock_step(struct rng *r, struct step_of *s)
{
	static const int types[] = {F_RDLCK, F_RDLCK, F_WRLCK, F_WRLCK, F_WRLCK, F_UNLCK, F_UNLCK};

	s->kind = one_of(r, 6) ? CALL_GETLK : CALL_SETLK;
	s->flags = types[below(r, s->kind == CALL_GETLK ? 5 : 7)];
	s->what = below(r, LOCK_OWNERS);
	s->off = 0;
	s->len = LOCK_CELLS - 1;
	if (LOCK_IS_FCNTL(s->what) && !one_of(r, 3)) {
		s->off = below(r, LOCK_CELLS);
		s->len = s->off + below(r, LOCK_CELLS - (unsigned)s->off);
	}
}

/* What programs of one word less did not have. */
static bool second_words(struct rng *r, const struct taste *t, struct step_of *s)
{
	if (one_of(r, t->locks ? 3 : 25)) {
		lock_step(r, s);
		return true;
	}
	if (one_of(r, 20)) {
		s->kind = CALL_TMPFILE;
		s->mode = one_of(r, 5) ? 02755 : 0644;
		s->flags = some_flags(r) & ~O_TRUNC;
		return true;
	}
	if (t->words > 4 && one_of(r, 15)) {
		s->kind = CALL_COPY;
		s->off = some_offset(r, t);
		s->off2 = some_offset(r, t);
		s->len = some_length(r, t);
		s->kill = one_of(r, 6);
		return true;
	}
	if (one_of(r, 20)) {
		s->kind = CALL_LINK;
		s->kept = PROGRAM_OF_HANDLE;
		return true;
	}
	return false;
}

/* ---- about what is there ---- */

static bool there(struct rng *r, const struct guess *g, const char *types, struct where *at)
{
	for (unsigned tries = 0; g->n && tries < 8; tries++) {
		const struct thing *x = &g->thing[below(r, g->n)];

		if (!strchr(types, x->type))
			continue;
		*at = x->at;
		return true;
	}
	return false;
}

/* A name in a directory that is there. */
static void within(struct rng *r, const struct guess *g, struct where *at)
{
	struct where dir;
	uint8_t name = at->name;

	if (one_of(r, 3) || !there(r, g, "d", &dir) || dir.depth == 2 || dir.name > 1) {
		*at = (struct where){.name = name};
		return;
	}
	*at = dir;
	at->dir[at->depth++] = dir.name;
	at->name = name;
}

static bool same_place(const struct where *a, const struct where *b)
{
	return a->kept == b->kept && a->depth == b->depth && a->name == b->name &&
	       !memcmp(a->dir, b->dir, a->depth);
}

static struct thing *find_thing(struct guess *g, const struct where *at)
{
	for (unsigned k = 0; k < g->n; k++)
		if (same_place(&g->thing[k].at, at))
			return &g->thing[k];
	return NULL;
}

static void add_thing(struct guess *g, const struct where *at, char type)
{
	if (find_thing(g, at) || g->n == sizeof(g->thing) / sizeof(g->thing[0]) || at->name > 3)
		return;
	g->thing[g->n++] = (struct thing){*at, type};
}

static void drop_thing(struct guess *g, const struct where *at)
{
	struct thing *x = find_thing(g, at);

	if (x)
		*x = g->thing[--g->n];
}

/* An open file of any mount, or (with @open false) a place for one. */
static void some_handle(
	struct rng *r, const struct program *p, const struct guess *g, bool open, struct step_of *s)
{
	for (unsigned tries = 0; tries < 12; tries++) {
		unsigned m = below(r, p->mounts), h = below(r, PROGRAM_HANDLES);

		if (g->open[m][h] != open)
			continue;
		s->mount = (uint8_t)m;
		s->handle = (uint8_t)h;
		return;
	}
}

static void aim(struct rng *r, const struct program *p, const struct guess *g, struct step_of *s)
{
	static const char *const types[CALL_KINDS] = {[CALL_LOOKUP] = "dflo",
		[CALL_UNLINK] = "fflo",
		[CALL_RMDIR] = "d",
		[CALL_RENAME] = "ddflo",
		[CALL_READLINK] = "l",
		[CALL_GETATTR] = "dflo",
		[CALL_SETATTR] = "fffdlo",
		[CALL_READDIR] = "d",
		[CALL_GETXATTR] = "df",
		[CALL_SETXATTR] = "df",
		[CALL_LISTXATTR] = "df",
		[CALL_REMOVEXATTR] = "df",
		[CALL_OPEN] = "f"};

	if (call_on_file(s->kind) && !one_of(r, 12))
		some_handle(r, p, g, true, s);
	if (s->kind == CALL_OPEN || s->kind == CALL_CREATE || s->kind == CALL_TMPFILE)
		some_handle(r, p, g, false, s);
	if (s->kept == PROGRAM_OF_HANDLE)
		some_handle(r, p, g, true, s);
	if (one_of(r, 5))
		return;
	switch (s->kind) {
	case CALL_CREATE:
	case CALL_MKNOD:
	case CALL_MKDIR:
	case CALL_SYMLINK:
		within(r, g, &s->at);
		break;
	case CALL_LINK:
		within(r, g, &s->at);
		there(r, g, "fflo", &s->to);
		break;
	case CALL_RENAME:
		there(r, g, types[s->kind], &s->at);
		if (one_of(r, 2) || !there(r, g, "dflo", &s->to))
			within(r, g, &s->to);
		break;
	case STEP_KEEP:
		there(r, g, "ddflo", &s->at);
		break;
	default:
		if (types[s->kind])
			there(r, g, types[s->kind], &s->at);
	}
}

static void renamed(struct guess *g, const struct step_of *s)
{
	struct thing *x = find_thing(g, &s->at), *y = find_thing(g, &s->to);
	char type;

	if (!x || (y && s->flags & RENAME_NOREPLACE) || (!y && s->flags == RENAME_EXCHANGE))
		return;
	type = x->type;
	if (s->flags == RENAME_EXCHANGE) {
		x->type = y->type;
		y->type = type;
		return;
	}
	drop_thing(g, &s->at);
	drop_thing(g, &s->to);
	add_thing(g, &s->to, type);
	if (s->flags & RENAME_WHITEOUT)
		add_thing(g, &s->at, 'o');
}

static void guess_on(struct guess *g, const struct step_of *s)
{
	bool *open = &g->open[s->mount][s->handle % PROGRAM_HANDLES];

	switch (s->kind) {
	case CALL_CREATE:
		*open = true;
		add_thing(g, &s->at, 'f');
		break;
	case CALL_MKNOD:
		add_thing(g, &s->at, S_ISREG(s->mode) ? 'f' : 'o');
		break;
	case CALL_MKDIR:
		add_thing(g, &s->at, 'd');
		break;
	case CALL_SYMLINK:
		add_thing(g, &s->at, 'l');
		break;
	case CALL_LINK:
		add_thing(g, &s->at, 'f');
		break;
	case CALL_UNLINK:
	case CALL_RMDIR:
		drop_thing(g, &s->at);
		break;
	case CALL_RENAME:
		renamed(g, s);
		break;
	case CALL_OPEN:
	case CALL_TMPFILE:
		*open = true;
		break;
	case CALL_CLOSE:
		*open = false;
		break;
	}
}

/* Two such steps together could each be harmless and make a circle. */
static void move_step(struct rng *r, struct guess *g, struct step_of *s)
{
	s->kind = one_of(r, 4) ? CALL_MKDIR : CALL_RENAME;
	s->mode = 0755;
	s->at.kept = s->to.kept = 0;
	if (s->kind == CALL_MKDIR || !there(r, g, "d", &s->at)) {
		within(r, g, &s->at);
		s->kind = CALL_MKDIR;
	} else {
		within(r, g, &s->to);
		s->flags = one_of(r, 5) ? RENAME_EXCHANGE : 0;
		s->with_next = !one_of(r, 3);
	}
	guess_on(g, s);
}

/* ---- */

static void some_step(struct rng *r, const struct program *p, const struct taste *t,
	struct guess *g, struct step_of *s)
{
	memset(s, 0, sizeof(*s));
	s->mount = (uint8_t)below(r, p->mounts);
	s->handle = (uint8_t)below(r, PROGRAM_HANDLES);
	s->at = some_where(r, t);
	s->to = some_where(r, t);
	s->salt = (uint32_t)rnd(r) % 1000;
	s->uid = one_of(r, 3) ? 1000 : 0;
	s->gid = one_of(r, 3) ? 100 : 0;
	if (below(r, 1000) < t->faults) {
		fault_step(r, p, t, s);
		return;
	}
	if (t->moves && !one_of(r, 4)) {
		move_step(r, g, s);
		return;
	}
	if (t->words > 2 && second_words(r, t, s))
		;
	else if (t->power && one_of(r, 8))
		s->kind = CALL_FSYNC;
	else if (below(r, 1000) < t->names)
		name_step(r, s);
	else
		data_step(r, t, s);
	if (s->kind == CALL_SETATTR)
		setattr_step(r, t, s);
	if (t->words > 2 && s->kind == CALL_RENAME && one_of(r, 6))
		s->flags = RENAME_WHITEOUT | (one_of(r, 3) ? RENAME_NOREPLACE : 0);
	/* of what is there already, others than root would be told to look again */
	if (s->kind == CALL_CREATE && !(s->flags & O_EXCL))
		s->uid = s->gid = 0;
	s->with_next = below(r, 1000) < t->together;
	aim(r, p, g, s);
	guess_on(g, s);
}

/* Seeds that have shown bugs which few others show, when programs were made of so many words. */
const struct program_pin program_pinned[] = {{1861, 1}, {2453, 1}, {6753, 1}, {21538, 1},
	{22492, 1}, {50342, 1}, {50609, 1}, {50654, 1}, {57424, 1}, {54398, 1}, {64089, 1},
	{65476, 1}, {65490, 1}, {66477, 1}, {503235, 2}, {105643, 4}, {114282, 4}, {0, 0}};

/* What a seed means depends on them: one that was found with less means what it did then. */
static unsigned words(uint64_t seed)
{
	for (const struct program_pin *k = program_pinned; k->words; k++)
		if (k->seed == seed)
			return k->words;
	return WORDS;
}

void program_make(struct program *p, uint64_t seed)
{
	struct rng r = {.x = seed};
	static const unsigned names[] = {200, 500, 800, 950};
	static const unsigned faults[] = {0, 20, 80, 200};
	static const unsigned together[] = {0, 0, 200, 500};
	struct guess g = {.n = 0};
	struct taste t;

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->nodes = 1 + below(&r, 3);
	p->replicas = 1 + below(&r, p->nodes);
	p->mounts = 1 + below(&r, 4);
	t.names = names[below(&r, 4)];
	t.faults = faults[below(&r, 4)];
	t.together = together[below(&r, 4)];
	t.dirs = 100 + below(&r, 500);
	t.kills = t.faults > 0 && one_of(&r, 3);
	t.big = one_of(&r, 3);
	t.moves = one_of(&r, 6);
	t.words = words(seed);
	t.locks = t.words > 2 && one_of(&r, 5);
	p->power = t.words > 3 && one_of(&r, 6);
	p->torn = p->power && one_of(&r, 2);
	t.power = p->power;
	if (t.words > 1 && one_of(&r, 6)) {
		program_aim(p, &r, t.words);
		return;
	}
	p->n = 8 + below(&r, PROGRAM_STEPS - 8);
	for (unsigned k = 0; k < p->n; k++)
		some_step(&r, p, &t, &g, &p->step[k]);
}
