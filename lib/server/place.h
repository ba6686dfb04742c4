/* SPDX-License-Identifier: Apache-2.0 */
/* Where and as what the serving thread runs, and how much memory there is for it. */
#ifndef TARN_SERVER_PLACE_H
#define TARN_SERVER_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* Pins the calling thread (and those it will make) to @cpus: "0,2-3", "node1". 0, or a negative
 * code with a sentence; then it runs where it ran. */
int tarn__place_cpus(const char *cpus);

/* The least limit, in bytes, of the memory cgroups (v1 or v2) that this process is in.
 * UINT64_MAX: none. */
uint64_t tarn__place_limit(void);
/* What of it the arena and contents of containers may take: the rest is for all else that the group has. 0: no limit.
 * False: nobody knows now, for lack of a descriptor or memory. */
bool tarn__place_budget(uint64_t *ret);
#define TARN__BUDGET_STEP (UINT64_C(64) << 20) /* whenever so many bytes more are taken it is looked at again */
/* Bytes of memory of the machine, or that limit where it is less. */
uint64_t tarn__place_memory(void);

#endif
