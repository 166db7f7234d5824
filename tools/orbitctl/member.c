/* node ..., cluster replicas, session fence: what a person asks of the keeper, through any node. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tools/common/probe.h"
#include "tools/orbitctl/ctl.h"

#define AGAIN_AFTER (100 * ENV_MS)
#define PREFIX_MIN 4 /* hex digits of an ID that are taken as its beginning */

struct asking {
	struct ctl *k;
	struct loop *loop;
	struct probe *probe; /* to the first of -o cluster= that answers */
	struct ring_map *map;
};

static int asking_open(struct asking *a, struct ctl *k)
{
	char why[512] = "";
	int rc;

	*a = (struct asking){.k = k};
	if (loop_new(&a->loop))
		return ctl_fail(k, "no event loop");
	for (unsigned i = 0; i < k->where.nseeds; i++) {
		rc = probe_open(
			&a->probe, a->loop, k->where.seeds[i], k->timeout, why, sizeof(why));
		if (rc)
			continue;
		rc = probe_map(a->probe, &a->map);
		if (!rc)
			return CTL_OK;
		snprintf(why, sizeof(why), "%s: %s", k->where.seeds[i],
			rc == -ENOENT ? "belongs to no cluster yet" : ctl_why(rc));
		probe_close(a->probe);
		a->probe = NULL;
	}
	return ctl_fail(k, "%s", why);
}

static int asking_close(struct asking *a, int code)
{
	probe_close(a->probe);
	ring_unref(a->map);
	loop_free(a->loop);
	return code;
}

/* Asks until the keeper has a leader that answers, as long as --timeout. */
static int ask(struct asking *a, struct wire_ask_m *m)
{
	struct env *e = loop_env(a->loop);
	uint64_t give_up = a->k->timeout ? env_now(e) + a->k->timeout : UINT64_MAX;
	char text[512];
	uint64_t epoch;
	int rc;

	m->epoch = a->map->epoch;
	for (;;) {
		rc = probe_keeper(a->probe, m, &epoch, text, sizeof(text));
		if ((rc != -EAGAIN && rc != -EHOSTUNREACH) || env_now(e) >= give_up)
			break;
		await_pause(a->loop, AGAIN_AFTER);
	}
	return rc ? ctl_refused(a->k, rc, text) : CTL_OK;
}

int ctl_refused(const struct ctl *k, int rc, const char *text)
{
	if (rc == -EAGAIN)
		ctl_fail(k, "the keeper has no leader: fewer than half of its voters are up");
	else
		ctl_fail(k, "%s", *text ? text : ctl_why(rc));
	if (rc == -ENOENT)
		return CTL_NOT_FOUND;
	return rc == -EBUSY || rc == -ESTALE || rc == -EINVAL || rc == -ENODATA ? CTL_REFUSED
										: CTL_FAILED;
}

/* ---- which node ---- */

static uint16_t by_number(const struct ring_map *m, const char *text)
{
	uint64_t v;

	return text_parse_number(text, UINT32_MAX, &v) ? RING_NONE
						       : ring_find_number(m, (uint32_t)v);
}

static bool has_address(const struct ring_node *n, const char *text)
{
	for (unsigned i = 0; i < n->naddrs; i++) {
		if (!strcmp(n->addr[i], text))
			return true;
	}
	return false;
}

static bool is_prefix(const char *text)
{
	size_t len = strlen(text);

	return len >= PREFIX_MIN && len < ORBIT_ID_HEX &&
	       strspn(text, "0123456789abcdefABCDEF") == len;
}

/* @text is a node's number, its address, or the beginning of its ID. */
static int find_node(const struct asking *a, const char *text, uint16_t *out)
{
	uint16_t found = by_number(a->map, text);
	char hex[ORBIT_ID_HEX];

	for (unsigned i = 0; found == RING_NONE && i < a->map->nnodes; i++) {
		if (has_address(&a->map->nodes[i], text))
			found = (uint16_t)i;
	}
	for (unsigned i = 0; found == RING_NONE && is_prefix(text) && i < a->map->nnodes; i++) {
		if (strncasecmp(orbit_id_hex(&a->map->nodes[i].id, hex), text, strlen(text)))
			continue;
		for (unsigned j = i + 1; j < a->map->nnodes; j++) {
			orbit_id_hex(&a->map->nodes[j].id, hex);
			if (!strncasecmp(hex, text, strlen(text)))
				return ctl_fail(
					       a->k, "%s: more than one node's ID begins so", text),
				       CTL_USAGE;
		}
		found = (uint16_t)i;
	}
	if (found == RING_NONE)
		return ctl_fail(a->k,
			       "%s: no such node (want its number, its address or the "
			       "beginning of its ID)",
			       text),
		       CTL_NOT_FOUND;
	*out = found;
	return CTL_OK;
}

/* Opens, finds the node of the first argument, asks @m of it, says what was done. */
static int ask_of_node(struct ctl *k, struct wire_ask_m *m, const char *done)
{
	char hex[ORBIT_ID_HEX];
	struct asking a;
	uint16_t node = 0;
	int code = asking_open(&a, k);

	if (!code)
		code = find_node(&a, k->args[0], &node);
	if (!code) {
		m->node = a.map->nodes[node].id;
		code = ask(&a, m);
	}
	if (!code && k->json) {
		struct json j;

		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_number(&j, "node", a.map->nodes[node].number);
		json_text(&j, "id", orbit_id_hex(&m->node, hex));
		if (m->what == ASK_RENAME)
			json_text(&j, "new_id", orbit_id_hex(&m->id2, hex));
		json_close(&j);
	} else if (!code) {
		printf("node %u %s", a.map->nodes[node].number, done);
		if (m->what == ASK_RENAME)
			printf(" %s", orbit_id_hex(&m->id2, hex));
		putchar('\n');
	}
	return asking_close(&a, code);
}

/* ---- the commands ---- */

int cmd_node_leave(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_LEAVE, .flags = k->undo ? ASK_F_ADD : 0};

	return ask_of_node(k, &m,
		k->undo ? "stays" : "is leaving: its data moves away (orbitctl rebalance status)");
}

int cmd_node_remove(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_REMOVE, .flags = k->force ? ASK_F_FORCE : 0};

	return ask_of_node(k, &m, "is removed");
}

int cmd_node_weight(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_WEIGHT};
	uint64_t w;

	if (text_parse_number(k->args[1], CTL_WEIGHT_MAX, &w))
		return ctl_fail(k, "%s: want a weight, 0 to %d", k->args[1], CTL_WEIGHT_MAX),
		       CTL_USAGE;
	m.weight = (uint32_t)w;
	return ask_of_node(k, &m, "has another weight");
}

int cmd_node_rename(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_RENAME};

	if (!k->to || !strcmp(k->to, "random")) {
		if (getentropy(&m.id2, sizeof(m.id2)))
			return ctl_fail(k, "random numbers: %s", strerror(errno));
	} else if (orbit_id_parse(k->to, &m.id2)) {
		return ctl_fail(k, "--to: want 64 hex digits, or random"), CTL_USAGE;
	}
	return ask_of_node(k, &m, "has the new ID");
}

static int ask_once(struct ctl *k, struct wire_ask_m *m)
{
	struct asking a;
	int code = asking_open(&a, k);

	if (!code)
		code = ask(&a, m);
	return asking_close(&a, code);
}

int cmd_cluster_replicas(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_REPLICAS, .min_in_sync = (uint8_t)k->min_in_sync};
	uint64_t n;

	if (text_parse_number(k->args[0], RING_REPLICAS_MAX, &n) || !n)
		return ctl_fail(k, "%s: want 1 to %d", k->args[0], RING_REPLICAS_MAX), CTL_USAGE;
	if (k->min_in_sync > n)
		return ctl_fail(k, "--min-in-sync: want at most %s", k->args[0]), CTL_USAGE;
	m.replicas = (uint8_t)n;
	return ask_once(k, &m);
}

int cmd_session_fence(struct ctl *k)
{
	struct wire_ask_m m = {.what = ASK_FENCE};
	uint64_t n;

	if (text_parse_number(k->args[0], (1u << 24) - 1, &n) || !n)
		return ctl_fail(k, "%s: want a session's number", k->args[0]), CTL_USAGE;
	m.session = (uint32_t)n;
	return ask_once(k, &m);
}
