/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executors: methods that take long, calls within calls, callers that do not wait.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/arena.h"
#include "tarn/object.h"
#include "tarn/type.h"

#define OK(call) PLAIN_CHECKF((call) >= 0, "%s: %s", #call, tarn_error_last()->message)

/* ---- types; the server runs in a thread of ours, so tests look at what methods did ---- */

static unsigned running, most, started, destroyed;

static unsigned seen(const unsigned *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void enter(void)
{
	unsigned now = __atomic_add_fetch(&running, 1, __ATOMIC_ACQ_REL);
	unsigned old = __atomic_load_n(&most, __ATOMIC_ACQUIRE);

	__atomic_add_fetch(&started, 1, __ATOMIC_ACQ_REL);
	while (now > old &&
	       !__atomic_compare_exchange_n(&most, &old, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

static void leave(void)
{
	__atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
}

static int nap(tarn_context *ctx, void *self)
{
	int ms = 0, r = tarn_context_get(ctx, "i", &ms);

	(void)self;
	enter();
	if (r == 0)
		usleep((useconds_t)ms * 1000);
	leave();
	return r;
}

/* Until it is canceled. */
static int hang(tarn_context *ctx, void *self)
{
	(void)self;
	enter();
	while (!tarn_context_canceled(ctx))
		usleep(1000);
	leave();
	return 0;
}

/* Until the test says so. */
static unsigned go;
static int wait_go(tarn_context *ctx, void *self)
{
	(void)self;
	enter();
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE) && !tarn_context_canceled(ctx))
		usleep(200);
	leave();
	return 0;
}

/* Until two are there. */
static unsigned met;
static int meet(tarn_context *ctx, void *self)
{
	(void)self;
	__atomic_add_fetch(&met, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&met, __ATOMIC_ACQUIRE) < 2 && !tarn_context_canceled(ctx))
		usleep(200);
	return 0;
}

/* Hands itself to its peer, then takes its time. */
static int shy_create(tarn_context *ctx, void *self)
{
	tarn_object *peer;
	int r = tarn_context_get(ctx, "O", &peer);

	if (r == 0)
		r = tarn_callf(peer, "set_peer", TARN_FOREVER, "O", NULL, tarn_context_self(ctx));
	return r < 0 ? r : wait_go(ctx, self);
}

/* Fails, with many handles that end after the result was sent. */
static int slow_create(tarn_context *ctx, void *self)
{
	tarn_object *peer, *again;
	int r = tarn_context_get(ctx, "O", &peer);

	(void)self;
	for (int i = 0; i < 100000 && r == 0; i++)
		r = tarn_self_object(ctx, tarn_object_id(peer), &again);
	return r < 0 ? r : tarn_throw(ctx, "ValueError", "not today");
}
static const tarn_type slow = { .name = "Slow", .create = slow_create };

struct counter {
	int64_t value;
	uint64_t peer;
};

static int counter_create(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	int r = tarn_context_get(ctx, "|q", &c->value);

	if (r == 0 && c->value == -1)
		return tarn_throw(ctx, "ValueError", "minus one");
	return r;
}

static void counter_destroy(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_ACQ_REL);
}

static int add(tarn_context *ctx, void *self)
{
	volatile struct counter *c = self;
	int64_t n, seen;
	int r = tarn_context_get(ctx, "q", &n);

	if (r < 0)
		return r;
	seen = c->value;
	for (volatile int i = 0; i < 20; i++)
		;
	c->value = seen + n;
	return tarn_put_int(tarn_context_result(ctx), c->value);
}

static int set_peer(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	tarn_object *peer;
	int r = tarn_context_get(ctx, "O", &peer);

	if (r == 0)
		r = tarn_self_hold(ctx, peer);
	if (r == 0)
		c->peer = tarn_object_id(peer);
	return r;
}

static int drop_peer(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	uint64_t id = c->peer;

	c->peer = 0;
	return tarn_self_drop(ctx, id);
}

static int get_peer(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	tarn_object *peer;
	int r = tarn_self_object(ctx, c->peer, &peer);

	return r < 0 ? r : tarn_put_object(tarn_context_result(ctx), peer);
}

/* Calls its peer, which calls its own, @n times. */
static int bounce(tarn_context *ctx, void *self)
{
	struct counter *c = self;
	tarn_object *peer;
	int64_t n, below = 0;
	int r = tarn_context_get(ctx, "q", &n);

	if (r == 0 && n > 0)
		r = tarn_self_object(ctx, c->peer, &peer);
	if (r == 0 && n > 0)
		r = tarn_callf(peer, "bounce", TARN_FOREVER, "q", "q", n - 1, &below);
	if (r == -TARN_EREMOTE)
		return tarn_rethrow(ctx);
	if (r < 0)
		return r;
	if (n == 0 && c->value == 13)
		return tarn_throw(ctx, "KeyError", "thirteen");
	return tarn_put_int(tarn_context_result(ctx), below + 1);
}

static int spawn(tarn_context *ctx, void *self)
{
	struct counter *c = self;

	return tarn_put_int(tarn_context_result(ctx), c->value + 100);
}

static int make_two(tarn_context *ctx, void *self)
{
	tarn_object *a, *b;
	tarn_block *block;
	tarn_builder args;
	int64_t second;
	int r = tarn_context_get(ctx, "q", &second);

	(void)self;
	tarn_builder_init(&args);
	tarn_put_int(&args, 1);
	if (r == 0)
		r = tarn_managed(ctx, "Counter", &args, &a);
	tarn_builder_reset(&args);
	tarn_put_int(&args, second);
	if (r == 0)
		r = tarn_managed(ctx, "Counter", &args, &b);
	tarn_builder_fini(&args);
	if (r == -TARN_EREMOTE)
		return tarn_rethrow(ctx);
	if (r == 0)
		r = tarn_block_new(tarn_context_client(ctx), 5000, 0, &block);
	if (r < 0)
		return r;
	memset(tarn_block_data(block), 'b', 5000);
	r = tarn_put(tarn_context_result(ctx), "{s:O s:[OB] s:s}", "first", a, "rest", b, block, "text",
		     "plain");
	tarn_block_unref(block);
	return r;
}

static int echo(tarn_context *ctx, void *self)
{
	(void)self;
	for (unsigned i = 0; i < tarn_parcel_count(tarn_context_args(ctx)); i++)
		tarn_put_value(tarn_context_result(ctx), tarn_parcel_at(tarn_context_args(ctx), i));
	return 0;
}

static tarn_object *kept;
static int keep(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	(void)self;
	if (r == 0)
		kept = tarn_object_ref(o);
	return r;
}

static int unkeep(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	kept = tarn_object_unref(kept);
	return 0;
}

static int inline_value(tarn_context *ctx, void *self)
{
	struct counter *c = self;

	return tarn_put_int(tarn_context_result(ctx), c->value);
}

static int me(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_managed_of(ctx, self, &o);

	return r < 0 ? r : tarn_put(tarn_context_result(ctx), "OO", o, tarn_context_self(ctx));
}

static const tarn_method methods[] = {
	{ "nap", nap, 0, "i", NULL, NULL },	   { "hang", hang, 0, NULL, NULL, NULL },
	{ "add", add, 0, "q", NULL, NULL },	   { "set_peer", set_peer, 0, "O", NULL, NULL },
	{ "drop_peer", drop_peer, 0, "", NULL, NULL }, { "get_peer", get_peer, 0, "", NULL, NULL },
	{ "bounce", bounce, 0, "q", NULL, NULL },  { "spawn", spawn, 0, "", NULL, "Counter" },
	{ "make_two", make_two, 0, NULL, NULL, NULL }, { "echo", echo, 0, NULL, NULL, NULL },
	{ "keep", keep, 0, NULL, NULL, NULL },	   { "unkeep", unkeep, 0, NULL, NULL, NULL },
	{ "value", inline_value, TARN_METHOD_INLINE | TARN_METHOD_READ, "", NULL, NULL },
	{ "wait_go", wait_go, 0, "", NULL, NULL },
	{ "me", me, 0, "", NULL, NULL },	   { "rnap", nap, TARN_METHOD_READ, "i", NULL, NULL },
	{ 0 },
};
static const tarn_type counter = { .name = "Counter", .size = sizeof(struct counter),
				   .create = counter_create, .destroy = counter_destroy,
				   .methods = methods };
static const tarn_type parallel = { .name = "Parallel", .size = sizeof(struct counter),
				    .create = counter_create, .concurrency = TARN_PARALLEL, .methods = methods };
static const tarn_type mostly = { .name = "Mostly", .size = sizeof(struct counter),
				  .create = counter_create, .concurrency = TARN_READ_MOSTLY, .methods = methods };
static const tarn_method shy_methods[] = { { "meet", meet, 0, "", NULL, NULL }, { 0 } };
static const tarn_type shy = { .name = "Shy", .create = shy_create, .concurrency = TARN_PARALLEL,
			       .methods = shy_methods };

/* Gives the one that there is, if it lives: remembers its id, which keeps nothing alive. */
static uint64_t singleton;
static int mag_create(tarn_context *ctx, void *self)
{
	tarn_object *there;

	(void)self;
	if (singleton != 0 && tarn_self_object(ctx, singleton, &there) == 0)
		return tarn_context_return_object(ctx, there);
	singleton = tarn_object_id(tarn_context_self(ctx));
	return 0;
}
static void mag_destroy(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_ACQ_REL);
}
static const tarn_type mag = { .name = "Mag", .create = mag_create, .destroy = mag_destroy };

/* ---- scenes ---- */

struct scene {
	struct arena a;
	tarn_registry *registry;
	tarn_client *c;
};

static void scene_begin(struct scene *s, uint32_t executors)
{
	s->registry = tarn_registry_new();
	tarn_server_options o = { .arena_bytes = 64 << 20, .max_executors = executors };

	OK(tarn_type_register(s->registry, &counter));
	OK(tarn_type_register(s->registry, &parallel));
	OK(tarn_type_register(s->registry, &mostly));
	OK(tarn_type_register(s->registry, &mag));
	OK(tarn_type_register(s->registry, &shy));
	OK(tarn_type_register(s->registry, &slow));
	o.registry = s->registry;
	arena_start_thread(&s->a, NULL, &o);
	s->c = arena_client(&s->a, NULL);
}

static void scene_close(struct scene *s)
{
	tarn_client_close(s->c);
	arena_end(&s->a);
	tarn_registry_free(s->registry);
}

static tarn_object *make(struct scene *s, const char *type, int64_t value)
{
	tarn_object *o;

	OK(tarn_object_newf(s->c, type, &o, "q", value));
	return o;
}

static int64_t call_q(tarn_object *o, const char *method, int64_t arg)
{
	int64_t y;

	OK(tarn_callf(o, method, TARN_FOREVER, "q", "q", arg, &y));
	return y;
}

/* ---- tests ---- */

PLAIN_TEST(d1_a_method_runs_on_an_executor_and_answers)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Counter", 5);

	PLAIN_EQ(call_q(o, "add", 3), 8);
	PLAIN_EQ(call_q(o, "add", 3), 11);
	tarn_object_unref(o);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 1);
}

PLAIN_TEST(r10_a_failing_creator_on_an_executor_leaves_nothing)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o;

	for (int i = 0; i < 200; i++) {
		PLAIN_EQ(tarn_object_newf(s.c, "Counter", &o, "q", (int64_t)-1), -TARN_EREMOTE);
		PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	}
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 0);
}

PLAIN_TEST(r10_an_index_is_used_again_before_the_creator_that_failed_has_left)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *peer = make(&s, "Counter", 0), *o;

	for (int i = 0; i < 30; i++) {
		PLAIN_EQ(tarn_object_newf(s.c, "Slow", &o, "O", peer), -TARN_EREMOTE);
		PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	}
	tarn_object_unref(peer);
	scene_close(&s);
}

struct caller {
	pthread_t thread;
	tarn_object *o;
	const char *method;
	int64_t arg;
	int times;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned threads(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/task");

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2;
}

static void *call_some(void *arg)
{
	struct caller *c = arg;
	tarn_parcel p;

	for (int i = 0; i < c->times; i++) {
		tarn_builder b;

		tarn_builder_init(&b);
		tarn_put_int(&b, c->arg);
		OK(tarn_call(c->o, c->method, &b, &p, TARN_FOREVER));
		tarn_parcel_fini(&p);
		tarn_builder_fini(&b);
	}
	return NULL;
}

static void call_from(struct caller *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		PLAIN_EQ(pthread_create(&c[i].thread, NULL, call_some, &c[i]), 0);
	for (unsigned i = 0; i < n; i++)
		PLAIN_EQ(pthread_join(c[i].thread, NULL), 0);
}

PLAIN_TEST(d3_a_hundred_calls_of_half_a_second_run_fifty_at_a_time)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Parallel", 0);
	struct caller c[50];

	for (unsigned i = 0; i < 50; i++)
		c[i] = (struct caller){ .o = o, .method = "nap", .arg = 500, .times = 2 };
	uint64_t begun = now_ns();
	call_from(c, 50);
	fprintf(stderr, "100 calls of 0.5 s from 50 threads took %.2f s\n", (double)(now_ns() - begun) * 1e-9);
	PLAIN_EQ(seen(&most), 50);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d5_calls_of_one_object_do_not_overlap_and_lose_nothing)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Counter", 0);
	struct caller c[8];

	for (unsigned i = 0; i < 8; i++)
		c[i] = (struct caller){ .o = o, .method = "add", .arg = 1, .times = 500 };
	call_from(c, 8);
	PLAIN_EQ(call_q(o, "add", 0), 4000);
	for (unsigned i = 0; i < 8; i++)
		c[i] = (struct caller){ .o = o, .method = "nap", .arg = 5, .times = 2 };
	__atomic_store_n(&most, 0, __ATOMIC_RELEASE);
	call_from(c, 8);
	PLAIN_EQ(seen(&most), 1);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d5_methods_that_read_share_and_others_are_alone)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Mostly", 0);
	struct caller c[8];

	for (unsigned i = 0; i < 8; i++)
		c[i] = (struct caller){ .o = o, .method = "rnap", .arg = 300, .times = 1 };
	call_from(c, 8);
	PLAIN_CHECKF(seen(&most) > 1, "readers shared: %u at a time", seen(&most));
	__atomic_store_n(&most, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 8; i++)
		c[i] = (struct caller){ .o = o, .method = "nap", .arg = 20, .times = 1 };
	call_from(c, 8);
	PLAIN_EQ(seen(&most), 1);
	tarn_object_unref(o);
	scene_close(&s);
}

static void *make_shy(void *arg)
{
	tarn_object *peer = arg, *o;

	OK(tarn_object_newf(tarn_object_client(peer), "Shy", &o, "O", peer));
	return o;
}

PLAIN_TEST(d5_calls_that_waited_for_a_parallel_objects_creator_run_side_by_side)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *peer = make(&s, "Counter", 0), *o;
	tarn_pending *p[2];
	pthread_t maker;
	tarn_parcel got;
	void *made;

	PLAIN_EQ(pthread_create(&maker, NULL, make_shy, peer), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 1);
	OK(tarn_call(peer, "get_peer", NULL, &got, TARN_FOREVER));
	OK(tarn_value_object(tarn_parcel_at(&got, 0), &o));
	for (int i = 0; i < 2; i++)
		OK(tarn_call_start(o, "meet", NULL, &p[i]));
	PLAIN_EQ(call_q(peer, "add", 1), 1); /* answered behind them: they stand in line */
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		OK(tarn_call_wait(p[i], NULL, TARN_FOREVER));
		tarn_call_free(p[i]);
	}
	PLAIN_EQ(pthread_join(maker, &made), 0);
	OK(tarn_callf(peer, "drop_peer", TARN_FOREVER, "", NULL));
	tarn_parcel_fini(&got);
	tarn_object_unref(made);
	tarn_object_unref(peer);
	scene_close(&s);
}

static void pair(struct scene *s, tarn_object **a, tarn_object **b)
{
	*a = make(s, "Counter", 1);
	*b = make(s, "Counter", 2);
	OK(tarn_callf(*a, "set_peer", TARN_FOREVER, "O", NULL, *b));
	OK(tarn_callf(*b, "set_peer", TARN_FOREVER, "O", NULL, *a));
}

PLAIN_TEST(d20_calls_within_calls_complete_with_one_executor)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *a, *b;

	pair(&s, &a, &b);
	PLAIN_EQ(call_q(a, "bounce", 1), 2);
	PLAIN_EQ(call_q(a, "bounce", 50), 51); /* a and b call each other, again and again */
	tarn_object_unref(a);
	tarn_object_unref(b);
	scene_close(&s); /* o11: they only hold each other now, and go */
	PLAIN_EQ(seen(&destroyed), 2);
}

PLAIN_TEST(d19_a_call_within_the_server_posts_no_call)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *a, *b;

	pair(&s, &a, &b);
	call_q(a, "bounce", 10);
	uint64_t before = arena_stat(&s.a).messages;
	call_q(a, "bounce", 10);
	uint64_t shallow = arena_stat(&s.a).messages - before;
	before += shallow;
	call_q(a, "bounce", 20);
	uint64_t deep = arena_stat(&s.a).messages - before;
	/* What each level asks for is a handle on its peer; the calls themselves say nothing. */
	PLAIN_CHECKF(deep <= shallow + 25, "%llu messages for 10 levels, %llu for 20",
		     (unsigned long long)shallow, (unsigned long long)deep);
	tarn_object_unref(a);
	tarn_object_unref(b);
	scene_close(&s);
}

PLAIN_TEST(e4_an_error_comes_up_through_calls_within_calls)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *a, *b;
	int64_t y;

	pair(&s, &a, &b);
	OK(tarn_callf(b, "add", TARN_FOREVER, "q", NULL, (int64_t)11)); /* 13 */
	PLAIN_EQ(tarn_callf(a, "bounce", TARN_FOREVER, "q", "q", (int64_t)3, &y), -TARN_EREMOTE);
	const tarn_fault *f = tarn_error_fault();
	PLAIN_CHECK(tarn_fault_is(f, "KeyError"));
	PLAIN_CHECK(tarn_fault_cause(f) != NULL);
	PLAIN_CHECK(strstr(tarn_fault_message(f), "thirteen") != NULL);
	tarn_object_unref(a);
	tarn_object_unref(b);
	scene_close(&s);
}

/*
 * Two threads. One is at a until it may go; behind it stands a call of a that has none, and behind
 * that the other's, from b. A call of c, which wants b, has the first free one. Then the call of
 * a has to wait for both.
 */
PLAIN_TEST(d20_a_call_within_a_call_waits_for_nobody_who_needs_a_thread)
{
	struct scene s = { 0 };

	scene_begin(&s, 2);
	tarn_object *a = make(&s, "Counter", 0), *b = make(&s, "Counter", 0),
		    *c = make(&s, "Counter", 0);
	tarn_builder one;

	OK(tarn_callf(b, "set_peer", TARN_FOREVER, "O", NULL, a));
	OK(tarn_callf(c, "set_peer", TARN_FOREVER, "O", NULL, b));
	tarn_builder_init(&one);
	for (int64_t i = 1; i <= 10; i++) {
		struct { tarn_object *o; const char *method; int64_t n; } todo[] = {
			{ a, "wait_go", -1 }, { a, "add", 1 }, { b, "bounce", 1 }, { c, "bounce", 2 },
		};
		tarn_pending *p[4];

		__atomic_store_n(&go, 0, __ATOMIC_RELEASE);
		for (int k = 0; k < 4; k++) {
			tarn_builder_reset(&one);
			if (todo[k].n >= 0)
				tarn_put_int(&one, todo[k].n);
			OK(tarn_call_start(todo[k].o, todo[k].method, &one, &p[k]));
			PLAIN_WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 1);
		}
		usleep(3000); /* b's is most likely at a by now; if not, less is shown */
		__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
		for (int k = 0; k < 4; k++) {
			OK(tarn_call_wait(p[k], NULL, TARN_FOREVER));
			tarn_call_free(p[k]);
		}
	}
	PLAIN_EQ(call_q(a, "add", 0), 10);
	tarn_builder_fini(&one);
	tarn_object_unref(a);
	tarn_object_unref(b);
	tarn_object_unref(c);
	scene_close(&s);
}

PLAIN_TEST(d20_two_calls_that_wait_for_each_other_are_told_so)
{
	struct scene s = { 0 };

	scene_begin(&s, 4);
	tarn_object *a, *b;
	unsigned deadlocks = 0;

	pair(&s, &a, &b);
	for (int i = 0; i < 200; i++) {
		tarn_builder arg;
		tarn_pending *p[2];
		tarn_parcel ret;

		tarn_builder_init(&arg);
		tarn_put_int(&arg, 1);
		OK(tarn_call_start(a, "bounce", &arg, &p[0]));
		OK(tarn_call_start(b, "bounce", &arg, &p[1]));
		for (int k = 0; k < 2; k++) {
			int r = tarn_call_wait(p[k], &ret, TARN_FOREVER);

			PLAIN_CHECKF(r == 0 || r == -TARN_EREMOTE, "%s", tarn_error_last()->message);
			deadlocks += r != 0;
			if (r == 0)
				tarn_parcel_fini(&ret);
			tarn_call_free(p[k]);
		}
		tarn_builder_fini(&arg);
	}
	fprintf(stderr, "%u of 400 calls would have waited for each other\n", deadlocks);
	tarn_object_unref(a);
	tarn_object_unref(b);
	scene_close(&s);
}

PLAIN_TEST(v2_a_result_type_is_made_by_its_creator)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 5), *other;
	tarn_parcel p;

	OK(tarn_call(o, "spawn", NULL, &p, TARN_FOREVER));
	OK(tarn_value_object(tarn_parcel_at(&p, 0), &other));
	PLAIN_EQ(call_q(other, "add", 0), 105);
	PLAIN_CHECK(!tarn_object_same(o, other));
	tarn_parcel_fini(&p);
	tarn_object_unref(o);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 2);
}

PLAIN_TEST(v6_a_mixed_result_has_live_proxies_and_blocks_at_any_depth)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 5), *first, *second;
	tarn_block *block;
	tarn_builder b;
	tarn_parcel p;
	const char *text;

	tarn_builder_init(&b);
	tarn_put_int(&b, 2);
	OK(tarn_call(o, "make_two", &b, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "{s:O s:[OB] s:s}", "first", &first, "rest", &second, &block, "text", &text));
	PLAIN_EQ(call_q(first, "add", 0), 1);
	PLAIN_EQ(call_q(second, "add", 0), 2);
	PLAIN_EQ(((char *)tarn_block_data(block))[4999], 'b');
	PLAIN_EQ(tarn_block_size(block), 5000);
	PLAIN_CHECK(strcmp(text, "plain") == 0);
	tarn_parcel_fini(&p);
	/* v12: the second creator fails: the first one's object goes, too */
	tarn_builder_reset(&b);
	tarn_put_int(&b, -1);
	PLAIN_EQ(tarn_call(o, "make_two", &b, &p, TARN_FOREVER), -TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	tarn_builder_fini(&b);
	tarn_object_unref(o);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 4);
}

PLAIN_TEST(n4_edges_made_by_executors_hold_until_dropped)
{
	struct scene s = { 0 };

	scene_begin(&s, 2);
	tarn_object *o = make(&s, "Counter", 1), *peer = make(&s, "Counter", 2), *again;
	tarn_parcel p;

	OK(tarn_callf(o, "set_peer", TARN_FOREVER, "O", NULL, peer));
	peer = tarn_object_unref(peer);
	arena_settle(s.c);
	PLAIN_EQ(seen(&destroyed), 0);
	OK(tarn_call(o, "get_peer", NULL, &p, TARN_FOREVER));
	OK(tarn_value_object(tarn_parcel_at(&p, 0), &again));
	PLAIN_EQ(call_q(again, "add", 0), 2);
	tarn_parcel_fini(&p);
	OK(tarn_callf(o, "drop_peer", TARN_FOREVER, NULL, NULL));
	PLAIN_WAIT_FOR(__atomic_load_n(&destroyed, __ATOMIC_ACQUIRE) == 1);
	tarn_object_unref(o);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 2);
}

PLAIN_TEST(v8_an_object_that_is_managed_again_is_the_same)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 1), *a, *b;
	tarn_parcel p;

	OK(tarn_call(o, "me", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "OO", &a, &b));
	PLAIN_CHECK(tarn_object_same(a, o) && tarn_object_same(b, o));
	tarn_parcel_fini(&p);
	tarn_object_unref(o);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 1);
}

PLAIN_TEST(a_method_may_keep_a_handle_beyond_its_end)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 1), *arg = make(&s, "Counter", 2);

	OK(tarn_callf(o, "keep", TARN_FOREVER, "O", NULL, arg));
	tarn_object_unref(arg);
	arena_settle(s.c);
	PLAIN_EQ(seen(&destroyed), 0);
	OK(tarn_callf(o, "unkeep", TARN_FOREVER, NULL, NULL));
	PLAIN_WAIT_FOR(__atomic_load_n(&destroyed, __ATOMIC_ACQUIRE) == 1);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(r8_values_of_any_size_and_kind_go_there_and_back)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 1);
	const size_t sizes[] = { 0, 1, 7, 8, 100, 1000, 1600, 1700, 1800, 5000, 100000, 3000000 };
	tarn_block *block = arena_block(s.c, 1234);

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *data = malloc(sizes[i] + 1);
		tarn_parcel p, sent;
		tarn_builder b;

		memset(data, (int)i + 1, sizes[i]);
		tarn_builder_init(&b);
		tarn_put(&b, "iyO{s:B}d", 5, data, sizes[i], o, "k", block, 1.5);
		OK(tarn_call(o, "echo", &b, &p, TARN_FOREVER));
		OK(tarn_parcel_from(&b, &sent));
		PLAIN_EQ(tarn_parcel_count(&p), 5);
		for (unsigned k = 0; k < 5; k++)
			PLAIN_CHECKF(tarn_value_equal(tarn_parcel_at(&p, k), tarn_parcel_at(&sent, k)),
				     "value %u of %zu bytes", k, sizes[i]);
		tarn_parcel_fini(&p);
		tarn_parcel_fini(&sent);
		tarn_builder_fini(&b);
		free(data);
	}
	tarn_block_unref(block);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d18_a_caller_whose_time_is_over_comes_back_and_the_method_is_told)
{
	struct scene s = { 0 };

	scene_begin(&s, 2);
	tarn_object *o = make(&s, "Counter", 1);

	PLAIN_EQ(tarn_call(o, "hang", NULL, NULL, 50000000), -ETIMEDOUT);
	PLAIN_WAIT_FOR(__atomic_load_n(&started, __ATOMIC_ACQUIRE) == 1 &&
		       __atomic_load_n(&running, __ATOMIC_ACQUIRE) == 0);
	PLAIN_EQ(call_q(o, "add", 1), 2); /* the object is free again */
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d17_a_caller_that_dies_in_a_call_leaves_nothing)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Parallel", 1);
	tarn_token t;

	for (int i = 0; i < 20; i++) {
		OK(tarn_object_export(o, NULL, &t));
		unsigned before = __atomic_load_n(&started, __ATOMIC_ACQUIRE);
		pid_t child = plain_fork();
		if (child == 0) {
			tarn_client *c = arena_client(&s.a, NULL);
			tarn_object *mine;

			OK(tarn_object_import(c, &t, &mine));
			tarn_call(mine, "hang", NULL, NULL, TARN_FOREVER);
			_exit(1);
		}
		PLAIN_WAIT_FOR(__atomic_load_n(&started, __ATOMIC_ACQUIRE) > before);
		plain_kill(child);
		PLAIN_WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 0);
	}
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d4_calls_of_one_thread_reach_an_object_in_order)
{
	struct scene s = { 0 };

	scene_begin(&s, 4);
	tarn_object *o = make(&s, "Counter", 0);
	tarn_pending *p[200];
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, 1);
	for (int i = 0; i < 200; i++)
		OK(i % 2 == 0 ? tarn_call_start(o, "add", &b, &p[i])
			      : tarn_call_start(o, "value", NULL, &p[i]));
	for (int i = 0; i < 200; i++) {
		tarn_parcel r;
		int64_t v;

		OK(tarn_call_wait(p[i], &r, TARN_FOREVER));
		OK(tarn_parcel_get(&r, "q", &v));
		PLAIN_EQ(v, i / 2 + 1);
		tarn_parcel_fini(&r);
		tarn_call_free(p[i]);
	}
	tarn_builder_fini(&b);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(r5_a_creator_may_give_an_object_that_exists)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *a, *b, *c;

	OK(tarn_object_newf(s.c, "Mag", &a, NULL));
	OK(tarn_object_newf(s.c, "Mag", &b, NULL));
	PLAIN_CHECK(tarn_object_same(a, b));
	arena_settle(s.c);
	PLAIN_EQ(seen(&destroyed), 0); /* what was made in vain never lived */
	tarn_object_unref(a);
	tarn_object_unref(b);
	PLAIN_WAIT_FOR(__atomic_load_n(&destroyed, __ATOMIC_ACQUIRE) == 1);
	OK(tarn_object_newf(s.c, "Mag", &c, NULL)); /* a new one */
	tarn_object_unref(c);
	scene_close(&s);
	PLAIN_EQ(seen(&destroyed), 2);
}

/* ---- for people ---- */

PLAIN_TEST(l21_objects_are_listed_in_the_order_of_their_creation)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o[3] = { make(&s, "Counter", 1), make(&s, "Parallel", 2), make(&s, "Counter", 3) };
	static const char *const names[] = { "Counter", "Parallel", "Counter" };
	tarn_object_row *row;
	tarn_type_row *type;
	size_t n;

	tarn_object_ref(o[0]);
	OK(tarn_inspector_objects(s.a.inspector, &row, &n));
	PLAIN_EQ(n, 3);
	for (size_t i = 0; i < n; i++) {
		PLAIN_EQ(row[i].id, tarn_object_id(o[i]));
		PLAIN_EQ(row[i].state, TARN_OBJECT_LIVE);
		PLAIN_CHECK(strcmp(row[i].type_name, names[i]) == 0);
	}
	free(row);
	OK(tarn_inspector_types(s.a.inspector, &type, &n));
	PLAIN_CHECK(n >= 4); /* of the scene */
	size_t at = 0;
	while (at < n && strcmp(type[at].name, "Counter") != 0) /* Tarn's own types are in front */
		at++;
	PLAIN_CHECK(at < n && type[at].objects == 2);
	free(type);
	OK(tarn_inspector_leaks(s.a.inspector, &row, &n));
	PLAIN_EQ(n, 0);
	free(row);
	tarn_object_unref(o[0]);
	for (int i = 0; i < 3; i++)
		tarn_object_unref(o[i]);
	scene_close(&s);
}

PLAIN_TEST(calls_under_way_and_distinct_errors_are_listed)
{
	struct scene s = { 0 };

	scene_begin(&s, 2);
	tarn_object *o = make(&s, "Counter", 1), *bad;
	tarn_pending *p;
	tarn_call_row *call;
	tarn_error_row *error;
	size_t n;

	OK(tarn_call_start(o, "hang", NULL, &p));
	PLAIN_WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 1);
	OK(tarn_inspector_calls(s.a.inspector, &call, &n));
	PLAIN_EQ(n, 1);
	PLAIN_CHECK(strcmp(call[0].type, "Counter") == 0 && strcmp(call[0].method, "hang") == 0);
	PLAIN_EQ(call[0].pid, getpid());
	PLAIN_EQ(call[0].target, tarn_object_id(o));
	free(call);
	tarn_call_free(p);
	for (int i = 0; i < 5; i++)
		PLAIN_EQ(tarn_object_newf(s.c, "Counter", &bad, "q", (int64_t)-1), -TARN_EREMOTE);
	OK(tarn_inspector_errors(s.a.inspector, &error, &n));
	PLAIN_EQ(n, 1);
	PLAIN_EQ(error[0].count, 5);
	PLAIN_CHECK(strcmp(error[0].domain, "ValueError") == 0);
	PLAIN_CHECK(strcmp(error[0].message, "minus one") == 0);
	PLAIN_CHECK(strstr(error[0].place, "test-host.c:") != NULL);
	free(error);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(r1_types_of_a_module_are_loaded_by_tarnd)
{
	const char *build = getenv("TARN_BUILD_DIR");
	char module[500], tarnd[500], ready[16], line[160] = "";
	int end[2];
	pid_t pid;

	if (build == NULL)
		PLAIN_SKIP("TARN_BUILD_DIR is not set");
	snprintf(module, sizeof module, "%s/tests/test-module.so", build);
	snprintf(tarnd, sizeof tarnd, "%s/tools/tarnd", build);
	PLAIN_EQ(pipe(end), 0);
	snprintf(ready, sizeof ready, "%d", end[1]);
	pid = plain_fork();
	if (pid == 0) {
		execl(tarnd, "tarnd", "--name", "modular", "--size", "64M", "--load", module, "--ready-fd",
		      ready, (char *)NULL);
		_exit(127);
	}
	close(end[1]);
	PLAIN_CHECK(read(end[0], line, sizeof line - 1) > 0);
	tarn_client *c;
	tarn_object *o;
	int64_t y;
	OK(tarn_client_open("modular", NULL, &c));
	OK(tarn_object_newf(c, "Doubler", &o, NULL));
	OK(tarn_callf(o, "double", TARN_FOREVER, "q", "q", (int64_t)21, &y));
	PLAIN_EQ(y, 42);
	tarn_object_unref(o);
	tarn_client_close(c);
	kill(pid, SIGTERM);
	PLAIN_EQ(plain_reap(pid), 0);
	close(end[0]);
	/* bad files say why */
	tarn_registry *r = tarn_registry_new();
	PLAIN_EQ(tarn_registry_load(r, "/nonexistent.so"), -ENOENT);
	OK(tarn_registry_load(r, module));
	PLAIN_EQ(tarn_registry_load(r, module), -EEXIST);
	PLAIN_CHECK(tarn_type_find(r, "Doubler") != NULL);
	tarn_registry_free(r);
}

PLAIN_TEST(r1_a_module_that_fails_to_load_leaves_no_type)
{
	const char *build = getenv("TARN_BUILD_DIR");
	tarn_registry *r = tarn_registry_new(), *copy;
	char module[500];

	if (build == NULL)
		PLAIN_SKIP("TARN_BUILD_DIR is not set");
	snprintf(module, sizeof module, "%s/tests/test-module-bad.so", build);
	OK(tarn_type_register(r, &counter));
	for (int i = 0; i < 2; i++) {
		PLAIN_EQ(tarn_registry_load(r, module), -EBUSY);
		PLAIN_CHECK(tarn_type_find(r, "Own") == NULL && tarn_type_find(r, "Listed") == NULL);
		PLAIN_CHECK(tarn_registry_at(r, 0) == &counter && tarn_registry_at(r, 1) == NULL);
	}
	copy = tarn_registry_clone(r);
	PLAIN_CHECK(copy != NULL && tarn_registry_at(copy, 1) == NULL);
	tarn_registry_free(copy);
	tarn_registry_free(r);
}

/* ---- registries ---- */

PLAIN_TEST(r2_r3_r4_r14_registries_are_values_and_say_what_is_wrong)
{
	tarn_registry *r = tarn_registry_new(), *other;
	static const tarn_method no_fn[] = { { "f", NULL, 0, NULL, NULL, NULL }, { 0 } };
	static const tarn_method bad_signature[] = { { "f", add, 0, "[d", NULL, NULL }, { 0 } };
	static const tarn_method no_type[] = { { "f", add, 0, NULL, NULL, "Nobody" }, { 0 } };
	static const tarn_method twice[] = { { "f", add, 0, NULL, NULL, NULL },
					     { "f", add, 0, NULL, NULL, NULL }, { 0 } };
	static const tarn_field far[] = { { "x", 'd', false, 8 }, { 0 } };
	static const tarn_type bad[] = {
		{ .name = "" },
		{ .name = "NoFn", .methods = no_fn },
		{ .name = "Signature", .methods = bad_signature },
		{ .name = "Twice", .methods = twice },
		{ .name = "Far", .size = 8, .fields = far },
		{ .name = "Align", .align = 24 },
		{ .name = "Adopt", .flags = TARN_TYPE_ADOPT, .size = 8 },
	};
	static const tarn_type unresolved = { .name = "Unresolved", .methods = no_type };

	OK(tarn_type_register(r, &counter));
	PLAIN_EQ(tarn_type_register(r, &counter), -EEXIST);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		PLAIN_EQ(tarn_type_register(r, &bad[i]), -EINVAL);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, bad[i].name) != NULL, "%s",
			     tarn_error_last()->message);
	}
	other = tarn_registry_clone(r);
	OK(tarn_type_register(other, &parallel));
	PLAIN_CHECK(tarn_type_find(r, "Parallel") == NULL);
	PLAIN_CHECK(tarn_type_find(other, "Parallel") != NULL && tarn_type_find(other, "Counter") != NULL);
	PLAIN_EQ(tarn_type_unregister(r, "Parallel"), -TARN_ENOTYPE);
	/* a result type must be there when the server starts */
	OK(tarn_type_register(r, &unresolved));
	tarn_server_options o = { .name = "bad", .arena_bytes = 64 << 20, .registry = r };
	PLAIN_EQ(tarn_server_run(&o), -EINVAL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Unresolved") != NULL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Nobody") != NULL);
	tarn_registry_free(r);
	tarn_registry_free(other);
}

PLAIN_TEST(r4_r11_a_type_that_is_unregistered_makes_no_more_objects)
{
	struct scene s = { 0 };

	scene_begin(&s, 1);
	tarn_object *o = make(&s, "Counter", 1), *no;
	static const tarn_type late = { .name = "Late" };

	OK(tarn_type_register(s.registry, &late));
	PLAIN_EQ(tarn_object_newf(s.c, "Late", &no, NULL), -TARN_ENOTYPE);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Late") != NULL);
	OK(tarn_type_unregister(s.registry, "Counter"));
	PLAIN_EQ(tarn_object_newf(s.c, "Counter", &no, NULL), -TARN_ENOTYPE);
	PLAIN_EQ(call_q(o, "add", 1), 2); /* what lives is usable */
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_TEST(d6_executors_go_when_there_is_nothing_to_do)
{
	struct scene s = { 0 };

	scene_begin(&s, 0);
	tarn_object *o = make(&s, "Parallel", 0);
	struct caller c[20];

	for (unsigned i = 0; i < 20; i++)
		c[i] = (struct caller){ .o = o, .method = "nap", .arg = 100, .times = 1 };
	unsigned before = threads();
	call_from(c, 20);
	PLAIN_CHECK(threads() >= before + 15);
	PLAIN_WAIT_FOR(threads() <= before);
	tarn_object_unref(o);
	scene_close(&s);
}

PLAIN_MAIN()
