/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text that tarn_value_parse() reads back and a terminal can show. */
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/error.h"
#include "literal.h"
#include "text.h"
#include "value.h"

static int print(struct tarn__walk *walk, struct tarn__text *t, const tarn_value *v);

/* ---- numbers ---- */

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

locale_t tarn__c_locale(void)
{
	pthread_once(&c_locale_once, make_c_locale);
	return c_locale;
}

/* The shortest of three that is read back as the same number; with a mark that it is none of
 * the whole kinds. */
static void print_double(struct tarn__text *t, double d)
{
	locale_t before = uselocale(tarn__c_locale());
	char text[40];

	if (isnan(d) || isinf(d)) {
		snprintf(text, sizeof text, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
	} else {
		for (int digits = 15; digits <= 17; digits++) {
			snprintf(text, sizeof text, "%.*g", digits, d);
			if (strtod(text, NULL) == d)
				break;
		}
		if (strpbrk(text, ".e") == NULL)
			memcpy(text + strlen(text), ".0", 3);
	}
	uselocale(before);
	tarn__text_string(t, text);
}

/* ---- strings ---- */

/* The next character's bytes, each read once: others may write to them, and what is shown must
 * be what was looked at. */
static size_t take_bytes(const unsigned char *p, size_t bytes, unsigned char ret[4])
{
	size_t n = bytes < 4 ? bytes : 4;

	for (size_t i = 0; i < n; i++)
		ret[i] = __atomic_load_n(p + i, __ATOMIC_RELAXED);
	return n;
}

static void print_quoted(struct tarn__text *t, const unsigned char *p, size_t bytes, bool utf8)
{
	static const char plain[] = "\"\\\n\r\t", marks[] = "\"\\nrt";

	tarn__text_char(t, '"');
	while (bytes > 0) {
		unsigned char next[4];
		size_t there = take_bytes(p, bytes, next), n = 1;
		unsigned char c = next[0];
		const char *escape = c != '\0' ? strchr(plain, c) : NULL;

		if (escape != NULL) {
			tarn__text_char(t, '\\');
			tarn__text_char(t, marks[escape - plain]);
		} else if (c >= ' ' && c < 0x7f) {
			tarn__text_char(t, (char)c);
		} else if (utf8 && (n = tarn__utf8_length(next, there)) > 0) {
			tarn__text_add(t, (const char *)next, n);
		} else {
			n = 1;
			tarn__text_printf(t, "\\x%02x", c);
		}
		p += n;
		bytes -= n;
	}
	tarn__text_char(t, '"');
}

/* ---- the rest ---- */

static int print_data(struct tarn__text *t, const tarn_value *v)
{
	bool string = tarn__head_kind(v->head) == TARN_KIND_STRING;
	const unsigned char *data;
	size_t bytes;
	int r = tarn__value_data(v, &data, &bytes);

	if (r < 0)
		return r;
	if (!string)
		tarn__text_char(t, 'b');
	print_quoted(t, data, bytes, string);
	return 0;
}

static int print_handle(struct tarn__text *t, const tarn_value *v)
{
	struct tarn_block *handle;
	char text[160];
	int r = tarn__value_handle(v, &handle);

	if (r < 0)
		return r;
	tarn__value_hooks.format(handle, text, sizeof text);
	tarn__text_string(t, text);
	return 0;
}

static int print_slots(struct tarn__walk *walk, struct tarn__text *t, const tarn_value *v)
{
	bool map = tarn__head_kind(v->head) == TARN_KIND_MAP;
	uint32_t n;
	int r = tarn__slots(v, &n);

	if (tarn__head_kind(v->head) == TARN_KIND_ERROR)
		tarn__text_string(t, "error");
	tarn__text_char(t, map ? '{' : '[');
	for (uint32_t i = 0; i < n && r == 0; i++) {
		tarn_value entry = tarn__slot_of(v, i);
		unsigned kind = tarn__head_kind(entry.head);

		if (i > 0)
			tarn__text_string(t, map && i % 2 == 1 ? ": " : ", ");
		if (map && i % 2 == 0 && kind != TARN_KIND_STRING && kind != TARN_KIND_INT)
			return tarn__fail_static(-TARN_EPROTO, "A map that arrived has an impossible key.");
		r = print(walk, t, &entry);
	}
	tarn__text_char(t, map ? '}' : ']');
	return r;
}

static int print(struct tarn__walk *walk, struct tarn__text *t, const tarn_value *v)
{
	int r = tarn__walk_visit(walk, v);
	double d;

	if (r < 0)
		return r;
	switch (tarn_value_kind(*v)) {
	case TARN_KIND_NIL:
		tarn__text_string(t, "nil");
		return 0;
	case TARN_KIND_BOOL:
		tarn__text_string(t, v->body != 0 ? "true" : "false");
		return 0;
	case TARN_KIND_INT:
		tarn__text_printf(t, "%lld", (long long)v->body);
		return 0;
	case TARN_KIND_UINT:
		tarn__text_printf(t, "%lluu", (unsigned long long)v->body);
		return 0;
	case TARN_KIND_DOUBLE:
		memcpy(&d, &v->body, sizeof d);
		print_double(t, d);
		return 0;
	case TARN_KIND_STRING:
	case TARN_KIND_BYTES:
		return print_data(t, v);
	case TARN_KIND_BLOCK:
	case TARN_KIND_OBJECT:
	case TARN_KIND_CHANNEL:
		return print_handle(t, v);
	default:
		return print_slots(walk, t, v);
	}
}

int tarn_value_format(tarn_value value, char *text, size_t bytes)
{
	struct tarn__text t = { text, bytes, 0 };
	struct tarn__walk walk = tarn__walk_begin(value.parcel);
	int r = print(&walk, &t, &value), n = tarn__text_end(&t);

	return r < 0 ? r : n;
}

int tarn_parcel_format(const tarn_parcel *parcel, char *text, size_t bytes)
{
	struct tarn__text t = { text, bytes, 0 };
	struct tarn__walk walk = tarn__walk_begin(parcel);
	int r = 0, n;

	for (unsigned i = 0; i < tarn_parcel_count(parcel) && r == 0; i++) {
		tarn_value v = tarn_parcel_at(parcel, i);

		if (i > 0)
			tarn__text_string(&t, ", ");
		r = print(&walk, &t, &v);
	}
	n = tarn__text_end(&t);
	return r < 0 ? r : n;
}
