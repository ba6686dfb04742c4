/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. One suite runs over every way to build it: io_uring as a new,
 * a middle-aged and an old kernel offer it, epoll with and without
 * epoll_pwait2. Old kernels are played: calls to liburing pass through
 * functions below that refuse setup flags, and can lose completions or fail
 * once; epoll_pwait2 is refused by a seccomp filter.
 */
#define _GNU_SOURCE
#include "lib/server/loop.h"
#include "tests/common/seccomp.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define MANY 300 /* more than the SQ and the CQ hold */

enum variant { URING, URING_COOP, URING_PLAIN, EPOLL, EPOLL_MS, N_VARIANTS };

/* --- liburing, with faults --- */

static unsigned unknown_flags; /* setup flags that this "kernel" does not know */
static int fail_once;          /* the next wait fails with this and does nothing */
static bool lose_once;         /* the next wait loses all completions */

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
	int (*real)(unsigned, struct io_uring *, struct io_uring_params *);

	if (p->flags & unknown_flags)
		return -EINVAL;
	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
	return real(entries, ring, p);
}

static int spoil(struct io_uring *ring, int r)
{
	if (!lose_once)
		return r;
	lose_once = false;
	io_uring_cq_advance(ring, io_uring_cq_ready(ring));
	return -EBADR;
}

static int take_failure(void)
{
	int r = fail_once;

	fail_once = 0;
	return r;
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
	int (*real)(struct io_uring *);

	if (fail_once)
		return take_failure();
	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
	return spoil(ring, real(ring));
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n,
				     struct __kernel_timespec *ts, sigset_t *mask)
{
	int (*real)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *,
		    sigset_t *);

	if (fail_once)
		return take_failure();
	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");
	return spoil(ring, real(ring, cqe, n, ts, mask));
}

/* --- what the tests share --- */

static bool is_uring(enum variant v)
{
	return v <= URING_PLAIN;
}

static struct tarn__loop *open_loop(enum variant v)
{
	char reason[TARN__LOOP_REASON];
	struct tarn__loop *loop = NULL;

	if (v == URING_COOP || v == URING_PLAIN)
		unknown_flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER;
	if (v == URING_PLAIN)
		unknown_flags |= IORING_SETUP_COOP_TASKRUN;
	if (v == EPOLL_MS && tarn_test__refuse(SYS_epoll_pwait2, SYS_epoll_pwait2, ENOSYS) < 0)
		cr_skip_test("no seccomp filters here");

	if (tarn__loop_open(is_uring(v) ? TARN__LOOP_URING : TARN__LOOP_EPOLL, reason, &loop) < 0)
		cr_skip_test("%s", reason);
	return loop;
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* A watch that counts, and on request drains, ends watches or begins one. */
struct probe {
	struct tarn__loop_watch w;
	struct tarn__loop *loop;
	int n_calls;
	uint32_t events;
	bool drains;
	struct probe *ends[2];
	struct probe *begins;
};

static void on_ready(void *arg, uint32_t events)
{
	struct probe *p = arg;
	uint64_t value;

	p->n_calls++;
	p->events = events;
	if (p->drains && read(p->w.fd, &value, sizeof(value)) != sizeof(value))
		p->n_calls += 1000; /* called though there is nothing to read */
	for (size_t i = 0; i < 2; i++)
		if (p->ends[i])
			tarn__loop_unwatch(p->loop, &p->ends[i]->w);
	if (p->begins)
		tarn__loop_watch(p->loop, &p->begins->w);
}

static void probe_init(struct probe *p, struct tarn__loop *loop, int fd)
{
	cr_assert(ge(int, fd, 0));
	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->w = (struct tarn__loop_watch){ fd, on_ready, p };
}

static void probe_watch(struct probe *p, struct tarn__loop *loop, int fd)
{
	probe_init(p, loop, fd);
	cr_assert(eq(int, tarn__loop_watch(loop, &p->w), 0));
}

static int new_event(unsigned value)
{
	return eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void ring_bell(int fd)
{
	uint64_t one = 1;

	cr_assert(eq(int, (int)write(fd, &one, sizeof(one)), (int)sizeof(one)));
}

/* Looks often enough for each back-end to have seen all there is. */
static int look(struct tarn__loop *loop)
{
	int n = 0;

	for (int i = 0; i < 4; i++) {
		int r = tarn__loop_wait(loop, 0);

		cr_assert(ge(int, r, 0));
		n += r;
	}
	return n;
}

static struct criterion_test_params every_variant(void)
{
	static enum variant v[] = { URING, URING_COOP, URING_PLAIN, EPOLL, EPOLL_MS };

	return cr_make_param_array(enum variant, v, N_VARIANTS);
}

#define LOOP_TEST(name) \
	ParameterizedTestParameters(loop, name) \
	{ \
		return every_variant(); \
	} \
	ParameterizedTest(enum variant *v, loop, name)

TestSuite(loop, .timeout = 20);
TestSuite(loop_choice, .timeout = 20);
TestSuite(loop_fault, .timeout = 20);

/* --- readiness --- */

LOOP_TEST(tells_its_name_and_reason)
{
	static const char *const reason[] = { "works here (deferred task work)",
					      "works here (cooperative task work)",
					      "works here (plain ring)", "asked for", "asked for" };
	struct tarn__loop *loop = open_loop(*v);

	cr_assert(eq(str, (char *)tarn__loop_name(loop), is_uring(*v) ? "io_uring" : "epoll"));
	/* A kernel may truly be old. */
	if (*v != URING)
		cr_assert(eq(str, (char *)tarn__loop_reason(loop), (char *)reason[*v]));
	tarn__loop_close(loop);
}

LOOP_TEST(what_is_not_drained_is_reported_again)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe p;

	probe_watch(&p, loop, new_event(1));
	for (int i = 1; i <= 5; i++) {
		cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
		cr_assert(eq(int, p.n_calls, i));
		cr_assert(eq(u32, p.events, EPOLLIN));
		cr_assert(tarn__loop_pending(loop));
	}
	p.drains = true;
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, look(loop), 0));
	ring_bell(p.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, p.n_calls, 7));
	tarn__loop_close(loop);
}

LOOP_TEST(pending_follows_readiness)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe p;

	probe_watch(&p, loop, new_event(0));
	cr_assert(tarn__loop_pending(loop)); /* its poll is not submitted */
	cr_assert(eq(int, look(loop), 0));
	cr_assert(eq(int, tarn__loop_pending(loop), !is_uring(*v)));
	ring_bell(p.w.fd);
	cr_assert(tarn__loop_pending(loop));
	cr_assert(eq(int, tarn__loop_wait(loop, 0), 1));
	cr_assert(tarn__loop_pending(loop));
	tarn__loop_close(loop);
}

/* The doorbell: rung with each wake-up, and of no interest before the next sleep. */
LOOP_TEST(what_only_a_sleeper_needs_is_no_reason_to_look)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe bell, other;

	probe_init(&bell, loop, new_event(0));
	bell.w.idle_only = true;
	bell.drains = true;
	cr_assert(eq(int, tarn__loop_watch(loop, &bell.w), 0));
	cr_assert(eq(int, look(loop), 0));
	for (int i = 1; i <= 3; i++) {
		ring_bell(bell.w.fd);
		cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
		cr_assert(eq(int, bell.n_calls, i));
		/* Its next poll is not submitted, and that is all. */
		cr_assert(eq(int, tarn__loop_pending(loop), !is_uring(*v)));
	}
	/* Rung before it is polled again: the next sleep does not begin. */
	ring_bell(bell.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, bell.n_calls, 4));
	/* Others are still seen beside it. */
	probe_watch(&other, loop, new_event(1));
	cr_assert(tarn__loop_pending(loop));
	cr_assert(eq(int, look(loop) > 0, 1));
	cr_assert(ge(int, other.n_calls, 1));
	tarn__loop_unwatch(loop, &other.w);
	cr_assert(eq(int, tarn__loop_wait(loop, 0), 0));
	cr_assert(eq(int, tarn__loop_pending(loop), !is_uring(*v)));
	ring_bell(bell.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	tarn__loop_close(loop);
}

LOOP_TEST(listener_client_and_hang_up)
{
	const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
	struct tarn__loop *loop = open_loop(*v);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t); /* so bind chooses an abstract name */
	int listener = socket(AF_UNIX, type, 0), client = socket(AF_UNIX, type, 0);
	struct probe l, p;

	cr_assert(eq(int, bind(listener, (struct sockaddr *)&addr, len), 0));
	cr_assert(eq(int, listen(listener, 5), 0));
	len = sizeof(addr);
	cr_assert(eq(int, getsockname(listener, (struct sockaddr *)&addr, &len), 0));
	probe_watch(&l, loop, listener);
	cr_assert(eq(int, look(loop), 0));
	cr_assert(eq(int, connect(client, (struct sockaddr *)&addr, len), 0));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(u32, l.events, EPOLLIN));

	probe_watch(&p, loop, accept(listener, NULL, NULL));
	cr_assert(eq(int, look(loop), 0));
	cr_assert(eq(int, (int)send(client, "x", 1, 0), 1));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(u32, p.events, EPOLLIN));
	close(client);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(u32, p.events, EPOLLIN | EPOLLHUP | EPOLLRDHUP));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1)); /* a hang-up stays */
	tarn__loop_close(loop);
}

LOOP_TEST(closing_after_unwatch_hangs_up_on_the_peer)
{
	struct tarn__loop *loop = open_loop(*v);
	struct pollfd peer = { .events = POLLIN };
	int pair[2];
	struct probe p;

	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0));
	probe_watch(&p, loop, pair[0]);
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_unwatch(loop, &p.w);
	close(pair[0]);
	peer.fd = pair[1];
	/* No call to the loop in between, and no waiting. */
	cr_assert(eq(int, poll(&peer, 1, 0), 1));
	cr_assert(ne(int, peer.revents & POLLHUP, 0));
	tarn__loop_close(loop);
}

LOOP_TEST(pidfd_of_a_child_that_exits)
{
	struct tarn__loop *loop = open_loop(*v);
	int gate[2], status;
	struct probe p;
	pid_t pid;

	cr_assert(eq(int, pipe2(gate, O_CLOEXEC), 0));
	pid = fork();
	if (pid == 0) {
		char c;

		close(gate[1]);
		(void)!read(gate[0], &c, 1);
		_exit(7);
	}
	probe_watch(&p, loop, (int)syscall(SYS_pidfd_open, pid, 0));
	cr_assert(eq(int, look(loop), 0));
	close(gate[1]);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(ne(u32, p.events & EPOLLIN, 0));
	cr_assert(eq(int, waitpid(pid, &status, WNOHANG), pid));
	cr_assert(eq(int, WEXITSTATUS(status), 7));
	tarn__loop_close(loop);
}

LOOP_TEST(many_descriptors_all_get_their_turn)
{
	static struct probe p[MANY];
	struct tarn__loop *loop = open_loop(*v);
	int n = 0;

	for (int i = 0; i < MANY; i++)
		probe_watch(&p[i], loop, new_event(1));
	/* All stay ready; nobody may starve while others are served again. */
	while (n < 4 * MANY) {
		int r = tarn__loop_wait(loop, -1);

		cr_assert(gt(int, r, 0));
		n += r;
	}
	for (int i = 0; i < MANY; i++) {
		cr_assert(ge(int, p[i].n_calls, 1));
		p[i].n_calls = 0;
		p[i].drains = true;
	}
	for (n = 0; n < MANY; n += tarn__loop_wait(loop, -1))
		;
	for (int i = 0; i < MANY; i++)
		cr_assert(eq(int, p[i].n_calls, 1));
	cr_assert(eq(int, look(loop), 0));

	for (int i = 0; i < MANY; i++)
		ring_bell(p[i].w.fd);
	for (int i = 0; i < MANY; i += 2)
		tarn__loop_unwatch(loop, &p[i].w);
	for (n = 0; n < MANY / 2; n += tarn__loop_wait(loop, -1))
		;
	for (int i = 0; i < MANY; i++)
		cr_assert(eq(int, p[i].n_calls, 1 + i % 2));
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_close(loop);
}

/* --- watching and unwatching --- */

LOOP_TEST(watch_refuses_nonsense)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe p, q;

	probe_watch(&p, loop, new_event(0));
	probe_init(&q, loop, p.w.fd);
	cr_assert(eq(int, tarn__loop_watch(loop, &q.w), -EEXIST));
	tarn__loop_unwatch(loop, &q.w); /* not watched: does nothing */
	q.w.fd = -1;
	cr_assert(eq(int, tarn__loop_watch(loop, &q.w), -EBADF));
	tarn__loop_unwatch(loop, &q.w);
	q.w.fd = 1000;
	cr_assert(eq(int, tarn__loop_watch(loop, &q.w), -EBADF));
	ring_bell(p.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	tarn__loop_close(loop);
	tarn__loop_close(NULL);
}

LOOP_TEST(unwatch_in_its_own_callback)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe *p = malloc(sizeof(*p));

	probe_watch(p, loop, new_event(1));
	p->ends[0] = p;
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, p->n_calls, 1));
	free(p);
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_close(loop);
}

/* Whichever comes first ends the other, which then must not be called. */
LOOP_TEST(unwatch_in_the_callback_of_another_while_both_are_ready)
{
	for (int served_before = 0; served_before < 2; served_before++) {
		struct tarn__loop *loop = open_loop(*v);
		struct probe a, b;

		probe_watch(&a, loop, new_event(1));
		probe_watch(&b, loop, new_event(1));
		if (served_before)
			cr_assert(ge(int, look(loop), 2));
		a.n_calls = b.n_calls = 0;
		a.ends[0] = &b;
		b.ends[0] = &a;
		cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
		cr_assert(eq(int, look(loop), 4));
		cr_assert(a.n_calls == 0 || b.n_calls == 0);
		tarn__loop_close(loop);
		close(a.w.fd);
		close(b.w.fd);
	}
}

/* The fd is the same, what was queued for its former owner is not for c. */
LOOP_TEST(a_new_watch_of_the_same_descriptor_inherits_nothing)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe a, b, c;
	int quiet = new_event(0), fd;

	probe_watch(&a, loop, new_event(1));
	probe_watch(&b, loop, new_event(1));
	cr_assert(ge(int, look(loop), 2));
	tarn__loop_unwatch(loop, &a.w);
	fd = a.w.fd;
	cr_assert(eq(int, dup2(quiet, fd), fd));
	probe_watch(&c, loop, fd);
	a.n_calls = b.n_calls = 0;
	b.drains = true;
	cr_assert(eq(int, look(loop), 1));
	cr_assert(eq(int, a.n_calls, 0));
	cr_assert(eq(int, b.n_calls, 1));
	cr_assert(eq(int, c.n_calls, 0));
	ring_bell(quiet);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, c.n_calls, 1));
	tarn__loop_close(loop);
}

LOOP_TEST(watch_and_rewatch_in_a_callback)
{
	struct tarn__loop *loop = open_loop(*v);
	struct probe a, b;
	int high = fcntl(new_event(1), F_DUPFD_CLOEXEC, 200); /* makes the table move */

	probe_watch(&a, loop, new_event(1));
	probe_init(&b, loop, high);
	a.drains = true;
	a.begins = &b;
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, b.n_calls, 1));
	b.ends[0] = b.begins = &b; /* ends and begins itself */
	for (int i = 2; i < 5; i++) {
		cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
		cr_assert(eq(int, b.n_calls, i));
	}
	tarn__loop_close(loop);
}

/* Against a model: after any series of steps exactly those watched and ready
 * are called. */
LOOP_TEST(random_steps_agree_with_a_model)
{
	enum { N = 24 };
	struct tarn__loop *loop = open_loop(*v);
	static struct probe p[N];
	bool watched[N] = { 0 }, ready[N] = { 0 };
	unsigned seed = 12345;

	for (int i = 0; i < N; i++)
		probe_init(&p[i], loop, new_event(0));
	for (int step = 0; step < 3000; step++) {
		int i = rand_r(&seed) % N;
		uint64_t value;

		switch (rand_r(&seed) % 5) {
		case 0:
			cr_assert(eq(int, tarn__loop_watch(loop, &p[i].w), watched[i] ? -EEXIST : 0));
			watched[i] = true;
			break;
		case 1:
			tarn__loop_unwatch(loop, &p[i].w);
			watched[i] = false;
			break;
		case 2:
			ring_bell(p[i].w.fd);
			ready[i] = true;
			break;
		case 3:
			ready[i] = false;
			(void)!read(p[i].w.fd, &value, sizeof(value));
			break;
		default:
			/* io_uring may once report what was drained since it
			 * became ready, as nobody's callback did that. */
			look(loop);
			for (int k = 0; k < N; k++)
				p[k].n_calls = 0;
			look(loop);
			for (int k = 0; k < N; k++)
				cr_assert(eq(int, p[k].n_calls > 0, watched[k] && ready[k]));
		}
	}
	tarn__loop_close(loop);
}

/* --- waiting --- */

LOOP_TEST(timeouts_are_kept)
{
	static const int64_t timeouts[] = { 0, 1, 300000, 3 * MS + 1, 40 * MS };
	struct tarn__loop *loop = open_loop(*v);
	struct probe p;

	probe_watch(&p, loop, new_event(0));
	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		int64_t begin = now();

		cr_assert(eq(int, tarn__loop_wait(loop, timeouts[i]), 0));
		cr_assert(ge(i64, now() - begin, timeouts[i]));
	}
	cr_assert(eq(int, p.n_calls, 0));
	tarn__loop_close(loop);
}

LOOP_TEST(idle_wait_returns_once)
{
	struct tarn__loop *loop = open_loop(*v);
	struct rusage before, after;
	struct probe a, b;
	int64_t begin;

	probe_watch(&a, loop, new_event(0));
	probe_watch(&b, loop, new_event(0));
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_unwatch(loop, &b.w); /* its remains must not end the wait */
	begin = now();
	getrusage(RUSAGE_THREAD, &before);
	cr_assert(eq(int, tarn__loop_wait(loop, 200 * MS), 0));
	getrusage(RUSAGE_THREAD, &after);
	cr_assert(ge(i64, now() - begin, 200 * MS));
	/* One sleep; a second if the kernel needs this thread to take down the
	 * ring that tried whether io_uring works. */
	cr_assert(le(long, after.ru_nvcsw - before.ru_nvcsw, 2));
	tarn__loop_close(loop);
}

static void *ring_later(void *arg)
{
	const int *fd = arg;
	uint64_t one = 1;

	usleep(30000);
	return (void *)(intptr_t)write(*fd, &one, sizeof(one));
}

LOOP_TEST(another_thread_wakes_an_endless_wait)
{
	struct tarn__loop *loop = open_loop(*v);
	pthread_t thread;
	struct probe p;

	probe_watch(&p, loop, new_event(0));
	p.drains = true;
	for (int i = 1; i <= 3; i++) {
		cr_assert(eq(int, pthread_create(&thread, NULL, ring_later, &p.w.fd), 0));
		cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
		cr_assert(eq(int, p.n_calls, i));
		pthread_join(thread, NULL);
	}
	tarn__loop_close(loop);
}

/* The doorbell of a reactor that polls its lanes and never sleeps. */
LOOP_TEST(pending_sees_another_thread_without_a_wait)
{
	struct tarn__loop *loop = open_loop(*v);
	pthread_t thread;
	struct probe p;

	probe_watch(&p, loop, new_event(0));
	cr_assert(eq(int, look(loop), 0));
	cr_assert(eq(int, pthread_create(&thread, NULL, ring_later, &p.w.fd), 0));
	while (!tarn__loop_pending(loop) || tarn__loop_wait(loop, 0) == 0)
		;
	cr_assert(eq(int, p.n_calls, 1));
	pthread_join(thread, NULL);
	tarn__loop_close(loop);
}

static void *open_in_thread(void *arg)
{
	enum variant *v = arg;

	return open_loop(*v);
}

static void *watch_in_thread(void *arg)
{
	struct probe *p = arg;

	probe_watch(p, p->loop, new_event(1));
	return NULL;
}

LOOP_TEST(opened_and_filled_by_a_thread_that_is_gone)
{
	static struct probe p[MANY];
	struct tarn__loop *loop;
	pthread_t thread;
	void *opened;
	int n;

	if (*v == EPOLL_MS)
		return; /* its filter would go with the thread */
	cr_assert(eq(int, pthread_create(&thread, NULL, open_in_thread, v), 0));
	pthread_join(thread, &opened);
	loop = opened;
	for (int i = 0; i < MANY; i++) {
		p[i].loop = loop;
		cr_assert(eq(int, pthread_create(&thread, NULL, watch_in_thread, &p[i]), 0));
		pthread_join(thread, NULL);
		p[i].drains = true;
	}
	tarn__loop_unwatch(loop, &p[0].w);
	for (n = 0; n < MANY - 1; n += tarn__loop_wait(loop, -1))
		;
	cr_assert(eq(int, p[0].n_calls, 0));
	cr_assert(eq(int, p[MANY - 1].n_calls, 1));
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_close(loop);
}

static volatile sig_atomic_t n_signals;

static void on_alarm(int sig)
{
	(void)sig;
	n_signals = n_signals + 1;
}

LOOP_TEST(a_signal_ends_the_wait_and_loses_nothing)
{
	struct itimerval often = { { 0, 10000 }, { 0, 10000 } }, never = { 0 };
	struct sigaction act = { .sa_handler = on_alarm };
	struct tarn__loop *loop = open_loop(*v);
	struct probe p;
	sigset_t set;

	probe_watch(&p, loop, new_event(0));
	cr_assert(eq(int, look(loop), 0));
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	/* Criterion's own thread may take some of the signals. */
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 0));
	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert(gt(int, n_signals, 0));
	ring_bell(p.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	tarn__loop_close(loop);
}

LOOP_TEST(a_forked_child_cannot_touch_the_loop)
{
	struct tarn__loop *loop = open_loop(*v);
	int status, spare = new_event(1);
	struct probe p;
	pid_t pid;

	probe_watch(&p, loop, new_event(0));
	cr_assert(eq(int, look(loop), 0));
	pid = fork();
	if (pid == 0) {
		struct tarn__loop_watch w = { spare, on_ready, &p };
		int wrong = 0;

		wrong |= (tarn__loop_watch(loop, &w) != -ECHILD) << 0;
		wrong |= (tarn__loop_wait(loop, 0) != -ECHILD) << 1;
		wrong |= (tarn__loop_wait(loop, -1) != -ECHILD) << 2;
		tarn__loop_unwatch(loop, &p.w);
		tarn__loop_close(loop);
		_exit(wrong);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(eq(int, status, 0));
	cr_assert(eq(int, look(loop), 0));
	ring_bell(p.w.fd);
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	tarn__loop_close(loop);
}

/* --- which back-end --- */

struct refusal {
	long first, last;
	int err;
	const char *step; /* a literal: the worker has it at another address */
};

enum { REFUSE_EPERM, REFUSE_ENOSYS, REFUSE_ENTER, REFUSE_REGISTER, N_REFUSALS };

static struct criterion_test_params every_refusal(void)
{
	static int id[] = { REFUSE_EPERM, REFUSE_ENOSYS, REFUSE_ENTER, REFUSE_REGISTER };

	return cr_make_param_array(int, id, N_REFUSALS);
}

static struct refusal refuse(int id)
{
	static const struct refusal all[] = {
		{ SYS_io_uring_setup, SYS_io_uring_register, EPERM, "io_uring_setup: " },
		{ SYS_io_uring_setup, SYS_io_uring_register, ENOSYS, "io_uring_setup: " },
		{ SYS_io_uring_enter, SYS_io_uring_enter, EPERM, "io_uring_enter: " },
		{ SYS_io_uring_register, SYS_io_uring_register, EPERM, "io_uring_register: " },
	};
	struct refusal f = all[id];
	struct tarn__loop *loop;

	/* Where it is refused anyway only the whole refusal can be played. */
	if (f.first != SYS_io_uring_setup) {
		if (tarn__loop_open(TARN__LOOP_URING, NULL, &loop) < 0)
			cr_skip_test("io_uring does not work here");
		tarn__loop_close(loop);
	}
	if (tarn_test__refuse((uint32_t)f.first, (uint32_t)f.last, (uint32_t)f.err) < 0)
		cr_skip_test("no seccomp filters here");
	return f;
}

static void check_reason(const char *reason, const struct refusal *f)
{
	char number[32];

	snprintf(number, sizeof(number), "errno %d", f->err);
	cr_assert(eq(int, strncmp(reason, f->step, strlen(f->step)), 0), "%s", reason);
	cr_assert(not(zero(ptr, strstr(reason, strerror(f->err)))), "%s", reason);
	cr_assert(not(zero(ptr, strstr(reason, number))), "%s", reason);
	cr_assert(not(zero(ptr, strstr(reason, "kernel.io_uring_disabled="))), "%s", reason);
	/* Where the sysctl forbids it the filter is not to blame. */
	if (!strstr(reason, "which forbids it"))
		cr_assert(not(zero(ptr, strstr(reason, "seccomp filter active"))), "%s", reason);
	cr_assert(eq(int, strchr(reason, '\n') != NULL, 0));
}

ParameterizedTestParameters(loop_choice, auto_falls_back_to_epoll_and_says_why)
{
	return every_refusal();
}
ParameterizedTest(int *id, loop_choice, auto_falls_back_to_epoll_and_says_why)
{
	struct refusal f = refuse(*id);
	char reason[TARN__LOOP_REASON];
	struct tarn__loop *loop;
	struct probe p;

	cr_assert(eq(int, tarn__loop_open(TARN__LOOP_AUTO, reason, &loop), 0));
	cr_assert(eq(str, (char *)tarn__loop_name(loop), "epoll"));
	cr_assert(eq(str, (char *)tarn__loop_reason(loop), reason));
	check_reason(reason, &f);
	probe_watch(&p, loop, new_event(1));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	tarn__loop_close(loop);
}

ParameterizedTestParameters(loop_choice, forced_io_uring_fails_and_says_why)
{
	return every_refusal();
}
ParameterizedTest(int *id, loop_choice, forced_io_uring_fails_and_says_why)
{
	struct refusal f = refuse(*id);
	char reason[TARN__LOOP_REASON];
	struct tarn__loop *loop = NULL;

	cr_assert(eq(int, tarn__loop_open(TARN__LOOP_URING, reason, &loop), -f.err));
	cr_assert(zero(ptr, loop));
	check_reason(reason, &f);
}

Test(loop_choice, auto_takes_io_uring_where_it_works)
{
	struct tarn__loop *loop;

	if (tarn__loop_open(TARN__LOOP_URING, NULL, &loop) < 0)
		cr_skip_test("io_uring does not work here");
	tarn__loop_close(loop);
	cr_assert(eq(int, tarn__loop_open(TARN__LOOP_AUTO, NULL, &loop), 0));
	cr_assert(eq(str, (char *)tarn__loop_name(loop), "io_uring"));
	tarn__loop_close(loop);
}

Test(loop_choice, opening_and_failing_leaks_no_descriptor)
{
	int next = dup(0);
	struct tarn__loop *loop;

	close(next);
	for (enum tarn__loop_mode m = TARN__LOOP_AUTO; m <= TARN__LOOP_EPOLL; m++)
		if (tarn__loop_open(m, NULL, &loop) == 0)
			tarn__loop_close(loop);
	unknown_flags = IORING_SETUP_R_DISABLED; /* fails after the test ring */
	cr_assert(eq(int, tarn__loop_open(TARN__LOOP_URING, NULL, &loop) < 0, 1));
	cr_assert(eq(int, dup(0), next));
}

/* --- faults of the ring --- */

Test(loop_fault, lost_completions_are_made_good)
{
	static struct probe p[MANY];
	struct tarn__loop *loop = open_loop(URING);
	int n;

	for (int i = 0; i < MANY; i++)
		probe_watch(&p[i], loop, new_event((unsigned)i % 2));
	lose_once = true;
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 0));
	cr_assert(eq(int, lose_once, false));
	for (int i = 0; i < MANY; i++)
		p[i].drains = true;
	for (n = 0; n < MANY / 2; n += tarn__loop_wait(loop, -1))
		;
	cr_assert(eq(int, look(loop), 0));
	for (int i = 0; i < MANY; i++)
		cr_assert(eq(int, p[i].n_calls, i % 2));
	ring_bell(p[0].w.fd); /* one whose poll was not lost, but replaced too */
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	cr_assert(eq(int, look(loop), 0));
	tarn__loop_close(loop);
}

Test(loop_fault, a_kernel_out_of_memory_is_told_and_asked_again)
{
	struct tarn__loop *loop = open_loop(URING);
	struct probe p;

	probe_watch(&p, loop, new_event(1));
	fail_once = -EAGAIN;
	cr_assert(eq(int, tarn__loop_wait(loop, -1), -EAGAIN));
	cr_assert(tarn__loop_pending(loop));
	cr_assert(eq(int, tarn__loop_wait(loop, -1), 1));
	/* unwatch while nothing can be submitted */
	fail_once = -EAGAIN;
	tarn__loop_unwatch(loop, &p.w);
	cr_assert(eq(int, look(loop), 0));
	cr_assert(eq(int, p.n_calls, 1));
	tarn__loop_close(loop);
}
