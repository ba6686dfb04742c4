/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long until another process has a block and its answer is here? Two clients on two
 * CPUs, two channels. The first allocates (warm), writes a byte, gives; the second
 * receives, reads, drops and answers. The answer is, by variant, a 64-byte block of its own,
 * the same block given back (a bounce), or one raw line beside the channel, which
 * leaves the way there alone. The server is not pinned: with two CPUs it must find its time
 * between the two that spin, and the mean tells what it took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "line.h"

enum answer { BY_BLOCK, BY_BOUNCE, BY_LINE };
/* SLEEP: no spinning, but whoever waits may yield for a while first; REST: the first takes a rest before
 * each trip, so that the second is asleep for sure. */
enum wait { SPIN, SLEEP, SLEEP_ONE_CPU, REST, REST_ONE_CPU };

struct variant {
	const char *name;
	enum answer answer;
	enum wait wait;
	bool read_all;
};

static struct stage {
	struct meeting meeting;
	struct line line; /* of the reference */
	struct line back; /* of the answers */
	const struct variant *variant;
	size_t size;
	uint64_t trips, warm;
	double reference[2];
	double sleeps[2]; /* of each side */
	struct digest digest;
	struct {
		char there[64], back[64]; /* names of the channels */
	} name;
} *stage;

/* ---- the receiver's look at the bytes ---- */

static void read_block(const tarn_block *b, bool all)
{
	const volatile unsigned char *p = tarn_block_data(b);

	if (*p != 1)
		die("the block's first byte is %u", *p);
	if (all)
		read_words(tarn_block_data(b), tarn_block_size(b));
}

/* ---- the two processes ---- */

struct side {
	tarn_client *client;
	tarn_channel *out, *in;
	tarn_block *ball; /* what bounces */
	uint64_t n;       /* trips so far */
};

static void trip_first(struct side *s)
{
	const struct variant *v = stage->variant;
	tarn_block *b = v->answer == BY_BOUNCE ? s->ball : new_block(s->client, stage->size);

	s->n++;
	*(volatile unsigned char *)tarn_block_data(b) = 1;
	give(s->out, b, s->n);
	if (v->answer == BY_LINE) {
		line_get(&stage->back.back, s->n);
		return;
	}
	b = receive(s->in, NULL);
	if (v->answer == BY_BOUNCE)
		s->ball = b;
	else
		tarn_block_unref(b);
}

static void trip_second(struct side *s)
{
	const struct variant *v = stage->variant;
	uint64_t tag;
	tarn_block *b = receive(s->in, &tag);

	if (tag != ++s->n)
		die("block %llu came when %llu was due", (unsigned long long)tag,
		    (unsigned long long)s->n);
	read_block(b, v->read_all);
	if (v->answer == BY_BOUNCE) {
		give(s->out, b, tag);
		return;
	}
	tarn_block_unref(b);
	if (v->answer == BY_LINE)
		line_put(&stage->back.back, tag);
	else
		give(s->out, new_block(s->client, 64), tag);
}

static void how_to_wait(void)
{
	if (stage->variant->wait != SPIN)
		setenv("TARN_SPIN_US", "0", 1);
}

static bool on_one_cpu(const struct variant *v)
{
	return v->wait == SLEEP_ONE_CPU || v->wait == REST_ONE_CPU;
}

static bool rests(const struct variant *v)
{
	return v->wait == REST || v->wait == REST_ONE_CPU;
}

/* The raw line between the two, unless they share a CPU. @ret NULL: the second side. */
static void reference(double *ret)
{
	double ns;

	if (on_one_cpu(stage->variant))
		return;
	ns = line_reference(&stage->line, &stage->meeting, ret != NULL);
	if (ret != NULL)
		*ret = ns;
}

static void run_first(void *arg)
{
	struct side s = { 0 };
	struct samples trips = { 0 };

	(void)arg;
	how_to_wait();
	s.client = attach();
	s.out = make_channel(s.client, stage->name.there, 1024, TARN_PRODUCER);
	s.in = make_channel(s.client, stage->name.back, 1024, TARN_CONSUMER);
	if (stage->variant->answer == BY_BOUNCE)
		s.ball = new_block(s.client, stage->size);
	samples_grow(&trips, stage->trips);
	meet(&stage->meeting, 2);
	reference(&stage->reference[0]);
	for (uint64_t i = 0; i < stage->warm; i++)
		trip_first(&s);
	double sleeps = sleeps_so_far();
	uint64_t last = ticks();
	for (uint64_t i = 0; i < stage->trips; i++) {
		if (rests(stage->variant)) {
			take_a_rest();
			last = ticks();
		}
		trip_first(&s);
		uint64_t now = ticks();
		samples_add(&trips, now - last);
		last = now;
	}
	stage->sleeps[0] = sleeps_so_far() - sleeps - (rests(stage->variant) ? (double)stage->trips : 0);
	reference(&stage->reference[1]);
	stage->digest = digest_of(&trips);
	tarn_block_unref(s.ball);
	tarn_channel_unref(s.out);
	tarn_channel_unref(s.in);
	tarn_client_close(s.client);
}

static void run_second(void *arg)
{
	struct side s = { 0 };

	(void)arg;
	how_to_wait();
	s.client = attach();
	s.in = open_channel(s.client, stage->name.there, TARN_CONSUMER);
	s.out = open_channel(s.client, stage->name.back, TARN_PRODUCER);
	meet(&stage->meeting, 2);
	reference(NULL);
	double sleeps = sleeps_so_far();
	for (uint64_t i = 0; i < stage->warm + stage->trips; i++)
		trip_second(&s);
	stage->sleeps[1] = sleeps_so_far() - sleeps;
	reference(NULL);
	tarn_channel_unref(s.out);
	tarn_channel_unref(s.in);
	tarn_client_close(s.client);
}

/* ---- rows ---- */

static uint64_t trips_of(const struct variant *v, size_t size)
{
	uint64_t n = v->wait == SPIN ? 50000 : 4000;

	if (rests(v))
		n = 1000;
	/* Of a block that bounces only the first line travels, whatever its size is: 500 trips are 100 us, which
	 * tells about their beginning. Fresh ones of 64 MiB are asked for one by one. */
	if (size > 1u << 20 && v->answer != BY_BOUNCE)
		n = 500;
	if (v->read_all && size > 65536)
		n = size > 1u << 20 ? 40 : 4000;
	return often(n);
}

static void measure(unsigned round, const struct variant *v, size_t size)
{
	/* Two processes on one CPU have no line of their own: then the ratio is to the
	 * line between the CPUs around the run. */
	bool apart = !on_one_cpu(v);
	static unsigned run;
	char row[96];

	memset(stage, 0, sizeof *stage);
	stage->variant = v;
	stage->size = size;
	stage->trips = trips_of(v, size);
	stage->warm = stage->trips / 10 + 20;
	snprintf(stage->name.there, sizeof stage->name.there, "there-%u", run);
	snprintf(stage->name.back, sizeof stage->name.back, "back-%u", run++);
	snprintf(row, sizeof row, "%s, %s", text_size(size), v->name);
	run_begin(round, false);
	if (v->wait == SPIN)
		run_axis("bytes", (double)size, v->name);
	const pid_t pid[] = { start_process(run_first, NULL, bench.cpu[0]),
			      start_process(run_second, NULL, bench.cpu[apart ? 1 : 0]) };
	await_processes(pid, 2);
	if (apart)
		record(row, VERSUS_LINE, "ns", (stage->reference[0] + stage->reference[1]) / 2, NULL);
	record_digest(row, &stage->digest, VERSUS_LINE);
	if (v->wait != SPIN) {
		record(row, "sleeps, first", "/trip", stage->sleeps[0] / (double)stage->trips, NULL);
		record(row, "sleeps, second", "/trip",
		       stage->sleeps[1] / (double)(stage->warm + stage->trips), NULL);
	}
	if (run_again())
		measure(round, v, size);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "handover",
		.question = "How long does it take to hand a block to another process and hear back?\n"
			    "The column \"line\" is the raw 64-byte round trip of the same two processes.",
		.rounds = 7,
		.sizes = true,
	};
	static const struct variant spinning[] = {
		{ "answer by line", BY_LINE, SPIN, false },
		{ "answer by block", BY_BLOCK, SPIN, false },
		{ "bounce", BY_BOUNCE, SPIN, false },
		{ "bounce, all read", BY_BOUNCE, SPIN, true },
	};
	static const struct variant sleeping[] = {
		{ "bounce, asleep, two CPUs", BY_BOUNCE, SLEEP, false },
		{ "bounce, asleep, one CPU", BY_BOUNCE, SLEEP_ONE_CPU, false },
		{ "bounce after a rest, two CPUs", BY_BOUNCE, REST, false },
		{ "bounce after a rest, one CPU", BY_BOUNCE, REST_ONE_CPU, false },
	};
	static const size_t sizes[] = { 64, 4096, 1u << 20, 64u << 20 };

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	arena_start(UINT64_C(4) << 30);
	for (unsigned r = 0; r < bench.rounds; r++) {
		for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++)
			for (unsigned v = 0; v < sizeof spinning / sizeof *spinning; v++)
				if (wanted(sizes[s]) && (!spinning[v].read_all || sizes[s] > 64))
					measure(r, &spinning[v], sizes[s]);
		for (unsigned v = 0; v < sizeof sleeping / sizeof *sleeping; v++)
			if (wanted(64))
				measure(r, &sleeping[v], 64);
	}
	arena_stop();
	report();
	return 0;
}
