/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: the client's side. Plain values are published and received without the server. */
#include "tarn/topic.h"

#include <stdlib.h>

#include "lib/value/fault.h"
#include "pause.h"
#include "queue-item.h"
#include "topic.h"
#include "types.h"

/* ---- the topic, seen from here ---- */

struct view {
	struct tarn_object *object;
	struct tarn_client *client;
	struct tarn__topic *t;
	struct tarn__mpmc m;
};

static int view_open(tarn_object *topic, struct view *v)
{
	struct tarn_client *c = topic->base.client;

	v->t = tarn__object_instance(topic, &tarn__type_topic);
	if (v->t == NULL)
		return tarn__negative(tarn_error_last()->code);
	if (tarn__forked(c))
		return tarn__fail_forked();
	v->object = topic;
	v->client = c;
	if (!tarn__topic_view(v->t, c->data, c->data_bytes, c->number, &v->m))
		return tarn__fail(-TARN_EPROTO, "The topic is damaged: what describes its slots cannot "
				  "be.");
	return 0;
}

static bool closed(const struct view *v)
{
	/* SYNC closed: as of queues. */
	return __atomic_load_n(&v->t->closed, __ATOMIC_SEQ_CST) != 0;
}

int tarn_topic_new(tarn_client *client, const tarn_topic_options *options, tarn_object **ret_topic)
{
	static const tarn_topic_options none;
	const tarn_topic_options *o = options != NULL ? options : &none;

	return tarn_object_newf(client, tarn__type_topic.name, ret_topic, "III", o->slots, o->keep,
				o->slot_bytes);
}

/* ---- publishing ---- */

static int be_publisher(const struct view *v, bool begins)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	tarn_put_bool(&b, begins);
	r = tarn_call_n(v->object, TARN__TOPIC_PUBLISHER, &b, NULL, TARN_FOREVER);
	tarn_builder_fini(&b);
	return r;
}

static bool is_publisher(const struct view *v)
{
	/* Relaxed: our own number, which the server put there when we asked. */
	for (unsigned k = 0; k < TARN__TOPIC_PUBLISHERS; k++)
		if (tarn__load32_relaxed(&v->t->publisher[k]) == v->m.me)
			return true;
	return false;
}

/* The item of @turn is published, or never will be. */
static void announce(const struct view *v, uint64_t turn)
{
	struct tarn__topic *t = v->t;

	tarn__post_barrier(v->client->fence);
	/* SYNC bell, as tarn__bell_ring(); all who sleep wait for the same item. */
	if (tarn__unlikely(tarn__load32_relaxed(&t->items.asleep) != 0))
		tarn__bell_ring_all(&t->items);
	/* Publishers who are a whole lap on wait for this very slot. Relaxed: one that found it
	 * unfinished had seen the tail there before it said that it sleeps. */
	if (tarn__unlikely(tarn__load32_relaxed(&t->space.asleep) != 0) &&
	    tarn__load_relaxed(&v->m.tail->turn) - turn >= v->m.n)
		tarn__bell_ring_all(&t->space);
}

static int claim(const struct view *v, uint64_t *ret_turn, uint64_t **ret_slot, int64_t timeout_ns)
{
	struct tarn__pause p = tarn__pause_begin(v->client, timeout_ns, &v->t->space);
	int r;

	for (;;) {
		enum tarn__mpmc_result got = tarn__topic_claim(v->t, &v->m, ret_turn, ret_slot);

		if (closed(v)) {
			if (got == TARN__MPMC_OK) {
				tarn__mpmc_abandon(&v->m, *ret_slot, *ret_turn);
				announce(v, *ret_turn);
			}
			return tarn__fail_static(-TARN_ECLOSED, "The topic is closed.");
		}
		if (got == TARN__MPMC_OK)
			break;
		r = tarn__pause_next(&p);
		if (r < 0)
			return tarn__fail_waited(r, timeout_ns, got == TARN__MPMC_BUSY
					 ? "The publisher of the oldest item has not finished it"
					 : "A subscriber that must not miss anything is too far behind");
	}
	tarn__pause_end(&p);
	return 0;
}

/* Into the slot, with what the server has to be told. */
static int write_item(const struct view *v, const struct tarn__item_out *item, uint64_t turn,
		      uint64_t *slot)
{
	struct tarn__queue_slot *s = (void *)slot;
	/* SYNC stash, sequentially consistent: we see what the server keeps for the item before, or it
	 * sees our claim and keeps nothing. */
	bool clears = item->n_refs == 0 && __atomic_load_n(&s->stash, __ATOMIC_SEQ_CST) != 0;
	struct tarn__lane *l;
	int r;

	if (tarn__likely(item->n_refs == 0 && !clears)) {
		tarn__item_write(NULL, item, turn, s);
		return 0;
	}
	r = tarn__lane_enter(v->client, &l);
	if (r < 0)
		return r;
	r = tarn__lane_prepare(l, clears ? 1 : item->stash.slots, 0, UINT64_MAX);
	if (r == 0) {
		tarn__item_write(l, item, turn, s);
		if (clears)
			tarn__item_clear(l, v->object, turn);
	}
	tarn__lane_leave(l);
	return r;
}

static int publish(const struct view *v, const struct tarn__item_out *item, int64_t timeout_ns)
{
	uint64_t turn = 0, *slot = NULL;
	int r = claim(v, &turn, &slot, timeout_ns);

	if (r < 0)
		return r;
	r = write_item(v, item, turn, slot);
	if (r < 0) {
		tarn__mpmc_abandon(&v->m, slot, turn);
	} else if (!tarn__mpmc_publish(&v->m, slot, turn)) {
		r = tarn__client_health(v->client, tarn__lane_mine(v->client));
		r = r < 0 ? r : tarn__fail(-TARN_EPROTO, "A slot of the topic was written to by "
					   "somebody else.");
	}
	announce(v, turn);
	return r;
}

int tarn_topic_publish(tarn_object *topic, const tarn_builder *item, int64_t timeout_ns)
{
	struct tarn__item_out out;
	struct view v;
	int r = view_open(topic, &v);

	if (r == 0 && tarn__unlikely(!is_publisher(&v)))
		r = be_publisher(&v, true);
	if (r == 0)
		r = tarn__item_begin(topic, tarn__topic_room(v.m.stride), TARN__TOPIC_REFS, item, timeout_ns, &out);
	if (r < 0)
		return r;
	r = publish(&v, &out, timeout_ns);
	tarn__item_end(&out);
	return r;
}

int tarn_topic_publishf(tarn_object *topic, int64_t timeout_ns, const char *format, ...)
{
	tarn_builder b;
	va_list ap;
	int r;

	va_start(ap, format);
	tarn_builder_init(&b);
	r = tarn__put_v(&b, format, ap);
	if (r == 0)
		r = tarn_topic_publish(topic, &b, timeout_ns);
	tarn_builder_fini(&b);
	va_end(ap);
	return r;
}

int tarn_topic_leave(tarn_object *topic)
{
	struct view v;
	int r = view_open(topic, &v);

	return r == 0 && is_publisher(&v) ? be_publisher(&v, false) : r;
}

int tarn_topic_close(tarn_object *topic)
{
	struct view v;
	int r = view_open(topic, &v);

	if (r < 0)
		return r;
	/* SYNC closed. */
	__atomic_store_n(&v.t->closed, 1, __ATOMIC_SEQ_CST);
	tarn__bell_ring_all(&v.t->items);
	tarn__bell_ring_all(&v.t->space);
	return 0;
}

int tarn_topic_subscribers(tarn_object *topic)
{
	struct view v;
	int n = 0, r = view_open(topic, &v);

	for (unsigned k = 0; r == 0 && k < TARN__TOPIC_SUBSCRIBERS; k++)
		n += tarn__load32_relaxed(&v.t->reader[k].client) != 0;
	return r < 0 ? r : n;
}

/* ---- subscribing ---- */

struct tarn_subscription {
	tarn_object *topic;
	enum tarn_topic_policy policy;
	uint32_t died;       /* publishers of whose deaths it was told */
	uint64_t place, number;
	uint64_t cursor;     /* the next turn */
	uint64_t dropped;
};

static int subscribe(tarn_subscription *s, unsigned old)
{
	tarn_builder b;
	tarn_parcel p;
	int r;

	tarn_builder_init(&b);
	tarn_put(&b, "Qb", (uint64_t)old, s->policy == TARN_TOPIC_BLOCK);
	r = tarn_call_n(s->topic, TARN__TOPIC_SUBSCRIBE, &b, &p, TARN_FOREVER);
	tarn_builder_fini(&b);
	if (r < 0)
		return r;
	r = tarn_parcel_get(&p, "QQQ", &s->place, &s->number, &s->cursor);
	tarn_parcel_fini(&p);
	if (r == 0 && s->place >= TARN__TOPIC_SUBSCRIBERS)
		r = tarn__fail(-TARN_EPROTO, "The server's reply does not hold together.");
	return r;
}

int tarn_topic_subscribe(tarn_object *topic, const tarn_subscription_options *options,
			 tarn_subscription **ret_subscription)
{
	static const tarn_subscription_options none;
	const tarn_subscription_options *o = options != NULL ? options : &none;
	tarn_subscription *s;
	struct view v;
	int r = view_open(topic, &v);

	if (r < 0)
		return r;
	if ((unsigned)o->policy > TARN_TOPIC_BLOCK)
		return tarn__fail(-EINVAL, "%d is no policy of subscribers.", (int)o->policy);
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return tarn__fail(-ENOMEM, "No memory for a subscription.");
	s->topic = tarn_object_ref(topic);
	s->policy = o->policy;
	/* Relaxed: those that died before are none of ours. */
	s->died = tarn__load32_relaxed(&v.t->died);
	r = subscribe(s, o->old);
	if (r < 0) {
		tarn_object_unref(topic);
		free(s);
		return r;
	}
	*ret_subscription = s;
	return 0;
}

tarn_subscription *tarn_subscription_free(tarn_subscription *s)
{
	tarn_builder b;

	if (s == NULL)
		return NULL;
	if (!tarn__forked(s->topic->base.client)) {
		tarn_builder_init(&b);
		tarn_put(&b, "QQ", s->place, s->number);
		/* If it cannot be said, the server or this client is gone, and the place with it. */
		tarn_cast_n(s->topic, TARN__TOPIC_UNSUBSCRIBE, &b);
		tarn_builder_fini(&b);
	}
	tarn_object_unref(s->topic);
	free(s);
	return NULL;
}

uint64_t tarn_subscription_dropped(const tarn_subscription *s)
{
	return s->dropped;
}

/* ---- receiving ---- */

static void move_on(const struct view *v, tarn_subscription *s, uint64_t cursor)
{
	s->cursor = cursor;
	/* SYNC cursor, release: what is below is read. */
	tarn__store_release(&v->t->reader[s->place].cursor, cursor);
	if (s->policy == TARN_TOPIC_BLOCK)
		tarn__bell_ring(&v->t->space, v->client->fence);
}

static void skip_to(tarn_subscription *s, uint64_t cursor)
{
	s->dropped += cursor - s->cursor;
	s->cursor = cursor;
}

/* To the newest item that is there. */
static void skip_to_latest(const struct view *v, tarn_subscription *s)
{
	uint64_t t = tarn__load_acquire(&v->m.tail->turn), steps = 0;

	for (; (int64_t)(t - 1 - s->cursor) > 0 && steps < v->m.n; t--, steps++) {
		uint64_t seen = tarn__mpmc_look(tarn__mpmc_slot(&v->m, t - 1));

		if (tarn__mpmc_ahead(seen, t - 1) == 0 && tarn__mpmc_state(seen) == TARN__MPMC_FULL) {
			skip_to(s, t - 1);
			return;
		}
	}
}

/* Reads what is at the cursor; it is FULL as @seen says. 0, 1 it was overwritten, or a failure. */
static int read_item(const struct view *v, tarn_subscription *s, const uint64_t *slot, uint64_t seen,
		     tarn_parcel *ret)
{
	int r = tarn__item_read(s->topic, (const void *)slot, tarn__topic_room(v->m.stride), s->cursor, false,
				ret);

	/* SYNC overrun, acquire: a fence, for the words were copied by relaxed loads, and the look is
	 * to come behind all. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (tarn__load_relaxed(slot) == seen || (r == 0 && ret->n_refs != 0))
		return r; /* the server's word for what has references */
	if (r == 0)
		tarn_parcel_fini(ret);
	return 1;
}

enum look {
	LOOK_NOTHING = 1,
	LOOK_UNFINISHED, /* a publisher is at the next item */
};

/* One look. 0, enum look, or a failure: the item is passed over. */
static int try_recv(const struct view *v, tarn_subscription *s, tarn_parcel *ret)
{
	bool torn = false;

	for (unsigned k = 0; k < TARN__MPMC_ROUNDS; k++) {
		uint64_t *slot, seen;
		int64_t ahead;
		int r;

		if (s->policy == TARN_TOPIC_LATEST)
			skip_to_latest(v, s);
		slot = tarn__mpmc_slot(&v->m, s->cursor);
		seen = tarn__mpmc_look(slot);
		ahead = tarn__mpmc_ahead(seen, s->cursor);
		if (ahead > 0) {
			/* To the oldest, which is next to the one that is there now; but if one has just
			 * been overwritten while it was read, that would be the next to be. */
			skip_to(s, s->cursor + (uint64_t)ahead - (torn ? v->m.n / 2 : v->m.n - 1));
			continue;
		}
		if (ahead == 0 && tarn__mpmc_state(seen) == TARN__MPMC_TOMB) {
			move_on(v, s, s->cursor + 1);
			continue;
		}
		if (ahead == 0 && tarn__mpmc_state(seen) == TARN__MPMC_CLAIM)
			return LOOK_UNFINISHED;
		if (ahead < 0 || tarn__mpmc_state(seen) != TARN__MPMC_FULL)
			return LOOK_NOTHING;
		r = read_item(v, s, slot, seen, ret);
		torn = r == 1;
		if (torn)
			continue;
		move_on(v, s, s->cursor + 1);
		return r;
	}
	return LOOK_NOTHING;
}

int tarn_subscription_recv(tarn_subscription *s, tarn_parcel *ret_item, int64_t timeout_ns)
{
	struct tarn__pause p;
	struct view v;
	int r = view_open(s->topic, &v);

	if (r < 0)
		return r;
	p = tarn__pause_begin(v.client, timeout_ns, &v.t->items);
	for (;;) {
		bool over = closed(&v); /* before the look: what was published before counts */
		/* SYNC died, acquire: what they published is seen by the look. */
		uint32_t died = __atomic_load_n(&v.t->died, __ATOMIC_ACQUIRE);

		r = try_recv(&v, s, ret_item);
		if (r <= 0)
			break;
		/* Behind an item that is not finished may be finished ones. */
		if (r == LOOK_NOTHING && over)
			return tarn__fail_static(-TARN_ECLOSED, "The topic is closed.");
		if (r == LOOK_NOTHING && died != s->died) {
			s->died++;
			return tarn__fail_static(-EOWNERDEAD, "A publisher of the topic is gone.");
		}
		r = tarn__pause_next(&p);
		if (r < 0)
			return tarn__fail_waited(r, timeout_ns, "Nothing was published");
	}
	tarn__pause_end(&p);
	return r;
}
