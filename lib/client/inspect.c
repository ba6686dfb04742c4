/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a server: each is one datagram, answered by rows in a memfd. */
#include "tarn/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/control.h"
#include "lib/error.h"
#include "shm/layout.h"
#include "shm/wake.h"

#define ANSWER_NS 30000000000ll
#define ANSWER_MOST (4ull << 30)
#define AGAIN_MOST 16u /* servers that are replaced while they are asked */

struct tarn_inspector {
	int fd;
	int64_t timeout_ns;
	bool spoilt; /* an answer is overdue: what comes next would be that one */
	char name[108];
};

int tarn_inspector_open(const char *name, int64_t timeout_ns, tarn_inspector **ret_inspector)
{
	tarn_inspector *i;
	int fd;
	int r = tarn__control_connect(name, tarn__deadline(timeout_ns), &fd);

	if (r < 0)
		return r;
	i = calloc(1, sizeof *i);
	if (i == NULL) {
		close(fd);
		return tarn__fail(-ENOMEM, "No memory for an inspector.");
	}
	i->fd = fd;
	i->timeout_ns = ANSWER_NS;
	snprintf(i->name, sizeof i->name, "%s", name);
	*ret_inspector = i;
	return 0;
}

tarn_inspector *tarn_inspector_close(tarn_inspector *inspector)
{
	if (inspector != NULL) {
		close(inspector->fd);
		free(inspector);
	}
	return NULL;
}

void tarn_inspector_timeout_set(tarn_inspector *inspector, int64_t timeout_ns)
{
	inspector->timeout_ns = timeout_ns;
}

int tarn_inspector_pid(const tarn_inspector *inspector)
{
	struct ucred who;
	socklen_t n = sizeof who;

	if (getsockopt(inspector->fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return tarn__fail(-errno, "Who listens is not to be learnt: %s.", strerror(errno));
	if (who.pid <= 0)
		return tarn__fail(-ESRCH, "The server is in a process namespace that is not to be "
				  "seen from here.");
	return who.pid;
}

/* The server hung up. Its successor, if it has one, listens under the same name. */
static int connect_again(tarn_inspector *i)
{
	int fd;
	int r = tarn__control_connect(i->name, tarn__now(), &fd);

	if (r < 0)
		return r;
	close(i->fd);
	i->fd = fd;
	return 0;
}

/* Asks; *ret_fd is the answer's descriptor, or -1. */
static int ask(tarn_inspector *i, enum tarn__control kind, uint64_t argument,
	       struct tarn__answer *ret, int *ret_fd)
{
	const struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = kind,
					 .layout = tarn__layout_hash(), .argument = argument };
	int fds[TARN__CONTROL_FDS];
	int r;

	if (i->spoilt)
		return tarn__fail(-TARN_ESTATE, "An earlier question was not answered in time. Open "
				  "another inspector.");
	r = tarn__control_ask(i->fd, &q, ret, fds, tarn__deadline(i->timeout_ns));
	for (unsigned k = 0; k < AGAIN_MOST && r == -TARN_ESRVDOWN && connect_again(i) == 0; k++)
		r = tarn__control_ask(i->fd, &q, ret, fds, tarn__deadline(i->timeout_ns));
	if (r < 0) {
		i->spoilt = r == -ETIMEDOUT;
		/* io_uring lets go of a dead server's listener some milliseconds late: until
		 * then one may connect to nobody. */
		return r == -TARN_ESRVDOWN ? tarn__fail(r, "The server '%s' is gone.", i->name) : r;
	}
	for (unsigned k = 1; k < ret->n_fds; k++)
		close(fds[k]);
	*ret_fd = ret->n_fds > 0 ? fds[0] : -1;
	return 0;
}

/* Reads all of @fd into memory, with a 0 behind it, and closes it. */
static int slurp(int fd, char **ret, size_t *ret_bytes)
{
	struct stat st;
	size_t at = 0, bytes;
	char *p;
	int r = 0;

	if (fd < 0)
		return tarn__fail(-TARN_EPROTO, "The server's answer has no contents.");
	if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size > ANSWER_MOST) {
		close(fd);
		return tarn__fail(-TARN_EPROTO, "The server's answer has no sensible size.");
	}
	bytes = (size_t)st.st_size;
	p = malloc(bytes + 1);
	while (p != NULL && at < bytes) {
		/* pread: the descriptor's position is where the server stopped writing. */
		ssize_t n = pread(fd, p + at, bytes - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = tarn__fail(n < 0 ? -errno : -TARN_EPROTO, "Reading the server's answer "
				       "failed after %zu bytes of %zu.", at, bytes);
			break;
		}
		at += (size_t)n;
	}
	close(fd);
	if (p == NULL)
		return tarn__fail(-ENOMEM, "No memory for the server's answer (%zu bytes).", bytes);
	if (r < 0) {
		free(p);
		return r;
	}
	p[bytes] = '\0';
	*ret = p;
	*ret_bytes = bytes;
	return 0;
}

static int rows(tarn_inspector *i, enum tarn__control kind, uint64_t argument, size_t row_bytes,
		void **ret, size_t *ret_n)
{
	struct tarn__answer a;
	size_t bytes = 0;
	char *p = NULL;
	int fd = -1;
	int r = ask(i, kind, argument, &a, &fd);

	if (r == 0)
		r = slurp(fd, &p, &bytes);
	if (r < 0)
		return r;
	if (bytes != a.value[0] * row_bytes) {
		free(p);
		return tarn__fail(-TARN_EPROTO, "The server answered %zu bytes for %llu rows of %zu: is "
				  "it of another version?", bytes, (unsigned long long)a.value[0],
				  row_bytes);
	}
	*ret = p;
	*ret_n = (size_t)a.value[0];
	return 0;
}

int tarn_inspector_stat(tarn_inspector *inspector, tarn_stat *ret_stat)
{
	struct tarn__answer a;
	size_t bytes = 0;
	char *p = NULL;
	int fd = -1;
	int r = ask(inspector, TARN__CTL_STAT, 0, &a, &fd);

	if (r == 0)
		r = slurp(fd, &p, &bytes);
	if (r < 0)
		return r;
	/* Fields are added at the end only: what is missing reads as 0. */
	memset(ret_stat, 0, sizeof *ret_stat);
	memcpy(ret_stat, p, bytes < sizeof *ret_stat ? bytes : sizeof *ret_stat);
	free(p);
	return 0;
}

int tarn_inspector_clients(tarn_inspector *inspector, tarn_client_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_CLIENTS, 0, sizeof(tarn_client_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_blocks(tarn_inspector *inspector, tarn_block_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_BLOCKS, 0, sizeof(tarn_block_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_types(tarn_inspector *inspector, tarn_type_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_TYPES, 0, sizeof(tarn_type_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_objects(tarn_inspector *inspector, tarn_object_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_OBJECTS, 0, sizeof(tarn_object_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_calls(tarn_inspector *inspector, tarn_call_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_CALLS, 0, sizeof(tarn_call_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_errors(tarn_inspector *inspector, tarn_error_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_ERRORS, 0, sizeof(tarn_error_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_leaks(tarn_inspector *inspector, tarn_object_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_LEAKS, 0, sizeof(tarn_object_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_refs(tarn_inspector *inspector, uint64_t id, tarn_claim_row **ret_rows,
			size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_REFS, id, sizeof(tarn_claim_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	else if (r == -TARN_ESTALE)
		tarn__fail(r, "Nothing has the id %llx (any more).", (unsigned long long)id);
	return r;
}

int tarn_inspector_classes(tarn_inspector *inspector, tarn_class_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_CLASSES, 0, sizeof(tarn_class_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

int tarn_inspector_messages(tarn_inspector *inspector, tarn_message_row **ret_rows, size_t *ret_n)
{
	void *p;
	int r = rows(inspector, TARN__CTL_MESSAGES, 0, sizeof(tarn_message_row), &p, ret_n);

	if (r == 0)
		*ret_rows = p;
	return r;
}

static int write_all(int fd, const char *p, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		ssize_t n = write(fd, p + at, bytes - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return tarn__fail(n < 0 ? -errno : -EIO, "Writing the dump failed after %zu "
					  "bytes of %zu: %s.", at, bytes,
					  n < 0 ? strerror(errno) : "nothing is taken");
		at += (size_t)n;
	}
	return 0;
}

int tarn_inspector_dump(tarn_inspector *inspector, int fd)
{
	struct tarn__answer a;
	int from = -1;
	int r = ask(inspector, TARN__CTL_DUMP, 0, &a, &from);
	struct stat st;

	if (r < 0)
		return r;
	if (from < 0 || fstat(from, &st) != 0 || st.st_size <= 0) {
		if (from >= 0)
			close(from);
		return tarn__fail(-TARN_EPROTO, "The server's answer has no contents.");
	}
	/* It has as many bytes as the server's tables: not twice in memory. */
	char *chunk = malloc(1 << 20);
	off_t at = 0;

	if (chunk == NULL)
		r = tarn__fail(-ENOMEM, "No memory for copying the dump.");
	while (r == 0 && at < st.st_size) {
		ssize_t n = pread(from, chunk, 1 << 20, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			r = tarn__fail(-TARN_EPROTO, "The server's dump ends early.");
		else
			r = write_all(fd, chunk, (size_t)n);
		at += n;
	}
	free(chunk);
	close(from);
	return r;
}

int tarn_inspector_check(tarn_inspector *inspector, char **ret_text)
{
	struct tarn__answer a;
	size_t bytes = 0;
	char *p = NULL;
	int fd = -1;
	int r = ask(inspector, TARN__CTL_CHECK, 0, &a, &fd);

	if (r == 0)
		r = slurp(fd, &p, &bytes);
	if (r < 0)
		return r;
	*ret_text = p;
	return a.value[0] > INT32_MAX ? INT32_MAX : (int)a.value[0];
}

int tarn_inspector_shutdown(tarn_inspector *inspector)
{
	struct tarn__answer a;
	int fd = -1;
	int r = ask(inspector, TARN__CTL_SHUTDOWN, 0, &a, &fd);

	if (r == 0 && fd >= 0)
		close(fd);
	return r;
}
