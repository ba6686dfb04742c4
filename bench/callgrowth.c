/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What grows with clients, and with objects, for one who calls? Caller and server spin on a CPU
 * each, with 1 to 64 (--big: 1,024) clients attached, of which all but one are idle; and with 1 to
 * 10^6 live objects, of which one is called, or 1,000 in turn, or any at random. Beside that (column
 * "memory") stands what the same choice costs among as many bare lines of 64 B on each side: lines.h.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "counter.h"
#include "lines.h"

#define CLIENTS_MOST 1024u

static const char *const use_name[] = { "one called", "1000 called", "any at random" };

static struct stage {
	uint32_t ready; /* idle clients */
	struct meeting meeting;
	struct line line;
	struct choice choice;
	uint64_t trips;
} *stage;

static tarn_client *client;
static tarn_builder one;

/* ---- idle clients ---- */

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
	__atomic_store_n(&stage->ready, 0, __ATOMIC_RELEASE);
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

/* ---- objects ---- */

static struct held {
	tarn_object *object;
	int64_t sum;
} *held;
static uint64_t n_held;

/* As many as @n: more are made, none are dropped. */
static void hold(uint64_t n)
{
	if (n <= n_held)
		return;
	held = realloc(held, n * sizeof *held);
	if (held == NULL)
		die("no memory for %llu proxies", (unsigned long long)n);
	for (; n_held < n; n_held++)
		held[n_held] = (struct held){ .object = counter_new(client) };
}

static void drop_all(void)
{
	while (n_held > 0)
		tarn_object_unref(held[--n_held].object);
	free(held);
	held = NULL;
}

/* The memory's own part: as time_calls(), of bare lines. Each side has its own. */

static unsigned char *own_lines(uint64_t n)
{
	unsigned char *p = aligned_alloc(LINES_BYTES, n * LINES_BYTES);

	if (p == NULL)
		die("no memory for %llu lines", (unsigned long long)n);
	return p;
}

static void answer_lines(void *arg)
{
	(void)arg;
	lines_answer(&stage->line, &stage->meeting, stage->choice, own_lines(stage->choice.n), stage->trips,
		     false);
}

static double time_lines(struct choice choice)
{
	unsigned char *mine = own_lines(choice.n);

	stage->choice = choice;
	stage->trips = often(20000);
	pid_t pid = start_process(answer_lines, NULL, bench.cpu[1]);
	struct digest d = lines_ask(&stage->line, &stage->meeting, choice, mine, stage->trips);

	await_processes(&pid, 1);
	free(mine);
	return d.p50;
}

static struct digest time_calls(struct choice choice)
{
	uint64_t n = often(100000), warm = choice_warm(&choice, n);
	struct samples s = { 0 };

	samples_grow(&s, n);
	for (uint64_t i = 0; i < warm + n; i++) {
		uint64_t k = choose(&choice, i), from = ticks();

		counter_call(held[k].object, &one, ++held[k].sum);
		if (i >= warm)
			samples_add(&s, ticks() - from);
	}
	struct digest d = digest_of(&s);

	samples_free(&s);
	return d;
}

/* ---- rows ---- */

static void measure_clients(unsigned round, unsigned n)
{
	char row[64];

	snprintf(row, sizeof row, "%u clients", n);
	do {
		run_begin(round, false);
		run_axis("clients", n, "call");
		pin(bench.cpu[0]);
		struct digest d = time_calls(choice_of(1, USE_ONE));
		unpin();
		record_digest(row, &d, VERSUS_LINE);
	} while (run_again());
}

static void measure_objects(unsigned round, uint64_t n, enum use use)
{
	char row[64], what[64];

	snprintf(row, sizeof row, "%s live, %s", text_count(n), use_name[use]);
	snprintf(what, sizeof what, "call, %s", use_name[use]);
	do {
		run_begin(round, false);
		run_axis("objects", (double)n, what);
		pin(bench.cpu[0]);
		struct digest d = time_calls(choice_of(n, use));
		record(row, "memory", "ns", time_lines(choice_of(n, use)), NULL);
		unpin();
		record_digest(row, &d, n > 1 ? "memory" : VERSUS_LINE);
	} while (run_again());
}

static void measure_all_clients(unsigned round)
{
	static pid_t idle[CLIENTS_MOST];
	unsigned most = bench.big ? CLIENTS_MOST : 64, running = 0;

	for (unsigned n = 1; n <= most; n *= 4) {
		start_idle(idle + running, n - 1 - running);
		running = n - 1;
		measure_clients(round, n);
	}
	stop_idle(idle, running);
}

static void measure_all_objects(unsigned round)
{
	static const uint64_t counts[] = { 1, 1000, 10000, 100000, 1000000 };

	for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
		if (bench.quick && counts[i] > 10000)
			continue;
		hold(counts[i]);
		measure_objects(round, counts[i], USE_ONE);
		if (counts[i] > 1)
			measure_objects(round, counts[i], USE_ANY);
		if (counts[i] > USE_FEW_N)
			measure_objects(round, counts[i], USE_FEW);
	}
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "callgrowth",
		.question = "What do more clients, and more objects, cost one who calls? 1 to 64 clients are\n"
			    "attached, all but one idle; 1 to 10^6 objects are live.",
		.rounds = 5,
		.big = "also 256 and 1,024 clients",
	};

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	setenv("TARN_SPIN_US", "1000", 0); /* the server and we have a CPU each */
	tarn_builder_init(&one);
	tarn_put_int(&one, 1);
	for (unsigned r = 0; r < bench.rounds; r++) {
		arena_start_pinned(UINT64_C(2) << 30, bench.cpu[1]);
		client = attach();
		hold(1);
		measure_all_clients(r);
		measure_all_objects(r);
		drop_all();
		tarn_client_close(client);
		arena_stop();
	}
	tarn_builder_fini(&one);
	report();
	return 0;
}
