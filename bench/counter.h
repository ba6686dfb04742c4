/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest type with a method that changes something: what calls of benchmarks call. One program
 * registers it by including this. */
#ifndef TARN_BENCH_COUNTER_H
#define TARN_BENCH_COUNTER_H

#include <tarn/type.h>

#include "arena.h"

struct counter {
	int64_t sum;
};

static int counter_add(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	int64_t n;
	int r = tarn_value_int(tarn_parcel_at(tarn_context_args(ctx), 0), &n);

	if (r < 0)
		return r;
	c->sum += n;
	return tarn_put_int(tarn_context_result(ctx), c->sum);
}

static const tarn_method counter_methods[] = {
	{ "add", counter_add, TARN_METHOD_INLINE, "q", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type counter_type = {
	.name = "BenchCounter", .size = sizeof(struct counter), .flags = TARN_TYPE_INLINE,
	.methods = counter_methods,
};
TARN_TYPE_REGISTER(counter_type)

static inline tarn_object *counter_new(tarn_client *client)
{
	tarn_object *o = NULL;

	check(tarn_object_new(client, counter_type.name, NULL, &o), "make an object");
	return o;
}

/* Adds 1 and dies unless the sum is @due. @one holds the argument 1. */
static inline void counter_call(tarn_object *counter, const tarn_builder *one, int64_t due)
{
	tarn_parcel result;
	int64_t sum = 0;

	check(tarn_call_n(counter, 0, one, &result, INT64_C(10000000000)), "call");
	check(tarn_value_int(tarn_parcel_at(&result, 0), &sum), "read the result");
	tarn_parcel_fini(&result);
	if (sum != due)
		die("a call returned %lld when %lld was due", (long long)sum, (long long)due);
}

#endif
