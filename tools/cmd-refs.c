/* SPDX-License-Identifier: Apache-2.0 */
/* tarn refs: every claim on a block or channel, or on all of them. */
#include <stdlib.h>

#include <tarn/channel.h>

#include "command.h"

/* Uses of an export without a limit. */
#define UNLIMITED UINT32_MAX

static struct value kind(const void *row)
{
	static const char *const names[] = {
		[TARN_CLAIM_HELD] = "held",	[TARN_CLAIM_TRANSIT] = "transit",
		[TARN_CLAIM_EXPORTED] = "exported", [TARN_CLAIM_STORED] = "stored",
		[TARN_CLAIM_GRANTED] = "granted", [TARN_CLAIM_NAMED] = "named",
	};
	const tarn_claim_row *c = row;
	bool known = c->kind < sizeof names / sizeof *names && names[c->kind] != NULL;

	if (c->kind == TARN_CLAIM_END)
		return (struct value){ .kind = VALUE_TEXT,
				       .text = c->at == TARN_PRODUCER ? "producer" : "consumer" };
	return (struct value){ .kind = VALUE_TEXT, .text = known ? names[c->kind] : "?" };
}

static struct value units(const void *row)
{
	const tarn_claim_row *c = row;

	if (c->kind == TARN_CLAIM_EXPORTED && c->units == UNLIMITED)
		return (struct value){ .kind = VALUE_NONE };
	return (struct value){ .kind = VALUE_NUMBER, .number = c->units };
}

/* A number that counts only if there is a client, or a channel. */
static struct value number_if(bool known, uint64_t number)
{
	return (struct value){ .kind = known ? VALUE_NUMBER : VALUE_NONE, .number = number };
}

static struct value client(const void *row)
{
	const tarn_claim_row *c = row;

	return number_if(c->client != 0, c->client);
}

static struct value pid(const void *row)
{
	const tarn_claim_row *c = row;

	return number_if(c->pid != 0, c->pid);
}

static struct value name(const void *row)
{
	const tarn_claim_row *c = row;

	return (struct value){ .kind = c->name[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = c->name };
}

static struct value at(const void *row)
{
	const tarn_claim_row *c = row;

	return number_if(c->via != 0, c->at);
}

static const struct column columns[] = {
	{ "ID", "id", COLUMN_FIELD(VALUE_ID, tarn_claim_row, id) },
	{ "KIND", "kind", .kind = VALUE_TEXT, .of = kind },
	{ "UNITS", "units", .kind = VALUE_NUMBER, .of = units },
	{ "CLIENT", "client", .kind = VALUE_NUMBER, .of = client },
	{ "PID", "pid", .kind = VALUE_NUMBER, .of = pid },
	{ "NAME", "name", .kind = VALUE_TEXT, .of = name },
	{ "VIA", "via", COLUMN_FIELD(VALUE_ID, tarn_claim_row, via) },
	{ "AT", "at", .kind = VALUE_NUMBER, .of = at },
};

/* What belongs to one id stands together, in the order of `tarn blocks`. */
static int compare(const void *a, const void *b)
{
	const tarn_claim_row *x = a, *y = b;
	uint32_t i = (uint32_t)x->id << 4, k = (uint32_t)y->id << 4; /* the index is below */

	if (i != k)
		return i < k ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->client != y->client)
		return x->client < y->client ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int run(struct context *c)
{
	uint64_t id = c->n_arguments > 0 ? cli_id("ID", c->arguments[0]) : 0;
	tarn_inspector *inspector = context_connect(c);
	tarn_claim_row *rows = NULL;
	size_t n = 0;
	int r;

	if (inspector == NULL)
		return CLI_TROUBLE;
	r = tarn_inspector_refs(inspector, id, &rows, &n);
	tarn_inspector_close(inspector);
	if (r == -TARN_ESTALE) {
		cli_say("nothing has the id %s (any more)", c->arguments[0]);
		return CLI_NO;
	}
	if (r < 0)
		return cli_library_error(r);
	if (n > 0)
		qsort(rows, n, sizeof *rows, compare);
	if (c->table.json) {
		struct json j = context_json(c, "tarn.refs/1");

		table_json(&c->table, &j, "refs", rows, sizeof *rows, n);
		json_end(&j);
	} else {
		table_print(&c->table, rows, sizeof *rows, n);
	}
	free(rows);
	return CLI_OK;
}

const struct command command_refs = {
	.name = "refs",
	.arguments = " [ID]",
	.summary = "who holds ID and how; without ID, all claims",
	.most_arguments = 1,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
