/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long after a client's death is all that it held free? A client takes N references and is
 * killed. Told from the kill, and from the moment the kernel reports the death (the pidfd), for the
 * time between the two is the kernel's: it tears the address space down first.
 *
 * Another client pings the server all the while: the price that the others pay. It has a CPU of its
 * own, the victim and the server share the other one, so that nobody but the victim's end competes
 * with them; the watcher sleeps. What such a ping costs without a reclaim is told beside it, and
 * apart from both what it costs while the kernel still has the victim.
 *
 * Questions about numbers keep the server from everything else for many microseconds, so none is asked
 * meanwhile. When it is through with a dead client it closes that one's socket; the watcher has
 * the other end of it and sees it hang up. Only then the numbers are compared.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "line.h"

#define PINGS_MOST (1u << 20)
#define PINGS_ENOUGH 1000u /* for a p99 */
#define KILLS_MOST 8u      /* until there are so many */
#define MANY 10000u        /* references, from which on that is tried */
#define QUIET_MS 20u
#define PATIENCE_NS 20e9

static struct stage {
	uint64_t references;
	size_t size;               /* of the blocks */
	uint32_t go, holds, pings_on, noting, quit; /* 1: yes */
	uint64_t n_pings;
	struct {
		uint64_t from, took;
	} ping[PINGS_MOST];
} *stage;

static bool flag(uint32_t *f)
{
	return __atomic_load_n(f, __ATOMIC_ACQUIRE) != 0;
}
static void raise_flag(uint32_t *f)
{
	__atomic_store_n(f, 1, __ATOMIC_RELEASE);
}

/* ---- the victim: blocks that went through a channel, so that the server has it in its
 * books that this client holds them ---- */

static void hold(void *arg)
{
	(void)arg;
	while (!flag(&stage->go))
		sleep_ms(1);
	tarn_client *c = attach();
	tarn_channel *ch = make_channel(c, NULL, 1024, TARN_PRODUCER);

	check(tarn_channel_bind(ch, TARN_CONSUMER), "take the other end");
	for (uint64_t i = 0; i < stage->references; i++) {
		tarn_block *b = new_block(c, stage->size);

		check(tarn_channel_send(ch, b, i, (int64_t)PATIENCE_NS), "send");
		tarn_block_unref(receive(ch, NULL)); /* the same handle; the first reference stays */
	}
	arena_settle(c);
	raise_flag(&stage->holds);
	for (;;)
		pause();
}

/* ---- the bystander ---- */

static void ping(void *arg)
{
	tarn_client *c = attach();

	(void)arg;
	raise_flag(&stage->pings_on);
	while (!flag(&stage->quit)) {
		uint64_t from = ticks(), n = stage->n_pings;

		check(tarn_client_ping(c, (int64_t)PATIENCE_NS), "ping");
		if (n == PINGS_MOST || !flag(&stage->noting))
			continue;
		stage->ping[n].from = from;
		stage->ping[n].took = ticks() - from;
		__atomic_store_n(&stage->n_pings, n + 1, __ATOMIC_RELEASE);
	}
	tarn_client_close(c);
}

/* Adds the pings that overlapped [@from, @to]. */
static void pings_between(uint64_t from, uint64_t to, struct samples *to_add)
{
	uint64_t n = __atomic_load_n(&stage->n_pings, __ATOMIC_ACQUIRE);

	for (uint64_t i = 0; i < n; i++)
		if (stage->ping[i].from + stage->ping[i].took >= from && stage->ping[i].from <= to)
			samples_add(to_add, stage->ping[i].took);
}

/* ---- the watch ---- */

static bool all_free(const tarn_stat *before, tarn_stat *ret)
{
	*ret = arena_stat();
	return ret->blocks_live <= before->blocks_live && ret->blocks_dead <= before->blocks_dead &&
	       ret->claims <= before->claims && ret->clients <= before->clients;
}

struct times {
	uint64_t quiet, kill, death, free; /* in ticks */
};

/* Whether @fd, which is new, is a socket that this process had already, and the victim by its fork. */
static bool is_ours(int fd)
{
	struct stat its, own;

	if (fstat(fd, &its) != 0)
		return false;
	for (int i = 0; i < fd; i++)
		if (fstat(i, &own) == 0 && own.st_dev == its.st_dev && own.st_ino == its.st_ino)
			return true;
	return false;
}

/* The victim's end of its connection to the server. */
static int connection_of(pid_t victim, int pidfd)
{
	char path[64];
	struct dirent *e;
	int found = -1;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)victim);
	DIR *d = opendir(path);
	while (found < 0 && d != NULL && (e = readdir(d)) != NULL) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(e->d_name), 0);
		struct ucred peer = { 0 };
		socklen_t bytes = sizeof peer;

		if (fd < 0)
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.pid == arena_pid() &&
		    !is_ours(fd))
			found = fd;
		else
			close(fd);
	}
	if (d != NULL)
		closedir(d);
	if (found < 0)
		skip("the kernel does not let us see a process's connection (pidfd_getfd)");
	return found;
}

static void await_event(int fd, short event)
{
	struct pollfd p = { .fd = fd, .events = event };

	int r;

	while ((r = poll(&p, 1, (int)(PATIENCE_NS / 1e6))) < 1) {
		stop_if_asked();
		if (r == 0)
			die("after %.0f s the server still has what a dead client had", PATIENCE_NS / 1e9);
	}
}

static struct times watch(pid_t victim, const tarn_stat *before)
{
	int pidfd = (int)syscall(SYS_pidfd_open, victim, 0), connection;
	struct times t = { 0 };
	tarn_stat now;

	if (pidfd < 0)
		die("pidfd_open: %s", strerror(errno));
	connection = connection_of(victim, pidfd);
	raise_flag(&stage->noting);
	t.quiet = ticks();
	sleep_ms(QUIET_MS);
	t.kill = ticks();
	kill(victim, SIGKILL);
	await_event(pidfd, POLLIN);
	t.death = ticks();
	await_event(connection, POLLRDHUP);
	t.free = ticks();
	if (!all_free(before, &now))
		die("the dead client is gone, and not all is free: %llu claims, %llu live, %llu dead "
		    "(before: %llu, %llu, %llu)", (unsigned long long)now.claims,
		    (unsigned long long)now.blocks_live, (unsigned long long)now.blocks_dead,
		    (unsigned long long)before->claims, (unsigned long long)before->blocks_live,
		    (unsigned long long)before->blocks_dead);
	close(connection);
	close(pidfd);
	waitpid(victim, NULL, 0);
	return t;
}

static void await_flag(uint32_t *f, pid_t pid)
{
	while (!flag(f)) {
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid)
			die("a process of the benchmark ended early");
		sleep_ms(1);
	}
}

struct prices {
	struct samples before, dying, during;
};

static void record_pings(const char *row, const char *when, struct samples *s)
{
	const struct digest d = digest_of(s);
	char column[48];

	snprintf(column, sizeof column, "ping p50 %s", when);
	record(row, column, "us", d.p50 / 1e3, NULL);
	snprintf(column, sizeof column, "ping p99 %s", when);
	record(row, column, "us", d.p99 / 1e3, NULL);
	snprintf(column, sizeof column, "ping max %s", when);
	record(row, column, "us", d.max / 1e3, NULL);
	snprintf(column, sizeof column, "pings %s", when);
	record(row, column, "", (double)s->n, NULL);
	samples_free(s);
}

/* One victim, from its birth to its end. */
static struct times kill_one(uint64_t references, struct prices *prices)
{
	memset(stage, 0, offsetof(struct stage, ping));
	stage->references = references;
	stage->size = bench.size != 0 ? bench.size : 64;
	pid_t other = start_process(ping, NULL, bench.cpu[0]);
	pid_t victim = start_process(hold, NULL, bench.cpu[1]);
	await_flag(&stage->pings_on, other);
	tarn_stat before = arena_stat();
	raise_flag(&stage->go);
	await_flag(&stage->holds, victim);
	struct times t = watch(victim, &before);
	raise_flag(&stage->quit);
	await_processes(&other, 1);
	pings_between(t.quiet, t.kill, &prices->before);
	pings_between(t.kill, t.death, &prices->dying);
	pings_between(t.death, t.free, &prices->during);
	return t;
}

static void measure(unsigned round, uint64_t references)
{
	struct prices prices = { 0 };
	double all = 0, kernel = 0, rest = 0;
	unsigned kills = 0;
	char row[64];

	snprintf(row, sizeof row, "%s references", text_count(references));
	run_begin(round, false);
	do {
		struct times t = kill_one(references, &prices);

		all += ticks_to_ns(t.free - t.kill);
		kernel += ticks_to_ns(t.death - t.kill);
		rest += ticks_to_ns(t.free - t.death);
		kills++;
	} while (references >= MANY && prices.during.n < PINGS_ENOUGH && kills < KILLS_MOST && !bench.quick);
	record(row, "from the kill", "ms", all / kills / 1e6, NULL);
	record(row, "kernel's part", "ms", kernel / kills / 1e6, NULL);
	record(row, "from its death", "ms", rest / kills / 1e6, NULL);
	record(row, "per reference", "ns", rest / kills / (double)references, NULL);
	record(row, "kills", "", kills, NULL);
	record_pings(row, "before", &prices.before);
	record_pings(row, "while it dies", &prices.dying);
	record_pings(row, "during", &prices.during);
	if (run_again())
		measure(round, references);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "reclaim",
		.question = "How long after a kill is all that a client held free, and what do others\n"
			    "notice of it?",
		.rounds = 5,
		.big = "also 10^6 references",
		.sizes = true,
	};

	bench_start(argc, argv, &about);
	stage = shared_memory(sizeof *stage);
	arena_start_pinned(UINT64_C(2) << 30, bench.cpu[1]);
	for (unsigned r = 0; r < bench.rounds; r++) {
		measure(r, 1);
		measure(r, 1000);
		measure(r, bench.quick ? 10000 : 100000);
		if (bench.big)
			measure(r, 1000000);
	}
	arena_stop();
	report();
	return 0;
}
