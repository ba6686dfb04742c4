/* SPDX-License-Identifier: Apache-2.0 */
#include "container.h"

#include "lib/error.h"

/* ---- values ---- */

static int lend(const tarn_builder *values, tarn_parcel *ret)
{
	struct tarn__payload p;
	int r = tarn__builder_payload(values, &p);

	return r < 0 ? r : tarn__parcel_lend(ret, p.words, p.n_words, p.n_values, p.refs, p.n_refs, false);
}

static int fail_one(unsigned n)
{
	return tarn__fail(-EINVAL, "One value is expected, found %u. Several become one as a list.", n);
}

int tarn__put_one(tarn_builder *to, const tarn_builder *value)
{
	tarn_parcel p;
	int r = lend(value, &p);

	if (r == 0 && tarn_parcel_count(&p) != 1)
		r = fail_one(tarn_parcel_count(&p));
	return r < 0 ? tarn__builder_fail(to, r) : tarn_put_value(to, tarn_parcel_at(&p, 0));
}

int tarn__put_list(tarn_builder *to, const tarn_builder *values)
{
	tarn_parcel p;
	int r = lend(values, &p);

	if (r < 0)
		return tarn__builder_fail(to, r);
	tarn_list_begin(to);
	for (unsigned k = 0; k < tarn_parcel_count(&p); k++)
		tarn_put_value(to, tarn_parcel_at(&p, k));
	return tarn_list_end(to);
}

int tarn__put_one_v(tarn_builder *to, const char *format, va_list args)
{
	unsigned n = tarn_builder_count(to);
	int r = tarn__put_v(to, format, args);

	if (r == 0 && tarn_builder_count(to) != n + 1)
		r = tarn__builder_fail(to, fail_one(tarn_builder_count(to) - n));
	return r;
}

int tarn__put_key(tarn_builder *to, tarn_key key)
{
	switch (key.kind) {
	case TARN_KIND_NIL:
		return tarn_put_nil(to);
	case TARN_KIND_BOOL:
		return tarn_put_bool(to, key.u != 0);
	case TARN_KIND_INT:
		return tarn_put_int(to, key.i);
	case TARN_KIND_UINT:
		return tarn_put_uint(to, key.u);
	case TARN_KIND_DOUBLE:
		return tarn_put_double(to, key.d);
	case TARN_KIND_STRING:
		return tarn_put_string_n(to, key.data, key.bytes);
	case TARN_KIND_BYTES:
		return tarn_put_bytes(to, key.data, key.bytes);
	default:
		return tarn__builder_fail(to, tarn__fail(-EINVAL, "A %s cannot be a key.",
							 tarn_kind_name(key.kind)));
	}
}

/* ---- calls ---- */

int tarn__container_call(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			 tarn_parcel *ret)
{
	tarn_parcel ignored;
	int r = tarn__object_expect(o, type, method);

	if (tarn__likely(r == 0))
		r = tarn_call(o, method, args, ret != NULL ? ret : &ignored, TARN_FOREVER);

	if (args != NULL)
		tarn_builder_fini(args);
	/* Taken and dropped: what nobody takes is given back with the client's next call only. */
	if (r == 0 && ret == NULL)
		tarn_parcel_fini(&ignored);
	return r;
}

int tarn__container_number(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			      uint64_t *ret)
{
	tarn_parcel p;
	int r = tarn__container_call(o, type, method, args, &p);

	if (r < 0)
		return r;
	r = tarn_value_uint(tarn_parcel_at(&p, 0), ret);
	tarn_parcel_fini(&p);
	return r;
}

int tarn__container_bool(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			    bool *ret)
{
	tarn_parcel p;
	int r = tarn__container_call(o, type, method, args, &p);

	if (r < 0)
		return r;
	r = tarn_value_bool(tarn_parcel_at(&p, 0), ret);
	tarn_parcel_fini(&p);
	return r;
}

int tarn__parcel_take_object(tarn_parcel *p, tarn_object **ret)
{
	tarn_object *o;
	int r = tarn_value_object(tarn_parcel_at(p, 0), &o);

	if (r == 0)
		*ret = tarn_object_ref(o);
	tarn_parcel_fini(p);
	return r;
}

int tarn__container_object(tarn_object *o, const tarn_type *type, const char *method, tarn_builder *args,
			      tarn_object **ret)
{
	tarn_parcel p;
	int r = tarn__container_call(o, type, method, args, &p);

	return r < 0 ? r : tarn__parcel_take_object(&p, ret);
}

/* Letters whose results point into the parcel. */
static bool points_into(const char *format)
{
	return strpbrk(format, "sSyBOCv") != NULL;
}

int tarn__parcel_take_v(tarn_parcel *p, const char *format, va_list args)
{
	int r = points_into(format)
			? tarn__fail(-EINVAL, "\"%.40s\" asks for what points into the parcel, which ends "
				     "here: get the parcel, or the object.", format)
			: tarn__parcel_get_v(p, format, args);

	tarn_parcel_fini(p);
	return r;
}

int tarn__container_new_v(tarn_client *client, const char *type, tarn_object **ret,
			  const char *format, va_list args)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	r = format != NULL ? tarn__put_one_v(&b, format, args) : 0;
	if (r == 0)
		r = tarn_object_new(client, type, format != NULL ? &b : NULL, ret);
	tarn_builder_fini(&b);
	return r;
}
