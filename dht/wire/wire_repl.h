/*
 * wire_repl: what a shard's primary and its copies tell each other.
 */
#ifndef ORBIT_WIRE_WIRE_REPL_H
#define ORBIT_WIRE_WIRE_REPL_H

#include "dht/wire/wire.h"

#define WIRE_ACKS_MAX 65536   /* in one ACK */
#define WIRE_RECOVER_MAX 1024 /* shards in one RECOVER */

/* BEAT: a primary's node asks for a lease; the answer is a BEAT as well. */
struct wire_beat {
	uint64_t epoch;     /* of the sender's ring map */
	uint64_t lease;     /* asked for: ns from sending; given: the same, or 0 for none */
	uint64_t available; /* in the answer: bytes that effects may still take on its disk */
};
void wire_put_beat(struct buf *b, const struct wire_beat *m);
int wire_get_beat(struct cur c, struct wire_beat *m);

/* APPEND: one effect of a shard; no answer of its own, but for ACK. Without meta: nothing is to be
 * applied, but ACK is wanted once everything up to seq is there. */
struct wire_append {
	uint64_t epoch;
	uint64_t shard_term; /* that the shard has in the sender's map */
	uint16_t shard;
	uint64_t term, seq; /* of the effect */
	const void *meta;   /* beginning with its section; then the bulk data up to the end */
	size_t meta_len;
	const void *data;
	size_t data_len;
};
/* Everything before meta: append meta and data right after. */
void wire_put_append_head(struct buf *b, const struct wire_append *m);
int wire_get_append(struct cur c, struct wire_append *m);
/* Another term of the shard, in a body that has been written. */
void wire_set_append_term(void *body, uint64_t epoch, uint64_t shard_term);

/* ACK: for many effects at once. */
struct wire_ack_one {
	uint16_t shard;
	uint16_t status;     /* OK: everything up to seq is in the log; else why seq is not */
	uint64_t shard_term; /* of the APPEND */
	uint64_t seq;
};
struct wire_ack {
	uint64_t epoch;
	uint32_t n;
	const void *acks; /* read with wire_ack_at() */
};
void wire_put_ack_head(struct buf *b, uint64_t epoch, uint32_t n);
void wire_put_ack_one(struct buf *b, const struct wire_ack_one *one);
int wire_get_ack(struct cur c, struct wire_ack *m);
struct wire_ack_one wire_ack_at(const struct wire_ack *m, unsigned i);

/* RECOVER: the primary of a new term asks for histories. The answer is a REPLY; its results, for
 * each shard in the same order: u16 status, and if that is OK the history (store/history.h). */
struct wire_recover_one {
	uint16_t shard;
	uint64_t shard_term;
};
struct wire_recover {
	uint64_t epoch;
	uint32_t n;
	const void *shards; /* read with wire_recover_at() */
};
void wire_put_recover_head(struct buf *b, uint64_t epoch, uint32_t n);
void wire_put_recover_one(struct buf *b, const struct wire_recover_one *one);
int wire_get_recover(struct cur c, struct wire_recover *m);
struct wire_recover_one wire_recover_at(const struct wire_recover *m, unsigned i);

/* MAKE_DURABLE: u64 epoch. All that came before it on this link is to be on disk; then REPLY. */
void wire_put_make_durable(struct buf *b, uint64_t epoch);
int wire_get_make_durable(struct cur c, uint64_t *epoch);

#endif
