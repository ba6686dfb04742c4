/* SPDX-License-Identifier: Apache-2.0 */
/* What a queue does for a dead client, by a server that is killed in it, and by the next one. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <setjmp.h>

#include "lib/host/context.h"
#include "lib/types/queue.h"
#include "lib/types/types.h"
#include "shm/queue.h"

TestSuite(queue_repair, .timeout = 20);

#define DEAD 7u
#define RUNS 2u
enum { QUEUE = 1, TABLE, SLOTS, KEPT }; /* ids */

/* A queue of runs of one slot each, of which there is one. */
static struct data {
	TARN__ALIGNED_LINE struct tarn__queue q;
	TARN__ALIGNED_LINE struct tarn__mpmc_run run[RUNS];
	TARN__ALIGNED_LINE unsigned char slot[TARN__QUEUE_STRIDE];
} data;
static struct host host = { .data = (unsigned char *)&data };
static const struct tarn__served served = { .type = &tarn__type_queue };
static jmp_buf killed;
static bool to_be_killed;
static unsigned dropped;

static int look(struct tarn__run *run, uint64_t id, struct tarn__look *ret)
{
	(void)run;
	if (id != TABLE && id != SLOTS)
		return -TARN_ESTALE;
	*ret = id == TABLE ? (struct tarn__look){ .offset = offsetof(struct data, run),
						  .size = sizeof data.run }
			   : (struct tarn__look){ .offset = offsetof(struct data, slot),
						  .size = sizeof data.slot };
	return 0;
}

/* The first store to META. */
static int drop(struct tarn__run *run, uint64_t id)
{
	(void)run;
	if (to_be_killed)
		longjmp(killed, 1);
	cr_assert(eq(u64, id, KEPT));
	dropped++;
	return 0;
}

static void later(struct tarn__run *run, uint64_t *word, uint64_t value)
{
	(void)run;
	*word = value;
}

static const struct tarn__reactor_ops ops = { .look = look, .drop = drop, .later = later };

static tarn_context *begin(struct tarn__run *run, enum tarn__deed deed)
{
	static tarn_context ctx;

	*run = (struct tarn__run){ .ops = &ops };
	tarn__context_init(&ctx, &host, &served, NULL, deed, QUEUE, &data.q);
	ctx.run = run;
	return &ctx;
}

static void departed(void)
{
	struct tarn__run run;

	tarn__type_queue.departed(begin(&run, TARN__DEED_DEPARTED), &data.q, DEAD);
}

/* What the server says to whoever needs run 1, and brings no block for it. */
static uint64_t grow(void)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 1,
				   tarn__slot_head(TARN_KIND_NIL, 0, 0), 0 };
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	cr_assert(tarn__parcel_lend_plain(&ctx->args, words, 4, 2));
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_GROW].fn(ctx, &data.q)));
	return ctx->result.room[ctx->result.first + 1];
}

/* The one item was taken by one who died, or had been claimed by one. It refers to a block. */
static void prepare(enum tarn__mpmc_state state)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	data.q = (struct tarn__queue){ .n = 1,
				       .stride = TARN__QUEUE_STRIDE,
				       .runs = RUNS,
				       .ring_id = TABLE,
				       .ring_offset = offsetof(struct data, run) };
	data.q.tail.turn = data.q.head.turn = 1;
	tarn__queue_use(&data.q, DEAD);
	data.run[0] = (struct tarn__mpmc_run){ .id = SLOTS,
					       .offset = offsetof(struct data, slot),
					       .number = 1 };
	data.run[1] = (struct tarn__mpmc_run){ .number = 0 };
	s->word = tarn__mpmc_word(0, state, DEAD);
	s->stash = tarn__stash_word(0, 1);
	s->head = tarn__item_head(0, 0, 1, 0);
	s->payload[0] = KEPT;
	dropped = 0;
}

Test(queue_repair, t12_what_a_dead_consumer_had_is_dropped_once)
{
	prepare(TARN__MPMC_TAKE);
	departed();
	cr_assert(eq(u32, dropped, 1));
	departed();
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
	cr_assert(eq(u32, dropped, 1));
}

/* The slot was done by then, and looked as if its taker's message were on its way, for ever: the run was never used
 * again, and kept what it had. */
Test(queue_repair, t12_a_server_that_is_killed_in_a_repair_leaves_the_run_to_be_used_again)
{
	prepare(TARN__MPMC_TAKE);
	to_be_killed = true;
	if (setjmp(killed) == 0)
		departed();
	to_be_killed = false;
	departed(); /* the next server's */
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
	cr_assert(eq(u32, dropped, 1));
}

/* What was taken by a living one is waited for. */
Test(queue_repair, t12_a_run_whose_takers_message_is_on_its_way_is_not_used_yet)
{
	prepare(TARN__MPMC_DONE);
	departed();
	cr_assert(eq(u64, grow(), TARN__GROW_BLOCK));
	cr_assert(eq(u32, dropped, 0));
}
