/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn_server: a server as an object of the program that uses it.
 *
 * One mutex guards the state, so that of two threads that launch or shut down one does it and
 * the other finds it done. Waiting happens outside of it, on the pidfd, which stays open until
 * the last reference is gone; whoever sees the end first collects the child and keeps its
 * status for the others.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/auth.h"
#include "lib/control.h"
#include "lib/error.h"
#include "shm/layout.h"
#include "shm/wake.h"
#include "spawn.h"

#define PATIENCE_NS 1000000000ll /* for one whose object is dropped */

struct tarn_server {
	uint32_t refs; /* atomic */
	bool borrowed;
	pid_t owner;   /* who made this object: in a forked child it is only a memory */
	struct tarn__packed *packed; /* for the launch; NULL when borrowed */
	void *key;     /* a copy of the authkey, NULL: none */
	size_t key_bytes;

	pthread_mutex_t mutex;
	/* Guarded by it; what follows born is constant from STARTED on. */
	enum tarn_server_state state;
	bool collected;
	int status;    /* exit status, -SIGNAL, or TARN_STATUS_UNKNOWN */
	struct tarn__born born;
};

/* ---- state ---- */

static const char *state_name(enum tarn_server_state state)
{
	static const char *const names[] = { "?", "INITIAL", "STARTED", "SHUTDOWN" };

	return names[state];
}

static enum tarn_server_state state_of(const tarn_server *s)
{
	/* Relaxed: whoever needs more than the word itself takes the mutex. */
	return (enum tarn_server_state)__atomic_load_n(&s->state, __ATOMIC_RELAXED);
}

static void set_state(tarn_server *s, enum tarn_server_state state)
{
	/* Release, with acquire in is_started(): with STARTED comes what was born. */
	__atomic_store_n(&s->state, state, __ATOMIC_RELEASE);
}

static bool is_started(const tarn_server *s)
{
	return __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == TARN_SERVER_STARTED;
}

static int fail_state(const tarn_server *s, const char *what)
{
	const enum tarn_server_state now = state_of(s);
	static const char *const why[] = { "", "it was not started yet", "it is running already",
					   "it was shut down, for good" };

	return tarn__fail(-TARN_ESTATE, "cannot %s the server \"%s\": its state is %s (%s)", what,
			  s->born.name, state_name(now), why[now]);
}

static int fail_borrowed(const tarn_server *s, const char *what)
{
	return tarn__fail(-TARN_ESTATE, "cannot %s the server \"%s\": this object is BORROWED (only "
			  "the program that started a server may do that)", what, s->born.name);
}

static int fail_forked(const tarn_server *s)
{
	return tarn__fail(-TARN_EFORKED, "the server \"%s\" belongs to process %d, whose child this is",
			  s->born.name, (int)s->owner);
}

/* ---- making, counting ---- */

static tarn_server *object_new(void)
{
	tarn_server *s = calloc(1, sizeof *s);

	if (s == NULL) {
		tarn__fail(-ENOMEM, "no memory for a server object");
		return NULL;
	}
	s->refs = 1;
	s->owner = getpid();
	s->state = TARN_SERVER_INITIAL;
	s->status = TARN_STATUS_UNKNOWN;
	s->born.pidfd = -1;
	pthread_mutex_init(&s->mutex, NULL);
	return s;
}

static void object_free(tarn_server *s)
{
	if (s->born.pidfd >= 0)
		close(s->born.pidfd);
	tarn__born_fini(&s->born);
	if (s->key != NULL)
		explicit_bzero(s->key, s->key_bytes);
	free(s->key);
	tarn__options_free(s->packed);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

int tarn_server_new(const tarn_server_options *options, tarn_server **ret_server)
{
	static const tarn_server_options none;
	const tarn_server_options *o = options != NULL ? options : &none;
	int r = tarn__options_check(o);
	tarn_server *s = r == 0 ? object_new() : NULL;

	if (s == NULL)
		return r < 0 ? r : -ENOMEM;
	s->packed = tarn__options_pack(o);
	if (o->authkey_bytes != 0) {
		s->key = malloc(o->authkey_bytes);
		if (s->key != NULL)
			memcpy(s->key, o->authkey, o->authkey_bytes);
		s->key_bytes = o->authkey_bytes;
	}
	if (s->packed == NULL || (s->key == NULL && s->key_bytes != 0)) {
		object_free(s);
		return tarn__fail(-ENOMEM, "no memory for a server object");
	}
	if (o->name != NULL)
		snprintf(s->born.name, sizeof s->born.name, "%s", o->name);
	*ret_server = s;
	return 0;
}

int tarn_server_launch(tarn_server *server)
{
	struct tarn__born born;
	int r;

	if (server->borrowed)
		return fail_borrowed(server, "start");
	if (server->owner != getpid())
		return fail_forked(server);
	pthread_mutex_lock(&server->mutex);
	if (server->state != TARN_SERVER_INITIAL) {
		r = fail_state(server, "start");
	} else if ((r = tarn__spawn(server->packed, &born)) == 0) {
		server->born = born;
		set_state(server, TARN_SERVER_STARTED);
	}
	pthread_mutex_unlock(&server->mutex);
	return r;
}

int tarn_server_start(const tarn_server_options *options, tarn_server **ret_server)
{
	tarn_server *s;
	int r = tarn_server_new(options, &s);

	if (r == 0)
		r = tarn_server_launch(s);
	else
		return r;
	if (r == 0)
		*ret_server = s;
	else
		tarn_server_unref(s);
	return r;
}

tarn_server *tarn_server_ref(tarn_server *server)
{
	/* Relaxed: the caller has one already. */
	__atomic_add_fetch(&server->refs, 1, __ATOMIC_RELAXED);
	return server;
}

tarn_server *tarn_server_unref(tarn_server *server)
{
	/* Acquire and release: what other holders did to it lies before its end. */
	if (server == NULL || __atomic_sub_fetch(&server->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return NULL;
	if (server->owner != getpid()) {
		/* The mutex may be held by a thread that does not exist here. */
		pthread_mutex_init(&server->mutex, NULL);
	} else if (!server->borrowed && server->state == TARN_SERVER_STARTED &&
		   server->packed->o.lifetime == TARN_LIFETIME_OWNED) {
		tarn_server_shutdown(server, PATIENCE_NS);
	}
	object_free(server);
	return NULL;
}

/* ---- facts ---- */

enum tarn_server_state tarn_server_state(const tarn_server *server)
{
	return state_of(server);
}

bool tarn_server_borrowed(const tarn_server *server)
{
	return server->borrowed;
}

const char *tarn_server_name(const tarn_server *server)
{
	return server->born.name;
}

int tarn_server_pid(const tarn_server *server)
{
	return (int)server->born.pid;
}

/* ---- its end ---- */

/* Notes the end of a process that is known to have ended, and collects it. Mutex held. */
static void collect(tarn_server *s)
{
	int status;
	pid_t r;

	if (s->collected)
		return;
	s->collected = true;
	if (!s->born.child)
		return;
	do
		r = waitpid(s->born.pid, &status, 0);
	while (r < 0 && errno == EINTR);
	/* Somebody else may have collected it: waitpid(-1), or SIGCHLD is ignored. */
	if (r == s->born.pid)
		s->status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Waits without the mutex. True once the process has ended, and is collected. */
static bool ended(tarn_server *s, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = s->born.pidfd, .events = POLLIN };
		uint64_t now = tarn__now();
		uint64_t left = deadline > now ? (deadline - now) / 1000000 + 1 : 0;
		int ms = deadline == UINT64_MAX || left > 1000000 ? 1000000 : (int)left;

		if (poll(&p, 1, ms) == 1)
			return true;
		if (tarn__now() >= deadline)
			return false;
	}
}

int tarn_server_wait(tarn_server *server, int64_t timeout_ns, int *ret_status)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);

	if (server->borrowed)
		return fail_borrowed(server, "wait for");
	if (server->owner != getpid())
		return fail_forked(server);
	if (state_of(server) == TARN_SERVER_INITIAL)
		return fail_state(server, "wait for");
	(void)is_started(server); /* for its acquire */
	if (!ended(server, deadline))
		return tarn__fail(tarn__late(timeout_ns), "the server \"%s\" (pid %d) is still running",
				  server->born.name, (int)server->born.pid);
	pthread_mutex_lock(&server->mutex);
	collect(server);
	if (ret_status != NULL)
		*ret_status = server->status;
	pthread_mutex_unlock(&server->mutex);
	return 0;
}

/* The server's process of now; 0: there is none. */
static pid_t serving(const tarn_server *s)
{
	/* SYNC kept, acquire. */
	return s->born.page != NULL ? (pid_t)__atomic_load_n(&s->born.page->server_pid, __ATOMIC_ACQUIRE)
				    : s->born.pid;
}

static pid_t listener_of(int socket)
{
	struct ucred who;
	socklen_t n = sizeof who;

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 ? who.pid : -1;
}

/* The process at the other end is the one that we started: its name may be another's by now. */
static bool is_ours(const tarn_server *s, int socket)
{
	return listener_of(socket) == serving(s);
}

/* False: it could not be asked. Its socket may have been removed, its name be another's. */
static bool ask_to_end(const tarn_server *s, uint64_t deadline)
{
	bool asked = false;

	struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_SHUTDOWN,
				   .layout = tarn__layout_hash() };
	int fds[TARN__CONTROL_FDS], fd;
	struct tarn__answer a;

	if (tarn__control_connect(s->born.name, tarn__now(), &fd) < 0)
		return false;
	if (is_ours(s, fd) &&
	    (s->key == NULL || tarn__auth_prove(fd, s->key, s->key_bytes, deadline) == 0))
		asked = tarn__control_ask(fd, &q, &a, fds, deadline) == 0;
	close(fd);
	return asked;
}

static bool process_ended(int pidfd, uint64_t deadline)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t now;

	do {
		now = tarn__now();
		if (poll(&p, 1, deadline > now ? (int)((deadline - now) / 1000000 % 1000) + 1 : 0) == 1)
			return true;
	} while (now < deadline);
	return false;
}

/* The keeper is dead, and the server that it had goes on without it. As we know it by the name
 * under which it listens, it is that one that we open. False: there is none. */
static bool end_orphan(tarn_server *s, int64_t timeout_ns)
{
	pid_t pid = serving(s);
	int fd, pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (pidfd < 0)
		return false;
	if (tarn__control_connect(s->born.name, tarn__now(), &fd) < 0) {
		close(pidfd);
		return false;
	}
	const bool ours = is_ours(s, fd);
	close(fd);
	if (ours) {
		ask_to_end(s, tarn__deadline(timeout_ns));
		if (!process_ended(pidfd, tarn__deadline(timeout_ns))) {
			syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
			process_ended(pidfd, UINT64_MAX);
		}
	}
	close(pidfd);
	return ours;
}

/* 0 asked, 1 killed, 2 dead already. Mutex held. */
static int end(tarn_server *s, int64_t timeout_ns)
{
	uint64_t deadline = tarn__deadline(timeout_ns);

	if (ended(s, tarn__now())) {
		if (s->born.page != NULL)
			end_orphan(s, timeout_ns);
		return 2;
	}
	if (ask_to_end(s, deadline) && ended(s, deadline))
		return 0;
	syscall(SYS_pidfd_send_signal, s->born.pidfd, SIGTERM, NULL, 0);
	if (ended(s, tarn__deadline(timeout_ns)))
		return 0;
	syscall(SYS_pidfd_send_signal, s->born.pidfd, SIGKILL, NULL, 0);
	ended(s, UINT64_MAX);
	if (s->born.page != NULL)
		end_orphan(s, 0);
	return 1;
}

int tarn_server_shutdown(tarn_server *server, int64_t timeout_ns)
{
	int r;

	if (server == NULL)
		return 0;
	if (server->borrowed)
		return fail_borrowed(server, "shut down");
	if (server->owner != getpid())
		return fail_forked(server);
	pthread_mutex_lock(&server->mutex);
	if (server->state == TARN_SERVER_SHUTDOWN) {
		r = 0;
	} else if (server->state == TARN_SERVER_INITIAL) {
		r = fail_state(server, "shut down");
	} else {
		r = end(server, timeout_ns);
		collect(server);
		set_state(server, TARN_SERVER_SHUTDOWN);
	}
	pthread_mutex_unlock(&server->mutex);
	return r;
}

/* ---- clients, borrowing ---- */

int tarn_server_client_open(tarn_server *server, const tarn_client_options *options,
			    tarn_client **ret_client)
{
	tarn_client_options o = options != NULL ? *options : (tarn_client_options){ 0 };
	char text[TARN_SERVER_TEXT];
	uint64_t uuid[2];
	tarn_client *c;
	const char *name;

	if (!is_started(server))
		return fail_state(server, "use");
	if (o.authkey == NULL) {
		o.authkey = server->key;
		o.authkey_bytes = server->key_bytes;
	}
	int r = tarn_client_open(server->born.name, &o, &c);
	if (r < 0)
		return r;
	r = tarn_client_export(c, text, sizeof text);
	if (r == 0 && (tarn__control_text_read(text, uuid, NULL, &name) < 0 ||
		       memcmp(uuid, server->born.uuid, sizeof uuid) != 0))
		r = tarn__fail(-TARN_ESRVDOWN, "the server \"%s\" is gone: another one has its name",
			       server->born.name);
	if (r < 0)
		tarn_client_close(c);
	else
		*ret_client = c;
	return r;
}

int tarn_server_export(const tarn_server *server, char ret_text[TARN_SERVER_TEXT])
{
	if (!is_started(server))
		return fail_state(server, "export");
	return tarn__control_text(server->born.name, server->born.uuid, server->born.pid, ret_text,
				  TARN_SERVER_TEXT);
}

int tarn_server_import(const char *text, tarn_server **ret_server)
{
	const char *name;
	uint64_t uuid[2];
	pid_t pid;
	int r = tarn__control_text_read(text, uuid, &pid, &name);
	tarn_server *s = r == 0 ? object_new() : NULL;

	if (s == NULL)
		return r < 0 ? r : -ENOMEM;
	s->borrowed = true;
	s->born.pid = pid;
	memcpy(s->born.uuid, uuid, sizeof uuid);
	snprintf(s->born.name, sizeof s->born.name, "%s", name);
	set_state(s, TARN_SERVER_STARTED);
	*ret_server = s;
	return 0;
}
