/* SPDX-License-Identifier: Apache-2.0 */
/* What values need to know of handles (lib/value/value.h). */
#include <stdio.h>

#include "lib/value/value.h"
#include "object.h"

static void ref(struct tarn_block *handle)
{
	tarn_block_ref(handle);
}

static void unref(struct tarn_block *handle)
{
	/* Objects end as blocks do. */
	if (tarn__flags(handle) & REF_CHANNEL)
		tarn__channel_drop(handle);
	else
		tarn_block_unref(handle);
}

static enum tarn_kind kind_of(const struct tarn_block *handle)
{
	uint64_t flags = tarn__flags(handle);

	return flags & REF_OBJECT ? TARN_KIND_OBJECT
	       : flags & REF_CHANNEL ? TARN_KIND_CHANNEL : TARN_KIND_BLOCK;
}

/* A block received twice in a row may have two handles for a while. Two slices are the same
 * only if they are one handle. */
static bool same(const struct tarn_block *a, const struct tarn_block *b)
{
	return a == b || (a->client == b->client && a->id == b->id &&
			  !((tarn__flags(a) | tarn__flags(b)) & REF_SLICE));
}

static int format(const struct tarn_block *handle, char *text, size_t bytes)
{
	if (kind_of(handle) == TARN_KIND_BLOCK)
		return tarn_block_format(handle, text, bytes);
	if (kind_of(handle) == TARN_KIND_OBJECT)
		return tarn_object_format((const struct tarn_object *)(const void *)handle, text, bytes);
	return snprintf(text, bytes, "<channel %u:%llu>", tarn__id_index(handle->id),
			(unsigned long long)tarn__id_generation(handle->id));
}

struct tarn__value_hooks tarn__value_hooks = {
	.ref = ref,
	.unref = unref,
	.kind_of = kind_of,
	.same = same,
	.format = format,
};
