/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in META: their records, the references that they hold (edges), and their end. Part
 * of the caller's transaction unless "commits by itself" is said.
 */
#ifndef TARN_SERVER_THINGS_H
#define TARN_SERVER_THINGS_H

#include "server.h"

/* NULL if @o is none. */
static inline struct thing *tarn__thing_of(const struct state *st, const struct object *o)
{
	return object_kind(o) == TARN__KIND_OBJECT ? &st->thing[st->channel_of[o - st->object]] : NULL;
}

/* What DIR says of an object besides the general flags. */
static inline uint64_t tarn__thing_state(const struct state *st, const struct object *o)
{
	const struct thing *t = &st->thing[st->channel_of[o - st->object]];

	return TARN__DIR_OBJECT | (t->flags & THING_LOST ? TARN__DIR_LOST : 0) |
	       (uint64_t)t->type << TARN__DIR_TYPE_SHIFT;
}

/* Its type, as the host knows it; NULL without a host. */
static inline const struct tarn__served *tarn__thing_type(const struct server *s,
							  const struct thing *t)
{
	return s->host != NULL && t->type < s->host->catalog->n ? &s->host->catalog->served[t->type]
								 : NULL;
}

/* Where its instance is mapped here. */
static inline void *tarn__thing_self(const struct server *s, const struct object *o,
				     const struct tarn__served *t)
{
	return s->st.data.base + o->offset + t->header;
}

/*
 * A new LIVE object of type @t, its instance all 0, that nobody holds: the caller books a claim
 * in the same transaction, or settles it. @client pays. With @first nothing is set yet in this
 * transaction: then the heap may do some work of its own. -ENOMEM, -ENOSPC, -ENFILE, -EDQUOT.
 */
int tarn__thing_make(struct server *s, uint32_t client, const struct tarn__served *t, bool first,
		     struct object **ret);

/* One reference more from @t to @to. -ENOSPC, -ENOMEM. */
int tarn__edge_add(struct state *st, struct thing *t, struct object *to);
/* One less; may end what it names. -ENOENT: there is none. */
int tarn__edge_drop(struct state *st, struct thing *t, uint64_t to);
/* How often @t holds @to. */
uint32_t tarn__edge_count(const struct state *st, const struct thing *t, uint64_t to);

/* Ends a LIVE object that nothing claims, all of it, if its end is nobody's business: it holds nothing, and its
 * type has no destructor. False: it is left as it is. */
bool tarn__thing_end(struct server *s, struct object *o);
/* A slice of a dead object's end; it is at the head of the dead list. Commits by itself. False:
 * it cannot go on now. */
bool tarn__thing_reap(struct server *s, struct object *o);

/* Tells the next objects, up to *@budget, which it lowers, that @client is gone. True: all that have
 * to be told are. Commits by itself. */
bool tarn__things_departed(struct server *s, uint32_t client, uint32_t *budget);

/* It is told of no client's end any more. */
void tarn__thing_unattend(struct state *st, struct thing *t);

/* Phase B of UNHOLD and DESTROYED. */
void tarn__unhold_now(struct server *s, const struct deferred *d);
void tarn__destroyed_now(struct server *s, const struct deferred *d);

/* ---- calls.c ---- */

/* Phase B of RESULT. */
bool tarn__result_now(struct server *s, const struct deferred *d);
void tarn__jobs_submit(struct server *s);
void tarn__jobs_discard(struct server *s);

#endif
