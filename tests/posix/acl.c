/*
 * acl(5): POSIX access control lists, by the extended attributes that carry them
 * (system.posix_acl_access and system.posix_acl_default): a version (2), then entries of tag,
 * permissions and ID, little-endian.
 */
#include "tests/posix/posix.h"

#include <endian.h>
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum {
	USER_OBJ = 1,
	USER = 2,
	GROUP_OBJ = 4,
	GROUP = 8,
	MASK = 16,
	OTHERS = 32,
};

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct acl {
	uint32_t version;
	struct entry e[32];
};

#define NOBODY 0xffffffffu
#define ACL(...) ((struct entry[]){__VA_ARGS__}), COUNT(((struct entry[]){__VA_ARGS__}))

static int set(const char *path, const char *which, const struct entry *e, size_t n)
{
	struct acl a = {.version = htole32(2)};

	for (size_t i = 0; i < n; i++)
		a.e[i] = (struct entry){htole16(e[i].tag), htole16(e[i].perm), htole32(e[i].id)};
	return setxattr(path, which, &a, 4 + n * 8, 0);
}

static void has(const char *path, const char *which, const struct entry *e, size_t n)
{
	struct acl a;
	ssize_t len = ok(getxattr(path, which, &a, sizeof(a)));

	equal(len, 4 + n * 8);
	equal(le32toh(a.version), 2);
	for (size_t i = 0; i < n && 4 + i * 8 < (size_t)len; i++) {
		equal(le16toh(a.e[i].tag), e[i].tag);
		equal(le16toh(a.e[i].perm), e[i].perm);
		if (e[i].tag & (USER | GROUP))
			equal(le32toh(a.e[i].id), e[i].id);
	}
}

static int may(const char *path)
{
	return (access(path, R_OK) == 0) * 4 + (access(path, W_OK) == 0) * 2 +
	       (access(path, X_OK) == 0);
}

CASE(none_at_first)
{
	char got[8];

	file("f", "");
	ok(mkdir("d", 0755));
	expect(getxattr("f", ACCESS, got, 8), ENODATA);
	expect(getxattr("d", DEFAULT, got, 8), ENODATA);
}

CASE(minimal_is_the_mode)
{
	char got[64];

	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY}, {OTHERS, 0, NOBODY})));
	equal(mode("f"), 0640);
	expect(getxattr("f", ACCESS, got, 64), ENODATA);
}

CASE(mask_is_the_group_bits)
{
	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 5, NOBODY}, {OTHERS, 0, NOBODY})));
	equal(mode("f"), 0650);
	has("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 5, NOBODY}, {OTHERS, 0, NOBODY}));
	ok(chmod("f", 0620)); /* chmod changes the mask, not the group's entry */
	has("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 2, NOBODY}, {OTHERS, 0, NOBODY}));
	ok(chmod("f", 0777));
	has("f", ACCESS,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 7, NOBODY}, {OTHERS, 7, NOBODY}));
}

CASE(who_gets_what, ROOT)
{
	file("f", "");
	ok(chown("f", BOB, BOB));
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 5, ANN}, {GROUP_OBJ, 4, NOBODY}, {GROUP, 3, CAT},
			{MASK, 7, NOBODY}, {OTHERS, 1, NOBODY})));
	AS (BOB, BOB) {
		equal(may("f"), 6);
	}
	AS (ANN, ANN, BOB, CAT) {
		equal(may("f"), 5); /* her own entry; groups don't count then */
	}
	AS (CAT, BOB) {
		equal(may("f"), 4);
	}
	AS (CAT, CAT) {
		equal(may("f"), 3);
	}
	AS (CAT, CAT, BOB) {
		/* each by some entry, but no one entry has all */
		equal(may("f"), 7);
		expect(access("f", R_OK | W_OK), EACCES);
		ok(access("f", W_OK | X_OK));
	}
	AS (CAT, 60999) {
		equal(may("f"), 1);
	}
}

CASE(mask_limits, ROOT)
{
	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 7, NOBODY}, {GROUP, 7, CAT},
			{MASK, 4, NOBODY}, {OTHERS, 7, NOBODY})));
	AS (ANN, ANN) {
		equal(may("f"), 4);
		expect(open("f", O_RDWR), EACCES);
		ok(close(ok(open("f", O_RDONLY))));
	}
	AS (BOB, CAT) {
		equal(may("f"), 4);
	}
	AS (BOB, BOB) {
		equal(may("f"), 7); /* others are not limited */
	}
}

CASE(changes_count_at_once, ROOT)
{
	file("f", "");
	chmod_to("f", 0600);
	for (int i = 0; i < 5; i++) {
		ok(set("f", ACCESS,
			ACL({USER_OBJ, 6, NOBODY}, {USER, 4, ANN}, {GROUP_OBJ, 0, NOBODY},
				{MASK, 4, NOBODY}, {OTHERS, 0, NOBODY})));
		AS (ANN, ANN) {
			ok(close(ok(open("f", O_RDONLY))));
		}
		ok(removexattr("f", ACCESS));
		AS (ANN, ANN) {
			expect(open("f", O_RDONLY), EACCES);
		}
	}
}

CASE(directories, ROOT)
{
	ok(mkdir("d", 0700));
	ok(set("d", ACCESS,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 7, ANN}, {GROUP_OBJ, 0, NOBODY},
			{MASK, 7, NOBODY}, {OTHERS, 0, NOBODY})));
	AS (ANN, ANN) {
		ok(close(ok(creat("d/f", 0644))));
		equal(names_in("d"), 1);
		ok(unlink("d/f"));
	}
	AS (BOB, BOB) {
		expect(access("d/f", F_OK), EACCES);
	}
}

CASE(default_is_inherited)
{
	char got[64];

	umask(077); /* does not count where there is a default list */
	ok(mkdir("d", 0755));
	ok(set("d", DEFAULT,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 5, NOBODY},
			{MASK, 7, NOBODY}, {OTHERS, 4, NOBODY})));
	equal(mode("d"), 0700);
	expect(getxattr("d", ACCESS, got, 64), ENODATA);
	ok(close(ok(open("d/f", O_CREAT | O_WRONLY, 0666))));
	equal(mode("d/f"), 0664);
	has("d/f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 5, NOBODY},
			{MASK, 6, NOBODY}, {OTHERS, 4, NOBODY}));
	expect(getxattr("d/f", DEFAULT, got, 64), ENODATA);
	ok(mkdir("d/e", 0750));
	equal(mode("d/e"), 0750);
	has("d/e", ACCESS,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 5, NOBODY},
			{MASK, 5, NOBODY}, {OTHERS, 0, NOBODY}));
	has("d/e", DEFAULT,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 5, NOBODY},
			{MASK, 7, NOBODY}, {OTHERS, 4, NOBODY}));
	ok(mkfifo("d/p", 0666));
	equal(mode("d/p"), 0664);
	ok(symlink("x", "d/s"));
	equal(mode("d/s"), 0777);
}

CASE(minimal_default_sets_the_mode)
{
	char got[64];

	umask(0);
	ok(mkdir("d", 0755));
	ok(set("d", DEFAULT,
		ACL({USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY}, {OTHERS, 0, NOBODY})));
	ok(close(ok(open("d/f", O_CREAT | O_WRONLY, 0666))));
	equal(mode("d/f"), 0640);
	expect(getxattr("d/f", ACCESS, got, 64), ENODATA);
	ok(mkdir("d/e", 0777));
	equal(mode("d/e"), 0640);
}

CASE(only_directories_have_defaults)
{
	file("f", "");
	expect(set("f", DEFAULT,
		       ACL({USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY}, {OTHERS, 0, NOBODY})),
		EACCES);
}

CASE(bad_lists)
{
	struct acl a = {.version = 3};

	file("f", "");
	/* no others; named without mask; twice the same; unknown tag; too many bits */
	expect(set("f", ACCESS, ACL({USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY})), EINVAL);
	expect(set("f", ACCESS,
		       ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
			       {OTHERS, 0, NOBODY})),
		EINVAL);
	expect(set("f", ACCESS,
		       ACL({USER_OBJ, 6, NOBODY}, {USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY},
			       {OTHERS, 0, NOBODY})),
		EINVAL);
	expect(set("f", ACCESS,
		       ACL({USER_OBJ, 6, NOBODY}, {64, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY},
			       {OTHERS, 0, NOBODY})),
		EINVAL);
	expect(set("f", ACCESS,
		       ACL({USER_OBJ, 15, NOBODY}, {GROUP_OBJ, 4, NOBODY}, {OTHERS, 0, NOBODY})),
		EINVAL);
	expect(setxattr("f", ACCESS, &a, 4, 0), EOPNOTSUPP);
	expect(setxattr("f", ACCESS, &a, 3, 0), EINVAL);
	equal(mode("f"), 0644);
}

CASE(only_the_owner_may_set, ROOT)
{
	file("f", "");
	chmod_to("f", 0666);
	AS (ANN, ANN) {
		expect(set("f", ACCESS,
			       ACL({USER_OBJ, 6, NOBODY}, {GROUP_OBJ, 4, NOBODY},
				       {OTHERS, 0, NOBODY})),
			EPERM);
		expect(removexattr("f", ACCESS), EPERM);
	}
	ok(chown("f", ANN, ANN));
	AS (ANN, ANN) {
		ok(set("f", ACCESS,
			ACL({USER_OBJ, 6, NOBODY}, {USER, 6, BOB}, {GROUP_OBJ, 4, NOBODY},
				{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY})));
	}
	AS (BOB, BOB) {
		ok(close(ok(open("f", O_RDWR))));
	}
}

CASE(removing)
{
	char got[64];

	ok(mkdir("d", 0755));
	ok(set("d", DEFAULT,
		ACL({USER_OBJ, 7, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 5, NOBODY},
			{MASK, 7, NOBODY}, {OTHERS, 4, NOBODY})));
	ok(removexattr("d", DEFAULT));
	expect(getxattr("d", DEFAULT, got, 64), ENODATA);
	ok(close(ok(open("d/f", O_CREAT | O_WRONLY, 0666))));
	equal(mode("d/f"), 0644);
	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY})));
	ok(removexattr("f", ACCESS));
	expect(getxattr("f", ACCESS, got, 64), ENODATA);
	equal(mode("f"), 0660); /* the mask stays as the group's bits */
}

CASE(listed_as_attributes)
{
	char list[200];
	ssize_t n;
	bool found = false;

	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY})));
	n = ok(listxattr("f", list, sizeof(list)));
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(list + i) + 1)
		found |= !strcmp(list + i, ACCESS);
	check(found);
}

CASE(set_gid_goes_with_the_group, ROOT)
{
	file("f", "");
	ok(chown("f", ANN, CAT));
	chmod_to("f", 02755);
	AS (ANN, ANN) {
		ok(set("f", ACCESS,
			ACL({USER_OBJ, 7, NOBODY}, {USER, 6, BOB}, {GROUP_OBJ, 5, NOBODY},
				{MASK, 7, NOBODY}, {OTHERS, 5, NOBODY})));
	}
	equal(mode("f"), 0775);
}

CASE(kept_over_rename_and_link)
{
	file("f", "");
	ok(set("f", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY})));
	ok(rename("f", "g"));
	ok(link("g", "h"));
	has("h", ACCESS,
		ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
			{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY}));
}

CASE(times)
{
	file("f", "");
	stamps("f", CTIM,
		ok(set("f", ACCESS,
			ACL({USER_OBJ, 6, NOBODY}, {USER, 6, ANN}, {GROUP_OBJ, 4, NOBODY},
				{MASK, 6, NOBODY}, {OTHERS, 0, NOBODY}))));
}

CASE(of_symlinks)
{
	struct acl a = {.version = htole32(2)};

	ok(symlink("x", "s"));
	expect(lsetxattr("s", ACCESS, &a, 4, 0), EOPNOTSUPP);
	expect(lgetxattr("s", ACCESS, &a, sizeof(a)), EOPNOTSUPP);
}
