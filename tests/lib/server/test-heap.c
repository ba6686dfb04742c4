/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap against a model that knows only what a user can see: which bytes of DATA each
 * object has, which ids there were. Every block is stamped, so that two owners of one
 * byte show in DATA too. tarn__heap_verify() looks at the inside.
 */
#include "lib/server/heap.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(state, .timeout = 20);
TestSuite(heap, .timeout = 60);

#define MIB (1ull << 20)
#define KIB (1ull << 10)
#define PAGE ((uint64_t)TARN__HEAP_PAGE)

static struct state st;
static struct heap *heap;

/* --- what a server does with the heap --- */

static void open_arena(uint64_t bytes, uint64_t max_objects)
{
	int r = tarn__state_create(&st, TARN__BACKING_MEMFD, bytes, max_objects);

	cr_assert(r == 0, "create: %d", r);
	tarn__heap_init(&st);
	heap = &st.head->heap;
}

static void say(void *arg, const char *line)
{
	if (arg != NULL)
		cr_log_error("%s", line);
}

static void verify(const char *when)
{
	static int loudly;

	cr_assert(tarn__heap_verify(&st, say, &loudly) == 0, "findings %s", when);
}

static uint64_t most_alloc_words, most_free_words;

static void grant(uint32_t i)
{
	struct object *o = &st.object[i];
	struct object_word w = object_word(o);

	w.state = OBJECT_LIVE;
	object_owner_word_set(&st, o, 1, w);
}

/* One request: with the work that an almost full arena needs. */
static int alloc(uint64_t bytes, uint64_t align, uint32_t *ret)
{
	for (int attempt = 0;; attempt++) {
		int r = tarn__heap_alloc(&st, bytes, align, ret);

		if (st.head->undo.n > most_alloc_words)
			most_alloc_words = st.head->undo.n;
		if (r == 0)
			grant(*ret);
		commit(&st);
		if (r != -EAGAIN || attempt == 1)
			return r;
		while (tarn__heap_reclaim(&st, bytes, align))
			;
	}
}

static uint32_t must_alloc(uint64_t bytes, uint64_t align)
{
	uint32_t i = 0;
	int r = alloc(bytes, align, &i);

	cr_assert(r == 0, "%llu bytes at %llu: %d", (unsigned long long)bytes,
		  (unsigned long long)align, r);
	return i;
}

static void release(uint32_t i)
{
	tarn__heap_free(&st, i);
	if (st.head->undo.n > most_free_words)
		most_free_words = st.head->undo.n;
	commit(&st);
}

static void tidy(void)
{
	while (tarn__heap_tidy(&st))
		;
}

static void whole_arena_is_free(const char *when)
{
	cr_assert(heap->used == 0, "%s: %llu bytes used", when, (unsigned long long)heap->used);
	release(must_alloc(st.head->arena_bytes, 1));
	verify(when);
}

/* --- state --- */

Test(state, empty_server_is_small)
{
	open_arena(64ull << 30, 0);
	cr_assert(tarn__segment_resident(&st.meta_segment) < MIB);
	cr_assert(tarn__segment_resident(&st.data) == 0);
	release(must_alloc(100, 1));
	cr_assert(tarn__segment_resident(&st.meta_segment) < MIB);
	cr_assert(tarn__segment_resident(&st.dir_segment) < MIB);
}

Test(state, tables_grow_in_steps_and_end_at_their_size)
{
	uint32_t *reserved;

	open_arena(MIB, 1000);
	reserved = &st.head->names_reserved;
	cr_assert(tarn__state_reserve(&st, st.name, sizeof *st.name, reserved, 1) == 0);
	cr_assert(*reserved > 1 && *reserved < MAX_NAMES);
	cr_assert(tarn__state_reserve(&st, st.name, sizeof *st.name, reserved, MAX_NAMES) == 0);
	cr_assert(*reserved == MAX_NAMES);
	cr_assert(tarn__state_reserve(&st, st.name, sizeof *st.name, reserved, MAX_NAMES + 1) ==
		  -ENOMEM);
	cr_assert(tarn__state_reserve(&st, st.name, 7, reserved, MAX_NAMES + 1) == -EINVAL);
	memset(st.name, 0, sizeof *st.name * MAX_NAMES); /* would be a SIGBUS in a full system */
}

Test(state, a_lane_brings_its_replies_and_deferred)
{
	uint64_t before;

	open_arena(MIB, 1000);
	cr_assert(tarn__state_reserve(&st, st.lane, sizeof *st.lane, &st.head->lanes_reserved, 3) ==
		  0);
	uint32_t lanes = st.head->lanes_reserved;
	before = tarn__segment_resident(&st.meta_segment);
	memset(st.replies, 1, sizeof *st.replies * TARN__REPLIES * lanes);
	memset(st.deferred[0], 1, sizeof *st.deferred[0] * TARN__REQUESTS * lanes);
	memset(st.deferred[1], 1, sizeof *st.deferred[1] * TARN__REQUESTS * lanes);
	cr_assert(tarn__segment_resident(&st.meta_segment) == before);
}

Test(state, adopts_what_it_made_and_refuses_the_rest)
{
	struct state other;

	open_arena(MIB, 1000);
	must_alloc(100, 1);
	cr_assert(tarn__state_adopt(&other, st.meta_segment.base, st.meta_segment.bytes) == 0);
	cr_assert(other.object == st.object && other.span == st.span && other.name == st.name);
	cr_assert(tarn__heap_verify(&other, say, NULL) == 0);
	cr_assert(tarn__state_adopt(&other, st.meta_segment.base, st.meta_segment.bytes - 1) ==
		  -EPROTO);
	st.head->at_runs = st.head->meta_bytes - TARN__OS_PAGE;
	st.head->at_objects = st.head->meta_bytes;
	cr_assert(tarn__state_adopt(&other, st.meta_segment.base, st.meta_segment.bytes) ==
		  -EPROTO);
}

/* --- sizes and alignments --- */

Test(heap, every_size_to_5000)
{
	static uint32_t index[5001];

	open_arena(64 * MIB, 0);
	for (uint64_t size = 1; size <= 5000; size++) {
		index[size] = must_alloc(size, 1);
		const struct object *o = &st.object[index[size]];
		uint64_t capacity = tarn__heap_capacity(&st, o);

		cr_assert(capacity >= size && o->size == capacity && o->offset % 64 == 0);
		cr_assert(capacity - size < 64 || (capacity - size) * 8 <= capacity);
	}
	verify("all there");
	for (uint64_t size = 1; size <= 5000; size++)
		release(index[size]);
	verify("all freed");
	whole_arena_is_free("after all sizes");
}

Test(heap, every_alignment)
{
	static const uint64_t sizes[] = { 1, 64, 65, 100, 4096, 5000, 100000, 200000, 3000000 };

	open_arena(2048 * MIB, 10000);
	for (uint64_t align = 1; align <= 1024 * MIB; align *= 2) {
		uint32_t index[9];

		for (unsigned s = 0; s < 9; s++) {
			if ((s + 1) * align > 2048 * MIB) { /* no such place is left */
				index[s] = 0;
				continue;
			}
			index[s] = must_alloc(sizes[s], align);
			cr_assert(st.object[index[s]].offset % align == 0);
		}
		verify("aligned");
		for (unsigned s = 0; s < 9; s++) {
			if (index[s] != 0)
				release(index[s]);
		}
	}
	uint32_t i;
	release(must_alloc(1, 4096 * MIB)); /* 0 is a multiple of anything */
	cr_assert(alloc(1, 1ull << 40, &i) == -ENOMEM);
	cr_assert(alloc(1, 3, &i) == -EINVAL);
	cr_assert(alloc(0, 1, &i) == -EINVAL);
	verify("after all");
}

Test(heap, one_byte_to_the_whole_arena)
{
	static const uint64_t arenas[] = { PAGE, 2 * PAGE, 64 * KIB, MIB, 100 * PAGE, 32 * MIB };

	for (unsigned a = 0; a < 6; a++) {
		open_arena(arenas[a], 0);
		for (uint64_t size = 1; size <= arenas[a]; size = size * 5 / 4 + 1) {
			release(must_alloc(size, 1));
			release(must_alloc(1, 1));
		}
		uint32_t i;
		cr_assert(alloc(arenas[a] + 1, 1, &i) == -ENOMEM);
		whole_arena_is_free("after growing sizes");
		tarn__state_close(&st);
	}
}

/* --- the model --- */

struct block {
	uint32_t index;
	uint64_t id, offset, bytes;
};

static struct {
	struct block block[20000];
	unsigned n;
	uint8_t *line;			  /* by 64 bytes of DATA: taken */
	uint64_t *generation;		  /* by index: the last that was granted */
	uint64_t held_offset, held_bytes; /* by the helper thread that we play */
} model;

static void model_open(uint64_t max_objects)
{
	model.n = 0;
	model.held_bytes = 0;
	model.line = calloc(1, st.head->arena_bytes / 64);
	model.generation = calloc(max_objects + 1, 8);
}

static void model_take(uint32_t i)
{
	const struct object *o = &st.object[i];
	struct block b = { i, o->id, o->offset, o->size };

	cr_assert(b.offset + b.bytes <= st.head->arena_bytes);
	cr_assert(tarn__id_index(b.id) == i);
	cr_assert(tarn__id_generation(b.id) > model.generation[i], "an id twice");
	model.generation[i] = tarn__id_generation(b.id);
	for (uint64_t l = b.offset / 64; l < (b.offset + b.bytes) / 64; l++) {
		cr_assert(!model.line[l], "line %llu of two blocks", (unsigned long long)l);
		model.line[l] = 1;
	}
	memcpy(st.data.base + b.offset, &b.id, 8);
	memcpy(st.data.base + b.offset + b.bytes - 8, &b.id, 8);
	model.block[model.n++] = b;
}

static void model_drop(unsigned n)
{
	struct block b = model.block[n];

	cr_assert(memcmp(st.data.base + b.offset, &b.id, 8) == 0);
	cr_assert(memcmp(st.data.base + b.offset + b.bytes - 8, &b.id, 8) == 0);
	memset(model.line + b.offset / 64, 0, b.bytes / 64);
	model.block[n] = model.block[--model.n];
	st.object[b.index].size = 1 + b.id % b.bytes; /* as an owner would */
	release(b.index);
}

static uint64_t random_size(void)
{
	unsigned kind = (unsigned)rand() % 100;

	if (kind < 60)
		return 1 + (uint64_t)rand() % 2000;
	if (kind < 90)
		return 1 + (uint64_t)rand() % 150000;
	return 1 + (uint64_t)rand() % (3 * MIB);
}

static void random_alloc(void)
{
	uint64_t align = rand() % 10 == 0 ? 1ull << rand() % 21 : 1;
	uint64_t bytes = random_size();
	uint32_t i;
	int r;

	if (model.n == 20000)
		return;
	r = alloc(bytes, align, &i);
	cr_assert(r == 0 || r == -ENOMEM, "alloc: %d", r);
	if (r == 0) {
		cr_assert(st.object[i].size >= bytes && st.object[i].offset % align == 0);
		model_take(i);
	} else if (align == 1 && model.held_bytes == 0 && st.head->arena_bytes > 4 * MIB) {
		/* (A tiny arena is soon full of spans of many classes.) */
		cr_assert(st.head->arena_bytes < 8 * (heap->used + bytes + align),
			  "no memory with %llu of %llu used", (unsigned long long)heap->used,
			  (unsigned long long)st.head->arena_bytes);
	}
}

/* A helper thread commits cold memory while the heap goes on; sometimes in vain, sometimes
 * the server is replaced meanwhile. */
static void random_precommit(void)
{
	if (model.held_bytes == 0) {
		if (tarn__heap_precommit_pick(&st, 1 + (uint64_t)rand() % (2 * MIB),
					      &model.held_offset, &model.held_bytes) != 0)
			model.held_bytes = 0;
		return;
	}
	if (rand() % 4 == 0) {
		tarn__heap_restart(&st);
	} else {
		bool ok = rand() % 4 != 0;

		if (ok)
			cr_assert(tarn__segment_reserve(&st.data, model.held_offset,
							model.held_bytes) == 0);
		tarn__heap_precommit_done(&st, model.held_offset, model.held_bytes, ok);
	}
	model.held_bytes = 0;
}

/* Makes a block's generation one of the last: its index will be retired. */
static void random_age(void)
{
	struct block *b = &model.block[(unsigned)rand() % model.n];

	b->id = tarn__id_make(b->index, TARN__GENERATION_MAX - (uint64_t)rand() % 3);
	st.object[b->index].id = b->id;
	model.generation[b->index] = tarn__id_generation(b->id);
	memcpy(st.data.base + b->offset, &b->id, 8);
	memcpy(st.data.base + b->offset + b->bytes - 8, &b->id, 8);
}

static void random_step(unsigned fill)
{
	unsigned what = (unsigned)rand() % 100;

	if (what < fill)
		random_alloc();
	else if (what < 94 && model.n > 0)
		model_drop((unsigned)rand() % model.n);
	else if (what < 97)
		tarn__heap_tidy(&st);
	else if (what < 98 && model.n > 0 && rand() % 4 == 0)
		random_age();
	else if (what < 98)
		random_precommit();
	else if (what < 99)
		heap->watermark = (uint64_t)rand() % (16 * MIB);
	else if (rand() % 20 == 0)
		tarn__heap_reclaim(&st, PAGE, 1);
}

/* What the heap counts as committed is what the system says. */
static void committed_is_resident(void)
{
	cr_assert(tarn__segment_resident(&st.data) == heap->committed, "%llu resident, %llu",
		  (unsigned long long)tarn__segment_resident(&st.data),
		  (unsigned long long)heap->committed);
}

static void random_life(unsigned seed, uint64_t arena_bytes, unsigned steps)
{
	/* Phases that fill and empty the arena, so that it runs full and runs dry. */
	static const unsigned fill[] = { 55, 75, 30, 50, 85, 20 };

	srand(seed);
	open_arena(arena_bytes, 30000);
	model_open(30000);
	for (unsigned n = 0; n < steps; n++) {
		random_step(fill[n / 1000 % 6]);
		if (n % 250 == 0) {
			verify("in a random life");
			committed_is_resident();
		}
	}
	if (model.held_bytes != 0)
		tarn__heap_restart(&st);
	while (model.n > 0)
		model_drop(model.n - 1);
	verify("all freed");
	whole_arena_is_free("after a random life");
	heap->watermark = 0;
	tidy();
	verify("tidy");
	committed_is_resident();
	tarn__state_close(&st);
	free(model.line);
	free(model.generation);
}

Test(heap, random_lives_agree_with_the_model)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		random_life(seed, 64 * MIB, 15000);
	for (unsigned seed = 11; seed <= 14; seed++)
		random_life(seed, 6 * MIB, 10000);
	for (unsigned seed = 21; seed <= 24; seed++)
		random_life(seed, 700 * KIB, 5000);
	cr_log_info("most words: alloc %llu, free %llu", (unsigned long long)most_alloc_words,
		    (unsigned long long)most_free_words);
	cr_assert(most_alloc_words <= HEAP_ALLOC_WORDS && most_free_words <= HEAP_FREE_WORDS);
}

/* --- the ends of things --- */

Test(heap, exhaustion_is_an_error_and_all_comes_back)
{
	static const uint64_t sizes[] = {
		64, 100, 576, 4096, 9000, 20000, 131072, 150000, 1000000
	};
	static uint32_t index[262144 + 1];

	for (unsigned s = 0; s < 9; s++) {
		uint64_t capacity = 0;
		unsigned n = 0;
		int r;

		open_arena(16 * MIB, 0);
		while ((r = alloc(sizes[s], 1, &index[n])) == 0)
			capacity += st.object[index[n++]].size;
		cr_assert(r == -ENOMEM, "%d", r);
		cr_assert(capacity >= 16 * MIB - 16 * MIB / 16, "size %llu: %llu of the arena",
			  (unsigned long long)sizes[s], (unsigned long long)capacity);
		verify("full");
		while (n > 0)
			release(index[--n]);
		verify("freed");
		whole_arena_is_free("after exhaustion");
		tarn__state_close(&st);
	}
}

/* Slots of one size in every hole of another. */
static void other_class_takes_over(uint64_t one, uint64_t other)
{
	static uint32_t index[65537];
	unsigned n = 0, m = 0;
	uint32_t i;

	open_arena(4 * MIB, 0);
	while (alloc(one, 1, &index[n]) == 0)
		n++;
	while (m < n)
		release(index[m++]);
	for (n = 0; alloc(other, 1, &i) == 0; n++)
		;
	cr_assert(n * tarn__class_bytes(tarn__class_of(other)) >= 3 * MIB);
	verify("taken over");
	tarn__state_close(&st);
}

Test(heap, idle_spans_serve_other_classes)
{
	other_class_takes_over(64, 100000);
	other_class_takes_over(100000, 64);
	other_class_takes_over(1000, 2000);
}

Test(heap, indices_end_and_come_back)
{
	uint32_t index[101], i;

	open_arena(16 * MIB, 100);
	for (unsigned n = 0; n < 100; n++)
		index[n] = must_alloc(n % 2 ? 100 : 300000, 1);
	cr_assert(alloc(100, 1, &i) == -ENFILE);
	cr_assert(alloc(300000, 1, &i) == -ENFILE);
	verify("no index left");
	release(index[0]);
	index[0] = must_alloc(100, 1);
	for (unsigned n = 0; n < 100; n++)
		release(index[n]);
	/* Their indices lie with slots of one class; another class needs them. */
	for (unsigned n = 0; n < 100; n++)
		index[n] = must_alloc(5000, 1);
	verify("given to another class");
}

/* --- generations --- */

static void age(uint32_t i)
{
	st.object[i].id = tarn__id_make(i, TARN__GENERATION_MAX - 2);
}

Test(heap, a_slot_outlives_its_retired_object)
{
	uint64_t seen[4], offset;
	uint32_t i, first;

	open_arena(MIB, 0);
	first = must_alloc(100, 1);
	offset = st.object[first].offset;
	age(first);
	for (unsigned n = 0; n < 3; n++) {
		seen[n] = n == 0 ? tarn__id_make(first, TARN__GENERATION_MAX - 2)
				 : st.object[first].id;
		release(first);
		i = must_alloc(100, 1);
		cr_assert(st.object[i].offset == offset);
		cr_assert((i == first) == (n < 2));
		cr_assert(st.object[i].id != seen[n]);
		verify("aged");
	}
	cr_assert(st.object[first].state == OBJECT_RETIRED && st.object[first].place == NIL);
	release(i);
	/* Once more, and this time the span dies with the place holder in its list. */
	i = must_alloc(100, 1);
	st.object[i].id = tarn__id_make(i, TARN__GENERATION_MAX);
	release(i);
	verify("place holder");
	cr_assert(st.object[i].state == OBJECT_RETIRED && st.object[i].place != NIL);
	whole_arena_is_free("after retirement");
	cr_assert(st.object[i].state == OBJECT_RETIRED && st.object[i].place == NIL);
	for (unsigned n = 0; n < 1000; n++) {
		uint32_t j = must_alloc(100, 1);

		cr_assert(j != i && j != first);
	}
	verify("never again");
}

Test(heap, a_run_outlives_its_retired_object)
{
	uint32_t i;

	open_arena(MIB, 0);
	i = must_alloc(MIB, 1);
	st.object[i].id = tarn__id_make(i, TARN__GENERATION_MAX);
	release(i);
	cr_assert(st.object[i].state == OBJECT_RETIRED);
	verify("retired");
	cr_assert(must_alloc(MIB, 1) != i);
	verify("and replaced");
}

Test(heap, generations_grow_by_one)
{
	uint32_t small, large;

	open_arena(4 * MIB, 0);
	for (unsigned n = 1; n < 100; n++) {
		small = must_alloc(100, 1);
		large = must_alloc(200000, 1);
		cr_assert(tarn__id_generation(st.object[small].id) == n);
		cr_assert(tarn__id_generation(st.object[large].id) == n);
		release(small);
		release(large);
	}
}

/* The whole arena free, in single pages that are warm and cold by turns. Runs of one page
 * come from an alignment of two; what lies between them is cold and was never used. */
static void make_zebra(unsigned pages)
{
	uint32_t *index = malloc(pages * sizeof *index);
	unsigned n = 0;

	open_arena(pages * PAGE, 0);
	heap->watermark = 0; /* warm no more than is asked for */
	while (n < pages / 2)
		index[n++] = must_alloc(PAGE, 2 * PAGE);
	heap->watermark = pages * PAGE;
	while (n > 0)
		release(index[--n]);
	free(index);
	verify("zebra");
	committed_is_resident();
	cr_assert(heap->warm_free == pages / 2 * PAGE && heap->top == pages - 1);
}

/* --- memory of the system --- */

static void fill_and_free(uint64_t size, unsigned count)
{
	uint32_t *index = malloc(count * sizeof *index);

	for (unsigned n = 0; n < count; n++) {
		index[n] = must_alloc(size, 1);
		memset(st.data.base + st.object[index[n]].offset, 1, size);
	}
	cr_assert(tarn__segment_resident(&st.data) >= size * count);
	for (unsigned n = 0; n < count; n++)
		release(index[n]);
	free(index);
}

Test(heap, memory_above_the_watermark_goes_back)
{
	static const uint64_t sizes[] = { 64, 1000, 100000, 200000, 8 * MIB };

	open_arena(256 * MIB, 0);
	heap->watermark = 4 * MIB;
	for (unsigned s = 0; s < 5; s++) {
		fill_and_free(sizes[s], (unsigned)(32 * MIB / sizes[s]));
		tidy();
		verify("tidy");
		committed_is_resident();
		/* Beside the watermark one span of each class that was used. */
		cr_assert(heap->committed <= 4 * MIB + 2 * MIB);
		cr_assert(heap->warm_free + heap->idle_bytes <= 4 * MIB);
	}
	uint64_t before = tarn__segment_resident(&st.data);
	fill_and_free(100000, 320);
	cr_assert(tarn__segment_resident(&st.data) > before);
	heap->watermark = 256 * MIB;
	before = tarn__segment_resident(&st.data);
	tidy();
	cr_assert(tarn__segment_resident(&st.data) == before, "what is below it stays");
}

Test(heap, a_failed_reservation_changes_nothing)
{
	uint32_t i;
	int fd;

	open_arena(64 * MIB, 0);
	must_alloc(100, 1);
	uint64_t top = heap->top, committed = heap->committed, used = heap->used;
	fd = st.data.fd;
	st.data.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert(alloc(10 * MIB, 1, &i) < 0);
	cr_assert(alloc(300000, MIB, &i) < 0);
	cr_assert(tarn__heap_precommit(&st, MIB) < 0);
	cr_assert(heap->top == top && heap->committed == committed && heap->used == used);
	verify("refused");
	close(st.data.fd);
	st.data.fd = fd;
	must_alloc(10 * MIB, 1);
	verify("granted");
	tarn__state_close(&st);

	/* Nor does -EAGAIN stay for ever when it is the joining that lacks memory. */
	make_zebra(5000);
	fd = st.data.fd;
	st.data.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = alloc(4998 * PAGE, 1, &i);
	cr_assert(r < 0 && r != -EAGAIN, "%d", r);
	close(st.data.fd);
	st.data.fd = fd;
	must_alloc(4998 * PAGE, 1);
}

Test(heap, precommitted_memory_is_used_first)
{
	uint64_t offset, bytes, again;

	open_arena(8 * MIB, 0);
	cr_assert(tarn__heap_precommit_pick(&st, MIB + 1, &offset, &bytes) == 0);
	cr_assert(bytes == MIB + PAGE);
	cr_assert(tarn__heap_precommit_pick(&st, MIB, &again, &again) == -EBUSY);
	verify("held");
	uint32_t i = must_alloc(500000, 1);
	cr_assert(st.object[i].offset >= offset + bytes, "held memory is nobody's");
	cr_assert(tarn__segment_reserve(&st.data, offset, bytes) == 0);
	tarn__heap_precommit_done(&st, offset, bytes, true);
	verify("warm");
	committed_is_resident();
	cr_assert(st.object[must_alloc(500000, 1)].offset < offset + bytes);

	while (tarn__heap_precommit(&st, MIB) == 0)
		;
	cr_assert(tarn__heap_precommit(&st, MIB) == -ENOENT);
	cr_assert(heap->committed == st.head->arena_bytes);
	verify("all warm");
}

Test(heap, a_successor_takes_held_memory_back)
{
	uint64_t offset, bytes;

	open_arena(8 * MIB, 0);
	must_alloc(100, 1);
	cr_assert(tarn__heap_precommit_pick(&st, 8 * MIB, &offset, &bytes) == 0);
	tarn__heap_restart(&st);
	verify("taken back");
	cr_assert(heap->held_pages == 0 && heap->top == 16);
	tarn__heap_restart(&st);
	cr_assert(tarn__heap_precommit(&st, MIB) == 0);
}

/* --- warm and cold mixed --- */

Test(heap, warm_and_cold_neighbours_are_joined_when_nothing_else_fits)
{
	uint32_t i;

	make_zebra(64); /* so few that the allocation joins them itself */
	cr_assert(tarn__heap_alloc(&st, 60 * PAGE, 1, &i) == 0);
	cr_assert(st.head->undo.n > 100 && st.head->undo.n <= HEAP_ALLOC_WORDS);
	grant(i);
	commit(&st);
	verify("joined");
	committed_is_resident();
	tarn__state_close(&st);

	make_zebra(64);
	cr_assert(st.object[must_alloc(8 * PAGE, 8 * PAGE)].offset % (8 * PAGE) == 0);
	verify("joined at an alignment");
	committed_is_resident();
	tarn__state_close(&st);

	make_zebra(5000);
	cr_assert(tarn__heap_alloc(&st, 4998 * PAGE, 1, &i) == -EAGAIN);
	commit(&st);
	unsigned steps = 1;
	while (tarn__heap_reclaim(&st, 4998 * PAGE, 1)) {
		verify("half joined");
		steps++;
	}
	cr_assert(steps > 5);
	must_alloc(4998 * PAGE, 1);
	verify("joined in steps");
	committed_is_resident();
}

/* --- verify itself --- */

/* A life with something of everything. */
static void make_everything(void)
{
	uint64_t offset, bytes;
	uint32_t index[600];

	open_arena(16 * MIB, 2000);
	heap->watermark = 200 * KIB;
	for (unsigned n = 0; n < 600; n++)
		index[n] = must_alloc(n % 30 == 0 ? 150000 : n % 3 == 0 ? 2000 : 100, 1);
	for (unsigned n = 0; n < 600; n++) {
		if (n % 4 == 0 || (n > 100 && n < 500 && n % 3 == 0))
			release(index[n]);
	}
	tarn__heap_tidy(&st);
	cr_assert(tarn__heap_precommit_pick(&st, PAGE, &offset, &bytes) == 0);
	verify("everything");
}

static int findings(void)
{
	return tarn__heap_verify(&st, say, NULL);
}

#define IS_FOUND(field, wrong)                                            \
	do {                                                              \
		__typeof__(field) right = (field);                        \
		(field) = (__typeof__(field))(wrong);                     \
		cr_expect(findings() > 0, "%s is not looked at", #field); \
		(field) = right;                                          \
		cr_assert(findings() == 0);                               \
	} while (0)

Test(heap, verify_finds_every_wrong_field)
{
	uint32_t live = 0, unused = 0, large = 0, span = 1, page;

	make_everything();
	for (uint32_t i = 1; i < heap->objects; i++) {
		const struct object *o = &st.object[i];

		if (o->state == OBJECT_UNUSED)
			unused = i;
		else if (o->state == OBJECT_LIVE && object_flags(o) & OBJECT_LARGE)
			large = i;
		else if (o->state == OBJECT_LIVE)
			live = i;
	}
	cr_assert(live != 0 && unused != 0 && large != 0);
	page = (uint32_t)(st.object[large].offset / PAGE);
	span = st.object[live].place;

	IS_FOUND(heap->used, right + 64);
	IS_FOUND(heap->committed, right + PAGE);
	IS_FOUND(heap->warm_free, right - PAGE);
	IS_FOUND(heap->idle_bytes, right + PAGE);
	IS_FOUND(heap->top, right - 1);
	IS_FOUND(heap->top, ~0ull);
	IS_FOUND(heap->pages, right + 1);
	IS_FOUND(heap->held_pages, right + 1);
	IS_FOUND(heap->objects, right + 1);
	IS_FOUND(heap->objects, 0xffffffffu);
	IS_FOUND(heap->spans, right - 1);
	IS_FOUND(heap->spans, 0xffffffffu);
	IS_FOUND(heap->free_index, st.object[right].next);
	IS_FOUND(heap->free_index, live);
	IS_FOUND(heap->warm.map[0], right ^ 4);
	IS_FOUND(heap->cold.map[1], right ^ 1);
	IS_FOUND(heap->partial[1], NIL);
	IS_FOUND(heap->partial[5], heap->partial[1]);
	IS_FOUND(st.object[live].id, right + 1);
	IS_FOUND(st.object[live].id, live);
	IS_FOUND(st.object[live].offset, right + 64);
	IS_FOUND(st.object[live].offset, right + 128);
	IS_FOUND(st.object[live].place, right + 1);
	IS_FOUND(st.object[live].size, 129);
	IS_FOUND(st.object[live].state, OBJECT_FREE);
	IS_FOUND(st.object[live].state, 77);
	IS_FOUND(st.object[unused].ext, 1);
	IS_FOUND(st.object[unused].owner, 1);
	IS_FOUND(st.object[unused].next, unused);
	IS_FOUND(st.object[large].place, right + 1);
	IS_FOUND(st.object[large].offset, right + PAGE);
	IS_FOUND(st.run[page].pages, right + 1);
	IS_FOUND(st.run[page].pages, 0);
	IS_FOUND(st.run[page].state, RUN_WARM);
	IS_FOUND(st.run[page].next, right + 1);
	IS_FOUND(st.run[page + st.run[page].pages - 1].pages, right - 1);
	IS_FOUND(st.span[span].used, right - 1);
	IS_FOUND(st.span[span].carved, right - 1);
	IS_FOUND(st.span[span].slots, right - 1);
	IS_FOUND(st.span[span].cls, right + 1);
	IS_FOUND(st.span[span].first_page, right + 1);
	IS_FOUND(st.span[span].state, SPAN_NONE);
	IS_FOUND(st.span[span].state, SPAN_IDLE);
	IS_FOUND(st.span[heap->partial[1]].free, st.object[right].next);
	IS_FOUND(st.span[heap->partial[1]].next, 0xfffffff0u);
	IS_FOUND(st.span[heap->partial[1]].prev, right + 1);
}

static uint64_t *random_word(void)
{
	switch (rand() % 4) {
	case 0:
		return (uint64_t *)(void *)heap + (uint64_t)rand() % (sizeof *heap / 8);
	case 1:
		return (uint64_t *)(void *)st.object + (uint64_t)rand() % (heap->objects * 8u);
	case 2:
		return (uint64_t *)(void *)st.run + (uint64_t)rand() % (heap->top * 2u);
	default:
		return (uint64_t *)(void *)st.span + (uint64_t)rand() % (heap->spans * 8u);
	}
}

static uint64_t random_value(uint64_t old)
{
	switch (rand() % 5) {
	case 0:
		return old ^ 1ull << rand() % 64;
	case 1:
		return (uint64_t)rand() << 40 ^ (uint64_t)rand();
	case 2:
		return old + 1;
	case 3:
		return (uint64_t)rand() % 50 | (uint64_t)(rand() % 50) << 32;
	default:
		return ~0ull;
	}
}

/* What is not found lies in spare fields, in stale links, or in the middle of runs. */
Test(heap, verify_survives_any_damage)
{
	unsigned found = 0;

	srand(5);
	make_everything();
	for (unsigned n = 0; n < 20000; n++) {
		uint64_t *word[5], old[5];
		unsigned words = 1 + (unsigned)rand() % 5;

		for (unsigned w = 0; w < words; w++) {
			word[w] = random_word();
			old[w] = *word[w];
		}
		for (unsigned w = 0; w < words; w++)
			*word[w] = random_value(*word[w]);
		found += findings() > 0;
		for (unsigned w = words; w-- > 0;)
			*word[w] = old[w];
	}
	cr_assert(findings() == 0);
	cr_assert(found > 10000, "%u of 20000 were found", found);
}
