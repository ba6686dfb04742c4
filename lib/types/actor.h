/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who acts on an instance in place, and how it waits there: the client's side of all types that are
 * used without the server.
 */
#ifndef TARN_TYPES_ACTOR_H
#define TARN_TYPES_ACTOR_H

#include "lib/client/object.h"
#include "shm/guard.h"
#include "shm/mutex.h"

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

/* ---- guards (shm/guard.h) ---- */

typedef void tarn__repair_fn(void *self);

/* Enters, repairing first what a dead one left. Waits for others inside, who are there for some
 * instructions, at least a second however small @timeout_ns is. Errors as those of sleeping. */
int tarn__guard_enter_slow(struct tarn_client *c, struct tarn__guard *g, uint32_t me,
			   int64_t timeout_ns, tarn__repair_fn *repair, void *self);
static inline int tarn__guard_enter(struct tarn_client *c, struct tarn__guard *g, uint32_t me,
				    int64_t timeout_ns, tarn__repair_fn *repair, void *self)
{
	uint32_t w = 0;

	/* SYNC guard, acquire. */
	if (tarn__likely(tarn__word_swap(&g->word, &w, me, __ATOMIC_ACQUIRE)))
		return 0;
	return tarn__guard_enter_slow(c, g, me, timeout_ns, repair, self);
}
static inline void tarn__guard_exit(struct tarn__guard *g, uint32_t me, tarn__repair_fn *repair,
				    void *self)
{
	while (tarn__unlikely(!tarn__guard_leave(g, me)))
		repair(self);
}

/* ---- locks, as they are taken in place (lock.c) ---- */

/* As tarn_lock_acquire() says. */
int tarn__mutex_acquire(struct tarn_client *c, struct tarn__mutex *m, uint32_t me,
			int64_t timeout_ns);
int tarn__rlock_acquire(struct tarn_client *c, struct tarn__mutex *m, uint32_t me,
			int64_t timeout_ns);
int tarn__rlock_release(struct tarn__mutex *m, uint32_t me);

/* ---- for those who wait for several things (tarn_wait()) ---- */

/* A word that changes when the thing may have become ready, and what it is now. */
int tarn__event_wait_word(tarn_object *event, const uint32_t **ret_word, uint32_t *ret_seen);
int tarn__sem_wait_word(tarn_object *sem, const uint32_t **ret_word, uint32_t *ret_seen);

#endif
