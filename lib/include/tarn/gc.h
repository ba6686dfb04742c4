/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What killed servers left behind.
 *
 * By default that is next to nothing: memory has no names, and a socket with its lock
 * file is replaced by the next server of that name. A server with keep_names
 * (tarn/server.h) has names in /dev/shm as long as it lives; SIGKILL leaves them, and with
 * them the memory. Each start of a server sweeps the dead ones; so does `tarn gc`.
 *
 * Nothing of a living server is ever touched, whatever pid namespace it is in: it holds a
 * lock. What cannot be judged (no right to look) counts as living. Servers of another
 * boot are dead.
 */
#ifndef TARN_GC_H
#define TARN_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "version.h"

TARN_BEGIN

enum tarn_leftover_kind {
	TARN_LEFTOVER_SEGMENT = 1, /* a name in /dev/shm */
	TARN_LEFTOVER_SOCKET,      /* a socket and its lock file, in the runtime directory */
};

enum tarn_leftover_state {
	TARN_LEFTOVER_LIVING = 1,  /* its server lives */
	TARN_LEFTOVER_DEAD,        /* its server is dead: a sweep removes it */
	TARN_LEFTOVER_UNKNOWN,     /* another user's: not for us to say */
};

typedef struct tarn_leftover {
	char path[160];
	uint32_t kind;         /* enum tarn_leftover_kind */
	uint32_t state;        /* enum tarn_leftover_state */
	uint32_t uid;          /* whose it is */
	int32_t pid;           /* of the server, in its own pid namespace; 0: not known */
	uint64_t start_ticks;  /* its start time, clock ticks since boot; 0: not known */
	uint64_t bytes;        /* memory that it occupies */
	uint32_t other_boot;   /* 1: of an earlier boot */
	char label[16];        /* "meta", "dir", "data", "ctrl", "lanes"; "" of a socket */
} tarn_leftover;

/*
 * All names of servers, of living ones too, sorted by path. The caller frees *ret_rows with
 * free(). Any thread; does not block. 0, -ENOMEM, or of the system.
 */
TARN_EXPORT int tarn_leftovers_list(tarn_leftover **ret_rows, size_t *ret_n);

/*
 * Removes what dead servers left; with @dry_run only says what it would remove. The rows
 * are those that were (would be) removed; both outputs may be NULL. Two sweeps at once, or
 * one beside a start, do no harm. 0, -ENOMEM, or of the system: of several failures the
 * first, after all that could be removed was.
 */
TARN_EXPORT int tarn_leftovers_sweep(bool dry_run, tarn_leftover **ret_rows, size_t *ret_n);

TARN_END

#endif
