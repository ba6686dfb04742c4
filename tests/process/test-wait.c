/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for processes, threads, calls, objects and descriptors together (FEATURES 1.12; F13), and
 * threads with results (W6).
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* Files that tell workers to go on. */
static void go_name(char text[200], int number)
{
	snprintf(text, 200, "%s/go-%d", plain_dir(), number);
}
static void go(int number)
{
	char path[200];

	go_name(path, number);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

/* Doubles its number when it may go on; throws if it is negative. */
static int twice(tarn_worker *worker)
{
	const char *path;
	struct stat st;
	int64_t x;
	int r = tarn_worker_get(worker, "qs", &x, &path);

	while (r == 0 && stat(path, &st) != 0) {
		r = tarn_worker_check(worker);
		usleep(1000);
	}
	if (r < 0)
		return r;
	return x < 0 ? tarn_worker_throw(worker, "ValueError", "%lld", (long long)-x)
		     : tarn_put_int(tarn_worker_result(worker), 2 * x);
}
TARN_WORKER(twice)
{
	return twice(worker);
}

static void args_of(tarn_builder *b, int64_t x, int number)
{
	char path[200];

	go_name(path, number);
	tarn_builder_init(b);
	tarn_put(b, "qs", x, path);
}
static tarn_process *process(struct user *u, int64_t x, int number)
{
	tarn_process *p;
	tarn_builder b;

	args_of(&b, x, number);
	OK(tarn_process_spawn(u->c, &(tarn_process_options){ .entry = "twice", .args = &b,
							     .stderr_to = TARN_STDIO_NULL }, &p));
	tarn_builder_fini(&b);
	return p;
}
static tarn_thread *thread(int64_t x, int number)
{
	tarn_thread *t;
	tarn_builder b;

	args_of(&b, x, number);
	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = twice, .args = &b }, &t));
	tarn_builder_fini(&b);
	return t;
}

/* ---- W6: threads have what processes have ---- */

PLAIN_TEST(w6_a_thread_has_a_result_or_an_error)
{
	const tarn_fault *f;
	int64_t y;
	tarn_thread *t = thread(38, 1);

	PLAIN_CHECK(!tarn_thread_done(t));
	FAILS(tarn_thread_get(t, 10000000, "q", &y), ETIMEDOUT);
	FAILS(tarn_thread_exception(t, 0, &f), EAGAIN);
	go(1);
	OK(tarn_thread_get(t, TARN_FOREVER, "q", &y));
	PLAIN_EQ(y, 76);
	OK(tarn_thread_exception(t, TARN_FOREVER, &f));
	PLAIN_CHECK(f == NULL && tarn_thread_done(t));
	PLAIN_CHECK(strncmp(tarn_thread_name(t), "Thread-", 7) == 0);
	tarn_thread_unref(t);

	t = thread(-12, 1);
	FAILS(tarn_thread_get(t, TARN_FOREVER, "q", &y), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "12") == 0);
	OK(tarn_thread_exception(t, 0, &f));
	PLAIN_CHECK(tarn_fault_is(f, "ValueError"));
	tarn_thread_unref(t);
}

PLAIN_TEST(w6_what_is_thrown_at_a_thread_comes_out_of_it)
{
	tarn_thread *t = thread(1, 1);
	tarn_fault *f = tarn_fault_new("KeyboardInterrupt", 0, "enough");
	const tarn_parcel *result;

	OK(tarn_thread_throw(t, f));
	OK(tarn_thread_terminate(t)); /* too late: the first one counts */
	tarn_fault_unref(f);
	FAILS(tarn_thread_join(t, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "KeyboardInterrupt"));
	tarn_thread_unref(t);

	t = thread(1, 1);
	OK(tarn_thread_terminate(t));
	OK(tarn_thread_result(t, TARN_FOREVER, &result));
	PLAIN_EQ(tarn_parcel_count(result), 0);
	OK(tarn_thread_terminate(t)); /* it has ended */
	tarn_thread_unref(t);
}

static int tell_name(tarn_worker *worker)
{
	return tarn_worker_self() == worker
		       ? tarn_put_string(tarn_worker_result(worker), tarn_worker_name(worker))
		       : -EINVAL;
}
PLAIN_TEST(w6_a_thread_without_a_holder_runs_on)
{
	const char *name;
	tarn_thread *t;

	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = tell_name, .name = "worker bee" }, &t));
	OK(tarn_thread_get(t, TARN_FOREVER, "s", &name));
	PLAIN_CHECK(strcmp(name, "worker bee") == 0);
	PLAIN_CHECK(tarn_worker_self() == NULL);
	tarn_thread_unref(t);
	t = thread(3, 1);
	tarn_thread_unref(t);
	go(1);
	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = NULL }, &t));
	OK(tarn_thread_join(t, TARN_FOREVER));
	tarn_thread_unref(t);
}

/* ---- W1, W2: wait ---- */

static void check_done(const bool *done, const char *expected)
{
	for (size_t i = 0; expected[i] != '\0'; i++)
		PLAIN_CHECKF(done[i] == (expected[i] == '1'), "%zu of %s", i, expected);
}

PLAIN_TEST(w1_all_the_first_and_the_first_that_fails)
{
	struct user u = user_open();
	tarn_process *p[4] = { process(&u, 1, 1), process(&u, 2, 2), process(&u, -3, 3),
			       process(&u, 4, 4) };
	tarn_waitable w[4];
	bool done[4];

	for (int i = 0; i < 4; i++)
		w[i] = tarn_waitable_process(p[i]);
	FAILS(tarn_wait(w, 4, TARN_WAIT_FIRST, 0, done), EAGAIN);
	check_done(done, "0000");
	FAILS(tarn_wait(w, 4, TARN_WAIT_ALL, 20000000, done), ETIMEDOUT);
	check_done(done, "0000");
	go(2);
	OK(tarn_wait(w, 4, TARN_WAIT_FIRST, TARN_FOREVER, done));
	check_done(done, "0100");
	FAILS(tarn_wait(w, 4, TARN_WAIT_FIRST_EXCEPTION, 20000000, done), ETIMEDOUT);
	check_done(done, "0100");
	go(3);
	OK(tarn_wait(w, 4, TARN_WAIT_FIRST_EXCEPTION, TARN_FOREVER, done));
	check_done(done, "0110");
	OK(tarn_wait(w, 2, TARN_WAIT_FIRST_EXCEPTION, 0, done) == -EAGAIN ? 0 : -1);
	go(1);
	go(4);
	OK(tarn_wait(w, 4, TARN_WAIT_ALL, TARN_FOREVER, done));
	check_done(done, "1111");
	/* Without a failure the first exception is the last end. */
	OK(tarn_wait(w, 2, TARN_WAIT_FIRST_EXCEPTION, TARN_FOREVER, NULL));
	for (int i = 0; i < 4; i++)
		tarn_process_unref(p[i]);
	user_close(&u);
}

static int64_t slow_answer(tarn_pending *call)
{
	tarn_parcel p;
	int64_t x;

	OK(tarn_call_wait(call, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "q", &x));
	tarn_parcel_fini(&p);
	return x;
}

PLAIN_TEST(w2_processes_threads_calls_and_descriptors_in_one_wait)
{
	struct user u = user_open();
	tarn_object *sleeper = NEW(u.c, "Sleeper", "");
	tarn_builder b;
	tarn_pending *call;
	int ends[2];
	bool done[4];

	tarn_builder_init(&b);
	tarn_put_int(&b, 300000000); /* by then the others are over, or not: both orders are right */
	OK(tarn_call_start(sleeper, "sleep", &b, &call));
	tarn_builder_fini(&b);
	PLAIN_EQ(pipe2(ends, O_CLOEXEC), 0);
	tarn_process *p = process(&u, 1, 1);
	tarn_thread *t = thread(2, 2);
	const tarn_waitable w[] = { tarn_waitable_process(p), tarn_waitable_thread(t),
				    tarn_waitable_fd(ends[0], POLLIN), tarn_waitable_call(call) };

	FAILS(tarn_wait(w, 3, TARN_WAIT_FIRST, 10000000, done), ETIMEDOUT);
	PLAIN_EQ(write(ends[1], "x", 1), 1);
	OK(tarn_wait(w, 4, TARN_WAIT_FIRST, TARN_FOREVER, done));
	PLAIN_CHECK(!done[0] && !done[1]);
	go(2);
	OK(tarn_wait(w, 2, TARN_WAIT_FIRST, TARN_FOREVER, done));
	check_done(done, "01");
	OK(tarn_wait(w + 3, 1, TARN_WAIT_ALL, TARN_FOREVER, done));
	go(1);
	OK(tarn_wait(w, 4, TARN_WAIT_ALL, TARN_FOREVER, done));
	check_done(done, "1111");
	PLAIN_EQ(slow_answer(call), 300000000);
	tarn_call_free(call);
	tarn_process_unref(p);
	tarn_thread_unref(t);
	tarn_object_unref(sleeper);
	close(ends[0]);
	close(ends[1]);
	user_close(&u);
}

/* What another process does after a while: one of the objects becomes ready. */
TARN_WORKER(make_ready)
{
	tarn_object *event, *queue, *sem;
	const char *path;
	struct stat st;
	int which;
	int r = tarn_worker_get(worker, "iOOOs", &which, &event, &queue, &sem, &path);

	while (r == 0 && stat(path, &st) != 0)
		usleep(1000);
	if (r < 0)
		return r;
	return which == 0 ? tarn_event_set(event)
	       : which == 1 ? tarn_queue_putf(queue, TARN_FOREVER, "i", 5) : tarn_sem_release(sem, 1);
}

static void object_among_others(int which, bool with_descriptors)
{
	struct user u = user_open();
	tarn_object *event, *queue, *sem;
	char path[200];
	tarn_builder b;
	tarn_process *p;
	tarn_thread *t = thread(1, 99);
	bool done[4];

	OK(tarn_event_new(u.c, 0, &event));
	OK(tarn_queue_new(u.c, NULL, &queue));
	OK(tarn_sem_new(u.c, 0, &sem));
	const tarn_waitable w[] = { tarn_waitable_object(event), tarn_waitable_object(queue),
				    tarn_waitable_object(sem), tarn_waitable_thread(t) };
	const size_t n = with_descriptors ? 4 : 3;

	FAILS(tarn_wait(w, n, TARN_WAIT_FIRST, 0, done), EAGAIN);
	FAILS(tarn_wait(w, n, TARN_WAIT_FIRST, 120000000, done), ETIMEDOUT);
	check_done(done, "000");
	go_name(path, 1);
	tarn_builder_init(&b);
	tarn_put(&b, "iOOOs", which, event, queue, sem, path);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "make_ready", .args = &b }, &p));
	tarn_builder_fini(&b);
	go(1);
	OK(tarn_wait(w, n, TARN_WAIT_FIRST, TARN_FOREVER, done));
	check_done(done, which == 0 ? "100" : which == 1 ? "010" : "001");
	go(99);
	OK(tarn_process_join(p, TARN_FOREVER));
	OK(tarn_thread_join(t, TARN_FOREVER));
	tarn_process_unref(p);
	tarn_thread_unref(t);
	tarn_object_unref(event);
	tarn_object_unref(queue);
	tarn_object_unref(sem);
	user_close(&u);
}
PLAIN_TEST(w2_an_event_among_objects) { object_among_others(0, false); }
PLAIN_TEST(w2_an_event_among_descriptors) { object_among_others(0, true); }
PLAIN_TEST(w2_a_queue_among_objects) { object_among_others(1, false); }
PLAIN_TEST(w2_a_queue_among_descriptors) { object_among_others(1, true); }
PLAIN_TEST(w2_a_semaphore_among_objects) { object_among_others(2, false); }
PLAIN_TEST(w2_a_semaphore_among_descriptors) { object_among_others(2, true); }

PLAIN_TEST(w2_who_waits_for_objects_is_told_that_the_server_is_gone)
{
	struct user u = user_open();
	tarn_object *event;

	OK(tarn_event_new(u.c, 0, &event));
	const tarn_waitable w = tarn_waitable_object(event);
	tarn_inspector_close(u.s.in);
	kill(tarn_server_pid(u.s.server), SIGKILL);
	FAILS(tarn_wait(&w, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), TARN_ESRVDOWN);
	tarn_object_unref(event);
	tarn_client_close(u.c);
	tarn_server_unref(u.s.server);
}

PLAIN_TEST(w2_a_call_that_fails_is_an_exception)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Sleeper", "");
	tarn_thread *t = thread(2, 2);
	tarn_builder b;
	tarn_pending *call;
	bool done[2];

	tarn_builder_init(&b);
	tarn_put_string(&b, "no number");
	OK(tarn_call_start(m, "sleep", &b, &call));
	tarn_builder_fini(&b);
	const tarn_waitable w[] = { tarn_waitable_thread(t), tarn_waitable_call(call) };
	OK(tarn_wait(w, 2, TARN_WAIT_FIRST_EXCEPTION, TARN_FOREVER, done));
	check_done(done, "01");
	FAILS(tarn_call_wait(call, NULL, TARN_FOREVER), TARN_EARGS);
	tarn_call_free(call);
	go(2);
	tarn_thread_unref(t);
	tarn_object_unref(m);
	user_close(&u);
}

/* ---- W3: as completed ---- */

PLAIN_TEST(w3_they_come_in_the_order_in_which_they_get_done)
{
	struct user u = user_open();
	const int order[] = { 3, 1, 4, 0, 2 };
	tarn_waitable w[5];
	tarn_completion *c;
	tarn_process *p[3] = { process(&u, 0, 0), process(&u, 1, 1), process(&u, -2, 2) };
	tarn_thread *t[2] = { thread(3, 3), thread(4, 4) };
	size_t index;

	for (int i = 0; i < 5; i++)
		w[i] = i < 3 ? tarn_waitable_process(p[i]) : tarn_waitable_thread(t[i - 3]);
	OK(tarn_completion_new(w, 5, TARN_FOREVER, &c));
	for (int i = 0; i < 5; i++) {
		go(order[i]);
		OK(tarn_completion_next(c, &index));
		PLAIN_EQ(index, order[i]);
	}
	FAILS(tarn_completion_next(c, &index), TARN_EOF);
	tarn_completion_free(c);
	/* Afterwards: all at once, in that order. */
	OK(tarn_completion_new(w, 5, 0, &c));
	for (int i = 0; i < 5; i++) {
		OK(tarn_completion_next(c, &index));
		PLAIN_EQ(index, order[i]);
	}
	tarn_completion_free(c);
	for (int i = 0; i < 3; i++)
		tarn_process_unref(p[i]);
	tarn_thread_unref(t[0]);
	tarn_thread_unref(t[1]);
	user_close(&u);
}

PLAIN_TEST(w3_the_time_is_for_all_of_them)
{
	tarn_thread *t[2] = { thread(1, 1), thread(2, 2) };
	const tarn_waitable w[2] = { tarn_waitable_thread(t[0]), tarn_waitable_thread(t[1]) };
	tarn_completion *c;
	size_t index;

	go(2);
	OK(tarn_thread_join(t[1], TARN_FOREVER));
	OK(tarn_completion_new(w, 2, 50000000, &c));
	OK(tarn_completion_next(c, &index));
	PLAIN_EQ(index, 1);
	FAILS(tarn_completion_next(c, &index), ETIMEDOUT);
	FAILS(tarn_completion_next(c, &index), ETIMEDOUT);
	tarn_completion_free(c);
	go(1);
	for (int i = 0; i < 2; i++)
		tarn_thread_unref(t[i]);
}

/* ---- W4, F13: the dead ---- */

PLAIN_TEST(w4_members_that_are_killed_are_done)
{
	struct user u = user_open();
	tarn_process *p[3] = { process(&u, 1, 1), process(&u, 2, 2), process(&u, 3, 3) };
	tarn_waitable w[3];
	uint64_t before, took;
	bool done[3];

	for (int i = 0; i < 3; i++)
		w[i] = tarn_waitable_process(p[i]);
	kill(tarn_process_pid(p[1]), SIGKILL);
	before = scene_now();
	OK(tarn_wait(w, 3, TARN_WAIT_FIRST_EXCEPTION, TARN_FOREVER, done));
	took = scene_now() - before;
	scene_note("a killed process was done after %llu us", (unsigned long long)(took / 1000));
	check_done(done, "010");
	FAILS(tarn_process_join(p[1], 0 + TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "killed by SIGKILL") != NULL);
	OK(tarn_process_terminate(p[0]));
	OK(tarn_process_kill(p[2]));
	OK(tarn_wait(w, 3, TARN_WAIT_ALL, TARN_FOREVER, done));
	for (int i = 0; i < 3; i++)
		tarn_process_unref(p[i]);
	user_close(&u);
}

/* ---- W5: the edges ---- */

PLAIN_TEST(w5_nothing_twice_and_what_is_done_already)
{
	tarn_thread *t = thread(1, 1), *other = thread(2, 2);
	const tarn_waitable w[3] = { tarn_waitable_thread(t), tarn_waitable_thread(other),
				     tarn_waitable_thread(t) };
	tarn_completion *c;
	bool done[3];
	size_t index;

	OK(tarn_wait(NULL, 0, TARN_WAIT_ALL, TARN_FOREVER, NULL));
	OK(tarn_wait(NULL, 0, TARN_WAIT_FIRST, TARN_FOREVER, NULL));
	OK(tarn_completion_new(NULL, 0, TARN_FOREVER, &c));
	FAILS(tarn_completion_next(c, &index), TARN_EOF);
	tarn_completion_free(c);
	go(1);
	OK(tarn_wait(w, 3, TARN_WAIT_FIRST, TARN_FOREVER, done));
	PLAIN_CHECK(!done[1] && (done[0] || done[2]));
	OK(tarn_thread_join(t, TARN_FOREVER));
	OK(tarn_wait(w, 3, TARN_WAIT_FIRST, 0, done));
	check_done(done, "101");
	go(2);
	OK(tarn_wait(w, 3, TARN_WAIT_ALL, TARN_FOREVER, done));
	check_done(done, "111");
	tarn_thread_unref(t);
	tarn_thread_unref(other);
}

PLAIN_TEST(w5_what_cannot_be_waited_for_is_an_error)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_waitable w = tarn_waitable_object(m);
	tarn_process *p;

	FAILS(tarn_wait(&w, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), TARN_EKIND);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Magnifier") != NULL);
	OK(tarn_process_new(u.c, NULL, &p));
	w = tarn_waitable_process(p);
	FAILS(tarn_wait(&w, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), TARN_ESTATE);
	tarn_process_unref(p);
	w = tarn_waitable_fd(999, POLLIN);
	FAILS(tarn_wait(&w, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), EBADF);
	tarn_object_unref(m);
	user_close(&u);
}

PLAIN_MAIN()
