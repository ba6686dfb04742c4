/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls within the server: a method on an executor that calls an object of its own server runs
 * that method in place, in its own thread. No message, no second thread: one executor is enough
 * for any depth, and what calls itself by way of others does not wait for itself.
 */
#include "executor.h"

#include <stdlib.h>
#include <string.h>

#include "lib/client/call.h"
#include "lib/error.h"
#include "lib/value/fault.h"

#define DEPTH_MOST 256u /* methods in each other in one thread */

static bool mine(const tarn_client *client)
{
	const struct executor *e = tarn__executor_me();

	return e != NULL && e->pool->client == client && e->top != NULL;
}

/* Not those of Tarn's own types whose instances clients change in place: these are one at a time because
 * the reactor is one thread, look up memory as only that can, and go by who wrote what, which is us and not
 * whoever called the method that calls them. */
static bool runs(const tarn_object *object)
{
	const struct tarn__catalog *types = tarn__executor_me()->pool->host->base.catalog;

	return object->base.type >= types->n || !types->served[object->base.type].in_place;
}

static void *instance_of(const struct host *h, const tarn_client *c, const struct tarn__served *t,
			 uint64_t id)
{
	/* A handle keeps the object, so its entry stays as it is. */
	return h->data + tarn__load_relaxed(&c->dir[tarn__id_index(id)].offset) + t->header;
}

/* The failure of a method in place, as the calling method's last. */
static int pass_failure(struct tarn_context *ctx, int code)
{
	struct tarn__payload p;
	const char *sentence;
	tarn_parcel parcel;
	int r = code;

	if (code == -TARN_EREMOTE && ctx->fault != NULL)
		return tarn__fail_fault(tarn_fault_ref(ctx->fault));
	if (tarn__builder_payload(&ctx->result, &p) < 0 ||
	    tarn__parcel_lend(&parcel, p.words, p.n_words, p.n_values, p.refs, p.n_refs, false) < 0)
		return code;
	if (tarn_value_string(tarn_parcel_at(&parcel, 0), &sentence, NULL) == 0)
		r = tarn__fail(code, "%s", sentence);
	return r;
}

/* A context within the one that runs; NULL and a sentence: no memory, or too deep. */
static struct tarn_context *nest(struct executor *e, const struct tarn__served *t,
				 const struct tarn__offer *offer, enum tarn__deed deed,
				 tarn_object *object, const tarn_builder *args)
{
	struct tarn_context *ctx;
	struct tarn__payload p;

	if (e->depth >= DEPTH_MOST) {
		tarn__fail(-ELOOP, "%s.%s: calls are nested %u deep.", t->type->name,
			   offer != NULL ? offer->name : "create", e->depth);
		return NULL;
	}
	if (tarn__args_payload(args, &p) < 0)
		return NULL;
	ctx = malloc(sizeof *ctx);
	if (ctx == NULL) {
		tarn__fail(-ENOMEM, "No memory for a call of %s.", t->type->name);
		return NULL;
	}
	tarn__context_init(ctx, e->pool->host, t, offer, deed, object->base.id,
			   instance_of(e->pool->host, e->pool->client, t, object->base.id));
	if (tarn__parcel_lend(&ctx->args, p.words, p.n_words, p.n_values, p.refs, p.n_refs, false) < 0) {
		tarn__context_fini(ctx);
		free(ctx);
		return NULL;
	}
	ctx->caller = e->top->caller;
	ctx->executor = e;
	ctx->state = TARN__DIR_OBJECT | (uint64_t)t->index << TARN__DIR_TYPE_SHIFT;
	ctx->self_handle = object;
	ctx->outer = e->top;
	return ctx;
}

/* Runs it and says what it held. The context is still to be ended. */
static int run(struct executor *e, struct tarn_context *ctx)
{
	struct tarn__lane *l;
	int r, said;

	e->top = ctx;
	e->depth++;
	r = tarn__context_run(ctx);
	e->depth--;
	e->top = ctx->outer;
	said = tarn__lane_enter(e->pool->client, &l);
	if (said < 0)
		return said;
	said = tarn__exec_over(l, ctx, r == 0);
	tarn__lane_leave(l);
	return r < 0 ? pass_failure(ctx, r) : said;
}

static void end(struct executor *e, struct tarn_context *ctx)
{
	struct tarn__lane *l;

	if (tarn__lane_enter(e->pool->client, &l) == 0) {
		tarn__exec_fini(l, ctx);
		tarn__lane_leave(l);
	}
	tarn__context_fini(ctx);
	free(ctx);
}

/* ---- calls ---- */

static int find_offer(const struct host *h, const tarn_object *object, unsigned method,
		      const struct tarn__served **ret_type, const struct tarn__offer **ret_offer)
{
	const struct tarn__served *t;

	/* The flag: a block's handle has the type of whatever had its place before. */
	if (!(tarn__flags(&object->base) & REF_OBJECT))
		return tarn__fail(-TARN_EKIND, "A method was called on something that is not an object.");
	t = &h->base.catalog->served[object->base.type];
	if (tarn__load_relaxed(&object->base.client->dir[tarn__id_index(object->base.id)].state) &
	    TARN__DIR_LOST)
		return tarn__fail(-TARN_ESTALE, "The object was lost with the process of its server: type "
				  "%s is private to that (TARN_TYPE_PRIVATE).", t->type->name);
	if (method >= t->n_offers && method != TARN__METHOD_DESCRIBE)
		return tarn__fail(-TARN_ENOMETHOD, "Type %s has no method number %u.", t->type->name, method);
	*ret_type = t;
	*ret_offer = method == TARN__METHOD_DESCRIBE ? &t->describe : &t->offer[method];
	return 0;
}

static int fail_enter(const struct tarn__served *t, const struct tarn__offer *offer, int r)
{
	switch (r) {
	case -EDEADLK:
		return tarn__fail(r, "%s.%s cannot run: the object is busy with a call that waits for this "
				  "one.", t->type->name, offer->name);
	case -ETIMEDOUT:
		return tarn__fail(r, "%s.%s: the object was busy for all of the time allowed.",
				  t->type->name, offer->name);
	default:
		return tarn__fail(r, "%s.%s: %s.", t->type->name, offer->name, tarn_error_text(r));
	}
}

static int call(tarn_object *object, unsigned method, const tarn_builder *args, tarn_parcel *ret,
		int64_t timeout_ns)
{
	struct executor *e = tarn__executor_me();
	const struct tarn__served *t = NULL;
	const struct tarn__offer *offer = NULL;
	struct tarn_context *ctx;
	struct presence here;
	int r = find_offer(e->pool->host, object, method, &t, &offer);

	if (r < 0)
		return r;
	r = tarn__actor_enter(e, t, offer, object->base.id, tarn__deadline(timeout_ns), &here);
	if (r < 0)
		return fail_enter(t, offer, r);
	ctx = nest(e, t, offer, TARN__DEED_METHOD, object, args);
	r = ctx != NULL ? run(e, ctx) : tarn_error_last()->code;
	if (r == 0 && ret != NULL)
		r = tarn_parcel_from(&ctx->result, ret);
	if (ctx != NULL)
		end(e, ctx);
	tarn__actor_leave(e, &here);
	return r;
}

/* ---- making objects ---- */

/* A new object without its creator; the caller owns a reference. */
static int make_raw(struct tarn__lane *l, const struct tarn__served *t, tarn_object **ret)
{
	const struct tarn__payload none = { .words = NULL };
	struct tarn__message_out m;
	tarn_object *object;
	tarn_parcel p;
	int r = tarn__message_build(l, &m, TARN__MSG_CREATE, 0, t->index, 0, TARN__CALL_RAW,
				    TARN__SYNC_REPLY, &none);

	if (r == 0)
		r = tarn__lane_prepare(l, m.slots, TARN__SYNC_REPLY, UINT64_MAX);
	if (r < 0)
		return r;
	l->answered = false;
	tarn__to_server(l->client);
	l->awaited = tarn__lane_post_ask(l, m.word, m.slots, TARN__SYNC_REPLY, 0);
	tarn__lane_ring(l);
	r = tarn__lane_await(l, TARN_FOREVER);
	if (r < 0) {
		l->awaited = 0;
		return r;
	}
	tarn__host_heard(&tarn__executor_me()->pool->host->base);
	r = tarn__reply_awaited(l, &p);
	if (r < 0)
		return r;
	r = tarn_value_object(tarn_parcel_at(&p, 0), &object);
	if (r == 0)
		*ret = tarn_object_ref(object);
	tarn_parcel_fini(&p);
	return r;
}

static int say_made(struct executor *e, uint64_t id)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(e->pool->client, &l);

	if (r < 0)
		return r;
	r = tarn__lane_say(l, tarn__header(TARN__MSG_MADE, 1, 0, 0), id, 0, 0, 0, 0, 0);
	tarn__lane_leave(l);
	return r;
}

/* Runs the creator of @object in place; *@ret may become another object, with a reference. */
static int create_in_place(struct executor *e, const struct tarn__served *t, tarn_object *object,
			   const tarn_builder *args, tarn_object **ret)
{
	struct tarn_context *ctx = nest(e, t, NULL, TARN__DEED_CREATE, object, args);
	int r = ctx != NULL ? run(e, ctx) : tarn_error_last()->code;

	if (r == 0 && ctx->instead != 0) {
		*ret = tarn_object_ref(tarn__object_of_base(ctx->result.refs[0]));
		tarn_object_unref(object);
	} else if (r == 0) {
		*ret = object;
		r = say_made(e, object->base.id);
	}
	if (ctx != NULL)
		end(e, ctx);
	return r;
}

/* The caller owns the reference. */
static int make(struct executor *e, const struct tarn__served *t, const void *instance,
		const tarn_builder *args, tarn_object **ret)
{
	struct tarn__lane *l;
	tarn_object *object = NULL;
	int r = tarn__lane_enter(e->pool->client, &l);

	if (r < 0)
		return r;
	r = make_raw(l, t, &object);
	tarn__lane_leave(l);
	if (r < 0)
		return r;
	if (instance != NULL) {
		memcpy(instance_of(e->pool->host, e->pool->client, t, object->base.id), instance,
		       t->type->size);
		*ret = object;
		r = say_made(e, object->base.id);
	} else {
		r = create_in_place(e, t, object, args, ret);
	}
	if (r < 0)
		tarn_object_unref(object); /* it was never made: no destructor */
	return r;
}

int tarn__exec_make(struct tarn_context *ctx, const struct tarn__served *t, const void *instance,
		    const tarn_builder *args, tarn_object **ret)
{
	tarn_object *object;
	int r = make(ctx->executor, t, instance, args, &object);

	if (r == 0)
		r = tarn__exec_own(ctx, &object->base);
	if (r == 0)
		*ret = object;
	return r;
}

static int create(tarn_client *client, const char *type, const tarn_builder *args, tarn_object **ret)
{
	struct executor *e = tarn__executor_me();
	const struct tarn__served *t = tarn__catalog_find(e->pool->host->base.catalog, type);

	(void)client;
	/* What the reactor does itself needs no executor. */
	if (t == NULL || (t->type->flags & (TARN_TYPE_ADOPT | TARN_TYPE_INLINE | TARN_TYPE_RESULT_ONLY)))
		return -ENOTSUP;
	return make(e, t, NULL, args, ret);
}

const struct tarn__direct tarn__host_direct = { .mine = mine, .runs = runs, .call = call, .create = create };
