/* ring create, ring show, route: who serves what. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "tools/common/fsid.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/probe.h"

/* ---- create ---- */

struct creation {
	struct ctl *k;
	struct loop *loop;
	struct ring_node *nodes; /* one per argument */
	struct probe **probes;
	unsigned n;
	uint8_t fsid[16];
};

/* "HOST:PORT[=WEIGHT[@ZONE]]" */
static int parse_node(const char *text, struct ring_node *node)
{
	const char *eq = strchr(text, '=');
	const char *at = eq ? strchr(eq, '@') : NULL;
	size_t len = eq ? (size_t)(eq - text) : strlen(text);
	uint64_t weight = RING_WEIGHT_DEFAULT;
	char number[16];

	*node = (struct ring_node){.naddrs = 1};
	if (!len || len >= sizeof(node->addr[0]))
		return -EINVAL;
	memcpy(node->addr[0], text, len);
	if (eq) {
		size_t digits = at ? (size_t)(at - eq - 1) : strlen(eq + 1);

		if (digits >= sizeof(number))
			return -EINVAL;
		memcpy(number, eq + 1, digits);
		number[digits] = 0;
		if (text_parse_number(number, 1000000, &weight))
			return -EINVAL;
	}
	if (at) {
		if (!at[1] || strlen(at + 1) >= sizeof(node->zone))
			return -EINVAL;
		memcpy(node->zone, at + 1, strlen(at + 1));
	}
	node->weight = (uint32_t)weight;
	return 0;
}

/* Asks each node who it is; all must be of one filesystem. */
static int meet(struct creation *cr)
{
	static const uint8_t none[16];
	char why[512];

	for (unsigned i = 0; i < cr->n; i++) {
		const struct wire_hello *h;

		if (probe_open(&cr->probes[i], cr->loop, cr->nodes[i].addr[0], cr->k->timeout, why,
			    sizeof(why)))
			return ctl_fail(cr->k, "%s", why);
		h = probe_hello(cr->probes[i]);
		if (h->role != WIRE_ROLE_NODE || !memcmp(h->fsid, none, sizeof(none)))
			return ctl_fail(cr->k, "%s: not a node", cr->nodes[i].addr[0]);
		if (i && memcmp(h->fsid, cr->fsid, sizeof(cr->fsid)))
			return ctl_fail(cr->k, "%s: another filesystem's node than %s",
				cr->nodes[i].addr[0], cr->nodes[0].addr[0]);
		memcpy(cr->fsid, h->fsid, sizeof(cr->fsid));
		cr->nodes[i].id = h->node;
		for (unsigned j = 0; j < i; j++) {
			if (!orbit_id_cmp(&cr->nodes[j].id, &h->node))
				return ctl_fail(cr->k, "%s and %s are the same node",
					cr->nodes[j].addr[0], cr->nodes[i].addr[0]);
		}
	}
	return CTL_OK;
}

static bool same_map(const struct ring_map *a, const struct ring_map *b)
{
	struct buf ba = {0}, bb = {0};
	bool same;

	ring_encode(a, &ba);
	ring_encode(b, &bb);
	same = !ba.err && !bb.err && ba.len == bb.len && !memcmp(ba.data, bb.data, ba.len);
	buf_fini(&ba);
	buf_fini(&bb);
	return same;
}

/* Nobody may have a map yet, but the very one that is to be handed out: then an earlier attempt was
 * cut short, and this one ends it. */
static int check_virgin(struct creation *cr, const struct ring_map *m)
{
	for (unsigned i = 0; i < cr->n; i++) {
		struct ring_map *theirs;
		int rc = probe_map(cr->probes[i], &theirs);
		bool same;

		if (rc == -ENOENT)
			continue;
		if (rc)
			return ctl_fail(cr->k, "%s: %s", cr->nodes[i].addr[0], ctl_why(rc));
		same = same_map(theirs, m);
		ring_unref(theirs);
		if (!same)
			return ctl_fail(
				cr->k, "%s: belongs to a ring already", cr->nodes[i].addr[0]);
	}
	return CTL_OK;
}

static int hand_out(struct creation *cr, const struct ring_map *m)
{
	for (unsigned i = 0; i < cr->n; i++) {
		int rc = probe_set_map(cr->probes[i], m);

		if (rc && rc != -EEXIST)
			return ctl_fail(cr->k, "%s: refuses the map: %s (repeat the command)",
				cr->nodes[i].addr[0], ctl_why(rc));
	}
	return CTL_OK;
}

static int write_map(struct ctl *k, const struct ring_map *m)
{
	struct buf b = {0};
	int code = CTL_OK;
	int fd = open(k->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ring_encode(m, &b);
	if (fd < 0 || b.err || write(fd, b.data, b.len) != (ssize_t)b.len)
		code = ctl_fail(k, "%s: %s", k->out, strerror(errno));
	if (fd >= 0 && close(fd) && !code)
		code = ctl_fail(k, "%s: %s", k->out, strerror(errno));
	buf_fini(&b);
	return code;
}

static int create(struct creation *cr)
{
	struct ring_map *m;
	int code = meet(cr), rc;

	if (code)
		return code;
	rc = ring_make(&m, cr->fsid, cr->k->shard_bits, cr->k->replicas, cr->nodes, cr->n);
	if (rc)
		return ctl_fail(cr->k, "no ring can be made of this: %s", strerror(-rc));
	code = check_virgin(cr, m);
	if (!code)
		code = hand_out(cr, m);
	if (!code && cr->k->out)
		code = write_map(cr->k, m);
	ring_unref(m);
	return code;
}

int cmd_ring_create(struct ctl *k)
{
	struct creation cr = {.k = k, .n = (unsigned)k->nargs};
	int code = CTL_OK;

	if (k->nargs > RING_NODES_MAX)
		return ctl_fail(k, "more than %d nodes", RING_NODES_MAX);
	if (loop_new(&cr.loop))
		return ctl_fail(k, "no event loop");
	cr.nodes = mem_zalloc(cr.n * sizeof(*cr.nodes));
	cr.probes = mem_zalloc(cr.n * sizeof(struct probe *));
	for (unsigned i = 0; i < cr.n && !code; i++) {
		if (parse_node(k->args[i], &cr.nodes[i]))
			code = ctl_fail(k, "%s: want HOST:PORT[=WEIGHT[@ZONE]]", k->args[i]);
	}
	code = code ? CTL_USAGE : create(&cr);
	for (unsigned i = 0; i < cr.n; i++)
		probe_close(cr.probes[i]);
	free(cr.nodes);
	free(cr.probes);
	loop_free(cr.loop);
	return code;
}

/* ---- show ---- */

static void print_map(struct ctl *k, const struct ring_map *m, const unsigned *shards)
{
	char hex[FSID_HEX], id[ORBIT_ID_HEX];
	struct json j;

	json_begin(&j, stdout);
	if (k->json) {
		json_object(&j, NULL);
		json_number(&j, "epoch", m->epoch);
		json_text(&j, "fsid", fsid_hex(m->fsid, hex));
		json_number(&j, "shards", ring_nshards(m));
		json_number(&j, "replicas", m->replicas);
		json_array(&j, "nodes");
	} else {
		printf("epoch %" PRIu64 "  fsid %s  shards %u  replicas %u\n", m->epoch,
			fsid_hex(m->fsid, hex), ring_nshards(m), m->replicas);
	}
	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		orbit_id_hex(&n->id, id);
		if (k->json) {
			json_object(&j, NULL);
			json_text(&j, "id", id);
			json_array(&j, "addresses");
			for (unsigned a = 0; a < n->naddrs; a++)
				json_text(&j, NULL, n->addr[a]);
			json_close(&j);
			json_number(&j, "weight", n->weight);
			json_text(&j, "zone", n->zone);
			json_bool(&j, "keeper", m->keeper == i);
			json_number(&j, "shards", shards[i]);
			json_close(&j);
		} else {
			printf("%.16s  %-22s weight %-4u shards %-5u%s%s%s\n", id, n->addr[0],
				n->weight, shards[i], *n->zone ? " zone " : "", n->zone,
				m->keeper == i ? "  keeper" : "");
		}
	}
	if (k->json) {
		json_close(&j);
		json_close(&j);
	}
}

int cmd_ring_show(struct ctl *k)
{
	const struct ring_map *m;
	struct cluster c;
	unsigned *shards;
	int code = ctl_open(k, &c);

	if (code)
		return code;
	m = orbit_ring(c.client);
	shards = mem_zalloc(m->nnodes * sizeof(*shards));
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].primary != RING_NONE)
			shards[m->shards[s].primary]++;
	}
	print_map(k, m, shards);
	free(shards);
	return ctl_close(k, &c, CTL_OK);
}

int cmd_route(struct ctl *k)
{
	struct orbit_id id = ctl_id(k->args[0]);
	const struct ring_map *m;
	const struct ring_node *n;
	struct cluster c;
	char hex[ORBIT_ID_HEX], node[ORBIT_ID_HEX];
	uint16_t shard, primary;
	int code = ctl_open(k, &c);

	if (code)
		return code;
	m = orbit_ring(c.client);
	shard = ring_shard_of(m, &id);
	primary = m->shards[shard].primary;
	orbit_id_hex(&id, hex);
	if (primary == RING_NONE)
		return ctl_close(k, &c, ctl_fail(k, "shard %u: nobody serves it now", shard));
	n = &m->nodes[primary];
	orbit_id_hex(&n->id, node);
	if (k->json) {
		struct json j;

		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_text(&j, "id", hex);
		json_number(&j, "shard", shard);
		json_number(&j, "term", m->shards[shard].term);
		json_text(&j, "node", node);
		json_text(&j, "address", n->addr[0]);
		json_close(&j);
	} else {
		printf("%s  shard %u  %.16s  %s\n", hex, shard, node, n->addr[0]);
	}
	return ctl_close(k, &c, CTL_OK);
}
