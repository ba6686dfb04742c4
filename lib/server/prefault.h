/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARN_SERVER_PREFAULT_H
#define TARN_SERVER_PREFAULT_H

#include "server.h"

struct prefault;

int tarn__prefault_open(struct server *s, struct prefault **ret);
/* Reactor, between transactions: has the next range made ready if warm memory is short. */
void tarn__prefault_want(struct prefault *p);
/* A range is out: it comes back soon, and may be what a request needs. NULL is allowed. */
bool tarn__prefault_busy(const struct prefault *p);
/* Waits for the thread. NULL is allowed. */
struct prefault *tarn__prefault_close(struct prefault *p);

#endif
