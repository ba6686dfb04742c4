/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codes, their names and their texts in one list, so that a code cannot lack a text; and
 * the thread's last failure.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CODES(X) \
	X(0, "OK", "no error") \
	X(E2BIG, "E2BIG", "too much at once") \
	X(EACCES, "EACCES", "not admitted") \
	X(EADDRINUSE, "EADDRINUSE", "the name is in use") \
	X(EAGAIN, "EAGAIN", "not now, try again") \
	X(EBADF, "EBADF", "not an open descriptor") \
	X(EBUSY, "EBUSY", "taken already") \
	X(ECANCELED, "ECANCELED", "cancelled") \
	X(ECHILD, "ECHILD", "no such child process") \
	X(ECONNREFUSED, "ECONNREFUSED", "connection refused") \
	X(ECONNRESET, "ECONNRESET", "connection cut off by the other side") \
	X(EDEADLK, "EDEADLK", "would wait for itself") \
	X(EDQUOT, "EDQUOT", "quota used up") \
	X(EEXIST, "EEXIST", "exists already") \
	X(EFAULT, "EFAULT", "bad address") \
	X(EFBIG, "EFBIG", "file too large") \
	X(EINTR, "EINTR", "interrupted by a signal") \
	X(EINVAL, "EINVAL", "invalid argument") \
	X(EIO, "EIO", "input/output error") \
	X(EISDIR, "EISDIR", "is a directory") \
	X(ELOOP, "ELOOP", "too many symbolic links") \
	X(EMFILE, "EMFILE", "too many open descriptors in this process") \
	X(EMSGSIZE, "EMSGSIZE", "message too long") \
	X(ENAMETOOLONG, "ENAMETOOLONG", "name too long") \
	X(ENFILE, "ENFILE", "table full") \
	X(ENOBUFS, "ENOBUFS", "no room left to take note of more") \
	X(ENODEV, "ENODEV", "no such device") \
	X(ENOENT, "ENOENT", "not found") \
	X(ENOMEM, "ENOMEM", "out of memory") \
	X(ENOSPC, "ENOSPC", "no space left") \
	X(ENOSYS, "ENOSYS", "not offered by this system") \
	X(ENOTCONN, "ENOTCONN", "not connected") \
	X(ENOTDIR, "ENOTDIR", "not a directory") \
	X(ENOTSUP, "ENOTSUP", "not supported") \
	X(ENXIO, "ENXIO", "no such device or address") \
	X(EOVERFLOW, "EOVERFLOW", "value too large") \
	X(EOWNERDEAD, "EOWNERDEAD", "the owner died") \
	X(EPERM, "EPERM", "not allowed") \
	X(EPIPE, "EPIPE", "the other side is gone") \
	X(EPROTO, "EPROTO", "protocol error") \
	X(ERANGE, "ERANGE", "out of range") \
	X(EROFS, "EROFS", "read-only file system") \
	X(ESHUTDOWN, "ESHUTDOWN", "shut down") \
	X(ESRCH, "ESRCH", "no such process") \
	X(ESTALE, "ESTALE", "stale") \
	X(ETIMEDOUT, "ETIMEDOUT", "timed out") \
	X(EXDEV, "EXDEV", "of another arena") \
	X(TARN_ESTALE, "TARN_ESTALE", "stale reference: it stands for nothing any more") \
	X(TARN_EFORKED, "TARN_EFORKED", "inherited over fork: attach anew in the child") \
	X(TARN_ESRVDOWN, "TARN_ESRVDOWN", "the server is gone") \
	X(TARN_EEVICTED, "TARN_EEVICTED", "detached by the server for breaking a rule") \
	X(TARN_EVERSION, "TARN_EVERSION", "the server was built with another layout") \
	X(TARN_EPROTO, "TARN_EPROTO", "the other side broke the protocol") \
	X(TARN_ECLOSED, "TARN_ECLOSED", "the other end of the channel is gone") \
	X(TARN_EKIND, "TARN_EKIND", "a reference of another kind") \
	X(TARN_ESTATE, "TARN_ESTATE", "not possible in this state") \
	X(TARN_EQUOTA, "TARN_EQUOTA", "the client's quota is used up") \
	X(TARN_EAUTH, "TARN_EAUTH", "the authkey is missing or another one")

static const struct code {
	int code;
	const char *name, *text;
} codes[] = {
#define ROW(code, name, text) { code, name, text },
	CODES(ROW)
#undef ROW
};

static __thread tarn_error last = { .code = 0, .message = "no error" };

static const struct code *find(int code)
{
	/* The smallest int has no positive twin; no code is near it. */
	int positive = code < 0 && code > -65536 ? -code : code;

	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		if (codes[i].code == positive)
			return &codes[i];
	return NULL;
}

const char *tarn_error_text(int code)
{
	const struct code *c = find(code);

	return c != NULL ? c->text : "unknown error";
}

const char *tarn_error_name(int code)
{
	const struct code *c = find(code);

	return c != NULL ? c->name : "unknown";
}

const tarn_error *tarn_error_last(void)
{
	return &last;
}

static int fail(int code, const char *format, va_list args)
{
	int saved = errno;
	/* Formatted beside it: an argument may be the old message. */
	tarn_error e = { .code = code };

	vsnprintf(e.message, sizeof e.message, format, args);
	for (char *p = e.message; *p != '\0'; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	last = e;
	errno = saved;
	return code;
}

int tarn__fail(int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(code, format, args);
	va_end(args);
	return code;
}

int tarn_error_set(int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(code, format, args);
	va_end(args);
	return code;
}

int tarn__fail_static(int code, const char *sentence)
{
	last.code = code;
	memccpy(last.message, sentence, '\0', sizeof last.message - 1);
	return code;
}

#define TEXT(x) #x
#define VERSION(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)
const char *tarn_version(void)
{
	return VERSION(TARN_VERSION_MAJOR, TARN_VERSION_MINOR, TARN_VERSION_PATCH);
}
