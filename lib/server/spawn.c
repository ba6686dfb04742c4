/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn_server_start(): a server in a process of its own.
 *
 * A fresh image, not a fork: the parent may have threads, locks and descriptors that a
 * server must not inherit. The program executes itself again; the constructor below finds
 * the order in the environment, serves, and never returns to main. TARN_TARND may
 * name another program to be executed (tarnd), for hosts such as interpreters whose
 * executable is not linked with this library.
 *
 * The server ends when its parent does. PR_SET_PDEATHSIG follows the thread that started
 * it, not the process; a pidfd of the parent, watched by the server's own loop, tells the truth.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/control.h"
#include "lib/error.h"
#include "serve.h"
#include "shm/layout.h"
#include "shm/wake.h"

#define ORDER_VARIABLE "TARN__SERVE"
#define START_NS 10000000000u

struct tarn_server {
	char name[108];
	pid_t pid;
	int pidfd;
};

/* What the child is told, in a memfd that it inherits. */
struct order {
	uint64_t magic;
	tarn_server_options options; /* pointers are not used */
	char name[108];
	int ready_fd, parent_pidfd;
	char failure[512]; /* written by the child */
	int code;
};
#define ORDER_MAGIC 0x7365727665210a00ull

static volatile sig_atomic_t stop_wanted;

static void on_sigterm(int signal)
{
	(void)signal;
	stop_wanted = 1;
	tarn_server_stop();
}

static void serve_order(int fd)
{
	struct order *o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct sigaction act = { .sa_handler = on_sigterm };

	if (o == MAP_FAILED || o->magic != ORDER_MAGIC)
		_exit(126);
	close(fd);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGINT, SIG_IGN); /* Ctrl-C is for the program, which ends us when it wants */
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "tarn-server", 0, 0, 0);
	fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC);
	fcntl(o->parent_pidfd, F_SETFD, FD_CLOEXEC);
	tarn_server_options options = o->options;
	options.name = o->name[0] != '\0' ? o->name : NULL;
	options.log = NULL;
	options.ready_fd = o->ready_fd;
	int r = tarn__serve(&options, o->parent_pidfd, &stop_wanted);
	if (r < 0) {
		snprintf(o->failure, sizeof o->failure, "%s", tarn_error_last()->message);
		o->code = r;
	}
	exit(r < 0 ? 1 : 0);
}

__attribute__((constructor)) static void serve_if_ordered(void)
{
	const char *text = getenv(ORDER_VARIABLE);

	if (text == NULL)
		return;
	int fd = atoi(text);

	unsetenv(ORDER_VARIABLE); /* programs started from here are not servers */
	serve_order(fd);
}

static int order_open(const tarn_server_options *options, struct order **ret)
{
	int fd = memfd_create("tarn-order", 0); /* inherited on purpose */
	struct order *o;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof *o) != 0 ||
	    (o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		int r = -errno;

		close(fd);
		return r;
	}
	o->magic = ORDER_MAGIC;
	if (options != NULL) {
		o->options = *options;
		if (options->name != NULL)
			snprintf(o->name, sizeof o->name, "%s", options->name);
	}
	*ret = o;
	return fd;
}

/* In the child, between fork and exec: async-signal-safe calls only. */
static void child_exec(char *const argv[], char *const envp[], const char *program, const int keep[3])
{
	sigset_t none;

	for (int i = 0; i < 3; i++)
		fcntl(keep[i], F_SETFD, 0);
	setpgid(0, 0); /* a Ctrl-C at the terminal is not for the server */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDONLY);
	if (null >= 0)
		dup2(null, 0);
	execve(program, argv, envp);
	_exit(127);
}

/* The environment with the order's variable added; the caller frees the array. */
static char **environment_with(char *variable)
{
	size_t n = 0;

	while (environ[n] != NULL)
		n++;
	char **e = calloc(n + 2, sizeof *e);
	if (e == NULL)
		return NULL;
	memcpy(e, environ, n * sizeof *e);
	e[n] = variable;
	return e;
}

static int spawn(int order_fd, int ready_fd, int parent_pidfd, pid_t *ret_pid)
{
	char variable[64], name[] = "tarn-server";
	char *argv[] = { name, NULL };
	const char *program = getenv("TARN_TARND");
	const int keep[3] = { order_fd, ready_fd, parent_pidfd };

	snprintf(variable, sizeof variable, ORDER_VARIABLE "=%d", order_fd);
	char **envp = environment_with(variable);
	if (envp == NULL)
		return -ENOMEM;
	if (program == NULL || *program == '\0')
		program = "/proc/self/exe";
	pid_t pid = fork();
	if (pid == 0)
		child_exec(argv, envp, program, keep);
	int r = pid < 0 ? -errno : 0;
	free(envp);
	*ret_pid = pid;
	return r;
}

/* Reads "READY name\n"; 0, -EPIPE the child ended, -ETIMEDOUT. */
static int await_ready(int fd, char *ret_name, size_t bytes)
{
	char line[160];
	size_t at = 0;
	uint64_t deadline = tarn__deadline((int64_t)START_NS);

	while (at < sizeof line - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = tarn__now();

		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline - now) / 1000000 + 1)) < 0 && errno != EINTR)
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

static int start_failed(int r, const struct order *o, pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	if (o->code < 0)
		return tarn__fail(o->code, "%s", o->failure);
	return tarn__fail(r, "the server process did not start: %s",
			  r == -EPIPE ? "it ended before it was ready (is this program linked with "
					"libtarn? TARN_TARND can name the tarnd to execute)"
				      : strerror(-r));
}

int tarn_server_start(const tarn_server_options *options, tarn_server **ret_server)
{
	struct order *o = NULL;
	int ready[2] = { -1, -1 }, parent = -1, r;
	pid_t pid = -1;

	if (options != NULL && options->name != NULL && options->name[0] == '\0')
		return tarn__fail(-EINVAL, "the server name is empty (NULL asks for a fresh one)");
	if (options != NULL && options->name != NULL && strlen(options->name) >= sizeof o->name)
		return tarn__fail(-ENAMETOOLONG, "the server name \"%.40s...\" is too long",
				  options->name);
	tarn_server *s = calloc(1, sizeof *s);
	int order = order_open(options, &o);
	if (s == NULL || order < 0) {
		free(s);
		return tarn__fail(order < 0 ? order : -ENOMEM, "cannot prepare a server process");
	}
	s->pidfd = -1;
	parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (parent < 0 || pipe2(ready, O_CLOEXEC) != 0) {
		r = -errno;
	} else {
		o->ready_fd = ready[1];
		o->parent_pidfd = parent;
		r = spawn(order, ready[1], parent, &pid);
		close(ready[1]);
		if (r == 0)
			r = await_ready(ready[0], s->name, sizeof s->name);
		if (r == 0) {
			s->pid = pid;
			s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		}
	}
	if (r < 0)
		r = start_failed(r, o, pid);
	close(order);
	if (parent >= 0)
		close(parent);
	if (ready[0] >= 0)
		close(ready[0]);
	munmap(o, sizeof *o);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret_server = s;
	return 0;
}

const char *tarn_server_name(const tarn_server *server)
{
	return server->name;
}

int tarn_server_pid(const tarn_server *server)
{
	return (int)server->pid;
}

/* True once the process has ended and is collected. */
static bool ended(tarn_server *s, int64_t timeout_ns)
{
	uint64_t deadline = tarn__deadline(timeout_ns);

	for (;;) {
		struct pollfd p = { .fd = s->pidfd, .events = POLLIN };
		uint64_t now = tarn__now();
		int ms = deadline == UINT64_MAX ? -1
			 : deadline > now	? (int)((deadline - now) / 1000000 + 1)
						: 0;

		if (waitpid(s->pid, NULL, WNOHANG) != 0)
			return true; /* collected, or somebody else's child by now */
		if (ms == 0)
			return false;
		poll(&p, 1, ms);
	}
}

static void ask_to_end(const tarn_server *s, int64_t timeout_ns)
{
	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_SHUTDOWN,
				   .layout = tarn__layout_hash() };
	int fds[TARN__CONTROL_FDS], fd;
	struct tarn__answer a;

	if (tarn__control_connect(s->name, tarn__now(), &fd) < 0)
		return;
	tarn__control_ask(fd, &q, &a, fds, tarn__deadline(timeout_ns));
	close(fd);
}

int tarn_server_shutdown(tarn_server *server, int64_t timeout_ns)
{
	int how = 0;

	if (server == NULL)
		return 0;
	if (ended(server, 0)) {
		how = 2;
	} else {
		ask_to_end(server, timeout_ns);
		if (!ended(server, timeout_ns)) {
			kill(server->pid, SIGTERM);
			if (!ended(server, timeout_ns)) {
				kill(server->pid, SIGKILL);
				ended(server, -1);
				how = 1;
			}
		}
	}
	close(server->pidfd);
	free(server);
	return how;
}
