/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Barriers: the client's side. Each party that waits has a slot, in which it is told how its round
 * ended; so the next round can begin before the last of this one has looked.
 */
#include "tarn/sync.h"

#include "actor.h"
#include "shm/sync.h"
#include "types.h"

struct use {
	struct tarn_client *client;
	struct tarn__barrier *b;
	uint32_t me;
};

static int enter(const struct use *u, int64_t timeout_ns)
{
	return tarn__guard_enter(u->client, &u->b->guard, u->me, timeout_ns, tarn__barrier_repair, u->b);
}
static void leave(const struct use *u)
{
	tarn__guard_exit(&u->b->guard, u->me, tarn__barrier_repair, u->b);
}

static int use_it(tarn_object *o, struct use *u)
{
	u->client = o->base.client;
	u->b = tarn__object_instance(o, &tarn__type_barrier);
	u->me = tarn__actor(u->client);
	return u->b != NULL && u->me != 0 ? 0 : tarn_error_last()->code;
}

static int fail_broken(void)
{
	return tarn__fail_static(-TARN_EBROKEN, "The barrier is broken: a party died, gave up or aborted "
				 "it. tarn_barrier_reset() mends it.");
}

/* In the guard: all who wait are told that it is broken. */
static void break_it(struct tarn__barrier *b)
{
	tarn__store32_relaxed(&b->broken, 1);
	tarn__barrier_call(b, TARN__SLOT_BROKEN);
}

/* In the guard, as the last to come. */
static int pass(const struct use *u, int (*action)(void *arg), void *arg)
{
	struct tarn__barrier *b = u->b;
	int r = 0;

	if (action != NULL) {
		tarn__store32_release(&b->phase, TARN__BARRIER_ACTING);
		r = action(arg);
	}
	if (r < 0) {
		break_it(b);
		return tarn__fail(r, "The barrier's action failed with %d (%s): the barrier is broken.", r,
				  tarn_error_text(r));
	}
	tarn__store32_release(&b->phase, TARN__BARRIER_PASSING);
	tarn__barrier_call(b, TARN__SLOT_CALLED);
	return 0;
}

static int sleep_on(const struct use *u, uint32_t *slot, int64_t timeout_ns)
{
	struct tarn__patience p = tarn__patience(u->client, timeout_ns);

	for (;;) {
		uint32_t w = tarn__load32_acquire(slot);
		int r = 0;

		if (tarn__unlikely(w & TARN__SLOT_LOOK)) {
			/* A party died: the server asks us to set right what there is. */
			if (!tarn__word_swap(slot, &w, w & ~TARN__SLOT_LOOK, __ATOMIC_ACQ_REL))
				continue;
			r = enter(u, TARN_FOREVER);
			if (r < 0)
				return r;
			leave(u);
			continue;
		}
		if (w & TARN__SLOT_WAITING)
			r = tarn__patience_sleep(&p, slot, w, "Not all parties came to the barrier");
		else
			return w & TARN__SLOT_BROKEN ? fail_broken() : 0;
		if (r < 0)
			return r;
	}
}

/* It waits no more: if the others were not called yet, they wait for nothing now. */
static int give_up(const struct use *u, uint32_t *slot, int r)
{
	tarn_error why = *tarn_error_last();
	int entered = enter(u, TARN_FOREVER);
	uint32_t w = __atomic_exchange_n(slot, 0, __ATOMIC_ACQ_REL);

	if (entered == 0) {
		if (w & TARN__SLOT_WAITING)
			break_it(u->b);
		leave(u);
	}
	if (w & TARN__SLOT_CALLED)
		return 0; /* it was in time after all */
	return tarn__fail(r, "%s", why.message);
}

int tarn_barrier_wait_with(tarn_object *barrier, int (*action)(void *arg), void *arg,
			   int64_t timeout_ns, uint32_t *ret_index)
{
	struct use u;
	int r = use_it(barrier, &u);

	if (r == 0)
		r = enter(&u, timeout_ns);
	if (r < 0)
		return r;
	struct tarn__barrier *b = u.b;
	uint32_t index = tarn__load32_relaxed(&b->count), i = 0;

	if (tarn__load32_relaxed(&b->broken)) {
		leave(&u);
		return fail_broken();
	}
	if (index + 1 >= tarn__load32_relaxed(&b->parties)) {
		r = pass(&u, action, arg);
		leave(&u);
		if (r == 0 && ret_index != NULL)
			*ret_index = index;
		return r;
	}
	while (i < TARN__SLOTS && tarn__load32_acquire(&b->slots.slot[i]) != 0)
		i++;
	if (i == TARN__SLOTS) {
		leave(&u);
		return tarn__fail(-ENOBUFS, "%u threads are at the barrier: there is no place for more.",
				  TARN__SLOTS);
	}
	tarn__slot_take(&b->slots, i, u.me);
	tarn__store32_relaxed(&b->count, index + 1);
	leave(&u);
	r = sleep_on(&u, &b->slots.slot[i], timeout_ns);
	if (r < 0 && r != -TARN_EBROKEN)
		r = give_up(&u, &b->slots.slot[i], r);
	else
		tarn__store32_release(&b->slots.slot[i], 0);
	if (r == 0 && ret_index != NULL)
		*ret_index = index;
	return r;
}

int tarn_barrier_wait(tarn_object *barrier, int64_t timeout_ns, uint32_t *ret_index)
{
	return tarn_barrier_wait_with(barrier, NULL, NULL, timeout_ns, ret_index);
}

int tarn_barrier_abort(tarn_object *barrier)
{
	struct use u;
	int r = use_it(barrier, &u);

	if (r == 0)
		r = enter(&u, TARN_FOREVER);
	if (r < 0)
		return r;
	break_it(u.b);
	leave(&u);
	return 0;
}

int tarn_barrier_reset(tarn_object *barrier)
{
	struct use u;
	int r = use_it(barrier, &u);

	if (r == 0)
		r = enter(&u, TARN_FOREVER);
	if (r < 0)
		return r;
	tarn__store32_release(&u.b->phase, TARN__BARRIER_BREAKING);
	tarn__barrier_call(u.b, TARN__SLOT_BROKEN);
	tarn__store32_relaxed(&u.b->broken, 0);
	leave(&u);
	return 0;
}

int tarn_barrier_facts(tarn_object *barrier, tarn_barrier_state *ret_state)
{
	struct use u;
	int r = use_it(barrier, &u);

	if (r == 0)
		r = enter(&u, TARN_FOREVER);
	if (r < 0)
		return r;
	*ret_state = (tarn_barrier_state){ .parties = tarn__load32_relaxed(&u.b->parties),
					   .n_waiting = tarn__load32_relaxed(&u.b->count),
					   .broken = tarn__load32_relaxed(&u.b->broken) != 0 };
	leave(&u);
	return 0;
}

int tarn_barrier_new(tarn_client *client, uint32_t parties, tarn_object **ret_barrier)
{
	return tarn_object_newf(client, tarn__type_barrier.name, ret_barrier, "Q", (uint64_t)parties);
}
