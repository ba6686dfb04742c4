/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods on the reactor's thread. Arguments are read where they lie, contexts are used again,
 * nothing is allocated for a call with small arguments and result.
 *
 * An object that executors work on (or will: its calls stand in line) is entered by the
 * reactor only if nobody is at it: one word per object says so.
 */
#include "gate.h"

#include "lib/error.h"
#include "lib/value/fault.h"

/* What the method gave, or why that cannot be sent. */
static inline int result_of(struct tarn_context *ctx, struct tarn__run *run, int code)
{
	run->instead = ctx->instead;
	run->result_ids = ctx->result_ids;
	if (tarn__likely(tarn__builder_plain(&ctx->result, &run->result)))
		return code;

	int r = tarn__builder_payload(&ctx->result, &run->result);

	if (tarn__unlikely(r < 0)) {
		code = tarn__context_unsendable(ctx, r);
		if (tarn__builder_payload(&ctx->result, &run->result) < 0)
			run->result = (struct tarn__payload){ .n_words = 0 };
	}
	for (unsigned k = 0; k < run->result.n_refs; k++)
		ctx->result_ids[k] = run->result.refs[k]->id;
	return code;
}

static inline int lend_args(struct tarn_context *ctx, const struct tarn__run *run)
{
	if (tarn__likely(run->n_refs == 0) &&
	    tarn__likely(tarn__parcel_lend_plain(&ctx->args, run->words, run->n_words, run->n_values)))
		return 0;
	for (unsigned k = 0; k < run->n_refs; k++) {
		struct tarn_block *b = tarn__context_lend(ctx, run->refs[2 * k], &run->looks[k]);

		if (b == NULL)
			return -E2BIG;
		ctx->lent_refs[k] = b;
	}
	return tarn__parcel_lend(&ctx->args, run->words, run->n_words, run->n_values, ctx->lent_refs,
				 run->n_refs, false);
}

static void begin(struct host *h, struct tarn_context *ctx, struct tarn__run *run)
{
	tarn__fail_forget(); /* of another caller */
	tarn__context_init(ctx, h, run->served, run->offer, run->deed, run->id, run->self);
	ctx->run = run;
	ctx->caller = run->caller;
	ctx->state = TARN__DIR_OBJECT | (uint64_t)run->served->index << TARN__DIR_TYPE_SHIFT;
	run->context = ctx;
}

int tarn__inline_run(struct tarn__host *host, struct tarn__run *run)
{
	struct host *h = host_of(host);
	struct tarn_context *ctx = &h->reactor[h->depth++];
	int r;

	/* Calls do not nest here; only creators do, in make.c. */
	begin(h, ctx, run);
	r = lend_args(ctx, run);
	r = tarn__likely(r == 0) ? tarn__context_run(ctx) : tarn__context_fail(ctx, r, true);
	return result_of(ctx, run, r);
}

/* @ctx as begin() would make it, from what it was for the call before; nothing is referred to. */
static inline void begin_next(struct tarn_context *ctx, const struct tarn__run *run)
{
	ctx->offer = run->offer;
	if (ctx->id != run->id) {
		ctx->id = run->id;
		ctx->self = run->self;
		ctx->served = run->served;
		ctx->state = TARN__DIR_OBJECT | (uint64_t)run->served->index << TARN__DIR_TYPE_SHIFT;
	}
	ctx->args.words = run->words;
	ctx->args.n_words = run->n_words;
	ctx->args.n_values = (uint8_t)run->n_values;
	ctx->result.next = ctx->result.room + ctx->result.first;
}

int tarn__inline_call(struct tarn__host *host, struct tarn__run *run)
{
	struct host *h = host_of(host);
	const struct tarn__offer *offer = run->offer;
	struct tarn_context *ctx = run->context;
	int r;

	run->repeatable = false;
	if (tarn__unlikely(ctx == NULL)) {
		ctx = &h->reactor[h->depth++];
		begin(h, ctx, run);
		tarn__parcel_lend_plain(&ctx->args, run->words, run->n_words, run->n_values);
	}
	begin_next(ctx, run);
	if (tarn__likely(offer->result_type == 0 &&
			 (offer->args == NULL || tarn__plain_matches(&offer->plain, &ctx->args)))) {
		r = tarn__context_method(ctx);
		if (tarn__unlikely(r != 0))
			r = tarn__context_over(ctx, r);
	} else {
		r = tarn__context_run(ctx);
	}
	if (tarn__unlikely(r != 0 || !tarn__context_is_new(ctx)))
		return result_of(ctx, run, r);
	run->result.words = ctx->result.room + ctx->result.first;
	run->result.n_words = (uint32_t)(ctx->result.next - run->result.words);
	run->result.n_values = (uint8_t)(run->result.n_words / TARN__SLOT_WORDS);
	run->result.n_refs = 0;
	run->repeatable = true;
	return 0;
}

void tarn__inline_end(struct tarn__host *host, struct tarn__run *run)
{
	struct host *h = host_of(host);

	if (tarn__unlikely(run->context->endings != NULL) && run->succeeded)
		tarn__context_seal(run->context);
	/* What is left of it hears that it failed. */
	tarn__context_fini(run->context);
	h->depth--;
}
