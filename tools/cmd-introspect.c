/* SPDX-License-Identifier: Apache-2.0 */
/* tarn introspect: one object, what it holds and who holds it, and what can be called. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"

/* A method's names, copied: they are the client's. */
struct method {
	char name[80], args[80], result[80], result_type[72];
	bool any_args, any_result;
	unsigned flags;
};

static struct value signature(const char *text, bool any)
{
	return (struct value){ .kind = any || text[0] == '\0' ? VALUE_NONE : VALUE_TEXT, .text = text };
}
static struct value args(const void *row)
{
	const struct method *m = row;

	return m->any_args ? (struct value){ .kind = VALUE_TEXT, .text = "any" }
			   : signature(m->args, false);
}
static struct value result(const void *row)
{
	const struct method *m = row;

	return m->any_result ? (struct value){ .kind = VALUE_TEXT, .text = "any" }
			     : signature(m->result, false);
}
static struct value result_type(const void *row)
{
	return signature(((const struct method *)row)->result_type, false);
}
static struct value flags(const void *row)
{
	static const char *const names[] = { "inline", "read", "internal" };
	const char *text = flag_names(((const struct method *)row)->flags, names, 3);

	return (struct value){ .kind = text != NULL ? VALUE_TEXT : VALUE_NONE, .text = text };
}

static const struct column columns[] = {
	{ "METHOD", "method", COLUMN_FIELD(VALUE_TEXT, struct method, name) },
	{ "ARGUMENTS", "arguments", .kind = VALUE_TEXT, .of = args },
	{ "RESULT", "result", .kind = VALUE_TEXT, .of = result },
	{ "RESULTTYPE", "result_type", .kind = VALUE_TEXT, .of = result_type },
	{ "FLAGS", "flags", .kind = VALUE_TEXT, .of = flags },
};

/* ---- asking ---- */

struct found {
	uint64_t id;
	struct method *methods;
	unsigned n_methods;
	tarn_object_row object;
	tarn_claim_row *refs; /* all claims of the arena */
	size_t n_refs;
};

static void copy(char *to, size_t bytes, const char *from)
{
	snprintf(to, bytes, "%s", from != NULL ? from : "");
}

static int read_methods(tarn_object *object, struct found *f)
{
	int n = tarn_object_method_count(object);

	if (n < 0)
		return n;
	f->methods = calloc((size_t)n + 1, sizeof *f->methods);
	if (f->methods == NULL)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		struct method *m = &f->methods[i];
		tarn_method_facts facts;
		int r = tarn_object_method_at(object, (unsigned)i, &facts);

		if (r < 0)
			return r;
		copy(m->name, sizeof m->name, facts.name);
		copy(m->args, sizeof m->args, facts.args);
		copy(m->result, sizeof m->result, facts.result);
		copy(m->result_type, sizeof m->result_type, facts.result_type);
		m->any_args = facts.args == NULL;
		m->any_result = facts.result == NULL && facts.result_type == NULL;
		m->flags = facts.flags;
	}
	f->n_methods = (unsigned)n;
	return 0;
}

/* Which object, and its methods: with a client, which is gone before the counts are looked at. */
static int ask_object(struct context *c, struct found *f)
{
	tarn_client *client = attach(c);
	tarn_object *object;
	int status = CLI_TROUBLE, r;

	if (client == NULL)
		return CLI_TROUBLE;
	if (!find_object(client, c->arguments[0], &object, &status))
		return status;
	f->id = tarn_object_id(object);
	r = read_methods(object, f);
	if (r < 0)
		return cli_library_error(r);
	tarn_object_unref(object);
	detach();
	return CLI_OK;
}

static int ask_counts(struct source *s, struct found *f)
{
	void *rows = NULL;
	size_t n = 0;
	bool there = false;
	int r = source_rows(s, ASK_OBJECTS, 0, &rows, &n);
	const tarn_object_row *o = rows;

	for (size_t i = 0; r == 0 && i < n; i++)
		if (o[i].id == f->id) {
			f->object = o[i];
			there = true;
		}
	free(rows);
	if (r == 0)
		r = source_rows(s, ASK_REFS, 0, (void **)&f->refs, &f->n_refs);
	return r < 0 ? r : there;
}

/* ---- printing ---- */

static bool held_by_it(const struct found *f, const tarn_claim_row *r)
{
	return r->kind == TARN_CLAIM_STORED && r->via == f->id;
}

static void holder(const tarn_claim_row *r, char text[64])
{
	char id[CLI_ID_BYTES];

	cli_format_id(id, r->via);
	if (r->kind == TARN_CLAIM_STORED)
		snprintf(text, 64, "object %s", id);
	else if (r->kind == TARN_CLAIM_TRANSIT)
		snprintf(text, 64, "channel %s", id);
	else if (r->kind == TARN_CLAIM_EXPORTED)
		snprintf(text, 64, "a token");
	else if (r->kind == TARN_CLAIM_NAMED)
		snprintf(text, 64, "a name");
	else
		snprintf(text, 64, "client %u (%s %u)", r->client, r->name, r->pid);
}

static void print_text(struct context *c, const struct found *f)
{
	char id[CLI_ID_BYTES], text[64];

	cli_format_id(id, f->id);
	if (!c->table.noheadings) {
		printf("%s %s, %u refs%s%s\n", f->object.type_name, id, f->object.claims + f->object.edges,
		       f->object.preview[0] != '\0' ? ": " : "", f->object.preview);
		for (size_t i = 0; i < f->n_refs; i++)
			if (f->refs[i].id == f->id) {
				holder(&f->refs[i], text);
				printf("held by %s\n", text);
			}
		for (size_t i = 0; i < f->n_refs; i++)
			if (held_by_it(f, &f->refs[i])) {
				cli_format_id(id, f->refs[i].id);
				printf("holds %s\n", id);
			}
		printf("\n");
	}
	table_print(&c->table, f->methods, sizeof *f->methods, f->n_methods);
}

static void print_json(struct context *c, const struct source *s, const struct found *f)
{
	const struct table row = { .columns = object_columns, .n_columns = N_OBJECT_COLUMNS,
				   .json = true };
	struct json j = context_json(c, s, "tarn.introspect/1");
	char text[64];

	json_object(&j, "object");
	for (unsigned i = 0; i < row.n_columns; i++)
		table_json_cell(&row, &j, i, &f->object);
	json_end(&j);
	json_array(&j, "held_by");
	for (size_t i = 0; i < f->n_refs; i++)
		if (f->refs[i].id == f->id) {
			holder(&f->refs[i], text);
			json_string(&j, NULL, text);
		}
	json_end(&j);
	json_array(&j, "holds");
	for (size_t i = 0; i < f->n_refs; i++)
		if (held_by_it(f, &f->refs[i])) {
			cli_format_id(text, f->refs[i].id);
			json_string(&j, NULL, text);
		}
	json_end(&j);
	table_json(&c->table, &j, "methods", f->methods, sizeof *f->methods, f->n_methods);
	json_end(&j);
}

static int run(struct context *c)
{
	struct found f = { 0 };
	struct source *s = NULL;
	int status, r;

	check_object_text("OBJ", c->arguments[0]);
	status = ask_object(c, &f);
	if (status == CLI_OK) {
		s = context_open(c);
		status = s != NULL ? CLI_OK : CLI_TROUBLE;
	}
	if (status == CLI_OK) {
		r = ask_counts(s, &f);
		if (r < 0)
			status = cli_library_error(r);
		else if (r == 0) {
			cli_say("%s ended meanwhile", c->arguments[0]);
			status = CLI_NO;
		} else if (c->table.json)
			print_json(c, s, &f);
		else
			print_text(c, &f);
	}
	source_close(s);
	free(f.methods);
	free(f.refs);
	return status;
}

const struct command command_introspect = {
	.name = "introspect",
	.arguments = " OBJ",
	.summary = "an object, who holds it, and what can be called",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_TABLE | TAKES_WATCH,
	.least_arguments = 1,
	.most_arguments = 1,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
