/* SPDX-License-Identifier: Apache-2.0 */
/*
 * O7, O8, T13: an id stands for one life of one block. Whatever is said of an old one by any
 * kind of message changes nothing for the block that lies in the same place now.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "fake.h"
#include "lib/server/heap.h"
#include "lib/server/ledger.h"

TestSuite(stale, .timeout = 60);

#define QUIET(s)                                             \
	do {                                                 \
		fake_settle(s);                              \
		cr_assert(eq(int, fake_verify(s), 0));       \
	} while (0)

struct place {
	struct server *s;
	uint32_t p, q;
	struct fake_lane pl, ql;
	uint64_t channel;
};

static struct place place_open(void)
{
	struct place k = { .s = fake_server(16) };

	k.p = fake_client(k.s);
	k.q = fake_client(k.s);
	k.pl = fake_lane(k.s, k.p);
	k.ql = fake_lane(k.s, k.q);
	k.channel = fake_channel(k.s, &k.ql, &k.pl, 4);
	QUIET(k.s);
	return k;
}

static void place_close(struct place *k)
{
	fake_kill(k->s, k->p);
	fake_kill(k->s, k->q);
	QUIET(k->s);
	cr_assert(eq(u64, k->s->st.head->n_live, 0));
	cr_assert(eq(u64, k->s->st.head->heap.used, 0));
	cr_assert(eq(u64, k->s->evictions, 0));
	fake_server_free(k->s);
}

static uint64_t live_block(struct place *k, uint64_t bytes)
{
	uint64_t id = fake_alloc(k->s, &k->pl, bytes);

	fake_post(&k->pl, TARN__MSG_PUBLISH, 0, id, bytes, 0, 0, 0, 0);
	QUIET(k->s);
	cr_assert(eq(u32, fake_count(k->s, id), 1));
	return id;
}

static void drop(struct place *k, uint64_t id)
{
	fake_release(&k->pl, id, 1);
	QUIET(k->s);
	cr_assert(zero(int, fake_alive(k->s, id)));
}

/* Everything that can be said of an id. The answers of those that are answered: refused. */
static void say_all(struct place *k, uint64_t id)
{
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_EXPORT, 2, 0, 9), id, 64, 0, 0, 1, 0 } };

	fake_release(&k->ql, id, 1);
	fake_recv(&k->ql, k->channel, 0, id);
	fake_absorb(&k->ql, k->channel, 0, id);
	fake_send(&k->ql, k->channel, 0, id, 64, 0);
	fake_send(&k->ql, k->channel, 0, id, 64, 1);
	fake_post(&k->ql, TARN__MSG_PUBLISH, 0, id, 64, 0, 0, 0, 0);
	fake_post(&k->ql, TARN__MSG_SEAL, 0, id, 64, 0, 0, 0, 0);
	fake_post(&k->ql, TARN__MSG_RESIZE, 0, id, 10, 0, 0, 0, 0);
	QUIET(k->s);
	fake_post(&k->ql, TARN__MSG_BIND, 0, id, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	fake_post(&k->ql, TARN__MSG_IMPORT, 0, id, 1ull << 40, 77, 0, 0, 0);
	fake_post(&k->ql, TARN__MSG_REVOKE, 0, id, 1ull << 40, 77, 0, 0, 0);
	tarn__requests_post_long(&k->ql.requests, (const uint64_t(*)[7])word, 2);
	QUIET(k->s);
	for (int i = 0; i < 4; i++)
		cr_assert(eq(int, (int)(fake_reply(&k->ql).word[0] >> 16 & 0xffff), TARN_ESTALE));
}

static void unmoved(struct place *k, uint64_t id, uint64_t bytes)
{
	const struct object *o = tarn__object_find(&k->s->st, id);

	cr_assert(ne(ptr, (void *)(uintptr_t)o, NULL));
	cr_assert(eq(u32, o->ext, 1));
	cr_assert(eq(u64, o->size, bytes));
	cr_assert(zero(int, object_flags(o) & OBJECT_SEALED));
	cr_assert(eq(u64, k->s->evictions, 0));
}

Test(stale, old_ids_never_reach_the_block_in_the_same_place)
{
	static const uint64_t sizes[] = { 64, 1000, 500000 };

	for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		struct place p = place_open();
		uint64_t old[50], id = 0;

		for (int i = 0; i < 50; i++) {
			id = live_block(&p, sizes[k]);
			old[i] = id;
			cr_assert(eq(u32, tarn__id_index(id), tarn__id_index(old[0])));
			if (i < 49)
				drop(&p, id);
		}
		for (int i = 0; i < 49; i++) {
			cr_assert(zero(int, fake_alive(p.s, old[i])));
			say_all(&p, old[i]);
			unmoved(&p, id, sizes[k]);
		}
		say_all(&p, id + (1ull << TARN__INDEX_BITS)); /* of the future */
		unmoved(&p, id, sizes[k]);
		place_close(&p);
	}
}

/* Lets the next life of a free block have generation @generation. */
static void age(struct place *k, uint32_t index, uint64_t generation)
{
	struct object *o = &k->s->st.object[index];

	cr_assert(o->state == OBJECT_FREE || o->state == OBJECT_UNUSED);
	o->id = tarn__id_make(index, generation);
	QUIET(k->s);
}

static void used_up(uint64_t bytes)
{
	struct place p = place_open();
	uint64_t id = live_block(&p, bytes), old[4], next;
	uint32_t index = tarn__id_index(id);

	drop(&p, id);
	age(&p, index, TARN__GENERATION_MAX - 3);
	for (unsigned i = 0; i < 4; i++) {
		old[i] = live_block(&p, bytes);
		cr_assert(eq(u64, old[i], tarn__id_make(index, TARN__GENERATION_MAX - 3 + i)));
		drop(&p, old[i]);
	}
	/* Retired: the place goes on under another index, for ever. */
	cr_assert(eq(int, p.s->st.object[index].state, OBJECT_RETIRED));
	next = live_block(&p, bytes);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert(ne(u32, tarn__id_index(next), index));
		for (unsigned k = 0; k < 4; k++)
			say_all(&p, old[k]);
		say_all(&p, tarn__id_make(index, 1));
		say_all(&p, tarn__id_make(index, 0));
		unmoved(&p, next, bytes);
		drop(&p, next);
		next = live_block(&p, bytes);
	}
	place_close(&p);
}

Test(stale, a_small_blocks_index_is_retired_with_its_last_generation)
{
	used_up(100);
}

Test(stale, a_large_blocks_index_is_retired_with_its_last_generation)
{
	used_up(500000);
}

Test(stale, the_id_of_a_dead_channel_never_reaches_the_next)
{
	struct place p = place_open();
	uint64_t old[10];

	for (int i = 0; i < 10; i++) {
		fake_post(&p.pl, TARN__MSG_CHANNEL, 0, 4, 0, 0, 0, 0, 0);
		QUIET(p.s);
		old[i] = fake_reply(&p.pl).word[1];
		cr_assert(eq(u32, tarn__id_index(old[i]), tarn__id_index(old[0])));
		for (int k = 0; k < i; k++) {
			cr_assert(zero(int, fake_alive(p.s, old[k])));
			say_all(&p, old[k]);
			fake_send(&p.ql, old[k], 0, p.channel, 64, 0); /* as the way, not the thing */
			fake_post(&p.ql, TARN__MSG_CLOSE, 0, old[k], TARN__ROLE_PRODUCER, 0, 0, 0, 0);
			QUIET(p.s);
		}
		cr_assert(eq(u32, fake_count(p.s, old[i]), 1));
		fake_release(&p.pl, old[i], 1);
		QUIET(p.s);
	}
	place_close(&p);
}
