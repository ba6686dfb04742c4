/* SPDX-License-Identifier: Apache-2.0 */
/* How the library reports a failure: code and sentence into the thread's tarn_error. */
#ifndef TARN_LIB_ERROR_H
#define TARN_LIB_ERROR_H

#include <errno.h>
#include <stdint.h>

#include "tarn/error.h"

/* Records @code (negative) with a sentence and returns it: return tarn__fail(-EINVAL, ...). */
int tarn__fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with a fixed short sentence: for outcomes that callers may poll for. */
int tarn__fail_static(int code, const char *sentence);

/* The code of a wait in vain of @timeout_ns, by the rule of tarn/client.h: -EAGAIN for who only looked (0). */
static inline int tarn__late(int64_t timeout_ns)
{
	return timeout_ns == 0 ? -EAGAIN : -ETIMEDOUT;
}
/* What came of such a wait, which may have failed by either of these; the sentence stays. Other codes pass. */
int tarn__fail_late(int r, int64_t timeout_ns);
/* The same with a sentence: "@what", or "@what, after 1.000 s of waiting." */
int tarn__fail_waited(int r, int64_t timeout_ns, const char *what);

/* A failure's code, which the compiler may take for negative: it then sees that whoever looks at r < 0 has
 * what a function fills in when it does not fail. */
static inline int tarn__negative(int code)
{
	if (code >= 0)
		__builtin_unreachable();
	return code;
}
#define tarn__fail(...) tarn__negative(tarn__fail(__VA_ARGS__))
#define tarn__fail_static(code, sentence) tarn__negative(tarn__fail_static(code, sentence))

/* The thread's last failure was somebody else's: a code that comes from now on without a sentence of its
 * own is not explained with that one's. */
void tarn__fail_forget(void);

#endif
