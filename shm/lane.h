/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: the two rings between one client thread and the server, and the rules by
 * which each side touches them.
 *
 * Requests: the client writes slots, the server reads them. The client may overwrite a
 * slot when the server's head has passed it. Replies: the server writes, and need not
 * ask for room, because a client reserves the slots of its answer before it posts.
 *
 * Single producer, single consumer, wait-free; nothing is ever locked, so a client killed
 * at any instruction leaves a published message or none.
 */
#ifndef TARN_SHM_LANE_H
#define TARN_SHM_LANE_H

#include <string.h>

#include "layout.h"

/* ---- client's side; owned by one thread ---- */

struct tarn__requests {
	struct tarn__slot *slot;
	const uint64_t *server_head;
	uint64_t tail;      /* next position to write */
	uint64_t head_seen; /* last value of the server's head; refreshed when it seems full */
};

/* Free slots; looks at the server's line only when the last look does not suffice. */
static inline uint64_t tarn__requests_room(struct tarn__requests *r, uint64_t need)
{
	uint64_t used = r->tail - r->head_seen;

	if (used > TARN__REQUESTS || TARN__REQUESTS - used < need) {
		/* SYNC slot-free, acquire: the server has copied what it freed. */
		r->head_seen = tarn__load_acquire(r->server_head);
		used = r->tail - r->head_seen;
		if (used > TARN__REQUESTS)
			return 0; /* head ran ahead of us: the server is broken or new */
	}
	return TARN__REQUESTS - used;
}

/* Unread messages as the last look at the server's head says: an upper bound. */
static inline uint64_t tarn__requests_unread(const struct tarn__requests *r)
{
	return r->tail - r->head_seen;
}

/* Publishes one message of one slot. The caller made sure of room. */
static inline void tarn__requests_post(struct tarn__requests *r, const uint64_t word[7])
{
	struct tarn__slot *s = &r->slot[r->tail % TARN__REQUESTS];

	for (unsigned i = 0; i < 7; i++)
		tarn__store_relaxed(&s->word[i], word[i]);
	/* SYNC slot-full, release: whoever sees the mark sees the words, and all that
	 * this thread did before (the closure lemma of PROTOCOL 4 rests on it). */
	tarn__store_release(&s->mark, ++r->tail);
}

/* The same for a message of @n slots: the first mark last, so that all of it is there
 * once the first is seen. */
static inline void tarn__requests_post_long(struct tarn__requests *r, const uint64_t (*word)[7],
					    unsigned n)
{
	for (unsigned k = n; k-- > 0;) {
		struct tarn__slot *s = &r->slot[(r->tail + k) % TARN__REQUESTS];

		for (unsigned i = 0; i < 7; i++)
			tarn__store_relaxed(&s->word[i], word[k][i]);
		tarn__store_release(&s->mark, r->tail + k + 1);
	}
	r->tail += n;
}

struct tarn__replies {
	const struct tarn__slot *slot;
	uint64_t next; /* next position to read */
};

/* Takes the next reply, if there is one. */
static inline bool tarn__replies_take(struct tarn__replies *r, struct tarn__slot *ret)
{
	const struct tarn__slot *s = &r->slot[r->next % TARN__REPLIES];

	/* SYNC slot-full, acquire: the words were written before. */
	if (tarn__load_acquire(&s->mark) != r->next + 1)
		return false;
	for (unsigned i = 0; i < 7; i++)
		ret->word[i] = tarn__load_relaxed(&s->word[i]);
	ret->mark = ++r->next;
	return true;
}

/* ---- server's side ---- */

/* True if the message at @position is published. Cheap poll. */
static inline bool tarn__request_ready(const struct tarn__slot *ring, uint64_t position)
{
	/* SYNC slot-full, acquire. */
	return tarn__load_acquire(&ring[position % TARN__REQUESTS].mark) == position + 1;
}

/* Copies a slot once (I20): everything is decided from the copy. */
static inline void tarn__request_copy(const struct tarn__slot *ring, uint64_t position,
				      struct tarn__slot *ret)
{
	const struct tarn__slot *s = &ring[position % TARN__REQUESTS];

	for (unsigned i = 0; i < 7; i++)
		ret->word[i] = tarn__load_relaxed(&s->word[i]);
	ret->mark = position + 1;
}

/* Publishes a reply; called again after a restart it writes the same bytes. */
static inline void tarn__reply_publish(struct tarn__slot *ring, uint64_t position,
				       const uint64_t word[7])
{
	struct tarn__slot *s = &ring[position % TARN__REPLIES];

	for (unsigned i = 0; i < 7; i++)
		tarn__store_relaxed(&s->word[i], word[i]);
	/* SYNC slot-full, release. */
	tarn__store_release(&s->mark, position + 1);
}

#endif
