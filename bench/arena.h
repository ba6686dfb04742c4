/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server and clients of it, as users have them: public headers only. Whatever fails ends
 * the program with the library's own sentence.
 */
#ifndef TARN_BENCH_ARENA_H
#define TARN_BENCH_ARENA_H

#include <tarn/tarn.h>

#include "common.h"

#define ARENA_NAME_BYTES 108

/* Starts a server of @bytes, not pinned. Its name is in arena_name() until arena_stop(). */
void arena_start(uint64_t bytes);
/* The same, on @cpu; -1: not pinned. */
void arena_start_pinned(uint64_t bytes, int cpu);
/* From here on it runs on @cpu; -1: on any. */
void arena_pin(int cpu);
void arena_stop(void);
const char *arena_name(void);
pid_t arena_pid(void);

/* A client with a cache that keeps what the benchmark frees. */
tarn_client *attach(void);
/* A channel: the maker takes one end, another process opens the other. */
tarn_channel *make_channel(tarn_client *client, const char *name, size_t capacity,
			   enum tarn_channel_end end);
tarn_channel *open_channel(tarn_client *client, const char *name, enum tarn_channel_end end);

tarn_block *new_block(tarn_client *client, size_t size);
void give(tarn_channel *channel, tarn_block *block, uint64_t tag);
tarn_block *receive(tarn_channel *channel, uint64_t *ret_tag);

/* Ends the program if @r < 0, naming @what. */
static inline void check(int r, const char *what)
{
	if (__builtin_expect(r < 0, 0))
		die("%s: %s (%s)", what, tarn_error_last()->message, tarn_error_name(r));
}

/* The arena's numbers; connects on first use. */
tarn_stat arena_stat(void);
/* Waits until nothing is unread and nothing deferred: the numbers stand still. */
void arena_settle(tarn_client *client);

#endif
