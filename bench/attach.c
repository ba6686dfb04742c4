/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does it cost to become a client, and to have a server? Beside each figure stands the same
 * work by bare system calls: a twin server that answers a connection with five descriptors
 * after the same questions to the kernel, mapped and given back by its client; and a process
 * that is started and does nothing.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "report.h"

#define FDS 5
#define SEGMENT_BYTES (64u << 20)
#define PIDFD_OPTION 77 /* SO_PEERPIDFD */

extern char **environ;
static struct sockaddr_un twin_address = { .sun_family = AF_UNIX };
static socklen_t twin_length;

static void must(bool good, const char *what)
{
	if (!good)
		die("%s: %m", what);
}

/* ---- the twin: every system call of an attach, and nothing else ---- */

union fds {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDS * sizeof(int))];
};

static void send_fds(int to, const int fd[FDS])
{
	char answer[352] = "";
	union fds u = { .bytes = "" };
	struct iovec v = { answer, sizeof answer };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u,
			    .msg_controllen = sizeof u };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(FDS * sizeof(int));
	memcpy(CMSG_DATA(h), fd, FDS * sizeof(int));
	must(sendmsg(to, &m, 0) > 0, "sendmsg");
}

static void receive_fds(int from, int ret[FDS])
{
	char answer[352];
	union fds u;
	struct iovec v = { answer, sizeof answer };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u,
			    .msg_controllen = sizeof u };

	must(recvmsg(from, &m, MSG_CMSG_CLOEXEC) > 0, "recvmsg");
	must(CMSG_FIRSTHDR(&m) != NULL, "descriptors");
	memcpy(ret, CMSG_DATA(CMSG_FIRSTHDR(&m)), FDS * sizeof(int));
}

static int segment(void)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);

	must(fd >= 0 && ftruncate(fd, SEGMENT_BYTES) == 0, "memfd");
	return fd;
}

static void twin_serve(void *arg)
{
	int listener = *(int *)arg, shared[FDS];
	char request[88];

	for (int i = 0; i < FDS; i++)
		shared[i] = segment();
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), pidfd = -1;
		struct ucred who;
		socklen_t n = sizeof who;

		must(fd >= 0 && recv(fd, request, sizeof request, 0) > 0, "a request");
		must(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0, "SO_PEERCRED");
		n = sizeof pidfd;
		if (getsockopt(fd, SOL_SOCKET, PIDFD_OPTION, &pidfd, &n) != 0)
			pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
		int own = segment();
		void *p = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
		must(p != MAP_FAILED, "mmap");
		const int fds[FDS] = { shared[0], shared[1], shared[2], own, shared[4] };
		send_fds(fd, fds);
		must(recv(fd, request, sizeof request, 0) > 0, "the end");
		munmap(p, SEGMENT_BYTES);
		close(own);
		must(send(fd, request, 1, 0) > 0, "good-bye");
		close(fd);
		close(pidfd);
	}
}

/* Ticks of the attach alone; the whole of it in *@ret_all. */
static uint64_t twin_attach(uint64_t *ret_all)
{
	uint64_t begin = ticks(), attached;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fds[FDS];
	char request[88] = "";
	void *p[FDS];

	must(fd >= 0 && connect(fd, (struct sockaddr *)&twin_address, twin_length) == 0, "connect");
	must(send(fd, request, sizeof request, 0) > 0, "send");
	receive_fds(fd, fds);
	for (int i = 0; i < FDS - 1; i++) {
		p[i] = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		must(p[i] != MAP_FAILED, "mmap");
	}
	attached = ticks();
	must(send(fd, request, sizeof request, 0) > 0 && recv(fd, request, sizeof request, 0) > 0,
	     "detach");
	for (int i = 0; i < FDS; i++) {
		if (i < FDS - 1)
			munmap(p[i], SEGMENT_BYTES);
		close(fds[i]);
	}
	close(fd);
	*ret_all = ticks() - begin;
	return attached - begin;
}

/* ---- Tarn ---- */

static uint64_t tarn_attach(uint64_t *ret_all)
{
	uint64_t begin = ticks(), attached;
	tarn_client *c;

	check(tarn_client_open(arena_name(), NULL, &c), "attach");
	attached = ticks();
	tarn_client_close(c);
	*ret_all = ticks() - begin;
	return attached - begin;
}

static void attach_rows(const char *column, uint64_t (*once)(uint64_t *), const char *versus)
{
	struct samples attach = { 0 }, all = { 0 };
	const uint64_t n = often(2000);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t whole, part = once(&whole);

		samples_add(&attach, part);
		samples_add(&all, whole);
	}
	record("attach, p50", column, "us", samples_percentile(&attach, 50) / 1e3, versus);
	record("attach and detach, p50", column, "us", samples_percentile(&all, 50) / 1e3, versus);
	samples_free(&attach);
	samples_free(&all);
}

static void start_rows(void)
{
	const tarn_server_options o = { .arena_bytes = 64u << 20 };
	char name[] = "true", *argv[] = { name, NULL };
	struct samples bare = { 0 }, start = { 0 }, first = { 0 };
	const uint64_t n = often(100);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t begin = ticks();
		tarn_server *server;
		tarn_client *c;
		pid_t pid;

		must(posix_spawnp(&pid, name, NULL, NULL, argv, environ) == 0, "posix_spawn");
		must(waitpid(pid, NULL, 0) == pid, "waitpid");
		samples_add(&bare, ticks() - begin);
		begin = ticks();
		check(tarn_server_start(&o, &server), "start");
		samples_add(&start, ticks() - begin);
		check(tarn_server_client_open(server, NULL, &c), "attach");
		samples_add(&first, ticks() - begin);
		tarn_client_close(c);
		tarn_server_unref(server);
	}
	const char *row = "a process, p50";
	record(row, "true(1)", "us", samples_percentile(&bare, 50) / 1e3, NULL);
	record(row, "server", "us", samples_percentile(&start, 50) / 1e3, "true(1)");
	record(row, "and a client", "us", samples_percentile(&first, 50) / 1e3, "true(1)");
	samples_free(&bare);
	samples_free(&start);
	samples_free(&first);
}

static void stop_twin(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "attach",
		.question = "What does it cost to attach and detach, and to start a server, beside the\n"
			    "system calls that it takes?",
		.rounds = 7,
	};

	bench_start(argc, argv, &about);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	twin_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				  (size_t)snprintf(twin_address.sun_path + 1,
						   sizeof twin_address.sun_path - 1,
						   "tarn-bench-attach-%d", (int)getpid()));
	must(bind(listener, (struct sockaddr *)&twin_address, twin_length) == 0 &&
	     listen(listener, 16) == 0, "a socket");
	pid_t twin = start_process(twin_serve, &listener, -1);
	arena_start(SEGMENT_BYTES);
	for (unsigned r = 0; r < bench.rounds; r++) {
		run_begin(r, false);
		attach_rows("bare", twin_attach, NULL);
		attach_rows("tarn", tarn_attach, "bare");
		start_rows();
		run_end();
	}
	arena_stop();
	stop_twin(twin);
	report();
	return 0;
}
