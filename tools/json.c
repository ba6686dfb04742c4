/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <assert.h>
#include <inttypes.h>

#include "utf8.h"

struct json json_init(FILE *out)
{
	return (struct json){ .out = out };
}

static void put_string(FILE *out, const char *text)
{
	fputc('"', out);
	while (*text != '\0') {
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
