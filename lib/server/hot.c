/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way for what nearly every message is: blocks sent, received, released.
 *
 * apply.c says what messages mean; here the same effects are had for the common case with
 * few instructions, and for many messages in one transaction. Everything that is not the
 * common case (an offence, a stale id, a third holder, a large block freed, a span that
 * runs full or empty, an object that is no block) is left alone: the functions here
 * decide before they change anything, and what they decline goes the way of apply.c in a
 * transaction of its own. So a batch never has to be undone in part.
 *
 * Within a batch, words that every message changes (cursors, totals, one channel's
 * positions, one span's list) are kept in struct batch, in private memory, and set once at
 * the end, before the commit. Whoever reads them between must read them here, and nobody
 * but this file runs between. A crash loses the batch as a whole: the log holds what was
 * set, and the rest was never written (I11). The cursor of the lane, or of the buffer of
 * decrements, moves in the same transaction as the effects (H19).
 */
#include "hot.h"

#include "heap.h"
#include "ledger.h"
#include "server.h"
#include "tickets.h"

#define BATCH 32u
/* Words that one message sets at most, and the end of a batch: the log has room for both. */
#define MESSAGE_WORDS 12u
#define END_WORDS 24u
static_assert(BATCH * MESSAGE_WORDS + END_WORDS < TARN__UNDO_CAPACITY, "the log holds a batch");

/* A change of a client's totals, not yet set. */
struct tally {
	uint32_t client;
	int32_t n;
	int64_t bytes;
};

struct batch {
	struct server *s;
	struct state *st;
	uint32_t client;         /* phase A: who sent the messages */
	uint64_t n_deferred;     /* phase A: entries in the buffer that is being filled */
	struct deferred *deferred;
	int64_t granted, live;   /* changes of the totals of states */
	struct tally held;       /* ids with units of a client */
	struct tally owned;      /* blocks whose owner a client is */
	/* One channel: its words as they will be. NULL: none. */
	struct channel *ch;
	uint64_t channel_id;     /* what messages call it */
	uint64_t *window;        /* its places */
	uint64_t length;         /* how many: a power of two */
	uint64_t sent, low;
	uint32_t tickets;
	/* One span: the same. NIL: none. */
	uint32_t span, used, free;
	int64_t heap_used;       /* bytes */
};

/* ---- the words that are kept ---- */

static void channel_put_back(struct batch *b)
{
	struct channel *ch = b->ch;

	b->ch = NULL;
	b->channel_id = 0;
	if (ch == NULL)
		return;
	if (b->sent != ch->sent)
		SET(b->st, ch->sent, b->sent);
	if (b->low != ch->low)
		SET(b->st, ch->low, b->low);
	if (b->tickets != ch->tickets)
		SET(b->st, ch->tickets, b->tickets);
}

/* Makes channel @id the one in hand. False: there is none. */
static inline bool channel_take(struct batch *b, uint64_t id)
{
	if (tarn__likely(b->channel_id == id))
		return b->ch != NULL;
	struct object *o = object_find(b->st, id);
	struct channel *ch = o != NULL ? tarn__channel_of(b->st, o) : NULL;

	if (ch == NULL)
		return false;
	channel_put_back(b);
	b->ch = ch;
	b->channel_id = id;
	b->window = window_at(b->st, ch, 0);
	b->length = window_length(ch);
	b->sent = ch->sent;
	b->low = ch->low;
	b->tickets = ch->tickets;
	return true;
}

/* The place of a position in the window of the channel in hand. */
static inline uint64_t *place_of(const struct batch *b, uint64_t position)
{
	return &b->window[position & (b->length - 1)];
}

static void span_put_back(struct batch *b)
{
	if (b->span == NIL)
		return;
	struct span *s = &b->st->span[b->span];

	if (s->used != b->used || s->free != b->free)
		pair_set(b->st, &s->used, b->used, b->free);
	b->span = NIL;
}

static void held_put_back(struct batch *b)
{
	struct client *cl = &b->st->client[b->held.client];

	if (b->held.n != 0)
		SET(b->st, cl->held, cl->held + (uint64_t)(int64_t)b->held.n);
	b->held.n = 0;
}
static inline void held_change(struct batch *b, uint32_t client, int32_t n)
{
	if (tarn__unlikely(b->held.client != client)) {
		held_put_back(b);
		b->held.client = client;
	}
	b->held.n += n;
}
static inline uint64_t held_now(const struct batch *b, uint32_t client)
{
	uint64_t held = b->st->client[client].held;

	return b->held.client == client ? held + (uint64_t)(int64_t)b->held.n : held;
}

static void owned_put_back(struct batch *b)
{
	struct client *cl = &b->st->client[b->owned.client];

	if (b->owned.n != 0) {
		SET(b->st, cl->owned, cl->owned + (uint64_t)(int64_t)b->owned.n);
		SET(b->st, cl->owned_bytes, cl->owned_bytes + (uint64_t)b->owned.bytes);
	}
	b->owned.n = 0;
	b->owned.bytes = 0;
}

static inline void owned_change(struct batch *b, uint32_t client, int32_t n, int64_t bytes)
{
	if (tarn__unlikely(b->owned.client != client)) {
		owned_put_back(b);
		b->owned.client = client;
	}
	b->owned.n += n;
	b->owned.bytes += bytes;
}

static void add_to(struct state *st, uint64_t *word, int64_t change)
{
	if (change != 0)
		tarn__meta_set64(&st->meta, word, *word + (uint64_t)change);
}

/* Everything that was kept, into META. The caller moves its cursor and commits. */
static void put_back(struct batch *b)
{
	struct state_head *h = b->st->head;

	channel_put_back(b);
	span_put_back(b);
	held_put_back(b);
	owned_put_back(b);
	add_to(b->st, &h->n_granted, b->granted);
	add_to(b->st, &h->n_live, b->live);
	add_to(b->st, &h->heap.used, b->heap_used);
	b->granted = b->live = b->heap_used = 0;
}

/* ---- objects ---- */

/* ext and edges, owner and state, a holder: pairs of 32 bits that share a logged word. */
static inline void ext_set(struct batch *b, struct object *o, uint32_t ext)
{
	pair_set(b->st, &o->ext, ext, o->edges);
}
static inline void holder_set(struct batch *b, struct holder *h, uint32_t client, uint32_t units)
{
	pair_set(b->st, &h->client, client, units);
}

static inline struct holder *holder_of(struct object *o, uint32_t client)
{
	if (o->holder[0].client == client)
		return &o->holder[0];
	return o->holder[1].client == client ? &o->holder[1] : NULL;
}

static inline bool is_block(const struct object *o)
{
	return object_kind(o) == TARN__KIND_BLOCK;
}

/* True: the last claim of @o may go the short way: to its span's list. */
static inline bool can_free(struct batch *b, const struct object *o)
{
	const struct span *s = &b->st->span[o->place];

	if (o->state != OBJECT_LIVE || o->edges != 0 || (object_flags(o) & (OBJECT_LARGE | OBJECT_WATCHED)) ||
	    tarn__id_generation(o->id) >= TARN__GENERATION_MAX)
		return false;
	uint32_t used = b->span == o->place ? b->used : s->used;

	return used > 1 && used < s->slots;
}

/* tarn__heap_free() and what settles before it, of a block for which can_free() holds and
 * whose claims are gone. */
static inline void free_block(struct batch *b, struct object *o)
{
	struct state *st = b->st;
	uint32_t span = o->place, index = object_index(st, o);
	uint64_t slot = tarn__class_bytes(st->span[span].cls);

	if (tarn__unlikely(b->span != span)) {
		span_put_back(b);
		b->span = span;
		b->used = st->span[span].used;
		b->free = st->span[span].free;
	}
	if (o->owner != NIL)
		owned_change(b, o->owner, -1, -(int64_t)slot);
	SET(st, o->id, o->id + (1ull << TARN__INDEX_BITS));
	object_owner_word_set(st, o, NIL, (struct object_word){ .state = OBJECT_FREE });
	pair_set(st, &o->next, b->free, span);
	if (o->size != slot)
		SET(st, o->size, slot);
	b->free = index;
	b->used--;
	b->live--;
	b->heap_used -= (int64_t)slot;
}

/* ---- phase A ---- */

static inline void defer(struct batch *b, enum tarn__message kind, uint64_t id, uint64_t at,
			 uint64_t units)
{
	/* Beyond the committed count, so it needs no log; room as in apply.c. */
	b->deferred[b->n_deferred++] = (struct deferred){
		.kind = kind, .client = b->client, .id = id, .at = at, .units = units,
	};
}

/* What publishing would do to @o: a first message of its grantee. */
static inline bool is_news(const struct batch *b, const struct object *o)
{
	return o->state == OBJECT_GRANTED && o->owner == b->client;
}

/* A client that does not hold @o yet may: a place in its line, and credit (ledger.c). */
static inline struct holder *new_holder(struct batch *b, struct object *o)
{
	const struct client *cl = &b->st->client[b->client];

	if (o->spilled != 0 || held_now(b, b->client) >= cl->credits + lanes_claims(cl->lanes))
		return NULL;
	return holder_of(o, NIL);
}

/*
 * SEND of a block. With units (MOVE) the sender's last reference goes into the channel: the
 * unit becomes the ticket here and now, so that nothing is left to do one epoch later. The
 * claim is replaced, never absent, and the ticket's end is a decrement as any other, a whole
 * epoch after it is read; a channel that closes keeps its tickets as long (channels.c). What
 * happened before the MOVE is applied by then. A unit that is not booked yet, because the
 * RECV that made it is in a lane not read yet, goes the old way: ticket now, RELEASE later.
 * What is booked may be what an earlier RELEASE gives up, and the unit meant be in that RECV:
 * then the RELEASE waits for it (put_off() in epoch.c).
 * tests/model/move.pml has this rule, and what happens without the parts of it.
 */
static bool hot_send(struct batch *b, const uint64_t *w)
{
	struct state *st = b->st;
	struct object *o = object_find(st, w[3]);
	struct holder *h = NULL;
	uint64_t units = w[5];

	if (o == NULL || !is_block(o) || !channel_take(b, w[1]))
		return false;
	struct channel *ch = b->ch;

	if (ch->producer.client != b->client || w[2] != b->sent ||
	    ch->producer.state != END_HELD || ch->consumer.state == END_GONE ||
	    b->sent - b->low >= b->length || b->tickets >= ch->capacity ||
	    *place_of(b, b->sent) != 0)
		return false;
	bool sized = (object_flags(o) & OBJECT_SIZED) != 0;

	/* Until somebody says the size it is the capacity. */
	if (!sized && (w[4] == 0 || w[4] > o->size))
		return false;
	bool news = is_news(b, o);
	/* The allocation's own unit, which nobody has to book first. */
	bool born_to_move = news && units == 1;
	uint32_t ext = o->ext + 1;

	if (news && !born_to_move) {
		h = new_holder(b, o);
		if (h == NULL)
			return false;
		holder_set(b, h, b->client, 1);
		held_change(b, b->client, 1);
		ext++;
	} else if (!news && units != 0) {
		h = holder_of(o, b->client);
	}
	if (h != NULL && units != 0 && units <= h->units) {
		uint32_t left = h->units - (uint32_t)units;

		holder_set(b, h, left != 0 ? b->client : NIL, left);
		if (left == 0)
			held_change(b, b->client, -1);
		ext -= (uint32_t)units;
	} else if (units != 0 && !born_to_move) {
		defer(b, TARN__MSG_RELEASE, w[3], 0, units);
	}

	SET(st, *place_of(b, b->sent), w[3]);
	b->sent++;
	b->tickets++;
	b->granted -= news;
	b->live += news;
	if (news && tarn__likely(st->born != NULL))
		st->born[object_index(st, o)] = st->tick; /* unlogged: for people */
	ext_set(b, o, ext);
	if (!sized && o->size != w[4])
		SET(st, o->size, w[4]);
	if (news || !sized) {
		struct object_word word = object_word(o);

		word.state = news ? OBJECT_LIVE : word.state;
		word.kind_flags |= OBJECT_SIZED;
		object_word_set(st, o, word);
	}
	return true;
}

static bool hot_recv(struct batch *b, const uint64_t *w)
{
	struct object *o = object_find(b->st, w[3]);

	if (o == NULL || !is_block(o) || is_news(b, o))
		return false;
	struct holder *h = holder_of(o, b->client);

	if (h == NULL) {
		h = new_holder(b, o);
		if (h == NULL)
			return false;
		holder_set(b, h, b->client, 1);
		held_change(b, b->client, 1);
	} else {
		if (h->units >= UNITS_MAX)
			return false;
		holder_set(b, h, b->client, h->units + 1);
	}
	ext_set(b, o, o->ext + 1);
	defer(b, TARN__MSG_RECV, w[1], w[2], w[3]);
	return true;
}

static bool hot_release(struct batch *b, const uint64_t *w)
{
	const struct object *o = object_find(b->st, w[1]);

	if (o == NULL || is_news(b, o))
		return false;
	defer(b, TARN__MSG_RELEASE, w[1], 0, w[2]);
	b->s->eager += !is_block(o); /* an object goes promptly, as in apply.c */
	return true;
}

static inline bool hot_message(struct batch *b, const uint64_t *w)
{
	switch (tarn__header_kind(w[0])) {
	case TARN__MSG_SEND:
		return hot_send(b, w);
	case TARN__MSG_RECV:
		return hot_recv(b, w);
	case TARN__MSG_ABSORB:
		defer(b, TARN__MSG_ABSORB, w[1], w[2], w[3]);
		return true;
	case TARN__MSG_RELEASE:
		return hot_release(b, w);
	default:
		return false;
	}
}

/* The object that a message of these kinds names; any number will do for a prefetch. */
static inline void prefetch_object(const struct state *st, uint64_t id)
{
	uint32_t index = tarn__id_index(id);

	if (index < st->head->heap.objects)
		tarn__fetch_to_write(&st->object[index]);
}

static inline bool is_hot(const uint64_t *w)
{
	unsigned kind = tarn__header_kind(w[0]);

	return kind >= TARN__MSG_SEND && kind <= TARN__MSG_RELEASE && tarn__header_slots(w[0]) == 1;
}

uint32_t tarn__hot_read(struct server *s, struct lane_view *v)
{
	struct tarn__slot slot[BATCH];
	struct state *st = &s->st;
	struct state_head *h = st->head;
	struct lane *l = &st->lane[v->lane];
	uint32_t n = 0, done = 0;

	/* Each is copied once (I20), and what it names is fetched while the next is copied. */
	while (n < BATCH && v->position + n < v->limit &&
	       tarn__request_ready(v->requests, v->position + n)) {
		tarn__request_copy(v->requests, v->position + n, &slot[n]);
		if (!is_hot(slot[n].word))
			break;
		prefetch_object(st, slot[n].word[tarn__header_kind(slot[n].word[0]) ==
						 TARN__MSG_RELEASE ? 1 : 3]);
		n++;
	}
	if (n == 0)
		return 0;
	struct batch b = { .s = s, .st = st, .client = l->client,
			   .n_deferred = h->n_deferred[h->filling],
			   .deferred = st->deferred[h->filling] };

	while (done < n && hot_message(&b, slot[done].word))
		done++;
	if (done == 0)
		return 0;
	put_back(&b);
	if (b.n_deferred != h->n_deferred[h->filling])
		SET(st, h->n_deferred[h->filling], b.n_deferred);
	SET(st, l->position, l->position + done);
	tarn__commit(s);
	v->position = l->position;
	s->messages += done;
	if (tarn__likely(s->facts_client != NULL)) {
		uint64_t *by_kind = s->facts_client[b.client].by_kind;

		for (uint32_t i = 0; i < done; i++)
			by_kind[tarn__header_kind(slot[i].word[0])]++;
	}
	return done;
}

/* ---- phase B ---- */

static bool hot_release_now(struct batch *b, const struct deferred *d)
{
	struct object *o = object_find(b->st, d->id);
	struct holder *h;

	if (o == NULL || !is_block(o) || (h = holder_of(o, d->client)) == NULL || d->units == 0 ||
	    d->units > h->units)
		return false;
	uint32_t units = (uint32_t)d->units, left = h->units - units, ext = o->ext - units;

	if (ext == 0 && !can_free(b, o))
		return false;
	holder_set(b, h, left != 0 ? d->client : NIL, left);
	if (left == 0)
		held_change(b, d->client, -1);
	ext_set(b, o, ext);
	if (ext == 0)
		free_block(b, o);
	return true;
}

/* low moves over what has no ticket, as far as that is seen in the window. */
static inline void advance(struct batch *b)
{
	if (b->tickets == 0)
		b->low = b->sent;
	for (unsigned k = 0; k < 64 && b->low < b->sent && *place_of(b, b->low) == 0; k++)
		b->low++;
}

static bool hot_ticket_now(struct batch *b, const struct deferred *d)
{
	struct state *st = b->st;
	uint64_t position = d->at;

	if (!channel_take(b, d->id))
		return false;
	struct channel *ch = b->ch;

	if (ch->consumer.client != d->client || ch->spilled != 0 || position < b->low ||
	    position >= b->sent || position - b->low >= b->length || d->units == 0 ||
	    *place_of(b, position) != d->units)
		return false;
	struct object *o = object_find(st, d->units);

	if (o == NULL || !is_block(o) || o->ext == 0 || (o->ext == 1 && !can_free(b, o)))
		return false;
	SET(st, *place_of(b, position), 0);
	b->tickets--;
	advance(b);
	ext_set(b, o, o->ext - 1);
	if (o->ext == 0)
		free_block(b, o);
	return true;
}

static inline bool hot_deferred(struct batch *b, const struct deferred *d)
{
	switch (d->kind) {
	case TARN__MSG_RELEASE:
		return hot_release_now(b, d);
	case TARN__MSG_RECV:
	case TARN__MSG_ABSORB:
		return hot_ticket_now(b, d);
	default:
		return false;
	}
}

static inline void prefetch_deferred(const struct state *st, const struct deferred *d)
{
	prefetch_object(st, d->kind == TARN__MSG_RELEASE ? d->id : d->units);
}

uint64_t tarn__hot_apply_older(struct server *s)
{
	struct state *st = &s->st;
	struct state_head *h = st->head;
	const struct deferred *d = st->deferred[1 - h->filling] + h->done;
	uint64_t left = h->n_deferred[1 - h->filling] - h->done, done = 0;
	uint64_t n = left < BATCH ? left : BATCH;
	struct batch b = { .s = s, .st = st };

	/* What the next batch names is fetched during this one. */
	for (uint64_t i = 0; i < n && n + i < left; i++)
		prefetch_deferred(st, &d[n + i]);
	while (done < n && hot_deferred(&b, &d[done]))
		done++;
	if (done == 0)
		return 0;
	put_back(&b);
	SET(st, h->done, h->done + done);
	tarn__commit(s);
	return done;
}

/* ---- the dead ---- */

#define LOOKS 1024u /* lines that one batch looks at */

/* As reclaim_object() in clients.c. */
static bool hot_reclaim_line(struct batch *b, struct object *o, uint32_t client, uint32_t *changed)
{
	if (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED)
		return true;
	struct holder *h = holder_of(o, client);
	bool owned = o->owner == client;

	if (h == NULL && !owned)
		return o->spilled == 0; /* else the book knows */
	if (o->state != OBJECT_LIVE || !is_block(o) || (h == NULL && o->spilled != 0))
		return false;
	uint32_t ext = h != NULL ? o->ext - h->units : o->ext;

	if (h != NULL && ext == 0 && !can_free(b, o))
		return false;
	++*changed;
	if (h != NULL) {
		holder_set(b, h, NIL, 0);
		held_change(b, client, -1);
		ext_set(b, o, ext);
		if (ext == 0) {
			free_block(b, o); /* and its owner is none */
			return true;
		}
	}
	if (owned) {
		owned_change(b, client, -1, -(int64_t)tarn__heap_capacity(b->st, o));
		SET(b->st, o->owner, NIL);
	}
	return true;
}

uint32_t tarn__hot_reclaim(struct server *s, uint32_t client, uint32_t *changed)
{
	struct state *st = &s->st;
	struct client *c = &st->client[client];
	uint64_t at = c->reclaim_at, end = st->head->heap.objects;
	uint32_t n = 0, done = 0;
	struct batch b = { .s = s, .st = st };

	while (n < LOOKS && done < BATCH && at + n < end &&
	       hot_reclaim_line(&b, &st->object[at + n], client, &done))
		n++;
	if (n == 0)
		return 0;
	put_back(&b);
	SET(st, c->reclaim_at, at + n);
	tarn__commit(s);
	*changed += done;
	return n;
}
