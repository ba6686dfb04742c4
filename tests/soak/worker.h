/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_TESTS_SOAK_WORKER_H
#define TARN_TESTS_SOAK_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#define THREADS 2 /* of a worker */

/* Works at @server until it is told to end on its standard input, and returns its exit status. */
int worker_main(const char *server, uint64_t seed, bool forks);

#endif
