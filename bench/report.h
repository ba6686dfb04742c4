/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values and what becomes of them.
 *
 * A value belongs to a row (the case: "64 B, fixed order") and a column (who or which
 * statistic: "tarn", "mimalloc", "p50"). Each round adds one to every column of every row.
 * A column may name another one of its row that it is compared with: the ratio is taken
 * within the round, then the median of the ratios. Rounds are kept apart by the line
 * around them, and disturbed runs are thrown away: verdict.h.
 */
#ifndef TARN_BENCH_REPORT_H
#define TARN_BENCH_REPORT_H

#include "samples.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one run of one case ---- */

/* Measures the line, then after the run again, and files what was recorded in between.
 * @local: one CPU alone decides; the line is kept but does not divide the rounds. */
void run_begin(unsigned round, bool local);
/* Ends the run. True: it was disturbed and is forgotten; the caller measures the same again. */
bool run_again(void) __attribute__((warn_unused_result));
/* Ends a run that nobody would measure again: what was disturbed is kept, and told apart. */
void run_end(void);

/* After run_begin(): the run is one point, at @x, of a curve: the cost of @what against
 * "bytes", "clients" or "objects". */
void run_axis(const char *axis, double x, const char *what);

#define VERSUS_NONE NULL
#define VERSUS_LINE "line" /* a column of that name in the row, else the line around the run */

/* Between run_begin() and run_end(). Strings are copied; they hold no quotes. */
void record(const char *row, const char *column, const char *unit, double value,
	    const char *versus);
/* A digest as five columns, and its percentiles as a curve; p50, p99 and mean are compared
 * with @versus. */
void record_digest(const char *row, const struct digest *d, const char *versus);

/* Prints what --json or its absence asks for. */
void report(void);
/* Its parts, for bench-run, which has more to tell in between. */
void report_tables(void);
void report_end(void);
/* Three digits that count, in one of a few static buffers. */
const char *report_number(double v);
/* A remark above the table. */
void remark(const char *format, ...) __attribute__((format(printf, 1, 2)));

#ifdef __cplusplus
}
#endif
#endif
