/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel here: the handle, and for each end that this client has taken its place in
 * the ring. The ring's words are input: they are read once and bounded by what the
 * server said, never trusted.
 */
#ifndef TARN_CLIENT_CHANNEL_H
#define TARN_CLIENT_CHANNEL_H

#include "block.h"

/* One end. Used by one thread at a time. */
struct tarn__end {
	bool held;
	uint64_t slots;           /* of the ring: a power of two, by the server's word */
	uint64_t position;        /* producer: next to write; consumer: next to read */
	uint64_t head;            /* producer: last seen; consumer: last published */
	struct tarn__lane *lane;  /* posted the last message of this end: */
	uint64_t lane_life;       /* in that life of the lane, */
	uint64_t lane_tail;       /* up to this position */
	uint32_t naps;            /* sleeps so far: what "waiting" is set to */
	uint32_t woken;           /* the nap of the peer that we ended last */
	struct tarn__spin spin;
};

/* A received block whose RECV is not posted: its ticket protects it. */
struct tarn__deferred {
	struct tarn_block *block;
	uint64_t position;
};

struct tarn_channel {
	struct tarn_block base;   /* first: the table knows channels by it */
	struct tarn__channel_ring *ring;
	const struct tarn__dir_entry *dir;
	uint64_t capacity;        /* as its maker asked, for people */
	TARN__ALIGNED_LINE struct tarn__end producer;
	TARN__ALIGNED_LINE struct tarn__end consumer;
	/* Consumer's: a ring of as many entries as may be deferred. */
	struct tarn__deferred *deferred;
	uint64_t deferred_first, deferred_end;
	uint64_t deferred_room;   /* a power of two, or 0 */
	uint32_t streak;          /* items in a row that were there when we came, at most STREAK */
};

static inline struct tarn__deferred *tarn__deferred_at(const struct tarn_channel *ch, uint64_t n)
{
	return &ch->deferred[n & (ch->deferred_room - 1)];
}

/* The only reference to a block whose RECV is put off. */
#define REF_ONLY_DEFERRED (1 | REF_SHARED | REF_DEFERRED | REF_UNLISTED)

/* Drops @b, which is in no other hands (REF_ONLY_DEFERRED), by one ABSORB, if it is the oldest
 * that is put off and this thread's channel has it. False: nothing happened. */
bool tarn__deferred_drop(struct tarn__lane *l, struct tarn_block *b);

/* tarn_channel_unref() by what may be no whole channel: one that is lent to a method is not. */
void tarn__channel_drop(struct tarn_block *base);

static inline struct tarn_channel *tarn__channel_of_base(struct tarn_block *b)
{
	return tarn__container_of(b, struct tarn_channel, base);
}

/* The flags of DIR for this channel. */
static inline uint64_t tarn__channel_state(const struct tarn_channel *ch)
{
	/* SYNC dir, acquire: what an end published before it went is seen. */
	return tarn__load_acquire(&ch->dir->state);
}

/* Makes the handle of a channel of which this process has just got a claim, or finds the
 * one that it has; a hold was taken. The caller owns a reference. On failure the claim
 * is given back. */
int tarn__channel_adopt(struct tarn__lane *l, uint64_t id, struct tarn_channel **ret);
/* The same before the claim: a handle outside the table. NULL and a sentence: no channel,
 * or no memory. */
struct tarn_channel *tarn__channel_handle(struct tarn_client *c, uint64_t id);

/* Before a message of @end: makes sure that what other lanes posted for it is read. */
int tarn__end_lane_slow(struct tarn_channel *ch, struct tarn__end *end, struct tarn__lane *l);
static inline int tarn__end_lane(struct tarn_channel *ch, struct tarn__end *end,
				 struct tarn__lane *l)
{
	if (tarn__likely(end->lane == l && end->lane_life == l->life))
		return 0;
	return tarn__end_lane_slow(ch, end, l);
}

/* Posts RECV or ABSORB for whatever is deferred, then releases the slots. Waits so long for
 * room on the lane. */
int tarn__channel_settle(struct tarn_channel *ch, struct tarn__lane *l, int64_t timeout_ns);
/* The same as far as there is room now; false: something is left. */
bool tarn__channel_settle_now(struct tarn_channel *ch, struct tarn__lane *l);

/* What both waits share. @word: wake-up word of the peer, @waiting: ours. */
struct tarn__nap {
	struct tarn_channel *ch;
	struct tarn__end *end;
	const uint32_t *word;
	uint32_t *waiting;
	uint64_t gone;      /* DIR flag: the peer left */
	const uint32_t *left; /* in the ring: the peer says so */
	bool (*ready)(struct tarn_channel *ch);
};
/* Polls for a short while; true: ready. */
bool tarn__nap_spin(const struct tarn__nap *n);
/* Yields, then sleeps. 0 ready, -ETIMEDOUT (without a sentence), -TARN_ECLOSED, health. */
int tarn__nap(const struct tarn__nap *n, struct tarn__lane *l, uint64_t deadline);
/* Wakes the peer if it naps. After the word it waits for was stored. */
void tarn__nap_end(struct tarn__end *end, const uint32_t *waiting, uint32_t *word, bool fence);

#endif
