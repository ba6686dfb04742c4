/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executors: threads of the server that run what may take long. Each is a thread of one ordinary
 * client, with a lane; results are messages.
 */
#ifndef TARN_HOST_POOL_H
#define TARN_HOST_POOL_H

#include "context.h"

struct pool;

struct pool *tarn__pool_new(struct host *h, uint32_t max_executors);
/* Ends all executors, waiting up to @timeout_ns for methods that run. False: some still run. */
bool tarn__pool_stop(struct pool *p, int64_t timeout_ns);
void tarn__pool_free(struct pool *p); /* NULL is allowed */

void tarn__pool_submit(struct tarn__host *host, struct tarn__job *job);
void tarn__pool_cancel(struct tarn__host *host, struct tarn__job *job);

#endif
