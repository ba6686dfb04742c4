/* SPDX-License-Identifier: Apache-2.0 */
/* What methods threw, see errors.c. */
#ifndef TARN_SERVER_ERRORS_H
#define TARN_SERVER_ERRORS_H

#include "calls.h"

#define ERRORS_KEPT 128u /* distinct ones */

struct error_row {
	uint64_t hash;
	int code;
	char domain[48];
	char message[160];
	char place[96];          /* where it was thrown: "file:line" */
	uint64_t count;
	uint64_t first_ns, last_ns; /* CLOCK_REALTIME */
};

struct errors {
	unsigned n;
	uint64_t total;
	struct error_row row[ERRORS_KEPT];
};

#endif
