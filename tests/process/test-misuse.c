/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What callers do at the wrong time or in the wrong place: in signal handlers, in destructors, with what has
 * ended. Each is told what was asked, what was found and what to do. (Wrong arguments: test-mistakes.c.)
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "lib/client/object.h"
#include "lib/types/types.h"
#include "shm/mutex.h"
#include "shm/queue.h"
#include "tests/common/arena.h"
#include "tests/common/types.h"

/* ---- in a signal handler ---- */

static struct {
	tarn_client *c;
	pthread_t thread;
	pid_t tid;
	uint32_t handled;
	int result;
	tarn_error error;
} signals;

static void call_from_a_handler(int signal)
{
	(void)signal;
	signals.result = tarn_client_ping(signals.c, TARN_FOREVER);
	signals.error = *tarn_error_last();
	/* SYNC test: what came of it is there. */
	__atomic_store_n(&signals.handled, 1, __ATOMIC_RELEASE);
}

/* @thread is in the library: interrupts it, and looks at what the handler was told. */
static void interrupt_and_look(tarn_client *c, pthread_t thread, const char *text)
{
	const struct sigaction action = { .sa_handler = call_from_a_handler, .sa_flags = SA_RESTART };

	memset(&signals, 0, sizeof signals);
	signals.c = c;
	PLAIN_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	PLAIN_EQ(pthread_kill(thread, SIGUSR1), 0);
	/* SYNC test. */
	PLAIN_WAIT_FOR(__atomic_load_n(&signals.handled, __ATOMIC_ACQUIRE) == 1);
	PLAIN_EQ(signals.result, -EDEADLK);
	PLAIN_EQ(signals.error.code, -EDEADLK);
	PLAIN_CHECKF(strstr(signals.error.message, "signal handler") != NULL &&
		     strstr(signals.error.message, text) != NULL, "%s", signals.error.message);
}

/* A call that takes until another one ends it. */
struct door {
	uint32_t waiting, open;
};

static int pass(tarn_context *ctx, void *self)
{
	struct door *d = self;

	(void)ctx;
	/* SYNC test: who is told that somebody waits ends it. */
	__atomic_store_n(&d->waiting, 1, __ATOMIC_RELEASE);
	PLAIN_WAIT_FOR(__atomic_load_n(&d->open, __ATOMIC_ACQUIRE) != 0);
	return 0;
}
static int door_waiting(tarn_context *ctx, void *self)
{
	struct door *d = self;

	return tarn_put_int(tarn_context_result(ctx), __atomic_load_n(&d->waiting, __ATOMIC_ACQUIRE));
}
static int door_open(tarn_context *ctx, void *self)
{
	struct door *d = self;

	(void)ctx;
	__atomic_store_n(&d->open, 1, __ATOMIC_RELEASE);
	return 0;
}
static const tarn_method door_methods[] = {
	{ "pass", pass, 0, "", "" },
	{ "waiting", door_waiting, TARN_METHOD_INLINE, "", "q" },
	{ "open", door_open, TARN_METHOD_INLINE, "", "" },
	{ 0 },
};
static const tarn_type door_type = { .name = "Door", .size = sizeof(struct door), .flags = TARN_TYPE_INLINE,
				     .concurrency = TARN_PARALLEL, .methods = door_methods };
TARN_TYPE_REGISTER(door_type)

struct interrupted {
	const struct scene *s;
	tarn_client *c;
	pthread_t thread;
	uint32_t tid; /* of the one that opens its lane */
};

static void *interrupt_a_call(void *arg)
{
	const struct interrupted *i = arg;
	tarn_client *mine = scene_client(i->s);
	tarn_object *o;

	OK(tarn_object_lookup(mine, "door", TARN_FOREVER, &o));
	PLAIN_WAIT_FOR(types_integer(o, "waiting") == 1);
	interrupt_and_look(i->c, i->thread, "only unref is allowed");
	OK(tarn_call(o, "open", NULL, NULL, TARN_FOREVER));
	tarn_object_unref(o);
	tarn_client_close(mine);
	return NULL;
}

/* It would wait for the very thread that it interrupted. */
PLAIN_TEST(a_signal_handler_that_interrupts_a_call_is_told_so)
{
	struct scene s = scene_open(NULL);
	struct interrupted i = { .s = &s, .c = scene_client(&s), .thread = pthread_self() };
	tarn_object *o = NEW(i.c, "Door", "");
	pthread_t t;

	OK(tarn_object_publish(o, "door", 0));
	PLAIN_EQ(pthread_create(&t, NULL, interrupt_a_call, &i), 0);
	OK(tarn_call(o, "pass", NULL, NULL, TARN_FOREVER));
	pthread_join(t, NULL);
	OK(tarn_client_ping(i.c, TARN_FOREVER)); /* and the thread goes on */
	tarn_object_unref(o);
	tarn_client_close(i.c);
	scene_close(&s);
}

/* Call records count for the client whose they are, and not for the next one in its place. */
PLAIN_TEST(a_call_that_outlives_its_caller_does_not_count_for_the_next_client)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s), *gone = scene_client(&s), *next;
	const uint32_t number = tarn_client_id(gone);
	tarn_object *o = NEW(c, "Door", ""), *theirs;

	OK(tarn_object_publish(o, "door", 0));
	OK(tarn_object_lookup(gone, "door", TARN_FOREVER, &theirs));
	OK(tarn_cast(theirs, "pass", NULL));
	PLAIN_WAIT_FOR(types_integer(o, "waiting") == 1);
	tarn_object_unref(theirs);
	tarn_client_close(gone);
	for (next = scene_client(&s); tarn_client_id(next) != number; next = scene_client(&s))
		tarn_client_close(next);
	scene_check(&s);
	OK(tarn_call(o, "open", NULL, NULL, TARN_FOREVER));
	tarn_object_unref(o);
	tarn_client_close(next);
	tarn_client_close(c);
	scene_close(&s);
}

static void *open_a_lane(void *arg)
{
	struct interrupted *i = arg;

	__atomic_store_n(&i->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	OK(tarn_client_ping(i->c, TARN_FOREVER));
	return NULL;
}

/* The number of the system call that a thread waits in; -1: none. */
static long waits_in(uint32_t tid)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof path, "/proc/self/task/%u/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		PLAIN_SKIP("what a thread waits in cannot be seen here: %s", strerror(errno));
	close(fd);
	return strncmp(text, "running", 7) == 0 ? -1 : strtol(text, NULL, 10);
}

static bool polls(uint32_t tid)
{
	const long n = waits_in(tid);

#ifdef SYS_poll
	if (n == SYS_poll)
		return true;
#endif
	return n == SYS_ppoll;
}

PLAIN_TEST(a_signal_handler_that_interrupts_the_opening_of_a_lane_is_told_so)
{
	struct scene s = scene_open(NULL);
	struct interrupted i = { .s = &s, .c = scene_client(&s) };
	const pid_t server = tarn_server_pid(s.server);
	uint32_t tid;

	OK(tarn_client_ping(i.c, TARN_FOREVER));
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	PLAIN_EQ(pthread_create(&i.thread, NULL, open_a_lane, &i), 0);
	PLAIN_WAIT_FOR((tid = __atomic_load_n(&i.tid, __ATOMIC_ACQUIRE)) != 0 && polls(tid));
	interrupt_and_look(i.c, i.thread, "opening of a lane");
	PLAIN_EQ(kill(server, SIGCONT), 0);
	pthread_join(i.thread, NULL);
	tarn_client_close(i.c);
	scene_close(&s);
}

PLAIN_TEST(a_server_that_does_not_answer_is_not_waited_for_longer_than_was_said)
{
	struct scene s = scene_open(NULL);
	const tarn_client_options hurried = { .answer_timeout_ns = 50000000 };
	const pid_t server = tarn_server_pid(s.server);
	tarn_client *c = NULL, *d;

	OK(tarn_client_open(s.name, &hurried, &d));
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	WRONG(tarn_client_open(s.name, &hurried, &c), ETIMEDOUT, s.name, "0.050 s", "stopped", "answer_timeout_ns");
	PLAIN_CHECK(c == NULL);
	WRONG(tarn_client_flush(d, false, 1000000), ETIMEDOUT, "");
	tarn_client_close(d); /* it takes no longer either: the test would be over its time */
	PLAIN_EQ(kill(server, SIGCONT), 0);
	OK(tarn_client_open(s.name, &hurried, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	tarn_client_close(c);
	scene_close(&s);
}

static void stop_while_it_sleeps(pid_t server, const tarn_client *c)
{
	do {
		PLAIN_EQ(kill(server, SIGCONT), 0);
		PLAIN_WAIT_FOR(tarn__load_relaxed(&c->ctrl->server_state) == 1);
		PLAIN_EQ(kill(server, SIGSTOP), 0);
		PLAIN_WAIT_FOR(plain_state(server) == 'T');
	} while (tarn__load_relaxed(&c->ctrl->server_state) != 1);
}

/* Each who waits for one that sleeps rings every 90 ms. Once there was no room for anything else then: who asked was
 * held up for ever, and that a client closed was never said. */
PLAIN_TEST(a_stopped_server_that_many_ring_for_is_not_waited_for_longer_than_was_said)
{
	struct scene s = scene_open(NULL);
	const tarn_client_options hurried = { .answer_timeout_ns = 50000000 };
	const pid_t server = tarn_server_pid(s.server);
	tarn_client *c;
	int fd;

	OK(tarn_client_open(s.name, &hurried, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	stop_while_it_sleeps(server, c);
	for (int i = 0; i < 5000; i++)
		tarn__client_nudge(c);
	WRONG(tarn_client_event_fd(c, &fd), ETIMEDOUT, "did not answer in time");
	tarn_client_close(c);
	PLAIN_EQ(kill(server, SIGCONT), 0);
	scene_close(&s); /* it knows that the client is closed */
}

PLAIN_TEST(a_stopped_server_with_no_room_for_a_question_is_not_waited_for_longer_than_was_said)
{
	struct scene s = scene_open(NULL);
	const tarn_client_options hurried = { .answer_timeout_ns = 50000000 };
	const pid_t server = tarn_server_pid(s.server);
	tarn_client *c;
	int fd;

	OK(tarn_client_open(s.name, &hurried, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	while (tarn__client_tell(c, TARN__CTL_RING, 0))
		;
	WRONG(tarn_client_event_fd(c, &fd), ETIMEDOUT, "did not answer in time");
	PLAIN_EQ(kill(server, SIGCONT), 0);
	while (tarn_client_event_fd(c, &fd) < 0)
		;
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- a server that hangs for longer than memory is waited for ---- */

/* This program's clock, which can be put forward: ten seconds are over at once. */
static uint64_t forward_s, looks;
static __thread bool is_putter;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	const long r = syscall(SYS_clock_gettime, clock, ret);

	if (r == 0 && clock == CLOCK_MONOTONIC)
		ret->tv_sec += (time_t)__atomic_load_n(&forward_s, __ATOMIC_ACQUIRE);
	if (is_putter)
		__atomic_fetch_add(&looks, 1, __ATOMIC_RELEASE);
	return (int)r;
}

struct putter {
	tarn_object *queue;
	const tarn_builder *item;
	int64_t timeout_ns;
	unsigned n;
	pthread_t thread;
	uint32_t tid, go;
	int r; /* of the first one that failed */
};

static void *put_all(void *arg)
{
	struct putter *p = arg;

	OK(tarn_client_ping(tarn_object_client(p->queue), TARN_FOREVER)); /* which gets a lane from a server that answers */
	__atomic_store_n(&p->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	PLAIN_WAIT_FOR(__atomic_load_n(&p->go, __ATOMIC_ACQUIRE) != 0);
	is_putter = true;
	for (unsigned i = 0; i < p->n && p->r == 0; i++)
		p->r = tarn_queue_put(p->queue, p->item, p->timeout_ns);
	return NULL;
}

/* The server stops, and ten seconds are over when @p waits for it. */
static void put_while_it_hangs(struct putter *p, pid_t server)
{
	/* The kernel's clock is another one: who sleeps until a time of this one's sleeps too long. */
	__atomic_store_n(&forward_s, 0, __ATOMIC_RELEASE);
	p->tid = p->go = 0;
	p->r = 0;
	PLAIN_EQ(pthread_create(&p->thread, NULL, put_all, p), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&p->tid, __ATOMIC_ACQUIRE) != 0);
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	__atomic_store_n(&p->go, 1, __ATOMIC_RELEASE);
	PLAIN_WAIT_FOR(waits_in(p->tid) == SYS_futex);
	const uint64_t before = __atomic_load_n(&looks, __ATOMIC_ACQUIRE);
	__atomic_store_n(&forward_s, 11, __ATOMIC_RELEASE);
	PLAIN_WAIT_FOR(__atomic_load_n(&looks, __ATOMIC_ACQUIRE) != before);
}

PLAIN_TEST(who_waits_for_a_place_in_a_queue_waits_for_a_server_that_hangs_as_long)
{
	struct scene s = scene_open(NULL);
	const pid_t server = tarn_server_pid(s.server);
	tarn_client *c = scene_client(&s);
	struct putter p = { .timeout_ns = TARN_FOREVER, .n = 2000 };
	static char large[5000];
	tarn_builder item;

	OK(tarn_queue_new(c, NULL, &p.queue));
	tarn_builder_init(&item);
	OK(tarn_put_bytes(&item, large, sizeof large));
	p.item = &item;
	/* For a block: this is allowed to wait. */
	put_while_it_hangs(&p, server);
	PLAIN_EQ(kill(server, SIGCONT), 0);
	pthread_join(p.thread, NULL);
	PLAIN_EQ(p.r, 0);
	/* This is not, but for so long as a server takes that does not hang. For a block, and for the queue to grow. */
	p.timeout_ns = 0;
	put_while_it_hangs(&p, server);
	pthread_join(p.thread, NULL);
	PLAIN_EQ(p.r, -ETIMEDOUT);
	PLAIN_EQ(kill(server, SIGCONT), 0);
	tarn_builder_fini(&item);
	OK(tarn_put(&item, "i", 1));
	p.n = 100000;
	put_while_it_hangs(&p, server);
	pthread_join(p.thread, NULL);
	PLAIN_EQ(p.r, -ETIMEDOUT);
	PLAIN_EQ(kill(server, SIGCONT), 0);
	OK(tarn_queue_put(p.queue, &item, TARN_FOREVER)); /* and all goes on */
	tarn_builder_fini(&item);
	tarn_object_unref(p.queue);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- modules ---- */

/* The file of this system's C library, and one beside this program. */
static const char *path_of_libc(void)
{
	Dl_info info;

	PLAIN_CHECK(dladdr(dlsym(RTLD_DEFAULT, "strtol"), &info) != 0);
	return info.dli_fname;
}
static const char *beside_us(const char *name)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 100);

	PLAIN_CHECK(n > 0);
	path[n] = '\0';
	strcpy(strrchr(path, '/') + 1, name);
	return path;
}

PLAIN_TEST(a_library_that_is_no_module_of_this_version_is_named)
{
	tarn_registry *r = tarn_registry_new();

	PLAIN_CHECK(r != NULL);
	WRONG(tarn_registry_load(r, path_of_libc()), ENOEXEC, path_of_libc(), "is no module", "tarn_module");
	WRONG(tarn_registry_load(r, beside_us("test-module-old.so")), ENOEXEC, "test-module-old.so",
	      "of version 99", "expected 1");
	tarn_registry_free(r);
}

/* ---- with what has ended ---- */

/* A second free put the call's place into a list twice: two later calls were one. */
PLAIN_TEST(a_call_that_is_freed_twice_is_told_so)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *o = NEW(c, "Doubler", "");
	tarn_pending *p[3];
	tarn_builder b;
	tarn_parcel result;
	size_t which;
	int64_t n;

	tarn_builder_init(&b);
	OK(tarn_put_int(&b, 21));
	OK(tarn_call_start(o, "double", &b, &p[0]));
	OK(tarn_call_wait(p[0], &result, TARN_FOREVER));
	tarn_parcel_fini(&result);
	tarn_call_free(p[0]);
	PLAIN_EQ(tarn_error_last()->code == -TARN_ESTATE, false);
	PLAIN_CHECK(tarn_call_free(p[0]) == NULL);
	WRONG(tarn_error_last()->code, TARN_ESTATE, "freed before", "tarn_call_free()");
	WRONG(tarn_call_poll(p[0]), TARN_ESTATE, "freed before");
	WRONG(tarn_call_wait(p[0], &result, TARN_FOREVER), TARN_ESTATE, "freed before");
	WRONG(tarn_call_wait_any(p, 1, 0, &which), TARN_ESTATE, "freed before");
	WRONG(tarn_call_cancel(p[0]), TARN_ESTATE, "freed before");
	/* Nothing came of it: later calls have a place each. */
	OK(tarn_call_start(o, "double", &b, &p[1]));
	OK(tarn_call_start(o, "double", &b, &p[2]));
	PLAIN_CHECK(p[1] != p[2]);
	for (int i = 1; i < 3; i++) {
		OK(tarn_call_wait(p[i], &result, TARN_FOREVER));
		OK(tarn_parcel_get(&result, "q", &n));
		PLAIN_EQ(n, 42);
		tarn_parcel_fini(&result);
		tarn_call_free(p[i]);
	}
	tarn_builder_fini(&b);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

static void *free_anothers(void *arg)
{
	tarn_call_free(arg);
	PLAIN_EQ(tarn_error_last()->code == -TARN_ESTATE, false);
	tarn_call_free(arg);
	WRONG(tarn_error_last()->code, TARN_ESTATE, "freed before");
	return NULL;
}

PLAIN_TEST(a_call_that_another_thread_frees_twice_is_told_so)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *o = NEW(c, "Sleeper", "");
	tarn_pending *p;
	pthread_t t;

	OK(tarn_call_start(o, "wait", NULL, &p));
	PLAIN_EQ(pthread_create(&t, NULL, free_anothers, p), 0);
	pthread_join(t, NULL);
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(an_inspector_whose_question_was_not_answered_is_of_no_use)
{
	struct scene s = scene_open(NULL);
	const pid_t server = tarn_server_pid(s.server);
	tarn_inspector *in;
	tarn_stat stat;

	OK(tarn_inspector_open(s.name, TARN_FOREVER, &in));
	tarn_inspector_timeout_set(in, 20000000);
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	WRONG(tarn_inspector_stat(in, &stat), ETIMEDOUT, "");
	WRONG(tarn_inspector_stat(in, &stat), TARN_ESTATE, "earlier question", "Open another inspector");
	PLAIN_EQ(kill(server, SIGCONT), 0);
	WRONG(tarn_inspector_stat(in, &stat), TARN_ESTATE, "earlier question");
	tarn_inspector_close(in);
	scene_close(&s);
}

/* ---- of Tarn's own types ---- */

PLAIN_TEST(a_recursive_lock_that_is_held_too_many_times_says_so)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	struct tarn__mutex *m;
	tarn_object *o;

	OK(tarn_rlock_new(c, 0, &o));
	m = tarn__object_instance(o, &tarn__type_rlock);
	OK(tarn_rlock_acquire(o, 0));
	const uint32_t depth = tarn__load32_relaxed(&m->depth);
	tarn__store32_relaxed(&m->depth, UINT32_MAX);
	WRONG(tarn_rlock_acquire(o, 0), EOVERFLOW, "held too many times");
	tarn__store32_relaxed(&m->depth, depth);
	OK(tarn_rlock_release(o));
	tarn_object_unref(o);
	tarn_client_close(c);
	scene_close(&s);
}

/* Whoever calls by name what the library calls. */
PLAIN_TEST(methods_that_only_the_library_calls_name_what_cannot_be)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q, *runs, *list, *other, *parcel, *process;
	tarn_block *b;
	uint64_t version;

#define REFUSED(o, method, args, ...) \
	WRONG(tarn_callf(o, method, TARN_FOREVER, args, NULL, __VA_ARGS__), TARN_EREMOTE
	OK(tarn_block_new(c, 64, 0, &b));
	OK(tarn_queue_new(c, &(tarn_queue_options){ .maxsize = 4 }, &q));
	OK(tarn_queue_new(c, NULL, &runs));
	REFUSED(q, "taken", "Q", UINT64_C(5)), "ValueError", "item 5", "not in the caller's hands");
	REFUSED(q, "done", "Q", UINT64_C(6)), "ValueError", "item 6", "not in the caller's hands");
	REFUSED(q, "stash", "Q", UINT64_C(7)), "ValueError", "0 references");
	REFUSED(q, "stash", "QB", UINT64_C(7), b), "ValueError", "there is no item 7");
	OK(tarn_queue_putf(q, 0, "i", 1));
	REFUSED(q, "stash", "Qi", UINT64_C(0), 5), "TypeError", "references are expected");
	struct tarn__queue *in = tarn__object_instance(q, &tarn__type_queue);
	const uint32_t stride = in->stride;
	in->stride = 1;
	REFUSED(q, "taken", "Q", UINT64_C(0)), "ValueError", "the queue is damaged");
	REFUSED(q, "done", "Q", UINT64_C(0)), "ValueError", "the queue is damaged");
	in->stride = stride;
	REFUSED(q, "grow", "QB", UINT64_C(0), (tarn_block *)NULL), "ValueError", "the queue has no runs");
	REFUSED(runs, "grow", "QB", UINT64_C(77), (tarn_block *)NULL), "ValueError", "run 77 is not the next");
	OK(tarn_list_newf(c, &list, "[ii]", 1, 2));
	OK(tarn_list_newf(c, &other, "[i]", 1));
	OK(tarn_callf(list, "version", TARN_FOREVER, NULL, "Q", &version));
	REFUSED(list, "swap", "OQ", other, version), "ValueError", "no copy of the list");
	OK(tarn_object_new(c, "tarn.Parcel", NULL, &parcel));
	REFUSED(parcel, "add", "i", 5), "TypeError", "blocks, objects and channels, not int");
	int r = 0, n = 0;
	while (r == 0 && n++ < 10000)
		r = tarn_callf(parcel, "add", TARN_FOREVER, "BBBB", NULL, b, b, b, b);
	WRONG(r, TARN_EREMOTE, "ValueError", "references in one parcel");
	REFUSED(runs, "grow", "QB", UINT64_C(0), b), "ValueError", "the block has 64");
	REFUSED(list, "set_slice", "qqqi", INT64_C(0), INT64_C(2), INT64_C(2), 7), "TypeError", "a list of values only");
	OK(tarn_object_newf(c, "tarn.Process", &process, "B", b));
	OK(tarn_callf(process, "finish", TARN_FOREVER, "bB", NULL, true, b));
	REFUSED(process, "finish", "bB", true, b), "RuntimeError", "has said how it ended before");
#undef REFUSED
	tarn_object_unref(process);
	tarn_object_unref(parcel);
	tarn_object_unref(other);
	tarn_object_unref(list);
	tarn_object_unref(runs);
	tarn_object_unref(q);
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}

/* A method of the same name as one that containers have. */
static int lend_nothing(tarn_context *ctx, void *self)
{
	(void)ctx, (void)self;
	return 0;
}
static const tarn_method lender_methods[] = { { "lend", lend_nothing, 0, "", "" }, { 0 } };
static const tarn_type lender_type = { .name = "Lender", .methods = lender_methods };
TARN_TYPE_REGISTER(lender_type)

PLAIN_TEST(what_stands_in_the_place_of_another_thing_is_named)
{
	static const tarn_method_facts facts[] = {
		{ .name = "double", .args = "q", .result = "q" }, { .name = "treble", .args = "q", .result = "q" }, { 0 }
	};
	static const tarn_stub taller = { "Doubler", facts };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *list, *lender, *doubler = NEW(c, "Doubler", ""), *o;
	tarn_token token;
	uint64_t version;
	tarn_block *b;

	lender = NEW(c, "Lender", "");
	OK(tarn_list_newf(c, &list, "[i]", 1));
	OK(tarn_callf(list, "version", TARN_FOREVER, NULL, "Q", &version));
	WRONG(tarn_callf(list, "swap", TARN_FOREVER, "OQ", NULL, lender, version), TARN_EREMOTE, "no container");
	WRONG(tarn_stub_check(doubler, &taller), TARN_EVERSION, "'Doubler'", "1 methods", "method 1", "'treble'");
	OK(tarn_block_new(c, 64, 0, &b));
	OK(tarn_block_export(b, NULL, &token)); /* the server knows of it */
	const tarn_weak weak = { .client = c, .id = tarn_block_id(b) };
	WRONG(tarn_weak_lock(&weak, &o), TARN_EKIND, "not of an object");
	OK(tarn_token_revoke(c, &token));
	tarn_block_unref(b);
	tarn_object_unref(doubler);
	tarn_object_unref(lender);
	tarn_object_unref(list);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- in methods ---- */

/* What was said when it was done in a creator, a destructor or a method; of the server's process. */
static struct {
	int code;
	char text[200];
} said[3];

static void note(unsigned where, int r)
{
	said[where].code = r;
	snprintf(said[where].text, sizeof said[where].text, "%.199s", r < 0 ? tarn_error_last()->message : "");
}

/* Each makes another one. */
static int nester_create(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_managed(ctx, "Nester", NULL, &o);

	(void)self;
	if (r < 0 && said[0].code == 0)
		note(0, r); /* the innermost */
	return r;
}
static const tarn_type nester_type = { .name = "Nester", .size = 8, .flags = TARN_TYPE_INLINE,
				       .create = nester_create };
TARN_TYPE_REGISTER(nester_type)

static int returner_create(tarn_context *ctx, void *self)
{
	int r = tarn_context_return_object(ctx, NULL);

	(void)self;
	note(0, r);
	return r;
}
static const tarn_type returner_type = { .name = "Returner", .size = 8, .flags = TARN_TYPE_INLINE,
					 .create = returner_create };
TARN_TYPE_REGISTER(returner_type)
static const tarn_type adoptee_type = { .name = "Adoptee", .flags = TARN_TYPE_ADOPT | TARN_TYPE_RESULT_ONLY };
TARN_TYPE_REGISTER(adoptee_type)

static void mourner_destroy(tarn_context *ctx, void *self)
{
	tarn_object *o;

	(void)self;
	note(1, tarn_managed(ctx, "Doubler", NULL, &o));
	note(2, tarn_self_drop(ctx, 77));
}
static const tarn_type mourner_type = { .name = "Mourner", .size = 8, .flags = TARN_TYPE_INLINE,
					.destroy = mourner_destroy };
TARN_TYPE_REGISTER(mourner_type)

static int tell(tarn_context *ctx, void *self)
{
	unsigned which;
	int r = tarn_context_get(ctx, "I", &which);

	(void)self;
	return r < 0 ? r : tarn_put(tarn_context_result(ctx), "is", said[which].code, said[which].text);
}
/* On an executor: what is another client's is not this server's to hold; and a number without a method. */
static int hold_anothers(tarn_context *ctx, void *self)
{
	const char *server;
	tarn_client *c;
	tarn_block *b;
	int r = tarn_context_get(ctx, "s", &server);

	(void)self;
	if (r < 0 || (r = tarn_client_open(server, NULL, &c)) < 0)
		return r;
	r = tarn_block_new(c, 64, 0, &b);
	if (r == 0) {
		r = tarn_self_hold_block(ctx, b);
		note(0, r);
		tarn_block_unref(b);
	}
	tarn_client_close(c);
	return tarn_put(tarn_context_result(ctx), "is", said[0].code, said[0].text);
}
static int call_a_number(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	(void)self;
	if (r < 0)
		return r;
	note(0, tarn_call_n(o, 999, NULL, NULL, TARN_FOREVER));
	return tarn_put(tarn_context_result(ctx), "is", said[0].code, said[0].text);
}
static int give_a_number(tarn_context *ctx, void *self)
{
	(void)self;
	return tarn_put_int(tarn_context_result(ctx), 7);
}
static const tarn_method witness_methods[] = {
	{ "give_a_number", give_a_number, 0, "", NULL, "Adoptee" },
	{ "tell", tell, TARN_METHOD_INLINE, "I", "is" },
	{ "hold_anothers", hold_anothers, 0, "s", "is" },
	{ "call_a_number", call_a_number, 0, "O", "is" },
	{ 0 },
};
static const tarn_type witness_type = { .name = "Witness", .flags = TARN_TYPE_INLINE, .methods = witness_methods };
TARN_TYPE_REGISTER(witness_type)

static void check_said(const tarn_parcel *p, int code, const char *text)
{
	const char *words;
	int got;

	OK(tarn_parcel_get(p, "is", &got, &words));
	PLAIN_CHECKF(got == -code && strstr(words, text) != NULL, "%s (%s), not %s with \"%s\"", tarn_error_name(got),
		     words, tarn_error_name(code), text);
}
static void check_told(tarn_object *witness, unsigned which, int code, const char *text)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	tarn_put_uint(&b, which);
	OK(tarn_call(witness, "tell", &b, &p, TARN_FOREVER));
	check_said(&p, code, text);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

PLAIN_TEST(creators_destructors_and_executors_are_told_what_they_cannot_do)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *witness = NEW(c, "Witness", ""), *doubler = NEW(c, "Doubler", ""), *o;
	tarn_builder b;
	tarn_parcel p;

	PLAIN_CHECK(tarn_object_new(c, "Nester", NULL, &o) < 0);
	check_told(witness, 0, E2BIG, "nested more than");
	PLAIN_CHECK(tarn_object_new(c, "Returner", NULL, &o) < 0);
	check_told(witness, 0, EINVAL, "No object was given");
	WRONG(tarn_call(witness, "give_a_number", NULL, NULL, TARN_FOREVER), TARN_ERESULT, "adopted as a Adoptee",
	      "one object or block", "found 1 values", "kind int");
	o = NEW(c, "Mourner", "");
	tarn_object_unref(o);
	scene_settle(&s);
	check_told(witness, 1, TARN_ESTATE, "A destructor, or departed, makes no objects");
	check_told(witness, 2, TARN_ESTATE, "an object that ends can hold and drop nothing");
	tarn_builder_init(&b);
	tarn_put_string(&b, s.name);
	OK(tarn_call(witness, "hold_anothers", &b, &p, TARN_FOREVER));
	check_said(&p, EXDEV, "belongs to its own server only");
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	tarn_builder_init(&b);
	tarn_put_object(&b, doubler);
	OK(tarn_call(witness, "call_a_number", &b, &p, TARN_FOREVER));
	check_said(&p, TARN_ENOMETHOD, "Doubler has no method number 999");
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	tarn_object_unref(doubler);
	tarn_object_unref(witness);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- forks while something is done for the first time ---- */

/* The library's own way to it: in its first call of a kind it said what to do at forks, with locks held that a fork
 * beside it did not know of. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
extern void *__dso_handle;
static struct {
	uint32_t armed, at_it, forked;
} first;

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	if (__atomic_load_n(&first.armed, __ATOMIC_ACQUIRE) != 0) {
		scene_say(&first.at_it, 1);
		scene_await(&first.forked, 1);
	}
	return __register_atfork(prepare, parent, child, __dso_handle);
}

static void *spawn_first(void *arg)
{
	tarn_process *p;

	OK(tarn_process_spawn(arg, &(tarn_process_options){ .program = "/bin/true" }, &p));
	OK(tarn_process_join(p, TARN_FOREVER));
	tarn_process_unref(p);
	scene_say(&first.at_it, 1);
	return NULL;
}

PLAIN_TEST(a_fork_beside_the_very_first_spawn_leaves_the_child_no_lock_of_it)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	pthread_t thread;

	__atomic_store_n(&first.armed, 1, __ATOMIC_RELEASE);
	PLAIN_EQ(pthread_create(&thread, NULL, spawn_first, c), 0);
	scene_await(&first.at_it, 1);
	pid_t pid = plain_fork();
	if (pid == 0) {
		first.armed = 0;
		spawn_first(scene_client(&s));
		_exit(0);
	}
	scene_say(&first.forked, 1);
	PLAIN_EQ(plain_reap(pid), 0);
	pthread_join(thread, NULL);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
