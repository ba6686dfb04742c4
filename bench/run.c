/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the other programs, one after the other in each round, and prints one table of
 * all their values. The rounds are what makes figures of different programs comparable:
 * a machine that is slow for a minute is slow for all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

static const char *const all[] = { "limits", "alloc",   "refs",  "handover",
				   "stream", "reclaim", "value", "idle" };
#define ALL (sizeof all / sizeof *all)

static char folder[PATH_MAX];

static void find_folder(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n < 0)
		die("/proc/self/exe: %s", strerror(errno));
	path[n] = '\0';
	snprintf(folder, sizeof folder, "%s", dirname(path));
}

/* In the child: never returns. */
static _Noreturn void execute(const char *name, int out)
{
	char path[PATH_MAX + 32], cpus[32];
	char json[] = "--json", rounds[] = "--rounds=1", option[] = "--cpus", quick[] = "--quick";
	char *argv[] = { path, json, rounds, option, cpus, bench.quick ? quick : NULL, NULL };

	snprintf(path, sizeof path, "%s/bench-%s", folder, name);
	snprintf(cpus, sizeof cpus, "%d,%d", bench.cpu[0], bench.cpu[1]);
	dup2(out, STDOUT_FILENO);
	execv(path, argv);
	fprintf(stderr, "bench-run: %s: %s\n", path, strerror(errno));
	_exit(1);
}

static void run_one(const char *name, unsigned round)
{
	int ends[2], status;
	char line[1024];
	struct value v;

	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		execute(name, ends[1]);
	close(ends[1]);
	FILE *f = fdopen(ends[0], "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (line[0] == '#' && round == 0)
			remark("%.*s", (int)strcspn(line + 2, "\n"), line + 2);
		if (!report_parse(line, &v))
			continue;
		v.round = round;
		report_file(&v);
	}
	if (f != NULL)
		fclose(f);
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != BENCH_SKIPPED))
		die("bench-%s failed", name);
}

static bool chosen(const char *name)
{
	if (bench.names[0] == NULL)
		return true;
	for (unsigned i = 0; bench.names[i] != NULL; i++)
		if (strcmp(bench.names[i], name) == 0)
			return true;
	return false;
}

static void check_names(void)
{
	for (unsigned i = 0; bench.names[i] != NULL; i++) {
		bool known = false;

		for (unsigned k = 0; k < ALL; k++)
			known |= strcmp(bench.names[i], all[k]) == 0;
		if (!known) {
			fprintf(stderr, "bench-run: there is no benchmark %s (--help lists them)\n",
				bench.names[i]);
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "run",
		.question = "Runs benchmarks interleaved, round by round, and prints one table. NAME is\n"
			    "limits, alloc, refs, handover, stream, reclaim, value or idle; without any, all.",
		.rounds = 5,
		.names = "[NAME...]",
	};

	bench_start(argc, argv, &about);
	check_names();
	find_folder();
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned k = 0; k < ALL; k++)
			if (chosen(all[k]))
				run_one(all[k], r);
	report();
	return 0;
}
