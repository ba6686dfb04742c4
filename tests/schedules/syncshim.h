/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By -include, for lib/types as coroutines (test-sync.c): every access to a shared word is a place
 * where another may go on, sleeping and waking are the scheduler's, and who acts on what is the
 * test's. Nobody ever looks again after a slice of time: a wake that is lost stays lost.
 */
#ifndef TARN_TESTS_SYNCSHIM_H
#define TARN_TESTS_SYNCSHIM_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/shim/shim.h"

#include "rmwshim.h"

#include "shm/wake.h"

int sync_futex_wait(const uint32_t *word, uint32_t value);
int sync_futex_wake(const uint32_t *word, int n);
#define tarn__futex_wait(word, value, deadline) ((void)(deadline), sync_futex_wait((word), (value)))
#define tarn__futex_wake sync_futex_wake
#define tarn__now() UINT64_C(0)
#define tarn__spin_pause(round) ((void)(round))

#include "lib/types/actor.h"

uint32_t sync_actor(void);
void *sync_instance(void);
#define tarn__actor(client) ((void)(client), sync_actor())
#define tarn__object_instance(object, type) ((void)(object), (void)(type), sync_instance())
#define tarn__client_health(client, lane) ((void)(client), (void)(lane), 0)

#endif
