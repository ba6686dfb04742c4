/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonl.h"
#include "store.h"

#define BUCKETS 12u

/* ---- summaries ---- */

/* Values (or ratios) of a series in one class, into @ret. */
static size_t collect(const struct value *series, enum line_class class, bool ratios, double *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < store.n_values; i++) {
		double reference;

		if (store.value[i].class != class || !same_series(&store.value[i], series))
			continue;
		if (!ratios) {
			ret[n++] = store.value[i].value;
			continue;
		}
		reference = reference_of(&store.value[i]);
		if (reference > 0)
			ret[n++] = store.value[i].value / reference;
	}
	return n;
}

/* Three digits that count. */
const char *report_number(double v)
{
	static char buffer[8][24];
	static unsigned at;
	char *text = buffer[at++ % 8];
	double a = fabs(v);
	int digits = a >= 100 || a == 0 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : 3;

	if (a >= 1e7)
		snprintf(text, 24, "%.3g", v);
	else
		snprintf(text, 24, "%.*f", digits, v);
	return text;
}

static void print_histogram(const double *sorted, size_t n)
{
	size_t count[BUCKETS] = { 0 }, most = 1;
	double width = (sorted[n - 1] - sorted[0]) / BUCKETS;

	if (n < 2 || width <= 0)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t at = (size_t)((sorted[i] - sorted[0]) / width);

		at = at < BUCKETS ? at : BUCKETS - 1;
		most = ++count[at] > most ? count[at] : most;
	}
	for (unsigned k = 0; k < BUCKETS; k++)
		printf("  %10s %.*s %zu\n", report_number(sorted[0] + width * k),
		       (int)(count[k] * 40 / most), "########################################",
		       count[k]);
}

static void jsonl_summary(const struct value *series, enum line_class class, const struct spread *v,
			  const struct spread *r)
{
	jsonl_begin("summary");
	jsonl_string("bench", series->bench);
	jsonl_string("row", series->row);
	jsonl_string("column", series->column);
	jsonl_string("unit", series->unit);
	jsonl_string("class", class_name[class]);
	jsonl_number("n", (double)v->n);
	jsonl_number("median", v->median);
	jsonl_number("min", v->min);
	jsonl_number("max", v->max);
	if (r->n > 0) {
		jsonl_string("versus", series->versus);
		jsonl_number("ratio", r->median);
		jsonl_number("ratio_min", r->min);
		jsonl_number("ratio_max", r->max);
	}
	jsonl_close();
}

static void print_line(const struct value *series, enum line_class class, double *room, bool row_name)
{
	struct spread v = spread_of(room, collect(series, class, false, room)), r = { 0 };
	char range[40], ratio[80] = "";

	if (v.n == 0)
		return;
	snprintf(range, sizeof range, "[%s..%s]", report_number(v.min), report_number(v.max));
	if (series->versus[0] != '\0')
		r = spread_of(room, collect(series, class, true, room));
	if (r.n > 0)
		snprintf(ratio, sizeof ratio, "%s [%s..%s] x %s", report_number(r.median), report_number(r.min),
			 report_number(r.max), series->versus);
	if (bench.json) {
		jsonl_summary(series, class, &v, &r);
		return;
	}
	printf("%-42s %-14s %9s %-22s %-6s %-34s %-4s %3zu\n", row_name ? series->row : "",
	       series->column, report_number(v.median), range, series->unit, ratio, class_name[class], v.n);
	if (bench.histogram) {
		size_t n = spread_of(room, collect(series, class, false, room)).n;

		print_histogram(room, n);
	}
}

/* The lines around all runs: what the machine was like. */
static void print_probes(double *room)
{
	static const char *const when[] = { "before", "after" };

	for (unsigned k = 0; k < 2; k++) {
		size_t n = 0;

		for (size_t i = 0; i < store.n_values; i++)
			if ((k == 0 ? store.value[i].before : store.value[i].after) > 0)
				room[n++] = k == 0 ? store.value[i].before : store.value[i].after;
		struct spread s = spread_of(room, n);

		if (n > 0)
			printf("# line round trip %s the runs: median %s ns [%s..%s]\n", when[k],
			       report_number(s.median), report_number(s.min), report_number(s.max));
	}
}

static void print_machine(void)
{
	printf("# %s, %s, CPUs %d and %d; other programs used %.1f %% of all CPUs\n", machine_cpu(),
	       machine_system(), bench.cpu[0], bench.cpu[1], others_since(&bench.began).percent);
}

/* What was measured again, and what stayed disturbed. */
static void print_discards(void)
{
	size_t n[CLASSES] = { 0 };

	for (size_t i = 0; i < store.n_discards; i++)
		n[store.discard[i].class]++;
	if (store.n_discards > 0)
		printf("# thrown away and measured again: %zu runs during which the line changed, %zu "
		       "during which others ran\n",
		       n[CLASS_FLIP], n[CLASS_BUSY]);
}

/* True if an earlier value is of the same series (or row). */
static bool seen_before(size_t i, bool row)
{
	for (size_t k = 0; k < i; k++)
		if (row ? same_row(&store.value[k], &store.value[i]) : same_series(&store.value[k], &store.value[i]))
			return true;
	return false;
}

static void print_row(size_t first, double *room)
{
	bool row_name = true;

	for (size_t i = first; i < store.n_values; i++) {
		if (!same_row(&store.value[i], &store.value[first]) || seen_before(i, false))
			continue;
		for (int c = CLASS_ANY; c < CLASSES; c++)
			print_line(&store.value[i], (enum line_class)c, room, row_name);
		row_name = bench.histogram;
	}
}

void report_tables(void)
{
	double *room = calloc(store.n_values + 1, sizeof *room);
	const char *of = "";

	if (room == NULL)
		die("no memory for the report");
	if (!bench.json) {
		print_machine();
		print_discards();
		print_probes(room);
	}
	for (size_t i = 0; i < store.n_values; i++) {
		if (seen_before(i, true))
			continue;
		if (!bench.json && strcmp(of, store.value[i].bench) != 0)
			printf("\n%-42s %-14s %9s %-22s %-6s %-34s %-4s %3s\n", store.value[i].bench,
			       "", "median", "[min..max]", "unit", "ratio", "line", "n");
		of = store.value[i].bench;
		print_row(i, room);
	}
	free(room);
}

void report_end(void)
{
	if (bench.json)
		jsonl_end(others_since(&bench.began).percent, bench.failed);
}

void report(void)
{
	report_tables();
	report_end();
}

void remark(const char *format, ...)
{
	va_list ap;

	if (bench.json)
		return;
	printf("# ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}
