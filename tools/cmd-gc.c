/* SPDX-License-Identifier: Apache-2.0 */
/* tarn gc: names that killed servers left behind; says which, then removes them. */
#include <stdio.h>
#include <stdlib.h>

#include <tarn/gc.h>

#include "command.h"

static bool dry_run, all;

static struct value kind(const void *row)
{
	const tarn_leftover *l = row;

	return (struct value){ .kind = VALUE_TEXT,
			       .text = l->kind == TARN_LEFTOVER_SOCKET ? "socket" : "segment" };
}

static struct value state(const void *row)
{
	static const char *const names[] = { [TARN_LEFTOVER_LIVING] = "living",
					     [TARN_LEFTOVER_DEAD] = "dead",
					     [TARN_LEFTOVER_UNKNOWN] = "unknown" };
	const tarn_leftover *l = row;
	bool known = l->state < sizeof names / sizeof *names && names[l->state] != NULL;

	return (struct value){ .kind = VALUE_TEXT, .text = known ? names[l->state] : "?" };
}

static struct value pid(const void *row)
{
	const tarn_leftover *l = row;

	return (struct value){ .kind = l->pid > 0 ? VALUE_NUMBER : VALUE_NONE, .number = (uint64_t)l->pid };
}

static struct value boot(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT,
			       .text = ((const tarn_leftover *)row)->other_boot ? "earlier" : "this" };
}

static struct value label(const void *row)
{
	const tarn_leftover *l = row;

	return (struct value){ .kind = l->label[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = l->label };
}

static enum tint state_tint(const void *row)
{
	uint32_t s = ((const tarn_leftover *)row)->state;

	return s == TARN_LEFTOVER_DEAD ? TINT_WARN : s == TARN_LEFTOVER_LIVING ? TINT_GOOD : TINT_NONE;
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_leftover, field)
static const struct column columns[] = {
	{ "PATH", "path", FIELD(VALUE_TEXT, path) },
	{ "KIND", "kind", .kind = VALUE_TEXT, .of = kind },
	{ "STATE", "state", .kind = VALUE_TEXT, .of = state, .tint = state_tint },
	{ "BYTES", "bytes", FIELD(VALUE_BYTES, bytes) },
	{ "PID", "pid", .kind = VALUE_NUMBER, .of = pid },
	{ "UID", "uid", FIELD(VALUE_NUMBER, uid) },
	{ "BOOT", "boot", .hidden = true, .kind = VALUE_TEXT, .of = boot },
	{ "LABEL", "label", .hidden = true, .kind = VALUE_TEXT, .of = label },
};

static int run(struct context *c)
{
	tarn_leftover *rows = NULL;
	bool removes = !dry_run && !all;
	size_t n = 0;
	int r = all ? tarn_leftovers_list(&rows, &n) : tarn_leftovers_sweep(dry_run, &rows, &n);

	/* What could be removed was, and is told, also when something could not. */
	context_print(c, NULL, "tarn.gc/1", "leftovers", rows, sizeof *rows, n);
	free(rows);
	if (r < 0)
		return cli_library_error(r);
	if (removes && !c->table.json)
		cli_say("%zu removed", n);
	return CLI_OK;
}

static const struct cli_option options[] = {
	{ 'n', "dry-run", NULL, "only say what would be removed" },
	{ 'a', "all", NULL, "only say what there is, names of living servers too" },
	{ 0 },
};

static void option(int key, const char *value)
{
	(void)value;
	dry_run = dry_run || key == 'n';
	all = all || key == 'a';
}

const struct command command_gc = {
	.name = "gc",
	.arguments = "",
	.summary = "remove what killed servers left behind",
	.takes = TAKES_TABLE,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.options = options,
	.option = option,
	.run = run,
};
