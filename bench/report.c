/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "line.h"

#define NEAR_NS 200.0
#define FAR_NS 350.0
#define BUSY 1.5 /* mean of the line's blocks to their median: others ran meanwhile */
#define BUCKETS 12u

/* ---- samples ---- */

void samples_grow(struct samples *s, size_t capacity)
{
	if (capacity <= s->capacity)
		return;
	s->v = realloc(s->v, capacity * sizeof *s->v);
	if (s->v == NULL)
		die("no memory for %zu samples", capacity);
	memset(s->v + s->capacity, 0, (capacity - s->capacity) * sizeof *s->v); /* touched */
	s->capacity = capacity;
}

void samples_free(struct samples *s)
{
	free(s->v);
	*s = (struct samples){ 0 };
}

static int by_ticks(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double samples_percentile(struct samples *s, double percent)
{
	if (s->n == 0)
		return 0;
	if (!s->sorted)
		qsort(s->v, s->n, sizeof *s->v, by_ticks);
	s->sorted = true;
	size_t at = (size_t)(percent / 100 * (double)s->n);

	return ticks_to_ns(s->v[at < s->n ? at : s->n - 1]);
}

double samples_mean(const struct samples *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += (double)s->v[i];
	return s->n == 0 ? 0 : sum / (double)s->n * bench.ns_per_tick;
}

struct digest digest_of(struct samples *s)
{
	return (struct digest){ .p50 = samples_percentile(s, 50), .p99 = samples_percentile(s, 99),
				.p999 = samples_percentile(s, 99.9),
				.max = samples_percentile(s, 100), .mean = samples_mean(s) };
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double median_of(double *v, size_t n)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof *v, by_value);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- the store: all values in the order they came ---- */

static struct value *values;
static size_t n_values, values_capacity;
static struct {
	size_t first; /* values of the run under way */
	unsigned round;
	bool local, open;
	struct line_now before;
} run;

static void print_value(const struct value *v);

static void file(const struct value *v)
{
	if (n_values == values_capacity) {
		values_capacity = values_capacity * 2 + 256;
		values = realloc(values, values_capacity * sizeof *values);
		if (values == NULL)
			die("no memory for %zu values", values_capacity);
	}
	values[n_values++] = *v;
}

void report_file(const struct value *v)
{
	file(v);
	if (bench.json)
		print_value(v);
}

void run_begin(unsigned round, bool local)
{
	run.first = n_values;
	run.round = round;
	run.local = local;
	run.open = true;
	run.before = line_probe();
}

void record(const char *row, const char *column, const char *unit, double value,
	    const char *versus)
{
	struct value v = { .value = value, .round = run.round, .local = run.local };

	if (!run.open)
		die("a value outside a run: %s, %s", row, column);
	snprintf(v.bench, sizeof v.bench, "%s", bench.name);
	snprintf(v.row, sizeof v.row, "%s", row);
	snprintf(v.column, sizeof v.column, "%s", column);
	snprintf(v.unit, sizeof v.unit, "%s", unit);
	snprintf(v.versus, sizeof v.versus, "%s", versus != NULL ? versus : "");
	file(&v);
}

void record_digest(const char *row, const struct digest *d, const char *versus)
{
	record(row, "p50", "ns", d->p50, versus);
	record(row, "p99", "ns", d->p99, versus);
	record(row, "p99.9", "ns", d->p999, NULL);
	record(row, "max", "ns", d->max, NULL);
	record(row, "mean", "ns", d->mean, versus);
}

void run_end(void)
{
	struct line_now after = line_probe();
	bool busy = run.before.mean > run.before.ns * BUSY || after.mean > after.ns * BUSY;

	for (size_t i = run.first; i < n_values; i++) {
		values[i].before = run.before.ns;
		values[i].after = after.ns;
		values[i].busy = busy;
		if (bench.json)
			print_value(&values[i]);
	}
	run.open = false;
}

/* ---- classes ---- */

enum class { ANY, NEAR, FAR, FLIP, BUSY_RUN, CLASSES };
static const char *const class_name[] = { "any", "near", "far", "flip", "busy" };

static enum class class_of(const struct value *v)
{
	if (v->local || v->before <= 0)
		return ANY;
	if (v->busy)
		return BUSY_RUN;
	if (v->before < NEAR_NS && v->after < NEAR_NS)
		return NEAR;
	if (v->before > FAR_NS && v->after > FAR_NS)
		return FAR;
	return FLIP;
}

/* ---- JSON, one object a line ---- */

static void print_value(const struct value *v)
{
	printf("{\"type\":\"value\",\"bench\":\"%s\",\"row\":\"%s\",\"column\":\"%s\",\"unit\":\"%s\","
	       "\"versus\":\"%s\",\"round\":%u,\"local\":%d,\"busy\":%d,\"value\":%.9g,\"line_before\":%.1f,"
	       "\"line_after\":%.1f,\"class\":\"%s\"}\n",
	       v->bench, v->row, v->column, v->unit, v->versus, v->round, v->local, v->busy,
	       v->value, v->before, v->after, class_name[class_of(v)]);
}

static bool get_string(const char *json, const char *key, char *ret, size_t bytes)
{
	char pattern[32];
	const char *at;
	size_t n;

	snprintf(pattern, sizeof pattern, "\"%s\":\"", key);
	at = strstr(json, pattern);
	if (at == NULL)
		return false;
	at += strlen(pattern);
	n = strcspn(at, "\"");
	if (n >= bytes)
		return false;
	memcpy(ret, at, n);
	ret[n] = '\0';
	return true;
}

static double get_number(const char *json, const char *key)
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof pattern, "\"%s\":", key);
	at = strstr(json, pattern);
	return at != NULL ? strtod(at + strlen(pattern), NULL) : 0;
}

bool report_parse(const char *json, struct value *ret)
{
	char type[16];

	if (!get_string(json, "type", type, sizeof type) || strcmp(type, "value") != 0 ||
	    !get_string(json, "bench", ret->bench, sizeof ret->bench) ||
	    !get_string(json, "row", ret->row, sizeof ret->row) ||
	    !get_string(json, "column", ret->column, sizeof ret->column) ||
	    !get_string(json, "unit", ret->unit, sizeof ret->unit) ||
	    !get_string(json, "versus", ret->versus, sizeof ret->versus))
		return false;
	ret->round = (unsigned)get_number(json, "round");
	ret->local = get_number(json, "local") != 0;
	ret->busy = get_number(json, "busy") != 0;
	ret->value = get_number(json, "value");
	ret->before = get_number(json, "line_before");
	ret->after = get_number(json, "line_after");
	return true;
}

/* ---- summaries ---- */

struct spread {
	size_t n;
	double median, min, max;
};

static struct spread spread_of(double *v, size_t n)
{
	struct spread s = { .n = n, .median = median_of(v, n) };

	if (n > 0) {
		s.min = v[0];
		s.max = v[n - 1];
	}
	return s;
}

static bool same_row(const struct value *a, const struct value *b)
{
	return strcmp(a->row, b->row) == 0 && strcmp(a->bench, b->bench) == 0;
}
static bool same_series(const struct value *a, const struct value *b)
{
	return strcmp(a->column, b->column) == 0 && same_row(a, b);
}

/* What @v is compared with in its round; 0: nothing. */
static double reference_of(const struct value *v)
{
	for (size_t i = 0; i < n_values; i++)
		if (values[i].round == v->round && strcmp(values[i].column, v->versus) == 0 &&
		    same_row(&values[i], v))
			return values[i].value;
	return strcmp(v->versus, VERSUS_LINE) == 0 ? (v->before + v->after) / 2 : 0;
}

/* Values (or ratios) of a series in one class, into @ret. */
static size_t collect(const struct value *series, enum class class, bool ratios, double *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < n_values; i++) {
		double reference;

		if (class_of(&values[i]) != class || !same_series(&values[i], series))
			continue;
		if (!ratios) {
			ret[n++] = values[i].value;
			continue;
		}
		reference = reference_of(&values[i]);
		if (reference > 0)
			ret[n++] = values[i].value / reference;
	}
	return n;
}

/* Three digits that count. */
static const char *number(double v)
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
		printf("  %10s %.*s %zu\n", number(sorted[0] + width * k),
		       (int)(count[k] * 40 / most), "########################################",
		       count[k]);
}

static void print_line(const struct value *series, enum class class, double *room, bool row_name)
{
	struct spread v = spread_of(room, collect(series, class, false, room)), r = { 0 };
	char range[40], ratio[80] = "";

	if (v.n == 0)
		return;
	snprintf(range, sizeof range, "[%s..%s]", number(v.min), number(v.max));
	if (series->versus[0] != '\0')
		r = spread_of(room, collect(series, class, true, room));
	if (r.n > 0)
		snprintf(ratio, sizeof ratio, "%s [%s..%s] x %s", number(r.median), number(r.min),
			 number(r.max), series->versus);
	if (bench.json) {
		printf("{\"type\":\"summary\",\"bench\":\"%s\",\"row\":\"%s\",\"column\":\"%s\","
		       "\"unit\":\"%s\",\"class\":\"%s\",\"n\":%zu,\"median\":%.9g,\"min\":%.9g,"
		       "\"max\":%.9g,\"versus\":\"%s\",\"ratio\":%.6g,\"ratio_min\":%.6g,"
		       "\"ratio_max\":%.6g}\n",
		       series->bench, series->row, series->column, series->unit, class_name[class],
		       v.n, v.median, v.min, v.max, series->versus, r.median, r.min, r.max);
		return;
	}
	printf("%-42s %-14s %9s %-22s %-6s %-34s %-4s %3zu\n", row_name ? series->row : "",
	       series->column, number(v.median), range, series->unit, ratio, class_name[class], v.n);
	if (bench.histogram) {
		size_t n = collect(series, class, false, room);

		qsort(room, n, sizeof *room, by_value);
		print_histogram(room, n);
	}
}

/* The lines around all runs: what the machine was like. */
static void print_probes(double *room)
{
	static const char *const when[] = { "before", "after" };

	for (unsigned k = 0; k < 2; k++) {
		size_t n = 0;

		for (size_t i = 0; i < n_values; i++)
			if ((k == 0 ? values[i].before : values[i].after) > 0)
				room[n++] = k == 0 ? values[i].before : values[i].after;
		struct spread s = spread_of(room, n);

		if (n > 0)
			printf("# line round trip %s the runs: median %s ns [%s..%s]\n", when[k],
			       number(s.median), number(s.min), number(s.max));
	}
}

static void print_machine(void)
{
	struct utsname u;
	char model[96] = "unknown CPU";
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "model name : %95[^\n]", model) == 1)
			break;
	if (f != NULL)
		fclose(f);
	uname(&u);
	printf(bench.json ? "{\"type\":\"machine\",\"cpu\":\"%s\",\"system\":\"%s %s\",\"cpus\":[%d,%d],"
			    "\"others_percent\":%.1f}\n"
			  : "# %s, %s %s, CPUs %d and %d; other programs used %.1f %% of all CPUs\n",
	       model, u.sysname, u.release, bench.cpu[0], bench.cpu[1],
	       others_percent(line_cpu_ns()));
}

/* True if an earlier value is of the same series (or row). */
static bool seen_before(size_t i, bool row)
{
	for (size_t k = 0; k < i; k++)
		if (row ? same_row(&values[k], &values[i]) : same_series(&values[k], &values[i]))
			return true;
	return false;
}

static void print_row(size_t first, double *room)
{
	bool row_name = true;

	for (size_t i = first; i < n_values; i++) {
		if (!same_row(&values[i], &values[first]) || seen_before(i, false))
			continue;
		for (int c = ANY; c < CLASSES; c++)
			print_line(&values[i], (enum class)c, room, row_name);
		row_name = bench.histogram;
	}
}

void report(void)
{
	double *room = calloc(n_values + 1, sizeof *room);
	const char *of = "";

	if (room == NULL)
		die("no memory for the report");
	print_machine();
	if (!bench.json)
		print_probes(room);
	for (size_t i = 0; i < n_values; i++) {
		if (seen_before(i, true))
			continue;
		if (!bench.json && strcmp(of, values[i].bench) != 0)
			printf("\n%-42s %-14s %9s %-22s %-6s %-34s %-4s %3s\n", values[i].bench,
			       "", "median", "[min..max]", "unit", "ratio", "line", "n");
		of = values[i].bench;
		print_row(i, room);
	}
	free(room);
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
