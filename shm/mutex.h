/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock in shared memory that survives its holders.
 *
 * The word is 0, or names its owner (owner.h); taking and naming are one step, as are releasing
 * and forgetting. Sleepers set WAITERS first and sleep on the word with it, so the owner's
 * release, which finds it, wakes one (Drepper, "Futexes are tricky", mutex2): it takes the whole
 * word to 0, and whoever slept takes the lock with WAITERS, as others may be sleeping still.
 *
 * Deaths. The server calls tarn__mutex_departed() once for each client that is gone.
 *	- It was the owner: the word becomes DIED, and one sleeper is woken. The next owner's
 *	  compare-and-swap takes the mark away, so exactly one is told; should it be killed before it
 *	  could look, its own name stands there and the next is told.
 *	- It was killed between releasing and waking, or it was the one that was woken and did not
 *	  come to take the lock: nothing in the word says so. Then nobody but the server can pass
 *	  the wake on: it wakes one wherever the word does not show that a release will.
 * @contended, set once by the first sleeper, spares it the system call for all other locks.
 *
 * Order: taking is an acquire and releasing a release of the same word, so what was written under
 * the lock is seen by the next owner. The server's swap reads the word that the dead owner
 * wrote and writes it with release: all that the dead one wrote came before its death, which
 * the kernel told the server of after it.
 *
 * SYNC mutex: every swap of the word, release and acquire as said.
 */
#ifndef TARN_SHM_MUTEX_H
#define TARN_SHM_MUTEX_H

#include "owner.h"
#include "wake.h"

struct tarn__mutex {
	uint32_t word;      /* whoever takes and releases it; the server for the dead */
	uint32_t contended; /* any sleeper, once: 1 */
	uint32_t depth;     /* the owner: how often it has it (recursive ones) */
	uint32_t pad;
};
static_assert(sizeof(struct tarn__mutex) == 16, "instances are made of it");

/* True: @me has it now. *ret_died: its owner before died with it. @mark: WAITERS or 0. */
static inline bool tarn__mutex_take(struct tarn__mutex *m, uint32_t me, uint32_t mark,
				    bool *ret_died)
{
	uint32_t w = 0;

	*ret_died = false;
	if (tarn__likely(tarn__word_swap(&m->word, &w, me | mark, __ATOMIC_ACQUIRE)))
		return true;
	while ((w & TARN__OWNER_CLIENT) == 0) {
		uint32_t to = me | mark | (w & TARN__OWNER_WAITERS);

		*ret_died = (w & TARN__OWNER_DIED) != 0;
		if (tarn__word_swap(&m->word, &w, to, __ATOMIC_ACQUIRE))
			return true;
	}
	*ret_died = false;
	return false;
}

/* Says that the caller is going to sleep. The value to sleep on, or 0: it is free, take it. */
static inline uint32_t tarn__mutex_sleep(struct tarn__mutex *m)
{
	uint32_t w = tarn__load32_relaxed(&m->word);

	/* Before the mark in the word: the server that follows the mark's way sees it. */
	if (tarn__load32_relaxed(&m->contended) == 0)
		tarn__store32_relaxed(&m->contended, 1);
	while ((w & TARN__OWNER_CLIENT) != 0) {
		if (w & TARN__OWNER_WAITERS)
			return w;
		if (tarn__word_swap(&m->word, &w, w | TARN__OWNER_WAITERS, __ATOMIC_RELEASE))
			return w | TARN__OWNER_WAITERS;
	}
	return 0;
}

/* Whoever has it, it is free now. Returns the word before; without an owner nothing was done. */
static inline uint32_t tarn__mutex_drop(struct tarn__mutex *m, uint32_t me)
{
	uint32_t w = me;

	if (tarn__likely(tarn__word_swap(&m->word, &w, 0, __ATOMIC_RELEASE)))
		return me;
	while ((w & TARN__OWNER_CLIENT) != 0)
		if (tarn__word_swap(&m->word, &w, 0, __ATOMIC_RELEASE)) {
			if (w & TARN__OWNER_WAITERS)
				tarn__futex_wake(&m->word, 1);
			return w;
		}
	return 0;
}

/* The server: @client is gone. A liar may change the word for ever; an honest client does not. */
static inline void tarn__mutex_departed(struct tarn__mutex *m, uint32_t client)
{
	uint32_t w = tarn__word_newest(&m->word);
	bool dead = false;

	for (unsigned i = 0; !dead && i < 1000 && tarn__owner_client(w) == client; i++)
		dead = tarn__word_swap(&m->word, &w, TARN__OWNER_DIED | (w & TARN__OWNER_WAITERS),
				       __ATOMIC_ACQ_REL);
	if (tarn__load32_relaxed(&m->contended) != 0 &&
	    (dead || (w & TARN__OWNER_CLIENT) == 0 || !(w & TARN__OWNER_WAITERS)))
		tarn__futex_wake(&m->word, 1);
}

#endif
