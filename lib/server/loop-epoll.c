/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop on epoll, for wherever io_uring is refused.
 *
 * Level-triggered, so the kernel itself repeats what was not drained, and in
 * turn: it moves what it has reported to the end of its ready list, so a batch
 * shorter than the set starves nobody.
 */
#define _GNU_SOURCE
#include "loop.h"

#include "shm/base.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

struct epoll {
	struct tarn__loop base;
	int fd;
	bool ms_only; /* no epoll_pwait2: before Linux 5.11, or an old seccomp profile */
};

static struct epoll *epoll_of(struct tarn__loop *loop)
{
	return tarn__container_of(loop, struct epoll, base);
}

static void epoll_close(struct tarn__loop *loop)
{
	close(epoll_of(loop)->fd);
	free(epoll_of(loop));
}

static int epoll_watch(struct tarn__loop *loop, int fd)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLRDHUP,
		.data.u64 = tarn__loop_key(loop, fd),
	};

	return epoll_ctl(epoll_of(loop)->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void epoll_unwatch(struct tarn__loop *loop, int fd)
{
	(void)epoll_ctl(epoll_of(loop)->fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Rounded up: waking before a deadline only means to wait again. */
static int to_ms(int64_t ns)
{
	int64_t ms = ns / 1000000 + (ns % 1000000 != 0);

	return ns < 0 ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static int collect(struct epoll *e, struct epoll_event *events, int64_t timeout_ns)
{
	struct timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
	int n;

	if (!e->ms_only) {
		n = epoll_pwait2(e->fd, events, BATCH, timeout_ns < 0 ? NULL : &ts, NULL);
		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n < 0 ? -errno : n;
		e->ms_only = true;
	}
	n = epoll_wait(e->fd, events, BATCH, to_ms(timeout_ns));
	return n < 0 ? -errno : n;
}

static int epoll_loop_wait(struct tarn__loop *loop, int64_t timeout_ns)
{
	struct epoll_event events[BATCH];
	int n = collect(epoll_of(loop), events, timeout_ns);
	int n_called = 0;

	if (n < 0)
		return n == -EINTR ? 0 : n;
	for (int i = 0; i < n; i++) {
		struct tarn__loop_slot *slot = tarn__loop_find(loop, events[i].data.u64);

		if (!slot)
			continue; /* ended by a callback before it */
		slot->watch->fn(slot->watch->arg, events[i].events);
		n_called++;
	}
	return n_called;
}

static bool epoll_pending(const struct tarn__loop *loop)
{
	(void)loop;
	return true;
}

static const struct tarn__loop_ops epoll_ops = {
	.name = "epoll",
	.close = epoll_close,
	.watch = epoll_watch,
	.unwatch = epoll_unwatch,
	.wait = epoll_loop_wait,
	.pending = epoll_pending,
};

/* Leaves @ret_reason alone on success: why it came to epoll is known there. */
int tarn__loop_open_epoll(char *ret_reason, struct tarn__loop **ret_loop)
{
	struct epoll *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->base.ops = &epoll_ops;
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		r = -errno;
		snprintf(ret_reason, TARN__LOOP_REASON, "epoll_create1: %s", strerror(-r));
		free(e);
		return r;
	}
	*ret_loop = &e->base;
	return 0;
}
