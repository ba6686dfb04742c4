/* SPDX-License-Identifier: Apache-2.0 */
/* tarn.Semaphore and tarn.BoundedSemaphore: made by the server, used in place (semaphore.c). */
#include <stdio.h>

#include "shm/sync.h"
#include "types.h"

static int make(tarn_context *ctx, void *self, bool bounded)
{
	struct tarn__sem *s = self;
	uint64_t n;
	int r = tarn_context_get(ctx, "Q", &n);

	if (r < 0)
		return r;
	if (n > INT64_MAX)
		return tarn_throw(ctx, "ValueError", "a semaphore of %llu permits",
				  (unsigned long long)n);
	s->total = s->value = n;
	s->bounded = bounded;
	return 0;
}
static int create(tarn_context *ctx, void *self) { return make(ctx, self, false); }
static int create_bounded(tarn_context *ctx, void *self) { return make(ctx, self, true); }

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	tarn__sem_departed(self, client);
}

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__sem *s = self;
	int n = snprintf(text, bytes, "%llu of %llu permits",
			 (unsigned long long)tarn__load_relaxed(&s->value),
			 (unsigned long long)tarn__load_relaxed(&s->total));

	for (unsigned i = 0, told = 0; n > 0 && (size_t)n < bytes && i < tarn__sem_used(s); i++) {
		uint32_t h = tarn__load32_relaxed(&s->holder[i]);

		if (h < TARN__SEM_UNIT)
			continue;
		if (told++ == 8)
			return n + snprintf(text + n, bytes - (size_t)n, " ...");
		n += snprintf(text + n, bytes - (size_t)n, ", client %u has %u", tarn__owner_client(h),
			      h / TARN__SEM_UNIT);
	}
	return n;
}

const tarn_type tarn__type_semaphore = {
	.name = "tarn.Semaphore",
	.size = sizeof(struct tarn__sem),
	.align = TARN__LINE,
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.args = "Q",
	.create = create,
	.describe = describe,
	.departed = departed,
};
const tarn_type tarn__type_bounded_semaphore = {
	.name = "tarn.BoundedSemaphore",
	.size = sizeof(struct tarn__sem),
	.align = TARN__LINE,
	.flags = TARN_TYPE_INLINE,
	.concurrency = TARN_PARALLEL,
	.args = "Q",
	.create = create_bounded,
	.describe = describe,
	.departed = departed,
};
