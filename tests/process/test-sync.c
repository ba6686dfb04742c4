/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synchronisation (T6 to T11, Q6, D24): what CPython's tests say of these things, between
 * processes, and what becomes of it when processes are killed.
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
#include "tests/common/types.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

struct user {
	struct scene s;
	tarn_client *c;
};
static struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* The object that the test has published as "it", seen by a client of this process. */
static tarn_object *find_it(const struct user *u)
{
	tarn_object *o;

	OK(tarn_object_lookup(scene_client(&u->s), "it", TARN_FOREVER, &o));
	return o;
}
static void publish_it(tarn_object *o)
{
	OK(tarn_object_publish(o, "it", 0));
}
static void drop_it(struct user *u, tarn_object *o)
{
	OK(tarn_object_unpublish(u->c, "it"));
	tarn_object_unref(o);
}
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


/* ---- children with a client of their own ---- */

typedef void child_fn(tarn_object *it, uint32_t *step);

/* Runs @fn in a process that found the object "it". */
static pid_t child_of(const struct user *u, child_fn *fn, uint32_t *step)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_object *o = find_it(u);
		tarn_client *c = tarn_object_client(o);

		fn(o, step);
		tarn_object_unref(o);
		tarn_client_close(c);
		_exit(0);
	}
	return pid;
}
static void say_more(uint32_t *step)
{
	__atomic_fetch_add(step, 1, __ATOMIC_RELEASE);
}
static uint32_t said(const uint32_t *step)
{
	return __atomic_load_n(step, __ATOMIC_ACQUIRE);
}
static void stay(uint32_t *step)
{
	say_more(step);
	for (;;)
		pause();
}
static void kill_and_reap(const struct user *u, pid_t pid)
{
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u->s, pid));
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

/* Kills @fn's processes at random instants, and looks that the others always go on. */
static void killed_at_random(struct user *u, child_fn *fn, int kills, uint64_t seed)
{
	enum { WORKERS = 4 };
	uint32_t *step = scene_shared(WORKERS * sizeof *step);
	pid_t pid[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		pid[i] = child_of(u, fn, &step[i]);
	for (int k = 0; k < kills; k++) {
		int victim = (int)(scene_random(&seed) % WORKERS);
		uint32_t before[WORKERS], from = said(&step[victim]);

		/* So that it is killed in the middle of its work. */
		PLAIN_WAIT_FOR(said(&step[victim]) != from);
		uint64_t until = scene_now() + scene_random(&seed) % 300000;
		while (scene_now() < until)
			;
		plain_kill(pid[victim]);
		for (int i = 0; i < WORKERS; i++)
			before[i] = said(&step[i]);
		for (int i = 0; i < WORKERS; i++)
			if (i != victim)
				PLAIN_WAIT_FOR(said(&step[i]) != before[i]);
		pid[victim] = child_of(u, fn, &step[victim]);
	}
	for (int i = 0; i < WORKERS; i++)
		kill_and_reap(u, pid[i]);
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
static bool sleeps(pid_t tid)
{
	char path[64], state = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
	FILE *f = fopen(path, "re");
	if (f != NULL) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(f);
	}
	return state == 'S';
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
	PLAIN_WAIT_FOR(__atomic_load_n(&sleeper_tid, __ATOMIC_ACQUIRE) != 0 && sleeps((pid_t)sleeper_tid));
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

/* ---- T9: condition ---- */

struct crowd {
	tarn_object *cond;
	int phase, woken, ready; /* under the lock */
};

static void *wait_twice(void *arg)
{
	struct crowd *k = arg;

	OK(tarn_cond_acquire(k->cond, TARN_FOREVER));
	k->ready++;
	for (int i = 0; i < 2; i++) {
		OK(tarn_cond_wait(k->cond, TARN_FOREVER));
		k->woken++;
	}
	OK(tarn_cond_release(k->cond));
	return NULL;
}
static int crowd_read(struct crowd *k, const int *word)
{
	OK(tarn_cond_acquire(k->cond, TARN_FOREVER));
	int n = *word;

	OK(tarn_cond_release(k->cond));
	return n;
}
static uint32_t crowd_waiting(struct crowd *k)
{
	const struct tarn__cond *c = tarn__object_instance(k->cond, &tarn__type_condition);
	uint32_t n = 0;

	for (uint32_t i = 0; i < tarn__slots_used(&c->slots); i++)
		n += (tarn__load32_relaxed(&c->slots.slot[i]) & TARN__SLOT_WAITING) != 0;
	return n;
}
static void crowd_notify(struct crowd *k, uint32_t n)
{
	OK(tarn_cond_acquire(k->cond, TARN_FOREVER));
	OK(tarn_cond_notify(k->cond, n));
	OK(tarn_cond_release(k->cond));
}

/* CPython's ConditionTests.check_notify: exactly n are woken, of those who waited. */
static void check_notify(struct user *u, tarn_object *lock)
{
	enum { N = 6 };
	struct crowd k = { 0 };
	pthread_t t[N];

	OK(tarn_cond_new(u->c, lock, &k.cond));
	for (int i = 0; i < N; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, wait_twice, &k), 0);
	PLAIN_WAIT_FOR(crowd_waiting(&k) == N);
	crowd_notify(&k, 3);
	PLAIN_WAIT_FOR(crowd_read(&k, &k.woken) == 3 && crowd_waiting(&k) == N);
	crowd_notify(&k, 5);
	/* Who waits longest comes first: the three that waited all along, and two of the others. */
	PLAIN_WAIT_FOR(crowd_read(&k, &k.woken) == 8);
	PLAIN_EQ(crowd_read(&k, &k.woken), 8);
	PLAIN_WAIT_FOR(crowd_waiting(&k) == 2 * N - 8);
	OK(tarn_cond_acquire(k.cond, TARN_FOREVER));
	OK(tarn_cond_notify_all(k.cond));
	OK(tarn_cond_release(k.cond));
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	PLAIN_EQ(k.woken, 2 * N);
	crowd_notify(&k, 5); /* nobody: nothing is kept for later */
	tarn_object_unref(k.cond);
}

PLAIN_TEST_TIMEOUT(t9_notify_n_wakes_n_a_thousand_times, 600)
{
	struct user u = user_open();
	tarn_object *lock, *rlock;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_rlock_new(u.c, 0, &rlock));
	for (int i = 0; i < 1000; i++)
		check_notify(&u, i % 3 == 0 ? NULL : i % 3 == 1 ? lock : rlock);
	tarn_object_unref(lock);
	tarn_object_unref(rlock);
	user_close(&u);
}

static bool is_four(void *arg)
{
	return *(int *)arg == 4;
}
static void *raise_phase(void *arg)
{
	struct crowd *k = arg;

	for (int i = 0; i < 4; i++) {
		OK(tarn_cond_acquire(k->cond, TARN_FOREVER));
		k->phase++;
		OK(tarn_cond_notify(k->cond, 1));
		OK(tarn_cond_release(k->cond));
	}
	return NULL;
}

PLAIN_TEST(t9_waiting_for_something_with_and_without_time)
{
	struct user u = user_open();
	struct crowd k = { 0 };
	tarn_object *other;
	pthread_t t;

	OK(tarn_cond_new(u.c, NULL, &k.cond));
	FAILS(tarn_cond_wait(k.cond, 0), EPERM);
	FAILS(tarn_cond_notify(k.cond, 1), EPERM);
	FAILS(tarn_cond_release(k.cond), TARN_ESTATE);
	OK(tarn_cond_acquire(k.cond, 0));
	OK(tarn_cond_acquire(k.cond, 0)); /* recursive */
	FAILS(tarn_cond_wait(k.cond, 0), EAGAIN);
	FAILS(tarn_cond_wait(k.cond, MS), ETIMEDOUT);
	FAILS(tarn_cond_wait_for(k.cond, is_four, &k.phase, 0), EAGAIN);
	FAILS(tarn_cond_wait_for(k.cond, is_four, &k.phase, 5 * MS), ETIMEDOUT);
	PLAIN_EQ(pthread_create(&t, NULL, raise_phase, &k), 0);
	OK(tarn_cond_wait_for(k.cond, is_four, &k.phase, TARN_FOREVER));
	PLAIN_EQ(k.phase, 4);
	pthread_join(t, NULL);
	/* All that was held is held again. */
	OK(tarn_cond_release(k.cond));
	OK(tarn_cond_release(k.cond));
	FAILS(tarn_cond_release(k.cond), TARN_ESTATE);
	FAILS(tarn_cond_new(u.c, k.cond, &other), TARN_EKIND);
	tarn_object_unref(k.cond);
	user_close(&u);
}

PLAIN_TEST(t9_conditions_share_a_lock_that_they_keep_alive)
{
	struct user u = user_open();
	tarn_object *lock, *a, *b;

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_cond_new(u.c, lock, &a));
	OK(tarn_cond_new(u.c, lock, &b));
	OK(tarn_lock_acquire(lock, 0));
	FAILS(tarn_cond_acquire(a, 0), EAGAIN);
	OK(tarn_cond_notify_all(b));
	FAILS(tarn_cond_wait(b, MS), ETIMEDOUT);
	tarn_object_unref(lock);
	scene_settle(&u.s);
	OK(tarn_cond_release(a));
	OK(tarn_cond_acquire(b, 0));
	OK(tarn_cond_release(b));
	tarn_object_unref(a);
	tarn_object_unref(b);
	user_close(&u);
}

static void wait_once(tarn_object *cond, uint32_t *step)
{
	OK(tarn_cond_acquire(cond, TARN_FOREVER));
	say_more(step);
	OK(tarn_cond_wait(cond, TARN_FOREVER));
	OK(tarn_cond_release(cond));
	say_more(step);
}

PLAIN_TEST(t9_a_waiter_that_dies_with_its_notification_passes_it_on)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *cond;
	pid_t pid[3];

	OK(tarn_cond_new(u.c, NULL, &cond));
	publish_it(cond);
	for (int i = 0; i < 3; i++) {
		pid[i] = child_of(&u, wait_once, step);
		scene_await(step, (uint32_t)i + 1);
		OK(tarn_cond_acquire(cond, TARN_FOREVER)); /* then it waits */
		OK(tarn_cond_release(cond));
	}
	OK(tarn_cond_acquire(cond, TARN_FOREVER));
	OK(tarn_cond_notify(cond, 1));
	/* The first is called, and cannot have the lock. */
	kill_and_reap(&u, pid[0]);
	OK(tarn_cond_release(cond));
	/* One more, and one only, has gone. */
	scene_await(step, 4);
	PLAIN_EQ(plain_reap(pid[1]), 0);
	struct crowd k = { .cond = cond };
	PLAIN_EQ(crowd_waiting(&k), 1);
	crowd_notify(&k, 1);
	PLAIN_EQ(plain_reap(pid[2]), 0);
	drop_it(&u, cond);
	user_close(&u);
}

static void hold_cond(tarn_object *cond, uint32_t *step)
{
	OK(tarn_cond_acquire(cond, TARN_FOREVER));
	stay(step);
}

PLAIN_TEST(t9_a_lock_whose_holder_died_is_told_of_to_who_wakes)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_object *cond;

	OK(tarn_cond_new(u.c, NULL, &cond));
	publish_it(cond);
	pid_t pid = child_of(&u, hold_cond, step);
	scene_await(step, 1);
	kill(pid, SIGKILL);
	FAILS(tarn_cond_acquire(cond, TARN_FOREVER), EOWNERDEAD);
	OK(tarn_cond_release(cond));
	plain_reap(pid);
	drop_it(&u, cond);
	user_close(&u);
}

/* Each passes the turn to any other that waits, and waits. */
static uint32_t *turns;
static void pass_turns(tarn_object *cond, uint32_t *step)
{
	for (;;) {
		int r = tarn_cond_acquire(cond, TARN_FOREVER);

		PLAIN_CHECK(r == 0 || r == -EOWNERDEAD);
		(*turns)++;
		OK(tarn_cond_notify(cond, 1));
		r = tarn_cond_wait(cond, 20 * MS);
		PLAIN_CHECK(r == 0 || r == -EOWNERDEAD || r == -ETIMEDOUT);
		OK(tarn_cond_release(cond));
		say_more(step);
	}
}

PLAIN_TEST_TIMEOUT(t9_processes_killed_at_random_leave_the_others_going, 300)
{
	struct user u = user_open();
	tarn_object *cond;

	turns = scene_shared(sizeof *turns);
	OK(tarn_cond_new(u.c, NULL, &cond));
	publish_it(cond);
	killed_at_random(&u, pass_turns, 60, 3);
	struct crowd k = { .cond = cond };
	PLAIN_EQ(crowd_waiting(&k), 0);
	drop_it(&u, cond);
	user_close(&u);
}

/* ---- T10: event ---- */

PLAIN_TEST(t10_an_event_is_set_and_cleared)
{
	struct user u = user_open();
	tarn_object *e;

	OK(tarn_event_new(u.c, 0, &e));
	PLAIN_EQ(tarn_event_is_set(e), 0);
	FAILS(tarn_event_wait(e, 0), EAGAIN);
	FAILS(tarn_event_wait(e, MS), ETIMEDOUT);
	OK(tarn_event_set(e));
	OK(tarn_event_set(e));
	PLAIN_EQ(tarn_event_is_set(e), 1);
	OK(tarn_event_wait(e, 0));
	OK(tarn_event_wait(e, TARN_FOREVER));
	OK(tarn_event_clear(e));
	OK(tarn_event_clear(e));
	PLAIN_EQ(tarn_event_is_set(e), 0);
	FAILS(tarn_event_wait(e, 0), EAGAIN);
	tarn_object_unref(e);
	user_close(&u);
}

struct waiters {
	tarn_object *event;
	uint32_t *waiting, *woken;
};
static void *wait_event(void *arg)
{
	struct waiters *w = arg;

	say_more(w->waiting);
	OK(tarn_event_wait(w->event, TARN_FOREVER));
	say_more(w->woken);
	return NULL;
}
static void hundred_waiters(tarn_object *event, uint32_t *step)
{
	struct waiters w = { event, step, step + 1 };
	pthread_attr_t small;
	pthread_t t[100];

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	for (int i = 0; i < 100; i++)
		PLAIN_EQ(pthread_create(&t[i], &small, wait_event, &w), 0);
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], NULL);
}

static int threads_of(pid_t pid)
{
	char path[64], line[128];
	int n = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "Threads: %d", &n) == 1)
			break;
	fclose(f);
	return n;
}

PLAIN_TEST_TIMEOUT(d24_t10_a_thousand_wait_for_one_event_and_the_server_has_no_thread_more, 300)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(2 * sizeof *step);
	tarn_object *e;
	pid_t pid[10];

	OK(tarn_event_new(u.c, 0, &e));
	publish_it(e);
	int before = threads_of(tarn_server_pid(u.s.server));
	for (int i = 0; i < 10; i++)
		pid[i] = child_of(&u, hundred_waiters, step);
	PLAIN_WAIT_FOR(said(&step[0]) == 1000);
	PLAIN_EQ(threads_of(tarn_server_pid(u.s.server)), before);
	PLAIN_EQ(said(&step[1]), 0);
	OK(tarn_event_set(e));
	OK(tarn_event_clear(e)); /* who waited wakes all the same... */
	PLAIN_WAIT_FOR(said(&step[1]) >= 1);
	OK(tarn_event_set(e)); /* ...and who was about to wait is let through */
	for (int i = 0; i < 10; i++)
		PLAIN_EQ(plain_reap(pid[i]), 0);
	PLAIN_EQ(said(&step[1]), 1000);
	drop_it(&u, e);
	user_close(&u);
}

PLAIN_TEST(t10_set_and_cleared_at_once_wakes_who_waited)
{
	struct user u = user_open();
	uint32_t step[2] = { 0 };
	tarn_object *e;
	pthread_t t;

	OK(tarn_event_new(u.c, 0, &e));
	for (int i = 0; i < 200; i++) {
		struct waiters w = { e, &step[0], &step[1] };
		const struct tarn__event *in = tarn__object_instance(e, &tarn__type_event);

		PLAIN_EQ(pthread_create(&t, NULL, wait_event, &w), 0);
		PLAIN_WAIT_FOR(tarn__load32_relaxed(&in->word) & TARN__EVENT_WAITERS);
		OK(tarn_event_set(e));
		OK(tarn_event_clear(e));
		pthread_join(t, NULL);
	}
	PLAIN_EQ(step[1], 200);
	tarn_object_unref(e);
	user_close(&u);
}

/* ---- T11: barrier ---- */

struct party {
	tarn_object *barrier;
	int64_t timeout_ns;
	int r;
	uint32_t index;
	uint32_t *acted;
};
static int act(void *arg)
{
	say_more(arg);
	return 0;
}
static void *come(void *arg)
{
	struct party *p = arg;

	p->r = p->acted != NULL
		       ? tarn_barrier_wait_with(p->barrier, act, p->acted, p->timeout_ns, &p->index)
		       : tarn_barrier_wait(p->barrier, p->timeout_ns, &p->index);
	return NULL;
}
static tarn_barrier_state facts_of(tarn_object *barrier)
{
	tarn_barrier_state f;

	OK(tarn_barrier_facts(barrier, &f));
	return f;
}
/* Starts @n that come, with the barrier of p[0]. */
static void start(struct party *p, pthread_t *t, int n)
{
	for (int i = 0; i < n; i++) {
		p[i] = p[0];
		PLAIN_EQ(pthread_create(&t[i], NULL, come, &p[i]), 0);
	}
}

PLAIN_TEST(t11_parties_come_together_again_and_again)
{
	enum { N = 5 };
	struct user u = user_open();
	uint32_t acted = 0;
	struct party p[N];
	pthread_t t[N];
	tarn_object *b;

	FAILS(tarn_barrier_new(u.c, 0, &b), TARN_EREMOTE);
	OK(tarn_barrier_new(u.c, N, &b));
	PLAIN_EQ(facts_of(b).parties, N);
	for (int round = 1; round <= 200; round++) {
		unsigned seen = 0;

		p[0] = (struct party){ .barrier = b, .timeout_ns = TARN_FOREVER, .acted = &acted };
		start(p, t, N);
		for (int i = 0; i < N; i++) {
			pthread_join(t[i], NULL);
			PLAIN_EQ(p[i].r, 0);
			seen |= 1u << p[i].index;
		}
		PLAIN_EQ(seen, (1u << N) - 1);
		PLAIN_EQ(acted, round);
		PLAIN_CHECK(facts_of(b).n_waiting == 0 && !facts_of(b).broken);
	}
	tarn_object_unref(b);
	user_close(&u);
}

static int fail_to_act(void *arg)
{
	(void)arg;
	return -EDOM;
}

PLAIN_TEST(t11_abort_reset_timeouts_and_failing_actions)
{
	enum { N = 4 };
	struct user u = user_open();
	struct party p[N];
	pthread_t t[N];
	tarn_object *b;

	OK(tarn_barrier_new(u.c, N, &b));
	for (int how = 0; how < 4; how++) {
		p[0] = (struct party){ .barrier = b, .timeout_ns = TARN_FOREVER };
		start(p, t, N - 1);
		PLAIN_WAIT_FOR(facts_of(b).n_waiting == N - 1);
		switch (how) {
		case 0:
			OK(tarn_barrier_abort(b));
			break;
		case 1:
			OK(tarn_barrier_reset(b));
			break;
		case 2:
			FAILS(tarn_barrier_wait_with(b, fail_to_act, NULL, TARN_FOREVER, NULL), EDOM);
			break;
		default: /* one gives up: with one party more it does not complete */
			break;
		}
		if (how == 3) {
			tarn_object *more;

			OK(tarn_barrier_reset(b));
			for (int i = 0; i < N - 1; i++)
				pthread_join(t[i], NULL);
			OK(tarn_barrier_new(u.c, N + 1, &more));
			p[0] = (struct party){ .barrier = more, .timeout_ns = TARN_FOREVER };
			start(p, t, N - 1);
			PLAIN_WAIT_FOR(facts_of(more).n_waiting == N - 1);
			FAILS(tarn_barrier_wait(more, MS, NULL), ETIMEDOUT);
			PLAIN_CHECK(facts_of(more).broken);
			for (int i = 0; i < N - 1; i++) {
				pthread_join(t[i], NULL);
				PLAIN_EQ(p[i].r, -TARN_EBROKEN);
			}
			tarn_object_unref(more);
			continue;
		}
		for (int i = 0; i < N - 1; i++) {
			pthread_join(t[i], NULL);
			PLAIN_EQ(p[i].r, -TARN_EBROKEN);
		}
		PLAIN_EQ(facts_of(b).broken, how != 1);
		if (how != 1)
			FAILS(tarn_barrier_wait(b, TARN_FOREVER, NULL), TARN_EBROKEN);
		OK(tarn_barrier_reset(b));
		PLAIN_CHECK(!facts_of(b).broken);
	}
	tarn_object_unref(b);
	user_close(&u);
}

static void come_and_wait(tarn_object *barrier, uint32_t *step)
{
	say_more(step);
	FAILS(tarn_barrier_wait(barrier, TARN_FOREVER, NULL), TARN_EBROKEN);
}
/* Killed inside: it has a slot, and is not yet counted. */
static void come_and_die(tarn_object *barrier, uint32_t *step)
{
	struct tarn__barrier *b = tarn__object_instance(barrier, &tarn__type_barrier);
	uint32_t me = tarn__actor(tarn_object_client(barrier)), i = 0;

	OK(tarn__guard_enter(tarn_object_client(barrier), &b->guard, me, TARN_FOREVER,
			     tarn__barrier_repair, b));
	while (b->slots.slot[i] != 0)
		i++;
	tarn__slot_take(&b->slots, i, me);
	stay(step);
}
static int act_and_die(void *step)
{
	stay(step);
	return 0;
}
static void act_for_ever(tarn_object *barrier, uint32_t *step)
{
	tarn_barrier_wait_with(barrier, act_and_die, step, TARN_FOREVER, NULL);
}

static void party_dies(child_fn *how, uint32_t waiting)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(2 * sizeof *step);
	tarn_object *b;
	pid_t pid[3], dead;

	OK(tarn_barrier_new(u.c, how == act_for_ever ? 4 : 5, &b));
	publish_it(b);
	for (int round = 0; round < 3; round++) {
		step[0] = step[1] = 0;
		for (int i = 0; i < 3; i++)
			pid[i] = child_of(&u, come_and_wait, &step[0]);
		PLAIN_WAIT_FOR(facts_of(b).n_waiting == 3);
		dead = child_of(&u, how, &step[1]);
		scene_await(&step[1], 1);
		if (waiting != 0)
			PLAIN_WAIT_FOR(facts_of(b).n_waiting == waiting);
		plain_kill(dead);
		for (int i = 0; i < 3; i++)
			PLAIN_EQ(plain_reap(pid[i]), 0);
		PLAIN_CHECK(facts_of(b).broken && facts_of(b).n_waiting == 0);
		OK(tarn_barrier_reset(b));
	}
	drop_it(&u, b);
	user_close(&u);
}
PLAIN_TEST(t11_a_party_killed_while_it_waits_breaks_the_barrier_for_the_others)
{
	party_dies(come_and_wait, 4);
}
PLAIN_TEST(t11_a_party_killed_while_it_comes_breaks_the_barrier_for_the_others)
{
	party_dies(come_and_die, 0);
}
PLAIN_TEST(t11_a_party_killed_in_its_action_breaks_the_barrier_for_the_others)
{
	party_dies(act_for_ever, 0);
}

/* Of four parties one dies now and then: the others are told, mend it, and go on. */
static void come_for_ever(tarn_object *barrier, uint32_t *step)
{
	for (;;) {
		int r = tarn_barrier_wait(barrier, 50 * MS, NULL);

		PLAIN_CHECK(r == 0 || r == -TARN_EBROKEN || r == -ETIMEDOUT);
		if (r < 0)
			OK(tarn_barrier_reset(barrier));
		say_more(step);
	}
}
PLAIN_TEST_TIMEOUT(t11_processes_killed_at_random_leave_the_others_going, 300)
{
	struct user u = user_open();
	tarn_object *b;

	OK(tarn_barrier_new(u.c, 3, &b));
	publish_it(b);
	killed_at_random(&u, come_for_ever, 60, 4);
	OK(tarn_barrier_reset(b));
	PLAIN_EQ(facts_of(b).n_waiting, 0);
	drop_it(&u, b);
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

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_callf(m, "use", TARN_FOREVER, "O", NULL, lock));
	OK(tarn_lock_acquire(lock, 0));
	FAILS(tarn_callf(m, "use_inline", TARN_FOREVER, "O", NULL, lock), TARN_EREMOTE);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "nline") != NULL, "%s",
		     tarn_error_last()->message);
	OK(tarn_lock_release(lock));
	OK(tarn_callf(m, "use", TARN_FOREVER, "O", NULL, lock));
	PLAIN_EQ(tarn_lock_locked(lock), 0);
	tarn_object_unref(lock);
	tarn_object_unref(m);
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

	OK(tarn_lock_new(u.c, 0, &lock));
	OK(tarn_event_new(u.c, 0, &event));
	OK(tarn_sem_new(u.c, 0, &sem));
	OK(tarn_barrier_new(u.c, 2, &barrier));
	OK(tarn_cond_new(u.c, NULL, &cond));
	OK(tarn_lock_acquire(lock, 0));
	FAILS(tarn_event_wait(event, 0), EAGAIN);
	FAILS(tarn_sem_acquire(sem, 0), EAGAIN);
	OK(tarn_cond_acquire(cond, 0));
	facts_of(barrier);
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

/* A child does @what with "it" and stays. Its words are then as a server has left them that was killed
 * after its first step in departed(); the next one is told of the death as if it were the first. */
static pid_t stays_with(const struct user *u, uint32_t *step, void (*what)(tarn_object *))
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_object *o = find_it(u);

		scene_say(step, 1);
		what(o);
		scene_say(step, 2);
		for (;;)
			pause();
	}
	return pid;
}
static void take_one(tarn_object *o) { OK(tarn_sem_acquire(o, 0)); }
static void party_stays(tarn_object *o) { tarn_barrier_wait(o, TARN_FOREVER, NULL); }

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

static void *comes_too(void *arg)
{
	return (void *)(intptr_t)tarn_barrier_wait(arg, TARN_FOREVER, NULL);
}

PLAIN_TEST(t11_a_barrier_breaks_when_a_dead_party_is_marked_already)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(sizeof *step);
	tarn_barrier_state state;
	tarn_object *barrier;
	pthread_t t;
	void *r;

	OK(tarn_barrier_new(u.c, 3, &barrier));
	publish_it(barrier);
	struct tarn__barrier *b = tarn__object_instance(barrier, &tarn__type_barrier);
	pid_t pid = stays_with(&u, step, party_stays);
	scene_await(step, 1);
	do
		OK(tarn_barrier_facts(barrier, &state));
	while (state.n_waiting != 1);
	kill(pid, SIGSTOP);
	for (uint32_t i = 0; i < tarn__slots_used(&b->slots); i++)
		tarn__store32_relaxed(&b->slots.slot[i], TARN__SLOT_DEAD);
	PLAIN_EQ(pthread_create(&t, NULL, comes_too, barrier), 0);
	do
		OK(tarn_barrier_facts(barrier, &state));
	while (state.n_waiting != 2);
	plain_kill(pid);
	PLAIN_EQ(pthread_join(t, &r), 0);
	PLAIN_EQ((int)(intptr_t)r, -TARN_EBROKEN);
	drop_it(&u, barrier);
	user_close(&u);
}

PLAIN_MAIN()
