/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Topic: the server makes it, keeps what items refer to, knows who publishes and who reads, and
 * repairs what the dead were at.
 *
 * As with queues, all words can be written by any client: ids and turns are checked or cost the
 * topic's own users something.
 */
#include "topic.h"

#include <stdio.h>

#include "inside.h"
#include "memory.h"
#include "stash.h"
#include "tarn/topic.h"
#include "types.h"

/* ---- making ---- */

static int create(tarn_context *ctx, void *self)
{
	struct tarn__topic *t = self;
	unsigned slots = 0, keep = 0, slot_bytes = 0;
	tarn_block *b;
	int r = tarn_context_get(ctx, "|III", &slots, &keep, &slot_bytes);

	if (r < 0)
		return r;
	if (slots == 0)
		slots = keep > 32 ? keep * 2 : 64;
	if (slots > TARN__TOPIC_SLOTS_MAX || keep >= slots || slots < 2)
		return tarn_throw(ctx, "ValueError", "a topic of %u items that keeps %u: it can have 2 to "
				  "%u, and keep less than it has", slots, keep, TARN__TOPIC_SLOTS_MAX);
	if (slot_bytes > TARN__QUEUE_STRIDE_MAX)
		return tarn_throw(ctx, "ValueError", "slots of %u bytes were asked for, the most is %u",
				  slot_bytes, TARN__QUEUE_STRIDE_MAX);
	t->n = slots;
	t->keep = keep;
	t->stride = slot_bytes == 0 ? TARN__TOPIC_STRIDE
				    : (uint32_t)tarn__round_up(slot_bytes, TARN__LINE);
	if (t->stride < 3 * TARN__LINE)
		t->stride = 3 * TARN__LINE;
	r = tarn_block_new(tarn_context_client(ctx), t->n * t->stride, TARN_BLOCK_ZEROED, &b);
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < t->n; k++)
		tarn__store_relaxed((uint64_t *)((unsigned char *)tarn_block_data(b) + k * t->stride),
				    tarn__mpmc_word(k, TARN__MPMC_FREE, 0));
	t->ring_id = tarn_block_id(b);
	t->ring_offset = tarn__memory_of(b).offset;
	r = tarn_self_hold(ctx, b);
	tarn_block_unref(b);
	return r;
}

/* ---- slots, as the server sees them ---- */

struct view {
	tarn_context *ctx;
	struct tarn__topic *t;
	struct tarn__mpmc m;
};

static bool view_open(tarn_context *ctx, void *self, struct view *v)
{
	struct tarn__memory ring;

	v->ctx = ctx;
	v->t = self;
	if (tarn__self_memory(ctx, tarn__load_relaxed(&v->t->ring_id), &ring) < 0 ||
	    !tarn__topic_view(v->t, ring.data - ring.offset, ring.offset + ring.bytes,
			      tarn_context_caller(ctx).client, &v->m))
		return false;
	v->m.base = ring.data;
	return ring.bytes >= v->m.n * v->m.stride;
}

static int fail_damaged(tarn_context *ctx)
{
	return tarn_throw(ctx, "ValueError", "the topic is damaged");
}

static struct tarn__queue_slot *slot_of(const struct view *v, uint64_t turn)
{
	return (void *)tarn__mpmc_slot(&v->m, turn);
}

/* Drops what the slot has, of whatever turn. False: not all, there was no room for it in this
 * transaction; the rest stays the slot's. */
static bool drop_kept(struct view *v, struct tarn__queue_slot *s)
{
	uint64_t word = tarn__load_relaxed(&s->stash);
	unsigned n = (unsigned)(word & 0xff) <= TARN__TOPIC_REFS ? (unsigned)(word & 0xff) : 0;
	const uint64_t *id = tarn__topic_ids(s, v->m.stride);

	while (n > 0 && tarn_self_drop(v->ctx, tarn__load_relaxed(&id[n - 1])) != -E2BIG)
		n--;
	tarn__self_store(v->ctx, &s->stash, n == 0 ? 0 : (word & ~UINT64_C(0xff)) | n);
	return n == 0;
}

/* Keeps what the arguments behind the turn refer to. A failure to hold does not fail the method: whoever takes the
 * item is to be told. */
static unsigned keep(struct view *v, struct tarn__queue_slot *s, const tarn_parcel *args, unsigned n)
{
	uint64_t *ids = tarn__topic_ids(s, v->m.stride), id = 0;

	for (unsigned k = 0; k < n; k++) {
		if (tarn__stash_hold(v->ctx, tarn_parcel_at(args, k + 1), &id) == 0) {
			tarn__self_store(v->ctx, &ids[k], id);
			continue;
		}
		while (k-- > 0)
			tarn_self_drop(v->ctx, tarn__load_relaxed(&ids[k]));
		return TARN__STASH_FAILED;
	}
	return n;
}

static int stash(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	unsigned n = tarn_parcel_count(args) - 1;
	struct tarn__queue_slot *s;
	struct view v;
	uint64_t turn;
	int r = tarn_value_uint(tarn_parcel_at(args, 0), &turn);

	if (r < 0)
		return r;
	if (n > TARN__TOPIC_REFS || !view_open(ctx, self, &v))
		return fail_damaged(ctx);
	for (unsigned k = 0; k < n; k++)
		if (!tarn__stash_is_ref(tarn_parcel_at(args, k + 1)))
			return tarn_throw(ctx, "TypeError", "references are expected behind the turn");
	s = slot_of(&v, turn);
	/* It may be published by now, and overwritten: then another's message has come before, or will. */
	if (tarn__mpmc_ahead(tarn__mpmc_look(&s->word), turn) != 0 ||
	    tarn__stash_refs(tarn__load_relaxed(&s->stash), turn) != 0)
		return tarn_throw(ctx, "ValueError", "there is no item %llu", (unsigned long long)turn);
	if (!drop_kept(&v, s))
		return -E2BIG;
	if (n == 0)
		return 0;
	/* SYNC stash, sequentially consistent: who overwrites the item meanwhile sees that there is
	 * something to be dropped, or we see its claim and drop it. */
	tarn__self_note(ctx, &s->stash);
	__atomic_exchange_n(&s->stash, tarn__stash_word(turn, keep(&v, s, args, n)), __ATOMIC_SEQ_CST);
	if (tarn__mpmc_ahead(tarn__mpmc_look(&s->word), turn) != 0)
		drop_kept(&v, s);
	return 0;
}

static int taken(tarn_context *ctx, void *self)
{
	struct tarn__queue_slot *s;
	struct view v;
	uint64_t turn;
	unsigned n;
	int r = tarn_context_get(ctx, "Q", &turn);

	if (r < 0)
		return r;
	if (!view_open(ctx, self, &v))
		return fail_damaged(ctx);
	s = slot_of(&v, turn);
	if (tarn__mpmc_ahead(tarn__mpmc_look(&s->word), turn) != 0)
		return tarn_put_bool(tarn_context_result(ctx), false);
	n = tarn__stash_refs(tarn__load_relaxed(&s->stash), turn);
	if (n == 0)
		return tarn_put_nil(tarn_context_result(ctx));
	if (n > TARN__TOPIC_REFS)
		return tarn_throw(ctx, "MemoryError", "what item %llu refers to could not be kept",
				  (unsigned long long)turn);
	for (unsigned k = 0; k < n && r == 0; k++)
		r = tarn__self_put(ctx, tarn__load_relaxed(&tarn__topic_ids(s, v.m.stride)[k]));
	return r;
}

/* ---- who reads and who publishes ---- */

/* Where one begins that wants @old items: at those that are kept. */
static uint64_t first_turn(const struct view *v, uint64_t old)
{
	/* SYNC gate: behind the exchange in tarn__topic_lower(). */
	uint64_t tail = __atomic_load_n(&v->m.tail->turn, __ATOMIC_SEQ_CST);
	uint64_t keep = tarn__load32_relaxed(&v->t->keep);

	old = old < keep ? old : keep;
	old = old < v->m.n ? old : v->m.n - 1;
	return tail > old ? tail - old : 0;
}

/* Makes the subscriber known, and says where it begins. */
static uint64_t begin(const struct view *v, struct tarn__topic_reader *reader, uint32_t client,
		      uint64_t old, bool blocks)
{
	uint64_t first = first_turn(v, old), now;

	/* SYNC cursor, release; then the client, release: who finds that there is one finds the cursor. Both
	 * before the gate: who finds that low looks here. */
	tarn__store_release(&reader->cursor, first);
	tarn__store32_release(&reader->client, client);
	if (!blocks)
		return first;
	tarn__topic_lower(v->t, first, tarn__load_relaxed(&reader->number));
	/* Publishers went on until they saw us. One that did not yet is at this turn at most, so it
	 * overwrites nothing from here on. */
	now = first_turn(v, old);
	if (now != first) {
		tarn__store_release(&reader->cursor, now);
		tarn__bell_ring_all(&v->t->space); /* who found the cursor low waits for it */
	}
	return now;
}

static int subscribe(tarn_context *ctx, void *self)
{
	uint32_t client = tarn_context_caller(ctx).client;
	struct tarn__topic *t = self;
	uint64_t old, first, number;
	struct view v;
	bool blocks;
	int r = tarn_context_get(ctx, "Qb", &old, &blocks);

	if (r < 0)
		return r;
	if (!view_open(ctx, self, &v))
		return fail_damaged(ctx);
	for (unsigned k = 0; k < TARN__TOPIC_SUBSCRIBERS; k++) {
		struct tarn__topic_reader *reader = &t->reader[k];

		if (tarn__load32_relaxed(&reader->client) != 0)
			continue;
		number = tarn__load_relaxed(&t->subscriptions) + 1;
		tarn__store_relaxed(&t->subscriptions, number);
		tarn__store_relaxed(&reader->number, number);
		tarn__self_note(ctx, (const uint64_t *)(const void *)&reader->client);
		tarn__store32_relaxed(&reader->blocks, blocks);
		first = begin(&v, reader, client, old, blocks);
		tarn_put_uint(tarn_context_result(ctx), k);
		tarn_put_uint(tarn_context_result(ctx), number);
		return tarn_put_uint(tarn_context_result(ctx), first);
	}
	return tarn_throw(ctx, "RuntimeError", "the topic has %u subscribers, that is as many as there can "
			  "be", TARN__TOPIC_SUBSCRIBERS);
}

static void reader_end(struct tarn__topic *t, struct tarn__topic_reader *reader)
{
	tarn__store32_release(&reader->client, 0);
	tarn__bell_ring_all(&t->space);
}

static int unsubscribe(tarn_context *ctx, void *self)
{
	struct tarn__topic *t = self;
	uint64_t place, number;
	int r = tarn_context_get(ctx, "QQ", &place, &number);

	if (r < 0)
		return r;
	if (place < TARN__TOPIC_SUBSCRIBERS &&
	    tarn__load_relaxed(&t->reader[place].number) == number &&
	    tarn__load32_relaxed(&t->reader[place].client) == tarn_context_caller(ctx).client)
		reader_end(t, &t->reader[place]);
	return 0;
}

static int publisher(tarn_context *ctx, void *self)
{
	uint32_t client = tarn_context_caller(ctx).client, *place = NULL;
	struct tarn__topic *t = self;
	bool begins;
	int r = tarn_context_get(ctx, "b", &begins);

	for (unsigned k = 0; r == 0 && k < TARN__TOPIC_PUBLISHERS; k++) {
		uint32_t who = tarn__load32_relaxed(&t->publisher[k]);

		if (((who & ~TARN__TOPIC_LEFT) == client && who != 0) ||
		    (who == 0 && place == NULL && begins))
			place = &t->publisher[k];
		if ((who & ~TARN__TOPIC_LEFT) == client)
			break;
	}
	if (r < 0)
		return r;
	if (place == NULL && begins)
		return tarn_throw(ctx, "RuntimeError", "%u clients publish here, that is as many as there "
				  "can be", TARN__TOPIC_PUBLISHERS);
	if (place != NULL)
		/* It keeps its place: a thread of it may be at a slot. */
		tarn__store32_relaxed(place, begins ? client : client | TARN__TOPIC_LEFT);
	return 0;
}

/* ---- deaths ---- */

/* Slots that the dead one was at. What they had before, of whatever turn, nobody can get any more. */
static void repair(struct view *v, uint32_t client)
{
	uint64_t turn;

	for (uint64_t k = 0; k < v->m.n; k++) {
		struct tarn__queue_slot *s = slot_of(v, k);

		if (tarn__mpmc_repair(&v->m, &s->word, client, false, &turn) == TARN__MPMC_CLAIM)
			drop_kept(v, s);
	}
}

static uint32_t *place_of(struct tarn__topic *t, uint32_t client)
{
	for (unsigned k = 0; k < TARN__TOPIC_PUBLISHERS; k++) {
		uint32_t who = tarn__load32_relaxed(&t->publisher[k]);

		if (who != 0 && (who & ~TARN__TOPIC_LEFT) == client)
			return &t->publisher[k];
	}
	return NULL;
}

/*
 * Should the server be killed in it its successor does it again: so the client's name is taken out when all else is
 * done. Subscribers are told of each death once: it is counted in a transaction of its own, where they do not look
 * (and a count that is not committed is taken back), and then shown, which may be done twice.
 */
static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	struct tarn__topic *t = self;
	uint32_t *place = place_of(t, client);
	bool dies = place != NULL && tarn__load32_relaxed(place) == client, read = false;
	struct view v;

	if (dies && tarn__departed_from(ctx) == 0) {
		tarn__self_store(ctx, &t->deaths, tarn__load_relaxed(&t->deaths) + 1);
		tarn__departed_again(ctx, 1);
		return;
	}
	if (place != NULL && view_open(ctx, self, &v))
		repair(&v, client);
	for (unsigned k = 0; k < TARN__TOPIC_SUBSCRIBERS; k++) {
		if (tarn__load32_relaxed(&t->reader[k].client) != client)
			continue;
		reader_end(t, &t->reader[k]);
		read = true;
	}
	/* SYNC died, release: what it published was published before. */
	if (dies)
		__atomic_store_n(&t->died, (uint32_t)tarn__load_relaxed(&t->deaths), __ATOMIC_RELEASE);
	/* What it was woken for, or was to wake others for, is looked at again. Anybody can have
	 * closed the topic. */
	if (place != NULL || read || tarn__load32_relaxed(&t->closed) != 0) {
		tarn__bell_ring_all(&t->items);
		tarn__bell_ring_all(&t->space);
	}
	/* Last: until here it is told again if the server is killed. Release: behind the repairs, for the next
	 * client of that number, who takes the place. */
	if (place != NULL)
		tarn__store32_release(place, 0);
}

/* ---- for people ---- */

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__topic *t = self;
	unsigned readers = 0, publishers = 0;

	for (unsigned k = 0; k < TARN__TOPIC_SUBSCRIBERS; k++)
		readers += tarn__load32_relaxed(&t->reader[k].client) != 0;
	for (unsigned k = 0; k < TARN__TOPIC_PUBLISHERS; k++)
		publishers += tarn__load32_relaxed(&t->publisher[k]) - 1 < TARN__TOPIC_LEFT - 1;
	return snprintf(text, bytes, "%llu published by %u, %u subscribers%s",
			(unsigned long long)tarn__load_relaxed(&t->tail.turn), publishers, readers,
			tarn__load32_relaxed(&t->closed) ? ", closed" : "");
}

static const tarn_method methods[] = {
	[TARN__TOPIC_STASH] = { "stash", stash, TARN_METHOD_INLINE, NULL, "", NULL },
	[TARN__TOPIC_TAKEN] = { "taken", taken, TARN_METHOD_INLINE | TARN_METHOD_READ, "Q", NULL, NULL },
	[TARN__TOPIC_SUBSCRIBE] = { "subscribe", subscribe, TARN_METHOD_INLINE, "Qb", "QQQ", NULL },
	[TARN__TOPIC_UNSUBSCRIBE] = { "unsubscribe", unsubscribe, TARN_METHOD_INLINE, "QQ", "", NULL },
	[TARN__TOPIC_PUBLISHER] = { "publisher", publisher, TARN_METHOD_INLINE, "b", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_topic = {
	.name = "tarn.Topic",
	.size = sizeof(struct tarn__topic),
	.align = TARN__LINE,
	.concurrency = TARN_PARALLEL,
	.args = "|III",
	.create = create,
	.describe = describe,
	.methods = methods,
	.departed = departed,
};
