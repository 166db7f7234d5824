/*
 * eval_rig: a store in memory on which tests evaluate transactions and apply what comes of them.
 * Include it after cmocka.h.
 */
#ifndef TEST_EVAL_RIG_H
#define TEST_EVAL_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "dht/store/store.h"
#include "dht/txn/object.h"
#include "dht/txn/txn.h"
#include "dht/wire/wire.h"
#include "tests/sim/sim.h"

#define SESSION 7
#define NOT_HERE 0xee /* first byte of an ID whose shard is served elsewhere */

/* A store in memory, and the transaction that ran last. */
struct rig {
	struct sim *sim;
	struct disk *disk;
	struct store_index *ix;
	struct store *st;
	struct txn_build t;
	struct buf body;
	struct txn_view view;
	struct txn_outcome out;
	uint64_t seq[256]; /* per shard, of the last effect */
	unsigned asked;    /* how often a number was asked for */
	unsigned waits;    /* how often something was not in memory */
	size_t results_max;
	struct store_wait wait;
	bool ready, applied, read;
	int rc;
};

static struct rig *rig;

/* ---- the rig ---- */

static inline int setup(void **state)
{
	uint8_t fsid[16] = {1};
	struct orbit_id node = {{2}};
	struct store_config cfg = store_config_default();
	char why[256] = "";

	(void)state;
	log_set_level(LOG_LVL_ERROR);
	cfg.reserve = 1 << 20;
	rig = mem_zalloc(sizeof(*rig));
	rig->sim = sim_new(1);
	rig->disk = disk_mem_new();
	rig->ix = index_mem_new();
	rig->results_max = 6 << 20;
	assert_int_equal(store_make_on(rig->disk, fsid, &node), 0);
	assert_int_equal(store_open_on(&rig->st, sim_env(sim_host_new(rig->sim, "n")), rig->disk,
				 rig->ix, &cfg, why, sizeof(why)),
		0);
	txn_init(&rig->t);
	txn_outcome_init(&rig->out);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	txn_outcome_fini(&rig->out);
	txn_fini(&rig->t);
	buf_fini(&rig->body);
	store_free(rig->st);
	sim_run(rig->sim, ENV_SEC); /* jobs that were under way */
	index_free(rig->ix);
	disk_free(rig->disk);
	sim_free(rig->sim);
	free(rig);
	return 0;
}

static inline int shard_of(void *arg, const struct orbit_id *id)
{
	(void)arg;
	return id->b[0] == NOT_HERE ? -1 : id->b[0];
}

static inline void next_number(void *arg, uint16_t shard, uint64_t *term, uint64_t *seq)
{
	(void)arg;
	rig->asked++;
	*term = 1;
	*seq = rig->seq[shard] + 1;
}

static inline void on_ready(struct store_wait *w)
{
	(void)w;
	rig->ready = true;
}

static inline void wait_ready(void)
{
	rig->ready = false;
	rig->waits++;
	rig->wait.ready = on_ready;
	store_wait(rig->st, &rig->wait);
	assert_true(sim_wait(rig->sim, &rig->ready, ENV_SEC));
}

static inline void on_read(struct store_read *r, int rc)
{
	(void)r;
	rig->read = true;
	rig->rc = rc;
}

static inline void fill_reads(void)
{
	for (size_t i = 0; i < rig->out.nfills; i++) {
		struct txn_fill *f = &rig->out.fill[i];
		struct store_read r = {.done = on_read};
		int rc;

		assert_true(f->at + f->len <= rig->out.results.len);
		rig->read = false;
		while ((rc = store_read(rig->st, &r, f->shard, &f->id, f->off, f->len,
				rig->out.results.data + f->at)) == -EAGAIN)
			wait_ready();
		if (rc == -EINPROGRESS) {
			assert_true(sim_wait(rig->sim, &rig->read, ENV_SEC));
			rc = rig->rc;
		}
		assert_int_equal(rc, 0);
	}
}

static inline void on_applied(struct store_apply *a, int rc)
{
	(void)a;
	rig->applied = true;
	rig->rc = rc;
}

/* Applies the effect that was made, and moves the numbers on. */
static inline void apply(void)
{
	struct store_apply a = {.done = on_applied, .effect = &rig->out.effect};
	struct effect_iter it = effect_iter_of(rig->out.effect.meta.data, rig->out.effect.meta.len);
	struct effect_op op;
	int rc;

	if (effect_empty(&rig->out.effect))
		return;
	while ((rc = effect_next(&it, &op)) == 1) {
		if (op.kind != EFFECT_SECTION || !op.seq)
			continue;
		assert_int_equal(op.seq, rig->seq[op.shard] + 1);
		rig->seq[op.shard] = op.seq;
	}
	assert_int_equal(rc, 0);
	rig->applied = false;
	while ((rc = store_apply(rig->st, &a, STORE_NORMAL)) == -EAGAIN)
		wait_ready();
	assert_int_equal(rc, 0);
	assert_true(sim_wait(rig->sim, &rig->applied, ENV_SEC));
	assert_int_equal(rig->rc, 0);
}

static inline uint16_t eval_as(enum txn_part part)
{
	struct txn_where where = {.shard_of = shard_of,
		.next = next_number,
		.session = SESSION,
		.results_max = rig->results_max};
	int rc;

	rig->asked = 0;
	for (;;) {
		txn_outcome_fini(&rig->out);
		txn_outcome_init(&rig->out);
		rc = txn_eval(rig->st, &rig->view, part, &where, &rig->out);
		if (rc != -EAGAIN)
			break;
		assert_true(effect_empty(&rig->out.effect));
		wait_ready();
	}
	assert_int_equal(rc, 0);
	fill_reads();
	return rig->out.status;
}

/* Closes the transaction that is being built, ready to be evaluated. */
static inline void built(void)
{
	buf_reset(&rig->body);
	assert_int_equal(txn_encode(&rig->t, &rig->body, NULL, NULL), 0);
	assert_int_equal(txn_check(rig->body.data, rig->body.len, &rig->view), 0);
	txn_fini(&rig->t);
	txn_init(&rig->t);
}

/* Evaluates what was built and applies it: the status. */
static inline uint16_t run(void)
{
	uint16_t status;

	built();
	status = eval_as(TXN_ALL);
	if (status == WIRE_OK)
		apply();
	else
		assert_true(rig->out.effect.meta.len == 0 && rig->out.results.len == 0);
	return status;
}

#define RUN_OK() assert_int_equal(run(), WIRE_OK)

/* What was built fails because of operation @index. */
#define RUN_FAILS(index)                                                                           \
	do {                                                                                       \
		assert_int_equal(run(), WIRE_COMPARE);                                             \
		assert_int_equal(rig->out.failed, index);                                          \
	} while (0)

static inline struct txn_result result(unsigned index)
{
	struct txn_result r;

	assert_int_equal(
		txn_result_find(rig->out.results.data, rig->out.results.len, index, &r), 0);
	return r;
}

static inline int64_t gained(unsigned index)
{
	struct txn_result r = result(index);
	struct cur c = cur_of(r.data, r.len);

	return (int64_t)cur_u64(&c);
}

static inline struct txn_object object_in(struct txn_result r)
{
	struct cur c = cur_of(r.data, r.len);
	struct txn_object o = txn_get_object(&c);

	assert_true(cur_done(&c));
	return o;
}

/* Operations of one kind in the effect that was made last. */
static inline unsigned effects(enum effect_kind kind)
{
	struct effect_iter it = effect_iter_of(rig->out.effect.meta.data, rig->out.effect.meta.len);
	struct effect_op op;
	unsigned n = 0;

	while (effect_next(&it, &op) == 1)
		n += op.kind == kind;
	return n;
}

/* Keys of one class of a shard in the store. */
static inline unsigned keys(enum key_class class, uint16_t shard)
{
	struct key from, to;
	struct store_iter *it;
	const void *k, *v;
	size_t klen, vlen;
	unsigned n = 0;

	key_class(&from, class, shard);
	to = from;
	key_after_prefix(&to);
	it = store_iter_new(rig->st, from.b, from.len, to.b, to.len);
	while (store_iter_next(it, &k, &klen, &v, &vlen) == 1)
		n++;
	store_iter_free(it);
	return n;
}

static inline struct orbit_id id_of(uint8_t shard, uint8_t name)
{
	struct orbit_id id = {{0}};

	id.b[0] = shard;
	memset(id.b + 8, name, 24);
	return id;
}

static inline void make(const struct orbit_id *id)
{
	txn_create(&rig->t, id, 0, NULL);
	RUN_OK();
}

static inline struct txn_object look(const struct orbit_id *id)
{
	struct txn_result r;

	txn_get(&rig->t, id);
	RUN_OK();
	r = result(0);
	assert_int_equal(r.present, 1);
	return object_in(r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
