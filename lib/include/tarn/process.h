/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker processes: a function of this program, run in a process of its own.
 *
 *	TARN_WORKER(square)
 *	{
 *		int n;
 *		int r = tarn_worker_get(worker, "i", &n);
 *
 *		if (r == 0 && n < 0)
 *			return tarn_worker_throw(worker, "ValueError", "%d is negative", n);
 *		return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), n * n);
 *	}
 *	...
 *	tarn_process *p;
 *	int square;
 *
 *	tarn_put(&args, "i", 7);
 *	tarn_process_spawn(client, &(tarn_process_options){ .entry = "square", .args = &args }, &p);
 *	r = tarn_process_get(p, TARN_FOREVER, "i", &square);
 *	tarn_process_unref(p);
 *
 * The process is the program executed again: nothing of the parent's memory is there, no lock is
 * held, and main() is not called. Arguments and results are values with whatever references
 * (blocks, objects, channels) are in them; while they are on their way the server holds these.
 *
 * A process ends with its parent, whichever way that ends and whichever thread started it, unless
 * it is detached.
 *
 * Timeouts are nanoseconds, TARN_FOREVER without limit, 0 only looks. Any thread may use a
 * process that it has a reference to. In a forked child of the parent: -TARN_EFORKED.
 */
#ifndef TARN_PROCESS_H
#define TARN_PROCESS_H

#include <stdio.h>

#include "client.h"
#include "entry.h"
#include "fault.h"
#include "log.h"
#include "value.h"

TARN_BEGIN

/* ---- what runs: in the worker ---- */

typedef struct tarn_worker tarn_worker;
typedef int tarn_worker_fn(tarn_worker *worker);

/*
 * Defines the entry @name, a function of worker that returns 0 or a negative code, whose sentence is
 * the thread's last failure. At file scope; in C++ outside of namespaces. Found as
 * those of tarn/entry.h are. It runs when all constructors have; its result and arguments are
 * the worker's, and end with it.
 */
#define TARN_WORKER(name)                                                             \
	TARN__ENTRY_C int tarn__worker_##name(tarn_worker *worker)                    \
		__attribute__((used, visibility("hidden")));                          \
	__asm__(".pushsection .note.tarn,\"a\",%note\n"                               \
		"	.balign 4\n"                                                  \
		"	.long 2f - 1f, 4f - 3f, 3\n"                                  \
		"1:	.asciz \"Tarn\"\n"                                            \
		"2:	.balign 4\n"                                                  \
		"3:	.8byte tarn__worker_" #name " - .\n"                          \
		"	.asciz \"" #name "\"\n"                                       \
		"4:	.balign 4\n"                                                  \
		".popsection\n");                                                     \
	TARN__ENTRY_C int tarn__worker_##name(tarn_worker *worker)

/* The worker of this process, NULL in one that was not spawned; of a thread started by
 * tarn_thread_spawn(), that thread's. In a program that was spawned by its path this is how main()
 * gets to its arguments. */
TARN_EXPORT tarn_worker *tarn_worker_self(void);

/* Its own client of the parent's server; ends with the worker. */
TARN_EXPORT tarn_client *tarn_worker_client(tarn_worker *worker);
TARN_EXPORT const char *tarn_worker_name(const tarn_worker *worker);
TARN_EXPORT const tarn_parcel *tarn_worker_args(const tarn_worker *worker);
/* tarn_parcel_get() on the arguments. */
TARN_EXPORT int tarn_worker_get(tarn_worker *worker, const char *format, ...);
/* Where the result is built; without anything it is empty. */
TARN_EXPORT tarn_builder *tarn_worker_result(tarn_worker *worker);
/* A place for the worker's own use. In a pool or runner (tarn/pool.h) all tasks of a process have the same. */
TARN_EXPORT void **tarn_worker_data(tarn_worker *worker);
/* Where tarn_worker_throw() puts the fault; in an on_error hook, the fault. */
TARN_EXPORT tarn_fault **tarn_worker_fault(tarn_worker *worker);
#define tarn_worker_throw(worker, ...) \
	tarn_fault_throw(tarn_worker_fault(worker), __FILE__, __LINE__, __func__, __VA_ARGS__)
#define tarn_worker_rethrow(worker) \
	tarn_fault_rethrow(tarn_worker_fault(worker), __FILE__, __LINE__, __func__)

/* Says @message on stderr and ends the process with status 1; the parent gets it as a "SystemExit".
 * exit() is for the others: 0 is success, another status a "SystemExit" of that code. */
TARN_EXPORT void tarn_worker_exit(tarn_worker *worker, const char *message)
	__attribute__((noreturn));

/* ---- in the parent ---- */

typedef struct tarn_process tarn_process;

/* What becomes of stdout and stderr. */
enum tarn_stdio {
	TARN_STDIO_INHERIT = 0,
	TARN_STDIO_NULL,
	TARN_STDIO_LOG, /* each line is a record of the parent's log: stderr as warnings */
};

/* Zero is the default everywhere. */
typedef struct tarn_process_options {
	const char *entry;        /* a TARN_WORKER, or a TARN_ENTRY, which gets the first argument (a
				   * string or bytes). NULL: nothing is run, the result is empty */
	const char *program;      /* instead: path of a program to execute */
	char *const *argv;        /* its arguments, with argv[0]; NULL: the path alone */
	const tarn_builder *args; /* NULL: none; copied, references are taken */
	const char *name;         /* at most 63 bytes; NULL: "Process-1" and so on */
	bool detached;            /* a session of its own, which outlives its parent */
	const char *on_error;     /* a TARN_WORKER that runs in the process when it failed, before it
				   * ends; without one the process says "Exception in NAME: ..." on
				   * stderr */
	int stdin_fd;             /* > 0: its standard input; else there is none (/dev/null) */
	int stdout_fd, stderr_fd; /* > 0: these instead */
	enum tarn_stdio stdout_to, stderr_to;
	const tarn_client_options *client; /* of its own client: quota, cache, authkey. NULL: defaults
					    * (an authkey is not inherited from @client) */
	const tarn_log_handler *log; /* where its log goes; NULL: as the parent's own. Not called any
				      * more when tarn_process_join() has returned 0 or a fault */
	size_t log_bytes;         /* room for records on their way; 0: 256 KiB */
	bool no_log;              /* do not forward: its log goes to its own stderr */
} tarn_process_options;

/*
 * A process that is not started yet; @client may be NULL, if there are no arguments and no result
 * is wanted. Everything in @options is copied. The caller owns the reference.
 * -ENOENT there is no such entry, -EINVAL, -ENAMETOOLONG, -ENOMEM, and as calls.
 */
TARN_EXPORT int tarn_process_new(tarn_client *client, const tarn_process_options *options,
				 tarn_process **ret_process);
/* Starts it, once (-TARN_ESTATE). Returns when the new image is executed, without waiting for
 * more. What the system says of a program that cannot be executed (-ENOENT, -EACCES ...). */
TARN_EXPORT int tarn_process_start(tarn_process *process);
/* Both. */
TARN_EXPORT int tarn_process_spawn(tarn_client *client, const tarn_process_options *options,
				   tarn_process **ret_process);

/* References of the parent. Without one the process goes on, but nobody hears of its result, and arguments that it
 * never takes (a program that is none of Tarn's, a death before main()) stay until the client is closed: join first.
 * NULL is allowed; unref returns NULL. The client outlives them. */
TARN_EXPORT tarn_process *tarn_process_ref(tarn_process *process);
TARN_EXPORT tarn_process *tarn_process_unref(tarn_process *process);

enum tarn_process_state {
	TARN_PROCESS_INITIAL = 1,
	TARN_PROCESS_RUNNING,
	TARN_PROCESS_SUCCEEDED,  /* with exit status 0 */
	TARN_PROCESS_FAILED,     /* an error, or another exit status */
	TARN_PROCESS_TERMINATED, /* by SIGTERM: no error, and no result */
	TARN_PROCESS_KILLED,     /* by another signal */
};
TARN_EXPORT enum tarn_process_state tarn_process_state(tarn_process *process);
/* Whether it has ended, however. False if it was not started. */
TARN_EXPORT bool tarn_process_done(tarn_process *process);
/* Whether it was started and has not ended. */
TARN_EXPORT bool tarn_process_is_alive(tarn_process *process);

/*
 * Waits until it has ended and its records have been handed on (also to a handler that is slow). 0 if it succeeded or was
 * terminated, -TARN_EREMOTE with its fault (tarn_error_fault()) if it failed: what it threw;
 * "SystemExit" with the exit status as code; "Signal", whose message has the signal's name. -ETIMEDOUT;
 * -TARN_ESTATE not started; -TARN_ESRVDOWN the server is gone, and so is the result.
 */
TARN_EXPORT int tarn_process_join(tarn_process *process, int64_t timeout_ns);
/* The same, and what it returned, as often as one likes: lives as long as the process's object
 * does; empty if it was terminated. */
TARN_EXPORT int tarn_process_result(tarn_process *process, int64_t timeout_ns,
				    const tarn_parcel **ret_result);
/* The same, taken apart as by tarn_parcel_get(). */
TARN_EXPORT int tarn_process_get(tarn_process *process, int64_t timeout_ns, const char *format,
				 ...);
/* Waits likewise: 0, and the fault or NULL in @ret_fault, borrowed from the process. */
TARN_EXPORT int tarn_process_exception(tarn_process *process, int64_t timeout_ns,
				       const tarn_fault **ret_fault);

/* Exit status, -SIGNAL, TARN_EXIT_NONE while it has none, TARN_EXIT_UNKNOWN if somebody
 * else waited for it. */
#define TARN_EXIT_NONE 1000
#define TARN_EXIT_UNKNOWN 1001
TARN_EXPORT int tarn_process_exitcode(tarn_process *process);
TARN_EXPORT const char *tarn_process_name(const tarn_process *process);
/* 0 if it was not started. */
TARN_EXPORT int tarn_process_pid(const tarn_process *process);
/* A pidfd: readable when it has ended. Belongs to the process's object; -1 if it was not started. */
TARN_EXPORT int tarn_process_fd(const tarn_process *process);
/* SIGTERM, SIGKILL, or any other. 0 also if it has ended; -TARN_ESTATE if it was not started. */
TARN_EXPORT int tarn_process_terminate(tarn_process *process);
TARN_EXPORT int tarn_process_kill(tarn_process *process);
TARN_EXPORT int tarn_process_signal(tarn_process *process, int signal);

/* For TARN_AUTO(tarn_process). */
static inline void tarn_process_auto(tarn_process **process)
{
	tarn_process_unref(*process);
}

TARN_END

#endif
