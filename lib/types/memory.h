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
 * The memory of block @id, which the object holds: an instance's word for an id may be anybody's, so that is checked.
 * Any number of times in one call. -TARN_ESTALE it is no more, or not held; -TARN_EKIND it is no block.
 */
int tarn__self_memory(tarn_context *ctx, uint64_t id, struct tarn__memory *ret);

/* Puts a reference to @id, whatever it is, into the result; on the server's thread only. As
 * tarn__self_memory(), and -E2BIG. */
int tarn__self_put(tarn_context *ctx, uint64_t id);

/*
 * Changes a word of DATA that the server alone writes, in the instance or in a block that the object
 * holds; release. Should the method fail, or the server be killed before what it did is committed, the word is as
 * it was, like what it holds and drops. What clients write too is not to be put back; of that a method that begins
 * again has to find out how far it had come.
 */
void tarn__self_store(tarn_context *ctx, uint64_t *word, uint64_t value);
/* The first half of it: the word is about to change. For words of two fields. */
void tarn__self_note(tarn_context *ctx, const uint64_t *word);
/*
 * The same, at the end: when all that the method did is committed (on an executor: on its way), and if
 * it succeeds. In the order of the calls, up to three (TARN__LATER). A server that is killed right
 * behind the commit has not done it.
 */
void tarn__self_later(tarn_context *ctx, uint64_t *word, uint64_t value);

/*
 * A unit of block @id becomes the caller's at once, also of a call that is not answered. And one reference of the
 * object's to it less, one epoch later: so it need not be there yet when the message that made it is read by
 * then, which it is if it was posted before this one. The second as often as the message has slots. On the
 * server's thread only. -TARN_ESTALE, -E2BIG, and of the first -EDQUOT, -ENOSPC; without a sentence.
 */
int tarn__self_give(tarn_context *ctx, uint64_t id);
int tarn__self_drop_late(tarn_context *ctx, uint64_t id);

/* Where a handle of the server's own client lies. */
struct tarn__memory tarn__memory_of(const tarn_block *block);

#endif
