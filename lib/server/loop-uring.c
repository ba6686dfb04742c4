/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop on io_uring.
 *
 * Each watch is a one-shot POLL_ADD, queued anew once its callback has returned
 * and submitted by the next wait, in the very system call that sleeps. When it
 * takes a poll the kernel looks at the file first, so whatever the callback
 * left undrained completes at once: no readiness can be lost. A multishot poll
 * would spare the re-arming but reports wake-ups, not a level; input left over
 * would lie there until more of it came. It would spare no system call either.
 *
 * The ring is born disabled and enabled by the first wait, since a
 * SINGLE_ISSUER ring belongs to whoever enables it, and a poll is cancelled
 * when the thread that submitted it exits. Until then watching only fills the
 * table. Whether the kernel lets us submit is therefore tried on another ring,
 * with the same flags, that lives only as long as that test.
 *
 * The kernel holds a reference to a file that it polls: closing the fd is not
 * seen by the peer before the poll is gone. So unwatch cancels with a system
 * call of its own instead of waiting for the next one.
 *
 * Completions that do not fit the CQ are kept by the kernel (FEAT_NODROP) and
 * handed out, in order, by later calls. If it lacks the memory even for that it
 * says -EBADR, and every poll is replaced.
 */
#define _GNU_SOURCE
#include "children.h"
#include "loop.h"

#include "shm/base.h"

#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#define SQ_ENTRIES 64u
#define CQ_ENTRIES 256u
#define N_OPS 256u /* what a probe can tell about */

static_assert(POLLIN == EPOLLIN && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP &&
		      POLLRDHUP == EPOLLRDHUP,
	      "callbacks get poll's bits under epoll's names");

struct uring {
	struct tarn__loop base;
	struct io_uring ring;
	bool enabled; /* the first wait has been */
	bool unarmed; /* some watch has no poll yet; look through the table */
	unsigned put_off; /* of the SQEs that are queued at least so many are polls of watches that are idle_only:
			   * no reason to enter the kernel before there is nothing else to do */
};

/* Best first. Without DEFER_TASKRUN the kernel may interrupt the reactor to
 * post a completion; TASKRUN_FLAG lets it say "enter to fetch" instead. */
static const struct {
	unsigned flags;
	const char *name;
} setups[] = {
	{ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	  "deferred task work" },
	{ IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "cooperative task work" },
	{ 0, "plain ring" },
};

static struct uring *uring_of(struct tarn__loop *loop)
{
	return tarn__container_of(loop, struct uring, base);
}

/* Makes room by submitting. NULL if the kernel takes nothing now. */
static struct io_uring_sqe *next_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	u->put_off = 0;
	return io_uring_submit(&u->ring) > 0 ? io_uring_get_sqe(&u->ring) : NULL;
}

static void arm(struct uring *u, int fd)
{
	struct io_uring_sqe *sqe = u->enabled ? next_sqe(u) : NULL;

	u->base.slots[fd].armed = sqe;
	if (!sqe) {
		u->unarmed = true;
		return;
	}
	io_uring_prep_poll_add(sqe, fd, POLLIN | POLLRDHUP);
	io_uring_sqe_set_data64(sqe, tarn__loop_key(&u->base, fd));
	u->put_off += u->base.slots[fd].watch->idle_only;
}

static void arm_all(struct uring *u)
{
	u->unarmed = false;
	for (int fd = 0; fd < u->base.n_slots; fd++)
		if (u->base.slots[fd].watch && !u->base.slots[fd].armed)
			arm(u, fd);
}

/* If there is no room the poll stays until the file becomes ready, and its
 * completion is dropped then. */
static void disarm(struct uring *u, int fd)
{
	struct io_uring_sqe *sqe = u->base.slots[fd].armed ? next_sqe(u) : NULL;

	u->base.slots[fd].armed = false;
	if (!sqe)
		return;
	io_uring_prep_poll_remove(sqe, tarn__loop_key(&u->base, fd));
	io_uring_sqe_set_data64(sqe, 0);
}

/* Completions were lost, nobody knows whose. */
static void replace_all(struct uring *u)
{
	for (int fd = 0; fd < u->base.n_slots; fd++) {
		if (!u->base.slots[fd].watch)
			continue;
		disarm(u, fd);
		tarn__loop_new_key(&u->base, fd);
	}
	u->unarmed = true;
}

static int uring_watch(struct tarn__loop *loop, int fd)
{
	arm(uring_of(loop), fd);
	return 0;
}

static void uring_unwatch(struct tarn__loop *loop, int fd)
{
	struct uring *u = uring_of(loop);

	if (!loop->slots[fd].armed)
		return; /* its completion is out already: no poll, no reference */
	disarm(u, fd);
	/* With deferred task work the poll lets go of its file only on a call that
	 * asks for events. An error leaves all queued for the next wait. */
	u->put_off = 0;
	(void)io_uring_submit_and_get_events(&u->ring);
}

/* @res: what a poll completed with, events or a negative errno.
 * Returns 0 if the poll merely has to be made again. */
static uint32_t to_events(int res)
{
	if (res >= 0)
		return (uint32_t)res;
	if (res == -ECANCELED || res == -EINTR || res == -EAGAIN || res == -ENOMEM)
		return 0;
	return EPOLLERR; /* such as -EBADF: closed while it was watched */
}

static int complete(struct uring *u, uint64_t key, int res)
{
	struct tarn__loop_slot *slot = tarn__loop_find(&u->base, key);
	uint32_t events = to_events(res);

	if (!slot)
		return 0;
	slot->armed = false;
	if (events)
		slot->watch->fn(slot->watch->arg, events);
	if (tarn__loop_find(&u->base, key))
		arm(u, (int)(uint32_t)key);
	return events != 0;
}

/* Takes what the CQ holds now and no more, or a descriptor that is always ready
 * could keep the caller here. Returns how many callbacks ran. */
static int dispatch(struct uring *u)
{
	int n_called = 0;

	for (unsigned n = io_uring_cq_ready(&u->ring); n > 0; n--) {
		const struct io_uring_cq *cq = &u->ring.cq;
		const struct io_uring_cqe *cqe = &cq->cqes[*cq->khead & cq->ring_mask];
		uint64_t key = cqe->user_data;
		int res = cqe->res;

		/* First, for the callback may enter the kernel, which fills the CQ. */
		io_uring_cq_advance(&u->ring, 1);
		n_called += complete(u, key, res);
	}
	return n_called;
}

static int enter(struct uring *u, int64_t timeout_ns)
{
	struct __kernel_timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
	struct io_uring_cqe *cqe;

	u->put_off = 0; /* whatever stays queued after an error is a reason to come again */
	if (timeout_ns == 0)
		return io_uring_submit_and_get_events(&u->ring);
	return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts,
						NULL);
}

static int uring_wait(struct tarn__loop *loop, int64_t timeout_ns)
{
	struct uring *u = uring_of(loop);
	int n, r;

	if (!u->enabled) {
		/* Not io_uring_enable_rings(): the shared liburing before 2.4 does
		 * not export it. */
		r = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
				      NULL, 0);
		if (r < 0)
			return r;
		u->enabled = true;
	}

	/* What unwatch left in the CQ must not end the wait, so first what is there. */
	n = dispatch(u);
	if (n > 0)
		return n;
	if (u->unarmed)
		arm_all(u);
	/* No sleep while a watch is without its poll, for want of memory. */
	r = enter(u, u->unarmed ? 0 : timeout_ns);
	if (r == -EBADR)
		replace_all(u);
	n = dispatch(u);
	if (n > 0 || r >= 0 || r == -ETIME || r == -EINTR || r == -EBADR)
		return n;
	return r;
}

static bool uring_pending(const struct tarn__loop *loop)
{
	const struct uring *u = tarn__container_of(loop, const struct uring, base);
	/* Relaxed: a hint; the system call that it leads to orders all else. */
	unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED);

	/* A poll not submitted yet may be ready. */
	return u->unarmed || io_uring_sq_ready(&u->ring) > u->put_off || io_uring_cq_ready(&u->ring) ||
	       (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static void uring_close(struct tarn__loop *loop)
{
	tarn__children_hold();
	tarn__children_forget(uring_of(loop)->ring.ring_fd);
	io_uring_queue_exit(&uring_of(loop)->ring);
	tarn__children_let();
	free(uring_of(loop));
}

static const struct tarn__loop_ops uring_ops = {
	.name = "io_uring",
	.close = uring_close,
	.watch = uring_watch,
	.unwatch = uring_unwatch,
	.wait = uring_wait,
	.pending = uring_pending,
};

static int setup(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params p = {
		.flags = flags | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};

	return io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
}

static int try_nop(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int r;

	io_uring_prep_nop(io_uring_get_sqe(ring)); /* the ring is new: there is room */
	r = io_uring_submit_and_wait(ring, 1);
	if (r < 0)
		return r;
	r = io_uring_peek_cqe(ring, &cqe);
	return r < 0 ? r : cqe->res;
}

static int try_ops(struct io_uring *ring)
{
	static const int needed[] = { IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE };
	struct io_uring_probe *probe =
		calloc(1, sizeof(*probe) + N_OPS * sizeof(struct io_uring_probe_op));
	int r;

	if (!probe)
		return -ENOMEM;
	r = io_uring_register_probe(ring, probe, N_OPS);
	for (size_t i = 0; r >= 0 && i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!io_uring_opcode_supported(probe, needed[i]))
			r = -EOPNOTSUPP;
	free(probe);
	return r;
}

static int try_features(const struct io_uring *ring)
{
	const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;

	return (ring->features & needed) == needed ? 0 : -EOPNOTSUPP;
}

/* Works a ring as the loop will. @ret_step: what failed; @ret_setup: the best
 * of the setups that this kernel knows. */
static int try_ring(const char **ret_step, size_t *ret_setup)
{
	struct io_uring ring;
	size_t i = 0;
	int r;

	*ret_step = "io_uring_setup";
	while ((r = setup(&ring, setups[i].flags)) == -EINVAL && setups[i].flags)
		i++;
	if (r < 0)
		return r;
	*ret_setup = i;

	*ret_step = "io_uring_enter";
	r = try_nop(&ring);
	if (r >= 0) {
		*ret_step = "io_uring_register";
		r = try_ops(&ring);
	}
	if (r >= 0) {
		*ret_step = "io_uring features (Linux 5.11 has them)";
		r = try_features(&ring);
	}
	io_uring_queue_exit(&ring);
	return r;
}

/* Says what forbids io_uring as far as one can know. The sysctl exists since
 * Linux 6.6, and only in kernels that were built with io_uring. */
static void explain(char *ret_reason, const char *step, int r)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int c = f ? fgetc(f) : EOF;
	const char sysctl[] = { c == EOF ? '?' : (char)c, 0 };
	const char *who = "";

	if (f)
		fclose(f);
	if (r == -EPERM || r == -EACCES || r == -ENOSYS) {
		if (r == -EPERM && (c == '1' || c == '2'))
			who = ", which forbids it";
		else if (prctl(PR_GET_SECCOMP) > 0)
			who = ", seccomp filter active";
		else if (r == -ENOSYS)
			who = ", no seccomp filter: not in this kernel";
		else
			who = ", no seccomp filter: a security module?";
	}
	snprintf(ret_reason, TARN__LOOP_REASON, "%s: %s (errno %d; kernel.io_uring_disabled=%s%s)",
		 step, strerror(-r), -r, sysctl, who);
}

int tarn__loop_open_uring(char *ret_reason, struct tarn__loop **ret_loop)
{
	struct uring *u = calloc(1, sizeof(*u));
	const char *step = "calloc";
	size_t i = 0;
	int r = -ENOMEM;

	if (u)
		r = try_ring(&step, &i);
	if (r >= 0) {
		step = "io_uring_setup";
		tarn__children_hold();
		r = setup(&u->ring, setups[i].flags | IORING_SETUP_R_DISABLED);
		if (r >= 0) {
			(void)io_uring_ring_dontfork(&u->ring); /* its memory would keep it, too */
			tarn__children_note(u->ring.ring_fd);
		}
		tarn__children_let();
	}
	if (r < 0) {
		explain(ret_reason, step, r);
		free(u);
		return r;
	}
	u->base.ops = &uring_ops;
	snprintf(ret_reason, TARN__LOOP_REASON, "works here (%s)", setups[i].name);
	*ret_loop = &u->base;
	return 0;
}
