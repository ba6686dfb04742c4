/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn: looks into a running server. This file reads the command line and hands over to a
 * sub-command (command.h).
 */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_NS INT64_C(5000000000)

enum { KEY_TIMEOUT = CLI_LONG, KEY_JSON, KEY_NOHEADINGS, KEY_BYTES };

static const struct cli_option global_options[] = {
	{ 's', "server", "NAME", "server to ask (default: $TARN_SERVER, else \"default\")" },
	{ KEY_TIMEOUT, "timeout", "TIME", "wait so long for an answer: 2, 500ms, 1m (default: 5)" },
	{ 'h', "help", NULL, "print this and exit" },
	{ 'V', "version", NULL, "print the version and exit" },
	{ 0 },
};

static const struct cli_option common_options[] = {
	{ 's', "server", "NAME", "server to ask (default: $TARN_SERVER, else \"default\")" },
	{ KEY_TIMEOUT, "timeout", "TIME", "wait so long for an answer: 2, 500ms, 1m (default: 5)" },
	{ KEY_JSON, "json", NULL, "print JSON" },
	{ 'o', "columns", "LIST", "print these columns, as in ID,SIZE" },
	{ KEY_NOHEADINGS, "noheadings", NULL, "print rows only: no headings, no totals" },
	{ KEY_BYTES, "bytes", NULL, "print sizes as numbers of bytes" },
	{ 'h', "help", NULL, "print this and exit" },
	{ 0 },
};

#define COMMAND_ROW(name) &command_##name,
static const struct command *const commands[] = { COMMANDS(COMMAND_ROW) };
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
	printf("Usage: tarn [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n"
	       "\n"
	       "Looks into a running Tarn server.\n"
	       "\n"
	       "Commands:\n");
	for (unsigned i = 0; i < N_COMMANDS; i++) {
		char left[32];

		snprintf(left, sizeof left, "%s%s", commands[i]->name, commands[i]->arguments);
		printf("  %-14s %s\n", left, commands[i]->summary);
	}
	printf("\nOptions:\n");
	cli_print_options(global_options);
	printf("\n\"tarn COMMAND --help\" tells the options of a command. Exit status: 0 done,\n"
	       "1 not found or findings, 2 wrong usage or no answer from the server.\n");
}

static void print_command_help(const struct command *c)
{
	printf("Usage: tarn %s [OPTION...]%s\n\nTarn server: %s.\n\nOptions:\n", c->name,
	       c->arguments, c->summary);
	if (c->options != NULL)
		cli_print_options(c->options);
	cli_print_options(common_options);
	printf("\nColumns (* not shown unless asked for):\n ");
	for (unsigned i = 0; i < c->n_columns; i++)
		printf(" %s%s", c->columns[i].heading, c->columns[i].hidden ? "*" : "");
	printf("\n");
}

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	cli_usage_error("unknown command '%s'; \"tarn --help\" lists them", name);
}

/* An option that may stand before the command and after it. */
static bool shared_option(struct context *c, int key, const char *value)
{
	if (key == 's')
		c->server = value;
	else if (key == KEY_TIMEOUT)
		c->timeout_ns = cli_duration("--timeout", value);
	else
		return false;
	return true;
}

/* Returns the index of the command in argv, or 0: nothing is left to do. */
static int read_global(struct context *c, int argc, char **argv)
{
	struct cli_scan scan = { .argc = argc, .argv = argv, .tables = { global_options },
				 .until_argument = true };
	const char *value;
	int key;

	while ((key = cli_next(&scan, &value)) != 0) {
		if (shared_option(c, key, value))
			continue;
		if (key == 'V')
			printf("tarn %s\n", tarn_version());
		else
			print_help();
		return 0;
	}
	if (scan.next >= argc)
		cli_usage_error("no command given; \"tarn --help\" lists them");
	return scan.next;
}

/* False: nothing is left to do. */
static bool read_command(struct context *c, const struct command *cmd, int argc, char **argv)
{
	struct cli_scan scan = { .argc = argc, .argv = argv,
				 .tables = { common_options, cmd->options } };
	const char *value, *columns = NULL;
	int key;

	c->table = (struct table){ .columns = cmd->columns, .n_columns = cmd->n_columns };
	while ((key = cli_next(&scan, &value)) != 0) {
		if (shared_option(c, key, value))
			continue;
		switch (key) {
		case 'h':
			print_command_help(cmd);
			return false;
		case KEY_JSON:
			c->table.json = true;
			break;
		case 'o':
			columns = value;
			break;
		case KEY_NOHEADINGS:
			c->table.noheadings = true;
			break;
		case KEY_BYTES:
			c->table.exact_bytes = true;
			break;
		default:
			cmd->option(key, value);
		}
	}
	table_choose(&c->table, columns);
	c->n_arguments = argc - scan.next;
	c->arguments = argv + scan.next;
	if (c->n_arguments > cmd->most_arguments)
		cli_usage_error("unexpected argument '%s'", c->arguments[cmd->most_arguments]);
	return true;
}

/* ---- asking ---- */

static char late[256]; /* what to say when the time is up */

static void on_alarm(int signal)
{
	(void)signal;
	if (write(STDERR_FILENO, late, strlen(late)) < 0)
		_exit(CLI_TROUBLE);
	_exit(CLI_TROUBLE);
}

/* One limit for all that a command asks: a timer, which ends the program. */
static void limit_time(const struct context *c)
{
	struct itimerval t = { .it_value = { .tv_sec = c->timeout_ns / 1000000000,
					     .tv_usec = c->timeout_ns % 1000000000 / 1000 } };
	struct sigaction act = { .sa_handler = on_alarm };
	sigset_t alarm_only;

	if (t.it_value.tv_sec == 0 && t.it_value.tv_usec == 0)
		t.it_value.tv_usec = 1;
	snprintf(late, sizeof late,
		 "tarn: server '%.128s' does not answer; it may be stopped, or give it more time "
		 "with --timeout\n", c->server);
	sigaction(SIGALRM, &act, NULL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

tarn_inspector *context_connect(const struct context *c)
{
	tarn_inspector *inspector;
	int r;

	limit_time(c);
	r = tarn_inspector_open(c->server, 0, &inspector); /* 0: it is there or it is not */
	if (r < 0) {
		cli_library_error(r);
		return NULL;
	}
	return inspector;
}

/* ---- the rest ---- */

struct json context_json(const struct context *c, const char *schema)
{
	struct json j = json_init(stdout);

	json_object(&j, NULL);
	json_string(&j, "schema", schema);
	json_object(&j, "server");
	json_string(&j, "name", c->server);
	json_end(&j);
	return j;
}

int main(int argc, char **argv)
{
	struct context c = { .server = cli_default_server(), .timeout_ns = DEFAULT_TIMEOUT_NS };
	const struct command *cmd;
	int at;

	cli_init("tarn");
	at = read_global(&c, argc, argv);
	if (at == 0)
		return cli_finish(CLI_OK);
	cmd = find_command(argv[at]);
	if (!read_command(&c, cmd, argc - at, argv + at))
		return cli_finish(CLI_OK);
	return cli_finish(cmd->run(&c));
}
