/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes of threads: getting one, handing it on, posting when there is no room.
 *
 * A thread's first call takes a parked lane, with the blocks cached there, or asks the
 * server for a new one. When the thread ends its lane is parked again: no message. Of
 * too many parked lanes the spare ones are emptied and, once the server has read all
 * they hold, closed; so a message never waits in a lane that is gone.
 */
#include "lane.h"

#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"
#include "pending.h"

__thread struct tarn__here tarn__here = { .serial = 1 }; /* no client has serial 1 */

#define ROOM_NS 500000u
static const uint64_t half = TARN__REQUESTS / 2;
static const uint64_t again = TARN__REQUESTS / 8;

/* ---- getting one ---- */

static void describe_thread(struct tarn__lane *l)
{
	struct tarn__lane_client *c = &l->area->client;

	tarn__store_relaxed(&c->tid, (uint64_t)syscall(SYS_gettid));
	prctl(PR_GET_NAME, c->thread, 0, 0, 0);
}

/* Mutex held. Relaxed: others look at it for a hint only. */
static void n_parked_set(struct tarn_client *c, unsigned n)
{
	__atomic_store_n(&c->n_parked, n, __ATOMIC_RELAXED);
}

static struct tarn__lane *take_parked(struct tarn_client *c)
{
	pthread_mutex_lock(&c->mutex);
	struct tarn__lane *l = c->parked;
	if (l != NULL) {
		c->parked = l->next_parked;
		n_parked_set(c, c->n_parked - 1);
	}
	pthread_mutex_unlock(&c->mutex);
	return l;
}

static void start(struct tarn__lane *l, struct tarn_client *c, uint32_t number)
{
	unsigned char *base = c->lane_segment.base;
	struct tarn__lane_area *area =
		(struct tarn__lane_area *)(void *)(base + number * sizeof *area);

	l->client = c;
	l->number = number;
	l->area = area;
	l->deferring = NULL;
	l->outstanding = 0;
	l->allocs = 0;
	l->awaited = 0;
	l->answered = false;
	l->requests = (struct tarn__requests){ .slot = tarn__lane_requests(area, number),
					       .server_head = &area->server.head };
	l->replies = (struct tarn__replies){ .slot = tarn__lane_replies(area, number) };
	l->bell_at = half;
	/* Relaxed: only a change after now matters. */
	l->notice_seen = tarn__load_relaxed(&area->signs.notice);
	tarn__cache_init(&l->cache, c->cache_bytes, c->poison);
	tarn__spin_init(&l->spin, 50);
}

/*
 * Structs of lanes whose client is closed. They are not freed: the key's destructor is called with one when a thread
 * ends, and nothing says whether it has been called yet when the client is closed meanwhile. By the struct's owner it
 * sees that it has come too late, whoever has it now.
 *
 * A list from which one takes all: no lock, so that a forked child finds none held.
 */
static struct tarn__lane *without_client;

static void without_client_push(struct tarn__lane *first, struct tarn__lane *last)
{
	struct tarn__lane *top = __atomic_load_n(&without_client, __ATOMIC_RELAXED);

	do
		last->next_parked = top;
	/* SYNC lane-struct, release: whoever takes it sees it as it was left. */
	while (!__atomic_compare_exchange_n(&without_client, &top, first, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static struct tarn__lane *without_client_take(void)
{
	/* SYNC lane-struct, acquire. */
	struct tarn__lane *l = __atomic_exchange_n(&without_client, NULL, __ATOMIC_ACQUIRE);

	if (l == NULL || l->next_parked == NULL)
		return l;
	struct tarn__lane *last = l->next_parked;

	while (last->next_parked != NULL)
		last = last->next_parked;
	without_client_push(l->next_parked, last);
	return l;
}

/* A struct for a lane: used before, or new. Mutex held. */
static struct tarn__lane *lane_struct(struct tarn_client *c)
{
	struct tarn__lane *l = c->closed;

	if (l != NULL) {
		c->closed = l->next_parked;
		/* Release: whoever remembers the lane by this struct (passed() in channel.c)
		 * sees the new life before its positions. */
		__atomic_store_n(&l->life, l->life + 1, __ATOMIC_RELEASE);
		__atomic_store_n(&l->closed, false, __ATOMIC_RELEASE);
		return l;
	}
	l = without_client_take();
	if (l == NULL) {
		l = aligned_alloc(64, tarn__round_up(sizeof *l, 64));
		if (l == NULL)
			return NULL;
		l->life = l->owner = 0;
	}
	memset(l, 0, offsetof(struct tarn__lane, life));
	l->life++;
	l->next_all = c->lanes;
	c->lanes = l;
	return l;
}

static int open_lane(struct tarn_client *c, struct tarn__lane **ret)
{
	struct tarn__answer answer;
	int r = tarn__client_ask(c, TARN__CTL_LANE_OPEN, 0, tarn__deadline(c->answer_ns), &answer);

	if (r < 0)
		return r;
	uint64_t number = answer.value[0];
	if (number >= c->lane_segment.bytes / sizeof(struct tarn__lane_area))
		return tarn__fail(-TARN_EPROTO, "The server gave lane %llu, which does not lie in "
				  "this client's lane segment.", (unsigned long long)number);

	pthread_mutex_lock(&c->mutex);
	struct tarn__lane *l = lane_struct(c);
	if (l != NULL)
		start(l, c, (uint32_t)number);
	else
		tarn__client_tell(c, TARN__CTL_LANE_CLOSE, number);
	pthread_mutex_unlock(&c->mutex);
	if (l == NULL)
		return tarn__fail(-ENOMEM, "No memory for a thread's lane (%zu bytes).",
				  sizeof *l);
	*ret = l;
	return 0;
}

static void put_parked(struct tarn_client *c, struct tarn__lane *l)
{
	pthread_mutex_lock(&c->mutex);
	l->next_parked = c->parked;
	c->parked = l;
	n_parked_set(c, c->n_parked + 1);
	pthread_mutex_unlock(&c->mutex);
}

/* The thread's lane of @c: the one it has, a parked one, a new one. */
static int find_lane(struct tarn_client *c, struct tarn__lane **ret)
{
	struct tarn__lane *l = pthread_getspecific(c->key);

	if (l == NULL) {
		l = take_parked(c);
		int r = l != NULL ? 0 : open_lane(c, &l);
		if (r < 0)
			return r;
		r = -pthread_setspecific(c->key, l);
		if (r < 0) {
			put_parked(c, l);
			return tarn__fail(r, "No thread-local storage for a lane.");
		}
		/* Relaxed: this thread alone looks for it there, or who knows that it makes no calls. */
		__atomic_store_n(&l->owner, tarn__lane_owner(), __ATOMIC_RELAXED);
		describe_thread(l);
	}
	*ret = l;
	return 0;
}

int tarn__lane_enter_slow(struct tarn_client *c, struct tarn__lane **ret)
{
	struct tarn__lane *l = NULL;
	int r;

	if (tarn__forked(c))
		return tarn__fail_forked();
	if (tarn__here.entering)
		return tarn__fail(-EDEADLK, "Called from a signal handler that interrupted the "
				  "opening of a lane in this thread.");
	tarn__here.entering = true;
	tarn__compiler_barrier();
	r = find_lane(c, &l);
	tarn__compiler_barrier();
	tarn__here.entering = false;
	if (r < 0)
		return r;
	if (!tarn__lane_try(l))
		return tarn__fail(-EDEADLK, "Called from a signal handler that interrupted another "
				  "call of Tarn in this thread: only unref is allowed there.");
	tarn__here.serial = 1; /* a handler must not see one's serial with another's lane */
	tarn__compiler_barrier();
	tarn__here.lane = l;
	tarn__compiler_barrier();
	tarn__here.serial = c->serial;
	tarn__lane_notice(l);
	*ret = l;
	return 0;
}

/* ---- handing it on ---- */

/* Everything read by the server? */
static bool all_read(struct tarn__lane *l)
{
	return tarn__requests_room(&l->requests, TARN__REQUESTS) == TARN__REQUESTS;
}

/* The last one in the list of parked lanes, if there are too many. */
static struct tarn__lane *take_spare(struct tarn_client *c)
{
	struct tarn__lane *l = NULL;

	pthread_mutex_lock(&c->mutex);
	if (c->n_parked > TARN__PARKED_MAX) {
		struct tarn__lane **at = &c->parked;

		while ((*at)->next_parked != NULL)
			at = &(*at)->next_parked;
		l = *at;
		*at = NULL;
		n_parked_set(c, c->n_parked - 1);
	}
	pthread_mutex_unlock(&c->mutex);
	return l;
}

/* Closes a spare lane if nothing is on its way in it; else it waits for a later look. */
static void close_lane(struct tarn_client *c, struct tarn__lane *l)
{
	bool told;

	tarn__lane_drain(l);
	if (!tarn__cache_empty(l) || !all_read(l) || l->outstanding != 0 || tarn__pending_queued(l)) {
		tarn__lane_ring(l);
		put_parked(c, l);
		return;
	}
	pthread_mutex_lock(&c->pool);
	c->credits_taken -= l->holds;
	pthread_mutex_unlock(&c->pool);
	l->holds = 0;
	pthread_mutex_lock(&c->mutex);
	told = tarn__client_tell(c, TARN__CTL_LANE_CLOSE, l->number);
	if (told) {
		tarn__pending_lane_closed(l);
		__atomic_store_n(&l->closed, true, __ATOMIC_RELEASE);
		l->next_parked = c->closed;
		c->closed = l;
	}
	pthread_mutex_unlock(&c->mutex);
	if (!told)
		put_parked(c, l);
}

/* One more than comes when a thread ends: the number falls. */
static void close_spares(struct tarn_client *c)
{
	for (unsigned i = 0; i < 2; i++) {
		struct tarn__lane *l = take_spare(c);

		if (l == NULL)
			break;
		close_lane(c, l);
	}
}

/* SYNC lane-end: either the client's end takes a lane from its thread, or the thread's end comes first and is waited
 * for. False: it is too late. */
static bool begin_end(struct tarn__lane *l)
{
	uint64_t mine = tarn__lane_owner();

	return __atomic_compare_exchange_n(&l->owner, &mine, mine | TARN__LANE_ENDING, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

/* SYNC lane-end: acquire, with the release in tarn__lane_park(): what its thread left in the lane is seen, and that
 * it counts itself. */
static void await_end(struct tarn__lane *l)
{
	const struct timespec a_while = { .tv_nsec = 50000 };
	uint64_t owner = __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE);

	for (;;) {
		if ((owner & TARN__LANE_ENDING) != 0) {
			nanosleep(&a_while, NULL);
			owner = __atomic_load_n(&l->owner, __ATOMIC_ACQUIRE);
		} else if (__atomic_compare_exchange_n(&l->owner, &owner, 0, false, __ATOMIC_ACQ_REL,
						       __ATOMIC_ACQUIRE)) {
			return;
		}
	}
}

void tarn__lanes_disown(struct tarn_client *c)
{
	const struct timespec a_while = { .tv_nsec = 50000 };

	for (struct tarn__lane *l = c->lanes; l != NULL; l = l->next_all)
		await_end(l);
	/* They gave their lanes up, and may be at others'. SYNC lane-end: acquire, with the release of the last count. */
	while (__atomic_load_n(&c->n_ending, __ATOMIC_ACQUIRE) != 0)
		nanosleep(&a_while, NULL);
}

void tarn__lane_park(void *lane)
{
	struct tarn__lane *l = lane;

	if (!begin_end(l))
		return;
	struct tarn_client *c = l->client;

	if (tarn__forked(c))
		return;
	/* A signal handler finds no lane until this is over, and must not look for one: locks are
	 * held here. Its drops go to the backlog. */
	tarn__here.entering = true;
	tarn__compiler_barrier();
	if (tarn__here.lane == l)
		tarn__here.serial = 1;
	tarn__lane_try(l); /* not inside a call: a thread does not end there */
	tarn__lane_settle(l, true);
	tarn__pending_abandon(l);
	tarn__lane_notice(l);
	if (tarn__backlog_any(c))
		tarn__backlog_post(l);
	tarn__lane_leave(l);
	/* SYNC lane-end: the count before the lane is nobody's, and down again when we are done with the client. */
	__atomic_add_fetch(&c->n_ending, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&l->owner, 0, __ATOMIC_RELEASE);
	put_parked(c, l);
	close_spares(c);
	__atomic_sub_fetch(&c->n_ending, 1, __ATOMIC_RELEASE);
	tarn__compiler_barrier();
	tarn__here.entering = false;
}

void tarn__lanes_free(struct tarn_client *c)
{
	while (c->lanes != NULL) {
		struct tarn__lane *l = c->lanes;

		c->lanes = l->next_all;
		tarn__pending_free_all(l);
		without_client_push(l, l);
	}
	c->parked = NULL;
	c->closed = NULL;
}

/* ---- the bell ---- */

bool tarn__lane_ring(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;
	const uint64_t one = 1;

	/* SYNC sleep: the mark, then this look; the server: state = 1, membarrier, then
	 * the marks. One of the two sees the other. */
	tarn__post_barrier(c->fence);
	if (tarn__load_relaxed(&c->ctrl->server_state) != 1)
		return false;
	/* The counter cannot overflow in practice; if it is full the server has been
	 * rung. Not being able to write means that the server is gone: waits see it. */
	if (write(c->doorbell, &one, sizeof one) < 0)
		return false;
	/* Who sleeps on a descriptor does not ring again. */
	if (tarn__unlikely(l->calls != NULL && l->calls->event >= 0))
		tarn__client_nudge(c);
	l->signals++;
	return true;
}

void tarn__client_nudge(const struct tarn_client *c)
{
	int unread = 0;

	/* Relaxed: a server that sleeps over what was posted before the caller waited has said so for as long. */
	if (tarn__load_relaxed(&c->ctrl->server_state) != 1)
		return;
	/* What it has not read yet wakes it as well. And where one is stopped, rings are not to lie there until there
	 * is no room for what else it has to be told. */
	if (ioctl(c->control, SIOCOUTQ, &unread) < 0 || unread <= 0)
		tarn__client_tell(c, TARN__CTL_RING, 0);
}

void tarn__lane_bell(struct tarn__lane *l)
{
	struct tarn__requests *q = &l->requests;

	/* SYNC slot-free, acquire. */
	q->head_seen = tarn__load_acquire(q->server_head);
	if (q->tail - q->head_seen < half) {
		q->head_seen = q->head_seen < q->tail ? q->head_seen : q->tail;
		l->bell_at = q->head_seen + half;
		return;
	}
	/* Where the server was put on this CPU it may run now: what it has to read only grows,
	 * and whom it would have to wait for is us (HOTPATH 4: the longest wait falls 20 x). */
	if (tarn__lane_ring(l))
		sched_yield();
	/* Looks again every so often: the server may be on its way to sleep just now and
	 * has judged this lane by an older head. */
	l->bell_at = q->tail + again;
}

/* ---- waiting ---- */

static bool has_reply(const struct tarn__lane *l)
{
	const struct tarn__replies *r = &l->replies;

	/* SYNC slot-full, acquire; the words are read by tarn__replies_take(). */
	return tarn__load_acquire(&r->slot[r->next % TARN__REPLIES].mark) == r->next + 1;
}

static bool has_room(struct tarn__lane *l, unsigned need)
{
	return tarn__requests_room(&l->requests, need) >= need;
}

/* The server wants grants back, and there is room to say so. */
static bool is_asked(struct tarn__lane *l)
{
	/* Relaxed: as in tarn__lane_notice(). */
	return tarn__load_relaxed(&l->area->signs.notice) != l->notice_seen && has_room(l, 1);
}

#define READY() (need > 0 ? has_room(l, need) || has_reply(l) : has_reply(l))

/* Polls for a short while, once at least; true: ready. */
static bool lane_spin(struct tarn__lane *l, unsigned need)
{
	for (uint32_t left = l->spin.rounds; !READY(); left--) {
		if (left == 0) {
			tarn__spin_failed(&l->spin);
			return false;
		}
		tarn__pause();
	}
	tarn__spin_paid(&l->spin);
	return true;
}

/* Yields, then sleeps, until there is a reply, or room if @need > 0. Returns without them after
 * it gave grants back, which may take a reply that nobody awaits: callers look anyway. The
 * server wakes those who wait for a reply only, so who waits for room looks more often. */
static int lane_sleep(struct tarn__lane *l, unsigned need, uint64_t deadline)
{
	struct tarn__lane_area *area = l->area;
	struct tarn_client *c = l->client;
	uint64_t looked = 0;

	for (uint64_t until = 0; tarn__yield_until(&until);)
		if (READY())
			return 0;

	for (;;) {
		/* Acquire, and before the look: a wake-up after it changes the word. */
		uint32_t wake = tarn__load32_acquire(&area->signs.wake);
		uint64_t now, until;
		int r;

		/* SYNC lane-wake: waiting = 1, barrier, look; the server: reply, barrier, look
		 * at waiting. */
		tarn__store32_relaxed(&area->client.waiting, 1);
		tarn__sleep_barrier(c->fence);
		if (READY() || is_asked(l))
			break;
		now = tarn__now();
		if (now >= deadline) {
			tarn__store32_relaxed(&area->client.waiting, 0);
			return -ETIMEDOUT;
		}
		until = now + (need > 0 ? ROOM_NS : TARN__SLICE_NS);
		tarn__futex_wait(&area->signs.wake, wake, until < deadline ? until : deadline);
		tarn__store32_relaxed(&area->client.waiting, 0);
		if (READY() || is_asked(l))
			break;
		if (now - looked < TARN__SLICE_NS)
			continue;
		looked = now;
		r = tarn__client_health(c, l);
		if (r < 0)
			return r;
		/* In case a bell was lost with a server that restarted, or somebody took it. */
		tarn__lane_ring(l);
		tarn__client_nudge(c);
	}
	tarn__store32_relaxed(&area->client.waiting, 0);
	if (!READY())
		tarn__lane_notice(l);
	return 0;
}
#undef READY

static int lane_wait(struct tarn__lane *l, unsigned need, uint64_t deadline)
{
	return lane_spin(l, need) ? 0 : lane_sleep(l, need, deadline);
}

int tarn__lane_wait_reply(struct tarn__lane *l, uint64_t deadline)
{
	return lane_wait(l, 0, deadline);
}

int tarn__lane_room_slow(struct tarn__lane *l, unsigned need, uint64_t deadline)
{
	int r = tarn__client_health(l->client, l);

	if (r < 0)
		return r;
	tarn__lane_ring(l);
	while (!has_room(l, need)) {
		r = lane_wait(l, need, deadline);
		if (r < 0)
			return r == -ETIMEDOUT ? tarn__fail(r, "The server did not take a message "
							    "for the time allowed.") : r;
		tarn__lane_drain(l);
	}
	return 0;
}

/* ---- asking ---- */

void tarn__ask_init(struct tarn__ask *a, enum tarn__message kind, unsigned count)
{
	memset(a->word, 0, sizeof a->word);
	a->word[0][0] = tarn__header(kind, 1, count, 0);
	a->slots = 1;
}

/* Payload word @at, from 1: six in the first slot, seven in each further one. */
static uint64_t *payload(struct tarn__ask *a, unsigned at)
{
	unsigned slot = at < 7 ? 0 : at / 7;

	assert(at > 0 && slot < TARN__ASK_SLOTS);
	if (a->slots < slot + 1)
		a->slots = slot + 1;
	return &a->word[slot][at % 7];
}

void tarn__ask_word(struct tarn__ask *a, unsigned at, uint64_t v)
{
	*payload(a, at) = v;
}

void tarn__ask_bytes(struct tarn__ask *a, unsigned at, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i += 8) {
		size_t k = n - i < 8 ? n - i : 8;

		memcpy(payload(a, at++), p + i, k);
	}
}

static void unreserve(struct tarn__lane *l, uint32_t cookie)
{
	uint32_t n = tarn__cookie_slots(cookie);

	l->outstanding -= n < l->outstanding ? n : l->outstanding;
}

static bool has_values(unsigned kind)
{
	return kind == TARN__MSG_CALL || kind == TARN__MSG_CREATE || kind == TARN__MSG_TYPE ||
	       kind == TARN__MSG_WATCH || kind == TARN__MSG_FETCH;
}

/* A reply of several slots: all are there once the first is. The further words go to @to; how
 * many. */
static unsigned take_more(struct tarn__lane *l, const struct tarn__slot *first, uint64_t *to)
{
	unsigned n = tarn__header_slots(first->word[0]), words = 0;
	struct tarn__slot s;

	for (unsigned k = 1; k < n && k < TARN__REPLY_SLOTS; k++, words += 7) {
		if (!tarn__replies_take(&l->replies, &s))
			break;
		memcpy(to + words, s.word, sizeof s.word);
	}
	return words;
}

/* A reply with values: the caller's who waits, of a call in the background, or of one that was
 * given up. */
static void take_values(struct tarn__lane *l, const struct tarn__slot *s)
{
	uint32_t cookie = tarn__header_cookie(s->word[0]);
	uint64_t word[7 * TARN__REPLY_SLOTS];
	unsigned n;

	unreserve(l, cookie);
	if (tarn__likely(cookie == l->awaited)) {
		l->answer = *s;
		l->n_more = tarn__likely(tarn__header_slots(s->word[0]) == 1)
				    ? 0 : take_more(l, s, l->more);
		l->answered = true;
		return;
	}
	if (tarn__likely(tarn__header_slots(s->word[0]) <= 1)) {
		tarn__pending_answered(l, cookie, s->word, 7);
		return;
	}
	memcpy(word, s->word, sizeof s->word);
	n = 7 + take_more(l, s, word + 7);
	tarn__pending_answered(l, cookie, word, n);
}

/* Understands one reply. */
static void take(struct tarn__lane *l, const struct tarn__slot *s)
{
	uint64_t h = s->word[0];
	unsigned kind = tarn__header_kind(h);

	if (tarn__likely(has_values(kind))) {
		take_values(l, s);
		return;
	}
	uint32_t cookie = tarn__header_cookie(h);
	int error = tarn__reply_error(s);
	bool last = kind != TARN__MSG_ALLOC || error != 0 ||
		    (tarn__header_slots(h) & TARN__REPLY_LAST) != 0;

	if (kind == TARN__MSG_ALLOC)
		tarn__cache_granted(l, s);
	if (!last)
		return;
	unreserve(l, cookie);
	if (kind == TARN__MSG_ALLOC && l->allocs > 0)
		l->allocs--;
	if (cookie == l->awaited) {
		l->answer = *s;
		l->answered = true;
		return;
	}
	/* Its caller gave up. What the server booked for it is given back, and its hold. */
	if (kind != TARN__MSG_CHANNEL && kind != TARN__MSG_LOOKUP && kind != TARN__MSG_IMPORT &&
	    kind != TARN__MSG_GRAB)
		return;
	if (error != 0) {
		tarn__hold_return(l);
	} else if (s->word[1] != 0) {
		struct tarn_block *b = tarn__handle_new(l);

		if (b == NULL)
			return; /* a claim stays until this process ends */
		*b = (struct tarn_block){ .refs = REF_SHARED | REF_UNLISTED, .client = l->client,
					  .id = s->word[1], .units = 1 };
		tarn__backlog_push(l->client, b);
	}
}

void tarn__lane_drain(struct tarn__lane *l)
{
	struct tarn__slot s;

	while (tarn__replies_take(&l->replies, &s))
		take(l, &s);
}

uint32_t tarn__lane_post_ask(struct tarn__lane *l, uint64_t *word, unsigned slots,
			     unsigned reply_slots, unsigned bin)
{
	uint64_t h = word[0];
	uint32_t cookie;

	cookie = tarn__lane_cookie(l, bin, reply_slots);
	word[0] = tarn__header((enum tarn__message)tarn__header_kind(h), slots,
			       tarn__header_count(h), cookie);
	l->outstanding += reply_slots;
	if (tarn__header_kind(h) == TARN__MSG_ALLOC)
		l->allocs++;
	if (tarn__likely(slots == 1))
		tarn__requests_post(&l->requests, word);
	else
		tarn__requests_post_long(&l->requests, (const uint64_t(*)[7])word, slots);
	if (l->requests.tail >= l->bell_at)
		tarn__lane_bell(l);
	return cookie;
}

static uint32_t post_ask(struct tarn__lane *l, struct tarn__ask *a, unsigned reply_slots,
			 unsigned bin)
{
	return tarn__lane_post_ask(l, a->word[0], a->slots, reply_slots, bin);
}

static int give_up(struct tarn__lane *l, int r)
{
	l->awaited = 0;
	if (r != -ETIMEDOUT)
		return r;
	/* Distinguish a slow server from a dead one. */
	int health = tarn__client_health(l->client, l);
	return health < 0 ? health
			  : tarn__fail(-ETIMEDOUT, "The server '%s' (pid %d) did not answer in "
				       "time.", l->client->name, tarn_client_server_pid(l->client));
}

/* ---- how long it took, for people ---- */

#define TIMED_FIRST 64u /* of a lane's questions all are timed, */
#define TIMED_EVERY 16u /* later one in so many: two looks at the clock cost 50 ns */

static bool is_timed(const struct tarn__lane *l)
{
	return l->sequence < TIMED_FIRST || l->sequence % TIMED_EVERY == 0;
}

void tarn__lane_note_wait(struct tarn__lane *l, unsigned kind, uint64_t ns)
{
	static const unsigned char rows[TARN__MSG_KINDS] = {
		[TARN__MSG_ALLOC] = 1 + TARN__WAIT_ALLOC,
		[TARN__MSG_CREDIT] = 1 + TARN__WAIT_CREDIT,
		[TARN__MSG_CHANNEL] = 1 + TARN__WAIT_CHANNEL,
		[TARN__MSG_BIND] = 1 + TARN__WAIT_BIND,
		[TARN__MSG_LOOKUP] = 1 + TARN__WAIT_LOOKUP,
		[TARN__MSG_EXPORT] = 1 + TARN__WAIT_EXPORT,
		[TARN__MSG_REVOKE] = 1 + TARN__WAIT_EXPORT,
		[TARN__MSG_IMPORT] = 1 + TARN__WAIT_IMPORT,
		[TARN__MSG_PING] = 1 + TARN__WAIT_PING,
		[TARN__MSG_CALL] = 1 + TARN__WAIT_CALL,
	};
	unsigned row = kind < TARN__MSG_KINDS ? rows[kind] : 0;

	if (row != 0) {
		uint32_t *n = &l->area->waits.n[row - 1][tarn__histogram_bucket(ns)];

		/* Relaxed: only this thread writes it, a reader wants no more than a number. */
		tarn__store32_relaxed(n, *n + 1);
	}
}

int tarn__lane_prepare(struct tarn__lane *l, unsigned slots, unsigned reply_slots,
		       uint64_t deadline)
{
	int r;

	if (tarn__backlog_any(l->client))
		tarn__backlog_post(l);
	/* A crowd of threads may have ended without another one after it. Relaxed: a hint. */
	if (tarn__unlikely(__atomic_load_n(&l->client->n_parked, __ATOMIC_RELAXED) >
			   TARN__PARKED_MAX))
		close_spares(l->client);
	tarn__lane_notice(l);
	tarn__lane_drain(l);
	while (tarn__unlikely(l->outstanding + reply_slots > TARN__REPLIES)) {
		tarn__lane_ring(l);
		r = lane_wait(l, 0, deadline);
		if (r < 0)
			return give_up(l, r);
		tarn__lane_drain(l);
	}
	return tarn__lane_room(l, slots, deadline);
}

static int evicted(struct tarn__lane *l)
{
	tarn__store32_relaxed(&l->client->down, TARN_EEVICTED);
	return tarn__fail_down(l->client);
}

int tarn__lane_await(struct tarn__lane *l, int64_t timeout_ns)
{
	uint64_t deadline = 0;

	for (;;) {
		int r;

		/* The clock is not looked at before spinning has failed once. */
		if (tarn__likely(lane_spin(l, 0)))
			tarn__lane_drain(l);
		if (tarn__likely(l->answered))
			break;
		if (deadline == 0)
			deadline = tarn__deadline(timeout_ns);
		r = lane_sleep(l, 0, deadline);
		tarn__lane_drain(l);
		if (l->answered)
			break;
		/* Answers to others may come all the time. */
		if (r == 0 && deadline != UINT64_MAX && tarn__now() >= deadline)
			r = -ETIMEDOUT;
		if (r < 0)
			return r;
	}
	l->awaited = 0;
	return tarn__unlikely(tarn__reply_error(&l->answer) == -TARN_EEVICTED) ? evicted(l) : 0;
}

int tarn__lane_ask(struct tarn__lane *l, struct tarn__ask *a, unsigned reply_slots, unsigned bin,
		   uint64_t deadline, struct tarn__slot *ret)
{
	uint64_t began = is_timed(l) ? tarn__now() : 0;
	int r = tarn__lane_prepare(l, a->slots, reply_slots, deadline);

	l->asked = r == 0;
	if (r < 0)
		return r;
	l->answered = false;
	l->awaited = post_ask(l, a, reply_slots, bin);
	tarn__lane_ring(l);
	for (;;) {
		tarn__lane_drain(l);
		if (l->answered)
			break;
		r = lane_wait(l, 0, deadline);
		if (r < 0)
			return give_up(l, r);
	}
	l->awaited = 0;
	if (began != 0)
		tarn__lane_note_wait(l, tarn__header_kind(a->word[0][0]), tarn__now() - began);
	if (tarn__unlikely(tarn__reply_error(&l->answer) == -TARN_EEVICTED))
		return evicted(l);
	*ret = l->answer;
	return 0;
}

int tarn__lane_reply_wait(struct tarn__lane *l, uint64_t deadline)
{
	int r;

	tarn__lane_ring(l);
	r = lane_wait(l, 0, deadline);
	if (r < 0)
		return give_up(l, r);
	tarn__lane_drain(l);
	return 0;
}

bool tarn__lane_ask_later(struct tarn__lane *l, struct tarn__ask *a, unsigned reply_slots,
			  unsigned bin)
{
	if (l->outstanding + reply_slots > TARN__REPLIES - TARN__REPLY_SLOTS ||
	    tarn__requests_room(&l->requests, a->slots) < a->slots)
		return false;
	post_ask(l, a, reply_slots, bin);
	return true;
}

/* ---- grants wanted back ---- */

static bool give_all_back(struct tarn__lane *l)
{
	/* Relaxed: a request to hurry, nothing is published with it. */
	uint64_t notice = tarn__load_relaxed(&l->area->signs.notice);

	if (tarn__likely(notice == l->notice_seen))
		return false;
	if (l->awaited == 0)
		tarn__lane_drain(l); /* else what is awaited would be given back, too */
	if (tarn__cache_empty(l))
		l->notice_seen = notice; /* else: again, when there is room */
	tarn__lane_ring(l);
	return true;
}

/* Parked lanes have caches and nobody who would look: whoever is asked, or is short of memory,
 * does it for them. */
static bool give_parked_back(struct tarn_client *c)
{
	struct tarn__lane *taken = NULL, *l;
	bool any = false;

	while ((l = take_parked(c)) != NULL) {
		l->next_parked = taken;
		taken = l;
	}
	while ((l = taken) != NULL) {
		taken = l->next_parked;
		tarn__lane_drain(l);
		any = any || l->cache.bytes != 0;
		tarn__cache_empty(l);
		tarn__lane_ring(l);
		put_parked(c, l);
	}
	return any;
}

bool tarn__lane_give_back(struct tarn__lane *l)
{
	bool any = l->cache.bytes != 0;

	while (!tarn__cache_empty(l))
		if (tarn__lane_room(l, TARN__REQUESTS / 2, UINT64_MAX) < 0)
			break;
	return give_parked_back(l->client) || any;
}

void tarn__lane_notice(struct tarn__lane *l)
{
	/* Relaxed: a hint. */
	if (tarn__unlikely(give_all_back(l)) &&
	    __atomic_load_n(&l->client->n_parked, __ATOMIC_RELAXED) != 0)
		give_parked_back(l->client);
}
