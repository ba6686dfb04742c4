/* SPDX-License-Identifier: Apache-2.0 */
/* What the instance of a tarn.Pool looks like to those who use it in place. */
#ifndef TARN_TYPES_POOL_H
#define TARN_TYPES_POOL_H

#include <limits.h>

#include "shm/wake.h"

#define TARN__POOL_NAME 48u
#define TARN__POOL_WORKERS 1024u /* of a pool, at most */

/* Bits of a pool's state. They are set and stay. */
#define TARN__POOL_CLOSED 1u     /* nothing more is taken */
#define TARN__POOL_TERMINATED 2u /* and what was not done will not be */
#define TARN__POOL_ENDED 4u      /* all answers are told, the workers are gone */
#define TARN__POOL_LOST 8u       /* the process that had the workers died before */

struct tarn__pool {
	uint32_t state;   /* SYNC pool-end: TARN__POOL_...; by anybody, LOST by the server; a futex */
	/* Its creator writes. */
	uint32_t workers;
	uint32_t owner;   /* number of the client that has the workers */
	uint32_t spare;
	uint64_t tasks;   /* id of the queue */
	char name[TARN__POOL_NAME]; /* ends with 0 */
	/* Their owner writes: the workers that are up; 0: not that one. For people. */
	uint32_t pid[TARN__POOL_WORKERS];
};
static_assert(offsetof(struct tarn__pool, tasks) == 16, "layout");
static_assert(offsetof(struct tarn__pool, pid) == 72, "layout");
static_assert(sizeof(struct tarn__pool) == 72 + 4 * TARN__POOL_WORKERS, "layout");

static inline void tarn__pool_set(struct tarn__pool *pool, uint32_t bits)
{
	/* SYNC pool-end, release: the answers that were told before. */
	__atomic_fetch_or(&pool->state, bits, __ATOMIC_RELEASE);
	tarn__futex_wake(&pool->state, INT_MAX);
}

static inline uint32_t tarn__pool_state(const struct tarn__pool *pool)
{
	/* SYNC pool-end, acquire: with ENDED we find all answers in their queues. */
	return tarn__load32_acquire(&pool->state);
}

#endif
