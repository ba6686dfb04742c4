/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers: who owns an arena.
 *
 * Three ways to have one: the daemon `tarnd`; tarn_server_start(), a process of its own
 * that dies with its parent unless it is detached; tarn_server_run(), in the calling thread.
 *
 * A server object goes INITIAL -> STARTED -> SHUTDOWN and never back. A call that its
 * state does not allow is -TARN_ESTATE, with the state's name in the sentence.
 */
#ifndef TARN_SERVER_H
#define TARN_SERVER_H

#include "client.h"

TARN_BEGIN

typedef struct tarn_server tarn_server;
struct tarn_registry; /* type.h */

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

enum tarn_lifetime {
	TARN_LIFETIME_OWNED = 0, /* ends with the process (not the thread) that started it, however
				  * that ends, and with the last reference to its object */
	TARN_LIFETIME_DETACHED,  /* a session of its own; ends when it is told to */
};

enum tarn_server_state {
	TARN_SERVER_INITIAL = 1,
	TARN_SERVER_STARTED,
	TARN_SERVER_SHUTDOWN,
};

enum tarn_server_event {
	TARN_SERVER_READY = 1, /* clients can attach */
	TARN_SERVER_STOPPING,  /* it was told to end, and begins to */
};

/* A line for the log: @level as in syslog (3 error, 4 warning, 6 info, 7 debug). tarnd(8)
 * lists the lines. */
typedef void tarn_log_fn(void *arg, int level, const char *line);

/* Called in the serving thread; @name is the server's. Must not block. */
typedef void tarn_server_event_fn(void *arg, enum tarn_server_event event, const char *name);

/* Zero means the default everywhere. */
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

	/*
	 * A keeper: a process of its own that holds the arena's descriptors, starts the server as its
	 * child, and when that is killed or crashes starts another, which goes on: clients keep what
	 * they have and do not attach again. A call whose method was running is answered with
	 * TARN_EINTERRUPTED, or of a method that crashed with a fault of domain "Signal"
	 * (tarn/type.h). tarn_server_pid() is the keeper's then; to kill the keeper leaves the server
	 * running, without a successor. Not for a process with several threads: of
	 * tarn_server_run() that is -EBUSY, for there the calling process becomes the keeper.
	 */
	bool keep;

	/* Where and as what it runs. Of tarn_server_run() these concern the calling thread,
	 * which keeps them. */
	const char *process_name; /* at most 15 bytes, for ps and tools; NULL: "tarn-server", or
				   * unchanged with tarn_server_run() */
	const char *cpus;       /* CPUs to run on: "0", "0,2-3", or "node0", those of a NUMA node,
				 * whose memory is then preferred. NULL: as the caller */

	/* Who may use it. The server's own user and root always may; both rules below hold
	 * for questions of tools, too. Only its user and root may shut it down. */
	const uint32_t *allow_uids; /* other users; also makes the socket connectable for others */
	size_t n_allow_uids;
	const uint32_t *allow_gids; /* members of these groups, likewise */
	size_t n_allow_gids;
	const void *authkey;    /* whoever connects must know it, and gets the server's proof
				 * that it does, too; it never travels. NULL: none */
	size_t authkey_bytes;   /* 16 to 1024 */
	bool kill_evicted;      /* kill clients that break the rules, instead of detaching */

	/* Its beginning and end. */
	enum tarn_lifetime lifetime; /* of tarn_server_start() */
	int64_t start_timeout_ns;    /* of tarn_server_start(); 0: 10 s */
	const char *initializer;     /* a TARN_ENTRY (tarn/entry.h) that runs in the server before
				      * anything else; if it fails, so does the start, with its
				      * error */
	const void *initializer_arg; /* copied */
	size_t initializer_arg_bytes;

	/* What it tells. With tarn_server_start() the log goes to stderr of the new process, and
	 * log, event, ready_fd and listen_fd are not used. */
	tarn_log_fn *log;       /* NULL: to stderr, without waiting for who does not read it: what it had
				 * no room for within a second is dropped, and counted in the next line. A function
				 * runs on the server's thread: all clients wait for it */
	void *log_arg;
	int log_level;          /* the least weighty lines that are logged: 3, 4, 6 or 7;
				 * 0: 4 on stderr, 7 with a function */
	tarn_server_event_fn *event; /* may be NULL */
	void *event_arg;
	int ready_fd;           /* > 0: one line "READY name" is written and it is closed,
				 * once clients can attach */
	int listen_fd;          /* > 0: a listening Unix socket (SOCK_SEQPACKET) to serve instead of
				 * making one; the server closes it, and removes nothing. Then
				 * @name is only how it calls itself */
	struct tarn_registry *registry; /* types of its objects; NULL: the process's default
				 * registry. tarn_server_start(): that of the new process */
	uint32_t max_executors; /* most threads that run methods at a time; 0: 256 */
} tarn_server_options;

/*
 * Serves in the calling thread until tarn_server_stop() is called or a client with the right
 * to do so shuts it down. Returns 0 after an orderly end, or a negative code:
 * -EADDRINUSE another server lives under this name, -EINVAL, -ENOENT no such
 * initializer, -ENOMEM, the initializer's own, of the system.
 */
TARN_EXPORT int tarn_server_run(const tarn_server_options *options);

/* Ends every tarn_server_run() of this process; async-signal-safe, from any thread. Without
 * effect when none runs. */
TARN_EXPORT void tarn_server_stop(void);

/* An object in state INITIAL. Everything in @options is copied; NULL: defaults. One
 * reference, of the caller. -EINVAL, -ENAMETOOLONG, -ENOMEM. */
TARN_EXPORT int tarn_server_new(const tarn_server_options *options, tarn_server **ret_server);

/*
 * INITIAL -> STARTED: starts a server process and waits until clients can attach. That is the
 * program executed again, or tarnd if TARN_TARND names it; nothing is inherited but stdout,
 * stderr and the environment. On failure the state stays INITIAL, and no process is left.
 * As tarn_server_run(), and -ETIMEDOUT, -EPIPE it ended without a word, -TARN_ESTATE.
 */
TARN_EXPORT int tarn_server_launch(tarn_server *server);

/* Both at once. */
TARN_EXPORT int tarn_server_start(const tarn_server_options *options, tarn_server **ret_server);

/* References are counted; any thread. The last one of a server that is STARTED and OWNED shuts
 * it down with a second of patience (not in a forked child). NULL is allowed; returns NULL. */
TARN_EXPORT tarn_server *tarn_server_ref(tarn_server *server);
TARN_EXPORT tarn_server *tarn_server_unref(tarn_server *server);

TARN_EXPORT enum tarn_server_state tarn_server_state(const tarn_server *server);
/* True for one that tarn_server_import() made. */
TARN_EXPORT bool tarn_server_borrowed(const tarn_server *server);

/* The name to attach to; belongs to the server object. "" while INITIAL without a given name. */
TARN_EXPORT const char *tarn_server_name(const tarn_server *server);
/* Of the process that was started: the server's, or its keeper's (options.keep; then
 * tarn_client_server_pid() is the server's of now). 0 while INITIAL. */
TARN_EXPORT int tarn_server_pid(const tarn_server *server);

/*
 * A client of this server: as tarn_client_open() by name, with the server's authkey if
 * @options (may be NULL) has none; but never of another server that took the name
 * meanwhile (-TARN_ESRVDOWN). -TARN_ESTATE unless STARTED.
 */
TARN_EXPORT int tarn_server_client_open(tarn_server *server, const tarn_client_options *options,
					tarn_client **ret_client);

/*
 * Waits until the server process has ended. 0 and in @ret_status (may be NULL) its exit
 * status, -SIGNAL, or TARN_STATUS_UNKNOWN (of a detached one); -ETIMEDOUT while it
 * lives; -TARN_ESTATE while INITIAL, or of a borrowed one. Does not change the state.
 */
#define TARN_STATUS_UNKNOWN 256
TARN_EXPORT int tarn_server_wait(tarn_server *server, int64_t timeout_ns, int *ret_status);

/*
 * STARTED -> SHUTDOWN: asks the server to end and waits @timeout_ns, then SIGTERM and the same
 * time again, then SIGKILL. NULL is allowed. 0, or the way it ended: 1 it had to be killed,
 * 2 it was dead. Again: 0. -TARN_ESTATE while INITIAL, or of a borrowed one; -TARN_EFORKED in
 * a child of the process that started it.
 */
TARN_EXPORT int tarn_server_shutdown(tarn_server *server, int64_t timeout_ns);

/*
 * A STARTED server as text, without any secret, for another process (an argument, a pipe).
 * There it becomes a borrowed object: for clients, not to start, wait for or stop the server.
 * tarn_client_export() makes the same of a client. -TARN_ESTATE; -EINVAL of a text
 * that is none.
 */
#define TARN_SERVER_TEXT 256 /* bytes, the closing 0 among them */
TARN_EXPORT int tarn_server_export(const tarn_server *server, char ret_text[TARN_SERVER_TEXT]);
TARN_EXPORT int tarn_server_import(const char *text, tarn_server **ret_server);

/* For TARN_AUTO(tarn_server): the last reference of the scope. */
static inline void tarn_server_auto(tarn_server **server)
{
	tarn_server_unref(*server);
}

TARN_END

#endif
