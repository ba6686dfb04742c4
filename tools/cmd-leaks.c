/* SPDX-License-Identifier: Apache-2.0 */
/* tarn leaks: objects that only hold each other, so that nobody can ever reach them. */
#include <stdlib.h>

#include "objects.h"

static int run(struct context *c)
{
	struct source *s = context_open(c);
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_LEAKS, 0, &rows, &n);
	if (r == 0)
		context_print(c, s, "tarn.leaks/1", "leaks", rows, sizeof(tarn_object_row), n);
	source_close(s);
	free(rows);
	if (r < 0)
		return cli_library_error(r);
	return n == 0 ? CLI_OK : CLI_NO;
}

const struct command command_leaks = {
	.name = "leaks",
	.arguments = "",
	.summary = "objects that only hold each other",
	.takes = TAKES_INSPECT,
	.columns = object_columns,
	.n_columns = N_OBJECT_COLUMNS,
	.run = run,
};
