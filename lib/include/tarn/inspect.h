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
TARN_EXPORT tarn_inspector *tarn_inspector_close(tarn_inspector *inspector);

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
} tarn_stat;
TARN_EXPORT int tarn_inspector_stat(tarn_inspector *inspector, tarn_stat *ret_stat);

typedef struct tarn_client_row {
	uint32_t id, incarnation, pid, uid, state, lanes;
	uint64_t held, credits, owned, owned_bytes, quota, unread, start_ns;
	char name[16];
	char state_name[12];
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
} tarn_block_row;

/* Rows of a table. The caller frees *ret_rows with free(). */
TARN_EXPORT int tarn_inspector_clients(tarn_inspector *inspector, tarn_client_row **ret_rows,
				       size_t *ret_n);
TARN_EXPORT int tarn_inspector_blocks(tarn_inspector *inspector, tarn_block_row **ret_rows,
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
typedef struct tarn_claim_row {
	uint64_t id;
	uint32_t kind;   /* enum tarn_claim_kind */
	uint32_t client; /* holder; sender of what is in transit; issuer */
	uint64_t units;
	uint64_t via;    /* channel in which it is in transit; object that stores it */
	uint64_t at;     /* its position; of an end: which */
	uint32_t pid;
	char name[16];
} tarn_claim_row;
/* Who holds @id and how; @id 0: all claims of the arena. -TARN_ESTALE: nothing has this id. */
TARN_EXPORT int tarn_inspector_refs(tarn_inspector *inspector, uint64_t id,
				    tarn_claim_row **ret_rows, size_t *ret_n);

/*
 * Recomputes every count, list and cursor (invariants A1, A2). @ret_text gets one line
 * per finding (free() it; empty if there is none). Returns the number of findings, or
 * a negative code. The server first runs epochs until nothing is unread.
 */
TARN_EXPORT int tarn_inspector_check(tarn_inspector *inspector, char **ret_text);

/* Asks the server to end in an orderly way. */
TARN_EXPORT int tarn_inspector_shutdown(tarn_inspector *inspector);

TARN_END

#endif
