/*
 * probe: questions to one node, by its address, without a session: who are you, what map have you,
 * how are you; and what is asked of the keeper. One question at a time; each call runs the loop
 * until the answer is there.
 */
#ifndef TOOLS_COMMON_PROBE_H
#define TOOLS_COMMON_PROBE_H

#include "dht/net/loop.h"
#include "dht/ring/ring.h"
#include "dht/wire/wire_keep.h"

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

/* Asks the keeper, through this node: 0 and the first epoch in which the change is, or -errno and
 * what the keeper says of it (may be ""). */
int probe_keeper(
	struct probe *p, const struct wire_ask_m *m, uint64_t *epoch, char *text, size_t text_len);

/* Sends @f (its ID is set here) and waits for what answers it: frame_unref() that. 0 or -errno. */
int probe_ask(struct probe *p, struct frame *f, struct frame **answer);

/* Its STATS: fn for each pair. 0 or -errno. */
int probe_stats(struct probe *p,
	void (*fn)(void *arg, const char *name, size_t nlen, const char *text, size_t tlen),
	void *arg);

#endif
