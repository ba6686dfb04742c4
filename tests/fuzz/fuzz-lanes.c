/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: what a hostile client writes into its lanes and rings, at any time, also between two
 * reads of the server. The input is a list of steps: messages put together from valid ids of
 * its own and of others, raw words anywhere in a lane, changes that take effect at the n-th
 * read of the server, deaths, new clients; honest clients act in between.
 *
 * Whatever it is, the server lives, its full check finds nothing, the honest are served, what is
 * booked on them is exact, and when all are dead nothing is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/server/ledger.h"
#include "tests/lib/server/fake.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

#define BLOCKS 6u
#define RING 8u
#define STEPS 240u
#define OWN 16u
#define BAD_LANES 4u
#define CHANGES 8u

/* ---- changes between two reads ---- */

static struct {
	struct {
		uint64_t at; /* the read before which it happens */
		uint64_t *word, value;
	} change[CHANGES];
	unsigned n;
	uint64_t reads; /* of lanes of the bad ones */
	unsigned char *from[BAD_LANES], *to[BAD_LANES];
} reads;

static void before_read(const void *p)
{
	bool theirs = false;

	if (reads.n == 0)
		return;
	for (unsigned i = 0; i < BAD_LANES; i++)
		theirs = theirs || ((const unsigned char *)p >= reads.from[i] &&
				    (const unsigned char *)p < reads.to[i]);
	if (!theirs)
		return;
	reads.reads++;
	for (unsigned i = 0; i < reads.n;) {
		if (reads.change[i].at > reads.reads) {
			i++;
			continue;
		}
		*reads.change[i].word = reads.change[i].value;
		reads.change[i] = reads.change[--reads.n];
	}
}

uint64_t shim_load64(const uint64_t *p, bool ordered)
{
	(void)ordered;
	before_read(p);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
uint32_t shim_load32(const uint32_t *p, bool ordered)
{
	(void)ordered;
	before_read(p);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
void shim_store64(uint64_t *p, uint64_t v, bool ordered)
{
	(void)ordered;
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
void shim_store32(uint32_t *p, uint32_t v, bool ordered)
{
	(void)ordered;
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}
void shim_pause(void)
{
}

/* ---- the input ---- */

struct input {
	const unsigned char *p, *end;
};

static unsigned take8(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}
static unsigned take16(struct input *in)
{
	unsigned low = take8(in);

	return low | take8(in) << 8;
}
static uint64_t take64(struct input *in)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)take8(in) << (8 * i);
	return v;
}

/* ---- the play ---- */

struct play {
	struct server *s;
	struct input in;
	/* the honest ones */
	uint32_t v, w;
	struct fake_lane va, vb, wa;
	uint64_t block[BLOCKS], ring;
	unsigned in_ring[1u << 16]; /* block at a position */
	uint64_t sent, received;
	uint32_t w_units[BLOCKS];
	/* the bad ones */
	struct bad {
		uint32_t client;
		bool alive;
		struct fake_lane lane;
		struct tarn__lane_area *area;
		bool has_lane;
	} bad[BAD_LANES];
	uint64_t own[OWN];
	unsigned n_own;
	uint64_t bad_ring; /* a bad one produces, W consumes */
};

static uint64_t live(struct play *p, struct fake_lane *l, uint64_t bytes)
{
	uint64_t id = fake_alloc(p->s, l, bytes);

	fake_post(l, TARN__MSG_PUBLISH, 0, id, bytes, 0, 0, 0, 0);
	tarn__epoch(p->s);
	return id;
}

static void bad_lane(struct play *p, unsigned i)
{
	struct bad *b = &p->bad[i];

	if (!b->alive || p->s->st.client[b->client].state != CLIENT_ACTIVE || b->has_lane)
		return;
	b->lane = fake_lane(p->s, b->client);
	b->area = &((struct tarn__lane_area *)(void *)p->s->peer[b->client]->lanes.base)
			   [b->lane.number];
	b->has_lane = true;
	reads.from[i] = (unsigned char *)b->area;
	reads.to[i] = reads.from[i] + sizeof *b->area;
}

static void bad_new(struct play *p, unsigned i)
{
	struct bad *b = &p->bad[i];

	if (b->alive)
		return;
	*b = (struct bad){ .client = fake_client(p->s), .alive = true };
	bad_lane(p, i);
}

/* Its memory is unmapped when it is reclaimed. */
static void bad_gone(struct play *p)
{
	for (unsigned i = 0; i < BAD_LANES; i++) {
		struct bad *b = &p->bad[i];

		if (b->alive && p->s->peer[b->client] != NULL && !p->s->peer[b->client]->dead)
			continue;
		b->alive = b->has_lane = false;
		reads.from[i] = reads.to[i] = NULL;
	}
}

static void epoch(struct play *p)
{
	tarn__epoch(p->s);
	bad_gone(p);
	for (unsigned i = 0; i < BAD_LANES; i++) {
		struct tarn__slot r;

		while (p->bad[i].has_lane && tarn__replies_take(&p->bad[i].lane.replies, &r))
			for (unsigned k = 1; k < 7; k++)
				if (tarn__object_find(&p->s->st, r.word[k]) != NULL)
					p->own[p->n_own++ % OWN] = r.word[k];
	}
	struct tarn__slot r;

	while (tarn__replies_take(&p->va.replies, &r) || tarn__replies_take(&p->wa.replies, &r))
		;
}

static uint64_t some_word(struct play *p)
{
	unsigned how = take8(&p->in), low = how >> 4;

	switch (how & 15) {
	case 0:
	case 1:
	case 2:
		return p->own[low % OWN];
	case 3:
		return p->block[low % BLOCKS];
	case 4:
		return low & 1 ? p->ring : p->bad_ring;
	case 5:
		return p->block[low % BLOCKS] + (1ull << 28);
	case 6:
		return p->own[low % OWN] - (1ull << 28);
	case 7:
		return take64(&p->in);
	case 8:
		return UINT64_MAX - low;
	case 9:
		return take16(&p->in);
	case 10:
		return 1ull << (take8(&p->in) & 63);
	default:
		return low;
	}
}

static void post(struct play *p, struct bad *b)
{
	uint64_t word[TARN__MESSAGE_SLOTS][7] = { 0 };
	unsigned kind = take8(&p->in) % (TARN__MSG_KINDS + 2), slots = 1 + (take8(&p->in) & 3);
	unsigned count = take8(&p->in) % 80;

	if (slots == 4)
		slots = 1;
	for (unsigned k = 1; k < 7; k++)
		word[0][k] = some_word(p);
	for (unsigned s = 1; s < slots; s++)
		for (unsigned k = 0; k < 7; k++)
			word[s][k] = take64(&p->in);
	word[0][0] = tarn__header((enum tarn__message)kind, slots, count, 7);
	/* Room or not: a bad one does not ask. */
	tarn__requests_post_long(&b->lane.requests, (const uint64_t(*)[7])word, slots);
}

static uint64_t *place(struct play *p, struct bad *b)
{
	unsigned how = take8(&p->in);
	uint64_t *area = (uint64_t *)(void *)b->area;

	if (how & 1) { /* in or near the next message */
		uint64_t at = b->lane.requests.tail + (how >> 5) - 2;

		return &b->lane.requests.slot[at % TARN__REQUESTS].word[0] + ((how >> 1) & 7);
	}
	return area + take16(&p->in) % (sizeof *b->area / 8);
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
		fake_send(&p->va, p->ring, p->sent, p->block[i], 100, 0);
		p->sent++;
		return;
	case 2:
	case 3:
		if (p->received == p->sent)
			return;
		i = p->in_ring[p->received & 0xffff];
		if (how & 1) {
			fake_recv(&p->wa, p->ring, p->received, p->block[i]);
			p->w_units[i]++;
		} else {
			fake_absorb(&p->wa, p->ring, p->received, p->block[i]);
		}
		p->received++;
		return;
	case 4:
		if (p->w_units[i] != 0)
			fake_release(&p->wa, p->block[i], p->w_units[i]);
		p->w_units[i] = 0;
		return;
	case 5: { /* an item of a bad one, which it looks up in DIR and takes */
		uint64_t id = some_word(p), at = take8(&p->in);

		for (unsigned k = 0; k < BLOCKS; k++)
			if (id == p->block[k])
				return;
		if (tarn__object_find(&p->s->st, id) == NULL)
			return;
		fake_recv(&p->wa, p->bad_ring, at, id);
		fake_release(&p->wa, id, 1);
		return;
	}
	default:
		fake_post(&p->vb, TARN__MSG_PUBLISH, 0, p->block[i], 100, 0, 0, 0, 0);
	}
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
			post(p, b);
		return;
	case 5:
		if (b->has_lane) {
			uint64_t *word = place(p, b);

			*word = some_word(p);
		}
		return;
	case 6:
	case 7:
		if (b->has_lane && reads.n < CHANGES) {
			reads.change[reads.n].at = reads.reads + 1 + take8(&p->in);
			reads.change[reads.n].word = place(p, b);
			reads.change[reads.n++].value = some_word(p);
		}
		return;
	case 8: { /* into a ring, or anywhere in DATA */
		uint64_t word = some_word(p), id = how & 16 ? p->ring : p->bad_ring;
		const struct object *o = tarn__object_find(&p->s->st, id);
		uint64_t at = take16(&p->in);

		if (o != NULL && pwrite(p->s->st.data.fd, &word, 8,
					(off_t)(o->offset + at * 8 % (sizeof(struct tarn__channel_ring) + 64 * RING))) < 0)
			return;
		return;
	}
	case 9:
		if (b->alive && take8(&p->in) < 64) {
			/* Its lanes stay as they are until it is reclaimed; nobody writes there. */
			for (unsigned i = 0; i < reads.n; i++)
				if ((unsigned char *)reads.change[i].word >= (unsigned char *)b->area &&
				    (unsigned char *)reads.change[i].word <
					    (unsigned char *)(b->area + 1))
					reads.change[i--] = reads.change[--reads.n];
			fake_kill(p->s, b->client);
			bad_gone(p);
		}
		return;
	case 10:
		bad_new(p, (how >> 4) % BAD_LANES);
		return;
	case 11:
	case 12:
		honest(p);
		return;
	default:
		epoch(p);
	}
}

/* What is booked on the honest is what they did. */
static void judge(struct play *p)
{
	const struct state *st = &p->s->st;

	CHECK(st->client[p->v].state == CLIENT_ACTIVE && st->client[p->w].state == CLIENT_ACTIVE);
	for (unsigned i = 0; i < BLOCKS; i++) {
		const struct object *o = tarn__object_find(st, p->block[i]);

		CHECK(o != NULL);
		CHECK(tarn__ledger_units(st, o, p->v) == 1);
		CHECK(tarn__ledger_units(st, o, p->w) == p->w_units[i]);
	}
}

static void bad_die(struct play *p)
{
	reads.n = 0;
	for (unsigned i = 0; i < BAD_LANES; i++)
		if (p->bad[i].alive)
			fake_kill(p->s, p->bad[i].client);
	memset(reads.from, 0, sizeof reads.from);
	memset(reads.to, 0, sizeof reads.to);
	fake_settle(p->s);
	CHECK(fake_verify(p->s) == 0);
}

static void count(struct play *p)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		uint32_t tickets = 0;

		for (uint64_t at = p->received; at < p->sent; at++)
			tickets += p->in_ring[at & 0xffff] == i;
		CHECK(fake_count(p->s, p->block[i]) == 1 + p->w_units[i] + tickets);
	}
}

static void begin(struct play *p)
{
	memset(&reads, 0, sizeof reads);
	p->s = fake_server(1);
	p->v = fake_client(p->s);
	p->w = fake_client(p->s);
	p->va = fake_lane(p->s, p->v);
	p->vb = fake_lane(p->s, p->v);
	p->wa = fake_lane(p->s, p->w);
	for (unsigned i = 0; i < BLOCKS; i++)
		p->block[i] = live(p, &p->va, 100);
	p->ring = fake_channel(p->s, &p->va, &p->wa, RING);
	bad_new(p, 0);
	bad_new(p, 1);
	p->bad_ring = fake_channel(p->s, &p->bad[0].lane, &p->wa, RING);
	p->own[p->n_own++] = p->bad_ring;
	for (unsigned i = 0; i < 4; i++)
		p->own[p->n_own++] = live(p, &p->bad[i & 1].lane, 64 + i * 3000);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static struct play play;
	struct play *p = &play;

	memset(p, 0, sizeof *p);
	p->in = (struct input){ data, data + bytes };
	begin(p);
	for (unsigned i = 0; i < STEPS && p->in.p < p->in.end; i++)
		step(p);
	epoch(p);
	fake_settle(p->s);
	bad_gone(p);
	CHECK(fake_verify(p->s) == 0);
	judge(p);
	bad_die(p);
	judge(p);
	fake_post(&p->wa, TARN__MSG_CLOSE, 0, p->bad_ring, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	fake_settle(p->s);
	CHECK(fake_verify(p->s) == 0);
	judge(p);
	/* An export of a bad one may outlive it. */
	if (p->s->st.head->n_exports == 0)
		count(p);
	bool outlived = p->s->st.head->n_exports != 0;

	fake_kill(p->s, p->v);
	fake_kill(p->s, p->w);
	fake_settle(p->s);
	CHECK(fake_verify(p->s) == 0);
	const struct state_head *h = p->s->st.head;

	CHECK(outlived || (h->n_live == 0 && h->n_granted == 0 && h->heap.used == 0));
	CHECK(h->n_clients == 0 && (outlived || (h->n_channels == 0 && h->n_claims == 0)));
	fake_server_free(p->s);
	return 0;
}
