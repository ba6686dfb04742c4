/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a server: names, parents, signals, its end under its clients, back-ends, rest.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/control.h"
#include "shm/layout.h"
#include "tests/common/scene.h"
#include "tests/common/seccomp.h"

static const tarn_server_options small = { .arena_bytes = 16u << 20 };

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	PLAIN_CHECK(fd >= 0);
	return fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* A client's whole life. */
static void smoke(const char *name)
{
	tarn_client *c;
	tarn_channel *ch;
	tarn_block *b, *got;
	tarn_token t;
	uint64_t tag;

	OK(tarn_client_open(name, NULL, &c));
	OK(tarn_channel_new(c, 4, "smoke", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	for (uint64_t i = 0; i < 200; i++) {
		OK(tarn_block_new(c, 1 + i * 997, TARN_BLOCK_ZEROED, &b));
		memset(tarn_block_data(b), (int)i, tarn_block_size(b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_channel_give(ch, b, i, TARN_FOREVER));
		OK(tarn_channel_recv(ch, &got, &tag, TARN_FOREVER));
		PLAIN_EQ(tag, i);
		OK(tarn_block_import(c, &t, &b));
		PLAIN_CHECK(b == got);
		tarn_block_unref(b);
		tarn_block_unref(got);
	}
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	tarn_client_close(c);
}

/* ---- its log ---- */

/* Reads what is in @fd, and counts. */
struct heard {
	unsigned reclaimed, missing;
	size_t n;
	char text[65536];
};
static void hear(int fd, struct heard *h)
{
	static const char mark[] = "lines missing here, for want of room on standard error: ";
	ssize_t n;

	while ((n = read(fd, h->text + h->n, sizeof h->text - 1 - h->n)) > 0)
		h->n += (size_t)n;
	h->text[h->n] = '\0';
	h->reclaimed = h->missing = 0;
	for (const char *at = h->text; (at = strstr(at, "is reclaimed\n")) != NULL; at++)
		h->reclaimed++;
	for (const char *at = h->text; (at = strstr(at, mark)) != NULL; at++)
		h->missing += (unsigned)strtoul(at + sizeof mark - 1, NULL, 10);
}

/* Each client that goes is a line. All go on, though nobody reads @fds[0]; whose reader then is told. */
static void nobody_reads(const int fds[2])
{
	enum { CLIENTS = 100 };
	tarn_server_options o = { .arena_bytes = 16u << 20, .log_level = 7 };
	struct scene s = { 0 };
	struct heard h = { 0 };
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	dup2(fds[1], STDERR_FILENO);
	int r = tarn_server_start(&o, &s.server);
	dup2(saved, STDERR_FILENO);
	OK(r);
	s.name = tarn_server_name(s.server);
	OK(tarn_inspector_open(s.name, 0, &s.in));
	for (int i = 0; i < CLIENTS; i++)
		tarn_client_close(scene_client(&s));
	while (scene_stat(&s).clients > 0) /* whose lines are said, or missing */
		usleep(1000);
	hear(fds[0], &h);
	PLAIN_CHECKF(h.reclaimed < CLIENTS && h.missing == 0, "%u lines, %u missing", h.reclaimed, h.missing);
	tarn_client_close(scene_client(&s));
	while (h.reclaimed + h.missing < CLIENTS + 1) {
		usleep(1000);
		hear(fds[0], &h);
	}
	PLAIN_EQ(h.reclaimed + h.missing, CLIENTS + 1);
	scene_close(&s);
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

PLAIN_TEST_TIMEOUT(nobody_waits_for_who_does_not_read_the_log, 60)
{
	int fds[2];

	PLAIN_CHECK(pipe2(fds, O_CLOEXEC) == 0 && fcntl(fds[1], F_SETPIPE_SZ, 4096) > 0);
	PLAIN_CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	nobody_reads(fds);
}

PLAIN_TEST_TIMEOUT(nobody_waits_for_who_does_not_read_the_log_from_a_socket, 60)
{
	const int little = 4096;
	int fds[2];

	PLAIN_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	PLAIN_CHECK(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof little) == 0);
	PLAIN_CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	nobody_reads(fds);
}

/* ---- back-ends ---- */

PLAIN_TEST_TIMEOUT(every_loop_works_over_every_backing, 60)
{
	static const enum tarn_io io[] = { TARN_IO_AUTO, TARN_IO_URING, TARN_IO_EPOLL };
	static const enum tarn_backing backing[] = { TARN_BACKING_AUTO, TARN_BACKING_POSIX,
						     TARN_BACKING_MEMFD };

	for (unsigned i = 0; i < 9; i++) {
		tarn_server_options o = { .io = io[i % 3], .backing = backing[i / 3],
					  .arena_bytes = 32u << 20 };
		struct scene s = scene_open(&o);
		tarn_stat st = scene_stat(&s);
		pid_t child;

		PLAIN_CHECKF(o.io != TARN_IO_URING || strcmp(st.io, "io_uring") == 0, "%s", st.io);
		PLAIN_CHECKF(o.io != TARN_IO_EPOLL || strcmp(st.io, "epoll") == 0, "%s", st.io);
		PLAIN_CHECK(st.io_reason[0] != '\0' && st.backing_reason[0] != '\0');
		PLAIN_CHECK(o.backing == TARN_BACKING_AUTO || st.backing == (uint64_t)o.backing);
		PLAIN_EQ(st.arena_bytes, 32u << 20);
		PLAIN_CHECK(strcmp(st.name, s.name) == 0);
		smoke(s.name);
		child = plain_fork();
		if (child == 0) {
			smoke(s.name);
			_exit(0);
		}
		PLAIN_EQ(plain_reap(child), 0);
		scene_close(&s);
	}
}

static void without_io_uring(uint32_t err)
{
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_server_options o = { .arena_bytes = 16u << 20, .io = TARN_IO_URING };
		tarn_server *server;

		OK(tarn_test__refuse_io_uring(err));
		struct scene s = scene_open(NULL);
		tarn_stat st = scene_stat(&s);
		PLAIN_CHECKF(strcmp(st.io, "epoll") == 0, "%s", st.io);
		scene_note("%s", st.io_reason);
		PLAIN_CHECKF(strstr(st.io_reason, "io_uring") != NULL, "%s", st.io_reason);
		smoke(s.name);
		scene_close(&s);
		/* Who insists is told that it is not to be had. */
		PLAIN_CHECK(tarn_server_start(&o, &server) < 0);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "io_uring") != NULL, "%s",
			     tarn_error_last()->message);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
}

PLAIN_TEST(where_io_uring_is_forbidden_the_server_uses_epoll_and_says_why)
{
	without_io_uring(EPERM);
	without_io_uring(ENOSYS);
}

/* ---- what the program that starts it is like ---- */

PLAIN_TEST(l1_a_program_without_standard_descriptors_starts_servers)
{
	static const enum tarn_lifetime life[] = { TARN_LIFETIME_OWNED, TARN_LIFETIME_DETACHED };
	pid_t child = plain_fork();

	if (child == 0) {
		int err = fcntl(2, F_DUPFD_CLOEXEC, 10);

		for (int i = 0; i < 2; i++) {
			tarn_server_options o = { .arena_bytes = 16u << 20, .lifetime = life[i] };
			tarn_server *server;

			close(0);
			close(1);
			close(2);
			int r = tarn_server_start(&o, &server);
			dup2(err, 2);
			PLAIN_CHECKF(r == 0, "%s", tarn_error_last()->message);
			smoke(tarn_server_name(server));
			PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
			tarn_server_unref(server);
		}
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
}

static void on_alarm(int signal)
{
	(void)signal;
}

PLAIN_TEST(l1_signals_of_the_program_lose_no_server)
{
	struct sigaction act = { .sa_handler = on_alarm }; /* no SA_RESTART */
	const struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };

	PLAIN_EQ(sigaction(SIGALRM, &act, NULL), 0);
	for (int i = 0; i < 20; i++) {
		tarn_server_options o = { .arena_bytes = 16u << 20,
					  .lifetime = i % 2 ? TARN_LIFETIME_OWNED
							    : TARN_LIFETIME_DETACHED };
		tarn_server *server;

		PLAIN_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
		int r = tarn_server_start(&o, &server);
		PLAIN_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
		PLAIN_CHECKF(r == 0, "%s", tarn_error_last()->message);
		PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		tarn_server_unref(server);
	}
}

/* ---- names ---- */

PLAIN_TEST(l5_servers_without_a_name_get_different_ones)
{
	struct scene a = scene_open(&small), b = scene_open(&small);

	PLAIN_CHECK(strcmp(a.name, b.name) != 0);
	smoke(a.name);
	smoke(b.name);
	scene_close(&a);
	smoke(b.name);
	scene_close(&b);
}

static void name_is_taken(const char *name)
{
	tarn_server_options o = { .arena_bytes = 16u << 20, .name = name };
	tarn_server *second;

	for (int i = 0; i < 3; i++) {
		struct scene s = scene_open(&o);

		PLAIN_CHECK(strcmp(s.name, name) == 0);
		FAILS(tarn_server_start(&o, &second), EADDRINUSE);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, name) != NULL, "%s",
			     tarn_error_last()->message);
		smoke(name); /* the first is not disturbed */
		if (i == 1) { /* dies without removing anything */
			int fd = pidfd_of(tarn_server_pid(s.server));

			kill(tarn_server_pid(s.server), SIGKILL);
			PLAIN_WAIT_FOR(has_ended(fd));
			close(fd);
			tarn_inspector_close(s.in);
			PLAIN_EQ(tarn_server_shutdown(s.server, TARN_FOREVER), 2);
			tarn_server_unref(s.server);
		} else {
			scene_close(&s);
		}
		/* Of a killed one the kernel may need a moment to let go of the socket. */
		tarn_client *c;
		int r;
		PLAIN_WAIT_FOR((r = tarn_client_open(name, NULL, &c)) != -TARN_ESRVDOWN || i != 1);
		PLAIN_EQ(r, -ENOENT);
	}
}

PLAIN_TEST(l5_a_name_is_one_servers_as_long_as_it_lives)
{
	char path[128], abstract[64];

	name_is_taken("l5");
	snprintf(path, sizeof path, "%s/l5.sock", plain_dir());
	name_is_taken(path);
	snprintf(abstract, sizeof abstract, "@tarn-l5-%d", (int)getpid());
	name_is_taken(abstract);
}

struct race {
	uint32_t go, started, refused;
};

PLAIN_TEST_TIMEOUT(l5_of_many_who_start_the_same_name_one_wins, 60)
{
	const tarn_server_options o = { .arena_bytes = 4u << 20, .name = "race" };
	struct race *r = scene_shared(sizeof *r);
	pid_t child[8];

	for (int round = 0; round < 10; round++) {
		*r = (struct race){ 0 };
		for (int i = 0; i < 8; i++) {
			child[i] = plain_fork();
			if (child[i] != 0)
				continue;
			tarn_server *server = NULL;
			scene_await(&r->go, 1);
			int code = tarn_server_start(&o, &server);
			if (code == 0)
				__atomic_fetch_add(&r->started, 1, __ATOMIC_RELAXED);
			else if (code == -EADDRINUSE)
				__atomic_fetch_add(&r->refused, 1, __ATOMIC_RELAXED);
			else
				PLAIN_FAIL("%s", tarn_error_last()->message);
			scene_await(&r->go, 2);
			if (round % 2 && server != NULL)
				tarn_server_shutdown(server, TARN_FOREVER);
			if (round % 2)
				tarn_server_unref(server);
			_exit(0); /* else the server follows its parent */
		}
		scene_say(&r->go, 1);
		PLAIN_WAIT_FOR(__atomic_load_n(&r->started, __ATOMIC_RELAXED) +
				       __atomic_load_n(&r->refused, __ATOMIC_RELAXED) == 8);
		PLAIN_EQ(r->started, 1);
		smoke("race");
		scene_say(&r->go, 2);
		for (int i = 0; i < 8; i++)
			PLAIN_EQ(plain_reap(child[i]), 0);
		tarn_client *c;
		int code;
		PLAIN_WAIT_FOR((code = tarn_client_open("race", NULL, &c)) != 0 ||
			       (tarn_client_close(c), false));
		/* Gone, or on its way. */
		PLAIN_CHECKF(code == -ENOENT || code == -TARN_ESRVDOWN, "%s",
			     tarn_error_last()->message);
		tarn_server *next;
		PLAIN_WAIT_FOR((code = tarn_server_start(&o, &next)) != -EADDRINUSE);
		OK(code);
		PLAIN_EQ(tarn_server_shutdown(next, TARN_FOREVER), 0);
		tarn_server_unref(next);
	}
}

PLAIN_TEST(bad_names_are_refused_by_servers_and_clients_alike)
{
	static char long_plain[80], long_path[200], long_abstract[200];
	static const char *const bad[] = { "",	       ".hidden",   "@",	 "a\nb",
					   "tab\tname", long_plain, long_path, long_abstract };

	memset(long_plain, 'x', sizeof long_plain - 1);
	memset(long_path, 'x', sizeof long_path - 1);
	long_path[0] = '/';
	memset(long_abstract, 'x', sizeof long_abstract - 1);
	long_abstract[0] = '@';
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		tarn_server_options o = { .arena_bytes = 4u << 20, .name = bad[i] };
		tarn_server *server;
		tarn_client *c;
		int r = tarn_client_open(bad[i], NULL, &c);

		PLAIN_CHECKF(r == -EINVAL, "client of '%.10s': %s", bad[i], tarn_error_name(r));
		r = tarn_server_start(&o, &server);
		PLAIN_CHECKF(r == -EINVAL || r == -ENAMETOOLONG, "server '%.10s': %s", bad[i],
			     tarn_error_name(r));
		PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
	}
	tarn_server_options o = { .arena_bytes = 4u << 20, .name = "/no/such/directory/x.sock" };
	tarn_server *server;
	tarn_client *c;
	FAILS(tarn_server_start(&o, &server), ENOENT);
	FAILS(tarn_client_open(o.name, NULL, &c), ENOENT);
	o = (tarn_server_options){ .arena_bytes = 1000 };
	FAILS(tarn_server_start(&o, &server), EINVAL);
	o = (tarn_server_options){ .arena_bytes = 4u << 20, .io = (enum tarn_io)9 };
	FAILS(tarn_server_start(&o, &server), EINVAL);
}

PLAIN_TEST(l10_a_client_may_wait_for_its_server)
{
	const tarn_server_options o = { .arena_bytes = 4u << 20, .name = "later" };
	tarn_client_options patient = { .connect_timeout_ns = 20000000 };
	uint32_t *step = scene_shared(sizeof *step);
	tarn_client *c;

	FAILS(tarn_client_open("later", NULL, &c), ENOENT);
	FAILS(tarn_client_open("later", &patient, &c), ETIMEDOUT);
	pid_t child = plain_fork();
	if (child == 0) {
		patient.connect_timeout_ns = TARN_FOREVER;
		scene_say(step, 1);
		OK(tarn_client_open("later", &patient, &c));
		OK(tarn_client_ping(c, TARN_FOREVER));
		_exit(0);
	}
	scene_await(step, 1);
	struct scene s = scene_open(&o);
	PLAIN_EQ(plain_reap(child), 0);
	scene_close(&s);
}

/* ---- parents ---- */

struct born {
	uint32_t step;
	pid_t server;
	char name[108];
};

static void start_for(struct born *b)
{
	tarn_server *server;

	OK(tarn_server_start(&small, &server));
	b->server = tarn_server_pid(server);
	snprintf(b->name, sizeof b->name, "%s", tarn_server_name(server));
}

static void *start_in_thread(void *arg)
{
	start_for(arg);
	return NULL;
}

static void follows_its_parent(int signal)
{
	struct born *b = scene_shared(sizeof *b);
	pid_t child = plain_fork();

	if (child == 0) {
		start_for(b);
		scene_say(&b->step, 1);
		scene_await(&b->step, signal == 0 ? 2 : 99);
		_exit(0);
	}
	scene_await(&b->step, 1);
	smoke(b->name);
	int fd = pidfd_of(b->server);
	PLAIN_CHECK(!has_ended(fd));
	if (signal != 0)
		kill(child, signal);
	scene_say(&b->step, 2);
	plain_reap(child);
	PLAIN_WAIT_FOR(has_ended(fd));
	close(fd);
	tarn_client *c;
	FAILS(tarn_client_open(b->name, NULL, &c), ENOENT); /* orderly: nothing is left */
}

PLAIN_TEST(l9_a_server_ends_with_the_process_that_started_it)
{
	follows_its_parent(0);
	follows_its_parent(SIGKILL);
	follows_its_parent(SIGTERM);
}

static unsigned threads_of_mine(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

PLAIN_TEST(l9_a_server_survives_the_thread_that_started_it)
{
	struct born *b = scene_shared(sizeof *b);
	pthread_t t;
	pid_t child = plain_fork();

	if (child == 0) {
		PLAIN_EQ(pthread_create(&t, NULL, start_in_thread, b), 0);
		pthread_join(t, NULL);
		PLAIN_WAIT_FOR(threads_of_mine() == 1); /* gone for the kernel, too */
		scene_say(&b->step, 1);
		scene_await(&b->step, 2);
		_exit(0);
	}
	scene_await(&b->step, 1);
	int fd = pidfd_of(b->server);
	for (int i = 0; i < 20; i++)
		smoke(b->name);
	PLAIN_CHECK(!has_ended(fd));
	scene_say(&b->step, 2);
	plain_reap(child);
	PLAIN_WAIT_FOR(has_ended(fd)); /* the process is another matter */
	close(fd);
}

PLAIN_TEST(l9_a_server_ends_when_its_parent_dies_while_it_is_busy)
{
	struct born *b = scene_shared(sizeof *b);
	pid_t child = plain_fork(), user;

	if (child == 0) {
		start_for(b);
		scene_say(&b->step, 1);
		for (;;)
			pause();
	}
	scene_await(&b->step, 1);
	int fd = pidfd_of(b->server);
	user = plain_fork();
	if (user == 0) {
		tarn_client *c;
		tarn_block *x;
		tarn_token t;
		int r;

		OK(tarn_client_open(b->name, NULL, &c));
		scene_say(&b->step, 2);
		do {
			r = tarn_block_new(c, 100, 0, &x);
			if (r == 0)
				r = tarn_block_export(x, NULL, &t);
			if (r == 0)
				r = tarn_token_revoke(c, &t);
			if (r == 0)
				tarn_block_unref(x);
		} while (r == 0);
		PLAIN_EQ(r, -TARN_ESRVDOWN);
		_exit(0);
	}
	scene_await(&b->step, 2);
	plain_kill(child);
	PLAIN_WAIT_FOR(has_ended(fd));
	PLAIN_EQ(plain_reap(user), 0);
	close(fd);
}

/* ---- signals ---- */

static void do_nothing(int signal)
{
	(void)signal;
}

PLAIN_TEST(l4_sigint_leaves_the_server_and_sigterm_ends_it)
{
	tarn_server_options o = { .arena_bytes = 16u << 20, .name = "l4" };
	char path[128];
	struct stat st;

	signal(SIGINT, do_nothing); /* not SIG_IGN, which the server would inherit */
	struct scene s = scene_open(&o);
	pid_t server = tarn_server_pid(s.server);
	snprintf(path, sizeof path, "%s/tarn/l4.sock", plain_dir());
	PLAIN_EQ(stat(path, &st), 0);
	PLAIN_EQ(st.st_mode & 077, 0);
	for (int i = 0; i < 10; i++) {
		kill(0, SIGINT);
		kill(server, SIGINT);
		kill(server, SIGPIPE);
		smoke("l4");
	}
	int fd = pidfd_of(server);
	scene_at_rest(&s);
	kill(server, SIGTERM);
	PLAIN_WAIT_FOR(has_ended(fd));
	close(fd);
	siginfo_t how = { 0 };
	PLAIN_EQ(waitid(P_PID, (id_t)server, &how, WEXITED | WNOWAIT), 0);
	PLAIN_EQ(how.si_code, CLD_EXITED);
	PLAIN_EQ(how.si_status, 0);
	PLAIN_CHECK(stat(path, &st) != 0);
	tarn_inspector_close(s.in);
	PLAIN_EQ(tarn_server_shutdown(s.server, TARN_FOREVER), 2);
	tarn_server_unref(s.server);
}

PLAIN_TEST(l8_shutdown_ends_a_server_however_it_is)
{
	for (int i = 0; i < 3; i++) {
		struct scene s = scene_open(&small);
		pid_t server = tarn_server_pid(s.server);
		int fd = pidfd_of(server);

		if (i == 1)
			kill(server, SIGSTOP); /* answers nobody: it has to be killed */
		if (i == 2) {
			kill(server, SIGKILL);
			PLAIN_WAIT_FOR(has_ended(fd));
		}
		PLAIN_EQ(tarn_server_shutdown(s.server, i == 1 ? 20000000 : TARN_FOREVER), i);
		tarn_server_unref(s.server);
		PLAIN_CHECK(has_ended(fd));
		PLAIN_CHECK(kill(server, 0) != 0); /* collected */
		close(fd);
		tarn_inspector_close(s.in);
	}
	PLAIN_EQ(tarn_server_shutdown(NULL, 0), 0);
}

/* ---- the end of a server under its clients ---- */

enum wait {
	IN_RECV, IN_SEND, IN_OPEN, IN_PING, IN_ALLOC, IN_FLUSH, IN_EXPORT, IN_LOOP, WAITS
};

struct waiter {
	pthread_t thread;
	tarn_client *c;
	tarn_channel *ch;
	enum wait how;
	uint32_t *about_to;
	int result;
	uint64_t ended;
};

static int wait_in(struct waiter *w)
{
	const tarn_block_options patient = { .timeout_ns = TARN_FOREVER };
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;
	int r = 0;

	OK(tarn_block_new(w->c, 10, 0, &b));
	__atomic_fetch_add(w->about_to, 1, __ATOMIC_RELEASE);
	switch (w->how) {
	case IN_RECV:
		return tarn_channel_recv(w->ch, &b, NULL, TARN_FOREVER);
	case IN_SEND:
		while (r == 0)
			r = tarn_channel_send(w->ch, b, 0, TARN_FOREVER);
		return r;
	case IN_OPEN:
		return tarn_channel_open(w->c, "no such name", TARN_FOREVER, &ch);
	case IN_PING:
		while (r == 0)
			r = tarn_client_ping(w->c, TARN_FOREVER);
		return r;
	case IN_ALLOC:
		while (r == 0)
			r = tarn_block_new_with(w->c, 8 << 20, &patient, &b);
		return r;
	case IN_FLUSH:
		while (r == 0)
			r = tarn_client_flush(w->c, true, TARN_FOREVER);
		return r;
	case IN_EXPORT:
		while (r == 0 || r == -ENOSPC)
			r = tarn_block_export(b, NULL, &t);
		return r;
	default:
		/* No answer needed, until the lane is full of what nobody reads; and no wait. */
		while (r == 0 || r == -EAGAIN) {
			r = tarn_channel_send(w->ch, b, 0, 0);
			if (r == 0 || r == -EAGAIN)
				r = tarn_channel_recv(w->ch, &b, NULL, 0);
			if (r == 0)
				tarn_block_unref(b);
		}
		return r;
	}
}

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->result = wait_in(w);
	w->ended = scene_now();
	return NULL;
}

static void open_waiters(struct waiter w[WAITS], tarn_client *c, uint32_t *about_to)
{
	for (int i = 0; i < WAITS; i++) {
		w[i] = (struct waiter){ .c = c, .how = (enum wait)i, .about_to = about_to };
		OK(tarn_channel_new(c, 4, NULL, &w[i].ch));
		if (i == IN_RECV || i == IN_LOOP)
			OK(tarn_channel_bind(w[i].ch, TARN_CONSUMER));
		if (i == IN_SEND || i == IN_LOOP)
			OK(tarn_channel_bind(w[i].ch, TARN_PRODUCER));
		PLAIN_EQ(pthread_create(&w[i].thread, NULL, waiter_main, &w[i]), 0);
	}
}

static void all_are_told(int signal)
{
	struct scene s = scene_open(&small);
	uint32_t *about_to = scene_shared(sizeof *about_to);
	pid_t child, server = tarn_server_pid(s.server);
	int to_child[2], fd = pidfd_of(server);

	PLAIN_EQ(pipe2(to_child, O_CLOEXEC), 0);
	child = plain_fork();
	if (child == 0) {
		struct waiter w[WAITS];
		tarn_client *c = scene_client(&s);
		uint64_t begin, longest = 0;

		open_waiters(w, c, about_to);
		PLAIN_EQ(read(to_child[0], &begin, sizeof begin), sizeof begin);
		for (int i = 0; i < WAITS; i++) {
			pthread_join(w[i].thread, NULL);
			PLAIN_CHECKF(w[i].result == -TARN_ESRVDOWN, "wait %d ends with %s", i,
				     tarn_error_name(w[i].result));
			if (w[i].ended > begin && w[i].ended - begin > longest)
				longest = w[i].ended - begin;
		}
		scene_note("the last of %d waits ended after %.0f ms", WAITS, (double)longest / 1e6);
		/* Every further call says so at once. */
		tarn_block *b = NULL;
		FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
		FAILS(tarn_block_new(c, 10000000, 0, &b), TARN_ESRVDOWN);
		PLAIN_CHECK(strstr(tarn_error_last()->message, s.name) != NULL);
		tarn_client_close(c);
		_exit(0);
	}
	scene_await(about_to, WAITS);
	/* Some are asleep, some on their way, some busy. */
	PLAIN_WAIT_FOR(scene_stat(&s).pending_allocs == 1);
	uint64_t begin = scene_now();
	if (signal == 0) {
		OK(tarn_inspector_shutdown(s.in));
	} else {
		kill(server, signal);
	}
	PLAIN_EQ(write(to_child[1], &begin, sizeof begin), sizeof begin);
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_WAIT_FOR(has_ended(fd));
	close(fd);
	tarn_inspector_close(s.in);
	PLAIN_EQ(tarn_server_shutdown(s.server, TARN_FOREVER), 2);
	tarn_server_unref(s.server);
}

PLAIN_TEST_TIMEOUT(d16_everybody_who_waits_is_told_when_the_server_is_killed, 60)
{
	for (int i = 0; i < 5; i++)
		all_are_told(SIGKILL);
}

PLAIN_TEST_TIMEOUT(d16_everybody_who_waits_is_told_when_the_server_ends, 60)
{
	all_are_told(SIGTERM);
	all_are_told(0);
}

PLAIN_TEST(blocks_stay_readable_after_the_server_is_gone)
{
	struct scene s = scene_open(&small);
	tarn_client *c = scene_client(&s);
	int fd = pidfd_of(tarn_server_pid(s.server));
	tarn_block *b, *second;
	tarn_token t;

	OK(tarn_block_new(c, 5000, 0, &b));
	memset(tarn_block_data(b), 9, 5000);
	OK(tarn_block_export(b, NULL, &t));
	kill(tarn_server_pid(s.server), SIGKILL);
	PLAIN_WAIT_FOR(has_ended(fd));
	for (int i = 0; i < 5000; i++)
		PLAIN_EQ(((unsigned char *)tarn_block_data(b))[i], 9);
	tarn_block_ref(b);
	tarn_block_unref(b);
	/* More drops than a lane holds: none of them waits for a server. */
	for (int i = 0; i < 5000; i++) {
		int r = tarn_block_slice(b, 0, 10, &second);
		PLAIN_CHECK(r == 0 || r == -TARN_ESRVDOWN);
		if (r == 0)
			tarn_block_unref(second);
	}
	tarn_block_unref(b);
	tarn_client_close(c);
	close(fd);
	tarn_inspector_close(s.in);
	PLAIN_EQ(tarn_server_shutdown(s.server, 0), 2);
	tarn_server_unref(s.server);
}

/* ---- inside a program ---- */

struct run {
	pthread_t thread;
	tarn_server_options o;
	int result, ready[2];
};

static void *run_main(void *arg)
{
	struct run *r = arg;

	r->result = tarn_server_run(&r->o);
	return NULL;
}

static void run_start(struct run *r, const char *name)
{
	char line[128] = "";

	PLAIN_EQ(pipe2(r->ready, O_CLOEXEC), 0);
	r->o = (tarn_server_options){ .name = name, .arena_bytes = 16u << 20,
				      .ready_fd = r->ready[1] };
	PLAIN_EQ(pthread_create(&r->thread, NULL, run_main, r), 0);
	PLAIN_CHECK(read(r->ready[0], line, sizeof line - 1) > 0);
	PLAIN_CHECKF(strncmp(line, "READY ", 6) == 0 && strstr(line, name) != NULL, "%s", line);
	close(r->ready[0]);
}

PLAIN_TEST(l11_a_server_runs_in_a_thread_beside_its_own_client)
{
	tarn_inspector *in;
	tarn_client *c;
	tarn_stat st;
	struct run r;
	char *text;

	for (int i = 0; i < 5; i++) {
		run_start(&r, "inside");
		smoke("inside");
		pid_t child = plain_fork();
		if (child == 0) {
			smoke("inside");
			_exit(0);
		}
		PLAIN_EQ(plain_reap(child), 0);
		OK(tarn_client_open("inside", NULL, &c));
		OK(tarn_inspector_open("inside", 0, &in));
		OK(tarn_inspector_stat(in, &st));
		PLAIN_EQ(st.clients, 1);
		PLAIN_EQ(tarn_inspector_check(in, &text), 0);
		free(text);
		tarn_server_stop();
		pthread_join(r.thread, NULL);
		PLAIN_EQ(r.result, 0);
		FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
		tarn_client_close(c);
		tarn_inspector_close(in);
	}
	tarn_server_stop(); /* without effect when none runs */
}

PLAIN_TEST(l13_two_servers_in_one_program_do_not_mix)
{
	struct run r[2];
	tarn_client *c[2];
	tarn_block *b[2], *x;
	tarn_channel *ch;
	tarn_token t;

	run_start(&r[0], "first");
	run_start(&r[1], "second");
	for (int i = 0; i < 2; i++) {
		OK(tarn_client_open(i ? "second" : "first", NULL, &c[i]));
		OK(tarn_block_new(c[i], 100, 0, &b[i]));
		memset(tarn_block_data(b[i]), i + 1, 100);
	}
	for (int i = 0; i < 1000; i++) { /* in turn, in one thread */
		OK(tarn_block_export(b[i % 2], NULL, &t));
		FAILS(tarn_block_import(c[1 - i % 2], &t, &x), EXDEV);
		OK(tarn_block_import(c[i % 2], &t, &x));
		PLAIN_EQ(*(unsigned char *)tarn_block_data(x), i % 2 + 1);
		tarn_block_unref(x);
	}
	OK(tarn_channel_new(c[0], 4, "same name", &ch));
	FAILS(tarn_channel_open(c[1], "same name", 0, &ch), ENOENT);
	smoke("first");
	smoke("second");
	tarn_client_close(c[0]);
	tarn_client_close(c[1]);
	tarn_server_stop();
	for (int i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		PLAIN_EQ(r[i].result, 0);
	}
}

/* ---- other versions ---- */

PLAIN_TEST(another_layout_is_refused_in_words)
{
	static const enum tarn__control kinds[] = { TARN__CTL_ATTACH, TARN__CTL_STAT,
						    TARN__CTL_SHUTDOWN };
	struct scene s = scene_open(&small);

	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kinds[i],
					   .layout = tarn__layout_hash() ^ 1 };
		struct tarn__answer a;
		int fds[TARN__CONTROL_FDS], fd;

		OK(tarn__control_connect(s.name, 0, &fd));
		FAILS(tarn__control_ask(fd, &q, &a, fds, UINT64_MAX), TARN_EVERSION);
		PLAIN_EQ(a.n_fds, 0);
		PLAIN_CHECKF(strstr(a.text, "version") != NULL, "%s", a.text);
		q.layout ^= 1; /* the right one, on the same connection */
		q.kind = TARN__CTL_STAT;
		OK(tarn__control_ask(fd, &q, &a, fds, UINT64_MAX));
		close(fds[0]);
		close(fd);
	}
	scene_close(&s);
}

/* ---- rest ---- */

static uint64_t number_after(const char *path, const char *key)
{
	char line[256];
	unsigned long long v = 0;
	bool found = false;
	FILE *f = fopen(path, "re");

	PLAIN_CHECK(f != NULL);
	while (!found && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			found = sscanf(line + strlen(key), ": %llu", &v) == 1;
	fclose(f);
	PLAIN_CHECK(found);
	return v;
}

/* How often threads of @pid have gone to sleep or were taken off. */
static uint64_t switches(pid_t pid, unsigned *ret_threads)
{
	char path[300];
	uint64_t sum = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	*ret_threads = 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, e->d_name);
		sum += number_after(path, "voluntary_ctxt_switches");
		(*ret_threads)++;
	}
	closedir(d);
	return sum;
}

struct idler {
	tarn_client *c;
	tarn_channel *ch;
};

static void *wait_for_an_item(void *arg)
{
	struct idler *i = arg;
	tarn_block *b;

	FAILS(tarn_channel_recv(i->ch, &b, NULL, TARN_FOREVER), TARN_ESRVDOWN);
	return NULL;
}

/* Holds things, has told the server of some of them lazily, and waits in a channel. */
static void idle_client(const struct scene *s, uint32_t *ready)
{
	const tarn_export_options later = { .lifetime_ns = 3600000000000 };
	struct idler i = { .c = scene_client(s) };
	tarn_block *b, *got;
	tarn_channel *ch;
	tarn_token t;
	pthread_t thread;

	OK(tarn_channel_new(i.c, 8, NULL, &i.ch));
	OK(tarn_channel_bind(i.ch, TARN_CONSUMER));
	OK(tarn_block_new(i.c, 1000, 0, &b));
	OK(tarn_block_export(b, &later, &t));
	OK(tarn_channel_new(i.c, 8, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	PLAIN_EQ(pthread_create(&thread, NULL, wait_for_an_item, &i), 0);
	OK(tarn_channel_send(ch, b, 0, 0));
	OK(tarn_channel_recv(ch, &got, NULL, 0));
	tarn_block_unref(got);
	tarn_block_unref(b); /* lies in the lane until somebody rings */
	__atomic_fetch_add(ready, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	_exit(0);
}

static void rests(enum tarn_io io)
{
	const tarn_server_options o = { .arena_bytes = 16u << 20, .io = io };
	struct scene s = scene_open(&o);
	uint32_t *ready = scene_shared(sizeof *ready);
	pid_t server = tarn_server_pid(s.server), child[3];
	uint64_t before, after, same = 0;
	unsigned threads;

	for (int i = 0; i < 3; i++) {
		child[i] = plain_fork();
		if (child[i] == 0)
			idle_client(&s, ready);
	}
	scene_await(ready, 3);
	/* It comes to rest: no switch in 50 looks. */
	for (before = switches(server, &threads); same < 50; same++) {
		plain__nap();
		after = switches(server, &threads);
		if (after != before)
			same = 0;
		before = after;
	}
	struct timespec window = { 2, 0 };
	nanosleep(&window, NULL);
	after = switches(server, &threads);
	PLAIN_CHECKF(after == before, "%llu wake-ups of %u threads in 2 s",
		     (unsigned long long)(after - before), threads);
	/* The count counts. */
	scene_stat(&s);
	PLAIN_WAIT_FOR(switches(server, &threads) > before);
	kill(server, SIGKILL);
	for (int i = 0; i < 3; i++)
		PLAIN_EQ(plain_reap(child[i]), 0);
	tarn_inspector_close(s.in);
	tarn_server_shutdown(s.server, 0);
	tarn_server_unref(s.server);
}

PLAIN_TEST(an_idle_server_has_no_wake_ups_with_io_uring)
{
	rests(TARN_IO_URING);
}

PLAIN_TEST(an_idle_server_has_no_wake_ups_with_epoll)
{
	rests(TARN_IO_EPOLL);
}

/* Whoever becomes a daemon changes its directory, and found its own server no more, or another one of that name. */
PLAIN_TEST(a_server_in_this_directory_is_found_from_any_other)
{
	const tarn_server_options o = { .arena_bytes = 16u << 20, .name = "./deep//server.sock" };
	char text[TARN_SERVER_TEXT], path[256], again[TARN_SERVER_TEXT];
	tarn_server *server, *same;
	tarn_client *c, *other;
	struct stat st;

	PLAIN_EQ(chdir(plain_dir()), 0);
	PLAIN_EQ(mkdir("deep", 0700), 0);
	OK(tarn_server_start(&o, &server));
	OK(tarn_client_open("deep/server.sock", NULL, &c));
	PLAIN_EQ(chdir("/"), 0);
	smoke(tarn_server_name(server));
	OK(tarn_server_client_open(server, NULL, &other));
	tarn_client_close(other);
	OK(tarn_server_export(server, text));
	OK(tarn_client_export(c, again, sizeof again));
	PLAIN_EQ(strcmp(text, again), 0);
	OK(tarn_server_import(text, &same));
	OK(tarn_server_client_open(same, NULL, &other));
	tarn_client_close(other);
	tarn_server_unref(same);
	tarn_client_close(c);
	PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
	tarn_server_unref(server);
	snprintf(path, sizeof path, "%s/deep/server.sock", plain_dir());
	PLAIN_CHECK(stat(path, &st) != 0);
	/* A path from the root that would be too long for a socket is left as it is. */
	char longer[120];
	PLAIN_EQ(chdir(plain_dir()), 0);
	snprintf(longer, sizeof longer, "./%0*d", 107 - 2, 0);
	const tarn_server_options l = { .arena_bytes = 16u << 20, .name = longer };
	OK(tarn_server_start(&l, &server));
	PLAIN_EQ(strcmp(tarn_server_name(server), longer), 0);
	smoke(longer);
	PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
	tarn_server_unref(server);
}

/* The kernel's signal for who writes to a pipe that nobody reads ended the program that served in a thread of its own,
 * as soon as a client with a descriptor for events was gone. */
PLAIN_TEST(a_client_that_reads_no_events_any_more_ends_no_server)
{
	const tarn_server_options o = { .arena_bytes = 16u << 20, .name = "events" };
	const tarn_client_options patient = { .connect_timeout_ns = TARN_FOREVER };
	pid_t pid = plain_fork();
	tarn_inspector *in;
	tarn_client *c;
	int fd;

	if (pid == 0) {
		sigset_t before, after;

		signal(SIGPIPE, SIG_DFL);
		sigprocmask(SIG_SETMASK, NULL, &before);
		OK(tarn_server_run(&o));
		/* As it was, and without a signal that was kept back. */
		sigprocmask(SIG_SETMASK, NULL, &after);
		for (int n = 1; n < NSIG; n++)
			PLAIN_EQ(sigismember(&before, n), sigismember(&after, n));
		_exit(7);
	}
	OK(tarn_client_open("events", &patient, &c));
	OK(tarn_client_event_fd(c, &fd));
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	PLAIN_EQ(dup2(null, fd), fd); /* the library's to close, still */
	close(null);
	for (int i = 0; i < 3; i++) {
		OK(tarn_client_ping(c, TARN_FOREVER));
		tarn_client_event_clear(c);
	}
	tarn_client_close(c);
	smoke("events");
	OK(tarn_inspector_open("events", 0, &in));
	OK(tarn_inspector_shutdown(in));
	tarn_inspector_close(in);
	PLAIN_EQ(plain_reap(pid), 7);
}

/* ---- children of a program that serves ---- */

static struct serving {
	uint32_t step;
	pid_t child;
} *serving;

static void *serve_in_a_thread(void *arg)
{
	OK(tarn_server_run(arg));
	return NULL;
}

/* It had the sockets, and the lock of the name: clients did not hear of the server's death, and the name was taken. */
PLAIN_TEST(a_child_of_a_program_that_serves_has_no_part_in_the_server)
{
	tarn_server_options o = { .arena_bytes = 16u << 20, .name = "parent" };
	const tarn_client_options patient = { .connect_timeout_ns = TARN_FOREVER };
	tarn_server *next;
	tarn_client *c;

	serving = scene_shared(sizeof *serving);
	pid_t pid = plain_fork();
	if (pid == 0) {
		pthread_t t;

		PLAIN_EQ(pthread_create(&t, NULL, serve_in_a_thread, &o), 0);
		scene_await(&serving->step, 1);
		pid_t child = fork(); /* which does not end with its parent */
		if (child == 0) {
			for (;;)
				pause();
		}
		serving->child = child;
		scene_say(&serving->step, 2);
		pthread_join(t, NULL);
		_exit(0);
	}
	OK(tarn_client_open("parent", &patient, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	scene_say(&serving->step, 1);
	scene_await(&serving->step, 2);
	plain_kill(pid);
	FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
	tarn_client_close(c);
	OK(tarn_server_start(&o, &next));
	smoke("parent");
	PLAIN_EQ(tarn_server_shutdown(next, TARN_FOREVER), 0);
	tarn_server_unref(next);
	PLAIN_EQ(kill(serving->child, SIGKILL), 0);
}

/* The calling process has a socket of @name or of one of its clients, or its lock. No memory is asked for: its locks
 * may be held in a child. */
static bool has_part_in(const char *name)
{
	for (int fd = 0; fd < 256; fd++) {
		struct sockaddr_un a = { 0 };
		socklen_t n = sizeof a - 1;
		char path[64], to[300];

		if (getsockname(fd, (struct sockaddr *)&a, &n) == 0 && a.sun_family == AF_UNIX &&
		    strstr(a.sun_path, name) != NULL)
			return true;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t bytes = readlink(path, to, sizeof to - 1);
		to[bytes > 0 ? bytes : 0] = '\0';
		if (strstr(to, name) != NULL)
			return true;
	}
	return false;
}

static _Noreturn void serve_and_fork(const char *name)
{
	tarn_server_options o = { .arena_bytes = 16u << 20, .name = name };
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, serve_in_a_thread, &o), 0);
	for (int i = 0; i < 4 || __atomic_load_n(&serving->step, __ATOMIC_RELAXED) != 1; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(has_part_in(name) ? 1 : 0);
		PLAIN_EQ(plain_reap(child), 0);
	}
	pthread_join(t, NULL);
	_exit(0);
}

/* Between open() and that it was noted, a child that was forked in another thread had them. */
PLAIN_TEST(children_have_nothing_of_a_server_that_just_begins_or_lets_clients_in)
{
	const tarn_client_options patient = { .connect_timeout_ns = TARN_FOREVER };

	serving = scene_shared(sizeof *serving);
	for (int i = 0; i < 20; i++) {
		tarn_inspector *in;
		tarn_client *c;

		scene_say(&serving->step, 0);
		pid_t pid = plain_fork();
		if (pid == 0)
			serve_and_fork("beginner");
		for (int k = 0; k < 20; k++) {
			OK(tarn_client_open("beginner", &patient, &c));
			OK(tarn_client_ping(c, TARN_FOREVER));
			tarn_client_close(c);
		}
		scene_say(&serving->step, 1);
		OK(tarn_inspector_open("beginner", 0, &in));
		OK(tarn_inspector_shutdown(in));
		tarn_inspector_close(in);
		PLAIN_EQ(plain_reap(pid), 0);
	}
}

/* Numbers are given again, and on some file systems those of files, too: its program's file was closed in children. */
PLAIN_TEST(children_keep_what_has_the_numbers_of_a_server_that_is_over)
{
	tarn_server_options o = { .arena_bytes = 16u << 20 };
	char name[150], lock[160], mine[160];
	const tarn_client_options patient = { .connect_timeout_ns = TARN_FOREVER };
	tarn_inspector *in;
	tarn_client *c;
	pthread_t t;

	snprintf(name, sizeof name, "%s/over", plain_dir());
	snprintf(lock, sizeof lock, "%s.lock", name);
	snprintf(mine, sizeof mine, "%s/mine", plain_dir());
	o.name = name;
	PLAIN_EQ(pthread_create(&t, NULL, serve_in_a_thread, &o), 0);
	OK(tarn_client_open(name, &patient, &c));
	tarn_client_close(c);
	PLAIN_EQ(link(lock, mine), 0); /* the same number for sure */
	OK(tarn_inspector_open(name, 0, &in));
	OK(tarn_inspector_shutdown(in));
	tarn_inspector_close(in);
	pthread_join(t, NULL);
	int fd[64];
	for (int i = 0; i < 64; i++) {
		fd[i] = open(mine, O_RDONLY | O_CLOEXEC);
		PLAIN_CHECK(fd[i] >= 0);
	}
	pid_t child = plain_fork();
	if (child == 0) {
		for (int i = 0; i < 64; i++)
			if (fcntl(fd[i], F_GETFD) < 0)
				_exit(1);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	for (int i = 0; i < 64; i++)
		close(fd[i]);
	PLAIN_EQ(unlink(mine), 0);
}

static void slow_sink(void *arg, const tarn_log_record *r)
{
	(void)arg;
	(void)r;
	scene_say(&serving->step, 2);
	scene_await(&serving->step, 4);
}

static void *log_a_line(void *arg)
{
	tarn_log(TARN_LOG_ERROR, "test", "slow");
	return arg;
}

static pid_t forker; /* the thread that is in fork() */

static void note_fork(void)
{
	if (serving != NULL)
		__atomic_store_n(&forker, (pid_t)syscall(SYS_gettid), __ATOMIC_RELAXED);
}

static void *fork_once(void *arg)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	PLAIN_EQ(plain_reap(child), 0);
	return arg;
}

static void serve_while_a_fork_waits(void)
{
	const tarn_log_handler handler = { .sink = slow_sink };
	tarn_server_options o = { .arena_bytes = 16u << 20, .name = "slow" };
	pthread_t server, logger, f;

	PLAIN_EQ(pthread_atfork(note_fork, NULL, NULL), 0); /* the last one: called first */
	tarn_log_set(&handler);
	PLAIN_EQ(pthread_create(&server, NULL, serve_in_a_thread, &o), 0);
	scene_await(&serving->step, 1);
	PLAIN_EQ(pthread_create(&logger, NULL, log_a_line, NULL), 0);
	scene_await(&serving->step, 2);
	PLAIN_EQ(pthread_create(&f, NULL, fork_once, NULL), 0);
	PLAIN_WAIT_FOR(__atomic_load_n(&forker, __ATOMIC_RELAXED) != 0);
	PLAIN_WAIT_FOR(plain_state(forker) == 'S');
	scene_say(&serving->step, 3);
	pthread_join(logger, NULL);
	pthread_join(f, NULL);
	pthread_join(server, NULL);
	_exit(0);
}

/* A fork() waits for whoever is in a handler of records, who may wait for the server. That waited for the fork. */
PLAIN_TEST(a_server_lets_clients_in_while_a_fork_beside_it_waits_for_a_handler_of_records)
{
	const tarn_client_options patient = { .connect_timeout_ns = TARN_FOREVER };
	tarn_inspector *in;
	tarn_client *c;

	serving = scene_shared(sizeof *serving);
	pid_t pid = plain_fork();
	if (pid == 0)
		serve_while_a_fork_waits();
	OK(tarn_client_open("slow", &patient, &c));
	tarn_client_close(c);
	scene_say(&serving->step, 1);
	scene_await(&serving->step, 3);
	OK(tarn_client_open("slow", &patient, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	tarn_client_close(c);
	scene_say(&serving->step, 4);
	OK(tarn_inspector_open("slow", 0, &in));
	OK(tarn_inspector_shutdown(in));
	tarn_inspector_close(in);
	PLAIN_EQ(plain_reap(pid), 0);
}

PLAIN_MAIN()
