/* model_step: what the steps of the model share. */
#ifndef ORBIT_TESTS_MODEL_MODEL_STEP_H
#define ORBIT_TESTS_MODEL_MODEL_STEP_H

#include <stdarg.h>

#include "tests/model/model_int.h"

struct step {
	struct model *m;
	const struct call *c;
	const struct seen *s;
	char *why;
	size_t len;
};

bool step_no(struct step *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool step_rc(struct step *x, int rc);
/* ctime is now, with @data mtime too. */
void step_touch(struct step *x, struct model_inode *i, bool data);
bool step_attr(struct step *x, struct model_inode *i, const struct fs_attr *a);
bool step_seen_attr(struct step *x, struct model_inode *i);
struct model_inode *step_inode(struct step *x, uint64_t ino);
bool step_gone(const struct model_inode *i);
bool step_is_gone(const struct step *x);

/* model_xattr.c */
bool step_xattr(struct step *x);

/* model_lock.c */
bool step_lock(struct step *x);
/* The caller closes the file: what its process has locked by fcntl goes with it, at once; what was
 * locked through it soon. */
void step_unlock(struct step *x, struct model_inode *i);

/* model_data.c */
bool step_opened(struct step *x, struct model_inode *i);
bool step_same(struct step *x, const uint8_t *p, uint64_t len);
bool step_data(struct step *x);
void step_kill_priv(struct model_inode *i);
/* The file is about to be changed by the caller: it was like this. */
void step_dirty(struct step *x, struct model_inode *i);
/* All that the caller has written is sent. */
void step_clean(struct step *x, struct model_inode *i);

#endif
