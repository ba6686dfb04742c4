/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn completion SHELL: a script that completes the command lines of tarn and tarnd, made
 * from the tables that the parser and the help use.
 */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "serve.h"

static const char *const shells[] = { "bash", "zsh", "fish", NULL };

static const struct cli_option daemon_options[] = {
	{ 'h', "help", NULL, "print this and exit" },
	{ 'V', "version", NULL, "print the version and exit" },
	{ 0 },
};

/* What completes the value of an option. */
enum means { BY_NOTHING, BY_CHOICE, BY_FILE, BY_SERVER, BY_COLUMNS };
static enum means means_of(const struct cli_option *o)
{
	if (o->choices != NULL)
		return BY_CHOICE;
	if (strcmp(o->value, "FILE") == 0)
		return BY_FILE;
	if (strcmp(o->name, "server") == 0)
		return BY_SERVER;
	return strcmp(o->name, "columns") == 0 ? BY_COLUMNS : BY_NOTHING;
}

/* A line of a case: what follows the option's two spellings. */
static void print_spellings(const struct cli_option *o, const char *between)
{
	if (o->key < CLI_LONG)
		printf("-%c%s", o->key, between);
	printf("--%s", o->name);
}

static void print_names(const struct cli_option *const *tables, unsigned n)
{
	bool more = false;

	for (unsigned t = 0; t < n; t++)
		for (const struct cli_option *o = tables[t]; o != NULL && o->name != NULL; o++) {
			printf("%s", more ? " " : "");
			print_spellings(o, " ");
			more = true;
		}
}

static void print_choices(const char *const *choices)
{
	for (unsigned i = 0; choices[i] != NULL; i++)
		printf("%s%s", i > 0 ? " " : "", choices[i]);
}

static void print_columns(const struct command *cmd)
{
	for (unsigned i = 0; i < cmd->n_columns; i++)
		printf("%s%s", i > 0 ? " " : "", cmd->columns[i].heading);
}

static void print_commands(void)
{
	for (unsigned i = 0; i < n_commands; i++)
		printf("%s%s", i > 0 ? " " : "", commands[i]->name);
}

/* ---- bash ---- */

/* Cases for the word before the one to complete. */
static void bash_values(const struct cli_option *const *tables, unsigned n, const struct command *cmd)
{
	for (unsigned t = 0; t < n; t++)
		for (const struct cli_option *o = tables[t]; o != NULL && o->name != NULL; o++) {
			if (o->value == NULL || o->optional)
				continue;
			printf("\t\t");
			print_spellings(o, " | ");
			printf(") ");
			switch (means_of(o)) {
			case BY_CHOICE:
				printf("_tarn_words '");
				print_choices(o->choices);
				printf("'");
				break;
			case BY_FILE:
				printf("_tarn_files");
				break;
			case BY_SERVER:
				printf("_tarn_words \"$(_tarn_servers)\"");
				break;
			case BY_COLUMNS:
				printf("_tarn_list '");
				print_columns(cmd);
				printf("'");
				break;
			case BY_NOTHING:
				printf("COMPREPLY=()");
			}
			printf("; return ;;\n");
		}
}

static void bash_command(const struct command *cmd)
{
	const struct cli_option *tables[CLI_TABLES];

	command_tables(cmd, tables);
	printf("\t%s)\n\t\tcase $before in\n", cmd->name);
	bash_values(tables, CLI_TABLES, cmd);
	printf("\t\tesac\n\t\tcase $word in\n\t\t-*) _tarn_words '");
	print_names(tables, CLI_TABLES);
	printf("' ;;\n");
	if (cmd == &command_completion) {
		printf("\t\t*) _tarn_words '");
		print_choices(shells);
		printf("' ;;\n");
	} else if (strcmp(cmd->arguments, " FILE") == 0) {
		printf("\t\t*) _tarn_files ;;\n");
	}
	printf("\t\tesac\n\t\t;;\n");
}

static void bash(void)
{
	const struct cli_option *global[] = { command_global_options };
	const struct cli_option *daemon[] = { serve_options, daemon_options };

	printf("# bash completion for tarn and tarnd, made by \"tarn completion bash\".\n"
	       "_tarn_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$word\"); }\n"
	       "_tarn_files() { mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); }\n"
	       "_tarn_servers() { command tarn ls --noheadings -o name --timeout 200ms 2>/dev/null; }\n"
	       "_tarn_list() { # the last of several words with commas between them\n"
	       "\tlocal done=\n"
	       "\t[[ $word != *,* ]] || done=${word%%,*},\n"
	       "\tmapfile -t COMPREPLY < <(compgen -P \"$done\" -W \"$1\" -- \"${word##*,}\")\n"
	       "\tcompopt -o nospace 2>/dev/null\n"
	       "}\n"
	       "_tarn() {\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= i\n"
	       "\tCOMPREPLY=()\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in\n"
	       "\t\t-s | --server | --timeout) ((i++)) ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*) command=${COMP_WORDS[i]}; break ;;\n"
	       "\t\tesac\n"
	       "\tdone\n"
	       "\tcase $command in\n"
	       "\t'')\n\t\tcase $before in\n");
	bash_values(global, 1, NULL);
	printf("\t\tesac\n\t\tcase $word in\n\t\t-*) _tarn_words '");
	print_names(global, 1);
	printf("' ;;\n\t\t*) _tarn_words '");
	print_commands();
	printf("' ;;\n\t\tesac\n\t\t;;\n");
	for (unsigned i = 0; i < n_commands; i++)
		bash_command(commands[i]);
	printf("\tesac\n}\n"
	       "_tarnd() {\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
	       "\tCOMPREPLY=()\n"
	       "\tcase $before in\n");
	bash_values(daemon, 2, NULL);
	printf("\tesac\n\t_tarn_words '");
	print_names(daemon, 2);
	printf("'\n}\ncomplete -F _tarn tarn\ncomplete -F _tarnd tarnd\n");
}

/* ---- zsh ---- */

/* Help texts between single quotes: no quotes, brackets or colons in there. */
static void print_plain(const char *text)
{
	for (; *text != '\0'; text++)
		putchar(strchr("'[]:\\", *text) != NULL ? ' ' : *text);
}

static void zsh_action(const struct cli_option *o, const struct command *cmd)
{
	switch (means_of(o)) {
	case BY_CHOICE:
		printf("(");
		print_choices(o->choices);
		printf(")");
		break;
	case BY_FILE:
		printf("_files");
		break;
	case BY_SERVER:
		printf("_tarn_servers");
		break;
	case BY_COLUMNS:
		printf("_values -s , column ");
		if (cmd != NULL)
			print_columns(cmd);
		break;
	case BY_NOTHING:
		printf(" ");
	}
}

static void zsh_options(const struct cli_option *const *tables, unsigned n, const struct command *cmd)
{
	for (unsigned t = 0; t < n; t++)
		for (const struct cli_option *o = tables[t]; o != NULL && o->name != NULL; o++) {
			for (int letter = o->key < CLI_LONG; letter >= 0; letter--) {
				printf(" \\\n\t\t\t'");
				if (letter)
					printf("-%c", o->key);
				else
					printf("--%s%s", o->name, o->optional ? "=-" : "");
				printf("[");
				print_plain(o->help);
				printf("]");
				if (o->value != NULL) {
					printf("%s", o->optional ? "::" : ":");
					print_plain(o->value);
					printf(":");
					zsh_action(o, cmd);
				}
				printf("'");
			}
		}
}

static void zsh(void)
{
	const struct cli_option *global[] = { command_global_options };
	const struct cli_option *daemon[] = { serve_options, daemon_options };

	printf("#compdef tarn tarnd\n"
	       "# zsh completion for tarn and tarnd, made by \"tarn completion zsh\".\n"
	       "_tarn_servers() { compadd -- ${(f)\"$(command tarn ls --noheadings -o name --timeout 200ms 2>/dev/null)\"} }\n"
	       "_tarn_commands() {\n\tlocal -a all=(");
	for (unsigned i = 0; i < n_commands; i++) {
		printf("\n\t\t'%s:", commands[i]->name);
		print_plain(commands[i]->summary);
		printf("'");
	}
	printf("\n\t)\n\t_describe command all\n}\n"
	       "_tarn() {\n\tlocal curcontext=$curcontext state line\n\t_arguments -C");
	zsh_options(global, 1, NULL);
	printf(" \\\n\t\t\t'1: :_tarn_commands' '*:: :->rest'\n"
	       "\t[[ $state = rest ]] || return\n\tcase $words[1] in\n");
	for (unsigned i = 0; i < n_commands; i++) {
		const struct cli_option *tables[CLI_TABLES];

		command_tables(commands[i], tables);
		printf("\t%s)\n\t\t_arguments", commands[i]->name);
		zsh_options(tables, CLI_TABLES, commands[i]);
		if (commands[i] == &command_completion) {
			printf(" \\\n\t\t\t'1:shell:(");
			print_choices(shells);
			printf(")'");
		} else if (strcmp(commands[i]->arguments, " FILE") == 0) {
			printf(" \\\n\t\t\t'1:file:_files'");
		}
		printf("\n\t\t;;\n");
	}
	printf("\tesac\n}\n_tarnd() {\n\t_arguments");
	zsh_options(daemon, 2, NULL);
	printf("\n}\ncase $service in\ntarnd) _tarnd \"$@\" ;;\n*) _tarn \"$@\" ;;\nesac\n");
}

/* ---- fish ---- */

static void fish_option(const struct cli_option *o, const char *program, const char *condition,
			const struct command *cmd)
{
	printf("complete -c %s -n '%s'", program, condition);
	if (o->key < CLI_LONG)
		printf(" -s %c", o->key);
	printf(" -l %s -d '", o->name);
	print_plain(o->help);
	printf("'");
	if (o->value != NULL && !o->optional) {
		switch (means_of(o)) {
		case BY_CHOICE:
			printf(" -x -a '");
			print_choices(o->choices);
			printf("'");
			break;
		case BY_FILE:
			printf(" -r -F");
			break;
		case BY_SERVER:
			printf(" -x -a '(command tarn ls --noheadings -o name --timeout 200ms 2>/dev/null)'");
			break;
		case BY_COLUMNS:
			printf(" -x -a '");
			if (cmd != NULL)
				print_columns(cmd);
			printf("'");
			break;
		case BY_NOTHING:
			printf(" -x");
		}
	}
	printf("\n");
}

static void fish(void)
{
	printf("# fish completion for tarn and tarnd, made by \"tarn completion fish\".\n"
	       "complete -c tarn -f\ncomplete -c tarnd -f\n");
	for (const struct cli_option *o = command_global_options; o->name != NULL; o++)
		fish_option(o, "tarn", "__fish_use_subcommand", NULL);
	for (unsigned i = 0; i < n_commands; i++) {
		const struct cli_option *tables[CLI_TABLES];
		char seen[64];

		printf("complete -c tarn -n __fish_use_subcommand -a %s -d '", commands[i]->name);
		print_plain(commands[i]->summary);
		printf("'\n");
		snprintf(seen, sizeof seen, "__fish_seen_subcommand_from %s", commands[i]->name);
		command_tables(commands[i], tables);
		for (unsigned t = 0; t < CLI_TABLES; t++)
			for (const struct cli_option *o = tables[t]; o != NULL && o->name != NULL; o++)
				fish_option(o, "tarn", seen, commands[i]);
		if (commands[i] == &command_completion) {
			printf("complete -c tarn -n '%s' -a '", seen);
			print_choices(shells);
			printf("'\n");
		} else if (strcmp(commands[i]->arguments, " FILE") == 0) {
			printf("complete -c tarn -n '%s' -F\n", seen);
		}
	}
	for (const struct cli_option *o = serve_options; o->name != NULL; o++)
		fish_option(o, "tarnd", "true", NULL);
	for (const struct cli_option *o = daemon_options; o->name != NULL; o++)
		fish_option(o, "tarnd", "true", NULL);
}

static int run(struct context *c)
{
	static void (*const write[])(void) = { bash, zsh, fish };

	write[cli_choice("SHELL", c->arguments[0], shells)]();
	return CLI_OK;
}

const struct command command_completion = {
	.name = "completion",
	.arguments = " SHELL",
	.summary = "print what completes command lines in bash, zsh or fish",
	.least_arguments = 1,
	.most_arguments = 1,
	.run = run,
};
