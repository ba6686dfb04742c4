/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: what is the same on the reactor and on executors. */
#include "context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/types/store.h"
#include "lib/types/memory.h"
#include "lib/value/fault.h"
#include "registry.h"

/* ---- life ---- */

void tarn__context_fini(struct tarn_context *ctx)
{
	if (tarn__unlikely(ctx->endings != NULL))
		tarn__context_ended(ctx, false);
	tarn_builder_fini(&ctx->result);
	if (tarn__unlikely(ctx->fault != NULL))
		ctx->fault = tarn_fault_unref(ctx->fault);
}

/* ---- failures ---- */

/* Cuts what is too long: a sentence has an end. */
static void prefix(char *text, size_t bytes, const struct tarn_context *ctx)
{
	int n = snprintf(text, bytes, "%s.%s: ", ctx->served->type->name, tarn_context_method(ctx));

	if (n > 0 && (size_t)n < bytes)
		snprintf(text + n, bytes - (size_t)n, "%.*s", (int)(bytes - (size_t)n) - 1,
			 tarn_error_last()->message);
}

int tarn__context_fail(struct tarn_context *ctx, int code, bool machinery)
{
	char text[508];

	if (code >= 0 || code < -UINT16_MAX)
		code = -TARN_ERESULT; /* a method's 17 is none of our codes */
	tarn_builder_reset(&ctx->result);
	if (machinery) {
		prefix(text, sizeof text, ctx);
		if (tarn_put_string(&ctx->result, text) < 0)
			tarn_builder_reset(&ctx->result);
		return code;
	}
	if (ctx->fault == NULL) {
		/* It returned a code: its own, or one that a function of the library gave it. */
		if (tarn_error_last()->code != code)
			tarn__fail(code, "%s.%s failed: %s.", ctx->served->type->name,
				   tarn_context_method(ctx), tarn_error_text(code));
		ctx->fault = tarn_fault_from_last();
	}
	if (tarn_put_error(&ctx->result, ctx->fault) < 0)
		tarn_builder_reset(&ctx->result);
	return -TARN_EREMOTE;
}

int tarn__context_unsendable(struct tarn_context *ctx, int r)
{
	const char *why = tarn_error_last()->code == r ? tarn_error_last()->message : tarn_error_text(r);
	char text[400];

	snprintf(text, sizeof text, "%.399s", why);
	return tarn__context_fail(ctx, tarn__fail(-TARN_ERESULT, "its result cannot be sent: %s", text),
				  true);
}

/* ---- running ---- */

static int check_args(struct tarn_context *ctx)
{
	const tarn_type *type = ctx->served->type;
	const char *args = ctx->deed == TARN__DEED_METHOD ? ctx->offer->args : type->args;

	if (ctx->deed == TARN__DEED_METHOD &&
	    (args == NULL || tarn__plain_matches(&ctx->offer->plain, &ctx->args)))
		return 0;
	if (ctx->deed == TARN__DEED_DESTROY || ctx->deed == TARN__DEED_DEPARTED)
		return 0; /* nobody gives any */
	if (ctx->deed == TARN__DEED_CREATE && type->create == NULL && args == NULL)
		args = ""; /* nobody would look at them */
	if (args != NULL && *args == '\0' && tarn_parcel_count(&ctx->args) == 0)
		return 0;
	return args != NULL ? tarn__signature_match(args, &ctx->args) : 0;
}

TARN__CALLS_METHODS static int run_it(struct tarn_context *ctx)
{
	const tarn_type *type = ctx->served->type;
	int r = 0;

	switch (ctx->deed) {
	case TARN__DEED_METHOD:
		r = ctx->offer->fn(ctx, ctx->self);
		break;
	case TARN__DEED_CREATE:
		if (type->create != NULL)
			r = type->create(ctx, ctx->self);
		break;
	case TARN__DEED_DESTROY:
		type->destroy(ctx, ctx->self);
		break;
	case TARN__DEED_DEPARTED:
		type->departed(ctx, ctx->self, ctx->caller.client);
		break;
	}
	TARN__NO_TAIL_CALL();
	return r;
}

TARN__CALLS_METHODS int tarn__context_method(struct tarn_context *ctx)
{
	int r = ctx->offer->fn(ctx, ctx->self);

	TARN__NO_TAIL_CALL();
	return r;
}

/* The result of a method with a result type is the object that its type makes of it. */
static int make_result(struct tarn_context *ctx)
{
	const struct tarn__served *t = &ctx->host->base.catalog->served[ctx->offer->result_type];
	tarn_object *object = NULL;
	tarn_parcel given;
	tarn_builder args;
	int r = tarn_parcel_from(&ctx->result, &given);

	if (r < 0)
		return r;
	if (t->type->flags & TARN_TYPE_ADOPT) {
		enum tarn_kind kind = tarn_value_kind(tarn_parcel_at(&given, 0));

		r = tarn_parcel_count(&given) == 1 &&
				    (kind == TARN_KIND_OBJECT || kind == TARN_KIND_BLOCK)
			    ? 0
			    : tarn__fail(-TARN_ERESULT, "the result is adopted as a %s, for which it must "
					 "be one object or block; found %u values, the first of kind %s",
					 t->type->name, tarn_parcel_count(&given), tarn_kind_name(kind));
		tarn_parcel_fini(&given);
		return r;
	}
	tarn_builder_init(&args);
	for (unsigned i = 0; i < tarn_parcel_count(&given); i++)
		tarn_put_value(&args, tarn_parcel_at(&given, i));
	r = tarn_managed(ctx, t->type->name, &args, &object);
	tarn_builder_fini(&args);
	tarn_builder_reset(&ctx->result);
	if (r == 0)
		r = tarn_put_object(&ctx->result, object);
	tarn_parcel_fini(&given);
	return r;
}

int tarn__context_over(struct tarn_context *ctx, int r)
{
	if (tarn__unlikely(r != 0)) {
		if (ctx->run != NULL && ctx->run->deferred != NULL && *ctx->run->deferred)
			return r < 0 ? r : -E2BIG; /* nobody is told */

		/* Arguments that the method itself found wrong are the caller's mistake. */
		bool args = r == -TARN_EARGS && ctx->fault == NULL && tarn_error_last()->code == r;

		return tarn__context_fail(ctx, r, args);
	}
	if (tarn__unlikely(ctx->deed == TARN__DEED_METHOD && ctx->offer->result_type != 0)) {
		r = make_result(ctx);
		if (r < 0)
			return tarn__context_fail(ctx, r, r == -TARN_ERESULT);
	}
	return 0;
}

int tarn__context_run(struct tarn_context *ctx)
{
	int r = check_args(ctx);

	return tarn__likely(r == 0) ? tarn__context_over(ctx, run_it(ctx))
				    : tarn__context_fail(ctx, r, true);
}

/* ---- handles without a claim ---- */

struct tarn_block *tarn__context_lend(struct tarn_context *ctx, uint64_t id,
				      const struct tarn__look *look)
{
	/* A count that no method brings down to 0. */
	const uint64_t many = 1u << 30;
	struct tarn_block *b;

	for (unsigned k = 0; k < ctx->n_lent; k++)
		if (ctx->lent[k].id == id)
			return &ctx->lent[k];
	if (ctx->n_lent == LENT_MOST) {
		tarn__fail(-E2BIG, "A method that runs on the server's thread can have %u references.",
			   LENT_MOST);
		return NULL;
	}
	b = &ctx->lent[ctx->n_lent++];
	*b = (struct tarn_block){ .refs = many | REF_SHARED | REF_UNLISTED, .client = &ctx->host->nobody,
				  .id = id };
	if (look->state & TARN__DIR_OBJECT) {
		b->refs |= REF_OBJECT;
		b->type = (uint16_t)tarn__dir_type(look->state);
	} else if (look->state & TARN__DIR_CHANNEL) {
		b->refs |= REF_CHANNEL;
	} else {
		b->data = ctx->host->data + look->offset;
		b->size = b->capacity = look->size;
		if (look->state & TARN__DIR_SEALED)
			b->refs |= REF_SEALED;
	}
	return b;
}

/* ---- what methods ask ---- */

const tarn_parcel *tarn_context_args(const tarn_context *ctx)
{
	return &ctx->args;
}

int tarn_context_get(tarn_context *ctx, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = tarn__parcel_get_v(&ctx->args, format, ap);
	va_end(ap);
	return r;
}

tarn_builder *tarn_context_result(tarn_context *ctx)
{
	return &ctx->result;
}

tarn_caller tarn_context_caller(const tarn_context *ctx)
{
	return ctx->caller;
}

bool tarn_context_canceled(const tarn_context *ctx)
{
	/* Before the job is looked at: a server that ends frees it, whatever still runs. Relaxed. */
	if (tarn__load32_relaxed(&ctx->host->ending) != 0)
		return true;
	for (; ctx != NULL; ctx = ctx->outer)
		/* Relaxed: a hint to stop. */
		if (ctx->canceled != NULL && tarn__load32_relaxed(ctx->canceled) != 0)
			return true;
	return false;
}

const char *tarn_context_method(const tarn_context *ctx)
{
	return ctx->deed == TARN__DEED_METHOD ? ctx->offer->name
	     : ctx->deed == TARN__DEED_CREATE ? "create"
	     : ctx->deed == TARN__DEED_DESTROY ? "destroy" : "departed";
}

tarn_fault **tarn_context_fault(tarn_context *ctx)
{
	return &ctx->fault;
}

tarn_client *tarn_context_client(tarn_context *ctx)
{
	return ctx->run != NULL ? NULL : tarn__exec_client(ctx);
}

tarn_object *tarn_context_self(tarn_context *ctx)
{
	tarn_object *self = NULL;

	if (ctx->run != NULL) {
		const struct tarn__look look = { .state = ctx->state };
		struct tarn_block *b = tarn__context_lend(ctx, ctx->id, &look);

		return b != NULL ? tarn__object_of_base(b) : NULL;
	}
	return tarn__exec_self(ctx, &self) == 0 ? self : NULL;
}

/* ---- edges ---- */

static int fail_ended(const struct tarn_context *ctx)
{
	return tarn__fail(-TARN_ESTATE, "%s.%s: an object that ends can hold and drop nothing.",
			  ctx->served->type->name, tarn_context_method(ctx));
}

static int hold(tarn_context *ctx, struct tarn_block *handle)
{
	if (handle == NULL)
		return tarn__fail(-EINVAL, "Nothing to hold: the reference is NULL.");
	if (ctx->deed == TARN__DEED_DESTROY)
		return fail_ended(ctx);
	if (ctx->run == NULL)
		return tarn__exec_hold(ctx, handle);
	int r = ctx->run->ops->hold(ctx->run, handle->id);
	return r < 0 ? tarn__fail(r, "%s.%s: the reference cannot be held: %s.",
				  ctx->served->type->name, tarn_context_method(ctx), tarn_error_text(r))
		     : 0;
}

int tarn_self_hold_block(tarn_context *ctx, tarn_block *block)
{
	return hold(ctx, block);
}

int tarn_self_hold_object(tarn_context *ctx, tarn_object *object)
{
	return hold(ctx, object != NULL ? &object->base : NULL);
}

int tarn_self_hold_channel(tarn_context *ctx, tarn_channel *channel)
{
	/* Its head only: a lent one has no more, and lies where a whole one must not. */
	return hold(ctx, (struct tarn_block *)(void *)channel);
}

int tarn_self_drop(tarn_context *ctx, uint64_t id)
{
	if (ctx->deed == TARN__DEED_DESTROY)
		return fail_ended(ctx);
	if (ctx->run == NULL)
		return tarn__exec_drop(ctx, id);
	int r = ctx->run->ops->drop(ctx->run, id);
	if (r == -E2BIG)
		return tarn__fail(r, "%s.%s drops too much in one call; objects it holds can go in "
				  "several.", ctx->served->type->name, tarn_context_method(ctx));
	return r < 0 ? tarn__fail(r, "%s.%s: the object does not hold %u:%llu.",
				  ctx->served->type->name, tarn_context_method(ctx), tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id))
		     : 0;
}

/* A handle on @id, of whatever kind. */
static int grab(tarn_context *ctx, uint64_t id, struct tarn_block **ret)
{
	struct tarn_block *b = NULL;
	int r;

	if (ctx->run != NULL) {
		struct tarn__look look;

		r = ctx->run->ops->look(ctx->run, id, &look);
		b = r == 0 ? tarn__context_lend(ctx, id, &look) : NULL;
		if (r == 0 && b == NULL)
			r = -E2BIG;
	} else {
		r = tarn__exec_grab(ctx, id, &b);
	}
	if (r == -TARN_ESTALE)
		return tarn__fail(r, "%u:%llu is no more.", tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id));
	if (r < 0)
		return r;
	*ret = b;
	return 0;
}

/* The same of the kind @flag (a REF_ flag; 0: a block). */
static int held(tarn_context *ctx, uint64_t id, uint64_t flag, const char *expected,
		struct tarn_block **ret)
{
	struct tarn_block *b = NULL;
	int r = grab(ctx, id, &b);

	if (r < 0)
		return r;
	if ((tarn__flags(b) & (REF_OBJECT | REF_CHANNEL)) != flag)
		return tarn__fail(-TARN_EKIND, "%u:%llu is no %s.", tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id), expected);
	*ret = b;
	return 0;
}

int tarn_self_put(tarn_context *ctx, uint64_t id)
{
	struct tarn_block *b;
	int r = grab(ctx, id, &b);

	if (r < 0)
		return r;
	const uint64_t flags = tarn__flags(b);

	return tarn__put_handle(&ctx->result, flags & REF_OBJECT ? TARN_KIND_OBJECT
					      : flags & REF_CHANNEL ? TARN_KIND_CHANNEL
								    : TARN_KIND_BLOCK, b);
}

int tarn_self_block(tarn_context *ctx, uint64_t id, tarn_block **ret_block)
{
	return held(ctx, id, 0, "block", ret_block);
}

int tarn_self_object(tarn_context *ctx, uint64_t id, tarn_object **ret_object)
{
	struct tarn_block *b = NULL;
	int r = held(ctx, id, REF_OBJECT, "object", &b);

	if (r == 0)
		*ret_object = tarn__object_of_base(b);
	return r;
}

/* ---- for Tarn's own types (lib/types/memory.h) ---- */

static int look(tarn_context *ctx, uint64_t id, struct tarn__look *ret)
{
	if (ctx->run == NULL)
		return tarn__fail(-ENOTSUP, "Only on the server's thread.");
	int r = ctx->run->ops->look(ctx->run, id, ret);

	return r < 0 ? tarn__fail(r, "%u:%llu is no more.", tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id))
		     : 0;
}

int tarn__self_memory(tarn_context *ctx, uint64_t id, struct tarn__memory *ret)
{
	struct tarn__look at;
	int r = look(ctx, id, &at);

	if (r < 0)
		return r;
	if (at.state & (TARN__DIR_OBJECT | TARN__DIR_CHANNEL))
		return tarn__fail(-TARN_EKIND, "%u:%llu is no block.", tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id));
	if (ctx->run->ops->holds != NULL && !ctx->run->ops->holds(ctx->run, id))
		return tarn__fail(-TARN_ESTALE, "%u:%llu is none of the object's.", tarn__id_index(id),
				  (unsigned long long)tarn__id_generation(id));
	*ret = (struct tarn__memory){ ctx->host->data + at.offset, at.size, at.offset };
	return 0;
}

void tarn__self_note(tarn_context *ctx, const uint64_t *word)
{
	if (ctx->run != NULL && ctx->run->ops->note != NULL)
		ctx->run->ops->note(ctx->run, word);
}

void tarn__self_store(tarn_context *ctx, uint64_t *word, uint64_t value)
{
	tarn__self_note(ctx, word);
	/* Release: its partners are those of the word, named where that is. */
	tarn__store_release(word, value);
}

void tarn__self_later(tarn_context *ctx, uint64_t *word, uint64_t value)
{
	if (ctx->run != NULL) {
		ctx->run->ops->later(ctx->run, word, value);
		return;
	}
	assert(ctx->n_later < TARN__LATER);
	ctx->later[ctx->n_later].word = word;
	ctx->later[ctx->n_later++].value = value;
}

int tarn__self_put(tarn_context *ctx, uint64_t id)
{
	struct tarn__look at;
	struct tarn_block *b;
	int r = look(ctx, id, &at);

	if (r < 0)
		return r;
	b = tarn__context_lend(ctx, id, &at);
	if (b == NULL)
		return -E2BIG;
	return tarn__put_handle(&ctx->result,
				at.state & TARN__DIR_OBJECT ? TARN_KIND_OBJECT
				: at.state & TARN__DIR_CHANNEL ? TARN_KIND_CHANNEL : TARN_KIND_BLOCK,
				b);
}

int tarn__self_give(tarn_context *ctx, uint64_t id)
{
	return ctx->run != NULL && ctx->run->ops->give != NULL ? ctx->run->ops->give(ctx->run, id) : -ENOTSUP;
}

int tarn__self_drop_late(tarn_context *ctx, uint64_t id)
{
	return ctx->run != NULL && ctx->run->ops->drop_late != NULL ? ctx->run->ops->drop_late(ctx->run, id)
								    : -ENOTSUP;
}

struct tarn__memory tarn__memory_of(const tarn_block *block)
{
	return (struct tarn__memory){ block->data, tarn_block_size(block),
				      (uint64_t)(block->data - block->client->data) };
}

/* ---- what every type has ---- */

#define DESCRIPTION_MOST 4096

int tarn__describe(tarn_context *ctx, void *self)
{
	char text[DESCRIPTION_MOST] = "";

	struct tarn__store *store = ctx->host->base.store;
	int n = ctx->served->type->describe != NULL
			? ctx->served->type->describe(self, text, sizeof text)
		: store != NULL ? tarn__store_describe(store, ctx->id, text, sizeof text) : -ENOENT;

	if (n == -ENOENT && ctx->served->type->describe == NULL)
		return tarn_put_nil(&ctx->result);
	if (n < 0)
		return n;
	text[sizeof text - 1] = '\0';
	return tarn_put_string(&ctx->result, text);
}

int tarn__field_get(tarn_context *ctx, void *self)
{
	const tarn_field *f = ctx->offer->field;
	const char *at = (const char *)self + f->offset;
	union {
		int i;
		unsigned u;
		int64_t q;
		uint64_t uq;
		double d;
	} v;

	memcpy(&v, at, tarn__field_bytes(f->letter));
	switch (f->letter) {
	case 'b':
		return tarn_put_bool(&ctx->result, (*at & 1) != 0); /* whatever lies there */
	case 'i':
		return tarn_put_int(&ctx->result, v.i);
	case 'I':
		return tarn_put_uint(&ctx->result, v.u);
	case 'q':
		return tarn_put_int(&ctx->result, v.q);
	case 'Q':
		return tarn_put_uint(&ctx->result, v.uq);
	default:
		return tarn_put_double(&ctx->result, v.d);
	}
}

int tarn__field_set(tarn_context *ctx, void *self)
{
	const tarn_field *f = ctx->offer->field;
	const char format[2] = { f->letter, '\0' };

	return tarn_parcel_get(&ctx->args, format, (void *)((char *)self + f->offset));
}
