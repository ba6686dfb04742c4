/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in META: records, edges, and how an object ends.
 *
 *	LIVE --no claim, no edge--> DEAD --destructor--> its edges go, a slice at a time --> FREE
 *
 * The reaper takes dead objects from a list, and what their edges held joins its end: a chain of
 * any length ends without recursion, in bounded transactions. An object leaves the list while an
 * executor runs its destructor (DESTROYING), and when others of its cycle still hold it
 * (PARKED); it comes back when that is over.
 */
#include "things.h"

#include "calls.h"
#include "claims.h"
#include "deed.h"
#include "heap.h"
#include "hints.h"
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#define EDGE_SLICE 32u /* edges that one transaction drops */

/* ---- records ---- */

static int thing_record(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_thing;

	if (i != NIL) {
		SET(st, h->free_thing, st->thing[i].next);
	} else {
		i = h->things != 0 ? h->things : 1;
		int r = tarn__state_reserve(st, st->thing, sizeof *st->thing, &h->things_reserved,
					    i + 1);
		if (r < 0)
			return r;
		SET(st, h->things, i + 1);
	}
	SET(st, h->n_things, h->n_things + 1);
	*ret = i;
	return 0;
}

/* ---- those who are told when a client is gone ---- */

/* The first of the list: whoever walks it now need not meet it, for nobody who is gone by now
 * has ever seen it. */
static void attend(struct state *st, struct thing *t)
{
	struct state_head *h = st->head;
	uint32_t i = (uint32_t)(t - st->thing);

	pair_set(st, &t->attend_next, h->attending, NIL);
	if (h->attending != NIL)
		SET(st, st->thing[h->attending].attend_prev, i);
	pair_set(st, &h->attending, i, h->n_attending + 1);
}

static void attend_no_more(struct state *st, struct thing *t)
{
	struct state_head *h = st->head;
	uint32_t i = (uint32_t)(t - st->thing), next = t->attend_next;

	/* Where somebody stands who walks the list. */
	for (uint32_t k = 1; h->n_dying != 0 && k < h->clients_used; k++)
		if (st->client[k].state == CLIENT_RECLAIM && st->client[k].departed_at == i) {
			SET(st, st->client[k].departed_at, next);
			SET(st, st->client[k].departed_from, 0);
		}
	if (next != NIL)
		SET(st, st->thing[next].attend_prev, t->attend_prev);
	if (t->attend_prev != NIL)
		SET(st, st->thing[t->attend_prev].attend_next, next);
	pair_set(st, &h->attending, h->attending == i ? next : h->attending, h->n_attending - 1);
}

void tarn__thing_unattend(struct state *st, struct thing *t)
{
	if (!(t->flags & THING_ATTENDS))
		return;
	attend_no_more(st, t);
	SET(st, t->flags, t->flags & ~(uint32_t)THING_ATTENDS);
}

static void thing_free(struct state *st, struct thing *t)
{
	struct state_head *h = st->head;

	if (t->flags & THING_ATTENDS)
		attend_no_more(st, t);

	SET(st, st->channel_of[tarn__id_index(t->id)], NIL);
	SET(st, t->id, 0);
	SET(st, t->next, h->free_thing);
	SET(st, h->free_thing, (uint32_t)(t - st->thing));
	SET(st, h->n_things, h->n_things - 1);
}

/* What the record had in an earlier life, or has no more. */
static void root_clear(struct state *st, struct thing *t)
{
	SET(st, t->root.version, 0);
	SET(st, t->root.order, 0);
	SET(st, t->root.index, 0);
	SET(st, t->root.next, 0);
	SET(st, t->root.kind, 0);
}

static int make_memory(struct server *s, uint32_t client, const struct tarn__served *t, bool first,
		       uint32_t *ret)
{
	struct state *st = &s->st;
	const struct client *cl = &st->client[client];
	uint64_t align = t->type->align > 16 ? t->type->align : 16;

	if (cl->quota != 0 && client != st->head->host && cl->owned_bytes + t->bytes > cl->quota)
		return -EDQUOT;
	int r = tarn__heap_alloc(st, t->bytes, align, ret);

	while (r == -EAGAIN && first) {
		/* Nothing is set yet, so the heap may work in transactions of its own. */
		tarn__rollback(s);
		while (tarn__heap_reclaim(st, t->bytes, align))
			;
		r = tarn__heap_alloc(st, t->bytes, align, ret);
	}
	return r == -EAGAIN ? -ENOMEM : r;
}

int tarn__thing_make(struct server *s, uint32_t client, const struct tarn__served *t, bool first,
		     struct object **ret)
{
	struct state *st = &s->st;
	uint32_t index, record = NIL;
	int r = make_memory(s, client, t, first, &index);

	if (r == 0)
		r = thing_record(st, &record);
	if (r < 0)
		return r;
	struct object *o = &st->object[index];
	struct thing *k = &st->thing[record];

	tarn__object_born(st, o, client, TARN__KIND_OBJECT);
	if (o->size != t->bytes)
		SET(st, o->size, t->bytes);
	SET(st, k->id, o->id);
	SET(st, k->created, st->head->things_made + 1);
	pair_set(st, &k->type, t->index, t->type->departed != NULL ? THING_ATTENDS : 0);
	pair_set(st, &k->edge, NIL, 0);
	SET(st, k->creator, client);
	if (k->root.version != 0)
		root_clear(st, k);
	SET(st, st->head->things_made, k->created);
	SET(st, st->channel_of[index], record);
	if (k->flags & THING_ATTENDS)
		attend(st, k);
	tarn__touch(s, index);

	/* Memory of DATA that nobody knows of yet; it needs no log. */
	struct tarn__instance *head =
		(void *)((unsigned char *)tarn__thing_self(s, o, t) - sizeof *head);
	memset(tarn__thing_self(s, o, t), 0, t->type->size);
	*head = (struct tarn__instance){ .id = o->id, .type = t->index };
	tarn__hint_set(s, index, k, head + 1);
	*ret = o;
	return 0;
}

/* ---- edges ---- */

static int edge_record(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_edge;

	if (i != NIL) {
		SET(st, h->free_edge, st->edge[i].next);
	} else {
		i = h->edges != 0 ? h->edges : 1;
		if (i >= MAX_EDGES)
			return -ENOSPC;
		int r = tarn__state_reserve(st, st->edge, sizeof *st->edge, &h->edges_reserved,
					    i + 1);
		if (r < 0)
			return r;
		SET(st, h->edges, i + 1);
	}
	*ret = i;
	return 0;
}

static uint32_t edge_owner(const struct state *st, const struct thing *t)
{
	return CLAIM_EDGE | (uint32_t)(t - st->thing);
}

int tarn__edge_add(struct state *st, struct thing *t, struct object *to)
{
	struct claim *c = tarn__claim_find(st, edge_owner(st, t), to->id);
	uint32_t i = NIL;

	if (to->edges >= UINT32_MAX / 2)
		return -ENOSPC;
	if (c != NULL) {
		struct edge *e = &st->edge[c->value];

		SET(st, e->count, e->count + 1);
		tarn__object_edge(st, to, 1, true);
		return 0;
	}
	int r = tarn__claims_promise(st, 1);
	if (r == 0)
		r = edge_record(st, &i);
	if (r == 0)
		r = tarn__claim_add(st, edge_owner(st, t), to->id, i);
	if (r < 0)
		return r;
	struct edge *e = &st->edge[i];

	SET(st, e->to, to->id);
	pair_set(st, &e->from, (uint32_t)(t - st->thing), 1);
	pair_set(st, &e->next, t->edge, NIL);
	if (t->edge != NIL)
		SET(st, st->edge[t->edge].prev, i);
	pair_set(st, &t->edge, i, t->n_edges + 1);
	SET(st, st->head->n_edges, st->head->n_edges + 1);
	tarn__object_edge(st, to, 1, true);
	return 0;
}

/* What it leads to has @units fewer. It may be dead: one of a cycle. */
static void target_release(struct state *st, uint64_t to, uint32_t units)
{
	struct object *o = &st->object[tarn__id_index(to)];
	struct thing *t = tarn__thing_of(st, o);

	tarn__object_edge(st, o, units, false);
	if (o->state != OBJECT_DEAD || o->edges != 0 || t == NULL || !(t->flags & THING_PARKED))
		return;
	SET(st, t->flags, t->flags & ~(uint32_t)THING_PARKED);
	tarn__object_back(st, o);
}

/* The record @i of @t goes; @c is its claim. */
static void edge_remove(struct state *st, struct thing *t, uint32_t i, struct claim *c)
{
	struct state_head *h = st->head;
	struct edge *e = &st->edge[i];

	if (e->next != NIL)
		SET(st, st->edge[e->next].prev, e->prev);
	if (e->prev != NIL)
		SET(st, st->edge[e->prev].next, e->next);
	pair_set(st, &t->edge, t->edge == i ? e->next : t->edge, t->n_edges - 1);
	tarn__claim_drop(st, c);
	tarn__claims_unpromise(st, 1);
	SET(st, e->to, 0);
	pair_set(st, &e->next, h->free_edge, NIL);
	SET(st, h->free_edge, i);
	SET(st, h->n_edges, h->n_edges - 1);
}

uint32_t tarn__edge_count(const struct state *st, const struct thing *t, uint64_t to)
{
	const struct claim *c = tarn__claim_find(st, edge_owner(st, t), to);

	return c != NULL ? st->edge[c->value].count : 0;
}

int tarn__edge_drop(struct state *st, struct thing *t, uint64_t to)
{
	struct claim *c = tarn__claim_find(st, edge_owner(st, t), to);

	if (c == NULL)
		return -ENOENT;
	uint32_t i = (uint32_t)c->value;
	struct edge *e = &st->edge[i];

	if (e->count > 1)
		SET(st, e->count, e->count - 1);
	else
		edge_remove(st, t, i, c);
	target_release(st, to, 1);
	return 0;
}

static void edges_drop(struct state *st, struct thing *t)
{
	for (unsigned k = 0; k < EDGE_SLICE && t->edge != NIL; k++) {
		uint32_t i = t->edge;
		uint64_t to = st->edge[i].to;
		uint32_t units = st->edge[i].count;

		edge_remove(st, t, i, tarn__claim_find(st, edge_owner(st, t), to));
		target_release(st, to, units);
	}
}

void tarn__unhold_now(struct server *s, const struct deferred *d)
{
	struct state *st = &s->st;
	const struct object *o = &st->object[tarn__id_index(d->id)];
	struct thing *t = o->id == d->id ? tarn__thing_of(st, o) : NULL;

	if (t == NULL || o->state != OBJECT_LIVE)
		return; /* its edges go with it */
	if (tarn__edge_drop(st, t, d->at) == 0)
		return;
	/* Clients can say so of a queue as often as they like (tarn__self_drop_late()). */
	if (d->client == st->head->host)
		tarn__log(s, 4, "an object dropped %llx, which it does not hold",
			  (unsigned long long)d->at);
	else
		s->stale++;
}

/* ---- the end ---- */

static int no_edges(struct tarn__run *run, uint64_t id)
{
	(void)run;
	(void)id;
	return -TARN_ESTATE;
}
static int no_object(struct tarn__run *run, const struct tarn__served *t, uint64_t *ret_id,
		     void **ret_self)
{
	(void)run;
	(void)t;
	(void)ret_id;
	(void)ret_self;
	return -TARN_ESTATE;
}
static int end_look(struct tarn__run *run, uint64_t id, struct tarn__look *ret)
{
	return tarn__reactor_look(run->turn, id, ret);
}
static void end_made(struct tarn__run *run, uint64_t id)
{
	(void)run;
	(void)id;
}
static const struct tarn__reactor_ops end_ops = {
	.hold = no_edges, .drop = no_edges, .look = end_look, .make = no_object, .made = end_made,
};

void tarn__thing_destroy(struct server *s, const struct tarn__served *t, uint64_t id, void *self)
{
	struct tarn__run run = { .served = t, .deed = TARN__DEED_DESTROY, .id = id, .self = self,
				 .ops = &end_ops, .turn = s };

	s->host->ops->run(s->host, &run);
	s->host->ops->run_end(s->host, &run);
}

/* The destructor, here or by an executor. False: no memory for that now. */
static bool destroy(struct server *s, struct object *o, struct thing *t)
{
	struct state *st = &s->st;
	const struct tarn__served *type = tarn__thing_type(s, t);

	if (!(t->flags & THING_MADE) || type == NULL || type->type->destroy == NULL) {
		SET(st, t->flags, t->flags | THING_ENDED);
		/* Its maker died before it could say so. */
		if (t->root.version != 0)
			tarn__contents_drop(s, t);
		return true;
	}
	if (type->type->flags & TARN_TYPE_INLINE) {
		/* At most once: were this process killed in between, its successor would have no
		 * use for what the destructor tidies up in the process; and one that crashes
		 * would crash that, too. */
		SET(st, t->flags, t->flags | THING_ENDED);
		tarn__commit(s);
		tarn__thing_destroy(s, type, o->id, tarn__thing_self(s, o, type));
		return true;
	}
	struct tarn__job *job = tarn__job_new(s, type, TARN__DEED_DESTROY, o, 0, 0);
	if (job == NULL)
		return false;
	SET(st, t->flags, t->flags | THING_DESTROYING);
	tarn__object_aside(st, o);
	tarn__job_ready(s, job);
	return true;
}

bool tarn__thing_reap(struct server *s, struct object *o)
{
	struct state *st = &s->st;
	struct thing *t = tarn__thing_of(st, o);

	if (!(t->flags & THING_ENDED) && !destroy(s, o, t))
		return false;
	if (t->flags & THING_DESTROYING) {
		tarn__commit(s);
		return true;
	}
	edges_drop(st, t);
	if (t->edge != NIL) {
		tarn__commit(s);
		return true;
	}
	if (o->edges != 0) {
		SET(st, t->flags, t->flags | THING_PARKED);
		tarn__object_aside(st, o);
		tarn__commit(s);
		return true;
	}
	thing_free(st, t);
	tarn__touch(s, object_index(st, o));
	tarn__object_reaped(st, o);
	tarn__commit(s);
	return true;
}

bool tarn__thing_end(struct server *s, struct object *o)
{
	struct state *st = &s->st;
	struct thing *t = tarn__thing_of(st, o);
	const struct tarn__served *type = t != NULL ? tarn__thing_type(s, t) : NULL;

	if (type == NULL || type->type->destroy != NULL || t->flags != THING_MADE || t->edge != NIL ||
	    t->root.version != 0 || o->ext != 0 || o->edges != 0 || o->state != OBJECT_LIVE)
		return false;
	thing_free(st, t);
	tarn__touch(s, object_index(st, o));
	tarn__object_end(st, o);
	return true;
}

/* ---- a client is gone ---- */

/* Words of the undo log that one hold or drop may take, at most; and what the step itself does. */
#define EDGE_WORDS (HEAP_FREE_WORDS + 128u)

static bool room_for_edge(const struct state *st)
{
	return st->head->undo.n + 2 * EDGE_WORDS <= TARN__UNDO_CAPACITY;
}

static int departed_hold(struct tarn__run *run, uint64_t id)
{
	struct state *st = &((struct server *)run->turn)->st;
	struct object *o = tarn__object_find(st, id);

	if (o == NULL)
		return -TARN_ESTALE;
	if (!room_for_edge(st))
		return -E2BIG;
	return tarn__edge_add(st, tarn__thing_of(st, tarn__object_find(st, run->id)), o);
}
static int departed_drop(struct tarn__run *run, uint64_t id)
{
	struct state *st = &((struct server *)run->turn)->st;

	if (!room_for_edge(st))
		return -E2BIG;
	return tarn__edge_drop(st, tarn__thing_of(st, tarn__object_find(st, run->id)), id);
}
static bool departed_holds(struct tarn__run *run, uint64_t id)
{
	const struct state *st = &((struct server *)run->turn)->st;

	return tarn__edge_count(st, tarn__thing_of(st, tarn__object_find(st, run->id)), id) != 0;
}
static void departed_note(struct tarn__run *run, const uint64_t *word)
{
	tarn__word_note(run->turn, word);
}
static const struct tarn__reactor_ops departed_ops = {
	.hold = departed_hold, .drop = departed_drop, .look = end_look, .holds = departed_holds, .make = no_object,
	.made = end_made, .note = departed_note,
};

/* Where the thing has to go on; 0: it is through. */
static uint64_t tell(struct server *s, const struct thing *t, uint32_t client)
{
	const struct tarn__served *type = tarn__thing_type(s, t);
	const struct object *o = &s->st.object[tarn__id_index(t->id)];

	if (type == NULL || type->type->departed == NULL || !(t->flags & THING_MADE) ||
	    o->state != OBJECT_LIVE)
		return 0;
	struct tarn__run run = { .served = type, .deed = TARN__DEED_DEPARTED, .id = o->id,
				 .self = tarn__thing_self(s, o, type), .ops = &departed_ops,
				 .turn = s, .from = s->st.client[client].departed_from,
				 .caller = { .client = client, .pid = s->st.client[client].pid } };

	s->host->ops->run(s->host, &run);
	s->host->ops->run_end(s->host, &run);
	return run.again;
}

/* For the successor of a server that crashes in it, or is killed. */
static void telling_begin(struct state *st, uint32_t client)
{
	struct telling *now = &st->head->telling;

	st->head->running.saved_bytes = 0;
	st->head->running.notes = 0;
	/* Of another thing, or behind a part that was committed: nobody was killed in this yet. */
	if (now->told != st->head->told || now->thing != st->client[client].departed_at)
		now->kills = 0;
	tarn__compiler_barrier();
	now->told = st->head->told;
	tarn__store32_relaxed(&now->thing, st->client[client].departed_at);
	tarn__compiler_barrier();
	tarn__store32_relaxed(&now->client, client);
	tarn__compiler_barrier();
}

bool tarn__things_departed(struct server *s, uint32_t client, uint32_t *budget)
{
	struct state *st = &s->st;
	struct client *c = &st->client[client];

	for (; c->departed_at != NIL && *budget > 0; --*budget) {
		const struct thing *t = &st->thing[c->departed_at];
		uint32_t next = t->attend_next;

		telling_begin(st, client);
		const uint64_t again = tell(s, t, client);
		SET(st, st->head->told, st->head->told + 1);
		SET(st, c->departed_from, again);
		if (again == 0)
			SET(st, c->departed_at, next);
		tarn__commit(s);
		tarn__store32_relaxed(&st->head->telling.client, NIL);
		if (again != 0) {
			*budget = 0; /* the lanes first */
			return false;
		}
	}
	return c->departed_at == NIL;
}

void tarn__destroyed_now(struct server *s, const struct deferred *d)
{
	struct state *st = &s->st;
	struct object *o = &st->object[tarn__id_index(d->id)];
	struct thing *t = o->id == d->id ? tarn__thing_of(st, o) : NULL;

	if (t == NULL || !(t->flags & THING_DESTROYING))
		return;
	SET(st, t->flags, (t->flags & ~(uint32_t)THING_DESTROYING) | THING_ENDED);
	tarn__object_back(st, o);
}
