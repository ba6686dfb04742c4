/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server and several clients in one process, whose threads are coroutines (scheduler.h). The code is
 * the product's, but for what it asks the kernel: memory is plain memory that all share, the
 * control socket is a function call, the futex, the doorbell and the clock are the scheduler's.
 */
#ifndef TARN_TESTS_WORLD_H
#define TARN_TESTS_WORLD_H

#include "lib/client/client.h"
#include "lib/server/server.h"
#include "scheduler.h"
#include "tarn/tarn.h"

#define WORLD_CLIENTS 4u
#define WORLD_STILL 3u
#define WORLD_FOREVER (100ll * 1000000000)

struct world {
	struct server *s;
	tarn_client *c[WORLD_CLIENTS]; /* process i */
	/* What the scenario uses. */
	tarn_block *b[8];
	tarn_channel *ch[8][2]; /* the handles of the producer and the consumer */
	uint64_t id[8];
	unsigned n[8];
	uint64_t sent[8]; /* through channel i */
	/* References that somebody holds, by id: none of them may be freed. */
	uint64_t held[32];
	uint64_t slept_out; /* waits that a time slice ended, not a wake-up; */
	bool may_sleep;     /* which is allowed where somebody dies */
	unsigned more_epochs; /* so many more than one before the server lets others go on */
	bool answers;       /* the server does, on the control socket */
	bool crash_points;  /* the server may stop after any store to META */
	bool watch_data;    /* relaxed accesses to DATA, DIR and VIEW are places to go on at, too, but for these: */
	struct {
		const void *at;
		size_t bytes;
	} still[WORLD_STILL];
};
extern struct world *world;
/* Memory that is not Tarn's and that all have: a mapped file. Its stores are buffered, too. */
extern uint64_t world_outside[8];

#define SERVER 99u /* its process number */

/* With as many clients; in the caller's context, where waits run the server's epochs. @contents: with VIEW,
 * for containers. */
void world_open(unsigned clients, bool contents);
/* All clients are closed or dead: settles, checks that nothing is left, and ends it. */
void world_close(void);

/* Epochs until nothing is left to do, and the full check. */
void world_settle(void);

/* One thread of process @client; runs @run. */
void world_thread(unsigned client, void (*run)(void));
/* The server: epochs one after the other for as long as a client's thread runs, or the reactor
 * itself with its sleep. */
void world_server(void);
void world_reactor(void);
/* With watch_data: nobody changes these bytes any more. */
void world_still(const void *at, size_t bytes);
/* The server dies where it is, and a successor goes on with META. */
void world_server_killed(void);
/* Process @client dies where it is. */
void world_kill(unsigned client);

/* Fails the run unless the call returns 0. */
#define MUST(call) world__must(__FILE__, __LINE__, #call, (call))
void world__must(const char *file, int line, const char *text, int r);
#define MUST_BE(x) ((x) ? (void)0 : sched_fail("%s:%d: %s", __FILE__, __LINE__, #x))

/* A reference that is held from here, to here. */
void world_hold(const tarn_block *b);
void world_drop(tarn_block *b); /* also drops it */
/* Its count for the server, 0: freed. */
uint32_t world_count(uint64_t id);
uint32_t world_units(uint64_t id, unsigned client);

extern const struct sched_play world_play;

#endif
