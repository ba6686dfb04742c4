/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python's multiprocessing: a method call by a manager's proxy, an object made and deleted
 * by it, a shared_memory segment of 1 MiB touched for the first time and handed over by
 * name. The measuring is done in Python (python.py, beside this program); here are the rounds and
 * the line.
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

#include "pair.h"

#define PYTHON "/usr/bin/python3"

static char script[PATH_MAX + 16];

/* In a child, whose output is a pipe. */
struct order {
	const char *which;
	uint64_t n;
	int cpu[2], out;
};

static void run_python(void *arg)
{
	const struct order *o = arg;
	char n[24], cpu0[12], cpu1[12];

	snprintf(n, sizeof n, "%llu", (unsigned long long)o->n);
	snprintf(cpu0, sizeof cpu0, "%d", o->cpu[0]);
	snprintf(cpu1, sizeof cpu1, "%d", o->cpu[1]);
	dup2(o->out, STDOUT_FILENO);
	execl(PYTHON, PYTHON, script, o->which, n, cpu0, cpu1, (char *)NULL);
	die("%s: %s", PYTHON, strerror(errno));
}

static struct digest time_in_python(const char *which, uint64_t n, bool one_cpu)
{
	struct order o = { which, n, { bench.cpu[0], bench.cpu[one_cpu ? 0 : 1] }, -1 };
	struct samples s = { 0 };
	char line[64];
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	o.out = ends[1];
	pid_t pid = start_process(run_python, &o, -1);
	close(ends[1]);
	FILE *f = fdopen(ends[0], "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		samples_add(&s, ns_to_ticks(strtod(line, NULL)));
	if (f != NULL)
		fclose(f);
	await_processes(&pid, 1);
	if (s.n != n)
		die("python told %zu times, not %llu", s.n, (unsigned long long)n);
	struct digest d = digest_of(&s);
	samples_free(&s);
	return d;
}

struct python_case {
	const char *row, *which;
	uint64_t n;
	bool one_cpu;
};

static void measure(unsigned round, const struct python_case *c)
{
	if (!wanted_row(c->row) || (!c->one_cpu && !two_cpus()))
		return;
	run_begin(round, false);
	struct digest d = time_in_python(c->which, often(c->n), c->one_cpu);
	record_digest(c->row, &d, VERSUS_LINE);
	if (run_again())
		measure(round, c);
}

/* Beside this program; installed or not. */
static void find_script(void)
{
	char own[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

	if (n < 0)
		die("/proc/self/exe: %s", strerror(errno));
	own[n] = '\0';
	snprintf(script, sizeof script, "%s/python.py", dirname(own));
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "python",
		.question = "Python's multiprocessing: what do a call by a manager's proxy, an object, and a\n"
			    "shared_memory segment cost?",
		.rounds = 3,
		.only = true,
	};
	static const struct python_case cases[] = {
		{ TOPIC_CALL_TWO, "call", 2000, false }, { TOPIC_CALL_ONE, "call", 2000, true },
		{ TOPIC_CREATE, "create", 200, false },	 { TOPIC_TOUCH, "touch", 200, true },
		{ TOPIC_BYTE, "byte", 1000, false },	 { TOPIC_ALL, "all", 500, false },
	};

	bench_start(argc, argv, &about);
	if (access(PYTHON, X_OK) != 0)
		skip("%s is not installed (Debian: python3)", PYTHON);
	find_script();
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
			measure(r, &cases[i]);
	report();
	return 0;
}
