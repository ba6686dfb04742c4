/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference counts: units of clients on objects, and what happens when the last claim
 * goes. Part of the caller's transaction; the caller commits.
 */
#ifndef TARN_SERVER_LEDGER_H
#define TARN_SERVER_LEDGER_H

#include "state.h"

/* The object that @id names, if it is GRANTED or LIVE; else NULL. @id is input. */
static inline struct object *object_find(const struct state *st, uint64_t id)
{
	uint32_t i = tarn__id_index(id);

	if (tarn__unlikely(i == NIL || i >= st->head->heap.objects))
		return NULL;
	struct object *o = &st->object[i];

	if (tarn__unlikely(o->id != id || (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED)))
		return NULL;
	return o;
}
struct object *tarn__object_find(const struct state *st, uint64_t id);

static inline uint32_t object_index(const struct state *st, const struct object *o)
{
	return (uint32_t)(o - st->object);
}

/* Units of one client on one object. A holder that already has a handle absorbs what it
 * receives, so honest clients have a few; the bound keeps ext from overflowing. */
#define UNITS_MAX (1u << 19)

/* Units of @client on @o now. */
uint32_t tarn__ledger_units(const struct state *st, const struct object *o, uint32_t client);

/* Books @units more for @client and counts them in ext. -EDQUOT: beyond its credits (only
 * possible for a client that does not keep to the rules); nothing changed. */
int tarn__ledger_add(struct state *st, struct object *o, uint32_t client, uint32_t units);

/* A unit of @client's on an object that no client holds, with no more than that to look at. False: somebody does,
 * or its credits do not suffice; nothing changed. */
bool tarn__ledger_first(struct state *st, struct object *o, uint32_t client);

/* Takes @units off. -ERANGE: it has fewer; nothing changed. What is left may have to be settled. */
int tarn__ledger_take(struct state *st, struct object *o, uint32_t client, uint64_t units);
/* The same, and frees the object if this was the last claim. */
int tarn__ledger_sub(struct state *st, struct object *o, uint32_t client, uint64_t units);

/* Counts of claims that are not units: tickets, exports. */
void tarn__object_hold(struct state *st, struct object *o);
void tarn__object_drop(struct state *st, struct object *o);

/* Counts of edges: @units more or fewer. */
void tarn__object_edge(struct state *st, struct object *o, uint32_t units, bool more);

/* FREE -> GRANTED to @client, which pays. */
void tarn__object_grant(struct state *st, struct object *o, uint32_t client);
/* The same for @n small blocks of one size. */
void tarn__object_grant_some(struct state *st, const uint32_t *index, uint32_t n, uint32_t client);
/* GRANTED -> LIVE without any unit (the caller books one). */
void tarn__object_live(struct state *st, struct object *o);
/* Both at once, of an object that is no block: nobody was ever granted it. */
void tarn__object_born(struct state *st, struct object *o, uint32_t client, enum tarn__kind kind);
/* GRANTED to nobody's use -> FREE. */
void tarn__object_ungrant(struct state *st, struct object *o);
/* Frees a LIVE object if nothing claims it: a block at once, others by way of the dead list. */
void tarn__object_settle(struct state *st, struct object *o);
/* LIVE without claims from outside -> DEAD (a block: FREE): what settle does, and the collector. */
void tarn__object_kill(struct state *st, struct object *o);
/* LIVE -> FREE of one whose end leaves nothing to do, and which nothing claims. */
void tarn__object_end(struct state *st, struct object *o);
/* A DEAD object leaves the head of the dead list for a while; comes back to its end. */
void tarn__object_aside(struct state *st, struct object *o);
void tarn__object_back(struct state *st, struct object *o);
/* DEAD -> FREE, at the end of the reaper's work. The object is at the head of the list. */
void tarn__object_reaped(struct state *st, struct object *o);
/* The owner is gone: nobody pays any more. */
void tarn__object_disown(struct state *st, struct object *o);

#endif
