/* SPDX-License-Identifier: Apache-2.0 */
/* One input of fuzz-lanes under way: who there is, and what they know. */
#ifndef TARN_TESTS_FUZZ_PLAY_H
#define TARN_TESTS_FUZZ_PLAY_H

#include "input.h"
#include "shaken.h"
#include "world.h"

#define BLOCKS 6u
#define RING 8u
#define OWN 32u
#define TOLD 32u
#define BAD_LANES SHAKEN_LANES

struct play {
	struct world *w;
	struct server *s;
	struct input in;
	/* the honest ones */
	uint64_t block[BLOCKS], ring, object;
	unsigned in_ring[1u << 16]; /* block at a position */
	uint64_t sent, received;
	uint32_t w_units[BLOCKS];
	/* the hostile ones */
	struct bad {
		uint32_t client;
		bool alive;
		struct fake_lane lane;
		struct tarn__lane_area *area;
		bool has_lane;
	} bad[BAD_LANES];
	uint64_t own[OWN]; /* what their replies named */
	unsigned n_own;
	uint64_t told[TOLD]; /* other words of replies: nonces, numbers */
	unsigned n_told;
	uint64_t bad_ring; /* a hostile one produces, W consumes */
};

/* A word as the hostile try it: ids of their own and of others, what they were told, limits, nonsense. */
uint64_t play_word(struct play *p);
/* One of their own that is of @kind; if there is none, whatever comes. */
uint64_t play_own(struct play *p, enum tarn__kind kind);
/* A message of @b, or a burst of them. */
void play_post(struct play *p, struct bad *b);

#endif
