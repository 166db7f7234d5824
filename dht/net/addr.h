/*
 * addr: addresses as people write them: "host:port", "[v6]:port", "unix:/path", "local:name".
 * Private to net/.
 */
#ifndef ORBIT_NET_ADDR_H
#define ORBIT_NET_ADDR_H

#include <sys/socket.h>

#include "dht/net/env.h"
#include "dht/net/loop_impl.h"

struct addr {
	enum addr_kind kind;
	char host[ENV_ADDR_MAX]; /* ADDR_TCP: a name or a number; else the path or the name */
	char port[6];            /* ADDR_TCP: decimal digits */
	bool numeric;            /* sa is set: nothing to look up */
	struct sockaddr_storage sa;
	socklen_t sa_len;
};

/* 0, or -EINVAL when @text is no address. Looks nothing up. */
int addr_parse(const char *text, struct addr *out);

/* Writes @sa as addr_parse() would read it. */
void addr_text(const struct sockaddr *sa, char out[ENV_ADDR_MAX]);

#endif
