/* SPDX-License-Identifier: Apache-2.0 */
/* Records as they lie in a ring, and where they go. */
#ifndef TARN_PROCESS_LOG_H
#define TARN_PROCESS_LOG_H

#include "shm/log-ring.h"
#include "tarn/log.h"

/* In a ring. Four strings and the message follow, each with its NUL. */
struct tarn__log_wire {
	uint32_t bytes; /* of all, a multiple of 8 */
	uint8_t level, source, pressed, spare;
	uint32_t line;
	int32_t pid, tid;
	uint32_t lost;
	uint64_t sequence;
	int64_t time_ns;
	uint16_t logger, file, function, process; /* lengths without the NUL */
	uint32_t message;
	uint32_t spare2;
};
static_assert(sizeof(struct tarn__log_wire) == 56, "layout");

/* A handler of one spawned process, or none. */
struct tarn__log_route {
	bool own;
	tarn_log_handler handler;
	const char *process; /* the name that records without one get */
};

/* Hands a record of another process on: to @route's handler, else as one of this process's. */
void tarn__log_deliver(const struct tarn__log_route *route, const tarn_log_record *record);
/* The same of what lies in a ring; @bytes of it. Nonsense is dropped. */
void tarn__log_deliver_wire(const struct tarn__log_route *route, const struct tarn__log_wire *w,
			    uint32_t bytes);

/* From now on records of this process go into @ring, whose reader is rung by @bell. */
void tarn__log_forward(struct tarn__log_ring *ring, int bell, const char *process);

#endif
