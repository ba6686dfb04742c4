/* SPDX-License-Identifier: Apache-2.0 */
/* Handles without a server: counted things of the three kinds, as values see them. */
#ifndef TARN_TESTS_LIB_VALUE_HANDLES_H
#define TARN_TESTS_LIB_VALUE_HANDLES_H

#include "lib/value/value.h"

#define N_HANDLES 96

struct handle {
	int refs;
	enum tarn_kind kind;
};
extern struct handle handles[N_HANDLES];

/* Makes all handles: kinds in turn, each with one reference. From now on values use them. */
void handles_init(void);
/* Of the @index'th, as what it is. */
tarn_block *block_of(unsigned index);
tarn_object *object_of(unsigned index);
tarn_channel *channel_of(unsigned index);
/* References that are held beside the one of each. */
int handles_held(void);
/* A tarn_resolve_fn for what they print. */
int handles_resolve(void *user, const char *reference, tarn_builder *builder);

#endif
