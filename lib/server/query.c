/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to tools: rows copied from committed state into a memfd, which the asker maps.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "claims.h"
#include "heap.h"
#include "ledger.h"
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

static void put_stat(struct server *s, struct answer_file *f)
{
	const struct state *st = &s->st;
	const struct state_head *h = st->head;
	tarn_stat t = {
		.server_pid = (uint64_t)getpid(),
		.uptime_ns = tarn__now() - s->started_ns,
		.epochs = h->epoch,
		.messages = s->messages,
		.sleeps = s->sleeps,
		.wakeups = s->wakeups,
		.arena_bytes = h->arena_bytes,
		.used_bytes = h->heap.used,
		.committed_bytes = h->heap.committed,
		.warm_bytes = h->heap.warm_free,
		.watermark_bytes = h->heap.watermark,
		.meta_bytes = h->meta_bytes,
		.resident_data_bytes = tarn__segment_resident(&st->data),
		.resident_meta_bytes = tarn__segment_resident(&st->meta_segment) +
				       tarn__segment_resident(&st->dir_segment),
		.max_blocks = h->max_objects,
		.blocks_live = h->n_live,
		.blocks_granted = h->n_granted,
		.blocks_dead = h->n_dead,
		.indices_used = h->heap.objects - 1,
		.clients = h->n_clients,
		.lanes = h->open_lanes,
		.channels = h->n_channels,
		.exports = h->n_exports,
		.names = h->n_names,
		.claims = h->n_claims,
		.pending_allocs = h->n_pending,
		.failed_allocs = s->failed_allocs,
		.evictions = s->evictions,
		.deaths = s->deaths,
		.stale_messages = s->stale,
		.undo_high = s->undo_high,
		.backing = s->backing == TARN__BACKING_KEPT ? TARN_BACKING_POSIX : s->backing,
	};

	for (uint32_t i = 1; i < h->channels; i++)
		if (st->channel[i].id != 0)
			t.tickets += st->channel[i].tickets;
	snprintf(t.io, sizeof t.io, "%s", tarn__loop_name(s->loop));
	snprintf(t.io_reason, sizeof t.io_reason, "%s", s->io_reason);
	snprintf(t.backing_reason, sizeof t.backing_reason, "%s", s->backing_reason);
	snprintf(t.name, sizeof t.name, "%s", s->name);
	put_row(f, &t, sizeof t);
}

static uint64_t unread_of(struct server *s, uint32_t client)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->n_views; i++) {
		const struct lane_view *v = &s->view[i];

		if (s->st.lane[v->lane].client != client)
			continue;
		for (uint64_t p = v->position; p < v->position + TARN__REQUESTS; p++, n++)
			if (!tarn__request_ready(v->requests, p))
				break;
	}
	return n;
}

static void put_clients(struct server *s, struct answer_file *f)
{
	const struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->clients_used; i++) {
		const struct client *c = &st->client[i];

		if (c->state == CLIENT_NONE)
			continue;
		tarn_client_row row = {
			.id = i, .incarnation = c->incarnation, .pid = c->pid, .uid = c->uid,
			.state = c->state, .lanes = c->lanes, .held = c->held, .credits = c->credits,
			.owned = c->owned, .owned_bytes = c->owned_bytes, .quota = c->quota,
			.unread = unread_of(s, i), .start_ns = c->start_ns,
		};
		memcpy(row.name, c->name, sizeof row.name);
		snprintf(row.state_name, sizeof row.state_name, "%s", state_names[c->state]);
		put_row(f, &row, sizeof row);
	}
}

/* What rows say in words of the public header. */
static_assert((int)TARN_BLOCK_GRANTED == OBJECT_GRANTED && (int)TARN_BLOCK_LIVE == OBJECT_LIVE &&
	      (int)TARN_BLOCK_DEAD == OBJECT_DEAD, "states");
static_assert((int)TARN_BLOCK_PLAIN == TARN__KIND_BLOCK &&
	      (int)TARN_BLOCK_CHANNEL == TARN__KIND_CHANNEL, "kinds");
static_assert((int)TARN_BLOCK_IS_LARGE == OBJECT_LARGE &&
	      (int)TARN_BLOCK_IS_SEALED == OBJECT_SEALED, "flags");

static void put_blocks(struct server *s, struct answer_file *f)
{
	const struct state *st = &s->st;

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
		};
		put_row(f, &row, sizeof row);
	}
}

static void put_claim(struct server *s, struct answer_file *f, tarn_claim_row row)
{
	if (row.client != NIL && row.client < s->st.head->clients_used) {
		const struct client *c = &s->st.client[row.client];

		row.pid = c->pid;
		memcpy(row.name, c->name, sizeof row.name);
	}
	put_row(f, &row, sizeof row);
}

static void put_object_claims(struct server *s, struct answer_file *f, const struct object *o)
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

static void put_ends(struct server *s, struct answer_file *f, uint64_t id)
{
	const struct state *st = &s->st;

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

static int put_refs(struct server *s, struct answer_file *f, uint64_t id)
{
	const struct state *st = &s->st;
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
		if ((c->who & CLAIM_TICKET) == 0 && (id == 0 || c->what == id))
			put_claim(s, f, (tarn_claim_row){ .id = c->what, .kind = TARN_CLAIM_HELD,
							  .client = (uint32_t)c->who,
							  .units = c->value });
	}
	for (struct ticket_walk w = { 0 }; tarn__ticket_next(st, &w);) {
		const struct channel *ch = &st->channel[w.record];

		if (id == 0 || w.id == id)
			put_claim(s, f, (tarn_claim_row){ .id = w.id, .kind = TARN_CLAIM_TRANSIT,
							  .client = ch->producer.client,
							  .units = 1, .via = ch->id,
							  .at = w.position });
	}
	put_ends(s, f, id);
	for (uint32_t i = 1; i < h->exports; i++) {
		const struct export *e = &st->export[i];

		if (e->id != 0 && (id == 0 || e->id == id))
			put_claim(s, f, (tarn_claim_row){ .id = e->id, .kind = TARN_CLAIM_EXPORTED,
							  .client = e->issuer, .units = e->uses });
	}
	return 0;
}

static void say(void *arg, const char *line)
{
	struct answer_file *f = arg;

	put(f, line, strlen(line));
	put(f, "\n", 1);
}

int tarn__query(struct server *s, uint32_t kind, uint64_t argument, int *ret_fd, uint64_t *ret_rows)
{
	struct answer_file *f = calloc(1, sizeof *f);
	int r = 0;

	if (f == NULL)
		return -ENOMEM;
	f->fd = memfd_create("tarn-answer", MFD_CLOEXEC);
	if (f->fd < 0) {
		r = -errno;
		free(f);
		return r;
	}
	switch (kind) {
	case TARN__CTL_STAT:
		put_stat(s, f);
		break;
	case TARN__CTL_CLIENTS:
		put_clients(s, f);
		break;
	case TARN__CTL_BLOCKS:
		put_blocks(s, f);
		break;
	case TARN__CTL_REFS:
		r = put_refs(s, f, argument);
		break;
	case TARN__CTL_CHECK:
		f->rows = (uint64_t)tarn__verify(&s->st, say, f);
		break;
	default:
		r = -EINVAL;
	}
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
