/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tarn beside the limits and its peers: for each topic (topics.h) the ratio of Tarn's figure
 * to each other one of the same round and the same class of line, then the median of
 * the rounds.
 */
#ifndef TARN_BENCH_COMPARE_H
#define TARN_BENCH_COMPARE_H

#include "store.h"

/* Prints all comparisons that the stored values allow, as a table or as JSON. */
void compare_print(void);

/* One of them: how @tarn stands to @other, over the rounds that have both. */
struct comparison {
	enum line_class class;
	size_t n;                        /* rounds */
	double tarn, other;              /* medians */
	struct spread ratio;             /* of tarn to other */
};
/* For the series of values that @tarn and @other belong to; false if no round has both. */
bool compare_series(const struct value *tarn, const struct value *other, enum line_class class,
		    struct comparison *ret);

#endif
