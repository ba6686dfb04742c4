/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that looks after the processes that this one spawned: it collects them when they
 * end, and hands their records and captured lines on. One thread for all; it sleeps on an
 * epoll of pidfds, pipes and one bell that all children ring, so idle children cost nothing.
 *
 * Handlers of records may be slow. Nobody who only wants to know whether a process has ended
 * depends on this thread: tarn__process_collect() is anybody's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "shm/wake.h"

#define EVENTS 64
#define SHARE (64u << 10) /* bytes of a stream between two looks at the others */
#define TURNS 16          /* looks at a ring that always has something new */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct tarn_process *all; /* guarded by mutex; only the thread unlinks */
static int epoll = -1, bell = -1;
static bool running;
static pthread_t thread;

/* What an epoll entry is of: a process, and in the low bits which descriptor of it. */
enum { OF_PIDFD, OF_STREAM };
#define TAG_BITS 7u
static_assert(_Alignof(struct tarn_process) >= 8, "tags fit below a pointer");

/* ---- records ---- */

static void ring_bell(void)
{
	const uint64_t one = 1;

	if (write(bell, &one, sizeof one) < 0)
		return; /* it is rung already */
}

/* What there is now; of one that goes on and on, a share, and more the next time. */
static void drain_ring(struct tarn_process *p)
{
	static union {
		struct tarn__log_wire w;
		unsigned char bytes[TARN__LOG_RECORD_MOST];
	} record; /* this thread's */
	uint64_t taken = 0;
	unsigned turns = 0;
	uint32_t n;

	if (!p->forward)
		return;
	do {
		while (taken <= p->ring_bytes &&
		       (n = tarn__log_ring_get(&p->work->ring, p->ring_bytes, &record)) != 0) {
			tarn__log_deliver_wire(&p->route, &record.w, n);
			taken += n;
		}
		if (taken > p->ring_bytes || ++turns == TURNS) {
			ring_bell();
			return;
		}
	} while (!tarn__log_ring_sleep(&p->work->ring));
}

static void say_line(struct tarn_process *p, const struct tarn__stream_in *s, const char *line)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	const bool is_error = s->source == TARN_LOG_STDERR;
	const tarn_log_record r = {
		.level = is_error ? TARN_LOG_WARNING : TARN_LOG_INFO, .source = s->source,
		.logger = is_error ? "stderr" : "stdout", .message = line, .file = "",
		.function = "", .process = p->name, .pid = (int)p->pid, .tid = (int)p->pid,
		.time_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec,
	};
	tarn__log_deliver(&p->route, &r);
}

/* Says whole lines, and what is left when there is no room or no more. */
static void say_lines(struct tarn_process *p, struct tarn__stream_in *s, bool at_end)
{
	char *from = s->line, *end;

	s->line[s->n] = '\0';
	while ((end = memchr(from, '\n', (size_t)(s->line + s->n - from))) != NULL) {
		*end = '\0';
		say_line(p, s, from);
		from = end + 1;
	}
	s->n = (size_t)(s->line + s->n - from);
	if (s->n > 0 && (at_end || s->n == sizeof s->line - 1)) {
		say_line(p, s, from);
		s->n = 0;
	}
	memmove(s->line, from, s->n);
}

/* Only this thread, and children that were forked: these close what the field says, so it says nothing of a number
 * that may be another's by then. */
static void stream_close(struct tarn__stream_in *s)
{
	const int fd = s->fd;

	/* Closing alone is not leaving: a child that was forked meanwhile has the same pipe open. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	/* Relaxed: this thread's own; a child has all of one moment. The compiler keeps the order. */
	__atomic_store_n(&s->fd, -1, __ATOMIC_RELAXED);
	tarn__compiler_barrier();
	close(fd);
}

/* Up to @most bytes of what there is: one that writes on and on is not the only one. */
static void drain_stream(struct tarn_process *p, struct tarn__stream_in *s, size_t most)
{
	while (s->fd >= 0 && most > 0) {
		size_t room = sizeof s->line - 1 - s->n;
		ssize_t n = read(s->fd, s->line + s->n, room < most ? room : most);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		s->n += n > 0 ? (size_t)n : 0;
		most -= n > 0 ? (size_t)n : 0;
		say_lines(p, s, n <= 0);
		if (n <= 0)
			stream_close(s);
	}
}

/* ---- ends ---- */

static void unlink_process(struct tarn_process *p)
{
	pthread_mutex_lock(&mutex);
	struct tarn_process **link = &all;

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	pthread_mutex_unlock(&mutex);
}

static void ended(struct tarn_process *p)
{
	if (!tarn__process_collect(p))
		return;
	epoll_ctl(epoll, EPOLL_CTL_DEL, p->pidfd, NULL);
	drain_ring(p);
	for (int i = 0; i < 2; i++) {
		/* Its own children may have the pipe still; what they say is not its. What it said
		 * itself is what the pipe holds, at most. */
		int holds = fcntl(p->in[i].fd, F_GETPIPE_SZ);

		drain_stream(p, &p->in[i], holds > 0 ? (size_t)holds : SHARE);
		if (p->in[i].fd >= 0) {
			say_lines(p, &p->in[i], true);
			stream_close(&p->in[i]);
		}
	}
	unlink_process(p);
	/* SYNC process-end, release. */
	tarn__store32_release(&p->drained, 1);
	tarn__futex_wake(&p->drained, INT32_MAX);
	tarn__process_release(p);
}

/* Of those that could be watched only in part. Nothing of this batch is of one any more. */
static void end_given_up(void)
{
	struct tarn_process *p;

	do {
		pthread_mutex_lock(&mutex);
		for (p = all; p != NULL && !p->given_up; p = p->next)
			;
		pthread_mutex_unlock(&mutex);
		if (p == NULL)
			return;
		unlink_process(p);
		epoll_ctl(epoll, EPOLL_CTL_DEL, p->pidfd, NULL);
		for (int i = 0; i < 2; i++)
			if (p->in[i].fd >= 0)
				stream_close(&p->in[i]);
		tarn__process_release(p);
	} while (true);
}

static void rung(void)
{
	uint64_t count;

	if (read(bell, &count, sizeof count) < 0)
		return;
	/* Only this thread unlinks, so the list may be walked without the lock once its
	 * first element is known: others put new ones in front. */
	pthread_mutex_lock(&mutex);
	struct tarn_process *p = all;
	pthread_mutex_unlock(&mutex);
	for (; p != NULL; p = p->next)
		drain_ring(p);
}

static void happened(const struct epoll_event *e, struct tarn_process **ended_now, unsigned *n)
{
	const uintptr_t tag = (uintptr_t)e->data.u64;
	struct tarn_process *p = (struct tarn_process *)(tag & ~(uintptr_t)TAG_BITS);

	if (p == NULL)
		rung();
	else if ((tag & TAG_BITS) == OF_PIDFD)
		ended_now[(*n)++] = p;
	else
		drain_stream(p, &p->in[(tag & TAG_BITS) - OF_STREAM], SHARE);
}

static void *work(void *arg)
{
	struct epoll_event e[EVENTS];
	struct tarn_process *ended_now[EVENTS];

	(void)arg;
	prctl(PR_SET_NAME, "tarn-handler", 0, 0, 0);
	for (;;) {
		int n = epoll_wait(epoll, e, EVENTS, -1);
		unsigned n_ended = 0;

		for (int i = 0; i < n; i++)
			happened(&e[i], ended_now, &n_ended);
		/* Last: other events of this batch may be of the same process. */
		for (unsigned i = 0; i < n_ended; i++)
			ended(ended_now[i]);
		end_given_up();
	}
	return NULL;
}

/* ---- beginning ---- */

static void lock_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}
static void unlock_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}
static void forget_in_child(void)
{
	/* The processes are the parent's children; so is the thread. What they write is for it alone: with an end
	 * here they would go on writing when it is gone. */
	for (struct tarn_process *p = all; p != NULL; p = p->next) {
		for (int i = 0; i < 2; i++) {
			if (p->in[i].fd >= 0)
				close(p->in[i].fd);
			p->in[i].fd = -1;
		}
	}
	if (epoll >= 0)
		close(epoll);
	if (bell >= 0)
		close(bell);
	epoll = bell = -1;
	running = false;
	all = NULL;
	pthread_mutex_unlock(&mutex); /* held by this thread, which forked */
}

/* From the first, as in launch.c. */
__attribute__((constructor(101))) static void prepare_for_fork(void)
{
	pthread_atfork(lock_before_fork, unlock_in_parent, forget_in_child);
}

static int watch(int fd, struct tarn_process *p, unsigned what)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = (uintptr_t)p | what };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : -errno;
}

static int open_descriptors(void)
{
	if (bell >= 0)
		return 0;
	epoll = tarn__fd_high(epoll_create1(EPOLL_CLOEXEC));
	bell = tarn__fd_high(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	int r = epoll < 0 || bell < 0 ? -errno : watch(bell, NULL, 0);
	if (r < 0) {
		if (epoll >= 0)
			close(epoll);
		if (bell >= 0)
			close(bell);
		epoll = bell = -1;
	}
	return r;
}

/* Locked. */
static int start(void)
{
	sigset_t every, old;
	int r = open_descriptors();

	if (r < 0 || running)
		return r;
	sigfillset(&every); /* the program's signals are for its own threads */
	pthread_sigmask(SIG_SETMASK, &every, &old);
	r = -pthread_create(&thread, NULL, work, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		pthread_detach(thread);
	running = r == 0;
	return r;
}

int tarn__handler_bell(void)
{
	pthread_mutex_lock(&mutex);
	int r = open_descriptors();
	r = r < 0 ? r : bell;
	pthread_mutex_unlock(&mutex);
	return r;
}

bool tarn__handler_is_me(void)
{
	pthread_mutex_lock(&mutex);
	bool me = running && pthread_equal(thread, pthread_self());
	pthread_mutex_unlock(&mutex);
	return me;
}

int tarn__handler_add(struct tarn_process *p)
{
	pthread_mutex_lock(&mutex);
	int r = start();
	if (r == 0) {
		p->next = all;
		all = p;
		tarn__process_hold(p);
		for (unsigned i = 0; i < 2 && r == 0; i++)
			if (p->in[i].fd >= 0)
				r = watch(p->in[i].fd, p, OF_STREAM + i);
		if (r == 0)
			r = watch(p->pidfd, p, OF_PIDFD);
		if (r < 0) {
			/* The thread may be at it already. */
			p->given_up = true;
			ring_bell();
		}
	}
	pthread_mutex_unlock(&mutex);
	return r;
}
