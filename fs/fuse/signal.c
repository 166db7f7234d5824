/*
 * Does a pending signal end the thread that waits for us? The kernel tells us that there is a
 * signal, not which.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/fuse/session.h"

static uint64_t bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

/* The mask behind @name at the beginning of a line; 0 when there is none. */
static uint64_t mask_of(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtoull(p + strlen(name), NULL, 16) : 0;
}

bool fuse_signal_fatal_in(const char *status)
{
	uint64_t pending = mask_of(status, "\nSigPnd:") | mask_of(status, "\nShdPnd:");
	uint64_t blocked = mask_of(status, "\nSigBlk:"), ignored = mask_of(status, "\nSigIgn:");
	uint64_t caught = mask_of(status, "\nSigCgt:");
	/* whose default is to be ignored, or to stop the process */
	uint64_t harmless = bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT) |
			    bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

	if (pending & bit(SIGKILL))
		return true;
	return (pending & ~(blocked | ignored | caught | harmless)) != 0;
}

bool fuse_signal_fatal(uint32_t tid)
{
	char path[64], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tid != 0; /* 0: of another namespace, of which we can't know */
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return true;
	text[n] = '\0';
	return fuse_signal_fatal_in(text);
}
