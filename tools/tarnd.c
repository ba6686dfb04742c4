/* SPDX-License-Identifier: Apache-2.0 */
/* tarnd: a server as a daemon (serve.h). */
#include <stdio.h>

#include <tarn/server.h>

#include "cli.h"
#include "serve.h"

static const struct cli_option own_options[] = {
	{ 'h', "help", NULL, "print this and exit" },
	{ 'V', "version", NULL, "print the version and exit" },
	{ 0 },
};

static void print_help(void)
{
	printf("Usage: tarnd [OPTION...]\n"
	       "\n"
	       "Serves a Tarn arena until SIGTERM or SIGHUP; Ctrl-C is ignored. Logs to stderr.\n"
	       "\n"
	       "Options (SIZE in bytes, or with K, M, G or T):\n");
	cli_print_options(serve_options);
	cli_print_options(own_options);
	printf("\nExit status: 0 ended in order, 1 cannot serve, 2 wrong usage.\n");
}

/* False: nothing is left to do. */
static bool read_options(int argc, char **argv)
{
	struct cli_scan scan = { .argc = argc, .argv = argv,
				 .tables = { serve_options, own_options } };
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
		serve_option(key, value);
	}
	if (scan.next < argc)
		cli_usage_error("unexpected argument '%s'; a name is given by --name", argv[scan.next]);
	return true;
}

int main(int argc, char **argv)
{
	cli_init("tarnd");
	if (!read_options(argc, argv))
		return cli_finish(CLI_OK);
	return serve("tarnd", cli_default_server(), false);
}

/* Programs that start servers of their own may name tarnd as the one to execute
 * (TARN_TARND). The library answers that before main(), in the file that defines
 * tarn_server_start(); a static library brings a file along only if something names it. */
__attribute__((used)) static int (*const starter)(const tarn_server_options *,
						  tarn_server **) = tarn_server_start;
