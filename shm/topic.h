/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic in shared memory: a ring that publishers fill and all subscribers read.
 *
 * A slot is claimed and published as a queue's (mpmc.h), but nobody takes it: turn t overwrites turn
 * t - n, in one step from FULL to CLAIM. Subscribers have a cursor each. One that must not miss
 * anything holds publishers up: none claims a turn that overwrites what its cursor has not passed.
 * Others may be overrun: they copy, look at the word again, and if it is another turn's go on with
 * the oldest there is.
 *
 * What items refer to is kept by the server per slot, with the ids in a part of the slot that it
 * alone writes: until its turn is overwritten, or the topic ends. A publisher that overwrites a
 * slot with references, or has some, posts "stash" as for queues.
 */
#ifndef TARN_SHM_TOPIC_H
#define TARN_SHM_TOPIC_H

#include "queue.h"

#define TARN__TOPIC_SUBSCRIBERS 64u
#define TARN__TOPIC_PUBLISHERS 64u
#define TARN__TOPIC_LEFT 0x80000000u
#define TARN__TOPIC_REFS 12u
#define TARN__TOPIC_STRIDE 384u
#define TARN__TOPIC_SLOTS_MAX 65536u

struct tarn__topic_reader {
	/* SYNC cursor: the next turn to be read; by the subscriber, at first by the server. */
	TARN__ALIGNED_LINE uint64_t cursor;
	uint32_t client;   /* by the server: 0: nobody */
	uint32_t blocks;   /* by the server: publishers wait for it */
	uint64_t number;   /* by the server: of the subscription; never used again */
	uint64_t spare[5];
};
static_assert(sizeof(struct tarn__topic_reader) == 64, "a line");
static_assert(offsetof(struct tarn__topic_reader, client) == 8, "client and blocks: a word of the server's");

struct tarn__topic {
	/* Written by the server, before anybody knows the topic. */
	uint32_t stride;
	uint32_t keep;          /* items that late subscribers get at most */
	uint64_t n;             /* slots */
	uint64_t ring_id;
	uint64_t ring_offset;
	uint64_t spare[4];

	struct tarn__mpmc_tail tail;

	/* Seldom written. */
	TARN__ALIGNED_LINE uint64_t gate; /* SYNC gate: tarn__topic_gate(): no cursor that blocks is
				 * below its turn. Raised by publishers, lowered by the server */
	uint32_t closed;        /* by anybody */
	uint32_t died;          /* by the server: publishers that died */
	uint64_t subscriptions; /* by the server: so far */
	uint64_t deaths;        /* by the server, for itself: what died is to be */
	uint64_t spare2[4];

	TARN__ALIGNED_LINE struct tarn__bell items; /* rung when one is published */
	struct tarn__bell space; /* when a cursor that blocks moves */
	uint64_t spare3[6];

	uint32_t publisher[TARN__TOPIC_PUBLISHERS]; /* by the server: clients; 0: none. With
						     * TARN__TOPIC_LEFT: it said good-bye */
	struct tarn__topic_reader reader[TARN__TOPIC_SUBSCRIBERS];
};
static_assert(offsetof(struct tarn__topic, tail) == 64, "publishers' line");
static_assert(offsetof(struct tarn__topic, gate) == 128, "seldom written");
static_assert(offsetof(struct tarn__topic, items) == 192, "bells");
static_assert(offsetof(struct tarn__topic, publisher) == 256, "who publishes");
static_assert(offsetof(struct tarn__topic, reader) == 512, "who reads");
static_assert(sizeof(struct tarn__topic) == 512 + 64 * 64, "all");

/* A slot is a struct tarn__queue_slot whose last words are the server's. */
static inline uint64_t *tarn__topic_ids(struct tarn__queue_slot *s, uint32_t stride)
{
	return (uint64_t *)(void *)((unsigned char *)s + stride) - TARN__TOPIC_REFS;
}
static inline uint32_t tarn__topic_room(uint32_t stride)
{
	return tarn__item_room(stride) - TARN__TOPIC_REFS;
}

/* One process's view; checked as tarn__queue_view(). head of m is not used. */
static inline bool tarn__topic_view(struct tarn__topic *t, unsigned char *data, uint64_t bytes,
				    uint32_t me, struct tarn__mpmc *ret)
{
	/* Relaxed: constant since before this client knew the topic. */
	uint64_t n = tarn__load_relaxed(&t->n), at = tarn__load_relaxed(&t->ring_offset);
	uint32_t stride = tarn__load32_relaxed(&t->stride);

	if (tarn__unlikely(n - 1 >= TARN__TOPIC_SLOTS_MAX || stride % TARN__LINE != 0 ||
			   stride < 3 * TARN__LINE || stride > TARN__QUEUE_STRIDE_MAX ||
			   at % TARN__LINE != 0 || at > bytes || bytes - at < n * stride))
		return false;
	*ret = (struct tarn__mpmc){ .tail = &t->tail, .base = data + at, .n = n, .stride = stride,
				    .me = me, .bytes = bytes };
	return true;
}

/*
 * The gate: a turn, and the number of the subscription for which the server lowered it last. Who raises
 * it has looked at cursors before, and must fail if a subscriber has come since, even one for whom the
 * turn is the same as it was.
 */
static inline uint64_t tarn__topic_gate(uint64_t turn, uint64_t number)
{
	return turn << 16 | (number & 0xffff);
}
/* Is @turn below the gate's? Modulo 2^48. */
static inline bool tarn__topic_below(uint64_t turn, uint64_t gate)
{
	return (int64_t)((turn << 16) - (gate & ~UINT64_C(0xffff))) < 0;
}

/* The server: a subscriber that blocks begins at @turn; its cursor is written. @number: which one. */
static inline void tarn__topic_lower(struct tarn__topic *t, uint64_t turn, uint64_t number)
{
	/* SYNC gate, sequentially consistent: a publisher that found it higher had read the tail
	 * before, so the tail that we read next is as far at least. */
	__atomic_exchange_n(&t->gate, tarn__topic_gate(turn, number), __ATOMIC_SEQ_CST);
}

/* The lowest cursor of those that block; @turn if there are none. */
static inline uint64_t tarn__topic_lowest(const struct tarn__topic *t, uint64_t turn)
{
	uint64_t least = turn;

	for (unsigned k = 0; k < TARN__TOPIC_SUBSCRIBERS; k++) {
		const struct tarn__topic_reader *r = &t->reader[k];

		if (tarn__load32_relaxed(&r->client) == 0 || tarn__load32_relaxed(&r->blocks) == 0)
			continue;
		/* SYNC cursor, acquire: its owner has read what is below. */
		uint64_t cursor = tarn__load_acquire(&r->cursor);

		if ((int64_t)(cursor - least) < 0)
			least = cursor;
	}
	return least;
}

/* May turn @turn be claimed, as far as those who block are concerned? */
static inline bool tarn__topic_may(struct tarn__topic *t, uint64_t n, uint64_t turn)
{
	/* SYNC gate, acquire: whoever raised it saw the cursors. */
	uint64_t gate = tarn__load_acquire(&t->gate), least;

	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		if (tarn__likely(tarn__topic_below(turn - n, gate)))
			return true;
		least = tarn__topic_lowest(t, turn);
		if ((int64_t)(turn - n - least) >= 0)
			return false;
		/* Fails if another raised it, or the server lowered it for a new subscriber: then it
		 * is believed, or the cursors are looked at, again. */
		if (__atomic_compare_exchange_n(&t->gate, &gate, tarn__topic_gate(least, gate), false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
	}
	return false;
}

/* Claims the next turn for m->me, over the oldest item. AGAIN: a subscriber is behind, or a publisher
 * a whole lap ago has not finished (BUSY). */
static inline enum tarn__mpmc_result tarn__topic_claim(struct tarn__topic *t,
						       const struct tarn__mpmc *m,
						       uint64_t *ret_turn, uint64_t **ret_slot)
{
	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		uint64_t turn = tarn__load_acquire(&m->tail->turn);
		uint64_t *slot = tarn__mpmc_slot(m, turn), seen = tarn__mpmc_look(slot);
		int64_t ahead = tarn__mpmc_ahead(seen, turn);
		enum tarn__mpmc_state state = tarn__mpmc_state(seen);

		if ((ahead == 0 && state == TARN__MPMC_FREE) ||
		    (ahead < 0 && (state == TARN__MPMC_FULL || state == TARN__MPMC_TOMB))) {
			if (!tarn__topic_may(t, m->n, turn)) {
				if (tarn__load_acquire(&m->tail->turn) == turn)
					return TARN__MPMC_AGAIN;
				continue;
			}
			if (!tarn__mpmc_swap(slot, seen,
					     tarn__mpmc_word(turn, TARN__MPMC_CLAIM, m->me)))
				continue;
			/* SYNC overrun, release: a fence, for the item is written by relaxed stores. A
			 * subscriber that read one of them sees the claim when it looks again. */
			__atomic_thread_fence(__ATOMIC_RELEASE);
			tarn__mpmc_help(&m->tail->turn, turn);
			*ret_turn = turn;
			*ret_slot = slot;
			return TARN__MPMC_OK;
		}
		if (ahead >= 0)
			tarn__mpmc_help(&m->tail->turn, turn);
		else if (tarn__load_acquire(&m->tail->turn) == turn)
			return TARN__MPMC_BUSY;
	}
	return TARN__MPMC_AGAIN;
}

#endif
