/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows for people and for programs. A command describes its columns once; from that come
 * the table, the JSON and the choice of columns (-o).
 */
#ifndef TARN_TOOLS_TABLE_H
#define TARN_TOOLS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"

enum value_kind {
	VALUE_NONE = 0, /* "-", null */
	VALUE_TEXT,
	VALUE_NUMBER,
	VALUE_BYTES,    /* 1.5M, or 1572864 with --bytes */
	VALUE_NS,       /* 2m05s */
	VALUE_SHORT,    /* nanoseconds of what is short: 350ns, 1.2us, 40.0ms */
	VALUE_PERCENT,  /* number: hundredths */
	VALUE_ID,       /* 5:3; a string in JSON, whose numbers end at 2^53 */
	VALUE_LIST,     /* 1,2,...: at most two, and whether there are more */
};

struct value {
	enum value_kind kind;
	uint64_t number;
	const char *text;
	uint32_t list[2];
	unsigned n_list;
	bool more;
};

/* On terminals only. */
enum tint { TINT_NONE = 0, TINT_GOOD, TINT_WARN, TINT_BAD };

/* A column shows a field of its rows as it is, or what a function makes of a row. */
struct column {
	const char *heading;
	const char *key;       /* its name in JSON */
	bool hidden;           /* shown only when asked for, and in JSON */
	enum value_kind kind;  /* of the field; also how the column is aligned */
	size_t offset, bytes;  /* the field */
	struct value (*of)(const void *row);
	enum tint (*tint)(const void *row); /* may be NULL */
};
#define COLUMN_FIELD(kind_, type, field)                           \
	.kind = (kind_), .offset = offsetof(type, field),          \
	.bytes = sizeof(((type *)0)->field)

#define COLUMNS_MOST 40

/* How to show rows; filled in from the command line. */
struct table {
	const struct column *columns;
	unsigned n_columns;
	bool json, noheadings, exact_bytes;
	bool chosen;                    /* by -o */
	unsigned shown[COLUMNS_MOST];   /* indices of columns */
	unsigned n_shown;
};

/* Whether stdout takes colours: a terminal, and the user does not object (NO_COLOR). */
bool table_colour(void);
/* Stdout is a terminal that can be cleared. */
bool table_screen(void);

/* Columns as in "ID,SIZE"; NULL: those not hidden, in JSON all. Ends the program if one
 * does not exist. */
void table_choose(struct table *t, const char *list);

/* As text to stdout, or as the array @key into @j. */
void table_print(const struct table *t, const void *rows, size_t row_bytes, size_t n_rows);
void table_json(const struct table *t, struct json *j, const char *key, const void *rows,
		size_t row_bytes, size_t n_rows);

/* The member of JSON that column @i makes of one row. */
void table_json_cell(const struct table *t, struct json *j, unsigned i, const void *row);

/* A value as in a cell. @text holds at least VALUE_TEXT_BYTES. */
#define VALUE_TEXT_BYTES 512
void value_format(char *text, const struct value *v, bool exact_bytes);
void value_json(struct json *j, const char *key, const struct value *v);

#endif
