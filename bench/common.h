/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all benchmarks share: options, the clock, CPUs, processes.
 *
 * A benchmark answers one question. It measures in rounds; in each round every case runs
 * once, one after the other (A B C, A B C), so that what disturbs the machine for a
 * while disturbs all of them. Around each run the raw round trip of a cache line is
 * measured (line.h): two CPUs of a guest are near today and far tomorrow, and only
 * figures taken under the same line may be compared. report.h keeps every value and
 * prints medians with their spread, and ratios taken within a round.
 */
#ifndef TARN_BENCH_COMMON_H
#define TARN_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define BENCH_SKIPPED 77 /* exit code: cannot be measured here */
#define LINE 64u

struct bench {
	const char *name;     /* of the program, without "bench-" */
	unsigned rounds;
	int cpu[2];           /* equal when there is only one */
	uint64_t size;        /* --size: only this one; 0: the program's own list */
	bool json, quick, big, histogram;
	char **names;         /* arguments that are no options; only if the program takes any */
	double ns_per_tick;
};
extern struct bench bench;

/* What a program says about itself in --help. */
struct about {
	const char *name;
	const char *question;  /* a few lines */
	unsigned rounds;       /* default */
	const char *big;       /* what --big adds; NULL: the option does not exist */
	bool sizes;            /* --size applies */
	const char *names;     /* what the arguments are; NULL: there are none */
};

/* Reads the options, calibrates the clock. Ends the program on --help (0) and on what it
 * does not understand (2). */
void bench_start(int argc, char **argv, const struct about *about);

/* One line on stderr, exit 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line on stdout, exit 77. */
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True if @size is among those to measure. */
bool wanted(uint64_t size);
/* @n, or a fiftieth of it (at least 1) with --quick. */
uint64_t often(uint64_t n);
/* "64 B", "4 KiB", "100 k" into one of a few static buffers. */
const char *text_size(uint64_t bytes);
const char *text_count(uint64_t n);

/* ---- the clock ---- */

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}
static inline double ticks_to_ns(uint64_t n)
{
	return (double)n * bench.ns_per_tick;
}
static inline uint64_t ns_to_ticks(double ns)
{
	return (uint64_t)(ns / bench.ns_per_tick);
}
void sleep_ms(unsigned ms);

/* The compiler must not know what happens to @p. */
static inline void escape(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static inline void spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

/* ---- CPUs and processes ---- */

void pin(int cpu);
void unpin(void); /* back to all CPUs that the program was started with */
bool two_cpus(void);

/* Zeroed, touched memory shared with processes forked later. */
void *shared_memory(size_t bytes);

/* Runs @fn(@arg) in a child process that dies with this one and exits with 0 when @fn
 * returns. Pinned to @cpu; -1: not pinned. */
pid_t start_process(void (*fn)(void *), void *arg, int cpu);
/* Waits for all of them; if one fails the others are killed and the program ends. */
void await_processes(const pid_t *pid, unsigned n);

/* CPU time of another process so far; 0 if it is gone. */
double process_cpu_ns(pid_t pid);
/* The CPUs' time spent by others since the start, in % of all of it: neither this process nor
 * those it waited for, nor @known_ns. */
double others_percent(double known_ns);

/* A point that @n processes pass together; spins, then yields. */
struct meeting {
	uint32_t here, turn;
};
void meet(struct meeting *m, uint32_t n);

#endif
