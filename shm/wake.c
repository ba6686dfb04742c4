/* SPDX-License-Identifier: Apache-2.0 */
#include "wake.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

bool tarn__membarrier_register(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool tarn__membarrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void tarn__sleep_barrier(bool fence)
{
	/* The system call itself is a full barrier for this thread; when it is refused
	 * the posters fence (they were told), and so must we. */
	if (fence || !tarn__membarrier())
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int tarn__futex_wait(const uint32_t *word, uint32_t value, uint64_t deadline)
{
	struct timespec at = { 0 };

	if (deadline != UINT64_MAX) {
		at.tv_sec = (time_t)(deadline / 1000000000u);
		at.tv_nsec = (long)(deadline % 1000000000u);
	}
	/* BITSET takes an absolute CLOCK_MONOTONIC time: no drift when it is restarted. */
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline == UINT64_MAX ? NULL : &at,
		    NULL, FUTEX_BITSET_MATCH_ANY) == 0)
		return 0;
	return errno == EAGAIN ? 0 : -errno;
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* on all architectures */
#endif
#define WAIT_ANY_MOST 128u
#define WAITV_32 2u /* FUTEX2_SIZE_U32; without FUTEX2_PRIVATE it is shared */

/* struct futex_waitv, which older headers do not have. */
struct waitv {
	uint64_t value, address;
	uint32_t flags, reserved;
};

int tarn__futex_wait_any(const uint32_t *const *word, const uint32_t *value, unsigned n,
			 uint64_t deadline)
{
	struct waitv w[WAIT_ANY_MOST];
	struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
			       .tv_nsec = (long)(deadline % 1000000000u) };

	assert(n <= WAIT_ANY_MOST);
	for (unsigned k = 0; k < n; k++)
		w[k] = (struct waitv){ value[k], (uint64_t)(uintptr_t)word[k], WAITV_32, 0 };
	if (syscall(SYS_futex_waitv, w, n, 0, deadline == UINT64_MAX ? NULL : &at,
		    CLOCK_MONOTONIC) >= 0 || errno == EAGAIN || errno == EINTR)
		return 0;
	if (errno == ETIMEDOUT)
		return -ETIMEDOUT;
	while (tarn__now() < deadline) {
		const struct timespec ms = { .tv_nsec = 1000000 };

		for (unsigned k = 0; k < n; k++)
			if (tarn__load32_acquire(word[k]) != value[k])
				return 0;
		nanosleep(&ms, NULL);
	}
	return -ETIMEDOUT;
}

int tarn__futex_wake(const uint32_t *word, int n)
{
	long r = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);

	return r >= 0 ? (int)r : -errno;
}

unsigned tarn__spin_us(unsigned default_us)
{
	const char *text = getenv("TARN_SPIN_US");
	unsigned us = default_us;

	if (text != NULL && *text >= '0' && *text <= '9') {
		char *end;
		unsigned long v = strtoul(text, &end, 10);

		if (*end == '\0')
			us = v < 1000000 ? (unsigned)v : 1000000;
	}
	return sysconf(_SC_NPROCESSORS_ONLN) < 2 ? 0 : us;
}

void tarn__spin_init(struct tarn__spin *s, unsigned default_us)
{
	/* A poll with its pause takes some 25 to 50 ns. */
	s->rounds_max = (uint32_t)tarn__spin_us(default_us) * 25;
	s->rounds = s->rounds_max;
}
