/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues between processes that live: what CPython's tests of Queue and JoinableQueue ask for
 * (T12, T13, Q1 to Q5), references in items (F9), order, hostile words.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/types.h"
#include "shm/queue.h"
#include "tests/process/queues.h"

#define MS 1000000
#define SOON (50 * MS)

static void put(tarn_object *q, int value) { OK(tarn_queue_putf(q, 0, "i", value)); }
static int get(tarn_object *q, int64_t timeout_ns)
{
	int value = -1;

	OK(tarn_queue_getf(q, timeout_ns, "i", &value));
	return value;
}
static int try_get(tarn_object *q)
{
	int value;

	return tarn_queue_getf(q, 0, "i", &value);
}

/* A child that has the queue ends. */
static void leave(tarn_object *q, tarn_client *c)
{
	tarn_object_unref(q);
	tarn_client_close(c);
	_exit(0);
}

/* ---- test_put, test_get, test_qsize, test_timeout ---- */

static void put_until_full(size_t maxsize, unsigned flags)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, maxsize, flags);
	uint64_t before;

	PLAIN_EQ(tarn_queue_maxsize(q), maxsize);
	PLAIN_EQ(tarn_queue_empty(q), 1);
	PLAIN_EQ(tarn_queue_full(q), 0);
	for (size_t i = 0; i < maxsize; i++) {
		PLAIN_EQ(tarn_queue_full(q), 0);
		PLAIN_EQ(tarn_queue_size(q), i);
		put(q, (int)i);
		PLAIN_EQ(tarn_queue_empty(q), 0);
	}
	PLAIN_EQ(tarn_queue_full(q), 1);
	FAILS(tarn_queue_putf(q, 0, "i", 9), EAGAIN);
	before = scene_now();
	FAILS(tarn_queue_putf(q, SOON, "i", 9), ETIMEDOUT);
	PLAIN_CHECK(scene_now() - before >= SOON);
	for (size_t i = 0; i < maxsize; i++)
		PLAIN_EQ(get(q, i & 1 ? 0 : TARN_FOREVER), i);
	PLAIN_EQ(tarn_queue_empty(q), 1);
	PLAIN_EQ(try_get(q), -EAGAIN);
	before = scene_now();
	FAILS(tarn_queue_getf(q, SOON, "i", &(int){ 0 }), ETIMEDOUT);
	PLAIN_CHECK(scene_now() - before >= SOON);
	tarn_object_unref(q);
	user_close(&u);
}
PLAIN_TEST(t12_a_queue_of_one_is_full_and_empty) { put_until_full(1, 0); }
PLAIN_TEST(t12_a_queue_of_seven_is_full_and_empty) { put_until_full(7, 0); }
PLAIN_TEST(t12_a_large_queue_is_full_and_empty) { put_until_full(3000, 0); }
PLAIN_TEST(t13_a_joinable_queue_is_full_and_empty) { put_until_full(7, TARN_QUEUE_JOINABLE); }
PLAIN_TEST(t12_a_queue_that_redelivers_is_full_and_empty)
{
	put_until_full(1000, TARN_QUEUE_REDELIVER | TARN_QUEUE_ACK_NEXT);
}

PLAIN_TEST(q2_an_unbounded_queue_takes_a_hundred_thousand_items)
{
	struct user u = user_open();
	tarn_object *q = NULL;
	const int n = 100000;
	uint64_t used;

	OK(tarn_queue_new(u.c, NULL, &q));
	PLAIN_EQ(tarn_queue_maxsize(q), 0);
	for (int i = 0; i < n; i++)
		put(q, i);
	PLAIN_EQ(tarn_queue_size(q), n);
	PLAIN_EQ(tarn_queue_full(q), 0);
	for (int i = 0; i < n; i++)
		PLAIN_EQ(get(q, 0), i);
	PLAIN_EQ(try_get(q), -EAGAIN);
	used = scene_stat(&u.s).used_bytes;
	/* Its memory is used again. */
	for (int i = 0; i < 3 * n; i++) {
		put(q, i);
		if (i >= 1000)
			PLAIN_EQ(get(q, 0), i - 1000);
	}
	PLAIN_EQ(scene_stat(&u.s).used_bytes, used);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t12_values_of_any_kind_and_size_come_out_as_they_went_in)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 4, 0);
	char *large = malloc(100001);
	const char *text, *key;
	double x, y;
	tarn_parcel p;
	int i;

	memset(large, 'x', 100000);
	large[100000] = '\0';
	OK(tarn_queue_putf(q, 0, "is[dd]{s:s}", 7, "scale", 1.5, 2.5, "key", "value"));
	OK(tarn_queue_putf(q, 0, "s", large));
	OK(tarn_queue_putf(q, 0, ""));
	OK(tarn_queue_get(q, &p, 0));
	OK(tarn_parcel_get(&p, "is[dd]{s:s}", &i, &text, &x, &y, "key", &key));
	PLAIN_CHECK(i == 7 && strcmp(text, "scale") == 0 && x == 1.5 && y == 2.5 &&
		    strcmp(key, "value") == 0);
	tarn_parcel_fini(&p);
	OK(tarn_queue_get(q, &p, 0));
	OK(tarn_parcel_get(&p, "s", &text));
	PLAIN_CHECK(strcmp(text, large) == 0);
	tarn_parcel_fini(&p);
	OK(tarn_queue_get(q, &p, 0));
	PLAIN_EQ(tarn_parcel_count(&p), 0);
	tarn_parcel_fini(&p);
	/* Sizes around what a slot has room for. */
	for (size_t n = 150; n < 300; n++) {
		size_t got;

		OK(tarn_queue_putf(q, 0, "S", large, n));
		OK(tarn_queue_get(q, &p, 0));
		OK(tarn_parcel_get(&p, "S", &text, &got));
		PLAIN_EQ(got, n);
		PLAIN_CHECK(memcmp(text, large, n) == 0);
		tarn_parcel_fini(&p);
	}
	free(large);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t12_an_object_that_is_no_queue_is_refused_by_name)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Magnifier", "d", 1.0);

	FAILS(tarn_queue_putf(o, 0, "i", 1), TARN_EKIND);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "tarn.Queue") != NULL &&
		    strstr(tarn_error_last()->message, "Magnifier") != NULL);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(t12_options_that_cannot_be_are_refused)
{
	struct user u = user_open();
	tarn_object *q = NULL;

	FAILS(tarn_queue_new(u.c, &(tarn_queue_options){ .flags = 1u << 20 }, &q), TARN_EREMOTE);
	FAILS(tarn_queue_new(u.c, &(tarn_queue_options){ .flags = TARN_QUEUE_ACK_NEXT }, &q),
	      TARN_EREMOTE);
	FAILS(tarn_queue_new(u.c, &(tarn_queue_options){ .maxsize = SIZE_MAX }, &q), TARN_EREMOTE);
	FAILS(tarn_queue_new(u.c, &(tarn_queue_options){ .slot_bytes = 1 << 20 }, &q), TARN_EREMOTE);
	PLAIN_CHECK(q == NULL);
	user_close(&u);
}

/* ---- between processes ---- */

PLAIN_TEST(q1_items_of_children_come_in_the_order_of_each)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 10, 0);
	int next[4] = { 0 };
	pid_t pid[4];

	OK(tarn_object_publish(q, "q", 0));
	for (int k = 0; k < 4; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_client *c;
			tarn_object *mine = find(&u.s, &c);

			for (int i = 0; i < 5000; i++)
				OK(tarn_queue_putf(mine, TARN_FOREVER, "ii", k, i));
			leave(mine, c);
		}
	}
	for (int i = 0; i < 4 * 5000; i++) {
		int k, n;

		OK(tarn_queue_getf(q, TARN_FOREVER, "ii", &k, &n));
		PLAIN_EQ(n, next[k]);
		next[k]++;
	}
	for (int k = 0; k < 4; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	PLAIN_EQ(try_get(q), -EAGAIN);
	tarn_object_unref(q);
	user_close(&u);
}

/* A child echoes items from "q" to the queue that comes with each. */
PLAIN_TEST(q5_a_queue_sent_through_a_queue_is_used_at_the_far_end)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 10, 0), *back = queue_new(u.c, 2, 0);
	pid_t pid;

	OK(tarn_object_publish(q, "q", 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		tarn_object *mine = find(&u.s, &c), *to;
		tarn_parcel p;
		int i;

		for (int k = 0; k < 100; k++) {
			OK(tarn_queue_get(mine, &p, TARN_FOREVER));
			OK(tarn_parcel_get(&p, "iO", &i, &to));
			OK(tarn_queue_putf(to, TARN_FOREVER, "i", i + 1000));
			tarn_parcel_fini(&p);
		}
		leave(mine, c);
	}
	for (int i = 0; i < 100; i++) {
		OK(tarn_queue_putf(q, TARN_FOREVER, "iO", i, back));
		PLAIN_EQ(get(back, TARN_FOREVER), i + 1000);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	/* Even through itself: it ends all the same. */
	OK(tarn_queue_putf(q, 0, "O", q));
	OK(tarn_object_unpublish(u.c, "q"));
	tarn_object_unref(q);
	tarn_object_unref(back);
	user_close(&u);
}

PLAIN_TEST(t12_waiting_consumers_and_producers_are_woken)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 1, 0);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid;

	OK(tarn_object_publish(q, "q", 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		tarn_object *mine = find(&u.s, &c);

		for (int i = 0; i < 40; i++) {
			PLAIN_EQ(get(mine, TARN_FOREVER), i);
			if (i % 8 == 7)
				usleep(5000); /* the producer falls asleep */
		}
		scene_say(step, 1);
		leave(mine, c);
	}
	for (int i = 0; i < 40; i++) {
		if (i % 8 == 3)
			usleep(5000); /* the consumer does */
		OK(tarn_queue_putf(q, TARN_FOREVER, "i", i));
	}
	scene_await(step, 1);
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(q1_several_queues_are_waited_for_at_once)
{
	struct user u = user_open();
	tarn_object *q[3];
	size_t which = 9;
	tarn_parcel p;
	uint64_t before;
	pid_t pid;

	for (int k = 0; k < 3; k++)
		q[k] = queue_new(u.c, 2, 0);
	OK(tarn_object_publish(q[1], "q", 0));
	put(q[2], 7);
	OK(tarn_queue_get_any(q, 3, &p, &which, 0));
	PLAIN_EQ(which, 2);
	tarn_parcel_fini(&p);
	FAILS(tarn_queue_get_any(q, 3, &p, &which, 0), EAGAIN);
	before = scene_now();
	FAILS(tarn_queue_get_any(q, 3, &p, &which, SOON), ETIMEDOUT);
	PLAIN_CHECK(scene_now() - before >= SOON);
	FAILS(tarn_queue_get_any(q, 0, &p, &which, 0), EINVAL);
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		tarn_object *mine = find(&u.s, &c);

		for (int i = 0; i < 20; i++) {
			usleep(2000);
			OK(tarn_queue_putf(mine, TARN_FOREVER, "i", i));
		}
		OK(tarn_queue_close(mine));
		leave(mine, c);
	}
	for (int i = 0; i < 20; i++) {
		int64_t got;

		OK(tarn_queue_get_any(q, 3, &p, &which, TARN_FOREVER));
		PLAIN_EQ(which, 1);
		OK(tarn_value_int(tarn_parcel_at(&p, 0), &got));
		PLAIN_EQ(got, i);
		tarn_parcel_fini(&p);
	}
	OK(tarn_queue_close(q[0]));
	OK(tarn_queue_close(q[2]));
	FAILS(tarn_queue_get_any(q, 3, &p, &which, TARN_FOREVER), TARN_ECLOSED);
	PLAIN_EQ(plain_reap(pid), 0);
	for (int k = 0; k < 3; k++)
		tarn_object_unref(q[k]);
	user_close(&u);
}

/* ---- references ---- */

PLAIN_TEST(t12_blocks_arrive_without_being_copied)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 10, 0);
	pid_t pid;

	OK(tarn_object_publish(q, "q", 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		tarn_object *mine = find(&u.s, &c);
		tarn_block *b;

		for (int i = 0; i < 1000; i++) {
			OK(tarn_block_new(c, 5000, 0, &b));
			memset(tarn_block_data(b), i, 5000);
			OK(tarn_queue_putf(mine, TARN_FOREVER, "QB", tarn_block_id(b), b));
			tarn_block_unref(b);
		}
		leave(mine, c);
	}
	for (int i = 0; i < 1000; i++) {
		tarn_block *b;
		tarn_parcel p;
		uint64_t id;

		OK(tarn_queue_get(q, &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "QB", &id, &b));
		PLAIN_EQ(tarn_block_id(b), id);
		PLAIN_EQ(((unsigned char *)tarn_block_data(b))[4999], i & 255);
		tarn_parcel_fini(&p);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_object_unref(q);
	user_close(&u);
}

/* ---- blocks, without the server ---- */

#define PARCELS 8
static const char long_text[] = "longer than a slot: ................................................................"
				"................................................................................"
				"................................................................................";

struct two_ways {
	tarn_object *there, *back, *said;
	tarn_block *b[2 * PARCELS];
};

static void two_ways_make(struct two_ways *w, tarn_client *c)
{
	tarn_block *spare[PARCELS];

	/* For values that do not fit: then such lie ready, and the server is not asked for them. */
	for (size_t size = 256; size <= 512; size += 64) {
		for (unsigned i = 0; i < PARCELS; i++)
			OK(tarn_block_new(c, size, 0, &spare[i]));
		for (unsigned i = 0; i < PARCELS; i++)
			tarn_block_unref(spare[i]);
	}
	for (unsigned i = 0; i < 2 * PARCELS; i++) {
		OK(tarn_block_new(c, 100 + i, 0, &w->b[i]));
		memset(tarn_block_data(w->b[i]), (int)i, 100 + i);
	}
}

/* One block, two blocks, and one whose values do not fit into the slot. */
static void two_ways_put(struct two_ways *w, tarn_object *q)
{
	for (unsigned i = 0; i < PARCELS; i++) {
		if (i % 3 == 0)
			OK(tarn_queue_putf(q, 0, "iB", (int)i, w->b[2 * i]));
		else if (i % 3 == 1)
			OK(tarn_queue_putf(q, 0, "iBB", (int)i, w->b[2 * i], w->b[2 * i + 1]));
		else
			OK(tarn_queue_putf(q, 0, "isB", (int)i, long_text, w->b[2 * i]));
		tarn_block_unref(w->b[2 * i]);
		tarn_block_unref(w->b[2 * i + 1]);
	}
}

static void two_ways_get(tarn_object *q, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		tarn_block *a = NULL, *b = NULL;
		const char *text = NULL;
		tarn_parcel p;
		int number;

		OK(tarn_queue_get(q, &p, TARN_FOREVER));
		if (i % 3 == 0)
			OK(tarn_parcel_get(&p, "iB", &number, &a));
		else if (i % 3 == 1)
			OK(tarn_parcel_get(&p, "iBB", &number, &a, &b));
		else
			OK(tarn_parcel_get(&p, "isB", &number, &text, &a));
		PLAIN_EQ(number, (int)i);
		PLAIN_EQ(tarn_block_size(a), 100 + 2 * i);
		PLAIN_EQ(((unsigned char *)tarn_block_data(a))[99 + 2 * i], 2 * i);
		PLAIN_CHECK(b == NULL || ((unsigned char *)tarn_block_data(b))[0] == 2 * i + 1);
		PLAIN_CHECK(text == NULL || strcmp(text, long_text) == 0);
		tarn_parcel_fini(&p);
	}
}

/* Whoever is first: lanes are read in some order, so that in one direction what the consumer says is read before
 * what the producer said. */
static void two_ways(unsigned child_gets, bool child_lives)
{
	struct user u = user_open();
	struct two_ways w = { .there = queue_new(u.c, 20, 0), .back = queue_new(u.c, 20, 0),
			      .said = queue_new(u.c, 2, 0) };
	pid_t pid, server = tarn_server_pid(u.s.server);

	OK(tarn_object_publish(w.there, "q", 0));
	OK(tarn_object_publish(w.back, "back", 0));
	OK(tarn_object_publish(w.said, "said", 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		struct two_ways mine = { .there = find(&u.s, &c) };

		OK(tarn_object_lookup(c, "back", TARN_FOREVER, &mine.back));
		OK(tarn_object_lookup(c, "said", TARN_FOREVER, &mine.said));
		two_ways_make(&mine, c);
		two_ways_get(mine.there, 1); /* also a lane, and the right to hold some blocks */
		put(mine.said, 1);
		two_ways_put(&mine, mine.back);
		two_ways_get(mine.there, child_gets);
		put(mine.said, 2);
		if (!child_lives)
			pause();
		tarn_object_unref(mine.back);
		tarn_object_unref(mine.said);
		leave(mine.there, c);
	}
	two_ways_make(&w, u.c);
	tarn_block *first;

	OK(tarn_block_new(u.c, 100, 0, &first));
	memset(tarn_block_data(first), 0, 100);
	OK(tarn_queue_putf(w.there, 0, "iB", 0, first));
	tarn_block_unref(first);
	PLAIN_EQ(get(w.said, TARN_FOREVER), 1);
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	two_ways_put(&w, w.there);
	two_ways_get(w.back, PARCELS);
	PLAIN_EQ(get(w.said, TARN_FOREVER), 2); /* all of it was there and back, and nobody served */
	if (!child_lives)
		plain_kill(pid);
	PLAIN_EQ(kill(server, SIGCONT), 0);
	if (child_lives)
		PLAIN_EQ(plain_reap(pid), 0);
	for (unsigned i = child_gets; i < PARCELS; i++) { /* what nobody took is still there, whole */
		tarn_parcel p;

		OK(tarn_queue_get(w.there, &p, 0));
		tarn_parcel_fini(&p);
	}
	scene_settle(&u.s);
	OK(tarn_client_trim(u.c));
	scene_settle(&u.s);
	PLAIN_EQ(scene_stat(&u.s).blocks_live, 6); /* three queues and their slots */
	PLAIN_EQ(scene_stat(&u.s).edges, 3);
	tarn_object_unref(w.there);
	tarn_object_unref(w.back);
	tarn_object_unref(w.said);
	user_close(&u);
}
PLAIN_TEST(t12_blocks_go_both_ways_while_the_server_is_stopped) { two_ways(PARCELS, true); }
PLAIN_TEST(t12_blocks_in_a_queue_outlive_who_put_and_got_some) { two_ways(5, false); }

PLAIN_TEST(t12_what_an_item_refers_to_is_counted_exactly)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 10, 0), *o = NEW(u.c, "Magnifier", "d", 2.0), *got;
	tarn_channel *ch, *ch_got;
	tarn_block *b, *b_got;
	tarn_parcel p;
	uint64_t id;

	OK(tarn_block_new(u.c, 100, 0, &b));
	OK(tarn_channel_new(u.c, 4, NULL, &ch));
	OK(tarn_queue_putf(q, 0, "[OBC]BO", o, b, ch, b, o));
	OK(tarn_queue_putf(q, 0, "B", b));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, tarn_object_id(o)), 2);  /* ours, and the queue's */
	PLAIN_EQ(scene_count(&u.s, tarn_block_id(b)), 3);
	PLAIN_EQ(scene_count(&u.s, tarn_channel_id(ch)), 2);
	OK(tarn_queue_get(q, &p, 0));
	OK(tarn_parcel_get(&p, "[OBC]BO", &got, &b_got, &ch_got, &b_got, &got));
	PLAIN_CHECK(tarn_object_same(got, o) && types_scale(got, 4) == 8);
	PLAIN_EQ(tarn_block_id(b_got), tarn_block_id(b));
	PLAIN_EQ(tarn_channel_id(ch_got), tarn_channel_id(ch));
	tarn_parcel_fini(&p);
	id = tarn_block_id(b);
	tarn_block_unref(b);
	tarn_channel_unref(ch);
	tarn_object_unref(o);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1); /* the second item's */
	OK(tarn_queue_get(q, &p, 0));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1); /* ours */
	tarn_parcel_fini(&p);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	scene_check(&u.s);
	tarn_object_unref(q);
	user_close(&u);
}

/* One of its references cannot be had: the others were kept until the queue ended. */
PLAIN_TEST(t12_an_item_that_cannot_be_read_leaves_what_it_refers_to)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 4, 0);
	struct tarn__queue_slot *slot;
	struct tarn__mpmc m;
	tarn_block *b[3];
	tarn_parcel p;

	for (int i = 0; i < 3; i++)
		OK(tarn_block_new(u.c, 100, 0, &b[i]));
	OK(tarn_queue_putf(q, 0, "BBB", b[0], b[1], b[2]));
	scene_settle(&u.s);
	PLAIN_CHECK(tarn__queue_view(tarn__object_instance(q, &tarn__type_queue), u.c->data, u.c->data_bytes,
				     u.c->number, &m));
	slot = (void *)tarn__mpmc_slot(&m, 0);
	/* Somebody wrote another id there. */
	tarn__store_relaxed(&slot->payload[tarn__item_words(tarn__load_relaxed(&slot->head)) + 2],
			    tarn_block_id(b[1]) + (UINT64_C(1) << 40));
	PLAIN_CHECK(tarn_queue_get(q, &p, 0) < 0);
	PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, tarn_block_id(b[0])), 1);
	PLAIN_EQ(scene_count(&u.s, tarn_block_id(b[2])), 1);
	/* The place is free again. */
	for (int i = 0; i < 4; i++)
		OK(tarn_queue_putf(q, 0, "i", i));
	FAILS(tarn_queue_putf(q, 0, "i", 4), EAGAIN);
	for (int i = 0; i < 3; i++)
		tarn_block_unref(b[i]);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t12_an_item_with_too_many_references_is_refused_whole)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 10, 0);
	char text[300] = { 0 };
	tarn_builder builder;
	tarn_parcel p;

	memset(text, 'a', sizeof text - 1);
	for (unsigned n = 1; n <= 20; n++)
		for (unsigned large = 0; large < 2; large++) {
			tarn_builder_init(&builder);
			for (unsigned k = 0; k < n; k++) {
				tarn_block *b;

				OK(tarn_block_new(u.c, 64, 0, &b));
				tarn_put_block(&builder, b);
				tarn_block_unref(b);
			}
			if (large)
				tarn_put_string(&builder, text);
			if (n <= 13) {
				OK(tarn_queue_put(q, &builder, 0));
				OK(tarn_queue_get(q, &p, 0));
				PLAIN_EQ(tarn_parcel_count(&p), n + large);
				tarn_parcel_fini(&p);
			} else {
				FAILS(tarn_queue_put(q, &builder, 0), E2BIG);
			}
			tarn_builder_fini(&builder);
		}
	PLAIN_EQ(try_get(q), -EAGAIN);
	tarn_object_unref(q);
	user_close(&u);
}

static void destroyed_with_references(size_t maxsize, unsigned flags)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, maxsize, flags), *counts = NEW(u.c, "Counts", "");

	for (int i = 0; i < 1000; i++) {
		tarn_object *o = NEW(u.c, "Canary", "");
		tarn_block *b;

		OK(tarn_block_new(u.c, 1000, 0, &b));
		OK(tarn_queue_putf(q, 0, "OB", o, b));
		tarn_object_unref(o);
		tarn_block_unref(b);
	}
	scene_settle(&u.s);
	PLAIN_EQ(types_canaries(counts), 1000);
	tarn_object_unref(q);
	PLAIN_WAIT_FOR(types_canaries(counts) == 0);
	tarn_object_unref(counts);
	user_close(&u);
}
PLAIN_TEST(f9_a_thousand_references_end_with_their_queue) { destroyed_with_references(1000, 0); }
PLAIN_TEST(f9_a_thousand_references_end_with_an_unbounded_queue) { destroyed_with_references(0, 0); }
PLAIN_TEST(f9_a_thousand_references_end_with_a_joinable_queue)
{
	destroyed_with_references(1000, TARN_QUEUE_JOINABLE);
}

/* ---- task_done, join ---- */

PLAIN_TEST(t13_task_done_too_many_times_is_an_error)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 0, TARN_QUEUE_JOINABLE), *plain = queue_new(u.c, 5, 0);

	FAILS(tarn_queue_task_done(q), TARN_ESTATE);
	put(q, 1);
	FAILS(tarn_queue_task_done(q), TARN_ESTATE);
	PLAIN_EQ(get(q, 0), 1);
	OK(tarn_queue_task_done(q));
	FAILS(tarn_queue_task_done(q), TARN_ESTATE);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "too many") != NULL);
	FAILS(tarn_queue_task_done(plain), TARN_ESTATE);
	FAILS(tarn_queue_join(plain, 0), TARN_ESTATE);
	tarn_object_unref(plain);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t13_join_waits_for_all_tasks_of_all_workers)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 0, TARN_QUEUE_JOINABLE);
	uint32_t *done = scene_shared(sizeof *done);
	pid_t pid[4];

	OK(tarn_queue_join(q, 0)); /* nothing was put */
	OK(tarn_object_publish(q, "q", 0));
	for (int k = 0; k < 4; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_client *c;
			tarn_object *mine = find(&u.s, &c);

			for (int64_t i = 0; i >= 0;) {
				tarn_parcel p;

				OK(tarn_queue_get(mine, &p, TARN_FOREVER));
				OK(tarn_value_int(tarn_parcel_at(&p, 0), &i));
				__atomic_fetch_add(done, i >= 0, __ATOMIC_SEQ_CST);
				tarn_parcel_fini(&p);
				OK(tarn_queue_task_done(mine));
			}
			leave(mine, c);
		}
	}
	for (int i = 0; i < 2000; i++) {
		if (i % 7 == 0) { /* some with a reference */
			tarn_block *b;

			OK(tarn_block_new(u.c, 64, 0, &b));
			OK(tarn_queue_putf(q, 0, "iB", i, b));
			tarn_block_unref(b);
			continue;
		}
		put(q, i);
	}
	OK(tarn_queue_join(q, TARN_FOREVER));
	PLAIN_EQ(__atomic_load_n(done, __ATOMIC_SEQ_CST), 2000);
	for (int k = 0; k < 4; k++)
		put(q, -1);
	for (int k = 0; k < 4; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	OK(tarn_queue_join(q, TARN_FOREVER));
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t13_acknowledging_by_number_is_exact_whatever_the_order)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 0, TARN_QUEUE_JOINABLE);
	uint64_t number[3];
	tarn_parcel p;

	for (int i = 0; i < 3; i++)
		put(q, i);
	for (int i = 0; i < 3; i++) {
		OK(tarn_queue_get_item(q, &p, &number[i], 0));
		tarn_parcel_fini(&p);
	}
	OK(tarn_queue_ack(q, number[1]));
	FAILS(tarn_queue_ack(q, number[1]), TARN_ESTATE);
	OK(tarn_queue_ack(q, number[2]));
	FAILS(tarn_queue_join(q, 0), EAGAIN);
	OK(tarn_queue_task_done(q)); /* the oldest that is open */
	FAILS(tarn_queue_ack(q, number[0]), TARN_ESTATE);
	OK(tarn_queue_join(q, 0));
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t12_the_next_get_acknowledges)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 0, TARN_QUEUE_JOINABLE | TARN_QUEUE_ACK_NEXT);

	for (int i = 0; i < 100; i++)
		put(q, i);
	for (int i = 0; i < 100; i++) {
		PLAIN_EQ(get(q, 0), i);
		FAILS(tarn_queue_join(q, 0), EAGAIN);
	}
	PLAIN_EQ(try_get(q), -EAGAIN);
	OK(tarn_queue_join(q, 0));
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(t13_one_open_task_does_not_keep_the_memory_of_those_behind_it)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 100, TARN_QUEUE_JOINABLE);
	uint64_t first, used = 0;
	tarn_parcel p;

	put(q, 0);
	OK(tarn_queue_get_item(q, &p, &first, 0));
	tarn_parcel_fini(&p);
	for (int i = 0; i < 20000; i++) {
		uint64_t n;

		put(q, i);
		OK(tarn_queue_get_item(q, &p, &n, 0));
		tarn_parcel_fini(&p);
		OK(tarn_queue_ack(q, n));
		if (i == 2000)
			used = scene_stat(&u.s).used_bytes;
	}
	PLAIN_EQ(scene_stat(&u.s).used_bytes, used);
	FAILS(tarn_queue_join(q, 0), EAGAIN);
	OK(tarn_queue_ack(q, first));
	OK(tarn_queue_join(q, 0));
	tarn_object_unref(q);
	user_close(&u);
}

/* More runs have one than the server looks at when it needs another. */
PLAIN_TEST_TIMEOUT(t13_many_open_tasks_do_not_keep_the_memory_of_those_behind_them, 120)
{
	enum { OPEN = 150, RUN = 32 };
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 7, TARN_QUEUE_JOINABLE);
	uint64_t open[OPEN], n, used = 0;
	tarn_parcel p;

	for (int i = 0; i < 3 * OPEN * RUN; i++) {
		put(q, i);
		OK(tarn_queue_get_item(q, &p, &n, 0));
		tarn_parcel_fini(&p);
		if (i % RUN == 0 && i / RUN < OPEN)
			open[i / RUN] = n;
		else
			OK(tarn_queue_ack(q, n));
		if (i == (OPEN + 40) * RUN)
			used = scene_stat(&u.s).used_bytes;
	}
	PLAIN_EQ(scene_stat(&u.s).used_bytes, used);
	for (unsigned k = 0; k < OPEN; k++)
		OK(tarn_queue_ack(q, open[k]));
	OK(tarn_queue_join(q, 0));
	tarn_object_unref(q);
	user_close(&u);
}

/* Its run's place in the table is the one of items 512 runs later. */
PLAIN_TEST_TIMEOUT(t13_one_open_task_stays_open_however_many_pass_it, 120)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 7, TARN_QUEUE_JOINABLE);
	uint64_t first, n;
	tarn_parcel p;
	int r = 0, passed = 0;

	put(q, 0);
	OK(tarn_queue_get_item(q, &p, &first, 0));
	tarn_parcel_fini(&p);
	while (passed < 20000 && (r = tarn_queue_putf(q, 0, "i", passed)) == 0) {
		OK(tarn_queue_get_item(q, &p, &n, 0));
		tarn_parcel_fini(&p);
		OK(tarn_queue_ack(q, n));
		passed++;
	}
	PLAIN_EQ(r, -EAGAIN);
	PLAIN_CHECK(passed > 16000);
	FAILS(tarn_queue_join(q, 0), EAGAIN);
	OK(tarn_queue_ack(q, first));
	OK(tarn_queue_join(q, 0));
	for (int i = 0; i < 2000; i++) {
		put(q, i);
		OK(tarn_queue_get_item(q, &p, &n, 0));
		tarn_parcel_fini(&p);
		OK(tarn_queue_ack(q, n));
	}
	tarn_object_unref(q);
	user_close(&u);
}

/* ---- close (queue.Queue.shutdown) ---- */

PLAIN_TEST(q1_a_closed_queue_takes_nothing_and_gives_what_it_has)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 3, 0);

	put(q, 1);
	put(q, 2);
	PLAIN_EQ(tarn_queue_closed(q), 0);
	OK(tarn_queue_close(q));
	OK(tarn_queue_close(q));
	PLAIN_EQ(tarn_queue_closed(q), 1);
	FAILS(tarn_queue_putf(q, 0, "i", 3), TARN_ECLOSED);
	PLAIN_EQ(get(q, TARN_FOREVER), 1);
	PLAIN_EQ(get(q, 0), 2);
	FAILS(tarn_queue_getf(q, 0, "i", &(int){ 0 }), TARN_ECLOSED);
	FAILS(tarn_queue_getf(q, TARN_FOREVER, "i", &(int){ 0 }), TARN_ECLOSED);
	tarn_object_unref(q);
	user_close(&u);
}

static void *wait_to_get(void *q)
{
	int i;

	FAILS(tarn_queue_getf(q, TARN_FOREVER, "i", &i), TARN_ECLOSED);
	return NULL;
}
static void *wait_to_put(void *q)
{
	FAILS(tarn_queue_putf(q, TARN_FOREVER, "i", 1), TARN_ECLOSED);
	return NULL;
}

PLAIN_TEST(q1_closing_wakes_all_who_wait)
{
	struct user u = user_open();
	tarn_object *empty = queue_new(u.c, 3, 0), *full = queue_new(u.c, 1, 0);
	pthread_t t[8];

	put(full, 0);
	for (unsigned k = 0; k < 8; k++)
		pthread_create(&t[k], NULL, k & 1 ? wait_to_put : wait_to_get, k & 1 ? full : empty);
	usleep(10000); /* most of them sleep by now */
	OK(tarn_queue_close(empty));
	OK(tarn_queue_close(full));
	for (unsigned k = 0; k < 8; k++)
		pthread_join(t[k], NULL);
	PLAIN_EQ(get(full, 0), 0);
	tarn_object_unref(empty);
	tarn_object_unref(full);
	user_close(&u);
}

/* What was put before or while it was closed is got exactly once: put says which. */
PLAIN_TEST(q1_items_put_while_the_queue_closes_are_got_or_refused)
{
	for (int round = 0; round < 20; round++) {
		struct user u = user_open();
		tarn_object *q = queue_new(u.c, 4, 0);
		uint32_t *put_n = scene_shared(sizeof *put_n);
		unsigned got = 0;
		pid_t pid;
		int i, r;

		OK(tarn_object_publish(q, "q", 0));
		pid = plain_fork();
		if (pid == 0) {
			tarn_client *c;
			tarn_object *mine = find(&u.s, &c);

			while ((r = tarn_queue_putf(mine, TARN_FOREVER, "i", 0)) == 0)
				__atomic_fetch_add(put_n, 1, __ATOMIC_SEQ_CST);
			PLAIN_EQ(r, -TARN_ECLOSED);
			leave(mine, c);
		}
		while ((r = tarn_queue_getf(q, TARN_FOREVER, "i", &i)) == 0)
			if (++got == 100)
				OK(tarn_queue_close(q));
		PLAIN_EQ(r, -TARN_ECLOSED);
		PLAIN_EQ(plain_reap(pid), 0);
		PLAIN_EQ(got, __atomic_load_n(put_n, __ATOMIC_SEQ_CST));
		tarn_object_unref(q);
		user_close(&u);
	}
}

/* ---- Q4 ---- */

struct point {
	double x, y;
};
TARN_QUEUE_OF(point_queue, struct point)

PLAIN_TEST(q4_a_typed_queue_carries_structs)
{
	struct user u = user_open();
	point_queue *q = NULL;
	struct point p = { 1.5, 2.5 }, got = { 0 };

	OK(point_queue_new(u.c, &(tarn_queue_options){ .maxsize = 2 }, &q));
	OK(point_queue_put(q, &p, 0));
	OK(point_queue_get(q, &got, 0));
	PLAIN_CHECK(got.x == 1.5 && got.y == 2.5);
	OK(tarn_queue_putf(point_queue_object(q), 0, "i", 1));
	FAILS(point_queue_get(q, &got, 0), TARN_EKIND);
	OK(tarn_queue_putf(point_queue_object(q), 0, "y", "abc", (size_t)3));
	FAILS(point_queue_get(q, &got, 0), TARN_EKIND);
	point_queue_unref(q);
	user_close(&u);
}

/* ---- words that a hostile client writes ---- */

/* It looked at every turn up to there. */
PLAIN_TEST(t13_a_lie_about_how_much_was_got_keeps_nobody_for_ever)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	struct tarn__queue *w;
	tarn_object *q = NULL;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_JOINABLE }, &q));
	w = tarn__object_instance(q, &tarn__type_queue);
	PLAIN_CHECK(w != NULL);
	w->head.turn = UINT64_C(1) << 50;
	FAILS(tarn_queue_task_done(q), TARN_ESTATE);
	w->head.turn = 0;
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* It published what lay in its own cache, and was evicted when that was given back. */
PLAIN_TEST(t12_a_lie_about_what_an_item_refers_to_gets_no_consumer_evicted)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 4, 0);
	struct tarn__queue_slot *slot;
	struct tarn__mpmc m;
	tarn_block *b, *cached;
	uint64_t id;
	tarn_parcel p;

	OK(tarn_block_new(u.c, 100, 0, &b));
	OK(tarn_block_new(u.c, 100, 0, &cached));
	id = tarn_block_id(cached);
	tarn_block_unref(cached);
	OK(tarn_queue_putf(q, 0, "B", b));
	scene_settle(&u.s);
	PLAIN_CHECK(tarn__queue_view(tarn__object_instance(q, &tarn__type_queue), u.c->data, u.c->data_bytes,
				     u.c->number, &m));
	slot = (void *)tarn__mpmc_slot(&m, 0);
	/* DIR tells everybody all ids. */
	tarn__store_relaxed(&slot->payload[tarn__item_words(tarn__load_relaxed(&slot->head))], id);
	OK(tarn_queue_get(q, &p, 0));
	scene_settle(&u.s);
	OK(tarn_client_trim(u.c));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1);
	tarn_parcel_fini(&p);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	put(q, 1);
	PLAIN_EQ(get(q, 0), 1);
	tarn_block_unref(b);
	tarn_object_unref(q);
	scene_settle(&u.s);
	PLAIN_EQ(scene_stat(&u.s).blocks_live, 0);
	PLAIN_EQ(scene_stat(&u.s).evictions, 0);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(t12_garbage_in_a_queue_harms_nobody_but_its_users, 120)
{
	struct scene s = scene_open(NULL);
	uint64_t seed = 7;

	for (int round = 0; round < 60; round++) {
		tarn_client *c = scene_client(&s);
		tarn_object *q = queue_new(c, round % 3 == 0 ? 0 : 8,
					   round % 3 == 2 ? TARN_QUEUE_REDELIVER : 0);
		struct tarn__queue *w;
		tarn_parcel p;

		for (int i = 0; i < 6; i++) {
			tarn_block *b;

			OK(tarn_block_new(c, 64, 0, &b));
			OK(tarn_queue_putf(q, 0, "iB", i, b));
			tarn_block_unref(b);
		}
		OK(tarn_queue_get(q, &p, 0));
		tarn_parcel_fini(&p);
		w = tarn__object_instance(q, &tarn__type_queue);
		PLAIN_CHECK(w != NULL);
		for (int i = 0; i < 6; i++) {
			unsigned char *at = (unsigned char *)w;
			size_t bytes = sizeof *w;
			uint64_t n = scene_random(&seed);

			if (i & 1) { /* the slots, or the table of runs */
				at = q->base.client->data + (w->ring_offset & 0xfffffff);
				bytes = 8 * 256;
				if (at >= q->base.client->data + q->base.client->data_bytes - bytes)
					break;
			}
			n = n & 256 ? n : n & 7;
			memcpy(at + scene_random(&seed) % (bytes / 8) * 8, &n, 8);
		}
		for (int i = 0; i < 4; i++) {
			tarn_queue_putf(q, 0, "i", 1);
			if (round & 1 && tarn_queue_get(q, &p, 0) == 0)
				tarn_parcel_fini(&p);
			tarn_queue_size(q);
		}
		tarn_client_close(c); /* and the server repairs what it held */
	}
	scene_close(&s);
}

/* ---- by methods of the same server ---- */

static int mover_put(tarn_context *ctx, void *self)
{
	tarn_object *q;
	tarn_block *b;
	int r = tarn_context_get(ctx, "OB", &q, &b);

	(void)self;
	if (r == 0)
		r = tarn_queue_putf(q, TARN_FOREVER, "sB", "moved", b);
	return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
}
static int mover_get(tarn_context *ctx, void *self)
{
	tarn_object *q;
	tarn_parcel p;
	int r = tarn_context_get(ctx, "O", &q);

	(void)self;
	if (r == 0)
		r = tarn_queue_get(q, &p, TARN_FOREVER);
	if (r < 0)
		return r == -TARN_EREMOTE ? tarn_rethrow(ctx) : r;
	r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(&p, 1));
	tarn_parcel_fini(&p);
	return r;
}
static const tarn_method mover_methods[] = {
	{ "put", mover_put, 0, "OB", "", NULL },
	{ "get", mover_get, 0, "O", "B", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type mover_type = { .name = "Mover", .size = 8, .methods = mover_methods };
TARN_TYPE_REGISTER(mover_type)

PLAIN_TEST(f9_methods_put_and_get_what_refers_to_something_as_clients_do)
{
	struct user u = user_open();
	tarn_object *q = queue_new(u.c, 4, 0), *mover = NEW(u.c, "Mover", "");
	tarn_block *b, *got;
	const char *text;
	tarn_parcel p;

	OK(tarn_block_new(u.c, 100, 0, &b));
	strcpy(tarn_block_data(b), "in the block");
	for (unsigned k = 0; k < 10; k++) {
		OK(tarn_callf(mover, "put", TARN_FOREVER, "OB", NULL, q, b));
		OK(tarn_queue_get(q, &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "sB", &text, &got));
		PLAIN_CHECK(strcmp(text, "moved") == 0 && strcmp(tarn_block_data(got), "in the block") == 0);
		tarn_parcel_fini(&p);

		OK(tarn_queue_putf(q, TARN_FOREVER, "iB", k, b));
		tarn_builder args;
		tarn_builder_init(&args);
		OK(tarn_put_object(&args, q));
		OK(tarn_call(mover, "get", &args, &p, TARN_FOREVER));
		tarn_builder_fini(&args);
		OK(tarn_parcel_get(&p, "B", &got));
		PLAIN_EQ(tarn_block_id(got), tarn_block_id(b));
		tarn_parcel_fini(&p);
		PLAIN_EQ(tarn_queue_size(q), 0);
	}
	tarn_block_unref(b);
	tarn_object_unref(mover);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_MAIN()
