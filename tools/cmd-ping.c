/* SPDX-License-Identifier: Apache-2.0 */
/* tarn ping: whether the server answers clients, and how soon. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "objects.h"

#define COUNT_MOST 1000000u

static uint64_t count = 3;

struct ping {
	uint64_t number, ns;
};

static const struct column columns[] = {
	{ "PING", "ping", COLUMN_FIELD(VALUE_NUMBER, struct ping, number) },
	{ "TIME", "time_ns", COLUMN_FIELD(VALUE_SHORT, struct ping, ns) },
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* 0, or a negative code. */
static int measure(tarn_client *client, int64_t timeout_ns, struct ping *rows)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t began = now();
		int r = tarn_client_ping(client, timeout_ns);

		if (r < 0)
			return r;
		rows[i] = (struct ping){ .number = i + 1, .ns = now() - began };
	}
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct ping *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static void print(struct context *c, struct ping *rows)
{
	struct value figure[3] = { { .kind = VALUE_SHORT }, { .kind = VALUE_SHORT },
				   { .kind = VALUE_SHORT } };
	char text[3][VALUE_TEXT_BYTES];
	struct json j = { 0 };

	if (c->table.json) {
		j = object_json(c, "tarn.ping/1");
		table_json(&c->table, &j, "pings", rows, sizeof *rows, count);
	} else {
		table_print(&c->table, rows, sizeof *rows, count);
	}
	qsort(rows, count, sizeof *rows, by_time);
	figure[0].number = rows[0].ns;
	figure[1].number = rows[count / 2].ns;
	figure[2].number = rows[count - 1].ns;
	if (c->table.json) {
		json_number(&j, "min_ns", figure[0].number);
		json_number(&j, "median_ns", figure[1].number);
		json_number(&j, "max_ns", figure[2].number);
		json_end(&j);
		return;
	}
	if (c->table.noheadings)
		return;
	for (unsigned i = 0; i < 3; i++)
		value_format(text[i], &figure[i], false);
	printf("\nmin %s, median %s, max %s\n", text[0], text[1], text[2]);
}

static int run(struct context *c)
{
	struct ping *rows = calloc(count, sizeof *rows);
	tarn_client *client = rows != NULL ? attach(c) : NULL;
	int r;

	if (client == NULL) {
		if (rows == NULL)
			cli_say("out of memory");
		free(rows);
		return CLI_TROUBLE;
	}
	r = measure(client, c->timeout_ns, rows);
	if (r == 0) {
		detach();
		print(c, rows);
	}
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

static const struct cli_option options[] = {
	{ 'n', "count", "COUNT", "ask so often (default: 3)" },
	{ 0 },
};

static void option(int key, const char *value)
{
	if (key == 'n')
		count = cli_number("--count", value, 1, COUNT_MOST);
}

const struct command command_ping = {
	.name = "ping",
	.arguments = "",
	.summary = "whether the server answers clients, and how soon",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_TABLE | TAKES_WATCH,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.options = options,
	.option = option,
	.run = run,
};
