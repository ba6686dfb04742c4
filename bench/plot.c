/* SPDX-License-Identifier: Apache-2.0 */
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jsonl.h"
#include "report.h"
#include "store.h"

#define CURVES_MOST 24u
#define SERIES_MOST 24u
#define PANEL_WIDTH 1400u
#define PANEL_HEIGHT 620u

static bool made; /* the file is ours, and empty so far */

static bool gnuplot_is_there(void)
{
	const char *path = getenv("PATH");
	char copy[4096], file[4200];

	if (path == NULL || strlen(path) >= sizeof copy)
		return false;
	snprintf(copy, sizeof copy, "%s", path);
	for (char *dir = strtok(copy, ":"); dir != NULL; dir = strtok(NULL, ":")) {
		snprintf(file, sizeof file, "%s/gnuplot", dir);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

void plot_prepare(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	made = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		refuse("%s: %s", file, strerror(errno));
	close(fd);
	if (gnuplot_is_there())
		return;
	fprintf(stderr, "%s: no plot: gnuplot is not installed\n", bench.called);
	if (made)
		unlink(file);
}

/* ---- text for gnuplot ---- */

/* A string in its single quotes; a name of a file or a row may hold anything. */
static void put_text(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputc('\'', out);
		if ((unsigned char)*text < ' ')
			continue;
		fputc(*text, out);
	}
	fputc('\'', out);
}

/* ---- curves over percentiles ---- */

static bool same_curve(const struct curve *a, const struct curve *b)
{
	return strcmp(a->bench, b->bench) == 0 && strcmp(a->row, b->row) == 0;
}

/* Panels of curves; a row goes to the first whose pattern it matches, one of "limit" to all. */
static const char limit[] = "*round trip*";
static const struct {
	const char *pattern, *title;
} panels_of_curves[] = {
	{ "*call*", "Latency over percentiles: calls" },
	{ "create and delete*", "Latency over percentiles: making and dropping" },
	{ "*", "Latency over percentiles: there and back" },
};
#define CURVE_PANELS (sizeof panels_of_curves / sizeof *panels_of_curves)

static bool is_limit(const struct curve *c)
{
	return fnmatch(limit, c->row, 0) == 0;
}

static bool is_of_panel(const struct curve *c, unsigned panel)
{
	unsigned k = 0;

	while (k + 1 < CURVE_PANELS && fnmatch(panels_of_curves[k].pattern, c->row, 0) != 0)
		k++;
	return k == panel || is_limit(c);
}

/* The first curve of each row of a panel: indices into the store. */
static unsigned find_curves(unsigned panel, size_t *ret)
{
	bool more_than_limits = false;
	unsigned n = 0;

	for (size_t i = 0; i < store.n_curves && n < CURVES_MOST; i++) {
		bool known = !is_of_panel(&store.curve[i], panel);

		for (unsigned k = 0; k < n; k++)
			known |= same_curve(&store.curve[ret[k]], &store.curve[i]);
		if (known)
			continue;
		ret[n++] = i;
		more_than_limits |= !is_limit(&store.curve[i]);
	}
	/* What the machine can do is drawn beside something, or where nothing else was measured. */
	return more_than_limits || panel + 1 == CURVE_PANELS ? n : 0;
}

/* Where a percentile stands on the axis: 90 at 1, 99 at 2, 99.9 at 3. */
static double nines(double percent)
{
	return percent >= 100 ? 5 : -log10(1 - percent / 100);
}

static void put_curve(FILE *out, unsigned panel, unsigned number, const struct curve *first)
{
	double *room = calloc(store.n_curves + 1, sizeof *room);

	if (room == NULL)
		die("no memory for the plot");
	fprintf(out, "$curve%u_%u << END\n", panel, number);
	for (unsigned p = 0; p < CURVE_POINTS; p++) {
		size_t n = 0;

		for (size_t i = 0; i < store.n_curves; i++)
			if (same_curve(&store.curve[i], first) && store.curve[i].ns[p] > 0)
				room[n++] = store.curve[i].ns[p];
		if (n > 0)
			fprintf(out, "%.6f %.3f\n", nines(curve_percent[p]), median_of(room, n));
	}
	fprintf(out, "END\n");
	free(room);
}

static void put_percentiles(FILE *out, unsigned panel, const size_t *at, unsigned n)
{
	char title[200];

	fprintf(out, "set title '%s'\n"
		     "set xlabel 'percentile'\nset ylabel 'ns'\n"
		     "unset logscale x\nset logscale y\nset format y '10^{%%L}'\n"
		     "set xrange [0:5.2]\n"
		     "set xtics ('50' 0.30103, '90' 1, '99' 2, '99.9' 3, '99.99' 4, 'max' 5)\n"
		     "plot ",
		panels_of_curves[panel].title);
	for (unsigned i = 0; i < n; i++) {
		snprintf(title, sizeof title, "%s: %s", store.curve[at[i]].bench, store.curve[at[i]].row);
		fprintf(out, "%s$curve%u_%u using 1:2 with linespoints title ", i == 0 ? "" : ", ", panel, i);
		put_text(out, title);
	}
	fputc('\n', out);
}

/* ---- cost against something ---- */

static bool is_cost(const struct value *v, const char *axis)
{
	static const char *const not_cost[] = { "p99", "p99.9", "max", "mean", "line" };

	if (strcmp(v->axis, axis) != 0 || strcmp(v->unit, "ns") != 0)
		return false;
	for (unsigned i = 0; i < sizeof not_cost / sizeof *not_cost; i++)
		if (strcmp(v->column, not_cost[i]) == 0)
			return false;
	return true;
}

static bool same_line(const struct value *a, const struct value *b)
{
	return strcmp(a->bench, b->bench) == 0 && strcmp(a->what, b->what) == 0 &&
	       strcmp(a->column, b->column) == 0;
}

/* A point alone is no line. */
static bool is_line(const struct value *first, const char *axis)
{
	for (size_t i = 0; i < store.n_values; i++) {
		const struct value *v = &store.value[i];

		if (is_cost(v, axis) && same_line(v, first) && (v->x < first->x || v->x > first->x))
			return true;
	}
	return false;
}

static unsigned find_series(const char *axis, size_t *ret)
{
	unsigned n = 0;

	for (size_t i = 0; i < store.n_values && n < SERIES_MOST; i++) {
		bool known = false;

		if (!is_cost(&store.value[i], axis) || !is_line(&store.value[i], axis))
			continue;
		for (unsigned k = 0; k < n; k++)
			known |= same_line(&store.value[ret[k]], &store.value[i]);
		if (!known)
			ret[n++] = i;
	}
	return n;
}

static int by_number(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void put_series(FILE *out, const char *axis, unsigned number, const struct value *first)
{
	double *x = calloc(2 * store.n_values + 1, sizeof *x), *y;
	size_t n = 0;

	if (x == NULL)
		die("no memory for the plot");
	y = x + store.n_values;
	for (size_t i = 0; i < store.n_values; i++)
		if (is_cost(&store.value[i], axis) && same_line(&store.value[i], first))
			x[n++] = store.value[i].x;
	qsort(x, n, sizeof *x, by_number);
	fprintf(out, "$%s%u << END\n", axis, number);
	for (size_t k = 0; k < n; k++) {
		size_t m = 0;

		if (k > 0 && !(x[k] > x[k - 1]))
			continue;
		for (size_t i = 0; i < store.n_values; i++) {
			const struct value *v = &store.value[i];

			if (is_cost(v, axis) && same_line(v, first) && !(v->x < x[k]) && !(v->x > x[k]))
				y[m++] = v->value;
		}
		fprintf(out, "%.9g %.9g\n", x[k], median_of(y, m));
	}
	fprintf(out, "END\n");
	free(x);
}

static void put_costs(FILE *out, const char *axis, const char *title, const char *label,
		      const size_t *at, unsigned n)
{
	char text[256];

	fprintf(out, "set title '%s'\nset xlabel '%s'\nset ylabel 'ns'\nset logscale xy\n"
		     "set xrange [*:*]\nset xtics auto\nset format xy '10^{%%L}'\nplot ", title, label);
	for (unsigned i = 0; i < n; i++) {
		const struct value *v = &store.value[at[i]];

		snprintf(text, sizeof text, "%s: %s, %s", v->bench, v->what, v->column);
		fprintf(out, "%s$%s%u using 1:2 with linespoints title ", i == 0 ? "" : ", ", axis, i);
		put_text(out, text);
	}
	fputc('\n', out);
}

/* ---- all ---- */

static const struct {
	const char *axis, *title, *label;
} costs[] = {
	{ "bytes", "Cost against size", "bytes" },
	{ "clients", "Cost against clients that are attached", "clients" },
	{ "objects", "Cost against live blocks or objects", "live blocks or objects" },
};
#define COSTS (sizeof costs / sizeof *costs)

static unsigned put_script(FILE *out, const char *file)
{
	size_t curve[CURVE_PANELS][CURVES_MOST], series[COSTS][SERIES_MOST];
	unsigned n_curves[CURVE_PANELS], n_series[COSTS], panels = 0;

	for (unsigned k = 0; k < CURVE_PANELS; k++) {
		n_curves[k] = find_curves(k, curve[k]);
		panels += n_curves[k] > 0 ? 1 : 0;
		for (unsigned i = 0; i < n_curves[k]; i++)
			put_curve(out, k, i, &store.curve[curve[k][i]]);
	}
	for (unsigned c = 0; c < COSTS; c++) {
		n_series[c] = find_series(costs[c].axis, series[c]);
		panels += n_series[c] > 0 ? 1 : 0;
		for (unsigned i = 0; i < n_series[c]; i++)
			put_series(out, costs[c].axis, i, &store.value[series[c][i]]);
	}
	if (panels == 0)
		return 0;
	fprintf(out, "set terminal svg size %u,%u dynamic background rgb 'white' font 'sans,12'\n"
		     "set output ", PANEL_WIDTH, PANEL_HEIGHT * panels);
	put_text(out, file);
	fprintf(out, "\nset key outside right top noenhanced font ',10' samplen 2\nset grid\nset multiplot layout %u,1\n", panels);
	for (unsigned k = 0; k < CURVE_PANELS; k++)
		if (n_curves[k] > 0)
			put_percentiles(out, k, curve[k], n_curves[k]);
	for (unsigned c = 0; c < COSTS; c++)
		if (n_series[c] > 0)
			put_costs(out, costs[c].axis, costs[c].title, costs[c].label, series[c],
				  n_series[c]);
	fprintf(out, "unset multiplot\n");
	return panels;
}

void plot_draw(const char *file)
{
	char script[] = "/tmp/tarn-bench-plot-XXXXXX";
	unsigned panels;
	int fd, status = -1;
	FILE *out;

	if (!gnuplot_is_there())
		return;
	fd = mkstemp(script);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (out == NULL)
		die("%s: %s", script, strerror(errno));
	panels = put_script(out, file);
	fclose(out);
	fflush(NULL);
	pid_t pid = panels > 0 ? fork() : -1;
	if (pid == 0) {
		execlp("gnuplot", "gnuplot", script, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	unlink(script);
	if (panels == 0) {
		fprintf(stderr, "%s: no plot: nothing that was measured is drawn\n", bench.called);
		if (made)
			unlink(file);
	} else if (status != 0) {
		die("gnuplot failed on %s", file);
	}
}
