/* SPDX-License-Identifier: Apache-2.0 */
/* A word that two processes throw each other, asleep in between: the least that waking another costs. */
#ifndef TARN_BENCH_BALL_H
#define TARN_BENCH_BALL_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void await_ball(uint32_t *ball, uint32_t value)
{
	uint32_t now;

	while ((now = __atomic_load_n(ball, __ATOMIC_ACQUIRE)) != value)
		syscall(SYS_futex, ball, FUTEX_WAIT, now, NULL, NULL, 0);
}

static inline void throw_ball(uint32_t *ball, uint32_t value)
{
	__atomic_store_n(ball, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, ball, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#endif
