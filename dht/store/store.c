/* Making, opening and freeing a store. */
#include "dht/store/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

struct store_config store_config_default(void)
{
	return (struct store_config){.segment_size = 64u << 20,
		.index_buffer = 64u << 20,
		.cache_size = 256u << 20,
		.reserve = 0,
		.log_keep = 0,
		.tail_max = 1u << 20,
		.compact_rate = 50000000,
		.compact_below = 50};
}

/* What a person may find in an empty folder. */
static bool harmless(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "LOCK") ||
	       !strcmp(name, META_NAME ".tmp") || !strcmp(name, "lost+found");
}

static int check_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		if (!strcmp(e->d_name, META_NAME)) {
			rc = -EEXIST;
			break;
		}
		if (!harmless(e->d_name))
			rc = -ENOTEMPTY;
	}
	closedir(dir);
	return rc;
}

int store_make(const char *path, const uint8_t fsid[16], const struct orbit_id *node)
{
	struct disk *d;
	int rc;

	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	rc = check_empty(path);
	if (rc)
		return rc;
	rc = disk_file_new(path, &d);
	if (rc)
		return rc;
	rc = store_make_on(d, fsid, node);
	disk_free(d);
	return rc;
}

static void fill_config(struct store_config *cfg, const struct store_config *given)
{
	struct store_config def = store_config_default();

	*cfg = *given;
	if (!cfg->segment_size)
		cfg->segment_size = def.segment_size;
	if (!cfg->index_buffer)
		cfg->index_buffer = def.index_buffer;
	if (!cfg->cache_size)
		cfg->cache_size = def.cache_size;
	if (!cfg->tail_max)
		cfg->tail_max = def.tail_max;
	if (!cfg->compact_rate)
		cfg->compact_rate = def.compact_rate;
	if (!cfg->compact_below)
		cfg->compact_below = def.compact_below;
}

static int open_meta(struct store *st, struct meta *m, char *why, size_t why_len)
{
	int rc = meta_load(st->disk, m);

	if (rc == -ENOENT)
		snprintf(why, why_len, "there is no store there");
	else if (rc == -EPROTONOSUPPORT)
		snprintf(why, why_len,
			"the store has a newer format than this program knows, or an older one");
	else if (rc == -EUCLEAN)
		snprintf(why, why_len, "the store's META file is damaged");
	else if (rc)
		snprintf(why, why_len, "the store's META file cannot be read (%s)", log_errno(rc));
	return rc;
}

/* Everything that blocks while opening. */
static int open_blocking(struct store *st, char *why, size_t why_len)
{
	struct meta m;
	int rc = open_meta(st, &m, why, why_len);

	if (rc)
		return rc;
	memcpy(st->info.fsid, m.fsid, 16);
	st->info.node = m.node;
	st->info.starts = m.starts + 1;
	rc = st->disk->ops->boot(st->disk, st->boot);
	if (rc) {
		log_warn("mod=store op=boot rc=%s msg=\"cannot tell whether the kernel is the "
			 "same\"",
			log_errno(rc));
		env_random(st->env, st->boot, sizeof(st->boot));
	}
	rc = space_ask(st);
	if (rc) {
		snprintf(why, why_len, "cannot tell how full the disk is (%s)", log_errno(rc));
		return rc;
	}
	rc = recover(st, &m, why, why_len);
	if (rc)
		return rc;
	rc = meta_note(st, false);
	if (rc)
		snprintf(why, why_len, "the store's META file cannot be written (%s)",
			log_errno(rc));
	return rc;
}

int store_open_on(struct store **out, struct env *e, struct disk *d, struct store_index *ix,
	const struct store_config *cfg, char *why, size_t why_len)
{
	struct store *st = mem_zalloc(sizeof(*st));
	int rc;

	why[0] = 0;
	st->env = e;
	st->disk = d;
	st->ix = ix;
	st->gate = gate_new(e);
	fill_config(&st->cfg, cfg);
	batch_init(&st->batch);
	journal_init(st);
	flush_init(st);
	wait_init(st);
	compact_init(st);
	rc = open_blocking(st, why, why_len);
	if (rc) {
		store_free(st);
		return rc;
	}
	log_info("mod=store op=open starts=%llu segments=%zu log=%llu live=%llu whole=%d "
		 "msg=\"store open\"",
		(unsigned long long)st->info.starts, st->nsegs, (unsigned long long)st->log_bytes,
		(unsigned long long)st->live_bytes, st->info.whole);
	compact_kick(st);
	*out = st;
	return 0;
}

int store_open(struct store **out, struct env *e, const char *path, const struct store_config *cfg,
	char *why, size_t why_len)
{
	struct store_index *ix = NULL;
	struct store_config full;
	char folder[4096];
	struct disk *d;
	struct meta m;
	int rc;

	why[0] = 0;
	rc = disk_file_new(path, &d);
	if (rc) {
		snprintf(why, why_len, "%s: %s", path,
			rc == -ENOENT  ? "there is no store there"
			: rc == -EBUSY ? "the store is in use by another process"
				       : strerror(-rc));
		return rc;
	}
	/* before an index is made where no store is */
	rc = meta_load(d, &m);
	if (rc) {
		struct store st = {.disk = d};

		open_meta(&st, &m, why, why_len);
		goto fail;
	}
	rc = -ENAMETOOLONG;
	if ((size_t)snprintf(folder, sizeof(folder), "%s/index", path) >= sizeof(folder)) {
		snprintf(why, why_len, "the path is too long");
		goto fail;
	}
	fill_config(&full, cfg);
	rc = index_rocks_new(folder, full.index_buffer, full.cache_size, &ix, why, why_len);
	if (rc)
		goto fail;
	rc = store_open_on(out, e, d, ix, cfg, why, why_len);
	if (rc)
		goto fail;
	(*out)->owned = true;
	return 0;
fail:
	index_free(ix);
	disk_free(d);
	return rc;
}

void store_free(struct store *st)
{
	if (!st)
		return;
	gate_close(st->gate);
	compact_fini(st);
	repair_fini(st);
	clear_fini(st);
	tail_fini(st);
	history_forget(st);
	flush_fini(st);
	wait_fini(st);
	journal_fini(st);
	batch_fini(&st->batch);
	if (st->owned) {
		index_free(st->ix);
		disk_free(st->disk);
	}
	free(st);
}

const struct store_info *store_info(const struct store *st)
{
	return &st->info;
}

struct disk *store_disk(struct store *st)
{
	return st->disk;
}

int store_broken(const struct store *st)
{
	return st->broken;
}
