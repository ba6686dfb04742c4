/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reactor: epochs (PROTOCOL 3.5) and when to sleep (3.13).
 *
 *	epoch:  1  what was deferred in earlier epochs is the older buffer
 *	        2  deaths seen now become DYING1, positions of their channels are read
 *	        3  every lane is read until its first unpublished slot, at most one ring:
 *	           that is the sample, begun after 1 and 2
 *	        4  the older buffer's decrements are applied
 *	        5  dying clients move on; requests for memory are tried again; the dead list
 *	           is reaped; the heap is tidied, bounded amounts
 *
 * Closure (PROTOCOL 4): an increment that happened before a decrement was published before
 * it; the decrement was read in an earlier epoch; so this epoch's sample of the increment's
 * lane, begun later, has it, and step 3 applies it before step 4.
 *
 * Sleeping: nobody waits for lazy messages, so they do not keep the server awake. It says
 * that it will sleep, passes the barrier, and runs one more epoch: whatever eager message
 * was posted without ringing is seen by that. Lazy ones that arrive later lie until
 * the next bell: an eager message, a lane that is half full, a death (I18 as relaxed
 * by the decisions in PROTOCOL).
 */
#include "calls.h"
#include "collect.h"
#include "heap-runs.h"
#include "heap.h"
#include "hot.h"
#include "ledger.h"
#include "prefault.h"
#include "server.h"

#include <stdlib.h>
#include <unistd.h>

#define HEAD_EVERY (TARN__REQUESTS / 4) /* publish the head so often within a batch */
#define HOT_EVERY 8u                    /* idle lanes between two looks at the busy ones */
#define LOOP_EVERY 64u                  /* epochs between two looks at descriptors */
#define REAP_SLICES 64u                 /* dead objects that end within an epoch, */
#define REAP_NS 8000u                   /* if there is time for so many, */
#define REAP_LEAST 8u                   /* and some in any case */
#define PENDING_TICK_NS 2000000
#define PUT_OFF_MOST 4u                 /* times that a RELEASE waits for its unit */
#define QUIET 4u                        /* epochs that may find lazy messages before the server sleeps */
#define KEEP_EVERY 2048u                /* epochs between two housekeepings of a busy server */

/* ---- publication ---- */

static void publish_head(struct lane_view *v)
{
	if (v->published_head == v->position)
		return;
	v->published_head = v->position;
	/* SYNC slot-free, release: all slots below are copied and their effects are
	 * committed (I12). */
	tarn__store_release(&tarn__lane_area_of(v->requests)->server.head, v->position);
}

void tarn__publish_replies(struct server *s, struct lane_view *v)
{
	const struct lane *l = &s->st.lane[v->lane];
	const struct tarn__slot *from = &s->st.replies[(uint64_t)v->lane * TARN__REPLIES];
	struct tarn__slot *ring = v->requests + TARN__REQUESTS; /* as tarn__lane_replies() says */

	/* The newest first: of a reply of several slots the first is seen last. */
	for (uint64_t at = l->replies; at > v->published_replies; at--)
		tarn__reply_publish(ring, at - 1, from[(at - 1) % TARN__REPLIES].word);
	v->published_replies = l->replies;
}

/* Tells a thread's event loop of replies, once for each time that it asked. A full pipe is
 * readable anyway. */
static void notify(struct lane_view *v, const struct tarn__lane_area *a)
{
	/* SYNC event: as in arm() of the client's event.c; the caller passed the barrier. */
	uint32_t wanted = tarn__load32_relaxed(&a->client.notify);

	if (tarn__likely(wanted == v->notified))
		return;
	v->notified = wanted;
	if (write(v->event, "", 1) < 0)
		return;
}

/* After the batch: one barrier, then whoever sleeps on this lane is woken. */
void tarn__lane_publish(struct server *s, struct lane_view *v)
{
	publish_head(v);
	if (!v->wake)
		return;
	v->wake = false;
	tarn__publish_replies(s, v);

	struct tarn__lane_area *a = tarn__lane_area_of(v->requests);

	/* SYNC sleep: the client set waiting, passed its barrier and looked again. */
	tarn__post_barrier(!s->use_membarrier);
	if (tarn__load32_relaxed(&a->client.waiting) != 0) {
		tarn__store32_release(&a->signs.wake, a->signs.wake + 1);
		tarn__futex_wake(&a->signs.wake, 1);
		s->wakeups++;
	}
	if (tarn__unlikely(v->event >= 0))
		notify(v, a);
}

void tarn__publish_all(struct server *s)
{
	struct state *st = &s->st;

	for (uint32_t i = 1; i < st->head->heap.objects; i++) {
		tarn__touch(s, i);
		if (s->n_touched == TOUCHED_MOST)
			tarn__commit(s);
	}
	tarn__commit(s);
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct lane_view *v = &s->view[i];
		uint64_t have = st->lane[v->lane].replies;

		v->published_replies = have > TARN__REPLIES ? have - TARN__REPLIES : 0;
		v->wake = true;
		tarn__lane_publish(s, v);
	}
}

/* ---- phase A ---- */

/* The short way that the next message's kind has. A hint: they decide from their own copies. Relaxed: its
 * mark was seen. */
static inline uint32_t read_short(struct server *s, struct lane_view *v)
{
	const struct tarn__slot *next = &v->requests[v->position % TARN__REQUESTS];
	unsigned kind = tarn__header_kind(tarn__load_relaxed(&next->word[0]));

	if (kind != TARN__MSG_CALL)
		return tarn__hot_read(s, v);
	return tarn__hot_calls(s, v);
}

/* Reads one lane until its first unpublished slot, at most one ring in an epoch however
 * often it is looked at: the buffers of decrements have room for that, and so many
 * tickets and claims of the past can a lane keep. What was published when the epoch began
 * is within one ring, so nothing that the sample needs is left out. */
uint32_t tarn__lane_read(struct server *s, struct lane_view *v)
{
	struct tarn__slot slot[TARN__MESSAGE_SLOTS];
	uint32_t n = 0;

	if (v->epoch != s->st.head->epoch) {
		v->epoch = s->st.head->epoch;
		v->limit = v->position + TARN__REQUESTS;
	}
	while (v->position < v->limit && !v->stopped &&
	       tarn__request_ready(v->requests, v->position)) {
		uint32_t short_way = read_short(s, v);

		n += short_way;
		if (v->position - v->published_head >= HEAD_EVERY)
			publish_head(v);
		if (short_way != 0)
			continue;
		tarn__request_copy(v->requests, v->position, &slot[0]);
		unsigned slots = tarn__header_slots(slot[0].word[0]);

		if (slots < 1 || slots > TARN__MESSAGE_SLOTS)
			slots = 1; /* an unknown kind then: apply says so */
		for (unsigned k = 1; k < slots; k++)
			tarn__request_copy(v->requests, v->position + k, &slot[k]);
		tarn__apply(s, v, slot, slots);
		n += slots;
	}
	if (n != 0 || v->wake)
		tarn__lane_publish(s, v);
	return n;
}

static void hot_note(struct server *s, uint32_t view)
{
	for (uint32_t i = 0; i < s->n_hot; i++)
		if (s->hot[i] == view) {
			for (; i > 0; i--)
				s->hot[i] = s->hot[i - 1];
			s->hot[0] = view;
			return;
		}
	if (s->n_hot < HOT_LANES)
		s->n_hot++;
	for (uint32_t i = s->n_hot - 1; i > 0; i--)
		s->hot[i] = s->hot[i - 1];
	s->hot[0] = view;
}

static uint32_t read_hot(struct server *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_hot; i++)
		n += tarn__lane_read(s, &s->view[s->hot[i]]);
	return n;
}

/* All lanes once; the busy ones again and again in between, so that a call does not wait
 * for a sweep over a thousand idle lanes (HOTPATH: 6 x without, 1 x with it). */
static uint32_t read_lanes(struct server *s)
{
	uint32_t total = 0, n;

	for (uint32_t i = 0; i < s->n_views; i++) {
		if (i % HOT_EVERY == HOT_EVERY - 1)
			total += read_hot(s);
		n = tarn__lane_read(s, &s->view[i]);
		total += n;
		if (n != 0)
			hot_note(s, i);
	}
	return total;
}

/* ---- phase B ---- */

/* Who sleeps at the other end finds DIR changed. */
static void wake_ends(struct server *s, uint64_t channel)
{
	struct object *o = tarn__object_find(&s->st, channel);
	struct channel *ch = o != NULL ? tarn__channel_of(&s->st, o) : NULL;

	if (ch != NULL)
		tarn__channel_wake(s, ch);
}

/* A MOVE takes a unit when it is read (hot.c), and perhaps that of an earlier RELEASE, while
 * its own is still in a RECV of a lane that was sampled before. That RECV is read in the next
 * epoch, so the RELEASE waits for it: one epoch, or one more for each time that it happens to
 * it again. Nothing is read between this and the change of buffers, so there is room unless all
 * lanes are full; and a death that is not seen yet ends in a reclaim two epochs later, when
 * the entry is gone. */
static bool put_off(struct server *s, const struct deferred *d)
{
	struct state_head *h = s->st.head;
	uint64_t filling = h->filling, n = h->n_deferred[filling];

	if (d->kind != TARN__MSG_RELEASE || d->at >= PUT_OFF_MOST ||
	    d->units == 0 || d->units > UNITS_MAX ||
	    s->st.client[d->client].state != CLIENT_ACTIVE ||
	    n >= h->lanes_reserved * (uint64_t)TARN__REQUESTS)
		return false;
	/* Beyond the committed count, so it needs no log. */
	s->st.deferred[filling][n] = *d;
	s->st.deferred[filling][n].at++;
	SET(&s->st, h->n_deferred[filling], n + 1);
	return true;
}

bool tarn__apply_older(struct server *s)
{
	struct state_head *h = s->st.head;
	uint64_t older = 1 - h->filling;
	bool any = h->n_deferred[older] != 0;

	while (h->done < h->n_deferred[older]) {
		if (tarn__hot_apply_older(s) != 0)
			continue;
		const struct deferred *d = &s->st.deferred[older][h->done];

		if (!tarn__apply_deferred(s, d)) {
			tarn__rollback(s);
			if (!put_off(s, d))
				tarn__evict(s, d->client, "message %u names what it does not hold",
					    d->kind);
		}
		SET(&s->st, h->done, h->done + 1);
		uint64_t closed = d->kind == TARN__MSG_CLOSE ? d->id : 0;
		tarn__commit(s);
		if (closed != 0)
			wake_ends(s, closed);
	}
	/* The buffers change roles: what was read in this epoch is applied in the next. */
	if (any || h->n_deferred[h->filling] != 0) {
		SET(&s->st, h->n_deferred[older], 0);
		SET(&s->st, h->done, 0);
		SET(&s->st, h->filling, older);
	}
	SET(&s->st, h->epoch, h->epoch + 1);
	tarn__commit(s);
	return any;
}

/* ---- the rest of an epoch ---- */

/* Dead channels and objects: what they hold first, in slices, then the memory. */
static void reap(struct server *s)
{
	struct state *st = &s->st;
	uint64_t until = 0;

	for (unsigned k = 0; k < REAP_SLICES && st->head->dead != NIL; k++) {
		if (k % REAP_LEAST == REAP_LEAST - 1) {
			uint64_t now = tarn__now();

			if (until != 0 && now >= until)
				break;
			if (until == 0)
				until = now + REAP_NS;
		}
		struct object *o = &st->object[st->head->dead];
		struct channel *ch = tarn__channel_of(st, o);

		if (object_kind(o) == TARN__KIND_OBJECT) {
			if (!tarn__thing_reap(s, o))
				break;
			continue;
		}
		if (ch != NULL && ch->id == o->id && ch->consumer.state != END_GONE) {
			tarn__channel_abandon(s, ch);
			tarn__commit(s);
		}
		if (ch != NULL && ch->id == o->id && ch->sweep != 0 && tarn__channel_sweep(s, ch)) {
			if (st->head->epoch < ch->sweep_from)
				break; /* its turn comes */
			continue;
		}
		if (ch != NULL && ch->id == o->id)
			tarn__channel_free(s, ch);
		tarn__touch(s, object_index(st, o));
		tarn__object_reaped(st, o);
		tarn__commit(s);
	}
}

static bool sweep_channels(struct server *s)
{
	struct state *st = &s->st;
	bool more = false;

	for (uint32_t i = 1; i < st->head->channels; i++)
		if (st->channel[i].id != 0 && st->channel[i].sweep != 0)
			more |= tarn__channel_sweep(s, &st->channel[i]);
	return more;
}

bool tarn__epoch(struct server *s)
{
	bool busy = false;

	if (s->st.head->n_clients != 0)
		tarn__clients_notice_deaths(s);
	busy |= read_lanes(s) != 0;
	busy |= tarn__apply_older(s);
	if (s->st.head->n_dying != 0)
		busy |= tarn__clients_advance(s);
	if (tarn__unlikely(s->interrupted))
		tarn__succeed_calls(s);
	if (tarn__unlikely(s->leaving != NULL))
		busy |= tarn__peers_leave(s);
	if (tarn__unlikely(s->no_host != 0))
		tarn__calls_refuse(s);
	if (s->sweeping) {
		s->sweeping = sweep_channels(s);
		busy = true;
	}
	if (s->st.head->dead != NIL) {
		reap(s);
		busy = true;
	}
	if (tarn__unlikely(s->st.suspects.n != 0))
		busy |= tarn__collect(s, !busy);
	if (tarn__unlikely(s->st.watched_gone) && s->st.head->n_watches != 0)
		tarn__watches_answer(s);
	if (s->prefault != NULL)
		tarn__prefault_want(s->prefault);
	if (s->st.head->n_pending != 0)
		tarn__grants_retry(s);
	for (uint32_t i = 0; i < s->n_views; i++)
		if (s->view[i].wake)
			tarn__lane_publish(s, &s->view[i]);
	if (s->waiters != NULL)
		tarn__waiters_answer(s);
	return busy;
}

bool tarn__quiet(const struct server *s)
{
	const struct state_head *h = s->st.head;

	if (h->n_deferred[0] != 0 || h->n_deferred[1] != 0 || h->n_dying != 0 || h->dead != NIL ||
	    s->st.suspects.n != 0 || s->leaving != NULL)
		return false;
	for (uint32_t i = 0; i < s->n_views; i++)
		if (!s->view[i].stopped &&
		    tarn__request_ready(s->view[i].requests, s->view[i].position))
			return false;
	return true;
}

/* ---- the reactor ---- */

static uint64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How long the next sleep may last. */
static int64_t sleep_limit(const struct server *s)
{
	if (s->st.head->n_pending != 0)
		return PENDING_TICK_NS; /* others' lazy releases may be what it waits for */
	if (s->st.head->n_dying != 0)
		return PENDING_TICK_NS; /* executors wake us, but how long that may take has a limit */
	if (s->st.suspects.n != 0) {
		uint64_t now = tarn__now();

		return s->collect_next_ns > now ? (int64_t)(s->collect_next_ns - now) : 0;
	}
	if (s->next_deadline != 0) {
		uint64_t now = boottime();

		return s->next_deadline > now ? (int64_t)(s->next_deadline - now) : 0;
	}
	return -1;
}

static bool housekeeping(struct server *s)
{
	tarn__facts_note(s);
	if (s->next_deadline != 0 && boottime() >= s->next_deadline)
		tarn__exports_expire(s);
	if (s->host != NULL && s->host->busy)
		s->host->ops->rest(s->host);
	tarn__run_mind_limit(&s->st); /* also for contents that were refused */
	return tarn__heap_tidy(&s->st);
}

static void sleep_now(struct server *s)
{
	uint64_t eager = s->eager;

	/* SYNC sleep: say it, pass the barrier, look once more. */
	tarn__store_release(&s->ctrl->server_state, 1);
	tarn__sleep_barrier(!s->use_membarrier);
	bool busy = tarn__epoch(s);

	tarn__store_release(&s->ctrl->epoch, s->st.head->epoch);
	if (s->eager == eager && s->st.head->n_dying <= s->n_waiting_dead && s->st.head->dead == NIL &&
	    !s->sweeping && s->waiters == NULL && s->leaving == NULL && !s->stopping) {
		/* Decrements read in that last look are applied at the next wake-up: lazy
		 * as their messages. But what was deferred before is not left lying. */
		(void)busy;
		s->sleeps++;
		tarn__facts_note(s);
		tarn__loop_wait(s->loop, sleep_limit(s));
		tarn__facts_tick(s);
	}
	tarn__store_release(&s->ctrl->server_state, 0);
}

/* Looks at the descriptors now and then while busy: at each call where that is free, else
 * seldom. True if something was dispatched. */
static bool look(struct server *s)
{
	if (s->cheap_look ? !tarn__loop_pending(s->loop) : ++s->since_look < LOOP_EVERY)
		return false;
	s->since_look = 0;
	return tarn__loop_wait(s->loop, 0) > 0;
}

#define CROWDED_NS 3000u /* a yield that nobody else wanted takes a tenth of it */

/* True if another thread wants this CPU: it ran while we yielded. */
static bool crowded(void)
{
	uint64_t from = tarn__now();

	sched_yield();
	return tarn__now() - from > CROWDED_NS;
}

#define GLANCES 8u /* looks at the busy lanes for each epoch without work */

/* Looks at what the busy lanes will hold next, and at nothing else: an epoch takes as long as a line
 * crosses, and a call that comes meanwhile waits for its end. */
static void glance(const struct server *s)
{
	for (uint32_t k = 0; k < GLANCES; k++) {
		for (uint32_t i = 0; i < s->n_hot; i++) {
			const struct lane_view *v = &s->view[s->hot[i]];

			if (tarn__request_ready(v->requests, v->position) && !v->stopped)
				return;
		}
		tarn__pause();
	}
}

/* Polls on while eager messages come; true if there is work before the patience is over. Only
 * on a CPU that nobody else wants: who would be next to call may be waiting for it (HOTPATH 4:
 * 10 to 20 x in the mean). */
static bool spin(struct server *s)
{
	uint64_t eager = s->eager, until = 0;

	for (uint32_t round = 1; s->spin_ns != 0; round++) {
		glance(s);
		tarn__epoch(s);
		if (s->eager != eager || look(s) || s->stopping)
			return true;
		if (round % 4 == 0) {
			uint64_t now = tarn__now();

			if (until == 0)
				until = now + s->spin_ns;
			if (now >= until)
				return false;
			/* Not at once: who calls again and again must not wait for a yield. */
			if ((round == 4 || round % 32 == 0) && crowded())
				return false;
		}
	}
	return false;
}

/* Nothing that was read waits for another epoch. */
static bool settled(const struct server *s)
{
	const struct state_head *h = s->st.head;

	return h->n_deferred[0] == 0 && h->n_deferred[1] == 0 && h->dead == NIL;
}

void tarn__reactor(struct server *s)
{
	uint32_t quiet = 0;
	uint64_t eager = s->eager, kept = s->st.head->epoch;

	while (!s->stopping) {
		bool busy = tarn__epoch(s);

		look(s);
		if (s->st.head->epoch - kept >= KEEP_EVERY) {
			kept = s->st.head->epoch;
			housekeeping(s); /* a server that is never quiet keeps house, too */
		}
		bool called = s->eager != eager;
		eager = s->eager;
		if (called && spin(s)) {
			quiet = 0;
			continue;
		}
		/* Two epochs after the last eager message what was read then is applied; a call mostly leaves
		 * nothing to apply, and who is not to spin sleeps then. Others take these epochs for what comes
		 * next: they are shorter than a wake-up. A steady trickle of lazy messages alone does not keep
		 * the server up. */
		if (s->st.head->n_dying > s->n_waiting_dead || s->sweeping || s->waiters != NULL ||
		    s->leaving != NULL)
			quiet = 0;
		else if (s->spin_ns == 0 && settled(s))
			quiet = QUIET;
		else
			quiet = called ? 0 : quiet + 1;
		if (quiet < 2 || (busy && quiet < QUIET))
			continue;
		if (housekeeping(s))
			continue;
		quiet = 0;
		sleep_now(s);
	}
}
