/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long until an item that one process puts into a queue is got by another, and the answer, by a
 * second queue, is here? And how many items a second go one way? Two clients on two CPUs. An item is
 * a number, or a number and a block of 64 bytes, which the server has to be told of. Beside those who
 * sleep the same two processes wake each other by a bare futex.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "ball.h"
#include "line.h"

struct variant {
	const char *name;
	bool block;  /* an item has a block */
	bool sleeps; /* no spinning; the first takes a rest before each trip */
	bool stream; /* one way, as fast as it goes */
	size_t maxsize;
	unsigned flags;
};

static struct stage {
	struct meeting meeting;
	const struct variant *variant;
	uint64_t trips, warm;
	struct digest digest, floor; /* floor: of the ball alone */
	uint32_t ball;
	double stream_ns; /* an item */
	char there[64], back[64];
} *stage;

static tarn_object *queue_make(tarn_client *c, const char *name)
{
	const tarn_queue_options o = { .maxsize = stage->variant->maxsize,
				       .flags = stage->variant->flags };
	tarn_object *q;

	check(tarn_queue_new(c, &o, &q), "a queue");
	check(tarn_object_publish(q, name, 0), "its name");
	return q;
}

static tarn_object *queue_find(tarn_client *c, const char *name)
{
	tarn_object *q;

	check(tarn_object_lookup(c, name, TARN_FOREVER, &q), "the queue");
	return q;
}

static void put(tarn_client *c, tarn_object *q, uint64_t n)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, (int64_t)n);
	if (stage->variant->block) {
		tarn_block *block = new_block(c, 64);

		tarn_put_block(&b, block);
		tarn_block_unref(block);
	}
	check(tarn_queue_put(q, &b, TARN_FOREVER), "put");
	tarn_builder_fini(&b);
}

static void get(tarn_object *q, uint64_t n)
{
	int64_t got = -1;
	tarn_parcel p;

	check(tarn_queue_get(q, &p, TARN_FOREVER), "get");
	tarn_value_int(tarn_parcel_at(&p, 0), &got);
	if (got != (int64_t)n)
		die("item %lld came when %llu was due", (long long)got, (unsigned long long)n);
	tarn_parcel_fini(&p);
}

static void start(void)
{
	if (stage->variant->sleeps)
		setenv("TARN_SPIN_US", "0", 1);
}

static void trips_first(tarn_client *c, tarn_object *there, tarn_object *back)
{
	struct samples trips = { 0 };

	samples_grow(&trips, stage->trips);
	for (uint64_t i = 0; i < stage->warm + stage->trips; i++) {
		uint64_t began;

		if (stage->variant->sleeps)
			take_a_rest();
		began = ticks();
		put(c, there, i);
		get(back, i);
		if (i >= stage->warm)
			samples_add(&trips, ticks() - began);
	}
	stage->digest = digest_of(&trips);
}

/* The same sleepers without a queue. */
static void ball_first(void)
{
	struct samples trips = { 0 };

	samples_grow(&trips, stage->trips);
	for (uint32_t i = 0; i < stage->trips; i++) {
		take_a_rest();
		uint64_t began = ticks();

		throw_ball(&stage->ball, 2 * i + 1);
		await_ball(&stage->ball, 2 * i + 2);
		samples_add(&trips, ticks() - began);
	}
	stage->floor = digest_of(&trips);
	samples_free(&trips);
}

static void ball_second(void)
{
	for (uint32_t i = 0; i < stage->trips; i++) {
		await_ball(&stage->ball, 2 * i + 1);
		throw_ball(&stage->ball, 2 * i + 2);
	}
}

static void run_first(void *arg)
{
	tarn_object *there, *back;
	tarn_client *c;

	(void)arg;
	start();
	c = attach();
	there = queue_make(c, stage->there);
	back = queue_make(c, stage->back);
	meet(&stage->meeting, 2);
	if (stage->variant->stream) {
		for (uint64_t i = 0; i < stage->warm + stage->trips; i++)
			put(c, there, i);
		get(back, 0);
	} else {
		trips_first(c, there, back);
	}
	meet(&stage->meeting, 2);
	if (stage->variant->sleeps)
		ball_first();
	tarn_object_unref(there);
	tarn_object_unref(back);
	tarn_client_close(c);
}

static void run_second(void *arg)
{
	tarn_object *there, *back;
	tarn_client *c;

	(void)arg;
	start();
	c = attach();
	there = queue_find(c, stage->there);
	back = queue_find(c, stage->back);
	meet(&stage->meeting, 2);
	uint64_t began = 0;
	for (uint64_t i = 0; i < stage->warm + stage->trips; i++) {
		if (i == stage->warm)
			began = ticks();
		get(there, i);
		if (!stage->variant->stream)
			put(c, back, i);
	}
	stage->stream_ns = ticks_to_ns(ticks() - began) / (double)stage->trips;
	if (stage->variant->stream)
		put(c, back, 0);
	meet(&stage->meeting, 2);
	if (stage->variant->sleeps)
		ball_second();
	tarn_object_unref(there);
	tarn_object_unref(back);
	tarn_client_close(c);
}

static void measure(unsigned round, const struct variant *v)
{
	static unsigned run;

	memset(stage, 0, sizeof *stage);
	stage->variant = v;
	stage->trips = often(v->sleeps ? 1000 : v->stream ? 500000 : 50000);
	stage->warm = stage->trips / 10 + 20;
	snprintf(stage->there, sizeof stage->there, "there-%u", run);
	snprintf(stage->back, sizeof stage->back, "back-%u", run++);
	run_begin(round, false);
	const pid_t pid[] = { start_process(run_first, NULL, bench.cpu[0]),
			      start_process(run_second, NULL, bench.cpu[1]) };
	await_processes(pid, 2);
	if (v->sleeps)
		record(v->name, "futex", "ns", stage->floor.p50, NULL);
	if (v->stream)
		record(v->name, "item", "ns", stage->stream_ns, VERSUS_LINE);
	else if (v->sleeps)
		record_digest(v->name, &stage->digest, "futex");
	else
		record_digest(v->name, &stage->digest, VERSUS_LINE);
	if (run_again())
		measure(round, v);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "queue",
		.question = "How long does an item take through a queue to another process, and the answer back?\n"
			    "And in one direction, as fast as it goes?",
		.rounds = 7,
		.only = true,
	};
	static const struct variant variants[] = {
		{ "number, there and back", false, false, false, 1000, 0 },
		{ "number and block, there and back", true, false, false, 1000, 0 },
		{ "number, unbounded, there and back", false, false, false, 0, 0 },
		{ "number, redelivery, there and back", false, false, false, 1000,
		  TARN_QUEUE_REDELIVER | TARN_QUEUE_ACK_NEXT },
		{ "number, there and back after a rest", false, true, false, 1000, 0 },
		{ "number and block, there and back after a rest", true, true, false, 1000, 0 },
		{ "number, one way", false, false, true, 1000, 0 },
		{ "number and block, one way", true, false, true, 1000, 0 },
	};

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	stage = shared_memory(sizeof *stage);
	arena_start(UINT64_C(1) << 30);
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned v = 0; v < sizeof variants / sizeof *variants; v++)
			if (wanted_row(variants[v].name))
				measure(r, &variants[v]);
	arena_stop();
	report();
	return 0;
}
