/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does it cost to take and release something that nobody else wants? Locks that survive the death
 * of whoever has them, beside the C library's mutexes for several processes.
 */
#include <pthread.h>
#include <stdio.h>

#include "arena.h"
#include "report.h"

static struct mutexes {
	pthread_mutex_t plain, robust;
	uint64_t word __attribute__((aligned(128)));
} * mutexes;

static void must(int error, const char *what)
{
	if (error != 0)
		die("%s: error %d", what, error);
}

static void mutexes_init(void)
{
	pthread_mutexattr_t a;

	mutexes = shared_memory(sizeof *mutexes);
	must(pthread_mutexattr_init(&a), "attributes");
	must(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "shared");
	must(pthread_mutex_init(&mutexes->plain, &a), "a mutex");
	must(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST), "robust");
	must(pthread_mutex_init(&mutexes->robust, &a), "a robust mutex");
}

#define TIME(n, take, release)                              \
	({                                                  \
		uint64_t from_ = ticks();                   \
		for (uint64_t i_ = 0; i_ < (n); i_++) {     \
			take;                               \
			release;                            \
		}                                           \
		ticks_to_ns(ticks() - from_) / (double)(n); \
	})

static double time_mutex(pthread_mutex_t *m, uint64_t n)
{
	return TIME(n, must(pthread_mutex_lock(m), "lock"),
		    must(pthread_mutex_unlock(m), "unlock"));
}

static void measure(unsigned round, tarn_client *c)
{
	static const char row[] = "take and release, nobody else there";
	uint64_t n = often(1000000);
	tarn_object *lock, *rlock, *sem;

	check(tarn_lock_new(c, 0, &lock), "a lock");
	check(tarn_rlock_new(c, 0, &rlock), "a recursive lock");
	check(tarn_sem_new(c, 1, &sem), "a semaphore");
	check(tarn_lock_acquire(lock, TARN_FOREVER), "lock"); /* the types are known from here on */
	check(tarn_lock_release(lock), "unlock");
	run_begin(round, true);
	pin(bench.cpu[0]);
	record(row, "two locked adds", "ns",
	       TIME(n, __atomic_fetch_add(&mutexes->word, 1, __ATOMIC_ACQUIRE),
		    __atomic_fetch_sub(&mutexes->word, 1, __ATOMIC_RELEASE)),
	       NULL);
	record(row, "pthread, robust", "ns", time_mutex(&mutexes->robust, n), NULL);
	record(row, "pthread", "ns", time_mutex(&mutexes->plain, n), NULL);
	record(row, "Lock", "ns",
	       TIME(n, check(tarn_lock_acquire(lock, TARN_FOREVER), "lock"),
		    check(tarn_lock_release(lock), "unlock")),
	       "pthread, robust");
	record(row, "RLock", "ns",
	       TIME(n, check(tarn_rlock_acquire(rlock, TARN_FOREVER), "lock"),
		    check(tarn_rlock_release(rlock), "unlock")),
	       "pthread, robust");
	record(row, "Semaphore", "ns",
	       TIME(n, check(tarn_sem_acquire(sem, TARN_FOREVER), "acquire"),
		    check(tarn_sem_release(sem, 1), "release")),
	       "pthread, robust");
	unpin();
	bool again = run_again();
	tarn_object_unref(lock);
	tarn_object_unref(rlock);
	tarn_object_unref(sem);
	if (again)
		measure(round, c);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "lock",
		.question = "What does it cost to take and release a lock or a semaphore that "
			    "nobody else wants?",
		.rounds = 7,
	};

	bench_start(argc, argv, &about);
	mutexes_init();
	arena_start(UINT64_C(64) << 20);
	tarn_client *c = attach();

	for (unsigned r = 0; r < bench.rounds; r++)
		measure(r, c);
	tarn_client_close(c);
	arena_stop();
	report();
	return 0;
}
