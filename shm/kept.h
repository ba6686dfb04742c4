/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept names: segments that can be found in /dev/shm while their server lives, and after it
 * was killed.
 *
 * The name itself says whose it is:
 *
 *	tarn-BOOT-PID-START-LABEL-NONCE
 *
 * boot id (32 hex digits), pid and start time (clock ticks since boot, as /proc/PID/stat has
 * it) of the server, "meta", "dir", "data", "ctrl", "view" or "lanes", and 16 random hex digits. So whoever
 * finds it later can tell whether it is dead, without opening anything.
 *
 * A pid means nothing in another pid namespace that shares this /dev/shm. Therefore META, whose
 * open file description no other process ever gets, is also locked (flock) before it has
 * a name, and it is the last to lose it: while the lock is held, all names of this process stay.
 */
#ifndef TARN_SHM_KEPT_H
#define TARN_SHM_KEPT_H

#include <sys/types.h>

#include "base.h"

#define TARN__KEPT_DIRECTORY "/dev/shm"
#define TARN__KEPT_BYTES 128u /* of a name, the closing 0 among them */
#define TARN__KEPT_LOCKED "meta"

struct tarn__kept {
	char boot[33];
	pid_t pid;
	uint64_t start;
	char label[16];
	uint64_t nonce;
};

/* Names are made in the name of process @pid, which lives longer than this one; 0: our own. */
void tarn__kept_owner_set(pid_t pid);

/* A fresh name of this process's segment @label; 0 or negative errno. */
int tarn__kept_name(const char *label, char ret_name[TARN__KEPT_BYTES]);

/* Reads a name; false: it is none of ours. */
bool tarn__kept_parse(const char *name, struct tarn__kept *ret);

/* This boot's id as 32 hex digits; 0 or negative errno. */
int tarn__boot_id(char ret[33]);

/* Start time of a process, as this pid namespace numbers it; 0: there is none (or a zombie,
 * which holds nothing any more). */
uint64_t tarn__process_start(pid_t pid);

#endif
