/*
 * helper: the system calls that a shell cannot make, one per verb. Exit code 0, or 1 with the errno
 * on stderr.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static int wrong(const char *what)
{
	fprintf(stderr, "%s\n", what);
	return 1;
}

/* A file without a name goes on working, and so does one that was open before the last name went.
 */
static int unlink_open(char **arg)
{
	char got[6] = "";
	struct stat st;
	int fd = open(arg[0], O_RDWR | O_CREAT | O_EXCL, 0600);

	if (fd < 0 || write(fd, "hello", 5) != 5 || unlink(arg[0]))
		return fail(arg[0]);
	if (!access(arg[0], F_OK) || errno != ENOENT)
		return wrong("it is still there");
	if (pwrite(fd, "J", 1, 0) != 1 || pread(fd, got, 5, 0) != 5)
		return fail("i/o without a name");
	if (strcmp(got, "Jello"))
		return wrong("wrong content");
	if (fstat(fd, &st))
		return fail("fstat");
	if (st.st_nlink != 0 || st.st_size != 5)
		return wrong("wrong nlink or size");
	if (ftruncate(fd, 3 << 20) || fsync(fd))
		return fail("ftruncate, fsync");
	return close(fd) ? fail("close") : 0;
}

/* SEEK_DATA and SEEK_HOLE of a file with data at [1 MiB, +4 KiB) and [8 MiB, +4 KiB): they may find
 * more data than there is, but never a hole where data is. */
static int seek_hole(char **arg)
{
	static const off_t at[] = {1 << 20, 8 << 20};
	char page[4096];
	off_t off;
	int fd = open(arg[0], O_RDWR | O_CREAT | O_TRUNC, 0600);

	memset(page, 'x', sizeof(page));
	for (int i = 0; i < 2; i++) {
		if (fd < 0 || pwrite(fd, page, sizeof(page), at[i]) != sizeof(page))
			return fail(arg[0]);
	}
	if (fsync(fd))
		return fail("fsync");
	off = lseek(fd, 0, SEEK_DATA);
	if (off != at[0])
		return fprintf(stderr, "first data at %jd\n", (intmax_t)off), 1;
	off = lseek(fd, off, SEEK_HOLE);
	if (off != at[0] + 4096)
		return fprintf(stderr, "first hole after it at %jd\n", (intmax_t)off), 1;
	off = lseek(fd, off, SEEK_DATA);
	if (off != at[1])
		return fprintf(stderr, "second data at %jd\n", (intmax_t)off), 1;
	off = lseek(fd, off, SEEK_HOLE);
	if (off != at[1] + 4096)
		return fprintf(stderr, "the end at %jd\n", (intmax_t)off), 1;
	if (lseek(fd, at[1] + 4096, SEEK_DATA) >= 0 || errno != ENXIO)
		return wrong("no ENXIO past the end");
	return close(fd) ? fail("close") : 0;
}

static int map_shared(char **arg)
{
	size_t len = 3 << 20;
	int fd = open(arg[0], O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *p, got[4];

	if (fd < 0 || ftruncate(fd, (off_t)len))
		return fail(arg[0]);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return fail("mmap");
	memcpy(p + 100, "abc", 4);
	memcpy(p + len - 4, "xyz", 4);
	if (msync(p, len, MS_SYNC))
		return fail("msync");
	if (pread(fd, got, 4, 100) != 4 || memcmp(got, "abc", 4))
		return wrong("read does not see what the map wrote");
	if (pwrite(fd, "new", 4, 200) != 4 || memcmp(p + 200, "new", 4))
		return wrong("the map does not see what was written");
	munmap(p, len);
	close(fd);
	fd = open(arg[0], O_RDONLY);
	if (fd < 0 || pread(fd, got, 4, (off_t)len - 4) != 4 || memcmp(got, "xyz", 4))
		return wrong("lost after close");
	return 0;
}

static int rename_flags(char **arg)
{
	unsigned flags = !strcmp(arg[0], "exchange") ? RENAME_EXCHANGE : RENAME_NOREPLACE;

	return renameat2(AT_FDCWD, arg[1], AT_FDCWD, arg[2], flags) ? fail(arg[1]) : 0;
}

/* Many empty files; arg: folder, count */
static int create_many(char **arg)
{
	long n = strtol(arg[1], NULL, 10);
	char name[64];

	if (chdir(arg[0]))
		return fail(arg[0]);
	for (long i = 0; i < n; i++) {
		int fd;

		snprintf(name, sizeof(name), "file%06ld", i);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0 || close(fd))
			return fail(name);
	}
	return 0;
}

/* Removes every second entry while it reads the folder, and must meet each name exactly once. arg:
 * folder, how many entries there are. */
static int readdir_while_unlinking(char **arg)
{
	long n = strtol(arg[1], NULL, 10), seen = 0;
	unsigned char *met = calloc((size_t)n, 1);
	DIR *dir = opendir(arg[0]);
	struct dirent *e;

	if (!met || !dir || chdir(arg[0]))
		return fail(arg[0]);
	while ((errno = 0, e = readdir(dir))) {
		long i;

		if (sscanf(e->d_name, "file%ld", &i) != 1 || i < 0 || i >= n)
			continue;
		if (met[i]++)
			return wrong("a name came twice");
		seen++;
		if (i % 2 && unlink(e->d_name))
			return fail(e->d_name);
	}
	if (errno)
		return fail("readdir");
	closedir(dir);
	free(met);
	if (seen != n)
		return fprintf(stderr, "saw %ld of %ld\n", seen, n), 1;
	return 0;
}

/* Writes a numbered record every ms, and after each fsync prints its number: what was printed is
 * what must survive. arg: file */
static int log_records(char **arg)
{
	int fd = open(arg[0], O_WRONLY | O_CREAT | O_APPEND, 0600);
	char line[32];

	if (fd < 0)
		return fail(arg[0]);
	for (unsigned i = 0; i < 1000000; i++) {
		snprintf(line, sizeof(line), "%015u\n", i);
		if (write(fd, line, 16) != 16)
			return fail("write");
		if (i % 10 == 9) {
			if (fsync(fd))
				return fail("fsync");
			printf("%u\n", i);
			fflush(stdout);
		}
	}
	return 0;
}

/* utimensat with UTIME_NOW and UTIME_OMIT */
static int times(char **arg)
{
	struct timespec omit[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000, .tv_nsec = 123456789}};
	struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
	struct stat st;

	if (utimensat(AT_FDCWD, arg[0], omit, 0) || utimensat(AT_FDCWD, arg[0], now, 0) ||
		stat(arg[0], &st))
		return fail(arg[0]);
	if (st.st_mtim.tv_sec != 1000 || st.st_mtim.tv_nsec != 123456789)
		return wrong("mtime is not what was set");
	if (st.st_atim.tv_sec < time(NULL) - 60)
		return wrong("atime is not now");
	return 0;
}

/* Four processes append to one file; every record must be there, whole. */
static int append_together(char **arg)
{
	char line[32], *all;
	struct stat st;
	int fd, status;

	for (int p = 0; p < 4; p++) {
		if (fork())
			continue;
		fd = open(arg[0], O_WRONLY | O_CREAT | O_APPEND, 0600);
		for (int i = 0; i < 250; i++) {
			snprintf(line, sizeof(line), "%d:%013d\n", p, i);
			if (fd < 0 || write(fd, line, 16) != 16)
				_exit(1);
		}
		_exit(close(fd) != 0);
	}
	while (wait(&status) > 0) {
		if (status)
			return wrong("a writer failed");
	}
	fd = open(arg[0], O_RDONLY);
	if (fd < 0 || fstat(fd, &st) || st.st_size != 16 * 1000)
		return wrong("wrong size");
	all = malloc(16000);
	if (!all || read(fd, all, 16000) != 16000)
		return fail("read");
	for (int i = 0, next[4] = {0}; i < 1000; i++) {
		int p, n;

		if (sscanf(all + 16 * i, "%d:%d", &p, &n) != 2 || p < 0 || p > 3 || n != next[p]++)
			return wrong("a record is torn or out of order");
	}
	free(all);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **arg);
	} verb[] = {
		{"unlink-open", 1, unlink_open},
		{"seek-hole", 1, seek_hole},
		{"map-shared", 1, map_shared},
		{"rename", 3, rename_flags},
		{"create-many", 2, create_many},
		{"readdir-while-unlinking", 2, readdir_while_unlinking},
		{"log-records", 1, log_records},
		{"times", 1, times},
		{"append-together", 1, append_together},
	};

	for (size_t i = 0; argc > 1 && i < sizeof(verb) / sizeof(*verb); i++) {
		if (!strcmp(argv[1], verb[i].name) && argc - 2 == verb[i].args)
			return verb[i].run(argv + 2);
	}
	fprintf(stderr, "helper: unknown verb or wrong number of arguments\n");
	return 2;
}
