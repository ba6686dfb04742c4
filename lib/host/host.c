/* SPDX-License-Identifier: Apache-2.0 */
/* The host as a whole. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gate.h"
#include "pool.h"

static const struct tarn__host_ops ops = {
	.run = tarn__inline_run,
	.run_end = tarn__inline_end,
	.settle = tarn__sealed_settle,
	.call = tarn__inline_call,
	.enter = tarn__gate_enter,
	.leave = tarn__gate_leave,
	.submit = tarn__pool_submit, .rest = tarn__pool_rest,
	.cancel = tarn__pool_cancel,
};

static uint64_t gate_bytes(uint64_t max_objects)
{
	return (max_objects + 1) * sizeof(uint32_t);
}

struct tarn__host *tarn__host_new(struct tarn__catalog *catalog, uint32_t max_executors,
				  uint64_t max_objects, unsigned char *data, uint64_t data_bytes)
{
	struct host *h = calloc(1, sizeof *h);

	if (h == NULL)
		return NULL;
	h->reactor = calloc(REACTOR_DEPTH, sizeof *h->reactor);
	void *gate = mmap(NULL, gate_bytes(max_objects), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	h->pool = tarn__pool_new(h, max_executors);
	if (h->reactor == NULL || gate == MAP_FAILED || h->pool == NULL) {
		tarn__pool_free(h->pool);
		if (gate != MAP_FAILED)
			munmap(gate, gate_bytes(max_objects));
		free(h->reactor);
		free(h);
		return NULL;
	}
	h->base = (struct tarn__host){ .ops = &ops, .catalog = catalog };
	h->gate = gate;
	h->data = data;
	h->data_bytes = data_bytes;
	h->max_objects = max_objects;
	h->nobody.serial = UINT64_MAX; /* no thread's lane */
	return &h->base;
}

bool tarn__host_free(struct tarn__host *host, int64_t timeout_ns)
{
	if (host == NULL)
		return true;
	struct host *h = host_of(host);

	if (!tarn__pool_stop(h->pool, timeout_ns))
		return false;
	tarn__pool_free(h->pool);
	munmap(h->gate, gate_bytes(h->max_objects));
	tarn__catalog_free(h->base.catalog);
	free(h->reactor);
	free(h);
	return true;
}
