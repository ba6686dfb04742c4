/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Dict and tarn.Namespace: Python's dict, in the order of insertion, and a dict whose keys are
 * names. Entries lie in order in one tree, by a number that only grows; in another one the
 * hash of each key leads to that number.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contents.h"
#include "lib/error.h"
#include "lib/value/text.h"
#include "types.h"

static tarn_value arg(const tarn_context *ctx, unsigned i)
{
	return tarn_parcel_at(tarn_context_args(ctx), i);
}

static bool has_arg(const tarn_context *ctx, unsigned i)
{
	return i < tarn_parcel_count(tarn_context_args(ctx));
}

/* ---- steps of changes ---- */

/* Words of an entry. */
enum { SEQUENCE = 0, KEY = 1, VALUE = 3, HASH = 5 };

struct place {
	uint64_t entry[TARN__ENTRY_WORDS];
	uint64_t position, point; /* of the entry in order, of its point by hash */
};

static bool find(const struct tarn__sight *s, const struct tarn__key *key, struct place *ret)
{
	return tarn__dict_find(s, key, &ret->position, &ret->point, ret->entry);
}

static int fail_key(tarn_context *ctx, tarn_value key)
{
	char text[200];
	int n = tarn_value_format(key, text, sizeof text);

	return tarn_throw(ctx, "KeyError", "%s%s", text, n >= (int)sizeof text ? "..." : "");
}

/* @cell, whose references are held already, takes the place of the value. */
static int replace_cell(tarn_context *ctx, struct tarn__change *c, struct place *p,
			const uint64_t cell[2])
{
	int r = tarn__cell_drop(ctx, c->view, &p->entry[VALUE]);

	p->entry[VALUE] = cell[0];
	p->entry[VALUE + 1] = cell[1];
	return r < 0 ? r : tarn__tree_set(c, &c->root.order, p->position, p->entry);
}

static int replace(tarn_context *ctx, struct tarn__change *c, struct place *p, tarn_value value)
{
	uint64_t cell[2];
	int r = tarn__cell_make(ctx, c, value, cell);

	return r < 0 ? r : replace_cell(ctx, c, p, cell);
}

/* Puts an entry, whose references are held already, at the end. */
static int add_entry(struct tarn__change *c, uint64_t *entry)
{
	uint64_t point[TARN__POINT_WORDS], at = 0, found[TARN__POINT_WORDS];
	uint64_t n = c->root.order != 0 ? tarn__node(c->view, c->root.order)->count : 0;
	int r;

	entry[SEQUENCE] = c->root.next++;
	point[0] = entry[HASH];
	point[1] = entry[SEQUENCE];
	r = tarn__tree_insert(c, &c->root.order, TARN__FORM_ENTRIES, n, entry);
	if (r == 0 && c->root.index != 0)
		tarn__tree_find(tarn__change_sight(c), c->root.index, entry[HASH], TARN__POINT_WORDS, &at,
				found);
	return r < 0 ? r : tarn__tree_insert(c, &c->root.index, TARN__FORM_POINTS, at, point);
}

static int add(tarn_context *ctx, struct tarn__change *c, const struct tarn__key *hashed,
	       tarn_value key, tarn_value value)
{
	uint64_t entry[TARN__ENTRY_WORDS];
	int r = tarn__cell_make(ctx, c, key, &entry[KEY]);

	if (r == 0)
		r = tarn__cell_make(ctx, c, value, &entry[VALUE]);
	entry[HASH] = hashed->hash;
	return r < 0 ? r : add_entry(c, entry);
}

static int set_one(tarn_context *ctx, struct tarn__change *c, tarn_value key, tarn_value value)
{
	struct tarn__key hashed;
	struct place p;
	int r = tarn__key_of(ctx, key, &hashed);

	if (r < 0)
		return r;
	return find(tarn__change_sight(c), &hashed, &p) ? replace(ctx, c, &p, value)
							: add(ctx, c, &hashed, key, value);
}

static int take_out(tarn_context *ctx, struct tarn__change *c, const struct place *p)
{
	int r = tarn__cell_drop(ctx, c->view, &p->entry[VALUE]);

	if (r == 0)
		r = tarn__tree_erase(c, &c->root.order, p->position);
	return r < 0 ? r : tarn__tree_erase(c, &c->root.index, p->point);
}

/* The entry at @position, and where its point is. */
static bool place_at(const struct tarn__sight *s, uint64_t position, struct place *ret)
{
	uint64_t point[TARN__POINT_WORDS];

	ret->position = position;
	if (!tarn__tree_at(s, s->root.order, position, TARN__ENTRY_WORDS, ret->entry) ||
	    !tarn__tree_find(s, s->root.index, ret->entry[HASH], TARN__POINT_WORDS, &ret->point, point))
		return false;
	while (point[0] == ret->entry[HASH] && point[1] != ret->entry[SEQUENCE])
		if (!tarn__tree_at(s, s->root.index, ++ret->point, TARN__POINT_WORDS, point))
			return false;
	return point[1] == ret->entry[SEQUENCE];
}

/* ---- all that another one has ---- */

static int fail_no_mapping(tarn_context *ctx, tarn_value values)
{
	const uint64_t cell[2] = { (uint64_t)tarn_value_kind(values), 0 };

	return tarn_throw(ctx, "TypeError", "'%s' object is not a mapping", tarn__cell_kind_name(cell));
}

#define OTHER_PAGE 32 /* items of another dict that are asked for at a time */

/* Items of another container, by its own method, in pages. Of one that changes meanwhile, what is there
 * when its turn comes. */
static int set_others(tarn_context *ctx, struct tarn__change *c, tarn_object *other)
{
	size_t n = OTHER_PAGE;
	int r = 0;

	for (int64_t k = 0; n == OTHER_PAGE && r == 0; k += OTHER_PAGE) {
		tarn_builder b;
		tarn_parcel p;

		tarn_builder_init(&b);
		tarn_put(&b, "qq", k, k + OTHER_PAGE);
		r = tarn_call(other, "items", &b, &p, TARN_FOREVER);
		tarn_builder_fini(&b);
		if (r < 0)
			break;
		tarn_value list = tarn_parcel_at(&p, 0);

		n = tarn_value_count(list);
		for (size_t i = 0; i < n && r == 0; i++) {
			tarn_value pair = tarn_value_at(list, i);

			r = set_one(ctx, c, tarn_value_at(pair, 0), tarn_value_at(pair, 1));
		}
		tarn_parcel_fini(&p);
		if (r == 0 && tarn_context_canceled(ctx))
			r = -ECANCELED;
	}
	return r == -TARN_EREMOTE && *tarn_context_fault(ctx) == NULL ? tarn_rethrow(ctx) : r;
}

/* A map, a list of pairs, or a container. */
static int set_all(tarn_context *ctx, struct tarn__change *c, tarn_value values)
{
	enum tarn_kind kind = tarn_value_kind(values);
	size_t n = tarn_value_count(values);
	tarn_object *other;
	int r = 0;

	if (kind == TARN_KIND_OBJECT) {
		if (tarn__context_is_inline(ctx))
			return tarn__context_defer(ctx);
		r = tarn_value_object(values, &other);
		return r < 0 ? r : set_others(ctx, c, other);
	}
	if (kind != TARN_KIND_MAP && kind != TARN_KIND_LIST)
		return fail_no_mapping(ctx, values);
	if (tarn__too_large(ctx, n, 0))
		return tarn__context_defer(ctx);
	for (size_t i = 0; i < n && r == 0; i++) {
		tarn_value v = tarn_value_at(values, i);

		if (kind == TARN_KIND_MAP)
			r = set_one(ctx, c, tarn_value_key_at(values, i), v);
		else if (tarn_value_kind(v) == TARN_KIND_LIST && tarn_value_count(v) == 2)
			r = set_one(ctx, c, tarn_value_at(v, 0), tarn_value_at(v, 1));
		else
			r = tarn_throw(ctx, "ValueError", "dictionary update sequence element #%zu is no "
				       "list of 2", i);
	}
	return r;
}

/* ---- life ---- */

static int create_as(tarn_context *ctx, enum tarn__content kind)
{
	struct tarn__work *w;
	int r;

	tarn__try(ctx, tarn__work_begin(ctx, &w));
	w->change.root = (struct tarn__view_root){ .id = tarn__context_id(ctx), .kind = kind };
	r = tarn__heir_take(ctx, w);
	if (r == 0 && has_arg(ctx, 0) && tarn_value_kind(arg(ctx, 0)) != TARN_KIND_NIL)
		r = set_all(ctx, &w->change, arg(ctx, 0));
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

static int create(tarn_context *ctx, void *self)
{
	(void)self;
	return create_as(ctx, TARN__CONTENT_DICT);
}

/* ---- reading ---- */

static int len(tarn_context *ctx, void *self)
{
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	return tarn_put_int(tarn_context_result(ctx), (int64_t)s.root.count);
}

/* 1: found, 0: not. */
static int look_up(tarn_context *ctx, struct place *ret, struct tarn__sight *ret_s)
{
	struct tarn__key key;
	int r = tarn__contents(ctx, ret_s);

	if (r == 0)
		r = tarn__key_of(ctx, arg(ctx, 0), &key);
	return r < 0 ? r : find(ret_s, &key, ret);
}

static int get(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r == 1)
		r = tarn__cell_put(ctx, s.view, &p.entry[VALUE], b);
	else if (r == 0)
		r = fail_key(ctx, arg(ctx, 0));
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

/* The value, or the second argument, or nil. */
static int get_or(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r == 1)
		r = tarn__cell_put(ctx, s.view, &p.entry[VALUE], b);
	else if (r == 0)
		r = has_arg(ctx, 1) ? tarn_put_value(b, arg(ctx, 1)) : tarn_put_nil(b);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

/* Whether it is there, and the value (nil). */
static int find_value(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r >= 0) {
		tarn_put_bool(b, r == 1);
		r = r == 1 ? tarn__cell_put(ctx, s.view, &p.entry[VALUE], b) : tarn_put_nil(b);
	}
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

static int contains(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r >= 0)
		r = tarn_put_bool(tarn_context_result(ctx), r == 1);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

/* Keys, values or both of the entries from argument 0 to 1; of all without. */
static int listed(tarn_context *ctx, bool keys, bool values)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__sight s;
	uint64_t entry[TARN__ENTRY_WORDS];
	int64_t from = 0, to = INT64_MAX;

	tarn__try(ctx, tarn_context_get(ctx, "|qq", &from, &to));
	tarn__try(ctx, tarn__contents(ctx, &s));
	uint64_t k = from < 0 ? 0 : (uint64_t)from;
	uint64_t end = to < 0 ? 0 : (uint64_t)to < s.root.count ? (uint64_t)to : s.root.count;
	if (k < end && tarn__too_large(ctx, end - k, values && s.root.held != 0 ? end - k : 0))
		return tarn__context_defer(ctx);
	tarn_list_begin(b);
	for (; k < end; k++) {
		if (!tarn__tree_at(&s, s.root.order, k, TARN__ENTRY_WORDS, entry))
			return -EUCLEAN;
		if (keys && values)
			tarn_list_begin(b);
		if (keys)
			tarn__try(ctx, tarn__cell_put(ctx, s.view, &entry[KEY], b));
		if (values)
			tarn__try(ctx, tarn__cell_put(ctx, s.view, &entry[VALUE], b));
		if (keys && values)
			tarn_list_end(b);
	}
	tarn__try(ctx, tarn_list_end(b));
	return 0;
}

static int keys(tarn_context *ctx, void *self)
{
	(void)self;
	return listed(ctx, true, false);
}
static int values(tarn_context *ctx, void *self)
{
	(void)self;
	return listed(ctx, false, true);
}
static int items(tarn_context *ctx, void *self)
{
	(void)self;
	return listed(ctx, true, true);
}

/* ---- writing ---- */

static int set(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, set_one(ctx, &w->change, arg(ctx, 0), arg(ctx, 1)));
	return 0;
}

/* The container at a key; a list or map there becomes one. */
static int get_ref(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	struct tarn__work *w;
	uint64_t cell[2];
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r == 0)
		r = fail_key(ctx, arg(ctx, 0));
	tarn__try(ctx, r);
	r = tarn__cell_child(ctx, s.view, &p.entry[VALUE], cell);
	if (r <= 0)
		return r < 0 ? tarn__content_fail(ctx, r) : 0;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, replace_cell(ctx, &w->change, &p, cell));
	return 0;
}

static int setdefault(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx), nil;
	struct tarn__key key;
	struct tarn__work *w;
	struct place p;
	tarn_parcel none;
	int r;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, tarn__key_of(ctx, arg(ctx, 0), &key));
	if (find(tarn__change_sight(&w->change), &key, &p)) {
		tarn__try(ctx, tarn__cell_put(ctx, w->change.view, &p.entry[VALUE], b));
		return 0;
	}
	if (has_arg(ctx, 1)) {
		tarn__try(ctx, add(ctx, &w->change, &key, arg(ctx, 0), arg(ctx, 1)));
		tarn__try(ctx, tarn_put_value(b, arg(ctx, 1)));
		return 0;
	}
	tarn_builder_init(&nil);
	tarn_put_nil(&nil);
	r = tarn_parcel_from(&nil, &none);
	if (r == 0)
		r = add(ctx, &w->change, &key, arg(ctx, 0), tarn_parcel_at(&none, 0));
	tarn_builder_fini(&nil);
	if (r == 0)
		r = tarn_put_nil(b);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

static int del(tarn_context *ctx, void *self)
{
	struct tarn__key key;
	struct tarn__work *w;
	struct place p;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, tarn__key_of(ctx, arg(ctx, 0), &key));
	if (!find(tarn__change_sight(&w->change), &key, &p))
		return fail_key(ctx, arg(ctx, 0));
	tarn__try(ctx, take_out(ctx, &w->change, &p));
	return 0;
}

static int pop(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__key key;
	struct tarn__work *w;
	struct place p;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, tarn__key_of(ctx, arg(ctx, 0), &key));
	if (!find(tarn__change_sight(&w->change), &key, &p)) {
		if (!has_arg(ctx, 1))
			return fail_key(ctx, arg(ctx, 0));
		tarn__try(ctx, tarn_put_value(b, arg(ctx, 1)));
		return 0;
	}
	tarn__try(ctx, tarn__cell_put(ctx, w->change.view, &p.entry[VALUE], b));
	tarn__try(ctx, take_out(ctx, &w->change, &p));
	return 0;
}

static int popitem(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	struct tarn__work *w;
	struct place p;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	struct tarn__change *c = &w->change;
	if (c->root.count == 0)
		return tarn_throw(ctx, "KeyError", "popitem(): dictionary is empty");
	if (!place_at(tarn__change_sight(c), c->root.count - 1, &p))
		return -EUCLEAN;
	tarn__try(ctx, tarn__cell_put(ctx, c->view, &p.entry[KEY], b));
	tarn__try(ctx, tarn__cell_put(ctx, c->view, &p.entry[VALUE], b));
	tarn__try(ctx, take_out(ctx, c, &p));
	return 0;
}

static int update(tarn_context *ctx, void *self)
{
	struct tarn__work *w;

	(void)self;
	tarn__try(ctx, tarn__work_begin(ctx, &w));
	tarn__try(ctx, set_all(ctx, &w->change, arg(ctx, 0)));
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
	tarn__try(ctx, tarn__tree_clear(c, &c->root.index));
	return 0;
}

/* ---- others from it ---- */

static int copy(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	tarn_object *made;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, 0, s.root.held))
		return tarn__context_defer(ctx);
	const struct tarn__heir heir = { .order = s.root.order, .index = s.root.index,
					 .next = s.root.next };
	tarn__try(ctx, tarn__heir_make(ctx, s.root.kind == TARN__CONTENT_DICT ? "tarn.Dict"
									     : "tarn.Namespace",
				       &heir, &made));
	return 0;
}

/* A copy that is then updated. */
static int merged(tarn_context *ctx, void *self)
{
	tarn_parcel given;
	tarn_object *made;
	tarn_builder b;
	int r;

	if (tarn__context_is_inline(ctx))
		return tarn__context_defer(ctx);
	r = copy(ctx, self);
	if (r == 0)
		r = tarn_parcel_from(tarn_context_result(ctx), &given);
	if (r < 0)
		return r;
	tarn_builder_init(&b);
	tarn_put_value(&b, arg(ctx, 0));
	r = tarn_value_object(tarn_parcel_at(&given, 0), &made);
	if (r == 0)
		r = tarn_call(made, "update", &b, NULL, TARN_FOREVER);
	tarn_builder_fini(&b);
	tarn_parcel_fini(&given);
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}

/* An iterator over keys, values or items, as they are now. */
static int iterate(tarn_context *ctx, void *self)
{
	static const char *const what[] = { "keys", "values", "items" };
	const char *name = "keys";
	struct tarn__sight s;
	tarn_object *made;
	unsigned kind = 0;

	(void)self;
	tarn__try(ctx, tarn_context_get(ctx, "|s", &name));
	while (kind < 3 && strcmp(what[kind], name) != 0)
		kind++;
	if (kind == 3)
		return tarn_throw(ctx, "ValueError", "keys, values or items, not %.60s", name);
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, 0, s.root.held))
		return tarn__context_defer(ctx);
	const struct tarn__heir heir = { .order = s.root.order, .kind = TARN__CONTENT_KEYS + kind };
	tarn__try(ctx, tarn__heir_make(ctx, "tarn.Iterator", &heir, &made));
	return 0;
}

#define INLINE TARN_METHOD_INLINE
#define READ (TARN_METHOD_INLINE | TARN_METHOD_READ)
static const tarn_method methods[] = {
	{ "clear", clear, INLINE, "", "", NULL },
	{ "contains", contains, READ, "v", "b", NULL },
	{ "copy", copy, READ, "", "O", NULL },
	{ "del", del, INLINE, "v", "", NULL },
	{ "find", find_value, READ, "v", "bv", NULL },
	{ "get", get, READ, "v", "v", NULL },
	{ "get_or", get_or, READ, "v|v", "v", NULL },
	{ "get_ref", get_ref, INLINE, "v", "O", NULL },
	{ "items", items, READ, "|qq", "[]", NULL },
	{ "iter", iterate, READ, "|s", "O", NULL },
	{ "keys", keys, READ, "|qq", "[]", NULL },
	{ "len", len, READ, "", "q", NULL },
	{ "merged", merged, READ, "v", "O", NULL },
	{ "pop", pop, INLINE, "v|v", "v", NULL },
	{ "popitem", popitem, INLINE, "", "vv", NULL },
	{ "set", set, INLINE, "vv", "", NULL },
	{ "setdefault", setdefault, INLINE, "v|v", "v", NULL },
	{ "update", update, INLINE, "v", "", NULL },
	{ "values", values, READ, "|qq", "[]", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_dict = {
	.name = "tarn.Dict",
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_READ_MOSTLY,
	.args = "|v",
	.create = create,
	.destroy = tarn__container_destroy,
	.methods = methods,
};

/* ---- namespaces ---- */

static int create_namespace(tarn_context *ctx, void *self)
{
	(void)self;
	return create_as(ctx, TARN__CONTENT_NAMESPACE);
}

static int fail_attribute(tarn_context *ctx)
{
	const char *name = "";

	tarn_value_string(arg(ctx, 0), &name, NULL);
	return tarn_throw(ctx, "AttributeError", "'Namespace' object has no attribute '%.200s'", name);
}

static int get_attribute(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	(void)self;
	if (r == 1)
		r = tarn__cell_put(ctx, s.view, &p.entry[VALUE], tarn_context_result(ctx));
	else if (r == 0)
		r = fail_attribute(ctx);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

static int get_ref_attribute(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	if (r == 0)
		r = fail_attribute(ctx);
	return r < 0 ? tarn__content_fail(ctx, r) : get_ref(ctx, self);
}

static int del_attribute(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	struct place p;
	int r = look_up(ctx, &p, &s);

	if (r == 0)
		r = fail_attribute(ctx);
	return r < 0 ? tarn__content_fail(ctx, r) : del(ctx, self);
}

#define REPR_MOST 200u /* names that are shown */

struct shown {
	const char *name;
	size_t bytes;
	uint64_t cell[2];
};

static int by_name(const void *a, const void *b)
{
	const struct shown *x = a, *y = b;
	size_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
	int r = memcmp(x->name, y->name, n);

	return r != 0 ? r : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int show(tarn_context *ctx, const struct tarn__sight *s, const struct shown *shown, unsigned n)
{
	char room[4096], value[256];
	struct tarn__text t = { .text = room, .bytes = sizeof room };
	bool first = true;

	tarn__text_string(&t, "Namespace(");
	for (unsigned k = 0; k < n; k++) {
		tarn_builder b;
		tarn_parcel p;

		if (shown[k].bytes != 0 && shown[k].name[0] == '_')
			continue;
		tarn_builder_init(&b);
		int r = tarn__cell_put(ctx, s->view, shown[k].cell, &b);
		if (r == 0)
			r = tarn_parcel_from(&b, &p);
		tarn_builder_fini(&b);
		if (r < 0)
			return r;
		tarn_value_format(tarn_parcel_at(&p, 0), value, sizeof value);
		tarn_parcel_fini(&p);
		if (!first)
			tarn__text_string(&t, ", ");
		first = false;
		tarn__text_add(&t, shown[k].name, shown[k].bytes);
		tarn__text_char(&t, '=');
		tarn__text_string(&t, value);
	}
	if (s->root.count > n)
		tarn__text_string(&t, ", ...");
	tarn__text_char(&t, ')');
	tarn__text_end(&t);
	return tarn_put_string(tarn_context_result(ctx), room);
}

/* As Python's: Namespace(x=1, y=2), sorted, without names that begin with "_". */
static int repr(tarn_context *ctx, void *self)
{
	struct tarn__sight s;
	uint64_t (*entry)[TARN__ENTRY_WORDS];
	struct shown *shown;
	unsigned n = 0;
	int r;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__too_large(ctx, s.root.count, s.root.held))
		return tarn__context_defer(ctx);
	entry = malloc(REPR_MOST * sizeof *entry);
	shown = malloc(REPR_MOST * sizeof *shown);
	while (entry != NULL && shown != NULL && n < REPR_MOST &&
	       tarn__tree_at(&s, s.root.order, n, TARN__ENTRY_WORDS, entry[n])) {
		const uint64_t *key = &entry[n][KEY];

		shown[n].name = key[0] & TARN__CELL_BLOB
					? (const char *)tarn__blob(s.view, key[1])->data
					: (const char *)&key[1];
		shown[n].bytes = (size_t)(key[0] >> 32);
		memcpy(shown[n].cell, &entry[n][VALUE], 16);
		n++;
	}
	if (shown != NULL)
		qsort(shown, n, sizeof *shown, by_name);
	r = entry != NULL && shown != NULL ? show(ctx, &s, shown, n) : -ENOMEM;
	free(entry);
	free(shown);
	return r < 0 ? tarn__content_fail(ctx, r) : 0;
}

static const tarn_method namespace_methods[] = {
	{ "contains", contains, READ, "s", "b", NULL },
	{ "copy", copy, READ, "", "O", NULL },
	{ "del", del_attribute, INLINE, "s", "", NULL },
	{ "find", find_value, READ, "s", "bv", NULL },
	{ "get", get_attribute, READ, "s", "v", NULL },
	{ "get_ref", get_ref_attribute, INLINE, "s", "O", NULL },
	{ "items", items, READ, "|qq", "[]", NULL },
	{ "len", len, READ, "", "q", NULL },
	{ "repr", repr, READ, "", "s", NULL },
	{ "set", set, INLINE, "sv", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_namespace = {
	.name = "tarn.Namespace",
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_READ_MOSTLY,
	.args = "|{}?",
	.create = create_namespace,
	.destroy = tarn__container_destroy,
	.methods = namespace_methods,
};
