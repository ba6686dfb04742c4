/* SPDX-License-Identifier: Apache-2.0 */
/* What a store knows of its segment's memory: of store.c, which hands it out, and store-inherit.c, which
 * finds it again. */
#ifndef TARN_TYPES_STORE_MEMORY_H
#define TARN_TYPES_STORE_MEMORY_H

#include <pthread.h>

#include "store.h"

#define NONE UINT32_MAX

static const uint32_t tarn__chunk_classes[] = {
	64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384,
};
#define CLASSES (sizeof tarn__chunk_classes / sizeof tarn__chunk_classes[0])
#define SPAN_CHUNKS (TARN__VIEW_SPAN / 64) /* most */
static_assert(SPAN_CHUNKS <= UINT16_MAX, "chunks of a span");

enum { SPAN_FREE = 0xff, SPAN_RUN = 0xfe, SPAN_INSIDE = 0xfd };

struct span {
	uint8_t class;        /* or SPAN_... */
	uint16_t used, fresh; /* chunks in use; the first that never was */
	uint32_t run;         /* SPAN_RUN: spans in it */
	uint64_t free;        /* first free chunk; 0: none */
	uint32_t next, prev;  /* of the class, with room */
};

struct tarn__store {
	struct tarn__segment segment;
	struct tarn__view view;
	struct tarn__view_head *head;
	pthread_mutex_t lock;
	struct span *span;
	uint32_t n_spans, spans_used; /* all; the first that never was in use */
	uint32_t free_spans, hint;    /* below spans_used; where to look for one first */
	uint32_t room[CLASSES];       /* spans with room */
	uint64_t used;                /* bytes in chunks */
	uint64_t committed, roots_committed; /* as in the segment's head */
	/* A budget that others take part in, see tarn__store_share(). */
	struct tarn__store_part part; /* written with the lock held */
	const uint64_t *others, *most;

	/* What is freed in the background. */
	pthread_cond_t work, settled;
	pthread_t reaper;
	bool reaping, busy, ending;
	uint64_t *doomed;
	size_t n_doomed, doomed_room;
};

/* CLASSES: none has so much. */
static inline unsigned tarn__chunk_class(uint64_t bytes)
{
	unsigned c = 0;

	while (c < CLASSES && tarn__chunk_classes[c] < bytes)
		c++;
	return c;
}

static inline uint64_t tarn__span_at(const struct tarn__store *s, uint32_t i)
{
	return s->head->chunks_at + (uint64_t)i * TARN__VIEW_SPAN;
}

static inline bool tarn__span_has_room(const struct span *p)
{
	return p->free != 0 || (p->fresh + 1u) * tarn__chunk_classes[p->class] <= TARN__VIEW_SPAN;
}

/* It is in the list of its class's spans with room. */
static inline void tarn__span_link(struct tarn__store *s, uint32_t i)
{
	struct span *p = &s->span[i];

	p->prev = NONE;
	p->next = s->room[p->class];
	if (p->next != NONE)
		s->span[p->next].prev = i;
	s->room[p->class] = i;
}

/* A store of nothing: the process's part of it. -ENOMEM. */
int tarn__store_begin(const struct tarn__segment *segment, struct tarn__store **ret);
/* The view and its numbers are known: the map of its memory, all free. -ENOMEM. */
int tarn__store_map(struct tarn__store *s);

#endif
