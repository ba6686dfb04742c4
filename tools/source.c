/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "hung.h"
#include "lib/error.h"

struct source {
	const struct context *c;
	tarn_inspector *inspector; /* NULL: dump is valid */
	struct dump dump;
	const char *kind;
};

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- a copy instead of an answer ---- */

static void count_finding(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

static void say_how(const struct source *s, pid_t pid)
{
	const struct dump *d = &s->dump;
	int findings = tarn__verify(&d->st, count_finding, NULL);
	char undone[80] = "", verdict[64] = "they are sound";

	if (d->header.rolled_back != 0)
		snprintf(undone, sizeof undone, ", %llu words of an unfinished transaction taken back",
			 (unsigned long long)d->header.rolled_back);
	if (findings != 0)
		snprintf(verdict, sizeof verdict, "check finds %d faults in them", findings);
	cli_say("server '%s' does not answer: process %d %s at epoch %llu; this is from a copy of its "
		"books%s; %s", s->c->server, (int)pid,
		d->header.how == DUMP_STOPPED ? "is stopped" : "stands still",
		(unsigned long long)d->st.head->epoch, undone, verdict);
}

/* 0: the books are in s->dump. Else the failure that is to be told. */
static int copy_instead(struct source *s)
{
	int pid = s->inspector != NULL ? tarn_inspector_pid(s->inspector) : 0;
	int r = -ESRCH;

	/* Whoever listens is not always who serves: a socket can be handed on. */
	if (pid <= 0 || !hung_owns_books(pid)) {
		int owner = hung_find(s->c->server);

		pid = owner > 0 ? owner : pid;
	}
	if (pid > 0)
		r = hung_copy(s->c->server, pid, &s->dump);
	else
		tarn__fail(r, "its process is not to be found from here");
	if (r < 0) {
		char why[256];

		snprintf(why, sizeof why, "%s", cli_last_error(r));
		return tarn__fail(-ETIMEDOUT, "server '%s' does not answer, and %s", s->c->server, why);
	}
	s->dump.sight.st = &s->dump.st;
	s->inspector = tarn_inspector_close(s->inspector);
	s->kind = "copy";
	say_how(s, pid);
	return 0;
}

/* ---- opening ---- */

static int open_dump(struct source *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;

	if (fd < 0)
		return tarn__fail(-errno, "%s: %s", path, strerror(errno));
	r = dump_load(fd, &s->dump);
	close(fd);
	if (r < 0) {
		char why[256];

		snprintf(why, sizeof why, "%s", cli_last_error(r));
		return tarn__fail(r, "%s: %s", path, why);
	}
	s->dump.sight.st = &s->dump.st;
	s->kind = "dump";
	return 0;
}

static int open_server(struct source *s)
{
	int r = tarn_inspector_open(s->c->server, 0, &s->inspector); /* 0: it is there or not */

	s->kind = "server";
	if (r == -ETIMEDOUT) /* too many wait to be let in */
		return copy_instead(s);
	if (r == 0)
		tarn_inspector_timeout_set(s->inspector, s->c->timeout_ns);
	return r;
}

struct source *source_open(const struct context *c)
{
	struct source *s = calloc(1, sizeof *s);
	int r;

	if (s == NULL) {
		cli_say("out of memory");
		return NULL;
	}
	s->c = c;
	r = c->from != NULL ? open_dump(s, c->from) : open_server(s);
	if (r < 0) {
		cli_library_error(r);
		source_close(s);
		return NULL;
	}
	return s;
}

void source_close(struct source *s)
{
	if (s == NULL)
		return;
	tarn_inspector_close(s->inspector);
	dump_free(&s->dump);
	free(s);
}

const char *source_kind(const struct source *s)
{
	return s->kind;
}

const char *source_name(const struct source *s)
{
	return s->c->from != NULL && s->dump.sight.facts != NULL ? s->dump.sight.facts->stat.name
								  : s->c->server;
}

uint64_t source_now_ns(const struct source *s)
{
	return s->inspector != NULL ? boottime() : s->dump.header.now_ns;
}

/* ---- questions ---- */

/* The contents of an answer, with a 0 behind them. */
static int slurp(int fd, char **ret, size_t *ret_bytes)
{
	struct stat st;
	size_t at = 0;
	char *p = NULL;
	ssize_t n = 1;

	if (fstat(fd, &st) == 0)
		p = malloc((size_t)st.st_size + 1);
	while (p != NULL && at < (size_t)st.st_size &&
	       (n = pread(fd, p + at, (size_t)st.st_size - at, (off_t)at)) > 0)
		at += (size_t)n;
	close(fd);
	if (p == NULL || n <= 0) {
		free(p);
		return tarn__fail(-ENOMEM, "No memory for the answer.");
	}
	p[at] = '\0';
	*ret = p;
	*ret_bytes = at;
	return 0;
}

static int from_copy(struct source *s, uint32_t kind, uint64_t argument, char **ret,
		     size_t *ret_bytes, uint64_t *ret_n)
{
	int fd = -1;
	int r = tarn__query_sight(&s->dump.sight, kind, argument, &fd, ret_n);

	if (r == -TARN_ESTALE)
		return tarn__fail(r, "Nothing has the id %llx (any more).",
				  (unsigned long long)argument);
	if (r == -ENOTSUP)
		return tarn__fail(r, "What methods threw is not in the books: only a server that answers "
				  "tells it.");
	return r < 0 ? r : slurp(fd, ret, ret_bytes);
}

int source_stat(struct source *s, tarn_stat *ret)
{
	int r = s->inspector != NULL ? tarn_inspector_stat(s->inspector, ret) : 0;
	size_t bytes;
	uint64_t n;
	char *p;

	if (r == -ETIMEDOUT)
		r = copy_instead(s);
	if (r < 0 || s->inspector != NULL)
		return r;
	r = from_copy(s, TARN__CTL_STAT, 0, &p, &bytes, &n);
	if (r == 0) {
		memcpy(ret, p, sizeof *ret);
		free(p);
	}
	return r;
}

static int ask_server(struct source *s, enum question q, uint64_t argument, void **ret, size_t *n)
{
	switch (q) {
	case ASK_CLIENTS:
		return tarn_inspector_clients(s->inspector, (tarn_client_row **)ret, n);
	case ASK_BLOCKS:
		return tarn_inspector_blocks(s->inspector, (tarn_block_row **)ret, n);
	case ASK_REFS:
		return tarn_inspector_refs(s->inspector, argument, (tarn_claim_row **)ret, n);
	case ASK_CLASSES:
		return tarn_inspector_classes(s->inspector, (tarn_class_row **)ret, n);
	case ASK_MESSAGES:
		return tarn_inspector_messages(s->inspector, (tarn_message_row **)ret, n);
	case ASK_TYPES:
		return tarn_inspector_types(s->inspector, (tarn_type_row **)ret, n);
	case ASK_OBJECTS:
		return tarn_inspector_objects(s->inspector, (tarn_object_row **)ret, n);
	case ASK_CALLS:
		return tarn_inspector_calls(s->inspector, (tarn_call_row **)ret, n);
	case ASK_ERRORS:
		return tarn_inspector_errors(s->inspector, (tarn_error_row **)ret, n);
	case ASK_LEAKS:
		return tarn_inspector_leaks(s->inspector, (tarn_object_row **)ret, n);
	}
	return -EINVAL;
}

int source_rows(struct source *s, enum question q, uint64_t argument, void **ret_rows, size_t *ret_n)
{
	static const uint32_t kinds[] = {
		[ASK_CLIENTS] = TARN__CTL_CLIENTS,   [ASK_BLOCKS] = TARN__CTL_BLOCKS,
		[ASK_REFS] = TARN__CTL_REFS,	     [ASK_CLASSES] = TARN__CTL_CLASSES,
		[ASK_MESSAGES] = TARN__CTL_MESSAGES, [ASK_TYPES] = TARN__CTL_TYPES,
		[ASK_OBJECTS] = TARN__CTL_OBJECTS,   [ASK_CALLS] = TARN__CTL_CALLS,
		[ASK_ERRORS] = TARN__CTL_ERRORS,     [ASK_LEAKS] = TARN__CTL_LEAKS,
	};
	int r = s->inspector != NULL ? ask_server(s, q, argument, ret_rows, ret_n) : 0;
	size_t bytes;
	uint64_t n;
	char *p;

	if (r == -ETIMEDOUT)
		r = copy_instead(s);
	if (r < 0 || s->inspector != NULL)
		return r;
	r = from_copy(s, kinds[q], argument, &p, &bytes, &n);
	if (r == 0) {
		*ret_rows = p;
		*ret_n = n;
	}
	return r;
}

int source_check(struct source *s, char **ret_text)
{
	int r = s->inspector != NULL ? tarn_inspector_check(s->inspector, ret_text) : 0;
	size_t bytes;
	uint64_t n;

	if (r == -ETIMEDOUT)
		r = copy_instead(s);
	if (r < 0 || s->inspector != NULL)
		return r;
	r = from_copy(s, TARN__CTL_CHECK, 0, ret_text, &bytes, &n);
	return r < 0 ? r : n > INT32_MAX ? INT32_MAX : (int)n;
}

int source_dump(struct source *s, int fd)
{
	int r = s->inspector != NULL ? tarn_inspector_dump(s->inspector, fd) : 0;

	if (r == -ETIMEDOUT)
		r = copy_instead(s);
	if (r < 0 || s->inspector != NULL)
		return r;
	r = dump_write(fd, &s->dump.header, s->dump.meta, -1, s->dump.facts, -1);
	return r < 0 ? tarn__fail(r, "Writing the dump: %s.", strerror(-r)) : 0;
}
