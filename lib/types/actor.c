/* SPDX-License-Identifier: Apache-2.0 */
#include "actor.h"

uint32_t tarn__actor_slow(struct tarn_client *c)
{
	struct tarn__lane *l;

	if (c->ctrl == NULL) {
		tarn__fail(-EPERM, "An inline method has what it is lent for calls only: locks and their "
			   "likes are for executors and clients.");
		return 0;
	}
	if (tarn__lane_enter(c, &l) < 0)
		return 0;
	uint32_t me = tarn__owner(c->number, l->number);

	tarn__lane_leave(l);
	return me;
}

static int fail_late(const struct tarn__patience *p, const char *what)
{
	return tarn__fail_waited(tarn__late(p->timeout_ns), p->timeout_ns, what);
}

int tarn__patience_sleep(struct tarn__patience *p, const uint32_t *word, uint32_t value,
			 const char *what)
{
	if (p->timeout_ns == 0)
		return fail_late(p, what);
	uint64_t now = tarn__now();

	if (p->deadline == 0)
		p->deadline = tarn__deadline(p->timeout_ns);
	if (now >= p->deadline)
		return fail_late(p, what);
	uint64_t until = p->deadline - now > TARN__SLICE_NS ? now + TARN__SLICE_NS : p->deadline;

	if (tarn__futex_wait(word, value, until) != -ETIMEDOUT || until == p->deadline)
		return 0; /* the caller looks once more before the time is found to be over */
	return tarn__client_health(p->client, tarn__lane_mine(p->client));
}

#define SPINS 40 /* looks before the first sleep */

int tarn__guard_enter_slow(struct tarn_client *c, struct tarn__guard *g, uint32_t me,
			   int64_t timeout_ns, tarn__repair_fn *repair, void *self)
{
	struct tarn__patience p = tarn__patience(
		c, timeout_ns >= 0 && timeout_ns < TARN__BUSY_NS ? TARN__BUSY_NS : timeout_ns);
	uint32_t mark = 0, rounds = 0;
	bool due;

	while (!tarn__guard_try(g, me, mark, &due)) {
		if (rounds++ < SPINS) {
			tarn__spin_pause(rounds);
			continue;
		}
		uint32_t w = tarn__guard_sleep(g);

		if (w == 0)
			continue;
		int r = tarn__patience_sleep(&p, &g->word, w, "Another is inside and does not go on");
		if (r < 0)
			return r;
		mark = TARN__OWNER_WAITERS;
	}
	if (due)
		repair(self);
	return 0;
}
