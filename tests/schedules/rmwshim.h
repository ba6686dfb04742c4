/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that read and write a word tell the scheduler before they do. */
#ifndef TARN_TESTS_RMWSHIM_H
#define TARN_TESTS_RMWSHIM_H

void ss_rmw(const void *p, unsigned bytes, int order);

/* A macro's own name inside of it is not expanded again. */
#define __atomic_exchange_n(p, v, order) \
	(ss_rmw(p, sizeof *(p), order), __atomic_exchange_n(p, v, order))
#define __atomic_compare_exchange_n(p, seen, v, weak, order, otherwise) \
	(ss_rmw(p, sizeof *(p), order),                                 \
	 __atomic_compare_exchange_n(p, seen, v, weak, order, otherwise))
#define __atomic_fetch_add(p, v, order) (ss_rmw(p, sizeof *(p), order), __atomic_fetch_add(p, v, order))
#define __atomic_fetch_sub(p, v, order) (ss_rmw(p, sizeof *(p), order), __atomic_fetch_sub(p, v, order))
#define __atomic_fetch_or(p, v, order) (ss_rmw(p, sizeof *(p), order), __atomic_fetch_or(p, v, order))
#define __atomic_fetch_and(p, v, order) (ss_rmw(p, sizeof *(p), order), __atomic_fetch_and(p, v, order))

#endif
