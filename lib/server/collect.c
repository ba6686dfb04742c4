/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trial deletion, from suspects only: the subgraph that they lead to is copied into private
 * memory with the number of references that come from inside of it. What has more claims
 * than that is held from outside; what is not reached from there can never be reached by
 * anybody, because at the end of an epoch "no claim from outside on the whole subgraph" implies
 * that no client has or can get a reference (theorem 1).
 *
 * Nodes are objects, whose references are edges, and channels, whose are tickets. An object
 * without claims but edges dies at once; one that tickets hold dies when its channel, which is
 * ended, has dropped them.
 *
 * The work is bounded by a budget. A search that exceeds it is repeated with a larger one when
 * some multiple of its time has passed, so that it costs no more than a share of the server.
 */
#include "collect.h"

#include "calls.h"
#include "ledger.h"
#include "server.h"
#include "tickets.h"

#include <stdlib.h>
#include <string.h>

#define BUDGET_FIRST 20000u    /* references looked at */
#define BUDGET_MOST (1u << 30)
#define CROWD 1024u            /* suspects that a busy server does not put off */
#define SHARE 10u              /* times its duration until the next search */
#define KILLS_PER_COMMIT 64u

/* ---- suspects ---- */

static bool leads_somewhere(const struct state *st, const struct object *o)
{
	if (object_kind(o) == TARN__KIND_OBJECT)
		return st->thing[st->channel_of[o - st->object]].edge != NIL;
	return object_kind(o) == TARN__KIND_CHANNEL &&
	       st->channel[st->channel_of[o - st->object]].tickets != 0;
}

void tarn__suspect(struct state *st, const struct object *o)
{
	struct suspects *list = &st->suspects;

	if (o->state != OBJECT_LIVE || o->holder[0].client != NIL || o->holder[1].client != NIL ||
	    o->spilled != 0 || !leads_somewhere(st, o))
		return;
	if (list->n == list->room) {
		uint32_t room = list->room != 0 ? 2 * list->room : 64;
		uint32_t *index = realloc(list->index, room * sizeof *index);

		if (index == NULL)
			return; /* found again when it is suspected again, or listed as a leak */
		list->index = index;
		list->room = room;
	}
	list->index[list->n++] = object_index(st, o);
}

void tarn__suspect_all(struct state *st)
{
	for (uint32_t i = 1; i < st->head->heap.objects; i++)
		if (object_kind(&st->object[i]) != TARN__KIND_BLOCK)
			tarn__suspect(st, &st->object[i]);
}

/* ---- the subgraph ---- */

struct node {
	uint32_t index;    /* of the object */
	uint32_t inside;   /* references from nodes */
	bool reached;
};

struct graph {
	const struct state *st;
	struct node *node;
	uint32_t n, room;
	uint32_t *slot;    /* hash of object indices: node + 1 */
	uint32_t mask;
	uint32_t budget;   /* references that may still be looked at */
	bool failed;       /* budget or memory */
};

static uint32_t *slot_of(const struct graph *g, uint32_t index)
{
	uint32_t at = index * 2654435761u & g->mask;

	while (g->slot[at] != 0 && g->node[g->slot[at] - 1].index != index)
		at = (at + 1) & g->mask;
	return &g->slot[at];
}

static bool grow(struct graph *g)
{
	uint32_t room = g->room != 0 ? 2 * g->room : 256;
	struct node *node = realloc(g->node, room * sizeof *node);

	if (node == NULL)
		return false;
	g->node = node;
	uint32_t *slot = calloc(2 * (size_t)room, sizeof *slot);
	if (slot == NULL)
		return false;
	free(g->slot);
	g->slot = slot;
	g->mask = 2 * room - 1;
	g->room = room;
	for (uint32_t i = 0; i < g->n; i++)
		*slot_of(g, g->node[i].index) = i + 1;
	return true;
}

static struct node *node_add(struct graph *g, uint32_t index)
{
	if (g->n == g->room && !grow(g)) {
		g->failed = true;
		return NULL;
	}
	uint32_t *slot = slot_of(g, index);

	if (*slot == 0) {
		g->node[g->n] = (struct node){ .index = index };
		*slot = ++g->n;
	}
	return &g->node[*slot - 1];
}

/* Calls @fn for each reference from @index that leads to an object or channel. */
typedef void reference_fn(struct graph *g, uint32_t to, uint32_t count);

static void follow(struct graph *g, uint64_t id, uint32_t count, reference_fn *fn)
{
	const struct object *o = tarn__object_find(g->st, id);

	if (o != NULL && o->state == OBJECT_LIVE && object_kind(o) != TARN__KIND_BLOCK)
		fn(g, object_index(g->st, o), count);
}

static bool spend(struct graph *g)
{
	if (g->budget == 0)
		g->failed = true;
	else
		g->budget--;
	return !g->failed;
}

static void each_reference(struct graph *g, uint32_t index, reference_fn *fn)
{
	const struct state *st = g->st;
	const struct object *o = &st->object[index];
	uint32_t record = st->channel_of[index];

	if (object_kind(o) == TARN__KIND_OBJECT) {
		for (uint32_t e = st->thing[record].edge; e != NIL && spend(g); e = st->edge[e].next)
			follow(g, st->edge[e].to, st->edge[e].count, fn);
		return;
	}
	const struct channel *ch = &st->channel[record];
	uint32_t left = ch->tickets;

	for (uint64_t p = ch->low; p < ch->sent && left != 0 && spend(g); p++) {
		uint64_t id = tarn__ticket_find(st, ch, p);

		if (id == 0)
			continue;
		left--;
		follow(g, id, 1, fn);
	}
}

static void note_inside(struct graph *g, uint32_t to, uint32_t count)
{
	struct node *n = node_add(g, to);

	if (n != NULL)
		n->inside += count;
}

/* Reached nodes are moved to the front of a work list that is the array's own order: a
 * stack of node numbers beside it. */
struct walk {
	uint32_t *stack;
	uint32_t n;
};
static struct walk walk; /* of the reactor, which is one thread; see mark() */

static void reach(struct graph *g, uint32_t to, uint32_t count)
{
	uint32_t at = *slot_of(g, to);

	(void)count;
	if (at == 0 || g->node[at - 1].reached)
		return;
	g->node[at - 1].reached = true;
	walk.stack[walk.n++] = at - 1;
}

/* Builds the graph of what the suspects lead to, and marks what is held from outside of it. */
static bool search(struct graph *g)
{
	for (uint32_t i = 0; i < g->n && !g->failed; i++)
		each_reference(g, g->node[i].index, note_inside);
	if (g->failed || g->n == 0)
		return false;
	walk = (struct walk){ .stack = malloc(g->n * sizeof(uint32_t)) };
	if (walk.stack == NULL)
		return false;
	for (uint32_t i = 0; i < g->n; i++) {
		const struct object *o = &g->st->object[g->node[i].index];

		if (o->ext + o->edges > g->node[i].inside)
			reach(g, g->node[i].index, 0);
	}
	g->budget = UINT32_MAX; /* no more than was looked at before */
	while (walk.n != 0)
		each_reference(g, g->node[walk.stack[--walk.n]].index, reach);
	free(walk.stack);
	return true;
}

static void graph_free(struct graph *g)
{
	free(g->node);
	free(g->slot);
}

/* ---- ending what nobody reaches ---- */

static bool end_one(struct server *s, uint32_t index)
{
	struct state *st = &s->st;
	struct object *o = &st->object[index];

	if (object_kind(o) == TARN__KIND_OBJECT) {
		if (o->ext != 0)
			return false; /* tickets hold it: it goes with them */
		tarn__object_kill(st, o);
		return true;
	}
	struct channel *ch = tarn__channel_of(st, o);
	if (ch->tickets == 0 || ch->sweep != 0)
		return false; /* nothing that it holds; whoever holds it goes */
	tarn__channel_abandon(s, ch);
	return true;
}

static uint32_t end_unreached(struct server *s, const struct graph *g)
{
	uint32_t ended = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		if (g->node[i].reached || !end_one(s, g->node[i].index))
			continue;
		if (++ended % KILLS_PER_COMMIT == 0)
			tarn__commit(s);
	}
	tarn__commit(s);
	return ended;
}

bool tarn__collect(struct server *s, bool idle)
{
	struct suspects *list = &s->st.suspects;
	struct graph g = { .st = &s->st };
	bool done;
	uint64_t begun;

	if (list->n == 0 || (!idle && list->n < CROWD))
		return false;
	begun = tarn__now();
	if (begun < s->collect_next_ns)
		return false;
	if (s->collect_budget == 0)
		s->collect_budget = BUDGET_FIRST;
	g.budget = s->collect_budget;
	for (uint32_t i = 0; i < list->n && !g.failed; i++) {
		const struct object *o = &s->st.object[list->index[i]];

		if (o->state == OBJECT_LIVE && leads_somewhere(&s->st, o))
			node_add(&g, list->index[i]);
	}
	bool nothing = g.n == 0 && !g.failed;
	done = nothing || search(&g);
	uint32_t ended = done && !nothing ? end_unreached(s, &g) : 0;
	uint64_t took = tarn__now() - begun;

	s->collected += ended;
	if (done) {
		list->n = 0;
		s->collect_budget = BUDGET_FIRST;
	} else if (s->collect_budget < BUDGET_MOST) {
		s->collect_budget *= 4;
	}
	/* Short ones do not count: they are over before anybody notices. */
	s->collect_next_ns = took > 200000 ? begun + SHARE * took : 0;
	graph_free(&g);
	return ended != 0 || !done;
}

int tarn__unreachable(const struct state *st, uint32_t budget,
		      void (*fn)(void *arg, const struct object *o), void *arg)
{
	struct graph g = { .st = st, .budget = budget };

	for (uint32_t i = 1; i < st->head->heap.objects && !g.failed; i++)
		if (st->object[i].state == OBJECT_LIVE && object_kind(&st->object[i]) != TARN__KIND_BLOCK)
			node_add(&g, i);
	bool ok = (g.n == 0 && !g.failed) || search(&g);
	for (uint32_t i = 0; i < g.n && ok; i++)
		if (!g.node[i].reached)
			fn(arg, &st->object[g.node[i].index]);
	graph_free(&g);
	return ok ? 0 : -ENOMEM;
}
