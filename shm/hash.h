/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3 behind one door. No MAC: seed it where others choose the keys. */
#ifndef TARN_SHM_HASH_H
#define TARN_SHM_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t tarn__hash64(const void *data, size_t bytes, uint64_t seed);

/* For keys of two words in inner loops: one multiply folds 128 bits (Lemire's and
 * wyhash's mum). Seeded per arena. */
static inline uint64_t tarn__hash_pair(uint64_t a, uint64_t b, uint64_t seed)
{
	__extension__ typedef unsigned __int128 wide;
	wide m = (wide)(a ^ seed ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd6e8feb86659fd93ull);
	uint64_t h = (uint64_t)m ^ (uint64_t)(m >> 64);

	return h ^ (h >> 29);
}

#endif
