/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers of a pool. Each has a thread here that takes tasks from the pool's line, sends them
 * and waits for the answer: so a worker that is free takes the next task, and the death of one
 * concerns its own thread alone, which knows which task it had.
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/entry.h"
#include "lib/value/fault.h"
#include "shm/wake.h"

#define NAME 48u
#define WORKERS_MOST 1024u

struct slot {
	struct tarn_pool *pool;
	unsigned number;
	pthread_t thread;
	/* Its thread's; the process is read by others under the pool's mutex. */
	struct tarn__station station;
	bool up;
	unsigned n_tasks;   /* that this process did */
};

struct tarn_pool {
	uint32_t refs;
	pid_t owner;
	tarn_client *client;
	char name[NAME];
	char *initializer;  /* or NULL */
	tarn_parcel initializer_args;
	unsigned tasks_per_child, retries;
	bool has_log;
	tarn_log_handler log;

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t work, gone;
	struct tarn__task *first, **end;
	bool closed, terminated, joined;
	unsigned running;   /* threads */
	unsigned n;
	struct slot slot[];
};

void tarn__task_free(struct tarn__task *task)
{
	tarn__carried_drop(task->item);
	tarn_pool_result_unref(task->result);
	free(task);
}

static void finish(struct tarn__task *t, tarn_fault *fault)
{
	tarn__pool_result_part(t->result, t->part, fault);
	tarn__task_free(t);
}

/* ---- a worker ---- */

/* Others may look at it, or kill it: under the mutex. False: the pool was terminated meanwhile. */
static bool show(struct slot *s, const struct tarn__station *station)
{
	struct tarn_pool *p = s->pool;

	pthread_mutex_lock(&p->mutex);
	s->station = *station;
	s->up = true;
	const bool wanted = !p->terminated;
	pthread_mutex_unlock(&p->mutex);
	return wanted;
}

static void hide(struct slot *s)
{
	struct tarn_pool *p = s->pool;

	pthread_mutex_lock(&p->mutex);
	struct tarn__station station = s->station;
	s->up = false;
	pthread_mutex_unlock(&p->mutex);
	tarn__station_free(&station);
}

/* Has the process end by itself. */
static void retire(struct slot *s)
{
	if (!s->up)
		return;
	tarn__station_close(&s->station);
	tarn__station_await_end(&s->station);
	tarn_fault_unref(tarn__station_bury(&s->station));
	hide(s);
}

static int open_station(struct slot *s)
{
	struct tarn_pool *p = s->pool;
	struct tarn__station station;
	tarn_builder args;
	char name[NAME + 12];
	int r;

	snprintf(name, sizeof name, "%s-%u", p->name, s->number + 1);
	tarn_builder_init(&args);
	for (unsigned i = 0; i < tarn_parcel_count(&p->initializer_args); i++)
		tarn_put_value(&args, tarn_parcel_at(&p->initializer_args, i));
	r = tarn__station_open(&station, p->client, name, p->initializer, NULL, &args,
			       p->has_log ? &p->log : NULL);
	tarn_builder_fini(&args);
	if (r < 0)
		return r;
	s->n_tasks = 0;
	if (!show(s, &station))
		tarn_process_kill(station.process);
	r = tarn__station_await_ready(&s->station);
	if (r < 0)
		hide(s);
	return r;
}

static bool is_terminated(struct tarn_pool *p)
{
	pthread_mutex_lock(&p->mutex);
	const bool t = p->terminated;
	pthread_mutex_unlock(&p->mutex);
	return t;
}

static tarn_fault *cancelled(const struct tarn_pool *p)
{
	return tarn_fault_new("CancelledError", -ECANCELED, "pool %s was terminated", p->name);
}

/* The worker is gone. */
static tarn_fault *lost(struct slot *s, const struct tarn__task *t)
{
	tarn_fault *cause = tarn__station_bury(&s->station);
	tarn_fault *f = tarn_fault_new("WorkerLost", -EPIPE, "worker %s (%d) ended in a task of %s%s%s",
				       tarn_process_name(s->station.process),
				       tarn_process_pid(s->station.process), t->entry,
				       cause != NULL ? ": " : "",
				       cause != NULL ? tarn_fault_message(cause) : "");

	if (cause != NULL)
		tarn_fault_set_cause(f, cause);
	tarn_fault_unref(cause);
	return f;
}

/* Sends it and waits for the answer. 0 it has one, -TARN_ECLOSED the worker is gone, or why it cannot
 * be done. @ret_began: the worker may have begun. */
static int exchange(struct slot *s, struct tarn__task *t, bool *ret_began)
{
	tarn_parcel *answer = &t->result->part[t->part].answer;
	uint64_t tag;
	int r = tarn__station_send(&s->station, t->item, 0, TARN_FOREVER);

	*ret_began = r == 0;
	if (r == 0)
		r = tarn__station_recv(&s->station, answer, &tag, TARN_FOREVER);
	if (r < 0)
		tarn_parcel_init(answer);
	return r;
}

/* Until it is done, one way or another. */
static void do_task(struct slot *s, struct tarn__task *t)
{
	struct tarn_pool *p = s->pool;

	for (;;) {
		bool began = false;
		int r = s->up ? 0 : open_station(s);

		if (r == 0)
			r = exchange(s, t, &began);
		if (r == 0) {
			s->n_tasks++;
			finish(t, NULL);
			break;
		}
		if (is_terminated(p)) {
			finish(t, cancelled(p));
			break;
		}
		if (!s->up || r != -TARN_ECLOSED) { /* it does not start, or cannot be spoken to */
			finish(t, tarn_fault_from_last());
			break;
		}
		tarn_fault *f = lost(s, t);
		hide(s);
		/* A worker that died while it had nothing to do is none of the task's business. */
		if (!began || t->tries++ < p->retries) {
			tarn_fault_unref(f);
			continue;
		}
		finish(t, f);
		return;
	}
	if (s->up && p->tasks_per_child != 0 && s->n_tasks >= p->tasks_per_child)
		retire(s);
}

/* The next task; NULL: the pool ends. */
static struct tarn__task *next_task(struct tarn_pool *p)
{
	pthread_mutex_lock(&p->mutex);
	while (p->first == NULL && !p->closed)
		pthread_cond_wait(&p->work, &p->mutex);
	struct tarn__task *t = p->first;

	if (t != NULL) {
		p->first = t->next;
		if (p->first == NULL)
			p->end = &p->first;
	}
	pthread_mutex_unlock(&p->mutex);
	return t;
}

static void *work(void *arg)
{
	struct slot *s = arg;
	struct tarn_pool *p = s->pool;
	struct tarn__task *t;

	open_station(s); /* if that fails, the first task will say so */
	while ((t = next_task(p)) != NULL)
		do_task(s, t);
	retire(s);
	pthread_mutex_lock(&p->mutex);
	p->running--;
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* ---- making ---- */

static void pool_free(struct tarn_pool *p)
{
	tarn_parcel_fini(&p->initializer_args);
	pthread_mutex_destroy(&p->mutex);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->gone);
	free(p->initializer);
	free(p);
}

static int check(const tarn_pool_options *o)
{
	if (o->initializer != NULL && tarn__worker_find(o->initializer) == NULL)
		return tarn__fail(-ENOENT, "There is no entry \"%s\" in this program.", o->initializer);
	if (o->name != NULL && strlen(o->name) >= NAME)
		return tarn__fail(-ENAMETOOLONG, "The name of a pool has %zu bytes; at most %u are "
				  "possible.", strlen(o->name), NAME - 1);
	if (o->workers > WORKERS_MOST)
		return tarn__fail(-EINVAL, "A pool of %u workers was asked for; the most is %u.",
				  o->workers, WORKERS_MOST);
	return 0;
}

static int fill(struct tarn_pool *p, const tarn_pool_options *o)
{
	snprintf(p->name, sizeof p->name, "%s", o->name != NULL ? o->name : "PoolWorker");
	p->tasks_per_child = o->tasks_per_child;
	p->retries = o->retries;
	p->has_log = o->log != NULL;
	if (o->log != NULL)
		p->log = *o->log;
	if (o->initializer != NULL && (p->initializer = strdup(o->initializer)) == NULL)
		return tarn__fail(-ENOMEM, "No memory for a pool.");
	return o->initializer_args != NULL ? tarn_parcel_from(o->initializer_args, &p->initializer_args)
					   : 0;
}

static int start_threads(struct tarn_pool *p, unsigned n)
{
	for (; p->n < n; p->n++) {
		struct slot *s = &p->slot[p->n];

		s->pool = p;
		s->number = p->n;
		pthread_mutex_lock(&p->mutex);
		int r = -pthread_create(&s->thread, NULL, work, s);
		p->running += r == 0;
		pthread_mutex_unlock(&p->mutex);
		if (r < 0)
			return tarn__fail(r, "The thread of worker %u of pool %s cannot be started: %s.",
					  p->n + 1, p->name, strerror(-r));
	}
	return 0;
}

int tarn_pool_new(tarn_client *client, const tarn_pool_options *options, tarn_pool **ret_pool)
{
	static const tarn_pool_options none;
	const tarn_pool_options *o = options != NULL ? options : &none;
	const unsigned n = o->workers != 0 ? o->workers : tarn_cpu_count();
	pthread_condattr_t monotonic;
	int r = check(o);

	if (r < 0)
		return r;
	struct tarn_pool *p = calloc(1, sizeof *p + n * sizeof p->slot[0]);
	if (p == NULL)
		return tarn__fail(-ENOMEM, "No memory for a pool.");
	p->refs = 1;
	p->owner = getpid();
	p->client = client;
	p->end = &p->first;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->gone, &monotonic);
	pthread_condattr_destroy(&monotonic);
	tarn_parcel_init(&p->initializer_args);
	r = fill(p, o);
	if (r == 0)
		r = start_threads(p, n);
	if (r < 0)
		tarn_pool_unref(p);
	else
		*ret_pool = p;
	return r;
}

/* ---- ending ---- */

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
	if (pool->owner != getpid())
		return NULL; /* its threads are the parent's, and what they hold */
	if (!pool->joined) {
		tarn_pool_terminate(pool);
		tarn_pool_join(pool, TARN_FOREVER);
	}
	pool_free(pool);
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

	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->mutex);
	pool->closed = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->mutex);
	return 0;
}

int tarn_pool_terminate(tarn_pool *pool)
{
	int r = check_owner(pool);

	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->mutex);
	struct tarn__task *waiting = pool->first;

	pool->first = NULL;
	pool->end = &pool->first;
	pool->closed = pool->terminated = true;
	for (unsigned i = 0; i < pool->n; i++)
		if (pool->slot[i].up)
			tarn_process_kill(pool->slot[i].station.process);
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->mutex);
	while (waiting != NULL) {
		struct tarn__task *t = waiting;

		waiting = t->next;
		finish(t, cancelled(pool));
	}
	return 0;
}

/* Locked. False: not in time. */
static bool await_threads(struct tarn_pool *p, uint64_t deadline)
{
	const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
				     .tv_nsec = (long)(deadline % 1000000000u) };

	while (p->running > 0) {
		if (deadline == UINT64_MAX)
			pthread_cond_wait(&p->gone, &p->mutex);
		else if (pthread_cond_timedwait(&p->gone, &p->mutex, &at) != 0)
			return p->running == 0;
	}
	return true;
}

int tarn_pool_join(tarn_pool *pool, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	int r = check_owner(pool);

	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->mutex);
	if (!pool->closed)
		r = tarn__fail(-TARN_ESTATE, "Pool %s is neither closed nor terminated: it would be "
			       "waited for for ever.", pool->name);
	else if (!await_threads(pool, deadline))
		r = tarn__fail(-ETIMEDOUT, "%u of %u workers of pool %s are at work.", pool->running,
			       pool->n, pool->name);
	const bool mine = r == 0 && !pool->joined;
	pool->joined = pool->joined || mine;
	pthread_mutex_unlock(&pool->mutex);
	for (unsigned i = 0; mine && i < pool->n; i++)
		pthread_join(pool->slot[i].thread, NULL);
	return r;
}

unsigned tarn_pool_pids(tarn_pool *pool, int *ret_pids, unsigned n)
{
	unsigned found = 0;

	pthread_mutex_lock(&pool->mutex);
	for (unsigned i = 0; i < pool->n; i++) {
		struct slot *s = &pool->slot[i];

		if (!s->up || !tarn_process_is_alive(s->station.process))
			continue;
		if (found < n)
			ret_pids[found] = tarn_process_pid(s->station.process);
		found++;
	}
	pthread_mutex_unlock(&pool->mutex);
	return found;
}

/* ---- for those who post ---- */

int tarn__pool_post(tarn_pool *pool, struct tarn__task *task)
{
	int r = check_owner(pool);

	if (r == 0) {
		pthread_mutex_lock(&pool->mutex);
		if (pool->closed) {
			r = tarn__fail(-TARN_ESTATE, "Pool %s is closed.", pool->name);
		} else {
			task->next = NULL;
			*pool->end = task;
			pool->end = &task->next;
			pthread_cond_signal(&pool->work);
		}
		pthread_mutex_unlock(&pool->mutex);
	}
	if (r < 0)
		tarn__task_free(task);
	return r;
}

tarn_client *tarn__pool_client(tarn_pool *pool)
{
	return pool->client;
}

unsigned tarn__pool_workers(const tarn_pool *pool)
{
	return pool->n;
}
