/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn: looks into servers and runs them. This file reads the command line and hands over
 * to a sub-command (command.h).
 */
#include "command.h"
#include "symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_TIMEOUT_NS INT64_C(5000000000)
#define DEFAULT_WATCH_NS 1000000000u

enum { KEY_TIMEOUT = CLI_LONG + 1000, KEY_FROM, KEY_JSON, KEY_NOHEADINGS, KEY_BYTES, KEY_WATCH };

#define SERVER_OPTION \
	{ 's', "server", "NAME", "server to ask (default: $TARN_SERVER, else \"default\")" }
#define TIMEOUT_OPTION \
	{ KEY_TIMEOUT, "timeout", "TIME", "wait so long for an answer: 2, 500ms, 1m (default: 5)" }
#define HELP_OPTION { 'h', "help", NULL, "print this and exit" }

const struct cli_option command_global_options[] = {
	SERVER_OPTION,
	TIMEOUT_OPTION,
	HELP_OPTION,
	{ 'V', "version", NULL, "print the version and exit" },
	{ 0 },
};

static const struct cli_option time_options[] = { TIMEOUT_OPTION, HELP_OPTION, { 0 } };
static const struct cli_option server_options[] = { SERVER_OPTION, TIMEOUT_OPTION, HELP_OPTION, { 0 } };
static const struct cli_option help_options[] = { HELP_OPTION, { 0 } };
static const struct cli_option from_options[] = {
	{ KEY_FROM, "from", "FILE", "read a dump instead of asking a server" },
	{ 0 },
};
static const struct cli_option table_options[] = {
	{ KEY_JSON, "json", NULL, "print JSON" },
	{ 'o', "columns", "LIST", "print these columns, as in ID,SIZE" },
	{ KEY_NOHEADINGS, "noheadings", NULL, "print rows only: no headings, no totals" },
	{ KEY_BYTES, "bytes", NULL, "print sizes as numbers of bytes" },
	{ 0 },
};
static const struct cli_option json_options[] = {
	{ KEY_JSON, "json", NULL, "print JSON" },
	{ 0 },
};
static const struct cli_option watch_options[] = {
	{ KEY_WATCH, "watch", "TIME", "print again and again, each second or so often",
	  .optional = true },
	{ 0 },
};

#define COMMAND_ROW(name) &command_##name,
const struct command *const commands[] = { COMMANDS(COMMAND_ROW) };
const unsigned n_commands = sizeof commands / sizeof *commands;

void command_tables(const struct command *cmd, const struct cli_option **ret)
{
	ret[0] = cmd->options;
	ret[1] = cmd->takes & TAKES_FROM ? from_options : NULL;
	ret[2] = cmd->takes & TAKES_TABLE ? table_options
	       : cmd->takes & TAKES_JSON  ? json_options : NULL;
	ret[3] = cmd->takes & TAKES_WATCH ? watch_options : NULL;
	ret[4] = cmd->takes & TAKES_SERVER ? server_options
	       : cmd->takes & TAKES_TIME   ? time_options : help_options;
}

/* ---- help ---- */

static void print_help(void)
{
	printf("Usage: tarn [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n"
	       "\n"
	       "Looks into Tarn servers, running or not, and runs them.\n"
	       "\n"
	       "Commands:\n");
	for (unsigned i = 0; i < n_commands; i++) {
		char left[40];

		snprintf(left, sizeof left, "%s%s", commands[i]->name, commands[i]->arguments);
		printf("  %-22s  %s\n", left, commands[i]->summary);
	}
	printf("\nOptions:\n");
	cli_print_options(command_global_options);
	printf("\n\"tarn COMMAND --help\" tells the options of a command. Exit status: 0 done,\n"
	       "1 not found or findings, 2 wrong usage or no answer from the server.\n");
}

static void print_command_help(const struct command *c)
{
	const struct cli_option *tables[CLI_TABLES];

	printf("Usage: tarn %s [OPTION...]%s\n\nTarn: %s.\n\nOptions:\n", c->name, c->arguments,
	       c->summary);
	command_tables(c, tables);
	for (unsigned i = 0; i < CLI_TABLES; i++)
		if (tables[i] != NULL)
			cli_print_options(tables[i]);
	if (c->columns == NULL)
		return;
	printf("\nColumns (* not shown unless asked for):\n ");
	for (unsigned i = 0; i < c->n_columns; i++)
		printf(" %s%s", c->columns[i].heading, c->columns[i].hidden ? "*" : "");
	printf("\n");
}

/* ---- the command line ---- */

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < n_commands; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	cli_usage_error("unknown command '%s'; \"tarn --help\" lists them", name);
}

/* An option that may stand before the command and after it. */
static bool shared_option(struct context *c, int key, const char *value)
{
	if (key == 's') {
		if (*value == '\0')
			cli_usage_error("--server: '' is not a name");
		c->server = value;
	} else if (key == KEY_TIMEOUT) {
		c->timeout_ns = cli_duration("--timeout", value);
	} else {
		return false;
	}
	return true;
}

/* Returns the index of the command in argv, or 0: nothing is left to do. */
static int read_global(struct context *c, int argc, char **argv)
{
	struct cli_scan scan = { .argc = argc, .argv = argv, .tables = { command_global_options },
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

static uint64_t watch_time(const char *value)
{
	int64_t ns = value != NULL ? cli_duration("--watch", value) : (int64_t)DEFAULT_WATCH_NS;

	if (ns == 0)
		cli_usage_error("--watch: 0 is too little");
	return (uint64_t)ns;
}

/* An option that several commands have. */
static bool common_option(struct context *c, int key, const char *value, const char **columns)
{
	switch (key) {
	case KEY_FROM:
		c->from = value;
		return true;
	case KEY_JSON:
		c->table.json = true;
		return true;
	case 'o':
		*columns = value;
		return true;
	case KEY_NOHEADINGS:
		c->table.noheadings = true;
		return true;
	case KEY_BYTES:
		c->table.exact_bytes = true;
		return true;
	case KEY_WATCH:
		c->watch_ns = watch_time(value);
		return true;
	default:
		return shared_option(c, key, value);
	}
}

/* With "--" in front of the first argument that looks like a negative number, so that it is no
 * option. *argv is left alone if there is none. */
static void protect_negative(int *argc, char ***argv)
{
	static char protect[] = "--";
	int at = 1;

	while (at < *argc && strcmp((*argv)[at], "--") != 0 &&
	       !((*argv)[at][0] == '-' && strchr("0123456789.", (*argv)[at][1]) != NULL &&
			       (*argv)[at][1] != '\0'))
		at++;
	if (at == *argc || strcmp((*argv)[at], "--") == 0)
		return;
	static char **more; /* used until the end */

	more = calloc((size_t)*argc + 2, sizeof *more);
	if (more == NULL)
		cli_usage_error("out of memory");
	memcpy(more, *argv, (size_t)at * sizeof *more);
	more[at] = protect;
	memcpy(more + at + 1, *argv + at, (size_t)(*argc - at) * sizeof *more);
	*argv = more;
	(*argc)++;
}

/* False: nothing is left to do. */
static bool read_command(struct context *c, const struct command *cmd, int argc, char **argv)
{
	if (cmd->negative_arguments)
		protect_negative(&argc, &argv);

	struct cli_scan scan = { .argc = argc, .argv = argv };
	const char *value, *columns = NULL;
	int key;

	c->table = (struct table){ .columns = cmd->columns, .n_columns = cmd->n_columns };
	command_tables(cmd, scan.tables);
	while ((key = cli_next(&scan, &value)) != 0) {
		if (key == 'h') {
			print_command_help(cmd);
			return false;
		}
		/* A command's own letters come first. */
		bool own = false;

		for (const struct cli_option *o = cmd->options; o != NULL && o->name != NULL; o++)
			own = own || o->key == key;
		if (own || !common_option(c, key, value, &columns))
			cmd->option(key, value);
	}
	if (cmd->columns != NULL)
		table_choose(&c->table, columns);
	c->n_arguments = argc - scan.next;
	c->arguments = argv + scan.next;
	if (c->n_arguments > cmd->most_arguments)
		cli_usage_error("unexpected argument '%s'", c->arguments[cmd->most_arguments]);
	if (c->n_arguments < cmd->least_arguments)
		cli_usage_error("%s:%s is missing", cmd->name, cmd->arguments);
	return true;
}

/* ---- what commands have in common ---- */

struct source *context_open(const struct context *c)
{
	return source_open(c);
}

struct json context_json(const struct context *c, const struct source *s, const char *schema)
{
	struct json j = json_init(stdout);

	(void)c;
	json_object(&j, NULL);
	json_string(&j, "schema", schema);
	if (s != NULL) {
		json_string(&j, "source", source_kind(s));
		json_object(&j, "server");
		json_string(&j, "name", source_name(s));
		json_end(&j);
	}
	return j;
}

void context_print(const struct context *c, const struct source *s, const char *schema,
		   const char *key, const void *rows, size_t row_bytes, size_t n)
{
	if (c->table.json) {
		struct json j = context_json(c, s, schema);

		table_json(&c->table, &j, key, rows, row_bytes, n);
		json_end(&j);
	} else {
		table_print(&c->table, rows, row_bytes, n);
	}
}

/* ---- running ---- */

/* Prints until somebody ends us: on a terminal each time over the last, else one below the
 * other. A server that is gone ends it, too. */
static int watch(const struct command *cmd, struct context *c)
{
	bool screen = table_screen() && !c->table.json;
	int status;

	for (;;) {
		if (screen)
			printf("\033[H\033[2J");
		else if (c->again && !c->table.json)
			printf("\n");
		status = cmd->run(c);
		if (status == CLI_TROUBLE || cli_finish(status) == CLI_TROUBLE)
			return CLI_TROUBLE;
		c->again = true;
		nanosleep(&(struct timespec){ .tv_sec = (time_t)(c->watch_ns / 1000000000u),
					      .tv_nsec = (long)(c->watch_ns % 1000000000u) }, NULL);
	}
}

int main(int argc, char **argv)
{
	struct context c = { .server = cli_default_server(), .timeout_ns = DEFAULT_TIMEOUT_NS };
	const struct command *cmd;
	int at;

	cli_init("tarn");
	symbols_init();
	at = read_global(&c, argc, argv);
	if (at == 0)
		return cli_finish(CLI_OK);
	cmd = find_command(argv[at]);
	if (!read_command(&c, cmd, argc - at, argv + at))
		return cli_finish(CLI_OK);
	return c.watch_ns != 0 ? watch(cmd, &c) : cli_finish(cmd->run(&c));
}
