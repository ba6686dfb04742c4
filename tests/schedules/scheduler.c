/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "rmwshim.h"
#include "views.h"
#undef __atomic_load_n
#undef __atomic_store_n

#define STACK_BYTES (256u << 10)
#define BUFFER 32u
#define TSO_BUFFER 12u /* of it: what waits longer is seen in the order of the program anyway */
#define LOWERINGS 3u
#define IDLE_MOST 8u
#define TICK_NS 15000u /* each look at the clock takes so long */

struct store {
	void *p;
	unsigned bytes;
	uint64_t v;
	/* PSO */
	bool release, held;
	unsigned group; /* a release fence begins a new one, which waits for those before it */
};

struct thread {
	ucontext_t context;
	unsigned char *stack;
	void (*run)(void *arg);
	void *arg;
	unsigned process, priority;
	bool over, yielded, background;
	unsigned idle; /* yields while nobody else could go on */
	const void *blocked; /* on this address */
	uint64_t deadline;
	bool timed_out;
	struct store buffer[BUFFER];
	unsigned n_buffer, group;
};

/* A deviation: at this step this thread goes on instead of the one whose turn it is. */
struct deviation {
	uint32_t step, thread;
};

static struct {
	const struct sched_play *play;
	struct thread t[SCHED_THREADS];
	unsigned n;
	int current; /* -1: none, the caller's stack */
	ucontext_t caller;
	uint64_t clock;
	uint32_t step;
	enum sched_memory memory;
	uint32_t n_stores; /* that were buffered in this run */
	bool missed; /* a compare-and-swap that saw an old value: it is not done */
	bool failed;
	char why[700];
	/* search */
	struct deviation dev[SCHED_SWITCHES];
	unsigned n_dev, next_dev;
	unsigned char enabled[SCHED_STEPS], chosen[SCHED_STEPS];
	/* random */
	bool random;
	uint64_t seed, state;
	uint64_t salt; /* which stores are held */
	uint32_t lower_at[LOWERINGS];
} sched;

static char failure[1400];
static jmp_buf outside;

static uint64_t next_random(void)
{
	sched.state ^= sched.state << 13;
	sched.state ^= sched.state >> 7;
	sched.state ^= sched.state << 17;
	return sched.state;
}

static uint64_t mixed(uint64_t h)
{
	h *= 0x9e3779b97f4a7c15ull;
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull;
	return h ^ h >> 32;
}

/* ---- memories ---- */

enum sched_memory sched_memory_now(void)
{
	return sched.memory;
}

const char *sched_memory_name(enum sched_memory memory)
{
	return memory == SCHED_VIEWS ? "loads of old values (views)"
	       : memory == SCHED_PSO ? "stores out of order (PSO)"
	       : memory == SCHED_TSO ? "with store buffers (TSO)"
				     : "stores seen at once";
}

bool sched_memory_is_wanted(enum sched_memory memory)
{
	static const char *const name[SCHED_MEMORIES] = { "at-once", "tso", "pso", "views" };
	const char *only = getenv("TARN_SCHED_MEMORY");

	return only == NULL || *only == '\0' || strstr(only, name[memory]) != NULL;
}

/* True: the running thread reads and writes by way of views.c. */
static bool by_views(void)
{
	return sched.memory == SCHED_VIEWS && sched.current >= 0;
}

static void leave(struct thread *t, unsigned i)
{
	views_put_in_place(t->buffer[i].p, t->buffer[i].bytes, t->buffer[i].v);
	t->n_buffer--;
	memmove(t->buffer + i, t->buffer + i + 1, (t->n_buffer - i) * sizeof t->buffer[0]);
}

/* The oldest @n, in order. */
static void drain_some(struct thread *t, unsigned n)
{
	for (; n > 0 && t->n_buffer > 0; n--)
		leave(t, 0);
}

static bool overlaps(const struct store *s, const void *p, unsigned bytes)
{
	return (const char *)s->p < (const char *)p + bytes &&
	       (const char *)p < (const char *)s->p + s->bytes;
}

/* True: number @i may be seen before all that are older than it. */
static bool may_overtake(const struct thread *t, unsigned i)
{
	const struct store *s = &t->buffer[i];

	if (i == 0)
		return true;
	if (sched.memory != SCHED_PSO || s->release)
		return false;
	for (unsigned k = 0; k < i; k++)
		if (t->buffer[k].group != s->group || overlaps(&t->buffer[k], s->p, s->bytes))
			return false;
	return true;
}

/* PSO: up to @most that are not held leave, the first at or behind @from first. */
static void leak(struct thread *t, unsigned from, unsigned most)
{
	for (unsigned k = 0; k < t->n_buffer && most > 0; k++) {
		unsigned i = (from + k) % t->n_buffer;

		if (t->buffer[i].held || !may_overtake(t, i))
			continue;
		leave(t, i);
		most--;
		k = UINT_MAX; /* others may follow now: from the start */
	}
}

/* What was said to be held is told by a hash, so that a run is given by its decisions still. */
static bool is_held(void)
{
	static const unsigned every[] = { 4, 16, 64 };

	return mixed(sched.salt + ++sched.n_stores) % every[sched.salt % 3] == 0;
}

void sched_drain(void)
{
	if (sched.current >= 0)
		drain_some(&sched.t[sched.current], BUFFER);
}

void sched_drain_all(void)
{
	for (unsigned i = 0; i < sched.n; i++)
		drain_some(&sched.t[i], BUFFER);
	/* Those that have ended, too: they left their processor by way of the kernel. */
	if (by_views())
		views_membarrier((unsigned)sched.current);
}

static bool is_release(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

void sched_release(void)
{
	if (sched.memory == SCHED_PSO)
		sched_drain();
}

void sched_fence(int order)
{
	if (by_views())
		views_fence((unsigned)sched.current, order);
	else if (order == __ATOMIC_SEQ_CST)
		sched_drain();
	else if (is_release(order) && sched.current >= 0)
		sched.t[sched.current].group++;
}

void sched_rmw(const void *p, unsigned bytes, int order)
{
	if (by_views()) {
		views_rmw_begin(p, bytes);
		return;
	}
	if (sched.memory != SCHED_PSO || is_release(order)) {
		sched_drain();
		return;
	}
	struct thread *t = sched.current >= 0 ? &sched.t[sched.current] : NULL;

	/* It is done in memory, at once: after what this thread stored to the same word. */
	for (unsigned i = 0; t != NULL && i < t->n_buffer; i++)
		if (overlaps(&t->buffer[i], p, bytes)) {
			if (may_overtake(t, i))
				leave(t, i);
			else
				drain_some(t, i + 1);
			i = UINT_MAX;
		}
}

void sched_rmw_end(int order, bool stored)
{
	if (by_views() && !sched.missed)
		views_rmw_end((unsigned)sched.current, order, stored);
	sched.missed = false;
}

bool sched_swap_misses(const void *p, unsigned bytes, void *seen, int order)
{
	uint64_t was = views_in_place(seen, bytes), v;

	if (!by_views() || !sched.play->is_shared(p))
		return false;
	v = views_load((unsigned)sched.current, p, bytes, order, true);
	sched.missed = v != was;
	if (sched.missed)
		views_put_in_place(seen, bytes, v);
	return sched.missed;
}

static uint64_t load(const void *p, unsigned bytes, int order)
{
	struct thread *t = sched.current >= 0 ? &sched.t[sched.current] : NULL;

	if (by_views())
		return views_load((unsigned)sched.current, p, bytes, order, sched.play->is_shared(p));
	for (unsigned i = t != NULL ? t->n_buffer : 0; i-- > 0;) {
		const struct store *s = &t->buffer[i];

		if (s->p == p && s->bytes == bytes)
			return s->v;
		if (overlaps(s, p, bytes)) {
			drain_some(t, BUFFER); /* in part */
			break;
		}
	}
	return views_in_place(p, bytes);
}

uint64_t sched_load(const void *p, unsigned bytes)
{
	return load(p, bytes, __ATOMIC_ACQUIRE);
}
uint64_t sched_load_relaxed(const void *p, unsigned bytes)
{
	return load(p, bytes, __ATOMIC_RELAXED);
}

uint64_t sched_newest(const void *p, unsigned bytes)
{
	return by_views() ? views_load((unsigned)sched.current, p, bytes, __ATOMIC_RELAXED, false)
			  : load(p, bytes, __ATOMIC_RELAXED);
}

void sched_copy(void *to, const void *from, size_t bytes)
{
	if (by_views())
		views_copy((unsigned)sched.current, to, from, bytes);
	else
		memcpy(to, from, bytes);
}

static void store(void *p, unsigned bytes, uint64_t v, int order)
{
	struct store s = { .p = p, .bytes = bytes, .v = v, .release = is_release(order) };
	struct thread *t = sched.current >= 0 ? &sched.t[sched.current] : NULL;

	if (by_views()) {
		views_store((unsigned)sched.current, p, bytes, v, order, sched.play->is_shared(p));
		return;
	}
	if (t == NULL || sched.memory == SCHED_AT_ONCE || !sched.play->is_shared(p)) {
		if (s.release)
			sched_release();
		views_put_in_place(p, bytes, v);
		return;
	}
	s.group = t->group;
	s.held = sched.memory == SCHED_PSO && is_held();
	if (t->n_buffer == (sched.memory == SCHED_PSO ? BUFFER : TSO_BUFFER))
		drain_some(t, 1);
	t->buffer[t->n_buffer++] = s;
	if (order == __ATOMIC_SEQ_CST)
		sched_drain();
}

void sched_store(void *p, unsigned bytes, uint64_t v, bool release)
{
	store(p, bytes, v, release ? __ATOMIC_RELEASE : __ATOMIC_RELAXED);
}

uint64_t sched_atomic_load(const volatile void *p, unsigned bytes, int order)
{
	return load((const void *)p, bytes, order);
}
void sched_atomic_store(volatile void *p, unsigned bytes, uint64_t v, int order)
{
	store((void *)p, bytes, v, order);
}

void sched_give(const void *at)
{
	sched_release();
	if (by_views())
		views_give((unsigned)sched.current, at);
}
void sched_take(const void *at)
{
	if (by_views())
		views_take((unsigned)sched.current, at);
}
void sched_meet(unsigned process)
{
	for (unsigned i = 0; by_views() && i < sched.n; i++)
		if (sched.t[i].process == process && (int)i != sched.current)
			views_meet((unsigned)sched.current, i);
}

/* ---- who goes on ---- */

bool sched_is_running(void)
{
	return sched.current >= 0;
}

int sched_process(void)
{
	return sched.current >= 0 ? (int)sched.t[sched.current].process : -1;
}

uint64_t sched_clock(void)
{
	return sched.clock += TICK_NS;
}

void sched_fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (!sched.failed)
		vsnprintf(sched.why, sizeof sched.why, format, ap);
	va_end(ap);
	sched.failed = true;
	if (sched.current < 0) {
		/* In begin() or end(). */
		longjmp(outside, 1);
	}
	int was = sched.current;

	sched.play->switch_out((unsigned)was);
	sched.current = -1;
	swapcontext(&sched.t[was].context, &sched.caller);
	abort(); /* never resumed */
}

static unsigned enabled_now(void)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < sched.n; i++)
		if (!sched.t[i].over && sched.t[i].blocked == NULL && !sched.t[i].yielded)
			mask |= 1u << i;
	return mask;
}

/* Time passes for those who wait with a deadline. False: nobody does. */
static bool pass_time(void)
{
	struct thread *first = NULL;

	views_reveal();
	for (unsigned i = 0; i < sched.n; i++) {
		struct thread *t = &sched.t[i];

		if (!t->over && t->blocked != NULL && t->deadline != UINT64_MAX &&
		    (first == NULL || t->deadline < first->deadline))
			first = t;
	}
	if (first == NULL)
		return false;
	if (first->deadline > sched.clock)
		sched.clock = first->deadline;
	first->blocked = NULL;
	first->timed_out = true;
	return true;
}

static unsigned enabled(void)
{
	for (;;) {
		unsigned mask = enabled_now();

		if (mask != 0)
			return mask;
		bool any = false;

		for (unsigned i = 0; i < sched.n; i++) {
			any = any || (sched.t[i].yielded && !sched.t[i].over);
			sched.t[i].yielded = false;
		}
		if (!any && !pass_time())
			return 0;
	}
}

static unsigned choose_random(unsigned mask)
{
	unsigned best = SCHED_THREADS;

	for (unsigned k = 0; k < LOWERINGS; k++)
		if (sched.lower_at[k] == sched.step && sched.current >= 0)
			sched.t[sched.current].priority = k;
	for (unsigned i = 0; i < sched.n; i++)
		if ((mask & 1u << i) &&
		    (best == SCHED_THREADS || sched.t[i].priority > sched.t[best].priority))
			best = i;
	for (unsigned i = 0; i < sched.n; i++) {
		struct thread *t = &sched.t[i];

		if (t->n_buffer == 0 || next_random() % 4 != 0)
			continue;
		unsigned n = 1 + (unsigned)(next_random() % 2);

		if (sched.memory == SCHED_PSO)
			leak(t, (unsigned)(next_random() % t->n_buffer), n);
		else
			drain_some(t, n);
	}
	return best;
}

static unsigned choose(unsigned mask)
{
	unsigned from = sched.current >= 0 ? (unsigned)sched.current : 0;

	if (sched.next_dev < sched.n_dev && sched.dev[sched.next_dev].step == sched.step) {
		unsigned to = sched.dev[sched.next_dev++].thread;

		if (mask & 1u << to)
			return to;
	}
	for (unsigned k = 0; k < sched.n; k++)
		if (mask & 1u << (from + k) % sched.n)
			return (from + k) % sched.n;
	abort();
}

/* From the running thread, or the caller, to whoever goes on. */
static void go_on(void)
{
	int was = sched.current;
	unsigned mask = enabled(), to;

	if (mask == 0) {
		char who[200] = "";
		size_t at = 0;

		for (unsigned i = 0; i < sched.n; i++)
			if (!sched.t[i].over && at < sizeof who - 40)
				at += (size_t)snprintf(who + at, sizeof who - at, " %u (process %u)",
						       i, sched.t[i].process);
		if (at == 0) { /* all are over */
			sched.current = -1;
			if (was >= 0) {
				sched.play->switch_out((unsigned)was);
				swapcontext(&sched.t[was].context, &sched.caller);
			}
			return;
		}
		sched_fail("everybody waits, for ever: threads%s", who);
	}
	if (sched.step >= SCHED_STEPS)
		sched_fail("the run does not end within %u steps", SCHED_STEPS);
	to = sched.random ? choose_random(mask) : choose(mask);
	sched.enabled[sched.step] = (unsigned char)mask;
	sched.chosen[sched.step] = (unsigned char)to;
	sched.step++;
	if ((int)to == was)
		return;
	if (was >= 0)
		sched.play->switch_out((unsigned)was);
	sched.current = (int)to;
	sched.play->switch_in(to);
	swapcontext(was >= 0 ? &sched.t[was].context : &sched.caller, &sched.t[to].context);
}

void sched_point(void)
{
	if (sched.current < 0)
		return;
	for (unsigned i = 0; i < sched.n; i++)
		if ((int)i != sched.current)
			sched.t[i].yielded = false; /* something may have changed */
	if (sched.memory == SCHED_PSO && !sched.random)
		leak(&sched.t[sched.current], 0, BUFFER);
	if (sched.play->check != NULL)
		sched.play->check(sched.play->arg);
	go_on();
}

void sched_yield_now(void)
{
	struct thread *t = &sched.t[sched.current];

	if (sched.current < 0)
		return;
	sched_drain();
	t->yielded = true;
	/* One that is never done: when all others wait, their time passes. */
	for (unsigned i = 0; i < sched.n; i++)
		if (!sched.t[i].background && !sched.t[i].over && sched.t[i].blocked == NULL)
			t->idle = 0;
	if (t->background && ++t->idle == IDLE_MOST / 2)
		views_reveal();
	if (t->idle > IDLE_MOST) {
		t->idle = 0;
		pass_time();
	}
	go_on();
}

bool sched_block(const void *address, uint64_t deadline)
{
	struct thread *t = &sched.t[sched.current];

	sched_drain();
	t->blocked = address;
	t->deadline = deadline;
	t->timed_out = false;
	views_note((unsigned)sched.current, 'S', address);
	go_on();
	views_note((unsigned)sched.current, t->timed_out ? 'O' : 'K', address);
	return !t->timed_out;
}

unsigned sched_wake(const void *address, unsigned n)
{
	unsigned woken = 0;

	if (sched.current >= 0)
		views_note((unsigned)sched.current, 'C', address);
	for (unsigned i = 0; i < sched.n && woken < n; i++)
		if (!sched.t[i].over && sched.t[i].blocked == address) {
			sched.t[i].blocked = NULL;
			woken++;
		}
	return woken;
}

void sched_kill(unsigned process)
{
	for (unsigned i = 0; i < sched.n; i++)
		if (sched.t[i].process == process && (int)i != sched.current) {
			/* What it has stored is stored. */
			drain_some(&sched.t[i], BUFFER);
			sched.t[i].over = true;
		}
	sched_meet(process); /* who knows of its death knows what it knew */
}

bool sched_is_over(unsigned process)
{
	for (unsigned i = 0; i < sched.n; i++)
		if (sched.t[i].process == process && !sched.t[i].over)
			return false;
	return true;
}

/* ---- one run ---- */

static void thread_main(void)
{
	struct thread *t = &sched.t[sched.current];

	t->run(t->arg);
	sched_drain();
	t->over = true;
	/* Whoever waits for its end. */
	for (unsigned i = 0; i < sched.n; i++)
		sched.t[i].yielded = false;
	go_on();
	abort();
}

void sched_background(void)
{
	sched.t[sched.n - 1].background = true;
}

void sched_thread(unsigned process, void (*run)(void *arg), void *arg)
{
	struct thread *t = &sched.t[sched.n++];
	unsigned char *stack = t->stack;

	if (sched.n > SCHED_THREADS)
		abort();
	if (stack == NULL)
		stack = malloc(STACK_BYTES);
	*t = (struct thread){ .stack = stack, .run = run, .arg = arg, .process = process };
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = stack;
	t->context.uc_stack.ss_size = STACK_BYTES;
	t->context.uc_link = NULL;
	makecontext(&t->context, thread_main, 0);
	if (by_views())
		views_inherit(sched.n - 1, (unsigned)sched.current);
}

static void describe(void)
{
	size_t at = (size_t)snprintf(failure, sizeof failure, "%s\n#   ", sched.why);

	if (sched.random)
		at += (size_t)snprintf(failure + at, sizeof failure - at, "random run, seed %llu; ",
				       (unsigned long long)sched.seed);
	at += (size_t)snprintf(failure + at, sizeof failure - at, "%s; %u steps, switches:",
			       sched_memory_name(sched.memory), sched.step);
	for (uint32_t i = 1; i < sched.step && at < sizeof failure - 24; i++)
		if (sched.chosen[i] != sched.chosen[i - 1])
			at += (size_t)snprintf(failure + at, sizeof failure - at, " %u->%u@%u",
					       sched.chosen[i - 1], sched.chosen[i], i);
	const char *trace = getenv("TARN_SCHED_TRACE");

	if (sched.memory == SCHED_VIEWS && trace != NULL)
		views_print((uint32_t)strtoul(trace, NULL, 10));
}

/* False: it failed. */
static bool run_once(const struct sched_play *p, struct sched_stats *stats)
{
	sched.play = p;
	sched.n = 0;
	sched.current = -1;
	sched.clock = 1000000000;
	sched.step = 0;
	sched.next_dev = 0;
	sched.n_stores = 0;
	sched.failed = false;
	sched.missed = false;
	views_begin(sched.salt);
	if (setjmp(outside) != 0) {
		describe();
		return false;
	}
	p->begin(p->arg);
	if (sched.random)
		for (unsigned i = 0; i < sched.n; i++)
			sched.t[i].priority = LOWERINGS + (unsigned)(next_random() % 1000);
	go_on();
	stats->runs++;
	stats->steps += sched.step;
	if (sched.step > stats->longest)
		stats->longest = sched.step;
	if (sched.failed) {
		describe();
		return false;
	}
	p->end(p->arg);
	return true;
}

const char *sched_failure(void)
{
	return failure;
}

/* ---- the search ---- */

struct search {
	const struct sched_play *play;
	struct sched_stats *stats;
	unsigned switches;
	uint64_t until; /* as many runs */
	bool cut;
};

/* All runs that begin with the deviations there are, and have up to @left more. */
static bool explore(struct search *s, unsigned left)
{
	uint32_t steps, from = sched.n_dev > 0 ? sched.dev[sched.n_dev - 1].step + 1 : 0;
	unsigned char *enabled_then, *chosen_then;
	bool fine = true;

	/* Under PSO other stores are held in each run; which ones is told by its deviations. */
	sched.salt = 0;
	for (unsigned i = 0; i < sched.n_dev; i++)
		sched.salt = mixed(sched.salt + sched.dev[i].step * SCHED_THREADS + sched.dev[i].thread + 1);
	if (!run_once(s->play, s->stats))
		return false;
	if (left == 0 || sched.step <= from)
		return true;
	steps = sched.step;
	enabled_then = malloc(2 * (size_t)steps);
	if (enabled_then == NULL)
		abort();
	chosen_then = enabled_then + steps;
	memcpy(enabled_then, sched.enabled, steps);
	memcpy(chosen_then, sched.chosen, steps);
	for (uint32_t i = from; fine && i < steps; i++)
		for (unsigned t = 0; fine && t < SCHED_THREADS; t++) {
			if (t == chosen_then[i] || !(enabled_then[i] & 1u << t))
				continue;
			if (s->stats->runs >= s->until) {
				s->cut = true;
				free(enabled_then);
				return true;
			}
			sched.dev[sched.n_dev++] = (struct deviation){ i, t };
			fine = explore(s, left - 1);
			sched.n_dev--;
		}
	free(enabled_then);
	return fine;
}

enum sched_verdict sched_search(const struct sched_play *p, enum sched_memory memory, unsigned switches,
				uint64_t budget_runs, struct sched_stats *stats)
{
	struct search s = { .play = p, .stats = stats, .until = stats->runs + budget_runs };

	sched.random = false;
	sched.memory = memory;
	sched.n_dev = 0;
	if (!explore(&s, switches))
		return SCHED_FAILED;
	return s.cut ? SCHED_SOME : SCHED_ALL;
}

enum sched_verdict sched_random(const struct sched_play *p, enum sched_memory memory, uint64_t seed,
				uint64_t budget_runs, struct sched_stats *stats)
{
	const uint64_t longest = 300;

	sched.random = true;
	sched.memory = memory;
	for (uint64_t i = 0; i < budget_runs; i++) {
		struct sched_stats one = { 0 };

		sched.seed = seed + i;
		sched.state = (seed + i) * 0x9e3779b97f4a7c15ull | 1;
		sched.salt = mixed(seed + i);
		for (unsigned k = 0; k < 4; k++)
			next_random();
		for (unsigned k = 0; k < LOWERINGS; k++)
			sched.lower_at[k] = (uint32_t)(next_random() % longest);
		bool fine = run_once(p, &one);

		stats->runs += one.runs;
		stats->steps += one.steps;
		/* As long as runs are: where priorities may change. Does not depend on this run, or
		 * its seed alone would not give it again. */
		if (one.longest > stats->longest)
			stats->longest = one.longest;
		if (!fine)
			return SCHED_FAILED;
	}
	return SCHED_SOME;
}
