/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What measuring a peer has in common: two processes, a message there and one back, each trip
 * timed by the first. A peer says how it opens, sends and receives; it is
 * asked the same questions as Tarn (bench/topics.h), and its contents are checked.
 *
 *	static void first(struct pair *p)
 *	{
 *		open my end;
 *		pair_start(p);
 *		while (pair_next(p)) {
 *			write p->trip at the start of p->size bytes, send; receive;
 *			pair_check(p, message);
 *		}
 *	}
 */
#ifndef TARN_BENCH_PEERS_PAIR_H
#define TARN_BENCH_PEERS_PAIR_H

#include "bench/common.h"
#include "bench/report.h"
#include "bench/topics.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pair;
typedef void pair_fn(struct pair *p);

struct pair_case {
	const char *row;
	size_t size;     /* of a message */
	bool read_all;   /* both sides read all of it, else its first word */
	bool asleep;     /* wait in the system, not spinning */
	bool one_cpu;
	bool rest;       /* before each trip, so that the second is asleep for sure */
	uint64_t trips;
	pair_fn *first, *second;
};

/* One side's view. */
struct pair {
	const struct pair_case *is;
	size_t size;
	uint64_t trip;   /* number of the message under way, from 1 */
	const char *dir; /* of this run, for sockets: both sides have the same */
	unsigned run;    /* a number that no other run of this program has */
	void *shared;    /* PAIR_SHARED bytes that both have, zeroed */
	/* --- of pair.c --- */
	bool is_first, started;
	uint64_t total, last;
	struct samples samples;
};
#define PAIR_SHARED 8192u

/* Both sides: all is open; they start together. */
void pair_start(struct pair *p);
/* Both sides: true while there is one more trip; p->trip is its number. */
bool pair_next(struct pair *p);
/* Dies unless @message begins with the trip's number; reads all of it if the case says so. */
void pair_check(const struct pair *p, const void *message);
/* Both sides have come here: what one did before the other sees after. */
void pair_meet(struct pair *p);

/* Runs a case, and again if it was disturbed; nothing if its row is not wanted. */
void pair_measure(unsigned round, const struct pair_case *c);

/* The cases that transports have: 64 B spinning (@spins), asleep on two CPUs and on one
 * (@sleeps), by messages (@trips) or calls (@calls), and 1 MiB with a byte read and with all
 * read (@large). */
struct pair_kinds {
	pair_fn *first, *second;
	bool spins, sleeps, calls, trips;
	enum { NOT_LARGE, LARGE_SPINNING, LARGE_ASLEEP } large;
};
void pair_measure_all(unsigned round, const struct pair_kinds *k);

/* A fresh directory, until directory_remove() or the end of the program. One at a time. */
const char *directory_make(void);
void directory_remove(void);

/* A program of the peer, by its name in $PATH, with its output thrown away; it dies with us.
 * On @cpu, or -1. Skips the benchmark if it is not installed; @package says what to install. */
pid_t helper_start(char *const *argv, int cpu, const char *package);
/* SIGTERM, and SIGKILL if that does not help. */
void helper_stop(pid_t pid);
bool helper_ended(pid_t pid);
/* True if @name is a program in $PATH. */
bool helper_exists(const char *name);

#ifdef __cplusplus
}
#endif
#endif
