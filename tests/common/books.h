/* SPDX-License-Identifier: Apache-2.0 */
/* Lists whose server may be killed at any time, and what must be in them: a change that was interrupted
 * has been made as a whole, or not at all. */
#ifndef TARN_TESTS_COMMON_BOOKS_H
#define TARN_TESTS_COMMON_BOOKS_H

#include "arena.h"
#include "containers.h"

#define BOOK_MOST 300

/* Calls that may be interrupted. True: it was not. */
static uint64_t book_interrupted;
static inline bool book_went(int r)
{
	book_interrupted += r == -TARN_EINTERRUPTED;
	PLAIN_CHECKF(r == 0 || r == -TARN_EINTERRUPTED, "%s", tarn_error_last()->message);
	return r == 0;
}

static inline tarn_block *book_block(tarn_client *c, unsigned seed)
{
	tarn_block *b = arena_block(c, 1000);

	arena_fill(b, seed);
	return b;
}

struct book {
	tarn_client *c;
	tarn_object *list;
	bool blocks;             /* filled with the numbers; else these themselves */
	int n, v[BOOK_MOST + 200];
	uint64_t random, changes;
};

static inline void book_put(const struct book *b, tarn_builder *to, int v)
{
	if (!b->blocks) {
		tarn_put_int(to, v);
		return;
	}
	tarn_block *block = book_block(b->c, (unsigned)v);

	tarn_put_block(to, block);
	tarn_block_unref(block);
}

/* Is it that? Reads again what is interrupted. */
static inline bool book_is(const struct book *b, const int *v, int n)
{
	for (int k = 0; k <= n; k++) {
		tarn_block *block;
		int r, x = -1;
		tarn_parcel p;

		while ((r = tarn_list_get(b->list, k, &p)) == -TARN_EINTERRUPTED)
			;
		if (k == n || r != 0) {
			PLAIN_CHECKF(r == 0 || r == -TARN_EREMOTE, "%s", tarn_error_last()->message);
			if (r == 0)
				tarn_parcel_fini(&p);
			return k == n && r != 0; /* IndexError */
		}
		bool same = b->blocks ? tarn_parcel_get(&p, "B", &block) == 0 &&
						arena_filled(block, (unsigned)v[k])
				      : tarn_parcel_get(&p, "i", &x) == 0 && x == v[k];
		tarn_parcel_fini(&p);
		if (!same)
			return false;
	}
	return true;
}
static inline bool book_is_right(const struct book *b)
{
	return book_is(b, b->v, b->n);
}

static inline int book_by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

enum book_deed { BOOK_EXTEND, BOOK_INSERT, BOOK_SET, BOOK_POP, BOOK_CUT, BOOK_SORT, BOOK_COPY, BOOK_DEEDS };

/* The list becomes a copy of itself. */
static inline int book_copy(struct book *b)
{
	tarn_object *made;
	int r = tarn_list_copy(b->list, &made);

	if (r == 0) {
		tarn_object_unref(b->list);
		b->list = made;
	}
	return r;
}

/* @v and @n, the model, change likewise. @at: in the list; BOOK_EXTEND: by how many. */
static inline int book_do(struct book *b, enum book_deed deed, int at, int *v, int *n)
{
	tarn_builder args;
	int r = 0;

	tarn_builder_init(&args);
	switch (deed) {
	case BOOK_EXTEND:
		for (int k = 0; k < at; k++) {
			v[*n + k] = (int)(scene_random(&b->random) % 100);
			book_put(b, &args, v[*n + k]);
		}
		r = tarn_list_extend(b->list, &args);
		*n += at;
		break;
	case BOOK_INSERT:
		memmove(v + at + 1, v + at, sizeof *v * (size_t)(*n - at));
		v[at] = (int)(scene_random(&b->random) % 100);
		book_put(b, &args, v[at]);
		r = tarn_list_insert(b->list, at, &args);
		++*n;
		break;
	case BOOK_SET:
		if (*n == 0)
			break;
		v[at] = (int)(scene_random(&b->random) % 100);
		book_put(b, &args, v[at]);
		r = tarn_list_set(b->list, at, &args);
		break;
	case BOOK_POP:
		r = *n != 0 ? tarn_list_pop(b->list, -1, NULL) : 0;
		*n -= *n != 0;
		break;
	case BOOK_CUT:
		r = tarn_list_del_slice(b->list, at, TARN_OMIT, TARN_OMIT);
		*n = at;
		break;
	case BOOK_SORT:
		if (!b->blocks) {
			qsort(v, (size_t)*n, sizeof *v, book_by_value);
			r = tarn_list_sort(b->list, false);
			break;
		} /* fall through */
	default:
		r = book_copy(b);
	}
	tarn_builder_fini(&args);
	return r;
}

static inline void book_change(struct book *b, enum book_deed deed, int at)
{
	int v[BOOK_MOST + 200], n = b->n;

	memcpy(v, b->v, sizeof v);
	if (!book_went(book_do(b, deed, at, v, &n))) {
		bool done = book_is(b, v, n);

		PLAIN_CHECKF(done || book_is_right(b), "deed %d: neither %d elements nor %d", deed, b->n, n);
		if (!done)
			return;
	}
	memcpy(b->v, v, sizeof v);
	b->n = n;
	b->changes++;
}

/* Small ones are the reactor's, large ones an executor's. */
static inline void book_change_any(struct book *b)
{
	const uint64_t roll = scene_random(&b->random);
	enum book_deed deed = b->n > BOOK_MOST - 100 ? BOOK_CUT : (enum book_deed)(roll % BOOK_DEEDS);
	int at = b->n != 0 ? (int)((roll >> 32) % (unsigned)b->n) : 0;

	if (deed == BOOK_EXTEND)
		at = roll >> 20 & 1 ? b->blocks ? 20 : 90 : 3;
	else if (deed == BOOK_CUT && roll >> 40 & 1)
		at /= 8;
	book_change(b, deed, at);
}

#endif
