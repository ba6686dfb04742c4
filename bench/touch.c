/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does memory cost that nobody touched before? A block is allocated and filled, first from an
 * arena whose pages do not exist yet, then from the same arena when they do and the
 * server and this process have them mapped. Beside it private pages, fresh from the system
 * and warm: what filling them costs without Tarn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"
#include "report.h"

#define BYTES_MOST (128u << 20) /* filled in one run */
#define BLOCKS_MOST 4096u

static tarn_block *held[BLOCKS_MOST];

static unsigned blocks_of(size_t size)
{
	size_t n = (bench.quick ? BYTES_MOST / 16 : BYTES_MOST) / size;

	return n < 1 ? 1 : n > BLOCKS_MOST ? BLOCKS_MOST : (unsigned)n;
}

/* Each, in ns. The blocks stay: none is used twice. */
static double fill_blocks(tarn_client *c, size_t size, unsigned n)
{
	uint64_t from = ticks();

	for (unsigned i = 0; i < n; i++) {
		held[i] = new_block(c, size);
		memset(tarn_block_data(held[i]), 1, size);
	}
	return ticks_to_ns(ticks() - from) / n;
}

static void release_blocks(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		tarn_block_unref(held[i]);
}

static double fill_pages(char *p, size_t size, unsigned n)
{
	uint64_t from = ticks();

	for (unsigned i = 0; i < n; i++) {
		memset(p + i * size, 1, size);
		escape(p);
	}
	return ticks_to_ns(ticks() - from) / n;
}

static void measure(unsigned round, size_t size)
{
	char fresh[64], again[64];
	unsigned n = blocks_of(size);
	double ns[2][2]; /* fresh, again; tarn, private */

	snprintf(fresh, sizeof fresh, "%s, fresh", text_size(size));
	snprintf(again, sizeof again, "%s, used again", text_size(size));
	arena_start(UINT64_C(1) << 30);
	run_begin(round, true);
	pin(bench.cpu[0]);
	tarn_client *c = attach();
	ns[0][0] = fill_blocks(c, size, n);
	release_blocks(n);
	ns[1][0] = fill_blocks(c, size, n);
	release_blocks(n);
	char *p = mmap(NULL, n * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("no private memory");
	ns[0][1] = fill_pages(p, size, n);
	ns[1][1] = fill_pages(p, size, n);
	munmap(p, n * size);
	run_axis("bytes", (double)size, "fresh");
	record(fresh, "tarn", "ns", ns[0][0], "private");
	record(fresh, "private", "ns", ns[0][1], NULL);
	run_axis("bytes", (double)size, "used again");
	record(again, "tarn", "ns", ns[1][0], "private");
	record(again, "private", "ns", ns[1][1], NULL);
	record(again, "of fresh", "%", ns[1][0] / ns[0][0] * 100, NULL);
	tarn_client_close(c);
	unpin();
	bool again_run = run_again();
	arena_stop();
	if (again_run)
		measure(round, size);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "touch",
		.question = "What does the first touch of memory cost, and its use again? Allocate and fill\n"
			    "blocks, beside filling private pages.",
		.rounds = 7,
		.sizes = true,
	};
	static const size_t sizes[] = { 4096, 65536, 1u << 20, 16u << 20 };

	bench_start(argc, argv, &about);
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++)
			if (wanted(sizes[s]))
				measure(r, sizes[s]);
	report();
	return 0;
}
