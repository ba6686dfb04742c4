/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a call cost? One that is waited for, of a method that runs on the server's own thread;
 * 1, 16 and 256 in flight; casts; making and dropping an object; a method on an executor. The
 * server and the caller spin, each on a CPU of its own; the line between these is measured around
 * each run: nothing that asks and is answered can take less than two transfers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/type.h>

#include "arena.h"
#include "report.h"

/* ---- the server's side ---- */

struct adder {
	int64_t sum;
};

static int adder_add(tarn_context *ctx, void *self)
{
	struct adder *a = self;
	int64_t n;
	int r = tarn_value_int(tarn_parcel_at(tarn_context_args(ctx), 0), &n);

	if (r < 0)
		return r;
	a->sum += n;
	return tarn_put_int(tarn_context_result(ctx), a->sum);
}
static int adder_nothing(tarn_context *ctx, void *self)
{
	(void)ctx, (void)self;
	return 0;
}

static const tarn_method adder_methods[] = {
	{ "add", adder_add, TARN_METHOD_INLINE, "q", "q", NULL },
	{ "nothing", adder_nothing, TARN_METHOD_INLINE, "", "", NULL },
	{ "add_slowly", adder_add, 0, "q", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
enum { ADD, NOTHING, ADD_SLOWLY };
static const tarn_type adder_type = {
	.name = "Adder", .size = sizeof(struct adder), .flags = TARN_TYPE_INLINE,
	.methods = adder_methods,
};
TARN_TYPE_REGISTER(adder_type)

/* ---- the caller's ---- */

static tarn_client *client;
static tarn_object *adder;

static void must(int r)
{
	if (r < 0)
		die("%s", tarn_error_last()->message);
}

static void call(unsigned method, const tarn_builder *args)
{
	tarn_parcel p;

	must(tarn_call_n(adder, method, args, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
}

static void measure_sync(unsigned round, const char *row, unsigned method, uint64_t n)
{
	struct samples s = { NULL, 0, 0, false };
	struct digest d;
	tarn_builder b;

	samples_grow(&s, n);
	tarn_builder_init(&b);
	if (method != NOTHING)
		tarn_put_int(&b, 1);
	run_begin(round, false);
	pin(bench.cpu[1]);
	for (uint64_t i = 0; i < n / 10; i++)
		call(method, &b);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t from = ticks();

		call(method, &b);
		samples_add(&s, ticks() - from);
	}
	unpin();
	d = digest_of(&s);
	record_digest(row, &d, VERSUS_LINE);
	tarn_builder_fini(&b);
	samples_free(&s);
	if (run_again())
		measure_sync(round, row, method, n);
}

static void measure_pipelined(unsigned round, const char *row, unsigned depth, uint64_t n)
{
	tarn_pending **p = calloc(depth, sizeof *p);
	tarn_builder b;
	uint64_t from;

	tarn_builder_init(&b);
	tarn_put_int(&b, 1);
	run_begin(round, false);
	pin(bench.cpu[1]);
	from = ticks();
	for (uint64_t i = 0; i < n + depth; i++) {
		tarn_parcel result;

		if (p[i % depth] != NULL) {
			must(tarn_call_wait(p[i % depth], &result, TARN_FOREVER));
			tarn_parcel_fini(&result);
			p[i % depth] = tarn_call_free(p[i % depth]);
		}
		if (i < n)
			must(tarn_call_start_n(adder, ADD, &b, &p[i % depth]));
	}
	record(row, "tarn", "ns", ticks_to_ns(ticks() - from) / (double)n, VERSUS_LINE);
	unpin();
	tarn_builder_fini(&b);
	free(p);
	if (run_again())
		measure_pipelined(round, row, depth, n);
}

static void measure_cast(unsigned round, uint64_t n)
{
	tarn_builder b;
	uint64_t from;

	tarn_builder_init(&b);
	tarn_put_int(&b, 1);
	run_begin(round, false);
	pin(bench.cpu[1]);
	from = ticks();
	for (uint64_t i = 0; i < n; i++)
		must(tarn_cast_n(adder, ADD, &b));
	call(NOTHING, NULL); /* all are done */
	record("one-way calls", "tarn", "ns", ticks_to_ns(ticks() - from) / (double)n, VERSUS_LINE);
	unpin();
	tarn_builder_fini(&b);
	if (run_again())
		measure_cast(round, n);
}

static void measure_new(unsigned round, uint64_t n)
{
	uint64_t from;

	run_begin(round, false);
	pin(bench.cpu[1]);
	from = ticks();
	for (uint64_t i = 0; i < n; i++) {
		tarn_object *o;

		must(tarn_object_new(client, "Adder", NULL, &o));
		tarn_object_unref(o);
	}
	record("make and drop an object", "tarn", "ns", ticks_to_ns(ticks() - from) / (double)n,
	       VERSUS_LINE);
	unpin();
	if (run_again())
		measure_new(round, n);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "call",
		.question = "What does a call cost: waited for, with others in flight, one way, on an\n"
			    "executor; and making and dropping an object?",
		.rounds = 7,
	};
	tarn_server *server;

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("a call between two processes wants two CPUs");
	/* The server is pinned as its parent is when it starts, and spins long. */
	setenv("TARN_SPIN_US", "1000", 0);
	pin(bench.cpu[0]);
	must(tarn_server_start(NULL, &server));
	ours_add((pid_t)tarn_server_pid(server));
	unpin();
	must(tarn_client_open(tarn_server_name(server), NULL, &client));
	must(tarn_object_new(client, "Adder", NULL, &adder));
	for (unsigned round = 0; round < bench.rounds; round++) {
		measure_sync(round, "a call, inline", ADD, often(200000));
		measure_sync(round, "a call of nothing, inline", NOTHING, often(200000));
		measure_pipelined(round, "1 in flight", 1, often(200000));
		measure_pipelined(round, "16 in flight", 16, often(500000));
		measure_pipelined(round, "256 in flight", 256, often(500000));
		measure_cast(round, often(1000000));
		measure_new(round, often(200000));
		measure_sync(round, "a call, on an executor", ADD_SLOWLY, often(20000));
	}
	report();
	tarn_object_unref(adder);
	tarn_client_close(client);
	return tarn_server_shutdown(server, TARN_FOREVER) < 0;
}
