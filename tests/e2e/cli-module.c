/* SPDX-License-Identifier: Apache-2.0 */
/* Types for test-cli-objects.sh: what can be seen, called, held, that fails and that takes long. */
#include <stdio.h>
#include <time.h>

#include <tarn/object.h>
#include <tarn/type.h>

struct lens {
	double factor;
};

static int create(tarn_context *ctx, void *self)
{
	return tarn_context_get(ctx, "d", &((struct lens *)self)->factor);
}

static int describe(const void *self, char *text, size_t bytes)
{
	return snprintf(text, bytes, "Lens of %g", ((const struct lens *)self)->factor);
}

static int scale(tarn_context *ctx, void *self)
{
	double x;
	int r = tarn_context_get(ctx, "d", &x);

	return r < 0 ? r : tarn_put_double(tarn_context_result(ctx), ((struct lens *)self)->factor * x);
}

/* All kinds of values come back as they came. */
static int echo(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	int r = 0;

	(void)self;
	for (unsigned i = 0; i < tarn_parcel_count(args) && r == 0; i++)
		r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(args, i));
	return r;
}

static int label(tarn_context *ctx, void *self)
{
	const char *text;
	int64_t n;
	char both[80];
	int r = tarn_context_get(ctx, "sq", &text, &n);

	(void)self;
	if (r < 0)
		return r;
	snprintf(both, sizeof both, "%s-%lld", text, (long long)n);
	return tarn_put_string(tarn_context_result(ctx), both);
}

static int hold(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	(void)self;
	return r < 0 ? r : tarn_self_hold_object(ctx, o);
}

static int crack(tarn_context *ctx, void *self)
{
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	return r < 0 ? r : tarn_throw(ctx, "ValueError", "crack number %lld", (long long)n);
}

/* Until it is cancelled. */
static int linger(tarn_context *ctx, void *self)
{
	(void)self;
	while (!tarn_context_canceled(ctx))
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return 0;
}

#define QUICK (TARN_METHOD_INLINE | TARN_METHOD_READ)
static const tarn_method methods[] = {
	{ "scale", scale, QUICK, "d", "d", NULL },
	{ "echo", echo, QUICK, NULL, NULL, NULL },
	{ "label", label, QUICK, "sq", "s", NULL },
	{ "hold", hold, TARN_METHOD_INLINE, "O", "", NULL },
	{ "crack", crack, 0, "q", "", NULL },
	{ "linger", linger, 0, "", "", NULL },
	{ "spawn", scale, TARN_METHOD_INLINE, "d", NULL, "Lens" },
	{ 0 },
};
static const tarn_field fields[] = {
	{ "factor", 'd', true, offsetof(struct lens, factor) },
	{ 0 },
};
static const tarn_type lens = {
	.name = "Lens", .size = sizeof(struct lens), .flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL, .args = "d", .create = create, .describe = describe,
	.methods = methods, .fields = fields,
};
static const tarn_type *const types[] = { &lens, NULL };

TARN_EXPORT extern const struct tarn_module tarn_module;
const struct tarn_module tarn_module = { TARN_MODULE_VERSION, types, NULL };
