/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors.
 *
 * Functions return 0, or a negative code: -errno where one fits, else a value of
 * enum tarn_code. Positive values mean what that function's comment says. Next to
 * the code, the calling thread's last failure is kept as an object with the whole
 * sentence: what was asked, what was found, what to do. Success does not touch it
 * and costs nothing.
 */
#ifndef TARN_ERROR_H
#define TARN_ERROR_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "version.h"

TARN_BEGIN

/* Codes beyond errno's range. Functions return them negative: -TARN_ESTALE. */
enum tarn_code {
	TARN_EFIRST = 4096,
	TARN_ESTALE = TARN_EFIRST, /* the id, token or name stands for nothing (any more) */
	TARN_EFORKED,   /* the handle was inherited over fork(): attach anew */
	TARN_ESRVDOWN,  /* the server is gone */
	TARN_EEVICTED,  /* the server detached this client for breaking a rule */
	TARN_EVERSION,  /* the server was built with another layout */
	TARN_EPROTO,    /* the other side said what it must not say */
	TARN_ECLOSED,   /* the other end of the channel is gone for good */
	TARN_EKIND,     /* the value or reference is of another kind; the text says which */
	TARN_ESTATE,    /* not in this state; the text names it */
	TARN_EQUOTA,    /* the client's quota is used up */
	TARN_EAUTH,     /* the authkey is missing or another one */
	TARN_EREMOTE,   /* a method failed: tarn_error_fault() is what it threw */
	TARN_ENOTYPE,   /* the server knows no such type */
	TARN_ENOMETHOD, /* the type has no such method */
	TARN_ERESULT,   /* the method's result cannot be sent */
	TARN_EARGS,     /* wrong number or kinds of arguments */
	TARN_EINTERRUPTED, /* the server ended while the method ran */
	TARN_EBROKEN,   /* a barrier is broken: a party died, gave up or said so */
	TARN_EOF,       /* there are no more: of an iterator, a round of a stream, a set of results */
	TARN_ELAST,
};

/* The last failure of the calling thread. */
typedef struct tarn_error {
	int code;          /* as returned: negative; 0 if nothing failed yet */
	char message[508]; /* one or more sentences, no newline */
} tarn_error;

/* Never NULL; belongs to the thread, changes with its next failure. */
TARN_EXPORT const tarn_error *tarn_error_last(void);

/* Makes this the last failure of the calling thread and returns @code, which is negative: for
 * functions of yours that Tarn calls (tarn/entry.h). */
TARN_EXPORT int tarn_error_set(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* "stale reference", "connection timed out" ... for a code, positive or negative.
 * Never NULL, static. */
TARN_EXPORT const char *tarn_error_text(int code);

/* "ENOMEM", "TARN_ESTALE" ... Never NULL, static. */
TARN_EXPORT const char *tarn_error_name(int code);

TARN_END

#endif
