/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does one more reference cost within a process? tarn_block_ref() and
 * tarn_block_unref() of a handle that others were never told of, of one that they were,
 * of many handles in turn, and of one handle from two threads on two CPUs; beside the
 * two locked adds that an atomic count costs at the least.
 */
#include <pthread.h>
#include <stdio.h>

#include "arena.h"
#include "report.h"

#define HANDLES 4096u

static tarn_block *many[HANDLES];
static uint64_t counts[HANDLES * 8]; /* a line each */

static double time_handle(tarn_block *b, uint64_t n)
{
	uint64_t from = ticks();

	for (uint64_t i = 0; i < n; i++) {
		tarn_block_ref(b);
		tarn_block_unref(b);
	}
	return ticks_to_ns(ticks() - from) / (double)n;
}

static double time_count(uint64_t *count, uint64_t n)
{
	uint64_t from = ticks();

	for (uint64_t i = 0; i < n; i++) {
		__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
		__atomic_fetch_sub(count, 1, __ATOMIC_ACQ_REL);
	}
	return ticks_to_ns(ticks() - from) / (double)n;
}

static void measure_one(unsigned round, const char *row, tarn_block *b)
{
	uint64_t n = often(1000000);

	run_begin(round, true);
	pin(bench.cpu[0]);
	record(row, "tarn", "ns", time_handle(b, n), "two locked adds");
	record(row, "two locked adds", "ns", time_count(counts, n), NULL);
	unpin();
	if (run_again())
		measure_one(round, row, b);
}

static void measure_many(unsigned round)
{
	static const char row[] = "4096 handles in turn";
	uint64_t n = often(1000000), from;

	run_begin(round, true);
	pin(bench.cpu[0]);
	from = ticks();
	for (uint64_t i = 0; i < n; i++) {
		tarn_block_ref(many[i % HANDLES]);
		tarn_block_unref(many[i % HANDLES]);
	}
	record(row, "tarn", "ns", ticks_to_ns(ticks() - from) / (double)n, "two locked adds");
	from = ticks();
	for (uint64_t i = 0; i < n; i++) {
		__atomic_fetch_add(&counts[i % HANDLES * 8], 1, __ATOMIC_RELAXED);
		__atomic_fetch_sub(&counts[i % HANDLES * 8], 1, __ATOMIC_ACQ_REL);
	}
	record(row, "two locked adds", "ns", ticks_to_ns(ticks() - from) / (double)n, NULL);
	unpin();
	if (run_again())
		measure_many(round);
}

/* ---- two threads ---- */

static struct contest {
	struct meeting meeting;
	tarn_block *block;
	uint64_t n;
	double handle_ns[2], count_ns[2];
} contest;

static void *contend(void *arg)
{
	unsigned me = *(const unsigned *)arg;

	pin(bench.cpu[me]);
	meet(&contest.meeting, 2);
	contest.handle_ns[me] = time_handle(contest.block, contest.n);
	meet(&contest.meeting, 2);
	contest.count_ns[me] = time_count(counts, contest.n);
	meet(&contest.meeting, 2);
	return NULL;
}

static void measure_contest(unsigned round, tarn_block *b)
{
	static const char row[] = "one handle, two threads";
	static const unsigned me[2] = { 0, 1 };
	pthread_t thread[2];

	contest = (struct contest){ .block = b, .n = often(500000) };
	run_begin(round, false);
	for (unsigned i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, contend, (void *)(uintptr_t)&me[i]) != 0)
			die("cannot start a thread");
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	record(row, "tarn", "ns", (contest.handle_ns[0] + contest.handle_ns[1]) / 2,
	       "two locked adds");
	record(row, "two locked adds", "ns", (contest.count_ns[0] + contest.count_ns[1]) / 2, NULL);
	if (run_again())
		measure_contest(round, b);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "refs",
		.question = "What does one more reference to a block cost within a process?",
		.rounds = 11,
	};
	tarn_block *told;
	tarn_channel *channel, *reader;
	tarn_client *client;

	bench_start(argc, argv, &about);
	arena_start(UINT64_C(256) << 20);
	client = attach();
	for (unsigned i = 0; i < HANDLES; i++)
		many[i] = new_block(client, 64);
	channel = make_channel(client, "refs", 16, TARN_PRODUCER);
	reader = open_channel(client, "refs", TARN_CONSUMER);
	give(channel, new_block(client, 64), 0);
	told = receive(reader, NULL);
	for (unsigned r = 0; r < bench.rounds; r++) {
		measure_one(r, "nobody was told of it", many[0]);
		measure_one(r, "another process was told of it", told);
		measure_many(r);
		if (two_cpus())
			measure_contest(r, told);
	}
	tarn_block_unref(told);
	for (unsigned i = 0; i < HANDLES; i++)
		tarn_block_unref(many[i]);
	tarn_channel_unref(reader);
	tarn_channel_unref(channel);
	tarn_client_close(client);
	arena_stop();
	report();
	return 0;
}
