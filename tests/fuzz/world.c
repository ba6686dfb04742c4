/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzzed-types.h"
#include "input.h"
#include "lib/server/heap.h"
#include "lib/server/ledger.h"
#include "lib/types/store.h"
#include "lib/types/types.h"
#include "shaken.h"
#include "shm/queue.h"
#include "shm/topic.h"

#define ARENA_MIB 2u
#define OBJECTS 8192u	  /* few: full tables are part of it */
#define WORLD_INPUTS 400u /* tables grow, and with them what a check costs */

struct world_count world_count;
static struct world the_world;

/* ---- the books ---- */

static void books_read(struct world *w, struct books *ret)
{
	const struct state *st = &w->s->st;
	const struct state_head *h = st->head;

	*ret = (struct books){
		.live = h->n_live,
		.granted = h->n_granted,
		.dead = h->n_dead,
		.aside = h->n_aside,
		.heap_used = h->heap.used,
		.channels = h->n_channels,
		.exports = h->n_exports,
		.outliving = h->n_outliving,
		.names = h->n_names,
		.things = h->n_things,
		.edges = h->n_edges,
		.calls = h->n_calls,
		.watches = h->n_watches,
		.attending = h->n_attending,
		.clients = h->n_clients,
		.lanes = h->open_lanes,
		.pending = h->n_pending,
		.claims = h->n_claims,
		.promised = h->claims_promised,
		.v_held = st->client[w->v].held,
		.w_held = st->client[w->w].held,
		.host_held = st->client[w->host].held,
		.v_credits = st->client[w->v].credits,
		.w_credits = st->client[w->w].credits,
		.container_bytes = tarn__store_used(w->s->store),
	};
}

/* ---- its life ---- */

static struct fake_lane open_lane(struct world *w, uint32_t client)
{
	return fake_lane(w->s, client);
}

static void world_new(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->s = fake_server_of(ARENA_MIB, OBJECTS);
	w->s->st.head->seed = 1; /* nothing was hashed yet: the same input does the same again */
	CHECK(tarn__contents_open(w->s) == 0);
	w->view_readonly = w->s->view_readonly;
	fake_types(w->s, fuzzed_types);
	w->s->host->store = w->s->store;
	w->host = fake_host(w->s);
	w->v = fake_client(w->s);
	w->w = fake_client(w->s);
	w->ha = open_lane(w, w->host);
	w->va = open_lane(w, w->v);
	w->vc.lane = open_lane(w, w->v);
	w->wa = open_lane(w, w->w);
	w->wc.lane = open_lane(w, w->w);
	fake_settle(w->s);
	books_read(w, &w->begin);
	world_count.worlds++;
}

struct world_count world_counted(void)
{
	const struct server *s = the_world.s;
	struct world_count c = world_count;

	if (s == NULL)
		return c;
	c.evictions += s->evictions;
	c.deaths += s->deaths;
	c.calls += s->calls_inline;
	c.jobs += s->calls_queued;
	return c;
}

static void world_end(struct world *w)
{
	world_count = world_counted();
	w->over = true;
	fake_kill(w->s, w->v);
	fake_kill(w->s, w->w);
	world_settle(w);
	fake_kill(w->s, w->host);
	fake_settle(w->s);
	CHECK(fake_verify(w->s) == 0);
	const struct state_head *h = w->s->st.head;

	CHECK(h->n_live == 0 && h->n_granted == 0 && h->heap.used == 0 && h->n_clients == 0 &&
	      h->n_claims == 0 && h->open_lanes == 0);
	tarn__contents_close(w->s);
	close(w->view_readonly);
	fake_server_free(w->s);
	w->s = NULL;
}

struct world *world_get(void)
{
	struct world *w = &the_world;

	if (w->s == NULL)
		world_new(w);
	world_count.inputs++;
	w->inputs++;
	/* Now and then the gates are looked at, as if executors had ever had a job. */
	w->s->host->busy = w->inputs % 4 == 3;
	return w;
}

void world_over(struct world *w)
{
	struct books now;

	world_verify(w);
	books_read(w, &now);
	for (size_t i = 0; i < sizeof now / 8; i++) {
		uint64_t was, is;

		memcpy(&was, (const char *)&w->begin + 8 * i, 8);
		memcpy(&is, (const char *)&now + 8 * i, 8);
		if (was != is)
			fprintf(stderr, "word %zu of struct books: %llu, not %llu\n", i,
				(unsigned long long)is, (unsigned long long)was);
	}
	if (memcmp(&now, &w->begin, sizeof now) != 0)
		world_dump(w);
	CHECK(memcmp(&now, &w->begin, sizeof now) == 0);
	w->after = NULL;
	w->hostile_cursors = NULL;
	if (w->inputs >= WORLD_INPUTS || getenv("FUZZ_FRESH") != NULL)
		world_end(w);
}

/* ---- epochs ---- */

static void answers_take(struct caller *c)
{
	while (!fake_no_reply(&c->lane)) {
		struct fake_answer a = fake_answer(&c->lane);

		CHECK(c->answered < c->asked);
		CHECK(a.error == 0 && a.n_values == 1 &&
		      tarn__head_kind(a.words[0]) == TARN_KIND_INT);
		CHECK((int64_t)a.words[1] == c->expected[c->answered % WORLD_WAITING]);
		c->answered++;
		world_count.answers++;
	}
}

bool world_call(struct caller *c, uint64_t id, unsigned method, int64_t n)
{
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_INT, 0, 0), (uint64_t)n };
	const struct fake_values v = { .words = words, .n_words = 2, .n_values = 1 };

	if (c->asked - c->answered >= WORLD_WAITING)
		return false;
	c->expected[c->asked++ % WORLD_WAITING] = n + 1;
	fake_post_values(&c->lane, TARN__MSG_CALL, 0, id, method, 0, 1, &v);
	return true;
}

static bool epoch(struct world *w)
{
	uint64_t changes = shaken_count.made, from = 0, to = 0;
	struct tarn__slot r;

	w->s->collect_next_ns = 0; /* no time passes here */
	if (w->s->next_deadline != 0)
		tarn__exports_expire(w->s); /* as the reactor does in between */
	if (w->hostile_cursors != NULL)
		from = w->hostile_cursors(w->arg);
	bool busy = tarn__epoch(w->s);
	/* Lanes whose client is reclaimed in it are not read in it: so none is counted that was not. */
	if (w->hostile_cursors != NULL)
		to = w->hostile_cursors(w->arg);
	world_count.epochs++;
	world_count.fuzzed += to > from || shaken_count.made != changes;
	world_count.messages += to > from ? to - from : 0;
	if (w->after != NULL)
		w->after(w->arg);
	if (w->over)
		return busy;
	while (tarn__replies_take(&w->va.replies, &r) || tarn__replies_take(&w->wa.replies, &r))
		;
	answers_take(&w->vc);
	answers_take(&w->wc);
	return busy;
}

void world_epoch(struct world *w)
{
	epoch(w);
}

void world_settle(struct world *w)
{
	for (int i = 0; i < 100000; i++) {
		uint64_t jobs = w->s->calls_queued;

		world_executors(w, 16);
		bool busy = epoch(w);

		if (!busy && tarn__quiet(w->s) && !w->s->sweeping && w->s->calls_queued == jobs &&
		    w->s->waiters == NULL && w->s->st.head->n_aside == 0) {
			while (tarn__heap_tidy(
				&w->s->st)) /* as the reactor does when it is quiet */
				;
			return;
		}
	}
	CHECK(false); /* it does not settle */
}

static void say(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "verify: %s\n", line);
}

void world_verify(struct world *w)
{
	world_count.checks++;
	CHECK(fake_verify(w->s) == 0);
	CHECK(tarn__contents_verify(w->s->store, &w->s->st, true, say, NULL) == 0);
}

void world_dump(const struct world *w)
{
	const struct state *st = &w->s->st;

	for (uint32_t i = 1; i < st->head->things; i++) {
		const struct thing *t = &st->thing[i];
		const struct object *o = &st->object[tarn__id_index(t->id)];

		if (t->id == 0)
			continue;
		fprintf(stderr, "object %llx: %s, flags %u, state %u, count %u, edges to it %u",
			(unsigned long long)t->id, w->s->host->catalog->served[t->type].type->name,
			t->flags, o->state, o->ext, o->edges);
		for (uint32_t e = t->edge; e != NIL; e = st->edge[e].next)
			fprintf(stderr, ", holds %llx %u times", (unsigned long long)st->edge[e].to,
				st->edge[e].count);
		fprintf(stderr, "\n");
	}
	for (uint32_t i = 1; i < st->head->heap.objects; i++) {
		const struct object *o = &st->object[i];

		if (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED)
			continue;
		fprintf(stderr,
			"%llx: kind %u, state %u, count %u, edges %u, of %u: %u, %u: %u, spilled "
			"%u, size %llu\n",
			(unsigned long long)o->id, object_kind(o), o->state, o->ext, o->edges,
			o->holder[0].client, o->holder[0].units, o->holder[1].client,
			o->holder[1].units, o->spilled, (unsigned long long)o->size);
	}
	fprintf(stderr, "V %u, W %u, host %u; %llu calls, %llu names, %llu exports, %u suspects\n",
		w->v, w->w, w->host, (unsigned long long)st->head->n_calls,
		(unsigned long long)st->head->n_names, (unsigned long long)st->head->n_exports,
		st->suspects.n);
}

/* ---- executors ---- */

/* The next reply of @kind, in as many epochs as it takes; what came before is done with. */
static struct tarn__slot host_reply(struct world *w, unsigned kind)
{
	for (unsigned i = 0; i < 1000; i++) {
		struct tarn__slot r;

		while (tarn__replies_take(&w->ha.replies, &r)) {
			if (tarn__header_kind(r.word[0]) == kind)
				return r;
		}
		epoch(w);
	}
	abort();
}

/* A block of the host's, all 0; 0: there is no memory. */
static uint64_t host_block(struct world *w, uint64_t bytes)
{
	fake_post(&w->ha, TARN__MSG_ALLOC, 1, bytes, TARN__LINE, 0, 0, 0, 0);
	struct tarn__slot r = host_reply(w, TARN__MSG_ALLOC);
	const struct object *o = tarn__object_find(&w->s->st, r.word[1]);

	if (((r.word[0] >> 16) & 0xffff) != 0 || o == NULL)
		return 0;
	memset(w->s->st.data.base + o->offset, 0, bytes);
	fake_post(&w->ha, TARN__MSG_PUBLISH, 0, o->id, bytes, 0, 0, 0, 0);
	return o->id;
}

/* As the creator of tarn.Queue does, of a ring or of runs. */
static uint64_t make_queue(struct world *w, const struct tarn__job *job)
{
	struct tarn__queue *q = job->self;
	bool runs = (job->number >> 16) % 3 == 0;
	uint64_t n = runs ? 32 : 8,
		 bytes = runs ? 64 * sizeof(struct tarn__mpmc_run) : n * TARN__QUEUE_STRIDE;
	uint64_t id = host_block(w, bytes);

	if (id == 0)
		return 0;
	const struct object *o = tarn__object_find(&w->s->st, id);

	for (uint64_t k = 0; k < n && !runs; k++)
		*(uint64_t *)(void *)(w->s->st.data.base + o->offset + k * TARN__QUEUE_STRIDE) =
			tarn__mpmc_word(k, TARN__MPMC_FREE, 0);
	q->flags = (job->number >> 16) % 2 == 0
			   ? TARN__QUEUE_KEEP | TARN__QUEUE_RETRY | TARN__QUEUE_JOIN
			   : 0;
	q->stride = TARN__QUEUE_STRIDE;
	q->n = n;
	q->maxsize = runs ? 0 : n;
	q->runs = runs ? 64 : 0;
	q->ring_offset = o->offset;
	q->ring_id = id;
	return id;
}

/* As the creator of tarn.Topic does. */
static uint64_t make_topic(struct world *w, const struct tarn__job *job)
{
	struct tarn__topic *t = job->self;
	uint64_t id = host_block(w, 8ull * TARN__TOPIC_STRIDE);

	if (id == 0)
		return 0;
	const struct object *o = tarn__object_find(&w->s->st, id);

	for (uint64_t k = 0; k < 8; k++)
		*(uint64_t *)(void *)(w->s->st.data.base + o->offset + k * TARN__TOPIC_STRIDE) =
			tarn__mpmc_word(k, TARN__MPMC_FREE, 0);
	t->n = 8;
	t->keep = 2;
	t->stride = TARN__TOPIC_STRIDE;
	t->ring_offset = o->offset;
	t->ring_id = id;
	return id;
}

static void result(struct world *w, const struct tarn__job *job, unsigned code,
		   const struct fake_values *v)
{
	fake_post_values(&w->ha, TARN__MSG_RESULT, code, job->number, 0, 0, 0, v);
}

static void run_creator(struct world *w, const struct tarn__job *job)
{
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_OBJECT, 0, 0), 0 },
		       ref[2] = { job->id, 0 };
	const struct fake_values made = { words, 2, 1, ref, 1 };
	uint64_t block = 0;

	if (job->served->type == &tarn__type_queue)
		block = make_queue(w, job);
	else if (job->served->type == &tarn__type_topic)
		block = make_topic(w, job);
	else if (job->served->own || (job->number >> 16) % 8 == 0) {
		/* It failed: that of a container, too, which is not played here. */
		result(w, job, TARN_EREMOTE, NULL);
		return;
	}
	if (block != 0) {
		fake_post(&w->ha, TARN__MSG_HOLD, 0, job->id, block, 0, 0, 0, 0);
		fake_post(&w->ha, TARN__MSG_RELEASE, 0, block, 1, 0, 0, 0, 0);
	}
	result(w, job, 0, &made);
}

/* An object of the executor's own making, without a creator: it is made, and goes. */
static void make_raw(struct world *w, unsigned type)
{
	fake_post_values(&w->ha, TARN__MSG_CREATE, 0, type, 0, TARN__CALL_RAW, 2, NULL);
	struct tarn__slot r = host_reply(w, TARN__MSG_CREATE);
	uint64_t id = r.word[4];

	if (((r.word[0] >> 16) & 0xffff) != 0 || tarn__object_find(&w->s->st, id) == NULL)
		return;
	if (id % 3 != 0)
		fake_post(&w->ha, TARN__MSG_MADE, 0, id, 0, 0, 0, 0, 0);
	fake_post(&w->ha, TARN__MSG_RELEASE, 0, id, 1, 0, 0, 0, 0);
}

/* More references than most replies have room for: those of the call, again and again. */
static void give_many(struct world *w, const struct tarn__job *job)
{
	uint64_t words[2 * 24], refs[2 * 24];

	for (unsigned i = 0; i < 24; i++) {
		words[2 * i] = tarn__slot_head(TARN_KIND_OBJECT, i, 0);
		words[2 * i + 1] = 0;
		refs[2 * i] = job->n_refs != 0 && i % 2 == 0 ? job->refs[2 * (i % job->n_refs)]
							     : job->id;
		refs[2 * i + 1] = 0;
		const struct object *o = tarn__object_find(&w->s->st, refs[2 * i]);

		if (o == NULL || object_kind(o) != TARN__KIND_OBJECT)
			refs[2 * i] = job->id;
	}
	const struct fake_values v = { words, 48, 24, refs, 24 };

	result(w, job, 0, &v);
}

static void run_method(struct world *w, const struct tarn__job *job)
{
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_INT, 0, 0),
				    job->n_words >= 2 ? job->words[1] + 1 : 0 };
	const struct fake_values one = { words, 2, 1, NULL, 0 };
	bool honest = job->caller.client == w->v || job->caller.client == w->w;
	unsigned how = honest ? 0 : (unsigned)(job->number >> 16) % 8;

	/* Not of containers: what those hold is what they have; nor of what V has. */
	bool holds = !job->served->own && job->served->type != fuzzed_type_fixed;

	for (unsigned i = 0; i < job->n_refs && how >= 4 && holds; i++)
		fake_post(&w->ha, how & 1 ? TARN__MSG_HOLD : TARN__MSG_UNHOLD, 0, job->id,
			  job->refs[2 * i], job->refs[2 * i + 1], 0, 0, 0);
	switch (how) {
	case 1:
	case 4:
		give_many(w, job);
		return;
	case 2:
		result(w, job, TARN_EREMOTE, &one);
		return;
	case 3:
		make_raw(w, fake_type(w->s, job->number % 2 ? "Fuzzed" : "FuzzedSlow"));
		break;
	case 5: /* older than what it has: nothing changes */
		fake_post(&w->ha, TARN__MSG_CONTENTS, 0, job->id, 0, 0, 0, 0, 0);
		break;
	default:
		break;
	}
	result(w, job, 0, &one);
}

void world_executors(struct world *w, unsigned most)
{
	struct tarn__job *job;

	for (; most > 0 && tarn__requests_room(&w->ha.requests, 512) >= 512 &&
	       (job = fake_job(w->s)) != NULL;
	     most--) {
		if (job->deed == TARN__DEED_DESTROY) {
			fake_post(&w->ha, TARN__MSG_DESTROYED, 0, job->id, 0, 0, 0, 0, 0);
			free(job);
		} else if (job->deed == TARN__DEED_CREATE) {
			run_creator(w, job);
		} else {
			run_method(w, job);
		}
	}
}
