/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hello, server: a type with one method, an object of it that lives in a server process, and a
 * call. tarn_server_start() runs this program once more as the server, so it has the type.
 */
#include <stdio.h>
#include <stdlib.h>

#include <tarn/tarn.h>

static int greet(tarn_context *ctx, void *self)
{
	const char *name;
	char text[100];
	int r = tarn_context_get(ctx, "s", &name);

	(void)self; /* it has no state */
	if (r < 0)
		return r;
	snprintf(text, sizeof text, "Hello, %s!", name);
	return tarn_put_string(tarn_context_result(ctx), text);
}

static const tarn_method methods[] = { { "greet", greet, 0, "s", "s", NULL }, { 0 } };
static const tarn_type greeter = { .name = "Greeter", .methods = methods };
TARN_TYPE_REGISTER(greeter)

static void must(int r)
{
	if (r >= 0)
		return;
	tarn_error_print(stderr);
	exit(1); /* a server that we started ends with us */
}

int main(void)
{
	tarn_server *server;
	tarn_client *client;
	tarn_object *object;
	tarn_builder arguments;
	tarn_parcel result;
	const char *text;

	must(tarn_server_start(NULL, &server));
	must(tarn_client_open(tarn_server_name(server), NULL, &client));
	must(tarn_object_newf(client, "Greeter", &object, NULL));
	tarn_builder_init(&arguments);
	tarn_put_string(&arguments, "world");
	must(tarn_call(object, "greet", &arguments, &result, TARN_FOREVER));
	must(tarn_parcel_get(&result, "s", &text));
	printf("%s\n", text);
	tarn_parcel_fini(&result); /* text ends with it */
	tarn_builder_fini(&arguments);
	tarn_object_unref(object); /* the last one: the object is gone */
	tarn_client_close(client);
	must(tarn_server_shutdown(server, TARN_FOREVER));
	return tarn_server_unref(server) != NULL; /* 0: unref returns NULL */
}
