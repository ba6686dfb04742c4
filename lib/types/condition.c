/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conditions: the client's side.
 *
 * A waiter takes a slot under the lock, lets the lock go, sleeps on its slot, takes the lock again and
 * frees the slot. So all of that is in an order that the lock makes, and a notification is a
 * name in a slot before it is a wake. A waiter that is killed between being called and having
 * the lock leaves its slot CALLED, and the server calls another instead; one that is killed
 * after that has the lock, which says so.
 */
#include "tarn/sync.h"

#include <limits.h>

#include "actor.h"
#include "shm/sync.h"
#include "types.h"

/* A condition as one thread uses it now. */
struct use {
	struct tarn_client *client;
	struct tarn__cond *c;
	struct tarn__mutex *m;
	uint32_t me;
	bool plain; /* a tarn.Lock, not an RLock */
};

/* The lock that it goes with. What the instance says of it is a hint; DIR's word counts. */
static struct tarn__mutex *lock_of(struct tarn_client *client, struct tarn__cond *c, bool *ret_plain)
{
	uint64_t id = tarn__load_relaxed(&c->lock);
	bool plain = tarn__load32_relaxed(&c->plain) != 0;

	*ret_plain = id != 0 && plain;
	if (tarn__likely(id == 0))
		return &c->own;
	return tarn__instance_of(client, id, plain ? &tarn__type_lock : &tarn__type_rlock,
				 tarn__load32_relaxed(&c->lock_type));
}

static int use_it(tarn_object *o, struct use *u)
{
	u->client = o->base.client;
	u->c = tarn__object_instance(o, &tarn__type_condition);
	u->me = tarn__actor(u->client);
	if (tarn__unlikely(u->c == NULL || u->me == 0))
		return tarn__negative(tarn_error_last()->code);
	u->m = lock_of(u->client, u->c, &u->plain);
	return tarn__likely(u->m != NULL) ? 0 : tarn__negative(tarn_error_last()->code);
}

static int use_locked(tarn_object *o, const char *what, struct use *u)
{
	int r = use_it(o, u);

	if (r < 0)
		return r;
	/* Relaxed: it is ours, or never: only we write our name. */
	if ((tarn__load32_relaxed(&u->m->word) & TARN__OWNER_MASK) != u->me)
		return tarn__fail(-EPERM, "%s a condition takes its lock first: this thread does not hold "
				  "it.", what);
	return 0;
}

/* ---- its lock ---- */

int tarn_cond_acquire(tarn_object *cond, int64_t timeout_ns)
{
	struct use u;
	int r = use_it(cond, &u);

	if (r < 0)
		return r;
	if (!u.plain)
		return tarn__rlock_acquire(u.client, u.m, u.me, timeout_ns);
	return tarn__mutex_acquire(u.client, u.m, u.me, timeout_ns);
}

int tarn_cond_release(tarn_object *cond)
{
	struct use u;
	int r = use_it(cond, &u);

	if (r < 0)
		return r;
	if (!u.plain)
		return tarn__rlock_release(u.m, u.me);
	return tarn__mutex_drop(u.m, u.me) != 0
		       ? 0
		       : tarn__fail(-TARN_ESTATE, "The lock was released, but nobody holds it.");
}

/* ---- waiting ---- */

/* A slot for this thread, behind those that wait. Under the lock. NULL: there is none. */
static uint32_t *queue(struct use *u)
{
	struct tarn__cond *c = u->c;
	uint32_t tail = tarn__load32_relaxed(&c->tail);

	for (uint32_t k = 0; k < TARN__SLOTS; k++, tail++) {
		uint32_t i = tail % TARN__SLOTS;

		if (tarn__load32_acquire(&c->slots.slot[i]) != 0)
			continue;
		tarn__slot_take(&c->slots, i, u->me);
		tarn__store32_relaxed(&c->tail, tail + 1);
		return &c->slots.slot[i];
	}
	return NULL;
}

/* Sleeps until it is called, or not any longer. */
static int sleep_on(struct use *u, const uint32_t *slot, int64_t timeout_ns)
{
	struct tarn__patience p = tarn__patience(u->client, timeout_ns);

	for (;;) {
		uint32_t w = tarn__load32_acquire(slot);

		if (!(w & TARN__SLOT_WAITING))
			return 0;
		int r = tarn__patience_sleep(&p, slot, w, "Nobody notified the condition");
		if (r < 0)
			return r;
	}
}

static int wait_on(struct use *u, int64_t timeout_ns)
{
	uint32_t *slot = queue(u), depth = tarn__load32_relaxed(&u->m->depth);

	if (slot == NULL)
		return tarn__fail(-ENOBUFS, "%u threads wait at the condition: there is no place for more.",
				  TARN__SLOTS);
	tarn__mutex_drop(u->m, u->me);
	int r = sleep_on(u, slot, timeout_ns);
	int locked = tarn__mutex_acquire(u->client, u->m, u->me, TARN_FOREVER);

	if (locked == 0 || locked == -EOWNERDEAD) {
		if (!u->plain)
			tarn__store32_relaxed(&u->m->depth, depth);
		/* Called after its time was over, but before it left: that counts. */
		if (!(__atomic_exchange_n(slot, 0, __ATOMIC_ACQ_REL) & TARN__SLOT_WAITING))
			r = 0;
		return locked < 0 ? locked : r;
	}
	/* The server is gone: so is the lock. */
	tarn__store32_release(slot, 0);
	return locked;
}

int tarn_cond_wait(tarn_object *cond, int64_t timeout_ns)
{
	struct use u;
	int r = use_locked(cond, "Who waits at", &u);

	return r < 0 ? r : wait_on(&u, timeout_ns);
}

int tarn_cond_wait_for(tarn_object *cond, bool (*predicate)(void *arg), void *arg, int64_t timeout_ns)
{
	struct use u;
	int r = use_locked(cond, "Who waits at", &u);
	uint64_t deadline = timeout_ns > 0 ? tarn__deadline(timeout_ns) : 0;

	while (r == 0 && !predicate(arg)) {
		int64_t left = timeout_ns;

		if (timeout_ns > 0) {
			uint64_t now = tarn__now();

			left = now < deadline ? (int64_t)(deadline - now) : 0;
		}
		r = wait_on(&u, left);
		if ((r == -ETIMEDOUT || r == -EAGAIN) && predicate(arg))
			return 0;
		if (r == -EAGAIN && timeout_ns > 0)
			return tarn__fail(-ETIMEDOUT, "What the condition is waited for did not come true in "
					  "%.3f s.", (double)timeout_ns * 1e-9);
	}
	return r;
}

/* ---- notifying ---- */

int tarn_cond_notify(tarn_object *cond, uint32_t n)
{
	struct use u;
	int r = use_locked(cond, "Who notifies", &u);

	if (r < 0)
		return r;
	struct tarn__cond *c = u.c;
	uint32_t tail = tarn__load32_relaxed(&c->tail), at = tarn__load32_relaxed(&c->head);
	bool oldest = true;

	if (tail - at > TARN__SLOTS)
		at = tail - TARN__SLOTS; /* one that waits since more than a round: others are passed */
	for (; at != tail && n > 0; at++) {
		uint32_t *slot = &c->slots.slot[at % TARN__SLOTS];

		n -= tarn__slot_call(slot, TARN__SLOT_CALLED);
		oldest = oldest && !(tarn__load32_acquire(slot) & TARN__SLOT_WAITING);
		if (oldest)
			tarn__store32_relaxed(&c->head, at + 1);
	}
	return 0;
}

int tarn_cond_notify_all(tarn_object *cond)
{
	return tarn_cond_notify(cond, UINT32_MAX);
}

/* ---- making ---- */

int tarn_cond_new(tarn_client *client, tarn_object *lock, tarn_object **ret_cond)
{
	if (lock == NULL)
		return tarn_object_new(client, tarn__type_condition.name, NULL, ret_cond);
	bool plain = tarn__object_instance(lock, &tarn__type_lock) != NULL;

	if (!plain && tarn__object_instance(lock, &tarn__type_rlock) == NULL)
		return tarn__negative(tarn_error_last()->code);
	return tarn_object_newf(client, tarn__type_condition.name, ret_cond, "OQb", lock,
				(uint64_t)lock->base.type, plain);
}
