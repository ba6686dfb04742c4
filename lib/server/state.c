/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments META, DIR and DATA, and the growth of META's tables.
 *
 * META is one sparse segment: the head, then every table at its final size, each
 * on a page of its own. Address space is all that an unused entry costs. Nothing
 * of a table is touched before tarn__state_reserve() has committed its memory, so
 * a full /dev/shm is an error here and never a SIGBUS (A6).
 *
 * Some tables grow together, because one index names an entry of each: with an
 * object its DIR entry and its place in channel_of, with a lane its replies and
 * its share of the two buffers of deferred decrements.
 */
#include "state.h"

#include "shm/hash.h"

#include <string.h>
#include <sys/random.h>

#define FIRST_STEP (16u << 10) /* an empty server stays small */
#define LAST_STEP (1u << 20)   /* and a busy one seldom asks */
#define PEER_STEP (64u << 10)  /* of what grows with clients, not with blocks */

/* Where each table lies: one row serves creation, adoption and growth. */
struct table {
	size_t at;	/* offset of at_... in struct state_head */
	size_t pointer; /* offset of the pointer in struct state */
	uint64_t entry; /* bytes */
	uint64_t max;	/* entries; 0: max_objects + 1 */
};

#define AT(field) offsetof(struct state_head, field)
#define PTR(field) offsetof(struct state, field)

enum { T_OBJECTS, T_CHANNEL_OF, T_LANES, T_REPLIES, T_DEFERRED0, T_DEFERRED1, T_RUNS, TABLES = 18 };

static const struct table tables[TABLES] = {
	[T_OBJECTS] = { AT(at_objects), PTR(object), sizeof(struct object), 0 },
	[T_CHANNEL_OF] = { AT(at_channel_of), PTR(channel_of), sizeof(uint32_t), 0 },
	[T_LANES] = { AT(at_lanes), PTR(lane), sizeof(struct lane), MAX_LANES },
	[T_REPLIES] = { AT(at_replies), PTR(replies), sizeof(struct tarn__slot) * TARN__REPLIES,
			MAX_LANES },
	[T_DEFERRED0] = { AT(at_deferred[0]), PTR(deferred[0]), sizeof(struct deferred),
			  MAX_DEFERRED },
	[T_DEFERRED1] = { AT(at_deferred[1]), PTR(deferred[1]), sizeof(struct deferred),
			  MAX_DEFERRED },
	[T_RUNS] = { AT(at_runs), PTR(run), sizeof(struct run), 0 },
	{ AT(at_clients), PTR(client), sizeof(struct client), MAX_CLIENTS },
	{ AT(at_claims), PTR(claim), sizeof(struct claim), MAX_CLAIMS },
	{ AT(at_buckets), PTR(bucket), sizeof(uint32_t), MAX_BUCKETS },
	{ AT(at_windows), PTR(window), sizeof(struct ticket_unit), MAX_WINDOWS },
	{ AT(at_channels), PTR(channel), sizeof(struct channel), MAX_CHANNELS },
	{ AT(at_exports), PTR(export), sizeof(struct export), MAX_EXPORTS },
	{ AT(at_names), PTR(name), sizeof(struct name), MAX_NAMES },
	{ AT(at_spans), PTR(span), sizeof(struct span), 0 },
	{ AT(at_things), PTR(thing), sizeof(struct thing), 0 },
	{ AT(at_edges), PTR(edge), sizeof(struct edge), MAX_EDGES },
	{ AT(at_calls), PTR(call), sizeof(struct call), MAX_CALLS },
};

static uint64_t table_entries(const struct table *t, uint64_t arena_bytes, uint64_t max_objects)
{
	if (t->max != 0)
		return t->max;
	if (t->at == AT(at_runs) || t->at == AT(at_spans))
		return (arena_bytes >> TARN__HEAP_PAGE_SHIFT) + 1;
	return max_objects + 1;
}

static uint64_t table_bytes(const struct table *t, uint64_t arena_bytes, uint64_t max_objects)
{
	return tarn__round_up(table_entries(t, arena_bytes, max_objects) * t->entry, TARN__OS_PAGE);
}

/* Fields of the head and of struct state by their offset: all are 64-bit words. */
static uint64_t *head_at(struct state_head *h, const struct table *t)
{
	return (uint64_t *)(void *)((unsigned char *)h + t->at);
}

static unsigned char *table_base(const struct state *st, const struct table *t)
{
	unsigned char *base;

	memcpy(&base, (const unsigned char *)st + t->pointer, sizeof base);
	return base;
}

static void point(struct state *st, unsigned char *base)
{
	st->meta = (struct tarn__meta){ .base = base, .undo = (struct tarn__undo *)(void *)base };
	st->head = (struct state_head *)(void *)base;
	for (unsigned i = 0; i < TABLES; i++) {
		unsigned char *p = base + *head_at(st->head, &tables[i]);

		memcpy((unsigned char *)st + tables[i].pointer, &p, sizeof p);
	}
}

/* What a successor or a tool must agree on with whoever wrote this META. */
static uint64_t meta_layout(void)
{
	uint64_t facts[2 * TABLES + 2];
	unsigned n = 0;

	for (unsigned i = 0; i < TABLES; i++) {
		facts[n++] = tables[i].at;
		facts[n++] = tables[i].entry;
	}
	facts[n++] = sizeof(struct state_head);
	facts[n++] = offsetof(struct state_head, dead); /* behind the heap */
	return tarn__hash64(facts, sizeof facts, 0);
}

static int create_segments(struct state *st, enum tarn__backing backing, uint64_t meta_bytes,
			   uint64_t dir_bytes, uint64_t data_bytes)
{
	int r = tarn__segment_create(backing, "meta", meta_bytes, &st->meta_segment);

	if (r == 0)
		r = tarn__segment_create(backing, "dir", dir_bytes, &st->dir_segment);
	if (r == 0)
		r = tarn__segment_create(backing, "data", data_bytes, &st->data);
	if (r == 0)
		r = tarn__segment_reserve(&st->meta_segment, 0,
					  tarn__round_up(sizeof(struct state_head), TARN__OS_PAGE));
	return r;
}

/* By default as many objects as the arena has room for the smallest blocks, and some for
 * indices that are retired: memory ends first. */
static uint64_t clip_objects(uint64_t max_objects, uint64_t arena_bytes)
{
	uint64_t most = max_objects != 0 ? max_objects : arena_bytes / TARN__LINE + 1024;

	return most < TARN__INDEX_MASK ? most : TARN__INDEX_MASK;
}

int tarn__state_create(struct state *st, enum tarn__backing backing, uint64_t arena_bytes,
		       uint64_t max_objects)
{
	uint64_t at = tarn__round_up(sizeof(struct state_head), TARN__OS_PAGE);
	uint64_t meta_bytes = at;
	uint64_t secret[3]; /* uuid, seed */
	char why[128];
	int r;

	*st = (struct state){ .meta_segment = TARN__SEGMENT_NONE,
			      .data = TARN__SEGMENT_NONE,
			      .dir_segment = TARN__SEGMENT_NONE };
	if (arena_bytes == 0 || arena_bytes > TARN__SIZE_MAX)
		return -EINVAL;
	arena_bytes = tarn__round_up(arena_bytes, TARN__HEAP_PAGE);
	max_objects = clip_objects(max_objects, arena_bytes);
	for (unsigned i = 0; i < TABLES; i++)
		meta_bytes += table_bytes(&tables[i], arena_bytes, max_objects);
	if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret)
		return -EIO;
	r = create_segments(
		st, tarn__backing_choose(backing, arena_bytes, why, sizeof why), meta_bytes,
		tarn__round_up((max_objects + 1) * sizeof(struct tarn__dir_entry), TARN__OS_PAGE),
		arena_bytes);
	if (r != 0) {
		tarn__state_close(st);
		return r;
	}

	/* Nobody else sees META yet: the first image needs no log. */
	struct state_head *h = (struct state_head *)(void *)st->meta_segment.base;

	h->layout = tarn__layout_hash();
	h->meta_layout = meta_layout();
	h->uuid[0] = secret[0];
	h->uuid[1] = secret[1];
	h->seed = secret[2];
	h->arena_bytes = arena_bytes;
	h->max_objects = max_objects;
	h->meta_bytes = meta_bytes;
	for (unsigned i = 0; i < TABLES; i++) {
		*head_at(h, &tables[i]) = at;
		at += table_bytes(&tables[i], arena_bytes, max_objects);
	}
	tarn__store_release(&h->magic, TARN__MAGIC); /* last: the image is whole */
	point(st, st->meta_segment.base);
	st->dir = (struct tarn__dir_entry *)(void *)st->dir_segment.base;
	return 0;
}

static bool head_is_sane(struct state_head *h, uint64_t bytes)
{
	if (h->magic != TARN__MAGIC || h->layout != tarn__layout_hash() ||
	    h->meta_layout != meta_layout())
		return false;
	if (h->meta_bytes > bytes || h->arena_bytes == 0 || h->arena_bytes > TARN__SIZE_MAX ||
	    h->arena_bytes % TARN__HEAP_PAGE != 0)
		return false;
	if (h->max_objects == 0 || h->max_objects > TARN__INDEX_MASK)
		return false;
	for (unsigned i = 0; i < TABLES; i++) {
		uint64_t at = *head_at(h, &tables[i]);
		uint64_t need = table_bytes(&tables[i], h->arena_bytes, h->max_objects);

		if (at % TARN__OS_PAGE != 0 || at < sizeof(struct state_head) ||
		    at > h->meta_bytes || need > h->meta_bytes - at)
			return false;
	}
	return true;
}

int tarn__state_adopt(struct state *st, unsigned char *base, uint64_t bytes)
{
	*st = (struct state){ .meta_segment = TARN__SEGMENT_NONE,
			      .data = TARN__SEGMENT_NONE,
			      .dir_segment = TARN__SEGMENT_NONE };
	if (bytes < sizeof(struct state_head) ||
	    !head_is_sane((struct state_head *)(void *)base, bytes))
		return -EPROTO;
	point(st, base);
	return 0;
}

int tarn__state_inherit(struct state *st, struct tarn__segment meta, struct tarn__segment dir,
			struct tarn__segment data)
{
	int r = tarn__state_adopt(st, meta.base, meta.bytes);

	st->meta_segment = meta;
	st->dir_segment = dir;
	st->data = data;
	st->dir = (struct tarn__dir_entry *)(void *)dir.base;
	if (r < 0)
		return r;
	if (data.bytes < st->head->arena_bytes ||
	    dir.bytes < (st->head->max_objects + 1) * sizeof(struct tarn__dir_entry))
		return -EPROTO;
	tarn__meta_rollback(&st->meta);
	return 0;
}

void tarn__state_close(struct state *st)
{
	tarn__segment_close(&st->data);
	tarn__segment_close(&st->dir_segment);
	tarn__segment_close(&st->meta_segment); /* last: shm/kept.h */
	st->head = NULL;
	st->dir = NULL;
}

/* ---- growth ---- */

/* Commits entries [from, to) of a table that has @per of its entries for each of the
 * main table's. */
static int reserve_entries(const struct tarn__segment *s, uint64_t at, uint64_t entry,
			   uint64_t from, uint64_t to)
{
	return tarn__segment_reserve(s, at + from * entry, (to - from) * entry);
}

static int reserve_table(const struct state *st, unsigned t, uint64_t per, uint64_t from,
			 uint64_t to)
{
	return reserve_entries(&st->meta_segment, *head_at(st->head, &tables[t]), tables[t].entry,
			       from * per, to * per);
}

static int reserve_companions(const struct state *st, unsigned t, uint64_t from, uint64_t to)
{
	int r = 0;

	if (t == T_OBJECTS) {
		r = reserve_table(st, T_CHANNEL_OF, 1, from, to);
		if (r == 0)
			r = reserve_entries(&st->dir_segment, 0, sizeof(struct tarn__dir_entry),
					    from, to);
	} else if (t == T_LANES) {
		r = reserve_table(st, T_REPLIES, 1, from, to);
		if (r == 0)
			r = reserve_table(st, T_DEFERRED0, TARN__REQUESTS, from, to);
		if (r == 0)
			r = reserve_table(st, T_DEFERRED1, TARN__REQUESTS, from, to);
	}
	return r;
}

/* What one more entry costs, companions included. */
static uint64_t cost(unsigned t)
{
	uint64_t bytes = tables[t].entry;

	if (t == T_OBJECTS)
		bytes += tables[T_CHANNEL_OF].entry + sizeof(struct tarn__dir_entry);
	else if (t == T_LANES)
		bytes += tables[T_REPLIES].entry + 2 * TARN__REQUESTS * sizeof(struct deferred);
	return bytes;
}

/* A quarter more than there is, within sensible limits. */
static uint64_t generous(unsigned t, uint64_t have, uint64_t entries, uint64_t max)
{
	uint64_t most = t == T_LANES || tables[t].at == AT(at_claims) || tables[t].at == AT(at_buckets)
				? PEER_STEP : LAST_STEP;
	uint64_t step = have * cost(t) / 4;

	if (step < FIRST_STEP)
		step = FIRST_STEP;
	if (step > most)
		step = most;
	uint64_t to = have + step / cost(t);
	if (to < entries)
		to = entries;
	return to < max ? to : max;
}

static int grow(struct state *st, unsigned t, uint64_t from, uint64_t to)
{
	int r = reserve_table(st, t, 1, from, to);

	return r == 0 ? reserve_companions(st, t, from, to) : r;
}

int tarn__state_reserve(struct state *st, void *table, size_t entry_bytes, uint32_t *reserved,
			uint64_t entries)
{
	uint64_t have = *reserved;
	unsigned t = 0;

	if (tarn__likely(entries <= have))
		return 0;
	while (t < TABLES && table_base(st, &tables[t]) != table)
		t++;
	if (t == TABLES || tables[t].entry != entry_bytes)
		return -EINVAL;

	uint64_t max = table_entries(&tables[t], st->head->arena_bytes, st->head->max_objects);
	if (entries > max)
		return -ENOMEM;
	uint64_t to = generous(t, have, entries, max);
	int r = grow(st, t, have, to);
	if (r != 0 && to > entries) {
		to = entries;
		r = grow(st, t, have, to);
	}
	if (r == 0)
		tarn__meta_set32(&st->meta, reserved, (uint32_t)to);
	return r;
}
