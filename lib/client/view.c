/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other ways to see a block: slices, sealed (read-only) and copy-on-write views.
 *
 * A slice is a handle of its own whose next is the parent, so it keeps the parent alive and
 * the server never hears of it. Sealing maps DATA a second time, read-only and as a whole,
 * once per client; a sealed block's address lies there, so that a write through it faults in
 * the writer alone and costs no mapping per block.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "block.h"

/* ---- slices ---- */

struct tarn_block *tarn__slice_new(struct tarn__lane *l, struct tarn_block *parent,
				   uint64_t offset, uint64_t length)
{
	struct tarn_block *s = tarn__handle_new(l);

	if (s == NULL)
		return NULL;
	*s = (struct tarn_block){
		.refs = 1 | REF_SLICE,
		.client = parent->client,
		.data = (unsigned char *)tarn_block_data(parent) + offset,
		.size = length,
		.id = parent->id,
		.capacity = offset,
		.next = parent,
	};
	return s;
}

int tarn_block_slice(tarn_block *block, size_t offset, size_t length, tarn_block **ret_slice)
{
	struct tarn_client *c = block->client;
	struct tarn_block *whole = tarn__whole(block), *s;
	struct tarn__lane *l;
	size_t size = tarn_block_size(block);
	int r = tarn__lane_enter(c, &l);

	if (r < 0)
		return r;
	if (length == 0 || offset > size || length > size - offset) {
		r = tarn__fail(-EINVAL, "A slice of %zu bytes at %zu was asked for, of a block of "
			       "%zu%s.", length, offset, size,
			       length == 0 ? "; it needs at least one byte" : "");
		goto out;
	}
	if (whole != block)
		offset += tarn__slice_offset(block);
	s = tarn__slice_new(l, whole, offset, length);
	if (s == NULL) {
		r = tarn__fail(-ENOMEM, "No memory for the handle of a slice.");
		goto out;
	}
	tarn_block_ref(whole);
	*ret_slice = s;
out:
	tarn__lane_leave(l);
	return r;
}

/* ---- sealing ---- */

unsigned char *tarn__client_sealed(struct tarn_client *c, uint64_t offset)
{
	/* SYNC sealed-map, acquire: whoever sees the address may use the mapping. */
	unsigned char *base = __atomic_load_n(&c->sealed_data, __ATOMIC_ACQUIRE);

	if (base == NULL) {
		pthread_mutex_lock(&c->pool);
		base = c->sealed_data;
		if (base == NULL) {
			base = tarn__client_map(c, PROT_READ);
			/* SYNC sealed-map, release. */
			__atomic_store_n(&c->sealed_data, base, __ATOMIC_RELEASE);
		}
		pthread_mutex_unlock(&c->pool);
	}
	return base != NULL ? base + offset : NULL;
}

void tarn__seal_here(struct tarn_client *c, struct tarn_block *b)
{
	/* Relaxed: two threads may seal it at once. The second finds the other mapping's address,
	 * which lies outside of this one: done. */
	uint64_t offset = (uint64_t)((unsigned char *)tarn_block_data(b) - c->data);
	unsigned char *p = offset < c->data_bytes ? tarn__client_sealed(c, offset) : NULL;

	/* Where the address space has no room for it the view stays writable; the seal is
	 * still kept against resizing, and by everybody else. */
	if (p != NULL) /* SYNC sealed-map, release: tarn_block_data() of other threads. */
		__atomic_store_n(&b->data, p, __ATOMIC_RELEASE);
	/* Relaxed: an attribute; contents are ordered by what hands the block over. */
	__atomic_fetch_or(&b->refs, REF_SEALED, __ATOMIC_RELAXED);
}

int tarn_block_seal(tarn_block *block)
{
	struct tarn_client *c = block->client;
	struct tarn__lane *l;
	int r;

	if (tarn__forked(c))
		return tarn__fail_forked();
	if (tarn__refs(block) & REF_SLICE)
		return tarn__fail(-EINVAL, "A slice cannot be sealed; seal its block.");
	if (tarn__refs(block) & REF_SEALED)
		return 0;
	r = tarn__lane_enter(c, &l);
	if (r < 0)
		return r;
	/* The server must know before anybody else can: the block is never recycled here
	 * as writable, its last drop is a RELEASE. */
	r = tarn__handle_share(l, block);
	if (r == 0)
		r = tarn__say_block(l, TARN__MSG_SEAL, block, tarn_block_size(block));
	if (r == 0) {
		tarn__seal_here(c, block);
		/* SYNC watched: SEAL, barrier, the flag; the server: the flag, and reads all lanes
		 * once more before it sleeps (H24). */
		tarn__post_barrier(c->fence);
		if (tarn__unlikely((tarn__load_acquire(&c->dir[tarn__id_index(block->id)].state) &
				    TARN__DIR_WATCHED) != 0))
			tarn__lane_ring(l);
	}
	tarn__lane_leave(l);
	return r;
}

/* ---- copy on write ---- */

/* The whole pages around a block, of its whole capacity: the same before and after a
 * resize. */
static void pages_of(const struct tarn_block *b, uint64_t *ret_first, uint64_t *ret_bytes)
{
	const struct tarn_block *whole = tarn__whole(b);
	const struct tarn_client *c = b->client;
	const unsigned char *p = tarn_block_data(whole);
	const unsigned char *sealed = __atomic_load_n(&c->sealed_data, __ATOMIC_ACQUIRE);
	uint64_t offset = (uint64_t)(p - c->data);

	if (sealed != NULL && p >= sealed && p < sealed + c->data_bytes)
		offset = (uint64_t)(p - sealed);
	*ret_first = offset & ~(uint64_t)(tarn__os_page() - 1);
	*ret_bytes = tarn__round_up(offset + whole->capacity, tarn__os_page()) - *ret_first;
}

static uint64_t offset_in_pages(const struct tarn_block *b)
{
	const struct tarn_block *whole = tarn__whole(b);
	uint64_t in_page = (uintptr_t)tarn_block_data(whole) & (tarn__os_page() - 1);

	return in_page + (whole != b ? tarn__slice_offset(b) : 0);
}

int tarn_block_cow(tarn_block *block, void **ret_view)
{
	struct tarn_client *c = block->client;
	uint64_t first, bytes;
	void *p;

	if (tarn__forked(c))
		return tarn__fail_forked();
	pages_of(block, &first, &bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
		 c->data_segment.fd, (off_t)first);
	if (p == MAP_FAILED)
		return tarn__fail(-errno, "No copy-on-write view of %llu bytes: %s.",
				  (unsigned long long)bytes, tarn_error_text(-errno));
	*ret_view = (unsigned char *)p + offset_in_pages(block);
	return 0;
}

int tarn_block_cow_end(tarn_block *block, void *view)
{
	uint64_t first, bytes;
	unsigned char *p;

	if (view == NULL)
		return 0;
	pages_of(block, &first, &bytes);
	p = (unsigned char *)view - offset_in_pages(block);
	if (((uintptr_t)p & (tarn__os_page() - 1)) != 0)
		return tarn__fail(-EINVAL, "This is not a view of that block.");
	return munmap(p, bytes) == 0 ? 0 : tarn__fail(-errno, "Ending a view: %s.",
						       tarn_error_text(-errno));
}
