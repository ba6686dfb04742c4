/* SPDX-License-Identifier: Apache-2.0 */
/* What registries and the catalogs of servers share. */
#ifndef TARN_HOST_REGISTRY_H
#define TARN_HOST_REGISTRY_H

#include <stdio.h>

#include "lib/host.h"

/* One registration, counted: registry and catalogs. */
struct tarn__entry {
	unsigned refs;        /* atomic */
	uint32_t withdrawn;   /* SYNC entry: it was unregistered */
	const tarn_type *type;
	struct tarn__entry *next; /* whose name falls into the same bucket: of its registry, under that one's lock */
};

struct tarn__entry *tarn__entry_new(const tarn_type *type); /* NULL: no memory */
struct tarn__entry *tarn__entry_ref(struct tarn__entry *e);
void tarn__entry_unref(struct tarn__entry *e); /* NULL is allowed */

/* A snapshot, each with a reference of the caller's. */
int tarn__registry_entries(tarn_registry *registry, struct tarn__entry ***ret, unsigned *ret_n);

/* Bytes of a field by its letter; 0: there is no such letter. */
size_t tarn__field_bytes(char letter);

/* TARN__METHOD_DESCRIBE, and getters and setters of fields (context.c). */
int tarn__describe(tarn_context *ctx, void *self);
int tarn__field_get(tarn_context *ctx, void *self);
int tarn__field_set(tarn_context *ctx, void *self);

#endif
