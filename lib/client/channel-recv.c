/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer's end.
 *
 * Order of one receive: the slot's mark, a copy of the slot, RECV or ABSORB on the lane
 * (I4), then the ring's head. What the slot says is the producer's word: it is checked
 * against DIR, which only the server writes, before an address is made of it.
 *
 * Deferring: the ticket protects a block for as long as its slot is not released. So RECV and
 * the table wait until the thread comes back for more and finds nothing, or too much has
 * gathered. A block that was dropped by then costs one ABSORB, posted at its drop, instead
 * of RECV and RELEASE, and less stands between the item's arrival and its receiver.
 */
#include "tarn/channel.h"

#include "lib/probe.h"
#include "object.h"

static struct tarn__slot *slot_at(struct tarn_channel *ch, uint64_t position)
{
	return &ch->ring->slot[position & (ch->consumer.slots - 1)];
}

static bool is_there(struct tarn_channel *ch, uint64_t position)
{
	/* SYNC slot-full, acquire: the words were written before. */
	return tarn__load_acquire(&slot_at(ch, position)->mark) == position + 1;
}

static bool has_next(struct tarn_channel *ch)
{
	return is_there(ch, ch->consumer.position);
}

/* ---- releasing slots ---- */

/* Releases all slots below the oldest deferred one. */
static void release_slots(struct tarn_channel *ch, struct tarn__lane *l)
{
	struct tarn__end *end = &ch->consumer;
	uint64_t head = end->position;

	if (ch->deferred_first != ch->deferred_end)
		head = tarn__deferred_at(ch, ch->deferred_first)->position;
	if (head == end->head)
		return;
	end->head = head;
	/* SYNC slot-free, release: the slots are read, and RECV or ABSORB of each is
	 * published (I4). */
	tarn__store_release(&ch->ring->head, head);
	tarn__nap_end(end, &ch->ring->producer_waiting, &ch->ring->consumer_wake, l->client->fence);
}

static int say(struct tarn_channel *ch, struct tarn__lane *l, enum tarn__message kind,
	       uint64_t position, uint64_t id)
{
	int r;

	tarn__to_server(l->client);
	r = tarn__lane_say(l, tarn__header(kind, 1, 0, 0), ch->base.id, position, id, 0, 0, 0);
	ch->consumer.lane_tail = l->requests.tail;
	return r;
}

/* Settles one deferred block that is still in use. */
static int settle_held(struct tarn_channel *ch, struct tarn__lane *l, const struct tarn__deferred *d)
{
	struct tarn_block *b = d->block;
	uint64_t old;
	int r = say(ch, l, TARN__MSG_RECV, d->position, b->id);

	if (r < 0)
		return r;
	tarn__table_add(l->client, b);
	/* SYNC refs: from here on a last drop is an ordinary one. One that came before was
	 * left to us. */
	old = __atomic_fetch_and(&b->refs, ~(REF_DEFERRED | REF_UNLISTED), __ATOMIC_ACQ_REL);
	if ((old & REF_COUNT) == 0)
		tarn__handle_last(l, b);
	return 0;
}

/* All, or the oldest that were dropped, as far as there is room: two messages each, when
 * one that is held is dropped just then. False: no room for all that were meant. */
static bool settle(struct tarn_channel *ch, struct tarn__lane *l, bool all)
{
	while (ch->deferred_first != ch->deferred_end) {
		const struct tarn__deferred d = *tarn__deferred_at(ch, ch->deferred_first);
		/* SYNC refs, acquire: what the last holder did comes before ABSORB. */
		bool held = (tarn__load_acquire(&d.block->refs) & REF_COUNT) != 0;

		if (held && !all)
			break;
		if (tarn__requests_room(&l->requests, 2) < 2)
			return false;
		if (held) {
			settle_held(ch, l, &d);
		} else {
			say(ch, l, TARN__MSG_ABSORB, d.position, d.block->id);
			tarn__handle_free(l, d.block);
			tarn__hold_return(l);
		}
		ch->deferred_first++;
	}
	return true;
}

bool tarn__channel_settle_now(struct tarn_channel *ch, struct tarn__lane *l)
{
	bool done = settle(ch, l, true);

	release_slots(ch, l);
	return done;
}

int tarn__channel_settle(struct tarn_channel *ch, struct tarn__lane *l, int64_t timeout_ns)
{
	while (!tarn__channel_settle_now(ch, l)) {
		int r = tarn__lane_room_for(l, 2, timeout_ns);

		if (r < 0)
			return r;
	}
	return 0;
}

bool tarn__lane_settle(struct tarn__lane *l, bool all)
{
	/* Relaxed: our own, or NULL. */
	struct tarn_channel *ch = __atomic_load_n(&l->deferring, __ATOMIC_RELAXED);
	bool done = true;

	if (ch == NULL || l->hazard != NULL)
		return true;
	/* SYNC hazard: as in revoke() of channel.c. */
	__atomic_store_n(&l->hazard, ch, __ATOMIC_RELAXED);
	tarn__post_barrier(l->client->fence);
	if (__atomic_load_n(&l->deferring, __ATOMIC_ACQUIRE) == ch) {
		uint64_t first = ch->deferred_first;

		done = settle(ch, l, all);
		/* Dropped behind one that is kept: it must not wait for that. */
		if (done && !all && ch->deferred_first == first)
			done = settle(ch, l, true);
	}
	/* SYNC hazard, release: what we did is done. */
	__atomic_store_n(&l->hazard, NULL, __ATOMIC_RELEASE);
	return done;
}

/* SYNC hazard, as in tarn__lane_settle(): while hazard names the channel no other thread settles
 * it, so nobody but us can change the words of a block in it of which we have the only
 * reference. That spares the atomic operations. */
bool tarn__deferred_drop(struct tarn__lane *l, struct tarn_block *b)
{
	struct tarn_channel *ch = __atomic_load_n(&l->deferring, __ATOMIC_RELAXED);
	bool done = false;

	if (tarn__unlikely(ch == NULL || l->hazard != NULL ||
			   tarn__requests_room(&l->requests, 1) == 0))
		return false;
	__atomic_store_n(&l->hazard, ch, __ATOMIC_RELAXED);
	tarn__post_barrier(l->client->fence);
	if (tarn__likely(__atomic_load_n(&l->deferring, __ATOMIC_ACQUIRE) == ch &&
			 ch->deferred_first != ch->deferred_end)) {
		const struct tarn__deferred *d = tarn__deferred_at(ch, ch->deferred_first);

		if (tarn__likely(d->block == b)) {
			tarn__to_server(l->client);
			tarn__lane_post(l, tarn__header(TARN__MSG_ABSORB, 1, 0, 0), ch->base.id,
					d->position, b->id, 0, 0, 0);
			ch->consumer.lane_tail = l->requests.tail;
			tarn__handle_free(l, b);
			tarn__hold_return(l);
			ch->deferred_first++;
			done = true;
		}
	}
	/* SYNC hazard, release: what we did is done. */
	__atomic_store_n(&l->hazard, NULL, __ATOMIC_RELEASE);
	return done;
}

/* After an item was taken: what is due. Does not wait. */
static void follow_up(struct tarn_channel *ch, struct tarn__lane *l)
{
	struct tarn__end *end = &ch->consumer;

	if (ch->deferred_room == 0) {
		release_slots(ch, l); /* small rings exactly */
		return;
	}
	/* In batches: the line of the head is the producer's to read, too. */
	if (end->position - end->head >= end->slots / 8)
		release_slots(ch, l);
	/* Items that are not deferred keep their slots behind the oldest that is. Who has taken
	 * all there was leaves room for as many as the channel is said to hold. */
	if (ch->deferred_end - ch->deferred_first == ch->deferred_room ||
	    end->position - end->head > end->slots - ch->capacity)
		tarn__channel_settle_now(ch, l);
}

/* ---- taking an item ---- */

struct item {
	uint64_t id, flags, size, offset, length, tag;
};

/* Waits until the next item is there, and copies it once. @polled: for a while already. */
static int next_item(struct tarn_channel *ch, struct tarn__lane *l, int64_t timeout_ns,
		     bool polled, struct item *ret)
{
	struct tarn__end *end = &ch->consumer;
	const struct tarn__slot *s = slot_at(ch, end->position);
	uint64_t hint;
	int r;

	if (tarn__unlikely(!end->held))
		return tarn__fail(-EPERM, "This client is not the consumer of the channel: bind that "
				  "end first.");
	r = tarn__end_lane(ch, end, l);
	if (r < 0)
		return r;
	if (!has_next(ch)) {
		const struct tarn__nap nap = {
			.ch = ch, .end = end, .word = &ch->ring->producer_wake,
			.waiting = &ch->ring->consumer_waiting, .gone = TARN__DIR_PRODUCER_GONE,
			.left = &ch->ring->producer_left, .ready = has_next,
		};

		if (timeout_ns != 0 && !polled && tarn__nap_spin(&nap))
			goto there;
		r = tarn__channel_settle(ch, l, timeout_ns);
		if (r < 0)
			return r;
		if (tarn__backlog_any(l->client))
			tarn__backlog_post(l);
		if (timeout_ns != 0)
			r = tarn__nap(&nap, l, tarn__deadline(timeout_ns));
		else if (tarn__channel_state(ch) & TARN__DIR_PRODUCER_GONE)
			r = has_next(ch) ? 0 : -TARN_ECLOSED;
		else
			r = has_next(ch) ? 0 : -ETIMEDOUT;
		if (r == -ETIMEDOUT)
			return tarn__fail_static(r, "Nothing came through the channel.");
		if (r == -TARN_ECLOSED)
			return tarn__fail(r, "The channel is empty and its producer is gone.");
		if (r < 0)
			return r;
	}
there:
	hint = tarn__load_relaxed(&s->word[TARN__CH_SPARE]);
	if (hint < l->client->data_bytes)
		tarn__fetch(l->client->data + hint); /* while DIR is being looked at */
	ret->id = tarn__load_relaxed(&s->word[TARN__CH_ID]);
	ret->flags = tarn__load_relaxed(&s->word[TARN__CH_FLAGS]);
	ret->size = tarn__load_relaxed(&s->word[TARN__CH_SIZE]);
	ret->offset = tarn__load_relaxed(&s->word[TARN__CH_OFFSET]);
	ret->length = tarn__load_relaxed(&s->word[TARN__CH_LENGTH]);
	ret->tag = tarn__load_relaxed(&s->word[TARN__CH_TAG]);
	return 0;
}

/* The item names nothing that can be touched: it is passed over, without a message. */
static int skip(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i)
{
	uint64_t position = ch->consumer.position++;

	follow_up(ch, l);
	return tarn__fail(-TARN_EPROTO, "Item %llu of the channel is not a valid reference (id %llx, "
			  "%llu bytes): the producer broke the rules. It was passed over.",
			  (unsigned long long)position, (unsigned long long)i->id,
			  (unsigned long long)i->size);
}

static bool view_fits(const struct item *i)
{
	return i->length == 0 ? i->offset == 0
			      : i->offset <= i->size && i->length <= i->size - i->offset;
}

static uint64_t dir_state(const struct tarn_client *c, uint64_t id)
{
	/* SYNC dir, acquire. The ticket keeps this id's life. */
	return tarn__load_acquire(&c->dir[tarn__id_index(id)].state);
}

/* A block that this process does not have: a handle that is not yet booked. */
static struct tarn_block *new_handle(struct tarn__lane *l, struct tarn_block *b,
				     const struct item *i)
{
	struct tarn_client *c = l->client;

	if (!tarn__handle_fill(c, b, i->id, i->size) ||
	    (dir_state(c, i->id) & (TARN__DIR_CHANNEL | TARN__DIR_OBJECT))) {
		tarn__handle_free(l, b);
		return NULL;
	}
	b->refs = 1 | REF_SHARED | REF_UNLISTED; /* not yet known to others */
	tarn__from_server(c);
	tarn__show(b->data, b->size);
	if ((i->flags & TARN__SEND_SEALED) || (dir_state(c, i->id) & TARN__DIR_SEALED))
		tarn__seal_here(c, b);
	return b;
}

/* Puts RECV off. False: not now. */
static bool defer(struct tarn_channel *ch, struct tarn__lane *l, struct tarn_block *b)
{
	if (ch->deferred_end - ch->deferred_first >= ch->deferred_room)
		return false;
	if (tarn__unlikely(l->deferring != ch)) {
		if (!tarn__lane_settle(l, true))
			return false; /* one channel at a time */
		__atomic_store_n(&l->deferring, ch, __ATOMIC_RELAXED);
	}
	b->refs |= REF_DEFERRED; /* not yet known to others */
	*tarn__deferred_at(ch, ch->deferred_end++) =
		(struct tarn__deferred){ .block = b, .position = ch->consumer.position };
	return true;
}

/* Everything that can fail or wait before a claim of our own: the right to it, and room. */
static int prepare(struct tarn__lane *l, int64_t timeout_ns)
{
	int r = tarn__hold_take(l);

	if (r < 0)
		return r;
	r = tarn__lane_room_for(l, 1, timeout_ns);
	if (r < 0)
		tarn__hold_return(l);
	return r;
}

/* Takes a block that is new here: a claim of our own. */
static int take_new(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i,
		    int64_t timeout_ns, struct tarn_block **ret)
{
	struct tarn_block *b, *known;
	int r = prepare(l, timeout_ns);

	if (r < 0)
		return r;
	b = tarn__handle_new(l);
	if (b == NULL) {
		tarn__hold_return(l);
		return tarn__fail(-ENOMEM, "No memory for a block's handle; the item stays in the "
				  "channel.");
	}
	b = new_handle(l, b, i);
	if (b == NULL) {
		tarn__hold_return(l);
		return skip(ch, l, i);
	}
	*ret = b;
	if (ch->deferred_room != 0 && defer(ch, l, b))
		return 0;
	/* Room is there still, or again: settling the other channel left some. */
	r = tarn__lane_room_for(l, 1, timeout_ns);
	if (r < 0) {
		tarn__handle_free(l, b);
		tarn__hold_return(l);
		return r;
	}
	say(ch, l, TARN__MSG_RECV, ch->consumer.position, i->id);
	b->refs &= ~REF_UNLISTED;
	known = tarn__table_merge(l->client, b);
	if (known != b) {
		/* Another thread received the same block just now; it has our unit too. */
		tarn__handle_free(l, b);
		tarn__hold_return(l);
		*ret = known;
	}
	return 0;
}

/* Takes a block that this process has already: the ticket is not needed. The caller found
 * it and has a reference, which is lost on failure. */
static int take_known(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i,
		      int64_t timeout_ns, struct tarn_block *b)
{
	int r = tarn__lane_room_for(l, 1, timeout_ns);

	if (r < 0) {
		tarn__handle_put(l, b);
		return r;
	}
	say(ch, l, TARN__MSG_ABSORB, ch->consumer.position, i->id);
	if (!(tarn__refs(b) & (REF_SEALED | REF_CHANNEL | REF_OBJECT))) {
		if (i->flags & TARN__SEND_SEALED)
			tarn__seal_here(l->client, b);
		/* Its size may have changed since we got it. */
		if (i->size != tarn_block_size(b)) {
			tarn__store_relaxed(&b->size, i->size);
			tarn__show(b->data, b->size);
		}
	}
	return 0;
}

static int take_block(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i,
		      int64_t timeout_ns, struct tarn_block **ret)
{
	struct tarn_block *b = tarn__table_find(l->client, i->id), *slice;
	int r;

	if (b != NULL && ((tarn__refs(b) & (REF_CHANNEL | REF_OBJECT)) || i->size == 0 ||
			  i->size > b->capacity)) {
		tarn__handle_put(l, b);
		return skip(ch, l, i);
	}
	if (!view_fits(i)) {
		if (b != NULL)
			tarn__handle_put(l, b);
		return skip(ch, l, i);
	}
	r = b != NULL ? take_known(ch, l, i, timeout_ns, b) : take_new(ch, l, i, timeout_ns, &b);
	if (r < 0)
		return r;
	ch->consumer.position++;
	if (i->length != 0) {
		slice = tarn__slice_new(l, b, i->offset, i->length);
		if (slice == NULL) {
			tarn__handle_put(l, b);
			return tarn__fail(-ENOMEM, "No memory for the handle of a slice; the item "
					  "is lost.");
		}
		b = slice;
	}
	*ret = b;
	follow_up(ch, l);
	return 0;
}

/* ---- the short way ---- */

#define STREAK 8u /* so many items that were there already make a stream */

/* What the next item will need is fetched while this one is used. Not where items come one at a
 * time: a look at a line takes it from whoever is about to write it. */
static void look_ahead(struct tarn_channel *ch, const struct tarn_client *c)
{
	const struct tarn__slot *s = slot_at(ch, ch->consumer.position);
	uint64_t hint;
	uint32_t index;

	tarn__fetch(slot_at(ch, ch->consumer.position + 4));
	if (!has_next(ch))
		return;
	/* Any numbers will do for a prefetch, if they lie within the mappings. */
	index = tarn__id_index(tarn__load_relaxed(&s->word[TARN__CH_ID]));
	hint = tarn__load_relaxed(&s->word[TARN__CH_SPARE]);
	if (index < c->dir_entries)
		tarn__fetch(&c->dir[index]);
	if (hint < c->data_bytes)
		tarn__fetch(c->data + hint);
}

/*
 * A whole, unsealed block that is new here and whose RECV may be put off: nearly every item.
 * Looks at everything first and then changes things, so that false means that nothing
 * happened: the long way copies the slot anew, and decides from its own copy.
 */
static inline bool take_fast(struct tarn_channel *ch, struct tarn__lane *l,
			     struct tarn_block **ret_block, uint64_t *ret_tag)
{
	struct tarn_client *c = l->client;
	struct tarn__end *end = &ch->consumer;
	const struct tarn__slot *s = slot_at(ch, end->position);
	uint64_t id, size, tag;
	struct tarn__dir_entry e;
	struct tarn_block *b = l->spare;
	uint32_t index;

	if (tarn__unlikely(TARN__ASAN || b == NULL || l->holds == 0 || l->deferring != ch ||
			   ch->deferred_end - ch->deferred_first >= ch->deferred_room))
		return false;
	id = tarn__load_relaxed(&s->word[TARN__CH_ID]);
	index = tarn__id_index(id);
	if (tarn__unlikely(index >= c->dir_entries || id == 0))
		return false;
	size = tarn__load_relaxed(&s->word[TARN__CH_SIZE]);
	tag = tarn__load_relaxed(&s->word[TARN__CH_TAG]);
	if (tarn__unlikely((tarn__load_relaxed(&s->word[TARN__CH_FLAGS]) |
			    tarn__load_relaxed(&s->word[TARN__CH_OFFSET]) |
			    tarn__load_relaxed(&s->word[TARN__CH_LENGTH])) != 0))
		return false;
	/* The slot is the producer's word; DIR, which only the server writes, must agree. The
	 * ticket keeps this id's life. */
	if (tarn__unlikely(!tarn__dir_read(&c->dir[index], id, &e) || e.state != 0 ||
			   e.capacity < TARN__LINE || e.offset > c->data_bytes ||
			   e.capacity > c->data_bytes - e.offset || size - 1 >= e.capacity ||
			   tarn__table_maybe(c, id)))
		return false;

	l->spare = b->next;
	l->n_spare--;
	l->holds--;
	b->refs = REF_ONLY_DEFERRED; /* not yet known to others */
	b->client = c;
	b->data = c->data + e.offset;
	b->size = size;
	b->id = id;
	b->capacity = e.capacity;
	b->next = NULL;
	b->units = 1;
	b->bin = 0; /* never in a cache: it is shared */
	b->populated = 0;
	tarn__from_server(c);
	*tarn__deferred_at(ch, ch->deferred_end++) =
		(struct tarn__deferred){ .block = b, .position = end->position };
	end->position++;
	*ret_block = b;
	if (ret_tag != NULL)
		*ret_tag = tag;
	return true;
}

/* True: it was there, or came while we polled; false: not, and *ret_polled if we did. */
static inline bool await_fast(struct tarn_channel *ch, int64_t timeout_ns, bool *ret_polled)
{
	struct tarn__spin *spin = &ch->consumer.spin;

	if (tarn__likely(has_next(ch))) {
		ch->streak += ch->streak < STREAK;
		return true;
	}
	ch->streak = 0;
	for (uint32_t i = 0; timeout_ns != 0 && i < spin->rounds; i++) {
		if (has_next(ch)) {
			tarn__spin_paid(spin);
			return true;
		}
		tarn__pause();
	}
	*ret_polled = timeout_ns != 0;
	if (timeout_ns != 0)
		tarn__spin_failed(spin);
	return false;
}

static inline bool recv_fast(struct tarn_channel *ch, struct tarn__lane *l, int64_t timeout_ns,
			     struct tarn_block **ret_block, uint64_t *ret_tag, bool *ret_polled)
{
	struct tarn__end *end = &ch->consumer;

	if (tarn__unlikely(!end->held || end->lane != l || end->lane_life != l->life) ||
	    !await_fast(ch, timeout_ns, ret_polled) || !take_fast(ch, l, ret_block, ret_tag))
		return false;
	if (tarn__unlikely(end->position - end->head >= end->slots / 8))
		follow_up(ch, l);
	if (ch->streak == STREAK)
		look_ahead(ch, l->client);
	return true;
}

/* ---- public ---- */

static enum tarn_item kind_of(const struct item *i)
{
	return i->flags & TARN__SEND_CHANNEL ? TARN_ITEM_CHANNEL
	       : i->flags & TARN__SEND_OBJECT ? TARN_ITEM_OBJECT : TARN_ITEM_BLOCK;
}

static int fail_kind(const struct item *i)
{
	static const char *const sentence[] = {
		[TARN_ITEM_BLOCK] = "The next item is a block: take it with tarn_channel_recv().",
		[TARN_ITEM_CHANNEL] = "The next item is a channel: take it with "
				      "tarn_channel_recv_channel().",
		[TARN_ITEM_OBJECT] = "The next item is an object: take it with "
				     "tarn_channel_recv_object().",
	};

	return tarn__fail(-TARN_EKIND, "%s", sentence[kind_of(i)]);
}

/* The next item, which must be of kind @wanted; it stays if it is not. */
static int next_of(struct tarn_channel *ch, struct tarn__lane *l, enum tarn_item wanted,
		   int64_t timeout_ns, bool polled, struct item *ret)
{
	int r = next_item(ch, l, timeout_ns, polled, ret);

	if (r >= 0 && tarn__unlikely(kind_of(ret) != wanted))
		return fail_kind(ret);
	return r;
}

int tarn_channel_recv(tarn_channel *channel, tarn_block **ret_block, uint64_t *ret_tag,
		      int64_t timeout_ns)
{
	struct tarn__lane *l;
	struct item i;
	bool polled = false;
	int r = tarn__lane_enter(channel->base.client, &l);

	if (r < 0)
		return r;
	if (tarn__likely(recv_fast(channel, l, timeout_ns, ret_block, ret_tag, &polled))) {
		TARN__PROBE2(recv, channel->base.id, (*ret_block)->id);
		tarn__lane_leave(l);
		return 0;
	}
	r = next_of(channel, l, TARN_ITEM_BLOCK, timeout_ns, polled, &i);
	if (r == 0)
		r = take_block(channel, l, &i, timeout_ns, ret_block);
	if (r == 0)
		TARN__PROBE2(recv, channel->base.id, (*ret_block)->id);
	tarn__lane_leave(l);
	if (r == 0 && ret_tag != NULL)
		*ret_tag = i.tag;
	return tarn__likely(r == 0) ? 0 : tarn__fail_late(r, timeout_ns);
}

/* ---- channels and objects ---- */

/* A handle on what this process has none of. NULL: the last failure says why. */
static struct tarn_block *other_handle(struct tarn__lane *l, enum tarn_item kind, uint64_t id)
{
	struct tarn_channel *ch;
	struct tarn_object *o;

	if (kind == TARN_ITEM_CHANNEL) {
		ch = tarn__channel_handle(l->client, id);
		return ch != NULL ? &ch->base : NULL;
	}
	o = tarn__object_handle(l, id);
	return o != NULL ? &o->base : NULL;
}

static void free_other_handle(struct tarn__lane *l, enum tarn_item kind, struct tarn_block *b)
{
	if (kind == TARN_ITEM_CHANNEL)
		tarn__channel_handle_free(b);
	else
		tarn__handle_free(l, b);
}

/* As take_block(), of the two others. */
static int take_other(struct tarn_channel *ch, struct tarn__lane *l, const struct item *i,
		      int64_t timeout_ns, struct tarn_block **ret)
{
	const enum tarn_item kind = kind_of(i);
	const uint64_t mark = kind == TARN_ITEM_CHANNEL ? REF_CHANNEL : REF_OBJECT;
	struct tarn_block *b = tarn__table_find(l->client, i->id), *got;
	int r;

	if (b != NULL && !(tarn__refs(b) & mark)) {
		tarn__handle_put(l, b);
		return skip(ch, l, i);
	}
	r = b != NULL ? take_known(ch, l, i, timeout_ns, b) : prepare(l, timeout_ns);
	if (r < 0)
		return r;
	if (b == NULL) {
		got = other_handle(l, kind, i->id);
		if (got == NULL) {
			tarn__hold_return(l);
			r = tarn_error_last()->code;
			return r == -ENOMEM ? r : skip(ch, l, i);
		}
		say(ch, l, TARN__MSG_RECV, ch->consumer.position, i->id);
		b = tarn__table_merge(l->client, got);
		if (b != got) {
			free_other_handle(l, kind, got);
			tarn__hold_return(l);
		}
	}
	ch->consumer.position++;
	*ret = b;
	follow_up(ch, l);
	return 0;
}

static int recv_other(struct tarn_channel *ch, enum tarn_item kind, struct tarn_block **ret,
		      uint64_t *ret_tag, int64_t timeout_ns)
{
	struct tarn__lane *l;
	struct item i;
	int r = tarn__lane_enter(ch->base.client, &l);

	if (r < 0)
		return r;
	r = next_of(ch, l, kind, timeout_ns, false, &i);
	if (r == 0)
		r = take_other(ch, l, &i, timeout_ns, ret);
	tarn__lane_leave(l);
	if (r == 0 && ret_tag != NULL)
		*ret_tag = i.tag;
	return tarn__fail_late(r, timeout_ns);
}

int tarn_channel_recv_channel(tarn_channel *channel, tarn_channel **ret_channel, uint64_t *ret_tag,
			      int64_t timeout_ns)
{
	struct tarn_block *b;
	int r = recv_other(channel, TARN_ITEM_CHANNEL, &b, ret_tag, timeout_ns);

	if (r == 0)
		*ret_channel = tarn__channel_of_base(b);
	return r;
}

int tarn_channel_recv_object(tarn_channel *channel, tarn_object **ret_object, uint64_t *ret_tag,
			     int64_t timeout_ns)
{
	struct tarn_block *b;
	int r = recv_other(channel, TARN_ITEM_OBJECT, &b, ret_tag, timeout_ns);

	if (r == 0)
		*ret_object = tarn__object_of_base(b);
	return r;
}

int tarn_channel_peek(tarn_channel *channel, enum tarn_item *ret_item, int64_t timeout_ns)
{
	struct tarn__lane *l;
	struct item i;
	int r = tarn__lane_enter(channel->base.client, &l);

	if (r < 0)
		return r;
	r = next_item(channel, l, timeout_ns, false, &i);
	tarn__lane_leave(l);
	if (r == 0)
		*ret_item = kind_of(&i);
	return tarn__fail_late(r, timeout_ns);
}
