/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of synchronisation share: one object that all know as "it", and children that do something
 * with it, stay, or are killed. */
#ifndef TARN_TESTS_COMMON_IT_H
#define TARN_TESTS_COMMON_IT_H

#include <signal.h>
#include <unistd.h>

#include "types.h"

struct user {
	struct scene s;
	tarn_client *c;
};
static inline struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}
static inline void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* The object that the test has published as "it", seen by a client of this process. */
static inline tarn_object *find_it(const struct user *u)
{
	tarn_object *o;

	OK(tarn_object_lookup(scene_client(&u->s), "it", TARN_FOREVER, &o));
	return o;
}
static inline void publish_it(tarn_object *o)
{
	OK(tarn_object_publish(o, "it", 0));
}
static inline void drop_it(struct user *u, tarn_object *o)
{
	OK(tarn_object_unpublish(u->c, "it"));
	tarn_object_unref(o);
}
/* ---- children with a client of their own ---- */

typedef void child_fn(tarn_object *it, uint32_t *step);

/* Runs @fn in a process that found the object "it". */
static inline pid_t child_of(const struct user *u, child_fn *fn, uint32_t *step)
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
static inline void say_more(uint32_t *step)
{
	__atomic_fetch_add(step, 1, __ATOMIC_RELEASE);
}
static inline uint32_t said(const uint32_t *step)
{
	return __atomic_load_n(step, __ATOMIC_ACQUIRE);
}
static inline void stay(uint32_t *step)
{
	say_more(step);
	for (;;)
		pause();
}
static inline void kill_and_reap(const struct user *u, pid_t pid)
{
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u->s, pid));
}

/* Kills @fn's processes at random instants, and looks that the others always go on. */
static inline void killed_at_random(struct user *u, child_fn *fn, int kills, uint64_t seed)
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

/* A child does @what with "it" and stays. Its words are then as a server has left them that was killed
 * after its first step in departed(); the next one is told of the death as if it were the first. */
static inline pid_t stays_with(const struct user *u, uint32_t *step, void (*what)(tarn_object *))
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

#endif
