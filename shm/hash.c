/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t tarn__hash64(const void *data, size_t bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, bytes, seed);
}
