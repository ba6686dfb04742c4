/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool whose workers another process has. Tasks go into the pool's queue, each with a number under which it is
 * known here; a thread of this process, the receiver, takes the answers from a queue of its own and gives
 * them to the results. It ends with the pool: when that has ended, or its process is dead, what has no answer
 * will not get one. So nobody waits for the dead.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/client/object.h"
#include "lib/types/types.h"
#include "lib/value/fault.h"
#include "pool.h"
#include "tarn/queue.h"
#include "wait-object.h"

#define OVER (TARN__POOL_ENDED | TARN__POOL_LOST)

/* A place for a task that has no answer yet. Its number: the generation in the upper half, the place. */
struct place {
	struct tarn__task *task; /* NULL: free */
	uint32_t generation;     /* how often it was used */
	uint32_t next;           /* of those that are free */
};

struct proxy {
	struct tarn_pool pool;
	tarn_object *object, *tasks, *answers; /* references */
	struct tarn__pool *shared;             /* in the arena; the object's */
	unsigned workers;
	pthread_t receiver;
	uint32_t stop;      /* the receiver is to end: a futex; by whoever frees the proxy */

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t ended;
	bool over;          /* the receiver ends: nothing more gets an answer */
	struct place *place;
	uint32_t n_places, free; /* free == n_places: none */
};

static struct proxy *proxy_of(struct tarn_pool *pool)
{
	return (struct proxy *)pool; /* its first member */
}

/* ---- tasks on their way ---- */

/* Locked. */
static int grow(struct proxy *p)
{
	const uint32_t n = p->n_places != 0 ? 2 * p->n_places : 64;
	struct place *more = n > p->n_places ? realloc(p->place, n * sizeof *more) : NULL;

	if (more == NULL)
		return tarn__fail(-ENOMEM, "No memory for more than %u tasks of pool %s.", p->n_places,
				  p->pool.name);
	for (uint32_t i = p->n_places; i < n; i++)
		more[i] = (struct place){ .next = i + 1 };
	p->place = more;
	p->n_places = n;
	return 0;
}

static int fail_over(const struct proxy *p)
{
	if ((tarn__pool_state(p->shared) & OVER) == TARN__POOL_LOST)
		return tarn__fail(-EPIPE, "The process that had the workers of pool %s is gone.",
				  p->pool.name);
	return tarn__pool_fail_closed(&p->pool);
}

static int enter(struct proxy *p, struct tarn__task *t, uint64_t *ret_tag)
{
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	if (p->over)
		r = fail_over(p);
	else if (p->free == p->n_places)
		r = grow(p);
	if (r == 0) {
		struct place *at = &p->place[p->free];

		*ret_tag = (uint64_t)++at->generation << 32 | p->free;
		p->free = at->next;
		at->task = t;
	}
	pthread_mutex_unlock(&p->mutex);
	return r;
}

/* The task of this number, which is its caller's then; NULL: there is none. */
static struct tarn__task *leave(struct proxy *p, uint64_t tag)
{
	const uint32_t i = (uint32_t)tag;
	struct tarn__task *t = NULL;

	pthread_mutex_lock(&p->mutex);
	if (i < p->n_places && p->place[i].generation == tag >> 32) {
		t = p->place[i].task;
		p->place[i].task = NULL;
	}
	if (t != NULL) {
		p->place[i].next = p->free;
		p->free = i;
	}
	pthread_mutex_unlock(&p->mutex);
	return t;
}

static void finish(struct tarn__task *t, tarn_fault *fault)
{
	tarn__pool_result_part(t->result, t->part, fault);
	tarn__task_free(t);
}

static int send_task(struct proxy *p, const struct tarn__task *t, struct tarn_block *item, uint64_t tag)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	tarn_put(&b, "OQs", p->answers, tag, t->entry);
	tarn__carried_put(&b, item);
	r = tarn_queue_put(p->tasks, &b, TARN_FOREVER);
	tarn_builder_fini(&b);
	return r == -TARN_ECLOSED ? tarn__pool_fail_closed(&p->pool) : r;
}

static int post(struct tarn_pool *pool, struct tarn__task *task)
{
	struct proxy *p = proxy_of(pool);
	struct tarn__task copy = *task;
	uint64_t tag = 0;
	int r;

	/* The task is its receiver's as soon as it has entered. */
	task->item = NULL;
	r = enter(p, task, &tag);
	if (r < 0) {
		tarn__task_free(task);
	} else {
		r = send_task(p, &copy, copy.item, tag);
		if (r < 0 && (task = leave(p, tag)) != NULL)
			tarn__task_free(task);
	}
	tarn__carried_drop(copy.item);
	return r;
}

/* ---- answers ---- */

/* What @value says of the task: its answer, or a fault. */
static void take(struct proxy *p, uint64_t tag, tarn_value value)
{
	struct tarn__task *t = leave(p, tag);
	struct tarn_block *item = NULL;
	tarn_fault *fault;
	int r;

	if (t == NULL)
		return; /* of nobody here, or told twice */
	if (tarn_value_kind(value) == TARN_KIND_ERROR) {
		r = tarn_value_error(value, &fault);
		if (r == 0) {
			finish(t, fault);
			return;
		}
	} else {
		r = tarn__carried_of(value, &item);
	}
	if (r == 0 && item == NULL)
		r = tarn__fail(-TARN_EPROTO, "Pool %s gave no answer.", p->pool.name);
	if (r == 0)
		r = tarn__carried_read(item, &t->result->part[t->part].answer);
	if (r < 0)
		tarn_parcel_init(&t->result->part[t->part].answer);
	finish(t, r < 0 ? tarn_fault_from_last() : NULL);
}

/* 0, -EAGAIN there is none, or negative. */
static int receive(struct proxy *p)
{
	tarn_value value;
	tarn_parcel answer;
	uint64_t tag;
	int r = tarn_queue_get(p->answers, &answer, 0);

	if (r < 0)
		return r;
	if (tarn_parcel_get(&answer, "Qv", &tag, &value) == 0)
		take(p, tag, value);
	tarn_parcel_fini(&answer);
	return 0;
}

/* Sleeps until there may be an answer, the pool or the proxy may have ended. */
static int rest(struct proxy *p, uint32_t state)
{
	const uint32_t *words[3] = { &p->shared->state, &p->stop };
	uint32_t seen[3] = { state, 0 };
	int r = tarn__wait_object_word(p->answers, &words[2], &seen[2]);

	if (r == 0)
		r = tarn__wait_object_ready(p->answers);
	if (r != 0)
		return r < 0 ? r : 0;
	tarn__wait_words(words, seen, 3, UINT64_MAX);
	return tarn__client_health(p->pool.client, tarn__lane_mine(p->pool.client));
}

/* Why nothing more gets an answer. @r: 0, or what failed. */
static tarn_fault *reason(const struct proxy *p, int r)
{
	if (r < 0)
		return tarn_fault_from_last();
	if ((tarn__pool_state(p->shared) & OVER) == TARN__POOL_LOST)
		return tarn_fault_new("PoolLost", -EPIPE, "the process that had the workers of pool %s is gone",
				      p->pool.name);
	return tarn_fault_new("CancelledError", -ECANCELED, "pool %s was given up", p->pool.name);
}

static void give_up(struct proxy *p, tarn_fault *why)
{
	pthread_mutex_lock(&p->mutex);
	p->over = true;
	pthread_mutex_unlock(&p->mutex);
	/* No place is added, or used, from here on. */
	for (uint32_t i = 0; i < p->n_places; i++) {
		struct tarn__task *t = leave(p, (uint64_t)p->place[i].generation << 32 | i);

		if (t != NULL)
			finish(t, why != NULL ? tarn_fault_ref(why) : NULL);
	}
	pthread_mutex_lock(&p->mutex);
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->mutex);
}

static void *receive_all(void *arg)
{
	struct proxy *p = arg;
	tarn_fault *why;
	uint32_t state;
	int r;

	for (;;) {
		/* Before the look: what was told before the end is found. */
		state = tarn__pool_state(p->shared);
		while ((r = receive(p)) == 0)
			;
		/* SYNC proxy-stop, acquire: nobody uses the proxy any more. */
		if (r != -EAGAIN || (state & OVER) || tarn__load32_acquire(&p->stop))
			break;
		r = rest(p, state);
		if (r < 0)
			break;
	}
	why = reason(p, r == -EAGAIN ? 0 : r);
	give_up(p, why);
	tarn_fault_unref(why);
	return NULL;
}

/* ---- the pool ---- */

static int end(struct tarn_pool *pool, bool at_once)
{
	struct proxy *p = proxy_of(pool);

	tarn__pool_set(p->shared, TARN__POOL_CLOSED | (at_once ? TARN__POOL_TERMINATED : 0));
	return tarn_queue_close(p->tasks);
}

static int join(struct tarn_pool *pool, uint64_t deadline)
{
	struct proxy *p = proxy_of(pool);
	bool in_time = true;
	int r = 0;

	if (tarn__pool_state(p->shared) == 0)
		return tarn__pool_fail_open(pool);
	pthread_mutex_lock(&p->mutex);
	while (!p->over && in_time)
		in_time = tarn__pool_await(&p->ended, &p->mutex, deadline);
	if (!p->over)
		r = tarn__fail(-ETIMEDOUT, "Pool %s has not ended.", pool->name);
	else if (!(tarn__pool_state(p->shared) & TARN__POOL_ENDED))
		r = tarn__fail(-EPIPE, "Pool %s is gone, and did not end in order.", pool->name);
	pthread_mutex_unlock(&p->mutex);
	return r;
}

static unsigned pids(struct tarn_pool *pool, int *ret_pids, unsigned n)
{
	const struct proxy *p = proxy_of(pool);
	unsigned found = 0;

	for (unsigned i = 0; i < TARN__POOL_WORKERS; i++) {
		/* Relaxed: as it was a moment ago. */
		const int pid = (int)tarn__load32_relaxed(&p->shared->pid[i]);

		if (pid <= 1)
			continue; /* no worker; or a lie, and callers send signals to what they are told */
		if (found < n)
			ret_pids[found] = pid;
		found++;
	}
	return found;
}

static unsigned number(const struct tarn_pool *pool)
{
	return ((const struct proxy *)pool)->workers;
}

static int share(struct tarn_pool *pool, tarn_object **ret_object)
{
	*ret_object = tarn_object_ref(proxy_of(pool)->object);
	return 0;
}

static void drop(struct proxy *p)
{
	tarn_object_unref(p->answers);
	tarn_object_unref(p->tasks);
	tarn_object_unref(p->object);
	pthread_mutex_destroy(&p->mutex);
	pthread_cond_destroy(&p->ended);
	free(p->place);
	free(p);
}

static void proxy_free(struct tarn_pool *pool)
{
	struct proxy *p = proxy_of(pool);

	/* SYNC proxy-stop, release. */
	tarn__store32_release(&p->stop, 1);
	tarn__futex_wake(&p->stop, 1);
	pthread_join(p->receiver, NULL);
	drop(p);
}

static const struct tarn__pool_kind kind = {
	.here = false, .post = post, .end = end, .join = join, .pids = pids, .workers = number,
	.share = share, .free = proxy_free,
};

/* ---- opening ---- */

/* Others wrote it: whatever it is, it becomes a name that can be shown. */
static void copy_name(char to[TARN__POOL_NAME], const char *from)
{
	memcpy(to, from, TARN__POOL_NAME - 1);
	to[TARN__POOL_NAME - 1] = 0;
	for (char *at = to; *at != 0; at++)
		if (!isprint((unsigned char)*at))
			*at = '?';
}

static int get_parts(struct proxy *p)
{
	const tarn_queue_options answers = { .slot_bytes = 128 };
	tarn_parcel parts;
	int r = tarn_call(p->object, "parts", NULL, &parts, TARN_FOREVER);

	if (r < 0)
		return r;
	r = tarn_parcel_get(&parts, "O", &p->tasks);
	if (r == 0)
		tarn_object_ref(p->tasks);
	else
		p->tasks = NULL;
	tarn_parcel_fini(&parts);
	if (r == 0)
		r = tarn_queue_closed(p->tasks); /* is it one? */
	return r < 0 ? r : tarn_queue_new(p->pool.client, &answers, &p->answers);
}

int tarn_pool_open(tarn_object *object, tarn_pool **ret_pool)
{
	struct tarn__pool *shared = tarn__object_instance(object, &tarn__type_pool);
	int r;

	if (shared == NULL)
		return tarn__negative(tarn_error_last()->code);
	struct proxy *p = calloc(1, sizeof *p);
	if (p == NULL)
		return tarn__fail(-ENOMEM, "No memory for a pool.");
	tarn__pool_init(&p->pool, &kind, tarn_object_client(object));
	pthread_mutex_init(&p->mutex, NULL);
	tarn__pool_condition(&p->ended);
	copy_name(p->pool.name, shared->name);
	p->object = tarn_object_ref(object);
	p->shared = shared;
	const uint32_t workers = tarn__load32_relaxed(&shared->workers); /* relaxed: constant; or a lie */
	p->workers = workers - 1 < TARN__POOL_WORKERS ? workers : 1;
	r = get_parts(p);
	if (r == 0) {
		r = -pthread_create(&p->receiver, NULL, receive_all, p);
		if (r < 0)
			r = tarn__fail(r, "The receiver of pool %s cannot be started: %s.", p->pool.name,
				       strerror(-r));
	}
	if (r < 0)
		drop(p);
	else
		*ret_pool = &p->pool;
	return r;
}
