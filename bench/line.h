/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick: one 64-byte line there, one back, between two CPUs.
 *
 * A slot is seven words and a mark that is stored last; the reader polls the mark. Neither
 * side does anything else, and neither pauses: this is what the hardware takes to tell
 * another CPU something and to hear of it. (With a pause instruction in both
 * loops it is some 20 % faster; the ratios here are to the loop without.)
 */
#ifndef TARN_BENCH_LINE_H
#define TARN_BENCH_LINE_H

#include "report.h"
#include "verdict.h"

#ifdef __cplusplus
extern "C" {
#endif

struct line_slot {
	uint64_t word[7];
	uint64_t mark;
};
struct line {
	struct line_slot there __attribute__((aligned(128)));
	struct line_slot back __attribute__((aligned(128)));
};

static inline void line_put(struct line_slot *s, uint64_t n)
{
	for (unsigned i = 0; i < 7; i++)
		__atomic_store_n(&s->word[i], n + i, __ATOMIC_RELAXED);
	__atomic_store_n(&s->mark, n, __ATOMIC_RELEASE);
}
/* Waits for number @n; true if the words are the ones that belong to it. */
static inline bool line_get(struct line_slot *s, uint64_t n)
{
	while (__atomic_load_n(&s->mark, __ATOMIC_ACQUIRE) != n)
		;
	return __atomic_load_n(&s->word[6], __ATOMIC_RELAXED) == n + 6;
}

/* Both sides call it with the same @n. The one that starts gets each trip's time in
 * @ret (may be NULL) and the mean in ns; @line must be zeroed. */
double line_ping(struct line *line, uint64_t n, struct samples *ret);
void line_pong(struct line *line, uint64_t n);

/* The round trip in ns, now, between the two CPUs of the options: median of blocks of some
 * 3 ms. The mean beside it is larger when others ran in between. 0 when there is only one
 * CPU. Uses a process of its own that sleeps otherwise. */
struct line_now line_probe(void);
/* Median of the timed trips, in the calling pair of processes (both call it). */
double line_reference(struct line *line, struct meeting *m, bool first);

#ifdef __cplusplus
}
#endif
#endif
