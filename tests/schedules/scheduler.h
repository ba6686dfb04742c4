/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T6: threads of several processes and the server as coroutines of one thread, under a
 * scheduler that decides at every ordered access to a shared word who goes on. A run is given by
 * its decisions alone and can be had again.
 *
 * Two ways to choose schedules:
 *	bounded search	one thread runs until it waits, then the next; of this order all
 *			deviations of up to 1, 2, 3 switches are tried, one after the other
 *	random		each thread has a random priority, which is lowered at a few random
 *			places (PCT: finds a bug of depth d with a probability that can be told)
 *
 * Four memories:
 *	at once	stores are seen when they are made
 *	TSO	as x86 does: stores wait in a buffer of their thread and leave it in order; a seq_cst
 *		fence, a read-modify-write, a system call or membarrier empties it. In the search it
 *		stays full as long as it can, in random runs it leaks at random.
 *	PSO	stores may leave the buffer in any order, with these exceptions: of the same word
 *		(or parts of it) in order; a release store, or a read-modify-write with release, after
 *		all that came before it; a release fence between all before and all behind it. What
 *		empties TSO's buffer empties this one, but a read-modify-write that is no release
 *		waits for stores to its own word alone. One store in 4, 16 or 64
 *		stays as long as it can; which ones is told by a hash of the run's deviations or seed,
 *		so the search tries one choice for each schedule. The others leave at their
 *		thread's next step (search) or at random.
 *
 *	views	a load may return an old value, as far as C11 allows (views.h): what acquires, fences and
 *		their absence do to loads. Stores are seen at once by who may see them.
 *
 * PSO is what arm64 does to stores, views is what C11 allows of loads; the two are not combined. Not played by
 * either: a load that is done behind a store that follows it, and stores of several threads to the same words that
 * end in an order in which none of them was made (2+2W).
 *
 * Words of LANE, CTRL, DIR and DATA that are touched through shm/base.h are buffered, private ones
 * are not: they are stored at once. Under PSO a release store to a private word, the unlocking
 * of a mutex and the end of a process empty the thread's buffer first, so what is handed on through
 * them comes before them; under TSO they do not, which is weaker than x86. With views they hand on what
 * is known, and are read as they are.
 */
#ifndef TARN_TESTS_SCHEDULER_H
#define TARN_TESTS_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHED_THREADS 6u
#define SCHED_STEPS 6000u    /* a run that is longer does not end */
#define SCHED_SWITCHES 3u

/* ---- in the run ---- */

/* Adds a thread before the run. @process is a number of the caller's: who dies with whom. */
void sched_thread(unsigned process, void (*run)(void *arg), void *arg);
/* The one just added is never done: time passes when all others wait. */
void sched_background(void);
/* The process of the running thread; -1 outside of a run. */
int sched_process(void);
bool sched_is_running(void);
/* Threads of @process stop where they are, for ever. Not one's own. */
void sched_kill(unsigned process);
bool sched_is_over(unsigned process);

/* The run has failed, with a sentence. */
_Noreturn void sched_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A place where another may go on. */
void sched_point(void);
/* Nothing to do but to wait for others. */
void sched_yield_now(void);
/* Waits until sched_wake() of the same address, or the virtual clock reaches @deadline (UINT64_MAX:
 * never): false. */
bool sched_block(const void *address, uint64_t deadline);
unsigned sched_wake(const void *address, unsigned n);
uint64_t sched_clock(void);

enum sched_memory { SCHED_AT_ONCE, SCHED_TSO, SCHED_PSO, SCHED_VIEWS, SCHED_MEMORIES };

/* Memory as the running thread sees it. @order: one of __ATOMIC_... */
uint64_t sched_load(const void *p, unsigned bytes); /* acquire */
uint64_t sched_load_relaxed(const void *p, unsigned bytes);
uint64_t sched_newest(const void *p, unsigned bytes); /* as the kernel compares a futex; relaxed */
void sched_copy(void *to, const void *from, size_t bytes); /* as it copies shared words; relaxed */
void sched_store(void *p, unsigned bytes, uint64_t v, bool release);
void sched_rmw(const void *p, unsigned bytes, int order); /* before it is done, in place */
void sched_fence(int order);
void sched_release(void);   /* before a release by other means: a mutex, a private word */
void sched_drain(void);     /* of the running thread: a system call */
void sched_drain_all(void); /* membarrier */
/* What else hands on what was stored and seen before: a mutex at @at that is unlocked and locked; a socket or a
 * death between the running thread and those of @process, both ways. */
void sched_give(const void *at);
void sched_take(const void *at);
void sched_meet(unsigned process);

/* ---- around it ---- */

struct sched_stats {
	uint64_t runs, steps, longest;
};

struct sched_play {
	void (*begin)(void *arg);  /* makes the world and adds the threads */
	void (*check)(void *arg);  /* between two steps */
	void (*end)(void *arg);    /* after the last thread ended; destroys the world */
	bool (*is_shared)(const void *p);
	void (*switch_out)(unsigned thread), (*switch_in)(unsigned thread);
	void *arg;
};

/* Searches with up to @switches deviations, at most @runs; true: all tried, none failed. */
enum sched_verdict { SCHED_ALL, SCHED_SOME, SCHED_FAILED };
enum sched_verdict sched_search(const struct sched_play *p, enum sched_memory memory, unsigned switches,
				uint64_t budget_runs, struct sched_stats *stats);
enum sched_verdict sched_random(const struct sched_play *p, enum sched_memory memory, uint64_t seed,
				uint64_t budget_runs, struct sched_stats *stats);
enum sched_memory sched_memory_now(void); /* that is being played */
const char *sched_memory_name(enum sched_memory memory);
/* TARN_SCHED_MEMORY names those that are played: "at-once", "tso", "pso", "views"; several with commas. */
bool sched_memory_is_wanted(enum sched_memory memory);
/* How the last run failed, and its schedule. */
const char *sched_failure(void);

#endif
