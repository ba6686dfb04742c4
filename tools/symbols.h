/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Function, file and line for addresses in faults of other processes. Done by the programs
 * that show faults, not by the library: with libdw, which reads the debug information of
 * whatever program an address is of (tens of ms the first time). Nobody who only links
 * libtarn needs it. Without libdw what the dynamic linker knows must do.
 */
#ifndef TARN_TOOLS_SYMBOLS_H
#define TARN_TOOLS_SYMBOLS_H

#include <stdbool.h>

/* From now on tarn_fault_format() and tarn_error_print() of this process show lines. One
 * thread. False: this program was built without. */
bool symbols_init(void);

#endif
