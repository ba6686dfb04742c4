/* SPDX-License-Identifier: Apache-2.0 */
#include "queue-item.h"

#include "topic.h"

#include <string.h>

#include "lib/client/pending.h"

static_assert((int)TARN__QUEUE_STASH == (int)TARN__TOPIC_STASH &&
		      (int)TARN__QUEUE_TAKEN == (int)TARN__TOPIC_TAKEN &&
		      TARN__TOPIC_REFS <= TARN__QUEUE_REFS, "one code for both");

/* ---- putting ---- */

/* The values in a block, for which the slot is too small. */
static int spill(struct tarn__lane *l, const struct tarn__payload *p, int64_t timeout_ns, struct tarn_block **ret)
{
	uint64_t bytes = (uint64_t)p->n_words * 8;
	int r = tarn__cache_get(l, bytes, TARN__LINE, 0, tarn__patience_for(timeout_ns), ret);

	if (r == 0)
		memcpy((*ret)->data, p->words, bytes);
	return r;
}

/* The message: the turn, which is not yet known, and all references. */
static int build_stash(struct tarn__lane *l, uint64_t queue, struct tarn__item_out *o)
{
	uint64_t words[2 * (1 + TARN__QUEUE_REFS)] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 0 };
	struct tarn_block *refs[TARN__QUEUE_REFS];
	unsigned n = 0;
	int r;

	if (o->spill != NULL)
		refs[n++] = o->spill;
	for (unsigned k = 0; k < o->payload.n_refs; k++)
		refs[n++] = o->payload.refs[k];
	for (unsigned k = 0; k < n; k++) {
		words[2 + 2 * k] = tarn__slot_head(tarn__value_hooks.kind_of(refs[k]), k, 0);
		words[3 + 2 * k] = 0;
	}
	const struct tarn__payload p = { .words = words, .n_words = 2 * (1 + n),
					 .n_values = (uint8_t)(1 + n), .n_refs = (uint16_t)n,
					 .refs = refs };

	r = tarn__message_build(l, &o->stash, TARN__MSG_CALL, 0, queue, TARN__QUEUE_STASH,
				TARN__CALL_ONEWAY, 0, &p);
	o->n_refs = n;
	o->refs_at = 3 + p.n_words;
	return r;
}
/* It never spills, so that it can be changed and written to the slot. */
static_assert(4 * (1 + TARN__QUEUE_REFS) <= TARN__CALL_ROOM, "a stash fits into a message");

static int begin(struct tarn__lane *l, struct tarn_object *queue, uint32_t room, unsigned most,
		 int64_t timeout_ns, struct tarn__item_out *o)
{
	const struct tarn__payload *p = &o->payload;
	unsigned n = p->n_refs;
	int r;

	/* Beside the values, or behind the one block that has them. */
	bool fits = p->n_words + 2 * n <= room && n <= most;
	if (!fits && (n + 1 > most || 2 * (n + 1) > room))
		return tarn__fail(-E2BIG, "The item refers to %u things, a slot here has room for %u of "
				  "them beside a block with the values. Put them into a list object.", n,
				  room / 2 - 1 < most - 1 ? room / 2 - 1 : most - 1);
	if (!fits) {
		r = spill(l, p, timeout_ns, &o->spill);
		if (r < 0)
			return r;
	}
	r = build_stash(l, queue->base.id, o);
	if (r < 0 && o->spill != NULL)
		tarn__handle_put(l, o->spill);
	return r;
}

int tarn__item_begin(struct tarn_object *queue, uint32_t room, unsigned most,
		     const tarn_builder *item, int64_t timeout_ns, struct tarn__item_out *ret)
{
	struct tarn__lane *l;
	int r = tarn__args_payload(item, &ret->payload);

	ret->n_refs = 0;
	ret->spill = NULL;
	if (r < 0)
		return r;
	if (tarn__likely(ret->payload.n_refs == 0 && ret->payload.n_words <= room))
		return 0;
	r = tarn__lane_enter(queue->base.client, &l);
	if (r < 0)
		return r;
	r = begin(l, queue, room, most, timeout_ns, ret);
	tarn__lane_leave(l);
	return r;
}

void tarn__item_end(struct tarn__item_out *item)
{
	/* The stash, posted before, has booked it. */
	if (tarn__unlikely(item->spill != NULL))
		tarn__handle_drop(item->spill);
}

/* Word by word: others can read and write here. Relaxed: the slot's word orders them. */
static void copy_out(uint64_t *to, const uint64_t *from, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++)
		tarn__store_relaxed(to + k, from[k]);
}
static void copy_in(uint64_t *to, const uint64_t *from, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++)
		to[k] = tarn__load_relaxed(from + k);
}

void tarn__item_write(struct tarn__lane *l, const struct tarn__item_out *item, uint64_t turn,
		      struct tarn__queue_slot *slot)
{
	const struct tarn__payload *p = &item->payload;
	uint32_t n = item->spill == NULL ? p->n_words : 0;
	uint64_t message[TARN__MESSAGE_WORDS];

	copy_out(slot->payload, p->words, n);
	tarn__store_relaxed(&slot->head, tarn__item_head(n, p->n_values, item->n_refs,
							item->spill != NULL ? TARN__ITEM_SPILLED : 0));
	if (tarn__likely(item->n_refs == 0))
		return;
	copy_out(slot->payload + n, &item->stash.word[item->refs_at], 2 * item->n_refs);
	memcpy(message, item->stash.word, 7 * sizeof *message * item->stash.slots);
	message[4] = turn;
	tarn__to_server(l->client);
	/* Without waking the server: nobody needs it before an item is taken, and that does. */
	tarn__lane_post_silent(l, message, item->stash.slots);
}

void tarn__item_clear(struct tarn__lane *l, struct tarn_object *queue, uint64_t turn)
{
	const uint64_t word[7] = {
		tarn__header(TARN__MSG_CALL, 1, 0, 0), queue->base.id,
		tarn__pack(TARN__QUEUE_STASH, 1, 0, TARN__CALL_ONEWAY, 0, 2),
		tarn__slot_head(TARN_KIND_UINT, 0, 0), turn,
	};

	tarn__to_server(l->client);
	tarn__lane_post_silent(l, word, 1);
}

/* ---- getting ---- */

static int fail_item(void)
{
	return tarn__fail(-TARN_EPROTO, "An item of the queue does not hold together.");
}

#define ASKS 20000u /* how often the server is asked for references that have not come yet */

/* The references that belong to @turn, as handles of which the caller owns a reference each. 1: the
 * slot is another turn's by now. */
static int take_refs(struct tarn_object *queue, uint64_t turn, unsigned n, struct tarn_block **ret)
{
	tarn_builder b;
	tarn_parcel p;
	int r;

	tarn_builder_init(&b);
	tarn_put_uint(&b, turn);
	for (unsigned k = 0;; k++) {
		r = tarn_call_n(queue, TARN__QUEUE_TAKEN, &b, &p, TARN_FOREVER);
		if (r < 0)
			break;
		if (tarn_value_kind(tarn_parcel_at(&p, 0)) != TARN_KIND_NIL)
			break;
		/* The producer's lane is read after ours: in the next epoch it will be there. */
		tarn_parcel_fini(&p);
		if (k == ASKS) {
			r = tarn__fail(-TARN_EPROTO, "An item of the queue should refer to %u things, but "
				       "its producer has not told the server of them.", n);
			break;
		}
		tarn__spin_pause(k | 127);
	}
	tarn_builder_fini(&b);
	if (r < 0)
		return r;
	if (tarn_value_kind(tarn_parcel_at(&p, 0)) == TARN_KIND_BOOL) {
		tarn_parcel_fini(&p);
		return 1;
	}
	if (tarn_parcel_count(&p) != n)
		r = fail_item(); /* the slot says another number than the server was told */
	for (unsigned k = 0; k < n && r == 0; k++) {
		tarn_value v = tarn_parcel_at(&p, k);

		r = tarn__value_handle(&v, &ret[k]);
		if (r == 0)
			tarn__value_hooks.ref(ret[k]);
		else
			while (k-- > 0)
				tarn__value_hooks.unref(ret[k]);
	}
	tarn_parcel_fini(&p);
	return r;
}

/* ---- blocks, without waiting ---- */

/* Whether all are blocks, by DIR, which only the server writes: what keeps them for the item keeps their
 * lives. */
static bool are_blocks(const struct tarn_client *c, const uint64_t *refs, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		uint64_t id = refs[2 * k], size = tarn__ref_size(refs[2 * k + 1]);
		uint32_t index = tarn__id_index(id);
		struct tarn__dir_entry e;

		if (id == 0 || index >= c->dir_entries || !tarn__dir_read(&c->dir[index], id, &e) ||
		    (e.state & (TARN__DIR_OBJECT | TARN__DIR_CHANNEL)) || size == 0 || size > e.capacity)
			return false;
	}
	return true;
}

/* The right to hold @n more, and room for as many messages. */
static int take_prepare(struct tarn__lane *l, unsigned n)
{
	unsigned k = 0;
	int r = 0;

	while (k < n && r == 0) {
		r = tarn__hold_take(l);
		k += r == 0;
	}
	if (r == 0)
		r = tarn__lane_prepare(l, n, 0, UINT64_MAX);
	while (r < 0 && k-- > 0)
		tarn__hold_return(l);
	return r;
}

/* Says that they are ours, the last one first: where we are killed in between the server finds
 * the first ones still kept for the item. */
static void take_post(struct tarn__lane *l, uint64_t queue, uint64_t turn, const uint64_t *refs, unsigned n)
{
	tarn__to_server(l->client);
	while (n-- > 0) {
		const uint64_t word[7] = {
			tarn__header(TARN__MSG_CALL, 1, 0, 0), queue,
			tarn__pack(TARN__QUEUE_TAKE, 2, 0, TARN__CALL_ONEWAY, 0, 4),
			tarn__slot_head(TARN_KIND_UINT, 0, 0), turn,
			tarn__slot_head(TARN_KIND_UINT, 0, 0), refs[2 * n],
		};

		/* Lazy: nobody waits for it. */
		tarn__lane_post_silent(l, word, 1);
	}
}

int tarn__item_leave(struct tarn__lane *l, struct tarn_object *queue, const struct tarn__queue_slot *slot,
		     uint32_t room, uint64_t turn)
{
	uint64_t head = tarn__load_relaxed(&slot->head), refs[2 * TARN__QUEUE_REFS];
	uint32_t n_words = tarn__item_words(head);
	unsigned n = tarn__item_refs(head);

	if (n > TARN__QUEUE_REFS || (uint64_t)n_words + 2 * n > room)
		return 0; /* somebody else wrote there: there is nothing to be named */
	int r = tarn__lane_prepare(l, n, 0, UINT64_MAX);
	if (r < 0)
		return r;
	copy_in(refs, slot->payload + n_words, 2 * n);
	take_post(l, queue->base.id, turn, refs, n);
	return 0;
}

/* All are ours by now, and of the @at'th no handle can be made, which has given it back. */
static void take_undo(struct tarn__lane *l, const uint64_t *refs, unsigned at, unsigned n, struct tarn_block **got)
{
	for (unsigned k = at + 1; k < n; k++)
		tarn__hold_return(l);
	tarn__refs_drop(l, refs + 2 * (at + 1), n - at - 1);
	while (at-- > 0)
		tarn__handle_put(l, got[at]);
}

/*
 * As take_refs(), without a question: the producer's stash was posted before the slot was published, and what we
 * post here before it is released; so the server has read the one when it drops, one epoch after the other, what
 * the queue holds. Our unit is booked when ours is read, and by then nothing of the producer's that
 * happened after its stash was applied. -EAGAIN: not so, nothing was said.
 */
static int take_blocks(struct tarn_object *queue, uint64_t turn, const uint64_t *refs, unsigned n,
		       struct tarn_block **ret)
{
	struct tarn__lane *l;
	unsigned k = 0;
	int r = tarn__lane_enter(queue->base.client, &l);

	if (r < 0)
		return r;
	r = take_prepare(l, n) < 0 ? -EAGAIN : 0;
	if (r == 0)
		take_post(l, queue->base.id, turn, refs, n);
	while (r == 0 && k < n) {
		r = tarn__block_adopt(l, refs[2 * k], tarn__ref_size(refs[2 * k + 1]),
				      tarn__ref_sealed(refs[2 * k + 1]), &ret[k]);
		k += r == 0;
	}
	if (r < 0 && r != -EAGAIN)
		take_undo(l, refs, k, n, ret);
	tarn__lane_leave(l);
	return r;
}

/* What was taken out of the slot, with its references, which become the parcel's. */
static int make_parcel(const uint64_t *words, uint64_t head, struct tarn_block **ref,
		       tarn_parcel *ret)
{
	unsigned n = tarn__item_refs(head), values = tarn__item_values(head);
	const struct tarn_block *holder = ref[0];
	int r;

	if (!(tarn__item_flags(head) & TARN__ITEM_SPILLED))
		r = tarn__parcel_set(ret, words, tarn__item_words(head), values, ref, n);
	else if (n == 0 || tarn__value_hooks.kind_of(holder) != TARN_KIND_BLOCK)
		r = fail_item();
	else
		r = tarn__parcel_set_block(ret, ref[0], (const uint64_t *)(void *)holder->data,
					   (uint32_t)(holder->size / 8), values, ref + 1, n - 1);
	for (unsigned k = 0; r < 0 && k < n; k++)
		tarn__value_hooks.unref(ref[k]);
	return r;
}

/* With references, or with values in a block. */
static int read_slow(struct tarn_object *queue, const struct tarn__queue_slot *slot, uint64_t head,
		     uint64_t turn, bool take, tarn_parcel *ret)
{
	uint64_t words[TARN__QUEUE_STRIDE_MAX / 8], refs[2 * TARN__QUEUE_REFS];
	uint32_t n_words = tarn__item_words(head);
	unsigned n = tarn__item_refs(head);
	struct tarn_block *ref[TARN__QUEUE_REFS];
	int r = -EAGAIN;

	copy_in(words, slot->payload, n_words);
	copy_in(refs, slot->payload + n_words, 2 * n);
	if (take && are_blocks(queue->base.client, refs, n))
		r = take_blocks(queue, turn, refs, n, ref);
	if (r == -EAGAIN)
		r = take_refs(queue, turn, n, ref);
	return r != 0 ? r : make_parcel(words, head, ref, ret);
}

int tarn__item_read(struct tarn_object *queue, const struct tarn__queue_slot *slot, uint32_t room,
		    uint64_t turn, bool take, tarn_parcel *ret)
{
	uint64_t head = tarn__load_relaxed(&slot->head);
	struct tarn_block **refs;
	uint64_t *words;
	int r;

	if (tarn__unlikely(tarn__item_refs(head) > TARN__QUEUE_REFS ||
			   (uint64_t)tarn__item_words(head) + 2 * tarn__item_refs(head) >
				   room))
		return fail_item();
	if (tarn__unlikely(tarn__item_refs(head) != 0))
		return read_slow(queue, slot, head, turn, take, ret);
	r = tarn__parcel_room(ret, tarn__item_words(head), tarn__item_values(head), 0, &words, &refs);
	if (tarn__likely(r == 0))
		copy_in(words, slot->payload, tarn__item_words(head));
	return r;
}
