/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Lock and tarn.RLock: the server only makes them, and frees them from the dead. */
#include <stdio.h>

#include "shm/mutex.h"
#include "types.h"

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	tarn__mutex_departed(self, client);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__mutex *m = self;
	uint32_t w = tarn__load32_relaxed(&m->word); /* for people */

	if (tarn__owner_client(w) == 0)
		return snprintf(text, bytes, "unlocked%s",
				w & TARN__OWNER_DIED ? ", its last holder died" : "");
	return snprintf(text, bytes, "locked by client %u, thread %u%s", tarn__owner_client(w),
			tarn__owner_lane(w), w & TARN__OWNER_WAITERS ? ", others wait" : "");
}

const tarn_type tarn__type_lock = {
	.name = "tarn.Lock",
	.size = sizeof(struct tarn__mutex),
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.describe = describe,
	.departed = departed,
};

static int describe_rlock(const void *self, char *text, size_t bytes)
{
	const struct tarn__mutex *m = self;
	uint32_t w = tarn__load32_relaxed(&m->word);

	if (tarn__owner_client(w) == 0)
		return describe(self, text, bytes);
	return snprintf(text, bytes, "locked %u times by client %u, thread %u%s",
			tarn__load32_relaxed(&m->depth), tarn__owner_client(w), tarn__owner_lane(w),
			w & TARN__OWNER_WAITERS ? ", others wait" : "");
}

const tarn_type tarn__type_rlock = {
	.name = "tarn.RLock",
	.size = sizeof(struct tarn__mutex),
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.describe = describe_rlock,
	.departed = departed,
};
