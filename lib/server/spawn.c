/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server in a process of its own.
 *
 * A fresh image, not a fork: the parent may have threads, locks and descriptors that a
 * server must not inherit. The program executes itself again; the constructor below finds
 * the order in the environment, serves, and never returns to main. TARN_TARND may
 * name another program to be executed (tarnd), for hosts such as interpreters whose
 * executable is not linked with this library.
 *
 * The order is a memfd that only these two processes have. It carries the authkey, too, and
 * both sides wipe it.
 *
 * An owned server ends when its parent does. PR_SET_PDEATHSIG follows the thread that started
 * it, not the process; a pidfd of the parent, watched by the server's own loop, tells the truth.
 *
 * A detached one must not stay this process's child, or it would become a zombie that nobody
 * collects: a child in between starts it, and is gone as soon as we have a pidfd of the
 * server. Until then it does not collect its child, so that the number cannot be another's.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "lib/error.h"
#include "lib/image.h"
#include "serve.h"
#include "shm/base.h"
#include "shm/wake.h"

#define ORDER_VARIABLE "TARN__SERVE"
#define START_NS 10000000000ll
#define PROCESS_NAME "tarn-server"

/* What the child is told, in a memfd that it inherits. The first line is never written by
 * the child. */
struct order {
	struct tarn__order head;
	int ready_fd, parent_pidfd; /* parent_pidfd -1: detached */
	/* Answers. */
	pid_t pid;           /* written by the child in between */
	struct keeper_page page; /* code and failure of a failed start, uuid */
	struct tarn__packed packed;
};
#define ORDER_MAGIC 0x7365727665210a01ull

/* ---- the server's side ---- */

static volatile sig_atomic_t stop_wanted;

static void on_sigterm(int signal)
{
	(void)signal;
	stop_wanted = 1;
	tarn_server_stop();
}

/* Our copy of the options; the shared one is wiped. */
static struct tarn__packed *order_take(struct order *o)
{
	const size_t bytes = o->head.bytes - offsetof(struct order, packed);
	struct tarn__packed *p = malloc(bytes);

	if (p != NULL)
		memcpy(p, &o->packed, bytes);
	explicit_bzero(&o->packed, bytes);
	return p != NULL && tarn__options_unpack(p, bytes) ? p : NULL;
}

static _Noreturn void serve_order(int fd)
{
	struct order *o = tarn__order_map(fd, ORDER_MAGIC, sizeof *o);
	struct sigaction act = { .sa_handler = on_sigterm };
	struct tarn__packed *p = o != NULL ? order_take(o) : NULL;

	if (p == NULL)
		_exit(126);
	close(fd);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	signal(SIGINT, SIG_IGN); /* Ctrl-C is for the program, which ends us when it wants */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a dump that becomes too long is an error */
	prctl(PR_SET_NAME, PROCESS_NAME, 0, 0, 0);
	fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC);
	if (o->parent_pidfd >= 0)
		fcntl(o->parent_pidfd, F_SETFD, FD_CLOEXEC);
	p->o.ready_fd = o->ready_fd;
	int r = p->o.keep ? tarn__keep(&p->o, o->parent_pidfd, &stop_wanted, &o->page, true)
			  : tarn__serve(&p->o, o->parent_pidfd, &stop_wanted, o->page.uuid, NULL);
	if (r < 0) {
		snprintf(o->page.failure, sizeof o->page.failure, "%s", tarn_error_last()->message);
		o->page.code = r;
	}
	tarn__options_free(p);
	exit(r < 0 ? 1 : 0);
}

__attribute__((constructor)) static void serve_if_ordered(void)
{
	int fd = tarn__order_find(ORDER_VARIABLE);

	if (fd >= 0)
		serve_order(fd);
}

/* ---- the starter's side ---- */

static int order_open(const struct tarn__packed *p, struct order **ret)
{
	const size_t bytes = offsetof(struct order, packed) + p->bytes;
	void *o;
	int fd = tarn__order_open("a server process", ORDER_MAGIC,
				  bytes < sizeof(struct order) ? sizeof(struct order) : bytes, &o);

	if (fd < 0)
		return fd;
	*ret = o;
	memcpy(&(*ret)->packed, p, p->bytes);
	return fd;
}

static void order_wipe(struct order *o)
{
	explicit_bzero(&o->packed, o->head.bytes - offsetof(struct order, packed));
}

static void order_close(int fd, struct order *o)
{
	order_wipe(o);
	munmap(o, o->head.bytes);
	close(fd);
}

void tarn__born_fini(struct tarn__born *b)
{
	if (b->shared != NULL)
		munmap(b->shared, b->shared_bytes);
	b->shared = NULL;
	b->page = NULL;
}

struct command {
	char **argv, **envp;
	const char *program;
	int keep[3]; /* descriptors; -1: none */
	int go[2];   /* for the child in between */
	bool detached;
	struct order *order;
};

/* In the child, between fork and exec: async-signal-safe calls only. */
static _Noreturn void child_exec(const struct command *c)
{
	tarn__image_descriptors(c->keep, 3);
	if (c->detached)
		setsid();
	else
		setpgid(0, 0); /* a Ctrl-C at the terminal is not for the server */
	tarn__image_unmask();
	tarn__image_no_input();
	execve(c->program, c->argv, c->envp);
	_exit(127);
}

/* Likewise: starts the server, says its number, and stays until it has been opened. */
static _Noreturn void child_between(const struct command *c)
{
	char byte;

	signal(SIGCHLD, SIG_DFL); /* if ignored, the kernel would collect it at once */
	pid_t pid = fork();
	if (pid == 0)
		child_exec(c);
	/* SYNC born: the parent reads it when this byte has arrived. */
	c->order->pid = pid;
	if (write(c->go[1], "", 1) == 1)
		while (read(c->go[1], &byte, 1) < 0 && errno == EINTR)
			;
	_exit(0);
}

static int start_owned(const struct command *c, struct tarn__born *b)
{
	b->pid = fork();
	if (b->pid == 0)
		child_exec(c);
	if (b->pid < 0)
		return -errno;
	b->child = true;
	b->pidfd = (int)syscall(SYS_pidfd_open, b->pid, 0); /* ours to collect: nobody else's yet */
	return b->pidfd < 0 ? -errno : 0;
}

static int start_detached(struct command *c, struct tarn__born *b)
{
	ssize_t n = -1;
	char byte;
	int r = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->go) != 0)
		return -errno;
	pid_t between = fork();
	if (between == 0) {
		close(c->go[0]);
		child_between(c);
	}
	r = between < 0 ? -errno : 0;
	close(c->go[1]);
	/* A signal of the program's is no reason to lose sight of a server that starts. */
	while (r == 0 && (n = read(c->go[0], &byte, 1)) < 0 && errno == EINTR)
		;
	if (r == 0 && n != 1)
		r = -EPIPE;
	if (r == 0 && c->order->pid <= 0)
		r = -EAGAIN;
	if (r == 0) {
		b->pid = c->order->pid;
		b->pidfd = (int)syscall(SYS_pidfd_open, b->pid, 0);
		r = b->pidfd < 0 ? -errno : 0;
	}
	close(c->go[0]); /* it may go */
	while (between > 0 && waitpid(between, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

static int start(struct command *c, int order_fd, struct tarn__born *b)
{
	char variable[64], name[] = PROCESS_NAME;
	char *argv[] = { name, NULL };

	snprintf(variable, sizeof variable, ORDER_VARIABLE "=%d", order_fd);
	c->argv = argv;
	c->envp = tarn__environment_with(&(char *){ variable }, 1);
	if (c->envp == NULL)
		return -ENOMEM;
	c->program = secure_getenv("TARN_TARND");
	if (c->program == NULL || *c->program == '\0')
		c->program = TARN__IMAGE_SELF;
	int r = c->detached ? start_detached(c, b) : start_owned(c, b);
	free(c->envp);
	return r;
}

/* Reads "READY name\n"; 0, -EPIPE the child ended, -ETIMEDOUT. */
static int await_ready(int fd, int64_t timeout_ns, char *ret_name, size_t bytes)
{
	char line[160];
	size_t at = 0;
	uint64_t deadline = tarn__deadline(timeout_ns != 0 ? timeout_ns : START_NS);

	while (at < sizeof line - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = tarn__now();

		if (now >= deadline)
			return -ETIMEDOUT;
		uint64_t ms = (deadline - now) / 1000000 + 1;
		if (poll(&p, 1, ms < 1000000 ? (int)ms : 1000000) < 0 && errno != EINTR)
			return -errno;
		if (p.revents == 0)
			continue;
		ssize_t n = read(fd, line + at, sizeof line - 1 - at);
		if (n <= 0)
			return -EPIPE;
		at += (size_t)n;
		if (line[at - 1] == '\n')
			break;
	}
	line[at > 0 ? at - 1 : 0] = '\0';
	size_t n = strlen(line);

	if (strncmp(line, "READY ", 6) != 0 || n - 6 >= bytes)
		return -EPROTO;
	memcpy(ret_name, line + 6, n - 6 + 1);
	return 0;
}

/* Ends what there is of the process. How it ended by itself, in words. */
static void bury(const struct tarn__born *b, char *ret_how, size_t bytes)
{
	int status = 0;

	*ret_how = '\0';
	if (b->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, b->pidfd, SIGKILL, NULL, 0);
	else if (b->child)
		kill(b->pid, SIGKILL);
	if (!b->child)
		return;
	while (waitpid(b->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		snprintf(ret_how, bytes, ", exit status %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		snprintf(ret_how, bytes, ", killed by signal %d", WTERMSIG(status));
}

static int start_failed(int r, const struct order *o, const struct tarn__born *b)
{
	char how[40];

	bury(b, how, sizeof how);
	if (o->page.code < 0)
		return tarn__fail(o->page.code, "%s", o->page.failure);
	if (r == -EPIPE)
		return tarn__fail(r, "the server process ended before it was ready%s (is this program "
				  "linked with libtarn? TARN_TARND can name the tarnd to execute)", how);
	return tarn__fail(r, "the server process did not start: %s", strerror(-r));
}

int tarn__spawn(const struct tarn__packed *p, struct tarn__born *ret)
{
	struct command c = { .detached = p->o.lifetime == TARN_LIFETIME_DETACHED };
	struct tarn__born b = { .pid = -1, .pidfd = -1 };
	int ready[2] = { -1, -1 }, parent = -1, r = 0;
	int order = order_open(p, &c.order);

	if (order < 0)
		return order;
	if (!c.detached)
		parent = tarn__fd_high((int)syscall(SYS_pidfd_open, getpid(), 0));
	r = parent < 0 && !c.detached ? -errno : tarn__pipe_high(ready);
	if (r == 0) {
		c.keep[0] = order;
		c.keep[1] = c.order->ready_fd = ready[1];
		c.keep[2] = c.order->parent_pidfd = parent;
		r = start(&c, order, &b);
	}
	if (ready[1] >= 0)
		close(ready[1]);
	if (r == 0)
		r = await_ready(ready[0], p->o.start_timeout_ns, b.name, sizeof b.name);
	/* SYNC born: what the server wrote before its line, we see after it. */
	memcpy(b.uuid, c.order->page.uuid, sizeof b.uuid);
	if (r < 0) {
		r = start_failed(r, c.order, &b);
		if (b.pidfd >= 0)
			close(b.pidfd);
	}
	if (r == 0 && p->o.keep) {
		order_wipe(c.order);
		close(order);
		b.page = &c.order->page;
		b.shared = c.order;
		b.shared_bytes = c.order->head.bytes;
	} else {
		order_close(order, c.order);
	}
	if (parent >= 0)
		close(parent);
	if (ready[0] >= 0)
		close(ready[0]);
	if (r == 0)
		*ret = b;
	return r;
}
