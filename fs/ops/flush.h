/*
 * flush: calls that wait for what is dirty, and for the disks. Private to fs/ops.
 */
#ifndef ORBIT_OPS_FLUSH_H
#define ORBIT_OPS_FLUSH_H

#include "fs/ops/file.h"

/*
 * Sends what is dirty of @f for @call, then makes it durable if @sync, then fn(call, f, rc), which
 * must end the call: rc is the first error of writing behind that this file was not told of. A
 * signal ends the waiting; fn() comes with -EINTR, and what is dirty stays so.
 */
typedef void flush_cb(struct fs_call *call, struct fs_file *f, int rc);
void flush_file(struct fs *fs, struct fs_call *call, struct fs_file *f, bool sync, flush_cb *fn);

/* The error that @f has to report now, or 0. */
int flush_error(struct fs_file *f);

struct op;
/*
 * From here to flush_unpark() the operation waits for something that is not its call's own: a flush
 * or a trim, which go on in any case. A signal that may end the call ends it with -EINTR, and the
 * operation goes on for nobody: it must not rely on what the caller holds.
 */
void flush_park(struct op *o);
void flush_unpark(struct op *o);

/* The same question of whatever waits since @since: may a signal that is not fatal end it? */
bool flush_stalled(struct fs *fs, uint64_t since);

/* Ends all that waits for a disk with -EINTR. */
void flush_cancel_all(struct fs *fs);

#endif
