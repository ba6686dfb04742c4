/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of one process, the server's among them: for ThreadSanitizer and valgrind. What
 * holds is shown elsewhere, too; here it is that nothing races. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/arena.h"

#define MIB ((size_t)1 << 20)
#define THREADS 4
#define KEPT 8

/* Kinds as in ARENA_TEST, but in our own process. */
#define THREADED_TEST(name)                               \
	static void name(const struct arena_kind *kind);  \
	ARENA__ONE(name, posix_uring, PLAIN_TIMEOUT_S)    \
	ARENA__ONE(name, memfd_epoll, PLAIN_TIMEOUT_S)    \
	static void name(const struct arena_kind *kind)

static unsigned rounds(void)
{
	return arena_slow() ? 300 : 3000;
}

struct hand {
	struct arena *arena;
	tarn_client *client;
	unsigned number;
	tarn_block *shared;
	tarn_channel *out, *in;
	pthread_t thread;
};

static void start(struct hand *h, unsigned n, struct hand common, void *(*run)(void *))
{
	for (unsigned i = 0; i < n; i++) {
		h[i] = common;
		h[i].number = i;
		PLAIN_EQ(pthread_create(&h[i].thread, NULL, run, &h[i]), 0);
	}
}
static void join(struct hand *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		PLAIN_EQ(pthread_join(h[i].thread, NULL), 0);
}

/* ---- M1, M11: everybody allocates ---- */

static void *allocate(void *arg)
{
	struct hand *h = arg;
	tarn_block *kept[KEPT] = { NULL };
	unsigned seed[KEPT] = { 0 };

	for (unsigned i = 0; i < rounds(); i++) {
		unsigned k = i % KEPT;

		if (kept[k] != NULL) {
			PLAIN_CHECK(arena_filled(kept[k], seed[k]));
			tarn_block_unref(kept[k]);
		}
		kept[k] = arena_block(h->client, 1 + i * 37 % 700);
		seed[k] = h->number * 1000 + i;
		arena_fill(kept[k], seed[k]);
		if (i % 100 == 99)
			PLAIN_EQ(tarn_client_trim(h->client), 0);
	}
	for (unsigned k = 0; k < KEPT; k++)
		tarn_block_unref(kept[k]);
	return NULL;
}

THREADED_TEST(m11_threads_of_one_client_never_get_the_same_bytes)
{
	struct hand h[THREADS];
	struct arena a;

	arena_start_thread(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	start(h, THREADS, (struct hand){ .client = c }, allocate);
	join(h, THREADS);
	arena_check(&a);
	tarn_client_close(c);
	arena_end(&a);
}

static void *allocate_alone(void *arg)
{
	struct hand *h = arg;

	h->client = arena_client(h->arena, NULL);
	allocate(h);
	tarn_client_close(h->client);
	return NULL;
}

THREADED_TEST(m11_clients_of_one_process_never_get_the_same_bytes)
{
	struct hand h[THREADS];
	struct arena a;

	arena_start_thread(&a, kind, NULL);
	start(h, THREADS, (struct hand){ .arena = &a }, allocate_alone);
	join(h, THREADS);
	arena_end(&a);
}

/* ---- M15: references and slices of one block ---- */

static void *slice_and_drop(void *arg)
{
	struct hand *h = arg;

	for (unsigned i = 0; i < rounds(); i++) {
		tarn_block *s, *inner, *more = tarn_block_ref(h->shared);

		PLAIN_EQ(tarn_block_slice(more, i % 1000, 100, &s), 0);
		tarn_block_unref(more);
		PLAIN_EQ(tarn_block_slice(s, 10, 10, &inner), 0);
		tarn_block_unref(s);
		PLAIN_EQ(*(unsigned char *)tarn_block_data(inner), arena_byte(1, i % 1000 + 10));
		tarn_block_unref(inner);
	}
	tarn_block_unref(h->shared);
	return NULL;
}

THREADED_TEST(m15_the_last_of_many_threads_frees_the_block)
{
	struct hand h[THREADS];
	struct arena a;

	arena_start_thread(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 2000);
	uint64_t id = tarn_block_id(b);
	arena_fill(b, 1);
	for (unsigned i = 0; i < THREADS; i++)
		tarn_block_ref(b);
	start(h, THREADS, (struct hand){ .client = c, .shared = b }, slice_and_drop);
	tarn_block_unref(b);
	join(h, THREADS);
	for (unsigned i = 0; i < THREADS; i++) { /* wherever its cache went */
		PLAIN_EQ(tarn_client_trim(c), 0);
		arena_settle(c);
	}
	tarn_client_close(c);
	PLAIN_CHECK(!arena_has(&a, id));
	arena_end(&a);
}

/* ---- M14, M17: sealing and resizing beside readers ---- */

static void *look_and_seal(void *arg)
{
	struct hand *h = arg;

	for (unsigned i = 0; i < rounds() / 10; i++) {
		PLAIN_CHECK(arena_filled(h->shared, 1));
		if (h->number == i % THREADS)
			PLAIN_EQ(tarn_block_seal(h->shared), 0);
		PLAIN_CHECK(tarn_block_capacity(h->shared) >= tarn_block_size(h->shared));
	}
	tarn_block_unref(h->shared);
	return NULL;
}

THREADED_TEST(m14_threads_seal_one_block_at_once_and_read_on)
{
	struct hand h[THREADS];
	struct arena a;

	arena_start_thread(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (int round = 0; round < 3; round++) {
		tarn_block *b = arena_block(c, 500);

		arena_fill(b, 1);
		for (unsigned i = 0; i < THREADS; i++)
			tarn_block_ref(b);
		start(h, THREADS, (struct hand){ .client = c, .shared = b }, look_and_seal);
		join(h, THREADS);
		PLAIN_CHECK(tarn_block_sealed(b));
		tarn_block_unref(b);
	}
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M3: handing over ---- */

static void *produce(void *arg)
{
	struct hand *h = arg;

	for (unsigned i = 0; i < rounds(); i++) {
		tarn_block *b = arena_block(h->client, 1 + i % 300);

		arena_fill(b, i);
		PLAIN_EQ(tarn_channel_give(h->out, b, i, TARN_FOREVER), 0);
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct hand *h = arg;
	tarn_block *b;
	uint64_t tag;

	for (unsigned i = 0; i < rounds(); i++) {
		PLAIN_EQ(tarn_channel_recv(h->in, &b, &tag, TARN_FOREVER), 0);
		PLAIN_EQ(tag, i);
		PLAIN_CHECK(arena_filled(b, i));
		tarn_block_unref(b);
	}
	return NULL;
}

THREADED_TEST(m3_what_was_written_before_a_send_is_read_after_the_receive)
{
	struct hand from, to;
	struct arena a;
	tarn_channel *out, *in;

	arena_start_thread(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 16, "pair", &out), 0);
	PLAIN_EQ(tarn_channel_bind(out, TARN_PRODUCER), 0);
	PLAIN_EQ(tarn_channel_open(d, "pair", 0, &in), 0);
	PLAIN_EQ(tarn_channel_bind(in, TARN_CONSUMER), 0);
	start(&from, 1, (struct hand){ .client = c, .out = out }, produce);
	start(&to, 1, (struct hand){ .client = d, .in = in }, consume);
	join(&from, 1);
	join(&to, 1);
	tarn_channel_unref(out);
	tarn_channel_unref(in);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

/* ---- caches of threads that come and go ---- */

static void *short_life(void *arg)
{
	struct hand *h = arg;
	tarn_block *b = arena_block(h->client, 1 + h->number * 1000);

	arena_fill(b, h->number);
	PLAIN_CHECK(arena_filled(b, h->number));
	tarn_block_unref(b);
	return NULL;
}

THREADED_TEST(threads_that_come_and_go_hand_their_lanes_and_caches_on)
{
	struct hand h[12];
	struct arena a;

	arena_start_thread(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned i = 0; i < rounds() / 30; i++) {
		start(h, 12, (struct hand){ .client = c }, short_life);
		join(h, 12);
	}
	/* Twelve at most at once, and ours; eight stay parked. */
	PLAIN_CHECK(arena_stat(&a).lanes <= 13);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- a full arena ---- */

static void *fight(void *arg)
{
	static const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	struct hand *h = arg;

	for (unsigned i = 0; i < rounds() / 30; i++) {
		tarn_block *b;
		int r = tarn_block_new_with(h->client, MIB + h->number * 300000, &waiting, &b);

		PLAIN_CHECKF(r == 0, "%s", tarn_error_last()->message);
		*(unsigned char *)tarn_block_data(b) = 1;
		tarn_block_unref(b);
		PLAIN_EQ(tarn_client_trim(h->client), 0);
	}
	return NULL;
}

THREADED_TEST(full_arena_serves_waiting_threads_one_after_the_other)
{
	struct hand h[THREADS];
	struct arena a;

	/* Room for one or two of them. */
	arena_start_thread(&a, kind, &(tarn_server_options){ .arena_bytes = 3 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	start(h, THREADS, (struct hand){ .client = c }, fight);
	join(h, THREADS);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_MAIN()
