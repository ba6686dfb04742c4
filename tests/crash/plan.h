/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before which instructions of a run that was written down a victim is killed, and how many of these
 * kills there were.
 *
 *	TARN_KILL_SAMPLE=N   instructions of each operation besides stores and system calls (20)
 *	TARN_KILL_SEED=N     of the sample; printed
 *	TARN_KILL_STORES=N   about so many of the stores and system calls of each operation (all, if not said)
 *	TARN_KILL_PASSES=N   an address that is passed more often is a loop that waits, or copies: left out, except of the
 *	                     library in the long mode (32)
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
	uint64_t random, one_of, stores_one_of, passes_most, begun, told; /* ns */
	size_t next;
	bool all;
};

uint64_t plan_number(const char *variable, uint64_t otherwise);

struct plan plan_begin(const char *name, const struct step_trace *trace, struct steps steps, uint64_t seed);
/* Calls @one, which kills at that point, for each that is wanted, and again where it strayed. Once a minute it says
 * how far it is, and at the end what was done; adds that to a sum that processes share. */
typedef enum step_end plan_kill_fn(void *arg, const struct step_trace *trace, const struct step_point *p,
				   unsigned try, const char *what);
void plan_run(struct plan *p, plan_kill_fn *one, void *arg, struct tally *sum);
void plan_sum(const struct tally *sum);

/* In as many processes as are wanted: each takes from @next what is next, until nothing is left. */
void plan_jobs(void (*job)(uint64_t *next, uint64_t seed, struct tally *sum));

#endif
