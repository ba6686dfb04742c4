/* SPDX-License-Identifier: Apache-2.0 */
/* tarn stat: every counter of a server, with what limits it. */
#include <stdio.h>
#include <string.h>

#include <tarn/server.h>

#include "command.h"

/* One counter, by its name in tarn_stat without the unit. */
struct row {
	const char *group, *name;
	struct value value, limit;
	const char *note; /* NULL: none */
};

#define ROWS_MOST 48
struct rows {
	struct row row[ROWS_MOST];
	unsigned n;
};

static struct value group(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct row *)row)->group };
}

static struct value name(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct row *)row)->name };
}

static struct value value(const void *row)
{
	return ((const struct row *)row)->value;
}

static struct value limit(const void *row)
{
	return ((const struct row *)row)->limit;
}

static struct value use(const void *row)
{
	const struct row *r = row;

	if (r->limit.kind == VALUE_NONE || r->limit.number == 0)
		return (struct value){ .kind = VALUE_NONE };
	return (struct value){ .kind = VALUE_PERCENT,
			       .number = (uint64_t)(10000.0 * (double)r->value.number /
						    (double)r->limit.number) };
}

static struct value note(const void *row)
{
	const char *text = ((const struct row *)row)->note;

	return (struct value){ .kind = text != NULL ? VALUE_TEXT : VALUE_NONE, .text = text };
}

static const struct column columns[] = {
	{ "GROUP", "group", .kind = VALUE_TEXT, .of = group },
	{ "COUNTER", "counter", .kind = VALUE_TEXT, .of = name },
	{ "VALUE", "value", .kind = VALUE_NUMBER, .of = value },
	{ "LIMIT", "limit", .kind = VALUE_NUMBER, .of = limit },
	{ "USE%", "use_percent", .kind = VALUE_PERCENT, .of = use },
	{ "NOTE", "note", .kind = VALUE_TEXT, .of = note },
};

static struct row *add(struct rows *r, const char *of_group, const char *called, struct value v)
{
	struct row *row = &r->row[r->n];

	if (r->n < ROWS_MOST - 1)
		r->n++;
	*row = (struct row){ .group = of_group, .name = called, .value = v };
	return row;
}

static void add_text(struct rows *r, const char *called, const char *text, const char *why)
{
	add(r, "server", called, (struct value){ .kind = VALUE_TEXT, .text = text })->note =
		why[0] != '\0' ? why : NULL;
}

static struct row *add_number(struct rows *r, const char *of_group, const char *called, uint64_t n)
{
	return add(r, of_group, called, (struct value){ .kind = VALUE_NUMBER, .number = n });
}

static void add_bytes(struct rows *r, const char *called, uint64_t n, uint64_t most)
{
	struct row *row = add(r, "memory", called,
			      (struct value){ .kind = VALUE_BYTES, .number = n });

	if (most != 0)
		row->limit = (struct value){ .kind = VALUE_BYTES, .number = most };
}

static const char *backing_name(uint64_t backing)
{
	return backing == TARN_BACKING_POSIX ? "posix" : backing == TARN_BACKING_MEMFD ? "memfd" : "?";
}

static void add_server(struct rows *r, const tarn_stat *s)
{
	add_text(r, "name", s->name, "");
	add_number(r, "server", "pid", s->server_pid);
	add(r, "server", "uptime", (struct value){ .kind = VALUE_NS, .number = s->uptime_ns });
	add_text(r, "io", s->io, s->io_reason);
	add_text(r, "backing", backing_name(s->backing), s->backing_reason);
}

static void add_memory(struct rows *r, const tarn_stat *s)
{
	add_bytes(r, "arena", s->arena_bytes, 0);
	add_bytes(r, "used", s->used_bytes, s->arena_bytes);
	add_bytes(r, "committed", s->committed_bytes, s->arena_bytes);
	add_bytes(r, "warm", s->warm_bytes, s->watermark_bytes);
	add_bytes(r, "watermark", s->watermark_bytes, 0);
	add_bytes(r, "resident_data", s->resident_data_bytes, s->arena_bytes);
	add_bytes(r, "resident_meta", s->resident_meta_bytes, s->meta_bytes);
	add_bytes(r, "meta", s->meta_bytes, 0);
}

static void add_objects(struct rows *r, const tarn_stat *s)
{
	static const char in[] = "objects";

	add_number(r, in, "max_blocks", s->max_blocks);
	add_number(r, in, "indices_used", s->indices_used)->limit =
		(struct value){ .kind = VALUE_NUMBER, .number = s->max_blocks };
	add_number(r, in, "blocks_live", s->blocks_live);
	add_number(r, in, "blocks_granted", s->blocks_granted);
	add_number(r, in, "blocks_dead", s->blocks_dead);
	add_number(r, in, "channels", s->channels);
	add_number(r, in, "names", s->names);
	add_number(r, in, "claims", s->claims);
	add_number(r, in, "tickets", s->tickets);
	add_number(r, in, "exports", s->exports);
}

static void add_clients(struct rows *r, const tarn_stat *s)
{
	static const char in[] = "clients";

	add_number(r, in, "clients", s->clients);
	add_number(r, in, "lanes", s->lanes);
	add_number(r, in, "deaths", s->deaths);
	add_number(r, in, "evictions", s->evictions);
}

static void add_activity(struct rows *r, const tarn_stat *s)
{
	static const char in[] = "activity";

	add_number(r, in, "epochs", s->epochs);
	add_number(r, in, "messages", s->messages);
	add_number(r, in, "stale_messages", s->stale_messages);
	add_number(r, in, "sleeps", s->sleeps);
	add_number(r, in, "wakeups", s->wakeups);
	add_number(r, in, "pending_allocs", s->pending_allocs);
	add_number(r, in, "failed_allocs", s->failed_allocs);
	add_number(r, in, "undo_high", s->undo_high);
}

/* In JSON a name tells the unit, too. */
static const char *unit_of(const struct value *v)
{
	return v->kind == VALUE_BYTES ? "_bytes" : v->kind == VALUE_NS ? "_ns" : "";
}

/* {"memory": {"used_bytes": 1, ...}, ...}: a counter is found by its name. Reasons are
 * members of their own: "io_reason". */
static void print_json(const struct rows *r)
{
	struct json j = json_init(stdout);
	const char *in = "";
	char key[64];

	json_object(&j, NULL);
	json_string(&j, "schema", "tarn.stat/1");
	for (unsigned i = 0; i < r->n; i++) {
		const struct row *row = &r->row[i];

		if (strcmp(in, row->group) != 0) {
			if (*in != '\0')
				json_end(&j);
			json_object(&j, row->group);
			in = row->group;
		}
		snprintf(key, sizeof key, "%s%s", row->name, unit_of(&row->value));
		value_json(&j, key, &row->value);
		snprintf(key, sizeof key, "%s_reason", row->name);
		if (row->note != NULL)
			json_string(&j, key, row->note);
	}
	json_end(&j);
	json_end(&j);
}

static int run(struct context *c)
{
	tarn_inspector *inspector;
	struct rows rows = { .n = 0 };
	tarn_stat s;
	int r;

	if (c->table.json && c->table.chosen)
		cli_usage_error("stat: --columns does not go with --json, which has no columns");
	inspector = context_connect(c);
	if (inspector == NULL)
		return CLI_TROUBLE;
	r = tarn_inspector_stat(inspector, &s);
	tarn_inspector_close(inspector);
	if (r < 0)
		return cli_library_error(r);
	add_server(&rows, &s);
	add_memory(&rows, &s);
	add_objects(&rows, &s);
	add_clients(&rows, &s);
	add_activity(&rows, &s);
	if (c->table.json)
		print_json(&rows);
	else
		table_print(&c->table, rows.row, sizeof *rows.row, rows.n);
	return CLI_OK;
}

const struct command command_stat = {
	.name = "stat",
	.arguments = "",
	.summary = "all counters, with what limits them",
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
