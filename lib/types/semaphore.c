/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semaphores: the client's side. What is done is done in the guard, and holder[] first: what was not
 * finished when its owner was killed is computed again from holder[] and total (shm/sync.h).
 */
#include "tarn/sync.h"

#include <limits.h>

#include "actor.h"
#include "shm/sync.h"
#include "types.h"

static int fail(void)
{
	return tarn__negative(tarn_error_last()->code);
}

static struct tarn__sem *sem_of(tarn_object *o)
{
	/* Two types, one instance; which of them is found out once. */
	if (tarn__load_acquire(&o->base.size) == (uint64_t)(uintptr_t)&tarn__type_bounded_semaphore)
		return tarn__object_instance(o, &tarn__type_bounded_semaphore);
	struct tarn__sem *s = tarn__object_instance(o, &tarn__type_semaphore);

	if (tarn__likely(s != NULL) || fail() != -TARN_EKIND)
		return s;
	s = tarn__object_instance(o, &tarn__type_bounded_semaphore);
	if (s == NULL && fail() == -TARN_EKIND)
		tarn__fail(-TARN_EKIND, "A %s or %s is expected, this is a %s: tarn_object_type_name() tells what "
			   "an object is.", tarn__type_semaphore.name, tarn__type_bounded_semaphore.name,
			   tarn_object_type_name(o));
	return s;
}

static int enter(tarn_object *o, struct tarn__sem *s, uint32_t me, int64_t timeout_ns)
{
	return tarn__guard_enter(o->base.client, &s->guard, me, timeout_ns, tarn__sem_repair, s);
}
static void leave(struct tarn__sem *s, uint32_t me)
{
	tarn__guard_exit(&s->guard, me, tarn__sem_repair, s);
}

/* In the guard. */
static bool there_is_one(const struct tarn__sem *s)
{
	return tarn__load_relaxed(&s->value) > 0;
}

/* ---- who has how many ---- */

/* The entry of @client, also without permits; else one that is free; else NULL. In the guard. */
static uint32_t *entry_of(struct tarn__sem *s, uint32_t client)
{
	const uint32_t used = tarn__sem_used(s);
	uint32_t *free_one = NULL;

	for (uint32_t i = 0; i < used; i++) {
		uint32_t h = tarn__load32_relaxed(&s->holder[i]);

		if (tarn__owner_client(h) == client)
			return &s->holder[i];
		if (h < TARN__SEM_UNIT)
			free_one = &s->holder[i];
	}
	if (free_one != NULL || used == TARN__SEM_HOLDERS)
		return free_one;
	/* First, so that an entry is always below it. */
	tarn__store32_relaxed(&s->used, used + 1);
	return &s->holder[used];
}

/* Takes up to @n permits away from @entry; returns how many. The server may do so too. */
static uint64_t entry_take(uint32_t *entry, uint64_t n)
{
	uint32_t h = tarn__load32_relaxed(entry);

	while (h >= TARN__SEM_UNIT && n > 0) {
		uint32_t k = h / TARN__SEM_UNIT < n ? h / TARN__SEM_UNIT : (uint32_t)n;

		if (tarn__word_swap(entry, &h, h - k * TARN__SEM_UNIT, __ATOMIC_RELAXED))
			return k;
	}
	return 0;
}

/* ---- taking ---- */

/* In the guard; there is one. */
static int take(struct tarn__sem *s, uint32_t me)
{
	uint32_t client = tarn__owner_client(me), *entry = entry_of(s, client);
	uint32_t h = entry != NULL ? tarn__load32_relaxed(entry) : 0;

	if (entry == NULL)
		return tarn__fail(-ENOBUFS, "%u other clients have permits of the semaphore; more cannot "
				  "be noted.", TARN__SEM_HOLDERS);
	if (tarn__owner_client(h) != client)
		h = client;
	if (h / TARN__SEM_UNIT == TARN__SEM_PERMITS_MOST)
		return tarn__fail(-ERANGE, "This client has %u permits; more cannot be noted.",
				  TARN__SEM_PERMITS_MOST);
	/* Nobody else writes to an entry of ours, and the server to none of a living client. */
	tarn__store32_relaxed(entry, h + TARN__SEM_UNIT);
	tarn__store_relaxed(&s->value, tarn__load_relaxed(&s->value) - 1);
	return 0;
}

/* Calls @n sleepers; in the guard, so that a death before the wake is one in the guard. */
static void call(struct tarn__sem *s, int n)
{
	/* SYNC sem-wake, release: who finds it changed finds the permits. */
	__atomic_fetch_add(&s->wake, 1, __ATOMIC_RELEASE);
	tarn__futex_wake(&s->wake, n);
}

static int acquire_slow(tarn_object *o, struct tarn__sem *s, uint32_t me, int64_t timeout_ns)
{
	struct tarn__patience p = tarn__patience(o->base.client, timeout_ns);
	bool slept = false;

	/* Inside the guard, where there was no permit. */
	for (;;) {
		if (timeout_ns == 0) {
			leave(s, me);
			return tarn__fail_static(-EAGAIN, "The semaphore has no permit left.");
		}
		tarn__store32_relaxed(&s->waiting, 1);
		tarn__store32_relaxed(&s->slept, 1);
		uint32_t seen = tarn__load32_relaxed(&s->wake);

		leave(s, me);
		int r = tarn__patience_sleep(&p, &s->wake, seen, "The semaphore has no permit left");
		if (r < 0) {
			/* A call may have been ours: it is another's now. */
			if (enter(o, s, me, TARN_FOREVER) == 0) {
				if (there_is_one(s) && tarn__load32_relaxed(&s->slept))
					call(s, 1);
				leave(s, me);
			}
			return tarn__fail(r, "%s", tarn_error_last()->message);
		}
		slept = true;
		r = enter(o, s, me, timeout_ns);
		if (r < 0)
			return r;
		if (there_is_one(s))
			break;
	}
	int r = take(s, me);

	/* Others may sleep who were called with us, or not at all. */
	tarn__store32_relaxed(&s->waiting, 1);
	if (slept && (r < 0 || there_is_one(s)))
		call(s, 1);
	leave(s, me);
	return r;
}

int tarn_sem_acquire(tarn_object *sem, int64_t timeout_ns)
{
	struct tarn__sem *s = sem_of(sem);
	uint32_t me = tarn__actor(sem->base.client);

	if (tarn__unlikely(s == NULL || me == 0))
		return fail();
	int r = enter(sem, s, me, timeout_ns);
	if (tarn__unlikely(r < 0))
		return r;
	if (tarn__unlikely(!there_is_one(s)))
		return acquire_slow(sem, s, me, timeout_ns);
	r = take(s, me);
	leave(s, me);
	return r;
}

/* ---- giving back ---- */

int tarn_sem_release(tarn_object *sem, uint32_t n)
{
	struct tarn__sem *s = sem_of(sem);
	uint32_t me = tarn__actor(sem->base.client);

	if (tarn__unlikely(s == NULL || me == 0))
		return fail();
	if (tarn__unlikely(n == 0))
		return tarn__fail(-EINVAL, "0 permits cannot be released.");
	int r = enter(sem, s, me, TARN_FOREVER);
	if (tarn__unlikely(r < 0))
		return r;
	uint64_t value = tarn__load_relaxed(&s->value), total = tarn__load_relaxed(&s->total), left = n;

	if (tarn__unlikely(tarn__load32_relaxed(&s->bounded) != 0 && value + n > total)) {
		leave(s, me);
		return tarn__fail(-TARN_ESTATE, "The semaphore was released too many times: it has %llu of "
				  "%llu permits, %u more are none.", (unsigned long long)value,
				  (unsigned long long)total, n);
	}
	if (tarn__unlikely(value + n > INT64_MAX)) {
		leave(s, me);
		return tarn__fail(-EOVERFLOW, "The semaphore cannot have more permits.");
	}
	const uint32_t used = tarn__sem_used(s);

	/* Our own first; then others', for whom we release them: what comes back when clients die is
	 * never more than what is taken. */
	for (uint32_t i = 0; i < used && left > 0; i++)
		if (tarn__owner_client(tarn__load32_relaxed(&s->holder[i])) == tarn__owner_client(me))
			left -= entry_take(&s->holder[i], left);
	for (uint32_t i = 0; i < used && left > 0 && value < total; i++)
		left -= entry_take(&s->holder[i], left);
	if (left > 0 && tarn__load32_relaxed(&s->bounded) == 0)
		tarn__store_relaxed(&s->total, total + left);
	tarn__store_relaxed(&s->value, value + n);
	if (tarn__load32_relaxed(&s->waiting) != 0) {
		tarn__store32_relaxed(&s->waiting, 0);
		call(s, n < INT_MAX ? (int)n : INT_MAX);
	}
	leave(s, me);
	return 0;
}

/* ---- looking ---- */

int tarn_sem_value(tarn_object *sem, uint64_t *ret_value)
{
	struct tarn__sem *s = sem_of(sem);
	uint32_t me = tarn__actor(sem->base.client);

	if (s == NULL || me == 0)
		return fail();
	int r = enter(sem, s, me, TARN_FOREVER); /* a repair may be due */
	if (r < 0)
		return r;
	*ret_value = tarn__load_relaxed(&s->value);
	leave(s, me);
	return 0;
}

int tarn__sem_wait_word(tarn_object *sem, const uint32_t **ret_word, uint32_t *ret_seen)
{
	struct tarn__sem *s = sem_of(sem);
	uint32_t me = tarn__actor(sem->base.client);

	if (s == NULL || me == 0)
		return fail();
	int r = enter(sem, s, me, TARN_FOREVER);
	if (r < 0)
		return r;
	tarn__store32_relaxed(&s->waiting, 1);
	tarn__store32_relaxed(&s->slept, 1);
	*ret_word = &s->wake;
	*ret_seen = tarn__load32_relaxed(&s->wake);
	leave(s, me);
	return 0;
}

static int new(tarn_client *c, const tarn_type *type, uint64_t permits, tarn_object **ret)
{
	return tarn_object_newf(c, type->name, ret, "Q", permits);
}
int tarn_sem_new(tarn_client *client, uint64_t permits, tarn_object **ret_sem)
{
	return new(client, &tarn__type_semaphore, permits, ret_sem);
}
int tarn_bounded_sem_new(tarn_client *client, uint64_t permits, tarn_object **ret_sem)
{
	return new(client, &tarn__type_bounded_semaphore, permits, ret_sem);
}
