/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Iterator, the client's side. */
#include "container.h"

#include "lib/error.h"
#include "types.h"

static int at_end(tarn_parcel *p)
{
	tarn_parcel_fini(p);
	return tarn__fail_static(-TARN_EOF, "The iterator is at its end.");
}

int tarn_iter_next(tarn_object *iterator, tarn_parcel *ret_value)
{
	tarn_parcel ignored, *p = ret_value != NULL ? ret_value : &ignored;
	int r = tarn__container_call(iterator, &tarn__type_iterator, "next", NULL, p);

	if (r < 0)
		return r;
	if (tarn_parcel_count(p) == 0)
		return at_end(p);
	if (ret_value == NULL)
		tarn_parcel_fini(p);
	return 0;
}

int tarn_iter_nextf(tarn_object *iterator, const char *format, ...)
{
	tarn_parcel p;
	va_list args;
	int r = tarn_iter_next(iterator, &p);

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_take_v(&p, format, args);
	va_end(args);
	return r;
}

int tarn_iter_next_n(tarn_object *iterator, uint64_t n, tarn_parcel *ret_list)
{
	tarn_builder b;
	int r;

	if (n == 0 || ret_list == NULL)
		return tarn__fail(-EINVAL, "Nothing was asked for.");
	tarn_builder_init(&b);
	tarn_put_uint(&b, n);
	r = tarn__container_call(iterator, &tarn__type_iterator, "next_n", &b, ret_list);
	if (r < 0)
		return r;
	return tarn_value_count(tarn_parcel_at(ret_list, 0)) == 0 ? at_end(ret_list) : 0;
}

int tarn_iter_close(tarn_object *iterator)
{
	return tarn__container_call(iterator, &tarn__type_iterator, "close", NULL, NULL);
}
