/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of a server that was killed.
 *
 * An inline method's change is in META's transaction: it is there, with its references and its answer,
 * or it was rolled back. An executor says what it did by messages, in this order: HOLD for what is new
 * in the container, CONTENTS, UNHOLD for what is not in it any more, RESULT. Those that it published are
 * in its lanes, some read by the dead server, some not. So, before anything else happens to containers,
 *
 * 1. CONTENTS that were not read yet are looked for, for what they say is true since they were published:
 *    readers in place have seen it. They stay where they are; read later, they change nothing.
 * 2. Lines in VIEW become what META says, and the memory that they do not lead to is free.
 * 3. Where the executor was killed between the first HOLD and the last UNHOLD the container holds more
 *    than its contents say, never less. What is too much goes: a HOLD that was not read is made void, an
 *    edge that is booked is dropped. The executors are dead, and whatever else they held is still booked
 *    on them, so nothing can go too early.
 *
 * A successor that is killed in here leaves what the next one does again.
 */
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "ledger.h"
#include "lib/error.h"
#include "lib/types/store.h"
#include "server.h"
#include "things.h"

/* A HOLD or UNHOLD that is not applied yet. */
struct said {
	uint64_t object, to;
	struct tarn__slot *slot; /* of a HOLD, unread; NULL: an UNHOLD */
};

struct all_said {
	struct said *said;
	size_t n, room;
};

static int note(struct all_said *a, struct said said)
{
	if (a->n == a->room) {
		size_t room = a->room != 0 ? 2 * a->room : 256;
		struct said *more = realloc(a->said, room * sizeof *more);

		if (more == NULL)
			return -ENOMEM;
		a->said = more;
		a->room = room;
	}
	a->said[a->n++] = said;
	return 0;
}

static int by_object(const void *a, const void *b)
{
	const struct said *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

/* ---- 1: what executors said ---- */

static struct thing *thing_by_id(struct state *st, uint64_t id)
{
	const struct object *o = tarn__object_find(st, id);

	return o != NULL ? tarn__thing_of(st, o) : NULL;
}

static void hear_contents(struct state *st, const uint64_t *w)
{
	const struct thing_root to = { .version = w[2], .order = w[3], .index = w[4], .next = w[5],
				       .kind = w[6] };
	struct thing *t = thing_by_id(st, w[1]);

	if (t == NULL)
		return;
	tarn__contents_set(st, t, &to);
	commit(st);
}

/* Messages of this very program, so they are what they should be. */
static int hear_lane(struct server *s, const struct lane_view *v, struct all_said *a)
{
	uint64_t at = s->st.lane[v->lane].position, end = at + TARN__REQUESTS;
	struct tarn__slot slot;
	int r = 0;

	while (at < end && r == 0 && tarn__request_ready(v->requests, at)) {
		unsigned slots;

		tarn__request_copy(v->requests, at, &slot);
		switch (tarn__header_kind(slot.word[0])) {
		case TARN__MSG_CONTENTS:
			hear_contents(&s->st, slot.word);
			break;
		case TARN__MSG_HOLD:
			r = note(a, (struct said){ slot.word[1], slot.word[2],
						   &v->requests[at % TARN__REQUESTS] });
			break;
		case TARN__MSG_UNHOLD:
			r = note(a, (struct said){ slot.word[1], slot.word[2], NULL });
			break;
		}
		slots = tarn__header_slots(slot.word[0]);
		at += slots != 0 ? slots : 1;
	}
	return r;
}

/* Also those that were read, and wait for their epoch. */
static int hear_deferred(const struct state *st, struct all_said *a)
{
	const struct state_head *h = st->head;
	int r = 0;

	for (unsigned b = 0; b < 2; b++)
		for (uint64_t k = b == h->filling ? 0 : h->done; k < h->n_deferred[b] && r == 0; k++) {
			const struct deferred *d = &st->deferred[b][k];

			if (d->kind == TARN__MSG_UNHOLD)
				r = note(a, (struct said){ d->id, d->at, NULL });
		}
	return r;
}

static int hear_all(struct server *s, struct all_said *a)
{
	int r = hear_deferred(&s->st, a);

	for (uint32_t i = 0; i < s->n_views && r == 0; i++)
		if (s->peer[s->st.lane[s->view[i].lane].client]->host)
			r = hear_lane(s, &s->view[i], a);
	if (a->n != 0)
		qsort(a->said, a->n, sizeof *a->said, by_object);
	return r;
}

/* ---- 2: lines and memory ---- */

static int restore_line(struct server *s, uint32_t index)
{
	const struct object *o = index < s->st.head->heap.objects ? &s->st.object[index] : NULL;
	const struct thing *t = o != NULL && o->state == OBJECT_LIVE ? tarn__thing_of(&s->st, o) : NULL;

	/* Of one that ends already nobody asks any more. */
	if (t == NULL || t->root.version == 0)
		return tarn__store_restore(s->store, index, NULL);
	const struct tarn__view_root root = { .version = t->root.version, .id = t->id,
					      .order = t->root.order, .index = t->root.index,
					      .next = t->root.next, .kind = t->root.kind };
	return tarn__store_restore(s->store, index, &root);
}

/* ---- 3: what is held too much ---- */

struct tally {
	uint64_t id;
	int64_t n;
};

struct tallies {
	struct tally *row;
	size_t n, room;
};

static int by_id(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void tally(struct tallies *t, uint64_t id, int64_t n)
{
	if (t->n < t->room)
		t->row[t->n++] = (struct tally){ id, n };
}

static int in_contents(void *arg, uint64_t id)
{
	tally(arg, id, -1);
	return 0;
}

/* The rows of one id become one. */
static void add_up(struct tallies *t)
{
	size_t n = 0;

	qsort(t->row, t->n, sizeof *t->row, by_id);
	for (size_t k = 0; k < t->n; k++) {
		if (n != 0 && t->row[n - 1].id == t->row[k].id)
			t->row[n - 1].n += t->row[k].n;
		else
			t->row[n++] = t->row[k];
	}
	t->n = n;
}

static void let_go(struct server *s, struct thing *t, const struct tally *row, const struct said *said,
		   size_t n_said)
{
	int64_t n = row->n;

	for (size_t k = 0; k < n_said && n > 0; k++)
		if (said[k].slot != NULL && said[k].to == row->id) {
			/* Read as one that names nothing. Only we look at it; the executor is dead. */
			tarn__store_relaxed(&said[k].slot->word[1], 0);
			n--;
		}
	for (; n > 0 && tarn__edge_drop(&s->st, t, row->id) == 0; n--)
		tarn__commit(s);
	if (n != 0)
		tarn__log(s, 3, "container %llx holds %llx %lld times too %s", (unsigned long long)t->id,
			  (unsigned long long)row->id, (long long)(n > 0 ? n : -n), n > 0 ? "often" : "seldom");
}

static int repair(struct server *s, struct thing *t, const struct said *said, size_t n_said,
		  uint64_t held)
{
	const struct state *st = &s->st;
	struct tallies all = { .room = t->n_edges + n_said + (size_t)held };

	all.row = malloc(all.room * sizeof *all.row);
	if (all.row == NULL)
		return -ENOMEM;
	for (uint32_t e = t->edge; e != NIL; e = st->edge[e].next)
		tally(&all, st->edge[e].to, st->edge[e].count);
	for (size_t k = 0; k < n_said; k++)
		tally(&all, said[k].to, said[k].slot != NULL ? 1 : -1);
	tarn__store_each_held(s->store, t->root.order, in_contents, &all);
	add_up(&all);
	for (size_t k = 0; k < all.n; k++)
		if (all.row[k].n != 0)
			let_go(s, t, &all.row[k], said, n_said);
	free(all.row);
	return 0;
}

/* What is said of @id: a part of all. */
static const struct said *said_of(const struct all_said *a, uint64_t id, size_t *ret_n)
{
	size_t low = 0, high = a->n, n = 0;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (a->said[middle].object < id)
			low = middle + 1;
		else
			high = middle;
	}
	while (low + n < a->n && a->said[low + n].object == id)
		n++;
	*ret_n = n;
	return a->said + low;
}

static int check_thing(struct server *s, struct thing *t, const struct all_said *a)
{
	const struct tarn__view_root *line = tarn__store_root(s->store, tarn__id_index(t->id));
	int64_t too_much = 0;
	size_t n = 0;

	if (t->root.version == 0 || line == NULL || line->id != t->id)
		return 0;
	const struct said *said = said_of(a, t->id, &n);

	for (uint32_t e = t->edge; e != NIL; e = s->st.edge[e].next)
		too_much += s->st.edge[e].count;
	for (size_t k = 0; k < n; k++)
		too_much += said[k].slot != NULL ? 1 : -1;
	/* What goes first and what comes last are of one change, so sums that are equal say that there is
	 * nothing in between. */
	return too_much != (int64_t)line->held ? repair(s, t, said, n, line->held) : 0;
}

int tarn__contents_succeed(struct server *s)
{
	struct state *st = &s->st;
	struct all_said all = { .said = NULL };
	int r = s->store != NULL ? hear_all(s, &all) : 0;

	for (uint64_t k = 0; r == 0 && s->store != NULL && k < tarn__store_roots(s->store); k++)
		r = restore_line(s, (uint32_t)k);
	if (r == 0 && s->store != NULL)
		r = tarn__store_rebuild(s->store);
	for (uint32_t i = 1; r == 0 && s->store != NULL && i < st->head->things; i++)
		if (st->thing[i].id != 0)
			r = check_thing(s, &st->thing[i], &all);
	free(all.said);
	return r < 0 ? tarn__fail(r, "cannot take over what containers have: %s", tarn_error_text(r)) : 0;
}
