/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of VIEW: memory for chunks, their counts, and changes of trees (change.h).
 *
 * The store lies in the segment; what it needs to hand out chunks is in the process. Counts of
 * chunks are atomic, since snapshots share chunks between objects that different threads of the
 * server work on. The mutex is a leaf that is held for some dozen instructions.
 *
 * A large tree that nobody refers to any more is freed by a thread of the store's own, so that
 * whoever drops the last reference does not wait.
 */
#ifndef TARN_TYPES_STORE_H
#define TARN_TYPES_STORE_H

#include "shm/segment.h"
#include "shm/view.h"

struct tarn__store;

/*
 * A store in @segment, which it commits piece by piece and does not close. Roots for objects
 * with an index below @roots. -ENOMEM, -ENOSPC, -EINVAL the segment is too small.
 */
int tarn__store_new(const struct tarn__segment *segment, uint64_t roots, uint64_t seed,
		    struct tarn__store **ret);
/* What chunks take of a budget. */
struct tarn__store_part {
	uint64_t taken;   /* bytes */
	uint64_t refused; /* so often it would have been more */
};
/*
 * What chunks take and *@others, which somebody else counts, are to be *@most bytes together (0: any number): beyond
 * that no more is committed (-ENOSPC). Before anything is. Returns where their part is counted; all
 * places are read by the other side at any time, and live as long as the store.
 */
const struct tarn__store_part *tarn__store_share(struct tarn__store *s, const uint64_t *others, const uint64_t *most);
/* Waits for what is being freed. NULL is allowed. */
void tarn__store_free(struct tarn__store *s);

const struct tarn__view *tarn__store_view(const struct tarn__store *s);
uint64_t tarn__store_seed(const struct tarn__store *s);
/* Bytes in chunks now. */
uint64_t tarn__store_used(struct tarn__store *s);
/* Bytes of memory that chunks have, used or not. */
uint64_t tarn__store_committed(struct tarn__store *s);
/* Waits until nothing is being freed in the background. */
void tarn__store_settle(struct tarn__store *s);

/* The line of an object; NULL: its index has none, or there is no memory for it. Only who has the
 * object to itself (its gate) may change what it leads to. */
struct tarn__view_root *tarn__store_root(struct tarn__store *s, uint32_t index);
/* Sets all of it, as readers see it: between two even versions. */
void tarn__root_set(struct tarn__view_root *line, const struct tarn__view_root *to);
/* The same of a line whose server was killed, perhaps while it wrote there. The version becomes
 * @to->version, or one that is greater than all that readers have seen there. */
void tarn__root_restore(struct tarn__view_root *line, const struct tarn__view_root *to);

/* ---- what a server that was killed left (store-inherit.c); nobody else works on it meanwhile ---- */

/*
 * A store in its segment. Of its lines and chunks nothing is known yet, so these two follow before
 * anything else is done:
 *	tarn__store_restore() for each line below tarn__store_roots();
 *	tarn__store_rebuild(): what lines lead to is in use, counted anew; all else is free.
 * In this order: a reader who still follows what a line led to before is found out by the line's
 * version before anything there is used again.
 */
int tarn__store_inherit(const struct tarn__segment *segment, struct tarn__store **ret);
/* Line @index has what @to says, whose count and held need not be set; NULL: nothing. -EUCLEAN */
int tarn__store_restore(struct tarn__store *s, uint32_t index, const struct tarn__view_root *to);
/* -ENOMEM, -EUCLEAN what a line leads to is no tree. */
int tarn__store_rebuild(struct tarn__store *s);
/* Calls @fn with the id of each reference below @top, each as often as it occurs, until one is not 0. */
int tarn__store_each_held(const struct tarn__store *s, uint64_t top,
			  int (*fn)(void *arg, uint64_t id), void *arg);

/* ---- chunks ---- */

/* Where a new chunk of @bytes or more lies; 0: no memory. The count of what it becomes is to be
 * set by the caller. *@ret_bytes: its real size, which frees it. */
uint64_t tarn__chunk_new(struct tarn__store *s, uint64_t bytes, uint64_t *ret_bytes);
void tarn__chunk_free(struct tarn__store *s, uint64_t at, uint64_t bytes);

static inline struct tarn__node *tarn__node(const struct tarn__view *v, uint64_t at)
{
	return (struct tarn__node *)(void *)(v->base + at);
}
static inline struct tarn__blob *tarn__blob(const struct tarn__view *v, uint64_t at)
{
	return (struct tarn__blob *)(void *)(v->base + at);
}

/* A blob for @size bytes of data and @n_refs ids, with one reference; the caller fills both. 0: no
 * memory. */
uint64_t tarn__blob_new(struct tarn__store *s, uint64_t size, uint32_t n_refs);
static inline uint64_t *tarn__blob_ids(struct tarn__blob *b)
{
	return b->data + (b->size + 7) / 8;
}

void tarn__blob_ref(struct tarn__store *s, uint64_t at);
void tarn__blob_unref(struct tarn__store *s, uint64_t at);
void tarn__node_ref(struct tarn__store *s, uint64_t at);
/* Of a large tree in the background. 0 is allowed. */
void tarn__node_unref(struct tarn__store *s, uint64_t at);

/* ---- elements ---- */

static inline unsigned tarn__form_words(unsigned form)
{
	return form == TARN__FORM_ENTRIES ? TARN__ENTRY_WORDS : TARN__CELL_WORDS;
}
/* The blobs of an element (at most 2); how many. */
unsigned tarn__element_blobs(unsigned form, const uint64_t *words, uint64_t *ret_at);
/* The references in a cell. */
uint64_t tarn__cell_held(const struct tarn__view *v, const uint64_t *cell);
/* The cell that is the element's value. */
static inline const uint64_t *tarn__element_value(unsigned form, const uint64_t *words)
{
	return form == TARN__FORM_ENTRIES ? words + 3 : words;
}
static inline uint64_t tarn__element_held(const struct tarn__view *v, unsigned form,
					  const uint64_t *words)
{
	return form == TARN__FORM_POINTS ? 0
	     : tarn__cell_held(v, tarn__element_value(form, words));
}

/* What object @id contains, as snprintf() writes; -ENOENT it is no container. Only while nobody
 * changes that object. */
int tarn__store_describe(struct tarn__store *s, uint64_t id, char *text, size_t bytes);
/* How many lines are there: those of the objects that ever were. */
uint64_t tarn__store_roots(const struct tarn__store *s);
/* All of it, counted and compared, for tests: the number of bytes in chunks that roots lead to, or
 * -EUCLEAN and a sentence: only while nobody works on it. */
int64_t tarn__store_verify(struct tarn__store *s, char *why, size_t bytes);

#endif
