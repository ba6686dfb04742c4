/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting and waking (PROTOCOL 3.13, H24).
 *
 * A sleeper says that it will sleep, then looks once more; a poster posts, then looks
 * whether somebody sleeps. Between the two steps of each side a store must become
 * visible before the following load, or a wake-up is lost. The sleeper pays for both: it
 * calls membarrier(GLOBAL_EXPEDITED), which makes every running thread of every
 * registered process pass a full barrier; posters then need only a compiler barrier.
 * Sleeping costs tens of microseconds anyway. Where membarrier is refused, posters fence.
 */
#ifndef TARN_SHM_WAKE_H
#define TARN_SHM_WAKE_H

#include <time.h>

#include "base.h"

#define TARN__FOREVER INT64_C(-1)

/* CLOCK_MONOTONIC in ns. */
static inline uint64_t tarn__now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Absolute deadline of a relative timeout; UINT64_MAX for ever. */
static inline uint64_t tarn__deadline(int64_t timeout_ns)
{
	if (timeout_ns < 0)
		return UINT64_MAX;
	uint64_t now = tarn__now();

	return (uint64_t)timeout_ns > UINT64_MAX - 1 - now ? UINT64_MAX - 1
							   : now + (uint64_t)timeout_ns;
}

/* Registers the process as a target of expedited membarriers; true if it worked. Once per
 * process, again after fork. */
bool tarn__membarrier_register(void);
/* Full barrier on all registered processes' running threads and this one. False: refused. */
bool tarn__membarrier(void);

/* Poster's side of the handshake: @fence if any sleeper might not use membarrier. */
static inline void tarn__post_barrier(bool fence)
{
	if (fence)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		tarn__compiler_barrier();
}

/* Sleeper's side, between "I will sleep" and the last look. */
void tarn__sleep_barrier(bool fence);

/* Waits while *word == value, at most until @deadline (tarn__now() based; UINT64_MAX: no
 * limit) . 0 woken or changed, -ETIMEDOUT, -EINTR. Shared between processes. */
int tarn__futex_wait(const uint32_t *word, uint32_t value, uint64_t deadline);
/* The same of any of @n words, up to 128; an old kernel without futex_waitv looks every millisecond.
 * 0 or -ETIMEDOUT. */
int tarn__futex_wait_any(const uint32_t *const *word, const uint32_t *value, unsigned n,
			 uint64_t deadline);
/* Wakes up to @n waiters; returns how many or negative errno. */
int tarn__futex_wake(const uint32_t *word, int n);

/*
 * Adaptive spinning: how long a wait may poll before it sleeps. Doubles while
 * polling pays, halves while it does not; zero on one CPU.
 */
struct tarn__spin {
	uint32_t rounds;     /* polls allowed now */
	uint32_t rounds_max; /* from TARN_SPIN_US or the default */
};
/* Microseconds that TARN_SPIN_US says (at most a second), or @default_us if it is not set or
 * not a number; 0 on one CPU. */
unsigned tarn__spin_us(unsigned default_us);
/* @default_us applies as in tarn__spin_us(). */
void tarn__spin_init(struct tarn__spin *s, unsigned default_us);
static inline void tarn__spin_paid(struct tarn__spin *s)
{
	uint32_t more = s->rounds * 2 + 1;

	s->rounds = more < s->rounds_max ? more : s->rounds_max;
}
static inline void tarn__spin_failed(struct tarn__spin *s)
{
	uint32_t least = s->rounds_max / 16; /* keeps probing, so that it can learn again */
	uint32_t less = s->rounds / 2;

	s->rounds = less > least ? less : least;
}
/* One poll's pause: a pause instruction, and a yield to other runnable threads now and
 * then, so that a spinner never holds a CPU for a scheduler slice. */
static inline void tarn__spin_pause(uint32_t round);

#include <sched.h>
static inline void tarn__spin_pause(uint32_t round)
{
	if (tarn__unlikely((round & 127u) == 127u))
		sched_yield();
	else
		tarn__pause();
}

#endif
