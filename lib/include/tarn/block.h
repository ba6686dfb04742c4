/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MemoryBlocks: counted runs of bytes in the arena.
 *
 * A handle (tarn_block *) belongs to the process and counts its local references;
 * the server counts the processes. Whoever holds a reference reads and writes the
 * bytes in place; nothing is copied. The memory is free again when the last
 * reference of the last process is dropped, or that process is dead.
 *
 * Processes map the arena at different addresses: store offsets in blocks, never
 * pointers. Contents are not ordered by Tarn except that what was written before a
 * send is seen after the receive.
 *
 * Threads: ref and unref from any thread at any time; the others are safe from any
 * thread that holds a reference.
 */
#ifndef TARN_BLOCK_H
#define TARN_BLOCK_H

#include "client.h"

TARN_BEGIN

typedef struct tarn_block tarn_block;

enum tarn_block_flags {
	TARN_BLOCK_ZEROED = 1, /* all bytes 0; without it contents are anything */
};

typedef struct tarn_block_options {
	unsigned flags;      /* enum tarn_block_flags */
	size_t align;        /* power of two; 0 and up to 64 cost nothing */
	int64_t timeout_ns;  /* a full arena: wait so long for memory; 0: fail within 0.1 s */
	bool huge;           /* ask for huge pages; tarn_block_info says what came of it */
	int numa_node;       /* 1 + node to bind to; 0: do not care */
} tarn_block_options;

/*
 * Allocates @size bytes. The caller owns one reference, in @ret_block. Warm sizes come
 * from the thread's cache: no message, no lock, no system call. May block shortly on
 * the server when the cache is empty; one that hangs is waited for ten seconds (-ETIMEDOUT).
 * -EINVAL size 0 or larger than the arena, -ENOMEM the arena is full (the text says
 * asked, free, cap, and how to raise it), -TARN_EQUOTA, -TARN_ESRVDOWN, -TARN_EFORKED.
 */
TARN_EXPORT int tarn_block_new(tarn_client *client, size_t size, unsigned flags,
			       tarn_block **ret_block);

/* The same with alignment, waiting, huge pages and NUMA binding. -ETIMEDOUT after a wait. */
TARN_EXPORT int tarn_block_new_with(tarn_client *client, size_t size,
				    const tarn_block_options *options, tarn_block **ret_block);

/* One more reference, for the caller. Returns @block. */
TARN_EXPORT tarn_block *tarn_block_ref(tarn_block *block);

/* Gives one reference up. NULL is allowed. Returns NULL. Never blocks. */
TARN_EXPORT tarn_block *tarn_block_unref(tarn_block *block);

/* The bytes; read-only memory if the block is sealed. Valid while the reference is held. */
TARN_EXPORT void *tarn_block_data(const tarn_block *block);

/* Exact bytes as asked; bytes that really belong to it; its id (0 is none). */
TARN_EXPORT size_t tarn_block_size(const tarn_block *block);
TARN_EXPORT size_t tarn_block_capacity(const tarn_block *block);
TARN_EXPORT uint64_t tarn_block_id(const tarn_block *block);

/*
 * Declares the contents final: this and every later receiver's view is read-only, a write
 * through it faults in the writer alone. Views taken by others before the seal stay
 * writable. Idempotent. -EINVAL on a slice.
 */
TARN_EXPORT int tarn_block_seal(tarn_block *block);
TARN_EXPORT bool tarn_block_sealed(const tarn_block *block);

/*
 * Waits until somebody has sealed the block: its contents are final then, and seen here, and this
 * view is read-only. Of a slice: its block. Any number may wait. 0 only looks: -EAGAIN. -ETIMEDOUT
 * (also when whoever was to seal it is dead), -ENOBUFS, -TARN_ESRVDOWN.
 */
TARN_EXPORT int tarn_block_wait_sealed(tarn_block *block, int64_t timeout_ns);

/* A view of [@offset, @offset + @length) that keeps its parent alive; a block like any
 * other: it can be sent, exported and sliced; but in a value (calls, queues, containers) it is -EINVAL:
 * put its block, and the range as numbers. -EINVAL out of range. */
TARN_EXPORT int tarn_block_slice(tarn_block *block, size_t offset, size_t length,
				 tarn_block **ret_slice);

/*
 * Changes the exact size in place; contents and address stay. A block never moves, so it
 * can only grow to its capacity: -ENOSPC beyond, with the number. -EINVAL size 0 or a
 * slice, -EPERM sealed.
 */
TARN_EXPORT int tarn_block_resize(tarn_block *block, size_t size);

/*
 * A private copy-on-write view of the bytes: what is written there nobody else sees, and
 * pages not yet written follow the shared contents. Ended by tarn_block_cow_end(), once: as with free(),
 * what is at @view a second time may be somebody else's. The block must stay referenced meanwhile.
 * -EINVAL @view cannot be one of this block.
 */
TARN_EXPORT int tarn_block_cow(tarn_block *block, void **ret_view);
TARN_EXPORT int tarn_block_cow_end(tarn_block *block, void *view);

typedef struct tarn_block_facts {
	uint64_t id;
	size_t size, capacity, align; /* align: what the address really has, up to 1 GiB */
	bool sealed, slice, shared;   /* shared: others were told of it */
	size_t huge_bytes;            /* bytes mapped by huge pages here and now; before Linux
				       * 6.7 this is an upper bound */
	int numa_node;                /* 1 + node of its first page, 0: unknown */
	unsigned local_refs;          /* of this handle in this process */
} tarn_block_facts;

/* What is known of a block here; reads /proc for huge_bytes. */
TARN_EXPORT int tarn_block_info(const tarn_block *block, tarn_block_facts *ret_facts);

/* "<block 5:3 at 0x10000, size 80>" into @text; returns what snprintf would. */
TARN_EXPORT int tarn_block_format(const tarn_block *block, char *text, size_t bytes);

/* For TARN_AUTO(tarn_block). */
static inline void tarn_block_auto(tarn_block **block)
{
	tarn_block_unref(*block);
}

TARN_END

#endif
