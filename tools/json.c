/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

struct json json_init(FILE *out)
{
	return (struct json){ .out = out };
}

/* @text has a NUL at its end, and may have others inside. */
static void put_string_n(FILE *out, const char *text, size_t bytes)
{
	const char *end = text + bytes;

	fputc('"', out);
	while (text < end) {
		unsigned char c = (unsigned char)*text;
		unsigned n = utf8_length(text);

		if (n == 0) {
			fputs("\\ufffd", out);
			n = 1;
		} else if (c == '"' || c == '\\') {
			fprintf(out, "\\%c", c);
		} else if (c < 0x20 || c == 0x7f) {
			fprintf(out, "\\u%04x", c);
		} else {
			fwrite(text, 1, n, out);
		}
		text += n;
	}
	fputc('"', out);
}

static void put_string(FILE *out, const char *text)
{
	put_string_n(out, text, strlen(text));
}

/* Comma, indentation and key of the value to come. */
static void begin_value(struct json *j, const char *key)
{
	if (j->depth > 0) {
		bool *more = &j->more[j->depth - 1];

		fputs(*more ? "," : "", j->out);
		*more = true;
		/* A row of a table stays on one line. */
		if (j->depth <= 2)
			fprintf(j->out, "\n%*s", (int)j->depth * 2, "");
		else if (key != NULL)
			fputs(" ", j->out);
	}
	if (key != NULL) {
		put_string(j->out, key);
		fputs(": ", j->out);
	}
}

static void open_with(struct json *j, const char *key, char opening, char closing)
{
	begin_value(j, key);
	fputc(opening, j->out);
	assert(j->depth < JSON_DEPTH);
	j->closing[j->depth] = closing;
	j->more[j->depth++] = false;
}

void json_object(struct json *j, const char *key)
{
	open_with(j, key, '{', '}');
}

void json_array(struct json *j, const char *key)
{
	open_with(j, key, '[', ']');
}

void json_end(struct json *j)
{
	assert(j->depth > 0);
	j->depth--;
	if (j->more[j->depth] && j->depth < 2)
		fprintf(j->out, "\n%*s", (int)j->depth * 2, "");
	else if (j->closing[j->depth] == '}')
		fputc(' ', j->out);
	fputc(j->closing[j->depth], j->out);
	if (j->depth == 0)
		fputc('\n', j->out);
}

void json_string(struct json *j, const char *key, const char *value)
{
	begin_value(j, key);
	put_string(j->out, value);
}

void json_string_n(struct json *j, const char *key, const char *value, size_t bytes)
{
	begin_value(j, key);
	put_string_n(j->out, value, bytes);
}

void json_text(struct json *j, const char *key, const char *value)
{
	if (value != NULL)
		json_string(j, key, value);
	else
		json_null(j, key);
}

void json_integer(struct json *j, const char *key, int64_t value)
{
	begin_value(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_double(struct json *j, const char *key, double value)
{
	char text[40];

	/* As few digits as give the same number back. */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	begin_value(j, key);
	fputs(text, j->out);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_real(struct json *j, const char *key, double value)
{
	begin_value(j, key);
	fprintf(j->out, "%.2f", value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	begin_value(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j, const char *key)
{
	begin_value(j, key);
	fputs("null", j->out);
}
