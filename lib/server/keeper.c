/* SPDX-License-Identifier: Apache-2.0 */
/*
 * There are never two servers: the next is forked after waitpid() has returned the last (H23).
 *
 * Forked, not executed: a successor has to be the same program with the same types, and the
 * keeper is the image of it before it began to serve. So the keeper must have one thread.
 */
#include "keeper.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"
#include "lib/control.h"
#include "lib/error.h"
#include "lib/say.h"
#include "serve.h"
#include "shm/wake.h"

#define KEEPER_NAME "tarn-keeper"
#define FAST_NS 50000000u   /* a server that dies so soon after it was ready dies fast */
#define PATIENCE_NS 1000000000u /* of a server whose keeper's parent has ended */

struct keeper {
	const tarn_server_options *options;
	int parent_pidfd;              /* -1: none */
	const volatile sig_atomic_t *stop_wanted;
	struct keeper_page *page;
	bool own_process;
	char name[16];                 /* of the process before */
	struct estate estate;
	sigset_t mask;                 /* of the signals before */
	int signals;                   /* signalfd */

	/* the server of now */
	pid_t pid;
	int pidfd, socket;
	bool ready, bye;
	uint64_t ready_ns;
	int status;

	bool was_ready;                /* some server was: clients rely on it */
	bool ending;                   /* we were told to end */
	uint64_t kill_ns;              /* when patience ends; 0: never */
	unsigned fast, successors;
	uint64_t died_ns;
	struct last_words words;
};

const char *tarn__signal_name(int signal, char room[16])
{
	const char *abbreviation = sigabbrev_np(signal);

	if (abbreviation != NULL)
		snprintf(room, 16, "SIG%s", abbreviation);
	else
		snprintf(room, 16, "signal %d", signal);
	return room;
}

static void keeper_log(const struct keeper *k, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void keeper_log(const struct keeper *k, int level, const char *format, ...)
{
	const tarn_server_options *o = k->options;
	const int most = o->log_level != 0 ? o->log_level : o->log != NULL ? 7 : 4;
	char line[400], head[160];
	va_list ap;

	if (level > most)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	tarn__log_clean(line);
	if (o->log != NULL) {
		o->log(o->log_arg, level, line);
		return;
	}
	snprintf(head, sizeof head, "<%d>tarn keeper \"%s\": ", level, k->estate.name);
	tarn__say(head, line);
}

/* ---- a server ---- */

static void note_failure(struct keeper_page *page, int r)
{
	page->code = r;
	snprintf(page->failure, sizeof page->failure, "%s", tarn_error_last()->message);
}

static _Noreturn void be_server(struct keeper *k, int socket)
{
	struct heritage h = { .keeper = socket, .estate = &k->estate, .page = k->page,
			      .successor = k->was_ready, .status = k->status, .words = k->words };
	struct estate_note bye = { .kind = ESTATE_BYE };
	const struct timeval patience = { .tv_sec = 1 };

	/* Also by itself: when it is ready the starter must know it, and the keeper may not have come so far,
	 * or may be dead. Release: as in start(). */
	__atomic_store_n(&k->page->server_pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
	/* Before signals are let in: a SIGTERM that came to the keeper meanwhile is sent on. */
	close(k->signals);
	close(k->socket);
	setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	sigprocmask(SIG_SETMASK, &k->mask, NULL);
	prctl(PR_SET_NAME, k->name, 0, 0, 0);
	tarn__crash_watch(k->page);
	int r = tarn__serve(k->options, k->parent_pidfd, k->stop_wanted, k->page->uuid, &h);

	if (r < 0)
		note_failure(k->page, r);
	if (r < 0 && k->was_ready) { /* as if it had been killed: perhaps the next one can */
		fflush(NULL);
		_exit(1);
	}
	tarn__control_send(socket, &bye, sizeof bye, NULL, 0, MSG_NOSIGNAL);
	fflush(NULL);
	if (k->own_process)
		exit(r < 0 ? 1 : 0);
	_exit(r < 0 ? 1 : 0);
}

static void collect(struct keeper *k)
{
	while (waitpid(k->pid, &k->status, 0) < 0 && errno == EINTR)
		;
}

static int start(struct keeper *k)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	k->socket = pair[0];
	k->ready = k->bye = false;
	k->page->code = 0;
	k->words = k->page->words;
	k->page->words = (struct last_words){ 0 };
	fflush(NULL); /* or both would write what is buffered */
	k->pid = fork();
	if (k->pid == 0)
		be_server(k, pair[1]);
	int r = k->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r == 0) {
		k->pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0); /* ours to collect */
		r = k->pidfd < 0 ? -errno : 0;
		if (r < 0) { /* it must not live beside the next one, or when we have given up */
			kill(k->pid, SIGKILL);
			collect(k);
		}
	}
	if (r < 0) {
		close(k->socket);
		return r;
	}
	/* Release: whoever reads it finds that server under the name, or soon. The same word as the server
	 * stores, who cannot have ended for us before watch(). */
	__atomic_store_n(&k->page->server_pid, (uint32_t)k->pid, __ATOMIC_RELEASE);
	return 0;
}

/* ---- while it serves ---- */

static void take_note(struct keeper *k, const struct estate_note *n, int fds[], unsigned n_fds)
{
	if (n->kind == ESTATE_READY) {
		k->ready = k->was_ready = true;
		k->ready_ns = n->ready_ns; /* not now: on a busy machine we may hear of it much later */
		if (n->number != 0)
			k->fast = 0;
		if (k->options->ready_fd > 0 && k->successors == 0)
			close(k->options->ready_fd); /* the server has written to its own */
	}
	if (n->kind == ESTATE_BYE)
		k->bye = true;
	tarn__estate_take(&k->estate, n, fds, n_fds);
}

/* All that is there. */
static void take_notes(struct keeper *k)
{
	struct estate_note n;
	unsigned n_fds;
	int fds[3];

	while (tarn__control_recv(k->socket, &n, sizeof n, fds, 3, &n_fds, MSG_DONTWAIT) ==
	       (int)sizeof n)
		take_note(k, &n, fds, n_fds);
}

static void send_on(const struct keeper *k, int signal)
{
	syscall(SYS_pidfd_send_signal, k->pidfd, signal, NULL, 0);
}

/* 0: there is none. */
static int take_signal(struct keeper *k)
{
	struct signalfd_siginfo info;

	if (read(k->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return 0;
	k->ending = true;
	return (int)info.ssi_signo;
}

/* Until the server is dead and collected. */
static void watch(struct keeper *k)
{
	enum { NOTES, SIGNALS, DEATH, PARENT };
	struct pollfd p[] = { [NOTES] = { .fd = k->socket, .events = POLLIN },
			      [SIGNALS] = { .fd = k->signals, .events = POLLIN },
			      [DEATH] = { .fd = k->pidfd, .events = POLLIN },
			      [PARENT] = { .fd = k->parent_pidfd, .events = POLLIN } };

	while (p[DEATH].revents == 0) {
		uint64_t now = tarn__now();
		int ms = k->kill_ns == 0 ? -1 : k->kill_ns > now ? (int)((k->kill_ns - now) / 1000000) + 1
								    : 0;

		if (poll(p, 4, ms) < 0 && errno != EINTR)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		if (k->kill_ns != 0 && tarn__now() >= k->kill_ns)
			send_on(k, SIGKILL);
		if (p[NOTES].revents & POLLIN)
			take_notes(k);
		else if (p[NOTES].revents != 0)
			p[NOTES].fd = -1; /* hung up, and nothing is left to read */
		int signal = p[SIGNALS].revents != 0 ? take_signal(k) : 0;
		if (signal != 0)
			send_on(k, signal);
		if (p[PARENT].revents != 0 && p[PARENT].fd >= 0) {
			/* It has seen that itself, unless it hangs. */
			p[PARENT].fd = -1;
			k->ending = true;
			k->kill_ns = tarn__now() + PATIENCE_NS;
		}
	}
	collect(k);
	k->died_ns = tarn__now();
	__atomic_store_n(&k->page->server_pid, 0, __ATOMIC_RELEASE);
	take_notes(k); /* what it sent is there */
	close(k->socket);
	close(k->pidfd);
}

/* ---- one after the other ---- */

static const char *how(const struct keeper *k, char text[40])
{
	char name[16];

	if (WIFSIGNALED(k->status))
		snprintf(text, 40, "was killed by %s", tarn__signal_name(WTERMSIG(k->status), name));
	else
		snprintf(text, 40, "ended with status %d", WEXITSTATUS(k->status));
	return text;
}

/* What the server left as its failure is ours. */
static int end_of_last(const struct keeper *k)
{
	char text[40];

	if (k->bye)
		return k->page->code < 0 ? tarn__fail(k->page->code, "%s", k->page->failure) : 0;
	if (k->ending)
		return 0;
	return tarn__fail(-TARN_EINTERRUPTED, "the server %s before it could serve", how(k, text));
}

/* False: no more. */
static bool wait_for_next(struct keeper *k)
{
	char text[40];

	k->fast = !k->ready || k->died_ns - k->ready_ns < FAST_NS ? k->fast + 1 : 0;
	if (k->fast >= KEEPER_FAST_MOST) {
		keeper_log(k, 3, "the server %s, for the %uth time in a row right after its start: "
			   "this arena is given up", how(k, text), k->fast);
		return false;
	}
	keeper_log(k, 4, "the server (pid %d) %s%s%s; its successor takes over", (int)k->pid,
		   how(k, text), k->page->code < 0 ? ": " : "", k->page->code < 0 ? k->page->failure : "");
	if (k->fast > 1) { /* 2, 4, 8 ... ms */
		long ms = 1l << (k->fast - 1);

		nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
	}
	return true;
}

/* Between two attempts to start a server. True: there is to be none. */
static bool told_to_end(struct keeper *k)
{
	struct pollfd p[] = { { .fd = k->signals, .events = POLLIN },
			      { .fd = k->parent_pidfd, .events = POLLIN } };

	if (poll(p, 2, 10) > 0 && (take_signal(k) != 0 || p[1].revents != 0))
		k->ending = true;
	return k->ending;
}

static int keep(struct keeper *k)
{
	int r = start(k);

	if (r < 0)
		return tarn__fail(r, "cannot start a server process: %s", strerror(-r));
	for (;;) {
		watch(k);
		if (k->bye || k->ending || !k->was_ready)
			return end_of_last(k);
		if (!wait_for_next(k))
			return k->page->code < 0
				       ? tarn__fail(k->page->code, "%s", k->page->failure)
				       : tarn__fail(-TARN_EINTERRUPTED, "the server died again and again");
		k->successors++;
		while ((r = start(k)) == -EAGAIN || r == -ENOMEM)
			if (told_to_end(k))
				return 0;
		if (r < 0)
			return tarn__fail(r, "cannot start a successor: %s", strerror(-r));
	}
}

static unsigned count_threads(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/task");

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	return n != 0 ? n : 1;
}

/* Three descriptors per client. */
static void raise_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int signals_take(struct keeper *k)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &ours, &k->mask) != 0)
		return -errno;
	k->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signals >= 0 ? 0 : -errno;
}

static struct keeper_page *page_own(void)
{
	void *p = mmap(NULL, sizeof(struct keeper_page), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED ? p : NULL;
}

int tarn__keep(const tarn_server_options *options, int parent_pidfd,
	       const volatile sig_atomic_t *stop_wanted, struct keeper_page *page, bool own_process)
{
	unsigned threads = count_threads();

	if (threads > 1)
		return tarn__fail(-EBUSY, "this process has %u threads: a keeper must have one, for its "
				  "servers are forked from it", threads);
	struct keeper *k = calloc(1, sizeof *k);
	struct keeper_page *p = page != NULL ? page : page_own();
	int r = k != NULL && p != NULL ? 0 : -ENOMEM;

	if (r == 0) {
		*k = (struct keeper){ .options = options, .parent_pidfd = parent_pidfd, .page = p,
				      .stop_wanted = stop_wanted, .own_process = own_process,
				      .signals = -1 };
		tarn__estate_init(&k->estate);
		tarn__kept_owner_set(getpid());
		r = signals_take(k);
	}
	if (r < 0) {
		r = tarn__fail(r, "cannot keep a server: %s", strerror(-r));
	} else {
		prctl(PR_GET_NAME, k->name, 0, 0, 0);
		prctl(PR_SET_NAME, KEEPER_NAME, 0, 0, 0);
		raise_limit();
		r = keep(k);
		prctl(PR_SET_NAME, k->name, 0, 0, 0);
		tarn__estate_free(&k->estate);
		close(k->signals);
		sigprocmask(SIG_SETMASK, &k->mask, NULL);
	}
	tarn__kept_owner_set(0);
	if (p != NULL && page == NULL)
		munmap(p, sizeof *p);
	free(k);
	return r;
}
