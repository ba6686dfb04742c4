/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server that lanes are fuzzed on, and its honest clients: V and W, and the executors, which are
 * played. It serves one input after the other for as long as the books after each equal those before
 * the first, which world_over() insists on; now and then it ends, and another begins.
 */
#ifndef TARN_TESTS_FUZZ_WORLD_H
#define TARN_TESTS_FUZZ_WORLD_H

#include "tests/lib/server/fake.h"

/* Over all inputs. */
struct world_count {
	uint64_t worlds;
	uint64_t inputs;
	uint64_t epochs; /* of the server */
	uint64_t
		fuzzed; /* of these, in which it read a message of a hostile lane, or in which a word was
			    * changed between two of its reads */
	uint64_t messages; /* slots of hostile lanes that it read */
	uint64_t evictions, deaths;
	uint64_t calls, jobs; /* methods run in the reactor's thread, and by executors */
	uint64_t honest;      /* messages of honest clients */
	uint64_t answers;     /* honest calls that were answered, each with what it must be */
	uint64_t checks;      /* full checks of the server's books */
};
extern struct world_count world_count;
/* With what the server in hand has counted itself. */
struct world_count world_counted(void);

struct books {
	uint64_t live, granted, dead, aside, heap_used, channels, exports, outliving, names, things,
		edges, calls, watches, attending, clients, lanes, pending, claims, promised, v_held,
		w_held, host_held, v_credits, w_credits, container_bytes;
};

#define WORLD_WAITING 64u

/* A thread of an honest client that calls, and checks what it is answered. */
struct caller {
	struct fake_lane lane;
	int64_t expected[WORLD_WAITING];
	uint64_t asked, answered;
};

struct world {
	struct server *s;
	uint32_t v, w, host;
	struct fake_lane va, wa, ha;
	struct caller vc, wc;
	struct books begin;
	unsigned inputs;
	int view_readonly;
	bool over; /* V and W are dead: nobody looks for answers */
	/* Called in each epoch: before it, and after it with what world_epoch() returns. */
	uint64_t (*hostile_cursors)(void *arg);
	void (*after)(void *arg);
	void *arg;
};

/* The one there is, or a new one. */
struct world *world_get(void);
/* The input is over, and everything that it began: the books are as they were. */
void world_over(struct world *w);

void world_epoch(struct world *w);
/* Epochs until nothing is left to do, with what executors have to say. */
void world_settle(struct world *w);
/* What there is, to stderr. */
void world_dump(const struct world *w);
/* The full check, of the containers, too. */
void world_verify(struct world *w);
/* Executors take on up to @most jobs. */
void world_executors(struct world *w, unsigned most);
/* Honest calls of method @method of @id; false: too many wait already. */
bool world_call(struct caller *c, uint64_t id, unsigned method, int64_t n);

#endif
