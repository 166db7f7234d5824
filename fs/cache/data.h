/*
 * data: file data on its way: write-behind and read-ahead, per inode.
 *
 * Dirty bytes are kept in pages of this process until flush, fsync, a limit or a short timer sends
 * them: blocks first, then size and times in the inode. An error is kept and reported once per open
 * file at flush or fsync. What is dirty counts in attributes at once.
 */
#ifndef ORBIT_CACHE_DATA_H
#define ORBIT_CACHE_DATA_H

#include "dht/client/orbit.h"
#include "fs/layout/layout.h"

struct data_cache;

/* Adds what is dirty (size, mtime, ctime) to attributes that came from the cluster. */
void data_overlay(struct data_cache *dc, struct fs_attr *a);

/* Sends everything dirty of @ino; done(arg, rc) when the nodes have it (not necessarily on disk).
 * With nothing dirty done() still comes later, never inside. */
void data_flush(struct data_cache *dc, uint64_t ino, void (*done)(void *arg, int rc), void *arg);

/* Is anything of @ino dirty or being sent? */
bool data_dirty(const struct data_cache *dc, uint64_t ino);

#endif
