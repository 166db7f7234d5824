/* status, ping: is everybody well? Asked of each node directly, so that it works when some, also
 * the keeper, are down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/probe.h"

/* The loop to ask on, with the embedded node on it if there is one. */
static int open_loop(struct ctl *k, struct cluster *c)
{
	char why[512];
	int rc;

	if (k->where.store) {
		rc = cluster_open(c, &k->where, NULL, why, sizeof(why));
		return rc ? ctl_fail(k, "%s", why) : CTL_OK;
	}
	*c = (struct cluster){0};
	rc = loop_new(&c->loop);
	if (rc)
		return ctl_fail(k, "no event loop: %s", strerror(-rc));
	c->env = loop_env(c->loop);
	return CTL_OK;
}

/* The map from the first seed that has one. */
static int find_map(struct ctl *k, struct cluster *c, struct ring_map **m)
{
	unsigned n = k->where.store ? 1 : k->where.nseeds;
	char why[512] = "";

	for (unsigned i = 0; i < n; i++) {
		const char *addr = k->where.store ? CLUSTER_LOCAL : k->where.seeds[i];
		struct probe *p;
		int rc = probe_open(&p, c->loop, addr, k->timeout, why, sizeof(why));

		if (rc)
			continue;
		rc = probe_map(p, m);
		probe_close(p);
		if (!rc)
			return CTL_OK;
		snprintf(why, sizeof(why), "%s: %s", addr,
			rc == -ENOENT ? "has no ring yet (see orbitctl ring create)" : ctl_why(rc));
	}
	return ctl_fail(k, "%s", why);
}

struct printing {
	struct ctl *k;
	struct json *j;
};

static void on_stat(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	struct printing *p = arg;
	char key[64];

	if (p->k->json) {
		snprintf(key, sizeof(key), "%.*s", (int)nlen, name);
		json_bytes(p->j, key, text, tlen);
	} else {
		printf("  %-24.*s %.*s\n", (int)nlen, name, (int)tlen, text);
	}
}

/* One node's answer, or that there is none: 0 or -errno. */
static int show_node(struct ctl *k, struct cluster *c, const struct ring_node *n, struct json *j)
{
	struct printing pr = {.k = k, .j = j};
	char id[ORBIT_ID_HEX], why[512];
	struct probe *p = NULL;
	int rc = probe_open(&p, c->loop, n->addr[0], k->timeout, why, sizeof(why));

	orbit_id_hex(&n->id, id);
	if (!rc && orbit_id_cmp(&probe_hello(p)->node, &n->id)) {
		snprintf(why, sizeof(why), "%s: another node answers there", n->addr[0]);
		rc = -EMEDIUMTYPE;
	}
	if (k->json) {
		json_object(j, NULL);
		json_text(j, "id", id);
		json_text(j, "address", n->addr[0]);
		json_bool(j, "up", !rc);
		if (rc)
			json_text(j, "error", why);
		json_object(j, "stats");
	} else if (rc) {
		printf("%.16s  down  %s\n", id, why);
	} else {
		printf("%.16s  up    %s\n", id, n->addr[0]);
	}
	if (!rc)
		rc = probe_stats(p, on_stat, &pr);
	if (k->json) {
		json_close(j);
		json_close(j);
	}
	probe_close(p);
	return rc;
}

int cmd_status(struct ctl *k)
{
	struct ring_map *m;
	struct cluster c;
	struct json j;
	int code = open_loop(k, &c);

	if (code)
		return code;
	code = find_map(k, &c, &m);
	if (code)
		return ctl_close(k, &c, code);
	json_begin(&j, stdout);
	if (k->json) {
		json_object(&j, NULL);
		json_number(&j, "epoch", m->epoch);
		json_array(&j, "nodes");
	}
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (show_node(k, &c, &m->nodes[i], &j))
			code = CTL_FAILED;
	}
	if (k->json) {
		json_close(&j);
		json_close(&j);
	}
	ring_unref(m);
	return ctl_close(k, &c, code);
}

/* ---- ping ---- */

static int ping_node(struct ctl *k, struct loop *lp, const char *addr, struct json *j)
{
	struct probe *p = NULL;
	char id[ORBIT_ID_HEX], why[512];
	int rc = probe_open(&p, lp, addr, k->timeout, why, sizeof(why));

	if (k->json) {
		json_object(j, NULL);
		json_text(j, "address", addr);
		json_bool(j, "up", !rc);
		if (rc)
			json_text(j, "error", why);
		else
			json_text(j, "id", orbit_id_hex(&probe_hello(p)->node, id));
		json_array(j, "us");
	} else if (rc) {
		printf("%s\n", why);
	} else {
		printf("%s  %.16s ", addr, orbit_id_hex(&probe_hello(p)->node, id));
	}
	for (unsigned i = 0; i < k->count && !rc; i++) {
		int64_t ns = probe_ping(p);

		rc = ns < 0 ? (int)ns : 0;
		if (k->json && !rc)
			json_number(j, NULL, (uint64_t)ns / 1000);
		else if (!rc)
			printf(" %.3f ms", (double)ns / 1e6);
		else if (!k->json)
			printf(" %s", ctl_why(rc));
	}
	if (k->json) {
		json_close(j);
		json_close(j);
	} else if (p) {
		putchar('\n');
	}
	probe_close(p);
	return rc;
}

int cmd_ping(struct ctl *k)
{
	struct json j;
	struct loop *lp;
	int code = CTL_OK;

	if (loop_new(&lp))
		return ctl_fail(k, "no event loop");
	json_begin(&j, stdout);
	if (k->json)
		json_array(&j, NULL);
	for (int i = 0; i < k->nargs; i++) {
		if (ping_node(k, lp, k->args[i], &j))
			code = CTL_FAILED;
	}
	if (k->json)
		json_close(&j);
	loop_free(lp);
	return code;
}
