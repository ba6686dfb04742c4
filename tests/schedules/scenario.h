/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test that plays one scenario in a world of its own, again and again, in all memories: searched with up
 * to three switches as far as its number of runs goes, then by random priorities.
 *
 *	TARN_SCHED_RUNS=N      in each of these ways (default 400, with Tarn's types 300)
 *	TARN_SCHED_MEMORY=M    only "at-once", "tso", "pso", "views", or several with commas
 *	TARN_SCHED_SWITCHES=N  of the search (default 3)
 *	TARN_SCHED_SEED=N      of the random runs; printed
 *	TARN_SCHED_TRACE=N     with views: the last N accesses before a failure
 */
#ifndef TARN_TESTS_SCENARIO_H
#define TARN_TESTS_SCENARIO_H

#include "tests/common/plain.h"
#include "world.h"

struct scenario {
	unsigned clients;
	void (*begin)(void);
	void (*end)(void);
	void (*check)(void); /* between two steps */
	bool typed;          /* there are Tarn's types (world-types.h) */
	bool contents;       /* and what containers need */
};

void scenario_play(const struct scenario *o);

#define SCENARIO(name, ...)                                            \
	PLAIN_TEST_TIMEOUT(name, 3600)                                 \
	{                                                              \
		static const struct scenario o = { __VA_ARGS__ };      \
		scenario_play(&o);                                     \
	}

#endif
