/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory "views" of the scheduler itself, with the litmus tests of the literature: what C11 forbids is seen in no
 * run, and what it allows is seen in some. Otherwise a search that finds nothing would say nothing.
 */
#include "scheduler.h"

#include <string.h>

#include "rmwshim.h"
#include "tests/common/plain.h"

#define RUNS 3000u
#define relaxed __ATOMIC_RELAXED
#define acquire __ATOMIC_ACQUIRE
#define release __ATOMIC_RELEASE
#define seq_cst __ATOMIC_SEQ_CST

static uint32_t x, y;
static uint32_t r[4]; /* what was read */
static int a_mutex;   /* its address */
static bool is_given; /* the mutex, once; not a shared word */

static bool is_shared(const void *p)
{
	return p == &x || p == &y;
}
void ss_rmw(const void *p, unsigned bytes, int order)
{
	sched_point();
	sched_rmw(p, bytes, order);
}
void ss_access(const volatile void *p, int order)
{
	(void)p, (void)order;
	sched_point();
}
/* Every access is a place where another may go on, so that all orders are played. */
static uint32_t get(const uint32_t *p, int order)
{
	return __atomic_load_n(p, order);
}
static void set(uint32_t *p, uint32_t v, int order)
{
	__atomic_store_n(p, v, order);
}
static void fence(int order)
{
	sched_point();
	sched_fence(order);
}

struct litmus {
	void (*run[4])(void *arg);
	bool (*weak)(void);
	bool allowed;
};

static unsigned n_weak;

static void begin(void *arg)
{
	const struct litmus *l = arg;

	x = y = 0;
	is_given = false;
	memset(r, 0, sizeof r);
	for (unsigned i = 0; i < 4 && l->run[i] != NULL; i++)
		sched_thread(i, l->run[i], NULL);
}
static void end(void *arg)
{
	const struct litmus *l = arg;

	if (!l->weak())
		return;
	n_weak++;
	if (!l->allowed)
		sched_fail("C11 forbids %u %u %u %u", r[0], r[1], r[2], r[3]);
}
static void switched(unsigned thread)
{
	(void)thread;
}

static void play(const struct litmus *l)
{
	const struct sched_play p = { .begin = begin, .end = end, .is_shared = is_shared,
				      .switch_out = switched, .switch_in = switched,
				      .arg = (void *)(uintptr_t)l };
	struct sched_stats stats = { 0 };

	for (enum sched_memory m = SCHED_AT_ONCE; m < SCHED_MEMORIES; m++) {
		if (l->allowed && m != SCHED_VIEWS)
			continue; /* it need not be seen there */
		n_weak = 0;
		for (unsigned switches = 0; switches <= SCHED_SWITCHES; switches++)
			PLAIN_CHECKF(sched_search(&p, m, switches, RUNS, &stats) != SCHED_FAILED, "%s",
				     sched_failure());
		PLAIN_CHECKF(sched_random(&p, m, 1, RUNS, &stats) != SCHED_FAILED, "%s", sched_failure());
	}
	PLAIN_CHECKF(n_weak != 0 || !l->allowed, "what C11 allows was not seen in %llu runs",
		     (unsigned long long)stats.runs);
}

#define LITMUS(name, weak_, allowed_, ...)                                                            \
	PLAIN_TEST_TIMEOUT(name, 300)                                                                 \
	{                                                                                             \
		const struct litmus l = { .run = { __VA_ARGS__ }, .weak = weak_, .allowed = allowed_ }; \
		play(&l);                                                                             \
	}
/* A thread of a litmus test. */
#define THREAD(name, ...)               \
	static void name(void *arg)     \
	{                               \
		(void)arg;              \
		__VA_ARGS__;            \
	}

/* ---- message passing ---- */

static bool flag_without_data(void)
{
	return r[0] != 0 && r[1] == 0;
}
THREAD(mp_release, set(&x, 1, relaxed); set(&y, 1, release))
THREAD(mp_relaxed, set(&x, 1, relaxed); set(&y, 1, relaxed))
THREAD(mp_fenced, set(&x, 1, relaxed); fence(release); set(&y, 1, relaxed))
THREAD(mp_swap, set(&x, 1, relaxed); (void)__atomic_exchange_n(&y, 1, release))
THREAD(mp_acquire, r[0] = get(&y, acquire); r[1] = get(&x, relaxed))
THREAD(mp_look, r[0] = get(&y, relaxed); r[1] = get(&x, relaxed))
THREAD(mp_look_fenced, r[0] = get(&y, relaxed); fence(acquire); r[1] = get(&x, relaxed))
THREAD(mp_branch, r[0] = get(&y, relaxed); if (r[0] != 0) r[1] = get(&x, relaxed))

LITMUS(what_came_before_a_release_is_seen_behind_an_acquire, flag_without_data, false, mp_release, mp_acquire)
LITMUS(or_behind_a_load_and_an_acquire_fence, flag_without_data, false, mp_release, mp_look_fenced)
LITMUS(or_from_before_a_release_fence_and_a_store, flag_without_data, false, mp_fenced, mp_acquire)
LITMUS(or_with_a_fence_at_either_end, flag_without_data, false, mp_fenced, mp_look_fenced)
LITMUS(or_with_a_swap_that_releases, flag_without_data, false, mp_swap, mp_acquire)
LITMUS(without_acquire_it_may_not_be_seen, flag_without_data, true, mp_release, mp_look)
LITMUS(a_branch_is_no_acquire, flag_without_data, true, mp_release, mp_branch)
LITMUS(without_release_it_may_not_be_seen, flag_without_data, true, mp_relaxed, mp_acquire)

/* ---- one word ---- */

static bool new_then_old(void)
{
	return r[0] > r[1];
}
static bool new_and_old(void)
{
	return r[0] != 0 && r[2] != 0 && r[1] == 0;
}
THREAD(co_write, set(&x, 1, relaxed); set(&x, 2, relaxed))
THREAD(co_read, r[0] = get(&x, relaxed); r[1] = get(&x, relaxed))
THREAD(co_read_and_tell, r[0] = get(&x, relaxed); set(&y, 1, release))
THREAD(co_told, r[2] = get(&y, acquire); r[1] = get(&x, relaxed))

LITMUS(nobody_sees_a_word_go_back, new_then_old, false, co_write, co_read)
LITMUS(nor_does_who_was_told_by_one_that_saw_it, new_and_old, false, co_write, co_read_and_tell, co_told)

/* ---- store buffering ---- */

static bool both_missed(void)
{
	return r[0] == 0 && r[1] == 0;
}
THREAD(sb_0, set(&x, 1, release); r[0] = get(&y, acquire))
THREAD(sb_1, set(&y, 1, release); r[1] = get(&x, acquire))
THREAD(sb_0_fenced, set(&x, 1, relaxed); fence(seq_cst); r[0] = get(&y, relaxed))
THREAD(sb_1_fenced, set(&y, 1, relaxed); fence(seq_cst); r[1] = get(&x, relaxed))
THREAD(sb_0_seq_cst, set(&x, 1, seq_cst); r[0] = get(&y, seq_cst))
THREAD(sb_1_seq_cst, set(&y, 1, seq_cst); r[1] = get(&x, seq_cst))
THREAD(sb_1_store_fenced, set(&y, 1, seq_cst); fence(seq_cst); r[1] = get(&x, relaxed))
THREAD(sb_0_swap, (void)__atomic_exchange_n(&x, 1, seq_cst); r[0] = get(&y, seq_cst))
THREAD(sb_1_barrier, set(&y, 1, relaxed); sched_point(); sched_drain_all(); r[1] = get(&x, relaxed))
THREAD(sb_0_plain, set(&x, 1, relaxed); r[0] = get(&y, relaxed))

LITMUS(two_may_miss_each_other, both_missed, true, sb_0, sb_1)
LITMUS(not_behind_seq_cst_fences, both_missed, false, sb_0_fenced, sb_1_fenced)
LITMUS(a_fence_at_one_end_alone_does_not_help, both_missed, true, sb_0_plain, sb_1_fenced)
LITMUS(not_with_seq_cst_accesses, both_missed, false, sb_0_seq_cst, sb_1_seq_cst)
LITMUS(not_with_a_seq_cst_swap, both_missed, false, sb_0_swap, sb_1_seq_cst)
LITMUS(not_with_seq_cst_accesses_and_a_fence, both_missed, false, sb_0_seq_cst, sb_1_store_fenced)
LITMUS(not_with_membarrier_at_one_end, both_missed, false, sb_0_plain, sb_1_barrier)

/* ---- more than two ---- */

static bool readers_disagree(void)
{
	return r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0;
}
THREAD(iriw_x, set(&x, 1, release))
THREAD(iriw_y, set(&y, 1, release))
THREAD(iriw_xy, r[0] = get(&x, acquire); r[1] = get(&y, acquire))
THREAD(iriw_yx, r[2] = get(&y, acquire); r[3] = get(&x, acquire))
THREAD(iriw_x_seq_cst, set(&x, 1, seq_cst))
THREAD(iriw_y_seq_cst, set(&y, 1, seq_cst))
THREAD(iriw_xy_seq_cst, r[0] = get(&x, seq_cst); r[1] = get(&y, seq_cst))
THREAD(iriw_yx_seq_cst, r[2] = get(&y, seq_cst); r[3] = get(&x, seq_cst))
THREAD(iriw_xy_fenced, r[0] = get(&x, relaxed); fence(seq_cst); r[1] = get(&y, relaxed))
THREAD(iriw_yx_fenced, r[2] = get(&y, relaxed); fence(seq_cst); r[3] = get(&x, relaxed))

LITMUS(two_may_see_stores_of_two_in_different_orders, readers_disagree, true, iriw_x, iriw_y, iriw_xy, iriw_yx)
LITMUS(not_if_all_is_seq_cst, readers_disagree, false, iriw_x_seq_cst, iriw_y_seq_cst, iriw_xy_seq_cst,
       iriw_yx_seq_cst)
LITMUS(not_with_seq_cst_fences_between, readers_disagree, false, iriw_x, iriw_y, iriw_xy_fenced, iriw_yx_fenced)

static bool second_without_data(void)
{
	return r[0] == 2 && r[1] == 0;
}
THREAD(rs_add, sched_point(); if (get(&y, relaxed) == 1) (void)__atomic_fetch_add(&y, 1, relaxed))
THREAD(rs_store, sched_point(); if (get(&y, relaxed) == 1) set(&y, 2, relaxed))

LITMUS(a_release_is_handed_on_by_who_reads_and_writes, second_without_data, false, mp_release, rs_add, mp_acquire)
LITMUS(and_not_by_who_only_writes, second_without_data, true, mp_release, rs_store, mp_acquire)

/* ---- read and write ---- */

static bool one_is_lost(void)
{
	return r[0] == r[1];
}
static bool swap_saw_old(void)
{
	return r[0] == 2 && r[1] == 0;
}
THREAD(rmw_0, r[0] = __atomic_fetch_add(&x, 1, relaxed))
THREAD(rmw_1, r[1] = __atomic_fetch_add(&x, 1, relaxed))
THREAD(cas_write, set(&x, 1, relaxed); set(&x, 2, relaxed); set(&y, 2, relaxed))
THREAD(cas_fails, r[0] = get(&y, relaxed); r[1] = 7;
       (void)__atomic_compare_exchange_n(&x, &r[1], 9, false, acquire, relaxed))

LITMUS(who_reads_and_writes_reads_the_newest, one_is_lost, false, rmw_0, rmw_1)
LITMUS(a_swap_that_fails_may_see_an_old_value, swap_saw_old, true, cas_write, cas_fails)

/* ---- progress, and other means ---- */

static bool never(void)
{
	return false;
}
static bool mutex_without_data(void)
{
	return r[0] == 1 && r[1] == 0;
}
THREAD(poll_write, set(&x, 1, relaxed))
THREAD(poll_read, while (get(&x, relaxed) == 0) sched_yield_now())
THREAD(mutex_give, set(&x, 1, relaxed); sched_give(&a_mutex); is_given = true)
THREAD(mutex_take, sched_point(); if (is_given) { sched_take(&a_mutex); r[0] = 1; r[1] = get(&x, relaxed); })

LITMUS(who_polls_sees_it_in_the_end, never, false, poll_write, poll_read)
LITMUS(a_mutex_hands_on_what_is_known, mutex_without_data, false, mutex_give, mutex_take)

PLAIN_MAIN()
