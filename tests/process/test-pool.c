/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools (FEATURES T14, Q9, Q10) and runners (U1 to U8, U11). The tasks run in processes that are this
 * program again.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/process/cpu.h"
#include "tests/common/arena.h"
#include "tests/common/tasks.h"
#include "tests/common/types.h"

struct user {
	struct scene s;
	tarn_client *c;
	tarn_pool *pool;
};

static struct user user_open(const tarn_pool_options *options)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	if (options != NULL)
		OK(tarn_pool_new(u.c, options, &u.pool));
	return u;
}
static void user_close(struct user *u)
{
	if (u->pool != NULL) {
		OK(tarn_pool_close(u->pool));
		OK(tarn_pool_join(u->pool, TARN_FOREVER));
		tarn_pool_unref(u->pool);
	}
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* ---- tasks ---- */

TARN_WORKER(tell_pid)
{
	return tarn_put_int(tarn_worker_result(worker), getpid());
}

TARN_WORKER(nothing)
{
	(void)worker;
	return 0;
}

TARN_WORKER(two_things)
{
	return tarn_put(tarn_worker_result(worker), "is", 1, "two");
}

TARN_WORKER(leave_7)
{
	(void)worker;
	exit(7);
}

static int64_t apply(struct user *u, const char *entry, int64_t x)
{
	tarn_builder b;
	tarn_parcel p;
	int64_t y;

	tarn_builder_init(&b);
	tarn_put_int(&b, x);
	OK(tarn_pool_apply(u->pool, entry, &b, TARN_FOREVER, &p));
	tarn_builder_fini(&b);
	OK(tarn_parcel_get(&p, "q", &y));
	tarn_parcel_fini(&p);
	return y;
}

/* ---- Q9: the pool of Python ---- */

static const tarn_pool_options three = { .workers = 3 };

PLAIN_TEST(q9_apply_waits_for_the_result_or_throws)
{
	struct user u = user_open(&three);
	tarn_builder b;
	tarn_parcel p;

	PLAIN_EQ(apply(&u, "square", 5), 25);
	tarn_builder_init(&b);
	tarn_put_int(&b, -5);
	FAILS(tarn_pool_apply(u.pool, "square", &b, TARN_FOREVER, &p), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_CHECK(tarn_fault_hops(tarn_error_fault()) == 1);
	FAILS(tarn_pool_apply(u.pool, "no such thing", &b, TARN_FOREVER, &p), ENOENT);
	tarn_builder_fini(&b);
	OK(tarn_pool_apply(u.pool, "two_things", NULL, TARN_FOREVER, &p));
	PLAIN_EQ(tarn_parcel_count(&p), 2);
	tarn_parcel_fini(&p);
	PLAIN_EQ(apply(&u, "square", 6), 36);
	user_close(&u);
}

PLAIN_TEST(q9_a_result_can_be_asked_whether_it_is_ready_and_how_it_went)
{
	struct user u = user_open(&three);
	tarn_pool_result *r = task_begin(u.pool, 1), *bad;
	const tarn_parcel *values;
	tarn_builder b;

	PLAIN_CHECK(!tarn_pool_result_ready(r));
	FAILS(tarn_pool_result_successful(r), TARN_ESTATE);
	FAILS(tarn_pool_result_wait(r, 10000000), ETIMEDOUT);
	FAILS(tarn_pool_result_get(r, 0, &values), EAGAIN);
	task_go(1);
	OK(tarn_pool_result_wait(r, TARN_FOREVER));
	PLAIN_CHECK(tarn_pool_result_ready(r));
	PLAIN_EQ(tarn_pool_result_successful(r), 1);
	OK(tarn_pool_result_get(r, 0, &values));
	OK(tarn_pool_result_get(r, 0, &values));
	PLAIN_EQ(tarn_parcel_count(values), 1);
	tarn_builder_init(&b);
	tarn_put_int(&b, -1);
	OK(tarn_pool_apply_async(u.pool, "square", &b, &bad));
	tarn_builder_fini(&b);
	OK(tarn_pool_result_wait(bad, TARN_FOREVER));
	PLAIN_EQ(tarn_pool_result_successful(bad), 0);
	FAILS(tarn_pool_result_get(bad, 0, &values), TARN_EREMOTE);
	FAILS(tarn_pool_result_get(bad, 0, &values), TARN_EREMOTE);
	tarn_pool_result_unref(r);
	tarn_pool_result_unref(bad);
	user_close(&u);
}

PLAIN_TEST(q9_map_keeps_the_order_whatever_the_parts)
{
	struct user u = user_open(&three);
	const size_t chunks[] = { 0, 1, 7, 1000, 5000 };
	tarn_parcel items, list;
	int64_t y;

	task_numbers(&items, 1000);
	for (size_t k = 0; k < 5; k++) {
		OK(tarn_pool_map(u.pool, "square", tarn_parcel_at(&items, 0), chunks[k], TARN_FOREVER,
				 &list));
		PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 1000);
		for (size_t i = 0; i < 1000; i++) {
			OK(tarn_value_int(tarn_value_at(tarn_parcel_at(&list, 0), i), &y));
			PLAIN_EQ(y, i * i);
		}
		tarn_parcel_fini(&list);
	}
	tarn_parcel_fini(&items);
	task_numbers(&items, 0);
	OK(tarn_pool_map(u.pool, "square", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list));
	PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 0);
	tarn_parcel_fini(&list);
	tarn_parcel_fini(&items);
	task_numbers(&items, 3);
	OK(tarn_pool_map(u.pool, "nothing", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list));
	PLAIN_EQ(tarn_value_kind(tarn_value_at(tarn_parcel_at(&list, 0), 2)), TARN_KIND_NIL);
	tarn_parcel_fini(&list);
	OK(tarn_pool_map(u.pool, "two_things", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list));
	PLAIN_EQ(tarn_value_count(tarn_value_at(tarn_parcel_at(&list, 0), 2)), 2);
	tarn_parcel_fini(&list);
	tarn_parcel_fini(&items);
	user_close(&u);
}

PLAIN_TEST(q9_starmap_spreads_arguments_and_map_async_comes_later)
{
	struct user u = user_open(&three);
	const tarn_parcel *values;
	tarn_pool_result *r;
	tarn_parcel items, list;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put(&b, "[[ii][ii][ii]]", 1, 2, 3, 4, 5, 6);
	OK(tarn_parcel_from(&b, &items));
	tarn_builder_fini(&b);
	char text[64];
	OK(tarn_pool_starmap(u.pool, "add", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list));
	PLAIN_CHECK(tarn_parcel_format(&list, text, sizeof text) > 0);
	PLAIN_CHECKF(strcmp(text, "[3, 7, 11]") == 0, "%s", text);
	tarn_parcel_fini(&list);
	OK(tarn_pool_starmap_async(u.pool, "add", tarn_parcel_at(&items, 0), 2, &r));
	tarn_parcel_fini(&items); /* it is on its way */
	OK(tarn_pool_result_get(r, TARN_FOREVER, &values));
	PLAIN_CHECK(tarn_parcel_format(values, text, sizeof text) > 0);
	PLAIN_CHECKF(strcmp(text, "[3, 7, 11]") == 0, "%s", text);
	tarn_pool_result_unref(r);
	task_numbers(&items, 3);
	FAILS(tarn_pool_starmap(u.pool, "add", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list),
	      TARN_EREMOTE);
	OK(tarn_pool_map_async(u.pool, "square", tarn_parcel_at(&items, 0), 1, &r));
	OK(tarn_pool_result_get(r, TARN_FOREVER, &values));
	tarn_pool_result_unref(r);
	FAILS(tarn_pool_map(u.pool, "square", tarn_value_at(tarn_parcel_at(&items, 0), 0), 0, TARN_FOREVER,
			    &list), TARN_EKIND);
	tarn_parcel_fini(&items);
	user_close(&u);
}

PLAIN_TEST(q9_imap_gives_results_in_order_and_the_failed_at_their_place)
{
	struct user u = user_open(&three);
	tarn_pool_iterator *it;
	tarn_parcel items, p;
	tarn_builder b;
	int64_t y;

	tarn_builder_init(&b);
	tarn_list_begin(&b);
	for (int i = 0; i < 100; i++)
		tarn_put_int(&b, i % 10 == 7 ? -i : i);
	tarn_list_end(&b);
	OK(tarn_parcel_from(&b, &items));
	tarn_builder_fini(&b);
	for (size_t chunk = 0; chunk < 8; chunk += 7) {
		OK(tarn_pool_imap(u.pool, "square", tarn_parcel_at(&items, 0), chunk, &it));
		for (int i = 0; i < 100; i++) {
			int r = tarn_pool_iterator_next(it, TARN_FOREVER, &p);

			if (i % 10 == 7) {
				PLAIN_EQ(r, -TARN_EREMOTE);
				continue;
			}
			OK(r);
			OK(tarn_parcel_get(&p, "q", &y));
			PLAIN_EQ(y, i * i);
			tarn_parcel_fini(&p);
		}
		FAILS(tarn_pool_iterator_next(it, TARN_FOREVER, &p), TARN_EOF);
		FAILS(tarn_pool_iterator_next(it, TARN_FOREVER, &p), TARN_EOF);
		tarn_pool_iterator_free(it);
	}
	tarn_parcel_fini(&items);
	user_close(&u);
}

PLAIN_TEST(q9_imap_unordered_gives_each_once_as_they_get_done)
{
	struct user u = user_open(&three);
	tarn_pool_iterator *it;
	tarn_parcel items, p;
	bool seen[50] = { false };
	int64_t y;

	task_numbers(&items, 50);
	/* One that waits does not hold up the others. */
	tarn_pool_result *slow = task_begin(u.pool, 1);
	OK(tarn_pool_imap_unordered(u.pool, "square", tarn_parcel_at(&items, 0), 0, &it));
	for (int i = 0; i < 50; i++) {
		OK(tarn_pool_iterator_next(it, TARN_FOREVER, &p));
		OK(tarn_parcel_get(&p, "q", &y));
		tarn_parcel_fini(&p);
		for (int64_t k = 0; k < 50; k++)
			if (k * k == y) {
				PLAIN_CHECK(!seen[k]);
				seen[k] = true;
			}
	}
	FAILS(tarn_pool_iterator_next(it, 0, &p), TARN_EOF);
	tarn_pool_iterator_free(it);
	tarn_parcel_fini(&items);
	PLAIN_CHECK(!tarn_pool_result_ready(slow));
	task_go(1);
	OK(tarn_pool_result_wait(slow, TARN_FOREVER));
	tarn_pool_result_unref(slow);
	user_close(&u);
}

/* ---- initializers, children that are replaced ---- */

struct state {
	int64_t base, n;
};
TARN_WORKER(prepare)
{
	struct state *s = calloc(1, sizeof *s);
	int r = tarn_worker_get(worker, "q", &s->base);

	*tarn_worker_data(worker) = s;
	return r == 0 && s->base < 0 ? tarn_worker_throw(worker, "RuntimeError", "not prepared") : r;
}
TARN_WORKER(add_base)
{
	struct state *s = *tarn_worker_data(worker);
	int64_t x;
	int r = tarn_worker_get(worker, "q", &x);

	return r < 0 ? r : tarn_put(tarn_worker_result(worker), "qqi", s->base + x, ++s->n, (int)getpid());
}

PLAIN_TEST(q9_the_initializer_runs_once_in_each_process)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, 1000);
	struct user u = user_open(&(tarn_pool_options){ .workers = 1, .initializer = "prepare",
							.initializer_args = &b, .tasks_per_child = 3 });
	tarn_builder_fini(&b);
	int last = 0, different = 0;
	for (int i = 0; i < 7; i++) {
		int64_t y, n;
		tarn_parcel p;
		int pid;

		tarn_builder_init(&b);
		tarn_put_int(&b, i);
		OK(tarn_pool_apply(u.pool, "add_base", &b, TARN_FOREVER, &p));
		tarn_builder_fini(&b);
		OK(tarn_parcel_get(&p, "qqi", &y, &n, &pid));
		tarn_parcel_fini(&p);
		PLAIN_EQ(y, 1000 + i);
		PLAIN_EQ(n, i % 3 + 1); /* three tasks of each process */
		different += pid != last;
		last = pid;
	}
	PLAIN_EQ(different, 3);
	user_close(&u);
}

PLAIN_TEST(q9_an_initializer_that_fails_fails_the_tasks_and_hangs_nobody)
{
	tarn_parcel p;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, -1);
	struct user u = user_open(&(tarn_pool_options){ .workers = 2, .initializer = "prepare",
							.initializer_args = &b });
	for (int i = 0; i < 3; i++) {
		FAILS(tarn_pool_apply(u.pool, "add_base", &b, TARN_FOREVER, &p), TARN_EREMOTE);
		PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "not prepared") == 0);
	}
	tarn_builder_fini(&b);
	user_close(&u);
	/* One that dies in it. */
	u = user_open(&(tarn_pool_options){ .workers = 2, .initializer = "leave_7" });
	FAILS(tarn_pool_apply(u.pool, "tell_pid", NULL, TARN_FOREVER, &p), TARN_EREMOTE);
	user_close(&u);
	tarn_pool *pool;
	FAILS(tarn_pool_new(NULL, &(tarn_pool_options){ .initializer = "nobody" }, &pool), ENOENT);
}

/* ---- deaths ---- */

PLAIN_TEST(q9_a_worker_killed_in_a_task_is_told_and_replaced)
{
	struct user u = user_open(&three);
	tarn_pool_result *r[3] = { task_begin(u.pool, 1), task_begin(u.pool, 2), task_begin(u.pool, 3) };
	const tarn_parcel *values;
	int pids[4], before, lost = 0;

	PLAIN_WAIT_FOR(task_begun(1) && task_begun(2) && task_begun(3));
	PLAIN_EQ(tarn_pool_pids(u.pool, pids, 4), 3);
	before = pids[1];
	kill(before, SIGKILL);
	for (int i = 0; i < 3; i++)
		task_go(1 + i);
	for (int i = 0; i < 3; i++) {
		if (tarn_pool_result_get(r[i], TARN_FOREVER, &values) == 0)
			continue;
		const tarn_fault *f = tarn_error_fault();

		/* Which of the tasks it had nobody knows here. */
		lost++;
		PLAIN_CHECK(tarn_fault_is(f, "WorkerLost"));
		PLAIN_CHECK(tarn_fault_is(tarn_fault_cause(f), "Signal"));
		PLAIN_CHECKF(strstr(tarn_fault_message(f), "begin_and_wait") != NULL &&
			     strstr(tarn_fault_message(f), "SIGKILL") != NULL, "%s",
			     tarn_fault_message(f));
	}
	PLAIN_CHECK(lost <= 1); /* it may have been done when it was killed */
	for (int i = 0; i < 20; i++)
		PLAIN_EQ(apply(&u, "square", i), i * i);
	for (int i = 0; i < 3; i++)
		tarn_pool_result_unref(r[i]);
	user_close(&u);
}

PLAIN_TEST(q9_a_task_whose_worker_died_is_tried_again_if_that_is_allowed)
{
	char path[200];
	tarn_builder b;
	tarn_parcel p;
	const char *text;

	task_path(path, "died", 1);
	tarn_builder_init(&b);
	tarn_put_string(&b, path);
	struct user u = user_open(&(tarn_pool_options){ .workers = 1, .retries = 1 });
	OK(tarn_pool_apply(u.pool, "die_once", &b, TARN_FOREVER, &p));
	OK(tarn_parcel_get(&p, "s", &text));
	PLAIN_CHECK(strcmp(text, "done") == 0);
	tarn_parcel_fini(&p);
	FAILS(tarn_pool_apply(u.pool, "leave_7", NULL, TARN_FOREVER, &p), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "WorkerLost"));
	PLAIN_CHECK(tarn_fault_is(tarn_fault_cause(tarn_error_fault()), "SystemExit"));
	tarn_builder_fini(&b);
	user_close(&u);
}

PLAIN_TEST(q9_workers_killed_while_idle_cost_no_task)
{
	struct user u = user_open(&three);
	int pids[3];

	for (int round = 0; round < 3; round++) {
		PLAIN_EQ(apply(&u, "square", round), round * round);
		unsigned n = tarn_pool_pids(u.pool, pids, 3);

		for (unsigned i = 0; i < n && i < 3; i++)
			kill(pids[i], SIGKILL);
		for (unsigned i = 0; i < n && i < 3; i++)
			PLAIN_WAIT_FOR(scene_client_gone(&u.s, pids[i]));
	}
	for (int i = 0; i < 10; i++)
		PLAIN_EQ(apply(&u, "square", i), i * i);
	user_close(&u);
}

/* ---- the end ---- */

PLAIN_TEST(q9_close_does_what_is_there_and_takes_no_more)
{
	struct user u = user_open(&three);
	tarn_pool_result *r[9];
	const tarn_parcel *values;
	tarn_parcel p;

	FAILS(tarn_pool_join(u.pool, 0), TARN_ESTATE);
	for (int i = 0; i < 9; i++)
		r[i] = task_begin(u.pool, i);
	OK(tarn_pool_close(u.pool));
	OK(tarn_pool_close(u.pool));
	FAILS(tarn_pool_apply(u.pool, "tell_pid", NULL, TARN_FOREVER, &p), TARN_ESTATE);
	FAILS(tarn_pool_join(u.pool, 10000000), ETIMEDOUT);
	for (int i = 0; i < 9; i++)
		task_go(i);
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	PLAIN_EQ(tarn_pool_pids(u.pool, NULL, 0), 0);
	for (int i = 0; i < 9; i++) {
		OK(tarn_pool_result_get(r[i], 0, &values));
		tarn_pool_result_unref(r[i]);
	}
	user_close(&u);
}

PLAIN_TEST(q9_terminate_ends_everything_and_everybody_is_told)
{
	struct user u = user_open(&three);
	tarn_pool_result *r[9];
	const tarn_parcel *values;
	int pids[3];

	for (int i = 0; i < 9; i++)
		r[i] = task_begin(u.pool, i);
	PLAIN_WAIT_FOR(task_begun(0) && task_begun(1) && task_begun(2));
	PLAIN_EQ(tarn_pool_pids(u.pool, pids, 3), 3);
	OK(tarn_pool_terminate(u.pool));
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	for (int i = 0; i < 9; i++) {
		FAILS(tarn_pool_result_get(r[i], TARN_FOREVER, &values), TARN_EREMOTE);
		PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "CancelledError"));
		tarn_pool_result_unref(r[i]);
	}
	for (int i = 0; i < 3; i++)
		PLAIN_EQ(kill(pids[i], 0), -1);
	user_close(&u);
	/* One that is dropped without a word. */
	u = user_open(&three);
	r[0] = task_begin(u.pool, 50);
	u.pool = tarn_pool_unref(u.pool);
	PLAIN_CHECK(tarn_pool_result_ready(r[0]));
	tarn_pool_result_unref(r[0]);
	user_close(&u);
}

/* ---- references ---- */

TARN_WORKER(fill)
{
	tarn_object *m;
	tarn_block *b;
	double y;
	int r = tarn_worker_get(worker, "BO", &b, &m);

	if (r == 0)
		r = tarn_callf(m, "scale", TARN_FOREVER, "d", "d", 3.0, &y);
	if (r < 0)
		return r;
	memset(tarn_block_data(b), (int)y, tarn_block_size(b));
	return tarn_put_block(tarn_worker_result(worker), b);
}

PLAIN_TEST(q9_tasks_and_results_have_references)
{
	struct user u = user_open(&three);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_pool_result *r[20];
	tarn_block *b, *got;

	for (int i = 0; i < 20; i++) {
		tarn_builder args;

		OK(tarn_block_new(u.c, 1000, 0, &b));
		tarn_builder_init(&args);
		tarn_put(&args, "BO", b, m);
		OK(tarn_pool_apply_async(u.pool, "fill", &args, &r[i]));
		tarn_builder_fini(&args);
		tarn_block_unref(b);
	}
	tarn_object_unref(m);
	for (int i = 0; i < 20; i++) {
		const tarn_parcel *values;

		OK(tarn_pool_result_get(r[i], TARN_FOREVER, &values));
		OK(tarn_parcel_get(values, "B", &got));
		PLAIN_EQ(((char *)tarn_block_data(got))[999], 6);
		tarn_pool_result_unref(r[i]);
	}
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(q9_random_kills_lose_no_task_unsaid, 240)
{
	struct user u = user_open(&(tarn_pool_options){ .workers = 3, .retries = 2 });
	uint64_t state = 12345;
	tarn_pool_iterator *it;
	tarn_parcel items, p;
	int done = 0, lost = 0, r;

	task_numbers(&items, 600);
	OK(tarn_pool_imap_unordered(u.pool, "square", tarn_parcel_at(&items, 0), 0, &it));
	while ((r = tarn_pool_iterator_next(it, TARN_FOREVER, &p)) != -TARN_EOF) {
		if (r == 0) {
			done++;
			tarn_parcel_fini(&p);
		} else {
			PLAIN_EQ(r, -TARN_EREMOTE);
			lost++;
		}
		if (scene_random(&state) % 20 == 0) {
			int pids[3];
			unsigned n = tarn_pool_pids(u.pool, pids, 3);

			if (n > 0)
				kill(pids[scene_random(&state) % (n < 3 ? n : 3)], SIGKILL);
		}
	}
	PLAIN_EQ(done + lost, 600);
	scene_note("%d of 600 tasks done, %d lost", done, lost);
	tarn_pool_iterator_free(it);
	tarn_parcel_fini(&items);
	user_close(&u);
}

/* ---- Q10 ---- */

PLAIN_TEST(q10_cpus_are_those_that_this_process_may_use)
{
	cpu_set_t one, all;

	PLAIN_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	PLAIN_CHECK(tarn_cpu_count() >= 1 && (int)tarn_cpu_count() <= CPU_COUNT(&all));
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	PLAIN_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	PLAIN_EQ(tarn_cpu_count(), 1);
	/* What a cgroup's cpu.max says. */
	PLAIN_EQ(tarn__cpu_quota("max 100000\n"), 0);
	PLAIN_EQ(tarn__cpu_quota("100000 100000\n"), 1);
	PLAIN_EQ(tarn__cpu_quota("50000 100000\n"), 1);
	PLAIN_EQ(tarn__cpu_quota("250000 100000\n"), 3);
	PLAIN_EQ(tarn__cpu_quota(""), 0);
}

/* ---- U: runners ---- */

TARN_WORKER(run_open)
{
	struct state *s = calloc(1, sizeof *s);
	int r = tarn_worker_get(worker, "q", &s->base);

	*tarn_worker_data(worker) = s;
	return r == 0 && s->base < 0 ? tarn_worker_throw(worker, "RuntimeError", "cannot open") : r;
}
TARN_WORKER(run_call)
{
	struct state *s = *tarn_worker_data(worker);
	int64_t x;
	int r = tarn_worker_get(worker, "q", &x);

	if (r == 0 && x < 0)
		return tarn_worker_throw(worker, "ValueError", "%lld", (long long)x);
	return r < 0 ? r : tarn_put(tarn_worker_result(worker), "qq", s->base + x, ++s->n);
}
TARN_WORKER(run_close)
{
	struct state *s = *tarn_worker_data(worker);
	char path[300];

	snprintf(path, sizeof path, "%s/closed-%lld", getenv("TMPDIR"), (long long)s->n);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	return s->base == 13 ? tarn_worker_throw(worker, "RuntimeError", "cannot close") : 0;
}

static tarn_runner *runner(struct user *u, int64_t base)
{
	tarn_runner *r;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, base);
	OK(tarn_runner_new(u->c, &(tarn_runner_options){ .open = "run_open", .call = "run_call",
							 .close = "run_close", .args = &b }, &r));
	tarn_builder_fini(&b);
	return r;
}

static int runner_call(tarn_runner *r, int64_t x, int64_t *ret_y, int64_t *ret_n)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	tarn_put_int(&b, x);
	int code = tarn_runner_call(r, &b, TARN_FOREVER, &p);
	tarn_builder_fini(&b);
	if (code == 0) {
		OK(tarn_parcel_get(&p, "qq", ret_y, ret_n));
		tarn_parcel_fini(&p);
	}
	return code;
}

static bool closed_after(int64_t n)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof path, "%s/closed-%lld", plain_dir(), (long long)n);
	return stat(path, &st) == 0;
}

PLAIN_TEST(u1_a_runner_opens_once_is_called_often_and_closes_once)
{
	struct user u = user_open(NULL);
	tarn_runner *r = runner(&u, 5);
	int64_t y, n;

	FAILS(runner_call(r, 1, &y, &n), TARN_ESTATE);
	FAILS(tarn_runner_join(r, 0), TARN_ESTATE);
	OK(tarn_runner_start(r));
	FAILS(tarn_runner_start(r), TARN_ESTATE);
	OK(runner_call(r, 1, &y, &n));
	PLAIN_EQ(y, 6);
	OK(runner_call(r, 4, &y, &n));
	PLAIN_EQ(y, 9);
	for (int i = 0; i < 1000; i++) {
		OK(runner_call(r, i, &y, &n));
		PLAIN_CHECK(y == 5 + i && n == i + 3);
	}
	OK(tarn_runner_join(r, TARN_FOREVER));
	OK(tarn_runner_join(r, TARN_FOREVER));
	PLAIN_CHECK(closed_after(1002));
	FAILS(runner_call(r, 1, &y, &n), TARN_ESTATE);
	tarn_runner_unref(r);
	user_close(&u);
}

PLAIN_TEST(u4_calls_are_launched_and_their_results_taken_later)
{
	struct user u = user_open(NULL);
	tarn_runner *r = runner(&u, 5);
	tarn_builder b;
	tarn_parcel p;
	int64_t y, n;

	OK(tarn_runner_start(r));
	FAILS(tarn_runner_rejoin(r, 0, &p), TARN_ESTATE);
	for (int i = 0; i < 3; i++) {
		tarn_builder_init(&b);
		tarn_put_int(&b, i);
		OK(tarn_runner_restart(r, &b, TARN_FOREVER));
		tarn_builder_fini(&b);
	}
	for (int i = 0; i < 3; i++) {
		OK(tarn_runner_rejoin(r, TARN_FOREVER, &p));
		OK(tarn_parcel_get(&p, "qq", &y, &n));
		PLAIN_CHECK(y == 5 + i && n == i + 1);
		tarn_parcel_fini(&p);
	}
	FAILS(tarn_runner_rejoin(r, 0, &p), TARN_ESTATE);
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);
	user_close(&u);
}

PLAIN_TEST(u6_a_call_that_fails_leaves_the_runner_usable)
{
	struct user u = user_open(NULL);
	tarn_runner *r = runner(&u, 5);
	int64_t y, n;

	OK(tarn_runner_start(r));
	FAILS(runner_call(r, -3, &y, &n), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_CHECK(tarn_fault_frame_count(tarn_error_fault()) > 0);
	OK(runner_call(r, 3, &y, &n));
	PLAIN_CHECK(y == 8 && n == 1);
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);

	/* Open that fails, and close. */
	r = runner(&u, -1);
	FAILS(tarn_runner_start(r), TARN_EREMOTE);
	PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "cannot open") == 0);
	tarn_runner_unref(r);
	r = runner(&u, 13);
	OK(tarn_runner_start(r));
	FAILS(tarn_runner_join(r, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "cannot close") == 0);
	tarn_runner_unref(r);
	FAILS(tarn_runner_new(u.c, &(tarn_runner_options){ .open = "run_open" }, &r), EINVAL);
	FAILS(tarn_runner_new(u.c, &(tarn_runner_options){ .call = "nobody" }, &r), ENOENT);
	user_close(&u);
}

PLAIN_TEST(u3_join_waits_for_the_call_that_runs_or_its_time_is_over)
{
	struct user u = user_open(NULL);
	tarn_runner *r;
	tarn_builder b;

	OK(tarn_runner_new(u.c, &(tarn_runner_options){ .call = "begin_and_wait" }, &r));
	OK(tarn_runner_start(r));
	task_args(&b, 1);
	OK(tarn_runner_restart(r, &b, TARN_FOREVER));
	tarn_builder_fini(&b);
	PLAIN_WAIT_FOR(task_begun(1));
	FAILS(tarn_runner_join(r, 20000000), ETIMEDOUT);
	task_go(1);
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);
	/* One that is dropped as it is. */
	r = runner(&u, 1);
	OK(tarn_runner_start(r));
	tarn_runner_unref(r);
	r = runner(&u, 1);
	tarn_runner_unref(r);
	user_close(&u);
}

PLAIN_TEST(u11_a_runner_whose_process_is_killed_says_so_at_once)
{
	struct user u = user_open(NULL);
	tarn_runner *r;
	tarn_builder b;
	tarn_parcel p;

	OK(tarn_runner_new(u.c, &(tarn_runner_options){ .call = "begin_and_wait" }, &r));
	OK(tarn_runner_start(r));
	task_args(&b, 1);
	OK(tarn_runner_restart(r, &b, TARN_FOREVER));
	PLAIN_WAIT_FOR(task_begun(1));
	kill(tarn_process_pid(tarn_runner_process(r)), SIGKILL);
	uint64_t before = scene_now();
	FAILS(tarn_runner_rejoin(r, TARN_FOREVER, &p), EPIPE);
	scene_note("told after %llu us", (unsigned long long)((scene_now() - before) / 1000));
	PLAIN_CHECK(strstr(tarn_error_last()->message, "SIGKILL") != NULL);
	FAILS(tarn_runner_rejoin(r, TARN_FOREVER, &p), EPIPE);
	FAILS(tarn_runner_call(r, &b, TARN_FOREVER, &p), EPIPE);
	FAILS(tarn_runner_join(r, TARN_FOREVER), EPIPE);
	tarn_builder_fini(&b);
	tarn_runner_unref(r);
	user_close(&u);
}

TARN_WORKER(wait_and_tell)
{
	const char *go_on;
	int64_t x;
	int r = tarn_worker_get(worker, "sq", &go_on, &x);

	while (r == 0 && !task_file_is_there(go_on))
		usleep(1000);
	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), x);
}

static void tell_args(tarn_builder *ret, int64_t x)
{
	char go_on[200];

	task_path(go_on, "go", 1);
	tarn_builder_init(ret);
	OK(tarn_put(ret, "sq", go_on, x));
}

static int call_in_time(tarn_runner *r, int64_t x, int64_t timeout_ns, int64_t *ret)
{
	tarn_builder b;
	tarn_parcel p;

	tell_args(&b, x);
	int code = tarn_runner_call(r, &b, timeout_ns, &p);
	tarn_builder_fini(&b);
	if (code == 0) {
		OK(tarn_parcel_get(&p, "q", ret));
		tarn_parcel_fini(&p);
	}
	return code;
}

/* Its result came to the next call, and the next one's to the one after that, for ever. */
PLAIN_TEST(a_runners_call_whose_time_is_over_answers_no_later_one)
{
	struct user u = user_open(NULL);
	tarn_runner *r;
	tarn_builder b;
	tarn_parcel p;
	int64_t x = 0;

	OK(tarn_runner_new(u.c, &(tarn_runner_options){ .call = "wait_and_tell" }, &r));
	OK(tarn_runner_start(r));
	FAILS(call_in_time(r, 1, 1000000, &x), ETIMEDOUT);
	FAILS(call_in_time(r, 2, 1000000, &x), ETIMEDOUT);
	FAILS(tarn_runner_rejoin(r, TARN_FOREVER, &p), TARN_ESTATE);
	/* What was posted to be taken later is. */
	tell_args(&b, 3);
	OK(tarn_runner_restart(r, &b, TARN_FOREVER));
	tarn_builder_fini(&b);
	FAILS(tarn_runner_rejoin(r, 0, &p), EAGAIN);
	FAILS(tarn_runner_rejoin(r, 1000000, &p), ETIMEDOUT);
	FAILS(call_in_time(r, 4, 1000000, &x), ETIMEDOUT);
	task_go(1);
	OK(tarn_runner_rejoin(r, TARN_FOREVER, &p));
	OK(tarn_parcel_get(&p, "q", &x));
	PLAIN_EQ(x, 3);
	tarn_parcel_fini(&p);
	FAILS(tarn_runner_rejoin(r, TARN_FOREVER, &p), TARN_ESTATE);
	for (int64_t i = 5; i < 200; i++) {
		OK(call_in_time(r, i, TARN_FOREVER, &x));
		PLAIN_EQ(x, i);
	}
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);
	user_close(&u);
}

/* ---- handlers of records that are slow ---- */

TARN_WORKER(say_and_die)
{
	(void)worker;
	tarn_log(TARN_LOG_ERROR, "it", "last words");
	kill(getpid(), SIGKILL);
	return 0;
}

static void wait_to_be_told(void *arg, const tarn_log_record *record)
{
	uint32_t *step = arg;

	(void)record;
	scene_say(step, 1);
	scene_await(step, 2);
}

/* It was waited for until all that it had said was handled: for ever, where the handler waited for who waited. */
PLAIN_TEST(a_dead_worker_is_told_of_though_its_records_are_not_handled_yet)
{
	struct user u = user_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	const tarn_log_handler slow = { .sink = wait_to_be_told, .arg = step };
	tarn_pool_result *result;
	const tarn_parcel *values;

	OK(tarn_pool_new(u.c, &(tarn_pool_options){ .workers = 1, .log = &slow }, &u.pool));
	OK(tarn_pool_apply_async(u.pool, "say_and_die", NULL, &result));
	scene_await(step, 1);
	FAILS(tarn_pool_result_get(result, TARN_FOREVER, &values), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "WorkerLost"));
	PLAIN_CHECKF(strstr(tarn_fault_message(tarn_error_fault()), "SIGKILL") != NULL, "%s",
		     tarn_fault_message(tarn_error_fault()));
	tarn_pool_result_unref(result);
	OK(tarn_pool_terminate(u.pool));
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	scene_say(step, 2);
	u.pool = tarn_pool_unref(u.pool);
	user_close(&u);
}

/* ---- sizes, forks ---- */

/* It became none, with a result of no elements. */
PLAIN_TEST(a_map_in_one_chunk_however_large_is_one_task)
{
	struct user u = user_open(&three);
	tarn_parcel list;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put(&b, "[iii]", 1, 2, 3);
	tarn_parcel items;
	OK(tarn_parcel_from(&b, &items));
	tarn_builder_fini(&b);
	for (size_t less = 0; less < 5; less++) {
		OK(tarn_pool_map(u.pool, "square", tarn_parcel_at(&items, 0), SIZE_MAX - less, TARN_FOREVER, &list));
		PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 3);
		tarn_parcel_fini(&list);
	}
	tarn_parcel_fini(&items);
	user_close(&u);
}

static uint32_t looks; /* 0: no more; by the test */

static void *look_on_and_on(void *arg)
{
	int pids[3];

	while (__atomic_load_n(&looks, __ATOMIC_RELAXED) != 0)
		tarn_pool_pids(arg, pids, 3);
	return NULL;
}

/* Its threads are not there, and their locks are as they were at some moment. */
PLAIN_TEST(a_forked_child_waits_for_nothing_of_its_parents_pool)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	struct user u = user_open(&three);
	tarn_pool_result *r = task_begin(u.pool, 1);
	const tarn_parcel *values;
	pthread_t thread;
	int pids[3];

	__atomic_store_n(&looks, 1, __ATOMIC_RELAXED);
	PLAIN_EQ(pthread_create(&thread, NULL, look_on_and_on, u.pool), 0);
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = plain_fork();

		if (pid == 0) {
			PLAIN_EQ(tarn_pool_pids(u.pool, pids, 3), 0);
			PLAIN_CHECK(!tarn_pool_result_ready(r));
			FAILS(tarn_pool_result_wait(r, TARN_FOREVER), TARN_EFORKED);
			FAILS(tarn_pool_result_get(r, TARN_FOREVER, &values), TARN_EFORKED);
			PLAIN_CHECKF(strstr(tarn_error_last()->message, "a result of the process that this one was forked from") !=
				     NULL, "%s", tarn_error_last()->message);
			tarn_pool_result_unref(r);
			tarn_pool_unref(u.pool);
			_exit(0);
		}
		PLAIN_EQ(plain_reap(pid), 0);
	}
	__atomic_store_n(&looks, 0, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	task_go(1);
	OK(tarn_pool_result_wait(r, TARN_FOREVER));
	tarn_pool_result_unref(r);
	user_close(&u);
}

static void *call_it(void *arg)
{
	tarn_builder args;

	task_args(&args, 2);
	OK(tarn_runner_call(arg, &args, TARN_FOREVER, NULL));
	tarn_builder_fini(&args);
	return NULL;
}

/* Whoever calls has it locked. */
PLAIN_TEST(a_forked_child_waits_for_no_runner_of_its_parents)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	struct user u = user_open(NULL);
	tarn_runner *r;
	pthread_t thread;

	OK(tarn_runner_new(u.c, &(tarn_runner_options){ .call = "begin_and_wait" }, &r));
	OK(tarn_runner_start(r));
	PLAIN_EQ(pthread_create(&thread, NULL, call_it, r), 0);
	PLAIN_WAIT_FOR(task_begun(2));
	pid_t pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_runner_call(r, NULL, TARN_FOREVER, NULL), TARN_EFORKED);
		FAILS(tarn_runner_rejoin(r, TARN_FOREVER, NULL), TARN_EFORKED);
		FAILS(tarn_runner_join(r, TARN_FOREVER), TARN_EFORKED);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "is of the process that this one was forked from") != NULL,
			     "%s", tarn_error_last()->message);
		tarn_runner_unref(r);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	task_go(2);
	pthread_join(thread, NULL);
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);
	user_close(&u);
}

static int run_until_told(struct tarn_worker *worker)
{
	while (tarn_worker_check(worker) == 0)
		usleep(1000);
	return tarn_error_last()->code;
}

static int run_no_more(struct tarn_worker *worker)
{
	return tarn_put_int(tarn_worker_result(worker), 3);
}

static int run_away(struct tarn_worker *worker)
{
	(void)worker;
	pthread_exit(NULL);
}

PLAIN_TEST(a_thread_that_leaves_by_pthread_exit_has_failed)
{
	tarn_thread *t;
	const tarn_fault *fault = NULL;

	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = run_away, .name = "runaway" }, &t));
	FAILS(tarn_thread_join(t, TARN_FOREVER), TARN_EREMOTE);
	OK(tarn_thread_exception(t, 0, &fault));
	PLAIN_CHECK(tarn_fault_is(fault, "SystemExit"));
	PLAIN_CHECKF(strstr(tarn_fault_message(fault), "runaway") != NULL, "%s", tarn_fault_message(fault));
	tarn_thread_unref(t);
}

PLAIN_TEST(a_forked_child_waits_for_no_thread_of_its_parents)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	tarn_thread *runs, *ended;

	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = run_until_told }, &runs));
	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = run_no_more }, &ended));
	PLAIN_WAIT_FOR(tarn_thread_done(ended));
	pid_t pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_thread_join(runs, TARN_FOREVER), TARN_EFORKED);
		FAILS(tarn_thread_join(ended, TARN_FOREVER), TARN_EFORKED);
		FAILS(tarn_thread_terminate(runs), TARN_EFORKED);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "is of the process that this one was forked from") != NULL,
			     "%s", tarn_error_last()->message);
		const tarn_waitable it = { .kind = TARN_WAITABLE_THREAD, .of.thread = runs };
		FAILS(tarn_wait(&it, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), TARN_EFORKED);
		PLAIN_CHECK(!tarn_thread_done(runs) && tarn_thread_done(ended));
		tarn_thread_unref(runs);
		tarn_thread_unref(ended);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_thread_terminate(runs));
	OK(tarn_thread_join(runs, TARN_FOREVER));
	OK(tarn_thread_join(ended, TARN_FOREVER));
	tarn_thread_unref(runs);
	tarn_thread_unref(ended);
}

PLAIN_MAIN()
