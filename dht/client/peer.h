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
	bool other;  /* HELLO: another node answers there; of use for its newer map only */
	unsigned naddrs;
	unsigned good; /* index of the address that worked last */
	unsigned turn; /* how many behind it are tried now */
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
	uint64_t away;          /* since when it can not be reached, though it was tried; 0 */
	unsigned nposts;        /* of watches, that are on */
	unsigned nleases;       /* that it granted: it would recall them on this link */
	struct buf back;        /* leases to be returned, encoded, */
	uint32_t nback;         /* so many */
	bool around;            /* others pass on what is for it */
	uint64_t around_at;     /* when that may be tried, if it is not known */
	uint64_t around_delay;  /* between such tries; 0: none was in vain */
	uint64_t map_asked;     /* when it was asked for the map, if it has not answered; 0 */
	uint64_t map_silent;    /* since when it does not answer that */
	bool map_whole;         /* the next map has to be a whole one */
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

/* May what is for it be given to others that pass it on? Only once it could not be reached for a
 * while: till then the ring is likely to find out that it is gone, and who comes after it. Until
 * one of them was seen to reach it, one request is tried at a time. */
bool peer_around(const struct peer *p, bool keeper);
/* One is given to them. */
void peer_around_try(struct peer *p);
/* They did it, or could not. */
void peer_around_done(struct peer *p, bool done);

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
