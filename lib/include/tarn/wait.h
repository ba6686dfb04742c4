/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for several things of different kinds at once: processes, threads, calls in the
 * background, queues, events, semaphores, descriptors.
 *
 *	const tarn_waitable w[] = { tarn_waitable_process(p), tarn_waitable_thread(t),
 *				    tarn_waitable_call(c), tarn_waitable_object(queue),
 *				    tarn_waitable_fd(fd, POLLIN) };
 *	bool done[5];
 *
 *	r = tarn_wait(w, 5, TARN_WAIT_FIRST, TARN_FOREVER, done);
 *
 * Nothing is taken from anybody: a process or call that is done gives its result afterwards, a
 * queue its item. The same thing may stand there twice. A process that was killed is done.
 */
#ifndef TARN_WAIT_H
#define TARN_WAIT_H

#include "object.h"
#include "process.h"
#include "thread.h"

TARN_BEGIN

enum tarn_waitable_kind {
	TARN_WAITABLE_PROCESS = 1, /* done: it has ended */
	TARN_WAITABLE_THREAD,      /* likewise */
	TARN_WAITABLE_CALL,        /* answered; the calling thread's own */
	TARN_WAITABLE_OBJECT,      /* an event that is set, a queue that has something or is closed, a
				    * semaphore with permits */
	TARN_WAITABLE_FD,          /* poll() says one of the events */
};

typedef struct tarn_waitable {
	enum tarn_waitable_kind kind;
	int fd;
	short events;
	union {
		tarn_process *process;
		tarn_thread *thread;
		tarn_pending *call;
		tarn_object *object;
	} of;
} tarn_waitable;

static inline tarn_waitable tarn_waitable_process(tarn_process *process)
{
	tarn_waitable w = { TARN_WAITABLE_PROCESS, -1, 0, { 0 } };
	w.of.process = process;
	return w;
}
static inline tarn_waitable tarn_waitable_thread(tarn_thread *thread)
{
	tarn_waitable w = { TARN_WAITABLE_THREAD, -1, 0, { 0 } };
	w.of.thread = thread;
	return w;
}
static inline tarn_waitable tarn_waitable_call(tarn_pending *call)
{
	tarn_waitable w = { TARN_WAITABLE_CALL, -1, 0, { 0 } };
	w.of.call = call;
	return w;
}
static inline tarn_waitable tarn_waitable_object(tarn_object *object)
{
	tarn_waitable w = { TARN_WAITABLE_OBJECT, -1, 0, { 0 } };
	w.of.object = object;
	return w;
}
/* @events as of poll(): POLLIN, POLLOUT. */
static inline tarn_waitable tarn_waitable_fd(int fd, short events)
{
	tarn_waitable w = { TARN_WAITABLE_FD, fd, events, { 0 } };
	return w;
}

enum tarn_wait_until {
	TARN_WAIT_ALL = 0,
	TARN_WAIT_FIRST,           /* one is done */
	TARN_WAIT_FIRST_EXCEPTION, /* one of the processes, threads and calls has failed, or all
				    * are done */
};

/*
 * Waits, up to @timeout_ns, until it is as @until says, and tells of each of the @n things
 * whether it is done (@ret_done may be NULL). 0, also if @n is 0; -ETIMEDOUT, with @ret_done
 * as it is then; -TARN_ESTATE a process was not started, -EPERM a call of another thread, -TARN_EKIND an
 * object that cannot be waited for, -EBADF, -TARN_ESRVDOWN, -TARN_EFORKED a parent's process or thread, -ENOMEM.
 */
TARN_EXPORT int tarn_wait(const tarn_waitable *what, size_t n, enum tarn_wait_until until,
			  int64_t timeout_ns, bool *ret_done);

/*
 * One after the other, as they get done:
 *
 *	tarn_completion_new(w, n, timeout_ns, &c);
 *	while ((r = tarn_completion_next(c, &index)) == 0)
 *		...
 *	tarn_completion_free(c);
 *
 * @timeout_ns is for all of them together, from now. The things waited for stay the caller's, and
 * there until the end; @what itself is copied.
 */
typedef struct tarn_completion tarn_completion;
TARN_EXPORT int tarn_completion_new(const tarn_waitable *what, size_t n, int64_t timeout_ns,
				    tarn_completion **ret_completion);
/* The next one. -TARN_EOF all have been, -ETIMEDOUT the time is over; as tarn_wait(). */
TARN_EXPORT int tarn_completion_next(tarn_completion *completion, size_t *ret_index);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_completion *tarn_completion_free(tarn_completion *completion);

TARN_END

#endif
