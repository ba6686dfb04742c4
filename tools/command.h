/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sub-commands of tarn. A new one is a file cmd-NAME.c that defines command_NAME, and a row
 * in COMMANDS (and in meson.build, as any file, and a section in docs/man/tarn.1.scd).
 */
#ifndef TARN_TOOLS_COMMAND_H
#define TARN_TOOLS_COMMAND_H

#include <tarn/inspect.h>

#include "cli.h"
#include "table.h"

/* In the order of the help. */
#define COMMANDS(X) \
	X(stat)     \
	X(clients)  \
	X(blocks)   \
	X(refs)     \
	X(check)

/* What the command line said. */
struct context {
	const char *server;
	int64_t timeout_ns;
	struct table table;
	int n_arguments;
	char **arguments;
};

struct command {
	const char *name;
	const char *arguments;  /* as the help shows them: " [ID]", or "" */
	const char *summary;    /* one line */
	int most_arguments;
	const struct column *columns; /* of its table */
	unsigned n_columns;
	const struct cli_option *options; /* besides those that all have; may be NULL */
	void (*option)(int key, const char *value);
	int (*run)(struct context *c); /* returns how the program ends */
};

#define COMMAND_DECLARE(name_) extern const struct command command_##name_;
COMMANDS(COMMAND_DECLARE)

/* Connects to c->server. NULL: it said why not. */
tarn_inspector *context_connect(const struct context *c);

/* {"schema": ..., "server": {...}, and the members that the caller adds, then json_end(). */
struct json context_json(const struct context *c, const char *schema);

#endif
