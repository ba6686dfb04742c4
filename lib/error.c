/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codes, their names and their texts in one list, so that a code cannot lack a text; and
 * the thread's last failure.
 */
#include "error.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shm/base.h"
#include "tarn/fault.h"
#include "value/fault.h"

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
	X(EUSERS, "EUSERS", "too many users") \
	X(EXDEV, "EXDEV", "of another arena") \
	X(TARN_ESTALE, "TARN_ESTALE", "stale reference: it stands for nothing any more") \
	X(TARN_EFORKED, "TARN_EFORKED", "inherited over fork: attach anew in the child") \
	X(TARN_ESRVDOWN, "TARN_ESRVDOWN", "the server is gone") \
	X(TARN_EEVICTED, "TARN_EEVICTED", "detached by the server for breaking a rule") \
	X(TARN_EVERSION, "TARN_EVERSION", "the server was built with another layout") \
	X(TARN_EPROTO, "TARN_EPROTO", "the other side broke the protocol") \
	X(TARN_ECLOSED, "TARN_ECLOSED", "the other end of the channel is gone") \
	X(TARN_EKIND, "TARN_EKIND", "of another kind") \
	X(TARN_ESTATE, "TARN_ESTATE", "not possible in this state") \
	X(TARN_EQUOTA, "TARN_EQUOTA", "the client's quota is used up") \
	X(TARN_EAUTH, "TARN_EAUTH", "the authkey is missing or another one") \
	X(TARN_EREMOTE, "TARN_EREMOTE", "the method failed") \
	X(TARN_ENOTYPE, "TARN_ENOTYPE", "no such type") \
	X(TARN_ENOMETHOD, "TARN_ENOMETHOD", "no such method") \
	X(TARN_ERESULT, "TARN_ERESULT", "the result cannot be sent") \
	X(TARN_EARGS, "TARN_EARGS", "wrong arguments") \
	X(TARN_EINTERRUPTED, "TARN_EINTERRUPTED", "the server ended while the method ran") \
	X(TARN_EBROKEN, "TARN_EBROKEN", "the barrier is broken") \
	X(TARN_EOF, "TARN_EOF", "no more elements")

static const struct code {
	int code;
	const char *name, *text;
} codes[] = {
#define ROW(code, name, text) { code, name, text },
	CODES(ROW)
#undef ROW
};

static __thread tarn_error last = { .code = 0, .message = "no error" };
static __thread const tarn_fault *last_fault; /* behind it, with a reference; mostly NULL */

/* A thread that ends with a fault gives it back. The key is made with the first fault. */
static pthread_key_t fault_key;
static pthread_once_t fault_once = PTHREAD_ONCE_INIT;
static bool has_fault_key;

static void drop_fault(void *fault)
{
	last_fault = NULL;
	tarn_fault_unref(fault);
}

static void make_fault_key(void)
{
	has_fault_key = pthread_key_create(&fault_key, drop_fault) == 0;
}

static void set_fault(tarn_fault *fault)
{
	const tarn_fault *old = last_fault;

	pthread_once(&fault_once, make_fault_key);
	if (has_fault_key)
		pthread_setspecific(fault_key, fault);
	last_fault = fault;
	tarn_fault_unref(old);
}

static inline void forget_fault(void)
{
	if (tarn__unlikely(last_fault != NULL))
		set_fault(NULL);
}

const tarn_fault *tarn_error_fault(void)
{
	return last_fault;
}

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
	forget_fault(); /* an argument may have been of it */
	errno = saved;
	return code;
}

int (tarn__fail)(int code, const char *format, ...)
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

int (tarn__fail_static)(int code, const char *sentence)
{
	last.code = code;
	memccpy(last.message, sentence, '\0', sizeof last.message - 1);
	forget_fault();
	return code;
}

int tarn__fail_late(int r, int64_t timeout_ns)
{
	const int code = tarn__late(timeout_ns);

	if (r != -ETIMEDOUT && r != -EAGAIN)
		return r;
	if (last.code == r)
		last.code = code;
	return code;
}

int tarn__fail_waited(int r, int64_t timeout_ns, const char *what)
{
	if (r == -EAGAIN)
		return tarn__fail_static(-EAGAIN, what);
	if (r == -ETIMEDOUT)
		return tarn__fail(-ETIMEDOUT, "%s, after %.3f s of waiting.", what, (double)timeout_ns * 1e-9);
	return r;
}

void tarn__fail_forget(void)
{
	last.code = 0;
	last.message[0] = '\0';
	forget_fault();
}

int tarn__fail_fault(tarn_fault *fault)
{
	int r = tarn__fail(-TARN_EREMOTE, "%s: %s", tarn_fault_domain(fault),
			   tarn_fault_message(fault));

	set_fault(fault);
	return r;
}

#define TEXT(x) #x
#define VERSION(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)
const char *tarn_version(void)
{
	return VERSION(TARN_VERSION_MAJOR, TARN_VERSION_MINOR, TARN_VERSION_PATCH);
}
