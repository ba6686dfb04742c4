/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T4: a client is killed before every instruction of one operation that stores to shared memory
 * or enters the kernel, and before a sample of the others; or, if asked, before every
 * instruction of the library. Each time a fresh process. Then the reclaim is awaited, a
 * survivor finishes its own work with what it holds undamaged, the server's full check finds
 * nothing, and its books say what they said before.
 *
 * What decides which: plan.h.
 *
 * x86-64, and only where ptrace is allowed; else skipped.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operations.h"
#include "plan.h"
#include "step.h"
#include "survivor.h"
#include "tests/common/arena.h"

#if defined(__x86_64__)

/* ---- the child ---- */

static void child(const struct scene *s, const struct operation *o, const tarn_token *kept)
{
	struct world w = { .scene = s, .kept = *kept };

	if (!o->alone) {
		w.c = scene_client(s);
		OK(tarn_channel_open(w.c, "down", SECOND, &w.in));
		OK(tarn_channel_bind(w.in, TARN_CONSUMER));
		OK(tarn_channel_open(w.c, "up", SECOND, &w.out));
		OK(tarn_channel_bind(w.out, TARN_PRODUCER));
		OK(tarn_block_new(w.c, BLOCK_BYTES, 0, &w.own));
		OK(tarn_block_new(w.c, BLOCK_BYTES, 0, &w.shared));
		operations_fill(w.own, WHOLE);
		operations_fill(w.shared, WHOLE);
		OK(tarn_block_seal(w.shared));
		OK(tarn_block_export(w.shared, NULL, &w.token));
	}
	if (o->prepare != NULL)
		o->prepare(&w);
	if (!step_begin_here())
		_exit(99);
	o->run(&w);
	step_end_here();
	_exit(0);
}

/* ---- one kill ---- */

static void start(struct survivor *v, const struct operation *o, tarn_token *ret_kept, pid_t *ret_pid)
{
	survivor_prepare(v, o, ret_kept);
	pid_t pid = plain_fork();

	if (pid == 0)
		child(&v->s, o, ret_kept);
	if (!step_await(pid))
		PLAIN_SKIP("no ptrace here");
	*ret_pid = pid;
}

static void end(struct survivor *v, const struct operation *o, const tarn_token *kept, pid_t pid,
		const char *what)
{
	int status = step_kill(pid);

	PLAIN_CHECKF(WIFSIGNALED(status), "%s: status %x", what, status);
	survivor_finish(v, o, kept, pid, what);
	survivor_rest(v, what);
}

/* False: the operation has threads, and nothing can be stepped beside them here. */
static bool write_down(struct survivor *v, const struct operation *o, struct step_trace *ret)
{
	tarn_token kept;
	pid_t pid;

	start(v, o, &kept, &pid);
	bool can = !o->threads || step_threads_can(pid);
	if (can)
		step_write_down(pid, ret, NULL, NULL);
	end(v, o, &kept, pid, o->name);
	return can;
}

struct victim {
	struct survivor *v;
	const struct operation *o;
};

static enum step_end one(void *victim, const struct step_trace *trace, const struct step_point *p, unsigned try,
			 const char *what)
{
	struct survivor *v = ((struct victim *)victim)->v;
	const struct operation *o = ((struct victim *)victim)->o;
	tarn_token kept;
	pid_t pid, forked;

	start(v, o, &kept, &pid);
	enum step_end e = step_run_to(pid, trace, p, o->threads, try, &forked);

	end(v, o, &kept, pid, what);
	if (forked != 0) {
		/* Ours now, as a subreaper's; it may still be at work. */
		PLAIN_EQ(plain_reap(forked), 0);
	}
	return e;
}

/* ---- all of them ---- */

static void operation(struct survivor *v, const struct operation *o, struct steps steps, uint64_t random,
		      struct tally *sum)
{
	struct victim x = { v, o };
	struct step_trace trace;

	if (!write_down(v, o, &trace)) {
		scene_note("%-28s not done: the processor's breakpoints cannot be used here", o->name);
		return;
	}
	struct plan plan = plan_begin(o->name, &trace, steps, random);
	plan_run(&plan, one, &x, sum);
	step_trace_free(&trace);
}

/* Takes one operation after the other of those that are left. */
static void job(uint64_t *next, uint64_t seed, struct tally *sum)
{
	struct survivor v = survivor_open();
	size_t i;

	/* The survivor's waits spin; the child's would be thousands of equal instructions. */
	setenv("TARN_SPIN_US", "0", 1);
	/* Relaxed: a ticket. */
	while ((i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < n_operations) {
		const struct steps steps = plan_steps(operations[i].name);

		/* The sanitizer's allocator is not made for forks: in the child of a process with threads a lock of its own
		 * may be held for ever. */
		if (ARENA_ASAN && operations[i].threads)
			scene_note("%-28s not done: with the address sanitizer", operations[i].name);
		else if (steps.first <= steps.last)
			operation(&v, &operations[i], steps, seed + i, sum);
	}
	survivor_close(&v);
}

#define TIME 20000 /* the long mode's */

PLAIN_TEST_TIMEOUT(t4_a_client_killed_at_any_store_or_system_call_leaves_nothing, TIME)
{
	plan_jobs(job);
}

/* ---- the harness itself: no store escapes it ---- */

#define PAGE 4096u

static unsigned char *page;

/* Stores of every width, and libc's. */
static void store_in_every_way(void)
{
	static unsigned char from[PAGE];
	uint64_t *w = (uint64_t *)(void *)page;

	for (unsigned i = 0; i < sizeof from; i++)
		from[i] = (unsigned char)(i * 7 + 1);
	page[1] = 3;
	*(uint16_t *)(void *)(page + 2) = 4;
	*(uint32_t *)(void *)(page + 4) = 5;
	w[1] = 6;
	__atomic_store_n(&w[2], 7, __ATOMIC_RELEASE);
	__atomic_store_n(&w[2], 8, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&w[2], 9, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&w[2], 0x1000, __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&w[2], ~8ull, __ATOMIC_RELAXED);
	uint64_t old = 0;
	__atomic_compare_exchange_n(&w[3], &old, 77, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	__asm__ volatile("btsq $3, %0\n\tincq %0\n\tnegq %0\n\tshlq $1, %0\n\tsete 8+%0\n\t"
			 "movnti %1, 16+%0"
			 : "+m"(w[8]) : "r"((uint64_t)99) : "memory", "cc");
	__asm__ volatile("movq %1, %%xmm0\n\tmovups %%xmm0, 8+%0\n\tmovlps %%xmm0, 24+%0\n\t"
			 "movhps %%xmm0, 32+%0\n\tmovd %%xmm0, 40+%0\n\tmovntdq %%xmm0, 48+%0\n\t"
			 "movdqa %%xmm0, 64+%0\n\tmovss %%xmm0, 80+%0\n\tmovsd %%xmm0, 88+%0\n\t"
			 "fld1\n\tfstpl 96+%0\n\txaddq %2, 104+%0\n\txchgq %2, 112+%0"
			 : "+m"(w[16]) : "r"((uint64_t)0x1234567812345678), "r"((uint64_t)5)
			 : "memory", "xmm0");
	for (unsigned n = 1; n < 700; n = n * 3 / 2 + 1) {
		memcpy(page + 1024 + n % 5, from + n, n);
		memset(page + 2048 + n % 7, (int)n, n);
		memmove(page + 3000, page + 1024, n);
	}
	strcpy((char *)page + 600, "a string of some length, for strcpy and its likes");
}

struct watch {
	pid_t pid;
	unsigned char seen[PAGE];
	uint64_t changes;
};

static void watch_page(void *arg, const struct step_insn *insn, uint64_t address)
{
	struct watch *w = arg;

	if (memcmp(w->seen, page, PAGE) == 0)
		return;
	w->changes++;
	PLAIN_CHECKF(insn->store, "the instruction at %s stores, and was not said to",
		     step_name(address));
	memcpy(w->seen, page, PAGE);
}

PLAIN_TEST(the_stepper_recognises_every_store)
{
	struct watch w = { 0 };
	struct step_trace t;

	page = scene_shared(PAGE);
	w.pid = plain_fork();
	if (w.pid == 0) {
		if (!step_begin_here())
			_exit(99);
		store_in_every_way();
		step_end_here();
		_exit(0);
	}
	if (!step_await(w.pid))
		PLAIN_SKIP("no ptrace here");
	step_write_down(w.pid, &t, watch_page, &w);
	plain_kill(w.pid);
	scene_note("%llu changes, all at one of %llu stores; %llu instructions",
		   (unsigned long long)w.changes, (unsigned long long)t.stores,
		   (unsigned long long)t.instructions);
	PLAIN_CHECK(w.changes > 100 && t.stores >= w.changes);
	step_trace_free(&t);
}
#else
PLAIN_TEST(t4_a_client_killed_at_any_store_or_system_call_leaves_nothing)
{
	PLAIN_SKIP("the stepper knows x86-64 only");
}
#endif

PLAIN_MAIN()
