/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, weak references and notices (NAME, GRAB, WATCH).
 */
#include "calls.h"
#include "ledger.h"
#include "turn.h"

#include <string.h>

/* ---- names ---- */

#define NAMES_PER_CLIENT 4096u
#define PINNED_MOST (MAX_NAMES / 4) /* nobody pays for them: others need room, too */

static uint32_t pinned_names(const struct state *st)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < st->head->names; i++)
		n += st->name[i].id != 0 && st->name[i].holds && st->name[i].issuer == NIL;
	return n;
}

static void name_hold(struct turn *t, struct name *n, struct object *o, uint64_t flags)
{
	struct state *st = t->st;
	bool pinned = (flags & TARN__NAME_PINNED) != 0;

	SET(st, n->holds, 1);
	SET(st, n->issuer, pinned ? NIL : t->client);
	if (!pinned)
		SET(st, st->client[t->client].names, st->client[t->client].names + 1);
	tarn__object_hold(st, o);
}

static int unpublish(struct turn *t, uint64_t id, const char *text)
{
	struct name *n = tarn__name_record(t->st, text);

	if (n == NULL || (id != 0 && n->id != id))
		return -ENOENT;
	if (!n->holds)
		return -EPERM; /* a channel's own name, which ends with it */
	tarn__name_end(t->st, n);
	return 0;
}

static int publish_name(struct turn *t, struct object *o, const char *text, uint64_t flags)
{
	struct name *n = tarn__name_record(t->st, text);
	int r;

	if (n != NULL && (!(flags & TARN__NAME_REPLACE) || !n->holds))
		return -EEXIST;
	if (!(flags & TARN__NAME_PINNED) && t->st->client[t->client].names >= NAMES_PER_CLIENT)
		return -ENOSPC;
	if ((flags & TARN__NAME_PINNED) && t->st->head->n_names >= PINNED_MOST &&
	    pinned_names(t->st) >= PINNED_MOST && (n == NULL || n->issuer != NIL))
		return -ENOSPC;
	tarn__object_hold(t->st, o); /* the name may have been its only claim */
	if (n != NULL)
		tarn__name_end(t->st, n);
	r = tarn__name_add(t->st, text, o->id);
	if (r < 0)
		return r; /* the caller undoes it all */
	name_hold(t, tarn__name_record(t->st, text), o, flags);
	tarn__object_drop(t->st, o);
	return 0;
}

enum verdict tarn__on_name(struct turn *t)
{
	char text[TARN__NAME_BYTES];
	struct answer a = { 0 };
	uint64_t flags = t->w[2];
	int r = 0;

	if (tarn__turn_text(t, 3, text) == OFFENCE)
		return OFFENCE;
	if (text[0] == '\0') {
		r = -EINVAL;
	} else if (flags & TARN__NAME_UNPUBLISH) {
		r = unpublish(t, t->w[1], text);
	} else {
		struct object *o = tarn__turn_named(t, t->w[1]);

		if (o == NULL)
			r = -TARN_ESTALE;
		else if (tarn__turn_name(t, o, 0, false) == OFFENCE)
			return OFFENCE;
		else
			r = publish_name(t, o, text, flags);
		if (r < 0 && o != NULL) {
			tarn__rollback(t->s);
			if (tarn__turn_name(t, o, 0, false) == OFFENCE)
				return OFFENCE;
		}
	}
	tarn__turn_answer(t, r, &a);
	return FINE;
}

void tarn__names_reclaim(struct server *s, uint32_t client)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->names && st->client[client].names != 0; i++) {
		if (st->name[i].id == 0 || !st->name[i].holds || st->name[i].issuer != client)
			continue;
		tarn__name_end(st, &st->name[i]);
		tarn__commit(s);
	}
}

/* ---- weak references ---- */

enum verdict tarn__on_grab(struct turn *t)
{
	struct object *o = tarn__turn_named(t, t->w[1]);
	struct answer a = { 0 };

	/* What was only granted so far nobody was told of. */
	if (o == NULL || o->state != OBJECT_LIVE) {
		tarn__turn_answer(t, -TARN_ESTALE, &a);
		return FINE;
	}
	if (tarn__ledger_add(t->st, o, t->client, 1) < 0)
		return tarn__turn_offence(t, "holds more than its credits");
	tarn__turn_describe(t->st, o, &a);
	tarn__turn_answer(t, 0, &a);
	return FINE;
}

/* ---- notices ---- */

static bool client_is_gone(const struct state *st, uint64_t number, uint64_t incarnation)
{
	if (number == NIL || number >= st->head->clients_used)
		return true;
	const struct client *c = &st->client[number];

	return (c->state != CLIENT_ACTIVE && c->state != CLIENT_EVICTED) ||
	       (incarnation != 0 && c->incarnation != incarnation);
}

static bool is_sealed(const struct object *o)
{
	return object_kind(o) == TARN__KIND_BLOCK && (object_flags(o) & OBJECT_SEALED);
}

static bool is_gone(const struct state *st, const struct call *c)
{
	if (c->watched == WATCHED_SEAL) {
		const struct object *o = tarn__object_find(st, c->target);

		return o == NULL || is_sealed(o);
	}
	if (c->watched != 0)
		return client_is_gone(st, c->target, c->watched - 1);
	return tarn__object_find(st, c->target) == NULL;
}

static void flag_watched(struct state *st, struct object *o)
{
	struct object_word w = object_word(o);

	w.kind_flags |= OBJECT_WATCHED;
	object_word_set(st, o, w);
}

enum verdict tarn__on_watch(struct turn *t)
{
	struct state *st = t->st;
	struct asker to = { .v = t->v, .client = t->client, .kind = TARN__MSG_WATCH,
			    .cookie = tarn__header_cookie(t->w[0]), .slots = 1 };
	bool of_client = t->w[2] == TARN__WATCH_CLIENT, of_seal = t->w[2] == TARN__WATCH_SEALED;
	struct object *o = of_client ? NULL : tarn__object_find(st, t->w[1]);
	const struct outcome gone = { 0 };
	struct call *c;

	if (of_client ? client_is_gone(st, t->w[1], (uint32_t)t->w[3])
		      : o == NULL || (of_seal && is_sealed(o))) {
		tarn__reply_error(t->s, &to, &gone);
		return FINE;
	}
	int r = tarn__call_new(t->s, &to, CALL_WATCH, t->w[1], &c);
	if (r < 0) {
		const struct outcome refused = { .error = -r };

		tarn__rollback(t->s);
		tarn__reply_error(t->s, &to, &refused);
		return FINE;
	}
	/* The incarnation that it has now, if the asker does not care: the number may be given on. */
	if (of_client)
		SET(st, c->watched, st->client[t->w[1]].incarnation + 1);
	else
		flag_watched(st, o);
	if (of_seal) {
		SET(st, c->watched, WATCHED_SEAL);
		tarn__touch(t->s, object_index(st, o)); /* whoever seals it is to ring */
	}
	return FINE;
}

void tarn__watches_answer(struct server *s)
{
	struct state *st = &s->st;
	const struct outcome gone = { 0 };
	uint64_t left = st->head->n_watches;
	struct asker to;

	st->watched_gone = false;
	for (uint32_t i = 1; i < st->head->calls && left != 0; i++) {
		struct call *c = &st->call[i];

		if (c->state != CALL_WATCH)
			continue;
		left--;
		if (!is_gone(st, c))
			continue;
		if (tarn__call_asker(s, c, &to))
			tarn__reply_error(s, &to, &gone);
		tarn__call_free(s, c);
		tarn__commit(s);
	}
}
