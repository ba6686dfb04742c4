/* SPDX-License-Identifier: Apache-2.0 */
/* VIEW: what containers have, made with the server and checked with the rest of its books. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "ledger.h"
#include "lib/types/store.h"
#include "server.h"
#include "things.h"

/* It grows as it is used; its size is a cap, as DATA's is. */
#define VIEW_LEAST (64ull << 20)

static int store_new(struct server *s, uint64_t roots, uint64_t seed)
{
	int r = tarn__store_new(&s->view_segment, roots, seed, &s->store);

	if (r == 0 && s->st.data_most != 0)
		s->st.view_taken = tarn__store_share(s->store, &s->st.head->heap.committed, s->st.data_most);
	return r;
}

/*
 * Of a server that is dead: the same segment, which clients have mapped, without contents. What
 * chunks there are and who counts on them was known to the process alone, so containers are
 * TARN_TYPE_PRIVATE. Nobody reads old chunks as if they were new: see tarn__contents_forget().
 */
static int take_over(struct server *s)
{
	struct tarn__view view;
	int r = tarn__estate_segment(s->heritage->estate, ESTATE_VIEW, &s->view_segment);

	if (r == 0)
		r = tarn__segment_open_readonly(&s->view_segment, &s->view_readonly);
	if (r < 0)
		return r;
	view = (struct tarn__view){ .base = s->view_segment.base, .bytes = s->view_segment.bytes };
	return store_new(s, s->st.head->max_objects + 1, tarn__view_head(&view)->seed);
}

void tarn__contents_forget(struct server *s, uint64_t id)
{
	struct tarn__view_root *line = s->store != NULL ? tarn__store_root(s->store, tarn__id_index(id))
							: NULL;

	if (line == NULL || (line->id == 0 && line->version % 2 == 0))
		return;
	/* Its server may have been killed while it changed the line. */
	tarn__store_relaxed(&line->version, (line->version + 1) & ~(uint64_t)1);
	tarn__root_set(line, &(struct tarn__view_root){ .id = 0 });
}

int tarn__contents_open(struct server *s)
{
	if (s->heritage != NULL && s->heritage->successor)
		return take_over(s);

	const struct state_head *h = s->st.head;
	uint64_t roots = h->max_objects + 1, seed;
	uint64_t bytes = tarn__round_up(roots * sizeof(struct tarn__view_root) + VIEW_LEAST +
					h->arena_bytes, TARN__VIEW_SPAN);
	int r = getrandom(&seed, sizeof seed, 0) == sizeof seed ? 0 : -EIO;

	if (r == 0)
		r = tarn__segment_create(s->backing, "view", bytes, &s->view_segment);
	if (r == 0)
		r = tarn__segment_open_readonly(&s->view_segment, &s->view_readonly);
	return r == 0 ? store_new(s, roots, seed) : r;
}

void tarn__contents_close(struct server *s)
{
	s->st.view_taken = NULL;
	tarn__store_free(s->store);
	s->store = NULL;
	tarn__segment_close(&s->view_segment);
}

/* References in the contents are edges of their object, as many and no more. */
static int check_root(const struct state *st, const struct tarn__view_root *line, char *why,
		      size_t bytes)
{
	const struct object *o = tarn__object_find(st, line->id);
	const struct thing *t = o != NULL ? tarn__thing_of(st, o) : NULL;
	uint64_t held = 0;

	if (t == NULL) {
		o = &st->object[tarn__id_index(line->id)];
		if (o->id == line->id && o->state == OBJECT_DEAD)
			return 0; /* on its way */
		snprintf(why, bytes, "%llx has contents and is no object", (unsigned long long)line->id);
		return 1;
	}
	for (uint32_t i = t->edge; i != NIL; i = st->edge[i].next)
		held += st->edge[i].count;
	if (held == line->held)
		return 0;
	snprintf(why, bytes, "%llx has %llu references in its contents and %llu edges",
		 (unsigned long long)line->id, (unsigned long long)line->held, (unsigned long long)held);
	return 1;
}

int tarn__contents_verify(struct tarn__store *store, const struct state *st,
			  void (*say)(void *, const char *), void *arg)
{
	const struct state_head *h = st->head;
	char why[200] = "";
	int findings = 0;

	/* Executors change contents, and what they drop comes with an epoch: only in a quiet arena. */
	if (store == NULL || h->n_calls != 0 || h->n_deferred[0] != 0 || h->n_deferred[1] != 0)
		return 0;
	tarn__store_settle(store);
	if (tarn__store_verify(store, why, sizeof why) < 0) {
		say(arg, why);
		return 1;
	}
	for (uint64_t k = 0; k < tarn__store_roots(store); k++) {
		const struct tarn__view_root *line = tarn__view_root(tarn__store_view(store), (uint32_t)k);

		if (line->id == 0 || check_root(st, line, why, sizeof why) == 0)
			continue;
		say(arg, why);
		findings++;
	}
	return findings;
}
