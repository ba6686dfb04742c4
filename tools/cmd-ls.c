/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn ls: the servers of this machine. Candidates are the sockets in the directories of
 * plain names, and all other sockets that listen for packets and belong to a process which
 * has a server's books. Nothing is sent to sockets of other programs, but for abstract ones
 * whose process is not to be seen.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "hung.h"
#include "lib/control.h"
#include "sockets.h"

struct server_row {
	char name[sizeof((struct sockaddr_un *)0)->sun_path + 2]; /* as for --server */
	char socket[sizeof((struct sockaddr_un *)0)->sun_path + 2];
	const char *state, *note; /* note NULL: text */
	char text[200];
	pid_t pid;
	bool has_stat;
	tarn_stat stat;
};

struct list {
	struct server_row *row;
	size_t n, room;
	int64_t timeout_ns;
};

/* ---- columns ---- */

static struct value name(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct server_row *)row)->name };
}

static struct value pid(const void *row)
{
	const struct server_row *r = row;

	return (struct value){ .kind = r->pid > 0 ? VALUE_NUMBER : VALUE_NONE, .number = (uint64_t)r->pid };
}

static struct value state(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct server_row *)row)->state };
}

static struct value note(const void *row)
{
	const struct server_row *r = row;
	const char *text = r->note != NULL ? r->note : r->text; /* rows move */

	return (struct value){ .kind = text[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = text };
}

static struct value stat_value(const struct server_row *r, enum value_kind kind, uint64_t number)
{
	return (struct value){ .kind = r->has_stat ? kind : VALUE_NONE, .number = number };
}

#define STAT(name_, kind, expression)                                \
	static struct value name_(const void *row)                   \
	{                                                            \
		const struct server_row *r = row;                    \
		return stat_value(r, kind, expression);              \
	}
STAT(up, VALUE_NS, r->stat.uptime_ns)
STAT(clients, VALUE_NUMBER, r->stat.clients)
STAT(blocks, VALUE_NUMBER, r->stat.blocks_live)
STAT(used, VALUE_BYTES, r->stat.used_bytes)
STAT(size, VALUE_BYTES, r->stat.arena_bytes)
STAT(use, VALUE_PERCENT,
     r->stat.arena_bytes != 0 ? (uint64_t)(10000.0 * (double)r->stat.used_bytes /
					   (double)r->stat.arena_bytes) : 0)

static enum tint state_tint(const void *row)
{
	const char *s = ((const struct server_row *)row)->state;

	return strcmp(s, "running") == 0 ? TINT_GOOD : strcmp(s, "hung") == 0 ? TINT_BAD : TINT_WARN;
}

static const struct column columns[] = {
	{ "NAME", "name", .kind = VALUE_TEXT, .of = name },
	{ "PID", "pid", .kind = VALUE_NUMBER, .of = pid },
	{ "STATE", "state", .kind = VALUE_TEXT, .of = state, .tint = state_tint },
	{ "UP", "up_ns", .kind = VALUE_NS, .of = up },
	{ "CLIENTS", "clients", .kind = VALUE_NUMBER, .of = clients },
	{ "BLOCKS", "blocks", .kind = VALUE_NUMBER, .of = blocks },
	{ "USED", "used_bytes", .kind = VALUE_BYTES, .of = used },
	{ "SIZE", "arena_bytes", .kind = VALUE_BYTES, .of = size },
	{ "USE%", "use_percent", .kind = VALUE_PERCENT, .of = use },
	{ "SOCKET", "socket", .hidden = true, COLUMN_FIELD(VALUE_TEXT, struct server_row, socket) },
	{ "NOTE", "note", .hidden = true, .kind = VALUE_TEXT, .of = note },
};

/* ---- asking one ---- */

static void set_note(struct server_row *r, int code)
{
	snprintf(r->text, sizeof r->text, "%s", cli_last_error(code));
}

/* What the books of one that does not answer say. */
static void look_into(struct server_row *r)
{
	int64_t up = 0;
	struct dump d;
	int code;

	if (r->pid <= 0 || !hung_owns_books(r->pid))
		r->pid = hung_find(r->name);
	code = r->pid > 0 ? hung_copy(r->name, r->pid, &d) : -ESRCH;
	if (code < 0) {
		if (r->pid > 0)
			set_note(r, code);
		return;
	}
	r->note = d.header.how == DUMP_STOPPED ? "stopped" : "stands still";
	if (d.sight.facts != NULL)
		up = (int64_t)(d.header.now_ns - d.sight.facts->started_ns);
	r->stat = (tarn_stat){ .uptime_ns = (uint64_t)up, .clients = d.st.head->n_clients - (d.st.head->host != NIL),
			       .blocks_live = d.st.head->n_live, .used_bytes = d.st.head->heap.used,
			       .arena_bytes = d.st.head->arena_bytes };
	r->has_stat = true;
	dump_free(&d);
}

/* False: it is no server of ours. */
static bool ask(struct server_row *r, int64_t timeout_ns, bool doubtful)
{
	tarn_inspector *inspector = NULL;
	int code = tarn_inspector_open(r->name, 0, &inspector), peer;

	if (code == 0) {
		peer = tarn_inspector_pid(inspector);
		r->pid = peer > 0 ? peer : 0;
		tarn_inspector_timeout_set(inspector, timeout_ns);
		code = tarn_inspector_stat(inspector, &r->stat);
	}
	tarn_inspector_close(inspector);
	if (code == 0) {
		r->state = "running";
		r->has_stat = true;
		r->pid = r->stat.server_pid != 0 && r->pid == 0 ? (pid_t)r->stat.server_pid : r->pid;
		return true;
	}
	set_note(r, code);
	if (code == -ENOENT || code == -TARN_ESRVDOWN) {
		r->state = "dead";
		r->pid = 0;
		r->note = code == -ENOENT ? "its socket is left" : "it has just ended";
	} else if (code == -TARN_EVERSION || code == -TARN_EPROTO) {
		r->state = "other version";
		return !doubtful || code == -TARN_EVERSION;
	} else if (code == -ETIMEDOUT) {
		r->state = "hung";
		look_into(r);
		return !doubtful || r->has_stat;
	} else {
		r->state = "refused";
		return !doubtful;
	}
	return true;
}

/* ---- finding them ---- */

static bool is_listed(const struct list *l, const char *socket)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->row[i].socket, socket) == 0)
			return true;
	return false;
}

/* @doubtful: it may be another program's. */
static void add(struct list *l, const char *server, const char *socket, bool doubtful)
{
	if (is_listed(l, socket))
		return;
	if (l->n == l->room) {
		size_t room = l->room != 0 ? 2 * l->room : 16;
		struct server_row *p = realloc(l->row, room * sizeof *p);

		if (p == NULL)
			cli_usage_error("out of memory");
		l->row = p;
		l->room = room;
	}
	struct server_row *r = &l->row[l->n];

	*r = (struct server_row){ .state = "?" };
	snprintf(r->name, sizeof r->name, "%s", server);
	snprintf(r->socket, sizeof r->socket, "%s", socket);
	l->n += ask(r, l->timeout_ns, doubtful);
}

/* Sockets of plain names in a directory; in ours the plain name will do. */
static void add_directory(struct list *l, const char *pattern, bool ours)
{
	glob_t g;

	if (glob(pattern, 0, NULL, &g) != 0)
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		const char *path = g.gl_pathv[i], *file = strrchr(path, '/') + 1;
		char plain[sizeof((struct server_row *)0)->name];

		if (strlen(path) >= sizeof plain)
			continue;
		snprintf(plain, sizeof plain, "%.*s", (int)(strlen(file) - strlen(".sock")), file);
		add(l, ours ? plain : path, path, false);
	}
	globfree(&g);
}

static void add_directories(struct list *l)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	bool given = runtime != NULL && runtime[0] == '/';
	char pattern[512];

	if (given && snprintf(pattern, sizeof pattern, "%s/tarn/*.sock", runtime) < (int)sizeof pattern)
		add_directory(l, pattern, true);
	snprintf(pattern, sizeof pattern, "/run/user/%u/tarn/*.sock", (unsigned)geteuid());
	add_directory(l, pattern, false);
	snprintf(pattern, sizeof pattern, "/tmp/tarn-%u/*.sock", (unsigned)geteuid());
	add_directory(l, pattern, !given);
}

static bool add_socket(void *arg, const struct socket_entry *e)
{
	struct list *l = arg;
	bool abstract = e->name[0] == '@';

	if ((!abstract && e->name[0] != '/') || is_listed(l, e->name))
		return true;
	pid_t owner = sockets_owner(e->inode);

	if (hung_owns_books(owner))
		add(l, e->name, e->name, false);
	else if (owner == 0 && abstract)
		add(l, e->name, e->name, true);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct server_row *)a)->name, ((const struct server_row *)b)->name);
}

static int run(struct context *c)
{
	struct list l = { .timeout_ns = c->timeout_ns };

	add_directories(&l);
	sockets_each(add_socket, &l);
	if (l.n > 0)
		qsort(l.row, l.n, sizeof *l.row, by_name);
	context_print(c, NULL, "tarn.ls/1", "servers", l.row, sizeof *l.row, l.n);
	free(l.row);
	return CLI_OK;
}

const struct command command_ls = {
	.name = "ls",
	.arguments = "",
	.summary = "the servers of this machine, one line each",
	.takes = TAKES_TIME | TAKES_TABLE | TAKES_WATCH,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
