/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/server/claims.h"
#include "lib/server/heap.h"
#include "lib/server/ledger.h"

#define CHECK(x)                                                                    \
	do {                                                                        \
		if (!(x)) {                                                         \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);     \
			abort();                                                    \
		}                                                                   \
	} while (0)

static void log_nothing(void *arg, int level, const char *line)
{
	(void)arg;
	if (getenv("FAKE_LOG") != NULL)
		fprintf(stderr, "<%d> %s\n", level, line);
}

struct server *fake_server(unsigned mib)
{
	struct server *s = calloc(1, sizeof *s);

	CHECK(s != NULL);
	s->backing = TARN__BACKING_MEMFD;
	s->log = log_nothing;
	s->ctrl_readonly = s->dir_readonly = s->listener = s->doorbell = s->stop_event = -1;
	s->name_lock = s->spare_fd = -1;
	s->facts_segment = TARN__SEGMENT_NONE;
	CHECK(tarn__state_create(&s->st, s->backing, (uint64_t)mib << 20, 100000) == 0);
	tarn__heap_init(&s->st);
	tarn__claims_init(&s->st);
	CHECK(tarn__claims_promise(&s->st, 0) == 0);
	commit(&s->st);
	CHECK(tarn__segment_create(s->backing, "ctrl", TARN__CTRL_BYTES, &s->ctrl_segment) == 0);
	s->ctrl = (struct tarn__ctrl *)(void *)s->ctrl_segment.base;
	CHECK(tarn__loop_open(TARN__LOOP_EPOLL, s->io_reason, &s->loop) == 0);
	snprintf(s->name, sizeof s->name, "fake");
	if (getenv("FAKE_NO_FACTS") == NULL) /* to see what counting for people costs */
		CHECK(tarn__facts_open(s) == 0);
	return s;
}

void fake_server_free(struct server *s)
{
	for (uint32_t i = 1; i < MAX_CLIENTS; i++)
		if (s->peer[i] != NULL)
			tarn__peer_free(s, i);
	tarn__loop_close(s->loop);
	tarn__segment_close(&s->ctrl_segment);
	tarn__facts_close(s);
	tarn__state_close(&s->st);
	free(s->view);
	free(s);
}

uint32_t fake_client(struct server *s)
{
	uint32_t c;

	CHECK(tarn__client_attach(s, -1, 1, 0, -1, 0, &c) == 0);
	return c;
}

struct fake_lane fake_lane(struct server *s, uint32_t client)
{
	struct fake_lane l = { .client = client };

	CHECK(tarn__lane_open(s, client, &l.number) == 0);
	struct tarn__lane_area *a =
		&((struct tarn__lane_area *)(void *)s->peer[client]->lanes.base)[l.number];
	l.requests.slot = tarn__lane_requests(a, l.number);
	l.requests.server_head = &a->server.head;
	l.replies.slot = tarn__lane_replies(a, l.number);
	return l;
}

void fake_kill(struct server *s, uint32_t client)
{
	s->peer[client]->dead = true;
}

void fake_post(struct fake_lane *l, enum tarn__message kind, unsigned count, uint64_t a, uint64_t b,
	       uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t word[7] = { tarn__header(kind, 1, count, 7), a, b, c, d, e, f };

	CHECK(tarn__requests_room(&l->requests, 1) > 0);
	tarn__requests_post(&l->requests, word);
}

void fake_post_name(struct fake_lane *l, enum tarn__message kind, uint64_t first, bool has_first,
		    const char *name)
{
	uint64_t word[2][7] = { { tarn__header(kind, 2, (unsigned)strlen(name), 7), first } };
	unsigned skip = has_first ? 2 : 1, room = (7 - skip) * 8;
	size_t n = strlen(name);

	memcpy(&word[0][skip], name, n < room ? n : room);
	if (n > room)
		memcpy(word[1], name + room, n - room);
	tarn__requests_post_long(&l->requests, word, 2);
}

struct tarn__slot fake_reply(struct fake_lane *l)
{
	struct tarn__slot r;

	CHECK(tarn__replies_take(&l->replies, &r));
	return r;
}

bool fake_no_reply(struct fake_lane *l)
{
	struct tarn__replies copy = l->replies;
	struct tarn__slot r;

	return !tarn__replies_take(&copy, &r);
}

uint64_t fake_alloc(struct server *s, struct fake_lane *l, uint64_t bytes)
{
	fake_post(l, TARN__MSG_ALLOC, 1, bytes, 1, 0, 0, 0, 0);
	tarn__epoch(s);
	struct tarn__slot r = fake_reply(l);

	CHECK(((r.word[0] >> 16) & 0xffff) == 0 && r.word[1] != 0);
	return r.word[1];
}

uint64_t fake_channel(struct server *s, struct fake_lane *producer, struct fake_lane *consumer,
		      uint64_t slots)
{
	fake_post(producer, TARN__MSG_CHANNEL, 0, slots, 0, 0, 0, 0, 0);
	tarn__epoch(s);
	struct tarn__slot r = fake_reply(producer);
	uint64_t id = r.word[1];

	CHECK(((r.word[0] >> 16) & 0xffff) == 0 && id != 0);
	fake_post(producer, TARN__MSG_BIND, 0, id, TARN__ROLE_PRODUCER, 0, 0, 0, 0);
	fake_post(consumer, TARN__MSG_BIND, 0, id, TARN__ROLE_CONSUMER, 0, 0, 0, 0);
	tarn__epoch(s);
	r = fake_reply(producer);
	CHECK(((r.word[0] >> 16) & 0xffff) == 0);
	r = fake_reply(consumer);
	CHECK(((r.word[0] >> 16) & 0xffff) == 0);
	return id;
}

void fake_show(struct server *s, uint64_t channel, uint64_t tail)
{
	const struct object *o = tarn__object_find(&s->st, channel);
	uint64_t slots = tarn__channel_of(&s->st, o)->capacity;
	struct tarn__channel_ring *ring = (void *)(s->st.data.base + o->offset);

	for (uint64_t p = tail > slots ? tail - slots : 0; p < tail; p++)
		ring->slot[p % slots].mark = p + 1;
	ring->tail = tail;
}

void fake_read(struct server *s, struct fake_lane *l)
{
	struct lane_view *v = tarn__view_of(s, s->peer[l->client]->lane[l->number]);

	CHECK(v != NULL);
	tarn__lane_read(s, v);
}

void fake_phase_b(struct server *s)
{
	tarn__apply_older(s);
}

void fake_settle(struct server *s)
{
	for (int i = 0; i < 100000; i++) {
		s->collect_after = 0; /* without its patience */
		bool busy = tarn__epoch(s);

		if (!busy && tarn__quiet(s) && !s->sweeping)
			return;
	}
	CHECK(false); /* it does not settle */
}

static void say(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "verify: %s\n", line);
}

int fake_verify(const struct server *s)
{
	return tarn__verify(&s->st, say, NULL);
}

bool fake_alive(const struct server *s, uint64_t id)
{
	return tarn__object_find(&s->st, id) != NULL;
}

uint32_t fake_count(const struct server *s, uint64_t id)
{
	const struct object *o = tarn__object_find(&s->st, id);

	return o != NULL ? o->ext : 0;
}
