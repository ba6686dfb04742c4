/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: the client's side. Neither taking nor releasing one that nobody else wants leaves the
 * process. */
#include "tarn/sync.h"

#include <limits.h>

#include "actor.h"
#include "types.h"

#define SPINS 40 /* looks before the first sleep: a critical section is often shorter than a sleep */

static int fail(void)
{
	return tarn__negative(tarn_error_last()->code);
}

static int died(void)
{
	return tarn__fail_static(-EOWNERDEAD, "The last holder of the lock died with it: it is yours, "
				 "what it protects may be half done.");
}

int tarn__mutex_acquire(struct tarn_client *c, struct tarn__mutex *m, uint32_t me,
			int64_t timeout_ns)
{
	struct tarn__patience p = tarn__patience(c, timeout_ns);
	uint32_t mark = 0;
	bool dead;

	for (uint32_t i = 0; timeout_ns != 0 && i < SPINS; i++) {
		if ((tarn__load32_relaxed(&m->word) & TARN__OWNER_CLIENT) == 0)
			break;
		tarn__spin_pause(i);
	}
	for (;;) {
		if (tarn__mutex_take(m, me, mark, &dead))
			return dead ? died() : 0;
		if (timeout_ns == 0)
			return tarn__fail_static(-EAGAIN, "The lock is held by another.");
		uint32_t w = tarn__mutex_sleep(m);

		if (w == 0)
			continue;
		int r = tarn__patience_sleep(&p, &m->word, w, "The lock is held by another");
		if (r < 0)
			return r;
		/* Others may have been woken with us, or sleep still. */
		mark = TARN__OWNER_WAITERS;
	}
}

int tarn_lock_new(tarn_client *client, unsigned flags, tarn_object **ret_lock)
{
	if (flags != 0)
		return tarn__fail(-EINVAL, "Unknown flags %#x for a lock.", flags);
	return tarn_object_new(client, tarn__type_lock.name, NULL, ret_lock);
}

int tarn_lock_acquire(tarn_object *lock, int64_t timeout_ns)
{
	struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_lock);
	uint32_t me = tarn__actor(lock->base.client), w = 0;

	if (tarn__unlikely(m == NULL || me == 0))
		return fail();
	/* SYNC mutex, acquire. */
	if (tarn__likely(tarn__word_swap(&m->word, &w, me, __ATOMIC_ACQUIRE)))
		return 0;
	return tarn__mutex_acquire(lock->base.client, m, me, timeout_ns);
}

int tarn_lock_release(tarn_object *lock)
{
	struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_lock);
	uint32_t me = tarn__actor(lock->base.client);

	if (tarn__unlikely(m == NULL || me == 0))
		return fail();
	if (tarn__likely(tarn__mutex_drop(m, me) != 0))
		return 0;
	return tarn__fail(-TARN_ESTATE, "The lock was released, but nobody holds it.");
}

int tarn_lock_locked(tarn_object *lock)
{
	const struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_lock);

	if (m == NULL || tarn__actor(lock->base.client) == 0)
		return fail();
	/* Relaxed: it may be another's the next moment. */
	return tarn__owner_client(tarn__load32_relaxed(&m->word)) != 0;
}

/* ---- of one thread, any number of times ---- */

int tarn_rlock_new(tarn_client *client, unsigned flags, tarn_object **ret_lock)
{
	if (flags != 0)
		return tarn__fail(-EINVAL, "Unknown flags %#x for a lock.", flags);
	return tarn_object_new(client, tarn__type_rlock.name, NULL, ret_lock);
}

int tarn__rlock_acquire(struct tarn_client *c, struct tarn__mutex *m, uint32_t me, int64_t timeout_ns)
{
	uint32_t w = 0;
	int r = 0;

	/* SYNC mutex, acquire. */
	if (tarn__unlikely(!tarn__word_swap(&m->word, &w, me, __ATOMIC_ACQUIRE))) {
		/* Only this thread writes its own name, so nobody changes what follows. */
		if ((w & TARN__OWNER_MASK) == me) {
			uint32_t depth = tarn__load32_relaxed(&m->depth);

			if (depth == UINT32_MAX)
				return tarn__fail(-EOVERFLOW, "The lock is held too many times.");
			tarn__store32_relaxed(&m->depth, depth + 1);
			return 0;
		}
		r = tarn__mutex_acquire(c, m, me, timeout_ns);
		if (r < 0 && r != -EOWNERDEAD)
			return r;
	}
	/* The depth of a dead owner means nothing: each first acquire sets it. */
	tarn__store32_relaxed(&m->depth, 1);
	return r;
}

int tarn__rlock_release(struct tarn__mutex *m, uint32_t me)
{
	uint32_t w = tarn__load32_relaxed(&m->word); /* ours, or never: only we write our name */

	if (tarn__unlikely((w & TARN__OWNER_MASK) != me)) {
		if (tarn__owner_client(w) == 0)
			return tarn__fail(-TARN_ESTATE, "The lock was released, but nobody holds it.");
		return tarn__fail(-EPERM, "The lock was released by client %u, thread %u, but client %u, "
				  "thread %u holds it.", tarn__owner_client(me), tarn__owner_lane(me),
				  tarn__owner_client(w), tarn__owner_lane(w));
	}
	uint32_t depth = tarn__load32_relaxed(&m->depth);

	if (depth > 1)
		tarn__store32_relaxed(&m->depth, depth - 1);
	else
		tarn__mutex_drop(m, me);
	return 0;
}

int tarn_rlock_acquire(tarn_object *lock, int64_t timeout_ns)
{
	struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_rlock);
	uint32_t me = tarn__actor(lock->base.client);

	if (tarn__unlikely(m == NULL || me == 0))
		return fail();
	return tarn__rlock_acquire(lock->base.client, m, me, timeout_ns);
}

int tarn_rlock_release(tarn_object *lock)
{
	struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_rlock);
	uint32_t me = tarn__actor(lock->base.client);

	if (tarn__unlikely(m == NULL || me == 0))
		return fail();
	return tarn__rlock_release(m, me);
}

int tarn_rlock_depth(tarn_object *lock)
{
	const struct tarn__mutex *m = tarn__object_instance(lock, &tarn__type_rlock);
	uint32_t me = tarn__actor(lock->base.client);

	if (m == NULL || me == 0)
		return fail();
	if ((tarn__load32_relaxed(&m->word) & TARN__OWNER_MASK) != me)
		return 0;
	uint32_t depth = tarn__load32_relaxed(&m->depth);

	return depth < INT_MAX ? (int)depth : INT_MAX;
}
