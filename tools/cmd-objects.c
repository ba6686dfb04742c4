/* SPDX-License-Identifier: Apache-2.0 */
/* tarn objects: all objects in the order of their creation. */
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
	r = source_rows(s, ASK_OBJECTS, 0, &rows, &n);
	if (r == 0)
		context_print(c, s, "tarn.objects/1", "objects", rows, sizeof(tarn_object_row), n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

const struct command command_objects = {
	.name = "objects",
	.arguments = "",
	.summary = "all objects in the order of their creation",
	.takes = TAKES_INSPECT,
	.columns = object_columns,
	.n_columns = N_OBJECT_COLUMNS,
	.run = run,
};
