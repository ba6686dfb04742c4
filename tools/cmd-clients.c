/* SPDX-License-Identifier: Apache-2.0 */
/* tarn clients: who is attached, and with what. */
#include <stdlib.h>
#include <time.h>

#include "command.h"

static struct value up(const void *row)
{
	const tarn_client_row *c = row;
	struct timespec t;
	uint64_t now;

	clock_gettime(CLOCK_BOOTTIME, &t); /* the server's clock for attaching */
	now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	return (struct value){ .kind = VALUE_NS, .number = now > c->start_ns ? now - c->start_ns : 0 };
}

static struct value quota(const void *row)
{
	const tarn_client_row *c = row;

	return (struct value){ .kind = c->quota != 0 ? VALUE_BYTES : VALUE_NONE, .number = c->quota };
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_client_row, field)
static const struct column columns[] = {
	{ "ID", "id", FIELD(VALUE_NUMBER, id) },
	{ "PID", "pid", FIELD(VALUE_NUMBER, pid) },
	{ "NAME", "name", FIELD(VALUE_TEXT, name) },
	{ "UID", "uid", FIELD(VALUE_NUMBER, uid) },
	{ "STATE", "state", FIELD(VALUE_TEXT, state_name) },
	{ "UP", "up_ns", .kind = VALUE_NS, .of = up },
	{ "LANES", "lanes", FIELD(VALUE_NUMBER, lanes) },
	{ "HELD", "held", FIELD(VALUE_NUMBER, held) },
	{ "OWNED", "owned", FIELD(VALUE_NUMBER, owned) },
	{ "BYTES", "owned_bytes", FIELD(VALUE_BYTES, owned_bytes) },
	{ "QUOTA", "quota_bytes", .kind = VALUE_BYTES, .of = quota },
	{ "UNREAD", "unread", FIELD(VALUE_NUMBER, unread) },
	{ "CREDITS", "credits", .hidden = true, FIELD(VALUE_NUMBER, credits) },
	{ "INCARNATION", "incarnation", .hidden = true, FIELD(VALUE_NUMBER, incarnation) },
};

static int run(struct context *c)
{
	tarn_inspector *inspector = context_connect(c);
	tarn_client_row *rows = NULL;
	size_t n = 0;
	int r;

	if (inspector == NULL)
		return CLI_TROUBLE;
	r = tarn_inspector_clients(inspector, &rows, &n);
	tarn_inspector_close(inspector);
	if (r < 0)
		return cli_library_error(r);
	if (c->table.json) {
		struct json j = context_json(c, "tarn.clients/1");

		table_json(&c->table, &j, "clients", rows, sizeof *rows, n);
		json_end(&j);
	} else {
		table_print(&c->table, rows, sizeof *rows, n);
	}
	free(rows);
	return CLI_OK;
}

const struct command command_clients = {
	.name = "clients",
	.arguments = "",
	.summary = "who is attached, and with what",
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
