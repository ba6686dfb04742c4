/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening socket and its name.
 *
 * A name is locked by a file beside the socket for as long as its server lives, so two
 * servers cannot both find the other's socket stale. What lies at the socket's path is removed
 * only if it is a socket, and with the lock held.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/error.h"
#include "server.h"

static int taken(const struct server *s)
{
	return tarn__fail(-EADDRINUSE, "another server lives under the name \"%s\"", s->name);
}

/* The file that lies under @path is the one that @fd has open. */
static bool is_same(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

/* Holds NAME.lock for as long as this server lives. *@ret_fresh: there was none. */
static int lock_name(struct server *s, const char *path, bool *ret_fresh)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	char lock[sizeof s->lock_path];

	snprintf(lock, sizeof lock, "%s.lock", path);
	for (int attempt = 0; attempt < 16; attempt++) {
		tarn__children_hold();
		int fd = open(lock, flags | O_EXCL, 0600);
		*ret_fresh = fd >= 0;
		if (fd < 0 && errno == EEXIST)
			fd = open(lock, flags, 0600);
		tarn__children_note(fd);
		tarn__children_let();
		if (fd < 0)
			return tarn__fail(-errno, "cannot open the lock file %s: %s%s", lock,
					  strerror(errno),
					  errno == ELOOP ? " (it is a symbolic link: not ours)" : "");
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			int r = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;

			tarn__children_drop(fd);
			return r == -EADDRINUSE ? taken(s)
						: tarn__fail(r, "cannot lock %s: %s", lock, strerror(-r));
		}
		/* Somebody may have removed the file between open and lock. */
		if (is_same(fd, lock)) {
			s->name_lock = fd;
			snprintf(s->lock_path, sizeof s->lock_path, "%s", lock);
			return 0;
		}
		tarn__children_drop(fd);
	}
	return tarn__fail(-EAGAIN, "%s comes and goes", lock);
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

/* Somebody listens there. */
static bool is_alive(const struct sockaddr_un *a, int length)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)a,
					  (socklen_t)length) != 0 && errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return !refused;
}

/* Removes what a dead server left; its lock is ours by now. Where there was no lock file, it is
 * no server that made the socket: systemd's, for one, is never dead. */
static int clear_path(const struct server *s, const struct sockaddr_un *a, int length, bool fresh)
{
	const char *path = a->sun_path;
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : tarn__fail(-errno, "cannot look at %s: %s", path,
							strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return tarn__fail(-EEXIST, "%s is there already, and is no socket: it is not for a "
				  "server to remove", path);
	if (fresh && is_alive(a, length))
		return taken(s);
	if (unlink(path) != 0)
		return tarn__fail(-errno, "cannot remove the socket %s of a dead server: %s", path,
				  strerror(errno));
	return 0;
}

static int bind_name(struct server *s, const char *name)
{
	struct sockaddr_un address;
	int length = tarn__control_address(name, 1, &address);

	if (length < 0)
		return length;
	if (address.sun_path[0] != '\0') {
		sweep_anonymous(address.sun_path);
		bool fresh;
		int r = lock_name(s, address.sun_path, &fresh);
		if (r < 0)
			return r;
		r = clear_path(s, &address, length, fresh);
		if (r < 0)
			return r;
		if (tarn__access_open(&s->access) && strchr(name, '/') == NULL)
			tarn__log(s, 4, "other users are allowed, but cannot reach the socket of a "
					"plain name: give a path, or '@' and an abstract name");
	}
	tarn__children_hold();
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	tarn__children_note(s->listener);
	tarn__children_let();
	if (s->listener < 0)
		return tarn__fail(-errno, "no socket: %s", strerror(errno));
	/* The mode from the start, not by chmod, which would follow a link. */
	mode_t mask = umask(tarn__access_open(&s->access) ? 0111 : 0177);
	int r = bind(s->listener, (struct sockaddr *)&address, (socklen_t)length) == 0 ? 0 : -errno;

	umask(mask);
	if (r == 0) /* ours to remove */
		snprintf(s->socket_path, sizeof s->socket_path, "%s", address.sun_path);
	if (r == -EADDRINUSE)
		return taken(s);
	if (r == 0 && listen(s->listener, 128) != 0)
		r = -errno;
	return r == 0 ? 0
		      : tarn__fail(r, "cannot listen as \"%s\": %s (a plain name is a socket in "
				   "$XDG_RUNTIME_DIR/tarn, or /tmp/tarn-UID without that variable)",
				   name, strerror(-r));
}

static int socket_option(int fd, int option)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, option, &v, &n) == 0 ? v : -1;
}

/* One that somebody else made, systemd for one. */
static int take_listener(struct server *s, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_SEQPACKET ||
	    socket_option(fd, SO_ACCEPTCONN) != 1)
		return tarn__fail(-ENOTSUP, "descriptor %d is no listening Unix socket of type "
				  "SOCK_SEQPACKET (systemd: ListenSequentialPacket=)", fd);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return tarn__fail(-errno, "descriptor %d: %s", fd, strerror(errno));
	tarn__children_close(fd);
	s->listener = fd;
	s->listener_given = true;
	return 0;
}

int tarn__socket_open(struct server *s, int listen_fd)
{
	return listen_fd > 0 ? take_listener(s, listen_fd) : bind_name(s, s->name);
}

int tarn__socket_inherit(struct server *s)
{
	const struct estate *e = s->heritage->estate;

	s->listener = e->fd[ESTATE_LISTENER];
	s->name_lock = e->fd[ESTATE_NAME_LOCK];
	tarn__children_close(s->listener);
	tarn__children_close(s->name_lock);
	snprintf(s->socket_path, sizeof s->socket_path, "%s", e->socket_path);
	snprintf(s->lock_path, sizeof s->lock_path, "%s", e->lock_path);
	s->listener_given = s->socket_path[0] == '\0' && e->name[0] != '@';
	/* Whose server it is, for who connects from now on, is who called this last. */
	return listen(s->listener, 128) == 0
		       ? 0 : tarn__fail(-errno, "cannot listen on: %s", strerror(errno));
}

void tarn__socket_close(struct server *s)
{
	if (s->listener >= 0) {
		/* A ring that polls it may hold it for a while after the close: whoever calls
		 * now is to hear at once that nobody listens. */
		if (!s->listener_given) /* else it stays open in whoever gave it */
			shutdown(s->listener, SHUT_RDWR);
		tarn__children_drop(s->listener);
	}
	s->listener = -1;
	if (s->name_lock >= 0) {
		/* Else somebody removed them, and what is there may be the next server's. */
		if (is_same(s->name_lock, s->lock_path)) {
			if (s->socket_path[0] != '\0')
				unlink(s->socket_path);
			unlink(s->lock_path);
		}
		tarn__children_drop(s->name_lock);
		s->name_lock = -1;
	}
}
