#include "fs/ops/policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COUNT_MAX 1000000u
#define TIME_MIN (10 * ENV_MS)
#define TIME_MAX (3600 * ENV_SEC)

/* A decimal number of up to nine digits at *p, which moves behind it. */
static int number(const char **p, uint64_t *v)
{
	unsigned n = 0;

	*v = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		if (++n > 9)
			return -EINVAL;
		*v = *v * 10 + (uint64_t)(**p - '0');
	}
	return n ? 0 : -EINVAL;
}

int policy_time(const char *text, uint64_t *ns)
{
	uint64_t v;

	if (number(&text, &v))
		return -EINVAL;
	if (strcmp(text, "ms") == 0)
		*ns = v * ENV_MS;
	else if (strcmp(text, "s") == 0)
		*ns = v * ENV_SEC;
	else if (strcmp(text, "m") == 0)
		*ns = v * 60 * ENV_SEC;
	else
		return -EINVAL;
	return 0;
}

static int block_or_error(const char *text, bool *block)
{
	if (strcmp(text, "block") == 0)
		*block = true;
	else if (strcmp(text, "error") == 0)
		*block = false;
	else
		return -EINVAL;
	return 0;
}

/* One word: 0, -EINVAL unknown or wrong, -ERANGE a number out of range. */
static int one_word(const char *w, struct orbit_policy *p)
{
	uint64_t v;

	if (strcmp(w, "hard") == 0 || strcmp(w, "soft") == 0) {
		p->reads_block = p->writes_block = w[0] == 'h';
		return 0;
	}
	if (strncmp(w, "reads=", 6) == 0)
		return block_or_error(w + 6, &p->reads_block);
	if (strncmp(w, "writes=", 7) == 0)
		return block_or_error(w + 7, &p->writes_block);
	if (strncmp(w, "resend_count=", 13) == 0) {
		const char *d = w + 13;

		if (number(&d, &v) || *d)
			return -EINVAL;
		if (v > COUNT_MAX)
			return -ERANGE;
		p->resend_count = (unsigned)v;
		return 0;
	}
	if (strncmp(w, "check_timeout=", 14) == 0) {
		if (policy_time(w + 14, &v))
			return -EINVAL;
		if (v < TIME_MIN || v > TIME_MAX)
			return -ERANGE;
		p->check_timeout = v;
		return 0;
	}
	return -EINVAL;
}

static const char *what_is_right(const char *w)
{
	if (strncmp(w, "reads=", 6) == 0 || strncmp(w, "writes=", 7) == 0)
		return "block or error is wanted";
	if (strncmp(w, "resend_count=", 13) == 0)
		return "a number up to 1000000 is wanted";
	if (strncmp(w, "check_timeout=", 14) == 0)
		return "a time from 10ms to 60m is wanted, with ms, s or m";
	return "unknown word";
}

static __attribute__((format(printf, 3, 4))) int say(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (len)
		vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int policy_parse(const char *text, struct orbit_policy *p, char *why, size_t len)
{
	struct orbit_policy tmp = *p;
	char word[64];

	if (strlen(text) > POLICY_TEXT_MAX)
		return say(why, len, "policy: longer than %u bytes", POLICY_TEXT_MAX);
	while (*text) {
		size_t n = strcspn(text, ",");

		if (n == 0 || n >= sizeof(word))
			return say(why, len, "policy: '%.*s': unknown word", (int)(n < 80 ? n : 80),
				text);
		memcpy(word, text, n);
		word[n] = '\0';
		if (one_word(word, &tmp))
			return say(why, len, "policy: '%s': %s", word, what_is_right(word));
		text += n;
		if (*text == ',' && *++text == '\0')
			return say(why, len, "policy: '': unknown word");
	}
	*p = tmp;
	return 0;
}

bool policy_knows(const char *word)
{
	static const char *const known[] = {
		"hard", "soft", "reads", "writes", "resend_count", "check_timeout"};
	size_t n = strcspn(word, "=,");

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i]) == n && strncmp(word, known[i], n) == 0)
			return true;
	}
	return false;
}
