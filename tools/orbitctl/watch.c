/* watch: changes of objects, as they happen. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tools/orbitctl/ctl.h"

struct watching {
	struct ctl *k;
	struct cluster *c;
	struct orbit_watch *w;
	unsigned seen;
};

static const char *name_of(enum orbit_watch_what what)
{
	switch (what) {
	case ORBIT_WATCH_BEGUN:
		return "watching";
	case ORBIT_WATCH_MISSED:
		return "missed"; /* changes may have been */
	case ORBIT_WATCH_CREATED:
		return "created";
	case ORBIT_WATCH_CHANGED:
		return "changed";
	case ORBIT_WATCH_DELETED:
		return "deleted";
	}
	return "?";
}

static bool is_change(enum orbit_watch_what what)
{
	return what == ORBIT_WATCH_CREATED || what == ORBIT_WATCH_CHANGED ||
	       what == ORBIT_WATCH_DELETED;
}

static void print(struct watching *w, const struct orbit_change *ch)
{
	char id[ORBIT_ID_HEX];
	struct json j;

	if (w->k->json) {
		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_text(&j, "what", name_of(ch->what));
		json_number(&j, "wall_ms", env_wall(w->c->env) / ENV_MS);
		if (is_change(ch->what)) {
			json_text(&j, "id", orbit_id_hex(&ch->id, id));
			json_number(&j, "shard", ch->shard);
			json_number(&j, "version", ch->seq);
		}
		json_close(&j);
	} else if (is_change(ch->what)) {
		printf("%s %s shard %u version %" PRIu64 "\n", name_of(ch->what),
			orbit_id_hex(&ch->id, id), ch->shard, ch->seq);
	} else {
		printf("%s\n", name_of(ch->what));
	}
}

static void on_change(void *arg, const struct orbit_change *ch)
{
	struct watching *w = arg;

	print(w, ch);
	w->seen += is_change(ch->what);
	if (fflush(stdout) || (w->k->count && w->seen >= w->k->count))
		loop_stop(w->c->loop);
}

/* A name is hashed; hex digits are an ID, or the beginning of one. Returns how many bits count. */
static unsigned parse(const char *text, struct orbit_id *id)
{
	size_t len = strlen(text);
	char hex[ORBIT_ID_HEX];

	if (!len || len >= ORBIT_ID_HEX || strspn(text, "0123456789abcdefABCDEF") != len) {
		*id = ctl_id(text);
		return 256;
	}
	memset(hex, '0', sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = 0;
	memcpy(hex, text, len);
	orbit_id_parse(hex, id); /* it is hex */
	return (unsigned)len * 4;
}

int cmd_watch(struct ctl *k)
{
	struct cluster c;
	struct watching w = {.k = k, .c = &c};
	struct orbit_id id;
	unsigned bits = parse(k->args[0], &id);
	int code = ctl_open(k, &c), rc;

	if (code)
		return code;
	rc = orbit_watch(c.client, &id, bits, on_change, &w, &w.w);
	if (rc)
		return ctl_close(k, &c, ctl_fail(k, "%s", ctl_why(rc)));
	loop_run(c.loop); /* until --count changes were seen, or standard output is closed */
	orbit_unwatch(w.w);
	return ctl_close(k, &c, CTL_OK);
}
