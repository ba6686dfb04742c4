/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear buckets: every value has one, they tile, and what is read back bounds it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "shm/histogram.h"

TestSuite(histogram, .timeout = 60);

Test(histogram, buckets_tile_all_values)
{
	for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++) {
		uint64_t least = tarn__histogram_least(b);

		cr_assert(eq(u32, tarn__histogram_bucket(least), b), "bucket %u", b);
		if (b > 0)
			cr_assert(eq(u32, tarn__histogram_bucket(least - 1), b - 1), "bucket %u", b);
	}
	cr_assert(eq(u32, tarn__histogram_bucket(UINT64_MAX), TARN__HISTOGRAM_BUCKETS - 1));
}

Test(histogram, a_bucket_is_at_most_a_quarter_wide)
{
	for (unsigned b = 1; b + 2 < TARN__HISTOGRAM_BUCKETS; b++) {
		uint64_t least = tarn__histogram_least(b), next = tarn__histogram_least(b + 1);

		cr_assert(le(u64, (next - least) * 4, least), "bucket %u", b);
	}
}

Test(histogram, quantiles_bound_the_samples_from_above)
{
	uint32_t n[TARN__HISTOGRAM_BUCKETS] = { 0 };

	cr_assert(eq(u64, tarn__histogram_quantile(n, 5000), 0));
	/* 1 us to 1000 us. */
	for (uint64_t us = 1; us <= 1000; us++)
		n[tarn__histogram_bucket(us * 1000)]++;
	for (unsigned q = 1000; q <= 10000; q += 1000) {
		uint64_t exact = (uint64_t)q * 100, told = tarn__histogram_quantile(n, q);

		cr_assert(ge(u64, told, exact), "%u", q);
		cr_assert(le(u64, told * 4, exact * 5 + 4), "%u: %llu", q, (unsigned long long)told);
	}
}

Test(histogram, counts_of_32_bits_do_not_overflow_a_quantile)
{
	uint32_t n[TARN__HISTOGRAM_BUCKETS];

	for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++)
		n[b] = UINT32_MAX;
	cr_assert(ge(u64, tarn__histogram_quantile(n, 5000), tarn__histogram_least(48)));
	cr_assert(le(u64, tarn__histogram_quantile(n, 5000), tarn__histogram_least(50)));
	cr_assert(eq(u64, tarn__histogram_quantile(n, 10000),
		     tarn__histogram_least(TARN__HISTOGRAM_BUCKETS - 1)));
}
