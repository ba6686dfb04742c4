/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crash prefixes (PROTOCOL T2): every kind of message and every step of a death is run
 * once without harm, while an image of META is taken at each commit. Then again and again
 * from the same start, stopped after its k-th store for all k. Rolled back (itself stopped
 * at every store) META must be byte for byte the image of the last commit before the
 * stop; run on to the end it must hold what the uninterrupted run holds.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "fake.h"
#include "lib/server/collect.h"
#include "lib/server/heap.h"
#include "shm/hash.h"

TestSuite(crash, .timeout = 300);

/* ---- the hook ---- */

static int64_t stores_left = -1; /* -1: count only */
static uint64_t stores;
static struct server *watched;   /* images are taken of this one */
static jmp_buf stop;

static uint64_t image(struct server *s);

#define COMMITS_MOST 4096
static uint64_t commit_image[COMMITS_MOST];
static unsigned commits;
static bool recording;

void tarn__meta_hook(void)
{
	stores++;
	if (stores_left > 0 && --stores_left == 0)
		longjmp(stop, 1);
	/* A store that leaves the log empty is a commit (or the first store of a set, which
	 * changes nothing but the log's first entry). */
	if (recording && watched != NULL && watched->st.head->undo.n == 0) {
		uint64_t now = image(watched);

		if (commits == 0 || commit_image[commits - 1] != now) {
			cr_assert(lt(u32, commits, COMMITS_MOST));
			commit_image[commits++] = now;
		}
	}
}

/* Random numbers would make runs differ: each world draws the same ones. */
static unsigned char next_random;

ssize_t getrandom(void *buffer, size_t bytes, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)buffer)[i] = (unsigned char)(next_random += 37);
	return (ssize_t)bytes;
}

/* ---- an image of META ---- */

/* What is not state: the log itself, buffers beyond their cursors, the number of epochs and
 * which buffer is which, and times. */
static bool masked(const struct server *s, uint64_t at)
{
	const struct state_head *h = s->st.head;
	const unsigned char *base = s->st.meta.base;

	if (at < sizeof(struct tarn__undo))
		return true;
	for (int b = 0; b < 2; b++) {
		uint64_t from = h->at_deferred[b] + h->n_deferred[b] * sizeof(struct deferred);
		uint64_t to = h->at_deferred[b] + h->lanes_reserved * (uint64_t)TARN__REQUESTS *
							   sizeof(struct deferred);
		if (at >= from && at < to)
			return true;
	}
	if (at == (uint64_t)((const unsigned char *)&h->epoch - base))
		return true;
	for (uint32_t i = 1; i < h->lanes; i++) {
		const struct lane *l = &s->st.lane[i];

		if (at == (uint64_t)((const unsigned char *)&l->wanted_until - base))
			return true;
		uint64_t ring = h->at_replies + i * sizeof(struct tarn__slot) * TARN__REPLIES;
		if (at >= ring && at < ring + sizeof(struct tarn__slot) * TARN__REPLIES) {
			uint64_t slot = (at - ring) / sizeof(struct tarn__slot);
			/* The slots that the next replies will overwrite. */
			if ((slot - l->replies) % TARN__REPLIES < 24)
				return true;
		}
	}
	for (uint32_t i = 1; i < h->clients_used; i++)
		if (at == (uint64_t)((const unsigned char *)&s->st.client[i].start_ns - base))
			return true;
	for (uint32_t i = 1; i < h->calls; i++)
		if (at == (uint64_t)((const unsigned char *)&s->st.call[i].started_ns - base))
			return true;
	return false;
}

static uint64_t image(struct server *s)
{
	uint64_t h = 0;
	off_t at = (off_t)sizeof(struct tarn__undo), end = (off_t)s->st.meta_segment.bytes;
	int fd = s->st.meta_segment.fd;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && at < end) {
		off_t hole = lseek(fd, at, SEEK_HOLE);

		for (off_t p = at & ~7; p < hole; p += 8) {
			uint64_t w;

			memcpy(&w, s->st.meta.base + p, 8);
			if (w != 0 && !masked(s, (uint64_t)p))
				h += tarn__hash_pair((uint64_t)p, w, 99); /* holes count as 0 */
		}
		at = hole;
	}
	return h;
}

/* ---- the scenes ---- */

struct world {
	struct server *s;
	uint32_t p, q, r;
	struct fake_lane pa, pb, qa, ra;
	uint64_t channel, onward, shared, own, granted, spilled, sealed;
	uint64_t nonce[2];
	/* objects: the host, an object that holds another, two that hold each other, one of
	 * executors on which a call is under way, one whose destructor runs, a name */
	uint32_t host;
	struct fake_lane ha;
	uint64_t outer, inner, left, right, slow, ending, number;
};

/* ---- types ---- */

static int keep(tarn_context *ctx, void *self)
{
	tarn_value v = tarn_parcel_at(tarn_context_args(ctx), 0);
	tarn_block *block;
	tarn_object *object;

	(void)self;
	if (tarn_value_kind(v) != TARN_KIND_OBJECT)
		return tarn_value_block(v, &block) < 0 ? -EINVAL : tarn_self_hold(ctx, block);
	return tarn_value_object(v, &object) < 0 ? -EINVAL : tarn_self_hold(ctx, object);
}

static int forget(tarn_context *ctx, void *self)
{
	uint64_t id;
	int r = tarn_context_get(ctx, "Q", &id);

	(void)self;
	return r < 0 ? r : tarn_self_drop(ctx, id);
}

static int beget(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_managed(ctx, "Plain", NULL, &o);

	(void)self;
	if (r == 0)
		r = tarn_self_hold(ctx, o);
	for (int i = 0; i < 5 && r == 0; i++)
		r = tarn_put_object(tarn_context_result(ctx), o);
	return r;
}

static int fail(tarn_context *ctx, void *self)
{
	int r = beget(ctx, self);

	return r < 0 ? r : -EINVAL;
}

static int many(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = 0;

	(void)self;
	for (int i = 0; i < 4 && r == 0; i++) {
		r = tarn_managed(ctx, "Plain", NULL, &o);
		if (r == 0)
			r = tarn_put_object(tarn_context_result(ctx), o);
	}
	return r;
}

/* Nothing but a number from a number, as most methods. */
static int next(tarn_context *ctx, void *self)
{
	uint64_t n;
	int r = tarn_context_get(ctx, "Q", &n);

	(void)self;
	return r < 0 ? r : tarn_put_uint(tarn_context_result(ctx), n + 1);
}

static void end(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
}

enum { KEEP, FORGET, BEGET, FAIL, MANY, NEXT };
static const tarn_method plain_methods[] = {
	{ "keep", keep, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "forget", forget, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "beget", beget, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "fail", fail, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "many", many, TARN_METHOD_INLINE, NULL, NULL, NULL },
	{ "next", next, TARN_METHOD_INLINE, "Q", "Q", NULL },
	{ 0 },
};
static const tarn_method slow_methods[] = { { "keep", keep, 0, NULL, NULL, NULL }, { 0 } };
static const tarn_type plain = { .name = "Plain", .size = 100, .flags = TARN_TYPE_INLINE,
				 .destroy = end, .methods = plain_methods };
static const tarn_type slow = { .name = "Slow", .size = 100, .destroy = end, .methods = slow_methods };
static const tarn_type adopting = { .name = "Adopting", .flags = TARN_TYPE_ADOPT };
static const tarn_type *const types[] = { &plain, &slow, &adopting, NULL };

/* One value that refers to @id, in storage of this function's. */
static const struct fake_values *refer(enum tarn_kind kind, uint64_t id, uint64_t size)
{
	static uint64_t words[2], ref[2];
	static struct fake_values v = { .words = words, .n_words = 2, .n_values = 1, .refs = ref,
					.n_refs = 1 };

	words[0] = tarn__slot_head(kind, 0, 0);
	words[1] = 0;
	ref[0] = id;
	ref[1] = tarn__ref_word(size, false);
	return &v;
}

static const struct fake_values *number(uint64_t n)
{
	static uint64_t words[2];
	static struct fake_values v = { .words = words, .n_words = 2, .n_values = 1 };

	words[0] = tarn__slot_head(TARN_KIND_UINT, 0, 0);
	words[1] = n;
	return &v;
}

static void post_call(struct fake_lane *l, uint64_t id, unsigned method, unsigned slots,
		      const struct fake_values *v)
{
	fake_post_values(l, TARN__MSG_CALL, 0, id, method, 0, slots, v);
}

static void post_result(struct world *w, uint64_t call, unsigned error, const struct fake_values *v)
{
	fake_post_values(&w->ha, TARN__MSG_RESULT, error, call, 0, 0, 0, v);
}

/* An object of executors, made. */
static uint64_t make_slow(struct world *w)
{
	fake_post_values(&w->pa, TARN__MSG_CREATE, 0, fake_type(w->s, "Slow"), 0, 0, 16, NULL);
	fake_settle(w->s);
	struct tarn__job *job = fake_job(w->s);
	uint64_t id = job->id;

	post_result(w, job->number, 0, refer(TARN_KIND_OBJECT, id, 0));
	fake_settle(w->s);
	cr_assert(eq(u64, fake_answer(&w->pa).refs[0], id));
	return id;
}

static void objects_make(struct world *w)
{
	fake_types(w->s, types);
	w->host = fake_host(w->s);
	w->ha = fake_lane(w->s, w->host);
	w->outer = fake_create(w->s, &w->pa, "Plain", NULL, NULL);
	w->inner = fake_create(w->s, &w->pa, "Plain", NULL, NULL);
	w->left = fake_create(w->s, &w->pa, "Plain", NULL, NULL);
	w->right = fake_create(w->s, &w->pa, "Plain", NULL, NULL);
	cr_assert(zero(int, fake_call(w->s, &w->pa, w->outer, KEEP,
				      refer(TARN_KIND_OBJECT, w->inner, 0)).error));
	cr_assert(zero(int, fake_call(w->s, &w->pa, w->outer, KEEP,
				      refer(TARN_KIND_BLOCK, w->own, 4096)).error));
	cr_assert(zero(int, fake_call(w->s, &w->pa, w->left, KEEP,
				      refer(TARN_KIND_OBJECT, w->right, 0)).error));
	cr_assert(zero(int, fake_call(w->s, &w->pa, w->right, KEEP,
				      refer(TARN_KIND_OBJECT, w->left, 0)).error));
	fake_post_name(&w->pa, TARN__MSG_NAME, w->inner, true, "");
	fake_settle(w->s);
	fake_reply(&w->pa); /* an empty name: refused */
	w->slow = make_slow(w);
	w->ending = make_slow(w);
	fake_release(&w->pa, w->ending, 1);
	fake_settle(w->s);
	cr_assert(eq(u64, fake_job(w->s)->id, w->ending)); /* its destructor: runs */
	post_call(&w->qa, w->slow, 0, 16, refer(TARN_KIND_BLOCK, w->shared, 100));
	fake_settle(w->s);
	w->number = fake_job(w->s)->number;
	cr_assert(eq(int, fake_verify(w->s), 0));
}

static struct world world_make(void)
{
	next_random = 0;
	struct world w = { .s = fake_server(32) };

	w.p = fake_client(w.s);
	w.q = fake_client(w.s);
	w.r = fake_client(w.s);
	w.pa = fake_lane(w.s, w.p);
	w.pb = fake_lane(w.s, w.p);
	w.qa = fake_lane(w.s, w.q);
	w.ra = fake_lane(w.s, w.r);
	w.channel = fake_channel(w.s, &w.pa, &w.qa, 8);
	w.onward = fake_channel(w.s, &w.pb, &w.ra, 8);
	w.shared = fake_alloc(w.s, &w.pa, 100);
	w.own = fake_alloc(w.s, &w.pa, 5000);
	w.granted = fake_alloc(w.s, &w.pa, 64);
	w.spilled = fake_alloc(w.s, &w.pa, 300000);
	w.sealed = fake_alloc(w.s, &w.qa, 64);
	fake_post(&w.pa, TARN__MSG_PUBLISH, 0, w.own, 4096, 0, 0, 0, 0);
	fake_send(&w.pa, w.channel, 0, w.shared, 100, 0);
	fake_send(&w.pa, w.channel, 1, w.spilled, 300000, 0);
	fake_send(&w.pa, w.channel, 2, w.own, 4096, 0);
	fake_settle(w.s);
	fake_send(&w.pb, w.onward, 0, w.spilled, 300000, 0);
	fake_recv(&w.qa, w.channel, 0, w.shared);
	fake_recv(&w.qa, w.channel, 1, w.spilled);
	fake_recv(&w.ra, w.onward, 0, w.spilled);
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_EXPORT, 2, 0, 7), w.own, 4096, 0, 10, 1, 0 } };
	tarn__requests_post_long(&w.pa.requests, (const uint64_t(*)[7])word, 2);
	fake_settle(w.s);
	struct tarn__slot r = fake_reply(&w.pa);
	w.nonce[0] = r.word[1];
	w.nonce[1] = r.word[2];
	objects_make(&w);
	return w;
}

typedef void act_fn(struct world *w);

static void run_epochs(struct world *w)
{
	fake_settle(w->s);
}
#define MESSAGE(name, ...)                  \
	static void name(struct world *w) \
	{                                 \
		__VA_ARGS__;              \
	}
MESSAGE(send_published, fake_send(&w->pa, w->channel, 3, w->own, 4096, 0))
MESSAGE(send_granted, fake_send(&w->pa, w->channel, 3, w->granted, 64, 0))
MESSAGE(send_move, fake_send(&w->pa, w->channel, 3, w->own, 4096, 1))
MESSAGE(recv_first, fake_recv(&w->qa, w->channel, 2, w->own))
MESSAGE(recv_spilling, fake_recv(&w->qa, w->channel, 2, w->own);
	fake_send(&w->pb, w->onward, 1, w->own, 4096, 0); fake_recv(&w->ra, w->onward, 1, w->own))
MESSAGE(absorb, fake_absorb(&w->qa, w->channel, 2, w->own))
MESSAGE(release_some, fake_release(&w->qa, w->shared, 1))
MESSAGE(release_last, fake_release(&w->qa, w->shared, 1); fake_release(&w->pa, w->shared, 1))
MESSAGE(release_last_large, fake_release(&w->qa, w->spilled, 1);
	fake_release(&w->ra, w->spilled, 1); fake_release(&w->pa, w->spilled, 1))
MESSAGE(giveback, fake_post(&w->pa, TARN__MSG_GIVEBACK, 1, w->granted, 0, 0, 0, 0, 0))
MESSAGE(publish, fake_post(&w->pa, TARN__MSG_PUBLISH, 0, w->granted, 33, 0, 0, 0, 0))
MESSAGE(seal, fake_post(&w->qa, TARN__MSG_SEAL, 0, w->sealed, 64, 0, 0, 0, 0))
MESSAGE(resize, fake_post(&w->pa, TARN__MSG_RESIZE, 0, w->own, 5000, 0, 0, 0, 0))
MESSAGE(close_producer, fake_post(&w->pa, TARN__MSG_CLOSE, 0, w->channel, 1, 0, 0, 0, 0))
MESSAGE(close_consumer, fake_post(&w->qa, TARN__MSG_CLOSE, 0, w->channel, 2, 0, 0, 0, 0))
MESSAGE(close_and_free, fake_post(&w->pa, TARN__MSG_CLOSE, 0, w->channel, 1, 0, 0, 0, 0);
	fake_post(&w->qa, TARN__MSG_CLOSE, 0, w->channel, 2, 0, 0, 0, 0);
	fake_release(&w->pa, w->channel, 1))
MESSAGE(alloc_small, fake_post(&w->qa, TARN__MSG_ALLOC, 1, 100, 1, 0, 0, 0, 0))
MESSAGE(alloc_many, fake_post(&w->qa, TARN__MSG_ALLOC, 20, 2000, 1, 0, 0, 0, 0))
MESSAGE(alloc_large, fake_post(&w->qa, TARN__MSG_ALLOC, 1, 1 << 20, 4096, 0, 0, 0, 0))
MESSAGE(alloc_bad, fake_post(&w->qa, TARN__MSG_ALLOC, 1, 0, 1, 0, 0, 0, 0))
MESSAGE(alloc_refused, fake_post(&w->qa, TARN__MSG_ALLOC, 1, 32 << 20, 1, 0, 0, 0, 0))
MESSAGE(credit, fake_post(&w->qa, TARN__MSG_CREDIT, 0, 5000, 0, 0, 0, 0, 0))
MESSAGE(channel_new, fake_post_name(&w->qa, TARN__MSG_CHANNEL, 16, true, "a name of some length, more than one slot"))
MESSAGE(bind, fake_post(&w->qa, TARN__MSG_CHANNEL, 0, 4, 0, 0, 0, 0, 0);
	tarn__epoch(w->s); uint64_t id = fake_reply(&w->qa).word[1];
	fake_post(&w->qa, TARN__MSG_BIND, 0, id, TARN__ROLE_CONSUMER, 0, 0, 0, 0))
MESSAGE(lookup_none, fake_post_name(&w->qa, TARN__MSG_LOOKUP, 0, false, "nobody"))
MESSAGE(import_last_use, fake_post(&w->qa, TARN__MSG_IMPORT, 0, w->own, w->nonce[0], w->nonce[1], 0, 0, 0))
MESSAGE(revoke_act, fake_post(&w->qa, TARN__MSG_REVOKE, 0, w->own, w->nonce[0], w->nonce[1], 0, 0, 0))
MESSAGE(ping, fake_post(&w->qa, TARN__MSG_PING, 0, 0, 0, 0, 0, 0, 0))
MESSAGE(offence, fake_release(&w->qa, w->own, 77))
MESSAGE(death_of_producer, fake_kill(w->s, w->p))
MESSAGE(death_of_consumer, fake_kill(w->s, w->q))
MESSAGE(death_of_all, fake_kill(w->s, w->p); fake_kill(w->s, w->q); fake_kill(w->s, w->r))
MESSAGE(everything, send_granted(w); recv_first(w); release_last(w); giveback(w); alloc_many(w);
	close_producer(w); fake_kill(w->s, w->r))

/* ---- objects ---- */

MESSAGE(create_inline, fake_post_values(&w->qa, TARN__MSG_CREATE, 0, fake_type(w->s, "Plain"), 0, 0, 16, NULL))
MESSAGE(create_queued, fake_post_values(&w->qa, TARN__MSG_CREATE, 0, fake_type(w->s, "Slow"), 0, 0, 16, NULL))
MESSAGE(create_raw, fake_post_values(&w->ha, TARN__MSG_CREATE, 0, fake_type(w->s, "Slow"), 0, TARN__CALL_RAW, 16, NULL);
	fake_settle(w->s); uint64_t id = fake_answer(&w->ha).refs[0];
	fake_post(&w->ha, TARN__MSG_MADE, 0, id, 0, 0, 0, 0, 0))
MESSAGE(create_adopting, fake_post_values(&w->qa, TARN__MSG_CREATE, 0, fake_type(w->s, "Adopting"), 0, 0, 16,
					  refer(TARN_KIND_OBJECT, w->outer, 0)))
MESSAGE(create_of_no_type, fake_post_values(&w->qa, TARN__MSG_CREATE, 0, 99, 0, 0, 16, NULL))
MESSAGE(type_told, fake_post_name(&w->qa, TARN__MSG_TYPE, 1, true, ""))
MESSAGE(call_keep, post_call(&w->qa, w->outer, KEEP, 16, refer(TARN_KIND_BLOCK, w->spilled, 300000)))
MESSAGE(call_keep_granted, post_call(&w->pa, w->outer, KEEP, 16, refer(TARN_KIND_BLOCK, w->granted, 33)))
MESSAGE(call_keep_again, post_call(&w->qa, w->outer, KEEP, 16, refer(TARN_KIND_OBJECT, w->inner, 0)))
MESSAGE(call_forget, post_call(&w->qa, w->outer, FORGET, 16, number(w->own)))
MESSAGE(call_forget_last, fake_release(&w->pa, w->inner, 1); fake_settle(w->s);
	post_call(&w->qa, w->outer, FORGET, 16, number(w->inner)))
MESSAGE(call_beget, post_call(&w->qa, w->outer, BEGET, 16, NULL))
MESSAGE(call_fail, post_call(&w->qa, w->outer, FAIL, 32, refer(TARN_KIND_BLOCK, w->sealed, 64)))
MESSAGE(call_fail_in_a_block, post_call(&w->qa, w->outer, FAIL, 1, NULL))
MESSAGE(call_no_method, post_call(&w->qa, w->outer, 77, 1, NULL))
MESSAGE(call_stale, post_call(&w->qa, w->outer + (1ull << TARN__INDEX_BITS), 0, 1, NULL))
MESSAGE(call_short, post_call(&w->qa, w->outer, NEXT, 1, number(1)))
MESSAGE(call_short_oneway, fake_post_values(&w->qa, TARN__MSG_CALL, 0, w->outer, NEXT, TARN__CALL_ONEWAY, 0, number(1)))
/* Short ones around what ends a batch of them: failures, references, effects, other messages. */
MESSAGE(call_many_short, call_short(w); call_short_oneway(w); call_fail_in_a_block(w); call_short(w);
	call_forget(w); call_short_oneway(w); call_beget(w); call_short(w); ping(w); call_short(w);
	call_no_method(w); call_short(w); call_stale(w); call_short(w); call_keep_again(w); call_short(w))
MESSAGE(call_stash_fetch, post_call(&w->qa, w->outer, MANY, 1, NULL); fake_settle(w->s);
	uint64_t n = fake_answer(&w->qa).words[0];
	fake_post(&w->qa, TARN__MSG_FETCH, 0, n, tarn__pack(0, 0, 0, 0, 1, 0), 0, 0, 0, 0);
	fake_post(&w->qa, TARN__MSG_FETCH, 0, n, tarn__pack(2, 0, 0, 0, 2, 0), 0, 0, 0, 0))
MESSAGE(call_queued, post_call(&w->pa, w->slow, 0, 4, refer(TARN_KIND_BLOCK, w->granted, 64)))
MESSAGE(call_queued_oneway, fake_post_values(&w->pa, TARN__MSG_CALL, 0, w->slow, 0, TARN__CALL_ONEWAY, 0,
					     refer(TARN_KIND_OBJECT, w->inner, 0)))
MESSAGE(result_plain, post_result(w, w->number, 0, number(5)))
MESSAGE(result_refers, post_result(w, w->number, 0, refer(TARN_KIND_OBJECT, w->outer, 0)))
MESSAGE(result_stale, post_result(w, w->number, 0, refer(TARN_KIND_OBJECT, w->outer + (1ull << TARN__INDEX_BITS), 0)))
MESSAGE(result_error, post_result(w, w->number, TARN_EREMOTE, number(5)))
MESSAGE(result_of_a_creator, create_queued(w); fake_settle(w->s); struct tarn__job *job = fake_job(w->s);
	post_result(w, job->number, 0, refer(TARN_KIND_OBJECT, job->id, 0)))
MESSAGE(result_of_a_failed_creator, create_queued(w); fake_settle(w->s); struct tarn__job *job = fake_job(w->s);
	post_result(w, job->number, TARN_EREMOTE, number(1)))
MESSAGE(cancel_call, fake_post(&w->qa, TARN__MSG_CANCEL, 0, 7, 0, 0, 0, 0, 0))
MESSAGE(death_in_a_call, fake_kill(w->s, w->q); fake_settle(w->s); post_result(w, w->number, 0, refer(TARN_KIND_OBJECT, w->outer, 0)))
MESSAGE(death_of_the_host, fake_kill(w->s, w->host))
MESSAGE(hold, fake_post(&w->ha, TARN__MSG_HOLD, 0, w->slow, w->shared, tarn__ref_word(100, false), 0, 0, 0))
MESSAGE(unhold, hold(w); fake_settle(w->s); fake_post(&w->ha, TARN__MSG_UNHOLD, 0, w->slow, w->shared, 0, 0, 0, 0))
/* The second is older than what the object has, the third names something else. */
MESSAGE(contents, fake_post(&w->ha, TARN__MSG_CONTENTS, 0, w->slow, 4, 1 << 20, 2 << 20, 7, 1);
	fake_post(&w->ha, TARN__MSG_CONTENTS, 0, w->slow, 2, 3 << 20, 0, 0, 1);
	fake_post(&w->ha, TARN__MSG_CONTENTS, 0, w->shared, 2, 3 << 20, 0, 0, 1))
MESSAGE(destroyed, fake_post(&w->ha, TARN__MSG_DESTROYED, 0, w->ending, 0, 0, 0, 0, 0))
MESSAGE(release_object, fake_release(&w->pa, w->outer, 1); fake_release(&w->pa, w->inner, 1))
MESSAGE(release_cycle, fake_release(&w->pa, w->left, 1); fake_release(&w->pa, w->right, 1))
MESSAGE(release_queued, post_result(w, w->number, 0, NULL); fake_settle(w->s); fake_release(&w->pa, w->slow, 1))
MESSAGE(grab, fake_post(&w->ra, TARN__MSG_GRAB, 0, w->inner, 0, 0, 0, 0, 0))
MESSAGE(watch, fake_post(&w->ra, TARN__MSG_WATCH, 0, w->left, 0, 0, 0, 0, 0))
MESSAGE(watch_until_the_end, watch(w); fake_post(&w->ra, TARN__MSG_WATCH, 0, w->p, TARN__WATCH_CLIENT, 0, 0, 0, 0);
	fake_settle(w->s); release_cycle(w); fake_kill(w->s, w->p))
MESSAGE(forgery, post_call(&w->qa, w->outer, KEEP, 16, NULL); fake_settle(w->s);
	fake_post(&w->qa, TARN__MSG_RESULT, 0, w->number, 0, 0, 0, 0, 0))

static void name_post(struct world *w, uint64_t id, uint64_t flags, const char *text)
{
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_NAME, 2, (unsigned)strlen(text), 7), id, flags } };

	memcpy(&word[0][3], text, strlen(text) < 32 ? strlen(text) : 32);
	tarn__requests_post_long(&w->qa.requests, (const uint64_t(*)[7])word, 2);
}
MESSAGE(name_given, name_post(w, w->outer, 0, "a name"))
MESSAGE(name_replaced, name_post(w, w->inner, TARN__NAME_PINNED, "a name"); fake_settle(w->s);
	name_post(w, w->outer, TARN__NAME_REPLACE, "a name"))
MESSAGE(name_taken_back, name_post(w, w->left, 0, "a name"); fake_settle(w->s); release_cycle(w);
	fake_settle(w->s); name_post(w, 0, TARN__NAME_UNPUBLISH, "a name"))
MESSAGE(name_of_the_dead, name_given(w); fake_settle(w->s); fake_kill(w->s, w->q))

static void export_act(struct world *w)
{
	uint64_t word[2][7] = { { tarn__header(TARN__MSG_EXPORT, 2, 0, 7), w->shared, 100, 0, 10, 3, 0 } };

	tarn__requests_post_long(&w->pa.requests, (const uint64_t(*)[7])word, 2);
}

static const struct act {
	const char *name;
	act_fn *prepare;
} acts[] = {
#define ACT(x) { #x, x }
	ACT(send_published), ACT(send_granted), ACT(send_move), ACT(recv_first), ACT(recv_spilling),
	ACT(absorb), ACT(release_some), ACT(release_last), ACT(release_last_large), ACT(giveback),
	ACT(publish), ACT(seal), ACT(resize), ACT(close_producer), ACT(close_consumer),
	ACT(close_and_free), ACT(alloc_small), ACT(alloc_many), ACT(alloc_large), ACT(alloc_bad),
	ACT(alloc_refused), ACT(credit), ACT(channel_new), ACT(bind), ACT(lookup_none),
	ACT(import_last_use), ACT(revoke_act), ACT(ping), ACT(offence), ACT(death_of_producer),
	ACT(death_of_consumer), ACT(death_of_all), ACT(export_act), ACT(everything),
	ACT(create_inline), ACT(create_queued), ACT(create_raw), ACT(create_adopting),
	ACT(create_of_no_type), ACT(type_told), ACT(call_keep), ACT(call_keep_granted),
	ACT(call_keep_again), ACT(call_forget), ACT(call_forget_last), ACT(call_beget), ACT(call_fail),
	ACT(call_fail_in_a_block), ACT(call_no_method), ACT(call_stale), ACT(call_stash_fetch),
	ACT(call_short), ACT(call_short_oneway), ACT(call_many_short),
	ACT(call_queued), ACT(call_queued_oneway), ACT(result_plain), ACT(result_refers),
	ACT(result_stale), ACT(result_error), ACT(result_of_a_creator), ACT(result_of_a_failed_creator),
	ACT(cancel_call), ACT(death_in_a_call), ACT(death_of_the_host), ACT(hold), ACT(unhold), ACT(contents),
	ACT(destroyed), ACT(release_object), ACT(release_cycle), ACT(release_queued), ACT(grab),
	ACT(watch), ACT(watch_until_the_end), ACT(forgery), ACT(name_given), ACT(name_replaced),
	ACT(name_taken_back), ACT(name_of_the_dead),
};

/* ---- a successor in the same process ---- */

/* What a process knows besides META is made anew from it. */
static void restart(struct server *s)
{
	s->n_touched = 0;
	s->n_hot = 0;
	s->deaths_unseen = true; /* who is dead is told again: tarn__peer_watch() */
	s->sweeping = true;      /* look once */
	fake_host_restart(s, types);
	s->st.watched_gone = true;
	tarn__suspect_all(&s->st);
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct lane_view *v = &s->view[i];

		v->position = s->st.lane[v->lane].position;
		v->published_head = v->position < v->published_head ? v->position : v->published_head;
		enum client_state state =
			(enum client_state)s->st.client[s->st.lane[v->lane].client].state;
		v->stopped = state == CLIENT_DYING2 || state == CLIENT_RECLAIM;
	}
	/* A client whose record went with the last commit has no peer any more. */
	for (uint32_t i = 1; i < s->st.head->clients_used; i++)
		if (s->peer[i] != NULL && s->st.client[i].state == CLIENT_NONE) {
			for (uint32_t v = 0; v < s->n_views; v++)
				cr_assert(ne(u32, s->st.lane[s->view[v].lane].client, i));
			tarn__peer_free(s, i);
		}
	/* Lanes that were closed by the last commit. */
	for (uint32_t v = 0; v < s->n_views;)
		if (s->st.lane[s->view[v].lane].client == NIL) {
			for (uint32_t i = 1; i < MAX_CLIENTS; i++)
				for (uint32_t n = 0; s->peer[i] != NULL && n < TARN__CLIENT_LANES; n++)
					if (s->peer[i]->lane[n] == s->view[v].lane)
						s->peer[i]->lane[n] = NIL;
			s->view[v] = s->view[--s->n_views];
		} else {
			v++;
		}
	tarn__publish_all(s);
}

/* Rolls back, stopped at its every store first: restartable. */
static void rollback_with_stops(struct server *s)
{
	for (volatile int64_t k = 1;; k++) {
		if (s->st.head->undo.n == 0)
			return;
		stores_left = k;
		if (setjmp(stop) == 0) {
			tarn__meta_rollback(&s->st.meta);
			stores_left = -1;
			return;
		}
		stores_left = -1;
	}
}

static struct totals {
	uint64_t live, granted, used, claims, channels, exports, clients, promised, things, edges, calls,
		names, aside, replies, positions;
} totals_of(struct server *s)
{
	const struct state_head *h = s->st.head;
	struct totals t = { h->n_live, h->n_granted, h->heap.used, h->n_claims, h->n_channels,
			    h->n_exports, h->n_clients, h->claims_promised, h->n_things, h->n_edges,
			    h->n_calls, h->n_names, h->n_aside, 0, 0 };

	for (uint32_t i = 1; i < h->lanes; i++)
		if (s->st.lane[i].client != NIL) {
			t.replies += s->st.lane[i].replies;
			t.positions += s->st.lane[i].position;
		}
	return t;
}

ParameterizedTestParameters(crash, every_prefix_of_every_operation)
{
	static unsigned which[sizeof acts / sizeof *acts];

	for (unsigned i = 0; i < sizeof acts / sizeof *acts; i++)
		which[i] = i;
	return cr_make_param_array(unsigned, which, sizeof acts / sizeof *acts);
}

ParameterizedTest(unsigned *which, crash, every_prefix_of_every_operation, .timeout = 300)
{
	const struct act *act = &acts[*which];
	struct world w = world_make();

	/* The uninterrupted run. */
	act->prepare(&w);
	watched = w.s;
	commits = 0;
	commit_image[commits++] = image(w.s);
	recording = true;
	stores = 0;
	stores_left = -1;
	run_epochs(&w);
	recording = false;
	uint64_t total = stores;
	unsigned all_commits = commits;
	struct totals end = totals_of(w.s);

	cr_assert(eq(int, fake_verify(w.s), 0), "%s", act->name);
	cr_assert(gt(u64, total, 3), "%s", act->name);
	watched = NULL;
	fake_server_free(w.s);

	/* Long ones are sampled evenly beyond their first thousand stores. */
	for (uint64_t k = 1; k <= total; k += k < 1000 ? 1 : 1 + total / 1500) {
		w = world_make();
		act->prepare(&w);
		watched = w.s;
		stores_left = (int64_t)k;
		if (setjmp(stop) == 0) {
			run_epochs(&w);
			cr_assert(false, "%s: only %llu stores", act->name, (unsigned long long)total);
		}
		stores_left = -1;
		rollback_with_stops(w.s);
		uint64_t now = image(w.s);
		unsigned at = 0;
		while (at < all_commits && commit_image[at] != now)
			at++;
		cr_assert(lt(u32, at, all_commits), "%s: stopped after store %llu of %llu: not a committed state",
			  act->name, (unsigned long long)k, (unsigned long long)total);
		watched = NULL; /* on to the end */
		restart(w.s);
		watched = w.s;
		fake_settle(w.s);
		cr_assert(eq(int, fake_verify(w.s), 0), "%s after store %llu", act->name,
			  (unsigned long long)k);
		struct totals t = totals_of(w.s);
		cr_assert(eq(int, memcmp(&t, &end, sizeof t), 0),
			  "%s: stopped after store %llu of %llu, ends differently", act->name,
			  (unsigned long long)k, (unsigned long long)total);
		watched = NULL;
		fake_server_free(w.s);
	}
}

Test(crash, the_comparison_notices_an_unlogged_store)
{
	struct world w = world_make();
	uint64_t before = image(w.s);

	w.s->st.object[tarn__id_index(w.own)].ext++;
	cr_assert(ne(u64, image(w.s), before));
	cr_assert(gt(int, fake_verify(w.s), 0));
	w.s->st.object[tarn__id_index(w.own)].ext--;
	cr_assert(eq(u64, image(w.s), before));
	fake_server_free(w.s);
}
