/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that gets SIGKILL at a chosen store to META, and its successors, too: for programs that are
 * linked with the library that calls tarn__meta_hook() after each store. Where to die is in a file
 * that the server has mapped.
 *
 * TARN_SERVER_STEPS=1: every store. Without it every so many, from a start that moves.
 */
#ifndef TARN_TESTS_CRASH_SERVER_STEPS_H
#define TARN_TESTS_CRASH_SERVER_STEPS_H

#include "tests/common/arena.h"
#include "tests/common/types.h"

struct steps {
	int64_t left;  /* stores until the server dies; 0: it does not */
	int64_t again; /* and its successor after that many */
	uint64_t kills;
	uint64_t object, in_object; /* the server dies so many times at the first store of a method of that */
	uint64_t closing; /* and so many times when it has noted that a lane is to be closed */
};

/* Starts such a server, with a keeper; each successor runs the full check first. */
struct steps *steps_start(struct arena *a, const struct arena_kind *kind);
void steps_end(struct steps *steps);

/* Calls @part(@world, 0 ...@parts - 1) again and again, killing the server at one store after the other;
 * @twice: also while its successor takes over. Returns how many stores they are. */
uint64_t steps_run(struct steps *steps, bool twice, unsigned parts, void (*part)(void *world, unsigned number),
		   void *world);

/* Lives for so long that the deaths before it do not count as in a row: else the keeper would give up. */
void steps_rest(void);

#endif
