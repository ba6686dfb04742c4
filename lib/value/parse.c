/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to values: what print.c writes, JSON, and what people type. Depth is the builder's
 * limit, so the recursion is bounded.
 */
#include <ctype.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "literal.h"
#include "value.h"

struct parser {
	const char *text, *at;
	tarn_builder *b;
	tarn_resolve_fn *resolve;
	void *user;
};

static int parse_value(struct parser *p);

static int fail_here(const struct parser *p, const char *expected)
{
	if (*p->at == '\0')
		return tarn__fail(-EINVAL, "Expected %s, found the end of the text.", expected);
	return tarn__fail(-EINVAL, "Expected %s at character %zu, found \"%.20s\".", expected,
			  (size_t)(p->at - p->text) + 1, p->at);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct parser *p)
{
	while (is_blank(*p->at))
		p->at++;
}

/* ---- strings ---- */

static int hex(const char *digits, unsigned n, unsigned *ret)
{
	unsigned value = 0;

	for (unsigned i = 0; i < n; i++) {
		char c = digits[i];

		if (!isxdigit((unsigned char)c))
			return -EINVAL;
		value = value * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	*ret = value;
	return 0;
}

static size_t put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* \uXXXX, perhaps two of them; p->at is behind the u. */
static int parse_unicode(struct parser *p, char *to, size_t *n)
{
	unsigned c, low;

	if (hex(p->at, 4, &c) < 0)
		return fail_here(p, "four hexadecimal digits");
	p->at += 4;
	if (c >= 0xd800 && c < 0xdc00 && p->at[0] == '\\' && p->at[1] == 'u' &&
	    hex(p->at + 2, 4, &low) == 0 && low >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		p->at += 6;
	}
	*n += put_utf8(to + *n, c);
	return 0;
}

/* Behind a backslash. What comes out is never longer than what is read. */
static int parse_escape(struct parser *p, char *to, size_t *n)
{
	static const char marks[] = "\"'\\/nrtbf0", plain[] = "\"'\\/\n\r\t\b\f\0";
	const char *mark = *p->at != '\0' ? strchr(marks, *p->at) : NULL;
	unsigned c;

	if (mark != NULL) {
		to[(*n)++] = plain[mark - marks];
		p->at++;
		return 0;
	}
	if (*p->at == 'x' && hex(p->at + 1, 2, &c) == 0) {
		to[(*n)++] = (char)c;
		p->at += 3;
		return 0;
	}
	if (*p->at != 'u')
		return fail_here(p, "an escape (\\n, \\\", \\xff, \\u00ff ...)");
	p->at++;
	return parse_unicode(p, to, n);
}

/* From the quote to the one like it. The caller frees @ret_data. */
static int parse_quoted(struct parser *p, char **ret_data, size_t *ret_bytes)
{
	char quote = *p->at++;
	const char *end = p->at;
	size_t n = 0;
	char *to;
	int r = 0;

	while (*end != '\0' && *end != quote)
		end += end[0] == '\\' && end[1] != '\0' ? 2 : 1;
	to = malloc((size_t)(end - p->at) + 1);
	if (to == NULL)
		return tarn__fail(-ENOMEM, "No memory for a string.");
	while (*p->at != quote && r == 0) {
		if (*p->at == '\0') {
			r = fail_here(p, "the end of a string");
		} else if (*p->at == '\\') {
			p->at++;
			r = parse_escape(p, to, &n);
		} else {
			to[n++] = *p->at++;
		}
	}
	if (r < 0) {
		free(to);
		return r;
	}
	p->at++;
	*ret_data = to;
	*ret_bytes = n;
	return 0;
}

enum { STRING, BYTES, KEY };
static int parse_string(struct parser *p, int what)
{
	size_t bytes;
	char *data;
	int r = parse_quoted(p, &data, &bytes);

	if (r < 0)
		return r;
	if (what == KEY)
		r = tarn_map_key_n(p->b, data, bytes);
	else if (what == BYTES)
		r = tarn_put_bytes(p->b, data, bytes);
	else
		r = tarn_put_string_n(p->b, data, bytes);
	free(data);
	return r;
}

/* ---- numbers ---- */

/* Behind an integer: digits, or 0x and such. */
static const char *skip_digits(const char *s)
{
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		for (s += 2; isxdigit((unsigned char)*s);)
			s++;
	else
		while (isdigit((unsigned char)*s))
			s++;
	return s;
}

static int parse_double(struct parser *p)
{
	locale_t c = tarn__c_locale();
	char *end;
	double d = c != (locale_t)0 ? strtod_l(p->at, &end, c) : strtod(p->at, &end);

	if (end == p->at)
		return fail_here(p, "a number");
	p->at = end;
	return tarn_put_double(p->b, d);
}

/* A whole number. @key: of a map, where it must be an int. */
static int parse_whole(struct parser *p, const char *digits, const char *end, bool key)
{
	bool negative = *p->at == '-', is_uint = *end == 'u';
	int base = digits[0] == '0' && (digits[1] | 0x20) == 'x' ? 16 : 10;
	unsigned long long n;

	if (base == 16 && end == digits + 2)
		return fail_here(p, "a number");
	errno = 0;
	n = strtoull(digits, NULL, base);
	if (errno == ERANGE || (negative && (is_uint || n > UINT64_C(1) << 63)) ||
	    (key && (is_uint || (!negative && n > INT64_MAX))))
		return fail_here(p, key ? "a key of 64 bits with sign" : "a number of 64 bits");
	p->at = end + is_uint;
	if (key)
		return tarn_map_key_int(p->b, (int64_t)(negative ? 0 - n : n));
	if (is_uint || (!negative && n > INT64_MAX))
		return tarn_put_uint(p->b, n);
	return tarn_put_int(p->b, (int64_t)(negative ? 0 - n : n));
}

static int parse_number(struct parser *p, bool key)
{
	const char *digits = p->at + (*p->at == '-' || *p->at == '+'), *end = skip_digits(digits);

	if (end > digits && strchr(".eE", *end) == NULL)
		return parse_whole(p, digits, end, key);
	if (end > digits && *end == '\0')
		return parse_whole(p, digits, end, key);
	if (key)
		return fail_here(p, "a string or a whole number as key");
	return parse_double(p);
}

/* ---- the rest ---- */

static bool take_word(struct parser *p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(p->at, word, n) != 0 || isalnum((unsigned char)p->at[n]) || p->at[n] == '_')
		return false;
	p->at += n;
	return true;
}

static int parse_reference(struct parser *p)
{
	const char *end = strchr(p->at, '>');
	unsigned before = tarn_builder_count(p->b);
	uint32_t entries = p->b->count;
	char *reference;
	int r;

	if (end == NULL)
		return fail_here(p, "a reference with a '>' at its end");
	if (p->resolve == NULL)
		return fail_here(p, "a value that is no reference (they mean nothing here)");
	reference = strndup(p->at + 1, (size_t)(end - p->at) - 1);
	if (reference == NULL)
		return tarn__fail(-ENOMEM, "No memory for a reference.");
	r = p->resolve(p->user, reference, p->b);
	free(reference);
	if (r < 0)
		return r;
	if (tarn_builder_count(p->b) - before + p->b->count - entries != 1)
		return fail_here(p, "one value for the reference");
	p->at = end + 1;
	return p->b->error;
}

/* Between values: blanks, a comma, or both. What follows must begin a value or be @end. */
static int parse_separator(struct parser *p, char end)
{
	const char *before = p->at;

	skip_blanks(p);
	if (*p->at == ',') {
		p->at++;
		skip_blanks(p);
		if (*p->at == end)
			return fail_here(p, "a value after the comma");
		return 0;
	}
	if (*p->at == '\0' && end != '\0')
		return fail_here(p, end == ']' ? "a ']'" : "a '}'");
	if (*p->at != end && p->at == before)
		return fail_here(p, "a comma or a blank");
	return 0;
}

static int parse_list(struct parser *p, enum tarn_kind kind)
{
	int r = tarn__open(p->b, kind);

	p->at++;
	skip_blanks(p);
	while (r == 0 && *p->at != ']') {
		r = parse_value(p);
		if (r == 0)
			r = parse_separator(p, ']');
	}
	p->at++;
	return r < 0 ? r : tarn__close(p->b, kind);
}

static int parse_entry(struct parser *p)
{
	int r;

	if (*p->at == '"' || *p->at == '\'')
		r = parse_string(p, KEY);
	else
		r = parse_number(p, true);
	if (r < 0)
		return r;
	skip_blanks(p);
	if (*p->at != ':')
		return fail_here(p, "a ':' after the key");
	p->at++;
	skip_blanks(p);
	return parse_value(p);
}

static int parse_map(struct parser *p)
{
	int r = tarn_map_begin(p->b);

	p->at++;
	skip_blanks(p);
	while (r == 0 && *p->at != '}') {
		r = parse_entry(p);
		if (r == 0)
			r = parse_separator(p, '}');
	}
	p->at++;
	return r < 0 ? r : tarn_map_end(p->b);
}

static int parse_value(struct parser *p)
{
	char c = *p->at;

	if (c == '"' || c == '\'')
		return parse_string(p, STRING);
	if (c == 'b' && (p->at[1] == '"' || p->at[1] == '\'')) {
		p->at++;
		return parse_string(p, BYTES);
	}
	if (c == '[')
		return parse_list(p, TARN_KIND_LIST);
	if (c == '{')
		return parse_map(p);
	if (c == '<')
		return parse_reference(p);
	if (strncmp(p->at, "error[", 6) == 0) {
		p->at += 5;
		return parse_list(p, TARN_KIND_ERROR);
	}
	if (take_word(p, "nil") || take_word(p, "null") || take_word(p, "None"))
		return tarn_put_nil(p->b);
	if (take_word(p, "true") || take_word(p, "True"))
		return tarn_put_bool(p->b, true);
	if (take_word(p, "false") || take_word(p, "False"))
		return tarn_put_bool(p->b, false);
	if (c != '\0' && strchr("+-.0123456789in", c) != NULL)
		return parse_number(p, false);
	return fail_here(p, "a value");
}

int tarn_value_parse(const char *text, tarn_builder *builder, tarn_resolve_fn *resolve, void *user)
{
	struct parser p = { text, text, builder, resolve, user };
	int r = builder->error;

	if (text == NULL)
		return tarn__builder_fail(builder, tarn__fail(-EINVAL, "There is no text to read values from."));
	skip_blanks(&p);
	while (r == 0 && *p.at != '\0') {
		r = parse_value(&p);
		if (r == 0)
			r = parse_separator(&p, '\0');
	}
	return r < 0 ? tarn__builder_fail(builder, r) : 0;
}
