/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T12, in the types and in what clients have in hand: whatever runs out is an error that says what
 * and how much, and when something is given back there is room again. (Descriptors, address
 * space, tables: test-limits.c; memory of blocks: lib/client/test-full.c; cgroups:
 * test-container.c.)
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/common/arena.h"
#include "tests/common/scene.h"
#include "tests/common/types.h"
#include "tests/common/user.h"

#define MIB (UINT64_C(1) << 20)

/* ---- memory, as objects and containers take it ---- */

PLAIN_TEST(t12_a_full_arena_makes_no_object_and_says_what_it_would_take)
{
	const tarn_server_options o = { .arena_bytes = 4 * MIB };
	struct scene s = scene_open(&o);
	tarn_client *c = scene_client(&s);
	static tarn_object *made[8192];

	for (int round = 0; round < 2; round++) {
		unsigned n = 0;
		int r = 0;

		while (n < 8192 && (r = tarn_barrier_new(c, 2, &made[n])) == 0)
			n++;
		WRONG(r, ENOMEM, "tarn.Barrier", "4194304 bytes");
		PLAIN_CHECK(n > 100);
		scene_check(&s);
		while (n > 0)
			tarn_object_unref(made[--n]);
		OK(tarn_client_trim(c));
		scene_settle(&s);
	}
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t12_a_quota_counts_objects_and_says_so)
{
	const tarn_client_options limited = { .quota_bytes = MIB };
	struct scene s = scene_open(NULL);
	static tarn_object *made[8192];
	tarn_client *c, *other = scene_client(&s);
	unsigned n = 0;
	int r = 0;

	OK(tarn_client_open(s.name, &limited, &c));
	while (n < 8192 && (r = tarn_barrier_new(c, 2, &made[n])) == 0)
		n++;
	WRONG(r, TARN_EQUOTA, "tarn.Barrier", "quota of 1048576");
	PLAIN_CHECK(n > 10);
	OK(tarn_barrier_new(other, 2, &made[n])); /* it is one client's alone */
	tarn_object_unref(made[n]);
	tarn_object_unref(made[--n]);
	scene_settle(&s);
	OK(tarn_barrier_new(c, 2, &made[n]));
	for (n++; n > 0;)
		tarn_object_unref(made[--n]);
	tarn_client_close(c);
	tarn_client_close(other);
	scene_close(&s);
}

/* Contents have memory of their own, as much as the arena's cap and some more. */
PLAIN_TEST_TIMEOUT(t12_containers_without_memory_keep_what_they_have, 120)
{
	enum { BYTES = 20000, MOST = 100000 };
	const tarn_server_options o = { .arena_bytes = 4 * MIB };
	struct scene s = scene_open(&o);
	tarn_client *c = scene_client(&s);
	tarn_object *list, *dict;
	uint64_t in_list = 0, in_dict = 0, n;
	char *text = calloc(1, BYTES + 1);
	int r = 0;

	PLAIN_CHECK(text != NULL);
	memset(text, 'x', BYTES);
	OK(tarn_list_new(c, &list));
	OK(tarn_dict_new(c, &dict));
	while (in_list < MOST && (r = tarn_list_appendf(list, "s", text)) == 0)
		in_list++;
	WRONG(r, TARN_EREMOTE, "no memory for the contents");
	while (in_dict < MOST && (r = tarn_dict_setf(dict, "qs", (int64_t)in_dict, text)) == 0)
		in_dict++;
	WRONG(r, TARN_EREMOTE, "no memory for the contents");
	OK(tarn_list_len(list, &n));
	PLAIN_EQ(n, in_list);
	OK(tarn_dict_len(dict, &n));
	PLAIN_EQ(n, in_dict);
	scene_check(&s);
	OK(tarn_list_clear(list));
	scene_settle(&s);
	OK(tarn_list_appendf(list, "s", text));
	OK(tarn_dict_setf(dict, "qs", (int64_t)in_dict, text));
	free(text);
	tarn_object_unref(list);
	tarn_object_unref(dict);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(t12_an_unbounded_queue_in_a_full_arena_keeps_its_items, 60)
{
	const tarn_server_options o = { .arena_bytes = 4 * MIB };
	struct scene s = scene_open(&o);
	tarn_client *c = scene_client(&s);
	tarn_object *q;

	OK(tarn_queue_new(c, NULL, &q));
	for (int round = 0; round < 2; round++) {
		uint64_t n = 0, got;
		int r = 0;

		while (n < 1000000 && (r = tarn_queue_putf(q, TARN_FOREVER, "Q", n)) == 0)
			n++;
		PLAIN_CHECKF(r < 0 && tarn_error_last()->message[0] != '\0', "%s", tarn_error_name(r));
		scene_note("%llu items, then %s: %s", (unsigned long long)n, tarn_error_name(r),
			   tarn_error_last()->message);
		PLAIN_CHECK(r == -ENOMEM || r == -TARN_EREMOTE);
		PLAIN_CHECK(n > 1000);
		scene_check(&s);
		for (uint64_t i = 0; i < n; i++) {
			OK(tarn_queue_getf(q, 0, "Q", &got));
			PLAIN_EQ(got, i);
		}
		FAILS(tarn_queue_getf(q, 0, "Q", &got), EAGAIN);
	}
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- places in tables ---- */

PLAIN_TEST_TIMEOUT(t12_all_names_of_a_client_taken_is_an_error_and_others_have_theirs, 60)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *other = scene_client(&s);
	tarn_object *o, *theirs;
	char name[40];
	unsigned n = 0;
	int r = 0;

	OK(tarn_lock_new(c, 0, &o));
	OK(tarn_lock_new(other, 0, &theirs));
	while (n < 100000 && r == 0) {
		snprintf(name, sizeof name, "name-%u", n);
		if ((r = tarn_object_publish(o, name, 0)) == 0)
			n++;
	}
	WRONG(r, ENOSPC, "no room for another name");
	PLAIN_CHECK(n >= 1000);
	OK(tarn_object_publish(theirs, "theirs", 0));
	OK(tarn_object_unpublish(c, "name-0"));
	OK(tarn_object_publish(o, name, 0));
	tarn_object_unref(o);
	tarn_object_unref(theirs);
	tarn_client_close(c);
	tarn_client_close(other);
	scene_close(&s); /* names end with their client */
}

PLAIN_TEST(t12_all_notices_of_a_thread_taken_is_an_error_and_calls_go_on)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_pending *notice[300];
	tarn_object *o;
	unsigned n = 0;
	int r = 0;

	OK(tarn_lock_new(c, 0, &o));
	while (n < 300 && (r = tarn_object_watch(o, &notice[n])) == 0)
		n++;
	WRONG(r, ENOBUFS, "notices", "half");
	PLAIN_CHECK(n >= 16);
	OK(tarn_client_ping(c, TARN_FOREVER));
	OK(tarn_object_publish(o, "still-there", 0));
	tarn_call_free(notice[--n]);
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	OK(tarn_object_watch(o, &notice[n]));
	for (n++; n > 0;)
		tarn_call_free(notice[--n]);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t12_all_publishers_of_a_topic_taken_is_an_error_and_who_leaves_makes_room)
{
	enum { MOST = 70 };
	struct scene s = scene_open(NULL);
	tarn_client *own = scene_client(&s), *c[MOST];
	tarn_object *t, *here[MOST];
	unsigned n = 0;
	int r = 0;

	OK(tarn_topic_new(own, NULL, &t));
	OK(tarn_object_publish(t, "crowded", 0));
	for (; n < MOST && r == 0; n++) {
		c[n] = scene_client(&s);
		OK(tarn_object_lookup(c[n], "crowded", 0, &here[n]));
		r = tarn_topic_publishf(here[n], TARN_FOREVER, "i", 1);
	}
	WRONG(r, TARN_EREMOTE, "64 clients publish here");
	PLAIN_EQ(n, 65);
	tarn_object_unref(here[0]);
	tarn_client_close(c[0]);
	PLAIN_WAIT_FOR(tarn_topic_publishf(here[n - 1], TARN_FOREVER, "i", 1) == 0);
	while (n > 1) {
		tarn_object_unref(here[--n]);
		tarn_client_close(c[n]);
	}
	tarn_object_unref(t);
	tarn_client_close(own);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(t12_all_permits_that_can_be_noted_of_one_client_taken_is_an_error, 60)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *sem;
	unsigned n = 0;
	int r = 0;

	OK(tarn_sem_new(c, 1u << 24, &sem));
	while (n < 1u << 24 && (r = tarn_sem_acquire(sem, 0)) == 0)
		n++;
	WRONG(r, ERANGE, arena_number(n));
	PLAIN_EQ(n, (1u << 20) - 1);
	OK(tarn_sem_release(sem, 1));
	OK(tarn_sem_acquire(sem, 0));
	FAILS(tarn_sem_acquire(sem, 0), ERANGE);
	OK(tarn_sem_release(sem, n));
	tarn_object_unref(sem);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- threads and processes ---- */

/* Of this user, of whom this process is to be all. */
static struct rlimit limit_threads(rlim_t n)
{
	struct rlimit before, now;

	PLAIN_EQ(getrlimit(RLIMIT_NPROC, &before), 0);
	now = before;
	now.rlim_cur = n < before.rlim_max ? n : before.rlim_max;
	PLAIN_EQ(setrlimit(RLIMIT_NPROC, &now), 0);
	return before;
}


static void alone(void *unused)
{
	tarn_server_options o = { .arena_bytes = 8 * MIB, .log_level = 3, .backing = TARN_BACKING_MEMFD };
	tarn_process *p;
	tarn_thread *t;
	char name[64];

	(void)unused;
	snprintf(name, sizeof name, "@tarn-alone-%d", (int)getpid());
	o.name = name;
	OK(tarn_process_new(NULL, &(tarn_process_options){ .program = "/bin/true" }, &p));
	struct rlimit before = limit_threads(1); /* us, and nobody more */
	for (int i = 0; i < 2; i++) {
		WRONG(tarn_thread_spawn(&(tarn_thread_options){ 0 }, &t), EAGAIN, "thread", "cannot be started");
		WRONG(tarn_server_run(&o), EAGAIN, "thread", "Resource temporarily unavailable");
	}
	WRONG(tarn_process_start(p), EAGAIN, "");
	PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
	PLAIN_EQ(setrlimit(RLIMIT_NPROC, &before), 0);
	OK(tarn_thread_spawn(&(tarn_thread_options){ 0 }, &t));
	OK(tarn_thread_join(t, TARN_FOREVER));
	tarn_thread_unref(t);
	tarn_process_unref(p);
	OK(tarn_process_spawn(NULL, &(tarn_process_options){ .program = "/bin/true" }, &p));
	OK(tarn_process_join(p, TARN_FOREVER));
	tarn_process_unref(p);
}

/* A user of our own: the limit counts all that is theirs. */
static uid_t fresh_user(void)
{
	return 3000000u + (uid_t)getpid();
}

PLAIN_TEST(t12_where_no_thread_may_be_started_all_that_needs_one_says_so)
{
	user_need();
	const uid_t user = fresh_user();

	PLAIN_EQ(user_run(user, user, user, alone, NULL), 0);
}

struct hands {
	char name[64];
	uint32_t *step; /* 1: no more threads, please; 2: so it is; 3: as before; 4: so it is */
};

/* A limit can be raised again by who has it, and by root only where root has that right. */
static void *heed(void *arg)
{
	const struct hands *h = arg;

	scene_await(h->step, 1);
	struct rlimit before = limit_threads(arena_threads(getpid()));
	scene_say(h->step, 2);
	scene_await(h->step, 3);
	PLAIN_EQ(setrlimit(RLIMIT_NPROC, &before), 0);
	scene_say(h->step, 4);
	return NULL;
}

static void serve(void *arg)
{
	struct hands *h = arg;
	tarn_server_options o = { .arena_bytes = 8 * MIB, .name = h->name, .log_level = 3,
				  .backing = TARN_BACKING_MEMFD };
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, heed, h), 0);
	OK(tarn_server_run(&o));
	pthread_join(t, NULL);
}

PLAIN_TEST(t12_a_call_that_gets_no_thread_waits_in_the_server_until_there_is_one)
{
	const tarn_client_options any = { .any_server_user = true, .connect_timeout_ns = TARN_FOREVER };
	struct hands h = { .step = scene_shared(sizeof(uint32_t)) };
	tarn_inspector *in;
	tarn_object *echo;
	tarn_pending *p;
	tarn_parcel result;
	tarn_builder args;
	tarn_client *c;
	int64_t x;

	user_need();
	snprintf(h.name, sizeof h.name, "@tarn-hands-%d", (int)getpid());
	pid_t server = user_fork(fresh_user(), serve, &h);
	OK(tarn_client_open(h.name, &any, &c));
	OK(tarn_object_newf(c, "Echo", &echo, ""));
	OK(tarn_callf(echo, "echo", TARN_FOREVER, "q", "q", (int64_t)1, &x)); /* that one needs none */
	scene_say(h.step, 1);
	scene_await(h.step, 2);
	tarn_builder_init(&args);
	OK(tarn_put_int(&args, 7));
	OK(tarn_call_start(echo, "echo_slowly", &args, &p));
	tarn_builder_fini(&args);
	FAILS(tarn_call_wait(p, &result, 100000000), ETIMEDOUT);
	OK(tarn_callf(echo, "echo", TARN_FOREVER, "q", "q", (int64_t)2, &x)); /* others are served */
	PLAIN_EQ(x, 2);
	scene_say(h.step, 3);
	OK(tarn_call_wait(p, &result, TARN_FOREVER));
	OK(tarn_parcel_get(&result, "q", &x));
	PLAIN_EQ(x, 7);
	tarn_parcel_fini(&result);
	tarn_call_free(p);
	tarn_object_unref(echo);
	tarn_client_close(c);
	OK(tarn_inspector_open(h.name, 0, &in));
	OK(tarn_inspector_shutdown(in));
	tarn_inspector_close(in);
	PLAIN_EQ(plain_reap(server), 0);
}

/* How many descriptors the process may have so that it gets no further one above those that it has. */
static rlim_t descriptors_of(pid_t pid)
{
	char path[64];
	rlim_t most = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);

	PLAIN_CHECK(d != NULL);
	for (const struct dirent *e; (e = readdir(d)) != NULL;) {
		const rlim_t n = (rlim_t)strtoul(e->d_name, NULL, 10) + 1;

		most = n > most ? n : most;
	}
	closedir(d);
	return most;
}

/* The server's own client, by which executors speak, could not attach: calls waited for ever, and later ones did so, too. */
PLAIN_TEST(t12_a_call_is_told_that_no_executor_can_attach)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	const pid_t server = tarn_server_pid(s.server);
	tarn_object *echo;
	struct rlimit old, less;
	int64_t x = 0;
	int r;

	OK(tarn_object_newf(c, "Echo", &echo, ""));
	PLAIN_EQ(prlimit(server, RLIMIT_NOFILE, NULL, &old), 0);
	less = (struct rlimit){ .rlim_cur = descriptors_of(server), .rlim_max = old.rlim_max };
	PLAIN_EQ(prlimit(server, RLIMIT_NOFILE, &less, NULL), 0);
	for (int i = 0; i < 2; i++) {
		FAILS(tarn_callf(echo, "echo_slowly", TARN_FOREVER, "q", "q", INT64_C(7), &x), EMFILE);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "was not run") != NULL, "%s",
			     tarn_error_last()->message);
	}
	OK(tarn_callf(echo, "echo", TARN_FOREVER, "q", "q", INT64_C(2), &x)); /* that one needs none */
	PLAIN_EQ(prlimit(server, RLIMIT_NOFILE, &old, NULL), 0);
	while ((r = tarn_callf(echo, "echo_slowly", TARN_FOREVER, "q", "q", INT64_C(7), &x)) == -EMFILE)
		;
	OK(r);
	PLAIN_EQ(x, 7);
	tarn_object_unref(echo);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
