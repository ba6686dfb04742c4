/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items of queues and topics on the client's side: from a builder into a slot, from a slot into a parcel.
 *
 * Without references that is copying some words. With them, the producer has a message "stash" for the
 * server ready before it claims a slot, and posts it between claim and publication; nothing in
 * between can wait or fail.
 */
#ifndef TARN_TYPES_QUEUE_ITEM_H
#define TARN_TYPES_QUEUE_ITEM_H

#include "lib/client/call.h"
#include "queue.h"

struct tarn__item_out {
	struct tarn__payload payload;   /* the values */
	struct tarn__message_out stash; /* set if there are references */
	struct tarn_block *spill;       /* the block with the values; NULL: they go into the slot */
	unsigned n_refs;                /* of the slot */
	unsigned refs_at;               /* word of stash where their ids begin */
};

/* Makes @item ready for slots with @room words for values and up to @most references. @timeout_ns is what its
 * caller may wait. -E2BIG, -ENOMEM, -ETIMEDOUT the server hangs, as tarn__message_build(). If it succeeds:
 * tarn__item_end(). */
int tarn__item_begin(struct tarn_object *queue, uint32_t room, unsigned most,
		     const tarn_builder *item, int64_t timeout_ns, struct tarn__item_out *ret);
void tarn__item_end(struct tarn__item_out *item);
/* Puts it into the slot of @turn, which the caller has claimed. @l: entered, with room for the stash;
 * NULL: there are no references. */
void tarn__item_write(struct tarn__lane *l, const struct tarn__item_out *item, uint64_t turn,
		      struct tarn__queue_slot *slot);

/* Posts that the item of @turn has no references, where another's had some; as tarn__item_write(). */
void tarn__item_clear(struct tarn__lane *l, struct tarn_object *queue, uint64_t turn);

/* Reads the item of @turn into @ret, its references with the help of the server. @take: the slot is taken by
 * this client, and is to be released next: blocks are taken without waiting. 1: the server says
 * that it is another's by now (topics). -ENOMEM, -TARN_EPROTO the slot holds no item, -TARN_EREMOTE */
int tarn__item_read(struct tarn_object *queue, const struct tarn__queue_slot *slot, uint32_t room,
		    uint64_t turn, bool take, tarn_parcel *ret);

/* Of an item that is taken and cannot be read, because this client is evicted: what it refers to becomes the
 * client's, as far as it is blocks, and is the queue's no more. @l: entered. As tarn__lane_prepare(); on failure it
 * is the queue's. */
int tarn__item_leave(struct tarn__lane *l, struct tarn_object *queue, const struct tarn__queue_slot *slot,
		     uint32_t room, uint64_t turn);

#endif
