/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does with a payload all that a receiver may do, and looks at every byte that it is given:
 * for sanitizers, valgrind and the fuzzer, which see what nobody may read.
 */
#ifndef TARN_TESTS_LIB_VALUE_EXERCISE_H
#define TARN_TESTS_LIB_VALUE_EXERCISE_H

#include "handles.h"

/* Called between any two reads: a peer that changes the bytes meanwhile. */
typedef void exercise_meddle_fn(void *user);

struct exercise {
	const uint64_t *words;
	uint32_t n_words;
	unsigned n_values;
	struct tarn_block *const *refs;
	unsigned n_refs;
	bool shared;
	exercise_meddle_fn *meddle; /* NULL: nobody does */
	void *user;
};

/* Returns what tarn_parcel_check() said, or why there was no parcel. */
int exercise(const struct exercise *e);

#endif
