/* SPDX-License-Identifier: Apache-2.0 */
/* Text into a buffer of fixed size, as snprintf() does it: what does not fit is counted. */
#ifndef TARN_VALUE_TEXT_H
#define TARN_VALUE_TEXT_H

#include <limits.h>
#include <stdarg.h>
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

/* Ends it with a NUL and says how long it would be. */
static inline int tarn__text_end(struct tarn__text *t)
{
	if (t->bytes > 0)
		t->text[t->n < t->bytes ? t->n : t->bytes - 1] = '\0';
	return t->n < INT_MAX ? (int)t->n : INT_MAX;
}

#endif
