/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sub-commands of tarn. A new one is a file cmd-NAME.c that defines command_NAME, and a row
 * in COMMANDS (and in meson.build, as any file, and a section in a page of docs/man). Help,
 * completions and the tests of both come from its tables.
 */
#ifndef TARN_TOOLS_COMMAND_H
#define TARN_TOOLS_COMMAND_H

#include <tarn/inspect.h>

#include "cli.h"
#include "source.h"
#include "table.h"

/* In the order of the help. */
#define COMMANDS(X)   \
	X(serve)      \
	X(ls)         \
	X(stat)       \
	X(top)        \
	X(clients)    \
	X(blocks)     \
	X(refs)       \
	X(types)      \
	X(objects)    \
	X(introspect) \
	X(show)       \
	X(call)       \
	X(trace)      \
	X(errors)     \
	X(leaks)      \
	X(ping)       \
	X(check)      \
	X(dump)       \
	X(gc)         \
	X(doctor)     \
	X(bench)      \
	X(completion)

/* What the command line said. */
struct context {
	const char *server;
	int64_t timeout_ns;
	const char *from;         /* a dump to read instead of asking a server; NULL: none */
	uint64_t watch_ns;        /* print again so often; 0: once */
	bool again;               /* this is not the first time */
	struct table table;
	int n_arguments;
	char **arguments;
};

/* Which of the common options a command takes. */
enum {
	TAKES_TIME = 1,   /* --timeout */
	TAKES_SERVER = 2, /* --server */
	TAKES_FROM = 4,   /* --from */
	TAKES_TABLE = 8,  /* --json, --columns, --noheadings, --bytes */
	TAKES_WATCH = 16, /* --watch */
	TAKES_JSON = 32,  /* --json, of what prints no table */
	TAKES_INSPECT = TAKES_TIME | TAKES_SERVER | TAKES_FROM | TAKES_TABLE | TAKES_WATCH,
};

struct command {
	const char *name;
	const char *arguments;  /* as the help shows them: " [ID]", or "" */
	const char *summary;    /* one line */
	unsigned takes;
	int least_arguments, most_arguments;
	bool negative_arguments; /* "-5" is an argument, and all behind it are */
	const struct column *columns; /* of its table; NULL: it prints none */
	unsigned n_columns;
	const struct cli_option *options; /* besides the common ones; may be NULL */
	void (*option)(int key, const char *value);
	int (*run)(struct context *c); /* returns how the program ends */
};

#define COMMAND_DECLARE(name_) extern const struct command command_##name_;
COMMANDS(COMMAND_DECLARE)

extern const struct command *const commands[];
extern const unsigned n_commands;
/* The option tables of a command, in the order of its help: CLI_TABLES places. */
void command_tables(const struct command *cmd, const struct cli_option **ret);
/* Those before the command. */
extern const struct cli_option command_global_options[];

/* What of the server to print comes from: it says why not and returns NULL. */
struct source *context_open(const struct context *c);

/* {"schema": ..., "server": {...}, and the members that the caller adds, then json_end(). */
struct json context_json(const struct context *c, const struct source *s, const char *schema);

/* Prints rows as a table, or as the only array of a JSON document. */
void context_print(const struct context *c, const struct source *s, const char *schema,
		   const char *key, const void *rows, size_t row_bytes, size_t n);

#endif
