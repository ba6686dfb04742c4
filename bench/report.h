/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values and what becomes of them.
 *
 * A value belongs to a row (the case: "64 B, fixed order") and a column (who or which
 * statistic: "tarn", "mimalloc", "p50"). Each round adds one to every column of every row.
 * A column may name another one of its row that it is compared with: the ratio is taken
 * within the round, then the median of the ratios. Rounds are kept apart by the line
 * around them: near, far, flip (it changed meanwhile) or busy (others were seen to run); a
 * row that one CPU alone decides is not split.
 */
#ifndef TARN_BENCH_REPORT_H
#define TARN_BENCH_REPORT_H

#include "common.h"

/* ---- single measurements, in ticks ---- */

struct samples {
	uint64_t *v;
	size_t n, capacity;
	bool sorted;
};
void samples_grow(struct samples *s, size_t capacity);
static inline void samples_add(struct samples *s, uint64_t v)
{
	if (s->n == s->capacity)
		samples_grow(s, s->capacity * 2 + 1024);
	s->v[s->n++] = v;
	s->sorted = false;
}
/* In ns; 0 if there are none. */
double samples_percentile(struct samples *s, double percent);
double samples_mean(const struct samples *s);
void samples_free(struct samples *s);

/* What is told of many samples; all in ns. It travels between processes. */
struct digest {
	double p50, p99, p999, max, mean;
};
struct digest digest_of(struct samples *s);

double median_of(double *v, size_t n); /* sorts @v */

/* ---- one run of one case ---- */

/* Measures the line, then after the run again, and files what was recorded in between.
 * @local: one CPU alone decides; the line is kept but does not divide the rounds. */
void run_begin(unsigned round, bool local);
void run_end(void);

#define VERSUS_NONE NULL
#define VERSUS_LINE "line" /* a column of that name in the row, else the line around the run */

/* Between run_begin() and run_end(). Strings are copied. */
void record(const char *row, const char *column, const char *unit, double value,
	    const char *versus);
/* A digest as five columns; p50, p99 and mean are compared with @versus. */
void record_digest(const char *row, const struct digest *d, const char *versus);

/* Files a value of another process (bench-run). */
struct value {
	char bench[32], row[96], column[48], unit[16], versus[48];
	unsigned round;
	bool local, busy;
	double value, before, after; /* the lines around it */
};
void report_file(const struct value *v);
/* Reads one line of --json; false if it is not a value. */
bool report_parse(const char *json, struct value *ret);

/* Prints what --json or its absence asks for. */
void report(void);
/* A remark above the table. */
__attribute__((format(printf, 1, 2))) void remark(const char *format, ...);

#endif
