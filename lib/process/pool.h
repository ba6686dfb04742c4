/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools inside: results that are filled by parts, and tasks that fill them.
 *
 * A result has one part per task. The answer to a part is written by the thread of the worker that
 * did it, before the part is told done under the result's mutex; then it does not change.
 *
 * There are two kinds of pool: of this process, with its workers (pool-workers.c), and of another one, which
 * has shared it (pool-proxy.c). What travels between the two (pool-share.c) are items of two queues:
 *
 *	task:   the queue for its answer, a number, the entry's name, and what the worker is sent
 *	answer: the number, and what the worker said, or a fault
 */
#ifndef TARN_PROCESS_POOL_H
#define TARN_PROCESS_POOL_H

#include <pthread.h>

#include "lib/types/pool.h"
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
	pid_t owner;           /* the process whose threads fill it; in a forked child nothing changes any more */
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

/* A task waits in its pool's line, or is with a worker, or with another process. */
struct tarn__task {
	struct tarn__task *next;
	tarn_pool_result *result;  /* a reference; NULL: it is another process's */
	size_t part;
	tarn_object *answers;      /* then: a reference on the queue where the answer goes */
	uint64_t tag;              /* and how it is called there */
	struct tarn_block *answer; /* and what the worker said; NULL: nothing yet */
	unsigned tries;
	struct tarn_block *item;   /* what is sent; kept in case it must be sent again */
	char entry[64];
};
void tarn__task_free(struct tarn__task *task);

tarn_pool_result *tarn__pool_result_new(size_t n_parts, enum tarn__task_mode mode);
/* The part is done: with @fault (a reference, taken over), or with the answer that was put there. */
void tarn__pool_result_part(tarn_pool_result *r, size_t part, tarn_fault *fault);
/* The mutex; a forked child, where nobody might let go of it, needs none. */
void tarn__pool_result_lock(tarn_pool_result *r);
void tarn__pool_result_unlock(tarn_pool_result *r);
/* It is not there: -ETIMEDOUT, or as tarn_pool_result_wait(), which "@what" says. */
int tarn__pool_result_fail(const tarn_pool_result *r, int64_t timeout_ns, const char *what);
/* Waits until @n parts are done. Locked, and again when it returns. False: tarn__pool_result_fail(). */
bool tarn__pool_result_await(tarn_pool_result *r, bool (*enough)(const tarn_pool_result *r, size_t n),
			     size_t n, int64_t timeout_ns);

/* ---- either kind of pool ---- */

struct tarn__pool_kind {
	bool here;                /* entries are those of this program */
	int (*post)(struct tarn_pool *pool, struct tarn__task *task); /* takes it over in any case */
	int (*end)(struct tarn_pool *pool, bool at_once);
	int (*join)(struct tarn_pool *pool, uint64_t deadline);
	unsigned (*pids)(struct tarn_pool *pool, int *ret_pids, unsigned n);
	unsigned (*workers)(const struct tarn_pool *pool);
	int (*share)(struct tarn_pool *pool, tarn_object **ret_object);
	void (*free)(struct tarn_pool *pool); /* ends it before, if that was not done */
};

struct tarn_pool {
	const struct tarn__pool_kind *kind;
	uint32_t refs;
	pid_t owner;              /* the process that may use it */
	tarn_client *client;
	char name[TARN__POOL_NAME];
};
void tarn__pool_init(struct tarn_pool *pool, const struct tarn__pool_kind *kind, tarn_client *client);

/* Takes over @task. -TARN_ESTATE: the pool is closed; then it is freed. */
int tarn__pool_post(tarn_pool *pool, struct tarn__task *task);
int tarn__pool_fail_closed(const struct tarn_pool *pool);
int tarn__pool_fail_open(const struct tarn_pool *pool);

/* A condition that is waited for by tarn__pool_await(): false when @deadline is over. */
void tarn__pool_condition(pthread_cond_t *condition);
bool tarn__pool_await(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline);

/* ---- a pool that is shared, where its workers are ---- */

struct tarn__share {
	tarn_object *object, *tasks;   /* references: of the pool, and of its queue */
	struct tarn__pool *shared;     /* in the arena; the object's */
};

int tarn__share_new(tarn_client *client, unsigned workers, const char *name,
		    struct tarn__share **ret_share);
/* NULL is allowed. */
void tarn__share_free(struct tarn__share *share);
/* Waits for what others ask for next. Negative: nothing more will come. */
int tarn__share_next(struct tarn__share *share, struct tarn__task **ret_task);
/* Tells the answer, or @fault (a reference, taken over). */
void tarn__share_answer(const struct tarn__task *task, tarn_fault *fault);
/* Sets @bits of the pool's state, and wakes who waits for that. */
void tarn__share_say(const struct tarn__share *share, uint32_t bits);
void tarn__share_end(const struct tarn__share *share, bool at_once);
bool tarn__share_is_ending(const struct tarn__share *share);
uint32_t tarn__share_state(const struct tarn__share *share);
/* Sleeps while the state and @word are as they were seen; not for long. */
void tarn__share_rest(const struct tarn__share *share, uint32_t state, const uint32_t *word,
		      uint32_t seen);
void tarn__share_pid(const struct tarn__share *share, unsigned worker, int pid);

#endif
