/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the pages of a block come from: huge pages and NUMA nodes, as far as the system
 * grants them, and what came of it. The policy calls are made raw: libnuma is not needed
 * for two of them.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; glibc's headers have it later */
#endif

#define NODES 1024u /* the kernel's own limit is no larger */

static bool node_exists(int node)
{
	char path[64];

	snprintf(path, sizeof path, "/sys/devices/system/node/node%d", node);
	if (access(path, F_OK) == 0)
		return true;
	return node == 0 && access("/sys/devices/system/node", F_OK) != 0; /* not NUMA */
}

int tarn__place_check(const tarn_block_options *o)
{
	int node = o->numa_node - 1;

	if (o->numa_node == 0)
		return 0;
	if (node < 0 || node >= (int)NODES || !node_exists(node))
		return tarn__fail(-EINVAL, "numa_node %d: the value is 1 + the number of a node, and "
				  "this machine has no node %d.", o->numa_node, node);
	return 0;
}

static int bind(struct tarn_block *b, int node)
{
	unsigned long mask[NODES / 64 + 1] = { 0 };

	mask[node / 64] = 1ul << (node % 64);
	if (syscall(SYS_mbind, b->data, tarn__round_up(b->size, tarn__os_page()), MPOL_BIND, mask,
		    (unsigned long)NODES, MPOL_MF_MOVE) == 0)
		return 0;
	if (errno == ENOSYS || errno == EPERM)
		return node == 0 ? 0
				 : tarn__fail(-errno, "The system does not let this process bind "
					      "memory to a NUMA node: %s.", tarn_error_text(-errno));
	return tarn__fail(-errno, "Binding %llu bytes to NUMA node %d: %s.",
			  (unsigned long long)b->size, node, tarn_error_text(-errno));
}

int tarn__place(struct tarn_block *b, const tarn_block_options *o)
{
	int r = o->numa_node > 0 ? bind(b, o->numa_node - 1) : 0;

	if (r < 0 || !o->huge)
		return r;
	/* A wish: what came of it is told by tarn_block_info(). */
	uintptr_t first = tarn__round_up((uintptr_t)b->data, TARN__HUGE_PAGE);
	uintptr_t end = ((uintptr_t)b->data + b->capacity) & ~(uintptr_t)(TARN__HUGE_PAGE - 1);
	if (end > first) {
		madvise((void *)first, end - first, MADV_HUGEPAGE);
		madvise((void *)first, end - first, MADV_POPULATE_WRITE);
		madvise((void *)first, end - first, MADV_COLLAPSE);
	}
	return 0;
}

/* ---- what came of it ---- */

/* linux/fs.h has these since 6.7. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan)
#define SCAN_IS_HUGE (1u << 6)
#define SCAN_REGIONS 32u

/* The kernel's word on exactly these bytes: how many are mapped by huge pages. Negative: it
 * cannot say (before 6.7). */
static int scan_huge(uintptr_t begin, uintptr_t end, uint64_t *ret)
{
	struct scan_region region[SCAN_REGIONS];
	struct scan s = {
		.size = sizeof s, .start = begin & ~(uintptr_t)(tarn__os_page() - 1),
		.end = tarn__round_up(end, tarn__os_page()), .vec = (uintptr_t)region,
		.vec_len = SCAN_REGIONS, .category_mask = SCAN_IS_HUGE, .return_mask = SCAN_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n;
	uint64_t found = 0;

	if (fd < 0)
		return -errno;
	while ((n = ioctl(fd, SCAN, &s)) >= 0) {
		for (int i = 0; i < n; i++) {
			uint64_t from = region[i].start > begin ? region[i].start : begin;
			uint64_t to = region[i].end < end ? region[i].end : end;

			found += to > from ? to - from : 0;
		}
		if (s.walk_end >= s.end || s.walk_end <= s.start)
			break;
		s.start = s.walk_end;
	}
	n = n < 0 ? -errno : 0;
	close(fd);
	*ret = found;
	return n;
}

/* For older kernels: smaps says it of whole mappings only, so this is at most. */
static uint64_t mapping_huge(uintptr_t at)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	uintptr_t from, to;
	uint64_t found = 0, kib;
	bool here = false;
	char line[512];

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			here = at >= from && at < to;
		else if (here && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 ||
				  sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1))
			found += kib * 1024;
	}
	fclose(f);
	return found;
}

static uint64_t huge_bytes(const struct tarn_block *b)
{
	uintptr_t begin = (uintptr_t)tarn_block_data(b);
	uint64_t found;

	if (scan_huge(begin, begin + b->capacity, &found) == 0)
		return found;
	found = mapping_huge(begin);
	return found < b->capacity ? found : b->capacity;
}

static int node_of(const struct tarn_block *b)
{
	void *page = (void *)((uintptr_t)tarn_block_data(b) & ~(uintptr_t)(tarn__os_page() - 1));
	int node = -1;

	if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) != 0 || node < 0)
		return 0;
	return node + 1;
}

int tarn_block_info(const tarn_block *block, tarn_block_facts *ret_facts)
{
	const struct tarn_block *whole = tarn__whole(block);
	uintptr_t at = (uintptr_t)tarn_block_data(block);
	uint64_t align = at & (0 - at);

	if (tarn__forked(block->client))
		return tarn__fail_forked();
	*ret_facts = (tarn_block_facts){
		.id = block->id,
		.size = tarn_block_size(block),
		.capacity = tarn_block_capacity(block),
		.align = align < TARN__ALIGN_MAX ? align : TARN__ALIGN_MAX,
		.sealed = tarn_block_sealed(block),
		.slice = whole != block,
		.shared = (tarn__refs(whole) & REF_SHARED) != 0,
		.huge_bytes = huge_bytes(whole),
		.numa_node = node_of(block),
		.local_refs = (unsigned)(tarn__refs(block) & REF_COUNT),
	};
	return 0;
}
