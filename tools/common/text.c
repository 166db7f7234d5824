#include "tools/common/text.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

/* Reads decimal digits; *end is what follows them. */
static int digits(const char *text, uint64_t *value, const char **end)
{
	char *rest;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &rest, 10);
	if (errno)
		return -EINVAL;
	*end = rest;
	return 0;
}

int text_parse_number(const char *text, uint64_t max, uint64_t *value)
{
	const char *end;

	if (digits(text, value, &end) || *end || *value > max)
		return -EINVAL;
	return 0;
}

int text_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGTP";
	const char *end, *unit;
	unsigned shift;

	if (digits(text, bytes, &end))
		return -EINVAL;
	if (!*end)
		return 0;
	unit = strchr(units, toupper((unsigned char)*end));
	if (!unit || (end[1] && strcasecmp(end + 1, "iB") && strcasecmp(end + 1, "B")))
		return -EINVAL;
	shift = 10 * (unsigned)(unit - units + 1);
	if (*bytes > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes <<= shift;
	return 0;
}

int text_parse_duration(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} unit[] = {
		{"ms", UINT64_C(1000000)},
		{"s", UINT64_C(1000000000)},
		{"", UINT64_C(1000000000)},
		{"m", UINT64_C(60000000000)},
		{"h", UINT64_C(3600000000000)},
	};
	const char *end;

	if (digits(text, ns, &end))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(unit); i++) {
		if (!strcmp(end, unit[i].name)) {
			if (*ns > UINT64_MAX / 2 / unit[i].ns)
				return -EINVAL;
			*ns *= unit[i].ns;
			return 0;
		}
	}
	return -EINVAL;
}

const char *text_size(uint64_t bytes, char out[TEXT_SIZE_MAX])
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes / 1024;
	size_t u = 0;

	if (bytes < 1024) {
		snprintf(out, TEXT_SIZE_MAX, "%" PRIu64 " B", bytes);
		return out;
	}
	for (; v >= 1024 && u + 1 < ARRAY_LEN(unit); u++)
		v /= 1024;
	snprintf(out, TEXT_SIZE_MAX, v < 10 ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return out;
}

/* ---- JSON ---- */

void json_begin(struct json *j, FILE *f)
{
	*j = (struct json){.f = f};
}

static void json_quote(struct json *j, const char *text, size_t len)
{
	putc('"', j->f);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			fprintf(j->f, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(j->f, "\\u%04x", c);
		else
			putc(c, j->f);
	}
	putc('"', j->f);
}

/* What stands before a value: the comma, the key. */
static void json_lead(struct json *j, const char *key)
{
	if (j->more[j->depth])
		fputs(", ", j->f);
	j->more[j->depth] = true;
	if (key) {
		json_quote(j, key, strlen(key));
		fputs(": ", j->f);
	}
}

static void json_open(struct json *j, const char *key, char begin, char end)
{
	json_lead(j, key);
	assert(j->depth + 1 < JSON_DEPTH_MAX);
	putc(begin, j->f);
	j->depth++;
	j->more[j->depth] = false;
	j->end[j->depth] = end;
}

void json_object(struct json *j, const char *key)
{
	json_open(j, key, '{', '}');
}

void json_array(struct json *j, const char *key)
{
	json_open(j, key, '[', ']');
}

void json_close(struct json *j)
{
	putc(j->end[j->depth], j->f);
	j->depth--;
	if (!j->depth)
		putc('\n', j->f);
}

void json_bytes(struct json *j, const char *key, const char *text, size_t len)
{
	json_lead(j, key);
	json_quote(j, text, len);
}

void json_text(struct json *j, const char *key, const char *text)
{
	json_bytes(j, key, text, strlen(text));
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	json_lead(j, key);
	fprintf(j->f, "%" PRIu64, value);
}

void json_signed(struct json *j, const char *key, int64_t value)
{
	json_lead(j, key);
	fprintf(j->f, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_lead(j, key);
	fputs(value ? "true" : "false", j->f);
}
