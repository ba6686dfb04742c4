/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: what a method takes or gives, in letters (lib/value/value.h). */
#include <stdio.h>
#include <string.h>

#include "lib/error.h"
#include "value.h"

static const char letters[] = "nbiqIQdsSyBOCev";

static const char *skip_blanks(const char *p)
{
	while (*p != '\0' && strchr(" ,:", *p) != NULL)
		p++;
	return p;
}

/* ---- well formed ---- */

static int fail_signature(const char *at, const char *what)
{
	return tarn__fail(-EINVAL, "%s at \"%s\".", what, at);
}

/* Behind the element at @p, suffixes not included; NULL and a sentence: it is none. */
static const char *skip_element(const char *p, unsigned depth)
{
	char end = *p == '[' ? ']' : '}';
	unsigned n = 0;

	if (*p != '[' && *p != '{') {
		if (*p == '\0' || strchr(letters, *p) == NULL) {
			fail_signature(p, "No letter for a value");
			return NULL;
		}
		return p + 1;
	}
	if (depth == TARN_DEPTH_MAX) {
		fail_signature(p, "Too many brackets");
		return NULL;
	}
	for (p = skip_blanks(p + 1); *p != end; p = skip_blanks(p)) {
		if (end == '}' && n == 0 && (*p == '\0' || strchr("sSiq", *p) == NULL)) {
			fail_signature(p, "A map whose key is not s, S, i or q");
			return NULL;
		}
		p = skip_element(p, depth + 1);
		if (p == NULL)
			return NULL;
		n++;
		if (*p == '?')
			p++;
		if (*p == '*') {
			if (end == '}' || *skip_blanks(p + 1) != end) {
				fail_signature(p, "A '*' that does not end a list");
				return NULL;
			}
			p++;
		}
	}
	if (end == '}' && n != 0 && n != 2) {
		fail_signature(p, "A map of other than one key and one value");
		return NULL;
	}
	return p + 1;
}

int tarn__signature_check(const char *signature)
{
	bool optional = false;
	const char *p;

	for (p = skip_blanks(signature); *p != '\0'; p = skip_blanks(p)) {
		if (*p == '|' && !optional) {
			optional = true;
			p++;
			continue;
		}
		p = skip_element(p, 0);
		if (p == NULL)
			return -EINVAL;
		if (*p == '?')
			p++;
		if (*p == '*' && *skip_blanks(++p) != '\0')
			return fail_signature(p, "A '*' that is not at the end");
	}
	return 0;
}

struct tarn__plain tarn__signature_plain(const char *signature)
{
	static const char plain[] = "nbiqIQd";
	static const uint8_t kinds[] = { TARN_KIND_NIL, TARN_KIND_BOOL, TARN_KIND_INT, TARN_KIND_INT,
					 TARN_KIND_UINT, TARN_KIND_UINT, TARN_KIND_DOUBLE };
	struct tarn__plain p = { .n = 0 };

	for (; signature != NULL && *signature != '\0'; signature++) {
		const char *at = strchr(plain, *signature);

		if (at == NULL || p.n == TARN__PLAIN_MOST)
			break;
		p.kind[p.n++] = kinds[at - plain];
	}
	if (signature == NULL || *signature != '\0')
		p.n = TARN__PLAIN_NONE;
	return p;
}

/* ---- matching ---- */

struct matcher {
	struct tarn__walk walk;
	const tarn_parcel *parcel;
	char why[128]; /* why it does not match; empty: damaged */
};

static bool refuse(struct matcher *m, const char *expected, tarn_value v)
{
	if (tarn_value_kind(v) == TARN_KIND_NONE)
		tarn__fail_none(&v);
	else
		snprintf(m->why, sizeof m->why, "expected %s, found %s", expected,
			 tarn_kind_name(tarn_value_kind(v)));
	return false;
}

/* In what follows strings are not made C strings: a signature may be looked at in memory that
 * others write to, and the method reads with its own checks. */
static bool matches_letter(struct matcher *m, char letter, tarn_value v)
{
	static const struct {
		char letter;
		unsigned char kind;
	} kinds[] = {
		{ 'n', TARN_KIND_NIL },    { 'b', TARN_KIND_BOOL },   { 's', TARN_KIND_STRING },
		{ 'S', TARN_KIND_STRING }, { 'y', TARN_KIND_BYTES },  { 'B', TARN_KIND_BLOCK },
		{ 'O', TARN_KIND_OBJECT }, { 'C', TARN_KIND_CHANNEL }, { 'e', TARN_KIND_ERROR },
	};
	enum tarn_kind kind = tarn_value_kind(v);
	int64_t i;
	uint64_t u;
	double d;

	switch (letter) {
	case 'd':
		return tarn_value_double(v, &d) == 0 || refuse(m, "double", v);
	case 'i':
	case 'q':
		return tarn_value_int(v, &i) == 0 || refuse(m, "int", v);
	case 'I':
	case 'Q':
		return tarn_value_uint(v, &u) == 0 || refuse(m, "uint", v);
	case 'v':
		return kind != TARN_KIND_NONE || refuse(m, "anything", v);
	default:
		break;
	}
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
		if (kinds[k].letter == letter)
			return kind == (enum tarn_kind)kinds[k].kind ||
			       refuse(m, tarn_kind_name((enum tarn_kind)kinds[k].kind), v);
	return false;
}

static bool matches(struct matcher *m, const char **at, tarn_value v);

/* A list's entries by the elements up to ']'; m->walk bounds what "*" repeats. */
static bool matches_list(struct matcher *m, const char *p, tarn_value v)
{
	size_t count = tarn_value_count(v), i = 0;
	const char *before, *next;

	p = skip_blanks(p);
	if (*p == ']')
		return true;
	for (; *p != ']'; p = skip_blanks(p)) {
		before = p;
		next = skip_element(p, 0);
		if (*next == '?')
			next++;
		if (*next == '*') {
			for (; i < count; i++, p = before)
				if (!matches(m, &p, tarn_value_at(v, i)))
					return false;
			p = next + 1;
			continue;
		}
		if (i == count || !matches(m, &p, tarn_value_at(v, i))) {
			if (i == count)
				snprintf(m->why, sizeof m->why, "a list of %zu is too short", count);
			return false;
		}
		i++;
	}
	if (i < count)
		snprintf(m->why, sizeof m->why, "expected a list of %zu, found one of %zu", i, count);
	return i == count;
}

static bool matches_map(struct matcher *m, const char *p, tarn_value v)
{
	size_t count = tarn_value_count(v);

	p = skip_blanks(p);
	if (*p == '}')
		return true;
	for (size_t i = 0; i < count; i++) {
		const char *at = p;

		if (!matches(m, &at, tarn_value_key_at(v, i)))
			return false;
		at = skip_blanks(at);
		if (!matches(m, &at, tarn_value_at(v, i)))
			return false;
	}
	return true;
}

/* @v by the element at *@at, which is left behind it. */
static bool matches(struct matcher *m, const char **at, tarn_value v)
{
	const char *p = *at, *next = skip_element(p, 0);
	enum tarn_kind kind = *p == '[' ? TARN_KIND_LIST : TARN_KIND_MAP;
	bool or_nil = *next == '?';

	*at = next + or_nil;
	/* Lists that overlap could repeat without end. */
	if (tarn__walk_visit(&m->walk, &v) < 0)
		return tarn_value_kind(v) == TARN_KIND_NONE ? refuse(m, "a value", v) : false;
	if (or_nil && tarn_value_kind(v) == TARN_KIND_NIL)
		return true;
	if (*p != '[' && *p != '{')
		return matches_letter(m, *p, v);
	if (tarn_value_kind(v) != kind)
		return refuse(m, tarn_kind_name(kind), v);
	return kind == TARN_KIND_LIST ? matches_list(m, p + 1, v) : matches_map(m, p + 1, v);
}

static int fail_count(const char *expected, const tarn_parcel *parcel, const char *signature)
{
	unsigned n = tarn_parcel_count(parcel);

	return tarn__fail(-TARN_EARGS, "%s (%u): expected \"%s\".", expected, n, signature);
}

int tarn__signature_match(const char *signature, const tarn_parcel *parcel)
{
	struct matcher m = { .walk = tarn__walk_begin(parcel), .parcel = parcel };
	unsigned count = tarn_parcel_count(parcel), i = 0;
	const char *p, *element = NULL;
	bool optional = false;

	for (p = skip_blanks(signature); *p != '\0' || i < count; p = skip_blanks(p)) {
		if (*p == '|') {
			optional = true;
			p++;
			continue;
		}
		if (*p == '*' && i < count)
			p = element; /* once more */
		else if (*p == '*')
			break;
		if (*p == '\0')
			return fail_count("Too many arguments", parcel, signature);
		element = p;
		if (i == count) {
			const char *behind = skip_element(p, 0);

			behind += *behind == '?';
			if (optional || *behind == '*')
				break;
			return fail_count("Too few arguments", parcel, signature);
		}
		if (!matches(&m, &p, tarn_parcel_at(parcel, i)))
			return m.why[0] == '\0' ? -TARN_EPROTO
				: tarn__fail(-TARN_EARGS, "Argument %u: %s.", i + 1, m.why);
		i++;
	}
	return 0;
}
