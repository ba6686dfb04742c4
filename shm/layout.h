/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients and the server see of each other: CTRL, DIR, LANE and the rings
 * of channels. Every field says who writes it; every struct is pinned, and a hash
 * of all sizes and offsets is compared at attach (layout.c).
 *
 * Segments: CTRL and DIR are written by the server and read-only for clients.
 * LANE(c) belongs to client c and the server. Channel rings are blocks in DATA.
 *
 * Publication in the slot: a message of 64 bytes carries a mark in its last word,
 * position + 1, stored last with release. A reader knows the next position, so
 * one line crosses per message, no tail is polled, and nothing is ever cleared:
 * marks of other laps differ. (Idea: Lamport's sequence words as in Disruptor
 * and iceoryx queues; measured in HOTPATH: 30 ns better than a tail word.)
 * Of a message of several slots the first mark is stored last, so "published" is
 * the longest prefix of marked slots.
 */
#ifndef TARN_SHM_LAYOUT_H
#define TARN_SHM_LAYOUT_H

#include "base.h"
#include "histogram.h"
#include "id.h"
#include "sizeclass.h"

#define TARN__LAYOUT_VERSION 5u
#define TARN__REQUESTS 1024u       /* slots of a request ring */
#define TARN__REPLIES 256u         /* slots of a reply ring */
#define TARN__MESSAGE_SLOTS 32u    /* most slots of one message or reply */
#define TARN__NAME_BYTES 64u       /* names with their final 0 */
#define TARN__CLIENT_LANES 1024u   /* most threads of one client */
#define TARN__GIVEBACK_IDS 3u      /* so that one message is one deferred decrement */
#define TARN__FIRST_CREDITS 128u   /* ids that a client may hold at first */

/* ---- slots ---- */

struct tarn__slot {
	uint64_t word[7];
	uint64_t mark; /* SYNC slot-full: position + 1 */
};
static_assert(sizeof(struct tarn__slot) == 64, "one line");

/* ---- messages: word 0 is the header ----
 *
 *	bits 0..7   kind     8..15  slots of the message
 *	bits 16..31 count    32..63 cookie: returned in the reply
 *
 * PROTOCOL 3.3 gives the effects. Words by kind:
 *
 *	SEND     channel, position, id, size, units (0, or what MOVE gives up), flags
 *	RECV     channel, position, id
 *	ABSORB   channel, position, id
 *	RELEASE  id, units
 *	GIVEBACK id x count (1 to TARN__GIVEBACK_IDS)
 *	PUBLISH  id, size
 *	SEAL     id, size
 *	RESIZE   id, size
 *	CLOSE    channel, role              (an end of a channel)
 *	ALLOC    bytes, align, wait_ns      count blocks; replies carry ids; wait 0: ahead of need
 *	CREDIT   wanted                     more ids that may be held
 *	CHANNEL  slots | items << 32, name... count bytes of name; items 0: as slots; reply: id
 *	BIND     channel, role              takes an end
 *	LOOKUP   name...                    count bytes; reply: id, units booked
 *	EXPORT   id, size, view_offset, view_size, uses, lifetime_ns, flags
 *	IMPORT   id, nonce x 2
 *	REVOKE   id, nonce x 2
 *	PING
 *
 * Objects and calls. "values" is a payload of values (lib/value) and then the references that
 * its slots name, two words each (tarn__ref_...), laid out over the slots without gaps:
 * word k of a message is word k % 7 of its slot k / 7.
 *
 *	TYPE     index or TARN__TYPE_BY_NAME, reply slots, name...   count bytes of name
 *	CREATE   type index, packed, values     arguments of the creator
 *	CALL     object, packed, values         packed: tarn__pack_...
 *	RESULT   call number, packed, values    count: -errno of the method; host lanes only
 *	CANCEL   cookie of a CALL, CREATE or WATCH of this lane; it is answered -ECANCELED
 *	HOLD     object, id                     an edge more; host lanes only
 *	UNHOLD   object, id                     an edge less; host lanes only
 *	CONTENTS object, version, order, index, next, kind  what a container has from then on: words of its
 *	         line in VIEW (view.h); host lanes only
 *	DESTROYED object                        its destructor has run; host lanes only
 *	NAME     id, flags, name...             count bytes of name; TARN__NAME_...
 *	GRAB     id                             books a unit; reply as LOOKUP's
 *	WATCH    id or client, what, incarnation  answered when it is gone; TARN__WATCH_...
 *	MADE     object                         its creator has run; host lanes only
 *	FETCH    number, packed                 references of a reply with MORE: method is the first
 */
enum tarn__message {
	TARN__MSG_NONE = 0,
	TARN__MSG_SEND = 1,
	TARN__MSG_RECV = 2,
	TARN__MSG_ABSORB = 3,
	TARN__MSG_RELEASE = 4,
	TARN__MSG_GIVEBACK = 5,
	TARN__MSG_PUBLISH = 6,
	TARN__MSG_SEAL = 7,
	TARN__MSG_RESIZE = 8,
	TARN__MSG_CLOSE = 9,
	TARN__MSG_ALLOC = 10,
	TARN__MSG_CREDIT = 11,
	TARN__MSG_CHANNEL = 12,
	TARN__MSG_BIND = 13,
	TARN__MSG_LOOKUP = 14,
	TARN__MSG_EXPORT = 15,
	TARN__MSG_IMPORT = 16,
	TARN__MSG_REVOKE = 17,
	TARN__MSG_PING = 18,
	TARN__MSG_LANE_CLOSE = 19, /* internal: a lane on its way out (control socket) */
	TARN__MSG_CONTENTS = 20,
	TARN__MSG_TYPE = 21,
	TARN__MSG_CREATE = 22,
	TARN__MSG_CALL = 23,
	TARN__MSG_RESULT = 24,
	TARN__MSG_CANCEL = 25,
	TARN__MSG_HOLD = 26,
	TARN__MSG_UNHOLD = 27,
	TARN__MSG_DESTROYED = 28,
	TARN__MSG_NAME = 29,
	TARN__MSG_GRAB = 30,
	TARN__MSG_WATCH = 31,
	TARN__MSG_MADE = 32,
	TARN__MSG_FETCH = 33,
	TARN__MSG_KINDS = 34,
};

/* EXPORT's flags. */
#define TARN__EXPORT_OUTLIVES 1u /* does not die with its issuer */
#define TARN__EXPORT_SEALED 2u   /* the issuer knows that the block is sealed */

/* SEND's flags, also in a channel's slot. */
#define TARN__SEND_SEALED 1u
#define TARN__SEND_CHANNEL 2u /* the reference names a channel, not a block */
#define TARN__SEND_OBJECT 4u  /* it names an object */

static inline uint64_t tarn__header(enum tarn__message kind, unsigned slots, unsigned count,
				    uint32_t cookie)
{
	return (uint64_t)kind | (uint64_t)slots << 8 | (uint64_t)count << 16 |
	       (uint64_t)cookie << 32;
}
static inline unsigned tarn__header_kind(uint64_t h) { return (unsigned)(h & 0xff); }
static inline unsigned tarn__header_slots(uint64_t h) { return (unsigned)(h >> 8 & 0xff); }
static inline unsigned tarn__header_count(uint64_t h) { return (unsigned)(h >> 16 & 0xffff); }
static inline uint32_t tarn__header_cookie(uint64_t h) { return (uint32_t)(h >> 32); }

/* ---- replies: word 0 is
 *	bits 0..7 kind of the request, 8..15 ids that follow (GRANT), 16..31 -errno,
 *	32..63 cookie
 * An ALLOC is answered by ceil(count / 6) slots at most; the last one has
 * TARN__REPLY_LAST in word 0's bit 15. A caller reserves the slots beforehand. */
#define TARN__GRANTS_PER_SLOT 6u
#define TARN__REPLY_LAST 0x80u /* in the ids byte */
static inline uint64_t tarn__reply(unsigned kind, unsigned ids, int error, uint32_t cookie)
{
	return (uint64_t)kind | (uint64_t)ids << 8 | (uint64_t)(uint16_t)error << 16 |
	       (uint64_t)cookie << 32;
}

/* ---- calls ----
 *
 * The second word of CREATE, CALL and RESULT, and of the replies to CREATE and CALL:
 *	bits 0..15 method   16..23 values   24..31 references   32..39 flags
 *	40..47 slots that the caller reserved for the reply     48..63 words of the payload
 *
 * A reply has the slots that it takes in its header's count of ids; of several the first mark
 * is stored last. Its word 1 is packed, then values. With SPILLED the payload lies in a
 * block, which is the first reference; word 3 of a message (2 of a reply) is its length in
 * bytes and the references follow. A block that the server made for a reply belongs to the
 * caller. The reply to CREATE has one value, the object.
 *
 * Failures of the machinery: the header's error and one value, a string: the sentence.
 * Failures of a method: TARN_EREMOTE and one value of kind error.
 */
/* The method that every type has: a string, what its describe says of the instance, or nil. */
#define TARN__METHOD_DESCRIBE 0xffffu

#define TARN__CALL_REFS 64u     /* most references of one message */
#define TARN__CALL_ONEWAY 1u    /* no reply */
#define TARN__CALL_SPILLED 2u
#define TARN__CALL_ERROR 4u     /* RESULT: the value is an error */
#define TARN__CALL_RAW 8u       /* CREATE: no creator is run; host lanes only */
/* A reply whose references do not fit: word 2 is a number for FETCH, word 3 the bytes of the
 * payload, which lies in the first reference (0: there is none); the count of references is of
 * all. Their units are booked. FETCH (until the last was fetched: then the number ends) is answered
 * by as many, from the one that it names on, as fit into its own reserved slots. */
#define TARN__CALL_MORE 16u

/* Most words of a message behind the packed word, and of a reply. */
#define TARN__CALL_ROOM (7u * TARN__MESSAGE_SLOTS - 3u)
#define TARN__REPLY_ROOM(slots) (7u * (slots) - 2u)

static inline uint64_t tarn__pack(unsigned method, unsigned values, unsigned refs, unsigned flags,
				  unsigned reply_slots, unsigned payload_words)
{
	return (uint64_t)method | (uint64_t)values << 16 | (uint64_t)refs << 24 |
	       (uint64_t)flags << 32 | (uint64_t)reply_slots << 40 | (uint64_t)payload_words << 48;
}
static inline unsigned tarn__pack_method(uint64_t w) { return (unsigned)(w & 0xffff); }
static inline unsigned tarn__pack_values(uint64_t w) { return (unsigned)(w >> 16 & 0xff); }
static inline unsigned tarn__pack_refs(uint64_t w) { return (unsigned)(w >> 24 & 0xff); }
static inline unsigned tarn__pack_flags(uint64_t w) { return (unsigned)(w >> 32 & 0xff); }
static inline unsigned tarn__pack_reply_slots(uint64_t w) { return (unsigned)(w >> 40 & 0xff); }
static inline unsigned tarn__pack_words(uint64_t w) { return (unsigned)(w >> 48); }

/* A reference's second word: its exact size and whether it is sealed, as the sender knows it
 * (0 for objects and channels). */
static inline uint64_t tarn__ref_word(uint64_t size, bool sealed)
{
	return size << 2 | (uint64_t)sealed << 1;
}
static inline uint64_t tarn__ref_size(uint64_t w) { return w >> 2; }
static inline bool tarn__ref_sealed(uint64_t w) { return (w & 2) != 0; }

/*
 * TYPE. With reply slots 0 the reply is one slot: word 1 index, 2 hash of the table, 3 flags
 * (of tarn_type) | concurrency << 32, 4 methods, 5 size of an instance. Else it is as a
 * CALL's, with one value: a map with name, index, hash, flags, concurrency, size, and methods,
 * a list of maps with name, flags, args, result, result_type (nil where there is none).
 */
#define TARN__TYPE_BY_NAME UINT64_MAX

/* NAME's flags. A name holds what it names: until its client ends, or for good. UNPUBLISH may
 * have id 0: whatever bears the name. */
#define TARN__NAME_UNPUBLISH 1u
#define TARN__NAME_PINNED 2u
#define TARN__NAME_REPLACE 4u /* even if the name is in use */

#define TARN__WATCH_ID 0u
#define TARN__WATCH_CLIENT 1u /* word 1: the client's number; word 3: incarnation, 0 any */
#define TARN__WATCH_SEALED 2u /* word 1: a block; answered when it is sealed, or gone */

/* ---- LANE(c): one area per thread of the client ---- */

struct tarn__lane_server { /* written by the server only, at the end of each batch */
	uint64_t head;     /* SYNC slot-free: requests below it may be overwritten */
	uint64_t pad[7];   /* nothing that the client looks at with each call: the line would have
			    * to cross, too */
};
/* Written by the server only, and seldom. The client looks at notice with each call. */
struct tarn__lane_signs {
	uint32_t wake;     /* server adds 1 and wakes; client waits on it */
	uint32_t zero;
	uint64_t notice;   /* grows when the server asks for grants back */
	uint64_t evicted;  /* 1: this client is not served any more */
	uint64_t pad[5];
};
struct tarn__lane_client { /* written by the client only */
	uint32_t waiting;  /* 1: sleeps on wake; see wake.h */
	uint32_t notify;   /* SYNC event: changes when replies are to be told of by the lane's
			    * pipe, once per value; 0: never */
	uint64_t tid;      /* thread that owns the lane, for people */
	char thread[16];   /* its name, for people */
	uint64_t pad[4];
};
/* How long the thread waited for answers, by kind of question: a sample of its waits, counted
 * in log-linear buckets (histogram.h). For people: the server copies it when a tool asks, as
 * input that may say anything. */
enum tarn__wait {
	TARN__WAIT_ALLOC,
	TARN__WAIT_CREDIT,
	TARN__WAIT_CHANNEL,
	TARN__WAIT_BIND,
	TARN__WAIT_LOOKUP,
	TARN__WAIT_EXPORT, /* REVOKE, too */
	TARN__WAIT_IMPORT,
	TARN__WAIT_PING,
	TARN__WAIT_CALL,
	TARN__WAITS,
};
struct tarn__lane_waits { /* written by the client only */
	uint32_t n[TARN__WAITS][TARN__HISTOGRAM_BUCKETS];
};
static_assert(sizeof(struct tarn__lane_waits) == 9 * 98 * 4, "waits");

struct tarn__lane_area {
	TARN__ALIGNED_LINE struct tarn__lane_server server;
	TARN__ALIGNED_LINE struct tarn__lane_client client;
	TARN__ALIGNED_LINE struct tarn__lane_signs signs;
	TARN__ALIGNED_LINE struct tarn__lane_waits waits;
	unsigned char pad[4096 - 192 - sizeof(struct tarn__lane_waits)];
	/* The rings follow, staggered by the lane's number (tarn__lane_requests), so
	 * that the first slots of many lanes do not share one set of the L1 cache. */
	unsigned char rings[4096 + 64u * (TARN__REQUESTS + TARN__REPLIES)];
};
static_assert(sizeof(struct tarn__lane_server) == 64, "server's line");
static_assert(sizeof(struct tarn__lane_client) == 64, "client's line");
static_assert(offsetof(struct tarn__lane_area, client) == 64, "client's line");
static_assert(sizeof(struct tarn__lane_signs) == 64, "signs' line");
static_assert(offsetof(struct tarn__lane_area, signs) == 128, "signs' line");
static_assert(offsetof(struct tarn__lane_signs, notice) == 8, "signs");
static_assert(offsetof(struct tarn__lane_area, waits) == 192, "waits");
static_assert(offsetof(struct tarn__lane_area, rings) == 4096, "rings");
static_assert(sizeof(struct tarn__lane_area) == 8192 + 65536 + 16384, "22 pages");
static_assert(sizeof(struct tarn__lane_area) % TARN__OS_PAGE == 0, "whole pages");

static inline struct tarn__slot *tarn__lane_requests(struct tarn__lane_area *a, uint32_t number)
{
	return (struct tarn__slot *)(void *)(a->rings + (number * 320u) % 4096u);
}
static inline struct tarn__slot *tarn__lane_replies(struct tarn__lane_area *a, uint32_t number)
{
	return tarn__lane_requests(a, number) + TARN__REQUESTS;
}

/* The area of which @requests is the ring: areas begin at a page, and the rings are staggered within one. */
static inline struct tarn__lane_area *tarn__lane_area_of(struct tarn__slot *requests)
{
	uintptr_t rings = (uintptr_t)requests & ~(uintptr_t)(TARN__OS_PAGE - 1);

	return (struct tarn__lane_area *)(rings - offsetof(struct tarn__lane_area, rings));
}
static_assert(TARN__OS_PAGE == 4096, "what the rings are staggered by");

/* ---- CTRL: the server's face ---- */

struct tarn__ctrl {
	/* Written once, before anybody attaches. */
	uint64_t magic;
	uint64_t layout;        /* hash of all layouts */
	uint64_t uuid[2];
	uint64_t data_bytes;
	uint64_t dir_entries;
	uint64_t server_pid;
	uint64_t membarrier;    /* 1: the server uses membarrier before it sleeps, clients
				 * need no fence after a post */
	/* Written by the server at any time, each line on its own. */
	TARN__ALIGNED_LINE uint64_t server_state; /* SYNC sleep: 0 awake, 1 about to sleep */
	uint64_t incarnation;   /* which server process this is; 0: it said good-bye */
	uint64_t epoch;
};
static_assert(offsetof(struct tarn__ctrl, server_state) == 64, "ctrl");
static_assert(sizeof(struct tarn__ctrl) == 128, "ctrl");
#define TARN__CTRL_BYTES 4096u
#define TARN__MAGIC 0x0031316e72617400ull /* "\0tarn11" */

/* ---- DIR: where the block of an index lies ---- */

struct tarn__dir_entry { /* written by the server */
	uint64_t id;       /* SYNC dir: 0 while it changes, stored last with release */
	uint64_t offset;   /* in DATA */
	uint64_t capacity;
	uint64_t state;    /* TARN__DIR_... */
};
static_assert(sizeof(struct tarn__dir_entry) == 32, "half a line");
#define TARN__DIR_SEALED 1u
#define TARN__DIR_CHANNEL 2u
#define TARN__DIR_PRODUCER_GONE 4u
#define TARN__DIR_CONSUMER_GONE 8u
#define TARN__DIR_OBJECT 16u
#define TARN__DIR_WATCHED 32u /* of a block: somebody waits for its seal, or end: a SEAL rings */
#define TARN__DIR_LOST 64u    /* an object whose instance is of no use: see THING_LOST */
#define TARN__DIR_TYPE_SHIFT 32u /* of an object: index of its type, 16 bits */

static inline uint32_t tarn__dir_type(uint64_t state)
{
	return (uint32_t)(state >> TARN__DIR_TYPE_SHIFT & 0xffff);
}

/* Reads an entry that the server may be changing. False: not this id (any more). */
static inline bool tarn__dir_read(const struct tarn__dir_entry *e, uint64_t id,
				  struct tarn__dir_entry *ret)
{
	/* SYNC dir, acquire: what follows was written before this id. */
	ret->id = tarn__load_acquire(&e->id);
	ret->offset = tarn__load_acquire(&e->offset);
	ret->capacity = tarn__load_acquire(&e->capacity);
	ret->state = tarn__load_acquire(&e->state);
	return ret->id == id && tarn__load_relaxed(&e->id) == id;
}

/* ---- the ring of a channel: a block in DATA ---- */

struct tarn__channel_ring {
	/* producer's line */
	TARN__ALIGNED_LINE uint64_t tail;  /* positions published: for the server and people;
					    * the consumer goes by marks */
	uint32_t producer_waiting; /* 1: sleeps on consumer's wake word */
	uint32_t producer_wake;    /* written by the producer: consumer sleeps here */
	uint32_t producer_left;    /* SYNC left: 1: it has posted CLOSE, or is about to; by the producer */
	/* consumer's line */
	TARN__ALIGNED_LINE uint64_t head;  /* SYNC slot-free: below it slots may be overwritten */
	uint32_t consumer_waiting;
	uint32_t consumer_wake;    /* written by the consumer: producer sleeps here */
	uint32_t consumer_left;    /* SYNC left, as above; by the consumer */
	/* written once by the server, before anybody knows of the channel (SYNC dir) */
	TARN__ALIGNED_LINE uint64_t capacity; /* items, as its maker asked; a hint: slots are what counts */
	TARN__ALIGNED_LINE struct tarn__slot slot[];
};
static_assert(offsetof(struct tarn__channel_ring, head) == 64, "consumer's line");
static_assert(offsetof(struct tarn__channel_ring, slot) == 192, "slots");

/* Words of a channel slot. */
enum tarn__channel_word {
	TARN__CH_ID = 0,
	TARN__CH_FLAGS = 1,    /* TARN__SEND_... */
	TARN__CH_SIZE = 2,     /* exact size of the block */
	TARN__CH_OFFSET = 3,   /* of the view within the block */
	TARN__CH_LENGTH = 4,   /* of the view */
	TARN__CH_TAG = 5,      /* the user's own word */
	TARN__CH_SPARE = 6,
};
#define TARN__CHANNEL_MAX (1u << 20) /* slots */

enum tarn__role {
	TARN__ROLE_PRODUCER = 1,
	TARN__ROLE_CONSUMER = 2,
};

/* Hash over sizes, offsets and constants above; equal means same layout. */
uint64_t tarn__layout_hash(void);

#endif
