/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the methods of containers share: cells from values and back, comparing, and changes that
 * end as their method does.
 *
 * A method that writes holds what it stores, makes its change beside the old trees, drops what goes, and
 * puts its result together. What the container will have is part of the transaction that all this is
 * committed with (seal); readers see it after that (tarn__context_at_end()), and it vanishes if any of
 * it failed. On the reactor a method that finds
 * its work too large, or that needs what it cannot have there, is deferred to an executor
 * before it has done anything that counts.
 */
#ifndef TARN_TYPES_CONTENTS_H
#define TARN_TYPES_CONTENTS_H

#include "change.h"
#include "inside.h"
#include "lib/value/value.h"
#include "tarn/object.h"

/* What an inline method may do: elements, and references. Beyond: an executor's work. */
#define TARN__INLINE_ELEMENTS 64u
#define TARN__INLINE_REFS 12u

enum tarn__content { /* tarn__view_root.kind: of iterators what they give */
	TARN__CONTENT_LIST = 1,
	TARN__CONTENT_DICT,
	TARN__CONTENT_NAMESPACE,
	TARN__CONTENT_CELLS,
	TARN__CONTENT_KEYS,
	TARN__CONTENT_VALUES,
	TARN__CONTENT_ITEMS,
};

/* ---- changes ---- */

struct tarn__work {
	struct tarn__ending ending;
	struct tarn__change change;
};

/* Begins to change the object of the method. -ENOMEM (a MemoryError was thrown). */
int tarn__work_begin(tarn_context *ctx, struct tarn__work **ret);
/* The trees of the object, for reading. */
int tarn__contents(tarn_context *ctx, struct tarn__sight *ret);
/* For the result of any function of this header and of change.h: on the reactor what may go on
 * an executor goes there; the rest is thrown. Returns the code that the method returns. */
int tarn__content_fail(tarn_context *ctx, int r);
#define tarn__try(ctx, expression)                              \
	do {                                                    \
		int try_ = (expression);                        \
		if (tarn__unlikely(try_ < 0))                   \
			return tarn__content_fail(ctx, try_);   \
	} while (0)
/* return too_large(ctx): on the reactor only. */
static inline bool tarn__too_large(tarn_context *ctx, uint64_t elements, uint64_t refs)
{
	return (elements > TARN__INLINE_ELEMENTS || refs > TARN__INLINE_REFS) &&
	       tarn__context_is_inline(ctx);
}

/* ---- cells ---- */

/* A cell of @value, whose references the object holds from then on. */
int tarn__cell_make(tarn_context *ctx, struct tarn__change *c, tarn_value value,
		    uint64_t ret_cell[2]);
/* What a cell of this object holds is dropped; or held once more. */
int tarn__cell_drop(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell);
int tarn__cell_hold(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell);
/* All below @top, which has @held of them. */
int tarn__tree_drop_all(tarn_context *ctx, const struct tarn__view *v, uint64_t top);
int tarn__tree_hold_all(tarn_context *ctx, const struct tarn__view *v, uint64_t top);
/* Appends what the cell is to @b. */
int tarn__cell_put(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		   tarn_builder *b);

/*
 * Puts the object that @cell is into the result. A list or map in it becomes one (tarn.List, tarn.Dict),
 * which the object holds from then on: 1, with the cell that is to take the place of @cell. 0: it was
 * an object before. Throws TypeError if it is neither.
 */
int tarn__cell_child(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		     uint64_t ret_cell[2]);

/* ---- comparing ---- */

/* A value that cells are compared with. */
struct tarn__wanted {
	tarn_value value;
	struct tarn__key key;   /* if it can be one */
	uint64_t id;            /* of a reference; else 0 */
	bool plain;             /* key is set */
};

int tarn__wanted_init(tarn_context *ctx, tarn_value value, struct tarn__wanted *ret);
/* 1, 0 or negative. */
int tarn__cell_is(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		  const struct tarn__wanted *w);
/* The key that @value is; throws TypeError if it can be none. */
int tarn__key_of(tarn_context *ctx, tarn_value value, struct tarn__key *ret);
/* Less, equal, greater than 0 in *@ret. False: the two have no order. */
bool tarn__cells_order(const struct tarn__view *v, const uint64_t *a, const uint64_t *b, int *ret);
/* As Python calls the kind: 'str'. */
const char *tarn__cell_kind_name(const uint64_t *cell);

/* ---- making one from another ---- */

/* Trees that the next creator in this thread takes for its object, sharing them. */
struct tarn__heir {
	uint64_t order, index, count, held, next, kind;
};
/* Makes an object of @type that begins with @heir, and puts it into the result. */
int tarn__heir_make(tarn_context *ctx, const char *type, const struct tarn__heir *heir,
		    tarn_object **ret);
/* In a creator: takes what was left for it. 1 if there was something, 0, or negative. */
int tarn__heir_take(tarn_context *ctx, struct tarn__work *w);

/*
 * The trees of another container, as they are now: by its own method, so that nobody changes it
 * meanwhile. On executors only. What they hold is not held for the
 * caller. Each top is counted for it; it gives them to tarn__node_unref().
 */
int tarn__trees_of(tarn_context *ctx, tarn_object *other, struct tarn__heir *ret);
/* The method of that: "lend", TARN_METHOD_INTERNAL. */
int tarn__container_lend(tarn_context *ctx, void *self);

/* The destructor of all containers. */
void tarn__container_destroy(tarn_context *ctx, void *self);

#endif
