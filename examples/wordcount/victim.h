/* SPDX-License-Identifier: Apache-2.0 */
/* What the server's books say about one client, before and after its death. */
#ifndef WORDCOUNT_VICTIM_H
#define WORDCOUNT_VICTIM_H

#include <tarn/tarn.h>

#include "wordcount/show.h"

/* Fills in what the client in process @pid holds. Returns the client's number, 0 if there is none in
 * that process, or a negative code. */
int victim_look(tarn_inspector *inspector, int pid, struct victim *victim);

/* Waits until the server has forgotten the client in process @pid, and counts what is still
 * booked on its number @client. -ETIMEDOUT if it is not forgotten. */
int victim_wait(tarn_inspector *inspector, int pid, int client, struct victim *victim);

#endif
