/* SPDX-License-Identifier: Apache-2.0 */
#include "facts.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void point(struct server *s, struct facts *f)
{
	s->facts = f;
	s->st.born = (uint32_t *)(void *)((unsigned char *)f + f->at_born);
	s->facts_client = tarn__facts_clients(f);
}

/* Those of a server that is dead go on. */
static int take_over(struct server *s, uint64_t bytes)
{
	int r = tarn__estate_segment(s->heritage->estate, ESTATE_FACTS, &s->facts_segment);

	if (r < 0)
		return r;
	struct facts *f = (struct facts *)(void *)s->facts_segment.base;

	if (s->facts_segment.bytes != bytes || tarn__facts_check(f, bytes) < 0)
		return -EPROTO;
	s->messages = f->stat.messages;
	s->sleeps = f->stat.sleeps;
	s->wakeups = f->stat.wakeups;
	s->failed_allocs = f->stat.failed_allocs;
	s->evictions = f->stat.evictions;
	s->deaths = f->stat.deaths;
	s->stale = f->stat.stale_messages;
	s->undo_high = f->stat.undo_high;
	f->stat.server_pid = (uint64_t)getpid();
	point(s, f);
	tarn__facts_note(s);
	return 0;
}

int tarn__facts_open(struct server *s)
{
	const struct state_head *h = s->st.head;
	uint64_t at_clients = 4096, n_born = h->max_objects + 1;
	uint64_t at_born = at_clients + MAX_CLIENTS * sizeof(struct facts_client);
	uint64_t at_types = tarn__round_up(at_born + n_born * sizeof(uint32_t), TARN__OS_PAGE);
	uint64_t bytes = tarn__round_up(at_types + FACTS_TYPES * sizeof(tarn_type_row),
					TARN__OS_PAGE);
	if (s->heritage != NULL && s->heritage->successor)
		return take_over(s, bytes);
	int r = tarn__segment_create(TARN__BACKING_MEMFD, "facts", bytes, &s->facts_segment);

	if (r < 0)
		return r;
	struct facts *f = (struct facts *)(void *)s->facts_segment.base;

	f->layout = h->layout;
	f->uuid[0] = h->uuid[0];
	f->uuid[1] = h->uuid[1];
	f->bytes = bytes;
	f->at_clients = at_clients;
	f->n_clients = MAX_CLIENTS;
	f->at_born = at_born;
	f->n_born = n_born;
	f->at_types = at_types;
	f->started_ns = boottime();
	point(s, f);
	tarn__facts_note(s);
	tarn__store_release(&f->magic, TARN__FACTS_MAGIC); /* last: the rest is there */
	return 0;
}

void tarn__facts_close(struct server *s)
{
	s->facts = NULL;
	s->facts_client = NULL;
	s->st.born = NULL;
	tarn__segment_close(&s->facts_segment);
}

void tarn__facts_tick(struct server *s)
{
	if (s->facts != NULL)
		s->st.tick = (uint32_t)((boottime() - s->facts->started_ns) / FACTS_TICK_NS);
}

void tarn__facts_note(struct server *s)
{
	struct facts *f = s->facts;

	if (f == NULL)
		return;
	f->noted_ns = boottime();
	s->st.tick = (uint32_t)((f->noted_ns - f->started_ns) / FACTS_TICK_NS);

	tarn_stat *t = &f->stat;

	t->messages = s->messages;
	t->sleeps = s->sleeps;
	t->wakeups = s->wakeups;
	t->failed_allocs = s->failed_allocs;
	t->evictions = s->evictions;
	t->deaths = s->deaths;
	t->stale_messages = s->stale;
	t->undo_high = s->undo_high;
	t->backing = s->backing == TARN__BACKING_KEPT ? TARN_BACKING_POSIX : s->backing;
	if (t->name[0] != '\0')
		return;
	/* These stay. */
	t->server_pid = (uint64_t)getpid();
	snprintf(t->io, sizeof t->io, "%s", s->loop != NULL ? tarn__loop_name(s->loop) : "");
	snprintf(t->io_reason, sizeof t->io_reason, "%s", s->io_reason);
	snprintf(t->backing_reason, sizeof t->backing_reason, "%s", s->backing_reason);
	prctl(PR_GET_NAME, t->process, 0, 0, 0); /* 16 bytes with the end */
	snprintf(t->name, sizeof t->name, "%s", s->name);
}

/* What a client wrote about itself is copied, once; sums stop at their limit. */
static void waits_add(struct tarn__lane_waits *sum, const struct tarn__lane_waits *from)
{
	for (unsigned k = 0; k < TARN__WAITS; k++)
		for (unsigned b = 0; b < TARN__HISTOGRAM_BUCKETS; b++) {
			/* Relaxed: numbers for people. */
			uint32_t more = tarn__load32_relaxed(&from->n[k][b]);

			if (more != 0)
				sum->n[k][b] = sum->n[k][b] + more >= more ? sum->n[k][b] + more
									   : UINT32_MAX;
		}
}

static uint64_t unread_of(const struct lane_view *v)
{
	uint64_t n = 0;

	while (n < TARN__REQUESTS && tarn__request_ready(v->requests, v->position + n))
		n++;
	return n;
}

void tarn__facts_look(struct server *s)
{
	if (s->facts == NULL)
		return;
	for (uint32_t i = 1; i < s->st.head->clients_used; i++) {
		struct facts_client *c = &s->facts_client[i];

		c->unread = c->most_unread = 0;
		if (s->st.client[i].state != CLIENT_NONE)
			c->waits = c->past;
	}
	for (uint32_t i = 0; i < s->n_views; i++) {
		const struct lane_view *v = &s->view[i];
		struct facts_client *c = &s->facts_client[s->st.lane[v->lane].client];
		uint64_t n = unread_of(v);

		c->unread += n;
		c->most_unread = n > c->most_unread ? n : c->most_unread;
		waits_add(&c->waits, &tarn__view_area(s, v)->waits);
	}
}

void tarn__facts_attached(struct server *s, uint32_t client)
{
	if (s->facts_client != NULL && s->st.client[client].incarnation > 1)
		memset(&s->facts_client[client], 0, sizeof s->facts_client[client]);
}

void tarn__facts_evicted(struct server *s, uint32_t client, const char *why)
{
	if (s->facts_client != NULL)
		snprintf(s->facts_client[client].evicted, sizeof s->facts_client[client].evicted,
			 "%s", why);
}

void tarn__facts_lane_closed(struct server *s, uint32_t client, const struct tarn__lane_area *area)
{
	if (s->facts_client != NULL)
		waits_add(&s->facts_client[client].past, &area->waits);
}

void tarn__facts_failed(struct server *s, uint32_t client, unsigned kind, int error)
{
	if (s->facts_client == NULL)
		return;
	struct facts_client *c = &s->facts_client[client];

	c->failures++;
	c->failed_ns = boottime();
	c->error = error;
	c->error_kind = kind;
}

void tarn__facts_types(struct server *s)
{
	const struct tarn__catalog *c = s->host != NULL ? s->host->catalog : NULL;

	if (c == NULL || s->facts == NULL || c->n > FACTS_TYPES)
		return;
	tarn_type_row *rows = (void *)((unsigned char *)s->facts + s->facts->at_types);

	for (uint32_t i = 1; i < c->n; i++) {
		const tarn_type *t = c->served[i].type;

		rows[i] = (tarn_type_row){ .index = i, .flags = t->flags, .concurrency = t->concurrency,
					   .methods = c->served[i].n_offers, .size = t->size,
					   .hash = c->served[i].hash };
		snprintf(rows[i].name, sizeof rows[i].name, "%s", t->name);
	}
	/* A copy is made of a server that stands still, or twice: it sees all of this or none. */
	s->facts->n_types = c->n;
}

int tarn__facts_check(const struct facts *f, uint64_t bytes)
{
	if (bytes < 4096 || f->magic != TARN__FACTS_MAGIC || f->layout != tarn__layout_hash() ||
	    f->bytes != bytes)
		return -TARN_EPROTO;
	if (f->at_clients % 4096 != 0 || f->n_clients != MAX_CLIENTS || f->at_clients < 4096 ||
	    f->at_clients > bytes ||
	    (bytes - f->at_clients) / sizeof(struct facts_client) < f->n_clients)
		return -TARN_EPROTO;
	if (f->at_born % 4096 != 0 || f->at_born < 4096 || f->at_born > bytes ||
	    (bytes - f->at_born) / sizeof(uint32_t) < f->n_born)
		return -TARN_EPROTO;
	if (f->at_types % 4096 != 0 || f->at_types < 4096 || f->at_types > bytes ||
	    f->n_types > FACTS_TYPES ||
	    (bytes - f->at_types) / sizeof(tarn_type_row) < f->n_types)
		return -TARN_EPROTO;
	return 0;
}
