/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How who waits for a bell (shm/bell.h) spends the time: polls for a while, as long as that has
 * paid before, yields, then sleeps.
 *
 *	struct tarn__pause p = tarn__pause_begin(client, timeout_ns, &bell);
 *	while (nothing there)
 *		if ((r = tarn__pause_next(&p)) < 0)
 *			return r;
 *	tarn__pause_end(&p);
 */
#ifndef TARN_TYPES_PAUSE_H
#define TARN_TYPES_PAUSE_H

#include "lib/client/lane.h"
#include "shm/bell.h"

struct tarn__pause {
	struct tarn_client *client;
	struct tarn__bell *bell;
	int64_t timeout_ns;
	uint64_t deadline;  /* 0: not asked yet */
	uint64_t yield_until;
	uint32_t rounds, number;
	enum { TARN__PAUSE_SPINS, TARN__PAUSE_YIELDS, TARN__PAUSE_LISTENS } phase;
};

static inline struct tarn__pause tarn__pause_begin(struct tarn_client *c, int64_t timeout_ns,
						   struct tarn__bell *bell)
{
	return (struct tarn__pause){ .client = c, .bell = bell, .timeout_ns = timeout_ns };
}

/* Returns 0 when it is time to look again; -EAGAIN (it was only to be tried) and -ETIMEDOUT, without
 * a sentence; -TARN_ESRVDOWN, -TARN_EEVICTED. */
int tarn__pause_next(struct tarn__pause *p);
/* What was waited for is there. */
void tarn__pause_end(const struct tarn__pause *p);

#endif
