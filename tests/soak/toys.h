/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soak's objects of Tarn's own types. The supervisor makes some of each, gives them names and
 * keeps them; threads look them up, use them for a while, and are killed while they do. Of each it
 * is known what must be true whoever dies:
 *
 *	locks		two numbers that only the holder changes are equal, unless its death was told
 *	semaphores	when everybody is gone all permits are there
 *	queues		nothing is got twice; the items of one thread come in order; with
 *			TARN_QUEUE_REDELIVER nothing that was put is lost, else no more than the dead
 *			can have had in hand
 *	topics		items of one publisher come in order
 *	numbers		what was added for certain <= the sum <= what was tried
 *	containers	what a thread wrote it reads, as long as nobody else writes there
 *	processes	what a worker was told to become of it, becomes of it
 *
 * toys.c has locks and numbers, lines.c queues and topics, boxes.c containers and processes.
 */
#ifndef TARN_TESTS_SOAK_TOYS_H
#define TARN_TESTS_SOAK_TOYS_H

#include "soak.h"

enum toy {
	TOY_LOCK, TOY_RLOCK, TOY_SEM, TOY_BOUNDED, TOY_COND, TOY_EVENT, TOY_BARRIER, TOY_NUMBERS,
	TOY_SUM, TOY_LINE, TOY_LINE_LAST = TOY_LINE + LINES - 1, TOY_TOPIC, TOY_LIST, TOY_DICT, TOY_NS,
	TOYS
};

#define SEEN 128 /* producers whose last item one remembers */

/* Of one thread. */
struct toys {
	tarn_client *client;
	uint64_t random, who, hand;
	bool hurry; /* waits for no item */
	tarn_object *held[ROOMS][TOYS];
	uint64_t put[ROOMS][LINES]; /* items of this thread so far */
	struct seen {
		uint64_t who, n;
	} seen[ROOMS][LINES + 1][SEEN]; /* of queues, and of the topic */
	tarn_subscription *subscription[ROOMS];
	uint64_t published[ROOMS];
	int64_t boxed[ROOMS];           /* what this thread has in the dict; -1: it does not know */
};

void toys_open(struct toys *t, tarn_client *client, uint64_t random);
void toys_act(struct toys *t);
/* @n deeds at one queue or topic, one behind the other, without waiting. */
void toys_rush(struct toys *t, uint64_t n);
void toys_close(struct toys *t);
/* What the thread is about to do, for whoever looks at one that hangs. */
void toys_say(const struct toys *t, const char *deed);

/* Of the supervisor: makes and publishes all of them. */
void toys_make(tarn_client *client, tarn_object *toy[ROOMS][TOYS]);
/* All others are gone: what must be true then; and lets them go. The number of findings. */
unsigned toys_end(tarn_client *client, tarn_object *toy[ROOMS][TOYS], uint64_t deaths);

/* ---- between the files ---- */

/* The thread's proxy of it, looked up if need be. NULL: not now. */
tarn_object *toy_get(struct toys *t, unsigned room, enum toy which);
/* Interrupted by the end of a server, where servers are killed; counted. */
bool interrupted(int r);
/* @r of the deed is none of what may be. */
void unexpected(const char *deed, int r) __attribute__((noreturn));

void line_act(struct toys *t, unsigned room, unsigned line);
void topic_act(struct toys *t, unsigned room);
unsigned line_end(tarn_object *queue, unsigned room, unsigned line, uint64_t deaths);
int line_new(tarn_client *client, unsigned line, tarn_object **ret);
void box_act(struct toys *t, unsigned room, enum toy which);
void errand_act(struct toys *t);
/* Makes one of Tarn's containers. */
int box_new(tarn_client *client, enum toy which, tarn_object **ret);

#endif
