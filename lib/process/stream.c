/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: the client's side.
 *
 * A supplier ends after its items are in the queue. So whoever sees that all have ended (SYNC
 * stream-end) and then finds the queue empty has seen all of the round: what is not there is taken.
 * Of a queue that redelivers it may come back while it is not done: until then the round goes on.
 * A consumer sleeps on the queue's words, the stream's, and the event's, together.
 */
#include <stdlib.h>

#include "lib/client/object.h"
#include "lib/types/queue-wait.h"
#include "lib/types/stream.h"
#include "lib/types/types.h"
#include "shm/wake.h"
#include "tarn/queue.h"
#include "tarn/stream.h"
#include "tarn/sync.h"
#include "wait-object.h"

#define ROOM_LOOK_NS 5000000 /* between looks at the event by a supplier that waits for room */

struct tarn_stream {
	tarn_object *object, *queue, *stop; /* references; stop may be NULL */
	struct tarn__stream *shared;        /* in the arena; the object's */
	uint32_t round;
};

static uint32_t state_of(const tarn_stream *s)
{
	/* SYNC stream-end, acquire: with an end we see the items before it. */
	return tarn__load32_acquire(&s->shared->state);
}

static bool all_ended(const tarn_stream *s, uint32_t state)
{
	return (state & TARN__STREAM_ENDED) >= s->shared->suppliers;
}

/* ---- opening ---- */

static int get_parts(tarn_stream *s)
{
	tarn_parcel p;
	int r = tarn_call(s->object, "parts", NULL, &p, TARN_FOREVER);

	if (r < 0)
		return r;
	r = tarn_parcel_get(&p, "OO?", &s->queue, &s->stop);
	if (r == 0) {
		tarn_object_ref(s->queue);
		if (s->stop != NULL)
			tarn_object_ref(s->stop);
	} else {
		s->queue = s->stop = NULL;
	}
	tarn_parcel_fini(&p);
	return r;
}

int tarn_stream_open(tarn_object *object, tarn_stream **ret_stream)
{
	struct tarn__stream *shared = tarn__object_instance(object, &tarn__type_stream);

	if (shared == NULL)
		return tarn__negative(tarn_error_last()->code);
	tarn_stream *s = calloc(1, sizeof *s);
	if (s == NULL)
		return tarn__fail(-ENOMEM, "No memory for a stream.");
	s->object = tarn_object_ref(object);
	s->shared = shared;
	s->round = tarn__stream_round(state_of(s));
	int r = get_parts(s);
	if (r < 0)
		tarn_stream_close(s);
	else
		*ret_stream = s;
	return r;
}

int tarn_stream_new(tarn_client *client, const tarn_stream_options *options, tarn_stream **ret_stream)
{
	static const tarn_stream_options none;
	const tarn_stream_options *o = options != NULL ? options : &none;
	tarn_object *queue = o->queue, *object;
	int r = queue == NULL ? tarn_queue_new(client, NULL, &queue) : 0;

	if (r < 0)
		return r;
	r = tarn_object_newf(client, tarn__type_stream.name, &object, "OIO", queue,
			     o->suppliers != 0 ? o->suppliers : 1, o->stop);
	if (o->queue == NULL)
		tarn_object_unref(queue);
	if (r < 0)
		return r;
	r = tarn_stream_open(object, ret_stream);
	tarn_object_unref(object);
	return r;
}

tarn_stream *tarn_stream_close(tarn_stream *stream)
{
	if (stream != NULL) {
		tarn_object_unref(stream->queue);
		tarn_object_unref(stream->stop);
		tarn_object_unref(stream->object);
		free(stream);
	}
	return NULL;
}

tarn_object *tarn_stream_object(tarn_stream *stream)
{
	return stream->object;
}

/* ---- supplying ---- */

static int check_stop(const tarn_stream *s)
{
	int r = s->stop != NULL ? tarn_event_is_set(s->stop) : 0;

	return r <= 0 ? r : tarn__fail_static(-ECANCELED, "The stream was told to stop.");
}

static int64_t left_until(uint64_t deadline, int64_t most)
{
	const uint64_t now = tarn__now(), left = deadline > now ? deadline - now : 0;

	return left < (uint64_t)most ? (int64_t)left : most;
}

int tarn_stream_put(tarn_stream *stream, const tarn_builder *item, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	int r = check_stop(stream);

	if (r == 0 && all_ended(stream, state_of(stream)))
		r = tarn__fail(-TARN_ESTATE, "All %u suppliers of the stream have ended this round: renew "
			       "it before more is put.", stream->shared->suppliers);
	if (r < 0)
		return r;
	if (stream->stop == NULL || timeout_ns == 0)
		return tarn_queue_put(stream->queue, item, timeout_ns);
	do {
		r = tarn_queue_put(stream->queue, item, left_until(deadline, ROOM_LOOK_NS));
		if (r != -ETIMEDOUT && r != -EAGAIN)
			return r;
		r = check_stop(stream);
	} while (r == 0 && tarn__now() < deadline);
	return r < 0 ? r : tarn__fail_static(-ETIMEDOUT, "The stream's queue is full.");
}

static void change_told(const tarn_stream *s)
{
	tarn__futex_wake(&s->shared->state, INT32_MAX);
}

int tarn_stream_end(tarn_stream *stream)
{
	uint32_t state = state_of(stream);

	if (tarn__forked(stream->object->base.client))
		return tarn__fail_forked();
	do {
		if (all_ended(stream, state))
			return tarn__fail(-TARN_ESTATE, "All %u suppliers of the stream have ended this "
					  "round.", stream->shared->suppliers);
		/* SYNC stream-end, release: the items before it. */
	} while (!__atomic_compare_exchange_n(&stream->shared->state, &state, state + 1, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	change_told(stream);
	return 0;
}

/* ---- rounds ---- */

int tarn_stream_renew(tarn_stream *stream)
{
	uint32_t state = state_of(stream);

	if (tarn__forked(stream->object->base.client))
		return tarn__fail_forked();
	do {
		if (!all_ended(stream, state))
			return tarn__fail(-TARN_ESTATE, "%u of the %u suppliers of the stream have not ended "
					  "this round.",
					  stream->shared->suppliers - (state & TARN__STREAM_ENDED),
					  stream->shared->suppliers);
		int r = tarn__wait_object_ready(stream->queue);
		if (r < 0)
			return r;
		if (r > 0)
			return tarn__fail(-TARN_ESTATE, "Items of this round are left in the stream.");
		r = tarn__queue_over(stream->queue);
		if (r == 0 || r == -EDEADLK)
			return tarn__fail(-TARN_ESTATE, "Items of this round are in the hands of consumers that have "
					  "not acknowledged them.");
		if (r < 0)
			return r;
	} while (!__atomic_compare_exchange_n(&stream->shared->state, &state,
					      (state & ~TARN__STREAM_ENDED) + (TARN__STREAM_ENDED + 1),
					      false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	change_told(stream);
	return 0;
}

/* Sleeps until the queue, the stream or the event may have changed. @state: as it was looked at. */
static int rest(const tarn_stream *s, uint32_t state, bool for_items, uint64_t deadline)
{
	/* All have ended, and it goes on: what was taken and is not done may come back. */
	const bool for_done = for_items && all_ended(s, state);
	const uint32_t *words[4] = { &s->shared->state };
	uint32_t seen[4] = { state }, *done;
	size_t n = 1;
	int r = 0;

	if (for_items) {
		r = tarn__wait_object_word(s->queue, &words[n], &seen[n]);
		n++;
	}
	if (r == 0 && for_done) {
		r = tarn__queue_done_word(s->queue, &done, &seen[n]);
		words[n++] = done;
	}
	if (r == 0 && s->stop != NULL) {
		r = tarn__wait_object_word(s->stop, &words[n], &seen[n]);
		n++;
	}
	/* What came before the words were read changes none of them. */
	if (r == 0 && for_items)
		r = tarn__wait_object_ready(s->queue);
	if (r == 0 && for_done)
		r = tarn__queue_over(s->queue);
	if (r == 0)
		r = check_stop(s);
	if (r != 0)
		return r < 0 ? r : 0;
	tarn__wait_words(words, seen, n, deadline);
	return tarn__client_health(s->object->base.client, tarn__lane_mine(s->object->base.client));
}

int tarn_stream_await_renew(tarn_stream *stream, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	uint32_t state;
	int r = check_stop(stream);

	while (r == 0 && tarn__stream_round(state = state_of(stream)) == stream->round) {
		if (tarn__now() >= deadline)
			return tarn__fail_static(tarn__late(timeout_ns),
						 "The stream's next round has not begun.");
		r = rest(stream, state, false, deadline);
	}
	if (r == 0)
		stream->round = tarn__stream_round(state);
	return r;
}

/* ---- consuming ---- */

static int at_end(void)
{
	return tarn__fail_static(-TARN_EOF, "The round is over: all suppliers have ended, and all is taken.");
}

int tarn_stream_next(tarn_stream *stream, tarn_parcel *ret_item, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);

	for (;;) {
		const uint32_t state = state_of(stream);
		int r = check_stop(stream);

		if (r < 0)
			return r;
		if (tarn__stream_round(state) != stream->round)
			return at_end();
		r = tarn_queue_get(stream->queue, ret_item, 0);
		if (r != -EAGAIN)
			return r;
		if (all_ended(stream, state)) {
			r = tarn__queue_over(stream->queue);
			if (r != 0)
				return r < 0 ? r : at_end();
		}
		if (tarn__now() >= deadline)
			return tarn__fail_static(tarn__late(timeout_ns), "The stream has no item now.");
		r = rest(stream, state, true, deadline);
		if (r < 0)
			return r;
	}
}
