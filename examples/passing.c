/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy goes to another process, through a channel. There it is as good as here; the sender
 * may drop its own at once, since what is on its way keeps the object alive.
 */
#include "must.h"
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <tarn/type.h>

struct tally {
	int64_t n;
};
static int count(tarn_context *ctx, void *self)
{
	return tarn_put_int(tarn_context_result(ctx), ++((struct tally *)self)->n);
}
static const tarn_method methods[] = { { "count", count, TARN_METHOD_INLINE, "", "q", NULL }, { 0 } };
static const tarn_type tally = { .name = "Tally", .size = sizeof(struct tally), .methods = methods };
TARN_TYPE_REGISTER(tally)

static tarn_client *client; /* each process has its own of these */
static tarn_channel *ring;
static tarn_object *object;

static int child(const char *server)
{
	must(tarn_client_open(server, NULL, &client));
	must(tarn_channel_open(client, "proxies", TARN_FOREVER, &ring));
	must(tarn_channel_bind(ring, TARN_CONSUMER));
	must(tarn_channel_recv_object(ring, &object, NULL, TARN_FOREVER));
	int64_t n;
	must(tarn_callf(object, "count", TARN_FOREVER, NULL, "q", &n));
	printf("The child counts %lld in %s\n", (long long)n, tarn_object_type_name(object));
	tarn_client_close(client); /* and all it has with it */
	return n != 2;
}

int main(int argc, char **argv)
{
	tarn_server *server;
	int status, pid;

	if (argc == 2)
		return child(argv[1]);
	must_begin(&server, &client);
	must(tarn_channel_new(client, 8, "proxies", &ring));
	must(tarn_channel_bind(ring, TARN_PRODUCER));
	must(tarn_object_newf(client, "Tally", &object, NULL));
	must(tarn_callf(object, "count", TARN_FOREVER, NULL, NULL));
	must(tarn_channel_send_object(ring, object, 0, TARN_FOREVER));
	tarn_object_unref(object);
	char *arguments[] = { argv[0], (char *)(uintptr_t)tarn_server_name(server), NULL };
	must(-posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ));
	waitpid(pid, &status, 0);
	must_end(server, client);
	return status;
}
