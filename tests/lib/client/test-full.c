/* SPDX-License-Identifier: Apache-2.0 */
/* When memory is short: full arenas, quotas, caches, a small /dev/shm; and that what grew
 * shrinks again. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/common/arena.h"

#define MIB ((size_t)1 << 20)
#define MS 1000000ll
#define SECOND 1000000000ll
/* Each class keeps one span, used or not, above the watermark. */
#define SPANS (4 * MIB)

/* The number behind @word in the last error's sentence. */
static uint64_t told(const char *word)
{
	const char *at = strstr(tarn_error_last()->message, word);

	PLAIN_CHECKF(at != NULL, "no \"%s\" in: %s", word, tarn_error_last()->message);
	return strtoull(at + strlen(word), NULL, 10);
}

/* ---- F12: more than there is ---- */

ARENA_TEST(f12_more_than_is_free_fails_with_asked_free_and_cap)
{
	struct arena a;
	tarn_block *b = NULL;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *held = arena_block(c, 10 * MIB);
	for (int i = 0; i < 20; i++) {
		ARENA_FAILS(tarn_block_new(c, 8 * MIB, 0, &b), -ENOMEM, arena_number(8 * MIB),
			    arena_number(16 * MIB), "tarnd --size", a.name);
		PLAIN_EQ(told("free "), 6 * MIB);
		PLAIN_EQ(told("asked for "), 8 * MIB);
		PLAIN_EQ(told("cap "), 16 * MIB);
		PLAIN_CHECK(told("largest piece ") <= 6 * MIB);
		PLAIN_CHECK(b == NULL);
	}
	PLAIN_CHECK(arena_stat(&a).failed_allocs >= 20);
	/* What is free is really there: the largest piece as told, and the rest in pages. */
	uint64_t largest = told("largest piece "), n = 0;
	tarn_block *piece = arena_block(c, largest), *page[6 * 64 + 1];
	while (n < 6 * 64 + 1 && tarn_block_new(c, 16384, 0, &page[n]) == 0)
		arena_fill(page[n], (unsigned)n), n++;
	PLAIN_EQ(n * 16384 + largest, 6 * MIB);
	ARENA_FAILS(tarn_block_new(c, 1, 0, &b), -ENOMEM, "free 0");
	arena_fill(piece, 1);
	arena_fill(held, 2);
	for (uint64_t i = 0; i < n; i++) {
		PLAIN_CHECK(arena_filled(page[i], (unsigned)i));
		tarn_block_unref(page[i]);
	}
	PLAIN_CHECK(arena_filled(piece, 1));
	tarn_block_unref(piece);
	tarn_block_unref(held);
	tarn_block_unref(arena_block(c, 16 * MIB));
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(f12_small_blocks_to_the_last_byte_and_everything_back)
{
	enum { SIZE = 4096, MOST = 4 * 256 };
	struct arena a;
	static tarn_block *b[MOST + 1];

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 4 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	for (int round = 0; round < 3; round++) {
		int n = 0, r;

		while ((r = tarn_block_new(c, SIZE, 0, &b[n])) == 0) {
			memset(tarn_block_data(b[n]), n, SIZE);
			PLAIN_CHECK(++n <= MOST);
		}
		ARENA_FAILS(r, -ENOMEM, "asked for 4096", "cap 4194304");
		PLAIN_EQ(n, MOST);
		for (int i = 0; i < n; i++) {
			PLAIN_EQ(((unsigned char *)tarn_block_data(b[i]))[SIZE - 1], i & 0xff);
			tarn_block_unref(b[i]);
		}
		/* In one piece again. */
		tarn_block *whole = arena_block(c, 4 * MIB);
		memset(tarn_block_data(whole), 0xcc, 4 * MIB);
		tarn_block_unref(whole);
	}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(f12_a_full_table_of_blocks_says_so)
{
	struct arena a;
	static tarn_block *b[400];
	int n = 0, r;

	arena_start(&a, kind, &(tarn_server_options){ .max_blocks = 256 });
	tarn_client *c = arena_client(&a, NULL);
	while ((r = tarn_block_new(c, 64, 0, &b[n])) == 0)
		PLAIN_CHECK(++n < 400);
	ARENA_FAILS(r, -ENOMEM, "max_blocks");
	PLAIN_EQ(n, 256);
	while (n > 0)
		tarn_block_unref(b[--n]);
	tarn_block_unref(arena_block(c, MIB)); /* of another size, too */
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- F12: the system has less than the cap ---- */

static void small_shm(void)
{
	if (geteuid() != 0)
		PLAIN_SKIP("mounting a small /dev/shm needs root");
	if (unshare(CLONE_NEWNS) != 0)
		PLAIN_SKIP("no mount namespace: %s", strerror(errno));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m") != 0)
		PLAIN_SKIP("cannot mount a tmpfs: %s", strerror(errno));
}

PLAIN_TEST(f12_where_dev_shm_is_smaller_than_the_cap_memfd_is_taken_and_the_reason_told)
{
	struct arena a;

	small_shm();
	arena_start(&a, NULL, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	tarn_stat st = arena_stat(&a);
	PLAIN_EQ(st.backing, TARN_BACKING_MEMFD);
	PLAIN_CHECKF(strstr(st.backing_reason, "/dev/shm holds 64 MiB") != NULL &&
		     strstr(st.backing_reason, "256 MiB") != NULL, "%s", st.backing_reason);
	tarn_block *b = arena_block(c, 100 * MIB); /* does not fit into /dev/shm */
	memset(tarn_block_data(b), 1, 100 * MIB);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
	/* And where it is large enough, it is used. */
	arena_start(&a, NULL, &(tarn_server_options){ .arena_bytes = 32 * MIB });
	PLAIN_EQ(arena_stat(&a).backing, TARN_BACKING_POSIX);
	arena_end(&a);
}

/* Takes and writes blocks until there are no more; how many. */
static int fill_up(tarn_client *c, size_t size, tarn_block **b, int most)
{
	int n = 0, r;

	while (n < most && (r = tarn_block_new(c, size, 0, &b[n])) == 0) {
		memset(tarn_block_data(b[n]), 0xa0 + n, size);
		n++;
	}
	PLAIN_CHECK(n < most);
	return r == 0 ? 0 : n;
}

static void overcommit(const struct arena_kind *kind, size_t size)
{
	struct arena a;
	static tarn_block *b[20000];
	tarn_client *late = NULL;

	small_shm();
	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	uint64_t resident = arena_stat(&a).resident_data_bytes;
	for (int round = 0; round < 3; round++) {
		int n = fill_up(c, size, b, 20000);

		PLAIN_EQ(tarn_error_last()->code, -ENOMEM);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "system has no memory") != NULL &&
			     strstr(tarn_error_last()->message, "/dev/shm") != NULL &&
			     strstr(tarn_error_last()->message, arena_number(256 * MIB)) != NULL,
			     "%s", tarn_error_last()->message);
		PLAIN_CHECK((size_t)n * size >= 32 * MIB); /* most of the 64 was to be had */
		/* Somebody new is let in or turned away; nobody dies of it. */
		int r = tarn_client_open(a.name, NULL, &late);
		PLAIN_CHECKF(r == 0 || tarn_error_last()->message[0] != '\0', "no reason given");
		if (r == 0) {
			tarn_block *one;

			if (tarn_block_new(late, size, 0, &one) == 0) {
				memset(tarn_block_data(one), 1, size);
				tarn_block_unref(one);
			}
			late = tarn_client_close(late);
		}
		arena_check(&a);
		for (int i = 0; i < n; i++) {
			PLAIN_EQ(((unsigned char *)tarn_block_data(b[i]))[size - 1],
				 (0xa0 + i) & 0xff);
			tarn_block_unref(b[i]);
		}
		PLAIN_EQ(tarn_client_trim(c), 0);
		arena_settle(c);
		PLAIN_EQ(arena_stat(&a).used_bytes, 0);
	}
	tarn_stat st = arena_stat(&a);
	PLAIN_CHECK(st.watermark_bytes <= 32 * MIB);
	PLAIN_CHECK(resident <= st.watermark_bytes + SPANS);
	PLAIN_WAIT_FOR(arena_stat(&a).resident_data_bytes <= st.watermark_bytes + SPANS);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_TEST(f12_a_full_dev_shm_is_an_error_never_sigbus_for_large_blocks_uring)
{
	overcommit(&arena_posix_uring, 3 * MIB);
}
PLAIN_TEST(f12_a_full_dev_shm_is_an_error_never_sigbus_for_large_blocks_epoll)
{
	overcommit(&arena_posix_epoll, 3 * MIB);
}
PLAIN_TEST(f12_a_full_dev_shm_is_an_error_never_sigbus_for_small_blocks_uring)
{
	overcommit(&arena_posix_uring, 5000);
}
PLAIN_TEST(f12_a_full_dev_shm_is_an_error_never_sigbus_for_small_blocks_epoll)
{
	overcommit(&arena_posix_epoll, 5000);
}

PLAIN_TEST(f12_a_dev_shm_without_any_room_refuses_to_start_with_a_reason)
{
	tarn_server_options o = { .arena_bytes = 64 * MIB, .backing = TARN_BACKING_POSIX };
	tarn_server *s = NULL;

	small_shm();
	/* Somebody else has filled it. */
	PLAIN_EQ(mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=16k"), 0);
	int r = tarn_server_start(&o, &s);
	PLAIN_CHECK(r < 0 && s == NULL);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "No space left") != NULL ||
		     strstr(tarn_error_last()->message, "memory") != NULL, "%s",
		     tarn_error_last()->message);
}

/* ---- waiting for memory ---- */

/* Holds @size bytes, and gives them back once somebody waits. */
static void give_when_wanted(struct arena *a, size_t size, uint32_t *step)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_block *b = arena_block(c, size);

	tarn_inspector_close(a->inspector);
	PLAIN_EQ(tarn_inspector_open(a->name, 0, &a->inspector), 0); /* not the parent's */
	arena_step(step, 1);
	PLAIN_WAIT_FOR(arena_stat(a).pending_allocs == 1);
	tarn_block_unref(b);
	tarn_client_trim(c);
	arena_await(step, 2);
	tarn_client_close(c);
	_exit(0);
}

static void wait_for_memory(const struct arena_kind *kind, int64_t timeout_ns, size_t size)
{
	const tarn_block_options waiting = { .timeout_ns = timeout_ns };
	uint32_t *step = arena_shared(sizeof *step);
	struct arena a;
	tarn_block *b;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	pid_t holder = plain_fork();
	if (holder == 0)
		give_when_wanted(&a, 16 * MIB, step);
	tarn_client *c = arena_client(&a, NULL);
	arena_await(step, 1);
	int r = tarn_block_new_with(c, size, &waiting, &b);
	PLAIN_CHECKF(r == 0, "%s", tarn_error_last()->message);
	arena_fill(b, 1);
	PLAIN_CHECK(arena_filled(b, 1));
	arena_step(step, 2);
	PLAIN_EQ(plain_reap(holder), 0);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(full_arena_gives_the_whole_of_it_to_a_waiter_as_soon_as_it_is_freed)
{
	wait_for_memory(kind, TARN_FOREVER, 16 * MIB);
}
ARENA_TEST(full_arena_gives_one_byte_to_a_waiter_with_a_deadline)
{
	wait_for_memory(kind, 3600 * SECOND, 1);
}

ARENA_TEST(full_arena_whose_holder_is_killed_serves_the_waiter)
{
	const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	uint32_t *step = arena_shared(sizeof *step);
	struct arena a;
	tarn_block *b;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	pid_t holder = plain_fork();
	if (holder == 0) {
		tarn_client *c = arena_client(&a, NULL);

		arena_block(c, 16 * MIB);
		tarn_inspector_close(a.inspector);
		PLAIN_EQ(tarn_inspector_open(a.name, 0, &a.inspector), 0);
		arena_step(step, 1);
		PLAIN_WAIT_FOR(arena_stat(&a).pending_allocs == 1);
		kill(getpid(), SIGKILL);
	}
	tarn_client *c = arena_client(&a, NULL);
	arena_await(step, 1);
	PLAIN_EQ(tarn_block_new_with(c, 16 * MIB, &waiting, &b), 0);
	PLAIN_EQ(plain_reap(holder), -SIGKILL);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(full_arena_ends_a_wait_with_the_numbers)
{
	const tarn_block_options waiting = { .timeout_ns = 60 * MS };
	struct arena a;
	tarn_block *b = NULL;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_block *held = arena_block(c, 15 * MIB);
	for (int i = 0; i < 3; i++) {
		ARENA_FAILS(tarn_block_new_with(d, 2 * MIB, &waiting, &b), -ETIMEDOUT,
			    arena_number(2 * MIB), arena_number(16 * MIB), "after the wait");
		PLAIN_EQ(told("free "), MIB);
		ARENA_FAILS(tarn_block_new_with(d, 2 * MIB, NULL, &b), -ENOMEM,
			    arena_number(2 * MIB), arena_number(16 * MIB));
	}
	PLAIN_EQ(arena_stat(&a).pending_allocs, 0);
	tarn_block_unref(held);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

ARENA_TEST(full_arena_survives_a_waiter_that_is_killed)
{
	const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	struct arena a;
	tarn_block *b;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *held = arena_block(c, 16 * MIB);
	for (int i = 0; i < 5; i++) {
		pid_t waiter = plain_fork();

		if (waiter == 0) {
			tarn_client *mine = arena_client(&a, NULL);

			tarn_block_new_with(mine, MIB, &waiting, &b);
			_exit(1); /* there was none to be had */
		}
		PLAIN_WAIT_FOR(arena_stat(&a).pending_allocs == 1);
		plain_kill(waiter);
		PLAIN_WAIT_FOR(arena_stat(&a).pending_allocs == 0);
		PLAIN_WAIT_FOR(arena_stat(&a).clients == 1);
	}
	tarn_block_unref(held);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- growing and shrinking ---- */

ARENA_TEST(resident_memory_follows_use_up_and_down_to_the_watermark)
{
	enum { PIECE = 1000000, N = 40 };
	struct arena a;
	tarn_block *b[N];

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 128 * MIB,
						      .watermark_bytes = 4 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(arena_stat(&a).watermark_bytes, 4 * MIB);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			b[i] = arena_block(c, PIECE);
			memset(tarn_block_data(b[i]), 1, PIECE);
		}
		tarn_stat st = arena_stat(&a);
		PLAIN_CHECK(st.resident_data_bytes >= (uint64_t)N * PIECE);
		PLAIN_CHECK(st.committed_bytes >= (uint64_t)N * PIECE);
		PLAIN_CHECK(st.used_bytes >= (uint64_t)N * PIECE);
		for (int i = 0; i < N; i++)
			tarn_block_unref(b[i]);
		PLAIN_EQ(tarn_client_trim(c), 0);
		PLAIN_WAIT_FOR(arena_stat(&a).resident_data_bytes <= 4 * MIB);
		st = arena_stat(&a);
		PLAIN_EQ(st.used_bytes, 0);
		PLAIN_CHECK(st.committed_bytes <= 4 * MIB);
	}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(resident_memory_of_small_blocks_shrinks_too)
{
	enum { N = 30000 };
	struct arena a;
	static tarn_block *b[N];

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 128 * MIB,
						      .watermark_bytes = 4 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	for (int i = 0; i < N; i++)
		b[i] = arena_block(c, 1000);
	PLAIN_CHECK(arena_stat(&a).resident_data_bytes >= (uint64_t)N * 1000);
	for (int i = 0; i < N; i++)
		tarn_block_unref(b[i]);
	PLAIN_EQ(tarn_client_trim(c), 0);
	PLAIN_WAIT_FOR(arena_stat(&a).resident_data_bytes <= 4 * MIB + SPANS);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- quotas ---- */

/* Takes blocks up to the quota; checks the sentence. */
static int up_to_quota(tarn_client *c, size_t size, uint64_t quota, tarn_block **b, int most)
{
	int n = 0, r;

	while ((r = tarn_block_new(c, size, 0, &b[n])) == 0)
		PLAIN_CHECK(++n < most);
	ARENA_FAILS(r, -TARN_EQUOTA, "uota", arena_number(quota));
	PLAIN_EQ(told("may own "), quota);
	PLAIN_CHECK(told("asked for ") >= size);
	PLAIN_CHECK(told("owns ") <= quota);
	PLAIN_CHECK(told("owns ") + told("asked for ") > quota);
	return n;
}

ARENA_TEST(quota_stops_one_client_and_no_other)
{
	const tarn_client_options limited = { .quota_bytes = MIB };
	static tarn_block *b[1000];
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, &limited), *d = arena_client(&a, NULL);
	for (int round = 0; round < 3; round++) {
		int n = up_to_quota(c, 4096, MIB, b, 1000);

		PLAIN_EQ(n, 256); /* to the last byte */
		tarn_block_unref(arena_block(d, 20 * MIB));
		while (n > 0)
			tarn_block_unref(b[--n]);
	}
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

ARENA_TEST(quota_that_was_freed_is_usable_again_for_other_sizes)
{
	static const size_t sizes[] = { 900000, 300000, 64, 1000000, 5000, 100000, 700000, 1 };
	const tarn_client_options limited = { .quota_bytes = MIB };
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	tarn_client *c = arena_client(&a, &limited);
	for (int round = 0; round < 5; round++)
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			/* What was freed lies in the cache, under another size. */
			tarn_block *b = arena_block(c, sizes[i]);

			tarn_block_unref(b);
		}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(quota_defaults_to_the_servers_and_what_others_took_over_does_not_count)
{
	struct arena a;
	static tarn_block *b[100];
	tarn_channel *out, *in;

	arena_start(&a, kind, &(tarn_server_options){ .client_quota_bytes = 2 * MIB });
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 16, "q", &out), 0);
	PLAIN_EQ(tarn_channel_bind(out, TARN_PRODUCER), 0);
	PLAIN_EQ(tarn_channel_open(d, "q", 0, &in), 0);
	PLAIN_EQ(tarn_channel_bind(in, TARN_CONSUMER), 0);
	int n = up_to_quota(c, 150000, 2 * MIB, b, 100);
	PLAIN_CHECK(n >= 10);
	while (n > 0)
		tarn_block_unref(b[--n]);
	/* Passing on for ever: each block ends with its receiver. */
	for (int i = 0; i < 100; i++) {
		tarn_block *got;

		PLAIN_EQ(tarn_channel_give(out, arena_block(c, 150000), 0, TARN_FOREVER), 0);
		PLAIN_EQ(tarn_channel_recv(in, &got, NULL, TARN_FOREVER), 0);
		tarn_block_unref(got);
		arena_settle(d);
	}
	tarn_channel_unref(out);
	tarn_channel_unref(in);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

/* ---- caches ---- */

ARENA_TEST(trim_gives_every_cached_block_back)
{
	struct arena a;
	static tarn_block *b[2000];

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (int i = 0; i < 2000; i++)
		b[i] = arena_block(c, (size_t)(1 + i * 13));
	for (int i = 0; i < 2000; i++)
		tarn_block_unref(b[i]);
	arena_settle(c);
	PLAIN_CHECK(arena_stat(&a).blocks_granted > 0); /* or the test shows nothing */
	PLAIN_EQ(tarn_client_trim(c), 0);
	arena_settle(c);
	tarn_stat st = arena_stat(&a);
	PLAIN_EQ(st.blocks_granted, 0);
	PLAIN_EQ(st.used_bytes, 0);
	PLAIN_EQ(tarn_client_trim(c), 0); /* nothing is left, and it is no error */
	tarn_block_unref(arena_block(c, 100));
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(another_clients_cache_comes_back_when_it_calls_next)
{
	/* A quarter of the arena may be cached. */
	const tarn_client_options large = { .cache_bytes = 8 * MIB };
	const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	uint32_t *step = arena_shared(sizeof *step);
	struct arena a;
	tarn_block *b;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	pid_t hoarder = plain_fork();
	if (hoarder == 0) {
		tarn_client *c = arena_client(&a, &large);

		tarn_block_unref(arena_block(c, 7 * MIB));
		arena_step(step, 1);
		while (__atomic_load_n(step, __ATOMIC_ACQUIRE) < 2)
			PLAIN_EQ(tarn_client_ping(c, TARN_FOREVER), 0);
		tarn_client_close(c);
		_exit(0);
	}
	tarn_client *c = arena_client(&a, NULL);
	arena_await(step, 1);
	PLAIN_EQ(tarn_block_new_with(c, 16 * MIB, &waiting, &b), 0);
	arena_step(step, 2);
	PLAIN_EQ(plain_reap(hoarder), 0);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* The waiter asked before there was anything to give. */
ARENA_TEST(what_another_client_caches_while_we_wait_comes_back_when_it_calls_next)
{
	const tarn_client_options large = { .cache_bytes = 64 * MIB };
	const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	uint32_t *step = arena_shared(sizeof *step);
	struct arena a;
	tarn_block *b;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	pid_t holder = plain_fork();
	if (holder == 0) {
		tarn_client *c = arena_client(&a, &large);
		tarn_block *held = arena_block(c, 16 * MIB);

		tarn_inspector_close(a.inspector);
		PLAIN_EQ(tarn_inspector_open(a.name, 0, &a.inspector), 0);
		arena_step(step, 1);
		PLAIN_WAIT_FOR(arena_stat(&a).pending_allocs == 1);
		for (int i = 0; i < 100; i++) /* the request to give back is seen: nothing */
			PLAIN_EQ(tarn_client_ping(c, TARN_FOREVER), 0);
		tarn_block_unref(held);
		while (__atomic_load_n(step, __ATOMIC_ACQUIRE) < 2)
			PLAIN_EQ(tarn_client_ping(c, TARN_FOREVER), 0);
		tarn_client_close(c);
		_exit(0);
	}
	tarn_client *c = arena_client(&a, NULL);
	arena_await(step, 1);
	PLAIN_EQ(tarn_block_new_with(c, 16 * MIB, &waiting, &b), 0);
	arena_step(step, 2);
	PLAIN_EQ(plain_reap(holder), 0);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

struct worker {
	tarn_client *client;
	size_t size;
	uint64_t id;
	tarn_block *keep;
};

static void *take_and_drop(void *arg)
{
	struct worker *w = arg;
	tarn_block *b = arena_block(w->client, w->size);

	w->id = tarn_block_id(b);
	tarn_block_unref(b);
	return NULL;
}

static void in_a_thread(struct worker *w)
{
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, take_and_drop, w), 0);
	PLAIN_EQ(pthread_join(t, NULL), 0);
}

ARENA_TEST(a_dead_threads_cache_is_the_next_threads)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	struct worker w = { .client = arena_client(&a, NULL), .size = 5000 };
	in_a_thread(&w);
	uint64_t id = w.id, messages = arena_stat(&a).messages, lanes = arena_stat(&a).lanes;
	for (int i = 0; i < 100; i++) {
		in_a_thread(&w);
		PLAIN_EQ(w.id, id);
	}
	PLAIN_EQ(arena_stat(&a).messages, messages);
	PLAIN_EQ(arena_stat(&a).lanes, lanes);
	tarn_client_close(w.client);
	arena_end(&a);
}

ARENA_TEST(a_dead_threads_cache_does_not_keep_the_arena_from_its_process)
{
	const tarn_client_options o = { .cache_bytes = 8 * MIB };
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	struct worker w = { .client = arena_client(&a, &o), .size = 3 * MIB };
	for (int i = 0; i < 3; i++) {
		w.size = (size_t)(i + 1) * MIB;
		in_a_thread(&w);
		tarn_block_unref(arena_block(w.client, 16 * MIB));
		PLAIN_EQ(tarn_client_trim(w.client), 0);
	}
	tarn_client_close(w.client);
	arena_end(&a);
}

ARENA_TEST(a_dead_threads_cache_does_not_use_up_the_quota)
{
	const tarn_client_options o = { .quota_bytes = 4 * MIB };
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	struct worker w = { .client = arena_client(&a, &o), .size = 3 * MIB };
	in_a_thread(&w);
	tarn_block_unref(arena_block(w.client, 2 * MIB));
	tarn_client_close(w.client);
	arena_end(&a);
}

PLAIN_MAIN()
