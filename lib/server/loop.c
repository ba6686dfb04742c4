/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both back-ends share: the choice between them, the guard against use
 * in a forked child, and the table of watches.
 *
 * The table is indexed by fd. Descriptors are small and dense, so it stays
 * short, and "one watch for each fd" (epoll's rule) holds for io_uring too.
 */
#define _GNU_SOURCE
#include "loop.h"

#include "lib/wiped.h"
#include "shm/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A child shares the parent's ring and epoll set: whatever it submitted would
 * happen to the parent. */
static bool forked(const struct tarn__loop *loop)
{
	return loop->mine != NULL ? *loop->mine == 0 : loop->pid != getpid();
}

/* Spares a system call each time that the server sleeps. */
static void mark_mine(struct tarn__loop *loop)
{
	loop->mine = tarn__wiped_new();
	if (loop->mine != NULL)
		*loop->mine = 1;
}

int tarn__loop_open(enum tarn__loop_mode mode, char *ret_reason, struct tarn__loop **ret_loop)
{
	char reason[TARN__LOOP_REASON] = "asked for";
	struct tarn__loop *loop = NULL;
	int r = -ENOSYS;

	if (mode != TARN__LOOP_EPOLL)
		r = tarn__loop_open_uring(reason, &loop);
	if (r < 0 && mode != TARN__LOOP_URING)
		r = tarn__loop_open_epoll(reason, &loop);
	if (ret_reason)
		memcpy(ret_reason, reason, sizeof(reason));
	if (r < 0)
		return r;

	memcpy(loop->reason, reason, sizeof(reason));
	loop->pid = getpid();
	mark_mine(loop);
	*ret_loop = loop;
	return 0;
}

void tarn__loop_close(struct tarn__loop *loop)
{
	if (!loop)
		return;
	free(loop->slots);
	tarn__wiped_free(loop->mine);
	loop->ops->close(loop);
}

/* Makes slots[fd] exist. */
static int reserve(struct tarn__loop *loop, int fd)
{
	struct tarn__loop_slot *slots;
	int n = loop->n_slots ? loop->n_slots : 64;

	if (fd < loop->n_slots)
		return 0;
	while (n <= fd) {
		if (n > INT32_MAX / 2)
			return -ENOMEM;
		n *= 2;
	}
	slots = reallocarray(loop->slots, (size_t)n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + loop->n_slots, 0, (size_t)(n - loop->n_slots) * sizeof(*slots));
	loop->slots = slots;
	loop->n_slots = n;
	return 0;
}

int tarn__loop_watch(struct tarn__loop *loop, struct tarn__loop_watch *w)
{
	int r;

	if (forked(loop))
		return -ECHILD;
	/* io_uring would notice a bad fd only later, out of its caller's sight. */
	if (fcntl(w->fd, F_GETFD) < 0)
		return -errno;
	r = reserve(loop, w->fd);
	if (r < 0)
		return r;
	if (loop->slots[w->fd].watch)
		return -EEXIST;

	tarn__loop_new_key(loop, w->fd);
	loop->slots[w->fd].watch = w;
	loop->slots[w->fd].armed = false;
	r = loop->ops->watch(loop, w->fd);
	if (r < 0)
		loop->slots[w->fd].watch = NULL;
	return r;
}

void tarn__loop_unwatch(struct tarn__loop *loop, struct tarn__loop_watch *w)
{
	if (w->fd < 0 || w->fd >= loop->n_slots || loop->slots[w->fd].watch != w)
		return;
	if (!forked(loop))
		loop->ops->unwatch(loop, w->fd);
	loop->slots[w->fd].watch = NULL;
}

int tarn__loop_wait(struct tarn__loop *loop, int64_t timeout_ns)
{
	return forked(loop) ? -ECHILD : loop->ops->wait(loop, timeout_ns);
}

bool tarn__loop_pending(const struct tarn__loop *loop)
{
	return loop->ops->pending(loop);
}

const char *tarn__loop_name(const struct tarn__loop *loop)
{
	return loop->ops->name;
}

const char *tarn__loop_reason(const struct tarn__loop *loop)
{
	return loop->reason;
}

void tarn__loop_new_key(struct tarn__loop *loop, int fd)
{
	/* 0 is left to what is no watch at all: the answer to a cancellation. */
	if (++loop->generation == 0)
		loop->generation = 1;
	loop->slots[fd].generation = loop->generation;
}

uint64_t tarn__loop_key(const struct tarn__loop *loop, int fd)
{
	return (uint64_t)loop->slots[fd].generation << 32 | (uint32_t)fd;
}

struct tarn__loop_slot *tarn__loop_find(struct tarn__loop *loop, uint64_t key)
{
	uint32_t fd = (uint32_t)key;
	struct tarn__loop_slot *slot;

	if (fd >= (uint32_t)loop->n_slots)
		return NULL;
	slot = &loop->slots[fd];
	return slot->watch && slot->generation == (uint32_t)(key >> 32) ? slot : NULL;
}
