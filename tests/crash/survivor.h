/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever lives on when a process is killed: has a server, a client and something to do with the
 * victim. Afterwards it finishes its own work with what it holds undamaged, and the books of the
 * server must say what they said before.
 */
#ifndef TARN_TESTS_CRASH_SURVIVOR_H
#define TARN_TESTS_CRASH_SURVIVOR_H

#include "operations.h"

struct survivor {
	struct scene s;
	tarn_client *c;
	tarn_block *kept;
	tarn_channel *down, *up;
	struct sync sync;
	tarn_client *other; /* of the pool: what its threads' lanes had goes with it */
	tarn_pool *pool;
	tarn_stat rest; /* before anything */
	unsigned children;
};

/* The server, and what is the survivor's as long as it lives. */
struct survivor survivor_open(void);
void survivor_close(struct survivor *v);

/* Before the victim of @o begins; its token of the block that the survivor keeps in @ret_kept. */
void survivor_prepare(struct survivor *v, const struct operation *o, tarn_token *ret_kept);
/* When @dead has been waited for: goes on alone until nothing is left of its own work. @what names the kill. */
void survivor_finish(struct survivor *v, const struct operation *o, const tarn_token *kept, pid_t dead,
		     const char *what);
/* Until the books say what they said at first. */
void survivor_rest(struct survivor *v, const char *what);

/* Parts of these. */
void survivor_await_gone(struct survivor *v, pid_t dead);
/* The full check; then overwrites what is free, and looks at what it keeps. */
void survivor_overwrite(struct survivor *v, const char *what);

#endif
