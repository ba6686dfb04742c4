/* SPDX-License-Identifier: Apache-2.0 */
#include "crash.h"

#include <string.h>
#include <unistd.h>

#include "lib/host.h"

static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };
#define N_SIGNALS (sizeof signals / sizeof signals[0])

static struct keeper_page *page;
static __thread bool is_reactor;
/* For the reactor: an overflown stack is a cause, too. Executors have their own (pool.c). */
static unsigned char stack[16384];

bool tarn__crash_signal(int signal)
{
	for (unsigned i = 0; i < N_SIGNALS; i++)
		if (signals[i] == signal)
			return true;
	return false;
}

/* Async-signal-safe: plain stores. The action is the default's again (SA_RESETHAND), so the signal
 * ends the process when this returns: the instruction faults again, or we raise it. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
	(void)context;
	page->words.call = tarn__call_running;
	page->words.reactor = is_reactor;
	page->words.signal = signal;
	if (info->si_code <= 0 || signal == SIGABRT || signal == SIGTRAP || signal == SIGSYS)
		raise(signal); /* it was sent: nothing would fault again */
}

void tarn__crash_watch(struct keeper_page *of)
{
	const struct sigaction ours = { .sa_sigaction = on_crash,
					.sa_flags = SA_SIGINFO | (int)SA_RESETHAND | SA_ONSTACK };

	page = of;
	for (unsigned i = 0; i < N_SIGNALS; i++) {
		struct sigaction now;

		if (sigaction(signals[i], NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
		    now.sa_handler == SIG_DFL)
			sigaction(signals[i], &ours, NULL);
	}
}

void tarn__crash_reactor(void)
{
	const stack_t own = { .ss_sp = stack, .ss_size = sizeof stack };
	stack_t now;

	is_reactor = true;
	if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE))
		sigaltstack(&own, NULL);
}
