/* SPDX-License-Identifier: Apache-2.0 */
/* Objects made by methods. */
#include <string.h>

#include "context.h"
#include "lib/error.h"
#include "lib/value/fault.h"

/* ---- on the reactor ---- */

/* Runs the creator of a new object within the method that wants it. */
static int create_inline(struct tarn_context *outer, const struct tarn__served *t, uint64_t id,
			 void *self, const tarn_builder *args, uint64_t *ret_instead)
{
	struct host *h = outer->host;
	struct tarn__payload p;
	struct tarn_context *ctx;
	int r = 0;

	if (h->depth == REACTOR_DEPTH)
		return tarn__fail(-E2BIG, "Creators are nested more than %u deep.", REACTOR_DEPTH - 1);
	memset(&p, 0, sizeof p);
	if (args != NULL)
		r = tarn__builder_payload(args, &p);
	ctx = &h->reactor[h->depth];
	if (r == 0)
		r = tarn__parcel_lend(&ctx->args, p.words, p.n_words, p.n_values, p.refs, p.n_refs,
				      false);
	if (r < 0)
		return r;
	h->depth++;
	tarn__context_init(ctx, h, t, NULL, TARN__DEED_CREATE, id, self);
	ctx->caller = outer->caller;
	ctx->state = TARN__DIR_OBJECT | (uint64_t)t->index << TARN__DIR_TYPE_SHIFT;
	/* Its wishes are for its own object. */
	struct tarn__run run = *outer->run;

	run.id = id;
	run.self = self;
	run.context = ctx;
	ctx->run = &run;
	r = tarn__context_run(ctx);
	*ret_instead = ctx->instead;
	/* What becomes of it is known when it is known of the outer one. */
	while (r == 0 && ctx->endings != NULL) {
		struct tarn__ending *e = ctx->endings;

		ctx->endings = e->next;
		tarn__context_at_end(outer, e);
	}
	if (r == -TARN_EREMOTE && ctx->fault != NULL)
		r = tarn__fail_fault(tarn_fault_ref(ctx->fault));
	tarn__context_fini(ctx);
	h->depth--;
	return r;
}

static int make_inline(struct tarn_context *ctx, const struct tarn__served *t, const void *instance,
		       const tarn_builder *args, tarn_object **ret)
{
	struct tarn__look look = { .state = TARN__DIR_OBJECT |
					    (uint64_t)t->index << TARN__DIR_TYPE_SHIFT };
	uint64_t id, instead = 0;
	void *self;
	int r;

	if (!(t->type->flags & TARN_TYPE_INLINE) && instance == NULL)
		return tarn__fail(-TARN_ESTATE, "%s.%s runs on the server's thread and can only make objects "
				  "of types that are TARN_TYPE_INLINE, which %s is not.",
				  ctx->served->type->name, tarn_context_method(ctx), t->type->name);
	r = ctx->run->ops->make(ctx->run, t, &id, &self);
	if (r < 0)
		return tarn__fail(r, "No memory for an object of type %s: %s.", t->type->name,
				  tarn_error_text(r));
	if (instance != NULL)
		memcpy(self, instance, t->type->size);
	else
		r = create_inline(ctx, t, id, self, args, &instead);
	if (r < 0)
		return r;
	if (instead == 0)
		ctx->run->ops->made(ctx->run, id);
	else
		r = ctx->run->ops->look(ctx->run, instead, &look);
	if (r < 0)
		return tarn__fail(r, "The object that the creator of %s gave is no more.", t->type->name);
	struct tarn_block *b = tarn__context_lend(ctx, instead != 0 ? instead : id, &look);
	if (b == NULL)
		return -E2BIG;
	*ret = tarn__object_of_base(b);
	return 0;
}

/* ---- for methods ---- */

static int find_type(const struct tarn_context *ctx, const char *type,
		     const struct tarn__served **ret)
{
	*ret = tarn__catalog_find(ctx->host->base.catalog, type);
	if (*ret == NULL)
		return tarn__fail(-TARN_ENOTYPE, "This server has no type \"%s\".", type);
	if ((*ret)->type->flags & TARN_TYPE_ADOPT)
		return tarn__fail(-TARN_EKIND, "Type %s adopts objects; it has no instances to make.",
				  type);
	return 0;
}

static int make(struct tarn_context *ctx, const char *type, const void *instance,
		const tarn_builder *args, tarn_object **ret)
{
	const struct tarn__served *t;
	int r = find_type(ctx, type, &t);

	if (r < 0)
		return r;
	if (ctx->deed == TARN__DEED_DESTROY || ctx->deed == TARN__DEED_DEPARTED)
		return tarn__fail(-TARN_ESTATE, "A destructor, or departed, makes no objects.");
	return ctx->run != NULL ? make_inline(ctx, t, instance, args, ret)
				: tarn__exec_make(ctx, t, instance, args, ret);
}

int tarn_managed(tarn_context *ctx, const char *type, const tarn_builder *args,
		 tarn_object **ret_object)
{
	return make(ctx, type, NULL, args, ret_object);
}

int tarn_managed_move(tarn_context *ctx, const char *type, const void *instance,
		      tarn_object **ret_object)
{
	if (instance == NULL)
		return tarn__fail(-EINVAL, "No instance was given.");
	return make(ctx, type, instance, NULL, ret_object);
}

/* The object whose instance is at @self: what stands before it is a hint, DIR's word counts. */
int tarn_managed_of(tarn_context *ctx, const void *self, tarn_object **ret_object)
{
	const struct host *h = ctx->host;
	uintptr_t at = (uintptr_t)self, base = (uintptr_t)h->data;
	struct tarn__instance head;
	struct tarn__look look;
	struct tarn_block *b = NULL;
	int r = -ENOENT;

	if (at < base + sizeof head || at >= base + h->data_bytes || at % 16 != 0)
		return tarn__fail(-ENOENT, "%p is not the instance of an object of this server.", self);
	memcpy(&head, (const unsigned char *)self - sizeof head, sizeof head);
	if (head.type == 0 || head.type >= h->base.catalog->n)
		return tarn__fail(-ENOENT, "%p is not the instance of an object.", self);
	const struct tarn__served *t = &h->base.catalog->served[head.type];

	if (ctx->run != NULL) {
		r = ctx->run->ops->look(ctx->run, head.id, &look);
		if (r == 0 && (!(look.state & TARN__DIR_OBJECT) ||
			       tarn__dir_type(look.state) != t->index ||
			       base + look.offset + t->header != at))
			r = -ENOENT;
		if (r == 0)
			b = tarn__context_lend(ctx, head.id, &look);
	} else {
		r = tarn__exec_grab(ctx, head.id, &b);
		const tarn_client *c = r == 0 ? tarn__exec_client(ctx) : NULL;
		uint32_t index = tarn__id_index(head.id);

		/* Our handle keeps the entry as it is. */
		if (r == 0 && (!(tarn__flags(b) & REF_OBJECT) || b->type != t->index ||
			       base + tarn__load_relaxed(&c->dir[index].offset) + t->header != at))
			r = -ENOENT;
	}
	if (r < 0 || b == NULL)
		return tarn__fail(-ENOENT, "%p is not the instance of an object that lives.", self);
	*ret_object = tarn__object_of_base(b);
	return 0;
}

int tarn_context_return_object(tarn_context *ctx, tarn_object *existing)
{
	if (ctx->deed != TARN__DEED_CREATE)
		return tarn__fail(-TARN_ESTATE, "Only a creator can give an object that exists; a method "
				  "puts it into its result.");
	if (existing == NULL)
		return tarn__fail(-EINVAL, "No object was given.");
	/* In the result, so that it lives until the result is sent. */
	tarn_builder_reset(&ctx->result);
	ctx->instead = existing->base.id;
	return tarn_put_object(&ctx->result, existing);
}
