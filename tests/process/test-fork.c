/* SPDX-License-Identifier: Apache-2.0 */
/*
 * O13, T9: after fork the child's inherited client answers -TARN_EFORKED and can harm nobody;
 * the child opens its own; the parent notices nothing.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/scene.h"

#define HANDLES 10
#define FORKS 100

/* What a parent has when it forks: blocks of each kind, channels, a token. */
struct family {
	struct scene *s;
	tarn_client *c;
	tarn_block *block[HANDLES]; /* even ones are shared, odd ones nobody was told of */
	tarn_block *slice;
	tarn_channel *both;         /* it has both ends; one item is in it */
	tarn_token token;           /* of block[0], for everybody */
	void *view;                 /* a private view of block[2] */
};

static unsigned char byte_of(int i, size_t at)
{
	return (unsigned char)(i * 31 + (int)at);
}

static void check_bytes(const tarn_block *b, int i)
{
	const unsigned char *p = tarn_block_data(b);

	for (size_t at = 0; at < tarn_block_size(b); at++)
		PLAIN_EQ(p[at], byte_of(i, at));
}

static struct family family_open(struct scene *s)
{
	const tarn_export_options everybody = { .uses = TARN_USES_UNLIMITED };
	struct family f = { .s = s, .c = scene_client(s) };
	tarn_token t;

	for (int i = 0; i < HANDLES; i++) {
		OK(tarn_block_new(f.c, 500 + (size_t)i, 0, &f.block[i]));
		for (size_t at = 0; at < 500 + (size_t)i; at++)
			((unsigned char *)tarn_block_data(f.block[i]))[at] = byte_of(i, at);
		if (i % 2 == 0) {
			OK(tarn_block_export(f.block[i], &everybody, &t));
			if (i == 0)
				f.token = t;
			else
				OK(tarn_token_revoke(f.c, &t));
		}
	}
	OK(tarn_block_slice(f.block[4], 10, 100, &f.slice));
	OK(tarn_block_cow(f.block[2], &f.view));
	OK(tarn_channel_new(f.c, 4, "family", &f.both));
	OK(tarn_channel_bind(f.both, TARN_PRODUCER));
	OK(tarn_channel_bind(f.both, TARN_CONSUMER));
	OK(tarn_channel_send(f.both, f.block[0], 7, 0));
	return f;
}

static void check_counts(const struct family *f)
{
	scene_settle(f->s);
	/* A unit, an export, an item in the channel. */
	PLAIN_EQ(scene_count(f->s, tarn_block_id(f->block[0])), 3);
	for (int i = 2; i < HANDLES; i += 2)
		PLAIN_EQ(scene_count(f->s, tarn_block_id(f->block[i])), 1);
	for (int i = 1; i < HANDLES; i += 2)
		PLAIN_EQ(scene_units(f->s, tarn_block_id(f->block[i]), TARN_CLAIM_GRANTED, 0), 1);
	PLAIN_EQ(scene_count(f->s, tarn_channel_id(f->both)), 3);
}

static void family_close(struct family *f)
{
	tarn_block *b;
	uint64_t tag;

	for (int i = 0; i < HANDLES; i++)
		check_bytes(f->block[i], i);
	OK(tarn_channel_recv(f->both, &b, &tag, 0));
	PLAIN_CHECK(b == f->block[0] && tag == 7);
	tarn_block_unref(b);
	OK(tarn_block_cow_end(f->block[2], f->view));
	OK(tarn_token_revoke(f->c, &f->token));
	tarn_block_unref(f->slice);
	for (int i = 0; i < HANDLES; i++)
		tarn_block_unref(f->block[i]);
	tarn_channel_unref(f->both);
	tarn_client_close(f->c);
}

/* Every call that could reach the server or a peer. */
static void everything_says_forked(struct family *f)
{
	const tarn_block_options o = { .align = 4096 };
	tarn_block *b = NULL;
	tarn_channel *ch = NULL;
	tarn_block_facts facts;
	tarn_token t;
	uint64_t tag;
	void *view;

	FAILS(tarn_client_ping(f->c, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_client_flush(f->c, true, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_client_trim(f->c), TARN_EFORKED);
	FAILS(tarn_block_new(f->c, 500, 0, &b), TARN_EFORKED);
	FAILS(tarn_block_new(f->c, 5000000, TARN_BLOCK_ZEROED, &b), TARN_EFORKED);
	FAILS(tarn_block_new_with(f->c, 500, &o, &b), TARN_EFORKED);
	for (int i = 0; i < HANDLES; i++) {
		FAILS(tarn_block_seal(f->block[i]), TARN_EFORKED);
		FAILS(tarn_block_slice(f->block[i], 0, 1, &b), TARN_EFORKED);
		FAILS(tarn_block_resize(f->block[i], 100), TARN_EFORKED);
		FAILS(tarn_block_cow(f->block[i], &view), TARN_EFORKED);
		FAILS(tarn_block_info(f->block[i], &facts), TARN_EFORKED);
		FAILS(tarn_block_export(f->block[i], NULL, &t), TARN_EFORKED);
		FAILS(tarn_channel_send(f->both, f->block[i], 0, TARN_FOREVER), TARN_EFORKED);
		FAILS(tarn_channel_give(f->both, f->block[i], 0, TARN_FOREVER), TARN_EFORKED);
	}
	FAILS(tarn_block_import(f->c, &f->token, &b), TARN_EFORKED);
	FAILS(tarn_token_revoke(f->c, &f->token), TARN_EFORKED);
	FAILS(tarn_channel_new(f->c, 4, NULL, &ch), TARN_EFORKED);
	FAILS(tarn_channel_open(f->c, "family", TARN_FOREVER, &ch), TARN_EFORKED);
	FAILS(tarn_channel_import(f->c, &f->token, &ch), TARN_EFORKED);
	FAILS(tarn_channel_bind(f->both, TARN_PRODUCER), TARN_EFORKED);
	FAILS(tarn_channel_send_channel(f->both, f->both, 0, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_channel_recv(f->both, &b, &tag, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_channel_recv_channel(f->both, &ch, &tag, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_channel_close(f->both), TARN_EFORKED);
	FAILS(tarn_channel_export(f->both, NULL, &t), TARN_EFORKED);
	PLAIN_CHECK(b == NULL && ch == NULL);
}

/* All that the child may do with what it inherited. */
static void drop_all(struct family *f)
{
	char text[128];

	OK(tarn_block_cow_end(f->block[2], f->view)); /* its own private memory */
	for (int i = 0; i < HANDLES; i++) {
		check_bytes(f->block[i], i);
		tarn_block_ref(f->block[i]);
		tarn_block_unref(f->block[i]);
		PLAIN_CHECK(tarn_block_format(f->block[i], text, sizeof text) > 0);
		tarn_block_unref(f->block[i]);
	}
	tarn_block_unref(f->slice);
	tarn_channel_unref(f->both);
}

static void work_alone(struct family *f)
{
	tarn_client *c = scene_client(f->s);
	tarn_block *b, *mine;
	tarn_channel *ch;

	PLAIN_CHECK(tarn_client_id(c) != 0);
	for (int i = 0; i < 100; i++) {
		OK(tarn_block_new(c, 500, 0, &mine));
		memset(tarn_block_data(mine), 0xee, 500);
		if (i % 2)
			tarn_block_unref(mine);
	}
	OK(tarn_block_import(c, &f->token, &b));
	check_bytes(b, 0);
	OK(tarn_channel_open(c, "family", 0, &ch));
	FAILS(tarn_channel_bind(ch, TARN_CONSUMER), EBUSY);
	FAILS(tarn_channel_send(ch, b, 0, 0), EPERM);
	tarn_block_unref(b);
	if (getpid() % 2)
		tarn_client_close(c);
}

static void child_main(struct family *f, int how)
{
	everything_says_forked(f);
	if (how % 3 == 0)
		drop_all(f);
	if (how % 2 == 0)
		work_alone(f);
	if (how % 3 == 0)
		tarn_client_close(f->c);
	/* With large pages all of a client was wiped once, and with it 0 taken for its descriptors. */
	PLAIN_CHECK(fcntl(STDIN_FILENO, F_GETFD) >= 0);
	_exit(0);
}

PLAIN_TEST_TIMEOUT(o13_children_own_nothing_and_parents_lose_nothing, 60)
{
	struct scene s = scene_open(NULL);
	struct family f = family_open(&s);
	pid_t child[FORKS];

	for (int i = 0; i < FORKS; i++) {
		tarn_block *b;

		child[i] = plain_fork();
		if (child[i] == 0)
			child_main(&f, i);
		/* The parent goes on meanwhile, in the same memory. */
		for (int k = 0; k < 100; k++) {
			OK(tarn_block_new(f.c, 500, 0, &b));
			memset(tarn_block_data(b), 0xdd, 500);
			tarn_block_unref(b);
		}
	}
	for (int i = 0; i < FORKS; i++)
		PLAIN_EQ(plain_reap(child[i]), 0);
	check_counts(&f);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	family_close(&f);
	scene_close(&s);
}

static tarn_client *inherited;

static void use_in_child(void)
{
	if (inherited != NULL)
		FAILS(tarn_client_ping(inherited, TARN_FOREVER), TARN_EFORKED);
}

/* Where the kernel wipes nothing, the handler that does was the last one. */
PLAIN_TEST(o13_children_know_what_they_are_in_their_first_handler)
{
	struct scene s = scene_open(NULL);

	PLAIN_EQ(pthread_atfork(NULL, NULL, use_in_child), 0);
	inherited = scene_client(&s);
	OK(tarn_client_ping(inherited, TARN_FOREVER));
	pid_t child = plain_fork();
	if (child == 0)
		_exit(0);
	PLAIN_EQ(plain_reap(child), 0);
	OK(tarn_client_ping(inherited, TARN_FOREVER));
	tarn_client_close(inherited);
	inherited = NULL;
	scene_close(&s);
}

/* ---- without the C library's help ---- */

static pid_t raw_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static bool kernel_wipes_pages(void)
{
	const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	PLAIN_CHECK(p != MAP_FAILED);
	*p = 1;
	if (madvise(p, bytes, MADV_WIPEONFORK) != 0)
		return false;
	pid_t child = raw_clone();
	if (child == 0)
		_exit(*p);
	bool wiped = plain_reap(child) == 0;
	munmap(p, bytes);
	return wiped;
}

PLAIN_TEST(o13_a_raw_clone_is_noticed_too)
{
	if (!kernel_wipes_pages())
		PLAIN_SKIP("no MADV_WIPEONFORK here: only fork() is noticed");
	struct scene s = scene_open(NULL);
	struct family f = family_open(&s);

	for (int i = 0; i < 20; i++) {
		pid_t child = raw_clone();

		if (child == 0)
			child_main(&f, i);
		PLAIN_EQ(plain_reap(child), 0);
	}
	check_counts(&f);
	family_close(&f);
	scene_close(&s);
}

PLAIN_TEST(o13_spawned_programs_change_nothing)
{
	struct scene s = scene_open(NULL);
	struct family f = family_open(&s);
	char name[] = "true";
	char *argv[] = { name, NULL };

	for (int i = 0; i < 20; i++) {
		pid_t child;

		PLAIN_EQ(posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ), 0);
		PLAIN_EQ(plain_reap(child), 0);
	}
	PLAIN_EQ(system("true"), 0);
	check_counts(&f);
	family_close(&f);
	scene_close(&s);
}

/* ---- while others are inside calls ---- */

struct busy {
	tarn_client *c;
	bool over;
	uint64_t rounds;
};

static void *be_busy(void *arg)
{
	struct busy *w = arg;
	tarn_channel *ch;

	OK(tarn_channel_new(w->c, 256, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	for (size_t i = 1; !__atomic_load_n(&w->over, __ATOMIC_RELAXED); i++) {
		tarn_block *b, *got;
		tarn_token t;

		OK(tarn_block_new(w->c, 1 + i * 37 % 5000, 0, &b));
		memset(tarn_block_data(b), (int)i, tarn_block_size(b));
		for (int k = 0; k < 40; k++)
			OK(tarn_channel_send(ch, b, i, TARN_FOREVER));
		for (int k = 0; k < 40; k++) {
			OK(tarn_channel_recv(ch, &got, NULL, TARN_FOREVER));
			PLAIN_EQ(*(unsigned char *)tarn_block_data(got), i & 255);
			tarn_block_unref(got);
		}
		if (i % 16 == 0) {
			OK(tarn_block_export(b, NULL, &t));
			OK(tarn_block_import(w->c, &t, &got));
			tarn_block_unref(got);
		}
		tarn_block_unref(b);
		__atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELAXED);
	}
	tarn_channel_unref(ch);
	return NULL;
}

/* In a child of a program with threads: as little as possible of the C library. */
static void child_of_busy(struct family *f, int how)
{
	tarn_block *b;

	FAILS(tarn_client_ping(f->c, TARN_FOREVER), TARN_EFORKED);
	FAILS(tarn_block_new(f->c, 500, 0, &b), TARN_EFORKED);
	drop_all(f);
	if (how % 2 == 0)
		tarn_client_close(f->c);
	work_alone(f);
	if (how % 4 == 1)
		tarn_client_close(f->c);
	_exit(0);
}

PLAIN_TEST_TIMEOUT(o13_fork_while_other_threads_are_inside_calls, 90)
{
	struct scene s = scene_open(NULL);
	struct family f = family_open(&s);
	struct busy w = { .c = f.c };
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		PLAIN_EQ(pthread_create(&thread[i], NULL, be_busy, &w), 0);
	for (int i = 0; i < FORKS / 2; i++) {
		pid_t child = plain_fork();

		if (child == 0)
			child_of_busy(&f, i);
		PLAIN_EQ(plain_reap(child), 0);
	}
	PLAIN_WAIT_FOR(__atomic_load_n(&w.rounds, __ATOMIC_RELAXED) > 100);
	__atomic_store_n(&w.over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	check_counts(&f);
	family_close(&f);
	scene_close(&s);
}

/* ---- generations ---- */

PLAIN_TEST(t9_a_child_outlives_its_parent_and_has_children_itself)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t parent = plain_fork();

	if (parent == 0) {
		struct family f = family_open(&s);
		pid_t child = fork();

		if (child == 0) {
			tarn_client *c = scene_client(&s);
			tarn_block *b;

			OK(tarn_block_import(c, &f.token, &b));
			scene_say(step, 1);
			scene_await(step, 2); /* the grandparent says: it is dead */
			check_bytes(b, 0);
			pid_t grandchild = fork();
			if (grandchild == 0) {
				struct family g = f;

				FAILS(tarn_client_ping(c, 0), TARN_EFORKED);
				everything_says_forked(&g);
				tarn_block_unref(b);
				tarn_client_close(c);
				c = scene_client(&s);
				OK(tarn_client_ping(c, TARN_FOREVER));
				_exit(0);
			}
			PLAIN_EQ(plain_reap(grandchild), 0);
			check_bytes(b, 0);
			tarn_block_unref(b);
			tarn_client_close(c);
			scene_say(step, 3);
			_exit(0);
		}
		for (;;)
			pause();
	}
	scene_await(step, 1);
	plain_kill(parent);
	PLAIN_WAIT_FOR(scene_client_gone(&s, parent));
	scene_settle(&s);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	PLAIN_EQ(scene_stat(&s).blocks_live, 1);
	scene_say(step, 2);
	scene_await(step, 3);
	scene_close(&s);
}

PLAIN_TEST(o13_the_parent_can_close_while_the_child_keeps_what_it_inherited)
{
	struct scene s = scene_open(NULL);
	struct family f = family_open(&s);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t child = plain_fork();

	if (child == 0) {
		scene_await(step, 1);
		/* The memory is still mapped, its contents are nobody's promise any more. */
		for (int i = 0; i < HANDLES; i++)
			(void)*(volatile unsigned char *)tarn_block_data(f.block[i]);
		everything_says_forked(&f);
		tarn_client_close(f.c);
		_exit(0);
	}
	family_close(&f);
	scene_at_rest(&s);
	scene_say(step, 1);
	PLAIN_EQ(plain_reap(child), 0);
	scene_close(&s);
}

PLAIN_MAIN()
