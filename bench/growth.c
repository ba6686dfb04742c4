/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What grows with the number of clients, and of live blocks? Allocating and releasing a block, a
 * bounce of one between two processes, and a question to the server, with 2 to 64 clients
 * attached, of which those that do not measure are idle; and with 1 to 10^6 live blocks
 * in the first of the two, of which one is used, or 1,000 in turn, or any at random. Beside that
 * (column "memory") stands what the same choice costs among as many bare lines of 64 B: lines.h.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "lines.h"

#define CLIENTS_MOST 64u

/* Which of the live blocks bounces. */
static const char *const use_name[] = { "one used", "1000 used", "any at random" };

static struct stage {
	struct meeting meeting;
	struct line line;
	uint32_t ready; /* idle clients */
	struct choice choice; /* among the live blocks */
	uint64_t trips;
	double reference[2];
	struct digest bounce, ping, memory;
	double alloc_ns;
	char there[64], back[64]; /* names of the channels */
} *stage;
static unsigned char *memory; /* of as many lines as there are blocks, shared by the two */

/* ---- the two that measure ---- */

/* Median over blocks, which a preemption does not move. */
static double time_alloc(tarn_client *c)
{
	double block[33];
	unsigned n = (unsigned)often(33);

	for (unsigned k = 0; k < n; k++) {
		uint64_t from = ticks();

		for (unsigned i = 0; i < 10000; i++) {
			tarn_block *b = new_block(c, 64);

			*(volatile char *)tarn_block_data(b) = 1;
			tarn_block_unref(b);
		}
		block[k] = ticks_to_ns(ticks() - from) / 10000;
	}
	return median_of(block, n);
}

static struct digest time_pings(tarn_client *c)
{
	struct samples s = { 0 };

	for (uint64_t i = 0; i < often(2000); i++) {
		uint64_t from = ticks();

		check(tarn_client_ping(c, INT64_C(10000000000)), "ping");
		samples_add(&s, ticks() - from);
	}
	struct digest d = digest_of(&s);
	samples_free(&s);
	return d;
}

static tarn_block **hold_blocks(tarn_client *c, uint64_t n)
{
	tarn_block **held = calloc(n, sizeof(tarn_block *));

	if (held == NULL)
		die("no memory for %llu handles", (unsigned long long)n);
	for (uint64_t i = 0; i < n; i++)
		held[i] = new_block(c, 64);
	return held;
}

static void bounce_first(tarn_client *c, tarn_block **held)
{
	tarn_channel *out = make_channel(c, stage->there, 1024, TARN_PRODUCER);
	tarn_channel *in = make_channel(c, stage->back, 1024, TARN_CONSUMER);
	struct samples trips = { 0 };
	struct choice choice = stage->choice;
	uint64_t warm = choice_warm(&choice, stage->trips);

	samples_grow(&trips, stage->trips);
	meet(&stage->meeting, 2);
	stage->memory = lines_ask(&stage->line, &stage->meeting, choice, memory, stage->trips);
	stage->reference[0] = line_reference(&stage->line, &stage->meeting, true);
	for (uint64_t i = 0; i < warm + stage->trips; i++) {
		uint64_t k = choose(&choice, i), from = ticks();

		*(volatile unsigned char *)tarn_block_data(held[k]) = 1;
		give(out, held[k], i);
		held[k] = receive(in, NULL);
		if (i >= warm)
			samples_add(&trips, ticks() - from);
	}
	stage->reference[1] = line_reference(&stage->line, &stage->meeting, true);
	stage->bounce = digest_of(&trips);
	samples_free(&trips);
	tarn_channel_unref(out);
	tarn_channel_unref(in);
}

static void run_first(void *arg)
{
	tarn_client *c = attach();
	tarn_block **held = hold_blocks(c, stage->choice.n);

	(void)arg;
	stage->alloc_ns = time_alloc(c);
	/* The other one sleeps until there is a channel: the server gets its CPU, and not ours. */
	arena_pin(bench.cpu[1]);
	stage->ping = time_pings(c);
	arena_pin(-1);
	bounce_first(c, held);
	for (uint64_t i = 0; i < stage->choice.n; i++)
		tarn_block_unref(held[i]);
	free(held);
	tarn_client_close(c);
}

static void run_second(void *arg)
{
	tarn_client *c = attach();
	tarn_channel *in = open_channel(c, stage->there, TARN_CONSUMER);
	tarn_channel *out = open_channel(c, stage->back, TARN_PRODUCER);

	(void)arg;
	meet(&stage->meeting, 2);
	lines_answer(&stage->line, &stage->meeting, stage->choice, memory, stage->trips, true);
	line_reference(&stage->line, &stage->meeting, false);
	for (uint64_t i = 0; i < choice_warm(&stage->choice, stage->trips) + stage->trips; i++) {
		uint64_t tag;
		tarn_block *b = receive(in, &tag);

		if (tag != i || *(volatile unsigned char *)tarn_block_data(b) != 1)
			die("another block came than the one that is due");
		give(out, b, tag);
	}
	line_reference(&stage->line, &stage->meeting, false);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(c);
}

/* ---- those that are idle ---- */

static void attach_and_sleep(void *arg)
{
	tarn_client *c = attach();

	(void)arg;
	tarn_block_unref(new_block(c, 64)); /* it has its lane */
	__atomic_add_fetch(&stage->ready, 1, __ATOMIC_ACQ_REL);
	for (;;)
		pause();
}

static void start_idle(pid_t *pid, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pid[i] = start_process(attach_and_sleep, NULL, -1);
		while (__atomic_load_n(&stage->ready, __ATOMIC_ACQUIRE) <= i) {
			int status;

			if (waitpid(pid[i], &status, WNOHANG) == pid[i])
				die("an idle client ended early");
			sleep_ms(1);
		}
	}
}

static void stop_idle(const pid_t *pid, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		kill(pid[i], SIGKILL);
	for (unsigned i = 0; i < n; i++)
		waitpid(pid[i], NULL, 0);
}

/* ---- rows ---- */

static void record_point(const char *row, const char *axis, double x, const char *how)
{
	char what[64];

	run_axis(axis, x, "allocate and release");
	record(row, "allocate", "ns", stage->alloc_ns, NULL);
	run_axis(axis, x, "question to the server");
	record(row, "ping p50", "ns", stage->ping.p50, NULL);
	snprintf(what, sizeof what, "bounce%s%s", how[0] != '\0' ? ", " : "", how);
	run_axis(axis, x, what);
	record(row, VERSUS_LINE, "ns", (stage->reference[0] + stage->reference[1]) / 2, NULL);
	record(row, "memory", "ns", stage->memory.p50, NULL);
	record_digest(row, &stage->bounce, stage->choice.n > 1 ? "memory" : VERSUS_LINE);
}

static void run_pair(uint64_t objects, enum use use)
{
	static unsigned run;

	stage->choice = choice_of(objects, use);
	stage->trips = often(20000);
	memory = shared_memory(objects * LINES_BYTES);
	snprintf(stage->there, sizeof stage->there, "there-%u", run);
	snprintf(stage->back, sizeof stage->back, "back-%u", run++);
	const pid_t pid[] = { start_process(run_first, NULL, bench.cpu[0]),
			      start_process(run_second, NULL, bench.cpu[1]) };
	await_processes(pid, 2);
	munmap(memory, objects * LINES_BYTES);
}

static void measure_clients(unsigned round, unsigned n)
{
	pid_t idle[CLIENTS_MOST];
	char row[64];

	memset(stage, 0, sizeof *stage);
	snprintf(row, sizeof row, "%u clients", n);
	start_idle(idle, n - 2);
	run_begin(round, false);
	run_pair(1, USE_ONE);
	record_point(row, "clients", n, "");
	bool again = run_again();
	stop_idle(idle, n - 2);
	if (again)
		measure_clients(round, n);
}

static void measure_objects(unsigned round, uint64_t n, enum use use)
{
	char row[64];

	memset(stage, 0, sizeof *stage);
	snprintf(row, sizeof row, "%s live, %s", text_count(n), use_name[use]);
	run_begin(round, false);
	run_pair(n, use);
	record_point(row, "objects", (double)n, use_name[use]);
	if (run_again())
		measure_objects(round, n, use);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "growth",
		.question = "What do more clients, and more live blocks, cost those who work? 2 to 64\n"
			    "clients are attached; 1 to 10^6 blocks are live.",
		.rounds = 5,
	};
	static const uint64_t objects[] = { 1, 1000, 10000, 100000, 1000000 };

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	arena_start(UINT64_C(2) << 30);
	for (unsigned r = 0; r < bench.rounds; r++) {
		for (unsigned n = 2; n <= CLIENTS_MOST; n *= 2)
			measure_clients(r, n);
		for (unsigned i = 0; i < sizeof objects / sizeof *objects; i++) {
			if (bench.quick && objects[i] > 10000)
				continue;
			measure_objects(r, objects[i], USE_ONE);
			if (objects[i] > 1)
				measure_objects(r, objects[i], USE_ANY);
			if (objects[i] > USE_FEW_N)
				measure_objects(r, objects[i], USE_FEW);
		}
	}
	arena_stop();
	report();
	return 0;
}
