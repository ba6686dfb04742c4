/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzzed-types.h"

#include <string.h>

#include "shaken.h"
#include "tarn/tarn.h"

/* Others can write there: nothing in it is relied on. */
struct fuzzed {
	uint64_t calls;
	uint64_t spare[4];
};

static int create(tarn_context *ctx, void *self)
{
	struct fuzzed *f = self;
	int64_t n = 0;
	int r = tarn_context_get(ctx, "|q", &n);

	shaken_tick();
	f->calls = 0;
	return r == 0 && n < 0 ? tarn_throw(ctx, "ValueError", "%d", (int)n) : r;
}

static void destroy(tarn_context *ctx, void *self)
{
	struct fuzzed *f = self;

	(void)ctx;
	f->calls = 0;
	shaken_tick();
}

static int plus(tarn_context *ctx, void *self)
{
	struct fuzzed *f = self;
	int64_t n;
	int r = tarn_value_int(tarn_parcel_at(tarn_context_args(ctx), 0), &n);

	shaken_tick();
	f->calls++;
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), (int64_t)((uint64_t)n + 1));
}

/* Holds each reference among its arguments. */
static int keep(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	int r = 0;

	(void)self;
	for (unsigned i = 0; i < tarn_parcel_count(args) && r == 0; i++) {
		tarn_value v = tarn_parcel_at(args, i);
		tarn_object *object;
		tarn_block *block;

		shaken_tick();
		if (tarn_value_kind(v) == TARN_KIND_OBJECT && tarn_value_object(v, &object) == 0)
			r = tarn_self_hold(ctx, object);
		else if (tarn_value_kind(v) == TARN_KIND_BLOCK && tarn_value_block(v, &block) == 0)
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
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	return r < 0 ? r : tarn_self_put(ctx, id);
}

static int clone(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx), 1);
}

/* Makes some, of which it holds each second, and gives the last; or fails after all that. */
static int make(tarn_context *ctx, void *self)
{
	tarn_object *made = NULL;
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);
	tarn_builder args;

	(void)self;
	tarn_builder_init(&args);
	for (int64_t i = 0; i < (n & 7) && r == 0; i++) {
		r = tarn_managed(ctx, "Fuzzed", &args, &made);
		if (r == 0 && (i & 1))
			r = tarn_self_hold(ctx, made);
		shaken_tick();
	}
	tarn_builder_fini(&args);
	if (r == 0 && (n & 8))
		return tarn_throw(ctx, "KeyError", "after %d", (int)n & 7);
	return r < 0 || made == NULL ? r : tarn_put_object(tarn_context_result(ctx), made);
}

static int big(tarn_context *ctx, void *self)
{
	static const char text[6000];
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	return r < 0 ? r
		     : tarn_put_bytes(tarn_context_result(ctx), text, (uint64_t)n % sizeof text);
}

/* Reads all of its arguments. */
static int echo(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	int r = 0;

	(void)self;
	for (unsigned i = 0; i < tarn_parcel_count(args) && r == 0; i++) {
		shaken_tick();
		r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(args, i));
	}
	return r;
}

static const tarn_method methods[] = {
	[FUZZED_PLUS] = { "plus", plus, TARN_METHOD_INLINE | TARN_METHOD_READ, "q", "q", NULL },
	[FUZZED_LATER] = { "later", plus, 0, "q", "q", NULL },
	[FUZZED_ECHO] = { "echo", echo, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "keep", keep, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "forget", forget, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "give", give, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "clone", clone, TARN_METHOD_INLINE, "", NULL, "Fuzzed" },
	{ "make", make, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "big", big, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ 0 },
};

static const tarn_type fuzzed = {
	.name = "Fuzzed",
	.size = sizeof(struct fuzzed),
	.flags = TARN_TYPE_INLINE,
	.args = "|q",
	.create = create,
	.destroy = destroy,
	.methods = methods,
};
static const tarn_type slow = {
	.name = "FuzzedSlow",
	.size = sizeof(struct fuzzed),
	.args = "|q",
	.create = create,
	.destroy = destroy,
	.methods = methods,
};
/* Of the honest: a stranger that calls it leaves nothing behind. */
static const tarn_method fixed_methods[] = {
	[FUZZED_PLUS] = { "plus", plus, TARN_METHOD_INLINE | TARN_METHOD_READ, "q", "q", NULL },
	[FUZZED_LATER] = { "later", plus, 0, "q", "q", NULL },
	{ 0 },
};
static const tarn_type fixed = {
	.name = "FuzzedFixed",
	.size = sizeof(struct fuzzed),
	.flags = TARN_TYPE_INLINE,
	.args = "|q",
	.create = create,
	.destroy = destroy,
	.methods = fixed_methods,
};
static const tarn_type adopting = { .name = "FuzzedAdopt", .flags = TARN_TYPE_ADOPT };

const tarn_type *const fuzzed_type_fixed = &fixed;
const tarn_type *const fuzzed_types[] = { &fuzzed, &slow, &fixed, &adopting, NULL };
