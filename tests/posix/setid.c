/* set-id bits and capabilities: what takes them away; execve(2) with them; ETXTBSY */
#include "tests/posix/posix.h"

#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

static void copy_program(const char *name)
{
	char buf[65536];
	ssize_t n;
	int in = (int)ok(open("/proc/self/exe", O_RDONLY));
	int out = (int)ok(open(name, O_CREAT | O_TRUNC | O_WRONLY, 0755));

	while ((n = ok(read(in, buf, sizeof(buf)))) > 0)
		equal(ok(write(out, buf, (size_t)n)), n);
	ok(close(in));
	ok(close(out));
}

/* how a program of that name ends: its exit code, or -errno when it can't be run */
static int run(const char *name, char *const argv[])
{
	int status, err[2];
	int why = 0;
	pid_t pid;

	ok(pipe2(err, O_CLOEXEC));
	pid = (pid_t)ok(fork());
	if (pid == 0) {
		execv(name, argv);
		why = errno;
		(void)!write(err[1], &why, sizeof(why));
		_exit(99);
	}
	ok(close(err[1]));
	ok(read(err[0], &why, sizeof(why)));
	ok(close(err[0]));
	ok(waitpid(pid, &status, 0));
	return why ? -why : WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void script(const char *name, const char *text)
{
	file(name, text);
	chmod_to(name, 0755);
}

CASE(scripts_run)
{
	char *argv[] = {(char[]){"s"}, NULL};

	script("s", "#!/bin/sh\nexit 7\n");
	equal(run("./s", argv), 7);
	chmod_to("s", 0644);
	equal(run("./s", argv), -EACCES);
	script("bad", "no program at all\n");
	equal(run("./bad", argv), -ENOEXEC);
	ok(mkdir("d", 0755));
	equal(run("./d", argv), -EACCES);
	equal(run("./none", argv), -ENOENT);
	equal(run("./s/x", argv), -ENOTDIR);
}

CASE(programs_run)
{
	char *argv[] = {(char[]){"prog"}, (char[]){"-?"}, NULL};
	int null = (int)ok(open("/dev/null", O_WRONLY));

	ok(dup2(null, 2));
	copy_program("prog");
	equal(run("./prog", argv), 2); /* our own usage() */
}

CASE(execution_needs_the_right, ROOT)
{
	char *argv[] = {(char[]){"s"}, NULL};

	script("s", "#!/bin/sh\nexit 7\n");
	chmod_to("s", 0744);
	AS (ANN, ANN) {
		equal(run("./s", argv), -EACCES);
	}
	chmod_to("s", 0755);
	AS (ANN, ANN) {
		equal(run("./s", argv), 7);
	}
	chmod_to("s", 0666);
	equal(run("./s", argv), -EACCES); /* root, too: no x for anyone */
}

CASE(etxtbsy)
{
	char *argv[] = {(char[]){"sleep"}, (char[]){"100"}, NULL};
	int w, p[2];
	pid_t pid;
	char c;

	ok(close(ok(open("/bin/sleep", O_RDONLY))));
	{
		char buf[65536];
		ssize_t n;
		int in = (int)ok(open("/bin/sleep", O_RDONLY));

		w = (int)ok(open("sleep", O_CREAT | O_WRONLY, 0755));
		while ((n = ok(read(in, buf, sizeof(buf)))) > 0)
			equal(ok(write(w, buf, (size_t)n)), n);
	}
	equal(run("./sleep", argv), -ETXTBSY); /* open for writing */
	ok(close(w));
	ok(pipe2(p, O_CLOEXEC));
	pid = beside();
	if (pid == 0) {
		execv("./sleep", argv);
		_exit(99);
	}
	ok(close(p[1]));
	equal(ok(read(p[0], &c, 1)), 0); /* closed by execve */
	w = open("sleep", O_WRONLY);
	if (w >= 0) {
		differs("this kernel lets running programs be opened for writing");
	} else {
		equal(errno, ETXTBSY);
		expect(open("sleep", O_RDWR), ETXTBSY);
		expect(open("sleep", O_RDONLY | O_TRUNC), ETXTBSY);
		expect(truncate("sleep", 0), ETXTBSY);
	}
	ok(close(ok(open("sleep", O_RDONLY))));
	ok(unlink("sleep")); /* that is allowed */
	ok(kill(pid, SIGKILL));
	ok(waitpid(pid, NULL, 0));
}

CASE(set_uid_program, ROOT)
{
	char *argv[] = {(char[]){"id"}, (char[]){"-u"}, NULL};
	struct statvfs v;
	char cmd[64], out[32] = "";
	FILE *f;

	ok(statvfs(".", &v));
	{
		char buf[65536];
		ssize_t n;
		int in = (int)ok(open("/usr/bin/id", O_RDONLY));
		int to = (int)ok(open("id", O_CREAT | O_WRONLY, 0755));

		while ((n = ok(read(in, buf, sizeof(buf)))) > 0)
			equal(ok(write(to, buf, (size_t)n)), n);
		ok(close(to));
	}
	ok(chown("id", BOB, BOB));
	chmod_to("id", 04755);
	(void)argv;
	AS (ANN, ANN) {
		snprintf(cmd, sizeof(cmd), "./id -u");
		f = popen(cmd, "r");
		check(f && fgets(out, sizeof(out), f));
		pclose(f);
		if (v.f_flag & ST_NOSUID) {
			differs("mounted with nosuid");
			equal(atoi(out), ANN);
		} else {
			equal(atoi(out), BOB);
		}
	}
}

#define drops(what)                                                                                \
	do {                                                                                       \
		file("f", "abcdef");                                                               \
		ok(chown("f", ANN, ANN));                                                          \
		chmod_to("f", 06777);                                                              \
		AS (BOB, BOB) {                                                                    \
			int fd = (int)ok(open("f", O_RDWR));                                       \
			what;                                                                      \
			ok(close(fd));                                                             \
		}                                                                                  \
		equal(mode("f"), 0777);                                                            \
		ok(unlink("f"));                                                                   \
	} while (0)

CASE(by_write, ROOT)
{
	drops(ok(write(fd, "x", 1)));
	drops(ok(pwrite(fd, "x", 1, 100000)));
}

CASE(by_truncation, ROOT)
{
	drops(ok(ftruncate(fd, 0)));
	drops(ok(ftruncate(fd, 3)));
	drops(ok(ftruncate(fd, 100)));
	drops(ok(truncate("f", 3)));
	drops(ok(close(ok(open("f", O_WRONLY | O_TRUNC)))));
}

CASE(by_fallocate, ROOT)
{
	drops(ok(fallocate(fd, 0, 0, 10000)));
	drops(ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3)));
}

CASE(by_copy_file_range, ROOT)
{
	file("src", "source");
	drops({
		int in = (int)ok(open("src", O_RDONLY));
		equal(ok(copy_file_range(in, NULL, fd, NULL, 6, 0)), 6);
	});
}

CASE(not_by_reading_or_linking, ROOT)
{
	file("f", "x");
	ok(chown("f", ANN, ANN));
	chmod_to("f", 06777);
	AS (BOB, BOB) {
		char c;

		ok(read((int)ok(open("f", O_RDWR)), &c, 1));
	}
	ok(link("f", "g"));
	ok(rename("g", "h"));
	equal(mode("f"), 06777);
}

CASE(capabilities_go_by_writing, ROOT)
{
	/* a version 2 capability set: CAP_NET_RAW permitted and effective */
	static const unsigned char cap[20] = {1, 0, 0, 2, 0, 0x20};
	char got[32];

	file("f", "x");
	ok(chown("f", ANN, ANN));
	chmod_to("f", 0777);
	ok(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	equal(ok(getxattr("f", "security.capability", got, sizeof(got))), 20);
	AS (BOB, BOB) {
		ok(write((int)ok(open("f", O_WRONLY)), "y", 1));
	}
	expect(getxattr("f", "security.capability", got, sizeof(got)), ENODATA);
	ok(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	ok(chown("f", BOB, BOB));
	expect(getxattr("f", "security.capability", got, sizeof(got)), ENODATA);
}

CASE(capabilities_go_by_bytes_before_them, ROOT)
{
	static const unsigned char cap[20] = {1, 0, 0, 2, 0, 0x20};
	const struct timespec then[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	char got[32];
	int fd;

	file("f", "x");
	ok(setxattr("f", "security.capability", cap, sizeof(cap), 0));
	fd = (int)ok(open("f", O_WRONLY | O_APPEND));
	ok(write(fd, "y", 1));
	ok(futimens(fd, then));
	ok(close(fd));
	expect(getxattr("f", "security.capability", got, sizeof(got)), ENODATA);
	fd = (int)ok(open("f", O_WRONLY));
	ok(write(fd, "z", 1));
	ok(fsetxattr(fd, "security.capability", cap, sizeof(cap), 0));
	ok(close(fd));
	equal(ok(getxattr("f", "security.capability", got, sizeof(got))), 20);
}

CASE(mapped_programs_see_no_change)
{
	/* a private mapping of a file that is replaced by rename keeps the old bytes */
	char *p;
	int fd;

	file("f", "old bytes");
	fd = (int)ok(open("f", O_RDONLY));
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	ok(p);
	file("g", "NEW");
	ok(rename("g", "f"));
	check(!memcmp(p, "old bytes", 9));
}
