/* SPDX-License-Identifier: Apache-2.0 */
/* Many blocks, many rounds, many processes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/arena.h"

#define MIB ((size_t)1 << 20)

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned times(unsigned n)
{
	return arena_slow() ? n / 20 : n;
}

/* ---- M5: freed is reusable ---- */

struct mark {
	uint64_t committed, resident, indices;
};

static void raise_mark(struct mark *m, const tarn_stat *st)
{
	m->committed = st->committed_bytes > m->committed ? st->committed_bytes : m->committed;
	m->resident = st->resident_data_bytes > m->resident ? st->resident_data_bytes : m->resident;
	m->indices = st->indices_used > m->indices ? st->indices_used : m->indices;
}

/* Fixed sizes in turn, a few alive at any time. */
static void churn(tarn_client *c, unsigned n)
{
	static const size_t sizes[] = { 1, 64, 100, 1000, 5000, 50000, 131072, 200000 };
	tarn_block *alive[16] = { NULL };

	for (unsigned i = 0; i < n; i++) {
		tarn_block **at = &alive[i * 7 % 16];

		tarn_block_unref(*at);
		*at = arena_block(c, sizes[i % 8]);
		*(unsigned char *)tarn_block_data(*at) = (unsigned char)i;
	}
	for (unsigned i = 0; i < 16; i++)
		tarn_block_unref(alive[i]);
}

ARENA_TEST_TIMEOUT(m5_a_million_blocks_later_the_high_water_mark_is_the_same, 60)
{
	struct mark first = { 0 }, later = { 0 };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	for (int i = 0; i < 10; i++) {
		churn(c, times(100000));
		arena_settle(c);
		tarn_stat st = arena_stat(&a);

		raise_mark(i < 2 ? &first : &later, &st);
	}
	/* A million blocks are 48 GB. What the server makes ready in the background may come
	 * late on a busy machine: some MiB, once. */
	PLAIN_CHECKF(later.committed <= first.committed + 8 * MIB, "%llu bytes grew to %llu",
		     (unsigned long long)first.committed, (unsigned long long)later.committed);
	PLAIN_CHECK(later.resident <= first.resident + 8 * MIB);
	PLAIN_CHECK(later.indices <= first.indices + 1024);
	tarn_client_close(c);
	arena_end(&a);
}

static void drop_all(struct arena *a, const char *name)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_channel *ch;
	tarn_block *b;
	uint64_t tag, next = 0;
	int r;

	PLAIN_EQ(tarn_channel_open(c, name, TARN_FOREVER, &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_CONSUMER), 0);
	while ((r = tarn_channel_recv(ch, &b, &tag, TARN_FOREVER)) == 0) {
		PLAIN_EQ(tag, next++);
		PLAIN_EQ(*(unsigned char *)tarn_block_data(b), tag & 0xff);
		tarn_block_unref(b);
	}
	PLAIN_EQ(r, -TARN_ECLOSED);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	_exit(0);
}

/* Blocks that another process frees come back to the server each time. */
ARENA_TEST_TIMEOUT(m5_blocks_that_others_free_do_not_raise_the_high_water_mark, 60)
{
	static const size_t sizes[] = { 64, 1000, 20000 };
	struct mark first = { 0 }, later = { 0 };
	struct arena a;
	tarn_channel *ch;
	uint64_t tag = 0;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 16 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 64, "away", &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_PRODUCER), 0);
	pid_t peer = plain_fork();
	if (peer == 0)
		drop_all(&a, "away");
	for (int round = 0; round < 10; round++) {
		for (unsigned i = 0; i < times(20000); i++, tag++) {
			tarn_block *b = arena_block(c, sizes[i % 3]);

			*(unsigned char *)tarn_block_data(b) = (unsigned char)tag;
			PLAIN_EQ(tarn_channel_give(ch, b, tag, TARN_FOREVER), 0);
		}
		tarn_stat st = arena_stat(&a);
		raise_mark(round < 3 ? &first : &later, &st);
	}
	/* How many are on their way differs; it never adds up. */
	PLAIN_CHECKF(later.committed <= 2 * first.committed + MIB, "%llu bytes grew to %llu",
		     (unsigned long long)first.committed, (unsigned long long)later.committed);
	tarn_channel_unref(ch);
	PLAIN_EQ(plain_reap(peer), 0);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m5_the_servers_end_frees_what_clients_still_hold)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 10 * MIB), *never = NULL;
	arena_fill(b, 1);
	tarn_inspector_close(a.inspector);
	PLAIN_EQ(tarn_server_shutdown(a.server, 30000000000ll), 0);
	tarn_server_unref(a.server);
	/* Its memory is ours as long as we hold it, and only ours. */
	PLAIN_CHECK(arena_filled(b, 1));
	ARENA_FAILS(tarn_block_new(c, 30 * MIB, 0, &never), -TARN_ESRVDOWN, "gone");
	tarn_block_unref(b);
	tarn_client_close(c);
	PLAIN_EQ(arena_fds(getpid()), a.fds);
	PLAIN_EQ(arena_maps(getpid(), "tarn-"), 0);
	/* The harness looks into /dev/shm. */
}

/* ---- M12: a million live blocks ---- */

ARENA_TEST_TIMEOUT(m12_a_million_live_blocks_need_no_descriptor_and_no_mapping_each, 120)
{
	const unsigned n = times(1000000);
	tarn_block **b = calloc(n, sizeof *b);
	struct arena a;

	PLAIN_CHECK(b != NULL);
	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	tarn_client *c = arena_client(&a, NULL);
	tarn_block_unref(arena_block(c, 64));
	unsigned fds = arena_fds(getpid()), server_fds = arena_fds(a.pid);
	unsigned maps = arena_maps(getpid(), "tarn-"), server_maps = arena_maps(a.pid, "tarn-");
	unsigned server_all = arena_maps(a.pid, NULL);
	double begin = now();
	for (unsigned i = 0; i < n; i++) {
		b[i] = arena_block(c, 64);
		*(unsigned *)tarn_block_data(b[i]) = i;
	}
	double end = now();
	fprintf(stderr, "# %u blocks of 64 bytes: %.0f ns each\n", n, (end - begin) / n * 1e9);
	PLAIN_EQ(arena_fds(getpid()), fds);
	PLAIN_EQ(arena_fds(a.pid), server_fds);
	PLAIN_EQ(arena_maps(getpid(), "tarn-"), maps);
	PLAIN_EQ(arena_maps(a.pid, "tarn-"), server_maps);
	PLAIN_CHECKF(maps <= 8 && server_maps <= 12, "%u, %u", maps, server_maps);
	PLAIN_CHECK(arena_maps(a.pid, NULL) <= server_all + 8);
	tarn_stat st = arena_stat(&a);
	PLAIN_CHECK(st.blocks_live + st.blocks_granted >= n);
	PLAIN_CHECK(st.used_bytes >= n * 64ull && st.used_bytes < n * 64ull + 4 * MIB);
	for (unsigned i = 0; i < n; i++)
		PLAIN_EQ(*(unsigned *)tarn_block_data(b[i]), i);
	arena_check(&a);
	begin = now();
	for (unsigned i = 0; i < n; i++)
		tarn_block_unref(b[i]);
	end = now();
	fprintf(stderr, "# freed in %.0f ns each\n", (end - begin) / n * 1e9);
	tarn_client_close(c);
	free(b);
	arena_end(&a);
}

ARENA_TEST_TIMEOUT(m12_a_killed_holder_of_a_million_blocks_leaves_none, 120)
{
	const unsigned n = times(1000000);
	uint32_t *step = arena_shared(sizeof *step);
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	pid_t holder = plain_fork();
	if (holder == 0) {
		tarn_client *c = arena_client(&a, NULL);

		for (unsigned i = 0; i < n; i++)
			arena_block(c, 64);
		arena_step(step, 1);
		pause();
	}
	arena_await(step, 1);
	PLAIN_CHECK(arena_stat(&a).used_bytes >= n * 64ull);
	plain_kill(holder);
	double begin = now();
	PLAIN_WAIT_FOR(arena_stat(&a).clients == 0);
	fprintf(stderr, "# %u blocks taken back in %.0f ms\n", n, (now() - begin) * 1e3);
	arena_end(&a);
}

/* ---- D2: 256 processes ---- */

#define RING 256u
#define LAPS 3u

struct ring {
	uint32_t ready, done, over, killing;
	uint64_t sum[RING];
};

static void channel_name(char name[16], unsigned i)
{
	snprintf(name, 16, "ring-%u", i % RING);
}

/* The neighbours of the dead see that, and wait for their turn. */
static void ring_ok(const struct ring *ring, int r)
{
	if (r == -TARN_ECLOSED && __atomic_load_n(&ring->killing, __ATOMIC_ACQUIRE) != 0)
		for (;;)
			pause();
	PLAIN_CHECKF(r == 0, "%s", tarn_error_last()->message);
}

/* Sends a block of its own, and hands on what comes from the one before. */
static void ring_member(struct arena *a, struct ring *ring, unsigned me)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_channel *in, *out;
	tarn_block *b, *own = arena_block(c, 100 + me);
	char name[16];
	uint64_t tag;

	arena_fill(own, me);
	channel_name(name, me);
	PLAIN_EQ(tarn_channel_new(c, 8, name, &in), 0);
	PLAIN_EQ(tarn_channel_bind(in, TARN_CONSUMER), 0);
	channel_name(name, me + 1);
	PLAIN_EQ(tarn_channel_open(c, name, TARN_FOREVER, &out), 0);
	PLAIN_EQ(tarn_channel_bind(out, TARN_PRODUCER), 0);
	__atomic_fetch_add(&ring->ready, 1, __ATOMIC_ACQ_REL);
	arena_await(&ring->ready, RING);

	/* Each sends its own; each gets each of the others' and its own back, LAPS times. */
	ring_ok(ring, tarn_channel_send(out, own, me, TARN_FOREVER));
	for (unsigned i = 0; i < LAPS * RING; i++) {
		ring_ok(ring, tarn_channel_recv(in, &b, &tag, TARN_FOREVER));
		PLAIN_EQ(tarn_block_size(b), 100 + tag);
		PLAIN_CHECK(arena_filled(b, (unsigned)tag));
		ring->sum[me] += tag;
		if (i + 1 < LAPS * RING)
			ring_ok(ring, tarn_channel_give(out, b, tag, TARN_FOREVER));
		else
			tarn_block_unref(b);
	}
	__atomic_fetch_add(&ring->done, 1, __ATOMIC_ACQ_REL);
	arena_await(&ring->over, 1);
	PLAIN_CHECK(arena_filled(own, me));
	tarn_block_unref(own);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(c);
	_exit(0);
}

static void ring_of_256(const struct arena_kind *kind)
{
	struct ring *ring = arena_shared(sizeof *ring);
	pid_t pid[RING];
	struct arena a;

	arena_start(&a, kind, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	for (unsigned i = 0; i < RING; i++) {
		pid[i] = plain_fork();
		if (pid[i] == 0)
			ring_member(&a, ring, i);
	}
	arena_await(&ring->done, RING);
	PLAIN_EQ(arena_stat(&a).clients, RING);
	PLAIN_EQ(arena_stat(&a).channels, RING);
	arena_check(&a);
	for (unsigned i = 0; i < RING; i++)
		PLAIN_EQ(ring->sum[i], LAPS * (uint64_t)RING * (RING - 1) / 2);
	arena_step(&ring->over, 1);
	for (unsigned i = 0; i < RING; i++)
		PLAIN_EQ(plain_reap(pid[i]), 0);
	arena_end(&a);
}

PLAIN_TEST_TIMEOUT(d2_256_processes_pass_blocks_around_a_ring_posix_uring, 120)
{
	ring_of_256(&arena_posix_uring);
}
PLAIN_TEST_TIMEOUT(d2_256_processes_pass_blocks_around_a_ring_memfd_epoll, 120)
{
	ring_of_256(&arena_memfd_epoll);
}

/* The same crowd, all killed in the middle of it. */
PLAIN_TEST_TIMEOUT(d2_256_processes_killed_at_once_leave_nothing, 120)
{
	struct ring *ring = arena_shared(sizeof *ring);
	pid_t pid[RING];
	struct arena a;

	arena_start(&a, NULL, &(tarn_server_options){ .arena_bytes = 256 * MIB });
	for (unsigned i = 0; i < RING; i++) {
		pid[i] = plain_fork();
		if (pid[i] == 0)
			ring_member(&a, ring, i);
	}
	arena_await(&ring->ready, RING);
	arena_step(&ring->killing, 1);
	for (unsigned i = 0; i < RING; i++)
		plain_kill(pid[i]);
	PLAIN_WAIT_FOR(arena_stat(&a).clients == 0);
	arena_end(&a);
}

PLAIN_MAIN()
