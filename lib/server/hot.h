/* SPDX-License-Identifier: Apache-2.0 */
/* The short way of the commonest messages, see hot.c. */
#ifndef TARN_SERVER_HOT_H
#define TARN_SERVER_HOT_H

#include "server.h"

/* Phase A of the messages at the head of lane @v that can go the short way, a batch at most:
 * effects and cursor in one transaction. How many; 0: the next one goes the other way, or
 * there is none. */
uint32_t tarn__hot_read(struct server *s, struct lane_view *v);
/* Phase A of the CALLs of inline methods at the head of lane @v, the same; but each is a transaction of
 * its own (hot-call.c). */
uint32_t tarn__hot_calls(struct server *s, struct lane_view *v);
/* Phase B of the next entries of the older buffer, the same. */
uint64_t tarn__hot_apply_older(struct server *s);
/* What is booked on a client that is being reclaimed in the next lines of the table, from its cursor on: blocks
 * of which nothing but the commonest is true. Effects and cursor are one transaction. How many lines; 0: the
 * next one goes the other way. *@changed grows by those where something was. */
uint32_t tarn__hot_reclaim(struct server *s, uint32_t client, uint32_t *changed);

#endif
