/* SPDX-License-Identifier: Apache-2.0 */
/* How many CPUs there are for this process: affinity, and the cgroups' quotas of time (version 2),
 * of which the strictest on the way up counts. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "tarn/pool.h"

#define CPUS_MOST 8192

static unsigned by_affinity(void)
{
	unsigned n = 0;
	cpu_set_t *set = CPU_ALLOC(CPUS_MOST);

	if (set != NULL && sched_getaffinity(0, CPU_ALLOC_SIZE(CPUS_MOST), set) == 0)
		n = (unsigned)CPU_COUNT_S(CPU_ALLOC_SIZE(CPUS_MOST), set);
	CPU_FREE(set);
	return n > 0 ? n : 1;
}

unsigned tarn__cpu_quota(const char *text)
{
	char *end;
	const unsigned long quota = strtoul(text, &end, 10); /* "max 100000" has none */
	const unsigned long period = end != text ? strtoul(end, NULL, 10) : 0;

	if (quota == 0 || period == 0)
		return 0;
	return (unsigned)((quota + period - 1) / period);
}

static bool read_text(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, bytes - 1) : -1;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* 0: no quota. */
static unsigned by_cgroup(void)
{
	char group[1024], path[1200], text[64];
	unsigned least = 0;

	if (!read_text("/proc/self/cgroup", group, sizeof group))
		return 0;
	char *own = strstr(group, "0::");
	if (own == NULL)
		return 0;
	own += 3;
	own[strcspn(own, "\n")] = '\0';
	for (;;) {
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", own);
		const unsigned n = read_text(path, text, sizeof text) ? tarn__cpu_quota(text) : 0;

		if (n != 0 && (least == 0 || n < least))
			least = n;
		char *slash = strrchr(own, '/');
		if (slash == NULL || *own == '\0')
			return least;
		*slash = '\0';
	}
}

unsigned tarn_cpu_count(void)
{
	const unsigned n = by_affinity(), quota = by_cgroup();

	return quota != 0 && quota < n ? quota : n;
}
