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

#include "tests/common/types.h"

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

PLAIN_MAIN()
