/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many blocks a second go from one process to another? The producer allocates, fills 64
 * bytes (or --size), gives; the consumer receives, reads all of it, drops. The server gets
 * what both say (grants, sends, receives, releases) and must find its time between
 * them: its messages per hand-over and per second, and its share of a CPU, are
 * told beside the rate.
 */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "line.h"

#define RUN_MS 400u
#define CAPACITY 4096u
#define WARM 20000u

static struct stage {
	struct meeting meeting;
	char channel[64];
	size_t size;
	uint64_t run_ticks, blocks, ticks, warm;
} *stage;

#define TAG_LAST UINT64_MAX

static void fill(tarn_block *b, uint64_t n)
{
	uint64_t *w = tarn_block_data(b);

	for (size_t i = 0; i < stage->size / 8; i++)
		w[i] = n + i;
}

static void look(const tarn_block *b, uint64_t n)
{
	const uint64_t *w = tarn_block_data(b);
	uint64_t wrong = 0;

	for (size_t i = 0; i < stage->size / 8; i++)
		wrong |= w[i] ^ (n + i);
	if (wrong != 0)
		die("block %llu has other contents", (unsigned long long)n);
}

static void produce_one(tarn_client *c, tarn_channel *out, uint64_t n, uint64_t tag)
{
	tarn_block *b = new_block(c, stage->size);

	fill(b, n);
	give(out, b, tag);
}

static void produce(void *arg)
{
	tarn_client *c = attach();
	tarn_channel *out = make_channel(c, stage->channel, CAPACITY, TARN_PRODUCER);
	uint64_t n = 0, until;

	(void)arg;
	meet(&stage->meeting, 2);
	for (; n < stage->warm; n++)
		produce_one(c, out, n, n);
	until = ticks() + stage->run_ticks;
	for (; n % 256 != 0 || ticks() < until; n++)
		produce_one(c, out, n, n);
	produce_one(c, out, n, TAG_LAST);
	tarn_channel_unref(out);
	tarn_client_close(c);
}

static void consume(void *arg)
{
	tarn_client *c = attach();
	tarn_channel *in = open_channel(c, stage->channel, TARN_CONSUMER);
	uint64_t n = 0, from = 0, tag = 0;

	(void)arg;
	meet(&stage->meeting, 2);
	for (; tag != TAG_LAST; n++) {
		tarn_block *b = receive(in, &tag);

		if (tag != n && tag != TAG_LAST)
			die("block %llu came when %llu was due", (unsigned long long)tag,
			    (unsigned long long)n);
		look(b, n);
		tarn_block_unref(b);
		if (n == stage->warm)
			from = ticks();
	}
	stage->ticks = ticks() - from;
	stage->blocks = n;
	tarn_channel_unref(in);
	tarn_client_close(c);
}

/* The server's time on CPUs so far, in ns. */
static double server_cpu_ns(void)
{
	char path[64];
	double ns = 0;

	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)arena_pid());
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%lf", &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

static void measure(unsigned round, size_t size, bool pinned)
{
	static unsigned run;
	char row[64];

	memset(stage, 0, sizeof *stage);
	stage->size = size;
	stage->warm = often(WARM);
	stage->run_ticks = ns_to_ticks((double)often(RUN_MS) * 1e6);
	snprintf(stage->channel, sizeof stage->channel, "stream-%u", run++);
	snprintf(row, sizeof row, "%s, %s", text_size(size), pinned ? "pinned" : "not pinned");
	run_begin(round, false);
	tarn_stat before = arena_stat();
	double cpu = server_cpu_ns(), from = ticks_to_ns(ticks());
	const pid_t pid[] = { start_process(produce, NULL, pinned ? bench.cpu[0] : -1),
			      start_process(consume, NULL, pinned ? bench.cpu[1] : -1) };
	await_processes(pid, 2);
	double all_ns = ticks_to_ns(ticks()) - from;
	cpu = server_cpu_ns() - cpu;
	tarn_stat after = arena_stat();

	double blocks = (double)(stage->blocks - stage->warm), ns = ticks_to_ns(stage->ticks);
	double per_block = (double)(after.messages - before.messages) / (double)stage->blocks;
	record(row, "hand-overs", "M/s", blocks / ns * 1e3, NULL);
	record(row, "each", "ns", ns / blocks, VERSUS_LINE);
	record(row, "messages", "M/s", blocks / ns * 1e3 * per_block, NULL);
	record(row, "messages each", "", per_block, NULL);
	record(row, "messages/epoch", "",
	       (double)(after.messages - before.messages) / (double)(after.epochs - before.epochs), NULL);
	record(row, "server sleeps", "/s", (double)(after.sleeps - before.sleeps) / all_ns * 1e9, NULL);
	record(row, "clients woken", "/s", (double)(after.wakeups - before.wakeups) / all_ns * 1e9,
	       NULL);
	record(row, "server CPU", "%", cpu / all_ns * 100, NULL);
	record(row, "server each", "ns", cpu / (double)stage->blocks, NULL);
	if (run_again())
		measure(round, size, pinned);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "stream",
		.question = "How many blocks a second go one way, and what does the server have to do\n"
			    "with it? Producer and consumer on two CPUs, the server on either.",
		.rounds = 7,
		.sizes = true,
	};

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	arena_start(UINT64_C(2) << 30);
	for (unsigned r = 0; r < bench.rounds; r++)
		for (int pinned = 1; pinned >= 0; pinned--)
			measure(r, bench.size != 0 ? bench.size : 64, pinned);
	arena_stop();
	report();
	return 0;
}
