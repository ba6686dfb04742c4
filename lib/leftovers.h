/* SPDX-License-Identifier: Apache-2.0 */
/* Sweeping as the start of a server does it: names in /dev/shm only, see tarn/gc.h. */
#ifndef TARN_LEFTOVERS_H
#define TARN_LEFTOVERS_H

#include "tarn/gc.h"

/* Returns how many were removed; failures are another's to report. */
size_t tarn__leftovers_sweep_segments(void);

#endif
