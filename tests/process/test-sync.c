/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks and semaphores (T6 to T8, Q6): what CPython's tests say of these things, between processes, and what
 * becomes of it when processes are killed. And what concerns all of T6 to T11: lies, a server that is gone.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/actor.h"
#include "lib/types/types.h"
#include "shm/sync.h"
#include "tests/common/it.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

static uint64_t calls(const struct user *u)
{
	return scene_stat(&u->s).messages;
}

/* ---- T6: lock ---- */

PLAIN_TEST(t6_a_lock_is_held_by_one_and_released_by_anybody)
{
	struct user u = user_open();
	tarn_object *lock;

	OK(tarn_lock_new(u.c, 0, &lock));
	PLAIN_EQ(tarn_lock_locked(lock), 0);
	FAILS(tarn_lock_release(lock), TARN_ESTATE);
	OK(tarn_lock_acquire(lock, 0));
	PLAIN_EQ(tarn_lock_locked(lock), 1);
	FAILS(tarn_lock_acquire(lock, 0), EAGAIN);
	FAILS(tarn_lock_acquire(lock, 1000000), ETIMEDOUT);
	publish_it(lock);
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_object *o = find_it(&u);

		FAILS(tarn_lock_acquire(o, 1000000), ETIMEDOUT);
		OK(tarn_lock_release(o)); /* another's, as in Python */
		OK(tarn_lock_acquire(o, 0));
		OK(tarn_lock_release(o));
		tarn_client *c = tarn_object_client(o);
		tarn_object_unref(o);
		tarn_client_close(c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_lock_acquire(lock, 0));
	OK(tarn_lock_release(lock));
	drop_it(&u, lock);
	user_close(&u);
}

static pid_t hold_it_and_wait(const struct user *u, uint32_t *step)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_object *o = find_it(u);

		OK(tarn_lock_acquire(o, TARN_FOREVER));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	return pid;
}

PLAIN_TEST(t6_holder_killed_the_next_has_it_with_owner_died_and_nobody_else_is_told)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *lock;
	uint64_t worst = 0;

	OK(tarn_lock_new(u.c, 0, &lock));
	publish_it(lock);
	for (int round = 0; round < 10; round++) {
		*step = 0;
		pid_t pid = hold_it_and_wait(&u, step);

		FAILS(tarn_lock_acquire(lock, 0), EAGAIN);
		uint64_t killed = scene_now();
		kill(pid, SIGKILL);
		FAILS(tarn_lock_acquire(lock, TARN_FOREVER), EOWNERDEAD);
		uint64_t took = scene_now() - killed;
		worst = took > worst ? took : worst;
		FAILS(tarn_lock_acquire(lock, 0), EAGAIN); /* it is held */
		OK(tarn_lock_release(lock));
		OK(tarn_lock_acquire(lock, 0)); /* and told of once */
		OK(tarn_lock_release(lock));
		plain_reap(pid);
	}
	scene_note("from SIGKILL to the next holder: at most %.2f ms", (double)worst / 1e6);
	drop_it(&u, lock);
	user_close(&u);
}

PLAIN_TEST(t6_a_closed_client_lets_its_lock_go_as_a_dead_one)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *lock, *mine;

	OK(tarn_lock_new(u.c, 0, &lock));
	publish_it(lock);
	OK(tarn_object_lookup(other, "it", 0, &mine));
	OK(tarn_lock_acquire(mine, 0));
	FAILS(tarn_lock_acquire(lock, 0), EAGAIN);
	tarn_client_close(other);
	FAILS(tarn_lock_acquire(lock, 0), EOWNERDEAD);
	OK(tarn_lock_release(lock));
	drop_it(&u, lock);
	user_close(&u);
}

PLAIN_TEST(t6_taking_and_releasing_asks_nobody)
{
	struct user u = user_open();
	tarn_object *lock;
	uint64_t before;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_lock_acquire(lock, 0)); /* the type is known from here on */
	OK(tarn_lock_release(lock));
	before = calls(&u);
	for (int i = 0; i < 100000; i++) {
		OK(tarn_lock_acquire(lock, TARN_FOREVER));
		OK(tarn_lock_release(lock));
	}
	PLAIN_EQ(calls(&u) - before, 0);
	tarn_object_unref(lock);
	user_close(&u);
}

PLAIN_TEST(t6_a_forked_child_has_no_part_in_its_parents_locks)
{
	struct user u = user_open();
	tarn_object *lock;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_lock_acquire(lock, 0));
	pid_t pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_lock_release(lock), TARN_EFORKED);
		FAILS(tarn_lock_acquire(lock, TARN_FOREVER), TARN_EFORKED);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_lock_release(lock));
	tarn_object_unref(lock);
	user_close(&u);
}


PLAIN_TEST(t6_a_lock_travels_and_nests_like_any_object)
{
	struct user u = user_open();
	tarn_object *list = NEW(u.c, "List", ""), *lock, *got;
	tarn_parcel p;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_lock_acquire(lock, 0));
	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, lock));
	tarn_object_unref(lock); /* the list keeps it, locked */
	OK(tarn_call(list, "pop", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &got));
	PLAIN_EQ(tarn_lock_locked(got), 1);
	OK(tarn_lock_release(got));
	tarn_parcel_fini(&p);
	tarn_object_unref(list);
	user_close(&u);
}

PLAIN_TEST(t6_holders_are_shown)
{
	struct user u = user_open();
	tarn_object *lock, *sem;
	char text[200], want[64];

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_sem_new(u.c, 3, &sem));
	tarn_object_describe(lock, text, sizeof text, TARN_FOREVER);
	PLAIN_EQ(strcmp(text, "unlocked"), 0);
	OK(tarn_lock_acquire(lock, 0));
	OK(tarn_sem_acquire(sem, 0));
	snprintf(want, sizeof want, "locked by client %u, thread ", tarn_client_id(u.c));
	tarn_object_describe(lock, text, sizeof text, TARN_FOREVER);
	PLAIN_CHECKF(strncmp(text, want, strlen(want)) == 0, "%s", text);
	snprintf(want, sizeof want, "2 of 3 permits, client %u has 1", tarn_client_id(u.c));
	tarn_object_describe(sem, text, sizeof text, TARN_FOREVER);
	PLAIN_CHECKF(strcmp(text, want) == 0, "%s", text);
	tarn_object_unref(lock);
	tarn_object_unref(sem);
	user_close(&u);
}

/* Two counters that are equal whenever nobody is inside. */
struct pair {
	uint64_t a, b, repaired;
};
static struct pair *pair;

static void count_for_ever(tarn_object *lock, uint32_t *step)
{
	for (;;) {
		int r = tarn_lock_acquire(lock, TARN_FOREVER);

		if (r == -EOWNERDEAD) {
			__atomic_fetch_add(&pair->repaired, 1, __ATOMIC_RELAXED);
			__atomic_store_n(&pair->b, __atomic_load_n(&pair->a, __ATOMIC_RELAXED),
					 __ATOMIC_RELAXED);
		} else {
			PLAIN_EQ(r, 0);
		}
		uint64_t n = __atomic_load_n(&pair->a, __ATOMIC_RELAXED);

		PLAIN_EQ(__atomic_load_n(&pair->b, __ATOMIC_RELAXED), n);
		__atomic_store_n(&pair->a, n + 1, __ATOMIC_RELAXED);
		for (volatile int i = 0; i < 200; i++)
			;
		__atomic_store_n(&pair->b, n + 1, __ATOMIC_RELAXED);
		OK(tarn_lock_release(lock));
		say_more(step);
	}
}

PLAIN_TEST_TIMEOUT(t6_processes_killed_at_random_leave_the_others_going_and_each_death_inside_is_told, 300)
{
	struct user u = user_open();
	tarn_object *lock;

	pair = scene_shared(sizeof *pair);
	OK(tarn_lock_new(u.c, 0, &lock));
	publish_it(lock);
	killed_at_random(&u, count_for_ever, 60, 1);
	int r = tarn_lock_acquire(lock, 10 * SECOND);
	PLAIN_CHECK(r == 0 || r == -EOWNERDEAD);
	PLAIN_CHECK(r == -EOWNERDEAD || pair->a == pair->b);
	OK(tarn_lock_release(lock));
	scene_note("%llu rounds, %llu repairs", (unsigned long long)pair->a,
		   (unsigned long long)pair->repaired);
	PLAIN_CHECK(pair->repaired > 0);
	drop_it(&u, lock);
	user_close(&u);
}

/* The wake-ups that nobody but the server can pass on: no slice of time helps here. */
static void *sleep_on_word(void *word)
{
	uint32_t *w = word;

	while (tarn__futex_wait(w, 0, UINT64_MAX) == 0 && __atomic_load_n(w + 8, __ATOMIC_ACQUIRE) == 0)
		;
	return NULL;
}
static uint32_t sleeper_tid;
static void *sleeper(void *word)
{
	__atomic_store_n(&sleeper_tid, (uint32_t)gettid(), __ATOMIC_RELEASE);
	return sleep_on_word(word);
}

PLAIN_TEST(t6_a_death_between_release_and_wake_wakes_the_next)
{
	/* A word that nobody has, and one who sleeps on it: its wake died with who owed it. */
	uint32_t room[16] = { 0 };
	struct tarn__mutex *m = (void *)room;
	pthread_t t;

	m->contended = 1;
	PLAIN_EQ(pthread_create(&t, NULL, sleeper, &m->word), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&sleeper_tid, __ATOMIC_ACQUIRE) != 0 && plain_state((pid_t)sleeper_tid) == 'S');
	__atomic_store_n(&room[8], 1, __ATOMIC_RELEASE);
	tarn__mutex_departed(m, 7);
	pthread_join(t, NULL);
}

/* ---- T7: recursive lock ---- */

static void *release_other(void *lock)
{
	FAILS(tarn_rlock_release(lock), EPERM);
	FAILS(tarn_rlock_acquire(lock, 0), EAGAIN);
	PLAIN_EQ(tarn_rlock_depth(lock), 0);
	return NULL;
}

PLAIN_TEST(t7_a_recursive_lock_is_its_threads_as_often_as_it_takes_it)
{
	struct user u = user_open();
	tarn_object *lock;
	pthread_t t;

	OK(tarn_rlock_new(u.c, 0, &lock));
	FAILS(tarn_rlock_release(lock), TARN_ESTATE);
	for (int i = 1; i <= 5; i++) {
		OK(tarn_rlock_acquire(lock, 0));
		PLAIN_EQ(tarn_rlock_depth(lock), i);
	}
	PLAIN_EQ(pthread_create(&t, NULL, release_other, lock), 0);
	pthread_join(t, NULL);
	for (int i = 5; i >= 1; i--) {
		PLAIN_EQ(tarn_rlock_depth(lock), i);
		OK(tarn_rlock_release(lock));
	}
	FAILS(tarn_rlock_release(lock), TARN_ESTATE);
	FAILS(tarn_lock_acquire(lock, 0), TARN_EKIND);
	tarn_object_unref(lock);
	user_close(&u);
}

static void hold_deep(tarn_object *lock, uint32_t *step)
{
	for (int i = 0; i < 7; i++)
		OK(tarn_rlock_acquire(lock, TARN_FOREVER));
	stay(step);
}

PLAIN_TEST(t7_holder_killed_the_next_begins_at_depth_one)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *lock;

	OK(tarn_rlock_new(u.c, 0, &lock));
	publish_it(lock);
	pid_t pid = child_of(&u, hold_deep, step);
	scene_await(step, 1);
	FAILS(tarn_rlock_acquire(lock, 0), EAGAIN);
	kill(pid, SIGKILL);
	FAILS(tarn_rlock_acquire(lock, TARN_FOREVER), EOWNERDEAD);
	PLAIN_EQ(tarn_rlock_depth(lock), 1);
	OK(tarn_rlock_release(lock));
	OK(tarn_rlock_acquire(lock, 0));
	OK(tarn_rlock_release(lock));
	plain_reap(pid);
	drop_it(&u, lock);
	user_close(&u);
}

/* ---- T8: semaphores ---- */

static uint64_t value_of(tarn_object *sem)
{
	uint64_t v;

	OK(tarn_sem_value(sem, &v));
	return v;
}

PLAIN_TEST(t8_a_semaphore_counts_and_a_bounded_one_is_never_released_too_often)
{
	struct user u = user_open();
	tarn_object *sem, *bounded;

	OK(tarn_sem_new(u.c, 2, &sem));
	OK(tarn_bounded_sem_new(u.c, 2, &bounded));
	for (int i = 0; i < 2; i++) {
		tarn_object *s = i == 0 ? sem : bounded;

		OK(tarn_sem_acquire(s, 0));
		OK(tarn_sem_acquire(s, TARN_FOREVER));
		FAILS(tarn_sem_acquire(s, 0), EAGAIN);
		FAILS(tarn_sem_acquire(s, MS), ETIMEDOUT);
		FAILS(tarn_sem_release(s, 0), EINVAL);
		OK(tarn_sem_release(s, 2));
		PLAIN_EQ(value_of(s), 2);
	}
	OK(tarn_sem_release(sem, 1));
	PLAIN_EQ(value_of(sem), 3);
	FAILS(tarn_sem_release(bounded, 1), TARN_ESTATE);
	OK(tarn_sem_acquire(bounded, 0));
	FAILS(tarn_sem_release(bounded, 2), TARN_ESTATE);
	OK(tarn_sem_release(bounded, 1));
	PLAIN_EQ(value_of(bounded), 2);
	FAILS(tarn_lock_acquire(sem, 0), TARN_EKIND);
	tarn_object_unref(sem);
	tarn_object_unref(bounded);
	user_close(&u);
}

PLAIN_TEST(t8_taking_and_releasing_asks_nobody)
{
	struct user u = user_open();
	tarn_object *sem, *event, *cond, *v;
	int64_t n;

	OK(tarn_sem_new(u.c, 1, &sem));
	OK(tarn_event_new(u.c, 0, &event));
	OK(tarn_cond_new(u.c, NULL, &cond));
	OK(tarn_shared_new(u.c, 'q', &v));
	for (int i = 0; i < 10001; i++) {
		static uint64_t before;

		if (i == 1)
			before = calls(&u);
		OK(tarn_sem_acquire(sem, TARN_FOREVER));
		OK(tarn_sem_release(sem, 1));
		OK(tarn_event_set(event));
		OK(tarn_event_wait(event, TARN_FOREVER));
		OK(tarn_event_clear(event));
		OK(tarn_cond_acquire(cond, TARN_FOREVER));
		OK(tarn_cond_notify_all(cond));
		OK(tarn_cond_release(cond));
		OK(tarn_shared_add(v, 1, NULL));
		OK(tarn_shared_get(v, &n));
		PLAIN_EQ(n, i + 1);
		if (i == 10000)
			PLAIN_EQ(calls(&u) - before, 0);
	}
	tarn_object_unref(sem);
	tarn_object_unref(event);
	tarn_object_unref(cond);
	tarn_object_unref(v);
	user_close(&u);
}

static void take_three(tarn_object *sem, uint32_t *step)
{
	for (int i = 0; i < 3; i++)
		OK(tarn_sem_acquire(sem, TARN_FOREVER));
	stay(step);
}

PLAIN_TEST(t8_holder_killed_its_permits_are_there_again_and_sleepers_get_them)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);

	for (int bounded = 0; bounded < 2; bounded++) {
		tarn_object *sem;

		OK((bounded ? tarn_bounded_sem_new : tarn_sem_new)(u.c, 4, &sem));
		publish_it(sem);
		for (int round = 0; round < 5; round++) {
			*step = 0;
			pid_t pid = child_of(&u, take_three, step);

			scene_await(step, 1);
			PLAIN_EQ(value_of(sem), 1);
			kill(pid, SIGKILL);
			for (int i = 0; i < 4; i++)
				OK(tarn_sem_acquire(sem, TARN_FOREVER));
			FAILS(tarn_sem_acquire(sem, 0), EAGAIN);
			OK(tarn_sem_release(sem, 4));
			plain_reap(pid);
		}
		PLAIN_EQ(value_of(sem), 4);
		if (bounded)
			FAILS(tarn_sem_release(sem, 1), TARN_ESTATE);
		drop_it(&u, sem);
		scene_settle(&u.s);
	}
	user_close(&u);
}

static void take_signals(tarn_object *sem, uint32_t *step)
{
	for (;;) {
		OK(tarn_sem_acquire(sem, TARN_FOREVER));
		say_more(step);
	}
}

PLAIN_TEST(t8_one_side_may_release_what_the_other_takes)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *sem;

	OK(tarn_sem_new(u.c, 0, &sem));
	publish_it(sem);
	pid_t pid = child_of(&u, take_signals, step);
	for (uint32_t i = 1; i <= 1000; i++) {
		OK(tarn_sem_release(sem, 1));
		scene_await(step, i);
	}
	/* What it took is not given back by its death a thousand times: one, at most. */
	kill_and_reap(&u, pid);
	PLAIN_CHECK(value_of(sem) <= 1);
	drop_it(&u, sem);
	user_close(&u);
}

/* Killed inside: after the holder's word, before the value's. */
static void take_and_die(tarn_object *sem, uint32_t *step)
{
	struct tarn__sem *s = tarn__object_instance(sem, &tarn__type_semaphore);
	uint32_t me = tarn__actor(tarn_object_client(sem));

	OK(tarn__guard_enter(tarn_object_client(sem), &s->guard, me, TARN_FOREVER, tarn__sem_repair, s));
	s->used = 1;
	s->holder[0] = tarn__owner_client(me) + TARN__SEM_UNIT;
	stay(step);
}
static void wait_for_permit(tarn_object *sem, uint32_t *step)
{
	say_more(step);
	OK(tarn_sem_acquire(sem, TARN_FOREVER));
	OK(tarn_sem_release(sem, 1));
}

PLAIN_TEST(t8_a_death_in_the_middle_of_taking_loses_no_permit_and_stops_nobody)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(2 * sizeof *step);
	tarn_object *sem;

	OK(tarn_sem_new(u.c, 1, &sem));
	publish_it(sem);
	for (int round = 0; round < 5; round++) {
		step[0] = step[1] = 0;
		pid_t dead = child_of(&u, take_and_die, &step[0]);

		scene_await(&step[0], 1);
		pid_t other = child_of(&u, wait_for_permit, &step[1]);

		scene_await(&step[1], 1);
		plain_kill(dead);
		PLAIN_EQ(plain_reap(other), 0);
		PLAIN_EQ(value_of(sem), 1);
	}
	drop_it(&u, sem);
	user_close(&u);
}

static void take_for_ever(tarn_object *sem, uint32_t *step)
{
	for (;;) {
		OK(tarn_sem_acquire(sem, TARN_FOREVER));
		for (volatile int i = 0; i < 100; i++)
			;
		OK(tarn_sem_release(sem, 1));
		say_more(step);
	}
}

PLAIN_TEST_TIMEOUT(t8_processes_killed_at_random_lose_no_permit, 300)
{
	struct user u = user_open();
	tarn_object *sem;

	OK(tarn_bounded_sem_new(u.c, 2, &sem));
	publish_it(sem);
	killed_at_random(&u, take_for_ever, 60, 2);
	PLAIN_EQ(value_of(sem), 2);
	FAILS(tarn_sem_release(sem, 1), TARN_ESTATE);
	drop_it(&u, sem);
	user_close(&u);
}

/* ---- in methods ---- */

static int use_lock(tarn_context *ctx, void *self)
{
	tarn_object *lock;
	int r = tarn_context_get(ctx, "O", &lock);

	(void)self;
	if (r == 0)
		r = tarn_lock_acquire(lock, 10 * SECOND);
	return r == 0 ? tarn_lock_release(lock) : r;
}
static const tarn_method user_methods[] = {
	{ "use", use_lock, 0, "O", "", NULL },
	{ "use_inline", use_lock, TARN_METHOD_INLINE, "O", "", NULL },
	{ 0 },
};
static const tarn_type lock_user = { .name = "LockUser", .methods = user_methods };
TARN_TYPE_REGISTER(lock_user)

PLAIN_TEST(t6_a_method_on_an_executor_may_take_a_lock_and_an_inline_one_is_told_that_it_may_not)
{
	struct user u = user_open();
	tarn_object *lock, *m = NEW(u.c, "LockUser", "");
	/* Of its own: while an executor is at an object its inline methods are executors', too. */
	tarn_object *idle = NEW(u.c, "LockUser", "");

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_callf(m, "use", TARN_FOREVER, "O", NULL, lock));
	OK(tarn_lock_acquire(lock, 0));
	FAILS(tarn_callf(idle, "use_inline", TARN_FOREVER, "O", NULL, lock), TARN_EREMOTE);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "nline") != NULL, "%s",
		     tarn_error_last()->message);
	OK(tarn_lock_release(lock));
	OK(tarn_callf(m, "use", TARN_FOREVER, "O", NULL, lock));
	PLAIN_EQ(tarn_lock_locked(lock), 0);
	tarn_object_unref(lock);
	tarn_object_unref(m);
	tarn_object_unref(idle);
	user_close(&u);
}

/* ---- lies ---- */

PLAIN_TEST_TIMEOUT(a7_garbage_in_instances_harms_no_server, 120)
{
	static const tarn_type *const types[] = {
		&tarn__type_lock, &tarn__type_rlock, &tarn__type_semaphore, &tarn__type_condition,
		&tarn__type_event, &tarn__type_barrier, &tarn__type_value, &tarn__type_array,
	};
	struct user u = user_open();
	uint64_t seed = 99;

	for (int round = 0; round < 60; round++) {
		tarn_object *o[8];
		char text[300];

		OK(tarn_lock_new(u.c, 0, &o[0]));
		OK(tarn_rlock_new(u.c, 0, &o[1]));
		OK(tarn_sem_new(u.c, 3, &o[2]));
		OK(tarn_cond_new(u.c, NULL, &o[3]));
		OK(tarn_event_new(u.c, 0, &o[4]));
		OK(tarn_barrier_new(u.c, 3, &o[5]));
		OK(tarn_shared_new(u.c, 'q', &o[6]));
		OK(tarn_array_new(u.c, 'q', 10, &o[7]));
		tarn_client *other = scene_client(&u.s);
		uint32_t number = tarn_client_id(other);
		for (int i = 0; i < 8; i++) {
			uint32_t *w = tarn__object_instance(o[i], types[i]);

			/* Most of it names the client that goes. */
			for (size_t k = 0; k < types[i]->size / 4; k++) {
				uint32_t r = (uint32_t)scene_random(&seed);

				w[k] = r & 1 ? (r & ~TARN__OWNER_CLIENT) | number : r;
			}
			tarn_object_describe(o[i], text, sizeof text, TARN_FOREVER);
		}
		tarn_client_close(other); /* answered when all were told of it */
		int64_t v;
		void *data;
		FAILS(tarn_array_data(o[7], &data), TARN_EPROTO);
		tarn_shared_get(o[6], &v);
		for (int i = 0; i < 8; i++)
			tarn_object_unref(o[i]);
		OK(tarn_client_ping(u.c, TARN_FOREVER));
	}
	user_close(&u);
}

/* ---- the server is gone ---- */

PLAIN_TEST(whoever_waits_for_another_is_told_that_the_server_is_gone)
{
	struct user u = user_open();
	tarn_object *lock, *event, *sem, *barrier, *cond;
	tarn_barrier_state facts;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_event_new(u.c, 0, &event));
	OK(tarn_sem_new(u.c, 0, &sem));
	OK(tarn_barrier_new(u.c, 2, &barrier));
	OK(tarn_cond_new(u.c, NULL, &cond));
	OK(tarn_lock_acquire(lock, 0));
	FAILS(tarn_event_wait(event, 0), EAGAIN);
	FAILS(tarn_sem_acquire(sem, 0), EAGAIN);
	OK(tarn_cond_acquire(cond, 0));
	OK(tarn_barrier_facts(barrier, &facts));
	kill(tarn_server_pid(u.s.server), SIGKILL);
	FAILS(tarn_lock_acquire(lock, TARN_FOREVER), TARN_ESRVDOWN);
	FAILS(tarn_event_wait(event, TARN_FOREVER), TARN_ESRVDOWN);
	FAILS(tarn_sem_acquire(sem, TARN_FOREVER), TARN_ESRVDOWN);
	FAILS(tarn_barrier_wait(barrier, TARN_FOREVER, NULL), TARN_ESRVDOWN);
	FAILS(tarn_cond_wait(cond, TARN_FOREVER), TARN_ESRVDOWN);
	tarn_object_unref(lock);
	tarn_object_unref(event);
	tarn_object_unref(sem);
	tarn_object_unref(barrier);
	tarn_object_unref(cond);
	tarn_client_close(u.c);
	tarn_inspector_close(u.s.in);
	OK(tarn_server_wait(u.s.server, TARN_FOREVER, NULL));
	tarn_server_unref(u.s.server);
}

/* ---- a server is killed while it takes away what the dead one had ---- */

static void take_one(tarn_object *o) { OK(tarn_sem_acquire(o, 0)); }

PLAIN_TEST(t8_permits_of_a_dead_one_are_counted_again_when_its_name_is_gone_already)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *sem;

	OK(tarn_sem_new(u.c, 2, &sem));
	publish_it(sem);
	struct tarn__sem *s = tarn__object_instance(sem, &tarn__type_semaphore);
	pid_t pid = stays_with(&u, step, take_one);
	scene_await(step, 2);
	for (uint32_t i = 0; i < tarn__sem_used(s); i++)
		tarn__store32_relaxed(&s->holder[i], 0);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	OK(tarn_sem_acquire(sem, 0));
	OK(tarn_sem_acquire(sem, 0));
	OK(tarn_sem_release(sem, 2));
	drop_it(&u, sem);
	user_close(&u);
}

PLAIN_MAIN()
