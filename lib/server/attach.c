/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching: from a connection to a client (PROTOCOL 3.11).
 *
 * All depends on naming the process at the other end of the socket, by a descriptor that can
 * never mean another one. SO_PEERPIDFD (Linux 6.5) is exactly that. Without it there is a pid,
 * which may be another's by the time it is opened, even while the socket lives on in a child
 * of the dead one. Then the process is asked to speak once more: the kernel signs that message
 * with its sender's pid, and if that is the pid, and the process that was opened under it before is
 * still not dead afterwards, then it is the one that spoke.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/error.h"
#include "server.h"
#include "shm/hash.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* ---- which program it is ---- */

/*
 * Which program image a process runs: a hash of its auxiliary vector, whose random addresses
 * change with every exec(). 0: not to be seen from here. Reading it takes no lock that the
 * process can hold for long, unlike its list of mappings.
 */
static uint64_t image_of(pid_t pid)
{
	unsigned char auxv[1024];
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
	int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, auxv, sizeof auxv);
	close(fd);
	return n > 0 ? tarn__hash64(auxv, (size_t)n, 1) | 1 : 0;
}

/*
 * A hang-up is no death (H14), with one exception: after exec() the process lives on as
 * another program, which has no lanes and never says good-bye. The kernel replaces
 * the memory before it closes descriptors, so the image is another by now. In doubt
 * (no right to look; no memory at all, since only its first thread has ended) it is alive.
 */
bool tarn__peer_executed(const struct server *s, const struct peer *p)
{
	struct pollfd alive = { .fd = p->pidfd, .events = POLLIN };
	uint64_t now = image_of((pid_t)s->st.client[p->client].pid);

	if (p->pidfd < 0 || p->image == 0 || now == 0 || now == p->image)
		return false;
	/* Still silent: the number was that process's all the time. */
	return poll(&alive, 1, 0) == 0;
}

/* ---- becoming a client ---- */

static void refuse(struct server *s, const struct visitor *v, uint32_t kind, int error,
		   const char *text)
{
	tarn__answer(s, v->socket, kind, error, NULL, 0, NULL, 0, text);
}

static void on_death(void *arg, uint32_t events)
{
	struct peer *p = arg;

	(void)events;
	tarn__peer_died(p->server, p);
	tarn__loop_unwatch(p->server->loop, &p->pidfd_watch);
}

void tarn__welcome(struct server *s, struct peer *p, uint32_t kind)
{
	const struct state_head *h = s->st.head;
	const uint64_t value[] = { p->client, s->st.client[p->client].incarnation, h->arena_bytes,
				   h->max_objects + 1, p->lanes.bytes, h->arena_bytes, s->view_segment.bytes };
	const int fds[TARN__CONTROL_FDS] = { s->ctrl_readonly, s->dir_readonly, s->st.data.fd,
					     p->lanes.fd, s->doorbell, s->view_readonly };

	tarn__answer(s, p->socket, kind, 0, value, 7, fds, TARN__CONTROL_FDS, NULL);
}

void tarn__peer_watch(struct server *s, struct peer *p)
{
	tarn__children_close(p->socket);
	p->socket_watch = (struct tarn__loop_watch){ .fd = p->socket, .fn = tarn__on_client, .arg = p };
	p->pidfd_watch = (struct tarn__loop_watch){ .fd = p->pidfd, .fn = on_death, .arg = p };
	if (tarn__loop_watch(s->loop, &p->socket_watch) < 0 ||
	    tarn__loop_watch(s->loop, &p->pidfd_watch) < 0)
		tarn__peer_died(s, p); /* cannot be watched: undone at once */
}

/* The visitor's process is v->pidfd. True if it has become a client. */
static bool admit(struct server *s, struct visitor *v, uint32_t kind, const struct ucred *who)
{
	char text[256];
	uint32_t client;
	const struct newcomer new = { .socket = v->socket, .pidfd = v->pidfd, .pid = who->pid,
				      .uid = who->uid, .quota = v->quota,
				      .image = image_of(who->pid) };
	int r = tarn__client_attach(s, &new, &client);

	if (r < 0) {
		snprintf(text, sizeof text, "server \"%s\" cannot take a client: %s", s->name,
			 strerror(-r));
		refuse(s, v, kind, r, text);
		return false;
	}
	struct peer *p = s->peer[client];

	tarn__loop_unwatch(s->loop, &v->watch);
	v->socket = v->pidfd = -1;
	tarn__peer_watch(s, p);
	tarn__welcome(s, p, kind);
	return true;
}

static void forget_process(struct visitor *v)
{
	if (v->pidfd >= 0)
		close(v->pidfd);
	v->pidfd = -1;
	v->challenge = 0;
}

static int set_passcred(int socket, int on)
{
	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 ? 0 : -errno;
}

/* Opens the process under the pid that the socket was connected by, and asks it to speak. */
static void challenge(struct server *s, struct visitor *v, const struct ucred *who)
{
	char text[256];
	int r = 0;

	v->pidfd = (int)syscall(SYS_pidfd_open, who->pid, 0);
	if (v->pidfd < 0 || fcntl(v->pidfd, F_SETFD, FD_CLOEXEC) != 0)
		r = -errno;
	if (r == 0 && getrandom(&v->challenge, sizeof v->challenge, 0) != (ssize_t)sizeof v->challenge)
		r = -EIO;
	v->challenge |= 1; /* never 0 */
	if (r == 0)
		r = set_passcred(v->socket, 1);
	if (r == 0) {
		tarn__answer(s, v->socket, TARN__CTL_ATTACH, 0, &v->challenge, 1, NULL, 0, NULL);
		return;
	}
	forget_process(v);
	snprintf(text, sizeof text, "server \"%s\" cannot see the process that asks (pid %d): %s%s",
		 s->name, (int)who->pid, strerror(-r),
		 who->pid == 0 ? "; from another pid namespace that takes Linux 6.5" : "");
	refuse(s, v, TARN__CTL_ATTACH, r, text);
}

bool tarn__attach(struct server *s, struct visitor *v, const struct tarn__request *q,
		  const struct ucred *who)
{
	socklen_t n = sizeof v->pidfd;

	forget_process(v);
	v->quota = q->quota;
	if (getsockopt(v->socket, SOL_SOCKET, SO_PEERPIDFD, &v->pidfd, &n) == 0)
		return admit(s, v, TARN__CTL_ATTACH, who);
	v->pidfd = -1;
	challenge(s, v, who);
	return false;
}

bool tarn__attach_here(struct server *s, struct visitor *v, const struct tarn__request *q,
		       const struct ucred *who, const struct ucred *sender)
{
	struct pollfd alive = { .fd = v->pidfd, .events = POLLIN };

	if (v->challenge == 0 || q->argument != v->challenge || sender->pid != who->pid ||
	    sender->uid != who->uid || poll(&alive, 1, 0) != 0) {
		forget_process(v);
		refuse(s, v, TARN__CTL_HERE, -ESRCH, "the process that speaks is not the one that "
			"connected");
		return false;
	}
	v->challenge = 0;
	set_passcred(v->socket, 0);
	return admit(s, v, TARN__CTL_HERE, who);
}

/* ---- the host ---- */

/* The host is a client before it attaches, so that calls can be booked on it from the first
 * moment: the connection is made here, and the host's end handed over. */
int tarn__host_client(struct server *s)
{
	uint32_t client;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return tarn__fail(-errno, "no socket for the host of objects: %s", strerror(errno));
	fcntl(ends[0], F_SETFL, fcntl(ends[0], F_GETFL) | O_NONBLOCK);
	/* No pidfd: it is this process, of whose end nobody here could be told. */
	const struct newcomer host = { .socket = ends[0], .pidfd = -1, .pid = getpid(),
				       .uid = geteuid(), .host = true };
	int r = tarn__client_attach(s, &host, &client);
	if (r < 0) {
		close(ends[0]);
		close(ends[1]);
		return tarn__fail(r, "no client for the host of objects: %s", strerror(-r));
	}
	struct peer *p = s->peer[client];

	SET(&s->st, s->st.head->host, client);
	SET(&s->st, s->st.client[client].quota, 0);
	tarn__commit(s);
	p->socket_watch = (struct tarn__loop_watch){ .fd = p->socket, .fn = tarn__on_client, .arg = p };
	r = tarn__loop_watch(s->loop, &p->socket_watch);
	s->job = calloc(MAX_CALLS, sizeof(struct tarn__job *));
	if (r == 0 && s->job == NULL)
		r = -ENOMEM;
	if (r < 0) {
		close(ends[1]);
		return tarn__fail(r, "no host of objects: %s", strerror(-r));
	}
	return tarn__host_attach(s->host, ends[1], s->name);
}
