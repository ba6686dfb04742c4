/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server with types from a shared object (module/counter.c), as `tarnd --load counter.so` is;
 * here it runs in a thread of this program. Two clients use one object by its name.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tarn/tarn.h>
#include <tarn/type.h>

static tarn_server_options options = { .name = "@module-example" };

static void must(int r)
{
	if (r >= 0)
		return;
	tarn_error_print(stderr);
	exit(1);
}

static void *serve(void *module)
{
	options.registry = tarn_registry_new();
	must(tarn_registry_load(options.registry, module));
	must(tarn_server_run(&options));
	tarn_registry_free(options.registry);
	return NULL;
}

int main(int argc, char **argv)
{
	const tarn_client_options patient = { .connect_timeout_ns = 10000000000 };
	tarn_client *client, *other;
	tarn_object *counter, *found;
	pthread_t server;
	char text[100];
	int64_t n;

	if (argc != 2)
		return fprintf(stderr, "Usage: module counter.so\n") != 0;
	if (pthread_create(&server, NULL, serve, argv[1]) != 0)
		return 1;
	must(tarn_client_open(options.name, &patient, &client));
	must(tarn_client_open(options.name, &patient, &other));
	must(tarn_object_newf(client, "Counter", &counter, NULL));
	must(tarn_object_publish(counter, "visits", 0));
	must(tarn_callf(counter, "add", TARN_FOREVER, "i", "q", 5, &n));
	must(tarn_object_lookup(other, "visits", TARN_FOREVER, &found));
	must(tarn_callf(found, "add", TARN_FOREVER, "i", "q", 37, &n));
	tarn_object_describe(found, text, sizeof text, TARN_FOREVER);
	printf("%s\n", text);
	tarn_client_close(other); /* and its proxy with it */
	tarn_client_close(client);
	tarn_server_stop();
	return pthread_join(server, NULL) || n != 42;
}
