/* The layout is for ever: what is frozen here must not change without a new LAYOUT_VERSION. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/layout/layout.h"

static void assert_hex(const void *data, size_t len, const char *want)
{
	char got[600];

	for (size_t i = 0; i < len; i++)
		snprintf(got + 2 * i, 3, "%02x", ((const uint8_t *)data)[i]);
	assert_string_equal(got, want);
}

static void test_layout_ids_are_frozen(void **state)
{
	struct orbit_id id;

	(void)state;
	assert_true(layout_ino_root() == UINT64_C(0x1861000000000001));
	id = layout_inode_id(UINT64_C(0x0123456789abcdef));
	assert_hex(id.b, 32, "0123456789abcdef6f72626974667320696e6f64650000000000000000000000");
	id = layout_block_id(UINT64_C(0x0123456789abcdef), 7);
	assert_hex(id.b, 32, "df2cde94e1600dfd667320626c6f636b0123456789abcdef0000000000000007");
	id = layout_super_id();
	assert_hex(id.b, 32, "965563e4c98c9ce36f726269746673207375706572626c6f636b000000000000");
	id = layout_locks_id(UINT64_C(0x0123456789abcdef));
	assert_hex(id.b, 32, "0123456789abcdef6f726269746673206c6f636b730000000000000000000000");
	id = layout_rename_id();
	assert_hex(id.b, 32, "8a8ca699a5a639156f7262697466732072656e616d652065706f636800000000");
}

static void test_layout_entries_are_frozen(void **state)
{
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	size_t len;

	(void)state;
	len = layout_dirent_key("hello.c", 7, key);
	assert_hex(key, len, "64723aeb89efdb834568656c6c6f2e63");
	layout_dirent_value(UINT64_C(0x0123456789abcdef), DT_REG, val);
	assert_hex(val, sizeof(val), "0123456789abcdef08");
	len = layout_xattr_key("user.x", key);
	assert_hex(key, len, "78757365722e78");
}

static void test_layout_inode_numbers_carry_their_position(void **state)
{
	uint64_t low = layout_low(0x123456, 0xabcdef), dir = layout_ino_own(low);
	uint64_t file = layout_ino_beside(layout_low(0x123456, 1), dir);

	(void)state;
	assert_true(low == UINT64_C(0x123456abcdef));
	assert_true((dir & LAYOUT_INO_LOW_MASK) == low);
	assert_true(file >> 48 == dir >> 48);
	assert_true((file & LAYOUT_INO_LOW_MASK) == UINT64_C(0x123456000001));
	/* what is above 24 bits does not spill over */
	assert_true(layout_low(0xff123456, 0xff000001) == UINT64_C(0x123456000001));
}

static void test_layout_directories_spread_over_the_ring(void **state)
{
	unsigned count[16] = {0};

	(void)state;
	for (uint32_t i = 0; i < 16000; i++)
		count[layout_ino_own(layout_low(1, i)) >> 60]++;
	for (int i = 0; i < 16; i++)
		assert_in_range(count[i], 800, 1200);
}

static void test_layout_kind_tells_what_an_id_names(void **state)
{
	struct orbit_id id = layout_inode_id(42);
	uint64_t ino, block;

	(void)state;
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_INODE);
	assert_true(ino == 42);
	id = layout_block_id(42, 9);
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_BLOCK_OBJECT);
	assert_true(ino == 42 && block == 9);
	id.b[0] ^= 1; /* not where that block would be */
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_OTHER);
	id = layout_super_id();
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_SUPER);
	id.b[7] ^= 1;
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_OTHER);
	id = layout_rename_id();
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_RENAME);
	id = layout_locks_id(42);
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_LOCKS);
	assert_true(ino == 42);
	id = orbit_id_hash("some object of another program", 30);
	assert_int_equal(layout_kind_of(&id, &ino, &block), LAYOUT_OTHER);
}

static void test_layout_cookies_are_ordered_as_keys_and_leave_room_for_dots(void **state)
{
	uint8_t key[DIRENT_KEY_MAX], from[DIRENT_KEY_MAX];
	char name[32];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		size_t nlen = (size_t)snprintf(name, sizeof(name), "file-%d", i);
		size_t klen = layout_dirent_key(name, nlen, key), flen;
		uint64_t cookie = layout_dirent_cookie(key, klen);

		assert_true(cookie > 256 && cookie <= INT64_MAX);
		flen = layout_dirent_after(cookie, from);
		assert_true(memcmp(from, key, flen) > 0);
		flen = layout_dirent_after(cookie - 1, from);
		assert_true(memcmp(from, key, flen) == 0);
	}
}

static void test_layout_hash_of_names_spreads(void **state)
{
	unsigned count[64] = {0};
	uint8_t key[DIRENT_KEY_MAX];
	char name[32];

	(void)state;
	for (int i = 0; i < 64000; i++) {
		size_t nlen = (size_t)snprintf(name, sizeof(name), "%d", i);
		size_t klen = layout_dirent_key(name, nlen, key);

		count[layout_dirent_cookie(key, klen) >> 57]++;
	}
	for (int i = 0; i < 64; i++)
		assert_in_range(count[i], 850, 1150);
}

static void test_layout_dirent_reads_back_and_refuses_rubbish(void **state)
{
	uint8_t key[DIRENT_KEY_MAX + 1], val[DIRENT_VALUE_LEN], type;
	char longest[256];
	const char *name;
	size_t len, klen;
	uint64_t ino;

	(void)state;
	memset(longest, 'n', 255);
	klen = layout_dirent_key(longest, 255, key);
	assert_int_equal(klen, DIRENT_KEY_MAX);
	assert_int_equal(layout_dirent_name(key, klen, &name, &len), 0);
	assert_int_equal(len, 255);
	assert_memory_equal(name, longest, 255);
	assert_int_equal(layout_dirent_name(key, klen + 1, &name, &len), -EUCLEAN);
	assert_int_equal(layout_dirent_name(key, 9, &name, &len), -EUCLEAN);
	key[20] = '/';
	assert_int_equal(layout_dirent_name(key, klen, &name, &len), -EUCLEAN);
	key[20] = 0;
	assert_int_equal(layout_dirent_name(key, klen, &name, &len), -EUCLEAN);
	key[20] = 'n';
	key[0] = 'x';
	assert_int_equal(layout_dirent_name(key, klen, &name, &len), -EUCLEAN);

	layout_dirent_value(layout_ino_root(), DT_DIR, val);
	assert_int_equal(layout_dirent_parse(val, sizeof(val), &ino, &type), 0);
	assert_true(ino == layout_ino_root() && type == DT_DIR);
	assert_int_equal(layout_dirent_parse(val, sizeof(val) - 1, &ino, &type), -EUCLEAN);
	memset(val, 0, sizeof(val));
	assert_int_equal(layout_dirent_parse(val, sizeof(val), &ino, &type), -EUCLEAN);
}

static void test_layout_locks_are_frozen(void **state)
{
	struct layout_lock l = {
		.kind = LAYOUT_FCNTL, .session = 0xa1b2c3, .owner = 0x1122334455667788};
	struct layout_lock_range r[2] = {{.first = 1, .last = 2, .pid = 3},
		{.first = 4, .last = LOCK_LAST, .pid = 5, .write = true}};
	static struct layout_lock_range got[LOCK_RANGES_MAX];
	uint8_t key[LOCK_KEY_LEN];
	struct layout_lock back;
	struct buf b = {0};

	(void)state;
	layout_lock_key(&l, key);
	assert_hex(key, sizeof(key), "6c7000a1b2c31122334455667788");
	assert_int_equal(layout_lock_parse(key, sizeof(key), &back), 0);
	assert_true(back.kind == l.kind && back.session == l.session && back.owner == l.owner);
	assert_int_equal(layout_lock_parse(key, sizeof(key) - 1, &back), -EUCLEAN);
	key[1] = 'x';
	assert_int_equal(layout_lock_parse(key, sizeof(key), &back), -EUCLEAN);
	for (int i = 0; i < 2; i++)
		layout_lock_put(&b, &r[i]);
	assert_hex(b.data, b.len,
		"000000000000000001000000000000000200000003"
		"0100000000000000047fffffffffffffff00000005");
	assert_int_equal(layout_lock_ranges(b.data, b.len, got), 2);
	assert_true(got[1].write && got[1].last == LOCK_LAST && got[1].pid == 5);
	assert_int_equal(layout_lock_ranges(b.data, b.len - 1, got), -EUCLEAN);
	b.data[LOCK_RANGE_LEN + 8] = 2; /* they would overlap */
	assert_int_equal(layout_lock_ranges(b.data, b.len, got), -EUCLEAN);
	buf_fini(&b);
}

static void test_layout_attr_and_stat(void **state)
{
	struct txn_object o = {.version = 5, .stream_bytes = 1000};
	struct fs_attr a;
	struct stat st;

	(void)state;
	o.slot[SLOT_MODE] = S_IFREG | 0640;
	o.slot[SLOT_NLINK] = 2;
	o.slot[SLOT_SIZE] = 123456789;
	o.slot[SLOT_BYTES] = 3 * LAYOUT_BLOCK;
	o.slot[SLOT_MTIME] = (uint64_t)INT64_C(-1);
	o.slot[SLOT_CTIME] = UINT64_C(1700000000123456789);
	o.slot[SLOT_RDEV] = 77;
	assert_int_equal(layout_attr(99, &o, &a), 0);
	layout_stat(&a, &st);
	assert_true(st.st_ino == 99);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_size, 123456789);
	assert_int_equal(st.st_blocks, (3 * LAYOUT_BLOCK + 1000 + 511) / 512);
	assert_true(st.st_mtim.tv_sec == -1 && st.st_mtim.tv_nsec == 999999999);
	assert_true(st.st_ctim.tv_sec == 1700000000 && st.st_ctim.tv_nsec == 123456789);
	assert_int_equal(st.st_rdev, 77);

	o.slot[SLOT_MODE] = S_IFDIR | 0755;
	o.slot[SLOT_CHILDREN] = 12;
	assert_int_equal(layout_attr(99, &o, &a), 0);
	layout_stat(&a, &st);
	assert_int_equal(st.st_size, 12);

	o.slot[SLOT_MODE] = 0755; /* no type */
	assert_int_equal(layout_attr(99, &o, &a), -EUCLEAN);
	o.slot[SLOT_MODE] = UINT64_C(1) << 32 | S_IFREG;
	assert_int_equal(layout_attr(99, &o, &a), -EUCLEAN);
	o.slot[SLOT_MODE] = S_IFREG;
	o.slot[SLOT_SIZE] = (uint64_t)INT64_MAX + 1;
	assert_int_equal(layout_attr(99, &o, &a), -EUCLEAN);
}

static void test_layout_dtype(void **state)
{
	(void)state;
	assert_int_equal(layout_dtype(S_IFREG | 0644), DT_REG);
	assert_int_equal(layout_dtype(S_IFDIR | 0755), DT_DIR);
	assert_int_equal(layout_dtype(S_IFLNK | 0777), DT_LNK);
	assert_int_equal(layout_dtype(S_IFIFO), DT_FIFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_ids_are_frozen),
		cmocka_unit_test(test_layout_entries_are_frozen),
		cmocka_unit_test(test_layout_inode_numbers_carry_their_position),
		cmocka_unit_test(test_layout_directories_spread_over_the_ring),
		cmocka_unit_test(test_layout_kind_tells_what_an_id_names),
		cmocka_unit_test(test_layout_cookies_are_ordered_as_keys_and_leave_room_for_dots),
		cmocka_unit_test(test_layout_hash_of_names_spreads),
		cmocka_unit_test(test_layout_dirent_reads_back_and_refuses_rubbish),
		cmocka_unit_test(test_layout_locks_are_frozen),
		cmocka_unit_test(test_layout_attr_and_stat),
		cmocka_unit_test(test_layout_dtype),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
