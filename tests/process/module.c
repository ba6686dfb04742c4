/* SPDX-License-Identifier: Apache-2.0 */
/* A module for tarnd --load: one type. And an entry, that a program which loads it later than at its start has. */
#include <tarn/process.h>
#include <tarn/type.h>

TARN_WORKER(loaded_later)
{
	(void)worker;
	return 0;
}

static int doubled(tarn_context *ctx, void *self)
{
	int64_t x;
	int r = tarn_context_get(ctx, "q", &x);

	(void)self;
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), 2 * x);
}

static const tarn_method methods[] = {
	{ "double", doubled, TARN_METHOD_INLINE, "q", "q", NULL },
	{ 0 },
};
static const tarn_type doubler = { .name = "Doubler", .flags = TARN_TYPE_INLINE, .methods = methods };
static const tarn_type *const types[] = { &doubler, NULL };

TARN_MODULE(types, NULL)
