/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels: references from one client to another, without the server on the path.
 *
 * A channel is a ring in the arena with one producer and one consumer end, each taken
 * once by one client. What is sent is a reference to a block (or to a channel) and
 * one 64-bit word of the user's; the block's bytes stay where they are. A reference in
 * a channel keeps its block alive; if an end dies, what was on its way is released.
 *
 * Threads: one thread at a time per end.
 */
#ifndef TARN_CHANNEL_H
#define TARN_CHANNEL_H

#include "block.h"

TARN_BEGIN

typedef struct tarn_channel tarn_channel;

enum tarn_channel_end {
	TARN_PRODUCER = 1,
	TARN_CONSUMER = 2,
};

/*
 * Makes a channel of at least @capacity slots (rounded up to a power of two, at most
 * 2^20). @name (at most 63 bytes, NULL for none) lets others find it. The caller owns a
 * reference to the channel; no end is taken yet.
 * -EINVAL, -EEXIST the name is taken, -ENOMEM.
 */
TARN_EXPORT int tarn_channel_new(tarn_client *client, size_t capacity, const char *name,
				 tarn_channel **ret_channel);

/* Finds a channel by name, waiting up to @timeout_ns for it to appear. -ENOENT or
 * -ETIMEDOUT if it does not. */
TARN_EXPORT int tarn_channel_open(tarn_client *client, const char *name, int64_t timeout_ns,
				  tarn_channel **ret_channel);

/*
 * Takes an end for this client. An end is taken once: -EBUSY if anybody has or had it.
 * An end is given up with tarn_channel_close() or by death.
 */
TARN_EXPORT int tarn_channel_bind(tarn_channel *channel, enum tarn_channel_end end);

TARN_EXPORT tarn_channel *tarn_channel_ref(tarn_channel *channel);
/* Drops a reference; ends that are still taken are closed with the last one. NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_channel *tarn_channel_unref(tarn_channel *channel);
TARN_EXPORT uint64_t tarn_channel_id(const tarn_channel *channel);
TARN_EXPORT size_t tarn_channel_capacity(const tarn_channel *channel);

/*
 * Sends a reference to @block with the word @tag. The caller keeps its own reference;
 * tarn_channel_give() sends and drops it in one step (on failure the caller still owns it).
 * Blocks while the ring is full, up to @timeout_ns.
 * -ETIMEDOUT, -TARN_ECLOSED the consumer is gone, -EPERM this client is not the producer.
 */
TARN_EXPORT int tarn_channel_send(tarn_channel *channel, tarn_block *block, uint64_t tag,
				  int64_t timeout_ns);
TARN_EXPORT int tarn_channel_give(tarn_channel *channel, tarn_block *block, uint64_t tag,
				  int64_t timeout_ns);
/* Sends a reference to another channel. */
TARN_EXPORT int tarn_channel_send_channel(tarn_channel *channel, tarn_channel *sent,
					  uint64_t tag, int64_t timeout_ns);

/*
 * Takes the next item. The caller owns the reference in @ret_block. @ret_tag may be NULL.
 * -ETIMEDOUT nothing came, -TARN_ECLOSED empty and the producer is gone, -EPERM not the
 * consumer, -TARN_EKIND the next item is a channel (it stays: tarn_channel_recv_channel).
 */
TARN_EXPORT int tarn_channel_recv(tarn_channel *channel, tarn_block **ret_block,
				  uint64_t *ret_tag, int64_t timeout_ns);
TARN_EXPORT int tarn_channel_recv_channel(tarn_channel *channel, tarn_channel **ret_channel,
					  uint64_t *ret_tag, int64_t timeout_ns);

/* Gives up the end(s) that this client has taken. What a producer sent stays to be read. */
TARN_EXPORT int tarn_channel_close(tarn_channel *channel);

/* For TARN_AUTO(tarn_channel). */
static inline void tarn_channel_auto(tarn_channel **channel)
{
	tarn_channel_unref(*channel);
}

TARN_END

#endif
