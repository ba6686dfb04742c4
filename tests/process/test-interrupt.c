/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal handlers that drop a block, at each instruction of a call in turn: the processor traps
 * after every one (its trap flag), and the k'th trap's handler does it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "lib/client/lane.h"
#include "tests/common/scene.h"

#if defined(__x86_64__)

#define TRAP_FLAG 0x100

static volatile uint64_t traps_left; /* until the handler drops the victim; 0: it has */
static tarn_block *victim;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	if (traps_left == 0 || --traps_left != 0)
		return;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	tarn_block_unref(victim);
}

/* Not into the red zone of the caller. */
static inline void step(void)
{
	__asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
			 "leaq 128(%%rsp), %%rsp" ::: "memory", "cc");
}
static inline void step_no_more(void)
{
	__asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"
			 "leaq 128(%%rsp), %%rsp" ::: "memory", "cc");
}

static void trap_begin(void)
{
	struct sigaction a = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	PLAIN_EQ(sigaction(SIGTRAP, &a, NULL), 0);
}

/* The drop makes the cache too large, which then gives back what the call was about to take. */
PLAIN_TEST_TIMEOUT(a_handler_may_drop_a_block_at_any_instruction_of_an_allocation, 120)
{
	const tarn_client_options options = { .cache_bytes = 8192 };
	struct scene s = scene_open(NULL);
	unsigned k = 0;
	tarn_client *c;
	tarn_block *b;

	OK(tarn_client_open(s.name, &options, &c));
	trap_begin();
	do {
		int r;

		OK(tarn_block_new(c, 4096, 0, &victim));
		OK(tarn_block_new(c, 8192, 0, &b));
		tarn_block_unref(b);
		traps_left = ++k;
		step();
		r = tarn_block_new(c, 8192, 0, &b);
		step_no_more();
		OK(r);
		memset(tarn_block_data(b), 1, 8192);
		tarn_block_unref(b);
	} while (traps_left == 0);
	tarn_block_unref(victim);
	scene_note("%u instructions", k);
	PLAIN_CHECK(k > 10);
	tarn_client_close(c);
	scene_close(&s);
}

static void *end_with_a_drop(void *user)
{
	tarn_client *c = user;
	struct tarn__lane *l;

	OK(tarn_block_new(c, 100, 0, &victim));
	l = tarn__lane_mine(c);
	pthread_setspecific(c->key, NULL); /* as before a destructor */
	step();
	tarn__lane_park(l);
	step_no_more();
	if (traps_left != 0)
		tarn_block_unref(victim);
	return NULL;
}

PLAIN_TEST_TIMEOUT(a_handler_may_drop_a_block_at_any_instruction_of_the_end_of_a_thread, 240)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	unsigned k = 0;

	trap_begin();
	do {
		pthread_t t;

		traps_left = ++k;
		PLAIN_EQ(pthread_create(&t, NULL, end_with_a_drop, c), 0);
		pthread_join(t, NULL);
	} while (traps_left == 0);
	scene_note("%u instructions", k);
	PLAIN_CHECK(k > 10);
	tarn_client_close(c);
	scene_close(&s);
}

#else

PLAIN_TEST(stepping_needs_a_trap_flag)
{
	PLAIN_SKIP("not on this machine");
}

#endif

PLAIN_MAIN()
