/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client does while it is killed: one entry per operation. A new kind of thing in Tarn is
 * one more entry here; test-kill-everywhere.c does the rest.
 *
 * The child attaches, takes the ends of two channels that the survivor made, and has a few
 * blocks; then come prepare(), which nobody watches, and run(), of which every instruction may
 * be the last. The survivor keeps a block that the child may name, has sent three items "down",
 * reads whatever comes "up", and looks that all of it is whole.
 */
#ifndef TARN_TESTS_CRASH_OPERATIONS_H
#define TARN_TESTS_CRASH_OPERATIONS_H

#include "sync.h"
#include "tests/common/types.h"

#define ITEMS 3        /* sent down; the first is the block that the survivor keeps */
#define BLOCK_BYTES 200
#define SECOND INT64_C(1000000000)
#define WHOLE 0x11     /* what every block is filled with */

struct world {
	const struct scene *scene;
	tarn_client *c;
	tarn_channel *in, *out;
	tarn_block *own;      /* nobody was told of it */
	tarn_block *shared;   /* sealed, and exported as: */
	tarn_token token;
	tarn_token kept;      /* of the block that the survivor keeps */
	tarn_block *b[4];     /* of prepare() */
	tarn_channel *ch[4];
	tarn_object *o[2];
	tarn_object *sync[SYNC_THINGS];
	tarn_process *p;
	tarn_pool *pool;
	tarn_runner *runner;
	tarn_stream *stream;
};

struct operation {
	const char *name;
	size_t capacity;      /* of the channels; with 64 and more, receipts are deferred */
	void (*prepare)(struct world *w); /* NULL: nothing more */
	void (*run)(struct world *w);
	bool alone;           /* the child is not even attached */
	bool late;            /* the survivor receives when the dead one is gone, and not before */
	bool sync;            /* the survivor has a struct sync */
	bool pool;            /* the survivor has a pool, shared as OPERATIONS_POOL */
	bool threads;         /* others than the one that is stepped run, and bear processes */
	void *(*waiter)(void *sync); /* what a thread of the survivor waits for; NULL: nothing */
};

extern const struct operation operations[];
extern const size_t n_operations;

#define OPERATIONS_POOL "the survivor's pool"

void operations_fill(tarn_block *b, unsigned char byte);
bool operations_filled(const tarn_block *b, unsigned char byte);

/* operations-work.c */
void operations_stream(struct world *w);
void operations_stream_put(struct world *w);
void operations_stream_next(struct world *w);
void operations_stream_ended(struct world *w);
void operations_stream_renew(struct world *w);
void operations_spawn(struct world *w);
void operations_join(struct world *w);
void operations_pool(struct world *w);
void operations_pool_submit(struct world *w);
void operations_pool_close(struct world *w);
void operations_pool_terminate(struct world *w);
void operations_pool_share(struct world *w);
void operations_pool_open(struct world *w);
void operations_runner(struct world *w);
void operations_runner_call(struct world *w);

#endif
