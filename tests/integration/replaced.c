/*
 * replaced A B SECONDS: A and B are one directory, seen through two mounts. One process replaces a
 * file, and one an empty directory, by rename through A, without a pause; others use them by name
 * through B. The names are always there: so nothing may fail, but in the directory with ENOENT.
 *
 * Exit status 0, or 1 and a line for the first thing that is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOKERS 3

static time_t until;

static void want(const char *what, int rc, int may)
{
	if (rc >= 0 || errno == may)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static int make(const char *name, char byte)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	return fd < 0 || write(fd, &byte, 1) != 1 || close(fd) ? -1 : 0;
}

static void replace_files(void)
{
	for (unsigned n = 0; time(NULL) < until; n++) {
		want("create", make("file.new", (char)('a' + n % 26)), 0);
		want("rename of a file", rename("file.new", "file"), 0);
	}
}

/* What the others make in it goes with it, or keeps it. */
static void replace_dirs(void)
{
	while (time(NULL) < until) {
		want("mkdir", mkdir("dir.new", 0755), EEXIST);
		want("rename of a directory", rename("dir.new", "dir"), ENOTEMPTY);
	}
}

static void look(unsigned me)
{
	char name[32], byte;
	struct stat st;
	long rounds = 0;
	int fd;

	snprintf(name, sizeof(name), "dir/f%u", me);
	for (; time(NULL) < until; rounds++) {
		want("stat file", stat("file", &st), 0);
		fd = open("file", O_RDONLY);
		want("open file", fd, 0);
		if (read(fd, &byte, 1) != 1 || byte < 'a' || byte > 'z') {
			printf("read file: not what was in any\n");
			exit(1);
		}
		close(fd);
		want("stat dir", stat("dir", &st), 0);
		fd = open("dir", O_RDONLY | O_DIRECTORY);
		want("open dir", fd, 0);
		close(fd);
		want("chmod dir", chmod("dir", 0755), 0);
		fd = open(name, O_CREAT | O_RDWR, 0644);
		want("create in dir", fd, ENOENT);
		if (fd >= 0)
			close(fd);
		want("stat in dir", stat(name, &st), ENOENT);
		want("unlink in dir", unlink(name), ENOENT);
	}
	printf("%ld times\n", rounds);
}

int main(int argc, char **argv)
{
	int bad = 0, status;

	if (argc != 4) {
		fprintf(stderr, "usage: replaced A B SECONDS\n");
		return 2;
	}
	if (chdir(argv[1]) || make("file", 'a') || mkdir("dir", 0755)) {
		perror(argv[1]);
		return 1;
	}
	until = time(NULL) + atoi(argv[3]);
	for (unsigned i = 0; i < LOOKERS + 2; i++) {
		if (fork())
			continue;
		if (i < LOOKERS && chdir(argv[2]))
			_exit(1);
		if (i < LOOKERS)
			look(i);
		else if (i == LOOKERS)
			replace_files();
		else
			replace_dirs();
		exit(0);
	}
	while (wait(&status) > 0)
		bad |= status;
	return bad ? 1 : 0;
}
