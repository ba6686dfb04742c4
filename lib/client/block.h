/* SPDX-License-Identifier: Apache-2.0 */
/* What block.c, view.c, place.c, channels and tokens share about blocks. */
#ifndef TARN_CLIENT_BLOCK_H
#define TARN_CLIENT_BLOCK_H

#include "handle.h"

#define TARN__HUGE_PAGE (2u << 20)
#define TARN__ALIGN_MAX (1ull << 30)

int tarn__block_new_slow(tarn_client *client, size_t size, unsigned flags, tarn_block **ret);
/* As tarn_block_new(), for who may wait @timeout_ns (or for ever) for a server that hangs; in a full arena it fails
 * as soon. */
int tarn__block_new_patient(tarn_client *client, size_t size, int64_t timeout_ns, tarn_block **ret);

/* The block behind a slice, or @b itself. */
static inline struct tarn_block *tarn__whole(const struct tarn_block *b)
{
	return (tarn__refs(b) & REF_SLICE) ? b->next : (struct tarn_block *)(uintptr_t)b;
}
/* A slice remembers where in its parent it begins. */
static inline uint64_t tarn__slice_offset(const struct tarn_block *slice)
{
	return slice->capacity;
}

/* Where its block was made shorter than a slice reaches, no receiver could be told of it. */
static inline int tarn__check_slice(const struct tarn_block *b)
{
	if (tarn__likely(!(tarn__refs(b) & REF_SLICE)) ||
	    b->capacity + b->size <= tarn__load_relaxed(&b->next->size))
		return 0;
	return tarn__fail(-EINVAL, "The slice of %llu bytes at %llu reaches beyond the end of its "
			  "block, which was resized to %llu.", (unsigned long long)b->size,
			  (unsigned long long)b->capacity,
			  (unsigned long long)tarn__load_relaxed(&b->next->size));
}

/* Posts a lazy message (kind, id, size) about @b. */
static inline int tarn__say_block(struct tarn__lane *l, enum tarn__message kind,
				  const struct tarn_block *b, uint64_t size)
{
	return tarn__lane_say(l, tarn__header(kind, 1, 0, 0), b->id, size, 0, 0, 0, 0);
}

/* Makes a view of @parent, of which it takes over one reference. NULL: no memory. */
struct tarn_block *tarn__slice_new(struct tarn__lane *l, struct tarn_block *parent,
				   uint64_t offset, uint64_t length);
/* Makes @b read-only here: flag and address. */
void tarn__seal_here(struct tarn_client *c, struct tarn_block *b);

/* Huge pages and NUMA nodes (place.c). */
int tarn__place_check(const tarn_block_options *o);
int tarn__place(struct tarn_block *b, const tarn_block_options *o);

#endif
