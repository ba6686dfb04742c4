/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T6: the traps of PROTOCOL 2 that are schedules, played with the real client and server. Each is
 * searched with up to three switches as far as its number of runs goes, and then by random priorities;
 * with stores seen at once, with store buffers (TSO), with stores out of order (PSO) and with loads of old values
 * (views).
 *
 * scenario.h says how to make it longer.
 *
 * tests/schedules/patches.sh puts each trap back and expects it to be found.
 */
#include <stdio.h>
#include <string.h>

#include "scenario.h"

/* ---- what they are made of ---- */

static void channel(unsigned i, unsigned from, unsigned to, size_t capacity)
{
	char name[16];

	snprintf(name, sizeof name, "ch%u", i);
	MUST(tarn_channel_new(world->c[from], capacity, name, &world->ch[i][0]));
	MUST(tarn_channel_bind(world->ch[i][0], TARN_PRODUCER));
	MUST(tarn_channel_open(world->c[to], name, 0, &world->ch[i][1]));
	MUST(tarn_channel_bind(world->ch[i][1], TARN_CONSUMER));
}

/* A block of process @of, which has @refs references to it. */
static void block(unsigned i, unsigned of, unsigned refs)
{
	MUST(tarn_block_new(world->c[of], 64, 0, &world->b[i]));
	world->id[i] = tarn_block_id(world->b[i]);
	memset(tarn_block_data(world->b[i]), (int)i + 1, 64);
	world_hold(world->b[i]);
	for (unsigned k = 1; k < refs; k++) {
		tarn_block_ref(world->b[i]);
		world_hold(world->b[i]);
	}
}

/* Contents that go through shm/base.h: a word of the block for each channel, which counts what was sent there. Who
 * receives must see it, as it was then or later. */
static uint64_t *count_of(unsigned ch, const tarn_block *b)
{
	return (uint64_t *)tarn_block_data(b) + ch;
}

static void send(unsigned ch, unsigned b)
{
	uint64_t n = ++world->sent[ch];

	tarn__store_relaxed(count_of(ch, world->b[b]), n);
	MUST(tarn_channel_send(world->ch[ch][0], world->b[b], n << 8 | b, WORLD_FOREVER));
}

/* Receives one, which must be whole; false: closed. */
static bool receive(unsigned ch, tarn_block **ret)
{
	uint64_t tag;
	int r = tarn_channel_recv(world->ch[ch][1], ret, &tag, WORLD_FOREVER);

	if (r == -TARN_ECLOSED)
		return false;
	MUST(r);
	world_hold(*ret);
	MUST_BE(tag >> 8 == 0 || tarn__load_relaxed(count_of(ch, *ret)) >= tag >> 8);
	tag &= 0xff;
	MUST_BE(tarn_block_id(*ret) == world->id[tag]);
	MUST_BE(((unsigned char *)tarn_block_data(*ret))[63] == tag + 1);
	sched_point(); /* it is there, and stays: the scheduler looks */
	return true;
}

static void receive_and_drop(unsigned ch)
{
	tarn_block *b;

	MUST_BE(receive(ch, &b));
	world_drop(b);
}

static void all_freed(void)
{
	world_settle();
	for (unsigned i = 0; i < 8; i++)
		if (world->id[i] != 0 && world_count(world->id[i]) != 0)
			sched_fail("block %u is not freed: count %u, of which %u, %u, %u are clients'", i,
				   world_count(world->id[i]), world_units(world->id[i], 0),
				   world_units(world->id[i], 1), world_units(world->id[i], 2));
}

/* ---- H1, H7: a send on one lane, the last drop on another ---- */

static void h1_a(void)
{
	send(0, 0);
	world_drop(world->b[0]);
}
static void h1_b(void)
{
	world_drop(world->b[0]);
}
static void h1_r(void)
{
	receive_and_drop(0);
}
static void h1_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 2);
	block(1, 0, 1);
	world_server();
	world_thread(0, h1_a);
	world_thread(0, h1_b);
	world_thread(1, h1_r);
}
static void h1_end(void)
{
	world_drop(world->b[1]);
	all_freed();
}
SCENARIO(h1_h7_a_send_on_one_lane_and_the_last_drop_on_another, .clients = 2, .begin = h1_begin, .end = h1_end)

/* The same of a block that the process has long received, and has on a second lane. */
static void h1_old_begin(void)
{
	channel(0, 0, 1, 4);
	channel(1, 1, 0, 4);
	block(0, 1, 1);
	send(1, 0);
	tarn_block *b;
	MUST_BE(receive(1, &b));
	world_drop(world->b[0]);
	world->b[0] = b;
	world_hold(tarn_block_ref(b));
	world_server();
	world_thread(0, h1_a);
	world_thread(0, h1_b);
	world_thread(1, h1_r);
}
SCENARIO(h1_the_same_with_a_block_that_came_long_ago, .clients = 2, .begin = h1_old_begin, .end = all_freed)

/* ---- H3: the second token of a block that one has ---- */

static void h3_p(void)
{
	send(0, 0);
	send(0, 0);
	world_drop(world->b[0]);
}
static void h3_q(void)
{
	tarn_block *one, *two;

	MUST_BE(receive(0, &one));
	MUST_BE(receive(0, &two));
	MUST_BE(one == two);
	world_drop(one);
	world_drop(two);
}
static void h3_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	world_server();
	world_thread(0, h3_p);
	world_thread(1, h3_q);
}
SCENARIO(h3_a_second_token_is_absorbed, .clients = 2, .begin = h3_begin, .end = all_freed)

/* ---- H4: two threads receive the same block at the same time ---- */

static void h4_p(void)
{
	send(0, 0);
	send(1, 0);
	world_drop(world->b[0]);
}
static void h4_q0(void)
{
	receive_and_drop(0);
}
static void h4_q1(void)
{
	receive_and_drop(1);
}
static void h4_begin(void)
{
	channel(0, 0, 1, 4);
	channel(1, 0, 1, 4);
	block(0, 0, 1);
	world_server();
	world_thread(0, h4_p);
	world_thread(1, h4_q0);
	world_thread(1, h4_q1);
}
SCENARIO(h4_two_threads_receive_a_block_first, .clients = 2, .begin = h4_begin, .end = all_freed)

/* ---- H5, H6: the producer dies while the consumer reads ---- */

static void h5_p(void)
{
	send(0, 0);
	send(0, 1);
}
static void h5_q(void)
{
	tarn_block *b;

	while (receive(0, &b)) {
		world->n[0]++;
		world_drop(b);
	}
}
static void h5_killer(void)
{
	world->may_sleep = true;
	/* What it held dies with it. */
	memset(world->held, 0, sizeof world->held);
	world_kill(0);
}
static void h5_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	block(1, 0, 1);
	world_server();
	world_thread(0, h5_p);
	world_thread(1, h5_q);
	world_thread(2, h5_killer);
}
SCENARIO(h5_h6_a_producer_dies_while_its_consumer_reads, .clients = 2, .begin = h5_begin, .end = all_freed)

/* With a third one, who is sent the same block: a count that is too small frees it under him. */
static void h6_r(void)
{
	tarn_block *b;

	MUST_BE(receive(1, &b));
	world_drop(b);
}
static void h6_q(void)
{
	tarn_block *b;

	while (receive(0, &b)) {
		/* Goes on with it, when everybody else is done. */
		for (unsigned i = 0; i < 5; i++) {
			sched_yield_now();
			sched_point();
		}
		MUST_BE(((unsigned char *)tarn_block_data(b))[63] != 0);
		world_drop(b);
	}
}
static void h6_begin(void)
{
	channel(0, 0, 1, 4);
	channel(1, 2, 1, 4);
	block(0, 0, 1);
	block(1, 0, 1);
	block(2, 2, 1);
	send(1, 2);
	world_drop(world->b[2]);
	world_server();
	world_thread(0, h5_p);
	world_thread(1, h6_q);
	world_thread(1, h6_r);
	world_thread(3, h5_killer);
}
SCENARIO(h6_a_consumer_keeps_what_it_read_of_a_dead_producer, .clients = 3, .begin = h6_begin, .end = all_freed)

/* The consumer comes late, when the death is noticed and half an epoch is over. */
static void h5_late_q(void)
{
	const struct client *p = &world->s->st.client[world->c[0]->number];

	while (p->state == CLIENT_ACTIVE || p->state == CLIENT_DYING1)
		sched_yield_now();
	h6_q();
}
static void h5_late_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	block(1, 0, 1);
	MUST(tarn_client_ping(world->c[1], WORLD_FOREVER));
	h5_p();
	world_server();
	world_thread(1, h5_late_q);
	world_thread(2, h5_killer);
}
SCENARIO(h5_a_consumer_reads_while_its_producer_is_reclaimed, .clients = 2,
	 .begin = h5_late_begin, .end = all_freed)

/* The consumer is stopped somewhere in its receive while all of the reclaim happens. */
static void h6_slow_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	block(1, 0, 1);
	MUST(tarn_client_ping(world->c[1], WORLD_FOREVER));
	h5_p();
	world->more_epochs = 6;
	world_thread(1, h6_q);
	world_thread(2, h5_killer);
	world_server();
}
SCENARIO(h6_a_consumer_is_stopped_while_its_producer_is_reclaimed, .clients = 2,
	 .begin = h6_slow_begin, .end = all_freed)

/* ---- a producer that closes: what it had sent is received, and only then its end is told ---- */

static void closing_p(void)
{
	send(0, 0);
	send(0, 1);
	MUST(tarn_channel_close(world->ch[0][0]));
	world_drop(world->b[0]);
	world_drop(world->b[1]);
}
static void closing_q(void)
{
	tarn_block *b;

	while (receive(0, &b)) {
		world->n[0]++;
		world_drop(b);
	}
	MUST_BE(world->n[0] == 2);
}
static void closing_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	block(1, 0, 1);
	world->watch_data = true;
	world->may_sleep = true; /* an end that goes may miss who is just falling asleep: he looks again */
	world_server();
	world_thread(0, closing_p);
	world_thread(1, closing_q);
}
SCENARIO(h5_a_producer_that_closes_is_read_to_its_end, .clients = 2, .begin = closing_begin, .end = all_freed)

/* ---- a ring so large that receipts are put off: the short way of nearly every item ---- */

#define LARGE 64u

static void deferred_p(void)
{
	for (unsigned i = 0; i < 4; i++)
		send(0, i);
	for (unsigned i = 0; i < 4; i++)
		world_drop(world->b[i]);
}
/* Two are held for a while, so that a receipt is said while its block is in use. */
static void deferred_q(void)
{
	tarn_block *b[2];

	receive_and_drop(0);
	MUST_BE(receive(0, &b[0]) && receive(0, &b[1]));
	world_drop(b[0]);
	receive_and_drop(0);
	world_drop(b[1]);
}
static void deferred_make(void)
{
	channel(0, 0, 1, LARGE);
	for (unsigned i = 0; i < 4; i++)
		block(i, 0, 1);
	world_server();
}
static void deferred_begin(void)
{
	deferred_make();
	world_thread(0, deferred_p);
	world_thread(1, deferred_q);
}
SCENARIO(h6_receipts_may_be_put_off, .clients = 2, .begin = deferred_begin, .end = all_freed)

static void deferred_dead_p(void)
{
	for (unsigned i = 0; i < 4; i++)
		send(0, i);
}
static void deferred_dead_begin(void)
{
	deferred_make();
	world_thread(0, deferred_dead_p);
	world_thread(1, h5_q);
	world_thread(2, h5_killer);
}
SCENARIO(h6_receipts_may_be_put_off_while_the_producer_dies, .clients = 2, .begin = deferred_dead_begin,
	 .end = all_freed)

/* ---- H8: forwarded before the owner was heard ---- */

static void h8_p(void)
{
	send(0, 0);
	world_drop(world->b[0]);
}
static void h8_q(void)
{
	tarn_block *b;

	MUST_BE(receive(0, &b));
	MUST(tarn_channel_send(world->ch[1][0], b, 0, WORLD_FOREVER));
	world_drop(b);
}
static void h8_r(void)
{
	receive_and_drop(1);
}
static void h8_begin(void)
{
	channel(1, 1, 2, 4); /* its lanes are read before those of the first process */
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	world_server();
	world_thread(0, h8_p);
	world_thread(1, h8_q);
	world_thread(2, h8_r);
}
SCENARIO(h8_a_block_is_forwarded_before_its_owner_was_heard, .clients = 3, .begin = h8_begin, .end = all_freed)

/* ---- H9: sends to a consumer that died ---- */

static void h9_p(void)
{
	for (unsigned i = 0; i < 3; i++) {
		int r = tarn_channel_send(world->ch[0][0], world->b[0], 0, WORLD_FOREVER);

		if (r == -TARN_ECLOSED)
			break;
		MUST(r);
	}
	world_drop(world->b[0]);
}
static void h9_q(void)
{
	tarn_block *b;

	/* It holds nothing that anybody would miss. */
	if (tarn_channel_recv(world->ch[0][1], &b, NULL, WORLD_FOREVER) == 0)
		tarn_block_unref(b);
}
static void h9_killer(void)
{
	world->may_sleep = true;
	world_kill(1);
}
static void h9_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	world_server();
	world_thread(0, h9_p);
	world_thread(1, h9_q);
	world_thread(2, h9_killer);
}
SCENARIO(h9_sends_to_a_consumer_that_died_leave_nothing, .clients = 2, .begin = h9_begin, .end = all_freed)

/* ---- H11: a token that leaves through memory which nobody synchronises ---- */

#define TOKEN_WORDS (sizeof(tarn_token) / 8)
static_assert(TOKEN_WORDS <= sizeof world_outside / 8, "room for a token");

/* Plain stores, as into a mapped file. */
static void put_outside(const tarn_token *token)
{
	uint64_t word[TOKEN_WORDS];

	memcpy(word, token, sizeof word);
	for (unsigned i = 0; i < TOKEN_WORDS; i++)
		tarn__store_relaxed(&world_outside[i], word[i]);
}

/* What is there is whole when its checksum is right. A whole one must be good: the export and what
 * was written into the block came before it. */
static tarn_block *import_from_outside(tarn_client *c)
{
	tarn_token token;
	tarn_block *b;

	for (;;) {
		uint64_t word[TOKEN_WORDS];

		for (unsigned i = 0; i < TOKEN_WORDS; i++)
			word[i] = tarn__load_relaxed(&world_outside[i]);
		memcpy(&token, word, sizeof token);
		int r = tarn_block_import(c, &token, &b);

		if (r != -EINVAL) {
			MUST(r);
			world_hold(b);
			sched_point();
			return b;
		}
		sched_yield_now();
	}
}

#define H11_WORD 0x1122334455667788ull

static void h11_p(void)
{
	tarn_token token;

	tarn__store_relaxed(tarn_block_data(world->b[0]), H11_WORD);
	MUST(tarn_block_export(world->b[0], NULL, &token));
	put_outside(&token);
	for (unsigned i = 0; i < 6; i++)
		sched_point(); /* other work, which orders nothing */
	world_drop(world->b[0]);
}
static void h11_q(void)
{
	tarn_block *b = import_from_outside(world->c[1]);

	MUST_BE(tarn__load_relaxed(tarn_block_data(b)) == H11_WORD);
	world_drop(b);
}
static void h11_begin(void)
{
	block(0, 0, 1);
	MUST(tarn_client_ping(world->c[1], WORLD_FOREVER));
	world_server();
	world_thread(0, h11_p);
	world_thread(1, h11_q);
}
SCENARIO(h11_a_token_leaves_through_memory_that_nobody_synchronises, .clients = 2,
	 .begin = h11_begin, .end = all_freed)

/* ---- H18: a channel whose table of tickets would be full ---- */

static void h18_p(void)
{
	for (unsigned i = 0; i < 3; i++) {
		send(0, i);
		world_drop(world->b[i]);
	}
}
static void h18_q(void)
{
	for (unsigned i = 0; i < 3; i++)
		receive_and_drop(0);
}
/* What has nothing to do with the channel is freed all the same, however slow its ends are. */
static void h18_r(void)
{
	world_drop(world->b[3]);
	while (world_count(world->id[3]) != 0)
		sched_yield_now();
}
static void h18_begin(void)
{
	channel(0, 0, 1, 1); /* its ticket is there until an epoch after its slot is free again */
	for (unsigned i = 0; i < 3; i++)
		block(i, 0, 1);
	block(3, 2, 1);
	world->more_epochs = 2;
	world_thread(0, h18_p);
	world_server();
	world_thread(1, h18_q);
	world_thread(2, h18_r);
}
SCENARIO(h18_a_channel_that_is_full_holds_up_no_freeing, .clients = 3, .begin = h18_begin, .end = all_freed)

/* ---- H19, H20: the server dies anywhere, a successor goes on ---- */

static void h19_p(void)
{
	tarn_block *b;

	send(0, 0);
	world_drop(world->b[0]);
	MUST(tarn_block_new(world->c[0], 300, 0, &b));
	world_hold(b);
	world->id[2] = tarn_block_id(b);
	memset(tarn_block_data(b), 3, 300);
	MUST(tarn_channel_send(world->ch[0][0], b, 2, WORLD_FOREVER));
	world_drop(b);
}
static void h19_q(void)
{
	receive_and_drop(0);
	receive_and_drop(0);
}
static void h19_killer(void)
{
	world->may_sleep = true;
	world_server_killed();
}
static void h19_begin(void)
{
	channel(0, 0, 1, 4);
	block(0, 0, 1);
	world->crash_points = true;
	world_server();
	world_thread(0, h19_p);
	world_thread(1, h19_q);
	world_thread(2, h19_killer);
}
static void h19_end(void)
{
	world->crash_points = false;
	all_freed();
}
SCENARIO(h19_h20_the_server_dies_and_a_successor_goes_on, .clients = 2, .begin = h19_begin, .end = h19_end)

/* ---- H20: who was answered is not un-answered by a rollback ---- */

/* Both get blocks; answers that differ when the server is asked again show one that was seen
 * before it was committed. */
static void h20_new(unsigned i, unsigned of)
{
	MUST(tarn_block_new(world->c[of], 200, 0, &world->b[i]));
	world_hold(world->b[i]);
	world->id[i] = tarn_block_id(world->b[i]);
	for (unsigned k = 0; k < 8; k++)
		MUST_BE(k == i || world->id[k] != world->id[i]);
}
static void h20_p(void)
{
	h20_new(1, 0);
	world_drop(world->b[1]);
}
static void h20_q(void)
{
	tarn_token token;

	h20_new(2, 1);
	MUST(tarn_block_export(world->b[2], NULL, &token));
	put_outside(&token);
	world_drop(world->b[2]);
}
static void h20_r(void)
{
	world_drop(import_from_outside(world->c[2]));
}
static void h20_begin(void)
{
	for (unsigned i = 0; i < 3; i++)
		MUST(tarn_client_ping(world->c[i], WORLD_FOREVER));
	world->crash_points = true;
	world_server();
	world_thread(0, h20_p);
	world_thread(1, h20_q);
	world_thread(2, h20_r);
	world_thread(3, h19_killer);
}
SCENARIO(h20_an_answer_stands_whenever_the_server_dies, .clients = 3, .begin = h20_begin, .end = h19_end)

/* ---- H24: sleeping and waking ---- */

static void h24_p(void)
{
	MUST(tarn_client_ping(world->c[0], WORLD_FOREVER));
}
static void h24_q(void)
{
	MUST(tarn_client_ping(world->c[1], WORLD_FOREVER));
}
static void h24_begin(void)
{
	MUST(tarn_client_ping(world->c[0], WORLD_FOREVER));
	MUST(tarn_client_ping(world->c[1], WORLD_FOREVER));
	world_reactor();
	world_thread(0, h24_p);
	world_thread(1, h24_q);
}
SCENARIO(h24_who_asks_a_server_that_falls_asleep_is_answered, .clients = 2, .begin = h24_begin)

static void h24_send(void)
{
	send(0, 0);
	send(0, 1);
	send(0, 0);
	world_drop(world->b[0]);
	world_drop(world->b[1]);
}
static void h24_receive(void)
{
	for (unsigned i = 0; i < 3; i++)
		receive_and_drop(0);
}
static void h24_channel_begin(void)
{
	channel(0, 0, 1, 1); /* full after each: both ends sleep */
	block(0, 0, 1);
	block(1, 0, 1);
	world_server();
	world_thread(0, h24_send);
	world_thread(1, h24_receive);
}
SCENARIO(h24_both_ends_of_a_channel_wake_each_other, .clients = 2, .begin = h24_channel_begin, .end = all_freed)

PLAIN_MAIN()
