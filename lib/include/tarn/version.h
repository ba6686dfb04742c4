/* SPDX-License-Identifier: Apache-2.0 */
/* What this header set is, and what the linked library is. */
#ifndef TARN_VERSION_H
#define TARN_VERSION_H

#define TARN_VERSION_MAJOR 0
#define TARN_VERSION_MINOR 1
#define TARN_VERSION_PATCH 0

#define TARN_EXPORT __attribute__((visibility("default")))

/* A variable that gives its reference back at the end of its scope, by whichever way:
 *	TARN_AUTO(tarn_server) s = NULL;
 * For every type with a function TYPE_auto(). */
#define TARN_AUTO(type) __attribute__((cleanup(type##_auto))) type *

#ifdef __cplusplus
#define TARN_BEGIN extern "C" {
#define TARN_END }
#else
#define TARN_BEGIN
#define TARN_END
#endif

TARN_BEGIN
/* "0.1.0" of the library that is linked. Any thread; never fails. */
TARN_EXPORT const char *tarn_version(void);
TARN_END

#endif
