/* name_to_handle_at(2), open_by_handle_at(2) */
#include "tests/posix/posix.h"

struct handle {
	struct file_handle h;
	unsigned char space[MAX_HANDLE_SZ];
};

/* false where the filesystem has no handles */
static bool get(const char *name, struct handle *h, int flags)
{
	int mount_id;

	h->h.handle_bytes = MAX_HANDLE_SZ;
	if (!name_to_handle_at(AT_FDCWD, name, &h->h, &mount_id, flags))
		return true;
	equal(errno, EOPNOTSUPP);
	differs("name_to_handle_at(2): EOPNOTSUPP where there are no handles");
	return false;
}

static int reopen(const struct handle *h, int flags)
{
	int top = (int)ok(open(".", O_RDONLY));
	int fd = open_by_handle_at(top, (struct file_handle *)(uintptr_t)&h->h, flags);
	int err = errno;

	close(top);
	errno = err;
	return fd;
}

CASE(opens_again, ROOT)
{
	struct handle h;
	char got[4] = "";
	int fd;

	file("f", "abc");
	if (!get("f", &h, 0))
		return;
	fd = (int)ok(reopen(&h, O_RDWR));
	equal(ok(read(fd, got, 3)), 3);
	same(got, "abc");
	equal(fst(fd).st_ino, st("f").st_ino);
	ok(close(fd));
	ok(rename("f", "g"));
	fd = (int)ok(reopen(&h, O_RDONLY));
	ok(close(fd));
}

CASE(of_directories, ROOT)
{
	struct handle h;
	int fd;

	ok(mkdir("d", 0755));
	file("d/f", "x");
	if (!get("d", &h, 0))
		return;
	fd = (int)ok(reopen(&h, O_RDONLY | O_DIRECTORY));
	ok(close(ok(openat(fd, "f", O_RDONLY))));
}

CASE(after_the_kernel_forgot_it, ROOT | ALONE)
{
	struct handle h, hd;
	ino_t ino, dino;
	int fd;

	ok(mkdir("d", 0755));
	file("d/f", "abc");
	if (!get("d/f", &h, 0) || !get("d", &hd, 0))
		return;
	ino = st("d/f").st_ino;
	dino = st("d").st_ino;
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0 || write(fd, "2", 1) != 1) {
		differs("caches can't be dropped here");
		return;
	}
	fd = (int)ok(reopen(&h, O_RDONLY));
	equal(fst(fd).st_ino, ino);
	fd = (int)ok(reopen(&hd, O_RDONLY | O_DIRECTORY));
	equal(fst(fd).st_ino, dino);
	ok(close(ok(openat(fd, "f", O_RDONLY))));
}

CASE(of_something_gone, ROOT)
{
	struct handle h, hd;

	file("f", "abc");
	ok(mkdir("d", 0755));
	if (!get("f", &h, 0) || !get("d", &hd, 0))
		return;
	ok(unlink("f"));
	ok(rmdir("d"));
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		file(name, "new");
	}
	expect(reopen(&h, O_RDONLY), ESTALE); /* never another file */
	expect(reopen(&hd, O_RDONLY), ESTALE);
}

CASE(refusals, ROOT)
{
	struct handle h = {.h.handle_bytes = 0};
	int mount_id;

	file("f", "abc");
	if (!get("f", &h, 0))
		return;
	h.h.handle_bytes = 0;
	expect(name_to_handle_at(AT_FDCWD, "f", &h.h, &mount_id, 0), EOVERFLOW);
	check(h.h.handle_bytes > 0);
	expect(name_to_handle_at(AT_FDCWD, "none", &h.h, &mount_id, 0), ENOENT);
	expect(name_to_handle_at(AT_FDCWD, "f", &h.h, &mount_id, 0x10000), EINVAL);
	AS (ANN, ANN) {
		h.h.handle_bytes = MAX_HANDLE_SZ;
		ok(name_to_handle_at(AT_FDCWD, "f", &h.h, &mount_id, 0));
		expect(reopen(&h, O_RDONLY), EPERM);
	}
}
