/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word that somebody else changes before each instruction of this thread, up to a limit: no exchange of it ever
 * succeeds (x86-64: the processor's trap flag).
 */
#ifndef TARN_TESTS_CONTRARY_H
#define TARN_TESTS_CONTRARY_H

#ifdef __x86_64__
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#define CONTRARY_MOST 100000u /* instructions */

static void (*contrary_change)(void);
static volatile unsigned contrary_left; /* 0: it has ended, or was not begun */

static inline void contrary_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

	(void)signal;
	(void)info;
	if (contrary_left == 0 || --contrary_left == 0) {
		*flags &= ~(greg_t)0x100;
		return;
	}
	*flags |= 0x100;
	contrary_change();
}

static inline void contrary_begin(void (*change)(void))
{
	struct sigaction sa = { .sa_sigaction = contrary_trap, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGTRAP, &sa, NULL) != 0)
		abort();
	contrary_change = change;
	contrary_left = CONTRARY_MOST;
	raise(SIGTRAP);
}

/* True: this came before the limit. */
static inline bool contrary_end(void)
{
	bool before = contrary_left != 0;

	contrary_left = 0; /* the next trap is the last */
	return before;
}
#endif

#endif
