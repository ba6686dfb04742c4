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

#ifdef __cplusplus
extern "C" { /* peers/ has C++ */
#endif

/* How a benchmark ends: 0, it measured; 1, it failed; 2, wrong usage, or it cannot be measured here;
 * with --may-skip 77 for the latter. */
#define BENCH_FAILED 1
#define BENCH_REFUSED 2
#define BENCH_SKIPPED 77
#define LINE 64u
#define BENCH_SCHEMA "tarn.bench/1" /* of --json, see docs/bench.md */

/* CPU time so far: of all CPUs, busy or not; busy; used by us. */
struct moment {
	double all_ns, busy_ns, own_ns;
};

struct bench {
	const char *name;     /* of the program, without "bench-" */
	const char *called;   /* how it is called: "bench-alloc", "tarn bench" */
	unsigned rounds;
	unsigned repeats;     /* at most so many more tries of a run that was disturbed */
	int cpu[2];           /* equal when there is only one */
	uint64_t size;        /* --size: only this one; 0: the program's own list */
	const char *only;     /* --only: rows with this in their name; NULL: all */
	bool json, quick, big, histogram;
	bool busy;            /* measure although other programs use the CPUs */
	bool may_skip;
	char **names;         /* arguments that are no options; only if the program takes any */
	double ns_per_tick;
	struct moment began;
	unsigned failed;      /* bench-run: programs that did */
};
extern struct bench bench;

struct option; /* <getopt.h> */

/* What a program says about itself in --help. */
struct about {
	const char *name;
	const char *question;  /* a few lines */
	unsigned rounds;       /* default */
	const char *big;       /* what --big adds; NULL: the option does not exist */
	bool sizes;            /* --size applies */
	bool only;             /* --only applies */
	const char *names;     /* what the arguments are; NULL: there are none */
	/* Options of this program alone, with values from BENCH_OPTION on; may be NULL. */
	const struct option *options;
	void (*option)(int value, const char *argument);
	const char *options_help;
	bool insists_itself;   /* the program calls insist_on_free_cpus() when it knows what to do */
};
#define BENCH_OPTION 1000


/* Reads the options, calibrates the clock. Ends the program on --help (0) and on what it
 * does not understand (2). */
void bench_start(int argc, char **argv, const struct about *about);

/* What is measured on a CPU that others use is not what the CPU can do: ends the program with 2
 * if one is not free, unless --busy or --quick was given. */
void insist_on_free_cpus(void);

/* One line on stderr, exit 1. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The same, exit 2: what was asked for is wrong. */
void refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* It cannot be measured here: exit 2, or with --may-skip one line on stdout and exit 77. */
void skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/*
 * SIGINT, SIGTERM and SIGHUP end a benchmark as exit() does, so that what atexit() takes away goes: servers,
 * daemons, folders. The handler only notes it and passes it on to those who are waited for; here the
 * program ends, with 128 and the signal's number. Called wherever one waits, and before each run.
 */
void stop_if_asked(void);
/* Who gets such a signal, too; 0: nobody. */
void stop_forward(pid_t pid);

/* True if @size is among those to measure. */
bool wanted(uint64_t size);
bool wanted_row(const char *row);
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
/* Long enough for the one who waits for us to fall asleep, whatever it tries before. */
#define REST_NS 300000
void take_a_rest(void);
/* How often this process has slept so far: given up its CPU for want of something to do. */
double sleeps_so_far(void);

/* The compiler must not know what happens to @p. */
static inline void escape(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Reads all of @bytes, a multiple of 8: the same way for Tarn and for its peers. */
static inline void read_words(const void *p, size_t bytes)
{
	const uint64_t *w = (const uint64_t *)p; /* C++ reads this, too */
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes / sizeof *w; i++)
		sum += w[i];
	escape((void *)(uintptr_t)sum);
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
bool pin_process(pid_t pid, int cpu); /* its first thread; @cpu < 0: all again. False: errno */
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

/* ---- other programs ---- */

/* A process that belongs to the benchmark though nobody has waited for it yet (a server). It must be
 * forgotten before it is waited for. */
void ours_add(pid_t pid);
void ours_forget(pid_t pid);

/* What others use: a moment, and what they used since. "Others" is neither this process nor those
 * it waited for, nor what ours_add() named. The system tells idle time in steps of
 * 10 ms a CPU: use of less than a few steps is not seen. */
struct others {
	double ns, percent; /* of the time of all CPUs */
};
struct moment moment_now(void);
struct others others_since(const struct moment *m);
/* How busy a CPU is over the next @ms, in %, while this process sleeps. */
double cpu_busy_percent(int cpu, unsigned ms);

/* A point that @n processes pass together; spins, then yields. */
struct meeting {
	uint32_t here, turn;
};
void meet(struct meeting *m, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
