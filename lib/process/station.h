/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process that does one task after the other: what pools and runners are made of.
 *
 * Two channels lead there and back; what travels are items (item.h). When the process dies the channel
 * back ends, so whoever waits for an answer hears of it.
 *
 *	task:   entry, mode, and what it is to be called with
 *	answer: of one call: true and its results, or false and the fault; of several: one list of such
 *		lists
 */
#ifndef TARN_PROCESS_STATION_H
#define TARN_PROCESS_STATION_H

#include "item.h"
#include "tarn/process.h"

enum tarn__task_mode {
	TARN__TASK_ONE = 0,  /* the rest are arguments of one call */
	TARN__TASK_EACH,     /* a list: each entry is the argument of a call */
	TARN__TASK_STAR,     /* a list of lists: each has the arguments of a call */
};
#define TARN__STATION_RING 4u  /* tasks on their way, and answers */
#define TARN__READY UINT64_MAX /* the tag of the first answer: of the initializer */

struct tarn__station {
	tarn_process *process;
	tarn_channel *tasks, *answers;
};

/* Starts a process called @name; it calls @open (NULL: nothing) with @args first and @close (NULL:
 * nothing) last. Then tarn__station_await() for the first answer. */
int tarn__station_open(struct tarn__station *s, tarn_client *client, const char *name,
		       const char *open, const char *close, const tarn_builder *args,
		       const tarn_log_handler *log);
/* Waits until open has run: 0, -TARN_EREMOTE with its fault, -EPIPE the process is gone. */
int tarn__station_await_ready(struct tarn__station *s);
/* 0, -TARN_ECLOSED the process is gone, -ETIMEDOUT. @item stays the caller's. */
int tarn__station_send(struct tarn__station *s, struct tarn_block *item, uint64_t tag,
		       int64_t timeout_ns);
/* Likewise; an answer, the caller's to end. */
int tarn__station_recv(struct tarn__station *s, tarn_parcel *ret_answer, uint64_t *ret_tag,
		       int64_t timeout_ns);
/* The same, as the item that it comes as. */
int tarn__station_recv_item(struct tarn__station *s, struct tarn_block **ret_item, uint64_t *ret_tag,
			    int64_t timeout_ns);
/* No more tasks: the process ends when it has done those that it has. */
void tarn__station_close(struct tarn__station *s);
/* Waits until it has closed its channel, too; answers that come are dropped. */
void tarn__station_await_end(struct tarn__station *s);
/* How it ended, when it has closed its channel or was closed: waits a little, then kills it. A
 * reference; NULL: without a failure. */
tarn_fault *tarn__station_bury(struct tarn__station *s);
/* Drops all; a process that lives is killed. */
void tarn__station_free(struct tarn__station *s);

/* ---- what answers say ---- */

/* @answer (a parcel's values from @first on, or those of a list) is true and results, which are
 * appended to @results, or false and a fault: -TARN_EREMOTE. */
int tarn__answer_results(const tarn_parcel *answer, tarn_builder *results);
int tarn__answer_results_of(tarn_value answer, tarn_builder *results);

#endif
