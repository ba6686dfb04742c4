/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules that broke the client once: links of handles that are in two lists at a time, what
 * is deferred and never settled, ends that are not closed, counts under a full lane.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "tests/common/scene.h"

#define SECOND INT64_C(1000000000)

/* A block that others were told of; nothing else keeps it. */
static tarn_block *shared_block(tarn_client *c, size_t size)
{
	tarn_block *b;

	OK(tarn_block_new(c, size, 0, &b));
	OK(tarn_block_seal(b));
	return b;
}

static tarn_channel *both_ends(tarn_client *c, size_t capacity)
{
	tarn_channel *ch;

	OK(tarn_channel_new(c, capacity, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	return ch;
}

static uint64_t live(const struct scene *s)
{
	scene_settle(s);
	return scene_stat(s).blocks_live;
}

static int compare(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * 3000 shared blocks are dropped on a lane that holds 1024 messages while the server stands
 * still. Those that find no room are in their shard and on the backlog at once.
 */
PLAIN_TEST_TIMEOUT(drops_on_a_full_lane_leave_the_table_whole, 120)
{
	enum { FIRST = 3000, THEN = 20000 };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block **b = calloc(THEN, sizeof *b);
	uintptr_t *seen = calloc(THEN, sizeof *seen);

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < FIRST; i++)
			b[i] = shared_block(c, 64);
		kill(tarn_client_server_pid(c), SIGSTOP);
		for (int i = 0; i < FIRST; i++)
			tarn_block_unref(b[i]);
		kill(tarn_client_server_pid(c), SIGCONT);
		for (int i = 0; i < 4; i++)
			OK(tarn_client_flush(c, true, TARN_FOREVER));
		PLAIN_EQ(live(&s), 0);
		/* Grow the table, and take all handles that it should not hold any more. */
		for (int i = 0; i < THEN; i++) {
			b[i] = i % 2 ? shared_block(c, 64) : NULL;
			if (b[i] == NULL)
				OK(tarn_block_new(c, 64, 0, &b[i]));
		}
		for (int i = 0; i < THEN; i++)
			seen[i] = (uintptr_t)b[i];
		qsort(seen, THEN, sizeof *seen, compare);
		for (int i = 1; i < THEN; i++)
			PLAIN_CHECK(seen[i] != seen[i - 1]);
		for (int i = 0; i < THEN; i++)
			tarn_block_unref(b[i]);
		for (int i = 0; i < 16; i++) /* a lane's worth at a time */
			OK(tarn_client_flush(c, true, TARN_FOREVER));
		PLAIN_EQ(live(&s), 0);
	}
	free(seen);
	free(b);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- from a signal handler ---- */

static tarn_block *in_handler[64];

static void drop_all(int n)
{
	(void)n;
	for (int i = 0; i < 64; i++)
		in_handler[i] = tarn_block_unref(in_handler[i]);
}

struct poke {
	pthread_t thread;
	uint32_t go;
};

static void *poke(void *arg)
{
	struct poke *p = arg;

	PLAIN_WAIT_FOR(__atomic_load_n(&p->go, __ATOMIC_ACQUIRE) != 0);
	usleep(50000); /* it is in its nap by now */
	pthread_kill(p->thread, SIGUSR1);
	return NULL;
}

/* The thread waits in a call, so its lane is busy; the handler drops slices, shared and
 * unshared blocks. */
PLAIN_TEST(a_handler_drops_slices_while_the_thread_waits)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch = both_ends(c, 4);
	struct poke p = { .thread = pthread_self() };
	pthread_t t;
	tarn_block *b;

	signal(SIGUSR1, drop_all);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 64; i++) {
			b = i % 4 < 2 ? shared_block(c, 500) : NULL;
			if (b == NULL)
				OK(tarn_block_new(c, 500, 0, &b));
			if (i % 2 == 0) {
				OK(tarn_block_slice(b, 10, 20, &in_handler[i]));
				tarn_block_unref(b);
			} else {
				in_handler[i] = b;
			}
		}
		p.go = 0;
		PLAIN_EQ(pthread_create(&t, NULL, poke, &p), 0);
		__atomic_store_n(&p.go, 1, __ATOMIC_RELEASE);
		FAILS(tarn_channel_recv(ch, &b, NULL, SECOND / 4), ETIMEDOUT);
		pthread_join(t, NULL);
		PLAIN_CHECK(in_handler[0] == NULL);
		OK(tarn_client_flush(c, true, TARN_FOREVER));
		PLAIN_EQ(live(&s), 1); /* the ring */
		for (int i = 0; i < 500; i++)
			tarn_block_unref(shared_block(c, 500));
	}
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

/* What a handler left behind is done by a thread that only receives. */
PLAIN_TEST(a_receiver_finishes_what_a_handler_dropped)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch = both_ends(c, 4);
	struct poke p = { .thread = pthread_self(), .go = 1 };
	tarn_block *b;
	pthread_t t;

	signal(SIGUSR1, drop_all);
	in_handler[0] = shared_block(c, 500);
	PLAIN_EQ(pthread_create(&t, NULL, poke, &p), 0);
	FAILS(tarn_channel_recv(ch, &b, NULL, SECOND / 4), ETIMEDOUT);
	pthread_join(t, NULL);
	PLAIN_CHECK(in_handler[0] == NULL);
	FAILS(tarn_channel_recv(ch, &b, NULL, 0), EAGAIN);
	PLAIN_EQ(live(&s), 1);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- deferred ---- */

static void send_new(tarn_client *c, tarn_channel *ch, size_t size)
{
	tarn_block *b;

	OK(tarn_block_new(c, size, 0, &b));
	OK(tarn_channel_give(ch, b, 0, 0));
}

/* @d receives @n new blocks of @c, and has deferred to say so of most. */
static void defer_many(tarn_client *c, tarn_client *d, uint64_t slots, tarn_channel **ret_out, tarn_channel **ret_in,
		       tarn_block *b[], int n)
{
	OK(tarn_channel_new(c, slots, "many", ret_out));
	OK(tarn_channel_bind(*ret_out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "many", 0, ret_in));
	OK(tarn_channel_bind(*ret_in, TARN_CONSUMER));
	for (int i = 0; i < n; i++)
		send_new(c, *ret_out, 64);
	for (int i = 0; i < n; i++)
		OK(tarn_channel_recv(*ret_in, &b[i], NULL, 0));
}

/* More blocks than half a lane holds messages are deferred and dropped; nobody receives
 * again. */
PLAIN_TEST(many_deferred_blocks_are_free_when_they_are_dropped)
{
	enum { N = 800 };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b[N];

	defer_many(c, d, 2048, &out, &in, b, N);
	for (int i = 0; i < N; i++)
		tarn_block_unref(b[i]);
	PLAIN_EQ(live(&s), 1);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* The same, with the channel dropped first. */
PLAIN_TEST(a_channel_with_many_deferred_blocks_closes_with_its_last_reference)
{
	enum { N = 1500 };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b[N], *more;

	defer_many(c, d, 4096, &out, &in, b, N);
	tarn_channel_unref(in);
	/* Nothing else is called for d. */
	scene_settle(&s);
	OK(tarn_block_new(c, 64, 0, &more));
	FAILS(tarn_channel_send(out, more, 0, SECOND), TARN_ECLOSED);
	tarn_block_unref(more);
	for (int i = 0; i < N; i++)
		tarn_block_unref(b[i]);
	OK(tarn_client_flush(d, true, TARN_FOREVER));
	OK(tarn_client_flush(d, true, TARN_FOREVER));
	PLAIN_EQ(live(&s), 1);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

struct pause {
	struct tarn__lane *lane;
	pid_t server;
};
/* Lets the server go on a while after the lane is full. */
static void *end_pause(void *arg)
{
	const struct pause *p = arg;
	const struct tarn__requests *r = &p->lane->requests;

	while (__atomic_load_n(&r->tail, __ATOMIC_RELAXED) - __atomic_load_n(r->server_head, __ATOMIC_RELAXED) <
	       TARN__REQUESTS - 8)
		usleep(1000);
	usleep(150000);
	kill(p->server, SIGCONT);
	return NULL;
}

/* A server that got no CPU for 50 ms, the lane being full, was waited for no longer: the end was closed when its client
 * called again, which need not be. The test above failed so on a busy machine. */
PLAIN_TEST(an_end_is_closed_though_the_server_stands_still_for_a_moment)
{
	enum { N = 1500 };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b[N], *more;
	pthread_t t;

	defer_many(c, d, 4096, &out, &in, b, N);
	struct pause p = { .lane = tarn__lane_mine(d), .server = tarn_client_server_pid(d) };
	PLAIN_EQ(kill(p.server, SIGSTOP), 0);
	PLAIN_EQ(pthread_create(&t, NULL, end_pause, &p), 0);
	tarn_channel_unref(in);
	pthread_join(t, NULL);
	scene_settle(&s);
	OK(tarn_block_new(c, 64, 0, &more));
	FAILS(tarn_channel_send(out, more, 0, SECOND), TARN_ECLOSED);
	tarn_block_unref(more);
	for (int i = 0; i < N; i++)
		tarn_block_unref(b[i]);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* The consumer has taken everything, so there is room for as much as the capacity. */
PLAIN_TEST(a_taken_item_makes_room_even_behind_one_that_is_kept)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *first, *again, *kept, *known;
	int sent = 0;

	OK(tarn_channel_new(c, 64, "kept", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "kept", 0, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	OK(tarn_block_new(c, 64, 0, &again));
	OK(tarn_channel_send(out, again, 0, 0));
	OK(tarn_channel_recv(in, &known, NULL, 0));
	FAILS(tarn_channel_recv(in, &kept, NULL, 0), EAGAIN); /* settles: d knows it */
	OK(tarn_block_new(c, 64, 0, &first));
	OK(tarn_channel_give(out, first, 0, 0));
	while (tarn_channel_send(out, again, 0, 0) == 0)
		sent++;
	OK(tarn_channel_recv(in, &kept, NULL, 0));
	for (int i = 0; i < sent; i++) {
		tarn_block *b;

		OK(tarn_channel_recv(in, &b, NULL, 0));
		PLAIN_CHECK(b == known);
		tarn_block_unref(b);
	}
	/* Everything is taken; the consumer does not come back. */
	for (int i = 0; i < 64; i++)
		OK(tarn_channel_send(out, again, 0, 0));
	tarn_block_unref(kept);
	tarn_block_unref(known);
	tarn_block_unref(again);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* Blocks that were dropped behind one that is kept are there for who needs memory. */
PLAIN_TEST(what_was_dropped_behind_a_kept_block_can_be_had_again)
{
	enum { N = 30 };
	const size_t large = 2u << 20; /* 30 of them in an arena of 64 MiB */
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b[N];

	OK(tarn_channel_new(c, 64, "dropped", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "dropped", 0, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	for (int i = 0; i < N; i++)
		send_new(c, out, large);
	for (int i = 0; i < N; i++)
		OK(tarn_channel_recv(in, &b[i], NULL, 0));
	for (int i = 1; i < N; i++)
		tarn_block_unref(b[i]);
	for (int i = 1; i < N - 1; i++)
		OK(tarn_block_new(d, large, 0, &b[i]));
	for (int i = 0; i < N - 1; i++)
		tarn_block_unref(b[i]);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

struct used {
	tarn_channel *ch;
	tarn_block *block;
};

static void *receive_one(void *arg)
{
	struct used *u = arg;

	OK(tarn_channel_recv(u->ch, &u->block, NULL, SECOND));
	return NULL;
}

/* The only receive there ever is; another thread drops what came. */
PLAIN_TEST(a_block_received_once_and_dropped_elsewhere_is_free)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	struct used u = { 0 };
	tarn_channel *out;
	tarn_block *b, *unused;
	pthread_t t;

	OK(tarn_channel_new(c, 64, "once", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "once", 0, &u.ch));
	OK(tarn_channel_bind(u.ch, TARN_CONSUMER));
	OK(tarn_block_new(c, 64, 0, &b));
	OK(tarn_channel_give(out, b, 0, 0));
	/* Here the thread ends, and settles; were it alive this would wait for its next call. */
	PLAIN_EQ(pthread_create(&t, NULL, receive_one, &u), 0);
	pthread_join(t, NULL);
	tarn_block_unref(u.block);
	PLAIN_EQ(live(&s), 1);
	FAILS(tarn_channel_recv(u.ch, &unused, NULL, 0), EAGAIN);
	tarn_channel_unref(u.ch);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- ends ---- */

static void *receive_some(void *arg)
{
	tarn_channel *ch = arg;
	tarn_block *b;

	for (int i = 0; i < 3; i++) {
		OK(tarn_channel_recv(ch, &b, NULL, SECOND));
		tarn_block_unref(b);
	}
	return NULL;
}

/* Another thread has received, the server sleeps over its messages; then the last reference
 * goes here, and this process calls nothing more. */
PLAIN_TEST(the_last_reference_closes_an_end_that_another_thread_used)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b;
	pthread_t t;

	OK(tarn_channel_new(c, 4, "end", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "end", 0, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	OK(tarn_block_new(c, 64, 0, &b));
	for (int round = 0; round < 1; round++) {
		for (int i = 0; i < 3; i++)
			OK(tarn_channel_send(out, b, 0, 0));
		usleep(100000); /* the server sleeps */
		PLAIN_EQ(pthread_create(&t, NULL, receive_some, in), 0);
		pthread_join(t, NULL);
	}
	tarn_channel_unref(in);
	/* Rings the server if the messages above did not; d is silent from here on. */
	for (int i = 0; i < 4; i++)
		scene_settle(&s);
	FAILS(tarn_channel_send(out, b, 0, SECOND), TARN_ECLOSED);
	tarn_block_unref(b);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- views ---- */

/* The block was made shorter than its slice reaches: the receiver cannot be told of it. */
PLAIN_TEST(a_slice_beyond_a_shortened_block_is_refused_by_the_sender)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *d = scene_client(&s);
	tarn_channel *out, *in;
	tarn_block *b, *slice, *got;
	tarn_token token;

	OK(tarn_channel_new(c, 4, "slice", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(d, "slice", 0, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_block_slice(b, 500, 500, &slice));
	OK(tarn_block_resize(b, 600));
	FAILS(tarn_channel_send(out, slice, 0, 0), EINVAL);
	FAILS(tarn_channel_give(out, slice, 0, 0), EINVAL);
	FAILS(tarn_block_export(slice, NULL, &token), EINVAL);
	OK(tarn_block_resize(b, 1000));
	OK(tarn_channel_send(out, slice, 0, 0));
	OK(tarn_channel_recv(in, &got, NULL, SECOND));
	PLAIN_EQ(tarn_block_size(got), 500);
	tarn_block_unref(got);
	tarn_block_unref(slice);
	tarn_block_unref(b);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(d);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- waits ---- */

/* No room on the lane, and the server stands still: the caller's time limit holds. */
PLAIN_TEST(a_send_that_only_looks_does_not_wait_for_a_stopped_server)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch = both_ends(c, 4);
	tarn_block *b, *got;
	uint64_t begun, took;
	int r = 0;

	OK(tarn_block_new(c, 64, 0, &b));
	kill(tarn_client_server_pid(c), SIGSTOP);
	begun = scene_now();
	/* Each turn posts two messages; the receiver's half may wait for room. */
	for (int i = 0; i < 512; i++) {
		r = tarn_channel_send(ch, b, 0, 0);
		if (r < 0)
			break;
		OK(tarn_channel_recv(ch, &got, NULL, 0));
		tarn_block_unref(got);
	}
	if (r == 0)
		r = tarn_channel_send(ch, b, 0, SECOND / 10);
	took = scene_now() - begun;
	kill(tarn_client_server_pid(c), SIGCONT);
	PLAIN_EQ(r, -ETIMEDOUT);
	PLAIN_CHECK(took < 5 * (uint64_t)SECOND * plain_timeout_scale());
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	tarn_block_unref(b);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
