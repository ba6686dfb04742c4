/* SPDX-License-Identifier: Apache-2.0 */
/*
 * META and its undo log. The library under test calls tarn__meta_hook() after every
 * store to META. A "death" is a longjmp out of that hook: what follows in program order
 * has not happened, as after SIGKILL. Each test then plays the successor: it rolls back
 * and compares all of META with the last committed state.
 */
#include "shm/meta.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(meta, .timeout = 20);

/* What stands for META: the log at its end, some words that transactions change. */
#define WORDS 6
static struct segment {
	union {
		uint64_t word[WORDS];
		uint32_t half[2 * WORDS];
	};
	struct tarn__undo undo;
} segment;
static struct tarn__meta meta = { (unsigned char *)&segment, &segment.undo };

/* --- death at a chosen store --- */

static jmp_buf death;
static unsigned n_stores;    /* of this step so far */
static unsigned fatal_store; /* the one after which we die; 0: none */

void tarn__meta_hook(void)
{
	if (++n_stores == fatal_store)
		longjmp(death, 1);
}

/* Runs @step and dies right after its store number @store. False: it has fewer stores and
 * was done before. */
static bool dies_at(unsigned store, void (*step)(void))
{
	n_stores = 0;
	fatal_store = store;
	if (setjmp(death)) {
		fatal_store = 0;
		return true;
	}
	step();
	fatal_store = 0;
	return false;
}

static unsigned stores_of(void (*step)(void))
{
	n_stores = 0;
	fatal_store = 0;
	step();
	return n_stores;
}

/* --- states --- */

static void start(void)
{
	memset(&segment, 0, sizeof segment);
	for (unsigned i = 0; i < WORDS; i++)
		segment.word[i] = 0x1111111111111111u * (i + 1);
}

static void roll_back(void)
{
	tarn__meta_rollback(&meta);
}

/* One transaction, not committed: words twice, both halves of a word, a word as a whole
 * after its half. */
static void change(void)
{
	tarn__set(&meta, &segment.word[0], UINT64_C(100));
	tarn__set(&meta, &segment.word[0], UINT64_C(101));
	tarn__set(&meta, &segment.half[2], 102u);
	tarn__set(&meta, &segment.half[3], 103u);
	tarn__set(&meta, &segment.half[5], 104u);
	tarn__set(&meta, &segment.word[2], UINT64_C(105));
	tarn__set(&meta, &segment.word[WORDS - 1], UINT64_MAX);
	tarn__set(&meta, &segment.word[0], UINT64_C(106));
}

static void change_and_commit(void)
{
	change();
	tarn__meta_commit(&meta);
}

/* The words before and after a transaction. */
static uint64_t before[WORDS], after[WORDS];

static void note_both(void)
{
	start();
	memcpy(before, segment.word, sizeof before);
	change_and_commit();
	memcpy(after, segment.word, sizeof after);
	start();
}

static void assert_words(const uint64_t want[WORDS], unsigned store)
{
	for (unsigned i = 0; i < WORDS; i++)
		cr_assert(eq(u64, segment.word[i], want[i]),
			  "word %u, death after store %u", i, store);
	cr_assert(eq(u64, segment.undo.n, 0));
}

/* --- without deaths --- */

Test(meta, set_changes_a_word_at_once)
{
	start();
	tarn__set(&meta, &segment.word[1], UINT64_C(42));
	cr_assert(eq(u64, segment.word[1], 42));
	cr_assert(eq(u64, segment.word[0], 0x1111111111111111u));
	cr_assert(eq(u64, segment.word[2], 0x3333333333333333u));
	cr_assert(eq(u64, segment.undo.n, 1));
}

Test(meta, set_of_a_half_leaves_its_neighbour)
{
	start();
	tarn__set(&meta, &segment.half[2], 0xaaaaaaaau);
	cr_assert(eq(u64, segment.word[1], 0x22222222aaaaaaaau));
	tarn__set(&meta, &segment.half[3], 0xbbbbbbbbu);
	cr_assert(eq(u64, segment.word[1], 0xbbbbbbbbaaaaaaaau));
	cr_assert(eq(u64, segment.word[0], 0x1111111111111111u));
	cr_assert(eq(u64, segment.word[2], 0x3333333333333333u));
	roll_back();
	cr_assert(eq(u64, segment.word[1], 0x2222222222222222u));
}

Test(meta, commit_makes_changes_permanent)
{
	note_both();
	change_and_commit();
	roll_back();
	assert_words(after, 0);
}

Test(meta, rollback_restores_the_last_commit)
{
	uint64_t committed[WORDS];

	start();
	change_and_commit();
	memcpy(committed, segment.word, sizeof committed);
	tarn__set(&meta, &segment.word[0], UINT64_C(7));
	tarn__set(&meta, &segment.word[3], UINT64_C(8));
	roll_back();
	assert_words(committed, 0);
}

Test(meta, rollback_of_nothing_stores_nothing)
{
	start();
	cr_assert(eq(uint, stores_of(roll_back), 0));
}

Test(meta, the_last_entry_of_the_log_can_be_used)
{
	start();
	for (uint64_t i = 0; i < TARN__UNDO_CAPACITY; i++)
		tarn__set(&meta, &segment.word[i % WORDS], i);
	cr_assert(eq(u64, segment.undo.n, TARN__UNDO_CAPACITY));
	note_both();
	for (uint64_t i = 0; i < TARN__UNDO_CAPACITY; i++)
		tarn__set(&meta, &segment.word[i % WORDS], i);
	roll_back();
	assert_words(before, 0);
}

#if defined(__x86_64__)
#define TRAP SIGILL
#else
#define TRAP SIGTRAP
#endif
Test(meta, an_operation_without_a_bound_traps, .signal = TRAP)
{
	start();
	for (uint64_t i = 0; i <= TARN__UNDO_CAPACITY; i++)
		tarn__set(&meta, &segment.word[0], i);
}

/* --- with deaths --- */

/* The number of stores is part of what the crash-prefix tests rely on: a store to META
 * without a hook would be a place where nobody dies. */
Test(meta, every_store_is_a_place_to_die)
{
	start();
	cr_assert(eq(uint, stores_of(change), 3 * 8)); /* log, count, word */
	cr_assert(eq(uint, stores_of(roll_back), 2 * 8)); /* word, count */
	cr_assert(eq(uint, stores_of(change_and_commit), 3 * 8 + 1));
}

Test(meta, a_death_at_any_store_rolls_back_to_the_last_commit)
{
	unsigned store;

	note_both();
	for (store = 1;; store++) {
		start();
		if (!dies_at(store, change_and_commit))
			break;
		roll_back();
		/* The last store is that of the commit itself. */
		assert_words(store < 3 * 8 + 1 ? before : after, store);
	}
	cr_assert(eq(uint, store, 3 * 8 + 2));
}

Test(meta, rollback_can_die_at_any_store_and_start_again)
{
	note_both();
	for (unsigned store = 1;; store++) {
		start();
		if (!dies_at(store, change))
			break;
		for (unsigned second = 1;; second++) {
			start();
			dies_at(store, change);
			if (!dies_at(second, roll_back))
				break;
			for (unsigned third = 1;; third++) {
				start();
				dies_at(store, change);
				dies_at(second, roll_back);
				if (!dies_at(third, roll_back))
					break;
				roll_back();
				assert_words(before, store);
			}
		}
	}
}

Test(meta, an_entry_is_complete_before_it_counts)
{
	/* An entry that counts names a word inside META and the value that the word had:
	 * a successor restores whatever the count covers. */
	start();
	for (unsigned store = 1; dies_at(store, change); store++) {
		cr_assert(le(u64, segment.undo.n, 8));
		for (uint64_t i = 0; i < segment.undo.n; i++)
			cr_assert(lt(u64, segment.undo.log[i].where, sizeof segment.word));
		/* Poison what does not count: rollback must not look at it. */
		for (uint64_t i = segment.undo.n; i < TARN__UNDO_CAPACITY; i++)
			segment.undo.log[i] = (struct tarn__undo_entry){ UINT64_MAX, store };
		roll_back();
		start();
	}
}

Test(meta, work_goes_on_after_a_rollback)
{
	note_both();
	dies_at(10, change);
	roll_back();
	change_and_commit();
	assert_words(after, 0);
}
