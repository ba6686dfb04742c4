/* SPDX-License-Identifier: Apache-2.0 */
/* tarn call: calls a method of an object. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "objects.h"
#include "value-json.h"

/* ---- arguments ---- */

/* "5:3", a name or a token, with an "@" in front as we write it, or "Lens 5:3" as it is printed. */
static int resolve(void *user, const char *reference, tarn_builder *b)
{
	const char *blank = strrchr(reference, ' ');
	const char *text = *reference == '@' ? reference + 1 : blank != NULL ? blank + 1 : reference;
	tarn_object *object;
	tarn_token token;
	tarn_block *block;
	int status, r;

	check_object_text("reference", text);
	if (tarn_token_parse(text, &token) == 0 && tarn_block_import(user, &token, &block) == 0) {
		r = tarn_put_block(b, block);
		tarn_block_unref(block);
		return r;
	}
	if (!find_object(user, text, &object, &status))
		exit(status);
	r = tarn_put_object(b, object);
	tarn_object_unref(object);
	return r;
}

/* What stands at a place of a signature: its letter, '[' or '{'; 0: nothing, or not known. */
static char letter_at(const char *signature, unsigned place)
{
	unsigned depth = 0, at = 0;

	for (const char *p = signature; p != NULL && *p != '\0'; p++) {
		if (strchr(" ,:?|*", *p) != NULL)
			continue;
		if (*p == ']' || *p == '}') {
			depth--;
			continue;
		}
		if (depth == 0 && at++ == place)
			return *p;
		depth += *p == '[' || *p == '{';
	}
	return 0;
}

/* A string may stand without its quotes where the method wants one. */
static int put_argument(tarn_client *client, const char *text, char wanted, tarn_builder *b)
{
	if (text[0] == '@')
		return resolve(client, text, b);
	if ((wanted == 's' || wanted == 'S') && text[0] != '"' && strcmp(text, "nil") != 0)
		return tarn_put_string(b, text);
	return tarn_value_parse(text, b, resolve, client);
}

/* Ends the program if one is wrong. */
static void put_arguments(struct context *c, tarn_client *client, const char *signature,
			  tarn_builder *b)
{
	for (int i = 2; i < c->n_arguments; i++) {
		const char *text = c->arguments[i];
		unsigned before = tarn_builder_count(b);
		int r = put_argument(client, text, letter_at(signature, (unsigned)i - 2), b);

		if (r < 0)
			cli_usage_error("argument %d: '%s' is no value: %s%s", i - 1, text,
					cli_last_error(r),
					isalpha((unsigned char)text[0])
						? " A string is in quotes, as in '\"abc\"'."
						: "");
		if (tarn_builder_count(b) != before + 1)
			cli_usage_error("argument %d: '%s' is not one value", i - 1, text);
	}
}

/* ---- results ---- */

static void print_values(const tarn_parcel *result)
{
	for (unsigned i = 0; i < tarn_parcel_count(result); i++) {
		tarn_value v = tarn_parcel_at(result, i);
		int n = tarn_value_format(v, NULL, 0);
		char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;

		if (text == NULL) {
			cli_say("result %u cannot be read", i + 1);
			continue;
		}
		tarn_value_format(v, text, (size_t)n + 1);
		printf("%s\n", text);
		free(text);
	}
}

static void print_json(struct context *c, const tarn_object *object, int r,
		       const tarn_parcel *result, uint64_t took_ns)
{
	struct json j = object_json(c, "tarn.call/1");
	char id[CLI_ID_BYTES];

	cli_format_id(id, tarn_object_id(object));
	json_string(&j, "object", id);
	json_string(&j, "method", c->arguments[1]);
	json_number(&j, "took_ns", took_ns);
	if (r == 0) {
		json_array(&j, "result");
		for (unsigned i = 0; i < tarn_parcel_count(result); i++)
			json_value(&j, NULL, tarn_parcel_at(result, i));
		json_end(&j);
	} else {
		json_null(&j, "result");
	}
	json_fault(&j, "error", r == 0 ? NULL : tarn_error_fault());
	json_end(&j);
}

/* What a method threw is its own to tell; what the caller did wrong is usage. */
static int print_failure(struct context *c, const tarn_object *object, int r, uint64_t took_ns)
{
	if (r != -TARN_EREMOTE) {
		cli_library_error(r);
		return r == -TARN_ESTALE ? CLI_NO : CLI_TROUBLE;
	}
	if (c->table.json)
		print_json(c, object, r, NULL, took_ns);
	tarn_error_print(stderr);
	return CLI_NO;
}

/* ---- the call ---- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int call(struct context *c, tarn_client *client, tarn_object *object)
{
	tarn_method_facts facts;
	tarn_builder args;
	tarn_parcel result;
	unsigned number;
	int r = tarn_method_find(object, c->arguments[1], &number);

	if (r == 0)
		r = tarn_object_method_at(object, number, &facts);
	if (r < 0)
		return cli_library_error(r);
	tarn_builder_init(&args);
	put_arguments(c, client, facts.args, &args);
	uint64_t began = now();
	r = tarn_call_n(object, number, &args, &result, c->timeout_ns);
	uint64_t took_ns = now() - began;

	tarn_builder_fini(&args);
	if (r < 0)
		return print_failure(c, object, r, took_ns);
	if (c->table.json)
		print_json(c, object, 0, &result, took_ns);
	else
		print_values(&result);
	tarn_parcel_fini(&result);
	return CLI_OK;
}

static int run(struct context *c)
{
	tarn_client *client;
	tarn_object *object;
	int status;

	check_object_text("OBJ", c->arguments[0]);
	client = attach(c);
	if (client == NULL)
		return CLI_TROUBLE;
	if (!find_object(client, c->arguments[0], &object, &status))
		return status;
	return call(c, client, object);
}

const struct command command_call = {
	.name = "call",
	.arguments = " OBJ METHOD [ARG]",
	.summary = "call a method of an object",
	.takes = TAKES_TIME | TAKES_SERVER | TAKES_JSON,
	.least_arguments = 2,
	.most_arguments = 2 + (int)TARN_VALUES_MAX,
	.negative_arguments = true,
	.run = run,
};
