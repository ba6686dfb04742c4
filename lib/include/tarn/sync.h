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
 * have to wait. Any thread; none of these can be used in a signal handler. Besides what is said at
 * each, all fail with -TARN_EKIND where the proxy is of another type, -TARN_EFORKED in a forked
 * child, and when they wait, with -TARN_ESRVDOWN (the server is gone: nobody would notice a
 * death any more) and -TARN_EEVICTED. A client that is closed lets go of what it holds as
 * one that died.
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
 * with it; exactly one is told. -EAGAIN, -ETIMEDOUT: it is not.
 */
TARN_EXPORT int tarn_lock_acquire(tarn_object *lock, int64_t timeout_ns);
/* Lets it go. Whoever took it: a lock may be released by another thread or process, as in Python.
 * -TARN_ESTATE nobody holds it. */
TARN_EXPORT int tarn_lock_release(tarn_object *lock);
/* 1: somebody holds it, 0: nobody did just now. */
TARN_EXPORT int tarn_lock_locked(tarn_object *lock);

TARN_END

#endif
