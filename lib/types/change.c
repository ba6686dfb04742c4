/* SPDX-License-Identifier: Apache-2.0 */
#include "change.h"

#include <stdlib.h>
#include <string.h>

enum { FREE = 0, UNREF_NODE = 1, UNREF_BLOB = 2, DEED_MASK = 7 };

static uint64_t last_stamp; /* atomic */

/* ---- what is to be done at the end ---- */

/* Room for @n more, so that note() cannot fail in the middle of something. */
static int reserve(struct tarn__deeds *d, uint32_t n)
{
	uint32_t room = d->room != 0 ? d->room : 64;
	uint64_t *more;

	if (d->room - d->n >= n)
		return 0;
	while (room - d->n < n)
		room *= 2;
	more = realloc(d->deed, room * sizeof *more);
	if (more == NULL)
		return -ENOMEM;
	d->deed = more;
	d->room = room;
	return 0;
}

static int reserve_both(struct tarn__change *c, uint32_t n)
{
	return reserve(&c->commit, n) < 0 || reserve(&c->abort, n) < 0 ? -ENOMEM : 0;
}

static void note(struct tarn__deeds *d, uint64_t at, unsigned what)
{
	assert(d->n < d->room);
	d->deed[d->n++] = at | what;
}

/* The newest first: a chunk's count is looked at before what it leads to is gone. */
static void perform(struct tarn__change *c, const struct tarn__deeds *d)
{
	for (uint32_t k = d->n; k-- > 0;) {
		uint64_t at = d->deed[k] & ~(uint64_t)DEED_MASK;

		switch (d->deed[k] & DEED_MASK) {
		case FREE:
			tarn__chunk_free(c->store, at, tarn__node(c->view, at)->bytes);
			break;
		case UNREF_NODE:
			tarn__node_unref(c->store, at);
			break;
		default:
			tarn__blob_unref(c->store, at);
		}
	}
}

static void end(struct tarn__change *c)
{
	free(c->commit.deed);
	free(c->abort.deed);
	c->commit = c->abort = (struct tarn__deeds){ .n = 0 };
}

void tarn__change_init(struct tarn__change *c, struct tarn__store *store,
		       struct tarn__view_root *line)
{
	*c = (struct tarn__change){ .store = store, .view = tarn__store_view(store), .line = line,
				    .root = *line };
	c->stamp = __atomic_add_fetch(&last_stamp, 1, __ATOMIC_RELAXED);
}

bool tarn__change_seal(struct tarn__change *c)
{
	const struct tarn__node *top = c->root.order != 0 ? tarn__node(c->view, c->root.order) : NULL;
	const struct tarn__view_root *is = c->line;

	c->root.count = top != NULL ? top->count : 0;
	c->root.held = top != NULL ? top->held : 0;
	c->root.version = is->version;
	if (memcmp(&c->root, is, sizeof *is) == 0)
		return false;
	c->root.version += 2;
	return true;
}

void tarn__change_commit(struct tarn__change *c)
{
	if (c->root.version != c->line->version)
		tarn__root_set(c->line, &c->root);
	perform(c, &c->commit);
	end(c);
}

void tarn__change_abort(struct tarn__change *c)
{
	perform(c, &c->abort);
	end(c);
}

const struct tarn__sight *tarn__change_sight(struct tarn__change *c)
{
	c->sight = (struct tarn__sight){ .view = c->view, .line = c->line, .root = c->root,
					 .limit = tarn__load_relaxed(&tarn__view_head(c->view)->committed) };
	/* Nobody else changes it: done() is always true. */
	c->sight.root.version = c->line->version;
	return &c->sight;
}

/* ---- blobs ---- */

uint64_t tarn__change_blob(struct tarn__change *c, uint64_t size, uint32_t n_refs)
{
	uint64_t at = reserve(&c->abort, 1) == 0 ? tarn__blob_new(c->store, size, n_refs) : 0;

	if (at != 0)
		note(&c->abort, at, UNREF_BLOB);
	return at;
}

int tarn__change_blob_again(struct tarn__change *c, uint64_t at)
{
	if (reserve(&c->abort, 1) < 0)
		return -ENOMEM;
	tarn__blob_ref(c->store, at);
	note(&c->abort, at, UNREF_BLOB);
	return 0;
}

int tarn__change_blob_unused(struct tarn__change *c, uint64_t at)
{
	if (reserve(&c->commit, 1) < 0)
		return -ENOMEM;
	note(&c->commit, at, UNREF_BLOB);
	return 0;
}

/* The element leaves its tree. */
static void let_go(struct tarn__change *c, unsigned form, const uint64_t *words)
{
	uint64_t blob[2];

	for (unsigned k = tarn__element_blobs(form, words, blob); k > 0; k--)
		note(&c->commit, blob[k - 1], UNREF_BLOB);
}

/* ---- nodes ---- */

static unsigned most_of(unsigned width)
{
	return (unsigned)(TARN__NODE_WORDS / width);
}

static unsigned capacity(const struct tarn__node *node)
{
	unsigned n = (unsigned)((node->bytes - sizeof *node) / 8 / node->width);

	return n < most_of(node->width) ? n : most_of(node->width);
}

static struct tarn__child *children(struct tarn__node *node)
{
	return (struct tarn__child *)(void *)node->word;
}

static uint64_t node_new(struct tarn__change *c, unsigned level, unsigned form, unsigned n)
{
	unsigned width = level != 0 ? TARN__CHILD_WORDS : tarn__form_words(form);
	uint64_t bytes = 0, at;

	if (reserve_both(c, 4) < 0)
		return 0;
	at = tarn__chunk_new(c->store, sizeof(struct tarn__node) + 8ull * width * n, &bytes);
	if (at == 0)
		return 0;
	struct tarn__node *node = tarn__node(c->view, at);

	node->refs = 1;
	node->bytes = (uint32_t)bytes;
	node->stamp = c->stamp;
	node->level = (uint8_t)level;
	node->width = (uint8_t)width;
	node->n = 0;
	node->form = form;
	node->count = node->held = 0;
	note(&c->abort, at, FREE);
	return at;
}

/* The copy @to of a shared node refers to what that refers to, too. */
static int count_again(struct tarn__change *c, const struct tarn__node *to)
{
	uint64_t blob[2];

	if (reserve(&c->abort, 2u * to->n) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < to->n; i++) {
		const uint64_t *w = to->word + (unsigned)to->width * i;

		if (to->level != 0) {
			tarn__node_ref(c->store, w[0]);
			note(&c->abort, w[0], UNREF_NODE);
			continue;
		}
		for (unsigned k = tarn__element_blobs(to->form, w, blob); k > 0; k--) {
			tarn__blob_ref(c->store, blob[k - 1]);
			note(&c->abort, blob[k - 1], UNREF_BLOB);
		}
	}
	return 0;
}

/* Makes *@at a node of this change's own, with room for @n. */
static struct tarn__node *own(struct tarn__change *c, uint64_t *at, unsigned n)
{
	struct tarn__node *old = tarn__node(c->view, *at), *node;
	bool fresh = old->stamp == c->stamp;
	uint64_t copy;

	if (fresh && capacity(old) >= n)
		return old;
	if (n < old->n)
		n = old->n;
	/* What grows step by step is not copied at each. */
	if (fresh && n < most_of(old->width))
		n = 2 * n < most_of(old->width) ? 2 * n : most_of(old->width);
	copy = node_new(c, old->level, old->form, n);
	if (copy == 0)
		return NULL;
	node = tarn__node(c->view, copy);
	node->n = old->n;
	node->count = old->count;
	node->held = old->held;
	memcpy(node->word, old->word, 8ull * old->n * old->width);
	/* SYNC chunk-refs, acquire: if it was another's, too, that one is done with it. One is our
	 * own, and nobody can make it two but by this container. */
	if (fresh || tarn__load32_acquire(&old->refs) == 1) {
		note(&c->commit, *at, FREE);
	} else {
		if (count_again(c, node) < 0)
			return NULL;
		note(&c->commit, *at, UNREF_NODE);
	}
	*at = copy;
	return node;
}

/* What the parent says of it. */
static void summarise(struct tarn__change *c, struct tarn__child *ch)
{
	const struct tarn__node *node = tarn__node(c->view, ch->at);

	ch->count = node->count;
	ch->held = node->held;
	ch->key = node->n == 0 ? 0 : node->word[node->level != 0 ? 3 : 0];
}

/* ---- inserting ---- */

/* Elements from @from on move to a new node at its right, *@ret_right. */
static int split(struct tarn__change *c, struct tarn__node *node, unsigned from, uint64_t *ret_right)
{
	unsigned moved = node->n - from;
	/* Room for one more than there may ever be to insert. */
	uint64_t at = node_new(c, node->level, node->form, moved + 1 < most_of(node->width)
							     ? moved + 1 : most_of(node->width));

	if (at == 0)
		return -ENOMEM;
	struct tarn__node *right = tarn__node(c->view, at);

	memcpy(right->word, node->word + (size_t)from * node->width, 8ull * moved * node->width);
	right->n = (uint16_t)moved;
	for (unsigned i = 0; i < moved; i++) {
		const uint64_t *w = right->word + (unsigned)right->width * i;

		right->count += node->level != 0 ? w[1] : 1;
		right->held += node->level != 0 ? w[2]
						: tarn__element_held(c->view, node->form, w);
	}
	node->n = (uint16_t)from;
	node->count -= right->count;
	node->held -= right->held;
	*ret_right = at;
	return 0;
}

static void put(struct tarn__node *node, unsigned i, const uint64_t *words, uint64_t count,
		uint64_t held)
{
	uint64_t *w = node->word + (size_t)i * node->width;

	memmove(w + node->width, w, 8ull * (node->n - i) * node->width);
	memcpy(w, words, 8ull * node->width);
	node->n++;
	node->count += count;
	node->held += held;
}

/* Puts one entry at place @i of *@at, which is split if it is full. */
static int put_one(struct tarn__change *c, uint64_t *at, unsigned i, const uint64_t *words,
		   uint64_t count, uint64_t held, uint64_t *ret_right)
{
	struct tarn__node *node = tarn__node(c->view, *at);
	unsigned n = node->n, most = most_of(node->width);

	node = own(c, at, n < most ? n + 1 : n);
	if (node == NULL)
		return -ENOMEM;
	if (n < most) {
		put(node, i, words, count, held);
		return 0;
	}
	/* Who appends leaves full nodes behind. */
	unsigned from = i == n ? n : n / 2;

	if (split(c, node, from, ret_right) < 0)
		return -ENOMEM;
	if (i < from) {
		put(node, i, words, count, held);
	} else {
		struct tarn__node *right = own(c, ret_right, n - from + 1);

		if (right == NULL)
			return -ENOMEM;
		put(right, i - from, words, count, held);
	}
	return 0;
}

static int insert(struct tarn__change *c, uint64_t *at, uint64_t position, const uint64_t *words,
		  uint64_t held, uint64_t *ret_right)
{
	struct tarn__node *node = tarn__node(c->view, *at);
	uint64_t right = 0;
	unsigned i = 0;

	if (node->level == 0)
		return put_one(c, at, (unsigned)position, words, 1, held, ret_right);
	node = own(c, at, node->n);
	if (node == NULL)
		return -ENOMEM;
	struct tarn__child *ch = children(node);

	for (; i + 1u < node->n && position > ch[i].count; i++)
		position -= ch[i].count;
	if (insert(c, &ch[i].at, position, words, held, &right) < 0)
		return -ENOMEM;
	summarise(c, &ch[i]);
	node->count++;
	node->held += held;
	if (right == 0)
		return 0;
	struct tarn__child fresh = { .at = right };

	summarise(c, &fresh);
	/* Out of this node's numbers, and in again, for it may go to the other half. */
	node->count -= fresh.count;
	node->held -= fresh.held;
	return put_one(c, at, i + 1, (const uint64_t *)(const void *)&fresh, fresh.count, fresh.held,
		       ret_right);
}

int tarn__tree_insert(struct tarn__change *c, uint64_t *top, unsigned form, uint64_t position,
		      const uint64_t *words)
{
	uint64_t held = tarn__element_held(c->view, form, words), right = 0;

	if (*top == 0) {
		*top = node_new(c, 0, form, 1);
		if (*top == 0)
			return -ENOMEM;
	}
	if (insert(c, top, position, words, held, &right) < 0)
		return -ENOMEM;
	if (right == 0)
		return 0;
	struct tarn__child two[2] = { { .at = *top }, { .at = right } };
	uint64_t at = node_new(c, tarn__node(c->view, *top)->level + 1u, form, 2);

	if (at == 0)
		return -ENOMEM;
	for (unsigned k = 0; k < 2; k++) {
		summarise(c, &two[k]);
		put(tarn__node(c->view, at), k, (const uint64_t *)(const void *)&two[k], two[k].count,
		    two[k].held);
	}
	*top = at;
	return 0;
}

/* ---- taking out ---- */

static void take(struct tarn__node *node, unsigned i)
{
	uint64_t *w = node->word + (size_t)i * node->width;

	memmove(w, w + node->width, 8ull * (node->n - i - 1u) * node->width);
	node->n--;
}

/* Two neighbours become one if they fit well: @i and the next. */
static int merge(struct tarn__change *c, struct tarn__node *parent, unsigned i)
{
	struct tarn__child *ch = children(parent);
	unsigned most = most_of(tarn__node(c->view, ch[i].at)->width);
	unsigned a = tarn__node(c->view, ch[i].at)->n, b = tarn__node(c->view, ch[i + 1].at)->n;

	if (a + b > most * 3 / 4)
		return 0;
	struct tarn__node *left = own(c, &ch[i].at, a + b);
	struct tarn__node *right = left != NULL ? own(c, &ch[i + 1].at, b) : NULL;

	if (right == NULL || reserve(&c->commit, 1) < 0)
		return -ENOMEM;
	memcpy(left->word + (size_t)a * left->width, right->word, 8ull * b * left->width);
	left->n = (uint16_t)(a + b);
	left->count += right->count;
	left->held += right->held;
	note(&c->commit, ch[i + 1].at, FREE);
	take(parent, i + 1);
	summarise(c, &ch[i]);
	return 0;
}

static int erase(struct tarn__change *c, uint64_t *at, uint64_t position, uint64_t *ret_held)
{
	struct tarn__node *node = own(c, at, tarn__node(c->view, *at)->n);
	unsigned i = 0;

	if (node == NULL || reserve(&c->commit, 2) < 0)
		return -ENOMEM;
	if (node->level == 0) {
		const uint64_t *w = node->word + position * node->width;

		*ret_held = tarn__element_held(c->view, node->form, w);
		let_go(c, node->form, w);
		take(node, (unsigned)position);
		node->count--;
		node->held -= *ret_held;
		return 0;
	}
	struct tarn__child *ch = children(node);

	for (; position >= ch[i].count; i++)
		position -= ch[i].count;
	if (erase(c, &ch[i].at, position, ret_held) < 0)
		return -ENOMEM;
	node->count--;
	node->held -= *ret_held;
	summarise(c, &ch[i]);

	const struct tarn__node *child = tarn__node(c->view, ch[i].at);

	if (child->n == 0) {
		if (reserve(&c->commit, 1) < 0)
			return -ENOMEM;
		note(&c->commit, ch[i].at, FREE);
		take(node, i);
	} else if (child->n < most_of(child->width) / 4) {
		if (i + 1u < node->n)
			return merge(c, node, i);
		if (i > 0)
			return merge(c, node, i - 1);
	}
	return 0;
}

int tarn__tree_erase(struct tarn__change *c, uint64_t *top, uint64_t position)
{
	const struct tarn__node *node;
	uint64_t held;

	if (erase(c, top, position, &held) < 0)
		return -ENOMEM;
	for (node = tarn__node(c->view, *top); node->n == 0 || (node->level != 0 && node->n == 1);
	     node = tarn__node(c->view, *top)) {
		uint64_t gone = *top;

		if (reserve(&c->commit, 1) < 0)
			return -ENOMEM;
		/* Fresh; its only child is not counted again. */
		*top = node->n == 0 ? 0 : node->word[0];
		note(&c->commit, gone, FREE);
		if (*top == 0)
			break;
	}
	return 0;
}

/* ---- in place of another ---- */

static int set(struct tarn__change *c, uint64_t *at, uint64_t position, const uint64_t *words,
	       uint64_t *ret_more, uint64_t *ret_less)
{
	struct tarn__node *node = own(c, at, tarn__node(c->view, *at)->n);
	unsigned i = 0;

	if (node == NULL || reserve(&c->commit, 2) < 0)
		return -ENOMEM;
	if (node->level == 0) {
		uint64_t *w = node->word + position * node->width, was[2], is[2];
		unsigned n_was = tarn__element_blobs(node->form, w, was);
		unsigned n_is = tarn__element_blobs(node->form, words, is);

		*ret_less = tarn__element_held(c->view, node->form, w);
		*ret_more = tarn__element_held(c->view, node->form, words);
		for (unsigned k = 0; k < n_was; k++) {
			bool stays = false;

			for (unsigned m = 0; m < n_is; m++)
				stays |= was[k] == is[m];
			if (!stays)
				note(&c->commit, was[k], UNREF_BLOB);
		}
		memcpy(w, words, 8ull * node->width);
	} else {
		struct tarn__child *ch = children(node);

		for (; position >= ch[i].count; i++)
			position -= ch[i].count;
		if (set(c, &ch[i].at, position, words, ret_more, ret_less) < 0)
			return -ENOMEM;
		summarise(c, &ch[i]);
	}
	node->held += *ret_more - *ret_less;
	return 0;
}

int tarn__tree_set(struct tarn__change *c, uint64_t *top, uint64_t position, const uint64_t *words)
{
	uint64_t more, less;

	return set(c, top, position, words, &more, &less);
}

/* ---- whole trees ---- */

int tarn__tree_clear(struct tarn__change *c, uint64_t *top)
{
	if (*top == 0)
		return 0;
	if (reserve(&c->commit, 1) < 0)
		return -ENOMEM;
	note(&c->commit, *top, UNREF_NODE);
	*top = 0;
	return 0;
}

int tarn__tree_share(struct tarn__change *c, uint64_t *top, uint64_t from)
{
	if (from == 0)
		return 0;
	if (reserve(&c->abort, 1) < 0)
		return -ENOMEM;
	tarn__node_ref(c->store, from);
	note(&c->abort, from, UNREF_NODE);
	*top = from;
	return 0;
}
