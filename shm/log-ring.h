/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of records from one process to another, in memory that both map and that outlives the
 * writer: a record that was put is read, whatever happened to who put it.
 *
 * One writer at a time (its threads take turns under a lock of their own), one reader. The writer
 * publishes a record with one store of `head`, so a killed writer leaves whole records only.
 * What the reader finds was written by another process: lengths are checked, bytes are copied
 * once.
 */
#ifndef TARN_SHM_LOG_RING_H
#define TARN_SHM_LOG_RING_H

#include "base.h"

struct tarn__log_ring {
	uint64_t bytes;  /* of the room behind, a power of two; its maker, before it is shared */
	uint64_t spare[7];
	/* The writer's line. */
	uint64_t head;   /* bytes put so far */
	uint64_t lost;   /* records that found no room, in all */
	uint32_t waits;  /* a writer waits for room: on `room` */
	uint32_t unused[11];
	/* The reader's line. */
	uint64_t tail;   /* bytes read so far */
	uint32_t room;   /* futex: counts up when the reader made room and a writer waited */
	uint32_t asleep; /* the reader found nothing and wants to be rung for; the writer clears it */
	uint32_t unused2[12];
	unsigned char data[];
};
static_assert(offsetof(struct tarn__log_ring, head) == 64, "the writer's line");
static_assert(offsetof(struct tarn__log_ring, tail) == 128, "the reader's line");
static_assert(sizeof(struct tarn__log_ring) == 192, "three lines before the data");

#define TARN__LOG_RECORD_MOST (32u << 10) /* bytes of one record */

/* A ring of zeros becomes one with room for @bytes, a power of two. */
void tarn__log_ring_init(struct tarn__log_ring *r, uint64_t bytes);

/* Puts a record of @bytes. False: there is no room now. @bytes is what the record's first
 * 32-bit word says, and a multiple of 8. */
bool tarn__log_ring_put(struct tarn__log_ring *r, const void *record, uint32_t bytes);
/* After that: whether the reader wants to be rung for; it is then taken for rung. */
bool tarn__log_ring_must_ring(struct tarn__log_ring *r);
/* Waits for the reader to make room, up to @deadline. */
void tarn__log_ring_await(struct tarn__log_ring *r, uint32_t bytes, uint64_t deadline);

/* Takes the next record into @buffer of TARN__LOG_RECORD_MOST: its bytes, 0 if there is none.
 * @size is the reader's own knowledge of the room. What is damaged is skipped, and is none: who
 * writes nonsense without end keeps nobody here. tarn__log_ring_sleep() tells whether there is more. */
uint32_t tarn__log_ring_get(struct tarn__log_ring *r, uint64_t size, void *buffer);
/* Says that the reader will sleep. False: something came meanwhile. */
bool tarn__log_ring_sleep(struct tarn__log_ring *r);

#endif
