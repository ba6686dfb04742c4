/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client side share: the client, its handles, its table.
 *
 * A client is one mapping of two parts. The first page is wiped by fork
 * (lib/wiped.h) and holds only the serial number by which threads recognise their
 * lane. So one comparison at the entry of each call answers three questions: does this
 * thread have a lane, is it a lane of this client, are we still the process that
 * opened it. The serial is never used twice, hence what a thread remembers of a closed
 * client is never followed.
 *
 * Locks: client.mutex (lanes, control socket), client.pool (handles, credits), types.mutex,
 * the shards.
 * They are leaves: none is held while another is taken, nor while a thread posts or
 * waits on a lane (I17). A forked child takes none of them.
 */
#ifndef TARN_CLIENT_CLIENT_H
#define TARN_CLIENT_CLIENT_H

#include <pthread.h>

#include "lib/control.h"
#include "lib/error.h"
#include "shm/lane.h"
#include "shm/page.h"
#include "shm/segment.h"
#include "shm/view.h"
#include "shm/wake.h"
#include "tarn/block.h"
#include "tarn/channel.h"
#include "tarn/client.h"

struct tarn__lane;
struct tarn__type;
struct tarn__direct;

/* ---- handles ---- */

/* tarn_block.refs: the number of local references below, flags above. One word, so that
 * "the only holder of a block nobody else was told of" is refs == 1. */
#define REF_COUNT 0xffffffffull
#define REF_SHARED (1ull << 32)   /* a message named it: in the table, RELEASE at the end */
#define REF_SEALED (1ull << 33)
#define REF_SLICE (1ull << 34)    /* a view: next is the parent, of which it holds one */
#define REF_CHANNEL (1ull << 35)  /* struct tarn_channel around it */
#define REF_DEFERRED (1ull << 36) /* received, RECV not yet posted: see channel-recv.c */
#define REF_UNLISTED (1ull << 37) /* shared, but in no shard (deferred, or unlinked) */
#define REF_OBJECT (1ull << 38)   /* a proxy: struct tarn_object, see object.h */
#define REF_UNHELD (1ull << 39)   /* stands for no hold of a lane: see tarn__refs_drop() */

/* 64 bytes, one line. It stays with a granted block as long as the block is in this
 * process's caches, so that a warm allocation writes only this line. */
struct tarn_block {
	uint64_t refs;
	struct tarn_client *client;
	unsigned char *data;
	union {
		uint64_t size;            /* exact */
		struct tarn_block *later; /* on the backlog, where the count is 0 and next
					   * still is the shard's, or a slice's parent */
	};
	uint64_t id;
	uint64_t capacity;
	struct tarn_block *next;  /* of a cache bin, a shard; a slice's parent */
	uint32_t units;           /* claims in the server's ledger that it stands for; changed
				   * under the shard lock once it is shared */
	uint8_t bin;              /* of the cache */
	uint8_t populated;        /* its pages were mapped in advance */
	uint16_t type;            /* of an object: its type's index */
};
static_assert(sizeof(struct tarn_block) == 64, "one line");

static inline uint64_t tarn__refs(const struct tarn_block *b)
{
	/* Relaxed: the caller holds a reference; flags that matter to it were set by
	 * itself or before the reference was handed to it. */
	return tarn__load_relaxed(&b->refs);
}
static inline uint64_t tarn__flags(const struct tarn_block *b)
{
	return tarn__refs(b) & ~REF_COUNT;
}

/* ---- table of shared handles ---- */

#define TARN__SHARDS 64u
struct tarn__shard {
	TARN__ALIGNED_LINE uint32_t lock;
	uint32_t n;
	uint32_t buckets; /* power of two */
	struct tarn_block **bucket;
};

/* ---- types of objects, as the server describes them (type.c) ---- */

#define TARN__TYPE_BUCKETS 64u
struct tarn__types {
	pthread_mutex_t mutex; /* of writers */
	/* SYNC types: read without the mutex; entries stay until the client is closed. */
	struct tarn__type *by_name[TARN__TYPE_BUCKETS], *by_index[TARN__TYPE_BUCKETS];
};

/* ---- the client ---- */

struct tarn_client {
	union {
		uint64_t serial; /* 0 in a forked child */
		unsigned char wiped[TARN__OS_PAGE_MOST]; /* a page of the system; of the rest none is touched */
	};

	/* Constant while it is open. */
	unsigned char *data;
	uint64_t data_bytes;
	uint64_t arena_bytes;    /* its cap, for people */
	const struct tarn__dir_entry *dir;
	uint64_t dir_entries;
	struct tarn__view view;  /* contents of containers, for reading */
	const struct tarn__ctrl *ctrl;
	bool fence;              /* posts need a full fence: no membarrier */
	bool poison;
	int64_t answer_ns;       /* how long a server may take to answer */
	int doorbell;
	int control;
	uint32_t number;
	uint32_t incarnation;
	uint64_t cache_bytes;
	uint64_t *populated;     /* bit per heap page: mapped here already; may be NULL */
	uint64_t open_serial;    /* a copy that fork does not wipe */
	struct tarn__segment data_segment, dir_segment, ctrl_segment, lane_segment, view_segment;
	pthread_key_t key;
	bool has_key;
	char name[108];

	/* SYNC backlog: drops that could not be posted. Pushed by anybody, also in a
	 * signal handler; taken as a whole, so there is no ABA. */
	TARN__ALIGNED_LINE struct tarn_block *backlog;
	uint32_t down;           /* sticky: TARN_ESRVDOWN or TARN_EEVICTED */

	/* Guarded by mutex. */
	TARN__ALIGNED_LINE pthread_mutex_t mutex;
	struct tarn__lane *lanes;    /* all */
	struct tarn__lane *parked;   /* without a thread, with their caches */
	unsigned n_parked;
	struct tarn__lane *closed;   /* structs of closed lanes, for the next ones */
	unsigned n_ending;           /* SYNC lane-end: not by the mutex; threads that end and are not done with us */

	/* Guarded by pool. */
	TARN__ALIGNED_LINE pthread_mutex_t pool;
	struct tarn_block *spare;    /* unused handles */
	struct tarn__chunk *chunks;  /* the memory they lie in, */
	struct tarn_block *uncarved; /* and what of the newest was never one yet */
	uint32_t n_chunks, n_uncarved;
	uint64_t credits;            /* ids that the server lets us hold */
	uint64_t credits_taken;      /* of these, handed to lanes */
	unsigned char *sealed_data;  /* second, read-only mapping of DATA; NULL: not yet */

	struct tarn__shard shard[TARN__SHARDS];

	struct tarn__types types;
	const struct tarn__direct *direct; /* calls in place, in the server itself (call.h) */
};
static_assert(offsetof(struct tarn_client, data) == TARN__OS_PAGE_MOST, "own page");

/* True in a process that inherited @c over fork(). */
static inline bool tarn__forked(const struct tarn_client *c)
{
	return tarn__load_relaxed(&c->serial) == 0;
}

/* This process, without a system call where fork() can wipe a page. */
extern uint32_t *tarn__pid_kept; /* NULL: it cannot; the word is 0 in a forked child */
pid_t tarn__pid_slow(void);
static inline pid_t tarn__pid(void)
{
	/* Acquire: with the pointer we see what it points to. Relaxed: the word is one number. */
	const uint32_t *kept = (const void *)__atomic_load_n(&tarn__pid_kept, __ATOMIC_ACQUIRE);
	uint32_t pid = kept != NULL ? tarn__load32_relaxed(kept) : 0;

	return tarn__likely(pid != 0) ? (pid_t)pid : tarn__pid_slow();
}

/* Fails with -TARN_EFORKED, -TARN_ESRVDOWN or -TARN_EEVICTED and its sentence. */
int tarn__fail_forked(void);
#define tarn__fail_forked() tarn__negative(tarn__fail_forked())
int tarn__fail_down(const struct tarn_client *c);

/* 0, or the sticky reason why this client is not served any more. Makes a system call:
 * for slow paths. @l may be NULL. */
int tarn__client_health(struct tarn_client *c, const struct tarn__lane *l);

/* Attaches over a connection that there is already, and takes it over. @again: one that failed may be tried again over a
 * copy of it, so the server is not told that this was the end. */
int tarn__client_open_on(int fd, const char *name, const tarn_client_options *options, bool again,
			 struct tarn_client **ret_client);

/* A question on the control socket; under the mutex, so never with a lane's message
 * to wait for. Waits until the server answers or is gone, or @deadline. */
int tarn__client_ask(struct tarn_client *c, enum tarn__control kind, uint64_t argument,
		     uint64_t deadline, struct tarn__answer *ret);
/* The same where the answer brings a descriptor, the caller's to close. */
int tarn__client_ask_fd(struct tarn_client *c, enum tarn__control kind, uint64_t argument,
			uint64_t deadline, struct tarn__answer *ret, int *ret_fd);
/* Says what is not answered, without waiting; the caller holds the mutex. False: not said. */
bool tarn__client_tell(const struct tarn_client *c, enum tarn__control kind, uint64_t argument);

/* A mapping of DATA, at an address that is a multiple of the largest alignment a block can
 * have: aligned offsets are then aligned addresses. NULL: no room for it. */
unsigned char *tarn__client_map(const struct tarn_client *c, int protection);
/* Address of @offset in the read-only mapping of DATA; NULL when it cannot be mapped. */
unsigned char *tarn__client_sealed(struct tarn_client *c, uint64_t offset);

#endif
