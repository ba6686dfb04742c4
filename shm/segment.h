/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: the shared memory objects of an arena.
 *
 * A segment is a sparse file of its final size, either POSIX shared memory
 * (without a name, or one that is removed as soon as it is open, unless names are kept: see
 * kept.h) or a memfd (sealed against changes of its size). It reaches other processes as a descriptor over the
 * control socket, so nothing else depends on the choice. Only ranges that were
 * reserved (fallocate) may be touched: a hole in a full file system is a
 * SIGBUS (invariant A6).
 */
#ifndef TARN_SHM_SEGMENT_H
#define TARN_SHM_SEGMENT_H

#include "base.h"

enum tarn__backing {
	TARN__BACKING_AUTO,  /* POSIX unless /dev/shm is smaller than the arena */
	TARN__BACKING_POSIX, /* in /dev/shm, without a name */
	TARN__BACKING_MEMFD, /* memfd_create, sealed SHRINK | GROW | SEAL */
	TARN__BACKING_KEPT,  /* in /dev/shm, with a name until it is closed */
};

struct tarn__segment {
	int fd;               /* -1 when closed */
	unsigned char *base;  /* NULL when not mapped */
	uint64_t bytes;
	char *name;           /* a kept one, in TARN__KEPT_DIRECTORY; else NULL */
};

#define TARN__SEGMENT_NONE ((struct tarn__segment){ .fd = -1, .base = NULL, .bytes = 0 })

/* Chooses for AUTO; @why (of at least 128 bytes) receives the reason in words. */
enum tarn__backing tarn__backing_choose(enum tarn__backing asked, uint64_t arena_bytes,
					char *why, size_t why_bytes);

/* Sizes a fresh file. -EFBIG beyond the limit of this process's files (ulimit -f), and not the signal that ends it. */
int tarn__file_size(int fd, uint64_t bytes);

/* Creates, sizes and maps a segment read-write. @label appears in /proc maps of
 * memfd segments. Returns 0 or negative errno; nothing is left behind on failure. */
int tarn__segment_create(enum tarn__backing backing, const char *label, uint64_t bytes,
			 struct tarn__segment *ret);

/* A second descriptor of the segment that is open for reading only. */
int tarn__segment_open_readonly(const struct tarn__segment *s, int *ret_fd);

/* Maps a received descriptor; takes it over, also on failure. Fails with -EPROTO
 * if the file is smaller than @bytes. */
int tarn__segment_map(int fd, uint64_t bytes, bool writable, struct tarn__segment *ret);

/* Commits memory to [offset, offset + bytes): -ENOSPC or -ENOMEM if there is none. */
int tarn__segment_reserve(const struct tarn__segment *s, uint64_t offset, uint64_t bytes);

/* Gives the memory of whole pages of the system inside the range back to it; the rest of the range is
 * zeroed or kept. */
int tarn__segment_punch(const struct tarn__segment *s, uint64_t offset, uint64_t bytes);

/* Bytes of memory that the segment occupies now. */
uint64_t tarn__segment_resident(const struct tarn__segment *s);

/* Removes a kept name, too. */
void tarn__segment_close(struct tarn__segment *s);

#endif
