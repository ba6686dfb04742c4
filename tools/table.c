/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli.h"
#include "utf8.h"

/* ---- values ---- */

static void format_bytes(char *text, uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double v = (double)bytes;
	unsigned u = 0;

	/* 1023.96 would be shown as 1024.0. */
	for (; v >= 1023.95 && u < sizeof units - 2; u++)
		v /= 1024;
	snprintf(text, VALUE_TEXT_BYTES, u == 0 ? "%.0f%c" : "%.1f%c", v, units[u]);
}

static void format_ns(char *text, uint64_t ns)
{
	uint64_t s = ns / 1000000000;

	if (s == 0)
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "ms", ns / 1000000);
	else if (s < 60)
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "d%02" PRIu64 "h", s / 86400,
			 s / 3600 % 24);
}

static void format_short(char *text, uint64_t ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double v = (double)ns;
	unsigned u = 0;

	for (; v >= 999.95 && u < 3; u++)
		v /= 1000;
	snprintf(text, VALUE_TEXT_BYTES, u == 0 ? "%.0f%s" : "%.1f%s", v, units[u]);
}

/* What a terminal could take for an order, or what is no character, becomes '?'. */
static void format_text(char *text, const char *from)
{
	size_t used = 0;

	while (*from != '\0' && used + 4 < VALUE_TEXT_BYTES) {
		unsigned n = utf8_length(from), c = (unsigned char)*from;

		/* C1 controls are 0xc2 0x80 to 0xc2 0x9f in UTF-8. */
		if (n == 0 || c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)from[1] < 0xa0))
			text[used++] = '?';
		else
			for (unsigned i = 0; i < n; i++)
				text[used++] = from[i];
		from += n != 0 ? n : 1;
	}
	text[used] = '\0';
}

static void format_list(char *text, const struct value *v)
{
	size_t used = 0;

	for (unsigned i = 0; i < v->n_list; i++)
		used += (size_t)snprintf(text + used, VALUE_TEXT_BYTES - used, "%s%" PRIu32,
					 i > 0 ? "," : "", v->list[i]);
	if (v->more)
		snprintf(text + used, VALUE_TEXT_BYTES - used, "%s...", used > 0 ? "," : "");
}

void value_format(char *text, const struct value *v, bool exact_bytes)
{
	text[0] = '\0';
	switch (v->kind) {
	case VALUE_NONE:
		break;
	case VALUE_TEXT:
		format_text(text, v->text);
		break;
	case VALUE_BYTES:
		if (!exact_bytes) {
			format_bytes(text, v->number);
			break;
		}
		/* fallthrough */
	case VALUE_NUMBER:
		snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64, v->number);
		break;
	case VALUE_NS:
		format_ns(text, v->number);
		break;
	case VALUE_SHORT:
		format_short(text, v->number);
		break;
	case VALUE_PERCENT:
		snprintf(text, VALUE_TEXT_BYTES, "%.1f", (double)v->number / 100);
		break;
	case VALUE_ID:
		if (v->number != 0)
			cli_format_id(text, v->number);
		break;
	case VALUE_LIST:
		format_list(text, v);
	}
	if (text[0] == '\0')
		strcpy(text, "-"); /* no cell is empty: scripts count columns */
}

void value_json(struct json *j, const char *key, const struct value *v)
{
	char text[CLI_ID_BYTES];

	switch (v->kind) {
	case VALUE_NONE:
		json_null(j, key);
		break;
	case VALUE_TEXT:
		json_string(j, key, v->text);
		break;
	case VALUE_NUMBER:
	case VALUE_BYTES:
	case VALUE_NS:
	case VALUE_SHORT:
		json_number(j, key, v->number);
		break;
	case VALUE_PERCENT:
		json_real(j, key, (double)v->number / 100);
		break;
	case VALUE_ID:
		cli_format_id(text, v->number);
		if (v->number != 0)
			json_string(j, key, text);
		else
			json_null(j, key);
		break;
	case VALUE_LIST:
		json_array(j, key);
		for (unsigned i = 0; i < v->n_list; i++)
			json_number(j, NULL, v->list[i]);
		json_end(j);
	}
}

static uint64_t read_field(const unsigned char *at, size_t bytes)
{
	uint32_t four;
	uint64_t eight;

	if (bytes == 1)
		return *at;
	if (bytes == 4) {
		memcpy(&four, at, sizeof four);
		return four;
	}
	memcpy(&eight, at, sizeof eight);
	return eight;
}

static struct value value_of(const struct column *c, const void *row)
{
	const unsigned char *at = (const unsigned char *)row + c->offset;

	if (c->of != NULL)
		return c->of(row);
	if (c->kind == VALUE_TEXT)
		return (struct value){ .kind = VALUE_TEXT, .text = (const char *)at };
	return (struct value){ .kind = c->kind, .number = read_field(at, c->bytes) };
}

/* ---- which columns ---- */

_Noreturn static void no_column(const struct table *t, const char *name, size_t bytes)
{
	char all[512];
	size_t used = 0;

	for (unsigned i = 0; i < t->n_columns && used < sizeof all; i++)
		used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? "," : "",
					 t->columns[i].heading);
	cli_usage_error("no column '%.*s'; there are %s", (int)bytes, name, all);
}

static unsigned find_column(const struct table *t, const char *name, size_t bytes)
{
	for (unsigned i = 0; i < t->n_columns; i++)
		if (strlen(t->columns[i].heading) == bytes &&
		    strncasecmp(t->columns[i].heading, name, bytes) == 0)
			return i;
	no_column(t, name, bytes);
}

void table_choose(struct table *t, const char *list)
{
	t->n_shown = 0;
	t->chosen = list != NULL;
	if (list == NULL) {
		for (unsigned i = 0; i < t->n_columns; i++)
			if (t->json || !t->columns[i].hidden)
				t->shown[t->n_shown++] = i;
		return;
	}
	for (const char *at = list;; at++) {
		size_t n = strcspn(at, ",");
		unsigned c = find_column(t, at, n);

		for (unsigned i = 0; i < t->n_shown; i++)
			if (t->shown[i] == c)
				cli_usage_error("column '%.*s' is named twice", (int)n, at);
		t->shown[t->n_shown++] = c;
		at += n;
		if (*at == '\0')
			return;
	}
}

/* ---- output ---- */

/* Characters, not bytes. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static bool is_right(const struct column *c)
{
	return c->kind == VALUE_NUMBER || c->kind == VALUE_BYTES || c->kind == VALUE_NS ||
	       c->kind == VALUE_PERCENT || c->kind == VALUE_SHORT;
}

bool table_screen(void)
{
	static int answer = -1;
	const char *term = getenv("TERM");

	if (answer < 0)
		answer = isatty(STDOUT_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
	return answer;
}

bool table_colour(void)
{
	const char *no = getenv("NO_COLOR");

	return (no == NULL || *no == '\0') && table_screen();
}

static const char *paint(enum tint tint)
{
	static const char *const sequence[] = { [TINT_NONE] = "", [TINT_GOOD] = "\033[32m",
						[TINT_WARN] = "\033[33m", [TINT_BAD] = "\033[31m" };

	return sequence[tint];
}

static void print_cell(const struct table *t, unsigned k, int width, const char *text,
		       const char *on)
{
	bool last = k + 1 == t->n_shown, right = is_right(&t->columns[t->shown[k]]);
	int fill = width - width_of(text);

	if (fill < 0)
		fill = 0;
	/* No blanks at the end of a line. */
	printf("%*s%s%s%s%*s%s", right ? fill : 0, "", on, text, *on != '\0' ? "\033[m" : "",
	       right || last ? 0 : fill, "", last ? "\n" : "  ");
}

static void measure(const struct table *t, int *width, const char *rows, size_t row_bytes,
		    size_t n_rows)
{
	char text[VALUE_TEXT_BYTES];

	for (unsigned k = 0; k < t->n_shown; k++) {
		const struct column *c = &t->columns[t->shown[k]];

		width[k] = t->noheadings ? 0 : width_of(c->heading);
		for (size_t i = 0; i < n_rows; i++) {
			struct value v = value_of(c, rows + i * row_bytes);

			value_format(text, &v, t->exact_bytes);
			if (width_of(text) > width[k])
				width[k] = width_of(text);
		}
	}
}

void table_print(const struct table *t, const void *rows, size_t row_bytes, size_t n_rows)
{
	char text[VALUE_TEXT_BYTES];
	int width[COLUMNS_MOST];

	measure(t, width, rows, row_bytes, n_rows);
	for (unsigned k = 0; k < t->n_shown && !t->noheadings; k++)
		print_cell(t, k, width[k], t->columns[t->shown[k]].heading,
			   table_colour() ? "\033[1m" : "");
	for (size_t i = 0; i < n_rows; i++)
		for (unsigned k = 0; k < t->n_shown; k++) {
			const struct column *c = &t->columns[t->shown[k]];
			const void *row = (const char *)rows + i * row_bytes;
			struct value v = value_of(c, row);

			value_format(text, &v, t->exact_bytes);
			print_cell(t, k, width[k], text,
				   c->tint != NULL && table_colour() ? paint(c->tint(row)) : "");
		}
}

void table_json_cell(const struct table *t, struct json *j, unsigned i, const void *row)
{
	struct value v = value_of(&t->columns[i], row);

	value_json(j, t->columns[i].key, &v);
}

void table_json(const struct table *t, struct json *j, const char *key, const void *rows,
		size_t row_bytes, size_t n_rows)
{
	json_array(j, key);
	for (size_t i = 0; i < n_rows; i++) {
		json_object(j, NULL);
		for (unsigned k = 0; k < t->n_shown; k++)
			table_json_cell(t, j, t->shown[k], (const char *)rows + i * row_bytes);
		json_end(j);
	}
	json_end(j);
}
