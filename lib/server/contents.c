/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VIEW: what containers have, made with the server and checked with the rest of its books.
 *
 * What a container has is said in two places. thing.root in META is the truth, since it is committed
 * together with the references that the container holds and with the answer of the call that changed
 * it. The line in VIEW is what methods and readers in place go by; it is written after that commit (an
 * executor's: after its message CONTENTS is published), and until it is, nothing that it leads to is
 * freed. Versions say which is newer.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "heap-runs.h"
#include "ledger.h"
#include "lib/types/store.h"
#include "server.h"
#include "things.h"

/* It grows as it is used; its size is a cap, as DATA's is. */
#define VIEW_LEAST (64ull << 20)

static void share_budget(struct server *s)
{
	s->st.view_part = tarn__store_share(s->store, &s->st.head->heap.committed, &s->st.data_most);
}

static int store_new(struct server *s, uint64_t roots, uint64_t seed)
{
	int r = tarn__store_new(&s->view_segment, roots, seed, &s->store);

	if (r == 0)
		share_budget(s);
	return r;
}

/* The same segment, which clients have mapped. What is in it is found once the clients and their lanes are
 * there: tarn__contents_succeed(). */
static int take_over(struct server *s)
{
	int r = tarn__estate_segment(s->heritage->estate, ESTATE_VIEW, &s->view_segment);

	if (r == 0)
		r = tarn__segment_open_readonly(&s->view_segment, &s->view_readonly);
	if (r == 0)
		r = tarn__store_inherit(&s->view_segment, &s->store);
	if (r == 0)
		share_budget(s);
	return r;
}

void tarn__contents_set(struct state *st, struct thing *t, const struct thing_root *to)
{
	/* An executor says it by a message, which is read when others may have changed it since. */
	if (to->version <= t->root.version)
		return;
	SET(st, t->root.version, to->version);
	if (to->order != t->root.order)
		SET(st, t->root.order, to->order);
	if (to->index != t->root.index)
		SET(st, t->root.index, to->index);
	if (to->next != t->root.next)
		SET(st, t->root.next, to->next);
	if (to->kind != t->root.kind)
		SET(st, t->root.kind, to->kind);
	tarn__run_mind_limit(st);
}

void tarn__contents_drop(struct server *s, struct thing *t)
{
	struct tarn__view_root *line = s->store != NULL ? tarn__store_root(s->store, tarn__id_index(t->id))
							: NULL;

	tarn__commit(s);
	if (line == NULL || line->id != t->id)
		return;
	const uint64_t order = line->order, index = line->index;

	tarn__root_set(line, &(struct tarn__view_root){ .id = 0 });
	tarn__node_unref(s->store, order);
	tarn__node_unref(s->store, index);
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
	s->st.view_part = NULL;
	tarn__store_free(s->store);
	s->store = NULL;
	tarn__segment_close(&s->view_segment);
}

/* What META says of it, too; and its references are edges of the object, as many and no more. */
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
	if (t->root.version != line->version || t->root.order != line->order ||
	    t->root.index != line->index || t->root.next != line->next || t->root.kind != line->kind) {
		snprintf(why, bytes, "what %llx has is version %llu in META and %llu in VIEW, or differs",
			 (unsigned long long)line->id, (unsigned long long)t->root.version,
			 (unsigned long long)line->version);
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

/* A container of META that has no line. */
static int check_things(const struct state *st, struct tarn__store *store, char *why, size_t bytes)
{
	for (uint32_t i = 1; i < st->head->things; i++) {
		const struct thing *t = &st->thing[i];
		const struct tarn__view_root *line = tarn__view_root(tarn__store_view(store),
								     tarn__id_index(t->id));

		if (t->id == 0 || t->root.version == 0 || tarn__object_find(st, t->id) == NULL ||
		    (tarn__id_index(t->id) < tarn__store_roots(store) && line->id == t->id))
			continue;
		snprintf(why, bytes, "%llx has contents in META and none in VIEW", (unsigned long long)t->id);
		return 1;
	}
	return 0;
}

int tarn__contents_verify(struct tarn__store *store, const struct state *st, bool alone,
			  void (*say)(void *, const char *), void *arg)
{
	const struct state_head *h = st->head;
	const bool quiet = h->n_calls == 0 && h->n_deferred[0] == 0 && h->n_deferred[1] == 0;
	char why[200] = "";
	int findings = 0;

	/* Executors change contents, and what they drop comes with an epoch: only in a quiet arena. */
	if (store == NULL || !(quiet || alone))
		return 0;
	tarn__store_settle(store);
	if (tarn__store_verify(store, why, sizeof why) < 0 || check_things(st, store, why, sizeof why) != 0) {
		say(arg, why);
		return 1;
	}
	for (uint64_t k = 0; quiet && k < tarn__store_roots(store); k++) {
		const struct tarn__view_root *line = tarn__view_root(tarn__store_view(store), (uint32_t)k);

		if (line->id == 0 || check_root(st, line, why, sizeof why) == 0)
			continue;
		say(arg, why);
		findings++;
	}
	return findings;
}
