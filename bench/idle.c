/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a server cost that has nothing to do? Its wake-ups and CPU time over some idle
 * seconds, its resident memory, and the shared memory that really exists (blocks of the
 * files behind its descriptors, each counted once), empty and with idle clients attached.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "report.h"

#define CLIENTS 64u
#define WATCH_MS 3000u
#define FILES_MOST 4096u

static struct stage {
	uint32_t ready; /* clients that have attached */
} *stage;

/* ---- what /proc tells of a process; sums over its threads ---- */

struct usage {
	double cpu_ns, wakeups;
};

static double read_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[256];
	double v = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		v = strtod(line + strlen(key), NULL);
		break;
	}
	if (f != NULL)
		fclose(f);
	return v;
}

static struct usage usage_of(pid_t pid)
{
	char path[320];
	struct usage u = { 0 };
	struct dirent *e;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
		u.cpu_ns += read_number(path, "");
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, e->d_name);
		u.wakeups += read_number(path, "voluntary_ctxt_switches:");
	}
	if (d != NULL)
		closedir(d);
	return u;
}

static double resident_kib(pid_t pid, const char *key)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	return read_number(path, key);
}

/* KiB of shared memory behind the descriptors of @pid. */
static double shared_kib(pid_t pid)
{
	static ino_t seen[FILES_MOST];
	size_t n = 0;
	char path[320], target[128];
	double kib = 0;
	struct dirent *e;
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, e->d_name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		if ((strncmp(target, "/memfd:", 7) != 0 && strncmp(target, "/dev/shm/", 9) != 0) ||
		    stat(path, &st) != 0)
			continue;
		size_t i = 0;
		while (i < n && seen[i] != st.st_ino)
			i++;
		if (i < n)
			continue;
		if (n < FILES_MOST)
			seen[n++] = st.st_ino;
		kib += (double)st.st_blocks / 2;
	}
	if (d != NULL)
		closedir(d);
	return kib;
}

/* ---- idle clients ---- */

static void attach_and_sleep(void *arg)
{
	tarn_client *c = attach();

	(void)arg;
	tarn_block_unref(new_block(c, 64));
	__atomic_add_fetch(&stage->ready, 1, __ATOMIC_ACQ_REL);
	for (;;)
		pause();
}

static void start_clients(pid_t *pid, unsigned n)
{
	__atomic_store_n(&stage->ready, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < n; i++)
		pid[i] = start_process(attach_and_sleep, NULL, -1);
	while (__atomic_load_n(&stage->ready, __ATOMIC_ACQUIRE) < n) {
		int status;

		if (waitpid(pid[n - 1], &status, WNOHANG) == pid[n - 1])
			die("a client ended early");
		sleep_ms(2);
	}
}

/* ---- rows ---- */

static void watch(const char *row, const pid_t *pid, unsigned n)
{
	unsigned ms = (unsigned)often(WATCH_MS);
	struct usage server, clients = { 0 };

	sleep_ms(300); /* what the attaching caused is over */
	server = usage_of(arena_pid());
	for (unsigned i = 0; i < n; i++) {
		struct usage u = usage_of(pid[i]);

		clients.cpu_ns -= u.cpu_ns;
		clients.wakeups -= u.wakeups;
	}
	sleep_ms(ms);
	struct usage after = usage_of(arena_pid());
	for (unsigned i = 0; i < n; i++) {
		struct usage u = usage_of(pid[i]);

		clients.cpu_ns += u.cpu_ns;
		clients.wakeups += u.wakeups;
	}
	record(row, "server wake-ups", "/s", (after.wakeups - server.wakeups) * 1e3 / ms, NULL);
	record(row, "server CPU", "us/s", (after.cpu_ns - server.cpu_ns) / ms, NULL);
	if (n > 0) {
		record(row, "clients wake-ups", "/s", clients.wakeups * 1e3 / ms, NULL);
		record(row, "clients CPU", "us/s", clients.cpu_ns / ms, NULL);
	}
}

static void measure(unsigned round)
{
	static const char empty[] = "empty server", full[] = "64 idle clients";
	pid_t pid[CLIENTS];
	double rss, shared;

	arena_start(UINT64_C(1) << 30);
	run_begin(round, true);
	watch(empty, NULL, 0);
	rss = resident_kib(arena_pid(), "VmRSS:");
	shared = shared_kib(arena_pid());
	record(empty, "resident", "KiB", rss, NULL);
	record(empty, "shared memory", "KiB", shared, NULL);
	start_clients(pid, CLIENTS);
	watch(full, pid, CLIENTS);
	record(full, "resident, each", "KiB",
	       (resident_kib(arena_pid(), "VmRSS:") - rss) / CLIENTS, NULL);
	record(full, "shared, each", "KiB", (shared_kib(arena_pid()) - shared) / CLIENTS, NULL);
	for (unsigned i = 0; i < CLIENTS; i++)
		kill(pid[i], SIGKILL);
	for (unsigned i = 0; i < CLIENTS; i++)
		waitpid(pid[i], NULL, 0);
	bool again = run_again();
	arena_stop();
	if (again)
		measure(round);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "idle",
		.question = "What does a server cost that has nothing to do, alone and with 64 idle\n"
			    "clients?",
		.rounds = 3,
	};

	bench_start(argc, argv, &about);
	stage = shared_memory(sizeof *stage);
	for (unsigned r = 0; r < bench.rounds; r++)
		measure(r);
	report();
	return 0;
}
