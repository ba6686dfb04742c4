/* SPDX-License-Identifier: Apache-2.0 */
/* Examinations of the machine; each looks at one thing that Tarn uses, by using it. */
#ifndef TARN_TOOLS_DOCTOR_H
#define TARN_TOOLS_DOCTOR_H

enum verdict {
	DOCTOR_OK,
	DOCTOR_WARN, /* Tarn works, with less of something */
	DOCTOR_BAD,  /* Tarn does not work, or not safely */
};

struct finding {
	const char *check;
	enum verdict verdict;
	char found[192];
	char advice[192]; /* what to change; "" if nothing */
};

#define DOCTOR_MOST 24
/* Fills in at most DOCTOR_MOST findings; how many. */
unsigned doctor_examine(struct finding *ret);

#endif
