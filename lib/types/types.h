/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tarn's own types. Each is an ordinary table of tarn/type.h, written against the public header,
 * and is in every server's catalog before those of the program.
 *
 *	NAME-type.c	the server's side: the table
 *	NAME.c		the client's side: functions on proxies
 *
 * They meet in what the instance looks like (shm/, or a header here), never in each other. Who
 * changes the look of an instance that clients touch in place raises TARN__LAYOUT_VERSION:
 * programs of different layouts refuse each other when they attach.
 */
#ifndef TARN_TYPES_TYPES_H
#define TARN_TYPES_TYPES_H

#include "tarn/type.h"

#define TARN__BUILTIN_PREFIX "tarn."

/* All of them; ends with NULL. */
extern const tarn_type *const tarn__builtin_types[];
/* By name; NULL: none of ours. */
const tarn_type *tarn__builtin_find(const char *name);

extern const tarn_type tarn__type_array;
extern const tarn_type tarn__type_barrier;
extern const tarn_type tarn__type_bounded_semaphore;
extern const tarn_type tarn__type_condition;
extern const tarn_type tarn__type_dict;
extern const tarn_type tarn__type_event;
extern const tarn_type tarn__type_iterator;
extern const tarn_type tarn__type_list;
extern const tarn_type tarn__type_lock;
extern const tarn_type tarn__type_namespace;
extern const tarn_type tarn__type_parcel;
extern const tarn_type tarn__type_pool;
extern const tarn_type tarn__type_process;
extern const tarn_type tarn__type_queue;
extern const tarn_type tarn__type_rlock;
extern const tarn_type tarn__type_semaphore;
extern const tarn_type tarn__type_stream;
extern const tarn_type tarn__type_topic;
extern const tarn_type tarn__type_value;

#endif
