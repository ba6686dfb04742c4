/* SPDX-License-Identifier: Apache-2.0 */
/* What methods of Tarn's own types may do: see lib/types/inside.h. */
#include "lib/types/inside.h"

#include "context.h"
#include "lib/error.h"

static_assert(TARN__METHOD_BOOKS == TARN__OFFER_BOOKS, "one flag");

struct tarn__store *tarn__context_store(const tarn_context *ctx)
{
	return ctx->host->base.store;
}

uint64_t tarn__context_id(const tarn_context *ctx)
{
	return ctx->id;
}

bool tarn__context_is_inline(const tarn_context *ctx)
{
	return ctx->run != NULL;
}

bool tarn__context_is_brief(const tarn_context *ctx)
{
	return ctx->run != NULL && ctx->run->brief;
}

int tarn__context_defer(tarn_context *ctx)
{
	if (ctx->run != NULL && ctx->run->deferred != NULL)
		*ctx->run->deferred = true;
	/* Nobody sees the sentence, unless this was a creator within a user's inline method. */
	return tarn__fail(-E2BIG, "%s.%s is too much for the server's thread.",
			  ctx->served->type->name, tarn_context_method(ctx));
}

void tarn__context_at_end(tarn_context *ctx, struct tarn__ending *ending)
{
	ending->next = ctx->endings;
	ctx->endings = ending;
}

void tarn__endings_run(struct tarn__ending **list, bool succeeded)
{
	while (*list != NULL) {
		struct tarn__ending *e = *list;

		*list = e->next;
		e->fn(e, succeeded);
	}
}

void tarn__context_ended(struct tarn_context *ctx, bool succeeded)
{
	tarn__endings_run(&ctx->endings, succeeded);
}

void tarn__context_seal(struct tarn_context *ctx)
{
	while (ctx->endings != NULL) {
		struct tarn__ending *e = ctx->endings;
		const struct tarn__view_root *root = e->seal(e);

		if (root != NULL)
			ctx->run->ops->contents(ctx->run, root);
		ctx->endings = e->next;
		e->next = ctx->host->base.sealed;
		ctx->host->base.sealed = e;
	}
}

void tarn__sealed_settle(struct tarn__host *host, bool committed)
{
	tarn__endings_run(&host->sealed, committed);
}

uint64_t tarn__departed_from(const tarn_context *ctx)
{
	return ctx->run != NULL ? ctx->run->from : 0;
}

void tarn__departed_again(tarn_context *ctx, uint64_t from)
{
	if (ctx->run != NULL)
		ctx->run->again = from;
}

int tarn__self_hold_id(tarn_context *ctx, uint64_t id)
{
	struct tarn_block *b;

	if (ctx->run != NULL)
		return ctx->run->ops->hold(ctx->run, id);
	int r = tarn__exec_grab(ctx, id, &b);
	return r == 0 ? tarn__exec_hold(ctx, b) : r;
}

int tarn__self_handle(tarn_context *ctx, uint64_t id, struct tarn_block **ret)
{
	struct tarn__look look;
	int r;

	if (ctx->run == NULL)
		return tarn__exec_grab(ctx, id, ret);
	r = ctx->run->ops->look(ctx->run, id, &look);
	*ret = r == 0 ? tarn__context_lend(ctx, id, &look) : NULL;
	return r == 0 && *ret == NULL ? -E2BIG : r;
}

uint64_t tarn__handle_id(const struct tarn_block *handle)
{
	return handle->id;
}
