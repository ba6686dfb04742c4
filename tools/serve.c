/* SPDX-License-Identifier: Apache-2.0 */
/*
 * It stays in the foreground and logs to stderr, as supervisors want it; a line gets its
 * level in front ("<6>") for journald unless a person reads it. With --detach it is started in
 * the background, by the same way as programs start theirs.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <tarn/server.h>
#include <tarn/type.h>

#include "lib/auth.h"
#include "lib/control.h"
#include "lib/say.h"
#include "lib/server/place.h"
#include "shm/id.h"
#include "shm/sizeclass.h"
#include "systemd.h"

enum {
	KEY_SIZE = CLI_LONG,
	KEY_MAX_BLOCKS,
	KEY_QUOTA,
	KEY_WATERMARK,
	KEY_BACKING,
	KEY_IO,
	KEY_SPIN_US,
	KEY_KEEP,
	KEY_KEEPER,
	KEY_CPUS,
	KEY_PROCESS_NAME,
	KEY_ALLOW_USER,
	KEY_ALLOW_GROUP,
	KEY_AUTHKEY_FILE,
	KEY_KILL_EVICTED,
	KEY_READY_FD,
	KEY_LOG_LEVEL,
	KEY_LOAD,
	KEY_MAX_EXECUTORS,
};

/* In the order of the library's enums. */
static const char *const backings[] = { "auto", "posix", "memfd", NULL };
static const char *const ios[] = { "auto", "uring", "epoll", NULL };
static const char *const switches[] = { "off", "on", NULL };
static const char *const levels[] = { "error", "warning", "info", "debug", NULL };

const struct cli_option serve_options[] = {
	{ 'n', "name", "NAME", "serve as NAME (default: $TARN_SERVER, else \"default\")" },
	{ KEY_SIZE, "size", "SIZE", "cap of the arena (default: half of the memory there is)" },
	{ KEY_MAX_BLOCKS, "max-blocks", "N", "most blocks at a time (default: 4 Mi)" },
	{ KEY_QUOTA, "quota", "SIZE", "bytes that each client may own (default: 0, no limit)" },
	{ KEY_WATERMARK, "watermark", "SIZE",
	  "free memory kept warm (default: 1/8 of the cap, at most 256M)" },
	{ KEY_BACKING, "backing", "KIND", "auto, posix or memfd (default: auto)", backings },
	{ KEY_IO, "io", "KIND", "auto, uring or epoll (default: auto)", ios },
	{ KEY_SPIN_US, "spin-us", "N", "microseconds to spin before sleeping; 0: not at all" },
	{ KEY_KEEP, "keep", NULL, "give segments names in /dev/shm while the server lives" },
	{ KEY_KEEPER, "keeper", "SWITCH",
	  "on: replace a server that dies (default: on for tarn serve, off for tarnd)", switches },
	{ KEY_CPUS, "cpus", "LIST", "run on these CPUs: 0, 0,2-3, or node0 for a NUMA node's" },
	{ KEY_PROCESS_NAME, "process-name", "NAME", "name of the process, at most 15 bytes" },
	{ KEY_ALLOW_USER, "allow-user", "USER", "let this user attach, too; may be repeated" },
	{ KEY_ALLOW_GROUP, "allow-group", "GROUP", "let members of this group attach, likewise" },
	{ KEY_AUTHKEY_FILE, "authkey-file", "FILE", "whoever attaches must know the key in FILE" },
	{ KEY_KILL_EVICTED, "kill-evicted", NULL, "kill clients that break the rules" },
	{ KEY_LOAD, "load", "FILE", "types of objects from this module, a .so; may be repeated" },
	{ KEY_MAX_EXECUTORS, "max-executors", "N", "most threads that run methods (default: 256)" },
	{ KEY_READY_FD, "ready-fd", "FD", "write \"READY NAME\" there once clients can attach" },
	{ KEY_LOG_LEVEL, "log-level", "LEVEL", "error, warning, info or debug (default: info)",
	  levels },
	{ 'd', "detach", NULL, "serve in the background; return once clients can attach" },
	{ 0 },
};

#define LEVEL_ERROR 3
#define LEVEL_INFO 6
static const char *who = "tarnd"; /* of the program */
static bool log_plain; /* a person reads it */
static bool detach;
static bool keeper_said;
static volatile sig_atomic_t stop_asked;

/* What options point to. */
static unsigned char authkey[TARN__KEY_MOST];
static struct ids {
	uint32_t id[64];
	size_t n;
} users, groups;

static void log_line(void *arg, int level, const char *line);
static void on_event(void *arg, enum tarn_server_event event, const char *name);
static tarn_server_options options = { .log = log_line, .log_level = 6, .event = on_event };

/* ---- the log ---- */

static void log_line(void *arg, int level, const char *line)
{
	char head[64];

	(void)arg;
	if (log_plain)
		snprintf(head, sizeof head, "%s: ", who);
	else
		snprintf(head, sizeof head, "<%d>%s: ", level, who);
	tarn__say(head, line);
}

static void on_event(void *arg, enum tarn_server_event event, const char *name)
{
	char text[200];

	(void)arg;
	/* A signal that came before there was a server to stop had no effect. */
	if (stop_asked)
		tarn_server_stop();
	if (event == TARN_SERVER_STOPPING) {
		systemd_notify("STOPPING=1");
		return;
	}
	snprintf(text, sizeof text, "READY=1\nSTATUS=Serving %s", name);
	systemd_notify(text);
	/* Who started it by hand tries Ctrl-C. */
	if (log_plain) {
		snprintf(text, sizeof text, "Ctrl-C is ignored; \"kill %d\" ends the server", (int)getpid());
		log_line(NULL, LEVEL_INFO, text);
	}
}

/* ---- signals ---- */

static void on_signal(int signal)
{
	(void)signal;
	stop_asked = 1;
	tarn_server_stop();
}

/* What the starter has us ignore (nohup) stays ignored; SIGTERM is always for us. */
static void end_on(int signal)
{
	struct sigaction old, ours = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (signal != SIGTERM && sigaction(signal, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		return;
	sigaction(signal, &ours, NULL);
}

/* ---- options ---- */

static int open_fd(const char *text)
{
	int fd = (int)cli_number("--ready-fd", text, 1, INT32_MAX);

	if (fd == STDERR_FILENO)
		cli_usage_error("--ready-fd: 2 is for the log");
	if (fcntl(fd, F_GETFD) < 0)
		cli_usage_error("--ready-fd: %d: %s", fd, strerror(errno));
	return fd;
}

static int log_level(const char *text)
{
	static const int numbers[] = { LEVEL_ERROR, 4, 6, 7 };

	return numbers[cli_choice("--log-level", text, levels)];
}

static void add_id(struct ids *ids, const char *what, uint32_t id)
{
	if (ids->n == sizeof ids->id / sizeof *ids->id)
		cli_usage_error("%s: given more than %zu times", what, ids->n);
	ids->id[ids->n++] = id;
}

/* A number, or a name that @find knows. */
static void add_user(const char *text)
{
	struct passwd *p = getpwnam(text);

	if (p == NULL && (*text == '\0' || text[strspn(text, "0123456789")] != '\0'))
		cli_usage_error("--allow-user: there is no user '%s'", text);
	add_id(&users, "--allow-user",
	       p != NULL ? p->pw_uid : (uint32_t)cli_number("--allow-user", text, 0, UINT32_MAX - 1));
}

static void add_group(const char *text)
{
	struct group *g = getgrnam(text);

	if (g == NULL && (*text == '\0' || text[strspn(text, "0123456789")] != '\0'))
		cli_usage_error("--allow-group: there is no group '%s'", text);
	add_id(&groups, "--allow-group",
	       g != NULL ? g->gr_gid
			 : (uint32_t)cli_number("--allow-group", text, 0, UINT32_MAX - 1));
}

/* For what the library judges. */
static void must_be_good(const char *what, int r)
{
	if (r < 0)
		cli_usage_error("%s: %s", what, tarn_error_last()->message);
}

static const char *server_name(const char *text)
{
	struct sockaddr_un a;

	/* Other failures are the system's, and the server's to tell. */
	if (tarn__control_address(text, 0, &a) == -EINVAL)
		must_be_good("--name", -EINVAL);
	return text;
}

static const char *process_name(const char *text)
{
	if (*text == '\0' || strlen(text) > 15)
		cli_usage_error("--process-name: '%s' has not 1 to 15 bytes", text);
	return text;
}

static uint64_t arena_size(const char *text)
{
	uint64_t v = cli_size("--size", text);

	if (v < 1 << 20 || v > TARN__SIZE_MAX)
		cli_usage_error("--size: %s is not in 1M to %lluG", text, TARN__SIZE_MAX >> 30);
	return v;
}

static uint64_t block_count(const char *text)
{
	uint64_t v = cli_size("--max-blocks", text);

	if (v == 0 || v > TARN__INDEX_MASK)
		cli_usage_error("--max-blocks: %s is not in 1 to %llu", text,
				(unsigned long long)TARN__INDEX_MASK);
	return v;
}

void serve_option(int key, const char *value)
{
	tarn_server_options *o = &options;

	switch (key) {
	case 'n':
		o->name = server_name(value);
		break;
	case KEY_SIZE:
		o->arena_bytes = arena_size(value);
		break;
	case KEY_MAX_BLOCKS:
		o->max_blocks = block_count(value);
		break;
	case KEY_QUOTA:
		o->client_quota_bytes = cli_size("--quota", value);
		break;
	case KEY_WATERMARK:
		/* The library takes 0 for "choose". Keeping one byte warm is keeping none. */
		o->watermark_bytes = cli_size("--watermark", value);
		o->watermark_bytes += o->watermark_bytes == 0;
		break;
	case KEY_BACKING:
		o->backing = (enum tarn_backing)cli_choice("--backing", value, backings);
		break;
	case KEY_IO:
		o->io = (enum tarn_io)cli_choice("--io", value, ios);
		break;
	case KEY_SPIN_US:
		o->spin_ns = (int64_t)cli_number("--spin-us", value, 0, 1000000) * 1000;
		o->spin_ns -= o->spin_ns == 0; /* -1: not at all */
		break;
	case KEY_KEEP:
		o->keep_names = true;
		break;
	case KEY_KEEPER:
		o->keep = cli_choice("--keeper", value, switches) == 1;
		keeper_said = true;
		break;
	case KEY_CPUS:
		/* Here and now: whatever is started from here runs there, too. */
		must_be_good("--cpus", tarn__place_cpus(value));
		break;
	case KEY_PROCESS_NAME:
		o->process_name = process_name(value);
		break;
	case KEY_ALLOW_USER:
		add_user(value);
		break;
	case KEY_ALLOW_GROUP:
		add_group(value);
		break;
	case KEY_AUTHKEY_FILE:
		must_be_good("--authkey-file",
			     tarn__auth_key_read(value, authkey, &o->authkey_bytes));
		break;
	case KEY_KILL_EVICTED:
		o->kill_evicted = true;
		break;
	case KEY_LOAD:
		must_be_good("--load", tarn_registry_load(tarn_registry_default(), value));
		break;
	case KEY_MAX_EXECUTORS:
		o->max_executors = (uint32_t)cli_number("--max-executors", value, 1, 4096);
		break;
	case KEY_READY_FD:
		o->ready_fd = open_fd(value);
		break;
	case KEY_LOG_LEVEL:
		o->log_level = log_level(value);
		break;
	default:
		detach = true;
	}
}

/* ---- serving ---- */

/* The name of a socket that we were given is what clients know it by. */
static const char *name_of_socket(int fd, const char *otherwise)
{
	static struct sockaddr_un a;
	socklen_t n = sizeof a - 1;

	if (getsockname(fd, (struct sockaddr *)&a, &n) != 0 || n <= sizeof a.sun_family)
		return otherwise;
	if (a.sun_path[0] == '\0')
		a.sun_path[0] = '@';
	return a.sun_path[0] != '\0' ? a.sun_path : otherwise;
}

static void check_together(const tarn_server_options *o)
{
	if (o->keep_names && o->backing == TARN_BACKING_MEMFD)
		cli_usage_error("--keep: memfds have no names; take --backing posix");
	if (detach && o->ready_fd != 0)
		cli_usage_error("--detach: returns once clients can attach, so --ready-fd is in vain");
	if (detach && o->listen_fd != 0)
		cli_usage_error("--detach: not with a socket of systemd");
}

static int failed(void)
{
	log_line(NULL, LEVEL_ERROR, tarn_error_last()->message);
	return CLI_NO;
}

static int run_detached(tarn_server_options *o)
{
	tarn_server *server;

	o->lifetime = TARN_LIFETIME_DETACHED;
	if (o->process_name == NULL)
		o->process_name = who;
	if (tarn_server_start(o, &server) < 0)
		return failed();
	printf("%d\n", tarn_server_pid(server));
	tarn_server_unref(server);
	return cli_finish(CLI_OK);
}

int serve(const char *program, const char *default_name, bool keep)
{
	tarn_server_options *o = &options;

	who = program;
	if (!keeper_said)
		o->keep = keep;
	o->listen_fd = systemd_socket();
	check_together(o);
	if (o->name == NULL)
		o->name = server_name(default_name);
	if (o->listen_fd != 0)
		o->name = name_of_socket(o->listen_fd, o->name);
	o->authkey = o->authkey_bytes != 0 ? authkey : NULL;
	o->allow_uids = users.id;
	o->n_allow_uids = users.n;
	o->allow_gids = groups.id;
	o->n_allow_gids = groups.n;
	log_plain = isatty(STDERR_FILENO) == 1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a dump that becomes too long is an error */
	signal(SIGINT, SIG_IGN); /* Ctrl-C is for whoever uses the server, not for it */
	if (detach)
		return run_detached(o);
	end_on(SIGTERM);
	end_on(SIGHUP);
	int r = tarn_server_run(o);
	explicit_bzero(authkey, sizeof authkey);
	return r < 0 ? failed() : CLI_OK;
}
