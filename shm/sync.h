/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances of semaphores, events, conditions and barriers, and what the server does to them when
 * a client is gone. What clients do is in lib/types; locks are in mutex.h.
 *
 * Slots. A waiter of a condition or barrier has a slot: a word that names it, on which it sleeps.
 *
 *	0 --wait--> WAITING --notify, last party--> CALLED --its owner has come--> 0
 *	                    --broken--> BROKEN --its owner has come--> 0
 *
 * Every change is a compare-and-swap or made where no other can be, so whom a wake is meant for is
 * in the word before it is sent: a wake that is lost with its sender leaves CALLED behind, and one
 * that is lost with its receiver leaves CALLED under the name of a dead client.
 *
 * SYNC slot: made with release, looked at with acquire.
 */
#ifndef TARN_SHM_SYNC_H
#define TARN_SHM_SYNC_H

#include <limits.h>

#include "guard.h"
#include "mutex.h"

/* ---- semaphore ----
 *
 * Truth: total (permits there are, taken or not) and holder[] (how many each client has). value
 * follows: total less the sum of holders. A client that is gone has its entries set to 0, so its
 * permits are there again with the next repair.
 */

#define TARN__SEM_HOLDERS 480u /* clients that have permits at a time */
#define TARN__SEM_UNIT (1u << 12) /* of a count above the client's number */
#define TARN__SEM_PERMITS_MOST ((1u << 20) - 1) /* of one client */

struct tarn__sem {
	struct tarn__guard guard;
	uint32_t wake;     /* futex: grows when sleepers are to look; anybody, atomic add */
	uint32_t waiting;  /* in the guard: 1 somebody may sleep who was not called */
	uint64_t total;    /* in the guard */
	uint64_t value;    /* in the guard: follows */
	uint32_t bounded;  /* its maker */
	uint32_t slept;    /* any sleeper, once: 1 */
	uint32_t used;     /* in the guard: holders ever used; before the first use of the last */
	uint32_t spare;
	uint32_t holder[TARN__SEM_HOLDERS]; /* count << 12 | client; 0 count: free. Its client in the
					     * guard; others, and the server, by compare-and-swap */
	uint32_t pad[4];
};
static_assert(sizeof(struct tarn__sem) == 1984, "31 lines");
static_assert(offsetof(struct tarn__sem, total) == 16 && offsetof(struct tarn__sem, holder) == 48,
	      "layout");

/* As far as there are any: the word may be anybody's lie. */
static inline uint32_t tarn__sem_used(const struct tarn__sem *s)
{
	uint32_t used = tarn__load32_relaxed(&s->used);

	return used < TARN__SEM_HOLDERS ? used : TARN__SEM_HOLDERS;
}

/* In the guard. */
static inline void tarn__sem_repair(void *self)
{
	struct tarn__sem *s = self;
	const uint32_t used = tarn__sem_used(s);
	uint64_t taken = 0;

	for (uint32_t i = 0; i < used; i++)
		taken += tarn__load32_relaxed(&s->holder[i]) / TARN__SEM_UNIT;
	uint64_t total = tarn__load_relaxed(&s->total);

	tarn__store_relaxed(&s->value, total > taken ? total - taken : 0);
	tarn__store32_relaxed(&s->waiting, tarn__load32_relaxed(&s->slept));
	/* Also for whoever leaves the guard with this to go to sleep: it found no permit before. */
	__atomic_fetch_add(&s->wake, 1, __ATOMIC_RELEASE);
	if (tarn__load32_relaxed(&s->slept) != 0)
		tarn__futex_wake(&s->wake, INT_MAX);
}

static inline void tarn__sem_departed(struct tarn__sem *s, uint32_t client)
{
	const uint32_t used = tarn__sem_used(s);

	for (uint32_t i = 0; i < used; i++) {
		uint32_t h = tarn__load32_relaxed(&s->holder[i]);

		for (unsigned k = 0; k < TARN__GUARD_TRIES && tarn__owner_client(h) == client &&
				     h >= TARN__SEM_UNIT; k++)
			if (tarn__word_swap(&s->holder[i], &h, 0, __ATOMIC_RELAXED))
				break;
	}
	/* Marked in any case: a server that was killed in here may have taken the names away, and what they
	 * had is to be counted again. */
	tarn__guard_departed(&s->guard, client, used != 0);
	/* Permits have come back, or the dead one was called, or owed a wake: all may look. */
	if (tarn__load32_relaxed(&s->slept) != 0) {
		__atomic_fetch_add(&s->wake, 1, __ATOMIC_RELEASE);
		tarn__futex_wake(&s->wake, INT_MAX);
	}
}

/* ---- event ----
 *
 * Bit 0: set. Bit 1: somebody sleeps. Above: how often it was set, so that who slept through
 * set and clear knows that it was.
 */

#define TARN__EVENT_SET 1u
#define TARN__EVENT_WAITERS 2u
#define TARN__EVENT_ROUND 4u

struct tarn__event {
	uint32_t word;      /* anybody */
	uint32_t contended; /* any sleeper, once: 1 */
	uint64_t pad;
};
static_assert(sizeof(struct tarn__event) == 16, "a quarter line");

static inline void tarn__event_departed(struct tarn__event *e)
{
	/* It may have set it and owed the wakes. With WAITERS in the word nobody has since. */
	if (tarn__load32_relaxed(&e->contended) != 0 &&
	    !(tarn__word_newest(&e->word) & TARN__EVENT_WAITERS))
		tarn__futex_wake(&e->word, INT_MAX);
}

/* ---- slots ---- */

#define TARN__SLOTS 1000u
#define TARN__SLOT_WAITING (1u << 30)
#define TARN__SLOT_CALLED (1u << 31)
#define TARN__SLOT_BROKEN (1u << 29)
#define TARN__SLOT_DEAD (1u << 28) /* a waiting party of a barrier is gone */
#define TARN__SLOT_LOOK (1u << 27) /* beside WAITING: its owner is to see to the barrier's repair */

struct tarn__slots {
	uint32_t used;  /* slots ever used; before the first use of the last */
	uint32_t slot[TARN__SLOTS];
};
static_assert(sizeof(struct tarn__slots) == 4004, "layout");

/* As far as there are any: the word may be anybody's lie. */
static inline uint32_t tarn__slots_used(const struct tarn__slots *s)
{
	uint32_t used = tarn__load32_relaxed(&s->used);

	return used < TARN__SLOTS ? used : TARN__SLOTS;
}
/* Gives @i, which is free and nobody else can take now, to @me. */
static inline void tarn__slot_take(struct tarn__slots *s, uint32_t i, uint32_t me)
{
	if (i >= tarn__load32_relaxed(&s->used))
		tarn__store32_relaxed(&s->used, i + 1);
	tarn__store32_release(&s->slot[i], me | TARN__SLOT_WAITING);
}
/* WAITING becomes @to, and its owner is woken. False: it was something else. */
static inline bool tarn__slot_call(uint32_t *slot, uint32_t to)
{
	uint32_t w = tarn__load32_acquire(slot);

	/* Its owner and the server may change marks beside it; only a liar does so again and again. */
	for (unsigned k = 0; k < TARN__GUARD_TRIES && (w & TARN__SLOT_WAITING); k++)
		if (tarn__word_swap(slot, &w, (w & TARN__OWNER_MASK) | to, __ATOMIC_RELEASE)) {
			tarn__futex_wake(slot, 1);
			return true;
		}
	return false;
}

/* ---- condition ----
 *
 * Waiting, notifying and leaving happen under the user's lock; the server alone comes without
 * it, and only to slots of the dead, and of one more waiter to whom a dead one's call is passed.
 */

struct tarn__cond {
	uint64_t lock;        /* its maker: id of the lock it goes with; 0: own */
	uint32_t lock_type;   /* its maker: index of that one's type; */
	uint32_t plain;       /* 1: a tarn.Lock, not an RLock */
	struct tarn__mutex own;
	uint32_t head, tail;  /* under the lock: positions of the oldest waiter, of the next */
	uint32_t pad;
	struct tarn__slots slots;
};
static_assert(sizeof(struct tarn__cond) == 4048, "below one page with its head");
static_assert(offsetof(struct tarn__cond, own) == 16 && offsetof(struct tarn__cond, slots) == 44,
	      "layout");

#define TARN__COND_REWAKES 32u /* the rest look by themselves within a slice of their sleep */

/* Calls the next that waits, from @head on. */
static inline void tarn__cond_pass(struct tarn__cond *c, uint32_t head)
{
	for (uint32_t k = 0; k < TARN__SLOTS; k++)
		if (tarn__slot_call(&c->slots.slot[(head + k) % TARN__SLOTS], TARN__SLOT_CALLED))
			return;
}

static inline void tarn__cond_departed(struct tarn__cond *c, uint32_t client)
{
	const uint32_t used = tarn__slots_used(&c->slots), head = tarn__load32_relaxed(&c->head);
	unsigned rewakes = 0;

	tarn__mutex_departed(&c->own, client);
	for (uint32_t i = 0; i < used; i++) {
		uint32_t *slot = &c->slots.slot[i], w = tarn__load32_acquire(slot);

		if (tarn__owner_client(w) == client) {
			/* Called, and it never came: the call is another's, and that first: a server that is
			 * killed in between calls one too many, and not one too few. */
			for (unsigned k = 0; k < TARN__GUARD_TRIES && tarn__owner_client(w) == client; k++) {
				if (w & TARN__SLOT_CALLED)
					tarn__cond_pass(c, head);
				if (tarn__word_swap(slot, &w, 0, __ATOMIC_ACQ_REL))
					break;
				/* Called meanwhile: acquire, for whoever waited when it was. */
				w = tarn__load32_acquire(slot);
			}
		} else if ((w & TARN__SLOT_CALLED) && rewakes < TARN__COND_REWAKES) {
			rewakes++; /* the dead one may have owed it */
			tarn__futex_wake(slot, 1);
		}
	}
}

/* ---- barrier ----
 *
 * Truth: the slots, broken, and phase: what its owner is about. count follows.
 */

enum tarn__barrier_phase {
	TARN__BARRIER_FILLING = 0,
	TARN__BARRIER_ACTING,  /* the last party's action runs; undone: the barrier breaks */
	TARN__BARRIER_PASSING, /* all waiting are being called; undone: the rest are called */
	TARN__BARRIER_BREAKING,/* the same with BROKEN */
};

struct tarn__barrier {
	struct tarn__guard guard;
	uint32_t parties;  /* its maker */
	uint32_t broken;   /* in the guard */
	uint32_t phase;    /* in the guard: enum tarn__barrier_phase */
	uint32_t count;    /* in the guard: follows */
	struct tarn__slots slots;
	uint32_t pad;
};
static_assert(sizeof(struct tarn__barrier) == 4032, "63 lines");
static_assert(offsetof(struct tarn__barrier, slots) == 24, "layout");

/* In the guard. */
static inline void tarn__barrier_call(struct tarn__barrier *b, uint32_t to)
{
	const uint32_t used = tarn__slots_used(&b->slots);

	for (uint32_t i = 0; i < used; i++)
		tarn__slot_call(&b->slots.slot[i], to);
	tarn__store32_relaxed(&b->count, 0);
	tarn__store32_relaxed(&b->phase, TARN__BARRIER_FILLING);
}

static inline void tarn__barrier_repair(void *self)
{
	struct tarn__barrier *b = self;
	const uint32_t used = tarn__slots_used(&b->slots), phase = tarn__load32_relaxed(&b->phase);
	uint32_t count = 0;

	if (phase == TARN__BARRIER_PASSING)
		tarn__barrier_call(b, TARN__SLOT_CALLED);
	else if (phase == TARN__BARRIER_BREAKING)
		tarn__barrier_call(b, TARN__SLOT_BROKEN);
	else if (phase == TARN__BARRIER_ACTING)
		tarn__store32_relaxed(&b->broken, 1);
	for (uint32_t i = 0; i < used; i++) {
		uint32_t *slot = &b->slots.slot[i], w = tarn__load32_acquire(slot);

		if (w & TARN__SLOT_DEAD) {
			tarn__store32_relaxed(&b->broken, 1);
			tarn__store32_release(slot, 0); /* in the guard alone from here on */
		} else if (w & TARN__SLOT_WAITING) {
			count++;
		} else if (w & (TARN__SLOT_CALLED | TARN__SLOT_BROKEN)) {
			tarn__futex_wake(slot, 1); /* the dead one may have owed it */
		}
	}
	if (tarn__load32_relaxed(&b->broken))
		tarn__barrier_call(b, TARN__SLOT_BROKEN);
	else
		tarn__store32_relaxed(&b->count, count);
	tarn__store32_relaxed(&b->phase, TARN__BARRIER_FILLING);
}

static inline void tarn__barrier_departed(struct tarn__barrier *b, uint32_t client)
{
	uint32_t used = tarn__slots_used(&b->slots);
	bool marked = false;

	for (uint32_t i = 0; i < used; i++) {
		uint32_t *slot = &b->slots.slot[i], w = tarn__load32_acquire(slot);

		for (unsigned k = 0; k < TARN__GUARD_TRIES && tarn__owner_client(w) == client &&
				     !(w & TARN__SLOT_DEAD); k++) {
			uint32_t to = w & TARN__SLOT_WAITING ? TARN__SLOT_DEAD : 0;

			if (tarn__word_swap(slot, &w, to, __ATOMIC_ACQ_REL))
				break;
		}
		/* Also one that a server marked which was killed before it said so. */
		marked |= (tarn__load32_relaxed(slot) & TARN__SLOT_DEAD) != 0;
	}
	if (!tarn__guard_departed(&b->guard, client, marked))
		return;
	/* One of those who wait sets it right, and wakes all others. Its word is changed, not only
	 * woken: it may be about to sleep. Counted again: with the guard's mark we see all who left it
	 * before, and who enters it from now on finds the mark. */
	used = tarn__slots_used(&b->slots);
	for (uint32_t i = 0; i < used; i++) {
		uint32_t *slot = &b->slots.slot[i], w = tarn__load32_acquire(slot);

		if ((w & TARN__SLOT_WAITING) &&
		    tarn__word_swap(slot, &w, w | TARN__SLOT_LOOK, __ATOMIC_ACQ_REL)) {
			tarn__futex_wake(slot, 1);
			return;
		}
	}
	/* Nobody waits: those who were called may not have been woken. */
	for (uint32_t i = 0; i < used; i++)
		if (tarn__load32_relaxed(&b->slots.slot[i]) & (TARN__SLOT_CALLED | TARN__SLOT_BROKEN))
			tarn__futex_wake(&b->slots.slot[i], 1);
}

#endif
