/* SPDX-License-Identifier: Apache-2.0 */
/* tarn blocks: what the arena holds, and who holds it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

static bool all;

static const char *text_of(const char *const *names, unsigned n, unsigned i)
{
	return i < n && names[i] != NULL ? names[i] : "?";
}

static struct value kind(const void *row)
{
	static const char *const names[] = { [TARN_BLOCK_PLAIN] = "block",
					     [TARN_BLOCK_CHANNEL] = "channel",
					     [TARN_BLOCK_OBJECT] = "object" };
	const tarn_block_row *b = row;

	return (struct value){ .kind = VALUE_TEXT, .text = text_of(names, sizeof names / sizeof *names, b->kind) };
}

static struct value state(const void *row)
{
	static const char *const names[] = { [TARN_BLOCK_GRANTED] = "granted",
					     [TARN_BLOCK_LIVE] = "live",
					     [TARN_BLOCK_DEAD] = "dead" };
	const tarn_block_row *b = row;

	return (struct value){ .kind = VALUE_TEXT,
			       .text = text_of(names, sizeof names / sizeof *names, b->state) };
}

static struct value refs(const void *row)
{
	const tarn_block_row *b = row;

	return (struct value){ .kind = VALUE_NUMBER, .number = (uint64_t)b->ext + b->edges };
}

static struct value owner(const void *row)
{
	const tarn_block_row *b = row;

	return (struct value){ .kind = b->owner != 0 ? VALUE_NUMBER : VALUE_NONE, .number = b->owner };
}

/* Two holders have places in the row, either may be free; `tarn refs` tells the others. */
static struct value holders(const void *row)
{
	const tarn_block_row *b = row;
	struct value v = { .kind = VALUE_LIST };

	for (unsigned i = 0; i < 2; i++)
		if (b->holder[i] != 0)
			v.list[v.n_list++] = b->holder[i];
	v.more = b->holders > v.n_list;
	return v;
}

/* Since the server first read of it; what is only granted was not made yet. */
static struct value age(const void *row)
{
	const tarn_block_row *b = row;

	return (struct value){ .kind = b->state == TARN_BLOCK_LIVE ? VALUE_NS : VALUE_NONE,
			       .number = b->age_ns };
}

static struct value flags(const void *row)
{
	const tarn_block_row *b = row;
	bool sealed = b->flags & TARN_BLOCK_IS_SEALED, large = b->flags & TARN_BLOCK_IS_LARGE;

	return (struct value){ .kind = sealed || large ? VALUE_TEXT : VALUE_NONE,
			       .text = sealed && large ? "sealed,large" : sealed ? "sealed" : "large" };
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_block_row, field)
static const struct column columns[] = {
	{ "ID", "id", FIELD(VALUE_ID, id) },
	{ "KIND", "kind", .kind = VALUE_TEXT, .of = kind },
	{ "STATE", "state", .kind = VALUE_TEXT, .of = state },
	{ "SIZE", "size_bytes", FIELD(VALUE_BYTES, size) },
	{ "CAPACITY", "capacity_bytes", FIELD(VALUE_BYTES, capacity) },
	{ "REFS", "refs", .kind = VALUE_NUMBER, .of = refs },
	{ "OWNER", "owner", .kind = VALUE_NUMBER, .of = owner },
	{ "HOLDERS", "holders", .kind = VALUE_LIST, .of = holders },
	{ "AGE", "age_ns", .kind = VALUE_NS, .of = age },
	{ "NHOLDERS", "n_holders", .hidden = true, FIELD(VALUE_NUMBER, holders) },
	{ "EDGES", "edges", .hidden = true, FIELD(VALUE_NUMBER, edges) },
	{ "OFFSET", "offset", .hidden = true, FIELD(VALUE_NUMBER, offset) },
	{ "FLAGS", "flags", .hidden = true, .kind = VALUE_TEXT, .of = flags },
};

/* Leaves out what nobody made yet: granted blocks lie unused in clients' caches. */
static size_t keep_made(tarn_block_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (rows[i].state != TARN_BLOCK_GRANTED)
			rows[kept++] = rows[i];
	return kept;
}

struct totals {
	uint64_t size, capacity;
};

static struct totals add_up(const tarn_block_row *rows, size_t n)
{
	struct totals t = { 0 };

	for (size_t i = 0; i < n; i++) {
		t.size += rows[i].size;
		t.capacity += rows[i].capacity;
	}
	return t;
}

static void print(struct context *c, const tarn_block_row *rows, size_t n)
{
	const struct totals t = add_up(rows, n);
	const struct value size = { .kind = VALUE_BYTES, .number = t.size };
	const struct value capacity = { .kind = VALUE_BYTES, .number = t.capacity };
	char text[2][VALUE_TEXT_BYTES];

	table_print(&c->table, rows, sizeof *rows, n);
	if (c->table.noheadings)
		return;
	value_format(text[0], &size, c->table.exact_bytes);
	value_format(text[1], &capacity, c->table.exact_bytes);
	printf("\ntotal %zu, size %s, capacity %s\n", n, text[0], text[1]);
}

static void print_json(struct context *c, const struct source *s, const tarn_block_row *rows, size_t n)
{
	struct json j = context_json(c, s, "tarn.blocks/1");
	const struct totals t = add_up(rows, n);

	table_json(&c->table, &j, "blocks", rows, sizeof *rows, n);
	json_object(&j, "totals");
	json_number(&j, "blocks", n);
	json_number(&j, "size_bytes", t.size);
	json_number(&j, "capacity_bytes", t.capacity);
	json_end(&j);
	json_end(&j);
}

static int run(struct context *c)
{
	struct source *s = context_open(c);
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_BLOCKS, 0, &rows, &n);
	if (r == 0 && !all)
		n = keep_made(rows, n);
	if (r == 0 && c->table.json)
		print_json(c, s, rows, n);
	else if (r == 0)
		print(c, rows, n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

static const struct cli_option options[] = {
	{ 'a', "all", NULL, "also what lies granted in clients' caches" },
	{ 0 },
};

static void option(int key, const char *value)
{
	(void)value;
	all = all || key == 'a';
}

const struct command command_blocks = {
	.name = "blocks",
	.arguments = "",
	.summary = "what the arena holds, and who holds it",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.options = options,
	.option = option,
	.run = run,
};
