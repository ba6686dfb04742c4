/* SPDX-License-Identifier: Apache-2.0 */
/* tarn serve: runs a server in the foreground, as tarnd does. */
#include "command.h"
#include "serve.h"

#include <tarn/server.h>

static int run(struct context *c)
{
	return serve("tarn", c->server, true);
}

const struct command command_serve = {
	.name = "serve",
	.arguments = "",
	.summary = "run a server in the foreground, as tarnd does",
	.options = serve_options,
	.option = serve_option,
	.run = run,
};

/* As in tarnd.c: a server that this program is told to start by TARN_TARND. */
__attribute__((used)) static int (*const starter)(const tarn_server_options *,
						  tarn_server **) = tarn_server_start;
