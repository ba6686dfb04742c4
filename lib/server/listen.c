/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: attaching, lanes, questions (lib/control.h).
 *
 * A connection starts as a visitor, who may ask if the kernel says that it is of the right
 * user, and if it knows the authkey (access.h); ATTACH turns it into a client's (attach.c).
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/error.h"
#include "server.h"

/* ---- answers ---- */

void tarn__answer(struct server *s, int socket, uint32_t kind, int error, const uint64_t *value,
		  unsigned n_values, const int *fds, unsigned n_fds, const char *text)
{
	struct tarn__answer a = { .magic = TARN__CONTROL_MAGIC, .kind = kind, .error = error,
				  .n_fds = n_fds, .serial = s->serial };

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
	int copy = -1;

	if (socket >= 0) {
		tarn__children_hold();
		copy = fcntl(socket, F_DUPFD_CLOEXEC, 3);
		tarn__children_note(copy);
		tarn__children_let();
	}
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
			      .socket = copy, .client = client, .number = number, .serial = s->serial,
			      .incarnation = client != NIL ? s->st.client[client].incarnation : 0 };
	s->waiters = w;
	return true;
}

bool tarn__lane_close_later(struct server *s, uint32_t client, uint32_t number)
{
	return wait_add(s, -1, TARN__CTL_LANE_CLOSE, 3, client, number);
}

static void answer_rows(struct server *s, int socket, uint32_t kind, uint64_t argument)
{
	uint64_t rows = 0;
	int fd = -1;
	int r = tarn__query(s, kind, argument, &fd, &rows);

	tarn__answer(s, socket, kind, r, &rows, 1, &fd, r == 0 ? 1 : 0, NULL);
	if (fd >= 0)
		close(fd);
}

static void waiter_done(struct server *s, const struct waiter *w)
{
	s->serial = w->serial;
	if (w->kind == TARN__CTL_CHECK || w->kind == TARN__CTL_REFS ||
	    w->kind == TARN__CTL_LEAKS) {
		answer_rows(s, w->socket, w->kind, w->argument);
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

/* ---- requests ---- */

static void ask(struct server *s, int socket, uid_t uid, const struct tarn__request *q)
{
	switch (q->kind) {
	case TARN__CTL_STAT:
	case TARN__CTL_CLIENTS:
	case TARN__CTL_BLOCKS:
	case TARN__CTL_CLASSES:
	case TARN__CTL_MESSAGES:
	case TARN__CTL_DUMP:
	case TARN__CTL_TYPES:
	case TARN__CTL_OBJECTS:
	case TARN__CTL_CALLS:
	case TARN__CTL_ERRORS:
		answer_rows(s, socket, q->kind, q->argument);
		break;
	case TARN__CTL_CHECK:
		/* After two more epochs, so that nothing honest is half applied. */
		wait_add(s, socket, q->kind, 3, 0, 0);
		break;
	case TARN__CTL_REFS:
	case TARN__CTL_LEAKS:
		/* Likewise: what a call held is held no more when its caller can ask. */
		if (wait_add(s, socket, q->kind, 3, 0, 0))
			s->waiters->argument = q->argument;
		break;
	case TARN__CTL_SETTLE:
		wait_add(s, socket, q->kind, 3, 0, 0);
		break;
	case TARN__CTL_SHUTDOWN:
		if (!tarn__access_owns(uid)) {
			tarn__answer(s, socket, q->kind, -EPERM, NULL, 0, NULL, 0,
				     "only the server's own user and root may end it");
			break;
		}
		tarn__answer(s, socket, q->kind, 0, NULL, 0, NULL, 0, NULL);
		s->stopping = true;
		break;
	default:
		tarn__answer(s, socket, q->kind, -TARN_EPROTO, NULL, 0, NULL, 0,
			     "unknown or misplaced request");
	}
}

/* 1 a request, 0 nothing yet, negative: the connection is over. One of another version is
 * known by its beginning, and is answered in words. */
static int read_request(int socket, struct tarn__request *ret, struct ucred *ret_sender)
{
	struct tarn__request q = { 0 };
	int n = tarn__control_recv_from(socket, &q, sizeof q, ret_sender);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0 && n != -EMSGSIZE)
		return -EPIPE;
	*ret = q;
	if (q.magic != TARN__CONTROL_MAGIC || (n > 0 && (size_t)n < TARN__REQUEST_LEAST))
		return -EPROTO;
	return n == (int)sizeof q || q.layout != tarn__layout_hash() ? 1 : -EPROTO;
}

/* A pipe for the events of a lane: the client's end is sent, ours kept. Its flags are ours: a
 * client cannot make us wait. */
static int give_event(struct server *s, const struct peer *p, uint32_t lane)
{
	struct lane_view *v = tarn__view_of(s, lane);
	int end[2];

	if (v == NULL)
		return -EINVAL;
	if (pipe2(end, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	int r = tarn__estate_leave_event(s, p->client, s->st.lane[lane].number, end[1]);
	if (r < 0) {
		close(end[0]);
		close(end[1]);
		return r;
	}
	if (v->event >= 0)
		close(v->event);
	v->event = end[1];
	tarn__answer(s, p->socket, TARN__CTL_EVENT, 0, NULL, 0, &end[0], 1, NULL);
	close(end[0]);
	return 0;
}

static_assert(TARN__CLIENT_LANES == 1024, "what one with as many is told below");

void tarn__on_client(void *arg, uint32_t events)
{
	struct peer *p = arg;
	struct server *s = p->server;
	struct tarn__request q;
	struct ucred sender;

	(void)events;
	if (s->peer[p->client] != p)
		return; /* it is leaving */
	int r = read_request(p->socket, &q, &sender);

	if (r == 0)
		return;
	if (r < 0) {
		/* No more requests. */
		if (!p->dead && tarn__peer_executed(s, p))
			tarn__peer_died(s, p);
		tarn__loop_unwatch(s->loop, &p->socket_watch);
		close(p->socket);
		p->socket = -1;
		return;
	}
	uint32_t number = (uint32_t)q.argument;

	s->serial = q.serial;
	switch (q.kind) {
	case TARN__CTL_LANE_OPEN: {
		r = s->st.client[p->client].state == CLIENT_ACTIVE
			    ? tarn__lane_open(s, p->client, &number)
			    : -TARN_EEVICTED;
		const uint64_t value = number;

		tarn__answer(s, p->socket, q.kind, r, &value, 1, NULL, 0,
			     r == -EUSERS ? "this client has 1024 threads that use it, the most that are possible: one "
					    "gives its lane up when it ends" : NULL);
		break;
	}
	case TARN__CTL_LANE_CLOSE:
		/* Once: a second one would close the lane that is opened in its place. */
		if (q.argument < TARN__CLIENT_LANES && p->lane[number] != NIL &&
		    !s->st.lane[p->lane[number]].closing &&
		    tarn__lane_close_later(s, p->client, number)) {
			SET(&s->st, s->st.lane[p->lane[number]].closing, 1);
			tarn__commit(s);
		}
		break;
	case TARN__CTL_RING:
		s->eager++; /* what it rings for is somewhere in its lanes */
		break;
	case TARN__CTL_EVENT:
		r = q.argument < TARN__CLIENT_LANES && p->lane[number] != NIL
			    ? give_event(s, p, p->lane[number]) : -EINVAL;
		if (r < 0)
			tarn__answer(s, p->socket, q.kind, r, NULL, 0, NULL, 0, NULL);
		break;
	case TARN__CTL_ATTACH:
	case TARN__CTL_HERE:
		/* The host; or one that was taken on by a server that died before it said so. */
		tarn__welcome(s, p, q.kind);
		break;
	case TARN__CTL_NO_HOST:
		if (p->client == s->st.head->host && q.argument > 0 && q.argument < TARN_EFIRST)
			s->no_host = (int)q.argument;
		s->eager++;
		break;
	case TARN__CTL_DETACH:
		p->detach_asked = true;
		p->detach_serial = q.serial;
		tarn__peer_died(s, p);
		break;
	default:
		ask(s, p->socket, (uid_t)s->st.client[p->client].uid, &q);
	}
}

/* ---- leaving ---- */

/*
 * Unmapping, punching and closing what a client had takes 50 us and more: long for a call that waits. So
 * it goes in steps of a few us each, and lanes are read between them. None of it is in META: with the
 * process all of it is closed. Where many die at a time, calls wait rather than that descriptors run out.
 */
#define LEAVING_MOST 16u
#define LEAVING_PIECE (32u << 10) /* bytes of lanes that one step gives back: a page takes 1 us */
enum leaving_step { LEAVING_UNMAP, LEAVING_MEMORY, LEAVING_SOCKET, LEAVING_PIDFD, LEAVING_OVER };

static void leaving_step(struct server *s, struct peer *p)
{
	const uint32_t at = p->leaving_at++;

	if (at < p->leaving_pieces) {
		tarn__segment_punch(&p->lanes, (uint64_t)at * LEAVING_PIECE, LEAVING_PIECE);
		return;
	}
	switch (at - p->leaving_pieces) {
	case LEAVING_UNMAP:
		munmap(p->lanes.base, p->lanes.bytes);
		p->lanes.base = NULL;
		break;
	case LEAVING_MEMORY:
		tarn__segment_close(&p->lanes);
		break;
	case LEAVING_SOCKET:
		if (p->socket < 0)
			break;
		s->serial = p->detach_serial;
		if (p->detach_asked) /* now that all is given back */
			tarn__answer(s, p->socket, TARN__CTL_DETACH, 0, NULL, 0, NULL, 0, NULL);
		close(p->socket);
		break;
	case LEAVING_PIDFD:
		if (p->pidfd < 0)
			break;
		tarn__loop_unwatch(s->loop, &p->pidfd_watch);
		close(p->pidfd);
		break;
	default:
		break;
	}
}

void tarn__peer_leave(struct server *s, uint32_t client)
{
	struct peer *p = s->peer[client], **last = &s->leaving;

	if (p == NULL)
		return;
	s->peer[client] = NULL;
	/* Nobody reads it any more: what came on it would be a reason to look again and again. */
	tarn__loop_unwatch(s->loop, &p->socket_watch);
	p->leaving_pieces = (uint32_t)(p->lanes_used * sizeof(struct tarn__lane_area) / LEAVING_PIECE + 1);
	tarn__estate_forget_client(s, client);
	while (*last != NULL)
		last = &(*last)->next_leaving;
	*last = p;
	s->n_leaving++;
	while (s->n_leaving > LEAVING_MOST)
		tarn__peers_leave(s);
}

bool tarn__peers_leave(struct server *s)
{
	struct peer *p = s->leaving;

	if (p == NULL)
		return false;
	leaving_step(s, p);
	if (p->leaving_at < p->leaving_pieces + LEAVING_OVER)
		return true;
	s->leaving = p->next_leaving;
	s->n_leaving--;
	free(p);
	return true;
}

void tarn__peer_free(struct server *s, uint32_t client)
{
	tarn__peer_leave(s, client);
	while (tarn__peers_leave(s))
		;
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
	if (v->pidfd >= 0)
		close(v->pidfd);
	explicit_bzero(&v->proof, sizeof v->proof);
	free(v);
}

static void refuse(const struct visitor *v, uint32_t kind, int error, const char *text)
{
	tarn__answer(v->server, v->socket, kind, error, NULL, 0, NULL, 0, text);
}

static void refuse_layout(const struct visitor *v, const struct tarn__request *q)
{
	char text[256];

	snprintf(text, sizeof text,
		 "this program has libtarn %.*s (layout %016llx), the server \"%.60s\" has %s (layout "
		 "%016llx): use the same version of libtarn on both sides",
		 (int)strnlen(q->version, sizeof q->version), q->version,
		 (unsigned long long)q->layout, v->server->name, tarn_version(),
		 (unsigned long long)tarn__layout_hash());
	refuse(v, q->kind, -TARN_EVERSION, text);
}

/* HELLO and PROVE. False: the proof was wrong, and the connection is over. */
static bool prove(struct visitor *v, const struct tarn__request *q)
{
	const struct access *a = &v->server->access;
	unsigned char out[sizeof(uint64_t[4])];
	uint64_t value[4];
	int r = q->kind == TARN__CTL_HELLO ? tarn__proof_greet(a, &v->proof, q->data, out)
					   : tarn__proof_check(a, &v->proof, q->data, out);

	static_assert(sizeof value == TARN__MAC_BYTES, "one nonce or proof");
	if (r == 0) {
		memcpy(value, out, sizeof value);
		tarn__answer(v->server, v->socket, q->kind, 0, value, 4, NULL, 0, NULL);
		return true;
	}
	if (a->key_bytes != 0)
		tarn__log_seldom(v->server, &v->server->refused, "somebody did not know the authkey");
	refuse(v, q->kind, r, a->key_bytes == 0 ? "the server has no authkey, so it cannot prove one"
						: "that is not the server's authkey");
	return a->key_bytes == 0;
}

/* Questions tell of others' data, so the rules are those of attaching. */
static void visitor_request(struct visitor *v, const struct tarn__request *q,
			    const struct ucred *sender)
{
	struct server *s = v->server;
	struct ucred who;
	char text[256];

	if (!tarn__access_allows(&s->access, v->socket, &who)) {
		snprintf(text, sizeof text, "user %u may not attach to \"%.60s\", which belongs to user %u",
			 who.uid, s->name, geteuid());
		refuse(v, q->kind, -EACCES, text);
		visitor_free(v);
	} else if (q->layout != tarn__layout_hash()) {
		refuse_layout(v, q);
	} else if (q->kind == TARN__CTL_HELLO || q->kind == TARN__CTL_PROVE) {
		if (!prove(v, q))
			visitor_free(v);
	} else if (tarn__proof_due(&s->access, &v->proof)) {
		snprintf(text, sizeof text, "server \"%.60s\" asks for an authkey: give it as an option, "
			 "or its file by %s", s->name, TARN__KEY_VARIABLE);
		refuse(v, q->kind, -TARN_EAUTH, text);
	} else if (q->kind == TARN__CTL_ATTACH ? tarn__attach(s, v, q, &who)
		   : q->kind == TARN__CTL_HERE && tarn__attach_here(s, v, q, &who, sender)) {
		visitor_free(v);
	} else if (q->kind != TARN__CTL_ATTACH && q->kind != TARN__CTL_HERE) {
		ask(s, v->socket, who.uid, q);
	}
}

static void on_visitor(void *arg, uint32_t events)
{
	struct visitor *v = arg;
	struct server *s = v->server;
	struct tarn__request q = { 0 };
	struct ucred sender;
	int r = read_request(v->socket, &q, &sender);

	(void)events;
	s->serial = q.serial;
	if (r > 0)
		visitor_request(v, &q, &sender);
	else if (r < 0)
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
	v->pidfd = -1;
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

static int let_in(const struct server *s, int flags)
{
	tarn__children_hold();
	const int fd = accept4(s->listener, NULL, NULL, flags);
	tarn__children_note(fd);
	tarn__children_let();
	return fd;
}

/* No descriptor is left: the spare one goes for a moment, so that the caller is hung up on
 * instead of keeping the listener ready for ever. */
static void turn_away(struct server *s)
{
	close(s->spare_fd);
	int fd = let_in(s, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	tarn__log_seldom(s, &s->turned_away, "no descriptor for a new connection: raise the limit of open files");
}

#define ACCEPTS_MOST 16u /* between two looks at the lanes: others may connect as fast as we accept */

static void on_listener(void *arg, uint32_t events)
{
	struct server *s = arg;
	int fd = -1;

	(void)events;
	for (unsigned n = 0; n < ACCEPTS_MOST; n++) {
		fd = let_in(s, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			break;
		visitor_add(s, fd);
	}
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && s->spare_fd >= 0)
		turn_away(s);
}

/* It is empty then: one read takes all that was added. Clients have the same open file as we, so O_NONBLOCK is
 * theirs to take away, and what is there theirs to take before us: that this does not wait is said with it. */
static void drain_bell(int fd)
{
	uint64_t count;
	const struct iovec to = { .iov_base = &count, .iov_len = sizeof count };
	struct pollfd bell = { .fd = fd, .events = POLLIN };

	if (preadv2(fd, &to, 1, -1, RWF_NOWAIT) >= 0 || errno == EAGAIN)
		return; /* EAGAIN: somebody else did */
	/* Before Linux 5.8, or an old seccomp profile. Whoever takes what is there between this look and the read
	 * does make us wait, for the next one that rings: doctor says so. */
	if (poll(&bell, 1, 0) == 1 && read(fd, &count, sizeof count) < 0)
		return;
}

static void on_doorbell(void *arg, uint32_t events)
{
	(void)events;
	drain_bell(((struct server *)arg)->doorbell);
}

static void on_stop(void *arg, uint32_t events)
{
	struct server *s = arg;
	uint64_t count;

	(void)events;
	/* Nobody else has this one; and read() orders this after the stopper's write() for thread sanitizers, too. */
	if (read(s->stop_event, &count, sizeof count) < 0)
		count = 0;
	s->stopping = true;
}

static int watch(struct server *s, struct tarn__loop_watch *w, int fd, tarn__loop_fn fn)
{
	*w = (struct tarn__loop_watch){ .fd = fd, .fn = fn, .arg = s, .idle_only = fn == on_doorbell };
	return tarn__loop_watch(s->loop, w);
}

int tarn__listen_open(struct server *s)
{
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = watch(s, &s->listener_watch, s->listener, on_listener);
	if (r == 0)
		r = watch(s, &s->doorbell_watch, s->doorbell, on_doorbell);
	if (r == 0)
		r = watch(s, &s->stop_watch, s->stop_event, on_stop);
	return r == 0 ? 0 : tarn__fail(r, "cannot wait for clients: %s", tarn_error_text(r));
}

void tarn__listen_close(struct server *s)
{
	while (s->visitors != NULL)
		visitor_free(s->visitors);
	tarn__socket_close(s);
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	s->spare_fd = -1;
}
