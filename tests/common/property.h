/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations by several processes, of which one after the other is killed, against a model in
 * memory that all share.
 *
 *	TARN_PROPERTY_STEPS=N	operations of each test (by default what takes a few seconds)
 *	TARN_PROPERTY_SEED=N	of the kills, and of what each process does; printed
 *
 * A model survives whoever writes it: it says what is to be done, then that it is done. Who was killed
 * between had it done, or not, and its successor looks which.
 */
#ifndef TARN_TESTS_COMMON_PROPERTY_H
#define TARN_TESTS_COMMON_PROPERTY_H

#include "scene.h"

#define PROPERTY_WORKERS 4

struct property {
	struct scene s;
	tarn_client *c; /* of the test's own process */
	uint64_t steps; /* how many are wanted */
	uint64_t *done; /* shared: how many were begun */
	uint64_t random;
	unsigned kills;
};

/* An unsigned number of the environment. */
uint64_t property_number(const char *name, uint64_t otherwise);
/* TARN_PROPERTY_SEED or a fresh one, never 0; says it. */
uint64_t property_seed(void);

struct property property_open(uint64_t steps);
void property_close(struct property *p);

/* Runs @work as worker 0 to 3, kills one after the other at any time, and starts its successor when the
 * server has forgotten it. Returns when all steps are done and all workers have ended by themselves. */
typedef void property_work(const struct property *p, unsigned worker, uint64_t random, void *arg);
void property_run(struct property *p, property_work *work, void *arg);
/* In a worker: one more operation is to be done. */
bool property_step(const struct property *p);

/*
 * What became of numbered things that workers put somewhere and others get. The numbers of a producer
 * grow. Worker PROPERTY_WORKERS is the test itself.
 */
struct ledger {
	uint32_t most; /* numbers of one producer */
	bool again;    /* things are acknowledged, and what a dead one had is got again */
	struct ledger_side {
		uint32_t next;	  /* its next number */
		uint32_t getting; /* it may just have got something */
		uint32_t lost;	  /* of its predecessors: so many may have died with something */
		int64_t last[PROPERTY_WORKERS]; /* the last number that it got of each producer */
	} side[PROPERTY_WORKERS + 1];
	uint8_t *put;	/* by producer and number: 0 not, 1 begun, 2 done */
	uint8_t *acked; /* the same */
	uint8_t *seen;	/* how often */
};

/* In memory that processes forked later share. */
struct ledger *ledger_new(uint32_t most, bool again);
/* A worker begins, perhaps where another one was killed. */
void ledger_take_over(struct ledger *l, unsigned worker);

/* What to put: a number that tells its producer, too. */
int64_t ledger_put_begin(struct ledger *l, unsigned worker);
void ledger_put_end(struct ledger *l, int64_t thing, bool done);
void ledger_get_begin(struct ledger *l, unsigned worker);
/* Checks that it may be got now, and by this one. */
void ledger_get_end(struct ledger *l, unsigned worker, int64_t thing);
void ledger_get_none(struct ledger *l, unsigned worker);
void ledger_ack_begin(struct ledger *l, int64_t thing);
void ledger_ack_end(struct ledger *l, int64_t thing);

/* All has been got: what was put was got, once, unless its consumer was killed just then. @again: how many
 * were delivered again, which is the most that were got twice. */
void ledger_check(const struct ledger *l, const char *what, unsigned kills, int64_t again);

#endif
