/* SPDX-License-Identifier: Apache-2.0 */
/* Types whose methods do all that methods can ask for, with whatever arguments they get. */
#ifndef TARN_TESTS_FUZZ_FUZZED_TYPES_H
#define TARN_TESTS_FUZZ_FUZZED_TYPES_H

#include "tarn/type.h"

/* Methods of "Fuzzed" (inline), "FuzzedSlow" (an executor's) and "FuzzedFixed" (which has no others), by
 * their place in the table. */
enum {
	FUZZED_PLUS,  /* n -> n + 1, whatever is written into the instance */
	FUZZED_LATER, /* the same, on an executor */
	FUZZED_ECHO,  /* gives its arguments, whatever they are */
};

extern const tarn_type *const fuzzed_type_fixed;
/* Ends with NULL. */
extern const tarn_type *const fuzzed_types[];

#endif
