/* SPDX-License-Identifier: Apache-2.0 */
/* Many single measurements, and what is told of them. */
#ifndef TARN_BENCH_SAMPLES_H
#define TARN_BENCH_SAMPLES_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In ticks. */
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

/* The percentiles of a curve: 0 (the least), ..., 99.99, 100 (the most). */
#define CURVE_POINTS 14u
extern const double curve_percent[CURVE_POINTS];

/* What is told of many samples; all in ns. It travels between processes. */
struct digest {
	double p50, p99, p999, max, mean;
	double curve[CURVE_POINTS];
};
struct digest digest_of(struct samples *s);

double median_of(double *v, size_t n); /* sorts @v */

#ifdef __cplusplus
}
#endif
#endif
