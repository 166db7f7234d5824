/*
 * session: the client's identity in the cluster, and the numbers of its transactions.
 */
#ifndef ORBIT_CLIENT_SESSION_H
#define ORBIT_CLIENT_SESSION_H

#include "dht/client/request.h"

/* The number of one transaction; embedded in it. */
struct number {
	uint64_t n;
	bool listed; /* is one of the session's unfinished ones */
	TAILQ_ENTRY(number) at;
};

enum session_state { SESSION_NONE, SESSION_OPENING, SESSION_OPEN, SESSION_ENDING, SESSION_ENDED };

struct session {
	enum session_state state;
	uint32_t id; /* 0: none */
	uint64_t next;
	TAILQ_HEAD(, number) live; /* unfinished, in order */
	unsigned nabandoned;
	uint64_t abandoned[WIRE_ABANDONED_MAX]; /* in order, above the floor; little-endian */
	uint64_t *overflow; /* abandoned too, but the list is full: no writes meanwhile */
	size_t noverflow, overflow_cap;
	uint64_t over; /* it has ended: in the map of that epoch, which is not here yet; 0 */
	uint8_t nonce[16];
	uint64_t timeout; /* ns */
	uint64_t asked;   /* when req began */
	uint64_t valid;   /* nobody else gets what the session holds before then */
	uint64_t offered; /* the same, once we have the map of that epoch; 0: nothing */
	uint64_t offered_epoch;
	unsigned failures;
	uint8_t doing; /* enum wire_session_do, of req */
	struct request req;
	struct env_timer timer;
	char error[256];
};

void session_init(struct orbit_client *c);
void session_fini(struct orbit_client *c);

/* There is another map: is the session fenced in it? Else what was renewed with it is valid. */
void session_check(struct orbit_client *c);

/* There is a map: opens a session if there is none. */
void session_open(struct orbit_client *c);

/* A node says that it does not know the session: asks the keeper. */
void session_suspect(struct orbit_client *c);

/* Ends the session; client_close_step() goes on after the answer. false: could not be sent. */
bool session_end(struct orbit_client *c);

/* Gives @n the next number. Numbers of reads are not listed: they hold nothing back. */
void number_take(struct session *s, struct number *n, bool listed);

/* The transaction is answered. */
void number_finish(struct session *s, struct number *n);

/* Nobody waits for it any more, and it must not execute from now on. */
void number_abandon(struct session *s, struct number *n);

/* All numbers below are done with. */
uint64_t number_floor(const struct session *s);

/* No new writes: there are more abandoned numbers than a request can name. */
static inline bool session_crowded(const struct session *s)
{
	return s->noverflow > 0;
}

/* Fills in session, floor and abandoned numbers. The array is borrowed. */
void session_head(const struct session *s, struct wire_txn *m);

#endif
