/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to tools: rows copied from committed state into a memfd, which the asker maps.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "claims.h"
#include "dump.h"
#include "heap.h"
#include "ledger.h"
#include "lib/types/store.h"
#include "server.h"
#include "tickets.h"

/* A growing answer. */
struct answer_file {
	int fd;
	int error;
	size_t used;
	char buffer[65536];
	uint64_t rows;
};

static void put(struct answer_file *f, const void *data, size_t bytes)
{
	if (f->used + bytes > sizeof f->buffer || bytes == 0) {
		for (size_t at = 0; at < f->used && f->error == 0;) {
			ssize_t n = write(f->fd, f->buffer + at, f->used - at);

			if (n <= 0)
				f->error = n < 0 ? -errno : -EIO;
			else
				at += (size_t)n;
		}
		f->used = 0;
	}
	memcpy(f->buffer + f->used, data, bytes);
	f->used += bytes;
}

static void put_row(struct answer_file *f, const void *row, size_t bytes)
{
	put(f, row, bytes);
	f->rows++;
}

static const char *const state_names[] = {
	[CLIENT_NONE] = "none",	    [CLIENT_ACTIVE] = "active", [CLIENT_EVICTED] = "evicted",
	[CLIENT_DYING1] = "dying",  [CLIENT_DYING2] = "dying",	[CLIENT_RECLAIM] = "reclaimed",
};
#define N_STATES (sizeof state_names / sizeof *state_names)

static const char *const kind_names[] = {
	[TARN__MSG_NONE] = "unknown",	[TARN__MSG_SEND] = "send",
	[TARN__MSG_RECV] = "recv",	[TARN__MSG_ABSORB] = "absorb",
	[TARN__MSG_RELEASE] = "release", [TARN__MSG_GIVEBACK] = "giveback",
	[TARN__MSG_PUBLISH] = "publish", [TARN__MSG_SEAL] = "seal",
	[TARN__MSG_RESIZE] = "resize",	[TARN__MSG_CLOSE] = "close",
	[TARN__MSG_ALLOC] = "alloc",	[TARN__MSG_CREDIT] = "credit",
	[TARN__MSG_CHANNEL] = "channel", [TARN__MSG_BIND] = "bind",
	[TARN__MSG_LOOKUP] = "lookup",	[TARN__MSG_EXPORT] = "export",
	[TARN__MSG_IMPORT] = "import",	[TARN__MSG_REVOKE] = "revoke",
	[TARN__MSG_PING] = "ping",	[TARN__MSG_CONTENTS] = "contents",
	[TARN__MSG_TYPE] = "type",
	[TARN__MSG_CREATE] = "create",	[TARN__MSG_CALL] = "call",
	[TARN__MSG_RESULT] = "result",	[TARN__MSG_CANCEL] = "cancel",
	[TARN__MSG_HOLD] = "hold",	[TARN__MSG_UNHOLD] = "unhold",
	[TARN__MSG_DESTROYED] = "destroyed", [TARN__MSG_NAME] = "name",
	[TARN__MSG_GRAB] = "grab",	[TARN__MSG_WATCH] = "watch",
	[TARN__MSG_MADE] = "made",	[TARN__MSG_FETCH] = "fetch",
};

static const char *kind_name(unsigned kind)
{
	return kind < sizeof kind_names / sizeof *kind_names && kind_names[kind] != NULL
		       ? kind_names[kind] : "other";
}

static uint64_t since(const struct sight *s, uint64_t ns)
{
	return s->now_ns > ns ? s->now_ns - ns : 0;
}

/* How long an object has been LIVE. Ticks are of 32 bits and wrap. */
static uint64_t age_of(const struct sight *s, const struct object *o)
{
	uint32_t i = object_index(s->st, o);

	if (s->facts == NULL || s->st->born == NULL || i >= s->facts->n_born ||
	    o->state != OBJECT_LIVE)
		return 0;
	uint32_t now = (uint32_t)(since(s, s->facts->started_ns) / FACTS_TICK_NS);

	return (uint64_t)(uint32_t)(now - s->st->born[i]) * FACTS_TICK_NS;
}

/* The largest free run, as they tile the heap. Stops at what is none. */
static uint64_t largest_free(const struct state *st)
{
	uint64_t most = 0;

	for (uint64_t p = 0; p < st->head->heap.top;) {
		const struct run *r = &st->run[p];

		if (r->pages == 0 || r->pages > st->head->heap.top - p)
			break;
		if ((r->state == RUN_WARM || r->state == RUN_COLD) && r->pages > most)
			most = r->pages;
		p += r->pages;
	}
	/* Above top all is cold, in one piece. */
	uint64_t above = st->head->heap.pages - st->head->heap.top;

	return (above > most ? above : most) << TARN__HEAP_PAGE_SHIFT;
}

static void put_stat(const struct sight *s, struct answer_file *f)
{
	const struct state *st = s->st;
	const struct state_head *h = st->head;
	tarn_stat t = { 0 };

	if (s->facts != NULL) {
		t = s->facts->stat;
		t.io[sizeof t.io - 1] = t.io_reason[sizeof t.io_reason - 1] = '\0';
		t.backing_reason[sizeof t.backing_reason - 1] = t.name[sizeof t.name - 1] = '\0';
		t.process[sizeof t.process - 1] = '\0';
		t.uptime_ns = since(s, s->facts->started_ns);
	}
	t.epochs = h->epoch;
	t.arena_bytes = h->arena_bytes;
	t.used_bytes = h->heap.used;
	t.committed_bytes = h->heap.committed;
	t.warm_bytes = h->heap.warm_free;
	t.watermark_bytes = h->heap.watermark;
	t.idle_bytes = h->heap.idle_bytes;
	t.largest_free_bytes = largest_free(st);
	t.meta_bytes = h->meta_bytes;
	t.resident_data_bytes = st->data.fd >= 0 ? tarn__segment_resident(&st->data) : 0;
	t.resident_meta_bytes = st->meta_segment.fd >= 0
					? tarn__segment_resident(&st->meta_segment) +
						  tarn__segment_resident(&st->dir_segment)
					: 0;
	t.max_blocks = h->max_objects;
	t.blocks_live = h->n_live;
	t.blocks_granted = h->n_granted;
	t.blocks_dead = h->n_dead;
	t.indices_used = h->heap.objects - 1;
	/* Others than the server itself, which is one where it has objects. */
	t.clients = h->n_clients - (h->host != NIL);
	t.lanes = h->open_lanes - (h->host != NIL ? st->client[h->host].lanes : 0);
	t.channels = h->n_channels;
	t.exports = h->n_exports;
	t.names = h->n_names;
	t.claims = h->n_claims;
	t.pending_allocs = h->n_pending;
	t.objects = h->n_things;
	t.edges = h->n_edges;
	t.calls = h->n_calls - h->n_watches;
	t.watches = h->n_watches;
	t.contents_bytes = s->store != NULL ? tarn__store_used(s->store) : 0;
	t.contents_committed_bytes = s->store != NULL ? tarn__store_committed(s->store) : 0;
	t.max_clients = MAX_CLIENTS - 1;
	t.max_lanes = MAX_LANES - 1;
	t.max_channels = MAX_CHANNELS - 1;
	t.max_exports = MAX_EXPORTS - 1;
	t.max_names = MAX_NAMES - 1;
	t.max_claims = MAX_CLAIMS - 1;
	t.max_undo = TARN__UNDO_CAPACITY;
	for (uint32_t i = 1; i < h->channels; i++)
		if (st->channel[i].id != 0)
			t.tickets += st->channel[i].tickets;
	put_row(f, &t, sizeof t);
}

/* Bytes that each client holds, whoever owns them: its units of an object count once. */
static uint64_t *held_bytes(const struct sight *s)
{
	const struct state *st = s->st;
	const struct state_head *h = st->head;
	uint64_t *bytes = calloc(h->clients_used + 1u, sizeof *bytes);

	for (uint32_t i = 1; bytes != NULL && i < h->heap.objects; i++) {
		const struct object *o = &st->object[i];

		if (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED)
			continue;
		for (int k = 0; k < 2; k++)
			if (o->holder[k].client != NIL && o->holder[k].client < h->clients_used)
				bytes[o->holder[k].client] += tarn__heap_capacity(st, o);
	}
	for (uint32_t i = 1; bytes != NULL && i < h->claims; i++) {
		const struct claim *c = &st->claim[i];
		const struct object *o = c->who != 0 && c->who < h->clients_used
						 ? tarn__object_find(st, c->what) : NULL;

		if (o != NULL)
			bytes[c->who] += tarn__heap_capacity(st, o);
	}
	return bytes;
}

/* A client's waits of all kinds in one. */
static void waits_sum(const struct tarn__lane_waits *from, uint32_t to[TARN__HISTOGRAM_BUCKETS])
{
	for (unsigned k = 0; k < TARN__WAITS; k++)
		for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++)
			to[b] = to[b] + from->n[k][b] >= to[b] ? to[b] + from->n[k][b] : UINT32_MAX;
}

static uint64_t samples(const uint32_t *n)
{
	uint64_t all = 0;

	for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++)
		all += n[b];
	return all;
}

/* Rows are sent as they are: what no field covers would be anything. */
static_assert(sizeof(tarn_client_row) == offsetof(tarn_client_row, evicted) + 100, "no padding");
static void fill_facts(const struct sight *s, const struct facts_client *c, tarn_client_row *row)
{
	uint32_t all[TARN__HISTOGRAM_BUCKETS] = { 0 };

	row->unread = c->unread;
	row->most_unread = c->most_unread;
	for (unsigned k = 0; k < FACTS_KINDS; k++)
		row->messages += c->by_kind[k];
	row->failures = c->failures;
	row->error = c->error;
	if (c->error != 0) {
		row->failed_ago_ns = since(s, c->failed_ns);
		snprintf(row->error_kind, sizeof row->error_kind, "%s", kind_name(c->error_kind));
	}
	memcpy(row->evicted, c->evicted, sizeof c->evicted);
	row->evicted[sizeof c->evicted - 1] = '\0';
	waits_sum(&c->waits, all);
	row->waits = samples(all);
	row->wait_p50_ns = tarn__histogram_quantile(all, 5000);
	row->wait_p99_ns = tarn__histogram_quantile(all, 9900);
	row->wait_max_ns = tarn__histogram_quantile(all, 10000);
}

static int put_clients(const struct sight *s, struct answer_file *f)
{
	const struct state *st = s->st;
	uint64_t *bytes = held_bytes(s);

	if (bytes == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < st->head->clients_used; i++) {
		const struct client *c = &st->client[i];

		if (c->state == CLIENT_NONE)
			continue;
		tarn_client_row row = {
			.id = i, .incarnation = c->incarnation, .pid = c->pid, .uid = c->uid,
			.state = c->state, .lanes = c->lanes, .held = c->held, .credits = c->credits,
			.owned = c->owned, .owned_bytes = c->owned_bytes, .quota = c->quota,
			.start_ns = c->start_ns, .held_bytes = bytes[i],
		};
		memcpy(row.name, c->name, sizeof row.name);
		row.name[sizeof row.name - 1] = '\0';
		snprintf(row.state_name, sizeof row.state_name, "%s",
			 c->state < N_STATES ? state_names[c->state] : "?");
		if (s->facts != NULL)
			fill_facts(s, &tarn__facts_clients(s->facts)[i], &row);
		put_row(f, &row, sizeof row);
	}
	free(bytes);
	return 0;
}

/* Which row of waits a kind of message has; -1: nobody waits for it, or it shares another's. */
static int wait_of(unsigned kind)
{
	switch (kind) {
	case TARN__MSG_ALLOC: return TARN__WAIT_ALLOC;
	case TARN__MSG_CREDIT: return TARN__WAIT_CREDIT;
	case TARN__MSG_CHANNEL: return TARN__WAIT_CHANNEL;
	case TARN__MSG_BIND: return TARN__WAIT_BIND;
	case TARN__MSG_LOOKUP: return TARN__WAIT_LOOKUP;
	case TARN__MSG_EXPORT: return TARN__WAIT_EXPORT;
	case TARN__MSG_IMPORT: return TARN__WAIT_IMPORT;
	case TARN__MSG_PING: return TARN__WAIT_PING;
	case TARN__MSG_CALL: return TARN__WAIT_CALL;
	default: return -1;
	}
}

static void put_message(struct answer_file *f, uint32_t client, unsigned kind, uint64_t messages,
			const uint32_t *waits)
{
	tarn_message_row row = { .client = client, .kind = kind, .messages = messages };

	snprintf(row.name, sizeof row.name, "%s", kind_name(kind));
	if (waits != NULL) {
		row.waits = samples(waits);
		row.p50_ns = tarn__histogram_quantile(waits, 5000);
		row.p90_ns = tarn__histogram_quantile(waits, 9000);
		row.p99_ns = tarn__histogram_quantile(waits, 9900);
		row.p999_ns = tarn__histogram_quantile(waits, 9990);
		row.max_ns = tarn__histogram_quantile(waits, 10000);
	}
	if (row.messages != 0 || row.waits != 0)
		put_row(f, &row, sizeof row);
}

static int put_messages(const struct sight *s, struct answer_file *f)
{
	const struct state *st = s->st;
	struct facts_client *sum = calloc(1, sizeof *sum);

	if (sum == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; s->facts != NULL && i < st->head->clients_used; i++) {
		const struct facts_client *c = &tarn__facts_clients(s->facts)[i];

		if (st->client[i].state == CLIENT_NONE)
			continue;
		for (unsigned k = 0; k < FACTS_KINDS; k++) {
			int w = wait_of(k);

			sum->by_kind[k] += c->by_kind[k];
			put_message(f, i, k, c->by_kind[k], w >= 0 ? c->waits.n[w] : NULL);
		}
		for (unsigned k = 0; k < TARN__WAITS; k++)
			for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++) {
				uint32_t *n = &sum->waits.n[k][b], more = c->waits.n[k][b];

				*n = *n + more >= more ? *n + more : UINT32_MAX;
			}
	}
	for (unsigned k = 0; k < FACTS_KINDS; k++) {
		int w = wait_of(k);

		put_message(f, 0, k, sum->by_kind[k], w >= 0 ? sum->waits.n[w] : NULL);
	}
	free(sum);
	return 0;
}

static int put_classes(const struct sight *s, struct answer_file *f)
{
	const struct state *st = s->st;
	tarn_class_row *row = calloc(TARN__SMALL_CLASSES + 1, sizeof *row);

	if (row == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < st->head->heap.spans; i++) {
		const struct span *p = &st->span[i];

		if (p->state == SPAN_NONE || p->cls >= TARN__SMALL_CLASSES)
			continue;
		row[p->cls].spans++;
		row[p->cls].span_bytes += (uint64_t)p->pages << TARN__HEAP_PAGE_SHIFT;
		row[p->cls].slots += p->slots;
	}
	for (uint32_t i = 1; i < st->head->heap.objects; i++) {
		const struct object *o = &st->object[i];
		bool large = object_flags(o) & OBJECT_LARGE;

		if (o->state != OBJECT_GRANTED && o->state != OBJECT_LIVE && o->state != OBJECT_DEAD)
			continue;
		tarn_class_row *r = &row[large ? TARN__SMALL_CLASSES : st->span[o->place].cls];
		uint64_t bytes = tarn__heap_capacity(st, o);

		r->used++;
		r->used_bytes += bytes;
		if (large) {
			r->spans++;
			r->slots++;
			r->span_bytes += bytes;
		}
		if (o->state == OBJECT_LIVE) {
			r->live++;
			r->live_bytes += o->size;
		}
	}
	for (unsigned k = 0; k <= TARN__SMALL_CLASSES; k++) {
		row[k].slot_bytes = k < TARN__SMALL_CLASSES ? tarn__class_bytes(k) : 0;
		if (row[k].spans != 0)
			put_row(f, &row[k], sizeof row[k]);
	}
	free(row);
	return 0;
}

/* What rows say in words of the public header. */
static_assert((int)TARN_BLOCK_GRANTED == OBJECT_GRANTED && (int)TARN_BLOCK_LIVE == OBJECT_LIVE &&
	      (int)TARN_BLOCK_DEAD == OBJECT_DEAD, "states");
static_assert((int)TARN_BLOCK_PLAIN == TARN__KIND_BLOCK &&
	      (int)TARN_BLOCK_CHANNEL == TARN__KIND_CHANNEL &&
	      (int)TARN_BLOCK_OBJECT == TARN__KIND_OBJECT, "kinds");
static_assert((int)TARN_BLOCK_IS_LARGE == OBJECT_LARGE &&
	      (int)TARN_BLOCK_IS_SEALED == OBJECT_SEALED, "flags");

static void put_blocks(const struct sight *s, struct answer_file *f)
{
	const struct state *st = s->st;

	for (uint32_t i = 1; i < st->head->heap.objects; i++) {
		const struct object *o = &st->object[i];

		if (o->state != OBJECT_GRANTED && o->state != OBJECT_LIVE && o->state != OBJECT_DEAD)
			continue;
		tarn_block_row row = {
			.id = o->id, .offset = o->offset, .size = o->size,
			.capacity = tarn__heap_capacity(st, o), .ext = o->ext, .edges = o->edges,
			.owner = o->owner, .state = o->state, .kind = (uint8_t)object_kind(o),
			.flags = (uint8_t)object_flags(o),
			.holders = (uint8_t)((o->holder[0].client != NIL) +
					     (o->holder[1].client != NIL) +
					     (o->spilled < 250 ? o->spilled : 250)),
			.holder = { o->holder[0].client, o->holder[1].client },
			.units = { o->holder[0].units, o->holder[1].units },
			.age_ns = age_of(s, o),
		};
		put_row(f, &row, sizeof row);
	}
}

static void put_claim(const struct sight *s, struct answer_file *f, tarn_claim_row row)
{
	const struct object *o = tarn__object_find(s->st, row.id);

	if (row.client != NIL && row.client < s->st->head->clients_used) {
		const struct client *c = &s->st->client[row.client];

		row.pid = c->pid;
		memcpy(row.name, c->name, sizeof row.name);
		row.name[sizeof row.name - 1] = '\0';
		/* What is in transit is not held by its sender any more. */
		if (row.doubt == TARN_DOUBT_NONE && row.kind != TARN_CLAIM_TRANSIT)
			row.doubt = c->state == CLIENT_EVICTED ? TARN_DOUBT_EVICTED
				  : c->state != CLIENT_ACTIVE ? TARN_DOUBT_DYING : TARN_DOUBT_NONE;
	}
	if (o != NULL) {
		row.age_ns = age_of(s, o);
		row.capacity = tarn__heap_capacity(s->st, o);
	}
	put_row(f, &row, sizeof row);
}

static void put_object_claims(const struct sight *s, struct answer_file *f, const struct object *o)
{
	if (o->state == OBJECT_GRANTED)
		put_claim(s, f, (tarn_claim_row){ .id = o->id, .kind = TARN_CLAIM_GRANTED,
						  .client = o->owner, .units = 1 });
	for (int k = 0; k < 2; k++)
		if (o->holder[k].client != NIL)
			put_claim(s, f, (tarn_claim_row){ .id = o->id, .kind = TARN_CLAIM_HELD,
							  .client = o->holder[k].client,
							  .units = o->holder[k].units });
}

static void put_ends(const struct sight *s, struct answer_file *f, uint64_t id)
{
	const struct state *st = s->st;

	for (uint32_t i = 1; i < st->head->channels; i++) {
		const struct channel *ch = &st->channel[i];

		if (ch->id == 0 || (id != 0 && ch->id != id))
			continue;
		if (ch->producer.state == END_HELD)
			put_claim(s, f, (tarn_claim_row){ .id = ch->id, .kind = TARN_CLAIM_END,
							  .client = ch->producer.client, .units = 1,
							  .at = TARN__ROLE_PRODUCER });
		if (ch->consumer.state == END_HELD)
			put_claim(s, f, (tarn_claim_row){ .id = ch->id, .kind = TARN_CLAIM_END,
							  .client = ch->consumer.client, .units = 1,
							  .at = TARN__ROLE_CONSUMER });
	}
}

static int put_refs(const struct sight *s, struct answer_file *f, uint64_t id)
{
	const struct state *st = s->st;
	const struct state_head *h = st->head;

	if (id != 0 && tarn__object_find(st, id) == NULL)
		return -TARN_ESTALE;
	for (uint32_t i = 1; i < h->heap.objects; i++) {
		const struct object *o = &st->object[i];

		if ((o->state == OBJECT_GRANTED || o->state == OBJECT_LIVE) &&
		    (id == 0 || o->id == id))
			put_object_claims(s, f, o);
	}
	for (uint32_t i = 1; i < h->claims; i++) {
		const struct claim *c = &st->claim[i];

		if (c->who == 0)
			continue;
		if ((c->who & CLAIM_EDGE) && !(c->who & CLAIM_TICKET)) {
			const struct edge *e = &st->edge[c->value];

			if ((id == 0 || c->what == id) && e->to == c->what)
				put_claim(s, f, (tarn_claim_row){ .id = c->what, .kind = TARN_CLAIM_STORED,
								  .units = e->count,
								  .via = st->thing[e->from].id });
			continue;
		}
		if ((c->who & CLAIM_TICKET) == 0 && (id == 0 || c->what == id))
			put_claim(s, f, (tarn_claim_row){ .id = c->what, .kind = TARN_CLAIM_HELD,
							  .client = c->who,
							  .units = c->value });
	}
	for (struct ticket_walk w = { 0 }; tarn__ticket_next(st, &w);) {
		const struct channel *ch = &st->channel[w.record];

		if (id == 0 || w.id == id)
			put_claim(s, f, (tarn_claim_row){
				.id = w.id, .kind = TARN_CLAIM_TRANSIT, .client = ch->producer.client,
				.units = 1, .via = ch->id, .at = w.position,
				.doubt = ch->consumer.state != END_HELD ? TARN_DOUBT_NO_CONSUMER
									: TARN_DOUBT_NONE });
	}
	put_ends(s, f, id);
	for (uint32_t i = 1; i < h->exports; i++) {
		const struct export *e = &st->export[i];

		if (e->id != 0 && (id == 0 || e->id == id))
			put_claim(s, f, (tarn_claim_row){
				.id = e->id, .kind = TARN_CLAIM_EXPORTED, .client = e->issuer,
				.units = e->uses,
				.doubt = e->issuer == NIL && e->deadline == 0 ? TARN_DOUBT_NO_END
									      : TARN_DOUBT_NONE });
	}
	for (uint32_t i = 1; i < h->names; i++) {
		const struct name *n = &st->name[i];

		if (n->id != 0 && n->holds && (id == 0 || n->id == id))
			put_claim(s, f, (tarn_claim_row){ .id = n->id, .kind = TARN_CLAIM_NAMED,
							  .client = n->issuer, .units = 1 });
	}
	return 0;
}

static void say(void *arg, const char *line)
{
	struct answer_file *f = arg;

	put(f, line, strlen(line));
	put(f, "\n", 1);
}

static int put_answer(const struct sight *s, struct answer_file *f, uint32_t kind,
		      uint64_t argument)
{
	switch (kind) {
	case TARN__CTL_STAT:
		put_stat(s, f);
		return 0;
	case TARN__CTL_CLIENTS:
		return put_clients(s, f);
	case TARN__CTL_BLOCKS:
		put_blocks(s, f);
		return 0;
	case TARN__CTL_REFS:
		return put_refs(s, f, argument);
	case TARN__CTL_CLASSES:
		return put_classes(s, f);
	case TARN__CTL_MESSAGES:
		return put_messages(s, f);
	case TARN__CTL_CHECK:
		f->rows = (uint64_t)(tarn__verify(s->st, say, f) +
				     tarn__contents_verify(s->store, s->st, false, say, f));
		return 0;
	default:
		return -EINVAL;
	}
}

static bool is_about_objects(uint32_t kind)
{
	return kind >= TARN__CTL_TYPES && kind <= TARN__CTL_LEAKS;
}

int tarn__query_sight(const struct sight *sight, uint32_t kind, uint64_t argument, int *ret_fd,
		      uint64_t *ret_rows)
{
	if (is_about_objects(kind))
		return tarn__query_objects(sight, NULL, kind, ret_fd, ret_rows);

	struct answer_file *f = calloc(1, sizeof *f);
	int r;

	if (f == NULL)
		return -ENOMEM;
	f->fd = memfd_create("tarn-answer", MFD_CLOEXEC);
	if (f->fd < 0) {
		r = -errno;
		free(f);
		return r;
	}
	r = put_answer(sight, f, kind, argument);
	put(f, "", 0);
	if (r == 0)
		r = f->error;
	if (r < 0)
		close(f->fd);
	else
		*ret_fd = f->fd;
	*ret_rows = f->rows;
	free(f);
	return r;
}

static uint64_t clock_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int dump(struct server *s, int *ret_fd)
{
	struct dump_header h = { .meta_bytes = s->st.head->meta_bytes,
				 .facts_bytes = s->facts_segment.bytes,
				 .taken_ns = clock_of(CLOCK_REALTIME),
				 .now_ns = clock_of(CLOCK_BOOTTIME),
				 .how = DUMP_ANSWERED, .pid = (uint32_t)getpid() };
	int fd = memfd_create("tarn-dump", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int r = dump_write(fd, &h, s->st.meta_segment.base, s->st.meta_segment.fd,
			   s->facts_segment.base, s->facts_segment.fd);
	if (r < 0)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}

int tarn__query(struct server *s, uint32_t kind, uint64_t argument, int *ret_fd, uint64_t *ret_rows)
{
	struct sight sight = { .st = &s->st, .facts = s->facts, .now_ns = clock_of(CLOCK_BOOTTIME),
			       .store = s->store };

	if (is_about_objects(kind))
		return tarn__query_objects(&sight, s, kind, ret_fd, ret_rows);
	tarn__facts_note(s);
	if (kind == TARN__CTL_CLIENTS || kind == TARN__CTL_MESSAGES || kind == TARN__CTL_DUMP)
		tarn__facts_look(s);
	*ret_rows = 0;
	return kind == TARN__CTL_DUMP ? dump(s, ret_fd)
				      : tarn__query_sight(&sight, kind, argument, ret_fd, ret_rows);
}
