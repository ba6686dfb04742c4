/* SPDX-License-Identifier: Apache-2.0 */
/* The store counted from scratch: what roots lead to, against what chunks and roots say. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct seen {
	uint64_t at;
	uint32_t found, refs;
};

struct count {
	struct tarn__store *store;
	const struct tarn__view *view;
	struct seen *seen;
	size_t n, room;      /* room: a power of two */
	uint64_t bytes;
	char *why;
	size_t why_bytes;
};

__attribute__((format(printf, 2, 3)))
static int wrong(struct count *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->why, c->why_bytes, format, ap);
	va_end(ap);
	return -EUCLEAN;
}

static struct seen *slot_of(const struct count *c, uint64_t at)
{
	size_t i = at * 0x9e3779b97f4a7c15ull >> 20;

	while (c->seen[i & (c->room - 1)].at != 0 && c->seen[i & (c->room - 1)].at != at)
		i++;
	return &c->seen[i & (c->room - 1)];
}

static int grow(struct count *c)
{
	struct count bigger = *c;

	bigger.room = c->room != 0 ? 2 * c->room : 1024;
	bigger.seen = calloc(bigger.room, sizeof *bigger.seen);
	if (bigger.seen == NULL)
		return -ENOMEM;
	for (size_t k = 0; k < c->room; k++)
		if (c->seen[k].at != 0)
			*slot_of(&bigger, c->seen[k].at) = c->seen[k];
	free(c->seen);
	*c = bigger;
	return 0;
}

/* 1: the first time, 0: again. */
static int see(struct count *c, uint64_t at, uint32_t refs, uint64_t bytes)
{
	if (2 * c->n >= c->room && grow(c) < 0)
		return -ENOMEM;
	struct seen *s = slot_of(c, at);
	bool first = s->at == 0;

	if (first) {
		*s = (struct seen){ .at = at, .refs = refs };
		c->n++;
		c->bytes += bytes;
	}
	s->found++;
	return first;
}

static int walk_blobs(struct count *c, unsigned form, const uint64_t *words)
{
	uint64_t blob[2];
	int r = 0;

	for (unsigned k = tarn__element_blobs(form, words, blob); k > 0 && r >= 0; k--) {
		const struct tarn__blob *b = tarn__blob(c->view, blob[k - 1]);

		r = see(c, blob[k - 1], b->refs, b->bytes);
	}
	return r < 0 ? r : 0;
}

static int walk(struct count *c, uint64_t at, bool is_root)
{
	const struct tarn__node *node = tarn__node(c->view, at);
	uint64_t count = 0, held = 0, before = 0;
	int r = see(c, at, node->refs, node->bytes);

	if (r <= 0)
		return r;
	if (node->n == 0 || (is_root && node->level != 0 && node->n == 1))
		return wrong(c, "node %llx is empty", (unsigned long long)at);
	for (unsigned i = 0; i < node->n; i++) {
		const uint64_t *w = node->word + (size_t)i * node->width;
		uint64_t key = w[node->level != 0 ? 3 : 0];

		if (i > 0 && node->form != TARN__FORM_CELLS && key < before)
			return wrong(c, "node %llx is not in order", (unsigned long long)at);
		before = key;
		if (node->level == 0) {
			count++;
			held += tarn__element_held(c->view, node->form, w);
			r = walk_blobs(c, node->form, w);
		} else {
			const struct tarn__node *child = tarn__node(c->view, w[0]);

			if (child->count != w[1] || child->held != w[2] || child->form != node->form ||
			    child->level + 1 != node->level ||
			    (node->form != TARN__FORM_CELLS && child->word[child->level != 0 ? 3 : 0] != key))
				return wrong(c, "node %llx says something else of child %u than that",
					     (unsigned long long)at, i);
			count += w[1];
			held += w[2];
			r = walk(c, w[0], false);
		}
		if (r < 0)
			return r;
	}
	if (count != node->count || held != node->held)
		return wrong(c, "node %llx has %llu elements and says %llu", (unsigned long long)at,
			     (unsigned long long)count, (unsigned long long)node->count);
	return 0;
}

static int walk_root(struct count *c, const struct tarn__view_root *line)
{
	int r = 0;

	if (line->version % 2 != 0)
		return wrong(c, "the root of %llx is being changed", (unsigned long long)line->id);
	if (line->order != 0) {
		const struct tarn__node *top = tarn__node(c->view, line->order);

		if (top->count != line->count || top->held != line->held)
			return wrong(c, "the root of %llx says %llu elements, its tree %llu",
				     (unsigned long long)line->id, (unsigned long long)line->count,
				     (unsigned long long)top->count);
		r = walk(c, line->order, true);
	} else if (line->count != 0 || line->held != 0) {
		return wrong(c, "the root of %llx has elements and no tree", (unsigned long long)line->id);
	}
	if (r == 0 && line->index != 0) {
		if (tarn__node(c->view, line->index)->count != line->count)
			return wrong(c, "the dict %llx has not as many points as entries",
				     (unsigned long long)line->id);
		r = walk(c, line->index, true);
	}
	return r;
}

int64_t tarn__store_verify(struct tarn__store *s, char *why, size_t bytes)
{
	struct count c = { .store = s, .view = tarn__store_view(s), .why = why, .why_bytes = bytes };
	uint64_t roots = tarn__store_roots(s);
	int r = 0;

	for (uint64_t k = 0; k < roots && r == 0; k++)
		r = walk_root(&c, tarn__view_root(c.view, (uint32_t)k));
	for (size_t k = 0; k < c.room && r == 0; k++)
		if (c.seen[k].at != 0 && c.seen[k].found != c.seen[k].refs)
			r = wrong(&c, "chunk %llx is referred to %u times and says %u",
				  (unsigned long long)c.seen[k].at, c.seen[k].found, c.seen[k].refs);
	if (r == 0 && c.bytes != tarn__store_used(s))
		r = wrong(&c, "%llu bytes of chunks are in use and %llu referred to",
			  (unsigned long long)tarn__store_used(s), (unsigned long long)c.bytes);
	free(c.seen);
	return r < 0 ? r : (int64_t)c.bytes;
}
