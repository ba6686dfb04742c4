/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put in front of everything in a library that only a test links: an id lives a few times
 * instead of 2^36, so that indices are retired all the time (T13).
 */
#ifndef TARN_TESTS_LIVES_H
#define TARN_TESTS_LIVES_H

#include "shm/id.h"

#undef TARN__GENERATION_MAX
#define TARN__GENERATION_MAX 40ull

#endif
