/*
 * lock_list: which bytes somebody has locked, and how. Pure.
 */
#ifndef ORBIT_OPS_LOCK_LIST_H
#define ORBIT_OPS_LOCK_LIST_H

#include "fs/layout/layout.h"

enum lock_mode { LOCK_NOT, LOCK_TO_READ, LOCK_TO_WRITE };

/* In order; no two touch that are alike. */
struct lock_list {
	struct layout_lock_range *r;
	unsigned n, cap;
};

void lock_list_fini(struct lock_list *l);
void lock_list_copy(struct lock_list *to, const struct lock_list *from);

/* From now on @first .. @last are locked in @mode, whatever they were: split and joined as needed.
 * False: they are so already. */
bool lock_list_set(
	struct lock_list *l, enum lock_mode mode, uint64_t first, uint64_t last, uint32_t pid);

/* The first range that keeps another owner from having @first .. @last in @mode; or NULL. */
const struct layout_lock_range *lock_list_conflict(
	const struct lock_list *l, enum lock_mode mode, uint64_t first, uint64_t last);

#endif
