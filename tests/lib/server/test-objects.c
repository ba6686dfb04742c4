/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects and inline methods, message by message: what they do to META, what they answer, and
 * that nothing is left.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "fake.h"
#include "lib/client/object.h"
#include "lib/server/ledger.h"
#include "lib/server/things.h"
#include "lib/types/inside.h"
#include "lib/types/memory.h"

TestSuite(objects, .timeout = 60);

#define QUIET(s)                                             \
	do {                                                 \
		fake_settle(s);                              \
		cr_assert(eq(int, fake_verify(s), 0));       \
	} while (0)

/* ---- scenes ---- */

struct scene {
	struct server *s;
	uint32_t p, q;
	struct fake_lane pa, qa;
};

static struct scene scene_open(void)
{
	struct scene k = { .s = fake_server(64) };

	counter_alive = counter_destroyed = 0;
	fake_types(k.s, counter_types);
	k.p = fake_client(k.s);
	k.q = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	k.qa = fake_lane(k.s, k.q);
	QUIET(k.s);
	return k;
}

static void scene_close(struct scene *k)
{
	struct state_head *h = k->s->st.head;

	for (uint32_t c = 1; c < h->clients_used; c++)
		if (k->s->peer[c] != NULL)
			fake_kill(k->s, c);
	QUIET(k->s);
	cr_assert(eq(u64, h->n_live, 0));
	cr_assert(eq(u64, h->n_things, 0));
	cr_assert(eq(u64, h->n_edges, 0));
	cr_assert(eq(u64, h->n_calls, 0));
	cr_assert(eq(u64, h->heap.used, 0));
	cr_assert(eq(u64, h->claims_promised, 0));
	cr_assert(eq(u32, counter_alive, 0));
	fake_server_free(k->s);
}

/* A payload from tarn_put() without references. */
static struct fake_values put(tarn_builder *b, const char *format, ...)
{
	(void)format;
	struct tarn__payload p;

	cr_assert(zero(int, tarn__builder_payload(b, &p)));
	return (struct fake_values){ .words = p.words, .n_words = p.n_words, .n_values = p.n_values };
}
#define PUT(b, ...) (tarn_builder_init(&(b)), tarn_put(&(b), __VA_ARGS__), put(&(b), NULL))

/* One value that refers to @ref. */
static struct fake_values refer(uint64_t words[2], enum tarn_kind kind, const uint64_t ref[2])
{
	words[0] = tarn__slot_head(kind, 0, 0);
	words[1] = 0;
	return (struct fake_values){ .words = words, .n_words = 2, .n_values = 1, .refs = ref, .n_refs = 1 };
}

static uint64_t make(struct scene *k, struct fake_lane *l, double factor)
{
	tarn_builder b;
	struct fake_values v = PUT(b, "d", factor);
	uint64_t id = fake_create(k->s, l, "Counter", &v, NULL);

	cr_assert(ne(u64, id, 0));
	tarn_builder_fini(&b);
	return id;
}

static struct fake_answer call_u(struct scene *k, struct fake_lane *l, uint64_t id, unsigned method,
				 uint64_t arg)
{
	tarn_builder b;
	struct fake_values v = PUT(b, "Q", arg);
	struct fake_answer a = fake_call(k->s, l, id, method, &v);

	tarn_builder_fini(&b);
	return a;
}

static struct fake_answer call_keep(struct scene *k, struct fake_lane *l, uint64_t id, uint64_t what,
				    enum tarn_kind kind, uint64_t size)
{
	uint64_t words[2], ref[2] = { what, tarn__ref_word(size, false) };
	struct fake_values v = refer(words, kind, ref);

	return fake_call(k->s, l, id, KEEP, &v);
}

static const struct object *object(const struct scene *k, uint64_t id)
{
	return &k->s->st.object[tarn__id_index(id)];
}

/* ---- tests ---- */

Test(objects, o1_creating_gives_independent_objects_that_end_with_their_last_claim)
{
	struct scene k = scene_open();
	uint64_t a = make(&k, &k.pa, 2), b = make(&k, &k.pa, 3);

	cr_assert(ne(u64, a, b));
	cr_assert(eq(u32, counter_alive, 2));
	cr_assert(eq(u32, fake_count(k.s, a), 1));
	fake_release(&k.pa, a, 1);
	QUIET(k.s);
	cr_assert(eq(u32, counter_destroyed, 1));
	cr_assert(not(fake_alive(k.s, a)));
	cr_assert(fake_alive(k.s, b));
	scene_close(&k);
	cr_assert(eq(u32, counter_destroyed, 2));
}

Test(objects, d1_an_inline_call_is_answered_in_the_epoch_that_reads_it)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2);
	tarn_builder b;
	struct fake_values v = PUT(b, "d", 21.0);
	struct fake_answer a = fake_call(k.s, &k.pa, id, SCALE, &v);
	double y;

	cr_assert(zero(int, a.error), "%s", fake_sentence(&a));
	cr_assert(eq(u32, a.slots, 1));
	cr_assert(eq(u32, a.n_values, 1));
	memcpy(&y, &a.words[1], 8);
	cr_assert(eq(dbl, y, 42.0));
	tarn_builder_fini(&b);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, id), 1));
	scene_close(&k);
}

Test(objects, d10_machinery_errors_are_specific_and_the_next_call_works)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2);
	uint64_t block = fake_alloc(k.s, &k.pa, 64);
	struct fake_answer a = fake_call(k.s, &k.pa, id, 99, NULL);

	cr_assert(eq(int, a.error, TARN_ENOMETHOD));
	cr_assert(ne(ptr, strstr(fake_sentence(&a), "scale, keep"), NULL), "%s", fake_sentence(&a));
	cr_assert(eq(ptr, strstr(fake_sentence(&a), "hidden"), NULL), "%s", fake_sentence(&a));
	a = fake_call(k.s, &k.pa, id, HIDDEN, NULL);
	cr_assert(eq(int, a.error, TARN_ENOMETHOD));
	a = fake_call(k.s, &k.pa, id, SCALE, NULL);
	cr_assert(eq(int, a.error, TARN_EARGS));
	cr_assert(ne(ptr, strstr(fake_sentence(&a), "Counter.scale"), NULL), "%s", fake_sentence(&a));
	a = fake_call(k.s, &k.pa, id + (1ull << TARN__INDEX_BITS), SCALE, NULL);
	cr_assert(eq(int, a.error, TARN_ESTALE));
	a = fake_call(k.s, &k.pa, block, SCALE, NULL);
	cr_assert(eq(int, a.error, TARN_EKIND));
	a = fake_call(k.s, &k.pa, id, OPEN_LIST, NULL);
	cr_assert(eq(int, a.error, TARN_ERESULT));
	a = fake_call(k.s, &k.pa, id, SLOW, NULL); /* no executors here */
	cr_assert(eq(int, a.error, ENOTSUP));
	fake_create(k.s, &k.pa, "ResultOnly", NULL, &a);
	cr_assert(eq(int, a.error, EPERM));
	fake_create(k.s, &k.pa, "Nobody", NULL, &a);
	cr_assert(eq(int, a.error, TARN_ENOTYPE));
	cr_assert(eq(u64, k.s->evictions, 0));
	a = call_u(&k, &k.pa, id, BIG, 3);
	cr_assert(zero(int, a.error));
	QUIET(k.s);
	scene_close(&k);
}

Test(objects, r10_a_failing_creator_leaves_nothing)
{
	struct scene k = scene_open();
	tarn_builder b;
	struct fake_values v = PUT(b, "d", -1.0);
	struct fake_answer a;
	uint64_t things = k.s->st.head->n_things, made = k.s->st.head->things_made;

	for (int i = 0; i < 10000; i++) {
		cr_assert(zero(u64, fake_create(k.s, &k.pa, "Counter", &v, &a)));
		cr_assert(eq(int, a.error, TARN_EREMOTE));
		if (a.flags & TARN__CALL_SPILLED)
			fake_release(&k.pa, a.refs[0], 1);
	}
	cr_assert(eq(u32, a.n_values, 1));
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.head->n_things, things));
	cr_assert(eq(u64, k.s->st.head->things_made, made));
	cr_assert(eq(u32, counter_destroyed, 0));
	tarn_builder_fini(&b);
	scene_close(&k);
}

Test(objects, r6_an_adopting_type_gives_its_argument_as_it_is)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2), words[4];
	const uint64_t refs[4] = { id, 0, id, 0 };
	struct fake_values v = refer(words, TARN_KIND_OBJECT, refs);
	struct fake_answer a;

	cr_assert(eq(u64, fake_create(k.s, &k.pa, "Adopted", &v, &a), id));
	cr_assert(eq(u32, fake_count(k.s, id), 2));
	v.n_values = 2; /* two arguments */
	v.n_words = 4;
	words[2] = words[0];
	words[3] = 0;
	fake_create(k.s, &k.pa, "Adopted", &v, &a);
	cr_assert(eq(int, a.error, TARN_EARGS));
	fake_create(k.s, &k.pa, "Adopted", NULL, &a);
	cr_assert(eq(int, a.error, TARN_EARGS));
	tarn_builder b;
	v = PUT(b, "q", (int64_t)5);
	fake_create(k.s, &k.pa, "Adopted", &v, &a);
	cr_assert(eq(int, a.error, TARN_EARGS));
	cr_assert(ne(ptr, strstr(fake_sentence(&a), "int"), NULL), "%s", fake_sentence(&a));
	tarn_builder_fini(&b);
	QUIET(k.s);
	scene_close(&k);
}

Test(objects, v2_a_result_type_makes_an_object_of_what_the_method_gives)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2);
	struct fake_answer a = fake_call(k.s, &k.pa, id, CLONE, NULL);

	cr_assert(zero(int, a.error), "%s", fake_sentence(&a));
	cr_assert(eq(u32, a.n_refs, 1));
	cr_assert(ne(u64, a.refs[0], id));
	cr_assert(eq(u32, fake_count(k.s, a.refs[0]), 1));
	cr_assert(eq(u32, counter_alive, 2));
	QUIET(k.s);
	scene_close(&k);
	cr_assert(eq(u32, counter_destroyed, 2));
}

Test(objects, v8_the_same_instance_is_the_same_object)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2);
	struct fake_answer a = fake_call(k.s, &k.qa, id, ME, NULL);

	cr_assert(zero(int, a.error));
	cr_assert(eq(u64, a.refs[0], id));
	cr_assert(eq(u32, fake_count(k.s, id), 2)); /* o10: exact at once */
	QUIET(k.s);
	scene_close(&k);
}

Test(objects, v12_a_method_that_fails_undoes_what_it_made_and_held)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 2);

	for (uint64_t n = 0; n <= 40; n++) {
		struct fake_answer a = call_u(&k, &k.pa, id, FAIL_AFTER, n);

		/* Beyond what an inline method may make it is its wish that fails. */
		cr_assert(eq(int, a.error, TARN_EREMOTE), "%llu", (unsigned long long)n);
		if (a.flags & TARN__CALL_SPILLED)
			fake_release(&k.pa, a.refs[0], 1);
		QUIET(k.s);
		cr_assert(eq(u64, k.s->st.head->n_things, 1));
		cr_assert(eq(u64, k.s->st.head->n_edges, 0));
		cr_assert(eq(u32, counter_alive, 1));
	}
	scene_close(&k);
}

/* Writes to a block by the id that it was told, as a queue does with runs of slots. */
enum { WRITE_TO, HOLD_IT };
static int write_to(tarn_context *ctx, void *self)
{
	struct tarn__memory m;
	uint64_t id;
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	if (r == 0)
		r = tarn__self_memory(ctx, id, &m);
	if (r == 0)
		m.data[0] = 7;
	return r;
}
static int hold_it(tarn_context *ctx, void *self)
{
	tarn_block *b;
	int r = tarn_context_get(ctx, "B", &b);

	(void)self;
	return r < 0 ? r : tarn_self_hold(ctx, b);
}
static const tarn_method writer_methods[] = {
	[WRITE_TO] = { "write_to", write_to, TARN_METHOD_INLINE, "Q", "", NULL },
	[HOLD_IT] = { "hold_it", hold_it, TARN_METHOD_INLINE, "B", "", NULL },
	{ 0 },
};
static const tarn_type writer = { .name = "Writer", .size = 8, .flags = TARN_TYPE_INLINE, .methods = writer_methods };

/* Whoever writes an id into a queue's table could have the server write into anybody's block. */
Test(objects, v12_memory_is_that_of_blocks_that_the_object_holds)
{
	static const tarn_type *const list[] = { &writer, NULL };
	struct scene k = { .s = fake_server(64) };

	fake_types(k.s, list);
	k.p = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	const uint64_t o = fake_create(k.s, &k.pa, "Writer", NULL, NULL);
	const uint64_t block = fake_alloc(k.s, &k.pa, 100);
	uint64_t words[2], ref[2] = { block, tarn__ref_word(100, false) };
	struct fake_values v = refer(words, TARN_KIND_BLOCK, ref);

	fake_post(&k.pa, TARN__MSG_PUBLISH, 0, block, 100, 0, 0, 0, 0);
	cr_assert(ne(int, call_u(&k, &k.pa, o, WRITE_TO, block).error, 0));
	cr_assert(zero(int, fake_call(k.s, &k.pa, o, HOLD_IT, &v).error));
	cr_assert(zero(int, call_u(&k, &k.pa, o, WRITE_TO, block).error));
	fake_release(&k.pa, block, 1);
	QUIET(k.s);
	scene_close(&k);
}

/* With words of its own that it says it changes, as Tarn's types do. */
struct noter {
	uint64_t word[2];
};
enum { NOTE, NOTE_AND_FAIL };
static int note(tarn_context *ctx, void *self)
{
	struct noter *n = self;

	tarn__self_store(ctx, &n->word[0], n->word[0] + 1);
	tarn__self_store(ctx, &n->word[1], 9);
	tarn__self_store(ctx, &n->word[0], n->word[0] + 1);
	return 0;
}
static int note_and_fail(tarn_context *ctx, void *self)
{
	note(ctx, self);
	return tarn_throw(ctx, "ValueError", "no");
}
static const tarn_method noter_methods[] = {
	[NOTE] = { "note", note, TARN_METHOD_INLINE, NULL, "", NULL },
	[NOTE_AND_FAIL] = { "note_and_fail", note_and_fail, TARN_METHOD_INLINE, NULL, "", NULL },
	{ 0 },
};
static const tarn_type noter = { .name = "Noter", .size = sizeof(struct noter), .flags = TARN_TYPE_INLINE,
				 .methods = noter_methods };

/* A queue said of an item that it was given, and held for ever what it referred to, when the answer had no room. */
Test(objects, v12_a_method_that_fails_undoes_the_words_that_it_said_it_changes)
{
	static const tarn_type *const list[] = { &noter, NULL };
	const struct fake_values none = { 0 };
	struct scene k = { .s = fake_server(64) };
	uint64_t words[2], ref[2] = { 0 };

	fake_types(k.s, list);
	k.p = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	const uint64_t o = fake_create(k.s, &k.pa, "Noter", NULL, NULL);
	const struct thing *t = tarn__thing_of(&k.s->st, object(&k, o));
	const struct noter *n = tarn__thing_self(k.s, object(&k, o), tarn__thing_type(k.s, t));

	for (unsigned i = 1; i <= 2; i++) {
		ref[0] = o;
		struct fake_values v = refer(words, TARN_KIND_OBJECT, ref);

		/* The short way, and as a message that refers to something. */
		cr_assert(zero(int, fake_call(k.s, &k.pa, o, NOTE, &none).error));
		cr_assert(eq(int, fake_call(k.s, &k.pa, o, NOTE_AND_FAIL, i == 1 ? &none : &v).error, TARN_EREMOTE));
		cr_assert(eq(u64, n->word[0], 2 * i));
		cr_assert(eq(u64, n->word[1], 9));
	}
	QUIET(k.s);
	scene_close(&k);
}

Test(objects, n4_what_an_object_holds_lives_until_it_is_dropped_or_the_holder_ends)
{
	struct scene k = scene_open();
	uint64_t outer = make(&k, &k.pa, 1), inner = make(&k, &k.pa, 2);
	uint64_t block = fake_alloc(k.s, &k.pa, 100);

	cr_assert(zero(int, call_keep(&k, &k.pa, outer, inner, TARN_KIND_OBJECT, 0).error));
	cr_assert(zero(int, call_keep(&k, &k.pa, outer, inner, TARN_KIND_OBJECT, 0).error));
	cr_assert(zero(int, call_keep(&k, &k.pa, outer, block, TARN_KIND_BLOCK, 100).error));
	cr_assert(eq(u32, object(&k, inner)->edges, 2));
	cr_assert(eq(u32, object(&k, block)->edges, 1));
	cr_assert(eq(u64, object(&k, block)->size, 100));
	fake_release(&k.pa, inner, 1);
	fake_release(&k.pa, block, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, inner));
	cr_assert(fake_alive(k.s, block));

	struct fake_answer a = call_u(&k, &k.qa, outer, GIVE, inner); /* n2: another client gets it */
	cr_assert(zero(int, a.error));
	cr_assert(eq(u64, a.refs[0], inner));
	cr_assert(eq(u32, fake_count(k.s, inner), 1));
	a = call_u(&k, &k.qa, outer, GIVE, block);
	cr_assert(eq(u64, tarn__ref_size(a.refs[1]), 100));
	fake_release(&k.qa, inner, 1);
	fake_release(&k.qa, block, 1);

	cr_assert(zero(int, call_u(&k, &k.pa, outer, FORGET, inner).error));
	QUIET(k.s);
	cr_assert(eq(u32, object(&k, inner)->edges, 1));
	cr_assert(zero(int, call_u(&k, &k.pa, outer, FORGET, inner).error));
	a = call_u(&k, &k.pa, outer, FORGET, inner);
	cr_assert(eq(int, a.error, TARN_EREMOTE)); /* held no more */
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, inner)));
	cr_assert(eq(u32, counter_destroyed, 1));
	fake_release(&k.pa, outer, 1);
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, block)));
	scene_close(&k);
}

Test(objects, h8_an_argument_that_nobody_was_told_of_before_is_published_whatever_becomes_of_the_call)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);
	uint64_t block = fake_alloc(k.s, &k.pa, 100), words[2], ref[2] = { block, tarn__ref_word(100, false) };
	struct fake_values v = refer(words, TARN_KIND_BLOCK, ref);
	struct fake_answer a = fake_call(k.s, &k.pa, id, SCALE, &v); /* wrong kind */

	cr_assert(eq(int, a.error, TARN_EARGS));
	cr_assert(eq(u32, object(&k, block)->state, OBJECT_LIVE));
	cr_assert(eq(u32, fake_count(k.s, block), 1));
	fake_release(&k.pa, block, 1);
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, block)));
	scene_close(&k);
}

Test(objects, d9_a_result_that_does_not_fit_its_slots_comes_in_a_block)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);
	const int sizes[] = { 1, 8, 9, 100, 800, 820, 850, 1000, 20000, 100000 };

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct fake_answer a = call_u(&k, &k.pa, id, BIG, (uint64_t)sizes[i]);

		cr_assert(zero(int, a.error), "%d", sizes[i]);
		if (!(a.flags & TARN__CALL_SPILLED)) {
			cr_assert(lt(int, sizes[i], 900));
			continue;
		}
		cr_assert(eq(u32, a.n_refs, 1));
		const unsigned char *data = k.s->st.data.base + object(&k, a.refs[0])->offset;
		cr_assert(eq(u64, a.spilled, object(&k, a.refs[0])->size));
		cr_assert(eq(chr, (char)data[16], 'x'));
		cr_assert(eq(u32, fake_count(k.s, a.refs[0]), 1));
		cr_assert(eq(u64, tarn__ref_size(a.refs[1]), a.spilled));
		fake_release(&k.pa, a.refs[0], 1);
	}
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.head->n_live, 1));
	scene_close(&k);
}

Test(objects, d13_a_result_for_which_there_is_no_memory_is_an_error_that_says_so)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);
	uint32_t poor;

	cr_assert(zero(int, tarn__client_attach(k.s, &(const struct newcomer){ .socket = -1, .pidfd = -1, .pid = 1, .quota = 4096 }, &poor)));
	struct fake_lane l = fake_lane(k.s, poor);
	struct fake_answer a = call_u(&k, &l, id, BIG, 50000);

	cr_assert(eq(int, a.error, TARN_ERESULT));
	cr_assert(ne(ptr, strstr(fake_sentence(&a), "4096"), NULL), "%s", fake_sentence(&a));
	QUIET(k.s);
	scene_close(&k);
}

Test(objects, r13_fields_are_read_and_written_by_methods_of_their_name)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);
	unsigned get = FIELDS, set = FIELDS + 1; /* behind the methods */
	tarn_builder b;
	struct fake_values v = PUT(b, "q", (int64_t)-7);
	struct fake_answer a = fake_call(k.s, &k.pa, id, set, &v);

	cr_assert(zero(int, a.error), "%s", fake_sentence(&a));
	a = fake_call(k.s, &k.pa, id, get, NULL);
	cr_assert(zero(int, a.error));
	cr_assert(eq(i64, (int64_t)a.words[1], -7));
	tarn_builder_fini(&b);
	scene_close(&k);
}

Test(objects, a7_calls_that_no_client_of_ours_writes_get_their_sender_evicted)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);
	const struct {
		uint64_t packed;
		unsigned kind;
	} bad[] = {
		{ tarn__pack(0, 0, 65, 0, 1, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 255, 0, 1, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 1, 0, 0, 1, 5), TARN__MSG_CALL },
		{ tarn__pack(0, 1, 3, 0, 1, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 0, 0, 0, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 0, 0, 33, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 0, TARN__CALL_ONEWAY, 1, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 0, TARN__CALL_SPILLED, 1, 0), TARN__MSG_CALL },
		{ tarn__pack(0, 0, 0, TARN__CALL_RAW, 1, 0), TARN__MSG_CREATE },
		{ tarn__pack(0, 0, 0, 128, 1, 0), TARN__MSG_CREATE },
		{ 0, TARN__MSG_RESULT }, { 0, TARN__MSG_HOLD }, { 0, TARN__MSG_UNHOLD },
		{ 0, TARN__MSG_DESTROYED }, { 0, TARN__MSG_MADE }, { 0, 20 },
	};

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint32_t c = fake_client(k.s);
		struct fake_lane l = fake_lane(k.s, c);

		fake_post(&l, (enum tarn__message)bad[i].kind, 0, bad[i].kind == TARN__MSG_CREATE ? 1 : id,
			  bad[i].packed, 0, 0, 0, 0);
		QUIET(k.s);
		cr_expect(eq(u32, k.s->st.client[c].state, CLIENT_EVICTED), "%u", i);
		cr_expect(eq(u32, fake_count(k.s, id), 1), "%u", i);
	}
	scene_close(&k);
}

/* ---- ends: chains, rings, cycles ---- */

static void release_all(struct scene *k, struct fake_lane *l, const uint64_t *id, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (tarn__requests_room(&l->requests, 1) == 0)
			tarn__epoch(k->s);
		fake_release(l, id[i], 1);
		if (i % 500 == 499)
			tarn__epoch(k->s);
	}
}

Test(objects, o6_a_chain_of_a_hundred_thousand_ends_in_slices_without_recursion, .timeout = 120)
{
	enum { LENGTH = 100000 };
	struct scene k = scene_open();
	uint64_t *id = calloc(LENGTH, sizeof *id), epochs;

	id[0] = make(&k, &k.pa, 1);
	for (unsigned i = 1; i < LENGTH; i++) {
		id[i] = make(&k, &k.pa, 1);
		cr_assert(zero(int, call_keep(&k, &k.pa, id[i], id[i - 1], TARN_KIND_OBJECT, 0).error));
		fake_release(&k.pa, id[i - 1], 1);
	}
	fake_settle(k.s);
	cr_assert(eq(u32, counter_alive, LENGTH));
	epochs = k.s->st.head->epoch;
	uint64_t before = k.s->undo_high;
	fake_release(&k.pa, id[LENGTH - 1], 1);
	QUIET(k.s);
	cr_assert(eq(u32, counter_alive, 0));
	/* A bounded number of them in each epoch: the server was never gone for long. */
	cr_assert(gt(u64, k.s->st.head->epoch - epochs, LENGTH / 64));
	cr_assert(le(u64, k.s->undo_high, before + 400));
	free(id);
	scene_close(&k);
}

Test(objects, o6_an_object_that_holds_a_hundred_thousand_ends_in_slices, .timeout = 120)
{
	enum { N = 100000 };
	struct scene k = scene_open();
	uint64_t outer = make(&k, &k.pa, 1), inner;

	for (unsigned i = 0; i < N; i++) {
		inner = make(&k, &k.pa, 1);
		cr_assert(zero(int, call_keep(&k, &k.pa, outer, inner, TARN_KIND_OBJECT, 0).error));
		fake_release(&k.pa, inner, 1);
	}
	fake_settle(k.s);
	fake_release(&k.pa, outer, 1);
	QUIET(k.s);
	cr_assert(eq(u32, counter_destroyed, N + 1));
	cr_assert(lt(u64, k.s->undo_high, TARN__UNDO_CAPACITY / 2));
	scene_close(&k);
}

static void ring(struct scene *k, unsigned n)
{
	uint64_t *id = calloc(n, sizeof *id);

	for (unsigned i = 0; i < n; i++)
		id[i] = make(k, &k->pa, 1);
	for (unsigned i = 0; i < n; i++)
		cr_assert(zero(int, call_keep(k, &k->pa, id[i], id[(i + 1) % n], TARN_KIND_OBJECT, 0).error));
	release_all(k, &k->pa, id + 1, n - 1);
	QUIET(k->s);
	cr_assert(eq(u32, counter_alive, n)); /* one is held from outside: all live */
	fake_release(&k->pa, id[0], 1);
	QUIET(k->s);
	cr_assert(eq(u32, counter_alive, 0));
	free(id);
}

Test(objects, o11_cycles_that_nobody_reaches_are_collected, .timeout = 120)
{
	struct scene k = scene_open();
	const unsigned sizes[] = { 1, 2, 3, 10, 10000 };

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		ring(&k, sizes[i]);
	cr_assert(gt(u64, k.s->collected, 0));
	scene_close(&k);
}

/* The block hangs on a cycle of two, which hangs on a third object: that is dropped last. */
Test(objects, o11_what_a_cycle_holds_goes_with_it_and_not_before)
{
	struct scene k = scene_open();
	uint64_t a = make(&k, &k.pa, 1), b = make(&k, &k.pa, 1), root = make(&k, &k.pa, 1);
	uint64_t block = fake_alloc(k.s, &k.pa, 100);

	call_keep(&k, &k.pa, a, b, TARN_KIND_OBJECT, 0);
	call_keep(&k, &k.pa, b, a, TARN_KIND_OBJECT, 0);
	call_keep(&k, &k.pa, b, block, TARN_KIND_BLOCK, 100);
	call_keep(&k, &k.pa, root, a, TARN_KIND_OBJECT, 0);
	fake_release(&k.pa, a, 1);
	fake_release(&k.pa, b, 1);
	fake_release(&k.pa, block, 1);
	QUIET(k.s);
	cr_assert(eq(u32, counter_alive, 3));
	cr_assert(fake_alive(k.s, block));
	fake_release(&k.pa, root, 1);
	QUIET(k.s);
	cr_assert(eq(u32, counter_alive, 0));
	cr_assert(not(fake_alive(k.s, block)));
	scene_close(&k);
}

static int keep_channel(tarn_context *ctx, void *self)
{
	tarn_channel *c;
	int r = tarn_value_channel(tarn_parcel_at(tarn_context_args(ctx), 0), &c);

	(void)self;
	return r < 0 ? r : tarn_self_hold(ctx, c);
}
static const tarn_method keeper_methods[] = {
	{ "keep_channel", keep_channel, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ 0 },
};
static const tarn_type keeper = { .name = "Keeper", .size = 8, .flags = TARN_TYPE_INLINE,
				  .methods = keeper_methods };

/* An object holds a channel in which it is on its way itself. */
Test(objects, o11_cycles_through_channels_are_collected)
{
	static const tarn_type *const list[] = { &keeper, NULL };
	struct scene k = { .s = fake_server(64) };
	uint64_t words[2], ref[2] = { 0 };

	fake_types(k.s, list);
	k.p = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	uint64_t o = fake_create(k.s, &k.pa, "Keeper", NULL, NULL);
	uint64_t ch = fake_channel(k.s, &k.pa, &k.pa, 8);

	ref[0] = ch;
	struct fake_values v = refer(words, TARN_KIND_CHANNEL, ref);
	cr_assert(zero(int, fake_call(k.s, &k.pa, o, 0, &v).error));
	fake_send(&k.pa, ch, 0, o, 1, 0);
	fake_release(&k.pa, o, 1);
	fake_release(&k.pa, ch, 1);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, o)); /* the ends are held: it can be received */
	fake_post(&k.pa, TARN__MSG_CLOSE, 0, ch, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	QUIET(k.s);
	cr_assert(fake_alive(k.s, o));
	fake_kill(k.s, k.p); /* nobody can any more */
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.head->n_things, 0));
	cr_assert(eq(u64, k.s->st.head->n_channels, 0));
	scene_close(&k);
}

/* ---- ends of clients ---- */

static unsigned told;
static void count_departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	(void)self;
	(void)client;
	told++;
}
static const tarn_type attendant = { .name = "Attendant", .size = 8, .flags = TARN_TYPE_INLINE,
				     .departed = count_departed };

#define SLICE 64u /* of which clients.c says that nobody's message waits for more */

Test(objects, t6_ends_of_many_clients_at_once_are_told_in_slices_and_once_each)
{
	enum { OBJECTS = 100, CLIENTS = 20 };
	static const tarn_type *const list[] = { &attendant, NULL };
	struct scene k = { .s = fake_server(64) };
	uint32_t client[CLIENTS];

	fake_types(k.s, list);
	k.p = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	for (unsigned i = 0; i < OBJECTS; i++)
		cr_assert(ne(u64, fake_create(k.s, &k.pa, "Attendant", NULL, NULL), 0));
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = fake_client(k.s);
	for (unsigned i = 0; i < CLIENTS; i++)
		fake_kill(k.s, client[i]);
	told = 0;
	while (told < OBJECTS * CLIENTS) {
		unsigned before = told;

		tarn__epoch(k.s);
		cr_assert(le(uint, told - before, SLICE));
	}
	QUIET(k.s);
	cr_assert(eq(uint, told, OBJECTS * CLIENTS));
	scene_close(&k);
}

/* As a large queue does it. */
#define PARTS 100u
static unsigned parts[2]; /* of the first client, and of any other */
static uint32_t first_client;
static void departed_in_parts(tarn_context *ctx, void *self, uint32_t client)
{
	unsigned *n = &parts[client != first_client];

	(void)self;
	if (++*n < (client == first_client ? PARTS : 2))
		tarn__departed_again(ctx, *n);
}
static const tarn_type thorough = { .name = "Thorough", .size = 8, .flags = TARN_TYPE_INLINE,
				    .departed = departed_in_parts };

/* Whoever had the lowest number had all of each epoch's budget: others' locks were nobody's for as long as that took. */
Test(objects, t6_a_dead_client_with_much_to_be_repaired_does_not_hold_up_others)
{
	static const tarn_type *const list[] = { &thorough, NULL };
	struct scene k = { .s = fake_server(64) };
	uint32_t other;

	fake_types(k.s, list);
	k.p = fake_client(k.s);
	k.pa = fake_lane(k.s, k.p);
	cr_assert(ne(u64, fake_create(k.s, &k.pa, "Thorough", NULL, NULL), 0));
	first_client = fake_client(k.s);
	other = fake_client(k.s);
	cr_assert(gt(u32, other, first_client));
	parts[0] = parts[1] = 0;
	fake_kill(k.s, first_client);
	fake_kill(k.s, other);
	while (parts[1] < 2)
		tarn__epoch(k.s);
	cr_assert(lt(uint, parts[0], 10));
	QUIET(k.s);
	cr_assert(eq(uint, parts[0], PARTS));
	scene_close(&k);
}

/* ---- names, weak references, notices ---- */

static void post_name(struct fake_lane *l, uint64_t id, uint64_t flags, const char *text)
{
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_NAME, 2, (unsigned)strlen(text), 7), id, flags } };

	memcpy(&word[0][3], text, strlen(text));
	tarn__requests_post_long(&l->requests, (const uint64_t(*)[7])word, 2);
}

Test(objects, p9_a_name_holds_its_object_until_it_is_taken_back_or_its_client_ends)
{
	struct scene k = scene_open();
	uint64_t a = make(&k, &k.pa, 1), b = make(&k, &k.pa, 2);
	struct tarn__slot r;

	post_name(&k.pa, a, 0, "it");
	post_name(&k.qa, b, 0, "it");
	fake_settle(k.s);
	cr_assert(eq(u64, tarn__header_count(fake_reply(&k.pa).word[0]), 0));
	cr_assert(eq(u64, tarn__header_count(fake_reply(&k.qa).word[0]), EEXIST));
	fake_release(&k.pa, a, 1);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, a), 1));
	fake_post_name(&k.qa, TARN__MSG_LOOKUP, 0, false, "it");
	QUIET(k.s);
	r = fake_reply(&k.qa);
	cr_assert(eq(u64, r.word[1], a));
	cr_assert(ne(u64, r.word[3] & TARN__DIR_OBJECT, 0));
	fake_release(&k.qa, a, 1);
	post_name(&k.qa, b, TARN__NAME_REPLACE | TARN__NAME_PINNED, "it");
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, a)));
	fake_reply(&k.qa);
	fake_kill(k.s, k.q);
	fake_release(&k.pa, b, 1);
	QUIET(k.s);
	cr_assert(eq(u32, fake_count(k.s, b), 1)); /* pinned */
	post_name(&k.pa, 0, TARN__NAME_UNPUBLISH, "it");
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, b)));
	scene_close(&k);
}

/* Blocks of @bytes that only @id holds, their ids in many[]: those in between come second, so that
 * each of them is freed between two that are free. */
static void give_many(struct scene *k, uint64_t id, unsigned n, uint64_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t block = fake_alloc(k->s, &k->pa, bytes);

		cr_assert(zero(int, call_keep(k, &k->pa, id, block, TARN_KIND_BLOCK, bytes).error));
		fake_release(&k->pa, block, 1);
		counter_many[i % 2 * (n / 2) + i / 2] = block;
	}
	counter_n_many = n;
	QUIET(k->s);
}

static struct fake_answer call_empty(struct scene *k, uint64_t id, unsigned method)
{
	const struct fake_values none = { 0 };

	return fake_call(k->s, &k->pa, id, method, &none);
}

/* What was thrown says so. */
static bool too_much(const struct fake_answer *a)
{
	return memmem(a->words, 8ull * a->n_words, "too much", 8) != NULL;
}

/* The log of a transaction has an end: what a method asks for is done, or refused before. */
Test(objects, a6_a_method_that_drops_many_large_blocks_does_it_or_hears_that_it_is_too_much)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 0);

	give_many(&k, id, 128, 300000);
	struct fake_answer a = call_empty(&k, id, FORGET_MANY);

	QUIET(k.s);
	for (unsigned i = 0; i < 128; i++)
		cr_assert(eq(int, fake_alive(k.s, counter_many[i]), a.error != 0));
	if (a.error != 0) {
		cr_assert(too_much(&a));
		for (unsigned from = 0; from < 128; from += 32) {
			memmove(counter_many, counter_many + (from != 0 ? 32 : 0), sizeof counter_many - 32 * sizeof *counter_many);
			counter_n_many = 32;
			cr_assert(zero(int, call_empty(&k, id, FORGET_MANY).error));
		}
		QUIET(k.s);
	}
	cr_assert(eq(u64, k.s->st.head->n_edges, 0));
	give_many(&k, id, 128, 64); /* small ones fit */
	cr_assert(zero(int, call_empty(&k, id, FORGET_MANY).error));
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.head->n_edges, 0));
	fake_release(&k.pa, id, 1);
	scene_close(&k);
}

/* The same with much else in its transaction. */
Test(objects, a6_a_method_that_holds_and_drops_much_does_all_of_it_or_nothing)
{
	struct scene k = scene_open();

	for (unsigned n = 20; n <= 116; n += 24) {
		uint64_t id = make(&k, &k.pa, n == 116 ? 0 : n);

		give_many(&k, id, n == 116 ? 128 : 128 - n, 300000);
		/* What is in the log before the method begins: 16 blocks nobody was told of. */
		uint64_t words[32], ref[32];
		struct fake_values v = { .words = words, .n_words = 32, .n_values = 16, .refs = ref,
					 .n_refs = 16 };
		for (unsigned i = 0; i < 16; i++) {
			words[2 * i] = tarn__slot_head(TARN_KIND_BLOCK, 0, i);
			words[2 * i + 1] = 0;
			ref[2 * i] = fake_alloc(k.s, &k.pa, 64);
			ref[2 * i + 1] = tarn__ref_word(64, true);
		}
		k.s->undo_high = 0;
		struct fake_answer a = fake_call(k.s, &k.pa, id, FORGET_MANY, &v);

		QUIET(k.s);
		bool well = a.error == 0 || too_much(&a);
		cr_assert(well, "%d", a.error);
		cr_assert(le(u64, k.s->undo_high, TARN__UNDO_CAPACITY - 2048));
		for (unsigned i = 0; i < counter_n_many; i++)
			cr_assert(eq(int, fake_alive(k.s, counter_many[i]), a.error != 0));
		for (unsigned i = 0; i < 16; i++)
			fake_release(&k.pa, ref[2 * i], 1);
		fake_release(&k.pa, id, 1);
		QUIET(k.s);
	}
	scene_close(&k);
}

Test(objects, a6_a_method_that_holds_without_end_hears_that_it_is_too_much)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1), block = fake_alloc(k.s, &k.pa, 64);
	uint64_t words[2], ref[2] = { block, tarn__ref_word(64, false) };
	struct fake_values v = refer(words, TARN_KIND_BLOCK, ref);

	counter_n_many = 100000;
	struct fake_answer a = fake_call(k.s, &k.pa, id, KEEP_OFTEN, &v);

	QUIET(k.s);
	cr_assert(ne(int, a.error, 0));
	cr_assert(too_much(&a));
	cr_assert(eq(u64, k.s->st.head->n_edges, 0));
	counter_n_many = 100;
	cr_assert(zero(int, fake_call(k.s, &k.pa, id, KEEP_OFTEN, &v).error));
	QUIET(k.s);
	cr_assert(eq(u64, k.s->st.head->n_edges, 1));
	fake_release(&k.pa, block, 1);
	fake_release(&k.pa, id, 1);
	scene_close(&k);
}

static unsigned n_lines;

static void count_line(void *arg, int level, const char *line)
{
	(void)arg;
	(void)line;
	n_lines += level <= 4;
}

/* It was a line in the log of a server each time, as many as messages fit through a lane. */
Test(objects, p6_who_says_that_an_object_drops_what_it_does_not_hold_fills_no_log)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1), block = fake_alloc(k.s, &k.pa, 64);
	uint64_t words[2] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), block };
	const struct fake_values v = { .words = words, .n_words = 2, .n_values = 1 };

	fake_post(&k.pa, TARN__MSG_PUBLISH, 0, block, 64, 0, 0, 0, 0);
	k.s->log = count_line;
	k.s->log_level = 4;
	n_lines = 0;
	for (unsigned i = 0; i < 100; i++) {
		cr_assert(zero(int, fake_call(k.s, &k.qa, id, DROP_LATE, &v).error));
		QUIET(k.s);
	}
	cr_assert(eq(u32, n_lines, 0));
	cr_assert(eq(u32, fake_count(k.s, block), 1));
	fake_release(&k.pa, block, 1);
	fake_release(&k.pa, id, 1);
	scene_close(&k);
}

/* Names that outlive their client are nobody's: others need room, too. */
Test(objects, p9_names_that_stay_leave_room_for_those_of_others, .timeout = 120)
{
	struct scene k = scene_open();
	uint64_t b = fake_alloc(k.s, &k.pa, 64);
	char text[32];
	unsigned n = 0, error = 0;

	fake_post(&k.pa, TARN__MSG_PUBLISH, 0, b, 64, 0, 0, 0, 0);
	while (error == 0 && n <= MAX_NAMES / 4) {
		snprintf(text, sizeof text, "n%u", n);
		post_name(&k.pa, b, TARN__NAME_PINNED, text);
		tarn__epoch(k.s);
		error = tarn__header_count(fake_reply(&k.pa).word[0]);
		n += error == 0;
	}
	cr_assert(eq(u32, error, ENOSPC));
	cr_assert(eq(u32, n, MAX_NAMES / 4));
	/* In place of one that is there, and for a while, others go on. */
	post_name(&k.pa, b, TARN__NAME_PINNED | TARN__NAME_REPLACE, "n0");
	post_name(&k.pa, b, 0, "mine");
	tarn__epoch(k.s);
	cr_assert(zero(u32, tarn__header_count(fake_reply(&k.pa).word[0])));
	cr_assert(zero(u32, tarn__header_count(fake_reply(&k.pa).word[0])));
	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof text, "n%u", i);
		post_name(&k.pa, 0, TARN__NAME_UNPUBLISH, text);
		tarn__epoch(k.s);
		cr_assert(zero(u32, tarn__header_count(fake_reply(&k.pa).word[0])));
	}
	fake_release(&k.pa, b, 1);
	scene_close(&k);
}

/* Given back before anybody else was told of it: it ends all the same. */
Test(objects, p8_who_watches_a_block_that_its_owner_gives_back_hears_of_it)
{
	struct scene k = scene_open();
	uint64_t block = fake_alloc(k.s, &k.pa, 64), other = fake_alloc(k.s, &k.pa, 64);

	fake_post(&k.qa, TARN__MSG_WATCH, 0, block, TARN__WATCH_ID, 0, 0, 0, 0);
	fake_post(&k.qa, TARN__MSG_WATCH, 0, other, TARN__WATCH_ID, 0, 0, 0, 0);
	QUIET(k.s);
	cr_assert(fake_no_reply(&k.qa));
	fake_post(&k.pa, TARN__MSG_GIVEBACK, 1, block, 0, 0, 0, 0, 0);
	QUIET(k.s);
	cr_assert(not(fake_alive(k.s, block)));
	cr_assert(zero(int, fake_answer(&k.qa).error));
	cr_assert(fake_no_reply(&k.qa));
	fake_kill(k.s, k.p);
	QUIET(k.s);
	cr_assert(zero(int, fake_answer(&k.qa).error));
	scene_close(&k);
}

Test(objects, p8_who_watches_hears_of_the_end_of_objects_and_clients)
{
	struct scene k = scene_open();
	uint64_t a = make(&k, &k.pa, 1), block = fake_alloc(k.s, &k.pa, 64);

	fake_post(&k.pa, TARN__MSG_PUBLISH, 0, block, 64, 0, 0, 0, 0);
	fake_post(&k.qa, TARN__MSG_WATCH, 0, a, TARN__WATCH_ID, 0, 0, 0, 0);
	QUIET(k.s);
	fake_post(&k.qa, TARN__MSG_WATCH, 0, block, TARN__WATCH_ID, 0, 0, 0, 0);
	fake_post(&k.qa, TARN__MSG_WATCH, 0, k.p, TARN__WATCH_CLIENT, 0, 0, 0, 0);
	QUIET(k.s);
	cr_assert(fake_no_reply(&k.qa));
	fake_release(&k.pa, a, 1);
	QUIET(k.s);
	cr_assert(zero(int, fake_answer(&k.qa).error));
	cr_assert(fake_no_reply(&k.qa));
	fake_release(&k.pa, block, 1);
	QUIET(k.s);
	cr_assert(zero(int, fake_answer(&k.qa).error));
	fake_post(&k.qa, TARN__MSG_WATCH, 0, a, TARN__WATCH_ID, 0, 0, 0, 0); /* gone already */
	QUIET(k.s);
	cr_assert(zero(int, fake_answer(&k.qa).error));
	cr_assert(fake_no_reply(&k.qa));
	fake_kill(k.s, k.p);
	QUIET(k.s);
	cr_assert(zero(int, fake_answer(&k.qa).error));
	fake_post(&k.qa, TARN__MSG_GRAB, 0, a, 0, 0, 0, 0, 0); /* p7 */
	QUIET(k.s);
	cr_assert(eq(u64, tarn__header_count(fake_reply(&k.qa).word[0]), TARN_ESTALE));
	scene_close(&k);
}

Test(objects, d9_references_beyond_the_reserved_slots_are_fetched)
{
	struct scene k = scene_open();
	uint64_t id[20], words[40], ref[40];
	uint32_t host = fake_host(k.s);
	struct fake_lane ha = fake_lane(k.s, host);

	for (unsigned i = 0; i < 20; i++) {
		id[i] = make(&k, &k.pa, 1);
		words[2 * i] = tarn__slot_head(TARN_KIND_OBJECT, i, 0);
		words[2 * i + 1] = 0;
		ref[2 * i] = id[i];
		ref[2 * i + 1] = 0;
	}
	fake_post_values(&k.qa, TARN__MSG_CALL, 0, id[0], SLOW, 0, 1, NULL);
	tarn__epoch(k.s);
	const struct fake_values v = { words, 40, 20, ref, 20 };
	fake_post_values(&ha, TARN__MSG_RESULT, 0, fake_job(k.s)->number, 0, 0, 0, &v);
	QUIET(k.s);
	struct fake_answer a = fake_answer(&k.qa);
	cr_assert(zero(int, a.error));
	cr_assert(eq(u32, a.flags, TARN__CALL_MORE));
	cr_assert(eq(u32, a.n_values, 20));
	cr_assert(eq(u64, a.words[1], 320));
	unsigned got = 0;
	while (got < 21) {
		fake_post(&k.qa, TARN__MSG_FETCH, 0, a.words[0], tarn__pack(got, 0, 0, 0, 2, 0), 0, 0, 0, 0);
		QUIET(k.s);
		struct fake_answer more = fake_answer(&k.qa);
		cr_assert(zero(int, more.error));
		for (unsigned i = 0; i < more.n_refs; i++, got++) {
			cr_assert(got == 0 || more.refs[2 * i] == id[got - 1]);
			cr_assert(ge(u32, fake_count(k.s, more.refs[2 * i]), 1));
			fake_release(&k.qa, more.refs[2 * i], 1);
		}
	}
	fake_post(&k.qa, TARN__MSG_FETCH, 0, a.words[0], tarn__pack(0, 0, 0, 0, 2, 0), 0, 0, 0, 0);
	QUIET(k.s);
	cr_assert(eq(int, fake_answer(&k.qa).error, TARN_ESTALE)); /* over */
	cr_assert(eq(u64, k.s->st.head->n_calls, 0));
	scene_close(&k);
}

/* What cannot be put by until it is fetched, because of all that its caller waits for already, is not sent. */
Test(objects, d9_references_that_would_wait_behind_too_many_calls_are_an_error)
{
	struct scene k = scene_open();
	uint64_t words[40], ref[40], number[600];
	unsigned n = 0;
	uint32_t host = fake_host(k.s);
	struct fake_lane ha = fake_lane(k.s, host);
	uint64_t id = make(&k, &k.pa, 1);

	for (unsigned i = 0; i < 20; i++) {
		words[2 * i] = tarn__slot_head(TARN_KIND_OBJECT, i, 0);
		words[2 * i + 1] = 0;
		ref[2 * i] = i == 0 ? id : make(&k, &k.pa, 1);
		ref[2 * i + 1] = 0;
	}
	for (unsigned i = 0; i < 600; i++) {
		struct tarn__job *job;

		fake_post_values(&k.qa, TARN__MSG_CALL, 0, id, SLOW, 0, 4, NULL);
		tarn__epoch(k.s);
		job = fake_job(k.s);
		if (job != NULL)
			number[n++] = job->number;
		while (!fake_no_reply(&k.qa))
			fake_reply(&k.qa);
	}
	const struct fake_values v = { words, 40, 20, ref, 20 };
	fake_post_values(&ha, TARN__MSG_RESULT, 0, number[0], 0, 0, 0, &v);
	tarn__epoch(k.s);
	struct fake_answer a = fake_answer(&k.qa);
	cr_assert(eq(int, a.error, TARN_ERESULT));
	cr_assert(strstr(fake_sentence(&a), "too many calls are under way") != NULL, "%s", fake_sentence(&a));
	for (unsigned i = 1; i < n; i++) {
		fake_post_values(&ha, TARN__MSG_RESULT, 0, number[i], 0, 0, 0, NULL);
		tarn__epoch(k.s);
		cr_assert(zero(int, fake_answer(&k.qa).error));
	}
	scene_close(&k);
}

/* Posts calls of a method that nobody runs until no more of them are taken; how many were. */
static uint64_t take_records(struct scene *k, struct fake_lane *l, uint64_t id, bool waits)
{
	uint64_t before = k->s->st.head->n_calls, last;

	do {
		last = k->s->st.head->n_calls;
		for (unsigned i = 0; i < 200; i++)
			if (waits) {
				fake_post_values(l, TARN__MSG_CALL, 0, id, SLOW, 0, 1, NULL);
				fake_post(l, TARN__MSG_CANCEL, 0, 7, 0, 0, 0, 0, 0); /* as fake_post_values() */
			} else {
				fake_post_values(l, TARN__MSG_CALL, 0, id, SLOW, TARN__CALL_ONEWAY, 0, NULL);
			}
		tarn__epoch(k->s);
		while (fake_job(k->s) != NULL)
			;
		while (!fake_no_reply(l))
			fake_reply(l);
	} while (k->s->st.head->n_calls != last);
	return last - before;
}

Test(objects, d21_a_client_that_takes_all_call_records_it_can_leaves_some_to_others, .timeout = 300)
{
	struct scene k = scene_open();
	uint64_t id = make(&k, &k.pa, 1);

	fake_host(k.s);
	/* One way, of which none has a reply; given up, of which each has one. */
	cr_assert(ge(u64, take_records(&k, &k.pa, id, false), MAX_CALLS / 3));
	cr_assert(lt(u64, k.s->st.head->n_calls, MAX_CALLS - MAX_CALLS / 3));
	cr_assert(ge(u64, take_records(&k, &k.qa, id, true), MAX_CALLS / 8));
	cr_assert(lt(u64, k.s->st.head->n_calls, MAX_CALLS - MAX_CALLS / 8));

	struct fake_lane ra = fake_lane(k.s, fake_client(k.s));
	fake_post_values(&ra, TARN__MSG_CALL, 0, id, SLOW, 0, 1, NULL);
	tarn__epoch(k.s);
	cr_assert(fake_no_reply(&ra)); /* it is under way */
	cr_assert(fake_job(k.s) != NULL);
	/* And the greedy one hears why not. */
	fake_post_values(&k.qa, TARN__MSG_CALL, 0, id, SLOW, 0, 16, NULL);
	tarn__epoch(k.s);
	struct fake_answer a = fake_answer(&k.qa);
	cr_assert(eq(int, a.error, EAGAIN));
	cr_assert(eq(int, fake_verify(k.s), 0));

	/* With the client go its records' claims on it; its number begins anew. */
	fake_kill(k.s, k.p);
	for (unsigned i = 0; i < 40; i++)
		tarn__epoch(k.s);
	cr_assert(eq(int, fake_verify(k.s), 0));
	fake_server_free(k.s);
}
