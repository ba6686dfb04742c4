/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn bench: runs the benchmarks, which are programs of their own (bench/), by becoming their
 * runner. Options are read here as those of all commands are, and handed on.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#ifndef TARN_BENCH_DIR /* meson says where they are installed */
#define TARN_BENCH_DIR "/usr/local/libexec/tarn"
#endif
#define ARGUMENTS_MOST 32
#define OPTIONS_MOST 32

enum {
	KEY_SET = CLI_LONG,
	KEY_LIST,
	KEY_ROUNDS,
	KEY_REPEATS,
	KEY_CPUS,
	KEY_PLOT,
	KEY_BUSY,
	KEY_QUICK,
	KEY_HISTOGRAM,
	KEY_JSON,
};

static const struct cli_option options[] = {
	{ KEY_SET, "set", "NAME", "run the programs of a set; may be given several times" },
	{ KEY_LIST, "list", NULL, "print the sets and programs, and what is not built" },
	{ KEY_ROUNDS, "rounds", "N", "every case runs once in each of N rounds (default: 5)" },
	{ KEY_REPEATS, "repeats", "N", "measure a disturbed run again, at most N times (default: 3)" },
	{ KEY_CPUS, "cpus", "PAIR", "the two CPUs to use, as in 0,1" },
	{ KEY_PLOT, "plot", "FILE", "draw the figures as SVG, if gnuplot is installed" },
	{ KEY_BUSY, "busy", NULL, "measure although other programs use these CPUs" },
	{ KEY_QUICK, "quick", NULL, "one short round: shows that it works, measures nothing" },
	{ KEY_HISTOGRAM, "histogram", NULL, "print how the values of each row are spread" },
	{ KEY_JSON, "json", NULL, "print one JSON object a line" },
	{ 0 },
};

/* What the runner gets: an option may be given several times. */
static char *handed_on[1 + OPTIONS_MOST + ARGUMENTS_MOST + 1];
static unsigned n_handed_on;

static void option(int key, const char *value)
{
	const struct cli_option *o = options;
	char *text = NULL;

	while (o->key != key)
		o++;
	if (key == KEY_ROUNDS || key == KEY_REPEATS)
		cli_number(key == KEY_ROUNDS ? "--rounds" : "--repeats", value, key == KEY_ROUNDS, 100000);
	if (n_handed_on == OPTIONS_MOST)
		cli_usage_error("bench: too many options");
	if (asprintf(&text, "--%s%s%s", o->name, value != NULL ? "=" : "", value != NULL ? value : "") < 0)
		cli_usage_error("bench: no memory");
	handed_on[1 + n_handed_on++] = text;
}

/* Beside this program in the build tree; where the benchmarks are installed. */
static const char *const places[] = { "../bench/bench-run", TARN_BENCH_DIR "/bench-run" };

static bool find_runner(char path[static PATH_MAX])
{
	const char *named = getenv("TARN_BENCH_RUN");
	char own[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

	if (named != NULL) {
		snprintf(path, PATH_MAX, "%s", named);
		return true;
	}
	own[n > 0 ? n : 0] = '\0';
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
		char folder[PATH_MAX];

		snprintf(folder, sizeof folder, "%s", own);
		if (places[i][0] == '/')
			snprintf(path, PATH_MAX, "%s", places[i]);
		else if ((size_t)snprintf(path, PATH_MAX, "%s/%s", dirname(folder), places[i]) >= PATH_MAX)
			continue;
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static int run(struct context *c)
{
	static char name[] = "tarn bench";
	char path[PATH_MAX];

	if (!find_runner(path)) {
		cli_say("bench: the benchmarks are not installed (neither beside this program nor in "
			"%s); meson builds them with -Dbench=true", TARN_BENCH_DIR);
		return CLI_TROUBLE;
	}
	handed_on[0] = name;
	for (int i = 0; i < c->n_arguments; i++)
		handed_on[1 + n_handed_on++] = c->arguments[i];
	execv(path, handed_on);
	cli_say("bench: %s: %s", path, strerror(errno));
	return CLI_TROUBLE;
}

const struct command command_bench = {
	.name = "bench",
	.arguments = " [PROGRAM]",
	.summary = "measure Tarn beside the machine's limits and its peers",
	.most_arguments = ARGUMENTS_MOST,
	.options = options,
	.option = option,
	.run = run,
};
