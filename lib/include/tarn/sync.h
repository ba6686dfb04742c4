/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synchronisation between processes that survives whoever holds it.
 *
 * Each is an object of the server (tarn/object.h): it travels in values, through channels, as
 * token or by a name, and ends with its last holder's proxy. What it is lies in the arena: taking
 * and releasing what nobody else wants is a few instructions, without a system call and without
 * the server, and who waits sleeps in its own thread. Whoever has something is named there, so
 * that a process that is killed while it holds something is noticed by the server, and what it
 * held goes on to the next.
 *
 *	tarn_lock_new(client, 0, &lock);
 *	r = tarn_lock_acquire(lock, TARN_FOREVER);
 *	if (r == -EOWNERDEAD)
 *		repair();			// it is ours; its last holder died inside
 *	else if (r < 0)
 *		return r;
 *	...
 *	tarn_lock_release(lock);
 *
 * Timeouts are nanoseconds; TARN_FOREVER without limit; 0 only tries, -EAGAIN says that it would
 * have to wait. Any thread, also methods on executors; none of these can be used in a signal handler or
 * an inline method. Besides what is said at
 * each, all fail with -TARN_EKIND where the proxy is of another type, -TARN_EFORKED in a forked
 * child, and when they wait, with -TARN_ESRVDOWN (the server is gone: nobody would notice a
 * death any more) and -TARN_EEVICTED. A client that is closed lets go of what it holds as
 * one that died.
 *
 * Semaphores and barriers change several words at a time, for which one thread is alone for some
 * instructions. One that is stopped just there (SIGSTOP, a debugger) holds up the others of this one
 * semaphore or barrier until it goes on or is killed: as long as their timeout says, but a second
 * also of those that only try.
 */
#ifndef TARN_SYNC_H
#define TARN_SYNC_H

#include "object.h"

TARN_BEGIN

/* ---- lock ---- */

/* Makes a lock, unlocked. @flags: 0. As tarn_object_new(). */
TARN_EXPORT int tarn_lock_new(tarn_client *client, unsigned flags, tarn_object **ret_lock);
/*
 * Takes it. 0: it is the caller's. -EOWNERDEAD: it is the caller's, and its last holder died
 * with it; exactly one is told. Calls of lists, dicts and namespaces that the dead one posted are over
 * then (unless executors were busy for 2 s more); of other objects they may still be under way.
 * -EAGAIN, -ETIMEDOUT: it is not.
 */
TARN_EXPORT int tarn_lock_acquire(tarn_object *lock, int64_t timeout_ns);
/* Lets it go. Whoever took it: a lock may be released by another thread or process, as in Python.
 * -TARN_ESTATE nobody holds it. */
TARN_EXPORT int tarn_lock_release(tarn_object *lock);
/* 1: somebody holds it, 0: nobody did just now. */
TARN_EXPORT int tarn_lock_locked(tarn_object *lock);

/* ---- recursive lock ---- */

/* The thread that holds one may take it again, and releases it as often. -EPERM from another thread.
 * A thread is known by its lane: what a thread held when it ended is the next one's that this
 * client gives the lane to. */
TARN_EXPORT int tarn_rlock_new(tarn_client *client, unsigned flags, tarn_object **ret_lock);
TARN_EXPORT int tarn_rlock_acquire(tarn_object *lock, int64_t timeout_ns); /* as tarn_lock_acquire() */
TARN_EXPORT int tarn_rlock_release(tarn_object *lock); /* -EPERM another's, -TARN_ESTATE nobody's */
/* How often the calling thread holds it. */
TARN_EXPORT int tarn_rlock_depth(tarn_object *lock);

/* ---- semaphores ---- */

/*
 * @permits permits that clients take and give back. The server knows how many each client has; when
 * it is gone they are there again. Up to 480 clients can have some at a time.
 *
 * A semaphore can be released by who has not taken (one side produces, another takes): then the
 * release is of a permit that another has, and when nobody has any, the semaphore gets one more.
 * A bounded one does not: -TARN_ESTATE.
 */
TARN_EXPORT int tarn_sem_new(tarn_client *client, uint64_t permits, tarn_object **ret_sem);
TARN_EXPORT int tarn_bounded_sem_new(tarn_client *client, uint64_t permits, tarn_object **ret_sem);
/* Takes one. -EAGAIN, -ETIMEDOUT, -ENOBUFS too many clients, -ERANGE too many of this one's. */
TARN_EXPORT int tarn_sem_acquire(tarn_object *sem, int64_t timeout_ns);
/* Gives @n (at least 1) back, and wakes as many. */
TARN_EXPORT int tarn_sem_release(tarn_object *sem, uint32_t n);
/* How many are there to take now. */
TARN_EXPORT int tarn_sem_value(tarn_object *sem, uint64_t *ret_value);

/* ---- condition ---- */

/*
 * A condition goes with a lock: @lock, a tarn.Lock or tarn.RLock that several conditions may share,
 * or, NULL, a recursive lock of its own. Waiting and notifying are done by the thread that holds
 * it (-EPERM); up to 1000 can wait at a time (-ENOBUFS).
 */
TARN_EXPORT int tarn_cond_new(tarn_client *client, tarn_object *lock, tarn_object **ret_cond);
TARN_EXPORT int tarn_cond_acquire(tarn_object *cond, int64_t timeout_ns); /* its lock */
TARN_EXPORT int tarn_cond_release(tarn_object *cond);
/*
 * Lets the lock go, however often it is held, waits to be notified, and takes it again. The lock is
 * held afterwards whatever is returned, except with -TARN_ESRVDOWN and -TARN_EEVICTED.
 * 0: notified. -ETIMEDOUT, -EAGAIN: not. -EOWNERDEAD: the lock's last holder died with it; it may
 * or may not have notified. Look at what you wait for, as after every wait.
 */
TARN_EXPORT int tarn_cond_wait(tarn_object *cond, int64_t timeout_ns);
/* Waits until @predicate(@arg), which is called with the lock held, is true. */
TARN_EXPORT int tarn_cond_wait_for(tarn_object *cond, bool (*predicate)(void *arg), void *arg,
				   int64_t timeout_ns);
/* Wakes up to @n of those who wait now, who waited longest first. A waiter that dies before it has
 * the lock again passes its notification on. */
TARN_EXPORT int tarn_cond_notify(tarn_object *cond, uint32_t n);
TARN_EXPORT int tarn_cond_notify_all(tarn_object *cond);

/* ---- event ---- */

/* Makes an event, not set. @flags: 0. Any number can wait. */
TARN_EXPORT int tarn_event_new(tarn_client *client, unsigned flags, tarn_object **ret_event);
TARN_EXPORT int tarn_event_set(tarn_object *event);   /* and wakes all who wait */
TARN_EXPORT int tarn_event_clear(tarn_object *event);
TARN_EXPORT int tarn_event_is_set(tarn_object *event); /* 1 or 0 */
/* 0: it is set, or was while we waited. -EAGAIN, -ETIMEDOUT: it was not. */
TARN_EXPORT int tarn_event_wait(tarn_object *event, int64_t timeout_ns);

/* ---- barrier ---- */

/* A barrier of @parties threads, 1 to 1000. */
TARN_EXPORT int tarn_barrier_new(tarn_client *client, uint32_t parties, tarn_object **ret_barrier);
/*
 * Waits until all parties have come. @ret_index (NULL: not wanted): 0 to parties - 1, in the order in
 * which they came. -TARN_EBROKEN: a party died here, or its time was over, or the barrier was
 * broken before. -ETIMEDOUT, -EAGAIN: this one's time was over; the barrier is broken by it.
 */
TARN_EXPORT int tarn_barrier_wait(tarn_object *barrier, int64_t timeout_ns, uint32_t *ret_index);
/* The same; whoever comes last runs @action first, while the others still wait. A negative result
 * of it breaks the barrier and is returned to that one. It must not use the barrier. */
TARN_EXPORT int tarn_barrier_wait_with(tarn_object *barrier, int (*action)(void *arg), void *arg,
				       int64_t timeout_ns, uint32_t *ret_index);
/* Breaks it: all who wait, and all who come, get -TARN_EBROKEN. */
TARN_EXPORT int tarn_barrier_abort(tarn_object *barrier);
/* Makes it as new; who waits gets -TARN_EBROKEN. */
TARN_EXPORT int tarn_barrier_reset(tarn_object *barrier);

typedef struct tarn_barrier_state {
	uint32_t parties, n_waiting;
	bool broken;
} tarn_barrier_state;
TARN_EXPORT int tarn_barrier_facts(tarn_object *barrier, tarn_barrier_state *ret_state);

TARN_END

#endif
