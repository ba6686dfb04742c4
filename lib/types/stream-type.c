/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Stream: who has ended which round. Clients use it in place; the server keeps its queue and its
 * event alive, and gives them to whoever opens it. */
#include "stream.h"

#include <limits.h>
#include <stdio.h>

#include "shm/wake.h"
#include "tarn/object.h"
#include "types.h"

/* create(queue, suppliers, stop or nil) */
static int create(tarn_context *ctx, void *self)
{
	struct tarn__stream *s = self;
	tarn_object *queue, *stop;
	unsigned suppliers;
	int r = tarn_context_get(ctx, "OIO?", &queue, &suppliers, &stop);

	if (r < 0)
		return r;
	if (suppliers == 0 || suppliers > TARN__STREAM_ENDED)
		return tarn_throw(ctx, "ValueError", "%u suppliers: 1 to %u are possible", suppliers,
				  TARN__STREAM_ENDED);
	r = tarn_self_hold_object(ctx, queue);
	if (r == 0 && stop != NULL)
		r = tarn_self_hold_object(ctx, stop);
	s->suppliers = suppliers;
	s->queue = tarn_object_id(queue);
	s->stop = stop != NULL ? tarn_object_id(stop) : 0;
	return r;
}

/* parts(): the queue, and the event or nil. */
static int parts(tarn_context *ctx, void *self)
{
	const struct tarn__stream *s = self;
	const uint64_t stop = s->stop;
	int r = tarn_self_put(ctx, s->queue);

	if (r < 0)
		return r;
	return stop != 0 ? tarn_self_put(ctx, stop) : tarn_put_nil(tarn_context_result(ctx));
}

/* Killed between its end, or a new round, and the wake: all look again. Who it was, nothing says. */
static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	const struct tarn__stream *s = self;

	(void)ctx, (void)client;
	tarn__futex_wake(&s->state, INT_MAX);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__stream *s = self;
	/* Relaxed: for people. */
	const uint32_t state = tarn__load32_relaxed(&s->state);

	return snprintf(text, bytes, "round %u, ended by %u of %u suppliers", tarn__stream_round(state) + 1,
			state & TARN__STREAM_ENDED, s->suppliers);
}

static const tarn_method methods[] = {
	{ "parts", parts, TARN_METHOD_INLINE | TARN_METHOD_READ, "", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_stream = {
	.name = "tarn.Stream",
	.size = sizeof(struct tarn__stream),
	.flags = TARN_TYPE_INLINE,
	.args = "OIO?",
	.create = create,
	.describe = describe,
	.methods = methods,
	.departed = departed,
};
