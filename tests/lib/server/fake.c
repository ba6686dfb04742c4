/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/server/calls.h"
#include "lib/server/claims.h"
#include "lib/server/heap.h"
#include "lib/server/hints.h"
#include "lib/server/ledger.h"
#include "tests/common/check.h"

static struct tarn__job *fake_jobs; /* of the one server with a host that a test has */
static const struct tarn__host_ops *fake_real_ops;

static void fake_submit(struct tarn__host *h, struct tarn__job *job)
{
	struct tarn__job **at = &fake_jobs;

	(void)h;
	while (*at != NULL)
		at = &(*at)->next;
	job->next = NULL;
	*at = job;
}

static void fake_cancel(struct tarn__host *h, struct tarn__job *job)
{
	(void)h;
	job->canceled = 1;
}

static void log_nothing(void *arg, int level, const char *line)
{
	(void)arg;
	if (getenv("FAKE_LOG") != NULL)
		fprintf(stderr, "<%d> %s\n", level, line);
}

struct server *fake_server(unsigned mib)
{
	return fake_server_of(mib, 1200000);
}

struct server *fake_server_of(unsigned mib, uint64_t max_objects)
{
	struct server *s = calloc(1, sizeof *s);

	CHECK(s != NULL);
	s->backing = TARN__BACKING_MEMFD;
	s->log = log_nothing;
	s->ctrl_readonly = s->dir_readonly = s->listener = s->doorbell = s->stop_event = -1;
	s->name_lock = s->spare_fd = -1;
	s->facts_segment = TARN__SEGMENT_NONE;
	CHECK(tarn__state_create(&s->st, s->backing, (uint64_t)mib << 20, max_objects) == 0);
	tarn__heap_init(&s->st);
	tarn__claims_init(&s->st);
	CHECK(tarn__claims_promise(&s->st, 0) == 0);
	commit(&s->st);
	CHECK(tarn__segment_create(s->backing, "ctrl", TARN__CTRL_BYTES, &s->ctrl_segment) == 0);
	s->ctrl = (struct tarn__ctrl *)(void *)s->ctrl_segment.base;
	CHECK(tarn__loop_open(TARN__LOOP_EPOLL, s->io_reason, &s->loop) == 0);
	tarn__hints_open(s);
	snprintf(s->name, sizeof s->name, "fake");
	if (getenv("FAKE_NO_FACTS") == NULL) /* to see what counting for people costs */
		CHECK(tarn__facts_open(s) == 0);
	return s;
}

void fake_server_free(struct server *s)
{
	while (tarn__peers_leave(s))
		;
	for (uint32_t i = 1; i < MAX_CLIENTS; i++)
		if (s->peer[i] != NULL)
			tarn__peer_free(s, i);
	if (s->host != NULL && s->host->ops->submit == fake_submit)
		s->host->ops = fake_real_ops;
	CHECK(tarn__host_free(s->host, 0));
	while (fake_jobs != NULL) {
		struct tarn__job *job = fake_jobs;

		fake_jobs = job->next;
		if (job->number == 0)
			free(job); /* a destructor is nobody's but the host's */
	}
	tarn__jobs_free(s);
	free(s->errors);
	free(s->st.suspects.index);
	tarn__loop_close(s->loop);
	tarn__segment_close(&s->ctrl_segment);
	tarn__facts_close(s);
	tarn__hints_close(s);
	tarn__state_close(&s->st);
	free(s->view);
	free(s);
}

uint32_t fake_client(struct server *s)
{
	uint32_t c;

	CHECK(tarn__client_attach(s, &(const struct newcomer){ .socket = -1, .pidfd = -1, .pid = 1 }, &c) == 0);
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
	tarn__peer_died(s, s->peer[client]);
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
		bool busy;

		s->collect_next_ns = 0; /* no time passes here */
		busy = tarn__epoch(s);
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

/* ---- objects ---- */

void fake_types(struct server *s, const tarn_type *const *types)
{
	tarn_registry *r = tarn_registry_new();
	struct tarn__catalog *c;

	CHECK(r != NULL);
	for (; *types != NULL; types++)
		CHECK(tarn_type_register(r, *types) == 0);
	CHECK(tarn__catalog_new(r, &c) == 0);
	tarn_registry_free(r);
	s->host = tarn__host_new(c, 1, s->st.head->max_objects, s->st.data.base,
				 s->st.head->arena_bytes);
	CHECK(s->host != NULL);
	tarn__facts_types(s);
}

uint32_t fake_type(const struct server *s, const char *name)
{
	const struct tarn__served *t = tarn__catalog_find(s->host->catalog, name);

	return t != NULL ? t->index : 0;
}

static void fake_ops(struct server *s)
{
	static struct tarn__host_ops ops;

	fake_real_ops = s->host->ops;
	ops = *fake_real_ops;
	ops.submit = fake_submit;
	ops.cancel = fake_cancel;
	s->host->ops = &ops;
}

uint32_t fake_host(struct server *s)
{
	uint32_t client = fake_client(s);

	fake_ops(s);
	fake_jobs = NULL;
	s->job = calloc(MAX_CALLS, sizeof(struct tarn__job *));
	CHECK(s->job != NULL);
	SET(&s->st, s->st.head->host, client);
	commit(&s->st);
	return client;
}

void fake_host_restart(struct server *s, const tarn_type *const *types)
{
	struct tarn__job *job;

	/* Whatever ran inline when the process died is gone with its contexts. */
	s->host->ops = fake_real_ops;
	CHECK(tarn__host_free(s->host, 0));
	fake_types(s, types);
	fake_ops(s);
	while ((job = s->jobs) != NULL) {
		const struct call *c = job->number != 0 ? tarn__call_find(&s->st, job->number) : NULL;
		const struct object *o = &s->st.object[tarn__id_index(job->id)];
		const struct thing *t = o->id == job->id ? tarn__thing_of(&s->st, o) : NULL;

		s->jobs = job->next;
		if (c == NULL && (job->number != 0 || t == NULL || !(t->flags & THING_DESTROYING))) {
			free(job); /* not committed */
			continue;
		}
		if (c != NULL)
			s->job[c - s->st.call] = job;
		fake_submit(s->host, job);
	}
}

struct tarn__job *fake_job(struct server *s)
{
	struct tarn__job *job = fake_jobs;

	(void)s;
	if (job != NULL)
		fake_jobs = job->next;
	return job;
}

void fake_post_values(struct fake_lane *l, enum tarn__message kind, unsigned count, uint64_t first,
		      unsigned method, unsigned flags, unsigned reply_slots,
		      const struct fake_values *v)
{
	static const struct fake_values none;
	uint64_t word[7 * TARN__MESSAGE_SLOTS] = { 0 };
	unsigned n = 3, slots;

	if (v == NULL)
		v = &none;
	CHECK(3 + v->n_words + 2 * v->n_refs <= 7 * TARN__MESSAGE_SLOTS);
	for (unsigned i = 0; i < v->n_words; i++)
		word[n++] = v->words[i];
	for (unsigned i = 0; i < 2 * v->n_refs; i++)
		word[n++] = v->refs[i];
	slots = (n + 6) / 7;
	word[0] = tarn__header(kind, slots, count, 7);
	word[1] = first;
	word[2] = tarn__pack(method, v->n_values, v->n_refs, flags, reply_slots,
			     (flags & TARN__CALL_SPILLED) ? 0 : v->n_words);
	CHECK(tarn__requests_room(&l->requests, slots) >= slots);
	tarn__requests_post_long(&l->requests, (const uint64_t(*)[7])word, slots);
}

struct fake_answer fake_answer(struct fake_lane *l)
{
	struct tarn__slot s = fake_reply(l);
	uint64_t word[7 * TARN__MESSAGE_SLOTS];
	struct fake_answer a = { .error = (int)tarn__header_count(s.word[0]),
				 .cookie = tarn__header_cookie(s.word[0]),
				 .kind = tarn__header_kind(s.word[0]),
				 .slots = tarn__header_slots(s.word[0]),
				 .n_values = tarn__pack_values(s.word[1]),
				 .n_refs = tarn__pack_refs(s.word[1]),
				 .flags = tarn__pack_flags(s.word[1]),
				 .n_words = tarn__pack_words(s.word[1]) };

	CHECK(a.slots >= 1 && a.slots <= TARN__MESSAGE_SLOTS);
	memcpy(word, s.word, sizeof s.word);
	for (unsigned k = 1; k < a.slots; k++) {
		s = fake_reply(l); /* all are there once the first is */
		memcpy(word + 7 * k, s.word, sizeof s.word);
	}
	unsigned here = (a.flags & TARN__CALL_MORE) ? 0 : a.n_refs;
	CHECK(2 + a.n_words + 2 * here <= 7 * a.slots);
	memcpy(a.words, word + 2, 8 * a.n_words);
	memcpy(a.refs, word + 2 + a.n_words, 16 * here);
	if (a.flags & TARN__CALL_SPILLED)
		a.spilled = word[2];
	return a;
}

uint64_t fake_create(struct server *s, struct fake_lane *l, const char *type,
		     const struct fake_values *v, struct fake_answer *ret)
{
	struct fake_answer a;

	fake_post_values(l, TARN__MSG_CREATE, 0, fake_type(s, type), 0, 0, 16, v);
	tarn__epoch(s);
	if (fake_no_reply(l))
		return 0; /* an executor's */
	a = fake_answer(l);
	if (ret != NULL)
		*ret = a;
	return a.error == 0 ? a.refs[0] : 0;
}

struct fake_answer fake_call(struct server *s, struct fake_lane *l, uint64_t id, unsigned method,
			     const struct fake_values *v)
{
	fake_post_values(l, TARN__MSG_CALL, 0, id, method, 0, 16, v);
	tarn__epoch(s);
	return fake_answer(l);
}

const char *fake_sentence(const struct fake_answer *a)
{
	static char text[500];

	text[0] = '\0';
	if (a->n_values == 1 && tarn__head_kind(a->words[0]) == TARN_KIND_STRING) {
		uint32_t n = tarn__head_length(a->words[0]);
		const char *from = n <= 7 ? (const char *)&a->words[1] : (const char *)&a->words[2];

		snprintf(text, sizeof text, "%.*s", (int)n, from);
	}
	return text;
}
