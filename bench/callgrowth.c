/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What grows with clients, and with objects, for one who calls? Caller and server spin on a CPU
 * each, with 1 to 64 (--big: 1,024) clients attached, of which all but one are idle; and with 1 to
 * 10^6 live objects, of which one is called, or 1,000 in turn, or any at random.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "counter.h"
#include "line.h"

#define CLIENTS_MOST 1024u
#define FEW 1000u

enum use { ONE, IN_TURN, AT_RANDOM };
static const char *const use_name[] = { "one called", "1000 called", "any at random" };

static struct stage {
	uint32_t ready; /* idle clients */
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
	tarn_object **object;
	int64_t *sum;
	uint64_t n;
} held;

/* As many as @n: more are made, none are dropped. */
static void hold(uint64_t n)
{
	if (n <= held.n)
		return;
	held.object = realloc(held.object, n * sizeof(tarn_object *));
	held.sum = realloc(held.sum, n * sizeof *held.sum);
	if (held.object == NULL || held.sum == NULL)
		die("no memory for %llu proxies", (unsigned long long)n);
	for (; held.n < n; held.n++) {
		held.object[held.n] = counter_new(client);
		held.sum[held.n] = 0;
	}
}

static void drop_all(void)
{
	while (held.n > 0)
		tarn_object_unref(held.object[--held.n]);
	free(held.object);
	free(held.sum);
	held = (struct held){ 0 };
}

static uint64_t choose(uint64_t i, uint64_t n, enum use use, uint64_t *seed)
{
	if (use == ONE)
		return 0;
	if (use == IN_TURN) /* spread over all of them */
		return i % FEW * (n / FEW > 0 ? n / FEW : 1) % n;
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

static void time_calls(const char *row, uint64_t live, enum use use)
{
	uint64_t n = often(100000), warm = n / 10 + FEW, seed = 88172645463325252u;
	struct samples s = { 0 };

	samples_grow(&s, n);
	for (uint64_t i = 0; i < warm + n; i++) {
		uint64_t k = choose(i, live, use, &seed), from = ticks();

		counter_call(held.object[k], &one, ++held.sum[k]);
		if (i >= warm)
			samples_add(&s, ticks() - from);
	}
	struct digest d = digest_of(&s);
	record_digest(row, &d, VERSUS_LINE);
	samples_free(&s);
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
		time_calls(row, 1, ONE);
		unpin();
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
		time_calls(row, n, use);
		unpin();
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
		measure_objects(round, counts[i], ONE);
		if (counts[i] > 1)
			measure_objects(round, counts[i], AT_RANDOM);
		if (counts[i] > FEW)
			measure_objects(round, counts[i], IN_TURN);
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
