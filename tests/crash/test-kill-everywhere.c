/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T4: a client is killed before every instruction of one operation that stores to shared memory
 * or enters the kernel, and before a sample of the others; or, if asked, before every
 * instruction of the library. Each time a fresh process. Then the reclaim is awaited, a
 * survivor finishes its own work with what it holds undamaged, the server's full check finds
 * nothing, and its books say what they said before.
 *
 *	TARN_KILL_SAMPLE=N   instructions of each operation besides stores and system calls (20)
 *	TARN_KILL_SEED=N     of the sample; printed
 *	TARN_KILL_ALL=1      every instruction of the library's text
 *	TARN_KILL_ONLY=NAME[@STEP]	one operation, or one of its kills
 *
 * x86-64, and only where ptrace is allowed; else skipped.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operations.h"
#include "step.h"

#if defined(__x86_64__)

/* An address that is passed so often is a loop that waits, or copies. */
#define PASSES_MOST 32

struct tally {
	uint64_t operations, instructions, library, points, kills, ended, unreachable;
};

/* ---- the child ---- */

static void child(const struct scene *s, const struct operation *o, const tarn_token *kept)
{
	struct world w = { .scene = s, .kept = *kept };

	if (!o->alone) {
		w.c = scene_client(s);
		OK(tarn_channel_open(w.c, "down", SECOND, &w.in));
		OK(tarn_channel_bind(w.in, TARN_CONSUMER));
		OK(tarn_channel_open(w.c, "up", SECOND, &w.out));
		OK(tarn_channel_bind(w.out, TARN_PRODUCER));
		OK(tarn_block_new(w.c, BLOCK_BYTES, 0, &w.own));
		OK(tarn_block_new(w.c, BLOCK_BYTES, 0, &w.shared));
		operations_fill(w.own, WHOLE);
		operations_fill(w.shared, WHOLE);
		OK(tarn_block_seal(w.shared));
		OK(tarn_block_export(w.shared, NULL, &w.token));
	}
	if (o->prepare != NULL)
		o->prepare(&w);
	if (!step_begin_here())
		_exit(99);
	o->run(&w);
	step_end_here();
	_exit(0);
}

/* ---- the survivor ---- */

struct survivor {
	struct scene s;
	tarn_client *c;
	tarn_block *kept;
	tarn_channel *down, *up;
	struct sync sync;
	tarn_stat rest; /* before anything */
	unsigned children;
};

/* Its cache is empty, so that the books can be compared. */
static tarn_stat books(struct survivor *v)
{
	OK(tarn_client_trim(v->c));
	scene_check(&v->s);
	return scene_stat(&v->s);
}

static bool same(const tarn_stat *a, const tarn_stat *b)
{
	return a->clients == b->clients && a->lanes == b->lanes && a->channels == b->channels &&
	       a->blocks_live == b->blocks_live && a->blocks_granted == b->blocks_granted &&
	       a->blocks_dead == b->blocks_dead && a->used_bytes == b->used_bytes &&
	       a->exports == b->exports && a->names == b->names && a->claims == b->claims &&
	       a->tickets == b->tickets && a->pending_allocs == b->pending_allocs &&
	       a->evictions == b->evictions;
}

/* The lane of the survivor's second thread stays for the next one: it is there from the beginning. */
static void *open_lane(void *client)
{
	OK(tarn_client_ping(client, TARN_FOREVER));
	return NULL;
}

/* How many children the process has, dead ones not. Orphans of the killed become ours, as a subreaper's. */
static unsigned children(void)
{
	char path[64];
	unsigned n = 0;
	int pid;

	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	while (f != NULL && fscanf(f, "%d", &pid) == 1)
		n++;
	if (f != NULL)
		fclose(f);
	return n;
}

static struct survivor survivor_open(void)
{
	const tarn_server_options o = { .arena_bytes = 8u << 20, .max_blocks = 4096 };
	struct survivor v = { .s = scene_open(&o) };

	v.c = scene_client(&v.s);
	pthread_t t;

	OK(tarn_client_ping(v.c, TARN_FOREVER));
	PLAIN_EQ(pthread_create(&t, NULL, open_lane, v.c), 0);
	pthread_join(t, NULL);
	v.rest = books(&v);
	v.children = children();
	return v;
}

static void survivor_close(struct survivor *v)
{
	tarn_client_close(v->c);
	scene_close(&v->s);
}

static void survivor_prepare(struct survivor *v, const struct operation *o, tarn_token *ret_kept)
{
	OK(tarn_block_new(v->c, BLOCK_BYTES, 0, &v->kept));
	operations_fill(v->kept, WHOLE);
	OK(tarn_block_export(v->kept, NULL, ret_kept));
	if (o->alone)
		return;
	if (o->sync)
		sync_open(&v->sync, v->c, o->waiter);
	OK(tarn_channel_new(v->c, o->capacity, "down", &v->down));
	OK(tarn_channel_bind(v->down, TARN_PRODUCER));
	OK(tarn_channel_new(v->c, o->capacity, "up", &v->up));
	OK(tarn_channel_bind(v->up, TARN_CONSUMER));
	OK(tarn_channel_send(v->down, v->kept, 0, 0));
	for (int i = 1; i < ITEMS; i++) {
		tarn_block *b;

		OK(tarn_block_new(v->c, BLOCK_BYTES, 0, &b));
		operations_fill(b, WHOLE);
		OK(tarn_channel_give(v->down, b, 0, 0));
	}
}

/* Overwrites what is free. */
static void churn(tarn_client *c)
{
	tarn_block *b[16];

	for (int i = 0; i < 16; i++) {
		OK(tarn_block_new(c, BLOCK_BYTES, 0, &b[i]));
		operations_fill(b[i], 0xee);
	}
	for (int i = 0; i < 16; i++)
		tarn_block_unref(b[i]);
}

/* A queue of the dead, which had put 1, 2 and perhaps 3, 4 and got some: nobody waits at it for the dead, what
 * is there is in order, and it goes on. */
static void use_queue(tarn_object *q, const char *what)
{
	int64_t item, n = 0;
	uint64_t number;
	tarn_parcel p;
	int r;

	while (tarn_queue_get_item(q, &p, &number, 0) == 0) {
		OK(tarn_value_int(tarn_parcel_at(&p, 0), &item));
		PLAIN_CHECKF(item > n && item <= 4, "%s: %lld behind %lld", what, (long long)item,
			     (long long)n);
		n = item;
		tarn_parcel_fini(&p);
		r = tarn_queue_ack(q, number);
		PLAIN_CHECK(r == 0 || r == -TARN_ESTATE); /* it may need none */
	}
	PLAIN_CHECKF(tarn_queue_size(q) == 0, "%s: an item cannot be got", what);
	OK(tarn_queue_putf(q, 60 * SECOND, "i", 5));
	OK(tarn_queue_get(q, &p, 60 * SECOND));
	tarn_parcel_fini(&p);
	r = tarn_queue_task_done(q);
	if (r == 0)
		r = tarn_queue_join(q, 60 * SECOND);
	PLAIN_CHECKF(r == 0 || r == -TARN_ESTATE, "%s: %s", what, tarn_error_last()->message);
}

static void use_topic(tarn_object *t)
{
	tarn_subscription *s;
	tarn_parcel p;

	OK(tarn_topic_subscribe(t, NULL, &s));
	OK(tarn_topic_publishf(t, 60 * SECOND, "i", 7));
	int r = tarn_subscription_recv(s, &p, 60 * SECOND);

	while (r == -EOWNERDEAD) /* told of the child */
		r = tarn_subscription_recv(s, &p, 60 * SECOND);
	OK(r);
	tarn_parcel_fini(&p);
	tarn_subscription_free(s);
}

static void use_object(tarn_object *o, const char *what)
{
	const char *type = tarn_object_type_name(o);

	if (strcmp(type, "tarn.Queue") == 0)
		use_queue(o, what);
	else if (strcmp(type, "tarn.Topic") == 0)
		use_topic(o);
	tarn_object_unref(o);
}

/* Goes on alone until nothing is left of its own work. @what names the kill. */
static void survivor_finish(struct survivor *v, const struct operation *o, const tarn_token *kept,
			    pid_t dead, const char *what)
{
	tarn_object *object[4];
	tarn_block *got[16], *more;
	int n = 0, n_objects = 0, r;

	while (!o->alone) {
		tarn_channel *ch;

		r = tarn_channel_recv(v->up, &got[n], NULL, 60 * SECOND);
		if (r == -TARN_ECLOSED)
			break;
		if (r == -TARN_EKIND) {
			if (tarn_channel_recv_channel(v->up, &ch, NULL, 0) == 0) {
				tarn_channel_unref(ch);
				continue;
			}
			OK(tarn_channel_recv_object(v->up, &object[n_objects++], NULL, 0));
			continue;
		}
		PLAIN_CHECKF(r == 0, "%s: the survivor receives: %s", what,
			     tarn_error_last()->message);
		PLAIN_CHECK(n++ < 15);
	}
	if (!o->alone) {
		/* The ends of the dead go one after the other: a send or two may still find room. */
		while ((r = tarn_channel_send(v->down, v->kept, 0, 60 * SECOND)) == 0)
			;
		PLAIN_CHECKF(r == -TARN_ECLOSED, "%s: a send to the dead gives %s", what,
			     tarn_error_name(r));
	}
	/* Its channels were closed before things in place were told of its end. */
	PLAIN_WAIT_FOR(scene_client_gone(&v->s, dead));
	for (int i = 0; i < n_objects; i++)
		use_object(object[i], what);
	if (o->sync)
		sync_finish(&v->sync, v->c, what);
	scene_check(&v->s);
	churn(v->c);
	PLAIN_CHECKF(operations_filled(v->kept, WHOLE), "%s: the survivor's block is damaged", what);
	for (int i = 0; i < n; i++) {
		PLAIN_CHECKF(operations_filled(got[i], WHOLE), "%s: item %d is damaged", what, i);
		tarn_block_unref(got[i]);
	}
	/* Its token was used by the child, or is still good. */
	r = tarn_block_import(v->c, kept, &more);
	PLAIN_CHECKF(r == 0 || r == -TARN_ESTALE, "%s: %s", what, tarn_error_name(r));
	if (r == 0)
		tarn_block_unref(more);
	tarn_block_unref(v->kept);
	if (!o->alone) {
		tarn_channel_unref(v->down);
		tarn_channel_unref(v->up);
	}
}

static void survivor_rest(struct survivor *v, const char *what)
{
	uint64_t deadline = scene_now() + 20000000000u * plain_timeout_scale();
	tarn_stat now = books(v);

	while (!same(&now, &v->rest)) {
		PLAIN_CHECKF(scene_now() < deadline,
			     "%s: %lld clients, %lld lanes, %lld live, %lld granted, %lld bytes, %lld "
			     "channels, %lld exports, %lld names, %lld claims, %lld tickets, %lld "
			     "evictions too many", what,
			     (long long)(now.clients - v->rest.clients),
			     (long long)(now.lanes - v->rest.lanes),
			     (long long)(now.blocks_live - v->rest.blocks_live),
			     (long long)(now.blocks_granted - v->rest.blocks_granted),
			     (long long)(now.used_bytes - v->rest.used_bytes),
			     (long long)(now.channels - v->rest.channels),
			     (long long)(now.exports - v->rest.exports),
			     (long long)(now.names - v->rest.names),
			     (long long)(now.claims - v->rest.claims),
			     (long long)(now.tickets - v->rest.tickets),
			     (long long)(now.evictions - v->rest.evictions));
		now = books(v);
	}
}

/* ---- one kill ---- */

static void start(struct survivor *v, const struct operation *o, tarn_token *ret_kept, pid_t *ret_pid)
{
	survivor_prepare(v, o, ret_kept);
	pid_t pid = plain_fork();

	if (pid == 0)
		child(&v->s, o, ret_kept);
	if (!step_await(pid))
		PLAIN_SKIP("no ptrace here");
	*ret_pid = pid;
}

static void end(struct survivor *v, const struct operation *o, const tarn_token *kept, pid_t pid,
		const char *what)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		;
	PLAIN_CHECKF(WIFSIGNALED(status), "%s: status %x", what, status);
	if (o->threads) /* what it bore dies with it */
		PLAIN_WAIT_FOR(children() == v->children);
	survivor_finish(v, o, kept, pid, what);
	survivor_rest(v, what);
}

/* False: the operation has threads, and nothing can be stepped beside them here. */
static bool write_down(struct survivor *v, const struct operation *o, struct step_trace *ret)
{
	tarn_token kept;
	pid_t pid;

	start(v, o, &kept, &pid);
	bool can = !o->threads || step_threads_can(pid);
	if (can)
		step_write_down(pid, ret, NULL, NULL);
	end(v, o, &kept, pid, o->name);
	return can;
}

static void one(struct survivor *v, const struct operation *o, const struct step_point *p,
		struct tally *t)
{
	char what[512];
	tarn_token kept;
	pid_t pid, forked;

	snprintf(what, sizeof what, "%s@%llu (%s, pass %u%s%s)", o->name,
		 (unsigned long long)p->step, step_name(p->address), p->nth,
		 p->why & STEP_STORE ? ", store" : "", p->why & STEP_KERNEL ? ", system call" : "");
	start(v, o, &kept, &pid);
	enum step_end e = step_run_to(pid, p, o->threads, &forked);

	t->kills++;
	t->ended += e == STEP_ENDED;
	t->unreachable += e == STEP_UNREACHABLE;
	end(v, o, &kept, pid, what);
	if (forked != 0) {
		/* Ours now, as a subreaper's; it may still be at work. */
		PLAIN_EQ(plain_reap(forked), 0);
	}
}

/* ---- all of them ---- */

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static bool is_wanted(const struct step_point *p, bool all, uint64_t one_of, uint64_t *random)
{
	if (all)
		return (p->why & STEP_LIBRARY) || p->nth < PASSES_MOST;
	if (p->nth >= PASSES_MOST)
		return false;
	if (p->why & (STEP_STORE | STEP_KERNEL))
		return true;
	return scene_random(random) % one_of == 0;
}

static void operation(struct survivor *v, const struct operation *o, uint64_t only, uint64_t *random,
		      struct tally *t)
{
	bool all = number("TARN_KILL_ALL", 0) != 0;
	uint64_t sample = number("TARN_KILL_SAMPLE", 20), from = scene_now(), kills = t->kills;
	struct step_trace trace;

	if (!write_down(v, o, &trace)) {
		scene_note("%-28s not done: the processor's breakpoints cannot be used here", o->name);
		return;
	}
	t->operations++;
	t->instructions += trace.instructions;
	t->library += trace.library;
	for (size_t i = 0; i < trace.n; i++) {
		const struct step_point *p = &trace.point[i];

		if (only != UINT64_MAX ? p->step == only
				       : is_wanted(p, all, trace.library / (sample + 1) + 1, random))
			one(v, o, p, t);
	}
	kills = t->kills - kills;
	scene_note("%-28s %6llu instructions, %6llu in the library, %4llu stores, %3llu system calls; "
		   "%5llu kills, %.2f ms each", o->name, (unsigned long long)trace.instructions,
		   (unsigned long long)trace.library, (unsigned long long)trace.stores,
		   (unsigned long long)trace.kernel, (unsigned long long)kills,
		   (double)(scene_now() - from) / 1e6 / (double)(kills + 1));
	step_trace_free(&trace);
}

static void operations_from(size_t first, size_t last)
{
	uint64_t seed = number("TARN_KILL_SEED", scene_now()), random = seed | 1;
	const char *only = getenv("TARN_KILL_ONLY"), *at = only != NULL ? strchr(only, '@') : NULL;
	struct tally t = { 0 };

	/* The survivor's waits spin; the child's would be thousands of equal instructions. */
	PLAIN_CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	struct survivor v = survivor_open();
	setenv("TARN_SPIN_US", "0", 1);
	scene_note("TARN_KILL_SEED=%llu", (unsigned long long)seed);
	for (size_t i = first; i < last && i < n_operations; i++) {
		size_t n = at != NULL ? (size_t)(at - only) : only != NULL ? strlen(only) : 0;

		if (only == NULL || (strlen(operations[i].name) == n &&
				     memcmp(operations[i].name, only, n) == 0))
			operation(&v, &operations[i],
				  at != NULL ? strtoull(at + 1, NULL, 10) : UINT64_MAX, &random, &t);
	}
	survivor_close(&v);
	scene_note("in all: %llu operations, %llu instructions, %llu in the library, %llu kills "
		   "(%llu after the end, %llu at places that take no breakpoint), 0 findings",
		   (unsigned long long)t.operations, (unsigned long long)t.instructions,
		   (unsigned long long)t.library, (unsigned long long)t.kills,
		   (unsigned long long)t.ended, (unsigned long long)t.unreachable);
}

#define TIME 20000 /* the long mode's */
PLAIN_TEST_TIMEOUT(t4_a_client_killed_at_any_store_or_system_call_leaves_nothing, TIME)
{
	operations_from(0, n_operations);
}

/* ---- the harness itself: no store escapes it ---- */

#define PAGE 4096u

static unsigned char *page;

/* Stores of every width, and libc's. */
static void store_in_every_way(void)
{
	static unsigned char from[PAGE];
	uint64_t *w = (uint64_t *)(void *)page;

	for (unsigned i = 0; i < sizeof from; i++)
		from[i] = (unsigned char)(i * 7 + 1);
	page[1] = 3;
	*(uint16_t *)(void *)(page + 2) = 4;
	*(uint32_t *)(void *)(page + 4) = 5;
	w[1] = 6;
	__atomic_store_n(&w[2], 7, __ATOMIC_RELEASE);
	__atomic_store_n(&w[2], 8, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&w[2], 9, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&w[2], 0x1000, __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&w[2], ~8ull, __ATOMIC_RELAXED);
	uint64_t old = 0;
	__atomic_compare_exchange_n(&w[3], &old, 77, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	__asm__ volatile("btsq $3, %0\n\tincq %0\n\tnegq %0\n\tshlq $1, %0\n\tsete 8+%0\n\t"
			 "movnti %1, 16+%0"
			 : "+m"(w[8]) : "r"((uint64_t)99) : "memory", "cc");
	__asm__ volatile("movq %1, %%xmm0\n\tmovups %%xmm0, 8+%0\n\tmovlps %%xmm0, 24+%0\n\t"
			 "movhps %%xmm0, 32+%0\n\tmovd %%xmm0, 40+%0\n\tmovntdq %%xmm0, 48+%0\n\t"
			 "movdqa %%xmm0, 64+%0\n\tmovss %%xmm0, 80+%0\n\tmovsd %%xmm0, 88+%0\n\t"
			 "fld1\n\tfstpl 96+%0\n\txaddq %2, 104+%0\n\txchgq %2, 112+%0"
			 : "+m"(w[16]) : "r"((uint64_t)0x1234567812345678), "r"((uint64_t)5)
			 : "memory", "xmm0");
	for (unsigned n = 1; n < 700; n = n * 3 / 2 + 1) {
		memcpy(page + 1024 + n % 5, from + n, n);
		memset(page + 2048 + n % 7, (int)n, n);
		memmove(page + 3000, page + 1024, n);
	}
	strcpy((char *)page + 600, "a string of some length, for strcpy and its likes");
}

struct watch {
	pid_t pid;
	unsigned char seen[PAGE];
	uint64_t changes;
};

static void watch_page(void *arg, const struct step_insn *insn, uint64_t address)
{
	struct watch *w = arg;

	if (memcmp(w->seen, page, PAGE) == 0)
		return;
	w->changes++;
	PLAIN_CHECKF(insn->store, "the instruction at %s stores, and was not said to",
		     step_name(address));
	memcpy(w->seen, page, PAGE);
}

PLAIN_TEST(the_stepper_recognises_every_store)
{
	struct watch w = { 0 };
	struct step_trace t;

	page = scene_shared(PAGE);
	w.pid = plain_fork();
	if (w.pid == 0) {
		if (!step_begin_here())
			_exit(99);
		store_in_every_way();
		step_end_here();
		_exit(0);
	}
	if (!step_await(w.pid))
		PLAIN_SKIP("no ptrace here");
	step_write_down(w.pid, &t, watch_page, &w);
	plain_kill(w.pid);
	scene_note("%llu changes, all at one of %llu stores; %llu instructions",
		   (unsigned long long)w.changes, (unsigned long long)t.stores,
		   (unsigned long long)t.instructions);
	PLAIN_CHECK(w.changes > 100 && t.stores >= w.changes);
	step_trace_free(&t);
}
#else
PLAIN_TEST(t4_a_client_killed_at_any_store_or_system_call_leaves_nothing)
{
	PLAIN_SKIP("the stepper knows x86-64 only");
}
#endif

PLAIN_MAIN()
