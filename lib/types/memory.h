/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tables of Tarn's own types may do beyond tarn/type.h (defined in lib/host/context.c).
 */
#ifndef TARN_TYPES_MEMORY_H
#define TARN_TYPES_MEMORY_H

#include "tarn/type.h"

/* Where something lies in the server. */
struct tarn__memory {
	unsigned char *data;
	uint64_t bytes;  /* exact size */
	uint64_t offset; /* in DATA */
};

/*
 * The memory of block @id, which the object holds: an instance's word for an id may be anybody's.
 * Any number of times in one call. -TARN_ESTALE it is no more, -TARN_EKIND it is no block.
 */
int tarn__self_memory(tarn_context *ctx, uint64_t id, struct tarn__memory *ret);

/* Puts a reference to @id, whatever it is, into the result; on the server's thread only. As
 * tarn__self_memory(), and -E2BIG. */
int tarn__self_put(tarn_context *ctx, uint64_t id);

/* Where a handle of the server's own client lies. */
struct tarn__memory tarn__memory_of(const tarn_block *block);

#endif
