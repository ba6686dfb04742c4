/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executors: threads of the server that run what may take long. They are threads of one
 * ordinary client, each with a lane; results are messages.
 *
 * Jobs that can run stand in one queue. An object that is busy has an actor, which knows who
 * is at it and who stands in line: those occupy no thread. When one leaves, the next are
 * let in, in order. A method that calls an object of its own server does so in place, in its
 * thread, and stands in the same line if it must; if what it waits for waits for it, the call
 * fails with -EDEADLK.
 *
 * The mutex is a leaf: nobody who has it waits, posts, or calls a method.
 */
#ifndef TARN_HOST_POOL_H
#define TARN_HOST_POOL_H

#include <pthread.h>

#include "context.h"

#define ACTOR_BUCKETS 1024u

/* An object at which somebody is, or for which somebody stands in line. */
struct actor {
	struct actor *next;           /* chain of the bucket */
	uint64_t id;
	uint32_t readers, writers;    /* of those who are at it; at most one of them writes */
	struct tarn__stand *line, **line_end;
	bool gate;                    /* it has the gate of its index; else a later life's actor has it */
	bool broken;                  /* its creator failed: who stands in line calls nothing */
};

/* That an executor is at an object; changed with the mutex. */
struct presence {
	struct actor *actor;          /* NULL: none to leave */
	struct presence *outer;
	bool reads;
};

struct executor {
	struct executor *next, **link;
	struct pool *pool;
	pthread_cond_t turn;          /* its stand was granted */
	struct actor *waits_for;
	struct presence *present;     /* where its methods are, innermost first */
	struct presence first;        /* of its job */
	struct tarn_context *top;     /* its own: the method that it runs, innermost */
	unsigned depth;               /* methods in each other */
	bool failed;                  /* its job was a creator, and failed */
	bool worked;                  /* since its cache was given back */
};

struct pool {
	struct host *host;
	uint32_t most;
	pthread_mutex_t mutex;
	pthread_cond_t work;          /* for idle executors: a job, or the end */
	pthread_cond_t ended;         /* an executor has ended */
	pthread_cond_t grow;          /* for the thread that starts executors */
	struct tarn__job *ready, **ready_end;
	struct actor *actor[ACTOR_BUCKETS];
	struct actor *spare;          /* used before */
	struct executor *executors;
	uint32_t n, idle, starting;   /* executors; of these */
	bool growing;                 /* the thread that starts them is there */
	bool stopping;
	int socket;                   /* by which to attach; -1: done, or never */
	char server[108];
	tarn_client *client;          /* set once, before the first job is run */
	uint64_t queued;
};

struct pool *tarn__pool_new(struct host *h, uint32_t max_executors);
/* Ends all executors, waiting up to @timeout_ns for methods that run. False: some still run. */
bool tarn__pool_stop(struct pool *p, int64_t timeout_ns);
void tarn__pool_free(struct pool *p); /* NULL is allowed */

void tarn__pool_submit(struct tarn__host *host, struct tarn__job *job);
/* What the reactor does next comes after all that executors did (by the mutex), and they do nothing before it
 * submits again: no object has anybody at it, and no gate is taken. */
void tarn__pool_rest(struct tarn__host *host);
void tarn__pool_cancel(struct tarn__host *host, struct tarn__job *job);

/* The calling thread's; NULL: it is none. */
struct executor *tarn__executor_me(void);

/* The job's method, from its arguments to its result (executor.c). */
void tarn__job_run(struct executor *e, struct tarn__job *job);

/*
 * For a method that calls object @id in place: waits for its turn, and notes in @here that it is
 * there. -EDEADLK, -ETIMEDOUT, -TARN_ESRVDOWN.
 */
int tarn__actor_enter(struct executor *e, const struct tarn__served *t,
		      const struct tarn__offer *offer, uint64_t id, uint64_t deadline,
		      struct presence *here);
void tarn__actor_leave(struct executor *e, struct presence *here);

/* direct.c */
extern const struct tarn__direct tarn__host_direct;

#endif
