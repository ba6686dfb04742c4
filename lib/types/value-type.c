/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Value and tarn.Array: made by the server, used in place (shared.c). */
#include <stdio.h>

#include "shm/cell.h"
#include "types.h"

static int check_code(tarn_context *ctx, uint64_t code)
{
	if (code < 128 && tarn__cell_bytes((char)code) != 0)
		return 0;
	return tarn_throw(ctx, "ValueError", "%#llx is no typecode: expected one of ?bBchHiIlLqQfd",
			  (unsigned long long)code);
}

static int create_value(tarn_context *ctx, void *self)
{
	struct tarn__value_instance *v = self;
	int r = tarn_context_get(ctx, "Q", &v->code);

	return r < 0 ? r : check_code(ctx, v->code);
}

static int describe_value(const void *self, char *text, size_t bytes)
{
	const struct tarn__value_instance *v = self;
	const char code = (char)tarn__load_relaxed(&v->code);
	uint64_t bits = tarn__cell_load(&v->cell, tarn__cell_bytes(code));

	if (tarn__cell_is_real(code))
		return snprintf(text, bytes, "%c %g", code, tarn__cell_real(code, bits));
	if (code == 'L' || code == 'Q')
		return snprintf(text, bytes, "%c %llu", code, (unsigned long long)bits);
	return snprintf(text, bytes, "%c %lld", code, (long long)tarn__cell_integer(code, bits));
}

static int create_array(tarn_context *ctx, void *self)
{
	struct tarn__array_instance *a = self;
	tarn_block *block;
	int r = tarn_context_get(ctx, "QQB", &a->code, &a->length, &block);

	if (r == 0)
		r = check_code(ctx, a->code);
	if (r == 0)
		r = tarn_self_hold(ctx, block);
	if (r == 0)
		a->block = tarn_block_id(block);
	return r;
}

static int describe_array(const void *self, char *text, size_t bytes)
{
	const struct tarn__array_instance *a = self;

	return snprintf(text, bytes, "%llu of %c", (unsigned long long)tarn__load_relaxed(&a->length),
			(char)tarn__load_relaxed(&a->code));
}

static int array_block(tarn_context *ctx, void *self)
{
	const struct tarn__array_instance *a = self;
	tarn_block *block;
	int r = tarn_self_block(ctx, tarn__load_relaxed(&a->block), &block);

	return r < 0 ? r : tarn_put_block(tarn_context_result(ctx), block);
}

static const tarn_method array_methods[] = {
	{ "block", array_block, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "B", NULL },
	{ 0 },
};

const tarn_type tarn__type_value = {
	.name = "tarn.Value",
	.size = sizeof(struct tarn__value_instance),
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.args = "Q",
	.create = create_value,
	.describe = describe_value,
};
const tarn_type tarn__type_array = {
	.name = "tarn.Array",
	.size = sizeof(struct tarn__array_instance),
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.args = "QQB",
	.create = create_array,
	.methods = array_methods,
	.describe = describe_array,
};
