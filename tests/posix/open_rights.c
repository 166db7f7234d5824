/* open(2): who may */
#include "tests/posix/posix.h"

CASE(owner_is_the_creator, ROOT)
{
	chmod_to(".", 0777);
	AS (ANN, BOB, CAT) {
		ok(close(ok(creat("f", 0600))));
	}
	equal(st("f").st_uid, ANN);
	equal(st("f").st_gid, BOB);
}

CASE(descriptor_works_whatever_the_new_mode, ROOT)
{
	chmod_to(".", 0777);
	AS (ANN, ANN) {
		int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0));
		char c;

		equal(ok(write(fd, "x", 1)), 1);
		equal(ok(pread(fd, &c, 1, 0)), 1);
		expect(open("f", O_RDONLY), EACCES);
		ok(close(fd));
	}
}

CASE(o_trunc_needs_the_right_to_write, ROOT)
{
	file("f", "abc");
	chmod_to("f", 0444);
	AS (ANN, ANN) {
		expect(open("f", O_WRONLY | O_TRUNC), EACCES);
		expect(open("f", O_RDONLY | O_TRUNC), EACCES);
	}
	holds("f", "abc");
}

CASE(access_modes)
{
	char c;
	int fd;

	file("f", "x");
	fd = (int)ok(open("f", O_RDONLY));
	expect(write(fd, "y", 1), EBADF);
	expect(ftruncate(fd, 0), EINVAL);
	ok(close(fd));
	fd = (int)ok(open("f", O_WRONLY));
	expect(read(fd, &c, 1), EBADF);
	ok(close(fd));
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(read(fd, &c, 1)), 1);
	equal(ok(write(fd, "y", 1)), 1);
	ok(close(fd));
	holds("f", "xy");
}

CASE(permissions_of_the_file, ROOT)
{
	static const struct {
		mode_t mode;
		uid_t uid;
		gid_t gid;
		bool r, w;
	} t[] = {
		{0600, ANN, ANN, true, true},
		{0400, ANN, ANN, true, false},
		{0200, ANN, ANN, false, true},
		{0077, ANN, ANN, false, false}, /* the owner's bits alone count for the owner */
		{0060, CAT, BOB, true, true},
		{0707, CAT, BOB, false, false},
		{0006, CAT, CAT, true, true},
		{0004, CAT, CAT, true, false},
		{0770, CAT, CAT, false, false},
	};

	file("f", "x");
	ok(chown("f", ANN, BOB));
	for (size_t i = 0; i < COUNT(t); i++) {
		chmod_to("f", t[i].mode);
		AS (t[i].uid, t[i].gid) {
			int fd = open("f", O_RDONLY);

			equal(fd >= 0 ? 0 : errno, t[i].r ? 0 : EACCES);
			fd = open("f", O_WRONLY);
			equal(fd >= 0 ? 0 : errno, t[i].w ? 0 : EACCES);
			fd = open("f", O_RDWR);
			equal(fd >= 0 ? 0 : errno, t[i].r && t[i].w ? 0 : EACCES);
		}
	}
	chmod_to("f", 0);
	ok(close(ok(open("f", O_RDWR)))); /* root may */
}

CASE(supplementary_groups_count, ROOT)
{
	file("f", "x");
	ok(chown("f", 0, CAT));
	chmod_to("f", 0660);
	AS (ANN, ANN, BOB, CAT) {
		ok(close(ok(open("f", O_RDWR))));
	}
	AS (ANN, ANN, BOB) {
		expect(open("f", O_RDONLY), EACCES);
	}
}

CASE(permissions_of_the_path, ROOT)
{
	ok(mkdir("d", 0755));
	file("d/f", "x");
	chmod_to("d/f", 0666);
	chmod_to("d", 0700);
	AS (ANN, ANN) {
		expect(open("d/f", O_RDONLY), EACCES);
		expect(open("d/none", O_RDONLY), EACCES);
	}
	chmod_to("d", 0711);
	AS (ANN, ANN) {
		ok(close(ok(open("d/f", O_RDWR))));
		expect(open("d", O_RDONLY), EACCES);
		expect(open("d/new", O_CREAT | O_WRONLY, 0644), EACCES);
		ok(close(ok(open("d/f", O_CREAT | O_RDWR, 0644))));
	}
	chmod_to("d", 0744);
	AS (ANN, ANN) {
		expect(open("d/f", O_RDONLY), EACCES);
		ok(close(ok(open("d", O_RDONLY))));
	}
	chmod_to("d", 0733);
	AS (ANN, ANN) {
		ok(close(ok(open("d/new", O_CREAT | O_WRONLY, 0644))));
	}
}

CASE(o_path_needs_no_right_to_the_file, ROOT)
{
	file("f", "x");
	chmod_to("f", 0);
	AS (ANN, ANN) {
		int fd = (int)ok(open("f", O_PATH));

		equal(fst(fd).st_size, 1);
		expect(open("f", O_RDONLY), EACCES);
	}
}

CASE(o_noatime_is_the_owners, ROOT)
{
	file("f", "x");
	chmod_to("f", 0666);
	AS (ANN, ANN) {
		expect(open("f", O_RDONLY | O_NOATIME), EPERM);
	}
	ok(chown("f", ANN, ANN));
	AS (ANN, ANN) {
		ok(close(ok(open("f", O_RDONLY | O_NOATIME))));
	}
}

CASE(sticky_regular_files, ROOT)
{
	FILE *f = fopen("/proc/sys/fs/protected_regular", "r");
	int level = 0;

	if (f) {
		check(fscanf(f, "%d", &level) == 1);
		fclose(f);
	}
	if (level < 1)
		differs("fs.protected_regular is off on this machine");
	ok(mkdir("t", 0777));
	chmod_to("t", 01777);
	file("t/f", "x");
	ok(chown("t/f", BOB, BOB));
	chmod_to("t/f", 0666);
	AS (ANN, ANN) {
		int fd = open("t/f", O_CREAT | O_WRONLY, 0644);

		equal(fd >= 0 ? 0 : errno, level ? EACCES : 0);
		ok(close(ok(open("t/f", O_WRONLY))));
	}
}
