/* SPDX-License-Identifier: Apache-2.0 */
/* tarn check: has the server recompute every count, and prints what is wrong. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

struct finding {
	const char *text;
};

static struct value text(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct finding *)row)->text };
}

static const struct column columns[] = {
	{ "FINDING", "finding", .kind = VALUE_TEXT, .of = text },
};

/* Cuts @all into its lines. NULL: no memory. */
static struct finding *split(char *all, size_t *ret_n)
{
	struct finding *rows;
	size_t lines = 1, n = 0;

	for (const char *p = all; *p != '\0'; p++)
		lines += *p == '\n';
	rows = calloc(lines, sizeof *rows);
	if (rows == NULL)
		return NULL;
	for (char *line; (line = strsep(&all, "\n")) != NULL;)
		if (*line != '\0')
			rows[n++].text = line;
	*ret_n = n;
	return rows;
}

static int print(struct context *c, const struct source *s, int findings, char *all)
{
	size_t n = 0;
	struct finding *rows = split(all, &n);

	if (rows == NULL) {
		cli_say("out of memory");
		return CLI_TROUBLE;
	}
	if (c->table.json) {
		struct json j = context_json(c, s, "tarn.check/1");

		json_number(&j, "count", (uint64_t)findings);
		table_json(&c->table, &j, "findings", rows, sizeof *rows, n);
		json_end(&j);
	} else if (findings == 0) {
		cli_say("no findings");
	} else {
		table_print(&c->table, rows, sizeof *rows, n);
		cli_say("%d findings", findings);
	}
	free(rows);
	return findings == 0 ? CLI_OK : CLI_NO;
}

static int run(struct context *c)
{
	struct source *s = context_open(c);
	char *all = NULL;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_check(s, &all);
	r = r < 0 ? cli_library_error(r) : print(c, s, r, all);
	source_close(s);
	free(all);
	return r;
}

const struct command command_check = {
	.name = "check",
	.arguments = "",
	.summary = "recompute every count; print what is wrong",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
