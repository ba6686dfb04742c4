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
#include "ledger.h"
#include "things.h"

#define BATCH 32u
#define SHORT_WORDS 4u  /* of arguments: what a message of one slot has room for */
#define RESULT_WORDS 5u /* of a reply of one slot */

/* What the calls of a batch have in common, and the object of the last one. */
struct lot {
	struct server *s;
	struct state *st;
	struct tarn__host *host;
	struct lane_view *v;
	struct lane *l;
	struct tarn__slot *replies; /* META's copy of the ring */
	struct turn t;
	struct tarn__run run;       /* run.id: the object in hand; 0: none */
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
	const struct thing *k = o != NULL ? tarn__thing_of(b->st, o) : NULL;
	const struct tarn__served *type = k != NULL ? tarn__thing_type(b->s, k) : NULL;

	b->run.id = 0;
	if (type == NULL || (k->flags & (THING_MADE | THING_MAKING)) != THING_MADE)
		return false;
	b->run.id = id;
	b->run.served = type;
	b->run.self = tarn__thing_self(b->s, o, type);
	return true;
}

/* The method of the object in hand that a message means, if it can run here. */
static inline const struct tarn__offer *offer_of(const struct lot *b, uint64_t packed)
{
	unsigned method = tarn__pack_method(packed);
	const struct tarn__served *type = b->run.served;

	if (tarn__unlikely(method >= type->n_offers))
		return NULL;
	const struct tarn__offer *offer = &type->offer[method];

	return (offer->flags & (TARN_METHOD_INLINE | TARN_METHOD_INTERNAL)) == TARN_METHOD_INLINE
		       ? offer : NULL;
}

static inline void reply(struct lot *b, const uint64_t *w, const struct tarn__payload *p)
{
	uint64_t from = b->l->replies;
	struct tarn__slot *slot = &b->replies[from % TARN__REPLIES];
	uint32_t n = p->n_words;

	/* Beyond the committed cursor, so it needs no log. No word of an older reply stays. */
	slot->word[0] = tarn__reply(TARN__MSG_CALL, 1, 0, tarn__header_cookie(w[0]));
	slot->word[1] = tarn__pack(0, p->n_values, 0, 0, 0, n);
	slot->word[2] = n > 0 ? p->words[0] : 0;
	slot->word[3] = n > 1 ? p->words[1] : 0;
	slot->word[4] = n > 2 ? p->words[2] : 0;
	slot->word[5] = n > 3 ? p->words[3] : 0;
	slot->word[6] = n > 4 ? p->words[4] : 0;
	slot->mark = from + 1;
	SET(b->st, b->l->replies, from + 1);
	b->v->wake = true;
	b->s->eager++;
}

/* Nothing but the method's own memory was changed, and what it gave is short. */
static inline bool is_plain(const struct lot *b)
{
	return (b->st->head->undo.n | b->s->n_touched | b->s->n_later | b->d.n_drops | b->d.deferred |
		b->run.result.n_refs) == 0 &&
	       b->s->jobs == NULL && b->run.result.n_words <= RESULT_WORDS;
}

enum way { DECLINED, DONE, LAST };

/* LAST: it was done, but no other may follow in this batch. */
static inline enum way call_one(struct lot *b, const struct tarn__slot *slot)
{
	struct tarn__host *h = b->host;
	const uint64_t *w = slot->word;
	uint64_t packed = w[2];
	unsigned flags = tarn__pack_flags(packed), slots = tarn__pack_reply_slots(packed);
	uint32_t n_words = tarn__pack_words(packed);

	if (tarn__unlikely(tarn__pack_refs(packed) != 0 || n_words > SHORT_WORDS ||
			   slots > TARN__MESSAGE_SLOTS || flags != (slots == 0 ? TARN__CALL_ONEWAY : 0u)))
		return DECLINED;
	/* 0 names nothing, and is also what there is in hand before the first one. */
	if (tarn__unlikely(w[1] == 0))
		return DECLINED;
	if (w[1] != b->run.id && tarn__unlikely(!object_take(b, w[1])))
		return DECLINED;
	const struct tarn__offer *offer = offer_of(b, packed);

	if (tarn__unlikely(offer == NULL) || !h->ops->enter(h, b->run.served, offer, w[1]))
		return DECLINED;
	b->run.offer = offer;
	b->run.words = w + 3;
	b->run.n_words = n_words;
	b->run.n_values = tarn__pack_values(packed);
	b->run.succeeded = false;
	b->s->calls_inline++;
	tarn__deed_begin(&b->t, &b->run, (offer->flags & TARN_METHOD_READ) != 0);

	int code = h->ops->run(h, &b->run);

	if (tarn__likely(code == 0) && tarn__likely(is_plain(b))) {
		if (slots != 0)
			reply(b, w, &b->run.result);
		SET(b->st, b->l->position, b->l->position + 1);
		b->run.succeeded = true;
		h->ops->run_end(h, &b->run);
		/* What it changed in containers is part of this. */
		commit(b->st);
		tarn__settle(b->s, true);
		h->ops->leave(h, w[1]);
		tarn__deed_over(&b->t);
		return DONE;
	}
	b->t.w = w;
	b->t.slot = slot;
	enum verdict verdict = tarn__call_over(&b->t, &b->run, &b->d, code);

	h->ops->run_end(h, &b->run);
	b->s->inside = w[1];
	tarn__turn_end(&b->t, verdict);
	return LAST;
}

/* What a call names; any number will do for a prefetch. */
static inline void prefetch_called(const struct state *st, uint64_t id)
{
	uint32_t index = tarn__id_index(id);

	if (index < st->head->heap.objects) {
		__builtin_prefetch(&st->object[index]);
		__builtin_prefetch(&st->channel_of[index]);
	}
}

uint32_t tarn__hot_calls(struct server *s, struct lane_view *v)
{
	struct tarn__slot slot[BATCH];
	struct state *st = &s->st;
	struct lane *l = &st->lane[v->lane];
	uint32_t n = 0, done = 0;
	enum way way = DONE;

	/* A call in which a server died is answered the long way. */
	if (tarn__unlikely(s->host == NULL || st->client[l->client].state != CLIENT_ACTIVE ||
			   s->n_died != 0))
		return 0;
	while (n < BATCH && v->position + n < v->limit &&
	       tarn__request_ready(v->requests, v->position + n)) {
		tarn__request_copy(v->requests, v->position + n, &slot[n]);
		if (!is_short(slot[n].word))
			break;
		prefetch_called(st, slot[n].word[1]);
		n++;
	}
	if (n == 0)
		return 0;
	struct lot b;

	b.s = s;
	b.st = st;
	b.host = s->host;
	b.v = v;
	b.l = l;
	b.replies = &st->replies[(uint64_t)v->lane * TARN__REPLIES];
	b.t = (struct turn){ .s = s, .st = st, .v = v, .client = l->client, .n = 1 };
	tarn__run_init(&b.t, NULL, &b.d, &b.run);
	while (done < n && way == DONE) {
		way = call_one(&b, &slot[done]);
		done += way == DONE;
	}
	v->position = l->position;
	s->messages += done;
	if (tarn__likely(s->facts_client != NULL))
		s->facts_client[b.t.client].by_kind[TARN__MSG_CALL] += done;
	return done + (way == LAST);
}
