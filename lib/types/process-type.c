/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Process: what parent and child of a worker process give each other through the server.
 *
 * The arguments are edges of this object until the child takes them, and the outcome is one
 * from when the child has said it: so neither is lost, nor counted for somebody who never
 * took it, however the two of them end. The object lives as long as one of them has it.
 * Each is a block (bytes) or a tarn.Parcel (bytes with references), or nothing.
 */
#include "types.h"

#include <stdio.h>

#include "tarn/object.h"

struct process {
	uint64_t args, outcome; /* ids; 0: none */
	uint32_t said;          /* 0: nothing yet, 1: a result, 2: a fault */
	uint32_t spare;
};

/* Holds what @v is, if anything. */
static int keep(tarn_context *ctx, tarn_value v, uint64_t *ret_id)
{
	tarn_object *o;
	tarn_block *b;
	int r;

	switch (tarn_value_kind(v)) {
	case TARN_KIND_NONE:
	case TARN_KIND_NIL:
		*ret_id = 0;
		return 0;
	case TARN_KIND_BLOCK:
		r = tarn_value_block(v, &b);
		if (r == 0)
			r = tarn_self_hold_block(ctx, b);
		if (r == 0)
			*ret_id = tarn_block_id(b);
		return r;
	default:
		r = tarn_value_object(v, &o);
		if (r == 0)
			r = tarn_self_hold_object(ctx, o);
		if (r == 0)
			*ret_id = tarn_object_id(o);
		return r;
	}
}

static int put(tarn_context *ctx, uint64_t id)
{
	return id != 0 ? tarn_self_put(ctx, id) : tarn_put_nil(tarn_context_result(ctx));
}

static int create(tarn_context *ctx, void *self)
{
	struct process *p = self;

	return keep(ctx, tarn_parcel_at(tarn_context_args(ctx), 0), &p->args);
}

/* take(): the arguments, once. */
static int take(tarn_context *ctx, void *self)
{
	struct process *p = self;
	const uint64_t id = p->args;
	int r = put(ctx, id);

	p->args = 0;
	return r < 0 || id == 0 ? r : tarn_self_drop(ctx, id);
}

/* forget(): the arguments, which nobody will take any more. */
static int forget(tarn_context *ctx, void *self)
{
	struct process *p = self;
	const uint64_t id = p->args;

	p->args = 0;
	return id != 0 ? tarn_self_drop(ctx, id) : 0;
}

/* finish(failed, outcome) */
static int finish(tarn_context *ctx, void *self)
{
	struct process *p = self;
	tarn_value v;
	bool failed;
	uint64_t id = 0;
	int r = tarn_context_get(ctx, "bv", &failed, &v);

	if (r == 0 && p->said != 0)
		return tarn_throw(ctx, "RuntimeError", "the process has said how it ended before");
	if (r == 0)
		r = keep(ctx, v, &id);
	if (r < 0)
		return r;
	p->outcome = id;
	p->said = failed ? 2 : 1;
	return 0;
}

/* outcome(): what was said (0, 1, 2), and what it was. */
static int outcome(tarn_context *ctx, void *self)
{
	const struct process *p = self;
	int r = tarn_put_int(tarn_context_result(ctx), p->said <= 2 ? p->said : 0);

	return r < 0 ? r : put(ctx, p->outcome);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct process *p = self;

	return snprintf(text, bytes, "%s",
			p->said == 1   ? "ended with a result"
			: p->said == 2 ? "ended with an error"
			: p->args != 0 ? "has not taken its arguments yet"
				       : "at work");
}

static const tarn_method methods[] = {
	{ "take", take, TARN_METHOD_INLINE, "", NULL, NULL },
	{ "forget", forget, TARN_METHOD_INLINE, "", "", NULL },
	{ "finish", finish, TARN_METHOD_INLINE, NULL, "", NULL },
	{ "outcome", outcome, TARN_METHOD_INLINE | TARN_METHOD_READ, "", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_process = {
	.name = "tarn.Process",
	.size = sizeof(struct process),
	.flags = TARN_TYPE_INLINE,
	.create = create,
	.describe = describe,
	.methods = methods,
};
