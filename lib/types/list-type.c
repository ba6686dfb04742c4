/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.List: Python's list, as a type.
 *
 * Methods that touch few elements run on the reactor; the rest is an executor's, where the
 * object is its caller's alone as long as it takes. Who wants to disturb nobody sorts a copy and
 * swaps ("swap"), as tarn_list_sort() does: copies cost nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "contents.h"
#include "lib/error.h"
#include "types.h"

#define FORM TARN__FORM_CELLS

static tarn_value arg(const tarn_context *ctx, unsigned i)
{
	return tarn_parcel_at(tarn_context_args(ctx), i);
}

static bool has_arg(const tarn_context *ctx, unsigned i)
{
	return i < tarn_parcel_count(tarn_context_args(ctx)) &&
	       tarn_value_kind(arg(ctx, i)) != TARN_KIND_NIL;
}

static int int_arg(tarn_context *ctx, unsigned i, int64_t otherwise, int64_t *ret)
{
	*ret = otherwise;
	return has_arg(ctx, i) ? tarn_value_int(arg(ctx, i), ret) : 0;
}

/* Negative ones count from the end. */
static bool index_of(int64_t i, uint64_t n, uint64_t *ret)
{
	if (i < 0)
		i += (int64_t)n;
	if (i < 0 || (uint64_t)i >= n)
		return false;
	*ret = (uint64_t)i;
	return true;
}

/* ---- slices ---- */

struct slice {
	int64_t start, stop, step;
	uint64_t n;
	bool whole; /* step 1: the elements lie side by side */
};

static int64_t clamp(int64_t at, int64_t n, int64_t low, int64_t high)
{
	if (at < 0)
		at = at < -n ? low : at + n;
	return at < low ? low : at > high ? high : at;
}

/* As Python's slice.indices(): arguments @i to @i + 2, each may be nil. */
static int slice_of(tarn_context *ctx, unsigned i, uint64_t count, struct slice *ret)
{
	int64_t n = (int64_t)count;
	int r = int_arg(ctx, i + 2, 1, &ret->step);

	if (r == 0 && ret->step == 0)
		return tarn_throw(ctx, "ValueError", "slice step cannot be zero");
	if (ret->step < -INT64_MAX)
		ret->step = -INT64_MAX;
	bool back = ret->step < 0;
	if (r == 0)
		r = int_arg(ctx, i, back ? INT64_MAX : 0, &ret->start);
	if (r == 0)
		r = int_arg(ctx, i + 1, back ? INT64_MIN : INT64_MAX, &ret->stop);
	if (r < 0)
		return r;
	ret->start = clamp(ret->start, n, back ? -1 : 0, back ? n - 1 : n);
	ret->stop = has_arg(ctx, i + 1) || !back ? clamp(ret->stop, n, back ? -1 : 0, back ? n - 1 : n)
						 : -1;
	ret->n = 0;
	if (!back && ret->start < ret->stop)
		ret->n = (uint64_t)((ret->stop - ret->start - 1) / ret->step + 1);
	if (back && ret->stop < ret->start)
		ret->n = (uint64_t)((ret->start - ret->stop - 1) / -ret->step + 1);
	ret->whole = ret->step == 1;
	return 0;
}

static uint64_t slice_at(const struct slice *s, uint64_t k)
{
	return (uint64_t)(s->start + (int64_t)k * s->step);
}

/* ---- steps of changes ---- */

static int insert_value(tarn_context *ctx, struct tarn__change *c, uint64_t at, tarn_value value)
{
	uint64_t cell[2];
	int r = tarn__cell_make(ctx, c, value, cell);

	return r < 0 ? r : tarn__tree_insert(c, &c->root.order, FORM, at, cell);
}

/* Takes the element at @at out, and puts it into the result if @give. */
static int take_out(tarn_context *ctx, struct tarn__change *c, uint64_t at, bool give)
{
	uint64_t cell[2];
	int r = 0;

	if (!tarn__tree_at(tarn__change_sight(c), c->root.order, at, 2, cell))
		return -EUCLEAN;
	if (give)
		r = tarn__cell_put(ctx, c->view, cell, tarn_context_result(ctx));
	if (r == 0)
		r = tarn__cell_drop(ctx, c->view, cell);
	return r < 0 ? r : tarn__tree_erase(c, &c->root.order, at);
}

/* A cell of this list once more, in this list or (other) another one's place. */
static int insert_again(tarn_context *ctx, struct tarn__change *c, uint64_t at, const uint64_t *cell)
{
	int r = tarn__cell_hold(ctx, c->view, cell);

	if (r == 0 && (cell[0] & TARN__CELL_BLOB))
		r = tarn__change_blob_again(c, cell[1]);
	return r < 0 ? r : tarn__tree_insert(c, &c->root.order, FORM, at, cell);
}

/* All that a list without references has, as it is now. 1: done, 0: it is none such. */
static int insert_plain(tarn_context *ctx, struct tarn__change *c, uint64_t at, tarn_object *other)
{
	struct tarn__store *store = tarn__context_store(ctx);
	struct tarn__heir from;
	struct tarn__sight s;
	uint64_t run[2 * 64], k = 0;
	int r = tarn__trees_of(ctx, other, &from);

	if (r < 0)
		return r == -TARN_ENOMETHOD || r == -TARN_EKIND ? 0 : r;
	if (from.kind != TARN__CONTENT_LIST || from.held != 0)
		from.count = 0;
	bool done = from.kind == TARN__CONTENT_LIST && from.held == 0;

	s = *tarn__change_sight(c);
	while (k < from.count && r == 0) {
		unsigned n = tarn__tree_run(&s, from.order, k, 2, run, 64);

		r = n == 0 ? -EUCLEAN : tarn_context_canceled(ctx) ? -ECANCELED : 0;
		for (unsigned i = 0; i < n && r == 0; i++, k++)
			r = insert_again(ctx, c, at++, &run[2 * i]);
	}
	tarn__node_unref(store, from.order);
	tarn__node_unref(store, from.index);
	return r < 0 ? r : done;
}

#define OTHER_PAGE 32 /* elements of another list that are asked for at a time */

/* Elements of another container, by its own method, in pages. */
static int insert_others(tarn_context *ctx, struct tarn__change *c, uint64_t at, tarn_object *other)
{
	int64_t n = 0;
	int r = tarn_callf(other, "len", TARN_FOREVER, "", "q", &n);

	for (int64_t k = 0; k < n && r == 0; k += OTHER_PAGE) {
		tarn_builder b;
		tarn_parcel p;

		tarn_builder_init(&b);
		tarn_put(&b, "qq", k, k + OTHER_PAGE < n ? k + OTHER_PAGE : n);
		r = tarn_call(other, "get_slice", &b, &p, TARN_FOREVER);
		tarn_builder_fini(&b);
		if (r < 0)
			break;
		tarn_value list = tarn_parcel_at(&p, 0);

		for (size_t i = 0; i < tarn_value_count(list) && r == 0; i++)
			r = insert_value(ctx, c, at++, tarn_value_at(list, i));
		tarn_parcel_fini(&p);
		if (r == 0 && tarn_context_canceled(ctx))
			r = -ECANCELED;
	}
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}

/* All that @values, a list value or a container, has. */
static int insert_all(tarn_context *ctx, struct tarn__change *c, uint64_t at, tarn_value values)
{
	size_t n = tarn_value_count(values);
	tarn_object *other;
	int r = 0;

	if (tarn_value_kind(values) == TARN_KIND_OBJECT) {
		if (tarn__context_is_inline(ctx))
			return tarn__context_defer(ctx);
		r = tarn_value_object(values, &other);
		if (r == 0)
			r = insert_plain(ctx, c, at, other);
		return r != 0 ? (r < 0 ? r : 0) : insert_others(ctx, c, at, other);
	}
	if (tarn_value_kind(values) != TARN_KIND_LIST) {
		const uint64_t cell[2] = { (uint64_t)tarn_value_kind(values), 0 };

		return tarn_throw(ctx, "TypeError", "'%s' object is not iterable",
				  tarn__cell_kind_name(cell));
	}
	if (tarn__too_large(ctx, n, 0))
		return tarn__context_defer(ctx);
	for (size_t i = 0; i < n && r == 0; i++)
		r = insert_value(ctx, c, at++, tarn_value_at(values, i));
	return r;
}

/* ---- life ---- */

static int create(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	int r;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	w->change.root = (struct tarn__view_root){ .id = tarn__context_id(ctx),
						   .kind = TARN__CONTENT_LIST };
	r = tarn__heir_take(ctx, w);
	if (r == 0 && has_arg(ctx, 0))
		r = insert_all(ctx, &w->change, 0, arg(ctx, 0));
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

/* ---- reading ---- */

static int len(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	return tarn_put_int(tarn_context_result(ctx), (int64_t)s.root.count);
}

static int get(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	uint64_t cell[2], at;
	int64_t i;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &i));
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (!index_of(i, s.root.count, &at))
		return tarn_throw(ctx, "IndexError", "list index out of range");
	if (!tarn__tree_at(&s, s.root.order, at, 2, cell))
		return -EUCLEAN;
	tarn__try(ctx, tarn__cell_put(ctx, s.view, cell, tarn_context_result(ctx)));
	return 0;
}

static int get_slice(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__sight s;
	struct slice slice;
	uint64_t cell[2];

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	tarn__try(ctx, slice_of(ctx, 0, s.root.count, &slice));
	if (tarn__too_large(ctx, slice.n, s.root.held != 0 ? slice.n : 0))
		return tarn__context_defer(ctx);
	tarn_list_begin(b);
	for (uint64_t k = 0; k < slice.n; k++) {
		if (!tarn__tree_at(&s, s.root.order, slice_at(&slice, k), 2, cell))
			return -EUCLEAN;
		tarn__try(ctx, tarn__cell_put(ctx, s.view, cell, b));
	}
	tarn__try(ctx, tarn_list_end(b));
	return 0;
}

/* Calls for each element from @from to @to that is @value, until @ret_at says where the first lies or,
 * if it is NULL, for all. Returns how many, or negative. */
static int64_t search(tarn_context *ctx, const struct tarn__sight *s, tarn_value value, uint64_t from,
		      uint64_t to, uint64_t *ret_at)
{
	struct tarn__wanted w;
	uint64_t run[2 * 64];
	int64_t found = 0;
	int r = tarn__wanted_init(ctx, value, &w);

	while (from < to && r >= 0) {
		unsigned n = tarn__tree_run(s, s->root.order, from, 2, run, 64);

		if (n == 0)
			break;
		for (unsigned k = 0; k < n && from < to; k++, from++) {
			r = tarn__cell_is(ctx, s->view, &run[2 * k], &w);
			if (r < 0)
				break;
			found += r;
			if (r == 1 && ret_at != NULL) {
				*ret_at = from;
				return 1;
			}
		}
		if (tarn_context_canceled(ctx))
			return -ECANCELED;
	}
	return r < 0 ? r : found;
}

/* More than can be looked through on the reactor. */
#define SEARCH_INLINE 4096u
static bool search_too_large(tarn_context *ctx, const struct tarn__sight *s)
{
	return s->root.count > SEARCH_INLINE && tarn__context_is_inline(ctx);
}

static int fail_not_in(tarn_context *ctx, const char *method, tarn_value value)
{
	char text[80];

	/* As Python: list.remove(x): x not in list; index() says which. */
	if (strcmp(method, "remove") == 0)
		return tarn_throw(ctx, "ValueError", "list.remove(x): x not in list");
	int n = tarn_value_format(value, text, sizeof text);

	return tarn_throw(ctx, "ValueError", "%s%s is not in list", text,
			  n >= (int)sizeof text ? "..." : "");
}

static int position(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	uint64_t at = 0;
	int64_t from, to;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 1, 0, &from));
	tarn__try(ctx, int_arg(ctx, 2, INT64_MAX, &to));
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (search_too_large(ctx, &s))
		return tarn__context_defer(ctx);
	int64_t n = (int64_t)s.root.count;
	int64_t found = search(ctx, &s, arg(ctx, 0), (uint64_t)clamp(from, n, 0, n),
			       (uint64_t)clamp(to, n, 0, n), &at);
	if (found < 0)
		return tarn__content_fail(ctx, (int)found);
	if (found == 0)
		return fail_not_in(ctx, "index", arg(ctx, 0));
	return tarn_put_int(tarn_context_result(ctx), (int64_t)at);
}

static int count(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (search_too_large(ctx, &s))
		return tarn__context_defer(ctx);
	int64_t found = search(ctx, &s, arg(ctx, 0), 0, s.root.count, NULL);
	if (found < 0)
		return tarn__content_fail(ctx, (int)found);
	return tarn_put_int(tarn_context_result(ctx), found);
}

static int contains(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	uint64_t at;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (search_too_large(ctx, &s))
		return tarn__context_defer(ctx);
	int64_t found = search(ctx, &s, arg(ctx, 0), 0, s.root.count, &at);
	if (found < 0)
		return tarn__content_fail(ctx, (int)found);
	return tarn_put_bool(tarn_context_result(ctx), found > 0);
}

/* ---- one element ---- */

static int append(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, insert_value(ctx, &w->change, w->change.root.count, arg(ctx, 0)));
	return 0;
}

static int insert(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	int64_t i;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &i));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	int64_t n = (int64_t)w->change.root.count;
	tarn__try(ctx, insert_value(ctx, &w->change, (uint64_t)clamp(i, n, 0, n), arg(ctx, 1)));
	return 0;
}

static int set_at(tarn_context *ctx, struct tarn__change *c, uint64_t at, tarn_value value)
{
	uint64_t cell[2], old[2];
	int r = tarn__cell_make(ctx, c, value, cell);

	if (r == 0 && !tarn__tree_at(tarn__change_sight(c), c->root.order, at, 2, old))
		r = -EUCLEAN;
	if (r == 0)
		r = tarn__cell_drop(ctx, c->view, old);
	return r < 0 ? r : tarn__tree_set(c, &c->root.order, at, cell);
}

static int set(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	uint64_t at;
	int64_t i;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &i));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	if (!index_of(i, w->change.root.count, &at))
		return tarn_throw(ctx, "IndexError", "list assignment index out of range");
	tarn__try(ctx, set_at(ctx, &w->change, at, arg(ctx, 1)));
	return 0;
}

/* The container at an index; a list or map there becomes one. */
static int get_ref(tarn_context *ctx, void *self)
{
	uint64_t old[2], cell[2], at;
	struct tarn__sight s;
	struct tarn__work *w;
	int64_t i;
	int r;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &i));
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (!index_of(i, s.root.count, &at))
		return tarn_throw(ctx, "IndexError", "list index out of range");
	if (!tarn__tree_at(&s, s.root.order, at, 2, old))
		return -EUCLEAN;
	r = tarn__cell_child(ctx, s.view, old, cell);
	if (r <= 0)
		return r < 0 ? tarn__content_fail(ctx, r) : 0;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, tarn__cell_drop(ctx, w->change.view, old));
	tarn__try(ctx, tarn__tree_set(&w->change, &w->change.root.order, at, cell));
	return 0;
}

static int del(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	uint64_t at;
	int64_t i;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &i));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	if (!index_of(i, w->change.root.count, &at))
		return tarn_throw(ctx, "IndexError", "list assignment index out of range");
	tarn__try(ctx, take_out(ctx, &w->change, at, false));
	return 0;
}

static int pop(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	uint64_t at;
	int64_t i;

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, -1, &i));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	if (w->change.root.count == 0)
		return tarn_throw(ctx, "IndexError", "pop from empty list");
	if (!index_of(i, w->change.root.count, &at))
		return tarn_throw(ctx, "IndexError", "pop index out of range");
	tarn__try(ctx, take_out(ctx, &w->change, at, true));
	return 0;
}

static int remove_value(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	struct tarn__sight s;
	uint64_t at = 0;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (search_too_large(ctx, &s))
		return tarn__context_defer(ctx);
	int64_t found = search(ctx, &s, arg(ctx, 0), 0, s.root.count, &at);
	if (found < 0)
		return tarn__content_fail(ctx, (int)found);
	if (found == 0)
		return fail_not_in(ctx, "remove", arg(ctx, 0));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, take_out(ctx, &w->change, at, false));
	return 0;
}

/* ---- many ---- */

static int extend(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, insert_all(ctx, &w->change, w->change.root.count, arg(ctx, 0)));
	return 0;
}

static int clear(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	if (tarn__too_large(ctx, 0, c->root.held))
		return tarn__context_defer(ctx);
	tarn__try(ctx, tarn__tree_drop_all(ctx, c->view, c->root.order));
	tarn__try(ctx, tarn__tree_clear(c, &c->root.order));
	return 0;
}

static int del_slice(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	struct slice slice;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, slice_of(ctx, 0, w->change.root.count, &slice));
	if (tarn__too_large(ctx, slice.n, w->change.root.held != 0 ? slice.n : 0))
		return tarn__context_defer(ctx);
	/* From the last one down, so that places stay. */
	for (uint64_t k = 0; k < slice.n; k++)
		tarn__try(ctx, take_out(ctx, &w->change,
					slice_at(&slice, slice.step > 0 ? slice.n - 1 - k : k), false));
	return 0;
}

/* What is to be put in place of a slice: all of it known before anything goes. */
static int set_slice(tarn_context *ctx, void *self)
{
	tarn_value values = arg(ctx, 3);
	struct tarn__work *w;
	struct slice slice;
	uint64_t n = tarn_value_count(values);

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	tarn__try(ctx, slice_of(ctx, 0, c->root.count, &slice));
	if (tarn__too_large(ctx, slice.n, c->root.held != 0 ? slice.n : 0))
		return tarn__context_defer(ctx);
	if (!slice.whole && tarn_value_kind(values) != TARN_KIND_LIST)
		return tarn_throw(ctx, "TypeError", "an extended slice can be set to a list of values only");
	if (!slice.whole && n != slice.n)
		return tarn_throw(ctx, "ValueError", "attempt to assign sequence of size %llu to extended "
				  "slice of size %llu", (unsigned long long)n, (unsigned long long)slice.n);
	if (!slice.whole) {
		if (tarn__too_large(ctx, n, 0))
			return tarn__context_defer(ctx);
		for (uint64_t k = 0; k < n; k++)
			tarn__try(ctx, set_at(ctx, c, slice_at(&slice, k), tarn_value_at(values, k)));
		return 0;
	}
	/* Behind the old ones first: a list may be set to parts of itself. */
	tarn__try(ctx, insert_all(ctx, c, (uint64_t)slice.start + slice.n, values));
	for (uint64_t k = slice.n; k > 0; k--)
		tarn__try(ctx, take_out(ctx, c, (uint64_t)slice.start + k - 1, false));
	return 0;
}

/* A new list of the same, and what @more adds. */
static int copy(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	tarn_object *made;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, 0, s.root.held))
		return tarn__context_defer(ctx);
	const struct tarn__heir heir = { .order = s.root.order };
	tarn__try(ctx, tarn__heir_make(ctx, "tarn.List", &heir, &made));
	return 0;
}

static int concat(tarn_context *ctx, void *self)
{
	tarn_builder b;

	if (tarn__context_is_inline(ctx))
		return tarn__context_defer(ctx);
	int r = copy(ctx, self);
	if (r < 0)
		return r;
	/* The copy is in the result; it is a list that nobody knows, and grows by a call in place. */
	tarn_parcel given;
	tarn_object *made;

	r = tarn_parcel_from(tarn_context_result(ctx), &given);
	if (r < 0)
		return r;
	tarn_builder_init(&b);
	tarn_put_value(&b, arg(ctx, 0));
	r = tarn_value_object(tarn_parcel_at(&given, 0), &made);
	if (r == 0)
		r = tarn_call(made, "extend", &b, NULL, TARN_FOREVER);
	tarn_builder_fini(&b);
	tarn_parcel_fini(&given);
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}

static int repeat_in_place(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	int64_t times;
	uint64_t cell[2];

	(void)self;
	tarn__try(ctx, int_arg(ctx, 0, 0, &times));
	if (times <= 0)
		return clear(ctx, self);
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	uint64_t n = c->root.count;
	if (n == 0 || times == 1)
		return 0;
	if ((uint64_t)times > (1ull << 40) / n)
		return tarn_throw(ctx, "MemoryError", "%lld times %llu elements", (long long)times,
				  (unsigned long long)n);
	if (tarn__too_large(ctx, n * (uint64_t)times, c->root.held * (uint64_t)times))
		return tarn__context_defer(ctx);
	for (uint64_t k = n; k < n * (uint64_t)times; k++) {
		if (!tarn__tree_at(tarn__change_sight(c), c->root.order, k - n, 2, cell))
			return -EUCLEAN;
		tarn__try(ctx, insert_again(ctx, c, k, cell));
		if (k % 4096 == 0 && tarn_context_canceled(ctx))
			return -ECANCELED;
	}
	return 0;
}

static int repeat(tarn_context *ctx, void *self)
{
	int64_t times;

	if (tarn__context_is_inline(ctx))
		return tarn__context_defer(ctx);
	tarn__try(ctx, int_arg(ctx, 0, 0, &times));
	int r = copy(ctx, self);
	if (r < 0)
		return r;
	tarn_parcel given;
	tarn_object *made;

	r = tarn_parcel_from(tarn_context_result(ctx), &given);
	if (r < 0)
		return r;
	r = tarn_value_object(tarn_parcel_at(&given, 0), &made);
	if (r == 0)
		r = tarn_callf(made, "repeat_in_place", TARN_FOREVER, "q", "", times);
	tarn_parcel_fini(&given);
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}

/* ---- another order ---- */

static int reverse(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	struct tarn__sight s;
	uint64_t cell[2];

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, s.root.count, 0))
		return tarn__context_defer(ctx);
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	tarn__try(ctx, tarn__tree_clear(c, &c->root.order));
	/* What it holds stays the same. */
	for (uint64_t k = 0; k < s.root.count; k++) {
		if (!tarn__tree_at(&s, s.root.order, s.root.count - 1 - k, 2, cell))
			return -EUCLEAN;
		if (cell[0] & TARN__CELL_BLOB)
			tarn__try(ctx, tarn__change_blob_again(c, cell[1]));
		tarn__try(ctx, tarn__tree_insert(c, &c->root.order, FORM, k, cell));
	}
	return 0;
}

/* Merge sort: stable, as Python's, and can stop when two elements have no order. */
struct sorting {
	tarn_context *ctx;
	const struct tarn__view *view;
	bool reversed;
	const uint64_t *bad[2]; /* have no order */
	bool canceled;
};

static bool sort_cells(struct sorting *s, uint64_t *cell, uint64_t *spare, uint64_t n)
{
	uint64_t half = n / 2, i = 0, k = half, out = 0;

	if (n < 2)
		return true;
	if (!sort_cells(s, cell, spare, half) || !sort_cells(s, cell + 2 * half, spare, n - half))
		return false;
	if (n > 4096 && tarn_context_canceled(s->ctx)) {
		s->canceled = true;
		return false;
	}
	while (i < half && k < n) {
		const uint64_t *a = cell + 2 * i, *b = cell + 2 * k;
		int order;

		if (!tarn__cells_order(s->view, b, a, &order)) {
			s->bad[0] = b;
			s->bad[1] = a;
			return false;
		}
		bool right = s->reversed ? order > 0 : order < 0;

		memcpy(spare + 2 * out++, right ? b : a, 16);
		*(right ? &k : &i) += 1;
	}
	memcpy(spare + 2 * out, cell + 2 * i, 16 * (half - i));
	out += half - i;
	memcpy(cell, spare, 16 * out);
	return true;
}

/* Whether it is in order already; looks, as Python does first, at neighbours. *@ret_bad: some have no
 * order. */
static bool is_sorted(struct sorting *s, const uint64_t *cell, uint64_t n, bool *ret_bad)
{
	int order;

	*ret_bad = false;
	for (uint64_t k = 1; k < n; k++) {
		if (!tarn__cells_order(s->view, cell + 2 * k, cell + 2 * k - 2, &order)) {
			s->bad[0] = cell + 2 * k;
			s->bad[1] = cell + 2 * k - 2;
			*ret_bad = true;
			return false;
		}
		if (s->reversed ? order > 0 : order < 0)
			return false;
	}
	return true;
}

static int sort_failed(const struct sorting *s)
{
	if (s->canceled)
		return -ECANCELED;
	return tarn_throw(s->ctx, "TypeError", "'<' not supported between instances of '%s' and '%s'",
			  tarn__cell_kind_name(s->bad[0]), tarn__cell_kind_name(s->bad[1]));
}

static int sort_into(tarn_context *ctx, struct tarn__change *c, struct tarn__sight *s, bool reversed,
		     uint64_t *cell)
{
	uint64_t n = s->root.count;
	struct sorting sorting = { .ctx = ctx, .view = s->view, .reversed = reversed };
	unsigned m;
	int r;

	for (uint64_t k = 0; k < n; k += m) {
		m = tarn__tree_run(s, s->root.order, k, 2, cell + 2 * k, 64);
		if (m == 0)
			return -EUCLEAN;
	}
	bool bad;
	if (is_sorted(&sorting, cell, n, &bad))
		return 0;
	if (bad || !sort_cells(&sorting, cell, cell + 2 * n, n))
		return sort_failed(&sorting);
	r = tarn__tree_clear(c, &c->root.order);
	for (uint64_t k = 0; k < n && r == 0; k++) {
		if (cell[2 * k] & TARN__CELL_BLOB)
			r = tarn__change_blob_again(c, cell[2 * k + 1]);
		if (r == 0)
			r = tarn__tree_insert(c, &c->root.order, FORM, k, cell + 2 * k);
	}
	return r;
}

static int sort(tarn_context *ctx, void *self)
{
	struct tarn__work *w;
	struct tarn__sight s;
	bool reversed = false;

	(void)self;
	if (has_arg(ctx, 0))
		tarn__try(ctx, tarn_value_bool(arg(ctx, 0), &reversed));
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, s.root.count, 0))
		return tarn__context_defer(ctx);
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	uint64_t *cell = malloc(32 * s.root.count + 1);
	if (cell == NULL)
		return tarn__content_fail(ctx, -ENOMEM);
	int r = sort_into(ctx, &w->change, &s, reversed, cell);

	free(cell);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

/* ---- for functions that work on copies ---- */

/* The list's version: grows with each change. */
static int version(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	return tarn_put_uint(tarn_context_result(ctx), s.root.version);
}

/* A copy, and the version that it is of. Not of a list with references: nil. */
static int plain_copy(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	tarn__try(ctx, tarn__contents(ctx, &s));
	if (s.root.held != 0)
		return tarn_put(tarn_context_result(ctx), "nn");
	int r = copy(ctx, self);
	return r < 0 ? r : tarn_put_uint(tarn_context_result(ctx), s.root.version);
}

/* Takes what another list has, if this one is still at a version. True if so. */
static int swap(tarn_context *ctx, void *self)
{
	struct tarn__store *store = tarn__context_store(ctx);
	struct tarn__heir from;
	struct tarn__work *w;
	struct tarn__sight s;
	tarn_object *other;
	uint64_t wanted;
	bool same;

	(void)self;
	if (tarn__context_is_inline(ctx))
		return tarn__context_defer(ctx);
	tarn__try(ctx, tarn_context_get(ctx, "OQ", &other, &wanted));
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (s.root.version != wanted || s.root.held != 0)
		return tarn_put_bool(tarn_context_result(ctx), false);
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, tarn__trees_of(ctx, other, &from));
	same = from.kind == TARN__CONTENT_LIST && from.held == 0 && from.count == s.root.count;
	int r = same ? tarn__tree_clear(&w->change, &w->change.root.order)
		     : tarn_throw(ctx, "ValueError", "this is no copy of the list");
	if (r == 0)
		r = tarn__tree_share(&w->change, &w->change.root.order, from.order);
	tarn__node_unref(store, from.order);
	tarn__node_unref(store, from.index);
	return r < 0 ? tarn__content_fail(ctx, r) : tarn_put_bool(tarn_context_result(ctx), true);
}

/* ---- iterating ---- */

static int iterate(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	tarn_object *made;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, 0, s.root.held))
		return tarn__context_defer(ctx);
	const struct tarn__heir heir = { .order = s.root.order, .kind = TARN__CONTENT_CELLS };
	tarn__try(ctx, tarn__heir_make(ctx, "tarn.Iterator", &heir, &made));
	return 0;
}

#define INLINE TARN_METHOD_INLINE
#define READ (TARN_METHOD_INLINE | TARN_METHOD_READ)
static const tarn_method methods[] = {
	{ "append", append, INLINE, "v", "", NULL },
	{ "clear", clear, INLINE, "", "", NULL },
	{ "concat", concat, READ, "v", "O", NULL },
	{ "contains", contains, READ, "v", "b", NULL },
	{ "copy", copy, READ, "", "O", NULL },
	{ "count", count, READ, "v", "q", NULL },
	{ "del", del, INLINE, "q", "", NULL },
	{ "del_slice", del_slice, INLINE, "|q?q?q?", "", NULL },
	{ "extend", extend, INLINE, "v", "", NULL },
	{ "get", get, READ, "q", "v", NULL },
	{ "get_ref", get_ref, INLINE, "q", "O", NULL },
	{ "get_slice", get_slice, READ, "|q?q?q?", "[]", NULL },
	{ "index", position, READ, "v|q?q?", "q", NULL },
	{ "insert", insert, INLINE, "qv", "", NULL },
	{ "iter", iterate, READ, "", "O", NULL },
	{ "len", len, READ, "", "q", NULL },
	{ "lend", tarn__container_lend, READ | TARN_METHOD_INTERNAL, "", "", NULL },
	{ "plain_copy", plain_copy, READ, "", "O?Q?", NULL },
	{ "pop", pop, INLINE, "|q?", "v", NULL },
	{ "remove", remove_value, INLINE, "v", "", NULL },
	{ "repeat", repeat, READ, "q", "O", NULL },
	{ "repeat_in_place", repeat_in_place, INLINE, "q", "", NULL },
	{ "reverse", reverse, INLINE, "", "", NULL },
	{ "set", set, INLINE, "qv", "", NULL },
	{ "set_slice", set_slice, INLINE, "q?q?q?v", "", NULL },
	{ "sort", sort, INLINE, "|b?", "", NULL },
	{ "swap", swap, INLINE, "OQ", "b", NULL },
	{ "version", version, READ, "", "Q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_list = {
	.name = "tarn.List",
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_READ_MOSTLY,
	.args = "|v",
	.create = create,
	.destroy = tarn__container_destroy,
	.methods = methods,
};
