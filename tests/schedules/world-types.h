/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of Tarn's own types in a world (world.h): what the server runs of them runs on its thread. */
#ifndef TARN_TESTS_WORLD_TYPES_H
#define TARN_TESTS_WORLD_TYPES_H

#include "world.h"

/* Behind world_open(), and behind world_close(). */
void world_types_open(void);
void world_types_close(void);

/* A new object, with @args, and a handle of it for each of the @n first clients; in the caller's context. Which
 * type it is of is known to them from then on, and so nobody has to ask for that. */
void world_object(const tarn_type *type, const tarn_builder *args, unsigned n, tarn_object **ret);
/* Where it lies. */
void *world_instance(const tarn_object *object, const tarn_type *type);

/* Process @client dies where it is, unless @*done, and the server sees to what it leaves until nothing of it is
 * left. The caller's thread is the server's. */
void world_reap(unsigned client, const bool *done);

#endif
