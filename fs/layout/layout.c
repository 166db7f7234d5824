#include "fs/layout/layout.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/sha.h>
#include <string.h>

#include "dht/base/buf.h"

/* IDs: 8 bytes position, then 24 that say what it is: a text for inodes and the objects that exist
 * once; a tag, inode and number for blocks. */
const uint8_t layout_inode_suffix[24] = "orbitfs inode";
static const uint8_t super_suffix[24] = "orbitfs superblock";
static const uint8_t rename_suffix[24] = "orbitfs rename epoch";
static const uint8_t locks_suffix[24] = "orbitfs locks";
static const uint8_t block_tag[8] = "fs block";

#define COOKIE_MIN 257

static uint64_t hash_position(const void *data, size_t len)
{
	uint8_t md[SHA256_DIGEST_LENGTH];

	SHA256(data, len, md);
	return get_be64(md);
}

uint64_t layout_ino_own(uint64_t low)
{
	uint8_t b[8];

	low &= LAYOUT_INO_LOW_MASK;
	put_be64(b, low);
	return (hash_position(b + 2, 6) & ~LAYOUT_INO_LOW_MASK) | low;
}

uint64_t layout_ino_beside(uint64_t low, uint64_t dir)
{
	return (dir & ~LAYOUT_INO_LOW_MASK) | (low & LAYOUT_INO_LOW_MASK);
}

uint64_t layout_ino_root(void)
{
	static uint64_t root;

	if (!root)
		root = layout_ino_own(1);
	return root;
}

struct orbit_id layout_inode_id(uint64_t ino)
{
	struct orbit_id id;

	put_be64(id.b, ino);
	memcpy(id.b + 8, layout_inode_suffix, 24);
	return id;
}

struct orbit_id layout_block_id(uint64_t ino, uint64_t block)
{
	struct orbit_id id;

	memcpy(id.b + 8, block_tag, 8);
	put_be64(id.b + 16, ino);
	put_be64(id.b + 24, block);
	put_be64(id.b, hash_position(id.b + 8, 24));
	return id;
}

static struct orbit_id once(const uint8_t suffix[24])
{
	return orbit_id_make(hash_position(suffix, 24), suffix);
}

struct orbit_id layout_super_id(void)
{
	return once(super_suffix);
}

struct orbit_id layout_rename_id(void)
{
	return once(rename_suffix);
}

struct orbit_id layout_locks_id(uint64_t ino)
{
	return orbit_id_make(ino, locks_suffix);
}

enum layout_kind layout_kind_of(const struct orbit_id *id, uint64_t *ino, uint64_t *block)
{
	const uint8_t *name = id->b + 8;

	*ino = *block = 0;
	if (!memcmp(name, layout_inode_suffix, 24)) {
		*ino = orbit_id_position(id);
		return LAYOUT_INODE;
	}
	if (!memcmp(name, block_tag, 8)) {
		if (hash_position(name, 24) != orbit_id_position(id))
			return LAYOUT_OTHER;
		*ino = get_be64(name + 8);
		*block = get_be64(name + 16);
		return LAYOUT_BLOCK_OBJECT;
	}
	if (!memcmp(name, locks_suffix, 24)) {
		*ino = orbit_id_position(id);
		return LAYOUT_LOCKS;
	}
	if (!memcmp(name, super_suffix, 24) && hash_position(name, 24) == orbit_id_position(id))
		return LAYOUT_SUPER;
	if (!memcmp(name, rename_suffix, 24) && hash_position(name, 24) == orbit_id_position(id))
		return LAYOUT_RENAME;
	return LAYOUT_OTHER;
}

/* FNV-1a (Fowler, Noll, Vo) and then a mix of the high bits into the low ones, since the order of
 * entries is that of the top bits. Two names of one hash are told apart by the rest of the key. */
static uint64_t name_hash(const char *name, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 29) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

size_t layout_dirent_key(const char *name, size_t len, uint8_t key[DIRENT_KEY_MAX])
{
	uint64_t cookie = name_hash(name, len) >> 1;

	if (cookie < COOKIE_MIN)
		cookie += COOKIE_MIN;
	key[0] = 'd';
	put_be64(key + 1, cookie);
	memcpy(key + 9, name, len);
	return 9 + len;
}

uint64_t layout_dirent_cookie(const uint8_t *key, size_t klen)
{
	return klen >= 9 ? get_be64(key + 1) : 0;
}

size_t layout_dirent_after(uint64_t cookie, uint8_t key[DIRENT_KEY_MAX])
{
	key[0] = 'd';
	put_be64(key + 1, cookie + 1);
	return 9;
}

int layout_dirent_name(const void *key, size_t klen, const char **name, size_t *len)
{
	const uint8_t *k = key;

	if (klen < 10 || klen > DIRENT_KEY_MAX || k[0] != 'd')
		return -EUCLEAN;
	if (memchr(k + 9, 0, klen - 9) || memchr(k + 9, '/', klen - 9))
		return -EUCLEAN;
	*name = (const char *)k + 9;
	*len = klen - 9;
	return 0;
}

void layout_dirent_value(uint64_t ino, uint8_t type, uint8_t val[DIRENT_VALUE_LEN])
{
	put_be64(val, ino); /* as in the ID, so that a node can follow it */
	val[8] = type;
}

int layout_dirent_parse(const void *val, size_t len, uint64_t *ino, uint8_t *type)
{
	if (len != DIRENT_VALUE_LEN)
		return -EUCLEAN;
	*ino = get_be64(val);
	*type = ((const uint8_t *)val)[8];
	return *ino & LAYOUT_INO_LOW_MASK ? 0 : -EUCLEAN;
}

size_t layout_xattr_key(const char *name, uint8_t key[1 + LAYOUT_XATTR_NAME_MAX])
{
	size_t len = strnlen(name, LAYOUT_XATTR_NAME_MAX);

	key[0] = 'x';
	memcpy(key + 1, name, len);
	return 1 + len;
}

void layout_lock_key(const struct layout_lock *l, uint8_t key[LOCK_KEY_LEN])
{
	key[0] = 'l';
	key[1] = (uint8_t)l->kind;
	put_be16(key + 2, (uint16_t)(l->session >> 16));
	put_be16(key + 4, (uint16_t)l->session);
	put_be64(key + 6, l->owner);
}

int layout_lock_parse(const void *key, size_t klen, struct layout_lock *l)
{
	const uint8_t *k = key;

	if (klen != LOCK_KEY_LEN || k[0] != 'l' || (k[1] != LAYOUT_FLOCK && k[1] != LAYOUT_FCNTL))
		return -EUCLEAN;
	l->kind = (enum layout_lock_kind)k[1];
	l->session = (uint32_t)get_be16(k + 2) << 16 | get_be16(k + 4);
	l->owner = get_be64(k + 6);
	return 0;
}

void layout_lock_put(struct buf *b, const struct layout_lock_range *r)
{
	uint8_t v[LOCK_RANGE_LEN];

	v[0] = r->write;
	put_be64(v + 1, r->first);
	put_be64(v + 9, r->last);
	put_be16(v + 17, (uint16_t)(r->pid >> 16));
	put_be16(v + 19, (uint16_t)r->pid);
	buf_bytes(b, v, sizeof(v));
}

int layout_lock_ranges(const void *val, size_t len, struct layout_lock_range r[LOCK_RANGES_MAX])
{
	const uint8_t *v = val;
	int n = (int)(len / LOCK_RANGE_LEN);

	if (len % LOCK_RANGE_LEN || len / LOCK_RANGE_LEN > LOCK_RANGES_MAX)
		return -EUCLEAN;
	for (int i = 0; i < n; i++, v += LOCK_RANGE_LEN) {
		r[i].write = v[0];
		r[i].first = get_be64(v + 1);
		r[i].last = get_be64(v + 9);
		r[i].pid = (uint32_t)get_be16(v + 17) << 16 | get_be16(v + 19);
		if (v[0] > 1 || r[i].first > r[i].last || r[i].last > LOCK_LAST ||
			(i && r[i].first <= r[i - 1].last))
			return -EUCLEAN;
	}
	return n;
}

uint8_t layout_dtype(uint32_t mode)
{
	return (uint8_t)IFTODT(mode);
}

static bool mode_known(uint64_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return mode <= LAYOUT_MODE_MAX;
	default:
		return false;
	}
}

int layout_attr(uint64_t ino, const struct txn_object *o, struct fs_attr *a)
{
	const uint64_t *s = o->slot;

	if (!mode_known(s[SLOT_MODE]) || s[SLOT_NLINK] > UINT32_MAX ||
		s[SLOT_SIZE] > LAYOUT_SIZE_MAX)
		return -EUCLEAN;
	*a = (struct fs_attr){
		.ino = ino,
		.mode = (uint32_t)s[SLOT_MODE],
		.uid = (uint32_t)s[SLOT_UID],
		.gid = (uint32_t)s[SLOT_GID],
		.nlink = (uint32_t)s[SLOT_NLINK],
		.size = s[SLOT_SIZE],
		.bytes = o->stream_bytes + s[SLOT_BYTES],
		.rdev = s[SLOT_RDEV],
		.atime = (int64_t)s[SLOT_ATIME],
		.mtime = (int64_t)s[SLOT_MTIME],
		.ctime = (int64_t)s[SLOT_CTIME],
		.btime = (int64_t)s[SLOT_BTIME],
		.version = o->version,
		.parent = s[SLOT_PARENT],
		.cut = s[SLOT_CUT],
		.trim = s[SLOT_TRIM],
		.trim_to = s[SLOT_TRIM_TO],
		.block_bytes = s[SLOT_BYTES],
		.children = S_ISDIR(s[SLOT_MODE]) ? s[SLOT_CHILDREN] : 0,
		.tail = S_ISREG(s[SLOT_MODE]) ? s[SLOT_TAIL] : 0,
	};
	return 0;
}

static struct timespec timespec_of(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (ts.tv_nsec < 0) { /* before 1970 */
		ts.tv_sec--;
		ts.tv_nsec += 1000000000;
	}
	return ts;
}

void layout_stat(const struct fs_attr *a, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = a->ino;
	st->st_mode = a->mode & (S_IFMT | 07777u);
	st->st_nlink = a->nlink;
	st->st_uid = a->uid;
	st->st_gid = a->gid;
	st->st_rdev = a->rdev;
	st->st_size = (off_t)(S_ISDIR(a->mode) ? a->children : a->size);
	/* stdio writes in pieces of this; each is a request */
	st->st_blksize = LAYOUT_INLINE;
	st->st_blocks = (blkcnt_t)((a->bytes + 511) / 512);
	st->st_atim = timespec_of(a->atime);
	st->st_mtim = timespec_of(a->mtime);
	st->st_ctim = timespec_of(a->ctime);
}
