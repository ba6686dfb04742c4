/* SPDX-License-Identifier: Apache-2.0 */
/* tarn_parcel_get(): values by letters. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "lib/error.h"

struct getter {
	const tarn_parcel *parcel;
	const char *at;                     /* in the format */
	va_list args;
	unsigned depth;                     /* of brackets open in the format */
	size_t place[TARN_DEPTH_MAX + 2];   /* per depth: the entry, */
	const char *key[TARN_DEPTH_MAX + 2]; /* or the key of the map */
	bool optional;
	bool done;                          /* optional ones were missing */
};

/* "2, entry 1, key scale" */
static void say_place(const struct getter *g, char *text, size_t bytes)
{
	size_t n = (size_t)snprintf(text, bytes, "%zu", g->place[0]);

	for (unsigned d = 1; d <= g->depth && n < bytes; d++) {
		if (g->key[d] != NULL)
			n += (size_t)snprintf(text + n, bytes - n, ", key %s", g->key[d]);
		else
			n += (size_t)snprintf(text + n, bytes - n, ", entry %zu", g->place[d]);
	}
}

/* Why a value would not do, with its place. Damage keeps its code, all else is about arguments. */
static int fail_at(const struct getter *g, int code)
{
	char place[160], why[sizeof tarn_error_last()->message];

	if (code == -TARN_EPROTO || code == -ENOMEM)
		return code;
	say_place(g, place, sizeof place);
	memcpy(why, tarn_error_last()->message, sizeof why);
	return tarn__fail(-TARN_EARGS, "Argument %s: %s", place, why);
}

static int fail_format(const struct getter *g, const char *what)
{
	return tarn__fail(-EINVAL, "The format has %s at \"%s\".", what, g->at);
}

static int get_int(struct getter *g, const tarn_value *v)
{
	int *out = va_arg(g->args, int *);
	int64_t i;
	int r = tarn_value_int(*v, &i);

	if (r < 0)
		return r;
	if (i < INT_MIN || i > INT_MAX)
		return tarn__fail(-ERANGE, "Expected an int of 32 bits, found %lld.", (long long)i);
	*out = (int)i;
	return 0;
}

static int get_unsigned(struct getter *g, const tarn_value *v)
{
	unsigned *out = va_arg(g->args, unsigned *);
	uint64_t u;
	int r = tarn_value_uint(*v, &u);

	if (r < 0)
		return r;
	if (u > UINT_MAX)
		return tarn__fail(-ERANGE, "Expected a uint of 32 bits, found %llu.",
				  (unsigned long long)u);
	*out = (unsigned)u;
	return 0;
}

static int get_string(struct getter *g, const tarn_value *v)
{
	const char **out = va_arg(g->args, const char **), *text;
	size_t bytes;
	int r = tarn_value_string(*v, &text, &bytes);

	if (r < 0)
		return r;
	if (strlen(text) != bytes)
		return tarn_value_string_from(v, out, NULL); /* says why not */
	*out = text;
	return 0;
}

#define NO_LETTER 1
static int get_one(struct getter *g, char letter, const tarn_value *v)
{
	const char **text;
	const void **data;

	switch (letter) {
	case 'n':
		return tarn_value_kind(*v) == TARN_KIND_NIL ? 0 : tarn__fail_kind(v, "nil");
	case 'b':
		return tarn_value_bool(*v, va_arg(g->args, bool *));
	case 'i':
		return get_int(g, v);
	case 'q':
		return tarn_value_int(*v, va_arg(g->args, int64_t *));
	case 'I':
		return get_unsigned(g, v);
	case 'Q':
		return tarn_value_uint(*v, va_arg(g->args, uint64_t *));
	case 'd':
		return tarn_value_double(*v, va_arg(g->args, double *));
	case 's':
		return get_string(g, v);
	case 'S':
		text = va_arg(g->args, const char **);
		return tarn_value_string(*v, text, va_arg(g->args, size_t *));
	case 'y':
		data = va_arg(g->args, const void **);
		return tarn_value_bytes(*v, data, va_arg(g->args, size_t *));
	case 'B':
		return tarn_value_block(*v, va_arg(g->args, tarn_block **));
	case 'O':
		return tarn_value_object(*v, va_arg(g->args, tarn_object **));
	case 'C':
		return tarn_value_channel(*v, va_arg(g->args, tarn_channel **));
	case 'e':
		return tarn_value_error(*v, va_arg(g->args, tarn_fault **));
	case 'v':
		if (tarn_value_kind(*v) == TARN_KIND_NONE)
			return tarn__fail_none(v);
		*va_arg(g->args, tarn_value *) = *v;
		return 0;
	default:
		return NO_LETTER;
	}
}

/* The output of a letter that takes nil, for nil. */
static void give_null(struct getter *g, char letter)
{
	switch (letter) {
	case 's':
		*va_arg(g->args, const char **) = NULL;
		break;
	case 'B':
		*va_arg(g->args, tarn_block **) = NULL;
		break;
	case 'O':
		*va_arg(g->args, tarn_object **) = NULL;
		break;
	case 'C':
		*va_arg(g->args, tarn_channel **) = NULL;
		break;
	default:
		*va_arg(g->args, tarn_fault **) = NULL;
		break;
	}
}

static int get_bracket(struct getter *g, const tarn_value *v);

static inline void skip_blanks(struct getter *g)
{
	while (*g->at == ' ' || *g->at == ',' || *g->at == ':')
		g->at++;
}

/* What is at g->at, of @v. */
static int get_element(struct getter *g, const tarn_value *v)
{
	char letter = *g->at;
	int r;

	if (letter == '[' || letter == '{')
		return get_bracket(g, v);
	if (letter != '\0' && g->at[1] == '?') {
		if (strchr("sBOCe", letter) == NULL)
			return fail_format(g, "a '?' after a letter that has no NULL");
		g->at++;
		if (tarn_value_kind(*v) == TARN_KIND_NIL) {
			give_null(g, letter);
			g->at++;
			return 0;
		}
	}
	r = get_one(g, letter, v);
	if (r == NO_LETTER)
		return fail_format(g, "no letter for a value");
	g->at++;
	if (r < 0)
		return fail_at(g, r);
	return 0;
}

/* Side by side, up to @end: the top of the parcel, or a list's entries. */
static int get_sequence(struct getter *g, const tarn_value *list, char end)
{
	size_t count = list != NULL ? tarn_value_count(*list) : tarn_parcel_count(g->parcel), i = 0;
	tarn_value v;
	int r = 0;

	for (skip_blanks(g); *g->at != end && r == 0 && !g->done; skip_blanks(g)) {
		if (*g->at == '|' && g->depth == 0) {
			g->optional = true;
			g->at++;
			continue;
		}
		if (*g->at == '\0')
			return fail_format(g, "an open bracket");
		g->place[g->depth] = i + 1;
		g->key[g->depth] = NULL;
		if (i >= count && g->depth == 0 && g->optional) {
			g->done = true;
			return 0;
		}
		v = list != NULL ? tarn_value_at(*list, i) : tarn_parcel_at(g->parcel, (unsigned)i);
		r = get_element(g, &v);
		i++;
	}
	if (r < 0 || g->done)
		return r;
	if (*g->at == end && end != '\0')
		g->at++;
	if (i < count) {
		if (list == NULL)
			return tarn__fail(-TARN_EARGS, "Expected %zu values, found %zu.", i, count);
		tarn__fail(-TARN_EARGS, "Expected a list of %zu, found one of %zu.", i, count);
		g->depth--;
		r = fail_at(g, -TARN_EARGS);
		g->depth++;
	}
	return r;
}

/* Keys and what is found there. */
static int get_map(struct getter *g, const tarn_value *map)
{
	char number[24];
	int r = 0;

	for (skip_blanks(g); *g->at != '}' && r == 0; skip_blanks(g)) {
		tarn_value v;
		int64_t key;

		switch (*g->at) {
		case 's':
			g->key[g->depth] = va_arg(g->args, const char *);
			v = tarn_value_get(*map, g->key[g->depth]);
			break;
		case 'i':
		case 'q':
			key = *g->at == 'i' ? va_arg(g->args, int) : va_arg(g->args, int64_t);
			snprintf(number, sizeof number, "%lld", (long long)key);
			g->key[g->depth] = number;
			v = tarn_value_get_int(*map, key);
			break;
		default:
			return fail_format(g, "a map whose key is not s, i or q");
		}
		g->at++;
		skip_blanks(g);
		r = get_element(g, &v);
	}
	if (r == 0)
		g->at++;
	return r;
}

static int get_bracket(struct getter *g, const tarn_value *v)
{
	bool list = *g->at == '[';
	int r;

	if (g->depth == TARN_DEPTH_MAX)
		return fail_format(g, "too many brackets");
	if (tarn_value_kind(*v) != (list ? TARN_KIND_LIST : TARN_KIND_MAP))
		return fail_at(g, tarn__fail_kind(v, list ? "list" : "map"));
	g->at++;
	g->depth++;
	r = list ? get_sequence(g, v, ']') : get_map(g, v);
	g->depth--;
	return r;
}

int tarn__parcel_get_v(const tarn_parcel *parcel, const char *format, va_list args)
{
	struct getter g; /* not all of it: places are set when they are entered */
	int r;

	g.parcel = parcel;
	g.at = format;
	g.depth = 0;
	g.optional = false;
	g.done = false;
	va_copy(g.args, args);
	r = get_sequence(&g, NULL, '\0');
	va_end(g.args);
	return r;
}

int tarn_parcel_get(const tarn_parcel *parcel, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = tarn__parcel_get_v(parcel, format, args);
	va_end(args);
	return r;
}
