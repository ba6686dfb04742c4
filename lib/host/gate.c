/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"

bool tarn__gate_enter(struct tarn__host *host, const struct tarn__served *t,
		      const struct tarn__offer *offer, uint64_t id)
{
	struct host *h = host_of(host);
	uint32_t free = GATE_FREE;

	(void)offer;
	/* Executors begin only when the reactor has given them a job. */
	if (tarn__likely(!host->busy) || t->type->concurrency == TARN_PARALLEL)
		return true;
	/* SYNC gate, acquire: what the last one did to the instance is there. */
	return __atomic_compare_exchange_n(&h->gate[tarn__id_index(id)], &free, GATE_REACTOR, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void tarn__gate_leave(struct tarn__host *host, uint64_t id)
{
	struct host *h = host_of(host);
	uint32_t *gate = &h->gate[tarn__id_index(id)];

	/* Of a parallel type it is not ours. Relaxed: nobody else makes it ours. */
	if (tarn__unlikely(host->busy) && tarn__load32_relaxed(gate) == GATE_REACTOR)
		tarn__store32_release(gate, GATE_FREE); /* SYNC gate, release */
}

void tarn__gate_take(struct host *h, uint64_t id)
{
	uint32_t *gate = &h->gate[tarn__id_index(id)];

	for (;;) {
		uint32_t was = tarn__load32_relaxed(gate);

		/* SYNC gate, acquire. The reactor's methods are short and wait for nobody. */
		if (was != GATE_REACTOR &&
		    __atomic_compare_exchange_n(gate, &was, was + GATE_ACTOR, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		tarn__pause();
	}
}

void tarn__gate_give(struct host *h, uint64_t id)
{
	/* SYNC gate, release */
	__atomic_fetch_sub(&h->gate[tarn__id_index(id)], GATE_ACTOR, __ATOMIC_RELEASE);
}
