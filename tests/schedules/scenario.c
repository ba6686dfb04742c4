/* SPDX-License-Identifier: Apache-2.0 */
#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "world-types.h"

static void begin(void *arg)
{
	const struct scenario *o = arg;

	world_open(o->clients, o->contents);
	if (o->typed)
		world_types_open();
	o->begin();
}

static void end(void *arg)
{
	const struct scenario *o = arg;

	if (o->end != NULL)
		o->end();
	if (world->slept_out != 0 && !world->may_sleep)
		sched_fail("a waiter was not woken: its time slice ended");
	world_close();
	if (o->typed)
		world_types_close();
}

static const struct scenario *checked;

static void check(void *arg)
{
	world_play.check(arg);
	checked->check();
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void scenario_play(const struct scenario *o)
{
	uint64_t budget = number("TARN_SCHED_RUNS", o->typed ? 300 : 400);
	uint64_t seed = number("TARN_SCHED_SEED", now());
	unsigned most = (unsigned)number("TARN_SCHED_SWITCHES", SCHED_SWITCHES);
	struct sched_play play = world_play;

	play.begin = begin;
	play.end = end;
	play.arg = (void *)(uintptr_t)o;
	checked = o;
	if (o->check != NULL)
		play.check = check;
	for (enum sched_memory memory = SCHED_AT_ONCE; memory < SCHED_MEMORIES; memory++) {
		/* What containers have is written plainly: a memory in which loads return old values has none of it. */
		if (!sched_memory_is_wanted(memory) || (o->contents && memory > SCHED_PSO))
			continue;
		struct sched_stats all = { 0 }, random = { 0 };
		unsigned done = 0;
		/* Few switches first: what they find is short. */
		for (unsigned n = 0; n <= most && all.runs < budget; n++) {
			enum sched_verdict v = sched_search(&play, memory, n, budget - all.runs, &all);

			PLAIN_CHECKF(v != SCHED_FAILED, "%s", sched_failure());
			if (v == SCHED_SOME)
				break;
			done = n;
		}
		PLAIN_CHECKF(sched_random(&play, memory, seed, budget, &random) != SCHED_FAILED, "%s",
			     sched_failure());
		fprintf(stderr, "# %s: all runs of up to %u switches, %llu searched; %llu random, seed "
			"%llu; up to %llu steps\n", sched_memory_name(memory), done,
			(unsigned long long)all.runs, (unsigned long long)random.runs,
			(unsigned long long)seed,
			(unsigned long long)(all.longest > random.longest ? all.longest
									  : random.longest));
	}
}
