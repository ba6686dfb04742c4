/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Behind shim.h, for the library that runs as coroutines: what else a thread can do that another
 * one sees, or waits for, is the scheduler's.
 */
#ifndef TARN_TESTS_SCHEDSHIM_H
#define TARN_TESTS_SCHEDSHIM_H

/* First, so that the names below mean the library's uses alone. */
#define revoke libc_revoke /* a name that the library uses for its own */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#undef revoke

#include "tests/shim/shim.h"

void ss_fence(int order);
int ss_mutex_lock(pthread_mutex_t *m);
int ss_mutex_unlock(pthread_mutex_t *m);
int ss_key_create(pthread_key_t *key, void (*destructor)(void *));
int ss_key_delete(pthread_key_t key);
void *ss_getspecific(pthread_key_t key);
int ss_setspecific(pthread_key_t key, const void *value);
void *ss_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int ss_munmap(void *p, size_t bytes);
int ss_madvise(void *p, size_t bytes, int advice);
int ss_yield(void);
int ss_poll(struct pollfd *p, nfds_t n, int timeout);
ssize_t ss_write(int fd, const void *bytes, size_t n);
ssize_t ss_pread(int fd, void *bytes, size_t n, off_t at);
ssize_t ss_pwrite(int fd, const void *bytes, size_t n, off_t at);
int ss_close(int fd);
int ss_clock_gettime(clockid_t clock, struct timespec *ret);

#include "rmwshim.h"
#define __atomic_thread_fence(order) ss_fence(order)
#define pthread_mutex_unlock ss_mutex_unlock
#define pthread_mutex_lock ss_mutex_lock
#define pthread_key_create ss_key_create
#define pthread_key_delete ss_key_delete
#define pthread_getspecific ss_getspecific
#define pthread_setspecific ss_setspecific
#define mmap ss_mmap
#define munmap ss_munmap
#define madvise ss_madvise
#define sched_yield ss_yield
#define poll ss_poll
#define write ss_write
#define pread ss_pread
#define pwrite ss_pwrite
#define close ss_close
#define clock_gettime ss_clock_gettime

#endif
