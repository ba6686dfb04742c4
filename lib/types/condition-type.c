/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Condition: made by the server, used in place (condition.c). */
#include <stdio.h>
#include <string.h>

#include "shm/sync.h"
#include "tarn/object.h"
#include "types.h"

static int create(tarn_context *ctx, void *self)
{
	struct tarn__cond *c = self;
	tarn_object *lock;
	uint64_t type;
	bool plain;

	if (tarn_parcel_count(tarn_context_args(ctx)) == 0)
		return 0;
	int r = tarn_context_get(ctx, "OQb", &lock, &type, &plain);

	if (r == 0)
		r = tarn_self_hold(ctx, lock);
	if (r < 0)
		return r;
	c->lock = tarn_object_id(lock);
	c->lock_type = (uint32_t)type; /* whoever uses it compares it with what the server says */
	c->plain = plain;
	return 0;
}

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	tarn__cond_departed(self, client);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__cond *c = self;
	uint32_t w = tarn__load32_relaxed(&c->own.word), used = tarn__slots_used(&c->slots), n = 0;

	for (uint32_t i = 0; i < used; i++)
		n += (tarn__load32_relaxed(&c->slots.slot[i]) & TARN__SLOT_WAITING) != 0;
	if (c->lock != 0)
		return snprintf(text, bytes, "%u wait, with a lock of its own object", n);
	if (tarn__owner_client(w) == 0)
		return snprintf(text, bytes, "%u wait, unlocked", n);
	return snprintf(text, bytes, "%u wait, locked by client %u, thread %u", n,
			tarn__owner_client(w), tarn__owner_lane(w));
}

const tarn_type tarn__type_condition = {
	.name = "tarn.Condition",
	.size = sizeof(struct tarn__cond),
	.align = TARN__LINE,
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.create = create,
	.describe = describe,
	.departed = departed,
};
