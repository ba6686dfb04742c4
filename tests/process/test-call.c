/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are waited for (D): values of all kinds and sizes, order, concurrency, nesting, wrong
 * arguments, and servers and clients that end inside a call.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/types.h"

struct user {
	struct scene s;
	tarn_client *c;
};

static struct user user_open(const tarn_server_options *o)
{
	struct user u = { .s = scene_open(o) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* ---- values ---- */

PLAIN_TEST(d1_a_method_runs_in_the_server_and_its_result_comes_back)
{
	struct user u = user_open(NULL);
	tarn_object *d = NEW(u.c, "Doubler", ""), *t = NEW(u.c, "Tripler", "");
	int64_t y;

	OK(tarn_callf(d, "double", TARN_FOREVER, "q", "q", (int64_t)3, &y));
	PLAIN_EQ(y, 6);
	OK(tarn_callf(t, "triple", TARN_FOREVER, "i", "q", 3, &y));
	PLAIN_EQ(y, 9);
	tarn_object_unref(d);
	tarn_object_unref(t);
	user_close(&u);
}

/* What goes there comes back, at any size. */
static void echoes(tarn_client *c, const char *method)
{
	tarn_object *echo = NEW(c, "Echo", "");
	tarn_object *o = NEW(c, "Magnifier", "d", 2.0);
	tarn_channel *ch;
	tarn_block *b;
	size_t bytes[] = { 0, 1, 7, 8, 9, 40, 100, 200, 300, 1000, 1500, 1700, 2000, 10000, 300000 };

	OK(tarn_channel_new(c, 8, NULL, &ch));
	OK(tarn_block_new(c, 5000, 0, &b));
	for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
		char *text = calloc(1, bytes[i] + 1);
		tarn_parcel p, sent;
		tarn_builder args;

		memset(text, 'a' + (int)i, bytes[i]);
		tarn_builder_init(&args);
		OK(tarn_put(&args, "nbqQds{s:y s:[BOC]}O", true, INT64_MIN, UINT64_MAX, 1.5, text, "x",
			    text, bytes[i], "y", b, o, ch, o));
		OK(tarn_call(echo, method, &args, &p, TARN_FOREVER));
		OK(tarn_parcel_from(&args, &sent));
		PLAIN_EQ(tarn_parcel_count(&p), tarn_parcel_count(&sent));
		for (unsigned k = 0; k < tarn_parcel_count(&p); k++)
			PLAIN_CHECKF(tarn_value_equal(tarn_parcel_at(&p, k), tarn_parcel_at(&sent, k)),
				     "value %u with %zu bytes", k, bytes[i]);
		OK(tarn_parcel_check(&p));
		tarn_parcel_fini(&sent);
		tarn_parcel_fini(&p);
		tarn_builder_fini(&args);
		free(text);
	}
	tarn_block_unref(b);
	tarn_channel_unref(ch);
	tarn_object_unref(o);
	tarn_object_unref(echo);
}

PLAIN_TEST(r8_values_of_all_kinds_and_sizes_go_to_an_inline_method_and_back)
{
	struct user u = user_open(NULL);

	echoes(u.c, "echo");
	user_close(&u);
}
PLAIN_TEST(r8_values_of_all_kinds_and_sizes_go_to_an_executor_and_back)
{
	struct user u = user_open(NULL);

	echoes(u.c, "echo_slowly");
	user_close(&u);
}

PLAIN_TEST(d9_results_of_every_length_arrive)
{
	struct user u = user_open(NULL);
	tarn_object *echo = NEW(u.c, "Echo", "");

	for (int64_t n = 0; n < 1200; n += n < 500 ? 1 : 97) {
		for (int slowly = 0; slowly < 2; slowly++) {
			const char *text;
			tarn_builder args;
			tarn_parcel p;
			size_t got;

			tarn_builder_init(&args);
			tarn_put_int(&args, n);
			OK(tarn_call(echo, slowly ? "text_slowly" : "text", &args, &p, TARN_FOREVER));
			OK(tarn_value_string(tarn_parcel_at(&p, 0), &text, &got));
			PLAIN_EQ(got, n);
			for (size_t i = 0; i < got; i++)
				PLAIN_EQ(text[i], 'x');
			tarn_parcel_fini(&p);
			tarn_builder_fini(&args);
		}
	}
	tarn_object_unref(echo);
	user_close(&u);
}

PLAIN_TEST(d9_many_references_travel_and_too_many_say_so)
{
	struct user u = user_open(NULL);
	tarn_object *echo = NEW(u.c, "Echo", "");
	tarn_block *b[64];
	tarn_builder args;
	tarn_parcel p;
	static char long_text[4000];

	memset(long_text, 'z', sizeof long_text - 1);
	for (int i = 0; i < 64; i++)
		OK(tarn_block_new(u.c, 64, 0, &b[i]));
	for (int n = 1; n <= 64; n += n < 55 ? 9 : n < 63 ? 8 : 1) {
		tarn_builder_init(&args);
		tarn_list_begin(&args);
		for (int i = 0; i < n; i++)
			tarn_put_block(&args, b[i]);
		tarn_list_end(&args);
		for (int with_text = 0; with_text < 2; with_text++) {
			/* A payload that needs a block leaves room for 63 others. */
			if (n == 64) {
				FAILS(tarn_call(echo, "echo_slowly", &args, NULL, TARN_FOREVER), E2BIG);
				continue;
			}
			OK(tarn_call(echo, with_text ? "echo_slowly" : "echo", &args, &p, TARN_FOREVER));
			PLAIN_EQ(tarn_value_count(tarn_parcel_at(&p, 0)), n);
			tarn_parcel_fini(&p);
			tarn_put_string(&args, long_text);
		}
		tarn_builder_fini(&args);
	}
	for (int i = 0; i < 64; i++)
		tarn_block_unref(b[i]);
	tarn_object_unref(echo);
	user_close(&u);
}

PLAIN_TEST(v6_a_value_refers_to_things_of_one_client_only)
{
	struct user u = user_open(NULL);
	tarn_client *other = scene_client(&u.s);
	tarn_object *echo = NEW(u.c, "Echo", "");
	tarn_block *theirs, *mine, *slice;

	OK(tarn_block_new(other, 100, 0, &theirs));
	OK(tarn_block_new(u.c, 100, 0, &mine));
	OK(tarn_block_slice(mine, 10, 10, &slice));
	FAILS(tarn_callf(echo, "echo", TARN_FOREVER, "B", NULL, theirs), EXDEV);
	FAILS(tarn_callf(echo, "echo", TARN_FOREVER, "B", NULL, slice), EINVAL);
	OK(tarn_callf(echo, "echo", TARN_FOREVER, "B", NULL, mine));
	tarn_block_unref(slice);
	tarn_block_unref(mine);
	tarn_block_unref(theirs);
	tarn_object_unref(echo);
	tarn_client_close(other);
	user_close(&u);
}

/* ---- errors of the machinery ---- */

PLAIN_TEST(d10_wrong_calls_say_what_was_expected_and_the_next_call_works)
{
	struct user u = user_open(NULL);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *o;
	double y;

	FAILS(tarn_callf(m, "zoom", TARN_FOREVER, "d", "d", 3.0, &y), TARN_ENOMETHOD);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "zoom") != NULL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Magnifier") != NULL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "scale") != NULL);
	PLAIN_CHECK(tarn_error_fault() == NULL);
	FAILS(tarn_call_n(m, 999, NULL, NULL, TARN_FOREVER), TARN_ENOMETHOD);
	FAILS(tarn_call_n(m, 70000, NULL, NULL, TARN_FOREVER), TARN_ENOMETHOD);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "", "d", &y), TARN_EARGS);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "dd", "d", 1.0, 2.0, &y), TARN_EARGS);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "s", "d", "3", &y), TARN_EARGS);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "scale") != NULL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "double") != NULL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "string") != NULL);
	FAILS(tarn_callf(m, "scale_slowly", TARN_FOREVER, "s", "d", "3", &y), TARN_EARGS);
	FAILS(tarn_callf(m, "secret", TARN_FOREVER, "", "d", &y), TARN_ENOMETHOD); /* internal */
	FAILS(tarn_object_newf(u.c, "Magnifier", &o, "s", "x"), TARN_EARGS);
	FAILS(tarn_object_newf(u.c, "Magnifier", &o, ""), TARN_EARGS);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "d", "s", 3.0, &y), EINVAL); /* no place for text */
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "d", "dd", 3.0, &y, &y), TARN_EARGS);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "?", "d", 3.0, &y), EINVAL);
	PLAIN_CHECK(types_scale(m, 3) == 6);
	tarn_object_unref(m);
	user_close(&u);
}

PLAIN_TEST(d13_a_result_that_cannot_be_sent_is_an_error_and_the_next_call_works)
{
	struct user u = user_open(NULL);
	tarn_object *echo = NEW(u.c, "Echo", "");

	for (int i = 0; i < 3; i++) {
		FAILS(tarn_callf(echo, "broken", TARN_FOREVER, "", NULL), TARN_ERESULT);
		FAILS(tarn_callf(echo, "broken_slowly", TARN_FOREVER, "", NULL), TARN_ERESULT);
		OK(tarn_callf(echo, "nothing", TARN_FOREVER, "", NULL));
	}
	tarn_object_unref(echo);
	user_close(&u);
}

PLAIN_TEST(d11_describe_tells_the_state_and_falls_back_when_the_server_is_gone)
{
	struct user u = user_open(NULL);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.5), *list = NEW(u.c, "List", "");
	char text[100], plain[100];

	PLAIN_CHECK(tarn_object_describe(m, text, sizeof text, TARN_FOREVER) > 0);
	PLAIN_EQ(strcmp(text, "Magnifier(2.5)"), 0);
	PLAIN_CHECK(tarn_object_describe(list, text, sizeof text, TARN_FOREVER) > 0);
	tarn_object_format(list, plain, sizeof plain);
	PLAIN_EQ(strcmp(text, plain), 0); /* it has nothing to say */
	OK(tarn_inspector_shutdown(u.s.in));
	PLAIN_WAIT_FOR(tarn_client_ping(u.c, 100000000) == -TARN_ESRVDOWN);
	PLAIN_CHECK(tarn_object_describe(m, text, sizeof text, TARN_FOREVER) > 0);
	PLAIN_CHECK(strncmp(text, "<Magnifier ", 11) == 0);
	FAILS(tarn_callf(m, "factor", TARN_FOREVER, NULL, NULL), TARN_ESRVDOWN);
	tarn_object_unref(m);
	tarn_object_unref(list);
	tarn_client_close(u.c);
	tarn_inspector_close(u.s.in);
	tarn_server_shutdown(u.s.server, TARN_FOREVER);
	tarn_server_unref(u.s.server);
}

/* ---- order and concurrency ---- */

static void in_order(const char *note, const char *last, int64_t n)
{
	struct user u = user_open(NULL);
	tarn_object *s = NEW(u.c, "Sequence", "");
	tarn_builder args;
	unsigned number;

	OK(tarn_method_find(s, note, &number));
	tarn_builder_init(&args);
	for (int64_t i = 1; i <= n; i++) {
		tarn_builder_reset(&args);
		tarn_put_int(&args, i);
		if (i % 3 == 0)
			OK(tarn_call_n(s, number, &args, NULL, TARN_FOREVER));
		else
			OK(tarn_cast_n(s, number, &args)); /* D22: in order with calls */
	}
	tarn_builder_fini(&args);
	PLAIN_EQ(types_integer(s, last), n);
	tarn_object_unref(s);
	user_close(&u);
}
PLAIN_TEST_TIMEOUT(d4_d22_300000_calls_and_casts_of_a_thread_reach_an_object_in_order, 120)
{
	in_order("note", "last", 300000);
}
PLAIN_TEST_TIMEOUT(d4_d22_30000_calls_and_casts_reach_an_executor_in_order, 120)
{
	in_order("note_slowly", "last_slowly", 30000);
}

struct crowd {
	tarn_client *c;
	tarn_object *o;
	const char *method;
	int calls;
	int64_t ns;
};

static void *sleep_twice(void *arg)
{
	struct crowd *k = arg;
	int64_t y;

	for (int i = 0; i < k->calls; i++)
		OK(tarn_callf(k->o, "sleep", TARN_FOREVER, "q", "q", k->ns, &y));
	return NULL;
}

PLAIN_TEST(d3_100_calls_of_half_a_second_from_50_threads_run_side_by_side)
{
	struct user u = user_open(NULL);
	struct crowd k = { .o = NEW(u.c, "Sleeper", ""), .calls = 2, .ns = 500000000 };
	pthread_t t[50];
	uint64_t begin = scene_now();

	for (int i = 0; i < 50; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, sleep_twice, &k), 0);
	for (int i = 0; i < 50; i++)
		pthread_join(t[i], NULL);
	scene_note("100 calls of 0.5 s from 50 threads took %.3f s (expected 1.0 to 1.2)",
		   (double)(scene_now() - begin) * 1e-9);
	tarn_object_unref(k.o);
	user_close(&u);
}

static void *add_many(void *arg)
{
	struct crowd *k = arg;
	int64_t y;

	for (int i = 0; i < k->calls; i++)
		OK(tarn_callf(k->o, k->method, TARN_FOREVER, "q", "q", (int64_t)1, &y));
	return NULL;
}

static int64_t add_from(struct user *u, const char *type, const char *method, int threads, int calls)
{
	struct crowd k = { .o = NEW(u->c, type, ""), .method = method, .calls = calls };
	pthread_t t[16];
	int64_t n;

	for (int i = 0; i < threads; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, add_many, &k), 0);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	n = types_integer(k.o, "get");
	tarn_object_unref(k.o);
	return n;
}

PLAIN_TEST_TIMEOUT(d5_calls_on_one_object_are_one_at_a_time_unless_its_type_says_otherwise, 120)
{
	struct user u = user_open(NULL);
	int64_t n;

	PLAIN_EQ(add_from(&u, "Counter", "add", 8, 2000), 16000);
	PLAIN_EQ(add_from(&u, "Counter", "inline_add", 8, 5000), 40000);
	PLAIN_EQ(add_from(&u, "ReadMostlyCounter", "add", 8, 2000), 16000);
	n = add_from(&u, "ParallelCounter", "add", 8, 2000);
	PLAIN_CHECK(n > 0 && n <= 16000);
	scene_note("a parallel counter lost %lld of 16000 updates", (long long)(16000 - n));
	user_close(&u);
}

static void *call_once(void *arg)
{
	struct crowd *k = arg;

	PLAIN_CHECK(types_scale(k->o, 2) == 4);
	return NULL;
}

PLAIN_TEST_TIMEOUT(d6_threads_of_clients_are_no_threads_of_the_server, 120)
{
	struct user u = user_open(NULL);
	struct crowd k = { .o = NEW(u.c, "Magnifier", "d", 2.0) };
	char path[64], line[256];
	long threads = 0;

	for (int round = 0; round < 100; round++) {
		pthread_t t[20];

		for (int i = 0; i < 20; i++)
			PLAIN_EQ(pthread_create(&t[i], NULL, call_once, &k), 0);
		for (int i = 0; i < 20; i++)
			pthread_join(t[i], NULL);
	}
	snprintf(path, sizeof path, "/proc/%d/status", tarn_client_server_pid(u.c));
	FILE *f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		sscanf(line, "Threads: %ld", &threads);
	fclose(f);
	scene_note("after 2000 threads that called, the server has %ld", threads);
	PLAIN_CHECK(threads >= 1 && threads < 20);
	tarn_object_unref(k.o);
	user_close(&u);
}

PLAIN_TEST(d20_calls_back_and_forth_need_one_executor)
{
	const tarn_server_options one = { .max_executors = 1 };
	struct user u = user_open(&one);
	tarn_object *a = NEW(u.c, "Caller", ""), *b = NEW(u.c, "Caller", "");
	int64_t n;

	OK(tarn_callf(a, "down", TARN_FOREVER, "Oq", "q", b, (int64_t)20, &n));
	PLAIN_EQ(n, 21);
	OK(tarn_callf(a, "down", TARN_FOREVER, "Oq", "q", a, (int64_t)20, &n)); /* itself */
	PLAIN_EQ(n, 21);
	tarn_object_unref(a);
	tarn_object_unref(b);
	user_close(&u);
}

PLAIN_TEST(d19_a_method_calls_another_object_without_a_message)
{
	struct user u = user_open(NULL);
	tarn_object *a = NEW(u.c, "Caller", ""), *m = NEW(u.c, "Magnifier", "d", 2.0);
	uint64_t before, one, many;
	int64_t n;

	OK(tarn_callf(a, "call", TARN_FOREVER, "Os", NULL, m, "factor")); /* the type is known now */
	OK(tarn_callf(a, "down", TARN_FOREVER, "Oq", "q", a, (int64_t)0, &n));
	before = scene_stat(&u.s).messages;
	OK(tarn_callf(a, "down", TARN_FOREVER, "Oq", "q", a, (int64_t)0, &n));
	one = scene_stat(&u.s).messages - before;
	before = scene_stat(&u.s).messages;
	OK(tarn_callf(a, "down", TARN_FOREVER, "Oq", "q", a, (int64_t)50, &n));
	many = scene_stat(&u.s).messages - before;
	PLAIN_EQ(n, 51);
	PLAIN_CHECKF(many < one + 50, "%llu messages without, %llu with 50 nested calls",
		     (unsigned long long)one, (unsigned long long)many);
	scene_note("a call: %llu messages; with 50 nested ones: %llu", (unsigned long long)one,
		   (unsigned long long)many);
	tarn_object_unref(a);
	tarn_object_unref(m);
	user_close(&u);
}

/* ---- ends inside a call ---- */

static void *wait_for_ever(void *arg)
{
	struct crowd *k = arg;

	FAILS(tarn_callf(k->o, "wait", TARN_FOREVER, NULL, NULL), TARN_ESRVDOWN);
	return NULL;
}

PLAIN_TEST(d16_100_callers_return_when_the_server_is_killed)
{
	struct user u = user_open(NULL);
	struct crowd k = { .o = NEW(u.c, "Sleeper", "") };
	int64_t busy = 0;
	pthread_t t[100];

	for (int i = 0; i < 100; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, wait_for_ever, &k), 0);
	PLAIN_WAIT_FOR((busy = types_integer(k.o, "waiting")) == 100);
	uint64_t begin = scene_now();
	kill(tarn_client_server_pid(u.c), SIGKILL);
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], NULL);
	scene_note("100 callers heard of the server's death within %.1f ms",
		   (double)(scene_now() - begin) * 1e-6);
	tarn_object_unref(k.o);
	tarn_client_close(u.c);
	tarn_inspector_close(u.s.in);
	tarn_server_shutdown(u.s.server, TARN_FOREVER);
	tarn_server_unref(u.s.server);
}

static void *canary_for_ever(void *arg)
{
	struct crowd *k = arg;

	for (;;) {
		tarn_object *o = NEW(k->c, "Canary", ""), *me;
		tarn_parcel p;

		for (int i = 0; i < 20; i++) {
			OK(tarn_call(o, i % 2 ? "me" : "me_slowly", NULL, &p, TARN_FOREVER));
			OK(tarn_parcel_get(&p, "O", &me));
			PLAIN_CHECK(me == o);
			tarn_parcel_fini(&p);
		}
		tarn_object_unref(o);
	}
	return NULL;
}

PLAIN_TEST_TIMEOUT(d17_1000_callers_killed_inside_their_calls_leave_nothing, 300)
{
	struct user u = user_open(NULL);
	tarn_object *counts = NEW(u.c, "Counts", ""), *sleeper = NEW(u.c, "Sleeper", "");
	uint64_t random = scene_now() | 1;
	int killed = 0;

	OK(tarn_object_publish(sleeper, "sleeper", 0));
	/* Ten at a time, each with two threads that call and return objects, and one that waits. */
	while (killed < 1000) {
		pid_t pid[10];

		for (int i = 0; i < 10; i++) {
			pid[i] = plain_fork();
			if (pid[i] == 0) {
				tarn_client *c = scene_client(&u.s);
				struct crowd k = { .c = c };
				tarn_object *waits;
				pthread_t t[2];

				for (int n = 0; n < 2; n++)
					pthread_create(&t[n], NULL, canary_for_ever, &k);
				OK(tarn_object_lookup(c, "sleeper", 0, &waits));
				tarn_callf(waits, "wait", TARN_FOREVER, NULL, NULL);
				for (;;)
					pause();
			}
		}
		usleep((unsigned)(scene_random(&random) % 4000)); /* any moment will do */
		for (int i = 0; i < 10; i++, killed++)
			plain_kill(pid[i]);
		if (killed % 200 == 0)
			scene_check(&u.s);
	}
	PLAIN_WAIT_FOR(types_canaries(counts) == 0);
	PLAIN_WAIT_FOR(types_integer(sleeper, "waiting") == 0); /* they were told */
	scene_note("%lld canaries made by those who were killed, %lld waits given up",
		   (long long)types_integer(counts, "created"),
		   (long long)types_integer(sleeper, "told"));
	tarn_object_unref(sleeper);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(d18_a_caller_returns_in_time_and_the_late_result_is_given_back)
{
	struct user u = user_open(NULL);
	tarn_object *s = NEW(u.c, "Sleeper", "");
	uint64_t id = tarn_object_id(s);

	/* On a busy machine some are cancelled before an executor begins them: they never run. */
	while (types_integer(s, "told") < 20)
		FAILS(tarn_callf(s, "wait", 5000000, NULL, NULL), ETIMEDOUT);
	/* wait() gives its object back once it is told: nobody takes that. */
	PLAIN_WAIT_FOR(types_integer(s, "waiting") == 0);
	PLAIN_WAIT_FOR(scene_count(&u.s, id) == 1);
	FAILS(tarn_callf(s, "wait", 0, NULL, NULL), ETIMEDOUT);
	PLAIN_WAIT_FOR(types_integer(s, "waiting") == 0);
	PLAIN_WAIT_FOR(scene_count(&u.s, id) == 1);
	tarn_object_unref(s);
	user_close(&u);
}

PLAIN_TEST(d18_a_call_keeps_its_object_alive_though_its_caller_is_gone)
{
	struct user u = user_open(NULL);
	tarn_object *counts = NEW(u.c, "Counts", ""), *s = NEW(u.c, "Sleeper", "");
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *mine = NEW(c, "Sleeper", "");

		tarn_callf(mine, "sleep", TARN_FOREVER, "q", NULL, (int64_t)300000000);
		_exit(1);
	}
	(void)s;
	usleep(50000); /* it is most likely asleep in there; right in any case */
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	tarn_object_unref(s);
	tarn_object_unref(counts);
	user_close(&u); /* waits for its end; the check finds nothing amiss */
}

/* ---- arguments of every letter, with an output behind them ---- */

static int tally_count(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_uint(tarn_context_result(ctx), tarn_parcel_count(tarn_context_args(ctx)));
}

static const tarn_method tally_methods[] = { { "count", tally_count, TARN_METHOD_INLINE }, { 0 } };
static const tarn_type tally_type = { .name = "Tally", .flags = TARN_TYPE_INLINE, .methods = tally_methods };
TARN_TYPE_REGISTER(tally_type)

PLAIN_TEST(callf_finds_its_results_behind_arguments_of_every_letter)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *tally;
	tarn_fault *f = tarn_fault_new("ValueError", 0, "x");
	tarn_channel *ch;
	tarn_parcel p;
	tarn_builder b;
	tarn_block *block;
	uint64_t n = 0;

	OK(tarn_object_new(c, "Tally", NULL, &tally));
	OK(tarn_block_new(c, 10, 0, &block));
	OK(tarn_channel_new(c, 1, NULL, &ch));
	tarn_builder_init(&b);
	OK(tarn_put(&b, "i", 7));
	OK(tarn_parcel_from(&b, &p));
	tarn_builder_fini(&b);
	/* One by one, alone and before another one. */
#define COUNTS(want, letters, ...)                                                             \
	do {                                                                                   \
		n = 99;                                                                        \
		OK(tarn_callf(tally, "count", TARN_FOREVER, letters, "Q", __VA_ARGS__, &n));   \
		PLAIN_EQ(n, (want));                                                           \
	} while (0)
	COUNTS(1, "b", 1);
	COUNTS(1, "i", -1);
	COUNTS(1, "I", 1u);
	COUNTS(1, "q", INT64_MIN);
	COUNTS(1, "Q", UINT64_MAX);
	COUNTS(1, "d", 1.5);
	COUNTS(6, "b i I q Q d", 1, -1, 1u, INT64_MIN, UINT64_MAX, 1.5);
	COUNTS(2, "sq", "text", INT64_MAX);
	COUNTS(2, "Sd", "text", (size_t)2, 2.5);
	COUNTS(2, "yi", "data", (size_t)4, 3);
	COUNTS(2, "BQ", block, UINT64_MAX);
	COUNTS(2, "OI", tally, 5u);
	COUNTS(2, "Cb", ch, 0);
	COUNTS(2, "eq", f, INT64_MIN);
	COUNTS(2, "vd", tarn_parcel_at(&p, 0), 4.5);
	COUNTS(3, "n[sdi]{s:q,i:v}", "a", 1.5, 2, "key", (int64_t)3, 4, tarn_parcel_at(&p, 0));
	COUNTS(12, "sSyBOCevdqIb", "s", "S", (size_t)1, "y", (size_t)1, block, tally, ch, f,
	       tarn_parcel_at(&p, 0), 1.5, (int64_t)1, 1u, 1);
#undef COUNTS
	tarn_parcel_fini(&p);
	tarn_fault_unref(f);
	tarn_channel_unref(ch);
	tarn_block_unref(block);
	tarn_object_unref(tally);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- asleep ---- */

/* It was twice: who asked rang again though the server had answered, and slept again, before the bell
 * returned. */
PLAIN_TEST_TIMEOUT(a_server_on_the_same_cpu_sleeps_once_for_each_call, 60)
{
	const uint64_t n = 500;
	cpu_set_t all, one;
	int first = 0;

	PLAIN_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	while (!CPU_ISSET((size_t)first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET((size_t)first, &one);
	PLAIN_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	setenv("TARN_SPIN_US", "0", 1);
	struct user u = user_open(NULL);
	tarn_object *counter = NEW(u.c, "Counter", "");
	uint64_t before = scene_stat(&u.s).sleeps, during;
	int64_t sum = 0;

	for (uint64_t k = 0; k < n; k++)
		OK(tarn_callf(counter, "inline_add", TARN_FOREVER, "q", "q", (int64_t)1, &sum));
	during = scene_stat(&u.s).sleeps - before;
	PLAIN_EQ(sum, (int64_t)n);
	scene_note("%llu sleeps for %llu calls", (unsigned long long)during, (unsigned long long)n);
	/* Who was at work when the call came sleeps less often, and attaching to ask takes some. */
	PLAIN_CHECKF(during < n + n / 4, "%llu sleeps for %llu calls", (unsigned long long)during,
		     (unsigned long long)n);
	tarn_object_unref(counter);
	user_close(&u);
	unsetenv("TARN_SPIN_US");
	PLAIN_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

PLAIN_MAIN()
