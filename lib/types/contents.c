/* SPDX-License-Identifier: Apache-2.0 */
#include "contents.h"

#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "shm/id.h"

/* ---- changes ---- */

static const struct tarn__view_root *seal(struct tarn__ending *ending)
{
	struct tarn__work *w = tarn__container_of(ending, struct tarn__work, ending);

	return tarn__change_seal(&w->change) ? &w->change.root : NULL;
}

static void over(struct tarn__ending *ending, bool succeeded)
{
	struct tarn__work *w = tarn__container_of(ending, struct tarn__work, ending);

	if (succeeded)
		tarn__change_commit(&w->change);
	else
		tarn__change_abort(&w->change);
	free(w);
}

static struct tarn__view_root *line_of(tarn_context *ctx)
{
	return tarn__store_root(tarn__context_store(ctx), tarn__id_index(tarn__context_id(ctx)));
}

int tarn__work_begin(tarn_context *ctx, struct tarn__work **ret)
{
	struct tarn__view_root *line = line_of(ctx);
	struct tarn__work *w = line != NULL ? malloc(sizeof *w) : NULL;

	if (w == NULL)
		return -ENOMEM;
	tarn__change_init(&w->change, tarn__context_store(ctx), line);
	w->ending = (struct tarn__ending){ .seal = seal, .fn = over };
	tarn__context_at_end(ctx, &w->ending);
	*ret = w;
	return 0;
}

int tarn__contents(tarn_context *ctx, struct tarn__sight *ret)
{
	const struct tarn__view *v = tarn__store_view(tarn__context_store(ctx));
	uint64_t id = tarn__context_id(ctx);

	/* Nobody changes it while the method runs. */
	return tarn__view_begin(v, tarn__id_index(id), id, ret) ? 0 : -TARN_ESTALE;
}

int tarn__content_fail(tarn_context *ctx, int r)
{
	if (r == -TARN_EREMOTE)
		return r; /* thrown already */
	if (tarn__context_is_inline(ctx) && (r == -E2BIG || r == -ENOENT))
		return tarn__context_defer(ctx);
	if (r == -ENOMEM || r == -ENOSPC)
		return tarn_throw(ctx, "MemoryError", "no memory for the contents");
	return r;
}

/* ---- values -> cells ---- */

static int nested_make(tarn_context *ctx, struct tarn__change *c, tarn_value value,
		       uint64_t ret_cell[2])
{
	struct tarn__payload p;
	struct tarn__blob *blob;
	tarn_builder b;
	uint64_t at = 0;
	int r;

	tarn_builder_init(&b);
	r = tarn_put_value(&b, value);
	if (r == 0)
		r = tarn__builder_payload(&b, &p);
	if (r == 0) {
		at = tarn__change_blob(c, 8ull * p.n_words, p.n_refs);
		r = at != 0 ? 0 : -ENOMEM;
	}
	if (r == 0) {
		blob = tarn__blob(c->view, at);
		memcpy(blob->data, p.words, 8ull * p.n_words);
		for (unsigned k = 0; k < p.n_refs && r == 0; k++) {
			tarn__blob_ids(blob)[k] = tarn__handle_id(p.refs[k]);
			r = tarn__self_hold_id(ctx, tarn__blob_ids(blob)[k]);
		}
		ret_cell[0] = p.words[0] | TARN__CELL_BLOB;
		ret_cell[1] = at;
	}
	tarn_builder_fini(&b);
	return r;
}

static int data_make(struct tarn__change *c, unsigned kind, const void *data, size_t bytes,
		     size_t in_cell, uint64_t ret_cell[2])
{
	ret_cell[0] = tarn__slot_head((enum tarn_kind)kind, 0, (uint32_t)bytes);
	ret_cell[1] = 0;
	if (bytes <= in_cell) {
		if (bytes != 0)
			memcpy(&ret_cell[1], data, bytes);
		return 0;
	}
	uint64_t at = tarn__change_blob(c, bytes, 0);

	if (at == 0)
		return -ENOMEM;
	memcpy(tarn__blob(c->view, at)->data, data, bytes);
	ret_cell[0] |= TARN__CELL_BLOB;
	ret_cell[1] = at;
	return 0;
}

int tarn__cell_make(tarn_context *ctx, struct tarn__change *c, tarn_value value,
		    uint64_t ret_cell[2])
{
	enum tarn_kind kind = tarn_value_kind(value);
	struct tarn_block *handle;
	const void *data;
	const char *text;
	size_t bytes;
	int r;

	switch (kind) {
	case TARN_KIND_NIL:
	case TARN_KIND_BOOL:
	case TARN_KIND_INT:
	case TARN_KIND_UINT:
	case TARN_KIND_DOUBLE:
		ret_cell[0] = kind;
		ret_cell[1] = kind == TARN_KIND_NIL ? 0 : kind == TARN_KIND_BOOL ? value.body & 1
									       : value.body;
		return 0;
	case TARN_KIND_STRING:
		r = tarn_value_string(value, &text, &bytes);
		return r < 0 ? r : data_make(c, kind, text, bytes, 7, ret_cell);
	case TARN_KIND_BYTES:
		r = tarn_value_bytes(value, &data, &bytes);
		return r < 0 ? r : data_make(c, kind, data, bytes, 8, ret_cell);
	case TARN_KIND_BLOCK:
	case TARN_KIND_OBJECT:
	case TARN_KIND_CHANNEL:
		r = tarn__value_handle(&value, &handle);
		if (r < 0)
			return r;
		ret_cell[0] = kind;
		ret_cell[1] = tarn__handle_id(handle);
		return tarn__self_hold_id(ctx, ret_cell[1]);
	case TARN_KIND_LIST:
	case TARN_KIND_MAP:
	case TARN_KIND_ERROR:
		return nested_make(ctx, c, value, ret_cell);
	default:
		return tarn__fail(-TARN_EPROTO, "The value is damaged.");
	}
}

/* ---- what cells hold ---- */

/* The ids in a cell. */
static const uint64_t *ids_of(const struct tarn__view *v, const uint64_t *cell, uint32_t *ret_n)
{
	if (cell[0] & TARN__CELL_BLOB) {
		struct tarn__blob *b = tarn__blob(v, cell[1]);

		*ret_n = b->n_refs;
		return tarn__blob_ids(b);
	}
	*ret_n = tarn__kind_is_ref(tarn__head_kind(cell[0]));
	return &cell[1];
}

int tarn__cell_drop(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell)
{
	uint32_t n;
	const uint64_t *id = ids_of(v, cell, &n);
	int r = 0;

	for (uint32_t k = 0; k < n && r == 0; k++)
		r = tarn_self_drop(ctx, id[k]);
	return r;
}

int tarn__cell_hold(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell)
{
	uint32_t n;
	const uint64_t *id = ids_of(v, cell, &n);
	int r = 0;

	for (uint32_t k = 0; k < n && r == 0; k++)
		r = tarn__self_hold_id(ctx, id[k]);
	return r;
}

/* Passes over what holds nothing. */
static int each_held(tarn_context *ctx, const struct tarn__view *v, uint64_t top,
		     int (*fn)(tarn_context *, const struct tarn__view *, const uint64_t *))
{
	const struct tarn__node *node = top != 0 ? tarn__node(v, top) : NULL;
	int r = 0;

	if (node == NULL || node->held == 0)
		return 0;
	for (unsigned i = 0; i < node->n && r == 0; i++) {
		const uint64_t *w = node->word + (size_t)i * node->width;

		r = node->level != 0 ? each_held(ctx, v, w[0], fn)
				     : fn(ctx, v, tarn__element_value(node->form, w));
	}
	return r;
}

int tarn__tree_drop_all(tarn_context *ctx, const struct tarn__view *v, uint64_t top)
{
	return each_held(ctx, v, top, tarn__cell_drop);
}

int tarn__tree_hold_all(tarn_context *ctx, const struct tarn__view *v, uint64_t top)
{
	return each_held(ctx, v, top, tarn__cell_hold);
}

/* ---- cells -> values ---- */

/* The payload in a cell's blob, as a parcel that is lent; @handle: room for its references. */
static int nested_lend(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		       struct tarn_block **handle, tarn_parcel *ret)
{
	struct tarn__blob *b = tarn__blob(v, cell[1]);

	for (uint32_t k = 0; k < b->n_refs; k++) {
		int r = tarn__self_handle(ctx, tarn__blob_ids(b)[k], &handle[k]);

		if (r < 0)
			return r;
	}
	return tarn__parcel_lend(ret, b->data, (uint32_t)(b->size / 8), 1, handle, b->n_refs, false);
}

int tarn__cell_put(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		   tarn_builder *b)
{
	struct tarn_block *handle[TARN_REFS_MAX];
	enum tarn_kind kind = (enum tarn_kind)tarn__head_kind(cell[0]);
	const void *data = &cell[1];
	tarn_parcel p;
	int r;

	if (cell[0] & TARN__CELL_BLOB)
		data = tarn__blob(v, cell[1])->data;
	switch (kind) {
	case TARN_KIND_STRING:
		return tarn_put_string_n(b, data, tarn__head_length(cell[0]));
	case TARN_KIND_BYTES:
		return tarn_put_bytes(b, data, tarn__head_length(cell[0]));
	case TARN_KIND_BLOCK:
	case TARN_KIND_OBJECT:
	case TARN_KIND_CHANNEL:
		r = tarn__self_handle(ctx, cell[1], &handle[0]);
		return r < 0 ? r : tarn__put_handle(b, kind, handle[0]);
	case TARN_KIND_LIST:
	case TARN_KIND_MAP:
	case TARN_KIND_ERROR:
		r = nested_lend(ctx, v, cell, handle, &p);
		return r < 0 ? r : tarn_put_value(b, tarn_parcel_at(&p, 0));
	default:
		return tarn_put_slot(b, cell[0], cell[1]);
	}
}

/* A container that begins with what the list or map in @cell has. */
static int child_make(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		      tarn_object **ret)
{
	const bool list = tarn__head_kind(cell[0]) == TARN_KIND_LIST;
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	r = tarn__cell_put(ctx, v, cell, &b);
	if (r == 0)
		r = tarn_managed(ctx, list ? "tarn.List" : "tarn.Dict", &b, ret);
	tarn_builder_fini(&b);
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}

int tarn__cell_child(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		     uint64_t ret_cell[2])
{
	const unsigned kind = tarn__head_kind(cell[0]);
	tarn_object *made;
	int r;

	if (kind == TARN_KIND_OBJECT)
		return tarn__cell_put(ctx, v, cell, tarn_context_result(ctx));
	if (kind != TARN_KIND_LIST && kind != TARN_KIND_MAP)
		return tarn_throw(ctx, "TypeError", "'%s' object is no container",
				  tarn__cell_kind_name(cell));
	r = child_make(ctx, v, cell, &made);
	if (r == 0)
		r = tarn_put_object(tarn_context_result(ctx), made);
	if (r < 0)
		return r;
	ret_cell[0] = TARN_KIND_OBJECT;
	ret_cell[1] = tarn_object_id(made);
	r = tarn__self_hold_id(ctx, ret_cell[1]);
	return r < 0 ? r : 1;
}

/* ---- comparing ---- */

const char *tarn__cell_kind_name(const uint64_t *cell)
{
	switch (tarn__head_kind(cell[0])) {
	case TARN_KIND_NIL:
		return "NoneType";
	case TARN_KIND_BOOL:
		return "bool";
	case TARN_KIND_INT:
	case TARN_KIND_UINT:
		return "int";
	case TARN_KIND_DOUBLE:
		return "float";
	case TARN_KIND_STRING:
		return "str";
	case TARN_KIND_MAP:
		return "dict";
	case TARN_KIND_ERROR:
		return "Exception";
	default:
		return tarn_kind_name((enum tarn_kind)tarn__head_kind(cell[0]));
	}
}

/* Words and data of a value that can be a key. 1, 0 it cannot, negative. */
static int key_words(tarn_value value, uint64_t seed, struct tarn__key *ret)
{
	enum tarn_kind kind = tarn_value_kind(value);
	uint64_t body = kind == TARN_KIND_NIL ? 0 : kind == TARN_KIND_BOOL ? value.body & 1 : value.body;
	const unsigned char *data = NULL;
	size_t bytes = 0;

	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES) {
		int r = tarn__value_data(&value, &data, &bytes);

		if (r < 0)
			return r;
		if (bytes <= (kind == TARN_KIND_STRING ? 7 : 8)) {
			body = 0;
			if (bytes != 0)
				memcpy(&body, data, bytes);
			data = NULL;
		}
	}
	return tarn__key_make(seed, tarn__slot_head(kind, 0, (uint32_t)bytes), body, data, ret);
}

int tarn__key_of(tarn_context *ctx, tarn_value value, struct tarn__key *ret)
{
	const uint64_t cell[2] = { (uint64_t)tarn_value_kind(value), 0 };
	int r = key_words(value, tarn__store_seed(tarn__context_store(ctx)), ret);

	if (r < 0)
		return r;
	if (r != 1)
		return tarn_throw(ctx, "TypeError", "unhashable type: '%s'", tarn__cell_kind_name(cell));
	return 0;
}

int tarn__wanted_init(tarn_context *ctx, tarn_value value, struct tarn__wanted *ret)
{
	struct tarn_block *handle;
	int r = key_words(value, tarn__store_seed(tarn__context_store(ctx)), &ret->key);

	if (r < 0)
		return r;
	ret->value = value;
	ret->plain = r == 1;
	ret->id = 0;
	if (tarn__kind_is_ref(tarn_value_kind(value))) {
		r = tarn__value_handle(&value, &handle);
		if (r < 0)
			return r;
		ret->id = tarn__handle_id(handle);
	}
	return 0;
}

int tarn__cell_is(tarn_context *ctx, const struct tarn__view *v, const uint64_t *cell,
		  const struct tarn__wanted *w)
{
	struct tarn_block *handle[TARN_REFS_MAX];
	unsigned kind = tarn__head_kind(cell[0]);
	struct tarn__key key;
	tarn_parcel p;

	if (w->id != 0)
		return tarn__kind_is_ref(kind) && cell[1] == w->id;
	if (w->plain) {
		const void *data = cell[0] & TARN__CELL_BLOB ? tarn__blob(v, cell[1])->data : NULL;

		/* Without the hash: the words are compared. */
		if (kind > TARN_KIND_BYTES || (data != NULL) != (w->key.data != NULL))
			return 0;
		if (data != NULL)
			return (cell[0] & ~(uint64_t)0xff00) == w->key.head &&
			       memcmp(data, w->key.data, cell[0] >> 32) == 0;
		return tarn__key_make(0, cell[0], cell[1], NULL, &key) && key.head == w->key.head &&
		       key.body == w->key.body;
	}
	if (kind != (unsigned)tarn_value_kind(w->value))
		return 0;
	int r = nested_lend(ctx, v, cell, handle, &p);

	return r < 0 ? r : tarn_value_equal(tarn_parcel_at(&p, 0), w->value);
}

/* ---- order ---- */

static bool is_number(unsigned kind)
{
	return kind == TARN_KIND_INT || kind == TARN_KIND_UINT || kind == TARN_KIND_DOUBLE;
}

/* Exact, also between an int and a double that is near it. */
static int order_numbers(unsigned ka, uint64_t a, unsigned kb, uint64_t b)
{
	struct { unsigned kind; uint64_t body; } n[2] = { { ka, a }, { kb, b } };
	double d[2];

	if (ka != TARN_KIND_DOUBLE && kb != TARN_KIND_DOUBLE) {
		bool below[2];

		for (unsigned k = 0; k < 2; k++)
			below[k] = n[k].kind == TARN_KIND_INT && (int64_t)n[k].body < 0;
		if (below[0] != below[1])
			return below[0] ? -1 : 1;
		return a < b ? -1 : a > b;
	}
	for (unsigned k = 0; k < 2; k++) {
		if (n[k].kind == TARN_KIND_DOUBLE)
			memcpy(&d[k], &n[k].body, sizeof d[k]);
		else
			d[k] = n[k].kind == TARN_KIND_INT ? (double)(int64_t)n[k].body
							  : (double)n[k].body;
	}
	if (d[0] != d[1] || ka == kb)
		return d[0] < d[1] ? -1 : d[0] > d[1];
	/* The int was rounded to the double: which of both lies beyond it? */
	unsigned i = ka == TARN_KIND_DOUBLE ? 1 : 0;
	int sign = i == 0 ? 1 : -1;

	if (n[i].kind == TARN_KIND_INT)
		return d[0] >= 0x1p63 ? -sign
		     : (int64_t)n[i].body < (int64_t)d[0] ? -sign
		     : (int64_t)n[i].body > (int64_t)d[0] ? sign : 0;
	return d[0] >= 0x1p64 ? -sign
	     : n[i].body < (uint64_t)d[0] ? -sign : n[i].body > (uint64_t)d[0] ? sign : 0;
}

static int order_data(const void *a, size_t na, const void *b, size_t nb)
{
	size_t n = na < nb ? na : nb;
	int r = n != 0 ? memcmp(a, b, n) : 0;

	return r != 0 ? r : na < nb ? -1 : na > nb;
}

/* Values in lists: what @a and @b begin with decides. */
static bool order_values(tarn_value a, tarn_value b, int *ret)
{
	unsigned ka = tarn_value_kind(a), kb = tarn_value_kind(b);

	if (is_number(ka) && is_number(kb)) {
		*ret = order_numbers(ka, a.body, kb, b.body);
		return true;
	}
	if (ka != kb)
		return false;
	if (ka == TARN_KIND_BOOL) {
		*ret = (int)(a.body & 1) - (int)(b.body & 1);
		return true;
	}
	if (ka == TARN_KIND_STRING || ka == TARN_KIND_BYTES) {
		const unsigned char *da, *db;
		size_t na, nb;

		if (tarn__value_data(&a, &da, &na) < 0 || tarn__value_data(&b, &db, &nb) < 0)
			return false;
		*ret = order_data(da, na, db, nb);
		return true;
	}
	if (ka != TARN_KIND_LIST)
		return false;
	size_t na = tarn_value_count(a), nb = tarn_value_count(b);

	for (size_t k = 0; k < na && k < nb; k++) {
		tarn_value x = tarn_value_at(a, k), y = tarn_value_at(b, k);

		if (tarn_value_equal(x, y))
			continue;
		return order_values(x, y, ret);
	}
	*ret = na < nb ? -1 : na > nb;
	return true;
}

bool tarn__cells_order(const struct tarn__view *v, const uint64_t *a, const uint64_t *b, int *ret)
{
	unsigned ka = tarn__head_kind(a[0]), kb = tarn__head_kind(b[0]);
	const uint64_t *cell[2] = { a, b };
	tarn_parcel p[2];

	if (is_number(ka) && is_number(kb)) {
		*ret = order_numbers(ka, a[1], kb, b[1]);
		return true;
	}
	if (ka != kb)
		return false;
	if (ka == TARN_KIND_BOOL) {
		*ret = (int)a[1] - (int)b[1];
		return true;
	}
	if (ka == TARN_KIND_STRING || ka == TARN_KIND_BYTES) {
		const void *data[2];

		for (unsigned k = 0; k < 2; k++)
			data[k] = cell[k][0] & TARN__CELL_BLOB ? (void *)tarn__blob(v, cell[k][1])->data
							       : &cell[k][1];
		*ret = order_data(data[0], a[0] >> 32, data[1], b[0] >> 32);
		return true;
	}
	if (ka != TARN_KIND_LIST)
		return false;
	for (unsigned k = 0; k < 2; k++) {
		const struct tarn__blob *blob = tarn__blob(v, cell[k][1]);

		if (blob->n_refs != 0 || tarn__parcel_lend(&p[k], blob->data, (uint32_t)(blob->size / 8), 1,
							   NULL, 0, false) < 0)
			return false;
	}
	return order_values(tarn_parcel_at(&p[0], 0), tarn_parcel_at(&p[1], 0), ret);
}

/* ---- making one from another ---- */

static _Thread_local const struct tarn__heir *left;

int tarn__heir_make(tarn_context *ctx, const char *type, const struct tarn__heir *heir,
		    tarn_object **ret)
{
	int r;

	left = heir;
	r = tarn_managed(ctx, type, NULL, ret);
	left = NULL;
	/* A creator here that was too much for the reactor was deferred, and all of this with it. */
	if (r < 0)
		return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
	return tarn_put_object(tarn_context_result(ctx), *ret);
}

int tarn__heir_take(tarn_context *ctx, struct tarn__work *w)
{
	const struct tarn__heir *heir = left;
	struct tarn__change *c = &w->change;
	int r;

	left = NULL;
	if (heir == NULL)
		return 0;
	r = tarn__tree_hold_all(ctx, c->view, heir->order);
	if (r == 0)
		r = tarn__tree_share(c, &c->root.order, heir->order);
	if (r == 0)
		r = tarn__tree_share(c, &c->root.index, heir->index);
	c->root.next = heir->next;
	if (heir->kind != 0)
		c->root.kind = heir->kind;
	return r < 0 ? r : 1;
}

static _Thread_local struct tarn__heir lent;

int tarn__container_lend(tarn_context *ctx, void *self)
{
	struct tarn__store *store = tarn__context_store(ctx);
	struct tarn__sight s;

	(void)self;
	tarn__try(ctx, tarn__contents(ctx, &s));
	if (tarn__context_is_inline(ctx))
		return tarn__context_defer(ctx); /* the caller is not this thread */
	lent = (struct tarn__heir){ .order = s.root.order, .index = s.root.index, .count = s.root.count,
				    .held = s.root.held, .next = s.root.next, .kind = s.root.kind };
	if (lent.order != 0)
		tarn__node_ref(store, lent.order);
	if (lent.index != 0)
		tarn__node_ref(store, lent.index);
	return 0;
}

int tarn__trees_of(tarn_context *ctx, tarn_object *other, struct tarn__heir *ret)
{
	(void)ctx;
	lent.kind = 0;
	int r = tarn_call(other, "lend", NULL, NULL, TARN_FOREVER);

	/* Another type's method of that name has lent nothing. */
	if (r == 0 && lent.kind == 0)
		r = tarn__fail(-TARN_EKIND, "This is no container.");
	*ret = lent;
	return r;
}

void tarn__container_destroy(tarn_context *ctx, void *self)
{
	struct tarn__store *s = tarn__context_store(ctx);
	struct tarn__view_root *line = line_of(ctx), was;

	(void)self;
	if (line == NULL || line->id != tarn__context_id(ctx))
		return; /* its creation was undone before it was told */
	was = *line;
	tarn__root_set(line, &(struct tarn__view_root){ .id = 0 });
	tarn__node_unref(s, was.order);
	tarn__node_unref(s, was.index);
}
