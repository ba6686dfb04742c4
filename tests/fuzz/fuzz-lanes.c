/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: what a hostile client writes into its lanes, rings and shared objects, at any time, also between
 * two reads of the server. The input is a list of steps: messages of all kinds put together from valid ids
 * of its own and of others, one at a time or dozens that the server takes in one batch, calls of all
 * methods of Tarn's own types with arguments that fit, or nearly, raw words anywhere in a lane and in DATA,
 * changes that take effect at the n-th read of the server, deaths, new clients; honest clients and
 * executors act in between.
 *
 * Whatever it is, the server lives, its full check finds nothing, the honest are served and answered what
 * they must be, what is booked on them is exact, and when the hostile are dead, and what they left for
 * others is told to go, all books are as before.
 *
 * In the environment: FUZZ_EPOCHS=N ends after so many epochs in which the server met something hostile;
 * FUZZ_HISTORY=FILE keeps what the server in hand was given so far, and FUZZ_REPLAY=FILE gives it again;
 * FUZZ_STEPS=N lets each input go on for N steps, with random bytes of which it is the seed (so histories are
 * given again with the same N); FUZZ_FRESH=1 gives each input a server of its own.
 */
#include <string.h>

#include "fuzzed-types.h"
#include "history.h"
#include "lib/server/ledger.h"
#include "play.h"
#include "shm/hash.h"
#include "shm/topic.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define STEPS 240u
#define VERIFY_EVERY 64u /* steps */

/* ---- the hostile ones ---- */

static void bad_lane(struct play *p, unsigned i)
{
	struct bad *b = &p->bad[i];

	if (!b->alive || p->s->st.client[b->client].state != CLIENT_ACTIVE || b->has_lane)
		return;
	b->lane = fake_lane(p->s, b->client);
	b->area = &((struct tarn__lane_area *)(void *)p->s->peer[b->client]
			    ->lanes.base)[b->lane.number];
	b->has_lane = true;
	shaken_lane(i, b->area, b->lane.requests.slot,
		    &p->s->st.lane[p->s->peer[b->client]->lane[b->lane.number]].position);
}

/* Some are the second thread of another. */
static void bad_new(struct play *p, unsigned i)
{
	struct bad *b = &p->bad[i], *of = &p->bad[i ^ 1];

	if (b->alive) {
		bad_lane(p, i); /* if it has closed the one it had */
		return;
	}
	bool shares = i >= 2 && of->alive && p->s->st.client[of->client].state == CLIENT_ACTIVE;

	*b = (struct bad){ .client = shares ? of->client : fake_client(p->s), .alive = true };
	bad_lane(p, i);
}

static bool is_there(const struct play *p, const struct bad *b)
{
	return b->alive && p->s->peer[b->client] != NULL && !p->s->peer[b->client]->dead;
}

/* Its memory is unmapped when it is reclaimed. */
static void bad_gone(struct play *p)
{
	for (unsigned i = 0; i < BAD_LANES; i++) {
		struct bad *b = &p->bad[i];

		if (is_there(p, b))
			continue;
		b->alive = b->has_lane = false;
		shaken_lane_gone(i);
	}
}

static uint64_t cursors(void *arg)
{
	const struct play *p = arg;
	const struct state *st = &p->s->st;
	uint64_t sum = 0;

	for (uint32_t i = 1; i < st->head->lanes; i++) {
		uint32_t c = st->lane[i].client;

		if (c != NIL && c != p->w->v && c != p->w->w && c != p->w->host)
			sum += st->lane[i].position;
	}
	return sum;
}

static void heard(struct play *p, const struct tarn__slot *r)
{
	for (unsigned k = 1; k < 7; k++)
		if (tarn__object_find(&p->s->st, r->word[k]) != NULL)
			p->own[p->n_own++ % OWN] = r->word[k];
		else if (r->word[k] > 0xffff)
			p->told[p->n_told++ % TOLD] = r->word[k];
}

static void after_epoch(void *arg)
{
	struct play *p = arg;
	struct tarn__slot r;

	bad_gone(p);
	for (unsigned i = 0; i < BAD_LANES; i++)
		while (p->bad[i].has_lane && tarn__replies_take(&p->bad[i].lane.replies, &r))
			heard(p, &r);
}

/* ---- words in memory ---- */

static uint64_t *place_in_lane(struct play *p, struct bad *b)
{
	unsigned how = take8(&p->in);
	uint64_t at = b->lane.requests.tail;

	switch (how & 3) {
	case 0: /* anywhere */
		return (uint64_t *)(void *)b->area + take16(&p->in) % (sizeof *b->area / 8);
	case 1: /* in or near the next message */
		at += (how >> 5) - 2u;
		break;
	default: /* in what was posted last: the server takes many at a time */
		at -= 1 + take8(&p->in) % 48;
	}
	return &b->lane.requests.slot[at % TARN__REQUESTS].word[(how >> 2) & 7];
}

/* Of what all can write: an object's instance, a ring, a block. */
static uint64_t *place_in_data(struct play *p)
{
	static const enum tarn__kind kinds[] = { TARN__KIND_OBJECT, TARN__KIND_OBJECT,
						 TARN__KIND_BLOCK, TARN__KIND_CHANNEL };
	unsigned how = take8(&p->in);
	uint64_t id = how & 0x80 ? play_own(p, kinds[how & 3]) : how & 4 ? p->ring : p->bad_ring;
	const struct object *o = tarn__object_find(&p->s->st, id);

	if (o == NULL || o->size < 8)
		return NULL;
	return (uint64_t *)(void *)(p->s->st.data.base + o->offset +
				    8ull * (take16(&p->in) % (o->size / 8)));
}

/* A slot of a queue, a turn, or any word. */
static uint64_t data_word(struct play *p)
{
	unsigned how = take8(&p->in);

	if (how < 128)
		return play_word(p);
	return tarn__mpmc_word(how >> 3 & 15, (enum tarn__mpmc_state)(how & 7), take8(&p->in) & 15);
}

static void write_word(struct play *p, struct bad *b, bool in_data, bool now)
{
	uint64_t *word = in_data ? place_in_data(p) : b->has_lane ? place_in_lane(p, b) : NULL;
	uint64_t value = in_data ? data_word(p) : play_word(p), in = 1 + take8(&p->in);

	if (word == NULL)
		return;
	if (now)
		*word = value;
	else
		shaken_note(word, value, in & 1 ? in : 2 * in);
}

/* ---- the honest ones ---- */

static uint64_t live(struct play *p, struct fake_lane *l, uint64_t bytes)
{
	struct tarn__slot r = { .word = { 0 } };
	uint64_t id;

	/* What lies ready may be of other sizes: it takes epochs, and is certain. */
	fake_post(l, TARN__MSG_ALLOC, 1, bytes, 1, 10000000000u, 0, 0, 0);
	for (unsigned i = 0; i < 100000 && !tarn__replies_take(&l->replies, &r); i++)
		tarn__epoch(p->s);
	id = r.word[1];
	CHECK(((r.word[0] >> 16) & 0xffff) == 0 && tarn__object_find(&p->s->st, id) != NULL);
	fake_post(l, TARN__MSG_PUBLISH, 0, id, bytes, 0, 0, 0, 0);
	world_epoch(p->w);
	return id;
}

static void honest_receives(struct play *p, bool keeps)
{
	unsigned i = p->in_ring[p->received & 0xffff];

	if (keeps) {
		fake_recv(&p->w->wa, p->ring, p->received, p->block[i]);
		p->w_units[i]++;
	} else {
		fake_absorb(&p->w->wa, p->ring, p->received, p->block[i]);
	}
	p->received++;
	world_count.honest++;
}

static void honest_releases(struct play *p, unsigned i)
{
	if (p->w_units[i] == 0)
		return;
	fake_release(&p->w->wa, p->block[i], p->w_units[i]);
	p->w_units[i] = 0;
	world_count.honest++;
}

/* An item of a hostile one, which W looks up in DIR and takes. */
static void honest_takes(struct play *p)
{
	uint64_t id = play_word(p), at = take8(&p->in);

	for (unsigned k = 0; k < BLOCKS; k++)
		if (id == p->block[k])
			return;
	if (id == p->object || tarn__object_find(&p->s->st, id) == NULL)
		return;
	fake_recv(&p->w->wa, p->bad_ring, at, id);
	fake_release(&p->w->wa, id, 1);
	world_count.honest += 2;
}

static void honest(struct play *p)
{
	unsigned how = take8(&p->in), i = (how >> 3) % BLOCKS;

	switch (how & 7) {
	case 0:
	case 1:
		if (p->sent - p->received >= RING)
			return;
		p->in_ring[p->sent & 0xffff] = i;
		fake_send(&p->w->va, p->ring, p->sent, p->block[i], 100, 0);
		p->sent++;
		break;
	case 2:
	case 3:
		if (p->received != p->sent)
			honest_receives(p, how & 1);
		return;
	case 4:
		honest_releases(p, i);
		return;
	case 5:
		honest_takes(p);
		return;
	case 6: /* several: they are a batch of the server's */
		for (unsigned n = how >> 3;
		     n > 0 && world_call(&p->w->vc, p->object, FUZZED_PLUS, n); n--)
			world_count.honest++;
		return;
	default:
		if (!world_call(&p->w->wc, p->object, FUZZED_LATER, how))
			return;
	}
	world_count.honest++;
}

/* ---- a step ---- */

static void die(struct play *p, struct bad *b)
{
	if (!is_there(p, b))
		return;
	fake_kill(p->s, b->client);
	bad_gone(p); /* its lanes stay as they are until it is reclaimed; nobody writes there */
}

/* As LANE_CLOSE on the control socket: a thread ends. Calls that wait there are nobody's. */
static void close_lane(struct play *p, struct bad *b)
{
	struct state *st = &p->s->st;
	uint32_t number = b->lane.number;

	if (!is_there(p, b) || !b->has_lane)
		return;
	uint32_t lane = p->s->peer[b->client]->lane[number];

	if (lane == NIL || st->lane[lane].closing ||
	    !tarn__lane_close_later(p->s, b->client, number))
		return;
	SET(st, st->lane[lane].closing, 1);
	tarn__commit(p->s);
	b->has_lane = false;
	shaken_lane_gone((unsigned)(b - p->bad));
}

static void step(struct play *p)
{
	unsigned how = take8(&p->in);
	struct bad *b = &p->bad[(how >> 4) % BAD_LANES];

	switch (how & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (b->has_lane)
			play_post(p, b);
		return;
	case 5:
		write_word(p, b, how & 0x40, true);
		return;
	case 6:
	case 7:
		write_word(p, b, how & 0x40, false);
		return;
	case 8:
		write_word(p, b, true, how & 0x40);
		return;
	case 9:
		how = take8(&p->in);
		if (how < 64)
			die(p, b);
		else if (how >= 192)
			close_lane(p, b);
		return;
	case 10: /* one that is served no more makes room */
		if ((how & 0x80) && b->alive && p->s->st.client[b->client].state == CLIENT_EVICTED)
			die(p, b);
		bad_new(p, (how >> 4) % BAD_LANES);
		return;
	case 11:
		honest(p);
		return;
	case 12:
		if (how & 0x80)
			world_executors(p->w, 1 + (how >> 4 & 3));
		else
			honest(p);
		return;
	default:
		world_epoch(p->w);
	}
}

/* ---- the whole ---- */

/* What is booked on the honest is what they did. */
static void judge(struct play *p)
{
	const struct state *st = &p->s->st;
	const struct world *w = p->w;

	CHECK(st->client[w->v].state == CLIENT_ACTIVE && st->client[w->w].state == CLIENT_ACTIVE &&
	      st->client[w->host].state == CLIENT_ACTIVE);
	CHECK(w->vc.asked == w->vc.answered && w->wc.asked == w->wc.answered);
	for (unsigned i = 0; i < BLOCKS; i++) {
		const struct object *o = tarn__object_find(st, p->block[i]);

		CHECK(o != NULL);
		CHECK(tarn__ledger_units(st, o, w->v) == 1);
		CHECK(tarn__ledger_units(st, o, w->w) == p->w_units[i]);
	}
	const struct object *o = tarn__object_find(st, p->object);

	CHECK(o != NULL && tarn__ledger_units(st, o, w->v) == 1 &&
	      tarn__ledger_units(st, o, w->w) == 0);
}

/* Nobody else holds any of it. */
static void count(struct play *p)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		const struct object *o = tarn__object_find(&p->s->st, p->block[i]);
		uint32_t tickets = 0;

		for (uint64_t at = p->received; at < p->sent; at++)
			tickets += p->in_ring[at & 0xffff] == i;
		if (o->ext != 1 + p->w_units[i] + tickets || o->edges != 0)
			world_dump(p->w);
		CHECK(o->ext == 1 + p->w_units[i] + tickets && o->edges == 0);
	}
	CHECK(fake_count(p->s, p->object) == 1);
}

/* An object of Tarn's own, or of a type of ours: what it takes to make one a short input would not say. */
static void begin_with(struct play *p, unsigned which)
{
	static const struct {
		const char *type;
		unsigned n; /* arguments */
	} kit[] = {
		{ "tarn.Queue", 0 },	 { "tarn.Topic", 0 },
		{ "tarn.Dict", 0 },	 { "tarn.Namespace", 0 },
		{ "tarn.Lock", 0 },	 { "tarn.RLock", 0 },
		{ "tarn.Semaphore", 1 }, { "tarn.BoundedSemaphore", 1 },
		{ "tarn.Condition", 0 }, { "tarn.Event", 0 },
		{ "tarn.Barrier", 1 },	 { "tarn.Value", 1 },
		{ "tarn.Process", 0 },	 { "tarn.Iterator", 0 },
		{ "FuzzedSlow", 0 },	 { "tarn.Queue", 0 },
	};
	const uint64_t words[2] = { tarn__slot_head(TARN_KIND_UINT, 0, 0), 2 };
	const struct fake_values one = { .words = words, .n_words = 2, .n_values = 1 };
	struct fake_lane *l = &p->bad[which >> 4 & 1].lane;

	which %= sizeof kit / sizeof *kit;
	fake_post_values(l, TARN__MSG_CREATE, 0, fake_type(p->s, kit[which].type), 0, 0, 16,
			 kit[which].n != 0 ? &one : NULL);
	for (unsigned i = 0; i < 10 && fake_no_reply(l); i++) {
		world_executors(p->w, 1);
		world_epoch(p->w);
	}
	if (!fake_no_reply(l)) {
		struct fake_answer a = fake_answer(l);

		if (a.error == 0 && a.n_refs != 0)
			p->own[p->n_own++ % OWN] = a.refs[0];
	}
}

static void begin(struct play *p)
{
	struct world *w = world_get();

	p->w = w;
	p->s = w->s;
	shaken_begin(w->s->st.data.base, w->s->st.data.bytes);
	w->arg = p;
	w->after = NULL;	   /* replies are taken by name at first, */
	w->hostile_cursors = NULL; /* and nothing hostile is said */
	for (unsigned i = 0; i < BLOCKS; i++)
		p->block[i] = live(p, &w->va, 100);
	p->ring = fake_channel(p->s, &w->va, &w->wa, RING);
	p->object = fake_create(p->s, &w->va, "FuzzedFixed", NULL, NULL);
	CHECK(p->object != 0);
	bad_new(p, 0);
	bad_new(p, 1);
	p->bad_ring = fake_channel(p->s, &p->bad[0].lane, &w->wa, RING);
	p->own[p->n_own++] = p->bad_ring;
	for (unsigned i = 0; i < 3; i++)
		p->own[p->n_own++] = live(p, &p->bad[i & 1].lane, 64 + i * 3000);
	p->own[p->n_own++] = fake_create(p->s, &p->bad[1].lane, "Fuzzed", NULL, NULL);
	p->own[p->n_own++] = fake_create(p->s, &p->bad[0].lane, "tarn.List", NULL, NULL);
	begin_with(p, take8(&p->in));
	begin_with(p, take8(&p->in));
	w->after = after_epoch;
	w->hostile_cursors = cursors;
}

static void bad_die(struct play *p)
{
	shaken_calm();
	for (unsigned i = 0; i < BAD_LANES; i++)
		die(p, &p->bad[i]);
	world_settle(p->w);
	CHECK(fake_verify(p->s) == 0);
}

/* What was meant to outlive its maker: W ends it. */
static void tidy(struct play *p)
{
	const struct state *st = &p->s->st;
	unsigned n = 0;

	for (uint32_t i = 1; i < st->head->exports; i++) {
		const struct export *e = &st->export[i];

		if (e->id == 0)
			continue;
		fake_post(&p->w->wa, TARN__MSG_REVOKE, 0, e->id, e->nonce[0], e->nonce[1], 0, 0, 0);
		if (++n % 64 == 0)
			world_epoch(p->w);
	}
	for (uint32_t i = 1; i < st->head->names; i++) {
		uint64_t word[3][7] = { { 0 } };
		const unsigned bytes = (unsigned)strlen(st->name[i].text);

		if (st->name[i].id == 0 || !st->name[i].holds)
			continue;
		word[0][0] = tarn__header(TARN__MSG_NAME, 3, bytes, 7);
		word[0][2] = TARN__NAME_UNPUBLISH;
		memcpy(&word[0][3], st->name[i].text, bytes);
		tarn__requests_post_long(&p->w->wa.requests, (const uint64_t(*)[7])word, 3);
		if (++n % 64 == 0)
			world_epoch(p->w);
	}
	world_settle(p->w);
	CHECK(st->head->n_exports == 0);
}

/* The honest give all back. */
static void end(struct play *p)
{
	while (p->received < p->sent)
		honest_receives(p, p->received & 1);
	for (unsigned i = 0; i < BLOCKS; i++) {
		honest_releases(p, i);
		fake_release(&p->w->va, p->block[i], 1);
	}
	fake_release(&p->w->va, p->object, 1);
	fake_release(&p->w->va, p->ring, 1);
	fake_post(&p->w->va, TARN__MSG_CLOSE, 0, p->ring, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	fake_post(&p->w->wa, TARN__MSG_CLOSE, 0, p->ring, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	world_settle(p->w);
}

static unsigned more_steps; /* FUZZ_STEPS; 0: as long as the input is */

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static struct play play;
	struct play *p = &play;

	memset(p, 0, offsetof(struct play, in_ring));
	memset(&p->sent, 0, sizeof *p - offsetof(struct play, sent));
	history_add(data, bytes);
	p->in = (struct input){ .p = data, .end = data + bytes };
	if (more_steps != 0)
		p->in.random = tarn__hash64(data, bytes, 1) | 1;
	begin(p);
	for (unsigned i = 0; more_steps != 0 ? i < more_steps : i < STEPS && p->in.p < p->in.end;
	     i++) {
		step(p);
		if (i % VERIFY_EVERY == VERIFY_EVERY - 1)
			CHECK(fake_verify(p->s) == 0);
	}
	world_settle(p->w);
	world_verify(p->w);
	judge(p);
	bad_die(p);
	judge(p);
	fake_post(&p->w->wa, TARN__MSG_CLOSE, 0, p->bad_ring, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	tidy(p);
	judge(p);
	count(p);
	end(p);
	world_over(p->w);
	if (p->w->s == NULL)
		history_clear();
	history_report();
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (getenv("FUZZ_STEPS") != NULL)
		more_steps = (unsigned)strtoul(getenv("FUZZ_STEPS"), NULL, 10);
	history_open();
	return 0;
}
