/* SPDX-License-Identifier: Apache-2.0 */
#include "views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SC VIEWS_THREADS /* its number in a clock: how many seq_cst stores there were */
#define CLOCKS (VIEWS_THREADS + 1)
#define HISTORY 8u
#define WORDS 8192u /* a run's */
#define SLOTS (2 * WORDS)

struct clock {
	uint32_t at[CLOCKS];
};

struct entry {
	uint64_t v, number; /* of all stores of this run */
	struct clock carries;
};

/* At this number of its clock the thread knew of that store. */
struct known {
	uint32_t at, store;
};

struct word {
	const void *p;
	unsigned bytes;
	uint32_t slot;
	bool mixed;             /* read and written in parts, too: as it is now, always */
	uint32_t first, last;   /* stores that are kept, by their order */
	struct entry history[HISTORY];
	struct known known[CLOCKS][HISTORY];
	uint32_t n_known[CLOCKS];
	uint8_t passed[VIEWS_THREADS];
};

static struct {
	uint64_t salt, n_stores, n_loads;
	uint64_t revealed; /* all that were stored before are seen */
	uint32_t n_sc;
	struct clock now[VIEWS_THREADS];     /* what the thread knows */
	struct clock pending[VIEWS_THREADS]; /* what an acquire fence adds to it */
	struct clock fenced[VIEWS_THREADS];  /* what its plain stores carry */
	struct clock sc;                     /* what seq_cst fences knew */
	struct word word[WORDS];
	uint32_t n_words;
	struct word *rmw; /* that is being done */
	uint32_t slot[SLOTS]; /* number of a word + 1, by its place */
} views;

/* ---- clocks ---- */

static void join(struct clock *to, const struct clock *from)
{
	for (unsigned i = 0; i < CLOCKS; i++)
		if (from->at[i] > to->at[i])
			to->at[i] = from->at[i];
}

static bool is_zero(const struct clock *c)
{
	static const struct clock zero;

	return memcmp(c, &zero, sizeof zero) == 0;
}

static bool acquires(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST ||
	       order == __ATOMIC_CONSUME;
}

static bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static uint64_t mixed(uint64_t h)
{
	h *= 0x9e3779b97f4a7c15ull;
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull;
	return h ^ h >> 32;
}

/* ---- words ---- */

uint64_t views_in_place(const void *p, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
	case 2:
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
	case 4:
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	default:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	}
}

void views_put_in_place(void *p, unsigned bytes, uint64_t v)
{
	switch (bytes) {
	case 1:
		__atomic_store_n((uint8_t *)p, (uint8_t)v, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)v, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)v, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED);
	}
}

static uint32_t slot_of(const void *p)
{
	return (uint32_t)(mixed((uint64_t)(uintptr_t)p) % SLOTS);
}

static struct entry *entry(struct word *w, uint32_t store)
{
	return &w->history[store % HISTORY];
}

/* It was written by other means, or is new here: all know what is there. */
static void restart(struct word *w)
{
	if (w->bytes == 0)
		return;
	w->first = ++w->last;
	*entry(w, w->last) = (struct entry){ .v = views_in_place(w->p, w->bytes) };
}

/* NULL: nothing was stored there in this run. */
static struct word *find(const void *p, unsigned bytes)
{
	for (uint32_t i = slot_of(p); views.slot[i] != 0; i = (i + 1) % SLOTS) {
		struct word *w = &views.word[views.slot[i] - 1];

		if (w->p != p || (w->bytes == 0) != (bytes == 0))
			continue;
		if (w->bytes != bytes) {
			w->mixed = true;
			w->bytes = bytes > w->bytes ? bytes : w->bytes;
			restart(w);
		} else if (bytes != 0 && entry(w, w->last)->v != views_in_place(p, bytes)) {
			restart(w);
		}
		return w;
	}
	return NULL;
}

static struct word *find_or_add(const void *p, unsigned bytes)
{
	struct word *w = find(p, bytes);
	uint32_t i = slot_of(p);

	if (w != NULL)
		return w;
	if (views.n_words == WORDS) {
		fprintf(stderr, "views.c: a run of more than %u words\n", WORDS);
		abort();
	}
	while (views.slot[i] != 0)
		i = (i + 1) % SLOTS;
	w = &views.word[views.n_words++];
	views.slot[i] = views.n_words;
	*w = (struct word){ .p = p, .bytes = bytes, .slot = i };
	restart(w);
	return w;
}

/* The oldest store that somebody who knows @c may read. */
static uint32_t oldest(const struct word *w, const struct clock *c)
{
	uint32_t least = w->first;

	for (unsigned t = 0; t < CLOCKS; t++)
		for (uint32_t n = w->n_known[t], k = 0; k < n && k < HISTORY; k++) {
			const struct known *it = &w->known[t][(n - 1 - k) % HISTORY];

			if (it->at > c->at[t])
				continue;
			if (it->store > least)
				least = it->store;
			break;
		}
	return least;
}

/* At number @at of its clock @t knows @store. What falls out of the ring is older than all that is kept. */
static void learn(struct word *w, unsigned t, uint32_t at, uint32_t store)
{
	uint32_t n = w->n_known[t];

	if (n == 0 || w->known[t][(n - 1) % HISTORY].store < store)
		w->known[t][w->n_known[t]++ % HISTORY] = (struct known){ at, store };
}

static void append(struct word *w, uint64_t v, const struct clock *carries)
{
	w->last++;
	if (w->last - w->first == HISTORY)
		w->first++;
	*entry(w, w->last) = (struct entry){ v, ++views.n_stores, *carries };
}

/* ---- what was done, for who looks for the reason of a failure ---- */

#define DEEDS 4096u

static struct deed {
	char what; /* R read, W written, F fence; S sleeps, C calls sleepers, K was called, O its time is over */
	unsigned thread;
	int order;
	const void *p;
	uint64_t v;
	uint32_t store, newest;
} deed[DEEDS];
static uint32_t n_deeds;

static void note(char what, unsigned t, int order, struct word *w, uint32_t store)
{
	deed[n_deeds++ % DEEDS] = (struct deed){ what, t, order, w->p, entry(w, store)->v, store, w->last };
}

void views_note(unsigned t, char what, const void *p)
{
	deed[n_deeds++ % DEEDS] = (struct deed){ .what = what, .thread = t, .p = p };
}

void views_print(uint32_t most)
{
	static const char *const name[] = { "relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst" };
	uint32_t from = n_deeds > DEEDS ? n_deeds - DEEDS : 0;

	for (uint32_t i = n_deeds - from > most ? n_deeds - most : from; i < n_deeds; i++) {
		const struct deed *d = &deed[i % DEEDS];

		fprintf(stderr, "#   %u %c %-7s %p = %llx (store %u of %u)\n", d->thread, d->what, name[d->order],
			d->p, (unsigned long long)d->v, d->store, d->newest);
	}
}

/* ---- which store is read ---- */

static unsigned rarity(void)
{
	static const unsigned every[] = { 2, 4, 16 };

	return every[views.salt % 3];
}

static bool is_late(unsigned t, const struct entry *e)
{
	return mixed(views.salt + e->number * CLOCKS + t) % rarity() == 0;
}

static uint32_t choose(struct word *w, unsigned t, uint32_t least)
{
	uint32_t store = w->last;
	uint64_t roll = mixed(views.salt ^ ++views.n_loads << 8);

	if (w->passed[t] >= VIEWS_PASSES || least == w->last || w->mixed)
		return w->last;
	while (store > least && entry(w, store)->number > views.revealed && is_late(t, entry(w, store)))
		store--;
	/* Or anything. */
	for (; store > least && entry(w, store)->number > views.revealed && roll % (4 * rarity()) == 0; store--)
		roll = mixed(roll);
	return store;
}

static void read_entry(struct word *w, unsigned t, uint32_t store, int order)
{
	const struct entry *e = entry(w, store);

	note('R', t, order, w, store);
	w->passed[t] = store == w->last ? 0 : (uint8_t)(w->passed[t] + 1);
	learn(w, t, ++views.now[t].at[t], store);
	join(&views.pending[t], &e->carries);
	if (acquires(order))
		join(&views.now[t], &e->carries);
}

/* ---- accesses ---- */

uint64_t views_load(unsigned t, const void *p, unsigned bytes, int order, bool shared)
{
	struct word *w = find(p, bytes);
	struct clock c = views.now[t];
	uint32_t store;

	if (w == NULL)
		return views_in_place(p, bytes);
	if (order == __ATOMIC_SEQ_CST) {
		join(&c, &views.sc);
		c.at[SC] = UINT32_MAX;
	}
	store = shared ? choose(w, t, oldest(w, &c)) : w->last;
	read_entry(w, t, store, order);
	return entry(w, store)->v;
}

static bool in_halves(const char *p)
{
	for (uint32_t half = 0; half < 8; half += 4)
		for (uint32_t i = slot_of(p + half); views.slot[i] != 0; i = (i + 1) % SLOTS)
			if (views.word[views.slot[i] - 1].p == p + half &&
			    views.word[views.slot[i] - 1].bytes == 4)
				return true;
	return false;
}

void views_copy(unsigned t, void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n;) {
		const char *p = (const char *)from + i;
		unsigned bytes = n - i < 8 || in_halves(p) ? 4 : 8;

		views_put_in_place((char *)to + i, bytes, views_load(t, p, bytes, __ATOMIC_RELAXED, true));
		i += bytes;
	}
}

static void store_entry(struct word *w, unsigned t, uint64_t v, int order, const struct clock *more)
{
	uint32_t at = ++views.now[t].at[t];
	struct clock carries = releases(order) ? views.now[t] : views.fenced[t];

	if (more != NULL)
		join(&carries, more);
	append(w, v, &carries);
	learn(w, t, at, w->last);
	note('W', t, order, w, w->last);
	w->passed[t] = 0;
	if (order == __ATOMIC_SEQ_CST)
		learn(w, SC, ++views.n_sc, w->last);
}

void views_store(unsigned t, void *p, unsigned bytes, uint64_t v, int order, bool shared)
{
	struct word *w = find(p, bytes);

	/* A private word that hands nothing on. */
	if (w == NULL && !shared && !releases(order) && is_zero(&views.fenced[t])) {
		views_put_in_place(p, bytes, v);
		return;
	}
	if (w == NULL)
		w = find_or_add(p, bytes);
	views_put_in_place(p, bytes, v);
	store_entry(w, t, views_in_place(p, bytes), order, NULL);
}

void views_rmw_begin(const void *p, unsigned bytes)
{
	views.rmw = find_or_add(p, bytes);
}

void views_rmw_end(unsigned t, int order, bool stored)
{
	struct word *w = views.rmw;
	struct clock carried = entry(w, w->last)->carries;

	read_entry(w, t, w->last, order);
	if (stored)
		store_entry(w, t, views_in_place(w->p, w->bytes), order, &carried);
}

void views_fence(unsigned t, int order)
{
	deed[n_deeds++ % DEEDS] = (struct deed){ .what = 'F', .thread = t, .order = order };
	if (acquires(order))
		join(&views.now[t], &views.pending[t]);
	if (order == __ATOMIC_SEQ_CST) {
		join(&views.now[t], &views.sc);
		views.now[t].at[SC] = views.n_sc;
		views.sc = views.now[t];
	}
	if (releases(order))
		views.fenced[t] = views.now[t];
}

void views_membarrier(unsigned t)
{
	views_fence(t, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < VIEWS_THREADS; i++)
		if (i != t)
			views_fence(i, __ATOMIC_SEQ_CST);
	views_fence(t, __ATOMIC_SEQ_CST);
}

/* ---- by other means ---- */

void views_give(unsigned t, const void *at)
{
	struct word *w = find_or_add(at, 0);

	join(&entry(w, w->last)->carries, &views.now[t]);
}

void views_take(unsigned t, const void *at)
{
	struct word *w = find(at, 0);

	if (w != NULL)
		join(&views.now[t], &entry(w, w->last)->carries);
}

void views_meet(unsigned a, unsigned b)
{
	join(&views.now[a], &views.now[b]);
	views.now[b] = views.now[a];
}

void views_inherit(unsigned child, unsigned parent)
{
	views.now[child] = views.now[parent];
}

void views_reveal(void)
{
	views.revealed = views.n_stores;
}

void views_begin(uint64_t salt)
{
	for (uint32_t i = 0; i < views.n_words; i++)
		views.slot[views.word[i].slot] = 0;
	views.n_words = 0;
	n_deeds = 0;
	views.salt = salt;
	views.n_stores = views.n_loads = views.revealed = 0;
	views.n_sc = 0;
	memset(views.now, 0, sizeof views.now);
	memset(views.pending, 0, sizeof views.pending);
	memset(views.fenced, 0, sizeof views.fenced);
	memset(&views.sc, 0, sizeof views.sc);
}
