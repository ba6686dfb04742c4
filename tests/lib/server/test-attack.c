/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reviewer tried: schedules in which one client harms another, leaves something
 * behind, or takes the server with it.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake.h"
#include "lib/server/claims.h"
#include "lib/server/heap.h"
#include "lib/types/stash.h"
#include "tests/common/seccomp.h"

TestSuite(attack, .timeout = 60);

#define QUIET(s)                                             \
	do {                                                 \
		fake_settle(s);                              \
		cr_assert(eq(int, fake_verify(s), 0));       \
	} while (0)
#define ERROR_OF(r) (((r).word[0] >> 16) & 0xffff)
#define STATE_OF(s, c) ((s)->st.client[c].state)

/* Nothing of anybody is left. */
static void all_gone(struct server *s)
{
	for (uint32_t c = 1; c < s->st.head->clients_used; c++)
		if (s->peer[c] != NULL)
			fake_kill(s, c);
	QUIET(s);
	cr_expect(eq(u64, s->st.head->n_live, 0));
	cr_expect(eq(u64, s->st.head->n_granted, 0));
	cr_expect(eq(u64, s->st.head->heap.used, 0));
	cr_expect(eq(u64, s->st.head->n_clients, 0));
	cr_expect(eq(u64, s->st.head->n_channels, 0));
	cr_expect(eq(u64, s->st.head->claims_promised, 0));
	cr_expect(eq(u32, s->st.head->n_claims, 0));
	fake_server_free(s);
}

static uint64_t live_block(struct server *s, struct fake_lane *l, uint64_t bytes)
{
	uint64_t id = fake_alloc(s, l, bytes);

	fake_post(l, TARN__MSG_PUBLISH, 0, id, bytes, 0, 0, 0, 0);
	tarn__epoch(s);
	return id;
}

/* Many blocks, so that a reclaim takes several epochs: a slice changes 64 objects and an
 * epoch looks at 16384. */
static void crowd(struct server *s, struct fake_lane *l, unsigned n)
{
	for (unsigned done = 0; done < n;) {
		fake_post(l, TARN__MSG_ALLOC, 64, 64, 1, 0, 0, 0, 0);
		tarn__epoch(s);
		for (unsigned got = 0; got < 64;) {
			struct tarn__slot r = fake_reply(l);
			unsigned k = tarn__header_slots(r.word[0]) & 0x7f;

			cr_assert(eq(u64, ERROR_OF(r), 0));
			got += k;
			done += k;
			if (tarn__header_slots(r.word[0]) & TARN__REPLY_LAST)
				break;
		}
	}
}

/* ---- index reuse: what a client leaves behind hits the next one with its index ---- */

/* DETACH is no death: the process lives and its threads may go on posting. */
Test(attack, detached_client_posts_on_and_its_successor_pays)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), x = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), xa = fake_lane(s, x);
	uint64_t ch = fake_channel(s, &pa, &pa, 4);
	uint64_t o = live_block(s, &pa, 100);

	fake_kill(s, x); /* as DETACH does */
	tarn__epoch(s);
	fake_release(&xa, o, 1); /* read in the epoch in which the record is reclaimed */
	for (int i = 0; i < 10 && s->peer[x] != NULL; i++)
		tarn__epoch(s);
	cr_assert(zero(ptr, s->peer[x]));

	uint32_t y = fake_client(s);
	struct fake_lane ya = fake_lane(s, y);
	cr_assert(eq(u32, y, x)); /* same index */
	fake_recv(&ya, ch, 0, o); /* a unit of o, all honest */
	fake_release(&pa, o, 1);
	fake_settle(s);
	cr_expect(eq(u64, s->evictions, 0));
	cr_expect(eq(u32, STATE_OF(s, y), CLIENT_ACTIVE));
	cr_expect(fake_alive(s, o), "y holds it: freed under its hands");
	cr_expect(eq(int, fake_verify(s), 0));
	all_gone(s);
}

Test(attack, reclaim_in_slices_while_the_lane_is_still_written)
{
	struct server *s = fake_server(64);
	uint32_t p = fake_client(s), x = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), xa = fake_lane(s, x);
	uint64_t o = live_block(s, &pa, 100);

	crowd(s, &pa, 40000);
	live_block(s, &xa, 5000); /* at the far end: the reclaim has to go all the way */
	fake_kill(s, x);
	for (int i = 0; i < 10 && STATE_OF(s, x) != CLIENT_RECLAIM; i++)
		tarn__epoch(s);
	cr_assert(eq(u32, STATE_OF(s, x), CLIENT_RECLAIM));
	fake_recv(&xa, 0, 0, o); /* o is behind the sweep already */
	QUIET(s);
	cr_expect(eq(u64, s->st.client[x].held, 0));
	cr_expect(eq(u32, fake_count(s, o), 1));
	all_gone(s);
}

/* No malice in this one: a process is killed while it waits for memory. */
Test(attack, memory_is_granted_to_a_client_that_is_being_reclaimed)
{
	struct server *s = fake_server(64);
	uint32_t p = fake_client(s), x = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), xa = fake_lane(s, x);

	live_block(s, &xa, 48 << 20); /* freed by the first slice */
	crowd(s, &pa, 40000);
	live_block(s, &xa, 5000); /* at the far end: there are more slices */
	fake_post(&xa, TARN__MSG_ALLOC, 1, 40 << 20, 1, 10000000000ull, 0, 0, 0);
	tarn__epoch(s);
	cr_assert(eq(u64, s->st.head->n_pending, 1));
	fake_kill(s, x);
	QUIET(s);
	cr_expect(eq(u64, s->st.client[x].owned, 0));
	all_gone(s);
}

/* ---- innocent clients ---- */

/* 1000 handles in use, all dropped and as many new ones received in one epoch. The server
 * has read the RELEASEs but applies them one epoch later. */
Test(attack, releases_in_flight_do_not_count_against_the_credits)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch = fake_channel(s, &pa, &qa, 1024);
	static uint64_t id[1200];

	fake_post(&pa, TARN__MSG_CREDIT, 0, 4096, 0, 0, 0, 0, 0);
	tarn__epoch(s);
	fake_reply(&pa);
	for (unsigned i = 0; i < 1200; i++)
		id[i] = fake_alloc(s, &pa, 64);
	for (unsigned i = 0; i < 600; i++)
		fake_send(&pa, ch, i, id[i], 64, 1);
	fake_settle(s);
	for (unsigned i = 600; i < 1200; i++)
		fake_send(&pa, ch, i, id[i], 64, 1);
	for (unsigned i = 0; i < 600; i++)
		fake_recv(&qa, ch, i, id[i]);
	fake_settle(s);
	cr_assert(eq(u64, s->evictions, 0));
	for (unsigned i = 0; i < 500; i++) {
		fake_release(&qa, id[i], 1); /* 600 handles at most at any time */
		fake_recv(&qa, ch, 600 + i, id[600 + i]);
	}
	fake_settle(s);
	cr_expect(eq(u64, s->evictions, 0));
	cr_expect(eq(u32, STATE_OF(s, q), CLIENT_ACTIVE));
	cr_expect(eq(int, fake_verify(s), 0));
	all_gone(s);
}

/* DIR tells everybody all ids: anybody can name a block that lies in another's cache. */
Test(attack, giveback_of_a_block_that_a_stranger_named)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), h = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), ha = fake_lane(s, h);
	uint64_t o = fake_alloc(s, &pa, 100);

	fake_recv(&ha, 0, 0, o);
	tarn__epoch(s);
	fake_post(&pa, TARN__MSG_GIVEBACK, 1, o, 0, 0, 0, 0, 0);
	QUIET(s);
	cr_expect(eq(u32, STATE_OF(s, p), CLIENT_ACTIVE), "p did nothing wrong");
	cr_expect(eq(u64, s->st.client[p].owned, 0), "p does not pay for it any more");
	fake_kill(s, h);
	QUIET(s);
	cr_expect(not(fake_alive(s, o)));
	all_gone(s);
}

/* Such a word may come to its owner as that of an item: who takes what lies in its own cache publishes it, and cannot
 * know. */
Test(attack, giveback_of_a_block_that_a_stranger_made_its_owner_take)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s);
	struct fake_lane pa = fake_lane(s, p);
	uint64_t o = fake_alloc(s, &pa, 100);

	fake_recv(&pa, 0, 0, o);
	QUIET(s);
	fake_post(&pa, TARN__MSG_GIVEBACK, 1, o, 0, 0, 0, 0, 0);
	QUIET(s);
	cr_expect(eq(u32, STATE_OF(s, p), CLIENT_ACTIVE), "p did nothing wrong");
	cr_expect(eq(u32, fake_count(s, o), 1), "what it took is its own still");
	fake_release(&pa, o, 1);
	QUIET(s);
	cr_expect(eq(u32, STATE_OF(s, p), CLIENT_ACTIVE));
	cr_expect(not(fake_alive(s, o)));
	all_gone(s);
}

/* The consumer moves head on without RECV or ABSORB: the producer keeps to the ring. */
Test(attack, consumer_that_never_redeems_gets_the_producer_evicted)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), h = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), ha = fake_lane(s, h);
	uint64_t ch = fake_channel(s, &pa, &ha, 4);
	uint64_t o = live_block(s, &pa, 100);

	for (unsigned i = 0; i < 4 + 3 * TARN__REQUESTS + 100; i++) {
		fake_send(&pa, ch, i, o, 100, 0);
		if (i % 500 == 0)
			tarn__epoch(s);
	}
	QUIET(s);
	cr_expect(eq(u32, STATE_OF(s, p), CLIENT_ACTIVE), "p kept to the ring");
	all_gone(s);
}

/* A hostile producer's slot names a block that is gone; the receiver, all honest, hands it on. */
Test(attack, a_stale_id_in_a_send_does_not_break_the_next_send)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch = fake_channel(s, &pa, &qa, 4);
	uint64_t o = live_block(s, &pa, 100);

	fake_send(&pa, ch, 0, o - ((uint64_t)1 << TARN__INDEX_BITS), 100, 0);
	fake_send(&pa, ch, 1, o, 100, 0);
	QUIET(s);
	cr_expect(eq(u64, s->evictions, 0));
	cr_expect(eq(u32, fake_count(s, o), 2));
	all_gone(s);
}

/* ---- the server's life ---- */

/* Each channel may have 3 rings of tickets beyond its capacity, but the lanes of a consumer
 * promised that room once, not for each of its channels. */
Test(attack, tickets_of_many_channels_exhaust_the_claims)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s);
	struct fake_lane pa = fake_lane(s, p);
	uint64_t o = live_block(s, &pa, 100);

	for (unsigned k = 0; k < 40; k++) {
		uint64_t ch = fake_channel(s, &pa, &pa, 1);

		for (unsigned i = 0; i < 3000; i++) {
			fake_send(&pa, ch, i, o, 100, 0);
			if (i % 1000 == 999)
				tarn__epoch(s);
		}
	}
	QUIET(s);
	all_gone(s);
}

/* Lanes that are full again each time they are looked at: busy ones are read many times in
 * an epoch, and the buffers of decrements have room for one ring of each lane. */
static struct fake_lane *refill_lane;
static unsigned refill_lanes;
static uint64_t refill_id;

static void refill(void)
{
	for (unsigned i = 0; i < refill_lanes; i++) {
		struct fake_lane *l = &refill_lane[i];

		while (tarn__requests_room(&l->requests, 1) > 0)
			fake_absorb(l, refill_id, 0, 1);
	}
}

static void *refill_thread(void *arg)
{
	while (!__atomic_load_n((bool *)arg, __ATOMIC_RELAXED))
		refill();
	return NULL;
}

Test(attack, busy_lanes_overflow_the_buffers_of_decrements)
{
	static struct fake_lane lane[64];
	struct server *s = fake_server(16);
	bool stop = false;
	pthread_t thread;
	uint64_t most = 0;

	for (unsigned i = 0; i < 64; i++)
		lane[i] = fake_lane(s, fake_client(s));
	refill_lane = lane;
	refill_lanes = 64;
	refill_id = 12345;
	refill();
	cr_assert(zero(int, pthread_create(&thread, NULL, refill_thread, &stop)));
	for (unsigned i = 0; i < 20; i++) {
		tarn__epoch(s);
		for (int b = 0; b < 2; b++)
			if (s->st.head->n_deferred[b] > most)
				most = s->st.head->n_deferred[b];
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	cr_expect(le(u64, most, s->st.head->lanes_reserved * (uint64_t)TARN__REQUESTS));
	cr_expect(le(u64, most, 64 * TARN__REQUESTS), "one ring of each lane: tickets and claims "
						      "are promised for no more");
	all_gone(s);
}

/* The last look before a sleep reads a CLOSE that did not ring, because the server was
 * awake when it was posted. Its effect comes one epoch later: it must not sleep over it. */
Test(attack, close_is_eager)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch = fake_channel(s, &pa, &qa, 4);

	fake_settle(s);
	uint64_t eager = s->eager;
	fake_post(&pa, TARN__MSG_CLOSE, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	tarn__epoch(s);
	cr_expect(ne(u64, s->eager, eager), "sleep_now() goes by this");
	eager = s->eager;
	fake_release(&pa, ch, 1); /* of an object: prompt, too */
	tarn__epoch(s);
	cr_expect(ne(u64, s->eager, eager));
	all_gone(s);
}

/* Grants come in slots of six; a batch may end early, when the log is half full, and then
 * the last slot must not be sent twice: one block for two users. */
Test(attack, no_block_is_granted_twice_when_a_batch_ends_early)
{
	for (unsigned used = TARN__UNDO_CAPACITY / 2 - 400; used < TARN__UNDO_CAPACITY / 2; used++) {
		struct server *s = fake_server(16);
		uint32_t p = fake_client(s);
		struct fake_lane pa = fake_lane(s, p);
		struct lane_view *v = tarn__view_of(s, s->peer[p]->lane[pa.number]);
		struct tarn__slot ask = { .word = { tarn__header(TARN__MSG_ALLOC, 1, 64, 7), 64, 1 } };
		uint64_t seen[128];
		unsigned n = 0;

		/* Large blocks in a fragmented arena use up as much of the log as this. */
		while (s->st.head->undo.n < used)
			SET(&s->st, s->st.head->epoch, s->st.head->epoch);
		tarn__grant_request(s, v, &ask);
		tarn__commit(s);
		v->wake = true;
		tarn__epoch(s);
		while (!fake_no_reply(&pa)) {
			struct tarn__slot r = fake_reply(&pa);
			unsigned k = tarn__header_slots(r.word[0]) & 0x7f;

			cr_assert(eq(u64, ERROR_OF(r), 0));
			for (unsigned i = 0; i < k; i++) {
				for (unsigned j = 0; j < n; j++)
					cr_assert(ne(u64, seen[j], r.word[1 + i]),
						  "granted twice, log at %u", used);
				seen[n++] = r.word[1 + i];
			}
		}
		cr_assert(eq(u64, n, s->st.head->n_granted));
		all_gone(s);
	}
}

/* ---- channels ---- */

static int make_named(struct server *s, struct fake_lane *l, const char *name, uint64_t *ret)
{
	fake_post_name(l, TARN__MSG_CHANNEL, 4, true, name);
	tarn__epoch(s);
	struct tarn__slot r = fake_reply(l);

	*ret = r.word[1];
	return (int)ERROR_OF(r);
}

/* A dead channel has its name until the reaper comes, which may be many epochs. */
Test(attack, name_of_a_dead_channel_is_free_and_unique)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s);
	struct fake_lane pa = fake_lane(s, p);
	uint64_t dead, second, third;

	cr_assert(zero(int, make_named(s, &pa, "x", &dead)));
	struct object *o = &s->st.object[tarn__id_index(dead)];

	/* Dead, not reaped: as when it has many tickets, or others are before it. */
	fake_release(&pa, dead, 1);
	fake_read(s, &pa);
	fake_phase_b(s);
	fake_phase_b(s);
	cr_assert(eq(u32, o->state, OBJECT_DEAD));
	fake_post_name(&pa, TARN__MSG_CHANNEL, 4, true, "x");
	fake_post_name(&pa, TARN__MSG_LOOKUP, 0, false, "x");
	fake_post_name(&pa, TARN__MSG_CHANNEL, 4, true, "x");
	tarn__epoch(s);
	struct tarn__slot r = fake_reply(&pa);
	second = r.word[1];
	cr_assert(eq(u64, ERROR_OF(r), 0));
	r = fake_reply(&pa);
	cr_expect(eq(u64, ERROR_OF(r), 0), "the second one is found");
	cr_expect(eq(u64, r.word[1], second));
	r = fake_reply(&pa);
	third = r.word[1];
	(void)third;
	cr_expect(eq(u64, ERROR_OF(r), EEXIST));
	QUIET(s);
	all_gone(s);
}

Test(attack, channels_count_against_the_quota)
{
	struct server *s = fake_server(64);
	uint32_t p;

	cr_assert(zero(int, tarn__client_attach(s, &(const struct newcomer){ .socket = -1, .pidfd = -1, .pid = 1, .quota = 1 << 20 }, &p)));
	struct fake_lane pa = fake_lane(s, p);

	fake_post(&pa, TARN__MSG_CHANNEL, 0, 1 << 18, 0, 0, 0, 0, 0); /* 16 MiB */
	tarn__epoch(s);
	cr_expect(eq(u64, ERROR_OF(fake_reply(&pa)), EDQUOT));
	cr_expect(le(u64, s->st.client[p].owned_bytes, 1 << 20));
	all_gone(s);
}

/* Killed after BIND and SENDs were posted at once, so its positions were read before it was
 * the producer; the record may have had another life. */
Test(attack, positions_of_another_channel_do_not_judge_the_tickets)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s), x = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), qa = fake_lane(s, q), xa = fake_lane(s, x);
	uint64_t first = fake_channel(s, &xa, &qa, 16);
	struct tarn__slot r;

	fake_show(s, first, 10);
	fake_kill(s, x);
	fake_settle(s);
	fake_post(&qa, TARN__MSG_CLOSE, 0, first, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	QUIET(s);
	cr_assert(eq(u64, s->st.head->n_channels, 0));

	uint64_t o = live_block(s, &qa, 100);
	fake_post(&qa, TARN__MSG_CHANNEL, 0, 16, 0, 0, 0, 0, 0);
	tarn__epoch(s);
	r = fake_reply(&qa);
	uint64_t ch = r.word[1];
	fake_post(&qa, TARN__MSG_BIND, 0, ch, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	tarn__epoch(s);
	fake_post(&pa, TARN__MSG_BIND, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	for (unsigned i = 0; i < 5; i++)
		fake_send(&pa, ch, i, o, 100, 0);
	fake_kill(s, p);
	QUIET(s);
	cr_expect(eq(u32, fake_count(s, o), 1), "the slots were never published");
	all_gone(s);
}

/* A channel whose consumer was never bound, and that was sent through itself, kept itself
 * alive by its own ticket, for ever. */
Test(attack, a_channel_sent_through_itself)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s);
	struct fake_lane pa = fake_lane(s, p);
	uint64_t ch;

	fake_post(&pa, TARN__MSG_CHANNEL, 0, 4, 0, 0, 0, 0, 0);
	tarn__epoch(s);
	ch = fake_reply(&pa).word[1];
	fake_post(&pa, TARN__MSG_BIND, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	tarn__epoch(s);
	fake_send(&pa, ch, 0, ch, 64, 0);
	fake_settle(s);
	fake_show(s, ch, 1);
	all_gone(s);
}

/* The same in a ring of three, with blocks on board, and one that somebody still holds. */
Test(attack, channels_that_only_hold_each_other)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch[3], o = live_block(s, &pa, 100);

	for (int i = 0; i < 3; i++) {
		fake_post(&pa, TARN__MSG_CHANNEL, 0, 4, 0, 0, 0, 0, 0);
		tarn__epoch(s);
		ch[i] = fake_reply(&pa).word[1];
		fake_post(&pa, TARN__MSG_BIND, 0, ch[i], TARN__ROLE_PRODUCER, 0, 0, 0, 0);
		tarn__epoch(s);
		fake_reply(&pa);
		fake_send(&pa, ch[i], 0, o, 100, 0);
	}
	for (int i = 0; i < 3; i++) {
		fake_send(&pa, ch[i], 1, ch[(i + 1) % 3], 64, 0);
		fake_show(s, ch[i], 2);
	}
	fake_post(&qa, TARN__MSG_BIND, 0, ch[1], TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	fake_kill(s, p);
	QUIET(s);
	/* Q reads from the second and reaches the others: nothing may go. */
	cr_assert(eq(u64, s->st.head->n_channels, 3));
	cr_assert(eq(u32, fake_count(s, o), 3));
	fake_post(&qa, TARN__MSG_CLOSE, 0, ch[1], TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	QUIET(s);
	cr_assert(eq(u64, s->st.head->n_channels, 0));
	cr_assert(fake_alive(s, o) == false);
	all_gone(s);
}

/* H25: each channel hangs in the next, and only the last is held. Looking for channels that nobody
 * can reach took as many walks over all tickets as the chain is long, at every release of a channel:
 * with some hundred the server did nothing else. */
Test(attack, h25_channels_deep_in_each_other_do_not_stall_the_server)
{
	struct server *s = fake_server(64);
	uint32_t p = fake_client(s);
	struct fake_lane pa = fake_lane(s, p);
	uint64_t inner = 0, outer = 0;

	for (unsigned i = 0; i < 3000; i++) {
		fake_post(&pa, TARN__MSG_CHANNEL, 0, 2, 0, 0, 0, 0, 0);
		tarn__epoch(s);
		outer = fake_reply(&pa).word[1];
		fake_post(&pa, TARN__MSG_BIND, 0, outer, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
		tarn__epoch(s);
		fake_reply(&pa);
		if (inner != 0) {
			fake_send(&pa, outer, 0, inner, 64, 0);
			fake_post(&pa, TARN__MSG_CLOSE, 0, inner, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
			fake_release(&pa, inner, 1);
		}
		inner = outer;
	}
	QUIET(s);
	cr_assert(eq(u64, s->st.head->n_channels, 3000));
	fake_release(&pa, outer, 1);
	fake_post(&pa, TARN__MSG_CLOSE, 0, outer, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	QUIET(s);
	cr_assert(eq(u64, s->st.head->n_channels, 0));
	all_gone(s);
}

/* What an evicted client had sent before stays good for who receives it. */
Test(attack, sends_published_before_an_eviction_keep_their_tickets)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), pb = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch = fake_channel(s, &pa, &qa, 8), o = live_block(s, &pa, 100);

	fake_send(&pa, ch, 0, o, 100, 0);
	fake_show(s, ch, 1);
	fake_release(&pb, o, 99); /* an offence that is read first */
	fake_read(s, &pb);
	fake_phase_b(s);
	fake_settle(s);
	cr_assert(eq(u64, s->evictions, 1));
	fake_post(&pa, TARN__MSG_ALLOC, 1, 64, 1, 0, 0, 0, 0);
	tarn__epoch(s);
	cr_assert(eq(u64, (fake_reply(&pa).word[0] >> 16) & 0xffff, TARN_EEVICTED));
	fake_kill(s, p);
	QUIET(s);
	cr_assert(eq(u32, fake_count(s, o), 1)); /* the ticket */
	fake_recv(&qa, ch, 0, o);
	QUIET(s);
	cr_assert(eq(u32, fake_count(s, o), 1)); /* Q's unit */
	fake_release(&qa, o, 1);
	QUIET(s);
	cr_assert(fake_alive(s, o) == false);
	all_gone(s);
}

/* ---- messages at random ---- */

/* An object that does whatever it is asked: holds, drops, gives, makes, throws. */
static int do_keep(tarn_context *ctx, void *self)
{
	const tarn_parcel *p = tarn_context_args(ctx);
	int r = 0;

	(void)self;
	for (unsigned i = 0; i < p->n_refs && r == 0; i++)
		r = tarn_self_hold_block(ctx, p->refs[i]);
	return r;
}
static int do_forget(tarn_context *ctx, void *self)
{
	uint64_t id = 0;

	(void)self;
	tarn_value_uint(tarn_parcel_at(tarn_context_args(ctx), 0), &id);
	return tarn_self_drop(ctx, id);
}
static int do_echo(tarn_context *ctx, void *self)
{
	int r = 0;

	(void)self;
	for (unsigned i = 0; i < tarn_parcel_count(tarn_context_args(ctx)) && r == 0; i++)
		r = tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(tarn_context_args(ctx), i));
	return r;
}
static int do_make(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_managed(ctx, "Fool", NULL, &o);

	(void)self;
	if (r == 0 && rand() % 2 == 0)
		r = tarn_self_hold(ctx, o);
	if (r == 0 && rand() % 2 == 0)
		r = tarn_put_object(tarn_context_result(ctx), o);
	return r == 0 && rand() % 4 == 0 ? -EIO : r;
}
static void do_end(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
}
static const tarn_method fool_methods[] = {
	{ "keep", do_keep, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "forget", do_forget, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "echo", do_echo, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "make", do_make, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "slow", do_echo, 0, NULL, NULL, NULL },
	{ 0 },
};
static const tarn_type fool = { .name = "Fool", .size = 40, .flags = TARN_TYPE_INLINE,
				.destroy = do_end, .methods = fool_methods };
static const tarn_type slow_fool = { .name = "SlowFool", .size = 40, .destroy = do_end,
				     .methods = fool_methods };
static const tarn_type adopting_fool = { .name = "AdoptingFool", .flags = TARN_TYPE_ADOPT };
static const tarn_type *const fools[] = { &fool, &slow_fool, &adopting_fool, NULL };

/* What executors would say, sooner or later, some of it late. */
static void host_act(struct server *s, struct fake_lane *ha)
{
	const struct fake_values nothing = { NULL, 0, 0, NULL, 0 };
	struct tarn__job *job = rand() % 2 == 0 ? fake_job(s) : NULL;

	if (job == NULL)
		return;
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_OBJECT, 0, 0), 0 }, ref[2] = { job->id, 0 };
	const struct fake_values it = { words, 2, 1, ref, 1 };

	if (job->deed == TARN__DEED_DESTROY) {
		fake_post(ha, TARN__MSG_DESTROYED, 0, job->id, 0, 0, 0, 0, 0);
		free(job);
		return;
	}
	for (unsigned i = 0; i < job->n_refs && rand() % 3 == 0; i++)
		fake_post(ha, rand() % 3 != 0 ? TARN__MSG_HOLD : TARN__MSG_UNHOLD, 0, job->id,
			  job->refs[2 * i], 0, 0, 0, 0);
	fake_post_values(ha, TARN__MSG_RESULT, rand() % 4 == 0 ? TARN_EREMOTE : 0, job->number, 0, 0, 0,
			 rand() % 3 != 0 ? &it : &nothing);
}

#define STRANGERS 5
struct stranger {
	const void *lanes; /* of this client, not of the next one with its number */
	uint32_t client;
	bool there;
	bool polite; /* keeps to the form: it gets further */
	struct fake_lane lane[2];
	uint64_t seen[64]; /* words of replies: ids, nonces */
	unsigned n_seen;
};

/* A word as a stranger would try it: nonsense, limits, what it was told, ids of others. */
static uint64_t any_word(const struct server *s, const struct stranger *x)
{
	const struct state_head *h = s->st.head;

	switch (rand() % 12) {
	case 0:
		return (uint64_t)rand() << 33 ^ (uint64_t)rand();
	case 1:
		return (uint64_t)rand() % 5;
	case 2:
		return UINT64_MAX - (uint64_t)rand() % 3;
	case 3:
		return 1ull << rand() % 64;
	case 4:
	case 5:
		return x->n_seen != 0 ? x->seen[(unsigned)rand() % (x->n_seen < 64 ? x->n_seen : 64)] : 0;
	case 6:
	case 7:
		return h->channels > 1 ? s->st.channel[1 + (unsigned)rand() % (h->channels - 1)].id : 0;
	default:
		return h->heap.objects > 1
			       ? s->st.object[1 + (unsigned)rand() % (h->heap.objects - 1)].id : 0;
	}
}

static void post_any(const struct server *s, struct stranger *x, struct fake_lane *l)
{
	uint64_t word[TARN__MESSAGE_SLOTS][7];
	unsigned kind = rand() % 40 == 0 ? (unsigned)rand() % 256 : 1 + (unsigned)rand() % 33;
	static const unsigned polite[] = {
		TARN__MSG_TYPE, TARN__MSG_CREATE, TARN__MSG_CREATE, TARN__MSG_CALL, TARN__MSG_CALL,
		TARN__MSG_CALL, TARN__MSG_CALL, TARN__MSG_CALL, TARN__MSG_NAME, TARN__MSG_GRAB,
		TARN__MSG_WATCH, TARN__MSG_CANCEL, TARN__MSG_FETCH,
	};
	unsigned slots = rand() % 8 == 0 ? 1 + (unsigned)rand() % 4 : 1;

	if (x->polite)
		kind = polite[(unsigned)rand() % (sizeof polite / sizeof *polite)];
	unsigned count = rand() % 30 == 0 ? (unsigned)rand() % 70 : (unsigned)rand() % 2;

	for (unsigned k = 0; k < TARN__MESSAGE_SLOTS; k++)
		for (unsigned i = 0; i < 7; i++)
			word[k][i] = any_word(s, x);
	if (kind == TARN__MSG_ALLOC)
		word[0][1] = 1 + (uint64_t)rand() % (rand() % 10 != 0 ? 300 : 20000000);
	else if (kind == TARN__MSG_CHANNEL && rand() % 4 != 0)
		word[0][1] = 1 + (uint64_t)rand() % 64;
	else if (kind == TARN__MSG_BIND || kind == TARN__MSG_CLOSE)
		word[0][2] = 1 + (uint64_t)rand() % 2;
	else if (kind == TARN__MSG_CREDIT)
		word[0][1] %= 5000;
	else if ((kind == TARN__MSG_CALL || kind == TARN__MSG_CREATE) && (x->polite || rand() % 8 != 0)) {
		uint32_t things = s->st.head->things;

		if (things > 1 && rand() % 8 != 0)
			word[0][1] = s->st.thing[1 + (unsigned)rand() % (things - 1)].id;
		/* Mostly one that can be: its references are any. */
		unsigned n_refs = (unsigned)rand() % 4, n_values = (unsigned)rand() % 3;
		unsigned n_words = 2 * n_values + (unsigned)rand() % 3;
		bool spilled = n_refs != 0 && rand() % 10 == 0, oneway = rand() % 10 == 0;
		unsigned at = 3 + (spilled ? 1 : n_words) + 2 * n_refs;

		slots = (at + 6) / 7;
		word[0][2] = tarn__pack((unsigned)rand() % 6, n_values, n_refs,
					(spilled ? TARN__CALL_SPILLED : 0) | (oneway ? TARN__CALL_ONEWAY : 0),
					oneway ? 0 : 1 + (unsigned)rand() % 8, spilled ? 0 : n_words);
		/* One of ours, which lie in a row at the end, or none. Tarn's own want more of a
		 * server than a fake has. */
		if (kind == TARN__MSG_CREATE)
			word[0][1] = rand() % 4 != 0 ? fake_type(s, "Fool") + (uint64_t)rand() % 3
						     : rand() % 2 == 0 ? 0 : s->host->catalog->n;
		for (unsigned k = 3; k < 3 + n_words && rand() % 3 != 0; k += 2)
			word[k / 7][k % 7] = tarn__slot_head((enum tarn_kind)(rand() % 15), (unsigned)rand() % 4,
							     (uint32_t)rand() % 20);
		for (unsigned k = at - 2 * n_refs; k < at; k += 2)
			word[(k + 1) / 7][(k + 1) % 7] =
				tarn__ref_word(x->polite ? 1 : (uint64_t)rand() % 200, rand() % 9 == 0);
		if (spilled)
			word[0][3] = x->polite ? 1 : (uint64_t)rand() % 100;
	} else if (kind == TARN__MSG_NAME && (x->polite || rand() % 4 != 0)) {
		count = 1;
		word[0][2] = (uint64_t)rand() % 8;
		word[0][3] = 'a' + (uint64_t)rand() % 4;
	} else if (kind == TARN__MSG_FETCH || kind == TARN__MSG_TYPE) {
		word[0][2] = kind == TARN__MSG_TYPE ? (uint64_t)rand() % 3 : tarn__pack(0, 0, 0, 0, 2, 0);
	} else if (kind == TARN__MSG_WATCH) {
		word[0][2] = (uint64_t)rand() % 2;
	}
	if ((kind == TARN__MSG_CHANNEL || kind == TARN__MSG_LOOKUP) && count == 1)
		word[0][kind == TARN__MSG_CHANNEL ? 2 : 1] = 'a' + (uint64_t)rand() % 4;
	word[0][0] = tarn__header((enum tarn__message)kind, slots, count, (uint32_t)rand());
	if (tarn__requests_room(&l->requests, slots) >= slots)
		tarn__requests_post_long(&l->requests, (const uint64_t(*)[7])word, slots);
}

static void strangers_act(struct server *s, struct stranger *x)
{
	struct tarn__slot r;

	if (!x->there) {
		if (rand() % 4 != 0)
			return;
		*x = (struct stranger){ .client = fake_client(s), .there = true, .polite = rand() % 2 == 0 };
		x->lane[0] = fake_lane(s, x->client);
		x->lane[1] = fake_lane(s, x->client);
		x->lanes = s->peer[x->client]->lanes.base;
	}
	if (s->peer[x->client] == NULL || s->peer[x->client]->lanes.base != x->lanes ||
	    s->st.client[x->client].lanes != 2) {
		x->there = false;
		return;
	}
	for (unsigned k = 0; k < 2; k++) {
		while (tarn__replies_take(&x->lane[k].replies, &r))
			for (unsigned i = 1; i < 7; i++)
				if (r.word[i] >> TARN__INDEX_BITS != 0)
					x->seen[x->n_seen++ % 64] = r.word[i];
		for (int n = rand() % 5; n > 0; n--)
			post_any(s, x, &x->lane[k]); /* also while it is being reclaimed */
	}
	if (rand() % 100 == 0)
		fake_kill(s, x->client);
}

static uint64_t strange_calls, strange_jobs;

/* P hands blocks to Q, each by the book; strangers post what they like, are evicted, come
 * again under the same indices. Neither P nor Q may notice. */
static void honest_pair_among_strangers(unsigned seed)
{
	struct server *s = fake_server(16);
	uint32_t p = fake_client(s), q = fake_client(s);
	struct fake_lane pa = fake_lane(s, p), pb = fake_lane(s, p), qa = fake_lane(s, q);
	uint64_t ch = fake_channel(s, &pa, &qa, 64), sent = 0, taken = 0;
	uint64_t flying[64], held[128], cached[128];
	unsigned n_held = 0, n_cached = 0;
	struct stranger stranger[STRANGERS] = { 0 };
	struct tarn__slot r = { 0 };

	srand(seed);
	fake_types(s, fools);
	struct fake_lane ha = fake_lane(s, fake_host(s));
	for (unsigned step = 0; step < 600; step++) {
		for (unsigned i = 0; i < STRANGERS; i++)
			strangers_act(s, &stranger[i]);
		host_act(s, &ha);
		if (n_cached < 64 && rand() % 3 == 0)
			fake_post(&pa, TARN__MSG_ALLOC, (unsigned)rand() % 7, 1 + (uint64_t)rand() % 500, 1,
				  0, 0, 0, 0);
		while (tarn__replies_take(&pa.replies, &r))
			for (unsigned i = 0; i < (tarn__header_slots(r.word[0]) & 0x7f); i++)
				if (ERROR_OF(r) == 0 && n_cached < 128)
					cached[n_cached++] = r.word[1 + i];
		if (n_cached != 0 && rand() % 5 == 0)
			fake_post(rand() % 2 ? &pa : &pb, TARN__MSG_GIVEBACK, 1, cached[--n_cached], 0, 0, 0,
				  0, 0);
		if (n_cached != 0 && sent - taken < 64) {
			uint64_t id = cached[--n_cached];
			bool moved = rand() % 2 == 0;

			fake_send(&pa, ch, sent, id, 1, moved);
			if (!moved)
				fake_release(&pb, id, 1);
			flying[sent++ % 64] = id;
		}
		if (taken < sent && n_held < 128 && rand() % 2 == 0) {
			uint64_t id = flying[taken % 64];

			if (rand() % 3 == 0) {
				fake_absorb(&qa, ch, taken, id);
			} else {
				fake_recv(&qa, ch, taken, id);
				held[n_held++] = id;
			}
			taken++;
		}
		if (n_held != 0 && rand() % 3 == 0) {
			unsigned i = (unsigned)rand() % n_held;

			fake_release(&qa, held[i], 1);
			held[i] = held[--n_held];
		}
		if (rand() % 3 == 0)
			fake_read(s, rand() % 2 ? &pb : rand() % 2 ? &pa : &qa);
		if (rand() % 2 == 0)
			tarn__epoch(s);
		cr_assert(eq(int, fake_verify(s), 0), "seed %u step %u", seed, step);
		for (unsigned i = 0; i < n_held; i++)
			cr_assert(fake_alive(s, held[i]), "seed %u step %u: held and gone", seed, step);
		for (uint64_t i = taken; i < sent; i++)
			cr_assert(fake_alive(s, flying[i % 64]), "seed %u step %u: lost on its way", seed, step);
		cr_assert(eq(u32, STATE_OF(s, p), CLIENT_ACTIVE), "seed %u step %u", seed, step);
		cr_assert(eq(u32, STATE_OF(s, q), CLIENT_ACTIVE), "seed %u step %u", seed, step);
	}
	strange_calls += s->calls_inline;
	strange_jobs += s->calls_queued;
	fake_server_free(s);
}

Test(attack, honest_clients_among_strangers)
{
	for (unsigned seed = 1; seed <= 12; seed++)
		honest_pair_among_strangers(seed);
	/* Strangers do get through to methods. */
	cr_assert(gt(u64, strange_calls, 20), "%llu, %llu", (unsigned long long)strange_calls, (unsigned long long)strange_jobs);
	cr_assert(gt(u64, strange_jobs, 20), "%llu, %llu", (unsigned long long)strange_calls, (unsigned long long)strange_jobs);
}

/* ---- references among arguments ---- */

/* As stash of queues and topics. */
static int do_stash(tarn_context *ctx, void *self)
{
	uint64_t id = 0;

	(void)self;
	return tarn__stash_hold(ctx, tarn_parcel_at(tarn_context_args(ctx), 0), &id);
}
static const tarn_method stasher_methods[] = {
	{ "stash", do_stash, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ 0 },
};
static const tarn_type stasher = { .name = "Stasher", .flags = TARN_TYPE_INLINE,
				   .methods = stasher_methods };

/* What queues and topics were given to keep was followed without a look: a pointer of chance. */
Test(attack, a_reference_that_is_not_what_its_slot_says_is_not_followed)
{
	static const tarn_type *const types[] = { &stasher, NULL };
	static const enum tarn_kind kinds[] = { TARN_KIND_BLOCK, TARN_KIND_OBJECT, TARN_KIND_CHANNEL };
	struct server *s = fake_server(16);

	fake_types(s, types);
	struct fake_lane l = fake_lane(s, fake_client(s));
	uint64_t id = fake_create(s, &l, "Stasher", NULL, NULL), block = fake_alloc(s, &l, 64);

	cr_assert(ne(u64, id, 0));
	for (unsigned i = 0; i < 6; i++) {
		unsigned index = i % 2 * 7; /* there is only one: 0, a block */
		const uint64_t words[2] = { tarn__slot_head(kinds[i / 2], index, 0), 0 };
		const uint64_t ref[2] = { block, tarn__ref_word(64, false) };
		const struct fake_values v = { words, 2, 1, ref, 1 };
		struct fake_answer a = fake_call(s, &l, id, 0, &v);

		cr_assert(eq(int, a.error, i == 0 ? 0 : TARN_EREMOTE), "%u", i);
	}
	fake_settle(s);
	cr_assert(eq(int, fake_verify(s), 0));
	cr_assert(zero(u64, s->evictions));
	fake_server_free(s);
}

/* ---- control socket, by hand ---- */

static void listening(struct server *s)
{
	char name[64];

	snprintf(name, sizeof name, "@tarn-attack-%d", (int)getpid());
	s->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert(zero(int, tarn__segment_open_readonly(&s->ctrl_segment, &s->ctrl_readonly)));
	cr_assert(zero(int, tarn__segment_open_readonly(&s->st.dir_segment, &s->dir_readonly)));
	snprintf(s->name, sizeof s->name, "%s", name);
	cr_assert(zero(int, tarn__socket_open(s, 0)));
	cr_assert(zero(int, tarn__listen_open(s)));
}

static int call(void)
{
	char name[64];
	int fd = -1;

	snprintf(name, sizeof name, "@tarn-attack-%d", (int)getpid());
	cr_assert(zero(int, tarn__control_connect(name, 0, &fd)));
	return fd;
}

static void tell(int fd, uint32_t kind, uint64_t argument)
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
				   .layout = tarn__layout_hash(), .argument = argument };

	cr_assert(eq(int, tarn__control_send(fd, &q, sizeof q, NULL, 0, MSG_DONTWAIT), sizeof q));
}

static int hear(int fd, struct tarn__answer *a)
{
	int fds[TARN__CONTROL_FDS];
	unsigned n = 0;
	int r = tarn__control_recv(fd, a, sizeof *a, fds, TARN__CONTROL_FDS, &n, MSG_DONTWAIT);

	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	return r == (int)sizeof *a ? a->error : -EAGAIN;
}

static void look(struct server *s)
{
	while (tarn__loop_wait(s->loop, 0) > 0)
		;
}

/* The answer to LANE_CLOSE comes three epochs later. By then the index may belong to another. */
Test(attack, lane_close_of_the_dead_closes_a_lane_of_the_next)
{
	struct server *s = fake_server(16);
	struct tarn__answer a;

	listening(s);
	int x = call(), y;
	tell(x, TARN__CTL_ATTACH, 0);
	look(s);
	cr_assert(zero(int, hear(x, &a)));
	uint32_t index = (uint32_t)a.value[0];
	tell(x, TARN__CTL_LANE_OPEN, 0);
	look(s);
	cr_assert(zero(int, hear(x, &a)));
	tell(x, TARN__CTL_DETACH, 0);
	look(s);
	tarn__epoch(s);
	tell(x, TARN__CTL_LANE_CLOSE, 0);
	look(s);
	for (int i = 0; i < 10 && s->peer[index] != NULL; i++)
		tarn__epoch(s);
	cr_assert(zero(ptr, s->peer[index]));

	y = call();
	tell(y, TARN__CTL_ATTACH, 0);
	look(s);
	cr_assert(zero(int, hear(y, &a)));
	cr_assert(eq(u64, a.value[0], index));
	tell(y, TARN__CTL_LANE_OPEN, 0);
	look(s);
	cr_assert(zero(int, hear(y, &a)));
	for (int i = 0; i < 10; i++)
		tarn__epoch(s);
	cr_expect(eq(u32, s->st.client[index].lanes, 1), "y's lane is open");
	cr_expect(eq(int, fake_verify(s), 0));
	close(x);
	close(y);
	tarn__listen_close(s);
	fake_server_free(s);
}

/* The same lane closed twice: the second answer must not close the one that was opened
 * in its place. */
Test(attack, a_lane_is_closed_once)
{
	struct server *s = fake_server(16);
	struct tarn__answer a;

	listening(s);
	int x = call();
	tell(x, TARN__CTL_ATTACH, 0);
	look(s);
	cr_assert(zero(int, hear(x, &a)));
	tell(x, TARN__CTL_LANE_OPEN, 0);
	look(s);
	cr_assert(zero(int, hear(x, &a)));
	tell(x, TARN__CTL_LANE_CLOSE, 0);
	look(s);
	tarn__epoch(s);
	tarn__epoch(s);
	tell(x, TARN__CTL_LANE_CLOSE, 0);
	look(s);
	tarn__epoch(s);
	tell(x, TARN__CTL_LANE_OPEN, 0);
	look(s);
	for (int i = 0; i < 5; i++)
		tarn__epoch(s);
	cr_expect(eq(u32, s->st.client[1].lanes, 1));
	cr_expect(eq(int, fake_verify(s), 0));
	close(x);
	tarn__listen_close(s);
	fake_server_free(s);
}

/* All clients have the doorbell's open file: each may change its flags, and empty it between the server's
 * wake-up and its read. */
static void empty_bell_keeps_nobody_waiting(void)
{
	struct server *s = fake_server(16);
	struct pollfd bell = { .events = POLLIN };
	const uint64_t many = 7;

	listening(s);
	cr_assert(zero(int, fcntl(s->doorbell, F_SETFL, 0)));
	s->doorbell_watch.fn(s->doorbell_watch.arg, POLLIN);
	/* Rung, it is emptied by one read, whatever its flags. */
	cr_assert(eq(i64, write(s->doorbell, &many, sizeof many), sizeof many));
	cr_assert(eq(int, tarn__loop_wait(s->loop, 0), 1));
	bell.fd = s->doorbell;
	cr_assert(zero(int, poll(&bell, 1, 0)));
	tarn__listen_close(s);
	fake_server_free(s);
}
Test(attack, a_bell_that_somebody_else_emptied_keeps_nobody_waiting, .timeout = 10)
{
	empty_bell_keeps_nobody_waiting();
}
Test(attack, so_it_does_where_preadv2_is_refused, .timeout = 10)
{
	if (tarn_test__refuse(SYS_preadv2, SYS_preadv2, EPERM) < 0)
		cr_skip_test("no seccomp filters here");
	empty_bell_keeps_nobody_waiting();
}

/* What a dead client had is closed some epochs after its record is another's: no matter how many die, this is
 * so many descriptors and no more. */
Test(attack, the_dead_do_not_leave_more_slowly_than_they_come)
{
	struct server *s = fake_server(16);
	unsigned most = 0;

	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 60; i++) {
			uint32_t c = fake_client(s);

			fake_lane(s, c);
			fake_kill(s, c);
		}
		while (s->st.head->n_clients != 0) {
			unsigned n = 0;

			tarn__epoch(s);
			for (const struct peer *p = s->leaving; p != NULL; p = p->next_leaving)
				n++;
			most = n > most ? n : most;
		}
	}
	cr_expect(lt(u32, most, 20));
	fake_settle(s);
	cr_assert(zero(ptr, s->leaving));
	all_gone(s);
}

static int connect_to(const struct server *s)
{
	struct sockaddr_un a;
	int length = tarn__control_address(s->name, 0, &a);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert(zero(int, connect(fd, (const struct sockaddr *)&a, (socklen_t)length)));
	return fd;
}

/* Whoever connects on and on, and need not be allowed to ask anything, kept the server at it for as long as he liked. */
Test(attack, those_who_connect_are_let_in_some_at_a_time)
{
	struct server *s = fake_server(16);
	const unsigned all = 100;
	unsigned rounds = 0;
	int fd[100];

	listening(s);
	for (unsigned i = 0; i < all; i++)
		fd[i] = connect_to(s);
	for (unsigned had = 0; had < all; rounds++) {
		cr_assert(ge(int, tarn__loop_wait(s->loop, 0), 1));
		cr_assert(gt(u32, s->n_visitors, had));
		cr_assert(le(u32, s->n_visitors, had + 20));
		had = s->n_visitors;
	}
	cr_expect(ge(u32, rounds, 5));
	for (unsigned i = 0; i < all; i++)
		close(fd[i]);
	tarn__listen_close(s);
	fake_server_free(s);
}
