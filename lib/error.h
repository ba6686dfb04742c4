/* SPDX-License-Identifier: Apache-2.0 */
/* How the library reports a failure: code and sentence into the thread's tarn_error. */
#ifndef TARN_LIB_ERROR_H
#define TARN_LIB_ERROR_H

#include "tarn/error.h"

/* Records @code (negative) with a sentence and returns it: return tarn__fail(-EINVAL, ...). */
int tarn__fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with a fixed short sentence: for outcomes that callers may poll for. */
int tarn__fail_static(int code, const char *sentence);

/* What came of a wait of @timeout_ns, by the rule of tarn/client.h: -EAGAIN for who only looked (0), else
 * -ETIMEDOUT; the sentence stays. Other codes pass. */
int tarn__fail_late(int r, int64_t timeout_ns);

/* The thread's last failure was somebody else's: a code that comes from now on without a sentence of its
 * own is not explained with that one's. */
void tarn__fail_forget(void);

#endif
