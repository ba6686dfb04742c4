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
/* Is there something to get, or the news that it is closed? 1, 0, or negative. */
int tarn__queue_ready(tarn_object *queue);

#endif
