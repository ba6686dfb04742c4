/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels as the server sees them (PROTOCOL 3.8): who has which end, and the tickets of
 * what is on its way. The ring lies in DATA, where clients write; the server reads its two
 * positions once, when a producer dies, and believes them no further than they can
 * hurt that channel.
 *
 * Tickets of one channel have consecutive positions, low to sent (SEND is accepted in
 * order only), so all of them can be found without a list.
 */
#include "heap.h"
#include "ledger.h"
#include "server.h"
#include "tickets.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum sweep {
	SWEEP_NONE = 0,
	SWEEP_LOST, /* producer dead: tickets outside [head, tail) reach nobody */
	SWEEP_ALL,  /* consumer gone: nobody reads any more */
};
#define SWEEP_SLICE 64u
/*
 * A ticket may be all that is left of a sender's unit: a MOVE turns the one into the other when
 * it is read (hot.c, tests/model/move.pml). What happened before that MOVE is applied one
 * whole epoch after it at the latest, so no sooner may the ticket go without its consumer's
 * word. After the channel closed there are no such tickets any more; the counter grows
 * within an epoch, once its decrements are applied, so two steps of it hold a whole one.
 */
#define SWEEP_DELAY 2u

struct channel *tarn__channel_of(const struct state *st, const struct object *o)
{
	if (object_kind(o) != TARN__KIND_CHANNEL)
		return NULL;
	return &st->channel[st->channel_of[o - st->object]];
}

static int record_new(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_channel;

	if (i != NIL) {
		SET(st, h->free_channel, st->channel[i].next);
	} else {
		i = h->channels != 0 ? h->channels : 1;
		if (i >= MAX_CHANNELS)
			return -ENFILE;
		int r = tarn__state_reserve(st, st->channel, sizeof *st->channel,
					    &h->channels_reserved, i + 1);
		if (r < 0)
			return r;
		SET(st, h->channels, i + 1);
	}
	SET(st, h->n_channels, h->n_channels + 1);
	*ret = i;
	return 0;
}

/* A fresh ring must not show marks of another life of its memory, and says from the first how many
 * items it is for: who finds it by name may do so before its maker has the answer. pwrite is the
 * guarded way to DATA. */
static int ring_begin(struct server *s, const struct object *o, uint64_t bytes, uint64_t items)
{
	static const unsigned char zeroes[65536];

	for (uint64_t at = 0; at < bytes;) {
		uint64_t take = bytes - at < sizeof zeroes ? bytes - at : sizeof zeroes;
		ssize_t n = pwrite(s->st.data.fd, zeroes, take, (off_t)(o->offset + at));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (uint64_t)n;
	}
	if (pwrite(s->st.data.fd, &items, sizeof items,
		   (off_t)(o->offset + offsetof(struct tarn__channel_ring, capacity))) !=
	    (ssize_t)sizeof items)
		return -EIO;
	return 0;
}

int tarn__channel_make(struct server *s, uint32_t client, uint64_t slots, uint64_t items,
		       const char *name, struct answer *ret)
{
	struct state *st = &s->st;
	uint32_t index, record = NIL, window = NIL;

	if (slots == 0 || slots > TARN__CHANNEL_MAX || items > slots)
		return -EINVAL;
	if (name[0] != '\0' && tarn__object_find(st, tarn__name_find(st, name)) != NULL)
		return -EEXIST;
	uint64_t capacity = slots;
	while (!tarn__is_power_of_two(capacity))
		capacity += capacity & -capacity;

	uint64_t bytes = sizeof(struct tarn__channel_ring) + capacity * sizeof(struct tarn__slot);
	const struct client *cl = &st->client[client];

	if (cl->quota != 0 && cl->owned_bytes + bytes > cl->quota)
		return -EDQUOT;
	int r = tarn__heap_alloc(st, bytes, 1, &index);

	while (r == -EAGAIN) {
		/* Nothing is set yet, so the heap may work in transactions of its own. */
		tarn__rollback(s);
		while (tarn__heap_reclaim(st, bytes, 1))
			;
		r = tarn__heap_alloc(st, bytes, 1, &index);
	}
	if (r < 0)
		return r;
	struct object *o = &st->object[index];

	tarn__object_grant(st, o, client);
	tarn__object_live(st, o);
	struct object_word w = object_word(o);
	w.kind_flags = (uint8_t)(TARN__KIND_CHANNEL << 4 | (w.kind_flags & 15));
	object_word_set(st, o, w);
	r = ring_begin(s, o, bytes, items != 0 ? items : capacity);
	if (r == 0)
		r = record_new(st, &record);
	if (r == 0)
		r = tarn__window_new(st, (uint32_t)capacity, &window);
	if (r == 0 && tarn__ledger_add(st, o, client, 1) < 0)
		r = -EDQUOT;
	if (r == 0 && name[0] != '\0')
		r = tarn__name_add(st, name, o->id);
	if (r < 0)
		return r;

	struct channel *ch = &st->channel[record];

	SET(st, ch->id, o->id);
	pair_set(st, &ch->capacity, (uint32_t)capacity, 0);
	pair_set(st, &ch->window, window, 0);
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)&ch->producer, 0);
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)&ch->consumer, 0);
	SET(st, ch->sent, 0);
	SET(st, ch->low, 0);
	/* Read at the death of a producer that is known by then; else nothing was seen. */
	SET(st, ch->death_head, 0);
	SET(st, ch->death_tail, 0);
	SET(st, ch->sweep, SWEEP_NONE);
	SET(st, st->channel_of[index], record);
	SET(st, o->size, bytes);
	tarn__touch(s, index);
	*ret = (struct answer){ .id = o->id, .size = capacity, .state = TARN__DIR_CHANNEL };
	return 0;
}

void tarn__channel_free(struct server *s, struct channel *ch)
{
	struct state *st = &s->st;
	struct state_head *h = st->head;

	tarn__name_drop(st, ch->id);
	tarn__window_free(st, ch);
	SET(st, st->channel_of[tarn__id_index(ch->id)], NIL);
	SET(st, ch->id, 0);
	SET(st, ch->next, h->free_channel);
	SET(st, h->free_channel, (uint32_t)(ch - st->channel));
	SET(st, h->n_channels, h->n_channels - 1);
}

int tarn__channel_bind(struct server *s, uint32_t client, uint64_t id, uint64_t role,
		       struct answer *ret)
{
	struct state *st = &s->st;
	struct object *o = tarn__object_find(st, id);
	struct channel *ch = o != NULL ? tarn__channel_of(st, o) : NULL;

	if (o == NULL)
		return -TARN_ESTALE;
	if (ch == NULL)
		return -TARN_EKIND;
	if (role != TARN__ROLE_PRODUCER && role != TARN__ROLE_CONSUMER)
		return -EINVAL;
	struct end *e = role == TARN__ROLE_PRODUCER ? &ch->producer : &ch->consumer;

	if (e->state != END_NEVER)
		return -EBUSY;
	/* An end that is held keeps the channel, whatever its client does with its handles. */
	tarn__object_hold(st, o);
	SET(st, e->client, client);
	SET(st, e->state, END_HELD);
	*ret = (struct answer){ .id = id, .size = ch->capacity, .state = TARN__DIR_CHANNEL };
	if (ch->producer.state == END_GONE)
		ret->state |= TARN__DIR_PRODUCER_GONE;
	if (ch->consumer.state == END_GONE)
		ret->state |= TARN__DIR_CONSUMER_GONE;
	return 0;
}

void tarn__channel_positions(struct server *s, const struct channel *ch, uint64_t *ret_head,
			     uint64_t *ret_tail)
{
	const struct object *o = &s->st.object[tarn__id_index(ch->id)];
	struct tarn__channel_ring ring;

	/* pread is the guarded copy: a hole or a truncated file is an error, not a SIGBUS. */
	if (pread(s->st.data.fd, &ring, sizeof ring, (off_t)o->offset) != (ssize_t)sizeof ring)
		memset(&ring, 0, sizeof ring);
	/* Before the lanes are sampled (H5); a system call alone orders nothing. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*ret_head = ring.head;
	*ret_tail = ring.tail;
	/* A producer that was killed between its tail and the slot's mark: the consumer goes
	 * by marks and never sees that item, so nobody would ever drop its ticket. */
	const uint64_t at = sizeof ring + ((ring.tail - 1) & (ch->capacity - 1)) *
						  sizeof(struct tarn__slot) +
			    offsetof(struct tarn__slot, mark);
	uint64_t mark;

	if (ring.tail != 0 && (pread(s->st.data.fd, &mark, sizeof mark, (off_t)(o->offset + at)) !=
				       (ssize_t)sizeof mark ||
			       mark != ring.tail))
		*ret_tail = ring.tail - 1;
}

void tarn__channel_wake(struct server *s, const struct channel *ch)
{
	const struct object *o = &s->st.object[tarn__id_index(ch->id)];
	const struct tarn__channel_ring *ring = (const void *)(s->st.data.base + o->offset);

	/* The kernel reads the words, not we. Sleepers find DIR changed and leave; one that
	 * is just going to sleep looks again after TARN__SLICE_NS. */
	tarn__futex_wake(&ring->producer_wake, INT32_MAX);
	tarn__futex_wake(&ring->consumer_wake, INT32_MAX);
}

bool tarn__channel_ticket_drop(struct server *s, struct channel *ch, uint64_t position,
			       uint64_t id, uint32_t client)
{
	struct state *st = &s->st;

	if (ch->consumer.client != client || id == 0 || tarn__ticket_find(st, ch, position) != id)
		return false;
	tarn__ticket_drop(st, ch, position);
	struct object *o = tarn__object_find(st, id);
	if (o != NULL)
		tarn__object_drop(st, o);
	return true;
}

static void sweep_start(struct server *s, struct channel *ch, enum sweep sweep)
{
	struct state *st = &s->st;

	if (ch->sweep >= (uint32_t)sweep)
		return;
	s->sweeping = true;
	SET(st, ch->sweep, (uint32_t)sweep);
	SET(st, ch->sweep_at, ch->low);
	SET(st, ch->sweep_from, st->head->epoch + SWEEP_DELAY);
}

void tarn__channel_end_gone(struct server *s, struct channel *ch, enum tarn__role role)
{
	struct state *st = &s->st;
	struct end *e = role == TARN__ROLE_PRODUCER ? &ch->producer : &ch->consumer;

	SET(st, e->state, END_GONE);
	/* By the epoch rule every RECV that the consumer posted before it left is applied:
	 * what still has a ticket was never received. */
	if (role == TARN__ROLE_CONSUMER)
		sweep_start(s, ch, SWEEP_ALL);
	tarn__touch(s, tarn__id_index(ch->id));
	tarn__object_drop(st, &st->object[tarn__id_index(ch->id)]);
}

/* The producer does not keep to the ring or the consumer redeems nothing, nobody can tell
 * which: the channel is both ends' own, so it ends, and both clients stay. */
void tarn__channel_overrun(struct server *s, struct channel *ch)
{
	if (ch->consumer.state == END_HELD) {
		tarn__channel_end_gone(s, ch, TARN__ROLE_CONSUMER);
		return;
	}
	SET(&s->st, ch->consumer.state, END_GONE);
	sweep_start(s, ch, SWEEP_ALL);
	tarn__touch(s, tarn__id_index(ch->id));
}

/* PROTOCOL 3.8: with (h, t) read before the two epochs, tickets p < h or p >= t reach
 * nobody. Called when the producer's reclaim begins. */
void tarn__channel_producer_died(struct server *s, struct channel *ch)
{
	if (ch->producer.state == END_HELD)
		tarn__channel_end_gone(s, ch, TARN__ROLE_PRODUCER);
	if (ch->consumer.state != END_GONE)
		sweep_start(s, ch, SWEEP_LOST);
}

bool tarn__channel_sweep(struct server *s, struct channel *ch)
{
	struct state *st = &s->st;
	unsigned steps = 0;

	if (ch->sweep == SWEEP_NONE)
		return false;
	if (ch->tickets != 0 && st->head->epoch < ch->sweep_from)
		return true;
	while (ch->sweep_at < ch->sent && ch->tickets != 0 && steps++ < SWEEP_SLICE) {
		uint64_t p = ch->sweep_at;
		uint64_t id = 0;

		if (ch->sweep == SWEEP_ALL || p < ch->death_head || p >= ch->death_tail)
			id = tarn__ticket_find(st, ch, p);
		if (id != 0) {
			struct object *o = tarn__object_find(st, id);

			tarn__ticket_drop(st, ch, p);
			if (o != NULL)
				tarn__object_drop(st, o);
		}
		SET(st, ch->sweep_at, p + 1);
	}
	bool more = ch->sweep_at < ch->sent && ch->tickets != 0;
	if (!more)
		SET(st, ch->sweep, SWEEP_NONE);
	tarn__commit(s);
	return more;
}

/* A channel object without claims, or with none but those of its own ring: its ends are gone with it,
 * so nobody is to find it by its name any more, who could bind neither. */
void tarn__channel_abandon(struct server *s, struct channel *ch)
{
	tarn__name_drop(&s->st, ch->id);
	if (ch->producer.state != END_GONE)
		SET(&s->st, ch->producer.state, END_GONE);
	if (ch->consumer.state != END_GONE)
		SET(&s->st, ch->consumer.state, END_GONE);
	sweep_start(s, ch, SWEEP_ALL);
}
