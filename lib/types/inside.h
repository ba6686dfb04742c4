/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What methods of Tarn's own types may do beyond tarn/type.h: know ids without handles, leave
 * what is too much for the reactor to an executor, and hear what became of them. The host
 * implements it (lib/host/inside.c).
 */
#ifndef TARN_TYPES_INSIDE_H
#define TARN_TYPES_INSIDE_H

#include "tarn/type.h"

/* A flag of methods that are called one way, to say what a client did with references. They are run for clients
 * that are evicted, too: others rely on it. */
#define TARN__METHOD_BOOKS 0x100u

struct tarn_block;
struct tarn__store;
struct tarn__view_root;

/* Where containers have their contents. */
struct tarn__store *tarn__context_store(const tarn_context *ctx);
/* The object's own id. */
uint64_t tarn__context_id(const tarn_context *ctx);
/* Whether it runs on the reactor. */
bool tarn__context_is_inline(const tarn_context *ctx);
/* In methods with TARN__METHOD_BOOKS: servers died in this call again and again. So no more than what others would be
 * evicted for, and nothing that takes memory; if that does not help it is not begun again. */
bool tarn__context_is_brief(const tarn_context *ctx);
/*
 * return tarn__context_defer(ctx); undoes what the inline method did so far (its ending hears of
 * it) and gives the call to an executor, where the same method runs from its beginning.
 */
int tarn__context_defer(tarn_context *ctx);

/*
 * Called once when it is certain what becomes of the method: everything that it held, dropped
 * and gave is done with it, or undone. Before the object's next method. In the caller's memory,
 * which it keeps until then.
 */
struct tarn__ending {
	struct tarn__ending *next;
	/* Before that, of a method that has succeeded: what a container will have, which becomes true with
	 * all else that the method did. Valid until fn(). NULL: what it has. */
	const struct tarn__view_root *(*seal)(struct tarn__ending *ending);
	void (*fn)(struct tarn__ending *ending, bool succeeded);
};
void tarn__context_at_end(tarn_context *ctx, struct tarn__ending *ending);

/*
 * In departed(), of objects that have much to look at: where the part before this one left off (0: this
 * is the first), and that there is more from @from on, which is not 0. departed() is then called again, as
 * a transaction of its own, and others are served between the two; not if the object ends before.
 */
uint64_t tarn__departed_from(const tarn_context *ctx);
void tarn__departed_again(tarn_context *ctx, uint64_t from);

/* tarn_self_hold() by an id, of something that lives until the method ends. */
int tarn__self_hold_id(tarn_context *ctx, uint64_t id);
/* A handle of any kind on something that the object holds; borrowed until the method ends. */
int tarn__self_handle(tarn_context *ctx, uint64_t id, struct tarn_block **ret);
/* The id behind a handle of any kind. */
uint64_t tarn__handle_id(const struct tarn_block *handle);

#endif
