/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults: errors as things that cross processes whole.
 *
 * What a method throws arrives at its caller as a fault: domain ("ValueError"), code,
 * message, the frames of the stack it came from, the process and thread, and the fault that
 * caused it, over as many processes as it went. The call returns -TARN_EREMOTE, and
 *
 *	if (tarn_callf(mag, "scale", TARN_FOREVER, "d", "d", -1.0, &y) < 0) {
 *		if (tarn_fault_is(tarn_error_fault(), "ValueError"))
 *			...
 *		tarn_error_print(stderr);
 *	}
 *
 * A fault is also a value: tarn_put_error(), tarn_value_error().
 *
 * A fault is counted and does not change once others have it; any thread may use it.
 * Strings belong to the fault. Nothing here blocks, but tarn_fault_format() and
 * tarn_error_print() may read files to find names for addresses.
 */
#ifndef TARN_FAULT_H
#define TARN_FAULT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "version.h"

TARN_BEGIN

typedef struct tarn_fault tarn_fault;

#define TARN_FRAMES_MAX 64u   /* frames kept of a stack: the innermost */
#define TARN_CAUSES_MAX 16u   /* causes that travel; of more the middle is left out */

/* One place on the stack: known by source line, by address, or both. */
typedef struct tarn_frame {
	const char *function;          /* NULL: unknown */
	const char *file;              /* source file; NULL: unknown */
	unsigned line;                 /* 0: unknown */
	const char *module;            /* program or library the address lies in; NULL: none */
	uint64_t offset;               /* of the address from the module's start */
	const unsigned char *build_id; /* of the module, build_id_bytes long; may be 0 */
	size_t build_id_bytes;
} tarn_frame;

/*
 * Makes a fault of this process and thread, without frames. @domain is one of the built-in
 * ones (named as in Python: "ValueError", "KeyError", "TimeoutError" ...), or your own.
 * @code is negative; 0: -TARN_EREMOTE. The message is cut at 4000 bytes. Never NULL: without
 * memory it is a fixed fault that says so. The caller owns the reference.
 */
TARN_EXPORT tarn_fault *tarn_fault_new(const char *domain, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same of the calling thread's last failure: its fault if it has one, else one with the
 * domain that goes with the code (ENOMEM: MemoryError), and its sentence. */
TARN_EXPORT tarn_fault *tarn_fault_from_last(void);

TARN_EXPORT tarn_fault *tarn_fault_ref(const tarn_fault *fault);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_fault *tarn_fault_unref(const tarn_fault *fault);

/*
 * While it is new, that is, while the caller's reference is the only one: add the calling
 * stack, a frame, the cause, a member. Each takes its own reference. -EBUSY others have
 * the fault already, -EINVAL its own cause or member, -ENOMEM, -E2BIG.
 */
TARN_EXPORT int tarn_fault_add_stack(tarn_fault *fault);
TARN_EXPORT int tarn_fault_add_frame(tarn_fault *fault, const tarn_frame *frame);
TARN_EXPORT int tarn_fault_set_cause(tarn_fault *fault, const tarn_fault *cause);
TARN_EXPORT int tarn_fault_add_child(tarn_fault *fault, const tarn_fault *child);

TARN_EXPORT const char *tarn_fault_domain(const tarn_fault *fault);
TARN_EXPORT int tarn_fault_code(const tarn_fault *fault);
TARN_EXPORT const char *tarn_fault_message(const tarn_fault *fault);
/* Where it was made: name of the process, its number and the thread's. */
TARN_EXPORT const char *tarn_fault_process(const tarn_fault *fault);
TARN_EXPORT int tarn_fault_pid(const tarn_fault *fault);
TARN_EXPORT int tarn_fault_tid(const tarn_fault *fault);
/* How often it has crossed from one process to another; 0: it is of this process. */
TARN_EXPORT unsigned tarn_fault_hops(const tarn_fault *fault);
TARN_EXPORT bool tarn_fault_is_remote(const tarn_fault *fault);
/* Borrowed; NULL: none. */
TARN_EXPORT const tarn_fault *tarn_fault_cause(const tarn_fault *fault);
/* Of one that stands for several ("EnsembleError"): its members. */
TARN_EXPORT size_t tarn_fault_child_count(const tarn_fault *fault);
TARN_EXPORT const tarn_fault *tarn_fault_child_at(const tarn_fault *fault, size_t index);
/* The stack, outermost call first. False: there is no such frame. */
TARN_EXPORT size_t tarn_fault_frame_count(const tarn_fault *fault);
TARN_EXPORT bool tarn_fault_frame_at(const tarn_fault *fault, size_t index,
				     tarn_frame *ret_frame);

/* Whether its domain is @domain or a descendant of it. NULL is no fault: false. */
TARN_EXPORT bool tarn_fault_is(const tarn_fault *fault, const char *domain);

/*
 * Makes @domain a child of @parent, in this process; the same again is harmless.
 * -EEXIST it has another parent, -ELOOP it would be its own ancestor, -EINVAL an empty name,
 * -ENOMEM. An unregistered domain is a child of "Exception".
 */
TARN_EXPORT int tarn_fault_domain_register(const char *domain, const char *parent);

/*
 * As a person reads it, into @text of @bytes: the cause first, frames with the most recent
 * last, each line led by the process it came from. Returns what snprintf would.
 *
 *	[tarnd 4711] Traceback (most recent call last):
 *	[tarnd 4711]   File "magnifier.c", line 31, in scale
 *	[tarnd 4711] ValueError: scale must be positive, not -1
 */
TARN_EXPORT int tarn_fault_format(const tarn_fault *fault, char *text, size_t bytes);

/* The fault behind the calling thread's last failure: borrowed until its next failure.
 * NULL if that was no method's. */
TARN_EXPORT const tarn_fault *tarn_error_fault(void);

/* Prints the calling thread's last failure: the fault as above, or code and sentence. */
TARN_EXPORT void tarn_error_print(FILE *to);

/*
 * Fails with a fault of this place: what tarn_throw() in a method is made of. Makes it, with
 * the stack, and puts it into @slot, dropping what was there. Returns -TARN_EREMOTE. Use the
 * macros: they fill in the place, and keep the compiler from leaving the calling function
 * before the stack is looked at ("return f(...)" would be a jump).
 */
#define tarn_fault_throw_here(slot, ...) \
	TARN_STAY(tarn_fault_throw((slot), __FILE__, __LINE__, __func__, __VA_ARGS__))
#define tarn_fault_rethrow_here(slot) \
	TARN_STAY(tarn_fault_rethrow((slot), __FILE__, __LINE__, __func__))
#define TARN_STAY(call)                                 \
	__extension__({                                 \
		int tarn_stay = (call);                 \
		__asm__ volatile("" : "+r"(tarn_stay)); \
		tarn_stay;                              \
	})
TARN_EXPORT int tarn_fault_throw(tarn_fault **slot, const char *file, unsigned line,
				 const char *function, const char *domain, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* The same for passing the calling thread's last failure on: that is the cause of the new
 * fault, which has its domain, code and message. */
TARN_EXPORT int tarn_fault_rethrow(tarn_fault **slot, const char *file, unsigned line,
				   const char *function);

/*
 * Who finds names for addresses: fills function, file and line (static or until the thread's
 * next call) of the place @offset in a module, from the file @module if its build id
 * is the right one. False: not known. Without one (NULL), what the dynamic linker knows.
 */
typedef bool tarn_symbolize_fn(const tarn_frame *place, tarn_frame *ret_names);
TARN_EXPORT void tarn_fault_symbolizer_set(tarn_symbolize_fn *symbolize);

TARN_END

#endif
