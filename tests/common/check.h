/* SPDX-License-Identifier: Apache-2.0 */
/* For programs without a harness around them: what does not hold ends them, and is told. */
#ifndef TARN_TESTS_CHECK_H
#define TARN_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

#endif
