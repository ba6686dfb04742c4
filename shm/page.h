/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of this system, for what the kernel is asked about memory: arm64 may have 4, 16 or 64 KiB.
 * What lies in segments is aligned to TARN__OS_PAGE, the least of them, so that it is the same everywhere;
 * addresses, lengths and offsets of calls are rounded to this one.
 */
#ifndef TARN_SHM_PAGE_H
#define TARN_SHM_PAGE_H

#include "base.h"

uint64_t tarn__os_page(void);

#endif
