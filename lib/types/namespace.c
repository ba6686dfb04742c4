/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Namespace, the client's side. */
#include "container.h"
#include "inplace.h"

#include <stdio.h>

#include "lib/error.h"

#define NAMESPACE "tarn.Namespace"

int tarn_ns_new(tarn_client *client, tarn_object **ret_ns)
{
	return tarn_object_new(client, NAMESPACE, NULL, ret_ns);
}

int tarn_ns_newf(tarn_client *client, tarn_object **ret_ns, const char *values, ...)
{
	va_list args;

	va_start(args, values);
	int r = tarn__container_new_v(client, NAMESPACE, ret_ns, values, args);
	va_end(args);
	return r;
}

/* Begins the arguments with @name. */
static int put_name(tarn_builder *b, const char *name)
{
	tarn_builder_init(b);
	if (name == NULL || name[0] == '_')
		return tarn__builder_fail(b, tarn__fail(-EINVAL, "\"%.60s\" is no name of a shared "
							"attribute: those begin with something else "
							"than \"_\".", name != NULL ? name : ""));
	return tarn_put_string(b, name);
}

/* A fault that says that there is no such attribute is -ENOENT here. */
static int no_entry(int r)
{
	char text[256];

	if (r != -TARN_EREMOTE || tarn_error_fault() == NULL ||
	    !tarn_fault_is(tarn_error_fault(), "AttributeError"))
		return r;
	snprintf(text, sizeof text, "%.255s", tarn_error_last()->message);
	return tarn__fail(-ENOENT, "%s", text);
}

int tarn_ns_get(tarn_object *ns, const char *name, tarn_parcel *ret_value)
{
	tarn_builder b;

	if (name != NULL && tarn__inplace_key(ns, &tarn__type_namespace, tarn_key_string(name),
					      ret_value) == TARN__INPLACE_DONE)
		return 0;
	put_name(&b, name);
	return no_entry(tarn__container_call(ns, &tarn__type_namespace, "get", &b, ret_value));
}

int tarn_ns_getf(tarn_object *ns, const char *name, const char *format, ...)
{
	tarn_parcel p;
	va_list args;
	int r = tarn_ns_get(ns, name, &p);

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_take_v(&p, format, args);
	va_end(args);
	return r;
}

int tarn_ns_get_object(tarn_object *ns, const char *name, tarn_object **ret_object)
{
	tarn_parcel p;
	int r = tarn_ns_get(ns, name, &p);

	return r < 0 ? r : tarn__parcel_take_object(&p, ret_object);
}

int tarn_ns_get_ref(tarn_object *ns, const char *name, tarn_object **ret_object)
{
	tarn_builder b;

	put_name(&b, name);
	return no_entry(tarn__container_object(ns, &tarn__type_namespace, "get_ref", &b, ret_object));
}

int tarn_ns_set(tarn_object *ns, const char *name, const tarn_builder *value)
{
	tarn_builder b;

	if (put_name(&b, name) == 0)
		tarn__put_one(&b, value);
	return tarn__container_call(ns, &tarn__type_namespace, "set", &b, NULL);
}

int tarn_ns_setf(tarn_object *ns, const char *name, const char *value, ...)
{
	tarn_builder b;
	va_list args;

	if (put_name(&b, name) == 0) {
		va_start(args, value);
		tarn__put_one_v(&b, value, args);
		va_end(args);
	}
	return tarn__container_call(ns, &tarn__type_namespace, "set", &b, NULL);
}

int tarn_ns_del(tarn_object *ns, const char *name)
{
	tarn_builder b;

	put_name(&b, name);
	return no_entry(tarn__container_call(ns, &tarn__type_namespace, "del", &b, NULL));
}

int tarn_ns_format(tarn_object *ns, char *text, size_t bytes)
{
	const char *repr;
	tarn_parcel p;
	int r = tarn__container_call(ns, &tarn__type_namespace, "repr", NULL, &p);

	if (r < 0)
		return r;
	r = tarn_value_string(tarn_parcel_at(&p, 0), &repr, NULL);
	if (r == 0)
		r = snprintf(text, bytes, "%s", repr);
	tarn_parcel_fini(&p);
	return r;
}
