/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T6: queues under the scheduler: the real code of producers, consumers and the server's repair. Each access
 * to a queue's words, ordered or not, is a place where another may go on, or where a process is killed. What is
 * to hold of items whoever dies wherever is checked by a book that all keep outside of the queue.
 */
#include <stdio.h>
#include <string.h>

#include "lib/server/ledger.h"
#include "lib/types/types.h"
#include "scenario.h"
#include "shm/queue.h"
#include "tarn/queue.h"
#include "world-types.h"

/* ---- the book ---- */

#define ITEMS 16u
#define OF_EACH 4u /* item v is the v % OF_EACH'th of process v / OF_EACH */

enum put { NOT_PUT, PUTTING, PUT, REFUSED };

static struct {
	tarn_object *queue[WORLD_CLIENTS]; /* the handle of process i */
	struct tarn__queue *q;
	enum put put[ITEMS];
	unsigned got[ITEMS][WORLD_CLIENTS];
	unsigned acking[ITEMS], acked[ITEMS]; /* calls that began, and that returned */
	unsigned last[WORLD_CLIENTS][WORLD_CLIENTS]; /* 1 + what consumer i got last of producer k */
	bool done[WORLD_CLIENTS];
	unsigned clients;
	bool keeps;                   /* items are acknowledged */
	bool again;                   /* the queue delivers again what the dead had */
	bool blocks;                  /* each item refers to one */
	uint64_t most;                /* the queue's bound */
} book;

static unsigned self(void)
{
	return (unsigned)sched_process();
}
static bool is_dead(unsigned client)
{
	return !book.done[client] && sched_is_over(client);
}

/* So many items come and go; the first of them so that the slots are there, and nobody asks for them. They are the
 * last client's: others have not said yet that they use the queue. */
static void use_up(unsigned n)
{
	tarn_object *queue = book.queue[book.clients - 1];
	uint64_t number;
	tarn_parcel p;

	while (n-- > 0) {
		MUST(tarn_queue_putf(queue, 0, "QQ", 0ull, 0ull));
		MUST(tarn_queue_get_item(queue, &p, &number, 0));
		tarn_parcel_fini(&p);
		if (book.keeps)
			MUST(tarn_queue_ack(queue, number));
	}
}

static void queue_begin(unsigned clients, uint64_t most, unsigned flags)
{
	tarn_builder b;

	memset(&book, 0, sizeof book);
	tarn_builder_init(&b);
	tarn_put(&b, "QII", most, flags, 0u);
	world_object(&tarn__type_queue, &b, clients, book.queue);
	tarn_builder_fini(&b);
	book.q = world_instance(book.queue[0], &tarn__type_queue);
	book.most = most;
	book.again = (flags & TARN_QUEUE_REDELIVER) != 0;
	book.keeps = flags != 0;
	book.clients = clients;
	use_up(1);
	/* Nobody changes the first line any more, nor here the table of runs. */
	world->watch_data = true;
	world_still(book.q, offsetof(struct tarn__queue, tail));
	if (book.q->runs != 0)
		world_still(world->s->st.data.base + book.q->ring_offset,
			    book.q->runs * sizeof(struct tarn__mpmc_run));
}

/* ---- who acts ---- */

static int put_block(unsigned v)
{
	tarn_block *b;

	MUST(tarn_block_new(world->c[self()], 64, 0, &b));
	memset(tarn_block_data(b), (int)v + 1, 64);
	int r = tarn_queue_putf(book.queue[self()], WORLD_FOREVER, "QQB", (uint64_t)v, ~(uint64_t)v, b);

	tarn_block_unref(b);
	return r;
}
static bool put(unsigned v)
{
	int r;

	book.put[v] = PUTTING;
	if (book.blocks)
		r = put_block(v);
	else
		r = tarn_queue_putf(book.queue[self()], WORLD_FOREVER, "QQ", (uint64_t)v, ~(uint64_t)v);
	if (r != -TARN_ECLOSED)
		MUST(r);
	book.put[v] = r == 0 ? PUT : REFUSED;
	return r == 0;
}
static void put_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(self() * OF_EACH + i);
}
static void close_queue(void)
{
	MUST(tarn_queue_close(book.queue[self()]));
}

static void check_got(unsigned v, bool dead_had_it)
{
	unsigned from = v / OF_EACH, n = 0;

	if (book.put[v] != PUTTING && book.put[v] != PUT)
		sched_fail("item %u is got, which nobody has put", v);
	for (unsigned i = 0; i < WORLD_CLIENTS; i++)
		n += i == 0 && dead_had_it ? 0 : book.got[v][i];
	if (n != 1)
		sched_fail("item %u is got %u times", v, n);
	if (v % OF_EACH + 1 <= book.last[self()][from] && !dead_had_it)
		sched_fail("item %u of process %u comes behind item %u", v % OF_EACH, from,
			   book.last[self()][from] - 1);
	if (!dead_had_it)
		book.last[self()][from] = v % OF_EACH + 1;
}

/* It is there, and stays, while others go on. */
static void look_at_block(const tarn_block *b, uint64_t v)
{
	for (unsigned i = 0; i < 4; i++) {
		sched_point();
		if (tarn__object_find(&world->s->st, tarn_block_id(b)) == NULL)
			sched_fail("a block is freed while somebody has it from an item");
		MUST_BE(((unsigned char *)tarn_block_data(b))[63] == v + 1);
	}
}

/* False: the queue is closed and empty. */
static bool get(unsigned *ret, uint64_t *ret_number)
{
	uint64_t v, w;
	tarn_block *b;
	tarn_parcel p;
	int r = tarn_queue_get_item(book.queue[self()], &p, ret_number, WORLD_FOREVER);

	if (r == -TARN_ECLOSED)
		return false;
	MUST(r);
	if (!book.blocks) {
		MUST(tarn_parcel_get(&p, "QQ", &v, &w));
	} else {
		MUST(tarn_parcel_get(&p, "QQB", &v, &w, &b));
		look_at_block(b, v);
	}
	tarn_parcel_fini(&p);
	if (v >= ITEMS || w != ~v)
		sched_fail("an item is not whole: %llx %llx", (unsigned long long)v, (unsigned long long)w);
	*ret = (unsigned)v;
	book.got[v][self()]++;
	/* Of one who is dead it may come again; what he got, or was about to get, is not the first in order. */
	check_got(*ret, book.again && is_dead(0) && self() != 0);
	return true;
}
static void get_all(void)
{
	uint64_t number;
	unsigned v;

	while (get(&v, &number))
		;
	book.done[self()] = true;
}
static void get_and_acknowledge_all(void)
{
	uint64_t number;
	unsigned v;

	while (get(&v, &number)) {
		if (book.acked[v] != 0)
			sched_fail("item %u comes again, which was acknowledged", v);
		book.acking[v]++;
		MUST(tarn_queue_ack(book.queue[self()], number));
		book.acked[v]++;
	}
	book.done[self()] = true;
}
static void killer(void)
{
	world_reap(0, &book.done[0]);
}

/* ---- what holds ---- */

/* Items that wait in the queue, between two steps. */
static void check_bound(void)
{
	const unsigned char *data = world->s->st.data.base;
	struct tarn__mpmc m;
	uint64_t n = 0;

	if (book.q == NULL || !tarn__queue_view(book.q, (unsigned char *)(uintptr_t)data,
						world->s->st.data.bytes, 0, &m))
		return;
	const struct tarn__mpmc_run *run = m.run;
	uint64_t slots = run == NULL ? m.n : m.n * 4; /* no scenario has more runs */

	for (uint64_t k = 0; k < slots; k++) {
		const unsigned char *base = m.base;

		if (run != NULL && run[k / m.n].number == 0)
			continue;
		if (run != NULL)
			base += run[k / m.n].offset;
		uint64_t word = *(const uint64_t *)(const void *)(base + k % m.n * m.stride);

		n += tarn__mpmc_state(word) == TARN__MPMC_FULL || tarn__mpmc_state(word) == TARN__MPMC_CLAIM;
	}
	if (n > book.most)
		sched_fail("%llu items wait in a queue of %llu", (unsigned long long)n,
			   (unsigned long long)book.most);
}

/* Each item was got by one; @may_lose: so many went with the dead one, who was at them. */
static void each_once(unsigned may_lose)
{
	unsigned lost = 0;

	for (unsigned v = 0; v < ITEMS; v++) {
		unsigned n = 0;

		for (unsigned i = 0; i < WORLD_CLIENTS; i++)
			n += book.got[v][i];
		if (book.put[v] == PUT && n == 0 && ++lost > may_lose)
			sched_fail("item %u was put, and nobody got it", v);
		if (n > 0 && book.put[v] != PUT && book.put[v] != PUTTING)
			sched_fail("item %u was not put, and somebody got it", v);
	}
}
static void queue_end(void)
{
	for (unsigned i = 0; i < WORLD_CLIENTS; i++)
		if (book.queue[i] != NULL && !is_dead(i))
			tarn_object_unref(book.queue[i]);
}

/* ---- two producers, two consumers, a small ring ---- */

static void pair_producer(void)
{
	put_some(2);
	book.done[self()] = true;
	if (self() == 1) {
		while (!book.done[0])
			sched_yield_now();
		close_queue();
	}
}
static void pair_begin(void)
{
	queue_begin(4, 2, 0);
	world_thread(0, pair_producer);
	world_thread(1, pair_producer);
	world_thread(2, get_all);
	world_thread(3, get_all);
}
static void pair_end(void)
{
	each_once(0);
	queue_end();
}
SCENARIO(t13_each_item_is_got_by_one_in_its_producers_order, .clients = 4, .typed = true,
	 .begin = pair_begin, .check = check_bound, .end = pair_end)

/* ---- a producer is killed anywhere ---- */

static void mortal_producer(void)
{
	put_some(2);
	book.done[0] = true;
}
static void closing_producer(void)
{
	put_some(2);
	while (!book.done[0] && !is_dead(0))
		sched_yield_now();
	close_queue();
	book.done[1] = true;
}
static void producer_dies_begin(void)
{
	queue_begin(3, 2, 0);
	world_thread(0, mortal_producer);
	world_thread(1, closing_producer);
	world_thread(2, get_all);
	world_thread(3, killer);
}
SCENARIO(t13_a_producer_killed_anywhere_holds_nobody_up, .clients = 3, .typed = true,
	 .begin = producer_dies_begin, .check = check_bound, .end = pair_end)

/* ---- a consumer is killed anywhere ---- */

static void only_producer(void)
{
	put_some(3);
	close_queue();
	book.done[1] = true;
}
static void consumer_dies_begin(void)
{
	queue_begin(3, 2, 0);
	world_thread(2, get_all); /* it sleeps first: else the mortal one gets nothing */
	world_thread(1, only_producer);
	world_thread(0, get_all);
	world_thread(3, killer);
}
static void consumer_dies_end(void)
{
	each_once(is_dead(0) ? 1 : 0);
	queue_end();
}
SCENARIO(t13_with_a_consumer_killed_anywhere_goes_one_item_at_most, .clients = 3, .typed = true,
	 .begin = consumer_dies_begin, .check = check_bound, .end = consumer_dies_end)

/* ---- the same of a queue that delivers again ---- */

static void again_begin(void)
{
	queue_begin(3, 2, TARN_QUEUE_REDELIVER);
	world_thread(2, get_and_acknowledge_all);
	world_thread(1, only_producer);
	world_thread(0, get_and_acknowledge_all);
	world_thread(3, killer);
}
static void again_end(void)
{
	for (unsigned v = 0; v < ITEMS; v++) {
		if (book.put[v] == PUT && book.acking[v] == 0)
			sched_fail("item %u is acknowledged by nobody", v);
		if (book.acked[v] > 1)
			sched_fail("item %u is acknowledged %u times", v, book.acked[v]);
		if (book.put[v] == PUT && book.acked[v] == 0 && !is_dead(0))
			sched_fail("item %u is not acknowledged", v);
	}
	queue_end();
}
SCENARIO(t13_what_a_consumer_killed_anywhere_had_is_delivered_again, .clients = 3, .typed = true,
	 .begin = again_begin, .check = check_bound, .end = again_end)

/* ---- join() ---- */

static void joining_producer(void)
{
	put_some(3);
	int r = tarn_queue_join(book.queue[1], WORLD_FOREVER);

	if (r != -EOWNERDEAD)
		MUST(r);
	for (unsigned v = OF_EACH; v < OF_EACH + 3; v++)
		if (r == 0 && book.acking[v] == 0)
			sched_fail("all are done, says join(), but item %u is not", v);
	MUST_BE(r == 0 || is_dead(0));
	close_queue();
	book.done[1] = true;
}
static void join_begin(void)
{
	queue_begin(3, 2, TARN_QUEUE_JOINABLE);
	world_thread(2, get_and_acknowledge_all);
	world_thread(1, joining_producer);
	world_thread(0, get_and_acknowledge_all);
	world_thread(3, killer);
}
static void join_end(void)
{
	each_once(is_dead(0) ? 1 : 0);
	queue_end();
}
SCENARIO(t13_join_ends_when_all_is_done_or_gone_with_the_dead, .clients = 3, .typed = true,
	 .begin = join_begin, .check = check_bound, .end = join_end)

/* ---- items that refer to blocks: what is left of them in the end is nothing ---- */

/* Beside the server, which hears of what is put and got. */
static void only_killer(void)
{
	sched_point();
	if (!book.done[0])
		world_kill(0);
}
static void blocks_begin(unsigned flags, void (*mortal)(void), void (*other)(void), void (*consumer)(void))
{
	queue_begin(3, 2, flags);
	/* Some for each, so that nobody asks for memory. */
	for (unsigned i = 0; i < 3; i++)
		MUST(tarn_client_ping(world->c[i], WORLD_FOREVER));
	book.blocks = true;
	world_thread(2, consumer); /* it sleeps first: else the mortal one gets nothing */
	world_thread(1, other);
	world_thread(0, mortal);
	world_thread(3, only_killer);
	world_server();
}
static void blocks_of_the_dead_begin(void)
{
	blocks_begin(0, mortal_producer, closing_producer, get_all);
}
SCENARIO(t12_blocks_of_a_producer_killed_anywhere_leave_nothing, .clients = 3, .typed = true,
	 .begin = blocks_of_the_dead_begin, .check = check_bound, .end = pair_end)

static void blocks_for_the_dead_begin(void)
{
	blocks_begin(0, get_all, only_producer, get_all);
}
SCENARIO(t12_blocks_for_a_consumer_killed_anywhere_leave_nothing, .clients = 3, .typed = true,
	 .begin = blocks_for_the_dead_begin, .check = check_bound, .end = consumer_dies_end)

static void blocks_again_begin(void)
{
	blocks_begin(TARN_QUEUE_REDELIVER, get_and_acknowledge_all, only_producer, get_and_acknowledge_all);
}
SCENARIO(t12_blocks_that_are_delivered_again_leave_nothing, .clients = 3, .typed = true,
	 .begin = blocks_again_begin, .check = check_bound, .end = again_end)

/* ---- a queue that grows ---- */

static void grows_begin(void)
{
	queue_begin(3, 2, TARN_QUEUE_JOINABLE);
	world->watch_data = false;
	use_up((unsigned)book.q->n - 2); /* one is left of the first run */
	world->watch_data = true;
	world_thread(0, mortal_producer);
	world_thread(1, closing_producer);
	world_thread(2, get_and_acknowledge_all);
	world_thread(3, only_killer);
	world_server();
}
static void grows_end(void)
{
	if (book.put[1] == PUT && book.put[OF_EACH + 1] == PUT && book.q->grown < 2)
		sched_fail("the queue has not grown");
	pair_end();
}
SCENARIO(t12_a_queue_grows_whoever_is_killed_wherever, .clients = 3, .typed = true, .begin = grows_begin,
	 .check = check_bound, .end = grows_end)

/* ---- closing ---- */

static void refused_producer(void)
{
	for (unsigned i = 0; i < 2 && put(self() * OF_EACH + i); i++)
		;
	book.done[self()] = true;
}
static void closer(void)
{
	close_queue();
	book.done[self()] = true;
}
static void close_begin(void)
{
	queue_begin(4, 1, 0);
	world_thread(0, refused_producer);
	world_thread(1, refused_producer);
	world_thread(2, get_all);
	world_thread(3, closer);
}
SCENARIO(t13_what_is_put_when_the_queue_is_closed_is_got_or_refused, .clients = 4, .typed = true,
	 .begin = close_begin, .check = check_bound, .end = pair_end)

PLAIN_MAIN()
