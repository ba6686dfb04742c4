/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls in the background: starting, looking, waiting, giving up.
 *
 * A pending call belongs to the thread that started it, whose lane its reply comes to. It is
 * detached (and then in no list, and anybody's to free) when that thread ends or the client is
 * closed; its answer is then -ECANCELED.
 */
#include "pending.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "lib/probe.h"

enum state {
	QUEUED,   /* waits for a place */
	POSTED,
	ANSWERED,
	TAKEN,    /* the result was had */
	DETACHED,
	SPARE,    /* nobody's: for the lane's next call */
};

/* Of one that is not wanted any more by another thread, while its own may be ending: the second of them
 * frees it. */
enum fate { OWNED, UNWANTED, ABANDONED };

struct tarn_pending {
	struct tarn__lane *lane;
	struct tarn_client *client;
	pid_t pid;             /* after fork() the client may not even be mapped */
	uint32_t state;        /* SYNC detach: others read it when the owner's thread is gone */
	uint32_t fate;         /* SYNC fate */
	uint32_t cookie;
	uint8_t index;
	bool watch;
	struct tarn__queued *queued;
	struct tarn_pending *next, *previous; /* of all */
	struct tarn_pending *next_spare;
	uint8_t slots;         /* of its reply */
	unsigned n_words;
	uint64_t word[7 * TARN__BACKGROUND_REPLY]; /* the reply */
};

struct tarn__queued {
	struct tarn__queued *next;
	struct tarn_pending *owner;   /* NULL: one way, or not wanted any more */
	bool dead;                    /* cancelled: not to be posted */
	unsigned slots, n_held;
	struct tarn_block *held[TARN__CALL_REFS + 2]; /* what it names, and its block */
	uint64_t word[];
};

static uint32_t state_of(const struct tarn_pending *p)
{
	/* SYNC detach, acquire. */
	return tarn__load32_acquire(&p->state);
}
static void state_set(struct tarn_pending *p, enum state s)
{
	/* SYNC detach, release: what its thread did with it comes before. */
	tarn__store32_release(&p->state, s);
}

/* By its own thread, which ends, or with its client: it is in no list from here on. */
static void detach(struct tarn_pending *p)
{
	state_set(p, DETACHED);
	/* SYNC fate, acquire and release: whoever frees it comes after all that the other did with it. */
	if (__atomic_exchange_n(&p->fate, ABANDONED, __ATOMIC_ACQ_REL) == UNWANTED)
		free(p);
}

/* By a thread that it does not belong to, or when it belongs to nobody any more. False: that was done before. */
static bool disown(struct tarn_pending *p)
{
	/* SYNC fate, as in detach(). */
	const uint32_t was = __atomic_exchange_n(&p->fate, UNWANTED, __ATOMIC_ACQ_REL);

	if (was == ABANDONED)
		free(p);
	return was != UNWANTED;
}

/* ---- a lane's share ---- */

static int fail_memory(void)
{
	return tarn__fail(-ENOMEM, "No memory for a call in the background.");
}

int tarn__calls_init(struct tarn__lane *l)
{
	struct tarn__calls *k = l->calls;

	if (k != NULL)
		return 0;
	k = calloc(1, sizeof *k);
	if (k == NULL)
		return fail_memory();
	for (unsigned i = 0; i < TARN__PENDING_MOST; i++)
		k->free[k->n_free++] = (uint8_t)i;
	k->end = &k->first;
	k->event = -1;
	l->calls = k;
	return 0;
}

static struct tarn_pending *spare_take(struct tarn__calls *k, uint8_t slots)
{
	struct tarn_pending *p = k->spare;

	k->spare = p->next_spare;
	p->slots = slots;
	return p;
}

/* Nothing refers to it any more. */
static void spare_put(struct tarn__calls *k, struct tarn_pending *p)
{
	state_set(p, SPARE);
	p->watch = false;
	p->queued = NULL;
	p->next_spare = k->spare;
	k->spare = p;
}

/* One whose reply has @slots. It is in the list of all for as long as the lane has it. */
static struct tarn_pending *pending_new(struct tarn__lane *l, uint8_t slots)
{
	struct tarn__calls *k = l->calls;

	if (k->spare == NULL) {
		struct tarn_pending *p = malloc(sizeof *p);

		if (p == NULL)
			return NULL;
		/* Field by field: the reply is not to be cleared. */
		p->lane = l;
		p->client = l->client;
		p->pid = tarn__pid();
		p->fate = OWNED;
		p->cookie = 0;
		p->index = 0;
		p->n_words = 0;
		p->next = k->all;
		p->previous = NULL;
		if (k->all != NULL)
			k->all->previous = p;
		k->all = p;
		spare_put(k, p);
	}
	struct tarn_pending *p = spare_take(k, slots);

	state_set(p, QUEUED);
	return p;
}

static void unlink_pending(struct tarn__calls *k, struct tarn_pending *p)
{
	if (p->previous != NULL)
		p->previous->next = p->next;
	else
		k->all = p->next;
	if (p->next != NULL)
		p->next->previous = p->previous;
}

/* ---- posting ---- */

static inline void index_return(struct tarn__calls *k, struct tarn_pending *p)
{
	k->at[p->index] = NULL;
	k->free[k->n_free++] = p->index;
	k->reserved -= p->slots;
	if (p->watch)
		k->watches--;
}

static bool has_place(struct tarn__lane *l, const struct tarn_pending *p, unsigned slots)
{
	if (tarn__requests_room(&l->requests, slots) < slots)
		return false;
	return p == NULL || (l->calls->n_free != 0 &&
			     l->calls->reserved + p->slots <= TARN__PENDING_MOST &&
			     l->outstanding + p->slots <= TARN__REPLIES);
}

/* There is a place. */
static void post(struct tarn__lane *l, uint64_t *word, unsigned slots, struct tarn_pending *p)
{
	struct tarn__calls *k = l->calls;

	tarn__to_server(l->client);
	if (p == NULL) {
		tarn__lane_post_silent(l, word, slots);
	} else {
		p->index = k->free[--k->n_free];
		k->at[p->index] = p;
		k->reserved += p->slots;
		p->cookie = tarn__lane_post_ask(l, word, slots, p->slots, p->index);
		p->queued = NULL;
		state_set(p, POSTED);
		if (!p->watch)
			TARN__PROBE_CALL_BEGIN(word[1], tarn__pack_method(word[2]), p);
	}
	tarn__lane_knock(l);
}

static void queued_free(struct tarn__lane *l, struct tarn__queued *q)
{
	for (unsigned i = 0; l != NULL && i < q->n_held; i++)
		tarn__handle_put(l, q->held[i]);
	/* Those of one slot, which most are, are used again: there are no more of them than once waited. */
	if (tarn__likely(l != NULL && q->slots == 1)) {
		q->next = l->calls->spare_queued;
		l->calls->spare_queued = q;
	} else {
		free(q);
	}
}

static struct tarn__queued *queued_new(struct tarn__calls *k, unsigned slots)
{
	struct tarn__queued *q = k->spare_queued;

	if (tarn__likely(slots == 1 && q != NULL))
		k->spare_queued = q->next;
	else
		q = malloc(sizeof *q + (size_t)slots * 7 * sizeof *q->word);
	return q;
}

static void queue_append(struct tarn__calls *k, struct tarn__queued *q, struct tarn_pending *owner)
{
	q->next = NULL;
	q->owner = owner;
	q->dead = false;
	*k->end = q;
	k->end = &q->next;
	if (owner != NULL)
		owner->queued = q;
}

/* Posts what waits, as far as there are places. */
static void push(struct tarn__lane *l)
{
	struct tarn__calls *k = l->calls;

	while (k->first != NULL) {
		struct tarn__queued *q = k->first;

		if (!q->dead && !has_place(l, q->owner, q->slots))
			return;
		k->first = q->next;
		if (k->first == NULL)
			k->end = &k->first;
		if (!q->dead)
			post(l, q->word, q->slots, q->owner);
		queued_free(l, q);
	}
}

/* Keeps a message, and a reference on all that it names, until there is a place. */
static int enqueue(struct tarn__lane *l, const struct tarn__message_out *m, struct tarn_block *target,
		   const struct tarn__payload *p, struct tarn_pending *owner)
{
	struct tarn__calls *k = l->calls;
	struct tarn__queued *q = queued_new(k, m->slots);

	if (q == NULL)
		return fail_memory();
	q->slots = m->slots;
	q->n_held = 0;
	if (target != NULL)
		q->held[q->n_held++] = tarn_block_ref(target);
	for (unsigned i = 0; i < p->n_refs; i++)
		q->held[q->n_held++] = tarn_block_ref(p->refs[i]);
	if (m->spill != NULL)
		q->held[q->n_held++] = tarn_block_ref(m->spill);
	memcpy(q->word, m->word, (size_t)m->slots * 7 * sizeof *m->word);
	queue_append(k, q, owner);
	return 0;
}

/* Now, or later. */
static int post_or_queue(struct tarn__lane *l, struct tarn__message_out *m, struct tarn_block *target,
			 const struct tarn__payload *p, struct tarn_pending *owner)
{
	int r;

	if (tarn__backlog_any(l->client))
		tarn__backlog_post(l);
	tarn__lane_notice(l);
	tarn__lane_drain(l);
	l->calls->put_off = 0;
	push(l);
	if (l->calls->first == NULL) {
		/* Room comes soon, unlike a place for a reply. */
		r = tarn__lane_room(l, m->slots, UINT64_MAX);
		if (r < 0)
			return r;
		if (has_place(l, owner, m->slots)) {
			post(l, m->word, m->slots, owner);
			return 0;
		}
	}
	return enqueue(l, m, target, p, owner);
}

int tarn__pending_post(struct tarn__lane *l, struct tarn_object *o, unsigned method, unsigned flags,
		       const struct tarn__payload *p, struct tarn_pending *pending)
{
	struct tarn__message_out m;
	int r = tarn__message_build(l, &m, TARN__MSG_CALL, 0, o->base.id, method, flags,
				    pending != NULL ? pending->slots : 0, p);

	if (r < 0)
		return r;
	r = post_or_queue(l, &m, &o->base, p, pending);
	tarn__message_done(l, &m);
	return r;
}

int tarn__pending_flush(struct tarn__lane *l, uint64_t deadline)
{
	for (;;) {
		int r;

		tarn__lane_drain(l);
		push(l);
		if (l->calls->first == NULL)
			return 0;
		tarn__lane_ring(l);
		r = tarn__lane_wait_reply(l, deadline);
		if (r == -ETIMEDOUT)
			return tarn__fail(r, "Calls in the background that this one must not overtake "
					  "were not posted in time: %u wait for an answer.",
					  TARN__PENDING_MOST - l->calls->n_free);
		if (r < 0)
			return r;
	}
}

/* ---- answers ---- */

void tarn__pending_answered(struct tarn__lane *l, uint32_t cookie, const uint64_t *word, unsigned n)
{
	struct tarn__calls *k = l->calls;
	unsigned index = tarn__cookie_bin(cookie);
	struct tarn_pending *p = k != NULL && index < 256 ? k->at[index] : NULL;

	if (p == NULL || p->cookie != cookie) {
		tarn__reply_drop(l, word, n);
	} else {
		index_return(k, p);
		p->n_words = n < 7u * p->slots ? n : 7u * p->slots;
		if (tarn__likely(p->n_words == 7))
			memcpy(p->word, word, 7 * sizeof *word);
		else
			memcpy(p->word, word, p->n_words * sizeof *word);
		state_set(p, ANSWERED);
		if (!p->watch)
			TARN__PROBE_CALL_END(p, -(int)tarn__header_count(word[0]));
	}
	if (k != NULL && k->first != NULL)
		push(l);
}

/* ---- the end of one ---- */

/* Of a live one, in its own thread: nothing refers to it any more but the list of all; its result goes
 * back. */
static void let_go(struct tarn__lane *l, struct tarn_pending *p)
{
	struct tarn__calls *k = l->calls;

	switch (p->state) {
	case QUEUED:
		if (p->queued != NULL) {
			p->queued->dead = true;
			p->queued->owner = NULL;
			k->watches -= p->watch;
		}
		break;
	case POSTED:
		index_return(k, p);
		tarn__call_cancel(l, p->cookie);
		break;
	case ANSWERED:
		tarn__reply_drop(l, p->word, p->n_words);
		break;
	default:
		break;
	}
}

void tarn__pending_abandon(struct tarn__lane *l)
{
	struct tarn__calls *k = l->calls;

	if (k == NULL)
		return;
	for (struct tarn_pending *p = k->all, *next; p != NULL; p = next) {
		next = p->next;
		if (p->state == SPARE)
			continue; /* for the lane's next owner */
		let_go(l, p);
		unlink_pending(k, p);
		detach(p);
	}
	/* What is one way goes on with the lane's next owner, or with its drops here. */
	push(l);
}

void tarn__pending_lane_closed(struct tarn__lane *l)
{
	struct tarn__calls *k = l->calls;

	if (k == NULL)
		return;
	if (k->event >= 0)
		close(k->event);
	k->event = -1;
}

void tarn__pending_free_all(struct tarn__lane *l)
{
	struct tarn__calls *k = l->calls;

	if (k == NULL)
		return;
	for (struct tarn_pending *p = k->all, *next; p != NULL; p = next) {
		next = p->next;
		if (p->state == SPARE)
			free(p);
		else
			detach(p);
	}
	while (k->first != NULL) {
		struct tarn__queued *q = k->first;

		k->first = q->next;
		queued_free(NULL, q); /* the client's handles go as a whole */
	}
	while (k->spare_queued != NULL) {
		struct tarn__queued *q = k->spare_queued;

		k->spare_queued = q->next;
		free(q);
	}
	tarn__pending_lane_closed(l);
	free(k);
	l->calls = NULL;
}

/* ---- whose is it? ---- */

static int enter_slow(struct tarn_pending *p, struct tarn__lane **ret_lane)
{
	struct tarn__lane *l;
	int r;

	if (state_of(p) == DETACHED) {
		*ret_lane = NULL;
		return 0;
	}
	if (p->pid != tarn__pid())
		return tarn__fail_forked();
	r = tarn__lane_enter(p->client, &l);
	if (r < 0)
		return r;
	if (l == p->lane) {
		*ret_lane = l;
		return 0;
	}
	tarn__lane_leave(l);
	return tarn__fail(-EPERM, "A call in the background belongs to the thread that started it.");
}

/* Enters the lane of @p's thread, which must be the calling one. NULL in @ret_lane: detached. */
static inline int enter(struct tarn_pending *p, struct tarn__lane **ret_lane)
{
	if (tarn__likely(state_of(p) != DETACHED && tarn__lane_mine(p->client) == p->lane &&
			 tarn__lane_try(p->lane))) {
		*ret_lane = p->lane;
		return 0;
	}
	return enter_slow(p, ret_lane);
}

static int fail_freed(void)
{
	return tarn__fail(-TARN_ESTATE, "The call was freed before: its handle stands for nothing any more, or for "
			  "a later call. Set it to what tarn_call_free() returns.");
}

static int fail_detached(void)
{
	return tarn__fail(-ECANCELED, "The thread that started the call has ended, or its client was "
			  "closed.");
}

/* ---- public ---- */

/* Slots for the reply of method @number: one where it is known to be small. */
static uint8_t reply_slots(const tarn_object *o, unsigned number)
{
	/* SYNC types, acquire: as in tarn__type_of(). */
	const struct tarn__type *t = (const void *)__atomic_load_n(&o->base.data, __ATOMIC_ACQUIRE);

	return tarn__likely(t != NULL && number < t->n_methods && t->method[number].small)
		       ? 1 : TARN__BACKGROUND_REPLY;
}

/* There is a place, and nothing in the way. Answers that came are taken when somebody looks. */
static inline void post_short(struct tarn__lane *l, tarn_object *object, unsigned number,
		       const struct tarn__payload *payload, struct tarn_pending *p)
{
	struct tarn__calls *k = l->calls;

	tarn__to_server(l->client);
	p->index = k->free[--k->n_free];
	k->at[p->index] = p;
	k->reserved += p->slots;
	p->cookie = tarn__lane_post_call(l, TARN__MSG_CALL, object->base.id, number, p->slots, p->index,
					 payload->words, payload->n_words, payload->n_values);
	state_set(p, POSTED);
	TARN__PROBE_CALL_BEGIN(object->base.id, number, p);
	tarn__lane_knock(l);
}

#define PUT_OFF_MOST 8u
#define PUSH_TOGETHER 32u

/* There is no place before answers are taken. Whoever waits for calls in turn takes them with the next wait, one by
 * one and without copying them; so they are looked at here only if nobody did for some calls. False: it is so, or
 * there is something else to do first. */
static inline bool queue_short(struct tarn__lane *l, tarn_object *object, unsigned number,
			       const struct tarn__payload *payload, uint8_t slots, tarn_pending **ret)
{
	struct tarn__calls *k = l->calls;
	struct tarn__queued *q = k->spare_queued;

	/* Relaxed: hints, as in tarn__lane_clear(). */
	if (tarn__unlikely(q == NULL || k->put_off >= PUT_OFF_MOST || tarn__backlog_any(l->client) ||
			   tarn__load_relaxed(&l->area->signs.notice) != l->notice_seen))
		return false;
	k->put_off++;
	k->spare_queued = q->next;
	q->slots = 1;
	q->n_held = 1;
	q->held[0] = tarn_block_ref(&object->base);
	q->word[0] = tarn__header(TARN__MSG_CALL, 1, 0, 0);
	q->word[1] = object->base.id;
	q->word[2] = tarn__pack(number, payload->n_values, 0, 0, slots, payload->n_words);
	for (unsigned i = 0; i < TARN__SHORT_ARGS; i++)
		q->word[3 + i] = i < payload->n_words ? payload->words[i] : 0;
	*ret = spare_take(k, slots);
	state_set(*ret, QUEUED);
	queue_append(k, q, *ret);
	return true;
}

/* A few words of arguments, a struct that is there, and nothing in the way. False: it is not so,
 * and nothing was done. */
static inline bool start_short(tarn_object *object, unsigned number, const tarn_builder *args,
			       struct tarn__lane *l, tarn_pending **ret)
{
	struct tarn__payload payload = { .words = NULL };
	struct tarn__calls *k = l->calls;
	uint8_t slots = reply_slots(object, number);

	if (tarn__unlikely(k == NULL || k->spare == NULL) ||
	    (args != NULL && tarn__unlikely(!tarn__builder_plain(args, &payload))) ||
	    tarn__unlikely(payload.n_words > TARN__SHORT_ARGS))
		return false;
	if (k->first != NULL || k->reserved + slots > TARN__PENDING_MOST)
		return queue_short(l, object, number, &payload, slots, ret);
	if (!tarn__lane_clear(l, slots))
		return false;
	/* Each of those in flight has reserved a slot, so there is an index, too. */
	*ret = spare_take(k, slots);
	post_short(l, object, number, &payload, *ret);
	return true;
}

static int start(tarn_object *object, unsigned number, const tarn_builder *args,
		 struct tarn__lane *l, tarn_pending **ret)
{
	struct tarn__payload payload;
	struct tarn_pending *p;
	int r = tarn__args_payload(args, &payload);

	if (r == 0)
		r = tarn__calls_init(l);
	if (r < 0)
		return r;
	p = pending_new(l, reply_slots(object, number));
	if (p == NULL)
		return fail_memory();
	if (tarn__likely(payload.n_refs == 0 && payload.n_words <= TARN__SHORT_ARGS &&
			 l->calls->first == NULL && tarn__lane_clear(l, p->slots) &&
			 has_place(l, p, 1))) {
		post_short(l, object, number, &payload, p);
		*ret = p;
		return 0;
	}
	r = tarn__pending_post(l, object, number, 0, &payload, p);
	if (r < 0) {
		spare_put(l->calls, p);
		return r;
	}
	*ret = p;
	return 0;
}

int tarn_call_start_n(tarn_object *object, unsigned number, const tarn_builder *args,
		      tarn_pending **ret_pending)
{
	struct tarn__lane *l;
	int r;

	if (number > TARN__METHOD_DESCRIBE)
		return tarn__fail(-TARN_ENOMETHOD, "No type has a method %u.", number);
	r = tarn__lane_enter(object->base.client, &l);
	if (r < 0)
		return r;
	r = tarn__likely(start_short(object, number, args, l, ret_pending))
		    ? 0 : start(object, number, args, l, ret_pending);
	tarn__lane_leave(l);
	return r;
}

int tarn_call_start(tarn_object *object, const char *method, const tarn_builder *args,
		    tarn_pending **ret_pending)
{
	unsigned number = 0;
	int r = tarn_method_find(object, method, &number);

	return r < 0 ? r : tarn_call_start_n(object, number, args, ret_pending);
}

int tarn__pending_watch(struct tarn__lane *l, uint64_t whom, unsigned what, tarn_pending **ret)
{
	const struct tarn__payload none = { .words = NULL };
	struct tarn__message_out m = { .slots = 1 };
	struct tarn_pending *p;
	int r = tarn__calls_init(l);

	if (r < 0)
		return r;
	if (l->calls->watches >= TARN__PENDING_MOST / 2)
		return tarn__fail(-ENOBUFS, "This thread waits for %u notices; each takes the place of a "
				  "call, and no more than half are for notices.", l->calls->watches);
	p = pending_new(l, 1);
	if (p == NULL)
		return fail_memory();
	p->watch = true;
	m.word[0] = tarn__header(TARN__MSG_WATCH, 1, 0, 0);
	m.word[1] = whom;
	m.word[2] = what;
	l->calls->watches++;
	r = post_or_queue(l, &m, NULL, &none, p);
	if (r < 0) {
		l->calls->watches--;
		spare_put(l->calls, p);
		return r;
	}
	*ret = p;
	return 0;
}

/* The server may be dead: a look now and then. */
static int look_at_server(struct tarn__lane *l)
{
	return ++l->calls->polls % 256 == 0 ? tarn__client_health(l->client, l) : 0;
}

int tarn_call_poll(tarn_pending *pending)
{
	struct tarn__lane *l;
	int r;

	if (state_of(pending) == ANSWERED || state_of(pending) == TAKEN)
		return 1;
	if (tarn__unlikely(state_of(pending) == SPARE))
		return fail_freed();
	r = enter(pending, &l);
	if (r < 0 || l == NULL)
		return r < 0 ? r : 1;
	tarn__lane_drain(l);
	push(l);
	if (state_of(pending) >= ANSWERED) {
		r = 1;
	} else {
		r = look_at_server(l);
		tarn__lane_notice(l);
	}
	tarn__lane_leave(l);
	return r;
}

bool tarn__pending_failed(const struct tarn_pending *p)
{
	return state_of(p) == DETACHED ||
	       (state_of(p) == ANSWERED && tarn__header_count(p->word[0]) != 0);
}

struct tarn_client *tarn__pending_client(const struct tarn_pending *p)
{
	return p->client;
}

/* The answer, as the call's result. */
static int take(struct tarn__lane *l, struct tarn_pending *p, tarn_parcel *ret)
{
	int r;

	if (tarn__unlikely(p->state != ANSWERED))
		return p->state == SPARE
			       ? fail_freed()
			       : tarn__fail(-TARN_ESTATE, "The result of this call was had already.");
	state_set(p, TAKEN);
	if (tarn__likely(p->n_words >= 7) && tarn__reply_short(l, p->word, ret))
		return 0;
	r = tarn__reply_read(l, p->word, p->n_words, ret);
	if (r == -TARN_EEVICTED)
		tarn__store32_relaxed(&l->client->down, TARN_EEVICTED);
	return r;
}

/* Waits until one is answered, as @answered finds. */
static int wait_for(struct tarn__lane *l, bool (*answered)(const void *what), const void *what,
		    int64_t timeout_ns)
{
	uint64_t deadline = 0;

	for (;;) {
		int r;

		tarn__lane_drain(l);
		push(l);
		if (answered(what))
			return 0;
		if (timeout_ns == 0) {
			r = look_at_server(l);
			return r < 0 ? r : tarn__fail_static(-EAGAIN, "Not answered yet.");
		}
		if (deadline == 0)
			deadline = tarn__deadline(timeout_ns);
		if (tarn__backlog_any(l->client))
			tarn__backlog_post(l);
		tarn__lane_ring(l);
		r = tarn__lane_wait_reply(l, deadline);
		if (r == 0 && deadline != UINT64_MAX && tarn__now() >= deadline) {
			tarn__lane_drain(l); /* answers to others may come all the time */
			if (answered(what))
				return 0;
			r = -ETIMEDOUT;
		}
		if (r < 0)
			return r == -ETIMEDOUT ? tarn__fail_static(r, "Not answered within the time "
								   "allowed; it goes on.") : r;
	}
}

static bool one_answered(const void *what)
{
	return state_of(what) >= ANSWERED;
}

/* If the next reply is that of @p, which is posted, and a success of a few values: from the ring to the
 * caller at once. False: it is not, and nothing was done. */
static inline bool take_next(struct tarn__lane *l, struct tarn_pending *p, tarn_parcel *ret)
{
	uint64_t word[7];

	if (tarn__unlikely(!tarn__reply_poll(l, word)) ||
	    tarn__unlikely(tarn__header_cookie(word[0]) != p->cookie ||
			   tarn__header_kind(word[0]) != TARN__MSG_CALL) ||
	    tarn__unlikely(!tarn__reply_short(l, word, ret)))
		return false;
	l->replies.next++;
	l->outstanding -= p->slots;
	index_return(l->calls, p);
	state_set(p, TAKEN);
	TARN__PROBE_CALL_END(p, 0);
	l->calls->put_off = 0;
	/* Some together: the server reads what lies side by side for less. What is waited for itself is posted at
	 * once, by wait_for(). */
	if (l->calls->first != NULL && l->calls->reserved + PUSH_TOGETHER <= TARN__PENDING_MOST)
		push(l);
	return true;
}

int tarn_call_wait(tarn_pending *pending, tarn_parcel *ret_result, int64_t timeout_ns)
{
	struct tarn__lane *l;
	int r = enter(pending, &l);

	if (r < 0)
		return r;
	if (l == NULL)
		return fail_detached();
	if (tarn__likely(pending->state == POSTED && timeout_ns != 0) &&
	    tarn__likely(take_next(l, pending, ret_result))) {
		tarn__lane_leave(l);
		return 0;
	}
	r = pending->state >= ANSWERED ? 0 : wait_for(l, one_answered, pending, timeout_ns);
	if (r == 0)
		r = take(l, pending, ret_result);
	tarn__lane_leave(l);
	return r;
}

struct any {
	tarn_pending *const *pending;
	size_t n;
	size_t *index;
};

static bool any_answered(const void *what)
{
	const struct any *a = what;

	for (size_t i = 0; i < a->n; i++) {
		if (a->pending[i] != NULL && (state_of(a->pending[i]) == ANSWERED ||
					      state_of(a->pending[i]) == DETACHED)) {
			*a->index = i;
			return true;
		}
	}
	return false;
}

int tarn_call_wait_any(tarn_pending *const *pending, size_t n, int64_t timeout_ns, size_t *ret_index)
{
	size_t index = 0;
	const struct any any = { .pending = pending, .n = n, .index = &index };
	struct tarn__lane *l = NULL;
	int r = 0;

	if (any_answered(&any)) {
		*ret_index = index;
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (pending[i] == NULL || state_of(pending[i]) == TAKEN)
			continue;
		if (state_of(pending[i]) == SPARE)
			r = fail_freed();
		else if (l == NULL)
			r = enter(pending[i], &l);
		else if (pending[i]->lane != l)
			r = tarn__fail(-EPERM, "The calls to wait for belong to several threads or "
				       "clients.");
		if (r < 0)
			break;
	}
	if (r == 0 && l == NULL)
		r = tarn__fail(-EINVAL, "There is no call to wait for.");
	if (r == 0)
		r = wait_for(l, any_answered, &any, timeout_ns);
	if (l != NULL)
		tarn__lane_leave(l);
	if (r == 0)
		*ret_index = index;
	return r;
}

int tarn_call_cancel(tarn_pending *pending)
{
	struct tarn__lane *l;
	int r = state_of(pending) == SPARE
			? fail_freed()
			: enter(pending, &l);

	if (r < 0 || l == NULL)
		return r;
	if (pending->state == POSTED) {
		/* Relaxed patience: the server takes messages all the time. */
		r = tarn__lane_room(l, 1, UINT64_MAX);
		if (r == 0)
			tarn__call_cancel(l, pending->cookie);
	} else if (pending->state == QUEUED) {
		/* Nobody was told of it: it is answered here. */
		pending->queued->dead = true;
		pending->queued->owner = NULL;
		pending->queued = NULL;
		l->calls->watches -= pending->watch;
		pending->n_words = 7;
		memset(pending->word, 0, 7 * sizeof *pending->word);
		pending->word[0] = tarn__reply(TARN__MSG_CALL, 1, ECANCELED, 0);
		state_set(pending, ANSWERED);
		push(l);
	}
	tarn__lane_leave(l);
	return r;
}

tarn_pending *tarn_call_free(tarn_pending *pending)
{
	struct tarn__lane *l;

	if (pending == NULL)
		return NULL;
	if (tarn__unlikely(state_of(pending) == SPARE)) {
		fail_freed();
		return NULL;
	}
	if (tarn__unlikely(state_of(pending) != DETACHED && pending->pid != tarn__pid())) {
		free(pending); /* a child's copy */
		return NULL;
	}
	if (tarn__unlikely(enter(pending, &l) < 0 || l == NULL)) {
		/* Another thread's, or from a signal handler: its thread ends it. Or nobody's. */
		if (!disown(pending))
			fail_freed();
		return NULL;
	}
	if (tarn__unlikely(pending->state != TAKEN))
		let_go(l, pending);
	spare_put(l->calls, pending);
	if (tarn__backlog_any(l->client))
		tarn__backlog_post(l);
	tarn__lane_leave(l);
	return NULL;
}
