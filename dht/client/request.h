/*
 * request: one message that waits for its answer, on its way to whoever serves what it is about.
 *
 * A request has a home (the peer that the ring map names for it), stands in that peer's list of
 * what is pending, and is sent whenever there is a link. While the home can not be reached it may
 * be carried by another node (via), which passes it on. It is embedded in what it belongs to; the
 * frame is kept until the answer is there, and sent again as it is - but under a newer map with a
 * new head, as nodes refuse what was sent under an older one than the shard has its term since.
 *
 * Nothing here calls back, except request_answer() and the ticker (client.c).
 */
#ifndef ORBIT_CLIENT_REQUEST_H
#define ORBIT_CLIENT_REQUEST_H

#include "dht/client/table.h"
#include "dht/net/env.h"
#include "dht/wire/wire.h"

#ifndef TAILQ_FOREACH_SAFE /* glibc's <sys/queue.h> has none */
#define TAILQ_FOREACH_SAFE(var, head, field, next)                                                 \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, field), 1);             \
		(var) = (next))
#endif

struct orbit_client;
struct peer;
struct request;

enum request_pass {
	PASS_NOT,   /* by nobody */
	PASS_RAW,   /* whoever gets it knows where it belongs */
	PASS_CARRY, /* it is told */
};

struct request_ops {
	uint16_t reply; /* type of the frame that answers it; 0: answer() comes once it was sent */
	enum request_pass pass; /* how another node may pass it on */
	bool headed;            /* its body begins with a wire_txn head */
	/* The answer, of the right type; @f is borrowed. Drops the request, or leaves it waiting.
	 */
	void (*answer)(struct request *r, struct peer *p, struct frame *f);
	/* No try is left: has to drop it. */
	void (*expire)(struct request *r);
	/* Its back-off is over; NULL: it is sent. */
	void (*retry)(struct request *r);
	/* A deadline has passed, it is about to be sent again; may be NULL. */
	void (*stalled)(struct request *r);
	/* The ring map changed; true: was dealt with. May be NULL. */
	bool (*moved)(struct request *r);
};

enum request_to { TO_SHARD, TO_KEEPER, TO_PEER };

struct request {
	struct entry e;
	struct orbit_client *c;
	const struct request_ops *ops;
	struct frame *frame; /* NULL: nothing to send yet */
	struct frame *grant; /* came for this sending, before its answer; or NULL */
	enum request_to to;
	uint16_t shard;      /* TO_SHARD */
	uint64_t epoch;      /* of the map that its frame was made by */
	unsigned wrong;      /* answers in a row that sent it somewhere else */
	struct peer *home;   /* NULL: the map has nobody for it */
	struct peer *via;    /* who carries it meanwhile, or NULL */
	struct peer *former; /* who had it before, on a link that is still there, or NULL */
	struct peer *vain;   /* who could not do anything for it last, or NULL */
	bool sent;           /* on a link that is still there */
	bool queued;         /* in home's list, or in the client's list of those without one */
	unsigned unanswered; /* sendings that may still be executed */
	uint64_t mark;       /* bytes given to the link up to the end of this frame */
	TAILQ_ENTRY(request) at;
};

TAILQ_HEAD(request_list, request);

/* Enters @r (zeroed but for what it is embedded in) into the table, without a frame or a home.
 * @tries: resends, or ENTRY_FOREVER. */
void request_begin(struct request *r, struct orbit_client *c, const struct request_ops *ops,
	uint64_t period, unsigned tries);

/* Gives @r its frame (the reference is taken; its id must be r->e.id), looks up where it goes and
 * sends it if there is a link. TO_PEER: r->home must be set. */
void request_go(struct request *r, enum request_to to, uint16_t shard, struct frame *f);

/* Takes @r out of everything and drops its frame; harmless when it is out already. */
void request_drop(struct request *r);

/* Out of its peer's list, but not out of the table; the frame stays. */
void request_park(struct request *r);

/* Sends @r, if there is a link and it is not backing off; costs no try. */
void request_try(struct request *r);

/* A deadline has passed: ping, look the route up, send again, or let another node carry it. */
void request_stalled(struct request *r);

/* Not before @delay ns from now. */
void request_backoff(struct request *r, uint64_t delay, const char *reason);

/* The answer was WIRE_WRONG_NODE: with a newer map than it was sent by it goes again at once, else
 * when there is one, or after a while. */
void request_wrong_node(struct request *r, struct peer *p);

/* The answer was WIRE_UNREACHABLE: after a while it goes again, if it can by another way. */
void request_unreachable(struct request *r);

/* The answer was WIRE_NO_KEEPER: another node is asked, soon. */
void request_no_keeper(struct request *r, struct peer *p);

/* The map changed: finds its new home; sends it when that is another one, or when the old one had
 * refused it. What is on a link that is there is left alone: if it came too late for the map of the
 * node, that says so. */
void request_reroute(struct request *r);

/* Takes what waits for peers that stay away to nodes that may pass it on. */
void request_around(struct orbit_client *c);

/* The link of @p is there: everything pending for it is sent. Returns how many. */
unsigned request_flush(struct peer *p);

/* The link of @p is gone: what it had or carried waits, or goes another way. */
void request_link_lost(struct peer *p);

/* An answer came from @p. Late, double and foreign ones are ignored. */
void request_answer(struct orbit_client *c, struct peer *p, struct frame *f);

/* A back-off of about 2^@n * @base ns, at most @cap, jittered. */
uint64_t request_jitter(struct orbit_client *c, uint64_t base, unsigned n, uint64_t cap);

#endif
