/*
 * daemon: a program that goes to the background once it works, and whose caller learns whether it
 * does.
 */
#ifndef TOOLS_COMMON_DAEMON_H
#define TOOLS_COMMON_DAEMON_H

#include <stddef.h>

/*
 * Forks, before there is any loop or thread. Returns in the child: 0, and *report is where to say
 * how it went. Does not return in the parent: it waits for that word, prints it if it is an error,
 * and exits with the child's code (@failed if it has none). A negative errno when there is no
 * child.
 */
int daemon_fork(const char *name, int failed, int *report);

/* All is well: lets the parent go, and the terminal and folder with it. 0 or -errno. */
int daemon_ready(int report);

/* One line that tells the parent what is wrong. The caller then exits. */
void daemon_fail(int report, const char *why);

/* Writes our process id to @path (NULL: nowhere). 0; -errno and one line in @why. */
int pidfile_write(const char *path, char *why, size_t why_len);

#endif
