/* SPDX-License-Identifier: Apache-2.0 */
/* tarn clients: who is attached, and with what. */
#include <assert.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "shm/layout.h"

#define RING_SLOTS 1024u /* of a lane's requests (TARN__REQUESTS) */
static_assert(RING_SLOTS == TARN__REQUESTS, "the ring of a lane");

static uint64_t now_ns; /* when the rows were true, by the server's clock for attaching */

static struct value up(const void *row)
{
	const tarn_client_row *c = row;

	return (struct value){ .kind = VALUE_NS,
			       .number = now_ns > c->start_ns ? now_ns - c->start_ns : 0 };
}

/* A user's name, or the number where it has none. */
static struct value user(const void *row)
{
	static struct passwd entry, *found;
	static char buffer[1024], number[16];
	uint32_t uid = ((const tarn_client_row *)row)->uid;

	if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL)
		return (struct value){ .kind = VALUE_TEXT, .text = entry.pw_name };
	snprintf(number, sizeof number, "%" PRIu32, uid);
	return (struct value){ .kind = VALUE_TEXT, .text = number };
}

/* How full the fullest of its rings is: at 100 it waits for the server. */
static struct value ring(const void *row)
{
	const tarn_client_row *c = row;

	return (struct value){ .kind = VALUE_PERCENT, .number = c->most_unread * 10000 / RING_SLOTS };
}

/* Why it is not served any more; else its last failure: "alloc ENOMEM". */
static struct value error(const void *row)
{
	static char text[160];
	const tarn_client_row *c = row;

	if (c->evicted[0] != '\0')
		snprintf(text, sizeof text, "%s", c->evicted);
	else if (c->error != 0)
		snprintf(text, sizeof text, "%s %s", c->error_kind, tarn_error_name(c->error));
	else
		return (struct value){ .kind = VALUE_NONE };
	return (struct value){ .kind = VALUE_TEXT, .text = text };
}

static struct value error_ago(const void *row)
{
	const tarn_client_row *c = row;

	return (struct value){ .kind = c->error != 0 ? VALUE_NS : VALUE_NONE,
			       .number = c->failed_ago_ns };
}

/* Times of waits, if any was measured. */
static struct value wait_of(const tarn_client_row *c, uint64_t ns)
{
	return (struct value){ .kind = c->waits != 0 ? VALUE_SHORT : VALUE_NONE, .number = ns };
}
static struct value p50(const void *row)
{
	return wait_of(row, ((const tarn_client_row *)row)->wait_p50_ns);
}
static struct value p99(const void *row)
{
	return wait_of(row, ((const tarn_client_row *)row)->wait_p99_ns);
}
static struct value max(const void *row)
{
	return wait_of(row, ((const tarn_client_row *)row)->wait_max_ns);
}

static enum tint state_tint(const void *row)
{
	return strcmp(((const tarn_client_row *)row)->state_name, "active") == 0 ? TINT_GOOD : TINT_BAD;
}
static enum tint ring_tint(const void *row)
{
	return ((const tarn_client_row *)row)->most_unread * 10 >= RING_SLOTS * 9 ? TINT_WARN : TINT_NONE;
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
	{ "USER", "user", .kind = VALUE_TEXT, .of = user },
	{ "UID", "uid", .hidden = true, FIELD(VALUE_NUMBER, uid) },
	{ "STATE", "state", FIELD(VALUE_TEXT, state_name), .tint = state_tint },
	{ "UP", "up_ns", .kind = VALUE_NS, .of = up },
	{ "LANES", "lanes", FIELD(VALUE_NUMBER, lanes) },
	{ "RING%", "ring_percent", .kind = VALUE_PERCENT, .of = ring, .tint = ring_tint },
	{ "REFS", "held", FIELD(VALUE_NUMBER, held) },
	{ "BYTES", "held_bytes", FIELD(VALUE_BYTES, held_bytes) },
	{ "OWNED", "owned_bytes", FIELD(VALUE_BYTES, owned_bytes) },
	{ "QUOTA", "quota_bytes", .kind = VALUE_BYTES, .of = quota },
	{ "ERROR", "error", .kind = VALUE_TEXT, .of = error },
	{ "ERRORAGO", "error_ago_ns", .hidden = true, .kind = VALUE_NS, .of = error_ago },
	{ "ERRORS", "errors", .hidden = true, FIELD(VALUE_NUMBER, failures) },
	{ "MESSAGES", "messages", .hidden = true, FIELD(VALUE_NUMBER, messages) },
	{ "UNREAD", "unread", .hidden = true, FIELD(VALUE_NUMBER, unread) },
	{ "P50", "wait_p50_ns", .hidden = true, .kind = VALUE_SHORT, .of = p50 },
	{ "P99", "wait_p99_ns", .hidden = true, .kind = VALUE_SHORT, .of = p99 },
	{ "MAX", "wait_max_ns", .hidden = true, .kind = VALUE_SHORT, .of = max },
	{ "WAITS", "waits", .hidden = true, FIELD(VALUE_NUMBER, waits) },
	{ "NOWNED", "owned", .hidden = true, FIELD(VALUE_NUMBER, owned) },
	{ "CREDITS", "credits", .hidden = true, FIELD(VALUE_NUMBER, credits) },
	{ "INCARNATION", "incarnation", .hidden = true, FIELD(VALUE_NUMBER, incarnation) },
};

static int run(struct context *c)
{
	struct source *s = context_open(c);
	void *rows = NULL;
	size_t n = 0;
	int r;

	if (s == NULL)
		return CLI_TROUBLE;
	r = source_rows(s, ASK_CLIENTS, 0, &rows, &n);
	now_ns = source_now_ns(s);
	if (r == 0)
		context_print(c, s, "tarn.clients/1", "clients", rows, sizeof(tarn_client_row), n);
	source_close(s);
	free(rows);
	return r < 0 ? cli_library_error(r) : CLI_OK;
}

const struct command command_clients = {
	.name = "clients",
	.arguments = "",
	.summary = "who is attached, and with what",
	.takes = TAKES_INSPECT,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
