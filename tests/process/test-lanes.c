/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads and what they cost (D2, D6, D7): one lane each while they live, nothing after, no
 * traffic on the control socket once a lane is there, no thread in the server.
 */
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "tests/common/scene.h"
#include "tests/common/seccomp.h"

static unsigned entries(const char *format, int pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, format, pid);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* A bit of everything. */
static void work(tarn_client *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		tarn_block *b, *same;
		tarn_channel *ch;
		tarn_token t;

		OK(tarn_block_new(c, 100 + i % 3000, 0, &b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_block_import(c, &t, &same));
		tarn_block_unref(same);
		if (i % 10 == 0) {
			OK(tarn_channel_new(c, 4, NULL, &ch));
			OK(tarn_channel_bind(ch, TARN_PRODUCER));
			OK(tarn_channel_bind(ch, TARN_CONSUMER));
			OK(tarn_channel_send(ch, b, 0, TARN_FOREVER));
			OK(tarn_channel_recv(ch, &same, NULL, TARN_FOREVER));
			tarn_block_unref(same);
			tarn_channel_unref(ch);
			OK(tarn_client_ping(c, TARN_FOREVER));
		}
		tarn_block_unref(b);
	}
}

/* ---- D2 ---- */

PLAIN_TEST(d2_after_the_first_call_no_socket_is_used)
{
	struct scene s = scene_open(NULL);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c = scene_client(&s);

		work(c, 1);
		unsigned fds = entries("/proc/%d/fd", getpid());
		/* From here on every call from socket() to recvmsg() fails. */
		OK(tarn_test__refuse(SYS_socket, SYS_recvmsg, EPERM));
		work(c, 5000);
		PLAIN_EQ(entries("/proc/%d/fd", getpid()), fds);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	scene_close(&s);
}

static void *a_little(void *arg)
{
	work(arg, 1);
	return NULL;
}

static void threads_one_by_one(tarn_client *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pthread_t t;

		PLAIN_EQ(pthread_create(&t, NULL, a_little, c), 0);
		pthread_join(t, NULL);
	}
}

static void threads_at_once(tarn_client *c, unsigned n, void *(*fn)(void *))
{
	pthread_t *t = calloc(n, sizeof *t);

	PLAIN_CHECK(t != NULL);
	for (unsigned i = 0; i < n; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, fn, c), 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	free(t);
}

PLAIN_TEST_TIMEOUT(d2_ten_thousand_short_threads_leave_no_lanes_and_no_memory, 90)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	unsigned fds;
	size_t before;

	threads_one_by_one(c, 2000);
	for (int i = 0; i < 20; i++)
		threads_at_once(c, 50, a_little);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	before = mallinfo2().uordblks;
	fds = entries("/proc/%d/fd", getpid());
	uint64_t resident = scene_stat(&s).resident_meta_bytes;
	threads_one_by_one(c, 5000);
	for (int i = 0; i < 60; i++)
		threads_at_once(c, 50, a_little);
	/* A few parked ones are kept for the next threads. */
	PLAIN_WAIT_FOR((tarn_client_ping(c, TARN_FOREVER), scene_stat(&s).lanes <= 12));
	PLAIN_EQ(entries("/proc/%d/fd", getpid()), fds);
	size_t after = mallinfo2().uordblks;
	/* Parked lanes have 13 KiB each, and how many there are varies; 32 bytes of each thread
	 * would be seen. */
	PLAIN_CHECKF(after <= before + (256 << 10), "%zu bytes in use, before %zu", after, before);
	/* It has room for as many lanes as were open at once, which varies; not for all that
	 * ever were, some 80 KiB each. */
	PLAIN_CHECK(scene_stat(&s).resident_meta_bytes <= resident + (16 << 20));
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- D6: hundreds of threads ---- */

static pthread_barrier_t together;

static void *all_at_once(void *arg)
{
	tarn_block *b;

	OK(tarn_block_new(arg, 100, 0, &b));
	pthread_barrier_wait(&together); /* each has a lane now */
	work(arg, 2);
	pthread_barrier_wait(&together);
	tarn_block_unref(b);
	return NULL;
}

#define CROWD 600u

PLAIN_TEST_TIMEOUT(d6_hundreds_of_client_threads_are_no_thread_in_the_server, 120)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	unsigned threads = entries("/proc/%d/task", tarn_server_pid(s.server));

	for (int round = 0; round < 4; round++) {
		pthread_t t[CROWD];

		pthread_barrier_init(&together, NULL, CROWD + 1);
		for (unsigned i = 0; i < CROWD; i++)
			PLAIN_EQ(pthread_create(&t[i], NULL, all_at_once, c), 0);
		pthread_barrier_wait(&together);
		PLAIN_CHECK(scene_stat(&s).lanes >= CROWD);
		PLAIN_EQ(entries("/proc/%d/task", tarn_server_pid(s.server)), threads);
		pthread_barrier_wait(&together);
		for (unsigned i = 0; i < CROWD; i++)
			pthread_join(t[i], NULL);
		/* What they left goes while others work; what is said about it on the control
		 * socket is in nobody's way (it was, when each was answered there). */
		PLAIN_WAIT_FOR((tarn_client_ping(c, TARN_FOREVER), scene_stat(&s).lanes <= 12));
		scene_check(&s);
	}
	uint64_t begin = scene_now();
	tarn_client_close(c);
	scene_note("closing took %.1f ms", (double)(scene_now() - begin) / 1e6);
	scene_close(&s);
}

struct crowd {
	tarn_client *c;
	tarn_object *lock; /* nobody has it */
	uint32_t served, refused;
	pthread_mutex_t gate; /* closed while all are to stay */
};

static void *perhaps(void *arg)
{
	struct crowd *w = arg;
	int r = tarn_client_ping(w->c, TARN_FOREVER);

	if (r != 0) {
		PLAIN_CHECKF(r == -EUSERS && strstr(tarn_error_last()->message, "1024") != NULL, "%s: %s",
			     tarn_error_name(r), tarn_error_last()->message);
		/* Nor is it "held by another", for whom one would wait. */
		FAILS(tarn_lock_acquire(w->lock, 0), EUSERS);
	}
	/* Last: when all are counted the gate is opened, and lanes are free. */
	__atomic_fetch_add(r == 0 ? &w->served : &w->refused, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&w->gate);
	pthread_mutex_unlock(&w->gate);
	return NULL;
}

PLAIN_TEST_TIMEOUT(more_threads_than_lanes_are_an_error_not_a_hang, 120)
{
	struct scene s = scene_open(NULL);
	struct crowd w = { .c = scene_client(&s) };
	pthread_attr_t small;
	pthread_t t[1100];

	OK(tarn_lock_new(w.c, 0, &w.lock));
	pthread_mutex_init(&w.gate, NULL);
	pthread_mutex_lock(&w.gate);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (unsigned i = 0; i < 1100; i++)
		PLAIN_EQ(pthread_create(&t[i], &small, perhaps, &w), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&w.served, __ATOMIC_RELAXED) +
			       __atomic_load_n(&w.refused, __ATOMIC_RELAXED) == 1100);
	PLAIN_EQ(w.served, 1023); /* and this thread */
	pthread_mutex_unlock(&w.gate);
	for (unsigned i = 0; i < 1100; i++)
		pthread_join(t[i], NULL);
	work(w.c, 10); /* there is room again */
	tarn_object_unref(w.lock);
	tarn_client_close(w.c);
	scene_close(&s);
}

/* ---- D7 ---- */

PLAIN_TEST(d7_opening_and_closing_clients_leaves_no_descriptor_and_no_mapping)
{
	struct scene s = scene_open(NULL);
	unsigned fds = 0, server_fds = 0;

	for (int i = 0; i < 300; i++) {
		tarn_client *c = scene_client(&s);

		work(c, 1);
		tarn_client_close(c);
		if (i == 10) {
			fds = entries("/proc/%d/fd", getpid());
			server_fds = entries("/proc/%d/fd", tarn_server_pid(s.server));
		}
	}
	PLAIN_EQ(entries("/proc/%d/fd", getpid()), fds);
	PLAIN_WAIT_FOR(entries("/proc/%d/fd", tarn_server_pid(s.server)) <= server_fds);
	scene_close(&s);
}

/* Many clients in one process, more than one thread each. */
static void *own_client(void *arg)
{
	struct scene *s = arg;
	tarn_client *c;

	OK(tarn_client_open(s->name, NULL, &c));
	threads_at_once(c, 3, a_little);
	work(c, 5);
	tarn_client_close(c);
	return NULL;
}

PLAIN_TEST_TIMEOUT(many_clients_of_one_process_do_not_mix, 60)
{
	struct scene s = scene_open(NULL);
	pthread_t t[16];

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 16; i++)
			PLAIN_EQ(pthread_create(&t[i], NULL, own_client, &s), 0);
		for (int i = 0; i < 16; i++)
			pthread_join(t[i], NULL);
	}
	scene_close(&s);
}

/* ---- threads that end while the client is closed ---- */

/* Nobody can wait for the end of a thread that is detached, but for that of its calls. */
static struct ending {
	tarn_client *c;
	struct tarn__lane *lane;
	uint32_t step;
} ending;

/* As libc does: it has what the key holds, and calls the destructor next. */
static void *end_late(void *arg)
{
	struct ending *e = arg;

	OK(tarn_client_ping(e->c, TARN_FOREVER));
	e->lane = pthread_getspecific(e->c->key);
	pthread_setspecific(e->c->key, NULL);
	scene_say(&e->step, 1);
	scene_await(&e->step, 2);
	tarn__lane_park(e->lane);
	return NULL;
}

PLAIN_TEST(a_thread_that_ends_when_its_client_is_closed_gives_nothing_up)
{
	struct scene s = scene_open(NULL);
	pthread_t t;

	ending = (struct ending){ .c = scene_client(&s) };
	PLAIN_EQ(pthread_create(&t, NULL, end_late, &ending), 0);
	scene_await(&ending.step, 1);
	tarn_client_close(ending.c);
	/* The next client's lane has the same struct, but is this thread's. */
	tarn_client *c = scene_client(&s);
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_CHECK(tarn__lane_mine(c) == ending.lane);
	scene_say(&ending.step, 2);
	pthread_join(t, NULL);
	PLAIN_EQ(c->n_parked, 0);
	work(c, 20);
	PLAIN_CHECK(tarn__lane_mine(c) == ending.lane);
	tarn_client_close(c);
	scene_close(&s);
}

static void *use_and_end(void *arg)
{
	struct ending *e = arg;

	OK(tarn_client_ping(e->c, TARN_FOREVER));
	e->lane = tarn__lane_mine(e->c);
	scene_say(&e->step, 1);
	scene_await(&e->step, 2);
	return NULL;
}

static void *close_it(void *arg)
{
	struct ending *e = arg;

	scene_say(&e->step, 3);
	tarn_client_close(e->c);
	return NULL;
}

PLAIN_TEST(a_client_that_is_closed_waits_for_a_thread_that_gives_up_its_lane)
{
	struct scene s = scene_open(NULL);

	for (unsigned i = 0; i < 20; i++) {
		pthread_t ends, closes;

		ending = (struct ending){ .c = scene_client(&s) };
		PLAIN_EQ(pthread_create(&ends, NULL, use_and_end, &ending), 0);
		scene_await(&ending.step, 1);
		/* As if others were at the list of lanes that are nobody's: it waits to put its own there. */
		pthread_mutex_lock(&ending.c->mutex);
		scene_say(&ending.step, 2);
		PLAIN_WAIT_FOR(__atomic_load_n(&ending.lane->owner, __ATOMIC_ACQUIRE) == 0);
		PLAIN_EQ(__atomic_load_n(&ending.c->n_ending, __ATOMIC_ACQUIRE), 1);
		PLAIN_EQ(pthread_create(&closes, NULL, close_it, &ending), 0);
		scene_await(&ending.step, 3);
		pthread_mutex_unlock(&ending.c->mutex);
		pthread_join(ends, NULL);
		pthread_join(closes, NULL);
	}
	scene_close(&s);
}

PLAIN_MAIN()
