/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client (PROTOCOL 3.11):
 *
 *	NONE -> ACTIVE -> DYING1 -> DYING2 -> RECLAIM -> NONE        EVICTED: on the way to DYING1
 *
 * Death is a readable pidfd, or the client's own orderly DETACH; nothing else. A
 * socket that hangs up under a living process changes nothing: its lanes are still
 * read and it keeps what it holds.
 *
 * What a client posted before its death is read in the first epoch sampled after the death
 * was seen, and the last of its decrements is applied in the second; only then is
 * taken what is still booked on it (I14). That goes in slices, so that a client with
 * a million references stalls nobody.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "claims.h"
#include "heap.h"
#include "hot.h"
#include "ledger.h"
#include "lib/probe.h"
#include "server.h"
#include "things.h"

#define RECLAIM_SLICE 64u      /* objects changed, some more, */
#define RECLAIM_LOOKS 1024u    /* or table entries looked at, between two looks at the clock */
/* Between two looks at the lanes, and one slice: who calls meanwhile is to wait less than 20 us. An epoch in
 * which nobody calls takes a twentieth of it. */
#define RECLAIM_NS 8000u

#define RECLAIM_LANES 8u       /* of a dead client, closed in one go */
#define CALLS_END_NS 2000000000u /* so long at most others wait for a dead one's calls of containers */
#define DEPARTED_SLICE 64u     /* objects told of clients' ends between two looks at the lanes */

enum reclaim_step { STEP_CHANNELS, STEP_EXPORTS, STEP_DEPARTED, STEP_OBJECTS, STEP_DONE };

/* ---- lanes ---- */

struct lane_view *tarn__view_of(struct server *s, uint32_t lane)
{
	uint32_t at = s->view_at[lane];

	/* Where it was last time: views move when one goes. */
	if (tarn__likely(at < s->n_views && s->view[at].lane == lane))
		return &s->view[at];
	for (uint32_t i = 0; i < s->n_views; i++)
		if (s->view[i].lane == lane) {
			s->view_at[lane] = i;
			return &s->view[i];
		}
	return NULL;
}

struct tarn__lane_area *tarn__view_area(struct server *s, const struct lane_view *v)
{
	const struct lane *l = &s->st.lane[v->lane];
	struct tarn__lane_area *areas = (void *)s->peer[l->client]->lanes.base;

	return &areas[l->number];
}

int tarn__view_add(struct server *s, uint32_t lane)
{
	if (s->n_views == s->views_room) {
		uint32_t room = s->views_room != 0 ? 2 * s->views_room : 16;
		struct lane_view *v = realloc(s->view, room * sizeof *v);

		if (v == NULL)
			return -ENOMEM;
		s->view = v;
		s->views_room = room;
	}
	struct lane_view *v = &s->view[s->n_views];

	memset(v, 0, sizeof *v);
	v->lane = lane;
	v->event = -1;
	const struct lane *l = &s->st.lane[lane];
	v->requests = tarn__lane_requests(tarn__view_area(s, v), l->number);
	v->position = l->position;
	v->published_head = l->position;
	v->published_replies = l->replies;
	v->epoch = UINT64_MAX;
	const enum client_state state = (enum client_state)s->st.client[l->client].state;
	v->stopped = state == CLIENT_DYING2 || state == CLIENT_RECLAIM;
	s->n_views++;
	return 0;
}

static void view_drop(struct server *s, uint32_t lane)
{
	struct lane_view *v = tarn__view_of(s, lane);

	if (v == NULL)
		return;
	if (v->event >= 0)
		close(v->event);
	*v = s->view[--s->n_views];
	s->n_hot = 0; /* it names views by place */
}

static int lane_record(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_lane;

	if (i != NIL) {
		SET(st, h->free_lane, st->lane[i].next);
	} else {
		i = h->lanes != 0 ? h->lanes : 1;
		if (i >= MAX_LANES)
			return -ENFILE;
		int r = tarn__state_reserve(st, st->lane, sizeof *st->lane, &h->lanes_reserved,
					    i + 1);
		if (r < 0)
			return r;
		SET(st, h->lanes, i + 1);
	}
	*ret = i;
	return 0;
}

int tarn__lane_open(struct server *s, uint32_t client, uint32_t *ret_number)
{
	struct state *st = &s->st;
	struct peer *p = s->peer[client];
	uint32_t number = 0, i = NIL;

	while (number < TARN__CLIENT_LANES && p->lane[number] != NIL)
		number++;
	if (number == TARN__CLIENT_LANES)
		return -EUSERS; /* not -EAGAIN, which means "look again" where one waits */
	/* Again, lest a server that died between the last close and its hole leaves marks. */
	int r = tarn__segment_punch(&p->lanes, number * sizeof(struct tarn__lane_area),
				    sizeof(struct tarn__lane_area));
	if (r == 0)
		r = tarn__segment_reserve(&p->lanes, number * sizeof(struct tarn__lane_area),
					  sizeof(struct tarn__lane_area));
	if (r == 0)
		r = tarn__claims_promise(st, lanes_claims(st->client[client].lanes + 1ull) -
						     lanes_claims(st->client[client].lanes));
	if (r == 0)
		r = lane_record(st, &i);
	if (r < 0) {
		tarn__rollback(s);
		return r;
	}
	struct lane *l = &st->lane[i];

	SET(st, l->client, client);
	SET(st, l->number, number);
	SET(st, l->position, 0);
	SET(st, l->replies, 0);
	SET(st, l->wanted, 0);
	SET(st, l->closing, 0);
	SET(st, st->head->open_lanes, st->head->open_lanes + 1);
	SET(st, st->client[client].lanes, st->client[client].lanes + 1);
	tarn__commit(s);
	p->lane[number] = i;
	r = tarn__view_add(s, i);
	if (r < 0) {
		tarn__lane_close(s, client, number);
		return r;
	}
	*ret_number = number;
	return 0;
}

/* The lane is drained, or its client dead. Its memory is as it was. */
static void lane_end(struct server *s, uint32_t client, uint32_t number)
{
	struct state *st = &s->st;
	struct peer *p = s->peer[client];
	uint32_t i = p->lane[number];
	struct lane *l = &st->lane[i];

	if (l->wanted != 0) {
		SET(st, l->wanted, 0);
		SET(st, st->head->n_pending, st->head->n_pending - 1);
	}
	if (st->client[client].calls != 0)
		tarn__calls_lane_closed(s, i);
	SET(st, l->client, NIL);
	SET(st, l->next, st->head->free_lane);
	SET(st, st->head->free_lane, i);
	SET(st, st->head->open_lanes, st->head->open_lanes - 1);
	tarn__claims_unpromise(st, lanes_claims(st->client[client].lanes) -
					   lanes_claims(st->client[client].lanes - 1ull));
	SET(st, st->client[client].lanes, st->client[client].lanes - 1);
	tarn__commit(s);
	const struct lane_view *v = tarn__view_of(s, i);
	if (v != NULL && v->event >= 0)
		tarn__estate_forget_event(s, client, number);
	view_drop(s, i);
	p->lane[number] = NIL;
	tarn__facts_lane_closed(s, client, (struct tarn__lane_area *)(void *)p->lanes.base + number);
}

/* The memory goes back as a hole: the next owner finds no marks of this one (H15). */
void tarn__lane_close(struct server *s, uint32_t client, uint32_t number)
{
	struct peer *p = s->peer[client];

	lane_end(s, client, number);
	tarn__segment_punch(&p->lanes, number * sizeof(struct tarn__lane_area),
			    sizeof(struct tarn__lane_area));
}

/* ---- attach ---- */

static void read_comm(pid_t pid, char ret[16])
{
	char path[64];
	FILE *f;

	memset(ret, 0, 16);
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(ret, 16, f) == NULL)
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	fclose(f);
}

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int client_record(struct state *st, uint32_t *ret)
{
	struct state_head *h = st->head;
	uint32_t i = 1;

	while (i < h->clients_used && st->client[i].state != CLIENT_NONE)
		i++;
	if (i >= MAX_CLIENTS)
		return -EUSERS;
	int r = tarn__state_reserve(st, st->client, sizeof *st->client, &h->clients_reserved, i + 1);
	if (r < 0)
		return r;
	if (i >= h->clients_used)
		SET(st, h->clients_used, i + 1);
	*ret = i;
	return 0;
}

int tarn__client_attach(struct server *s, const struct newcomer *who, uint32_t *ret_client)
{
	struct state *st = &s->st;
	const uint64_t quota = who->quota;
	uint64_t name[2];
	uint32_t i = NIL;
	int r = client_record(st, &i);

	if (r == 0)
		r = tarn__claims_promise(st, TARN__FIRST_CREDITS);
	struct peer *p = r == 0 ? calloc(1, sizeof *p) : NULL;
	if (r == 0 && p == NULL)
		r = -ENOMEM;
	if (r == 0)
		r = tarn__segment_create(s->backing, "lanes",
					 TARN__CLIENT_LANES * sizeof(struct tarn__lane_area),
					 &p->lanes);
	if (r == 0) {
		p->server = s;
		p->client = i;
		p->socket = who->socket;
		p->pidfd = who->pidfd;
		p->image = who->image;
		p->host = who->host;
		/* Before it is committed: a successor finds whom it has a record of. */
		r = tarn__estate_leave_client(s, p, st->client[i].incarnation + 1);
		if (r < 0)
			tarn__segment_close(&p->lanes);
	}
	if (r < 0) {
		free(p);
		tarn__rollback(s);
		return r;
	}
	struct client *c = &st->client[i];

	read_comm(who->pid, (char *)name);
	SET(st, c->state, CLIENT_ACTIVE);
	SET(st, c->incarnation, c->incarnation + 1);
	SET(st, c->pid, (uint32_t)who->pid);
	SET(st, c->uid, (uint32_t)who->uid);
	SET(st, c->start_ns, boottime());
	SET(st, c->credits, TARN__FIRST_CREDITS);
	/* A client may ask for less than its due, not for more. */
	uint64_t most = st->head->default_quota;
	SET(st, c->quota, quota == 0 || (most != 0 && quota > most) ? most : quota);
	SET(st, c->reclaim_step, STEP_CHANNELS);
	SET(st, c->reclaim_at, 0);
	SET(st, c->records, 0); /* those of the one before it are nobody's any more */
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)&c->name[0], name[0]);
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)&c->name[8], name[1]);
	SET(st, st->head->n_clients, st->head->n_clients + 1);
	tarn__commit(s);
	s->peer[i] = p;
	tarn__facts_attached(s, i);
	TARN__PROBE3(attach, i, who->pid, who->uid);
	*ret_client = i;
	return 0;
}

/* ---- eviction ---- */

void tarn__evict(struct server *s, uint32_t client, const char *format, ...)
{
	struct state *st = &s->st;
	struct client *c = &st->client[client];
	struct peer *p = s->peer[client];
	char why[200];
	va_list ap;

	if (c->state != CLIENT_ACTIVE)
		return;
	va_start(ap, format);
	vsnprintf(why, sizeof why, format, ap);
	va_end(ap);
	/* Part of the caller's transaction. Never freed under a living process: it keeps
	 * what it holds until its death. Its lanes are read on, without any service: what it
	 * sent before is in others' hands, and their claims come from these messages. */
	SET(st, c->state, CLIENT_EVICTED);
	s->evictions++;
	tarn__facts_evicted(s, client, why);
	TARN__PROBE3(evict, client, c->pid, why);
	tarn__log(s, 4, "client %u (%s, pid %u) is evicted: %s", client, c->name, c->pid, why);
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct lane_view *v = &s->view[i];

		if (st->lane[v->lane].client != client)
			continue;
		tarn__store_release(&tarn__view_area(s, v)->signs.evicted, 1);
		v->wake = true;
	}
	if (s->kill_evicted && p != NULL && p->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->pidfd, 9, NULL, 0);
}

/* ---- death ---- */

static void note_positions(struct server *s, uint32_t client)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->channels; i++) {
		struct channel *ch = &st->channel[i];

		if (ch->id == 0 || ch->producer.client != client || ch->producer.state != END_HELD)
			continue;
		uint64_t head, tail;

		tarn__channel_positions(s, ch, &head, &tail);
		SET(st, ch->death_head, head);
		SET(st, ch->death_tail, tail);
		tarn__commit(s);
	}
}

void tarn__clients_notice_deaths(struct server *s)
{
	struct state *st = &s->st;

	if (tarn__likely(!s->deaths_unseen))
		return;
	s->deaths_unseen = false;
	for (uint32_t i = 1; i < st->head->clients_used; i++) {
		struct peer *p = s->peer[i];
		struct client *c = &st->client[i];

		if (p == NULL || !p->dead)
			continue;
		if (c->state != CLIENT_ACTIVE && c->state != CLIENT_EVICTED)
			continue;
		note_positions(s, i);
		SET(st, c->state, CLIENT_DYING1);
		SET(st, st->head->n_dying, st->head->n_dying + 1);
		tarn__commit(s);
		st->watched_gone = true; /* somebody may wait for it */
		/* An orderly end is none, and that of a server's executors is their server's. */
		s->deaths += !p->detach_asked && !p->host;
		if (p->detach_asked)
			TARN__PROBE2(detach, i, c->pid);
		else
			TARN__PROBE2(death, i, c->pid);
	}
}

static void reclaim_channels(struct server *s, uint32_t client)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->channels; i++) {
		struct channel *ch = &st->channel[i];
		bool woke = false;

		if (ch->id == 0)
			continue;
		if (ch->producer.client == client && ch->producer.state == END_HELD) {
			tarn__channel_producer_died(s, ch);
			woke = true;
		}
		if (ch->consumer.client == client && ch->consumer.state == END_HELD) {
			tarn__channel_end_gone(s, ch, TARN__ROLE_CONSUMER);
			woke = true;
		}
		if (!woke)
			continue;
		tarn__commit(s);
		tarn__channel_wake(s, ch);
	}
}

static void reclaim_exports(struct server *s, uint32_t client)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->exports && st->client[client].exports != 0; i++)
		if (st->export[i].id != 0 && st->export[i].issuer == client) {
			tarn__export_end(st, &st->export[i]);
			tarn__commit(s);
		}
}

/* All that is booked on @client in one line of the table. True: something was changed. */
static bool reclaim_object(struct state *st, struct object *o, uint32_t client)
{
	bool changed = false;

	if (o->state != OBJECT_LIVE && o->state != OBJECT_GRANTED)
		return false;
	if (o->owner == client && o->state == OBJECT_GRANTED) {
		if (o->ext == 0 && o->edges == 0) {
			tarn__object_ungrant(st, o);
			return true;
		}
		tarn__object_live(st, o); /* only after misbehaviour: the counts decide */
		changed = true;
	}
	if (o->owner == client) {
		tarn__object_disown(st, o);
		changed = true;
	}
	uint32_t units = tarn__ledger_units(st, o, client);
	if (units != 0) {
		tarn__ledger_sub(st, o, client, units);
		changed = true;
	}
	return changed;
}

static bool has_nothing(const struct state *st, const struct client *c)
{
	return c->reclaim_at >= st->head->heap.objects || (c->held == 0 && c->owned == 0);
}

/* A slice of the table; true when the client has nothing left. */
static bool reclaim_objects(struct server *s, struct client *c, uint32_t client)
{
	struct state *st = &s->st;

	for (uint32_t changed = 0, looked = 0;
	     !has_nothing(st, c) && changed < RECLAIM_SLICE && looked < RECLAIM_LOOKS;) {
		uint32_t n = tarn__hot_reclaim(s, client, &changed);

		if (n == 0) {
			changed += reclaim_object(st, &st->object[c->reclaim_at], client);
			SET(st, c->reclaim_at, c->reclaim_at + 1);
			tarn__commit(s);
			n = 1;
		}
		looked += n;
	}
	return has_nothing(st, c);
}

/* Some lanes of a dead client, whose memory goes with its peer. True: that were all. */
static bool reclaim_lanes(struct server *s, uint32_t client)
{
	struct peer *p = s->peer[client];
	unsigned some = RECLAIM_LANES;

	for (uint32_t n = 0; p != NULL && n < TARN__CLIENT_LANES; n++) {
		if (p->lane[n] == NIL)
			continue;
		if (some-- == 0)
			return false;
		lane_end(s, client, n);
		p->lanes_used = n + 1;
	}
	return true;
}

static void reclaim_record(struct server *s, uint32_t client)
{
	struct state *st = &s->st;
	struct client *c = &st->client[client];

	tarn__claims_unpromise(st, c->credits);
	SET(st, c->state, CLIENT_NONE);
	SET(st, c->credits, 0);
	SET(st, st->head->n_clients, st->head->n_clients - 1);
	SET(st, st->head->n_dying, st->head->n_dying - 1);
	tarn__commit(s);
	st->watched_gone = true;
	tarn__log(s, 7, "client %u (%s, pid %u) is reclaimed", client, c->name, c->pid);
	tarn__peer_leave(s, client);
}

/* All that it posted before its death is read. What comes later is of a process that
 * detached and lives, or of a child that shares the lane: its decrements would be
 * applied when the record is another's, its increments never undone. */
static void stop_lanes(struct server *s, uint32_t client)
{
	for (uint32_t i = 0; i < s->n_views; i++)
		if (s->st.lane[s->view[i].lane].client == client)
			s->view[i].stopped = true;
}

/* Channels of which it had an end give their tickets up a while later (channels.c). */
static bool has_sweeps(const struct state *st, uint32_t client)
{
	for (uint32_t i = 1; i < st->head->channels; i++) {
		const struct channel *ch = &st->channel[i];

		if (ch->id != 0 && ch->sweep != 0 &&
		    (ch->producer.client == client || ch->consumer.client == client))
			return true;
	}
	return false;
}

/* Whether the time for this epoch is over, which begins with the first question. */
static bool is_over(uint64_t *until)
{
	uint64_t now = tarn__now();

	if (*until == 0)
		*until = now + RECLAIM_NS;
	return now >= *until;
}

/*
 * Who takes a lock from the dead must not see a list change that the dead one's last call is still to change:
 * so that call ends first. Calls of containers wait for nobody, but executors may all be in methods of users
 * that wait for just that lock: so this has an end.
 */
static bool calls_go_on(struct server *s, uint32_t client)
{
	struct peer *p = s->peer[client];

	if (p == NULL || !tarn__calls_change_containers(s, client))
		return false;
	if (p->calls_end_by == 0)
		p->calls_end_by = tarn__now() + CALLS_END_NS;
	bool waits = tarn__now() < p->calls_end_by;

	s->n_waiting_dead += waits;
	return waits;
}

/* True when done. @until: the clock's, as soon as a slice needed it; @told: who may yet be told. */
static bool reclaim(struct server *s, uint32_t client, uint64_t *until, uint32_t *told)
{
	struct state *st = &s->st;
	struct client *c = &st->client[client];

	if (c->reclaim_step == STEP_CHANNELS) {
		reclaim_channels(s, client);
		SET(st, c->reclaim_step, STEP_EXPORTS);
		tarn__commit(s);
	}
	if (c->reclaim_step == STEP_EXPORTS) {
		reclaim_exports(s, client);
		tarn__names_reclaim(s, client);
		SET(st, c->reclaim_step, STEP_DEPARTED);
		SET(st, c->departed_at, st->head->attending);
		SET(st, c->departed_from, 0);
		SET(st, c->reclaim_at, 1);
		tarn__commit(s);
	}
	/* Before the objects: what it held can still be kept by those who want it. */
	if (c->reclaim_step == STEP_DEPARTED) {
		if (calls_go_on(s, client) || !tarn__things_departed(s, client, told))
			return false;
		SET(st, c->reclaim_step, STEP_OBJECTS);
		tarn__commit(s);
	}
	while (c->reclaim_step == STEP_OBJECTS) {
		if (reclaim_objects(s, c, client)) {
			SET(st, c->reclaim_step, STEP_DONE);
			tarn__commit(s);
		} else if (is_over(until)) {
			return false;
		}
	}
	/* Whoever closed in order finds all of it gone: also what its channels held. */
	if (c->reclaim_step != STEP_DONE || has_sweeps(st, client) || !reclaim_lanes(s, client))
		return false;
	reclaim_record(s, client);
	return true;
}

/* Who uses up what there is for an epoch is the last one in the next: else one with much to be taken back would be
 * the only one that anything is done for. */
bool tarn__clients_advance(struct server *s)
{
	struct state *st = &s->st;
	const uint32_t n = st->head->clients_used, from = s->advance_from < n ? s->advance_from : 0;
	uint64_t until = 0;
	uint32_t told = DEPARTED_SLICE;
	bool more = false, used_up = false;

	s->n_waiting_dead = 0;
	for (uint32_t k = 1; st->head->n_dying != 0 && k < n; k++) {
		const uint32_t i = from + k < n ? from + k : from + k - n + 1;
		struct client *c = &st->client[i];

		if (c->state == CLIENT_DYING1) {
			SET(st, c->state, CLIENT_DYING2);
			tarn__commit(s);
			stop_lanes(s, i);
			more = true;
		} else if (c->state == CLIENT_DYING2 || c->state == CLIENT_RECLAIM) {
			if (c->state == CLIENT_DYING2) {
				SET(st, c->state, CLIENT_RECLAIM);
				tarn__commit(s);
			}
			const uint32_t waiting = s->n_waiting_dead;

			/* One that waits for executors is no reason to look again at once. */
			if ((until != 0 && is_over(&until)) || !reclaim(s, i, &until, &told))
				more |= s->n_waiting_dead == waiting;
			if (!used_up && (told == 0 || (until != 0 && is_over(&until)))) {
				used_up = true;
				s->advance_from = i;
			}
		}
	}
	return more;
}
