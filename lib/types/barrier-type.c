/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Barrier: made by the server, used in place (barrier.c). */
#include <stdio.h>

#include "shm/sync.h"
#include "types.h"

static int create(tarn_context *ctx, void *self)
{
	struct tarn__barrier *b = self;
	uint64_t parties;
	int r = tarn_context_get(ctx, "Q", &parties);

	if (r < 0)
		return r;
	if (parties == 0 || parties > TARN__SLOTS)
		return tarn_throw(ctx, "ValueError", "a barrier has 1 to %u parties, not %llu", TARN__SLOTS,
				  (unsigned long long)parties);
	b->parties = (uint32_t)parties;
	return 0;
}

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	tarn__barrier_departed(self, client);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__barrier *b = self;

	return snprintf(text, bytes, "%u of %u parties wait%s", tarn__load32_relaxed(&b->count),
			tarn__load32_relaxed(&b->parties),
			tarn__load32_relaxed(&b->broken) ? ", broken" : "");
}

const tarn_type tarn__type_barrier = {
	.name = "tarn.Barrier",
	.size = sizeof(struct tarn__barrier),
	.align = TARN__LINE,
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.args = "Q",
	.create = create,
	.describe = describe,
	.departed = departed,
};
