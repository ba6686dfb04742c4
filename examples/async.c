/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many calls at once from one thread: each takes a tenth of a second, all together hardly more. An
 * event loop waits for the answers with one descriptor; a call that takes too long is given up.
 */
#include "must.h"
#include <poll.h>
#include <time.h>
#include <tarn/type.h>

#define CALLS 20

static int brew(tarn_context *ctx, void *self)
{
	int64_t cup;
	int r = tarn_context_get(ctx, "q", &cup);

	(void)self;
	for (int i = 0; i < 10 && !tarn_context_canceled(ctx); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), cup);
}
static const tarn_method methods[] = { { "brew", brew, 0, "q", "q", NULL }, { 0 } };
static const tarn_type kitchen = { .name = "Kitchen", .concurrency = TARN_PARALLEL, .methods = methods };
TARN_TYPE_REGISTER(kitchen)

int main(void)
{
	tarn_pending *call[CALLS];
	struct pollfd ready = { .events = POLLIN };
	tarn_server *server;
	tarn_client *client;
	tarn_object *object;
	tarn_builder number;

	must_begin(&server, &client);
	must(tarn_object_newf(client, "Kitchen", &object, NULL));
	must(tarn_client_event_fd(client, &ready.fd));
	for (int i = 0; i < CALLS; i++) {
		tarn_builder_init(&number);
		tarn_put_int(&number, i);
		must(tarn_call_start(object, "brew", &number, &call[i]));
		tarn_builder_fini(&number);
	}
	for (int left = CALLS; left > 0 && poll(&ready, 1, -1) == 1;) {
		must(tarn_client_event_clear(client)); /* first, then look at all */
		for (int i = 0; i < CALLS; i++) {
			if (call[i] == NULL || tarn_call_poll(call[i]) == 0)
				continue;
			must(tarn_call_wait(call[i], NULL, 0)); /* its result does not matter */
			call[i] = tarn_call_free(call[i]), left--;
		}
	}
	int late = tarn_callf(object, "brew", 20000000, "i", NULL, 99);
	printf("%d cups at once; one more: %s\n", CALLS, tarn_error_last()->message);
	tarn_object_unref(object);
	must_end(server, client);
	return late != -ETIMEDOUT;
}
