/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Iterator: gives what a container had when it was asked for the iterator, whoever writes to
 * it meanwhile. Comes from the containers' method "iter".
 */
#include "contents.h"
#include "lib/error.h"
#include "types.h"

/* From a container's "iter", or over a list value. */
static int create(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	tarn_value list = tarn_parcel_at(args, 0);
	struct tarn__work *w;
	int r;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	c->root = (struct tarn__view_root){ .id = tarn__context_id(ctx), .kind = TARN__CONTENT_CELLS };
	r = tarn__heir_take(ctx, w);
	if (r != 0 || tarn_parcel_count(args) == 0)
		return r < 0 ? tarn__content_fail(ctx, r) : 0;
	if (tarn__too_large(ctx, tarn_value_count(list), 0))
		return tarn__context_defer(ctx);
	for (size_t k = 0; k < tarn_value_count(list); k++) {
		uint64_t cell[2];

		tarn__try(ctx, tarn__cell_make(ctx, c, tarn_value_at(list, k), cell));
		tarn__try(ctx, tarn__tree_insert(c, &c->root.order, TARN__FORM_CELLS, k, cell));
	}
	return 0;
}

/* Appends what the iterator gives for the element at @at; of items two values. */
static int give(tarn_context *ctx, const struct tarn__sight *s, uint64_t at, tarn_builder *b)
{
	uint64_t words[TARN__ENTRY_WORDS];
	unsigned width = s->root.kind == TARN__CONTENT_CELLS ? TARN__CELL_WORDS : TARN__ENTRY_WORDS;
	int r = 0;

	if (!tarn__tree_at(s, s->root.order, at, width, words))
		return -EUCLEAN;
	switch (s->root.kind) {
	case TARN__CONTENT_CELLS:
		return tarn__cell_put(ctx, s->view, words, b);
	case TARN__CONTENT_KEYS:
		return tarn__cell_put(ctx, s->view, words + 1, b);
	case TARN__CONTENT_VALUES:
		return tarn__cell_put(ctx, s->view, words + 3, b);
	default:
		r = tarn__cell_put(ctx, s->view, words + 1, b);
		return r < 0 ? r : tarn__cell_put(ctx, s->view, words + 3, b);
	}
}

/* Nothing at the end. */
static int next(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	const struct tarn__sight *s = tarn__change_sight(&w->change);
	if (s->root.next >= s->root.count)
		return 0;
	tarn__try(ctx, give(ctx, s, s->root.next, tarn_context_result(ctx)));
	w->change.root.next++;
	return 0;
}

/* A list of up to so many; empty at the end. Where there are references a list may be shorter, for
 * a message has room for some only. */
static int next_n(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__work *w;
	uint64_t most, at, end;

	(void)self;
	tarn__try(ctx, tarn_context_get(ctx, "Q", &most));
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	const struct tarn__sight *s = tarn__change_sight(&w->change);
	if (s->root.held != 0 && most > TARN__INLINE_REFS)
		most = TARN__INLINE_REFS;
	at = s->root.next;
	end = most < s->root.count - at ? at + most : s->root.count;
	if (tarn__too_large(ctx, end - at, 0))
		return tarn__context_defer(ctx);
	bool pairs = s->root.kind == TARN__CONTENT_ITEMS;
	tarn_list_begin(b);
	for (; at < end; at++) {
		if (pairs)
			tarn_list_begin(b);
		tarn__try(ctx, give(ctx, s, at, b));
		if (pairs)
			tarn_list_end(b);
	}
	tarn__try(ctx, tarn_list_end(b));
	w->change.root.next = at;
	return 0;
}

static int left(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	return tarn_put_int(tarn_context_result(ctx), (int64_t)(s.root.count - s.root.next));
}

/* At its end at once; what it holds is let go. */
static int finish(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	if (tarn__too_large(ctx, 0, c->root.held))
		return tarn__context_defer(ctx);
	tarn__try(ctx, tarn__tree_drop_all(ctx, c->view, c->root.order));
	tarn__try(ctx, tarn__tree_clear(c, &c->root.order));
	c->root.next = 0;
	return 0;
}

static const tarn_method methods[] = {
	{ "close", finish, TARN_METHOD_INLINE, "", "", NULL },
	{ "left", left, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "q", NULL },
	{ "next", next, TARN_METHOD_INLINE, "", NULL, NULL },
	{ "next_n", next_n, TARN_METHOD_INLINE, "Q", "[]", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_iterator = {
	.name = "tarn.Iterator",
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_SERIAL,
	.args = "|[]",
	.create = create,
	.destroy = tarn__container_destroy,
	.methods = methods,
};
