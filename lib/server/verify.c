/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The full check of META (PROTOCOL T3): every count, list and cursor is recomputed from
 * scratch and compared with what is written. Reads only, so it also runs on a copy.
 *
 *	count(id) = units of clients + tickets + exports + names + ends of channels (I2, A1)
 *	edges(id) = what objects hold of it
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "claims.h"
#include "heap.h"
#include "ledger.h"
#include "server.h"
#include "tickets.h"

struct check {
	const struct state *st;
	void (*say)(void *, const char *);
	void *arg;
	int findings;
	uint32_t *ext;         /* recomputed, by object */
	uint32_t *edges;
	uint64_t edge_claims;
	uint64_t *held;        /* by client */
	uint64_t *owned, *owned_bytes;
	uint32_t *exports_of;
	uint16_t *spilled;     /* by object */
	uint32_t *tickets_of, *spilled_of; /* by channel */
};

static void finding(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void finding(struct check *c, const char *format, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	c->findings++;
	if (c->findings <= 100)
		c->say(c->arg, line);
}

#define MUST(c, condition, ...)                \
	do {                                   \
		if (!(condition))              \
			finding(c, __VA_ARGS__); \
	} while (0)

static bool counts_allowed(enum object_state s)
{
	return s == OBJECT_LIVE || s == OBJECT_GRANTED;
}

/* One claim more on @id in the recomputed counts. */
static void count_on(struct check *c, uint64_t id, uint64_t units, const char *what)
{
	uint32_t i = tarn__id_index(id);

	if (i == NIL || i >= c->st->head->heap.objects || c->st->object[i].id != id ||
	    !counts_allowed(c->st->object[i].state)) {
		finding(c, "%s on %llx, which is not there", what, (unsigned long long)id);
		return;
	}
	c->ext[i] += (uint32_t)units;
}

static void count_claims(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;

	for (uint32_t i = 1; i < h->claims; i++) {
		const struct claim *k = &st->claim[i];

		if (k->who == 0)
			continue;
		if ((k->who & CLAIM_EDGE) && !(k->who & CLAIM_TICKET)) {
			const struct edge *e = k->value < h->edges ? &st->edge[k->value] : NULL;

			c->edge_claims++;
			MUST(c, e != NULL && e->to == k->what && (CLAIM_EDGE | e->from) == k->who,
			     "claim of an edge from %x to %llx: another edge", k->who,
			     (unsigned long long)k->what);
		} else if (k->who & CLAIM_TICKET) {
			uint32_t index = (uint32_t)k->who & TARN__INDEX_MASK;
			uint32_t record = index < h->heap.objects ? st->channel_of[index] : NIL;

			if (record == NIL || record >= h->channels ||
			    tarn__id_index(st->channel[record].id) != index) {
				finding(c, "ticket of object %u, which is no channel", index);
				continue;
			}
			c->spilled_of[record]++;
		} else if (k->who < h->clients_used) {
			count_on(c, k->what, k->value, "unit");
			c->held[k->who]++;
			if (tarn__id_index(k->what) < h->heap.objects)
				c->spilled[tarn__id_index(k->what)]++;
		} else {
			finding(c, "claim of client %u, which never was", k->who);
		}
	}
	for (uint32_t i = 1; i < h->channels; i++) {
		const struct channel *ch = &st->channel[i];

		if (ch->id != 0 && ch->producer.state == END_HELD)
			count_on(c, ch->id, 1, "producer's end");
		if (ch->id != 0 && ch->consumer.state == END_HELD)
			count_on(c, ch->id, 1, "consumer's end");
	}
	for (uint32_t i = 1; i < h->exports; i++) {
		const struct export *e = &st->export[i];

		if (e->id == 0)
			continue;
		count_on(c, e->id, 1, "export");
		if (e->issuer != NIL && e->issuer < h->clients_used)
			c->exports_of[e->issuer]++;
	}
}

static void count_names(struct check *c, uint32_t *names_of)
{
	const struct state *st = c->st;

	for (uint32_t i = 1; i < st->head->names; i++) {
		const struct name *n = &st->name[i];

		if (n->id == 0 || !n->holds)
			continue;
		count_on(c, n->id, 1, "name");
		if (n->issuer != NIL && n->issuer < st->head->clients_used)
			names_of[n->issuer]++;
	}
	for (uint32_t i = 1; i < st->head->clients_used; i++)
		MUST(c, st->client[i].names == names_of[i], "client %u: %u names, found %u", i,
		     st->client[i].names, names_of[i]);
}

static void count_tickets(struct check *c)
{
	const struct state *st = c->st;

	for (struct ticket_walk w = { 0 }; tarn__ticket_next(st, &w);) {
		const struct channel *ch = &st->channel[w.record];

		if (w.record == NIL || w.record >= st->head->channels)
			continue; /* reported with the claims */
		count_on(c, w.id, 1, "ticket");
		c->tickets_of[w.record]++;
		MUST(c, w.position >= ch->low && w.position < ch->sent,
		     "channel %llx: ticket %llu outside [%llu, %llu)", (unsigned long long)ch->id,
		     (unsigned long long)w.position, (unsigned long long)ch->low,
		     (unsigned long long)ch->sent);
		MUST(c, !w.in_book || tarn__ticket_find(st, ch, w.position) == w.id,
		     "channel %llx: ticket %llu is hidden", (unsigned long long)ch->id,
		     (unsigned long long)w.position);
	}
}

static void count_holders(struct check *c)
{
	const struct state *st = c->st;

	for (uint32_t i = 1; i < st->head->heap.objects; i++) {
		const struct object *o = &st->object[i];

		for (int k = 0; k < 2; k++) {
			const struct holder *h = &o->holder[k];

			if (h->client == NIL) {
				MUST(c, h->units == 0, "object %u: units of nobody", i);
				continue;
			}
			if (h->client >= st->head->clients_used) {
				finding(c, "object %u: holder %u never was", i, h->client);
				continue;
			}
			count_on(c, o->id, h->units, "unit");
			c->held[h->client]++;
		}
	}
}

static void check_objects(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t live = 0, granted = 0, dead = 0;

	for (uint32_t i = 1; i < h->heap.objects; i++) {
		const struct object *o = &st->object[i];
		enum object_state s = (enum object_state)o->state;

		MUST(c, tarn__id_index(o->id) == i || (o->id == 0 && s == OBJECT_UNUSED),
		     "object %u bears the id %llx", i, (unsigned long long)o->id);
		MUST(c, o->ext == c->ext[i], "object %u: count %u, claims %u", i, o->ext, c->ext[i]);
		MUST(c, o->spilled == c->spilled[i], "object %u: %u further holders, %u in the book",
		     i, o->spilled, c->spilled[i]);
		MUST(c, o->edges == c->edges[i], "object %u: %u edges lead to it, found %u", i, o->edges,
		     c->edges[i]);
		MUST(c, s != OBJECT_LIVE || o->ext + o->edges != 0, "object %u is live without a claim",
		     i);
		live += s == OBJECT_LIVE;
		granted += s == OBJECT_GRANTED;
		dead += s == OBJECT_DEAD;
		if (o->owner != NIL) {
			MUST(c, counts_allowed(s) && o->owner < h->clients_used,
			     "object %u in state %u is owned by %u", i, s, o->owner);
			if (o->owner < h->clients_used) {
				c->owned[o->owner]++;
				c->owned_bytes[o->owner] += tarn__heap_capacity(st, o);
			}
		}
		MUST(c, s != OBJECT_GRANTED || o->owner != NIL, "object %u is granted to nobody", i);
		if (counts_allowed(s))
			MUST(c, o->size != 0 && o->size <= tarn__heap_capacity(st, o),
			     "object %u: size %llu", i, (unsigned long long)o->size);
	}
	MUST(c, live == h->n_live && granted == h->n_granted && dead == h->n_dead + h->n_aside,
	     "states: %llu live, %llu granted, %llu dead; counted %llu, %llu, %llu",
	     (unsigned long long)live, (unsigned long long)granted, (unsigned long long)dead,
	     (unsigned long long)h->n_live, (unsigned long long)h->n_granted,
	     (unsigned long long)h->n_dead);
	uint64_t n = 0;
	uint32_t last = NIL;
	for (uint32_t i = h->dead; i != NIL && n <= h->n_dead; i = st->object[i].next, n++) {
		if (i >= h->heap.objects || st->object[i].state != OBJECT_DEAD) {
			finding(c, "the dead list leads to %u, which is not dead", i);
			return;
		}
		last = i;
	}
	MUST(c, n == h->n_dead && last == h->dead_last, "the dead list has %llu entries, counted %llu",
	     (unsigned long long)n, (unsigned long long)h->n_dead);
}

static void check_clients(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t there = 0, dying = 0, promised = 0;

	for (uint32_t i = 1; i < h->clients_used; i++) {
		const struct client *k = &st->client[i];

		MUST(c, k->held == c->held[i], "client %u: holds %llu, found %llu", i,
		     (unsigned long long)k->held, (unsigned long long)c->held[i]);
		MUST(c, k->owned == c->owned[i] && k->owned_bytes == c->owned_bytes[i],
		     "client %u: owns %llu of %llu bytes, found %llu of %llu", i,
		     (unsigned long long)k->owned, (unsigned long long)k->owned_bytes,
		     (unsigned long long)c->owned[i], (unsigned long long)c->owned_bytes[i]);
		MUST(c, k->exports == c->exports_of[i], "client %u: %u exports, found %u", i,
		     k->exports, c->exports_of[i]);
		MUST(c, k->state != CLIENT_ACTIVE || k->held <= k->credits + lanes_claims(k->lanes), "client %u: beyond its credits", i);
		there += k->state != CLIENT_NONE;
		dying += k->state == CLIENT_DYING1 || k->state == CLIENT_DYING2 ||
			 k->state == CLIENT_RECLAIM;
		promised += k->credits + lanes_claims(k->lanes);
		if (k->state == CLIENT_NONE)
			MUST(c, k->held == 0 && k->owned == 0 && k->exports == 0 && k->lanes == 0,
			     "client %u is gone and left something", i);
	}
	MUST(c, there == h->n_clients && dying == h->n_dying, "clients: %llu there, %llu dying",
	     (unsigned long long)there, (unsigned long long)dying);

	uint64_t open = 0, pending = 0;
	uint32_t *lanes_of = calloc(h->clients_used + 1u, sizeof *lanes_of);

	for (uint32_t i = 1; i < h->lanes; i++) {
		const struct lane *l = &st->lane[i];

		if (l->client == NIL)
			continue;
		open++;
		pending += l->wanted != 0;
		if (l->client < h->clients_used && lanes_of != NULL)
			lanes_of[l->client]++;
	}
	for (uint32_t i = 1; i < h->clients_used && lanes_of != NULL; i++)
		MUST(c, lanes_of[i] == st->client[i].lanes, "client %u: %u lanes, found %u", i,
		     st->client[i].lanes, lanes_of[i]);
	free(lanes_of);
	MUST(c, open == h->open_lanes && pending == h->n_pending, "lanes: %llu open, %llu pending",
	     (unsigned long long)open, (unsigned long long)pending);
	promised += h->n_edges;
	MUST(c, promised == h->claims_promised, "claims: %llu promised, found %llu",
	     (unsigned long long)h->claims_promised, (unsigned long long)promised);
}

static void check_channels(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t there = 0;

	for (uint32_t i = 1; i < h->channels; i++) {
		const struct channel *ch = &st->channel[i];

		if (ch->id == 0) {
			MUST(c, c->tickets_of[i] == 0, "channel %u is free and has tickets", i);
			continue;
		}
		there++;
		uint32_t index = tarn__id_index(ch->id);
		MUST(c, index < h->heap.objects && st->object[index].id == ch->id &&
				object_kind(&st->object[index]) == TARN__KIND_CHANNEL &&
				st->channel_of[index] == i,
		     "channel %u: its object %llx does not know it", i, (unsigned long long)ch->id);
		MUST(c, ch->tickets == c->tickets_of[i], "channel %u: %u tickets, found %u", i,
		     ch->tickets, c->tickets_of[i]);
		MUST(c, ch->spilled == c->spilled_of[i], "channel %u: %u tickets in the book, found %u",
		     i, ch->spilled, c->spilled_of[i]);
		/* I15 */
		if (ch->consumer.state == END_GONE && ch->sweep == 0)
			MUST(c, ch->tickets == 0, "channel %u: tickets for a consumer that is gone", i);
	}
	MUST(c, there == h->n_channels, "channels: %llu, counted %llu", (unsigned long long)there,
	     (unsigned long long)h->n_channels);
	uint64_t exports = 0, outliving = 0, names = 0;
	for (uint32_t i = 1; i < h->exports; i++) {
		exports += st->export[i].id != 0;
		outliving += st->export[i].id != 0 && st->export[i].issuer == NIL;
	}
	MUST(c, outliving == h->n_outliving, "%llu exports outlive their issuers, counted %llu",
	     (unsigned long long)outliving, (unsigned long long)h->n_outliving);
	for (uint32_t i = 1; i < h->names; i++)
		names += st->name[i].id != 0;
	MUST(c, exports == h->n_exports && names == h->n_names, "%llu exports, %llu names",
	     (unsigned long long)exports, (unsigned long long)names);
}

/* ---- objects ---- */

static uint64_t list_length(const struct check *c, uint32_t thing)
{
	const struct state *st = c->st;
	uint64_t n = 0;
	uint32_t prev = NIL;

	for (uint32_t e = st->thing[thing].edge; e != NIL; e = st->edge[e].next, n++) {
		if (e >= st->head->edges || n > st->head->n_edges || st->edge[e].from != thing ||
		    st->edge[e].prev != prev)
			return UINT64_MAX;
		prev = e;
	}
	return n;
}

static void count_edges(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t n = 0;

	for (uint32_t i = 1; i < h->edges; i++) {
		const struct edge *e = &st->edge[i];
		uint32_t to = tarn__id_index(e->to);

		if (e->to == 0)
			continue;
		n++;
		if (e->from == NIL || e->from >= h->things || st->thing[e->from].id == 0 ||
		    e->count == 0 || to >= h->heap.objects || st->object[to].id != e->to) {
			finding(c, "edge %u from %u to %llx: one of them is not there", i, e->from,
				(unsigned long long)e->to);
			continue;
		}
		c->edges[to] += e->count;
	}
	MUST(c, n == h->n_edges && c->edge_claims == n, "%llu edges, %llu claims of them, counted %llu",
	     (unsigned long long)n, (unsigned long long)c->edge_claims,
	     (unsigned long long)h->n_edges);
}

/* How long the list of those is that are told of ends; UINT64_MAX: it is broken. */
static uint64_t attending(const struct state *st)
{
	uint64_t n = 0;
	uint32_t prev = NIL;

	for (uint32_t i = st->head->attending; i != NIL; i = st->thing[i].attend_next, n++) {
		if (i >= st->head->things || n > st->head->n_things || st->thing[i].id == 0 ||
		    !(st->thing[i].flags & THING_ATTENDS) || st->thing[i].attend_prev != prev)
			return UINT64_MAX;
		prev = i;
	}
	return n;
}

static void check_things(struct check *c)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t n = 0, aside = 0, edges = 0, kind = 0, attend = 0;

	for (uint32_t i = 1; i < h->things; i++) {
		const struct thing *t = &st->thing[i];
		uint32_t index = tarn__id_index(t->id);

		if (t->id == 0)
			continue;
		n++;
		if (index >= h->heap.objects || st->object[index].id != t->id ||
		    object_kind(&st->object[index]) != TARN__KIND_OBJECT || st->channel_of[index] != i) {
			finding(c, "object record %u: %llx does not know it", i,
				(unsigned long long)t->id);
			continue;
		}
		enum object_state s = (enum object_state)st->object[index].state;
		bool away = (t->flags & (THING_DESTROYING | THING_PARKED)) != 0;

		aside += away;
		attend += (t->flags & THING_ATTENDS) != 0;
		edges += t->n_edges;
		MUST(c, s == OBJECT_LIVE || s == OBJECT_DEAD, "object record %u: state %u", i, s);
		MUST(c, !away || s == OBJECT_DEAD, "object record %u: flags %u, and not dead", i, t->flags);
		MUST(c, list_length(c, i) == t->n_edges, "object record %u: its list of %u edges is broken",
		     i, t->n_edges);
		MUST(c, t->created <= h->things_made, "object record %u: made in the future", i);
	}
	for (uint32_t i = 1; i < h->heap.objects; i++)
		kind += object_kind(&st->object[i]) == TARN__KIND_OBJECT &&
			(st->object[i].state == OBJECT_LIVE || st->object[i].state == OBJECT_DEAD);
	MUST(c, n == h->n_things && kind == n, "%llu object records, %llu objects, counted %llu",
	     (unsigned long long)n, (unsigned long long)kind, (unsigned long long)h->n_things);
	MUST(c, aside == h->n_aside, "%llu dead objects are aside, counted %llu",
	     (unsigned long long)aside, (unsigned long long)h->n_aside);
	MUST(c, attend == h->n_attending && attending(st) == attend,
	     "%llu objects are told of ends, %llu in the list, counted %u", (unsigned long long)attend,
	     (unsigned long long)attending(st), h->n_attending);
	MUST(c, edges == h->n_edges, "lists have %llu edges, counted %llu", (unsigned long long)edges,
	     (unsigned long long)h->n_edges);
}

static void check_calls(struct check *c, uint32_t *calls_of, uint32_t *records_of)
{
	const struct state *st = c->st;
	const struct state_head *h = st->head;
	uint64_t n = 0, watches = 0;

	for (uint32_t i = 1; i < h->calls; i++) {
		const struct call *k = &st->call[i];

		if (k->state == CALL_FREE)
			continue;
		n++;
		watches += k->state == CALL_WATCH;
		if (tarn__call_is_paid(st, k))
			records_of[k->payer]++;
		MUST(c, (k->number & (MAX_CALLS - 1)) == i && k->number >> 16 <= h->calls_made,
		     "call record %u bears number %llx", i, (unsigned long long)k->number);
		MUST(c, k->client != NIL || k->state != CALL_WATCH, "watch %u is nobody's", i);
		MUST(c, k->client == NIL || k->state != CALL_DONE, "call %u is done and somebody's", i);
		if (k->client == NIL)
			continue;
		if (k->client >= h->clients_used || st->client[k->client].state == CLIENT_NONE ||
		    k->lane >= h->lanes || st->lane[k->lane].client != k->client)
			finding(c, "call %u: its client %u or lane %u is not there", i, k->client, k->lane);
		else
			calls_of[k->client]++;
	}
	for (uint32_t i = 1; i < h->clients_used; i++)
		MUST(c, st->client[i].calls == calls_of[i], "client %u: %u calls, found %u", i,
		     st->client[i].calls, calls_of[i]);
	for (uint32_t i = 1; i < h->clients_used; i++)
		MUST(c, st->client[i].records == records_of[i], "client %u: %u call records, found %u", i,
		     st->client[i].records, records_of[i]);
	MUST(c, n == h->n_calls && watches == h->n_watches, "%llu calls, %llu watches, counted %llu, %llu",
	     (unsigned long long)n, (unsigned long long)watches, (unsigned long long)h->n_calls,
	     (unsigned long long)h->n_watches);
}

static void check_cursors(struct check *c)
{
	const struct state_head *h = c->st->head;

	MUST(c, h->undo.n == 0, "%llu words of an open transaction", (unsigned long long)h->undo.n);
	MUST(c, h->filling <= 1 && h->done <= h->n_deferred[1 - (h->filling & 1)],
	     "deferred: cursor %llu of %llu", (unsigned long long)h->done,
	     (unsigned long long)h->n_deferred[1 - (h->filling & 1)]);
	for (int b = 0; b < 2; b++)
		MUST(c, h->n_deferred[b] <= h->lanes_reserved * (uint64_t)TARN__REQUESTS,
		     "deferred: buffer %d has %llu entries", b, (unsigned long long)h->n_deferred[b]);
}

int tarn__verify(const struct state *st, void (*say)(void *, const char *), void *arg)
{
	const struct state_head *h = st->head;
	struct check c = { .st = st, .say = say, .arg = arg };
	size_t objects = h->heap.objects + 1u, clients = h->clients_used + 1u;

	c.ext = calloc(objects, sizeof *c.ext);
	c.edges = calloc(objects, sizeof *c.edges);
	c.spilled = calloc(objects, sizeof *c.spilled);
	uint32_t *names_of = calloc(clients, sizeof *names_of);
	uint32_t *calls_of = calloc(clients, sizeof *calls_of);
	uint32_t *records_of = calloc(clients, sizeof *records_of);
	c.held = calloc(clients, sizeof *c.held);
	c.owned = calloc(clients, sizeof *c.owned);
	c.owned_bytes = calloc(clients, sizeof *c.owned_bytes);
	c.exports_of = calloc(clients, sizeof *c.exports_of);
	c.tickets_of = calloc(h->channels + 1u, sizeof *c.tickets_of);
	c.spilled_of = calloc(h->channels + 1u, sizeof *c.spilled_of);
	if (c.ext == NULL || c.edges == NULL || names_of == NULL || calls_of == NULL || records_of == NULL || c.spilled == NULL || c.held == NULL || c.owned == NULL ||
	    c.owned_bytes == NULL || c.exports_of == NULL || c.tickets_of == NULL || c.spilled_of == NULL) {
		finding(&c, "no memory for the check");
	} else {
		count_claims(&c);
		count_tickets(&c);
		count_holders(&c);
		count_names(&c, names_of);
		count_edges(&c);
		check_objects(&c);
		check_clients(&c);
		check_channels(&c);
		check_things(&c);
		check_calls(&c, calls_of, records_of);
		check_cursors(&c);
		c.findings += tarn__claims_verify(st, say, arg);
		c.findings += tarn__windows_verify(st, say, arg);
		c.findings += tarn__heap_verify(st, say, arg);
	}
	free(c.ext);
	free(c.edges);
	free(names_of);
	free(calls_of);
	free(records_of);
	free(c.spilled);
	free(c.held);
	free(c.owned);
	free(c.owned_bytes);
	free(c.exports_of);
	free(c.tickets_of);
	free(c.spilled_of);
	return c.findings;
}
