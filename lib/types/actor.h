/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who acts on an instance in place, and how it waits there: the client's side of all types that are
 * used without the server.
 */
#ifndef TARN_TYPES_ACTOR_H
#define TARN_TYPES_ACTOR_H

#include "lib/client/object.h"
#include "shm/owner.h"

static_assert(TARN__CLIENT_LANES - 1 <= TARN__OWNER_MASK >> TARN__OWNER_LANE_SHIFT, "lanes in a word");

/* The calling thread as the owner of something; 0 and a sentence: a forked child, or there is no
 * lane to be had. A thread's first call of all asks the server for its lane. */
uint32_t tarn__actor_slow(struct tarn_client *c);
static inline uint32_t tarn__actor(struct tarn_client *c)
{
	const struct tarn__lane *l = tarn__lane_mine(c);

	return tarn__likely(l != NULL) ? tarn__owner(c->number, l->number) : tarn__actor_slow(c);
}

/* How @timeout_ns of the public functions is meant: 0 is to try only. */
struct tarn__patience {
	struct tarn_client *client;
	int64_t timeout_ns;
	uint64_t deadline; /* 0: not yet begun to wait */
};
static inline struct tarn__patience tarn__patience(struct tarn_client *c, int64_t timeout_ns)
{
	return (struct tarn__patience){ .client = c, .timeout_ns = timeout_ns };
}

/*
 * Sleeps while *@word is @value, at most a slice of the time: the caller looks again. 0, or
 * -EAGAIN (it was to try only) and -ETIMEDOUT, both with the sentence @what ("the lock is held"),
 * -TARN_ESRVDOWN, -TARN_EEVICTED.
 */
int tarn__patience_sleep(struct tarn__patience *p, const uint32_t *word, uint32_t value,
			 const char *what);

#endif
