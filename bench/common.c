/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEE_HELP " (--help lists the options)"
#define REPEATS 3u
#define FREE_WATCH_MS 400u
#define FREE_PERCENT 50.0 /* a CPU that others use more than this is not free */

struct bench bench = { .cpu = { -1, -1 } };

static cpu_set_t allowed;
static char called[40];

/* ---- ending ---- */

void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", bench.called);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void refuse(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", bench.called);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(BENCH_REFUSED);
}

void skip(const char *format, ...)
{
	FILE *out = bench.may_skip ? stdout : stderr;
	va_list ap;

	fprintf(out, "%s%s%s: ", bench.may_skip ? "# " : "", bench.called,
		bench.may_skip ? " skipped" : "");
	va_start(ap, format);
	vfprintf(out, format, ap);
	va_end(ap);
	fputc('\n', out);
	exit(bench.may_skip ? BENCH_SKIPPED : BENCH_REFUSED);
}

/* ---- being told to end ---- */

#define FORWARD_MOST 8u
static volatile sig_atomic_t asked; /* the signal */
static volatile pid_t forward[FORWARD_MOST];
static pid_t asked_owner;

static void note_signal(int signal)
{
	int error = errno;

	asked = signal;
	for (unsigned i = 0; i < FORWARD_MOST; i++)
		if (forward[i] > 0)
			kill(forward[i], SIGTERM);
	errno = error;
}

static void listen_to_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	const struct sigaction note = { .sa_handler = note_signal }; /* no SA_RESTART: waits end */

	asked_owner = getpid();
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
		struct sigaction was;

		/* Not what nohup and shells have ignored. */
		if (sigaction(signals[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
			sigaction(signals[i], &note, NULL);
	}
}

static void forget_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction was;

	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		if (sigaction(signals[i], NULL, &was) == 0 && was.sa_handler == note_signal)
			signal(signals[i], SIG_DFL);
	if (asked != 0)
		_exit(128 + asked); /* between the fork and this */
}

void stop_if_asked(void)
{
	static bool leaving;

	if (asked == 0 || leaving || getpid() != asked_owner)
		return;
	leaving = true;
	fprintf(stderr, "%s: told to end by signal %d\n", bench.called, (int)asked);
	exit(128 + asked);
}

static void forward_to(unsigned place, pid_t pid)
{
	forward[place] = pid;
	if (pid > 0 && asked != 0)
		kill(pid, SIGTERM); /* it came before we said so */
}

void stop_forward(pid_t pid)
{
	forward_to(0, pid);
}

/* ---- options ---- */

static void help(const struct about *a)
{
	printf("usage: %s [options]%s%s\n\n%s\n\n"
	       "  --rounds N     rounds; every case runs once in each (default %u)\n"
	       "  --repeats N    measure a run again that was disturbed, at most N times (default %u)\n"
	       "  --cpus A,B     the two CPUs to use (default: the first two allowed)\n",
	       bench.called, a->names != NULL ? " " : "", a->names != NULL ? a->names : "", a->question,
	       a->rounds, REPEATS);
	if (a->sizes)
		printf("  --size BYTES   only this size (K, M and G are understood)\n");
	if (a->only)
		printf("  --only TEXT    only rows with TEXT in their name\n");
	if (a->big != NULL)
		printf("  --big          %s\n", a->big);
	if (a->options_help != NULL)
		fputs(a->options_help, stdout);
	printf("  --busy         measure although other programs use these CPUs\n"
	       "  --quick        one short round: shows that it works, measures nothing\n"
	       "  --histogram    how the values of each row are spread\n"
	       "  --json         one JSON object a line, schema " BENCH_SCHEMA ": docs/bench.md\n"
	       "  --may-skip     exit with %d, not 2, if it cannot be measured here\n"
	       "  --help         this text\n\n"
	       "The column \"line\" tells how far apart the CPUs were: near, a line's round trip under\n"
	       "200 ns; far, over 350 ns; mid, in between. A run during which that changed (flip), or\n"
	       "other programs ran (busy), is measured again; if that does not help it is told apart.\n"
	       "Exit status: 0 measured, however slow; 1 failed; 2 wrong usage, no such CPU or no free\n"
	       "one, or it cannot be measured here.\n",
	       BENCH_SKIPPED);
}

static uint64_t parse_size(const char *text)
{
	static const char units[] = "KMG";
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (*end != '\0' && end != text) {
		const char *unit = strchr(units, *end);

		if (unit != NULL && end[1] == '\0') {
			v <<= 10 * (unsigned)(unit - units + 1);
			end++;
		}
	}
	if (end == text || *end != '\0' || text[0] == '-' || errno != 0 || v == 0 || v > 1ull << 40)
		refuse("'%s' is not a size" SEE_HELP, text);
	return v;
}

static unsigned parse_number(const char *text, unsigned long least, const char *what)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || text[0] == '-' || v < least || v > 100000)
		refuse("'%s' is not a number of %s" SEE_HELP, text, what);
	return (unsigned)v;
}

static void parse_cpus(const char *text)
{
	const char *whole = text;
	char *end;

	for (unsigned i = 0; i < 2; i++) {
		long v = strtol(text, &end, 10);

		if (end == text || *end != (i == 0 ? ',' : '\0') || v < 0 || v > INT32_MAX)
			refuse("--cpus: '%s' is not two CPUs as in 0,1" SEE_HELP, whole);
		if (v >= CPU_SETSIZE || !CPU_ISSET((size_t)v, &allowed))
			refuse("there is no CPU %ld that this process may use" SEE_HELP, v);
		bench.cpu[i] = (int)v;
		text = end + 1;
	}
}

static void default_cpus(void)
{
	for (int i = 0; i < CPU_SETSIZE && bench.cpu[1] < 0; i++)
		if (CPU_ISSET((size_t)i, &allowed))
			bench.cpu[bench.cpu[0] < 0 ? 0 : 1] = i;
	if (bench.cpu[1] < 0)
		bench.cpu[1] = bench.cpu[0];
}

static void calibrate(void)
{
	struct timespec a, b;
	uint64_t from, to;

	clock_gettime(CLOCK_MONOTONIC_RAW, &a);
	from = ticks();
	sleep_ms(20);
	clock_gettime(CLOCK_MONOTONIC_RAW, &b);
	to = ticks();
	bench.ns_per_tick = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) /
			    (double)(to - from);
}

enum {
	OPT_HELP = 256,
	OPT_JSON,
	OPT_ROUNDS,
	OPT_REPEATS,
	OPT_CPUS,
	OPT_SIZE,
	OPT_BIG,
	OPT_ONLY,
	OPT_BUSY,
	OPT_QUICK,
	OPT_HISTOGRAM,
	OPT_MAY_SKIP,
};
#define OPTIONS_MOST 24

static void apply_option(int c, const struct about *about)
{
	switch (c) {
	case OPT_HELP:
		help(about);
		exit(0);
	case OPT_JSON:
		bench.json = true;
		break;
	case OPT_ROUNDS:
		bench.rounds = parse_number(optarg, 1, "rounds");
		break;
	case OPT_REPEATS:
		bench.repeats = parse_number(optarg, 0, "repeats");
		break;
	case OPT_ONLY:
		bench.only = optarg;
		break;
	case OPT_BUSY:
		bench.busy = true;
		break;
	case OPT_MAY_SKIP:
		bench.may_skip = true;
		break;
	case OPT_CPUS:
		parse_cpus(optarg);
		break;
	case OPT_SIZE:
		bench.size = parse_size(optarg);
		break;
	case OPT_BIG:
		bench.big = true;
		break;
	case OPT_QUICK:
		bench.quick = true;
		break;
	case OPT_HISTOGRAM:
		bench.histogram = true;
		break;
	default:
		about->option(c, optarg);
		break;
	}
}

/* The options of all programs, and those of this one. */
static void collect_options(struct option *all, const struct about *about)
{
	static const struct option common[] = {
		{ "help", no_argument, NULL, OPT_HELP },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "rounds", required_argument, NULL, OPT_ROUNDS },
		{ "repeats", required_argument, NULL, OPT_REPEATS },
		{ "cpus", required_argument, NULL, OPT_CPUS },
		{ "size", required_argument, NULL, OPT_SIZE },
		{ "big", no_argument, NULL, OPT_BIG },
		{ "only", required_argument, NULL, OPT_ONLY },
		{ "busy", no_argument, NULL, OPT_BUSY },
		{ "quick", no_argument, NULL, OPT_QUICK },
		{ "histogram", no_argument, NULL, OPT_HISTOGRAM },
		{ "may-skip", no_argument, NULL, OPT_MAY_SKIP },
	};
	unsigned n = sizeof common / sizeof *common;

	memcpy(all, common, sizeof common);
	for (const struct option *o = about->options; o != NULL && o->name != NULL; o++)
		if (n < OPTIONS_MOST - 1)
			all[n++] = *o;
}

void insist_on_free_cpus(void)
{
	if (bench.quick || bench.busy)
		return;
	for (unsigned i = 0; i < (two_cpus() ? 2 : 1); i++) {
		double percent = cpu_busy_percent(bench.cpu[i], FREE_WATCH_MS);

		if (percent > FREE_PERCENT)
			refuse("CPU %d is not free: other programs use %.0f %% of it; wait, choose "
			       "others with --cpus, or measure all the same with --busy",
			       bench.cpu[i], percent);
	}
}

void bench_start(int argc, char **argv, const struct about *about)
{
	struct option options[OPTIONS_MOST] = { 0 };
	int c;

	bench.name = about->name;
	snprintf(called, sizeof called, "bench-%s", about->name);
	bench.called = strchr(argv[0], ' ') != NULL ? argv[0] : called;
	bench.repeats = REPEATS;
	collect_options(options, about);
	sched_getaffinity(0, sizeof allowed, &allowed);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			refuse("%s wants a value" SEE_HELP, argv[optind - 1]);
		if (c == '?' || (c == OPT_BIG && about->big == NULL) ||
		    (c == OPT_ONLY && !about->only) || (c == OPT_SIZE && !about->sizes))
			refuse("unknown option %s" SEE_HELP, argv[optind - 1]);
		apply_option(c, about);
	}
	if (optind < argc && about->names == NULL)
		refuse("unexpected argument %s" SEE_HELP, argv[optind]);
	bench.names = argv + optind;
	if (bench.rounds == 0)
		bench.rounds = bench.quick ? 1 : about->rounds;
	if (bench.quick) /* it measures nothing */
		bench.repeats = 0;
	default_cpus();
	if (!about->insists_itself)
		insist_on_free_cpus();
	listen_to_signals();
	calibrate();
	bench.began = moment_now();
	setvbuf(stdout, NULL, _IOLBF, 0);
}

bool wanted(uint64_t size)
{
	return bench.size == 0 || bench.size == size;
}

bool wanted_row(const char *row)
{
	return bench.only == NULL || strstr(row, bench.only) != NULL;
}

uint64_t often(uint64_t n)
{
	return bench.quick ? n / 50 + 1 : n;
}

static char *text_buffer(void)
{
	static char buffer[8][32];
	static unsigned at;

	return buffer[at++ % 8];
}

static const char *text_scaled(uint64_t n, uint64_t base, const char *const *unit)
{
	char *text = text_buffer();
	unsigned i = 0;

	while (n >= base && n % base == 0 && i < 3) {
		n /= base;
		i++;
	}
	snprintf(text, 32, "%llu%s", (unsigned long long)n, unit[i]);
	return text;
}

const char *text_size(uint64_t bytes)
{
	static const char *const unit[] = { " B", " KiB", " MiB", " GiB" };

	return text_scaled(bytes, 1024, unit);
}

const char *text_count(uint64_t n)
{
	static const char *const unit[] = { "", " k", " M", " G" };

	return text_scaled(n, 1000, unit);
}

void sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		stop_if_asked();
	stop_if_asked();
}

void take_a_rest(void)
{
	const struct timespec t = { .tv_nsec = REST_NS };

	nanosleep(&t, NULL);
}

double sleeps_so_far(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_nvcsw;
}

/* ---- CPUs ---- */

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		die("cannot run on CPU %d: %s", cpu, strerror(errno));
}

bool pin_process(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (cpu >= 0)
		CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(pid, sizeof set, cpu >= 0 ? &set : &allowed) == 0;
}

void unpin(void)
{
	sched_setaffinity(0, sizeof allowed, &allowed);
}

bool two_cpus(void)
{
	return bench.cpu[0] != bench.cpu[1];
}

/* ---- processes ---- */

void *shared_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
		       -1, 0);

	if (p == MAP_FAILED)
		die("%zu bytes of shared memory: %s", bytes, strerror(errno));
	return p;
}

pid_t start_process(void (*fn)(void *), void *arg, int cpu)
{
	pid_t parent = getpid();

	fflush(NULL);
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	forget_signals();
	if (cpu >= 0)
		pin(cpu);
	else
		unpin();
	fn(arg);
	fflush(NULL);
	_exit(0);
}

static void say_how(int status)
{
	if (WIFSIGNALED(status))
		die("a measuring process was killed by signal %d", WTERMSIG(status));
	exit(WEXITSTATUS(status)); /* it said why */
}

void await_processes(const pid_t *pid, unsigned n)
{
	for (unsigned i = 0; i < n && i + 1 < FORWARD_MOST; i++)
		forward_to(i + 1, pid[i]);
	for (unsigned left = n; left > 0;) {
		int status;
		pid_t p = waitpid(-1, &status, 0);
		bool mine = false;

		stop_if_asked();
		if (p < 0)
			die("waitpid: %s", strerror(errno));
		for (unsigned i = 1; i < FORWARD_MOST; i++)
			if (forward[i] == p)
				forward[i] = 0;
		for (unsigned i = 0; i < n; i++)
			mine |= pid[i] == p;
		if (!mine)
			continue; /* a server: its owner sees to it */
		left--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		for (unsigned i = 0; i < n; i++)
			if (pid[i] != p)
				kill(pid[i], SIGKILL);
		say_how(status);
	}
}

double process_cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec t;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return 0;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void meet(struct meeting *m, uint32_t n)
{
	uint32_t turn = __atomic_load_n(&m->turn, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&m->here, 1, __ATOMIC_ACQ_REL) == n) {
		__atomic_store_n(&m->here, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&m->turn, turn + 1, __ATOMIC_RELEASE);
		return;
	}
	for (uint32_t i = 0; __atomic_load_n(&m->turn, __ATOMIC_ACQUIRE) == turn; i++) {
		if (i < 2000)
			spin_pause();
		else
			sched_yield();
	}
}
