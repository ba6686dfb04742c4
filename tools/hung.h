/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that does not answer: its books are read through /proc, by whoever has the right
 * to trace it.
 */
#ifndef TARN_TOOLS_HUNG_H
#define TARN_TOOLS_HUNG_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/server/dump.h"

/* The process that listens under @name, or 0. */
pid_t hung_find(const char *name);

/* True if the process is stopped, by a signal or a debugger. */
bool hung_is_stopped(pid_t pid);

/* True if the process owns the books of some server, of whatever version. Only if it is to
 * be seen. */
bool hung_owns_books(pid_t pid);

/* Copies the books of the server @name, which process @pid runs. -EACCES, -ESRCH; -EBUSY:
 * they change all the time, so it is busy and not hung; -TARN_EVERSION, -TARN_EPROTO. */
int hung_copy(const char *name, pid_t pid, struct dump *ret);

#endif
