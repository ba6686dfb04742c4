/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: the client's side. Neither taking nor releasing one that nobody else wants leaves the
 * process. */
#include "tarn/sync.h"

#include "actor.h"
#include "shm/mutex.h"
#include "types.h"

#define SPINS 40 /* looks before the first sleep: a critical section is often shorter than a sleep */

static int fail(void)
{
	return tarn_error_last()->code;
}

static int died(void)
{
	return tarn__fail_static(-EOWNERDEAD, "The last holder of the lock died with it: it is yours, "
				 "what it protects may be half done.");
}

static int acquire_slow(struct tarn_client *c, struct tarn__mutex *m, uint32_t me, int64_t timeout_ns)
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
	return acquire_slow(lock->base.client, m, me, timeout_ns);
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
