/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first two holders of an object stand in its own line, so that a hand-over between
 * two processes touches one line; further ones are claims in the book.
 *
 * A block without claims is freed in the same transaction: it has no edges, so LIVE,
 * DEAD and FREE fall together (I8). Other kinds go to the dead list, for the reaper.
 */
#include "ledger.h"

#include "claims.h"
#include "collect.h"
#include "heap.h"

struct object *tarn__object_find(const struct state *st, uint64_t id)
{
	return object_find(st, id);
}

static void counts_set(struct state *st, struct object *o, uint32_t ext, uint32_t edges)
{
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)&o->ext, (uint64_t)ext | (uint64_t)edges << 32);
}

static void holder_set(struct state *st, struct holder *h, uint32_t client, uint32_t units)
{
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)h, (uint64_t)client | (uint64_t)units << 32);
}

static void spilled_add(struct state *st, struct object *o, int change)
{
	struct object_word w = object_word(o);

	w.spilled = (uint16_t)(w.spilled + change);
	object_word_set(st, o, w);
}

uint32_t tarn__ledger_units(const struct state *st, const struct object *o, uint32_t client)
{
	for (int i = 0; i < 2; i++)
		if (o->holder[i].client == client)
			return o->holder[i].units;
	if (o->spilled == 0)
		return 0;
	const struct claim *c = tarn__claim_find(st, client, o->id);

	return c != NULL ? (uint32_t)c->value : 0;
}

/* A client that holds this id for the first time. */
static int holder_new(struct state *st, struct object *o, uint32_t client, uint32_t units)
{
	struct client *cl = &st->client[client];

	/* A client counts a drop when it posts it, we one epoch after it is read: what lies
	 * in its lanes and in the buffers is beyond its credits for so long. */
	if (cl->held >= cl->credits + lanes_claims(cl->lanes) && client != st->head->host)
		return -EDQUOT;
	SET(st, cl->held, cl->held + 1);
	for (int i = 0; i < 2; i++)
		if (o->holder[i].client == NIL) {
			holder_set(st, &o->holder[i], client, units);
			return 0;
		}
	int r = tarn__claim_add(st, client, o->id, units);
	if (r == 0)
		spilled_add(st, o, 1);
	return r;
}

int tarn__ledger_add(struct state *st, struct object *o, uint32_t client, uint32_t units)
{
	struct claim *c = NULL;

	if (tarn__ledger_units(st, o, client) + units > UNITS_MAX)
		return -EDQUOT;
	if (o->holder[0].client == client)
		holder_set(st, &o->holder[0], client, o->holder[0].units + units);
	else if (o->holder[1].client == client)
		holder_set(st, &o->holder[1], client, o->holder[1].units + units);
	else if (o->spilled != 0 && (c = tarn__claim_find(st, client, o->id)) != NULL)
		SET(st, c->value, c->value + units);
	else {
		int r = holder_new(st, o, client, units);
		if (r < 0)
			return r;
	}
	counts_set(st, o, o->ext + units, o->edges);
	return 0;
}

bool tarn__ledger_first(struct state *st, struct object *o, uint32_t client)
{
	struct client *cl = &st->client[client];

	if (o->holder[0].client != NIL || o->holder[1].client != NIL || o->spilled != 0 ||
	    cl->held >= cl->credits + lanes_claims(cl->lanes))
		return false;
	SET(st, cl->held, cl->held + 1);
	holder_set(st, &o->holder[0], client, 1);
	counts_set(st, o, o->ext + 1, o->edges);
	return true;
}

int tarn__ledger_take(struct state *st, struct object *o, uint32_t client, uint64_t units)
{
	struct client *cl = &st->client[client];
	struct claim *c = NULL;
	struct holder *h = NULL;
	uint32_t have;

	if (o->holder[0].client == client)
		h = &o->holder[0];
	else if (o->holder[1].client == client)
		h = &o->holder[1];
	else if (o->spilled != 0)
		c = tarn__claim_find(st, client, o->id);
	have = h != NULL ? h->units : c != NULL ? (uint32_t)c->value : 0;
	if (units == 0 || units > have)
		return -ERANGE;
	uint32_t left = have - (uint32_t)units;

	if (left == 0)
		SET(st, cl->held, cl->held - 1);
	if (h != NULL) {
		holder_set(st, h, left != 0 ? client : NIL, left);
	} else if (left != 0) {
		SET(st, c->value, left);
	} else {
		tarn__claim_drop(st, c);
		spilled_add(st, o, -1);
	}
	counts_set(st, o, o->ext - (uint32_t)units, o->edges);
	return 0;
}

int tarn__ledger_sub(struct state *st, struct object *o, uint32_t client, uint64_t units)
{
	int r = tarn__ledger_take(st, o, client, units);

	if (r == 0)
		tarn__object_settle(st, o);
	return r;
}

void tarn__object_hold(struct state *st, struct object *o)
{
	counts_set(st, o, o->ext + 1, o->edges);
}

void tarn__object_drop(struct state *st, struct object *o)
{
	counts_set(st, o, o->ext - 1, o->edges);
	tarn__object_settle(st, o);
}

void tarn__object_edge(struct state *st, struct object *o, uint32_t units, bool more)
{
	counts_set(st, o, o->ext, more ? o->edges + units : o->edges - units);
	if (!more)
		tarn__object_settle(st, o);
}

void tarn__object_grant(struct state *st, struct object *o, uint32_t client)
{
	struct client *cl = &st->client[client];

	struct object_word w = object_word(o);

	/* A fresh life: unsealed, a plain block until somebody says otherwise. */
	w.state = OBJECT_GRANTED;
	w.kind_flags = (uint8_t)(TARN__KIND_BLOCK << 4 | (w.kind_flags & OBJECT_LARGE));
	object_owner_word_set(st, o, client, w);
	SET(st, cl->owned, cl->owned + 1);
	SET(st, cl->owned_bytes, cl->owned_bytes + tarn__heap_capacity(st, o));
	SET(st, st->head->n_granted, st->head->n_granted + 1);
}

void tarn__object_grant_some(struct state *st, const uint32_t *index, uint32_t n, uint32_t client)
{
	struct client *cl = &st->client[client];
	const struct object_word w = { .state = OBJECT_GRANTED,
				       .kind_flags = (uint8_t)(TARN__KIND_BLOCK << 4) };

	for (uint32_t i = 0; i < n; i++)
		object_owner_word_set(st, &st->object[index[i]], client, w);
	SET(st, cl->owned, cl->owned + n);
	SET(st, cl->owned_bytes,
	    cl->owned_bytes + n * tarn__heap_capacity(st, &st->object[index[0]]));
	SET(st, st->head->n_granted, st->head->n_granted + n);
}

void tarn__object_live(struct state *st, struct object *o)
{
	object_state_set(st, o, OBJECT_LIVE);
	if (tarn__likely(st->born != NULL))
		st->born[object_index(st, o)] = st->tick; /* unlogged: for people */
	SET(st, st->head->n_granted, st->head->n_granted - 1);
	SET(st, st->head->n_live, st->head->n_live + 1);
}

void tarn__object_born(struct state *st, struct object *o, uint32_t client, enum tarn__kind kind)
{
	struct client *cl = &st->client[client];
	struct object_word w = object_word(o);

	w.state = OBJECT_LIVE;
	w.kind_flags = (uint8_t)((unsigned)kind << 4 | (w.kind_flags & OBJECT_LARGE));
	object_owner_word_set(st, o, client, w);
	SET(st, cl->owned, cl->owned + 1);
	SET(st, cl->owned_bytes, cl->owned_bytes + tarn__heap_capacity(st, o));
	SET(st, st->head->n_live, st->head->n_live + 1);
	if (tarn__likely(st->born != NULL))
		st->born[object_index(st, o)] = st->tick; /* unlogged: for people */
}

/* The owner does not pay for @o any more. Leaves owner for the caller to clear. */
static void discharge(struct state *st, const struct object *o)
{
	if (o->owner == NIL)
		return;
	struct client *cl = &st->client[o->owner];

	SET(st, cl->owned, cl->owned - 1);
	SET(st, cl->owned_bytes, cl->owned_bytes - tarn__heap_capacity(st, o));
}

void tarn__object_disown(struct state *st, struct object *o)
{
	discharge(st, o);
	if (o->owner != NIL)
		SET(st, o->owner, NIL);
}

void tarn__object_ungrant(struct state *st, struct object *o)
{
	st->watched_gone |= (object_flags(o) & OBJECT_WATCHED) != 0; /* as in kill() */
	discharge(st, o); /* the heap clears owner and state in one store */
	SET(st, st->head->n_granted, st->head->n_granted - 1);
	tarn__heap_free(st, object_index(st, o));
}

void tarn__object_settle(struct state *st, struct object *o)
{
	if (o->ext == 0 && o->edges == 0 && o->state == OBJECT_LIVE)
		tarn__object_kill(st, o);
	else if (tarn__unlikely(object_kind(o) != TARN__KIND_BLOCK))
		tarn__suspect(st, o);
}

static void dead_append(struct state *st, uint32_t i)
{
	struct state_head *h = st->head;

	SET(st, st->object[i].next, NIL);
	if (h->dead != NIL)
		SET(st, st->object[h->dead_last].next, i);
	pair_set(st, &h->dead, h->dead != NIL ? h->dead : i, i);
	SET(st, h->n_dead, h->n_dead + 1);
}

static void dead_pop(struct state *st)
{
	struct state_head *h = st->head;

	uint32_t next = st->object[h->dead].next;

	pair_set(st, &h->dead, next, next != NIL ? h->dead_last : NIL);
	SET(st, h->n_dead, h->n_dead - 1);
}

static void not_live(struct state *st, const struct object *o)
{
	/* Not a word of META: whoever looks finds out by himself. */
	st->watched_gone |= (object_flags(o) & OBJECT_WATCHED) != 0;
	SET(st, st->head->n_live, st->head->n_live - 1);
}

void tarn__object_end(struct state *st, struct object *o)
{
	not_live(st, o);
	discharge(st, o);
	tarn__heap_free(st, object_index(st, o));
}

void tarn__object_kill(struct state *st, struct object *o)
{
	if (object_kind(o) == TARN__KIND_BLOCK) {
		tarn__object_end(st, o);
		return;
	}
	struct object_word w = object_word(o);

	not_live(st, o);
	w.state = OBJECT_DEAD;
	discharge(st, o);
	object_owner_word_set(st, o, NIL, w);
	dead_append(st, object_index(st, o));
}

void tarn__object_aside(struct state *st, struct object *o)
{
	(void)o;
	dead_pop(st);
	SET(st, st->head->n_aside, st->head->n_aside + 1);
}

void tarn__object_back(struct state *st, struct object *o)
{
	SET(st, st->head->n_aside, st->head->n_aside - 1);
	dead_append(st, object_index(st, o));
}

void tarn__object_reaped(struct state *st, struct object *o)
{
	dead_pop(st);
	tarn__heap_free(st, object_index(st, o));
}
