/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before which instructions of a run that was written down a victim is killed, and how many of these
 * kills there were.
 *
 *	TARN_KILL_SAMPLE=N   instructions of each operation besides stores and system calls (20)
 *	TARN_KILL_SEED=N     of the sample; printed
 *	TARN_KILL_ALL=1      every instruction of the library's text
 *	TARN_KILL_ONLY=NAME[@STEP[-]][;...]	these operations, one kill of them, or those from there on
 *	TARN_KILL_JOBS=N     processes that share the work, each with a server of its own (1)
 */
#ifndef TARN_TESTS_CRASH_PLAN_H
#define TARN_TESTS_CRASH_PLAN_H

#include "step.h"

struct tally {
	uint64_t operations, instructions, library, points, kills, ended, strayed, unreachable;
};

/* Of an operation; none if the first is greater. */
struct steps {
	uint64_t first, last;
};
struct steps plan_steps(const char *name);

struct plan {
	const char *name;
	const struct step_trace *trace;
	struct steps steps;
	uint64_t random, one_of, begun, told; /* ns */
	size_t next;
	bool all;
};

uint64_t plan_number(const char *variable, uint64_t otherwise);

struct plan plan_begin(const char *name, const struct step_trace *trace, struct steps steps, uint64_t seed);
/* NULL: no more. Once a minute it says how far it is. */
const struct step_point *plan_next(struct plan *p, const struct tally *t);
void plan_note(struct tally *t, enum step_end e);
/* Says what was done, and adds it to a sum that processes share. */
void plan_end(struct plan *p, struct tally *t, struct tally *sum);
void plan_sum(const struct tally *sum);

/* "spawn@815 (libtarn.so+0x1234, pass 0, store)" */
void plan_name(const struct plan *p, const struct step_point *at, char *text, size_t bytes);

#endif
