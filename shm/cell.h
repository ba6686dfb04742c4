/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One number in shared memory, of a C type that a letter names (those of Python's array and
 * struct): what Value and Array are made of. Each is read and written as a whole, whatever others
 * do. Loads acquire and stores release, so that a cell can say that other bytes are ready.
 */
#ifndef TARN_SHM_CELL_H
#define TARN_SHM_CELL_H

#include <string.h>

#include "base.h"

/* Of each letter: bytes, whether it has a sign, whether it is real. */
static const struct tarn__cell_kind {
	uint8_t bytes, is_signed, is_real;
} tarn__cell_kinds[128] = {
	['?'] = { 1, 0, 0 }, ['b'] = { 1, 1, 0 }, ['B'] = { 1, 0, 0 }, ['c'] = { 1, 0, 0 },
	['h'] = { 2, 1, 0 }, ['H'] = { 2, 0, 0 }, ['i'] = { 4, 1, 0 }, ['I'] = { 4, 0, 0 },
	['l'] = { 8, 1, 0 }, ['L'] = { 8, 0, 0 }, ['q'] = { 8, 1, 0 }, ['Q'] = { 8, 0, 0 },
	['f'] = { 4, 0, 1 }, ['d'] = { 8, 0, 1 },
};
static inline const struct tarn__cell_kind *tarn__cell_kind(char code)
{
	return &tarn__cell_kinds[(unsigned char)code & 127];
}
/* Bytes of a number of kind @code; 0: there is none. */
static inline unsigned tarn__cell_bytes(char code) { return tarn__cell_kind(code)->bytes; }
static inline bool tarn__cell_is_real(char code) { return tarn__cell_kind(code)->is_real != 0; }
static inline bool tarn__cell_is_signed(char code) { return tarn__cell_kind(code)->is_signed != 0; }

/* The bits at @at. */
static inline uint64_t tarn__cell_load(const void *at, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return __atomic_load_n((const uint8_t *)at, __ATOMIC_ACQUIRE);
	case 2:
		return __atomic_load_n((const uint16_t *)at, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
	default:
		return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
	}
}
static inline void tarn__cell_store(void *at, unsigned bytes, uint64_t bits)
{
	switch (bytes) {
	case 1:
		__atomic_store_n((uint8_t *)at, (uint8_t)bits, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((uint16_t *)at, (uint16_t)bits, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((uint32_t *)at, (uint32_t)bits, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((uint64_t *)at, bits, __ATOMIC_RELEASE);
		break;
	}
}
/* *@seen becomes what is there if that is not @seen. */
static inline bool tarn__cell_swap(void *at, unsigned bytes, uint64_t *seen, uint64_t to)
{
	bool done;

	switch (bytes) {
	case 1: {
		uint8_t s = (uint8_t)*seen;

		done = __atomic_compare_exchange_n((uint8_t *)at, &s, (uint8_t)to, false,
						   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		*seen = s;
		break;
	}
	case 2: {
		uint16_t s = (uint16_t)*seen;

		done = __atomic_compare_exchange_n((uint16_t *)at, &s, (uint16_t)to, false,
						   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		*seen = s;
		break;
	}
	case 4: {
		uint32_t s = (uint32_t)*seen;

		done = __atomic_compare_exchange_n((uint32_t *)at, &s, (uint32_t)to, false,
						   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		*seen = s;
		break;
	}
	default:
		done = __atomic_compare_exchange_n((uint64_t *)at, seen, to, false, __ATOMIC_ACQ_REL,
						   __ATOMIC_ACQUIRE);
		break;
	}
	return done;
}

/* Bits as a number; of 'L' and 'Q' the same 64 bits. */
static inline int64_t tarn__cell_integer(char code, uint64_t bits)
{
	unsigned unused = 64 - 8 * tarn__cell_bytes(code);

	if (tarn__cell_is_signed(code))
		return (int64_t)(bits << unused) >> unused;
	return (int64_t)bits;
}
/* False: a number of this kind does not go so far. */
static inline bool tarn__cell_fits(char code, int64_t v)
{
	unsigned bits = 8 * tarn__cell_bytes(code);

	if (bits == 64)
		return true;
	if (code == '?')
		return v == 0 || v == 1;
	if (tarn__cell_is_signed(code))
		return v >= -(INT64_C(1) << (bits - 1)) && v < INT64_C(1) << (bits - 1);
	return v >= 0 && v < INT64_C(1) << bits;
}
static inline double tarn__cell_real(char code, uint64_t bits)
{
	if (code == 'd') {
		double d;

		memcpy(&d, &bits, sizeof d);
		return d;
	}
	if (code == 'f') {
		uint32_t half = (uint32_t)bits;
		float f;

		memcpy(&f, &half, sizeof f);
		return (double)f;
	}
	if (code == 'L' || code == 'Q')
		return (double)bits;
	return (double)tarn__cell_integer(code, bits);
}
static inline uint64_t tarn__cell_of_real(char code, double v)
{
	uint64_t bits = 0;

	if (code == 'd') {
		memcpy(&bits, &v, sizeof v);
	} else {
		float f = (float)v;
		uint32_t half;

		memcpy(&half, &f, sizeof f);
		bits = half;
	}
	return bits;
}

/* ---- instances ---- */

struct tarn__value_instance {
	uint64_t code; /* its maker */
	uint64_t cell; /* anybody */
};
static_assert(sizeof(struct tarn__value_instance) == 16, "a quarter line");

struct tarn__array_instance {
	uint64_t code;   /* its maker; also all that follows. A hint for clients, who look whether the
			  * block is as long as that */
	uint64_t length;
	uint64_t block;  /* id; held by the object */
	uint64_t pad;
};
static_assert(sizeof(struct tarn__array_instance) == 32, "half a line");

#endif
