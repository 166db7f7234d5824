/*
 * Two short lists, of callers and of directories. Who does not fit in is told ESTALE once too
 * often, so the oldest goes.
 */
#include "fs/ops/stale.h"

#include <stdlib.h>

#include "dht/base/mem.h"

#define CALLERS 64
#define DIRS 64
#define LASTS (2 * ENV_SEC) /* longer than a walk takes where others are in the way */

struct stale {
	struct {
		uint32_t pid;
		uint64_t until;
	} caller[CALLERS];
	struct {
		struct fs_attr attr;
		uint64_t until;
	} dir[DIRS];
	unsigned next_caller, next_dir;
};

void stale_told(struct fs *fs, const struct fs_call *call)
{
	uint64_t until = env_now(fs->env) + LASTS;
	struct stale *s = fs->stale;
	unsigned i;

	if (!s)
		s = fs->stale = mem_zalloc(sizeof(*s));
	for (i = 0; i < CALLERS; i++)
		if (s->caller[i].until && s->caller[i].pid == call->pid)
			break;
	if (i == CALLERS)
		i = s->next_caller++ % CALLERS;
	s->caller[i].pid = call->pid;
	s->caller[i].until = until;
}

bool stale_again(const struct fs *fs, const struct fs_call *call)
{
	const struct stale *s = fs->stale;
	uint64_t now;

	if (!s)
		return false;
	now = env_now(fs->env);
	for (unsigned i = 0; i < CALLERS; i++)
		if (s->caller[i].pid == call->pid && s->caller[i].until > now)
			return true;
	return false;
}

static int find_dir(const struct stale *s, uint64_t ino)
{
	for (int i = 0; s && i < DIRS; i++)
		if (s->dir[i].attr.ino == ino)
			return i;
	return -1;
}

void stale_found(struct fs *fs, const struct fs_attr *a)
{
	struct stale *s = fs->stale;
	int i = find_dir(s, a->ino);

	if (i < 0)
		i = (int)(s->next_dir++ % DIRS);
	s->dir[i].attr = *a;
	s->dir[i].until = env_now(fs->env) + LASTS;
}

struct fs_attr *stale_attr(const struct fs *fs, uint64_t ino)
{
	struct stale *s = fs->stale;
	int i = find_dir(s, ino);

	return i >= 0 && s->dir[i].until > env_now(fs->env) ? &s->dir[i].attr : NULL;
}

void stale_free(struct fs *fs)
{
	free(fs->stale);
	fs->stale = NULL;
}
