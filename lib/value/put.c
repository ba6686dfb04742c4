/* SPDX-License-Identifier: Apache-2.0 */
/* tarn_put(): values by letters. */
#include <stdarg.h>

#include "fault.h"
#include "lib/error.h"

/* Where a map wants a key. */
static bool is_keys_turn(const tarn_builder *b)
{
	return b->kind == TARN_KIND_MAP && b->count % 2 == 0;
}

/* va_list is an array on some machines: a pointer to a struct passes on all. */
struct arguments {
	va_list list;
};

/* -EINVAL: no letter for a key. */
static int put_key(tarn_builder *b, char letter, struct arguments *a)
{
	const char *text;

	switch (letter) {
	case 's':
		return tarn_map_key(b, va_arg(a->list, const char *));
	case 'S':
		text = va_arg(a->list, const char *);
		return tarn_map_key_n(b, text, va_arg(a->list, size_t));
	case 'i':
		return tarn_map_key_int(b, va_arg(a->list, int));
	case 'q':
		return tarn_map_key_int(b, va_arg(a->list, int64_t));
	default:
		return tarn__builder_fail(b, tarn__fail(-EINVAL, "Keys of maps are s, S, i or q, not %c.",
							letter));
	}
}

static int put_value(tarn_builder *b, char letter, struct arguments *a)
{
	const void *data;

	switch (letter) {
	case 'n':
		return tarn_put_nil(b);
	case 'b':
		return tarn_put_bool(b, va_arg(a->list, int) != 0);
	case 'i':
		return tarn_put_int(b, va_arg(a->list, int));
	case 'q':
		return tarn_put_int(b, va_arg(a->list, int64_t));
	case 'I':
		return tarn_put_uint(b, va_arg(a->list, unsigned));
	case 'Q':
		return tarn_put_uint(b, va_arg(a->list, uint64_t));
	case 'd':
		return tarn_put_double(b, va_arg(a->list, double));
	case 's':
		return tarn_put_string(b, va_arg(a->list, const char *));
	case 'S':
		data = va_arg(a->list, const char *);
		return tarn_put_string_n(b, data, va_arg(a->list, size_t));
	case 'y':
		data = va_arg(a->list, const void *);
		return tarn_put_bytes(b, data, va_arg(a->list, size_t));
	case 'B':
		return tarn_put_block(b, va_arg(a->list, tarn_block *));
	case 'O':
		return tarn_put_object(b, va_arg(a->list, tarn_object *));
	case 'C':
		return tarn_put_channel(b, va_arg(a->list, tarn_channel *));
	case 'e':
		return tarn_put_error(b, va_arg(a->list, const tarn_fault *));
	case 'v':
		return tarn_put_value(b, va_arg(a->list, tarn_value));
	default:
		return tarn__builder_fail(b, tarn__fail(-EINVAL, "'%c' is no letter for a value.",
							letter));
	}
}

/* Brackets must pair inside the format, whatever was open before. */
static int put_bracket(tarn_builder *b, char letter, unsigned depth_before)
{
	if (letter == '[')
		return tarn_list_begin(b);
	if (letter == '{')
		return tarn_map_begin(b);
	if (b->depth == depth_before)
		return tarn__builder_fail(b, tarn__fail(-EINVAL, "A '%c' too many.", letter));
	return letter == ']' ? tarn_list_end(b) : tarn_map_end(b);
}

int tarn__put_v(tarn_builder *builder, const char *format, va_list args)
{
	struct arguments a;
	unsigned depth = builder->depth;
	int r = builder->error;

	if (tarn__unlikely(format == NULL))
		return tarn__builder_fail(builder, tarn__fail(-EINVAL, "The format of the values is missing."));
	va_copy(a.list, args);
	for (const char *p = format; *p != '\0' && r == 0; p++) {
		if (*p == ' ' || *p == ',' || *p == ':')
			continue;
		if (*p == '[' || *p == '{' || *p == ']' || *p == '}')
			r = put_bracket(builder, *p, depth);
		else if (is_keys_turn(builder))
			r = put_key(builder, *p, &a);
		else
			r = put_value(builder, *p, &a);
	}
	va_end(a.list);
	if (r == 0 && builder->depth != depth)
		r = tarn__builder_fail(builder, tarn__fail(-EINVAL, "A list or map is not closed in "
							   "\"%s\".", format));
	return r;
}

int tarn_put(tarn_builder *builder, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = tarn__put_v(builder, format, args);
	va_end(args);
	return r;
}
