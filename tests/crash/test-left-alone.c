/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is killed at a store to META, and its successor is then left alone: nobody asks it for
 * anything but counters. What the dead one knew by itself, that something is still to be done, must be found by
 * the next one in META; elsewhere (test-server-steps.c) the work that goes on would remind it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "server-steps.h"

#define TICKETS 300 /* more than a server drops in one go */

struct world {
	struct arena a;
	struct steps *steps;
	tarn_client *c, *d;
	tarn_channel *to, *from; /* c sends, d receives */
	tarn_object *link[2];
};

static struct world world_open(const struct arena_kind *kind)
{
	struct world w = { 0 };

	w.steps = steps_start(&w.a, kind);
	w.c = arena_client(&w.a, NULL);
	w.d = arena_client(&w.a, NULL);
	return w;
}

static void world_close(struct world *w)
{
	tarn_client_close(w->d);
	tarn_client_close(w->c);
	/* Servers' only, and these are no clients. */
	PLAIN_EQ(arena_stat(&w->a).deaths, 0);
	arena_end(&w->a);
	steps_end(w->steps);
}

/* What is done, and undone, in one go. */
struct scenario {
	void (*prepare)(struct world *w);
	void (*act)(struct world *w);
	bool (*is_over)(const tarn_stat *st);
	void (*clear)(struct world *w);
	int64_t stride; /* stores between two kills */
};

static void play(const struct scenario *s)
{
	const char *all = getenv("TARN_SERVER_STEPS");
	const int64_t stride = all != NULL && *all == '1' ? 1 : s->stride;
	struct world w = world_open(&arena_posix_epoll);
	int64_t n = 1;

	for (uint64_t kills, runs = 0;; n += stride, runs++) {
		if (runs % 4 == 0)
			steps_rest();
		if (s->prepare != NULL)
			s->prepare(&w);
		arena_settle(w.c);
		arena_settle(w.d);
		kills = w.steps->kills;
		__atomic_store_n(&w.steps->left, n, __ATOMIC_RELEASE);
		s->act(&w);
		tarn_stat st;
		PLAIN_WAIT_FOR((st = arena_stat(&w.a), s->is_over == NULL || s->is_over(&st)));
		__atomic_store_n(&w.steps->left, 0, __ATOMIC_RELEASE);
		if (s->clear != NULL)
			s->clear(&w);
		if (w.steps->kills == kills)
			break; /* there is no store number n */
	}
	scene_note("%lld stores, %llu kills", (long long)n, (unsigned long long)w.steps->kills);
	PLAIN_CHECK(w.steps->kills >= 3);
	world_close(&w);
}

/* ---- tickets of a channel whose consumer has left ---- */

static void fill(struct world *w)
{
	tarn_block *b = arena_block(w->c, 100);

	OK(tarn_channel_new(w->c, 512, "full", &w->to));
	OK(tarn_channel_bind(w->to, TARN_PRODUCER));
	OK(tarn_channel_open(w->d, "full", TARN_FOREVER, &w->from));
	OK(tarn_channel_bind(w->from, TARN_CONSUMER));
	for (unsigned i = 0; i < TICKETS; i++)
		OK(tarn_channel_send(w->to, b, i, 0));
	tarn_block_unref(b);
}
static void leave(struct world *w)
{
	OK(tarn_channel_close(w->from));
}
static bool has_no_tickets(const tarn_stat *st)
{
	return st->tickets == 0;
}
static void drop(struct world *w)
{
	tarn_channel_unref(w->from);
	tarn_channel_unref(w->to);
	/* The name is free. */
	arena_settle(w->d);
	arena_settle(w->c);
}

PLAIN_TEST_TIMEOUT(k3_tickets_that_a_killed_server_was_dropping_are_dropped_by_the_next, 120)
{
	play(&(struct scenario){ fill, leave, has_no_tickets, drop, 311 });
}

/* ---- a cycle ---- */

static void link_both(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		w->link[i] = NEW(w->c, "Link", "");
	for (unsigned i = 0; i < 2; i++)
		OK(tarn_callf(w->link[i], "set", TARN_FOREVER, "O", NULL, w->link[1 - i]));
}
static void let_go(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		tarn_object_unref(w->link[i]);
	OK(tarn_client_ping(w->c, TARN_FOREVER)); /* rings */
}
static bool has_no_objects(const tarn_stat *st)
{
	return st->objects == 0;
}

PLAIN_TEST_TIMEOUT(k3_a_cycle_that_a_killed_server_suspected_is_collected_by_the_next, 120)
{
	play(&(struct scenario){ link_both, let_go, has_no_objects, NULL, 3 });
}

/* ---- questions ---- */

/* Read by the one, which is killed before it answers; the next says that it has not read it. */
static void ask(struct world *w)
{
	OK(tarn_client_flush(w->c, true, TARN_FOREVER));
}

PLAIN_TEST_TIMEOUT(k3_a_question_that_a_killed_server_had_read_is_asked_again, 120)
{
	play(&(struct scenario){ NULL, ask, NULL, NULL, 1 });
}

/* ---- lanes that are closed ---- */

/* More than a client keeps for its next threads. */
#define THREADS (TARN__PARKED_MAX + 3)

static struct {
	tarn_client *c;
	pthread_t thread[THREADS];
	pthread_barrier_t ready, end;
} crew;

/* What is left in the lane must mean nothing to whoever has it next. */
static void *use_a_lane(void *arg)
{
	tarn_block *b = arena_block(crew.c, 300000);
	tarn_token token;

	OK(tarn_block_export(b, NULL, &token));
	OK(tarn_token_revoke(crew.c, &token));
	tarn_block_unref(b);
	OK(tarn_client_ping(crew.c, TARN_FOREVER));
	pthread_barrier_wait(&crew.ready);
	pthread_barrier_wait(&crew.end);
	return arg;
}
static void begin_threads(struct world *w)
{
	crew.c = w->c;
	PLAIN_EQ(pthread_barrier_init(&crew.ready, NULL, THREADS + 1), 0);
	PLAIN_EQ(pthread_barrier_init(&crew.end, NULL, THREADS + 1), 0);
	for (unsigned i = 0; i < THREADS; i++)
		PLAIN_EQ(pthread_create(&crew.thread[i], NULL, use_a_lane, NULL), 0);
	pthread_barrier_wait(&crew.ready);
}
static void end_threads(struct world *w)
{
	pthread_barrier_wait(&crew.end);
	for (unsigned i = 0; i < THREADS; i++)
		PLAIN_EQ(pthread_join(crew.thread[i], NULL), 0);
	pthread_barrier_destroy(&crew.ready);
	pthread_barrier_destroy(&crew.end);
	arena_settle(w->d); /* so many epochs as a lane waits for its end */
	arena_settle(w->d);
}

/* The memory of a lane was to be made a hole when the server was killed: that is done again at its next use. */
PLAIN_TEST_TIMEOUT(k3_a_lane_that_a_killed_server_was_closing_is_empty_for_the_next_thread, 120)
{
	play(&(struct scenario){ begin_threads, end_threads, NULL, NULL, 5 });
}

/* A client that calls something closes lanes that it has to spare. */
static bool has_its_lanes(struct world *w)
{
	arena_settle(w->c);
	/* Two main threads', and those for the next ones. */
	return arena_stat(&w->a).lanes <= 2 + TARN__PARKED_MAX;
}

PLAIN_TEST_TIMEOUT(k3_lanes_that_a_killed_server_was_closing_are_closed_by_the_next, 60)
{
	struct world w = world_open(&arena_posix_epoll);

	for (unsigned kills = 0; kills < 3; kills++) {
		begin_threads(&w);
		w.steps->closing = kills;
		end_threads(&w);
		PLAIN_WAIT_FOR(w.steps->closing == 0 && has_its_lanes(&w));
		steps_rest();
	}
	PLAIN_EQ(w.steps->kills, 3);
	world_close(&w);
}

/* ---- what is no store to META ---- */

static void await_successor(const tarn_client *c, pid_t of)
{
	PLAIN_WAIT_FOR(tarn_client_server_pid(c) != of);
}

/* Nobody else knows of the deadline. */
PLAIN_TEST(k1_a_token_ends_in_time_though_its_server_was_killed)
{
	struct world w = world_open(&arena_posix_epoll);
	const tarn_export_options options = { .lifetime_ns = 50000000, .outlive_issuer = true };
	const pid_t pid = (pid_t)tarn_client_server_pid(w.c);
	tarn_block *b = arena_block(w.c, 100);
	tarn_token token;

	OK(tarn_block_export(b, &options, &token));
	tarn_block_unref(b);
	PLAIN_EQ(kill(pid, SIGKILL), 0);
	await_successor(w.c, pid);
	PLAIN_WAIT_FOR(arena_stat(&w.a).exports == 0);
	PLAIN_WAIT_FOR(arena_stat(&w.a).blocks_live == 0);
	world_close(&w);
}

/*
 * A server that is killed between its commit and the word that says so to the client leaves a lane that looks
 * full, with nothing in it that is still to be read. Without that word whoever waits for room waits for ever.
 */
PLAIN_TEST(k1_a_lane_whose_server_was_killed_before_it_said_what_it_had_read_has_room)
{
	struct world w = world_open(&arena_posix_epoll);
	const pid_t pid = (pid_t)tarn_client_server_pid(w.c);
	struct tarn__lane *l;
	tarn_block *b;

	arena_settle(w.c);
	l = tarn__lane_mine(w.c);
	PLAIN_CHECK(l != NULL);
	/* As if: it is the server's word, but our memory. */
	PLAIN_EQ(kill(pid, SIGSTOP), 0);
	tarn__store_release(&l->area->server.head, l->requests.tail - TARN__REQUESTS);
	l->requests.head_seen = l->requests.tail - TARN__REQUESTS;
	PLAIN_EQ(tarn__requests_room(&l->requests, 1), 0);
	PLAIN_EQ(kill(pid, SIGKILL), 0);
	await_successor(w.c, pid);
	b = arena_block(w.c, 300000); /* asks */
	tarn_block_unref(b);
	world_close(&w);
}

PLAIN_MAIN()
