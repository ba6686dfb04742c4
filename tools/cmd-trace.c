/* SPDX-License-Identifier: Apache-2.0 */
/* tarn trace: calls that are under way; with --watch, as they come and go. */
#include <stdlib.h>

#include "command.h"

static bool all;

#define SERIAL_SHIFT 16 /* below it, the place of the record */

static struct value number(const void *row)
{
	return (struct value){ .kind = VALUE_NUMBER,
			       .number = ((const tarn_call_row *)row)->number >> SERIAL_SHIFT };
}

static struct value text(const char *t)
{
	return (struct value){ .kind = t[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = t };
}
static struct value type(const void *row)
{
	return text(((const tarn_call_row *)row)->type);
}
static struct value method(const void *row)
{
	return text(((const tarn_call_row *)row)->method);
}

/* An id; clients, whose ends are watched, have numbers. */
static struct value object(const void *row)
{
	const tarn_call_row *k = row;

	return (struct value){ .kind = k->target >> 28 != 0 ? VALUE_ID : VALUE_NONE,
			       .number = k->target };
}
static struct value watched_client(const void *row)
{
	const tarn_call_row *k = row;

	return (struct value){ .kind = k->target >> 28 == 0 ? VALUE_NUMBER : VALUE_NONE,
			       .number = k->target };
}

/* Who waits for it; nobody does who is dead, or asked one way. */
static struct value client(const void *row)
{
	const tarn_call_row *k = row;

	return (struct value){ .kind = k->client != 0 ? VALUE_NUMBER : VALUE_NONE, .number = k->client };
}
static struct value pid(const void *row)
{
	const tarn_call_row *k = row;

	return (struct value){ .kind = k->pid != 0 ? VALUE_NUMBER : VALUE_NONE, .number = k->pid };
}

static struct value state(const void *row)
{
	const tarn_call_row *k = row;

	return (struct value){ .kind = VALUE_TEXT, .text = k->watch ? "watch"
							   : k->canceled ? "canceled" : "running" };
}

static enum tint state_tint(const void *row)
{
	return ((const tarn_call_row *)row)->canceled ? TINT_WARN : TINT_NONE;
}

static const struct column columns[] = {
	{ "CALL", "call", .kind = VALUE_NUMBER, .of = number },
	{ "FOR", "running_ns", COLUMN_FIELD(VALUE_SHORT, tarn_call_row, running_ns) },
	{ "CLIENT", "client", .kind = VALUE_NUMBER, .of = client },
	{ "PID", "pid", .kind = VALUE_NUMBER, .of = pid },
	{ "OBJECT", "object", .kind = VALUE_ID, .of = object },
	{ "TYPE", "type", .kind = VALUE_TEXT, .of = type },
	{ "METHOD", "method", .kind = VALUE_TEXT, .of = method },
	{ "STATE", "state", .kind = VALUE_TEXT, .of = state, .tint = state_tint },
	{ "WATCHED", "watched_client", .hidden = true, .kind = VALUE_NUMBER, .of = watched_client },
};

/* The oldest first. */
static int compare(const void *a, const void *b)
{
	const tarn_call_row *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static size_t keep_calls(tarn_call_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!rows[i].watch)
			rows[kept++] = rows[i];
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
	r = source_rows(s, ASK_CALLS, 0, &rows, &n);
	if (r == 0 && !all)
		n = keep_calls(rows, n);
	if (r == 0 && n > 0)
		qsort(rows, n, sizeof(tarn_call_row), compare);
	if (r == 0)
		context_print(c, s, "tarn.trace/1", "calls", rows, sizeof(tarn_call_row), n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

static const struct cli_option options[] = {
	{ 'a', "all", NULL, "also who waits for the end of an object or client" },
	{ 0 },
};

static void option(int key, const char *value)
{
	(void)value;
	all = all || key == 'a';
}

const struct command command_trace = {
	.name = "trace",
	.arguments = "",
	.summary = "calls that are under way",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.options = options,
	.option = option,
	.run = run,
};
