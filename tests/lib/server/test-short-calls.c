/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short calls, several in one batch: each finds its context as new, whatever the one before it did, and
 * is answered as if it were alone.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "fake.h"
#include "lib/host/context.h"
#include "lib/server/hints.h"

TestSuite(short_calls, .timeout = 60);

static unsigned endings; /* that were told of success */

/* ---- methods ---- */

/* Puts whether the context is what tarn__context_init() makes of it: true, or false. */
static int is_new(tarn_context *ctx, void *self)
{
	static tarn_context want;
	tarn_builder *b = &want.result;

	/* All bytes that it does not set are the same already; so are those that it should have. */
	memcpy(&want, ctx, sizeof want);
	tarn__context_init(&want, ctx->host, ctx->served, ctx->offer, TARN__DEED_METHOD, ctx->id, self);
	want.run = ctx->run;
	b->next = ctx->result.room + (b->next - b->room);
	b->limit = ctx->result.room + (b->limit - b->room);
	b->words = ctx->result.room;
	b->refs = ctx->result.refs_room;
	tarn__parcel_lend_plain(&want.args, ctx->run->words, ctx->run->n_words, ctx->run->n_values);
	want.args.refs = ctx->args.refs_room;
	bool same = memcmp(&want, ctx, sizeof want) == 0;

	return tarn_put_bool(tarn_context_result(ctx), same);
}

static int plain(tarn_context *ctx, void *self)
{
	int64_t n, *sum = self;
	int r = tarn_value_int(tarn_parcel_at(tarn_context_args(ctx), 0), &n);

	*sum += r == 0 ? n : 0;
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), *sum);
}

static int lends(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_context_self(ctx) != NULL ? 0 : -ENOMEM;
}

static int throws_and_forgives(tarn_context *ctx, void *self)
{
	(void)self;
	(void)tarn_throw(ctx, "ValueError", "never mind");
	return 0;
}

static void on_end(struct tarn__ending *e, bool succeeded)
{
	(void)e;
	endings += succeeded;
}

static const struct tarn__view_root *no_root(struct tarn__ending *e)
{
	(void)e;
	return NULL;
}

static int has_an_ending(tarn_context *ctx, void *self)
{
	static struct tarn__ending e = { .seal = no_root, .fn = on_end };

	(void)self;
	tarn__context_at_end(ctx, &e);
	return tarn_put_int(tarn_context_result(ctx), 7);
}

static int puts_a_list(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put(tarn_context_result(ctx), "[qq]", (int64_t)1, (int64_t)2);
}

/* So much that the builder leaves its own room, and then little. */
static int grows_and_shrinks(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);
	int r = 0;

	(void)self;
	for (int64_t k = 0; k < 100 && r == 0; k++)
		r = tarn_put_int(b, k);
	tarn_builder_reset(b);
	return r < 0 ? r : tarn_put_int(b, 8);
}

static int puts_three(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put(tarn_context_result(ctx), "qqq", (int64_t)1, (int64_t)2, (int64_t)3);
}

static int begins_a_list_and_resets(tarn_context *ctx, void *self)
{
	tarn_builder *b = tarn_context_result(ctx);

	(void)self;
	tarn_list_begin(b);
	tarn_put_int(b, 1);
	tarn_builder_reset(b);
	return 0;
}

static int fails(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_throw(ctx, "ValueError", "no");
}

enum { IS_NEW, PLAIN, OTHERS };
static const tarn_method methods[] = {
	{ "is_new", is_new, TARN_METHOD_INLINE, NULL, "b", NULL },
	{ "plain", plain, TARN_METHOD_INLINE, "q", "q", NULL },
	{ "lends", lends, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "throws_and_forgives", throws_and_forgives, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "has_an_ending", has_an_ending, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "puts_a_list", puts_a_list, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "grows_and_shrinks", grows_and_shrinks, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "puts_three", puts_three, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "begins_a_list_and_resets", begins_a_list_and_resets, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "fails", fails, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ 0 },
};
#define N_METHODS (sizeof methods / sizeof *methods - 1)
static const tarn_type type = {
	.name = "Short", .size = sizeof(int64_t), .flags = TARN_TYPE_INLINE, .methods = methods,
};
/* The same methods at other numbers would do as well: what matters is that it is another type. */
static const tarn_type other = {
	.name = "Other", .size = sizeof(int64_t), .flags = TARN_TYPE_INLINE, .methods = methods + PLAIN,
};

/* ---- scenes ---- */

struct scene {
	struct server *s;
	uint32_t client;
	struct fake_lane a;
	uint64_t id, second, third; /* two of Short, one of Other */
};

static struct scene scene_open(void)
{
	static const tarn_type *const types[] = { &type, &other, NULL };
	struct scene k = { .s = fake_server(64) };

	endings = 0;
	fake_types(k.s, types);
	k.client = fake_client(k.s);
	k.a = fake_lane(k.s, k.client);
	k.id = fake_create(k.s, &k.a, "Short", NULL, NULL);
	k.second = fake_create(k.s, &k.a, "Short", NULL, NULL);
	k.third = fake_create(k.s, &k.a, "Other", NULL, NULL);
	cr_assert(ne(u64, k.id, 0));
	cr_assert(ne(u64, k.second, 0));
	cr_assert(ne(u64, k.third, 0));
	return k;
}

static void scene_close(struct scene *k)
{
	fake_settle(k->s);
	cr_assert(eq(int, fake_verify(k->s), 0));
	cr_assert(eq(u64, k->s->evictions, 0));
	fake_server_free(k->s);
}

static void say(struct scene *k, uint64_t id, unsigned method, int64_t n)
{
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_INT, 0, 0), (uint64_t)n };
	const struct fake_values v = { .words = words, .n_words = 2, .n_values = 1 };

	fake_post_values(&k->a, TARN__MSG_CALL, 0, id, method, 0, 16, &v);
}

/* The answer's only number, or bool. */
static uint64_t number(struct scene *k)
{
	struct fake_answer a = fake_answer(&k->a);

	cr_assert(zero(int, a.error), "%s", fake_sentence(&a));
	cr_assert(eq(u32, a.n_values, 1));
	return a.words[1];
}

/* ---- tests ---- */

Test(short_calls, d1_a_method_finds_its_context_as_new_whatever_the_one_before_it_did)
{
	for (unsigned before = 0; before < N_METHODS; before++) {
		struct scene k = scene_open();

		say(&k, k.id, PLAIN, 5);
		say(&k, k.id, IS_NEW, 0);
		say(&k, k.id, before, 1);
		say(&k, k.id, IS_NEW, 0);
		say(&k, k.second, before, 1);
		say(&k, k.second, before, 1);
		say(&k, k.second, IS_NEW, 0);
		tarn__epoch(k.s);
		cr_assert(eq(u64, number(&k), 5));
		cr_assert(eq(u64, number(&k), 1));
		fake_answer(&k.a);
		cr_assert(eq(u64, number(&k), 1), "after %s", methods[before].name);
		fake_answer(&k.a);
		fake_answer(&k.a);
		cr_assert(eq(u64, number(&k), 1), "after %s twice", methods[before].name);
		cr_assert(fake_no_reply(&k.a));
		cr_assert(eq(u32, endings, methods[before].fn == has_an_ending ? 3 : 0));
		scene_close(&k);
	}
}

Test(short_calls, d1_each_call_of_a_batch_goes_to_its_own_object_and_method)
{
	struct scene k = scene_open();

	/* Number 0 of Other is number 1 of Short; the packed words of these two differ in nothing else. */
	say(&k, k.id, PLAIN, 1);
	say(&k, k.second, PLAIN, 10);
	say(&k, k.third, PLAIN - 1, 100);
	say(&k, k.id, PLAIN, 2);
	say(&k, k.third, PLAIN - 1, 200);
	say(&k, k.third, PLAIN, 0); /* lends: no result */
	say(&k, k.id, PLAIN, 3);
	tarn__epoch(k.s);
	cr_assert(eq(u64, number(&k), 1));
	cr_assert(eq(u64, number(&k), 10));
	cr_assert(eq(u64, number(&k), 100));
	cr_assert(eq(u64, number(&k), 3));
	cr_assert(eq(u64, number(&k), 300));
	struct fake_answer a = fake_answer(&k.a);
	cr_assert(zero(int, a.error));
	cr_assert(eq(u32, a.n_values, 0));
	cr_assert(eq(u64, number(&k), 6));
	scene_close(&k);
}

Test(short_calls, a7_what_a_call_says_of_itself_is_checked_in_each_of_a_batch)
{
	static const struct {
		unsigned values, refs, flags, slots, words;
		bool offence;
	} odd[] = {
		{ 2, 0, 0, 1, 2, false },                  /* more values than words */
		{ 0, 0, 0, 0, 0, true },                   /* no slot, and not one way */
		{ 1, 0, TARN__CALL_ONEWAY, 1, 2, true },   /* one way, and a slot */
		{ 1, 0, 0, 1, 200, true },                 /* longer than its message */
		{ 1, 7, 0, 1, 2, true },
		{ 255, 255, 255, 255, 65535, true },
	};

	for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
		struct scene k = scene_open();

		say(&k, k.id, PLAIN, 1);
		fake_post(&k.a, TARN__MSG_CALL, 0, k.id,
			  tarn__pack(PLAIN, odd[i].values, odd[i].refs, odd[i].flags, odd[i].slots,
				     odd[i].words), TARN_KIND_INT, 1, 0, 0);
		tarn__epoch(k.s);
		cr_assert(eq(u64, number(&k), 1));
		cr_assert(eq(u64, k.s->evictions, odd[i].offence), "%u", i);
		if (!odd[i].offence)
			cr_assert(ne(int, fake_answer(&k.a).error, 0));
		k.s->evictions = 0;
		scene_close(&k);
	}
}

/* ---- hints ---- */

static struct hint *hint_of(struct scene *k, uint64_t id)
{
	return &k->s->hint[tarn__id_index(id)];
}

static void call_all_three(struct scene *k, int64_t round)
{
	say(k, k->id, PLAIN, 1);
	say(k, k->second, PLAIN, 10);
	say(k, k->third, PLAIN - 1, 100);
	tarn__epoch(k->s);
	cr_assert(eq(u64, number(k), (uint64_t)round));
	cr_assert(eq(u64, number(k), 10 * (uint64_t)round));
	cr_assert(eq(u64, number(k), 100 * (uint64_t)round));
}

Test(short_calls, d1_a_wrong_hint_leads_to_no_other_object_and_is_mended)
{
	struct scene k = scene_open();
	const struct hint right = *hint_of(&k, k.id), other_one = *hint_of(&k, k.second);
	const struct hint wrong[] = {
		{ NIL, 0 }, other_one, *hint_of(&k, k.third), { right.thing, other_one.line },
		{ k.s->st.head->things, 0 }, { UINT32_MAX, UINT32_MAX },
	};
	int64_t round = 0;

	/* Made with the objects: the first call has it already. */
	cr_assert(eq(u32, right.thing, k.s->st.channel_of[tarn__id_index(k.id)]));
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		*hint_of(&k, k.id) = wrong[i];
		call_all_three(&k, ++round);
		cr_assert(eq(u32, hint_of(&k, k.id)->thing, right.thing), "%u", i);
		cr_assert(eq(u32, hint_of(&k, k.id)->line, right.line), "%u", i);
	}
	tarn__hints_close(k.s);
	call_all_three(&k, ++round); /* also without any */
	scene_close(&k);
}

Test(short_calls, d1_the_hint_of_an_object_that_is_gone_leads_to_none)
{
	struct scene k = scene_open();
	const uint64_t gone = k.second;

	fake_post(&k.a, TARN__MSG_RELEASE, 0, gone, 1, 0, 0, 0, 0);
	fake_settle(k.s);
	cr_assert(ne(u32, hint_of(&k, gone)->thing, NIL)); /* it stays: nobody clears it */
	say(&k, gone, PLAIN, 1);
	tarn__epoch(k.s);
	cr_assert(eq(int, fake_answer(&k.a).error, TARN_ESTALE));
	/* Another one in its place, with another's record. */
	k.second = fake_create(k.s, &k.a, "Short", NULL, NULL);
	cr_assert(ne(u64, k.second, gone));
	call_all_three(&k, 1);
	say(&k, gone, PLAIN, 1);
	tarn__epoch(k.s);
	cr_assert(eq(int, fake_answer(&k.a).error, TARN_ESTALE));
	scene_close(&k);
}
