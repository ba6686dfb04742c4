/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.List, the client's side. */
#include "container.h"
#include "inplace.h"

#define LIST "tarn.List"

int tarn_list_new(tarn_client *client, tarn_object **ret_list)
{
	return tarn_object_new(client, LIST, NULL, ret_list);
}

int tarn_list_newf(tarn_client *client, tarn_object **ret_list, const char *values, ...)
{
	va_list args;

	va_start(args, values);
	int r = tarn__container_new_v(client, LIST, ret_list, values, args);
	va_end(args);
	return r;
}

int tarn_list_len(tarn_object *list, uint64_t *ret_n)
{
	return tarn__inplace_len(list, &tarn__type_list, ret_n) == TARN__INPLACE_DONE
		       ? 0 : tarn__container_number(list, &tarn__type_list, "len", NULL, ret_n);
}

/* ---- one element ---- */

int tarn_list_get(tarn_object *list, int64_t index, tarn_parcel *ret_value)
{
	tarn_builder b;

	if (tarn__likely(tarn__inplace_at(list, index, ret_value) == TARN__INPLACE_DONE))
		return 0;
	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	return tarn__container_call(list, &tarn__type_list, "get", &b, ret_value);
}

int tarn_list_getf(tarn_object *list, int64_t index, const char *format, ...)
{
	tarn_parcel p;
	va_list args;
	int r = tarn_list_get(list, index, &p);

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_take_v(&p, format, args);
	va_end(args);
	return r;
}

int tarn_list_get_object(tarn_object *list, int64_t index, tarn_object **ret_object)
{
	tarn_parcel p;
	int r = tarn_list_get(list, index, &p);

	return r < 0 ? r : tarn__parcel_take_object(&p, ret_object);
}

int tarn_list_get_ref(tarn_object *list, int64_t index, tarn_object **ret_object)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	return tarn__container_object(list, &tarn__type_list, "get_ref", &b, ret_object);
}

static int call_at(tarn_object *list, const char *method, int64_t index, const tarn_builder *value)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	tarn__put_one(&b, value);
	return tarn__container_call(list, &tarn__type_list, method, &b, NULL);
}

static int call_at_v(tarn_object *list, const char *method, int64_t index, const char *value,
		     va_list args)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	tarn__put_one_v(&b, value, args);
	return tarn__container_call(list, &tarn__type_list, method, &b, NULL);
}

int tarn_list_set(tarn_object *list, int64_t index, const tarn_builder *value)
{
	return call_at(list, "set", index, value);
}

int tarn_list_setf(tarn_object *list, int64_t index, const char *value, ...)
{
	va_list args;

	va_start(args, value);
	int r = call_at_v(list, "set", index, value, args);
	va_end(args);
	return r;
}

int tarn_list_insert(tarn_object *list, int64_t index, const tarn_builder *value)
{
	return call_at(list, "insert", index, value);
}

int tarn_list_insertf(tarn_object *list, int64_t index, const char *value, ...)
{
	va_list args;

	va_start(args, value);
	int r = call_at_v(list, "insert", index, value, args);
	va_end(args);
	return r;
}

int tarn_list_del(tarn_object *list, int64_t index)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	return tarn__container_call(list, &tarn__type_list, "del", &b, NULL);
}

int tarn_list_pop(tarn_object *list, int64_t index, tarn_parcel *ret_value)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, index);
	return tarn__container_call(list, &tarn__type_list, "pop", &b, ret_value);
}

int tarn_list_popf(tarn_object *list, int64_t index, const char *format, ...)
{
	tarn_parcel p;
	va_list args;
	int r = tarn_list_pop(list, index, &p);

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_take_v(&p, format, args);
	va_end(args);
	return r;
}

/* ---- by value ---- */

/* @b: an initialised builder with one value. */
static int call_value(tarn_object *list, const char *method, const tarn_builder *value,
		      tarn_parcel *ret)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_one(&b, value);
	return tarn__container_call(list, &tarn__type_list, method, &b, ret);
}

int tarn_list_append(tarn_object *list, const tarn_builder *value)
{
	return call_value(list, "append", value, NULL);
}

int tarn_list_appendf(tarn_object *list, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, value);
	tarn__put_one_v(&b, value, args);
	va_end(args);
	return tarn__container_call(list, &tarn__type_list, "append", &b, NULL);
}

int tarn_list_extend(tarn_object *list, const tarn_builder *values)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_list(&b, values);
	return tarn__container_call(list, &tarn__type_list, "extend", &b, NULL);
}

int tarn_list_extendf(tarn_object *list, const char *values, ...)
{
	tarn_builder b;
	va_list args;
	int r;

	tarn_builder_init(&b);
	va_start(args, values);
	tarn__put_v(&b, values, args);
	va_end(args);
	r = tarn_list_extend(list, &b);
	tarn_builder_fini(&b);
	return r;
}

int tarn_list_extend_from(tarn_object *list, tarn_object *other)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_object(&b, other);
	return tarn__container_call(list, &tarn__type_list, "extend", &b, NULL);
}

int tarn_list_remove(tarn_object *list, const tarn_builder *value)
{
	return call_value(list, "remove", value, NULL);
}

int tarn_list_removef(tarn_object *list, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, value);
	tarn__put_one_v(&b, value, args);
	va_end(args);
	return tarn__container_call(list, &tarn__type_list, "remove", &b, NULL);
}

int tarn_list_index(tarn_object *list, const tarn_builder *value, int64_t start, int64_t stop,
		    uint64_t *ret_index)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_one(&b, value);
	tarn_put_int(&b, start);
	tarn_put_int(&b, stop);
	return tarn__container_number(list, &tarn__type_list, "index", &b, ret_index);
}

int tarn_list_indexf(tarn_object *list, uint64_t *ret_index, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, value);
	tarn__put_one_v(&b, value, args);
	va_end(args);
	return tarn__container_number(list, &tarn__type_list, "index", &b, ret_index);
}

int tarn_list_count(tarn_object *list, const tarn_builder *value, uint64_t *ret_n)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_one(&b, value);
	return tarn__container_number(list, &tarn__type_list, "count", &b, ret_n);
}

int tarn_list_countf(tarn_object *list, uint64_t *ret_n, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, value);
	tarn__put_one_v(&b, value, args);
	va_end(args);
	return tarn__container_number(list, &tarn__type_list, "count", &b, ret_n);
}

int tarn_list_contains(tarn_object *list, const tarn_builder *value, bool *ret_found)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_one(&b, value);
	return tarn__container_bool(list, &tarn__type_list, "contains", &b, ret_found);
}

int tarn_list_containsf(tarn_object *list, bool *ret_found, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, value);
	tarn__put_one_v(&b, value, args);
	va_end(args);
	return tarn__container_bool(list, &tarn__type_list, "contains", &b, ret_found);
}

/* ---- all of it ---- */

int tarn_list_clear(tarn_object *list)
{
	return tarn__container_call(list, &tarn__type_list, "clear", NULL, NULL);
}

int tarn_list_reverse(tarn_object *list)
{
	return tarn__container_call(list, &tarn__type_list, "reverse", NULL, NULL);
}

static int sort_here(tarn_object *list, bool reversed)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_bool(&b, reversed);
	return tarn__container_call(list, &tarn__type_list, "sort", &b, NULL);
}

#define SORT_COPY_LEAST 256u /* shorter ones are sorted where they are */
#define SORT_TRIES 3u

/* 1: sorted, 0: it was changed meanwhile, or has references. */
static int sort_copy(tarn_object *list, bool reversed)
{
	tarn_object *copy;
	uint64_t version;
	tarn_parcel p;
	bool swapped = false;
	tarn_builder b;
	int r = tarn__container_call(list, &tarn__type_list, "plain_copy", NULL, &p);

	if (r == 0)
		r = tarn_parcel_get(&p, "O?v", &copy, &(tarn_value){ .head = 0 });
	if (r < 0)
		return r;
	if (copy == NULL) {
		tarn_parcel_fini(&p);
		return 0;
	}
	r = tarn_value_uint(tarn_parcel_at(&p, 1), &version);
	if (r == 0)
		r = sort_here(copy, reversed);
	if (r == 0) {
		tarn_builder_init(&b);
		tarn_put(&b, "OQ", copy, version);
		r = tarn__container_bool(list, &tarn__type_list, "swap", &b, &swapped);
	}
	tarn_parcel_fini(&p);
	return r < 0 ? r : swapped;
}

int tarn_list_sort(tarn_object *list, bool reversed)
{
	uint64_t n;
	int r = tarn_list_len(list, &n);

	for (unsigned k = 0; r == 0 && n >= SORT_COPY_LEAST && k < SORT_TRIES; k++) {
		r = sort_copy(list, reversed);
		if (r == 1)
			return 0;
	}
	return r < 0 ? r : sort_here(list, reversed);
}

/* ---- slices ---- */

static void put_bound(tarn_builder *b, int64_t bound)
{
	if (bound == TARN_OMIT)
		tarn_put_nil(b);
	else
		tarn_put_int(b, bound);
}

static void put_slice(tarn_builder *b, int64_t start, int64_t stop, int64_t step)
{
	tarn_builder_init(b);
	put_bound(b, start);
	put_bound(b, stop);
	put_bound(b, step);
}

int tarn_list_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step,
		    tarn_parcel *ret_values)
{
	tarn_builder b;

	put_slice(&b, start, stop, step);
	return tarn__container_call(list, &tarn__type_list, "get_slice", &b, ret_values);
}

int tarn_list_set_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step,
			const tarn_builder *values)
{
	tarn_builder b;

	put_slice(&b, start, stop, step);
	tarn__put_list(&b, values);
	return tarn__container_call(list, &tarn__type_list, "set_slice", &b, NULL);
}

int tarn_list_del_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step)
{
	tarn_builder b;

	put_slice(&b, start, stop, step);
	return tarn__container_call(list, &tarn__type_list, "del_slice", &b, NULL);
}

/* ---- others from it ---- */

int tarn_list_copy(tarn_object *list, tarn_object **ret_list)
{
	return tarn__container_object(list, &tarn__type_list, "copy", NULL, ret_list);
}

int tarn_list_concat(tarn_object *list, tarn_object *other, tarn_object **ret_list)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_object(&b, other);
	return tarn__container_object(list, &tarn__type_list, "concat", &b, ret_list);
}

int tarn_list_repeat(tarn_object *list, int64_t times, tarn_object **ret_list)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, times);
	return tarn__container_object(list, &tarn__type_list, "repeat", &b, ret_list);
}

int tarn_list_repeat_in_place(tarn_object *list, int64_t times)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, times);
	return tarn__container_call(list, &tarn__type_list, "repeat_in_place", &b, NULL);
}

int tarn_list_iter(tarn_object *list, tarn_object **ret_iterator)
{
	return tarn__container_object(list, &tarn__type_list, "iter", NULL, ret_iterator);
}
