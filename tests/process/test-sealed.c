/* SPDX-License-Identifier: Apache-2.0 */
/* A block that is waited for until it is sealed (M20). */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/scene.h"

static tarn_block *block_new(tarn_client *c)
{
	tarn_block *b;

	OK(tarn_block_new(c, 10000, 0, &b));
	return b;
}

/* A child gets the block by the channel "c" and waits for its seal. */
static pid_t reader(const struct scene *s, uint32_t *waiting, int64_t timeout_ns, int expected)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(s);
		tarn_token token;
		tarn_block *b;

		PLAIN_WAIT_FOR(__atomic_load_n(&waiting[1], __ATOMIC_SEQ_CST) != 0);
		memcpy(&token, &waiting[2], sizeof token);
		OK(tarn_block_import(c, &token, &b));
		FAILS(tarn_block_wait_sealed(b, 0), EAGAIN);
		__atomic_fetch_add(waiting, 1, __ATOMIC_SEQ_CST);
		PLAIN_EQ(tarn_block_wait_sealed(b, timeout_ns), expected);
		if (expected == 0) {
			PLAIN_CHECK(tarn_block_sealed(b));
			PLAIN_EQ(((unsigned char *)tarn_block_data(b))[9999], 77);
		}
		tarn_block_unref(b);
		tarn_client_close(c);
		_exit(0);
	}
	return pid;
}

static void offer(tarn_block *b, uint32_t *waiting, unsigned uses)
{
	tarn_export_options o = { .uses = uses };
	tarn_token token;

	OK(tarn_block_export(b, &o, &token));
	memcpy(&waiting[2], &token, sizeof token);
	__atomic_store_n(&waiting[1], 1, __ATOMIC_SEQ_CST);
}

static void ten_readers(unsigned nap_us)
{
	struct scene s = scene_open(NULL);
	uint32_t *waiting = scene_shared(4096);
	tarn_client *c = scene_client(&s);
	tarn_block *b = block_new(c);
	pid_t pid[10];

	memset(tarn_block_data(b), 77, 10000);
	for (int k = 0; k < 10; k++)
		pid[k] = reader(&s, waiting, TARN_FOREVER, 0);
	offer(b, waiting, 10);
	PLAIN_WAIT_FOR(__atomic_load_n(waiting, __ATOMIC_SEQ_CST) == 10);
	usleep(nap_us); /* the server sleeps, too */
	OK(tarn_block_seal(b));
	for (int k = 0; k < 10; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	OK(tarn_block_wait_sealed(b, TARN_FOREVER));
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}
PLAIN_TEST(m20_ten_readers_wake_when_the_block_is_sealed) { ten_readers(50000); }
PLAIN_TEST(m20_readers_that_come_as_it_is_sealed_see_it) { ten_readers(0); }

PLAIN_TEST(m20_a_block_that_nobody_seals_ends_the_wait_in_time)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block *b = block_new(c), *slice;
	uint64_t before = scene_now();

	FAILS(tarn_block_wait_sealed(b, 0), EAGAIN);
	FAILS(tarn_block_wait_sealed(b, 50000000), ETIMEDOUT);
	PLAIN_CHECK(scene_now() - before >= 50000000);
	OK(tarn_block_slice(b, 10, 20, &slice));
	FAILS(tarn_block_wait_sealed(slice, 0), EAGAIN);
	OK(tarn_block_seal(b));
	OK(tarn_block_wait_sealed(slice, 0));
	OK(tarn_block_wait_sealed(b, 0));
	tarn_block_unref(slice);
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(m20_a_producer_killed_before_the_seal_leaves_no_trace_of_who_waits)
{
	struct scene s = scene_open(NULL);
	uint32_t *waiting = scene_shared(4096);
	pid_t pid = plain_fork(), waits;

	if (pid == 0) {
		tarn_client *c = scene_client(&s);

		offer(block_new(c), waiting, 1);
		for (;;)
			pause();
	}
	waits = reader(&s, waiting, 300000000, -ETIMEDOUT);
	PLAIN_WAIT_FOR(__atomic_load_n(waiting, __ATOMIC_SEQ_CST) == 1);
	plain_kill(pid);
	PLAIN_EQ(plain_reap(waits), 0);
	scene_close(&s);
}

static void *wait_here(void *b)
{
	OK(tarn_block_wait_sealed(b, TARN_FOREVER));
	return NULL;
}

PLAIN_TEST(m20_threads_of_one_process_wait_for_each_other)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block *b = block_new(c);
	pthread_t t[4];

	for (int k = 0; k < 4; k++)
		pthread_create(&t[k], NULL, wait_here, b);
	usleep(20000);
	OK(tarn_block_seal(b));
	for (int k = 0; k < 4; k++)
		pthread_join(t[k], NULL);
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
