/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many producers, many consumers: slots whose word names the client that works on them
 * (PROTOCOL 3.8, H17; tests/model/mpmc.pml).
 *
 * The word of a slot is {turn, state, owner}. A turn is an item's place in the order of all items;
 * slot turn % n is its slot. Every step is one compare-and-swap of that word, so that at any
 * instruction it says who is at it, and the server repairs a slot exactly when its owner is dead:
 *
 *	FREE,t --claim--> CLAIM,t,me --publish--> FULL,t --take--> TAKE,t,me --release--> FREE,t+n
 *	         owner dead: TOMB,t (passed over)         owner dead: FREE,t+n, or RETRY,t
 *
 * head and tail are hints: nobody is judged by them but by slots. Whoever finds one lagging moves it
 * on, so a client that was killed between a claim and the hint holds nobody up. A slot that a dead
 * consumer took never becomes FULL again (head is past it); one that is to be delivered again is
 * RETRY and is looked for.
 *
 * Two shapes. A ring: n slots used again and again. Segments: slots in runs of n, each run for turns
 * k * n to k * n + n - 1, found by a table of runs that the server fills; a slot that is done
 * stays DONE until the server uses its run for later turns. Turns do not repeat for 2^48 items, so
 * who stood still for long finds a word that is not the one it saw.
 */
#ifndef TARN_SHM_MPMC_H
#define TARN_SHM_MPMC_H

#include "base.h"

enum tarn__mpmc_state {
	TARN__MPMC_FREE = 0,
	TARN__MPMC_CLAIM = 1, /* a producer fills it */
	TARN__MPMC_FULL = 2,
	TARN__MPMC_TAKE = 3,  /* a consumer reads it, or has not said that it is done */
	TARN__MPMC_TOMB = 4,  /* its producer died */
	TARN__MPMC_RETRY = 5, /* its consumer died: for another one */
	TARN__MPMC_DONE = 6,  /* segments: over */
};

/* Word: bits 0..2 state, 3..15 owner, 16..63 turn. */
#define TARN__MPMC_OWNERS 8192u
#define TARN__MPMC_TURN_BITS 48

static inline uint64_t tarn__mpmc_word(uint64_t turn, enum tarn__mpmc_state state, uint32_t owner)
{
	return turn << 16 | (uint64_t)owner << 3 | (uint64_t)state;
}
static inline enum tarn__mpmc_state tarn__mpmc_state(uint64_t word)
{
	return (enum tarn__mpmc_state)(word & 7);
}
static inline uint32_t tarn__mpmc_owner(uint64_t word)
{
	return (uint32_t)(word >> 3) & (TARN__MPMC_OWNERS - 1);
}
/* How far the word's turn is ahead of @turn; negative: behind. Modulo 2^48. */
static inline int64_t tarn__mpmc_ahead(uint64_t word, uint64_t turn)
{
	return (int64_t)((word & ~UINT64_C(0xffff)) - (turn << 16)) >> 16;
}

/* SYNC mpmc-hint: turns are moved on by tarn__mpmc_help() and read with acquire wherever they are read. They are
 * hints: what counts is what a slot says (SYNC mpmc); but a run below a turn exists. */
struct tarn__mpmc_tail { /* written by producers, and consumers that see it lag */
	TARN__ALIGNED_LINE uint64_t turn;
};
struct tarn__mpmc_head { /* written by consumers, and the server */
	TARN__ALIGNED_LINE uint64_t turn;
	uint64_t low; /* SYNC low: slots below are done: a hint that who looks moves on */
};
static_assert(sizeof(struct tarn__mpmc_tail) == 64, "a line");
static_assert(sizeof(struct tarn__mpmc_head) == 64, "a line");

/* Where a run of slots lies. Written by the server. */
struct tarn__mpmc_run {
	uint64_t number; /* SYNC run: 1 + k; 0 while it changes */
	uint64_t offset;
	uint64_t id;     /* of its block */
	uint64_t spare;
};
static_assert(sizeof(struct tarn__mpmc_run) == 32, "half a line");

/* One process's view; everything in it has been checked. */
struct tarn__mpmc {
	struct tarn__mpmc_tail *tail;
	struct tarn__mpmc_head *head;
	unsigned char *base; /* of the ring's slots; segments: what offsets count from */
	uint64_t n;          /* slots of the ring, or of a run */
	uint32_t stride;     /* bytes from slot to slot */
	uint32_t me;
	uint64_t limit;      /* segments: most items that are not taken; 0: none */
	const struct tarn__mpmc_run *run; /* NULL: a ring */
	uint64_t runs;       /* entries, a power of two */
	uint64_t bytes;      /* of memory at base */
};

enum tarn__mpmc_result {
	TARN__MPMC_OK = 0,
	TARN__MPMC_AGAIN = 1, /* claim: full; take: empty */
	TARN__MPMC_RUN = 2,   /* claim: the run of turn tail is not there */
	TARN__MPMC_BUSY = 3,  /* take: the next item is being put */
};

/* The slot of @turn; NULL: its run is not there (any more). */
static inline uint64_t *tarn__mpmc_slot(const struct tarn__mpmc *q, uint64_t turn)
{
	uint64_t k, offset;

	if (tarn__likely(q->run == NULL)) {
		uint64_t i = (q->n & (q->n - 1)) == 0 ? turn & (q->n - 1) : turn % q->n;

		return (uint64_t *)(void *)(q->base + i * q->stride);
	}
	k = turn / q->n;
	const struct tarn__mpmc_run *run = &q->run[k & (q->runs - 1)];

	/* SYNC run, acquire: the offset was written before, and the slots made. */
	if (tarn__load_acquire(&run->number) != k + 1)
		return NULL;
	offset = tarn__load_acquire(&run->offset);
	/* Relaxed: ordered by the acquire before. */
	if (tarn__load_relaxed(&run->number) != k + 1)
		return NULL;
	/* Other clients can write here: whatever it says lies in the mapping. */
	if (tarn__unlikely(offset % TARN__LINE != 0 || offset > q->bytes ||
			   q->bytes - offset < q->n * q->stride))
		return NULL;
	return (uint64_t *)(void *)(q->base + offset + (turn % q->n) * q->stride);
}

/* SYNC mpmc, sequentially consistent: with a slot's state we see what its last owner wrote; and a
 * later look at another word (who sleeps, closed) comes after it. */
static inline bool tarn__mpmc_swap(uint64_t *word, uint64_t old, uint64_t now)
{
	return __atomic_compare_exchange_n(word, &old, now, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}
static inline uint64_t tarn__mpmc_look(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* Moves a hint from @turn to the next. */
static inline void tarn__mpmc_help(uint64_t *hint, uint64_t turn)
{
	/* Relaxed on failure: somebody else did. */
	__atomic_compare_exchange_n(hint, &turn, turn + 1, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
}

/* Word of a slot that is over. */
static inline uint64_t tarn__mpmc_over(const struct tarn__mpmc *q, uint64_t turn)
{
	return q->run == NULL ? tarn__mpmc_word(turn + q->n, TARN__MPMC_FREE, 0)
			      : tarn__mpmc_word(turn, TARN__MPMC_DONE, 0);
}

/* Items that may be there: between the hints. */
static inline uint64_t tarn__mpmc_count(const struct tarn__mpmc *q)
{
	uint64_t head = tarn__load_acquire(&q->head->turn);
	uint64_t tail = tarn__load_acquire(&q->tail->turn);

	/* The hints lag, each on its own. */
	return (int64_t)(tail - head) > 0 ? tail - head : 0;
}

/* Most rounds of a loop that others can make go on. Who only meets honest ones is out of it long
 * before; words that a hostile client wrote end here, as "full" or "empty". */
#define TARN__MPMC_ROUNDS (1u << 20)

/* Is the slot at the head hint over for who takes next? Then the hint lags. */
static inline bool tarn__mpmc_head_lags(const struct tarn__mpmc *q, uint64_t h)
{
	const uint64_t *slot = tarn__mpmc_slot(q, h);
	uint64_t seen = slot != NULL ? tarn__mpmc_look(slot) : 0;
	int64_t ahead = slot != NULL ? tarn__mpmc_ahead(seen, h) : -1;
	enum tarn__mpmc_state state = tarn__mpmc_state(seen);

	return ahead > 0 || (ahead == 0 && (state == TARN__MPMC_TAKE || state == TARN__MPMC_RETRY ||
					    state == TARN__MPMC_DONE));
}

/* As many items as may be between tail and head? */
static inline bool tarn__mpmc_at_limit(const struct tarn__mpmc *q, uint64_t turn)
{
	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		uint64_t h = tarn__load_acquire(&q->head->turn);

		/* Beyond @turn: that is another's by now, which the claim will find out. */
		if ((int64_t)(turn - h) < (int64_t)q->limit)
			return false;
		if (!tarn__mpmc_head_lags(q, h))
			return true;
		tarn__mpmc_help(&q->head->turn, h);
	}
	return true;
}

/* ---- producers ---- */

/* Claims the next slot for q->me. */
static inline enum tarn__mpmc_result tarn__mpmc_claim(const struct tarn__mpmc *q,
						      uint64_t *ret_turn, uint64_t **ret_slot)
{
	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		/* SYNC mpmc-hint, acquire: only a hint, but a run that it reaches exists. */
		uint64_t t = tarn__load_acquire(&q->tail->turn);
		uint64_t *slot = tarn__mpmc_slot(q, t), seen;

		if (tarn__unlikely(slot == NULL)) {
			if (tarn__load_acquire(&q->tail->turn) != t)
				continue;
			return TARN__MPMC_RUN;
		}
		seen = tarn__mpmc_look(slot);
		int64_t ahead = tarn__mpmc_ahead(seen, t);

		if (ahead == 0 && tarn__mpmc_state(seen) == TARN__MPMC_FREE) {
			if (q->limit != 0 && tarn__mpmc_at_limit(q, t))
				return TARN__MPMC_AGAIN;
			if (!tarn__mpmc_swap(slot, seen,
					     tarn__mpmc_word(t, TARN__MPMC_CLAIM, q->me)))
				continue;
			tarn__mpmc_help(&q->tail->turn, t);
			*ret_turn = t;
			*ret_slot = slot;
			return TARN__MPMC_OK;
		}
		if (ahead >= 0)
			tarn__mpmc_help(&q->tail->turn, t);
		else if (tarn__load_acquire(&q->tail->turn) == t)
			return TARN__MPMC_AGAIN;
	}
	return TARN__MPMC_AGAIN;
}

/* The slot is filled. False: the server took it away (this client counts as dead). */
static inline bool tarn__mpmc_publish(const struct tarn__mpmc *q, uint64_t *slot, uint64_t turn)
{
	return tarn__mpmc_swap(slot, tarn__mpmc_word(turn, TARN__MPMC_CLAIM, q->me),
			       tarn__mpmc_word(turn, TARN__MPMC_FULL, q->me));
}
/* It will not be. */
static inline bool tarn__mpmc_abandon(const struct tarn__mpmc *q, uint64_t *slot, uint64_t turn)
{
	return tarn__mpmc_swap(slot, tarn__mpmc_word(turn, TARN__MPMC_CLAIM, q->me),
			       tarn__mpmc_word(turn, TARN__MPMC_TOMB, 0));
}

/* ---- consumers ---- */

/* Takes the next item for q->me. */
static inline enum tarn__mpmc_result tarn__mpmc_take(const struct tarn__mpmc *q,
						     uint64_t *ret_turn, uint64_t **ret_slot)
{
	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		uint64_t h = tarn__load_acquire(&q->head->turn);
		uint64_t *slot = tarn__mpmc_slot(q, h), seen;

		if (tarn__unlikely(slot == NULL)) {
			if (tarn__load_acquire(&q->head->turn) != h)
				continue;
			return TARN__MPMC_AGAIN;
		}
		seen = tarn__mpmc_look(slot);
		int64_t ahead = tarn__mpmc_ahead(seen, h);
		enum tarn__mpmc_state state = tarn__mpmc_state(seen);

		if (ahead == 0 && state == TARN__MPMC_FULL) {
			if (!tarn__mpmc_swap(slot, seen,
					     tarn__mpmc_word(h, TARN__MPMC_TAKE, q->me)))
				continue;
			tarn__mpmc_help(&q->head->turn, h);
			*ret_turn = h;
			*ret_slot = slot;
			return TARN__MPMC_OK;
		}
		if (ahead == 0 && state == TARN__MPMC_TOMB) {
			tarn__mpmc_swap(slot, seen, tarn__mpmc_over(q, h));
			continue;
		}
		if (ahead > 0 || (ahead == 0 && state != TARN__MPMC_FREE &&
				  state != TARN__MPMC_CLAIM)) {
			tarn__mpmc_help(&q->head->turn, h);
			continue;
		}
		if (tarn__load_acquire(&q->head->turn) != h)
			continue;
		return ahead == 0 && state == TARN__MPMC_CLAIM ? TARN__MPMC_BUSY
							       : TARN__MPMC_AGAIN;
	}
	return TARN__MPMC_AGAIN;
}

/* The lowest turn below @end that can have a slot, from @from on. */
static inline uint64_t tarn__mpmc_least(const struct tarn__mpmc *q, uint64_t from, uint64_t end)
{
	uint64_t most = q->run != NULL ? q->n * q->runs : q->n;

	return end - from > most ? end - most : from;
}

/* What would tarn__mpmc_take() say? For who looks without taking. */
static inline enum tarn__mpmc_result tarn__mpmc_peek(const struct tarn__mpmc *q)
{
	uint64_t h = tarn__load_acquire(&q->head->turn), tail = tarn__load_acquire(&q->tail->turn);

	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++, h++) {
		const uint64_t *slot = tarn__mpmc_slot(q, h);
		uint64_t seen = slot != NULL ? tarn__mpmc_look(slot) : 0;
		int64_t ahead = slot != NULL ? tarn__mpmc_ahead(seen, h) : -1;
		enum tarn__mpmc_state state = tarn__mpmc_state(seen);

		if (ahead == 0 && state == TARN__MPMC_FULL)
			return TARN__MPMC_OK;
		if (ahead == 0 && state == TARN__MPMC_CLAIM)
			return TARN__MPMC_BUSY;
		/* Behind what was tombs, or taken by others meanwhile, is perhaps one. */
		if (ahead < 0 || (ahead == 0 && state == TARN__MPMC_FREE) || (int64_t)(tail - h) < 0)
			return TARN__MPMC_AGAIN;
	}
	return TARN__MPMC_AGAIN;
}

/* The slot of the first item from @*turn on, up to @head, that is to be delivered again; NULL: there is none. */
static inline uint64_t *tarn__mpmc_next_retry(const struct tarn__mpmc *q, uint64_t *turn, uint64_t head)
{
	for (; (int64_t)(head - *turn) >= 0; ++*turn) {
		uint64_t *slot = tarn__mpmc_slot(q, *turn);
		uint64_t seen = slot != NULL ? tarn__mpmc_look(slot) : 0;

		if (slot == NULL)
			*turn += q->n - 1 - *turn % q->n; /* the whole run is over */
		else if (seen == tarn__mpmc_word(*turn, TARN__MPMC_RETRY, 0))
			return slot;
	}
	return NULL;
}

/* An item that a dead consumer had: from @from on, up to head, which it may not have moved on. AGAIN: there
 * is none. */
static inline enum tarn__mpmc_result tarn__mpmc_retake(const struct tarn__mpmc *q, uint64_t from,
						       uint64_t *ret_turn, uint64_t **ret_slot)
{
	/* SYNC mpmc-hint, acquire: only a hint, but runs up to it exist. */
	uint64_t head = tarn__load_acquire(&q->head->turn), *slot;

	for (uint64_t t = tarn__mpmc_least(q, from, head);
	     (slot = tarn__mpmc_next_retry(q, &t, head)) != NULL; t++) {
		if (tarn__mpmc_swap(slot, tarn__mpmc_word(t, TARN__MPMC_RETRY, 0),
				    tarn__mpmc_word(t, TARN__MPMC_TAKE, q->me))) {
			*ret_turn = t;
			*ret_slot = slot;
			return TARN__MPMC_OK;
		}
	}
	return TARN__MPMC_AGAIN;
}

/* How many of these there are; no more than @most are counted. */
static inline uint64_t tarn__mpmc_retries(const struct tarn__mpmc *q, uint64_t from, uint64_t most)
{
	/* SYNC mpmc-hint, acquire: as above. */
	uint64_t head = tarn__load_acquire(&q->head->turn), n = 0;

	for (uint64_t t = tarn__mpmc_least(q, from, head);
	     n < most && tarn__mpmc_next_retry(q, &t, head) != NULL; t++)
		n++;
	return n;
}

/* The item is read, or done. False: the server took it away. */
static inline bool tarn__mpmc_release(const struct tarn__mpmc *q, uint64_t *slot, uint64_t turn)
{
	return tarn__mpmc_swap(slot, tarn__mpmc_word(turn, TARN__MPMC_TAKE, q->me),
			       tarn__mpmc_over(q, turn));
}

/* ---- the server: what a dead client was at ---- */

/*
 * Repairs one slot if @dead is at it. Returns what it was at, CLAIM or TAKE, with the turn's low 48
 * bits in @ret_turn; else FREE. @retry: what it had taken is for another one.
 */
static inline enum tarn__mpmc_state tarn__mpmc_repair(const struct tarn__mpmc *q, uint64_t *slot,
						      uint32_t dead, bool retry,
						      uint64_t *ret_turn)
{
	uint64_t seen = tarn__mpmc_look(slot), turn = seen >> 16;
	enum tarn__mpmc_state state = tarn__mpmc_state(seen);
	uint64_t now = state == TARN__MPMC_CLAIM ? tarn__mpmc_word(turn, TARN__MPMC_TOMB, 0)
		       : retry ? tarn__mpmc_word(turn, TARN__MPMC_RETRY, 0)
			       : tarn__mpmc_over(q, turn);

	if ((state != TARN__MPMC_CLAIM && state != TARN__MPMC_TAKE) ||
	    tarn__mpmc_owner(seen) != dead || !tarn__mpmc_swap(slot, seen, now))
		return TARN__MPMC_FREE;
	*ret_turn = turn;
	return state;
}

/* ---- what is done ---- */

/* The first turn from @t on, below @end, whose item is not done; @end if there is none. @but_mine: what
 * q->me has in its hands counts as done. */
static inline uint64_t tarn__mpmc_first_open(const struct tarn__mpmc *q, uint64_t t, uint64_t end,
					     bool but_mine)
{
	for (; (int64_t)(end - t) > 0; t++) {
		const uint64_t *slot = tarn__mpmc_slot(q, t);
		uint64_t seen = slot != NULL ? tarn__mpmc_look(slot) : 0;

		if (slot == NULL) {
			t += q->n - 1 - t % q->n; /* its run was over */
			continue;
		}
		if (tarn__mpmc_ahead(seen, t) > 0 || tarn__mpmc_state(seen) == TARN__MPMC_DONE ||
		    tarn__mpmc_state(seen) == TARN__MPMC_TOMB)
			continue;
		if (!but_mine || seen != tarn__mpmc_word(t, TARN__MPMC_TAKE, q->me))
			return t;
	}
	return t;
}

/* Is nothing left of the items below tail? Moves low on; @ret_at is where it stands. */
static inline bool tarn__mpmc_settled(const struct tarn__mpmc *q, uint64_t *ret_at)
{
	/* SYNC mpmc-hint, acquire: all runs below exist. SYNC low, acquire: below it all is done, and what
	 * those did who had it is seen. */
	uint64_t tail = tarn__load_acquire(&q->tail->turn);
	uint64_t low = tarn__load_acquire(&q->head->low);
	uint64_t t = tarn__mpmc_first_open(q, tarn__mpmc_least(q, low, tail), tail, false);

	if (t != low)
		/* SYNC low, release: we saw them done, by SYNC mpmc. Relaxed on failure: somebody else looked, too. */
		__atomic_compare_exchange_n(&q->head->low, &low, t, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	*ret_at = t;
	return (int64_t)(tail - t) <= 0;
}

/* Is an item below tail not done, and not in the hands of q->me either? */
static inline bool tarn__mpmc_others_have(const struct tarn__mpmc *q)
{
	uint64_t tail = tarn__load_acquire(&q->tail->turn), at;

	return !tarn__mpmc_settled(q, &at) &&
	       (int64_t)(tail - tarn__mpmc_first_open(q, at, tail, true)) > 0;
}

#endif
