/* SPDX-License-Identifier: Apache-2.0 */
/* Types for tests of objects: Counter, whose methods do one thing each; ResultOnly; Adopted. */
#ifndef TARN_TESTS_COUNTER_H
#define TARN_TESTS_COUNTER_H

#include <stdint.h>

#include "tarn/type.h"

extern unsigned counter_alive, counter_destroyed; /* instances that were made, that ended */
extern uint64_t counter_order[64];                /* ids in the order of their ends */
/* What forget_many drops, after it held itself as often as its factor says; keep_often holds so often. */
extern uint64_t counter_many[256];
extern unsigned counter_n_many;

struct counter {
	double factor;
	uint64_t child;
	int64_t calls;
};

/* Methods by number. */
enum { SCALE, KEEP, FORGET, GIVE, CLONE, FAIL_AFTER, BIG, ME, OPEN_LIST, SLOW, HIDDEN, FORGET_MANY,
       KEEP_OFTEN, DROP_LATE, FIELDS };

extern const tarn_type *const counter_types[];

#endif
