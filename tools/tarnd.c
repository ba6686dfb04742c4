/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarnd: a server as a daemon. It stays in the foreground and logs to stderr, as
 * supervisors want it; a line gets its level in front ("<6>") for journald unless a
 * person reads it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tarn/server.h>

#include "cli.h"

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

static const struct cli_option option_table[] = {
	{ 'n', "name", "NAME", "serve as NAME (default: $TARN_SERVER, else \"default\")" },
	{ KEY_SIZE, "size", "SIZE", "cap of the arena (default: half of the memory there is)" },
	{ KEY_MAX_BLOCKS, "max-blocks", "N", "most blocks at a time (default: 4 Mi)" },
	{ KEY_QUOTA, "quota", "SIZE", "bytes that each client may own (default: 0, no limit)" },
	{ KEY_WATERMARK, "watermark", "SIZE",
	  "free memory kept warm (default: 1/8 of the cap, at most 256M)" },
	{ KEY_BACKING, "backing", "KIND", "auto, posix or memfd (default: auto)" },
	{ KEY_IO, "io", "KIND", "auto, uring or epoll (default: auto)" },
	{ KEY_SPIN_US, "spin-us", "N", "microseconds to spin before sleeping; 0: not at all" },
	{ KEY_KILL_EVICTED, "kill-evicted", NULL, "kill clients that break the rules" },
	{ KEY_READY_FD, "ready-fd", "FD", "write \"READY NAME\" there once clients can attach" },
	{ KEY_LOG_LEVEL, "log-level", "LEVEL", "error, warning, info or debug (default: info)" },
	{ 'h', "help", NULL, "print this and exit" },
	{ 'V', "version", NULL, "print the version and exit" },
	{ 0 },
};

#define LEVEL_ERROR 3
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
		fprintf(stderr, "tarnd: %s\n", line);
	else
		fprintf(stderr, "<%d>tarnd: %s\n", level, line);
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
	static const char *const names[] = { "error", "warning", "info", "debug", NULL };
	static const int levels[] = { LEVEL_ERROR, 4, 6, 7 };

	return levels[cli_choice("--log-level", text, names)];
}

static uint64_t least_1(const char *what, uint64_t v)
{
	if (v == 0)
		cli_usage_error("%s: 0 is too little", what);
	return v;
}

static void set_option(tarn_server_options *o, int key, const char *value)
{
	/* In the order of the library's enums. */
	static const char *const backings[] = { "auto", "posix", "memfd", NULL };
	static const char *const ios[] = { "auto", "uring", "epoll", NULL };

	switch (key) {
	case 'n':
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

static void print_help(void)
{
	printf("Usage: tarnd [OPTION...]\n"
	       "\n"
	       "Serves a Tarn arena until SIGTERM, SIGINT or SIGHUP. Logs to stderr.\n"
	       "\n"
	       "Options (SIZE in bytes, or with K, M, G or T):\n");
	cli_print_options(option_table);
	printf("\nExit status: 0 ended in order, 1 cannot serve, 2 wrong usage.\n");
}

/* False: nothing is left to do. */
static bool read_options(tarn_server_options *o, int argc, char **argv)
{
	struct cli_scan scan = { .argc = argc, .argv = argv, .tables = { option_table } };
	const char *value;
	int key;

	while ((key = cli_next(&scan, &value)) != 0) {
		if (key == 'h') {
			print_help();
			return false;
		}
		if (key == 'V') {
			printf("tarnd %s\n", tarn_version());
			return false;
		}
		set_option(o, key, value);
	}
	if (scan.next < argc)
		cli_usage_error("unexpected argument '%s'; a name is given by --name", argv[scan.next]);
	return true;
}

int main(int argc, char **argv)
{
	tarn_server_options o = { .name = cli_default_server(), .log = log_line };

	cli_init("tarnd");
	if (!read_options(&o, argc, argv))
		return cli_finish(CLI_OK);
	log_plain = isatty(STDERR_FILENO) == 1;
	end_on(SIGTERM);
	end_on(SIGINT);
	end_on(SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (tarn_server_run(&o) < 0) {
		log_line(NULL, LEVEL_ERROR, tarn_error_last()->message);
		return CLI_NO;
	}
	return CLI_OK;
}

/* Programs that start servers of their own may name tarnd as the one to execute
 * (TARN_TARND). The library answers that before main(), in the file that defines
 * tarn_server_start(); a static library brings a file along only if something names it. */
__attribute__((used)) static int (*const starter)(const tarn_server_options *,
						  tarn_server **) = tarn_server_start;
