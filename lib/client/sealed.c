/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a block to be sealed: a notice, as of what ends. */
#include "object.h"
#include "pending.h"

/* What the server has read so far. */
static bool sealed_by_now(const struct tarn_client *c, struct tarn_block *b)
{
	/* SYNC dir, acquire: the seal, and what was written before it was said. Our reference keeps
	 * this id's life. */
	if (!(tarn__load_acquire(&c->dir[tarn__id_index(b->id)].state) & TARN__DIR_SEALED))
		return false;
	tarn__seal_here((struct tarn_client *)(uintptr_t)c, b);
	return true;
}

static int watch(struct tarn_client *c, struct tarn_block *b, tarn_pending **ret)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(c, &l);

	if (r < 0)
		return r;
	r = tarn__handle_share(l, b);
	if (r == 0)
		r = tarn__pending_watch(l, b->id, TARN__WATCH_SEALED, ret);
	tarn__lane_leave(l);
	return r;
}

int tarn_block_wait_sealed(tarn_block *block, int64_t timeout_ns)
{
	struct tarn_block *b = tarn__whole(block);
	struct tarn_client *c = b->client;
	tarn_pending *notice;
	int r;

	if (tarn__forked(c))
		return tarn__fail_forked();
	if ((tarn__refs(b) & REF_SEALED) || sealed_by_now(c, b))
		return 0;
	if (timeout_ns == 0)
		return tarn__fail_static(-EAGAIN, "The block is not sealed.");
	r = watch(c, b, &notice);
	if (r < 0)
		return r;
	r = tarn_call_wait(notice, NULL, timeout_ns);
	tarn_call_free(notice);
	if (r == -ETIMEDOUT)
		return tarn__fail(-ETIMEDOUT, "The block was not sealed within %.3f s.",
				  (double)timeout_ns * 1e-9);
	if (r < 0)
		return r;
	return (tarn__refs(b) & REF_SEALED) || sealed_by_now(c, b)
		       ? 0
		       : tarn__fail(-TARN_ESTALE, "The block is no more.");
}
