/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls in the background (D21, D22, D18): many in flight, waiting for any, one descriptor for an
 * event loop, giving up, threads and clients that end meanwhile.
 */
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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

static tarn_pending *start_int(tarn_object *o, const char *method, int64_t n)
{
	tarn_pending *p;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, n);
	OK(tarn_call_start(o, method, &b, &p));
	tarn_builder_fini(&b);
	return p;
}
static int64_t result_of(tarn_pending *call)
{
	tarn_parcel p;
	int64_t n;

	OK(tarn_call_wait(call, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "q", &n));
	tarn_parcel_fini(&p);
	tarn_call_free(call);
	return n;
}

#define MANY 1000

static void many_in_flight(const char *type, const char *method, int64_t factor)
{
	static tarn_pending *call[MANY];
	struct user u = user_open();
	tarn_object *o = NEW(u.c, type, "");

	for (int round = 0; round < 5; round++) {
		for (int64_t i = 0; i < MANY; i++)
			call[i] = start_int(o, method, i);
		for (int64_t i = 0; i < MANY; i++) /* in another order than they were started */
			PLAIN_EQ(result_of(call[(i * 7) % MANY]), factor * ((i * 7) % MANY));
	}
	tarn_object_unref(o);
	user_close(&u);
}
PLAIN_TEST(d21_1000_calls_are_in_flight_from_one_thread) { many_in_flight("Doubler", "double", 2); }

PLAIN_TEST(d21_1000_calls_that_sleep_are_waited_for_as_they_end)
{
	static tarn_pending *call[MANY];
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Sleeper", "");
	uint64_t begin = scene_now();

	for (int64_t i = 0; i < MANY; i++)
		call[i] = start_int(o, "sleep", 1000000 + i % 10 * 1000000);
	for (int left = MANY; left > 0; left--) {
		size_t at = MANY;

		OK(tarn_call_wait_any(call, MANY, TARN_FOREVER, &at));
		PLAIN_CHECK(at < MANY && call[at] != NULL);
		PLAIN_EQ(result_of(call[at]), 1000000 + (int64_t)at % 10 * 1000000);
		call[at] = NULL;
	}
	size_t none;
	FAILS(tarn_call_wait_any(call, MANY, TARN_FOREVER, &none), EINVAL);
	scene_note("1000 calls of 5.5 ms in the mean took %.0f ms from one thread",
		   (double)(scene_now() - begin) * 1e-6);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(d21_what_a_call_names_may_be_dropped_at_once)
{
	static tarn_pending *call[MANY];
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", "");
	tarn_parcel p;

	for (int i = 0; i < MANY; i++) {
		tarn_object *o = NEW(u.c, "Canary", ""), *echo = NEW(u.c, "Echo", "");
		tarn_builder b;
		tarn_block *block;

		OK(tarn_block_new(u.c, 100, 0, &block));
		*(int *)tarn_block_data(block) = i;
		tarn_builder_init(&b);
		OK(tarn_put(&b, "OB", o, block));
		OK(tarn_call_start(echo, i % 2 ? "echo" : "echo_slowly", &b, &call[i]));
		tarn_builder_fini(&b);
		tarn_block_unref(block);
		tarn_object_unref(o);
		tarn_object_unref(echo);
	}
	for (int i = 0; i < MANY; i++) {
		tarn_object *o;
		tarn_block *block;

		OK(tarn_call_wait(call[i], &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "OB", &o, &block));
		PLAIN_EQ(*(int *)tarn_block_data(block), i);
		OK(tarn_callf(o, "sing", TARN_FOREVER, NULL, NULL));
		tarn_parcel_fini(&p);
		FAILS(tarn_call_wait(call[i], &p, TARN_FOREVER), TARN_ESTATE); /* once */
		tarn_call_free(call[i]);
	}
	PLAIN_WAIT_FOR(types_canaries(counts) == 0);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(d21_results_that_nobody_takes_are_given_back)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", ""), *maker = NEW(u.c, "Maker", "");
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_string(&b, "Canary");
	for (int i = 0; i < 300; i++) {
		tarn_pending *p;

		OK(tarn_call_start(maker, i % 2 ? "make" : "make_inline", &b, &p));
		if (i % 3 == 0)
			PLAIN_WAIT_FOR(tarn_call_poll(p) == 1);
		tarn_call_free(p); /* answered, on its way, or not even posted */
	}
	tarn_builder_fini(&b);
	OK(tarn_client_ping(u.c, TARN_FOREVER));
	PLAIN_WAIT_FOR((tarn_client_ping(u.c, TARN_FOREVER), types_canaries(counts) == 0));
	tarn_object_unref(maker);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(d21_more_references_than_a_reply_has_room_for_arrive_or_are_given_back)
{
	struct user u = user_open();
	tarn_object *maker = NEW(u.c, "Maker", "");
	tarn_pending *call[60];
	tarn_parcel p;

	for (int i = 0; i < 60; i++)
		call[i] = start_int(maker, "blocks", 20);
	for (int i = 0; i < 60; i++) {
		if (i % 3 != 0) {
			OK(tarn_call_wait(call[i], &p, TARN_FOREVER));
			PLAIN_EQ(tarn_value_count(tarn_parcel_at(&p, 0)), 20);
			for (size_t k = 0; k < 20; k++) {
				tarn_block *b;

				OK(tarn_value_block(tarn_value_at(tarn_parcel_at(&p, 0), k), &b));
				PLAIN_EQ(tarn_block_size(b), (k + 1) * 10);
			}
			tarn_parcel_fini(&p);
		} else if (i % 2 != 0) {
			PLAIN_WAIT_FOR(tarn_call_poll(call[i]) == 1);
		}
		tarn_call_free(call[i]);
	}
	tarn_object_unref(maker);
	PLAIN_WAIT_FOR((tarn_client_ping(u.c, TARN_FOREVER), tarn_client_trim(u.c),
			scene_stat(&u.s).claims == 0));
	user_close(&u);
}

PLAIN_TEST(d21_a_failure_arrives_as_with_a_call_that_is_waited_for)
{
	struct user u = user_open();
	tarn_object *t = NEW(u.c, "Thrower", "");
	tarn_pending *a = start_int(t, "foo", 37), *b = start_int(t, "code", -ENOSPC);
	tarn_pending *c = start_int(t, "throw", 1);
	tarn_parcel p;

	FAILS(tarn_call_wait(a, &p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_EQ(strcmp(tarn_fault_message(tarn_error_fault()), "38"), 0);
	PLAIN_CHECK(tarn_call_wait(b, &p, TARN_FOREVER) < 0);
	FAILS(tarn_call_wait(c, &p, TARN_FOREVER), TARN_EARGS);
	tarn_call_free(a);
	tarn_call_free(b);
	tarn_call_free(c);
	tarn_object_unref(t);
	user_close(&u);
}

PLAIN_TEST(d18_a_call_is_cancelled_and_its_method_told)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", "");
	tarn_pending *p[50];

	for (int i = 0; i < 50; i++)
		OK(tarn_call_start(s, "wait", NULL, &p[i]));
	PLAIN_WAIT_FOR(types_integer(s, "waiting") > 0);
	FAILS(tarn_call_wait(p[0], NULL, 10000000), ETIMEDOUT); /* it goes on */
	for (int i = 0; i < 50; i++)
		OK(tarn_call_cancel(p[i]));
	for (int i = 0; i < 50; i++) {
		FAILS(tarn_call_wait(p[i], NULL, TARN_FOREVER), ECANCELED);
		OK(tarn_call_cancel(p[i])); /* too late, harmless */
		tarn_call_free(p[i]);
	}
	PLAIN_WAIT_FOR(types_integer(s, "waiting") == 0);
	PLAIN_WAIT_FOR(scene_count(&u.s, tarn_object_id(s)) == 1);
	tarn_object_unref(s);
	user_close(&u);
}

PLAIN_TEST(d21_an_event_loop_wakes_for_answers_and_not_otherwise)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", "");
	tarn_pending *call[200];
	int fd, again, wakes = 0, left = 200, loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN };
	uint64_t written;

	OK(tarn_client_event_fd(u.c, &fd));
	OK(tarn_client_event_fd(u.c, &again));
	PLAIN_EQ(fd, again);
	PLAIN_EQ(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e), 0);
	PLAIN_EQ(epoll_wait(loop, &e, 1, 0), 0);
	for (int i = 0; i < 200; i++)
		call[i] = start_int(s, "sleep", 1000000 * (i % 20));
	while (left > 0) {
		PLAIN_EQ(epoll_wait(loop, &e, 1, 20000), 1);
		wakes++;
		OK(tarn_client_event_clear(u.c));
		for (int i = 0; i < 200; i++) {
			if (call[i] == NULL || tarn_call_poll(call[i]) == 0)
				continue;
			PLAIN_EQ(result_of(call[i]), 1000000 * (i % 20));
			call[i] = NULL;
			left--;
		}
	}
	scene_note("200 answers, %d wake-ups", wakes);
	PLAIN_CHECK(wakes <= 201);
	/* At most one that belongs to an answer which was had already; then quiet. */
	OK(tarn_client_event_clear(u.c));
	PLAIN_EQ(epoll_wait(loop, &e, 1, 0), 0);
	(void)written;
	close(loop);
	tarn_object_unref(s);
	user_close(&u);
}

PLAIN_TEST(d16_an_event_loop_and_who_waits_hear_of_the_servers_death)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", "");
	tarn_pending *p;
	struct pollfd f = { .events = POLLIN };

	OK(tarn_client_event_fd(u.c, &f.fd));
	OK(tarn_call_start(s, "wait", NULL, &p));
	PLAIN_WAIT_FOR(types_integer(s, "waiting") == 1);
	OK(tarn_client_event_clear(u.c));
	kill(tarn_client_server_pid(u.c), SIGKILL);
	PLAIN_EQ(poll(&f, 1, 20000), 1);
	PLAIN_WAIT_FOR(tarn_client_event_clear(u.c) == -TARN_ESRVDOWN);
	FAILS(tarn_call_wait(p, NULL, TARN_FOREVER), TARN_ESRVDOWN);
	PLAIN_WAIT_FOR(tarn_call_poll(p) == -TARN_ESRVDOWN);
	tarn_call_free(p);
	tarn_object_unref(s);
	tarn_client_close(u.c);
	tarn_inspector_close(u.s.in);
	tarn_server_shutdown(u.s.server, TARN_FOREVER);
	tarn_server_unref(u.s.server);
}

struct leaver {
	tarn_client *c;
	tarn_object *o;
	tarn_pending *call[400];
};

static void *start_and_leave(void *arg)
{
	struct leaver *l = arg;
	tarn_pending *done = start_int(l->o, "sleep", 0);

	for (int i = 0; i < 399; i++)
		OK(tarn_call_start(l->o, "wait", NULL, &l->call[i]));
	PLAIN_WAIT_FOR(tarn_call_poll(done) == 1);
	l->call[399] = done;
	return NULL;
}

PLAIN_TEST(o12_a_thread_may_end_with_calls_in_flight)
{
	struct user u = user_open();
	struct leaver l = { .c = u.c, .o = NEW(u.c, "Sleeper", "") };
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, start_and_leave, &l), 0);
	pthread_join(t, NULL);
	for (int i = 0; i < 400; i++) {
		PLAIN_EQ(tarn_call_poll(l.call[i]), 1);
		FAILS(tarn_call_wait(l.call[i], NULL, TARN_FOREVER), ECANCELED);
		tarn_call_free(l.call[i]);
	}
	PLAIN_WAIT_FOR(types_integer(l.o, "waiting") == 0);
	PLAIN_WAIT_FOR((tarn_client_ping(u.c, TARN_FOREVER),
			scene_count(&u.s, tarn_object_id(l.o)) == 1));
	tarn_object_unref(l.o);
	user_close(&u);
}

static void *poll_anothers(void *arg)
{
	struct leaver *l = arg;

	PLAIN_EQ(tarn_call_poll(l->call[0]), -EPERM);
	PLAIN_EQ(tarn_call_wait(l->call[0], NULL, 0), -EPERM);
	PLAIN_EQ(tarn_call_cancel(l->call[0]), -EPERM);
	return NULL;
}

PLAIN_TEST(d21_a_call_belongs_to_its_thread)
{
	struct user u = user_open();
	struct leaver l = { .c = u.c, .o = NEW(u.c, "Sleeper", "") };
	pthread_t t;

	OK(tarn_call_start(l.o, "wait", NULL, &l.call[0]));
	PLAIN_EQ(pthread_create(&t, NULL, poll_anothers, &l), 0);
	pthread_join(t, NULL);
	tarn_call_free(l.call[0]);
	PLAIN_WAIT_FOR(types_integer(l.o, "waiting") == 0);
	tarn_object_unref(l.o);
	user_close(&u);
}

/* ---- calls that another thread frees ---- */

#define FREED 2000
#define LITTLE (FREED * 100) /* bytes; each of them is larger */

struct stranger {
	tarn_client *c;
	tarn_object *o;
	tarn_pending *p[FREED];
};

static void *start_all(void *arg)
{
	struct stranger *l = arg;

	/* SYNC test: another thread may be waiting for it. */
	for (size_t i = 0; i < FREED; i++)
		__atomic_store_n(&l->p[i], start_int(l->o, "double", (int64_t)i), __ATOMIC_RELEASE);
	return NULL;
}
static void *free_all(void *arg)
{
	struct stranger *l = arg;

	for (size_t i = 0; i < FREED; i++)
		l->p[i] = tarn_call_free(l->p[i]);
	return NULL;
}
static void in_a_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, fn, arg), 0);
	pthread_join(t, NULL);
}

/* Bytes in use; 0 where that is not known. */
static size_t in_use(void)
{
#ifdef __GLIBC__
	return mallinfo2().uordblks;
#else
	return 0;
#endif
}

/* The same thrice: what stays for good is there after the first time. */
static void leaves_no_memory(struct scene *s, void (*scenario)(struct stranger *l))
{
	static struct stranger l;
	size_t before = 0;

	for (int round = 0; round < 3; round++) {
		if (round == 1)
			before = in_use();
		l.c = scene_client(s);
		l.o = NEW(l.c, "Doubler", "");
		scenario(&l);
	}
	PLAIN_CHECKF(in_use() < before + LITTLE, "%zu bytes before, %zu after", before, in_use());
}

static void end_of(struct stranger *l)
{
	tarn_object_unref(l->o);
	tarn_client_close(l->c);
}
static void freed_before_the_client_is_closed(struct stranger *l)
{
	start_all(l);
	in_a_thread(free_all, l);
	end_of(l);
}
static void *start_and_let_free(void *arg)
{
	start_all(arg);
	in_a_thread(free_all, arg);
	return NULL;
}
static void freed_before_their_thread_ends(struct stranger *l)
{
	in_a_thread(start_and_let_free, l);
	end_of(l);
}
static void freed_after_their_thread_ended(struct stranger *l)
{
	in_a_thread(start_all, l);
	free_all(l);
	end_of(l);
}
static void freed_after_the_client_was_closed(struct stranger *l)
{
	start_all(l);
	end_of(l);
	free_all(l);
}
static void freed_while_their_thread_ends(struct stranger *l)
{
	for (int k = 0; k < 20; k++) {
		pthread_t t;

		in_a_thread(start_all, l); /* warm: its lane is the next one's */
		free_all(l);
		PLAIN_EQ(pthread_create(&t, NULL, start_all, l), 0);
		for (size_t i = 0; i < FREED; i++) {
			tarn_pending *p;

			/* SYNC test: as soon as it is there. */
			while ((p = __atomic_exchange_n(&l->p[i], NULL, __ATOMIC_ACQ_REL)) == NULL)
				sched_yield();
			tarn_call_free(p);
		}
		pthread_join(t, NULL);
	}
	end_of(l);
}

PLAIN_TEST(d21_a_call_that_another_thread_frees_leaves_no_memory)
{
	struct user u = user_open();

	leaves_no_memory(&u.s, freed_before_the_client_is_closed);
	leaves_no_memory(&u.s, freed_before_their_thread_ends);
	leaves_no_memory(&u.s, freed_after_their_thread_ended);
	leaves_no_memory(&u.s, freed_after_the_client_was_closed);
	leaves_no_memory(&u.s, freed_while_their_thread_ends);
	user_close(&u);
}

PLAIN_TEST(l6_a_client_may_be_closed_with_calls_in_flight)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", "");
	static tarn_pending *p[500];

	for (int i = 0; i < 500; i++)
		OK(tarn_call_start(s, "wait", NULL, &p[i]));
	tarn_client_close(u.c);
	for (int i = 0; i < 500; i++) {
		FAILS(tarn_call_wait(p[i], NULL, TARN_FOREVER), ECANCELED);
		tarn_call_free(p[i]);
	}
	scene_close(&u.s);
}

PLAIN_TEST(o13_calls_in_flight_are_the_parents)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", "");
	tarn_pending *p = start_int(s, "sleep", 50000000);
	pid_t pid = plain_fork();

	if (pid == 0) {
		FAILS(tarn_call_wait(p, NULL, 0), TARN_EFORKED);
		PLAIN_EQ(tarn_call_poll(p), -TARN_EFORKED);
		FAILS(tarn_call_start(s, "wait", NULL, &p), TARN_EFORKED);
		tarn_client_close(u.c);
		tarn_call_free(p);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	PLAIN_EQ(result_of(p), 50000000);
	tarn_object_unref(s);
	user_close(&u);
}

PLAIN_TEST(d21_calls_that_take_long_stop_nobody_of_the_same_thread)
{
	struct user u = user_open();
	tarn_object *s = NEW(u.c, "Sleeper", ""), *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_pending *p[20];
	tarn_block *b;

	for (int i = 0; i < 20; i++)
		OK(tarn_call_start(s, "wait", NULL, &p[i]));
	for (int i = 0; i < 2000; i++) {
		PLAIN_CHECK(types_scale(m, 3) == 6);
		OK(tarn_block_new(u.c, 300, 0, &b));
		tarn_block_unref(b);
	}
	for (int i = 0; i < 20; i++)
		tarn_call_free(p[i]);
	tarn_object_unref(m);
	tarn_object_unref(s);
	user_close(&u);
}

PLAIN_MAIN()
