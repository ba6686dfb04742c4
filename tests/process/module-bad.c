/* SPDX-License-Identifier: Apache-2.0 */
/* A module whose load() registers a type by itself, and then fails. */
#include <errno.h>

#include <tarn/type.h>

static const tarn_type listed = { .name = "Listed" }, own = { .name = "Own" };
static const tarn_type *const types[] = { &listed, NULL };

static int load(tarn_registry *registry)
{
	int r = tarn_type_register(registry, &own);

	return r < 0 ? r : -EBUSY;
}

TARN_MODULE(types, load)
