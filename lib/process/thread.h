/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_PROCESS_THREAD_H
#define TARN_PROCESS_THREAD_H

#include "tarn/thread.h"

/* A descriptor that is readable when it has ended; belongs to the thread's object. -errno. */
int tarn__thread_fd(tarn_thread *t);
/* Of one that has ended: when, and whether it failed. */
uint64_t tarn__thread_ended_ns(const tarn_thread *t);
bool tarn__thread_failed(const tarn_thread *t);

#endif
