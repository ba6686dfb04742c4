/* SPDX-License-Identifier: Apache-2.0 */
/* Text into a buffer of fixed size, as snprintf() does it: what does not fit is counted. */
#ifndef TARN_VALUE_TEXT_H
#define TARN_VALUE_TEXT_H

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct tarn__text {
	char *text;
	size_t bytes; /* of the buffer */
	size_t n;     /* of the whole text so far, without a NUL */
};

static inline void tarn__text_add(struct tarn__text *t, const char *data, size_t bytes)
{
	if (t->n < t->bytes) {
		size_t room = t->bytes - t->n;

		memcpy(t->text + t->n, data, bytes < room ? bytes : room);
	}
	t->n += bytes;
}

static inline void tarn__text_char(struct tarn__text *t, char c)
{
	if (t->n < t->bytes)
		t->text[t->n] = c;
	t->n++;
}

static inline void tarn__text_string(struct tarn__text *t, const char *s)
{
	tarn__text_add(t, s, strlen(s));
}

/* Of at most 255 bytes. */
__attribute__((format(printf, 2, 3)))
static inline void tarn__text_printf(struct tarn__text *t, const char *format, ...)
{
	char text[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (n > 0)
		tarn__text_add(t, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Length of the UTF-8 sequence of two bytes and more at @p of @bytes that stands for a character
 * one can show; 0: it is none. Control characters are none. */
static inline size_t tarn__utf8_length(const unsigned char *p, size_t bytes)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0xe0, 0xc0, 0xa0 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	for (size_t f = 0; f < 3; f++) {
		uint32_t c = p[0] & (uint32_t)(unsigned char)~forms[f].mask;
		size_t n = f + 2;

		if ((p[0] & forms[f].mask) != forms[f].lead)
			continue;
		if (n > bytes)
			return 0;
		for (size_t i = 1; i < n; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (p[i] & 0x3f);
		}
		return c >= forms[f].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
	}
	return 0;
}

/* Ends it with a NUL and says how long it would be. */
static inline int tarn__text_end(struct tarn__text *t)
{
	if (t->bytes > 0)
		t->text[t->n < t->bytes ? t->n : t->bytes - 1] = '\0';
	return t->n < INT_MAX ? (int)t->n : INT_MAX;
}

#endif
