/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles (PROTOCOL 3.4). One per block and process, as a rule: what others were told of
 * is found in a sharded table, so that a second arrival of the same block makes no second
 * claim. What nobody was told of is in no table.
 *
 * A handle whose count has reached 0 may still be in its shard for a moment; whoever looks
 * it up passes over it and makes a new one. Each carries the units it stands for, so the
 * sum of what is released is right whichever of them a claim was booked on.
 */
#ifndef TARN_CLIENT_HANDLE_H
#define TARN_CLIENT_HANDLE_H

#include "lane.h"
#include "shm/hash.h"

int tarn__table_init(struct tarn_client *c);
void tarn__table_fini(struct tarn_client *c);

/* Memory for handles: per lane, exchanged through the client. NULL: out of memory. */
struct tarn_block *tarn__handle_new_slow(struct tarn__lane *l);
void tarn__handle_free_slow(struct tarn__lane *l);
void tarn__chunks_free(struct tarn_client *c);

static inline struct tarn_block *tarn__handle_new(struct tarn__lane *l)
{
	struct tarn_block *b = l->spare;

	if (tarn__unlikely(b == NULL))
		return tarn__handle_new_slow(l);
	l->spare = b->next;
	l->n_spare--;
	return b;
}
static inline void tarn__handle_free(struct tarn__lane *l, struct tarn_block *b)
{
	b->refs = 0;
	b->next = l->spare;
	l->spare = b;
	if (tarn__unlikely(++l->n_spare > 1024))
		tarn__handle_free_slow(l);
}

/* False: @id is surely in no handle of the table. Relaxed: a hint that spares the lock. Who
 * relies on it may miss a handle that is being entered just now: then it makes a claim of its
 * own, and merges. */
static inline bool tarn__table_maybe(const struct tarn_client *c, uint64_t id)
{
	return tarn__load32_relaxed(&c->shard[tarn__hash_pair(id, 0, 0) % TARN__SHARDS].n) != 0;
}

/* The handle of @id with one more reference, or NULL. */
struct tarn_block *tarn__table_find(struct tarn_client *c, uint64_t id);
/* Enters @b, unless another live handle of its id is there: then that one gets a
 * reference and @b's units, and is returned. */
struct tarn_block *tarn__table_merge(struct tarn_client *c, struct tarn_block *b);
/* Enters @b, which must not be listed. -ENOMEM never: a full shard only gets slower. */
void tarn__table_add(struct tarn_client *c, struct tarn_block *b);
/* Takes @b out and returns its units. */
uint32_t tarn__table_remove(struct tarn_client *c, struct tarn_block *b);

/* Sets SHARED and enters @b: before a message names it. The caller holds a reference. */
int tarn__handle_share(struct tarn__lane *l, struct tarn_block *b);

/* The right to hold one more id. -ENOBUFS when the server refuses. */
int tarn__hold_slow(struct tarn__lane *l);
static inline int tarn__hold_take(struct tarn__lane *l)
{
	if (tarn__unlikely(l->holds == 0)) {
		int r = tarn__hold_slow(l);

		if (r < 0)
			return r;
	}
	l->holds--;
	return 0;
}
void tarn__hold_return_slow(struct tarn__lane *l);
static inline void tarn__hold_return(struct tarn__lane *l)
{
	if (tarn__unlikely(++l->holds > 1024))
		tarn__hold_return_slow(l);
}

/* Fills a handle from DIR. False: the id does not stand for memory of this arena. */
bool tarn__handle_fill(struct tarn_client *c, struct tarn_block *b, uint64_t id, uint64_t size);

/* One reference less, whatever kind it is. */
void tarn__handle_drop(struct tarn_block *b);
/* The rest of it, when the count is 0 and the thread is inside @l. */
void tarn__handle_last(struct tarn__lane *l, struct tarn_block *b);
/* Settles what this thread has received and put off (channel-recv.c): what was dropped, or
 * all. Does not wait for room; false: something is left. */
bool tarn__lane_settle(struct tarn__lane *l, bool all);
/* One reference less, inside a call on @l. */
static inline void tarn__handle_put(struct tarn__lane *l, struct tarn_block *b)
{
	/* SYNC refs, as in tarn__handle_drop(). */
	uint64_t old = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);

	if ((old & REF_COUNT) != 1)
		return;
	if (old & REF_DEFERRED)
		tarn__lane_settle(l, false); /* it is the consumer's to finish; perhaps we are */
	else
		tarn__handle_last(l, b);
}

/* Of a channel (channel.c): closes its ends before its last claim goes; false: not now. And
 * frees its process-private part. */
bool tarn__channel_last(struct tarn__lane *l, struct tarn_block *b);
void tarn__channel_handle_free(struct tarn_block *b);

#endif
