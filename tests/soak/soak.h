/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all parts of the soak share: the board, random numbers, canaries, and how something that
 * must not be is said.
 */
#ifndef TARN_TESTS_SOAK_SOAK_H
#define TARN_TESTS_SOAK_SOAK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tarn/tarn.h"

#define BOARD 256     /* tokens on the board */
#define ROOMS 2       /* of each toy */
#define LINES 5       /* kinds of queues */
#define ITEMS (1u << 20) /* of each queue that are followed; what comes later is not */
#define COURSES (1u << 20) /* channels of the flood that are followed at a time */
#define HANDS 512     /* threads that say what they are doing; the oldest are overwritten */

/*
 * Shared by all processes, outside of the arena, so no death and no server takes it away. All is
 * written by whoever does it, in one atomic step, except where it says otherwise; relaxed, for all
 * of it are numbers that are compared when everybody has ended (waitpid() orders that).
 */
struct board {
	uint64_t sent, received, allocated, imported, exported, sliced, sealed, stale_tokens, full;
	uint64_t forks, deepest, called, interrupted;
	uint64_t locked, passed_on; /* locks taken; of these from dead holders */
	uint64_t put, got, published, heard, errands, boxed, lost_boxes;
	uint64_t no_memory; /* items whose references could not be had */
	uint64_t bad;       /* findings */
	uint64_t stalls;    /* of who would have waited for ever */
	uint64_t next_hand; /* of @hand */
	/* Of the supervisor: set before there are workers. */
	uint64_t servers;   /* servers are killed: calls may be interrupted */
	uint64_t lossy;     /* containers do not outlive their server */
	uint64_t ended; /* channels that were read to their end */
	/* Tried before, done after; of each room. */
	uint64_t adds_tried[ROOMS], adds_done[ROOMS];
	uint64_t item[ROOMS][LINES]; /* numbers given to items */
	unsigned char is_put[ROOMS][LINES][ITEMS], is_got[ROOMS][LINES][ITEMS];
	/* By its producer: items that it was to send, that it sent. Of the flood. */
	struct course {
		uint64_t tried, done;
	} course[COURSES];
	/* By its thread: for whoever looks at one that does not end. */
	struct {
		int pid;
		char deed[28];
	} hand[HANDS];
	char token[BOARD][TARN_TOKEN_TEXT_BYTES + 1]; /* torn texts are found by their checksums */
};
extern struct board *board;

static inline void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}
static inline uint64_t count_of(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Says what must not be, and ends this process. */
void finding(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- random numbers: xorshift, one state per thread, seeds printed ---- */

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
static inline uint64_t below(uint64_t *state, uint64_t n)
{
	return next_random(state) % n;
}

/* Another seed for each @k; never 0. */
static inline uint64_t seed_of(uint64_t seed, uint64_t k)
{
	seed += (k + 1) * 0x9e3779b97f4a7c15ull;
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111ebull;
	return (seed ^ seed >> 31) | 1u << 20;
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- canaries: of every block, over its whole length, or its ends if it is large ---- */

#define CANARY_WHOLE 4096u

static inline unsigned char canary_byte(uint64_t id, size_t at)
{
	return (unsigned char)((id * 0x9e3779b97f4a7c15ull >> 32) + at * 31u);
}

static inline void canary_write(tarn_block *b)
{
	unsigned char *p = tarn_block_data(b);
	size_t n = tarn_block_size(b);
	uint64_t id = tarn_block_id(b);

	for (size_t i = 0; i < n && i < CANARY_WHOLE; i++)
		p[i] = canary_byte(id, i);
	if (n > CANARY_WHOLE)
		p[n - 1] = canary_byte(id, n - 1);
}

static inline void canary_check(const tarn_block *b, size_t offset, const char *where)
{
	const unsigned char *p = tarn_block_data(b);
	size_t n = tarn_block_size(b);
	uint64_t id = tarn_block_id(b);

	for (size_t i = 0; i < n && i + offset < CANARY_WHOLE; i++)
		if (p[i] != canary_byte(id, i + offset))
			finding("block %llx of %zu bytes, %s: byte %zu is %02x, not %02x",
				(unsigned long long)id, n, where, i, p[i], canary_byte(id, i + offset));
}

#endif
