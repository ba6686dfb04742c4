/* SPDX-License-Identifier: Apache-2.0 */
/* tarn stat: every counter of a server, with what limits it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tarn/server.h>

#include "command.h"

static bool want_classes, want_latency;

/* One counter, by its name in tarn_stat without the unit. */
struct row {
	const char *group, *name;
	struct value value, limit;
	const char *note; /* NULL: none */
	bool has_rate;    /* it grew by rate hundredths per second since the last look */
	uint64_t rate;
};

#define ROWS_MOST 64
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

static struct value rate(const void *row)
{
	const struct row *r = row;

	return (struct value){ .kind = r->has_rate ? VALUE_PERCENT : VALUE_NONE, .number = r->rate };
}

static enum tint use_tint(const void *row)
{
	const struct value v = use(row);

	return v.kind == VALUE_NONE || v.number < 8000 ? TINT_NONE
	       : v.number < 9500			? TINT_WARN : TINT_BAD;
}

static const struct column columns[] = {
	{ "GROUP", "group", .kind = VALUE_TEXT, .of = group },
	{ "COUNTER", "counter", .kind = VALUE_TEXT, .of = name },
	{ "VALUE", "value", .kind = VALUE_NUMBER, .of = value },
	{ "LIMIT", "limit", .kind = VALUE_NUMBER, .of = limit },
	{ "USE%", "use_percent", .kind = VALUE_PERCENT, .of = use, .tint = use_tint },
	{ "RATE", "rate", .hidden = true, .kind = VALUE_PERCENT, .of = rate },
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
	add_text(r, "process", s->process, "");
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
	add_bytes(r, "largest_free", s->largest_free_bytes, 0);
	add_bytes(r, "idle", s->idle_bytes, s->arena_bytes);
	add_bytes(r, "contents", s->contents_bytes, s->contents_committed_bytes);
	add_bytes(r, "contents_committed", s->contents_committed_bytes, 0);
}

static void add_limited(struct rows *r, const char *of_group, const char *called, uint64_t n,
			uint64_t most)
{
	add_number(r, of_group, called, n)->limit =
		(struct value){ .kind = most != 0 ? VALUE_NUMBER : VALUE_NONE, .number = most };
}

static void add_objects(struct rows *r, const tarn_stat *s)
{
	static const char in[] = "objects";

	add_number(r, in, "max_blocks", s->max_blocks);
	add_limited(r, in, "indices_used", s->indices_used, s->max_blocks);
	add_number(r, in, "blocks_live", s->blocks_live);
	add_number(r, in, "blocks_granted", s->blocks_granted);
	add_number(r, in, "blocks_dead", s->blocks_dead);
	add_number(r, in, "objects", s->objects);
	add_number(r, in, "edges", s->edges);
	add_number(r, in, "calls", s->calls);
	add_number(r, in, "watches", s->watches);
	add_limited(r, in, "channels", s->channels, s->max_channels);
	add_limited(r, in, "names", s->names, s->max_names);
	add_limited(r, in, "claims", s->claims, s->max_claims);
	add_number(r, in, "tickets", s->tickets);
	add_limited(r, in, "exports", s->exports, s->max_exports);
}

static void add_clients(struct rows *r, const tarn_stat *s)
{
	static const char in[] = "clients";

	add_limited(r, in, "clients", s->clients, s->max_clients);
	add_limited(r, in, "lanes", s->lanes, s->max_lanes);
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
	add_limited(r, in, "undo_high", s->undo_high, s->max_undo);
}

/* How fast each counter grew since the last look, of --watch. */
static void add_rates(struct rows *r, uint64_t now_ns)
{
	static struct rows last;
	static uint64_t last_ns;
	double seconds = (double)(now_ns - last_ns) / 1e9;

	for (unsigned i = 0; last.n == r->n && seconds > 0 && i < r->n; i++) {
		const struct value *v = &r->row[i].value;
		uint64_t before = last.row[i].value.number;

		if (v->kind != VALUE_NUMBER || v->number < before ||
		    strcmp(r->row[i].group, "activity") != 0)
			continue;
		r->row[i].has_rate = true;
		r->row[i].rate = (uint64_t)((double)(v->number - before) * 100 / seconds);
	}
	last = *r;
	last_ns = now_ns;
}

/* ---- size classes ---- */

static struct value class_size(const void *row)
{
	const tarn_class_row *c = row;

	/* Large blocks have no slots. */
	return (struct value){ .kind = c->slot_bytes != 0 ? VALUE_BYTES : VALUE_NONE,
			       .number = c->slot_bytes };
}

/* What of the class's pages no block's own bytes fill: empty slots and rests. */
static struct value class_waste(const void *row)
{
	const tarn_class_row *c = row;

	if (c->span_bytes == 0)
		return (struct value){ .kind = VALUE_NONE };
	return (struct value){ .kind = VALUE_PERCENT,
			       .number = c->live_bytes >= c->span_bytes ? 0
				: (uint64_t)(10000.0 * (double)(c->span_bytes - c->live_bytes) /
					     (double)c->span_bytes) };
}

#define CLASS_FIELD(kind, field) COLUMN_FIELD(kind, tarn_class_row, field)
static const struct column class_columns[] = {
	{ "SLOT", "slot_bytes", .kind = VALUE_BYTES, .of = class_size },
	{ "SPANS", "spans", CLASS_FIELD(VALUE_NUMBER, spans) },
	{ "BYTES", "span_bytes", CLASS_FIELD(VALUE_BYTES, span_bytes) },
	{ "SLOTS", "slots", CLASS_FIELD(VALUE_NUMBER, slots) },
	{ "USED", "used", CLASS_FIELD(VALUE_NUMBER, used) },
	{ "LIVE", "live", CLASS_FIELD(VALUE_NUMBER, live) },
	{ "CAPACITY", "used_bytes", CLASS_FIELD(VALUE_BYTES, used_bytes) },
	{ "SIZE", "live_bytes", CLASS_FIELD(VALUE_BYTES, live_bytes) },
	{ "WASTE%", "waste_percent", .kind = VALUE_PERCENT, .of = class_waste },
};

/* ---- messages and waits ---- */

static struct value client(const void *row)
{
	uint32_t id = ((const tarn_message_row *)row)->client;

	/* "-": all of them. */
	return (struct value){ .kind = id != 0 ? VALUE_NUMBER : VALUE_NONE, .number = id };
}

static struct value wait_of(const void *row, uint64_t ns)
{
	return (struct value){ .kind = ((const tarn_message_row *)row)->waits != 0 ? VALUE_SHORT
										  : VALUE_NONE,
			       .number = ns };
}
#define WAIT(name, field)                                                       \
	static struct value name(const void *row)                               \
	{                                                                       \
		return wait_of(row, ((const tarn_message_row *)row)->field);    \
	}
WAIT(p50, p50_ns)
WAIT(p90, p90_ns)
WAIT(p99, p99_ns)
WAIT(p999, p999_ns)
WAIT(max, max_ns)

#define MESSAGE_FIELD(kind, field) COLUMN_FIELD(kind, tarn_message_row, field)
static const struct column message_columns[] = {
	{ "CLIENT", "client", .kind = VALUE_NUMBER, .of = client },
	{ "KIND", "kind", MESSAGE_FIELD(VALUE_TEXT, name) },
	{ "MESSAGES", "messages", MESSAGE_FIELD(VALUE_NUMBER, messages) },
	{ "WAITS", "waits", MESSAGE_FIELD(VALUE_NUMBER, waits) },
	{ "P50", "p50_ns", .kind = VALUE_SHORT, .of = p50 },
	{ "P90", "p90_ns", .kind = VALUE_SHORT, .of = p90 },
	{ "P99", "p99_ns", .kind = VALUE_SHORT, .of = p99 },
	{ "P99.9", "p999_ns", .kind = VALUE_SHORT, .of = p999 },
	{ "MAX", "max_ns", .kind = VALUE_SHORT, .of = max },
};

static struct table table_of(const struct context *c, const struct column *its, unsigned n)
{
	struct table t = { .columns = its, .n_columns = n, .json = c->table.json,
			   .noheadings = c->table.noheadings, .exact_bytes = c->table.exact_bytes };

	table_choose(&t, NULL);
	return t;
}

/* Text: below the counters, after an empty line. */
static int more_rows(struct context *c, struct source *s, enum question q, struct json *j,
		     const char *key, const struct column *its, unsigned n_its, size_t row_bytes)
{
	struct table t = table_of(c, its, n_its);
	void *rows = NULL;
	size_t n = 0;
	int r = source_rows(s, q, 0, &rows, &n);

	if (r < 0)
		return r;
	if (c->table.json) {
		table_json(&t, j, key, rows, row_bytes, n);
	} else {
		printf("\n");
		table_print(&t, rows, row_bytes, n);
	}
	free(rows);
	return 0;
}

static int more(struct context *c, struct source *s, struct json *j)
{
	int r = 0;

	if (want_classes)
		r = more_rows(c, s, ASK_CLASSES, j, "classes", class_columns,
			      sizeof class_columns / sizeof *class_columns, sizeof(tarn_class_row));
	if (r == 0 && want_latency)
		r = more_rows(c, s, ASK_MESSAGES, j, "latency", message_columns,
			      sizeof message_columns / sizeof *message_columns,
			      sizeof(tarn_message_row));
	return r;
}

/* In JSON a name tells the unit, too. */
static const char *unit_of(const struct value *v)
{
	return v->kind == VALUE_BYTES ? "_bytes" : v->kind == VALUE_NS ? "_ns" : "";
}

/* {"memory": {"used_bytes": 1, ...}, ...}: a counter is found by its name. Reasons are
 * members of their own: "io_reason". */
static int print_json(struct context *c, struct source *s, const struct rows *r)
{
	struct json j = json_init(stdout);
	const char *in = "";
	char key[64];
	int result;

	json_object(&j, NULL);
	json_string(&j, "schema", "tarn.stat/1");
	json_string(&j, "source", source_kind(s));
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
		snprintf(key, sizeof key, "%s_limit%s", row->name, unit_of(&row->value));
		if (row->limit.kind != VALUE_NONE)
			value_json(&j, key, &row->limit);
		snprintf(key, sizeof key, "%s_reason", row->name);
		if (row->note != NULL)
			json_string(&j, key, row->note);
	}
	json_end(&j);
	result = more(c, s, &j);
	json_end(&j);
	return result;
}

static int print(struct context *c, struct source *s, struct rows *rows)
{
	if (c->watch_ns != 0)
		add_rates(rows, source_now_ns(s));
	if (c->table.json)
		return print_json(c, s, rows);
	table_print(&c->table, rows->row, sizeof *rows->row, rows->n);
	return more(c, s, NULL);
}

/* Who watches wants to see what moves. */
static void show_rates(struct table *t)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < t->n_columns; i++)
		t->shown[shown++] = i;
	t->n_shown = shown;
}

static int run(struct context *c)
{
	struct source *s;
	struct rows rows = { .n = 0 };
	tarn_stat stat;
	int r;

	if (c->table.json && c->table.chosen)
		cli_usage_error("stat: --columns does not go with --json, which has no columns");
	s = context_open(c);
	if (s == NULL)
		return CLI_TROUBLE;
	r = source_stat(s, &stat);
	if (r == 0) {
		add_server(&rows, &stat);
		add_memory(&rows, &stat);
		add_objects(&rows, &stat);
		add_clients(&rows, &stat);
		add_activity(&rows, &stat);
		if (c->watch_ns != 0 && !c->table.chosen)
			show_rates(&c->table);
		r = print(c, s, &rows);
	}
	source_close(s);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

enum { KEY_CLASSES = CLI_LONG, KEY_LATENCY };
static const struct cli_option options[] = {
	{ KEY_CLASSES, "classes", NULL, "also blocks by size class, and what of these is waste" },
	{ KEY_LATENCY, "latency", NULL, "also messages and waits, by client and kind" },
	{ 0 },
};

static void option(int key, const char *value)
{
	(void)value;
	want_classes = want_classes || key == KEY_CLASSES;
	want_latency = want_latency || key == KEY_LATENCY;
}

const struct command command_stat = {
	.name = "stat",
	.arguments = "",
	.summary = "all counters, with what limits them",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.options = options,
	.option = option,
	.run = run,
};
