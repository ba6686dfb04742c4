/* SPDX-License-Identifier: Apache-2.0 */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

const double curve_percent[CURVE_POINTS] = { 0,	 10, 25,   50,	 75,	90,    95,
					     98, 99, 99.5, 99.9, 99.95, 99.99, 100 };

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
	struct digest d = { .p50 = samples_percentile(s, 50),
			    .p99 = samples_percentile(s, 99),
			    .p999 = samples_percentile(s, 99.9),
			    .max = samples_percentile(s, 100),
			    .mean = samples_mean(s) };

	for (unsigned i = 0; i < CURVE_POINTS; i++)
		d.curve[i] = samples_percentile(s, curve_percent[i]);
	return d;
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
