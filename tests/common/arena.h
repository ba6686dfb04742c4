/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arena for a test: a server of a chosen back-end and event loop, and at the end the
 * check that nothing is left of what the test did.
 *
 *	ARENA_TEST(block_keeps_its_size)	one test for each kind of server
 *	{
 *		struct arena a;
 *
 *		arena_start(&a, kind, NULL);
 *		tarn_client *c = arena_client(&a, NULL);
 *		...
 *		tarn_client_close(c);
 *		arena_end(&a);
 *	}
 */
#ifndef TARN_TESTS_COMMON_ARENA_H
#define TARN_TESTS_COMMON_ARENA_H

#include <pthread.h>

#include "plain.h"
#include "tarn/tarn.h"

struct arena_kind {
	enum tarn_backing backing;
	enum tarn_io io;
};

struct arena {
	tarn_server *server; /* NULL: it runs in a thread of ours */
	pthread_t thread;
	tarn_server_options options;
	int result;          /* of the thread */
	pid_t keeper;        /* a child of ours; 0: none */
	char name[108];
	int pid;
	unsigned fds;        /* of this process, before */
	unsigned evictions;  /* so many at most; of those that a server saw which is killed some are not counted */
	tarn_inspector *inspector;
};

static const struct arena_kind arena_posix_uring = { TARN_BACKING_POSIX, TARN_IO_URING };
static const struct arena_kind arena_posix_epoll = { TARN_BACKING_POSIX, TARN_IO_EPOLL };
static const struct arena_kind arena_memfd_uring = { TARN_BACKING_MEMFD, TARN_IO_URING };
static const struct arena_kind arena_memfd_epoll = { TARN_BACKING_MEMFD, TARN_IO_EPOLL };

/* Four tests, with the kind of server at the end of their names. */
#define ARENA_TEST(name) ARENA_TEST_TIMEOUT(name, PLAIN_TIMEOUT_S)
#define ARENA_TEST_TIMEOUT(name, seconds)                 \
	static void name(const struct arena_kind *kind);  \
	ARENA__ONE(name, posix_uring, seconds)            \
	ARENA__ONE(name, posix_epoll, seconds)            \
	ARENA__ONE(name, memfd_uring, seconds)            \
	ARENA__ONE(name, memfd_epoll, seconds)            \
	static void name(const struct arena_kind *kind)
#define ARENA__ONE(name, which, seconds)                            \
	PLAIN_TEST_TIMEOUT(name##_##which, (seconds))               \
	{                                                           \
		name(&arena_##which);                               \
	}

/* Starts a server process. @options may be NULL, then the cap is 64 MiB; @kind NULL: the
 * server decides. Skips the test if this system has no such event loop. */
void arena_start(struct arena *a, const struct arena_kind *kind,
		 const tarn_server_options *options);
/* The same in a thread of this process: what ThreadSanitizer and valgrind can look at. */
void arena_start_thread(struct arena *a, const struct arena_kind *kind,
			const tarn_server_options *options);
/* The same with a keeper that is a fork of this process, which has no other thread yet: the server and its
 * successors lie at the same addresses as this process and see what it shares. */
void arena_start_kept(struct arena *a, const struct arena_kind *kind,
		      const tarn_server_options *options);

/* No finding of the full check; clients may be there. */
void arena_check(struct arena *a);

/* All clients are closed, or will be soon: waits until the server has noticed, checks that
 * nothing is left and nobody was evicted, and ends the server. */
void arena_end(struct arena *a);

tarn_client *arena_client(const struct arena *a, const tarn_client_options *options);
tarn_stat arena_stat(struct arena *a);
/* Everything that @client's calling thread did is counted, decrements included. */
void arena_settle(tarn_client *client);
/* A live block or a granted one has this id. */
bool arena_has(struct arena *a, uint64_t id);

/* tarn_block_new() that must succeed. */
tarn_block *arena_block(tarn_client *client, size_t size);
/* The bytes of a pattern that depends on @seed; and whether they are still there. */
void arena_fill(tarn_block *block, unsigned seed);
bool arena_filled(const tarn_block *block, unsigned seed);
unsigned char arena_byte(unsigned seed, size_t at);

/* @r is @code, and the sentence of the failure holds each of the texts up to NULL. */
#define ARENA_FAILS(r, code, ...) \
	arena__fails(__FILE__, __LINE__, #r, (r), (code), (const char *const[]){ __VA_ARGS__, NULL })
void arena__fails(const char *file, int line, const char *call, int r, int code,
		  const char *const text[]);
/* The same; of a mistake: @code without its sign. */
#define WRONG(r, code, ...) ARENA_FAILS(r, -(code), __VA_ARGS__)
/* "123" in one of a few static buffers: for ARENA_FAILS. */
const char *arena_number(uint64_t n);

/* @n times an x, to be freed. */
char *arena_text(size_t n);

/* Memory that forked children share, all 0; never freed. */
void *arena_shared(size_t bytes);
/* Steps that processes take in turn: *step is in shared memory. */
void arena_step(uint32_t *step, uint32_t n);
void arena_await(const uint32_t *step, uint32_t n);

/* Open descriptors of a process, its threads, and its mappings; @with NULL: all lines. */
unsigned arena_fds(int pid);
unsigned arena_threads(int pid);
unsigned arena_maps(int pid, const char *with);

/* Built with a sanitizer, or run under valgrind: things take longer and memory is dear. */
bool arena_slow(void);
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifndef ARENA_ASAN
#define ARENA_ASAN 0
#endif

#endif
