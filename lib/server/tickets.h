/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: what is on its way through a channel, one per position (PROTOCOL 3.2).
 *
 * A channel has a window, an array in META with a place for each of its next positions: the
 * ticket of position p lies at p mod its length, for positions in [low, low + length). No
 * ticket is below low, so no two positions of that range share a place, and a place that is
 * not 0 belongs to the one position of the range that falls on it. To add or to drop a ticket
 * is one logged word.
 *
 * The window is at least as long as the ring and a lane's ring together. What does not fit,
 * because decrements of older positions are still on their way, goes into the book of claims,
 * where lanes have promised room: sent - head is at most the ring, so a position beyond low +
 * length means that as many between low and head, and a lane's ring more, were taken by
 * messages of the consumer's lanes that are unread or deferred.
 */
#ifndef TARN_SERVER_TICKETS_H
#define TARN_SERVER_TICKETS_H

#include "state.h"

static inline uint64_t window_length(const struct channel *ch)
{
	return 2ull * (ch->capacity > WINDOW_UNIT ? ch->capacity : WINDOW_UNIT); /* powers of two */
}
/* The place of @position; a ticket of it only while low <= position < low + length. */
static inline uint64_t *window_at(const struct state *st, const struct channel *ch,
				  uint64_t position)
{
	return &st->window[ch->window].id[0] + (position & (window_length(ch) - 1));
}

/* A window for a channel of @capacity slots, all places 0, in *ret. -ENOMEM, -ENOSPC. */
int tarn__window_new(struct state *st, uint32_t capacity, uint32_t *ret);
/* It has no tickets any more. */
void tarn__window_free(struct state *st, struct channel *ch);

/* The ticket of a position that has none: @id is on its way. -ENOSPC, -ENOMEM: only beyond
 * what was promised. */
int tarn__ticket_add(struct state *st, struct channel *ch, uint64_t position, uint64_t id);
/* What is on its way at @position, which is input; 0: nothing. */
uint64_t tarn__ticket_find(const struct state *st, const struct channel *ch, uint64_t position);
/* Takes out the ticket of @position, which is there. */
void tarn__ticket_drop(struct state *st, struct channel *ch, uint64_t position);

/* Walks over all tickets of all channels: start with zeroes. */
struct ticket_walk {
	uint32_t record;   /* the channel's */
	uint64_t position, id;
	uint64_t place;    /* next one in the window */
	uint32_t claim;    /* next one in the book */
	bool in_book;
};
bool tarn__ticket_next(const struct state *st, struct ticket_walk *w);

/* Findings of a check of the windows themselves: each unit belongs to one channel or is free,
 * and free ones are empty. */
int tarn__windows_verify(const struct state *st, void (*say)(void *, const char *), void *arg);

#endif
