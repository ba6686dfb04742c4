/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads with what worker processes have: arguments, a result, an error, a name; a function for
 * tarn_process_spawn() is one for them, too.
 *
 *	static int square(tarn_worker *worker) ...
 *
 *	tarn_thread_spawn(&(tarn_thread_options){ .fn = square, .args = &args }, &t);
 *	r = tarn_thread_get(t, TARN_FOREVER, "i", &y);
 *	tarn_thread_unref(t);
 *
 * Nothing can end a thread from outside: throw and terminate are seen by tarn_worker_check(), which a
 * long-running function calls now and then.
 */
#ifndef TARN_THREAD_H
#define TARN_THREAD_H

#include "process.h"

TARN_BEGIN

typedef struct tarn_thread tarn_thread;

typedef struct tarn_thread_options {
	tarn_worker_fn *fn;       /* NULL: nothing is run, the result is empty */
	tarn_client *client;      /* tarn_worker_client() there; may be NULL */
	const tarn_builder *args; /* NULL: none; copied, references are taken */
	const char *name;         /* at most 63 bytes; NULL: "Thread-1" and so on */
} tarn_thread_options;

/* Starts it; the caller owns the reference. -ENOMEM, -EAGAIN too many threads, -ENAMETOOLONG, the
 * builder's failure. */
TARN_EXPORT int tarn_thread_spawn(const tarn_thread_options *options, tarn_thread **ret_thread);
TARN_EXPORT tarn_thread *tarn_thread_ref(tarn_thread *thread);
/* NULL is allowed. Returns NULL. Without a reference the thread runs on. */
TARN_EXPORT tarn_thread *tarn_thread_unref(tarn_thread *thread);

TARN_EXPORT bool tarn_thread_done(const tarn_thread *thread);
TARN_EXPORT const char *tarn_thread_name(const tarn_thread *thread);

/* As tarn_process_join(), _result(), _get() and _exception(); in a forked child, which has none of its parent's
 * threads, -TARN_EFORKED. One that left by pthread_exit(), or was cancelled, has failed: "SystemExit". */
TARN_EXPORT int tarn_thread_join(tarn_thread *thread, int64_t timeout_ns);
TARN_EXPORT int tarn_thread_result(tarn_thread *thread, int64_t timeout_ns,
				   const tarn_parcel **ret_result);
TARN_EXPORT int tarn_thread_get(tarn_thread *thread, int64_t timeout_ns, const char *format, ...);
TARN_EXPORT int tarn_thread_exception(tarn_thread *thread, int64_t timeout_ns,
				      const tarn_fault **ret_fault);

/* Has its next tarn_worker_check() fail with @fault (its own reference is taken); the first one
 * counts. 0 also if it has ended. */
TARN_EXPORT int tarn_thread_throw(tarn_thread *thread, const tarn_fault *fault);
/* Has its next tarn_worker_check() fail with -ECANCELED. A thread that then fails with it was
 * terminated: no error, and no result. */
TARN_EXPORT int tarn_thread_terminate(tarn_thread *thread);

/* In the worker: 0, or what was thrown at its thread, to be returned. In a worker process: 0. */
TARN_EXPORT int tarn_worker_check(tarn_worker *worker);

/* For TARN_AUTO(tarn_thread). */
static inline void tarn_thread_auto(tarn_thread **thread)
{
	tarn_thread_unref(*thread);
}

TARN_END

#endif
