/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: attaching, lanes, questions (lib/control.h).
 *
 * A connection starts as a visitor, who may ask; ATTACH turns it into a client's. A
 * name is locked by a file beside the socket for as long as its server lives, so two
 * servers cannot both find the other's socket stale.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "server.h"
#include "shm/hash.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* ---- answers ---- */

void tarn__answer(struct server *s, int socket, uint32_t kind, int error, const uint64_t *value,
		  unsigned n_values, const int *fds, unsigned n_fds, const char *text)
{
	struct tarn__answer a = { .magic = TARN__CONTROL_MAGIC, .kind = kind, .error = error,
				  .n_fds = n_fds };

	(void)s;
	if (n_values > 0)
		memcpy(a.value, value, n_values * sizeof *value);
	if (text != NULL)
		snprintf(a.text, sizeof a.text, "%s", text);
	/* A peer that does not read its answers loses them; the server never waits. */
	tarn__control_send(socket, &a, sizeof a, fds, n_fds, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* @socket -1: nobody waits for an answer. */
static bool wait_add(struct server *s, int socket, uint32_t kind, uint64_t epochs, uint32_t client,
		     uint32_t number)
{
	struct waiter *w = calloc(1, sizeof *w);
	int copy = socket >= 0 ? fcntl(socket, F_DUPFD_CLOEXEC, 3) : -1;

	if (w == NULL || (socket >= 0 && copy < 0)) {
		free(w);
		if (copy >= 0)
			close(copy);
		if (socket >= 0)
			tarn__answer(s, socket, kind, -ENOMEM, NULL, 0, NULL, 0,
				     "out of memory");
		return false;
	}
	*w = (struct waiter){ .next = s->waiters, .epoch = s->st.head->epoch + epochs, .kind = kind,
			      .socket = copy, .client = client, .number = number,
			      .incarnation = client != NIL ? s->st.client[client].incarnation : 0 };
	s->waiters = w;
	return true;
}

static void answer_check(struct server *s, int socket)
{
	uint64_t findings = 0;
	int fd = -1;
	int r = tarn__query(s, TARN__CTL_CHECK, 0, &fd, &findings);

	tarn__answer(s, socket, TARN__CTL_CHECK, r, &findings, 1, &fd, r == 0 ? 1 : 0, NULL);
	if (fd >= 0)
		close(fd);
}

static void waiter_done(struct server *s, const struct waiter *w)
{
	if (w->kind == TARN__CTL_CHECK) {
		answer_check(s, w->socket);
		return;
	}
	if (w->kind == TARN__CTL_LANE_CLOSE) {
		struct peer *p = s->peer[w->client];

		if (p != NULL && s->st.client[w->client].incarnation == w->incarnation &&
		    p->lane[w->number] != NIL && s->st.lane[p->lane[w->number]].closing)
			tarn__lane_close(s, w->client, w->number);
		return;
	}
	tarn__answer(s, w->socket, w->kind, 0, NULL, 0, NULL, 0, NULL);
}

void tarn__waiters_answer(struct server *s)
{
	for (struct waiter **at = &s->waiters, *w; (w = *at) != NULL;) {
		if (w->epoch > s->st.head->epoch) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		waiter_done(s, w);
		if (w->socket >= 0)
			close(w->socket);
		free(w);
	}
}

/* ---- attach ---- */

struct credentials {
	pid_t pid;
	uid_t uid;
	int pidfd;
};

/* Who is at the other end, with a descriptor that names that process and no other. */
static int peer_credentials(int socket, struct credentials *ret)
{
	struct ucred cred;
	socklen_t n = sizeof cred;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
		return -errno;
	*ret = (struct credentials){ .pid = cred.pid, .uid = cred.uid, .pidfd = -1 };
	n = sizeof ret->pidfd;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &ret->pidfd, &n) == 0)
		return 0;
	ret->pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	if (ret->pidfd < 0)
		return -errno;
	/* An older kernel: the pid may have been given to another process before it was
	 * opened; then the one that connected is dead and its socket is hung up. */
	struct pollfd p = { .fd = socket, .events = POLLRDHUP };
	if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP))) {
		close(ret->pidfd);
		return -ESRCH;
	}
	fcntl(ret->pidfd, F_SETFD, FD_CLOEXEC);
	return 0;
}

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

static void on_death(void *arg, uint32_t events)
{
	struct peer *p = arg;

	(void)events;
	p->dead = true;
	tarn__loop_unwatch(p->server->loop, &p->pidfd_watch);
}

static void on_client(void *arg, uint32_t events);

static void attach_refuse(struct server *s, int socket, int error, const char *text)
{
	tarn__answer(s, socket, TARN__CTL_ATTACH, error, NULL, 0, NULL, 0, text);
}

static void attach_answer(struct server *s, struct peer *p)
{
	const struct state_head *h = s->st.head;
	const uint64_t value[] = { p->client, s->st.client[p->client].incarnation, h->arena_bytes,
				   h->max_objects + 1, p->lanes.bytes, h->arena_bytes };
	const int fds[TARN__CONTROL_FDS] = { s->ctrl_readonly, s->dir_readonly, s->st.data.fd,
					     p->lanes.fd, s->doorbell };

	tarn__answer(s, p->socket, TARN__CTL_ATTACH, 0, value, 6, fds, TARN__CONTROL_FDS, NULL);
}

/* True if the visitor has become a client. */
static bool attach(struct server *s, struct visitor *v, const struct tarn__request *q)
{
	struct credentials who;
	char text[256];
	uint32_t client;

	if (q->layout != tarn__layout_hash()) {
		snprintf(text, sizeof text,
			 "this program was built for layout %016llx, the server \"%s\" has %016llx: "
			 "use the same version of libtarn on both sides",
			 (unsigned long long)q->layout, s->name,
			 (unsigned long long)tarn__layout_hash());
		attach_refuse(s, v->socket, -TARN_EVERSION, text);
		return false;
	}
	int r = peer_credentials(v->socket, &who);
	if (r == 0 && who.uid != geteuid() && who.uid != 0) {
		close(who.pidfd);
		snprintf(text, sizeof text, "user %u may not attach to \"%s\", which belongs to %u",
			 who.uid, s->name, geteuid());
		attach_refuse(s, v->socket, -EACCES, text);
		return false;
	}
	if (r == 0) {
		r = tarn__client_attach(s, v->socket, who.pid, who.uid, who.pidfd, q->quota, &client);
		if (r < 0)
			close(who.pidfd);
	}
	if (r < 0) {
		snprintf(text, sizeof text, "server \"%s\" cannot take a client: %s", s->name,
			 strerror(-r));
		attach_refuse(s, v->socket, r, text);
		return false;
	}
	struct peer *p = s->peer[client];

	p->image = image_of(who.pid);
	tarn__loop_unwatch(s->loop, &v->watch);
	v->socket = -1;
	p->socket_watch = (struct tarn__loop_watch){ .fd = p->socket, .fn = on_client, .arg = p };
	p->pidfd_watch = (struct tarn__loop_watch){ .fd = p->pidfd, .fn = on_death, .arg = p };
	if (tarn__loop_watch(s->loop, &p->socket_watch) < 0 ||
	    tarn__loop_watch(s->loop, &p->pidfd_watch) < 0)
		p->dead = true; /* cannot be watched: undone at once */
	attach_answer(s, p);
	return true;
}

/* ---- requests ---- */

static void ask(struct server *s, int socket, const struct tarn__request *q)
{
	uint64_t rows = 0;
	int fd = -1;

	switch (q->kind) {
	case TARN__CTL_STAT:
	case TARN__CTL_CLIENTS:
	case TARN__CTL_BLOCKS:
	case TARN__CTL_REFS:
	case TARN__CTL_CLASSES:
	case TARN__CTL_MESSAGES:
	case TARN__CTL_DUMP: {
		int r = tarn__query(s, q->kind, q->argument, &fd, &rows);

		tarn__answer(s, socket, q->kind, r, &rows, 1, &fd, r == 0 ? 1 : 0, NULL);
		if (fd >= 0)
			close(fd);
		break;
	}
	case TARN__CTL_CHECK:
		/* After two more epochs, so that nothing honest is half applied. */
		wait_add(s, socket, q->kind, 3, 0, 0);
		break;
	case TARN__CTL_SETTLE:
		wait_add(s, socket, q->kind, 3, 0, 0);
		break;
	case TARN__CTL_SHUTDOWN:
		tarn__answer(s, socket, q->kind, 0, NULL, 0, NULL, 0, NULL);
		s->stopping = true;
		break;
	default:
		tarn__answer(s, socket, q->kind, -TARN_EPROTO, NULL, 0, NULL, 0,
			     "unknown or misplaced request");
	}
}

/* 1 a request, 0 nothing yet, negative: the connection is over. */
static int read_request(int socket, struct tarn__request *ret)
{
	int n = tarn__control_recv(socket, ret, sizeof *ret, NULL, 0, NULL, MSG_DONTWAIT);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return -EPIPE;
	return n == (int)sizeof *ret && ret->magic == TARN__CONTROL_MAGIC ? 1 : -EPROTO;
}

/* ---- a hang-up ---- */

/*
 * A hang-up is no death (H14), with one exception: after exec() the process lives on as
 * another program, which has no lanes and never says good-bye. The kernel replaces
 * the memory before it closes descriptors, so the image is another by now. In doubt
 * (no right to look; no memory at all, since only its first thread has ended) it is alive.
 */
static bool has_executed(const struct server *s, const struct peer *p)
{
	struct pollfd alive = { .fd = p->pidfd, .events = POLLIN };
	uint64_t now = image_of((pid_t)s->st.client[p->client].pid);

	if (p->pidfd < 0 || p->image == 0 || now == 0 || now == p->image)
		return false;
	/* Still silent: the number was that process's all the time. */
	return poll(&alive, 1, 0) == 0;
}

static void on_client(void *arg, uint32_t events)
{
	struct peer *p = arg;
	struct server *s = p->server;
	struct tarn__request q;
	int r = read_request(p->socket, &q);

	(void)events;
	if (r == 0)
		return;
	if (r < 0) {
		/* No more requests. */
		p->dead = p->dead || has_executed(s, p);
		tarn__loop_unwatch(s->loop, &p->socket_watch);
		close(p->socket);
		p->socket = -1;
		return;
	}
	uint32_t number = (uint32_t)q.argument;

	switch (q.kind) {
	case TARN__CTL_LANE_OPEN: {
		r = s->st.client[p->client].state == CLIENT_ACTIVE
			    ? tarn__lane_open(s, p->client, &number)
			    : -TARN_EEVICTED;
		const uint64_t value = number;

		tarn__answer(s, p->socket, q.kind, r, &value, 1, NULL, 0, NULL);
		break;
	}
	case TARN__CTL_LANE_CLOSE:
		/* Once: a second one would close the lane that is opened in its place. */
		if (q.argument < TARN__CLIENT_LANES && p->lane[number] != NIL &&
		    !s->st.lane[p->lane[number]].closing &&
		    wait_add(s, -1, q.kind, 3, p->client, number)) {
			SET(&s->st, s->st.lane[p->lane[number]].closing, 1);
			tarn__commit(s);
		}
		break;
	case TARN__CTL_DETACH:
		p->detach_asked = true;
		p->dead = true;
		break;
	default:
		ask(s, p->socket, &q);
	}
}

void tarn__peer_free(struct server *s, uint32_t client)
{
	struct peer *p = s->peer[client];

	if (p == NULL)
		return;
	s->peer[client] = NULL;
	if (p->socket >= 0) {
		if (p->detach_asked)
			tarn__answer(s, p->socket, TARN__CTL_DETACH, 0, NULL, 0, NULL, 0, NULL);
		tarn__loop_unwatch(s->loop, &p->socket_watch);
		close(p->socket);
	}
	if (p->pidfd >= 0) {
		tarn__loop_unwatch(s->loop, &p->pidfd_watch);
		close(p->pidfd);
	}
	tarn__segment_close(&p->lanes);
	free(p);
}

/* ---- visitors ---- */

static void visitor_free(struct visitor *v)
{
	struct server *s = v->server;

	for (struct visitor **at = &s->visitors; *at != NULL; at = &(*at)->next)
		if (*at == v) {
			*at = v->next;
			s->n_visitors--;
			break;
		}
	if (v->socket >= 0) {
		tarn__loop_unwatch(s->loop, &v->watch);
		close(v->socket);
	}
	free(v);
}

/* Questions tell of others' data, so the rule is that of attaching. Attaching itself
 * answers with words. */
static bool may_ask(int socket)
{
	struct ucred cred;
	socklen_t n = sizeof cred;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}

static void on_visitor(void *arg, uint32_t events)
{
	struct visitor *v = arg;
	struct tarn__request q;
	int r = read_request(v->socket, &q);

	(void)events;
	if (r == 0)
		return;
	if (r < 0 || (q.kind != TARN__CTL_ATTACH && !may_ask(v->socket)))
		visitor_free(v);
	else if (q.kind != TARN__CTL_ATTACH && q.layout != tarn__layout_hash())
		tarn__answer(v->server, v->socket, q.kind, -TARN_EVERSION, NULL, 0, NULL, 0,
			     "asker and server are of different versions of libtarn");
	else if (q.kind != TARN__CTL_ATTACH)
		ask(v->server, v->socket, &q);
	else if (attach(v->server, v, &q))
		visitor_free(v);
}

#define VISITORS_MOST 256u

/* The one that came first, the last in the list: it has had its time. */
static void visitor_expel(struct server *s)
{
	struct visitor *v = s->visitors;

	while (v != NULL && v->next != NULL)
		v = v->next;
	if (v != NULL)
		visitor_free(v);
}

static void visitor_add(struct server *s, int fd)
{
	struct visitor *v = calloc(1, sizeof *v);

	if (v == NULL) {
		close(fd);
		return;
	}
	if (s->n_visitors >= VISITORS_MOST)
		visitor_expel(s);
	v->server = s;
	v->socket = fd;
	v->watch = (struct tarn__loop_watch){ .fd = fd, .fn = on_visitor, .arg = v };
	v->next = s->visitors;
	s->visitors = v;
	s->n_visitors++;
	if (tarn__loop_watch(s->loop, &v->watch) < 0) {
		close(fd);
		v->socket = -1;
		visitor_free(v);
	}
}

/* No descriptor is left: the spare one goes for a moment, so that the caller is hung up on
 * instead of keeping the listener ready for ever. */
static void turn_away(struct server *s)
{
	close(s->spare_fd);
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	tarn__log(s, 4, "no descriptor for a new connection: raise the limit of open files");
}

static void on_listener(void *arg, uint32_t events)
{
	struct server *s = arg;
	int fd;

	(void)events;
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		visitor_add(s, fd);
	if ((errno == EMFILE || errno == ENFILE) && s->spare_fd >= 0)
		turn_away(s);
}

static void drain_eventfd(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof count) == (ssize_t)sizeof count)
		;
}

static void on_doorbell(void *arg, uint32_t events)
{
	(void)events;
	drain_eventfd(((struct server *)arg)->doorbell);
}

static void on_stop(void *arg, uint32_t events)
{
	struct server *s = arg;

	(void)events;
	drain_eventfd(s->stop_event);
	s->stopping = true;
}

/* ---- the listening socket ---- */

/* Holds NAME.lock for as long as this server lives. */
static int lock_name(struct server *s, const char *path)
{
	char lock[sizeof s->socket_path + 8];

	snprintf(lock, sizeof lock, "%s.lock", path);
	for (int attempt = 0; attempt < 16; attempt++) {
		struct stat here, there;
		int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			int r = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;

			close(fd);
			return r;
		}
		/* Somebody may have removed the file between open and lock. */
		if (fstat(fd, &here) == 0 && stat(lock, &there) == 0 && here.st_ino == there.st_ino) {
			s->name_lock = fd;
			return 0;
		}
		close(fd);
	}
	return -EAGAIN;
}

/* Servers without a given name have fresh ones; sockets that killed ones left would pile
 * up. Whose lock can be had is dead. */
static void sweep_anonymous(const char *path)
{
	char directory[sizeof((struct sockaddr_un *)NULL)->sun_path];
	const char *slash = strrchr(path, '/');
	struct dirent *e;

	if (slash == NULL || strncmp(slash + 1, "anon-", 5) != 0)
		return;
	snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path);
	DIR *d = opendir(directory);
	while (d != NULL && (e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);
		char socket[300];

		if (strncmp(e->d_name, "anon-", 5) != 0 || n < 5 + 10 ||
		    strcmp(e->d_name + n - 10, ".sock.lock") != 0)
			continue;
		int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			snprintf(socket, sizeof socket, "%.*s", (int)(n - 5), e->d_name);
			unlinkat(dirfd(d), socket, 0);
			unlinkat(dirfd(d), e->d_name, 0);
		}
		close(fd);
	}
	if (d != NULL)
		closedir(d);
}

static int bind_socket(struct server *s, const char *name)
{
	struct sockaddr_un address;
	int length = tarn__control_address(name, 1, &address);

	if (length < 0)
		return length;
	if (address.sun_path[0] != '\0') {
		sweep_anonymous(address.sun_path);
		int r = lock_name(s, address.sun_path);
		if (r < 0)
			return r;
		snprintf(s->socket_path, sizeof s->socket_path, "%s", address.sun_path);
		unlink(s->socket_path); /* of a dead server: we have its lock */
	}
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->listener < 0)
		return -errno;
	mode_t mask = umask(0077);
	int r = bind(s->listener, (struct sockaddr *)&address, (socklen_t)length) == 0 ? 0 : -errno;

	umask(mask);
	if (r == 0 && listen(s->listener, 128) != 0)
		r = -errno;
	return r;
}

static int watch(struct server *s, struct tarn__loop_watch *w, int fd, tarn__loop_fn fn)
{
	*w = (struct tarn__loop_watch){ .fd = fd, .fn = fn, .arg = s };
	return tarn__loop_watch(s->loop, w);
}

int tarn__listen_open(struct server *s, const char *name)
{
	int r = bind_socket(s, name);

	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (r == 0)
		r = watch(s, &s->listener_watch, s->listener, on_listener);
	if (r == 0)
		r = watch(s, &s->doorbell_watch, s->doorbell, on_doorbell);
	if (r == 0)
		r = watch(s, &s->stop_watch, s->stop_event, on_stop);
	return r;
}

void tarn__listen_close(struct server *s)
{
	while (s->visitors != NULL)
		visitor_free(s->visitors);
	if (s->listener >= 0) {
		/* A ring that polls it may hold it for a while after the close: whoever calls
		 * now is to hear at once that nobody listens. */
		shutdown(s->listener, SHUT_RDWR);
		close(s->listener);
	}
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	s->listener = s->spare_fd = -1;
	if (s->name_lock >= 0) {
		char lock[sizeof s->socket_path + 8];

		snprintf(lock, sizeof lock, "%s.lock", s->socket_path);
		unlink(s->socket_path);
		unlink(lock);
		close(s->name_lock);
		s->name_lock = -1;
	}
}
