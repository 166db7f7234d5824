/*
 * Transactions out of any bytes, evaluated on a small store in memory. The body's IDs are replaced
 * by those of objects that the store has (the first few) and has not. Whatever comes of it: the
 * effect and the results can be read back, a vote that says yes is followed by a commit that
 * succeeds, and nothing is changed.
 */
#include <assert.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "dht/store/store.h"
#include "dht/txn/txn.h"
#include "dht/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* ---- an env that does everything at once, in the order in which it was asked for ---- */

struct fuzz_env {
	struct env e;
	TAILQ_HEAD(, env_task) tasks;
	TAILQ_HEAD(, env_job) jobs;
};

static uint64_t fixed_time(struct env *e)
{
	(void)e;
	return ENV_SEC;
}

static void fixed_random(struct env *e, void *out, size_t len)
{
	(void)e;
	memset(out, 7, len);
}

static void timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	(void)e;
	(void)deadline;
	t->armed = true; /* time stands still here */
}

static void timer_clear(struct env *e, struct env_timer *t)
{
	(void)e;
	t->armed = false;
}

static void post(struct env *e, struct env_task *t)
{
	if (!t->queued)
		TAILQ_INSERT_TAIL(&((struct fuzz_env *)e)->tasks, t, entry);
	t->queued = true;
}

static void unpost(struct env *e, struct env_task *t)
{
	if (t->queued)
		TAILQ_REMOVE(&((struct fuzz_env *)e)->tasks, t, entry);
	t->queued = false;
}

static void job(struct env *e, struct env_job *j)
{
	TAILQ_INSERT_TAIL(&((struct fuzz_env *)e)->jobs, j, entry);
}

static const struct env_ops env_ops = {.now = fixed_time,
	.wall = fixed_time,
	.random = fixed_random,
	.timer_set = timer_set,
	.timer_clear = timer_clear,
	.post = post,
	.unpost = unpost,
	.job = job};

static void drain(struct fuzz_env *f)
{
	struct env_task *t;
	struct env_job *j;

	for (;;) {
		if ((t = TAILQ_FIRST(&f->tasks))) {
			unpost(&f->e, t);
			t->run(t);
		} else if ((j = TAILQ_FIRST(&f->jobs))) {
			TAILQ_REMOVE(&f->jobs, j, entry);
			j->work(j);
			j->done(j);
		} else {
			return;
		}
	}
}

/* ---- the store, filled once ---- */

static struct fuzz_env env;
static struct store *store;

static struct orbit_id id_of(unsigned i)
{
	struct orbit_id id = {{0}};

	id.b[0] = (uint8_t)(i & 1);
	id.b[7] = (uint8_t)i;
	memset(id.b + 8, 0xbb, 24);
	return id;
}

static int shard_of(void *arg, const struct orbit_id *id)
{
	(void)arg;
	return id->b[0] < 4 ? id->b[0] : -1;
}

static void next_number(void *arg, uint16_t shard, uint64_t *term, uint64_t *seq)
{
	(void)arg;
	*term = 1;
	*seq = 100 + shard;
}

static int eval(const struct txn_view *v, enum txn_part part, struct txn_outcome *out)
{
	struct txn_where where = {
		.shard_of = shard_of, .next = next_number, .session = 7, .results_max = 5 << 20};

	txn_outcome_init(out);
	return txn_eval(store, v, part, &where, out);
}

static void applied(struct store_apply *a, int rc)
{
	(void)a;
	must(rc == 0);
}

static void fill(void)
{
	struct txn_build t;
	struct txn_outcome out;
	struct txn_view v;
	struct buf b = {0};
	struct store_apply a = {.done = applied, .effect = &out.effect};

	txn_init(&t);
	for (unsigned i = 0; i < 4; i++) {
		struct orbit_id id = id_of(i), other = id_of(i ^ 2);

		txn_create(&t, &id, 0, NULL);
		txn_refer(&t, &id, 4, i);
		txn_put(&t, &id, "k", 1, other.b, 8);
		txn_put(&t, &id, "name", 4, "short", 5);
		txn_write(&t, &id, 10, "0123456789", 10);
		txn_write(&t, &id, 4096, "0123456789", 10);
		txn_hold(&t, &id);
	}
	must(txn_encode(&t, &b, NULL, NULL) == 0);
	must(txn_check(b.data, b.len, &v) == 0);
	must(eval(&v, TXN_ALL, &out) == 0 && out.status == WIRE_OK);
	must(store_apply(store, &a, STORE_NORMAL) == 0);
	drain(&env);
	txn_outcome_fini(&out);
	txn_fini(&t);
	buf_fini(&b);
}

static void start(void)
{
	struct disk *d = disk_mem_new();
	struct store_config cfg = store_config_default();
	struct orbit_id node = {{1}};
	uint8_t fsid[16] = {1};
	char why[256];

	log_set_level(LOG_LVL_ERROR);
	env.e.ops = &env_ops;
	TAILQ_INIT(&env.tasks);
	TAILQ_INIT(&env.jobs);
	cfg.reserve = 1 << 20;
	must(store_make_on(d, fsid, &node) == 0);
	must(store_open_on(&store, &env.e, d, index_mem_new(), &cfg, why, sizeof(why)) == 0);
	fill();
}

/* ---- one transaction ---- */

static void check_outcome(const struct txn_outcome *out)
{
	struct txn_results r = txn_results_of(out->results.data, out->results.len);
	struct effect_iter it = effect_iter_of(out->effect.meta.data, out->effect.meta.len);
	struct txn_result res;
	struct effect_op op;
	bool section = false;
	int rc;

	while ((rc = txn_result_next(&r, &res)) == 1)
		;
	must(rc == 0);
	while ((rc = effect_next(&it, &op)) == 1) {
		section |= op.kind == EFFECT_SECTION;
		must(section);
	}
	must(rc == 0);
	for (size_t i = 0; i < out->nfills; i++)
		must(out->fill[i].at + out->fill[i].len <= out->results.len);
	if (out->status != WIRE_OK)
		must(out->results.len == 0 && out->effect.meta.len == 0 && out->nfills == 0);
}

static uint16_t evaluate(const struct txn_view *v, enum txn_part part)
{
	struct txn_outcome out;
	uint16_t status;

	must(eval(v, part, &out) == 0);
	status = out.status;
	check_outcome(&out);
	if (part == TXN_VOTE)
		must(out.effect.meta.len == 0);
	txn_outcome_fini(&out);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct txn_view v;
	uint8_t *body;
	uint16_t all;

	if (!store)
		start();
	if (size < 4)
		return 0;
	body = malloc(size);
	memcpy(body, data, size);
	for (unsigned i = 0; i < data[0] && 4 + 32 * (size_t)(i + 1) <= size; i++) {
		struct orbit_id id = id_of(i);

		memcpy(body + 4 + 32 * i, id.b, 32);
	}
	if (txn_check(body, size, &v) == 0) {
		all = evaluate(&v, TXN_ALL);
		must(evaluate(&v, TXN_VOTE) == all);
		if (all == WIRE_OK)
			must(evaluate(&v, TXN_COMMIT) == WIRE_OK);
	}
	free(body);
	return 0;
}
