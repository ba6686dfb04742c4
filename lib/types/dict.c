/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Dict, the client's side. */
#include "container.h"
#include "inplace.h"

#include "lib/error.h"

#define DICT "tarn.Dict"

int tarn_dict_new(tarn_client *client, tarn_object **ret_dict)
{
	return tarn_object_new(client, DICT, NULL, ret_dict);
}

int tarn_dict_newf(tarn_client *client, tarn_object **ret_dict, const char *values, ...)
{
	va_list args;

	va_start(args, values);
	int r = tarn__container_new_v(client, DICT, ret_dict, values, args);
	va_end(args);
	return r;
}

int tarn_dict_len(tarn_object *dict, uint64_t *ret_n)
{
	return tarn__inplace_len(dict, &tarn__type_dict, ret_n) == TARN__INPLACE_DONE
		       ? 0 : tarn__container_number(dict, &tarn__type_dict, "len", NULL, ret_n);
}

/* ---- one entry ---- */

static void put_key(tarn_builder *b, tarn_key key)
{
	tarn_builder_init(b);
	tarn__put_key(b, key);
}

int tarn_dict_get_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value)
{
	tarn_builder b;

	if (tarn__likely(tarn__inplace_key(dict, &tarn__type_dict, key, ret_value) == TARN__INPLACE_DONE))
		return 0;
	put_key(&b, key);
	return tarn__container_call(dict, &tarn__type_dict, "get", &b, ret_value);
}

int tarn_dict_getf_key(tarn_object *dict, tarn_key key, const char *format, ...)
{
	tarn_parcel p;
	va_list args;
	int r = tarn_dict_get_key(dict, key, &p);

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_take_v(&p, format, args);
	va_end(args);
	return r;
}

int tarn_dict_get_object_key(tarn_object *dict, tarn_key key, tarn_object **ret_object)
{
	tarn_parcel p;
	int r = tarn_dict_get_key(dict, key, &p);

	return r < 0 ? r : tarn__parcel_take_object(&p, ret_object);
}

int tarn_dict_get_ref_key(tarn_object *dict, tarn_key key, tarn_object **ret_object)
{
	tarn_builder b;

	put_key(&b, key);
	return tarn__container_object(dict, &tarn__type_dict, "get_ref", &b, ret_object);
}

/* The second value of @from becomes all of @ret; ends @from. */
static int keep_second(tarn_parcel *from, tarn_parcel *ret)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	r = tarn_put_value(&b, tarn_parcel_at(from, 1));
	if (r == 0)
		r = tarn_parcel_from(&b, ret);
	tarn_builder_fini(&b);
	tarn_parcel_fini(from);
	return r;
}

int tarn_dict_find_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value)
{
	bool found = false;
	tarn_builder b;
	tarn_parcel p;
	int r;

	switch (tarn__inplace_key(dict, &tarn__type_dict, key, ret_value)) {
	case TARN__INPLACE_DONE:
		return 1;
	case TARN__INPLACE_ABSENT:
		return 0;
	default:
		break;
	}
	put_key(&b, key);
	r = tarn__container_call(dict, &tarn__type_dict, "find", &b, &p);
	if (r < 0)
		return r;
	r = tarn_value_bool(tarn_parcel_at(&p, 0), &found);
	if (r < 0 || !found || ret_value == NULL) {
		tarn_parcel_fini(&p);
		return r < 0 ? r : found;
	}
	r = keep_second(&p, ret_value);
	return r < 0 ? r : 1;
}

int tarn_dict_contains_key(tarn_object *dict, tarn_key key, bool *ret_found)
{
	tarn_builder b;
	enum tarn__inplace r = tarn__inplace_key(dict, &tarn__type_dict, key, NULL);

	if (tarn__likely(r != TARN__INPLACE_CALL)) {
		*ret_found = r == TARN__INPLACE_DONE;
		return 0;
	}
	put_key(&b, key);
	return tarn__container_bool(dict, &tarn__type_dict, "contains", &b, ret_found);
}

int tarn_dict_set_key(tarn_object *dict, tarn_key key, const tarn_builder *value)
{
	tarn_builder b;

	put_key(&b, key);
	tarn__put_one(&b, value);
	return tarn__container_call(dict, &tarn__type_dict, "set", &b, NULL);
}

int tarn_dict_setf(tarn_object *dict, const char *key_and_value, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, key_and_value);
	tarn__put_v(&b, key_and_value, args);
	va_end(args);
	if (tarn_builder_error(&b) == 0 && tarn_builder_count(&b) != 2)
		tarn__builder_fail(&b, tarn__fail(-EINVAL, "A key and one value are expected, found %u "
						  "values.", tarn_builder_count(&b)));
	return tarn__container_call(dict, &tarn__type_dict, "set", &b, NULL);
}

int tarn_dict_del_key(tarn_object *dict, tarn_key key)
{
	tarn_builder b;

	put_key(&b, key);
	return tarn__container_call(dict, &tarn__type_dict, "del", &b, NULL);
}

int tarn_dict_pop_key(tarn_object *dict, tarn_key key, tarn_parcel *ret_value)
{
	tarn_builder b;

	put_key(&b, key);
	return tarn__container_call(dict, &tarn__type_dict, "pop", &b, ret_value);
}

int tarn_dict_popitem(tarn_object *dict, tarn_parcel *ret_item)
{
	return tarn__container_call(dict, &tarn__type_dict, "popitem", NULL, ret_item);
}

int tarn_dict_setdefault_key(tarn_object *dict, tarn_key key, const tarn_builder *value,
			     tarn_parcel *ret_value)
{
	tarn_builder b;

	put_key(&b, key);
	if (value != NULL)
		tarn__put_one(&b, value);
	return tarn__container_call(dict, &tarn__type_dict, "setdefault", &b, ret_value);
}

/* ---- all of it ---- */

int tarn_dict_update(tarn_object *dict, const tarn_builder *values)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn__put_one(&b, values);
	return tarn__container_call(dict, &tarn__type_dict, "update", &b, NULL);
}

int tarn_dict_updatef(tarn_object *dict, const char *values, ...)
{
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, values);
	tarn__put_one_v(&b, values, args);
	va_end(args);
	return tarn__container_call(dict, &tarn__type_dict, "update", &b, NULL);
}

int tarn_dict_update_from(tarn_object *dict, tarn_object *other)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_object(&b, other);
	return tarn__container_call(dict, &tarn__type_dict, "update", &b, NULL);
}

int tarn_dict_clear(tarn_object *dict)
{
	return tarn__container_call(dict, &tarn__type_dict, "clear", NULL, NULL);
}

int tarn_dict_copy(tarn_object *dict, tarn_object **ret_dict)
{
	return tarn__container_object(dict, &tarn__type_dict, "copy", NULL, ret_dict);
}

int tarn_dict_merged(tarn_object *dict, tarn_object *other, tarn_object **ret_dict)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_object(&b, other);
	return tarn__container_object(dict, &tarn__type_dict, "merged", &b, ret_dict);
}

int tarn_dict_keys(tarn_object *dict, tarn_parcel *ret_list)
{
	return tarn__container_call(dict, &tarn__type_dict, "keys", NULL, ret_list);
}

int tarn_dict_values(tarn_object *dict, tarn_parcel *ret_list)
{
	return tarn__container_call(dict, &tarn__type_dict, "values", NULL, ret_list);
}

int tarn_dict_items(tarn_object *dict, tarn_parcel *ret_list)
{
	return tarn__container_call(dict, &tarn__type_dict, "items", NULL, ret_list);
}

int tarn_dict_iter(tarn_object *dict, enum tarn_iterate what, tarn_object **ret_iterator)
{
	static const char *const name[] = { "keys", "values", "items" };
	tarn_builder b;

	if ((unsigned)what > TARN_ITERATE_ITEMS)
		return tarn__fail(-EINVAL, "%d is none of enum tarn_iterate.", (int)what);
	tarn_builder_init(&b);
	tarn_put_string(&b, name[what]);
	return tarn__container_object(dict, &tarn__type_dict, "iter", &b, ret_iterator);
}

#define FROMKEYS_PAGE 1024u

/* Keys in pages: @keys is an iterator. */
static int set_keys(tarn_object *dict, tarn_object *keys, const tarn_builder *value)
{
	int r = 0;

	while (r == 0) {
		tarn_builder b;
		tarn_parcel p;

		r = tarn_iter_next_n(keys, FROMKEYS_PAGE, &p);
		if (r < 0)
			break;
		tarn_value list = tarn_parcel_at(&p, 0);

		tarn_builder_init(&b);
		tarn_list_begin(&b);
		for (size_t k = 0; k < tarn_value_count(list); k++) {
			tarn_list_begin(&b);
			tarn_put_value(&b, tarn_value_at(list, k));
			if (value != NULL)
				tarn__put_one(&b, value);
			else
				tarn_put_nil(&b);
			tarn_list_end(&b);
		}
		tarn_list_end(&b);
		tarn_parcel_fini(&p);
		r = tarn__container_call(dict, &tarn__type_dict, "update", &b, NULL);
	}
	return r == -TARN_EOF ? 0 : r;
}

int tarn_dict_fromkeys(tarn_object *list, const tarn_builder *value, tarn_object **ret_dict)
{
	tarn_object *keys, *dict;
	int r = tarn_list_iter(list, &keys);

	if (r < 0)
		return r;
	r = tarn_dict_new(tarn_object_client(list), &dict);
	if (r == 0) {
		r = set_keys(dict, keys, value);
		if (r == 0)
			*ret_dict = dict;
		else
			tarn_object_unref(dict);
	}
	tarn_object_unref(keys);
	return r;
}
