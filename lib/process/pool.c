/* SPDX-License-Identifier: Apache-2.0 */
/* What both kinds of pool have in common. */
#include "pool.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/value/fault.h"

void tarn__pool_init(struct tarn_pool *pool, const struct tarn__pool_kind *kind, tarn_client *client)
{
	pool->kind = kind;
	pool->refs = 1;
	pool->owner = getpid();
	pool->client = client;
}

tarn_pool *tarn_pool_ref(tarn_pool *pool)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&pool->refs, 1, __ATOMIC_RELAXED);
	return pool;
}

tarn_pool *tarn_pool_unref(tarn_pool *pool)
{
	/* SYNC pool-refs: what others did with it is over before it is freed. */
	if (pool == NULL || __atomic_sub_fetch(&pool->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return NULL;
	/* Else its threads are the parent's, and what they hold. */
	if (pool->owner == getpid())
		pool->kind->free(pool);
	return NULL;
}

static int check_owner(const struct tarn_pool *p)
{
	return p->owner == getpid() ? 0
	       : tarn__fail(-TARN_EFORKED, "Pool %s is of the process that this one was forked from.",
			    p->name);
}

int tarn_pool_close(tarn_pool *pool)
{
	int r = check_owner(pool);

	return r < 0 ? r : pool->kind->end(pool, false);
}

int tarn_pool_terminate(tarn_pool *pool)
{
	int r = check_owner(pool);

	return r < 0 ? r : pool->kind->end(pool, true);
}

int tarn_pool_join(tarn_pool *pool, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	int r = check_owner(pool);

	return r < 0 ? r : tarn__fail_late(pool->kind->join(pool, deadline), timeout_ns);
}

unsigned tarn_pool_pids(tarn_pool *pool, int *ret_pids, unsigned n)
{
	/* Locks may be held by threads that a forked child does not have. */
	return pool->owner == getpid() ? pool->kind->pids(pool, ret_pids, n) : 0;
}

int tarn_pool_share(tarn_pool *pool, tarn_object **ret_object)
{
	int r = check_owner(pool);

	return r < 0 ? r : pool->kind->share(pool, ret_object);
}

/* ---- for those who post ---- */

void tarn__task_free(struct tarn__task *task)
{
	tarn__carried_drop(task->item);
	tarn__carried_drop(task->answer);
	tarn_object_unref(task->answers);
	tarn_pool_result_unref(task->result);
	free(task);
}

int tarn__pool_post(tarn_pool *pool, struct tarn__task *task)
{
	int r = check_owner(pool);

	if (r == 0)
		return pool->kind->post(pool, task);
	tarn__task_free(task);
	return r;
}

/* ---- for the two kinds ---- */

int tarn__pool_fail_closed(const struct tarn_pool *pool)
{
	return tarn__fail(-TARN_ESTATE, "Pool %s is closed.", pool->name);
}

int tarn__pool_fail_open(const struct tarn_pool *pool)
{
	return tarn__fail(-TARN_ESTATE, "Pool %s is neither closed nor terminated: it would be waited for "
			  "for ever.", pool->name);
}

void tarn__pool_condition(pthread_cond_t *condition)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

bool tarn__pool_await(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline)
{
	const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
				     .tv_nsec = (long)(deadline % 1000000000u) };

	if (deadline != UINT64_MAX)
		return pthread_cond_timedwait(condition, mutex, &at) == 0;
	pthread_cond_wait(condition, mutex);
	return true;
}
