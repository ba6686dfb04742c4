/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools inside: results that are filled by parts, and tasks that fill them.
 *
 * A result has one part per task. The answer to a part is written by the thread of the worker that
 * did it, before the part is told done under the result's mutex; then it does not change.
 */
#ifndef TARN_PROCESS_POOL_H
#define TARN_PROCESS_POOL_H

#include <pthread.h>

#include "station.h"
#include "tarn/pool.h"

struct tarn__part {
	tarn_parcel answer;  /* see station.h */
	tarn_fault *fault;   /* instead: it was not done */
	size_t n_items;      /* calls in it */
	bool done;
};

struct tarn_pool_result {
	uint32_t refs;
	enum tarn__task_mode mode;
	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t told;   /* a part is done */
	size_t n_parts, n_done;
	size_t *order;         /* parts in the order in which they got done */
	bool built;            /* values and fault stand */
	tarn_parcel values;
	tarn_fault *fault;
	struct tarn__part part[];
};

/* A task waits in its pool's line, or is with a worker. */
struct tarn__task {
	struct tarn__task *next;
	tarn_pool_result *result;  /* a reference */
	size_t part;
	unsigned tries;
	struct tarn_block *item;   /* what is sent; kept in case it must be sent again */
	char entry[64];
};

tarn_pool_result *tarn__pool_result_new(size_t n_parts, enum tarn__task_mode mode);
/* The part is done: with @fault (a reference, taken over), or with the answer that was put there. */
void tarn__pool_result_part(tarn_pool_result *r, size_t part, tarn_fault *fault);
/* Waits until @n parts are done. Locked, and again when it returns. False: -ETIMEDOUT. */
bool tarn__pool_result_await(tarn_pool_result *r, bool (*enough)(const tarn_pool_result *r, size_t n),
			     size_t n, int64_t timeout_ns);

/* Takes over @task. -TARN_ESTATE: the pool is closed; then it is freed. */
int tarn__pool_post(tarn_pool *pool, struct tarn__task *task);
void tarn__task_free(struct tarn__task *task);
tarn_client *tarn__pool_client(tarn_pool *pool);
unsigned tarn__pool_workers(const tarn_pool *pool);

#endif
