/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the other programs, one after the other in each round, and prints one table of
 * all their values, and what they are beside each other. The rounds are what makes figures of
 * different programs comparable: a machine that is slow for a minute is slow for all of
 * them. Disturbed runs are thrown away by the programs themselves, which see them first (verdict.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"
#include "jsonl.h"
#include "plot.h"
#include "report.h"
#include "sets.h"

#define JOBS_MOST 64u

enum state { WAITING, SKIPPED, FAILED };
static struct {
	struct job job;
	enum state state;
	bool asked_for; /* by its name: that it cannot run is an error */
} jobs[JOBS_MOST];
static unsigned n_jobs;

static char folder[PATH_MAX];
static const char *plot_file;
static bool list_only;
static const struct set *chosen_sets[8];
static unsigned n_sets;

/* ---- what to run ---- */

static void find_folder(void)
{
	char path[PATH_MAX];
	ssize_t n;

	if (folder[0] != '\0')
		return;
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n < 0)
		die("/proc/self/exe: %s", strerror(errno));
	path[n] = '\0';
	snprintf(folder, sizeof folder, "%s", dirname(path));
}

/* False: it is not there. In the build tree peers have a folder of their own. */
static bool program_path(char path[PATH_MAX + 64], const char *name)
{
	static const char *const places[] = { "", "peers/" };

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, PATH_MAX + 64, "%s/%sbench-%s", folder, places[i], name);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static bool is_built(const char *name)
{
	char path[PATH_MAX + 64];

	return program_path(path, name);
}

static void add_job(const struct job *job, bool asked_for)
{
	for (unsigned i = 0; i < n_jobs; i++)
		if (memcmp(&jobs[i].job, job, sizeof *job) == 0)
			return;
	if (n_jobs == JOBS_MOST)
		refuse("too many programs");
	jobs[n_jobs].job = *job;
	jobs[n_jobs++].asked_for = asked_for;
}

static void add_set(const struct set *s)
{
	for (const struct job *j = s->job; j->program != NULL; j++)
		add_job(j, false);
}

static void choose_jobs(void)
{
	for (unsigned i = 0; i < n_sets; i++)
		add_set(chosen_sets[i]);
	for (unsigned i = 0; bench.names[i] != NULL; i++) {
		const struct program *p = program_find(bench.names[i]);

		if (p == NULL)
			refuse("there is no benchmark %s (--list lists them)", bench.names[i]);
		if (!is_built(p->name))
			refuse("bench-%s is not there: %s%s%s", p->name,
			       p->packages != NULL ? "it needs " : "it was not built",
			       p->packages != NULL ? p->packages : "",
			       p->packages != NULL ?
				       " when Tarn is built (tools/install-deps bench-peers, then meson "
				       "setup --wipe)" : "");
		add_job(&(struct job){ .program = p->name }, true);
	}
	if (n_jobs == 0)
		add_set(set_find("all"));
}

static void print_list(void)
{
	printf("Sets:\n");
	for (const struct set *s = sets; s->name != NULL; s++)
		printf("  %-10s %s\n", s->name, s->what);
	printf("\nPrograms:\n");
	for (const struct program *p = programs; p->name != NULL; p++) {
		printf("  %-10s %s", p->name, p->what);
		if (!is_built(p->name))
			printf(" [not built%s%s]", p->packages != NULL ? ": needs " : "",
			       p->packages != NULL ? p->packages : "");
		putchar('\n');
	}
}

/* ---- one program, one round ---- */

/* In the child: never returns. */
static _Noreturn void execute(const struct job *job, int out)
{
	char path[PATH_MAX + 64], cpus[32], repeats[32];
	static char json[] = "--json", rounds[] = "--rounds=1", busy[] = "--busy",
		    may_skip[] = "--may-skip", quick[] = "--quick";
	char *argv[16] = { path, json, rounds, busy, may_skip, cpus, repeats };
	unsigned n = 7;

	program_path(path, job->program);
	snprintf(cpus, sizeof cpus, "--cpus=%d,%d", bench.cpu[0], bench.cpu[1]);
	snprintf(repeats, sizeof repeats, "--repeats=%u", bench.repeats);
	if (bench.quick)
		argv[n++] = quick;
	for (unsigned i = 0; i < JOB_ARGUMENTS && job->argument[i] != NULL; i++)
		if (!bench.quick || strcmp(job->argument[i], "--big") != 0)
			argv[n++] = strdup(job->argument[i]);
	dup2(out, STDOUT_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0); /* a runner that is killed leaves nobody behind */
	execv(path, argv);
	fprintf(stderr, "bench-run: %s: %s\n", path, strerror(errno));
	_exit(BENCH_FAILED);
}

/* On a terminal, what is under way. NULL: nothing any more. */
static void progress(unsigned round, unsigned job, const char *row)
{
	static int terminal = -1;

	if (terminal < 0)
		terminal = isatty(STDERR_FILENO);
	if (!terminal)
		return;
	if (row == NULL)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "\r\033[Kround %u of %u, program %u of %u: %s%s%s", round + 1,
			bench.rounds, job + 1, n_jobs, jobs[job].job.program, row[0] != '\0' ? ", " : "",
			row);
}

static void take_line(const char *line, unsigned round, unsigned job)
{
	union jsonl_line l;

	switch (jsonl_parse(line, &l)) {
	case JSONL_VALUE:
		l.value.round = round;
		store_value(&l.value);
		progress(round, job, l.value.row);
		if (bench.json)
			jsonl_value(&l.value);
		break;
	case JSONL_CURVE:
		l.curve.round = round;
		store_curve(&l.curve);
		if (bench.json)
			jsonl_curve(&l.curve);
		break;
	case JSONL_DISCARDED:
		l.discard.round = round;
		store_discard(&l.discard);
		if (bench.json)
			jsonl_discard(&l.discard);
		break;
	case JSONL_NONE:
		break;
	}
}

static void skip_job(unsigned i, const char *why)
{
	if (jobs[i].asked_for)
		refuse("%s: %s", jobs[i].job.program, why);
	jobs[i].state = SKIPPED;
	for (unsigned k = 0; k < i; k++) /* said already, with other arguments */
		if (strcmp(jobs[k].job.program, jobs[i].job.program) == 0)
			return;
	progress(0, 0, NULL);
	if (bench.json)
		jsonl_skipped(jobs[i].job.program, why);
	else
		printf("# skipped: %s: %s\n", jobs[i].job.program, why);
}

/* What the program said last behind "# bench-NAME skipped: ". */
static void note_skip(const char *line, const char *name, char *ret, size_t bytes)
{
	char start[64];

	snprintf(start, sizeof start, "# bench-%s skipped: ", name);
	if (strncmp(line, start, strlen(start)) == 0)
		snprintf(ret, bytes, "%.*s", (int)strcspn(line + strlen(start), "\n"),
			 line + strlen(start));
}

static void run_job(unsigned i, unsigned round)
{
	const char *name = jobs[i].job.program;
	char line[2048], why[256] = "it cannot be measured here";
	int ends[2], status = 0;

	progress(round, i, "");
	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		execute(&jobs[i].job, ends[1]);
	stop_forward(pid); /* told to end, we wait until it has taken away what it made */
	close(ends[1]);
	FILE *f = fdopen(ends[0], "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		note_skip(line, name, why, sizeof why);
		take_line(line, round, i);
	}
	if (f != NULL)
		fclose(f);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	stop_forward(0);
	stop_if_asked();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == BENCH_SKIPPED) {
		skip_job(i, why);
		return;
	}
	progress(0, 0, NULL);
	fprintf(stderr, "%s: bench-%s failed; the others go on\n", bench.called, name);
	jobs[i].state = FAILED;
	bench.failed++;
}

static void skip_missing(void)
{
	for (unsigned i = 0; i < n_jobs; i++) {
		const struct program *p = program_find(jobs[i].job.program);
		char why[256];

		if (is_built(p->name))
			continue;
		snprintf(why, sizeof why, "not built");
		if (p->packages != NULL)
			snprintf(why, sizeof why, "not built: %s was not installed then "
				 "(tools/install-deps bench-peers, then meson setup --wipe)", p->packages);
		skip_job(i, why);
	}
}

/* ---- options ---- */

enum { OPT_SET = BENCH_OPTION, OPT_LIST, OPT_PLOT, OPT_PROGRAMS };

static void option(int value, const char *argument)
{
	switch (value) {
	case OPT_SET:
		if (n_sets == sizeof chosen_sets / sizeof *chosen_sets)
			refuse("too many sets");
		chosen_sets[n_sets] = set_find(argument);
		if (chosen_sets[n_sets++] == NULL)
			refuse("there is no set %s (--list lists them)", argument);
		break;
	case OPT_LIST:
		list_only = true;
		break;
	case OPT_PLOT:
		plot_file = argument;
		break;
	case OPT_PROGRAMS:
		snprintf(folder, sizeof folder, "%s", argument);
		break;
	default:
		break;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "set", required_argument, NULL, OPT_SET },
		{ "list", no_argument, NULL, OPT_LIST },
		{ "plot", required_argument, NULL, OPT_PLOT },
		{ "programs", required_argument, NULL, OPT_PROGRAMS },
		{ NULL, 0, NULL, 0 },
	};
	static const struct about about = {
		.name = "run",
		.question = "Runs benchmarks interleaved, round by round, and prints one table, with the ratio\n"
			    "to the limits of the machine and to each peer. Without NAME or --set: all.",
		.rounds = 5,
		.names = "[NAME...]",
		.insists_itself = true,
		.options = options,
		.option = option,
		.options_help =
			"  --set NAME     the programs of a set; may be given several times\n"
			"  --list         print the sets and programs\n"
			"  --plot FILE    draw the figures as SVG, if gnuplot is installed\n"
			"  --programs DIR where the programs are (default: where this one is)\n",
	};

	bench_start(argc, argv, &about);
	find_folder();
	if (list_only) {
		print_list();
		return 0;
	}
	choose_jobs();
	if (plot_file != NULL)
		plot_prepare(plot_file);
	insist_on_free_cpus();
	bench.began = moment_now();
	skip_missing();
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned i = 0; i < n_jobs; i++)
			if (jobs[i].state == WAITING)
				run_job(i, r);
	progress(0, 0, NULL);
	report_tables();
	compare_print();
	report_end();
	if (plot_file != NULL)
		plot_draw(plot_file);
	return bench.failed > 0 ? BENCH_FAILED : 0;
}
