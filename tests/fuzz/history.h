/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz-lanes says of its work, and what it has given to the server in hand so far: an input that
 * finds something may need those before it.
 */
#ifndef TARN_TESTS_FUZZ_HISTORY_H
#define TARN_TESTS_FUZZ_HISTORY_H

#include <stddef.h>

/* As the environment says. Does not return if a history is to be given again. */
void history_open(void);
/* An input is about to be given. */
void history_add(const unsigned char *data, size_t bytes);
/* The next one is the first of its server. */
void history_clear(void);
/* An input is over: says how far it is, now and then, and ends when that is far enough. */
void history_report(void);

#endif
