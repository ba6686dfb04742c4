/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers of a pool of this process. Each has a thread here that takes tasks from the pool's line, sends
 * them and waits for the answer: so a worker that is free takes the next task, and the death of one
 * concerns its own thread alone, which knows which task it had. If the pool is shared a further thread, the
 * feeder, brings what others ask for into the same line (pool-share.c).
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/entry.h"
#include "lib/value/fault.h"
#include "shm/wake.h"

struct slot {
	struct workers *pool;
	unsigned number;
	pthread_t thread;
	/* Its thread's; the process is read by others under the pool's mutex. */
	struct tarn__station station;
	bool up;
	unsigned n_tasks;   /* that this process did */
};

struct workers {
	struct tarn_pool pool;
	char *initializer;  /* or NULL */
	tarn_parcel initializer_args;
	unsigned tasks_per_child, retries;
	bool has_log;
	tarn_log_handler log;

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t work, gone;
	struct tarn__task *first, **end;
	struct tarn__share *share; /* NULL: nobody else uses it; does not change then */
	pthread_t feeder;   /* if it is shared */
	bool fed;           /* it ends */
	bool closing;       /* nothing more is posted here */
	bool closed;        /* nor comes from others */
	bool terminated, joined;
	unsigned running;   /* threads of workers */
	uint32_t left;      /* how many have ended: a futex of the feeder's */
	unsigned n;
	struct slot slot[];
};

static struct workers *workers_of(struct tarn_pool *pool)
{
	return (struct workers *)pool; /* its first member */
}

static void finish(struct tarn__task *t, tarn_fault *fault)
{
	if (t->answers != NULL)
		tarn__share_answer(t, fault);
	else
		tarn__pool_result_part(t->result, t->part, fault);
	tarn__task_free(t);
}

/* ---- a worker ---- */

/* Others may look at it, or kill it: under the mutex. False: the pool was terminated meanwhile. */
static bool show(struct slot *s, const struct tarn__station *station)
{
	struct workers *p = s->pool;

	pthread_mutex_lock(&p->mutex);
	s->station = *station;
	s->up = true;
	if (p->share != NULL)
		tarn__share_pid(p->share, s->number, tarn_process_pid(station->process));
	const bool wanted = !p->terminated;
	pthread_mutex_unlock(&p->mutex);
	return wanted;
}

static void hide(struct slot *s)
{
	struct workers *p = s->pool;

	pthread_mutex_lock(&p->mutex);
	struct tarn__station station = s->station;
	s->up = false;
	if (p->share != NULL)
		tarn__share_pid(p->share, s->number, 0);
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
	struct workers *p = s->pool;
	struct tarn__station station;
	tarn_builder args;
	char name[TARN__POOL_NAME + 12];
	int r;

	snprintf(name, sizeof name, "%s-%u", p->pool.name, s->number + 1);
	tarn_builder_init(&args);
	for (unsigned i = 0; i < tarn_parcel_count(&p->initializer_args); i++)
		tarn_put_value(&args, tarn_parcel_at(&p->initializer_args, i));
	r = tarn__station_open(&station, p->pool.client, name, p->initializer, NULL, &args,
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

static bool is_terminated(struct workers *p)
{
	pthread_mutex_lock(&p->mutex);
	const bool t = p->terminated;
	pthread_mutex_unlock(&p->mutex);
	return t;
}

static tarn_fault *cancelled(const struct workers *p)
{
	return tarn_fault_new("CancelledError", -ECANCELED, "pool %s was terminated", p->pool.name);
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
	uint64_t tag;
	int r = tarn__station_send(&s->station, t->item, 0, TARN_FOREVER);

	*ret_began = r == 0;
	if (r < 0)
		return r;
	if (t->answers != NULL) /* as it is: others read it */
		return tarn__station_recv_item(&s->station, &t->answer, &tag, TARN_FOREVER);

	tarn_parcel *answer = &t->result->part[t->part].answer;
	r = tarn__station_recv(&s->station, answer, &tag, TARN_FOREVER);
	if (r < 0)
		tarn_parcel_init(answer);
	return r;
}

/* Until it is done, one way or another. */
static void do_task(struct slot *s, struct tarn__task *t)
{
	struct workers *p = s->pool;

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
static struct tarn__task *next_task(struct workers *p)
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
	struct workers *p = s->pool;
	struct tarn__task *t;

	open_station(s); /* if that fails, the first task will say so */
	while ((t = next_task(p)) != NULL)
		do_task(s, t);
	retire(s);
	pthread_mutex_lock(&p->mutex);
	p->running--;
	/* Relaxed: a reason to look, under the mutex. */
	__atomic_add_fetch(&p->left, 1, __ATOMIC_RELAXED);
	tarn__futex_wake(&p->left, 1);
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* ---- making ---- */

static int check(const tarn_pool_options *o)
{
	if (o->initializer != NULL && tarn__worker_find(o->initializer) == NULL)
		return tarn__fail(-ENOENT, "There is no entry \"%s\" in this program.", o->initializer);
	if (o->name != NULL && strlen(o->name) >= TARN__POOL_NAME)
		return tarn__fail(-ENAMETOOLONG, "The name of a pool has %zu bytes; at most %u are "
				  "possible.", strlen(o->name), TARN__POOL_NAME - 1);
	if (o->workers > TARN__POOL_WORKERS)
		return tarn__fail(-EINVAL, "A pool of %u workers was asked for; the most is %u.",
				  o->workers, TARN__POOL_WORKERS);
	return 0;
}

static int fill(struct workers *p, const tarn_pool_options *o)
{
	snprintf(p->pool.name, sizeof p->pool.name, "%s", o->name != NULL ? o->name : "PoolWorker");
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

static int start_threads(struct workers *p, unsigned n)
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
					  p->n + 1, p->pool.name, strerror(-r));
	}
	return 0;
}

static const struct tarn__pool_kind kind;

static int end(struct tarn_pool *pool, bool at_once);
static int join(struct tarn_pool *pool, uint64_t deadline);

int tarn_pool_new(tarn_client *client, const tarn_pool_options *options, tarn_pool **ret_pool)
{
	static const tarn_pool_options none;
	const tarn_pool_options *o = options != NULL ? options : &none;
	const unsigned n = o->workers != 0 ? o->workers : tarn_cpu_count();
	int r = check(o);

	if (r < 0)
		return r;
	struct workers *p = calloc(1, sizeof *p + n * sizeof p->slot[0]);
	if (p == NULL)
		return tarn__fail(-ENOMEM, "No memory for a pool.");
	tarn__pool_init(&p->pool, &kind, client);
	p->end = &p->first;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->work, NULL);
	tarn__pool_condition(&p->gone);
	tarn_parcel_init(&p->initializer_args);
	r = fill(p, o);
	if (r == 0)
		r = start_threads(p, n);
	if (r < 0)
		tarn_pool_unref(&p->pool);
	else
		*ret_pool = &p->pool;
	return r;
}

static void pool_free(struct tarn_pool *pool)
{
	struct workers *p = workers_of(pool);

	if (!p->joined) {
		end(pool, true);
		join(pool, UINT64_MAX);
	}
	tarn__share_free(p->share);
	tarn_parcel_fini(&p->initializer_args);
	pthread_mutex_destroy(&p->mutex);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->gone);
	free(p->initializer);
	free(p);
}

/* ---- ending ---- */

static void terminate(struct workers *p)
{
	pthread_mutex_lock(&p->mutex);
	struct tarn__task *waiting = p->first;

	p->first = NULL;
	p->end = &p->first;
	p->closing = p->closed = p->terminated = true;
	for (unsigned i = 0; i < p->n; i++)
		if (p->slot[i].up)
			tarn_process_kill(p->slot[i].station.process);
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	while (waiting != NULL) {
		struct tarn__task *t = waiting;

		waiting = t->next;
		finish(t, cancelled(p));
	}
}

static int end(struct tarn_pool *pool, bool at_once)
{
	struct workers *p = workers_of(pool);

	pthread_mutex_lock(&p->mutex);
	struct tarn__share *share = p->share;

	p->closing = true;
	p->closed = p->closed || share == NULL; /* else the feeder says when */
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	if (at_once)
		terminate(p);
	if (share != NULL)
		tarn__share_end(share, at_once);
	return 0;
}

/* Locked. */
static bool has_ended(const struct workers *p)
{
	return p->running == 0 && (p->share == NULL || p->fed);
}

/* Locked. False: not in time. */
static bool await_threads(struct workers *p, uint64_t deadline)
{
	bool in_time = true;

	while (!has_ended(p) && in_time)
		in_time = tarn__pool_await(&p->gone, &p->mutex, deadline);
	return has_ended(p);
}

static int join(struct tarn_pool *pool, uint64_t deadline)
{
	struct workers *p = workers_of(pool);
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	if (!p->closing && !(p->share != NULL && tarn__share_is_ending(p->share)))
		r = tarn__pool_fail_open(pool);
	else if (!await_threads(p, deadline))
		r = tarn__fail(-ETIMEDOUT, "The %u workers of pool %s have not ended.", p->n, pool->name);
	const bool mine = r == 0 && !p->joined;
	p->joined = p->joined || mine;
	pthread_mutex_unlock(&p->mutex);
	for (unsigned i = 0; mine && i < p->n; i++)
		pthread_join(p->slot[i].thread, NULL);
	if (mine && p->share != NULL)
		pthread_join(p->feeder, NULL);
	return r;
}

static unsigned pids(struct tarn_pool *pool, int *ret_pids, unsigned n)
{
	struct workers *p = workers_of(pool);
	unsigned found = 0;

	pthread_mutex_lock(&p->mutex);
	for (unsigned i = 0; i < p->n; i++) {
		struct slot *s = &p->slot[i];

		if (!s->up || !tarn_process_is_alive(s->station.process))
			continue;
		if (found < n)
			ret_pids[found] = tarn_process_pid(s->station.process);
		found++;
	}
	pthread_mutex_unlock(&p->mutex);
	return found;
}

/* ---- for those who post ---- */

/* Locked. */
static void line_up(struct workers *p, struct tarn__task *t)
{
	t->next = NULL;
	*p->end = t;
	p->end = &t->next;
	pthread_cond_signal(&p->work);
}

static int post(struct tarn_pool *pool, struct tarn__task *task)
{
	struct workers *p = workers_of(pool);
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	if (p->closing || (p->share != NULL && tarn__share_is_ending(p->share)))
		r = tarn__pool_fail_closed(pool);
	else
		line_up(p, task);
	pthread_mutex_unlock(&p->mutex);
	if (r < 0)
		tarn__task_free(task);
	return r;
}

static unsigned number(const struct tarn_pool *pool)
{
	return ((const struct workers *)pool)->n;
}

/* ---- for others ---- */

static bool is_over(struct workers *p, uint32_t *ret_left)
{
	pthread_mutex_lock(&p->mutex);
	const bool over = p->running == 0;
	*ret_left = tarn__load32_relaxed(&p->left); /* relaxed: under the mutex, as where it is counted up */
	pthread_mutex_unlock(&p->mutex);
	return over;
}

/* Brings what others ask for into the line until the pool is closed, and then looks whether it is
 * terminated until the workers are gone. */
static void *feed(void *arg)
{
	struct workers *p = arg;
	struct tarn__task *t;
	uint32_t state, left;

	while (tarn__share_next(p->share, &t) == 0) {
		if (tarn__share_state(p->share) & TARN__POOL_TERMINATED)
			terminate(p);
		pthread_mutex_lock(&p->mutex);
		const bool refused = p->terminated;
		if (!refused)
			line_up(p, t);
		pthread_mutex_unlock(&p->mutex);
		if (refused)
			finish(t, cancelled(p));
	}
	tarn__share_end(p->share, false); /* whatever it was that ended it */
	pthread_mutex_lock(&p->mutex);
	p->closing = p->closed = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	for (;;) {
		state = tarn__share_state(p->share);
		if (state & TARN__POOL_TERMINATED)
			terminate(p);
		if (is_over(p, &left))
			break;
		tarn__share_rest(p->share, state, &p->left, left);
	}
	tarn__share_say(p->share, TARN__POOL_ENDED);
	pthread_mutex_lock(&p->mutex);
	p->fed = true;
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* Locked. */
static int start_sharing(struct workers *p)
{
	struct tarn__share *share;
	int r = tarn__share_new(p->pool.client, p->n, p->pool.name, &share);

	if (r < 0)
		return r;
	p->share = share;
	r = -pthread_create(&p->feeder, NULL, feed, p);
	if (r < 0) {
		p->share = NULL;
		tarn__share_free(share);
		return tarn__fail(r, "A thread of pool %s cannot be started: %s.", p->pool.name,
				  strerror(-r));
	}
	for (unsigned i = 0; i < p->n; i++)
		if (p->slot[i].up)
			tarn__share_pid(share, i, tarn_process_pid(p->slot[i].station.process));
	return 0;
}

static int share(struct tarn_pool *pool, tarn_object **ret_object)
{
	struct workers *p = workers_of(pool);
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	if (p->share == NULL)
		r = p->closing ? tarn__pool_fail_closed(pool) : start_sharing(p);
	pthread_mutex_unlock(&p->mutex);
	if (r == 0)
		*ret_object = tarn_object_ref(p->share->object);
	return r;
}

static const struct tarn__pool_kind kind = {
	.here = true, .post = post, .end = end, .join = join, .pids = pids, .workers = number,
	.share = share, .free = pool_free,
};
