/* put, get, stat, rm: one object and its byte stream. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "tools/orbitctl/ctl.h"

#define PIECE (1u << 20) /* bytes moved in one transaction */

static bool is_std(const struct ctl *k)
{
	return k->nargs < 2 || !strcmp(k->args[1], "-");
}

/* ---- put ---- */

/* Reads until @piece is full or the file ends; bytes, or -errno. */
static ssize_t read_piece(int fd, uint8_t *piece)
{
	size_t len = 0;

	while (len < PIECE) {
		ssize_t n = read(fd, piece + len, PIECE - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* The first piece makes the object, or empties the one that is there. */
static int put_first(struct cluster *c, const struct orbit_id *id, const void *piece, size_t len)
{
	for (;;) {
		struct txn_build t;
		int rc;

		txn_init(&t);
		txn_exists(&t, id);
		txn_punch(&t, id, 0, UINT64_MAX);
		if (len)
			txn_write(&t, id, 0, piece, len);
		rc = ctl_submit(c, &t, NULL, NULL);
		if (rc != -ECANCELED)
			return rc;
		txn_init(&t);
		txn_create(&t, id, 0, NULL);
		if (len)
			txn_write(&t, id, 0, piece, len);
		rc = ctl_submit(c, &t, NULL, NULL);
		if (rc != -ECANCELED)
			return rc;
		/* somebody made it meanwhile */
	}
}

static void on_synced(void *arg, const struct orbit_reply *r)
{
	await_done(arg, r->rc);
}

/* Done means: on disk. */
static int sync_all(struct ctl *k, struct cluster *c)
{
	struct await w = {.loop = c->loop};
	int rc;

	orbit_sync(c->client, NULL, on_synced, &w);
	rc = await(&w);
	return rc ? ctl_fail(k, "making it durable: %s", ctl_why(rc)) : CTL_OK;
}

static int put_all(struct ctl *k, struct cluster *c, int fd, uint8_t *piece)
{
	struct orbit_id id = ctl_id(k->args[0]);
	uint64_t off = 0;
	ssize_t n;
	int rc = 0;

	do {
		n = read_piece(fd, piece);
		if (n < 0)
			return ctl_fail(k, "reading: %s", strerror((int)-n));
		if (!off) {
			rc = put_first(c, &id, piece, (size_t)n);
		} else if (n) {
			struct txn_build t;

			txn_init(&t);
			txn_write(&t, &id, off, piece, (size_t)n);
			rc = ctl_submit(c, &t, NULL, NULL);
		}
		off += (uint64_t)n;
	} while (!rc && n == PIECE);
	if (rc == -ECANCELED)
		return ctl_fail(k, "%s: was removed meanwhile", k->args[0]);
	if (rc)
		return ctl_fail(k, "%s: %s", k->args[0], ctl_why(rc));
	return sync_all(k, c);
}

int cmd_put(struct ctl *k)
{
	int fd = is_std(k) ? STDIN_FILENO : open(k->args[1], O_RDONLY | O_CLOEXEC);
	struct cluster c;
	uint8_t *piece;
	int code;

	if (fd < 0)
		return ctl_fail(k, "%s: %s", k->args[1], strerror(errno));
	code = ctl_open(k, &c);
	if (code)
		return code;
	piece = mem_zalloc(PIECE);
	code = put_all(k, &c, fd, piece);
	free(piece);
	return ctl_close(k, &c, code);
}

/* ---- get ---- */

struct getting {
	struct ctl *k;
	int fd;
	int get, read; /* ops */
	struct txn_object object;
	size_t len; /* bytes of this piece */
	int rc;     /* of writing it out */
};

static int write_out(int fd, const uint8_t *p, size_t len)
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

static void on_piece(void *arg, const struct orbit_reply *r)
{
	struct getting *g = arg;
	struct txn_result res;

	g->len = 0;
	if (r->rc)
		return;
	if (orbit_result(r, g->get, &res) || !res.present || res.len != TXN_OBJECT_LEN) {
		g->rc = -EPROTO;
		return;
	}
	struct cur c = cur_of(res.data, res.len);

	g->object = txn_get_object(&c);
	if (orbit_result(r, g->read, &res)) {
		g->rc = -EPROTO;
		return;
	}
	g->len = res.len;
	g->rc = write_out(g->fd, res.data, res.len);
}

static int get_all(struct ctl *k, struct cluster *c, int fd)
{
	struct orbit_id id = ctl_id(k->args[0]);
	struct getting g = {.k = k, .fd = fd};
	uint64_t off = 0;
	int rc;

	do {
		struct txn_build t;

		txn_init(&t);
		txn_exists(&t, &id);
		if (off) /* all pieces of one and the same version */
			txn_version_eq(&t, &id, g.object.version);
		g.get = txn_get(&t, &id);
		g.read = txn_read(&t, &id, off, PIECE);
		rc = ctl_submit(c, &t, on_piece, &g);
		off += g.len;
	} while (!rc && !g.rc && g.len && off < g.object.stream_end);
	if (rc == -ECANCELED && off)
		return ctl_fail(k, "%s: was changed while it was read", k->args[0]);
	if (rc == -ECANCELED)
		return ctl_fail(k, "%s: no such object", k->args[0]), CTL_NOT_FOUND;
	if (rc || g.rc)
		return ctl_fail(k, "%s: %s", k->args[0], ctl_why(rc ? rc : g.rc));
	return CTL_OK;
}

int cmd_get(struct ctl *k)
{
	struct cluster c;
	int fd = STDOUT_FILENO;
	int code = ctl_open(k, &c);

	if (code)
		return code;
	if (!is_std(k))
		fd = open(k->args[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		code = ctl_fail(k, "%s: %s", k->args[1], strerror(errno));
	else
		code = get_all(k, &c, fd);
	if (fd > STDOUT_FILENO && close(fd) && !code)
		code = ctl_fail(k, "%s: %s", k->args[1], strerror(errno));
	return ctl_close(k, &c, code);
}

/* ---- stat ---- */

static void print_object(struct ctl *k, const struct orbit_id *id, const struct txn_object *o)
{
	char hex[ORBIT_ID_HEX];
	struct json j;

	orbit_id_hex(id, hex);
	if (!k->json) {
		printf("id      %s\nversion %" PRIu64 "\nstream  end %" PRIu64 ", %" PRIu64
		       " bytes\n",
			hex, o->version, o->stream_end, o->stream_bytes);
		for (int i = 0; i < TXN_SLOTS; i++) {
			if (o->slot[i])
				printf("slot %-2d %" PRIu64 "\n", i, o->slot[i]);
		}
		return;
	}
	json_begin(&j, stdout);
	json_object(&j, NULL);
	json_text(&j, "id", hex);
	json_number(&j, "version", o->version);
	json_number(&j, "stream_end", o->stream_end);
	json_number(&j, "stream_bytes", o->stream_bytes);
	json_array(&j, "slots");
	for (int i = 0; i < TXN_SLOTS; i++)
		json_number(&j, NULL, o->slot[i]);
	json_close(&j);
	json_close(&j);
}

static void on_object(void *arg, const struct orbit_reply *r)
{
	struct getting *g = arg;
	struct txn_result res;

	if (r->rc)
		return;
	if (orbit_result(r, g->get, &res) || res.len != TXN_OBJECT_LEN) {
		g->rc = -EPROTO;
		return;
	}
	struct cur c = cur_of(res.data, res.len);

	g->object = txn_get_object(&c);
}

int cmd_stat(struct ctl *k)
{
	struct orbit_id id = ctl_id(k->args[0]);
	struct getting g = {.k = k};
	struct txn_build t;
	struct cluster c;
	int code = ctl_open(k, &c), rc;

	if (code)
		return code;
	txn_init(&t);
	txn_exists(&t, &id);
	g.get = txn_get(&t, &id);
	rc = ctl_submit(&c, &t, on_object, &g);
	if (rc == -ECANCELED)
		code = (ctl_fail(k, "%s: no such object", k->args[0]), CTL_NOT_FOUND);
	else if (rc || g.rc)
		code = ctl_fail(k, "%s: %s", k->args[0], ctl_why(rc ? rc : g.rc));
	else
		print_object(k, &id, &g.object);
	return ctl_close(k, &c, code);
}

/* ---- rm ---- */

int cmd_rm(struct ctl *k)
{
	struct orbit_id id = ctl_id(k->args[0]);
	struct txn_build t;
	struct cluster c;
	int code = ctl_open(k, &c), rc;

	if (code)
		return code;
	txn_init(&t);
	txn_exists(&t, &id);
	txn_delete(&t, &id);
	rc = ctl_submit(&c, &t, NULL, NULL);
	if (rc == -ECANCELED)
		code = (ctl_fail(k, "%s: no such object", k->args[0]), CTL_NOT_FOUND);
	else if (rc)
		code = ctl_fail(k, "%s: %s", k->args[0], ctl_why(rc));
	else
		code = sync_all(k, &c);
	return ctl_close(k, &c, code);
}
