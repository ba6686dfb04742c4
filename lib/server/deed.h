/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A method that runs on the reactor's thread: what it asked for so far, and how its call ends.
 * objects.c has the functions; hot-call.c runs the short calls.
 */
#ifndef TARN_SERVER_DEED_H
#define TARN_SERVER_DEED_H

#include <string.h>

#include "turn.h"

/* Objects that one inline call made: settled at its end, or undone. */
#define MADE_MOST 32u
#define DROPS_MOST 128u

struct deed {
	struct turn *t;
	unsigned n_drops, drop_words;
	uint64_t drop[DROPS_MOST]; /* edges to be dropped once the result is booked, which may name
				    * what nothing else holds */
	unsigned n_late;            /* edges that go one epoch later */
	unsigned n_made;
	uint64_t made[MADE_MOST];
	bool finished[MADE_MOST];
	bool deferred;              /* an executor is to do it */
};

/* Whether others may change the instance while the method runs: then what it was before is not to come
 * back, for it would undo what they were answered already. Jobs begin after commits only, so
 * where executors have had none yet they have none before the method is over. */
static inline bool tarn__deed_is_shared(const struct turn *t, const struct tarn__served *type)
{
	return type->in_place || (type->type->concurrency == TARN_PARALLEL && t->s->host->busy);
}

/* Whether servers died in this very message so often that it is to be cut short. */
static inline bool tarn__deed_is_tried(const struct turn *t)
{
	const struct state *st = t->st;
	const struct lane *l = &st->lane[t->v->lane];

	return st->head->again.times > BOOKS_WHOLE && st->head->again.lane == t->v->lane &&
	       st->head->again.position == l->position &&
	       st->head->again.incarnation == st->client[l->client].incarnation;
}

/* From here until the commit a successor would find that this message's method has begun, and what
 * the instance was before. */
static inline void tarn__deed_begin(struct turn *t, struct tarn__run *run, bool reads)
{
	struct running *now = &t->st->head->running;

	now->notes = 0; /* nobody's: the mark of the call before is gone */
	if (tarn__likely(t->s->heritage == NULL))
		return;
	now->id = run->id;
	now->own = !run->served->own ? 0
		   : run->offer != NULL && (run->offer->flags & TARN__OFFER_BOOKS) ? RUNNING_BOOKS : RUNNING_OWN;
	now->saved_bytes = reads || tarn__deed_is_shared(t, run->served) ||
					   run->served->type->size > RUNNING_SAVED
				   ? 0 : run->served->type->size;
	run->brief = now->own == RUNNING_BOOKS && tarn__deed_is_tried(t);
	if (now->saved_bytes != 0)
		memcpy(now->saved, run->self, now->saved_bytes);
	tarn__store_relaxed(&now->position, t->st->lane[t->v->lane].position);
	tarn__compiler_barrier();
	tarn__store32_relaxed(&now->lane, t->v->lane);
	tarn__compiler_barrier();
}

/* The word is about to change: before that, what it was. For a successor, and for the method's own failure. */
static inline void tarn__word_note(struct server *s, const uint64_t *word)
{
	struct running *now = &s->st.head->running;
	const uint64_t n = now->notes;

	/* More than that no method changes: with each goes a reference, or an id. */
	if (n >= RUNNING_NOTES || now->saved_bytes != 0)
		return;
	now->note[n].offset = (uint64_t)((const unsigned char *)word - s->st.data.base);
	now->note[n].was = tarn__load_relaxed(word);
	tarn__compiler_barrier();
	tarn__store_relaxed(&now->notes, n + 1);
	tarn__compiler_barrier();
}

/* Words that a method said would change are as they were. Nobody else changes them until the next method begins, so
 * done twice it is the same. Release: as the stores that are undone. */
static inline void tarn__words_back(struct server *s)
{
	const struct running *now = &s->st.head->running;

	for (uint64_t i = now->notes; i-- > 0;)
		tarn__store_release((uint64_t *)(void *)(s->st.data.base + now->note[i].offset), now->note[i].was);
}

/* After its commit. */
static inline void tarn__deed_over(struct turn *t)
{
	if (tarn__unlikely(t->s->heritage != NULL))
		tarn__store32_relaxed(&t->st->head->running.lane, NIL);
}

/* Makes @run one of nothing: no arguments, no references, no object; its wishes go to @d. */
void tarn__run_init(struct turn *t, const struct tarn__served *type, struct deed *d,
		    struct tarn__run *ret);
/* The end of a CALL whose method gave @code: its result is booked and sent, or all is undone
 * and the failure sent. The transaction is the caller's to commit. */
enum verdict tarn__call_over(struct turn *t, struct tarn__run *run, struct deed *d, int code);

#endif
