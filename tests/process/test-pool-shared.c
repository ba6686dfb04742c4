/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools as managed objects (FEATURES T14): processes that did not make a pool use it by its object, and
 * whoever dies, a worker, one who asks, or the pool's maker, nobody waits for it.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/pool.h"
#include "lib/types/types.h"
#include "shm/queue.h"
#include "tests/common/arena.h"
#include "tests/common/tasks.h"
#include "tests/common/types.h"

/* A proxy is a thread, and ThreadSanitizer knows none in a forked child of a process that has threads; there the
 * address sanitizer's allocator may wait for a thread that the child does not have. Without these tests they
 * still see proxies in the process that has the pool. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(WITH_TSAN)
#define FORKS 0
#else
#define FORKS (!ARENA_ASAN)
#endif
#define NEEDS_FORK() \
	do { \
		if (!FORKS) \
			PLAIN_SKIP("%s", "a forked child of a process with threads starts a thread"); \
	} while (0)

/* ---- tasks ---- */

TARN_WORKER(two_things)
{
	return tarn_put(tarn_worker_result(worker), "is", getpid(), "two");
}

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
	return tarn_put(tarn_worker_result(worker), "BO", b, m);
}

/* ---- who is there ---- */

struct user {
	struct scene s;
	tarn_client *c;
	tarn_pool *pool;
	tarn_object *object;
};

/* The test's own process makes a pool and shares it as "pool". */
static struct user user_open(const tarn_pool_options *options)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	OK(tarn_pool_new(u.c, options, &u.pool));
	OK(tarn_pool_share(u.pool, &u.object));
	OK(tarn_object_publish(u.object, "pool", 0));
	return u;
}
static void user_close(struct user *u)
{
	OK(tarn_pool_close(u->pool));
	OK(tarn_pool_join(u->pool, TARN_FOREVER));
	tarn_pool_unref(u->pool);
	tarn_object_unref(u->object);
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* The pool of another process. */
static tarn_pool *find(const struct scene *s, tarn_client **ret_client)
{
	tarn_pool *pool;
	tarn_object *o;

	*ret_client = scene_client(s);
	OK(tarn_object_lookup(*ret_client, "pool", TARN_FOREVER, &o));
	OK(tarn_pool_open(o, &pool));
	tarn_object_unref(o);
	return pool;
}
static void leave(tarn_pool *pool, tarn_client *c)
{
	tarn_pool_unref(pool);
	tarn_client_close(c);
	_exit(0);
}

/* A process that makes a pool; the test kills it. */
static pid_t maker(const struct scene *s, const tarn_pool_options *options)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(s);
		tarn_object *o;
		tarn_pool *p;

		OK(tarn_pool_new(c, options, &p));
		OK(tarn_pool_share(p, &o));
		OK(tarn_object_publish(o, "pool", 0));
		for (;;)
			pause();
	}
	return pid;
}

static int apply(tarn_pool *pool, const char *entry, int64_t x, int64_t *ret)
{
	tarn_builder b;
	tarn_parcel p;
	int r;

	tarn_builder_init(&b);
	tarn_put_int(&b, x);
	r = tarn_pool_apply(pool, entry, &b, TARN_FOREVER, &p);
	tarn_builder_fini(&b);
	if (r == 0) {
		OK(tarn_parcel_get(&p, "q", ret));
		tarn_parcel_fini(&p);
	}
	return r;
}

/* Fails with this domain. */
static void check_failed(tarn_pool_result *r, const char *domain)
{
	const tarn_parcel *values;

	FAILS(tarn_pool_result_get(r, TARN_FOREVER, &values), TARN_EREMOTE);
	PLAIN_CHECKF(tarn_fault_is(tarn_error_fault(), domain), "%s",
		     tarn_fault_message(tarn_error_fault()));
	tarn_pool_result_unref(r);
}

static const tarn_pool_options three = { .workers = 3 };

/* ---- what a proxy can do ---- */

static void calls(tarn_pool *pool)
{
	int64_t y, pid;
	int pids[8];
	unsigned n;
	bool known = false;
	tarn_parcel p;

	OK(apply(pool, "square", 5, &y));
	PLAIN_EQ(y, 25);
	FAILS(apply(pool, "square", -5, &y), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_CHECK(tarn_fault_frame_count(tarn_error_fault()) > 0);
	FAILS(apply(pool, "no_such_thing", 1, &y), TARN_EREMOTE);
	PLAIN_CHECK(strstr(tarn_fault_message(tarn_error_fault()), "no_such_thing") != NULL);
	FAILS(tarn_pool_apply(pool, NULL, NULL, TARN_FOREVER, &p), ENOENT);
	OK(tarn_pool_apply(pool, "two_things", NULL, TARN_FOREVER, &p));
	PLAIN_EQ(tarn_parcel_count(&p), 2);
	OK(tarn_value_int(tarn_parcel_at(&p, 0), &pid));
	tarn_parcel_fini(&p);
	n = tarn_pool_pids(pool, pids, 8);
	PLAIN_CHECK(n >= 1 && n <= 3);
	for (unsigned i = 0; i < n; i++)
		known = known || pids[i] == pid;
	PLAIN_CHECK(known && pid != getpid() && pid != getppid());
}

static void maps(tarn_pool *pool)
{
	const size_t chunks[] = { 0, 1, 7, 5000 };
	const tarn_parcel *values;
	tarn_pool_result *r;
	tarn_parcel items, list;
	tarn_builder b;
	char text[64];
	int64_t y;

	task_numbers(&items, 1000);
	for (size_t k = 0; k < 4; k++) {
		OK(tarn_pool_map(pool, "square", tarn_parcel_at(&items, 0), chunks[k], TARN_FOREVER,
				 &list));
		PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 1000);
		for (size_t i = 0; i < 1000; i++) {
			OK(tarn_value_int(tarn_value_at(tarn_parcel_at(&list, 0), i), &y));
			PLAIN_EQ(y, i * i);
		}
		tarn_parcel_fini(&list);
	}
	tarn_parcel_fini(&items);
	tarn_builder_init(&b);
	tarn_put(&b, "[[ii][ii][ii]]", 1, 2, 3, 4, 5, 6);
	OK(tarn_parcel_from(&b, &items));
	tarn_builder_fini(&b);
	OK(tarn_pool_starmap(pool, "add", tarn_parcel_at(&items, 0), 0, TARN_FOREVER, &list));
	PLAIN_CHECK(tarn_parcel_format(&list, text, sizeof text) > 0);
	PLAIN_CHECKF(strcmp(text, "[3, 7, 11]") == 0, "%s", text);
	tarn_parcel_fini(&list);
	OK(tarn_pool_starmap_async(pool, "add", tarn_parcel_at(&items, 0), 2, &r));
	tarn_parcel_fini(&items);
	OK(tarn_pool_result_get(r, TARN_FOREVER, &values));
	PLAIN_CHECK(tarn_pool_result_ready(r));
	PLAIN_EQ(tarn_pool_result_successful(r), 1);
	tarn_pool_result_unref(r);
}

static void iterators(tarn_pool *pool)
{
	tarn_pool_iterator *it;
	tarn_parcel items, p;
	bool seen[50] = { 0 };
	int64_t y;
	int n = 0;

	task_numbers(&items, 50);
	OK(tarn_pool_imap(pool, "square", tarn_parcel_at(&items, 0), 3, &it));
	for (; tarn_pool_iterator_next(it, TARN_FOREVER, &p) == 0; n++) {
		OK(tarn_parcel_get(&p, "q", &y));
		PLAIN_EQ(y, n * n);
		tarn_parcel_fini(&p);
	}
	PLAIN_EQ(n, 50);
	tarn_pool_iterator_free(it);
	OK(tarn_pool_imap_unordered(pool, "square", tarn_parcel_at(&items, 0), 0, &it));
	for (n = 0; tarn_pool_iterator_next(it, TARN_FOREVER, &p) == 0; n++) {
		OK(tarn_parcel_get(&p, "q", &y));
		for (int i = 0; i < 50; i++)
			if (i * i == y) {
				PLAIN_CHECK(!seen[i]);
				seen[i] = true;
			}
		tarn_parcel_fini(&p);
	}
	PLAIN_EQ(n, 50);
	tarn_pool_iterator_free(it);
	tarn_parcel_fini(&items);
}

PLAIN_TEST(t14_another_process_does_with_a_pool_what_its_maker_can)
{
	NEEDS_FORK();
	struct user u = user_open(&three);
	pid_t pid[2];
	int64_t y;

	for (int k = 0; k < 2; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_client *c;
			tarn_pool *pool = find(&u.s, &c);

			calls(pool);
			maps(pool);
			iterators(pool);
			leave(pool, c);
		}
	}
	for (int i = 0; i < 100; i++) { /* its maker meanwhile */
		OK(apply(u.pool, "square", i, &y));
		PLAIN_EQ(y, i * i);
	}
	PLAIN_EQ(plain_reap(pid[0]), 0);
	PLAIN_EQ(plain_reap(pid[1]), 0);
	user_close(&u);
}

PLAIN_TEST(t14_tasks_and_results_of_a_proxy_have_references)
{
	NEEDS_FORK();
	struct user u = user_open(&three);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_pool *pool = find(&u.s, &c);
		tarn_object *m = NEW(c, "Magnifier", "d", 2.0), *same;
		tarn_pool_result *r[20];
		tarn_block *b, *got;

		for (int i = 0; i < 20; i++) {
			tarn_builder args;

			OK(tarn_block_new(c, 1000, 0, &b));
			tarn_builder_init(&args);
			tarn_put(&args, "BO", b, m);
			OK(tarn_pool_apply_async(pool, "fill", &args, &r[i]));
			tarn_builder_fini(&args);
			tarn_block_unref(b);
		}
		for (int i = 0; i < 20; i++) {
			const tarn_parcel *values;

			OK(tarn_pool_result_get(r[i], TARN_FOREVER, &values));
			OK(tarn_parcel_get(values, "BO", &got, &same));
			PLAIN_EQ(((char *)tarn_block_data(got))[999], 6);
			PLAIN_CHECK(tarn_object_same(m, same));
			tarn_pool_result_unref(r[i]);
		}
		tarn_object_unref(m);
		leave(pool, c);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	user_close(&u);
}

PLAIN_TEST(t14_a_pool_is_one_object_and_other_objects_are_no_pools)
{
	struct user u = user_open(&three);
	tarn_object *again, *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_pool *proxy, *none;
	tarn_parcel p;
	char text[100];
	int64_t y;

	OK(tarn_pool_share(u.pool, &again));
	PLAIN_CHECK(tarn_object_same(u.object, again));
	tarn_object_unref(again);
	FAILS(tarn_pool_open(m, &none), TARN_EKIND);
	/* A proxy of its own maker, shared once more. */
	OK(tarn_pool_open(u.object, &proxy));
	OK(tarn_pool_share(proxy, &again));
	PLAIN_CHECK(tarn_object_same(u.object, again));
	tarn_object_unref(again);
	OK(apply(proxy, "square", 9, &y));
	PLAIN_EQ(y, 81);
	PLAIN_CHECK(tarn_object_describe(u.object, text, sizeof text, TARN_FOREVER) > 0);
	PLAIN_CHECKF(strstr(text, "of 3 workers are up") != NULL, "%s", text);
	/* A forked child has neither. */
	pid_t pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_pool_apply(u.pool, "square", NULL, 0, &p), TARN_EFORKED);
		FAILS(tarn_pool_apply(proxy, "square", NULL, 0, &p), TARN_EFORKED);
		FAILS(tarn_pool_close(proxy), TARN_EFORKED);
		tarn_pool_unref(proxy);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_pool_unref(proxy);
	OK(tarn_pool_new(u.c, &three, &none));
	OK(tarn_pool_close(none));
	FAILS(tarn_pool_share(none, &again), TARN_ESTATE);
	tarn_pool_unref(none);
	tarn_object_unref(m);
	user_close(&u);
}

/* ---- the end ---- */

PLAIN_TEST(t14_whoever_closes_a_pool_closes_it_for_all)
{
	struct user u = user_open(&three);
	tarn_pool_result *mine[4], *theirs[4];
	const tarn_parcel *values;
	tarn_pool *proxy;
	int64_t y;

	OK(tarn_pool_open(u.object, &proxy));
	FAILS(tarn_pool_join(proxy, 0), TARN_ESTATE);
	for (int i = 0; i < 4; i++) {
		mine[i] = task_begin(u.pool, i);
		theirs[i] = task_begin(proxy, 10 + i);
	}
	OK(tarn_pool_close(proxy));
	OK(tarn_pool_close(proxy));
	FAILS(apply(proxy, "square", 1, &y), TARN_ESTATE);
	FAILS(apply(u.pool, "square", 1, &y), TARN_ESTATE);
	FAILS(tarn_pool_join(proxy, 10000000), ETIMEDOUT);
	FAILS(tarn_pool_join(u.pool, 10000000), ETIMEDOUT);
	for (int i = 0; i < 4; i++) {
		task_go(i);
		task_go(10 + i);
	}
	OK(tarn_pool_join(proxy, TARN_FOREVER));
	OK(tarn_pool_join(proxy, TARN_FOREVER));
	for (int i = 0; i < 4; i++) {
		OK(tarn_pool_result_get(theirs[i], 0, &values)); /* what there was is done */
		tarn_pool_result_unref(theirs[i]);
	}
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	for (int i = 0; i < 4; i++) {
		OK(tarn_pool_result_get(mine[i], 0, &values));
		tarn_pool_result_unref(mine[i]);
	}
	PLAIN_EQ(tarn_pool_pids(proxy, NULL, 0), 0);
	FAILS(apply(proxy, "square", 1, &y), TARN_ESTATE);
	tarn_pool_unref(proxy);
	user_close(&u);
}

/* By a proxy, or by its maker; at once, or when it was closed already. */
static void terminated(bool by_proxy, bool closed)
{
	struct user u = user_open(&three);
	tarn_pool_result *mine[4], *theirs[4];
	tarn_pool *proxy;
	int64_t y;

	OK(tarn_pool_open(u.object, &proxy));
	for (int i = 0; i < 4; i++) {
		mine[i] = task_begin(u.pool, i);
		theirs[i] = task_begin(proxy, 10 + i);
	}
	PLAIN_WAIT_FOR(task_begun(0) || task_begun(10));
	if (closed) {
		OK(tarn_pool_close(proxy));
		FAILS(tarn_pool_join(u.pool, 10000000), ETIMEDOUT);
	}
	OK(tarn_pool_terminate(by_proxy ? proxy : u.pool));
	OK(tarn_pool_join(proxy, TARN_FOREVER));
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	for (int i = 0; i < 4; i++) {
		PLAIN_CHECK(tarn_pool_result_ready(mine[i]) && tarn_pool_result_ready(theirs[i]));
		check_failed(mine[i], "CancelledError");
		check_failed(theirs[i], "CancelledError");
	}
	FAILS(apply(proxy, "square", 1, &y), TARN_ESTATE);
	tarn_pool_unref(proxy);
	user_close(&u);
}
PLAIN_TEST(t14_a_proxy_that_terminates_ends_everything_and_all_are_told) { terminated(true, false); }
PLAIN_TEST(t14_a_pool_that_its_maker_terminates_ends_for_its_proxies) { terminated(false, false); }
PLAIN_TEST(t14_a_pool_that_was_closed_can_be_terminated_by_a_proxy) { terminated(true, true); }

PLAIN_TEST(t14_a_maker_that_drops_its_pool_ends_it_for_its_proxies)
{
	struct user u = user_open(&three);
	tarn_pool_result *r[5];
	tarn_pool *proxy;

	OK(tarn_pool_open(u.object, &proxy));
	for (int i = 0; i < 5; i++)
		r[i] = task_begin(proxy, i);
	tarn_pool_unref(u.pool);
	OK(tarn_pool_join(proxy, TARN_FOREVER));
	for (int i = 0; i < 5; i++)
		check_failed(r[i], "CancelledError");
	tarn_pool_unref(proxy);
	tarn_object_unref(u.object);
	tarn_client_close(u.c);
	scene_close(&u.s);
}

PLAIN_TEST(t14_a_proxy_that_is_dropped_leaves_the_pool_as_it_is)
{
	struct user u = user_open(&three);
	tarn_pool_result *r;
	tarn_pool *proxy;
	int64_t y;

	OK(tarn_pool_open(u.object, &proxy));
	r = task_begin(proxy, 1);
	PLAIN_WAIT_FOR(task_begun(1));
	tarn_pool_unref(proxy);
	PLAIN_CHECK(tarn_pool_result_ready(r));
	check_failed(r, "CancelledError");
	task_go(1);
	OK(apply(u.pool, "square", 3, &y));
	PLAIN_EQ(y, 9);
	user_close(&u);
}

/* ---- deaths ---- */

PLAIN_TEST(t14_a_worker_killed_in_a_task_is_told_to_whoever_asked)
{
	struct user u = user_open(&three);
	tarn_pool_result *r, *other;
	const tarn_parcel *values;
	tarn_pool *proxy;
	int64_t y;

	OK(tarn_pool_open(u.object, &proxy));
	r = task_begin(proxy, 1);
	other = task_begin(proxy, 2);
	kill(task_pid(1), SIGKILL);
	FAILS(tarn_pool_result_get(r, TARN_FOREVER, &values), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "WorkerLost"));
	PLAIN_CHECK(tarn_fault_is(tarn_fault_cause(tarn_error_fault()), "Signal"));
	PLAIN_CHECK(strstr(tarn_fault_message(tarn_error_fault()), "begin_and_wait") != NULL);
	task_go(2);
	OK(tarn_pool_result_get(other, TARN_FOREVER, &values));
	for (int i = 0; i < 20; i++) {
		OK(apply(proxy, "square", i, &y));
		PLAIN_EQ(y, i * i);
	}
	tarn_pool_result_unref(r);
	tarn_pool_result_unref(other);
	tarn_pool_unref(proxy);
	user_close(&u);
}

PLAIN_TEST(t14_a_proxys_task_whose_worker_died_is_tried_again_if_that_is_allowed)
{
	struct user u = user_open(&(tarn_pool_options){ .workers = 1, .retries = 1 });
	tarn_pool *proxy;
	tarn_builder b;
	tarn_parcel p;
	char path[200];

	OK(tarn_pool_open(u.object, &proxy));
	task_path(path, "died", 1);
	tarn_builder_init(&b);
	tarn_put_string(&b, path);
	OK(tarn_pool_apply(proxy, "die_once", &b, TARN_FOREVER, &p));
	PLAIN_CHECK(task_file_is_there(path));
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	tarn_pool_unref(proxy);
	user_close(&u);
}

PLAIN_TEST(t14_the_death_of_a_pools_maker_is_told_to_all_who_wait)
{
	struct scene s = scene_open(NULL);
	pid_t killed = maker(&s, &three);
	tarn_pool_result *r[10];
	tarn_client *c;
	tarn_pool *proxy = find(&s, &c);
	tarn_object *o;
	char text[100];
	int64_t y;

	OK(apply(proxy, "square", 4, &y));
	for (int i = 0; i < 10; i++)
		r[i] = task_begin(proxy, i);
	PLAIN_WAIT_FOR(task_begun(0) && task_begun(1) && task_begun(2));
	plain_kill(killed);
	for (int i = 0; i < 10; i++)
		check_failed(r[i], "PoolLost");
	FAILS(apply(proxy, "square", 4, &y), EPIPE);
	FAILS(tarn_pool_join(proxy, TARN_FOREVER), EPIPE);
	OK(tarn_pool_share(proxy, &o));
	PLAIN_CHECK(tarn_object_describe(o, text, sizeof text, TARN_FOREVER) > 0);
	PLAIN_CHECKF(strstr(text, "died") != NULL, "%s", text);
	tarn_pool_unref(proxy);
	/* Who comes when it is dead already. */
	OK(tarn_pool_open(o, &proxy));
	int code = apply(proxy, "square", 4, &y);
	PLAIN_CHECKF(code == -EPIPE || code == -TARN_EREMOTE, "%d", code);
	FAILS(tarn_pool_join(proxy, TARN_FOREVER), EPIPE);
	tarn_pool_unref(proxy);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t14_the_death_of_one_who_asked_costs_others_nothing)
{
	NEEDS_FORK();
	struct user u = user_open(&three);
	uint32_t *step = scene_shared(sizeof *step);
	tarn_pool *proxy;
	tarn_parcel items, list;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_pool *mine = find(&u.s, &c);
		tarn_pool_result *r;

		task_begin(mine, 1);
		task_begin(mine, 2);
		task_numbers(&items, 200);
		OK(tarn_pool_map_async(mine, "square", tarn_parcel_at(&items, 0), 1, &r));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	plain_kill(pid);
	task_go(1);
	task_go(2);
	OK(tarn_pool_open(u.object, &proxy));
	task_numbers(&items, 100);
	OK(tarn_pool_map(proxy, "square", tarn_parcel_at(&items, 0), 1, TARN_FOREVER, &list));
	PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 100);
	tarn_parcel_fini(&list);
	tarn_parcel_fini(&items);
	tarn_pool_unref(proxy);
	user_close(&u);
}

/* Asks for 60 squares again and again; each is told, as a result or as what became of it. */
static void ask(const struct scene *s, uint32_t *rounds, const uint32_t *stop)
{
	tarn_client *c;
	tarn_pool *pool = find(s, &c);
	tarn_parcel items, p;

	task_numbers(&items, 60);
	while (!__atomic_load_n(stop, __ATOMIC_SEQ_CST)) {
		tarn_pool_iterator *it;
		int told = 0, r;

		OK(tarn_pool_imap_unordered(pool, "square", tarn_parcel_at(&items, 0), 0, &it));
		for (; (r = tarn_pool_iterator_next(it, TARN_FOREVER, &p)) != -TARN_EOF; told++) {
			if (r == 0)
				tarn_parcel_fini(&p);
			else
				PLAIN_EQ(r, -TARN_EREMOTE);
		}
		PLAIN_EQ(told, 60);
		tarn_pool_iterator_free(it);
		__atomic_fetch_add(rounds, 1, __ATOMIC_SEQ_CST);
	}
	tarn_parcel_fini(&items);
	leave(pool, c);
}

PLAIN_TEST_TIMEOUT(t14_random_deaths_around_a_pool_leave_nobody_waiting, 240)
{
	NEEDS_FORK();
	struct user u = user_open(&(tarn_pool_options){ .workers = 3, .retries = 1 });
	uint32_t *rounds = scene_shared(sizeof *rounds), *stop = scene_shared(sizeof *stop);
	uint64_t state = 4711;
	unsigned askers = 0, workers = 0;
	pid_t pid[3];
	int64_t y;

	for (int k = 0; k < 3; k++)
		if ((pid[k] = plain_fork()) == 0)
			ask(&u.s, rounds, stop);
	for (int i = 0; i < 40; i++) {
		const uint32_t before = __atomic_load_n(rounds, __ATOMIC_SEQ_CST);
		int pids[3], k = (int)(scene_random(&state) % 3);
		unsigned n;

		if (scene_random(&state) % 2 == 0) {
			plain_kill(pid[k]);
			askers++;
			if ((pid[k] = plain_fork()) == 0)
				ask(&u.s, rounds, stop);
		} else if ((n = tarn_pool_pids(u.pool, pids, 3)) > 0) {
			kill(pids[scene_random(&state) % n], SIGKILL);
			workers++;
		}
		PLAIN_WAIT_FOR(__atomic_load_n(rounds, __ATOMIC_SEQ_CST) != before);
	}
	__atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
	for (int k = 0; k < 3; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	OK(apply(u.pool, "square", 7, &y));
	scene_note("%u of those who ask and %u workers killed, %u rounds", askers, workers,
		   __atomic_load_n(rounds, __ATOMIC_SEQ_CST));
	user_close(&u);
}

PLAIN_TEST(t14_a_shared_pool_outlives_its_server)
{
	const tarn_server_options kept = { .keep = true, .arena_bytes = 64u << 20 };
	struct user u = { .s = scene_open(&kept) };
	tarn_pool_result *r[6];
	const tarn_parcel *values;
	tarn_pool *proxy;
	pid_t killed;
	int64_t y;

	u.c = scene_client(&u.s);
	OK(tarn_pool_new(u.c, &three, &u.pool));
	OK(tarn_pool_share(u.pool, &u.object));
	OK(tarn_pool_open(u.object, &proxy));
	OK(apply(proxy, "square", 1, &y));
	for (int i = 0; i < 6; i++)
		r[i] = task_begin(proxy, i);
	PLAIN_WAIT_FOR(task_begun(0) && task_begun(1) && task_begun(2));
	killed = (pid_t)tarn_client_server_pid(u.c);
	PLAIN_EQ(kill(killed, SIGKILL), 0);
	PLAIN_WAIT_FOR((pid_t)tarn_client_server_pid(u.c) != killed);
	for (int i = 0; i < 6; i++)
		task_go(i);
	for (int i = 0; i < 6; i++) {
		OK(tarn_pool_result_get(r[i], TARN_FOREVER, &values));
		tarn_pool_result_unref(r[i]);
	}
	for (int i = 0; i < 20; i++) {
		OK(apply(proxy, "square", i, &y));
		PLAIN_EQ(y, i * i);
	}
	OK(tarn_pool_close(proxy));
	OK(tarn_pool_join(proxy, TARN_FOREVER));
	tarn_pool_unref(proxy);
	user_close(&u);
}

/* ---- lies ---- */

static tarn_object *tasks_of(tarn_object *pool)
{
	tarn_object *queue;
	tarn_parcel p;

	OK(tarn_call(pool, "parts", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &queue));
	tarn_object_ref(queue);
	tarn_parcel_fini(&p);
	return queue;
}

PLAIN_TEST(t14_what_is_no_task_harms_neither_pool_nor_workers)
{
	struct user u = user_open(&three);
	tarn_object *tasks = tasks_of(u.object), *answers, *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_pool *proxy;
	tarn_pool_result *up[3];
	tarn_parcel p;
	tarn_block *b;
	tarn_value v;
	uint64_t tag;
	int before[3], after[3];
	int64_t y;

	for (int i = 0; i < 3; i++) /* all of them up */
		up[i] = task_begin(u.pool, i);
	PLAIN_WAIT_FOR(task_begun(0) && task_begun(1) && task_begun(2));
	PLAIN_EQ(tarn_pool_pids(u.pool, before, 3), 3);
	for (int i = 0; i < 3; i++)
		task_go(i);
	OK(tarn_queue_new(u.c, NULL, &answers));
	OK(tarn_block_new(u.c, 5000, TARN_BLOCK_ZEROED, &b));
	OK(tarn_queue_putf(tasks, 0, "s", "nonsense"));
	OK(tarn_queue_putf(tasks, 0, "OQsB", m, UINT64_C(1), "square", b));  /* answers to no queue */
	OK(tarn_queue_putf(tasks, 0, "OQsn", answers, UINT64_C(2), "square")); /* nothing to do */
	OK(tarn_queue_putf(tasks, 0, "OQsi", answers, UINT64_C(3), "square", 5));
	OK(tarn_queue_putf(tasks, 0, "OQsB", answers, UINT64_C(4), "square", b)); /* of zeros */
	OK(tarn_queue_putf(tasks, 0, "OQsO", answers, UINT64_C(5), "square", m));
	for (int i = 0; i < 4; i++) { /* each of the four is told what is wrong */
		OK(tarn_queue_get(answers, &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "Qv", &tag, &v));
		PLAIN_CHECK(tag >= 2 && tag <= 5);
		PLAIN_EQ(tarn_value_kind(v) == TARN_KIND_ERROR, tag <= 3);
		tarn_parcel_fini(&p);
	}
	OK(tarn_pool_open(u.object, &proxy));
	for (int i = 0; i < 20; i++) {
		OK(apply(proxy, "square", i, &y));
		PLAIN_EQ(y, i * i);
	}
	tarn_pool_unref(proxy);
	PLAIN_EQ(tarn_pool_pids(u.pool, after, 3), 3);
	PLAIN_EQ(memcmp(before, after, sizeof before), 0); /* none of them died of it */
	for (int i = 0; i < 3; i++)
		tarn_pool_result_unref(up[i]);
	tarn_block_unref(b);
	tarn_object_unref(m);
	tarn_object_unref(answers);
	tarn_object_unref(tasks);
	user_close(&u);
}

/* The test says that it has the workers. */
/* The maker slept in its queue, for whoever had closed the pool was killed before the queue was closed. */
PLAIN_TEST(t14_a_pool_ends_also_if_who_closed_it_was_killed_halfway)
{
	struct user u = user_open(&three);

	tarn__pool_set(tarn__object_instance(u.object, &tarn__type_pool), TARN__POOL_CLOSED);
	OK(tarn_pool_join(u.pool, TARN_FOREVER));
	user_close(&u);
}

/* Publishes an item that says of itself what cannot be. */
static void put_damaged(tarn_client *c, tarn_object *queue)
{
	struct tarn__queue *q = tarn__object_instance(queue, &tarn__type_queue);
	struct tarn__mpmc m;
	uint64_t turn = 0, *slot = NULL;

	OK(tarn_queue_putf(queue, 0, "s", "so that there are slots"));
	PLAIN_CHECK(tarn__queue_view(q, c->data, c->data_bytes, c->number, &m));
	PLAIN_EQ(tarn__mpmc_claim(&m, &turn, &slot), TARN__MPMC_OK);
	tarn__store_relaxed(&((struct tarn__queue_slot *)(void *)slot)->head, UINT64_MAX);
	PLAIN_CHECK(tarn__mpmc_publish(&m, slot, turn));
	tarn__bell_ring_all(&q->items);
}

/* One such item closed the pool for all. */
PLAIN_TEST(t11_t14_a_damaged_task_and_lies_about_workers_harm_nobody_else)
{
	struct user u = user_open(&three);
	struct tarn__pool *shared = tarn__object_instance(u.object, &tarn__type_pool);
	tarn_pool *proxy;
	tarn_object *tasks = tasks_of(u.object);
	int pids[8];
	int64_t y;

	OK(tarn_pool_open(u.object, &proxy));
	put_damaged(u.c, tasks);
	OK(apply(proxy, "square", 7, &y));
	PLAIN_EQ(y, 49);
	tarn_object_unref(tasks);
	/* Whoever sends these a signal would reach all processes, or init. */
	shared->pid[100] = UINT32_MAX;
	shared->pid[101] = 1;
	const unsigned n = tarn_pool_pids(proxy, pids, 8);
	for (unsigned i = 0; i < n && i < 8; i++)
		PLAIN_CHECK(pids[i] > 1);
	tarn_pool_unref(proxy);
	user_close(&u);
}

PLAIN_TEST(t14_answers_to_nobody_and_nonsense_are_no_answers)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *tasks, *pool, *answers;
	tarn_pool_result *r[3];
	tarn_pool *proxy;
	uint64_t tag[3];
	const char *entry;
	tarn_parcel p[3];
	tarn_value v;

	OK(tarn_queue_new(c, NULL, &tasks));
	OK(tarn_object_newf(c, "tarn.Pool", &pool, "OIs", tasks, 1u, "\033[31mred"));
	FAILS(tarn_object_newf(c, "tarn.Pool", &answers, "OIs", tasks, 0u, "x"), TARN_EREMOTE);
	FAILS(tarn_object_newf(c, "tarn.Pool", &answers, "OIs", tasks, 5000u, "x"), TARN_EREMOTE);
	OK(tarn_pool_open(pool, &proxy));
	for (int i = 0; i < 3; i++) {
		r[i] = task_begin(proxy, i);
		OK(tarn_queue_get(tasks, &p[i], TARN_FOREVER));
		OK(tarn_parcel_get(&p[i], "OQsv", &answers, &tag[i], &entry, &v));
	}
	OK(tarn_queue_putf(answers, 0, "s", "nonsense"));
	OK(tarn_queue_putf(answers, 0, "Qi", tag[0] + 77, 1));
	OK(tarn_queue_putf(answers, 0, "Qi", UINT64_MAX, 1));
	PLAIN_CHECK(!tarn_pool_result_ready(r[0]));
	OK(tarn_queue_putf(answers, 0, "Qi", tag[0], 1)); /* not what an answer is */
	check_failed(r[0], "RuntimeError");
	OK(tarn_queue_putf(answers, 0, "Qn", tag[0])); /* once more */
	OK(tarn_queue_putf(answers, 0, "Qn", tag[1]));
	check_failed(r[1], "RuntimeError");
	OK(tarn_queue_close(answers)); /* the third is waited for no more */
	const tarn_parcel *values;
	FAILS(tarn_pool_result_get(r[2], TARN_FOREVER, &values), TARN_EREMOTE);
	tarn_pool_result_unref(r[2]);
	for (int i = 0; i < 3; i++)
		tarn_parcel_fini(&p[i]);
	FAILS(tarn_pool_apply(proxy, "square", NULL, TARN_FOREVER, NULL), TARN_ESTATE);
	PLAIN_CHECK(strchr(tarn_error_last()->message, '\033') == NULL);
	tarn_pool_unref(proxy);
	tarn_object_unref(pool);
	tarn_object_unref(tasks);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
