/* access(2), faccessat(2), faccessat2(2), umask(2) */
#include "tests/posix/posix.h"

#include <sys/syscall.h>

CASE(existence)
{
	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	ok(access("f", F_OK));
	ok(access("d", F_OK));
	expect(access("s", F_OK), ENOENT);
	ok(faccessat(AT_FDCWD, "s", F_OK, AT_SYMLINK_NOFOLLOW));
	expect(access("none", F_OK), ENOENT);
	expect(access("f/x", F_OK), ENOTDIR);
	expect(access("f", 8), EINVAL);
	expect(access(nowhere(), F_OK), EFAULT);
	expect(access(name_of(256, 'a'), F_OK), ENAMETOOLONG);
	expect(faccessat(-1, "f", F_OK, 0), EBADF);
}

CASE(each_bit, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, BOB));
	for (int who = 0; who < 3; who++) {
		for (int bits = 0; bits < 8; bits++) {
			/* the others have what these have not */
			mode_t mine = (mode_t)7 << (6 - 3 * who);
			mode_t m = (0777 & ~mine) | (mode_t)bits << (6 - 3 * who);
			uid_t uid = who == 0 ? ANN : CAT;
			gid_t gid = who == 1 ? BOB : CAT;

			chmod_to("f", m);
			AS (uid, gid) {
				for (int want = 1; want < 8; want++) {
					int rc = access("f", want);

					equal(rc ? errno : 0, (bits & want) == want ? 0 : EACCES);
				}
			}
		}
	}
}

CASE(of_root, ROOT)
{
	file("f", "");
	chmod_to("f", 0);
	ok(access("f", R_OK | W_OK));
	expect(access("f", X_OK), EACCES);
	chmod_to("f", 0001);
	ok(access("f", X_OK));
	ok(mkdir("d", 0));
	ok(access("d", R_OK | W_OK | X_OK));
}

CASE(asks_for_the_real_ids, ROOT)
{
	file("f", "");
	chmod_to("f", 0600);
	ok(chown("f", ANN, ANN));
	CHILD () {
		ok(setresuid(BOB, ANN, 0));
		expect(access("f", R_OK), EACCES);
		ok(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
		ok(close(ok(open("f", O_RDONLY))));
	}
}

CASE(umask_of_each_call)
{
	static const mode_t masks[] = {0, 022, 077, 0777, 0124};

	for (size_t i = 0; i < COUNT(masks); i++) {
		umask(masks[i]);
		ok(close(ok(open("f", O_CREAT | O_WRONLY, 0666))));
		ok(mkdir("d", 0777));
		ok(mkfifo("p", 0666));
		ok(symlink("x", "s"));
		ok(mknod("r", S_IFREG | 0666, 0));
		equal(mode("f"), 0666 & ~masks[i]);
		equal(mode("d"), 0777 & ~masks[i]);
		equal(mode("p"), 0666 & ~masks[i]);
		equal(mode("r"), 0666 & ~masks[i]);
		equal(mode("s"), 0777);
		ok(unlink("f"));
		ok(rmdir("d"));
		ok(unlink("p"));
		ok(unlink("s"));
		ok(unlink("r"));
	}
}

CASE(groups_of_new_files, ROOT)
{
	ok(mkdir("plain", 0777));
	chmod_to("plain", 0777);
	ok(chown("plain", 0, CAT));
	chmod_to("plain", 0777);
	ok(mkdir("sgid", 0777));
	ok(chown("sgid", 0, CAT));
	chmod_to("sgid", 02777);
	umask(0);
	AS (ANN, BOB) {
		ok(close(ok(creat("plain/f", 0644))));
		ok(close(ok(creat("sgid/f", 0644))));
		ok(mkfifo("sgid/p", 0644));
		ok(symlink("x", "sgid/s"));
		/* set-gid of a group that is not hers does not come about */
		ok(close(ok(open("sgid/g", O_CREAT | O_WRONLY, 02775))));
		/* of hers it does */
		ok(close(ok(open("plain/g", O_CREAT | O_WRONLY, 02775))));
	}
	equal(st("plain/f").st_gid, BOB);
	equal(st("sgid/f").st_gid, CAT);
	equal(st("sgid/p").st_gid, CAT);
	equal(st("sgid/s").st_gid, CAT);
	equal(mode("sgid/f"), 0644);
	equal(mode("sgid/g"), 0775);
	equal(mode("plain/g"), 02775);
}
