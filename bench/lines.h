/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick for what is one of many: the raw line (line.h), and with each trip one of many lines
 * of memory on either side.
 *
 * Who asks finds the thing by a table of pointers, as a program would, and writes to it; the line
 * names it; who answers looks at its own part of it. Nothing that names one thing of a million to
 * another process can do with less, and nothing here is clever: no page is huge, no line is fetched
 * before its turn. So this is what the memory alone costs.
 */
#ifndef TARN_BENCH_LINES_H
#define TARN_BENCH_LINES_H

#include "line.h"

/* Which of many is used next. */
enum use { USE_ONE, USE_FEW, USE_ANY };
#define USE_FEW_N 1000u

struct choice {
	uint64_t n; /* of so many */
	enum use use;
	uint64_t seed;
};

static inline struct choice choice_of(uint64_t n, enum use use)
{
	return (struct choice){ .n = n, .use = use, .seed = 88172645463325252u };
}

/* Of trip @i. The few are spread over all of them, and used in turn. */
static inline uint64_t choose(struct choice *c, uint64_t i)
{
	if (c->use == USE_ONE)
		return 0;
	if (c->use == USE_FEW)
		return i % USE_FEW_N * (c->n / USE_FEW_N > 0 ? c->n / USE_FEW_N : 1) % c->n;
	c->seed ^= c->seed << 13;
	c->seed ^= c->seed >> 7;
	c->seed ^= c->seed << 17;
	return c->seed % c->n;
}

/* Trips before those that are told of: the few are all in the caches then. */
static inline uint64_t choice_warm(const struct choice *c, uint64_t trips)
{
	return trips / 10 + (c->use == USE_FEW ? USE_FEW_N : 0);
}

#define LINES_BYTES 64u /* of each of @n in the memory of either side */

/* @memory: 64 bytes for each that @choice may name. @shared: both sides have the same memory; else
 * each its own. Both sides call with the same choice and @trips, on a CPU each. */
struct digest lines_ask(struct line *line, struct meeting *m, struct choice choice,
			unsigned char *memory, uint64_t trips);
void lines_answer(struct line *line, struct meeting *m, struct choice choice, unsigned char *memory,
		  uint64_t trips, bool shared);

#endif
