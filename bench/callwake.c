/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a call cost when nobody spins? Caller and server wait in the system, on two CPUs
 * and on one; as the calls come, and after a rest, when the server is asleep for sure. How
 * often both really slept is told beside it: whoever waits may yield for a while first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "counter.h"
#include "report.h"

static const struct variant {
	const char *row;
	bool one_cpu, rest;
	uint64_t n;
} variants[] = {
	{ "call, asleep, two CPUs", false, false, 4000 },
	{ "call, asleep, one CPU", true, false, 4000 },
	{ "call after a rest, two CPUs", false, true, 1000 },
	{ "call after a rest, one CPU", true, true, 1000 },
};

/* How often the server has slept so far. */
static double server_sleeps(void)
{
	char path[64], line[256];
	double n = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)arena_pid());
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "voluntary_ctxt_switches: %lf", &n) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return n;
}

static void measure(unsigned round, const struct variant *v)
{
	uint64_t n = often(v->n), warm = n / 10 + 1;
	struct samples s = { 0 };
	tarn_builder one;

	arena_start_pinned(UINT64_C(64) << 20, bench.cpu[v->one_cpu ? 0 : 1]);
	run_begin(round, false);
	pin(bench.cpu[0]);
	tarn_client *c = attach();
	tarn_object *counter = counter_new(c);
	double mine = 0, servers = 0;

	samples_grow(&s, n);
	tarn_builder_init(&one);
	tarn_put_int(&one, 1);
	for (uint64_t i = 0; i < warm + n; i++) {
		if (i == warm) {
			mine = sleeps_so_far();
			servers = server_sleeps();
		}
		if (v->rest)
			take_a_rest();
		uint64_t from = ticks();

		counter_call(counter, &one, (int64_t)i + 1);
		if (i >= warm)
			samples_add(&s, ticks() - from);
	}
	mine = sleeps_so_far() - mine - (v->rest ? (double)n : 0);
	servers = server_sleeps() - servers;
	struct digest d = digest_of(&s);
	record_digest(v->row, &d, VERSUS_LINE);
	record(v->row, "sleeps, caller", "/call", mine / (double)n, NULL);
	record(v->row, "sleeps, server", "/call", servers / (double)n, NULL);
	tarn_builder_fini(&one);
	samples_free(&s);
	tarn_object_unref(counter);
	tarn_client_close(c);
	unpin();
	bool again = run_again();
	arena_stop();
	if (again)
		measure(round, v);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "callwake",
		.question = "What does a call cost when neither the caller nor the server spins?",
		.rounds = 7,
	};

	bench_start(argc, argv, &about);
	setenv("TARN_SPIN_US", "0", 1);
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned v = 0; v < sizeof variants / sizeof *variants; v++)
			if (variants[v].one_cpu || two_cpus())
				measure(r, &variants[v]);
	report();
	return 0;
}
