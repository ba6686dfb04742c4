/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counts of one text as a block. A word is not spelled there: it is named by its
 * place in the text, which both processes see.
 */
#ifndef WORDCOUNT_ANSWER_H
#define WORDCOUNT_ANSWER_H

#include <tarn/tarn.h>

#include "wordcount/pieces.h"
#include "wordcount/words.h"

/* Writes what was counted in a text, which lies in @block, into a new block. */
int answer_new(tarn_client *client, const tarn_block *block, const struct words *words,
	       tarn_block **ret_answer);

/* Adds it to @words. It comes from another process, so its claims are looked at: false if they make
 * no sense. @ret_copied: bytes that are not where their writer wrote them. */
bool answer_add(tarn_block *answer, const struct piece *piece, struct words *words,
		uint64_t *ret_copied);

#endif
