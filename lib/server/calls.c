/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls under way, and replies with values.
 */
#include "calls.h"

#include "claims.h"
#include "heap.h"
#include "ledger.h"
#include "turn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- sentences ---- */

static void say(struct outcome *ret, struct sentence *room, int error)
{
	size_t n = strlen(room->text);

	memset(room->words, 0, sizeof room->words);
	room->words[0] = tarn__slot_head(TARN_KIND_STRING, 0, (uint32_t)n);
	*ret = (struct outcome){ .error = error, .n_values = 1, .words = room->words, .n_words = 2 };
	if (n <= 7) {
		memcpy(&room->words[1], room->text, n);
		return;
	}
	memcpy(&room->words[2], room->text, n);
	ret->n_words += (uint32_t)(n / 8 + 1); /* with its NUL */
}

void tarn__outcome_say(struct outcome *ret, struct sentence *room, int error, const char *format,
		       ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(room->text, sizeof room->text, format, ap);
	va_end(ap);
	say(ret, room, error);
}

/* ---- replies ---- */

/* The word @at of a reply in META's copy of the ring: beyond the committed cursor, so it needs
 * no log. */
static inline uint64_t *reply_word(struct tarn__slot *ring, uint64_t from, unsigned at)
{
	return &ring[(from + at / 7) % TARN__REPLIES].word[at % 7];
}

/* The same of what takes one slot. */
static void reply_slot(struct server *s, const struct asker *to, const struct outcome *o,
		       const uint64_t *refs, unsigned n_refs)
{
	struct lane *l = &s->st.lane[to->v->lane];
	uint64_t from = l->replies;
	struct tarn__slot *slot =
		&s->st.replies[(uint64_t)to->v->lane * TARN__REPLIES + from % TARN__REPLIES];
	unsigned at = 2;

	slot->word[0] = tarn__reply(to->kind, 1, o->error, to->cookie);
	slot->word[1] = tarn__pack(0, o->n_values, n_refs, o->flags, 0, o->n_words);
	for (uint32_t k = 0; k < o->n_words; k++)
		slot->word[at++] = o->words[k];
	for (unsigned k = 0; k < 2 * o->n_refs; k++)
		slot->word[at++] = refs[k];
	while (at < 7)
		slot->word[at++] = 0;
	slot->mark = from + 1;
	SET(&s->st, l->replies, from + 1);
	to->v->wake = true;
	s->eager++;
}

/* @n_refs is what the reply says; those of @o follow. */
static void reply_write(struct server *s, const struct asker *to, const struct outcome *o,
			const uint64_t *refs, unsigned n_refs)
{
	struct lane *l = &s->st.lane[to->v->lane];
	struct tarn__slot *ring = &s->st.replies[(uint64_t)to->v->lane * TARN__REPLIES];
	uint64_t from = l->replies;
	unsigned total = 2 + o->n_words + 2 * o->n_refs, at = 0;
	unsigned slots = (total + 6) / 7;

	if (tarn__likely(slots == 1)) {
		reply_slot(s, to, o, refs, n_refs);
		return;
	}
	*reply_word(ring, from, at++) = tarn__reply(to->kind, slots, o->error, to->cookie);
	*reply_word(ring, from, at++) =
		tarn__pack(0, o->n_values, n_refs, o->flags, 0, o->n_words);
	for (uint32_t k = 0; k < o->n_words; k++)
		*reply_word(ring, from, at++) = o->words[k];
	for (unsigned k = 0; k < 2 * o->n_refs; k++)
		*reply_word(ring, from, at++) = refs[k];
	while (at < 7 * slots)
		*reply_word(ring, from, at++) = 0;
	for (unsigned k = 0; k < slots; k++)
		ring[(from + k) % TARN__REPLIES].mark = from + k + 1;
	SET(&s->st, l->replies, from + slots);
	to->v->wake = true;
	s->eager++;
}

static bool fits(const struct asker *to, const struct outcome *o)
{
	return o->n_words + 2 * o->n_refs <= TARN__REPLY_ROOM(to->slots);
}

#define CREDITS_STEP 1024u

int tarn__unit_book(struct state *st, struct object *o, uint32_t client)
{
	struct client *cl = &st->client[client];
	int r = tarn__ledger_add(st, o, client, 1);

	if (tarn__likely(r == 0) || r != -EDQUOT || cl->credits >= CREDITS_MOST)
		return r;
	r = tarn__claims_promise(st, CREDITS_STEP);
	if (r < 0)
		return r;
	SET(st, cl->credits, cl->credits + CREDITS_STEP);
	return tarn__ledger_add(st, o, client, 1);
}

/* A block of the asker's with the payload in it, as the first reference. */
static int spill(struct server *s, const struct asker *to, const struct outcome *o,
		 struct outcome *ret, uint64_t *refs, uint64_t *length)
{
	struct state *st = &s->st;
	uint64_t bytes = 8ull * o->n_words;
	uint32_t index;

	const struct client *cl = &st->client[to->client];
	if (cl->quota != 0 && cl->owned_bytes + bytes > cl->quota)
		return -EDQUOT;
	int r = tarn__heap_alloc(st, bytes, 1, &index);
	if (r < 0)
		return r == -EAGAIN ? -ENOMEM : r;
	struct object *b = &st->object[index];

	tarn__object_grant(st, b, to->client);
	tarn__object_live(st, b);
	r = tarn__unit_book(st, b, to->client);
	if (r < 0)
		return r;
	struct object_word w = object_word(b);
	w.kind_flags |= OBJECT_SIZED;
	object_word_set(st, b, w);
	if (b->size != bytes)
		SET(st, b->size, bytes);
	tarn__touch(s, index);
	memcpy(st->data.base + b->offset, o->words, bytes);
	memmove(refs + 2, refs, 16u * o->n_refs);
	refs[0] = b->id;
	refs[1] = tarn__ref_word(bytes, false);
	*length = bytes;
	*ret = *o;
	ret->flags |= TARN__CALL_SPILLED;
	ret->words = length;
	ret->n_words = 1;
	ret->n_refs = o->n_refs + 1;
	return 0;
}

/* Books each reference on the asker and says what it knows of it. */
static int book(struct server *s, const struct asker *to, const struct outcome *o, uint64_t *refs)
{
	struct state *st = &s->st;

	for (unsigned k = 0; k < o->n_refs; k++) {
		struct object *r = tarn__object_find(st, o->refs[2 * k]);

		if (r == NULL)
			return -TARN_ESTALE;
		int e = tarn__unit_book(st, r, to->client);
		if (e < 0)
			return e;
		refs[2 * k] = r->id;
		refs[2 * k + 1] = object_kind(r) == TARN__KIND_BLOCK
					  ? tarn__ref_word(r->size, object_flags(r) & OBJECT_SEALED)
					  : 0;
	}
	return 0;
}

/* Keeps the references of a reply until they are fetched; the reply says where. The table is
 * the process's: after a restart they are its client's, which has to end to lose them. */
static int stash(struct server *s, const struct asker *to, const struct outcome *o, uint64_t bytes,
		 const uint64_t *refs)
{
	struct tarn__job *table = calloc(1, sizeof *table + 16ull * o->n_refs);
	struct call *c;

	if (s->job == NULL)
		s->job = calloc(MAX_CALLS, sizeof(struct tarn__job *));
	int r = table != NULL && s->job != NULL ? tarn__call_new(s, to, CALL_STASH, 0, &c) : -ENOMEM;
	if (r < 0) {
		free(table);
		return r;
	}
	const uint64_t words[2] = { c->number, bytes };
	const struct outcome said = { .n_values = o->n_values, .flags = TARN__CALL_MORE, .words = words,
				      .n_words = 2 };

	table->number = c->number;
	table->n_refs = o->n_refs;
	table->refs = table->data;
	memcpy(table->refs, refs, 16ull * o->n_refs);
	/* What a transaction left there that was rolled back goes now. */
	free(s->job[c - s->st.call]);
	s->job[c - s->st.call] = table;
	reply_write(s, to, &said, NULL, o->n_refs);
	return 0;
}

int tarn__reply_values(struct server *s, const struct asker *to, const struct outcome *o)
{
	uint64_t refs[2 * (TARN__CALL_REFS + 1)], length = 0;
	struct outcome spilled;

	if (to->slots == 0)
		return 0;
	if (tarn__likely(o->n_refs == 0 && o->n_words <= TARN__REPLY_ROOM(1))) {
		reply_slot(s, to, o, NULL, 0);
		return 0;
	}
	int r = tarn__unlikely(o->n_refs != 0) ? book(s, to, o, refs) : 0;
	if (r < 0)
		return r;
	if (tarn__likely(fits(to, o))) {
		reply_write(s, to, o, refs, o->n_refs);
		return 0;
	}
	if (o->flags & TARN__CALL_SPILLED)
		return stash(s, to, o, o->words[0], refs); /* the first reference has the payload */
	if (o->n_words != 0) {
		r = spill(s, to, o, &spilled, refs, &length);
		if (r < 0)
			return r;
		o = &spilled;
	}
	if (tarn__likely(fits(to, o) && o->n_words != 0)) {
		reply_write(s, to, o, refs, o->n_refs);
		return 0;
	}
	return stash(s, to, o, length, refs);
}

bool tarn__reply_object(struct server *s, const struct asker *to, struct object *o)
{
	struct lane *l = &s->st.lane[to->v->lane];
	uint64_t from = l->replies;
	struct tarn__slot *slot =
		&s->st.replies[(uint64_t)to->v->lane * TARN__REPLIES + from % TARN__REPLIES];

	if (to->slots == 0 || !tarn__ledger_first(&s->st, o, to->client))
		return false;
	/* As book() and reply_slot() would do it. */
	slot->word[0] = tarn__reply(to->kind, 1, 0, to->cookie);
	slot->word[1] = tarn__pack(0, 1, 1, 0, 0, TARN__SLOT_WORDS);
	slot->word[2] = tarn__slot_head(TARN_KIND_OBJECT, 0, 0);
	slot->word[3] = 0;
	slot->word[4] = o->id;
	slot->word[5] = 0;
	slot->word[6] = 0;
	slot->mark = from + 1;
	SET(&s->st, l->replies, from + 1);
	to->v->wake = true;
	s->eager++;
	return true;
}

void tarn__reply_error(struct server *s, const struct asker *to, const struct outcome *o)
{
	struct outcome cut = *o;
	uint64_t words[2 * 7 * TARN__MESSAGE_SLOTS];

	if (to->slots == 0)
		return;
	cut.n_refs = 0;
	if (fits(to, &cut)) {
		reply_write(s, to, &cut, NULL, 0);
		return;
	}
	if (tarn__reply_values(s, to, &cut) == 0)
		return;
	/* No memory for it: of a sentence the beginning. What spill() has set stays in this
	 * transaction and is nothing but a block of the asker's, which it does not know: undone. */
	tarn__rollback(s);
	unsigned room = TARN__REPLY_ROOM(to->slots) - 2;
	uint64_t n = 8ull * room - 1;

	if (o->n_values == 1 && tarn__head_kind(o->words[0]) == TARN_KIND_STRING && n > 7 &&
	    tarn__head_length(o->words[0]) > n) {
		memcpy(words, o->words, 8 * (2 + room));
		words[0] = tarn__slot_head(TARN_KIND_STRING, 0, (uint32_t)n);
		((char *)words)[16 + n] = '\0';
		cut.words = words;
		cut.n_words = 2 + room;
	} else {
		cut.n_values = 0;
		cut.n_words = 0;
	}
	reply_write(s, to, &cut, NULL, 0);
}

void tarn__outcome_unsendable(const struct server *s, const struct asker *to, int r,
			      const struct outcome *was, struct sentence *room, struct outcome *ret)
{
	const struct client *cl = &s->st.client[to->client];

	switch (r) {
	case -TARN_ESTALE:
		tarn__outcome_say(ret, room, TARN_ERESULT, "The method ran, but its result cannot be "
				  "sent: it names something that is no more.");
		break;
	case -EDQUOT:
		tarn__outcome_say(ret, room, TARN_ERESULT, "The method ran, but its result of %u bytes "
				  "and %u references cannot be sent: its caller owns %llu of at most "
				  "%llu bytes and holds %llu of %llu references.",
				  8 * was->n_words, was->n_refs, (unsigned long long)cl->owned_bytes,
				  (unsigned long long)cl->quota, (unsigned long long)cl->held,
				  (unsigned long long)cl->credits);
		break;
	case -EAGAIN:
		tarn__outcome_say(ret, room, TARN_ERESULT, "The method ran, but its result cannot be "
				  "sent: too many calls are under way.");
		break;
	default:
		tarn__outcome_say(ret, room, TARN_ERESULT, "The method ran, but its result of %u bytes "
				  "cannot be sent: no memory for it in the arena (%s).", 8 * was->n_words,
				  strerror(-r));
	}
}

/* ---- records ---- */

/*
 * Records are shared out: a client may have as many as are left for others, whether it waits for
 * them or not. So however many clients take all they can, there is one for the next.
 */
static bool may_have_another(const struct state *st, const struct client *cl)
{
	const uint64_t left = MAX_CALLS - 1 - st->head->n_calls;

	return cl->records < left;
}

/*
 * Which records wait on a lane: this process's, made again from META by the next one. A record enters
 * when it is made, and leaves when it is made again or a search finds that it waits there no more:
 * so all that wait are in it, whatever is rolled back.
 */
struct waiting {
	uint32_t first[MAX_LANES];
	uint32_t n[MAX_LANES];
	uint32_t next[MAX_CALLS], previous[MAX_CALLS];
	uint32_t lane[MAX_CALLS]; /* NIL: in no list */
};

/* Each has slots reserved for its reply, of which the lane has TARN__REPLIES; and there may be some
 * whose references were not fetched. Searches are as long. */
#define LANE_CALLS_MOST (2 * TARN__REPLIES)

static bool waits_on(const struct state *st, uint32_t i, uint32_t lane)
{
	const struct call *c = &st->call[i];

	return c->state != CALL_FREE && c->client != NIL && c->lane == lane;
}

static void waiting_leave(struct waiting *w, uint32_t i)
{
	uint32_t lane = w->lane[i], next = w->next[i], previous = w->previous[i];

	if (lane == NIL)
		return;
	if (previous != NIL)
		w->next[previous] = next;
	else
		w->first[lane] = next;
	if (next != NIL)
		w->previous[next] = previous;
	w->lane[i] = NIL;
	w->n[lane]--;
}

static void waiting_enter(struct waiting *w, uint32_t i, uint32_t lane)
{
	waiting_leave(w, i);
	w->lane[i] = lane;
	w->previous[i] = NIL;
	w->next[i] = w->first[lane];
	if (w->next[i] != NIL)
		w->previous[w->next[i]] = i;
	w->first[lane] = i;
	w->n[lane]++;
}

/* NULL: no memory. */
static struct waiting *waiting_of(struct server *s)
{
	const struct state *st = &s->st;

	if (tarn__likely(s->waiting != NULL))
		return s->waiting;
	s->waiting = calloc(1, sizeof *s->waiting);
	for (uint32_t i = 1; s->waiting != NULL && i < st->head->calls; i++)
		if (st->call[i].lane < MAX_LANES && waits_on(st, i, st->call[i].lane))
			waiting_enter(s->waiting, i, st->call[i].lane);
	return s->waiting;
}

/* The one after @i that waits on @lane (after NIL: the first); NIL: there is none. Without memory for the
 * lists all are looked through. */
static uint32_t waiting_after(struct server *s, uint32_t lane, uint32_t i)
{
	const struct state *st = &s->st;
	struct waiting *w = waiting_of(s);

	if (tarn__unlikely(w == NULL)) {
		for (i++; i < st->head->calls; i++)
			if (waits_on(st, i, lane))
				return i;
		return NIL;
	}
	i = i == NIL ? w->first[lane] : w->next[i];
	while (i != NIL && !waits_on(st, i, lane)) {
		uint32_t next = w->next[i];

		waiting_leave(w, i);
		i = next;
	}
	return i;
}

/* Whether one more may wait on @lane. */
static bool may_wait(struct server *s, uint32_t lane)
{
	const struct waiting *w = waiting_of(s);

	if (w == NULL || w->n[lane] < LANE_CALLS_MOST)
		return w != NULL;
	for (uint32_t i = waiting_after(s, lane, NIL); i != NIL;)
		i = waiting_after(s, lane, i);
	return w->n[lane] < LANE_CALLS_MOST;
}

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int tarn__call_new(struct server *s, const struct asker *to, enum call_state state, uint64_t target,
		   struct call **ret)
{
	struct state *st = &s->st;
	struct state_head *h = st->head;
	struct client *cl = &st->client[to->client];
	uint32_t i = h->free_call;
	bool waits = to->slots != 0;

	if (!may_have_another(st, cl) || (waits && !may_wait(s, to->v->lane)))
		return -EAGAIN;
	if (i != NIL) {
		SET(st, h->free_call, st->call[i].next);
	} else {
		i = h->calls != 0 ? h->calls : 1;
		if (i >= MAX_CALLS)
			return -EAGAIN;
		int r = tarn__state_reserve(st, st->call, sizeof *st->call, &h->calls_reserved, i + 1);
		if (r < 0)
			return r;
		SET(st, h->calls, i + 1);
	}
	struct call *c = &st->call[i];

	SET(st, h->calls_made, h->calls_made + 1);
	SET(st, c->number, h->calls_made << 16 | i);
	SET(st, c->target, target);
	SET(st, c->started_ns, boottime());
	pair_set(st, &c->state, state, waits ? to->client : NIL);
	pair_set(st, &c->incarnation, cl->incarnation, to->v->lane);
	pair_set(st, &c->cookie, to->cookie, to->method | to->slots << 16 | to->kind << 24);
	pair_set(st, &c->watched, 0, NIL);
	pair_set(st, &c->type, 0, to->client);
	SET(st, h->n_calls, h->n_calls + 1);
	SET(st, cl->records, cl->records + 1);
	if (waits) {
		SET(st, cl->calls, cl->calls + 1);
		waiting_enter(s->waiting, i, to->v->lane);
	}
	if (state == CALL_WATCH)
		SET(st, h->n_watches, h->n_watches + 1);
	*ret = c;
	return 0;
}

struct call *tarn__call_find(const struct state *st, uint64_t number)
{
	uint32_t i = (uint32_t)number & (MAX_CALLS - 1);

	if (i == NIL || i >= st->head->calls || st->call[i].number != number ||
	    st->call[i].state == CALL_FREE)
		return NULL;
	return &st->call[i];
}

void tarn__call_orphan(struct server *s, struct call *c)
{
	struct state *st = &s->st;

	if (c->client == NIL)
		return;
	SET(st, st->client[c->client].calls, st->client[c->client].calls - 1);
	SET(st, c->client, NIL);
}

void tarn__call_free(struct server *s, struct call *c)
{
	struct state *st = &s->st;
	struct state_head *h = st->head;

	tarn__call_orphan(s, c);
	if (tarn__call_is_paid(st, c))
		SET(st, st->client[c->payer].records, st->client[c->payer].records - 1);
	if (c->state == CALL_WATCH)
		SET(st, h->n_watches, h->n_watches - 1);
	SET(st, c->state, CALL_FREE);
	SET(st, c->next, h->free_call);
	SET(st, h->free_call, (uint32_t)(c - st->call));
	SET(st, h->n_calls, h->n_calls - 1);
}

bool tarn__call_asker(struct server *s, const struct call *c, struct asker *ret)
{
	struct state *st = &s->st;

	/* Nothing is booked on one that is dying: its reclaim may have passed already. */
	if (c->client == NIL || st->client[c->client].state != CLIENT_ACTIVE ||
	    st->client[c->client].incarnation != c->incarnation ||
	    st->lane[c->lane].client != c->client)
		return false;
	struct lane_view *v = tarn__view_of(s, c->lane);
	if (v == NULL)
		return false;
	*ret = (struct asker){ .v = v, .client = c->client, .kind = c->packed >> 24,
			       .cookie = c->cookie, .slots = c->packed >> 16 & 0xff };
	return true;
}

/* Tells the host, if it is working on it. */
static void job_cancel(struct server *s, const struct call *c)
{
	struct tarn__job *job = s->job != NULL ? s->job[c - s->st.call] : NULL;

	if (c->state == CALL_RUNNING && job != NULL && job->number == c->number)
		s->host->ops->cancel(s->host, job);
}

bool tarn__calls_change_containers(const struct server *s, uint32_t client)
{
	const struct state *st = &s->st;
	const struct client *cl = &st->client[client];

	for (uint32_t i = 1; cl->records != 0 && s->job != NULL && i < st->head->calls; i++) {
		const struct call *c = &st->call[i];
		const struct tarn__catalog *types = s->host->catalog;

		if (c->state == CALL_RUNNING && c->payer == client && c->incarnation == cl->incarnation &&
		    s->job[i] != NULL && s->job[i]->number == c->number && c->type < types->n &&
		    types->served[c->type].own && !types->served[c->type].in_place)
			return true;
	}
	return false;
}

void tarn__calls_lane_closed(struct server *s, uint32_t lane)
{
	struct state *st = &s->st;
	uint32_t next;

	for (uint32_t i = waiting_after(s, lane, NIL); i != NIL; i = next) {
		struct call *c = &st->call[i];

		next = waiting_after(s, lane, i);
		if (c->state == CALL_WATCH || c->state == CALL_STASH)
			tarn__call_free(s, c);
		else
			tarn__call_orphan(s, c);
		tarn__commit(s);
		if (c->state != CALL_FREE)
			job_cancel(s, c);
	}
}

void tarn__calls_refuse(struct server *s)
{
	const int error = s->no_host;
	struct sentence room;
	struct outcome o;
	struct asker to;

	s->no_host = 0;
	tarn__log(s, 4, "no executor can be started: %s", strerror(error));
	for (uint32_t i = 1; i < s->st.head->calls; i++) {
		struct call *c = &s->st.call[i];

		if (c->state != CALL_RUNNING || !tarn__call_asker(s, c, &to))
			continue;
		tarn__outcome_say(&o, &room, error, "The call was not run: the server can start no thread for it (%s). "
				  "It tries again; so may you.", strerror(error));
		tarn__error_note(s, &o);
		tarn__reply_error(s, &to, &o);
		tarn__call_orphan(s, c);
		tarn__commit(s);
		job_cancel(s, c);
	}
}

enum verdict tarn__on_cancel(struct turn *t)
{
	struct state *st = t->st;
	uint32_t cookie = (uint32_t)t->w[1], lane = t->v->lane;
	struct outcome o = { .error = ECANCELED };
	struct asker to;

	if (st->client[t->client].calls == 0)
		return FINE;
	for (uint32_t i = waiting_after(t->s, lane, NIL); i != NIL; i = waiting_after(t->s, lane, i)) {
		struct call *c = &st->call[i];

		if (c->cookie != cookie || c->state == CALL_STASH)
			continue;
		if (tarn__call_asker(t->s, c, &to))
			tarn__reply_error(t->s, &to, &o);
		if (c->state == CALL_WATCH) {
			tarn__call_free(t->s, c);
		} else {
			tarn__call_orphan(t->s, c);
			/* Before the commit: a cancel too many harms nobody but who asked. */
			job_cancel(t->s, c);
		}
		return FINE;
	}
	return FINE; /* answered before it was read */
}

enum verdict tarn__on_fetch(struct turn *t)
{
	struct server *s = t->s;
	struct asker to = { .v = t->v, .client = t->client, .kind = TARN__MSG_FETCH,
			    .cookie = tarn__header_cookie(t->w[0]),
			    .slots = tarn__pack_reply_slots(t->w[2]) };
	struct call *c = tarn__call_find(t->st, t->w[1]);
	const struct tarn__job *table = c != NULL && s->job != NULL ? s->job[c - t->st->call] : NULL;
	unsigned from = tarn__pack_method(t->w[2]);
	struct outcome o = { .error = TARN_ESTALE };

	if (to.slots == 0 || to.slots > TARN__MESSAGE_SLOTS)
		return tarn__turn_offence(t, "FETCH with no or too many slots for the reply");
	if (c == NULL || c->state != CALL_STASH || c->client != t->client || table == NULL ||
	    table->number != c->number || from >= table->n_refs) {
		tarn__reply_error(s, &to, &o);
		return FINE;
	}
	unsigned most = TARN__REPLY_ROOM(to.slots) / 2, n = table->n_refs - from;
	o = (struct outcome){ .n_refs = n < most ? n : most };
	reply_write(s, &to, &o, table->refs + 2 * from, o.n_refs);
	if (o.n_refs == n)
		tarn__call_free(s, c); /* its table goes with the record's next use */
	return FINE;
}

/* ---- jobs ---- */

struct tarn__job *tarn__job_new(struct server *s, const struct tarn__served *t, enum tarn__deed deed,
				const struct object *o, uint32_t n_words, unsigned n_refs)
{
	struct tarn__job *job = calloc(1, sizeof *job + 8ull * (n_words + 2ull * n_refs));

	if (job == NULL)
		return NULL;
	job->served = t;
	job->deed = deed;
	job->id = o->id;
	job->state = tarn__thing_state(&s->st, o);
	job->self = tarn__thing_self(s, o, t);
	job->n_words = n_words;
	job->n_refs = n_refs;
	job->words = job->data;
	job->refs = job->data + n_words;
	return job;
}

void tarn__job_ready(struct server *s, struct tarn__job *job)
{
	struct tarn__job **at = &s->jobs;

	while (*at != NULL)
		at = &(*at)->next;
	job->next = NULL;
	*at = job;
}

void tarn__jobs_submit(struct server *s)
{
	struct tarn__job *job;

	while ((job = s->jobs) != NULL) {
		s->jobs = job->next;
		job->next = NULL;
		if (job->number != 0) {
			struct tarn__job **at = &s->job[job->number & (MAX_CALLS - 1)];

			free(*at); /* references that were fetched; a call's own is gone by then */
			*at = job;
		}
		s->calls_queued += job->number != 0;
		s->host->ops->submit(s->host, job);
	}
}

void tarn__jobs_discard(struct server *s)
{
	struct tarn__job *job;

	while ((job = s->jobs) != NULL) {
		s->jobs = job->next;
		free(job);
	}
}

void tarn__jobs_free(struct server *s)
{
	tarn__jobs_discard(s);
	for (uint32_t i = 1; s->job != NULL && i < s->st.head->calls; i++)
		free(s->job[i]);
	free(s->job);
	s->job = NULL;
	free(s->waiting);
	s->waiting = NULL;
}

/* One epoch after the result: what the host held for the call goes. */
bool tarn__result_now(struct server *s, const struct deferred *d)
{
	struct state *st = &s->st;
	struct call *c = tarn__call_find(st, d->id);

	if (c == NULL)
		return true;
	uint32_t i = (uint32_t)(c - st->call);
	struct tarn__job *job = s->job != NULL ? s->job[i] : NULL;

	/* Without a job the host that ran it is dead, and what it held is reclaimed. */
	if (job != NULL && job->number == d->id) {
		struct object *o = tarn__object_find(st, job->id);

		if (o != NULL)
			tarn__ledger_sub(st, o, st->head->host, 1);
		for (unsigned k = 0; k < job->n_refs; k++) {
			o = tarn__object_find(st, job->refs[2 * k]);
			if (o != NULL)
				tarn__ledger_sub(st, o, st->head->host, 1);
		}
		/* It stays until the record is used again: a crash before the commit finds it. */
	}
	tarn__call_free(s, c);
	return true;
}
