/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_TESTS_SOAK_WORKER_H
#define TARN_TESTS_SOAK_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "tarn/channel.h"

#define THREADS 2 /* of a worker */

/* Works at @server until it is told to end on its standard input, and returns its exit status. */
int worker_main(const char *server, uint64_t seed, bool forks);

/* ---- what the supervisor writes to a worker: "P name" or "C name", take that end; "X", the end ---- */

/* The next line of standard input. False: it is to end. */
bool next_order(char *line, int bytes);
/* The channel whose end @line is about, bound to it; the caller's. NULL: it is gone. */
tarn_channel *end_of(tarn_client *client, const char *line);

#endif
