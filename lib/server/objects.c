/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TYPE, CREATE and CALL as they are read (phase A).
 *
 * A method declared inline runs here and now, within the transaction of its message: its
 * arguments are read where the message was copied to, what it holds and drops is part of
 * the transaction, and the reply is written with the same commit. All else becomes a record
 * and a job (calls.c).
 *
 * What a call names it publishes and holds, whatever becomes of the method.
 */
#include "calls.h"
#include "deed.h"
#include "heap.h"
#include "ledger.h"
#include "shm/view.h"
#include "turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A CALL or CREATE, taken apart. Its words are copies. */
struct ask {
	struct asker from;
	unsigned flags, n_values, n_refs;
	uint32_t n_words;
	uint64_t spilled;       /* bytes of the payload in the first reference */
	const uint64_t *words;
	const uint64_t *refs;
	struct tarn__look look[TARN__CALL_REFS];
};

/* ---- taking a message apart ---- */

static const uint64_t *contiguous(struct turn *t)
{
	if (t->n == 1)
		return t->w;
	for (unsigned k = 0; k < t->n; k++)
		memcpy(t->s->gather + 7 * k, t->slot[k].word, sizeof t->slot[k].word);
	return t->s->gather;
}

static enum verdict take_apart(struct turn *t, unsigned kind, struct ask *a)
{
	const uint64_t *w = contiguous(t);
	uint64_t packed = w[2];
	unsigned flags = tarn__pack_flags(packed), slots = tarn__pack_reply_slots(packed);
	unsigned n_words = tarn__pack_words(packed), n_refs = tarn__pack_refs(packed);
	unsigned allowed = TARN__CALL_ONEWAY | TARN__CALL_SPILLED;
	bool is_spilled = (flags & TARN__CALL_SPILLED) != 0;

	if (kind == TARN__MSG_CREATE && t->client == t->st->head->host)
		allowed |= TARN__CALL_RAW;
	if ((flags & ~allowed) != 0 || n_refs > TARN__CALL_REFS || (is_spilled && n_refs == 0) ||
	    slots > TARN__MESSAGE_SLOTS || (slots == 0) != ((flags & TARN__CALL_ONEWAY) != 0))
		return tarn__turn_offence(t, "a call with flags or counts that cannot be");
	if (is_spilled)
		n_words = 1;
	if (3 + n_words + 2 * n_refs > 7 * t->n)
		return tarn__turn_offence(t, "a call longer than its message");
	a->from = (struct asker){ .v = t->v, .client = t->client, .kind = kind, .slots = slots,
				  .method = tarn__pack_method(packed), .cookie = tarn__header_cookie(w[0]) };
	a->flags = flags;
	a->n_values = tarn__pack_values(packed);
	a->n_refs = n_refs;
	a->n_words = is_spilled ? 0 : n_words;
	a->spilled = is_spilled ? w[3] : 0;
	a->words = w + 3;
	a->refs = w + 3 + n_words;
	return FINE;
}

static void look_at(const struct state *st, const struct object *o, struct tarn__look *ret)
{
	struct answer a;

	tarn__turn_describe(st, o, &a);
	*ret = (struct tarn__look){ .state = a.state, .offset = o->offset, .size = o->size };
}

/* The effects of naming what the message names; again after a rollback. -TARN_ESTALE: one is no
 * more (all others are published all the same). */
static enum verdict name_refs(struct turn *t, struct ask *a, bool *ret_stale)
{
	*ret_stale = false;
	for (unsigned k = 0; k < a->n_refs; k++) {
		struct object *o = tarn__turn_named(t, a->refs[2 * k]);

		if (o == NULL) {
			*ret_stale = true;
			continue;
		}
		if (tarn__turn_name(t, o, tarn__ref_size(a->refs[2 * k + 1]),
				    tarn__ref_sealed(a->refs[2 * k + 1])) == OFFENCE)
			return OFFENCE;
		look_at(t->st, o, &a->look[k]);
		if (k == 0 && a->spilled > o->size)
			return tarn__turn_offence(t, "a payload longer than its block");
	}
	return FINE;
}

/* ---- refusals ---- */

/* Answers with the failure @o; what the message names is named. */
static enum verdict fail(struct turn *t, struct ask *a, const struct outcome *o)
{
	bool stale;

	tarn__reply_error(t->s, &a->from, o);
	return name_refs(t, a, &stale);
}

#define REFUSE(t, a, code, ...)                                       \
	({                                                            \
		struct sentence room_;                                \
		struct outcome o_;                                    \
		tarn__outcome_say(&o_, &room_, (code), __VA_ARGS__);  \
		fail((t), (a), &o_);                                  \
	})

static enum verdict refuse_memory(struct turn *t, struct ask *a, const struct tarn__served *type,
				  int r)
{
	const struct client *cl = &t->st->client[t->client];

	if (r == -EDQUOT)
		return REFUSE(t, a, TARN_EQUOTA, "An object of type %s takes %llu bytes; this client "
			      "owns %llu of its quota of %llu.", type->type->name,
			      (unsigned long long)type->bytes, (unsigned long long)cl->owned_bytes,
			      (unsigned long long)cl->quota);
	return REFUSE(t, a, -r, "No memory for an object of type %s (%llu bytes): the arena of %llu "
		      "bytes has %llu in use.", type->type->name, (unsigned long long)type->bytes,
		      (unsigned long long)t->st->head->arena_bytes,
		      (unsigned long long)t->st->head->heap.used);
}

/* ---- what an inline method asks for ---- */

/*
 * Words of the undo log. What a method asks for is refused while there is still room for what
 * comes after it: a result of 64 references, each booked in the book (20), its block or records,
 * the settling of all that was made (10) with its contents (5), and what it drops (drop_words).
 */
#define REST_WORDS 2304u
#define MAKE_WORDS (HEAP_ALLOC_WORDS + 41u)
#define CONTENTS_WORDS 5u   /* of each container that it changed */
#define HOLD_WORDS 96u      /* with the split of a bucket, see claims.c */
#define DROP_WORDS 14u      /* of one whose object lives on */
#define DROP_LAST_WORDS 12u /* more, when it was the last claim */
#define DROP_SPAN_WORDS 20u /* more, when its span runs empty or is full no more */
static_assert(65 * 20 + HEAP_ALLOC_WORDS + MADE_MOST * 10 + (MADE_MOST + 1) * CONTENTS_WORDS + 64 <= REST_WORDS,
	      "the rest");

static bool room_for(const struct deed *d, unsigned words)
{
	return d->t->st->head->undo.n + d->drop_words + words + REST_WORDS <= TARN__UNDO_CAPACITY;
}

static int wish_hold(struct tarn__run *run, uint64_t id)
{
	struct deed *d = run->turn;
	struct object *o = tarn__object_find(d->t->st, id);
	const struct object *self = tarn__object_find(d->t->st, run->id);

	if (o == NULL || self == NULL)
		return -TARN_ESTALE;
	if (!room_for(d, HOLD_WORDS))
		return -E2BIG;
	return tarn__edge_add(d->t->st, tarn__thing_of(d->t->st, self), o);
}

/* Words of one reference less to @id, of which the object drops @before already. */
static unsigned words_of_drop(const struct deed *d, uint64_t id, uint32_t before)
{
	const struct state *st = d->t->st;
	const struct object *o = tarn__object_find(st, id);

	if (o == NULL || o->ext != 0 || o->edges > before + 1)
		return DROP_WORDS;
	if (object_kind(o) == TARN__KIND_BLOCK && (object_flags(o) & OBJECT_LARGE))
		return DROP_WORDS + DROP_LAST_WORDS + HEAP_FREE_WORDS;
	if (object_kind(o) != TARN__KIND_BLOCK)
		return DROP_WORDS + DROP_LAST_WORDS;
	const struct span *s = &st->span[o->place];

	return DROP_WORDS + DROP_LAST_WORDS +
	       (s->used == s->slots || s->used <= d->n_drops + 1 ? DROP_SPAN_WORDS : 0);
}

static int wish_drop(struct tarn__run *run, uint64_t id)
{
	struct deed *d = run->turn;
	const struct object *self = tarn__object_find(d->t->st, run->id);
	uint32_t before = 0;

	if (self == NULL)
		return -TARN_ESTALE;
	if (d->n_drops == DROPS_MOST)
		return -E2BIG;
	for (unsigned k = 0; k < d->n_drops; k++)
		before += d->drop[k] == id;
	if (tarn__edge_count(d->t->st, tarn__thing_of(d->t->st, self), id) <= before)
		return -ENOENT;
	unsigned words = words_of_drop(d, id, before);

	if (!room_for(d, words))
		return -E2BIG;
	d->drop_words += words;
	d->drop[d->n_drops++] = id;
	return 0;
}

/* The result is booked: what the method drops goes. */
static void drop_edges(struct deed *d, uint64_t id)
{
	const struct object *self = tarn__object_find(d->t->st, id);

	for (unsigned k = 0; self != NULL && k < d->n_drops; k++)
		tarn__edge_drop(d->t->st, tarn__thing_of(d->t->st, self), d->drop[k]);
}

int tarn__reactor_look(struct server *s, uint64_t id, struct tarn__look *ret)
{
	const struct object *o = tarn__object_find(&s->st, id);

	if (o == NULL)
		return -TARN_ESTALE;
	look_at(&s->st, o, ret);
	return 0;
}

static int wish_look(struct tarn__run *run, uint64_t id, struct tarn__look *ret)
{
	const struct deed *d = run->turn;

	return tarn__reactor_look(d->t->s, id, ret);
}

static bool wish_holds(struct tarn__run *run, uint64_t id)
{
	const struct deed *d = run->turn;
	const struct object *self = tarn__object_find(d->t->st, run->id);

	return self != NULL && tarn__edge_count(d->t->st, tarn__thing_of(d->t->st, self), id) != 0;
}

static int wish_make(struct tarn__run *run, const struct tarn__served *type, uint64_t *ret_id,
		     void **ret_self)
{
	struct deed *d = run->turn;
	struct object *o;

	if (d->n_made == MADE_MOST)
		return -E2BIG;
	if (!room_for(d, MAKE_WORDS))
		return -E2BIG;
	int r = tarn__thing_make(d->t->s, d->t->client, type, false, &o);
	if (r < 0)
		return r;
	d->made[d->n_made] = o->id;
	d->finished[d->n_made++] = false;
	*ret_id = o->id;
	*ret_self = tarn__thing_self(d->t->s, o, type);
	return 0;
}

static void thing_made(struct state *st, const struct object *o)
{
	struct thing *k = tarn__thing_of(st, o);

	SET(st, k->flags, k->flags | THING_MADE);
}

static void wish_made(struct tarn__run *run, uint64_t id)
{
	struct deed *d = run->turn;
	const struct object *o = tarn__object_find(d->t->st, id);

	for (unsigned k = 0; k < d->n_made; k++)
		d->finished[k] |= d->made[k] == id;
	if (o != NULL)
		thing_made(d->t->st, o);
}

/* All has succeeded, and there is room (REST_WORDS). */
static void wish_contents(struct tarn__run *run, const struct tarn__view_root *root)
{
	const struct deed *d = run->turn;
	struct state *st = d->t->st;
	const struct object *o = tarn__object_find(st, root->id);
	const struct thing_root to = { .version = root->version, .order = root->order,
				       .index = root->index, .next = root->next, .kind = root->kind };

	/* One that was made and is not kept is dead already. */
	if (o != NULL)
		tarn__contents_set(st, tarn__thing_of(st, o), &to);
}

static void wish_note(struct tarn__run *run, const uint64_t *word)
{
	const struct deed *d = run->turn;

	tarn__word_note(d->t->s, word);
}

static void wish_later(struct tarn__run *run, uint64_t *word, uint64_t value)
{
	const struct deed *d = run->turn;
	struct server *s = d->t->s;

	assert(s->n_later < TARN__LATER);
	s->later[s->n_later].word = word;
	s->later[s->n_later++].value = value;
}

#define GIVE_WORDS 32u /* two claims, or one with the split of a bucket */

static int wish_give(struct tarn__run *run, uint64_t id)
{
	struct deed *d = run->turn;
	struct object *o = tarn__object_find(d->t->st, id);

	/* As of RECV: its producer may not have published it yet. */
	if (o == NULL || (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED) ||
	    object_kind(o) != TARN__KIND_BLOCK)
		return -TARN_ESTALE;
	if (!room_for(d, HOLD_WORDS + GIVE_WORDS))
		return -E2BIG;
	if (tarn__turn_publish(d->t, o) == OFFENCE)
		return -EDQUOT;
	return tarn__unit_book(d->t->st, o, d->t->client);
}

static int wish_drop_late(struct tarn__run *run, uint64_t id)
{
	struct deed *d = run->turn;

	/* What the buffer of decrements has room for, and the log: one word. */
	if (d->n_late == d->t->n || !room_for(d, HOLD_WORDS))
		return -E2BIG;
	d->n_late++;
	tarn__turn_defer(d->t, TARN__MSG_UNHOLD, run->id, id, 0);
	return 0;
}

static const struct tarn__reactor_ops wishes = {
	.hold = wish_hold, .drop = wish_drop, .look = wish_look, .holds = wish_holds,
	.make = wish_make, .made = wish_made, .contents = wish_contents,
	.note = wish_note, .later = wish_later, .give = wish_give, .drop_late = wish_drop_late,
};

/*
 * The method failed, or what it gave cannot be sent: what it made is told so and vanishes with the rollback, and so do
 * the words that it said it changes. These first: a successor finds the mark until the commit behind this, and puts
 * them back as well, so it does not matter where in here a server is killed.
 */
static void undo(struct deed *d)
{
	struct state *st = d->t->st;

	tarn__words_back(d->t->s);

	for (unsigned k = d->n_made; k-- > 0;) {
		const struct object *o = tarn__object_find(st, d->made[k]);
		const struct tarn__served *type;

		if (!d->finished[k] || o == NULL)
			continue;
		type = tarn__thing_type(d->t->s, tarn__thing_of(st, o));
		if (type->type->destroy != NULL)
			tarn__thing_destroy(d->t->s, type, o->id, tarn__thing_self(d->t->s, o, type));
	}
	tarn__rollback(d->t->s);
}

/* What was made and is not held by anybody now never will be. */
static void settle(struct deed *d)
{
	for (unsigned k = 0; k < d->n_made; k++) {
		struct object *o = tarn__object_find(d->t->st, d->made[k]);

		/* A claim from outside: nothing to settle. */
		if (o != NULL && o->ext == 0)
			tarn__object_settle(d->t->st, o);
	}
}

/* ---- running it here ---- */

/* References of a result: their ids; what else is said of them the reply finds out. */
static void outcome_of(const struct tarn__run *run, int code, uint64_t *refs, struct outcome *ret)
{
	const struct tarn__payload *p = &run->result;

	*ret = (struct outcome){ .error = -code, .n_values = p->n_values, .n_words = p->n_words,
				 .words = p->words, .n_refs = p->n_refs, .refs = refs };
	for (unsigned k = 0; k < p->n_refs && k < TARN__CALL_REFS; k++)
		refs[2 * k] = run->result_ids[k];
}

void tarn__run_init(struct turn *t, const struct tarn__served *type, struct deed *d,
		    struct tarn__run *ret)
{
	ret->served = type;
	ret->offer = NULL;
	ret->deed = TARN__DEED_METHOD;
	ret->id = 0;
	ret->self = NULL;
	ret->words = NULL;
	ret->n_words = 0;
	ret->n_values = 0;
	ret->n_refs = 0;
	ret->refs = NULL;
	ret->looks = NULL;
	ret->caller = (tarn_caller){ .client = t->client, .pid = t->st->client[t->client].pid };
	ret->ops = &wishes;
	ret->turn = d;
	ret->deferred = &d->deferred;
	ret->succeeded = false;
	ret->repeatable = false;
	ret->brief = false;
	ret->from = 0;
	ret->again = 0;
	ret->instead = 0;
	ret->context = NULL;
	d->deferred = false;
	d->t = t;
	d->n_made = 0;
	d->n_drops = 0;
	d->n_late = 0;
	d->drop_words = 0;
}

static void run_set(struct turn *t, const struct ask *a, const struct tarn__served *type,
		    struct deed *d, struct tarn__run *ret)
{
	tarn__run_init(t, type, d, ret);
	ret->words = a->words;
	ret->n_words = a->n_words;
	ret->n_values = a->n_values;
	ret->n_refs = a->n_refs;
	ret->refs = a->refs;
	ret->looks = a->look;
}

/* Sends what the method gave, or undoes all and says why not. @made: CREATE: the new object. */
static enum verdict run_over(struct turn *t, struct ask *a, struct tarn__run *run, struct deed *d,
			     int code)
{
	uint64_t refs[2 * TARN__CALL_REFS];
	struct outcome o, failure;
	struct sentence room;
	enum verdict verdict = FINE;

	outcome_of(run, code, refs, &o);
	if (tarn__likely(code == 0)) {
		int r = tarn__reply_values(t->s, &a->from, &o);

		if (tarn__likely(r == 0)) {
			if (tarn__unlikely(d->n_drops != 0))
				drop_edges(d, run->id);
			if (tarn__unlikely(d->n_made != 0))
				settle(d);
			run->succeeded = true;
			return FINE;
		}
		tarn__outcome_unsendable(t->s, &a->from, r, &o, &room, &failure);
	} else if (d->deferred) {
		undo(d);
		return FINE; /* not answered yet */
	} else {
		failure = o;
		tarn__error_note(t->s, &o);
	}
	undo(d);
	verdict = fail(t, a, &failure);
	return verdict;
}

/* Another server ran this and died in it. */
static enum verdict refuse_again(struct turn *t, struct ask *a, const struct tarn__served *type,
				 const char *method)
{
	const struct died *died = tarn__died_in(t->s, t->v);
	struct interruption why = { .type = type->type->name, .method = method,
				    .signal = died->signal, .undone = died->undone != 0 };
	struct sentence room;
	struct outcome o;
	bool stale;

	tarn__rollback(t->s);
	tarn__interruption_say(&why, &o, &room);
	tarn__error_note(t->s, &o);
	tarn__reply_error(t->s, &a->from, &o);
	tarn__interruption_fini(&why);
	return name_refs(t, a, &stale);
}

/* *@ret_deferred: nothing was done, an executor is to do it. */
static enum verdict call_here(struct turn *t, struct ask *a, struct object *o,
			      const struct tarn__served *type, const struct tarn__offer *offer,
			      bool *ret_deferred)
{
	struct tarn__host *h = t->s->host;
	struct tarn__run run;
	struct deed d;

	*ret_deferred = false;
	if (tarn__unlikely(t->s->n_died != 0) && tarn__died_in(t->s, t->v) != NULL)
		return refuse_again(t, a, type, offer->name);
	run_set(t, a, type, &d, &run);
	run.offer = offer;
	run.deed = TARN__DEED_METHOD;
	run.id = o->id;
	run.self = tarn__thing_self(t->s, o, type);
	t->s->calls_inline++;

	tarn__deed_begin(t, &run, (offer->flags & TARN_METHOD_READ) != 0);
	int code = h->ops->run(h, &run);
	enum verdict verdict = run_over(t, a, &run, &d, code);

	h->ops->run_end(h, &run);
	*ret_deferred = d.deferred && code != 0;
	return verdict;
}

static enum verdict create_here(struct turn *t, struct ask *a, struct object *o,
				const struct tarn__served *type, bool *ret_deferred)
{
	struct tarn__host *h = t->s->host;
	const uint64_t value[2] = { tarn__slot_head(TARN_KIND_OBJECT, 0, 0), 0 };
	uint64_t ref[2] = { o->id, 0 };
	struct tarn__run run;
	struct deed d;

	*ret_deferred = false;
	if (tarn__unlikely(t->s->n_died != 0) && tarn__died_in(t->s, t->v) != NULL)
		return refuse_again(t, a, type, "create");
	run_set(t, a, type, &d, &run);
	run.deed = TARN__DEED_CREATE;
	run.id = o->id;
	run.self = tarn__thing_self(t->s, o, type);
	d.made[0] = o->id; /* settled, or undone, as all that the method makes */
	d.finished[0] = false;
	d.n_made = 1;

	tarn__deed_begin(t, &run, true); /* a new instance goes with the transaction */
	int code = h->ops->run(h, &run);
	if (tarn__likely(code == 0 && run.instead == 0 && d.n_made == 1 && d.n_drops == 0) &&
	    tarn__reply_object(t->s, &a->from, o)) {
		thing_made(t->st, o);
		run.succeeded = true;
		h->ops->run_end(h, &run);
		return FINE;
	}
	if (code == 0) {
		struct outcome made = { .n_values = 1, .n_words = 2, .words = value, .n_refs = 1,
					.refs = ref };
		int r;

		if (tarn__unlikely(run.instead != 0 && run.instead != o->id)) {
			ref[0] = run.instead;
		} else {
			d.finished[0] = true;
			thing_made(t->st, o);
		}
		r = tarn__reply_values(t->s, &a->from, &made);
		if (r == 0) {
			if (tarn__unlikely(d.n_drops != 0))
				drop_edges(&d, run.id);
			settle(&d);
			run.succeeded = true;
			h->ops->run_end(h, &run);
			return FINE;
		}
		struct sentence room;
		struct outcome failure;

		tarn__outcome_unsendable(t->s, &a->from, r, &made, &room, &failure);
		undo(&d);
		h->ops->run_end(h, &run);
		return fail(t, a, &failure);
	}
	enum verdict verdict = run_over(t, a, &run, &d, code);
	h->ops->run_end(h, &run);
	*ret_deferred = d.deferred;
	return verdict;
}

/* Nothing is run to make one of @type, and no arguments are there that somebody would have to look at. */
static bool is_bare(const struct server *s, const struct ask *a, const struct tarn__served *type)
{
	const char *args = type->type->args;

	return type->type->create == NULL && a->n_values == 0 && a->n_refs == 0 &&
	       (args == NULL || *args == '\0') && s->n_died == 0;
}

/* ---- leaving it to an executor ---- */

/* A unit of the host on @o for a call. The room for its claim is there as long as the call is. */
static int host_hold(struct state *st, struct object *o)
{
	return tarn__ledger_add(st, o, st->head->host, 1);
}

static enum verdict queue(struct turn *t, struct ask *a, struct object *o,
			  const struct tarn__served *type, const struct tarn__offer *offer,
			  enum tarn__deed deed)
{
	struct server *s = t->s;
	struct state *st = t->st;
	struct call *c;
	struct tarn__job *job = NULL;
	int r = st->head->host != NIL ? tarn__call_new(s, &a->from, CALL_RUNNING, o->id, &c) : -ENOTSUP;

	if (r == 0) {
		job = tarn__job_new(s, type, deed, o, a->n_words, a->n_refs);
		r = job != NULL ? host_hold(st, o) : -ENOMEM;
	}
	for (unsigned k = 0; k < a->n_refs && r == 0; k++)
		r = host_hold(st, tarn__object_find(st, a->refs[2 * k]));
	if (r < 0) {
		free(job);
		tarn__rollback(s);
		if (r == -EAGAIN)
			return REFUSE(t, a, EAGAIN, "%llu of at most %u calls are under way, %u of "
				      "them this client's: too many, of all or in one thread.",
				      (unsigned long long)st->head->n_calls, MAX_CALLS - 1,
				      st->client[t->client].records);
		return REFUSE(t, a, -r, "The call cannot be queued: %s.", strerror(-r));
	}
	SET(st, c->type, type->index);
	if (deed == TARN__DEED_CREATE) {
		struct thing *k = tarn__thing_of(st, o);

		SET(st, k->flags, k->flags | THING_MAKING);
	}
	job->number = c->number;
	job->offer = offer;
	job->caller = (tarn_caller){ .client = t->client, .pid = st->client[t->client].pid };
	job->oneway = a->from.slots == 0;
	job->n_values = a->n_values;
	job->spilled = a->spilled;
	job->started_ns = c->started_ns;
	memcpy(job->words, a->words, 8ull * a->n_words);
	memcpy(job->refs, a->refs, 16ull * a->n_refs);
	tarn__job_ready(s, job);
	return FINE;
}

/* ---- CALL ---- */

enum verdict tarn__call_over(struct turn *t, struct tarn__run *run, struct deed *d, int code)
{
	struct ask a;

	if (take_apart(t, TARN__MSG_CALL, &a) == OFFENCE)
		return OFFENCE;
	enum verdict verdict = run_over(t, &a, run, d, code);

	if (tarn__likely(code == 0 || !d->deferred))
		return verdict;
	/* Nothing of it is left, so the object is there. */
	return queue(t, &a, tarn__object_find(t->st, run->id), run->served, run->offer,
		     TARN__DEED_METHOD);
}

static enum verdict no_method(struct turn *t, struct ask *a, const struct tarn__served *type,
			      unsigned method)
{
	char names[200] = "";
	size_t at = 0;

	for (uint32_t k = 0; k < type->n_offers && at < sizeof names; k++)
		if (!(type->offer[k].flags & TARN_METHOD_INTERNAL))
			at += (size_t)snprintf(names + at, sizeof names - at, "%s%s",
					       at != 0 ? ", " : "", type->offer[k].name);
	return REFUSE(t, a, TARN_ENOMETHOD, "Type %s has no method number %u; it has: %s.",
		      type->type->name, method, names);
}

static bool runs_here(const struct tarn__offer *offer, const struct ask *a)
{
	return (offer->flags & TARN_METHOD_INLINE) && a->spilled == 0 && a->n_refs <= TARN__RUN_REFS &&
	       !(a->flags & TARN__CALL_SPILLED);
}

enum verdict tarn__on_call(struct turn *t)
{
	struct server *s = t->s;
	struct ask a;
	bool stale = false;

	if (take_apart(t, TARN__MSG_CALL, &a) == OFFENCE)
		return OFFENCE;
	unsigned method = tarn__pack_method(t->w[2]);
	struct object *o = tarn__turn_named(t, t->w[1]);

	if (tarn__unlikely(o == NULL))
		return REFUSE(t, &a, TARN_ESTALE, "The object is gone (or the reference never stood for "
			      "one).");
	const struct thing *k = tarn__thing_of(t->st, o);
	const struct tarn__served *type = k != NULL ? tarn__thing_type(s, k) : NULL;
	if (tarn__unlikely(k != NULL && (k->flags & THING_LOST)))
		return REFUSE(t, &a, TARN_ESTALE, "The object was lost with the process of its server: its "
			      "type is private to that (TARN_TYPE_PRIVATE).");
	if (tarn__unlikely(k != NULL && !(k->flags & (THING_MADE | THING_MAKING))))
		return REFUSE(t, &a, TARN_ESTALE, "The object was never made: its creator failed.");
	if (tarn__unlikely(type == NULL))
		return REFUSE(t, &a, TARN_EKIND, "A method was called on something that is not an "
			      "object.");
	if (tarn__unlikely(method >= type->n_offers && method != TARN__METHOD_DESCRIBE))
		return no_method(t, &a, type, method);
	const struct tarn__offer *offer = tarn__likely(method != TARN__METHOD_DESCRIBE)
						  ? &type->offer[method] : &type->describe;
	if (tarn__unlikely((offer->flags & TARN_METHOD_INTERNAL) && t->client != t->st->head->host))
		return no_method(t, &a, type, method);
	if (tarn__unlikely(a.n_refs != 0)) {
		if (name_refs(t, &a, &stale) == OFFENCE)
			return OFFENCE;
		if (stale) {
			tarn__rollback(s);
			return REFUSE(t, &a, TARN_ESTALE, "An argument of %s.%s refers to something that "
				      "is gone.", type->type->name, offer->name);
		}
	}
	if (tarn__likely(runs_here(offer, &a) && !(k->flags & THING_MAKING) && s->host->ops->enter(s->host, type, offer, o->id))) {
		uint64_t id = o->id;
		bool deferred;
		enum verdict verdict = call_here(t, &a, o, type, offer, &deferred);

		if (tarn__likely(!deferred)) {
			s->inside = id;
			return verdict;
		}
		s->host->ops->leave(s->host, id);
		/* Undone, and the names of its arguments with it. */
		if (name_refs(t, &a, &stale) == OFFENCE)
			return OFFENCE;
	}
	return queue(t, &a, o, type, offer, TARN__DEED_METHOD);
}

/* ---- CREATE ---- */

/* TARN_TYPE_ADOPT: the only argument, an object or block, as it is. */
static enum verdict adopt(struct turn *t, struct ask *a, const struct tarn__served *type)
{
	unsigned kind = a->n_words >= 2 ? tarn__head_kind(a->words[0]) : TARN_KIND_NONE;
	unsigned ref = a->n_words >= 2 ? tarn__head_ref(a->words[0]) : 0;

	if (a->n_values != 1 || a->spilled != 0)
		return REFUSE(t, a, TARN_EARGS, "Type %s adopts one object or block: expected 1 argument, "
			      "found %u.", type->type->name, a->n_values);
	if ((kind != TARN_KIND_OBJECT && kind != TARN_KIND_BLOCK) || ref >= a->n_refs)
		return REFUSE(t, a, TARN_EARGS, "Type %s adopts one object or block: the argument is of "
			      "kind %s.", type->type->name, tarn_kind_name((enum tarn_kind)kind));
	const uint64_t value[2] = { tarn__slot_head((enum tarn_kind)kind, 0, 0), 0 };
	const struct outcome o = { .n_values = 1, .n_words = 2, .words = value, .n_refs = 1,
				   .refs = &a->refs[2 * ref] };
	int r = tarn__reply_values(t->s, &a->from, &o);

	if (r == 0)
		return FINE;
	tarn__rollback(t->s);
	return REFUSE(t, a, -r, "The object cannot be given back: this client holds %llu of %llu "
		      "references.", (unsigned long long)t->st->client[t->client].held,
		      (unsigned long long)t->st->client[t->client].credits);
}

/* An object without its creator: the host runs that itself. */
static enum verdict create_raw(struct turn *t, struct ask *a, const struct object *o)
{
	const uint64_t value[2] = { tarn__slot_head(TARN_KIND_OBJECT, 0, 0), 0 };
	const uint64_t ref[2] = { o->id, 0 };
	const struct outcome made = { .n_values = 1, .n_words = 2, .words = value, .n_refs = 1,
				      .refs = ref };
	int r = tarn__reply_values(t->s, &a->from, &made);

	tarn__host_says(t->s->host);
	if (r == 0)
		return FINE;
	tarn__rollback(t->s);
	return REFUSE(t, a, -r, "An object cannot be made: %s.", strerror(-r));
}

static enum verdict create(struct turn *t, struct ask *a, const struct tarn__served *type,
			   bool deferred)
{
	struct server *s = t->s;
	struct object *o;
	bool stale;
	int r = tarn__thing_make(s, t->client, type, true, &o);

	if (r < 0) {
		tarn__rollback(s);
		return refuse_memory(t, a, type, r);
	}
	/* After the memory, which may have worked in transactions of its own. */
	if (name_refs(t, a, &stale) == OFFENCE)
		return OFFENCE;
	if (stale) {
		tarn__rollback(s);
		return REFUSE(t, a, TARN_ESTALE, "An argument for a new %s refers to something that is "
			      "gone.", type->type->name);
	}
	if (a->flags & TARN__CALL_RAW)
		return create_raw(t, a, o);
	if (!deferred && (type->type->flags & TARN_TYPE_INLINE) && a->spilled == 0 &&
	    a->n_refs <= TARN__RUN_REFS && !(a->flags & TARN__CALL_SPILLED)) {
		if (is_bare(s, a, type) && tarn__reply_object(s, &a->from, o)) {
			thing_made(t->st, o);
			return FINE;
		}
		enum verdict verdict = create_here(t, a, o, type, &deferred);

		/* Undone, and the object with it. */
		return deferred ? create(t, a, type, true) : verdict;
	}
	return queue(t, a, o, type, NULL, TARN__DEED_CREATE);
}

enum verdict tarn__on_create(struct turn *t)
{
	struct server *s = t->s;
	const struct tarn__catalog *c = s->host != NULL ? s->host->catalog : NULL;
	struct ask a;
	bool stale;

	if (take_apart(t, TARN__MSG_CREATE, &a) == OFFENCE)
		return OFFENCE;
	bool is_host = t->client == t->st->head->host;
	const struct tarn__served *type = c != NULL && t->w[1] != 0 && t->w[1] < c->n
						  ? &c->served[t->w[1]] : NULL;
	if (type == NULL || tarn__served_withdrawn(type))
		return REFUSE(t, &a, TARN_ENOTYPE, "The server \"%s\" has no type number %llu%s.", s->name,
			      (unsigned long long)t->w[1],
			      type != NULL ? " any more: it was unregistered" : "");
	if ((type->type->flags & TARN_TYPE_RESULT_ONLY) && !is_host)
		return REFUSE(t, &a, EPERM, "Objects of type %s come as results of methods; clients "
			      "cannot create them.", type->type->name);
	if (!(type->type->flags & TARN_TYPE_ADOPT))
		return create(t, &a, type, false);
	if (name_refs(t, &a, &stale) == OFFENCE)
		return OFFENCE;
	if (!stale)
		return adopt(t, &a, type);
	tarn__rollback(s);
	return REFUSE(t, &a, TARN_ESTALE, "The argument refers to something that is gone.");
}

/* ---- TYPE ---- */

static void put_text(tarn_builder *b, const char *key, const char *text)
{
	tarn_map_key(b, key);
	tarn_put_string(b, text); /* NULL: nil */
}

static void describe(tarn_builder *b, const struct tarn__served *t)
{
	tarn_map_begin(b);
	put_text(b, "name", t->type->name);
	tarn_map_key(b, "index");
	tarn_put_uint(b, t->index);
	tarn_map_key(b, "hash");
	tarn_put_uint(b, t->hash);
	tarn_map_key(b, "flags");
	tarn_put_uint(b, t->type->flags);
	tarn_map_key(b, "concurrency");
	tarn_put_uint(b, t->type->concurrency);
	tarn_map_key(b, "size");
	tarn_put_uint(b, t->type->size);
	put_text(b, "args", t->type->args);
	tarn_map_key(b, "methods");
	tarn_list_begin(b);
	for (uint32_t k = 0; k < t->n_offers; k++) {
		tarn_map_begin(b);
		put_text(b, "name", t->offer[k].name);
		tarn_map_key(b, "flags");
		tarn_put_uint(b, t->offer[k].flags);
		put_text(b, "args", t->offer[k].args);
		put_text(b, "result", t->offer[k].result);
		put_text(b, "result_type", t->offer[k].result_type == 0
						   ? NULL
						   : t[(int)t->offer[k].result_type - (int)t->index].type->name);
		tarn_map_end(b);
	}
	tarn_list_end(b);
	tarn_map_end(b);
}

static void type_described(struct turn *t, const struct asker *to, const struct tarn__served *type)
{
	struct tarn__payload p;
	struct sentence room;
	struct outcome o;
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	describe(&b, type);
	r = tarn__builder_payload(&b, &p);
	if (r == 0) {
		o = (struct outcome){ .n_values = p.n_values, .n_words = p.n_words, .words = p.words };
		r = tarn__reply_values(t->s, to, &o);
	}
	if (r < 0) {
		tarn__rollback(t->s);
		tarn__outcome_say(&o, &room, -r, "The description of type %s does not fit: %s.",
				  type->type->name, strerror(-r));
		tarn__reply_error(t->s, to, &o);
	}
	tarn_builder_fini(&b);
}

enum verdict tarn__on_type(struct turn *t)
{
	struct server *s = t->s;
	const struct tarn__catalog *c = s->host != NULL ? s->host->catalog : NULL;
	const struct tarn__served *type = NULL;
	char name[TARN__NAME_BYTES];
	uint64_t slots = t->w[2];
	struct asker to = { .v = t->v, .client = t->client, .kind = TARN__MSG_TYPE,
			    .cookie = tarn__header_cookie(t->w[0]),
			    .slots = slots == 0 ? 1 : (unsigned)slots };

	if (slots > TARN__MESSAGE_SLOTS)
		return tarn__turn_offence(t, "TYPE with too many slots for the reply");
	if (tarn__turn_text(t, 3, name) == OFFENCE)
		return OFFENCE;
	if (c != NULL && t->w[1] == TARN__TYPE_BY_NAME)
		type = tarn__catalog_find(c, name);
	else if (c != NULL && t->w[1] != 0 && t->w[1] < c->n)
		type = &c->served[t->w[1]];
	if (type == NULL) {
		struct sentence room;
		struct outcome o;

		if (t->w[1] == TARN__TYPE_BY_NAME)
			tarn__outcome_say(&o, &room, TARN_ENOTYPE, "The server \"%s\" has no type \"%s\": "
					  "types are registered before it starts, or lie in a module that "
					  "tarnd --load names.", s->name, name);
		else
			tarn__outcome_say(&o, &room, TARN_ENOTYPE, "The server \"%s\" has no type number "
					  "%llu.", s->name, (unsigned long long)t->w[1]);
		tarn__reply_error(s, &to, &o);
		return FINE;
	}
	if (slots != 0) {
		type_described(t, &to, type);
		return FINE;
	}
	const uint64_t word[7] = {
		tarn__reply(TARN__MSG_TYPE, 1, 0, to.cookie), type->index, type->hash,
		type->type->flags | (uint64_t)type->type->concurrency << 32, type->n_offers,
		type->type->size,
	};
	tarn__reply_put(s, t->v, word);
	s->eager++;
	return FINE;
}
