/* mkfs, store init: making what is not there yet. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "fs/ops/fs.h"
#include "tools/common/fsid.h"
#include "tools/orbitctl/ctl.h"

int cmd_mkfs(struct ctl *k)
{
	struct cluster c;
	struct await w;
	char why[512];
	int code, rc;

	if (k->where.store) {
		/* one that is there already may lack its filesystem: then only that is made */
		rc = cluster_make_store(k->where.store, why, sizeof(why));
		if (rc && rc != -EEXIST)
			return ctl_fail(k, "%s", why);
	}
	code = ctl_open(k, &c);
	if (code)
		return code;
	w = (struct await){.loop = c.loop};
	fs_mkfs(c.client, c.env, getuid(), getgid(), await_done, &w);
	rc = await(&w);
	if (rc == -EEXIST)
		code = ctl_fail(k, "there is a filesystem already");
	else if (rc)
		code = ctl_fail(k, "%s", ctl_why(rc));
	return ctl_close(k, &c, code);
}

int cmd_store_init(struct ctl *k)
{
	char id[ORBIT_ID_HEX], hex[FSID_HEX];
	struct orbit_id node;
	uint8_t fsid[16];
	int rc;

	if (!k->fsid || fsid_parse(k->fsid, fsid))
		return ctl_fail(k, "want --fsid with a name or 32 hex digits"), CTL_USAGE;
	if (getentropy(&node, sizeof(node)))
		return ctl_fail(k, "random numbers: %s", strerror(errno));
	rc = store_make(k->where.store, fsid, &node);
	if (rc)
		return ctl_fail(k, "%s: %s", k->where.store,
			rc == -EEXIST      ? "there is a store already"
			: rc == -ENOTEMPTY ? "the folder is not empty"
					   : strerror(-rc));
	if (k->json) {
		struct json j;

		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_text(&j, "node", orbit_id_hex(&node, id));
		json_text(&j, "fsid", fsid_hex(fsid, hex));
		json_close(&j);
	} else {
		printf("node %s of filesystem %s\n", orbit_id_hex(&node, id), fsid_hex(fsid, hex));
	}
	return CTL_OK;
}
