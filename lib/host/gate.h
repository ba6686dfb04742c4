/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One word per object, private to the process: whether the reactor or executors are at it.
 *
 *	0            nobody is, and no call stands in line
 *	GATE_REACTOR the reactor runs an inline method: over in a moment
 *	GATE_ACTOR   times actors: executors run a method, or calls stand in line. Of one index there
 *	             may be several for a moment: an executor has sent its result, the object
 *	             has ended, and its index bears another, before the executor is out of the door
 *
 * The reactor only tries. Executors add and subtract under the pool's mutex, and wait out the
 * reactor. Objects of TARN_PARALLEL types have no gate.
 */
#ifndef TARN_HOST_GATE_H
#define TARN_HOST_GATE_H

#include "context.h"

enum { GATE_FREE = 0, GATE_REACTOR = 1, GATE_ACTOR = 2 };

int tarn__inline_run(struct tarn__host *host, struct tarn__run *run);
void tarn__inline_end(struct tarn__host *host, struct tarn__run *run);
int tarn__inline_call(struct tarn__host *host, struct tarn__run *run);
bool tarn__gate_enter(struct tarn__host *host, const struct tarn__served *t,
		      const struct tarn__offer *offer, uint64_t id);
void tarn__gate_leave(struct tarn__host *host, uint64_t id);

/* Executors, with the pool's mutex: takes the gate of @id, waiting out the reactor; gives it
 * back. */
void tarn__gate_take(struct host *h, uint64_t id);
void tarn__gate_give(struct host *h, uint64_t id);

#endif
