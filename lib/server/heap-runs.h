/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: pieces of DATA in whole heap pages, the lower half of the heap.
 *
 * Runs tile [0, top); the pages from top on were never used, or are cold again. A free
 * run is warm (its memory is committed) or cold (it may have holes). Neighbours of the
 * same temperature are always one run, and no cold run ends at top. Every allocation is
 * cut from a warm run; if there is none that fits, a window of cold memory is warmed
 * first, or one that lies across warm and cold runs.
 */
#ifndef TARN_SERVER_HEAP_RUNS_H
#define TARN_SERVER_HEAP_RUNS_H

#include "state.h"

/* Most runs that one transaction joins into one. */
#define RUN_JOIN 64u

/* Takes @pages pages at a multiple of @align pages, committed, for @owner (a span or an
 * object). -ENOMEM, -ENOSPC; -EAGAIN: tarn__run_join first. Nothing changed then, except
 * that memory may be warmer. */
int tarn__run_alloc(struct state *st, uint32_t pages, uint32_t align, enum run_state state,
		    uint32_t owner, uint32_t *ret_first);

/* Gives a run in use back; it is warm. */
void tarn__run_free(struct state *st, uint32_t first);

/* Joins RUN_JOIN of the runs that together would hold such a request. False: no need. */
bool tarn__run_join(struct state *st, uint32_t pages, uint32_t align);

/* Makes up to @pages pages of a warm run cold, as the highest bin gives it, and a few more where pages of the
 * system are larger. The caller
 * commits, then punches. Returns how many; 0: nothing is warm. */
uint32_t tarn__run_cool(struct state *st, uint32_t pages, uint32_t *ret_first);

/* Takes up to @pages cold pages out of the heap (RUN_HELD), and puts such back. */
int tarn__run_hold(struct state *st, uint32_t pages, uint32_t *ret_first, uint32_t *ret_pages);
void tarn__run_unhold(struct state *st, uint32_t first, uint32_t pages, bool warm);

/* Contents of containers take of the same memory, and who takes it only sees what limit was found
 * (tarn__store_share()): looks at that if they have grown much, or were refused some. By the reactor. */
void tarn__run_mind_limit(struct state *st);

/* Most pages that are free in one piece of one temperature. */
uint32_t tarn__run_largest(const struct state *st);

/* The bin that a free run of @pages pages lies in. */
static inline unsigned tarn__run_bin(uint64_t pages)
{
	if (pages < 16)
		return (unsigned)pages;
	unsigned e = 63u - (unsigned)__builtin_clzll(pages);

	return 16u + (e - 4u) * 16u + (unsigned)((pages >> (e - 4u)) & 15u);
}

#endif
