/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers: who owns an arena.
 *
 * Three ways to have one: the daemon `tarnd`; tarn_server_start(), a process of its own
 * that dies with its parent; tarn_server_run(), in the calling thread.
 */
#ifndef TARN_SERVER_H
#define TARN_SERVER_H

#include "client.h"

TARN_BEGIN

typedef struct tarn_server tarn_server;

enum tarn_backing {
	TARN_BACKING_AUTO = 0, /* POSIX shared memory, or memfd where /dev/shm is too small */
	TARN_BACKING_POSIX,
	TARN_BACKING_MEMFD,
};

enum tarn_io {
	TARN_IO_AUTO = 0, /* io_uring where it is allowed, else epoll */
	TARN_IO_URING,
	TARN_IO_EPOLL,
};

/* A line for the log: @level as in syslog (3 error, 4 warning, 6 info, 7 debug). */
typedef void tarn_log_fn(void *arg, int level, const char *line);

typedef struct tarn_server_options {
	const char *name;       /* as in tarn_client_open(); NULL: a fresh one */
	uint64_t arena_bytes;   /* cap; 0: half of the memory of the machine or cgroup */
	uint64_t max_blocks;    /* 0: 4 Mi */
	uint64_t client_quota_bytes; /* default of each client; 0: none */
	uint64_t watermark_bytes;    /* free memory kept warm; 0: 1/8 of the cap, at most 256 MiB */
	enum tarn_backing backing;
	enum tarn_io io;
	int64_t spin_ns;        /* how long to spin after work before sleeping; 0: the default,
				 * -1: not at all. TARN_SPIN_US in the environment wins */
	bool keep_names;        /* segments have names in /dev/shm while the server lives; what
				 * SIGKILL leaves of them is swept: see tarn/gc.h. Not with
				 * TARN_BACKING_MEMFD */
	bool kill_evicted;      /* kill clients that break the rules, instead of detaching */
	tarn_log_fn *log;       /* NULL: errors and warnings to stderr */
	void *log_arg;
	int ready_fd;           /* > 0: one line "READY name" is written and it is closed,
				 * once clients can attach */
} tarn_server_options;

/*
 * Serves in the calling thread until tarn_server_stop() is called on it or SIGTERM
 * arrives (tarnd's own handler). Returns 0 after an orderly end, or a negative code:
 * -EADDRINUSE another server lives under this name, -EINVAL, -ENOMEM, of the system.
 */
TARN_EXPORT int tarn_server_run(const tarn_server_options *options);

/*
 * Starts a server process and waits until clients can attach. It dies when this process
 * dies, however that happens. The caller owns @ret_server and ends it with
 * tarn_server_shutdown(). The log goes to stderr of the new process.
 */
TARN_EXPORT int tarn_server_start(const tarn_server_options *options, tarn_server **ret_server);

/* The name to attach to; belongs to the server object. */
TARN_EXPORT const char *tarn_server_name(const tarn_server *server);
TARN_EXPORT int tarn_server_pid(const tarn_server *server);

/*
 * Asks the server to end, waits @timeout_ns, then SIGTERM, then SIGKILL, and frees the
 * object. NULL is allowed. 0, or the way it ended: 1 it had to be killed, 2 it was dead.
 */
TARN_EXPORT int tarn_server_shutdown(tarn_server *server, int64_t timeout_ns);

/* Ends a tarn_server_run() of this process; async-signal-safe, from any thread. Without
 * effect when none runs. */
TARN_EXPORT void tarn_server_stop(void);

TARN_END

#endif
