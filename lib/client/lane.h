/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread's lane: process-private state around the two rings of shm/lane.h.
 *
 * A thread finds its lane through one pair of thread-local words. Entering a call marks
 * the lane busy; a signal handler that interrupts such a call finds it busy and takes
 * the road that needs no lane (drops go to the client's backlog, all else fails).
 *
 * Lazy messages are posted and forgotten; the bell is rung when the server may be
 * asleep and half the lane is unread. Messages that somebody waits for ring at once.
 * Replies are matched by cookie, so one that comes after its caller gave up is still
 * understood: what it granted goes to the cache, what it claimed is released.
 */
#ifndef TARN_CLIENT_LANE_H
#define TARN_CLIENT_LANE_H

#include "cache.h"
#include "client.h"

#define TARN__PARKED_MAX 8u
/* Longest sleep between two looks at the server. Whoever waits for a server that was killed is to be back
 * within 100 ms of it: 10 ms are for the kernel to end it, and for us to be scheduled. */
#define TARN__SLICE_NS 90000000u

#define TARN__REPLY_SLOTS 19u /* most slots that one asks a reply of: 64 references fit */

struct tarn__lane {
	uint32_t busy;           /* a call of this thread is inside */
	uint32_t number;
	struct tarn_client *client;
	struct tarn__requests requests;
	uint64_t bell_at;        /* at this tail the reader is looked at, and perhaps woken */
	struct tarn_block *spare; /* unused handles of this thread */
	uint32_t n_spare;
	uint32_t holds;          /* ids that this lane may still share or receive */
	struct tarn__cache cache;

	struct tarn__replies replies;
	struct tarn__lane_area *area;
	uint32_t outstanding;    /* reply slots reserved */
	uint32_t allocs;         /* of these, ALLOCs that are not answered */
	uint32_t sequence;       /* of cookies */
	uint32_t awaited;        /* cookie of the reply that the caller waits for; 0: none */
	bool answered;           /* answer is it */
	bool asked;              /* the last tarn__lane_ask() posted: an answer comes, if late */
	struct tarn__slot answer;
	uint32_t n_more;         /* words of it behind those of the first slot */
	uint64_t more[7 * (TARN__REPLY_SLOTS - 1)];
	struct tarn__calls *calls; /* in the background (pending.c); NULL: none so far */
	uint64_t notice_seen;
	/* The channel of which RECVs are put off, see channel-recv.c. Set by this thread, by
	 * others only to NULL; hazard is it while this thread works on it outside of its
	 * own calls. */
	struct tarn_channel *deferring;
	struct tarn_channel *hazard;
	struct tarn__spin spin;
	uint64_t signals;        /* lanes that were asked to ring but need not: for people */
	bool closed;
	struct tarn__lane *next_all, *next_parked; /* parked or closed; without a client */

	/* From here on it outlives its client: structs are used again, and never freed. */
	uint64_t life;           /* grows each time the struct gets another lane */
	uint64_t owner;          /* SYNC lane-end: tarn__lane_owner() of its thread; 0: none */
};

struct tarn__here {
	uint64_t serial; /* of the client that @lane belongs to */
	struct tarn__lane *lane;
	bool entering;   /* getting a lane: a signal handler must not try it again */
};
extern __thread struct tarn__here tarn__here;

/* The calling thread, as no other is called while it lives, and whether it is giving its lane up. */
#define TARN__LANE_ENDING 1u
static inline uint64_t tarn__lane_owner(void) { return (uintptr_t)&tarn__here; }
static_assert(_Alignof(struct tarn__here) > TARN__LANE_ENDING, "a bit of the address is free");

/* Whether the call that is posted next is timed, for people: a look at the clock costs 25 ns, and a
 * quick call 200. So it is the first 8 of each thread, and 8 together of 1024 questions later. */
static inline bool tarn__lane_times_call(const struct tarn__lane *l)
{
	return (l->sequence & 1023u) < 8;
}
/* Somebody waited so long for the answer to a message of @kind. */
void tarn__lane_note_wait(struct tarn__lane *l, unsigned kind, uint64_t ns);

/* The calling thread's lane, or NULL: none yet, another client's, or a forked child. */
static inline struct tarn__lane *tarn__lane_mine(const struct tarn_client *c)
{
	/* Relaxed: the word changes only when it is wiped, in a process of its own. */
	return tarn__likely(tarn__here.serial == tarn__load_relaxed(&c->serial)) ? tarn__here.lane
										  : NULL;
}

static inline void tarn__lane_leave(struct tarn__lane *l)
{
	/* Only a signal handler of this thread looks at it: the compiler must keep
	 * the order, the processor does. */
	tarn__compiler_barrier();
	tarn__store32_relaxed(&l->busy, 0);
}
static inline bool tarn__lane_try(struct tarn__lane *l)
{
	if (tarn__unlikely(tarn__load32_relaxed(&l->busy)))
		return false;
	tarn__store32_relaxed(&l->busy, 1);
	tarn__compiler_barrier();
	return true;
}

/* Enters a call on @c: the thread's lane, opened if need be. -TARN_EFORKED, -EDEADLK from
 * a signal handler that interrupted a call, errors of opening a lane. */
int tarn__lane_enter_slow(struct tarn_client *c, struct tarn__lane **ret);
static inline int tarn__lane_enter(struct tarn_client *c, struct tarn__lane **ret)
{
	struct tarn__lane *l = tarn__lane_mine(c);

	if (tarn__likely(l != NULL) && tarn__lane_try(l)) {
		*ret = l;
		return 0;
	}
	return tarn__lane_enter_slow(c, ret);
}

/* Destructor of the thread's key. */
void tarn__lane_park(void *lane);
/* Takes the lanes from their threads: none gives its up from here on, and those that are at it are waited for. */
void tarn__lanes_disown(struct tarn_client *c);
/* Frees the private memory of all lanes; the client is closed. */
void tarn__lanes_free(struct tarn_client *c);

/* Drops lie on the backlog (see below). */
static inline bool tarn__backlog_any(const struct tarn_client *c)
{
	/* Relaxed: a hint. */
	return __atomic_load_n(&c->backlog, __ATOMIC_RELAXED) != NULL;
}

/* ---- posting ---- */

/* Wakes the server if it sleeps. After the post. True: it slept. */
bool tarn__lane_ring(struct tarn__lane *l);
/* The same by the client's own connection, where no other client can take it away as it can from the doorbell. It
 * costs more; for those who waited in vain for a while, or can look again only when they are told. */
void tarn__client_nudge(const struct tarn_client *c);
/* The lane passed its bell mark: looks at the head, rings if half is unread. */
void tarn__lane_bell(struct tarn__lane *l);
/* Waits until @need slots are free. -ETIMEDOUT, and as tarn__client_health(). */
int tarn__lane_room_slow(struct tarn__lane *l, unsigned need, uint64_t deadline);

static inline int tarn__lane_room(struct tarn__lane *l, unsigned need, uint64_t deadline)
{
	if (tarn__likely(tarn__requests_room(&l->requests, need) >= need))
		return 0;
	return tarn__lane_room_slow(l, need, deadline);
}

/* The same with a caller's time limit, which is meant for the peer: a server that is only busy
 * is waited for at least this long. */
#define TARN__BUSY_NS 1000000000
static inline int tarn__lane_room_for(struct tarn__lane *l, unsigned need, int64_t timeout_ns)
{
	if (tarn__likely(tarn__requests_room(&l->requests, need) >= need))
		return 0;
	if (timeout_ns >= 0 && timeout_ns < TARN__BUSY_NS)
		timeout_ns = TARN__BUSY_NS;
	return tarn__lane_room_slow(l, need, tarn__deadline(timeout_ns));
}

/* Posts a lazy message of one slot; the caller made sure of room. */
static inline void tarn__lane_post(struct tarn__lane *l, uint64_t header, uint64_t a, uint64_t b,
				   uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	tarn__requests_say(&l->requests, header, a, b, c, d, e, f);
	if (tarn__unlikely(l->requests.tail >= l->bell_at))
		tarn__lane_bell(l);
}

/* The same of up to TARN__MESSAGE_SLOTS slots. */
static inline void tarn__lane_post_silent(struct tarn__lane *l, const uint64_t *word,
					  unsigned slots)
{
	tarn__requests_post_long(&l->requests, (const uint64_t(*)[7])word, slots);
	if (tarn__unlikely(l->requests.tail >= l->bell_at))
		tarn__lane_bell(l);
}

/* A lazy message with up to six words. Waits for room. */
static inline int tarn__lane_say(struct tarn__lane *l, uint64_t header, uint64_t a, uint64_t b,
				 uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	int r = tarn__lane_room(l, 1, UINT64_MAX);

	if (tarn__likely(r == 0))
		tarn__lane_post(l, header, a, b, c, d, e, f);
	return r;
}

/* ---- asking ---- */

/* A cookie says how many reply slots it reserved, up to 14 or the most, and which cache bin or
 * call in the background asked. */
#define TARN__COOKIE_SLOTS 14u
static inline uint32_t tarn__cookie(uint32_t sequence, unsigned bin, unsigned slots)
{
	return sequence << 12 | bin << 4 | (slots <= TARN__COOKIE_SLOTS ? slots : 15u);
}
static inline unsigned tarn__cookie_slots(uint32_t cookie)
{
	unsigned n = cookie & 15u;

	return n <= TARN__COOKIE_SLOTS ? n : TARN__REPLY_SLOTS;
}
static inline unsigned tarn__cookie_bin(uint32_t cookie) { return cookie >> 4 & 255u; }

/* The next one. It is another for as many as there are numbers in a sequence. */
#define TARN__SEQUENCE_MOST 0xfffffu
static inline uint32_t tarn__lane_cookie(struct tarn__lane *l, unsigned bin, unsigned slots)
{
	/* From 1 on: a cookie of 0 means none. */
	l->sequence = tarn__likely(l->sequence < TARN__SEQUENCE_MOST) ? l->sequence + 1 : 1;
	return tarn__cookie(l->sequence, bin, slots);
}

/* A message under construction: the header and then payload words across slots. Calls, which
 * can be longer, write theirs into the ring themselves. */
#define TARN__ASK_SLOTS 4u
struct tarn__ask {
	uint64_t word[TARN__ASK_SLOTS][7];
	unsigned slots;
};
void tarn__ask_init(struct tarn__ask *a, enum tarn__message kind, unsigned count);
void tarn__ask_word(struct tarn__ask *a, unsigned at, uint64_t v);
void tarn__ask_bytes(struct tarn__ask *a, unsigned at, const void *bytes, size_t n);

/* Posts @a, rings and waits for the reply. Returns 0 with the reply in @ret (its error field
 * may be set: tarn__reply_error), or negative: -ETIMEDOUT, health. The bin matters for
 * ALLOC only. */
int tarn__lane_ask(struct tarn__lane *l, struct tarn__ask *a, unsigned reply_slots, unsigned bin,
		   uint64_t deadline, struct tarn__slot *ret);
/* Posts @a without waiting; false if there is no room for it or its reply now. */
bool tarn__lane_ask_later(struct tarn__lane *l, struct tarn__ask *a, unsigned reply_slots,
			  unsigned bin);

/* The three parts of tarn__lane_ask(), for messages that are no struct tarn__ask. The first waits
 * until there is room for a message of @slots and its reply. */
int tarn__lane_prepare(struct tarn__lane *l, unsigned slots, unsigned reply_slots,
		       uint64_t deadline);
/* Posts @word, whose header has kind and count, and returns its cookie. There is room. */
uint32_t tarn__lane_post_ask(struct tarn__lane *l, uint64_t *word, unsigned slots,
			     unsigned reply_slots, unsigned bin);

/*
 * The same in a few instructions, for what most messages are: a CALL of one slot. Or a CREATE.
 */
/* Nothing is in the way of one with @reply_slots for its reply. False: tarn__lane_prepare() has
 * something to do first. */
static inline bool tarn__lane_clear(struct tarn__lane *l, unsigned reply_slots)
{
	const struct tarn_client *c = l->client;

	/* Relaxed: hints, as in tarn__lane_prepare(). */
	return tarn__likely(!tarn__backlog_any(c) &&
			    __atomic_load_n(&c->n_parked, __ATOMIC_RELAXED) <= TARN__PARKED_MAX &&
			    tarn__load_relaxed(&l->area->signs.notice) == l->notice_seen &&
			    l->outstanding + reply_slots <= TARN__REPLIES &&
			    tarn__requests_room(&l->requests, 1) >= 1);
}

#define TARN__SHORT_ARGS 4u /* words */

/* Posts it. @word: its arguments, @n_words of them; @slots: reserved for the reply, which then has
 * the cookie that is returned; 0: one way. */
static inline uint32_t tarn__lane_post_call(struct tarn__lane *l, enum tarn__message kind,
					    uint64_t target, unsigned method,
					    unsigned slots, unsigned bin, const uint64_t *word,
					    unsigned n_words, unsigned n_values)
{
	uint32_t cookie = slots != 0 ? tarn__lane_cookie(l, bin, slots) : 0;

	l->outstanding += slots;
	tarn__requests_say(&l->requests, tarn__header(kind, 1, 0, cookie), target,
			   tarn__pack(method, n_values, 0, slots != 0 ? 0 : TARN__CALL_ONEWAY, slots,
				      n_words),
			   n_words > 0 ? word[0] : 0, n_words > 1 ? word[1] : 0,
			   n_words > 2 ? word[2] : 0, n_words > 3 ? word[3] : 0);
	if (tarn__unlikely(l->requests.tail >= l->bell_at))
		tarn__lane_bell(l);
	return cookie;
}

/* tarn__lane_ring() of a server that is awake most of the time. */
static inline void tarn__lane_knock(struct tarn__lane *l)
{
	/* SYNC sleep: as there. */
	tarn__post_barrier(l->client->fence);
	if (tarn__unlikely(tarn__load_relaxed(&l->client->ctrl->server_state) == 1))
		tarn__lane_ring(l);
}

/* Waits for the reply to the message posted last as l->awaited, of which the server was told by
 * tarn__lane_ring() or tarn__lane_knock() since; it is in l->answer, and in l->more. -ETIMEDOUT without a
 * sentence, health, -TARN_EEVICTED. */
int tarn__lane_await(struct tarn__lane *l, int64_t timeout_ns);

/* Waits until a reply has come, looking at the server now and then. May return without one.
 * -ETIMEDOUT without a sentence, health. */
int tarn__lane_wait_reply(struct tarn__lane *l, uint64_t deadline);

/* Waits for some reply to what was asked and not waited for, and takes it. */
int tarn__lane_reply_wait(struct tarn__lane *l, uint64_t deadline);

static inline int tarn__reply_error(const struct tarn__slot *s)
{
	return -(int)tarn__header_count(s->word[0]);
}

/*
 * Between polling and sleeping: yields, for some tens of microseconds. Where there are
 * fewer CPUs than busy processes, whom we wait for may be waiting for this CPU; a sleep
 * costs both sides a system call and a barrier. Ends early when a yield turned out to be
 * long: then the machine is busy with others, and a sleeper is sooner back than one who
 * yields. HOTPATH 3: half the rate without it.
 */
#define TARN__YIELD_NS 40000u
static inline bool tarn__yield_until(uint64_t *until)
{
	uint64_t now = tarn__now();

	if (*until == 0)
		*until = now + TARN__YIELD_NS;
	else if (now >= *until)
		return false;
	sched_yield();
	return true;
}

/* Takes all replies that have come. */
void tarn__lane_drain(struct tarn__lane *l);
/* Gives the cache back now, and those of parked lanes. False: there was nothing. */
bool tarn__lane_give_back(struct tarn__lane *l);
/* Gives the cache back if the server asked for it since the last look. */
void tarn__lane_notice(struct tarn__lane *l);

/* Posts what lies on the backlog, as far as there is room. */
void tarn__backlog_post(struct tarn__lane *l);
/* Puts a block whose last reference is gone where the next post finds it. Any context. */
void tarn__backlog_push(struct tarn_client *c, struct tarn_block *b);

#endif
