/* cluster init: the first node of a new cluster, with the first ring map in its store. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "tools/common/fsid.h"
#include "tools/orbitctl/ctl.h"

static int first_map(
	struct ctl *k, const uint8_t fsid[16], const struct orbit_id *id, struct ring_map **m)
{
	struct ring_node self = {.id = *id, .weight = k->weight, .naddrs = k->naddrs};
	unsigned bits = (unsigned)__builtin_ctz(k->shards);
	int rc;

	for (unsigned i = 0; i < k->naddrs; i++)
		snprintf(self.addr[i], sizeof(self.addr[i]), "%s", k->addr[i]);
	if (k->zone)
		snprintf(self.zone, sizeof(self.zone), "%s", k->zone);
	rc = ring_make(m, fsid, bits, k->replicas, &self, 1);
	return rc ? ctl_fail(k, "no ring can be made of this: %s", strerror(-rc)) : CTL_OK;
}

/* Puts the map into the store, which is there and empty. */
static int bootstrap(struct ctl *k, const struct ring_map *m)
{
	struct store_config cfg = store_config_default();
	struct cluster c = {0};
	char why[512];
	int rc = loop_new(&c.loop), rc2;

	if (rc)
		return ctl_fail(k, "event loop: %s", strerror(-rc));
	c.env = loop_env(c.loop);
	rc = store_open(&c.store, c.env, k->where.store, &cfg, why, sizeof(why));
	if (rc) {
		loop_free(c.loop);
		return ctl_fail(k, "%s", why);
	}
	rc = keeper_bootstrap(c.store, m);
	rc2 = cluster_close(&c, 0);
	if (!rc)
		rc = rc2;
	return rc ? ctl_fail(k, "%s: %s", k->where.store, strerror(-rc)) : CTL_OK;
}

static void tell(struct ctl *k, const uint8_t fsid[16], const struct orbit_id *id)
{
	char hex[FSID_HEX], node[ORBIT_ID_HEX];
	struct json j;

	fsid_hex(fsid, hex);
	orbit_id_hex(id, node);
	if (k->json) {
		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_text(&j, "node", node);
		json_text(&j, "fsid", hex);
		json_number(&j, "replicas", k->replicas);
		json_number(&j, "shards", k->shards);
		json_close(&j);
		return;
	}
	printf("the first node %.16s of the cluster %s: %u %s of everything, %u shards\n"
	       "\n"
	       "start it:          orbitd --store %s --listen %s\n"
	       "on other machines: orbitd --store DIR --listen HOST:PORT --join %s\n"
	       "then, once:        orbitctl mkfs -o cluster=%s\n",
		node, hex, k->replicas, k->replicas == 1 ? "copy" : "copies", k->shards,
		k->where.store, k->addr[0], k->addr[0], k->addr[0]);
}

int cmd_cluster_init(struct ctl *k)
{
	struct orbit_id id;
	struct ring_map *m;
	uint8_t fsid[16];
	int code, rc;

	if (!k->naddrs)
		return ctl_fail(k, "want --addr HOST:PORT, where other nodes and clients reach it"),
		       CTL_USAGE;
	if (k->name && fsid_parse(k->name, fsid))
		return ctl_fail(k, "--name: want up to 255 characters"), CTL_USAGE;
	if ((!k->name && getentropy(fsid, sizeof(fsid))) || getentropy(&id, sizeof(id)))
		return ctl_fail(k, "random numbers: %s", strerror(errno));
	code = first_map(k, fsid, &id, &m);
	if (code)
		return code;
	rc = store_make(k->where.store, fsid, &id);
	if (rc)
		code = ctl_fail(k, "%s: %s", k->where.store,
			rc == -EEXIST      ? "there is a store already"
			: rc == -ENOTEMPTY ? "the folder is not empty"
					   : strerror(-rc));
	if (!code)
		code = bootstrap(k, m);
	if (!code)
		tell(k, fsid, &id);
	ring_unref(m);
	return code;
}
