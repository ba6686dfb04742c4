/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists, dicts, namespaces and iterators that processes share.
 *
 * They are ordinary objects (tarn/object.h) of types that every server has: "tarn.List",
 * "tarn.Dict", "tarn.Namespace", "tarn.Iterator". Their contents are any values, at any depth, and
 * references to blocks, channels and objects, other containers among them. What a container
 * refers to lives as long as it is in there; containers that contain themselves are collected.
 *
 *	tarn_object *fruits, *prices;
 *	int64_t cents;
 *
 *	tarn_list_newf(client, &fruits, "[ss]", "apple", "pear");
 *	tarn_list_appendf(fruits, "s", "quince");
 *	tarn_dict_new(client, &prices);
 *	tarn_dict_setf(prices, "si", "apple", 35);
 *	tarn_dict_setf(prices, "sO", "all of them", fruits);
 *	tarn_dict_getf(prices, "apple", "q", &cents);
 *
 * Behaviour and sentences are Python's. A function that Python would end with an exception
 * returns -TARN_EREMOTE, and tarn_error_fault() is an IndexError, KeyError, ValueError or
 * TypeError (tarn_fault_is()). A container is changed as a whole or not at all, one change at a
 * time, and who reads it sees it before or after a change. Plain values are read in place, without
 * asking the server; all else is a call, and can fail as calls do (-TARN_ESRVDOWN ...).
 * Functions wait without limit for the server; who needs limits calls the methods
 * (tarn_call(list, "append", ...)), which have the same names.
 *
 * Values are given by a builder that has exactly one (-EINVAL) or, with names that end in "f", as
 * tarn_put() takes them; they come back in a parcel, which the caller ends, or, with "f", into
 * variables as tarn_parcel_get() fills them (numbers only: what points into the parcel, text or
 * handles, cannot outlive it: -EINVAL). One value takes part in a message, so it has the limits of
 * messages (TARN_REFS_MAX ...), less one level of depth; the container has none of them.
 *
 * A value that is itself a plain list or map is a value, not a container: what one gets is a
 * copy, and changing that changes nothing. Put a tarn.List or tarn.Dict there to share it, or make one
 * of what is there, at any depth, by the functions with "get_ref":
 *
 *	tarn_dict_setf(d, "s{s:i}", "a", "b", 0);
 *	tarn_dict_get_ref(d, "a", &a);
 *	tarn_dict_setf(a, "si", "b", 1);          d["a"]["b"] = 1, for everybody
 *
 * Threads: any. An object of another type: -TARN_EKIND, with both types in the sentence (functions on dicts are not
 * for namespaces, nor for one's own types that have such methods: tarn_call() is). A reference to an object of
 * another server: -EXDEV.
 */
#ifndef TARN_CONTAINER_H
#define TARN_CONTAINER_H

#include <string.h>

#include "object.h"
#include "type.h"

TARN_BEGIN

/* ---- lists ---- */

/* The caller owns the reference in @ret_list. */
TARN_EXPORT int tarn_list_new(tarn_client *client, tarn_object **ret_list);
/* With the elements of a list value: tarn_list_newf(client, &l, "[iii]", 1, 2, 3). */
TARN_EXPORT int tarn_list_newf(tarn_client *client, tarn_object **ret_list, const char *values, ...);

TARN_EXPORT int tarn_list_len(tarn_object *list, uint64_t *ret_n);

/* Negative indices count from the end, as everywhere here. IndexError. Time to find an element does
 * not depend on the length. */
TARN_EXPORT int tarn_list_get(tarn_object *list, int64_t index, tarn_parcel *ret_value);
TARN_EXPORT int tarn_list_getf(tarn_object *list, int64_t index, const char *format, ...);
/* A handle of one's own on an object; -TARN_EKIND it is something else. */
TARN_EXPORT int tarn_list_get_object(tarn_object *list, int64_t index, tarn_object **ret_object);
/* The same of a plain list or map, which becomes a tarn.List or tarn.Dict in its place: once, whoever asks
 * first. TypeError: it is neither, and no object. */
TARN_EXPORT int tarn_list_get_ref(tarn_object *list, int64_t index, tarn_object **ret_object);
TARN_EXPORT int tarn_list_set(tarn_object *list, int64_t index, const tarn_builder *value);
TARN_EXPORT int tarn_list_setf(tarn_object *list, int64_t index, const char *value, ...);
TARN_EXPORT int tarn_list_del(tarn_object *list, int64_t index);

TARN_EXPORT int tarn_list_append(tarn_object *list, const tarn_builder *value);
TARN_EXPORT int tarn_list_appendf(tarn_object *list, const char *value, ...);
/* Each top-level value of @values becomes an element. */
TARN_EXPORT int tarn_list_extend(tarn_object *list, const tarn_builder *values);
TARN_EXPORT int tarn_list_extendf(tarn_object *list, const char *values, ...);
/* All elements that another list has (or this one: they are there twice then). */
TARN_EXPORT int tarn_list_extend_from(tarn_object *list, tarn_object *other);
/* Before the element at @index; beyond the ends: there. */
TARN_EXPORT int tarn_list_insert(tarn_object *list, int64_t index, const tarn_builder *value);
TARN_EXPORT int tarn_list_insertf(tarn_object *list, int64_t index, const char *value, ...);
/* Takes one out; -1 the last one. @ret_value may be NULL. IndexError. */
TARN_EXPORT int tarn_list_pop(tarn_object *list, int64_t index, tarn_parcel *ret_value);
TARN_EXPORT int tarn_list_popf(tarn_object *list, int64_t index, const char *format, ...);

/* Numbers are equal by their value, true is not 1, references are equal if they lead to the same.
 * remove and index: ValueError. */
TARN_EXPORT int tarn_list_remove(tarn_object *list, const tarn_builder *value);
TARN_EXPORT int tarn_list_removef(tarn_object *list, const char *value, ...);
/* The first from @start on and before @stop (0, INT64_MAX: anywhere). */
TARN_EXPORT int tarn_list_index(tarn_object *list, const tarn_builder *value, int64_t start,
				int64_t stop, uint64_t *ret_index);
TARN_EXPORT int tarn_list_indexf(tarn_object *list, uint64_t *ret_index, const char *value, ...);
TARN_EXPORT int tarn_list_count(tarn_object *list, const tarn_builder *value, uint64_t *ret_n);
TARN_EXPORT int tarn_list_countf(tarn_object *list, uint64_t *ret_n, const char *value, ...);
TARN_EXPORT int tarn_list_contains(tarn_object *list, const tarn_builder *value, bool *ret_found);
TARN_EXPORT int tarn_list_containsf(tarn_object *list, bool *ret_found, const char *value, ...);

TARN_EXPORT int tarn_list_clear(tarn_object *list);
TARN_EXPORT int tarn_list_reverse(tarn_object *list);
/*
 * Sorts; stable. Numbers among numbers, strings and bytes by their bytes, booleans, and lists of
 * such: TypeError of any other mixture. A list without references is sorted as a copy, so that
 * others go on meanwhile; if they change it again and again, they have to wait in the end.
 */
TARN_EXPORT int tarn_list_sort(tarn_object *list, bool reversed);

/* Bounds of a slice that are left out, as in list[::2]. */
#define TARN_OMIT INT64_MIN
/* list[start:stop:step], a list value. At most TARN_REFS_MAX different references: -E2BIG. */
TARN_EXPORT int tarn_list_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step,
				tarn_parcel *ret_values);
/* Sets a slice to the top-level values of @values. ValueError: as many as there are if step is not
 * 1. */
TARN_EXPORT int tarn_list_set_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step,
				    const tarn_builder *values);
TARN_EXPORT int tarn_list_del_slice(tarn_object *list, int64_t start, int64_t stop, int64_t step);

/* New lists: the same elements; list + other; list * times. Copying one without references takes
 * the same time whatever its length. */
TARN_EXPORT int tarn_list_copy(tarn_object *list, tarn_object **ret_list);
TARN_EXPORT int tarn_list_concat(tarn_object *list, tarn_object *other, tarn_object **ret_list);
TARN_EXPORT int tarn_list_repeat(tarn_object *list, int64_t times, tarn_object **ret_list);
TARN_EXPORT int tarn_list_repeat_in_place(tarn_object *list, int64_t times);

/* ---- keys of dicts ---- */

/*
 * nil, a bool, a number, a string or bytes. Numbers that are equal are one key, as in Python (1, 1.0);
 * unlike there, true is a key of its own (and in C an int: say tarn_key_bool(true)). TARN_KEY() makes one of what it is given, and the
 * functions below take either: tarn_dict_get(d, "name", &p), tarn_dict_get(d, 5, &p). In C++ there are
 * only those whose names end in _key: tarn_dict_get_key(d, tarn_key_string("name"), &p).
 */
typedef struct tarn_key {
	enum tarn_kind kind;
	size_t bytes;
	union {
		int64_t i;
		uint64_t u;
		double d;
		const void *data; /* the caller's */
	};
} tarn_key;

static inline tarn_key tarn_key_string(const char *text)
{
	tarn_key key;

	key.kind = text != NULL ? TARN_KIND_STRING : TARN_KIND_NIL;
	key.bytes = text != NULL ? strlen(text) : 0;
	key.data = text;
	return key;
}
static inline tarn_key tarn_key_data(enum tarn_kind string_or_bytes, const void *data, size_t bytes)
{
	tarn_key key;

	key.kind = string_or_bytes;
	key.bytes = bytes;
	key.data = data;
	return key;
}
static inline tarn_key tarn_key_int(int64_t i)
{
	tarn_key key;

	key.kind = TARN_KIND_INT;
	key.bytes = 0;
	key.i = i;
	return key;
}
static inline tarn_key tarn_key_uint(uint64_t u)
{
	tarn_key key;

	key.kind = TARN_KIND_UINT;
	key.bytes = 0;
	key.u = u;
	return key;
}
static inline tarn_key tarn_key_double(double d)
{
	tarn_key key;

	key.kind = TARN_KIND_DOUBLE;
	key.bytes = 0;
	key.d = d;
	return key;
}
static inline tarn_key tarn_key_bool(bool b)
{
	tarn_key key;

	key.kind = TARN_KIND_BOOL;
	key.bytes = 0;
	key.u = b;
	return key;
}
static inline tarn_key tarn_key_nil(void)
{
	return tarn_key_string(NULL);
}
static inline tarn_key tarn_key_same(tarn_key key)
{
	return key;
}

#ifndef __cplusplus
#define TARN_KEY(key)                                                               \
	_Generic((key), char *: tarn_key_string, const char *: tarn_key_string,     \
		 bool: tarn_key_bool, signed char: tarn_key_int, short: tarn_key_int, \
		 int: tarn_key_int, long: tarn_key_int, long long: tarn_key_int,    \
		 unsigned char: tarn_key_uint, unsigned short: tarn_key_uint,       \
		 unsigned: tarn_key_uint, unsigned long: tarn_key_uint,             \
		 unsigned long long: tarn_key_uint, float: tarn_key_double,         \
		 double: tarn_key_double, tarn_key: tarn_key_same)(key)
#define tarn_dict_get(dict, key, ret_value) tarn_dict_get_key((dict), TARN_KEY(key), (ret_value))
#define tarn_dict_getf(dict, key, ...) tarn_dict_getf_key((dict), TARN_KEY(key), __VA_ARGS__)
#define tarn_dict_get_object(dict, key, ret) tarn_dict_get_object_key((dict), TARN_KEY(key), (ret))
#define tarn_dict_get_ref(dict, key, ret) tarn_dict_get_ref_key((dict), TARN_KEY(key), (ret))
#define tarn_dict_find(dict, key, ret_value) tarn_dict_find_key((dict), TARN_KEY(key), (ret_value))
#define tarn_dict_contains(dict, key, ret) tarn_dict_contains_key((dict), TARN_KEY(key), (ret))
#define tarn_dict_set(dict, key, value) tarn_dict_set_key((dict), TARN_KEY(key), (value))
#define tarn_dict_del(dict, key) tarn_dict_del_key((dict), TARN_KEY(key))
#define tarn_dict_pop(dict, key, ret_value) tarn_dict_pop_key((dict), TARN_KEY(key), (ret_value))
#define tarn_dict_setdefault(dict, key, value, ret_value) \
	tarn_dict_setdefault_key((dict), TARN_KEY(key), (value), (ret_value))
#endif

/* ---- dicts ---- */

TARN_EXPORT int tarn_dict_new(tarn_client *client, tarn_object **ret_dict);
/* With the entries of a map value or a list of pairs: "{s:i}", "a", 1. */
TARN_EXPORT int tarn_dict_newf(tarn_client *client, tarn_object **ret_dict, const char *values, ...);
/* One with each element of a list as a key; @value (NULL: nil) for all. */
TARN_EXPORT int tarn_dict_fromkeys(tarn_object *list, const tarn_builder *value,
				   tarn_object **ret_dict);

TARN_EXPORT int tarn_dict_len(tarn_object *dict, uint64_t *ret_n);

/* dict[key]. KeyError. */
TARN_EXPORT int tarn_dict_get_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value);
TARN_EXPORT int tarn_dict_getf_key(tarn_object *dict, tarn_key key, const char *format, ...);
TARN_EXPORT int tarn_dict_get_object_key(tarn_object *dict, tarn_key key, tarn_object **ret_object);
TARN_EXPORT int tarn_dict_get_ref_key(tarn_object *dict, tarn_key key, tarn_object **ret_object);
/* 1: found (@ret_value, which may be NULL, is to be ended), 0: it is not there. */
TARN_EXPORT int tarn_dict_find_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value);
TARN_EXPORT int tarn_dict_contains_key(tarn_object *dict, tarn_key key, bool *ret_found);
TARN_EXPORT int tarn_dict_set_key(tarn_object *dict, tarn_key key, const tarn_builder *value);
/* Key and value: tarn_dict_setf(d, "si", "name", 3). */
TARN_EXPORT int tarn_dict_setf(tarn_object *dict, const char *key_and_value, ...);
TARN_EXPORT int tarn_dict_del_key(tarn_object *dict, tarn_key key); /* KeyError */
/* Takes one out. KeyError. @ret_value may be NULL. */
TARN_EXPORT int tarn_dict_pop_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value);
/* The last entry: two values, key and value. KeyError if there is none. */
TARN_EXPORT int tarn_dict_popitem(tarn_object *dict, tarn_parcel *ret_item);
/* dict[key], which is set to @value (NULL: nil) before if it is not there. */
TARN_EXPORT int tarn_dict_setdefault_key(tarn_object *dict, tarn_key key, const tarn_builder *value,
					 tarn_parcel *ret_value);
/* With the entries of a map or a list of pairs, which is @values' only value. */
TARN_EXPORT int tarn_dict_update(tarn_object *dict, const tarn_builder *values);
TARN_EXPORT int tarn_dict_updatef(tarn_object *dict, const char *values, ...);
TARN_EXPORT int tarn_dict_update_from(tarn_object *dict, tarn_object *other); /* dict |= other */
TARN_EXPORT int tarn_dict_clear(tarn_object *dict);

/* New ones: the same; dict | other. */
TARN_EXPORT int tarn_dict_copy(tarn_object *dict, tarn_object **ret_dict);
TARN_EXPORT int tarn_dict_merged(tarn_object *dict, tarn_object *other, tarn_object **ret_dict);

/* A list value of all, in the order of insertion; of items a list of pairs. With more than
 * TARN_REFS_MAX different references: -E2BIG. Large ones are better iterated over. */
TARN_EXPORT int tarn_dict_keys(tarn_object *dict, tarn_parcel *ret_list);
TARN_EXPORT int tarn_dict_values(tarn_object *dict, tarn_parcel *ret_list);
TARN_EXPORT int tarn_dict_items(tarn_object *dict, tarn_parcel *ret_list);

/* ---- namespaces ---- */

/* Names are strings. Those that begin with "_" are local in Python; here there is no local
 * place, and they are refused: -EINVAL. A name that is not there: -ENOENT. */
TARN_EXPORT int tarn_ns_new(tarn_client *client, tarn_object **ret_ns);
TARN_EXPORT int tarn_ns_newf(tarn_client *client, tarn_object **ret_ns, const char *values, ...);
TARN_EXPORT int tarn_ns_get(tarn_object *ns, const char *name, tarn_parcel *ret_value);
TARN_EXPORT int tarn_ns_getf(tarn_object *ns, const char *name, const char *format, ...);
TARN_EXPORT int tarn_ns_get_object(tarn_object *ns, const char *name, tarn_object **ret_object);
TARN_EXPORT int tarn_ns_get_ref(tarn_object *ns, const char *name, tarn_object **ret_object);
TARN_EXPORT int tarn_ns_set(tarn_object *ns, const char *name, const tarn_builder *value);
TARN_EXPORT int tarn_ns_setf(tarn_object *ns, const char *name, const char *value, ...);
TARN_EXPORT int tarn_ns_del(tarn_object *ns, const char *name);
/* "Namespace(x=1, y=2)", sorted by name. As snprintf(), or negative. */
TARN_EXPORT int tarn_ns_format(tarn_object *ns, char *text, size_t bytes);

/* ---- iterating ---- */

enum tarn_iterate { TARN_ITERATE_KEYS, TARN_ITERATE_VALUES, TARN_ITERATE_ITEMS };

/*
 * Iterators are objects, too: any process can go on with one. They give what was there when they
 * were made, whatever happens to the container meanwhile. The caller owns the reference.
 */
TARN_EXPORT int tarn_list_iter(tarn_object *list, tarn_object **ret_iterator);
TARN_EXPORT int tarn_dict_iter(tarn_object *dict, enum tarn_iterate what, tarn_object **ret_iterator);
/* The next one: of items two values. -TARN_EOF: there are no more. */
TARN_EXPORT int tarn_iter_next(tarn_object *iterator, tarn_parcel *ret_value);
TARN_EXPORT int tarn_iter_nextf(tarn_object *iterator, const char *format, ...);
/* Up to @n at a time, and at least one: a list value, of items one of pairs. -TARN_EOF. */
TARN_EXPORT int tarn_iter_next_n(tarn_object *iterator, uint64_t n, tarn_parcel *ret_list);
/* Ends it before its end and lets go what it holds. */
TARN_EXPORT int tarn_iter_close(tarn_object *iterator);

/* ---- in methods of one's own types ---- */

/*
 * Make containers in the server; the handle belongs to the method, as tarn_managed()'s. @values
 * (NULL: none) as for the functions with "newf": one list, or one map.
 */
TARN_EXPORT int tarn_managed_list(tarn_context *ctx, const tarn_builder *values,
				  tarn_object **ret_list);
TARN_EXPORT int tarn_managed_dict(tarn_context *ctx, const tarn_builder *values,
				  tarn_object **ret_dict);
TARN_EXPORT int tarn_managed_namespace(tarn_context *ctx, const tarn_builder *values,
				       tarn_object **ret_ns);
/* An iterator over the elements of a list value. */
TARN_EXPORT int tarn_managed_iterator(tarn_context *ctx, const tarn_builder *values,
				      tarn_object **ret_iterator);

TARN_END

#endif
