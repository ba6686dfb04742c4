/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that are killed and replaced (PROTOCOL 3.14, H19 to H24): clients go on with all that
 * they had, calls are answered once, and the successor's books are right: it checks all of them
 * when it takes over (TARN_VERIFY), and does not serve if there is a finding.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/types.h"
#include "shm/kept.h"
#include "tests/common/arena.h"
#include "tests/common/seccomp.h"
#include "tests/common/types.h"
#include "tests/process/keeper.h"

#define SECOND 1000000000ll

/* ---- servers ---- */

static void kill_server(const tarn_client *c)
{
	pid_t pid = server_of(c);

	PLAIN_EQ(kill(pid, SIGKILL), 0);
	await_successor(c, pid);
}

/* ---- 1: an idle server ---- */

ARENA_TEST(k1_blocks_outlive_their_server)
{
	struct arena a;
	tarn_block *b[50], *late;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned i = 0; i < 50; i++) {
		b[i] = arena_block(c, 100 + 1000 * i);
		arena_fill(b[i], i);
	}
	OK(tarn_block_seal(b[0]));
	kill_server(c);
	for (unsigned i = 0; i < 50; i++)
		PLAIN_CHECK(arena_filled(b[i], i));
	/* The cache is ours still, and more is to be had. */
	for (unsigned i = 0; i < 50; i++) {
		late = arena_block(c, 200000);
		arena_fill(late, 77);
		tarn_block_unref(late);
	}
	arena_settle(c);
	arena_check(&a);
	kill_server(c);
	for (unsigned i = 0; i < 50; i++) {
		PLAIN_CHECK(arena_filled(b[i], i));
		tarn_block_unref(b[i]);
	}
	arena_settle(c);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k1_channels_and_what_is_in_them_outlive_their_server)
{
	struct arena a;
	tarn_channel *ch, *other;
	tarn_block *b;
	uint64_t tag;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	OK(tarn_channel_new(c, 64, "pipe", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	for (unsigned i = 0; i < 20; i++) {
		b = arena_block(c, 3000);
		arena_fill(b, i);
		OK(tarn_channel_give(ch, b, i, TARN_FOREVER));
	}
	kill_server(c);
	/* Found by name, which the successor knows. */
	OK(tarn_channel_open(d, "pipe", TARN_FOREVER, &other));
	OK(tarn_channel_bind(other, TARN_CONSUMER));
	for (unsigned i = 0; i < 10; i++) {
		OK(tarn_channel_recv(other, &b, &tag, TARN_FOREVER));
		PLAIN_CHECK(tag == i && arena_filled(b, i));
		tarn_block_unref(b);
	}
	kill_server(c);
	for (unsigned i = 10; i < 20; i++) {
		OK(tarn_channel_recv(other, &b, &tag, TARN_FOREVER));
		PLAIN_CHECK(tag == i && arena_filled(b, i));
		tarn_block_unref(b);
	}
	tarn_channel_unref(ch);
	FAILS(tarn_channel_recv(other, &b, &tag, TARN_FOREVER), TARN_ECLOSED);
	tarn_channel_unref(other);
	tarn_client_close(d);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k1_objects_names_and_tokens_outlive_their_server)
{
	struct arena a;
	tarn_object *magnifier, *list, *found;
	tarn_token token;
	tarn_block *b, *imported;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d;
	magnifier = NEW(c, "Magnifier", "d", 3.0);
	list = NEW(c, "List", "");
	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, magnifier));
	OK(tarn_object_publish(list, "the list", 0));
	b = arena_block(c, 5000);
	arena_fill(b, 9);
	OK(tarn_block_export(b, NULL, &token));
	kill_server(c);
	PLAIN_CHECK(types_scale(magnifier, 5) == 15);
	PLAIN_EQ(types_integer(list, "len"), 1);
	tarn_object_unref(magnifier);
	arena_settle(c);
	d = arena_client(&a, NULL);
	OK(tarn_object_lookup(d, "the list", TARN_FOREVER, &found));
	OK(tarn_block_import(d, &token, &imported));
	PLAIN_CHECK(arena_filled(imported, 9));
	kill_server(d);
	tarn_parcel p;
	OK(tarn_call(found, "pop", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &magnifier));
	PLAIN_CHECK(types_scale(magnifier, 2) == 6);
	tarn_parcel_fini(&p);
	PLAIN_EQ(types_integer(list, "len"), 0);
	tarn_object_unref(found);
	tarn_block_unref(imported);
	tarn_block_unref(b);
	OK(tarn_object_unpublish(c, "the list"));
	tarn_object_unref(list);
	tarn_client_close(d);
	tarn_client_close(c);
	arena_end(&a);
}

/* An event loop's descriptor says neither too much nor too little. */
ARENA_TEST(k1_an_event_loop_hears_of_answers_of_the_next_server)
{
	struct arena a;
	tarn_pending *call;
	int fd;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_object *o = NEW(c, "Magnifier", "d", 2.0);
	OK(tarn_client_event_fd(c, &fd));
	OK(tarn_client_event_clear(c));
	kill_server(c);
	for (unsigned i = 0; i < 3; i++) {
		tarn_builder args;

		OK(tarn_client_event_clear(c));
		tarn_builder_init(&args);
		OK(tarn_put_double(&args, 4));
		OK(tarn_call_start(o, "scale_slowly", &args, &call));
		tarn_builder_fini(&args);
		while (tarn_call_poll(call) == 0) {
			struct pollfd p = { .fd = fd, .events = POLLIN };

			PLAIN_EQ(poll(&p, 1, -1), 1);
			PLAIN_EQ(p.revents, POLLIN); /* not hung up */
			OK(tarn_client_event_clear(c));
		}
		OK(tarn_call_wait(call, NULL, 0));
		tarn_call_free(call);
	}
	tarn_object_unref(o);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k1_a_wait_that_spans_the_change_of_servers_goes_on)
{
	struct arena a;
	uint32_t *step = arena_shared(sizeof *step);

	kept_start(&a, kind);
	pid_t child = plain_fork();
	if (child == 0) {
		tarn_client *c = arena_client(&a, NULL);
		tarn_channel *ch;
		tarn_block *b;

		OK(tarn_channel_new(c, 4, "wait", &ch));
		OK(tarn_channel_bind(ch, TARN_CONSUMER));
		arena_step(step, 1);
		OK(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER));
		PLAIN_CHECK(arena_filled(b, 5));
		tarn_block_unref(b);
		tarn_channel_unref(ch);
		tarn_client_close(c);
		_exit(0);
	}
	tarn_client *c = arena_client(&a, NULL);
	tarn_channel *ch;

	arena_await(step, 1);
	OK(tarn_channel_open(c, "wait", TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	/* Asked while nobody serves. */
	pid_t pid = server_of(c);
	PLAIN_EQ(kill(pid, SIGKILL), 0);
	for (unsigned i = 0; i < 20; i++)
		OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_CHECK(server_of(c) != pid);
	tarn_block *b = arena_block(c, 777);
	arena_fill(b, 5);
	OK(tarn_channel_give(ch, b, 0, TARN_FOREVER));
	PLAIN_EQ(plain_reap(child), 0);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- 2: under load ---- */

#define WORKERS 3
#define KILLS 20

struct load {
	uint32_t stop, ready;
	uint64_t calls[WORKERS], interrupted[WORKERS], longest[WORKERS], sent, received;
};

/* A counter whose calls say what it was: it grows by one for each call, or may have when that was
 * interrupted. */
struct counted {
	tarn_object *o;
	int64_t n;
	bool vague; /* n, or one more */
};

static void count(struct counted *k, const char *method, struct load *l, unsigned w)
{
	uint64_t from = scene_now();
	int64_t n = -1;
	int r = tarn_callf(k->o, method, TARN_FOREVER, "q", "q", (int64_t)1, &n);
	uint64_t took = scene_now() - from;

	if (took > l->longest[w])
		l->longest[w] = took;
	l->calls[w]++;
	if (r == -TARN_EINTERRUPTED) {
		l->interrupted[w]++;
		while ((r = tarn_callf(k->o, "inline_get", TARN_FOREVER, NULL, "q", &n)) ==
		       -TARN_EINTERRUPTED)
			;
		OK(r);
		PLAIN_CHECKF(n == k->n || n == k->n + 1, "%lld after %lld", (long long)n,
			     (long long)k->n);
		k->n = n;
		return;
	}
	PLAIN_CHECKF(r == 0, "%s: %s", method, tarn_error_last()->message);
	PLAIN_EQ(n, k->n + 1);
	k->n = n;
}

static void work(const struct arena *a, struct load *l, unsigned w)
{
	tarn_client *c = arena_client(a, NULL);
	struct counted fast = { .o = NEW(c, "Counter", "") }, slow = { .o = NEW(c, "Counter", "") };
	tarn_block *b[32] = { NULL };
	unsigned seed[32] = { 0 };
	uint64_t random = 77 + w;

	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		unsigned i = (unsigned)(scene_random(&random) % 32);

		if (b[i] != NULL) {
			PLAIN_CHECK(arena_filled(b[i], seed[i]));
			b[i] = tarn_block_unref(b[i]);
		} else {
			b[i] = arena_block(c, 1 + scene_random(&random) % 20000);
			seed[i] = (unsigned)scene_random(&random);
			arena_fill(b[i], seed[i]);
		}
		count(&fast, "inline_add", l, w);
		if (scene_random(&random) % 4 == 0)
			count(&slow, "add", l, w);
	}
	for (unsigned i = 0; i < 32; i++) {
		PLAIN_CHECK(b[i] == NULL || arena_filled(b[i], seed[i]));
		tarn_block_unref(b[i]);
	}
	PLAIN_EQ(types_integer(fast.o, "inline_get"), fast.n);
	PLAIN_EQ(types_integer(slow.o, "inline_get"), slow.n);
	tarn_object_unref(fast.o);
	tarn_object_unref(slow.o);
	tarn_client_close(c);
	_exit(0);
}

/* The last item has tag 0. */
static void produce(const struct arena *a, struct load *l)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_channel *ch;

	OK(tarn_channel_new(c, 32, "load", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	for (uint64_t n = 1; ; n++) {
		bool last = __atomic_load_n(&l->stop, __ATOMIC_ACQUIRE);
		tarn_block *b = arena_block(c, 64 + n % 3000);

		arena_fill(b, (unsigned)n);
		if (n % 3 == 0) {
			OK(tarn_channel_send(ch, b, last ? 0 : n, TARN_FOREVER));
			tarn_block_unref(b);
		} else {
			OK(tarn_channel_give(ch, b, last ? 0 : n, TARN_FOREVER));
		}
		l->sent = n;
		if (last)
			break;
	}
	tarn_channel_unref(ch);
	tarn_client_close(c);
	_exit(0);
}

static void consume(const struct arena *a, struct load *l)
{
	tarn_client *c = arena_client(a, NULL);
	uint64_t tag = 1;
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_open(c, "load", TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	for (uint64_t n = 1; tag != 0; n++) {
		OK(tarn_channel_recv(ch, &b, &tag, TARN_FOREVER));
		PLAIN_CHECK((tag == n || tag == 0) && arena_filled(b, (unsigned)n));
		tarn_block_unref(b);
		l->received = n;
	}
	tarn_channel_unref(ch);
	tarn_client_close(c);
	_exit(0);
}

static void load_say(const struct load *l, uint64_t down_worst, uint64_t down_all)
{
	uint64_t calls = 0, interrupted = 0, longest = 0;

	for (unsigned w = 0; w < WORKERS; w++) {
		calls += l->calls[w];
		interrupted += l->interrupted[w];
		longest = l->longest[w] > longest ? l->longest[w] : longest;
	}
	scene_note("%u kills, %llu calls, %llu interrupted, %llu items; from SIGKILL to the successor "
		   "%.1f ms in the mean, %.1f at most; longest call %.1f ms", KILLS,
		   (unsigned long long)calls, (unsigned long long)interrupted,
		   (unsigned long long)l->received, (double)down_all / KILLS / 1e6,
		   (double)down_worst / 1e6, (double)longest / 1e6);
}

ARENA_TEST_TIMEOUT(k2_under_load_every_call_is_answered_once_or_interrupted, 240)
{
	struct arena a;
	struct load *l = arena_shared(sizeof *l);
	uint64_t random = 4711, worst = 0, all = 0;
	pid_t pid[WORKERS + 2];

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned w = 0; w < WORKERS + 2; w++) {
		pid[w] = plain_fork();
		if (pid[w] != 0)
			continue;
		if (w == WORKERS)
			produce(&a, l);
		if (w == WORKERS + 1)
			consume(&a, l);
		work(&a, l, w);
	}
	arena_await(&l->ready, WORKERS + 2);
	for (unsigned k = 0; k < KILLS; k++) {
		const struct timespec pause = { .tv_nsec = 60000000 + (long)(scene_random(&random) %
									       100000000) };
		nanosleep(&pause, NULL);
		uint64_t from = scene_now();
		kill_server(c);
		from = scene_now() - from;
		all += from;
		worst = from > worst ? from : worst;
	}
	arena_step(&l->stop, 1);
	for (unsigned w = 0; w < WORKERS + 2; w++)
		PLAIN_EQ(plain_reap(pid[w]), 0);
	PLAIN_EQ(l->sent, l->received);
	load_say(l, worst, all);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- 4: methods that crash, and what else lived in the process ---- */

__attribute__((noinline)) static int overflow(volatile int *depth)
{
	volatile int here[1000] = { *depth };

	(*depth)++;
	return *depth < 1000000000 ? overflow(depth) + here[500] : 0;
}
static int crash_now(tarn_context *ctx, void *self)
{
	const char *how;
	int r = tarn_context_get(ctx, "s", &how);

	(void)self;
	if (r < 0)
		return r;
	if (strcmp(how, "segv") == 0)
		*(volatile int *)(uintptr_t)(strlen(how) * 4) = 1;
	else if (strcmp(how, "abort") == 0)
		abort();
	else if (strcmp(how, "kill") == 0)
		kill(getpid(), SIGKILL);
	else if (strcmp(how, "overflow") == 0)
		return overflow(&(volatile int){ 0 });
	else if (strcmp(how, "exit") == 0)
		_exit(3);
	return tarn_put_int(tarn_context_result(ctx), 1);
}
static void crash_at_the_end(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	abort();
}
static const tarn_method crasher_methods[] = {
	{ "crash", crash_now, TARN_METHOD_INLINE, "s", "q", NULL },
	{ "crash_slowly", crash_now, 0, "s", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type crasher_type = { .name = "Crasher", .size = 8, .flags = TARN_TYPE_INLINE,
					.methods = crasher_methods };
TARN_TYPE_REGISTER(crasher_type)
static const tarn_type born_crashing_type = { .name = "BornCrashing", .size = 8, .args = "s",
					      .flags = TARN_TYPE_INLINE, .create = crash_now };
TARN_TYPE_REGISTER(born_crashing_type)
static const tarn_type slowly_born_type = { .name = "SlowlyBornCrashing", .size = 8, .args = "s",
					    .create = crash_now };
TARN_TYPE_REGISTER(slowly_born_type)
static const tarn_type end_crashing_type = { .name = "EndCrashing", .size = 8,
					     .flags = TARN_TYPE_INLINE,
					     .destroy = crash_at_the_end };
TARN_TYPE_REGISTER(end_crashing_type)
static void crash_when_told(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	(void)self;
	(void)client;
	abort();
}
static const tarn_type told_type = { .name = "CrashesWhenTold", .size = 8, .flags = TARN_TYPE_INLINE,
				     .departed = crash_when_told };
TARN_TYPE_REGISTER(told_type)
static void die_when_told(tarn_context *ctx, void *self, uint32_t client)
{
	(void)ctx;
	(void)self;
	(void)client;
	kill(getpid(), SIGKILL);
}
static const tarn_type killed_type = { .name = "KilledWhenTold", .size = 8, .flags = TARN_TYPE_INLINE,
				       .departed = die_when_told };
TARN_TYPE_REGISTER(killed_type)
static const tarn_type slow_end_type = { .name = "SlowEndCrashing", .size = 8,
					 .destroy = crash_at_the_end };
TARN_TYPE_REGISTER(slow_end_type)

/* With pointers of the process. */
struct own {
	char *text;
};
static int own_create(tarn_context *ctx, void *self)
{
	(void)ctx;
	((struct own *)self)->text = strdup("here");
	return 0;
}
static void own_destroy(tarn_context *ctx, void *self)
{
	(void)ctx;
	free(((struct own *)self)->text);
}
static int own_get(tarn_context *ctx, void *self)
{
	return tarn_put_string(tarn_context_result(ctx), ((struct own *)self)->text);
}
static int own_describe(const void *self, char *text, size_t bytes)
{
	return snprintf(text, bytes, "Own(%s)", ((const struct own *)self)->text);
}
static const tarn_method own_methods[] = {
	{ "get", own_get, TARN_METHOD_INLINE, "", "s", NULL },
	{ "get_slowly", own_get, 0, "", "s", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type own_type = { .name = "Own", .size = sizeof(struct own),
				    .flags = TARN_TYPE_INLINE | TARN_TYPE_PRIVATE,
				    .create = own_create, .destroy = own_destroy,
				    .describe = own_describe, .methods = own_methods };
TARN_TYPE_REGISTER(own_type)

/* One method on the reactor, which it ends, while another of the same object is done on an executor. */
struct both {
	int32_t begun, inside; /* atomic */
	int64_t n;             /* atomic */
};
static int both_add(tarn_context *ctx, void *self)
{
	struct both *b = self;

	__atomic_store_n(&b->begun, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&b->inside, __ATOMIC_ACQUIRE))
		sched_yield();
	return tarn_put_int(tarn_context_result(ctx), __atomic_add_fetch(&b->n, 1, __ATOMIC_ACQ_REL));
}
static int both_die(tarn_context *ctx, void *self)
{
	struct both *b = self;

	(void)ctx;
	__atomic_store_n(&b->inside, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&b->n, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
	/* Mostly the other says its result meanwhile. If not, it is interrupted. */
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
	kill(getpid(), SIGKILL);
	return 0;
}
static int both_begun(tarn_context *ctx, void *self)
{
	struct both *b = self;

	return tarn_put_int(tarn_context_result(ctx), __atomic_load_n(&b->begun, __ATOMIC_ACQUIRE));
}
static int both_get(tarn_context *ctx, void *self)
{
	struct both *b = self;

	return tarn_put_int(tarn_context_result(ctx), __atomic_load_n(&b->n, __ATOMIC_ACQUIRE));
}
static const tarn_method both_methods[] = {
	{ "add", both_add, 0, "", "q", NULL },
	{ "die", both_die, TARN_METHOD_INLINE, "", "", NULL },
	{ "begun", both_begun, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "q", NULL },
	{ "get", both_get, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "q", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type both_type = { .name = "Both", .size = sizeof(struct both), .flags = TARN_TYPE_INLINE,
				     .concurrency = TARN_PARALLEL, .methods = both_methods };
TARN_TYPE_REGISTER(both_type)

static void says(const char *text)
{
	PLAIN_CHECKF(strstr(tarn_error_last()->message, text) != NULL, "\"%s\" does not say %s",
		     tarn_error_last()->message, text);
}

/* The call @r failed with a fault of domain Signal. */
static void died_of(int r, const char *signal, const char *method)
{
	PLAIN_CHECKF(r == -TARN_EREMOTE, "%s: %s", tarn_error_name(r), tarn_error_last()->message);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "Signal"));
	says(signal);
	says(method);
}

static void crash_skip(void)
{
	if (ARENA_ASAN || getenv("TARN_VALGRIND") != NULL)
		PLAIN_SKIP("the sanitizer takes signals for itself");
}

static void crash(const struct arena_kind *kind, const char *method)
{
	struct arena a;
	char name[64];

	crash_skip();
	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_object *o = NEW(c, "Crasher", ""), *m = NEW(d, "Magnifier", "d", 2.0);
	int64_t n = 0;
	pid_t pid = server_of(c);

	snprintf(name, sizeof name, "Crasher.%s", method);
	died_of(tarn_callf(o, method, TARN_FOREVER, "s", "q", "segv", &n), "SIGSEGV", name);
	PLAIN_CHECK(server_of(c) != pid);
	PLAIN_CHECK(types_scale(m, 4) == 8);
	died_of(tarn_callf(o, method, TARN_FOREVER, "s", "q", "abort", &n), "SIGABRT", name);
	died_of(tarn_callf(o, method, TARN_FOREVER, "s", "q", "overflow", &n), "SIGSEGV", name);
	FAILS(tarn_callf(o, method, TARN_FOREVER, "s", "q", "kill", &n), TARN_EINTERRUPTED);
	says(name);
	FAILS(tarn_callf(o, method, TARN_FOREVER, "s", "q", "exit", &n), TARN_EINTERRUPTED);
	/* The object is none the worse for it. */
	OK(tarn_callf(o, method, TARN_FOREVER, "s", "q", "not at all", &n));
	PLAIN_EQ(n, 1);
	/* Nobody waits for this one. */
	tarn_builder args;
	tarn_builder_init(&args);
	OK(tarn_put_string(&args, "segv"));
	pid = server_of(c);
	OK(tarn_cast(o, method, &args));
	tarn_builder_fini(&args);
	await_successor(c, pid);
	OK(tarn_callf(o, method, TARN_FOREVER, "s", "q", "not at all", &n));
	tarn_object_unref(o);
	tarn_object_unref(m);
	tarn_client_close(d);
	tarn_client_close(c);
	arena_end(&a);
}
ARENA_TEST(k4_an_inline_method_that_crashes_fails_by_its_signal) { crash(kind, "crash"); }
ARENA_TEST(k4_a_method_that_crashes_fails_by_its_signal) { crash(kind, "crash_slowly"); }

ARENA_TEST(k4_creators_and_destructors_that_crash_do_so_once)
{
	struct arena a;
	tarn_object *o;

	crash_skip();
	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	died_of(tarn_object_newf(c, "BornCrashing", &o, "s", "segv"), "SIGSEGV",
		"BornCrashing.create");
	died_of(tarn_object_newf(c, "SlowlyBornCrashing", &o, "s", "abort"), "SIGABRT",
		"SlowlyBornCrashing.create");
	for (unsigned i = 0; i < 2; i++) {
		pid_t pid = server_of(c);

		o = NEW(c, i == 0 ? "EndCrashing" : "SlowEndCrashing", "");
		tarn_object_unref(o);
		OK(tarn_client_flush(c, false, TARN_FOREVER));
		await_successor(c, pid);
		pid = server_of(c);
		arena_settle(c);
		PLAIN_EQ(server_of(c), pid);
	}
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k4_an_object_that_crashes_when_a_client_is_gone_is_not_told_again)
{
	struct arena a;

	crash_skip();
	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d;
	tarn_object *one = NEW(c, "CrashesWhenTold", ""), *two = NEW(c, "CrashesWhenTold", "");
	d = arena_client(&a, NULL);
	pid_t pid = server_of(c);
	tarn_client_close(d); /* returns when it is reclaimed */
	/* Once for each, and for the hosts of the servers that died of it. */
	tarn_object_unref(one);
	tarn_object_unref(two);
	arena_settle(c);
	PLAIN_CHECK(server_of(c) != pid);
	tarn_client_close(c);
	arena_end(&a);
}

/* Its servers were killed by others, as one cannot but think; the keeper gave the arena up. */
ARENA_TEST(k4_an_object_that_is_killed_whenever_a_client_is_gone_is_not_told_for_ever)
{
	struct arena a;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_object *one = NEW(c, "KilledWhenTold", ""), *two = NEW(c, "KilledWhenTold", "");
	pid_t pid = server_of(c);
	tarn_client_close(d);
	await_successor(c, pid);
	OK(tarn_client_ping(c, TARN_FOREVER));
	arena_settle(c);
	tarn_object_unref(one);
	tarn_object_unref(two);
	arena_settle(c);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k4_others_calls_are_interrupted_and_not_blamed)
{
	struct arena a;
	tarn_pending *sleep[4];
	int64_t n;

	crash_skip();
	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_object *o = NEW(c, "Crasher", ""), *s = NEW(c, "Sleeper", "");
	for (unsigned i = 0; i < 4; i++)
		OK(tarn_call_start(s, "wait", NULL, &sleep[i]));
	PLAIN_WAIT_FOR(types_integer(s, "waiting") == 4);
	died_of(tarn_callf(o, "crash_slowly", TARN_FOREVER, "s", "q", "segv", &n), "SIGSEGV",
		"Crasher.crash_slowly");
	for (unsigned i = 0; i < 4; i++) {
		FAILS(tarn_call_wait(sleep[i], NULL, TARN_FOREVER), TARN_EINTERRUPTED);
		says("Sleeper.wait");
		tarn_call_free(sleep[i]);
	}
	PLAIN_EQ(types_integer(s, "waiting"), 0);
	tarn_object_unref(s);
	tarn_object_unref(o);
	tarn_client_close(c);
	arena_end(&a);
}

/* What was answered stays, also if the server dies in another method of the object. */
ARENA_TEST(k4_what_an_executor_did_meanwhile_is_not_undone_with_an_inline_method)
{
	struct arena a;
	tarn_pending *add;
	tarn_parcel p;
	int64_t n = 0;
	int r;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_object *o = NEW(c, "Both", "");
	OK(tarn_call_start(o, "add", NULL, &add));
	PLAIN_WAIT_FOR(types_integer(o, "begun") == 1);
	FAILS(tarn_call(o, "die", NULL, NULL, TARN_FOREVER), TARN_EINTERRUPTED);
	says("may or may not have run");
	r = tarn_call_wait(add, &p, TARN_FOREVER);
	PLAIN_CHECKF(r == 0 || r == -TARN_EINTERRUPTED, "%s", tarn_error_last()->message);
	if (r == 0) {
		OK(tarn_parcel_get(&p, "q", &n));
		tarn_parcel_fini(&p);
		PLAIN_EQ(n, 1);
		PLAIN_EQ(types_integer(o, "get"), 1);
	}
	tarn_call_free(add);
	tarn_object_unref(o);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k4_private_objects_are_lost_and_say_so)
{
	struct arena a;
	char text[64];
	tarn_parcel p;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_object *o = NEW(c, "Own", ""), *late;
	OK(tarn_call(o, "get", NULL, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
	kill_server(c);
	FAILS(tarn_call(o, "get", NULL, &p, TARN_FOREVER), TARN_ESTALE);
	says("TARN_TYPE_PRIVATE");
	FAILS(tarn_call(o, "get_slowly", NULL, &p, TARN_FOREVER), TARN_ESTALE);
	/* Nor can a method that calls it in place. */
	tarn_object *caller = NEW(c, "Caller", "");
	tarn_builder b;
	tarn_builder_init(&b);
	OK(tarn_put(&b, "Os", o, "get"));
	PLAIN_CHECK(tarn_call(caller, "call", &b, &p, TARN_FOREVER) < 0);
	says("TARN_TYPE_PRIVATE");
	says("lost with the process of its server");
	tarn_builder_fini(&b);
	tarn_object_unref(caller);
	tarn_object_describe(o, text, sizeof text, TARN_FOREVER);
	tarn_object_row *row;
	size_t rows;
	OK(tarn_inspector_objects(a.inspector, &row, &rows));
	free(row);
	late = NEW(c, "Own", "");
	OK(tarn_call(late, "get", NULL, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
	tarn_object_unref(late);
	tarn_object_unref(o);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- 5: more than the server ---- */

ARENA_TEST(k5_a_client_that_dies_with_the_server_is_reclaimed)
{
	struct arena a;
	uint32_t *step = arena_shared(sizeof *step);

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_channel *ch;
	tarn_block *b;
	OK(tarn_channel_new(c, 8, "shared", &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	pid_t child = plain_fork();
	if (child == 0) {
		tarn_client *mine = arena_client(&a, NULL);
		tarn_channel *to;

		OK(tarn_channel_open(mine, "shared", TARN_FOREVER, &to));
		OK(tarn_channel_bind(to, TARN_PRODUCER));
		for (unsigned i = 0; i < 100; i++)
			arena_fill(arena_block(mine, 1000 + i), i);
		b = arena_block(mine, 100);
		arena_fill(b, 1);
		OK(tarn_channel_give(to, b, 1, TARN_FOREVER));
		NEW(mine, "Magnifier", "d", 1.0);
		arena_step(step, 1);
		pause();
	}
	arena_await(step, 1);
	pid_t pid = server_of(c);
	PLAIN_EQ(kill(pid, SIGSTOP), 0); /* neither sees the other's end */
	plain_kill(child);
	PLAIN_EQ(kill(pid, SIGKILL), 0);
	await_successor(c, pid);
	OK(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER));
	PLAIN_CHECK(arena_filled(b, 1));
	tarn_block_unref(b);
	FAILS(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(k5_without_its_keeper_a_server_goes_on_and_has_no_successor)
{
	struct arena a;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 100);
	kill_server(c);
	PLAIN_EQ(kill(a.pid, SIGKILL), 0);
	int status;
	OK(tarn_server_wait(a.server, TARN_FOREVER, &status));
	PLAIN_EQ(status, -SIGKILL);
	tarn_client *d = arena_client(&a, NULL);
	for (unsigned i = 0; i < 10; i++)
		OK(tarn_client_ping(d, TARN_FOREVER));
	tarn_client_close(d);
	PLAIN_EQ(kill(server_of(c), SIGKILL), 0);
	int r;
	while ((r = tarn_client_ping(c, TARN_FOREVER)) == 0)
		;
	PLAIN_EQ(r, -TARN_ESRVDOWN);
	tarn_block_unref(b);
	tarn_client_close(c);
	tarn_inspector_close(a.inspector);
	PLAIN_EQ(tarn_server_shutdown(a.server, SECOND), 2);
	tarn_server_unref(a.server);
}

ARENA_TEST(k5_a_server_that_outlived_its_keeper_ends_with_its_object)
{
	struct arena a;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(kill(a.pid, SIGKILL), 0);
	OK(tarn_server_wait(a.server, TARN_FOREVER, NULL));
	OK(tarn_client_ping(c, TARN_FOREVER));
	tarn_inspector_close(a.inspector);
	PLAIN_EQ(tarn_server_shutdown(a.server, 30 * SECOND), 2);
	FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
	tarn_client_close(c);
	tarn_server_unref(a.server);
}

ARENA_TEST(k5_a_server_that_dies_again_and_again_is_given_up)
{
	struct arena a;
	unsigned kills = 0;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 100);
	arena_fill(b, 3);
	pid_t last = 0;
	int r;
	/* As soon as it is there. */
	while ((r = tarn_client_ping(c, 1000000)) == 0 || r == -ETIMEDOUT) {
		pid_t pid = server_of(c);

		if (pid != last && kill(pid, SIGKILL) == 0) {
			last = pid;
			kills++;
		}
	}
	PLAIN_EQ(r, -TARN_ESRVDOWN);
	PLAIN_CHECKF(kills >= 10 && kills < 1000, "%u kills", kills);
	PLAIN_CHECK(arena_filled(b, 3)); /* what is mapped stays */
	int status;
	OK(tarn_server_wait(a.server, TARN_FOREVER, &status));
	PLAIN_EQ(status, 1);
	tarn_block_unref(b);
	tarn_client_close(c);
	tarn_inspector_close(a.inspector);
	PLAIN_EQ(tarn_server_shutdown(a.server, SECOND), 2);
	tarn_server_unref(a.server);
}

ARENA_TEST_TIMEOUT(k5_attaching_goes_through_whenever_the_server_is_killed, 120)
{
	struct arena a;
	uint32_t *stop = arena_shared(sizeof *stop), *opened = arena_shared(sizeof *opened);
	pid_t pid[2];
	uint64_t random = 99;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned w = 0; w < 2; w++) {
		pid[w] = plain_fork();
		if (pid[w] != 0)
			continue;
		while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
			tarn_client *mine = arena_client(&a, NULL);

			tarn_block_unref(arena_block(mine, 10000));
			OK(tarn_client_ping(mine, TARN_FOREVER));
			tarn_client_close(mine);
			__atomic_add_fetch(opened, 1, __ATOMIC_RELAXED);
		}
		_exit(0);
	}
	for (unsigned k = 0; k < 15; k++) {
		const struct timespec pause = { .tv_nsec = 60000000 + (long)(scene_random(&random) %
									       20000000) };
		nanosleep(&pause, NULL);
		kill_server(c);
	}
	arena_step(stop, 1);
	PLAIN_EQ(plain_reap(pid[0]), 0);
	PLAIN_EQ(plain_reap(pid[1]), 0);
	scene_note("%u clients came and went over 15 servers", *opened);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_TEST(k5_who_shuts_it_down_ends_keeper_and_server)
{
	struct arena a;

	kept_start(&a, NULL);
	tarn_client *c = arena_client(&a, NULL);
	kill_server(c);
	tarn_client_close(c);
	arena_end(&a); /* by the control socket, in order */

	kept_start(&a, NULL);
	c = arena_client(&a, NULL);
	kill_server(c);
	PLAIN_EQ(kill(a.pid, SIGTERM), 0); /* the keeper sends it on */
	int status;
	OK(tarn_server_wait(a.server, TARN_FOREVER, &status));
	PLAIN_EQ(status, 0);
	FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
	tarn_client_close(c);
	tarn_inspector_close(a.inspector);
	tarn_server_unref(a.server);
}

PLAIN_TEST(k5_a_keeper_ends_with_the_process_that_owns_it)
{
	struct arena a;
	pid_t *keeper = arena_shared(sizeof *keeper);
	char *name = arena_shared(128);

	pid_t child = plain_fork();
	if (child == 0) {
		kept_start(&a, NULL);
		*keeper = a.pid;
		snprintf(name, 128, "%s", a.name);
		tarn_client *c = arena_client(&a, NULL);
		kill_server(c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_WAIT_FOR(tarn__process_start(*keeper) == 0);
	tarn_client *c;
	FAILS(tarn_client_open(name, NULL, &c), ENOENT);
}

static void *idle(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}
PLAIN_TEST(k5_a_process_with_threads_is_no_keeper)
{
	const tarn_server_options o = { .keep = true, .arena_bytes = 1 << 20, .name = "threads" };
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, idle, NULL), 0);
	FAILS(tarn_server_run(&o), EBUSY);
}

static unsigned names_of(pid_t pid)
{
	tarn_leftover *row;
	unsigned named = 0;
	size_t n;

	OK(tarn_leftovers_list(&row, &n));
	for (size_t i = 0; i < n; i++) {
		if (row[i].pid != (int)pid || row[i].kind != TARN_LEFTOVER_SEGMENT)
			continue;
		named++;
		PLAIN_EQ(row[i].state, TARN_LEFTOVER_LIVING);
	}
	free(row);
	return named;
}

PLAIN_TEST(k5_kept_names_stay_and_go_with_the_arena)
{
	const tarn_server_options o = { .keep = true, .keep_names = true, .arena_bytes = 8 << 20 };
	struct arena a;

	arena_start(&a, NULL, &o);
	tarn_client *c = arena_client(&a, NULL);
	/* Those of the last server's host of objects go when that is reclaimed. */
	unsigned named = names_of(a.pid);
	kill_server(c);
	PLAIN_WAIT_FOR(names_of(a.pid) == named);
	kill_server(c);
	PLAIN_WAIT_FOR(names_of(a.pid) == named);
	tarn_client_close(c);
	arena_end(&a); /* the harness looks for names that are left */
}

/* ---- what the keeper cannot do at the moment ---- */

/* It cannot watch the server that it has just forked: that one served on with nobody to replace it,
 * or beside the next one. */
PLAIN_TEST(k8_a_server_that_cannot_be_watched_does_not_stay)
{
	const tarn_server_options o = { .keep = true, .arena_bytes = 1 << 20, .name = "k8" };
	pid_t pid = plain_fork();

	if (pid == 0) {
		PLAIN_EQ(tarn_test__refuse(SYS_pidfd_open, SYS_pidfd_open, ENOMEM), 0);
		FAILS(tarn_server_run(&o), ENOMEM);
		PLAIN_EQ(waitpid(-1, NULL, WNOHANG), -1);
		PLAIN_EQ(errno, ECHILD);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
}

/* In the keeper, when it says that a successor takes over: from here on it cannot fork. */
static void forbid_forks(void *arg, int level, const char *line)
{
	uint32_t *said = arg;

	(void)level;
	if (strstr(line, "takes over") == NULL || *said != 0)
		return;
	PLAIN_EQ(tarn_test__refuse(SYS_clone, SYS_clone, EAGAIN), 0);
	scene_say(said, 1);
}
PLAIN_TEST(k8_a_keeper_that_cannot_fork_can_be_ended)
{
	uint32_t *said = scene_shared(sizeof *said);
	const tarn_server_options o = { .keep = true, .arena_bytes = 1 << 20, .name = "k8",
					.log = forbid_forks, .log_arg = said };
	pid_t pid = plain_fork();
	tarn_client *c;

	if (pid == 0)
		_exit(tarn_server_run(&o) == 0 ? 0 : 1);
	while (tarn_client_open("k8", NULL, &c) < 0)
		usleep(1000);
	PLAIN_EQ(kill(server_of(c), SIGKILL), 0);
	scene_await(said, 1);
	PLAIN_EQ(kill(pid, SIGTERM), 0);
	PLAIN_EQ(plain_reap(pid), 0);
	FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
	tarn_client_close(c);
}

TARN_ENTRY(fails_where_it_is_told)
{
	(void)arg, (void)bytes;
	return armed("initializer") ? -ENOMEM : 0;
}
/* As if it had been killed, and not as the end of all. */
ARENA_TEST(k8_a_successor_that_fails_for_now_is_followed_by_another)
{
	const tarn_server_options o = { .keep = true, .arena_bytes = 64u << 20,
					.initializer = "fails_where_it_is_told" };
	struct arena a;
	tarn_block *b;

	setenv("TARN_VERIFY", "1", 1);
	arena_start(&a, kind, &o);
	tarn_client *c = arena_client(&a, NULL);
	b = arena_block(c, 5000);
	arena_fill(b, 3);
	arm("initializer");
	kill_server(c);
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_CHECK(!armed("initializer"));
	PLAIN_CHECK(arena_filled(b, 3));
	tarn_block_unref(b);
	arena_settle(c);
	tarn_client_close(c);
	arena_end(&a);
}

/* Each client that came or went then held the server up for the time that it waits for its keeper. */
PLAIN_TEST_TIMEOUT(k8_a_stopped_keeper_does_not_stop_its_server, 60)
{
	unsigned opened = 0, refused = 0, before;
	struct arena a;
	pid_t server;

	kept_start(&a, NULL);
	tarn_client *c = arena_client(&a, NULL), *d;
	/* The keeper reads what it is told when it gets to it; for a successor it has read it all. */
	kill_server(c);
	OK(tarn_client_ping(c, TARN_FOREVER));
	arena_settle(c);
	before = arena_fds(a.pid);
	PLAIN_EQ(kill(a.pid, SIGSTOP), 0);
	while (opened < 2000 && refused < 40) {
		if (tarn_client_open(a.name, NULL, &d) < 0) {
			refused++;
			continue;
		}
		opened++;
		tarn_client_close(d);
		OK(tarn_client_ping(c, TARN_FOREVER));
	}
	scene_note("%u opened, then %u refused", opened, refused);
	PLAIN_EQ(refused, 40); /* a newcomer that a successor would not know */
	server = server_of(c);
	PLAIN_EQ(kill(a.pid, SIGCONT), 0);
	while (tarn_client_open(a.name, NULL, &d) < 0)
		usleep(1000);
	tarn_client_close(d);
	/* The keeper was told of all ends. */
	PLAIN_WAIT_FOR(arena_fds(a.pid) == before);
	PLAIN_EQ(server_of(c), server);
	kill_server(c);
	OK(tarn_client_ping(c, TARN_FOREVER));
	arena_settle(c);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_MAIN()
