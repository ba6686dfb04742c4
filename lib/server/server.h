/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server process: META's tables plus what a process needs around them and can find
 * again after a restart.
 */
#ifndef TARN_SERVER_SERVER_H
#define TARN_SERVER_SERVER_H

#include <sys/types.h>

#include "access.h"
#include "children.h"
#include "lib/control.h"
#include "estate.h"
#include "facts.h"
#include "lib/host.h"
#include "loop.h"
#include "shm/lane.h"
#include "shm/wake.h"
#include "state.h"
#include "tarn/inspect.h"
#include "tarn/server.h"

/* The process's side of a client: descriptors and mappings. */
struct peer {
	struct server *server;
	uint32_t client;               /* index in META */
	int socket;                    /* -1: hung up */
	int pidfd;
	bool dead;                     /* the pidfd fired, or it detached; set by tarn__peer_died() */
	uint64_t calls_end_by;         /* until then its end is not told while its calls change containers */
	struct tarn__loop_watch socket_watch, pidfd_watch;
	uint64_t image;                /* of its program, see listen.c; 0 unknown */
	struct tarn__segment lanes;    /* LANE(c) */
	uint32_t lane[TARN__CLIENT_LANES]; /* lane records by number; NIL: not open */
	bool detach_asked;             /* answer once it is reclaimed */
	uint64_t detach_serial;        /* of the request */
	bool host;                     /* the server's own host of objects, or that of a server
					* before this one */
	uint64_t lanes_used;           /* lanes from here on have no memory */
	/* See tarn__peers_leave(). */
	struct peer *next_leaving;
	uint32_t leaving_pieces;       /* of the lanes' memory, which go one by one */
	uint32_t leaving_at;           /* steps done */
};

/* A connection that is not (yet) a client: somebody who asks. */
struct visitor {
	struct server *server;
	int socket;
	struct tarn__loop_watch watch;
	struct visitor *next;
	struct proof proof;
	int pidfd;                     /* while it is asked to speak: the process; else -1 */
	uint64_t challenge;            /* what it is to say; 0: it was not asked */
	uint64_t quota;                /* as asked for by ATTACH */
};

/* What the reactor needs to poll a lane; packed, so that a sweep over many lanes
 * reads few lines besides the lanes' own. */
struct lane_view {
	struct tarn__slot *requests;
	uint64_t position;             /* = META's, after the commit */
	uint64_t published_head;
	uint64_t published_replies;
	uint64_t epoch, limit;         /* in this epoch it is read below this position */
	uint32_t lane;                 /* record in META */
	bool stopped;                  /* not read any more: its client died and it is drained */
	bool wake;                     /* replies were published in this batch */
	int event;                     /* writing end of the lane's pipe, or -1 */
	uint32_t notified;             /* value of the client's notify word that it was told for */
};

/* An answer that waits for epochs to pass. */
struct waiter {
	struct waiter *next;
	uint64_t epoch;                /* answer when head->epoch has reached it */
	uint32_t kind;                 /* enum tarn__control */
	int socket;                    /* a duplicate */
	uint32_t client, number;       /* LANE_CLOSE */
	uint32_t incarnation;          /* of that client: the index may be another's by then */
	uint64_t argument;             /* REFS */
	uint64_t serial;               /* of the request */
};

#define HOT_LANES 8u
#define TOUCHED_MOST 512u

/* Of a line that strangers can bring about as often as they like. */
struct seldom {
	uint64_t next_ns; /* not before */
	uint64_t n;       /* times since the last one */
};

struct server {
	struct state st;
	struct tarn__ctrl *ctrl;
	struct tarn__segment ctrl_segment;
	int ctrl_readonly, dir_readonly, view_readonly; /* descriptors handed to clients */
	struct tarn__loop *loop;
	struct prefault *prefault;
	int listener, doorbell, stop_event, name_lock;
	char socket_path[108];         /* that was bound; "" for abstract names */
	char lock_path[120];           /* while name_lock is open */
	struct tarn__loop_watch listener_watch, doorbell_watch, stop_watch;
	struct peer *peer[MAX_CLIENTS];
	struct peer *leaving;          /* reclaimed, and not closed yet */
	uint32_t n_leaving;
	struct seldom refused, turned_away;
	struct visitor *visitors;
	struct waiter *waiters;

	struct lane_view *view;        /* open lanes, dense */
	uint32_t n_views, views_room;
	uint32_t view_at[MAX_LANES];   /* by lane: where its view is, or was; see tarn__view_of() */
	uint32_t hot[HOT_LANES];       /* views that were busy lately */
	uint32_t n_hot;
	bool deaths_unseen;            /* a peer is dead, and no epoch saw it yet: tarn__peer_died() */

	/* of the transaction in hand: published after its commit */
	uint32_t touched[TOUCHED_MOST];
	uint32_t n_touched;
	uint64_t inside;               /* object whose gate is left after it; 0: none */
	/* Words of DATA that follow the next commit, with what they become. */
	uint32_t n_later;
	struct {
		uint64_t *word, value;
	} later[TARN__LATER];

	/* of objects and calls; see calls.h */
	struct tarn__host *host;       /* NULL: a server without types */
	struct tarn__job *jobs;        /* of the transaction in hand: submitted after its commit */
	struct tarn__job **job;        /* by call record: what a successor does not know */
	struct waiting *waiting;       /* call records by lane, see calls.c */
	struct hint *hint;             /* by index of an object, see hints.h; NULL: there are none */
	struct errors *errors;         /* what methods threw, for people */
	uint64_t gather[7 * TARN__MESSAGE_SLOTS]; /* words of the message in hand, without marks */
	uint64_t collect_next_ns;      /* searches for cycles cost at most a share of the time */
	uint32_t collect_budget;
	uint64_t calls_inline, calls_queued, collected;

	bool stopping;
	bool sweeping;                 /* some channel has tickets to drop */
	bool cheap_look;               /* the loop can be looked at without a system call */
	uint32_t since_look;
	bool use_membarrier;
	bool kill_evicted;
	bool listener_given;           /* made by somebody else */
	struct access access;
	uint64_t eager;                /* eager messages so far */
	uint64_t spin_ns;
	char name[108];
	char backing_reason[128];
	char io_reason[TARN__LOOP_REASON];
	enum tarn__backing backing;
	uint64_t started_ns;
	uint64_t asked_ns;             /* when clients were last asked for their caches again */
	uint32_t n_waiting_dead;       /* clients whose reclaim waits for calls of executors, and nothing else */
	uint64_t next_deadline;        /* CLOCK_BOOTTIME of the first export to expire */
	tarn_log_fn *log;
	void *log_arg;
	int log_level;
	tarn_server_event_fn *event;
	void *event_arg;
	uint32_t n_visitors;
	int spare_fd;                  /* given up to turn a caller away when there are no more */

	struct tarn__segment view_segment;
	struct tarn__store *store;     /* contents of containers, in VIEW; NULL: a test's server */
	struct tarn__segment facts_segment;
	struct facts *facts;           /* NULL: a test's server without them */
	struct facts_client *facts_client;

	/* of replacement */
	int keeper;                    /* socket to it; -1: there is none (any more) */
	bool keeper_slow;              /* it let us wait in vain: it is stopped */
	uint32_t n_unsaid;             /* clients of whose end it could not be told: */
	uint64_t unsaid[MAX_CLIENTS / 64]; /* a bit each */
	struct tarn__loop_watch keeper_watch;
	const struct heritage *heritage; /* NULL: there never was a keeper */
	unsigned n_died;               /* entries of META's died[] */
	uint32_t advance_from;         /* the client behind which tarn__clients_advance() begins */
	bool gave_up;                  /* a call or telling in which the last servers died, for the keeper to know */
	uint64_t serial;               /* of the request in hand: goes with its answer */
	int no_host;                   /* errno with which calls that wait for executors are to be answered; 0 */
	bool interrupted;              /* calls that another server's executors had are to be
					* answered once that server's lanes are read */

	/* counted for people; not in META, not needed for correctness */
	uint64_t undo_high;            /* most words that one transaction changed */
	uint64_t messages, sleeps, wakeups, failed_allocs, evictions, deaths, stale;
};

void tarn__log(struct server *s, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A line of level 4 at most once a second, with how often since. */
void tarn__log_seldom(struct server *s, struct seldom *of, const char *what);

/* ---- apply.c: messages ---- */

/* Applies the message at the head of lane @v (its slots are copied in @slot, @n of them):
 * phase A, cursor, one transaction. */
void tarn__apply(struct server *s, struct lane_view *v, const struct tarn__slot *slot, unsigned n);
/* Applies one entry of the older buffer: phase B. Part of the caller's transaction. False: it
 * broke a rule (the caller rolls back and evicts). */
bool tarn__apply_deferred(struct server *s, const struct deferred *d);
/* Remembers to publish the DIR entry of @index after the commit. */
void tarn__touch(struct server *s, uint32_t index);
/* Commits, then publishes what the transaction touched. */
void tarn__commit(struct server *s);
/* Containers that the transaction changed: readers see it now, and what is free of it may be used. After
 * the commit, before anybody hears of that, and before the object's gate is left. */
static inline void tarn__settle(struct server *s, bool committed)
{
	if (tarn__unlikely(s->host != NULL && s->host->sealed != NULL))
		s->host->ops->settle(s->host, committed);
}
void tarn__rollback(struct server *s);
/* Writes a reply into META at the lane's cursor; published by tarn__publish_replies. */
void tarn__reply_put(struct server *s, struct lane_view *v, const uint64_t word[7]);

/* ---- grants.c ---- */
void tarn__grant_request(struct server *s, struct lane_view *v, const struct tarn__slot *slot);
/* Tries pending requests again; answers those whose time is over. */
void tarn__grants_retry(struct server *s);

/* ---- channels.c, exports.c, names.c: phase A of synchronous messages; 0 or -code ---- */
struct answer {
	uint64_t id, size, state, offset, length;
};
int tarn__channel_make(struct server *s, uint32_t client, uint64_t slots, uint64_t items, const char *name,
		       struct answer *ret);
int tarn__channel_bind(struct server *s, uint32_t client, uint64_t id, uint64_t role,
		       struct answer *ret);
/* The record of a channel object, NULL if @o is none. */
struct channel *tarn__channel_of(const struct state *st, const struct object *o);
/* An end leaves, by CLOSE or death. */
void tarn__channel_end_gone(struct server *s, struct channel *ch, enum tarn__role role);
/* The producer is dead, its positions are in the record: what reached nobody goes. */
void tarn__channel_producer_died(struct server *s, struct channel *ch);
/* More is on its way than the ring and the consumer's lanes can hold: the channel ends. */
void tarn__channel_overrun(struct server *s, struct channel *ch);
/* Its object has no claims left: both ends are gone, all tickets go. */
void tarn__channel_abandon(struct server *s, struct channel *ch);
bool tarn__channel_ticket_drop(struct server *s, struct channel *ch, uint64_t position,
			       uint64_t id, uint32_t client);
/* Drops tickets of closed ends in slices; commits by itself. True if there is more. */
bool tarn__channel_sweep(struct server *s, struct channel *ch);
/* Reads the ring's positions (untrusted) without touching DATA's mapping. */
void tarn__channel_positions(struct server *s, const struct channel *ch, uint64_t *ret_head,
			     uint64_t *ret_tail);
/* Wakes whoever sleeps on the ring. */
void tarn__channel_wake(struct server *s, const struct channel *ch);
/* A dead channel object leaves; its tickets are gone. Part of the caller's transaction. */
void tarn__channel_free(struct server *s, struct channel *ch);

int tarn__export_make(struct server *s, uint32_t client, const uint64_t *word,
		      uint64_t ret_nonce[2]);
int tarn__export_use(struct server *s, uint32_t client, uint64_t id, const uint64_t nonce[2],
		     struct answer *ret);
int tarn__export_revoke(struct server *s, uint64_t id, const uint64_t nonce[2]);
/* Ends exports whose deadline passed; commits by itself. */
void tarn__exports_expire(struct server *s);
void tarn__export_end(struct state *st, struct export *e);

struct name *tarn__name_record(const struct state *st, const char *text);
int tarn__name_add(struct state *st, const char *text, uint64_t id);
/* The record leaves, with what it holds. */
void tarn__name_end(struct state *st, struct name *n);
uint64_t tarn__name_find(const struct state *st, const char *text);
void tarn__name_drop(struct state *st, uint64_t id);

/* ---- clients.c: life cycle ---- */
struct newcomer {
	int socket, pidfd; /* the peer's own from its attach on */
	pid_t pid;
	uid_t uid;
	uint64_t quota;
	uint64_t image;
	bool host;
};
int tarn__client_attach(struct server *s, const struct newcomer *who, uint32_t *ret_client);
int tarn__lane_open(struct server *s, uint32_t client, uint32_t *ret_number);
void tarn__lane_close(struct server *s, uint32_t client, uint32_t number);
void tarn__evict(struct server *s, uint32_t client, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* @p is dead: its pidfd fired, it detached, or it can never be told. The next epoch sees it; all others need
 * not look at each client, of which there may have been thousands. */
static inline void tarn__peer_died(struct server *s, struct peer *p)
{
	p->dead = true;
	s->deaths_unseen = true;
}
/* Step 2 of an epoch: dead clients become DYING1. */
void tarn__clients_notice_deaths(struct server *s);
/* Step 6: DYING1 -> DYING2 -> RECLAIM, and slices of reclaiming. True if there is more. */
bool tarn__clients_advance(struct server *s);
/* The view of a lane that META has. -ENOMEM. */
int tarn__view_add(struct server *s, uint32_t lane);
struct lane_view *tarn__view_of(struct server *s, uint32_t lane);
struct tarn__lane_area *tarn__view_area(struct server *s, const struct lane_view *v);

/* ---- epoch.c ---- */
/* Phase A of one lane: until its first unpublished slot, at most one ring. Slots read. */
uint32_t tarn__lane_read(struct server *s, struct lane_view *v);
/* Phase B: applies the older buffer and lets the two change roles. True if it was not empty. */
bool tarn__apply_older(struct server *s);
/* One full epoch; true if it did anything. */
bool tarn__epoch(struct server *s);
/* Serves until stopped. */
void tarn__reactor(struct server *s);
/* Everything unread is applied, all decrements too, nobody is dying. */
bool tarn__quiet(const struct server *s);
/* Publishes the cursor of @v, and if there are replies, these; then whoever sleeps for them is woken. After the
 * commit. */
void tarn__lane_publish(struct server *s, struct lane_view *v);
/* Publishes replies of @v that META has and the ring has not. */
void tarn__publish_replies(struct server *s, struct lane_view *v);
/* Publishes all that is a function of META: after a start. */
void tarn__publish_all(struct server *s);

/* ---- listen.c: the control socket ---- */
int tarn__listen_open(struct server *s);
/* Makes the host of objects a client of this server. Sets the thread's last failure. */
int tarn__host_client(struct server *s);
void tarn__listen_close(struct server *s);
void tarn__answer(struct server *s, int socket, uint32_t kind, int error, const uint64_t *value,
		  unsigned n_values, const int *fds, unsigned n_fds, const char *text);
void tarn__waiters_answer(struct server *s);
/* A request of a client, or its hang-up; @arg is its peer. */
void tarn__on_client(void *arg, uint32_t events);

/* A lane whose LANE_CLOSE was read: closed some epochs later. False: no memory. */
bool tarn__lane_close_later(struct server *s, uint32_t client, uint32_t number);

/* The client is reclaimed: its number may be another's. What the process has of it is closed by
 * tarn__peers_leave(). */
void tarn__peer_leave(struct server *s, uint32_t client);
/* One step of that: a system call or two, as calls of others wait meanwhile. False: nobody is leaving. */
bool tarn__peers_leave(struct server *s);
/* All of it at once. */
void tarn__peer_free(struct server *s, uint32_t client);

/* ---- successor.c ---- */
/* Of the segments of a server that is dead the state, rolled back. With a sentence. */
int tarn__succeed_state(struct server *s);
/* Once the types are known: its clients, objects, exports. With a sentence. */
int tarn__succeed_clients(struct server *s);
/* Last: says everything again that a client may have missed. */
void tarn__succeed_publish(struct server *s);
/* Answers the calls that nobody runs any more, when it is time. */
void tarn__succeed_calls(struct server *s);
/* The call that is the next message of @v's lane was begun by a server that died. NULL: it was not. */
const struct died *tarn__died_in(const struct server *s, const struct lane_view *v);
/* The lane's position is committed: its caller was told. */
void tarn__died_told(struct server *s, const struct lane_view *v);
/* The keeper is watched. 0 or negative. */
int tarn__keeper_watch(struct server *s);

/* ---- attach.c ---- */
void tarn__peer_watch(struct server *s, struct peer *p);
/* A welcome again, to one that did not hear of it. */
void tarn__welcome(struct server *s, struct peer *p, uint32_t kind);
/* ATTACH and HERE of a visitor that may; @who connected, @sender spoke. True: it has become a
 * client, and the visitor is to be freed. */
bool tarn__attach(struct server *s, struct visitor *v, const struct tarn__request *q,
		  const struct ucred *who);
bool tarn__attach_here(struct server *s, struct visitor *v, const struct tarn__request *q,
		       const struct ucred *who, const struct ucred *sender);
/* A hang-up that is the exec() of another program. */
bool tarn__peer_executed(const struct server *s, const struct peer *p);

/* ---- socket.c: the listening socket ---- */
/* @listen_fd > 0: that one. Failures come with a sentence. */
int tarn__socket_open(struct server *s, int listen_fd);
void tarn__socket_close(struct server *s);
/* That of a server that is dead. */
int tarn__socket_inherit(struct server *s);

/* ---- contents.c: VIEW ---- */
int tarn__contents_open(struct server *s);
void tarn__contents_close(struct server *s);
/* Commits by itself: an object that ends without a destructor of its own has no contents any more. */
void tarn__contents_drop(struct server *s, struct thing *t);
/* A change of what @t has, in the transaction in hand. One that is older than what it has is none. */
void tarn__contents_set(struct state *st, struct thing *t, const struct thing_root *to);
/* contents-succeed.c: those of a server that is dead become this one's. With a sentence. */
int tarn__contents_succeed(struct server *s);
/* The contents of containers, of a quiet arena (else 0): as tarn__verify(). @store may be NULL. @alone:
 * nobody works on them, so what can be said of them is checked in any arena. */
int tarn__contents_verify(struct tarn__store *store, const struct state *st, bool alone,
			  void (*say)(void *, const char *), void *arg);

/* ---- query.c, verify.c ---- */
int tarn__query(struct server *s, uint32_t kind, uint64_t argument, int *ret_fd,
		uint64_t *ret_rows);
/* What a question is answered from: the server's own tables, or a copy of them. */
struct sight {
	const struct state *st;
	const struct facts *facts; /* may be NULL */
	uint64_t now_ns;           /* CLOCK_BOOTTIME of what is seen */
	struct tarn__store *store; /* NULL: contents of containers are not to be seen */
};
/* query-objects.c: the kinds that are about objects and calls. @s NULL: of a copy, which has no
 * previews, no names of methods and no errors (-ENOTSUP). */
int tarn__query_objects(const struct sight *sight, struct server *s, uint32_t kind, int *ret_fd,
			uint64_t *ret_rows);
int tarn__query_sight(const struct sight *sight, uint32_t kind, uint64_t argument, int *ret_fd,
		      uint64_t *ret_rows);
/* Recomputes everything; one line per finding to @say. Returns findings. */
int tarn__verify(const struct state *st, void (*say)(void *, const char *), void *arg);

#endif
