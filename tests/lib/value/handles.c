/* SPDX-License-Identifier: Apache-2.0 */
#include "handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"

struct handle handles[N_HANDLES];

static struct handle *handle_of(const struct tarn_block *b)
{
	return (struct handle *)(uintptr_t)b;
}

static void ref(struct tarn_block *b)
{
	handle_of(b)->refs++;
}

static void unref(struct tarn_block *b)
{
	if (handle_of(b)->refs-- == 0)
		abort();
}

static enum tarn_kind kind_of(const struct tarn_block *b)
{
	return handle_of(b)->kind;
}

static bool same(const struct tarn_block *a, const struct tarn_block *b)
{
	return a == b;
}

static int format(const struct tarn_block *b, char *text, size_t bytes)
{
	return snprintf(text, bytes, "<%s %d>", tarn_kind_name(kind_of(b)),
			(int)(handle_of(b) - handles));
}

void handles_init(void)
{
	for (unsigned i = 0; i < N_HANDLES; i++)
		handles[i] = (struct handle){ 1, (enum tarn_kind)(TARN_KIND_BLOCK + i % 3) };
	tarn__value_hooks = (struct tarn__value_hooks){ ref, unref, kind_of, same, format };
}

static void *of(unsigned index, enum tarn_kind kind)
{
	if (index >= N_HANDLES || handles[index].kind != kind)
		abort();
	return &handles[index];
}

tarn_block *block_of(unsigned index)
{
	return of(index, TARN_KIND_BLOCK);
}

tarn_object *object_of(unsigned index)
{
	return of(index, TARN_KIND_OBJECT);
}

tarn_channel *channel_of(unsigned index)
{
	return of(index, TARN_KIND_CHANNEL);
}

int handles_held(void)
{
	int n = 0;

	for (unsigned i = 0; i < N_HANDLES; i++)
		n += handles[i].refs - 1;
	return n;
}

int handles_resolve(void *user, const char *reference, tarn_builder *builder)
{
	char kind[16];
	unsigned i;

	(void)user;
	if (sscanf(reference, "%15s %u", kind, &i) != 2 || i >= N_HANDLES)
		return tarn__fail(-ENOENT, "No handle '%s'.", reference);
	return tarn__put_handle(builder, handles[i].kind, (struct tarn_block *)&handles[i]);
}
