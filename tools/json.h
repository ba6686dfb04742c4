/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON to a stream, a value at a time. Members get a key; elements of an array, and
 * the outermost object, get NULL. Bytes that are not UTF-8 come out as U+FFFD, so
 * the text is valid whatever a process called itself.
 */
#ifndef TARN_TOOLS_JSON_H
#define TARN_TOOLS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 64 /* values of calls are deep */

struct json {
	FILE *out;
	unsigned depth;
	char closing[JSON_DEPTH]; /* what ends the object or array at this depth */
	bool more[JSON_DEPTH];    /* it has a member already */
};

struct json json_init(FILE *out);
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
/* Ends the innermost object or array; the outermost one with a newline. */
void json_end(struct json *j);

void json_string(struct json *j, const char *key, const char *value);
void json_string_n(struct json *j, const char *key, const char *value, size_t bytes);
void json_text(struct json *j, const char *key, const char *value); /* NULL: null */
void json_number(struct json *j, const char *key, uint64_t value);
void json_integer(struct json *j, const char *key, int64_t value);
void json_double(struct json *j, const char *key, double value); /* all its digits; finite */
void json_real(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
