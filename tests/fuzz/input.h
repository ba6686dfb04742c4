/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an input, one after the other; behind the last there are zeros, or random ones. */
#ifndef TARN_TESTS_FUZZ_INPUT_H
#define TARN_TESTS_FUZZ_INPUT_H

#include <stdint.h>

#include "tests/common/check.h"

struct input {
	const unsigned char *p, *end;
	uint64_t random; /* state of xorshift; 0: zeros */
};

static inline unsigned take8(struct input *in)
{
	if (in->p < in->end)
		return *in->p++;
	in->random ^= in->random << 13;
	in->random ^= in->random >> 7;
	in->random ^= in->random << 17;
	return (unsigned)(in->random >> 24 & 0xff);
}
static inline unsigned take16(struct input *in)
{
	unsigned low = take8(in);

	return low | take8(in) << 8;
}
static inline uint64_t take64(struct input *in)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)take8(in) << (8 * i);
	return v;
}

#endif
