/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs of a program and its worker processes.
 *
 *	tarn_log(TARN_LOG_INFO, "loader", "%d files read", n);
 *
 * In a worker process a record goes to the process that spawned it, through memory that outlives
 * the worker: also the last one before a SIGKILL arrives. There it obeys that process's level, format
 * and handler, on a thread of the library's. A worker that sets a handler of its own keeps its
 * records for itself.
 *
 * Records of one process arrive in order and have consecutive numbers. A writer whose room is full
 * waits up to a second for its parent; what then has to be dropped is counted in the next record. So it
 * is with stderr: a line for which it has no room within a second, since nobody reads it, is dropped, and the next one
 * that finds room says how many are missing.
 */
#ifndef TARN_LOG_H
#define TARN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "version.h"

TARN_BEGIN

/* As in syslog: the less, the weightier. */
enum tarn_log_level {
	TARN_LOG_CRITICAL = 2,
	TARN_LOG_ERROR = 3,
	TARN_LOG_WARNING = 4,
	TARN_LOG_INFO = 6,
	TARN_LOG_DEBUG = 7,
};

enum tarn_log_source {
	TARN_LOG_CALL = 0, /* tarn_log() */
	TARN_LOG_STDOUT,   /* a line of a captured stream: see enum tarn_stdio */
	TARN_LOG_STDERR,
};

typedef struct tarn_log_record {
	int level;
	enum tarn_log_source source;
	const char *logger, *message, *file, *function; /* "" if not known */
	unsigned line;
	const char *process; /* name of the process that wrote it; "" of the calling one */
	int pid, tid;
	int64_t time_ns;     /* since 1970, by the writer's clock */
	uint64_t sequence;   /* from 0, in its process */
	uint64_t lost;       /* records of this process dropped right before this one */
	bool pressed;        /* its writer had to wait for room */
} tarn_log_record;

/* Called for one record at a time, on the thread that logs or, for other processes, on one of
 * the library's. What it logs itself goes to stderr. */
typedef void tarn_log_sink_fn(void *arg, const tarn_log_record *record);

typedef struct tarn_log_handler {
	int level;               /* the least weighty that is handled; 0: TARN_LOG_INFO */
	tarn_log_sink_fn *sink;  /* NULL: to stderr as @format says */
	void *arg;
	const char *format;      /* see tarn_log_format(); NULL: the default */
} tarn_log_handler;

/* Writes a record. Never fails; a message is cut at 16000 bytes. Not in signal handlers. */
#define tarn_log(level, logger, ...) \
	tarn_log_write((level), (logger), __FILE__, __LINE__, __func__, __VA_ARGS__)
TARN_EXPORT void tarn_log_write(int level, const char *logger, const char *file, unsigned line,
				const char *function, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* Handles the records of this process, and of those it spawns. Copied, but for the format's text and
 * arg. NULL: the default again; in a worker, back to its parent. */
TARN_EXPORT void tarn_log_set(const tarn_log_handler *handler);

/*
 * Writes @record as text: each %x in @format (NULL: the default) is replaced. Returns what
 * snprintf would.
 *	%t time   %l level   %n logger   %p process   %P pid   %T thread
 *	%f function   %F file   %L line   %m message   %s sequence   %% a %
 * The default is "%t %l %n [%p] %f:%L %m".
 */
TARN_EXPORT int tarn_log_format(const tarn_log_record *record, const char *format, char *text,
				size_t bytes);

TARN_END

#endif
