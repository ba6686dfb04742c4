/* SPDX-License-Identifier: Apache-2.0 */
/* tarn types: what the server can make objects of. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tarn/type.h>

#include "objects.h"

static struct value concurrency(const void *row)
{
	static const char *const names[] = { [TARN_SERIAL] = "serial", [TARN_PARALLEL] = "parallel",
					     [TARN_READ_MOSTLY] = "read-mostly" };
	const tarn_type_row *t = row;

	return (struct value){ .kind = VALUE_TEXT,
			       .text = t->concurrency < 3 ? names[t->concurrency] : "?" };
}

static struct value flags(const void *row)
{
	static const char *const names[] = { "inline", "result-only", "private", "adopt" };
	const char *text = flag_names(((const tarn_type_row *)row)->flags, names, 4);

	return (struct value){ .kind = text != NULL ? VALUE_TEXT : VALUE_NONE, .text = text };
}

/* Of the table: callers compare it. */
static struct value hash(const void *row)
{
	static char text[20];

	snprintf(text, sizeof text, "%016" PRIx64, ((const tarn_type_row *)row)->hash);
	return (struct value){ .kind = VALUE_TEXT, .text = text };
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_type_row, field)
static const struct column columns[] = {
	{ "NAME", "name", FIELD(VALUE_TEXT, name) },
	{ "OBJECTS", "objects", FIELD(VALUE_NUMBER, objects) },
	{ "METHODS", "methods", FIELD(VALUE_NUMBER, methods) },
	{ "SIZE", "size_bytes", FIELD(VALUE_BYTES, size) },
	{ "CALLS", "concurrency", .kind = VALUE_TEXT, .of = concurrency },
	{ "FLAGS", "flags", .kind = VALUE_TEXT, .of = flags },
	{ "NUMBER", "number", .hidden = true, FIELD(VALUE_NUMBER, index) },
	{ "HASH", "hash", .hidden = true, .kind = VALUE_TEXT, .of = hash },
};

/* Leaves Tarn's own types out of which there are no objects: every server has them. */
static size_t of_interest(tarn_type_row *row, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (row[i].objects != 0 || strncmp(row[i].name, "tarn.", 5) != 0)
			row[kept++] = row[i];
	return kept;
}

static int run(struct context *c)
{
	struct source *s = context_open(c);
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_TYPES, 0, &rows, &n);
	if (r == 0)
		n = of_interest(rows, n);
	if (r == 0)
		context_print(c, s, "tarn.types/1", "types", rows, sizeof(tarn_type_row), n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

const struct command command_types = {
	.name = "types",
	.arguments = "",
	.summary = "what the server can make objects of",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
