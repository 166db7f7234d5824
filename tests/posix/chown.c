/* chown(2), fchown(2), lchown(2), fchownat(2) */
#include "tests/posix/posix.h"

CASE(sets_owner_and_group, ROOT)
{
	int fd;

	file("f", "");
	ok(chown("f", ANN, BOB));
	equal(st("f").st_uid, ANN);
	equal(st("f").st_gid, BOB);
	ok(chown("f", (uid_t)-1, CAT));
	equal(st("f").st_uid, ANN);
	equal(st("f").st_gid, CAT);
	ok(chown("f", BOB, (gid_t)-1));
	equal(st("f").st_uid, BOB);
	equal(st("f").st_gid, CAT);
	ok(chown("f", (uid_t)-1, (gid_t)-1));
	equal(st("f").st_uid, BOB);
	fd = (int)ok(open("f", O_RDONLY));
	ok(fchown(fd, ANN, ANN));
	equal(st("f").st_uid, ANN);
	ok(fchownat(fd, "", BOB, BOB, AT_EMPTY_PATH));
	equal(st("f").st_uid, BOB);
	ok(chown("f", 4294967294u, 4294967294u));
	equal(st("f").st_uid, 4294967294u);
}

CASE(of_all_types, ROOT)
{
	ok(mkdir("d", 0755));
	ok(mkfifo("p", 0644));
	ok(symlink("nowhere", "s"));
	ok(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	ok(chown("d", ANN, ANN));
	ok(chown("p", ANN, ANN));
	ok(chown("c", ANN, ANN));
	ok(lchown("s", ANN, ANN));
	expect(chown("s", ANN, ANN), ENOENT);
	equal(st("d").st_uid, ANN);
	equal(st("p").st_uid, ANN);
	equal(st("c").st_uid, ANN);
	equal(st("s").st_uid, ANN);
}

CASE(refusals)
{
	file("f", "");
	ok(symlink("l", "l"));
	expect(chown("none", 0, 0), ENOENT);
	expect(chown("f/x", 0, 0), ENOTDIR);
	expect(chown("l", 0, 0), ELOOP);
	expect(chown(name_of(256, 'c'), 0, 0), ENAMETOOLONG);
	expect(chown(nowhere(), 0, 0), EFAULT);
	expect(fchown(-1, 0, 0), EBADF);
	expect(fchownat(AT_FDCWD, "f", 0, 0, 0x8000), EINVAL);
}

CASE(who_may, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, ANN));
	AS (ANN, ANN, CAT) {
		expect(chown("f", BOB, (gid_t)-1), EPERM);
		expect(chown("f", (uid_t)-1, BOB), EPERM);
		expect(chown("f", BOB, CAT), EPERM);
		ok(chown("f", (uid_t)-1, CAT)); /* to a group of hers */
		ok(chown("f", ANN, ANN));
		ok(chown("f", (uid_t)-1, (gid_t)-1));
	}
	AS (BOB, BOB, CAT) {
		expect(chown("f", BOB, BOB), EPERM);
		expect(chown("f", (uid_t)-1, CAT), EPERM);
		expect(chown("f", (uid_t)-1, BOB), EPERM);
	}
	equal(st("f").st_uid, ANN);
}

CASE(set_id_bits_go, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, ANN));
	chmod_to("f", 06755);
	AS (ANN, ANN, CAT) {
		ok(chown("f", (uid_t)-1, CAT));
	}
	equal(mode("f"), 0755);
	chmod_to("f", 06755);
	ok(chown("f", BOB, BOB));
	equal(mode("f"), 0755); /* Linux: also when root does it */
	chmod_to("f", 06745);   /* set-gid without group execution is no set-id bit */
	ok(chown("f", ANN, CAT));
	equal(mode("f"), 02745);
	ok(mkdir("d", 0755));
	chmod_to("d", 06755);
	ok(chown("d", ANN, ANN));
	equal(mode("d"), 06755); /* of directories they stay */
	chmod_to("f", 01755);
	ok(chown("f", BOB, BOB));
	equal(mode("f"), 01755);
}

CASE(set_id_bits_without_a_change, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, ANN));
	chmod_to("f", 06755);
	AS (ANN, ANN) {
		ok(chown("f", ANN, ANN));
	}
	equal(mode("f"), 0755);
}

CASE(times, ROOT)
{
	file("f", "");
	stamps("f", CTIM, ok(chown("f", ANN, BOB)));
	stamps("f", CTIM, ok(chown("f", ANN, BOB)));
	stamps("f", CTIM, ok(chown("f", (uid_t)-1, CAT)));
}

CASE(counts_at_once, ROOT)
{
	file("f", "x");
	chmod_to("f", 0600);
	for (int i = 0; i < 5; i++) {
		ok(chown("f", ANN, ANN));
		AS (ANN, ANN) {
			ok(close(ok(open("f", O_RDONLY))));
		}
		ok(chown("f", BOB, BOB));
		AS (ANN, ANN) {
			expect(open("f", O_RDONLY), EACCES);
		}
	}
}
