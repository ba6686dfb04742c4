/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the examples: what fails ends the program, with the reason. A server that it started ends
 * with it, and so does whatever its clients hold. Included first, for the line below.
 */
#ifndef EXAMPLE_MUST_H
#define EXAMPLE_MUST_H

#define _GNU_SOURCE /* environ, nanosleep() ... whatever -std= is */

#include <stdio.h>
#include <stdlib.h>

#include <tarn/tarn.h>

static inline void must(int r)
{
	if (r >= 0)
		return;
	tarn_error_print(stderr);
	exit(1);
}

/* A server of one's own, and a client of it. */
static inline void must_begin(tarn_server **ret_server, tarn_client **ret_client)
{
	must(tarn_server_start(NULL, ret_server));
	must(tarn_client_open(tarn_server_name(*ret_server), NULL, ret_client));
}

static inline void must_end(tarn_server *server, tarn_client *client)
{
	tarn_client_close(client);
	must(tarn_server_shutdown(server, TARN_FOREVER));
	tarn_server_unref(server);
}

#endif
