/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bells: who waits for something that any of several processes may bring about.
 *
 * A sleeper reads the number, says that somebody sleeps, looks once more, and sleeps while the
 * number is the same. Who brought something about looks whether somebody sleeps: then a new
 * number, and one sleeper (or all, if one asked for that) is woken. Nobody counts sleepers, so one
 * that is killed is not missed; whoever wakes one says again that somebody may be asleep, and finds
 * out by a wake-up that reaches nobody.
 *
 * A sleeper whose waker was killed between the two steps, or that was woken in vain for one that
 * was killed, sleeps on: so nobody sleeps longer than a slice, and the server rings all bells of
 * what a dead client used.
 */
#ifndef TARN_SHM_BELL_H
#define TARN_SHM_BELL_H

#include <limits.h>

#include "wake.h"

#define TARN__BELL_ONE 1u /* somebody sleeps */
#define TARN__BELL_ALL 2u /* and wants to be woken whoever else is */

struct tarn__bell { /* written by anybody */
	uint32_t number; /* SYNC bell: futex word */
	uint32_t asleep; /* TARN__BELL_... */
};
static_assert(sizeof(struct tarn__bell) == 8, "two words");

static inline uint32_t tarn__bell_number(const struct tarn__bell *b)
{
	/* SYNC bell, acquire: what was brought about before the number changed is seen. */
	return tarn__load32_acquire(&b->number);
}

/* After tarn__bell_number(), before the last look. */
static inline void tarn__bell_listen(struct tarn__bell *b, uint32_t how, bool fence)
{
	/* Relaxed: the barrier orders it before the last look. */
	__atomic_fetch_or(&b->asleep, how, __ATOMIC_RELAXED);
	tarn__sleep_barrier(fence);
}

static inline void tarn__bell_wake(struct tarn__bell *b)
{
	uint32_t how = __atomic_exchange_n(&b->asleep, 0, __ATOMIC_ACQ_REL);

	/* SYNC bell, release. */
	__atomic_fetch_add(&b->number, 1, __ATOMIC_RELEASE);
	if (how & TARN__BELL_ALL)
		tarn__futex_wake(&b->number, INT_MAX);
	else if (tarn__futex_wake(&b->number, 1) > 0)
		__atomic_fetch_or(&b->asleep, TARN__BELL_ONE, __ATOMIC_RELAXED);
}

/* After something was brought about: wakes one who sleeps. */
static inline void tarn__bell_ring(struct tarn__bell *b, bool fence)
{
	tarn__post_barrier(fence);
	/* SYNC bell: what was brought about, barrier, asleep; the sleeper: asleep, barrier, look. */
	if (tarn__unlikely(tarn__load32_relaxed(&b->asleep) != 0))
		tarn__bell_wake(b);
}

/* The same for all who sleep: what was brought about concerns each. */
static inline void tarn__bell_ring_each(struct tarn__bell *b, bool fence)
{
	tarn__post_barrier(fence);
	/* SYNC bell. */
	if (tarn__unlikely(tarn__load32_relaxed(&b->asleep) != 0)) {
		/* Relaxed: the one who wakes is this thread. */
		__atomic_fetch_or(&b->asleep, TARN__BELL_ALL, __ATOMIC_RELAXED);
		tarn__bell_wake(b);
	}
}

/* The same for all, with a fence of its own. */
static inline void tarn__bell_ring_all(struct tarn__bell *b)
{
	__atomic_fetch_or(&b->asleep, TARN__BELL_ALL, __ATOMIC_SEQ_CST);
	tarn__bell_wake(b);
}

#endif
