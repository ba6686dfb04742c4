/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By -include, for the library that runs as coroutines: atomic operations of the compiler that are not written with
 * shm/base.h go by way of the scheduler, loads and stores as a whole, and those that read and write
 * around what is done in place. The program's ss_rmw() or ss_access() comes first, where another may go on.
 */
#ifndef TARN_TESTS_RMWSHIM_H
#define TARN_TESTS_RMWSHIM_H

#include <stdbool.h>
#include <stdint.h>

void ss_rmw(const void *p, unsigned bytes, int order);
void ss_access(const volatile void *p, int order);
/* Of what ss_rmw() began. @order: of its failure, if it stored nothing. */
void sched_rmw_end(int order, bool stored);
/* True: it fails, because it sees an old value, which is in *@seen now. */
bool sched_swap_misses(const void *p, unsigned bytes, void *seen, int order);
uint64_t sched_atomic_load(const volatile void *p, unsigned bytes, int order);
void sched_atomic_store(volatile void *p, unsigned bytes, uint64_t v, int order);

/* A macro's own name inside of it is not expanded again. */
#define TARN__RMW(p, order, operation)                \
	__extension__({                               \
		ss_rmw(p, sizeof *(p), order);        \
		__auto_type tarn__was = (operation);  \
		sched_rmw_end(order, true);           \
		tarn__was;                            \
	})
#define __atomic_exchange_n(p, v, order) TARN__RMW(p, order, __atomic_exchange_n(p, v, order))
#define __atomic_fetch_add(p, v, order) TARN__RMW(p, order, __atomic_fetch_add(p, v, order))
#define __atomic_fetch_sub(p, v, order) TARN__RMW(p, order, __atomic_fetch_sub(p, v, order))
#define __atomic_fetch_or(p, v, order) TARN__RMW(p, order, __atomic_fetch_or(p, v, order))
#define __atomic_fetch_and(p, v, order) TARN__RMW(p, order, __atomic_fetch_and(p, v, order))
#define __atomic_add_fetch(p, v, order) TARN__RMW(p, order, __atomic_add_fetch(p, v, order))
#define __atomic_sub_fetch(p, v, order) TARN__RMW(p, order, __atomic_sub_fetch(p, v, order))
#define __atomic_compare_exchange_n(p, seen, v, weak, order, otherwise)                            \
	__extension__({                                                                            \
		ss_rmw(p, sizeof *(p), order);                                                     \
		bool tarn__done = !sched_swap_misses(p, sizeof *(p), seen, otherwise) &&           \
				  __atomic_compare_exchange_n(p, seen, v, weak, order, otherwise); \
		sched_rmw_end(tarn__done ? (order) : (otherwise), tarn__done);                     \
		tarn__done;                                                                        \
	})
#define __atomic_load_n(p, order) \
	((__typeof__(__atomic_load_n(p, order)))(ss_access(p, order), sched_atomic_load(p, sizeof *(p), order)))
#define __atomic_store_n(p, v, order) \
	(ss_access(p, order), sched_atomic_store(p, sizeof *(p), (uint64_t)(v), order))

#endif
