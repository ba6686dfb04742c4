/* SPDX-License-Identifier: Apache-2.0 */
/* Random trees of values. */
#ifndef TARN_TESTS_LIB_VALUE_RANDOM_H
#define TARN_TESTS_LIB_VALUE_RANDOM_H

#include "handles.h"

uint64_t random_next(uint64_t *state);

/* Puts up to @budget random values, within each other up to @depth: what fails is not
 * looked at. With @refs, handles too. */
void random_put(tarn_builder *b, uint64_t *state, unsigned budget, unsigned depth, bool refs);

#endif
