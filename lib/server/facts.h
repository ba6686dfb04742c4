/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FACTS: what the server knows for people and no other purpose: its counters, who sent how
 * many messages of which kind, what went wrong, when objects came to life.
 *
 * It is a segment of its own, beside META, for three reasons. Nothing here is worth an entry
 * of the undo log: a plain store each, and a value that is off by one after a crash is no
 * error. A tool finds it through /proc/PID/fd when the server does not answer. And a dump is
 * META and FACTS.
 *
 * Always a memfd: a fault takes memory or ends in the OOM killer, never in a SIGBUS, so
 * nothing is reserved beforehand (A6). Written by the reactor's thread alone.
 */
#ifndef TARN_SERVER_FACTS_H
#define TARN_SERVER_FACTS_H

#include "shm/layout.h"
#include "shm/segment.h"
#include "tarn/inspect.h"

#define TARN__FACTS_MAGIC 0x0032666e72617400ull /* "\0tarnf2" */
#define FACTS_KINDS 48u
static_assert(TARN__MSG_KINDS <= FACTS_KINDS, "a counter for each kind");

struct facts_client {
	uint64_t by_kind[FACTS_KINDS]; /* messages read; [0]: of unknown kinds */
	uint64_t failures;             /* answers that were errors */
	uint64_t failed_ns;            /* CLOCK_BOOTTIME of the last one */
	int32_t error;                 /* its code, negative; 0: none yet */
	uint32_t error_kind;           /* enum tarn__message */
	char evicted[96];              /* why; "" if it is not */
	/* As of the last look, which a question about clients takes. */
	uint64_t unread, most_unread;  /* slots in all its lanes; in the fullest one */
	unsigned char pad[4096 - 384 - 40 - 96 - sizeof(struct tarn__lane_waits)];
	struct tarn__lane_waits waits; /* of all its lanes */
	struct tarn__lane_waits past;  /* of those that are closed */
	unsigned char pad2[4096 - sizeof(struct tarn__lane_waits)];
};
static_assert(sizeof(struct facts_client) == 8192, "two pages");

struct facts {
	/* Written once. */
	uint64_t magic, layout, uuid[2]; /* the uuid is META's */
	uint64_t bytes;
	uint64_t at_clients, n_clients;
	uint64_t at_born, n_born;
	uint64_t started_ns; /* CLOCK_BOOTTIME of tick 0 */
	uint64_t at_types, n_types; /* tarn_type_row by index, 0 is none: written once, too, when
				     * the types are known, rows before their number */
	/* Written when somebody asks, before each sleep, and now and then while busy. */
	uint64_t noted_ns;   /* CLOCK_BOOTTIME */
	tarn_stat stat;      /* what META does not tell; the rest is 0 */
};
static_assert(sizeof(struct facts) <= 4096, "one page");

/* Objects' times of birth: when the server read the first message that names them, in ticks
 * since its start (they wrap after 497 days). The tick is as of the last sleep or some
 * thousand epochs, so an age can be too large by the length of a busy spell's part. */
#define FACTS_TICK_NS 10000000u

#define FACTS_TYPES 65536u /* address space; what is not used takes no memory */

struct server;
int tarn__facts_open(struct server *s);
void tarn__facts_close(struct server *s);
/* Now the counters are written there, and the tick is this moment's. */
void tarn__facts_note(struct server *s);
/* The tick alone. */
void tarn__facts_tick(struct server *s);
/* Also what lies in the lanes: unread messages, waits. */
void tarn__facts_look(struct server *s);
/* A record of a client is used anew. */
void tarn__facts_attached(struct server *s, uint32_t client);
void tarn__facts_evicted(struct server *s, uint32_t client, const char *why);
void tarn__facts_lane_closed(struct server *s, uint32_t client, const struct tarn__lane_area *area);
/* An answer is an error. */
void tarn__facts_failed(struct server *s, uint32_t client, unsigned kind, int error);

/* The types that the host serves, for who has no host: a dump, a copy. */
void tarn__facts_types(struct server *s);

/* Bounds of a copy that may be damaged. Returns 0 or -TARN_EPROTO. */
int tarn__facts_check(const struct facts *f, uint64_t bytes);

/* NULL: not known. */
static inline const tarn_type_row *tarn__facts_type(const struct facts *f, uint32_t type)
{
	const tarn_type_row *rows = (const void *)((const unsigned char *)f +
						    (f != NULL ? f->at_types : 0));

	return f != NULL && type != 0 && type < f->n_types ? &rows[type] : NULL;
}

static inline struct facts_client *tarn__facts_clients(const struct facts *f)
{
	return (struct facts_client *)(void *)((unsigned char *)(uintptr_t)f + f->at_clients);
}

#endif
