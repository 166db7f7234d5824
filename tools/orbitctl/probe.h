/*
 * probe: questions to one node, by its address, without a session: who are you, what map have you,
 * how are you, take this map. One question at a time; each call runs the loop until the answer is
 * there.
 */
#ifndef TOOLS_ORBITCTL_PROBE_H
#define TOOLS_ORBITCTL_PROBE_H

#include "dht/net/loop.h"
#include "dht/ring/ring.h"
#include "dht/wire/wire.h"

struct probe;

/* Connects and exchanges HELLOs, each step of at most @timeout ns. 0; -errno and @why. */
int probe_open(struct probe **out, struct loop *lp, const char *addr, uint64_t timeout, char *why,
	size_t why_len);
void probe_close(struct probe *p); /* NULL is harmless */

/* What the node said of itself. */
const struct wire_hello *probe_hello(const struct probe *p);

/* Round trip of a PING in ns; -errno. */
int64_t probe_ping(struct probe *p);

/* The node's ring map, to be dropped with ring_unref(): 0; -ENOENT it has none; -errno. */
int probe_map(struct probe *p, struct ring_map **out);

/* Hands it a ring map: 0 or -errno. */
int probe_set_map(struct probe *p, const struct ring_map *m);

/* Its STATS: fn for each pair. 0 or -errno. */
int probe_stats(struct probe *p,
	void (*fn)(void *arg, const char *name, size_t nlen, const char *text, size_t tlen),
	void *arg);

#endif
