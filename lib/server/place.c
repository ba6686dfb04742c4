/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <ctype.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lib/error.h"

/* ---- CPUs ---- */

#define CPUS_MOST 8192u /* as the largest kernels have it */
#define SET_BYTES (CPUS_MOST / 8)
#define NODES_MOST 1024u

typedef struct {
	unsigned long word[SET_BYTES / sizeof(unsigned long)];
} set;
#define WORD_BITS (8 * sizeof(unsigned long))

static bool is_in(const set *s, unsigned cpu)
{
	return s->word[cpu / WORD_BITS] >> cpu % WORD_BITS & 1;
}

/* Digits at *@p, below @limit; false: none, or too large. */
static bool read_number(const char **p, unsigned limit, unsigned *ret)
{
	unsigned v = 0;

	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++) {
		v = v * 10 + (unsigned)(**p - '0');
		if (v >= limit)
			return false;
	}
	*ret = v;
	return true;
}

/* "0,2-3", also with a newline behind it, as sysfs writes it. */
static bool read_list(const char *text, set *ret)
{
	memset(ret, 0, sizeof *ret);
	for (const char *p = text;; p++) {
		unsigned from, to;

		if (!read_number(&p, CPUS_MOST, &from))
			return false;
		to = from;
		if (*p == '-' && (p++, !read_number(&p, CPUS_MOST, &to)))
			return false;
		if (to < from)
			return false;
		for (unsigned i = from; i <= to; i++)
			ret->word[i / WORD_BITS] |= 1ul << i % WORD_BITS;
		if (*p == '\0' || (*p == '\n' && p[1] == '\0'))
			return true;
		if (*p != ',')
			return false;
	}
}

static void write_list(const set *s, char *ret, size_t bytes)
{
	size_t used = 0;

	*ret = '\0';
	for (unsigned i = 0; i < CPUS_MOST && used + 12 < bytes; i++) {
		unsigned last = i;

		if (!is_in(s, i))
			continue;
		while (last + 1 < CPUS_MOST && is_in(s, last + 1))
			last++;
		used += (size_t)snprintf(ret + used, bytes - used, last > i ? "%s%u-%u" : "%s%u",
					 used > 0 ? "," : "", i, last);
		i = last;
	}
}

static int node_cpus(const char *text, set *ret, unsigned *ret_node)
{
	const char *p = text + strlen("node");
	char path[80], line[4096] = "";

	if (!read_number(&p, NODES_MOST, ret_node) || *p != '\0')
		return tarn__fail(-EINVAL, "\"%.60s\" is no NUMA node (such as node0)", text);
	snprintf(path, sizeof path, "/sys/devices/system/node/node%u/cpulist", *ret_node);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return tarn__fail(-EINVAL, "this machine has no NUMA node %u", *ret_node);
	bool read = fgets(line, sizeof line, f) != NULL && read_list(line, ret);
	fclose(f);
	return read ? 0
		    : tarn__fail(-EINVAL, "NUMA node %u has no CPUs", *ret_node);
}

/* The kernel takes what it can of a set, silently: so look whether it took all of it. */
static int pin(const char *text, const set *want)
{
	set before = { 0 }, now = { 0 };
	char allowed[256];

	if (syscall(SYS_sched_getaffinity, 0, sizeof before, &before) < 0)
		return tarn__fail(-errno, "sched_getaffinity: %s", tarn_error_text(-errno));
	int r = syscall(SYS_sched_setaffinity, 0, sizeof *want, want) != 0 ? -errno : 0;
	if (r == 0 && (syscall(SYS_sched_getaffinity, 0, sizeof now, &now) < 0 ||
		       memcmp(&now, want, sizeof now) != 0)) {
		syscall(SYS_sched_setaffinity, 0, sizeof before, &before);
		r = -EINVAL;
	}
	if (r == 0)
		return 0;
	write_list(&before, allowed, sizeof allowed);
	return tarn__fail(r, "cannot run on CPUs %.60s: here it may run on %s", text, allowed);
}

int tarn__place_cpus(const char *cpus)
{
	unsigned long nodes[NODES_MOST / WORD_BITS] = { 0 };
	const bool by_node = strncmp(cpus, "node", 4) == 0;
	unsigned node = 0;
	set want;
	int r = 0;

	if (by_node)
		r = node_cpus(cpus, &want, &node);
	else if (!read_list(cpus, &want))
		r = tarn__fail(-EINVAL, "\"%.60s\" is no list of CPUs (such as 0, 0,2-3, node0)", cpus);
	if (r == 0)
		r = pin(cpus, &want);
	if (r < 0 || !by_node)
		return r;
	nodes[node / WORD_BITS] = 1ul << node % WORD_BITS;
	/* A preference, so that nothing fails for want of it; containers may refuse even that. */
	syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes, NODES_MOST + 1ul);
	return 0;
}

/* ---- memory ---- */

#define WORD_BYTES 512u

/* A file that may not be there. *@ret_unread: it may be there, but nothing is left to open it with. */
static FILE *open_text(const char *path, bool *ret_unread)
{
	FILE *f = fopen(path, "re");

	if (f == NULL && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		*ret_unread = true;
	return f;
}

static uint64_t read_limit(const char *path, bool *ret_unread)
{
	char text[32] = "";
	FILE *f = open_text(path, ret_unread);

	if (f == NULL)
		return UINT64_MAX;
	const uint64_t v = fgets(text, sizeof text, f) != NULL ? strtoull(text, NULL, 10) : 0; /* "max": 0 */
	fclose(f);
	return v != 0 ? v : UINT64_MAX;
}

/* The least limit from the group @path below @mount up to its root; @path is changed. */
static uint64_t limit_upwards(const char *mount, char *path, const char *file, bool *ret_unread)
{
	uint64_t least = UINT64_MAX;
	char name[1200];

	for (;;) {
		snprintf(name, sizeof name, "%s%s/%s", mount, path, file);
		uint64_t v = read_limit(name, ret_unread);
		char *slash = strrchr(path, '/');

		if (v < least)
			least = v;
		if (slash == NULL)
			return least;
		*slash = '\0';
	}
}

/* The word after @n spaces; "" if there is none. By hand, for scanf is a quarter of a take-over's instructions. */
static void word_at(const char *text, unsigned n, char ret[WORD_BYTES])
{
	for (; n > 0 && text != NULL; n--) {
		text = strchr(text, ' ');
		text += text != NULL;
	}
	size_t bytes = text != NULL ? strcspn(text, " \n") : 0;

	if (bytes >= WORD_BYTES)
		bytes = WORD_BYTES - 1;
	memcpy(ret, text != NULL ? text : "", bytes);
	ret[bytes] = '\0';
}

/* A line of /proc/self/mountinfo: "ID PARENT DEV ROOT MOUNT OPTIONS... - TYPE SOURCE OPTIONS".
 * True if it is the hierarchy we look for: v2, or v1 with the memory controller. */
static bool is_memory_mount(const char *line, bool v2, char *ret_root, char *ret_mount)
{
	char type[WORD_BYTES], options[WORD_BYTES];
	const char *rest = strstr(line, " - ");

	if (rest == NULL)
		return false;
	word_at(rest, 2, type);
	word_at(rest, 4, options);
	if (v2 ? strcmp(type, "cgroup2") != 0 : strcmp(type, "cgroup") != 0 || strstr(options, "memory") == NULL)
		return false;
	word_at(line, 3, ret_root);
	word_at(line, 4, ret_mount);
	return true;
}

/* Limit of the group @path (as /proc/self/cgroup has it) of one hierarchy. */
static uint64_t limit_of(const char *path, bool v2, bool *ret_unread)
{
	char line[2048], root[WORD_BYTES], mount[WORD_BYTES], below[WORD_BYTES];
	uint64_t least = UINT64_MAX;
	FILE *f = open_text("/proc/self/mountinfo", ret_unread);

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (!is_memory_mount(line, v2, root, mount))
			continue;
		/* In a container the mount may show a part of the tree only, "root". */
		size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
		const bool shown = strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
		snprintf(below, sizeof below, "%s", shown ? path + n : "");
		uint64_t v = limit_upwards(mount, below,
					   v2 ? "memory.max" : "memory.limit_in_bytes", ret_unread);
		if (v < least)
			least = v;
	}
	if (f != NULL)
		fclose(f);
	return least;
}

static uint64_t limit_now(bool *ret_unread)
{
	uint64_t least = UINT64_MAX;
	char line[2048];
	FILE *f = open_text("/proc/self/cgroup", ret_unread);

	/* "0::/path", or "4:memory:/path". */
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *names = strchr(line, ':'), *path = names != NULL ? strchr(names + 1, ':') : NULL;

		line[strcspn(line, "\n")] = '\0';
		if (path == NULL)
			continue;
		*path++ = '\0';
		const bool v2 = names[1] == '\0';
		if (!v2 && strstr(names, "memory") == NULL)
			continue;
		uint64_t v = limit_of(path, v2, ret_unread);
		if (v < least)
			least = v;
	}
	if (f != NULL)
		fclose(f);
	return least;
}

uint64_t tarn__place_limit(void)
{
	bool unread;

	return limit_now(&unread);
}

bool tarn__place_budget(uint64_t *ret)
{
	bool unread = false;
	const uint64_t limit = limit_now(&unread);

	if (!unread)
		*ret = limit != UINT64_MAX ? limit - limit / 8 : 0;
	return !unread;
}

uint64_t tarn__place_memory(void)
{
	struct sysinfo info;
	const uint64_t all = sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 1ull << 30;
	const uint64_t limit = tarn__place_limit();

	return limit < all ? limit : all;
}
