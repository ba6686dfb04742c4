/* SPDX-License-Identifier: Apache-2.0 */
/* A module for tarnd --load: one type. */
#include <tarn/type.h>

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

TARN_EXPORT extern const struct tarn_module tarn_module;
const struct tarn_module tarn_module = { TARN_MODULE_VERSION, types, NULL };
