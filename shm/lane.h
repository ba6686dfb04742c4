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

/* The words of a slot, one by one: as a loop they would pass through the stack. */
static inline void tarn__slot_write(struct tarn__slot *s, uint64_t a, uint64_t b, uint64_t c,
				    uint64_t d, uint64_t e, uint64_t f, uint64_t g)
{
	tarn__store_relaxed(&s->word[0], a);
	tarn__store_relaxed(&s->word[1], b);
	tarn__store_relaxed(&s->word[2], c);
	tarn__store_relaxed(&s->word[3], d);
	tarn__store_relaxed(&s->word[4], e);
	tarn__store_relaxed(&s->word[5], f);
	tarn__store_relaxed(&s->word[6], g);
}

/* Each word is read once (I20). */
static inline void tarn__slot_read(const struct tarn__slot *s, uint64_t ret[7])
{
	ret[0] = tarn__load_relaxed(&s->word[0]);
	ret[1] = tarn__load_relaxed(&s->word[1]);
	ret[2] = tarn__load_relaxed(&s->word[2]);
	ret[3] = tarn__load_relaxed(&s->word[3]);
	ret[4] = tarn__load_relaxed(&s->word[4]);
	ret[5] = tarn__load_relaxed(&s->word[5]);
	ret[6] = tarn__load_relaxed(&s->word[6]);
}

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
static inline void tarn__requests_say(struct tarn__requests *r, uint64_t header, uint64_t a,
				      uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	struct tarn__slot *s = &r->slot[r->tail % TARN__REQUESTS];

	tarn__slot_write(s, header, a, b, c, d, e, f);
	/* SYNC slot-full, release: whoever sees the mark sees the words, and all that
	 * this thread did before (the closure lemma of PROTOCOL 4 rests on it). */
	tarn__store_release(&s->mark, ++r->tail);
}
static inline void tarn__requests_post(struct tarn__requests *r, const uint64_t word[7])
{
	tarn__requests_say(r, word[0], word[1], word[2], word[3], word[4], word[5], word[6]);
}

/* The same for a message of @n slots: the first mark last, so that all of it is there
 * once the first is seen. */
static inline void tarn__requests_post_long(struct tarn__requests *r, const uint64_t (*word)[7],
					    unsigned n)
{
	for (unsigned k = n; k-- > 0;) {
		struct tarn__slot *s = &r->slot[(r->tail + k) % TARN__REQUESTS];

		tarn__slot_write(s, word[k][0], word[k][1], word[k][2], word[k][3], word[k][4],
				 word[k][5], word[k][6]);
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
	tarn__slot_read(s, ret->word);
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

	tarn__slot_read(s, ret->word);
	ret->mark = position + 1;
}

/* Publishes a reply; called again after a restart it writes the same bytes. */
static inline void tarn__reply_publish(struct tarn__slot *ring, uint64_t position,
				       const uint64_t word[7])
{
	struct tarn__slot *s = &ring[position % TARN__REPLIES];

	tarn__slot_write(s, word[0], word[1], word[2], word[3], word[4], word[5], word[6]);
	/* SYNC slot-full, release. */
	tarn__store_release(&s->mark, position + 1);
}

#endif
