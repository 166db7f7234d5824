/*
 * wire: the messages between clients and nodes, and the status codes they carry.
 *
 * Every frame's type is an enum wire_type; its body is laid out by the pair of wire_put_x() and
 * wire_get_x() here and specified in docs/PROTOCOL.md. wire_get_x() checks everything (bounds,
 * counts, limits) and leaves pointers into the frame: keep the frame as long as the struct. They
 * return 0 or -EBADMSG.
 *
 * A link begins with HELLO from both sides; nothing else is looked at before. Requests carry an id
 * of the asker's choice in the frame; the answer is of type WIRE_REPLY, WIRE_MAP, ... with the same
 * id and FRAME_REPLY set.
 */
#ifndef ORBIT_WIRE_WIRE_H
#define ORBIT_WIRE_WIRE_H

#include <stdbool.h>

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/net/frame.h"

#define WIRE_VERSION 1     /* what we speak */
#define WIRE_VERSION_MIN 1 /* the oldest we understand */

#define WIRE_ABANDONED_MAX 1024  /* abandoned numbers in one request */
#define WIRE_PARTICIPANTS_MAX 16 /* shards of one cross-shard transaction */
#define WIRE_STATS_MAX 512       /* pairs in a status answer */

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_ERROR = 2, /* why the link is about to be closed; no answer */
	WIRE_PING = 3,  /* answered by PONG at once, by whoever reads */
	WIRE_PONG = 4,
	WIRE_MAP_GET = 5, /* -> MAP */
	WIRE_MAP = 6,
	WIRE_SESSION_OPEN = 7, /* to the keeper -> SESSION; also renews and closes */
	WIRE_SESSION = 8,
	WIRE_TXN = 10,     /* execute -> REPLY */
	WIRE_PREPARE = 11, /* vote on one shard's part -> REPLY */
	WIRE_DECIDE = 12,  /* commit or abort what was prepared -> REPLY */
	WIRE_RESOLVE = 13, /* participant to participant: what became of it? -> REPLY */
	WIRE_FORGET = 14,  /* the outcome is durable everywhere; no answer */
	WIRE_REPLY = 15,
	WIRE_SYNC = 16,   /* make durable what was acknowledged -> REPLY */
	WIRE_LIST = 17,   /* walk a class of keys of a shard -> REPLY */
	WIRE_STATUS = 18, /* -> STATS */
	WIRE_STATS = 19,
	WIRE_CARRY = 21, /* a request for another node -> what that answers */
	/* the keeper, wire_keep.h */
	WIRE_ASK = 30,   /* to the keeper's leader, passed on by any node -> REPLY */
	WIRE_RAFT = 31,  /* between voters; no answer */
	WIRE_EPOCH = 32, /* to whoever is connected: there is a newer map (u64 epoch); no answer */
	/* replication, wire_repl.h */
	WIRE_BEAT = 40,   /* for a lease -> BEAT */
	WIRE_APPEND = 41, /* an effect of a shard -> ACK, for many at once */
	WIRE_ACK = 42,
	WIRE_RECOVER = 43,      /* what is your history? -> REPLY */
	WIRE_LEARN = 44,        /* a learner begins -> REPLY */
	WIRE_TAIL = 45,         /* effects from the log -> REPLY */
	WIRE_WALK = 46,         /* what a shard has, in order -> REPLY */
	WIRE_BYTES = 47,        /* bytes of a stream as this copy has them -> REPLY */
	WIRE_JOIN = 48,         /* a learner is level: stream to me -> REPLY */
	WIRE_MAKE_DURABLE = 49, /* sync what was appended -> REPLY */
	/* notifications, wire_watch.h */
	WIRE_WATCH = 60,  /* -> REPLY, then NOTICE for each change until WATCH with nothing */
	WIRE_NOTICE = 61, /* no answer */
	/* leases of sessions, wire_lease.h */
	WIRE_GRANT = 62,
	WIRE_RECALL = 63,
	WIRE_RETURN = 64,
	WIRE_CLAIM = 65,
	WIRE_HOLDING = 66, /* -> REPLY */
};

/* Fixed for ever; the name says the errno that a caller sees. */
enum wire_status {
	WIRE_OK = 0,
	WIRE_COMPARE = 1,      /* a compare failed; which is in the reply */
	WIRE_WRONG_NODE = 2,   /* not served here, even after forwarding: fetch the map */
	WIRE_RETRY = 3,        /* a conflict with an older transaction: back off and try again */
	WIRE_REFUSED = 4,      /* number below the floor or abandoned: was never and will never be
				  executed from now on */
	WIRE_BAD_REQUEST = 5,  /* EINVAL: malformed, or asks for what cannot be */
	WIRE_NO_SPACE = 6,     /* ENOSPC */
	WIRE_IO = 7,           /* EIO: damage on the node's disk */
	WIRE_READ_ONLY = 8,    /* EROFS: the node's log failed */
	WIRE_NO_SESSION = 9,   /* ESTALE: the session is not known (any more) */
	WIRE_LOST = 10,        /* EIO: SYNC: acknowledged effects are gone (power loss) */
	WIRE_TOO_BIG = 11,     /* EMSGSIZE: the answer would not fit */
	WIRE_WRONG_FS = 12,    /* EMEDIUMTYPE: another filesystem's node */
	WIRE_VERSION_BAD = 13, /* EPROTONOSUPPORT */
	WIRE_OVERFLOW = 14,    /* EOVERFLOW: a slot or a stream offset would overflow */
	WIRE_UNKNOWN = 15,     /* RESOLVE: aborted, or never voted (now recorded as aborted) */
	WIRE_COMMITTED = 16,   /* RESOLVE */
	WIRE_PREPARED = 17,    /* RESOLVE: voted yes, no outcome known */
	WIRE_UNREACHABLE = 18, /* the node this was forwarded to cannot be reached now */
	WIRE_NO_KEEPER = 19,   /* EAGAIN: no leader of the keeper is known now: ask again */
	WIRE_STALE = 20,       /* ESTALE: asks for a change of what is no longer so (term, epoch) */
	WIRE_BUSY = 21,        /* EBUSY: refused as long as it is like this; the text says what */
};

/* 0 for WIRE_OK, a negative errno otherwise; -EPROTO for a code that is not known. */
int wire_errno(uint16_t status);
/* "OK", "COMPARE", ...; "?" for a code that is not known. */
const char *wire_status_name(uint16_t status);

enum wire_role { WIRE_ROLE_CLIENT = 1, WIRE_ROLE_NODE = 2, WIRE_ROLE_ADMIN = 3 };

struct wire_hello {
	uint16_t version, version_min;
	uint64_t features; /* bits both sides must understand; none yet */
	uint8_t role;
	uint8_t fsid[16];     /* zeros: any */
	struct orbit_id node; /* of a node; zeros else */
	uint64_t incarnation; /* of a node: which start */
	uint64_t epoch;       /* of the ring map it has; 0 = none */
	uint32_t session;     /* of a client; 0 = none yet */
};
void wire_put_hello(struct buf *b, const struct wire_hello *m);
int wire_get_hello(struct cur c, struct wire_hello *m);

struct wire_error {
	uint16_t status;
	const char *text; /* not NUL-terminated */
	size_t text_len;  /* up to 1024 */
};
void wire_put_error(struct buf *b, const struct wire_error *m);
int wire_get_error(struct cur c, struct wire_error *m);

/* MAP_GET: u64 epoch that the asker has; 0: none, or it wants it whole. The answer brings it to
 * that of the sender, in one of these forms. */
enum wire_map_form {
	WIRE_MAP_NONE = 0,  /* the asker's is as new */
	WIRE_MAP_WHOLE = 1, /* the map as ring_encode() writes it */
	WIRE_MAP_DIFFS = 2, /* blobs as ring_diff() writes them, each from one epoch to the next,
			       the first from the asker's */
};
struct wire_map {
	uint64_t epoch;  /* of the sender's map; 0: it has none */
	uint8_t form;    /* enum wire_map_form */
	const void *map; /* what follows */
	size_t map_len;
};
void wire_put_map_get(struct buf *b, uint64_t epoch);
int wire_get_map_get(struct cur c, uint64_t *epoch);
void wire_put_map(struct buf *b, const struct wire_map *m);
int wire_get_map(struct cur c, struct wire_map *m);

enum wire_session_do {
	WIRE_SESSION_NEW = 1,
	WIRE_SESSION_RENEW = 2,
	WIRE_SESSION_END = 3,
	WIRE_SESSION_CHECK = 4, /* OK: alive; NO_SESSION: ended, or never was */
};

/* NEW is idempotent by @nonce: asked again it gives the same session. */
struct wire_session_open {
	uint8_t what; /* enum wire_session_do */
	bool passed;  /* came through another node: do not pass it on again */
	uint8_t nonce[16];
	uint32_t session; /* RENEW, END, CHECK */
};
void wire_put_session_open(struct buf *b, const struct wire_session_open *m);
int wire_get_session_open(struct cur c, struct wire_session_open *m);

struct wire_session {
	uint16_t status;
	uint32_t session;    /* 1 .. 2^24-1 */
	uint32_t timeout_ms; /* silent for longer, it ends */
	uint64_t epoch;      /* of the keeper's map when it said so; 0: none */
};
void wire_put_session(struct buf *b, const struct wire_session *m);
int wire_get_session(struct cur c, struct wire_session *m);

#define WIRE_TXN_FORWARDED 0x0001 /* came through another node: do not forward again */
#define WIRE_TXN_READS 0x0002     /* has no writes: not stored, may be executed again */
/* TXN, to the primary of its lowest shard: the stored reply, if it was executed; else it never will
 * be: REFUSED. */
#define WIRE_TXN_REPLAY 0x0004
#define WIRE_TXN_LEASE_FOLLOWED 0x0008 /* shared leases of what it follows are wished for */

/* TXN and PREPARE. The transaction proper (txn/txn.h) is the rest of the body. */
struct wire_txn {
	uint16_t flags;
	uint32_t session;
	uint64_t number; /* of the session; one per attempt that may take effect */
	uint64_t floor;  /* all numbers below are done with: replies may go, refuse them */
	uint64_t epoch;  /* of the sender's ring map */
	uint64_t age;    /* wall-clock ns when it was first tried: the older goes first */
	uint16_t nabandoned;
	const void *abandoned;  /* u64 little-endian each: refuse these as well */
	uint16_t nparticipants; /* PREPARE: the shards that take part, this one included; else 0 */
	const void *participants; /* u16 little-endian each */
	const void *body;
	size_t body_len;
};
/* Everything before the body: append the body right after it. m->body is not looked at. */
void wire_put_txn_head(struct buf *b, const struct wire_txn *m);
int wire_get_txn(struct cur c, struct wire_txn *m);
uint64_t wire_abandoned(const struct wire_txn *m, unsigned i);
uint16_t wire_participant(const struct wire_txn *m, unsigned i);

/* DECIDE, RESOLVE, FORGET */
struct wire_decide {
	uint32_t session;
	uint64_t number;
	uint64_t epoch;
	uint16_t shard; /* which participant is meant */
	uint8_t commit; /* DECIDE: 1 commit, 0 abort */
	uint64_t floor; /* DECIDE, from the client: as in wire_txn; 0 = says nothing */
};
void wire_put_decide(struct buf *b, const struct wire_decide *m);
int wire_get_decide(struct cur c, struct wire_decide *m);

/* One effect that a reply acknowledges. */
struct wire_effect {
	uint16_t shard;
	uint64_t term, seq;
};

struct wire_reply {
	uint16_t status;
	uint16_t failed; /* COMPARE: index of the op that failed */
	uint64_t epoch;  /* of the node's ring map */
	uint16_t neffects;
	const void *effects; /* read with wire_effect_at() */
	const void *results; /* txn results (txn/txn.h), or what the request asks for */
	size_t results_len;
};
/* Everything before the results: append them right after. Effects are an array here. */
void wire_put_reply_head(struct buf *b, uint16_t status, uint16_t failed, uint64_t epoch,
	const struct wire_effect *effects, unsigned neffects);
int wire_get_reply(struct cur c, struct wire_reply *m);
struct wire_effect wire_effect_at(const struct wire_reply *m, unsigned i);

/* SYNC: up to what, per shard, the session was acknowledged. Answer: REPLY, OK or LOST. */
struct wire_sync {
	uint64_t epoch;
	uint16_t neffects; /* up to 65535 */
	const void *effects;
};
void wire_put_sync(
	struct buf *b, uint64_t epoch, const struct wire_effect *effects, unsigned neffects);
int wire_get_sync(struct cur c, struct wire_sync *m);
struct wire_effect wire_sync_at(const struct wire_sync *m, unsigned i);

/* LIST: keys of one class (store/key.h) of a shard, after @after, at most @max. The answer's
 * results: u8 complete, u32 n, then n times blob key (without class and shard), blob value. */
struct wire_list {
	uint64_t epoch;
	uint8_t class;
	uint16_t shard;
	uint32_t max;   /* 1 .. 65536; the answer may give fewer, up to 1 MiB */
	uint8_t values; /* 1: with the values */
	const void *after;
	size_t after_len;
};
void wire_put_list(struct buf *b, const struct wire_list *m);
int wire_get_list(struct cur c, struct wire_list *m);

/* CARRY: what the sender can not bring to @node itself; one hop. Of the types for which
 * wire_carried() holds. The answer is the other node's, of its type; or a REPLY that says
 * UNREACHABLE, or WRONG_NODE: that node is not known here. */
struct wire_carry {
	struct orbit_id node;
	uint16_t type;
	const void *body;
	size_t body_len;
};
/* Everything before the body. */
void wire_put_carry_head(struct buf *b, const struct orbit_id *node, uint16_t type);
int wire_get_carry(struct cur c, struct wire_carry *m);
bool wire_carried(uint16_t type);

/* STATS: pairs of blob name, blob text up to the end of the body. Names are dotted: "node.id",
 * "store.live". Each call appends one pair. */
void wire_put_stat(struct buf *b, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Calls fn for each pair (not NUL-terminated); 0 or -EBADMSG. */
int wire_get_stats(struct cur c,
	void (*fn)(void *arg, const char *name, size_t nlen, const char *text, size_t tlen),
	void *arg);

#endif
