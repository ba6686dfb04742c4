/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains of faults: names in a tree. Python's built-in exceptions are there from the start,
 * because that is what callers in other languages map them to; programs add their own.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "lib/error.h"

#define ROOT "Exception"

static const struct {
	const char *domain, *parent;
} built_in[] = {
	{ "Exception", "BaseException" },
	{ "GeneratorExit", "BaseException" },
	{ "KeyboardInterrupt", "BaseException" },
	{ "SystemExit", "BaseException" },
	{ "ArithmeticError", ROOT },
	{ "FloatingPointError", "ArithmeticError" },
	{ "OverflowError", "ArithmeticError" },
	{ "ZeroDivisionError", "ArithmeticError" },
	{ "AssertionError", ROOT },
	{ "AttributeError", ROOT },
	{ "BufferError", ROOT },
	{ "CancelledError", ROOT },
	{ "EOFError", ROOT },
	{ "ExceptionGroup", ROOT },
	{ "ImportError", ROOT },
	{ "ModuleNotFoundError", "ImportError" },
	{ "LookupError", ROOT },
	{ "IndexError", "LookupError" },
	{ "KeyError", "LookupError" },
	{ "MemoryError", ROOT },
	{ "NameError", ROOT },
	{ "UnboundLocalError", "NameError" },
	{ "OSError", ROOT },
	{ "BlockingIOError", "OSError" },
	{ "ChildProcessError", "OSError" },
	{ "ConnectionError", "OSError" },
	{ "BrokenPipeError", "ConnectionError" },
	{ "ConnectionAbortedError", "ConnectionError" },
	{ "ConnectionRefusedError", "ConnectionError" },
	{ "ConnectionResetError", "ConnectionError" },
	{ "FileExistsError", "OSError" },
	{ "FileNotFoundError", "OSError" },
	{ "InterruptedError", "OSError" },
	{ "IsADirectoryError", "OSError" },
	{ "NotADirectoryError", "OSError" },
	{ "PermissionError", "OSError" },
	{ "ProcessLookupError", "OSError" },
	{ "TimeoutError", "OSError" },
	{ "ReferenceError", ROOT },
	{ "RuntimeError", ROOT },
	{ "NotImplementedError", "RuntimeError" },
	{ "RecursionError", "RuntimeError" },
	{ "StopIteration", ROOT },
	{ "StopAsyncIteration", ROOT },
	{ "Signal", "RuntimeError" }, /* ours: a method ended its server; see tarn/type.h */
	{ "SyntaxError", ROOT },
	{ "SystemError", ROOT },
	{ "TypeError", ROOT },
	{ "ValueError", ROOT },
	{ "UnicodeError", "ValueError" },
	{ "UnicodeDecodeError", "UnicodeError" },
	{ "UnicodeEncodeError", "UnicodeError" },
};
#define N_BUILT_IN (sizeof built_in / sizeof built_in[0])

/* Registered ones: never changed or freed once they are in the list. */
struct domain {
	struct domain *next;
	const char *parent;
	char name[];
};
static struct domain *registered;
static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

/* Python's older names for the same. */
static const char *canonical(const char *domain)
{
	return strcmp(domain, "IOError") == 0 || strcmp(domain, "EnvironmentError") == 0
		? "OSError" : domain;
}

/* NULL: it is unknown. */
static const char *known_parent(const char *domain)
{
	for (size_t i = 0; i < N_BUILT_IN; i++)
		if (strcmp(built_in[i].domain, domain) == 0)
			return built_in[i].parent;
	/* SYNC domains, acquire: an entry that is seen is whole. */
	for (struct domain *d = __atomic_load_n(&registered, __ATOMIC_ACQUIRE); d != NULL; d = d->next)
		if (strcmp(d->name, domain) == 0)
			return d->parent;
	return NULL;
}

static bool is_a(const char *domain, const char *ancestor)
{
	ancestor = canonical(ancestor);
	for (domain = canonical(domain);;) {
		const char *parent;

		if (strcmp(domain, ancestor) == 0)
			return true;
		if (strcmp(domain, "BaseException") == 0)
			return false;
		parent = known_parent(domain);
		domain = parent != NULL ? parent : ROOT;
	}
}

bool tarn_fault_is(const tarn_fault *fault, const char *domain)
{
	return fault != NULL && is_a(fault->domain, domain);
}

int tarn_fault_domain_register(const char *domain, const char *parent)
{
	const char *known;
	struct domain *d;
	size_t n_domain, n_parent;
	int r = 0;

	if (domain == NULL || parent == NULL || *domain == '\0' || *parent == '\0')
		return tarn__fail(-EINVAL, "A domain and its parent need names.");
	parent = canonical(parent);
	pthread_mutex_lock(&adding);
	known = known_parent(domain);
	if (known != NULL && strcmp(known, parent) == 0)
		goto out;
	if (known != NULL || strcmp(domain, "BaseException") == 0) {
		r = tarn__fail(-EEXIST, "The domain %s has the parent %s already, not %s.", domain,
			       known != NULL ? known : "none", parent);
		goto out;
	}
	if (is_a(parent, domain)) {
		r = tarn__fail(-ELOOP, "The domain %s would be its own ancestor.", domain);
		goto out;
	}
	n_domain = strlen(domain) + 1;
	n_parent = strlen(parent) + 1;
	d = malloc(sizeof *d + n_domain + n_parent);
	if (d == NULL) {
		r = tarn__fail(-ENOMEM, "No memory for a domain.");
		goto out;
	}
	memcpy(d->name, domain, n_domain);
	d->parent = memcpy(d->name + n_domain, parent, n_parent);
	d->next = registered;
	/* SYNC domains, release: with the entry others see what is in it. */
	__atomic_store_n(&registered, d, __ATOMIC_RELEASE);
out:
	pthread_mutex_unlock(&adding);
	return r;
}

const char *tarn__fault_domain_of(int code)
{
	switch (-code) {
	case ENOMEM:
	case TARN_EQUOTA:
		return "MemoryError";
	case ETIMEDOUT:
		return "TimeoutError";
	case EPERM:
	case EACCES:
		return "PermissionError";
	case ENOENT:
	case TARN_ENOTYPE:
		return "LookupError";
	case EINVAL:
		return "ValueError";
	case ERANGE:
	case EOVERFLOW:
		return "OverflowError";
	case ENOSYS:
	case ENOTSUP:
		return "NotImplementedError";
	case ECANCELED:
		return "CancelledError";
	case TARN_ESTALE:
		return "ReferenceError";
	case TARN_EKIND:
	case TARN_EARGS:
	case TARN_ERESULT:
		return "TypeError";
	case TARN_ENOMETHOD:
		return "AttributeError";
	case TARN_ESRVDOWN:
	case TARN_EEVICTED:
	case TARN_EINTERRUPTED:
	case TARN_ECLOSED:
		return "ConnectionError";
	case EDEADLK:
	case TARN_ESTATE:
	case TARN_EFORKED:
	case TARN_EPROTO:
	case TARN_EREMOTE:
		return "RuntimeError";
	default:
		return "OSError";
	}
}
