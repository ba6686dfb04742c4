/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job on an executor: its arguments become handles and a parcel, the method runs, its result
 * is a message.
 *
 * The units that the call holds on the object and its arguments stay the server's: the handles
 * are private to the call and cost no message. Where a method keeps one beyond its end, a
 * unit of its own is booked before the result is sent.
 *
 * What the method held and dropped is said before its result, on the same lane, so it is
 * true when the caller hears of the result.
 */
#include "executor.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/client/call.h"
#include "lib/error.h"
#include "lib/value/fault.h"
#include "shm/meta.h"
#include "shm/view.h"

__thread uint64_t tarn__call_running;

/* ---- handles without a claim of their own ---- */

static struct tarn_block *private_handle(struct tarn__lane *l, uint64_t id, uint64_t word)
{
	struct tarn_client *c = l->client;
	uint32_t index = tarn__id_index(id);
	/* SYNC dir, acquire. The call's unit keeps this id's life. */
	uint64_t state = index < c->dir_entries ? tarn__load_acquire(&c->dir[index].state) : 0;
	struct tarn_block *b = NULL;

	if (state & TARN__DIR_OBJECT) {
		struct tarn_object *o = tarn__object_handle(l, id);

		b = o != NULL ? &o->base : NULL;
	} else if (!(state & TARN__DIR_CHANNEL)) {
		b = tarn__handle_new(l);
		if (b != NULL && !tarn__handle_fill(c, b, id, tarn__ref_size(word))) {
			tarn__handle_free(l, b);
			b = NULL;
		}
		if (b != NULL) {
			b->refs = 1 | REF_SHARED;
			/* It may have lain in a cache of this client's in an earlier life. */
			tarn__show(b->data, b->size);
		}
		if (b != NULL && tarn__ref_sealed(word))
			tarn__seal_here(c, b);
	}
	if (b != NULL)
		b->refs |= REF_UNLISTED | REF_UNHELD;
	return b;
}

int tarn__grab(struct tarn__lane *l, uint64_t id, struct tarn_block **ret)
{
	struct tarn_block *known = tarn__table_find(l->client, id);
	struct tarn__ask a;
	struct tarn__slot s;
	int r;

	if (known != NULL) {
		*ret = known;
		return 0;
	}
	tarn__ask_init(&a, TARN__MSG_GRAB, 0);
	tarn__ask_word(&a, 1, id);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r == 0)
		r = tarn__reply_error(&s);
	if (r < 0)
		return r;
	const uint64_t ref[2] = { id, tarn__ref_word(s.word[2], (s.word[3] & TARN__DIR_SEALED) != 0) };
	return tarn__refs_adopt(l, ref, 1, ret);
}

/* A handle for the time of the call; *@ret_owned: it has a claim of its own. */
static int handle_for(struct tarn__lane *l, uint64_t id, uint64_t word, struct tarn_block **ret)
{
	*ret = private_handle(l, id, word);
	return *ret != NULL ? 0 : tarn__grab(l, id, ret); /* channels */
}

static bool is_in(const tarn_builder *result, const struct tarn_block *b)
{
	for (unsigned k = 0; k < result->n_refs; k++)
		if (result->refs[k] == b)
			return true;
	return false;
}

/* Before the call ends: a private handle that the method keeps gets a claim of its own. One that
 * only the result has is named by that, while the call still holds it. */
static void claim_kept(struct tarn__lane *l, const tarn_builder *result, struct tarn_block *b)
{
	uint64_t refs = tarn__refs(b);
	struct tarn__ask a;
	struct tarn__slot s;

	if (!(refs & REF_UNHELD) || (refs & REF_COUNT) <= 1u + is_in(result, b))
		return;
	tarn__ask_init(&a, TARN__MSG_GRAB, 0);
	tarn__ask_word(&a, 1, b->id);
	if (tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s) == 0 && tarn__reply_error(&s) == 0 &&
	    tarn__hold_take(l) == 0)
		__atomic_fetch_and(&b->refs, ~REF_UNHELD, __ATOMIC_RELAXED); /* our own flag */
}

/* The call is over: a private handle goes without a word. */
static void handle_done(struct tarn__lane *l, struct tarn_block *b)
{
	uint64_t refs = tarn__refs(b);

	if ((refs & REF_UNHELD) && (refs & REF_COUNT) == 1)
		tarn__handle_free(l, b);
	else
		tarn__handle_put(l, b);
}

/* ---- arguments ---- */

static int take_args(struct tarn__lane *l, struct tarn_context *ctx, const struct tarn__job *job)
{
	struct tarn_block *ref[TARN__CALL_REFS], **to;
	unsigned first = job->spilled != 0 ? 1 : 0, n = 0;
	const uint64_t *words = job->words;
	uint32_t n_words = job->n_words;
	uint64_t *room;
	int r = 0;

	for (; n < job->n_refs && r == 0; n += r == 0)
		r = handle_for(l, job->refs[2 * n], job->refs[2 * n + 1], &ref[n]);
	if (r == 0 && first != 0) {
		/* A block that its sender can still write to: copied, then looked at. */
		if (ref[0]->data == NULL || job->spilled > ref[0]->size || job->spilled / 8 > UINT32_MAX)
			r = tarn__fail(-TARN_EPROTO, "The arguments do not lie in the block that was named.");
		words = (const uint64_t *)(void *)ref[0]->data;
		n_words = (uint32_t)(job->spilled / 8);
	}
	if (r == 0)
		r = tarn__parcel_room(&ctx->args, n_words, job->n_values, n - first, &room, &to);
	if (r < 0) {
		while (n > 0)
			handle_done(l, ref[--n]);
		return r;
	}
	if (n_words != 0)
		memcpy(room, words, 8ull * n_words);
	for (unsigned k = first; k < n; k++)
		to[k - first] = ref[k];
	if (first != 0)
		handle_done(l, ref[0]);
	return 0;
}

static void claim_all_kept(struct tarn__lane *l, struct tarn_context *ctx)
{
	for (unsigned k = 0; k < ctx->args.n_refs; k++)
		claim_kept(l, &ctx->result, ctx->args.refs[k]);
	if (ctx->self_handle != NULL && ctx->self_is_private)
		claim_kept(l, &ctx->result, &ctx->self_handle->base);
}

/* The parcel's handles go one by one, since they have no claims. */
static void drop_args(struct tarn__lane *l, struct tarn_context *ctx)
{
	for (unsigned k = 0; k < ctx->args.n_refs; k++)
		handle_done(l, ctx->args.refs[k]);
	ctx->args.n_refs = 0;
}

/* ---- what contexts of executors do ---- */

tarn_client *tarn__exec_client(const struct tarn_context *ctx)
{
	return ctx->executor->pool->client;
}

int tarn__exec_self(struct tarn_context *ctx, tarn_object **ret)
{
	struct tarn__lane *l;

	if (ctx->self_handle == NULL) {
		int r = tarn__lane_enter(tarn__exec_client(ctx), &l);

		if (r < 0)
			return r;
		/* A destructor's object is in DIR no more: a handle of the name alone. */
		struct tarn_block *b = ctx->deed == TARN__DEED_DESTROY
					       ? tarn__handle_new(l) : private_handle(l, ctx->id, 0);
		if (b != NULL && ctx->deed == TARN__DEED_DESTROY)
			*b = (struct tarn_block){ .refs = 1 | REF_SHARED | REF_OBJECT | REF_UNLISTED |
							  REF_UNHELD,
						  .client = l->client, .id = ctx->id,
						  .type = (uint16_t)ctx->served->index };
		tarn__lane_leave(l);
		if (b == NULL)
			return tarn__fail(-ENOMEM, "No memory for a handle.");
		ctx->self_handle = tarn__object_of_base(b);
		ctx->self_is_private = true;
	}
	*ret = ctx->self_handle;
	return 0;
}

static int wish(struct tarn_context *ctx, struct edge_wish w)
{
	if (ctx->n_wishes == ctx->wishes_room) {
		unsigned room = ctx->wishes_room != 0 ? 2 * ctx->wishes_room : 16;
		struct edge_wish *more = realloc(ctx->wish, room * sizeof *more);

		if (more == NULL)
			return tarn__fail(-ENOMEM, "No memory to note what the object holds.");
		ctx->wish = more;
		ctx->wishes_room = room;
	}
	ctx->wish[ctx->n_wishes++] = w;
	return 0;
}

int tarn__exec_hold(struct tarn_context *ctx, struct tarn_block *handle)
{
	if (handle->client != tarn__exec_client(ctx))
		return tarn__fail(-EXDEV, "An object can hold what belongs to its own server only.");
	int r = wish(ctx, (struct edge_wish){ .id = handle->id, .handle = handle, .more = true });
	if (r == 0)
		tarn__value_hooks.ref(handle);
	return r;
}

int tarn__exec_drop(struct tarn_context *ctx, uint64_t id)
{
	return wish(ctx, (struct edge_wish){ .id = id });
}

int tarn__exec_own(struct tarn_context *ctx, struct tarn_block *handle)
{
	if (ctx->n_owned == ctx->owned_room) {
		unsigned room = ctx->owned_room != 0 ? 2 * ctx->owned_room : 16;
		struct tarn_block **more = realloc(ctx->owned, room * sizeof(struct tarn_block *));

		if (more == NULL) {
			tarn__value_hooks.unref(handle);
			return tarn__fail(-ENOMEM, "No memory for a handle.");
		}
		ctx->owned = more;
		ctx->owned_room = room;
	}
	ctx->owned[ctx->n_owned++] = handle;
	return 0;
}

int tarn__exec_grab(struct tarn_context *ctx, uint64_t id, struct tarn_block **ret)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(tarn__exec_client(ctx), &l);

	if (r < 0)
		return r;
	r = tarn__grab(l, id, ret);
	tarn__lane_leave(l);
	return r < 0 ? r : tarn__exec_own(ctx, *ret);
}

/* Says what the method held; or, if it failed, forgets it. */
static int say_holds(struct tarn__lane *l, struct tarn_context *ctx, bool succeeded)
{
	int r = 0;

	for (unsigned k = 0; k < ctx->n_wishes; k++) {
		struct edge_wish *w = &ctx->wish[k];

		if (!w->more)
			continue;
		if (succeeded && r == 0)
			r = tarn__handle_share(l, w->handle);
		if (succeeded && r == 0)
			r = tarn__lane_say(l, tarn__header(TARN__MSG_HOLD, 1, 0, 0), ctx->id, w->id,
					   tarn__refs(w->handle) & (REF_OBJECT | REF_CHANNEL)
						   ? 0
						   : tarn__ref_word(tarn__load_relaxed(&w->handle->size),
								    (tarn__refs(w->handle) & REF_SEALED) != 0),
					   0, 0, 0);
		TARN__META_STORED(); /* what is said here is as good as stored there: tests kill here, too */
		tarn__handle_put(l, w->handle);
	}
	return r;
}

static int say_drops(struct tarn__lane *l, const struct tarn_context *ctx)
{
	int r = 0;

	for (unsigned k = 0; k < ctx->n_wishes && r == 0; k++) {
		if (ctx->wish[k].more)
			continue;
		r = tarn__lane_say(l, tarn__header(TARN__MSG_UNHOLD, 1, 0, 0), ctx->id, ctx->wish[k].id, 0, 0,
				   0, 0);
		TARN__META_STORED();
	}
	return r;
}

static void forget_wishes(struct tarn_context *ctx)
{
	free(ctx->wish);
	ctx->wish = NULL;
	ctx->n_wishes = ctx->wishes_room = 0;
}

static int say_contents(struct tarn__lane *l, const struct tarn_context *ctx)
{
	int r = 0;

	for (struct tarn__ending *e = ctx->endings; e != NULL && r == 0; e = e->next) {
		const struct tarn__view_root *root = e->seal(e);

		if (root != NULL)
			r = tarn__lane_say(l, tarn__header(TARN__MSG_CONTENTS, 1, 0, 0), root->id,
					   root->version, root->order, root->index, root->next,
					   root->kind);
		TARN__META_STORED();
	}
	return r;
}

/*
 * Each of these messages can be the last before the server is killed. That which says what the container
 * has is the one that counts: what it will hold is held before, what it held is dropped after it, so a
 * successor finds too much held in between, which it can tell from the contents, and never too little.
 * Readers in place see the change when it is said, and no earlier.
 */
int tarn__exec_over(struct tarn__lane *l, struct tarn_context *ctx, bool succeeded)
{
	int r = say_holds(l, ctx, succeeded);

	if (succeeded && r == 0)
		r = say_contents(l, ctx);
	/* The gate is still ours, and what comes to the reactor after the result finds it done. */
	tarn__context_ended(ctx, succeeded && r == 0);
	if (succeeded && r == 0)
		r = say_drops(l, ctx);
	forget_wishes(ctx);
	/* Release: as tarn__self_store(). */
	for (unsigned k = 0; succeeded && r == 0 && k < ctx->n_later; k++)
		tarn__store_release(ctx->later[k].word, ctx->later[k].value);
	ctx->n_later = 0;
	return r;
}

void tarn__exec_fini(struct tarn__lane *l, struct tarn_context *ctx)
{
	for (unsigned k = 0; k < ctx->n_owned; k++)
		tarn__handle_put(l, ctx->owned[k]);
	free(ctx->owned);
	ctx->owned = NULL;
	ctx->n_owned = ctx->owned_room = 0;
	if (ctx->self_handle != NULL && ctx->self_is_private)
		handle_done(l, &ctx->self_handle->base);
	ctx->self_handle = NULL;
}

/* ---- the result ---- */

/* Sends it; without room for the values, that it could not be sent. Nobody waits for ever unless
 * the server is gone. */
static void send_result(struct tarn__lane *l, struct tarn_context *ctx, uint64_t number, int code)
{
	struct tarn__payload p;
	int r = tarn__builder_payload(&ctx->result, &p);

	tarn__host_says(&ctx->host->base);
	if (r < 0) {
		code = tarn__context_unsendable(ctx, r);
		r = tarn__builder_payload(&ctx->result, &p);
	}
	if (r == 0)
		r = tarn__message_send(l, TARN__MSG_RESULT, (unsigned)-code, number, 0, 0, &p, UINT64_MAX);
	while (r < 0 && tarn__client_health(l->client, l) == 0) {
		tarn_builder_reset(&ctx->result);
		code = tarn__context_unsendable(ctx, r);
		if (tarn__builder_payload(&ctx->result, &p) < 0)
			p = (struct tarn__payload){ .n_words = 0 };
		r = tarn__message_send(l, TARN__MSG_RESULT, (unsigned)-code, number, 0, 0, &p, UINT64_MAX);
		if (r < 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

/* A creator gives its own object, or the one that it chose, which is in its result already. */
static int give_created(struct tarn_context *ctx)
{
	tarn_object *self;
	int r;

	if (ctx->instead != 0)
		return 0;
	tarn_builder_reset(&ctx->result);
	r = tarn__exec_self(ctx, &self);
	return r < 0 ? r : tarn_put_object(&ctx->result, self);
}

/* The result's references, while the lane is ours; what else it has goes later. */
static void result_drop(struct tarn__lane *l, tarn_builder *result)
{
	for (unsigned k = 0; k < result->n_refs; k++)
		tarn__handle_put(l, result->refs[k]);
	result->n_refs = 0;
}

/* ---- the job ---- */

static void run_destructor(struct executor *e, struct tarn_context *ctx, struct tarn__job *job)
{
	struct tarn__lane *l;

	tarn_parcel_init(&ctx->args);
	job->served->type->destroy(ctx, job->self);
	if (tarn__lane_enter(e->pool->client, &l) == 0) {
		tarn__host_says(&ctx->host->base);
		tarn__lane_say(l, tarn__header(TARN__MSG_DESTROYED, 1, 0, 0), job->id, 0, 0, 0, 0, 0);
		tarn__lane_ring(l);
		say_holds(l, ctx, false);
		forget_wishes(ctx);
		tarn__exec_fini(l, ctx);
		tarn__lane_leave(l);
	}
	free(job);
}

/* Not begun: nobody waits for it, or the object was never made. */
static void skip(struct tarn__lane *l, struct tarn_context *ctx, const struct tarn__job *job)
{
	tarn_parcel_init(&ctx->args);
	int r = job->broken
			? tarn__fail_static(-TARN_ESTALE, "the object was never made: its creator failed")
			: tarn__fail_static(-ECANCELED, "canceled before it began");
	send_result(l, ctx, job->number, tarn__context_fail(ctx, r, true));
}

static void run_call(struct executor *e, struct tarn_context *ctx, struct tarn__job *job)
{
	struct tarn__lane *l;
	uint64_t number = job->number;
	int r = tarn__lane_enter(e->pool->client, &l);

	if (r < 0)
		return; /* the server is gone, and the call with it */
	if (job->broken || tarn__load32_relaxed(&job->canceled) != 0) {
		e->failed = job->deed == TARN__DEED_CREATE;
		skip(l, ctx, job);
		tarn__lane_leave(l);
		return;
	}
	r = take_args(l, ctx, job);
	tarn__lane_leave(l);
	if (r < 0) {
		tarn_parcel_init(&ctx->args);
		r = tarn__context_fail(ctx, r, true);
	} else {
		tarn__call_running = number;
		r = tarn__context_run(ctx);
		tarn__call_running = 0;
		if (r == 0 && ctx->deed == TARN__DEED_CREATE)
			r = give_created(ctx);
	}
	e->failed = r < 0 && ctx->deed == TARN__DEED_CREATE; /* the job may be gone: see tarn__pool_stop() */
	if (tarn__lane_enter(e->pool->client, &l) < 0)
		return;
	int said = tarn__exec_over(l, ctx, r == 0);
	if (r == 0 && said < 0)
		r = tarn__context_unsendable(ctx, said);
	claim_all_kept(l, ctx);
	send_result(l, ctx, number, r);
	result_drop(l, &ctx->result);
	drop_args(l, ctx);
	tarn__exec_fini(l, ctx);
	tarn__lane_leave(l);
	tarn_parcel_fini(&ctx->args);
}

void tarn__job_run(struct executor *e, struct tarn__job *job)
{
	struct host *h = e->pool->host;
	struct tarn_context *ctx = malloc(sizeof *ctx);

	while (ctx == NULL && !tarn__load32_relaxed(&e->pool->client->down)) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		ctx = malloc(sizeof *ctx);
	}
	if (ctx == NULL)
		return;
	tarn__fail_forget(); /* of another caller */
	tarn__context_init(ctx, h, job->served, job->offer, job->deed, job->id, job->self);
	ctx->caller = job->caller;
	ctx->state = job->state;
	ctx->executor = e;
	ctx->canceled = &job->canceled;
	e->top = ctx;
	if (job->deed == TARN__DEED_DESTROY)
		run_destructor(e, ctx, job);
	else
		run_call(e, ctx, job);
	e->top = NULL;
	tarn__context_fini(ctx);
	free(ctx);
}
