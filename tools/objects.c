/* SPDX-License-Identifier: Apache-2.0 */
#include "objects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tarn/token.h>

#define NAME_MOST 63u

/* ---- rows ---- */

const char *flag_names(uint64_t flags, const char *const *names, unsigned n)
{
	static char text[96];
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		if (flags >> i & 1)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
						 used != 0 ? "," : "", names[i]);
	return used != 0 ? text : NULL;
}

static struct value state(const void *row)
{
	static const char *const names[] = { [TARN_OBJECT_MAKING] = "making",
					     [TARN_OBJECT_LIVE] = "live",
					     [TARN_OBJECT_DESTROYING] = "destroying" };
	const tarn_object_row *o = row;
	bool known = o->state < sizeof names / sizeof *names && names[o->state] != NULL;

	return (struct value){ .kind = VALUE_TEXT, .text = known ? names[o->state] : "?" };
}

static struct value refs(const void *row)
{
	const tarn_object_row *o = row;

	return (struct value){ .kind = VALUE_NUMBER, .number = (uint64_t)o->claims + o->edges };
}

static struct value preview(const void *row)
{
	const tarn_object_row *o = row;

	return (struct value){ .kind = o->preview[0] != '\0' ? VALUE_TEXT : VALUE_NONE,
			       .text = o->preview };
}

static struct value creator(const void *row)
{
	const tarn_object_row *o = row;

	return (struct value){ .kind = o->creator != 0 ? VALUE_NUMBER : VALUE_NONE,
			       .number = o->creator };
}

static enum tint state_tint(const void *row)
{
	return ((const tarn_object_row *)row)->state == TARN_OBJECT_LIVE ? TINT_GOOD : TINT_WARN;
}

#define FIELD(kind, field) COLUMN_FIELD(kind, tarn_object_row, field)
const struct column object_columns[] = {
	{ "ID", "id", FIELD(VALUE_ID, id) },
	{ "REFS", "refs", .kind = VALUE_NUMBER, .of = refs },
	{ "TYPE", "type", FIELD(VALUE_TEXT, type_name) },
	{ "PREVIEW", "preview", .kind = VALUE_TEXT, .of = preview },
	{ "STATE", "state", .hidden = true, .kind = VALUE_TEXT, .of = state, .tint = state_tint },
	{ "CLAIMS", "claims", .hidden = true, FIELD(VALUE_NUMBER, claims) },
	{ "EDGES", "edges", .hidden = true, FIELD(VALUE_NUMBER, edges) },
	{ "HOLDS", "holds", .hidden = true, FIELD(VALUE_NUMBER, holds) },
	{ "CREATOR", "creator", .hidden = true, .kind = VALUE_NUMBER, .of = creator },
	{ "CREATED", "created", .hidden = true, FIELD(VALUE_NUMBER, created) },
	{ "TYPENUMBER", "type_number", .hidden = true, FIELD(VALUE_NUMBER, type) },
};
_Static_assert(sizeof object_columns / sizeof *object_columns == N_OBJECT_COLUMNS, "all of them");

/* ---- the object that is meant ---- */

static tarn_client *attached;

void detach(void)
{
	tarn_client *client = attached;

	attached = NULL;
	tarn_client_close(client);
}

static void detach_at_exit(void)
{
	if (tarn_error_last()->code != -ETIMEDOUT)
		detach();
}

tarn_client *attach(const struct context *c)
{
	const tarn_client_options options = { .connect_timeout_ns = c->timeout_ns };
	static bool registered;
	tarn_inspector *there;
	tarn_stat stat;
	int r;

	detach(); /* what an earlier look of --watch left that found no object */
	r = tarn_inspector_open(c->server, 0, &there); /* 0: it is there or not */
	/* Some of what follows waits longer than one wants to: not for a server that hangs already. */
	if (r == 0) {
		tarn_inspector_timeout_set(there, c->timeout_ns);
		r = tarn_inspector_stat(there, &stat);
		tarn_inspector_close(there);
	}
	if (r == 0)
		r = tarn_client_open(c->server, &options, &attached);
	if (r < 0) {
		cli_library_error(r);
		return NULL;
	}
	if (!registered)
		registered = atexit(detach_at_exit) == 0;
	return attached;
}

static bool is_token(const char *text, tarn_token *ret)
{
	return strncmp(text, "tarn1:", 6) == 0 && tarn_token_parse(text, ret) == 0;
}

static bool is_id(const char *text)
{
	return strspn(text, "0123456789:") == strlen(text) || strncmp(text, "0x", 2) == 0;
}

void check_object_text(const char *what, const char *text)
{
	tarn_token token;

	if (strncmp(text, "tarn1:", 6) == 0) {
		if (!is_token(text, &token))
			cli_usage_error("%s: '%s' is not a token", what, text);
	} else if (is_id(text) && *text != '\0') {
		cli_id(what, text);
	} else if (*text == '\0' || strlen(text) > NAME_MOST) {
		cli_usage_error("%s: '%s' is neither an id (such as 5:3), nor a token, nor a name, which "
				"has 1 to %u bytes", what, text, NAME_MOST);
	}
}

bool find_object(tarn_client *client, const char *text, tarn_object **ret, int *ret_status)
{
	tarn_token token;
	int r;

	if (is_token(text, &token)) {
		r = tarn_object_import(client, &token, ret);
	} else if (is_id(text)) {
		const tarn_weak weak = { .client = client, .id = cli_id("OBJ", text) };

		r = tarn_weak_lock(&weak, ret);
	} else {
		r = tarn_object_lookup(client, text, 0, ret);
	}
	if (r == 0)
		return true;
	*ret_status = CLI_NO;
	if (r == -TARN_ESTALE && is_id(text))
		cli_say("no object has the id %s (any more)", text);
	else if (r == -TARN_EKIND)
		cli_say("%s is no object", text);
	else
		cli_say("%s", cli_last_error(r));
	if (r != -TARN_ESTALE && r != -ENOENT && r != -TARN_EKIND)
		*ret_status = CLI_TROUBLE;
	return false;
}

struct json object_json(const struct context *c, const char *schema)
{
	struct json j = context_json(c, NULL, schema);

	json_string(&j, "source", "server");
	json_object(&j, "server");
	json_string(&j, "name", c->server);
	json_end(&j);
	return j;
}
