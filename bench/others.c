/* SPDX-License-Identifier: Apache-2.0 */
/* What other programs use of the CPUs, from /proc/stat less what is known to be ours. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define OURS_MOST 256u

static pid_t ours[OURS_MOST];
static unsigned n_ours;

void ours_add(pid_t pid)
{
	if (n_ours < OURS_MOST)
		ours[n_ours++] = pid;
}

void ours_forget(pid_t pid)
{
	for (unsigned i = 0; i < n_ours; i++)
		if (ours[i] == pid)
			ours[i--] = ours[--n_ours];
}

/* Time that one line of /proc/stat tells ("cpu": all CPUs, "cpu0"), in ns. */
static bool read_stat(const char *name, double *ret_all_ns, double *ret_busy_ns)
{
	FILE *f = fopen("/proc/stat", "re");
	double tick_ns = 1e9 / (double)sysconf(_SC_CLK_TCK);
	char line[512], key[32];
	double v[8]; /* user nice system idle iowait irq softirq steal */
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
		found = sscanf(line, "%31s %lf %lf %lf %lf %lf %lf %lf %lf", key, &v[0], &v[1], &v[2],
			       &v[3], &v[4], &v[5], &v[6], &v[7]) == 9 &&
			strcmp(key, name) == 0;
	if (f != NULL)
		fclose(f);
	if (!found)
		return false;
	*ret_all_ns = 0;
	for (unsigned i = 0; i < 8; i++)
		*ret_all_ns += v[i] * tick_ns;
	*ret_busy_ns = *ret_all_ns - (v[3] + v[4]) * tick_ns;
	return true;
}

static double usage_ns(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

struct moment moment_now(void)
{
	struct moment m = { .own_ns = usage_ns(RUSAGE_SELF) + usage_ns(RUSAGE_CHILDREN) };

	for (unsigned i = 0; i < n_ours; i++)
		m.own_ns += process_cpu_ns(ours[i]);
	if (!read_stat("cpu", &m.all_ns, &m.busy_ns))
		m.all_ns = m.busy_ns = 0;
	return m;
}

struct others others_since(const struct moment *m)
{
	struct moment now = moment_now();
	double all = now.all_ns - m->all_ns;
	double ns = (now.busy_ns - m->busy_ns) - (now.own_ns - m->own_ns);

	if (all <= 0 || ns <= 0)
		return (struct others){ 0 };
	return (struct others){ .ns = ns, .percent = ns / all * 100 };
}

double cpu_busy_percent(int cpu, unsigned ms)
{
	char name[16];
	double all[2], busy[2];

	snprintf(name, sizeof name, "cpu%d", cpu);
	if (!read_stat(name, &all[0], &busy[0]))
		return 0;
	sleep_ms(ms);
	if (!read_stat(name, &all[1], &busy[1]) || all[1] <= all[0])
		return 0;
	return (busy[1] - busy[0]) / (all[1] - all[0]) * 100;
}
