/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's plumbing, for both sides. A datagram carries a fixed struct and
 * perhaps descriptors; whoever receives more of either than he asked for closes or
 * refuses it.
 */
#include "control.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "auth.h"
#include "error.h"
#include "shm/wake.h"

#define NAME_MAX_BYTES 63u
#define FDS_MAX 16u

/* ---- addresses ---- */

static int check_name(const char *name)
{
	if (name == NULL || *name == '\0')
		return tarn__fail(-EINVAL, "The name of a server is empty. Give a plain name, a path "
				  "with a '/', or '@' and an abstract name.");
	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return tarn__fail(-EINVAL, "The name of a server contains the control "
					  "character 0x%02x at position %zu.", (unsigned char)*p,
					  (size_t)(p - name));
	return 0;
}

static int too_long(const char *name, size_t most)
{
	return tarn__fail(-EINVAL, "The server name '%.64s...' has %zu bytes, at most %zu are "
			  "possible.", name, strlen(name), most);
}

static int abstract(const char *name, struct sockaddr_un *a)
{
	size_t n = strlen(name) - 1;

	if (n == 0)
		return tarn__fail(-EINVAL, "'@' begins an abstract name, but nothing follows.");
	if (n > sizeof a->sun_path - 1)
		return too_long(name, sizeof a->sun_path);
	memcpy(a->sun_path + 1, name + 1, n);
	return (int)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

static int address_length(const struct sockaddr_un *a)
{
	return (int)(offsetof(struct sockaddr_un, sun_path) + strlen(a->sun_path) + 1);
}

/* The directory must be ours alone: whoever can write there can play our server. */
static int check_directory(const char *path, bool make)
{
	struct stat st;

	if (make && mkdir(path, 0700) != 0 && errno != EEXIST)
		return tarn__fail(-errno, "Cannot make the directory %s for the socket: %s.", path,
				  tarn_error_text(-errno));
	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : tarn__fail(-errno, "Cannot look at %s: %s.", path,
							tarn_error_text(-errno));
	if (!S_ISDIR(st.st_mode))
		return tarn__fail(-EACCES, "%s is %s, not a directory. Remove it, or set "
				  "XDG_RUNTIME_DIR.", path,
				  S_ISLNK(st.st_mode) ? "a symbolic link" : "a file");
	if (st.st_uid != geteuid())
		return tarn__fail(-EACCES, "%s belongs to user %u, not to you. Set XDG_RUNTIME_DIR, "
				  "or name the server by its path.", path, (unsigned)st.st_uid);
	if ((st.st_mode & 022) != 0)
		return tarn__fail(-EACCES, "%s is writable by others (mode %04o): chmod 700 it.",
				  path, (unsigned)(st.st_mode & 07777));
	return 0;
}

int tarn__control_directory(char *ret, size_t bytes)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n = runtime != NULL && runtime[0] == '/'
			? snprintf(ret, bytes, "%s/tarn", runtime)
			: snprintf(ret, bytes, "/tmp/tarn-%u", (unsigned)geteuid());

	if (n < 0 || (size_t)n >= bytes)
		return tarn__fail(-EINVAL, "The directory %.200s/tarn is too long for a socket's path "
				  "(%zu bytes are possible). Set XDG_RUNTIME_DIR to a shorter one.",
				  runtime != NULL ? runtime : "",
				  sizeof ((struct sockaddr_un *)0)->sun_path - 1);
	return 0;
}

static int plain(const char *name, bool make, struct sockaddr_un *a)
{
	char directory[sizeof a->sun_path];
	size_t n;
	int r;

	if (strlen(name) > NAME_MAX_BYTES)
		return too_long(name, NAME_MAX_BYTES);
	if (name[0] == '.')
		return tarn__fail(-EINVAL, "The server name '%s' begins with a dot.", name);
	r = tarn__control_directory(directory, sizeof directory);
	if (r < 0)
		return r;
	n = strlen(directory);
	if (n + strlen(name) + sizeof "/.sock" > sizeof a->sun_path)
		return tarn__fail(-EINVAL, "The socket path %.200s/%s.sock is too long (%zu bytes are "
				  "possible). Set XDG_RUNTIME_DIR to a shorter path.", directory,
				  name, sizeof a->sun_path - 1);
	r = check_directory(directory, make);
	if (r < 0)
		return r;
	/* It fits, as was just computed; the compiler cannot know. */
	memcpy(a->sun_path, directory, n);
	a->sun_path[n] = '/';
	stpcpy(stpcpy(a->sun_path + n + 1, name), ".sock");
	return address_length(a);
}

int tarn__control_address(const char *name, int make_directory, struct sockaddr_un *ret)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int r = check_name(name);

	if (r < 0)
		return r;
	if (name[0] == '@') {
		r = abstract(name, &a);
	} else if (strchr(name, '/') != NULL) {
		if (strlen(name) > sizeof a.sun_path - 1)
			return too_long(name, sizeof a.sun_path - 1);
		strcpy(a.sun_path, name);
		r = address_length(&a);
	} else {
		r = plain(name, make_directory != 0, &a);
	}
	if (r > 0)
		*ret = a;
	return r;
}

void tarn__control_name(const char *name, char *ret, size_t bytes)
{
	const char *from = name;
	char here[PATH_MAX];

	if (name[0] != '/' && name[0] != '@' && strchr(name, '/') != NULL && getcwd(here, sizeof here) != NULL &&
	    here[0] == '/') {
		while (strncmp(from, "./", 2) == 0)
			from += 2;
		int n = snprintf(ret, bytes, "%s/%s", here[1] != '\0' ? here : "", from);

		if (n > 0 && (size_t)n < bytes)
			return;
	}
	snprintf(ret, bytes, "%s", name);
}

/* ---- servers as text ---- */

int tarn__control_text(const char *name, const uint64_t uuid[2], int pid, char *ret, size_t bytes)
{
	struct sockaddr_un a;
	char path[PATH_MAX];
	int length = tarn__control_address(name, 0, &a);

	if (length < 0)
		return length;
	if (a.sun_path[0] == '\0')
		snprintf(path, sizeof path, "%s", name);
	else if (realpath(a.sun_path, path) == NULL)
		return tarn__fail(-errno, "The socket %s of server '%s': %s.", a.sun_path, name,
				  tarn_error_text(-errno));
	int n = snprintf(ret, bytes, "tarn:1:%016llx%016llx:%d:%s", (unsigned long long)uuid[0],
			 (unsigned long long)uuid[1], pid, path);
	return n >= 0 && (size_t)n < bytes
		       ? 0 : tarn__fail(-ENOBUFS, "The server as text has %d bytes; there is room for %zu.",
					n, bytes);
}

int tarn__control_text_read(const char *text, uint64_t ret_uuid[2], int *ret_pid,
			    const char **ret_address)
{
	struct sockaddr_un a;
	unsigned long long high, low;
	int pid, end = -1;

	/* In steps, for %16llx takes a sign and blanks. */
	if (text == NULL || strncmp(text, "tarn:1:", 7) != 0 ||
	    strspn(text + 7, "0123456789abcdef") != 32 || text[39] != ':' ||
	    sscanf(text + 7, "%16llx%16llx:%d:%n", &high, &low, &pid, &end) != 3 || end < 0 ||
	    pid <= 0 || (text[7 + end] != '/' && text[7 + end] != '@'))
		return tarn__fail(-EINVAL, "'%.40s' is no server as text.", text != NULL ? text : "");
	int length = tarn__control_address(text + 7 + end, 0, &a);
	if (length < 0)
		return length;
	ret_uuid[0] = high;
	ret_uuid[1] = low;
	if (ret_pid != NULL)
		*ret_pid = pid;
	*ret_address = text + 7 + end;
	return 0;
}

/* ---- datagrams ---- */

union fd_buffer {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

int tarn__control_send(int fd, const void *data, size_t bytes, const int *fds, unsigned n_fds,
		       int flags)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)data, .iov_len = bytes };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	union fd_buffer b;
	ssize_t n;

	if (n_fds > FDS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		memset(&b, 0, sizeof b);
		m.msg_control = &b;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* Keeps the first @max descriptors of @h and closes the rest. */
static void keep_fds(struct cmsghdr *h, int *fds, unsigned max, unsigned *n)
{
	size_t have = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < have; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
		if (*n < max)
			fds[(*n)++] = fd;
		else
			close(fd);
	}
}

static int receive(int fd, void *data, size_t bytes, int *ret_fds, unsigned max_fds,
		   unsigned *ret_n_fds, struct ucred *ret_sender, int flags)
{
	struct iovec v = { .iov_base = data, .iov_len = bytes };
	union fd_buffer b;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &b,
			    .msg_controllen = sizeof b };
	unsigned n_fds = 0;
	ssize_t n;

	do
		n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_RIGHTS)
			keep_fds(h, ret_fds, max_fds, &n_fds);
		else if (h->cmsg_type == SCM_CREDENTIALS && ret_sender != NULL)
			memcpy(ret_sender, CMSG_DATA(h), sizeof *ret_sender);
	}
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		/* Longer than any message of ours, or this process is out of descriptors. */
		for (unsigned i = 0; i < n_fds; i++)
			close(ret_fds[i]);
		return m.msg_flags & MSG_CTRUNC ? -EMFILE : -EMSGSIZE;
	}
	if (ret_n_fds != NULL) {
		*ret_n_fds = n_fds;
	} else {
		for (unsigned i = 0; i < n_fds; i++)
			close(ret_fds[i]);
	}
	return (int)n;
}

int tarn__control_recv(int fd, void *data, size_t bytes, int *ret_fds, unsigned max_fds,
		       unsigned *ret_n_fds, int flags)
{
	return receive(fd, data, bytes, ret_fds, max_fds, ret_n_fds, NULL, flags);
}

int tarn__control_recv_from(int fd, void *data, size_t bytes, struct ucred *ret_sender)
{
	*ret_sender = (struct ucred){ .pid = 0 };
	return receive(fd, data, bytes, NULL, 0, NULL, ret_sender, MSG_DONTWAIT);
}

/* ---- asking ---- */

static int connect_once(const struct sockaddr_un *a, socklen_t length, int *ret_fd)
{
	/* Not blocking: a full backlog says EAGAIN instead of holding us up. */
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)(const void *)a, length) != 0 ||
	    fcntl(fd, F_SETFL, 0) != 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* The kernel refuses also where a file or a directory is. */
static bool is_no_socket(const struct sockaddr_un *a)
{
	struct stat st;

	return a->sun_path[0] != '\0' && stat(a->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static int fail_connect(const char *name, const struct sockaddr_un *a, int r, bool waited)
{
	const char *path = a->sun_path[0] != '\0' ? a->sun_path : "its abstract socket";

	if (r == -ECONNREFUSED && is_no_socket(a))
		return tarn__fail(waited ? -ETIMEDOUT : -ENOENT, "No server '%s': %s is there, but is no socket%s.",
				  name, path, waited ? ", also after waiting" : "");
	if (r == -EACCES || r == -EPERM)
		return tarn__fail(-EACCES, "Not allowed to connect to server '%s' at %s.", name, path);
	if (r == -EPROTOTYPE || r == -ENOTSOCK)
		return tarn__fail(-EINVAL, "%s is a socket, but not of a Tarn server.", path);
	if (r == -EAGAIN)
		return tarn__fail(-ETIMEDOUT, "Server '%s' does not accept connections: too many are "
				  "waiting.", name);
	if (r != -ENOENT && r != -ECONNREFUSED && r != -ENOTDIR)
		return tarn__fail(r, "Connecting to server '%s' at %s: %s.", name, path,
				  tarn_error_text(r));
	return tarn__fail(waited ? -ETIMEDOUT : -ENOENT, "No server '%s': %s %s%s. Start one: tarnd --name %s",
			  name, r == -ECONNREFUSED ? "nobody listens at" : "there is no", path,
			  waited ? ", also after waiting" : "", name);
}

int tarn__control_connect(const char *name, uint64_t deadline, int *ret_fd)
{
	struct sockaddr_un a;
	int length = tarn__control_address(name, 0, &a);
	uint64_t now = tarn__now();
	/* A full backlog empties soon, whatever the caller said about a missing server. */
	uint64_t busy_until = now + 1000000000u > deadline ? now + 1000000000u : deadline;
	long pause_ns = 1000000;
	bool waited = false;

	if (length < 0)
		return length;
	for (;;) {
		int r = connect_once(&a, (socklen_t)length, ret_fd);

		if (r == 0)
			return 0;
		bool absent = r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR;
		now = tarn__now();
		if ((!absent || now >= deadline) && (r != -EAGAIN || now >= busy_until))
			return fail_connect(name, &a, r, waited);
		waited = true;
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
		pause_ns = pause_ns < 20000000 ? pause_ns * 2 : 20000000;
	}
}

/* -ETIMEDOUT without a sentence. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = tarn__now();
		int ms = -1;

		if (deadline != UINT64_MAX) {
			uint64_t left = deadline > now ? (deadline - now + 999999) / 1000000 : 0;

			ms = left > 1000000 ? 1000000 : (int)left;
		}
		int r = poll(&p, 1, ms);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (tarn__now() >= deadline)
			return -ETIMEDOUT;
	}
}

static int gone(void)
{
	return tarn__fail(-TARN_ESRVDOWN, "The server closed the connection.");
}

static int fail_late(int r)
{
	return tarn__fail(r, "The server did not answer in time.");
}

static int send_request(int fd, struct tarn__request *q, uint64_t deadline)
{
	static uint64_t serials;

	/* Relaxed: it must only be another one than before. */
	q->serial = __atomic_add_fetch(&serials, 1, __ATOMIC_RELAXED);
	snprintf(q->version, sizeof q->version, "%s", tarn_version());
	int r;

	/* There is no room if a server that hangs was rung for often (tarn__client_nudge()). */
	while ((r = tarn__control_send(fd, q, sizeof *q, NULL, 0, MSG_DONTWAIT)) == -EAGAIN) {
		r = wait_for(fd, POLLOUT, deadline);
		if (r < 0)
			return fail_late(r);
	}
	if (r < 0)
		return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN
			       ? gone() : tarn__fail(r, "Asking the server: %s.", tarn_error_text(r));
	return 0;
}

static void close_fds(int fds[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
}

/* An answer that nobody waits for any more. What it gave goes. */
static void pass_over(int fd, const struct tarn__answer *a, int fds[], unsigned n_fds)
{
	const struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_LANE_CLOSE,
					 .argument = a->value[0] };

	close_fds(fds, n_fds);
	if (a->kind == TARN__CTL_LANE_OPEN && a->error == 0)
		tarn__control_send(fd, &q, sizeof q, NULL, 0, MSG_DONTWAIT);
}

/* What came before it is asked. */
static void pass_over_all(int fd)
{
	int fds[TARN__CONTROL_FDS];
	struct tarn__answer a;
	unsigned n_fds;

	while (tarn__control_recv(fd, &a, sizeof a, fds, TARN__CONTROL_FDS, &n_fds, MSG_DONTWAIT) ==
	       (int)sizeof a)
		pass_over(fd, &a, fds, n_fds);
}

/* The next datagram. 1: it is no answer to the request @serial, and gone. */
static int next_answer(int fd, uint64_t serial, struct tarn__answer *ret, int *ret_bytes,
		       int ret_fds[TARN__CONTROL_FDS], unsigned *ret_n_fds, bool *ret_again)
{
	for (unsigned i = 0; i < TARN__CONTROL_FDS; i++)
		ret_fds[i] = -1;
	*ret_n_fds = 0;
	int n = tarn__control_recv(fd, ret, sizeof *ret, ret_fds, TARN__CONTROL_FDS, ret_n_fds, 0);
	if (n == 0 || n == -ECONNRESET)
		return gone();
	if (n < 0)
		return tarn__fail(n, "The server's answer: %s.", tarn_error_text(n));
	*ret_bytes = n;
	if (n != (int)sizeof *ret || ret->magic != TARN__CONTROL_MAGIC)
		return 0;
	*ret_again = ret->kind == TARN__CTL_SUCCESSOR;
	if (!*ret_again && (ret->serial == 0 || ret->serial == serial))
		return 0;
	pass_over(fd, ret, ret_fds, *ret_n_fds);
	for (unsigned i = 0; i < *ret_n_fds; i++)
		ret_fds[i] = -1;
	return 1;
}

static int ask_once(int fd, const struct tarn__request *ask, struct tarn__answer *ret,
		    int ret_fds[TARN__CONTROL_FDS], uint64_t deadline)
{
	struct tarn__request q = *ask;
	unsigned n_fds = 0;
	bool again = false;
	int bytes = 0;

	pass_over_all(fd);
	int r = send_request(fd, &q, deadline);

	while (r == 0) {
		r = wait_for(fd, POLLIN, deadline);
		if (r < 0)
			return fail_late(r);
		r = next_answer(fd, q.serial, ret, &bytes, ret_fds, &n_fds, &again);
		if (r == 0)
			break;
		if (r > 0)
			r = again ? send_request(fd, &q, deadline) : 0;
	}
	if (r < 0)
		return r;
	if (bytes != (int)sizeof *ret || ret->magic != TARN__CONTROL_MAGIC || ret->kind != ask->kind ||
	    (ret->error == 0 && ret->n_fds != n_fds) || ret->error > 0) {
		r = tarn__fail(-TARN_EPROTO, "The server's answer to request %u is not one (%d bytes, "
			       "kind %u, %u descriptors).", ask->kind, bytes, ret->kind, n_fds);
		goto close_all;
	}
	ret->text[sizeof ret->text - 1] = '\0';
	r = ret->error;
	if (r == 0)
		return 0;
	tarn__fail(r, "%s", ret->text[0] != '\0' ? ret->text : tarn_error_text(r));
close_all:
	close_fds(ret_fds, n_fds);
	return r;
}

int tarn__control_ask(int fd, const struct tarn__request *ask, struct tarn__answer *ret,
		      int ret_fds[TARN__CONTROL_FDS], uint64_t deadline)
{
	int r = ask_once(fd, ask, ret, ret_fds, deadline);

	if (r != -TARN_EAUTH || ask->kind == TARN__CTL_HELLO || ask->kind == TARN__CTL_PROVE)
		return r;
	int proven = tarn__auth_prove_default(fd, deadline);
	if (proven > 0)
		return r; /* no key to prove; the server's sentence stands */
	return proven < 0 ? proven : ask_once(fd, ask, ret, ret_fds, deadline);
}
