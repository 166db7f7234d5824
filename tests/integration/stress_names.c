/*
 * stress_names A B SECONDS WORKERS [SEED]: random changes of names by many processes at once.
 *
 * A and B are one empty directory seen through two mounts (or the same one, twice). Each process
 * makes, links, moves, exchanges and removes files, directories and symbolic links under a few
 * names that all of them use, through either side, and keeps some files open that it removed.
 * Errors that others can be the reason of are none. At the end both sides must show the same tree,
 * link counts must be what was found, and all of it can be removed. Exit status 0, or 1 and what is
 * wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMES 5
#define DEPTH 3
#define PATH 512
#define SEEN_MAX 4096

static const char *dir[2];
static unsigned long seed, steps, done;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(err));
	exit(1);
}

static unsigned rnd(unsigned below)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % below;
}

/* A path on either side: DIR/n1/n4. */
static char *some_path(char *to)
{
	unsigned depth = 1 + rnd(DEPTH);
	int n = snprintf(to, PATH, "%s", dir[rnd(2)]);

	while (depth--)
		n += snprintf(to + n, (size_t)(PATH - n), "/n%u", rnd(NAMES));
	return to;
}

/* Was it done, or is somebody else the reason that it was not? */
static void outcome(const char *what, int rc, const char *path)
{
	static const int may[] = {ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EINVAL, ELOOP, EPERM,
		EXDEV, ESTALE}; /* a directory went twice while its path was walked */

	steps++;
	if (rc >= 0) {
		done++;
		return;
	}
	for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++) {
		if (errno == may[i])
			return;
	}
	fail("%s %s", what, path);
}

/* ---- steps ---- */

static void do_create(void)
{
	char p[PATH];
	int fd = open(some_path(p), O_WRONLY | O_CREAT | (rnd(2) ? O_EXCL : 0), 0644);

	outcome("create", fd, p);
	if (fd < 0)
		return;
	if (write(fd, "some bytes", 10) != 10)
		fail("write %s", p);
	if (close(fd))
		fail("close %s", p);
}

static void do_mkdir(void)
{
	char p[PATH];

	outcome("mkdir", mkdir(some_path(p), 0755), p);
}

static void do_unlink(void)
{
	char p[PATH];

	outcome("unlink", unlink(some_path(p)), p);
}

static void do_rmdir(void)
{
	char p[PATH];

	outcome("rmdir", rmdir(some_path(p)), p);
}

static int wipe(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	outcome("remove", remove(path), path);
	return 0;
}

/* All below a path, so that the tree does not grow ever deeper. */
static void do_wipe(void)
{
	char p[PATH];

	outcome("walk", nftw(some_path(p), wipe, 10, FTW_DEPTH | FTW_PHYS), p);
}

static void do_link(void)
{
	char p[PATH], q[PATH];

	outcome("link", link(some_path(p), some_path(q)), q);
}

static void do_symlink(void)
{
	char p[PATH], target[8];

	snprintf(target, sizeof(target), "n%u", rnd(NAMES));
	outcome("symlink", symlink(target, some_path(p)), p);
}

static void do_rename(void)
{
	static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	char p[PATH], q[PATH];

	outcome("rename", renameat2(AT_FDCWD, some_path(p), AT_FDCWD, some_path(q), flags[rnd(4)]),
		p);
}

static void do_stat(void)
{
	struct stat st;
	char p[PATH];

	outcome("stat", rnd(2) ? stat(some_path(p), &st) : lstat(some_path(p), &st), p);
}

static void do_list(void)
{
	struct dirent *e;
	unsigned n[NAMES] = {0}, i;
	char p[PATH];
	DIR *d = opendir(some_path(p));

	outcome("opendir", d ? 0 : -1, p);
	if (!d)
		return;
	while ((e = readdir(d))) {
		if (sscanf(e->d_name, "n%u", &i) == 1 && (i >= NAMES || ++n[i] > 1))
			fail("%s is listed twice in %s", e->d_name, p);
	}
	closedir(d);
}

/* What was removed, be it on the other side, stays for whoever has it open. */
static void do_keep(void)
{
	unsigned side = rnd(2);
	char p[PATH], q[PATH], got[16];
	int fd;

	snprintf(p, sizeof(p), "%s/kept.%d", dir[side], getpid());
	snprintf(q, sizeof(q), "%s/kept.%d", dir[rnd(2)], getpid());
	fd = open(p, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		fail("create %s", p);
	if (pwrite(fd, "keep this", 9, 0) != 9)
		fail("write %s", p);
	if (unlink(q))
		fail("unlink %s", q);
	for (unsigned i = 0; i < 3; i++)
		do_stat();
	if (pread(fd, got, sizeof(got), 0) != 9 || memcmp(got, "keep this", 9))
		fail("bytes of %s, open and removed", p);
	if (close(fd))
		fail("close %s", p);
}

static void work(unsigned seconds)
{
	static void (*const some[])(void) = {do_create, do_create, do_mkdir, do_mkdir, do_unlink,
		do_rmdir, do_wipe, do_link, do_symlink, do_rename, do_rename, do_rename, do_stat,
		do_list, do_keep};
	time_t end = time(NULL) + seconds;

	while (time(NULL) < end)
		some[rnd(sizeof(some) / sizeof(some[0]))]();
	printf("%lu steps, %lu done\n", steps, done);
	fflush(stdout);
	_exit(0);
}

/* ---- what is left ---- */

struct seen {
	char path[PATH]; /* below the side */
	struct stat st;
};

static struct seen *seen[2];
static unsigned nseen[2];

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct seen *)a)->path, ((const struct seen *)b)->path);
}

static unsigned walk(int side, const char *below, unsigned depth)
{
	char path[2 * PATH];
	unsigned dirs = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s%s", dir[side], below);
	d = opendir(path);
	if (!d || depth > 100)
		fail("list %s", path);
	while ((e = readdir(d))) {
		struct seen *s;
		unsigned n;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (nseen[side] == SEEN_MAX)
			fail("more names than there can be");
		s = &seen[side][nseen[side]++];
		snprintf(s->path, sizeof(s->path), "%s/%s", below, e->d_name);
		snprintf(path, sizeof(path), "%s%s", dir[side], s->path);
		if (lstat(path, &s->st))
			fail("%s is listed and not there", path);
		if (s->st.st_ino != e->d_ino)
			fail("%s is listed as %lu, and is %lu", path, (unsigned long)e->d_ino,
				(unsigned long)s->st.st_ino);
		if (!S_ISDIR(s->st.st_mode))
			continue;
		dirs++;
		n = walk(side, s->path, depth + 1);
		if (s->st.st_nlink != 2 + n)
			fail("%s has %u directories and %lu links", path, n,
				(unsigned long)s->st.st_nlink);
	}
	closedir(d);
	return dirs;
}

static void look_at_links(const struct seen *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned names = 0;

		for (unsigned k = 0; k < n; k++)
			names += all[k].st.st_ino == all[i].st.st_ino;
		if (names != (S_ISDIR(all[i].st.st_mode) ? 1 : all[i].st.st_nlink))
			fail("%s has %lu links and %u names", all[i].path,
				(unsigned long)all[i].st.st_nlink, names);
	}
}

static void look_at_both(void)
{
	for (int side = 0; side < 2; side++) {
		seen[side] = calloc(SEEN_MAX, sizeof(*seen[side]));
		walk(side, "", 0);
		qsort(seen[side], nseen[side], sizeof(*seen[side]), by_path);
		look_at_links(seen[side], nseen[side]);
	}
	if (nseen[0] != nseen[1])
		fail("%u names on one side, %u on the other", nseen[0], nseen[1]);
	for (unsigned i = 0; i < nseen[0]; i++) {
		const struct stat *a = &seen[0][i].st, *b = &seen[1][i].st;

		if (strcmp(seen[0][i].path, seen[1][i].path))
			fail("%s on one side, %s on the other", seen[0][i].path, seen[1][i].path);
		if (a->st_ino != b->st_ino || a->st_mode != b->st_mode ||
			a->st_size != b->st_size || a->st_nlink != b->st_nlink ||
			a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
			a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
			fail("%s is not the same on both sides", seen[0][i].path);
	}
	printf("%u names left\n", nseen[0]);
}

static void remove_all(void)
{
	char path[2 * PATH];

	for (unsigned i = nseen[0]; i-- > 0;) { /* what is in a directory comes after it */
		snprintf(path, sizeof(path), "%s%s", dir[i % 2], seen[0][i].path);
		if (remove(path))
			fail("remove %s", path);
	}
	for (int side = 0; side < 2; side++) {
		nseen[side] = 0;
		walk(side, "", 0);
		if (nseen[side])
			fail("%s is still there", seen[side][0].path);
	}
}

int main(int argc, char **argv)
{
	unsigned workers;
	int status, rc = 0;

	if (argc < 5) {
		fprintf(stderr, "usage: stress_names A B SECONDS WORKERS [SEED]\n");
		return 2;
	}
	dir[0] = argv[1];
	dir[1] = argv[2];
	workers = (unsigned)atoi(argv[4]);
	seed = argc > 5 ? strtoul(argv[5], NULL, 0) : (unsigned long)time(NULL);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (unsigned i = 0; i < workers; i++) {
		seed += 1000003;
		if (fork() == 0)
			work((unsigned)atoi(argv[3]));
	}
	while (wait(&status) > 0)
		rc |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	if (rc)
		return rc;
	look_at_both();
	remove_all();
	return 0;
}
