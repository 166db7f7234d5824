/* What the programs make of sizes, times, option lists and command lines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "dht/base/mem.h"
#include "tools/common/fsid.h"
#include "tools/common/health.h"
#include "tools/common/text.h"
#include "tools/orbitd/config.h"
#include "tools/orbitfs/options.h"

static void test_text_sizes_and_durations(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(text_parse_size("4096", &v), 0);
	assert_true(v == 4096);
	assert_int_equal(text_parse_size("64M", &v), 0);
	assert_true(v == 64u << 20);
	assert_int_equal(text_parse_size("2GiB", &v), 0);
	assert_true(v == UINT64_C(2) << 30);
	assert_int_equal(text_parse_duration("500ms", &v), 0);
	assert_true(v == 500 * ENV_MS);
	assert_int_equal(text_parse_duration("2m", &v), 0);
	assert_true(v == 120 * ENV_SEC);
	assert_int_equal(text_parse_duration("10", &v), 0);
	assert_true(v == 10 * ENV_SEC);
	assert_int_equal(text_parse_number("7", 7, &v), 0);
}

static void test_text_refuses_what_is_no_size_or_duration(void **state)
{
	static const char *const sizes[] = {"", "-1", " 1", "1X", "1Mi", "99999999999999999999",
		"18446744073709551615K", "0x10", "1.5M", "1MM"};
	static const char *const times[] = {
		"", "-1s", "1 s", "1parsec", "9999999999999999999h", "s"};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		assert_int_equal(text_parse_size(sizes[i], &v), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		assert_int_equal(text_parse_duration(times[i], &v), -EINVAL);
	assert_int_equal(text_parse_number("8", 7, &v), -EINVAL);
	assert_int_equal(text_parse_number("7 ", 7, &v), -EINVAL);
}

static void test_text_sizes_for_people(void **state)
{
	char out[TEXT_SIZE_MAX];

	(void)state;
	assert_string_equal(text_size(1023, out), "1023 B");
	assert_string_equal(text_size(1536, out), "1.5 KiB");
	assert_string_equal(text_size(UINT64_C(20) << 30, out), "20 GiB");
	assert_string_equal(text_size(UINT64_MAX, out), "16 EiB");
}

static void test_json_is_what_it_should_be(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct json j;

	(void)state;
	json_begin(&j, f);
	json_object(&j, NULL);
	json_text(&j, "quote", "a\"b\\c\n");
	json_array(&j, "list");
	json_number(&j, NULL, 1);
	json_signed(&j, NULL, -2);
	json_close(&j);
	json_array(&j, "none");
	json_close(&j);
	json_bool(&j, "yes", true);
	json_close(&j);
	fclose(f);
	assert_string_equal(text, "{\"quote\": \"a\\\"b\\\\c\\u000a\", \"list\": [1, -2], "
				  "\"none\": [], \"yes\": true}\n");
	free(text);
}

static void test_fsid_of_a_name_and_of_digits(void **state)
{
	uint8_t a[16], b[16];
	char hex[FSID_HEX];

	(void)state;
	assert_int_equal(fsid_parse("home", a), 0);
	assert_int_equal(fsid_parse("other", b), 0);
	assert_memory_not_equal(a, b, 16);
	assert_int_equal(fsid_parse(fsid_hex(a, hex), b), 0);
	assert_memory_equal(a, b, 16);
	assert_int_equal(fsid_parse("", a), -EINVAL);
}

static void test_seeds_are_split(void **state)
{
	struct cluster_where w = {0};

	(void)state;
	assert_int_equal(cluster_where_seeds(&w, "a:1,[::1]:2,c:3"), 0);
	assert_int_equal(w.nseeds, 3);
	assert_string_equal(w.seeds[1], "[::1]:2");
	assert_int_equal(cluster_where_seeds(&w, "a:1,,b:2"), -EINVAL);
	assert_int_equal(cluster_where_seeds(&w, ""), -EINVAL);
	assert_int_equal(
		cluster_where_seeds(&w, "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"), -EINVAL);
	cluster_where_fini(&w);
}

/* ---- orbitfs ---- */

static int parse_words(struct options *o, char *why, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	optind = 0; /* getopt(3) begins anew */
	why[0] = 0;
	return options_parse(o, argc, argv, why, 256);
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})
#define S(text) ((char[]){text})

static void test_options_cluster_list_ends_where_options_begin(void **state)
{
	struct options o;
	char why[256];

	(void)state;
	assert_int_equal(parse_words(&o, why,
				 WORDS(S("orbitfs"), S("-o"),
					 S("nosuid,cluster=a:1,b:2,soft,timeout=3s"), S("/tmp"))),
		0);
	assert_int_equal(o.where.nseeds, 2);
	assert_string_equal(o.source, "a:1,b:2");
	assert_false(o.policy.reads_block);
	assert_true(o.timeout == 3 * ENV_SEC);
	assert_non_null(strstr((char *)o.kernel.data, "nosuid"));
	options_fini(&o);
}

static void test_options_as_fstab_gives_them(void **state)
{
	struct options o;
	char why[256];

	(void)state;
	assert_int_equal(parse_words(&o, why,
				 WORDS(S("/sbin/mount.orbitfs"), S("a:1,b:2"), S("/tmp"), S("-o"),
					 S("rw,_netdev,nofail,x-systemd.automount,hard,reads=error,"
					   "resend_count=3,check_timeout=500ms"))),
		0);
	assert_int_equal(o.where.nseeds, 2);
	assert_false(o.policy.reads_block);
	assert_true(o.policy.writes_block);
	assert_int_equal(o.policy.resend_count, 3);
	assert_true(o.policy.check_timeout == 500 * ENV_MS);
	options_fini(&o);
	/* there, -f is no foreground, and -s forgives */
	assert_int_equal(parse_words(&o, why,
				 WORDS(S("mount.orbitfs"), S("a:1"), S("/tmp"), S("-fs"), S("-o"),
					 S("frob"))),
		0);
	assert_true(o.fake);
	assert_false(o.foreground);
	options_fini(&o);
	/* a path is an embedded store */
	assert_int_equal(parse_words(&o, why, WORDS(S("mount.orbitfs"), S("/usr"), S("/tmp"))), 0);
	assert_string_equal(o.where.store, "/usr");
	options_fini(&o);
}

static void test_options_that_are_wrong_are_named(void **state)
{
	static const struct {
		const char *options, *why;
	} bad[] = {
		{"frob", "frob"},
		{"write_behind=x", "write_behind"},
		{"reads=maybe", "reads"},
		{"check_timeout=5", "check_timeout"},
		{"timeout=soon", "timeout"},
		{"log=", "log"},
	};
	struct options o;
	char why[256], list[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(list, sizeof(list), "cluster=a:1,%s", bad[i].options);
		assert_int_equal(
			parse_words(&o, why, WORDS(S("orbitfs"), S("-o"), list, S("/tmp"))),
			-EINVAL);
		assert_non_null(strstr(why, bad[i].why));
		options_fini(&o);
	}
	assert_int_equal(parse_words(&o, why, WORDS(S("orbitfs"), S("/tmp"))), -EINVAL);
	options_fini(&o);
	assert_int_equal(parse_words(&o, why,
				 WORDS(S("orbitfs"), S("--store"), S("/usr"), S("-o"),
					 S("cluster=a:1"), S("/tmp"))),
		-EINVAL);
	options_fini(&o);
}

/* ---- health ---- */

/* Three nodes, 16 shards, three copies of each. */
static struct ring_map *three_nodes(void)
{
	struct ring_node n[3];
	uint8_t fsid[16] = {1};
	struct ring_map *m;

	for (int i = 0; i < 3; i++) {
		n[i] = (struct ring_node){.weight = 100, .naddrs = 1, .up = true};
		n[i].id.b[0] = (uint8_t)i;
		snprintf(n[i].addr[0], sizeof(n[i].addr[0]), "h%d:1", i);
	}
	assert_int_equal(ring_make(&m, fsid, 4, 3, n, 3), 0);
	for (int i = 0; i < 3; i++) {
		m->nodes[i].up = true;
		m->nodes[i].number = (uint32_t)i + 1;
	}
	return m;
}

static void test_health_says_what_is_wrong(void **state)
{
	struct ring_map *m = three_nodes();
	struct ring_shard *s = &m->shards[5];
	struct health h;

	(void)state;
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_GOOD);
	assert_int_equal(h.healthy, 16);
	assert_string_equal(h.why, "");
	health_of(m, false, &h);
	assert_int_equal(h.level, HEALTH_DEGRADED);
	assert_non_null(strstr(h.why, "no leader"));

	s->nmembers = 2; /* the third is gone, nobody makes up for it */
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_DEGRADED);
	assert_int_equal(h.degraded, 1);
	assert_int_equal(h.healthy, 15);
	s->learner[0] = s->member[2];
	s->nlearners = 1; /* now somebody does */
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_RECOVERING);
	assert_int_equal(h.recovering, 1);
	m->min_in_sync = 3;
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_UNAVAILABLE);
	assert_int_equal(h.unwritable, 1);
	m->min_in_sync = 1;
	s->nmembers = 1;
	m->nodes[s->primary].up = false;
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_UNAVAILABLE);
	assert_non_null(strstr(h.why, "served by nobody"));
	assert_non_null(strstr(h.why, "is down"));
	ring_unref(m);
}

static void test_health_wants_no_more_copies_than_nodes(void **state)
{
	struct ring_map *m = three_nodes();
	struct health h;

	uint16_t order[3];

	(void)state;
	m->nodes[0].number = 9;
	health_order(m, order);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 0);
	m->nodes[2].leaving = true;
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		struct ring_shard *s = &m->shards[i];
		unsigned n = 0;

		for (unsigned j = 0; j < 3; j++) {
			if (s->member[j] != 2)
				s->member[n++] = s->member[j];
		}
		s->nmembers = (uint8_t)n;
		s->primary = s->member[0];
	}
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_GOOD);
	assert_int_equal(h.want, 2);
	m->nodes[2].leaving = false;
	health_of(m, true, &h);
	assert_int_equal(h.level, HEALTH_DEGRADED);
	ring_unref(m);
}

/* ---- orbitd ---- */

static void test_config_flags_win_over_the_file(void **state)
{
	char path[] = "/tmp/orbitfs-test-conf-XXXXXX", why[256];
	int fd = mkstemp(path);
	struct config c;

	(void)state;
	assert_true(fd >= 0);
	assert_true(dprintf(fd, "store = /a\nlisten = h:1\nlisten = h:2\nlog-level = warn\n") > 0);
	assert_int_equal(
		config_load(&c, 5, WORDS(S("orbitd"), S("--listen"), S("x:9"), S("--config"), path),
			why, sizeof(why)),
		0);
	assert_string_equal(c.store, "/a");
	assert_int_equal(c.listen.n, 1);
	assert_string_equal(c.listen.at[0], "x:9");
	assert_int_equal(c.level, LOG_LVL_WARN);
	config_fini(&c);
	assert_int_equal(config_load(&c, 7,
				 WORDS(S("orbitd"), S("--listen"), S("0.0.0.0:9"), S("--join"),
					 S("y:1"), S("--config"), path),
				 why, sizeof(why)),
		-EINVAL);
	assert_non_null(strstr(why, "--advertise"));
	config_fini(&c);
	assert_int_equal(
		config_load(&c, 9,
			WORDS(S("orbitd"), S("--advertise"), S("z:9"), S("--join"), S("y:1"),
				S("--witness"), S("--weight=7"), S("--config"), path),
			why, sizeof(why)),
		0);
	assert_int_equal(c.listen.n, 2);
	assert_string_equal(c.advertise.at[0], "z:9");
	assert_string_equal(c.join.at[0], "y:1");
	assert_int_equal(c.weight, 7);
	assert_true(c.witness);
	config_fini(&c);
	assert_true(dprintf(fd, "frob = 1\n") > 0);
	assert_int_equal(
		config_load(&c, 3, WORDS(S("orbitd"), S("--config"), path), why, sizeof(why)),
		-EINVAL);
	assert_non_null(strstr(why, "frob"));
	config_fini(&c);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_sizes_and_durations),
		cmocka_unit_test(test_text_refuses_what_is_no_size_or_duration),
		cmocka_unit_test(test_text_sizes_for_people),
		cmocka_unit_test(test_json_is_what_it_should_be),
		cmocka_unit_test(test_fsid_of_a_name_and_of_digits),
		cmocka_unit_test(test_seeds_are_split),
		cmocka_unit_test(test_options_cluster_list_ends_where_options_begin),
		cmocka_unit_test(test_options_as_fstab_gives_them),
		cmocka_unit_test(test_options_that_are_wrong_are_named),
		cmocka_unit_test(test_health_says_what_is_wrong),
		cmocka_unit_test(test_health_wants_no_more_copies_than_nodes),
		cmocka_unit_test(test_config_flags_win_over_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
