/* SPDX-License-Identifier: Apache-2.0 */
/* What the instance of a tarn.Stream looks like to those who use it in place. */
#ifndef TARN_TYPES_STREAM_H
#define TARN_TYPES_STREAM_H

#include "shm/base.h"

struct tarn__stream {
	/* Round in the upper half, suppliers that have ended it in the lower: clients write, by
	 * compare and swap; a futex. SYNC stream-end. */
	uint32_t state;
	uint32_t suppliers;  /* its creator writes */
	uint64_t queue, stop; /* ids; stop 0: none; its creator writes */
};
static_assert(sizeof(struct tarn__stream) == 24, "layout");

#define TARN__STREAM_ENDED 0xffffu
static inline uint32_t tarn__stream_round(uint32_t state)
{
	return state >> 16;
}

#endif
