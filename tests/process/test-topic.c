/* SPDX-License-Identifier: Apache-2.0 */
/* Topics (issue 6, queues): policies of subscribers, late ones, shared blocks, deaths. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/types.h"
#include "shm/topic.h"
#include "tests/common/types.h"

#define SOON 50000000

struct user {
	struct scene s;
	tarn_client *c;
	tarn_object *t;
};

static struct user user_open(unsigned slots, unsigned keep)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	OK(tarn_topic_new(u.c, &(tarn_topic_options){ .slots = slots, .keep = keep }, &u.t));
	OK(tarn_object_publish(u.t, "t", 0));
	return u;
}
static void user_close(struct user *u)
{
	tarn_object_unref(u->t);
	tarn_client_close(u->c);
	scene_close(&u->s);
}
static tarn_object *find(const struct user *u, tarn_client **ret_client)
{
	tarn_object *t = NULL;

	*ret_client = scene_client(&u->s);
	OK(tarn_object_lookup(*ret_client, "t", TARN_FOREVER, &t));
	return t;
}

static tarn_subscription *subscribe(tarn_object *t, enum tarn_topic_policy policy, unsigned old)
{
	tarn_subscription *s = NULL;

	OK(tarn_topic_subscribe(t, &(tarn_subscription_options){ .policy = policy, .old = old }, &s));
	return s;
}
static void publish(tarn_object *t, int value) { OK(tarn_topic_publishf(t, 0, "i", value)); }
static int recv_value(tarn_subscription *s, int64_t timeout_ns)
{
	tarn_parcel p;
	int value;

	OK(tarn_subscription_recv(s, &p, timeout_ns));
	OK(tarn_parcel_get(&p, "i", &value));
	tarn_parcel_fini(&p);
	return value;
}
static void has_nothing(tarn_subscription *s)
{
	tarn_parcel p;

	FAILS(tarn_subscription_recv(s, &p, 0), EAGAIN);
}

PLAIN_TEST(topic_every_subscriber_gets_every_item)
{
	struct user u = user_open(16, 0);
	tarn_subscription *s[3];

	for (int k = 0; k < 3; k++)
		s[k] = subscribe(u.t, (enum tarn_topic_policy)(k == 1 ? TARN_TOPIC_BLOCK : 0), 0);
	PLAIN_EQ(tarn_topic_subscribers(u.t), 3);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 10; i++)
			publish(u.t, round * 10 + i);
		for (int k = 0; k < 3; k++) {
			for (int i = 0; i < 10; i++)
				PLAIN_EQ(recv_value(s[k], 0), round * 10 + i);
			has_nothing(s[k]);
		}
	}
	for (int k = 0; k < 3; k++) {
		PLAIN_EQ(tarn_subscription_dropped(s[k]), 0);
		tarn_subscription_free(s[k]);
	}
	PLAIN_WAIT_FOR(tarn_topic_subscribers(u.t) == 0);
	user_close(&u);
}

PLAIN_TEST(topic_who_is_too_slow_misses_the_oldest)
{
	struct user u = user_open(8, 0);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 0);

	for (int i = 0; i < 100; i++)
		publish(u.t, i);
	for (int i = 92; i < 100; i++)
		PLAIN_EQ(recv_value(s, 0), i);
	has_nothing(s);
	PLAIN_EQ(tarn_subscription_dropped(s), 92);
	tarn_subscription_free(s);
	user_close(&u);
}

PLAIN_TEST(topic_the_latest_item_is_all_that_some_want)
{
	struct user u = user_open(8, 0);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_LATEST, 0);

	for (int i = 0; i < 5; i++)
		publish(u.t, i);
	PLAIN_EQ(recv_value(s, 0), 4);
	has_nothing(s);
	for (int i = 0; i < 100; i++)
		publish(u.t, i);
	PLAIN_EQ(recv_value(s, 0), 99);
	has_nothing(s);
	PLAIN_EQ(tarn_subscription_dropped(s), 103);
	tarn_subscription_free(s);
	user_close(&u);
}

PLAIN_TEST(topic_a_subscriber_may_hold_publishers_up)
{
	struct user u = user_open(8, 0);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_BLOCK, 0);
	uint64_t before;

	for (int i = 0; i < 8; i++)
		publish(u.t, i);
	FAILS(tarn_topic_publishf(u.t, 0, "i", 8), EAGAIN);
	before = scene_now();
	FAILS(tarn_topic_publishf(u.t, SOON, "i", 8), ETIMEDOUT);
	PLAIN_CHECK(scene_now() - before >= SOON);
	PLAIN_EQ(recv_value(s, 0), 0);
	publish(u.t, 8);
	FAILS(tarn_topic_publishf(u.t, 0, "i", 9), EAGAIN);
	tarn_subscription_free(s);
	OK(tarn_topic_publishf(u.t, TARN_FOREVER, "i", 9));
	user_close(&u);
}

PLAIN_TEST(topic_late_subscribers_get_the_last_items_that_are_kept)
{
	struct user u = user_open(16, 4);
	tarn_subscription *s;

	s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 4); /* there are none */
	has_nothing(s);
	tarn_subscription_free(s);
	for (int i = 0; i < 50; i++)
		publish(u.t, i);
	for (unsigned old = 0; old < 8; old++) {
		s = subscribe(u.t, old & 1 ? TARN_TOPIC_BLOCK : TARN_TOPIC_DROP_OLDEST, old);
		for (int i = 50 - (int)(old < 4 ? old : 4); i < 50; i++)
			PLAIN_EQ(recv_value(s, 0), i);
		has_nothing(s);
		tarn_subscription_free(s);
	}
	s = subscribe(u.t, TARN_TOPIC_LATEST, 4);
	PLAIN_EQ(recv_value(s, 0), 49);
	tarn_subscription_free(s);
	user_close(&u);
}

PLAIN_TEST(topic_a_block_is_shared_by_all_and_freed_with_the_last)
{
	struct user u = user_open(4, 0);
	tarn_subscription *s[3];
	uint64_t id = 0;

	for (int k = 0; k < 3; k++)
		s[k] = subscribe(u.t, TARN_TOPIC_BLOCK, 0);
	for (int i = 0; i < 20; i++) {
		tarn_parcel p[3];
		tarn_block *b;

		OK(tarn_block_new(u.c, 10000, 0, &b));
		id = tarn_block_id(b);
		OK(tarn_topic_publishf(u.t, 0, "iB", i, b));
		tarn_block_unref(b);
		for (int k = 0; k < 3; k++) {
			OK(tarn_subscription_recv(s[k], &p[k], 0));
			OK(tarn_value_block(tarn_parcel_at(&p[k], 1), &b));
			PLAIN_EQ(tarn_block_id(b), id);
		}
		for (int k = 0; k < 3; k++)
			tarn_parcel_fini(&p[k]);
	}
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1); /* the topic's, until it is overwritten */
	for (int i = 0; i < 4; i++) {
		publish(u.t, i);
		for (int k = 0; k < 3; k++)
			PLAIN_EQ(recv_value(s[k], 0), i);
	}
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	for (int k = 0; k < 3; k++)
		tarn_subscription_free(s[k]);
	user_close(&u);
}

/* A block that is overwritten under its reader is there whole, or is not received. */
PLAIN_TEST_TIMEOUT(topic_items_that_are_overwritten_while_they_are_read_are_dropped_whole, 120)
{
	struct user u = user_open(16, 0);
	uint32_t *stop = scene_shared(sizeof *stop);
	tarn_subscription *s;
	uint64_t got = 0, last = 0;
	pid_t pid[2];

	for (int k = 0; k < 2; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_client *c;
			tarn_object *t = find(&u, &c);

			for (uint64_t i = 1; !__atomic_load_n(stop, __ATOMIC_SEQ_CST); i++) {
				tarn_block *b;

				if (i % 3 == 0) {
					OK(tarn_topic_publishf(t, TARN_FOREVER, "QQQQQQ", i, i, i, i, i, i));
					continue;
				}
				OK(tarn_block_new(c, 64, 0, &b));
				memcpy(tarn_block_data(b), &i, sizeof i);
				OK(tarn_topic_publishf(t, TARN_FOREVER, "QB", i, b));
				tarn_block_unref(b);
			}
			OK(tarn_topic_leave(t));
			tarn_object_unref(t);
			tarn_client_close(c);
			_exit(0);
		}
	}
	s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 0);
	while (got < 300) {
		uint64_t n, m;
		tarn_parcel p;
		tarn_block *b;

		OK(tarn_subscription_recv(s, &p, TARN_FOREVER));
		OK(tarn_value_uint(tarn_parcel_at(&p, 0), &n));
		if (n % 3 == 0) {
			for (unsigned k = 1; k < 6; k++) {
				OK(tarn_value_uint(tarn_parcel_at(&p, k), &m));
				PLAIN_EQ(m, n);
			}
		} else {
			OK(tarn_value_block(tarn_parcel_at(&p, 1), &b));
			memcpy(&m, tarn_block_data(b), sizeof m);
			PLAIN_EQ(m, n);
		}
		tarn_parcel_fini(&p);
		got++;
		last = n;
	}
	scene_note("%llu received, %llu dropped, number %llu", (unsigned long long)got,
		   (unsigned long long)tarn_subscription_dropped(s), (unsigned long long)last);
	__atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
	for (int k = 0; k < 2; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	tarn_subscription_free(s);
	user_close(&u);
}

/* Several processes receive all that one publishes, and sleep in between. */
PLAIN_TEST(topic_subscribers_that_sleep_are_all_woken)
{
	struct user u = user_open(8, 0);
	pid_t pid[4];

	for (int k = 0; k < 4; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_client *c;
			tarn_object *t = find(&u, &c);
			tarn_subscription *s = subscribe(t, TARN_TOPIC_BLOCK, 0);

			for (int i = 0; i < 200; i++)
				PLAIN_EQ(recv_value(s, TARN_FOREVER), i);
			tarn_subscription_free(s);
			tarn_object_unref(t);
			tarn_client_close(c);
			_exit(0);
		}
	}
	PLAIN_WAIT_FOR(tarn_topic_subscribers(u.t) == 4);
	for (int i = 0; i < 200; i++) {
		if (i % 50 == 0)
			usleep(3000);
		OK(tarn_topic_publishf(u.t, TARN_FOREVER, "i", i));
	}
	for (int k = 0; k < 4; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	user_close(&u);
}

PLAIN_TEST(topic_a_dead_subscriber_holds_nobody_up)
{
	struct user u = user_open(8, 0);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);

		subscribe(t, TARN_TOPIC_BLOCK, 0);
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	for (int i = 0; i < 8; i++)
		publish(u.t, i);
	FAILS(tarn_topic_publishf(u.t, 0, "i", 8), EAGAIN);
	plain_kill(pid);
	for (int i = 8; i < 100; i++)
		OK(tarn_topic_publishf(u.t, TARN_FOREVER, "i", i));
	user_close(&u);
}

static void publisher_ends(bool killed, bool leaves)
{
	struct user u = user_open(32, 0);
	uint32_t *step = scene_shared(sizeof *step);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 0);
	tarn_parcel p;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);

		for (int i = 0; i < 10; i++)
			publish(t, i);
		if (leaves)
			OK(tarn_topic_leave(t));
		scene_say(step, 1);
		while (killed)
			pause();
		tarn_object_unref(t);
		tarn_client_close(c);
		_exit(0);
	}
	scene_await(step, 1);
	if (killed)
		plain_kill(pid);
	else
		PLAIN_EQ(plain_reap(pid), 0);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	for (int i = 0; i < 10; i++)
		PLAIN_EQ(recv_value(s, TARN_FOREVER), i);
	if (!leaves)
		FAILS(tarn_subscription_recv(s, &p, TARN_FOREVER), EOWNERDEAD);
	has_nothing(s);
	publish(u.t, 1); /* others may go on */
	PLAIN_EQ(recv_value(s, 0), 1);
	OK(tarn_topic_close(u.t));
	FAILS(tarn_subscription_recv(s, &p, TARN_FOREVER), TARN_ECLOSED);
	FAILS(tarn_topic_publishf(u.t, 0, "i", 2), TARN_ECLOSED);
	tarn_subscription_free(s);
	user_close(&u);
}
PLAIN_TEST(topic_a_publishers_death_is_told_after_what_it_published) { publisher_ends(true, false); }
PLAIN_TEST(topic_a_publisher_that_left_is_not_missed) { publisher_ends(true, true); }
PLAIN_TEST(topic_a_publisher_that_ends_without_leaving_is_told_of) { publisher_ends(false, false); }

/* Publishers are killed at random; those who must not miss anything get all that was acknowledged, in
 * order. */
PLAIN_TEST_TIMEOUT(topic_random_deaths_of_publishers_lose_no_acknowledged_item, 120)
{
	struct user u = user_open(16, 0);
	const uint32_t kills = 40;
	uint32_t *acked = scene_shared(4096);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_BLOCK, 0);
	uint64_t seed = 3, deaths = 0;

	for (uint32_t round = 0; round < kills; round++) {
		pid_t pid = plain_fork();
		int next = 0, until;
		tarn_parcel p;

		if (pid == 0) {
			tarn_client *c;
			tarn_object *t = find(&u, &c);

			for (int i = 0;; i++) {
				tarn_block *b;

				OK(tarn_block_new(c, 64, 0, &b));
				OK(i & 1 ? tarn_topic_publishf(t, TARN_FOREVER, "iIB", i, round, b)
					 : tarn_topic_publishf(t, TARN_FOREVER, "iI", i, round));
				tarn_block_unref(b);
				__atomic_store_n(&acked[round], (uint32_t)(i + 1), __ATOMIC_SEQ_CST);
			}
		}
		until = (int)(scene_random(&seed) % 200) + 1;
		for (;;) {
			int r, i;
			unsigned of;

			if (next == until)
				plain_kill(pid);
			r = tarn_subscription_recv(s, &p, TARN_FOREVER);
			if (r == -EOWNERDEAD) {
				deaths++;
				break;
			}
			OK(r);
			OK(tarn_parcel_get(&p, "iI|v", &i, &of, &(tarn_value){ 0 }));
			tarn_parcel_fini(&p);
			PLAIN_EQ(of, round);
			PLAIN_EQ(i, next);
			next++;
		}
		PLAIN_CHECKF(next >= (int)acked[round] && next <= (int)acked[round] + 1,
			     "%d received, %u acknowledged", next, acked[round]);
	}
	PLAIN_EQ(deaths, kills);
	PLAIN_EQ(tarn_subscription_dropped(s), 0);
	tarn_subscription_free(s);
	user_close(&u);
}

/* ---- what only its words show ---- */

struct words {
	struct tarn__topic *w;
	struct tarn__mpmc m;
};
static struct words words_of(tarn_object *t)
{
	struct words x = { .w = tarn__object_instance(t, &tarn__type_topic) };
	tarn_client *c = t->base.client;

	PLAIN_CHECK(x.w != NULL && tarn__topic_view(x.w, c->data, c->data_bytes, tarn_client_id(c), &x.m));
	return x;
}
/* As a publisher that has claimed a slot, and has not written the item yet. */
static uint64_t *claim_words(struct words *x, uint64_t *ret_turn)
{
	uint64_t *slot = NULL;

	PLAIN_EQ(tarn__topic_claim(x->w, &x->m, ret_turn, &slot), TARN__MPMC_OK);
	return slot;
}
static uint64_t stash_of(const struct words *x, uint64_t turn)
{
	const unsigned char *slot = x->m.base + turn % x->m.n * x->m.stride;

	return tarn__load_acquire(&((const struct tarn__queue_slot *)(const void *)slot)->stash);
}

/* Publishers that go on while it comes overwrote items that it had been promised. */
PLAIN_TEST_TIMEOUT(topic_a_subscriber_that_blocks_misses_nothing_from_the_first_on, 120)
{
	struct user u = user_open(2, 1);
	uint32_t *stop = scene_shared(sizeof *stop);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);

		for (int i = 0; !__atomic_load_n(stop, __ATOMIC_SEQ_CST); i++)
			OK(tarn_topic_publishf(t, TARN_FOREVER, "i", i));
		OK(tarn_topic_leave(t));
		tarn_object_unref(t);
		tarn_client_close(c);
		_exit(0);
	}
	for (int round = 0; round < 1500; round++) {
		tarn_subscription *s = subscribe(u.t, TARN_TOPIC_BLOCK, 1);
		int first = recv_value(s, TARN_FOREVER);

		for (int i = 1; i < 4; i++)
			PLAIN_EQ(recv_value(s, TARN_FOREVER), first + i);
		PLAIN_CHECKF(tarn_subscription_dropped(s) == 0, "%llu dropped in round %d",
			     (unsigned long long)tarn_subscription_dropped(s), round);
		tarn_subscription_free(s);
	}
	__atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
	PLAIN_EQ(plain_reap(pid), 0);
	user_close(&u);
}

PLAIN_TEST(topic_gate_that_was_lowered_to_where_it_was_is_not_raised_over_it)
{
	struct tarn__topic t = { .n = 8, .gate = tarn__topic_gate(101, 0) };
	uint64_t seen = tarn__load_acquire(&t.gate);

	/* A publisher has looked at all cursors, and is to raise it, when one comes that begins there. */
	t.reader[3].cursor = 101;
	t.reader[3].blocks = 1;
	t.reader[3].client = 5;
	tarn__topic_lower(&t, 101, 1);
	PLAIN_CHECK(tarn__load_acquire(&t.gate) != seen);
	PLAIN_CHECK(tarn__topic_may(&t, 8, 108) && !tarn__topic_may(&t, 8, 109));
	t.reader[3].cursor = 103;
	PLAIN_CHECK(tarn__topic_may(&t, 8, 110) && !tarn__topic_may(&t, 8, 111));
	PLAIN_EQ(t.gate, tarn__topic_gate(103, 1));
}

PLAIN_TEST(topic_that_is_closed_has_an_item_yet_that_is_being_published)
{
	struct user u = user_open(8, 0);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 0);
	struct words x = words_of(u.t);
	uint64_t turn, *slot;
	tarn_parcel p;

	publish(u.t, 1);
	slot = claim_words(&x, &turn);
	OK(tarn_topic_close(u.t));
	PLAIN_EQ(recv_value(s, 0), 1);
	/* Its publisher found the topic open, and will return 0. */
	FAILS(tarn_subscription_recv(s, &p, 0), EAGAIN);
	PLAIN_CHECK(tarn__mpmc_publish(&x.m, slot, turn));
	OK(tarn_subscription_recv(s, &p, 0));
	tarn_parcel_fini(&p);
	FAILS(tarn_subscription_recv(s, &p, TARN_FOREVER), TARN_ECLOSED);
	tarn_subscription_free(s);
	user_close(&u);
}

/* Who was told of the death did not look for what lay behind the item of a living one. */
PLAIN_TEST(topic_a_death_is_told_after_what_lies_behind_an_unfinished_item)
{
	struct user u = user_open(8, 0);
	tarn_subscription *s = subscribe(u.t, TARN_TOPIC_DROP_OLDEST, 0);
	struct words x = words_of(u.t);
	uint64_t turn, *slot;
	tarn_parcel p;
	pid_t pid;

	publish(u.t, 1);
	PLAIN_EQ(recv_value(s, 0), 1);
	slot = claim_words(&x, &turn);
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;

		publish(find(&u, &c), 3);
		kill(getpid(), SIGKILL);
	}
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	has_nothing(s);
	PLAIN_CHECK(tarn__mpmc_publish(&x.m, slot, turn));
	OK(tarn_subscription_recv(s, &p, 0));
	tarn_parcel_fini(&p);
	PLAIN_EQ(recv_value(s, 0), 3);
	FAILS(tarn_subscription_recv(s, &p, 0), EOWNERDEAD);
	tarn_subscription_free(s);
	user_close(&u);
}

/* A publisher in another process that is stopped while it writes an item: a large one, so that this is
 * where it is most of the time. Returns its turn. */
static uint64_t stop_inside(const struct words *x, pid_t pid)
{
	for (;;) {
		PLAIN_EQ(kill(pid, SIGSTOP), 0);
		PLAIN_EQ(waitpid(pid, NULL, WUNTRACED), pid);
		for (uint64_t k = 0; k < x->m.n; k++) {
			uint64_t seen = tarn__mpmc_look(tarn__mpmc_slot(&x->m, k));

			if (tarn__mpmc_state(seen) == TARN__MPMC_CLAIM)
				return seen >> 16;
		}
		PLAIN_EQ(kill(pid, SIGCONT), 0);
		usleep(100);
	}
}
static void *publish_one(void *topic)
{
	OK(tarn_topic_publishf(topic, TARN_FOREVER, "i", -1));
	return NULL;
}
/* They slept until their slice of the time was over. */
PLAIN_TEST(topic_publishers_behind_an_unfinished_item_are_woken_by_its_publisher)
{
	struct user u = { .s = scene_open(NULL) };
	uint32_t *stop = scene_shared(sizeof *stop);
	struct words x;
	uint32_t rung;
	pthread_t th;
	pid_t pid;

	u.c = scene_client(&u.s);
	OK(tarn_topic_new(u.c, &(tarn_topic_options){ .slots = 4, .slot_bytes = 8192 }, &u.t));
	OK(tarn_object_publish(u.t, "t", 0));
	x = words_of(u.t);
	pid = plain_fork();
	if (pid == 0) {
		static char large[7000];
		tarn_client *c;
		tarn_object *t = find(&u, &c);

		memset(large, 'x', sizeof large - 1);
		while (!__atomic_load_n(stop, __ATOMIC_SEQ_CST))
			OK(tarn_topic_publishf(t, TARN_FOREVER, "s", large));
		scene_await(stop, 2);
		tarn_object_unref(t);
		tarn_client_close(c);
		_exit(0);
	}
	stop_inside(&x, pid);
	for (int i = 0; i < 3; i++)
		publish(u.t, i);
	FAILS(tarn_topic_publishf(u.t, 0, "i", 3), EAGAIN);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "has not finished") != NULL);
	PLAIN_EQ(pthread_create(&th, NULL, publish_one, u.t), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&x.w->space.asleep, __ATOMIC_SEQ_CST) != 0);
	rung = tarn__bell_number(&x.w->space);
	__atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
	PLAIN_EQ(kill(pid, SIGCONT), 0);
	pthread_join(th, NULL);
	PLAIN_CHECK(tarn__bell_number(&x.w->space) != rung);
	scene_say(stop, 2);
	PLAIN_EQ(plain_reap(pid), 0);
	user_close(&u);
}

PLAIN_TEST(topic_a_slot_that_a_publisher_died_at_keeps_nothing)
{
	struct user u = user_open(2, 0);
	uint64_t turn, id;
	tarn_block *b;
	pid_t pid;

	OK(tarn_block_new(u.c, 10000, 0, &b));
	id = tarn_block_id(b);
	OK(tarn_topic_publishf(u.t, 0, "B", b));
	tarn_block_unref(b);
	publish(u.t, 1);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1);
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);
		struct words x = words_of(t);

		/* So that it is known as one. */
		OK(tarn_callf(t, "publisher", TARN_FOREVER, "b", NULL, true));
		claim_words(&x, &turn);
		PLAIN_EQ(turn, 2);
		kill(getpid(), SIGKILL);
	}
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	user_close(&u);
}

/* One that neither publishes nor subscribes. */
PLAIN_TEST(topic_who_dies_while_it_closes_leaves_nobody_asleep)
{
	struct user u = user_open(8, 0);
	struct words x = words_of(u.t);
	uint32_t items, space;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);
		struct words mine = words_of(t);

		__atomic_store_n(&mine.w->closed, 1, __ATOMIC_SEQ_CST); /* and no bell rung */
		for (;;)
			pause();
	}
	PLAIN_WAIT_FOR(__atomic_load_n(&x.w->closed, __ATOMIC_SEQ_CST) != 0);
	items = tarn__bell_number(&x.w->items);
	space = tarn__bell_number(&x.w->space);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	PLAIN_CHECK(tarn__bell_number(&x.w->items) != items && tarn__bell_number(&x.w->space) != space);
	user_close(&u);
}

/* What the server is told of, of an item that is overwritten at this moment. */
PLAIN_TEST_TIMEOUT(topic_what_is_overwritten_while_the_server_hears_of_it_is_not_kept, 120)
{
	struct user u = user_open(2, 0);
	uint32_t *round = scene_shared(2 * sizeof *round), *done = round + 1;
	const uint32_t rounds = 300;
	struct words x = words_of(u.t);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *t = find(&u, &c);
		struct words mine = words_of(t);
		uint64_t seed = 11;

		publish(t, 0);
		for (uint32_t k = 1; k <= rounds; k++) {
			uint64_t tail = tarn__load_acquire(&mine.m.tail->turn);

			__atomic_store_n(done, k, __ATOMIC_SEQ_CST); /* ready */
			while (tarn__load_acquire(&mine.m.tail->turn) == tail)
				sched_yield();
			for (uint64_t spins = scene_random(&seed) % 400; spins > 0; spins--)
				tarn__pause();
			OK(tarn_topic_publishf(t, TARN_FOREVER, "i", 1));
			OK(tarn_topic_publishf(t, TARN_FOREVER, "i", 2));
			OK(tarn_client_ping(c, TARN_FOREVER));
			__atomic_store_n(round, k, __ATOMIC_SEQ_CST);
			while (__atomic_load_n(done, __ATOMIC_SEQ_CST) == k && k < rounds)
				sched_yield();
		}
		tarn_object_unref(t);
		tarn_client_close(c);
		_exit(0);
	}
	for (uint32_t k = 1; k <= rounds; k++) {
		tarn_block *b[8];

		for (int i = 0; i < 8; i++)
			OK(tarn_block_new(u.c, 64, 0, &b[i]));
		while (__atomic_load_n(done, __ATOMIC_SEQ_CST) != k)
			sched_yield();
		OK(tarn_topic_publishf(u.t, TARN_FOREVER, "BBBBBBBB", b[0], b[1], b[2], b[3], b[4], b[5],
				       b[6], b[7]));
		OK(tarn_client_ping(u.c, TARN_FOREVER));
		while (__atomic_load_n(round, __ATOMIC_SEQ_CST) != k)
			sched_yield();
		for (int i = 0; i < 8; i++)
			tarn_block_unref(b[i]);
		PLAIN_CHECKF(stash_of(&x, 0) == 0 && stash_of(&x, 1) == 0, "kept in round %u: %llx %llx", k,
			     (unsigned long long)stash_of(&x, 0), (unsigned long long)stash_of(&x, 1));
		__atomic_store_n(done, 0, __ATOMIC_SEQ_CST);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	user_close(&u);
}

/* Whose message is refused: what the slot had before was not dropped, and forgotten. */
PLAIN_TEST(topic_references_that_cannot_be_kept_do_not_make_it_forget_others)
{
	struct user u = user_open(2, 0);
	struct words x = words_of(u.t);
	uint64_t turn, *slot, id;
	tarn_block *b;

	OK(tarn_block_new(u.c, 10000, 0, &b));
	id = tarn_block_id(b);
	OK(tarn_topic_publishf(u.t, 0, "B", b));
	tarn_block_unref(b);
	publish(u.t, 1);
	OK(tarn_client_ping(u.c, TARN_FOREVER)); /* so that it is kept by now */
	slot = claim_words(&x, &turn);
	FAILS(tarn_callf(u.t, "stash", TARN_FOREVER, "Qi", NULL, turn, 7), TARN_EREMOTE);
	PLAIN_CHECK(tarn__mpmc_publish(&x.m, slot, turn));
	publish(u.t, 3);
	publish(u.t, 4);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	user_close(&u);
}

PLAIN_TEST(topic_options_that_cannot_be_are_refused)
{
	struct user u = user_open(0, 0);
	tarn_subscription *s[64], *more = NULL;
	tarn_object *t = NULL;

	FAILS(tarn_topic_new(u.c, &(tarn_topic_options){ .slots = 4, .keep = 4 }, &t), TARN_EREMOTE);
	FAILS(tarn_topic_new(u.c, &(tarn_topic_options){ .slots = 1 }, &t), TARN_EREMOTE);
	FAILS(tarn_topic_new(u.c, &(tarn_topic_options){ .slots = 1 << 20 }, &t), TARN_EREMOTE);
	for (int k = 0; k < 64; k++)
		s[k] = subscribe(u.t, TARN_TOPIC_LATEST, 0);
	FAILS(tarn_topic_subscribe(u.t, NULL, &more), TARN_EREMOTE);
	for (int k = 0; k < 64; k++)
		tarn_subscription_free(s[k]);
	OK(tarn_topic_subscribe(u.t, NULL, &more));
	FAILS(tarn_queue_putf(u.t, 0, "i", 1), TARN_EKIND);
	tarn_subscription_free(more);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(topic_garbage_in_it_harms_nobody_but_its_users, 120)
{
	struct scene s = scene_open(NULL);
	uint64_t seed = 7;

	for (int round = 0; round < 60; round++) {
		tarn_client *c = scene_client(&s);
		tarn_subscription *sub = NULL;
		struct tarn__topic *w;
		tarn_object *t = NULL;
		tarn_parcel p;

		OK(tarn_topic_new(c, &(tarn_topic_options){ .slots = 8, .keep = 4 }, &t));
		OK(tarn_topic_subscribe(t, &(tarn_subscription_options){
				.policy = (enum tarn_topic_policy)(round % 3) }, &sub));
		for (int i = 0; i < 6; i++) {
			tarn_block *b;

			OK(tarn_block_new(c, 64, 0, &b));
			OK(tarn_topic_publishf(t, 0, "iB", i, b));
			tarn_block_unref(b);
		}
		w = tarn__object_instance(t, &tarn__type_topic);
		PLAIN_CHECK(w != NULL);
		for (int i = 0; i < 6; i++) {
			unsigned char *at = (unsigned char *)w;
			size_t bytes = 640;
			uint64_t n = scene_random(&seed);

			if (i & 1) { /* the slots */
				at = t->base.client->data + (w->ring_offset & 0xfffffff);
				bytes = 8 * 384;
				if (at >= t->base.client->data + t->base.client->data_bytes - bytes)
					break;
			}
			n = n & 256 ? n : n & 7;
			memcpy(at + scene_random(&seed) % (bytes / 8) * 8, &n, 8);
		}
		for (int i = 0; i < 4; i++) {
			tarn_topic_publishf(t, 0, "i", 1);
			if (round & 1 && tarn_subscription_recv(sub, &p, 0) == 0)
				tarn_parcel_fini(&p);
		}
		tarn_subscription_free(sub);
		tarn_client_close(c);
	}
	scene_close(&s);
}

PLAIN_MAIN()
