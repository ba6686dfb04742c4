/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's end.
 *
 * Order of one send: SEND on the lane (I3), the slot's words, the ring's tail, the slot's
 * mark. The tail is for the server: when the producer is dead, positions below it may have
 * been seen by the consumer and keep their tickets. So the tail goes first: a producer
 * killed between the two leaves a position that counts as sent and is never read, not one
 * that is read and does not count. The consumer goes by the mark.
 */
#include "tarn/channel.h"

#include "lib/probe.h"
#include "object.h"

struct item {
	uint64_t id, flags, size, offset, length, tag;
	uint64_t hint;  /* where in DATA its bytes begin, if known */
	uint64_t units; /* given up with it */
};

static bool has_room(struct tarn_channel *ch)
{
	struct tarn__end *end = &ch->producer;
	/* SYNC slot-free, acquire: the consumer has read what it released. */
	uint64_t head = tarn__load_acquire(&ch->ring->head);

	/* The consumer's word: only forward, and not beyond what was sent. */
	if (head - end->head <= end->position - end->head)
		end->head = head;
	return end->position - end->head < end->slots;
}

static int fail_send(struct tarn_channel *ch, int r, int64_t timeout_ns)
{
	if (r == -TARN_ECLOSED)
		return tarn__fail(r, "The consumer of this channel is gone.");
	if (r != -ETIMEDOUT)
		return r;
	if (timeout_ns == 0)
		return tarn__fail_static(r, "The channel is full.");
	return tarn__fail(r, "The channel stayed full (%llu slots) for the time allowed.",
			  (unsigned long long)ch->producer.slots);
}

/* Everything that can fail or wait: a place in the ring, a place on the lane. */
static int prepare(struct tarn_channel *ch, struct tarn__lane *l, int64_t timeout_ns)
{
	struct tarn__end *end = &ch->producer;
	int r;

	if (tarn__unlikely(!end->held))
		return tarn__fail(-EPERM, "This client is not the producer of the channel: bind that "
				  "end first.");
	if (tarn__unlikely(tarn__channel_state(ch) & TARN__DIR_CONSUMER_GONE))
		return fail_send(ch, -TARN_ECLOSED, timeout_ns);
	if (tarn__unlikely(end->position - end->head >= end->slots) && !has_room(ch)) {
		const struct tarn__nap nap = {
			.ch = ch, .end = end, .word = &ch->ring->consumer_wake,
			.waiting = &ch->ring->producer_waiting, .gone = TARN__DIR_CONSUMER_GONE,
			.left = &ch->ring->consumer_left, .ready = has_room,
		};
		r = timeout_ns == 0 ? -ETIMEDOUT
		    : tarn__nap_spin(&nap) ? 0 : tarn__nap(&nap, l, tarn__deadline(timeout_ns));
		if (r < 0)
			return fail_send(ch, r, timeout_ns);
	}
	r = tarn__end_lane(ch, end, l);
	if (r == 0)
		r = tarn__lane_room_for(l, 1, timeout_ns);
	return r;
}

static_assert(TARN__CH_ID == 0 && TARN__CH_FLAGS == 1 && TARN__CH_SIZE == 2 &&
		      TARN__CH_OFFSET == 3 && TARN__CH_LENGTH == 4 && TARN__CH_TAG == 5 &&
		      TARN__CH_SPARE == 6, "the order of tarn__slot_write()");

/* Cannot fail: prepare() made sure. */
static inline void publish(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i)
{
	struct tarn__channel_ring *ring = ch->ring;
	struct tarn__end *end = &ch->producer;
	uint64_t p = end->position;
	struct tarn__slot *s = &ring->slot[p & (end->slots - 1)];

	TARN__PROBE4(send, ch->base.id, p, i->id, i->size);
	tarn__to_server(l->client);
	tarn__lane_post(l, tarn__header(TARN__MSG_SEND, 1, 0, 0), ch->base.id, p, i->id, i->size,
			i->units, i->flags);
	end->lane_tail = l->requests.tail;
	tarn__slot_write(s, i->id, i->flags, i->size, i->offset, i->length, i->tag, i->hint);
	/* Relaxed: ordered before the mark by its release, and after SEND by this one. */
	tarn__store_release(&ring->tail, p + 1);
	/* SYNC slot-full, release: whoever sees the mark sees the slot, and the SEND comes
	 * before it for whoever learns of the block. */
	tarn__store_release(&s->mark, p + 1);
	end->position = p + 1;
	tarn__nap_end(end, &ring->consumer_waiting, &ring->producer_wake, l->client->fence);
}

/* Describes @block for a slot. */
static struct item item_of(const struct tarn_block *block, uint64_t tag)
{
	const struct tarn_block *whole = tarn__whole(block);
	struct item i = { .id = whole->id, .size = tarn_block_size(whole), .tag = tag };

	i.hint = (uint64_t)((unsigned char *)tarn_block_data(block) - block->client->data);

	if (whole != block) {
		i.offset = tarn__slice_offset(block);
		i.length = tarn_block_size(block);
	}
	if (tarn__refs(whole) & REF_SEALED)
		i.flags |= TARN__SEND_SEALED;
	return i;
}

static int check(const struct tarn_channel *ch, const struct tarn_block *block)
{
	if (tarn__unlikely(block->client != ch->base.client))
		return tarn__fail(-EXDEV, "The channel and what is sent belong to different clients.");
	return tarn__check_slice(block);
}

static int send(struct tarn_channel *ch, struct tarn_block *block, uint64_t tag, int64_t timeout_ns,
		struct tarn__lane *l)
{
	struct item i;
	/* Sharing may have to ask for credits, so it comes before the place on the lane. */
	int r = tarn__handle_share(l, tarn__whole(block));

	if (r == 0)
		r = prepare(ch, l, timeout_ns);
	if (r < 0)
		return r;
	i = item_of(block, tag);
	publish(ch, l, &i);
	return 0;
}

int tarn_channel_send(tarn_channel *channel, tarn_block *block, uint64_t tag, int64_t timeout_ns)
{
	struct tarn__lane *l;
	int r = check(channel, block);

	if (r == 0)
		r = tarn__lane_enter(channel->base.client, &l);
	if (r < 0)
		return r;
	r = send(channel, block, tag, timeout_ns, l);
	tarn__lane_leave(l);
	return tarn__likely(r == 0) ? 0 : tarn__fail_late(r, timeout_ns);
}

/*
 * Send and drop in one message where this was the last reference: SEND carries the units.
 * A block that nobody was told of never enters the table.
 */
static int give(struct tarn_channel *ch, struct tarn_block *block, uint64_t tag,
		int64_t timeout_ns, struct tarn__lane *l)
{
	/* SYNC refs, acquire: as in tarn_block_unref(). */
	uint64_t refs = tarn__load_acquire(&block->refs);
	struct item i;
	int r;

	if ((refs & (REF_SLICE | REF_DEFERRED)) || ((refs & REF_COUNT) != 1)) {
		r = send(ch, block, tag, timeout_ns, l);
		if (r == 0)
			tarn__handle_put(l, block);
		return r;
	}
	r = prepare(ch, l, timeout_ns);
	if (r < 0)
		return r;
	i = item_of(block, tag);
	if (refs & REF_SHARED) {
		/* SYNC refs: somebody may have received it again meanwhile. Then our reference
		 * goes after SEND (I5): his RELEASE could be read before it otherwise. */
		if (!__atomic_compare_exchange_n(&block->refs, &refs, refs - 1, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			publish(ch, l, &i);
			tarn__handle_put(l, block);
			return 0;
		}
		i.units = tarn__table_remove(l->client, block);
		publish(ch, l, &i);
		tarn__hold_return(l);
	} else {
		i.units = 1; /* the allocation's own */
		publish(ch, l, &i);
	}
	tarn__handle_free(l, block);
	return 0;
}

/*
 * The short way: a whole block of which this is the only reference, never shared or just
 * received, with room in ring and lane. False: nothing happened.
 */
static inline bool give_fast(struct tarn_channel *ch, struct tarn__lane *l, struct tarn_block *b,
			     uint64_t tag)
{
	struct tarn__end *end = &ch->producer;
	/* SYNC refs, acquire: as in tarn_block_unref(). */
	uint64_t refs = tarn__load_acquire(&b->refs);
	struct item i = { .tag = tag };

	if (tarn__unlikely((refs != 1 && refs != REF_ONLY_DEFERRED) || !end->held ||
			   end->lane != l || end->lane_life != l->life ||
			   end->position - end->head >= end->slots ||
			   (tarn__channel_state(ch) & TARN__DIR_CONSUMER_GONE) != 0 ||
			   tarn__requests_room(&l->requests, 1) == 0))
		return false;
	i.id = b->id;
	i.size = tarn__load_relaxed(&b->size);
	i.hint = (uint64_t)(b->data - b->client->data);
	i.units = refs == 1; /* the allocation's own; what was received is not booked yet */
	publish(ch, l, &i);
	if (refs == 1)
		tarn__handle_free(l, b);
	else if (!tarn__deferred_drop(l, b))
		tarn__handle_put(l, b); /* after SEND (I5) */
	return true;
}

int tarn_channel_give(tarn_channel *channel, tarn_block *block, uint64_t tag, int64_t timeout_ns)
{
	struct tarn__lane *l = tarn__lane_mine(channel->base.client);
	int r;

	if (tarn__likely(l != NULL && block->client == channel->base.client && tarn__lane_try(l))) {
		bool done = give_fast(channel, l, block, tag);

		tarn__lane_leave(l);
		if (tarn__likely(done))
			return 0;
	}
	r = check(channel, block);

	if (r == 0)
		r = tarn__lane_enter(channel->base.client, &l);
	if (r < 0)
		return r;
	r = give(channel, block, tag, timeout_ns, l);
	tarn__lane_leave(l);
	return tarn__likely(r == 0) ? 0 : tarn__fail_late(r, timeout_ns);
}

/* Something that is shared from the beginning: a channel or an object. */
static int send_handle(struct tarn_channel *ch, const struct tarn_block *b, uint64_t flags,
		       uint64_t tag, int64_t timeout_ns)
{
	struct tarn__lane *l;
	int r = check(ch, b);

	if (r == 0)
		r = tarn__lane_enter(ch->base.client, &l);
	if (r < 0)
		return r;
	r = prepare(ch, l, timeout_ns);
	if (r == 0) {
		/* An object has no size; what stands there is for this process only. */
		const struct item i = { .id = b->id, .flags = flags, .tag = tag,
					.size = flags & TARN__SEND_OBJECT ? 0 : b->size };

		publish(ch, l, &i);
	}
	tarn__lane_leave(l);
	return tarn__fail_late(r, timeout_ns);
}

int tarn_channel_send_channel(tarn_channel *channel, tarn_channel *sent, uint64_t tag,
			      int64_t timeout_ns)
{
	return send_handle(channel, &sent->base, TARN__SEND_CHANNEL, tag, timeout_ns);
}

int tarn_channel_send_object(tarn_channel *channel, tarn_object *object, uint64_t tag,
			     int64_t timeout_ns)
{
	return send_handle(channel, &object->base, TARN__SEND_OBJECT, tag, timeout_ns);
}
