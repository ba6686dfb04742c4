/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels: making, finding, taking and giving up ends, waiting.
 *
 * The server zeroes a ring before anybody hears of it and is not on the path after that.
 * It reads the ring's head and tail once, when a producer has died.
 */
#include "tarn/channel.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

#define DEFER_SLOTS 64u /* smaller rings defer nothing: their fullness is exact */
#define NAME_MOST (TARN__NAME_BYTES - 1)

/* The word in which the end says that it is given up. */
static uint32_t *left_of(const struct tarn_channel *ch, const struct tarn__end *end)
{
	return end == &ch->producer ? &ch->ring->producer_left : &ch->ring->consumer_left;
}

/* ---- handles ---- */

static uint64_t ring_bytes(uint64_t slots)
{
	return sizeof(struct tarn__channel_ring) + slots * sizeof(struct tarn__slot);
}

/* The largest ring that fits a block; the server's word at BIND is the exact one. */
static uint64_t ring_slots(uint64_t capacity)
{
	uint64_t n = 1;

	while (n < TARN__CHANNEL_MAX && ring_bytes(n * 2) <= capacity)
		n *= 2;
	return n;
}

struct tarn_channel *tarn__channel_handle(struct tarn_client *c, uint64_t id)
{
	struct tarn_channel *ch = aligned_alloc(64, tarn__round_up(sizeof *ch, 64));
	uint64_t slots;

	if (ch == NULL) {
		tarn__fail(-ENOMEM, "No memory for the handle of a channel.");
		return NULL;
	}
	memset(ch, 0, sizeof *ch);
	if (!tarn__handle_fill(c, &ch->base, id, 1) || ch->base.capacity < ring_bytes(1) ||
	    !(tarn__load_acquire(&c->dir[tarn__id_index(id)].state) & TARN__DIR_CHANNEL)) {
		free(ch);
		tarn__fail(-TARN_ESTALE, "There is no channel with this reference (any more).");
		return NULL;
	}
	ch->base.refs = 1 | REF_SHARED | REF_CHANNEL; /* not yet known to others */
	ch->ring = (struct tarn__channel_ring *)(void *)ch->base.data;
	ch->dir = &c->dir[tarn__id_index(id)];
	tarn__show(ch->base.data, ch->base.capacity);
	slots = ring_slots(ch->base.capacity);
	ch->base.size = ring_bytes(slots);
	/* Relaxed: it was there before the channel was (SYNC dir, in tarn__handle_fill()). A hint: anybody may write it. */
	ch->capacity = tarn__load_relaxed(&ch->ring->capacity);
	if (ch->capacity == 0 || ch->capacity > slots)
		ch->capacity = slots;
	tarn__spin_init(&ch->producer.spin, 20);
	tarn__spin_init(&ch->consumer.spin, 20);
	return ch;
}

void tarn__channel_handle_free(struct tarn_block *b)
{
	struct tarn_channel *ch = tarn__channel_of_base(b);

	free(ch->deferred);
	free(ch);
}

int tarn__channel_adopt(struct tarn__lane *l, uint64_t id, struct tarn_channel **ret)
{
	struct tarn_client *c = l->client;
	struct tarn_channel *ch = tarn__channel_handle(c, id);

	if (ch == NULL) {
		tarn__lane_say(l, tarn__header(TARN__MSG_RELEASE, 1, 0, 0), id, 1, 0, 0, 0, 0);
		tarn__hold_return(l);
		return tarn__negative(tarn_error_last()->code);
	}
	struct tarn_block *known = tarn__table_merge(c, &ch->base);
	if (known != &ch->base) {
		tarn__channel_handle_free(&ch->base);
		tarn__hold_return(l);
		ch = tarn__channel_of_base(known);
	}
	*ret = ch;
	return 0;
}

/* ---- making and finding ---- */

static int check_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MOST)
		return tarn__fail(-EINVAL, "A channel's name has 1 to %u bytes, this one has %zu.",
				  NAME_MOST, n);
	return 0;
}

static int fail_make(int r, const char *name, uint64_t capacity)
{
	if (r == -EEXIST)
		return tarn__fail(r, "A channel named '%s' exists already.", name);
	if (r == -EAGAIN || r == -ENOSPC)
		r = -ENOMEM;
	return tarn__fail(r, "The server made no channel of %llu slots: %s.",
			  (unsigned long long)capacity, tarn_error_text(r));
}

static int make(struct tarn__lane *l, uint64_t capacity, const char *name,
		struct tarn_channel **ret)
{
	size_t n = name != NULL ? strlen(name) : 0;
	/* Room for what the consumer has taken and not released yet. */
	uint64_t slots = capacity >= DEFER_SLOTS && capacity * 2 <= TARN__CHANNEL_MAX
				 ? capacity * 2 : capacity;
	struct tarn__ask a;
	struct tarn__slot s;
	int r = tarn__hold_take(l);

	if (r < 0)
		return r;
	tarn__ask_init(&a, TARN__MSG_CHANNEL, (unsigned)n);
	tarn__ask_word(&a, 1, slots | capacity << 32);
	tarn__ask_bytes(&a, 2, name, n);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r == 0 && tarn__reply_error(&s) != 0)
		r = fail_make(tarn__reply_error(&s), name, capacity);
	if (r < 0) {
		tarn__hold_return(l);
		return r;
	}
	return tarn__channel_adopt(l, s.word[1], ret);
}

int tarn_channel_new(tarn_client *client, size_t capacity, const char *name,
		     tarn_channel **ret_channel)
{
	struct tarn__lane *l;
	uint64_t rounded = 1;
	int r;

	if (capacity == 0 || capacity > TARN__CHANNEL_MAX)
		return tarn__fail(-EINVAL, "A channel of %zu slots was asked for; 1 to %u are "
				  "possible.", capacity, TARN__CHANNEL_MAX);
	r = name != NULL ? check_name(name) : 0;
	if (r < 0)
		return r;
	while (rounded < capacity)
		rounded *= 2;
	r = tarn__lane_enter(client, &l);
	if (r < 0)
		return r;
	r = make(l, rounded, name, ret_channel);
	tarn__lane_leave(l);
	return r;
}

/* One look for @name. */
static int look_up(struct tarn__lane *l, const char *name, uint64_t deadline,
		   struct tarn_channel **ret)
{
	struct tarn__ask a;
	struct tarn__slot s;
	int r = tarn__hold_take(l);

	if (r < 0)
		return r;
	tarn__ask_init(&a, TARN__MSG_LOOKUP, (unsigned)strlen(name));
	tarn__ask_bytes(&a, 1, name, strlen(name));
	r = tarn__lane_ask(l, &a, 1, 0, deadline, &s);
	if (r == 0)
		r = tarn__reply_error(&s);
	if (r < 0) {
		/* Of a late reply the claim is given back with its hold. */
		if (r != -ETIMEDOUT || !l->asked)
			tarn__hold_return(l);
		return r;
	}
	return tarn__channel_adopt(l, s.word[1], ret);
}

int tarn_channel_open(tarn_client *client, const char *name, int64_t timeout_ns,
		      tarn_channel **ret_channel)
{
	uint64_t deadline = tarn__deadline(timeout_ns);
	/* Also who does not want to wait for the name waits for the answer. */
	uint64_t patience = tarn__deadline(timeout_ns >= 0 && timeout_ns < 1000000000
						   ? 1000000000 : timeout_ns);
	long pause_ns = 500000;
	struct tarn__lane *l;
	int r = name != NULL ? check_name(name)
			     : tarn__fail(-EINVAL, "A channel's name is missing.");

	if (r == 0)
		r = tarn__lane_enter(client, &l);
	if (r < 0)
		return r;
	for (;;) {
		r = look_up(l, name, patience, ret_channel);
		if (r != -ENOENT)
			break;
		if (tarn__now() >= deadline) {
			r = tarn__fail(timeout_ns == 0 ? -ENOENT : -ETIMEDOUT,
				       "No channel is named '%s'%s.", name,
				       timeout_ns == 0 ? "" : ", also after waiting");
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
		pause_ns = pause_ns < 20000000 ? pause_ns * 2 : 20000000;
	}
	tarn__lane_leave(l);
	return r;
}

/* ---- ends ---- */

/* Takes what the server says about the ring, if it agrees with the block it lies in. */
static int set_slots(const struct tarn_channel *ch, struct tarn__end *end, uint64_t slots)
{
	if (!tarn__is_power_of_two(slots) || slots > TARN__CHANNEL_MAX ||
	    ring_bytes(slots) > ch->base.capacity)
		return tarn__fail(-TARN_EPROTO, "The server says that a channel in a block of %llu "
				  "bytes has %llu slots.", (unsigned long long)ch->base.capacity,
				  (unsigned long long)slots);
	end->slots = slots;
	return 0;
}

static int bind(struct tarn_channel *ch, struct tarn__lane *l, enum tarn_channel_end which)
{
	struct tarn__end *end = which == TARN_PRODUCER ? &ch->producer : &ch->consumer;
	const char *name = which == TARN_PRODUCER ? "producer" : "consumer";
	struct tarn__ask a;
	struct tarn__slot s;
	int r;

	tarn__ask_init(&a, TARN__MSG_BIND, 0);
	tarn__ask_word(&a, 1, ch->base.id);
	tarn__ask_word(&a, 2, which);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r < 0)
		return r;
	r = tarn__reply_error(&s);
	if (r == -EBUSY)
		return tarn__fail(r, "The %s end of this channel is taken, or was: an end is taken "
				  "once. Make a new channel.", name);
	if (r < 0)
		return tarn__fail(r, "The server refused the %s end: %s.", name, tarn_error_text(r));
	r = set_slots(ch, end, s.word[2]);
	if (r < 0)
		return r;
	if (which == TARN_CONSUMER && end->slots > ch->capacity) {
		ch->deferred_room = 1;
		while (ch->deferred_room * 2 <= (end->slots - ch->capacity) / 2)
			ch->deferred_room *= 2;
		ch->deferred = calloc(ch->deferred_room, sizeof *ch->deferred);
		if (ch->deferred == NULL)
			ch->deferred_room = 0; /* slower, not wrong */
	}
	end->lane = l;
	end->lane_life = l->life;
	end->lane_tail = l->requests.tail;
	end->held = true;
	tarn__store32_relaxed(left_of(ch, end), 0); /* SYNC left */
	return 0;
}

int tarn_channel_bind(tarn_channel *channel, enum tarn_channel_end end)
{
	struct tarn__lane *l;
	int r;

	if (end != TARN_PRODUCER && end != TARN_CONSUMER)
		return tarn__fail(-EINVAL, "A channel has no end %d: TARN_PRODUCER or TARN_CONSUMER.",
				  (int)end);
	r = tarn__lane_enter(channel->base.client, &l);
	if (r < 0)
		return r;
	r = bind(channel, l, end);
	tarn__lane_leave(l);
	return r;
}

/* Everything that @lane held in @life up to @tail is read. */
static bool passed(const struct tarn__end *end)
{
	const struct tarn__lane *lane = end->lane;

	/* A lane is closed only after everything in it was read. Acquire: the head that is
	 * read next is that life's, or a later one's, whose change is seen at the next look. */
	if (__atomic_load_n(&lane->life, __ATOMIC_ACQUIRE) != end->lane_life ||
	    __atomic_load_n(&lane->closed, __ATOMIC_ACQUIRE))
		return true;
	/* SYNC slot-free, acquire. */
	return tarn__load_acquire(&lane->area->server.head) >= end->lane_tail;
}

/*
 * The end moves to another thread: @old's thread must not settle it any more at its drops.
 * SYNC hazard: it stores hazard, then looks at deferring; we store deferring, pass the
 * barrier that spares it one, then wait for hazard, which it keeps for moments only.
 */
static void revoke(struct tarn_channel *ch, struct tarn__lane *old, bool fence)
{
	struct tarn_channel *expected = ch;

	if (!__atomic_compare_exchange_n(&old->deferring, &expected, NULL, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	tarn__sleep_barrier(fence);
	for (uint32_t i = 0; __atomic_load_n(&old->hazard, __ATOMIC_ACQUIRE) == ch; i++)
		tarn__spin_pause(i);
}

int tarn__end_lane_slow(struct tarn_channel *ch, struct tarn__end *end, struct tarn__lane *l)
{
	if (end == &ch->consumer && end->lane != NULL && end->lane != l)
		revoke(ch, end->lane, l->client->fence);
	/* The server wants the messages of one end in order; within a lane they are. */
	for (uint32_t i = 0; end->lane != NULL && !passed(end); i++) {
		int r;

		if (i % 64 == 0)
			tarn__lane_ring(l); /* whichever lane: it wakes the server */
		if (i < 1000) {
			tarn__spin_pause(i);
			continue;
		}
		r = tarn__client_health(l->client, l);
		if (r < 0)
			return r;
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	end->lane = l;
	end->lane_life = l->life;
	end->lane_tail = l->requests.tail;
	return 0;
}

static int close_end(struct tarn_channel *ch, struct tarn__end *end, enum tarn__role role,
		     struct tarn__lane *l)
{
	int r;

	if (!end->held)
		return 0;
	r = tarn__end_lane(ch, end, l);
	if (r == 0 && role == TARN__ROLE_CONSUMER)
		r = tarn__channel_settle(ch, l, TARN__FOREVER);
	if (r == 0 && l->deferring == ch)
		__atomic_store_n(&l->deferring, NULL, __ATOMIC_RELAXED);
	/* SYNC left; relaxed: who waits for that looks now and then, and what it does is to wake the server. */
	tarn__store32_relaxed(left_of(ch, end), 1);
	if (r == 0)
		r = tarn__lane_say(l, tarn__header(TARN__MSG_CLOSE, 1, 0, 0), ch->base.id, role, 0,
				   0, 0, 0);
	if (r == 0)
		end->held = false;
	return r;
}

int tarn_channel_close(tarn_channel *channel)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(channel->base.client, &l);

	if (r < 0)
		return r;
	r = close_end(channel, &channel->producer, TARN__ROLE_PRODUCER, l);
	if (r == 0)
		r = close_end(channel, &channel->consumer, TARN__ROLE_CONSUMER, l);
	tarn__lane_ring(l); /* the peer waits for it */
	tarn__lane_leave(l);
	return r;
}

/* CLOSE is applied an epoch after it was read, so whatever was posted for this end before, in
 * any lane, is applied by then: unlike SEND it need not wait until that is read. */
static void take_over(struct tarn_channel *ch, struct tarn__end *end, struct tarn__lane *l)
{
	if (end == &ch->consumer && end->lane != l)
		revoke(ch, end->lane, l->client->fence);
	end->lane = l;
	end->lane_life = l->life;
}

bool tarn__channel_last(struct tarn__lane *l, struct tarn_block *b)
{
	struct tarn_channel *ch = tarn__channel_of_base(b);

	if (!ch->producer.held && !ch->consumer.held)
		return true;
	if (ch->producer.held)
		take_over(ch, &ch->producer, l);
	if (ch->consumer.held) {
		take_over(ch, &ch->consumer, l);
		/* A last drop must not wait; tarn_channel_unref() does, somewhat. */
		if (!tarn__channel_settle_now(ch, l))
			return false;
	}
	if (tarn__requests_room(&l->requests, 3) < 3)
		return false;
	close_end(ch, &ch->producer, TARN__ROLE_PRODUCER, l);
	close_end(ch, &ch->consumer, TARN__ROLE_CONSUMER, l);
	return true;
}

/* ---- references and facts ---- */

tarn_channel *tarn_channel_ref(tarn_channel *channel)
{
	tarn_block_ref(&channel->base);
	return channel;
}

/* A peer waits for the end of a channel, and nobody may call again to post what found no room:
 * some patience with the server. */
static void close_late(struct tarn_client *c)
{
	uint64_t deadline = tarn__deadline(TARN__BUSY_NS);
	struct tarn__lane *l;

	if (tarn__lane_mine(c) == NULL || tarn__lane_enter(c, &l) < 0)
		return;
	while (tarn__backlog_any(c) && tarn__lane_room(l, TARN__REQUESTS / 2, deadline) == 0 &&
	       tarn__now() < deadline)
		tarn__backlog_post(l);
	tarn__lane_leave(l);
}

void tarn__channel_drop(struct tarn_block *base)
{
	struct tarn_client *c = base->client;

	tarn__handle_drop(base);
	if (tarn__unlikely(!tarn__forked(c) && tarn__backlog_any(c)))
		close_late(c);
}

tarn_channel *tarn_channel_unref(tarn_channel *channel)
{
	if (channel != NULL)
		tarn__channel_drop(&channel->base);
	return NULL;
}

uint64_t tarn_channel_id(const tarn_channel *channel)
{
	/* Of its head only: one that a method was lent has no more, and lies where a whole one must not. */
	return ((const struct tarn_block *)(const void *)channel)->id;
}

size_t tarn_channel_capacity(const tarn_channel *channel)
{
	return channel->capacity;
}

/* ---- waiting for the peer ---- */

bool tarn__nap_spin(const struct tarn__nap *n)
{
	struct tarn__spin *spin = &n->end->spin;

	for (uint32_t i = 0; i < spin->rounds; i++) {
		if (n->ready(n->ch)) {
			tarn__spin_paid(spin);
			return true;
		}
		tarn__pause();
	}
	tarn__spin_failed(spin);
	return false;
}

int tarn__nap(const struct tarn__nap *n, struct tarn__lane *l, uint64_t deadline)
{
	struct tarn_client *c = l->client;

	for (uint64_t until = 0; tarn__yield_until(&until);)
		if (n->ready(n->ch))
			return 0;
	for (;;) {
		/* Acquire, and before the look: a wake-up after it changes the word. */
		uint32_t word = tarn__load32_acquire(n->word);
		uint64_t gone, now, slice;
		int r;

		/* SYNC nap: waiting, barrier, look; the peer: what we wait for, barrier,
		 * waiting. A number, not 1, so that the peer ends each nap once. */
		if (++n->end->naps == 0)
			n->end->naps = 1;
		tarn__store32_relaxed(n->waiting, n->end->naps);
		tarn__sleep_barrier(c->fence);
		gone = tarn__channel_state(n->ch) & n->gone; /* before the look: what the
							      * peer left behind counts */
		if (n->ready(n->ch))
			r = 0;
		else if (gone != 0)
			r = -TARN_ECLOSED;
		else if ((now = tarn__now()) >= deadline)
			r = -ETIMEDOUT;
		else
			r = 1;
		if (r == 1) {
			slice = now + TARN__SLICE_NS;
			/* SYNC left; relaxed: it is seen in the end. That an end is closed is the server's to say, which
			 * sleeps over it if another client took the peer's ring. */
			if (tarn__futex_wait(n->word, word, slice < deadline ? slice : deadline) == -ETIMEDOUT &&
			    tarn__load32_relaxed(n->left) != 0)
				tarn__client_nudge(c);
			r = n->ready(n->ch) ? 0 : tarn__client_health(c, l);
			if (r == 0 && !n->ready(n->ch))
				r = 1;
		}
		if (r != 1) {
			tarn__store32_relaxed(n->waiting, 0);
			return r;
		}
		tarn__lane_notice(l);
		if (tarn__backlog_any(c))
			tarn__backlog_post(l);
	}
}

void tarn__nap_end(struct tarn__end *end, const uint32_t *waiting, uint32_t *word, bool fence)
{
	uint32_t nap;

	/* SYNC nap. */
	tarn__post_barrier(fence);
	nap = tarn__load32_relaxed(waiting);
	if (tarn__likely(nap == 0 || nap == end->woken))
		return;
	end->woken = nap;
	/* Ours alone to write; release: whoever sees it changed sees why. */
	tarn__store32_release(word, tarn__load32_relaxed(word) + 1);
	tarn__futex_wake(word, 1);
}
