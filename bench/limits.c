/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can the machine do at all? Round trips of a line, a bare ring of marked lines, sleeping
 * and waking by futex, copies, and the single instructions that paths are made of.
 * Nothing of Tarn runs here: the other programs' figures are read against these.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ball.h"
#include "line.h"

#define RING 1024u
#define COPY_MOST (64u << 20)

static struct stage {
	struct meeting meeting;
	struct line line;
	struct line_slot ring[RING] __attribute__((aligned(128)));
	uint64_t head __attribute__((aligned(128)));
	uint32_t ball __attribute__((aligned(128)));
	uint64_t trips, ticks;
	bool rest; /* between trips, so that the other is asleep for long */
	struct digest digest;
	uint32_t lock_word __attribute__((aligned(128)));
} *stage;

/* Runs both sides in processes of their own, on CPU @a and @b. */
static void run_pair(void (*one)(void *), void (*other)(void *), int a, int b, uint64_t trips)
{
	bool rest = stage->rest;

	memset(stage, 0, sizeof *stage);
	stage->rest = rest;
	stage->trips = trips;
	const pid_t pid[] = { start_process(one, stage, a), start_process(other, stage, b) };

	await_processes(pid, 2);
}

/* ---- the line, each trip timed ---- */

static void line_first(void *arg)
{
	struct stage *s = arg;
	struct samples trips = { 0 };

	samples_grow(&trips, s->trips);
	meet(&s->meeting, 2);
	line_ping(&s->line, s->trips, &trips);
	s->digest = digest_of(&trips);
}

static void line_second(void *arg)
{
	struct stage *s = arg;

	meet(&s->meeting, 2);
	line_pong(&s->line, s->trips);
}

/* ---- a ring of marked lines, one way ---- */

static void ring_producer(void *arg)
{
	struct stage *s = arg;
	uint64_t head = 0;

	meet(&s->meeting, 2);
	uint64_t from = ticks();
	for (uint64_t i = 0; i < s->trips; i++) {
		while (i - head >= RING)
			head = __atomic_load_n(&s->head, __ATOMIC_ACQUIRE);
		line_put(&s->ring[i % RING], i + 1);
	}
	while (__atomic_load_n(&s->head, __ATOMIC_ACQUIRE) != s->trips)
		;
	s->ticks = ticks() - from;
}

static void ring_consumer(void *arg)
{
	struct stage *s = arg;

	meet(&s->meeting, 2);
	for (uint64_t i = 0; i < s->trips; i++) {
		if (!line_get(&s->ring[i % RING], i + 1))
			die("a slot of the ring has other contents");
		if ((i + 1) % (RING / 8) == 0)
			__atomic_store_n(&s->head, i + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&s->head, s->trips, __ATOMIC_RELEASE);
}

/* ---- futex there and back ---- */

static void futex_first(void *arg)
{
	struct stage *s = arg;
	struct samples trips = { 0 };

	samples_grow(&trips, s->trips);
	meet(&s->meeting, 2);
	for (uint32_t i = 0; i < s->trips; i++) {
		if (s->rest)
			take_a_rest();
		uint64_t from = ticks();

		throw_ball(&s->ball, 2 * i + 1);
		await_ball(&s->ball, 2 * i + 2);
		samples_add(&trips, ticks() - from);
	}
	s->digest = digest_of(&trips);
}

static void futex_second(void *arg)
{
	struct stage *s = arg;

	meet(&s->meeting, 2);
	for (uint32_t i = 0; i < s->trips; i++) {
		await_ball(&s->ball, 2 * i + 1);
		throw_ball(&s->ball, 2 * i + 2);
	}
}

/* ---- rows ---- */

static void measure_line(unsigned round)
{
	run_begin(round, false);
	run_pair(line_first, line_second, bench.cpu[0], bench.cpu[1], often(200000));
	record_digest("line round trip, each timed", &stage->digest, VERSUS_LINE);
	if (run_again())
		measure_line(round);
}

static void measure_ring(unsigned round)
{
	uint64_t n = often(10000000);

	run_begin(round, false);
	run_pair(ring_producer, ring_consumer, bench.cpu[0], bench.cpu[1], n);
	record("ring of 64 B slots, one way", "each", "ns", ticks_to_ns(stage->ticks) / (double)n,
	       VERSUS_LINE);
	record("ring of 64 B slots, one way", "rate", "M/s",
	       (double)n / ticks_to_ns(stage->ticks) * 1e3, NULL);
	if (run_again())
		measure_ring(round);
}

static void measure_futex(unsigned round, int other, const char *row, bool rest)
{
	run_begin(round, false);
	stage->rest = rest;
	run_pair(futex_first, futex_second, bench.cpu[0], other, often(rest ? 1000 : 20000));
	stage->rest = false;
	record_digest(row, &stage->digest, VERSUS_LINE);
	if (run_again())
		measure_futex(round, other, row, rest);
}

static void measure_copies(unsigned round)
{
	static const size_t sizes[] = { 64, 4096, 65536, 1u << 20, COPY_MOST };
	static char *from, *to;

	if (from == NULL) {
		from = shared_memory(COPY_MOST);
		to = shared_memory(COPY_MOST);
	}
	run_begin(round, true);
	pin(bench.cpu[0]);
	for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		size_t size = sizes[k];
		uint64_t n = often((512u << 20) / size < 4000000 ? (512u << 20) / size : 4000000);
		char row[40];

		if (!wanted(size))
			continue;
		memcpy(to, from, size);
		uint64_t t = ticks();
		for (uint64_t i = 0; i < n; i++) {
			memcpy(to, from, size);
			escape(to);
		}
		double ns = ticks_to_ns(ticks() - t) / (double)n;

		snprintf(row, sizeof row, "memcpy %s", text_size(size));
		record(row, "each", "ns", ns, NULL);
		record(row, "speed", "GB/s", (double)size / ns, NULL);
	}
	unpin();
	if (run_again())
		measure_copies(round);
}

#define MEASURE(row, n, statement)                                                         \
	do {                                                                               \
		uint64_t often_ = often(n), from_ = ticks();                               \
		for (uint64_t i_ = 0; i_ < often_; i_++) {                                 \
			statement;                                                         \
		}                                                                          \
		record(row, "each", "ns", ticks_to_ns(ticks() - from_) / (double)often_, NULL); \
	} while (0)

static void measure_instructions(unsigned round)
{
	struct timespec t;

	run_begin(round, true);
	pin(bench.cpu[0]);
	MEASURE("lock-prefixed add", 5000000,
		__atomic_fetch_add(&stage->lock_word, 1, __ATOMIC_RELAXED));
	MEASURE("full fence", 5000000, __atomic_thread_fence(__ATOMIC_SEQ_CST));
	MEASURE("pause", 2000000, spin_pause());
	MEASURE("clock read here (rdtsc)", 5000000, escape((void *)(uintptr_t)ticks()));
	MEASURE("clock_gettime", 2000000, clock_gettime(CLOCK_MONOTONIC, &t));
	MEASURE("system call (getppid)", 1000000, syscall(SYS_getppid));
	MEASURE("futex wake, nobody waits", 500000,
		syscall(SYS_futex, &stage->ball, FUTEX_WAKE, 1, NULL, NULL, 0));
	unpin();
	if (run_again())
		measure_instructions(round);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "limits",
		.question = "What can the machine do at all, without Tarn?",
		.rounds = 7,
		.sizes = true,
	};

	bench_start(argc, argv, &about);
	stage = shared_memory(sizeof *stage);
	for (unsigned r = 0; r < bench.rounds; r++) {
		if (two_cpus()) {
			measure_line(r);
			measure_ring(r);
			measure_futex(r, bench.cpu[1], "futex round trip, two CPUs", false);
			measure_futex(r, bench.cpu[1], "futex round trip after a rest, two CPUs", true);
		}
		measure_futex(r, bench.cpu[0], "futex round trip, one CPU", false);
		measure_futex(r, bench.cpu[0], "futex round trip after a rest, one CPU", true);
		measure_copies(r);
		measure_instructions(r);
	}
	report();
	return 0;
}
