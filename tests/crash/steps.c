/* Steps: their text, what they concern, and what they make of a tree. */
#include <stdlib.h>
#include <string.h>

#include "tests/crash/crash.h"

const char *const vocabulary[] = {
	"create a",
	"create b",
	"create d/a",
	"mkdir d",
	"write a 0 5000",
	"write a 60000 9000",
	"write b 1000 3000",
	"write d/a 0 700",
	"append a 3000",
	"append b 3000",
	"truncate a 1000",
	"truncate a 70000",
	"rename a b",
	"rename b a",
	"rename a d/a",
	"rename d/a a",
	"rename d e",
	"link a b",
	"link a d/a",
	"unlink a",
	"unlink b",
	"unlink d/a",
	"rmdir d",
	"fsync a",
	"fsync b",
	"fsync d/a",
	"fsync /",
	"fsync d",
};
const unsigned nvocabulary = sizeof(vocabulary) / sizeof(vocabulary[0]);

static const struct {
	const char *name;
	unsigned paths, numbers;
} verb_of[VERBS] = {
	[CREATE] = {"create", 1, 0},
	[MKDIR] = {"mkdir", 1, 0},
	[WRITE] = {"write", 1, 2},
	[APPEND] = {"append", 1, 1},
	[TRUNCATE] = {"truncate", 1, 1},
	[RENAME] = {"rename", 2, 0},
	[LINK] = {"link", 2, 0},
	[UNLINK] = {"unlink", 1, 0},
	[RMDIR] = {"rmdir", 1, 0},
	[FSYNC] = {"fsync", 1, 0},
};

uint8_t step_byte(int n, uint32_t off)
{
	return (uint8_t)(1 + (off * 7 + off / 251 + (uint32_t)(n + INODES_MAX) * 61) % 255);
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* ---- text ---- */

static bool good_path(const char *p)
{
	static const char *const known[] = {"/", "a", "b", "d", "e", "d/a"};

	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (!strcmp(known[k], p))
			return true;
	return false;
}

bool step_parse(struct step *s, const char *text, size_t len)
{
	char word[4][16] = {{0}}, rest[2];
	char line[80];
	int n, v = 0;

	if (len >= sizeof(line))
		return false;
	memcpy(line, text, len);
	line[len] = 0;
	n = sscanf(line, "%15s %15s %15s %15s %1s", word[0], word[1], word[2], word[3], rest);
	while (v < VERBS && strcmp(verb_of[v].name, word[0]))
		v++;
	if (n < 2 || v == VERBS || n > 1 + (int)(verb_of[v].paths + verb_of[v].numbers))
		return false;
	*s = (struct step){.verb = (enum verb)v, .gone = -1};
	if (!good_path(word[1]) || (verb_of[v].paths == 2 && (n != 3 || !good_path(word[2]))))
		return false;
	memcpy(s->path, word[1], sizeof(s->path));
	if (verb_of[v].paths == 2)
		memcpy(s->to, word[2], sizeof(s->to));
	else if (verb_of[v].numbers && n < 3)
		return false;
	else if (verb_of[v].numbers)
		s->len = (uint32_t)strtoul(word[n - 1], NULL, 10);
	if (v == WRITE && n == 4)
		s->off = (uint32_t)strtoul(word[2], NULL, 10);
	return s->off < SIZE_MAX_FILE && s->len < SIZE_MAX_FILE;
}

void step_print(const struct step *s, char *out, size_t len)
{
	const char *verb = verb_of[s->verb].name;

	if (verb_of[s->verb].paths == 2)
		snprintf(out, len, "%s %s %s", verb, s->path, s->to);
	else if (s->verb == WRITE)
		snprintf(out, len, "%s %s %u %u", verb, s->path, s->off, s->len);
	else if (verb_of[s->verb].numbers)
		snprintf(out, len, "%s %s %u", verb, s->path, s->len);
	else
		snprintf(out, len, "%s %s", verb, s->path);
}

/* ---- trees ---- */

static int add_inode(struct tree *t, bool is_dir, int home, uint32_t size)
{
	int n = t->ninodes++;

	t->inode[n] = (struct inode){is_dir, is_dir ? n : home, size, size};
	return n;
}

static void add_entry(struct tree *t, int dir, const char *name, int ino)
{
	struct entry *e = &t->entry[t->nentries++];

	*e = (struct entry){.dir = dir, .ino = ino};
	snprintf(e->name, sizeof(e->name), "%s", name);
}

static struct entry *find_entry(struct tree *t, int dir, const char *name)
{
	for (int k = 0; k < t->nentries; k++)
		if (t->entry[k].dir == dir && !strcmp(t->entry[k].name, name))
			return &t->entry[k];
	return NULL;
}

static void drop_entry(struct tree *t, int dir, const char *name)
{
	struct entry *e = find_entry(t, dir, name);

	if (e)
		*e = t->entry[--t->nentries];
}

static bool is_empty(const struct tree *t, int dir)
{
	for (int k = 0; k < t->nentries; k++)
		if (t->entry[k].dir == dir)
			return false;
	return true;
}

const char *base_name(enum base b)
{
	return b == BASE_EMPTY ? "empty" : "filled";
}

bool base_parse(const char *name, enum base *out)
{
	*out = strcmp(name, "empty") ? BASE_FILLED : BASE_EMPTY;
	return !strcmp(name, base_name(*out));
}

void tree_base(struct tree *t, enum base b)
{
	memset(t, 0, sizeof(*t));
	add_inode(t, true, 0, 0);
	if (b == BASE_EMPTY)
		return;
	add_entry(t, 0, "a", add_inode(t, false, 0, 66000));
	add_entry(t, 0, "b", add_inode(t, false, 0, 3000));
	add_entry(t, 0, "d", add_inode(t, true, 0, 0));
}

/* ---- what a step concerns ---- */

/* The directory of a path; -1: there is none. */
static int parent_of(struct tree *t, const char *path)
{
	const char *slash = strchr(path, '/');
	struct entry *e;
	char dir[8] = "";

	if (!slash)
		return 0;
	memcpy(dir, path, (size_t)(slash - path));
	e = find_entry(t, 0, dir);
	return e && t->inode[e->ino].is_dir ? e->ino : -1;
}

static int lookup(struct tree *t, int dir, const char *name)
{
	struct entry *e = dir < 0 ? NULL : find_entry(t, dir, name);

	return e ? e->ino : -1;
}

static bool bind_to(struct step *s, struct tree *t)
{
	bool is_dir = t->inode[s->ino].is_dir;

	s->dir2 = parent_of(t, s->to);
	if (s->dir2 < 0)
		return false;
	s->gone = lookup(t, s->dir2, path_name(s->to));
	if (s->verb == LINK)
		return !is_dir && s->gone < 0;
	/* nothing happens when both are one file */
	return s->gone < 0 || (!is_dir && !t->inode[s->gone].is_dir && s->gone != s->ino);
}

bool step_bind(struct step *s, struct tree *t)
{
	bool is_dir;

	if (!strcmp(s->path, "/")) {
		s->ino = s->dir = 0;
		return s->verb == FSYNC;
	}
	s->dir = parent_of(t, s->path);
	s->ino = lookup(t, s->dir, path_name(s->path));
	if (s->dir < 0)
		return false;
	if (s->verb == CREATE || s->verb == MKDIR) {
		if (s->ino >= 0)
			return false;
		s->ino = t->ninodes;
		return true;
	}
	if (s->ino < 0)
		return false;
	is_dir = t->inode[s->ino].is_dir;
	switch (s->verb) {
	case RENAME:
	case LINK:
		return bind_to(s, t);
	case RMDIR:
		return is_dir && is_empty(t, s->ino);
	case FSYNC:
		return true;
	case APPEND:
		s->off = t->inode[s->ino].size;
		return !is_dir && s->off + s->len <= SIZE_MAX_FILE;
	case TRUNCATE:
		return !is_dir && t->inode[s->ino].size != s->len;
	default:
		return !is_dir;
	}
}

void step_apply(const struct step *s, struct tree *t)
{
	struct inode *i = &t->inode[s->ino];

	switch (s->verb) {
	case CREATE:
	case MKDIR:
		if (s->ino == t->ninodes)
			add_inode(t, s->verb == MKDIR, s->dir, 0);
		add_entry(t, s->dir, path_name(s->path), s->ino);
		break;
	case LINK:
		add_entry(t, s->dir2, path_name(s->to), s->ino);
		break;
	case RENAME:
		drop_entry(t, s->dir2, path_name(s->to));
		drop_entry(t, s->dir, path_name(s->path));
		add_entry(t, s->dir2, path_name(s->to), s->ino);
		break;
	case UNLINK:
	case RMDIR:
		drop_entry(t, s->dir, path_name(s->path));
		break;
	case WRITE:
	case APPEND:
		if (i->size < s->off + s->len)
			i->size = s->off + s->len;
		break;
	case TRUNCATE:
		i->size = s->len;
		break;
	default:
		break;
	}
}

bool step_is_data(const struct step *s)
{
	return s->verb == WRITE || s->verb == APPEND || s->verb == TRUNCATE;
}

bool step_is_named(const struct step *s)
{
	return s->verb != WRITE && s->verb != APPEND && s->verb != FSYNC;
}

unsigned step_homes(const struct step *s, const struct tree *t)
{
	unsigned own = 1u << t->inode[s->ino].home;

	switch (s->verb) {
	case WRITE:
	case APPEND:
	case TRUNCATE:
		return own;
	case FSYNC:
		return 0;
	case LINK:
		return own | 1u << s->dir2;
	case RENAME:
		return own | 1u << s->dir | 1u << s->dir2 |
		       (s->gone >= 0 ? 1u << t->inode[s->gone].home : 0);
	default:
		return own | 1u << s->dir;
	}
}
