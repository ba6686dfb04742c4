/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks: classes out of spans of 64 KiB, what is larger as runs of spans. Free chunks of a span
 * are chained through their first word; nobody but the server writes there.
 */
#include "store-memory.h"

#include <stdlib.h>
#include <string.h>

#include "lib/value/value.h"
#include "shm/meta.h"

#define COMMIT_STEP (16u * TARN__VIEW_SPAN) /* bytes committed at a time */
#define SMALL_TREE 512u /* elements of a tree that is freed at once */

static_assert(TARN_KIND_NIL == 1 && TARN_KIND_BOOL == 2 && TARN_KIND_INT == 3 &&
	      TARN_KIND_UINT == 4 && TARN_KIND_DOUBLE == 5 && TARN_KIND_STRING == 6 &&
	      TARN_KIND_BYTES == 7, "shm/view.c says so");

const struct tarn__view *tarn__store_view(const struct tarn__store *s)
{
	return &s->view;
}

uint64_t tarn__store_seed(const struct tarn__store *s)
{
	return s->head->seed;
}

/* ---- memory ---- */

/* What is taken once @bytes more are committed: no more than before where a dead server had it. */
static uint64_t taken_with(const struct tarn__store *s, uint64_t bytes)
{
	const uint64_t end = s->committed - s->head->chunks_at + bytes;

	return end > s->part.taken ? end : s->part.taken;
}

static int reserve(struct tarn__store *s, uint64_t bytes)
{
	/* Relaxed: the budget has a margin, see the server's. */
	const uint64_t most = s->most != NULL ? tarn__load_relaxed(s->most) : 0;

	if (most != 0 && taken_with(s, bytes) + tarn__load_relaxed(s->others) > most) {
		tarn__store_relaxed(&s->part.refused, s->part.refused + 1); /* relaxed: a reason to look */
		return -ENOSPC;
	}
	return tarn__segment_reserve(&s->segment, s->committed, bytes);
}

static int commit(struct tarn__store *s, uint64_t end)
{
	uint64_t step = tarn__round_up(end - s->committed, COMMIT_STEP);
	int r;

	if (end <= s->committed)
		return 0;
	if (step > s->view.bytes - s->committed)
		step = s->view.bytes - s->committed;
	r = reserve(s, step);
	if (r < 0 && step > end - s->committed) {
		step = end - s->committed; /* the last there is */
		r = reserve(s, step);
	}
	if (r < 0)
		return r;
	tarn__store_relaxed(&s->part.taken, taken_with(s, step)); /* relaxed: as above */
	s->committed += step;
	/* SYNC view-committed, release: what is below it is there. */
	tarn__store_release(&s->head->committed, s->committed);
	return 0;
}

static void unlink_room(struct tarn__store *s, uint32_t i)
{
	struct span *p = &s->span[i];

	if (p->prev != NONE)
		s->span[p->prev].next = p->next;
	else
		s->room[p->class] = p->next;
	if (p->next != NONE)
		s->span[p->next].prev = p->prev;
}

/* The first of @n free spans side by side; NONE. */
static uint32_t spans_take(struct tarn__store *s, uint32_t n)
{
	uint32_t found = 0, i;

	for (i = s->free_spans >= n ? (n == 1 ? s->hint : 0) : s->spans_used; i < s->spans_used; i++) {
		found = s->span[i].class == SPAN_FREE ? found + 1 : 0;
		if (found == n)
			break;
	}
	if (found == n) {
		i -= n - 1;
		s->free_spans -= n;
		if (n == 1)
			s->hint = i + 1;
		return i;
	}
	i = s->spans_used;
	if (n > s->n_spans - i || commit(s, tarn__span_at(s, i + n)) < 0)
		return NONE;
	s->spans_used += n;
	return i;
}

static void spans_give(struct tarn__store *s, uint32_t i, uint32_t n)
{
	for (uint32_t k = i; k < i + n; k++)
		s->span[k].class = SPAN_FREE;
	s->free_spans += n;
	if (i < s->hint)
		s->hint = i;
}

static uint64_t small_new(struct tarn__store *s, unsigned c)
{
	uint32_t i = s->room[c], size = tarn__chunk_classes[c];
	struct span *p;
	uint64_t at;

	if (i == NONE) {
		i = spans_take(s, 1);
		if (i == NONE)
			return 0;
		s->span[i] = (struct span){ .class = (uint8_t)c };
		tarn__span_link(s, i);
	}
	p = &s->span[i];
	at = p->free;
	if (at != 0)
		memcpy(&p->free, s->view.base + at, 8);
	else
		at = tarn__span_at(s, i) + (uint64_t)p->fresh++ * size;
	p->used++;
	if (!tarn__span_has_room(p))
		unlink_room(s, i);
	return at;
}

static void small_free(struct tarn__store *s, uint32_t i, uint64_t at)
{
	struct span *p = &s->span[i];
	bool was_full = !tarn__span_has_room(p);

	memcpy(s->view.base + at, &p->free, 8);
	p->free = at;
	if (was_full)
		tarn__span_link(s, i);
	if (--p->used == 0) {
		unlink_room(s, i);
		spans_give(s, i, 1);
	}
}

uint64_t tarn__chunk_new(struct tarn__store *s, uint64_t bytes, uint64_t *ret_bytes)
{
	unsigned c = tarn__chunk_class(bytes);
	uint64_t at, real = c < CLASSES ? tarn__chunk_classes[c] : tarn__round_up(bytes, TARN__VIEW_SPAN);

	if (real / TARN__VIEW_SPAN > s->n_spans)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (c < CLASSES) {
		at = small_new(s, c);
	} else {
		uint32_t n = (uint32_t)(real / TARN__VIEW_SPAN), i = spans_take(s, n);

		for (uint32_t k = 1; i != NONE && k < n; k++)
			s->span[i + k] = (struct span){ .class = SPAN_INSIDE };
		if (i != NONE)
			s->span[i] = (struct span){ .class = SPAN_RUN, .run = n };
		at = i != NONE ? tarn__span_at(s, i) : 0;
	}
	s->used += at != 0 ? real : 0;
	pthread_mutex_unlock(&s->lock);
	*ret_bytes = real;
	return at;
}

void tarn__chunk_free(struct tarn__store *s, uint64_t at, uint64_t bytes)
{
	uint32_t i = (uint32_t)((at - s->head->chunks_at) / TARN__VIEW_SPAN);

	pthread_mutex_lock(&s->lock);
	assert(i < s->spans_used && s->span[i].class != SPAN_FREE && s->used >= bytes);
	s->used -= bytes;
	if (s->span[i].class == SPAN_RUN)
		spans_give(s, i, s->span[i].run);
	else
		small_free(s, i, at);
	pthread_mutex_unlock(&s->lock);
}

uint64_t tarn__store_used(struct tarn__store *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t used = s->used;
	pthread_mutex_unlock(&s->lock);
	return used;
}

uint64_t tarn__store_committed(struct tarn__store *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t bytes = s->committed > s->head->chunks_at ? s->committed - s->head->chunks_at : 0;
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

/* ---- blobs and elements ---- */

uint64_t tarn__blob_new(struct tarn__store *s, uint64_t size, uint32_t n_refs)
{
	uint64_t real, data = (size + 7) / 8 * 8;
	uint64_t at = tarn__chunk_new(s, sizeof(struct tarn__blob) + data + 8ull * n_refs, &real);

	if (at == 0)
		return 0;
	struct tarn__blob *b = tarn__blob(&s->view, at);

	b->refs = 1;
	b->n_refs = n_refs;
	b->bytes = real;
	b->size = size;
	if (data != 0)
		b->data[data / 8 - 1] = 0; /* what is behind the data is nobody's secret */
	return at;
}

void tarn__blob_ref(struct tarn__store *s, uint64_t at)
{
	/* Relaxed: who has a reference gives another. */
	__atomic_fetch_add(&tarn__blob(&s->view, at)->refs, 1, __ATOMIC_RELAXED);
}

void tarn__blob_unref(struct tarn__store *s, uint64_t at)
{
	struct tarn__blob *b = tarn__blob(&s->view, at);

	/* SYNC chunk-refs: the last one sees what all others did. */
	if (__atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL) == 1)
		tarn__chunk_free(s, at, b->bytes);
}

unsigned tarn__element_blobs(unsigned form, const uint64_t *words, uint64_t *ret_at)
{
	unsigned n = 0;

	if (form == TARN__FORM_POINTS)
		return 0;
	for (unsigned k = form == TARN__FORM_ENTRIES ? 1 : 0, last = k == 0 ? 1 : 5; k < last; k += 2)
		if (words[k] & TARN__CELL_BLOB)
			ret_at[n++] = words[k + 1];
	return n;
}

uint64_t tarn__cell_held(const struct tarn__view *v, const uint64_t *cell)
{
	if (cell[0] & TARN__CELL_BLOB)
		return tarn__blob(v, cell[1])->n_refs;
	return tarn__kind_is_ref(tarn__head_kind(cell[0]));
}

/* ---- trees ---- */

void tarn__node_ref(struct tarn__store *s, uint64_t at)
{
	__atomic_fetch_add(&tarn__node(&s->view, at)->refs, 1, __ATOMIC_RELAXED);
}

/* Recursion as deep as trees are: at most TARN__VIEW_LEVELS. */
static void unref_now(struct tarn__store *s, uint64_t at)
{
	struct tarn__node *node = tarn__node(&s->view, at);
	uint64_t blob[2];

	/* SYNC chunk-refs */
	if (__atomic_fetch_sub(&node->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (unsigned i = 0; i < node->n; i++) {
		const uint64_t *w = node->word + (unsigned)node->width * i;

		if (node->level != 0) {
			unref_now(s, w[0]);
			continue;
		}
		for (unsigned k = tarn__element_blobs(node->form, w, blob); k > 0; k--)
			tarn__blob_unref(s, blob[k - 1]);
	}
	tarn__chunk_free(s, at, node->bytes);
}

static void *reap(void *arg)
{
	struct tarn__store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (s->n_doomed == 0 && !s->ending) {
			s->busy = false;
			pthread_cond_broadcast(&s->settled);
			pthread_cond_wait(&s->work, &s->lock);
		}
		if (s->n_doomed == 0)
			break;
		uint64_t at = s->doomed[--s->n_doomed];

		s->busy = true;
		pthread_mutex_unlock(&s->lock);
		unref_now(s, at);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Leaves it to the reaper. False: no memory, or no thread. */
static bool doom(struct tarn__store *s, uint64_t at)
{
	bool done = false;

	pthread_mutex_lock(&s->lock);
	if (s->n_doomed == s->doomed_room) {
		size_t room = s->doomed_room != 0 ? 2 * s->doomed_room : 16;
		uint64_t *more = realloc(s->doomed, room * sizeof *more);

		if (more != NULL) {
			s->doomed = more;
			s->doomed_room = room;
		}
	}
	if (!s->reaping)
		s->reaping = pthread_create(&s->reaper, NULL, reap, s) == 0;
	if (s->reaping && s->n_doomed < s->doomed_room) {
		s->doomed[s->n_doomed++] = at;
		s->busy = true;
		pthread_cond_signal(&s->work);
		done = true;
	}
	pthread_mutex_unlock(&s->lock);
	return done;
}

void tarn__node_unref(struct tarn__store *s, uint64_t at)
{
	if (at == 0)
		return;
	struct tarn__node *node = tarn__node(&s->view, at);

	/* A hint: if others share it there is little to do. Relaxed. */
	if (node->count <= SMALL_TREE || tarn__load32_relaxed(&node->refs) > 1 || !doom(s, at))
		unref_now(s, at);
}

void tarn__store_settle(struct tarn__store *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->busy)
		pthread_cond_wait(&s->settled, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* ---- roots ---- */

struct tarn__view_root *tarn__store_root(struct tarn__store *s, uint32_t index)
{
	struct tarn__view_root *line = tarn__view_root(&s->view, index);
	uint64_t end = tarn__round_up(
		(uint64_t)((unsigned char *)(line + 1) - s->view.base), TARN__OS_PAGE);
	int r = 0;

	if (index >= s->head->roots)
		return NULL;
	pthread_mutex_lock(&s->lock);
	if (end > s->roots_committed) {
		r = tarn__segment_reserve(&s->segment, s->roots_committed, end - s->roots_committed);
		if (r == 0) {
			s->roots_committed = end;
			tarn__store_relaxed(&s->head->roots_committed, end); /* for a successor alone */
		}
	}
	pthread_mutex_unlock(&s->lock);
	return r == 0 ? line : NULL;
}

uint64_t tarn__store_roots(const struct tarn__store *s)
{
	return (s->roots_committed - TARN__VIEW_ROOTS_AT) / sizeof(struct tarn__view_root);
}

/* The line, whose version is odd, becomes that of @version. META's hook stands for all places where a
 * server can be killed in here. */
static void line_write(struct tarn__view_root *line, const struct tarn__view_root *to, uint64_t version)
{
	/* A fence, since the words that follow are many: none of them is seen under the old version. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	TARN__META_STORED();
	tarn__store_relaxed(&line->id, to->id);
	tarn__store_relaxed(&line->count, to->count);
	tarn__store_relaxed(&line->held, to->held);
	tarn__store_relaxed(&line->order, to->order);
	TARN__META_STORED();
	tarn__store_relaxed(&line->index, to->index);
	tarn__store_relaxed(&line->next, to->next);
	tarn__store_relaxed(&line->kind, to->kind);
	TARN__META_STORED();
	/* SYNC view-root, release: with this version its words and chunks are there. */
	tarn__store_release(&line->version, version);
	/* SYNC view-reuse, a fence: who reads what is written into freed chunks from here on finds
	 * another version, too. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	TARN__META_STORED();
}

void tarn__root_set(struct tarn__view_root *line, const struct tarn__view_root *to)
{
	uint64_t version = tarn__load_relaxed(&line->version); /* written by us alone */

	tarn__store_relaxed(&line->version, version + 1);
	line_write(line, to, version + 2);
}

void tarn__root_restore(struct tarn__view_root *line, const struct tarn__view_root *to)
{
	/* Its writer is dead. Odd: it was killed in line_write(), and nobody has believed those words. */
	uint64_t odd = tarn__load_relaxed(&line->version) | 1;

	tarn__store_relaxed(&line->version, odd);
	line_write(line, to, to->version > odd ? to->version : odd + 1);
}

const struct tarn__store_part *tarn__store_share(struct tarn__store *s, const uint64_t *others, const uint64_t *most)
{
	s->part.taken = tarn__segment_resident(&s->segment); /* a dead server's */
	s->most = most;
	s->others = others;
	return &s->part;
}

/* ---- life ---- */

int tarn__store_map(struct tarn__store *s)
{
	s->n_spans = (uint32_t)((s->view.bytes - s->head->chunks_at) / TARN__VIEW_SPAN);
	s->span = calloc(s->n_spans, sizeof *s->span); /* untouched as long as unused */
	for (unsigned c = 0; c < CLASSES; c++)
		s->room[c] = NONE;
	return s->span != NULL ? 0 : -ENOMEM;
}

static int prepare(struct tarn__store *s, uint64_t roots, uint64_t seed)
{
	uint64_t chunks_at = tarn__round_up(TARN__VIEW_ROOTS_AT + roots * sizeof(struct tarn__view_root),
					    TARN__VIEW_SPAN);
	int r;

	if (s->segment.bytes < chunks_at + TARN__VIEW_SPAN)
		return -EINVAL;
	r = tarn__segment_reserve(&s->segment, 0, 2 * TARN__OS_PAGE);
	if (r < 0)
		return r;
	s->roots_committed = 2 * TARN__OS_PAGE;
	s->committed = chunks_at;
	*s->head = (struct tarn__view_head){ .bytes = s->segment.bytes, .seed = seed, .roots = roots,
					     .chunks_at = chunks_at,
					     .roots_committed = s->roots_committed };
	tarn__store_release(&s->head->committed, chunks_at); /* SYNC view-committed, release */
	return tarn__store_map(s);
}

int tarn__store_begin(const struct tarn__segment *segment, struct tarn__store **ret)
{
	struct tarn__store *s = calloc(1, sizeof *s);

	if (s == NULL)
		return -ENOMEM;
	s->segment = *segment;
	s->view = (struct tarn__view){ .base = segment->base, .bytes = segment->bytes };
	s->head = (struct tarn__view_head *)(void *)s->view.base;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->settled, NULL);
	*ret = s;
	return 0;
}

int tarn__store_new(const struct tarn__segment *segment, uint64_t roots, uint64_t seed,
		    struct tarn__store **ret)
{
	struct tarn__store *s;
	int r = tarn__store_begin(segment, &s);

	if (r < 0)
		return r;
	r = prepare(s, roots, seed);
	if (r < 0)
		tarn__store_free(s);
	else
		*ret = s;
	return r;
}

void tarn__store_free(struct tarn__store *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	if (s->reaping)
		pthread_join(s->reaper, NULL);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->settled);
	pthread_mutex_destroy(&s->lock);
	free(s->doomed);
	free(s->span);
	free(s);
}
