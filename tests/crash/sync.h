/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the survivor of a kill has of things that are used in place: one of each, published for
 * the child; a thread of its own waits at some. When the child is dead and gone all of it must
 * work as new.
 */
#ifndef TARN_TESTS_CRASH_SYNC_H
#define TARN_TESTS_CRASH_SYNC_H

#include <pthread.h>

#include "tests/common/types.h"

enum sync_thing {
	SYNC_LOCK,
	SYNC_RLOCK,
	SYNC_SEM,     /* bounded, 2 permits */
	SYNC_COND,
	SYNC_EVENT,
	SYNC_BARRIER, /* of 2 */
	SYNC_VALUE,   /* 0, or as the child left it: */
	SYNC_ARRAY,   /* likewise; of 3 */
	SYNC_LIST,    /* [1, "two"] at first */
	SYNC_DICT,    /* {"a": 1} at first */
	SYNC_THINGS,
};

struct sync {
	tarn_object *o[SYNC_THINGS];
	pthread_t waiter;
	bool waits; /* there is such a thread */
	int r;      /* what it got */
};

#define SYNC_NUMBER INT64_C(0x1122334455667788)

/* @waiter: NULL, or what the survivor's thread does: it is there when this returns. */
void sync_open(struct sync *y, tarn_client *c, void *(*waiter)(void *sync));
void sync_finish(struct sync *y, tarn_client *c, const char *what);
/* In the child. */
void sync_find(tarn_object *o[SYNC_THINGS], tarn_client *c);

void *sync_wait_cond(void *sync);
void *sync_wait_barrier(void *sync);
void *sync_wait_sem(void *sync);
void *sync_wait_event(void *sync);

#endif
