/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of calls, put together from an input: what a signature asks for, and damaged on demand. */
#ifndef TARN_TESTS_FUZZ_ARGS_H
#define TARN_TESTS_FUZZ_ARGS_H

#include "input.h"

#define ARGS_TOP 14u
#define ARGS_HEAP 96u
#define ARGS_REFS 24u

struct args {
	struct input *in;
	/* An id for a slot of kind block, object or channel; and what is said of it beside. */
	uint64_t (*ref)(void *arg, unsigned kind, uint64_t *ret_word);
	/* Any word. */
	uint64_t (*word)(void *arg);
	void *arg;

	uint64_t top[2 * ARGS_TOP], heap[ARGS_HEAP], refs[2 * ARGS_REFS];
	unsigned n, n_heap, n_refs;
};

/* What @signature (NULL: anything) asks for, more or less. */
void args_make(struct args *a, const char *signature);
/* The words of the values: slots, and what they lead to. */
unsigned args_words(const struct args *a, uint64_t *ret);

#endif
