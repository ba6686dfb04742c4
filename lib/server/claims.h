/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The book of claims: one hash table in META for further holders of objects and for
 * tickets of channels (see struct claim). Adding never fails for honest clients: room is
 * promised beforehand, when credits, lanes and channels are handed out (H18, I19).
 */
#ifndef TARN_SERVER_CLAIMS_H
#define TARN_SERVER_CLAIMS_H

#include "state.h"

void tarn__claims_init(struct state *st);

/* Makes room for @more claims on top of all promises so far; -ENOSPC, -ENOMEM. Part of the
 * caller's transaction. */
int tarn__claims_promise(struct state *st, uint64_t more);
void tarn__claims_unpromise(struct state *st, uint64_t fewer);

/* NULL if there is none. */
struct claim *tarn__claim_find(const struct state *st, uint64_t who, uint64_t what);
/* The pair must not be in the book. -ENOSPC, -ENOMEM: beyond the promises. */
int tarn__claim_add(struct state *st, uint64_t who, uint64_t what, uint64_t value);
void tarn__claim_drop(struct state *st, struct claim *claim);

/* Findings of a check of the structure itself. */
int tarn__claims_verify(const struct state *st, void (*say)(void *, const char *), void *arg);

#endif
