/* SPDX-License-Identifier: Apache-2.0 */
/* What a program and its libraries say in ELF notes, for other files than entry.c. */
#ifndef TARN_LIB_ENTRY_H
#define TARN_LIB_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "tarn/entry.h"

#define TARN__NOTE_ENTRY 1u /* a function, and its name */
#define TARN__NOTE_TYPE 2u  /* a pointer to a tarn_type: tarn/type.h */
#define TARN__NOTE_WORKER 3u /* a function, and its name: tarn/process.h */

/* @target: what the note points to; @text: @bytes behind that. True ends the walk. */
typedef bool tarn__note_fn(void *target, const char *text, size_t bytes, void *arg);

/* All notes of @type, of all that is loaded, in the order in which they were linked. The dynamic
 * linker's lock is held. */
void tarn__notes_walk(uint32_t type, tarn__note_fn *fn, void *arg);

/* The worker of this name: a tarn_worker_fn. NULL: there is none. */
struct tarn_worker;
typedef int tarn__worker_entry(struct tarn_worker *worker);
tarn__worker_entry *tarn__worker_find(const char *name);

#endif
