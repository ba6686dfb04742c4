/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects and their memory, the upper half of the heap.
 *
 * A small block is a slot of a span: a run of pages cut into slots of one size class. A
 * slot gets its object when it is first used and keeps it as long as the span lives, so
 * that to free and to grant again is to push and to pop one list, and the id's new
 * generation is all that tells the two blocks apart. That is the path of nearly every
 * block; it logs two words to allocate and five or six to free.
 *
 * A large block is a run of its own.
 *
 * A span without users stays for its class, first as the only one with room, then in the
 * class's idle stack as far as the watermark allows. Beyond that, or when memory is short,
 * it is dismantled in slices: its objects become indices without memory, its run is freed.
 *
 * An object whose generations are used up is RETIRED. A slot must not die with it, so the
 * retired object goes back to its span's list as the slot's place holder, and whoever pops
 * it puts an object with a fresh index in its place.
 */
#include "heap.h"

#include "heap-runs.h"

#define SPAN_MIN_PAGES 4u
#define SPAN_MIN_SLOTS 8u
#define SPAN_MAX_PAGES 16u /* beyond SPAN_MIN_SLOTS: how far to look for little waste */
#define WATERMARK_LEAST (8ull << 20)
#define WATERMARK_MOST (1ull << 30)

/* Slices of background work. */
#define SLICE_OBJECTS 256u
#define SLICE_RUNS 16u
#define SLICE_PAGES 4u /* 64 KiB: what one call punches, in some 16 us */

void tarn__heap_init(struct state *st)
{
	struct heap *h = &st->head->heap;
	uint64_t watermark = st->head->arena_bytes / 8;

	if (watermark < WATERMARK_LEAST)
		watermark = WATERMARK_LEAST;
	if (watermark > WATERMARK_MOST)
		watermark = WATERMARK_MOST;
	h->pages = st->head->arena_bytes >> TARN__HEAP_PAGE_SHIFT;
	h->watermark = watermark;
	h->spans = 1;
	h->objects = 1;
}

static uint64_t run_bytes(uint64_t pages)
{
	return pages << TARN__HEAP_PAGE_SHIFT;
}

static uint64_t pages_of(uint64_t bytes)
{
	return (bytes + TARN__HEAP_PAGE - 1) >> TARN__HEAP_PAGE_SHIFT;
}

uint64_t tarn__heap_capacity(const struct state *st, const struct object *o)
{
	if (object_flags(o) & OBJECT_LARGE)
		return run_bytes(o->place);
	return tarn__class_bytes(st->span[o->place].cls);
}

/* ---- indices ---- */

/* Makes sure that index_take() finds one. */
static int index_ready(struct state *st)
{
	struct heap *h = &st->head->heap;

	if (h->free_index != NIL)
		return 0;
	if (h->objects > st->head->max_objects)
		return -ENFILE;
	return tarn__state_reserve(st, st->object, sizeof *st->object, &h->objects_reserved,
				   (uint64_t)h->objects + 1);
}

static uint32_t index_take(struct state *st)
{
	struct heap *h = &st->head->heap;
	uint32_t i = h->free_index;

	if (i != NIL) {
		SET(st, h->free_index, st->object[i].next);
		return i;
	}
	i = h->objects;
	SET(st, h->objects, i + 1);
	SET(st, st->object[i].id, tarn__id_make(i, 1));
	return i;
}

/* An object with memory, ready for its caller. */
static void object_equip(struct state *st, uint32_t i, uint64_t offset, uint64_t capacity,
			 uint32_t place, unsigned flags)
{
	struct object *o = &st->object[i];
	struct object_word w = { .state = OBJECT_FREE, .kind_flags = (uint8_t)flags };

	SET(st, o->offset, offset);
	SET(st, o->size, capacity);
	pair_set(st, &o->next, NIL, place);
	object_owner_word_set(st, o, NIL, w);
}

/* ---- rings and stacks of spans ---- */

static bool has_room(const struct span *s)
{
	return s->used < s->slots;
}

static bool is_alone(const struct state *st, uint32_t i)
{
	return st->span[i].next == i;
}

static void ring_insert(struct state *st, uint32_t i)
{
	uint32_t *head = &st->head->heap.partial[st->span[i].cls];
	struct span *s = &st->span[i];

	if (*head == NIL) {
		pair_set(st, &s->next, i, i);
	} else {
		struct span *first = &st->span[*head];
		uint32_t last = first->prev;

		pair_set(st, &s->next, *head, last);
		SET(st, st->span[last].next, i);
		SET(st, first->prev, i);
	}
	SET(st, *head, i);
}

static void ring_remove(struct state *st, uint32_t i)
{
	uint32_t *head = &st->head->heap.partial[st->span[i].cls];
	const struct span *s = &st->span[i];

	if (is_alone(st, i)) {
		SET(st, *head, NIL);
		return;
	}
	SET(st, st->span[s->prev].next, s->next);
	SET(st, st->span[s->next].prev, s->prev);
	if (*head == i)
		SET(st, *head, s->next);
}

static void stack_push(struct state *st, uint32_t *head, uint32_t i, enum span_state state)
{
	struct span *s = &st->span[i];

	pair_set(st, &s->next, *head, NIL);
	SET(st, s->state, state);
	SET(st, *head, i);
}

static uint32_t stack_pop(struct state *st, uint32_t *head)
{
	uint32_t i = *head;

	if (i != NIL)
		SET(st, *head, st->span[i].next);
	return i;
}

/* ---- spans ---- */

/* The pages of a span of this class: the least of SPAN_MIN_SLOTS slots and up that wastes
 * no more than a 64th at its end. */
static uint32_t span_pages(uint64_t slot)
{
	uint32_t least = (uint32_t)pages_of(slot * SPAN_MIN_SLOTS);
	uint32_t best = 0;
	uint64_t best_waste = UINT64_MAX;

	if (least < SPAN_MIN_PAGES)
		least = SPAN_MIN_PAGES;
	for (uint32_t p = least; p < least + SPAN_MAX_PAGES; p++) {
		uint64_t waste = (run_bytes(p) % slot << 20) / run_bytes(p);

		if (waste < best_waste) {
			best = p;
			best_waste = waste;
		}
		if (waste <= (1u << 20) / 64)
			break;
	}
	return best;
}

/* A run for a span; where the arena is almost full a smaller one. */
static int span_run(struct state *st, uint64_t slot, uint32_t span, uint32_t *ret_first)
{
	uint32_t least = (uint32_t)pages_of(slot);
	uint32_t pages = span_pages(slot);
	int r = tarn__run_alloc(st, pages, 1, RUN_SPAN, span, ret_first);
	int first_error = r;

	while (r != 0 && pages > least) {
		pages = pages / 2 > least ? pages / 2 : least;
		r = tarn__run_alloc(st, pages, 1, RUN_SPAN, span, ret_first);
	}
	return r == 0 ? 0 : first_error;
}

/* A new span, the only one of its class with room. */
static int span_new(struct state *st, unsigned cls)
{
	struct heap *h = &st->head->heap;
	uint64_t slot = tarn__class_bytes(cls);
	bool fresh = h->free_span == NIL;
	uint32_t i = fresh ? h->spans : h->free_span;
	uint32_t first;
	int r = tarn__state_reserve(st, st->span, sizeof *st->span, &h->spans_reserved,
				    (uint64_t)i + 1);

	if (r == 0)
		r = span_run(st, slot, i, &first);
	if (r != 0)
		return r;
	if (fresh)
		SET(st, h->spans, i + 1);
	else
		stack_pop(st, &h->free_span);

	struct span *s = &st->span[i];
	uint32_t pages = st->run[first].pages;

	pair_set(st, &s->state, SPAN_ACTIVE, cls);
	pair_set(st, &s->first_page, first, pages);
	pair_set(st, &s->slots, (uint32_t)(run_bytes(pages) / slot), 0);
	pair_set(st, &s->used, 0, NIL);
	ring_insert(st, i);
	return 0;
}

static void span_unidle(struct state *st, uint32_t i)
{
	struct heap *h = &st->head->heap;

	SET(st, h->idle_bytes, h->idle_bytes - run_bytes(st->span[i].pages));
}

/* A span with room for the class: an idle one or a new one. */
static int span_refill(struct state *st, unsigned cls)
{
	struct heap *h = &st->head->heap;
	uint32_t i = stack_pop(st, &h->idle[cls]);

	if (i == NIL)
		return span_new(st, cls);
	span_unidle(st, i);
	SET(st, st->span[i].state, SPAN_ACTIVE);
	ring_insert(st, i);
	return 0;
}

/* A span without users that is in no list: idle, or beyond the watermark on its way out. */
static void span_park(struct state *st, uint32_t i)
{
	struct heap *h = &st->head->heap;
	const struct span *s = &st->span[i];
	uint64_t bytes = run_bytes(s->pages);

	if (h->warm_free + h->idle_bytes + bytes > h->watermark) {
		stack_push(st, &h->retiring, i, SPAN_RETIRING);
		return;
	}
	stack_push(st, &h->idle[s->cls], i, SPAN_IDLE);
	SET(st, h->idle_bytes, h->idle_bytes + bytes);
}

/* A slot of span @i came back, which had none free. A span without users is in the ring
 * only when it is alone there, so that the others are used up first. */
static void span_was_full(struct state *st, uint32_t i)
{
	uint32_t other = st->head->heap.partial[st->span[i].cls];

	if (st->span[i].used == 0 && other != NIL) {
		span_park(st, i);
		return;
	}
	if (other != NIL && st->span[other].used == 0) {
		ring_remove(st, other);
		span_park(st, other);
	}
	ring_insert(st, i);
}

static void span_emptied(struct state *st, uint32_t i)
{
	if (is_alone(st, i))
		return;
	ring_remove(st, i);
	span_park(st, i);
}

/* ---- allocation ---- */

/* The hot path: pops the first free object of span @s. */
static inline void slot_pop(struct state *st, struct span *s, uint32_t span, uint32_t next)
{
	struct heap *h = &st->head->heap;

	pair_set(st, &s->used, s->used + 1, next);
	SET(st, h->used, h->used + tarn__class_bytes(s->cls));
	if (tarn__unlikely(s->used == s->slots))
		ring_remove(st, span);
}

/* A new object for a slot that never had one, or whose object is retired. */
static int slot_equip(struct state *st, uint32_t span, uint32_t *ret_index)
{
	struct span *s = &st->span[span];
	uint64_t slot = tarn__class_bytes(s->cls), offset;
	uint32_t next = NIL;
	int r = index_ready(st);

	if (r != 0)
		return r;
	if (s->free != NIL) {
		struct object *retired = &st->object[s->free];

		offset = retired->offset;
		next = retired->next;
		pair_set(st, &retired->next, NIL, NIL);
	} else {
		offset = run_bytes(s->first_page) + s->carved * slot;
		SET(st, s->carved, s->carved + 1);
	}
	*ret_index = index_take(st);
	object_equip(st, *ret_index, offset, slot, span, 0);
	slot_pop(st, s, span, next);
	return 0;
}

static bool has_reserves(const struct state *st);

static int alloc_slot_slowly(struct state *st, unsigned cls, uint32_t *ret_index)
{
	const uint32_t *span = &st->head->heap.partial[cls];
	int r = 0;

	if (*span == NIL) {
		/* An index for the first slot comes first: failure leaves no empty span. */
		if (st->head->heap.idle[cls] == NIL)
			r = index_ready(st);
		if (r == 0)
			r = span_refill(st, cls);
	}
	if (r != 0)
		return r;

	struct span *s = &st->span[*span];
	if (s->free == NIL || st->object[s->free].state == OBJECT_RETIRED)
		return slot_equip(st, *span, ret_index);
	*ret_index = s->free;
	slot_pop(st, s, *span, st->object[s->free].next);
	return 0;
}

static int alloc_large(struct state *st, uint64_t bytes, uint64_t align, uint32_t *ret_index)
{
	struct heap *h = &st->head->heap;
	uint64_t pages = pages_of(bytes);
	uint32_t first;
	int r;

	if (pages > h->pages || align > TARN__SIZE_MAX)
		return -ENOMEM;
	r = index_ready(st);
	if (r != 0)
		return r;
	r = tarn__run_alloc(st, (uint32_t)pages, (uint32_t)pages_of(align), RUN_LARGE, NIL, &first);
	if (r != 0)
		return r;
	uint32_t i = index_take(st);
	SET(st, st->run[first].next, i);
	object_equip(st, i, run_bytes(first), run_bytes(pages), (uint32_t)pages, OBJECT_LARGE);
	SET(st, h->used, h->used + run_bytes(pages));
	*ret_index = i;
	return 0;
}

/* Slots are aligned as their size is, from a page's begin: a size rounded up to the
 * alignment has a class that is a multiple of it. */
static int alloc_slowly(struct state *st, uint64_t bytes, uint64_t align, uint32_t *ret_index)
{
	uint64_t rounded = tarn__round_up(bytes, align);
	int r;

	if (bytes == 0 || bytes > TARN__SIZE_MAX || !tarn__is_power_of_two(align))
		return -EINVAL;
	if (rounded <= TARN__SMALL_MAX && align <= TARN__HEAP_PAGE)
		r = alloc_slot_slowly(st, tarn__class_of(rounded), ret_index);
	else
		r = alloc_large(st, bytes, align, ret_index);
	if ((r == -ENOMEM || r == -ENOSPC || r == -ENFILE) && has_reserves(st))
		r = st->head->heap.used + bytes <= st->head->arena_bytes ? -EAGAIN : r;
	return r;
}

int tarn__heap_alloc(struct state *st, uint64_t bytes, uint64_t align, uint32_t *ret_index)
{
	const struct heap *h = &st->head->heap;

	if (tarn__likely(align <= TARN__LINE && bytes - 1 < TARN__SMALL_MAX)) {
		uint32_t span = h->partial[tarn__class_of(bytes)];
		struct span *s = &st->span[span];

		if (tarn__likely(span != NIL && s->free != NIL)) {
			const struct object *o = &st->object[s->free];

			if (tarn__likely(o->state == OBJECT_FREE)) {
				*ret_index = s->free;
				slot_pop(st, s, span, o->next);
				return 0;
			}
		}
	}
	return alloc_slowly(st, bytes, align, ret_index);
}

uint32_t tarn__heap_alloc_some(struct state *st, uint64_t bytes, uint32_t most,
			       uint32_t ret_index[HEAP_SOME_MOST])
{
	struct heap *h = &st->head->heap;
	uint32_t span, i, n = 0;

	if (bytes - 1 >= TARN__SMALL_MAX)
		return 0;
	span = h->partial[tarn__class_of(bytes)];
	if (span == NIL)
		return 0;
	struct span *s = &st->span[span];

	if (most > HEAP_SOME_MOST)
		most = HEAP_SOME_MOST;
	for (i = s->free; n < most && i != NIL && st->object[i].state == OBJECT_FREE;
	     i = st->object[i].next)
		ret_index[n++] = i;
	if (n == 0)
		return 0;
	pair_set(st, &s->used, s->used + n, i);
	SET(st, h->used, h->used + n * tarn__class_bytes(s->cls));
	if (s->used == s->slots)
		ring_remove(st, span);
	return n;
}

/* ---- freeing ---- */

/* The state that the object leaves with; its id is then the next one to be granted. */
static enum object_state next_generation(struct state *st, struct object *o,
					 enum object_state state)
{
	uint64_t generation = tarn__id_generation(o->id);

	if (tarn__unlikely(generation >= TARN__GENERATION_MAX))
		return OBJECT_RETIRED;
	SET(st, o->id, o->id + (1ull << TARN__INDEX_BITS));
	return state;
}

static void free_large(struct state *st, uint32_t i)
{
	struct heap *h = &st->head->heap;
	struct object *o = &st->object[i];
	struct object_word w = { .state = (uint8_t)next_generation(st, o, OBJECT_UNUSED) };

	SET(st, h->used, h->used - run_bytes(o->place));
	tarn__run_free(st, (uint32_t)(o->offset >> TARN__HEAP_PAGE_SHIFT));
	object_owner_word_set(st, o, NIL, w);
	if (w.state == OBJECT_RETIRED) {
		pair_set(st, &o->next, NIL, NIL);
		return;
	}
	pair_set(st, &o->next, h->free_index, NIL);
	SET(st, h->free_index, i);
}

void tarn__heap_free(struct state *st, uint32_t index)
{
	struct heap *h = &st->head->heap;
	struct object *o = &st->object[index];

	assert(o->state == OBJECT_GRANTED || o->state == OBJECT_LIVE || o->state == OBJECT_DEAD);
	if (object_flags(o) & OBJECT_LARGE) {
		free_large(st, index);
		return;
	}

	uint32_t span = o->place;
	struct span *s = &st->span[span];
	uint64_t slot = tarn__class_bytes(s->cls);
	bool full = !has_room(s);
	struct object_word w = { .state = (uint8_t)next_generation(st, o, OBJECT_FREE) };

	object_owner_word_set(st, o, NIL, w);
	SET(st, o->next, s->free);
	if (o->size != slot)
		SET(st, o->size, slot);
	pair_set(st, &s->used, s->used - 1, index);
	SET(st, h->used, h->used - slot);
	if (tarn__unlikely(full))
		span_was_full(st, span);
	else if (tarn__unlikely(s->used == 0))
		span_emptied(st, span);
}

/* ---- dismantling ---- */

/* One slice: some objects become indices without memory; after the last the run is free.
 * Their next ids were never granted, so generations stay. */
static void dismantle(struct state *st)
{
	struct heap *h = &st->head->heap;
	uint32_t span = h->retiring, i = st->span[span].free, indices = h->free_index, n;
	struct span *s = &st->span[span];

	for (n = 0; i != NIL && n < SLICE_OBJECTS; n++) {
		struct object *o = &st->object[i];
		uint32_t next = o->next;

		if (o->state == OBJECT_RETIRED) {
			pair_set(st, &o->next, NIL, NIL);
		} else {
			pair_set(st, &o->next, indices, NIL);
			object_state_set(st, o, OBJECT_UNUSED);
			indices = i;
		}
		i = next;
	}
	SET(st, h->free_index, indices);
	pair_set(st, &s->used, 0, i);
	SET(st, s->carved, s->carved - n);
	if (i != NIL)
		return;
	stack_pop(st, &h->retiring);
	tarn__run_free(st, s->first_page);
	stack_push(st, &h->free_span, span, SPAN_NONE);
}

static uint32_t any_idle_class(const struct heap *h)
{
	uint32_t cls = 0;

	while (cls < TARN__SMALL_CLASSES && h->idle[cls] == NIL)
		cls++;
	return cls;
}

/* The class whose only span with room has no users. */
static uint32_t any_unused_class(const struct state *st)
{
	const struct heap *h = &st->head->heap;
	uint32_t cls = 0;

	while (cls < TARN__SMALL_CLASSES &&
	       (h->partial[cls] == NIL || st->span[h->partial[cls]].used != 0))
		cls++;
	return cls;
}

static bool has_reserves(const struct state *st)
{
	const struct heap *h = &st->head->heap;

	return h->retiring != NIL || h->idle_bytes != 0 ||
	       any_unused_class(st) < TARN__SMALL_CLASSES;
}

static bool retire_idle(struct state *st)
{
	struct heap *h = &st->head->heap;
	uint32_t cls = any_idle_class(h);

	if (cls == TARN__SMALL_CLASSES)
		return false;
	uint32_t i = stack_pop(st, &h->idle[cls]);
	span_unidle(st, i);
	stack_push(st, &h->retiring, i, SPAN_RETIRING);
	return true;
}

static bool retire_unused(struct state *st)
{
	struct heap *h = &st->head->heap;
	uint32_t cls = any_unused_class(st);

	if (cls == TARN__SMALL_CLASSES)
		return false;
	uint32_t i = h->partial[cls];
	ring_remove(st, i);
	stack_push(st, &h->retiring, i, SPAN_RETIRING);
	return true;
}

bool tarn__heap_reclaim(struct state *st, uint64_t bytes, uint64_t align)
{
	const struct heap *h = &st->head->heap;
	bool more = true;

	if (h->retiring != NIL)
		dismantle(st);
	else if (!retire_idle(st) && !retire_unused(st))
		more = bytes != 0 && pages_of(bytes) <= h->pages && tarn__is_power_of_two(align) &&
		       align <= TARN__SIZE_MAX &&
		       tarn__run_join(st, (uint32_t)pages_of(bytes), (uint32_t)pages_of(align));
	commit(st);
	return more;
}

/* ---- tidying ---- */

static uint64_t excess(const struct heap *h)
{
	uint64_t kept = h->warm_free + h->idle_bytes;

	return kept > h->watermark ? kept - h->watermark : 0;
}

/* Cold first and committed, then punched: a crash between leaves memory that is backed
 * and not counted, never memory that is counted and gone. */
static void cool(struct state *st)
{
	const struct heap *h = &st->head->heap;
	uint32_t budget = SLICE_PAGES;

	for (unsigned n = 0; n < SLICE_RUNS && budget > 0 && excess(h) > 0; n++) {
		uint64_t want = pages_of(excess(h));
		uint32_t first, pages;

		pages = tarn__run_cool(st, want < budget ? (uint32_t)want : budget, &first);
		if (pages == 0)
			break;
		commit(st);
		tarn__segment_punch(&st->data, run_bytes(first), run_bytes(pages));
		budget -= pages < budget ? pages : budget;
	}
}

bool tarn__heap_tidy(struct state *st)
{
	const struct heap *h = &st->head->heap;

	if (h->retiring != NIL) {
		dismantle(st);
		commit(st);
	} else if (excess(h) > 0 && h->warm_free > 0) {
		cool(st);
	} else if (excess(h) > 0) {
		retire_idle(st);
		commit(st);
	}
	return h->retiring != NIL || excess(h) > 0;
}

/* ---- memory made ready ---- */

int tarn__heap_precommit_pick(struct state *st, uint64_t want, uint64_t *ret_offset,
			      uint64_t *ret_bytes)
{
	const struct heap *h = &st->head->heap;
	uint32_t first, pages;
	int r;

	if (h->held_pages != 0)
		return -EBUSY;
	if (want > st->head->arena_bytes)
		want = st->head->arena_bytes;
	if (want == 0)
		return -EINVAL;
	r = tarn__run_hold(st, (uint32_t)pages_of(want), &first, &pages);
	commit(st);
	if (r != 0)
		return r;
	*ret_offset = run_bytes(first);
	*ret_bytes = run_bytes(pages);
	return 0;
}

void tarn__heap_precommit_done(struct state *st, uint64_t offset, uint64_t bytes, bool ok)
{
	const struct heap *h = &st->head->heap;

	assert(h->held_pages != 0 && run_bytes(h->held_first) == offset &&
	       run_bytes(h->held_pages) == bytes);
	(void)offset;
	(void)bytes;
	tarn__run_unhold(st, h->held_first, h->held_pages, ok);
	commit(st);
}

int tarn__heap_precommit(struct state *st, uint64_t bytes)
{
	uint64_t offset, picked;
	int r = tarn__heap_precommit_pick(st, bytes, &offset, &picked);

	if (r != 0)
		return r;
	r = tarn__segment_reserve(&st->data, offset, picked);
	tarn__heap_precommit_done(st, offset, picked, r == 0);
	return r;
}

void tarn__heap_restart(struct state *st)
{
	const struct heap *h = &st->head->heap;

	if (h->held_pages == 0)
		return;
	tarn__run_unhold(st, h->held_first, h->held_pages, false);
	commit(st);
}

/* ---- figures ---- */

void tarn__heap_room(const struct state *st, uint64_t *ret_free, uint64_t *ret_largest)
{
	*ret_free = st->head->arena_bytes - st->head->heap.used;
	*ret_largest = run_bytes(tarn__run_largest(st));
}
