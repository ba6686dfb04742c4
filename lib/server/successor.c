/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over from a server that is dead (PROTOCOL 3.14, R1 to R7).
 *
 * META is all that it knew, and rolling its last transaction back makes it whole. What lay in the
 * process is made anew: views of lanes from their records, watches of descriptors from the
 * estate. What others may have missed, because their server died between a commit and its
 * publication, is said again: all of that is a function of META, so saying it twice does no
 * harm. Then epochs go on as if nothing had been.
 *
 * Of the process itself its executors are lost. Their host is a client that died: its lanes are read
 * to the end, for there may be results in them, and what it held is reclaimed. Calls that it had
 * and that have no result are answered with TARN_EINTERRUPTED then: they may have run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "collect.h"
#include "crash.h"
#include "deed.h"
#include "heap.h"
#include "keeper.h"
#include "ledger.h"
#include "lib/error.h"
#include "server.h"

/* ---- the segments ---- */

int tarn__succeed_state(struct server *s)
{
	const struct estate *e = s->heritage->estate;
	struct tarn__segment meta = TARN__SEGMENT_NONE, dir = meta, data = meta;
	int r = tarn__estate_segment(e, ESTATE_META, &meta);

	if (r == 0)
		r = tarn__estate_segment(e, ESTATE_DIR, &dir);
	if (r == 0)
		r = tarn__estate_segment(e, ESTATE_DATA, &data);
	if (r == 0)
		r = tarn__state_inherit(&s->st, meta, dir, data);
	if (r < 0)
		return tarn__fail(r, "cannot take over the arena: %s", tarn_error_text(r));
	s->backing = e->backing;
	snprintf(s->backing_reason, sizeof s->backing_reason, "as before");
	tarn__heap_restart(&s->st);
	if (s->st.head->host != NIL) {
		SET(&s->st, s->st.head->host, NIL);
		commit(&s->st);
	}
	return 0;
}

/* ---- who was there ---- */

/* The object of the call is as it was before, or the words that its method said would change. Done
 * twice it is the same. */
static void put_back(struct server *s, const struct running *now)
{
	const struct object *o = tarn__object_find(&s->st, now->id);
	const struct thing *t = o != NULL ? tarn__thing_of(&s->st, o) : NULL;
	const struct tarn__served *type = t != NULL ? tarn__thing_type(s, t) : NULL;

	if (type != NULL && now->saved_bytes == type->type->size && !(t->flags & THING_LOST))
		memcpy(tarn__thing_self(s, o, type), now->saved, now->saved_bytes);
	if (now->saved_bytes == 0)
		tarn__words_back(s);
}

/*
 * Methods of Tarn's own types that run on the reactor are begun again: nobody's code is in them whose
 * effects outside of the arena could come twice, and what they had done is put back, or they find it
 * (lib/types/memory.h). Not if the method is what the server died of, or perhaps is: of what always kills, as
 * a cgroup's limit of memory does, the keeper would give up the arena. Where a client would be evicted for
 * using what it was to be given, the method is cut short before that (BOOKS_WHOLE).
 */
static_assert(AGAIN_MOST + 1 < KEEPER_FAST_MOST && BOOKS_MOST + 1 < KEEPER_FAST_MOST && TOLD_MOST < KEEPER_FAST_MOST,
	      "the call is given up before the arena: the keeper then counts anew");
static bool begin_again(struct server *s, const struct running *now, int signal)
{
	struct state_head *h = s->st.head;
	const uint32_t incarnation = s->st.client[s->st.lane[now->lane].client].incarnation;
	bool same = h->again.lane == now->lane && h->again.position == now->position &&
		    h->again.incarnation == incarnation;

	if (now->own == 0 || tarn__crash_signal(signal))
		return false;
	if (same && h->again.times >= (now->own == RUNNING_BOOKS ? BOOKS_MOST : AGAIN_MOST)) {
		tarn__log(s, 3, "a call of object %u:%llu is given up: %llu servers were killed in it",
			  tarn__id_index(now->id), (unsigned long long)tarn__id_generation(now->id),
			  (unsigned long long)h->again.times + 1);
		s->gave_up = true;
		return false;
	}
	h->again.times = same ? h->again.times + 1 : 1;
	h->again.position = now->position;
	h->again.lane = now->lane;
	h->again.incarnation = incarnation;
	return true;
}

/* All that a container's method does is part of its transaction. */
static bool has_contents(const struct server *s, uint64_t id)
{
	const struct object *o = tarn__object_find(&s->st, id);
	const struct thing *t = o != NULL ? tarn__thing_of(&s->st, o) : NULL;

	return t != NULL && t->root.version != 0;
}

/* The mark of a method that had begun when the last server died becomes an entry of died[]. Killed
 * anywhere in here, the next one finds the mark still, or the entry twice. */
static void note_death(struct server *s)
{
	struct running *now = &s->st.head->running;
	const struct heritage *h = s->heritage;
	int signal = WIFSIGNALED(h->status) ? WTERMSIG(h->status) : SIGKILL;
	struct died *to = s->st.head->died;

	/* It was committed, or there is none. */
	if (now->lane == NIL || now->lane >= s->st.head->lanes ||
	    s->st.lane[now->lane].client == NIL ||
	    s->st.lane[now->lane].position != now->position) {
		now->lane = NIL;
		return;
	}
	put_back(s, now);
	/* An executor's signal is not that method's. */
	if (!tarn__crash_signal(signal) || (h->words.signal != 0 && !h->words.reactor))
		signal = SIGKILL;
	if (begin_again(s, now, signal)) {
		tarn__compiler_barrier();
		tarn__store32_relaxed(&now->lane, NIL);
		return;
	}
	for (unsigned i = 0; i < DIED_MOST; i++)
		if (s->st.head->died[i].lane == NIL)
			to = &s->st.head->died[i];
	to->position = now->position;
	to->signal = (uint16_t)signal;
	to->undone = now->saved_bytes != 0 || has_contents(s, now->id);
	tarn__compiler_barrier();
	tarn__store32_relaxed(&to->lane, now->lane);
	tarn__compiler_barrier();
	tarn__store32_relaxed(&now->lane, NIL);
}

/* An object that crashed when it was told that a client is gone is told no more, or each server that
 * dies of it would be one more client that is gone. One whose server was killed by others is told
 * again, so often that it cannot be chance. */
static void note_telling(struct server *s)
{
	struct state *st = &s->st;
	struct telling *now = &st->head->telling;
	const struct heritage *h = s->heritage;
	const bool crashed = WIFSIGNALED(h->status) && tarn__crash_signal(WTERMSIG(h->status)) && h->words.reactor;

	/* What it dropped and held is rolled back by now. Done twice it is the same; counted twice is sooner over. */
	if (now->client != NIL && now->told == st->head->told) {
		tarn__words_back(s);
		now->kills++;
	}
	if (now->client != NIL && (crashed || now->kills >= TOLD_MOST) &&
	    now->thing < st->head->things && st->thing[now->thing].id != 0) {
		tarn__log(s, 3, "an object of type number %u %s in departed(): it is told of no client's end any more",
			  st->thing[now->thing].type, crashed ? "crashed" : "was killed again and again");
		s->gave_up |= !crashed;
		tarn__thing_unattend(st, &st->thing[now->thing]);
		commit(st);
	}
	now->client = NIL;
}

static void count_died(struct server *s)
{
	for (unsigned i = 0; i < DIED_MOST; i++) {
		struct died *d = &s->st.head->died[i];

		if (d->lane != NIL && (s->st.lane[d->lane].client == NIL ||
				       s->st.lane[d->lane].position != d->position))
			d->lane = NIL; /* the caller was told, or is no more */
		s->n_died += d->lane != NIL;
	}
}

const struct died *tarn__died_in(const struct server *s, const struct lane_view *v)
{
	for (unsigned i = 0; i < DIED_MOST; i++) {
		const struct died *d = &s->st.head->died[i];

		if (d->lane == v->lane && d->position == s->st.lane[v->lane].position)
			return d;
	}
	return NULL;
}

void tarn__died_told(struct server *s, const struct lane_view *v)
{
	for (unsigned i = 0; i < DIED_MOST; i++) {
		struct died *d = &s->st.head->died[i];

		if (d->lane != v->lane || d->position >= s->st.lane[v->lane].position)
			continue;
		d->lane = NIL;
		s->n_died--;
	}
}

static struct peer *peer_restore(struct server *s, uint32_t i, const struct estate_client *c)
{
	struct peer *p = calloc(1, sizeof *p);
	struct tarn__segment lanes = TARN__SEGMENT_NONE;

	if (p == NULL)
		return NULL;
	if (tarn__segment_map(c->lanes, TARN__CLIENT_LANES * sizeof(struct tarn__lane_area), true,
			      &lanes) < 0) {
		free(p);
		return NULL;
	}
	if (c->name[0] != '\0')
		lanes.name = strdup(c->name);
	*p = (struct peer){ .server = s, .client = i, .socket = c->socket, .pidfd = c->pidfd,
			    .image = c->image, .lanes = lanes, .host = c->host };
	if (c->host || s->st.client[i].state > CLIENT_EVICTED)
		tarn__peer_died(s, p);
	s->peer[i] = p;
	if (!c->host)
		tarn__peer_watch(s, p);
	return p;
}

/* A client without a lane segment: what it said is out of reach, so nothing of it can be told. */
static int fail_client(const struct server *s, uint32_t i)
{
	return tarn__fail(-TARN_EPROTO, "cannot take over client %u (%s, pid %u): its lanes are not there",
			  i, s->st.client[i].name, s->st.client[i].pid);
}

static int restore_clients(struct server *s)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < MAX_CLIENTS; i++) {
		const struct estate_client *c = s->heritage->estate->client[i];
		const bool known = i < st->head->clients_used && st->client[i].state != CLIENT_NONE;

		if (known && (c == NULL || c->incarnation != st->client[i].incarnation ||
			      peer_restore(s, i, c) == NULL))
			return fail_client(s, i);
		if (known || c == NULL)
			continue;
		/* Never committed, or gone already. */
		if (c->socket >= 0)
			close(c->socket);
		if (c->pidfd >= 0)
			close(c->pidfd);
		close(c->lanes);
		tarn__estate_forget_client(s, i);
	}
	return 0;
}

static int restore_lanes(struct server *s)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->lanes; i++) {
		const struct lane *l = &st->lane[i];

		if (l->client == NIL)
			continue;
		const int *event = s->heritage->estate->client[l->client]->event;

		s->peer[l->client]->lane[l->number] = i;
		int r = tarn__view_add(s, i);
		if (r == 0 && l->closing && !tarn__lane_close_later(s, l->client, l->number))
			r = -ENOMEM;
		if (r < 0)
			return tarn__fail(r, "cannot take over the clients: %s", tarn_error_text(r));
		struct lane_view *v = &s->view[s->n_views - 1];

		v->event = event != NULL ? event[l->number] : -1;
		/* Whatever was published, it is said again. */
		v->published_head = v->position + 1;
	}
	return 0;
}

/* ---- objects ---- */

static void restore_thing(struct server *s, struct thing *t)
{
	struct state *st = &s->st;
	const struct tarn__served *type = tarn__thing_type(s, t);
	uint32_t flags = t->flags;

	if (type != NULL && (type->type->flags & TARN_TYPE_PRIVATE)) {
		flags = (flags & ~(uint32_t)(THING_MADE | THING_MAKING)) | THING_LOST;
	}
	if (flags & THING_DESTROYING) {
		/* At most once: its executor had begun, and may have done most of it. */
		flags = (flags & ~(uint32_t)THING_DESTROYING) | THING_ENDED;
		tarn__object_back(st, &st->object[tarn__id_index(t->id)]);
	}
	if (flags == t->flags)
		return;
	SET(st, t->flags, flags);
	commit(st);
}

int tarn__succeed_clients(struct server *s)
{
	struct state *st = &s->st;
	int r = restore_clients(s);

	if (r == 0)
		r = restore_lanes(s);
	if (r < 0)
		return r;
	note_death(s);
	note_telling(s);
	count_died(s);
	for (uint32_t i = 1; i < st->head->things; i++)
		if (st->thing[i].id != 0)
			restore_thing(s, &st->thing[i]);
	r = tarn__contents_succeed(s);
	if (r < 0)
		return r;
	for (uint32_t i = 1; i < st->head->channels; i++)
		s->sweeping |= st->channel[i].id != 0 && st->channel[i].sweep != 0;
	tarn__exports_expire(s);
	tarn__suspect_all(st);
	st->watched_gone = true;
	s->interrupted = true;
	return 0;
}

/* ---- calls that nobody runs any more ---- */

static void on_signal(struct interruption *why, struct outcome *ret, struct sentence *room)
{
	char name[16];
	struct tarn__payload p;
	tarn_fault *f = tarn_fault_new("Signal", 0, "%s.%s was ended by %s (%s): the server's process "
				       "died of it and was replaced; the call is not run again",
				       why->type, why->method, tarn__signal_name(why->signal, name),
				       strsignal(why->signal));

	tarn_builder_init(&why->b);
	why->built = true;
	if (f != NULL && tarn_put_error(&why->b, f) == 0 && tarn__builder_payload(&why->b, &p) == 0)
		*ret = (struct outcome){ .error = TARN_EREMOTE, .n_values = p.n_values,
					 .n_words = p.n_words, .words = p.words };
	else
		tarn__outcome_say(ret, room, TARN_EINTERRUPTED, "%s.%s was ended by %s.", why->type,
				  why->method, name);
	tarn_fault_unref(f);
}

void tarn__interruption_say(struct interruption *why, struct outcome *ret, struct sentence *room)
{
	why->built = false;
	if (tarn__crash_signal(why->signal)) {
		on_signal(why, ret, room);
		return;
	}
	tarn__outcome_say(ret, room, TARN_EINTERRUPTED, "The server's process died and was replaced "
			  "while %s.%s was under way: %s.", why->type, why->method,
			  why->undone ? "its object is as it was before" : "it may or may not have run");
}

void tarn__interruption_fini(struct interruption *why)
{
	if (why->built)
		tarn_builder_fini(&why->b);
	why->built = false;
}

static const char *method_name(const struct tarn__served *type, const struct call *c)
{
	const unsigned method = c->packed & 0xffff;

	if (c->packed >> 24 == TARN__MSG_CREATE)
		return "create";
	if (method == TARN__METHOD_DESCRIBE)
		return "describe";
	return type != NULL && method < type->n_offers ? type->offer[method].name : "?";
}

static void answer_interrupted(struct server *s, struct call *c)
{
	struct state *st = &s->st;
	const struct last_words *words = &s->heritage->words;
	const struct tarn__catalog *types = s->host != NULL ? s->host->catalog : NULL;
	const struct tarn__served *type = types != NULL && c->type != 0 && c->type < types->n
						  ? &types->served[c->type] : NULL;
	bool creates = c->packed >> 24 == TARN__MSG_CREATE;
	struct interruption why = {
		.type = type != NULL ? type->type->name : "?",
		.method = method_name(type, c),
		.signal = words->call == c->number ? words->signal : 0,
	};
	struct object *o = tarn__object_find(st, c->target);
	struct thing *t = o != NULL ? tarn__thing_of(st, o) : NULL;
	struct sentence room;
	struct outcome said;
	struct asker to;

	tarn__interruption_say(&why, &said, &room);
	tarn__error_note(s, &said);
	if (tarn__call_asker(s, c, &to))
		tarn__reply_error(s, &to, &said);
	tarn__interruption_fini(&why);
	if (creates && t != NULL)
		SET(st, t->flags, t->flags & ~(uint32_t)THING_MAKING);
	/* What the host held for it is reclaimed with the host. */
	tarn__call_free(s, c);
	tarn__commit(s);
}

/* A host of before whose lanes are not read to the end yet. */
static bool results_may_come(const struct server *s)
{
	for (uint32_t i = 1; i < s->st.head->clients_used; i++)
		if (s->peer[i] != NULL && s->peer[i]->host && i != s->st.head->host &&
		    s->st.client[i].state <= CLIENT_DYING1)
			return true;
	return false;
}

void tarn__succeed_calls(struct server *s)
{
	struct state *st = &s->st;

	if (results_may_come(s))
		return;
	s->interrupted = false;
	for (uint32_t i = 1; i < st->head->calls; i++) {
		const struct tarn__job *job = s->job != NULL ? s->job[i] : NULL;
		struct call *c = &st->call[i];

		if (c->state == CALL_RUNNING && (job == NULL || job->number != c->number))
			answer_interrupted(s, c);
	}
}

/* ---- at the end ---- */

void tarn__succeed_publish(struct server *s)
{
	struct state *st = &s->st;

	tarn__publish_all(s);
	for (uint32_t i = 0; i < s->n_views; i++) {
		const struct lane_view *v = &s->view[i];
		struct tarn__lane_area *a = tarn__view_area(s, v);

		if (st->client[st->lane[v->lane].client].state == CLIENT_EVICTED)
			tarn__store_release(&a->signs.evicted, 1);
		/* Whoever sleeps looks again, and rings again. */
		tarn__store32_release(&a->signs.wake, a->signs.wake + 1);
		tarn__futex_wake(&a->signs.wake, INT32_MAX);
	}
	for (uint32_t i = 1; i < st->head->channels; i++)
		if (st->channel[i].id != 0)
			tarn__channel_wake(s, &st->channel[i]);
	s->serial = 0;
	for (uint32_t i = 1; i < st->head->clients_used; i++)
		if (s->peer[i] != NULL && s->peer[i]->socket >= 0)
			tarn__answer(s, s->peer[i]->socket, TARN__CTL_SUCCESSOR, 0, NULL, 0, NULL, 0,
				     NULL);
	s->eager++;
}

static void on_keeper_gone(void *arg, uint32_t events)
{
	struct server *s = arg;

	(void)events;
	tarn__loop_unwatch(s->loop, &s->keeper_watch);
	close(s->keeper);
	s->keeper = -1;
	tarn__log(s, 4, "the keeper is gone: from now on nobody replaces this server");
}

int tarn__keeper_watch(struct server *s)
{
	if (s->keeper < 0)
		return 0;
	/* It says nothing: what there is to see is its end. */
	s->keeper_watch = (struct tarn__loop_watch){ .fd = s->keeper, .fn = on_keeper_gone, .arg = s };
	return tarn__loop_watch(s->loop, &s->keeper_watch);
}
