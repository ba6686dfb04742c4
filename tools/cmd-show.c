/* SPDX-License-Identifier: Apache-2.0 */
/* tarn show: an object as its type describes it, and what a container has in it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tarn/container.h>

#include "objects.h"
#include "value-json.h"

static uint64_t limit = 100;

struct view {
	struct context *c;
	tarn_object *object;
	tarn_object *iterator; /* NULL: it is no container that can be iterated over */
	bool pairs;            /* of key and value */
	char type[80], text[4096];
};

/* What the server says a moment ago and says no more is not there. */
static int open_view(struct view *v)
{
	const char *type = tarn_object_type_name(v->object);
	int r = 0;

	snprintf(v->type, sizeof v->type, "%s", type != NULL ? type : "?");
	tarn_object_describe(v->object, v->text, sizeof v->text, v->c->timeout_ns);
	if (strcmp(v->type, "tarn.List") == 0)
		r = tarn_list_iter(v->object, &v->iterator);
	else if (strcmp(v->type, "tarn.Dict") == 0)
		r = tarn_dict_iter(v->object, TARN_ITERATE_ITEMS, &v->iterator);
	v->pairs = strcmp(v->type, "tarn.Dict") == 0;
	return r;
}

/* A line holds a value whole if it is not too long. */
static void print_value(tarn_value value)
{
	char text[500];
	int n = tarn_value_format(value, text, sizeof text);

	printf("%s%s", text, n >= (int)sizeof text ? "..." : "");
}

static void print_item(const struct view *v, uint64_t at, const tarn_parcel *item)
{
	if (v->pairs) {
		print_value(tarn_parcel_at(item, 0));
		printf(": ");
	} else {
		printf("%" PRIu64 ": ", at);
	}
	print_value(tarn_parcel_at(item, v->pairs ? 1 : 0));
	printf("\n");
}

static void json_item(const struct view *v, struct json *j, uint64_t at, const tarn_parcel *item)
{
	json_object(j, NULL);
	if (v->pairs)
		json_value(j, "key", tarn_parcel_at(item, 0));
	else
		json_number(j, "key", at);
	json_value(j, "value", tarn_parcel_at(item, v->pairs ? 1 : 0));
	json_end(j);
}

/* @j NULL: as text. 0, or the failure; *@ret_more: the limit ended it. */
static int show_items(struct view *v, struct json *j, bool *ret_more)
{
	uint64_t at = 0;
	tarn_parcel item;
	int r;

	*ret_more = false;
	while ((r = tarn_iter_next(v->iterator, &item)) == 0) {
		*ret_more = limit != 0 && at == limit;
		if (!*ret_more && j != NULL)
			json_item(v, j, at, &item);
		else if (!*ret_more)
			print_item(v, at, &item);
		tarn_parcel_fini(&item);
		if (*ret_more)
			return 0;
		at++;
	}
	return r == -TARN_EOF ? 0 : r;
}

static int print_text(struct view *v)
{
	char id[CLI_ID_BYTES];
	bool more = false;
	int r = 0;

	cli_format_id(id, tarn_object_id(v->object));
	printf("%s %s: %s\n", v->type, id, v->text);
	if (v->iterator != NULL)
		r = show_items(v, NULL, &more);
	if (more)
		printf("... (--limit %" PRIu64 "; 0 shows all)\n", limit);
	return r;
}

static int print_json(struct view *v)
{
	struct json j = object_json(v->c, "tarn.show/1");
	char id[CLI_ID_BYTES];
	bool more = false;
	int r = 0;

	cli_format_id(id, tarn_object_id(v->object));
	json_string(&j, "id", id);
	json_string(&j, "type", v->type);
	json_string(&j, "describe", v->text);
	if (v->iterator != NULL) {
		json_array(&j, "items");
		r = show_items(v, &j, &more);
		json_end(&j);
	} else {
		json_null(&j, "items");
	}
	json_bool(&j, "more", more);
	json_end(&j);
	return r;
}

static int run(struct context *c)
{
	struct view v = { .c = c };
	tarn_client *client;
	int status = CLI_TROUBLE, r;

	check_object_text("OBJ", c->arguments[0]);
	client = attach(c);
	if (client == NULL)
		return CLI_TROUBLE;
	if (!find_object(client, c->arguments[0], &v.object, &status))
		return status;
	r = open_view(&v);
	if (r == 0)
		r = c->table.json ? print_json(&v) : print_text(&v);
	if (r < 0)
		return cli_library_error(r);
	tarn_object_unref(v.iterator);
	tarn_object_unref(v.object);
	detach();
	return CLI_OK;
}

static const struct cli_option options[] = {
	{ 'n', "limit", "N", "show so many elements of a container (default 100; 0: all)" },
	{ 0 },
};

static void option(int key, const char *value)
{
	if (key == 'n')
		limit = cli_number("--limit", value, 0, UINT32_MAX);
}

const struct command command_show = {
	.name = "show",
	.arguments = " OBJ",
	.summary = "an object as its type describes it, and what a container holds",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_JSON | TAKES_WATCH,
	.least_arguments = 1,
	.most_arguments = 1,
	.options = options,
	.option = option,
	.run = run,
};
