/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of tarn.Queue know, beside its instance (shm/queue.h). */
#ifndef TARN_TYPES_QUEUE_H
#define TARN_TYPES_QUEUE_H

#include "shm/queue.h"

/* Methods, by their place in the table. Turns are numbers that tarn__mpmc gives. */
enum tarn__queue_method {
	TARN__QUEUE_STASH, /* turn, references...: those of the item that the caller puts there. One
			    * way: posted before the slot is published */
	TARN__QUEUE_TAKEN, /* turn: the references of the item that the caller took there, in order;
			    * nil: they have not come yet, ask again */
	TARN__QUEUE_DONE,  /* turn: the item that the caller took there is done. Of queues that do not keep
			    * items: what it refers to; the caller releases the slot */
	TARN__QUEUE_GROW,  /* number of a run, a block or nil: TARN__GROW_... */
	TARN__QUEUE_TAKE,  /* turn, id of a block: the caller has taken the item there with that, the last one of
			    * the item that it has not named yet. One way: posted before the slot is released.
			    * Not of queues that keep items (TARN__QUEUE_KEEP) */
};

enum tarn__queue_grow {
	TARN__GROW_THERE, /* it can be used; the block was not wanted */
	TARN__GROW_TAKEN, /* it can be used, and the block is the queue's */
	TARN__GROW_BLOCK, /* a block is needed */
	TARN__GROW_FULL,  /* what would be its place in the table is in use */
};

#endif
