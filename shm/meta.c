/* SPDX-License-Identifier: Apache-2.0 */
#include "meta.h"

void tarn__meta_rollback(struct tarn__meta *m)
{
	struct tarn__undo *u = m->undo;

	while (u->n > 0) {
		const struct tarn__undo_entry *e = &u->log[u->n - 1];

		tarn__store_relaxed((uint64_t *)(void *)(m->base + e->where), e->old);
		TARN__META_STORED();
		tarn__store_relaxed(&u->n, u->n - 1);
		TARN__META_STORED();
	}
}
