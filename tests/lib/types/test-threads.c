/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What locks and their likes promise of memory, where ThreadSanitizer can see it: threads of one
 * client, whose plain variables are handed from one to the next by nothing else.
 */
#include <sched.h>

#include "tests/common/arena.h"

enum { THREADS = 4, ROUNDS = 3000 };

static struct arena arena;
static tarn_client *client;
static tarn_object *thing, *other;
static uint64_t plain; /* what the thing protects */

static void all(void *(*work)(void *), uint64_t expected)
{
	pthread_t t[THREADS];

	plain = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	PLAIN_EQ(plain, expected);
}

static void open_all(void)
{
	arena_start_thread(&arena, NULL, NULL);
	client = arena_client(&arena, NULL);
}
static void close_all(void)
{
	tarn_object_unref(thing);
	tarn_object_unref(other);
	thing = other = NULL;
	tarn_client_close(client);
	arena_end(&arena);
}

static void *count_in_lock(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		PLAIN_EQ(tarn_lock_acquire(thing, TARN_FOREVER), 0);
		plain++;
		PLAIN_EQ(tarn_lock_release(thing), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t6_what_was_written_in_a_lock_is_seen_by_its_next_holder, 120)
{
	open_all();
	PLAIN_EQ(tarn_lock_new(client, 0, &thing), 0);
	all(count_in_lock, THREADS * ROUNDS);
	close_all();
}

static void *count_in_rlock(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		PLAIN_EQ(tarn_rlock_acquire(thing, TARN_FOREVER), 0);
		PLAIN_EQ(tarn_rlock_acquire(thing, TARN_FOREVER), 0);
		plain++;
		PLAIN_EQ(tarn_rlock_release(thing), 0);
		plain++;
		PLAIN_EQ(tarn_rlock_release(thing), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t7_what_was_written_in_a_recursive_lock_is_seen_by_its_next_holder, 120)
{
	open_all();
	PLAIN_EQ(tarn_rlock_new(client, 0, &thing), 0);
	all(count_in_rlock, 2 * THREADS * ROUNDS);
	close_all();
}

static void *count_in_sem(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		PLAIN_EQ(tarn_sem_acquire(thing, TARN_FOREVER), 0);
		plain++;
		PLAIN_EQ(tarn_sem_release(thing, 1), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t8_what_was_written_with_the_only_permit_is_seen_by_who_has_it_next, 120)
{
	open_all();
	PLAIN_EQ(tarn_sem_new(client, 1, &thing), 0);
	all(count_in_sem, THREADS * ROUNDS);
	close_all();
}

/* Each waits for its turn, as everybody has one. */
static bool is_mine(void *arg)
{
	return plain % THREADS == (uintptr_t)arg;
}
static void *take_turns(void *arg)
{
	for (int i = 0; i < ROUNDS / 10; i++) {
		PLAIN_EQ(tarn_cond_acquire(thing, TARN_FOREVER), 0);
		PLAIN_EQ(tarn_cond_wait_for(thing, is_mine, arg, TARN_FOREVER), 0);
		plain++;
		PLAIN_EQ(tarn_cond_notify_all(thing), 0);
		PLAIN_EQ(tarn_cond_release(thing), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t9_turns_are_taken_in_order_by_a_condition, 120)
{
	open_all();
	PLAIN_EQ(tarn_cond_new(client, NULL, &thing), 0);
	all(take_turns, THREADS * (ROUNDS / 10));
	close_all();
}

static void *await_news(void *arg)
{
	if ((uintptr_t)arg == 0) {
		plain = 7;
		PLAIN_EQ(tarn_event_set(thing), 0);
	} else {
		PLAIN_EQ(tarn_event_wait(thing, TARN_FOREVER), 0);
		PLAIN_EQ(plain, 7);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t10_what_was_written_before_an_event_was_set_is_seen_by_who_waited, 120)
{
	open_all();
	for (int i = 0; i < 100; i++) {
		PLAIN_EQ(tarn_event_new(client, 0, &thing), 0);
		all(await_news, 7);
		thing = tarn_object_unref(thing);
	}
	close_all();
}

static uint64_t part[THREADS];
static void *meet_often(void *arg)
{
	uintptr_t me = (uintptr_t)arg;

	for (uint64_t i = 1; i <= ROUNDS / 10; i++) {
		part[me] = i;
		PLAIN_EQ(tarn_barrier_wait(thing, TARN_FOREVER, NULL), 0);
		for (int k = 0; k < THREADS; k++)
			PLAIN_EQ(part[k], i);
		PLAIN_EQ(tarn_barrier_wait(thing, TARN_FOREVER, NULL), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t11_what_each_party_wrote_before_a_barrier_is_seen_by_all, 120)
{
	open_all();
	PLAIN_EQ(tarn_barrier_new(client, THREADS, &thing), 0);
	all(meet_often, 0);
	close_all();
}

/* A lock made of a value, and bytes that it says are ready. */
static void *spin(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		while (tarn_shared_cas(thing, 0, 1, NULL) != 1)
			sched_yield();
		plain++;
		PLAIN_EQ(tarn_shared_set(thing, 0), 0);
	}
	return NULL;
}
PLAIN_TEST_TIMEOUT(t3_a_value_hands_on_what_was_written_before, 120)
{
	open_all();
	PLAIN_EQ(tarn_shared_new(client, 'B', &thing), 0);
	all(spin, THREADS * ROUNDS);
	close_all();
}

PLAIN_MAIN()
