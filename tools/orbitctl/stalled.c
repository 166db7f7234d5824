/* stalled: what a mount waits for. The mount itself answers, through attributes of its root; it
 * also acts when some are read. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "tools/orbitctl/ctl.h"

#define ATTR "system.orbitfs.stalled"
#define ATTR_RETRY "system.orbitfs.retry"
#define ATTR_CANCEL "system.orbitfs.cancel." /* and the handle */
#define TEXT_MAX (64u << 10)

static int explain(struct ctl *k, int err)
{
	if (err == ENODATA || err == EOPNOTSUPP)
		return ctl_fail(k, "%s: not an orbitfs mount", k->args[0]);
	return ctl_fail(k, "%s: %s", k->args[0], strerror(err));
}

/* One "key=value" or key="a b" of a line; false at its end. */
static bool next_pair(char **at, char **key, char **value)
{
	char *p = *at + strspn(*at, " ");
	char *end;

	if (!*p)
		return false;
	*key = p;
	p = strchr(p, '=');
	if (!p)
		return false;
	*p++ = 0;
	if (*p == '"') {
		*value = ++p;
		end = strchr(p, '"');
	} else {
		*value = p;
		end = strchr(p, ' ');
	}
	*at = end ? end + 1 : p + strlen(p);
	if (end)
		*end = 0;
	return true;
}

/* The text is a line of logfmt per transaction. */
static void print_json(char *text)
{
	char *line, *key, *value, *save = NULL;
	struct json j;
	uint64_t n;

	json_begin(&j, stdout);
	json_array(&j, NULL);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_object(&j, NULL);
		while (next_pair(&line, &key, &value)) {
			if (!text_parse_number(value, UINT64_MAX, &n))
				json_number(&j, key, n);
			else
				json_text(&j, key, value);
		}
		json_close(&j);
	}
	json_close(&j);
}

static int show(struct ctl *k)
{
	char *text = malloc(TEXT_MAX + 1);
	ssize_t len = text ? getxattr(k->args[0], ATTR, text, TEXT_MAX) : -1;

	if (len < 0) {
		int err = errno;

		free(text);
		return explain(k, err);
	}
	text[len] = 0;
	if (k->json)
		print_json(text);
	else
		fputs(text, stdout);
	free(text);
	return CTL_OK;
}

/* Reads an attribute for what that does: 0 or an errno. */
static int act(struct ctl *k, const char *attr)
{
	char answer[64];

	return getxattr(k->args[0], attr, answer, sizeof(answer)) < 0 ? errno : 0;
}

int cmd_stalled(struct ctl *k)
{
	char attr[64];
	uint64_t handle;
	int err;

	if (k->retry && k->cancel)
		return ctl_fail(k, "--retry or --cancel, not both"), CTL_USAGE;
	if (!k->retry && !k->cancel)
		return show(k);
	if (k->retry) {
		err = act(k, ATTR_RETRY);
		return err ? explain(k, err) : CTL_OK;
	}
	if (text_parse_number(k->cancel, UINT64_MAX, &handle))
		return ctl_fail(k, "--cancel: want a handle, as \"stalled\" shows it"), CTL_USAGE;
	snprintf(attr, sizeof(attr), ATTR_CANCEL "%" PRIu64, handle);
	err = act(k, attr);
	if (err == ENOENT)
		return ctl_fail(k, "%s: nothing stalled by that handle", k->cancel), CTL_NOT_FOUND;
	return err ? explain(k, err) : CTL_OK;
}
