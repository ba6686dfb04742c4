/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traps of PROTOCOL section 2 as schedules: the order in which lanes are read is
 * chosen by hand, and after each the counts must be exact.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>

#include "fake.h"
#include "lib/server/heap.h"
#include "lib/server/ledger.h"

TestSuite(protocol, .timeout = 20);

#define QUIET(s)                                             \
	do {                                                 \
		fake_settle(s);                              \
		cr_assert(eq(int, fake_verify(s), 0));       \
	} while (0)

/* P with two lanes, Q with one, a channel P -> Q, a block that P has published. */
struct scene {
	struct server *s;
	uint32_t p, q;
	struct fake_lane pa, pb, qa;
	uint64_t channel, block;
};

static struct scene scene_open(void)
{
	struct scene k = { .s = fake_server(16) };

	k.p = fake_client(k.s);
	k.q = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	k.pb = fake_lane(k.s, k.p);
	k.qa = fake_lane(k.s, k.q);
	k.channel = fake_channel(k.s, &k.pa, &k.qa, 4);
	k.block = fake_alloc(k.s, &k.pa, 100);
	fake_post(&k.pa, TARN__MSG_PUBLISH, 0, k.block, 100, 0, 0, 0, 0);
	QUIET(k.s);
	return k;
}

static void scene_close(struct scene *k)
{
	fake_kill(k->s, k->p);
	if (k->s->peer[k->q] != NULL) /* else dead already */
		fake_kill(k->s, k->q);
	QUIET(k->s);
	cr_assert(eq(u64, k->s->st.head->n_live, 0));
	cr_assert(eq(u64, k->s->st.head->n_granted, 0));
	cr_assert(eq(u64, k->s->st.head->heap.used, 0));
	cr_assert(eq(u64, k->s->st.head->n_clients, 0));
	cr_assert(eq(u64, k->s->st.head->claims_promised, 0));
	cr_assert(eq(u32, k->s->st.head->n_claims, 0));
	fake_server_free(k->s);
}

Test(protocol, h1_release_on_another_lane_read_before_the_send)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0); /* P.A sends ... */
	fake_release(&k.pb, k.block, 1);                 /* ... then P.B drops the last unit */
	fake_read(k.s, &k.pb);                           /* read in the other order */
	fake_read(k.s, &k.pa);
	fake_phase_b(k.s);
	cr_assert(fake_alive(k.s, k.block) == true);
	fake_settle(k.s);
	cr_assert(fake_alive(k.s, k.block) == true);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* the ticket alone */
	fake_recv(&k.qa, k.channel, 0, k.block);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* Q's unit alone */
	fake_release(&k.qa, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

Test(protocol, h7_lane_sampled_then_send_and_release_posted)
{
	struct scene k = scene_open();

	fake_read(k.s, &k.pa); /* A is sampled: empty */
	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_release(&k.pb, k.block, 1);
	fake_read(k.s, &k.pb); /* B is sampled: has the RELEASE */
	fake_read(k.s, &k.qa);
	fake_phase_b(k.s); /* the end of that epoch must not apply it */
	cr_assert(fake_alive(k.s, k.block) == true);
	fake_settle(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	scene_close(&k);
}

Test(protocol, h3_a_second_receive_is_absorbed_and_its_ticket_goes)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_send(&k.pa, k.channel, 1, k.block, 100, 0);
	fake_recv(&k.qa, k.channel, 0, k.block);
	fake_absorb(&k.qa, k.channel, 1, k.block);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 2)); /* P's unit, Q's unit */
	fake_release(&k.qa, k.block, 1);
	fake_release(&k.pa, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

Test(protocol, h4_units_are_counted_not_collected_in_a_set)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_send(&k.pa, k.channel, 1, k.block, 100, 0);
	fake_recv(&k.qa, k.channel, 0, k.block);
	fake_release(&k.qa, k.block, 1);
	fake_recv(&k.qa, k.channel, 1, k.block);
	fake_release(&k.pa, k.block, 1);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* Q holds it still */
	fake_release(&k.qa, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

Test(protocol, h8_forwarded_before_the_grantee_was_heard)
{
	struct scene k = scene_open();
	uint32_t r = fake_client(k.s);
	struct fake_lane ra = fake_lane(k.s, r);
	uint64_t onward = fake_channel(k.s, &k.qa, &ra, 4);
	uint64_t o = fake_alloc(k.s, &k.pa, 64); /* GRANTED to P, never named by it yet */

	fake_send(&k.pa, k.channel, 0, o, 64, 0);
	fake_release(&k.pa, o, 1);
	fake_recv(&k.qa, k.channel, 0, o);
	fake_send(&k.qa, onward, 0, o, 64, 0);
	fake_release(&k.qa, o, 1);
	fake_recv(&ra, onward, 0, o);
	fake_read(k.s, &ra); /* the last first */
	fake_read(k.s, &k.qa);
	fake_phase_b(k.s);
	cr_assert(fake_alive(k.s, o) == true);
	fake_read(k.s, &k.pa);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, o), 1));
	cr_assert(eq(u64, k.s->evictions, 0));
	fake_release(&ra, o, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, o) == false);
	fake_kill(k.s, r);
	scene_close(&k);
}

Test(protocol, h9_sends_after_the_consumer_died_only_publish)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_settle(k.s);
	fake_kill(k.s, k.q);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* the ticket was written off */
	fake_send(&k.pa, k.channel, 1, k.block, 100, 0); /* it does not know yet */
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	cr_assert(eq(u64, k.s->evictions, 0));
	fake_kill(k.s, k.p);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	fake_server_free(k.s);
}

Test(protocol, h13_only_the_consumer_can_void_a_ticket)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_settle(k.s);
	fake_absorb(&k.pb, k.channel, 0, k.block); /* P is not the consumer */
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 2));
	scene_close(&k);
}

Test(protocol, producer_death_keeps_what_the_consumer_can_still_read)
{
	struct scene k = scene_open();

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_show(k.s, k.channel, 1);
	uint64_t lost = fake_alloc(k.s, &k.pa, 64);
	fake_send(&k.pa, k.channel, 1, lost, 64, 0); /* killed before slot 1 was */
	fake_kill(k.s, k.p);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, lost) == false);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	fake_recv(&k.qa, k.channel, 0, k.block);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	fake_release(&k.qa, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	fake_kill(k.s, k.q);
	QUIET(k.s);
	fake_server_free(k.s);
}

/* Killed between the tail and the slot's mark, by which alone the consumer goes. The ticket stayed
 * for as long as the consumer kept its end. */
Test(protocol, a_producer_killed_before_its_slots_mark_leaves_no_ticket)
{
	struct scene k = scene_open();
	const struct object *ring = &k.s->st.object[tarn__id_index(k.channel)];
	struct tarn__channel_ring *r = (void *)(k.s->st.data.base + ring->offset);

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_show(k.s, k.channel, 1);
	uint64_t lost = fake_alloc(k.s, &k.pa, 64);
	fake_send(&k.pa, k.channel, 1, lost, 64, 0);
	r->tail = 2;
	fake_kill(k.s, k.p);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, lost) == false);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* can still be received */
	fake_kill(k.s, k.q);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	fake_server_free(k.s);
}

static int error_of(const struct tarn__slot *answer)
{
	return -(int)((answer->word[0] >> 16) & 0xffff);
}

/* A channel that only its own ring refers to is garbage. Whoever looked its name up after it was ended and
 * before it was free found it, and heard that its ends were taken. */
Test(protocol, o11_a_channel_that_is_found_by_name_can_be_bound, .timeout = 60)
{
	unsigned found = 0;
	int r = 0;

	for (unsigned epochs = 0; epochs < 16; epochs++) {
		struct scene k = scene_open();

		fake_post_name(&k.pa, TARN__MSG_CHANNEL, 4, true, "ouroboros");
		tarn__epoch(k.s);
		uint64_t ch = fake_reply(&k.pa).word[1];
		fake_post(&k.pa, TARN__MSG_BIND, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
		fake_send(&k.pa, ch, 0, ch, 1, 0);
		fake_release(&k.pa, ch, 1);
		fake_post(&k.pa, TARN__MSG_CLOSE, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
		for (unsigned i = 0; i < epochs; i++) {
			k.s->collect_next_ns = 0;
			tarn__epoch(k.s);
		}
		fake_post_name(&k.qa, TARN__MSG_LOOKUP, 0, false, "ouroboros");
		tarn__epoch(k.s);
		struct tarn__slot answer = fake_reply(&k.qa);
		r = error_of(&answer);
		if (r == 0) {
			found++;
			cr_assert(eq(u64, answer.word[1], ch));
			fake_post(&k.qa, TARN__MSG_BIND, 0, ch, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
			tarn__epoch(k.s);
			answer = fake_reply(&k.qa);
			cr_assert(zero(int, error_of(&answer)), "bound %u epochs after its end: %d",
				  epochs, error_of(&answer));
		} else {
			cr_assert(eq(int, r, -ENOENT));
		}
		QUIET(k.s);
		scene_close(&k);
	}
	cr_assert(gt(u32, found, 0)); /* it was there for a while, */
	cr_assert(eq(int, r, -ENOENT)); /* and then gone */
}

Test(protocol, more_than_two_holders_spill_into_the_book)
{
	struct scene k = scene_open();
	struct fake_lane lane[20];
	uint32_t client[20];
	uint64_t channel[20];

	for (int i = 0; i < 20; i++) {
		client[i] = fake_client(k.s);
		lane[i] = fake_lane(k.s, client[i]);
		channel[i] = fake_channel(k.s, &k.pa, &lane[i], 2);
		fake_send(&k.pa, channel[i], 0, k.block, 100, 0);
		fake_recv(&lane[i], channel[i], 0, k.block);
	}
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 21));
	for (int i = 0; i < 20; i += 2)
		fake_release(&lane[i], k.block, 1);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 11));
	for (int i = 1; i < 20; i++)
		fake_kill(k.s, client[i]);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	fake_kill(k.s, client[0]);
	scene_close(&k);
}

/* What an opener reads who found the name before the maker had the answer. */
#define CODE_OF(r) (((r).word[0] >> 16) & 0xffff)

static uint64_t items_of(struct server *s, uint64_t channel)
{
	const struct object *o = tarn__object_find(&s->st, channel);
	const struct tarn__channel_ring *ring =
		(const void *)((const unsigned char *)s->st.data.base + o->offset);

	return ring->capacity;
}

Test(protocol, f1_a_channel_says_what_it_holds_before_anybody_knows_of_it)
{
	struct scene k = scene_open();
	static const struct {
		uint64_t asked, items;
	} good[] = { { 128 | 64ull << 32, 64 }, { 128, 128 }, { 1 | 1ull << 32, 1 } };
	static const uint64_t bad[] = { 4 | 5ull << 32, 1ull << 32, (TARN__CHANNEL_MAX + 1ull) | 1ull << 32 };
	struct tarn__slot r;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		fake_post(&k.pa, TARN__MSG_CHANNEL, 0, good[i].asked, 0, 0, 0, 0, 0);
		tarn__epoch(k.s);
		r = fake_reply(&k.pa);
		cr_assert(eq(u64, CODE_OF(r), 0));
		cr_assert(eq(u64, items_of(k.s, r.word[1]), good[i].items));
		fake_release(&k.pa, r.word[1], 1);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		fake_post(&k.pa, TARN__MSG_CHANNEL, 0, bad[i], 0, 0, 0, 0, 0);
		tarn__epoch(k.s);
		r = fake_reply(&k.pa);
		cr_assert(eq(u64, CODE_OF(r), EINVAL));
	}
	QUIET(k.s);
	scene_close(&k);
}

static void expect_eviction(struct scene *k, struct fake_lane *l, const char *what)
{
	uint64_t before = k->s->evictions;
	uint32_t count = fake_count(k->s, k->block);

	fake_settle(k->s);
	cr_assert(eq(u64, k->s->evictions, before + 1), "%s", what);
	cr_assert(eq(u32, k->s->st.client[l->client].state, CLIENT_EVICTED), "%s", what);
	cr_assert(eq(u32, fake_count(k->s, k->block), count), "%s: a count changed", what);
	cr_assert(eq(int, fake_verify(k->s), 0), "%s", what);
}

struct offence {
	char what[40];
	uint32_t kind, count;
	uint64_t word[6]; /* 1: the channel, 2: the block, 3: a block granted to another */
};

ParameterizedTestParameters(protocol, offences)
{
	static struct offence list[] = {
		{ "unknown kind", 200, 0, { 0 } },
		{ "kind 0", 0, 0, { 0 } },
		{ "release of what it does not hold", TARN__MSG_RELEASE, 0, { 2, 1 } },
		{ "release of no units", TARN__MSG_RELEASE, 0, { 2, 0 } },
		{ "send by the consumer", TARN__MSG_SEND, 0, { 1, 0, 2, 100, 0, 0 } },
		{ "giveback of others' block", TARN__MSG_GIVEBACK, 1, { 2 } },
		{ "giveback of too many", TARN__MSG_GIVEBACK, 9, { 2 } },
		{ "resize beyond capacity", TARN__MSG_RESIZE, 0, { 2, 1 << 20 } },
		{ "seal of a channel", TARN__MSG_SEAL, 0, { 1, 64 } },
		{ "close of no end", TARN__MSG_CLOSE, 0, { 1, 9 } },
		{ "close of another's end", TARN__MSG_CLOSE, 0, { 1, TARN__ROLE_PRODUCER } },
		{ "send without a size", TARN__MSG_SEND, 0, { 1, 0, 2, 0, 0, 0 } },
		{ "name longer than its slot", TARN__MSG_LOOKUP, 63, { 0 } },
	};

	return cr_make_param_array(struct offence, list, sizeof list / sizeof *list);
}

ParameterizedTest(struct offence *o, protocol, offences, .timeout = 20)
{
	struct scene k = scene_open();
	uint64_t w[6];

	for (int i = 0; i < 6; i++)
		w[i] = i == 0 || i == 2 ? (o->word[i] == 1   ? k.channel
					   : o->word[i] == 2 ? k.block
							     : o->word[i])
					: o->word[i];
	fake_post(&k.qa, (enum tarn__message)o->kind, o->count, w[0], w[1], w[2], w[3], w[4], w[5]);
	expect_eviction(&k, &k.qa, o->what);
	scene_close(&k);
}

Test(protocol, stale_ids_are_ignored_and_counted)
{
	struct scene k = scene_open();
	uint64_t old = k.block - ((uint64_t)1 << TARN__INDEX_BITS);
	const uint64_t ids[] = { old, 0, UINT64_MAX, tarn__id_make(99999, 1), k.block + 5 };

	for (unsigned i = 0; i < sizeof ids / sizeof *ids; i++) {
		fake_release(&k.qa, ids[i], 1);
		fake_recv(&k.qa, k.channel, 0, ids[i]);
		fake_send(&k.qa, k.channel, 0, ids[i], 10, 0);
		fake_post(&k.qa, TARN__MSG_SEAL, 0, ids[i], 10, 0, 0, 0, 0);
	}
	QUIET(k.s);
	cr_assert(eq(u64, k.s->evictions, 0));
	cr_assert(ge(u64, k.s->stale, 20));
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	scene_close(&k);
}

Test(protocol, exports_live_as_long_as_their_terms)
{
	struct scene k = scene_open();
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_EXPORT, 2, 0, 7), k.block, 100, 0, 100, 2, 0 } };

	tarn__requests_post_long(&k.pa.requests, (const uint64_t(*)[7])word, 2);
	tarn__epoch(k.s);
	struct tarn__slot r = fake_reply(&k.pa);
	uint64_t n0 = r.word[1], n1 = r.word[2];

	fake_release(&k.pa, k.block, 1);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	fake_post(&k.qa, TARN__MSG_IMPORT, 0, k.block, n0, n1 ^ 1, 0, 0, 0);
	tarn__epoch(k.s);
	cr_assert(eq(u64, (fake_reply(&k.qa).word[0] >> 16) & 0xffff, TARN_ESTALE));
	for (int i = 0; i < 2; i++) {
		fake_post(&k.qa, TARN__MSG_IMPORT, 0, k.block, n0, n1, 0, 0, 0);
		tarn__epoch(k.s);
		r = fake_reply(&k.qa);
		cr_assert(eq(u64, (r.word[0] >> 16) & 0xffff, 0));
		cr_assert(eq(u64, r.word[1], k.block));
	}
	fake_post(&k.qa, TARN__MSG_IMPORT, 0, k.block, n0, n1, 0, 0, 0);
	tarn__epoch(k.s);
	cr_assert(eq(u64, (fake_reply(&k.qa).word[0] >> 16) & 0xffff, TARN_ESTALE));
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 2));
	fake_release(&k.qa, k.block, 2);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

/* Found by the soak: the importer saw the capacity as the size. */
Test(protocol, export_read_before_the_grantees_send_keeps_the_exact_size)
{
	struct scene k = scene_open();
	uint64_t o = fake_alloc(k.s, &k.pa, 1300); /* a slot of 1408 */
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_EXPORT, 2, 0, 7), o, 1300, 0, 1300, 1, 0 },
				{ TARN__EXPORT_SEALED } };

	fake_send(&k.pa, k.channel, 0, o, 1300, 0);
	fake_recv(&k.qa, k.channel, 0, o);
	tarn__requests_post_long(&k.qa.requests, (const uint64_t(*)[7])word, 2);
	fake_read(k.s, &k.qa); /* Q's lane first: the block is still GRANTED to P */
	struct tarn__slot r = fake_reply(&k.qa);
	cr_assert(eq(u64, (r.word[0] >> 16) & 0xffff, 0));
	fake_post(&k.qa, TARN__MSG_IMPORT, 0, o, r.word[1], r.word[2], 0, 0, 0);
	fake_read(k.s, &k.qa);
	r = fake_reply(&k.qa);
	cr_assert(eq(u64, r.word[2], 1300));
	cr_assert(ne(u64, r.word[3] & TARN__DIR_SEALED, 0));
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.object[tarn__id_index(o)].size, 1300));
	scene_close(&k);
}

/* Found by the soak. */
Test(protocol, a_release_read_before_the_send_does_not_lose_the_exact_size)
{
	struct scene k = scene_open();
	uint64_t o = fake_alloc(k.s, &k.pa, 400); /* a slot of 448 */

	fake_send(&k.pa, k.channel, 0, o, 400, 0);
	fake_release(&k.pb, o, 1);
	fake_read(k.s, &k.pb);
	fake_read(k.s, &k.pa);
	cr_assert(eq(u64, k.s->st.object[tarn__id_index(o)].size, 400));
	QUIET(k.s);
	scene_close(&k);
}

/* A drop counts for its client at once, for the server two epochs later. */
Test(protocol, releases_on_their_way_do_not_count_against_credits)
{
	struct scene k = scene_open();
	uint64_t channel = fake_channel(k.s, &k.pa, &k.qa, 2048);
	static uint64_t id[TARN__FIRST_CREDITS + 100];

	fake_post(&k.pa, TARN__MSG_CREDIT, 0, 4096, 0, 0, 0, 0, 0);
	tarn__epoch(k.s);
	fake_reply(&k.pa);
	for (unsigned i = 0; i < TARN__FIRST_CREDITS + 100; i++) {
		id[i] = fake_alloc(k.s, &k.pa, 64);
		fake_send(&k.pa, channel, i, id[i], 64, 0);
		if (i < TARN__FIRST_CREDITS)
			fake_recv(&k.qa, channel, i, id[i]);
	}
	for (unsigned i = 0; i < 100; i++) {
		fake_release(&k.qa, id[i], 1);
		fake_recv(&k.qa, channel, TARN__FIRST_CREDITS + i, id[TARN__FIRST_CREDITS + i]);
	}
	QUIET(k.s);
	cr_assert(eq(u64, k.s->evictions, 0));
	cr_assert(eq(u64, k.s->st.client[k.q].held, TARN__FIRST_CREDITS));
	scene_close(&k);
}

Test(protocol, a_full_arena_is_an_error_with_numbers_within_bounded_time)
{
	struct scene k = scene_open();

	fake_post(&k.qa, TARN__MSG_ALLOC, 1, 20 << 20, 1, 0, 0, 0, 0);
	tarn__epoch(k.s);
	struct tarn__slot r = fake_reply(&k.qa);
	cr_assert(eq(u64, (r.word[0] >> 16) & 0xffff, EINVAL));

	fake_post(&k.qa, TARN__MSG_ALLOC, 1, 12 << 20, 1, 0, 0, 0, 0);
	tarn__epoch(k.s);
	r = fake_reply(&k.qa);
	uint64_t big = r.word[1];
	cr_assert(ne(u64, big, 0));
	fake_post(&k.pa, TARN__MSG_ALLOC, 1, 12 << 20, 1, 0, 0, 0, 0);
	uint64_t begun = tarn__now();
	while (fake_no_reply(&k.pa))
		tarn__epoch(k.s);
	cr_assert(lt(u64, tarn__now() - begun, 2000000000u));
	r = fake_reply(&k.pa);
	cr_assert(eq(u64, (r.word[0] >> 16) & 0xffff, ENOMEM));
	cr_assert(eq(u64, r.word[1], 12 << 20));
	cr_assert(lt(u64, r.word[2], 12 << 20));
	cr_assert(eq(u64, r.word[3], 16 << 20));

	/* One that waits gets it as soon as another gives back. */
	fake_post(&k.pa, TARN__MSG_ALLOC, 1, 12 << 20, 1, 10000000000ull, 0, 0, 0);
	tarn__epoch(k.s);
	cr_assert(fake_no_reply(&k.pa) == true);
	fake_post(&k.qa, TARN__MSG_GIVEBACK, 1, big, 0, 0, 0, 0, 0);
	for (int i = 0; i < 10 && fake_no_reply(&k.pa); i++)
		tarn__epoch(k.s);
	r = fake_reply(&k.pa);
	cr_assert(eq(u64, (r.word[0] >> 16) & 0xffff, 0));
	scene_close(&k);
}

/* ---- a MOVE applied at once ---- */

Test(protocol, a_move_turns_the_senders_unit_into_the_ticket)
{
	struct scene k = scene_open();
	uint64_t held = k.s->st.client[k.p].held;

	fake_send(&k.pa, k.channel, 0, k.block, 100, 1);
	fake_read(k.s, &k.pa);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1), "nothing is left for later");
	cr_assert(eq(u64, k.s->st.client[k.p].held, held - 1));
	fake_settle(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1), "and nothing comes later");
	cr_assert(eq(int, fake_verify(k.s), 0));
	fake_absorb(&k.qa, k.channel, 0, k.block);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

Test(protocol, a_move_read_before_its_unit_is_booked_gives_it_up_later)
{
	struct scene k = scene_open();
	struct fake_lane qb = fake_lane(k.s, k.q);
	uint64_t onward = fake_channel(k.s, &qb, &k.pb, 4);

	fake_send(&k.pa, k.channel, 0, k.block, 100, 1);
	QUIET(k.s);
	fake_recv(&k.qa, k.channel, 0, k.block);          /* Q.A receives ... */
	fake_send(&qb, onward, 0, k.block, 100, 1);       /* ... and Q.B moves it on */
	fake_read(k.s, &qb);                              /* read in the other order */
	fake_read(k.s, &k.qa);
	fake_phase_b(k.s);
	cr_assert(fake_alive(k.s, k.block) == true);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* the ticket onward alone */
	fake_absorb(&k.pb, onward, 0, k.block);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

/* Q lets go of what it held and receives the same again: the unit that is booked is the one that
 * a RELEASE gives up, and the one that is moved on is that of a RECV in a lane sampled before. */
Test(protocol, h8_a_move_that_takes_the_unit_of_an_earlier_release_gets_nobody_evicted)
{
	struct scene k = scene_open();
	struct fake_lane qb = fake_lane(k.s, k.q);
	uint64_t onward = fake_channel(k.s, &qb, &k.pb, 4);

	fake_send(&k.pa, k.channel, 0, k.block, 100, 0);
	fake_send(&k.pa, k.channel, 1, k.block, 100, 0);
	fake_recv(&k.qa, k.channel, 0, k.block);
	QUIET(k.s);
	fake_release(&qb, k.block, 1);              /* Q.B lets go of it ... */
	tarn__epoch(k.s);
	fake_read(k.s, &k.qa);
	fake_recv(&k.qa, k.channel, 1, k.block);    /* ... Q.A receives it again ... */
	fake_send(&qb, onward, 0, k.block, 100, 1); /* ... and Q.B moves that on */
	fake_read(k.s, &qb);
	fake_phase_b(k.s);
	cr_assert(eq(u64, k.s->evictions, 0), "Q kept to all the rules");
	QUIET(k.s);
	cr_assert(eq(u64, k.s->evictions, 0));
	cr_assert(eq(u32, fake_count(k.s, k.block), 2)); /* P's unit and the ticket onward */
	fake_absorb(&k.pb, onward, 0, k.block);
	fake_release(&k.pa, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	scene_close(&k);
}

/* That a RELEASE waits for its unit is no way to keep a server busy, or to hit a successor. */
Test(protocol, h8_a_release_of_what_never_was_held_waits_some_epochs_and_no_longer)
{
	struct scene k = scene_open();

	fake_release(&k.qa, k.block, 1);
	QUIET(k.s);
	cr_assert(eq(u64, k.s->evictions, 1));
	cr_assert(eq(u32, fake_count(k.s, k.block), 1));
	/* One that dies meanwhile leaves nothing behind for whoever gets its number. */
	uint32_t r = fake_client(k.s);
	struct fake_lane ra = fake_lane(k.s, r);

	fake_release(&ra, k.block, 1);
	tarn__epoch(k.s);
	tarn__epoch(k.s);
	fake_kill(k.s, r);
	for (unsigned i = 0; i < 10 && k.s->peer[r] != NULL; i++)
		tarn__epoch(k.s);
	cr_assert(zero(ptr, k.s->peer[r]));
	cr_assert(zero(u64, k.s->st.head->n_deferred[0] + k.s->st.head->n_deferred[1]));
	QUIET(k.s);
	scene_close(&k);
}

/* The ticket is all that is left of the sender's unit, and the channel closes in the epoch in
 * which it came to be; what the sender's other thread shared before lies in a lane that was
 * sampled before that. tests/model/move.pml, control NOWAIT. */
Test(protocol, h1_a_moved_block_outlives_its_channel_until_earlier_sends_are_read)
{
	struct scene k = scene_open();
	uint32_t r = fake_client(k.s);
	struct fake_lane ra = fake_lane(k.s, r);
	uint64_t other = fake_channel(k.s, &k.pb, &ra, 4);
	struct channel *ch =
		tarn__channel_of(&k.s->st, &k.s->st.object[tarn__id_index(k.channel)]);

	fake_kill(k.s, k.q);
	tarn__epoch(k.s); /* its death is seen */
	fake_read(k.s, &k.pb);
	fake_send(&k.pb, other, 0, k.block, 100, 0);     /* P.B shares it with R ... */
	fake_send(&k.pa, k.channel, 0, k.block, 100, 1); /* ... then P.A moves it to Q */
	fake_read(k.s, &k.pa);
	fake_phase_b(k.s);
	tarn__clients_advance(k.s);
	cr_assert(eq(u32, ch->consumer.state, END_GONE));
	tarn__channel_sweep(k.s, ch);
	cr_assert(fake_alive(k.s, k.block) == true, "R will receive it");
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 1)); /* R's ticket alone */
	fake_recv(&ra, other, 0, k.block);
	fake_release(&ra, k.block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, k.block) == false);
	fake_kill(k.s, r);
	scene_close(&k);
}

/* ---- windows of tickets ---- */

Test(protocol, tickets_beyond_the_window_are_kept_and_go_in_any_order)
{
	enum { N = 2600 }; /* the window has 2,048 places, a lane promises as many more */
	struct scene k = scene_open();
	const struct channel *ch =
		tarn__channel_of(&k.s->st, &k.s->st.object[tarn__id_index(k.channel)]);

	for (unsigned i = 0; i < N; i++) {
		fake_send(&k.pa, k.channel, i, k.block, 100, 0);
		if (i % 1000 == 999)
			tarn__epoch(k.s);
	}
	QUIET(k.s);
	cr_assert(eq(u32, ch->tickets, N));
	cr_assert(eq(u32, ch->spilled, N - 2 * WINDOW_UNIT));
	for (unsigned i = 0; i < N; i++) { /* 1777 is a prime */
		fake_absorb(&k.qa, k.channel, i * 1777u % N, k.block);
		if (i % 500 == 499)
			QUIET(k.s);
	}
	QUIET(k.s);
	cr_assert(eq(u32, ch->tickets, 0));
	cr_assert(eq(u32, ch->spilled, 0));
	cr_assert(eq(u64, ch->low, ch->sent));
	fake_absorb(&k.qa, k.channel, 7, k.block); /* twice: voids nothing */
	fake_send(&k.pa, k.channel, N, k.block, 100, 0);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, k.block), 2));
	scene_close(&k);
}

Test(protocol, a_window_that_a_channel_left_serves_the_next_one)
{
	struct scene k = scene_open();
	uint32_t units = 0;

	for (unsigned i = 0; i < 20; i++) {
		uint64_t ch = fake_channel(k.s, &k.pa, &k.qa, i % 2 == 0 ? 4096 : 8);

		fake_send(&k.pa, ch, 0, k.block, 100, 0);
		QUIET(k.s);
		fake_post(&k.pa, TARN__MSG_CLOSE, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
		fake_post(&k.qa, TARN__MSG_CLOSE, 0, ch, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
		fake_release(&k.pa, ch, 1);
		QUIET(k.s);
		if (i == 1)
			units = k.s->st.head->windows;
	}
	cr_assert(eq(u32, k.s->st.head->windows, units));
	scene_close(&k);
}
