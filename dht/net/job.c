/*
 * Jobs: blocking work on uv's pool (8 threads, or as UV_THREADPOOL_SIZE says). A lane is a queue
 * of which only the first job is with the pool; the next is given when the first one's done() has
 * returned. A lane exists while it has a job.
 */
#include "dht/net/loop_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "dht/base/mem.h"

TAILQ_HEAD(job_list, env_job);

struct job_lane {
	const void *key;
	struct job_list waiting; /* behind the one that runs */
	UT_hash_handle hh;
};

struct job_run {
	uv_work_t req;
	struct loop *lp;
	struct env_job *j;
	struct job_lane *lane; /* NULL: none */
};

/* A store alone may have a sync, a writeback, an append, a flush, a compaction and a note in hand
 * at once, each of which may take as long as the disk likes: what is read must not wait behind
 * them. */
#define POOL "8"

static void job_submit(struct job_run *run);

static void on_work(uv_work_t *req)
{
	struct job_run *run = req->data;

	run->j->work(run->j);
}

/* Gives the lane's next job to the pool, or ends the lane. */
static void lane_next(struct loop *lp, struct job_lane *lane)
{
	struct env_job *j = TAILQ_FIRST(&lane->waiting);

	if (!j) {
		HASH_DEL(lp->lanes, lane);
		free(lane);
		return;
	}
	TAILQ_REMOVE(&lane->waiting, j, entry);
	job_submit(j->impl);
}

static void on_worked(uv_work_t *req, int status)
{
	struct job_run *run = req->data;
	struct job_lane *lane = run->lane;
	struct loop *lp = run->lp;
	struct env_job *j = run->j;

	assert(status == 0); /* nobody cancels */
	(void)status;
	free(run);
	j->impl = NULL;
	lp->jobs--;
	j->done(j); /* may free the job */
	if (lane)
		lane_next(lp, lane);
}

static void job_submit(struct job_run *run)
{
	int rc;

	run->req.data = run;
	rc = uv_queue_work(&run->lp->uv, &run->req, on_work, on_worked);
	assert(rc == 0);
	(void)rc;
}

void job_pool(void)
{
	setenv("UV_THREADPOOL_SIZE", POOL, false);
}

void job_start(struct env *e, struct env_job *j)
{
	struct loop *lp = loop_of(e);
	struct job_run *run = mem_zalloc(sizeof(*run));
	struct job_lane *lane;

	run->lp = lp;
	run->j = j;
	j->impl = run;
	lp->jobs++;
	if (!j->lane) {
		job_submit(run);
		return;
	}
	HASH_FIND_PTR(lp->lanes, &j->lane, lane);
	run->lane = lane;
	if (lane) {
		TAILQ_INSERT_TAIL(&lane->waiting, j, entry);
		return;
	}
	lane = mem_zalloc(sizeof(*lane));
	lane->key = j->lane;
	TAILQ_INIT(&lane->waiting);
	HASH_ADD_PTR(lp->lanes, key, lane);
	run->lane = lane;
	job_submit(run);
}
