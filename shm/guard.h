/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guard: a short lock around state of several words, where everything that its owner was at
 * when it was killed can be set right by the next to enter.
 *
 * Types that use one keep redundant state: some words are the truth, each changed by one store, and
 * the rest follows from them. repair() computes the rest again. It runs inside the guard, in the
 * client that finds the mark REPAIR, and may itself be killed anywhere: it is run again.
 *
 * The server never enters a guard, so nobody can make it wait. When a client is gone it
 *	1 changes what is the client's alone by compare-and-swap, as marks (holder 0, slot DEAD);
 *	2 takes a dead owner's name out of the word and sets REPAIR; or sets REPAIR beside the name
 *	  of a living owner, which will find it when it leaves;
 *	3 wakes somebody who will enter.
 * Between 1 and the repair the state is as if the dead client were a slow one.
 *
 * SYNC guard: entering is an acquire and leaving a release of the word; setting REPAIR is both:
 * whoever finds it sees the marks, and the server saw what the dead one wrote (mutex.h).
 */
#ifndef TARN_SHM_GUARD_H
#define TARN_SHM_GUARD_H

#include "owner.h"
#include "wake.h"

struct tarn__guard {
	uint32_t word;      /* whoever enters and leaves; the server for the dead */
	uint32_t contended; /* any sleeper, once: 1 */
};
static_assert(sizeof(struct tarn__guard) == 8, "instances are made of it");

#define TARN__GUARD_TRIES 1000u /* of the server against a client that keeps changing the word */

/* True: @me is inside. @mark: WAITERS or 0. *ret_repair: repair first. */
static inline bool tarn__guard_try(struct tarn__guard *g, uint32_t me, uint32_t mark,
				   bool *ret_repair)
{
	uint32_t w = 0;

	*ret_repair = false;
	if (tarn__likely(tarn__word_swap(&g->word, &w, me | mark, __ATOMIC_ACQUIRE)))
		return true;
	while ((w & TARN__OWNER_CLIENT) == 0) {
		uint32_t to = me | mark | (w & TARN__OWNER_WAITERS);

		/* The mark goes with the entry: should we be killed before the repair is done, our
		 * name makes the server set it again. */
		*ret_repair = (w & TARN__OWNER_REPAIR) != 0;
		if (tarn__word_swap(&g->word, &w, to, __ATOMIC_ACQUIRE))
			return true;
	}
	*ret_repair = false;
	return false;
}

/* As tarn__mutex_sleep(). */
static inline uint32_t tarn__guard_sleep(struct tarn__guard *g)
{
	uint32_t w = tarn__load32_relaxed(&g->word);

	if (tarn__load32_relaxed(&g->contended) == 0)
		tarn__store32_relaxed(&g->contended, 1);
	while ((w & TARN__OWNER_CLIENT) != 0) {
		if (w & TARN__OWNER_WAITERS)
			return w;
		if (tarn__word_swap(&g->word, &w, w | TARN__OWNER_WAITERS, __ATOMIC_RELEASE))
			return w | TARN__OWNER_WAITERS;
	}
	return 0;
}

/* Leaves. False: still inside, the server has left a mark that was taken away just now; repair and
 * try again. */
static inline bool tarn__guard_leave(struct tarn__guard *g, uint32_t me)
{
	uint32_t w = me;

	if (tarn__likely(tarn__word_swap(&g->word, &w, 0, __ATOMIC_RELEASE)))
		return true;
	for (;;) {
		if (w & TARN__OWNER_REPAIR) {
			__atomic_fetch_and(&g->word, ~TARN__OWNER_REPAIR, __ATOMIC_ACQUIRE);
			return false;
		}
		if (tarn__word_swap(&g->word, &w, 0, __ATOMIC_RELEASE))
			break;
	}
	if (w & TARN__OWNER_WAITERS)
		tarn__futex_wake(&g->word, 1);
	return true;
}

/* Looks whether a repair is due. Relaxed: entering tells for sure. */
static inline bool tarn__guard_is_due(const struct tarn__guard *g)
{
	return (tarn__load32_relaxed(&g->word) & TARN__OWNER_REPAIR) != 0;
}

/* The server: @client is gone. @marked: something of it was marked, so a repair is due. True: one
 * is due now. */
static inline bool tarn__guard_departed(struct tarn__guard *g, uint32_t client, bool marked)
{
	uint32_t w = tarn__word_newest(&g->word);
	bool dead = false, done = false;

	for (unsigned i = 0; !done && i < TARN__GUARD_TRIES; i++) {
		uint32_t to = w | TARN__OWNER_REPAIR;

		dead = tarn__owner_client(w) == client;
		if (dead)
			to &= ~TARN__OWNER_MASK;
		else if (!marked)
			break;
		done = tarn__word_swap(&g->word, &w, to, __ATOMIC_ACQ_REL);
	}
	/* As tarn__mutex_departed(): also a wake that the dead one owed or had got. */
	if (tarn__load32_relaxed(&g->contended) != 0 &&
	    (dead || (w & TARN__OWNER_CLIENT) == 0 || !(w & TARN__OWNER_WAITERS)))
		tarn__futex_wake(&g->word, 1);
	return done;
}

#endif
