/* chmod(2), fchmod(2), fchmodat(2) */
#include "tests/posix/posix.h"

#include <sys/syscall.h>

CASE(all_bits)
{
	file("f", "x");
	for (mode_t m = 0; m <= 07777; m += 0123) {
		ok(chmod("f", m));
		equal(mode("f"), m);
	}
	check(S_ISREG(st("f").st_mode));
	ok(chmod("f", 0170644)); /* type bits are not changed */
	check(S_ISREG(st("f").st_mode));
	equal(mode("f"), 0644);
	ok(chmod("f", 0644));
}

CASE(of_all_types)
{
	file("f", "");
	ok(mkdir("d", 0755));
	ok(mkfifo("p", 0644));
	ok(symlink("f", "s"));
	chmod_to("d", 03711);
	chmod_to("p", 0600);
	ok(chmod("s", 0640));
	equal(mode("f"), 0640);
	equal(mode("s"), 0777);
}

CASE(by_descriptor)
{
	int fd;

	file("f", "");
	fd = (int)ok(open("f", O_RDONLY));
	ok(fchmod(fd, 0600));
	equal(mode("f"), 0600);
	equal(fst(fd).st_mode & 07777, 0600);
	expect(fchmod(-1, 0600), EBADF);
	fd = (int)ok(open(".", O_RDONLY));
	ok(fchmodat(fd, "f", 0604, 0));
	equal(mode("f"), 0604);
	expect(fchmodat(fd, "f", 0604, 0x8000), EINVAL);
}

CASE(refusals)
{
	file("f", "");
	ok(symlink("l", "l"));
	expect(chmod("none", 0644), ENOENT);
	expect(chmod("f/x", 0644), ENOTDIR);
	expect(chmod("l", 0644), ELOOP);
	expect(chmod(name_of(256, 'c'), 0644), ENAMETOOLONG);
	expect(chmod(nowhere(), 0644), EFAULT);
}

CASE(only_the_owner_may, ROOT)
{
	file("f", "");
	ok(chown("f", BOB, CAT));
	chmod_to("f", 0666);
	AS (ANN, CAT) {
		int fd = (int)ok(open("f", O_RDWR));

		expect(chmod("f", 0644), EPERM);
		expect(fchmod(fd, 0644), EPERM);
		expect(chmod("f", 0666), EPERM);
	}
	AS (BOB, BOB) {
		ok(chmod("f", 0600));
		ok(chmod("f", 0));
		ok(chmod("f", 0604));
	}
	equal(mode("f"), 0604);
}

CASE(set_gid_needs_membership, ROOT)
{
	/* chmod(2): not a member and no CAP_FSETID: S_ISGID is turned off, but no error */
	file("f", "");
	ok(chown("f", ANN, CAT));
	AS (ANN, ANN) {
		ok(chmod("f", 02755));
		equal(mode("f"), 0755);
		ok(chmod("f", 04755));
		equal(mode("f"), 04755);
		ok(chmod("f", 06755));
		equal(mode("f"), 04755);
	}
	AS (ANN, ANN, CAT) {
		ok(chmod("f", 02755));
		equal(mode("f"), 02755);
	}
	ok(chmod("f", 06755));
	equal(mode("f"), 06755);
}

CASE(set_gid_of_directories_needs_membership, ROOT)
{
	ok(mkdir("d", 0755));
	ok(chown("d", ANN, CAT));
	AS (ANN, ANN) {
		ok(chmod("d", 02755));
		equal(mode("d"), 0755);
	}
	AS (ANN, CAT) {
		ok(chmod("d", 02755));
		equal(mode("d"), 02755);
	}
}

CASE(sticky_bit_of_files, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, ANN));
	AS (ANN, ANN) {
		ok(chmod("f", 01644)); /* Linux lets anyone */
		equal(mode("f"), 01644);
	}
}

CASE(path_rights, ROOT)
{
	ok(mkdir("d", 0700));
	file("d/f", "");
	ok(chown("d/f", ANN, ANN));
	AS (ANN, ANN) {
		expect(chmod("d/f", 0600), EACCES);
	}
}

CASE(times)
{
	file("f", "");
	stamps("f", CTIM, ok(chmod("f", 0600)));
	stamps("f", CTIM, ok(chmod("f", 0600))); /* the same again */
	stamps(".", 0, ok(chmod("f", 0640)));
}

CASE(counts_from_the_next_open, ROOT)
{
	int fd;
	char c;

	file("f", "x");
	chmod_to("f", 0644);
	fd = (int)ok(open("f", O_RDONLY));
	chmod_to("f", 0);
	AS (ANN, ANN) {
		equal(ok(pread(fd, &c, 1, 0)), 1); /* what is open stays open */
	}
	for (int i = 0; i < 10; i++) {
		ok(chmod("f", 0600));
		AS (ANN, ANN) {
			expect(open("f", O_RDONLY), EACCES);
		}
		ok(chmod("f", 0644));
		AS (ANN, ANN) {
			ok(close(ok(open("f", O_RDONLY))));
		}
	}
}

CASE(fchmodat2)
{
	long rc;

	file("f", "");
	ok(symlink("f", "s"));
	rc = syscall(452 /* fchmodat2 */, AT_FDCWD, "f", 0600, AT_SYMLINK_NOFOLLOW);
	if (rc < 0 && errno == ENOSYS) {
		differs("fchmodat2(2) is of Linux 6.6");
		return;
	}
	ok(rc);
	equal(mode("f"), 0600);
	expect(syscall(452, AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
	equal(mode("f"), 0600);
}
