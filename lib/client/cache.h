/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane's cache of granted blocks: one stack per size class, linked through the handles,
 * which stay with their blocks. Popping and pushing touch the bin and the handle and
 * nothing else. (The shape is mimalloc's and tcmalloc's thread caches.)
 *
 * Misses: the first ask for one block, repeated ones for more and more. A bin that keeps
 * missing asks ahead while it still has blocks, so that one who only allocates and gives
 * away never waits for the server.
 */
#ifndef TARN_CLIENT_CACHE_H
#define TARN_CLIENT_CACHE_H

#include "client.h"

#define TARN__BATCH_MAX 1024u         /* blocks a bin asks for in all */
#define TARN__BATCH_BYTES (16u << 20)
#define TARN__ASK_BLOCKS 64u          /* blocks of one ALLOC */
#ifndef TARN__ALLOCS_MOST
#define TARN__ALLOCS_MOST 16u         /* unanswered ALLOCs of a lane: 176 of its reply slots */
#endif
#define TARN__BIN_MAX 4096u
#define TARN__POPULATE_MAX (32u << 20) /* larger blocks are mapped page by page as touched */

struct tarn__bin {
	struct tarn_block *top;
	uint32_t n;
	uint16_t low;     /* at or below it, look whether to ask ahead; 0 until misses repeat */
	uint16_t batch;   /* how many blocks the bin wants, here and on their way */
	uint64_t bytes;   /* size that misses ask for */
	uint32_t asked;   /* blocks on their way; a hint, 0 if no ALLOC is unanswered */
	uint32_t pad;
};
static_assert(sizeof(struct tarn__bin) == 32, "two bins a line");

struct tarn__cache {
	uint64_t bytes;   /* capacities in all bins */
	uint64_t limit;
	bool slow_free;   /* poisoning: every free takes the slow path */
	uint64_t granted; /* id that was granted last */
	struct tarn__bin bin[TARN__CLASSES];
};

/* The bin whose top may hold @size. */
static inline unsigned tarn__bin_of(uint64_t size)
{
	return size <= TARN__SMALL_MAX ? tarn__class_of(size) : tarn__class_below(size);
}

/* Unlinks the top of @bin. */
static inline struct tarn_block *tarn__cache_pop(struct tarn__cache *k, struct tarn__bin *bin)
{
	struct tarn_block *b = bin->top;

	bin->top = b->next;
	bin->n--;
	k->bytes -= b->capacity;
	return b;
}

static inline bool tarn__cache_push(struct tarn__cache *k, struct tarn_block *b)
{
	struct tarn__bin *bin = &k->bin[b->bin];

	b->refs = 0; /* plain: nobody else knows this handle */
	b->next = bin->top;
	bin->top = b;
	k->bytes += b->capacity;
	return ++bin->n <= TARN__BIN_MAX && k->bytes <= k->limit;
}

void tarn__cache_init(struct tarn__cache *k, uint64_t limit, bool poison);

struct tarn__lane;

#define TARN__HUNG_NS INT64_C(10000000000) /* memory is answered for sooner, unless the server hangs */

/* How long an answer is waited for by who has @timeout_ns for all: a server that does not hang is not given up. */
static inline int64_t tarn__patience_for(int64_t timeout_ns)
{
	const int64_t most = INT64_MAX / 2; /* one can add to it */

	if (timeout_ns < 0)
		return TARN__FOREVER;
	return timeout_ns > most ? most : timeout_ns > TARN__HUNG_NS ? timeout_ns : TARN__HUNG_NS;
}

/* Pops a block of at least @size at @align, asking the server if need be; in a full arena it waits @timeout_ns for
 * memory, and for an answer of the server @patience_ns (tarn__patience_for()) beyond that: -ETIMEDOUT. The caller
 * owns its one reference. Writes the sentence of a failure. */
int tarn__cache_get(struct tarn__lane *l, uint64_t size, uint64_t align, int64_t timeout_ns,
		    int64_t patience_ns, struct tarn_block **ret);
/* Asks ahead for @bin, which runs low. */
void tarn__cache_ahead(struct tarn__lane *l, unsigned bin);
/* Puts a block that nobody was told of back, with poison if wanted. */
void tarn__cache_put(struct tarn__lane *l, struct tarn_block *b);
/* After a push that returned false. */
void tarn__cache_trim(struct tarn__lane *l, unsigned bin);
/* Above the watermark: gives some back, as far as there is room on the lane. */
void tarn__cache_shrink(struct tarn__lane *l);
/* Gives all back, as far as there is room; true if nothing is left. */
bool tarn__cache_empty(struct tarn__lane *l);
/* A reply to an ALLOC: takes its ids. */
void tarn__cache_granted(struct tarn__lane *l, const struct tarn__slot *reply);

#if defined(__SANITIZE_ADDRESS__)
#define TARN__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TARN__ASAN 1
#endif
#endif
#ifndef TARN__ASAN
#define TARN__ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define TARN__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TARN__TSAN 1
#endif
#endif
#ifndef TARN__TSAN
#define TARN__TSAN 0
#endif

/* For builds with AddressSanitizer: freed blocks are out of bounds. */
#if TARN__ASAN
void __asan_poison_memory_region(void const volatile *address, size_t size);
void __asan_unpoison_memory_region(void const volatile *address, size_t size);
#define tarn__hide(address, size) __asan_poison_memory_region(address, size)
#define tarn__show(address, size) __asan_unpoison_memory_region(address, size)
#else
#define tarn__hide(address, size) ((void)(address), (void)(size))
#define tarn__show(address, size) ((void)(address), (void)(size))
#endif

/* For builds with ThreadSanitizer, which does not see the server: what goes back there and
 * what comes from there is ordered by it. */
#if TARN__TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define tarn__to_server(client) __tsan_release(client)
#define tarn__from_server(client) __tsan_acquire(client)
#else
#define tarn__to_server(client) ((void)(client))
#define tarn__from_server(client) ((void)(client))
#endif

#endif
