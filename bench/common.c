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

struct bench bench = { .cpu = { -1, -1 } };

static cpu_set_t allowed;

/* ---- ending ---- */

void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "bench-%s: ", bench.name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void skip(const char *format, ...)
{
	va_list ap;

	printf("# bench-%s skipped: ", bench.name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	exit(BENCH_SKIPPED);
}

/* The command line is wrong: one line, exit 2. */
__attribute__((format(printf, 1, 2))) static _Noreturn void usage_error(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "bench-%s: ", bench.name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, " (--help lists the options)\n");
	exit(2);
}

/* ---- options ---- */

static void help(const struct about *a)
{
	printf("usage: bench-%s [options]%s%s\n\n%s\n\n"
	       "  --rounds N     rounds; every case runs once in each (default %u)\n"
	       "  --cpus A,B     the two CPUs to use (default: the first two allowed)\n",
	       a->name, a->names != NULL ? " " : "", a->names != NULL ? a->names : "", a->question,
	       a->rounds);
	if (a->sizes)
		printf("  --size BYTES   only this size (K, M and G are understood)\n");
	if (a->big != NULL)
		printf("  --big          %s\n", a->big);
	printf("  --quick        one short round: shows that it works, measures nothing\n"
	       "  --histogram    how the values of each row are spread\n"
	       "  --json         one JSON object a line: every value, then the medians\n"
	       "  --help         this text\n\n"
	       "The column \"line\" tells how far apart the CPUs were: near, a line's round trip under\n"
	       "200 ns; far, over 350 ns; flip, in between or changing; busy, other programs ran.\n"
	       "Exit code: 0 measured, 1 failed, 2 wrong usage, %d cannot be measured here.\n",
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
		usage_error("'%s' is not a size", text);
	return v;
}

static unsigned parse_rounds(const char *text)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || text[0] == '-' || v < 1 || v > 100000)
		usage_error("'%s' is not a number of rounds", text);
	return (unsigned)v;
}

static void parse_cpus(const char *text)
{
	char *end;

	for (unsigned i = 0; i < 2; i++) {
		long v = strtol(text, &end, 10);

		if (end == text || *end != (i == 0 ? ',' : '\0') || v < 0 || v > INT32_MAX)
			usage_error("--cpus wants two numbers as in 0,1");
		if (v >= CPU_SETSIZE || !CPU_ISSET((size_t)v, &allowed))
			usage_error("there is no CPU %ld that this process may use", v);
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

enum { OPT_HELP = 256, OPT_JSON, OPT_ROUNDS, OPT_CPUS, OPT_SIZE, OPT_BIG, OPT_QUICK, OPT_HISTOGRAM };

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
		bench.rounds = parse_rounds(optarg);
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
		break;
	}
}

void bench_start(int argc, char **argv, const struct about *about)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, OPT_HELP },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "rounds", required_argument, NULL, OPT_ROUNDS },
		{ "cpus", required_argument, NULL, OPT_CPUS },
		{ "size", required_argument, NULL, OPT_SIZE },
		{ "big", no_argument, NULL, OPT_BIG },
		{ "quick", no_argument, NULL, OPT_QUICK },
		{ "histogram", no_argument, NULL, OPT_HISTOGRAM },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	bench.name = about->name;
	sched_getaffinity(0, sizeof allowed, &allowed);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			usage_error("%s wants a value", argv[optind - 1]);
		if (c == '?' || (c == OPT_BIG && about->big == NULL) ||
		    (c == OPT_SIZE && !about->sizes))
			usage_error("unknown option %s", argv[optind - 1]);
		apply_option(c, about);
	}
	if (optind < argc && about->names == NULL)
		usage_error("unexpected argument %s", argv[optind]);
	bench.names = argv + optind;
	if (bench.rounds == 0)
		bench.rounds = bench.quick ? 1 : about->rounds;
	default_cpus();
	calibrate();
	others_percent(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

bool wanted(uint64_t size)
{
	return bench.size == 0 || bench.size == size;
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
		;
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
	for (unsigned left = n; left > 0;) {
		int status;
		pid_t p = waitpid(-1, &status, 0);
		bool mine = false;

		if (p < 0)
			die("waitpid: %s", strerror(errno));
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

/* The CPUs' time so far, in ns: all of it, and idle. */
static void machine_time(double *ret_all, double *ret_idle)
{
	FILE *f = fopen("/proc/stat", "re");
	double v[8] = { 0 };

	if (f != NULL) {
		if (fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3],
			   &v[4], &v[5], &v[6], &v[7]) != 8)
			memset(v, 0, sizeof v);
		fclose(f);
	}
	*ret_all = 0;
	for (unsigned i = 0; i < 8; i++)
		*ret_all += v[i] * 1e9 / (double)sysconf(_SC_CLK_TCK);
	*ret_idle = (v[3] + v[4]) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

static double own_ns(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

double others_percent(double known_ns)
{
	static double all_before, idle_before, own_before;
	double all, idle, own = own_ns(RUSAGE_SELF) + own_ns(RUSAGE_CHILDREN) + known_ns;

	machine_time(&all, &idle);
	if (all_before <= 0) {
		all_before = all;
		idle_before = idle;
		own_before = own;
		return 0;
	}
	double busy = (all - all_before) - (idle - idle_before) - (own - own_before);

	return all > all_before && busy > 0 ? busy / (all - all_before) * 100 : 0;
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
