/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What looks at a value with all that is in it: checking, comparing, copying. Recursion is
 * bounded by TARN_DEPTH_MAX, which tarn__slots() enforces, time by the walk's budget.
 */
#include "value.h"

#include <string.h>

#include "lib/error.h"

static bool is_container(unsigned kind)
{
	return kind == TARN_KIND_LIST || kind == TARN_KIND_MAP || kind == TARN_KIND_ERROR;
}

/* In a map's run of slots, keys are the even ones. */
static int check_key(const tarn_value *around, uint32_t index, const tarn_value *v)
{
	unsigned kind = tarn__head_kind(v->head);

	if (tarn__head_kind(around->head) == TARN_KIND_MAP && index % 2 == 0 &&
	    kind != TARN_KIND_STRING && kind != TARN_KIND_INT)
		return tarn__fail(-TARN_EPROTO, "A map that arrived has a key of kind %s.",
				  tarn_kind_name(tarn_value_kind(*v)));
	return 0;
}

/* ---- checking ---- */

static int check(struct tarn__walk *walk, const tarn_value *v)
{
	const unsigned char *data;
	uint32_t n = 0;
	size_t bytes;
	int r = tarn__walk_visit(walk, v);

	if (r < 0)
		return r;
	if (tarn__head_kind(v->head) == TARN_KIND_STRING) {
		r = tarn__value_data(v, &data, &bytes);
		if (r == 0 && data[bytes] != 0)
			r = tarn__fail_static(-TARN_EPROTO, "A string that arrived has no end.");
		return r;
	}
	if (is_container(tarn__head_kind(v->head)))
		r = tarn__slots(v, &n);
	for (uint32_t i = 0; i < n && r == 0; i++) {
		tarn_value entry = tarn__slot_of(v, i);

		r = check_key(v, i, &entry);
		if (r == 0)
			r = check(walk, &entry);
	}
	return r;
}

int tarn_parcel_check(const tarn_parcel *parcel)
{
	struct tarn__walk walk = tarn__walk_begin(parcel);
	int r = 0;

	for (unsigned i = 0; i < tarn_parcel_count(parcel) && r == 0; i++) {
		tarn_value v = tarn_parcel_at(parcel, i);

		r = check(&walk, &v);
	}
	return r;
}

/* ---- comparing ---- */

static bool is_number(unsigned kind)
{
	return kind == TARN_KIND_INT || kind == TARN_KIND_UINT || kind == TARN_KIND_DOUBLE;
}

static double as_double(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof d);
	return d;
}

/* An int or uint and a double. */
static bool whole_is_double(unsigned kind, uint64_t bits, double d)
{
	if (kind == TARN_KIND_INT)
		return d >= -0x1p63 && d < 0x1p63 && (double)(int64_t)d == d &&
		       (int64_t)d == (int64_t)bits;
	return d >= 0 && d < 0x1p64 && (double)(uint64_t)d == d && (uint64_t)d == bits;
}

static bool numbers_equal(const tarn_value *a, const tarn_value *b)
{
	unsigned ka = tarn__head_kind(a->head), kb = tarn__head_kind(b->head);

	if (ka == TARN_KIND_DOUBLE && kb == TARN_KIND_DOUBLE) {
		double x = as_double(a->body), y = as_double(b->body);

		return x == y || (x != x && y != y);
	}
	if (ka == TARN_KIND_DOUBLE)
		return whole_is_double(kb, b->body, as_double(a->body));
	if (kb == TARN_KIND_DOUBLE)
		return whole_is_double(ka, a->body, as_double(b->body));
	return a->body == b->body && (ka == kb || a->body <= INT64_MAX);
}

static bool data_equal(const tarn_value *a, const tarn_value *b)
{
	const unsigned char *da, *db;
	size_t na, nb;

	return tarn__value_data(a, &da, &na) == 0 && tarn__value_data(b, &db, &nb) == 0 &&
	       na == nb && memcmp(da, db, na) == 0;
}

static bool handles_equal(const tarn_value *a, const tarn_value *b)
{
	struct tarn_block *ha, *hb;

	if (tarn__value_handle(a, &ha) < 0 || tarn__value_handle(b, &hb) < 0)
		return false;
	return ha == hb || tarn__value_hooks.same(ha, hb);
}

static bool equal(struct tarn__walk *wa, struct tarn__walk *wb, const tarn_value *a,
		  const tarn_value *b)
{
	unsigned kind = tarn__head_kind(a->head);
	uint32_t na, nb;

	if (tarn__walk_visit(wa, a) < 0 || tarn__walk_visit(wb, b) < 0)
		return false;
	if (is_number(kind) && is_number(tarn__head_kind(b->head)))
		return numbers_equal(a, b);
	if (kind != tarn__head_kind(b->head))
		return false;
	if (kind == TARN_KIND_NIL)
		return true;
	if (kind == TARN_KIND_BOOL)
		return (a->body != 0) == (b->body != 0);
	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES)
		return data_equal(a, b);
	if (tarn__kind_is_ref(kind))
		return handles_equal(a, b);
	if (tarn__slots(a, &na) < 0 || tarn__slots(b, &nb) < 0 || na != nb)
		return false;
	for (uint32_t i = 0; i < na; i++) {
		tarn_value ea = tarn__slot_of(a, i), eb = tarn__slot_of(b, i);

		if (check_key(a, i, &ea) < 0 || check_key(b, i, &eb) < 0 ||
		    !equal(wa, wb, &ea, &eb))
			return false;
	}
	return true;
}

bool tarn_value_equal(tarn_value a, tarn_value b)
{
	struct tarn__walk wa = tarn__walk_begin(a.parcel), wb = tarn__walk_begin(b.parcel);

	return equal(&wa, &wb, &a, &b);
}

/* ---- copying ---- */

static int put_key(tarn_builder *b, const tarn_value *key)
{
	const unsigned char *data;
	size_t bytes;
	int r;

	if (tarn__head_kind(key->head) == TARN_KIND_INT)
		return tarn_map_key_int(b, (int64_t)key->body);
	r = tarn__value_data(key, &data, &bytes);
	return r < 0 ? r : tarn_map_key_n(b, (const char *)data, bytes);
}

static int put(struct tarn__walk *walk, tarn_builder *b, const tarn_value *v)
{
	enum tarn_kind kind = tarn_value_kind(*v);
	struct tarn_block *handle;
	const unsigned char *data;
	size_t bytes;
	uint32_t n;
	int r = tarn__walk_visit(walk, v);

	if (r < 0)
		return r;
	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES) {
		r = tarn__value_data(v, &data, &bytes);
		if (r < 0)
			return r;
		return kind == TARN_KIND_STRING ? tarn_put_string_n(b, (const char *)data, bytes)
						: tarn_put_bytes(b, data, bytes);
	}
	if (tarn__kind_is_ref(kind)) {
		r = tarn__value_handle(v, &handle);
		return r < 0 ? r : tarn__put_handle(b, kind, handle);
	}
	if (!is_container(kind))
		return tarn_put_slot(b, tarn__slot_head(kind, 0, 0),
				     kind == TARN_KIND_BOOL ? v->body != 0 : v->body);
	r = tarn__slots(v, &n);
	if (r == 0)
		r = tarn__open(b, kind);
	for (uint32_t i = 0; i < n && r == 0; i++) {
		tarn_value entry = tarn__slot_of(v, i);

		r = check_key(v, i, &entry);
		if (r < 0)
			return r;
		if (kind == TARN_KIND_MAP && i % 2 == 0) {
			r = tarn__walk_visit(walk, &entry);
			if (r == 0)
				r = put_key(b, &entry);
		} else {
			r = put(walk, b, &entry);
		}
	}
	return r < 0 ? r : tarn__close(b, kind);
}

int tarn_put_value(tarn_builder *builder, tarn_value value)
{
	struct tarn__walk walk = tarn__walk_begin(value.parcel);
	int r;

	if (builder->error != 0)
		return builder->error;
	r = put(&walk, builder, &value);
	/* What was begun cannot be taken back: half a value must not be sent. */
	return r < 0 ? tarn__builder_fail(builder, r) : 0;
}
