/* SPDX-License-Identifier: Apache-2.0 */
/* tarn_callf(): arguments and results by formats. */
#include <stdarg.h>
#include <string.h>

#include "call.h"
#include "lib/value/fault.h"

struct arguments {
	va_list list;
};

/* Passes over what tarn_put() takes by @format: outputs follow. */
static void pass_over(struct arguments *a, const char *format)
{
	for (; *format != '\0'; format++) {
		switch (*format) {
		case 'b':
		case 'i':
		case 'I':
			(void)va_arg(a->list, int);
			break;
		case 'q':
		case 'Q':
			(void)va_arg(a->list, int64_t);
			break;
		case 'd':
			(void)va_arg(a->list, double);
			break;
		case 'v':
			(void)va_arg(a->list, tarn_value);
			break;
		case 'S':
		case 'y':
			(void)va_arg(a->list, const void *);
			(void)va_arg(a->list, size_t);
			break;
		case 's':
		case 'B':
		case 'O':
		case 'C':
		case 'e':
			(void)va_arg(a->list, const void *);
			break;
		default:
			break;
		}
	}
}

/* ---- numbers ---- */

/* Formats of numbers alone, which most are, are done here letter by letter. */
static bool is_numbers(const char *format)
{
	for (; *format != '\0'; format++)
		if (*format != 'q' && *format != 'i' && *format != 'd' && *format != 'Q' && *format != 'I' &&
		    *format != 'b')
			return false;
	return true;
}

/* Takes the arguments out of the list, too. */
static int put_numbers(tarn_builder *b, const char *format, struct arguments *a)
{
	int r = 0;

	for (; *format != '\0' && r == 0; format++) {
		switch (*format) {
		case 'q':
			r = tarn_put_int(b, va_arg(a->list, int64_t));
			break;
		case 'i':
			r = tarn_put_int(b, va_arg(a->list, int));
			break;
		case 'd':
			r = tarn_put_double(b, va_arg(a->list, double));
			break;
		case 'Q':
			r = tarn_put_uint(b, va_arg(a->list, uint64_t));
			break;
		case 'I':
			r = tarn_put_uint(b, va_arg(a->list, unsigned));
			break;
		default:
			r = tarn_put_bool(b, va_arg(a->list, int) != 0);
		}
	}
	return r;
}

/* A single number of the very kind that is wanted. False: nothing was taken out. */
static bool get_number(const tarn_parcel *p, const char *format, struct arguments *a)
{
	tarn_value v = tarn_parcel_at(p, 0);
	unsigned kind = tarn__head_kind(v.head);

	if (p->n_values != 1 || format[0] == '\0' || format[1] != '\0')
		return false;
	if (*format == 'q' && kind == TARN_KIND_INT)
		*va_arg(a->list, int64_t *) = (int64_t)v.body;
	else if (*format == 'Q' && kind == TARN_KIND_UINT)
		*va_arg(a->list, uint64_t *) = v.body;
	else if (*format == 'd' && kind == TARN_KIND_DOUBLE)
		memcpy(va_arg(a->list, double *), &v.body, sizeof v.body);
	else
		return false;
	return true;
}

/* ---- public ---- */

int tarn_callf(tarn_object *object, const char *method, int64_t timeout_ns, const char *args,
	       const char *results, ...)
{
	bool wanted = results != NULL && *results != '\0', numbers = args != NULL && is_numbers(args);
	struct arguments a;
	tarn_builder b;
	tarn_parcel p;
	int r;

	if (wanted && strpbrk(results, "sSyvBOC") != NULL)
		return tarn__fail(-EINVAL, "tarn_callf() cannot give results of \"%s\": text, bytes and "
				  "references live in a parcel. Use tarn_call().", results);
	va_start(a.list, results);
	tarn_builder_init(&b);
	if (tarn__likely(numbers))
		r = put_numbers(&b, args, &a);
	else
		r = args != NULL ? tarn__put_v(&b, args, a.list) : 0;
	if (r == 0)
		r = tarn_call(object, method, &b, wanted ? &p : NULL, timeout_ns);
	tarn_builder_fini(&b);
	if (r == 0 && wanted) {
		if (args != NULL && !numbers)
			pass_over(&a, args);
		if (tarn__unlikely(!get_number(&p, results, &a)))
			r = tarn__parcel_get_v(&p, results, a.list);
		tarn_parcel_fini(&p);
	}
	va_end(a.list);
	return r;
}
