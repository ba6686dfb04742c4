/* SPDX-License-Identifier: Apache-2.0 */
#include "line.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_BLOCK 240u
#define PROBE_BLOCKS 50u
#define REFERENCE_TRIPS 20000u

double line_ping(struct line *line, uint64_t n, struct samples *ret)
{
	uint64_t from = ticks(), last = from, now = from;

	for (uint64_t i = 1; i <= n; i++) {
		line_put(&line->there, i);
		if (!line_get(&line->back, i))
			die("a line came back with other contents");
		if (ret != NULL) {
			now = ticks();
			samples_add(ret, now - last);
			last = now;
		}
	}
	return ticks_to_ns(ticks() - from) / (double)n;
}

void line_pong(struct line *line, uint64_t n)
{
	for (uint64_t i = 1; i <= n; i++) {
		if (!line_get(&line->there, i))
			die("a line came with other contents");
		line_put(&line->back, i);
	}
}

/* ---- the probe's partner ---- */

static struct partner {
	uint32_t order; /* grows by 1 for each probe */
	struct line line;
} *partner;
static pid_t partner_pid, partner_owner;

static void serve_probes(void *arg)
{
	struct partner *p = arg;

	for (uint32_t seen = 0;; seen++) {
		while (__atomic_load_n(&p->order, __ATOMIC_ACQUIRE) == seen)
			syscall(SYS_futex, &p->order, FUTEX_WAIT, seen, NULL, NULL, 0);
		line_pong(&p->line, 1 + PROBE_BLOCK * PROBE_BLOCKS);
	}
}

static void stop_partner(void)
{
	if (getpid() != partner_owner)
		return;
	kill(partner_pid, SIGKILL);
	waitpid(partner_pid, NULL, 0);
}

/* Blocks of trips, the first one to wake the partner. */
static struct line_now probe(struct line *line)
{
	double block[PROBE_BLOCKS], sum = 0;
	uint64_t i = 1, from;

	line_put(&line->there, i);
	line_get(&line->back, i);
	for (unsigned k = 0; k < PROBE_BLOCKS; k++) {
		from = ticks();
		for (uint64_t end = i + PROBE_BLOCK; i < end;) {
			line_put(&line->there, ++i);
			line_get(&line->back, i);
		}
		block[k] = ticks_to_ns(ticks() - from) / PROBE_BLOCK;
		sum += block[k];
	}
	return (struct line_now){ .ns = median_of(block, PROBE_BLOCKS), .mean = sum / PROBE_BLOCKS };
}

static void start_partner(void)
{
	partner = shared_memory(sizeof *partner);
	partner_pid = start_process(serve_probes, partner, bench.cpu[1]);
	partner_owner = getpid();
	ours_add(partner_pid);
	atexit(stop_partner);
}

struct line_now line_probe(void)
{
	cpu_set_t before;
	struct line_now now;

	if (!two_cpus())
		return (struct line_now){ 0 };
	if (partner == NULL)
		start_partner();
	memset(&partner->line, 0, sizeof partner->line);
	sched_getaffinity(0, sizeof before, &before);
	pin(bench.cpu[0]);
	__atomic_add_fetch(&partner->order, 1, __ATOMIC_ACQ_REL);
	syscall(SYS_futex, &partner->order, FUTEX_WAKE, 1, NULL, NULL, 0);
	now = probe(&partner->line);
	sched_setaffinity(0, sizeof before, &before);
	return now;
}

double line_reference(struct line *line, struct meeting *m, bool first)
{
	struct samples s = { 0 };
	double p50 = 0;

	if (first)
		memset(line, 0, sizeof *line);
	meet(m, 2);
	if (first) {
		line_ping(line, REFERENCE_TRIPS, &s);
		p50 = samples_percentile(&s, 50);
		samples_free(&s);
	} else {
		line_pong(line, REFERENCE_TRIPS);
	}
	meet(m, 2);
	return p50;
}
