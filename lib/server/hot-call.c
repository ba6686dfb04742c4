/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way for what most calls are: a method declared inline, of an object that is there, a
 * few words of arguments without references, a result of a few words.
 *
 * What is checked is what objects.c checks. A call that is anything else is declined before
 * anything is changed, and goes that way. When the method ran and what it gave is not so simple (it
 * failed, held, dropped or made something, gave references or much), its call ends as one of
 * objects.c: tarn__call_over().
 *
 * Messages are copied (I20) and what they name is fetched for up to 32 at a time, so that the lines
 * of the next cross while one runs; replies are published together. But each call is a transaction of
 * its own, of two logged words: a method that ran in a transaction that a crash undoes runs again, and
 * so it is one call of the server's and not 32 that may run twice. The words cost some 20
 * instructions.
 */
#include "hot.h"

#include "deed.h"
#include "hints.h"
#include "ledger.h"
#include "things.h"

#define BATCH 32u
#define SHORT_WORDS 4u  /* of arguments: what a message of one slot has room for */
#define RESULT_WORDS 5u /* of a reply of one slot */

/* What the calls of a batch have in common, and the object and the method of the last one. */
struct lot {
	struct server *s;
	struct state *st;
	struct tarn__host *host;
	struct lane_view *v;
	struct lane *l;
	const struct tarn__undo *undo;
	struct tarn__slot *replies; /* META's copy of the ring */
	struct turn t;
	struct tarn__run run;       /* run.id: the object in hand; 0: none. run.offer: the method; NULL: none */
	uint64_t packed;            /* of the method in hand: its number, and counts that go together */
	bool answers;               /* a reply is wanted */
	bool gated;                 /* executors may be at the object */
	bool noted;                 /* a successor is to know what was begun */
	struct deed d;
};

static inline bool is_short(const uint64_t *w)
{
	return tarn__header_kind(w[0]) == TARN__MSG_CALL && tarn__header_slots(w[0]) == 1;
}

/* Makes @id the object in hand. False: there is none that can be called. */
static bool object_take(struct lot *b, uint64_t id)
{
	const struct object *o = object_find(b->st, id);
	const struct thing *k = o != NULL ? tarn__hint_thing(b->s, o, id) : NULL;
	const struct tarn__served *type = k != NULL ? tarn__thing_type(b->s, k) : NULL;

	b->run.id = 0;
	if (type == NULL || (k->flags & (THING_MADE | THING_MAKING)) != THING_MADE)
		return false;
	b->run.id = id;
	if (b->run.served != type)
		b->run.offer = NULL;
	b->run.served = type;
	b->run.self = tarn__thing_self(b->s, o, type);
	tarn__hint_set(b->s, object_index(b->st, o), k, b->run.self);
	return true;
}

/* Makes the method of the object in hand that a message means the one in hand. False: there is no
 * object, the message is not of the simple kind, or the method cannot run here. */
static bool method_take(struct lot *b, uint64_t packed)
{
	unsigned flags = tarn__pack_flags(packed), slots = tarn__pack_reply_slots(packed);
	unsigned method = tarn__pack_method(packed);
	const struct tarn__served *type = b->run.served;

	/* 0 names nothing, and is also what there is in hand before the first one. */
	if (b->run.id == 0 || tarn__pack_refs(packed) != 0 || tarn__pack_words(packed) > SHORT_WORDS ||
	    tarn__pack_values(packed) * TARN__SLOT_WORDS > tarn__pack_words(packed) ||
	    slots > TARN__MESSAGE_SLOTS || flags != (slots == 0 ? TARN__CALL_ONEWAY : 0u) ||
	    method >= type->n_offers)
		return false;
	const struct tarn__offer *offer = &type->offer[method];

	if ((offer->flags & (TARN_METHOD_INLINE | TARN_METHOD_INTERNAL)) != TARN_METHOD_INLINE)
		return false;
	b->run.offer = offer;
	b->run.n_words = tarn__pack_words(packed);
	b->run.n_values = tarn__pack_values(packed);
	b->answers = slots != 0;
	b->packed = packed;
	return true;
}

/* The effects of a call that is done: its reply, if one is wanted, and the lane's cursor. Nothing
 * else was set in the transaction. */
static inline __attribute__((always_inline)) void effects(struct lot *b, const uint64_t *w)
{
	const struct tarn__payload *p = &b->run.result;
	uint64_t from = b->l->replies;
	struct tarn__slot *slot = &b->replies[from % TARN__REPLIES];
	uint32_t n = p->n_words;

	if (!b->answers) {
		SET(b->st, b->l->position, b->l->position + 1);
		return;
	}
	/* Beyond the committed cursor, so it needs no log. No word of an older reply stays. */
	slot->word[0] = tarn__reply(TARN__MSG_CALL, 1, 0, tarn__header_cookie(w[0]));
	slot->word[1] = tarn__pack(0, p->n_values, 0, 0, 0, n);
	for (unsigned k = 2; k < 7; k++)
		slot->word[k] = 0;
	if (tarn__likely(n == TARN__SLOT_WORDS)) {
		slot->word[2] = p->words[0];
		slot->word[3] = p->words[1];
	} else {
		for (uint32_t k = 0; k < n; k++)
			slot->word[2 + k] = p->words[k];
	}
	slot->mark = from + 1;
	tarn__meta_set_first(&b->st->meta, &b->l->replies, from + 1, &b->l->position, b->l->position + 1);
}

/* Nothing but the method's own memory was changed, and what it gave is short. */
static inline bool is_plain(const struct lot *b)
{
	return (b->undo->n | b->s->n_touched | b->s->n_later | b->d.n_drops | b->d.deferred |
		b->run.result.n_refs) == 0 &&
	       b->s->jobs == NULL && b->run.result.n_words <= RESULT_WORDS;
}

/* LAST: it was done, but no other may follow in this batch. */
enum way { DECLINED, DONE, LAST };

/* The end of a call that is not so simple: its context is to be ended, if not more. */
static enum way end_slowly(struct lot *b, const struct tarn__slot *slot, int code)
{
	struct tarn__host *h = b->host;
	uint64_t id = b->run.id;
	enum way way = DONE;

	if (code == 0 && is_plain(b)) {
		effects(b, slot->word);
		b->run.succeeded = true;
		h->ops->run_end(h, &b->run);
		/* What it changed in containers is part of this; they are left when it is seen. */
		b->s->inside = id;
		tarn__commit(b->s);
		b->gated = h->busy;
		tarn__deed_over(&b->t);
	} else {
		b->t.w = slot->word;
		b->t.slot = slot;
		enum verdict verdict = tarn__call_over(&b->t, &b->run, &b->d, code);

		h->ops->run_end(h, &b->run);
		b->s->inside = id;
		tarn__turn_end(&b->t, verdict);
		way = LAST;
	}
	b->run.succeeded = false;
	b->run.context = NULL;
	return way;
}

static inline enum way call_one(struct lot *b, const struct tarn__slot *slot)
{
	struct tarn__host *h = b->host;
	const uint64_t *w = slot->word;

	if (tarn__unlikely(w[1] != b->run.id) && !object_take(b, w[1]))
		return DECLINED;
	if (tarn__unlikely(w[2] != b->packed || b->run.offer == NULL) && !method_take(b, w[2]))
		return DECLINED;
	if (tarn__unlikely(b->gated) && !h->ops->enter(h, b->run.served, b->run.offer, w[1]))
		return DECLINED;
	b->run.words = w + 3;
	if (tarn__unlikely(b->noted))
		tarn__deed_begin(&b->t, &b->run, (b->run.offer->flags & TARN_METHOD_READ) != 0);
	else
		b->st->head->running.notes = 0; /* all that is there to begin */

	int code = h->ops->call(h, &b->run);

	if (tarn__unlikely(!b->run.repeatable || !is_plain(b)))
		return end_slowly(b, slot, code);
	effects(b, w);
	commit(b->st);
	if (tarn__unlikely(b->gated))
		h->ops->leave(h, w[1]);
	if (tarn__unlikely(b->noted))
		tarn__deed_over(&b->t);
	return DONE;
}

/* What a call names; any number will do for a prefetch. */
static inline void prefetch_called(const struct server *s, uint64_t id)
{
	uint32_t index = tarn__id_index(id);

	if (index < s->st.head->heap.objects)
		tarn__hint_fetch(s, index);
}

static void lot_begin(struct lot *b, struct server *s, struct lane_view *v)
{
	struct state *st = &s->st;

	b->s = s;
	b->st = st;
	b->host = s->host;
	b->v = v;
	b->l = &st->lane[v->lane];
	b->undo = &st->head->undo;
	b->replies = &st->replies[(uint64_t)v->lane * TARN__REPLIES];
	b->t = (struct turn){ .s = s, .st = st, .v = v, .client = b->l->client, .n = 1 };
	b->packed = 0;
	b->answers = false;
	b->gated = s->host->busy;
	b->noted = s->heritage != NULL;
	tarn__run_init(&b->t, NULL, &b->d, &b->run);
}

/* @calls were made; the last of them is perhaps counted already, as a message of its own. */
static void lot_end(struct lot *b, uint64_t replies, uint32_t calls, uint32_t done)
{
	struct server *s = b->s;

	b->v->position = b->l->position;
	/* At once: the caller waits, and methods may take long, so not after the rest of the lane. */
	if (b->l->replies != replies) {
		b->v->wake = true;
		s->eager++;
		tarn__lane_publish(s, b->v);
	}
	if (b->run.context != NULL)
		b->host->ops->run_end(b->host, &b->run);
	s->calls_inline += calls;
	s->messages += done;
	if (tarn__likely(s->facts_client != NULL))
		s->facts_client[b->t.client].by_kind[TARN__MSG_CALL] += done;
}

uint32_t tarn__hot_calls(struct server *s, struct lane_view *v)
{
	struct tarn__slot slot[BATCH];
	struct state *st = &s->st;
	struct lane *l = &st->lane[v->lane];
	uint64_t position = v->position, replies = l->replies, last = 0;
	uint32_t n = 0, done = 0, most;
	enum way way = DONE;
	struct lot b;

	/* A call in which a server died is answered the long way. */
	if (tarn__unlikely(s->host == NULL || st->client[l->client].state != CLIENT_ACTIVE ||
			   s->n_died != 0))
		return 0;
	most = v->limit - position < BATCH ? (uint32_t)(v->limit - position) : BATCH;
	while (n < most && tarn__request_ready(v->requests, position + n)) {
		tarn__request_copy(v->requests, position + n, &slot[n]);
		if (!is_short(slot[n].word))
			break;
		if (slot[n].word[1] != last)
			prefetch_called(s, last = slot[n].word[1]);
		n++;
	}
	if (n == 0)
		return 0;
	lot_begin(&b, s, v);
	while (done < n && (way = call_one(&b, &slot[done])) == DONE)
		done++;
	lot_end(&b, replies, done + (way == LAST), done);
	return done + (way == LAST);
}
