/* SPDX-License-Identifier: Apache-2.0 */
#include "random.h"

#include <stdio.h>
#include <string.h>

#include "lib/value/fault.h"

uint64_t random_next(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(random_next(state) % n);
}

static size_t random_bytes(uint64_t *state, char *to, size_t most)
{
	size_t n = below(state, 4) == 0 ? below(state, (unsigned)most) : below(state, 12);
	bool text = below(state, 2) == 0;

	for (size_t i = 0; i < n; i++)
		to[i] = (char)(text ? 'a' + below(state, 26) : below(state, 256));
	return n;
}

/* Of all exponents, and of the small ones that people use. */
static double random_double(uint64_t *state)
{
	uint64_t bits = random_next(state);
	double d;

	if (below(state, 2) == 0)
		return (double)(int64_t)(bits % 2001) / 8 - 125;
	memcpy(&d, &bits, sizeof d);
	return d;
}

static tarn_fault *random_fault(uint64_t *state)
{
	tarn_fault *f = tarn_fault_new("ValueError", -(int)below(state, 5000) - 1, "message %u",
				       below(state, 100));
	char text[64];

	for (unsigned i = below(state, 3); i > 0; i--) {
		snprintf(text, sizeof text, "file-%u.c", below(state, 10));
		tarn_fault_add_frame(f, &(tarn_frame){ .function = "f", .file = text, .line = i });
	}
	if (below(state, 3) == 0)
		tarn_fault_add_stack(f);
	if (below(state, 3) == 0) {
		tarn_fault *cause = random_fault(state);

		tarn_fault_set_cause(f, cause);
		tarn_fault_unref(cause);
	}
	return f;
}

static void put_ref(tarn_builder *b, uint64_t *state)
{
	unsigned i = below(state, 60);

	tarn__put_handle(b, handles[i].kind, (struct tarn_block *)&handles[i]);
}

static void put_scalar(tarn_builder *b, uint64_t *state, bool refs)
{
	char data[300];
	size_t n = random_bytes(state, data, sizeof data);
	tarn_fault *f;

	switch (below(state, 10)) {
	case 0:
		tarn_put_nil(b);
		break;
	case 1:
		tarn_put_bool(b, below(state, 2));
		break;
	case 2:
		tarn_put_int(b, (int64_t)random_next(state) >> below(state, 64));
		break;
	case 3:
		tarn_put_uint(b, random_next(state) >> below(state, 64));
		break;
	case 4:
		tarn_put_double(b, random_double(state));
		break;
	case 5:
	case 6:
		tarn_put_string_n(b, data, n);
		break;
	case 7:
		tarn_put_bytes(b, data, n);
		break;
	case 8:
		f = random_fault(state);
		tarn_put_error(b, f);
		tarn_fault_unref(f);
		break;
	default:
		if (refs)
			put_ref(b, state);
		else
			tarn_put_nil(b);
		break;
	}
}

static void put_key(tarn_builder *b, uint64_t *state)
{
	char data[40];

	if (below(state, 3) == 0)
		tarn_map_key_int(b, (int64_t)random_next(state) >> below(state, 64));
	else
		tarn_map_key_n(b, data, random_bytes(state, data, sizeof data));
}

void random_put(tarn_builder *b, uint64_t *state, unsigned budget, unsigned depth, bool refs)
{
	for (unsigned n = below(state, budget + 1); n > 0; n--) {
		unsigned what = depth > 0 ? below(state, 6) : 5;

		if (b->kind == TARN_KIND_MAP)
			put_key(b, state);
		if (what == 0) {
			tarn_list_begin(b);
			random_put(b, state, budget / 2, depth - 1, refs);
			tarn_list_end(b);
		} else if (what == 1) {
			tarn_map_begin(b);
			random_put(b, state, budget / 2, depth - 1, refs);
			tarn_map_end(b);
		} else {
			put_scalar(b, state, refs);
		}
	}
}
