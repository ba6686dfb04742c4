/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults inside the library: how they are made, told as the last failure, and encoded.
 *
 * A fault is built by one thread and then only read, so only its count is shared. What it
 * consists of (causes, members) is a tree of bounded height, so walks may recurse.
 */
#ifndef TARN_VALUE_FAULT_H
#define TARN_VALUE_FAULT_H

#include <stdarg.h>

#include "tarn/fault.h"
#include "value.h"

#define TARN__FAULT_HEIGHT_MAX 64u /* causes and members within each other, in one process */
#define TARN__BUILD_ID_MAX 32u

struct tarn__frame {
	char *function, *file, *module; /* own copies; may be NULL */
	unsigned line;
	uint64_t offset;
	unsigned char build_id[TARN__BUILD_ID_MAX];
	uint8_t build_id_bytes;
};

struct tarn_fault {
	uint32_t refs;
	int code, pid, tid;
	unsigned hops;
	unsigned height;        /* 1 + the highest of cause and children */
	char *domain, *message, *process;
	struct tarn__frame *frames;
	size_t n_frames;
	tarn_fault *cause;
	tarn_fault **children;
	size_t n_children;
};

/*
 * tarn_fault_throw() for functions of the library that are called from where the fault
 * comes from: frames inside @caller (__builtin_return_address(0) of that function; NULL: the
 * caller of this) are left out.
 */
int tarn__fault_throw_v(tarn_fault **slot, const void *caller, const char *file, unsigned line,
			const char *function, const char *domain, const char *format, va_list args)
	__attribute__((format(printf, 7, 0)));

/*
 * Functions of the library that call a method: what lies below them (executors, the reactor, the
 * start of a thread) is nobody's business who reads where a method failed, so that stacks end
 * there. The section is how they are known. A function that has this says
 * TARN__NO_TAIL_CALL() behind the call, or it would not be on the stack.
 */
#define TARN__CALLS_METHODS __attribute__((noinline, section("tarn_calls_methods")))
#define TARN__NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

/* The stack from @caller outwards to the method that it is of, at most TARN_FRAMES_MAX places of
 * it, innermost first. Strings are the caller's to free. Returns how many. */
size_t tarn__stack_take(const void *caller, struct tarn__frame *ret_frames);

/* Loads what unwinding needs, 30 us the first time in a process: before work begins. */
void tarn__stack_prepare(void);

/* Where the module with this build id lies in this process; NULL: it is not loaded. */
const void *tarn__stack_address(const unsigned char *build_id, size_t build_id_bytes,
				uint64_t offset);

/* An empty fault for whoever fills it from outside; NULL: no memory. */
tarn_fault *tarn__fault_alloc(void);

/* The domain that goes with a failure of the library itself. */
const char *tarn__fault_domain_of(int code);

/* Makes @fault (one reference is taken over) the calling thread's last failure, with
 * "ValueError: 38" as its sentence. Returns -TARN_EREMOTE. */
int tarn__fail_fault(tarn_fault *fault);

/* tarn_put() and tarn_parcel_get() for functions that pass their arguments on. */
int tarn__put_v(tarn_builder *builder, const char *format, va_list args);
int tarn__parcel_get_v(const tarn_parcel *parcel, const char *format, va_list args);

#endif
