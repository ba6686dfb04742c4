/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long after a client's death is all that it held free? A client takes N references,
 * is killed, and the server is asked again and again until its numbers are what they were
 * before. Told from the kill, and from the moment the kernel reports the death (the
 * pidfd), for the time between the two is the kernel's: it tears the address
 * space down first. Another client pings the server all the while: the price that the
 * others pay.
 *
 * The questions themselves take the server some microseconds; the row "one question"
 * says how many, which is how fine the times are.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "line.h"

#define PINGS_MOST (1u << 20)
#define QUIET_MS 30u
#define PATIENCE_NS 20e9

static struct stage {
	uint64_t references;
	uint32_t holds, pings_on, quit; /* 1: yes */
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
	tarn_client *c = attach();
	tarn_channel *ch = make_channel(c, NULL, 1024, TARN_PRODUCER);

	(void)arg;
	check(tarn_channel_bind(ch, TARN_CONSUMER), "take the other end");
	for (uint64_t i = 0; i < stage->references; i++) {
		tarn_block *b = new_block(c, 64);

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
		if (n == PINGS_MOST)
			continue;
		stage->ping[n].from = from;
		stage->ping[n].took = ticks() - from;
		__atomic_store_n(&stage->n_pings, n + 1, __ATOMIC_RELEASE);
	}
	tarn_client_close(c);
}

/* The pings that overlapped [@from, @to]. */
static struct digest pings_between(uint64_t from, uint64_t to, size_t *ret_n)
{
	struct samples s = { 0 };
	uint64_t n = __atomic_load_n(&stage->n_pings, __ATOMIC_ACQUIRE);

	for (uint64_t i = 0; i < n; i++)
		if (stage->ping[i].from + stage->ping[i].took >= from && stage->ping[i].from <= to)
			samples_add(&s, stage->ping[i].took);
	*ret_n = s.n;
	struct digest d = digest_of(&s);
	samples_free(&s);
	return d;
}

/* ---- the watch ---- */

static bool all_free(const tarn_stat *before, tarn_stat *ret)
{
	*ret = arena_stat();
	return ret->blocks_live <= before->blocks_live && ret->blocks_dead <= before->blocks_dead &&
	       ret->claims <= before->claims && ret->clients <= before->clients;
}

struct times {
	uint64_t kill, death, free; /* in ticks */
	uint64_t questions;
};

static struct times watch(pid_t victim, const tarn_stat *before)
{
	int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	struct times t = { 0 };
	tarn_stat now;

	if (pidfd < 0)
		die("pidfd_open: %s", strerror(errno));
	t.kill = ticks();
	kill(victim, SIGKILL);
	while (poll(&p, 1, -1) < 1)
		;
	t.death = ticks();
	do {
		bool over = all_free(before, &now);

		t.questions++;
		t.free = ticks();
		if (over)
			break;
	} while (ticks_to_ns(t.free - t.kill) < PATIENCE_NS);
	if (ticks_to_ns(t.free - t.kill) >= PATIENCE_NS)
		die("after %.0f s not all is free: %llu claims, %llu live, %llu dead (before: %llu, "
		    "%llu, %llu)", PATIENCE_NS / 1e9, (unsigned long long)now.claims,
		    (unsigned long long)now.blocks_live, (unsigned long long)now.blocks_dead,
		    (unsigned long long)before->claims, (unsigned long long)before->blocks_live,
		    (unsigned long long)before->blocks_dead);
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

static double question_ns(void)
{
	uint64_t from = ticks(), n = often(200);

	for (uint64_t i = 0; i < n; i++)
		arena_stat();
	return ticks_to_ns(ticks() - from) / (double)n;
}

static void record_pings(const char *row, const char *when, const struct digest *d, size_t n)
{
	char column[48];

	snprintf(column, sizeof column, "ping p50 %s", when);
	record(row, column, "us", d->p50 / 1e3, NULL);
	snprintf(column, sizeof column, "ping p99 %s", when);
	record(row, column, "us", d->p99 / 1e3, NULL);
	snprintf(column, sizeof column, "ping max %s", when);
	record(row, column, "us", d->max / 1e3, NULL);
	snprintf(column, sizeof column, "pings %s", when);
	record(row, column, "", (double)n, NULL);
}

static void measure(unsigned round, uint64_t references)
{
	char row[64];
	size_t n_quiet, n_busy;

	memset(stage, 0, offsetof(struct stage, ping));
	stage->references = references;
	snprintf(row, sizeof row, "%s references", text_count(references));
	run_begin(round, false);
	pid_t other = start_process(ping, NULL, bench.cpu[0]);
	await_flag(&stage->pings_on, other);
	tarn_stat before = arena_stat();
	pid_t victim = start_process(hold, NULL, -1);
	await_flag(&stage->holds, victim);
	uint64_t quiet = ticks();
	sleep_ms(QUIET_MS);
	struct times t = watch(victim, &before);
	raise_flag(&stage->quit);
	await_processes(&other, 1);

	struct digest d = pings_between(quiet, t.kill, &n_quiet);
	double from_death = ticks_to_ns(t.free - t.death);
	record(row, "from the kill", "ms", ticks_to_ns(t.free - t.kill) / 1e6, NULL);
	record(row, "kernel's part", "ms", ticks_to_ns(t.death - t.kill) / 1e6, NULL);
	record(row, "from its death", "ms", from_death / 1e6, NULL);
	record(row, "per reference", "ns", from_death / (double)references, NULL);
	record(row, "questions", "", (double)t.questions, NULL);
	record_pings(row, "before", &d, n_quiet);
	d = pings_between(t.kill, t.free, &n_busy);
	record_pings(row, "during", &d, n_busy);
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
	};

	bench_start(argc, argv, &about);
	stage = shared_memory(sizeof *stage);
	arena_start(UINT64_C(2) << 30);
	for (unsigned r = 0; r < bench.rounds; r++) {
		do {
			run_begin(r, false);
			record("one question", "each", "us", question_ns() / 1e3, NULL);
		} while (run_again());
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
