/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Pool: a pool of workers as others see it. The process that has the workers takes tasks from the queue
 * that is kept alive here; the server says when that process is gone.
 */
#include "pool.h"

#include <stdio.h>
#include <string.h>

#include "tarn/object.h"
#include "types.h"

/* create(queue, workers, name): the caller has the workers. */
static int create(tarn_context *ctx, void *self)
{
	struct tarn__pool *p = self;
	tarn_object *queue;
	const char *name;
	unsigned workers;
	int r = tarn_context_get(ctx, "OIs", &queue, &workers, &name);

	if (r < 0)
		return r;
	if (workers == 0 || workers > TARN__POOL_WORKERS)
		return tarn_throw(ctx, "ValueError", "%u workers: 1 to %u are possible", workers,
				  TARN__POOL_WORKERS);
	if (strlen(name) >= sizeof p->name)
		return tarn_throw(ctx, "ValueError", "the name has %zu bytes, %zu are possible",
				  strlen(name), sizeof p->name - 1);
	r = tarn_self_hold_object(ctx, queue);
	p->workers = workers;
	p->owner = tarn_context_caller(ctx).client;
	p->tasks = tarn_object_id(queue);
	memcpy(p->name, name, strlen(name));
	return r;
}

/* parts(): the queue. */
static int parts(tarn_context *ctx, void *self)
{
	/* Relaxed: set when the pool was made. What somebody wrote there is no reference that the pool holds. */
	return tarn_self_put(ctx, tarn__load_relaxed(&((struct tarn__pool *)self)->tasks));
}

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	struct tarn__pool *p = self;

	(void)ctx;
	/* Relaxed: set when the pool was made. */
	if (tarn__load32_relaxed(&p->owner) == client && !(tarn__pool_state(p) & TARN__POOL_ENDED))
		tarn__pool_set(p, TARN__POOL_LOST);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__pool *p = self;
	const uint32_t state = tarn__pool_state(p);
	unsigned up = 0;

	for (unsigned i = 0; i < TARN__POOL_WORKERS; i++)
		up += tarn__load32_relaxed(&p->pid[i]) != 0; /* relaxed: for people */
	if (state & (TARN__POOL_ENDED | TARN__POOL_LOST))
		return snprintf(text, bytes, "%s", state & TARN__POOL_ENDED ? "has ended"
					     : "its process died");
	return snprintf(text, bytes, "%u of %u workers are up%s", up, tarn__load32_relaxed(&p->workers),
			state & TARN__POOL_TERMINATED ? ", terminated"
			: state & TARN__POOL_CLOSED   ? ", closed"
						      : "");
}

static const tarn_method methods[] = {
	{ "parts", parts, TARN_METHOD_INLINE | TARN_METHOD_READ, "", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_pool = {
	.name = "tarn.Pool",
	.size = sizeof(struct tarn__pool),
	.flags = TARN_TYPE_INLINE,
	.args = "OIs",
	.create = create,
	.describe = describe,
	.methods = methods,
	.departed = departed,
};
