/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: queues with an end, for several suppliers and several consumers, round after round.
 *
 *	supplier                                consumer
 *	tarn_stream_put(s, &item, timeout);     while ((r = tarn_stream_next(s, &item, timeout)) == 0)
 *	...                                             ...
 *	tarn_stream_end(s);                     r is -TARN_EOF: every supplier has ended, and all is taken
 *
 * There are no markers among the items: any value is an item, and a consumer that comes late sees the
 * end, too. What is passed to other processes is the object, tarn_stream_object(); each consumer opens
 * a tarn_stream of its own there.
 */
#ifndef TARN_STREAM_H
#define TARN_STREAM_H

#include "object.h"

TARN_BEGIN

typedef struct tarn_stream tarn_stream;

typedef struct tarn_stream_options {
	tarn_object *queue;  /* a tarn.Queue that carries the items; NULL: a new one, unbounded */
	unsigned suppliers;  /* how many will end; 0: 1; at most 65535 */
	tarn_object *stop;   /* a tarn.Event: when it is set, waiting puts and nexts end with -ECANCELED;
			      * NULL: none */
} tarn_stream_options;

/* Makes one, for this process. @options NULL: defaults. The caller ends @ret_stream with
 * tarn_stream_close(). As tarn_object_new(), -EINVAL. */
TARN_EXPORT int tarn_stream_new(tarn_client *client, const tarn_stream_options *options,
				tarn_stream **ret_stream);
/* One of this consumer's or supplier's own, of an object that came here. It begins in the round
 * that is now. -TARN_EKIND it is no stream. */
TARN_EXPORT int tarn_stream_open(tarn_object *object, tarn_stream **ret_stream);
/* NULL is allowed. Returns NULL. The stream itself lives while somebody refers to it. */
TARN_EXPORT tarn_stream *tarn_stream_close(tarn_stream *stream);
/* Borrowed: to be passed on. */
TARN_EXPORT tarn_object *tarn_stream_object(tarn_stream *stream);

/* Puts an item. -ETIMEDOUT the queue is full, -ECANCELED stop is set, -TARN_ESTATE all suppliers have
 * ended this round; as tarn_queue_put(). With a stop a wait for room looks at it every 5 ms. */
TARN_EXPORT int tarn_stream_put(tarn_stream *stream, const tarn_builder *item, int64_t timeout_ns);
/* One supplier has ended. -TARN_ESTATE all have. */
TARN_EXPORT int tarn_stream_end(tarn_stream *stream);
/* The next item, the caller's to end. -TARN_EOF there are no more in this round, -ETIMEDOUT, -ECANCELED
 * stop is set; as tarn_queue_get(). Of a queue that redelivers (TARN_QUEUE_REDELIVER) the round is over when
 * other processes have acknowledged all that they took: what a dead one had comes first. -EDEADLK they
 * have not, and this thread has not acknowledged what it took either. */
TARN_EXPORT int tarn_stream_next(tarn_stream *stream, tarn_parcel *ret_item, int64_t timeout_ns);

/* Begins the next round, in which all suppliers have to end again. -TARN_ESTATE not all have ended, or
 * items are left, or not acknowledged by other processes. */
TARN_EXPORT int tarn_stream_renew(tarn_stream *stream);
/* Waits until the round of this tarn_stream is over and the next one has begun, and is in that one
 * then. -ETIMEDOUT, -ECANCELED. */
TARN_EXPORT int tarn_stream_await_renew(tarn_stream *stream, int64_t timeout_ns);

/* For TARN_AUTO(tarn_stream). */
static inline void tarn_stream_auto(tarn_stream **stream)
{
	tarn_stream_close(*stream);
}

TARN_END

#endif
