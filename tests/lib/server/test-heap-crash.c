/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Death of the server at every store of every heap operation (PROTOCOL T2). The library
 * under test calls tarn__meta_hook() after each store to META; a death is a longjmp out
 * of it. The successor rolls back, dies at every store of that too, and rolls back again;
 * then META must be, byte for byte, the last committed image. Done again, the operation
 * must end in the same image as one that nobody interrupted.
 */
#include "lib/server/heap.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

TestSuite(heap_crash, .timeout = 600);

#define KIB (1ull << 10)
#define PAGE ((uint64_t)TARN__HEAP_PAGE)
#define ARENA_PAGES 256u
#define MAX_OBJECTS 700u

static struct state st;
static struct heap *heap;

/* --- death at a chosen store, and what was committed before it --- */

#define MOST_COMMITS 64u

static jmp_buf death;
static unsigned n_stores;    /* of this run so far */
static unsigned fatal_store; /* the one after which we die; 0: none */
static unsigned n_commits;   /* of this run so far */
static bool recording;	     /* keep the committed images */
static bool rolling_back;
static uint64_t log_length; /* at the store before */
static uint64_t most_words;

static void record_commit(void);

void tarn__meta_hook(void)
{
	uint64_t n = st.head->undo.n;

	n_stores++;
	if (!rolling_back && n == 0 && log_length != 0) {
		n_commits++;
		if (recording)
			record_commit();
	}
	log_length = n;
	if (n > most_words)
		most_words = n;
	if (n_stores == fatal_store)
		longjmp(death, 1);
}

/* Runs @step and dies right after its store number @store. False: it has fewer stores and
 * was done before. */
static bool dies_at(unsigned store, void (*step)(void))
{
	n_stores = 0;
	n_commits = 0;
	log_length = st.head->undo.n;
	fatal_store = store;
	if (setjmp(death)) {
		fatal_store = 0;
		return true;
	}
	step();
	fatal_store = 0;
	return false;
}

static void roll_back(void)
{
	rolling_back = true;
	tarn__meta_rollback(&st.meta);
}

/* --- images of META: all that the heap may touch, without the log's dead entries --- */

#define HEAD_REST (sizeof(struct state_head) - sizeof(struct tarn__undo))
#define OBJECTS ((MAX_OBJECTS + 1) * sizeof(struct object))
#define RUNS ((ARENA_PAGES + 1) * sizeof(struct run))
#define SPANS ((ARENA_PAGES + 1) * sizeof(struct span))

struct image {
	unsigned char head[HEAD_REST];
	unsigned char objects[OBJECTS];
	unsigned char runs[RUNS];
	unsigned char spans[SPANS];
	uint64_t n;
	struct tarn__undo_entry log[1500]; /* of them the first n */
};

static void image_take(struct image *m)
{
	memcpy(m->head, &st.head->magic, HEAD_REST);
	memcpy(m->objects, st.object, OBJECTS);
	memcpy(m->runs, st.run, RUNS);
	memcpy(m->spans, st.span, SPANS);
	m->n = st.head->undo.n;
	cr_assert(m->n <= 1500);
	memcpy(m->log, st.head->undo.log, m->n * sizeof m->log[0]);
}

static void image_put(const struct image *m)
{
	memcpy(&st.head->magic, m->head, HEAD_REST);
	memcpy(st.object, m->objects, OBJECTS);
	memcpy(st.run, m->runs, RUNS);
	memcpy(st.span, m->spans, SPANS);
	st.head->undo.n = m->n;
	memcpy(st.head->undo.log, m->log, m->n * sizeof m->log[0]);
	rolling_back = false;
}

static bool image_is(const struct image *m)
{
	return memcmp(&st.head->magic, m->head, HEAD_REST) == 0 &&
	       memcmp(st.object, m->objects, OBJECTS) == 0 && memcmp(st.run, m->runs, RUNS) == 0 &&
	       memcmp(st.span, m->spans, SPANS) == 0 && st.head->undo.n == m->n;
}

/* Image 0 is the one before the operation, the others follow its commits. */
static struct image committed[MOST_COMMITS], killed;

static void record_commit(void)
{
	cr_assert(n_commits < MOST_COMMITS);
	image_take(&committed[n_commits]);
}

/* --- the proof for one operation in the present state --- */

/* Long operations are killed at every store, but inside rollback at some only. */
static unsigned stride(unsigned stores)
{
	return stores < 400 ? 1 : stores / 60 | 1;
}

static bool survives_rollback(const struct image *expected, unsigned step)
{
	image_take(&killed);
	for (unsigned k = 1;; k += step) {
		bool died = dies_at(k, roll_back);

		roll_back();
		rolling_back = false;
		if (!image_is(expected))
			return false;
		if (!died)
			return true;
		image_put(&killed);
	}
}

/* @step once more from where the successor stands; it committed @commits times before. */
static bool redo_agrees(void (*step)(void), unsigned commits, unsigned all)
{
	/* The rest of an operation of several transactions may go another way. */
	if (commits != 0 && commits != all)
		return true;
	if (commits == 0)
		step();
	return image_is(&committed[all]);
}

static bool survives(void (*step)(void))
{
	rolling_back = false;
	image_take(&committed[0]);
	recording = true;
	dies_at(0, step);
	recording = false;

	unsigned stores = n_stores, all = n_commits;
	cr_assert(st.head->undo.n == 0, "the operation commits");
	cr_assert(image_is(&committed[all]));
	for (unsigned k = 1; k <= stores; k++) {
		image_put(&committed[0]);
		if (!dies_at(k, step))
			return false;
		unsigned commits = n_commits;
		if (!survives_rollback(&committed[commits], stride(stores)))
			return false;
		if (!redo_agrees(step, commits, all))
			return false;
	}
	image_put(&committed[all]);
	return true;
}

/* --- operations --- */

static uint64_t bytes_wanted, align_wanted;
static uint32_t victim;
static int result;

static void grant(uint32_t i)
{
	struct object_word w = object_word(&st.object[i]);

	w.state = OBJECT_LIVE;
	object_owner_word_set(&st, &st.object[i], 1, w);
}

static void do_alloc(void)
{
	uint32_t i;

	result = tarn__heap_alloc(&st, bytes_wanted, align_wanted, &i);
	if (result == 0)
		grant(i);
	commit(&st);
}

static void do_free(void)
{
	tarn__heap_free(&st, victim);
	commit(&st);
}

static void do_tidy(void)
{
	tarn__heap_tidy(&st);
}

static void do_reclaim(void)
{
	tarn__heap_reclaim(&st, bytes_wanted, align_wanted);
}

static void do_pick(void)
{
	uint64_t offset, bytes;

	tarn__heap_precommit_pick(&st, bytes_wanted, &offset, &bytes);
}

static void done(bool ok)
{
	if (heap->held_pages != 0)
		tarn__heap_precommit_done(&st, heap->held_first * PAGE, heap->held_pages * PAGE,
					  ok);
}

static void do_done(void)
{
	done(true);
}

static void do_fail(void)
{
	done(false);
}

static void do_restart(void)
{
	tarn__heap_restart(&st);
}

/* --- states --- */

static void say(void *arg, const char *line)
{
	(void)arg;
	cr_log_error("%s", line);
}

static void open_arena(void)
{
	int r = tarn__state_create(&st, TARN__BACKING_MEMFD, ARENA_PAGES * PAGE, MAX_OBJECTS);

	cr_assert(r == 0, "create: %d", r);
	tarn__heap_init(&st);
	heap = &st.head->heap;
	heap->watermark = 700 * KIB;
}

static bool pick_victim(void)
{
	for (unsigned attempt = 0; attempt < 200 && heap->objects > 1; attempt++) {
		victim = 1 + (uint32_t)rand() % (heap->objects - 1);
		if (st.object[victim].state == OBJECT_LIVE) {
			if (rand() % 16 == 0)
				st.object[victim].id = tarn__id_make(victim, TARN__GENERATION_MAX);
			st.object[victim].size = 1;
			return true;
		}
	}
	return false;
}

static void random_wish(void)
{
	static const uint64_t sizes[] = { 1,	64,    100,    600,    1000,   6000,
					  9000, 30000, 100000, 140000, 200000, 600000 };

	bytes_wanted = sizes[rand() % 12];
	align_wanted = rand() % 6 == 0 ? 1ull << rand() % 18 : 1;
}

/* Chooses the next operation; NULL: none is possible of that kind. */
static void (*random_operation(unsigned fill))(void)
{
	unsigned what = (unsigned)rand() % 100;

	random_wish();
	if (what < fill)
		return do_alloc;
	if (what < 85)
		return pick_victim() ? do_free : NULL;
	if (what < 90)
		return do_tidy;
	if (what < 92)
		return do_reclaim;
	if (what < 95)
		return do_pick;
	if (what < 97)
		return do_done;
	if (what < 98)
		return do_fail;
	if (what < 99)
		return do_restart;
	heap->watermark = (uint64_t)rand() % (1500 * KIB);
	return NULL;
}

/* A random life, each operation of which is killed at every store. */
static void killed_life(unsigned seed, unsigned steps)
{
	static const unsigned fill[] = { 70, 40, 60, 20 };

	srand(seed);
	open_arena();
	for (unsigned n = 0; n < steps; n++) {
		void (*step)(void) = random_operation(fill[n / 100 % 4]);

		if (step == NULL)
			continue;
		cr_assert(survives(step), "seed %u, step %u", seed, n);
		if (n % 20 == 0)
			cr_assert(tarn__heap_verify(&st, say, NULL) == 0, "seed %u, step %u", seed,
				  n);
	}
	tarn__state_close(&st);
}

Test(heap_crash, random_lives_are_killed_at_every_store)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		killed_life(seed, 800);
	cr_log_info("most words of a transaction: %llu", (unsigned long long)most_words);
}

/* --- the long ones --- */

static void run(void (*step)(void))
{
	rolling_back = false;
	dies_at(0, step);
}

/* A span of 64-byte slots whose 600 objects are dismantled in slices. */
Test(heap_crash, dismantling)
{
	open_arena();
	bytes_wanted = 1;
	align_wanted = 1;
	for (unsigned n = 0; n < 600; n++)
		run(do_alloc);
	for (victim = 1; victim <= 600; victim++)
		run(do_free);
	most_words = 0;
	bytes_wanted = ARENA_PAGES * PAGE;
	run(do_reclaim); /* retires */
	for (unsigned slice = 0; slice < 3; slice++) {
		cr_assert(survives(do_reclaim));
		cr_assert(tarn__heap_verify(&st, say, NULL) == 0);
	}
	cr_assert(heap->retiring == NIL && heap->committed == heap->warm_free);
	cr_assert(most_words > 500 && most_words <= HEAP_TIDY_WORDS, "%llu",
		  (unsigned long long)most_words);
}

/* Single pages warm and cold by turns, joined in the allocation and before it. */
static void make_zebra(void)
{
	uint64_t pages = ARENA_PAGES;

	open_arena();
	heap->watermark = 0;
	bytes_wanted = PAGE;
	align_wanted = 2 * PAGE;
	for (unsigned n = 0; n < pages / 2; n++)
		run(do_alloc);
	heap->watermark = pages * PAGE;
	for (victim = 1; victim <= pages / 2; victim++)
		run(do_free);
	align_wanted = 1;
	most_words = 0;
}

Test(heap_crash, joining_warm_and_cold)
{
	make_zebra();
	bytes_wanted = 60 * PAGE;
	cr_assert(survives(do_alloc));
	cr_assert(result == 0);
	cr_assert(most_words > 80 && most_words <= HEAP_ALLOC_WORDS, "%llu",
		  (unsigned long long)most_words);
	tarn__state_close(&st);

	make_zebra();
	bytes_wanted = 250 * PAGE;
	cr_assert(survives(do_alloc));
	cr_assert(result == -EAGAIN);
	while (dies_at(0, do_reclaim), n_commits != 0)
		cr_assert(tarn__heap_verify(&st, say, NULL) == 0);
	cr_assert(most_words <= HEAP_TIDY_WORDS);
	cr_assert(survives(do_alloc));
	cr_assert(result == 0);
	tarn__state_close(&st);

	make_zebra();
	cr_assert(survives(do_reclaim));
}

/* Many runs above the watermark: several transactions with punches between them. */
Test(heap_crash, cooling)
{
	open_arena();
	bytes_wanted = 3 * PAGE;
	align_wanted = 8 * PAGE;
	for (unsigned n = 0; n < 30; n++)
		run(do_alloc);
	heap->watermark = 0;
	for (victim = 1; victim <= 30; victim++)
		run(do_free);
	for (unsigned n = 0; n < 64; n++)
		cr_assert(survives(do_tidy));
	cr_assert(tarn__heap_verify(&st, say, NULL) == 0);
	cr_assert(heap->warm_free == 0 && heap->committed == 0);
}

/* --- the proof can fail --- */

static void forgets_the_log(void)
{
	do_alloc();
	heap->watermark++; /* not logged */
	SET(&st, heap->used, heap->used + 64);
	commit(&st);
}

static void logs_too_late(void)
{
	heap->used += 64;
	tarn__meta_hook();
	SET(&st, heap->used, heap->used);
	commit(&st);
}

static void logs_all(void)
{
	SET(&st, heap->used, heap->used + 64);
	SET(&st, heap->watermark, heap->watermark + 1);
	commit(&st);
}

Test(heap_crash, unlogged_stores_are_detected)
{
	bytes_wanted = 100;
	align_wanted = 1;
	open_arena();
	cr_assert(!survives(forgets_the_log));
	tarn__state_close(&st);
	open_arena();
	cr_assert(!survives(logs_too_late));
	tarn__state_close(&st);
	open_arena();
	cr_assert(survives(logs_all));
}
