/* SPDX-License-Identifier: Apache-2.0 */
/*
 * It stays in the foreground and logs to stderr, as supervisors want it; a line gets its
 * level in front ("<6>") for journald unless a person reads it.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tarn/server.h>

enum {
	KEY_SIZE = CLI_LONG,
	KEY_MAX_BLOCKS,
	KEY_QUOTA,
	KEY_WATERMARK,
	KEY_BACKING,
	KEY_IO,
	KEY_SPIN_US,
	KEY_KILL_EVICTED,
	KEY_READY_FD,
	KEY_LOG_LEVEL,
};

/* In the order of the library's enums. */
static const char *const backings[] = { "auto", "posix", "memfd", NULL };
static const char *const ios[] = { "auto", "uring", "epoll", NULL };
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
	{ KEY_KILL_EVICTED, "kill-evicted", NULL, "kill clients that break the rules" },
	{ KEY_READY_FD, "ready-fd", "FD", "write \"READY NAME\" there once clients can attach" },
	{ KEY_LOG_LEVEL, "log-level", "LEVEL", "error, warning, info or debug (default: info)",
	  levels },
	{ 0 },
};

#define LEVEL_ERROR 3
static const char *who = "tarnd"; /* of the program */
static void log_line(void *arg, int level, const char *line);
static tarn_server_options options = { .log = log_line };
static int log_most = 6;
static bool log_plain; /* a person reads it */
static volatile sig_atomic_t stop_asked;

/* ---- the log ---- */

static void log_line(void *arg, int level, const char *line)
{
	(void)arg;
	/* A signal that came before there was a server to stop had no effect; the first
	 * line, "serving ...", says that there is one now. */
	if (stop_asked)
		tarn_server_stop();
	if (level > log_most)
		return;
	if (log_plain)
		fprintf(stderr, "%s: %s\n", who, line);
	else
		fprintf(stderr, "<%d>%s: %s\n", level, who, line);
}

/* ---- signals ---- */

static void on_signal(int signal)
{
	(void)signal;
	stop_asked = 1;
	tarn_server_stop();
}

/* What the starter has us ignore (nohup, a shell's "&") stays ignored; SIGTERM is always
 * for us. */
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

static uint64_t least_1(const char *what, uint64_t v)
{
	if (v == 0)
		cli_usage_error("%s: 0 is too little", what);
	return v;
}

void serve_option(int key, const char *value)
{
	tarn_server_options *o = &options;

	switch (key) {
	case 'n':
		if (*value == '\0')
			cli_usage_error("--name: '' is not a name");
		o->name = value;
		break;
	case KEY_SIZE:
		o->arena_bytes = least_1("--size", cli_size("--size", value));
		break;
	case KEY_MAX_BLOCKS:
		o->max_blocks = least_1("--max-blocks", cli_size("--max-blocks", value));
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
	case KEY_KILL_EVICTED:
		o->kill_evicted = true;
		break;
	case KEY_READY_FD:
		o->ready_fd = open_fd(value);
		break;
	case KEY_LOG_LEVEL:
		log_most = log_level(value);
	}
}

/* ---- serving ---- */

int serve(const char *program, const char *default_name)
{
	who = program;
	if (options.name == NULL)
		options.name = default_name;
	log_plain = isatty(STDERR_FILENO) == 1;
	end_on(SIGTERM);
	end_on(SIGINT);
	end_on(SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (tarn_server_run(&options) < 0) {
		log_line(NULL, LEVEL_ERROR, tarn_error_last()->message);
		return CLI_NO;
	}
	return CLI_OK;
}
