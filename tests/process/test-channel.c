/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels between processes: finding them, ends, order, limits, waiting, and what becomes of
 * what is inside (F1, F9).
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "tests/common/scene.h"

/* A parent with a client, a channel named "c" and its producer end. */
struct pair {
	struct scene s;
	tarn_client *c;
	tarn_channel *ch;
	uint32_t *step;
};

static struct pair pair_open(size_t capacity)
{
	struct pair p = { .s = scene_open(NULL) };

	p.step = scene_shared(64);
	p.c = scene_client(&p.s);
	OK(tarn_channel_new(p.c, capacity, "c", &p.ch));
	OK(tarn_channel_bind(p.ch, TARN_PRODUCER));
	return p;
}

static void pair_close(struct pair *p)
{
	tarn_channel_unref(p->ch);
	tarn_client_close(p->c);
	scene_close(&p->s);
}

/* In a child: a client of its own with the other end. */
static tarn_channel *take(const struct pair *p, enum tarn_channel_end end, tarn_client **ret_c)
{
	tarn_channel *ch;

	*ret_c = scene_client(&p->s);
	OK(tarn_channel_open(*ret_c, "c", TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, end));
	return ch;
}

static void put_number(tarn_client *c, tarn_channel *ch, uint64_t n)
{
	tarn_block *b;

	OK(tarn_block_new(c, 64, 0, &b));
	*(uint64_t *)tarn_block_data(b) = n * 3;
	OK(tarn_channel_give(ch, b, n, TARN_FOREVER));
}

static void get_number(tarn_channel *ch, uint64_t n)
{
	tarn_block *b;
	uint64_t tag;

	OK(tarn_channel_recv(ch, &b, &tag, TARN_FOREVER));
	PLAIN_EQ(tag, n);
	PLAIN_EQ(*(uint64_t *)tarn_block_data(b), n * 3);
	tarn_block_unref(b);
}

/* ---- finding ---- */

PLAIN_TEST(a_name_is_found_when_it_appears)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch, *again;
	pid_t child;

	FAILS(tarn_channel_open(c, "late", 0, &ch), ENOENT);
	FAILS(tarn_channel_open(c, "late", 5000000, &ch), ETIMEDOUT);
	child = plain_fork();
	if (child == 0) {
		c = scene_client(&s);
		scene_say(step, 1);
		OK(tarn_channel_open(c, "late", TARN_FOREVER, &ch));
		OK(tarn_channel_bind(ch, TARN_CONSUMER));
		get_number(ch, 5);
		_exit(0);
	}
	scene_await(step, 1);
	OK(tarn_channel_new(c, 4, "late", &ch));
	FAILS(tarn_channel_new(c, 4, "late", &again), EEXIST);
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	put_number(c, ch, 5);
	PLAIN_EQ(plain_reap(child), 0);
	/* The name is free again with the channel. */
	PLAIN_WAIT_FOR(scene_client_gone(&s, child));
	tarn_channel_unref(ch);
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	FAILS(tarn_channel_open(c, "late", 0, &ch), ENOENT);
	OK(tarn_channel_new(c, 4, "late", &ch));
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(a_name_that_could_not_even_be_asked_for_costs_no_credit)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch;
	tarn_block *b;
	uint32_t holds;

	OK(tarn_channel_new(c, 4, NULL, &ch)); /* takes the first credits */
	OK(tarn_block_new(c, 64, 0, &b));
	struct tarn__lane *l = tarn__lane_mine(c);

	OK(tarn__handle_share(l, b));
	PLAIN_EQ(kill(tarn_server_pid(s.server), SIGSTOP), 0);
	while (tarn__requests_room(&l->requests, 1) != 0)
		OK(tarn_block_resize(b, 64));
	holds = l->holds;
	FAILS(tarn_channel_open(c, "nobody's", 0, &ch), ETIMEDOUT);
	PLAIN_EQ(l->holds, holds);
	/* Where it was asked for the credit comes back with the answer. */
	PLAIN_EQ(kill(tarn_server_pid(s.server), SIGCONT), 0);
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_EQ(kill(tarn_server_pid(s.server), SIGSTOP), 0);
	FAILS(tarn_channel_open(c, "nobody's", 0, &ch), ETIMEDOUT);
	PLAIN_EQ(l->holds, holds - 1);
	PLAIN_EQ(kill(tarn_server_pid(s.server), SIGCONT), 0);
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_EQ(l->holds, holds);
	tarn_block_unref(b);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(names_and_capacities_out_of_bounds_are_refused)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch, *found;
	char name[66];

	for (size_t n = 0; n < sizeof name; n++) {
		memset(name, 'x', n);
		name[n < sizeof name - 1 ? n : sizeof name - 1] = '\0';
		if (strlen(name) == 0 || strlen(name) > 63) {
			FAILS(tarn_channel_new(c, 4, name, &ch), EINVAL);
			FAILS(tarn_channel_open(c, name, 0, &ch), EINVAL);
			continue;
		}
		OK(tarn_channel_new(c, 4, name, &ch));
		OK(tarn_channel_open(c, name, 0, &found));
		PLAIN_CHECK(found == ch);
		tarn_channel_unref(ch);
		tarn_channel_unref(found);
	}
	FAILS(tarn_channel_open(c, NULL, 0, &ch), EINVAL);
	FAILS(tarn_channel_new(c, 0, NULL, &ch), EINVAL);
	FAILS(tarn_channel_new(c, ((size_t)1 << 20) + 1, NULL, &ch), EINVAL);
	FAILS(tarn_channel_new(c, SIZE_MAX, NULL, &ch), EINVAL);
	FAILS(tarn_channel_new(c, (size_t)1 << 20, NULL, &ch), ENOMEM); /* 64 MiB, all there is */
	OK(tarn_channel_new(c, 5, NULL, &ch));
	PLAIN_EQ(tarn_channel_capacity(ch), 8);
	FAILS(tarn_channel_bind(ch, (enum tarn_channel_end)0), EINVAL);
	FAILS(tarn_channel_bind(ch, (enum tarn_channel_end)3), EINVAL);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(p1_a_channel_travels_through_a_channel_and_as_a_token)
{
	struct pair p = pair_open(4);
	tarn_token *t = scene_shared(sizeof *t);
	tarn_channel *sent, *by_token;
	uint64_t tag;
	tarn_block *b;
	pid_t child;

	OK(tarn_channel_new(p.c, 4, NULL, &sent));
	OK(tarn_channel_new(p.c, 4, NULL, &by_token));
	OK(tarn_channel_bind(by_token, TARN_PRODUCER));
	OK(tarn_channel_export(by_token, NULL, t));
	child = plain_fork();
	if (child == 0) {
		tarn_client *c;
		tarn_channel *in = take(&p, TARN_CONSUMER, &c), *got, *third;

		/* A channel is not a block; it stays where it is. */
		FAILS(tarn_channel_recv(in, &b, &tag, TARN_FOREVER), TARN_EKIND);
		FAILS(tarn_channel_recv(in, &b, &tag, 0), TARN_EKIND);
		OK(tarn_channel_recv_channel(in, &got, &tag, 0));
		PLAIN_EQ(tag, 99);
		FAILS(tarn_channel_recv_channel(in, &third, &tag, TARN_FOREVER), TARN_EKIND);
		OK(tarn_channel_recv(in, &b, &tag, 0));
		PLAIN_EQ(tag, 100);
		OK(tarn_channel_bind(got, TARN_PRODUCER));
		OK(tarn_channel_give(got, b, 101, 0));
		OK(tarn_channel_import(c, t, &third));
		OK(tarn_channel_bind(third, TARN_CONSUMER));
		get_number(third, 8);
		_exit(0);
	}
	OK(tarn_channel_send_channel(p.ch, sent, 99, 0));
	OK(tarn_block_new(p.c, 10, 0, &b));
	OK(tarn_channel_give(p.ch, b, 100, 0));
	put_number(p.c, by_token, 8);
	OK(tarn_channel_bind(sent, TARN_CONSUMER));
	OK(tarn_channel_recv(sent, &b, &tag, TARN_FOREVER));
	PLAIN_EQ(tag, 101);
	tarn_block_unref(b);
	PLAIN_EQ(plain_reap(child), 0);
	tarn_channel_unref(sent);
	tarn_channel_unref(by_token);
	pair_close(&p);
}

/* ---- ends ---- */

PLAIN_TEST(an_object_in_a_channel_says_nothing_of_its_senders_addresses)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *lock;
	tarn_channel *ch;

	OK(tarn_channel_new(c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_lock_new(c, 0, &lock));
	OK(tarn_lock_acquire(lock, 0)); /* from here on the proxy knows where the instance lies */
	OK(tarn_channel_send_object(ch, lock, 0, TARN_FOREVER));
	PLAIN_EQ(ch->ring->slot[0].word[TARN__CH_ID], tarn_object_id(lock));
	PLAIN_EQ(ch->ring->slot[0].word[TARN__CH_SIZE], 0);
	tarn_object_unref(lock);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(an_end_is_taken_once_whatever_became_of_it)
{
	struct pair p = pair_open(4);
	tarn_block *b;
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c;
		tarn_channel *ch = take(&p, TARN_CONSUMER, &c);

		FAILS(tarn_channel_bind(ch, TARN_PRODUCER), EBUSY);
		FAILS(tarn_channel_bind(ch, TARN_CONSUMER), EBUSY); /* its own */
		OK(tarn_block_new(c, 10, 0, &b));
		FAILS(tarn_channel_send(ch, b, 0, 0), EPERM);
		FAILS(tarn_channel_give(ch, b, 0, 0), EPERM);
		FAILS(tarn_channel_send_channel(ch, ch, 0, 0), EPERM);
		PLAIN_EQ(tarn_block_size(b), 10); /* a give that fails gives nothing */
		tarn_block_unref(b);
		scene_say(p.step, 1);
		scene_await(p.step, 2);
		OK(tarn_channel_close(ch));
		FAILS(tarn_channel_bind(ch, TARN_CONSUMER), EBUSY);
		FAILS(tarn_channel_recv(ch, &b, NULL, 0), EPERM);
		OK(tarn_channel_close(ch)); /* nothing to give up */
		_exit(0);
	}
	scene_await(p.step, 1);
	FAILS(tarn_channel_recv(p.ch, &b, NULL, 0), EPERM);
	FAILS(tarn_channel_bind(p.ch, TARN_CONSUMER), EBUSY);
	scene_say(p.step, 2);
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_WAIT_FOR(scene_client_gone(&p.s, child));
	FAILS(tarn_channel_bind(p.ch, TARN_CONSUMER), EBUSY); /* H9 */
	pair_close(&p);
}

/* ---- order ---- */

static void fifo(size_t capacity, uint64_t items)
{
	struct pair p = pair_open(capacity);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c;
		tarn_channel *ch = take(&p, TARN_CONSUMER, &c);
		tarn_block *b;

		for (uint64_t i = 0; i < items; i++)
			get_number(ch, i);
		FAILS(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
		tarn_client_close(c);
		_exit(0);
	}
	for (uint64_t i = 0; i < items; i++)
		put_number(p.c, p.ch, i);
	OK(tarn_channel_close(p.ch));
	PLAIN_EQ(plain_reap(child), 0);
	pair_close(&p);
}

PLAIN_TEST_TIMEOUT(a_million_items_arrive_whole_and_in_order, 120)
{
	fifo(1024, 1000000);
}

PLAIN_TEST_TIMEOUT(f1_items_whose_sender_drops_them_at_once_arrive_through_the_largest_ring, 60)
{
	fifo(1 << 16, 200000);
}

PLAIN_TEST_TIMEOUT(a_channel_of_one_keeps_order, 60)
{
	fifo(1, 20000);
}

PLAIN_TEST_TIMEOUT(a_channel_of_sixty_four_keeps_order, 60)
{
	fifo(64, 200000);
}

PLAIN_TEST(tags_are_the_users_own_words)
{
	static const uint64_t tags[] = { 0, 1, UINT64_MAX, INT64_MAX, 1ull << 63, 0x0123456789abcdef };
	struct pair p = pair_open(64);
	tarn_block *b, *got;
	uint64_t tag, random = 77;

	OK(tarn_channel_bind(p.ch, TARN_CONSUMER));
	OK(tarn_block_new(p.c, 10, 0, &b));
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t t = i < sizeof tags / sizeof *tags ? tags[i] : scene_random(&random);

		OK(tarn_channel_send(p.ch, b, t, TARN_FOREVER));
		OK(tarn_channel_recv(p.ch, &got, i % 3 ? &tag : NULL, TARN_FOREVER));
		PLAIN_CHECK(got == b && (i % 3 == 0 || tag == t));
		tarn_block_unref(got);
	}
	tarn_block_unref(b);
	pair_close(&p);
}

#define HANDS 4

struct relay {
	pthread_mutex_t lock;
	tarn_client *c;
	tarn_channel *ch;
	uint64_t next, items;
	bool producer;
};

/* Each thread does a few items when it gets its turn: at any time one, in any order. */
static void *take_turns(void *arg)
{
	struct relay *r = arg;

	for (bool over = false; !over;) {
		pthread_mutex_lock(&r->lock);
		for (int i = 0; i < 7 && r->next < r->items; i++, r->next++) {
			if (r->producer)
				put_number(r->c, r->ch, r->next);
			else
				get_number(r->ch, r->next);
		}
		over = r->next == r->items;
		pthread_mutex_unlock(&r->lock);
		sched_yield();
	}
	return NULL;
}

static void relay(struct relay *r)
{
	pthread_t thread[HANDS];

	pthread_mutex_init(&r->lock, NULL);
	for (int i = 0; i < HANDS; i++)
		PLAIN_EQ(pthread_create(&thread[i], NULL, take_turns, r), 0);
	for (int i = 0; i < HANDS; i++)
		pthread_join(thread[i], NULL);
}

static void turns(size_t capacity)
{
	struct pair p = pair_open(capacity);
	struct relay r = { .c = p.c, .ch = p.ch, .items = 20000, .producer = true };
	pid_t child = plain_fork();

	if (child == 0) {
		struct relay in = { .items = 20000 };

		in.ch = take(&p, TARN_CONSUMER, &in.c);
		relay(&in);
		tarn_client_close(in.c);
		_exit(0);
	}
	relay(&r);
	PLAIN_EQ(plain_reap(child), 0);
	pair_close(&p);
}

PLAIN_TEST_TIMEOUT(ends_used_by_several_threads_in_turn_keep_order, 90)
{
	turns(256);
}

PLAIN_TEST_TIMEOUT(ends_of_a_small_channel_used_by_several_threads_in_turn_keep_order, 90)
{
	turns(2);
}

/* ---- limits and timeouts ---- */

static void fills_to(size_t capacity)
{
	struct pair p = pair_open(capacity);
	tarn_block *b, *got;
	uint64_t sent = 0, tag;
	int r;

	OK(tarn_channel_bind(p.ch, TARN_CONSUMER));
	FAILS(tarn_channel_recv(p.ch, &got, &tag, 0), EAGAIN);
	FAILS(tarn_channel_recv(p.ch, &got, &tag, 2000000), ETIMEDOUT);
	OK(tarn_block_new(p.c, 10, 0, &b));
	for (int lap = 0; lap < 3; lap++) {
		uint64_t first = sent;

		/* Without waiting it also fails when the server is behind: after a ping it is not. */
		for (;;) {
			r = tarn_channel_send(p.ch, b, sent, 0);
			if (r == -EAGAIN) {
				OK(tarn_client_ping(p.c, TARN_FOREVER));
				r = tarn_channel_send(p.ch, b, sent, 0);
			}
			if (r != 0)
				break;
			sent++;
		}
		PLAIN_EQ(r, -EAGAIN);
		PLAIN_CHECKF(sent - first >= capacity, "%llu fit",
			     (unsigned long long)(sent - first));
		if (capacity < 64)
			PLAIN_EQ(sent - first, capacity);
		FAILS(tarn_channel_send(p.ch, b, 0, 2000000), ETIMEDOUT);
		FAILS(tarn_channel_give(p.ch, b, 0, 2000000), ETIMEDOUT);
		for (uint64_t i = first; i < sent; i++) {
			OK(tarn_channel_recv(p.ch, &got, &tag, TARN_FOREVER));
			PLAIN_EQ(tag, i);
			tarn_block_unref(got);
		}
		FAILS(tarn_channel_recv(p.ch, &got, &tag, 0), EAGAIN);
		FAILS(tarn_channel_recv(p.ch, &got, &tag, 2000000), ETIMEDOUT);
	}
	tarn_block_unref(b);
	pair_close(&p);
}

PLAIN_TEST(full_and_empty_are_timeouts_at_every_capacity)
{
	static const size_t capacity[] = { 1, 2, 32, 64, 1024, 1 << 16 };

	for (unsigned i = 0; i < sizeof capacity / sizeof *capacity; i++)
		fills_to(capacity[i]);
}

/* ---- death of an end ---- */

PLAIN_TEST(what_a_dead_producer_sent_is_read_and_then_the_channel_is_closed)
{
	for (unsigned n = 0; n <= 300; n += 60) {
		struct pair p = pair_open(1024);
		tarn_channel *mine;
		tarn_client *c;
		pid_t child;

		tarn_channel_close(p.ch);
		tarn_channel_unref(p.ch);
		OK(tarn_channel_new(p.c, 1024, "d", &mine));
		OK(tarn_channel_bind(mine, TARN_CONSUMER));
		child = plain_fork();
		if (child == 0) {
			tarn_channel *out;

			c = scene_client(&p.s);
			OK(tarn_channel_open(c, "d", 0, &out));
			OK(tarn_channel_bind(out, TARN_PRODUCER));
			for (uint64_t i = 0; i < n; i++)
				put_number(c, out, i);
			kill(getpid(), SIGKILL);
		}
		PLAIN_EQ(plain_reap(child), -SIGKILL);
		if (n % 120)
			PLAIN_WAIT_FOR(scene_client_gone(&p.s, child));
		for (uint64_t i = 0; i < n; i++)
			get_number(mine, i);
		tarn_block *b;
		FAILS(tarn_channel_recv(mine, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
		FAILS(tarn_channel_recv(mine, &b, NULL, 0), TARN_ECLOSED);
		p.ch = mine;
		pair_close(&p);
	}
}

/* Numbers as fast as it can, until it is killed. */
static void flood(const struct pair *p, const char *name)
{
	tarn_client *c = scene_client(&p->s);
	tarn_channel *out;

	OK(tarn_channel_open(c, name, TARN_FOREVER, &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	scene_say(p->step, 1);
	for (uint64_t i = 0;; i++)
		put_number(c, out, i);
}

PLAIN_TEST_TIMEOUT(a_producer_killed_at_any_moment_leaves_a_prefix, 90)
{
	struct pair p = pair_open(4);
	uint64_t random = scene_now() | 1;

	scene_note("seed %llu", (unsigned long long)random);
	for (int round = 0; round < 150; round++) {
		size_t capacity = (size_t)1 << scene_random(&random) % 10;
		tarn_channel *in;
		tarn_block *b;
		uint64_t tag, n = 0;
		int r;

		*p.step = 0;
		OK(tarn_channel_new(p.c, capacity, "flood", &in));
		OK(tarn_channel_bind(in, TARN_CONSUMER));
		pid_t child = plain_fork();
		if (child == 0)
			flood(&p, "flood");
		scene_await(p.step, 1);
		uint64_t until = scene_now() + scene_random(&random) % 1500000;
		while (scene_now() < until && (r = tarn_channel_recv(in, &b, &tag, 0)) != 1)
			if (r == 0) {
				PLAIN_EQ(tag, n++);
				tarn_block_unref(b);
			}
		kill(child, SIGKILL);
		while ((r = tarn_channel_recv(in, &b, &tag, TARN_FOREVER)) == 0) {
			PLAIN_EQ(tag, n);
			PLAIN_EQ(*(uint64_t *)tarn_block_data(b), n++ * 3);
			tarn_block_unref(b);
		}
		PLAIN_EQ(r, -TARN_ECLOSED);
		plain_reap(child);
		tarn_channel_unref(in);
		PLAIN_WAIT_FOR(scene_client_gone(&p.s, child));
		OK(tarn_client_flush(p.c, true, TARN_FOREVER));
		PLAIN_EQ(scene_stat(&p.s).blocks_live, 1); /* the pair's own channel */
		scene_check(&p.s);
	}
	pair_close(&p);
}

PLAIN_TEST_TIMEOUT(a_consumer_killed_at_any_moment_frees_what_was_on_its_way, 90)
{
	struct pair p = pair_open(4);
	uint64_t random = scene_now() | 1;

	scene_note("seed %llu", (unsigned long long)random);
	for (int round = 0; round < 150; round++) {
		size_t capacity = (size_t)1 << scene_random(&random) % 10;
		tarn_channel *out;
		tarn_block *b;
		uint64_t n = 0;
		int r;

		*p.step = 0;
		OK(tarn_channel_new(p.c, capacity, "drain", &out));
		OK(tarn_channel_bind(out, TARN_PRODUCER));
		pid_t child = plain_fork();
		if (child == 0) {
			tarn_client *c = scene_client(&p.s);
			tarn_channel *in;

			OK(tarn_channel_open(c, "drain", 0, &in));
			OK(tarn_channel_bind(in, TARN_CONSUMER));
			scene_say(p.step, 1);
			for (uint64_t i = 0;; i++)
				get_number(in, i);
		}
		scene_await(p.step, 1);
		uint64_t until = scene_now() + scene_random(&random) % 1500000;
		while (scene_now() < until)
			put_number(p.c, out, n++);
		kill(child, SIGKILL);
		do {
			OK(tarn_block_new(p.c, 64, 0, &b));
			r = tarn_channel_send(out, b, n++, TARN_FOREVER);
			tarn_block_unref(b);
		} while (r == 0);
		PLAIN_EQ(r, -TARN_ECLOSED);
		plain_reap(child);
		PLAIN_WAIT_FOR(scene_client_gone(&p.s, child));
		/* The two channels; nothing that was in this one, though it is not dropped. It
		 * goes in slices, and without anybody's doing. */
		PLAIN_WAIT_FOR(scene_stat(&p.s).blocks_live == 2);
		PLAIN_EQ(scene_stat(&p.s).tickets, 0);
		tarn_channel_unref(out);
		OK(tarn_client_flush(p.c, true, TARN_FOREVER));
		scene_check(&p.s);
	}
	pair_close(&p);
}

/* ---- waiting peers ---- */

enum leaving { CLOSE_THE_END, DROP_THE_CHANNEL, CLOSE_THE_CLIENT };

static void consumer_waits(enum leaving how)
{
	struct pair p = pair_open(4);
	tarn_block *b;
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c;
		tarn_channel *ch = take(&p, TARN_CONSUMER, &c);

		scene_say(p.step, 1);
		get_number(ch, 0);
		scene_say(p.step, 2);
		FAILS(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
		_exit(0);
	}
	scene_await(p.step, 1);
	put_number(p.c, p.ch, 0);
	scene_await(p.step, 2);
	PLAIN_WAIT_FOR(plain_state(child) == 'S');
	if (how == CLOSE_THE_END)
		OK(tarn_channel_close(p.ch));
	else if (how == DROP_THE_CHANNEL)
		p.ch = tarn_channel_unref(p.ch);
	else
		p.c = tarn_client_close(p.c);
	PLAIN_EQ(plain_reap(child), 0);
	if (p.c != NULL)
		tarn_channel_unref(p.ch);
	tarn_client_close(p.c);
	scene_close(&p.s);
}

PLAIN_TEST(a_waiting_consumer_is_woken_when_the_producer_leaves)
{
	consumer_waits(CLOSE_THE_END);
	consumer_waits(DROP_THE_CHANNEL);
	consumer_waits(CLOSE_THE_CLIENT);
}

static void peer_dies(bool consumer_waits_for_it)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(64);
	enum tarn_channel_end mine = consumer_waits_for_it ? TARN_CONSUMER : TARN_PRODUCER;
	tarn_client *c = scene_client(&s);
	tarn_channel *ch, *theirs;
	pid_t waiter, victim;

	OK(tarn_channel_new(c, 2, "w", &ch));
	victim = plain_fork();
	if (victim == 0) {
		c = scene_client(&s);
		OK(tarn_channel_open(c, "w", 0, &theirs));
		OK(tarn_channel_bind(theirs, mine == TARN_CONSUMER ? TARN_PRODUCER : TARN_CONSUMER));
		scene_say(&step[0], 1);
		for (;;)
			pause();
	}
	waiter = plain_fork();
	if (waiter == 0) {
		tarn_block *b;
		int r = 0;

		c = scene_client(&s);
		OK(tarn_channel_open(c, "w", 0, &theirs));
		OK(tarn_channel_bind(theirs, mine));
		OK(tarn_block_new(c, 10, 0, &b));
		if (mine == TARN_PRODUCER) {
			OK(tarn_channel_send(theirs, b, 0, 0));
			OK(tarn_channel_send(theirs, b, 0, 0));
		}
		scene_say(&step[1], 1);
		r = mine == TARN_CONSUMER ? tarn_channel_recv(theirs, &b, NULL, TARN_FOREVER)
					  : tarn_channel_give(theirs, b, 0, TARN_FOREVER);
		PLAIN_EQ(r, -TARN_ECLOSED);
		_exit(0);
	}
	scene_await(&step[0], 1);
	scene_await(&step[1], 1);
	PLAIN_WAIT_FOR(plain_state(waiter) == 'S');
	plain_kill(victim);
	PLAIN_EQ(plain_reap(waiter), 0);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(a_waiting_consumer_is_woken_by_the_death_of_the_producer)
{
	peer_dies(true);
}

PLAIN_TEST(a_waiting_producer_is_woken_by_the_death_of_the_consumer)
{
	peer_dies(false);
}

/* @asleep: each waits until the other sleeps before it sends. */
static void ping_pong(unsigned rounds, size_t capacity, bool asleep)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_channel *there, *back;
	tarn_block *b;
	uint64_t tag;
	pid_t child, parent = getpid();

	OK(tarn_channel_new(c, capacity, "there", &there));
	OK(tarn_channel_new(c, capacity, "back", &back));
	OK(tarn_channel_bind(there, TARN_PRODUCER));
	OK(tarn_channel_bind(back, TARN_CONSUMER));
	child = plain_fork();
	if (child == 0) {
		c = scene_client(&s);
		OK(tarn_channel_open(c, "there", 0, &there));
		OK(tarn_channel_open(c, "back", 0, &back));
		OK(tarn_channel_bind(there, TARN_CONSUMER));
		OK(tarn_channel_bind(back, TARN_PRODUCER));
		for (uint64_t i = 0; i < rounds; i++) {
			OK(tarn_channel_recv(there, &b, &tag, TARN_FOREVER));
			PLAIN_EQ(tag, i);
			PLAIN_WAIT_FOR(!asleep || plain_state(parent) == 'S');
			OK(tarn_channel_give(back, b, i, TARN_FOREVER));
		}
		tarn_client_close(c);
		_exit(0);
	}
	OK(tarn_block_new(c, 64, 0, &b));
	uint64_t begin = scene_now();
	for (uint64_t i = 0; i < rounds; i++) {
		PLAIN_WAIT_FOR(!asleep || plain_state(child) == 'S');
		OK(tarn_channel_give(there, b, i, TARN_FOREVER));
		OK(tarn_channel_recv(back, &b, &tag, TARN_FOREVER));
		PLAIN_EQ(tag, i);
	}
	scene_note("%u round trips through channels of %zu: %.1f us each", rounds, capacity,
		   (double)(scene_now() - begin) / 1e3 / rounds);
	PLAIN_EQ(plain_reap(child), 0);
	tarn_client_close(c);
	scene_close(&s);
}

/* With sleepers that only their own look every 90 ms wakes it would take 180 s. */
PLAIN_TEST_TIMEOUT(sleepers_are_woken_by_what_they_wait_for, 60)
{
	setenv("TARN_SPIN_US", "0", 1);
	ping_pong(1000, 1, true);
	ping_pong(1000, 128, true);
}

PLAIN_TEST_TIMEOUT(no_wake_up_is_lost_on_the_way_to_sleep, 60)
{
	setenv("TARN_SPIN_US", "0", 1);
	ping_pong(20000, 1, false);
	ping_pong(20000, 128, false);
}

PLAIN_TEST_TIMEOUT(spinners_and_sleepers_meet, 60)
{
	unsetenv("TARN_SPIN_US");
	ping_pong(20000, 4, false);
}

static void full_and_back(size_t capacity)
{
	struct pair p = pair_open(capacity);
	pid_t parent = getpid(), child = plain_fork();

	if (child == 0) {
		tarn_client *c;
		tarn_channel *ch = take(&p, TARN_CONSUMER, &c);

		for (uint64_t i = 0; i < 2000; i++) {
			/* The producer has run into the wall and is asleep. */
			if (i % 4 == 0 && i + 2 * capacity < 1900)
				PLAIN_WAIT_FOR(plain_state(parent) == 'S');
			get_number(ch, i);
		}
		_exit(0);
	}
	for (uint64_t i = 0; i < 2000; i++)
		put_number(p.c, p.ch, i);
	PLAIN_EQ(plain_reap(child), 0);
	pair_close(&p);
}

PLAIN_TEST_TIMEOUT(a_producer_that_sleeps_on_a_full_channel_is_woken_by_room, 60)
{
	setenv("TARN_SPIN_US", "0", 1);
	full_and_back(1);
	full_and_back(2);
	full_and_back(64);
}

/* ---- F9: what is inside goes with the channel ---- */

PLAIN_TEST(f9_a_channel_dropped_with_items_inside_frees_them)
{
	static const size_t capacity[] = { 1, 16, 1024, 1 << 14 };

	for (unsigned k = 0; k < 4; k++)
		for (int consumer = 0; consumer < 2; consumer++) {
			struct pair p = pair_open(capacity[k]);

			if (consumer)
				OK(tarn_channel_bind(p.ch, TARN_CONSUMER));
			for (uint64_t i = 0; i < capacity[k]; i++)
				put_number(p.c, p.ch, i);
			scene_settle(&p.s);
			PLAIN_EQ(scene_stat(&p.s).tickets, capacity[k]);
			p.ch = tarn_channel_unref(p.ch);
			OK(tarn_client_flush(p.c, true, TARN_FOREVER));
			PLAIN_WAIT_FOR(scene_stat(&p.s).blocks_live == 0);
			PLAIN_EQ(scene_stat(&p.s).channels, 0);
			pair_close(&p);
		}
}

PLAIN_TEST(an_item_survives_everybody_who_sent_it)
{
	struct pair p = pair_open(4);
	tarn_block *b;
	uint64_t tag;
	pid_t child;

	tarn_channel_close(p.ch);
	tarn_channel_unref(p.ch);
	OK(tarn_channel_new(p.c, 4, "s", &p.ch));
	OK(tarn_channel_bind(p.ch, TARN_CONSUMER));
	child = plain_fork();
	if (child == 0) {
		tarn_client *c = scene_client(&p.s);
		tarn_channel *ch;

		OK(tarn_channel_open(c, "s", 0, &ch));
		OK(tarn_channel_bind(ch, TARN_PRODUCER));
		put_number(c, ch, 12);
		tarn_client_close(c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	scene_settle(&p.s);
	PLAIN_EQ(scene_stat(&p.s).tickets, 1);
	OK(tarn_channel_recv(p.ch, &b, &tag, TARN_FOREVER));
	PLAIN_CHECK(tag == 12 && *(uint64_t *)tarn_block_data(b) == 36);
	tarn_block_unref(b);
	FAILS(tarn_channel_recv(p.ch, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
	pair_close(&p);
}

/* A reference to itself inside goes with its ends, if it has a consumer. */
PLAIN_TEST(a_channel_that_carries_itself_is_freed_with_its_client)
{
	struct pair p = pair_open(4);

	OK(tarn_channel_bind(p.ch, TARN_CONSUMER));
	OK(tarn_channel_send_channel(p.ch, p.ch, 0, 0));
	OK(tarn_channel_send_channel(p.ch, p.ch, 0, 0));
	pair_close(&p);
}

PLAIN_MAIN()
