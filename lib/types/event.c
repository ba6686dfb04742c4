/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: the client's side. One word; everybody who waits sleeps on it in its own thread.
 *
 * SYNC event-set: setting is a release, finding it set an acquire.
 */
#include "tarn/sync.h"

#include <limits.h>

#include "actor.h"
#include "shm/sync.h"
#include "types.h"

static struct tarn__event *event_of(tarn_object *o)
{
	struct tarn__event *e = tarn__object_instance(o, &tarn__type_event);

	return tarn__likely(e != NULL) && tarn__likely(tarn__actor(o->base.client) != 0) ? e : NULL;
}

int tarn_event_new(tarn_client *client, unsigned flags, tarn_object **ret_event)
{
	if (flags != 0)
		return tarn__fail(-EINVAL, "Unknown flags %#x for an event.", flags);
	return tarn_object_new(client, tarn__type_event.name, NULL, ret_event);
}

int tarn_event_set(tarn_object *event)
{
	struct tarn__event *e = event_of(event);

	if (e == NULL)
		return tarn__negative(tarn_error_last()->code);
	uint32_t w = tarn__load32_relaxed(&e->word);

	for (;;) {
		uint32_t to = ((w & ~(TARN__EVENT_ROUND - 1)) + TARN__EVENT_ROUND) | TARN__EVENT_SET;

		/* Set already: written once more, for who sees it set sees what came before this, too. */
		if (w & TARN__EVENT_SET)
			to = w;
		if (tarn__word_swap(&e->word, &w, to, __ATOMIC_ACQ_REL))
			break;
	}
	if (w & TARN__EVENT_WAITERS)
		tarn__futex_wake(&e->word, INT_MAX);
	return 0;
}

int tarn_event_clear(tarn_object *event)
{
	struct tarn__event *e = event_of(event);

	if (e == NULL)
		return tarn__negative(tarn_error_last()->code);
	__atomic_fetch_and(&e->word, ~TARN__EVENT_SET, __ATOMIC_ACQ_REL);
	return 0;
}

int tarn_event_is_set(tarn_object *event)
{
	const struct tarn__event *e = event_of(event);

	if (e == NULL)
		return tarn__negative(tarn_error_last()->code);
	return (tarn__load32_acquire(&e->word) & TARN__EVENT_SET) != 0;
}

/* Marks @w, which is not set, as slept on. False: it is another now. */
static bool mark(struct tarn__event *e, uint32_t *w)
{
	if (tarn__load32_relaxed(&e->contended) == 0)
		tarn__store32_relaxed(&e->contended, 1);
	if (*w & TARN__EVENT_WAITERS)
		return true;
	if (!tarn__word_swap(&e->word, w, *w | TARN__EVENT_WAITERS, __ATOMIC_ACQ_REL))
		return false;
	*w |= TARN__EVENT_WAITERS;
	return true;
}

int tarn_event_wait(tarn_object *event, int64_t timeout_ns)
{
	struct tarn__event *e = event_of(event);
	struct tarn__patience p = tarn__patience(event->base.client, timeout_ns);

	if (e == NULL)
		return tarn__negative(tarn_error_last()->code);
	uint32_t w = tarn__load32_acquire(&e->word);
	const uint32_t round = w / TARN__EVENT_ROUND;

	while (!(w & TARN__EVENT_SET) && w / TARN__EVENT_ROUND == round) {
		if (timeout_ns == 0)
			return tarn__fail_static(-EAGAIN, "The event is not set.");
		if (mark(e, &w)) {
			int r = tarn__patience_sleep(&p, &e->word, w, "The event was not set");

			if (r < 0)
				return r;
		}
		w = tarn__load32_acquire(&e->word);
	}
	return 0; /* set, or it was while we slept */
}

int tarn__event_wait_word(tarn_object *event, const uint32_t **ret_word, uint32_t *ret_seen)
{
	struct tarn__event *e = event_of(event);

	if (e == NULL)
		return tarn__negative(tarn_error_last()->code);
	uint32_t w = tarn__load32_acquire(&e->word);

	while (!(w & TARN__EVENT_SET) && !mark(e, &w))
		;
	*ret_word = &e->word;
	*ret_seen = w;
	return 0;
}
