/* SPDX-License-Identifier: Apache-2.0 */
/* The soak's other kind of worker: bursts of blocks through channels, millions a minute. */
#ifndef TARN_TESTS_SOAK_FLOOD_H
#define TARN_TESTS_SOAK_FLOOD_H

#include <stdint.h>

/* As worker_main(). */
int flood_main(const char *server, uint64_t seed);

#endif
