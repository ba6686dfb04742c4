/* SPDX-License-Identifier: Apache-2.0 */
/* Where blocks lie: mappings that cost nothing until they are used, alignment, huge pages,
 * NUMA nodes. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/common/arena.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* ---- M4: lazy ---- */

struct memory {
	size_t size, resident;
};

static struct memory memory_of(int pid)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned long long size, resident;
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	FILE *f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	PLAIN_EQ(fscanf(f, "%llu %llu", &size, &resident), 2);
	fclose(f);
	return (struct memory){ size * page, resident * page };
}

static void attach_to_huge(const struct arena_kind *kind)
{
	const size_t slack = 16 * MIB, cap = 8 * GIB;
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = cap });
	struct memory before = memory_of(getpid());
	tarn_client *c = arena_client(&a, NULL);
	struct memory after = memory_of(getpid());
	PLAIN_CHECK(after.size >= before.size + cap);
	PLAIN_CHECKF(after.resident < before.resident + slack, "%zu bytes became resident",
		     after.resident - before.resident);
	PLAIN_CHECK(arena_stat(&a).resident_data_bytes < 64 * MIB);
	PLAIN_CHECK(memory_of(a.pid).resident < 256 * MIB);

	/* A block is there when it is touched, and as far. */
	tarn_block *b = arena_block(c, 128 * MIB);
	PLAIN_CHECK(memory_of(getpid()).resident < before.resident + slack);
	memset(tarn_block_data(b), 1, 48 * MIB);
	after = memory_of(getpid());
	PLAIN_CHECK(after.resident >= before.resident + 48 * MIB);
	PLAIN_CHECK(after.resident < before.resident + 48 * MIB + slack);
	tarn_block_unref(b);
	tarn_client_close(c);
	after = memory_of(getpid());
	PLAIN_CHECK(after.resident < before.resident + slack);
	PLAIN_CHECK(after.size < before.size + cap);
	arena_end(&a);
}

ARENA_TEST(m4_attaching_to_a_huge_arena_costs_nothing_until_blocks_are_touched)
{
	struct statvfs v;

	if (ARENA_ASAN || arena_slow())
		PLAIN_SKIP("sanitizers and valgrind map and touch memory of their own");
	if (kind->backing == TARN_BACKING_POSIX &&
	    (statvfs("/dev/shm", &v) != 0 || v.f_blocks * v.f_frsize < 256 * MIB))
		PLAIN_SKIP("/dev/shm has less than 256 MiB");
	attach_to_huge(kind);
}

/* ---- M16: alignment ---- */

static void aligned_block(tarn_client *c, size_t size, size_t align)
{
	const tarn_block_options o = { .align = align, .flags = TARN_BLOCK_ZEROED };
	tarn_block_facts facts;
	tarn_block *b;
	int r = tarn_block_new_with(c, size, &o, &b);

	PLAIN_CHECKF(r == 0, "%zu bytes at %zu: %s", size, align, tarn_error_last()->message);
	PLAIN_EQ((uintptr_t)tarn_block_data(b) % align, 0);
	PLAIN_EQ(tarn_block_size(b), size);
	PLAIN_EQ(tarn_block_info(b, &facts), 0);
	PLAIN_CHECK(facts.align >= align);
	PLAIN_EQ(facts.align & (facts.align - 1), 0);
	PLAIN_EQ((uintptr_t)tarn_block_data(b) % facts.align, 0);
	PLAIN_EQ(facts.size, size);
	PLAIN_EQ(facts.capacity, tarn_block_capacity(b));
	for (size_t i = 0; i < size; i += 511)
		PLAIN_EQ(((unsigned char *)tarn_block_data(b))[i], 0);
	arena_fill(b, 3);
	PLAIN_CHECK(arena_filled(b, 3));
	/* Read-only, it lies elsewhere and as well. */
	PLAIN_EQ(tarn_block_seal(b), 0);
	PLAIN_EQ((uintptr_t)tarn_block_data(b) % align, 0);
	tarn_block_unref(b);
}

ARENA_TEST(m16_blocks_begin_at_each_power_of_two_from_64_to_2_mib)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	/* Three clients of one process: their mappings differ. */
	for (int i = 0; i < 3; i++) {
		tarn_client *c = arena_client(&a, NULL), *next = arena_client(&a, NULL);

		for (size_t align = 64; align <= 2 * MIB; align *= 2) {
			aligned_block(c, 1, align);
			aligned_block(c, 100, align);
			aligned_block(c, align - 1, align);
			aligned_block(c, align, align);
			aligned_block(c, align + 1, align);
		}
		aligned_block(next, 3 * MIB, 2 * MIB);
		aligned_block(next, 1000, 16 * MIB);
		arena_settle(c);
		arena_settle(next);
		arena_check(&a);
		tarn_client_close(c);
		tarn_client_close(next);
	}
	arena_end(&a);
}

ARENA_TEST(m16_alignments_that_cannot_be_are_refused)
{
	static const size_t bad[] = { 3, 65, 96, 4097, SIZE_MAX, (size_t)1 << 60, 2 * GIB };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const tarn_block_options o = { .align = bad[i] };
		tarn_block *b = NULL;

		ARENA_FAILS(tarn_block_new_with(c, 100, &o, &b), -EINVAL, "lignment",
			    arena_number(bad[i]));
		PLAIN_CHECK(b == NULL);
	}
	/* Larger than the arena, but no nonsense. */
	const tarn_block_options o = { .align = GIB };
	tarn_block *b = NULL;
	ARENA_FAILS(tarn_block_new_with(c, 100, &o, &b), -EINVAL, "lignment", arena_number(GIB));
	/* Small ones are 64 anyway. */
	aligned_block(c, 100, 1);
	aligned_block(c, 100, 2);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M16: huge pages ---- */

struct region { /* struct page_region of linux/fs.h, 6.7 */
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan)
#define IS_HUGE (1u << 6)

/* Of the pages of @b, those that the kernel maps by huge ones; SIZE_MAX: it does not tell. */
static size_t really_huge(const tarn_block *b)
{
	uint64_t begin = (uintptr_t)tarn_block_data(b), end = begin + tarn_block_capacity(b);
	struct region region[64];
	struct scan s = {
		.size = sizeof s, .start = begin & ~4095ull, .end = (end + 4095) & ~4095ull,
		.vec = (uintptr_t)region, .vec_len = 64, .category_mask = IS_HUGE,
		.return_mask = IS_HUGE,
	};
	FILE *f = fopen("/proc/self/pagemap", "re");
	size_t huge = 0;

	if (f == NULL)
		return SIZE_MAX;
	int n = ioctl(fileno(f), SCAN, &s);
	fclose(f);
	if (n < 0)
		return SIZE_MAX;
	for (int i = 0; i < n; i++) {
		uint64_t from = region[i].start > begin ? region[i].start : begin;
		uint64_t to = region[i].end < end ? region[i].end : end;

		huge += to > from ? to - from : 0;
	}
	return huge;
}

static void huge_is_reported(tarn_client *c, size_t size, bool ask)
{
	const tarn_block_options o = { .huge = ask };
	tarn_block_facts facts;
	tarn_block *b;

	PLAIN_EQ(tarn_block_new_with(c, size, &o, &b), 0);
	arena_fill(b, 1);
	PLAIN_EQ(tarn_block_info(b, &facts), 0);
	size_t truth = really_huge(b);
	fprintf(stderr, "# %zu bytes, huge %s: told %zu, mapped so %zd\n", size,
		ask ? "asked for" : "not asked for", facts.huge_bytes, (ssize_t)truth);
	PLAIN_CHECK(facts.huge_bytes <= facts.capacity);
	if (truth != SIZE_MAX)
		PLAIN_EQ(facts.huge_bytes, truth);
	if (ask && size >= 2 * MIB)
		PLAIN_EQ((uintptr_t)tarn_block_data(b) % (2 * MIB), 0);
	PLAIN_CHECK(arena_filled(b, 1));
	tarn_block_unref(b);
}

ARENA_TEST(m16_huge_pages_are_a_wish_and_what_came_of_it_is_told)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	huge_is_reported(c, 8 * MIB, true);
	huge_is_reported(c, 100, false);
	huge_is_reported(c, 100, true);
	huge_is_reported(c, 2 * MIB, true);
	huge_is_reported(c, 5 * MIB + 1, true);
	huge_is_reported(c, 5 * MIB + 1, false);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m16_a_small_block_beside_a_huge_one_does_not_claim_its_pages)
{
	const tarn_block_options o = { .huge = true };
	struct arena a;
	tarn_block *big, *small[200];
	tarn_block_facts facts;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(tarn_block_new_with(c, 4 * MIB, &o, &big), 0);
	arena_fill(big, 1);
	for (int i = 0; i < 200; i++)
		arena_fill(small[i] = arena_block(c, 20000), 2);
	for (int i = 0; i < 200; i++) {
		size_t truth = really_huge(small[i]);

		PLAIN_EQ(tarn_block_info(small[i], &facts), 0);
		if (truth != SIZE_MAX)
			PLAIN_EQ(facts.huge_bytes, truth);
		tarn_block_unref(small[i]);
	}
	tarn_block_unref(big);
	tarn_client_close(c);
	arena_end(&a);
}

/* A /dev/shm of our own that has huge pages, whatever the machine's default is. */
static void huge_shm(const char *options)
{
	if (geteuid() != 0)
		PLAIN_SKIP("mounting a /dev/shm with huge pages needs root");
	if (unshare(CLONE_NEWNS) != 0)
		PLAIN_SKIP("no mount namespace: %s", strerror(errno));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, options) != 0)
		PLAIN_SKIP("cannot mount a tmpfs: %s", strerror(errno));
}

static void with_huge_shm(const char *options, bool expect)
{
	struct arena a;
	tarn_block *big, *small;
	tarn_block_facts facts;
	const tarn_block_options o = { .huge = true };

	huge_shm(options);
	arena_start(&a, &arena_posix_epoll, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(tarn_block_new_with(c, 8 * MIB, &o, &big), 0);
	arena_fill(big, 1);
	small = arena_block(c, 20000);
	arena_fill(small, 2);
	size_t truth = really_huge(big);
	PLAIN_EQ(tarn_block_info(big, &facts), 0);
	fprintf(stderr, "# %s: told %zu, mapped so %zd\n", options, facts.huge_bytes,
		(ssize_t)truth);
	if (truth != SIZE_MAX)
		PLAIN_EQ(facts.huge_bytes, truth);
	/* The system may have none to give at the moment: a wish, no claim. */
	if (expect && truth == 0)
		fprintf(stderr, "# no huge page was to be had\n");
	truth = really_huge(small);
	PLAIN_EQ(tarn_block_info(small, &facts), 0);
	if (truth != SIZE_MAX)
		PLAIN_EQ(facts.huge_bytes, truth);
	PLAIN_CHECK(arena_filled(big, 1) && arena_filled(small, 2));
	tarn_block_unref(small);
	tarn_block_unref(big);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_TEST(m16_huge_pages_are_obtained_where_dev_shm_gives_them_on_advice)
{
	with_huge_shm("size=512m,huge=advise", true);
}
PLAIN_TEST(m16_huge_pages_everywhere_are_told_for_each_block)
{
	with_huge_shm("size=512m,huge=always", true);
}
PLAIN_TEST(m16_without_huge_pages_a_block_is_had_all_the_same)
{
	with_huge_shm("size=512m,huge=never", false);
}

/* ---- M16: NUMA ---- */

static bool node_exists(int node)
{
	char path[64];

	snprintf(path, sizeof path, "/sys/devices/system/node/node%d", node);
	return access(path, F_OK) == 0;
}

ARENA_TEST(m16_numa_binding_holds_or_is_refused_with_the_node)
{
	struct arena a;
	tarn_block *b;
	tarn_block_facts facts;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (int node = 0; node < 1030; node++) {
		const tarn_block_options o = { .numa_node = node + 1, .align = 128 };

		if (node != 0 && !node_exists(node)) {
			if (node == 1 || node == 63 || node == 64 || node > 1020)
				ARENA_FAILS(tarn_block_new_with(c, 10000, &o, &b), -EINVAL,
					    arena_number((uint64_t)node));
			continue;
		}
		PLAIN_EQ(tarn_block_new_with(c, 10000, &o, &b), 0);
		PLAIN_EQ(tarn_block_size(b), 10000);
		arena_fill(b, 1);
		PLAIN_EQ(tarn_block_info(b, &facts), 0);
		/* 0: the system does not say. */
		PLAIN_CHECK(facts.numa_node == 0 || facts.numa_node == node + 1);
		PLAIN_CHECK(facts.numa_node != 0 || !node_exists(0) || arena_slow());
		tarn_block_unref(b);
	}
	const tarn_block_options negative = { .numa_node = -3 };
	ARENA_FAILS(tarn_block_new_with(c, 10000, &negative, &b), -EINVAL, "-3");
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m16_info_tells_what_is_known_of_a_block)
{
	struct arena a;
	tarn_block_facts f;
	tarn_token t;
	tarn_block *slice;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 1000);
	PLAIN_EQ(tarn_block_info(b, &f), 0);
	PLAIN_CHECK(f.id == tarn_block_id(b) && f.size == 1000 && f.capacity >= 1000);
	PLAIN_CHECK(!f.sealed && !f.slice && !f.shared && f.local_refs == 1 && f.align >= 64);
	tarn_block_ref(b);
	PLAIN_EQ(tarn_block_slice(b, 8, 16, &slice), 0);
	PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
	PLAIN_EQ(tarn_block_info(b, &f), 0);
	PLAIN_CHECK(f.shared && f.local_refs == 3);
	PLAIN_EQ(tarn_block_info(slice, &f), 0);
	PLAIN_CHECK(f.slice && f.id == tarn_block_id(b) && f.size == 16 && f.capacity == 16 &&
		    f.align == 8 && f.local_refs == 1);
	PLAIN_EQ(tarn_block_seal(b), 0);
	PLAIN_EQ(tarn_block_info(b, &f), 0);
	PLAIN_CHECK(f.sealed);
	PLAIN_EQ(tarn_token_revoke(c, &t), 0);
	tarn_block_unref(slice);
	tarn_block_unref(b);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_MAIN()
