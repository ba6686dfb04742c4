/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers in shared memory: values and arrays.
 *
 * Both are objects (tarn/object.h): they travel, are named and nested as all others. What they hold
 * lies in the arena and is read and written there by whoever has a proxy, each number as a whole
 * and without the server. Kinds are named by the letters of Python's array and struct:
 *
 *	?  bool     b B  8 bits     h H  16     i I  32     l L q Q  64     c  a byte
 *	f  float    d    double                (capitals: unsigned)
 *
 * Integers are told and given as int64_t; of L and Q it is the same 64 bits. A number that the kind
 * does not have is -ERANGE, and nothing is changed. Integer functions on a real number, and
 * setting an integer by a double, are -TARN_EKIND. Any thread.
 *
 * There is no lock in them: take a tarn.Lock (tarn/sync.h) for more than one number at a time.
 */
#ifndef TARN_SHARED_H
#define TARN_SHARED_H

#include "object.h"

TARN_BEGIN

/* ---- one number ---- */

/* Makes one, 0. -TARN_EREMOTE no such kind; else as tarn_object_new(). */
TARN_EXPORT int tarn_shared_new(tarn_client *client, char typecode, tarn_object **ret_value);
TARN_EXPORT int tarn_shared_typecode(tarn_object *value);
TARN_EXPORT int tarn_shared_get(tarn_object *value, int64_t *ret);
TARN_EXPORT int tarn_shared_set(tarn_object *value, int64_t v);
TARN_EXPORT int tarn_shared_get_double(tarn_object *value, double *ret); /* of every kind */
TARN_EXPORT int tarn_shared_set_double(tarn_object *value, double v);
/* Adds in one step, and says what it is then (NULL: not wanted). 64-bit kinds wrap. */
TARN_EXPORT int tarn_shared_add(tarn_object *value, int64_t delta, int64_t *ret_sum);
TARN_EXPORT int tarn_shared_add_double(tarn_object *value, double delta, double *ret_sum);
/* Sets it to @desired if it is @expected: 1. Else 0, with what it is in @ret_found (may be NULL). */
TARN_EXPORT int tarn_shared_cas(tarn_object *value, int64_t expected, int64_t desired,
				int64_t *ret_found);

/* ---- many ---- */

/* Makes an array of @length zeros, in a block of its own. -EINVAL no such kind; as tarn_block_new(). */
TARN_EXPORT int tarn_array_new(tarn_client *client, char typecode, size_t length,
			       tarn_object **ret_array);
TARN_EXPORT int tarn_array_typecode(tarn_object *array);
TARN_EXPORT int tarn_array_len(tarn_object *array, uint64_t *ret_n);
/* Where the numbers are, without a copy: valid as long as the proxy. */
TARN_EXPORT int tarn_array_data(tarn_object *array, void **ret_data);
/* One of them; a negative index counts from the end. -ERANGE there is none. */
TARN_EXPORT int tarn_array_get(tarn_object *array, int64_t index, int64_t *ret);
TARN_EXPORT int tarn_array_set(tarn_object *array, int64_t index, int64_t v);
TARN_EXPORT int tarn_array_get_double(tarn_object *array, int64_t index, double *ret);
TARN_EXPORT int tarn_array_set_double(tarn_object *array, int64_t index, double v);
TARN_EXPORT int tarn_array_add(tarn_object *array, int64_t index, int64_t delta, int64_t *ret_sum);

#define TARN_SLICE_END INT64_MAX /* as stop: to the end; as start or stop with a negative step: from
				  * the last, INT64_MIN: to before the first */
/*
 * A slice as Python's array[start:stop:step]: up to @room numbers, as they lie in memory, to @items;
 * @ret_n (may be NULL) says how many. Each is read as a whole; all of them are not. -EINVAL there
 * are more.
 */
TARN_EXPORT int tarn_array_read(tarn_object *array, int64_t start, int64_t stop, int64_t step,
				void *items, size_t room, size_t *ret_n);
/* The reverse; @n must be as long as the slice: -EINVAL. */
TARN_EXPORT int tarn_array_write(tarn_object *array, int64_t start, int64_t stop, int64_t step,
				 const void *items, size_t n);

TARN_END

#endif
