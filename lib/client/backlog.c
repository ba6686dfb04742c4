/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drops that cannot be posted now: from a signal handler that interrupted a call, from a
 * thread that can have no lane, on a full lane. Late decrements are always safe (PROTOCOL
 * 3.3), so they wait on a stack, linked through the handles themselves, for the next call
 * that finds room. unref therefore never blocks and never fails. The link is not next: a
 * shared handle is in its shard meanwhile, and a slice's next is its parent.
 */
#include "handle.h"

void tarn__backlog_push(struct tarn_client *c, struct tarn_block *b)
{
	struct tarn_block *top = __atomic_load_n(&c->backlog, __ATOMIC_RELAXED);

	do
		b->later = top;
	/* SYNC backlog, release: the taker sees the handle as it was left. */
	while (!__atomic_compare_exchange_n(&c->backlog, &top, b, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

void tarn__backlog_post(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;
	/* SYNC backlog, acquire. */
	struct tarn_block *b = __atomic_exchange_n(&c->backlog, NULL, __ATOMIC_ACQUIRE);

	while (b != NULL) {
		struct tarn_block *next = b->later;

		/* Pushes it again if there is no room after all. */
		tarn__handle_last(l, b);
		b = next;
	}
}
