/*
 * teach: what teach.c (lessons: who learns here, and how far) and teach_read.c (what they are
 * given) share. Private to this room.
 */
#ifndef ORBIT_NODE_TEACH_H
#define ORBIT_NODE_TEACH_H

#include "dht/node/learn.h"

struct lesson {
	struct node *n;
	struct shard *s;
	uint64_t term; /* of the shard, in the map */
	struct orbit_id node;
	uint64_t token;
	uint64_t until;
	struct tail_pin *pin;
	bool joined;
	bool streaming; /* repl.c will tell how the stream fares */
	bool ended;     /* goes when it has */
	bool level;
	int rc;             /* of the stream */
	uint64_t last;      /* that is not sent over it */
	uint64_t last_term; /* its */
	uint64_t level_seq; /* our last when the learner was level */
	LIST_ENTRY(lesson) entry;
};

/* NULL: it is over, or never was. */
struct lesson *teach_lesson(struct node *n, uint64_t token, uint16_t shard);

/* NULL: there is no such shard, or no map. */
struct shard *teach_shard(struct node *n, uint16_t shard);
/* A copy that is a member: its history is a prefix of the truth. */
bool teach_member(const struct node *n, const struct shard *s);

/* Answers what is not a request yet. */
void teach_refuse(struct conn *c, struct frame *f, uint16_t status);
/* Answers at once, waiting for no commits, and ends the request. Takes @f. */
void teach_answer(struct req *r, struct frame *f);
void teach_status(struct req *r, uint16_t status, uint16_t failed);
/* For requests that wait for nothing that runs them again. */
void teach_none_run(struct req *r);

/* ---- teach_read.c ---- */

void teach_tail(struct conn *c, struct frame *f);
void teach_walk(struct conn *c, struct frame *f);
void teach_bytes(struct conn *c, struct frame *f);

#endif
