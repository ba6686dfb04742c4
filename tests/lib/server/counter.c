/* SPDX-License-Identifier: Apache-2.0 */
#include "counter.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "lib/client/object.h"
#include "lib/types/memory.h"

unsigned counter_alive, counter_destroyed;
uint64_t counter_order[64];

static int counter_create(tarn_context *ctx, void *self)
{
	struct counter *c = self;

	cr_assert(zero(c->factor));
	int r = tarn_context_get(ctx, "|d", &c->factor);
	if (r == 0 && c->factor < 0)
		return tarn_throw(ctx, "ValueError", "the factor must not be negative, as %g is",
				  c->factor);
	counter_alive += r == 0;
	return r;
}

static void counter_destroy(tarn_context *ctx, void *self)
{
	(void)self;
	if (counter_destroyed < 64)
		counter_order[counter_destroyed] = ctx != NULL ? ((struct tarn_block *)tarn_context_self(ctx))->id : 0;
	counter_destroyed++;
	counter_alive--;
}

static int scale(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	double x;
	int r = tarn_context_get(ctx, "d", &x);

	if (r < 0)
		return r;
	c->calls++;
	return tarn_put_double(tarn_context_result(ctx), c->factor * x);
}

static int keep(tarn_context *ctx, void *self)
{
	tarn_value v = tarn_parcel_at(tarn_context_args(ctx), 0);
	tarn_block *block;
	tarn_object *object;
	int r;

	(void)self;
	if (tarn_value_kind(v) == TARN_KIND_OBJECT) {
		r = tarn_value_object(v, &object);
		if (r == 0)
			r = tarn_self_hold(ctx, object);
	} else {
		r = tarn_value_block(v, &block);
		if (r == 0)
			r = tarn_self_hold(ctx, block);
	}
	return r;
}

static int forget(tarn_context *ctx, void *self)
{
	uint64_t id;
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	return r < 0 ? r : tarn_self_drop(ctx, id);
}

static int give(tarn_context *ctx, void *self)
{
	uint64_t id;
	tarn_object *o;
	tarn_block *b;
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	if (r < 0)
		return r;
	r = tarn_self_object(ctx, id, &o);
	if (r == 0)
		return tarn_put_object(tarn_context_result(ctx), o);
	r = tarn_self_block(ctx, id, &b);
	return r < 0 ? r : tarn_put_block(tarn_context_result(ctx), b);
}

static int spawn(tarn_context *ctx, void *self)
{
	struct counter *c = self;

	return tarn_put_double(tarn_context_result(ctx), 2 * c->factor);
}

static int fail_after(tarn_context *ctx, void *self)
{
	tarn_builder args;
	tarn_object *made;
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	tarn_builder_init(&args);
	tarn_put_double(&args, 1.0);
	for (int64_t i = 0; i < n && r == 0; i++) {
		r = tarn_managed(ctx, "Counter", &args, &made);
		if (r == 0)
			r = tarn_self_hold(ctx, made);
	}
	tarn_builder_fini(&args);
	return r < 0 ? r : tarn_throw(ctx, "KeyError", "after %d", (int)n);
}

static int big(tarn_context *ctx, void *self)
{
	static char text[100000];
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	memset(text, 'x', sizeof text);
	return r < 0 ? r : tarn_put_bytes(tarn_context_result(ctx), text, (size_t)n);
}

static int me(tarn_context *ctx, void *self)
{
	tarn_object *same;
	int r = tarn_managed_of(ctx, self, &same);

	if (r == 0 && same != tarn_context_self(ctx))
		return tarn_throw(ctx, "AssertionError", "another handle of the same object");
	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), same);
}

static int open_list(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_list_begin(tarn_context_result(ctx));
}

static int slow(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	return 0;
}

uint64_t counter_many[256];
unsigned counter_n_many;

static int forget_many(tarn_context *ctx, void *self)
{
	const struct counter *c = self;
	tarn_object *same;
	int r = tarn_managed_of(ctx, self, &same);

	for (int k = 0; k < (int)c->factor && r == 0; k++)
		r = tarn_self_hold(ctx, same);
	for (int k = 0; k < (int)c->factor && r == 0; k++)
		r = tarn_self_drop(ctx, ((struct tarn_block *)same)->id);
	for (unsigned k = 0; k < counter_n_many && r == 0; k++)
		r = tarn_self_drop(ctx, counter_many[k]);
	return r;
}

static int keep_often(tarn_context *ctx, void *self)
{
	tarn_block *block;
	int r = tarn_value_block(tarn_parcel_at(tarn_context_args(ctx), 0), &block);

	(void)self;
	for (unsigned k = 0; k < counter_n_many && r == 0; k++)
		r = tarn_self_hold(ctx, block);
	return r;
}

/* As a queue's "take": whatever the caller says. */
static int drop_late(tarn_context *ctx, void *self)
{
	uint64_t id;
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	return r < 0 ? r : tarn__self_drop_late(ctx, id);
}

static const tarn_method counter_methods[] = {
	{ "scale", scale, TARN_METHOD_INLINE, "d", "d", NULL },
	{ "keep", keep, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "forget", forget, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "give", give, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "clone", spawn, TARN_METHOD_INLINE, "", NULL, "Counter" },
	{ "fail_after", fail_after, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "big", big, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "me", me, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "open_list", open_list, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "slow", slow, 0, NULL, NULL, NULL },
	{ "hidden", slow, TARN_METHOD_INLINE | TARN_METHOD_INTERNAL, NULL, NULL, NULL },
	{ "forget_many", forget_many, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "keep_often", keep_often, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "drop_late", drop_late, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ 0 },
};
static const tarn_field counter_fields[] = {
	{ "calls", 'q', true, offsetof(struct counter, calls) },
	{ 0 },
};
static const tarn_type counter = {
	.name = "Counter", .size = sizeof(struct counter), .flags = TARN_TYPE_INLINE, .args = "|d",
	.create = counter_create, .destroy = counter_destroy, .methods = counter_methods,
	.fields = counter_fields,
};
static const tarn_type result_only = { .name = "ResultOnly", .flags = TARN_TYPE_INLINE | TARN_TYPE_RESULT_ONLY };
static const tarn_type adopted = { .name = "Adopted", .flags = TARN_TYPE_ADOPT };
const tarn_type *const counter_types[] = { &counter, &result_only, &adopted, NULL };
