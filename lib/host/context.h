/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a method sees of the world, on the reactor's thread and on an executor's: the same
 * functions, with two ways behind them.
 */
#ifndef TARN_HOST_CONTEXT_H
#define TARN_HOST_CONTEXT_H

#include "lib/client/object.h"
#include "lib/host.h"
#include "lib/types/inside.h"

struct executor;

/* Handles that a context lends to its method: no claim stands behind them but the call's. */
#define LENT_MOST 24u

/* A change of what the object holds, until the method has succeeded (executors only). */
struct edge_wish {
	uint64_t id;
	struct tarn_block *handle; /* of what is to be held: a reference */
	bool more;
};

struct tarn_context {
	struct host *host;
	const struct tarn__served *served;
	const struct tarn__offer *offer;
	enum tarn__deed deed;
	uint64_t id;
	uint64_t state;                /* of the object, as in DIR */
	void *self;
	tarn_caller caller;
	struct tarn__run *run;         /* on the reactor */
	struct executor *executor;     /* else: who runs it */
	const uint32_t *canceled;      /* of the job; NULL: cannot be */
	struct tarn_context *outer;    /* the method that called this one in place */
	tarn_fault *fault;
	uint64_t instead;              /* CREATE: an object that exists */
	bool machinery;                /* the failure is a sentence, not the method's */
	tarn_parcel args;
	tarn_builder result;
	struct tarn__ending *endings;  /* lib/types/inside.h */
	unsigned n_later;              /* executors: lib/types/memory.h */
	struct {
		uint64_t *word, value;
	} later[TARN__LATER];
	uint64_t result_ids[TARN__CALL_REFS];

	/* lent: on the reactor all handles, on an executor none but the object's own */
	unsigned n_lent;
	struct tarn_block lent[LENT_MOST];
	struct tarn_block *lent_refs[TARN__RUN_REFS];

	/* executors */
	tarn_object *self_handle;
	bool self_is_private;          /* made for this call; else its caller's */
	struct edge_wish *wish;
	unsigned n_wishes, wishes_room;
	struct tarn_block **owned;     /* handles that end with the method */
	unsigned n_owned, owned_room;
};

#define REACTOR_DEPTH 6u /* an inline method that makes an object that makes one ... */

struct host {
	struct tarn__host base;
	unsigned char *data;           /* DATA, as the server has mapped it */
	uint64_t data_bytes;
	uint64_t max_objects;
	struct tarn_client nobody;     /* of lent handles: is never entered */

	/* The reactor's alone. */
	struct tarn_context *reactor;  /* REACTOR_DEPTH of them */
	unsigned depth;

	uint32_t ending;               /* atomic, by the reactor: methods are asked to stop */

	uint32_t *gate;                /* by index of the object: gate.h */
	struct pool *pool;             /* pool.h */
};

static inline struct host *host_of(struct tarn__host *h)
{
	return tarn__container_of(h, struct host, base);
}

/* Sets all but arguments and handles; the result is empty. */
static inline void tarn__context_init(struct tarn_context *ctx, struct host *h, const struct tarn__served *t,
			const struct tarn__offer *offer, enum tarn__deed deed, uint64_t id,
			void *self)
{
	/* Field by field: the struct has room for much that is not used. */
	ctx->host = h;
	ctx->served = t;
	ctx->offer = offer;
	ctx->deed = deed;
	ctx->id = id;
	ctx->self = self;
	ctx->run = NULL;
	ctx->executor = NULL;
	ctx->canceled = NULL;
	ctx->outer = NULL;
	ctx->fault = NULL;
	ctx->instead = 0;
	ctx->machinery = false;
	ctx->n_lent = 0;
	ctx->self_handle = NULL;
	ctx->self_is_private = false;
	ctx->n_wishes = 0;
	ctx->wish = NULL;
	ctx->wishes_room = 0;
	ctx->owned = NULL;
	ctx->n_owned = ctx->owned_room = 0;
	ctx->endings = NULL;
	ctx->n_later = 0;
	tarn_builder_init(&ctx->result);
}
/* Nothing has changed in a reactor's context since tarn__context_init() but what a call is given and
 * plain values in the result: it need not be ended, nor made anew for the next call.
 * Fields of executors no method changes here, and those of @result follow from these. */
static inline bool tarn__context_is_new(const struct tarn_context *ctx)
{
	const tarn_builder *b = &ctx->result;

	return ((uint32_t)b->error | b->heap | b->kind | b->n_refs | ctx->n_lent | ctx->instead |
		(uintptr_t)ctx->fault | (uintptr_t)ctx->endings) == 0 &&
	       b->words == b->room && b->refs == b->refs_room;
}
/* Runs the method: checks the arguments, calls it, and puts what it failed with into the
 * result. 0 or negative: the code of the reply. */
int tarn__context_run(struct tarn_context *ctx);
/* Its two halves: calls the method; and what its code @r makes of the reply. */
int tarn__context_method(struct tarn_context *ctx);
int tarn__context_over(struct tarn_context *ctx, int r);
/* Frees what it has: result, fault. Not the arguments' references. */
void tarn__context_fini(struct tarn_context *ctx);
/* The failure @code with the thread's last sentence as the result; a failure of the method if
 * not @machinery. Returns the code of the reply. */
int tarn__context_fail(struct tarn_context *ctx, int code, bool machinery);
/* Its result cannot be sent, for the failure @r of its builder. Returns -TARN_ERESULT. */
int tarn__context_unsendable(struct tarn_context *ctx, int r);

/* Tells what became of it whoever wanted to know (inside.c). */
void tarn__context_ended(struct tarn_context *ctx, bool succeeded);
void tarn__endings_run(struct tarn__ending **list, bool succeeded);
/* On the reactor: what the method changed in containers becomes part of the transaction; they are told
 * after its commit, by tarn__sealed_settle(). */
void tarn__context_seal(struct tarn_context *ctx);
void tarn__sealed_settle(struct tarn__host *host, bool committed);

/* A handle without a claim. NULL: there are too many in this context. */
struct tarn_block *tarn__context_lend(struct tarn_context *ctx, uint64_t id,
				      const struct tarn__look *look);

/* ---- executor.c, direct.c: what contexts of executors do ---- */

int tarn__exec_self(struct tarn_context *ctx, tarn_object **ret);
int tarn__exec_hold(struct tarn_context *ctx, struct tarn_block *handle);
int tarn__exec_drop(struct tarn_context *ctx, uint64_t id);
/* A handle on @id, which ends with the method. -TARN_ESTALE. */
int tarn__exec_grab(struct tarn_context *ctx, uint64_t id, struct tarn_block **ret);
int tarn__exec_make(struct tarn_context *ctx, const struct tarn__served *t, const void *instance,
		    const tarn_builder *args, tarn_object **ret);
tarn_client *tarn__exec_client(const struct tarn_context *ctx);

#endif
