/* SPDX-License-Identifier: Apache-2.0 */
/* What executor.c and direct.c share: contexts on an executor's thread. */
#ifndef TARN_HOST_EXECUTOR_H
#define TARN_HOST_EXECUTOR_H

#include "pool.h"

/* A reference on @id, which may be of any kind. Inside the lane. -TARN_ESTALE. */
int tarn__grab(struct tarn__lane *l, uint64_t id, struct tarn_block **ret);

/* The handle's reference ends with the method; on failure at once. */
int tarn__exec_own(struct tarn_context *ctx, struct tarn_block *handle);

/* The method is over: what it held and dropped is said, or forgotten. Inside the lane. */
int tarn__exec_over(struct tarn__lane *l, struct tarn_context *ctx, bool succeeded);

/* Drops the handles that end with the method. Inside the lane. */
void tarn__exec_fini(struct tarn__lane *l, struct tarn_context *ctx);

#endif
