/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for queues together with other things. */
#ifndef TARN_TYPES_QUEUE_WAIT_H
#define TARN_TYPES_QUEUE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tarn_object tarn_object;

/*
 * Before each sleep: gives the futex word that changes when an item may have come, and what it is
 * now, and sees to it that the sleeper is woken. The caller then looks (tarn__queue_ready(), or a
 * get with timeout 0), and if there is nothing sleeps while the word is the same, at most a slice
 * (TARN__SLICE_NS). 0, -TARN_EKIND ...
 */
int tarn__queue_wait_word(tarn_object *queue, uint32_t **ret_word, uint32_t *ret_seen);
/* The same of the word that changes when an item is done, for who asks tarn__queue_over(). */
int tarn__queue_done_word(tarn_object *queue, uint32_t **ret_word, uint32_t *ret_seen);
/*
 * Of a queue in which a look found nothing: is that all? 1: it is. 0: another process may die with an item, which
 * then comes back. -EDEADLK: so it is, and this thread has one, too: who waits for each other's would wait for ever.
 */
int tarn__queue_over(tarn_object *queue);
/* Is there something to get, or the news that it is closed? 1, 0, or negative. */
int tarn__queue_ready(tarn_object *queue);

#endif
