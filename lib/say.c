/* SPDX-License-Identifier: Apache-2.0 */
/*
 * O_NONBLOCK would be the way, but it is a property of the open file, which other processes share. So a pipe or a
 * terminal is opened once more for a line (not a file: it has a position), and a socket is told with each send. Where
 * that cannot be had (no /proc, another user's pipe) poll() says whether there is room, which may be gone when the
 * line is written.
 */
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/wake.h"

#define PATIENCE_NS 1000000000u
#define REGAINED 64u

/* Of this process. Relaxed: a count, and a mark that the next line begins anew; nothing else is read by them. */
static uint64_t lost;
static bool torn;

/* Who waits, as a process: a child that was forked meanwhile has nobody who does. Whoever put its pid there
 * has the two words below until it takes it away. */
static int waiting;
static uint64_t patience_ns = PATIENCE_NS;
static uint64_t waited_ns; /* when somebody did last */

/* A line on its way. */
struct line {
	int own; /* opened for it, and does not block; or -1 */
	bool socket, begun, failed;
	size_t n;
	char at[PIPE_BUF];
};

static int open_again(const struct stat *st)
{
	if (!S_ISFIFO(st->st_mode) && !isatty(STDERR_FILENO))
		return -1;
	return open("/proc/thread-self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static ssize_t write_now(const struct line *l, const char *p, size_t n)
{
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (l->own >= 0)
		return write(l->own, p, n);
	if (l->socket)
		return send(STDERR_FILENO, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (poll(&room, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(STDERR_FILENO, p, n);
}

/* False: there is no room, and no patience left. True: perhaps. */
static bool await_room(void)
{
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };
	const int self = (int)getpid();
	int other = __atomic_load_n(&waiting, __ATOMIC_RELAXED);

	/* SYNC patience, acquire: what the last one that waited left. */
	if (other == self || !__atomic_compare_exchange_n(&waiting, &other, self, false,
							  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	const uint64_t start = tarn__now();

	patience_ns += (start - waited_ns) / REGAINED;
	if (patience_ns > PATIENCE_NS)
		patience_ns = PATIENCE_NS;
	const int ms = (int)(patience_ns / 1000000);
	const int r = ms > 0 ? poll(&room, 1, ms) : 0;
	const bool again = r > 0 || (r < 0 && errno == EINTR);
	const uint64_t spent = tarn__now() - start;

	waited_ns = start + spent;
	patience_ns -= spent < patience_ns ? spent : patience_ns;
	/* SYNC patience, release: the next one that waits has both words. */
	__atomic_store_n(&waiting, 0, __ATOMIC_RELEASE);
	return again;
}

static void flush(struct line *l)
{
	for (size_t at = 0; at < l->n && !l->failed;) {
		ssize_t n = write_now(l, l->at + at, l->n - at);

		if (n > 0) {
			at += (size_t)n;
			l->begun = true;
		} else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !await_room()))) {
			l->failed = true;
		}
	}
	l->n = 0;
}

static void add(struct line *l, const char *s)
{
	for (size_t left = strlen(s); left > 0 && !l->failed;) {
		const size_t n = left < sizeof l->at - l->n ? left : sizeof l->at - l->n;

		memcpy(l->at + l->n, s, n);
		l->n += n;
		s += n;
		left -= n;
		if (l->n == sizeof l->at)
			flush(l);
	}
}

static void add_lost(struct line *l, const char *head, uint64_t n)
{
	char text[96];

	snprintf(text, sizeof text,
		 "lines missing here, for want of room on standard error: %llu\n",
		 (unsigned long long)n);
	add(l, head);
	add(l, text);
}

void tarn__say(const char *head, const char *text)
{
	const int saved = errno;
	struct line l = { .own = -1 };
	struct stat st;

	if (fstat(STDERR_FILENO, &st) < 0) {
		errno = saved;
		return; /* there is none */
	}
	l.socket = S_ISSOCK(st.st_mode);
	l.own = open_again(&st);
	const uint64_t missing = __atomic_exchange_n(&lost, 0, __ATOMIC_RELAXED);
	const bool was_torn = __atomic_exchange_n(&torn, false, __ATOMIC_RELAXED);

	if (was_torn)
		add(&l, "\n");
	if (missing > 0)
		add_lost(&l, head, missing);
	add(&l, head);
	add(&l, text);
	add(&l, "\n");
	flush(&l);
	if (l.failed) /* the first piece has the line about those that are missing, which then was said */
		__atomic_fetch_add(&lost, l.begun ? 1 : missing + 1, __ATOMIC_RELAXED);
	if (l.failed && (l.begun || was_torn))
		__atomic_store_n(&torn, true, __ATOMIC_RELAXED);
	if (l.own >= 0)
		close(l.own);
	errno = saved;
}
