/* SPDX-License-Identifier: Apache-2.0 */
/* What wordcount is told and what it prints. Knows nothing of Tarn. */
#ifndef WORDCOUNT_SHOW_H
#define WORDCOUNT_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wordcount/texts.h"
#include "wordcount/words.h"

#define WORKERS_MAX 64
#define LAST_RECORD_MAX 64 /* bytes that are kept of it */

struct options {
	unsigned workers;
	bool kill;
	uint64_t arena_bytes; /* 0: the server's default */
	size_t top;
	const char *const *path; /* ended by NULL */
};

/* Reads the command line. Prints and exits for --help and for what it does not know. */
void options_read(struct options *options, int argc, char **argv);

/* What became of the worker that was killed. */
struct victim {
	int pid;               /* 0: none was killed */
	unsigned worker;
	uint64_t texts, text_bytes; /* that it held references to */
	uint64_t objects;      /* the same: the queue, the dict ... */
	uint64_t cached_blocks, cached_bytes; /* free memory that it kept for later */
	double reclaimed_s;    /* until the server had forgotten it */
	uint64_t left;         /* references that are still booked on it then */
	char said[LAST_RECORD_MAX]; /* the last that it logged */
};

struct facts {
	uint64_t texts;        /* blocks, or slices of such, that were counted */
	uint64_t again;        /* so many times the queue gave one to another worker */
	uint64_t answer_bytes, copied_bytes;
	unsigned deaths;
	double startup_s, reading_s, counting_s, alone_s;
	struct victim victim;
	size_t differences;
	int findings; /* of the check */
	uint64_t blocks_left;
};

/* Ends the program. That is safe at any point: the server that we started, and our workers,
 * end with us. */
_Noreturn void give_up(const char *what, const char *why);

double now_s(void);

/* On a terminal: one line that is written over and over. @what NULL: wipes it. */
void show_progress(const char *what, size_t done, size_t all);

/* A line that a worker logged. Any thread. */
void show_record(const char *worker, const char *message);

void show_report(const struct options *options, const struct texts *texts,
		 const struct words *words, const struct facts *facts);

#endif
