/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a question to the server cost among many lanes? One thread asks again and again;
 * the others have a lane each and do nothing. Each case divided by the one of a single lane is
 * how it grows.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "report.h"

#define QUESTIONS 100000u
#define THREADS 1000u /* lanes of one client */

static struct stage {
	uint32_t ready;
} *stage;

static tarn_client *mine;

static void *hold_a_lane(void *arg)
{
	tarn_block_unref(new_block(mine, 64));
	__atomic_add_fetch(&stage->ready, 1, __ATOMIC_ACQ_REL);
	for (;;)
		pause();
	return arg;
}

/* A client with as many idle threads as @arg says. */
static void be_idle(void *arg)
{
	uint32_t n = *(uint32_t *)arg;
	pthread_attr_t small;

	mine = attach();
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (uint32_t i = 1; i < n; i++) {
		pthread_t t;

		if (pthread_create(&t, &small, hold_a_lane, NULL) != 0)
			die("thread %u cannot be started", i);
	}
	hold_a_lane(NULL);
}

static void ask(tarn_client *c, uint64_t n, struct samples *ret)
{
	uint64_t last = ticks();

	for (uint64_t i = 0; i < n; i++) {
		check(tarn_client_ping(c, TARN_FOREVER), "ping");
		uint64_t now = ticks();
		if (ret != NULL)
			samples_add(ret, now - last);
		last = now;
	}
}

static void measure(unsigned round, uint32_t idle)
{
	struct samples took = { 0 };
	char row[64];
	pid_t pid = 0;

	__atomic_store_n(&stage->ready, 0, __ATOMIC_RELEASE);
	if (idle != 0) {
		pid = start_process(be_idle, &idle, bench.cpu[1]);
		while (__atomic_load_n(&stage->ready, __ATOMIC_ACQUIRE) < idle)
			sleep_ms(1);
	}
	tarn_client *c = attach();
	snprintf(row, sizeof row, "1 of %s lanes asks", text_count(idle + 1));
	samples_grow(&took, often(QUESTIONS));
	ask(c, often(QUESTIONS) / 10 + 1, NULL);
	run_begin(round, false);
	ask(c, often(QUESTIONS), &took);
	struct digest d = digest_of(&took);
	record_digest(row, &d, VERSUS_LINE);
	run_end();
	samples_free(&took);
	tarn_client_close(c);
	if (pid != 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "lanes",
		.question = "What does a question to the server cost while many other lanes are attached\n"
			    "and idle?",
		.rounds = 5,
	};
	static const uint32_t idle[] = { 0, 63, THREADS };

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	setenv("TARN_SPIN_US", "1000", 0); /* the server and who asks have a CPU each */
	arena_start_pinned(UINT64_C(1) << 30, bench.cpu[1]);
	pin(bench.cpu[0]);
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned k = 0; k < sizeof idle / sizeof *idle; k++)
			measure(r, idle[k]);
	arena_stop();
	report();
	return 0;
}
