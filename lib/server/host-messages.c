/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the host's lanes say: results of calls, edges, ends of destructors. The host is
 * this very process, so a message of these from anybody else is an offence.
 */
#include "calls.h"
#include "ledger.h"
#include "turn.h"

static bool is_host(const struct turn *t)
{
	const struct peer *p = t->s->peer[t->client];

	tarn__host_heard(t->s->host);
	/* Also that of a server before this one: what its executors said before they died. */
	return t->client == t->st->head->host ? t->client != NIL : p != NULL && p->host;
}

static enum verdict impostor(struct turn *t)
{
	return tarn__turn_offence(t, "says what only the server's own executors say");
}

/* ---- RESULT ---- */

struct result {
	uint64_t number;
	struct outcome o;
};

static const uint64_t *contiguous(struct turn *t)
{
	for (unsigned k = 0; k < t->n; k++)
		for (unsigned i = 0; i < 7; i++)
			t->s->gather[7 * k + i] = t->slot[k].word[i];
	return t->s->gather;
}

static enum verdict take_apart(struct turn *t, struct result *r)
{
	const uint64_t *w = contiguous(t);
	unsigned flags = tarn__pack_flags(w[2]), n_refs = tarn__pack_refs(w[2]);
	unsigned n_words = tarn__pack_words(w[2]);

	if (flags & TARN__CALL_SPILLED)
		n_words = 1;
	if (n_refs > TARN__CALL_REFS || 3 + n_words + 2 * n_refs > 7 * t->n ||
	    ((flags & TARN__CALL_SPILLED) && n_refs == 0))
		return tarn__turn_offence(t, "a result longer than its message");
	r->number = w[1];
	r->o = (struct outcome){ .error = (int)tarn__header_count(w[0]),
				 .n_values = tarn__pack_values(w[2]), .n_refs = n_refs,
				 .n_words = n_words, .words = w + 3, .refs = w + 3 + n_words,
				 .flags = flags & TARN__CALL_SPILLED };
	return FINE;
}

/* Blocks that the host has just made are published by being named. */
static enum verdict name_refs(struct turn *t, const struct outcome *o)
{
	for (unsigned k = 0; k < o->n_refs; k++) {
		struct object *r = tarn__turn_named(t, o->refs[2 * k]);

		if (r != NULL && tarn__turn_name(t, r, tarn__ref_size(o->refs[2 * k + 1]),
						 tarn__ref_sealed(o->refs[2 * k + 1])) == OFFENCE)
			return OFFENCE;
	}
	return FINE;
}

/* A creator is done. If it gave its own object, the destructor will run from now on. */
static void note_made(struct turn *t, const struct call *c, const struct outcome *o)
{
	const struct object *made = tarn__object_find(t->st, c->target);
	struct thing *k = made != NULL ? tarn__thing_of(t->st, made) : NULL;
	bool gave_it = o->error == 0 && o->n_refs == 1 && o->refs[0] == c->target;

	if (c->packed >> 24 != TARN__MSG_CREATE || k == NULL || (k->flags & THING_LOST))
		return;
	SET(t->st, k->flags, (k->flags & ~(uint32_t)THING_MAKING) | (gave_it ? THING_MADE : 0));
}

enum verdict tarn__on_result(struct turn *t)
{
	struct server *s = t->s;
	struct result r;
	struct asker to;
	struct call *c;

	if (!is_host(t))
		return impostor(t);
	if (take_apart(t, &r) == OFFENCE)
		return OFFENCE;
	c = tarn__call_find(t->st, r.number);
	if (c == NULL || c->state != CALL_RUNNING) {
		s->stale++;
		return FINE;
	}
	if (r.o.error != 0)
		tarn__error_note(s, &r.o);
	if (name_refs(t, &r.o) == OFFENCE)
		return OFFENCE;
	if (tarn__call_asker(s, c, &to)) {
		int sent = tarn__reply_values(s, &to, &r.o);

		if (sent < 0) {
			struct sentence room;
			struct outcome failure;

			tarn__outcome_unsendable(s, &to, sent, &r.o, &room, &failure);
			tarn__rollback(s);
			tarn__reply_error(s, &to, &failure);
			if (name_refs(t, &r.o) == OFFENCE)
				return OFFENCE;
		}
	}
	note_made(t, c, &r.o);
	SET(t->st, c->state, CALL_DONE);
	tarn__call_orphan(s, c);
	tarn__turn_defer(t, TARN__MSG_RESULT, r.number, 0, 0);
	s->eager++; /* what the call held goes promptly: no sleep before its phase B */
	return FINE;
}

/* ---- edges ---- */

static struct thing *thing_named(struct turn *t, uint64_t id)
{
	struct object *o = tarn__turn_named(t, id);

	return o != NULL ? tarn__thing_of(t->st, o) : NULL;
}

enum verdict tarn__on_hold(struct turn *t)
{
	if (!is_host(t))
		return impostor(t);
	struct thing *k = thing_named(t, t->w[1]);
	struct object *to = tarn__turn_named(t, t->w[2]);

	if (k == NULL || to == NULL)
		return FINE;
	if (tarn__turn_name(t, to, tarn__ref_size(t->w[3]), tarn__ref_sealed(t->w[3])) == OFFENCE)
		return OFFENCE;
	int r = tarn__edge_add(t->st, k, to);
	if (r < 0) {
		tarn__rollback(t->s);
		tarn__log(t->s, 3, "no memory to note that object %llx holds %llx: it may lose it",
			  (unsigned long long)t->w[1], (unsigned long long)t->w[2]);
		if (tarn__turn_name(t, to, tarn__ref_size(t->w[3]), tarn__ref_sealed(t->w[3])) == OFFENCE)
			return OFFENCE;
	}
	return FINE;
}

enum verdict tarn__on_unhold(struct turn *t)
{
	if (!is_host(t))
		return impostor(t);
	tarn__turn_defer(t, TARN__MSG_UNHOLD, t->w[1], t->w[2], 0);
	t->s->eager++;
	return FINE;
}

enum verdict tarn__on_contents(struct turn *t)
{
	if (!is_host(t))
		return impostor(t);
	const struct thing_root to = { .version = t->w[2], .order = t->w[3], .index = t->w[4],
				       .next = t->w[5], .kind = t->w[6] };
	struct thing *k = thing_named(t, t->w[1]);

	if (k != NULL)
		tarn__contents_set(t->st, k, &to);
	return FINE;
}

enum verdict tarn__on_destroyed(struct turn *t)
{
	if (!is_host(t))
		return impostor(t);
	tarn__turn_defer(t, TARN__MSG_DESTROYED, t->w[1], 0, 0);
	t->s->eager++;
	return FINE;
}

enum verdict tarn__on_made(struct turn *t)
{
	if (!is_host(t))
		return impostor(t);
	struct thing *k = thing_named(t, t->w[1]);

	if (k != NULL)
		SET(t->st, k->flags, k->flags | THING_MADE);
	return FINE;
}
