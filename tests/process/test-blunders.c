/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What methods do wrong: with ids that are something else, with more than fits, with objects that never were.
 * Each is told, on the server's thread and on executors, and the server goes on. (More in test-mistakes.c and
 * test-misuse.c.)
 */
#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/client/client.h"
#include "lib/types/memory.h"
#include "tests/common/arena.h"
#include "tests/common/types.h"

#define HELD 150u

struct blunderer {
	uint64_t id[HELD];
	uint32_t n, spare[3];
	uint64_t copy[4]; /* what looks like an instance's head, and what would be the instance */
};
static_assert(offsetof(struct blunderer, copy) % 16 == 0, "as instances lie");

enum blunder {
	BLOCK_OF_AN_OBJECT,
	OBJECT_OF_A_BLOCK,
	MEMORY_OF_AN_OBJECT,
	MEMORY_ON_AN_EXECUTOR,
	INSTANCE_BY_A_COPIED_HEAD,
	CALL_OF_A_BLOCK,
	CALLS_WITHOUT_END,
	MORE_REFERENCES_THAN_ARE_LENT,
	MORE_DROPS_THAN_FIT,
};

static int hold(tarn_context *ctx, void *self)
{
	struct blunderer *b = self;
	tarn_block *block;
	int r = tarn_context_get(ctx, "B", &block);

	if (r < 0 || (r = tarn_self_hold_block(ctx, block)) < 0)
		return r;
	b->id[b->n++] = tarn_block_id(block);
	return 0;
}

static int do_wrong(tarn_context *ctx, struct blunderer *self, enum blunder what, tarn_object *object)
{
	struct tarn__memory memory;
	tarn_object *o = NULL;
	tarn_block *block;
	int r = 0;

	switch (what) {
	case BLOCK_OF_AN_OBJECT:
		return tarn_self_block(ctx, tarn_object_id(object), &block);
	case OBJECT_OF_A_BLOCK:
		return tarn_self_object(ctx, self->id[0], &o);
	case MEMORY_OF_AN_OBJECT:
		return tarn__self_memory(ctx, tarn_object_id(object), &memory);
	case MEMORY_ON_AN_EXECUTOR:
		return tarn__self_memory(ctx, self->id[0], &memory);
	case INSTANCE_BY_A_COPIED_HEAD:
		memcpy(&self->copy[0], (unsigned char *)self - 16, 16);
		return tarn_managed_of(ctx, &self->copy[2], &o);
	case CALL_OF_A_BLOCK:
		r = tarn_self_block(ctx, self->id[0], &block);
		return r < 0 ? r : tarn_call_n((tarn_object *)(void *)block, 0, NULL, NULL, TARN_FOREVER);
	case CALLS_WITHOUT_END: {
		tarn_builder b;

		tarn_builder_init(&b);
		OK(tarn_put(&b, "IO", (unsigned)what, tarn_context_self(ctx)));
		r = tarn_call(tarn_context_self(ctx), "dive", &b, NULL, TARN_FOREVER);
		tarn_builder_fini(&b);
		return r;
	}
	case MORE_REFERENCES_THAN_ARE_LENT:
		for (uint32_t i = 0; r == 0 && i < self->n; i++)
			r = tarn_self_block(ctx, self->id[i], &block);
		return r;
	case MORE_DROPS_THAN_FIT:
		for (uint32_t i = 0; r == 0 && i < self->n; i++)
			r = tarn_self_drop(ctx, self->id[i]);
		return r;
	}
	return 0;
}

static int blunder(tarn_context *ctx, void *self)
{
	tarn_object *o;
	unsigned what;
	int r = tarn_context_get(ctx, "IO", &what, &o);

	if (r < 0)
		return r;
	r = do_wrong(ctx, self, (enum blunder)what, o);
	return tarn_put(tarn_context_result(ctx), "is", r, r < 0 ? tarn_error_last()->message : "");
}

static int dive(tarn_context *ctx, void *self)
{
	tarn_object *o;
	unsigned what;
	int r = tarn_context_get(ctx, "IO", &what, &o);

	return r < 0 ? r : do_wrong(ctx, self, (enum blunder)what, o);
}

/* Gives itself away, and fails when somebody has called what there will not be. */
static int create_half(tarn_context *ctx, void *self)
{
	tarn_object *me = tarn_context_self(ctx), *go;
	int r = tarn_object_publish(me, "half", 0);

	(void)self;
	if (r == 0 && (r = tarn_object_lookup(tarn_object_client(me), "go", TARN_FOREVER, &go)) == 0)
		tarn_object_unref(go);
	return r < 0 ? r : tarn_throw(ctx, "ValueError", "this one is not to be made");
}

static int nothing(tarn_context *ctx, void *self)
{
	(void)ctx, (void)self;
	return 0;
}

static const tarn_method methods[] = {
	{ "hold", hold, TARN_METHOD_INLINE, "B", "" },
	{ "blunder", blunder, TARN_METHOD_INLINE, "IO", "is" },
	{ "blunder_slowly", blunder, 0, "IO", "is" },
	{ "dive", dive, 0, "IO", "" },
	{ 0 },
};
static const tarn_type blunderer_type = { .name = "Blunderer", .size = sizeof(struct blunderer),
					  .flags = TARN_TYPE_INLINE, .concurrency = TARN_PARALLEL,
					  .methods = methods };
TARN_TYPE_REGISTER(blunderer_type)
static const tarn_method half_methods[] = { { "nothing", nothing, 0, "", "" }, { 0 } };
/* ---- results that cannot be sent ---- */

static struct tarn_block stale; /* as by a method that keeps the pointer to what it was lent */

static int give_bytes(tarn_context *ctx, void *self)
{
	uint64_t n;
	int r = tarn_context_get(ctx, "Q", &n);

	(void)self;
	if (r < 0)
		return r;
	void *data = calloc(1, n);
	r = tarn_put_bytes(tarn_context_result(ctx), data, n);
	free(data);
	return r;
}
static int keep(tarn_context *ctx, void *self)
{
	tarn_block *b;
	int r = tarn_context_get(ctx, "B", &b);

	(void)self;
	if (r == 0)
		memcpy(&stale, b, sizeof stale);
	return r;
}
static int kept(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_block(tarn_context_result(ctx), &stale);
}
/* What the last destructor of a clinger was told. */
static int last_code;
static char last_text[300];

static void clinger_destroy(tarn_context *ctx, void *self)
{
	(void)self;
	last_code = tarn_self_hold_block(ctx, &stale);
	snprintf(last_text, sizeof last_text, "%.299s", tarn_error_last()->message);
}
static const tarn_type clinger_type = { .name = "Clinger", .size = 8, .flags = TARN_TYPE_INLINE,
					.destroy = clinger_destroy };
TARN_TYPE_REGISTER(clinger_type)
static int told(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put(tarn_context_result(ctx), "is", last_code, last_text);
}
static const tarn_method giver_methods[] = {
	{ "told", told, TARN_METHOD_INLINE, "", "is" },
	{ "give_bytes", give_bytes, TARN_METHOD_INLINE, "Q", "y" },
	{ "keep", keep, TARN_METHOD_INLINE, "B", "" },
	{ "kept", kept, TARN_METHOD_INLINE, "", "B" },
	{ 0 },
};
static const tarn_type giver_type = { .name = "Giver", .flags = TARN_TYPE_INLINE, .concurrency = TARN_PARALLEL,
				      .methods = giver_methods };
TARN_TYPE_REGISTER(giver_type)
static const tarn_type half_type = { .name = "Half", .create = create_half, .methods = half_methods };
TARN_TYPE_REGISTER(half_type)

static void check(tarn_object *o, tarn_object *other, bool slowly, enum blunder what, int code, const char *text)
{
	const char *words;
	tarn_builder b;
	tarn_parcel p;
	int got;

	tarn_builder_init(&b);
	OK(tarn_put(&b, "IO", (unsigned)what, other));
	OK(tarn_call(o, slowly ? "blunder_slowly" : "blunder", &b, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "is", &got, &words));
	PLAIN_CHECKF(got == -code && strstr(words, text) != NULL, "%u, %s: %s (%s), not %s with \"%s\"", what,
		     slowly ? "slowly" : "here", tarn_error_name(got), words, tarn_error_name(code), text);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

static void hold_blocks(tarn_client *c, tarn_object *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		tarn_block *block = arena_block(c, 64);
		tarn_builder b;

		tarn_builder_init(&b);
		OK(tarn_put_block(&b, block));
		OK(tarn_call(o, "hold", &b, NULL, TARN_FOREVER));
		tarn_builder_fini(&b);
		tarn_block_unref(block);
	}
}

PLAIN_TEST(methods_that_take_one_thing_for_another_are_told)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *o = NEW(c, "Blunderer", ""), *other = NEW(c, "Blunderer", "");

	hold_blocks(c, o, 1);
	for (int slowly = 0; slowly < 2; slowly++) {
		check(o, other, slowly, BLOCK_OF_AN_OBJECT, TARN_EKIND, "is no block");
		check(o, other, slowly, OBJECT_OF_A_BLOCK, TARN_EKIND, "is no object");
		check(o, other, slowly, INSTANCE_BY_A_COPIED_HEAD, ENOENT, "is not the instance of an object that lives");
	}
	check(o, other, false, MEMORY_OF_AN_OBJECT, TARN_EKIND, "is no block");
	check(o, other, true, MEMORY_ON_AN_EXECUTOR, ENOTSUP, "Only on the server's thread");
	check(o, other, true, CALL_OF_A_BLOCK, TARN_EKIND, "on something that is not an object");
	tarn_object_unref(other);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(methods_that_want_more_than_fits_are_told_how_much_does)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *o = NEW(c, "Blunderer", "");

	hold_blocks(c, o, 25);
	check(o, o, false, MORE_REFERENCES_THAN_ARE_LENT, E2BIG, "can have 24 references");
	check(o, o, true, MORE_REFERENCES_THAN_ARE_LENT, 0, "");
	hold_blocks(c, o, HELD - 25);
	check(o, o, false, MORE_DROPS_THAN_FIT, E2BIG, "Blunderer.blunder drops too much in one call");
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(calls_in_each_other_without_end_are_told_so)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *o = NEW(c, "Blunderer", "");

	check(o, o, true, CALLS_WITHOUT_END, TARN_EREMOTE, "Blunderer.dive: calls are nested 256 deep");
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

static void *make_half(void *arg)
{
	tarn_client *c = scene_client(arg);
	tarn_object *o = NULL;

	ARENA_FAILS(tarn_object_new(c, "Half", NULL, &o), -TARN_EREMOTE, "this one is not to be made");
	PLAIN_CHECK(o == NULL);
	tarn_client_close(c);
	return NULL;
}

PLAIN_TEST_TIMEOUT(calls_of_an_object_whose_creator_failed_are_told, 120)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *half, *go = NEW(c, "Blunderer", "");
	tarn_pending *p;
	pthread_t maker;

	PLAIN_EQ(pthread_create(&maker, NULL, make_half, &s), 0);
	OK(tarn_object_lookup(c, "half", TARN_FOREVER, &half));
	OK(tarn_call_start(half, "nothing", NULL, &p));
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	OK(tarn_object_publish(go, "go", 0));
	ARENA_FAILS(tarn_call_wait(p, NULL, TARN_FOREVER), -TARN_ESTALE, "the object was never made: its creator failed");
	tarn_call_free(p);
	pthread_join(maker, NULL);
	OK(tarn_object_unpublish(c, "go"));
	OK(tarn_object_unpublish(c, "half")); /* of the server itself, which lives on */
	tarn_object_unref(half);
	tarn_object_unref(go);
	tarn_client_close(c);
	scene_close(&s);
}

/* The method has run: what it did is done, and its caller has to know. */
PLAIN_TEST(results_that_cannot_be_sent_say_why_and_destructors_hold_nothing)
{
	struct scene s = scene_open(&(tarn_server_options){ .arena_bytes = 8u << 20 });
	tarn_client *c = scene_client(&s), *poor;
	tarn_object *o = NEW(c, "Giver", ""), *theirs;
	tarn_builder b;
	tarn_parcel p;

	OK(tarn_client_open(s.name, &(tarn_client_options){ .quota_bytes = 64 << 10 }, &poor));
	OK(tarn_object_publish(o, "giver", 0));
	OK(tarn_object_lookup(poor, "giver", 0, &theirs));
	tarn_builder_init(&b);
	OK(tarn_put_uint(&b, 100000));
	ARENA_FAILS(tarn_call(theirs, "give_bytes", &b, &p, TARN_FOREVER), -TARN_ERESULT, "The method ran, but",
		    "0 references", "of at most 65536 bytes");
	OK(tarn_call(o, "give_bytes", &b, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
	tarn_builder_reset(&b);
	OK(tarn_put_uint(&b, 16u << 20));
	ARENA_FAILS(tarn_call(o, "give_bytes", &b, &p, TARN_FOREVER), -TARN_ERESULT, "The method ran, but",
		    "no memory for it in the arena");
	tarn_builder_reset(&b);
	tarn_block *block = arena_block(c, 64);
	OK(tarn_put_block(&b, block));
	OK(tarn_call(o, "keep", &b, NULL, TARN_FOREVER));
	tarn_builder_fini(&b);
	tarn_block_unref(block);
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	arena_settle(c);
	ARENA_FAILS(tarn_call(o, "kept", NULL, &p, TARN_FOREVER), -TARN_ERESULT, "The method ran, but",
		    "it names something that is no more");
	tarn_object *clinger = NEW(c, "Clinger", "");
	const char *text;
	int code;
	tarn_object_unref(clinger);
	scene_settle(&s);
	OK(tarn_call(o, "told", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "is", &code, &text));
	PLAIN_EQ(code, -TARN_ESTATE);
	PLAIN_CHECKF(strstr(text, "an object that ends can hold and drop nothing") != NULL, "%s", text);
	tarn_parcel_fini(&p);
	OK(tarn_object_unpublish(c, "giver"));
	tarn_object_unref(theirs);
	tarn_object_unref(o);
	tarn_client_close(poor);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
