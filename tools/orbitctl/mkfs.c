/* mkfs: an empty filesystem. */
#include <errno.h>
#include <unistd.h>

#include "fs/ops/fs.h"
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
