/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks one by one: sizes, contents, facts, resizing; every kind of server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/common/arena.h"

#define SECOND 1000000000ll

/* ---- M1: zeroed when asked ---- */

static bool all_zero(const tarn_block *b)
{
	const unsigned char *p = tarn_block_data(b);

	for (size_t i = 0; i < tarn_block_size(b); i++)
		if (p[i] != 0)
			return false;
	return true;
}

static const size_t some_sizes[] = { 1, 63, 64, 65, 4096, 5000, 131072, 131073, 1000000, 4u << 20 };
#define N_SIZES (sizeof some_sizes / sizeof some_sizes[0])

/* Takes zeroed blocks until the one that was dirtied comes: a fresh grant may lie above it in
 * the cache. Without it the test would show nothing; a large one may have left the cache, and
 * comes under a new id. */
static void expect_zeroes_in(tarn_client *c, size_t size, uint64_t id, bool with_options)
{
	static const tarn_block_options zeroed = { .flags = TARN_BLOCK_ZEROED };
	tarn_block *taken[64];
	unsigned n = 0;
	bool met = false;

	while (!met && n < (size <= 131072 ? 64 : 4)) {
		PLAIN_EQ(with_options ? tarn_block_new_with(c, size, &zeroed, &taken[n])
				      : tarn_block_new(c, size, TARN_BLOCK_ZEROED, &taken[n]), 0);
		PLAIN_CHECK(all_zero(taken[n]));
		met = tarn_block_id(taken[n]) == id;
		n++;
	}
	PLAIN_CHECKF(met || size > 131072, "block %llu of %zu bytes did not come again", (unsigned long long)id, size);
	while (n > 0)
		tarn_block_unref(taken[--n]);
}

ARENA_TEST(m1_zeroed_block_is_zero_where_dirt_was_before)
{
	/* What goes back to the server comes with another id. */
	const tarn_client_options large = { .cache_bytes = 32u << 20 };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, &large);
	for (size_t i = 0; i < 2 * N_SIZES; i++) {
		tarn_client_trim(c); /* what else is cached must not push it out */
		tarn_block *b = arena_block(c, some_sizes[i / 2]);
		uint64_t id = tarn_block_id(b);

		memset(tarn_block_data(b), 0xff, tarn_block_size(b));
		tarn_block_unref(b);
		expect_zeroes_in(c, some_sizes[i / 2], id, i % 2 != 0);
	}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m1_size_0_and_unknown_flags_are_invalid)
{
	struct arena a;
	tarn_block *b = (tarn_block *)&a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	ARENA_FAILS(tarn_block_new(c, 0, 0, &b), -EINVAL, "0 bytes");
	ARENA_FAILS(tarn_block_new(c, 0, TARN_BLOCK_ZEROED, &b), -EINVAL, "0 bytes");
	ARENA_FAILS(tarn_block_new_with(c, 0, NULL, &b), -EINVAL, "0 bytes");
	ARENA_FAILS(tarn_block_new(c, 8, 1u << 17, &b), -EINVAL, "0x20000");
	PLAIN_CHECK(b == (tarn_block *)&a); /* untouched on failure */
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M2: facts cost no message ---- */

/* Received from another process, so that nothing is known from having made it. */
static void receive_facts(struct arena *a, tarn_channel *ch)
{
	char text[96], want[96];
	tarn_block *b;

	PLAIN_EQ(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER), 0);
	uint64_t before = arena_stat(a).messages;
	for (int i = 0; i < 1000; i++) {
		PLAIN_EQ(tarn_block_size(b), 80);
		PLAIN_CHECK(tarn_block_capacity(b) >= 80);
		PLAIN_CHECK(tarn_block_id(b) != 0);
		PLAIN_CHECK(!tarn_block_sealed(b));
		PLAIN_CHECK(arena_filled(b, 3));
		tarn_block_format(b, text, sizeof text);
	}
	snprintf(want, sizeof want, ", size 80>");
	PLAIN_CHECK(strstr(text, want) != NULL);
	/* A thousand messages would show, also if the RECV itself is read only now. */
	PLAIN_CHECK(arena_stat(a).messages <= before + 2);
	tarn_block_unref(b);
}

ARENA_TEST(m2_size_id_and_name_of_a_received_block_cost_no_message)
{
	struct arena a;
	tarn_channel *ch;

	arena_start(&a, kind, NULL);
	pid_t peer = plain_fork();
	if (peer == 0) {
		tarn_client *c = arena_client(&a, NULL);

		PLAIN_EQ(tarn_channel_open(c, "facts", TARN_FOREVER, &ch), 0);
		PLAIN_EQ(tarn_channel_bind(ch, TARN_PRODUCER), 0);
		tarn_block *b = arena_block(c, 80);
		arena_fill(b, 3);
		PLAIN_EQ(tarn_channel_give(ch, b, 0, TARN_FOREVER), 0);
		tarn_channel_unref(ch);
		tarn_client_close(c);
		_exit(0);
	}
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 4, "facts", &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_CONSUMER), 0);
	PLAIN_EQ(plain_reap(peer), 0); /* no messages of others while we count */
	PLAIN_WAIT_FOR(arena_stat(&a).clients == 1);
	receive_facts(&a, ch);
	/* And the counter does count. */
	uint64_t before = arena_stat(&a).messages;
	for (int i = 0; i < 10; i++)
		PLAIN_EQ(tarn_client_ping(c, TARN_FOREVER), 0);
	PLAIN_CHECK(arena_stat(&a).messages >= before + 10);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m2_a_warm_block_costs_no_message)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block_unref(arena_block(c, 80));
	arena_settle(c);
	uint64_t before = arena_stat(&a).messages;
	for (int i = 0; i < 10000; i++)
		tarn_block_unref(arena_block(c, 80));
	PLAIN_EQ(arena_stat(&a).messages, before);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M3: one memory ---- */

/* By token: imports, adds 1 at [4], says whether it saw @before. */
static void increment_in_peer(struct arena *a, const tarn_token *t, unsigned char before)
{
	tarn_block *b;
	tarn_client *c = arena_client(a, NULL);

	PLAIN_EQ(tarn_block_import(c, t, &b), 0);
	unsigned char *p = tarn_block_data(b);
	PLAIN_EQ(p[4], before);
	p[4]++;
	tarn_block_unref(b);
	tarn_client_close(c);
	_exit(0);
}

ARENA_TEST(m3_what_one_process_writes_the_other_reads_and_changes)
{
	struct arena a;
	tarn_token t;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 20);
	unsigned char *p = tarn_block_data(b);
	p[4] = 100;
	for (unsigned char i = 0; i < 5; i++) {
		PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
		pid_t peer = plain_fork();
		if (peer == 0)
			increment_in_peer(&a, &t, (unsigned char)(100 + i));
		PLAIN_EQ(plain_reap(peer), 0);
		PLAIN_EQ(p[4], 101 + i);
	}
	PLAIN_EQ(tarn_block_size(b), 20);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M10: the text ---- */

static void format_is(const tarn_block *b, const char *start, const char *end)
{
	char text[128], small[10];
	int n = tarn_block_format(b, text, sizeof text);

	PLAIN_EQ(n, strlen(text));
	PLAIN_CHECKF(strncmp(text, start, strlen(start)) == 0, "%s", text);
	PLAIN_CHECKF(n > (int)strlen(end) && strcmp(text + n - strlen(end), end) == 0, "%s", text);
	/* As snprintf: what would have been written; cut, and ended. */
	PLAIN_EQ(tarn_block_format(b, small, sizeof small), n);
	PLAIN_EQ(strlen(small), sizeof small - 1);
	PLAIN_EQ(strncmp(small, text, sizeof small - 1), 0);
	PLAIN_EQ(tarn_block_format(b, NULL, 0), n);
}

static uint64_t offset_in_table(struct arena *a, uint64_t id)
{
	tarn_block_row *row;
	uint64_t offset = UINT64_MAX;
	size_t n;

	PLAIN_EQ(tarn_inspector_blocks(a->inspector, &row, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (row[i].id == id)
			offset = row[i].offset;
	free(row);
	return offset;
}

ARENA_TEST(m10_text_names_id_place_and_size)
{
	struct arena a;
	char start[80];
	tarn_block *slice;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 80);
	uint64_t id = tarn_block_id(b), offset = offset_in_table(&a, id);

	char text[128];

	PLAIN_CHECK(offset != UINT64_MAX);
	/* How an id splits is the library's: take it from the text, hold the rest to it. */
	tarn_block_format(b, text, sizeof text);
	unsigned index, generation;
	PLAIN_EQ(sscanf(text, "<block %u:%u at", &index, &generation), 2);
	PLAIN_CHECK(index > 0 && generation > 0);
	snprintf(start, sizeof start, "<block %u:%u at 0x%llx, size 80", index, generation,
		 (unsigned long long)offset);
	format_is(b, start, "size 80>");
	PLAIN_EQ(tarn_block_slice(b, 16, 10, &slice), 0);
	snprintf(start, sizeof start, "<slice of block %u:%u at 0x%llx, ", index, generation,
		 (unsigned long long)offset);
	format_is(slice, start, "offset 16, size 10>");
	tarn_block_unref(slice);
	PLAIN_EQ(tarn_block_seal(b), 0);
	format_is(b, "<block ", "size 80, sealed>");
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M11: exact sizes ---- */

#define EXACT_MOST 5000u

static bool edges_hold(const tarn_block *b, unsigned seed)
{
	const unsigned char *p = tarn_block_data(b);
	size_t n = tarn_block_size(b);

	return p[0] == (unsigned char)seed && p[n - 1] == (unsigned char)(n == 1 ? seed : seed * 3);
}

static void edges_mark(tarn_block *b, unsigned seed)
{
	unsigned char *p = tarn_block_data(b);

	p[tarn_block_size(b) - 1] = (unsigned char)(seed * 3);
	p[0] = (unsigned char)seed;
}

static int by_address(const void *x, const void *y)
{
	const tarn_block *const *a = x, *const *b = y;
	uintptr_t p = (uintptr_t)tarn_block_data(*a), q = (uintptr_t)tarn_block_data(*b);

	return p < q ? -1 : p > q;
}

/* Neither sizes nor capacities overlap, and all lie in whole cache lines. */
static void no_overlap(tarn_block **b, size_t n)
{
	qsort(b, n, sizeof *b, by_address);
	for (size_t i = 0; i < n; i++) {
		const unsigned char *p = tarn_block_data(b[i]);

		PLAIN_EQ((uintptr_t)p % 64, 0);
		PLAIN_CHECK(tarn_block_capacity(b[i]) >= tarn_block_size(b[i]));
		if (i + 1 < n)
			PLAIN_CHECK(p + tarn_block_capacity(b[i]) <=
				    (unsigned char *)tarn_block_data(b[i + 1]));
	}
}

ARENA_TEST_TIMEOUT(m11_sizes_1_to_5000_are_exact_and_neighbours_never_overlap, 60)
{
	static tarn_block *b[EXACT_MOST], *sorted[EXACT_MOST];
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned i = 0; i < EXACT_MOST; i++) {
		sorted[i] = b[i] = arena_block(c, i + 1);
		/* Every byte: from end to end the block is its holder's. */
		memset(tarn_block_data(b[i]), 0xaa, i + 1);
	}
	for (unsigned i = 0; i < EXACT_MOST; i++)
		edges_mark(b[i], i);
	for (unsigned i = 0; i < EXACT_MOST; i++) {
		PLAIN_EQ(tarn_block_size(b[i]), i + 1);
		PLAIN_CHECKF(edges_hold(b[i], i), "block of %u bytes was overwritten", i + 1);
	}
	no_overlap(sorted, EXACT_MOST);
	arena_check(&a);
	for (unsigned i = 0; i < EXACT_MOST; i++)
		tarn_block_unref(b[i]);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m11_the_exact_size_travels_by_channel_and_token)
{
	static const size_t sizes[] = { 1, 63, 64, 65, 100, 4095, 4097, 131071, 200001 };
	struct arena a;
	tarn_channel *ch;
	tarn_token t;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 4, "exact", &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_PRODUCER), 0);
	tarn_channel *other;
	PLAIN_EQ(tarn_channel_open(d, "exact", 0, &other), 0);
	PLAIN_EQ(tarn_channel_bind(other, TARN_CONSUMER), 0);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		tarn_block *b = arena_block(c, sizes[i]), *got, *imported;

		arena_fill(b, (unsigned)i);
		PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
		PLAIN_EQ(tarn_channel_send(ch, b, 0, TARN_FOREVER), 0);
		PLAIN_EQ(tarn_block_import(d, &t, &imported), 0);
		PLAIN_EQ(tarn_channel_recv(other, &got, NULL, TARN_FOREVER), 0);
		PLAIN_CHECK(got == imported); /* one handle per process */
		PLAIN_EQ(tarn_block_size(got), sizes[i]);
		PLAIN_EQ(tarn_block_capacity(got), tarn_block_capacity(b));
		PLAIN_CHECK(arena_filled(got, (unsigned)i));
		tarn_block_unref(got);
		tarn_block_unref(imported);
		tarn_block_unref(b);
	}
	tarn_channel_unref(ch);
	tarn_channel_unref(other);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

/* ---- M17: resizing ---- */

static uint64_t size_in_table(struct arena *a, uint64_t id)
{
	tarn_block_row *row;
	uint64_t size = 0;
	size_t n;

	PLAIN_EQ(tarn_inspector_blocks(a->inspector, &row, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (row[i].id == id)
			size = row[i].size;
	free(row);
	return size;
}

ARENA_TEST(m17_resize_within_the_capacity_keeps_address_id_and_contents)
{
	static const size_t sizes[] = { 1, 60, 65, 1000, 5000, 131000, 140000, 3000001 };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		tarn_block *b = arena_block(c, sizes[i]);
		size_t capacity = tarn_block_capacity(b);
		uint64_t id = tarn_block_id(b);
		unsigned char *p = tarn_block_data(b);

		arena_fill(b, 7);
		PLAIN_EQ(tarn_block_resize(b, capacity), 0);
		PLAIN_EQ(tarn_block_size(b), capacity);
		memset(p + sizes[i], 1, capacity - sizes[i]); /* they are ours now */
		PLAIN_EQ(tarn_block_resize(b, sizes[i]), 0);
		PLAIN_CHECK(tarn_block_data(b) == p && tarn_block_id(b) == id);
		PLAIN_EQ(tarn_block_size(b), sizes[i]);
		PLAIN_EQ(tarn_block_capacity(b), capacity);
		PLAIN_CHECK(arena_filled(b, 7));
		ARENA_FAILS(tarn_block_resize(b, capacity + 1), -ENOSPC, arena_number(capacity),
			    arena_number(capacity + 1));
		ARENA_FAILS(tarn_block_resize(b, SIZE_MAX), -ENOSPC, arena_number(capacity));
		ARENA_FAILS(tarn_block_resize(b, 0), -EINVAL, "0 bytes");
		PLAIN_EQ(tarn_block_size(b), sizes[i]);
		PLAIN_CHECK(arena_filled(b, 7));
		tarn_block_unref(b);
	}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m17_resize_after_export_is_known_to_server_and_later_receivers)
{
	struct arena a;
	tarn_token t;
	tarn_block *seen;
	static const tarn_export_options many = { .uses = 3 };

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 1000);
	size_t capacity = tarn_block_capacity(b);
	arena_fill(b, 9);
	PLAIN_EQ(tarn_block_export(b, &many, &t), 0);
	PLAIN_EQ(tarn_block_import(d, &t, &seen), 0);
	PLAIN_EQ(tarn_block_size(seen), 1000);
	PLAIN_EQ(tarn_block_resize(b, 10), 0);
	arena_settle(c);
	PLAIN_EQ(size_in_table(&a, tarn_block_id(b)), 10);
	tarn_block_unref(seen);
	PLAIN_EQ(tarn_block_import(d, &t, &seen), 0);
	PLAIN_EQ(tarn_block_size(seen), 10);
	PLAIN_CHECK(arena_filled(seen, 9));
	/* The receiver may grow it again, to the same capacity. */
	PLAIN_EQ(tarn_block_capacity(seen), capacity);
	ARENA_FAILS(tarn_block_resize(seen, capacity + 1), -ENOSPC, arena_number(capacity));
	PLAIN_EQ(tarn_block_resize(seen, capacity), 0);
	arena_settle(d);
	PLAIN_EQ(size_in_table(&a, tarn_block_id(b)), capacity);
	PLAIN_EQ(memcmp(tarn_block_data(b), tarn_block_data(seen), 10), 0);
	tarn_block_unref(seen);
	tarn_block_unref(b);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

ARENA_TEST(m17_sealed_blocks_and_slices_keep_their_size)
{
	struct arena a;
	tarn_block *slice;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 100);
	PLAIN_EQ(tarn_block_slice(b, 0, 50, &slice), 0);
	ARENA_FAILS(tarn_block_resize(slice, 40), -EINVAL, "slice");
	PLAIN_EQ(tarn_block_seal(b), 0);
	ARENA_FAILS(tarn_block_resize(b, 90), -EPERM, "sealed");
	PLAIN_EQ(tarn_block_size(b), 100);
	PLAIN_EQ(tarn_block_size(slice), 50);
	tarn_block_unref(slice);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- F14: absurd sizes ---- */

static void absurd(tarn_client *c, size_t size, const char *what)
{
	static const tarn_block_options waiting = { .timeout_ns = TARN_FOREVER };
	tarn_block *b = NULL;

	/* Not even for ever: no wait makes room for it. */
	ARENA_FAILS(tarn_block_new_with(c, size, &waiting, &b), -EINVAL, arena_number(size), what);
	ARENA_FAILS(tarn_block_new(c, size, 0, &b), -EINVAL, arena_number(size), what);
	ARENA_FAILS(tarn_block_new(c, size, TARN_BLOCK_ZEROED, &b), -EINVAL, arena_number(size));
	PLAIN_CHECK(b == NULL);
}

ARENA_TEST(f14_sizes_no_arena_has_are_refused_with_numbers_and_leak_nothing)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	uint64_t cap = tarn_client_arena_bytes(c);
	tarn_block_unref(arena_block(c, 10));
	arena_settle(c);
	tarn_stat before = arena_stat(&a);
	PLAIN_EQ(before.arena_bytes, cap);
	for (int i = 0; i < 100; i++) {
		absurd(c, cap + 1, arena_number(cap));
		absurd(c, (size_t)1 << 60, arena_number(cap));
		absurd(c, SIZE_MAX, arena_number(cap));
		absurd(c, SIZE_MAX - 4096, arena_number(cap));
	}
	arena_settle(c);
	tarn_stat after = arena_stat(&a);
	PLAIN_EQ(after.used_bytes, before.used_bytes);
	PLAIN_EQ(after.blocks_granted, before.blocks_granted);
	tarn_block_unref(arena_block(c, 10));
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(f14_a_byte_a_page_give_or_take_one_and_the_whole_arena_work)
{
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 8u << 20 });
	tarn_client *c = arena_client(&a, NULL);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), cap = tarn_client_arena_bytes(c);
	const size_t sizes[] = { 1, page - 1, page, page + 1, cap, cap - 1, cap - page, cap / 2 + 1 };

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			tarn_block *b = arena_block(c, sizes[i]);

			PLAIN_CHECK(tarn_block_capacity(b) <= cap);
			arena_fill(b, (unsigned)i);
			PLAIN_CHECK(arena_filled(b, (unsigned)i));
			tarn_block_unref(b);
		}
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_MAIN()
