/* SPDX-License-Identifier: Apache-2.0 */
#include "pause.h"

static __thread struct tarn__spin spin; /* what polling has been worth to this thread */
static __thread bool spin_known;

static int sleep_now(struct tarn__pause *p)
{
	uint64_t now = tarn__now(), until;

	if (now >= p->deadline)
		return -ETIMEDOUT;
	until = p->deadline - now > TARN__SLICE_NS ? now + TARN__SLICE_NS : p->deadline;
	if (tarn__futex_wait(&p->bell->number, p->number, until) != -ETIMEDOUT || until == p->deadline)
		return 0; /* one more look before the time is found to be over */
	return tarn__client_health(p->client, tarn__lane_mine(p->client));
}

int tarn__pause_next(struct tarn__pause *p)
{
	int r = 0;

	if (p->timeout_ns == 0)
		return -EAGAIN;
	switch (p->phase) {
	case TARN__PAUSE_SPINS:
		if (!spin_known) {
			tarn__spin_init(&spin, 20);
			spin_known = true;
		}
		if (p->rounds++ < spin.rounds) {
			tarn__pause();
			return 0;
		}
		tarn__spin_failed(&spin);
		p->deadline = tarn__deadline(p->timeout_ns);
		p->phase = TARN__PAUSE_YIELDS;
		/* fall through */
	case TARN__PAUSE_YIELDS:
		if (tarn__yield_until(&p->yield_until))
			return 0;
		p->phase = TARN__PAUSE_LISTENS;
		break;
	case TARN__PAUSE_LISTENS:
		r = sleep_now(p);
		break;
	}
	if (r == 0) {
		/* SYNC bell: number, asleep, barrier, and then the caller's look. */
		p->number = tarn__bell_number(p->bell);
		tarn__bell_listen(p->bell, TARN__BELL_ONE, p->client->fence);
	}
	return r;
}

void tarn__pause_end(const struct tarn__pause *p)
{
	if (p->phase == TARN__PAUSE_SPINS && p->rounds != 0)
		tarn__spin_paid(&spin);
}
