/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks: the public face of handles.
 *
 * The two functions at the top are the hot path, on one screen: allocation pops a granted
 * block from the thread's cache, the last drop of a block that nobody was told of pushes
 * it back. No message, no lock, no locked instruction, no system call.
 */
#include "tarn/block.h"

#include <stdio.h>
#include <string.h>

#include "channel.h"
#include "handle.h"

int tarn_block_new(tarn_client *client, size_t size, unsigned flags, tarn_block **ret_block)
{
	struct tarn__lane *l = tarn__lane_mine(client);

	if (tarn__likely(l != NULL && flags == 0 && size - 1 < TARN__SMALL_MAX && !TARN__ASAN)) {
		unsigned at = tarn__class_of(size);
		struct tarn__bin *bin = &l->cache.bin[at];

		/* First inside, then a look: a signal handler's drop may empty the bin. */
		if (tarn__likely(tarn__lane_try(l))) {
			if (tarn__likely(bin->n > bin->low)) {
				struct tarn_block *b = tarn__cache_pop(&l->cache, bin);

				b->refs = 1; /* plain: not yet anybody else's */
				b->size = size;
				tarn__lane_leave(l);
				*ret_block = b;
				return 0;
			}
			tarn__lane_leave(l);
		}
	}
	return tarn__block_new_slow(client, size, flags, ret_block);
}

tarn_block *tarn_block_unref(tarn_block *block)
{
	if (tarn__unlikely(block == NULL))
		return NULL;
	/* SYNC refs, acquire: one reference, no flags: the caller is the only holder of a
	 * block that nobody was told of, and sees what earlier holders did. */
	uint64_t refs = tarn__load_acquire(&block->refs);

	if (tarn__likely(refs == 1)) {
		struct tarn__lane *l = tarn__lane_mine(block->client);

		if (tarn__likely(l != NULL && !l->cache.slow_free && tarn__lane_try(l))) {
			if (tarn__unlikely(!tarn__cache_push(&l->cache, block)))
				tarn__cache_trim(l, block->bin);
			tarn__lane_leave(l);
			return NULL;
		}
	} else if (refs == REF_ONLY_DEFERRED && !TARN__ASAN) {
		struct tarn__lane *l = tarn__lane_mine(block->client);

		if (tarn__likely(l != NULL && tarn__lane_try(l))) {
			bool done = tarn__deferred_drop(l, block);

			tarn__lane_leave(l);
			if (tarn__likely(done))
				return NULL;
		}
	}
	tarn__handle_drop(block);
	return NULL;
}

tarn_block *tarn_block_ref(tarn_block *block)
{
	/* Relaxed: the caller holds a reference, so the block cannot go meanwhile. */
	__atomic_fetch_add(&block->refs, 1, __ATOMIC_RELAXED);
	return block;
}

/* ---- allocation that is not warm ---- */

static int check_size(tarn_client *client, size_t size)
{
	if (tarn__forked(client))
		return tarn__fail_forked();
	if (size == 0)
		return tarn__fail(-EINVAL, "A block of 0 bytes was asked for; the smallest is 1.");
	if (size > client->data_bytes)
		return tarn__fail(-EINVAL, "A block of %zu bytes was asked for; the whole arena has "
				  "%llu. Start the server with a larger size (tarnd --size).", size,
				  (unsigned long long)client->data_bytes);
	return 0;
}

static int get(tarn_client *client, uint64_t size, unsigned flags, uint64_t align,
	       int64_t timeout_ns, int64_t patience_ns, tarn_block **ret)
{
	struct tarn__lane *l;
	struct tarn_block *b;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	if (tarn__backlog_any(client))
		tarn__backlog_post(l);
	r = tarn__cache_get(l, size, align, timeout_ns, patience_ns, &b);
	if (r == 0 && l->cache.bin[b->bin].n <= l->cache.bin[b->bin].low &&
	    l->cache.bin[b->bin].batch != 0)
		tarn__cache_ahead(l, b->bin);
	tarn__lane_leave(l);
	if (r < 0)
		return r;
	if (flags & TARN_BLOCK_ZEROED)
		memset(b->data, 0, size);
	*ret = b;
	return 0;
}

int tarn__block_new_slow(tarn_client *client, size_t size, unsigned flags, tarn_block **ret)
{
	int r = check_size(client, size);

	if (r < 0)
		return r;
	if (flags & ~(unsigned)TARN_BLOCK_ZEROED)
		return tarn__fail(-EINVAL, "Unknown flags 0x%x for a block; TARN_BLOCK_ZEROED is "
				  "the only one.", flags);
	return get(client, size, flags, TARN__LINE, 0, TARN__HUNG_NS, ret);
}

int tarn__block_new_patient(tarn_client *client, size_t size, int64_t timeout_ns, tarn_block **ret)
{
	int r = check_size(client, size);

	return r < 0 ? r : get(client, size, 0, TARN__LINE, 0, tarn__patience_for(timeout_ns), ret);
}

int tarn_block_new_with(tarn_client *client, size_t size, const tarn_block_options *options,
			tarn_block **ret_block)
{
	static const tarn_block_options none;
	const tarn_block_options *o = options != NULL ? options : &none;
	uint64_t align = o->align > TARN__LINE ? o->align : TARN__LINE;
	uint64_t bytes = size;
	tarn_block *b;
	int r = check_size(client, size);

	if (r < 0)
		return r;
	if (o->flags & ~(unsigned)TARN_BLOCK_ZEROED)
		return tarn__fail(-EINVAL, "Unknown flags 0x%x for a block; TARN_BLOCK_ZEROED is "
				  "the only one.", o->flags);
	if ((o->align != 0 && !tarn__is_power_of_two(o->align)) || align > TARN__ALIGN_MAX)
		return tarn__fail(-EINVAL, "Alignment %zu: it must be a power of two up to %llu.",
				  o->align, (unsigned long long)TARN__ALIGN_MAX);
	if (align > client->data_bytes)
		return tarn__fail(-EINVAL, "Alignment %zu: the whole arena has %llu bytes.", o->align,
				  (unsigned long long)client->data_bytes);
	r = tarn__place_check(o);
	if (r < 0)
		return r;
	if (o->huge && size >= TARN__HUGE_PAGE && align < TARN__HUGE_PAGE)
		align = TARN__HUGE_PAGE;
	if (o->numa_node > 0) {
		/* Pages of its own: a policy belongs to whole pages. */
		align = align < tarn__os_page() ? tarn__os_page() : align;
		bytes = tarn__round_up(bytes, tarn__os_page());
	}
	r = get(client, bytes, 0, align, o->timeout_ns, o->timeout_ns < 0 ? TARN__FOREVER : TARN__HUNG_NS, &b);
	if (r < 0)
		return r;
	b->size = size;
	r = tarn__place(b, o);
	if (r < 0) {
		tarn_block_unref(b);
		return r;
	}
	if (o->flags & TARN_BLOCK_ZEROED)
		memset(b->data, 0, size);
	*ret_block = b;
	return 0;
}

/* ---- facts ---- */

void *tarn_block_data(const tarn_block *block)
{
	/* SYNC sealed-map, acquire: sealing replaces it by another address of the same bytes,
	 * which is mapped then. */
	return __atomic_load_n(&block->data, __ATOMIC_ACQUIRE);
}

size_t tarn_block_size(const tarn_block *block)
{
	return tarn__load_relaxed(&block->size);
}

size_t tarn_block_capacity(const tarn_block *block)
{
	/* A slice has nothing but what it shows. */
	return tarn__refs(block) & REF_SLICE ? tarn_block_size(block) : block->capacity;
}

uint64_t tarn_block_id(const tarn_block *block)
{
	return block->id;
}

bool tarn_block_sealed(const tarn_block *block)
{
	return (tarn__refs(tarn__whole(block)) & REF_SEALED) != 0;
}

int tarn_block_format(const tarn_block *block, char *text, size_t bytes)
{
	const struct tarn_client *c = block->client;
	const struct tarn_block *whole = tarn__whole(block);
	unsigned long long offset = 0;

	if (!tarn__forked(c) && tarn__id_index(whole->id) < c->dir_entries)
		offset = tarn__load_relaxed(&c->dir[tarn__id_index(whole->id)].offset);
	if (whole != block)
		return snprintf(text, bytes, "<slice of block %u:%llu at 0x%llx, offset %llu, size %zu>",
				tarn__id_index(block->id),
				(unsigned long long)tarn__id_generation(block->id), offset,
				(unsigned long long)tarn__slice_offset(block), tarn_block_size(block));
	return snprintf(text, bytes, "<block %u:%llu at 0x%llx, size %zu%s>",
			tarn__id_index(block->id),
			(unsigned long long)tarn__id_generation(block->id), offset,
			tarn_block_size(block), tarn_block_sealed(block) ? ", sealed" : "");
}

/* ---- changing it ---- */

int tarn_block_resize(tarn_block *block, size_t size)
{
	struct tarn_client *c = block->client;
	struct tarn__lane *l;
	int r;

	if (tarn__forked(c))
		return tarn__fail_forked();
	if (tarn__refs(block) & REF_SLICE)
		return tarn__fail(-EINVAL, "A slice cannot be resized; make another slice of its "
				  "block.");
	if (tarn__refs(block) & REF_SEALED)
		return tarn__fail(-EPERM, "The block is sealed: its contents and size are final.");
	if (size == 0)
		return tarn__fail(-EINVAL, "A block cannot be resized to 0 bytes.");
	if (size > block->capacity)
		return tarn__fail(-ENOSPC, "The block can grow to %llu bytes where it lies, and a "
				  "block never moves; %zu were asked for. Copy into a new one.",
				  (unsigned long long)block->capacity, size);
	if (tarn__refs(block) & REF_SHARED) {
		r = tarn__lane_enter(c, &l);
		if (r < 0)
			return r;
		r = tarn__say_block(l, TARN__MSG_RESIZE, block, size);
		tarn__lane_leave(l);
		if (r < 0)
			return r;
	}
	tarn__hide(block->data, block->capacity);
	tarn__store_relaxed(&block->size, size);
	tarn__show(block->data, size);
	return 0;
}
