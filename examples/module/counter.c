/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A type of one's own in a shared object, for `tarnd --load counter.so` and for any program that
 * calls tarn_registry_load(). Counters are served one call at a time, so they need no lock.
 */
#include <stdio.h>

#include <tarn/type.h>

struct counter {
	int64_t n;
};

static int add(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	int64_t more;
	int r = tarn_context_get(ctx, "q", &more);

	if (r < 0)
		return r;
	c->n += more;
	return tarn_put_int(tarn_context_result(ctx), c->n);
}

static int describe(const void *self, char *text, size_t bytes)
{
	return snprintf(text, bytes, "Counter at %lld", (long long)((const struct counter *)self)->n);
}

static const tarn_method methods[] = { { "add", add, 0, "q", "q", NULL }, { 0 } };
static const tarn_type counter = {
	.name = "Counter", .size = sizeof(struct counter), .describe = describe, .methods = methods,
};
static const tarn_type *const types[] = { &counter, NULL };
extern const struct tarn_module tarn_module;
const struct tarn_module tarn_module = { TARN_MODULE_VERSION, types, NULL };
