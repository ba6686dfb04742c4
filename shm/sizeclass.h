/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Size classes, shared by the server's heap and the clients' caches.
 *
 * Up to 512 bytes one class per cache line, above that eight per doubling, so
 * that at most 12.5 % of a block is rounding. Every class is a whole number of
 * cache lines: two blocks never share one.
 *
 * Blocks of the first TARN__SMALL_CLASSES classes (to 128 KiB) are slots of a
 * span and exactly as large as their class. Larger ones are runs of whole heap
 * pages; for them a class is only the bin in which a cache keeps them.
 */
#ifndef TARN_SHM_SIZECLASS_H
#define TARN_SHM_SIZECLASS_H

#include "base.h"

#define TARN__HEAP_PAGE_SHIFT 14u
#define TARN__HEAP_PAGE (1u << TARN__HEAP_PAGE_SHIFT) /* 16 KiB */
#define TARN__SMALL_CLASSES 72u
#define TARN__SMALL_MAX 131072u
#define TARN__CLASSES 248u         /* bins: up to TARN__SIZE_MAX */
#define TARN__SIZE_MAX (1ull << 39) /* no arena is larger: 512 GiB */

/* The smallest class that holds @size bytes; @size is 1 to TARN__SIZE_MAX. */
static inline unsigned tarn__class_of(uint64_t size)
{
	if (size <= 512)
		return (unsigned)((size - 1) >> 6);
	unsigned e = 63u - (unsigned)__builtin_clzll(size - 1);

	return 8u + (e - 9u) * 8u + (unsigned)(((size - 1) >> (e - 3u)) & 7u);
}

static inline uint64_t tarn__class_bytes(unsigned cls)
{
	if (cls < 8)
		return (uint64_t)(cls + 1) << 6;
	return (uint64_t)(9u + (cls & 7u)) << ((cls >> 3) + 5u);
}

/* The largest class that is no larger than @size; @size >= 64. */
static inline unsigned tarn__class_below(uint64_t size)
{
	return tarn__class_of(size + 1) - 1;
}

static_assert(TARN__SMALL_CLASSES == 8 + (17 - 9) * 8, "72 classes end at 2^17 bytes");
static_assert(TARN__CLASSES == 8 + (39 - 9) * 8, "248 classes end at 2^39 bytes");

#endif
