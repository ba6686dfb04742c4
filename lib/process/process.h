/* SPDX-License-Identifier: Apache-2.0 */
/* A worker process as its parent has it. What its files share. */
#ifndef TARN_PROCESS_PROCESS_H
#define TARN_PROCESS_PROCESS_H

#include <pthread.h>

#include "item.h"
#include "log.h"
#include "order.h"

/* A captured stream: bytes until there is a line. */
struct tarn__stream_in {
	int fd;     /* the pipe; -1: not captured, or at its end */
	enum tarn_log_source source;
	size_t n;
	char line[2048];
};

struct tarn_process {
	uint32_t refs;            /* users, and the handler's thread: of the memory */
	uint32_t users;           /* with the last one goes all that is the client's */
	pid_t owner;              /* the process that spawns it */
	tarn_client *client;      /* NULL: none */
	tarn_object *object;      /* its tarn.Process, or NULL */
	struct tarn__work *work;  /* the order; NULL of a program that was given no client */
	size_t work_bytes;
	int order_fd;             /* until it is started */
	char name[TARN__WORK_NAME];
	char *program, **argv;
	bool detached, forward;
	int stdio[3];
	enum tarn_stdio stdio_to[3];
	struct tarn__log_route route; /* where its records go */
	uint64_t ring_bytes;

	pthread_mutex_t mutex;    /* of what follows */
	enum tarn_process_state state;
	pid_t pid;
	int pidfd;
	int exitcode;
	bool core, terminated;    /* terminated: it was we who asked */
	uint64_t ended_ns;        /* when that was noticed */
	bool settled;             /* result or fault are known */
	int settle_error;         /* the result is lost: code and sentence */
	char settle_text[256];
	tarn_parcel result;
	tarn_fault *fault;        /* NULL: none */

	/* Futexes of this process. SYNC process-end: 1 when it has ended; when its records were
	 * handed on, too. */
	uint32_t ended, drained;

	/* The handler's thread alone, once it has it. */
	struct tarn__stream_in in[2];
	struct tarn_process *next;
	bool given_up;            /* by who gave it to that thread, under its mutex: not all of it is watched */
};

/* Looks whether it has ended, without waiting, and takes note. */
bool tarn__process_collect(struct tarn_process *p);
/* Waits until it has ended, and with @records until these were handed on. 0, -ETIMEDOUT. */
int tarn__process_await(struct tarn_process *p, bool records, uint64_t deadline);
/* It has ended: finds out with what, once. 0: result and fault stand; or why they are lost. */
int tarn__process_settle(struct tarn_process *p);
/* References on the memory alone, for the handler's thread. */
void tarn__process_hold(struct tarn_process *p);
void tarn__process_release(struct tarn_process *p);

/* Why it failed, by its exit alone: a reference; NULL: it did not. Locked. */
tarn_fault *tarn__process_exit_fault(const struct tarn_process *p);
/* Taken before the first process is started: deaths by lack of memory so far. */
void tarn__oom_prepare(void);

/* ---- the thread that looks after them (handler.c) ---- */

/* From now on it is collected when it ends, and its records are handled. Takes a reference. If it fails the caller ends
 * the process, and collects it. */
int tarn__handler_add(struct tarn_process *p);
/* The descriptor that children ring; -errno. */
int tarn__handler_bell(void);
/* Whether the calling thread is the one that handles records. */
bool tarn__handler_is_me(void);

#endif
