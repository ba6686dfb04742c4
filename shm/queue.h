/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue in shared memory: the instance of a tarn.Queue, and its slots (mpmc.h).
 *
 * The instance lies in DATA, the slots in a block that the queue holds. Items go from client to
 * client. What an item refers to is kept by the server: the producer posts a one-way call "stash"
 * that names turn and references, then publishes the slot. The consumer of blocks posts a one-way call
 * "take" for each, then releases the slot, and waits for nobody: the ids are in the slot. Of other things,
 * and where items are kept until they are done, it asks "taken" and waits. The server notes in the slot what
 * it keeps for an item as long as the slot is that item's, so that each reference is given or dropped
 * exactly once whoever dies.
 */
#ifndef TARN_SHM_QUEUE_H
#define TARN_SHM_QUEUE_H

#include "bell.h"
#include "mpmc.h"

#define TARN__QUEUE_KEEP 1u  /* an item's slot stays taken until the item is done */
#define TARN__QUEUE_RETRY 2u /* what dead consumers had not done is delivered again */
#define TARN__QUEUE_JOIN 4u  /* somebody may wait until all items are done */

struct tarn__queue {
	/* Written by the server, before anybody knows the queue. */
	uint32_t flags;         /* TARN__QUEUE_... */
	uint32_t stride;        /* bytes of a slot */
	uint64_t n;             /* slots of the ring, or of a run */
	uint64_t maxsize;       /* 0: no limit */
	uint64_t ring_id;       /* the block: slots of the ring, or the table of runs */
	uint64_t ring_offset;   /* where it lies */
	uint64_t runs;          /* entries of the table; 0: a ring */
	uint32_t options;       /* as the user gave them */
	uint32_t spare[3];

	struct tarn__mpmc_tail tail;
	struct tarn__mpmc_head head;

	/* Seldom written. */
	TARN__ALIGNED_LINE uint32_t closed; /* by anybody: nothing more is put */
	uint32_t spare2;
	uint64_t retries;       /* SYNC retry: items to be delivered again, tarn__retries_word(); by
				 * the server, and consumers who take or do not find them */
	uint64_t retry_from;    /* by the server: none of them is below */
	uint64_t lost;          /* by the server: items that were dropped with their consumers, so far */
	uint64_t runs_made;     /* by the server: blocks it holds for slots */
	uint64_t grown;         /* by the server: runs linked so far */
	uint64_t oldest;        /* by the server: no run is below */
	uint64_t again;         /* by the server: items that became RETRY, so far */

	TARN__ALIGNED_LINE struct tarn__bell items; /* rung when one is put */
	struct tarn__bell space; /* when one is taken */
	struct tarn__bell done;  /* when one is done */
	uint64_t lost_told;      /* by joiners: so many of the lost one of them has been told of */
	uint64_t looked_to;      /* by the server: a run; where it goes on looking for one that is over. A hint */
	uint64_t spare4[3];

	/* SYNC user: a bit for each client that may be at a slot. Set by itself before it looks
	 * for one; cleared by the server, which looks at slots only if it is set. */
	TARN__ALIGNED_LINE uint64_t user[TARN__MPMC_OWNERS / 64];
};
static_assert(sizeof(struct tarn__queue) == 5 * 64 + TARN__MPMC_OWNERS / 8, "lines");
static_assert(offsetof(struct tarn__queue, user) == 5 * 64, "users");
static_assert(offsetof(struct tarn__queue, tail) == 64, "producers' line");
static_assert(offsetof(struct tarn__queue, head) == 128, "consumers' line");
static_assert(offsetof(struct tarn__queue, closed) == 192, "seldom written");
static_assert(offsetof(struct tarn__queue, items) == 256, "bells");

#define TARN__QUEUE_SLOTS_MAX (UINT64_C(1) << 22) /* items that a queue can be asked to take */
#define TARN__QUEUE_RING_MAX 16384u /* slots of a ring: the server looks at all when a user dies */
#define TARN__QUEUE_STRIDE_MAX 8192u
#define TARN__QUEUE_STRIDE 256u
#define TARN__QUEUE_RUN 512u           /* slots of a run */
#define TARN__QUEUE_RUNS 4096u         /* so many runs at a time */
#define TARN__QUEUE_REFS 14u           /* references of an item, its own block included */

/* Says that @client uses the queue. */
static inline void tarn__queue_use(struct tarn__queue *q, uint32_t client)
{
	uint64_t *word = &q->user[client / 64 % (TARN__MPMC_OWNERS / 64)];
	uint64_t bit = UINT64_C(1) << client % 64;

	/* Relaxed: our own bit; the server looks when we are gone. */
	if (tarn__unlikely((tarn__load_relaxed(word) & bit) == 0))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
}

/* Rounds of who changes a word that any client can write to. Others that have a reason to change it end a round
 * each, and are not that many; one that has none is not waited for. */
#define TARN__QUEUE_TRIES 1000u

/* How many; a generation, so that who found none can say so unless there are new ones. */
static inline uint64_t tarn__retries_word(uint64_t generation, uint64_t n)
{
	return generation << 32 | (n & 0xffffffff);
}

struct tarn__queue_slot {
	uint64_t word;      /* SYNC mpmc: see mpmc.h */
	uint64_t stash;     /* by the server: tarn__stash_word() when it has the references */
	uint64_t head;      /* by the owner: tarn__item_head(); by the server when it dies: losses */
	uint64_t payload[]; /* words of values, then id and second word of each reference */
};
static_assert(offsetof(struct tarn__queue_slot, payload) == 24, "three words");

#define TARN__ITEM_SPILLED 1u /* the values lie in the first reference, a block */

static inline uint64_t tarn__item_head(uint32_t words, unsigned values, unsigned refs, unsigned flags)
{
	return (uint64_t)words | (uint64_t)values << 32 | (uint64_t)refs << 40 |
	       (uint64_t)flags << 48;
}
static inline uint32_t tarn__item_words(uint64_t h) { return (uint32_t)h; }
static inline unsigned tarn__item_values(uint64_t h) { return (unsigned)(h >> 32 & 0xff); }
static inline unsigned tarn__item_refs(uint64_t h) { return (unsigned)(h >> 40 & 0xff); }
static inline unsigned tarn__item_flags(uint64_t h) { return (unsigned)(h >> 48 & 0xff); }
/* How many consumers died with the item; it stays at 255. */
static inline unsigned tarn__item_losses(uint64_t h) { return (unsigned)(h >> 56); }
static inline uint64_t tarn__item_lost_once_more(uint64_t h)
{
	return tarn__item_losses(h) == 255 ? h : h + (UINT64_C(1) << 56);
}

/* Words of payload that a slot has room for. */
static inline uint32_t tarn__item_room(uint32_t stride)
{
	return (stride - (uint32_t)offsetof(struct tarn__queue_slot, payload)) / 8;
}

/* Never 0: the number of references is not. */
#define TARN__STASH_FAILED 0x3fu /* of references: they could not be kept */
/* Of references: so many of them were taken, and the producer's message was not read yet. */
#define TARN__STASH_TAKEN 0x80u
/* Beside 0 references: its consumer was given them, or could not read it; or all that went with the item's dead owner
 * is gone, and counted, and its slot may be another's. */
#define TARN__STASH_GONE 0x40u
static_assert(TARN__QUEUE_REFS < TARN__STASH_FAILED && TARN__STASH_FAILED < TARN__STASH_GONE, "apart");
static inline uint64_t tarn__stash_word(uint64_t turn, unsigned refs)
{
	return turn << 8 | refs;
}
/* The references kept for @turn; 0: none (yet). */
static inline unsigned tarn__stash_refs(uint64_t word, uint64_t turn)
{
	return word >> 8 == (turn & UINT64_C(0xffffffffffffff)) ? (unsigned)(word & 0xff) : 0;
}

/*
 * Copies what describes the slots, and checks it: other clients can write there. @data: where DATA
 * is mapped. False: it cannot be.
 */
static inline bool tarn__queue_view(struct tarn__queue *q, unsigned char *data, uint64_t bytes,
				    uint32_t me, struct tarn__mpmc *ret)
{
	/* Relaxed: constant since before this client knew the queue. */
	uint64_t n = tarn__load_relaxed(&q->n), at = tarn__load_relaxed(&q->ring_offset);
	uint64_t runs = tarn__load_relaxed(&q->runs);
	uint32_t stride = tarn__load32_relaxed(&q->stride);
	uint64_t span = runs == 0 ? n * stride : runs * sizeof(struct tarn__mpmc_run);

	if (tarn__unlikely(n - 1 >= TARN__QUEUE_SLOTS_MAX || stride % TARN__LINE != 0 ||
			   stride - TARN__LINE > TARN__QUEUE_STRIDE_MAX - TARN__LINE ||
			   runs > TARN__QUEUE_RUNS || (runs & (runs - 1)) != 0 ||
			   /* All runs can be one large block, which is hours of work. */
			   (runs != 0 && n > TARN__QUEUE_RUN) ||
			   at % TARN__LINE != 0 || at > bytes || bytes - at < span))
		return false;
	ret->tail = &q->tail;
	ret->head = &q->head;
	ret->n = n;
	ret->stride = stride;
	ret->me = me;
	ret->runs = runs;
	ret->bytes = bytes;
	if (tarn__likely(runs == 0)) {
		ret->base = data + at;
		ret->run = NULL;
		ret->limit = 0;
	} else {
		ret->base = data;
		ret->run = (const struct tarn__mpmc_run *)(const void *)(data + at);
		ret->limit = tarn__load_relaxed(&q->maxsize);
	}
	return true;
}

#endif
