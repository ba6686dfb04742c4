/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that hold objects (N): nesting, sharing, deep chains, cycles, and what is left when
 * their holders are killed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void append(tarn_object *list, tarn_object *item)
{
	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, item));
}
static tarn_object *get(tarn_object *list, int64_t at)
{
	tarn_object *o;
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	tarn_put_int(&b, at);
	OK(tarn_call(list, "get", &b, &p, TARN_FOREVER));
	tarn_builder_fini(&b);
	OK(tarn_parcel_get(&p, "O", &o));
	tarn_object_ref(o);
	tarn_parcel_fini(&p);
	return o;
}
static int64_t length(tarn_object *list)
{
	return types_integer(list, "len");
}

PLAIN_TEST(n1_n2_n3_a_list_in_a_list_is_the_same_list)
{
	struct user u = user_open(NULL);
	tarn_object *outer = NEW(u.c, "List", ""), *inner = NEW(u.c, "List", ""), *got;
	tarn_object *item = NEW(u.c, "Magnifier", "d", 2.0);

	append(inner, item);
	append(inner, item);
	append(outer, inner);
	append(outer, item);
	PLAIN_EQ(length(outer), 2);
	PLAIN_EQ(length(inner), 2);
	got = get(outer, 0);
	PLAIN_CHECK(tarn_object_same(got, inner));
	append(got, item); /* seen through all of them */
	PLAIN_EQ(length(got), 3);
	PLAIN_EQ(length(inner), 3);
	tarn_object_unref(inner);
	tarn_object_unref(item);
	tarn_object *third = get(got, 2);
	PLAIN_CHECK(types_scale(third, 3) == 6);
	tarn_object_unref(third);
	tarn_object_unref(got);
	tarn_object_unref(outer);
	user_close(&u);
}

PLAIN_TEST(n6_another_process_reaches_the_inner_objects_by_way_of_the_outer_one)
{
	struct user u = user_open(NULL);
	tarn_object *outer = NEW(u.c, "List", ""), *inner = NEW(u.c, "List", "");
	tarn_object *item = NEW(u.c, "Magnifier", "d", 7.0);
	tarn_token token;
	pid_t pid;

	append(inner, item);
	append(outer, inner);
	tarn_object_unref(item);
	tarn_object_unref(inner);
	OK(tarn_object_export(outer, NULL, &token));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *o;

		OK(tarn_object_import(c, &token, &o));
		PLAIN_CHECK(types_scale(get(get(o, 0), 0), 2) == 14);
		append(get(o, 0), NEW(c, "Magnifier", "d", 8.0));
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	inner = get(outer, 0);
	PLAIN_EQ(length(inner), 2);
	item = get(inner, 1);
	PLAIN_CHECK(types_scale(item, 2) == 16); /* what it left there lives on */
	tarn_object_unref(item);
	tarn_object_unref(inner);
	tarn_object_unref(outer);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(n5_a_random_graph_of_10000_objects_ends_whatever_the_order_of_drops, 120)
{
	const tarn_server_options big = { .arena_bytes = 256u << 20 };
	struct user u = user_open(&big);
	enum { N = 10000 };
	static tarn_object *o[N];
	uint64_t random = scene_now() | 1;

	for (int i = 0; i < N; i++) {
		o[i] = NEW(u.c, "List", "");
		for (int k = 0; k < 3 && i > 0; k++)
			append(o[i], o[scene_random(&random) % (unsigned)i]);
	}
	scene_check(&u.s);
	for (int left = N; left > 0; left--) {
		unsigned at = (unsigned)(scene_random(&random) % (unsigned)left);

		tarn_object_unref(o[at]);
		o[at] = o[left - 1];
		if (left % 2500 == 0)
			scene_check(&u.s);
	}
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(o6_a_chain_of_100000_objects_ends_without_recursion, 120)
{
	const tarn_server_options big = { .arena_bytes = 256u << 20 };
	struct user u = user_open(&big);
	tarn_object *last = NEW(u.c, "Link", "");
	tarn_object *first = last;

	for (int i = 0; i < 100000; i++) {
		tarn_object *o = NEW(u.c, "Link", "");

		OK(tarn_callf(o, "set", TARN_FOREVER, "O", NULL, first));
		tarn_object_unref(first);
		first = o;
	}
	uint64_t begin = scene_now();
	tarn_object_unref(first);
	OK(tarn_client_ping(u.c, TARN_FOREVER)); /* the server serves others meanwhile */
	uint64_t ping = scene_now();
	PLAIN_WAIT_FOR(scene_stat(&u.s).blocks_live == 0);
	scene_note("100000 linked objects ended within %.1f ms; a ping at that time took %.2f ms",
		   (double)(scene_now() - begin) * 1e-6, (double)(ping - begin) * 1e-6);
	user_close(&u);
}

static void ring_of(tarn_client *c, int n)
{
	tarn_object *first = NEW(c, "Link", ""), *at = tarn_object_ref(first);

	for (int i = 1; i < n; i++) {
		tarn_object *next = NEW(c, "Link", "");

		OK(tarn_callf(at, "set", TARN_FOREVER, "O", NULL, next));
		tarn_object_unref(at);
		at = next;
	}
	OK(tarn_callf(at, "set", TARN_FOREVER, "O", NULL, first));
	tarn_object_unref(at);
	tarn_object_unref(first);
}

PLAIN_TEST(o11_cycles_that_nobody_holds_are_collected)
{
	struct user u = user_open(NULL);
	static const int length_of[] = { 1, 2, 10, 100 };
	tarn_object *kept = NEW(u.c, "Link", ""), *next, *got;
	tarn_parcel p;

	for (unsigned i = 0; i < 4; i++) {
		ring_of(u.c, length_of[i]);
		PLAIN_WAIT_FOR((scene_settle(&u.s), scene_stat(&u.s).blocks_live == 1));
	}
	/* One that is held from outside stays, all of it. */
	next = NEW(u.c, "Link", "");
	OK(tarn_callf(kept, "set", TARN_FOREVER, "O", NULL, next));
	OK(tarn_callf(next, "set", TARN_FOREVER, "O", NULL, kept));
	tarn_object_unref(next);
	scene_settle(&u.s);
	scene_settle(&u.s);
	OK(tarn_call(kept, "next", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &got));
	PLAIN_CHECK(!tarn_object_same(got, kept));
	tarn_parcel_fini(&p);
	tarn_object_unref(kept);
	user_close(&u);
}

PLAIN_TEST(o11_a_cycle_through_a_killed_client_is_collected)
{
	struct user u = user_open(NULL);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *a = NEW(c, "Link", ""), *b = NEW(c, "List", "");

		append(b, a);
		append(b, b);
		OK(tarn_callf(a, "set", TARN_FOREVER, "O", NULL, b));
		kill(getpid(), SIGKILL);
	}
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	PLAIN_WAIT_FOR(scene_stat(&u.s).blocks_live == 0);
	user_close(&u);
}

PLAIN_TEST(m5_m6_m9_blocks_in_an_object_live_as_long_as_it)
{
	struct user u = user_open(NULL);
	tarn_object *bag = NEW(u.c, "Bag", "");
	tarn_block *b[10], *back;
	tarn_builder args;
	tarn_parcel p;
	uint64_t id[10];

	for (int i = 0; i < 10; i++) {
		OK(tarn_block_new(u.c, 1000, 0, &b[i]));
		memset(tarn_block_data(b[i]), i, 1000);
		id[i] = tarn_block_id(b[i]);
		OK(tarn_callf(bag, i % 2 ? "put" : "put_slowly", TARN_FOREVER, "B", NULL, b[i]));
		tarn_block_unref(b[i]); /* at once: M6 */
	}
	scene_settle(&u.s);
	for (int i = 0; i < 10; i++)
		PLAIN_EQ(scene_count(&u.s, id[i]), 1);
	tarn_builder_init(&args);
	tarn_put_int(&args, 7);
	for (int slowly = 0; slowly < 2; slowly++) {
		OK(tarn_call(bag, slowly ? "get_slowly" : "get", &args, &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "B", &back));
		PLAIN_EQ(tarn_block_size(back), 1000);
		PLAIN_EQ(((unsigned char *)tarn_block_data(back))[999], 7);
		tarn_parcel_fini(&p);
	}
	tarn_builder_fini(&args);
	OK(tarn_callf(bag, "clear", TARN_FOREVER, NULL, NULL));
	PLAIN_WAIT_FOR(scene_count(&u.s, id[3]) == 0);
	OK(tarn_block_new(u.c, 500, 0, &b[0]));
	OK(tarn_callf(bag, "put", TARN_FOREVER, "B", NULL, b[0]));
	id[0] = tarn_block_id(b[0]);
	tarn_block_unref(b[0]);
	tarn_object_unref(bag);
	PLAIN_WAIT_FOR(scene_count(&u.s, id[0]) == 0);
	user_close(&u);
}

/* ---- O3: a model of random traffic ---- */

enum { OBJECTS = 8, WORKERS = 4, ROUNDS = 300 };

struct model {
	uint32_t step;
	uint32_t done[WORKERS];
	int64_t held[WORKERS][OBJECTS];   /* proxies by their own count: 0 or more */
	int64_t stored[WORKERS][OBJECTS]; /* in the worker's own list */
};

static void work(struct user *u, struct model *m, unsigned me)
{
	tarn_client *c = scene_client(&u->s);
	uint64_t random = 77 + me;
	tarn_object *have[OBJECTS] = { NULL }, *list = NEW(c, "List", "");
	int order[1000], stored = 0;
	char name[16];

	for (uint32_t step = 1;; step++) {
		scene_await(&m->step, step);
		if (step > 5)
			break;
		for (int i = 0; i < ROUNDS; i++) {
			unsigned k = (unsigned)(scene_random(&random) % OBJECTS);

			snprintf(name, sizeof name, "object %u", k);
			switch (scene_random(&random) % 5) {
			case 0:
				if (have[k] == NULL)
					OK(tarn_object_lookup(c, name, 0, &have[k]));
				else
					tarn_object_ref(have[k]);
				m->held[me][k]++;
				break;
			case 1:
				if (m->held[me][k] > 0) {
					tarn_object_unref(have[k]);
					if (--m->held[me][k] == 0)
						have[k] = NULL;
				}
				break;
			case 2:
				if (have[k] != NULL && stored < 900) {
					append(list, have[k]);
					order[stored++] = (int)k;
					m->stored[me][k]++;
				}
				break;
			case 3:
				if (stored > 0) {
					OK(tarn_callf(list, "remove", TARN_FOREVER, "q", NULL,
						      (int64_t)--stored));
					m->stored[me][order[stored]]--;
				}
				break;
			default:
				if (have[k] != NULL)
					PLAIN_CHECK(types_scale(have[k], 2) == 2.0 * k);
			}
		}
		OK(tarn_client_flush(c, true, TARN_FOREVER));
		scene_say(&m->done[me], step);
	}
	_exit(0);
}

PLAIN_TEST_TIMEOUT(o3_counts_of_objects_equal_a_model_of_random_traffic, 120)
{
	struct user u = user_open(NULL);
	struct model *m = scene_shared(sizeof *m);
	tarn_object *o[OBJECTS];
	pid_t pid[WORKERS];
	char name[16];

	for (unsigned k = 0; k < OBJECTS; k++) {
		o[k] = NEW(u.c, "Magnifier", "d", (double)k);
		snprintf(name, sizeof name, "object %u", k);
		OK(tarn_object_publish(o[k], name, 0));
	}
	for (unsigned w = 0; w < WORKERS; w++) {
		pid[w] = plain_fork();
		if (pid[w] == 0)
			work(&u, m, w);
	}
	for (uint32_t step = 1; step <= 5; step++) {
		scene_say(&m->step, step);
		for (unsigned w = 0; w < WORKERS; w++)
			scene_await(&m->done[w], step);
		scene_settle(&u.s);
		for (unsigned k = 0; k < OBJECTS; k++) {
			uint64_t id = tarn_object_id(o[k]);
			int64_t stored = 0, holders = 1;

			for (unsigned w = 0; w < WORKERS; w++) {
				stored += m->stored[w][k];
				holders += m->held[w][k] > 0;
			}
			PLAIN_EQ(scene_units(&u.s, id, TARN_CLAIM_STORED, 0), stored);
			/* A process's proxies are one claim each time it got it anew. */
			PLAIN_CHECK((int64_t)scene_units(&u.s, id, TARN_CLAIM_HELD, 0) >= holders);
		}
	}
	scene_say(&m->step, 6);
	for (unsigned w = 0; w < WORKERS; w++)
		PLAIN_EQ(plain_reap(pid[w]), 0);
	for (unsigned k = 0; k < OBJECTS; k++) {
		PLAIN_WAIT_FOR(scene_units(&u.s, tarn_object_id(o[k]), TARN_CLAIM_HELD, 0) <= 2);
		tarn_object_unref(o[k]);
	}
	user_close(&u);
}

PLAIN_MAIN()
