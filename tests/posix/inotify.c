/* inotify(7): what this machine changes is told to who watches on this machine */
#include "tests/posix/posix.h"

#include <poll.h>
#include <sys/inotify.h>

/* reads events until those of @want have come, or none comes; what came */
static uint32_t events(int fd, uint32_t want, const char *name)
{
	char buf[4096] __attribute__((aligned(8)));
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint32_t got = 0;

	while ((got & want) != want && poll(&p, 1, 2000) > 0) {
		ssize_t n = ok(read(fd, buf, sizeof(buf)));

		for (ssize_t o = 0; o < n;) {
			struct inotify_event *e = (struct inotify_event *)(buf + o);

			if (!name || (e->len && !strcmp(e->name, name)))
				got |= e->mask;
			o += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	return got;
}

CASE(directory)
{
	int fd = (int)ok(inotify_init1(IN_NONBLOCK));

	ok(mkdir("d", 0755));
	ok(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
	ok(close(ok(creat("d/f", 0644))));
	equal(events(fd, IN_CREATE | IN_OPEN | IN_CLOSE_WRITE, "f"),
		IN_CREATE | IN_OPEN | IN_CLOSE_WRITE);
	ok(chmod("d/f", 0600));
	equal(events(fd, IN_ATTRIB, "f"), IN_ATTRIB);
	ok(rename("d/f", "d/g"));
	equal(events(fd, IN_MOVED_TO, "g"), IN_MOVED_TO);
	ok(unlink("d/g"));
	equal(events(fd, IN_DELETE, "g"), IN_DELETE);
	ok(mkdir("d/e", 0755));
	equal(events(fd, IN_CREATE, "e"), IN_CREATE | IN_ISDIR);
}

CASE(file_content)
{
	int fd = (int)ok(inotify_init1(IN_NONBLOCK)), f;
	char c;

	file("f", "abc");
	ok(inotify_add_watch(fd, "f", IN_ALL_EVENTS));
	f = (int)ok(open("f", O_RDWR));
	ok(read(f, &c, 1));
	ok(write(f, "x", 1));
	ok(ftruncate(f, 1));
	ok(close(f));
	check((events(fd, IN_OPEN | IN_ACCESS | IN_MODIFY | IN_CLOSE_WRITE, NULL) &
		      (IN_OPEN | IN_ACCESS | IN_MODIFY | IN_CLOSE_WRITE)) ==
		(IN_OPEN | IN_ACCESS | IN_MODIFY | IN_CLOSE_WRITE));
	ok(unlink("f"));
	check(events(fd, IN_DELETE_SELF, NULL) & IN_DELETE_SELF);
}

CASE(refusals)
{
	int fd = (int)ok(inotify_init1(0));

	expect(inotify_add_watch(fd, "none", IN_OPEN), ENOENT);
	expect(inotify_add_watch(fd, ".", 0), EINVAL);
}
