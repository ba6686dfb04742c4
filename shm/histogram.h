/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-linear histograms of times, as clients keep them in their lanes and the server reads
 * them: four buckets per doubling from 256 ns on, so a value read back is at most a quarter
 * too large. Bucket 0 is all below 256 ns, the last one all from 2^32 ns (4.3 s) on.
 */
#ifndef TARN_SHM_HISTOGRAM_H
#define TARN_SHM_HISTOGRAM_H

#include <assert.h>
#include <stdint.h>

#define TARN__HISTOGRAM_LEAST_SHIFT 8u
#define TARN__HISTOGRAM_OCTAVES 24u
#define TARN__HISTOGRAM_BUCKETS (2u + 4u * TARN__HISTOGRAM_OCTAVES)
static_assert(TARN__HISTOGRAM_BUCKETS == 98, "part of the layout");

static inline unsigned tarn__histogram_bucket(uint64_t ns)
{
	if (ns >> TARN__HISTOGRAM_LEAST_SHIFT == 0)
		return 0;
	unsigned e = 63u - (unsigned)__builtin_clzll(ns);

	if (e >= TARN__HISTOGRAM_LEAST_SHIFT + TARN__HISTOGRAM_OCTAVES)
		return TARN__HISTOGRAM_BUCKETS - 1;
	return 1u + (e - TARN__HISTOGRAM_LEAST_SHIFT) * 4u + (unsigned)(ns >> (e - 2u) & 3u);
}

/* The least value of the bucket; that of the next one bounds it from above. */
static inline uint64_t tarn__histogram_least(unsigned bucket)
{
	if (bucket == 0)
		return 0;
	unsigned e = TARN__HISTOGRAM_LEAST_SHIFT + (bucket - 1) / 4, part = (bucket - 1) % 4;

	return (uint64_t)(4 + part) << (e - 2u);
}

/* What @per_10000 of the samples do not exceed: the bound of their bucket. 0: no samples. */
static inline uint64_t tarn__histogram_quantile(const uint32_t *n, unsigned per_10000)
{
	uint64_t all = 0, below = 0;

	for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++)
		all += n[b];
	for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++) {
		below += n[b];
		/* Counts are 32 bits, 98 of them: no overflow. */
		if (n[b] != 0 && below * 10000u >= all * per_10000)
			return tarn__histogram_least(b < TARN__HISTOGRAM_BUCKETS - 1 ? b + 1 : b);
	}
	return 0;
}

#endif
