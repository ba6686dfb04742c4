/* SPDX-License-Identifier: Apache-2.0 */
/* tarn errors: what methods threw, each distinct error once. */
#include <stdlib.h>
#include <time.h>

#include <tarn/error.h>

#include "command.h"

static uint64_t now_ns; /* CLOCK_REALTIME */

static struct value code(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT,
			       .text = tarn_error_name(((const tarn_error_row *)row)->code) };
}

static struct value place(const void *row)
{
	const tarn_error_row *e = row;

	return (struct value){ .kind = e->place[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = e->place };
}

/* The clock may have been set back meanwhile. */
static struct value ago(uint64_t ns)
{
	return (struct value){ .kind = VALUE_NS, .number = now_ns > ns ? now_ns - ns : 0 };
}
static struct value last(const void *row)
{
	return ago(((const tarn_error_row *)row)->last_ns);
}
static struct value first(const void *row)
{
	return ago(((const tarn_error_row *)row)->first_ns);
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_error_row, field)
static const struct column columns[] = {
	{ "COUNT", "count", FIELD(VALUE_NUMBER, count) },
	{ "LAST", "last_ago_ns", .kind = VALUE_NS, .of = last },
	{ "DOMAIN", "domain", FIELD(VALUE_TEXT, domain) },
	{ "MESSAGE", "message", FIELD(VALUE_TEXT, message) },
	{ "PLACE", "place", .kind = VALUE_TEXT, .of = place },
	{ "CODE", "code", .hidden = true, .kind = VALUE_TEXT, .of = code },
	{ "FIRST", "first_ago_ns", .hidden = true, .kind = VALUE_NS, .of = first },
};

static int run(struct context *c)
{
	struct source *s = context_open(c);
	struct timespec t;
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_ERRORS, 0, &rows, &n);
	clock_gettime(CLOCK_REALTIME, &t);
	now_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (r == 0)
		context_print(c, s, "tarn.errors/1", "errors", rows, sizeof(tarn_error_row), n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

const struct command command_errors = {
	.name = "errors",
	.arguments = "",
	.summary = "what methods threw, each distinct error once",
	.takes = TAKES_INSPECT & ~(unsigned)TAKES_FROM,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
