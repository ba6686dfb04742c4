/* SPDX-License-Identifier: Apache-2.0 */
/* What queues and topics do with references of items, in the server. */
#ifndef TARN_TYPES_STASH_H
#define TARN_TYPES_STASH_H

#include "tarn/object.h"
#include "tarn/type.h"

static inline bool tarn__stash_is_ref(tarn_value value)
{
	enum tarn_kind kind = tarn_value_kind(value);

	return kind == TARN_KIND_BLOCK || kind == TARN_KIND_OBJECT || kind == TARN_KIND_CHANNEL;
}

/* The object holds what @value, an argument, refers to. A reference is expected: TypeError. */
static inline int tarn__stash_hold(tarn_context *ctx, tarn_value value, uint64_t *ret_id)
{
	tarn_channel *channel;
	tarn_object *object;
	tarn_block *block;
	int r;

	/* Of a kind it may be, and yet refer to nothing: a caller lies. */
	switch (tarn_value_kind(value)) {
	case TARN_KIND_BLOCK:
		r = tarn_value_block(value, &block);
		if (r < 0)
			return r;
		*ret_id = tarn_block_id(block);
		return tarn_self_hold(ctx, block);
	case TARN_KIND_OBJECT:
		r = tarn_value_object(value, &object);
		if (r < 0)
			return r;
		*ret_id = tarn_object_id(object);
		return tarn_self_hold(ctx, object);
	case TARN_KIND_CHANNEL:
		r = tarn_value_channel(value, &channel);
		if (r < 0)
			return r;
		*ret_id = tarn_channel_id(channel);
		return tarn_self_hold(ctx, channel);
	default:
		return tarn_throw(ctx, "TypeError", "references are expected behind the turn");
	}
}

#endif
