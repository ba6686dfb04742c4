/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows are cut from one table in units; a window of a power of two of units that a channel
 * leaves goes to the list of its size, linked through its first place, for the next channel of
 * that size.
 */
#include "tickets.h"

#include <stdio.h>
#include <stdlib.h>

#include "claims.h"

#define LOOK_MOST 64u /* positions passed over at one drop */

/* ---- windows ---- */

static uint32_t units_of(uint32_t capacity)
{
	return 2 * (capacity > WINDOW_UNIT ? capacity / WINDOW_UNIT : 1);
}

static uint32_t *free_list(struct state *st, uint32_t units)
{
	return &st->head->free_window[__builtin_ctz(units)];
}

int tarn__window_new(struct state *st, uint32_t capacity, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t units = units_of(capacity);
	uint32_t *list = free_list(st, units), at = *list;

	if (at != NIL) {
		uint64_t *link = &st->window[at].id[0];

		tarn__meta_set32(&st->meta, list, (uint32_t)*link);
		SET(st, *link, 0);
	} else {
		at = h->windows != 0 ? h->windows : 1;
		if (units > MAX_WINDOWS - at)
			return -ENOSPC;
		int r = tarn__state_reserve(st, st->window, sizeof *st->window,
					    &h->windows_reserved, (uint64_t)at + units);
		if (r < 0)
			return r;
		SET(st, h->windows, at + units);
	}
	*ret = at;
	return 0;
}

void tarn__window_free(struct state *st, struct channel *ch)
{
	uint32_t *list = free_list(st, units_of(ch->capacity));

	SET(st, st->window[ch->window].id[0], *list);
	tarn__meta_set32(&st->meta, list, ch->window);
	SET(st, ch->window, NIL);
}

/* ---- tickets ---- */

static uint64_t who_of(const struct channel *ch)
{
	return CLAIM_TICKET | tarn__id_index(ch->id);
}

uint64_t tarn__ticket_find(const struct state *st, const struct channel *ch, uint64_t position)
{
	uint64_t id;

	if (position < ch->low || position >= ch->sent)
		return 0;
	if (position - ch->low < window_length(ch)) {
		id = *window_at(st, ch, position);
		if (id != 0)
			return id;
	}
	if (ch->spilled == 0)
		return 0;
	const struct claim *c = tarn__claim_find(st, who_of(ch), position);

	return c != NULL ? c->value : 0;
}

/* Raises low over positions without a ticket below @end, @most of them unless there are none. */
static void advance(struct state *st, struct channel *ch, uint64_t end, uint64_t most)
{
	uint64_t low = ch->tickets != 0 ? ch->low : end;

	while (low < end && low - ch->low < most && *window_at(st, ch, low) == 0 &&
	       (ch->spilled == 0 || tarn__claim_find(st, who_of(ch), low) == NULL))
		low++;
	if (low != ch->low)
		SET(st, ch->low, low);
}

int tarn__ticket_add(struct state *st, struct channel *ch, uint64_t position, uint64_t id)
{
	if (position - ch->low >= window_length(ch))
		advance(st, ch, position, window_length(ch));
	if (position - ch->low < window_length(ch)) {
		SET(st, *window_at(st, ch, position), id);
	} else {
		int r = tarn__claim_add(st, who_of(ch), position, id);
		if (r < 0)
			return r;
		SET(st, ch->spilled, ch->spilled + 1);
	}
	SET(st, ch->tickets, ch->tickets + 1);
	return 0;
}

void tarn__ticket_drop(struct state *st, struct channel *ch, uint64_t position)
{
	uint64_t *place = window_at(st, ch, position);

	if (position - ch->low < window_length(ch) && *place != 0) {
		SET(st, *place, 0);
	} else {
		tarn__claim_drop(st, tarn__claim_find(st, who_of(ch), position));
		SET(st, ch->spilled, ch->spilled - 1);
	}
	SET(st, ch->tickets, ch->tickets - 1);
	advance(st, ch, ch->sent, LOOK_MOST);
}

/* ---- all of them ---- */

static bool next_in_windows(const struct state *st, struct ticket_walk *w)
{
	for (; w->record < st->head->channels; w->record++, w->place = 0) {
		const struct channel *ch = &st->channel[w->record];

		if (ch->id == 0 || ch->tickets == 0 || ch->window == NIL ||
		    ch->window >= st->head->windows)
			continue; /* a broken one: the check says so elsewhere */
		while (w->place < window_length(ch)) {
			uint64_t at = w->place++;

			w->id = *window_at(st, ch, at);
			/* The one position from low on that falls on this place. */
			w->position = ch->low + ((at - ch->low) & (window_length(ch) - 1));
			if (w->id != 0)
				return true;
		}
	}
	return false;
}

bool tarn__ticket_next(const struct state *st, struct ticket_walk *w)
{
	if (!w->in_book) {
		if (next_in_windows(st, w))
			return true;
		w->in_book = true;
	}
	while (++w->claim < st->head->claims) {
		const struct claim *c = &st->claim[w->claim];

		if ((c->who & CLAIM_TICKET) == 0)
			continue;
		w->record = st->channel_of[c->who & TARN__INDEX_MASK];
		w->position = c->what;
		w->id = c->value;
		return true;
	}
	return false;
}

/* ---- the check ---- */

struct check {
	const struct state *st;
	uint8_t *taken; /* by unit */
	uint64_t n;
	int findings;
};

static bool take(struct check *k, uint32_t at, uint32_t units)
{
	const struct state_head *h = k->st->head;

	if (at == NIL || at >= h->windows || units > h->windows - at)
		return false;
	for (uint32_t i = at; i < at + units; i++) {
		if (k->taken[i])
			return false;
		k->taken[i] = 1;
	}
	k->n += units;
	return true;
}

static bool is_empty(const struct state *st, uint32_t at, uint32_t units)
{
	const uint64_t *id = &st->window[at].id[0];

	for (uint64_t i = 1; i < (uint64_t)units * WINDOW_UNIT; i++)
		if (id[i] != 0)
			return false; /* the first is the link */
	return true;
}

int tarn__windows_verify(const struct state *st, void (*say)(void *, const char *), void *arg)
{
	const struct state_head *h = st->head;
	struct check k = { .st = st, .taken = calloc(h->windows + 1u, 1) };
	char line[120];

	if (k.taken == NULL) {
		say(arg, "windows: no memory for the check");
		return 1;
	}
	for (uint32_t i = 1; i < h->channels; i++)
		if (st->channel[i].id != 0 &&
		    !take(&k, st->channel[i].window, units_of(st->channel[i].capacity))) {
			snprintf(line, sizeof line, "channel %u: its window %u is another's, or none", i,
				 st->channel[i].window);
			say(arg, line);
			k.findings++;
		}
	for (uint32_t size = 0; size < WINDOW_SIZES; size++)
		for (uint32_t at = h->free_window[size]; at != NIL; at = (uint32_t)st->window[at].id[0])
			if (!take(&k, at, 1u << size) || !is_empty(st, at, 1u << size)) {
				snprintf(line, sizeof line, "windows: %u in the list of free ones is "
							    "used, or not empty", at);
				say(arg, line);
				k.findings++;
				break;
			}
	if (k.n + 1 != h->windows && (k.n != 0 || h->windows != 0)) {
		snprintf(line, sizeof line, "windows: %llu units found of %u", (unsigned long long)k.n,
			 h->windows);
		say(arg, line);
		k.findings++;
	}
	free(k.taken);
	return k.findings;
}
