/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server knows: the tables of META.
 *
 * The reactor thread is the only writer (I1). Every field is changed with
 * tarn__set() inside a transaction unless its comment says "unlogged"; what the
 * process needs besides (descriptors, watches, the list of busy lanes) can be
 * found again from here and lies in struct server.
 *
 * Tables are sparse arrays of their final size; "reserved" counts the entries
 * whose memory is committed. Growing commits memory first and then counts it,
 * so a crash between the two only reserves again.
 */
#ifndef TARN_SERVER_STATE_H
#define TARN_SERVER_STATE_H

#include "shm/id.h"
#include "shm/layout.h"
#include "shm/meta.h"
#include "shm/owner.h"
#include "shm/segment.h"
#include "shm/sizeclass.h"

#define NIL 0u /* index 0 of every table is unused */

/* Most entries of each table: address space, not memory. */
#define MAX_CLIENTS 4096u
static_assert(MAX_CLIENTS <= TARN__OWNER_CLIENT + 1, "owners are named by client");
#define MAX_LANES 16384u
#define MAX_CHANNELS 65536u
#define MAX_EXPORTS 65536u
#define MAX_NAMES 65536u
#define MAX_CLAIMS (1u << 24)
#define MAX_BUCKETS (1u << 23)
#define MAX_DEFERRED (MAX_LANES * TARN__REQUESTS)
#define MAX_EDGES (1u << 24)
#define MAX_CALLS (1u << 16)
#define MAX_WINDOWS (1u << 17)

enum object_state {
	OBJECT_UNUSED = 0, /* in the list of free indices, or never used; no memory */
	OBJECT_FREE,       /* owns memory in the heap, waits for a grant */
	OBJECT_GRANTED,    /* in a client's cache, no message named it yet */
	OBJECT_LIVE,
	OBJECT_DEAD,       /* no counts left; the reaper has not come yet */
	OBJECT_RETIRED,    /* its generation is used up: never again */
};

enum object_flag {
	OBJECT_LARGE = 1,  /* a run of heap pages, not a slot of a span */
	OBJECT_SEALED = 2, /* contents are final; receivers get a read-only view */
	OBJECT_SIZED = 4,  /* size is what a client said, not the capacity */
	OBJECT_WATCHED = 8, /* somebody waits for its end, or seal */
};

/* One cache line. next/place/class belong to the heap. */
struct object {
	uint64_t id;       /* generation << 28 | own index: the id it has or last had */
	uint32_t ext;      /* units + tickets + exports + held ends (I2) */
	uint32_t edges;    /* references that objects hold (struct edge) */
	uint64_t offset;   /* of its memory in DATA */
	uint64_t size;     /* exact bytes as the owner said; capacity until then */
	struct holder {
		uint32_t client; /* NIL: free place */
		uint32_t units;
	} holder[2];       /* the first two holders; more are claims */
	uint32_t next;     /* list of free indices, of a span's free slots, of the dead */
	uint32_t place;    /* span of a slot; pages of a large run */
	uint32_t owner;    /* client it was granted to and whose quota pays; NIL: nobody */
	uint16_t spilled;  /* (half word; set with set_packed) units of further holders' claims */
	uint8_t state;     /* enum object_state */
	uint8_t kind_flags; /* kind << 4 | flags */
};
static_assert(sizeof(struct object) == 64, "one line");
static_assert(offsetof(struct object, spilled) == 60, "half word");
static_assert(offsetof(struct object, next) % 8 == 0, "next and place: one logged word");
static_assert(offsetof(struct object, owner) % 8 == 0, "owner and state: one logged word");

/* state, kind, flags and spilled share one 32-bit word so that one logged store
 * changes them together. */
struct object_word {
	uint16_t spilled;
	uint8_t state;
	uint8_t kind_flags;
};

enum client_state {
	CLIENT_NONE = 0,
	CLIENT_ACTIVE,
	CLIENT_EVICTED, /* broke a rule: not read any more, keeps what it holds until its death */
	CLIENT_DYING1,  /* death seen in this epoch */
	CLIENT_DYING2,  /* one full epoch ago */
	CLIENT_RECLAIM, /* two: being taken apart, in slices */
};

struct client {
	uint32_t state;
	uint32_t incarnation; /* grows each time the record is used */
	uint32_t pid;         /* as the server's pid namespace sees it; 0 unknown */
	uint32_t uid;
	uint64_t start_ns;    /* CLOCK_BOOTTIME of the attach */
	uint64_t held;        /* distinct ids with units of this client */
	uint64_t credits;     /* how many it may hold (I19) */
	uint64_t owned;       /* objects whose owner is this client */
	uint64_t owned_bytes; /* their capacities; what the quota limits */
	uint64_t quota;       /* bytes; 0 = no limit */
	uint32_t lanes;       /* open lanes */
	uint32_t exports;     /* live export tickets issued */
	uint32_t reclaim_step;
	uint32_t reclaim_pad;
	uint64_t reclaim_at;  /* next entry that the reclaim looks at */
	char name[16];        /* of the process, as /proc says; set at attach */
	uint32_t calls;       /* call records in which it is the client */
	uint32_t names;       /* names that end with it */
	uint32_t departed_at; /* the next thing that is told that it is gone; NIL: none */
	uint32_t records;     /* call records that came of its messages, whoever waits for them */
	uint64_t departed_from; /* how far that thing is with it, by its own count; 0: not told yet */
};
static_assert(sizeof(struct client) == 128, "two lines");

struct lane {
	uint32_t client;      /* NIL: the record is free */
	uint32_t number;      /* which lane of that client: its place in LANE(c) */
	uint64_t position;    /* A: messages below it are applied (phase A) */
	uint64_t replies;     /* replies written */
	uint64_t wanted;      /* bytes of a pending ALLOC; 0 = none */
	uint64_t wanted_header; /* the request's header word: count, cookie */
	uint64_t wanted_align;
	uint64_t wanted_until; /* CLOCK_MONOTONIC ns: answer -ENOMEM then */
	uint32_t next;        /* list of free records */
	uint32_t closing;     /* LANE_CLOSE read, waits for its phase B */
};
static_assert(sizeof(struct lane) == 64, "one line");

/* A decrement that waits for the end of the next epoch (I6). */
struct deferred {
	uint32_t kind;   /* enum tarn__message */
	uint32_t client;
	uint64_t id;     /* object, or channel of a ticket */
	uint64_t at;     /* position of a ticket; RELEASE: how often it was put off */
	uint64_t units;  /* RELEASE: units; RECV, ABSORB: the id that the ticket should name */
};
static_assert(sizeof(struct deferred) == 32, "half a line");

/*
 * A claim is one entry of the book: further holders of an object, and tickets
 * for which a channel's window has no place (tickets.h), in one hash table with linear
 * hashing (Litwin 1980), so that it grows one bucket at a time.
 *	holder: who = client,               what = id,       value = units
 *	ticket: who = CLAIM_TICKET | index, what = position, value = id
 *	edge:   who = CLAIM_EDGE | thing,   what = id,       value = edge record
 * index = line of the channel's object (a channel's tickets are gone before its
 * index is used again). An edge is counted in edges, not in ext.
 */
#define CLAIM_TICKET (1u << 31)
#define CLAIM_EDGE (1u << 30)
/* Messages of one lane that are unread or deferred: one ring unread, one ring in each buffer.
 * Each can keep a claim alive that its sender has already given up. */
#define CREDITS_MOST (MAX_CLAIMS / 4) /* of one client: others need room, too */
#define LANE_CLAIMS (3ull * TARN__REQUESTS)
/* Room in the book that is promised for @lanes lanes of a client. One ring less than all that:
 * when a client's message books an id for it, what it posted before in the same lane is read; and
 * a channel's window is longer than its ring by as much (tickets.h). */
static inline uint64_t lanes_claims(uint64_t lanes)
{
	return lanes != 0 ? lanes * LANE_CLAIMS - TARN__REQUESTS : 0;
}
struct claim {
	uint32_t who;  /* 0: free */
	uint32_t next; /* chain of the bucket, or list of free claims */
	uint64_t what;
	uint64_t value;
};
static_assert(sizeof(struct claim) == 24, "small: thousands are promised to each client");
static_assert(offsetof(struct claim, next) == 4, "who and next: one logged word");
static_assert(TARN__INDEX_BITS < 30 && MAX_CLIENTS < CLAIM_EDGE, "who");

/* A unit of the windows in which tickets lie, see tickets.h. */
#define WINDOW_UNIT 1024u
#define WINDOW_SIZES 12u /* of one unit to twice those of the largest ring: powers of two */
struct ticket_unit {
	uint64_t id[WINDOW_UNIT]; /* of what is on its way; 0: no ticket */
};
static_assert((WINDOW_UNIT << (WINDOW_SIZES - 1)) == 2 * TARN__CHANNEL_MAX, "sizes of windows");
static_assert(WINDOW_UNIT >= TARN__REQUESTS, "a window is a ring and a lane's ring long");

enum end_state {
	END_NEVER = 0, /* nobody took this end yet */
	END_HELD,
	END_GONE,      /* closed or dead; never taken again (H9) */
};

struct channel {
	uint64_t id;       /* of its object; 0: the record is free */
	uint32_t capacity; /* slots of the ring */
	uint32_t tickets;  /* on their way, in window and book */
	struct end {
		uint32_t client;
		uint32_t state;
	} producer, consumer;
	uint64_t sent;       /* position of the next SEND */
	uint64_t low;        /* no ticket below this position */
	uint64_t death_head; /* positions read when the producer's death was seen */
	uint64_t death_tail;
	uint32_t next;       /* list of free records */
	uint32_t sweep;      /* enum sweep: tickets to drop, in slices */
	uint64_t sweep_at;   /* next position that the sweep looks at */
	uint64_t sweep_from; /* epoch after which it may begin, see channels.c */
	uint32_t window;     /* first unit of its window */
	uint32_t spilled;    /* tickets in the book */
	uint64_t spare[4];
};
static_assert(sizeof(struct channel) == 128, "two lines");

/* ---- objects ---- */

enum thing_flag {
	THING_MADE = 1,       /* its creator has succeeded: its destructor will run */
	THING_DESTROYING = 2, /* DEAD, on the dead list no more: its destructor is running */
	THING_PARKED = 4,     /* DEAD, on the dead list no more: others of its cycle hold it */
	THING_ENDED = 8,      /* its destructor has run, or it has none */
	THING_MAKING = 16,    /* its creator is an executor's: calls stand in line behind it */
	THING_ATTENDS = 32,   /* in the list of those that are told when a client is gone */
	THING_LOST = 64,      /* its type is TARN_TYPE_PRIVATE, and its server process is no more */
};

/* What an object is besides memory and counts: found by channel_of[] of its index. */
struct thing {
	uint64_t id;       /* of its object; 0: the record is free */
	uint64_t created;  /* grows by one with each object: the order of creation */
	uint32_t type;     /* index in the server's types */
	uint32_t flags;    /* enum thing_flag */
	uint32_t edge;     /* first of its edges; a list */
	uint32_t n_edges;
	uint32_t creator;  /* client, for people */
	uint32_t next;     /* list of free records */
	uint32_t attend_next; /* list of those whose type has departed() */
	uint32_t attend_prev;
	/* Of a container: what its line in VIEW leads to as soon as this is committed (contents.c). The
	 * line, which readers go by, follows after the commit. */
	struct thing_root {
		uint64_t version; /* of that line, even; 0: it has no contents */
		uint64_t order, index, next, kind; /* as in struct tarn__view_root */
	} root;
	uint64_t spare;
};
static_assert(sizeof(struct thing) == 96, "what most look at is in its first 32 bytes: in one line");
static_assert(offsetof(struct thing, attend_next) % 8 == 0, "a pair: one logged word");

/* A reference that an object holds: @count times, one record. In the book as CLAIM_EDGE. */
struct edge {
	uint64_t to;    /* id; its object has count of its edges from here. 0: free */
	uint32_t from;  /* thing */
	uint32_t count;
	uint32_t next;  /* list of the thing, of free records */
	uint32_t prev;
	uint64_t pad;
};
static_assert(sizeof(struct edge) == 32, "half a line");

#define WATCHED_SEAL UINT32_MAX /* no incarnation comes that far */

enum call_state {
	CALL_FREE = 0,
	CALL_RUNNING, /* queued, or in the hands of an executor */
	CALL_DONE,    /* its result was read; the host's units go one epoch later */
	CALL_WATCH,   /* no call: answered when its target is gone */
	CALL_STASH,   /* no call: references of a reply, to be fetched */
};

/* A question that is answered later than it was read. The units that keep a call's target and
 * references alive are the host's in the ledger; which they are, the process knows (calls.c):
 * where a successor finds no process, the host is dead and reclaimed. */
struct call {
	uint64_t number;      /* serial << 16 | own index */
	uint64_t target;      /* id; WATCH: or a client's number */
	uint64_t started_ns;  /* CLOCK_BOOTTIME */
	uint32_t state;       /* enum call_state */
	uint32_t client;      /* who asked; NIL: nobody waits (any more) */
	uint32_t incarnation; /* of that client; WATCH of a client: see watched */
	uint32_t lane;        /* record */
	uint32_t cookie;
	uint32_t packed;      /* method | reply slots << 16 | kind of message << 24 */
	uint32_t watched;     /* WATCH: 0 an id; WATCHED_SEAL; else incarnation of the client + 1 */
	uint32_t next;        /* list of free records */
	uint32_t type;
	uint32_t payer;       /* client among whose records it is, as long as its incarnation is this */
};
static_assert(sizeof(struct call) == 64, "one line");
static_assert(offsetof(struct call, type) % 8 == 0, "type and payer: one logged word");

struct export {
	uint64_t id;      /* 0: the record is free */
	uint64_t nonce[2]; /* random; the token must show both */
	uint64_t view_offset;
	uint64_t view_size;
	uint64_t deadline; /* CLOCK_BOOTTIME ns; 0 = none */
	uint32_t uses;     /* left; EXPORT_UNLIMITED */
	uint32_t issuer;   /* client, when it dies with its issuer; else NIL */
	uint32_t next;     /* list of free records */
	uint32_t flags;
};
static_assert(sizeof(struct export) == 64, "one line");
#define EXPORT_UNLIMITED 0xffffffffu

struct name {
	uint64_t id; /* 0: the record is free */
	char text[TARN__NAME_BYTES];
	uint32_t next;
	uint32_t holds;  /* 1: it counts in ext (NAME); 0: it goes with its object (CHANNEL) */
	uint32_t issuer; /* client with whom it ends; NIL: it stays */
	uint32_t pad;
};
static_assert(sizeof(struct name) == 88, "name");

/* ---- heap (heap.c, heap-runs.c) ---- */

enum run_state {
	RUN_NONE = 0,
	RUN_WARM,  /* free, its memory is committed */
	RUN_COLD,  /* free, may have holes */
	RUN_SPAN,  /* next: the span */
	RUN_LARGE, /* next: the object */
	RUN_HELD,  /* a helper thread is committing it (heap.held_first) */
};

/* One entry per heap page; only the first and last page of a run are kept up, the
 * links in the first alone. Pairs of fields share one logged word. */
struct run {
	uint32_t pages; /* of the run; in its first and last page */
	uint32_t state; /* enum run_state, in its first and last page */
	uint32_t next;  /* bin list of free runs: page numbers + 1; else the owner */
	uint32_t prev;
};
static_assert(sizeof(struct run) == 16, "quarter line");

enum span_state {
	SPAN_NONE = 0, /* the record is free */
	SPAN_ACTIVE,   /* in the partial list of its class unless all slots are used */
	SPAN_IDLE,     /* without users, kept for its class */
	SPAN_RETIRING, /* without users, being dismantled */
};

/* Pairs of fields share one logged word: used and free change together. */
struct span {
	uint32_t state; /* enum span_state */
	uint32_t cls;
	uint32_t first_page;
	uint32_t pages;
	uint32_t slots;
	uint32_t carved; /* slots that have an object; the others follow them */
	uint32_t used;   /* slots GRANTED, LIVE or DEAD */
	uint32_t free;   /* list of its FREE (and RETIRED) objects */
	uint32_t next;   /* partial: a ring; idle, retiring, free records: a stack */
	uint32_t prev;   /* partial only */
	uint64_t spare[3];
};
static_assert(sizeof(struct span) == 64, "one line");

/* Bins of free runs: exact below 16 pages, above that 16 per doubling, up to 2^26 pages. */
#define RUN_BINS 368u
#define RUN_BIN_WORDS 6u
static_assert(RUN_BINS <= RUN_BIN_WORDS * 64, "one bit per bin");
struct run_bins {
	uint64_t map[RUN_BIN_WORDS]; /* bit b: head[b] is not empty */
	uint32_t head[RUN_BINS];     /* page number + 1 */
};

struct heap {
	uint64_t pages;          /* of the arena: its cap */
	uint64_t top;            /* runs tile [0, top); pages from here on are cold */
	uint64_t committed;      /* bytes of DATA that are reserved (backed) now: runs in use
				  * and warm runs */
	uint64_t used;           /* bytes in GRANTED, LIVE or DEAD objects: capacities */
	uint64_t watermark;      /* free committed bytes kept: warm_free + idle_bytes */
	uint64_t warm_free;      /* bytes in warm runs */
	uint64_t idle_bytes;     /* bytes in idle spans */
	uint32_t held_first;     /* pages that a helper thread is committing: neither free */
	uint32_t held_pages;     /* nor used; 0: none */
	uint32_t partial[TARN__SMALL_CLASSES]; /* ring of spans with a free slot */
	uint32_t idle[TARN__SMALL_CLASSES];    /* spans without users, not in partial */
	struct run_bins warm;
	struct run_bins cold;
	uint32_t retiring;       /* spans without users, being dismantled */
	uint32_t free_span;
	uint32_t spans;          /* records ever used + 1 */
	uint32_t spans_reserved;
	uint32_t free_index;     /* list of object indices without memory */
	uint32_t objects;        /* indices ever used + 1 */
	uint32_t objects_reserved; /* table (and DIR) entries whose memory is committed */
	uint32_t runs_reserved;
};
static_assert(sizeof(struct heap) % 8 == 0, "whole words");

/* ---- the head ---- */

#define RUNNING_SAVED 4096u /* bytes; of larger instances nothing is saved */
#define RUNNING_NOTES (RUNNING_SAVED / 16u)
#define AGAIN_MOST 8u      /* so often a method of Tarn's own types is begun: perhaps it is the reason */
#define RUNNING_OWN 1u
#define RUNNING_BOOKS 2u   /* likewise; what others hold rests on it: it is cut short before it is given up */
#define BOOKS_WHOLE 4u     /* so often such a method is begun again as it is, */
#define BOOKS_MOST 6u      /* and so often with those where it is cut short (tarn__context_is_brief()) */
#define TOLD_MOST 5u       /* so many servers are killed while they tell one object of one client's end */
#define DIED_MOST 32u

struct state_head {
	struct tarn__undo undo; /* first: a successor finds it before it knows more */

	/* Written once at creation. */
	uint64_t magic;
	uint64_t layout;       /* layout hash */
	uint64_t meta_layout;  /* the same of META's own tables */
	uint64_t uuid[2];
	uint64_t seed;         /* of the claims' hash */
	uint64_t arena_bytes;
	uint64_t max_objects;
	uint64_t default_quota;
	uint64_t at_objects, at_clients, at_lanes, at_replies, at_deferred[2], at_claims,
		at_buckets, at_windows, at_channels, at_channel_of, at_exports, at_names, at_runs,
		at_spans, at_things, at_edges, at_calls;
	uint64_t meta_bytes;

	/* Epochs: two buffers of decrements, the one being filled and the one read
	 * in the epoch before. Entries below n_deferred are valid. */
	uint64_t filling;        /* 0 or 1 */
	uint64_t n_deferred[2];
	uint64_t done;           /* entries of the older buffer that are applied */
	uint64_t epoch;          /* full epochs so far */

	struct heap heap;
	uint32_t dead;           /* first of the dead list */
	uint32_t dead_last;
	uint64_t n_dead;

	uint32_t free_lane, lanes;       /* records: free list, ever used + 1 */
	uint32_t lanes_reserved, open_lanes;
	uint32_t free_channel, channels;
	uint32_t free_export, exports;
	uint32_t free_name, names;
	uint32_t clients_used;           /* highest client index used + 1 */
	uint32_t n_clients;              /* records not NONE */
	uint32_t channels_reserved, exports_reserved, names_reserved, clients_reserved;

	uint32_t free_claim, claims;     /* list; ever used + 1 */
	uint32_t claims_reserved, n_claims;
	uint32_t buckets, buckets_reserved; /* linear hashing: buckets in use */
	uint32_t windows, windows_reserved; /* units ever used + 1 */
	uint32_t free_window[WINDOW_SIZES + 1]; /* lists, by log2 of their units */
	uint64_t claims_promised;        /* reserve that credits and lanes rely on */

	uint64_t n_live, n_granted;      /* objects in these states */
	uint64_t n_pending;              /* lanes with a pending ALLOC */
	uint64_t n_dying;                /* clients in DYING1, DYING2, RECLAIM */
	uint64_t n_exports, n_outliving, n_channels, n_names;

	uint32_t free_thing, things;     /* records: free list, ever used + 1 */
	uint32_t free_edge, edges;
	uint32_t free_call, calls;
	uint32_t things_reserved, edges_reserved, calls_reserved;
	uint32_t host;                   /* client of this process's own executors; NIL: none */
	uint32_t attending, n_attending; /* things whose type has departed(): first, how many */
	uint64_t n_things, n_edges, n_calls, n_watches;
	uint64_t n_aside;                /* DEAD objects that are not on the dead list */
	uint64_t things_made;            /* ever: the order of creation */
	uint64_t calls_made;             /* ever: their serial numbers */
	uint64_t told;                   /* ever: parts of departed() that are committed */
	uint64_t types_hash;             /* of all types that this arena's servers have; 0: not yet */

	/* The message whose inline method is running, set without the log before the method begins and
	 * cleared after the commit: a successor that finds it with the lane's position where it was
	 * does not run that call again. */
	struct running {
		uint64_t position;
		uint32_t lane;           /* NIL: none */
		uint32_t own;            /* RUNNING_...: of one of Tarn's types, and may be begun again */
		/* The instance as it was: the successor puts it back, so that such a call has not been. */
		uint64_t id, saved_bytes; /* 0: it is not here */
		uint64_t notes;           /* or: words of DATA as they were, the oldest first */
		union {
			unsigned char saved[RUNNING_SAVED];
			struct {
				uint64_t offset, was;
			} note[RUNNING_NOTES];
		};
	} running;

	/* By successors, before they read a message: that which was begun again last, and how often. Not logged: a
	 * successor that is killed in between counts the same death twice, or begins to count, and no more. */
	struct {
		uint64_t position;
		uint32_t lane, incarnation; /* of the lane's client: lanes are used again */
		uint64_t times;
	} again;

	/* The object that is just told that a client is gone; likewise not logged. What it says of words that it
	 * changes is in running.note: no message's method runs meanwhile. */
	struct telling {
		uint32_t client;         /* NIL: none is */
		uint32_t thing;
		uint64_t told;           /* as above, when it began: is it the same still, that was not committed */
		uint64_t kills;          /* servers that were killed in it so far */
	} telling;

	/* Calls in which a server died, until their callers are told: not logged either. One a death,
	 * and a server that gets to the end of an epoch has told all. */
	struct died {
		uint64_t position;
		uint32_t lane;           /* NIL: none */
		uint16_t signal;         /* of which the server died */
		uint16_t undone;         /* 1: the instance was put back */
	} died[DIED_MOST];
};

static_assert(offsetof(struct state_head, dead) % 8 == 0, "dead and dead_last: one logged word");

/* The process's view of META. */
struct state {
	struct tarn__meta meta;
	struct state_head *head;
	struct object *object;
	struct client *client;
	struct lane *lane;
	struct tarn__slot *replies; /* TARN__REPLIES per lane */
	struct deferred *deferred[2];
	struct claim *claim;
	uint32_t *bucket;
	struct ticket_unit *window;
	struct channel *channel;
	uint32_t *channel_of; /* object index -> channel record, or thing: sparse */
	struct export *export;
	struct name *name;
	struct run *run;
	struct span *span;
	struct thing *thing;
	struct edge *edge;
	struct call *call;
	/* Private to the process. */
	bool watched_gone; /* something with OBJECT_WATCHED has ended, or is sealed */
	struct suspects {  /* objects that lost a claim and may be held by cycles only: collect.c */
		uint32_t *index;
		uint32_t n, room;
	} suspects;
	struct tarn__segment meta_segment, data, dir_segment;
	/* Bytes of DATA to commit at most, together with those of containers; 0: as many as the cap. By the reactor;
	 * executors read it, too. And how many there are when it is looked at again (0: never), and when it last was. */
	uint64_t data_most, look_at, looked_ns;
	const struct tarn__store_part *view_part; /* those; NULL: none */
	uint64_t refused; /* as there, at that last look */
	struct tarn__dir_entry *dir;
	uint32_t *born; /* by object: the tick when it became LIVE (facts.h); NULL: nobody keeps it */
	uint32_t tick;
};

#define SET(st, field, v) tarn__set(&(st)->meta, &(field), (v))

/* Creates META for an arena of @arena_bytes with at most @max_objects objects, in
 * @backing; DIR and DATA are created beside it. 0 or negative errno. */
int tarn__state_create(struct state *st, enum tarn__backing backing, uint64_t arena_bytes,
		       uint64_t max_objects);
/* Takes over the segments META, DIR and DATA of an arena whose server is dead, and rolls back what
 * that had not committed. -EPROTO: they are another version's. */
int tarn__state_inherit(struct state *st, struct tarn__segment meta, struct tarn__segment dir,
			struct tarn__segment data);
/* Maps the tables of an existing META (after a restart, or a copy of it for a check). */
int tarn__state_adopt(struct state *st, unsigned char *base, uint64_t bytes);
void tarn__state_close(struct state *st);

/* Commits META memory so that table entries below @entries may be touched; grows in
 * steps. -ENOSPC, -ENOMEM: nothing changed. The caller commits. */
int tarn__state_reserve(struct state *st, void *table, size_t entry_bytes, uint32_t *reserved,
			uint64_t entries);

static inline void commit(struct state *st)
{
	tarn__meta_commit(&st->meta);
}

/* Two neighbouring 32-bit fields, the first at a multiple of 8, in one logged word. */
static inline void pair_set(struct state *st, uint32_t *first, uint32_t a, uint32_t b)
{
	tarn__meta_set64(&st->meta, (uint64_t *)(void *)first, (uint64_t)a | (uint64_t)b << 32);
}

static inline struct object_word object_word(const struct object *o)
{
	return (struct object_word){ o->spilled, o->state, o->kind_flags };
}
static inline void object_word_set(struct state *st, struct object *o, struct object_word w)
{
	uint32_t packed = (uint32_t)w.spilled | (uint32_t)w.state << 16 |
			  (uint32_t)w.kind_flags << 24;

	tarn__meta_set32(&st->meta, (uint32_t *)(void *)&o->spilled, packed);
}
/* Owner, spilled, state, kind and flags are one word: one logged store for a grant. */
static inline void object_owner_word_set(struct state *st, struct object *o, uint32_t owner,
					 struct object_word w)
{
	uint32_t packed = (uint32_t)w.spilled | (uint32_t)w.state << 16 |
			  (uint32_t)w.kind_flags << 24;

	pair_set(st, &o->owner, owner, packed);
}
static inline void object_state_set(struct state *st, struct object *o, enum object_state s)
{
	struct object_word w = object_word(o);

	w.state = (uint8_t)s;
	object_word_set(st, o, w);
}
static inline enum tarn__kind object_kind(const struct object *o)
{
	return (enum tarn__kind)(o->kind_flags >> 4);
}
static inline unsigned object_flags(const struct object *o)
{
	return o->kind_flags & 15u;
}

#endif
