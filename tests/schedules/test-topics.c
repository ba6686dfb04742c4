/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T6: topics under the scheduler, as queues in test-queues.c: real publishers and subscribers, and the server's
 * repair. A subscriber that must not miss anything misses nothing; one that may is told how much; all see
 * the same order; what is received is whole.
 */
#include <string.h>

#include "lib/types/types.h"
#include "scenario.h"
#include "shm/topic.h"
#include "tarn/topic.h"
#include "world-types.h"

#define OF_EACH 8u /* item v is the v % OF_EACH'th of process v / OF_EACH */
#define ITEMS (OF_EACH * WORLD_CLIENTS)

static struct {
	tarn_object *topic[WORLD_CLIENTS];
	tarn_subscription *subscription[WORLD_CLIENTS];
	struct tarn__topic *t;
	unsigned begun[WORLD_CLIENTS], published[WORLD_CLIENTS]; /* by each */
	unsigned got[WORLD_CLIENTS][ITEMS], n_got[WORLD_CLIENTS];
	unsigned told[WORLD_CLIENTS]; /* of a death */
	unsigned at_first;            /* items that were begun when a subscriber had subscribed */
	bool done[WORLD_CLIENTS];
} book;

static unsigned self(void)
{
	return (unsigned)sched_process();
}
static bool is_dead(unsigned client)
{
	return !book.done[client] && sched_is_over(client);
}

static void subscribe(unsigned client, enum tarn_topic_policy policy)
{
	MUST(tarn_topic_subscribe(book.topic[client], &(tarn_subscription_options){ .policy = policy },
				  &book.subscription[client]));
}

/* The first @publishers are known to the server from before. */
static void topic_begin(unsigned clients, unsigned publishers, unsigned slots)
{
	tarn_builder b;

	memset(&book, 0, sizeof book);
	tarn_builder_init(&b);
	tarn_put(&b, "III", slots, 0u, 0u);
	world_object(&tarn__type_topic, &b, clients, book.topic);
	tarn_builder_fini(&b);
	for (unsigned i = 0; i < publishers; i++)
		MUST(tarn_topic_publishf(book.topic[i], 0, "QQ", 0ull, 0ull));
	book.t = world_instance(book.topic[0], &tarn__type_topic);
	/* Nobody changes the first line any more, nor those who are not there. */
	world->watch_data = true;
	world_still(book.t, offsetof(struct tarn__topic, tail));
	world_still(&book.t->publisher[2], sizeof book.t->publisher - 2 * sizeof book.t->publisher[0]);
	world_still(&book.t->reader[2], sizeof book.t->reader - 2 * sizeof book.t->reader[0]);
}

/* ---- who acts ---- */

static void publish_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = self() * OF_EACH + i;

		book.begun[self()]++;
		MUST(tarn_topic_publishf(book.topic[self()], WORLD_FOREVER, "QQ", v, ~v));
		book.published[self()]++;
	}
}
static void close_topic(void)
{
	MUST(tarn_topic_close(book.topic[self()]));
	book.done[self()] = true;
}

static void got(uint64_t v, uint64_t w)
{
	unsigned me = self();

	if (v >= ITEMS || w != ~v)
		sched_fail("an item is not whole: %llx %llx", (unsigned long long)v, (unsigned long long)w);
	if (v % OF_EACH >= book.begun[v / OF_EACH])
		sched_fail("item %u is received, which nobody has published", (unsigned)v);
	for (unsigned i = 0; i < book.n_got[me]; i++)
		if (book.got[me][i] / OF_EACH == v / OF_EACH && book.got[me][i] >= v)
			sched_fail("item %u is received behind item %u", (unsigned)v, book.got[me][i]);
	book.got[me][book.n_got[me]++] = (unsigned)v;
}

static void receive_all(void)
{
	uint64_t v, w;
	tarn_parcel p;

	for (;;) {
		int r = tarn_subscription_recv(book.subscription[self()], &p, WORLD_FOREVER);

		if (r == -TARN_ECLOSED)
			break;
		if (r == -EOWNERDEAD) {
			MUST_BE(is_dead(0) && book.told[self()]++ == 0);
			continue;
		}
		MUST(r);
		MUST(tarn_parcel_get(&p, "QQ", &v, &w));
		tarn_parcel_fini(&p);
		got(v, w);
	}
	book.done[self()] = true;
}
static void killer(void)
{
	world_reap(0, &book.done[0]);
}

/* ---- what holds ---- */

static bool has_got(unsigned client, unsigned v)
{
	for (unsigned i = 0; i < book.n_got[client]; i++)
		if (book.got[client][i] == v)
			return true;
	return false;
}
static void got_everything(unsigned client)
{
	for (unsigned k = 0; k < WORLD_CLIENTS; k++)
		for (unsigned i = 0; i < book.published[k]; i++)
			if (!has_got(client, k * OF_EACH + i))
				sched_fail("process %u has missed item %u", client, k * OF_EACH + i);
	if (tarn_subscription_dropped(book.subscription[client]) != 0)
		sched_fail("process %u is told that it has missed some", client);
}
static void same_order(unsigned a, unsigned b)
{
	MUST_BE(book.n_got[a] == book.n_got[b]);
	MUST_BE(memcmp(book.got[a], book.got[b], book.n_got[a] * sizeof book.got[a][0]) == 0);
}
static void topic_end(void)
{
	for (unsigned i = 0; i < WORLD_CLIENTS; i++) {
		if (book.topic[i] == NULL || is_dead(i))
			continue;
		tarn_subscription_free(book.subscription[i]);
		tarn_object_unref(book.topic[i]);
	}
}

/* ---- two publishers, two who must not miss anything ---- */

static void publisher_of_two(void)
{
	publish_some(2);
	book.done[self()] = true;
}
static void closing_publisher(void)
{
	publish_some(2);
	while (!book.done[0] && !is_dead(0))
		sched_yield_now();
	close_topic();
}
static void both_begin(void)
{
	topic_begin(4, 2, 2);
	subscribe(2, TARN_TOPIC_BLOCK);
	subscribe(3, TARN_TOPIC_BLOCK);
	world_thread(0, publisher_of_two);
	world_thread(1, closing_publisher);
	world_thread(2, receive_all);
	world_thread(3, receive_all);
}
static void both_end(void)
{
	got_everything(2);
	got_everything(3);
	same_order(2, 3);
	topic_end();
}
SCENARIO(topic_who_must_not_miss_anything_gets_all_in_one_order, .clients = 4, .typed = true,
	 .begin = both_begin, .end = both_end)

/* ---- who is too slow ---- */

static void fast_publisher(void)
{
	publish_some(4);
	close_topic();
}
static void slow_begin(void)
{
	topic_begin(2, 1, 2);
	subscribe(1, TARN_TOPIC_DROP_OLDEST);
	world_thread(0, fast_publisher);
	world_thread(1, receive_all);
}
static void knows_what_is_missing(unsigned client)
{
	uint64_t missed = tarn_subscription_dropped(book.subscription[client]);
	unsigned n = book.published[0] + book.published[1];

	if (book.n_got[client] + missed != n)
		sched_fail("of %u items %u are received, and %llu missed", n, book.n_got[client],
			   (unsigned long long)missed);
}
static void slow_end(void)
{
	knows_what_is_missing(1);
	topic_end();
}
SCENARIO(topic_who_is_overrun_gets_whole_items_and_knows_what_is_missing, .clients = 2, .typed = true,
	 .begin = slow_begin, .end = slow_end)

/* Nobody holds publishers up but one who is at the slot that another wants, a lap on. */
static void lap_begin(void)
{
	topic_begin(3, 2, 2);
	subscribe(2, TARN_TOPIC_DROP_OLDEST);
	world_thread(0, publisher_of_two);
	world_thread(1, closing_publisher);
	world_thread(2, receive_all);
}
static void lap_end(void)
{
	knows_what_is_missing(2);
	topic_end();
}
SCENARIO(topic_publishers_a_lap_apart_wake_each_other, .clients = 3, .typed = true, .begin = lap_begin,
	 .end = lap_end)

static void latest_begin(void)
{
	topic_begin(2, 1, 2);
	subscribe(1, TARN_TOPIC_LATEST);
	world_thread(0, fast_publisher);
	world_thread(1, receive_all);
}
static void latest_end(void)
{
	if (!has_got(1, book.published[0] - 1))
		sched_fail("the last item was not received");
	slow_end();
}
SCENARIO(topic_who_wants_the_latest_gets_the_last, .clients = 2, .typed = true, .begin = latest_begin,
	 .end = latest_end)

/* ---- deaths ---- */

static void publisher_dies_begin(void)
{
	topic_begin(4, 2, 2);
	subscribe(2, TARN_TOPIC_BLOCK);
	world_thread(0, publisher_of_two);
	world_thread(1, closing_publisher);
	world_thread(2, receive_all);
	world_thread(3, killer);
}
static void publisher_dies_end(void)
{
	got_everything(2);
	topic_end();
}
SCENARIO(topic_a_publisher_killed_anywhere_holds_nobody_up, .clients = 4, .typed = true,
	 .begin = publisher_dies_begin, .end = publisher_dies_end)

static void patient_publisher(void)
{
	publish_some(3);
	close_topic();
}
static void subscriber_dies_begin(void)
{
	topic_begin(4, 2, 2);
	subscribe(0, TARN_TOPIC_BLOCK);
	subscribe(2, TARN_TOPIC_BLOCK);
	world_thread(0, receive_all);
	world_thread(1, patient_publisher);
	world_thread(2, receive_all);
	world_thread(3, killer);
}
SCENARIO(topic_a_subscriber_killed_anywhere_holds_nobody_up, .clients = 4, .typed = true,
	 .begin = subscriber_dies_begin, .end = publisher_dies_end)

/* ---- a subscriber that comes while others publish ---- */

static void newcomer(void)
{
	subscribe(1, TARN_TOPIC_BLOCK);
	book.at_first = book.begun[0];
	receive_all();
}
static void newcomer_begin(void)
{
	topic_begin(2, 1, 2);
	world_thread(0, patient_publisher);
	world_thread(1, newcomer);
	world_server();
}
static void newcomer_end(void)
{
	for (unsigned i = book.at_first; i < book.published[0]; i++)
		if (!has_got(1, i))
			sched_fail("item %u was published when there was a subscriber, who has missed it", i);
	if (book.n_got[1] != 0 && book.got[1][book.n_got[1] - 1] - book.got[1][0] + 1 != book.n_got[1])
		sched_fail("an item between others is missing");
	if (tarn_subscription_dropped(book.subscription[1]) != 0)
		sched_fail("who must not miss anything was overrun");
	topic_end();
}
SCENARIO(topic_who_subscribes_meanwhile_misses_nothing_from_then_on, .clients = 2, .typed = true,
	 .begin = newcomer_begin, .end = newcomer_end)
