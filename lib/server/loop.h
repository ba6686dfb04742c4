/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where the server sleeps: a set of descriptors (listener,
 * client sockets, pidfds, the doorbell eventfd) and a deadline.
 *
 * The loop only tells that a descriptor is ready; reading and accepting stay
 * with the callback. Readiness is a level: a descriptor that is still ready
 * after its callback ran is reported again by a later wait. One that somebody
 * else drained in between may be reported once more; make descriptors
 * non-blocking.
 *
 * Two back-ends do this, io_uring and epoll, and their callers cannot tell them
 * apart except by name. Containers refuse io_uring by default, so
 * TARN__LOOP_AUTO tries it for real and otherwise takes epoll, and keeps the
 * reason for whoever asks.
 *
 * Threads: a loop belongs to the thread that first waits on it. Before that
 * wait another thread may open it and watch and unwatch; at any time another
 * thread may close it, if the owner no longer uses it. Callbacks may watch and
 * unwatch; they may not wait or close.
 *
 * Fork: in a child watch and wait fail with -ECHILD, unwatch and close let go
 * of the child's memory only, and pending means nothing.
 */
#ifndef TARN_LIB_SERVER_LOOP_H
#define TARN_LIB_SERVER_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TARN__LOOP_REASON 192u /* bytes, the closing 0 among them */

struct tarn__loop;

/* @events: EPOLLIN, EPOLLHUP, EPOLLRDHUP, EPOLLERR, as epoll_ctl(2) has them. */
typedef void (*tarn__loop_fn)(void *arg, uint32_t events);

enum tarn__loop_mode { TARN__LOOP_AUTO, TARN__LOOP_URING, TARN__LOOP_EPOLL };

/* The caller's; it must stay where it is from watch to unwatch. */
struct tarn__loop_watch {
	int fd;
	tarn__loop_fn fn;
	void *arg;
	bool idle_only; /* of use to who sleeps and to nobody else: tarn__loop_pending() need not tell of it, and
			 * a wait with timeout 0 may leave it for later */
};

/*
 * Opens a loop. @ret_reason (TARN__LOOP_REASON bytes, or NULL) receives one
 * line on success and on failure alike: why this back-end, or what refused it.
 * Returns 0 or a negative errno; only TARN__LOOP_URING fails for want of
 * io_uring.
 */
int tarn__loop_open(enum tarn__loop_mode mode, char *ret_reason, struct tarn__loop **ret_loop);

/* Takes NULL. Unwatch first if a descriptor is to be closed afterwards: the
 * kernel lets go of what a ring still polls only a little later. */
void tarn__loop_close(struct tarn__loop *loop);

/*
 * Starts to look for input and hang-up on w->fd, which must be something one
 * can poll (no regular file) and must not be closed before it is unwatched.
 * Returns 0, -EBADF, -EEXIST (this fd is watched already), -ENOMEM or -ECHILD.
 */
int tarn__loop_watch(struct tarn__loop *loop, struct tarn__loop_watch *w);

/*
 * Afterwards fn is never called again, the storage may go, and closing the fd
 * closes it for its peer too. Allowed in any callback, also for a watch whose
 * readiness is queued already. Does nothing if @w is not watched.
 */
void tarn__loop_unwatch(struct tarn__loop *loop, struct tarn__loop_watch *w);

/*
 * Calls back for what is ready. If nothing is, waits for at most @timeout_ns
 * of monotonic time (0: just looks, negative: no limit).
 * Returns how many callbacks ran, 0 after the time or a signal, or a negative
 * errno if none ran and the kernel is out of memory; trying again loses nothing.
 */
int tarn__loop_wait(struct tarn__loop *loop, int64_t timeout_ns);

/* True if a wait with timeout 0 may find something. No system call. With
 * io_uring it is exact enough to spare that wait, with epoll always true. */
bool tarn__loop_pending(const struct tarn__loop *loop);

const char *tarn__loop_name(const struct tarn__loop *loop); /* "io_uring", "epoll" */
const char *tarn__loop_reason(const struct tarn__loop *loop);

/*
 * What follows lies between loop.c and the back-ends.
 *
 * A back-end gives the kernel a key, never a pointer: the fd and a generation
 * that no other watch of this fd has. What the kernel reports about a watch
 * that has ended meets no slot with that key and is dropped.
 */
struct tarn__loop_slot {
	struct tarn__loop_watch *watch; /* NULL: this fd is not watched */
	uint32_t generation;            /* never 0 while watched */
	bool armed;                     /* io_uring: a poll is queued or in the kernel */
};

struct tarn__loop_ops {
	const char *name;
	void (*close)(struct tarn__loop *loop);
	int (*watch)(struct tarn__loop *loop, int fd);
	void (*unwatch)(struct tarn__loop *loop, int fd); /* the slot still stands */
	int (*wait)(struct tarn__loop *loop, int64_t timeout_ns);
	bool (*pending)(const struct tarn__loop *loop);
};

struct tarn__loop {
	const struct tarn__loop_ops *ops;
	pid_t pid;                     /* who opened it */
	uint32_t *mine;                /* 1; in a forked child 0, for the page is wiped. NULL: it cannot be */
	struct tarn__loop_slot *slots; /* by fd */
	int n_slots;
	uint32_t generation; /* the last one given */
	char reason[TARN__LOOP_REASON];
};

/* Allocate the loop and fill loop->ops; loop.c does the rest. */
int tarn__loop_open_uring(char *ret_reason, struct tarn__loop **ret_loop);
int tarn__loop_open_epoll(char *ret_reason, struct tarn__loop **ret_loop);

void tarn__loop_new_key(struct tarn__loop *loop, int fd);
uint64_t tarn__loop_key(const struct tarn__loop *loop, int fd);

/* The slot that @key stands for, or NULL if that watch has ended. Any callback
 * may move or end it. */
struct tarn__loop_slot *tarn__loop_find(struct tarn__loop *loop, uint64_t key);

#endif
