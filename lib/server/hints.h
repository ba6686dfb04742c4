/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parts of an object lie, by its index: what is fetched as soon as a call names it.
 *
 * An object is three lines: its entry in the table, its record, its instance. Which record, and
 * where the instance lies, only tables and the entry say; so among a million objects, where
 * nothing is in a cache, each line would be waited for after the other. A hint has both, and all
 * three cross together.
 *
 * It is private to the process and may be wrong: what it leads to is checked (a record names its
 * object), and else the way over the tables is taken. Written when an object is made and when one is
 * called; a successor starts without any.
 */
#ifndef TARN_SERVER_HINTS_H
#define TARN_SERVER_HINTS_H

#include "things.h"

struct hint {
	uint32_t thing; /* its record; NIL: not known */
	uint32_t line;  /* the instance's first in DATA; of one beyond 2^32 lines any other */
};
static_assert(sizeof(struct hint) == 8, "eight in a line");

/* Reserves address space, no memory. Without it (no address space) there are no hints. */
void tarn__hints_open(struct server *s);
void tarn__hints_close(struct server *s);

/* Remembers where the instance @self of the object of @index lies, and its record. */
static inline void tarn__hint_set(struct server *s, uint32_t index, const struct thing *t, const void *self)
{
	const struct hint now = {
		.thing = (uint32_t)(t - s->st.thing),
		.line = (uint32_t)((uint64_t)((const unsigned char *)self - s->st.data.base) / TARN__LINE),
	};

	if (tarn__unlikely(s->hint == NULL))
		return;
	struct hint *h = &s->hint[index];

	if (h->thing != now.thing || h->line != now.line)
		*h = now;
}

/* Of @o, a live object of @id; NULL if it is none. As tarn__thing_of(), without the table in between where
 * the hint is right. */
static inline struct thing *tarn__hint_thing(const struct server *s, const struct object *o, uint64_t id)
{
	const struct state *st = &s->st;

	if (tarn__likely(s->hint != NULL && object_kind(o) == TARN__KIND_OBJECT)) {
		uint32_t record = s->hint[o - st->object].thing;

		/* A record has the id of its object as long as it is that one's. */
		if (tarn__likely(record != NIL && record < st->head->things && st->thing[record].id == id))
			return &st->thing[record];
	}
	return tarn__thing_of(st, o);
}

/* @index names an entry of the table; all else is a guess. */
static inline void tarn__hint_fetch(const struct server *s, uint32_t index)
{
	const struct state *st = &s->st;

	tarn__fetch(&st->object[index]);
	if (tarn__unlikely(s->hint == NULL)) {
		tarn__fetch(&st->channel_of[index]);
		return;
	}
	const struct hint h = s->hint[index];

	tarn__fetch(&st->thing[h.thing]);
	tarn__fetch(st->data.base + (uint64_t)h.line * TARN__LINE);
}

#endif
