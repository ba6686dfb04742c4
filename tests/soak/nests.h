/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soak's objects: nests that hold other nests and blocks, made, called, put into each other,
 * given back and found by name while those who do it are killed.
 */
#ifndef TARN_TESTS_SOAK_NESTS_H
#define TARN_TESTS_SOAK_NESTS_H

#include <stdint.h>

#include "tarn/tarn.h"

#define NESTS 6

struct nests {
	tarn_object *held[NESTS];
	tarn_pending *call;
	uint64_t done;
};

/* One random deed. 0, or a failure that must not be; its sentence is the thread's last. */
int nests_act(struct nests *k, tarn_client *c, tarn_block *block, uint64_t random);
void nests_drop(struct nests *k);

#endif
