/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cycles: objects and channels that only hold each other (PROTOCOL 3.15).
 */
#ifndef TARN_SERVER_COLLECT_H
#define TARN_SERVER_COLLECT_H

#include "state.h"

struct server;

/* @o lost a claim and lives on: if no client holds it, it may be one of a cycle. Notes that in
 * the process's memory. */
void tarn__suspect(struct state *st, const struct object *o);
/* The same of all there are: a successor knows of no suspects. */
void tarn__suspect_all(struct state *st);

/*
 * Looks for cycles among the suspects and what they lead to, and ends those that nobody can
 * reach. Between epochs. Commits by itself. True if it ended something or is not done. @idle:
 * there is nothing better to do.
 */
bool tarn__collect(struct server *s, bool idle);

/* What nothing but edges and tickets among themselves holds: calls @fn for each object. For
 * `tarn leaks`; changes nothing. -ENOMEM, also when more than @budget references would have to
 * be looked at. */
int tarn__unreachable(const struct state *st, uint32_t budget,
		      void (*fn)(void *arg, const struct object *o), void *arg);

#endif
