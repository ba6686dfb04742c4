/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of a server that was killed. What lines lead to is whole: chunks are written before a line,
 * or META, leads to them, and not touched afterwards. Which chunks are in use, and how often each
 * is referred to, is found by walking all trees; what a change had begun is not among that, so it
 * is free again.
 */
#include "store-memory.h"

#include <stdlib.h>
#include <string.h>

int tarn__store_inherit(const struct tarn__segment *segment, struct tarn__store **ret)
{
	struct tarn__store *s;
	int r = tarn__store_begin(segment, &s);

	if (r < 0)
		return r;
	/* It may have been killed after memory was committed and before it said so: committed again. */
	s->committed = s->head->committed;
	s->roots_committed = s->head->roots_committed;
	r = tarn__store_map(s);
	if (r < 0)
		tarn__store_free(s);
	else
		*ret = s;
	return r;
}

/* ---- lines ---- */

static bool lies_there(const struct tarn__store *s, uint64_t at, uint64_t bytes)
{
	return at >= s->head->chunks_at && at % 8 == 0 && bytes <= s->committed && at <= s->committed - bytes;
}

int tarn__store_restore(struct tarn__store *s, uint32_t index, const struct tarn__view_root *to)
{
	static const struct tarn__view_root nothing;
	struct tarn__view_root *line = tarn__store_root(s, index), root;

	if (line == NULL)
		return -ENOMEM;
	root = to != NULL ? *to : nothing;
	if (root.order != 0) {
		if (!lies_there(s, root.order, sizeof(struct tarn__node)))
			return -EUCLEAN;
		root.count = tarn__node(&s->view, root.order)->count;
		root.held = tarn__node(&s->view, root.order)->held;
	}
	if (line->version % 2 == 0) {
		/* One that says nothing may be of any version. */
		if (to == NULL)
			root.version = line->version;
		if (memcmp(&root, line, sizeof root) == 0)
			return 0;
	}
	tarn__root_restore(line, &root);
	return 0;
}

/* ---- which chunks are in use ---- */

#define MARK_WORDS (SPAN_CHUNKS / 64)

struct marks {
	struct tarn__store *s;
	uint64_t (*bit)[MARK_WORDS]; /* by span, a chunk each */
	uint32_t n;                  /* spans whose memory is there */
};

/* 1: the first time, 0: again. -EUCLEAN: no chunk lies there. */
static int mark_small(struct marks *m, uint32_t i, uint64_t at, unsigned c)
{
	struct span *p = &m->s->span[i];
	uint64_t within = at - tarn__span_at(m->s, i), k = within / tarn__chunk_classes[c];
	uint64_t bit = (uint64_t)1 << k % 64;

	if (p->class == SPAN_FREE)
		*p = (struct span){ .class = (uint8_t)c };
	if (p->class != c || within % tarn__chunk_classes[c] != 0)
		return -EUCLEAN;
	if (m->bit[i][k / 64] & bit)
		return 0;
	m->bit[i][k / 64] |= bit;
	p->used++;
	if (p->fresh <= k)
		p->fresh = (uint16_t)(k + 1);
	m->s->used += tarn__chunk_classes[c];
	return 1;
}

static int mark_run(struct marks *m, uint32_t i, uint64_t at, uint64_t bytes)
{
	struct span *p = &m->s->span[i];
	uint64_t n = bytes / TARN__VIEW_SPAN;

	if (at != tarn__span_at(m->s, i) || bytes % TARN__VIEW_SPAN != 0 || n > m->n - i)
		return -EUCLEAN;
	if (p->class == SPAN_RUN)
		return p->run == n ? 0 : -EUCLEAN;
	for (uint64_t k = 0; k < n; k++) {
		if (p[k].class != SPAN_FREE)
			return -EUCLEAN;
		p[k] = (struct span){ .class = SPAN_INSIDE };
	}
	*p = (struct span){ .class = SPAN_RUN, .run = (uint32_t)n };
	m->s->used += bytes;
	return 1;
}

static int mark(struct marks *m, uint64_t at, uint64_t bytes)
{
	unsigned c = tarn__chunk_class(bytes);
	uint32_t i = (uint32_t)((at - m->s->head->chunks_at) / TARN__VIEW_SPAN);

	if (!lies_there(m->s, at, bytes) || i >= m->n)
		return -EUCLEAN;
	if (c == CLASSES)
		return mark_run(m, i, at, bytes);
	return tarn__chunk_classes[c] == bytes ? mark_small(m, i, at, c) : -EUCLEAN;
}

/* Counts are the server's alone, so no reader minds that they are written. Nothing was handed out by this
 * process yet, so no stamp of its changes may be there either. */
static int walk_blobs(struct marks *m, unsigned form, const uint64_t *words)
{
	uint64_t at[2];
	int r = 0;

	for (unsigned k = tarn__element_blobs(form, words, at); k > 0 && r >= 0; k--) {
		struct tarn__blob *b = tarn__blob(&m->s->view, at[k - 1]);

		r = lies_there(m->s, at[k - 1], sizeof *b) ? mark(m, at[k - 1], b->bytes) : -EUCLEAN;
		if (r >= 0)
			b->refs = r == 1 ? 1 : b->refs + 1;
	}
	return r < 0 ? r : 0;
}

/* As deep as trees are. */
static int walk(struct marks *m, uint64_t at, unsigned level)
{
	struct tarn__node *node = tarn__node(&m->s->view, at);
	int r;

	if (!lies_there(m->s, at, sizeof *node) || node->level >= TARN__VIEW_LEVELS ||
	    (level < TARN__VIEW_LEVELS && node->level != level) ||
	    node->n > TARN__NODE_WORDS / (node->width != 0 ? node->width : 1u))
		return -EUCLEAN;
	r = mark(m, at, node->bytes);
	if (r >= 0)
		node->refs = r == 1 ? 1 : node->refs + 1;
	if (r <= 0)
		return r;
	node->stamp = 0;
	for (unsigned i = 0; i < node->n && r >= 0; i++) {
		const uint64_t *w = node->word + (size_t)i * node->width;

		r = node->level != 0 ? walk(m, w[0], node->level - 1u) : walk_blobs(m, node->form, w);
	}
	return r < 0 ? r : 0;
}

/* ---- all else is free ---- */

static void chain_free(struct marks *m, uint32_t i)
{
	struct tarn__store *s = m->s;
	struct span *p = &s->span[i];

	/* The lowest is the first to be used. */
	for (unsigned k = p->fresh; k-- > 0;) {
		uint64_t at = tarn__span_at(s, i) + (uint64_t)k * tarn__chunk_classes[p->class];

		if (m->bit[i][k / 64] & (uint64_t)1 << k % 64)
			continue;
		memcpy(s->view.base + at, &p->free, 8);
		p->free = at;
	}
	if (tarn__span_has_room(p))
		tarn__span_link(s, i);
}

static void settle_spans(struct marks *m)
{
	struct tarn__store *s = m->s;

	for (uint32_t i = 0; i < m->n; i++)
		if (s->span[i].class != SPAN_FREE)
			s->spans_used = i + 1;
	for (uint32_t i = 0; i < s->spans_used; i++) {
		s->free_spans += s->span[i].class == SPAN_FREE;
		if (s->span[i].class < CLASSES)
			chain_free(m, i);
	}
}

int tarn__store_rebuild(struct tarn__store *s)
{
	struct marks m = { .s = s, .n = (uint32_t)((s->committed - s->head->chunks_at) / TARN__VIEW_SPAN) };
	uint64_t roots = tarn__store_roots(s);
	int r = 0;

	m.bit = calloc(m.n + 1u, sizeof *m.bit);
	if (m.bit == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < m.n; i++)
		s->span[i].class = SPAN_FREE;
	for (uint64_t k = 0; k < roots && r == 0; k++) {
		const struct tarn__view_root *line = tarn__view_root(&s->view, (uint32_t)k);

		if (line->order != 0)
			r = walk(&m, line->order, TARN__VIEW_LEVELS);
		if (r == 0 && line->index != 0)
			r = walk(&m, line->index, TARN__VIEW_LEVELS);
	}
	if (r == 0)
		settle_spans(&m);
	free(m.bit);
	return r;
}

/* ---- references ---- */

static int each_of(const struct tarn__store *s, const uint64_t *cell, int (*fn)(void *, uint64_t), void *arg)
{
	int r = 0;

	if (!(cell[0] & TARN__CELL_BLOB))
		return tarn__cell_held(&s->view, cell) != 0 ? fn(arg, cell[1]) : 0;
	struct tarn__blob *b = tarn__blob(&s->view, cell[1]);

	for (uint32_t k = 0; k < b->n_refs && r == 0; k++)
		r = fn(arg, tarn__blob_ids(b)[k]);
	return r;
}

int tarn__store_each_held(const struct tarn__store *s, uint64_t top,
			  int (*fn)(void *arg, uint64_t id), void *arg)
{
	const struct tarn__node *node = top != 0 ? tarn__node(&s->view, top) : NULL;
	int r = 0;

	if (node == NULL || node->held == 0)
		return 0;
	for (unsigned i = 0; i < node->n && r == 0; i++) {
		const uint64_t *w = node->word + (size_t)i * node->width;

		r = node->level != 0 ? tarn__store_each_held(s, w[0], fn, arg)
				     : each_of(s, tarn__element_value(node->form, w), fn, arg);
	}
	return r;
}
