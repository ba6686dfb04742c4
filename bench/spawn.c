/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a worker process cost, from its start until its end is known, beside posix_spawn() of the same
 * program, which does nothing? With a client and without; with arguments and a result.
 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "arena.h"
#include "report.h"

#define NOTHING "--do-nothing"

extern char **environ;

TARN_WORKER(nothing)
{
	(void)worker;
	return 0;
}

TARN_WORKER(add)
{
	int a, b, r = tarn_worker_get(worker, "ii", &a, &b);

	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), a + b);
}

static void bare(tarn_client *c)
{
	char self[] = "/proc/self/exe", option[] = NOTHING, *argv[] = { self, option, NULL };
	int status = -1;
	pid_t pid;

	(void)c;
	if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		die("posix_spawn: status %x", (unsigned)status);
}

static void without_client(tarn_client *c)
{
	tarn_process *p;

	(void)c;
	check(tarn_process_spawn(NULL, &(tarn_process_options){ .entry = "nothing" }, &p), "spawn");
	check(tarn_process_join(p, TARN_FOREVER), "join");
	tarn_process_unref(p);
}

static void with_client(tarn_client *c)
{
	tarn_process *p;

	check(tarn_process_spawn(c, &(tarn_process_options){ .entry = "nothing" }, &p), "spawn");
	check(tarn_process_join(p, TARN_FOREVER), "join");
	tarn_process_unref(p);
}

static void with_result(tarn_client *c)
{
	tarn_builder args;
	tarn_process *p;
	int sum = 0;

	tarn_builder_init(&args);
	tarn_put(&args, "ii", 3, 4);
	check(tarn_process_spawn(c, &(tarn_process_options){ .entry = "add", .args = &args }, &p),
	      "spawn");
	tarn_builder_fini(&args);
	check(tarn_process_get(p, TARN_FOREVER, "i", &sum), "result");
	if (sum != 7)
		die("3 + 4 is %d", sum);
	tarn_process_unref(p);
}

static const struct kind {
	const char *column, *versus;
	void (*once)(tarn_client *c);
} kinds[] = {
	{ "posix_spawn", NULL, bare },
	{ "worker, no client", "posix_spawn", without_client },
	{ "worker", "posix_spawn", with_client },
	{ "with a result", "posix_spawn", with_result },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void measure(unsigned round, tarn_client *c)
{
	static const char row[] = "a process from start to end, p50";
	struct samples s[KINDS] = { 0 };
	const uint64_t n = often(200);

	run_begin(round, false);
	for (uint64_t i = 0; i < n; i++) {
		for (int k = 0; k < KINDS; k++) {
			uint64_t from = ticks();

			kinds[k].once(c);
			samples_add(&s[k], ticks() - from);
		}
	}
	for (int k = 0; k < KINDS; k++) {
		record(row, kinds[k].column, "us", samples_percentile(&s[k], 50) / 1e3,
		       kinds[k].versus);
		samples_free(&s[k]);
	}
	if (run_again())
		measure(round, c);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "spawn",
		.question = "What does a worker process cost from its start to its end, beside "
			    "posix_spawn() of the\n"
			    "same program?",
		.rounds = 7,
	};

	if (argc == 2 && strcmp(argv[1], NOTHING) == 0)
		return 0;
	bench_start(argc, argv, &about);
	arena_start(UINT64_C(64) << 20);
	tarn_client *c = attach();

	for (unsigned r = 0; r < bench.rounds; r++)
		measure(r, c);
	tarn_client_close(c);
	arena_stop();
	report();
	return 0;
}
