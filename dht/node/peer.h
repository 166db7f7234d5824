/*
 * peer: a link to another node, as the files that use it for more than calls see it (peer.c,
 * repl.c, durable.c, lease.c, takeover.c). Private to this room.
 */
#ifndef ORBIT_NODE_PEER_H
#define ORBIT_NODE_PEER_H

#include "dht/node/impl.h"

enum peer_state { PEER_IDLE, PEER_CONNECTING, PEER_GREETING, PEER_UP, PEER_BACKOFF };
TAILQ_HEAD(call_list, call);

struct copy;
struct out;
struct durable_wait;
TAILQ_HEAD(copy_list, copy);
TAILQ_HEAD(out_list, out);
TAILQ_HEAD(durable_wait_list, durable_wait);

struct peer {
	struct node *n;
	struct orbit_id id;
	enum peer_state state;
	struct link *link;
	unsigned tries, next_addr;
	unsigned refused;     /* addresses in a row that do not accept connections */
	uint64_t incarnation; /* that we talked to last; 0: never */
	struct orbit_id as;   /* who we said we are */
	bool stranger;        /* it is another node, which is asked for its map */
	uint64_t next_id;
	struct call_list line;   /* to be sent */
	struct call_list sent;   /* oldest first */
	struct call *by_id;      /* those that are sent */
	struct env_timer timer;  /* back-off, or waiting for the link or for HELLO */
	struct env_timer oldest; /* the first of the sent is overdue */
	TAILQ_ENTRY(peer) entry;

	/* repl.c: what it has copies of, as we are their primary */
	struct copy_list copies;
	struct out_list unacked; /* effects that were sent, in order */
	size_t unacked_bytes;
	bool crowded; /* too many of them: writes wait */

	/* lease.c */
	unsigned led;         /* copies there whose word counts */
	uint64_t led_since;   /* since when that is more than none */
	uint64_t lease_until; /* it takes over from us not before then */
	uint64_t beat_at;     /* the last BEAT was sent */
	uint64_t heard;       /* it answered one, or led_since */
	int64_t room;         /* bytes that its disk takes, less what was sent since it said so */
	bool room_known;
	uint64_t given_until;   /* we take over from it not before then, */
	uint64_t given_to;      /* from that incarnation of it */
	uint64_t said_epoch;    /* the newest map that it said it has, */
	uint64_t said_from;     /* its incarnation then */
	uint64_t broken_at;     /* when its link was last broken for silence */
	struct reproach *asked; /* the keeper is being told that it does not answer */
	uint64_t asked_at;

	/* durable.c */
	struct durable_wait_list syncing, to_sync;
	struct call sync_call;
	uint64_t sync_epoch; /* of our map then */
	bool sync_called;
	uint64_t mark;
};

struct peer *peer_of(struct node *n, uint16_t node);
/* Sends what wants no answer, if there is a link; else makes one, and peer_up tells. Takes the
 * reference. */
void peer_stream(struct peer *p, struct frame *f);
/* Its link is broken and made anew. */
void peer_break(struct peer *p, int rc);
/* Links over which we said another name than we have now are made anew. */
void peers_renamed(struct node *n);

/* What peer.c tells: a link stands; it is gone; a message that answers no call came. */
void repl_peer_up(struct peer *p);
void repl_peer_down(struct peer *p, int rc);
void repl_peer_message(struct peer *p, struct frame *f);
void repl_peer_free(struct peer *p);

#endif
