/* SPDX-License-Identifier: Apache-2.0 */
/* Values and arrays: the client's side. Numbers in the arena, read and written where they are. */
#include "tarn/shared.h"

#include "actor.h"
#include "shm/cell.h"
#include "types.h"

/* Where a number is, and of which kind. */
struct place {
	unsigned char *at;
	unsigned bytes;
	char code;
};

static int place_of_value(tarn_object *o, struct place *p)
{
	struct tarn__value_instance *v = tarn__object_instance(o, &tarn__type_value);

	if (tarn__unlikely(v == NULL))
		return tarn__negative(tarn_error_last()->code);
	if (tarn__unlikely(tarn__forked(o->base.client)))
		return tarn__fail_forked();
	p->at = (unsigned char *)&v->cell;
	p->code = (char)tarn__load_relaxed(&v->code);
	p->bytes = tarn__cell_bytes(p->code);
	return tarn__likely(p->bytes != 0) ? 0 : tarn__fail(-TARN_EPROTO, "The value is damaged.");
}

/* ---- one number ---- */

static int fail_kind(const struct place *p)
{
	return tarn__fail(-TARN_EKIND, "A number of kind '%c' is %s.", p->code,
			  tarn__cell_is_real(p->code) ? "no integer: use the functions for double"
						      : "an integer: use the functions for int64_t");
}
static int fail_range(const struct place *p, int64_t v)
{
	return tarn__fail(-ERANGE, "%lld is no number of kind '%c'.", (long long)v, p->code);
}

static int get(const struct place *p, int64_t *ret)
{
	if (tarn__unlikely(tarn__cell_is_real(p->code)))
		return fail_kind(p);
	*ret = tarn__cell_integer(p->code, tarn__cell_load(p->at, p->bytes));
	return 0;
}
static int set(const struct place *p, int64_t v)
{
	if (tarn__unlikely(tarn__cell_is_real(p->code)))
		return fail_kind(p);
	if (tarn__unlikely(!tarn__cell_fits(p->code, v)))
		return fail_range(p, v);
	tarn__cell_store(p->at, p->bytes, (uint64_t)v);
	return 0;
}
static int get_double(const struct place *p, double *ret)
{
	*ret = tarn__cell_real(p->code, tarn__cell_load(p->at, p->bytes));
	return 0;
}
static int set_double(const struct place *p, double v)
{
	if (tarn__unlikely(!tarn__cell_is_real(p->code)))
		return fail_kind(p);
	tarn__cell_store(p->at, p->bytes, tarn__cell_of_real(p->code, v));
	return 0;
}
static int add(const struct place *p, int64_t delta, int64_t *ret)
{
	uint64_t seen = tarn__cell_load(p->at, p->bytes);
	int64_t sum;

	if (tarn__unlikely(tarn__cell_is_real(p->code)))
		return fail_kind(p);
	do {
		/* Of the widest kinds it wraps, as atomics do. */
		sum = (int64_t)((uint64_t)tarn__cell_integer(p->code, seen) + (uint64_t)delta);
		if (!tarn__cell_fits(p->code, sum))
			return fail_range(p, sum);
	} while (!tarn__cell_swap(p->at, p->bytes, &seen, (uint64_t)sum));
	if (ret != NULL)
		*ret = sum;
	return 0;
}
static int add_double(const struct place *p, double delta, double *ret)
{
	uint64_t seen = tarn__cell_load(p->at, p->bytes), to;

	if (!tarn__cell_is_real(p->code))
		return fail_kind(p);
	do {
		to = tarn__cell_of_real(p->code, tarn__cell_real(p->code, seen) + delta);
	} while (!tarn__cell_swap(p->at, p->bytes, &seen, to));
	if (ret != NULL)
		*ret = tarn__cell_real(p->code, to);
	return 0;
}
static int cas(const struct place *p, int64_t expected, int64_t desired, int64_t *ret)
{
	if (tarn__unlikely(tarn__cell_is_real(p->code)))
		return fail_kind(p);
	if (!tarn__cell_fits(p->code, desired))
		return fail_range(p, desired);
	uint64_t seen = (uint64_t)expected;
	bool done = tarn__cell_fits(p->code, expected)
			    ? tarn__cell_swap(p->at, p->bytes, &seen, (uint64_t)desired)
			    : (seen = tarn__cell_load(p->at, p->bytes), false);

	if (ret != NULL)
		*ret = tarn__cell_integer(p->code, seen);
	return done;
}

/* ---- values ---- */

#define WITH_VALUE(object, expression)                       \
	({                                                   \
		struct place p_;                             \
		int r_ = place_of_value((object), &p_);      \
		tarn__likely(r_ == 0) ? (expression) : r_;   \
	})

int tarn_shared_new(tarn_client *client, char typecode, tarn_object **ret_value)
{
	return tarn_object_newf(client, tarn__type_value.name, ret_value, "Q",
				(uint64_t)(unsigned char)typecode);
}
int tarn_shared_typecode(tarn_object *value) { return WITH_VALUE(value, p_.code); }
int tarn_shared_get(tarn_object *value, int64_t *ret) { return WITH_VALUE(value, get(&p_, ret)); }
int tarn_shared_set(tarn_object *value, int64_t v) { return WITH_VALUE(value, set(&p_, v)); }
int tarn_shared_get_double(tarn_object *value, double *ret)
{
	return WITH_VALUE(value, get_double(&p_, ret));
}
int tarn_shared_set_double(tarn_object *value, double v)
{
	return WITH_VALUE(value, set_double(&p_, v));
}
int tarn_shared_add(tarn_object *value, int64_t delta, int64_t *ret_sum)
{
	return WITH_VALUE(value, add(&p_, delta, ret_sum));
}
int tarn_shared_add_double(tarn_object *value, double delta, double *ret_sum)
{
	return WITH_VALUE(value, add_double(&p_, delta, ret_sum));
}
int tarn_shared_cas(tarn_object *value, int64_t expected, int64_t desired, int64_t *ret_found)
{
	return WITH_VALUE(value, cas(&p_, expected, desired, ret_found));
}

/* ---- arrays ---- */

struct array {
	unsigned char *data;
	uint64_t length;
	unsigned bytes;
	char code;
};

/* What the instance says is a hint; DIR tells where the block is and how large. */
static int array_of(tarn_object *o, struct array *ret)
{
	const struct tarn__array_instance *a = tarn__object_instance(o, &tarn__type_array);
	struct tarn_client *c = o->base.client;
	struct tarn__dir_entry e;

	if (tarn__unlikely(a == NULL))
		return tarn__negative(tarn_error_last()->code);
	if (tarn__unlikely(tarn__forked(c)))
		return tarn__fail_forked();
	uint64_t id = tarn__load_relaxed(&a->block);

	ret->code = (char)tarn__load_relaxed(&a->code);
	ret->bytes = tarn__cell_bytes(ret->code);
	ret->length = tarn__load_relaxed(&a->length);
	if (tarn__unlikely(ret->bytes == 0 || tarn__id_index(id) >= c->dir_entries ||
			   !tarn__dir_read(&c->dir[tarn__id_index(id)], id, &e) ||
			   (e.state & (TARN__DIR_OBJECT | TARN__DIR_CHANNEL)) ||
			   e.offset > c->data_bytes || e.capacity > c->data_bytes - e.offset ||
			   ret->length > e.capacity / ret->bytes))
		return tarn__fail(-TARN_EPROTO, "The array is damaged.");
	ret->data = c->data + e.offset;
	tarn__show(ret->data, ret->length * ret->bytes);
	return 0;
}

int tarn_array_new(tarn_client *client, char typecode, size_t length, tarn_object **ret_array)
{
	size_t bytes = tarn__cell_bytes(typecode);
	tarn_block *block;

	if (bytes == 0)
		return tarn__fail(-EINVAL, "'%c' is no typecode: expected one of ?bBchHiIlLqQfd.", typecode);
	if (length > SIZE_MAX / bytes)
		return tarn__fail(-EINVAL, "An array of %zu numbers of %zu bytes is none.", length, bytes);
	int r = tarn_block_new(client, length != 0 ? length * bytes : 1, TARN_BLOCK_ZEROED, &block);
	if (r < 0)
		return r;
	r = tarn_object_newf(client, tarn__type_array.name, ret_array, "QQB",
			     (uint64_t)(unsigned char)typecode, (uint64_t)length, block);
	tarn_block_unref(block);
	return r;
}

int tarn_array_typecode(tarn_object *array)
{
	struct array a;
	int r = array_of(array, &a);

	return r < 0 ? r : a.code;
}

int tarn_array_len(tarn_object *array, uint64_t *ret_n)
{
	struct array a;
	int r = array_of(array, &a);

	if (r == 0)
		*ret_n = a.length;
	return r;
}

int tarn_array_data(tarn_object *array, void **ret_data)
{
	struct array a;
	int r = array_of(array, &a);

	if (r == 0)
		*ret_data = a.data;
	return r;
}

/* As Python: from the end if negative. */
static int place_in(tarn_object *o, int64_t index, struct place *p)
{
	struct array a;
	int r = array_of(o, &a);

	if (tarn__unlikely(r < 0))
		return r;
	uint64_t i = index < 0 ? a.length - (uint64_t)-index : (uint64_t)index;

	if (tarn__unlikely(i >= a.length))
		return tarn__fail(-ERANGE, "Index %lld of an array of %llu.", (long long)index,
				  (unsigned long long)a.length);
	*p = (struct place){ .at = a.data + i * a.bytes, .bytes = a.bytes, .code = a.code };
	return 0;
}

#define WITH_PLACE(object, index, expression)                     \
	({                                                        \
		struct place p_;                                  \
		int r_ = place_in((object), (index), &p_);        \
		tarn__likely(r_ == 0) ? (expression) : r_;        \
	})

int tarn_array_get(tarn_object *array, int64_t index, int64_t *ret)
{
	return WITH_PLACE(array, index, get(&p_, ret));
}
int tarn_array_set(tarn_object *array, int64_t index, int64_t v)
{
	return WITH_PLACE(array, index, set(&p_, v));
}
int tarn_array_get_double(tarn_object *array, int64_t index, double *ret)
{
	return WITH_PLACE(array, index, get_double(&p_, ret));
}
int tarn_array_set_double(tarn_object *array, int64_t index, double v)
{
	return WITH_PLACE(array, index, set_double(&p_, v));
}
int tarn_array_add(tarn_object *array, int64_t index, int64_t delta, int64_t *ret_sum)
{
	return WITH_PLACE(array, index, add(&p_, delta, ret_sum));
}

/* ---- slices ---- */

/* Python's slice.indices(): the first element and how many there are. */
static uint64_t resolve(uint64_t length, int64_t start, int64_t stop, int64_t step, int64_t *ret_first)
{
	const int64_t n = (int64_t)length, low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;

	start = start < 0 ? (start < -n ? low : start + n) : (start > high ? high : start);
	stop = stop < 0 ? (stop < -n ? low : stop + n) : (stop > high ? high : stop);
	start = start < low ? low : start;
	stop = stop < low ? low : stop;
	*ret_first = start;
	if (step > 0)
		return start < stop ? ((uint64_t)(stop - start) - 1) / (uint64_t)step + 1 : 0;
	return stop < start ? ((uint64_t)(start - stop) - 1) / (0 - (uint64_t)step) + 1 : 0;
}

static int slice(tarn_object *o, int64_t start, int64_t stop, int64_t step, void *items, size_t room,
		 bool write, size_t *ret_n)
{
	struct array a;
	int64_t first;
	int r = array_of(o, &a);

	if (r == 0 && step == 0)
		r = tarn__fail(-EINVAL, "A slice with step 0.");
	if (r < 0)
		return r;
	uint64_t n = resolve(a.length, start, stop, step, &first);

	if (write ? n != room : n > room)
		return tarn__fail(-EINVAL, "The slice has %llu numbers, %zu %s.", (unsigned long long)n, room,
				  write ? "were given" : "have room");
	for (uint64_t k = 0; k < n; k++) {
		unsigned char *in = a.data + (uint64_t)(first + (int64_t)k * step) * a.bytes;
		unsigned char *out = (unsigned char *)items + k * a.bytes;
		uint64_t bits = 0;

		if (write) {
			memcpy(&bits, out, a.bytes);
			tarn__cell_store(in, a.bytes, bits);
		} else {
			bits = tarn__cell_load(in, a.bytes);
			memcpy(out, &bits, a.bytes);
		}
	}
	if (ret_n != NULL)
		*ret_n = n;
	return 0;
}

int tarn_array_read(tarn_object *array, int64_t start, int64_t stop, int64_t step, void *items,
		    size_t room, size_t *ret_n)
{
	return slice(array, start, stop, step, items, room, false, ret_n);
}

int tarn_array_write(tarn_object *array, int64_t start, int64_t stop, int64_t step, const void *items,
		     size_t n)
{
	return slice(array, start, stop, step, (void *)(uintptr_t)items, n, true, NULL);
}
