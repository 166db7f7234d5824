/*
 * peer: the supervisor of one connection. It connects, greets, notices a dead link by pings, and
 * connects again, for ever.
 */
#ifndef ORBIT_CLIENT_PEER_H
#define ORBIT_CLIENT_PEER_H

#include "dht/base/id.h"
#include "dht/client/request.h"
#include "dht/ring/ring.h"

#define PEER_ERROR_MAX 384

enum peer_state {
	PEER_IDLE,       /* nobody wants it */
	PEER_DOWN,       /* waits to connect again */
	PEER_CONNECTING, /* an attempt is on its way */
	PEER_HELLO,      /* there is a link, and requests go out; its HELLO has not come yet */
	PEER_UP,
};

struct peer {
	struct orbit_client *c;
	TAILQ_ENTRY(peer) at;
	enum peer_state state;
	struct orbit_id node; /* if known */
	bool known;
	bool seed;   /* was named by the user: never forgotten */
	bool was_up; /* has been up before */
	unsigned naddrs, turn;
	char addr[RING_ADDRS_MAX][ENV_ADDR_MAX];
	struct link *link;
	struct env_timer timer; /* DOWN: connect; CONNECTING: patience; else: watches for silence */
	uint64_t due;           /* what it is set to */
	bool watching;          /* HELLO, UP: it is set */
	uint64_t delay;         /* the last back-off; 0: the next attempt is made at once */
	uint64_t tried;         /* when the last attempt began */
	uint64_t since;         /* when the link came up */
	uint64_t quiet;         /* nothing was heard since */
	uint64_t pinged;        /* when the ping without answer was sent; 0: none */
	uint64_t bytes;         /* given to this link */
	uint64_t left;          /* bytes of these that had left when last looked */
	uint64_t map_asked;     /* when it was asked for the map, if it has not answered; 0 */
	int rc;                 /* why it is not up */
	bool fatal;             /* rc will not go away by trying again */
	char error[PEER_ERROR_MAX]; /* the same for people, "" when it is up */
	struct request_list pending;
};

/* A peer with one address, or with those of a node (then its ID is known); it connects once it is
 * wanted. */
struct peer *peer_new(struct orbit_client *c);

/* Nothing may be pending. */
void peer_free(struct peer *p);

void peer_set_addr(struct peer *p, const char *addr);
void peer_set_node(struct peer *p, const struct ring_node *n);

/* Has a link to send on. */
static inline bool peer_usable(const struct peer *p)
{
	return p->state == PEER_HELLO || p->state == PEER_UP;
}

/* Something waits for this peer: connects, sooner than it would have if it was backing off. */
void peer_want(struct peer *p);

/* Connects at once if it is not connected. 0; -EINVAL when the address is none. */
int peer_connect_now(struct peer *p);

/* Nobody needs it any more: closes the link, if nothing is pending. */
void peer_rest(struct peer *p);

/* Sends on a usable link; takes the reference. 0 or a negative errno (then nothing was sent). */
int peer_send(struct peer *p, struct frame *f);

/* A request was sent: silence counts from now, if it does not count already. */
void peer_watch(struct peer *p);

/* Asks for a sign of life now. */
void peer_ping(struct peer *p);

/* Bytes that left the process on this link. */
uint64_t peer_left(const struct peer *p);

/* The peer broke the protocol, or answers for somebody else: the link is closed, and a new one made
 * after a pause. */
void peer_reject(struct peer *p, int rc, const char *why);

/* The peer gave a good answer: the next loss is followed by an attempt at once. */
static inline void peer_good(struct peer *p)
{
	p->delay = 0;
}

/* Its address for people. */
const char *peer_name(const struct peer *p);

#endif
