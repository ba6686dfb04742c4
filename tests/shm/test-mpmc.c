/* SPDX-License-Identifier: Apache-2.0 */
/* Slots that name who works on them: order, full and empty, deaths at each step, wrap of turns. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "shm/mpmc.h"

TestSuite(mpmc, .timeout = 120);

/* A slot: the word, and what is in it. */
struct slot {
	uint64_t word, value;
	uint64_t pad[6];
};

struct box {
	struct tarn__mpmc_tail tail;
	struct tarn__mpmc_head head;
	struct slot slot[64];
	struct tarn__mpmc_run run[8];
	struct tarn__mpmc q;
};

static struct tarn__mpmc as(const struct box *b, uint32_t me)
{
	struct tarn__mpmc q = b->q;

	q.me = me;
	return q;
}

/* A ring of @n that begins with @turn. */
static struct box *ring(uint64_t n, uint64_t turn)
{
	struct box *b = aligned_alloc(64, sizeof *b);

	*b = (struct box){ .tail.turn = turn, .head = { .turn = turn, .low = turn } };
	for (uint64_t k = 0; k < n; k++)
		b->slot[(turn + k) % n].word = tarn__mpmc_word(turn + k, TARN__MPMC_FREE, 0);
	b->q = (struct tarn__mpmc){ .tail = &b->tail, .head = &b->head,
				    .base = (unsigned char *)b->slot, .n = n,
				    .stride = sizeof(struct slot), .me = 1 };
	return b;
}

static void link_run(struct box *b, uint64_t k, unsigned at)
{
	for (unsigned i = 0; i < 8; i++)
		b->slot[8 * at + i].word = tarn__mpmc_word(8 * k + i, TARN__MPMC_FREE, 0);
	b->run[k & 7].offset = 8 * at * sizeof(struct slot);
	tarn__store_release(&b->run[k & 7].number, k + 1);
}

/* Runs of 8 slots. */
static struct box *segments(uint64_t limit)
{
	struct box *b = ring(8, 0);

	b->q.run = b->run;
	b->q.runs = 8;
	b->q.bytes = sizeof b->slot;
	b->q.limit = limit;
	link_run(b, 0, 0);
	return b;
}

static enum tarn__mpmc_result put(const struct tarn__mpmc *q, uint64_t value)
{
	uint64_t turn, *slot;
	enum tarn__mpmc_result r = tarn__mpmc_claim(q, &turn, &slot);

	if (r != TARN__MPMC_OK)
		return r;
	tarn__store_relaxed(&((struct slot *)slot)->value, value);
	return tarn__mpmc_publish(q, slot, turn) ? TARN__MPMC_OK : TARN__MPMC_BUSY;
}

static enum tarn__mpmc_result get(const struct tarn__mpmc *q, uint64_t *ret)
{
	uint64_t turn, *slot;
	enum tarn__mpmc_result r = tarn__mpmc_take(q, &turn, &slot);

	if (r != TARN__MPMC_OK)
		return r;
	*ret = tarn__load_relaxed(&((struct slot *)slot)->value);
	cr_assert(tarn__mpmc_release(q, slot, turn));
	return r;
}

static unsigned repair(struct box *b, uint32_t dead, bool retry)
{
	unsigned n = 0;
	uint64_t turn;

	for (unsigned k = 0; k < b->q.n; k++)
		n += tarn__mpmc_repair(&b->q, &b->slot[k].word, dead, retry, &turn) !=
		     TARN__MPMC_FREE;
	return n;
}

#define PUT(q, v) cr_assert(eq(int, (int)put((q), (v)), TARN__MPMC_OK))
#define GETS(q, v)                                                        \
	do {                                                              \
		uint64_t got_ = 0;                                        \
		cr_assert(eq(int, (int)get((q), &got_), TARN__MPMC_OK));  \
		cr_assert(eq(u64, got_, (v)));                            \
	} while (0)
#define EMPTY(q)                                                            \
	do {                                                                \
		uint64_t got_;                                              \
		cr_assert(eq(int, (int)get((q), &got_), TARN__MPMC_AGAIN)); \
	} while (0)

/* A producer that stood still between its look at a slot and at the limit found an empty queue full. */
Test(mpmc, head_beyond_the_turn_at_hand_is_not_the_limit)
{
	struct box *b = segments(2);

	b->head.turn = 3;
	b->tail.turn = 3;
	cr_assert(not(tarn__mpmc_at_limit(&b->q, 1)));
	cr_assert(not(tarn__mpmc_at_limit(&b->q, 4)));
	cr_assert(tarn__mpmc_at_limit(&b->q, 5));
	free(b);
}

Test(mpmc, items_come_in_order_round_and_round)
{
	/* Also of one slot, also across the wrap of turns. */
	for (uint64_t n = 1; n <= 7; n++) {
		struct box *b = ring(n, (UINT64_C(1) << TARN__MPMC_TURN_BITS) - 10);

		for (uint64_t i = 0; i < 100; i++) {
			EMPTY(&b->q);
			for (uint64_t k = 0; k < n; k++)
				PUT(&b->q, i * 10 + k);
			cr_assert(eq(int, (int)put(&b->q, 0), TARN__MPMC_AGAIN));
			cr_assert(eq(u64, tarn__mpmc_count(&b->q), n));
			for (uint64_t k = 0; k < n; k++)
				GETS(&b->q, i * 10 + k);
		}
		free(b);
	}
}

Test(mpmc, hints_that_a_dead_client_did_not_move_hold_nobody_up)
{
	struct box *b = ring(4, 0);
	struct tarn__mpmc other = as(b, 2);

	PUT(&b->q, 1);
	b->tail.turn = 0; /* killed before it moved the hint */
	PUT(&other, 2);
	GETS(&other, 1);
	b->head.turn = 0;
	b->tail.turn = 0;
	GETS(&other, 2);
	EMPTY(&other);
	PUT(&b->q, 3);
	GETS(&b->q, 3);
	free(b);
}

Test(mpmc, a_producer_that_dies_with_a_claim_is_passed_over)
{
	struct box *b = ring(4, 0);
	struct tarn__mpmc dead = as(b, 7);
	uint64_t turn, *slot, got;

	cr_assert(eq(int, (int)tarn__mpmc_claim(&dead, &turn, &slot), TARN__MPMC_OK));
	PUT(&b->q, 5);
	cr_assert(eq(int, (int)get(&b->q, &got), TARN__MPMC_BUSY)); /* the order is kept */
	cr_assert(eq(uint, repair(b, 8, false), 0));
	cr_assert(eq(uint, repair(b, 7, false), 1));
	cr_assert(not(tarn__mpmc_publish(&dead, slot, turn))); /* was not dead, but counts as such */
	GETS(&b->q, 5);
	EMPTY(&b->q);
	for (int i = 0; i < 4; i++)
		PUT(&b->q, 6);
	free(b);
}

Test(mpmc, what_a_dead_consumer_took_is_over)
{
	struct box *b = ring(2, 0);
	struct tarn__mpmc dead = as(b, 7);
	uint64_t turn, *slot;

	PUT(&b->q, 1);
	PUT(&b->q, 2);
	cr_assert(eq(int, (int)tarn__mpmc_take(&dead, &turn, &slot), TARN__MPMC_OK));
	cr_assert(eq(int, (int)put(&b->q, 3), TARN__MPMC_AGAIN));
	b->head.turn = 0; /* and had not moved the hint */
	cr_assert(eq(uint, repair(b, 7, false), 1));
	cr_assert(not(tarn__mpmc_release(&dead, slot, turn)));
	PUT(&b->q, 3);
	GETS(&b->q, 2);
	GETS(&b->q, 3);
	EMPTY(&b->q);
	free(b);
}

Test(mpmc, what_a_dead_consumer_took_can_be_taken_again)
{
	struct box *b = segments(0);
	struct tarn__mpmc dead = as(b, 7);
	uint64_t turn, *slot, at;

	PUT(&b->q, 1);
	PUT(&b->q, 2);
	cr_assert(eq(int, (int)tarn__mpmc_take(&dead, &turn, &slot), TARN__MPMC_OK));
	GETS(&b->q, 2);
	cr_assert(not(tarn__mpmc_settled(&b->q, &at)));
	cr_assert(eq(int, (int)tarn__mpmc_retake(&b->q, 0, &turn, &slot), TARN__MPMC_AGAIN));
	cr_assert(eq(uint, repair(b, 7, true), 1));
	EMPTY(&b->q);
	cr_assert(eq(int, (int)tarn__mpmc_retake(&b->q, 0, &turn, &slot), TARN__MPMC_OK));
	cr_assert(eq(u64, turn, 0));
	cr_assert(eq(u64, ((struct slot *)slot)->value, 1));
	cr_assert(not(tarn__mpmc_settled(&b->q, &at)));
	cr_assert(tarn__mpmc_release(&b->q, slot, turn));
	cr_assert(tarn__mpmc_settled(&b->q, &at));
	cr_assert(eq(u64, at, 2));
	free(b);
}

/* It was lost: whoever looked for it did so below head, and then moved head past it. */
Test(mpmc, what_a_dead_consumer_took_at_the_head_can_be_taken_again)
{
	for (int shape = 0; shape < 2; shape++) {
		struct box *b = shape == 0 ? ring(2, 0) : segments(0);
		struct tarn__mpmc dead = as(b, 7);
		uint64_t turn, *slot, at;

		PUT(&b->q, 1);
		PUT(&b->q, 2);
		cr_assert(eq(int, (int)tarn__mpmc_take(&dead, &turn, &slot), TARN__MPMC_OK));
		b->head.turn = 0; /* killed before it moved the hint */
		cr_assert(eq(uint, repair(b, 7, true), 1));
		cr_assert(eq(int, (int)tarn__mpmc_retake(&b->q, 0, &turn, &slot), TARN__MPMC_OK));
		cr_assert(eq(u64, turn, 0));
		GETS(&b->q, 2);
		cr_assert(tarn__mpmc_release(&b->q, slot, turn));
		cr_assert(tarn__mpmc_settled(&b->q, &at));
		EMPTY(&b->q);
		free(b);
	}
}

Test(mpmc, segments_grow_and_are_used_again)
{
	struct box *b = segments(0);
	uint64_t put_n = 0, got_n = 0, at;

	for (uint64_t k = 0; k < 50; k++) {
		while (put(&b->q, put_n) == TARN__MPMC_OK)
			put_n++;
		cr_assert(eq(u64, put_n, 8 * (k + 1)));
		while (got_n + 8 < put_n) {
			GETS(&b->q, got_n);
			got_n++;
		}
		/* Eight are there: two runs are in use at most, the oldest is taken again. */
		link_run(b, k + 1, (unsigned)((k + 1) % 3));
	}
	while (got_n < put_n) {
		GETS(&b->q, got_n);
		got_n++;
	}
	EMPTY(&b->q);
	cr_assert(tarn__mpmc_settled(&b->q, &at));
	cr_assert(eq(u64, at, put_n));
	free(b);
}

Test(mpmc, a_limit_counts_what_is_not_taken)
{
	struct box *b = segments(3);
	struct tarn__mpmc dead = as(b, 7);
	uint64_t turn, *slot;

	for (uint64_t i = 0; i < 3; i++)
		PUT(&b->q, i);
	cr_assert(eq(int, (int)put(&b->q, 9), TARN__MPMC_AGAIN));
	cr_assert(eq(int, (int)tarn__mpmc_take(&dead, &turn, &slot), TARN__MPMC_OK));
	b->head.turn = 0; /* killed before it moved the hint */
	PUT(&b->q, 3);
	cr_assert(eq(int, (int)put(&b->q, 9), TARN__MPMC_AGAIN));
	GETS(&b->q, 1);
	PUT(&b->q, 4);
	free(b);
}

Test(mpmc, words_of_a_hostile_client_end_in_full_or_empty)
{
	uint64_t seed = 1, got, at;

	for (int i = 0; i < 300; i++) {
		struct box *b = i & 1 ? ring(4, 0) : segments(0);
		uint64_t *words[] = { &b->tail.turn, &b->head.turn, &b->head.low, &b->slot[0].word,
				      &b->slot[1].word, &b->slot[2].word, &b->run[0].number,
				      &b->run[0].offset };

		for (unsigned k = 0; k < 3; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			*words[seed >> 33 & 7] = i & 2 ? seed : seed >> 59;
		}
		put(&b->q, 1);
		get(&b->q, &got);
		tarn__mpmc_settled(&b->q, &at);
		tarn__mpmc_retake(&b->q, seed, &at, &(uint64_t *){ NULL });
		free(b);
	}
}

/* ---- threads, some of which die at it ---- */

#define EACH 20000u
#define THREADS 4u

struct crowd {
	struct box *b;
	uint32_t dead[2 * THREADS];   /* 1 + name of one that died and was not repaired */
	uint32_t lost, passed;
	uint64_t got, sum;
	uint32_t producers;
};
struct member {
	struct crowd *c;
	unsigned number;
};

static void die(struct crowd *c, unsigned number, uint32_t *name)
{
	__atomic_store_n(&c->dead[number], *name, __ATOMIC_RELEASE);
	while (__atomic_load_n(&c->dead[number], __ATOMIC_ACQUIRE) != 0)
		sched_yield(); /* the name is free again after the repair only */
}

static void *produce(void *arg)
{
	struct member *m = arg;
	struct crowd *c = m->c;
	uint32_t name = 1 + m->number;
	struct tarn__mpmc q = as(c->b, name);

	for (uint64_t i = 0; i < EACH; i++) {
		uint64_t turn, *slot;

		while (tarn__mpmc_claim(&q, &turn, &slot) != TARN__MPMC_OK)
			sched_yield();
		if (i % 97 == 3) {
			__atomic_fetch_add(&c->passed, 1, __ATOMIC_RELAXED);
			die(c, m->number, &name);
			cr_assert(not(tarn__mpmc_publish(&q, slot, turn)));
			continue;
		}
		tarn__store_relaxed(&((struct slot *)slot)->value, (uint64_t)m->number << 32 | i);
		cr_assert(tarn__mpmc_publish(&q, slot, turn));
	}
	__atomic_fetch_sub(&c->producers, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void *consume(void *arg)
{
	struct member *m = arg;
	struct crowd *c = m->c;
	uint32_t name = 1 + m->number;
	struct tarn__mpmc q = as(c->b, name);
	uint64_t next[THREADS] = { 0 }, got = 0;

	for (;;) {
		bool over = __atomic_load_n(&c->producers, __ATOMIC_ACQUIRE) == 0;
		uint64_t turn, *slot, value;

		if (tarn__mpmc_take(&q, &turn, &slot) != TARN__MPMC_OK) {
			if (over)
				break;
			sched_yield();
			continue;
		}
		got++;
		value = tarn__load_relaxed(&((struct slot *)slot)->value);
		/* Each producer's come in order. */
		cr_assert(ge(u64, value & 0xffffffff, next[value >> 32]));
		next[value >> 32] = (value & 0xffffffff) + 1;
		if (got % 89 == 5) {
			__atomic_fetch_add(&c->lost, 1, __ATOMIC_RELAXED);
			die(c, m->number, &name);
			cr_assert(not(tarn__mpmc_release(&q, slot, turn)));
			continue;
		}
		__atomic_fetch_add(&c->got, 1, __ATOMIC_RELAXED);
		cr_assert(tarn__mpmc_release(&q, slot, turn));
	}
	return NULL;
}

Test(mpmc, producers_and_consumers_that_die_at_random_lose_only_what_they_had)
{
	struct crowd c = { .b = ring(8, (UINT64_C(1) << TARN__MPMC_TURN_BITS) - 1000),
			   .producers = THREADS };
	struct member m[2 * THREADS];
	pthread_t thread[2 * THREADS];
	bool alive = true;

	for (unsigned k = 0; k < 2 * THREADS; k++) {
		m[k] = (struct member){ &c, k };
		pthread_create(&thread[k], NULL, k < THREADS ? produce : consume, &m[k]);
	}
	while (alive) {
		for (unsigned k = 0; k < 2 * THREADS; k++) {
			uint32_t name = __atomic_load_n(&c.dead[k], __ATOMIC_ACQUIRE);

			if (name == 0)
				continue;
			cr_assert(eq(uint, repair(c.b, name, false), 1));
			__atomic_store_n(&c.dead[k], 0, __ATOMIC_RELEASE);
		}
		sched_yield();
		alive = false;
		for (unsigned k = 0; k < 2 * THREADS; k++)
			if (thread[k] != 0 && pthread_tryjoin_np(thread[k], NULL) == 0)
				thread[k] = 0;
			else
				alive |= thread[k] != 0;
	}
	cr_assert(eq(u64, c.got + c.lost + c.passed, (uint64_t)THREADS * EACH));
	EMPTY(&c.b->q);
	free(c.b);
}
