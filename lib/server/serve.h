/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_SERVER_SERVE_H
#define TARN_SERVER_SERVE_H

#include "tarn/server.h"

#include "estate.h"

#include <signal.h>

/* tarn_server_run(), ending when the process behind @parent_pidfd (-1: none) ends, or if
 * *@stop_wanted (NULL: never) was set before tarn_server_stop() could reach this run. The
 * arena's identity is in @ret_uuid (may be NULL) before anybody is told that it serves.
 * @heritage: of the keeper whose server this is; NULL: there is none. */
int tarn__serve(const tarn_server_options *options, int parent_pidfd,
		const volatile sig_atomic_t *stop_wanted, uint64_t ret_uuid[2],
		const struct heritage *heritage);

/* Others' bytes in a line of a log. */
void tarn__log_clean(char *line);

#endif
