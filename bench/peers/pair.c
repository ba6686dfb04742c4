/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/line.h"

#define MIB (1u << 20)
#define STOP_MS 3000u

static struct stage {
	struct meeting meeting;
	struct line line;
	double reference[2];
	struct digest digest;
	unsigned char shared[PAIR_SHARED] __attribute__((aligned(128)));
} *stage;

static const struct pair_case *current;
static char dir[64]; /* "": none */
static unsigned n_runs;
static pid_t owner; /* who cleans up at the end */

/* ---- both sides ---- */

static void reference(struct pair *p, unsigned which)
{
	double ns;

	if (p->is->one_cpu)
		return;
	ns = line_reference(&stage->line, &stage->meeting, p->is_first);
	if (p->is_first)
		stage->reference[which] = ns;
}

void pair_meet(struct pair *p)
{
	(void)p;
	meet(&stage->meeting, 2);
}

void pair_start(struct pair *p)
{
	pair_meet(p);
	reference(p, 0);
	p->started = true;
	p->last = ticks();
}

bool pair_next(struct pair *p)
{
	uint64_t now = ticks();

	if (p->is_first && p->trip > p->total - p->is->trips)
		samples_add(&p->samples, now - p->last);
	p->trip++;
	if (p->is_first && p->is->rest && p->trip <= p->total) {
		take_a_rest();
		now = ticks();
	}
	p->last = now;
	return p->trip <= p->total;
}

void pair_check(const struct pair *p, const void *message)
{
	uint64_t word = *(const volatile uint64_t *)message;

	if (word != p->trip)
		die("message %llu came when %llu was due", (unsigned long long)word,
		    (unsigned long long)p->trip);
	if (p->is->read_all)
		read_words(message, p->size);
}

static void run_side(bool first)
{
	uint64_t trips = often(current->trips);
	struct pair_case is = *current;
	struct pair p = { .is = &is,
			  .size = is.size,
			  .dir = dir,
			  .run = n_runs,
			  .shared = stage->shared,
			  .is_first = first };

	is.trips = trips;
	p.total = trips + trips / 10 + 5; /* the first ones warm up */
	if (first)
		samples_grow(&p.samples, trips);
	(first ? is.first : is.second)(&p);
	if (!p.started)
		die("a side did not start");
	reference(&p, 1);
	if (first)
		stage->digest = digest_of(&p.samples);
	samples_free(&p.samples);
}

/* They exit, not _exit: libraries of peers take their files away then. */
static void run_first(void *arg)
{
	(void)arg;
	run_side(true);
	exit(0);
}

static void run_second(void *arg)
{
	(void)arg;
	run_side(false);
	exit(0);
}

/* ---- cleaning up ---- */

static pid_t started[8]; /* helpers */
static unsigned n_started;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void clean_up(void)
{
	if (getpid() != owner) /* a measuring process that ends */
		return;
	while (n_started > 0)
		helper_stop(started[n_started - 1]);
	directory_remove();
}

static void clean_up_at_exit(void)
{
	if (owner == 0)
		atexit(clean_up);
	owner = getpid();
}

const char *directory_make(void)
{
	clean_up_at_exit();
	snprintf(dir, sizeof dir, "/tmp/tarn-bench-XXXXXX");
	if (mkdtemp(dir) == NULL)
		die("%s: %s", dir, strerror(errno));
	return dir;
}

void directory_remove(void)
{
	if (dir[0] != '\0')
		nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	dir[0] = '\0';
}

/* ---- one case ---- */

void pair_measure(unsigned round, const struct pair_case *c)
{
	if (!wanted_row(c->row) || (!c->one_cpu && !two_cpus()))
		return;
	if (stage == NULL)
		stage = shared_memory(sizeof *stage);
	memset(stage, 0, sizeof *stage);
	current = c;
	n_runs++;
	directory_make();
	run_begin(round, false);
	if (!c->asleep)
		run_axis("bytes", (double)c->size, "there and back");
	const pid_t pid[] = { start_process(run_first, NULL, bench.cpu[0]),
			      start_process(run_second, NULL, bench.cpu[c->one_cpu ? 0 : 1]) };
	await_processes(pid, 2);
	directory_remove();
	if (!c->one_cpu)
		record(c->row, VERSUS_LINE, "ns", (stage->reference[0] + stage->reference[1]) / 2, NULL);
	record_digest(c->row, &stage->digest, VERSUS_LINE);
	if (run_again())
		pair_measure(round, c);
}

void pair_measure_all(unsigned round, const struct pair_kinds *k)
{
	bool spinning = k->spins, asleep = k->sleeps, large_asleep = k->large == LARGE_ASLEEP;
	uint64_t large = k->large != NOT_LARGE ? 1000 : 0;
	const struct {
		bool wanted;
		struct pair_case is; /* row, size, read_all, asleep, one_cpu, rest, trips */
	} cases[] = {
		{ spinning && k->trips, { TOPIC_TRIP_SPIN, 64, false, false, false, false, 50000 } },
		{ spinning && k->calls, { TOPIC_CALL_SPIN, 64, false, false, false, false, 50000 } },
		{ asleep && k->trips, { TOPIC_TRIP_TWO, 64, false, true, false, false, 4000 } },
		{ asleep && k->trips, { TOPIC_TRIP_ONE, 64, false, true, true, false, 4000 } },
		{ asleep && k->trips, { TOPIC_REST_TWO, 64, false, true, false, true, 1000 } },
		{ asleep && k->trips, { TOPIC_REST_ONE, 64, false, true, true, true, 1000 } },
		{ asleep && k->calls, { TOPIC_CALL_TWO, 64, false, true, false, false, 4000 } },
		{ asleep && k->calls, { TOPIC_CALL_ONE, 64, false, true, true, false, 4000 } },
		{ asleep && k->calls, { TOPIC_CALL_REST_TWO, 64, false, true, false, true, 1000 } },
		{ asleep && k->calls, { TOPIC_CALL_REST_ONE, 64, false, true, true, true, 1000 } },
		{ large > 0, { TOPIC_BYTE, MIB, false, large_asleep, false, false, large } },
		{ large > 0, { TOPIC_ALL, MIB, true, large_asleep, false, false, large } },
	};

	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pair_case c = cases[i].is;

		c.first = k->first;
		c.second = k->second;
		if (cases[i].wanted)
			pair_measure(round, &c);
	}
}

/* ---- programs of peers ---- */

bool helper_exists(const char *name)
{
	const char *path = getenv("PATH");
	char copy[4096], file[4200];

	if (path == NULL || strlen(path) >= sizeof copy)
		return false;
	snprintf(copy, sizeof copy, "%s", path);
	for (char *d = strtok(copy, ":"); d != NULL; d = strtok(NULL, ":")) {
		snprintf(file, sizeof file, "%s/%s", d, name);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static char *const *helper_argv;

static void execute(void *arg)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)arg;
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	execvp(helper_argv[0], helper_argv);
	_exit(127);
}

pid_t helper_start(char *const *argv, int cpu, const char *package)
{
	pid_t pid;

	if (!helper_exists(argv[0]))
		skip("%s is not installed (Debian: %s)", argv[0], package);
	if (n_started == sizeof started / sizeof *started)
		die("too many helpers");
	helper_argv = argv;
	pid = start_process(execute, NULL, cpu);
	clean_up_at_exit();
	started[n_started++] = pid;
	ours_add(pid);
	return pid;
}

bool helper_ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

void helper_stop(pid_t pid)
{
	ours_forget(pid);
	for (unsigned i = 0; i < n_started; i++)
		if (started[i] == pid)
			started[i--] = started[--n_started];
	kill(pid, SIGTERM);
	for (unsigned ms = 0; ms < STOP_MS && !helper_ended(pid); ms += 5)
		sleep_ms(5);
	kill(pid, SIGKILL); /* not reaped yet: it is still this process */
	waitpid(pid, NULL, 0);
}
