/*
 * Random faults, from a seed: links that go and come, nodes that die, hang and refuse, answers that
 * are lost, late and double, transactions that are cancelled and time out; shards that move to
 * other nodes, and gain and lose copies. In the end every callback has run exactly once, nothing
 * took effect twice or by halves, and nothing is left.
 *
 * SEED=n runs one seed, SEEDS=n that many.
 */
#include "tests/unit/test_client_env.h"

#define TXNS 60

static struct world w;

struct deed {
	struct result res;
	orbit_handle handle;
	bool writes, cross;
	uint16_t shard[2];
};

static struct deed deed[TXNS];
static uint64_t running; /* the seed */

/* Another map: a node's shards, or some, are served by another one, or have more copies. */
static void change_map(void)
{
	struct ring_map *m = ring_draft(w.map);
	unsigned moved = 0, from = (unsigned)(w_random(&w) % w.nnodes);
	unsigned to = (unsigned)(w_random(&w) % w.nnodes), copies = 1 + w_random(&w) % 2;
	bool all = w_random(&w) % 2;

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *r = &m->shards[s];

		if (all ? r->primary != from : w_random(&w) % 4 != 0)
			continue;
		*r = (struct ring_shard){
			.term = r->term, .primary = (uint16_t)to, .nmembers = (uint8_t)copies};
		r->member[0] = (uint16_t)to;
		r->member[1] = (uint16_t)((to + 1) % w.nnodes);
		moved |= 1u << s;
	}
	world_map(&w, m, moved);
	for (unsigned i = 0; i < w.nnodes; i++)
		if (w_random(&w) % 2)
			fake_say_epoch(w.node[i], m->epoch);
}

static void fault(struct orbit_client *c)
{
	struct fake *n = w.node[w_random(&w) % w.nnodes];

	switch (w_random(&w) % 12) {
	case 0:
		fake_kill(n);
		break;
	case 1:
	case 2:
		n->listening = true;
		n->blackhole = false;
		break;
	case 3:
	case 4:
		fake_cut(n);
		break;
	case 5:
		n->mute = !n->mute;
		break;
	case 6:
		n->deaf = !n->deaf;
		break;
	case 7:
		n->blackhole = w_random(&w) % 2;
		break;
	case 8:
		n->vote = w_random(&w) % 2 ? WIRE_OK : WIRE_RETRY;
		break;
	case 9:
		orbit_retry_now(c);
		break;
	case 10:
		n->no = w_random(&w) % 2 ? 0 : 100;
		break;
	case 11:
		w.wall += (int64_t)(w_random(&w) % (100 * SEC)) - (int64_t)(50 * SEC);
		break;
	}
}

/* What participants do about a prepared record that was left alone: all prepared, or one of them
 * committed: commit; else nobody ever will. */
static void resolve(void)
{
	struct fake *n = w.node[w_random(&w) % w.nnodes], *o;
	struct known *k, *other, *part[WIRE_PARTICIPANTS_MAX];
	bool commit = true;

	TAILQ_FOREACH (k, &fake_book(n, (uint16_t)(w_random(&w) % 16))->known, at)
		if (k->state == K_PREPARED && w_random(&w) % 4 == 0)
			break;
	if (!k || !n->listening)
		return;
	for (unsigned i = 0; i < k->nparts; i++) {
		o = w.node[w.map->shards[k->parts[i]].primary];
		if (!o->listening)
			return; /* can not be asked */
		part[i] = other = fake_find(o, k->session, k->number, k->parts[i]);
		commit &= other && other->state != K_ABORTED;
	}
	for (unsigned i = 0; i < k->nparts; i++) {
		o = w.node[w.map->shards[k->parts[i]].primary];
		if (!part[i]) {
			part[i] = fake_know(o, k->session, k->number, k->parts[i], k->tag);
			part[i]->state = K_ABORTED;
		}
		if (part[i]->state == K_PREPARED)
			fake_outcome(o, part[i], commit);
	}
}

static void submit(struct orbit_client *c, unsigned i)
{
	struct deed *d = &deed[i];
	struct orbit_policy p = soft((unsigned)(w_random(&w) % 4), (20 + w_random(&w) % 400) * MS);
	const struct orbit_policy *policy = w_random(&w) % 3 ? NULL : &p;

	d->res.w = &w;
	d->writes = w_random(&w) % 5 != 0;
	d->cross = d->writes && w_random(&w) % 3 == 0;
	if (w.moving) {
		d->shard[0] = (uint16_t)(w_random(&w) % 16);
		d->shard[1] = (uint16_t)((d->shard[0] + 1 + w_random(&w) % 15) % 16);
	} else {
		unsigned node = (unsigned)(w_random(&w) % w.nnodes);

		d->shard[0] = shard_of_node(&w, node, 0);
		d->shard[1] = shard_of_node(&w, (node + 1) % w.nnodes, 0);
	}
	if (d->cross)
		d->handle = put2(c, id_in(&w, d->shard[0], 1), id_in(&w, d->shard[1], 1), i + 1,
			policy, &d->res);
	else if (d->writes)
		d->handle = put(c, id_in(&w, d->shard[0], 1), i + 1, policy, &d->res);
	else
		d->handle = get(c, id_in(&w, d->shard[0], 1), policy, &d->res);
}

/* How often it took effect in a shard. */
static unsigned applied(unsigned tag, uint16_t shard)
{
	if (w.moving)
		return w.done[tag][shard];
	return w.node[w.map->shards[shard].primary]->applied[tag];
}

static void check(unsigned i)
{
	const struct deed *d = &deed[i];
	unsigned a = applied(i + 1, d->shard[0]), b = applied(i + 1, d->shard[1]);

	if (d->res.calls != 1 || a > 1 || b > 1 || (d->cross && a != b))
		print_error("tag %u: calls %u rc %d, applied %u in %u and %u in %u\n", i + 1,
			d->res.calls, d->res.rc, a, d->shard[0], b, d->shard[1]);
	assert_int_equal(d->res.calls, 1);
	assert_false(d->res.inside);
	assert_true(a <= 1 && b <= 1);
	if (!d->writes)
		return;
	if (d->cross)
		assert_int_equal(a, b);
	if (d->res.rc == 0)
		assert_int_equal(a, 1);
	if (d->res.rc == -ECANCELED)
		assert_int_equal(a, 0);
}

/* Nothing waits for an outcome. */
static void check_settled(struct fake *n)
{
	struct known *k;

	TAILQ_FOREACH (k, &n->known, at)
		assert_int_not_equal(k->state, K_PREPARED);
}

static void one_seed(uint64_t seed)
{
	struct result sync = {0};
	struct orbit_client *c;
	unsigned n = 0;
	bool syncing = false;

	world_init(&w, 3, seed);
	memset(deed, 0, sizeof(deed));
	if (seed % 2)
		world_moving(&w);
	w.drop = (unsigned)(w_random(&w) % 60);
	w.twice = (unsigned)(w_random(&w) % 200);
	c = client_ready(&w);
	w.lossy = seed % 4 != 0;
	w.jitter = w_random(&w) % (20 * MS);
	while (n < TXNS) {
		if (w_random(&w) % 3)
			submit(c, n++);
		if (w_random(&w) % 4 == 0)
			fault(c);
		if (w_random(&w) % 4 == 0)
			resolve();
		if (w.moving && w_random(&w) % 6 == 0)
			change_map();
		if (n && w_random(&w) % 5 == 0)
			cancel(c, deed[w_random(&w) % n].handle, w_random(&w) % 2);
		if (n == TXNS / 2 && !syncing) {
			syncing = true;
			orbit_sync(c, NULL, on_result, &sync);
		}
		w_for(&w, w_random(&w) % (w_random(&w) % 8 ? 50 * MS : 2 * SEC));
	}
	if (seed % 7 == 0) { /* closed in the middle of it */
		client_gone(&w, c);
		for (unsigned i = 0; i < TXNS; i++)
			assert_int_equal(deed[i].res.calls, 1);
		world_fini(&w);
		return;
	}
	w.lossy = false;
	for (unsigned i = 0; i < w.nnodes; i++) {
		w.node[i]->mute = w.node[i]->deaf = w.node[i]->blackhole = false;
		w.node[i]->listening = true;
		w.node[i]->vote = WIRE_OK;
		w.node[i]->no = 0;
	}
	w_for(&w, 60 * SEC);
	for (unsigned i = 0; i < TXNS; i++)
		check(i);
	assert_int_equal(sync.calls, syncing);
	assert_idle(c);
	for (unsigned i = 0; i < w.nnodes; i++)
		check_settled(w.node[i]);
	for (unsigned i = 0; w.moving && i < 16; i++)
		check_settled(w.book[i]);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_client_every_callback_runs_exactly_once(void **state)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t seeds = many ? strtoull(many, NULL, 10) : 2000;
	uint64_t seed = one ? strtoull(one, NULL, 10) : 1, last = one ? seed : seeds;

	(void)state;
	for (; seed <= last; seed++) {
		running = seed;
		one_seed(seed);
		running = 0;
	}
}

static int say_seed(void **state)
{
	(void)state;
	if (running)
		print_error("SEED=%llu\n", (unsigned long long)running);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_client_every_callback_runs_exactly_once, say_seed),
	};

	/* "refused" and the like are what faults make of it. */
	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_random", tests, NULL, NULL);
}
