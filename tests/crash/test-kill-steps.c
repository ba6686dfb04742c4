/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two threads of one process, one of them under PTRACE_SINGLESTEP: the other does its part at any
 * instruction of the first. (Deaths at any instruction: test-kill-everywhere.c.)
 *
 *	TARN_KILLS=1000 test-kill-steps		more than the 50 meetings
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/scene.h"

#define SECOND INT64_C(1000000000)
#define BYTES 200

static void fill(tarn_block *b, unsigned char byte)
{
	memset(tarn_block_data(b), byte, tarn_block_size(b));
}

static bool filled(const tarn_block *b, unsigned char byte)
{
	const unsigned char *p = tarn_block_data(b);

	for (size_t i = 0; i < tarn_block_size(b); i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* ---- the child ---- */

static void stop_here(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
}

/* ---- the parent ---- */

/* Takes up to @steps; returns how many were taken, less where it stopped by itself. */
static uint64_t step(pid_t pid, uint64_t steps)
{
	uint64_t n;

	for (n = 0; n < steps; n++) {
		int status;

		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) != 0)
			return n;
		if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
			PLAIN_FAIL("the child ended while it was stepped (%x)", status);
		if (WSTOPSIG(status) == SIGSTOP)
			return n;
		PLAIN_CHECKF(WSTOPSIG(status) == SIGTRAP, "signal %d", WSTOPSIG(status));
	}
	return n;
}

/* Overwrites what is free. */
static void churn(tarn_client *c)
{
	tarn_block *b[64];

	for (int i = 0; i < 64; i++) {
		OK(tarn_block_new(c, BYTES, 0, &b[i]));
		fill(b[i], 0xee);
	}
	for (int i = 0; i < 64; i++)
		tarn_block_unref(b[i]);
	tarn_client_trim(c);
}

static uint64_t kills(void)
{
	const char *text = getenv("TARN_KILLS");

	return text != NULL && atoi(text) > 0 ? (uint64_t)atoi(text) : 25;
}

/* ---- two threads, one of them stepped ---- */

struct meeting {
	uint32_t stage, taken, dropped;
	uint64_t *refs; /* of the block, in the child */
	pid_t giver;
	/* In the child: */
	const struct scene *s;
	tarn_channel *second;
};

static void *receiver(void *arg)
{
	struct meeting *m = arg;
	tarn_block *b;

	scene_await(&m->stage, 1);
	OK(tarn_channel_recv(m->second, &b, NULL, SECOND));
	scene_say(&m->taken, 1);
	scene_await(&m->stage, 2);
	tarn_block_unref(b);
	scene_say(&m->dropped, 1);
	pause(); /* the process ends first */
	return NULL;
}

static void giver(const struct scene *s, struct meeting *m)
{
	tarn_client *c = scene_client(s);
	tarn_channel *in, *out;
	tarn_block *b, *none;
	pthread_t t;

	OK(tarn_channel_open(c, "down", SECOND, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	OK(tarn_channel_open(c, "second", SECOND, &m->second));
	OK(tarn_channel_bind(m->second, TARN_CONSUMER));
	OK(tarn_channel_open(c, "up", SECOND, &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_recv(in, &b, NULL, SECOND));
	FAILS(tarn_channel_recv(in, &none, NULL, 0), EAGAIN);
	m->refs = (uint64_t *)(void *)b; /* its first word */
	PLAIN_EQ(pthread_create(&t, NULL, receiver, m), 0);
	m->giver = getpid();
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		_exit(99);
	stop_here();
	OK(tarn_channel_give(out, b, 0, 0));
	stop_here();
	_exit(0);
}

static uint32_t references(pid_t pid, const uint64_t *at)
{
	return (uint32_t)ptrace(PTRACE_PEEKDATA, pid, at, 0);
}

static bool said(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE) != 0;
}

/* The other thread receives the block at the @at-th instruction of the give and drops it as soon
 * as the giver's reference is gone. */
static void meet(struct scene *s, uint64_t at)
{
	struct meeting *m = scene_shared(sizeof *m);
	tarn_client *c = scene_client(s);
	tarn_channel *down, *second, *up;
	tarn_block *b;
	bool inside;
	int status;
	pid_t pid;

	*m = (struct meeting){ 0 };
	OK(tarn_channel_new(c, 4, "down", &down));
	OK(tarn_channel_bind(down, TARN_PRODUCER));
	OK(tarn_channel_new(c, 4, "second", &second));
	OK(tarn_channel_bind(second, TARN_PRODUCER));
	OK(tarn_channel_new(c, 4, "up", &up));
	OK(tarn_channel_bind(up, TARN_CONSUMER));
	OK(tarn_block_new(c, BYTES, 0, &b));
	fill(b, 0x11);
	OK(tarn_channel_send(down, b, 0, 0));
	OK(tarn_channel_send(second, b, 0, 0));
	tarn_block_unref(b);
	OK(tarn_client_flush(c, false, TARN_FOREVER));

	pid = plain_fork();
	if (pid == 0)
		giver(s, m);
	PLAIN_EQ(waitpid(pid, &status, __WALL), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		PLAIN_SKIP("no ptrace here");
	PLAIN_CHECKF(WIFSTOPPED(status), "status %x", status);
	inside = step(pid, at) == at;
	scene_say(&m->stage, 1);
	for (int i = 0; !said(&m->taken); i++) {
		/* It may spin on a lock that the stopped thread holds. */
		usleep(1000);
		if (i > 20 && inside)
			inside = step(pid, 1) == 1;
	}
	while (inside && references(pid, m->refs) > 1)
		inside = step(pid, 1) == 1;
	scene_say(&m->stage, 2);
	for (int i = 0; !said(&m->dropped); i++) {
		usleep(1000);
		if (i > 20 && inside)
			inside = step(pid, 1) == 1;
	}
	scene_settle(s);
	churn(c);
	while (inside)
		inside = step(pid, 1) == 1;
	OK(tarn_channel_recv(up, &b, NULL, SECOND));
	PLAIN_CHECKF(filled(b, 0x11), "the block is damaged (met after %llu steps)",
		     (unsigned long long)at);
	tarn_block_unref(b);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		;
	tarn_channel_unref(down);
	tarn_channel_unref(second);
	tarn_channel_unref(up);
	tarn_client_close(c);
	scene_at_rest(s);
}

/* I5: a thread gives its reference away in one step, while another thread of the process
 * receives the same block again and drops it: its RELEASE must not overtake SEND. */
PLAIN_TEST_TIMEOUT(a_give_meets_a_receive_of_another_thread, 600)
{
	struct scene s = scene_open(NULL);
	uint64_t n = kills() * 2;

	for (uint64_t i = 0; i < n; i++)
		meet(&s, 2 + i * 400 / n);
	scene_close(&s);
}

PLAIN_MAIN()
