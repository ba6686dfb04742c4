/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small things that every layer uses: lengths of the machine, a few macros,
 * and atomic accesses whose order stands in their name.
 *
 * Shared words are plain integers in the structs and are only ever touched
 * through these functions, so that the order of each access can be read at the
 * call. __atomic builtins work the same for C and C++ and for words that lie
 * in a mapping; <stdatomic.h> types would not change the generated code.
 */
#ifndef TARN_SHM_BASE_H
#define TARN_SHM_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN__LINE 64u     /* bytes that two cores exchange at once */
#define TARN__OS_PAGE 4096u       /* what tables in segments are aligned to: the least page of a system */
#define TARN__OS_PAGE_MOST 65536u /* the largest that we know of: arm64, ppc64; see tarn__os_page() */

#define tarn__likely(x) __builtin_expect(!!(x), 1)
#define tarn__unlikely(x) __builtin_expect(!!(x), 0)
#define tarn__container_of(ptr, type, member) \
	((type *)((char *)(ptr)-offsetof(type, member)))
#define TARN__ALIGNED_LINE __attribute__((aligned(64)))

static_assert(sizeof(void *) == 8, "Tarn needs a 64-bit machine");
static_assert(__atomic_always_lock_free(8, 0), "64-bit atomics must cross processes");

static inline uint64_t tarn__load_acquire(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline uint64_t tarn__load_relaxed(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void tarn__store_release(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}
static inline void tarn__store_relaxed(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
static inline uint32_t tarn__load32_acquire(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline uint32_t tarn__load32_relaxed(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void tarn__store32_release(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}
static inline void tarn__store32_relaxed(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* Keeps the compiler from moving accesses across; emits nothing. */
static inline void tarn__compiler_barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Asks for the line at @p, which need not be mapped: nobody waits for it. gcc takes a function that only
 * fetches for one without effect and may drop its calls (and did); the empty asm is one. */
static inline void tarn__fetch(const void *p)
{
	__builtin_prefetch(p);
	__asm__ volatile("");
}
/* The same, to be written. */
static inline void tarn__fetch_to_write(const void *p)
{
	__builtin_prefetch(p, 1);
	__asm__ volatile("");
}

/* A hint to the core that this is a poll loop. HOTPATH: it makes the other
 * side faster, because a poll steals the line while it is being filled. */
static inline void tarn__pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

static inline uint64_t tarn__round_up(uint64_t n, uint64_t to_power_of_two)
{
	return (n + to_power_of_two - 1) & ~(to_power_of_two - 1);
}
static inline bool tarn__is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

#endif
