/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our programs have in common on the command line: tables of options, from which
 * both the parser and the help come, numbers that are read to their last character, and
 * one line on stderr for what went wrong.
 */
#ifndef TARN_TOOLS_CLI_H
#define TARN_TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a program ends. */
enum {
	CLI_OK = 0,
	CLI_NO = 1,      /* not found; findings; a server that cannot serve */
	CLI_TROUBLE = 2, /* wrong usage, or nobody to ask */
};

/* An option. A table of them ends with an empty one. */
struct cli_option {
	int key;           /* its letter, or anything from CLI_LONG on if it has none */
	const char *name;  /* without the dashes */
	const char *value; /* how the help calls its value; NULL: it takes none */
	const char *help;
	const char *const *choices; /* what the value may be, NULL at the end; NULL: anything */
	bool optional;              /* its value may be left out: --name or --name=VALUE */
};
#define CLI_LONG 256

/* Names the program in messages: "tarn". Call first: it also sees to it that there are three standard
 * descriptors, whatever the program was started with. */
void cli_init(const char *program);

/* "PROGRAM: ..." and a newline to stderr. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, then exits with CLI_TROUBLE. */
_Noreturn void cli_usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says what the library said of its failure @code. Returns CLI_TROUBLE. */
int cli_library_error(int code);

#define CLI_TABLES 5

/* A walk over the options of a command line: fill in @argc, @argv and the tables. Wrong
 * ones end the program. */
struct cli_scan {
	int argc;
	char **argv; /* its first entry is skipped */
	const struct cli_option *tables[CLI_TABLES]; /* any may be NULL */
	bool until_argument; /* stop at the first argument: what follows is another's */
	int next;            /* afterwards: index of the first argument */
	bool begun;
};
/* Key of the next option, with its value if it takes one; 0 at the end. */
int cli_next(struct cli_scan *scan, const char **ret_value);

/* The lines of a table as the help shows them, to stdout. */
void cli_print_options(const struct cli_option *table);

/* What the library said of its failure @code; else the code in words. */
const char *cli_last_error(int code);

/* Values of option (or argument) @what. Wrong ones end the program with its name. */
uint64_t cli_number(const char *what, const char *text, uint64_t least, uint64_t most);
uint64_t cli_size(const char *what, const char *text);     /* bytes: 4096, 64K, 2M, 1G, 1T */
int64_t cli_duration(const char *what, const char *text);  /* ns: 2 (seconds), 500ms, 3s, 1m */
unsigned cli_choice(const char *what, const char *text, const char *const *choices);
uint64_t cli_id(const char *what, const char *text);       /* 5:3 or 0x30000005 */

/* "5:3": index and generation. */
#define CLI_ID_BYTES 24
void cli_format_id(char text[CLI_ID_BYTES], uint64_t id);

/* The server that is meant when none is named: $TARN_SERVER, else "default". */
const char *cli_default_server(void);

/* Stdout is complete, or the program failed: returns @status, or CLI_TROUBLE and says why. */
int cli_finish(int status);

#endif
