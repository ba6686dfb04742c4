/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that has ended is still there for a moment: it gives back what it had of clients (its lane).
 * Whoever learned of the end and then closes a client must not meet that, so waiting and
 * the user's unref also wait for the very end.
 */
#include "thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/error.h"
#include "shm/wake.h"
#include "worker.h"

#define NAME 64u

struct tarn_thread {
	uint32_t refs;          /* users, and the thread itself */
	uint32_t ended;         /* SYNC thread-end: 1 when all below stands */
	pid_t owner;            /* the process whose thread it is: a forked child has none of them */
	char name[NAME];
	tarn_worker_fn *fn;
	tarn_parcel args, result;
	struct tarn_worker worker;
	int code;               /* what came of fn; the thread's */
	tarn_fault *fault;      /* NULL: none */
	uint64_t ended_ns;
	bool terminated;

	pthread_mutex_t mutex;  /* of what follows */
	pthread_t thread;
	bool joined;            /* it is gone altogether */
	int fd;                 /* an eventfd, once somebody wanted one; else -1 */
	bool terminate;
	tarn_fault *thrown;
	uint32_t stop;          /* relaxed: one of these is there */
};

static void release(struct tarn_thread *t)
{
	/* SYNC thread-refs: what others did with it is over before it is freed. */
	if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	if (!t->joined && t->owner == getpid())
		pthread_detach(t->thread); /* it is the last one itself */
	tarn_parcel_fini(&t->args);
	tarn_parcel_fini(&t->result);
	tarn_fault_unref(t->fault);
	tarn_fault_unref(t->thrown);
	if (t->fd >= 0)
		close(t->fd);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

tarn_thread *tarn_thread_ref(tarn_thread *thread)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&thread->refs, 1, __ATOMIC_RELAXED);
	return thread;
}

/* It has ended: waits until it is gone. */
static void await_gone(struct tarn_thread *t)
{
	if (t->owner != getpid())
		return;
	pthread_mutex_lock(&t->mutex);
	if (!t->joined && !pthread_equal(t->thread, pthread_self()))
		t->joined = pthread_join(t->thread, NULL) == 0;
	pthread_mutex_unlock(&t->mutex);
}

tarn_thread *tarn_thread_unref(tarn_thread *thread)
{
	if (thread == NULL)
		return NULL;
	if (tarn_thread_done(thread))
		await_gone(thread);
	release(thread);
	return NULL;
}

/* ---- in the thread ---- */

static void ring(struct tarn_thread *t)
{
	const uint64_t one = 1;

	if (t->fd >= 0 && write(t->fd, &one, sizeof one) < 0)
		return; /* it is readable already */
}

static void end(struct tarn_thread *t)
{
	pthread_mutex_lock(&t->mutex);
	t->ended_ns = tarn__now();
	/* SYNC thread-end, release: what it leaves comes before that it has ended. */
	tarn__store32_release(&t->ended, 1);
	ring(t);
	pthread_mutex_unlock(&t->mutex);
	tarn__futex_wake(&t->ended, INT32_MAX);
}

/* With what its function made of it. */
static void finish(struct tarn_thread *t)
{
	struct tarn_worker *w = &t->worker;
	int r = t->code;

	if (r == 0) {
		r = tarn_parcel_from(&w->result, &t->result);
		if (r < 0)
			w->fault = tarn_fault_from_last();
	}
	t->terminated = r < 0 && t->terminate && tarn_fault_code(w->fault) == -ECANCELED;
	t->fault = r < 0 && !t->terminated ? tarn_fault_ref(w->fault) : NULL;
	tarn__worker_fini(w);
	tarn__worker_set(NULL);
	tarn_parcel_fini(&t->args);
	end(t);
	release(t);
}

/* By pthread_exit(), or it was cancelled: whoever waits for it is told. */
static void left_early(void *arg)
{
	struct tarn_thread *t = arg;

	tarn_fault_unref(t->worker.fault);
	t->worker.fault = tarn_fault_new("SystemExit", 0, "thread %s ended before its function returned", t->name);
	t->code = -TARN_EREMOTE;
	finish(t);
}

static void *work(void *arg)
{
	struct tarn_thread *t = arg;

	tarn__worker_set(&t->worker);
	pthread_cleanup_push(left_early, t);
	if (t->fn != NULL)
		t->code = tarn__worker_call(&t->worker, t->fn);
	pthread_cleanup_pop(0);
	finish(t);
	return NULL;
}

int tarn_worker_check(tarn_worker *worker)
{
	struct tarn_thread *t = worker->owner;
	int r = 0;

	/* Relaxed: seen sooner or later. */
	if (t == NULL || tarn__load32_relaxed(&t->stop) == 0)
		return 0;
	pthread_mutex_lock(&t->mutex);
	if (t->thrown != NULL) {
		tarn_fault_unref(worker->fault);
		worker->fault = tarn_fault_ref(t->thrown);
		r = tarn__fail_fault(tarn_fault_ref(t->thrown));
	} else if (t->terminate) {
		r = tarn__fail(-ECANCELED, "Thread %s was told to end.", t->name);
	}
	pthread_mutex_unlock(&t->mutex);
	return r;
}

/* ---- starting ---- */

static int start(struct tarn_thread *t, const tarn_thread_options *o)
{
	static unsigned number;
	int r = 0;

	if (o->name != NULL)
		snprintf(t->name, sizeof t->name, "%s", o->name);
	else /* Relaxed: a number is all it is. */
		snprintf(t->name, sizeof t->name, "Thread-%u",
			 __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
	if (o->args != NULL)
		r = tarn_parcel_from(o->args, &t->args);
	if (r < 0)
		return r;
	tarn__worker_init(&t->worker, o->client, t->name, &t->args);
	t->worker.owner = t;
	tarn_thread_ref(t); /* its own */
	pthread_mutex_lock(&t->mutex); /* others find out by it which thread it is */
	r = -pthread_create(&t->thread, NULL, work, t);
	t->joined = r < 0; /* there is none to wait for */
	pthread_mutex_unlock(&t->mutex);
	if (r < 0) {
		release(t);
		return tarn__fail(r, "A thread cannot be started: %s.", strerror(-r));
	}
	return 0;
}

int tarn_thread_spawn(const tarn_thread_options *options, tarn_thread **ret_thread)
{
	static const tarn_thread_options none;

	if (options == NULL)
		options = &none;
	if (options->name != NULL && strlen(options->name) >= NAME)
		return tarn__fail(-ENAMETOOLONG, "The name of a thread has %zu bytes; at most %u are "
				  "possible.", strlen(options->name), NAME - 1);
	struct tarn_thread *t = calloc(1, sizeof *t);
	if (t == NULL)
		return tarn__fail(-ENOMEM, "No memory for a thread.");
	t->refs = 1;
	t->owner = getpid();
	t->joined = true; /* until it is started */
	t->fd = -1;
	t->fn = options->fn;
	pthread_mutex_init(&t->mutex, NULL);
	tarn_parcel_init(&t->args);
	tarn_parcel_init(&t->result);
	int r = start(t, options);
	if (r < 0)
		release(t);
	else
		*ret_thread = t;
	return r;
}

/* ---- waiting ---- */

bool tarn_thread_done(const tarn_thread *thread)
{
	/* SYNC thread-end, acquire. */
	return tarn__load32_acquire(&thread->ended) != 0;
}

const char *tarn_thread_name(const tarn_thread *thread)
{
	return thread->name;
}

static int check_owner(const struct tarn_thread *t)
{
	return t->owner == getpid() ? 0
	       : tarn__fail(-TARN_EFORKED, "Thread %s is of the process that this one was forked from.", t->name);
}

static int await(struct tarn_thread *t, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	int r = check_owner(t);

	if (r < 0)
		return r;
	while (!tarn_thread_done(t))
		if (tarn__futex_wait(&t->ended, 0, deadline) == -ETIMEDOUT && !tarn_thread_done(t))
			return tarn__fail(tarn__late(timeout_ns),
					  "Thread %s has not ended yet.", t->name);
	await_gone(t);
	return 0;
}

int tarn_thread_join(tarn_thread *thread, int64_t timeout_ns)
{
	int r = await(thread, timeout_ns);

	return r == 0 && thread->fault != NULL ? tarn__fail_fault(tarn_fault_ref(thread->fault)) : r;
}

int tarn_thread_result(tarn_thread *thread, int64_t timeout_ns, const tarn_parcel **ret_result)
{
	int r = tarn_thread_join(thread, timeout_ns);

	if (r == 0)
		*ret_result = &thread->result;
	return r;
}

int tarn_thread_get(tarn_thread *thread, int64_t timeout_ns, const char *format, ...)
{
	int r = tarn_thread_join(thread, timeout_ns);
	va_list args;

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_get_v(&thread->result, format, args);
	va_end(args);
	return r;
}

int tarn_thread_exception(tarn_thread *thread, int64_t timeout_ns, const tarn_fault **ret_fault)
{
	int r = await(thread, timeout_ns);

	if (r == 0)
		*ret_fault = thread->fault;
	return r;
}

int tarn__thread_fd(tarn_thread *t)
{
	if (check_owner(t) < 0)
		return -TARN_EFORKED;
	pthread_mutex_lock(&t->mutex);
	if (t->fd < 0) {
		t->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (tarn_thread_done(t))
			ring(t);
	}
	const int r = t->fd >= 0 ? t->fd : -errno;
	pthread_mutex_unlock(&t->mutex);
	return r;
}

uint64_t tarn__thread_ended_ns(const tarn_thread *t)
{
	return t->ended_ns;
}

bool tarn__thread_failed(const tarn_thread *t)
{
	return t->fault != NULL;
}

/* ---- telling ---- */

int tarn_thread_throw(tarn_thread *thread, const tarn_fault *fault)
{
	int r = check_owner(thread);

	if (r < 0)
		return r;
	pthread_mutex_lock(&thread->mutex);
	if (thread->thrown == NULL && !thread->terminate)
		thread->thrown = tarn_fault_ref(fault);
	tarn__store32_relaxed(&thread->stop, 1);
	pthread_mutex_unlock(&thread->mutex);
	return 0;
}

int tarn_thread_terminate(tarn_thread *thread)
{
	int r = check_owner(thread);

	if (r < 0)
		return r;
	pthread_mutex_lock(&thread->mutex);
	if (thread->thrown == NULL)
		thread->terminate = true;
	tarn__store32_relaxed(&thread->stop, 1);
	pthread_mutex_unlock(&thread->mutex);
	return 0;
}
