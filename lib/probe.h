/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes for perf, bpftrace and SystemTap (USDT): a no-op instruction each, and a note in the
 * ELF file that tells where it is and where its arguments are. Without sys/sdt.h (option
 * usdt) they are nothing. docs/observability.md lists them; a test compares.
 *
 * Arguments must be at hand: they are evaluated in either case, or not at all.
 */
#ifndef TARN_PROBE_H
#define TARN_PROBE_H

#ifdef TARN_USDT
#include <sys/sdt.h>
#define TARN__PROBE1(name, a) STAP_PROBE1(tarn, name, a)
#define TARN__PROBE2(name, a, b) STAP_PROBE2(tarn, name, a, b)
#define TARN__PROBE3(name, a, b, c) STAP_PROBE3(tarn, name, a, b, c)
#define TARN__PROBE4(name, a, b, c, d) STAP_PROBE4(tarn, name, a, b, c, d)
#else
/* sizeof: used for the compiler, never evaluated. */
#define TARN__PROBE1(name, a) ((void)sizeof(a))
#define TARN__PROBE2(name, a, b) (TARN__PROBE1(name, a), TARN__PROBE1(name, b))
#define TARN__PROBE3(name, a, b, c) (TARN__PROBE2(name, a, b), TARN__PROBE1(name, c))
#define TARN__PROBE4(name, a, b, c, d) (TARN__PROBE3(name, a, b, c), TARN__PROBE1(name, d))
#endif

/* Around a call of a method: the caller's side of both. @pending tells which answer is whose: of a
 * call in the background it is the tarn_pending, else NULL, and the thread waits. */
#define TARN__PROBE_CALL_BEGIN(object, method, pending) \
	TARN__PROBE3(call_begin, object, method, pending)
#define TARN__PROBE_CALL_END(pending, error) TARN__PROBE2(call_end, pending, error)

#endif
