/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last words of a server that a signal ends: which call the thread was in. They are for its
 * successor, which tells the caller; where nobody succeeds there is no use for them.
 */
#ifndef TARN_SERVER_CRASH_H
#define TARN_SERVER_CRASH_H

#include "estate.h"

/* Signals that a method may cause and that the program does not handle itself. */
void tarn__crash_watch(struct keeper_page *page);
/* The calling thread is the reactor, and says so if it ends the process. */
void tarn__crash_reactor(void);
/* A signal that comes from what the process did, not from others. */
bool tarn__crash_signal(int signal);

#endif
