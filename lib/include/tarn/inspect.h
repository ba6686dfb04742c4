/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking into a running server, as the command line does. A question is a request
 * like any other: the reactor answers it from committed state.
 */
#ifndef TARN_INSPECT_H
#define TARN_INSPECT_H

#include "client.h"

TARN_BEGIN

typedef struct tarn_inspector tarn_inspector;

/* Connects for questions only: no lane, no memory. Errors as tarn_client_open(). */
TARN_EXPORT int tarn_inspector_open(const char *name, int64_t timeout_ns,
				    tarn_inspector **ret_inspector);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_inspector *tarn_inspector_close(tarn_inspector *inspector);

/* How long each question waits for its answer; 30 s if it is not set. Afterwards it fails
 * with -ETIMEDOUT, and the inspector answers nothing any more (-TARN_ESTATE). */
TARN_EXPORT void tarn_inspector_timeout_set(tarn_inspector *inspector, int64_t timeout_ns);

/* The process that listens: its pid as seen from here. -ESRCH: not to be seen. */
TARN_EXPORT int tarn_inspector_pid(const tarn_inspector *inspector);

/* Numbers of the whole arena. New fields are added at the end. */
typedef struct tarn_stat {
	uint64_t server_pid, uptime_ns, epochs, messages, sleeps, wakeups;
	uint64_t arena_bytes, used_bytes, committed_bytes, warm_bytes, watermark_bytes, meta_bytes;
	uint64_t resident_data_bytes, resident_meta_bytes;
	uint64_t max_blocks, blocks_live, blocks_granted, blocks_dead, indices_used;
	uint64_t clients, lanes, channels, exports, names, claims, tickets;
	uint64_t pending_allocs, failed_allocs, evictions, deaths, stale_messages;
	uint64_t undo_high; /* most undo entries of one transaction so far */
	uint64_t backing;   /* enum tarn_backing */
	char io[16], io_reason[192], backing_reason[128];
	char name[108];
	/* limits */
	uint64_t max_clients, max_lanes, max_channels, max_exports, max_names, max_claims, max_undo;
	uint64_t largest_free_bytes; /* that lie in one piece; more can be made of several */
	uint64_t idle_bytes;         /* cut into slots of small blocks, without any block */
	char process[16];            /* name of the process, or of the thread that serves in it */
	uint64_t objects, edges;     /* objects that have not ended; references that they hold */
	uint64_t calls, watches;     /* under way; who waits for an end */
	/* Contents of lists, dicts and namespaces, beside the blocks: what they take now, and the memory that
	 * lies ready for them, which is kept for later ones. 0: not known, of a copy of the server's books */
	uint64_t contents_bytes, contents_committed_bytes;
} tarn_stat;
TARN_EXPORT int tarn_inspector_stat(tarn_inspector *inspector, tarn_stat *ret_stat);

typedef struct tarn_client_row {
	uint32_t id, incarnation, pid, uid, state, lanes;
	uint64_t held, credits, owned, owned_bytes, quota, unread, start_ns;
	char name[16];
	char state_name[12];
	int32_t error;        /* code of the last answer that was an error, negative; 0: none */
	uint64_t held_bytes;  /* capacities of what it holds */
	uint64_t most_unread; /* in its fullest lane */
	uint64_t messages;    /* read so far */
	uint64_t failures;    /* answers that were errors */
	uint64_t failed_ago_ns;
	uint64_t waits, wait_p50_ns, wait_p99_ns, wait_max_ns; /* a sample of its waits */
	char error_kind[12];  /* what it had asked: "alloc" */
	char evicted[100];    /* why; "" if it is not */
} tarn_client_row;

enum tarn_block_state {
	TARN_BLOCK_GRANTED = 2, /* in a client's cache, in advance */
	TARN_BLOCK_LIVE,
	TARN_BLOCK_DEAD,        /* without claims, about to be freed */
};
enum tarn_block_kind {
	TARN_BLOCK_PLAIN = 1,
	TARN_BLOCK_CHANNEL,     /* holds the ring of a channel */
	TARN_BLOCK_OBJECT,      /* the instance of a type */
};
enum tarn_block_row_flags {
	TARN_BLOCK_IS_LARGE = 1, /* a run of pages of its own */
	TARN_BLOCK_IS_SEALED = 2,
};
typedef struct tarn_block_row {
	uint64_t id, offset, size, capacity;
	uint32_t ext, edges, owner;
	uint8_t state, kind, flags, holders;
	uint32_t holder[2], units[2]; /* the first two; tarn_inspector_refs() tells all */
	uint64_t age_ns; /* since the server read the first message that named it; 0: GRANTED */
} tarn_block_row;

/* Rows of a table. The caller frees *ret_rows with free(). */
TARN_EXPORT int tarn_inspector_clients(tarn_inspector *inspector, tarn_client_row **ret_rows,
				       size_t *ret_n);
TARN_EXPORT int tarn_inspector_blocks(tarn_inspector *inspector, tarn_block_row **ret_rows,
				      size_t *ret_n);

/* ---- objects ---- */

typedef struct tarn_type_row {
	uint32_t index, flags;   /* enum tarn_type_flags */
	uint32_t concurrency, methods;
	uint64_t size, hash, objects; /* bytes of an instance; of the table; how many live */
	char name[64];
} tarn_type_row;

enum tarn_object_state {
	TARN_OBJECT_MAKING = 1,  /* its creator is running */
	TARN_OBJECT_LIVE,
	TARN_OBJECT_DESTROYING,  /* its destructor is running, or will be */
};
typedef struct tarn_object_row {
	uint64_t id, created;    /* created: a number that grows with each object */
	uint32_t type, state;    /* enum tarn_object_state */
	uint32_t claims;         /* units of clients, in transit, exports, names */
	uint32_t edges;          /* of other objects on it */
	uint32_t holds;          /* what it holds: different objects and blocks */
	uint32_t creator;        /* client */
	char type_name[64];
	char preview[76];        /* what its type's describe says; "" nothing */
} tarn_object_row;

typedef struct tarn_call_row {
	uint64_t number, target; /* target: an object, or what is watched */
	uint64_t running_ns;     /* since it was read */
	uint32_t client, pid;    /* who waits; 0: nobody (any more) */
	uint32_t watch;          /* 1: no call, somebody waits for the end of target */
	uint32_t canceled;
	char type[64], method[64];
} tarn_call_row;

typedef struct tarn_error_row {
	int32_t code;            /* positive */
	uint32_t pad;
	uint64_t count, first_ns, last_ns; /* CLOCK_REALTIME */
	char domain[48], message[160];
	char place[96];          /* "file:line" of the throw; "" unknown */
} tarn_error_row;

/* Types; objects in the order of their creation; calls under way; what methods threw, each
 * distinct error once; objects that only hold each other and that nobody can reach (a search
 * will end them). The caller frees *ret_rows with free(). */
TARN_EXPORT int tarn_inspector_types(tarn_inspector *inspector, tarn_type_row **ret_rows,
				     size_t *ret_n);
TARN_EXPORT int tarn_inspector_objects(tarn_inspector *inspector, tarn_object_row **ret_rows,
				       size_t *ret_n);
TARN_EXPORT int tarn_inspector_calls(tarn_inspector *inspector, tarn_call_row **ret_rows,
				     size_t *ret_n);
TARN_EXPORT int tarn_inspector_errors(tarn_inspector *inspector, tarn_error_row **ret_rows,
				      size_t *ret_n);
TARN_EXPORT int tarn_inspector_leaks(tarn_inspector *inspector, tarn_object_row **ret_rows,
				     size_t *ret_n);

enum tarn_claim_kind {
	TARN_CLAIM_HELD = 1, /* units of a client */
	TARN_CLAIM_TRANSIT,  /* in a channel: sent, not yet received */
	TARN_CLAIM_EXPORTED, /* a token */
	TARN_CLAIM_STORED,   /* an object holds it: via */
	TARN_CLAIM_GRANTED,  /* in a client's cache */
	TARN_CLAIM_END,      /* an end of this channel; at: 1 producer, 2 consumer */
	TARN_CLAIM_NAMED,    /* a name; client: with whom it ends, 0 it stays */
};
/* Why nobody may ever give a claim back. */
enum tarn_doubt {
	TARN_DOUBT_NONE = 0,
	TARN_DOUBT_EVICTED,     /* its holder is not served any more */
	TARN_DOUBT_DYING,       /* its holder is dead; it is about to be reclaimed */
	TARN_DOUBT_NO_CONSUMER, /* in transit, and nobody has the receiving end */
	TARN_DOUBT_NO_END,      /* a token without deadline that outlives its issuer */
};
typedef struct tarn_claim_row {
	uint64_t id;
	uint32_t kind;   /* enum tarn_claim_kind */
	uint32_t client; /* holder; sender of what is in transit; issuer */
	uint64_t units;
	uint64_t via;    /* channel in which it is in transit; object that stores it */
	uint64_t at;     /* its position; of an end: which */
	uint32_t pid;
	char name[16];
	uint32_t doubt;    /* enum tarn_doubt */
	uint64_t age_ns;   /* of the object, as in tarn_block_row: no claim is older */
	uint64_t capacity; /* of the object */
} tarn_claim_row;
/* Who holds @id and how; @id 0: all claims of the arena. -TARN_ESTALE: nothing has this id. */
TARN_EXPORT int tarn_inspector_refs(tarn_inspector *inspector, uint64_t id,
				    tarn_claim_row **ret_rows, size_t *ret_n);

/* Blocks by size class: what they asked for, what they take, what lies unused. */
typedef struct tarn_class_row {
	uint64_t slot_bytes; /* 0: large blocks, which have pages of their own */
	uint64_t spans;      /* runs of pages that are cut into such slots */
	uint64_t span_bytes, slots, used;
	uint64_t used_bytes; /* capacities of the used ones */
	uint64_t live, live_bytes; /* of these, live ones and their exact sizes */
} tarn_class_row;
TARN_EXPORT int tarn_inspector_classes(tarn_inspector *inspector, tarn_class_row **ret_rows,
				       size_t *ret_n);

/* Messages by client and kind; client 0 is the sum of those attached now. Times are those
 * that threads waited for the answer, of a sample: bounds from above, at most a quarter too
 * large. Clients measure them, so a broken one may tell nonsense of itself. */
typedef struct tarn_message_row {
	uint32_t client, kind;
	char name[12]; /* of the kind: "send" */
	uint32_t pad;
	uint64_t messages;
	uint64_t waits, p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
} tarn_message_row;
TARN_EXPORT int tarn_inspector_messages(tarn_inspector *inspector, tarn_message_row **ret_rows,
					size_t *ret_n);

/* Copies all that the server knows into a file open for writing: for tarn --from, after the
 * server is gone. It stands still for as long as the copy takes, a millisecond per some
 * MiB of tables. */
TARN_EXPORT int tarn_inspector_dump(tarn_inspector *inspector, int fd);

/*
 * Recomputes every count, list and cursor (invariants A1, A2). @ret_text gets one line
 * per finding (free() it; empty if there is none). Returns the number of findings, or
 * a negative code. The server first runs epochs until nothing is unread, and does nothing else
 * while it counts: some 20 ns per block or object, 10 per element of a container.
 */
TARN_EXPORT int tarn_inspector_check(tarn_inspector *inspector, char **ret_text);

/* Asks the server to end in an orderly way. */
TARN_EXPORT int tarn_inspector_shutdown(tarn_inspector *inspector);

TARN_END

#endif
