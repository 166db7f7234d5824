#include "fs/check/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"

#define RUN_BUFFER 256 /* records read ahead per run */

struct run {
	uint64_t at, end; /* records within the file */
	char *buf;
	size_t have, next;
};

struct runs {
	size_t record, limit; /* bytes of one, records in memory */
	int (*cmp)(const void *, const void *);
	const char *tmp;
	char *mem;
	size_t n, cap;
	int fd;           /* of the runs; -1: all is in memory */
	uint64_t written; /* records in the file */
	struct run *run;
	uint64_t *begin; /* where each run begins */
	size_t nruns;
	size_t next; /* reading from memory */
};

int runs_new(struct runs **out, size_t record, size_t memory, const char *tmp,
	int (*cmp)(const void *a, const void *b))
{
	struct runs *r = mem_zalloc(sizeof(*r));

	r->record = record;
	r->limit = memory / record < 1024 ? 1024 : memory / record;
	r->cmp = cmp;
	r->tmp = tmp;
	r->fd = -1;
	*out = r;
	return 0;
}

void runs_free(struct runs *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->run && i < r->nruns; i++)
		free(r->run[i].buf);
	if (r->fd >= 0)
		close(r->fd);
	free(r->run);
	free(r->begin);
	free(r->mem);
	free(r);
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int spill(struct runs *r)
{
	int rc;

	if (r->fd < 0) {
		r->fd = open(r->tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (r->fd < 0)
			return -errno;
	}
	qsort(r->mem, r->n, r->record, r->cmp);
	rc = write_all(r->fd, r->mem, r->n * r->record);
	if (rc)
		return rc;
	r->begin = mem_grow(r->begin, r->nruns + 1, sizeof(*r->begin));
	r->begin[r->nruns++] = r->written;
	r->written += r->n;
	r->n = 0;
	return 0;
}

int runs_add(struct runs *r, const void *record)
{
	int rc;

	if (r->n == r->limit) {
		rc = spill(r);
		if (rc)
			return rc;
	}
	if (r->n == r->cap) {
		r->cap = r->cap ? min_size(2 * r->cap, r->limit) : 1024;
		r->mem = mem_grow(r->mem, r->cap, r->record);
	}
	memcpy(r->mem + r->n++ * r->record, record, r->record);
	return 0;
}

int runs_rewind(struct runs *r)
{
	int rc;

	if (r->fd < 0) {
		if (r->n)
			qsort(r->mem, r->n, r->record, r->cmp);
		r->next = 0;
		return 0;
	}
	if (r->n) {
		rc = spill(r);
		if (rc)
			return rc;
	}
	if (!r->run)
		r->run = mem_zalloc(r->nruns * sizeof(*r->run));
	for (size_t i = 0; i < r->nruns; i++) {
		struct run *x = &r->run[i];

		x->at = r->begin[i];
		x->end = i + 1 < r->nruns ? r->begin[i + 1] : r->written;
		if (!x->buf)
			x->buf = mem_zalloc(RUN_BUFFER * r->record);
		x->have = x->next = 0;
	}
	return 0;
}

/* The run's next record stays in place until run->next moves on; NULL at its end. */
static int peek(struct runs *r, struct run *x, const char **out)
{
	*out = NULL;
	if (x->next == x->have) {
		size_t want = min_size(RUN_BUFFER, (size_t)(x->end - x->at));
		ssize_t n;

		if (!want)
			return 0;
		n = pread(r->fd, x->buf, want * r->record, (off_t)(x->at * r->record));
		if (n < 0)
			return -errno;
		if ((size_t)n != want * r->record)
			return -EIO;
		x->at += want;
		x->have = want;
		x->next = 0;
	}
	*out = x->buf + x->next * r->record;
	return 0;
}

int runs_next(struct runs *r, void *record)
{
	struct run *best = NULL;
	const char *least = NULL, *rec;

	if (r->fd < 0) {
		if (r->next == r->n)
			return 0;
		memcpy(record, r->mem + r->next++ * r->record, r->record);
		return 1;
	}
	for (size_t i = 0; i < r->nruns; i++) {
		int rc = peek(r, &r->run[i], &rec);

		if (rc)
			return rc;
		if (rec && (!least || r->cmp(rec, least) < 0)) {
			least = rec;
			best = &r->run[i];
		}
	}
	if (!best)
		return 0;
	memcpy(record, least, r->record);
	best->next++;
	return 1;
}
