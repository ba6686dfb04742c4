/* SPDX-License-Identifier: Apache-2.0 */
/* What a queue does for a dead client, by a server that is killed in it, and by the next one. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <setjmp.h>

#include "lib/host/context.h"
#include "lib/types/queue.h"
#include "lib/types/types.h"
#include "shm/queue.h"
#include "tests/common/contrary.h"

TestSuite(queue_repair, .timeout = 20);

#define DEAD 7u
#define RUNS 4u
enum { QUEUE = 1, TABLE, SLOTS, MORE, KEPT }; /* ids */

/* A queue of runs of one slot each, of which there is one. */
static struct data {
	TARN__ALIGNED_LINE struct tarn__queue q;
	TARN__ALIGNED_LINE struct tarn__mpmc_run run[RUNS];
	TARN__ALIGNED_LINE unsigned char slot[TARN__QUEUE_STRIDE];
	TARN__ALIGNED_LINE unsigned char more[TARN__QUEUE_STRIDE];
} data;
static struct host host = { .data = (unsigned char *)&data };
static const struct tarn__served served = { .type = &tarn__type_queue };

/* ---- a server that is killed ---- */

#define NEVER UINT_MAX
#define MOST 64u
static jmp_buf killed;
static unsigned kill_in; /* so many steps on */
static struct {
	uint64_t *word, was;
} note[MOST]; /* of words that are put back */
static struct {
	uint64_t *word, value;
} store[MOST]; /* behind the commit */
static unsigned notes, stores, dropped, dropping, held, holding; /* done, and not committed yet */
static uint64_t from;                             /* where departed() goes on */

/* Before something is done that counts only with the commit, or that is made good by who begins again. */
static void step(void)
{
	if (kill_in != NEVER && kill_in-- == 0) {
		kill_in = NEVER;
		longjmp(killed, 1);
	}
}

static int look(struct tarn__run *run, uint64_t id, struct tarn__look *ret)
{
	(void)run;
	if (id != TABLE && id != SLOTS && id != MORE && id != KEPT)
		return -TARN_ESTALE;
	*ret = id == TABLE ? (struct tarn__look){ .offset = offsetof(struct data, run), .size = sizeof data.run }
	       : id == SLOTS ? (struct tarn__look){ .offset = offsetof(struct data, slot), .size = sizeof data.slot }
			     : (struct tarn__look){ .offset = offsetof(struct data, more), .size = sizeof data.more };
	return 0;
}

static int drop(struct tarn__run *run, uint64_t id)
{
	(void)run;
	step();
	cr_assert(eq(u64, id, KEPT));
	cr_assert(eq(u32, dropped + dropping, 0)); /* it is held once */
	dropping++;
	return 0;
}

static int hold(struct tarn__run *run, uint64_t id)
{
	(void)run;
	step();
	cr_assert(eq(u64, id, MORE));
	holding++;
	return 0;
}

static void note_word(struct tarn__run *run, const uint64_t *word)
{
	(void)run;
	step();
	cr_assert(lt(u32, notes, MOST));
	note[notes].word = (uint64_t *)(uintptr_t)word;
	note[notes++].was = *word;
}

static void later(struct tarn__run *run, uint64_t *word, uint64_t value)
{
	(void)run;
	step();
	cr_assert(lt(u32, stores, MOST));
	store[stores].word = word;
	store[stores++].value = value;
}

static int give(struct tarn__run *run, uint64_t id)
{
	(void)run;
	return id == KEPT ? 0 : -TARN_ESTALE;
}

static unsigned dropped_late;

static int drop_late(struct tarn__run *run, uint64_t id)
{
	(void)run, (void)id;
	dropped_late++;
	return 0;
}

static const struct tarn__reactor_ops ops = { .look = look, .drop = drop, .hold = hold, .note = note_word,
					      .later = later, .give = give, .drop_late = drop_late };

static void commit(uint64_t next)
{
	step();
	dropped += dropping;
	held += holding;
	from = next;
	dropping = holding = notes = 0;
	for (unsigned k = 0; k < stores; k++) {
		step();
		*store[k].word = store[k].value;
	}
	stores = 0;
}

/* The next server: what was not committed is not, and words that were noted are as they were. */
static void succeed(void)
{
	while (notes > 0) {
		notes--;
		*note[notes].word = note[notes].was;
	}
	dropping = holding = stores = 0;
}

static tarn_context *begin(struct tarn__run *run, enum tarn__deed deed)
{
	static tarn_context ctx;

	*run = (struct tarn__run){ .ops = &ops, .from = from };
	tarn__context_init(&ctx, &host, &served, NULL, deed, QUEUE, &data.q);
	ctx.run = run;
	return &ctx;
}

static void departed(void)
{
	struct tarn__run run;

	do {
		tarn__type_queue.departed(begin(&run, TARN__DEED_DEPARTED), &data.q, DEAD);
		commit(run.again);
	} while (from != 0);
}

/* As a producer does, who has been waiting for a slot. */
static void use_what_is_free(void)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	if (tarn__mpmc_state(s->word) != TARN__MPMC_FREE)
		return;
	s->word = tarn__mpmc_word(s->word >> 16, TARN__MPMC_FULL, DEAD + 1);
	s->head = tarn__item_head(2, 1, 0, 0);
	s->payload[0] = s->payload[1] = 0;
}

/* What the server says to whoever needs run @k, and brings no block for it. */
static uint64_t grow_to(uint64_t k)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), k,
				   tarn__slot_head(TARN_KIND_NIL, 0, 0), 0 };
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	cr_assert(tarn__parcel_lend_plain(&ctx->args, words, 4, 2));
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_GROW].fn(ctx, &data.q)));
	commit(0);
	return ctx->result.room[ctx->result.first + 1];
}

static uint64_t grow(void) { return grow_to(1); }

/* A queue of one slot, whose item was taken by one who died, or was claimed by one. It refers to a block. */
static void prepare(enum tarn__mpmc_state state, uint32_t flags, uint64_t runs)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	data.q = (struct tarn__queue){ .n = 1, .stride = TARN__QUEUE_STRIDE, .runs = runs, .flags = flags,
				       .ring_id = runs != 0 ? TABLE : SLOTS,
				       .ring_offset = runs != 0 ? offsetof(struct data, run)
								: offsetof(struct data, slot) };
	data.q.tail.turn = data.q.head.turn = 1;
	tarn__queue_use(&data.q, DEAD);
	data.run[0] = (struct tarn__mpmc_run){ .id = SLOTS, .offset = offsetof(struct data, slot), .number = 1 };
	for (unsigned k = 1; k < RUNS; k++)
		data.run[k] = (struct tarn__mpmc_run){ .number = 0 };
	s->word = tarn__mpmc_word(0, state, DEAD);
	s->stash = tarn__stash_word(0, 1);
	s->head = tarn__item_head(0, 0, 1, 0);
	s->payload[0] = KEPT;
	notes = stores = dropped = dropping = held = holding = 0;
	from = 0;
	kill_in = NEVER;
}

Test(queue_repair, t12_what_a_dead_consumer_had_is_dropped_once)
{
	prepare(TARN__MPMC_TAKE, 0, RUNS);
	departed();
	cr_assert(eq(u32, dropped, 1));
	departed();
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
	cr_assert(eq(u32, dropped, 1));
}

/* The slot was another's when what it refers to was still the queue's: a run was never used again, of a ring's slot
 * nobody knew the ids any more. */
static void repair_killed(enum tarn__mpmc_state state, uint32_t flags, uint64_t runs)
{
	const unsigned lost = state == TARN__MPMC_TAKE && (flags & TARN__QUEUE_JOIN) ? 1 : 0;
	volatile unsigned steps = 0;

	for (volatile unsigned k = 0, more = 1; more != 0; k++) {
		prepare(state, flags, runs);
		kill_in = k;
		if (setjmp(killed) == 0) {
			departed();
			more = 0; /* there is no step number k */
		} else {
			succeed();
			use_what_is_free();
			departed();
		}
		kill_in = NEVER;
		cr_assert(eq(u32, dropped, 1), "killed at step %u: dropped %u times", k, dropped);
		cr_assert(eq(u64, data.q.lost, lost), "killed at step %u: %u were lost", k, (unsigned)data.q.lost);
		if (runs != 0 && state == TARN__MPMC_TAKE)
			cr_assert(eq(u64, grow(), TARN__GROW_THERE), "killed at step %u", k);
		steps = k;
	}
	cr_assert(ge(u32, steps, 3));
}
Test(queue_repair, t12_a_server_that_is_killed_in_a_repair_leaves_the_run_to_be_used_again)
{
	repair_killed(TARN__MPMC_TAKE, 0, RUNS);
}
Test(queue_repair, t12_a_server_that_is_killed_in_a_repair_leaves_nothing_with_a_ring)
{
	repair_killed(TARN__MPMC_TAKE, 0, 0);
}
Test(queue_repair, t12_a_server_that_is_killed_in_a_repair_drops_what_was_being_put)
{
	repair_killed(TARN__MPMC_CLAIM, 0, 0);
	repair_killed(TARN__MPMC_CLAIM, 0, RUNS);
}
Test(queue_repair, t13_a_server_that_is_killed_in_a_repair_counts_each_item_that_is_lost_once)
{
	repair_killed(TARN__MPMC_TAKE, TARN__QUEUE_KEEP | TARN__QUEUE_JOIN, RUNS);
}

/* Whoever may write to slots made it a thousand rounds for each of thousands of runs, an epoch each. */
Test(queue_repair, t12_who_writes_to_slots_has_them_looked_at_for_some_rounds_only)
{
	struct tarn__queue_slot *s = (void *)data.slot;
	unsigned rounds = 0;
	struct tarn__run run;

	prepare(TARN__MPMC_TAKE, TARN__QUEUE_KEEP | TARN__QUEUE_JOIN, RUNS);
	s->stash = 0; /* there is nothing to be dropped, but to be counted */
	do {
		tarn__type_queue.departed(begin(&run, TARN__DEED_DEPARTED), &data.q, DEAD);
		commit(run.again);
		s->word = tarn__mpmc_word(0, TARN__MPMC_TAKE, DEAD);
		s->stash = 0;
		rounds++;
	} while (from != 0);
	cr_assert(le(u32, rounds, 200));
}

#ifdef __x86_64__
static void new_generation(void)
{
	__atomic_fetch_add(&data.q.retries, UINT64_C(1) << 32, __ATOMIC_RELAXED);
}

/* The reactor was in that for as long as somebody went on with it. */
Test(queue_repair, t13_who_goes_on_changing_the_number_of_items_to_come_again_holds_up_nobody)
{
	struct tarn__run run;

	prepare(TARN__MPMC_TAKE, TARN__QUEUE_KEEP | TARN__QUEUE_RETRY, RUNS);
	tarn_context *ctx = begin(&run, TARN__DEED_DEPARTED);
	contrary_begin(new_generation);
	tarn__type_queue.departed(ctx, &data.q, DEAD);
	cr_assert(contrary_end());
	cr_assert(eq(u64, data.q.retries & 0xffffffff, 1)); /* and consumers find it */
	commit(run.again);
}
#endif

/* What was taken by a living one is waited for. */
Test(queue_repair, t12_a_run_whose_takers_message_is_on_its_way_is_not_used_yet)
{
	prepare(TARN__MPMC_DONE, 0, RUNS);
	departed();
	cr_assert(eq(u64, grow(), TARN__GROW_BLOCK));
	cr_assert(eq(u32, dropped, 0));
}

/* ---- a run more ---- */

/* What the server says to whoever brings a block for it. */
static uint64_t grow_with_a_block(void)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 1,
				   tarn__slot_head(TARN_KIND_BLOCK, 0, 0), sizeof data.more };
	struct tarn_block *b;
	struct tarn__look at;
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	cr_assert(zero(int, look(&run, MORE, &at)));
	b = tarn__context_lend(ctx, MORE, &at);
	cr_assert(tarn__parcel_lend(&ctx->args, words, 4, 2, &b, 1, false) == 0);
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_GROW].fn(ctx, &data.q)));
	commit(0);
	return ctx->result.room[ctx->result.first + 1];
}

/* Behind its commit it had a block for a run that nobody found, until the queue ended, and another was asked for. */
Test(queue_repair, q2_a_server_that_is_killed_when_a_queue_has_grown_leaves_no_block_unused)
{
	volatile unsigned steps = 0;

	for (volatile unsigned k = 0, more = 1; more != 0; k++) {
		prepare(TARN__MPMC_FULL, 0, RUNS);
		kill_in = k;
		if (setjmp(killed) == 0) {
			cr_assert(eq(u64, grow_with_a_block(), TARN__GROW_TAKEN));
			more = 0;
		} else {
			succeed();
			if (held == 0)
				cr_assert(eq(u64, grow(), TARN__GROW_BLOCK));
			const bool has = held != 0;
			cr_assert(eq(u64, has ? grow() : grow_with_a_block(),
				     has ? TARN__GROW_THERE : TARN__GROW_TAKEN), "killed at step %u", k);
		}
		kill_in = NEVER;
		cr_assert(eq(u32, held, 1), "killed at step %u", k);
		cr_assert(eq(u64, data.run[1].number, 2));
		cr_assert(eq(u64, data.run[1].offset, offsetof(struct data, more)));
		steps = k;
	}
	cr_assert(ge(u32, steps, 4));
}

/* Its slots were made already, and what their items had left was dropped in the transaction that was not committed. */
static void reuse_killed(uint64_t runs)
{
	volatile unsigned steps = 0;

	for (volatile unsigned k = 0, more = 1; more != 0; k++) {
		const struct tarn__mpmc_run *run = &data.run[1 & (runs - 1)];

		prepare(TARN__MPMC_DONE, TARN__QUEUE_KEEP, runs);
		kill_in = k;
		if (setjmp(killed) == 0) {
			cr_assert(eq(u64, grow(), TARN__GROW_THERE));
			more = 0;
		} else {
			succeed();
			cr_assert(eq(u64, grow(), TARN__GROW_THERE), "killed at step %u", k);
		}
		kill_in = NEVER;
		cr_assert(eq(u32, dropped, 1), "killed at step %u: dropped %u times", k, dropped);
		cr_assert(eq(u64, run->number, 2));
		cr_assert(eq(u64, run->id, SLOTS));
		cr_assert(eq(u64, run->offset, offsetof(struct data, slot)));
		steps = k;
	}
	cr_assert(ge(u32, steps, 7));
}
Test(queue_repair, q2_a_server_that_is_killed_when_a_run_is_used_again_keeps_nothing_of_its_items)
{
	reuse_killed(RUNS);
	reuse_killed(1); /* in the same place of the table */
}

/* Its slots were made for a run that the next server had another block for: it was never used again, and when its
 * place in the table was, the queue was full for ever. */
Test(queue_repair, q2_a_run_that_a_killed_server_was_to_use_again_is_used_when_another_was_taken_for_that)
{
	struct tarn__queue_slot *first = (void *)data.slot, *second = (void *)data.more;
	volatile unsigned steps = 0;

	for (volatile unsigned k = 0, more = 1; more != 0; k++) {
		prepare(TARN__MPMC_TAKE, TARN__QUEUE_KEEP, RUNS);
		data.run[1] = (struct tarn__mpmc_run){ .id = MORE, .offset = offsetof(struct data, more), .number = 2 };
		second->word = tarn__mpmc_word(1, TARN__MPMC_DONE, 0);
		second->stash = 0;
		data.q.tail.turn = data.q.head.turn = 2;
		kill_in = k;
		if (setjmp(killed) == 0) {
			cr_assert(eq(u64, grow_to(2), TARN__GROW_THERE));
			more = 0;
		} else {
			succeed();
			first->word = tarn__mpmc_word(0, TARN__MPMC_DONE, 0);
			first->stash = 0;
			cr_assert(eq(u64, grow_to(2), TARN__GROW_THERE), "killed at step %u", k);
			if (data.run[0].number == 0) {
				first->word = tarn__mpmc_word(2, TARN__MPMC_TAKE, DEAD);
				data.q.tail.turn = data.q.head.turn = 3;
				cr_assert(eq(u64, grow_to(3), TARN__GROW_THERE), "killed at step %u", k);
			}
		}
		kill_in = NEVER;
		steps = k;
	}
	cr_assert(ge(u32, steps, 5));
}

/* ---- what a consumer says that it did ---- */

static int done(void)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0 };
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	ctx->caller.client = DEAD;
	cr_assert(tarn__parcel_lend_plain(&ctx->args, words, 2, 1));
	int r = tarn__type_queue.methods[TARN__QUEUE_DONE].fn(ctx, &data.q);
	commit(0);
	return r;
}

/* Killed at step @k of that, and the successor at step @again of what it reads first: who needs a run. The item is
 * done, and its consumer was told that he has it not. True: there is no such step of the first, or of the second. */
static bool done_killed_at(uint64_t head, unsigned k, unsigned again, bool *ret_first)
{
	volatile bool over = true;

	prepare(TARN__MPMC_TAKE, TARN__QUEUE_KEEP | TARN__QUEUE_JOIN, RUNS);
	data.q.head.turn = head;
	*ret_first = true;
	kill_in = k;
	if (setjmp(killed) == 0) {
		cr_assert(zero(int, done()));
	} else {
		*ret_first = false;
		succeed();
		kill_in = again;
		if (setjmp(killed) == 0) {
			grow();
		} else {
			over = false;
			succeed();
		}
		kill_in = NEVER;
		cr_assert(zero(int, done()), "killed at step %u, and at %u", k, again);
		grow();
	}
	kill_in = NEVER;
	cr_assert(eq(u32, dropped, 1), "killed at step %u, and at %u: dropped %u times", k, again, dropped);
	return over;
}

static void done_killed(uint64_t head)
{
	bool whole = false;
	unsigned k, again = 0, most = 0;

	for (k = 0; !whole; k++) {
		for (again = 0; !done_killed_at(head, k, again, &whole);)
			again++;
		most = again > most ? again : most;
	}
	cr_assert(gt(u32, k, 4));
	cr_assert(gt(u32, most, 2));
}
Test(queue_repair, t13_an_item_that_is_done_when_the_server_is_killed_is_done_when_its_run_is_used_again)
{
	done_killed(1);
}
Test(queue_repair, t13_an_item_that_is_done_when_the_server_is_killed_is_done_when_its_run_is_looked_at)
{
	done_killed(UINT64_MAX); /* others of the run are not over: the hint says as much */
}

/* ---- what a consumer says that it took ---- */

static void take_and_hold(uint64_t id)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0,
				   tarn__slot_head(TARN_KIND_UINT, 0, 0), id };
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	ctx->caller.client = DEAD;
	cr_assert(tarn__parcel_lend_plain(&ctx->args, words, 4, 2));
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_TAKE].fn(ctx, &data.q)));
	commit(0);
}

static void release(void)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	s->word = tarn__mpmc_word(0, TARN__MPMC_DONE, 0);
	data.q.head.turn = 1;
}

static void take(uint64_t id)
{
	take_and_hold(id);
	release();
}

/* The queue waited for what its taker had said already, and the run was never used again. */
Test(queue_repair, t12_what_is_taken_under_a_dead_id_leaves_the_run_to_be_used_again)
{
	prepare(TARN__MPMC_TAKE, 0, RUNS);
	take(KEPT + 1);
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
}

/* Another item's reference to the same block went with it. */
Test(queue_repair, t12_what_could_not_be_kept_is_not_let_go_when_it_is_taken)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	dropped_late = 0;
	prepare(TARN__MPMC_TAKE, 0, RUNS);
	take(KEPT);
	cr_assert(eq(u32, dropped_late, 1));
	prepare(TARN__MPMC_TAKE, 0, RUNS);
	s->stash = tarn__stash_word(0, TARN__STASH_FAILED);
	take(KEPT);
	cr_assert(eq(u32, dropped_late, 1));
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
}

/* By one who hears that it is evicted before it has the answer, or made handles of it: that names what it leaves.
 * Another item's reference to the same block went with it. */
Test(queue_repair, t12_what_was_taken_is_not_let_go_once_more_when_its_taker_leaves_it)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0 };
	struct tarn__run run;

	prepare(TARN__MPMC_TAKE, 0, RUNS);
	dropped_late = 0;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);
	ctx->caller.client = DEAD;
	cr_assert(tarn__parcel_lend_plain(&ctx->args, words, 2, 1));
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_TAKEN].fn(ctx, &data.q)));
	commit(0);
	cr_assert(eq(u32, dropped, 1));
	take(KEPT);
	cr_assert(eq(u32, dropped_late, 0));
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
	cr_assert(eq(u32, dropped, 1));
}

/* ---- what a consumer could not read ---- */

/* What the producer said, and the server reads late: the item refers to a block. */
static void stash_late(void)
{
	const uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0,
				   tarn__slot_head(TARN_KIND_BLOCK, 0, 0), sizeof data.more };
	struct tarn_block *b;
	struct tarn__look at;
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	cr_assert(zero(int, look(&run, MORE, &at)));
	b = tarn__context_lend(ctx, MORE, &at);
	cr_assert(tarn__parcel_lend(&ctx->args, words, 4, 2, &b, 1, false) == 0);
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_STASH].fn(ctx, &data.q)));
	commit(0);
}

/* It asks for the end of the item, and that is read before what the producer said: the queue kept it for ever, and its
 * run was never used again. */
static void unread(bool was_taken, bool is_released)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	dropped_late = 0;
	prepare(TARN__MPMC_TAKE, 0, RUNS);
	s->stash = 0;
	if (was_taken)
		take_and_hold(KEPT);
	cr_assert(zero(int, done()));
	if (is_released)
		release();
	stash_late();
	if (!is_released)
		release();
	cr_assert(eq(u32, held, dropped_late));
	cr_assert(eq(u64, grow(), TARN__GROW_THERE));
	cr_assert(eq(u32, dropped, 0));
}
Test(queue_repair, t12_what_could_not_be_read_before_it_was_kept_is_not_kept)
{
	unread(false, false);
	unread(false, true);
}
Test(queue_repair, t12_what_could_not_be_read_when_it_was_taken_goes_once)
{
	unread(true, false);
	unread(true, true);
}

/* ---- what a producer says that it put ---- */

static unsigned holds[KEPT + 1]; /* by id: the queue's references */

static int hold_some(struct tarn__run *run, uint64_t id)
{
	(void)run;
	/* Tables are full: one more of what is held is a count. */
	if (holds[id] == 0)
		return -ENOMEM;
	holds[id]++;
	return 0;
}

static int drop_some(struct tarn__run *run, uint64_t id)
{
	(void)run;
	cr_assert(gt(u32, holds[id], 0));
	holds[id]--;
	return 0;
}

static int give_any(struct tarn__run *run, uint64_t id)
{
	(void)run, (void)id;
	return 0;
}

/* Of two blocks, the first of which another item refers to as well. */
static void stash_without_memory(uint64_t first, uint64_t second)
{
	static const struct tarn__reactor_ops full = { .look = look, .hold = hold_some, .drop = drop_some,
						       .note = note_word, .give = give_any };
	static const struct tarn__offer offer = { .name = "stash" }; /* sentences name it */
	const uint64_t ids[] = { first, second };
	uint64_t words[] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0, tarn__slot_head(TARN_KIND_BLOCK, 0, 0), 100,
			     tarn__slot_head(TARN_KIND_BLOCK, 1, 0), 100 };
	struct tarn_block *b[2];
	struct tarn__look at;
	struct tarn__run run;
	tarn_context *ctx = begin(&run, TARN__DEED_METHOD);

	run.ops = &full;
	ctx->offer = &offer;
	ctx->caller.client = DEAD;
	for (unsigned k = 0; k < 2; k++) {
		cr_assert(zero(int, look(&run, ids[k], &at)));
		b[k] = tarn__context_lend(ctx, ids[k], &at);
	}
	cr_assert(tarn__parcel_lend(&ctx->args, words, 6, 3, b, 2, false) == 0);
	cr_assert(zero(int, tarn__type_queue.methods[TARN__QUEUE_STASH].fn(ctx, &data.q)));
	commit(0);
}

/* Its taker has named both, or will: for each a reference of the queue's goes. That was another item's. */
Test(queue_repair, t12_what_cannot_be_kept_of_an_item_that_is_taken_is_not_let_go_before_its_taker_says_so)
{
	const unsigned kept = 1; /* for another item */

	for (unsigned k = 0; k < 2; k++) {
		prepare(TARN__MPMC_DONE, 0, RUNS);
		holds[KEPT] = kept;
		holds[MORE] = 0;
		stash_without_memory(k == 0 ? KEPT : MORE, k == 0 ? MORE : KEPT);
		cr_assert(eq(u32, holds[KEPT], kept + 1)); /* for the taker */
		cr_assert(eq(u32, holds[MORE], 0));
	}
}

/* The last one of two was named. */
Test(queue_repair, t12_what_cannot_be_kept_of_an_item_is_let_go_but_for_what_its_taker_has_named)
{
	struct tarn__queue_slot *s = (void *)data.slot;

	for (unsigned k = 0; k < 2; k++) {
		prepare(TARN__MPMC_TAKE, 0, RUNS);
		s->stash = tarn__stash_word(0, TARN__STASH_TAKEN | 1);
		holds[KEPT] = 1;
		holds[MORE] = 0;
		stash_without_memory(k == 0 ? KEPT : MORE, k == 0 ? MORE : KEPT);
		cr_assert(eq(u32, holds[KEPT], k == 0 ? 1 : 2));
		cr_assert(eq(u64, s->stash, tarn__stash_word(0, TARN__STASH_FAILED)));
	}
}
