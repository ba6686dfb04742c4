/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include <string.h>

#include "hash.h"

/* Kinds of lib/value, which this layer does not include. Pinned in lib/types/store.h. */
enum { NIL = 1, BOOL, INT, UINT, DOUBLE, STRING, BYTES };

/* ---- optimistic reading ---- */

bool tarn__view_begin(const struct tarn__view *v, uint32_t index, uint64_t id,
		      struct tarn__sight *ret)
{
	const struct tarn__view_head *h = tarn__view_head(v);
	const struct tarn__view_root *line = tarn__view_root(v, index);

	/* SYNC view-committed, acquire: what is below it can be read. */
	uint64_t limit = tarn__load_acquire(&h->committed);
	if (index >= h->roots || (uint64_t)((const unsigned char *)(line + 1) - v->base) > limit)
		return false;
	/* SYNC view-root, acquire: the chunks that this version leads to are written. */
	ret->root.version = tarn__load_acquire(&line->version);
	if (ret->root.version & 1)
		return false;
	/* Relaxed: done() finds out whether they belong together. */
	ret->root.id = tarn__load_relaxed(&line->id);
	ret->root.count = tarn__load_relaxed(&line->count);
	ret->root.held = tarn__load_relaxed(&line->held);
	ret->root.order = tarn__load_relaxed(&line->order);
	ret->root.index = tarn__load_relaxed(&line->index);
	ret->root.next = tarn__load_relaxed(&line->next);
	ret->root.kind = tarn__load_relaxed(&line->kind);
	if (ret->root.id != id)
		return false;
	ret->view = v;
	ret->line = line;
	/* Again: the chunks of this version may be in what was committed since. */
	ret->limit = tarn__load_acquire(&h->committed);
	return true;
}

bool tarn__view_done(const struct tarn__sight *s)
{
	/* A fence, since what it orders are the reads of all that was copied: they come before the
	 * version is looked at again. SYNC view-reuse: with the writer's before it uses a
	 * chunk again. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return tarn__load_relaxed(&s->line->version) == s->root.version;
}

/* ---- nodes ---- */

/* A node's words as they are now: checked once, then used. */
struct look {
	const uint64_t *word;
	unsigned level, width, n;
	uint64_t count;
};

static bool look_at(const struct tarn__sight *s, uint64_t at, struct look *ret)
{
	if (at < tarn__view_head(s->view)->chunks_at || at % 8 != 0 ||
	    at > s->limit - sizeof(struct tarn__node))
		return false;
	const struct tarn__node *node = (const void *)(s->view->base + at);

	/* Relaxed: done() says whether it was a node. */
	ret->level = __atomic_load_n(&node->level, __ATOMIC_RELAXED);
	ret->width = __atomic_load_n(&node->width, __ATOMIC_RELAXED);
	ret->n = __atomic_load_n(&node->n, __ATOMIC_RELAXED);
	ret->count = tarn__load_relaxed(&node->count);
	ret->word = node->word;
	if (ret->width == 0 || ret->n > TARN__NODE_WORDS / ret->width ||
	    s->limit - sizeof *node - at < 8ull * ret->n * ret->width)
		return false;
	return ret->level == 0 || ret->width == TARN__CHILD_WORDS;
}

static void copy_words(uint64_t *to, const uint64_t *from, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		to[k] = tarn__load_relaxed(from + k); /* done() says whether they belong together */
}

static struct tarn__child child_of(const struct look *l, unsigned i)
{
	struct tarn__child c;

	copy_words((uint64_t *)(void *)&c, l->word + TARN__CHILD_WORDS * i, TARN__CHILD_WORDS);
	return c;
}

/* Down to the leaf with @position, which becomes one within the leaf. */
static bool descend(const struct tarn__sight *s, uint64_t top, uint64_t *position, struct look *ret)
{
	for (unsigned depth = 0; depth < TARN__VIEW_LEVELS; depth++) {
		unsigned i = 0;

		if (!look_at(s, top, ret) || *position >= ret->count)
			return false;
		if (ret->level == 0)
			return *position < ret->n;
		for (; i < ret->n; i++) {
			uint64_t count = tarn__load_relaxed(ret->word + TARN__CHILD_WORDS * i + 1);

			if (*position < count)
				break;
			*position -= count;
		}
		if (i == ret->n)
			return false;
		top = child_of(ret, i).at;
	}
	return false;
}

bool tarn__tree_at(const struct tarn__sight *s, uint64_t top, uint64_t position, unsigned width,
		   uint64_t *ret_words)
{
	struct look l;

	if (!descend(s, top, &position, &l) || l.width != width)
		return false;
	copy_words(ret_words, l.word + position * width, width);
	return true;
}

unsigned tarn__tree_run(const struct tarn__sight *s, uint64_t top, uint64_t position,
			unsigned width, uint64_t *ret_words, unsigned most)
{
	struct look l;

	if (!descend(s, top, &position, &l) || l.width != width)
		return 0;
	unsigned n = l.n - (unsigned)position;

	n = n < most ? n : most;
	copy_words(ret_words, l.word + position * width, n * width);
	return n;
}

/* How many of the node's elements or children have a first word (a child: key) below @key. */
static unsigned below(const struct look *l, uint64_t key)
{
	unsigned at = l->level != 0 ? 3 : 0, low = 0, high = l->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (tarn__load_relaxed(l->word + middle * l->width + at) < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool tarn__tree_find(const struct tarn__sight *s, uint64_t top, uint64_t key, unsigned width,
		     uint64_t *ret_position, uint64_t *ret_words)
{
	uint64_t before = 0, at = top;
	struct look l;

	for (unsigned depth = 0; depth < TARN__VIEW_LEVELS; depth++) {
		if (!look_at(s, at, &l))
			return false;
		unsigned i = below(&l, key);

		if (l.level == 0) {
			if (i == l.n && ret_position == NULL)
				return tarn__tree_find(s, top, key, width, &before, ret_words);
			if (ret_position != NULL)
				*ret_position = before + i;
			if (i == l.n) /* the first of the next leaf */
				return tarn__tree_at(s, top, before + i, width, ret_words);
			if (l.width != width)
				return false;
			copy_words(ret_words, l.word + i * width, width);
			return true;
		}
		/* The last child that begins below the key may end with it. */
		i -= i > 0;
		for (unsigned k = 0; ret_position != NULL && k < i; k++)
			before += tarn__load_relaxed(l.word + TARN__CHILD_WORDS * k + 1);
		if (i >= l.n)
			return false;
		at = child_of(&l, i).at;
	}
	return false;
}

/* ---- blobs ---- */

const struct tarn__blob *tarn__view_blob(const struct tarn__sight *s, uint64_t at,
					 struct tarn__blob *ret_copy)
{
	if (at < tarn__view_head(s->view)->chunks_at || at % 8 != 0 ||
	    at > s->limit - sizeof(struct tarn__blob))
		return NULL;
	const struct tarn__blob *b = (const void *)(s->view->base + at);

	ret_copy->refs = 0;
	ret_copy->n_refs = tarn__load32_relaxed(&b->n_refs);
	ret_copy->bytes = tarn__load_relaxed(&b->bytes);
	ret_copy->size = tarn__load_relaxed(&b->size);
	uint64_t room = s->limit - sizeof *b - at;

	if (ret_copy->size > room || ret_copy->n_refs > (room - ret_copy->size) / 8)
		return NULL;
	return b;
}

/* ---- keys ---- */

/* Numbers as they are compared: an int where it is one. */
static void canonical(uint64_t *head, uint64_t *body)
{
	double d;

	if (*head == UINT && *body <= INT64_MAX) {
		*head = INT;
	} else if (*head == DOUBLE) {
		memcpy(&d, body, sizeof d);
		if (d != d) {
			*body = 0x7ff8000000000000ull;
		} else if (d >= -0x1p63 && d < 0x1p63 && (double)(int64_t)d == d) {
			*head = INT;
			*body = (uint64_t)(int64_t)d;
		} else if (d >= 0x1p63 && d < 0x1p64) {
			*head = UINT;
			*body = (uint64_t)d;
		}
	}
}

bool tarn__key_make(uint64_t seed, uint64_t head, uint64_t body, const void *data,
		    struct tarn__key *ret)
{
	unsigned kind = head & 0xff;

	if (kind < NIL || kind > BYTES)
		return false;
	head &= ~(uint64_t)0xff00;
	if (data != NULL) {
		ret->hash = tarn__hash64(data, (size_t)(head >> 32), seed ^ kind);
		body = 0;
	} else {
		canonical(&head, &body);
		ret->hash = tarn__hash64((const uint64_t[]){ head, body }, 16, seed);
	}
	ret->head = head;
	ret->body = body;
	ret->data = data;
	return true;
}

static bool same_key(const struct tarn__sight *s, const struct tarn__key *key, uint64_t head,
		     uint64_t body)
{
	struct tarn__blob copy;

	if (!(head & TARN__CELL_BLOB)) {
		if (key->data != NULL)
			return false;
		canonical(&head, &body);
		return head == key->head && body == key->body;
	}
	if ((head & ~(uint64_t)0xff00) != key->head || key->data == NULL)
		return false;
	const struct tarn__blob *b = tarn__view_blob(s, body, &copy);

	/* It may change under our eyes; done() tells. */
	return b != NULL && copy.size == head >> 32 && memcmp(b->data, key->data, copy.size) == 0;
}

/* The entry of the point @words, if it is @key's. */
static bool entry_of(const struct tarn__sight *s, const struct tarn__key *key, const uint64_t *point,
		     uint64_t *ret_position, uint64_t *ret_entry)
{
	return tarn__tree_find(s, s->root.order, point[1], TARN__ENTRY_WORDS, ret_position, ret_entry) &&
	       ret_entry[0] == point[1] && same_key(s, key, ret_entry[1], ret_entry[2]);
}

bool tarn__dict_find(const struct tarn__sight *s, const struct tarn__key *key,
		     uint64_t *ret_position, uint64_t *ret_point, uint64_t *ret_entry)
{
	uint64_t point[TARN__POINT_WORDS], at;

	/* Who reads needs no places: they cost a look at all neighbours. */
	if (s->root.index == 0 ||
	    !tarn__tree_find(s, s->root.index, key->hash, TARN__POINT_WORDS, ret_point, point) ||
	    point[0] != key->hash)
		return false;
	if (entry_of(s, key, point, ret_position, ret_entry))
		return true;
	/* Keys with one hash stand side by side. */
	if (!tarn__tree_find(s, s->root.index, key->hash, TARN__POINT_WORDS, &at, point))
		return false;
	for (;; at++) {
		/* Without end only in what is no tree. */
		if (!tarn__view_done(s) ||
		    !tarn__tree_at(s, s->root.index, at + 1, TARN__POINT_WORDS, point) ||
		    point[0] != key->hash)
			return false;
		if (!entry_of(s, key, point, ret_position, ret_entry))
			continue;
		if (ret_point != NULL)
			*ret_point = at + 1;
		return true;
	}
}
