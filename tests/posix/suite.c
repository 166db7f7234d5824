/*
 * posix-suite [-jN] [-s] [-v] [-l] [-t SECONDS] [-k LIST] DIR [FILE | FILE:CASE]...
 *
 * Runs the cases on the directory DIR: all, or those of the files named ("open"), or single ones
 * ("open:o_excl").
 *
 *   -jN          so many at once (8)
 *   -s           the slow ones, too
 *   -v           name each case that passes
 *   -l           list the cases and end
 *   -t SECONDS   how long one may take (20; slow ones ten times that)
 *   -k LIST      a file with lines "FILE: CASE: why": cases known to fail here. One of them that
 *                passes is a failure, so that the list stays true.
 *
 * Workers take cases from a shared counter; each case is a process group of its own with a
 * deadline. Those that must be alone run when the others are done.
 */
#include "tests/posix/posix.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "tests/posix/run.h"

enum verdict { PASSED, FAILED, DIFFERS, KNOWN, NOT_RUN, VERDICTS };

struct shared {
	atomic_uint next;
	atomic_uint count[VERDICTS];
	struct posix_report report[]; /* one per worker */
};

struct known {
	char *file, *name, *why;
	struct known *next;
};

static struct posix_case *cases; /* sorted once they are all there */
static struct posix_case **order;
static unsigned total;
static struct shared *shared;
static struct known *known;
static int jobs = 8, limit = 20, kind;
static bool slow, verbose;

void posix_register(struct posix_case *c)
{
	const char *slash = strrchr(c->file, '/');

	if (slash)
		c->file = slash + 1;
	c->next = cases;
	cases = c;
}

static size_t stem(const struct posix_case *c)
{
	return strcspn(c->file, ".");
}

/* ---- which ---- */

static int by_place(const void *a, const void *b)
{
	const struct posix_case *x = *(struct posix_case *const *)a;
	const struct posix_case *y = *(struct posix_case *const *)b;
	int c = strcmp(x->file, y->file);

	return c ? c : x->line - y->line;
}

static bool is_named(const struct posix_case *c, char **names, int n, bool *exactly)
{
	*exactly = false;
	for (int i = 0; i < n; i++) {
		size_t len = strcspn(names[i], ":");

		if (len != stem(c) || strncmp(names[i], c->file, len))
			continue;
		if (!names[i][len])
			return true;
		if (!strcmp(names[i] + len + 1, c->name)) {
			*exactly = true;
			return true;
		}
	}
	return n == 0;
}

/* Into order[]: what is to run. */
static void select_cases(char **names, int n)
{
	struct posix_case *c;

	for (c = cases; c; c = c->next)
		total++;
	order = calloc(total + 1, sizeof(*order));
	total = 0;
	for (c = cases; c; c = c->next) {
		bool exactly;

		if (c->flags & SELF && n == 0)
			continue;
		if (is_named(c, names, n, &exactly) && (slow || exactly || !(c->flags & SLOW)))
			order[total++] = c;
	}
	qsort(order, total, sizeof(*order), by_place);
}

static void read_known(const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;

	if (!f) {
		perror(path);
		exit(2);
	}
	while (getline(&line, &size, f) > 0) {
		struct known *k = calloc(1, sizeof(*k));

		line[strcspn(line, "\n")] = 0;
		if (line[0] == '#' || !line[0] ||
			sscanf(line, "%m[^:]: %m[^:]: %m[^\n]", &k->file, &k->name, &k->why) != 3) {
			free(k);
			continue;
		}
		k->next = known;
		known = k;
	}
	free(line);
	fclose(f);
}

static const struct known *known_of(const struct posix_case *c)
{
	for (const struct known *k = known; k; k = k->next) {
		if (strlen(k->file) == stem(c) && !strncmp(k->file, c->file, stem(c)) &&
			!strcmp(k->name, c->name))
			return k;
	}
	return NULL;
}

/* ---- one case ---- */

/* Removes a directory with all that is in it. Cases may have taken rights from themselves. */
static int remove_tree(int at, const char *name)
{
	struct dirent *e;
	DIR *d;
	int fd, rc = 0;

	if (!unlinkat(at, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fchmodat(at, name, 0700, 0);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	while (!rc && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = remove_tree(fd, e->d_name);
	}
	closedir(d);
	if (!rc && unlinkat(at, name, AT_REMOVEDIR))
		rc = -errno;
	return rc;
}

static void begin_case(const struct posix_case *c, const char *dir)
{
	setpgid(0, 0);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	if (chdir(dir)) {
		dprintf(posix_report->out, "FAIL %.*s: %s: chdir %s: %s\n", (int)stem(c), c->file,
			c->name, dir, strerror(errno));
		_exit(1);
	}
	c->run();
	_exit(0);
}

/* Waits until it has ended, at most until the deadline; then for what it left running. */
static bool wait_case(pid_t pid, int seconds, int *status)
{
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	bool in_time = poll(&p, 1, seconds * 1000) > 0;

	kill(-pid, SIGKILL);
	if (!in_time && poll(&p, 1, 30000) <= 0) {
		close(p.fd);
		*status = -1;
		return false;
	}
	close(p.fd);
	waitpid(pid, status, 0);
	return in_time;
}

static void say(
	struct posix_report *r, const struct posix_case *c, const char *fmt, const char *what)
{
	r->failures++;
	dprintf(r->out, "FAIL %.*s: %s: ", (int)stem(c), c->file, c->name);
	dprintf(r->out, fmt, what);
	dprintf(r->out, "\n");
}

static void run_process(const struct posix_case *c, struct posix_report *r, const char *dir)
{
	int seconds = c->flags & SLOW ? limit * 10 : limit, status = 0;
	char text[32];
	pid_t pid = fork();

	if (pid == 0)
		begin_case(c, dir);
	setpgid(pid, pid);
	if (!wait_case(pid, seconds, &status)) {
		snprintf(text, sizeof(text), "%d s", seconds);
		say(r, c,
			status == -1 ? "still running after %s, and can't be killed"
				     : "still running after %s",
			text);
	} else if (WIFSIGNALED(status)) {
		say(r, c, "ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) && !r->failures) {
		say(r, c, "%s", "ended without a word");
	}
}

static enum verdict judge(
	const struct posix_case *c, const struct posix_report *r, char *head, size_t len)
{
	const struct known *k = known_of(c);
	int n = (int)stem(c);

	head[0] = 0;
	if (r->failures && k) {
		snprintf(head, len, "known %.*s: %s: %s\n", n, c->file, c->name, k->why);
		return KNOWN;
	}
	if (r->failures)
		return FAILED;
	if (k) {
		snprintf(head, len, "FAIL %.*s: %s: passes, but is known to fail: %s\n", n, c->file,
			c->name, k->why);
		return FAILED;
	}
	if (r->why[0]) {
		snprintf(head, len, "differs %.*s: %s: %s\n", n, c->file, c->name, r->why);
		return DIFFERS;
	}
	if (verbose)
		snprintf(head, len, "pass %.*s: %s\n", n, c->file, c->name);
	return PASSED;
}

/* What the case said goes out at once, so that lines of several don't mix. */
static void tell(const struct posix_report *r, enum verdict v, const char *head)
{
	off_t len = lseek(r->out, 0, SEEK_END);
	char *all = malloc(strlen(head) + (size_t)len + 1);
	size_t n = strlen(head);

	memcpy(all, head, n);
	if (v != KNOWN || verbose)
		n += (size_t)pread(r->out, all + n, (size_t)len, 0);
	if (n)
		(void)!write(STDOUT_FILENO, all, n);
	free(all);
}

static void run_case(const struct posix_case *c, struct posix_report *r, const char *top)
{
	char dir[PATH_MAX], head[600];
	enum verdict v;
	int rc;

	if (c->flags & ROOT && geteuid()) {
		shared->count[NOT_RUN]++;
		return;
	}
	*r = (struct posix_report){.file = c->file, .name = c->name, .kind = kind};
	r->out = memfd_create("case", MFD_CLOEXEC);
	posix_report = r;
	snprintf(dir, sizeof(dir), "%s/%.*s.%s", top, (int)stem(c), c->file, c->name);
	if (mkdir(dir, 0755)) {
		say(r, c, "mkdir: %s", strerror(errno));
	} else {
		run_process(c, r, dir);
		rc = remove_tree(AT_FDCWD, dir);
		if (rc)
			say(r, c, "can't be cleaned up: %s", strerror(-rc));
	}
	v = judge(c, r, head, sizeof(head));
	tell(r, v, head);
	close(r->out);
	shared->count[v]++;
}

/* ---- all ---- */

static void work(unsigned me, const char *top, bool alone)
{
	unsigned i;

	while ((i = shared->next++) < total) {
		if (!(order[i]->flags & ALONE) == !alone)
			run_case(order[i], &shared->report[me], top);
	}
}

static int kind_of(const char *dir)
{
	struct statfs s;

	if (statfs(dir, &s)) {
		perror(dir);
		exit(2);
	}
	switch ((unsigned long)s.f_type) {
	case 0xef53:
		return EXT4;
	case 0x01021994:
		return TMPFS;
	case 0x794c7630:
		return OVERLAY;
	case 0x65735546:
		return FUSE;
	case 0x58465342:
		return XFS;
	case 0x9123683e:
		return BTRFS;
	default:
		return OTHER;
	}
}

static void run_all(const char *top)
{
	for (int i = 0; i < jobs; i++) {
		if (fork() == 0) {
			work((unsigned)i, top, false);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	shared->next = 0;
	work(0, top, true);
}

static void usage(void)
{
	fprintf(stderr, "usage: posix-suite [-jN] [-s] [-v] [-l] [-t SECONDS] [-k LIST] DIR "
			"[FILE | FILE:CASE]...\n");
	exit(2);
}

static void options(int argc, char **argv, bool *list)
{
	int o;

	while ((o = getopt(argc, argv, "j:svlt:k:")) != -1) {
		if (o == 'j')
			jobs = atoi(optarg);
		else if (o == 't')
			limit = atoi(optarg);
		else if (o == 'k')
			read_known(optarg);
		else if (o == 's')
			slow = true;
		else if (o == 'v')
			verbose = true;
		else if (o == 'l')
			*list = true;
		else
			usage();
	}
	if (jobs < 1 || limit < 1)
		usage();
}

static int sum_up(void)
{
	unsigned n = 0;

	printf("%u differ, %u known to fail", shared->count[DIFFERS], shared->count[KNOWN]);
	for (struct posix_case *c = cases; c; c = c->next)
		n += c->flags & SLOW && !slow;
	if (n)
		printf(", %u slow ones only with -s", n);
	if (shared->count[NOT_RUN])
		printf(", %u not run: they need root", shared->count[NOT_RUN]);
	printf("\n%u passed, %u failed\n", shared->count[PASSED] + shared->count[DIFFERS],
		shared->count[FAILED]);
	return shared->count[FAILED] != 0;
}

int main(int argc, char **argv)
{
	char top[PATH_MAX];
	bool list = false;
	int rc;

	options(argc, argv, &list);
	if (list)
		slow = true;
	else if (optind == argc)
		usage();
	select_cases(argv + optind + !list, argc - optind - !list);
	if (list) {
		for (unsigned i = 0; i < total; i++)
			printf("%.*s: %s\n", (int)stem(order[i]), order[i]->file, order[i]->name);
		return 0;
	}
	if (total == 0) {
		fprintf(stderr, "posix-suite: no such case\n");
		return 2;
	}
	kind = kind_of(argv[optind]);
	shared = mmap(NULL, sizeof(*shared) + (size_t)jobs * sizeof(shared->report[0]),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(top, sizeof(top), "%s/posix-XXXXXX", argv[optind]);
	if (shared == MAP_FAILED || !mkdtemp(top) || chmod(top, 0755)) {
		perror(argv[optind]);
		return 2;
	}
	fflush(stdout);
	run_all(top);
	rc = remove_tree(AT_FDCWD, top);
	if (rc) {
		printf("FAIL: %s can't be removed: %s\n", top, strerror(-rc));
		shared->count[FAILED]++;
	}
	return sum_up();
}
