/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T4: a client runs one operation under PTRACE_SINGLESTEP and is killed at every n-th of its
 * instructions, with a random first one. Then whoever holds something reads it undamaged, and
 * when they are gone nothing is left and the full check finds nothing.
 *
 *	TARN_KILLS=1000 test-kill-steps		more than the 25 kills for each operation
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
#define ITEMS 3
#define BYTES 200

/* What the child works with. */
struct world {
	tarn_client *c;
	tarn_channel *in, *out; /* it consumes from the one and produces into the other */
	tarn_block *own;        /* nobody was told of it */
	tarn_block *shared;     /* sealed */
	tarn_token token;       /* of shared */
};

struct operation {
	const char *name;
	size_t capacity; /* of the channels; 64 and more defer */
	void (*run)(struct world *w);
};

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

static void op_new_drop(struct world *w)
{
	tarn_block *b;

	for (int i = 0; i < 3; i++) {
		OK(tarn_block_new(w->c, 3000, 0, &b));
		tarn_block_unref(b);
	}
	tarn_client_trim(w->c);
}

static void op_send(struct world *w)
{
	OK(tarn_channel_send(w->out, w->own, 0, 0));
	tarn_block_unref(w->own);
}

static void op_give(struct world *w)
{
	OK(tarn_channel_give(w->out, w->own, 0, 0));
	OK(tarn_channel_give(w->out, w->shared, 0, 0));
}

static void op_receive_drop(struct world *w)
{
	tarn_block *b[ITEMS];

	for (int i = 0; i < ITEMS; i++)
		OK(tarn_channel_recv(w->in, &b[i], NULL, 0));
	tarn_block_unref(b[0]);
	tarn_block_unref(b[2]);
	tarn_block_unref(b[1]);
}

static void op_forward(struct world *w)
{
	tarn_block *b;

	for (int i = 0; i < ITEMS; i++) {
		OK(tarn_channel_recv(w->in, &b, NULL, 0));
		OK(tarn_channel_give(w->out, b, 0, 0));
	}
	FAILS(tarn_channel_recv(w->in, &b, NULL, 0), ETIMEDOUT);
}

static void op_slice(struct world *w)
{
	tarn_block *b, *s;

	OK(tarn_channel_recv(w->in, &b, NULL, 0));
	OK(tarn_block_slice(b, 10, 100, &s));
	tarn_block_unref(b);
	OK(tarn_channel_give(w->out, s, 0, 0));
}

static void op_seal_resize(struct world *w)
{
	OK(tarn_block_resize(w->own, 100));
	OK(tarn_block_seal(w->own));
	OK(tarn_channel_send(w->out, w->own, 0, 0));
}

static void op_tokens(struct world *w)
{
	tarn_token t;
	tarn_block *b;

	OK(tarn_block_export(w->own, NULL, &t));
	OK(tarn_block_import(w->c, &t, &b));
	tarn_block_unref(w->own);
	tarn_block_unref(b);
	OK(tarn_block_import(w->c, &w->token, &b));
	tarn_block_unref(b);
}

static void op_channels(struct world *w)
{
	tarn_channel *ch;

	OK(tarn_channel_new(w->c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_send_channel(w->out, ch, 0, 0));
	tarn_channel_unref(ch);
}

static void op_close(struct world *w)
{
	tarn_block *b;

	OK(tarn_channel_recv(w->in, &b, NULL, 0));
	tarn_channel_close(w->in);
	tarn_block_unref(b);
	tarn_channel_unref(w->in);
	tarn_channel_unref(w->out);
	tarn_client_close(w->c);
}

static const struct operation operations[] = {
	{ "new and drop", 4, op_new_drop },
	{ "send", 4, op_send },
	{ "give", 4, op_give },
	{ "receive and drop", 4, op_receive_drop },
	{ "receive and drop, deferred", 64, op_receive_drop },
	{ "forward", 4, op_forward },
	{ "forward, deferred", 64, op_forward },
	{ "slice", 4, op_slice },
	{ "slice, deferred", 64, op_slice },
	{ "seal and resize", 4, op_seal_resize },
	{ "tokens", 4, op_tokens },
	{ "channels", 4, op_channels },
	{ "close", 64, op_close },
};

/* ---- the child ---- */

static void stop_here(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
}

static void child(const struct scene *s, const struct operation *o)
{
	struct world w = { .c = scene_client(s) };

	OK(tarn_channel_open(w.c, "down", SECOND, &w.in));
	OK(tarn_channel_bind(w.in, TARN_CONSUMER));
	OK(tarn_channel_open(w.c, "up", SECOND, &w.out));
	OK(tarn_channel_bind(w.out, TARN_PRODUCER));
	OK(tarn_block_new(w.c, BYTES, 0, &w.own));
	OK(tarn_block_new(w.c, BYTES, 0, &w.shared));
	fill(w.own, 0x11);
	fill(w.shared, 0x11);
	OK(tarn_block_seal(w.shared));
	OK(tarn_block_export(w.shared, NULL, &w.token));
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		_exit(99);
	stop_here();
	o->run(&w);
	stop_here();
	_exit(0);
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

/* One kill after @steps; how many instructions there were. */
static uint64_t one(const struct operation *o, uint64_t steps)
{
	static struct scene s;
	static bool open;
	tarn_block *kept, *got[16];
	tarn_channel *down, *up;
	tarn_client *c;
	uint64_t taken;
	int status, n = 0, r;
	pid_t pid;

	if (o == NULL) {
		if (open)
			scene_close(&s);
		open = false;
		return 0;
	}
	if (!open)
		s = scene_open(NULL);
	open = true;
	c = scene_client(&s);
	OK(tarn_channel_new(c, o->capacity, "down", &down));
	OK(tarn_channel_bind(down, TARN_PRODUCER));
	OK(tarn_channel_new(c, o->capacity, "up", &up));
	OK(tarn_channel_bind(up, TARN_CONSUMER));
	OK(tarn_block_new(c, BYTES, 0, &kept));
	fill(kept, 0x11);
	for (int i = 0; i < ITEMS; i++) {
		if (i == 0) {
			OK(tarn_channel_send(down, kept, 0, 0));
			continue;
		}
		OK(tarn_block_new(c, BYTES, 0, &got[0]));
		fill(got[0], 0x11);
		OK(tarn_channel_give(down, got[0], 0, 0));
	}
	OK(tarn_client_flush(c, false, TARN_FOREVER));

	pid = plain_fork();
	if (pid == 0)
		child(&s, o);
	PLAIN_EQ(waitpid(pid, &status, __WALL), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		PLAIN_SKIP("no ptrace here");
	PLAIN_CHECKF(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "status %x", status);
	taken = step(pid, steps);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		;
	PLAIN_CHECKF(WIFSIGNALED(status) || WIFEXITED(status), "status %x", status);

	/* Everything that reached us is whole, also when what is free is used again. */
	do {
		tarn_channel *ch;

		r = tarn_channel_recv(up, &got[n], NULL, 20 * SECOND);
		if (r == -TARN_EKIND) {
			OK(tarn_channel_recv_channel(up, &ch, NULL, 0));
			tarn_channel_unref(ch);
		} else if (r == 0) {
			n++;
		}
	} while (r == 0 || r == -TARN_EKIND);
	PLAIN_CHECKF(r == -TARN_ECLOSED, "%s after %llu steps: %s", o->name,
		     (unsigned long long)taken, tarn_error_last()->message);
	scene_settle(&s);
	churn(c);
	scene_check(&s);
	PLAIN_CHECK(filled(kept, 0x11));
	for (int i = 0; i < n; i++) {
		PLAIN_CHECKF(filled(got[i], 0x11), "%s after %llu steps: item %d is damaged",
			     o->name, (unsigned long long)taken, i);
		tarn_block_unref(got[i]);
	}
	tarn_block_unref(kept);
	tarn_channel_unref(down);
	tarn_channel_unref(up);
	tarn_client_close(c);
	scene_at_rest(&s);
	return taken;
}

static uint64_t kills(void)
{
	const char *text = getenv("TARN_KILLS");

	return text != NULL && atoi(text) > 0 ? (uint64_t)atoi(text) : 25;
}

static void every_nth(size_t first, size_t end)
{
	uint64_t seed = scene_now();

	for (size_t i = first; i < end; i++) {
		const struct operation *o = &operations[i];
		uint64_t all = one(o, UINT64_MAX), n = kills(), at, every;

		every = all / n + 1;
		at = scene_random(&seed) % every;
		scene_note("%s: %llu instructions, killed at every %lluth from %llu", o->name,
			   (unsigned long long)all, (unsigned long long)every,
			   (unsigned long long)at);
		for (; at < all; at += every)
			one(o, at);
	}
	one(NULL, 0);
}

PLAIN_TEST_TIMEOUT(killed_while_it_sends, 600) { every_nth(0, 3); }
PLAIN_TEST_TIMEOUT(killed_while_it_receives, 600) { every_nth(3, 7); }
PLAIN_TEST_TIMEOUT(killed_while_it_views, 600) { every_nth(7, 10); }
PLAIN_TEST_TIMEOUT(killed_while_it_asks, 600)
{
	every_nth(10, sizeof operations / sizeof operations[0]);
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
	FAILS(tarn_channel_recv(in, &none, NULL, 0), ETIMEDOUT);
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
