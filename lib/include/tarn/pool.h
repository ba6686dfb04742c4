/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of worker processes, and runners.
 *
 *	tarn_pool_new(client, &(tarn_pool_options){ .workers = 4 }, &pool);
 *	tarn_pool_map(pool, "square", items, 0, TARN_FOREVER, &squares);
 *	tarn_pool_close(pool);
 *	tarn_pool_join(pool, TARN_FOREVER);
 *	tarn_pool_unref(pool);
 *
 * Tasks are TARN_WORKER functions by name (tarn/process.h). What they throw comes out where the result
 * is asked for. A worker that dies in a task is replaced; the task fails with "WorkerLost", whose
 * cause says how the worker ended, or is tried again, if that is allowed. Nobody waits for ever.
 *
 * Other processes use a pool by its object, which is passed on, named and kept like any other:
 *
 *	tarn_pool_share(pool, &object);           tarn_pool_open(object, &pool);
 *	tarn_object_publish(object, "jobs", 0);   tarn_pool_map(pool, "square", items, ...);
 *
 * All functions are there what they are here. The workers stay children of the process that made the pool.
 *
 * Any thread may use a pool or runner that it has a reference to; the client outlives them.
 */
#ifndef TARN_POOL_H
#define TARN_POOL_H

#include "process.h"
#include "value.h"

TARN_BEGIN

/* CPUs that this process can use at a time: those it may run on, or fewer if its cgroup's quota of
 * time says so. At least 1. */
TARN_EXPORT unsigned tarn_cpu_count(void);

/* ---- pools ---- */

typedef struct tarn_pool tarn_pool;

/* Zero is the default everywhere. */
typedef struct tarn_pool_options {
	unsigned workers;         /* processes; 0: tarn_cpu_count() */
	const char *initializer;  /* a TARN_WORKER that runs in each process before its first task; what it
				   * leaves in tarn_worker_data() the tasks find there. If it fails, so
				   * do tasks, with its fault */
	const tarn_builder *initializer_args;
	unsigned tasks_per_child; /* a process is replaced after so many; 0: never */
	unsigned retries;         /* how often a task is tried again whose worker died */
	const char *name;         /* processes are called "NAME-1" ...; NULL: "PoolWorker" */
	const tarn_log_handler *log; /* as of tarn_process_options */
} tarn_pool_options;

/* The caller owns the reference. The processes start meanwhile. -ENOENT no such initializer,
 * -ENOMEM, and as tarn_process_new(). */
TARN_EXPORT int tarn_pool_new(tarn_client *client, const tarn_pool_options *options,
			      tarn_pool **ret_pool);
/* The last one of its maker terminates it, unless it was joined. NULL is allowed; returns NULL. */
TARN_EXPORT tarn_pool *tarn_pool_ref(tarn_pool *pool);
TARN_EXPORT tarn_pool *tarn_pool_unref(tarn_pool *pool);

/*
 * The pool as an object of type "tarn.Pool", the same each time; the caller owns the reference in
 * @ret_object. From then on whoever has it may use the pool, and close and terminate it, until its maker
 * drops it or dies. -TARN_ESTATE the pool is closed; as tarn_object_new().
 */
TARN_EXPORT int tarn_pool_share(tarn_pool *pool, tarn_object **ret_object);
/*
 * A pool that another process has shared. Entries are those of that one's program; tasks and results are as in
 * a pool of one's own. When that process dies, what was not answered fails with "PoolLost", further tasks
 * and joining with -EPIPE. The last tarn_pool_unref() ends this proxy, not the pool: results that
 * have not come fail with "CancelledError". -TARN_EKIND it is no pool; as tarn_queue_new().
 */
TARN_EXPORT int tarn_pool_open(tarn_object *object, tarn_pool **ret_pool);

/* No more tasks, of nobody; those there are get done. Idempotent. */
TARN_EXPORT int tarn_pool_close(tarn_pool *pool);
/* Kills the workers; what was not done fails with "CancelledError". */
TARN_EXPORT int tarn_pool_terminate(tarn_pool *pool);
/* Waits for the end of all workers. -TARN_ESTATE neither closed nor terminated; -ETIMEDOUT. */
TARN_EXPORT int tarn_pool_join(tarn_pool *pool, int64_t timeout_ns);
/* Process ids of the workers that live now, up to @n of them; returns how many there are. In a forked child: none. */
TARN_EXPORT unsigned tarn_pool_pids(tarn_pool *pool, int *ret_pids, unsigned n);

/* ---- results that come later ---- */

typedef struct tarn_pool_result tarn_pool_result;

TARN_EXPORT tarn_pool_result *tarn_pool_result_ref(tarn_pool_result *result);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_pool_result *tarn_pool_result_unref(tarn_pool_result *result);
TARN_EXPORT bool tarn_pool_result_ready(const tarn_pool_result *result);
/* 1 it succeeded, 0 it failed, -TARN_ESTATE it is not ready. */
TARN_EXPORT int tarn_pool_result_successful(const tarn_pool_result *result);
/* 0 ready, -ETIMEDOUT; -TARN_EFORKED in a forked child, whose copy changes no more. */
TARN_EXPORT int tarn_pool_result_wait(tarn_pool_result *result, int64_t timeout_ns);
/* What came of it, as often as one likes; lives as long as the result does. -TARN_EREMOTE it failed
 * (of several items: the first that did), -ETIMEDOUT. */
TARN_EXPORT int tarn_pool_result_get(tarn_pool_result *result, int64_t timeout_ns,
				     const tarn_parcel **ret_values);

/* ---- tasks ---- */

/* Runs @entry with @args (NULL: none) in some worker. -ENOENT no such entry (of a pool of another process
 * the result says that), -TARN_ESTATE the pool is closed, -EPIPE its process is gone; as
 * tarn_pool_result_get(). @ret_result is the caller's to end. */
TARN_EXPORT int tarn_pool_apply(tarn_pool *pool, const char *entry, const tarn_builder *args,
				int64_t timeout_ns, tarn_parcel *ret_result);
TARN_EXPORT int tarn_pool_apply_async(tarn_pool *pool, const char *entry, const tarn_builder *args,
				      tarn_pool_result **ret_result);

/*
 * Runs @entry once for each entry of the list @items, which is its argument; starmap: whose
 * entries, lists themselves, are its arguments. The result is one list in the same order: of
 * each item what it returned, nil if nothing, a list if several values. @chunk items travel
 * together; 0: so that each worker gets some four parts.
 */
TARN_EXPORT int tarn_pool_map(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
			      int64_t timeout_ns, tarn_parcel *ret_list);
TARN_EXPORT int tarn_pool_map_async(tarn_pool *pool, const char *entry, tarn_value items,
				    size_t chunk, tarn_pool_result **ret_result);
TARN_EXPORT int tarn_pool_starmap(tarn_pool *pool, const char *entry, tarn_value items,
				  size_t chunk, int64_t timeout_ns, tarn_parcel *ret_list);
TARN_EXPORT int tarn_pool_starmap_async(tarn_pool *pool, const char *entry, tarn_value items,
					size_t chunk, tarn_pool_result **ret_result);

/* The same one by one: in order, or as they get done. An item that failed is told at its place,
 * and the others follow. */
typedef struct tarn_pool_iterator tarn_pool_iterator;
TARN_EXPORT int tarn_pool_imap(tarn_pool *pool, const char *entry, tarn_value items, size_t chunk,
			       tarn_pool_iterator **ret_iterator);
TARN_EXPORT int tarn_pool_imap_unordered(tarn_pool *pool, const char *entry, tarn_value items,
					 size_t chunk, tarn_pool_iterator **ret_iterator);
/* What one item returned, in @ret_values, the caller's to end. -TARN_EOF there are no more,
 * -TARN_EREMOTE an item failed, -ETIMEDOUT. */
TARN_EXPORT int tarn_pool_iterator_next(tarn_pool_iterator *iterator, int64_t timeout_ns,
					tarn_parcel *ret_values);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_pool_iterator *tarn_pool_iterator_free(tarn_pool_iterator *iterator);

/* ---- runners: a process that is prepared once and called many times ---- */

typedef struct tarn_runner tarn_runner;

typedef struct tarn_runner_options {
	const char *open;         /* TARN_WORKERs: runs once, with @args; NULL: nothing */
	const char *call;         /* runs for each call; what open left in tarn_worker_data() is there */
	const char *close;        /* runs at the end; NULL: nothing */
	const tarn_builder *args;
	const char *name;         /* NULL: "Runner-1" and so on */
	const tarn_log_handler *log;
} tarn_runner_options;

/* Not started. -ENOENT no such entry, -EINVAL there is no call. The caller owns the reference. */
TARN_EXPORT int tarn_runner_new(tarn_client *client, const tarn_runner_options *options,
				tarn_runner **ret_runner);
/* NULL is allowed. Returns NULL. The last one of a runner that was not joined kills it. */
TARN_EXPORT tarn_runner *tarn_runner_ref(tarn_runner *runner);
TARN_EXPORT tarn_runner *tarn_runner_unref(tarn_runner *runner);

/* Starts the process and waits until open has run. -TARN_EREMOTE open failed, -TARN_ESTATE it was
 * started before. */
TARN_EXPORT int tarn_runner_start(tarn_runner *runner);
/*
 * Posts a call, and takes the next result. Calls are made in order; up to four can be posted before
 * their results are taken, further ones wait up to @timeout_ns. What a call throws comes out of rejoin
 * (-TARN_EREMOTE), and the runner goes on. -EPIPE the process is gone; the text says how. -ETIMEDOUT;
 * -TARN_ESTATE not started, or there is no result to be waited for.
 */
TARN_EXPORT int tarn_runner_restart(tarn_runner *runner, const tarn_builder *args,
				    int64_t timeout_ns);
TARN_EXPORT int tarn_runner_rejoin(tarn_runner *runner, int64_t timeout_ns,
				   tarn_parcel *ret_result);
/* Both. -ETIMEDOUT: the call goes on, or was not posted; what comes of it is dropped, and is no later call's result. */
TARN_EXPORT int tarn_runner_call(tarn_runner *runner, const tarn_builder *args,
				 int64_t timeout_ns, tarn_parcel *ret_result);
/* Has it close and end when the calls that were posted are done, and waits for that. -TARN_EREMOTE
 * close failed, -ETIMEDOUT (it goes on to end), -EPIPE. */
TARN_EXPORT int tarn_runner_join(tarn_runner *runner, int64_t timeout_ns);
/* Borrowed: for its pid, its descriptor, to wait for. NULL before the start. */
TARN_EXPORT tarn_process *tarn_runner_process(tarn_runner *runner);

/* For TARN_AUTO(). */
static inline void tarn_pool_auto(tarn_pool **pool)
{
	tarn_pool_unref(*pool);
}
static inline void tarn_pool_result_auto(tarn_pool_result **result)
{
	tarn_pool_result_unref(*result);
}
static inline void tarn_runner_auto(tarn_runner **runner)
{
	tarn_runner_unref(*runner);
}

TARN_END

#endif
