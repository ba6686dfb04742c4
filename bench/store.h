/* SPDX-License-Identifier: Apache-2.0 */
/* All that was recorded, in the order it came; for report.c, json.c and bench-run. */
#ifndef TARN_BENCH_STORE_H
#define TARN_BENCH_STORE_H

#include "samples.h"
#include "verdict.h"

#define NAME_BYTES 96u

struct value {
	char bench[32], row[NAME_BYTES], column[48], unit[16], versus[48];
	char axis[16], what[NAME_BYTES]; /* run_axis(); empty: none */
	double x;
	unsigned round;
	enum line_class class;
	double value, before, after; /* the lines around it */
	double others_percent;
};

/* The percentiles of a row in one round. */
struct curve {
	char bench[32], row[NAME_BYTES];
	unsigned round;
	enum line_class class;
	double ns[CURVE_POINTS];
};

/* A run that was thrown away. */
struct discard {
	char bench[32], row[NAME_BYTES];
	unsigned round;
	enum line_class class;
	double before, after, others_percent;
};

struct store {
	struct value *value;
	size_t n_values, values_room;
	struct curve *curve;
	size_t n_curves, curves_room;
	struct discard *discard;
	size_t n_discards, discards_room;
};
extern struct store store;

void store_value(const struct value *v);
void store_curve(const struct curve *c);
void store_discard(const struct discard *d);

bool same_row(const struct value *a, const struct value *b);
bool same_series(const struct value *a, const struct value *b);
/* What @v is compared with in its round; 0: nothing. */
double reference_of(const struct value *v);

struct spread {
	size_t n;
	double median, min, max;
};
struct spread spread_of(double *v, size_t n); /* sorts @v */

/* For tests: what is seen around runs comes from here instead of from the machine. */
void surroundings_from(struct line_now (*probe)(void),
		       struct others (*others)(const struct moment *since));

#endif
