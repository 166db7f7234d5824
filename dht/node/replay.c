/*
 * Was a transaction executed? Asked when one that one log could hold has been sent, and its shards
 * have come apart since: it can not be executed any more, but a copy of it may have been. Its
 * lowest shard knows, as there lies its reply.
 *
 *   stored         the reply
 *   failed before  the same error
 *   neither        from now on the number is refused for ever, here, and thereby whole copies of it
 *                  everywhere; REFUSED, once that is in the log
 */
#include "dht/node/impl.h"

#include "dht/base/mem.h"

static void replay_run(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);
	struct sess *home;
	const uint64_t number = htole64(x->m.number);
	struct wire_txn refuse = x->m;
	const struct decline *no;

	if (!exec_ready(x))
		return;
	home = x->parts[0].sess;
	if (sess_stored(home, x->m.number)) {
		txn_replay(x);
		return;
	}
	no = sess_declined(home, x->m.number);
	if (no) {
		exec_refuse(x, no->status, no->failed);
		return;
	}
	refuse.abandoned = &number;
	refuse.nabandoned = 1;
	if (sess_learn(r->n, x->parts[0].shard->number, &refuse))
		exec_refuse(x, WIRE_REFUSED, 0);
	else
		exec_refuse(x, WIRE_BAD_REQUEST, 0);
}

static const struct req_ops replay_ops = {.run = replay_run, .release = exec_release};

void replay_arrive(struct conn *c, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, uint16_t home)
{
	struct node *n = c->n;
	struct req *running = req_find(n, REQ_TXN, m->session, m->number, home);
	struct txn_view nothing = *v;
	struct exec *x;

	if (running) {
		exec_attach(running, c, f, m);
		return;
	}
	nothing.nobjects = 0; /* but its lowest shard */
	x = exec_new(n, c, f, m, &nothing, &replay_ops, NULL);
	exec_add(x, node_shard(n, home));
	replay_run(&x->r);
}
