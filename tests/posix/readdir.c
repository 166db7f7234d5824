/* opendir(3), readdir(3), getdents64(2), seekdir(3), telldir(3), rewinddir(3) */
#include "tests/posix/posix.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

static void make(const char *dir, const char *prefix, int n)
{
	char name[300];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s%d", dir, prefix, i);
		ok(close(ok(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))));
	}
}

/* counts the names with this prefix and number, which must be below n, into seen */
static int read_all(DIR *d, const char *prefix, int *seen, int n)
{
	struct dirent *e;
	int all = 0;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		size_t len = strlen(prefix);

		if (strncmp(e->d_name, prefix, len))
			continue;
		all++;
		if (atoi(e->d_name + len) < n)
			seen[atoi(e->d_name + len)]++;
	}
	equal(errno, 0);
	return all;
}

CASE(each_name_once)
{
	enum { N = 1500 };
	static int seen[N];
	DIR *d;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	d = opendir("d");
	equal(read_all(d, "f", seen, N), N);
	for (int i = 0; i < N; i++) {
		if (seen[i] != 1) {
			equal(seen[i], 1);
			break;
		}
	}
	closedir(d);
}

CASE(dot_and_dotdot)
{
	int dots = 0, dotdots = 0;
	struct dirent *e;
	DIR *d;

	ok(mkdir("d", 0755));
	d = opendir("d");
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".")) {
			dots++;
			equal(e->d_ino, st("d").st_ino);
			equal(e->d_type, DT_DIR);
		} else if (!strcmp(e->d_name, "..")) {
			dotdots++;
			equal(e->d_ino, st(".").st_ino);
		} else {
			check(!"an empty directory has no more");
		}
	}
	equal(dots, 1);
	equal(dotdots, 1);
}

CASE(types_and_inode_numbers)
{
	static const struct {
		const char *name;
		int type;
	} t[] = {{"reg", DT_REG}, {"dir", DT_DIR}, {"lnk", DT_LNK}, {"fifo", DT_FIFO},
		{"sock", DT_SOCK}};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "d/sock"};
	struct dirent *e;
	size_t found = 0;
	DIR *d;

	ok(mkdir("d", 0755));
	file("d/reg", "");
	ok(mkdir("d/dir", 0755));
	ok(symlink("x", "d/lnk"));
	ok(mkfifo("d/fifo", 0644));
	ok(bind((int)ok(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&un, sizeof(un)));
	d = opendir("d");
	while ((e = readdir(d))) {
		for (size_t i = 0; i < COUNT(t); i++) {
			char path[300];

			if (strcmp(e->d_name, t[i].name))
				continue;
			found++;
			snprintf(path, sizeof(path), "d/%s", e->d_name);
			if (e->d_type != DT_UNKNOWN)
				equal(e->d_type, t[i].type);
			equal(e->d_ino, st(path).st_ino);
		}
	}
	equal(found, COUNT(t));
}

CASE(rewind_sees_changes)
{
	int seen[3] = {0};
	DIR *d;

	ok(mkdir("d", 0755));
	make("d", "f", 1);
	d = opendir("d");
	equal(read_all(d, "f", seen, 3), 1);
	make("d", "g", 3);
	ok(unlink("d/f0"));
	rewinddir(d);
	equal(read_all(d, "g", seen, 3), 3);
	rewinddir(d);
	equal(read_all(d, "f", seen, 3), 0);
}

CASE(seek_and_tell)
{
	enum { N = 500 };
	static char names[N + 2][32];
	static long at[N + 3];
	struct dirent *e;
	int n = 0;
	DIR *d;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	d = opendir("d");
	for (;;) {
		at[n] = telldir(d);
		e = readdir(d);
		if (!e || n == N + 2)
			break;
		snprintf(names[n++], sizeof(names[0]), "%.31s", e->d_name);
	}
	equal(n, N + 2);
	for (int i = 0; i < 100; i++) {
		int k = (i * 7919) % n;

		seekdir(d, at[k]);
		e = readdir(d);
		if (!check(e != NULL))
			break;
		same(e->d_name, names[k]);
	}
	seekdir(d, at[0]);
	for (int i = 0; i < n; i++) {
		e = readdir(d);
		if (!check(e != NULL))
			break;
		same(e->d_name, names[i]);
	}
}

CASE(offsets_stay_good_while_names_come_and_go)
{
	enum { N = 300 };
	static int seen[N];
	struct dirent *e;
	long at;
	int n = 0;
	DIR *d;

	/* what is there all the time is told exactly once, whatever else changes */
	ok(mkdir("d", 0755));
	make("d", "f", N);
	make("d", "old", N);
	d = opendir("d");
	while ((e = readdir(d))) {
		char name[40];

		if (e->d_name[0] == 'f')
			seen[atoi(e->d_name + 1)]++;
		if (n < N) {
			snprintf(name, sizeof(name), "d/old%d", n);
			ok(unlink(name));
			snprintf(name, sizeof(name), "d/new%d", n);
			ok(close(ok(creat(name, 0644))));
		}
		n++;
		if (n % 50 == 0) {
			at = telldir(d);
			seekdir(d, at);
		}
	}
	for (int i = 0; i < N; i++) {
		if (seen[i] != 1) {
			equal(seen[i], 1);
			break;
		}
	}
	equal(names_in("d"), 2 * N);
}

CASE(removing_all_while_reading)
{
	enum { N = 800 };
	struct dirent *e;
	DIR *d;
	int n = 0;

	/* what rm -r does */
	ok(mkdir("d", 0755));
	make("d", "f", N);
	d = opendir("d");
	while ((e = readdir(d))) {
		if (e->d_name[0] != 'f')
			continue;
		ok(unlinkat(dirfd(d), e->d_name, 0));
		n++;
	}
	equal(n, N);
	ok(rmdir("d"));
}

CASE(renaming_while_reading_ends)
{
	enum { N = 100 };
	struct dirent *e;
	int n = 0;
	DIR *d;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	d = opendir("d");
	while ((e = readdir(d)) && n < 100 * N) {
		char to[300];

		if (e->d_name[0] == '.')
			continue;
		snprintf(to, sizeof(to), "r%.200s", e->d_name);
		if (strlen(to) < 100)
			ok(renameat(dirfd(d), e->d_name, dirfd(d), to));
		n++;
	}
	check(n < 100 * N);
	equal(names_in("d"), N);
}

CASE(getdents)
{
	char buf[4096] __attribute__((aligned(8)));
	int fd, n = 0;
	long got;

	ok(mkdir("d", 0755));
	make("d", "f", 300);
	file("f", "");
	fd = (int)ok(open("d", O_RDONLY | O_DIRECTORY));
	while ((got = ok(syscall(SYS_getdents64, fd, buf, sizeof(buf)))) > 0) {
		for (long o = 0; o < got;) {
			struct dirent64 *e = (struct dirent64 *)(buf + o);

			n++;
			o += e->d_reclen;
		}
	}
	equal(n, 302);
	equal(ok(syscall(SYS_getdents64, fd, buf, sizeof(buf))), 0);
	ok(lseek(fd, 0, SEEK_SET));
	check(ok(syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0);
	ok(lseek(fd, 0, SEEK_SET));
	expect(syscall(SYS_getdents64, fd, buf, 1), EINVAL); /* too small for one */
	expect(syscall(SYS_getdents64, fd, nowhere(), 4096), EFAULT);
	expect(syscall(SYS_getdents64, (int)ok(open("f", O_RDONLY)), buf, 4096), ENOTDIR);
	expect(syscall(SYS_getdents64, -1, buf, 4096), EBADF);
}

CASE(two_readers_of_one_directory)
{
	enum { N = 400 };
	static int a[N], b[N];
	DIR *x, *y;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	x = opendir("d");
	y = opendir("d");
	for (int i = 0; i < 100; i++)
		readdir(x);
	equal(read_all(y, "f", b, N), N);
	check(read_all(x, "f", a, N) >= N - 100);
}

CASE(rights, ROOT)
{
	ok(mkdir("d", 0755));
	file("d/f", "");
	chmod_to("d", 0711);
	AS (ANN, ANN) {
		check(opendir("d") == NULL && errno == EACCES);
		ok(access("d/f", F_OK));
	}
	chmod_to("d", 0744);
	AS (ANN, ANN) {
		equal(names_in("d"), 1); /* names may be read, what they name may not */
		expect(access("d/f", F_OK), EACCES);
	}
}

CASE(refusals)
{
	file("f", "");
	check(opendir("none") == NULL && errno == ENOENT);
	check(opendir("f") == NULL && errno == ENOTDIR);
	check(opendir("") == NULL && errno == ENOENT);
	check(fdopendir((int)ok(open("f", O_RDONLY))) == NULL && errno == ENOTDIR);
}

CASE(atime_when_it_is_old)
{
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_nsec = UTIME_OMIT}};

	ok(mkdir("d", 0755));
	ok(utimensat(AT_FDCWD, "d", old, 0));
	equal(names_in("d"), 0);
	check(st("d").st_atim.tv_sec != 1000000000);
}

CASE(long_names)
{
	char name[256];

	ok(mkdir("d", 0755));
	ok(chdir("d"));
	for (int i = 0; i < 100; i++) {
		memset(name, 'a' + i % 26, 255);
		name[255] = 0;
		name[i / 26] = '0';
		ok(close(ok(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))));
	}
	equal(names_in("."), 100);
}

CASE(while_others_create_and_remove)
{
	enum { N = 200, ROUNDS = 15 };
	pid_t pid;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	pid = beside();
	if (pid == 0) {
		for (int i = 0; i < 400; i++) {
			char name[32];

			snprintf(name, sizeof(name), "d/x%d", i);
			ok(close(ok(creat(name, 0644))));
			ok(unlink(name));
		}
		quit();
	}
	for (int r = 0; r < ROUNDS; r++) {
		int seen[N] = {0};
		DIR *d = opendir("d");

		equal(read_all(d, "f", seen, N), N);
		for (int i = 0; i < N; i++) {
			if (seen[i] != 1) {
				equal(seen[i], 1);
				break;
			}
		}
		closedir(d);
	}
	join(pid);
	equal(names_in("d"), N);
}

CASE(size_and_links_of_directories)
{
	ok(mkdir("d", 0755));
	for (int i = 0; i < 50; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d/s%d", i);
		ok(mkdir(name, 0755));
		equal(st("d").st_nlink, 3 + i);
	}
	check(st("d").st_size >= 0);
}

CASE(ten_thousand, SLOW)
{
	enum { N = 10000 };
	static int seen[N];
	DIR *d;

	ok(mkdir("d", 0755));
	make("d", "f", N);
	d = opendir("d");
	equal(read_all(d, "f", seen, N), N);
	for (int i = 0; i < N; i++) {
		if (seen[i] != 1) {
			equal(seen[i], 1);
			break;
		}
	}
	closedir(d);
}
