/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids: generation (36 bits) << 28 | index (28 bits). The index is a line of the
 * object table, the generation grows by one at every free, so an old id never
 * resolves (A2, H15). An index whose generation is used up is retired. 0 is nil:
 * generations start at 1.
 */
#ifndef TARN_SHM_ID_H
#define TARN_SHM_ID_H

#include "base.h"

#define TARN__INDEX_BITS 28u
#define TARN__INDEX_MASK ((1u << TARN__INDEX_BITS) - 1)
#define TARN__GENERATION_MAX ((1ull << 36) - 1)

static inline uint64_t tarn__id_make(uint32_t index, uint64_t generation)
{
	return generation << TARN__INDEX_BITS | index;
}
static inline uint32_t tarn__id_index(uint64_t id)
{
	return (uint32_t)id & TARN__INDEX_MASK;
}
static inline uint64_t tarn__id_generation(uint64_t id)
{
	return id >> TARN__INDEX_BITS;
}

enum tarn__kind {
	TARN__KIND_NONE = 0,
	TARN__KIND_BLOCK = 1,
	TARN__KIND_CHANNEL = 2, /* a block that holds the ring of a channel */
	TARN__KIND_OBJECT = 3,  /* the instance of a type */
};

#endif
