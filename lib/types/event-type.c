/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Event: made by the server, used in place (event.c). */
#include <stdio.h>

#include "shm/sync.h"
#include "types.h"

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	(void)client;
	tarn__event_departed(self);
}

static int describe(const void *self, char *text, size_t bytes)
{
	uint32_t w = tarn__load32_relaxed(&((const struct tarn__event *)self)->word);

	return snprintf(text, bytes, "%s%s", w & TARN__EVENT_SET ? "set" : "unset",
			w & TARN__EVENT_WAITERS ? ", others wait" : "");
}

const tarn_type tarn__type_event = {
	.name = "tarn.Event",
	.size = sizeof(struct tarn__event),
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.describe = describe,
	.departed = departed,
};
