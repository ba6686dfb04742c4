/* SPDX-License-Identifier: Apache-2.0 */
/* tarn refs: every claim on a block or channel, or on all of them. */
#include <stdlib.h>

#include <tarn/channel.h>

#include "command.h"

static bool leaks;
static uint64_t min_age_ns;

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

/* What it is held by is no living reason, or none for so long. */
static struct value doubt(const void *row)
{
	static const char *const names[] = {
		[TARN_DOUBT_EVICTED] = "evicted",	  [TARN_DOUBT_DYING] = "dying",
		[TARN_DOUBT_NO_CONSUMER] = "no-consumer", [TARN_DOUBT_NO_END] = "no-end",
	};
	const tarn_claim_row *c = row;
	bool known = c->doubt < sizeof names / sizeof *names && names[c->doubt] != NULL;

	if (!known && leaks && c->age_ns >= min_age_ns)
		return (struct value){ .kind = VALUE_TEXT, .text = "old" };
	return (struct value){ .kind = known ? VALUE_TEXT : VALUE_NONE,
			       .text = known ? names[c->doubt] : NULL };
}

static struct value age(const void *row)
{
	const tarn_claim_row *c = row;

	return (struct value){ .kind = c->kind != TARN_CLAIM_GRANTED ? VALUE_NS : VALUE_NONE,
			       .number = c->age_ns };
}

static enum tint doubt_tint(const void *row)
{
	return ((const tarn_claim_row *)row)->doubt != TARN_DOUBT_NONE ? TINT_WARN : TINT_NONE;
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
	{ "AGE", "age_ns", .kind = VALUE_NS, .of = age },
	{ "DOUBT", "doubt", .kind = VALUE_TEXT, .of = doubt, .tint = doubt_tint },
	{ "BYTES", "bytes", .hidden = true, COLUMN_FIELD(VALUE_BYTES, tarn_claim_row, capacity) },
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

/* Leaves what nobody may ever give back, and what is as old as was asked for. Blocks in
 * caches are at hand. */
static size_t keep_leaks(tarn_claim_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (rows[i].kind != TARN_CLAIM_GRANTED &&
		    (rows[i].doubt != TARN_DOUBT_NONE || rows[i].age_ns >= min_age_ns))
			rows[kept++] = rows[i];
	return kept;
}

static int run(struct context *c)
{
	uint64_t id = c->n_arguments > 0 ? cli_id("ID", c->arguments[0]) : 0;
	struct source *s = context_open(c);
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_REFS, id, &rows, &n);
	if (r == 0 && leaks)
		n = keep_leaks(rows, n);
	if (r == 0 && n > 0)
		qsort(rows, n, sizeof(tarn_claim_row), compare);
	if (r == 0)
		context_print(c, s, "tarn.refs/1", "refs", rows, sizeof(tarn_claim_row), n);
	source_close(s);
	free(rows);
	if (r == -TARN_ESTALE) {
		cli_say("nothing has the id %s (any more)", c->arguments[0]);
		return CLI_NO;
	}
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

enum { KEY_LEAKS = CLI_LONG };
static const struct cli_option options[] = {
	{ KEY_LEAKS, "leaks", "MIN_AGE",
	  "only claims without a living reason, or on what is so old: 0, 30, 5m" },
	{ 0 },
};

static void option(int key, const char *value)
{
	if (key == KEY_LEAKS) {
		leaks = true;
		min_age_ns = (uint64_t)cli_duration("--leaks", value);
	}
}

const struct command command_refs = {
	.name = "refs",
	.arguments = " [ID]",
	.summary = "who holds ID and how; without ID, all claims",
	.takes = TAKES_INSPECT,
	.most_arguments = 1,
	.options = options,
	.option = option,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
