/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that can be waited for beside other things: each has a futex word in shared memory that
 * changes when it may have become ready. */
#ifndef TARN_PROCESS_WAIT_OBJECT_H
#define TARN_PROCESS_WAIT_OBJECT_H

#include "tarn/object.h"

/* Before each sleep: the word, and what it is now. The caller looks then, and sleeps while the
 * word is the same, at most a slice. -TARN_EKIND the object cannot be waited for. */
int tarn__wait_object_word(tarn_object *o, const uint32_t **ret_word, uint32_t *ret_seen);
/* 1, 0 or negative. Never waits. */
int tarn__wait_object_ready(tarn_object *o);

/* Sleeps while all @n words are as they were @seen, at most until @deadline or a slice of it. */
void tarn__wait_words(const uint32_t *const *words, const uint32_t *seen, size_t n,
		      uint64_t deadline);

#endif
