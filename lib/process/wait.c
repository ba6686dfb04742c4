/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for things of several kinds.
 *
 * Processes, threads, calls and descriptors are waited for by poll(); objects by futex words in
 * shared memory. If there are both, a thread sleeps on the words for the time of the wait, and tells
 * by an eventfd when one changed: nobody polls.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/client/pending.h"
#include "process.h"
#include "shm/wake.h"
#include "tarn/wait.h"
#include "thread.h"
#include "wait-object.h"

struct entry {
	tarn_waitable w;
	bool done, failed;
	uint64_t at;           /* when it was done, as far as can be told */
	bool given;            /* of a completion */
};

/* The thread for the words, while there are descriptors, too. */
struct watcher {
	pthread_t thread;
	bool running;
	int fd;                /* it tells */
	uint32_t stop;         /* the last of the words */
	const uint32_t **words;
	uint32_t *seen;
	size_t n;              /* with stop */
};

struct wait {
	struct entry *entry;
	size_t n;
	struct pollfd *fds;
	const uint32_t **words;
	uint32_t *seen;
	size_t n_fds, n_words;
};

/* ---- what they are ---- */

static int look_process(struct entry *e)
{
	struct tarn_process *p = e->w.of.process;
	enum tarn_process_state s = tarn_process_state(p);

	if (p->owner != getpid())
		return tarn__fail(-TARN_EFORKED, "Process %s was spawned by the process that this one was "
				  "forked from: that one waits for it.", p->name);
	if (s == TARN_PROCESS_INITIAL)
		return tarn__fail(-TARN_ESTATE, "Process %s was not started: nobody can wait for it.",
				  p->name);
	e->done = s != TARN_PROCESS_RUNNING;
	e->failed = s == TARN_PROCESS_FAILED || s == TARN_PROCESS_KILLED;
	e->at = e->done ? p->ended_ns : 0;
	return 0;
}

static int look_call(struct entry *e)
{
	int r = tarn_call_poll(e->w.of.call);

	if (r < 0)
		return r;
	e->done = r > 0;
	e->failed = e->done && tarn__pending_failed(e->w.of.call);
	return 0;
}

static int look_fd(struct entry *e)
{
	struct pollfd p = { .fd = e->w.fd, .events = e->w.events };
	int r = poll(&p, 1, 0);

	if (r > 0 && (p.revents & POLLNVAL))
		return tarn__fail(-EBADF, "%d is not an open descriptor.", e->w.fd);
	e->done = r > 0;
	return 0;
}

/* Without waiting: whether it is done. */
static int look(struct entry *e)
{
	int r = 0;

	if (e->done)
		return 0;
	switch (e->w.kind) {
	case TARN_WAITABLE_PROCESS:
		r = look_process(e);
		break;
	case TARN_WAITABLE_THREAD:
		e->done = tarn_thread_done(e->w.of.thread);
		e->failed = e->done && tarn__thread_failed(e->w.of.thread);
		e->at = e->done ? tarn__thread_ended_ns(e->w.of.thread) : 0;
		break;
	case TARN_WAITABLE_CALL:
		r = look_call(e);
		break;
	case TARN_WAITABLE_OBJECT:
		r = tarn__wait_object_ready(e->w.of.object);
		e->done = r > 0;
		break;
	case TARN_WAITABLE_FD:
		r = look_fd(e);
		break;
	default:
		return tarn__fail(-EINVAL, "%d is no kind of thing to wait for.", (int)e->w.kind);
	}
	if (e->done && e->at == 0)
		e->at = tarn__now();
	return r < 0 ? r : 0;
}

/* ---- what to sleep on ---- */

static int add_fd(struct wait *w, int fd, short events)
{
	if (fd == -TARN_EFORKED)
		return tarn__negative(fd); /* said already */
	if (fd < 0)
		return tarn__fail(fd, "There is no descriptor to wait with: %s.", strerror(-fd));
	w->fds[w->n_fds++] = (struct pollfd){ .fd = fd, .events = events };
	return 0;
}

static int add_call(struct wait *w, struct entry *e)
{
	tarn_client *c = tarn__pending_client(e->w.of.call);
	int fd, r = tarn_client_event_fd(c, &fd);

	/* What comes from now on makes it readable; what came before is seen by the look after this. */
	if (r == 0)
		r = tarn_client_event_clear(c);
	return r < 0 ? r : add_fd(w, fd, POLLIN);
}

static int add(struct wait *w, struct entry *e)
{
	int r;

	switch (e->w.kind) {
	case TARN_WAITABLE_PROCESS:
		return add_fd(w, tarn_process_fd(e->w.of.process), POLLIN);
	case TARN_WAITABLE_THREAD:
		return add_fd(w, tarn__thread_fd(e->w.of.thread), POLLIN);
	case TARN_WAITABLE_CALL:
		return add_call(w, e);
	case TARN_WAITABLE_FD:
		return add_fd(w, e->w.fd, e->w.events);
	default:
		r = tarn__wait_object_word(e->w.of.object, &w->words[w->n_words], &w->seen[w->n_words]);
		w->n_words += r == 0;
		return r;
	}
}

/* Prepares a sleep: everything that is not done. */
static int prepare(struct wait *w)
{
	int r = 0;

	w->n_fds = w->n_words = 0;
	for (size_t i = 0; i < w->n && r == 0; i++)
		if (!w->entry[i].done)
			r = add(w, &w->entry[i]);
	return r;
}

/* ---- sleeping ---- */

static void *watch(void *arg)
{
	struct watcher *k = arg;
	const uint64_t one = 1;

	for (;;) {
		/* SYNC wait-stop, acquire. */
		if (tarn__load32_acquire(&k->stop) != 0)
			return NULL;
		tarn__wait_words(k->words, k->seen, k->n, UINT64_MAX - 1);
		for (size_t i = 0; i < k->n; i++)
			if (tarn__load32_acquire(k->words[i]) != k->seen[i]) {
				if (write(k->fd, &one, sizeof one) < 0)
					return NULL; /* it is readable already */
				return NULL;
			}
	}
}

static int watcher_start(struct watcher *k, struct wait *w)
{
	sigset_t all, old;

	k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->fd < 0)
		return tarn__fail(-errno, "There is no descriptor to wait with: %s.", strerror(errno));
	k->stop = 0;
	w->words[w->n_words] = &k->stop; /* there is room for one more */
	w->seen[w->n_words] = 0;
	k->words = w->words;
	k->seen = w->seen;
	k->n = w->n_words + 1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&k->thread, NULL, watch, k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		close(k->fd);
		/* EAGAIN is for who looked, and would have to wait. */
		return tarn__fail(r == -EAGAIN ? -ENOMEM : r, "There is no thread to wait with: %s.", strerror(-r));
	}
	k->running = true;
	return 0;
}

static void watcher_stop(struct watcher *k)
{
	if (!k->running)
		return;
	/* SYNC wait-stop, release: nothing but the word. */
	tarn__store32_release(&k->stop, 1);
	tarn__futex_wake(&k->stop, 1);
	pthread_join(k->thread, NULL);
	close(k->fd);
}

static void poll_until(struct pollfd *fds, size_t n, uint64_t deadline)
{
	const uint64_t now = tarn__now(), left = deadline > now ? deadline - now : 0;
	const struct timespec t = { .tv_sec = (time_t)(left / 1000000000u),
				    .tv_nsec = (long)(left % 1000000000u) };

	ppoll(fds, n, deadline == UINT64_MAX ? NULL : &t, NULL);
}

/* Calls are looked at now and then: a server that is gone answers none. */
#define CALLS_SLICE_NS 90000000u

static bool has_calls(const struct wait *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (!w->entry[i].done && w->entry[i].w.kind == TARN_WAITABLE_CALL)
			return true;
	return false;
}

static int sleep_on(struct wait *w, uint64_t deadline)
{
	struct watcher k = { .running = false };
	int r = 0;

	if (w->n_fds == 0) {
		tarn__wait_words(w->words, w->seen, w->n_words, deadline);
		return 0;
	}
	if (has_calls(w) || w->n_words > 0) {
		const uint64_t slice = tarn__now() + CALLS_SLICE_NS;

		deadline = slice < deadline ? slice : deadline;
	}
	if (w->n_words > 0) {
		r = watcher_start(&k, w);
		if (r < 0)
			return r;
		w->fds[w->n_fds++] = (struct pollfd){ .fd = k.fd, .events = POLLIN };
	}
	poll_until(w->fds, w->n_fds, deadline);
	watcher_stop(&k);
	return 0;
}

/* ---- waiting ---- */

static int wait_open(struct wait *w, struct entry *entry, size_t n)
{
	*w = (struct wait){ .entry = entry, .n = n };
	w->fds = calloc(n + 1, sizeof *w->fds);
	w->words = calloc(n + 1, sizeof *w->words);
	w->seen = calloc(n + 1, sizeof *w->seen);
	if (w->fds != NULL && w->words != NULL && w->seen != NULL)
		return 0;
	free(w->fds);
	free(w->words);
	free(w->seen);
	return tarn__fail(-ENOMEM, "No memory to wait for %zu things.", n);
}

static void wait_close(struct wait *w)
{
	free(w->fds);
	free(w->words);
	free(w->seen);
}

static int look_at_all(struct wait *w)
{
	int r = 0;

	for (size_t i = 0; i < w->n && r == 0; i++)
		r = look(&w->entry[i]);
	return r;
}

/* Objects are read in place: nobody says that their server is gone. */
static int check_servers(const struct wait *w)
{
	tarn_client *last = NULL;
	int r = 0;

	for (size_t i = 0; i < w->n && r == 0; i++) {
		const struct entry *e = &w->entry[i];
		tarn_client *c = e->done || e->w.kind != TARN_WAITABLE_OBJECT
					 ? NULL
					 : tarn_object_client(e->w.of.object);

		if (c != NULL && c != last)
			r = tarn__client_health(c, tarn__lane_mine(c));
		last = c != NULL ? c : last;
	}
	return r;
}

/* Looks and sleeps until @enough, or the deadline: -ETIMEDOUT. */
static int wait_for(struct wait *w, bool (*enough)(const struct wait *w), uint64_t deadline)
{
	int r = look_at_all(w);

	while (r == 0 && !enough(w)) {
		if (tarn__now() >= deadline)
			return tarn__fail_static(-ETIMEDOUT, "What was waited for is not done yet.");
		r = prepare(w);
		if (r == 0)
			r = look_at_all(w); /* what came before it was prepared rings nobody */
		if (r == 0 && !enough(w))
			r = sleep_on(w, deadline);
		if (r == 0)
			r = look_at_all(w);
		if (r == 0 && !enough(w))
			r = check_servers(w);
	}
	return r;
}

static bool all_done(const struct wait *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (!w->entry[i].done)
			return false;
	return true;
}
static bool one_done(const struct wait *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->entry[i].done)
			return true;
	return w->n == 0;
}
static bool one_failed(const struct wait *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->entry[i].done && w->entry[i].failed)
			return true;
	return all_done(w);
}
static bool one_to_give(const struct wait *w)
{
	bool left = false;

	for (size_t i = 0; i < w->n; i++) {
		if (w->entry[i].done && !w->entry[i].given)
			return true;
		left = left || !w->entry[i].given;
	}
	return !left;
}

static struct entry *entries_new(const tarn_waitable *what, size_t n)
{
	struct entry *e = calloc(n + 1, sizeof *e);

	for (size_t i = 0; e != NULL && i < n; i++)
		e[i].w = what[i];
	if (e == NULL)
		tarn__fail(-ENOMEM, "No memory to wait for %zu things.", n);
	return e;
}

int tarn_wait(const tarn_waitable *what, size_t n, enum tarn_wait_until until, int64_t timeout_ns,
	      bool *ret_done)
{
	struct entry *e = entries_new(what, n);
	struct wait w;
	int r = e != NULL ? wait_open(&w, e, n) : -ENOMEM;

	if (r == 0) {
		r = wait_for(&w, until == TARN_WAIT_FIRST ? one_done
			     : until == TARN_WAIT_FIRST_EXCEPTION ? one_failed : all_done,
			     tarn__deadline(timeout_ns));
		r = tarn__fail_late(r, timeout_ns);
		for (size_t i = 0; i < n && ret_done != NULL; i++)
			ret_done[i] = e[i].done;
		wait_close(&w);
	}
	free(e);
	return r;
}

/* ---- one after the other ---- */

struct tarn_completion {
	struct wait wait;
	int64_t timeout_ns;
	uint64_t deadline;
};

int tarn_completion_new(const tarn_waitable *what, size_t n, int64_t timeout_ns,
			tarn_completion **ret_completion)
{
	struct tarn_completion *c = malloc(sizeof *c);
	struct entry *e = entries_new(what, n);
	int r = e != NULL && c != NULL ? wait_open(&c->wait, e, n) : -ENOMEM;

	if (r < 0) {
		free(e);
		free(c);
		return tarn__fail(r, "No memory to wait for %zu things.", n);
	}
	c->timeout_ns = timeout_ns;
	c->deadline = tarn__deadline(timeout_ns);
	*ret_completion = c;
	return 0;
}

int tarn_completion_next(tarn_completion *completion, size_t *ret_index)
{
	struct wait *w = &completion->wait;
	struct entry *first = NULL;
	int r = tarn__fail_late(wait_for(w, one_to_give, completion->deadline), completion->timeout_ns);

	if (r < 0)
		return r;
	for (size_t i = 0; i < w->n; i++) {
		struct entry *e = &w->entry[i];

		if (e->done && !e->given && (first == NULL || e->at < first->at))
			first = e;
	}
	if (first == NULL)
		return tarn__fail_static(-TARN_EOF, "All of them have been given.");
	first->given = true;
	*ret_index = (size_t)(first - w->entry);
	return 0;
}

tarn_completion *tarn_completion_free(tarn_completion *completion)
{
	if (completion != NULL) {
		wait_close(&completion->wait);
		free(completion->wait.entry);
		free(completion);
	}
	return NULL;
}
