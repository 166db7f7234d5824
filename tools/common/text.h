/*
 * text: sizes, durations and counts as people write them, and output for machines.
 */
#ifndef TOOLS_COMMON_TEXT_H
#define TOOLS_COMMON_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* "4096", "64K", "1M", "2GiB": bytes, units of 1024. 0 or -EINVAL. */
int text_parse_size(const char *text, uint64_t *bytes);

/* "500ms", "5s", "2m", "1h", "10" (seconds), "0": nanoseconds. 0 or -EINVAL. */
int text_parse_duration(const char *text, uint64_t *ns);

/* A decimal number up to @max. 0 or -EINVAL. */
int text_parse_number(const char *text, uint64_t max, uint64_t *value);

/* "1.5 GiB", "12 KiB", "7 B" in @out; returns it. */
#define TEXT_SIZE_MAX 24
const char *text_size(uint64_t bytes, char out[TEXT_SIZE_MAX]);

/* Writes one JSON value step by step; keys are NULL within arrays and at the top. */
#define JSON_DEPTH_MAX 16
struct json {
	FILE *f;
	unsigned depth;
	bool more[JSON_DEPTH_MAX]; /* something stands before, at this depth */
	char end[JSON_DEPTH_MAX];
};
void json_begin(struct json *j, FILE *f);
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_close(struct json *j); /* the innermost object or array; the outermost ends the line */
void json_bytes(struct json *j, const char *key, const char *text, size_t len);
void json_text(struct json *j, const char *key, const char *text);
void json_number(struct json *j, const char *key, uint64_t value);
void json_signed(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);

#endif
