/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap's claims, checked from scratch.
 *
 * It also runs on copies of a META that may be damaged, so nothing is followed before it
 * is in bounds, and each list ends after as many steps as it may have entries. What is
 * recomputed lies in private memory: a state for each page that begins a run, a bit for
 * each slot, a mark for each object and span that some list or run has shown.
 */
#include "heap.h"

#include "heap-runs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_FINDINGS 100 /* beyond them there is nothing to learn */

struct check {
	const struct state *st;
	const struct heap *h;
	void (*say)(void *, const char *);
	void *arg;
	int findings;

	uint8_t *begins;    /* by page: state of the run that begins there, 0: none */
	uint8_t *span_seen; /* by span: shown by a list or by a run */
	uint8_t *listed;    /* by object: shown by a list */
	uint64_t *slot_at;  /* by span: number of its first slot in taken */
	uint8_t *taken;	    /* by slot: a bit, has an object */
	uint32_t *used;	    /* by span: objects of users */
	uint32_t *waiting;  /* by span: FREE and RETIRED objects */
	uint64_t free_runs[2], span_runs, span_records, unused_objects;
	uint64_t warm, cold, busy, held; /* pages */
	uint64_t used_bytes, idle_bytes;
};

enum { SPAN_IN_LIST = 1, SPAN_HAS_RUN = 2 };

__attribute__((format(printf, 2, 3))) static void find(struct check *c, const char *format, ...)
{
	char line[192];
	va_list args;

	if (c->findings++ >= MOST_FINDINGS)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	c->say(c->arg, line);
}

static void expect(struct check *c, const char *what, uint64_t recorded, uint64_t found)
{
	if (recorded != found)
		find(c, "heap: %s is %" PRIu64 ", should be %" PRIu64, what, recorded, found);
}

/* ---- the head ---- */

/* False: nothing else can be looked at. */
static bool check_head(struct check *c)
{
	const struct heap *h = c->h;
	uint64_t pages = c->st->head->arena_bytes >> TARN__HEAP_PAGE_SHIFT;
	int before = c->findings;

	expect(c, "pages", h->pages, pages);
	if (h->top > pages)
		find(c, "heap: top %" PRIu64 " beyond the arena's %" PRIu64, h->top, pages);
	if (h->runs_reserved > pages + 1 || h->top > h->runs_reserved)
		find(c, "heap: top %" PRIu64 ", run entries reserved %" PRIu32, h->top,
		     h->runs_reserved);
	if (h->spans == 0 || h->spans_reserved > pages + 1 ||
	    (h->spans > 1 && h->spans > h->spans_reserved))
		find(c, "heap: spans %" PRIu32 ", reserved %" PRIu32, h->spans, h->spans_reserved);
	if (h->objects == 0 || h->objects_reserved > c->st->head->max_objects + 1 ||
	    (h->objects > 1 && h->objects > h->objects_reserved))
		find(c, "heap: objects %" PRIu32 ", reserved %" PRIu32, h->objects,
		     h->objects_reserved);
	return c->findings == before;
}

/* ---- runs ---- */

static void count_run(struct check *c, uint32_t p, const struct run *r)
{
	const struct heap *h = c->h;

	switch ((enum run_state)r->state) {
	case RUN_WARM:
		c->warm += r->pages;
		c->free_runs[0]++;
		break;
	case RUN_COLD:
		c->cold += r->pages;
		c->free_runs[1]++;
		break;
	case RUN_HELD:
		c->held += r->pages;
		if (h->held_first != p || h->held_pages != r->pages)
			find(c, "run %" PRIu32 ": held, but the heap says %" PRIu32 "+%" PRIu32, p,
			     h->held_first, h->held_pages);
		break;
	case RUN_SPAN:
		c->span_runs++;
		/* fallthrough */
	default:
		c->busy += r->pages;
	}
}

static void check_neighbours(struct check *c, uint32_t p, const struct run *r, uint32_t before)
{
	if (before == r->state && (before == RUN_WARM || before == RUN_COLD))
		find(c, "run %" PRIu32 ": not merged with the run before", p);
	if (r->state == RUN_COLD && p + r->pages == c->h->top)
		find(c, "run %" PRIu32 ": cold up to top", p);
}

/* Runs tile [0, top). */
static bool check_tiles(struct check *c)
{
	const struct heap *h = c->h;
	uint32_t before = RUN_NONE;

	for (uint64_t p = 0; p < h->top;) {
		const struct run *r = &c->st->run[p];

		if (r->state == RUN_NONE || r->state > RUN_HELD || r->pages == 0 ||
		    r->pages > h->top - p) {
			find(c, "run %" PRIu64 ": state %" PRIu32 ", %" PRIu32 " pages", p,
			     r->state, r->pages);
			return false;
		}
		const struct run *last = r + r->pages - 1;
		if (last->pages != r->pages || last->state != r->state)
			find(c,
			     "run %" PRIu64 ": its last page says state %" PRIu32 ", %" PRIu32
			     " pages",
			     p, last->state, last->pages);
		check_neighbours(c, (uint32_t)p, r, before);
		count_run(c, (uint32_t)p, r);
		c->begins[p] = (uint8_t)r->state;
		before = r->state;
		p += r->pages;
	}
	return true;
}

static void check_bin(struct check *c, const struct run_bins *bins, enum run_state state,
		      unsigned b, uint64_t *seen, uint64_t most)
{
	uint32_t before = 0;

	if ((bins->head[b] != 0) != ((bins->map[b / 64] >> b % 64 & 1) != 0))
		find(c, "bin %u: map and head differ", b);
	for (uint32_t p = bins->head[b]; p != 0; p = c->st->run[p - 1].next) {
		if (p > c->h->top || c->begins[p - 1] != state) {
			find(c, "bin %u: page %" PRIu32 " begins no such run", b, p - 1);
			return;
		}
		const struct run *r = &c->st->run[p - 1];
		if (++*seen > most) {
			find(c, "bin %u: more entries than free runs", b);
			return;
		}
		if (tarn__run_bin(r->pages) != b || r->prev != before)
			find(c, "bin %u: run %" PRIu32 " of %" PRIu32 " pages, prev %" PRIu32, b,
			     p - 1, r->pages, r->prev);
		before = p;
	}
}

static void check_bins(struct check *c, const struct run_bins *bins, enum run_state state,
		       uint64_t runs)
{
	uint64_t seen = 0;

	for (unsigned b = 0; b < RUN_BINS; b++)
		check_bin(c, bins, state, b, &seen, runs);
	for (unsigned b = RUN_BINS; b < RUN_BIN_WORDS * 64; b++) {
		if (bins->map[b / 64] >> b % 64 & 1)
			find(c, "bin %u: beyond the last", b);
	}
	expect(c, state == RUN_WARM ? "warm runs in bins" : "cold runs in bins", seen, runs);
}

/* ---- spans ---- */

static bool span_is_sane(struct check *c, uint32_t i)
{
	const struct span *s = &c->st->span[i];

	if (s->state > SPAN_RETIRING || s->cls >= TARN__SMALL_CLASSES ||
	    s->first_page >= c->h->top || c->begins[s->first_page] != RUN_SPAN ||
	    c->st->run[s->first_page].pages != s->pages || c->st->run[s->first_page].next != i) {
		find(c,
		     "span %" PRIu32 ": state %" PRIu32 ", class %" PRIu32 ", pages %" PRIu32
		     "+%" PRIu32 " have no such run",
		     i, s->state, s->cls, s->first_page, s->pages);
		return false;
	}
	uint64_t slots = ((uint64_t)s->pages << TARN__HEAP_PAGE_SHIFT) / tarn__class_bytes(s->cls);
	if (s->slots != slots || s->carved > slots || s->used > s->carved) {
		find(c,
		     "span %" PRIu32 ": %" PRIu32 " used, %" PRIu32 " carved, %" PRIu32
		     " of %" PRIu64 " slots",
		     i, s->used, s->carved, s->slots, slots);
		return false;
	}
	return true;
}

/* slot_at of span @i + 1 follows that of span @i; a span without sane numbers has none. */
static void check_spans(struct check *c)
{
	uint64_t slots = 0;

	for (uint32_t i = 1; i < c->h->spans; i++) {
		const struct span *s = &c->st->span[i];

		c->slot_at[i] = slots;
		if (s->state == SPAN_NONE)
			continue;
		c->span_records++;
		if (!span_is_sane(c, i))
			continue;
		c->span_seen[i] |= SPAN_HAS_RUN;
		slots += s->slots;
		if (s->state != SPAN_ACTIVE && s->used != 0)
			find(c, "span %" PRIu32 ": %" PRIu32 " users though idle or retiring", i,
			     s->used);
		if (s->state == SPAN_IDLE)
			c->idle_bytes += (uint64_t)s->pages << TARN__HEAP_PAGE_SHIFT;
	}
	c->slot_at[c->h->spans] = slots;
	expect(c, "runs of spans", c->span_runs, c->span_records);
}

/* A span that a list names: in bounds, in that state, for the first time. */
static bool show_span(struct check *c, uint32_t i, enum span_state state, const char *list)
{
	if (i == NIL || i >= c->h->spans || c->st->span[i].state != state) {
		find(c, "%s list: span %" PRIu32 " does not belong there", list, i);
		return false;
	}
	if (c->span_seen[i] & SPAN_IN_LIST) {
		find(c, "%s list: span %" PRIu32 " a second time", list, i);
		return false;
	}
	c->span_seen[i] |= SPAN_IN_LIST;
	return true;
}

static void check_ring(struct check *c, uint32_t cls)
{
	uint32_t head = c->h->partial[cls], before = NIL, i = head;

	if (head == NIL)
		return;
	do {
		if (!show_span(c, i, SPAN_ACTIVE, "partial"))
			return;
		const struct span *s = &c->st->span[i];
		if (s->cls != cls || s->used >= s->slots)
			find(c,
			     "partial list of class %" PRIu32 ": span %" PRIu32 " of class %" PRIu32
			     ", %" PRIu32 " of %" PRIu32 " used",
			     cls, i, s->cls, s->used, s->slots);
		if (i != head && s->prev != before)
			find(c, "span %" PRIu32 ": prev %" PRIu32, i, s->prev);
		if (s->used == 0 && s->next != i)
			find(c, "span %" PRIu32 ": without users, not alone", i);
		before = i;
		i = s->next;
	} while (i != head);
	if (c->st->span[head].prev != before)
		find(c, "span %" PRIu32 ": prev %" PRIu32, head, c->st->span[head].prev);
}

static void check_stack(struct check *c, uint32_t head, enum span_state state, const char *list,
			uint32_t cls)
{
	for (uint32_t i = head; i != NIL; i = c->st->span[i].next) {
		if (!show_span(c, i, state, list))
			return;
		if (cls != TARN__SMALL_CLASSES && c->st->span[i].cls != cls)
			find(c, "%s list of class %" PRIu32 ": span %" PRIu32, list, cls, i);
	}
}

static void check_span_lists(struct check *c)
{
	const struct heap *h = c->h;

	for (uint32_t cls = 0; cls < TARN__SMALL_CLASSES; cls++) {
		check_ring(c, cls);
		check_stack(c, h->idle[cls], SPAN_IDLE, "idle", cls);
	}
	check_stack(c, h->retiring, SPAN_RETIRING, "retiring", TARN__SMALL_CLASSES);
	check_stack(c, h->free_span, SPAN_NONE, "free span", TARN__SMALL_CLASSES);
	for (uint32_t i = 1; i < h->spans; i++) {
		const struct span *s = &c->st->span[i];
		bool full = s->state == SPAN_ACTIVE && s->used == s->slots;

		if (full == ((c->span_seen[i] & SPAN_IN_LIST) != 0))
			find(c,
			     "span %" PRIu32 ": state %" PRIu32 ", %" PRIu32 " of %" PRIu32
			     " used, %sin a list",
			     i, s->state, s->used, s->slots, full ? "" : "not ");
	}
}

/* ---- objects ---- */

static bool in_use(const struct object *o)
{
	return o->state == OBJECT_GRANTED || o->state == OBJECT_LIVE || o->state == OBJECT_DEAD;
}

static void check_large(struct check *c, uint32_t i, const struct object *o)
{
	uint64_t p = o->offset >> TARN__HEAP_PAGE_SHIFT;

	if (o->offset % TARN__HEAP_PAGE != 0 || p >= c->h->top || c->begins[p] != RUN_LARGE ||
	    c->st->run[p].pages != o->place || c->st->run[p].next != i) {
		find(c, "object %" PRIu32 ": no such run at %" PRIu64 ", %" PRIu32 " pages", i,
		     o->offset, o->place);
		return;
	}
	c->begins[p] = RUN_NONE; /* shown */
	if (!in_use(o))
		find(c, "object %" PRIu32 ": state %d with a run", i, o->state);
	if (o->size > (uint64_t)o->place << TARN__HEAP_PAGE_SHIFT)
		find(c, "object %" PRIu32 ": size %" PRIu64 " in %" PRIu32 " pages", i, o->size,
		     o->place);
	c->used_bytes += (uint64_t)o->place << TARN__HEAP_PAGE_SHIFT;
}

static void check_slot(struct check *c, uint32_t i, const struct object *o)
{
	uint32_t span = o->place;

	if (span >= c->h->spans || !(c->span_seen[span] & SPAN_HAS_RUN)) {
		find(c, "object %" PRIu32 ": in no span (%" PRIu32 ")", i, span);
		return;
	}
	const struct span *s = &c->st->span[span];
	uint64_t base = (uint64_t)s->first_page << TARN__HEAP_PAGE_SHIFT;
	uint64_t slot = tarn__class_bytes(s->cls);
	/* While a span is dismantled its last slots may be the ones that are left. */
	uint32_t most = s->state == SPAN_RETIRING ? s->slots : s->carved;

	if (o->offset < base || (o->offset - base) % slot != 0 ||
	    (o->offset - base) / slot >= most) {
		find(c, "object %" PRIu32 ": no slot of span %" PRIu32 " at %" PRIu64, i, span,
		     o->offset);
		return;
	}
	uint64_t bit = c->slot_at[span] + (o->offset - base) / slot;
	if (c->taken[bit / 8] >> bit % 8 & 1)
		find(c, "object %" PRIu32 ": its slot at %" PRIu64 " is another's too", i,
		     o->offset);
	c->taken[bit / 8] |= (uint8_t)(1u << bit % 8);
	if (o->size > slot || (!in_use(o) && o->state == OBJECT_FREE && o->size != slot))
		find(c, "object %" PRIu32 ": size %" PRIu64 " in a slot of %" PRIu64, i, o->size,
		     slot);
	if (in_use(o)) {
		c->used[span]++;
		c->used_bytes += slot;
	} else {
		c->waiting[span]++;
	}
}

/* Whoever owns no memory has no counts and no holders. */
static void check_bare(struct check *c, uint32_t i, const struct object *o)
{
	if (o->ext != 0 || o->edges != 0 || o->spilled != 0 || o->owner != NIL ||
	    o->holder[0].client != NIL || o->holder[1].client != NIL || o->kind_flags != 0)
		find(c, "object %" PRIu32 ": state %d with counts, holders or kind", i, o->state);
	if (o->state == OBJECT_UNUSED)
		c->unused_objects++;
	if (o->state == OBJECT_UNUSED && o->place != NIL)
		find(c, "object %" PRIu32 ": unused, but has a place", i);
}

static void check_object(struct check *c, uint32_t i)
{
	const struct object *o = &c->st->object[i];

	if (tarn__id_index(o->id) != i || tarn__id_generation(o->id) == 0)
		find(c, "object %" PRIu32 ": id %#" PRIx64, i, o->id);
	if (o->state > OBJECT_RETIRED) {
		find(c, "object %" PRIu32 ": state %d", i, o->state);
		return;
	}
	if (!in_use(o))
		check_bare(c, i, o);
	if (o->state == OBJECT_RETIRED && tarn__id_generation(o->id) != TARN__GENERATION_MAX)
		find(c, "object %" PRIu32 ": retired with generations left", i);
	if (o->state == OBJECT_UNUSED || (o->state == OBJECT_RETIRED && o->place == NIL))
		return;
	if (object_flags(o) & OBJECT_LARGE)
		check_large(c, i, o);
	else
		check_slot(c, i, o);
}

static bool show_object(struct check *c, uint32_t i, const char *list)
{
	if (i >= c->h->objects || c->listed[i]) {
		find(c, "%s list: object %" PRIu32 " is %s", list, i,
		     i < c->h->objects ? "in a list already" : "out of bounds");
		return false;
	}
	c->listed[i] = 1;
	return true;
}

static void check_span_objects(struct check *c, uint32_t span)
{
	const struct span *s = &c->st->span[span];
	uint32_t n = 0;

	for (uint32_t i = s->free; i != NIL; i = c->st->object[i].next, n++) {
		if (!show_object(c, i, "span's free"))
			break;
		const struct object *o = &c->st->object[i];
		if (o->place != span || (o->state != OBJECT_FREE && o->state != OBJECT_RETIRED))
			find(c,
			     "span %" PRIu32 ": free object %" PRIu32 " has state %d, place "
			     "%" PRIu32,
			     span, i, o->state, o->place);
	}
	if (s->used != c->used[span] || n != c->waiting[span] || s->carved != s->used + n)
		find(c,
		     "span %" PRIu32 ": %" PRIu32 " carved = %" PRIu32 " used + %" PRIu32
		     " listed; objects say %" PRIu32 " and %" PRIu32,
		     span, s->carved, s->used, n, c->used[span], c->waiting[span]);
}

static void check_indices(struct check *c)
{
	uint64_t n = 0;

	for (uint32_t i = c->h->free_index; i != NIL; i = c->st->object[i].next, n++) {
		if (!show_object(c, i, "free index"))
			break;
		if (c->st->object[i].state != OBJECT_UNUSED)
			find(c, "free index list: object %" PRIu32 " has state %d", i,
			     c->st->object[i].state);
	}
	expect(c, "free indices", n, c->unused_objects);
}

static void check_objects(struct check *c)
{
	for (uint32_t i = 1; i < c->h->objects; i++)
		check_object(c, i);
	for (uint32_t i = 1; i < c->h->spans; i++) {
		if (c->span_seen[i] & SPAN_HAS_RUN)
			check_span_objects(c, i);
	}
	check_indices(c);
	for (uint64_t p = 0; p < c->h->top; p++) {
		if (c->begins[p] == RUN_LARGE)
			find(c, "run %" PRIu64 ": no object has it", p);
	}
}

static void check_sums(struct check *c)
{
	const struct heap *h = c->h;

	expect(c, "used", h->used, c->used_bytes);
	expect(c, "committed", h->committed, (c->busy + c->warm) << TARN__HEAP_PAGE_SHIFT);
	expect(c, "warm_free", h->warm_free, c->warm << TARN__HEAP_PAGE_SHIFT);
	expect(c, "idle_bytes", h->idle_bytes, c->idle_bytes);
	expect(c, "held pages", h->held_pages, c->held);
}

static bool slots_of_spans(struct check *c)
{
	c->taken = calloc(1, c->slot_at[c->h->spans] / 8 + 1);
	return c->taken != NULL;
}

static void check_all(struct check *c)
{
	if (!check_tiles(c))
		return;
	check_bins(c, &c->h->warm, RUN_WARM, c->free_runs[0]);
	check_bins(c, &c->h->cold, RUN_COLD, c->free_runs[1]);
	check_spans(c);
	check_span_lists(c);
	if (!slots_of_spans(c)) {
		find(c, "heap: no memory to verify the slots");
		return;
	}
	check_objects(c);
	check_sums(c);
}

int tarn__heap_verify(const struct state *st, void (*say)(void *, const char *), void *arg)
{
	const struct heap *h = &st->head->heap;
	struct check c = { .st = st, .h = h, .say = say, .arg = arg };

	if (!check_head(&c))
		return c.findings;
	c.begins = calloc(1, h->top + 1);
	c.span_seen = calloc(1, (size_t)h->spans);
	c.listed = calloc(1, (size_t)h->objects);
	c.slot_at = calloc((size_t)h->spans + 1, sizeof *c.slot_at);
	c.used = calloc((size_t)h->spans, sizeof *c.used);
	c.waiting = calloc((size_t)h->spans, sizeof *c.waiting);
	if (c.begins == NULL || c.span_seen == NULL || c.listed == NULL || c.slot_at == NULL ||
	    c.used == NULL || c.waiting == NULL)
		find(&c, "heap: no memory to verify");
	else
		check_all(&c);
	free(c.begins);
	free(c.span_seen);
	free(c.listed);
	free(c.slot_at);
	free(c.used);
	free(c.waiting);
	free(c.taken);
	return c.findings;
}
