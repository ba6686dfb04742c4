/* SPDX-License-Identifier: Apache-2.0 */
/* What a function that does a piece of work is given: in a worker process, and in a thread. */
#ifndef TARN_PROCESS_WORKER_H
#define TARN_PROCESS_WORKER_H

#include "lib/value/fault.h"
#include "lib/value/value.h"
#include "tarn/process.h"

struct tarn_worker {
	tarn_client *client;
	const char *name;
	const tarn_parcel *args;
	tarn_builder result;
	tarn_fault *fault;
	void *own_data, **data; /* data: &own_data, or that of the worker whose task it is */
	void *owner;         /* its thread's tarn_thread, or NULL */
};

void tarn__worker_init(struct tarn_worker *w, tarn_client *client, const char *name,
		       const tarn_parcel *args);
void tarn__worker_fini(struct tarn_worker *w);

/* Calls @fn for @w on this thread. 0, or -TARN_EREMOTE: w->fault says why, whatever way it failed. */
int tarn__worker_call(struct tarn_worker *w, tarn_worker_fn *fn);

/* The worker of the calling thread, for tarn_worker_self(); NULL: the process's. */
void tarn__worker_set(struct tarn_worker *w);

#endif
