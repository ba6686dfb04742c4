/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where processes meet: conditions, events, barriers (T9 to T11, D24). What CPython's tests say of these
 * things, between processes, and what becomes of it when processes are killed.
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

/* ---- a server is killed while it takes away what the dead one had ---- */

static void party_stays(tarn_object *o) { tarn_barrier_wait(o, TARN_FOREVER, NULL); }

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
