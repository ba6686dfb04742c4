/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a shared block cost beside private memory? Allocate, write one byte, release:
 * tarn_block_new() and tarn_block_unref() beside malloc() and free() of mimalloc and
 * of the C library, in the same process, one after the other in each round.
 *
 * mimalloc is loaded at run time, so that it does not replace the C library's malloc; where
 * it is missing its column is.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "report.h"

#define LIVE_MOST 1024u
#define LIVE_BYTES (128u << 20)
#define BURST 64u
#define BLOCK_NS 250e3
#define BLOCKS 33u

static tarn_client *client;
static void *(*mi_alloc)(size_t size);
static void (*mi_release)(void *p);
static uint16_t order[8192]; /* random numbers below LIVE_MOST */

/* Each allocator is compiled into loops of its own: no call that the others do not have. */
#define ALLOCATOR(name, type, ALLOC, DATA, RELEASE)                                        \
	static inline type name##_one(size_t size)                                         \
	{                                                                                  \
		type p;                                                                    \
		ALLOC(p, size);                                                            \
		*(volatile char *)DATA(p) = 1;                                             \
		return p;                                                                  \
	}                                                                                  \
	static void name##_fixed(size_t size, uint64_t n, unsigned live)                   \
	{                                                                                  \
		(void)live;                                                                \
		for (uint64_t i = 0; i < n; i++) {                                         \
			type p = name##_one(size);                                         \
			escape(p);                                                         \
			RELEASE(p);                                                        \
		}                                                                          \
	}                                                                                  \
	static type name##_held[LIVE_MOST];                                                \
	static void name##_fill(size_t size, unsigned live)                                \
	{                                                                                  \
		for (unsigned k = 0; k < live; k++)                                        \
			name##_held[k] = name##_one(size);                                 \
	}                                                                                  \
	static void name##_drain(unsigned live)                                            \
	{                                                                                  \
		for (unsigned k = 0; k < live; k++)                                        \
			RELEASE(name##_held[k]);                                           \
	}                                                                                  \
	static void name##_random(size_t size, uint64_t n, unsigned live)                  \
	{                                                                                  \
		for (uint64_t i = 0; i < n; i++) {                                         \
			unsigned k = order[i % 8192] % live;                               \
			RELEASE(name##_held[k]);                                           \
			name##_held[k] = name##_one(size);                                 \
		}                                                                          \
	}                                                                                  \
	static void name##_burst(size_t size, uint64_t n, unsigned live)                   \
	{                                                                                  \
		static type held[BURST];                                                   \
		for (uint64_t i = 0; i < n; i += BURST) {                                  \
			for (unsigned k = 0; k < live; k++)                                \
				held[k] = name##_one(size);                                \
			for (unsigned k = 0; k < live; k++)                                \
				RELEASE(held[k]);                                          \
		}                                                                          \
	}

#define TARN_ALLOC(p, size) check(tarn_block_new(client, size, 0, &(p)), "allocate")
#define TARN_DATA(p) tarn_block_data(p)
#define TARN_RELEASE(p) tarn_block_unref(p)
ALLOCATOR(tarn, tarn_block *, TARN_ALLOC, TARN_DATA, TARN_RELEASE)

/* As the other two are asked: NULL is checked. */
#define PRIVATE_ALLOC(p, size, fn)                                                         \
	do {                                                                               \
		(p) = fn(size);                                                            \
		if (__builtin_expect((p) == NULL, 0))                                      \
			die("no private memory");                                          \
	} while (0)
#define PRIVATE_DATA(p) (p)
#define GLIBC_ALLOC(p, size) PRIVATE_ALLOC(p, size, malloc)
ALLOCATOR(glibc, void *, GLIBC_ALLOC, PRIVATE_DATA, free)
#define MIMALLOC_ALLOC(p, size) PRIVATE_ALLOC(p, size, mi_alloc)
ALLOCATOR(mimalloc, void *, MIMALLOC_ALLOC, PRIVATE_DATA, mi_release)

enum pattern { FIXED, RANDOM, BURSTS, PATTERNS };
typedef void loop_fn(size_t size, uint64_t n, unsigned live);
static const struct allocator {
	const char *name;
	loop_fn *loop[PATTERNS];
	void (*fill)(size_t size, unsigned live); /* what the random order works on */
	void (*drain)(unsigned live);
} allocators[] = {
	{ "tarn", { tarn_fixed, tarn_random, tarn_burst }, tarn_fill, tarn_drain },
	{ "mimalloc", { mimalloc_fixed, mimalloc_random, mimalloc_burst }, mimalloc_fill, mimalloc_drain },
	{ "glibc", { glibc_fixed, glibc_random, glibc_burst }, glibc_fill, glibc_drain },
};

#define ALLOCATORS (sizeof allocators / sizeof *allocators)

static bool load_mimalloc(void)
{
	static const char *const names[] = { "libmimalloc.so.2", "libmimalloc.so.3",
					     "libmimalloc.so" };
	void *lib = NULL;

	for (unsigned i = 0; i < 3 && lib == NULL; i++)
		lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL)
		return false;
	*(void **)&mi_alloc = dlsym(lib, "mi_malloc");
	*(void **)&mi_release = dlsym(lib, "mi_free");
	return mi_alloc != NULL && mi_release != NULL;
}

/* How many fill BLOCK_NS, by tries that double, which also warm up. */
static uint64_t calibrated(loop_fn *loop, size_t size, unsigned live)
{
	uint64_t n = BURST;

	loop(size, n, live);
	for (;;) {
		uint64_t from = ticks();

		loop(size, n, live);
		if (ticks_to_ns(ticks() - from) >= BLOCK_NS)
			return n;
		n *= 2;
	}
}

static bool missing(const struct allocator *a)
{
	return a->loop[FIXED] == mimalloc_fixed && mi_alloc == NULL;
}

/* Blocks of the allocators in turn; of each the median, which a preemption does not move. */
static void compare(const char *row, size_t size, enum pattern pattern, unsigned live)
{
	static double block[ALLOCATORS][BLOCKS];
	uint64_t n[ALLOCATORS] = { 0 };

	for (unsigned i = 0; i < ALLOCATORS; i++) {
		if (missing(&allocators[i]))
			continue;
		if (pattern == RANDOM)
			allocators[i].fill(size, live);
		n[i] = calibrated(allocators[i].loop[pattern], size, live);
	}
	for (unsigned k = 0; k < often(BLOCKS); k++)
		for (unsigned i = 0; i < ALLOCATORS; i++) {
			if (missing(&allocators[i]))
				continue;
			uint64_t from = ticks();
			allocators[i].loop[pattern](size, n[i], live);
			block[i][k] = ticks_to_ns(ticks() - from) / (double)n[i];
		}
	for (unsigned i = 0; i < ALLOCATORS; i++) {
		if (missing(&allocators[i]))
			continue;
		if (pattern == RANDOM)
			allocators[i].drain(live);
		record(row, allocators[i].name, "ns", median_of(block[i], often(BLOCKS)),
		       i != 0 ? NULL : mi_alloc != NULL ? "mimalloc" : "glibc");
	}
}

static void measure(unsigned round, size_t size, enum pattern pattern)
{
	static const char *const how[] = { "fixed", "random of", "bursts of" };
	unsigned live = pattern == RANDOM ? LIVE_MOST : BURST;
	char row[64];

	if (live > LIVE_BYTES / size)
		live = LIVE_BYTES / size > 0 ? (unsigned)(LIVE_BYTES / size) : 1;
	if (pattern != FIXED && live < 16)
		return;
	if (pattern == FIXED)
		snprintf(row, sizeof row, "%s, %s", text_size(size), how[pattern]);
	else
		snprintf(row, sizeof row, "%s, %s %u", text_size(size), how[pattern], live);
	run_begin(round, true);
	run_axis("bytes", (double)size, pattern == FIXED ? "allocate and release" : how[pattern]);
	pin(bench.cpu[0]);
	compare(row, size, pattern, live);
	unpin();
	if (run_again())
		measure(round, size, pattern);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "alloc",
		.question = "What does a warm block cost: allocate, write one byte, release?\n"
			    "Beside mimalloc and the C library in the same process.",
		.rounds = 11,
		.sizes = true,
	};
	static const size_t sizes[] = { 64, 4096, 65536, 1u << 20, 64u << 20 };
	uint64_t seed = 88172645463325252u;

	bench_start(argc, argv, &about);
	for (unsigned i = 0; i < 8192; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		order[i] = (uint16_t)(seed % LIVE_MOST);
	}
	if (!load_mimalloc())
		remark("libmimalloc.so.2 is not installed: no column for it");
	arena_start(UINT64_C(4) << 30);
	client = attach();
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++)
			for (int p = FIXED; p < PATTERNS; p++)
				if (wanted(sizes[s]))
					measure(r, sizes[s], (enum pattern)p);
	tarn_client_close(client);
	arena_stop();
	report();
	return 0;
}
