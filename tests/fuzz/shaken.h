/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that others change while the server reads it: the shim (tests/shim/shim.h) counts the
 * server's reads of such memory, and a change that is noted for the n-th takes effect right before it.
 */
#ifndef TARN_TESTS_FUZZ_SHAKEN_H
#define TARN_TESTS_FUZZ_SHAKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/layout.h"

#define SHAKEN_CHANGES 16u
#define SHAKEN_LANES 4u

/* What was done, over all inputs. */
struct shaken_count {
	uint64_t made; /* changes between two reads */
	uint64_t
		copied; /* of these, of a message that the server had copied and had not committed */
};
extern struct shaken_count shaken_count;

/* A new input: no lanes, no changes; reads of [@data, @data + @bytes) count, too. */
void shaken_begin(const unsigned char *data, uint64_t bytes);
/* Reads of lane @a count from now on, as number @i; @position is its cursor in META. */
void shaken_lane(unsigned i, struct tarn__lane_area *a, const struct tarn__slot *ring,
		 const uint64_t *position);
/* It is no more, with what was to be changed there. */
void shaken_lane_gone(unsigned i);
/* @word becomes @value before the @in'th read from now on. False: there are too many. */
bool shaken_note(uint64_t *word, uint64_t value, uint64_t in);
/* Nothing is changed any more. */
void shaken_calm(void);
/* As a read: for methods, which take time. */
void shaken_tick(void);

#endif
