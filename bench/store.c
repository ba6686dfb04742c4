/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonl.h"
#include "line.h"
#include "report.h"

struct store store;

static struct {
	size_t first_value, first_curve; /* of the run under way */
	unsigned round;
	bool local, open;
	struct line_now before;
	struct moment began;
	char axis[16], what[NAME_BYTES];
	double x;
} run;

static struct patience patience;
static struct line_now (*probe_line)(void) = line_probe;
static struct others (*look_at_others)(const struct moment *since) = others_since;

void surroundings_from(struct line_now (*probe)(void),
		       struct others (*others)(const struct moment *since))
{
	probe_line = probe;
	look_at_others = others;
}

/* ---- filing ---- */

static void *room_for_one(void *array, size_t n, size_t *room, size_t bytes)
{
	if (n < *room)
		return array;
	*room = *room * 2 + 256;
	array = realloc(array, *room * bytes);
	if (array == NULL)
		die("no memory for %zu values", *room);
	return array;
}

void store_value(const struct value *v)
{
	store.value = room_for_one(store.value, store.n_values, &store.values_room, sizeof *v);
	store.value[store.n_values++] = *v;
}

void store_curve(const struct curve *c)
{
	store.curve = room_for_one(store.curve, store.n_curves, &store.curves_room, sizeof *c);
	store.curve[store.n_curves++] = *c;
}

void store_discard(const struct discard *d)
{
	store.discard = room_for_one(store.discard, store.n_discards, &store.discards_room, sizeof *d);
	store.discard[store.n_discards++] = *d;
}

/* ---- one run ---- */

void run_begin(unsigned round, bool local)
{
	stop_if_asked();
	run.first_value = store.n_values;
	run.first_curve = store.n_curves;
	run.round = round;
	run.local = local;
	run.open = true;
	run.axis[0] = run.what[0] = '\0';
	run.before = probe_line();
	run.began = moment_now();
}

void run_axis(const char *axis, double x, const char *what)
{
	snprintf(run.axis, sizeof run.axis, "%s", axis);
	snprintf(run.what, sizeof run.what, "%s", what);
	run.x = x;
}

void record(const char *row, const char *column, const char *unit, double value,
	    const char *versus)
{
	struct value v = { .value = value, .round = run.round, .x = run.x };

	if (!run.open)
		die("a value outside a run: %s, %s", row, column);
	snprintf(v.bench, sizeof v.bench, "%s", bench.name);
	snprintf(v.row, sizeof v.row, "%s", row);
	snprintf(v.column, sizeof v.column, "%s", column);
	snprintf(v.unit, sizeof v.unit, "%s", unit);
	snprintf(v.versus, sizeof v.versus, "%s", versus != NULL ? versus : "");
	snprintf(v.axis, sizeof v.axis, "%s", run.axis);
	snprintf(v.what, sizeof v.what, "%s", run.what);
	store_value(&v);
}

void record_digest(const char *row, const struct digest *d, const char *versus)
{
	struct curve c = { .round = run.round };

	record(row, "p50", "ns", d->p50, versus);
	record(row, "p99", "ns", d->p99, versus);
	record(row, "p99.9", "ns", d->p999, NULL);
	record(row, "max", "ns", d->max, NULL);
	record(row, "mean", "ns", d->mean, versus);
	snprintf(c.bench, sizeof c.bench, "%s", bench.name);
	snprintf(c.row, sizeof c.row, "%s", row);
	memcpy(c.ns, d->curve, sizeof c.ns);
	store_curve(&c);
}

static void throw_away(const struct surroundings *s, enum line_class class)
{
	struct discard d = { .round = run.round,
			     .class = class,
			     .before = s->before.ns,
			     .after = s->after.ns,
			     .others_percent = s->others_percent };

	snprintf(d.bench, sizeof d.bench, "%s", bench.name);
	if (store.n_values > run.first_value)
		snprintf(d.row, sizeof d.row, "%s", store.value[run.first_value].row);
	store.n_values = run.first_value;
	store.n_curves = run.first_curve;
	store_discard(&d);
	if (bench.json)
		jsonl_discard(&d);
}

static void keep(const struct surroundings *s, enum line_class class)
{
	for (size_t i = run.first_value; i < store.n_values; i++) {
		struct value *v = &store.value[i];

		v->class = class;
		v->before = s->before.ns;
		v->after = s->after.ns;
		v->others_percent = s->others_percent;
		if (bench.json)
			jsonl_value(v);
	}
	for (size_t i = run.first_curve; i < store.n_curves; i++) {
		store.curve[i].class = class;
		if (bench.json)
			jsonl_curve(&store.curve[i]);
	}
}

static bool end(unsigned most_repeats)
{
	struct others others = look_at_others(&run.began);
	struct surroundings s = { .before = run.before,
				  .after = probe_line(),
				  .others_ns = others.ns,
				  .others_percent = others.percent,
				  .local = run.local };
	enum line_class class = verdict_of(&s);
	bool again = patience_again(&patience, class, most_repeats);

	run.open = false;
	if (again)
		throw_away(&s, class);
	else
		keep(&s, class);
	return again;
}

bool run_again(void)
{
	return end(bench.repeats);
}

void run_end(void)
{
	end(0);
}

/* ---- looking back ---- */

bool same_row(const struct value *a, const struct value *b)
{
	return strcmp(a->row, b->row) == 0 && strcmp(a->bench, b->bench) == 0;
}

bool same_series(const struct value *a, const struct value *b)
{
	return strcmp(a->column, b->column) == 0 && same_row(a, b);
}

double reference_of(const struct value *v)
{
	for (size_t i = 0; i < store.n_values; i++)
		if (store.value[i].round == v->round &&
		    strcmp(store.value[i].column, v->versus) == 0 && same_row(&store.value[i], v))
			return store.value[i].value;
	return strcmp(v->versus, VERSUS_LINE) == 0 ? (v->before + v->after) / 2 : 0;
}

struct spread spread_of(double *v, size_t n)
{
	struct spread s = { .n = n, .median = median_of(v, n) };

	if (n > 0) {
		s.min = v[0];
		s.max = v[n - 1];
	}
	return s;
}
