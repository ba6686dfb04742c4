/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages and their effects (PROTOCOL 3.3).
 *
 * Increments are applied when a message is read (phase A), every decrement one whole
 * epoch later (phase B, I6): phase A notes it in the buffer that is being filled. One
 * message is one transaction: effects and the lane's cursor move together or not at all.
 *
 * All words of a message are input: ids go through the table, numbers are bounded, and
 * a message that an honest client cannot have written gets its sender evicted and has no
 * effect. A dead id is no offence: its message is ignored and counted.
 */
#include "claims.h"
#include "heap.h"
#include "ledger.h"
#include "server.h"
#include "things.h"
#include "tickets.h"
#include "turn.h"

#include <string.h>

void tarn__touch(struct server *s, uint32_t index)
{
	if (s->n_touched < TOUCHED_MOST)
		s->touched[s->n_touched++] = index;
}

/* DIR is a function of META: publishing twice does no harm (I12). */
static void dir_publish(struct server *s, uint32_t index)
{
	const struct state *st = &s->st;
	const struct object *o = &st->object[index];
	struct tarn__dir_entry *e = &st->dir[index];
	bool there = o->state == OBJECT_LIVE || o->state == OBJECT_GRANTED;
	uint64_t state = 0;

	if (there && (object_flags(o) & OBJECT_SEALED))
		state |= TARN__DIR_SEALED;
	if (there && object_kind(o) == TARN__KIND_BLOCK && (object_flags(o) & OBJECT_WATCHED))
		state |= TARN__DIR_WATCHED;
	if (there && object_kind(o) == TARN__KIND_CHANNEL) {
		const struct channel *ch = tarn__channel_of(st, o);

		state |= TARN__DIR_CHANNEL;
		if (ch != NULL && ch->producer.state == END_GONE)
			state |= TARN__DIR_PRODUCER_GONE;
		if (ch != NULL && ch->consumer.state == END_GONE)
			state |= TARN__DIR_CONSUMER_GONE;
	}
	if (there && object_kind(o) == TARN__KIND_OBJECT)
		state |= tarn__thing_state(st, o);
	if (there && e->id == o->id) {
		/* Same life: only the flags can have changed. */
		tarn__store_release(&e->state, state);
		return;
	}
	/* SYNC dir: a reader that sees the old or the new id on both sides of its reads
	 * has fields of that id; 0 in between keeps the two apart. */
	tarn__store_release(&e->id, 0);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	tarn__store_relaxed(&e->offset, o->offset);
	tarn__store_relaxed(&e->capacity, there ? tarn__heap_capacity(st, o) : 0);
	tarn__store_relaxed(&e->state, state);
	tarn__store_release(&e->id, there ? o->id : 0);
}

void tarn__commit(struct server *s)
{
	if (tarn__unlikely(s->st.head->undo.n > s->undo_high))
		s->undo_high = s->st.head->undo.n;
	commit(&s->st);
	tarn__settle(s, true);
	for (uint32_t i = 0; i < s->n_touched; i++)
		dir_publish(s, s->touched[i]);
	s->n_touched = 0;
	/* Release: as tarn__self_store(). */
	for (uint32_t i = 0; i < s->n_later; i++)
		tarn__store_release(s->later[i].word, s->later[i].value);
	s->n_later = 0;
	if (tarn__unlikely(s->inside != 0)) {
		s->host->ops->leave(s->host, s->inside); /* a job may be for this very object */
		s->inside = 0;
	}
	if (tarn__unlikely(s->jobs != NULL))
		tarn__jobs_submit(s);
}

void tarn__rollback(struct server *s)
{
	tarn__meta_rollback(&s->st.meta);
	tarn__settle(s, false);
	s->n_touched = 0;
	s->n_later = 0;
	if (tarn__unlikely(s->jobs != NULL))
		tarn__jobs_discard(s);
}

void tarn__reply_put(struct server *s, struct lane_view *v, const uint64_t word[7])
{
	struct lane *l = &s->st.lane[v->lane];
	struct tarn__slot *slot = &s->st.replies[(uint64_t)v->lane * TARN__REPLIES +
						 l->replies % TARN__REPLIES];

	/* Beyond the committed cursor, so it needs no log. */
	memcpy(slot->word, word, sizeof slot->word);
	slot->mark = l->replies + 1;
	SET(&s->st, l->replies, l->replies + 1);
	v->wake = true;
}

static void defer(struct turn *t, enum tarn__message kind, uint64_t id, uint64_t at,
		  uint64_t units)
{
	struct state_head *h = t->st->head;
	struct deferred *d = &t->st->deferred[h->filling][h->n_deferred[h->filling]];

	/* Beyond the committed count, so it needs no log. There is room: every lane's
	 * opening reserved for what one epoch can read from it. */
	d->kind = kind;
	d->client = t->client;
	d->id = id;
	d->at = at;
	d->units = units;
	SET(t->st, h->n_deferred[h->filling], h->n_deferred[h->filling] + 1);
}

static enum verdict offence(struct turn *t, const char *what)
{
	t->offence = what;
	return OFFENCE;
}

/* The object, or NULL for a stale id, which is counted and otherwise ignored. */
static struct object *named(struct turn *t, uint64_t id)
{
	struct object *o = tarn__object_find(t->st, id);

	if (o == NULL)
		t->s->stale++;
	return o;
}

static void flag_set(struct turn *t, struct object *o, enum object_flag flag)
{
	struct object_word word = object_word(o);

	if (word.kind_flags & flag)
		return;
	word.kind_flags |= (uint8_t)flag;
	object_word_set(t->st, o, word);
}

/* The exact size, from the first message that says it: whose lane is read first is chance, and
 * a RELEASE of the grantee (which has no size) may be before its SEND. Only RESIZE changes it. */
static enum verdict size_said(struct turn *t, struct object *o, uint64_t size)
{
	if (object_kind(o) != TARN__KIND_BLOCK || (object_flags(o) & OBJECT_SIZED))
		return FINE;
	if (size == 0 || size > tarn__heap_capacity(t->st, o))
		return offence(t, "names a size of 0 or beyond the block's capacity");
	if (size != o->size)
		SET(t->st, o->size, size);
	flag_set(t, o, OBJECT_SIZED);
	return FINE;
}

/* Part of every message of the grantee that names a granted block: it is LIVE from here
 * on, with the unit of the allocation (3.6, H8). */
static enum verdict publish(struct turn *t, struct object *o)
{
	if (o->state != OBJECT_GRANTED || o->owner != t->client)
		return FINE;
	tarn__object_live(t->st, o);
	if (tarn__ledger_add(t->st, o, t->client, 1) < 0)
		return offence(t, "holds more than its credits");
	return FINE;
}

/* ---- phase A, one function per kind ---- */

static enum verdict on_send(struct turn *t)
{
	const uint64_t *w = t->w;
	struct object *o = named(t, w[3]);
	struct object *co = tarn__object_find(t->st, w[1]);
	struct channel *ch = co != NULL ? tarn__channel_of(t->st, co) : NULL;

	if (o == NULL) {
		/* It takes its place in the ring all the same: the next one is in order. */
		if (ch != NULL && ch->producer.client == t->client && w[2] == ch->sent)
			SET(t->st, ch->sent, w[2] + 1);
		return FINE;
	}
	if (size_said(t, o, w[4]) == OFFENCE || publish(t, o) == OFFENCE)
		return OFFENCE;
	if (w[5] != 0)
		defer(t, TARN__MSG_RELEASE, w[3], 0, w[5]);

	if (ch == NULL) {
		t->s->stale++; /* a channel that is no more: publish only */
		return FINE;
	}
	if (ch->producer.client != t->client)
		return offence(t, "SEND on a channel of which it is not the producer");
	if (w[2] != ch->sent)
		return offence(t, "SEND out of order");
	SET(t->st, ch->sent, w[2] + 1);
	if (ch->producer.state != END_HELD || ch->consumer.state == END_GONE)
		return FINE; /* closed: publish only (H9) */
	uint64_t lanes = t->st->client[ch->consumer.client].lanes;
	if (ch->tickets >= ch->capacity + LANE_CLAIMS * (lanes != 0 ? lanes : 1) ||
	    tarn__ticket_add(t->st, ch, w[2], o->id) < 0) {
		tarn__channel_overrun(t->s, ch);
		return FINE;
	}
	tarn__object_hold(t->st, o);
	return FINE;
}

static enum verdict on_recv(struct turn *t)
{
	struct object *o = named(t, t->w[3]);

	if (o == NULL)
		return FINE;
	if (publish(t, o) == OFFENCE)
		return OFFENCE;
	/* Before a SEND is read the ticket is not there yet; the unit is booked all the
	 * same, and the ticket goes one epoch later. */
	if (tarn__ledger_add(t->st, o, t->client, 1) < 0)
		return offence(t, "holds more than its credits");
	defer(t, TARN__MSG_RECV, t->w[1], t->w[2], t->w[3]);
	return FINE;
}

static enum verdict on_absorb(struct turn *t)
{
	defer(t, TARN__MSG_ABSORB, t->w[1], t->w[2], t->w[3]);
	return FINE;
}

static enum verdict on_release(struct turn *t)
{
	struct object *o = named(t, t->w[1]);

	if (o == NULL)
		return FINE;
	if (publish(t, o) == OFFENCE)
		return OFFENCE;
	defer(t, TARN__MSG_RELEASE, t->w[1], 0, t->w[2]);
	if (object_kind(o) != TARN__KIND_BLOCK)
		t->s->eager++; /* an object goes promptly: no sleep before its phase B */
	return FINE;
}

static enum verdict on_giveback(struct turn *t)
{
	unsigned n = tarn__header_count(t->w[0]);

	if (n == 0 || n > TARN__GIVEBACK_IDS)
		return offence(t, "GIVEBACK of none or of too many");
	/* Three ids are the three words of one entry: one message defers at most one
	 * decrement, which is what the buffers have room for. */
	defer(t, TARN__MSG_GIVEBACK, t->w[1], n > 1 ? t->w[2] : 0, n > 2 ? t->w[3] : 0);
	return FINE;
}

static enum verdict on_publish(struct turn *t)
{
	struct object *o = named(t, t->w[1]);

	if (o == NULL)
		return FINE;
	return size_said(t, o, t->w[2]) == OFFENCE ? OFFENCE : publish(t, o);
}

static void seal(struct turn *t, struct object *o)
{
	flag_set(t, o, OBJECT_SEALED);
	t->st->watched_gone |= (object_flags(o) & OBJECT_WATCHED) != 0; /* somebody may wait for it */
}

static enum verdict on_seal(struct turn *t)
{
	struct object *o = named(t, t->w[1]);

	if (o == NULL)
		return FINE;
	if (object_kind(o) != TARN__KIND_BLOCK)
		return offence(t, "SEAL of something that is not a block");
	if (size_said(t, o, t->w[2]) == OFFENCE || publish(t, o) == OFFENCE)
		return OFFENCE;
	seal(t, o);
	tarn__touch(t->s, object_index(t->st, o));
	return FINE;
}

static enum verdict on_resize(struct turn *t)
{
	struct object *o = named(t, t->w[1]);

	if (o == NULL)
		return FINE;
	if (object_kind(o) != TARN__KIND_BLOCK || t->w[2] == 0 ||
	    t->w[2] > tarn__heap_capacity(t->st, o))
		return offence(t, "RESIZE beyond the capacity");
	if (publish(t, o) == OFFENCE)
		return OFFENCE;
	if (o->size != t->w[2])
		SET(t->st, o->size, t->w[2]);
	flag_set(t, o, OBJECT_SIZED);
	return FINE;
}

static enum verdict on_close(struct turn *t)
{
	if (t->w[2] != TARN__ROLE_PRODUCER && t->w[2] != TARN__ROLE_CONSUMER)
		return offence(t, "CLOSE of an end that does not exist");
	defer(t, TARN__MSG_CLOSE, t->w[1], t->w[2], 0);
	t->s->eager++; /* the peer waits for it: no sleep before its phase B */
	return FINE;
}

static void answer(struct turn *t, int r, const struct answer *a)
{
	uint64_t word[7] = { tarn__reply(tarn__header_kind(t->w[0]), 0, -r,
					 tarn__header_cookie(t->w[0])) };

	if (r < 0)
		tarn__facts_failed(t->s, t->client, tarn__header_kind(t->w[0]), r);
	if (r == 0) {
		word[1] = a->id;
		word[2] = a->size;
		word[3] = a->state;
		word[4] = a->offset;
		word[5] = a->length;
	}
	tarn__reply_put(t->s, t->v, word);
	t->s->eager++;
}

static enum verdict on_credit(struct turn *t)
{
	struct client *cl = &t->st->client[t->client];
	uint64_t wanted = t->w[1];
	struct answer a = { .id = cl->credits };
	int r = 0;

	if (wanted > cl->credits) {
		r = wanted <= CREDITS_MOST ? tarn__claims_promise(t->st, wanted - cl->credits)
					: -ENOSPC;
		if (r == 0) {
			SET(t->st, cl->credits, wanted);
			a.id = wanted;
		}
	}
	answer(t, r, &a);
	return FINE;
}

/* Collects the text that follows @skip words of the first slot. */
static enum verdict text_of(struct turn *t, unsigned skip, char ret[TARN__NAME_BYTES])
{
	unsigned bytes = tarn__header_count(t->w[0]), at = 0;

	memset(ret, 0, TARN__NAME_BYTES);
	if (bytes >= TARN__NAME_BYTES || bytes > (7 - skip) * 8 + (t->n - 1) * 56)
		return offence(t, "a name longer than its message");
	for (unsigned k = 0; k < t->n && at < bytes; k++) {
		unsigned from = k == 0 ? skip : 0, room = (7 - from) * 8;
		unsigned take = bytes - at < room ? bytes - at : room;

		memcpy(ret + at, (const char *)&t->slot[k].word[from], take);
		at += take;
	}
	if (strlen(ret) != bytes)
		return offence(t, "a name with a zero byte");
	return FINE;
}

static enum verdict on_channel(struct turn *t)
{
	char name[TARN__NAME_BYTES];
	struct answer a = { 0 };

	if (text_of(t, 2, name) == OFFENCE)
		return OFFENCE;
	int r = tarn__channel_make(t->s, t->client, t->w[1] & UINT32_MAX, t->w[1] >> 32, name, &a);
	if (r < 0)
		tarn__rollback(t->s);
	answer(t, r, &a);
	return FINE;
}

static enum verdict on_bind(struct turn *t)
{
	struct answer a = { 0 };
	int r = tarn__channel_bind(t->s, t->client, t->w[1], t->w[2], &a);

	if (r < 0)
		tarn__rollback(t->s);
	answer(t, r, &a);
	return FINE;
}

static void answer_object(struct turn *t, const struct object *o, struct answer *a)
{
	a->id = o->id;
	a->size = o->size;
	a->state = object_kind(o) == TARN__KIND_CHANNEL ? TARN__DIR_CHANNEL
		 : object_kind(o) == TARN__KIND_OBJECT	? tarn__thing_state(t->st, o)
							: 0;
	if (object_flags(o) & OBJECT_SEALED)
		a->state |= TARN__DIR_SEALED;
}

static enum verdict on_lookup(struct turn *t)
{
	char name[TARN__NAME_BYTES];
	struct answer a = { 0 };

	if (text_of(t, 1, name) == OFFENCE)
		return OFFENCE;
	struct object *o = tarn__object_find(t->st, tarn__name_find(t->st, name));

	if (o == NULL) {
		answer(t, -ENOENT, &a);
		return FINE;
	}
	if (tarn__ledger_add(t->st, o, t->client, 1) < 0)
		return offence(t, "holds more than its credits");
	answer_object(t, o, &a);
	answer(t, 0, &a);
	return FINE;
}

/* An export answers to whoever imports next, perhaps before a SEAL or RESIZE in another lane
 * is read: until then the exporter's word stands. */
static enum verdict anticipate(struct turn *t, struct object *o, uint64_t size, uint64_t flags)
{
	if (object_kind(o) != TARN__KIND_BLOCK)
		return FINE;
	if (size_said(t, o, size) == OFFENCE)
		return OFFENCE;
	if (size > o->size && size <= tarn__heap_capacity(t->st, o))
		SET(t->st, o->size, size);
	if (flags & TARN__EXPORT_SEALED) {
		seal(t, o);
		tarn__touch(t->s, object_index(t->st, o));
	}
	return FINE;
}

static enum verdict on_export(struct turn *t)
{
	uint64_t word[10] = { 0 }, nonce[2] = { 0 };
	struct answer a = { 0 };

	memcpy(word, &t->w[1], 6 * sizeof *word);
	if (t->n > 1)
		memcpy(word + 6, t->slot[1].word, 4 * sizeof *word);
	struct object *o = named(t, word[0]);
	int r = -TARN_ESTALE;

	if (o != NULL) {
		if (anticipate(t, o, word[1], word[6]) == OFFENCE || publish(t, o) == OFFENCE)
			return OFFENCE;
		r = tarn__export_make(t->s, t->client, word, nonce);
	}
	a.id = nonce[0];
	a.size = nonce[1];
	answer(t, r, &a);
	return FINE;
}

static enum verdict on_import(struct turn *t)
{
	struct answer a = { 0 };
	int r = tarn__export_use(t->s, t->client, t->w[1], &t->w[2], &a);

	if (r == -EDQUOT)
		return offence(t, "holds more than its credits");
	if (r < 0)
		tarn__rollback(t->s);
	answer(t, r, &a);
	return FINE;
}

static enum verdict on_revoke(struct turn *t)
{
	struct answer a = { 0 };

	answer(t, tarn__export_revoke(t->s, t->w[1], &t->w[2]), &a);
	return FINE;
}

static enum verdict on_ping(struct turn *t)
{
	struct answer a = { 0 };

	answer(t, 0, &a);
	return FINE;
}

static enum verdict on_alloc(struct turn *t)
{
	/* One that nobody waits for was made ahead of need, as a stream goes on: it does not
	 * keep the server from sleeping. Its sender rings when it is down to its last block. */
	if (t->w[3] != 0)
		t->s->eager++;
	tarn__grant_request(t->s, t->v, t->slot);
	return FINE;
}

static enum verdict (*const phase_a[TARN__MSG_KINDS])(struct turn *) = {
	[TARN__MSG_SEND] = on_send,	[TARN__MSG_RECV] = on_recv,
	[TARN__MSG_ABSORB] = on_absorb, [TARN__MSG_RELEASE] = on_release,
	[TARN__MSG_GIVEBACK] = on_giveback, [TARN__MSG_PUBLISH] = on_publish,
	[TARN__MSG_SEAL] = on_seal,	[TARN__MSG_RESIZE] = on_resize,
	[TARN__MSG_CLOSE] = on_close,	[TARN__MSG_ALLOC] = on_alloc,
	[TARN__MSG_CREDIT] = on_credit, [TARN__MSG_CHANNEL] = on_channel,
	[TARN__MSG_BIND] = on_bind,	[TARN__MSG_LOOKUP] = on_lookup,
	[TARN__MSG_EXPORT] = on_export, [TARN__MSG_IMPORT] = on_import,
	[TARN__MSG_REVOKE] = on_revoke, [TARN__MSG_PING] = on_ping,
	[TARN__MSG_TYPE] = tarn__on_type, [TARN__MSG_CREATE] = tarn__on_create,
	[TARN__MSG_CALL] = tarn__on_call, [TARN__MSG_RESULT] = tarn__on_result,
	[TARN__MSG_CANCEL] = tarn__on_cancel, [TARN__MSG_HOLD] = tarn__on_hold,
	[TARN__MSG_UNHOLD] = tarn__on_unhold, [TARN__MSG_CONTENTS] = tarn__on_contents, [TARN__MSG_DESTROYED] = tarn__on_destroyed,
	[TARN__MSG_NAME] = tarn__on_name, [TARN__MSG_GRAB] = tarn__on_grab,
	[TARN__MSG_WATCH] = tarn__on_watch, [TARN__MSG_MADE] = tarn__on_made,
	[TARN__MSG_FETCH] = tarn__on_fetch,
};

/* Kinds that ask for something. An evicted client gets none of it; its bookkeeping goes on, for
 * the sake of those who hold what it sent. */
static bool asks_for_service(unsigned kind)
{
	return (kind >= TARN__MSG_ALLOC && kind <= TARN__MSG_PING) ||
	       (kind >= TARN__MSG_TYPE && kind <= TARN__MSG_CALL) ||
	       (kind >= TARN__MSG_NAME && kind <= TARN__MSG_WATCH) || kind == TARN__MSG_FETCH;
}

/* A method that only says what its caller did, without an answer: who holds what goes on after that. */
static bool keeps_books(const struct turn *t)
{
	const struct object *o;
	const struct thing *k;
	const struct tarn__served *type;
	unsigned method = tarn__pack_method(t->w[2]);

	if (tarn__header_kind(t->w[0]) != TARN__MSG_CALL || !(tarn__pack_flags(t->w[2]) & TARN__CALL_ONEWAY))
		return false;
	o = tarn__object_find(t->st, t->w[1]);
	k = o != NULL ? tarn__thing_of(t->st, o) : NULL;
	type = k != NULL ? tarn__thing_type(t->s, k) : NULL;
	return type != NULL && type->own && method < type->n_offers &&
	       (type->offer[method].flags & TARN__OFFER_BOOKS);
}

static enum verdict refuse(struct turn *t)
{
	const struct answer none = { 0 };
	unsigned kind = tarn__header_kind(t->w[0]);

	if ((kind == TARN__MSG_CALL || kind == TARN__MSG_CREATE) &&
	    (tarn__pack_flags(t->w[2]) & TARN__CALL_ONEWAY))
		return FINE;
	answer(t, -TARN_EEVICTED, &none);
	return FINE;
}

/* ---- for the other files ---- */

enum verdict tarn__turn_offence(struct turn *t, const char *what)
{
	return offence(t, what);
}

struct object *tarn__turn_named(struct turn *t, uint64_t id)
{
	return named(t, id);
}

void tarn__turn_defer(struct turn *t, enum tarn__message kind, uint64_t id, uint64_t at,
		      uint64_t units)
{
	defer(t, kind, id, at, units);
}

enum verdict tarn__turn_publish(struct turn *t, struct object *o)
{
	return publish(t, o);
}

enum verdict tarn__turn_name(struct turn *t, struct object *o, uint64_t size, bool sealed)
{
	if (anticipate(t, o, size, sealed ? TARN__EXPORT_SEALED : 0) == OFFENCE)
		return OFFENCE;
	return publish(t, o);
}

void tarn__turn_answer(struct turn *t, int r, const struct answer *a)
{
	answer(t, r, a);
}

enum verdict tarn__turn_text(struct turn *t, unsigned skip, char ret[TARN__NAME_BYTES])
{
	return text_of(t, skip, ret);
}

void tarn__turn_describe(const struct state *st, const struct object *o, struct answer *ret)
{
	const struct turn t = { .st = (struct state *)(uintptr_t)st };

	answer_object((struct turn *)(uintptr_t)&t, o, ret);
}

void tarn__turn_end(struct turn *t, enum verdict verdict)
{
	struct server *s = t->s;
	struct lane *l = &s->st.lane[t->v->lane];
	unsigned kind = tarn__header_kind(t->w[0]);

	s->messages++;
	if (tarn__likely(s->facts_client != NULL))
		s->facts_client[t->client].by_kind[kind < FACTS_KINDS ? kind : 0]++;
	if (tarn__unlikely(verdict == OFFENCE)) {
		tarn__rollback(s);
		tarn__evict(s, t->client, "message %u at %llu: %s", kind,
			    (unsigned long long)l->position, t->offence);
	}
	SET(&s->st, l->position, l->position + t->n);
	tarn__commit(s);
	t->v->position = l->position;
	/* What it ran is over; until here a successor knows that by the position. */
	if (s->st.head->running.lane == t->v->lane)
		tarn__store32_relaxed(&s->st.head->running.lane, NIL);
	if (tarn__unlikely(s->n_died != 0))
		tarn__died_told(s, t->v);
}

void tarn__apply(struct server *s, struct lane_view *v, const struct tarn__slot *slot, unsigned n)
{
	struct turn t = { .s = s, .st = &s->st, .v = v, .client = s->st.lane[v->lane].client,
			  .w = slot[0].word, .slot = slot, .n = n };
	unsigned kind = tarn__header_kind(t.w[0]);
	enum verdict verdict;

	if (tarn__unlikely(asks_for_service(kind) &&
			   s->st.client[t.client].state == CLIENT_EVICTED && !keeps_books(&t)))
		verdict = refuse(&t);
	else
		verdict = kind < TARN__MSG_KINDS && phase_a[kind] != NULL
				  ? phase_a[kind](&t)
				  : offence(&t, "an unknown kind of message");

	tarn__turn_end(&t, verdict);
}

/* ---- phase B ---- */

static bool release_now(struct server *s, const struct deferred *d)
{
	struct object *o = tarn__object_find(&s->st, d->id);

	if (o == NULL) {
		s->stale++;
		return true;
	}
	if (tarn__ledger_take(&s->st, o, d->client, d->units) < 0)
		return false;
	/* What its type leaves to be done when it ends is the reaper's, in transactions of its own. */
	if (!tarn__thing_end(s, o))
		tarn__object_settle(&s->st, o);
	return true;
}

static bool giveback_one(struct server *s, uint32_t client, struct object *o)
{
	if (o == NULL || o->owner != client)
		return false;
	/* Words of others, of a channel or queue, made its owner take what lay in its own cache, which it cannot
	 * know: what it gives back is the unit of the grant. */
	if (o->state == OBJECT_LIVE && object_kind(o) == TARN__KIND_BLOCK)
		return tarn__ledger_sub(&s->st, o, client, 1) == 0;
	if (o->state != OBJECT_GRANTED)
		return false;
	if (o->ext != 0 || o->edges != 0) {
		/* A stranger named it, for which its owner cannot be blamed: the counts decide. */
		tarn__object_live(&s->st, o);
		tarn__object_disown(&s->st, o);
		return true;
	}
	tarn__object_ungrant(&s->st, o);
	return true;
}

static bool giveback_now(struct server *s, const struct deferred *d)
{
	const uint64_t id[TARN__GIVEBACK_IDS] = { d->id, d->at, d->units };

	for (unsigned i = 0; i < TARN__GIVEBACK_IDS && id[i] != 0; i++)
		if (!giveback_one(s, d->client, tarn__object_find(&s->st, id[i])))
			return false;
	return true;
}

static bool close_now(struct server *s, const struct deferred *d)
{
	struct object *o = tarn__object_find(&s->st, d->id);
	struct channel *ch = o != NULL ? tarn__channel_of(&s->st, o) : NULL;

	if (ch == NULL)
		return true;
	struct end *e = d->at == TARN__ROLE_PRODUCER ? &ch->producer : &ch->consumer;

	if (e->client != d->client)
		return false;
	if (e->state == END_HELD)
		tarn__channel_end_gone(s, ch, (enum tarn__role)d->at);
	return true;
}

bool tarn__apply_deferred(struct server *s, const struct deferred *d)
{
	switch (d->kind) {
	case TARN__MSG_RELEASE:
		return release_now(s, d);
	case TARN__MSG_GIVEBACK:
		return giveback_now(s, d);
	case TARN__MSG_CLOSE:
		return close_now(s, d);
	case TARN__MSG_RESULT:
		return tarn__result_now(s, d);
	case TARN__MSG_UNHOLD:
		tarn__unhold_now(s, d);
		return true;
	case TARN__MSG_DESTROYED:
		tarn__destroyed_now(s, d);
		return true;
	case TARN__MSG_RECV:
	case TARN__MSG_ABSORB: {
		struct object *o = tarn__object_find(&s->st, d->id);
		struct channel *ch = o != NULL ? tarn__channel_of(&s->st, o) : NULL;

		/* A ticket that is not there leaves an ordinary unit: the sender's harm
		 * alone (3.3). A poster who is not the consumer voids nothing (H13). */
		if (ch != NULL)
			tarn__channel_ticket_drop(s, ch, d->at, d->units, d->client);
		return true;
	}
	default:
		return false;
	}
}
