/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Parcel: values with references, while nobody has them.
 *
 * The bytes lie in a block, the references are edges of this object: they are claims that the
 * server counts, whatever becomes of the process that sent them or that was to take them.
 * What the instance remembers are ids only; a client that writes nonsense there gets "stale".
 */
#include "types.h"

#include <stdio.h>

#include "tarn/object.h"

#define MOST (TARN_REFS_MAX + 1u) /* the block with the bytes, and its references */
#define GIVEN 16u                 /* by one call of open(): an inline method can have some 20 */

struct parcel {
	uint64_t n; /* methods alone write; others could */
	uint64_t id[MOST];
};

static int keep(tarn_context *ctx, struct parcel *p, tarn_value v)
{
	uint64_t n = p->n;
	tarn_channel *c;
	tarn_object *o;
	tarn_block *b;
	int r;

	if (n >= MOST)
		return tarn_throw(ctx, "ValueError", "more than %u references in one parcel",
				  TARN_REFS_MAX);
	switch (tarn_value_kind(v)) {
	case TARN_KIND_BLOCK:
		r = tarn_value_block(v, &b);
		if (r == 0)
			r = tarn_self_hold_block(ctx, b);
		p->id[n] = r == 0 ? tarn_block_id(b) : 0;
		break;
	case TARN_KIND_OBJECT:
		r = tarn_value_object(v, &o);
		if (r == 0)
			r = tarn_self_hold_object(ctx, o);
		p->id[n] = r == 0 ? tarn_object_id(o) : 0;
		break;
	case TARN_KIND_CHANNEL:
		r = tarn_value_channel(v, &c);
		if (r == 0)
			r = tarn_self_hold_channel(ctx, c);
		p->id[n] = r == 0 ? tarn_channel_id(c) : 0;
		break;
	default:
		return tarn_throw(ctx, "TypeError", "a parcel keeps blocks, objects and channels, not "
				  "%s", tarn_kind_name(tarn_value_kind(v)));
	}
	if (r == 0)
		p->n = n + 1;
	return r;
}

/* create(the block with the bytes, references...), add(references...) */
static int add(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	int r = 0;

	for (unsigned i = 0; i < tarn_parcel_count(args) && r == 0; i++)
		r = keep(ctx, self, tarn_parcel_at(args, i));
	return r;
}

/* open(first): what it keeps, from the first'th on, as many as go into one message. */
static int open_from(tarn_context *ctx, void *self)
{
	const struct parcel *p = self;
	uint64_t n = p->n, first;
	int r = tarn_context_get(ctx, "Q", &first);

	n = n <= MOST ? n : MOST;
	for (uint64_t i = first; r == 0 && i < n && i < first + GIVEN; i++)
		r = tarn_self_put(ctx, p->id[i]);
	return r;
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct parcel *p = self;

	return snprintf(text, bytes, "values with %llu references",
			(unsigned long long)(p->n > 0 ? p->n - 1 : 0));
}

static const tarn_method methods[] = {
	{ "add", add, TARN_METHOD_INLINE, NULL, "", NULL },
	{ "open", open_from, TARN_METHOD_INLINE | TARN_METHOD_READ, "Q", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_parcel = {
	.name = "tarn.Parcel",
	.size = sizeof(struct parcel),
	.flags = TARN_TYPE_INLINE,
	.create = add,
	.describe = describe,
	.methods = methods,
};
