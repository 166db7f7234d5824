/*
 * What the parts of files share (files.c, files_load.c). Private to them.
 */
#ifndef ORBIT_KEEPER_FILES_IMPL_H
#define ORBIT_KEEPER_FILES_IMPL_H

#include "dht/keeper/files.h"

#define FILES_LOG_MAGIC 0x474f4c4bu
#define FILES_REC_MAGIC 0x4345524bu
#define FILES_FORMAT 1
#define FILES_LOG_HEAD 18
#define FILES_REC_HEAD 37

/* A file of the log. */
struct files_seg {
	TAILQ_ENTRY(files_seg) entry;
	uint64_t first;
	struct disk_file *file;
	uint64_t len;   /* bytes that are good */
	bool dirty;     /* others may stand behind them: a write failed */
	uint64_t *offs; /* where each entry begins */
	size_t n, cap;
};

#define FILES_NAME_MAX 64
void files_seg_name(char name[FILES_NAME_MAX], uint64_t first);
void files_snap_name(char name[FILES_NAME_MAX], uint64_t index);

void files_seg_free(struct files *f, struct files_seg *s);
/* It goes from the disk, durably. */
int files_seg_remove(struct files *f, struct files_seg *s);
/* The next entry begins at @off. */
void files_seg_note(struct files_seg *s, uint64_t off);

#endif
