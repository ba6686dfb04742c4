/* SPDX-License-Identifier: Apache-2.0 */
/* Faults inside the library: how they are made, told as the last failure, and encoded. */
#ifndef TARN_VALUE_FAULT_H
#define TARN_VALUE_FAULT_H

#include <stdarg.h>

#include "tarn/fault.h"
#include "value.h"

/*
 * tarn_fault_throw() for functions of the library that are called from where the fault
 * comes from: frames inside @caller (__builtin_return_address(0) of that function; NULL: the
 * caller of this) are left out.
 */
int tarn__fault_throw_v(tarn_fault **slot, const void *caller, const char *file, unsigned line,
			const char *function, const char *domain, const char *format, va_list args)
	__attribute__((format(printf, 7, 0)));

/* Makes @fault (one reference is taken over) the calling thread's last failure, with
 * "ValueError: 38" as its sentence. Returns -TARN_EREMOTE. */
int tarn__fail_fault(tarn_fault *fault);

/* The reverse of tarn_put_error(): -TARN_EPROTO, -ENOMEM. Adds a hop to it and its causes. */
int tarn__fault_decode(tarn_value value, tarn_fault **ret_fault);

#endif
